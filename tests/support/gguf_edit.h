/* Makes model files that are wrong in exactly one way, out of a right one. */
#ifndef CS_TEST_GGUF_EDIT_H
#define CS_TEST_GGUF_EDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct gguf_edit gguf_edit;

/** Read a whole GGUF file; the test fails when it cannot be read. */
gguf_edit *gguf_edit_open(const char *path);

void gguf_edit_rename_token(gguf_edit *edit, int32_t token, const char *text);
void gguf_edit_append_tokens(gguf_edit *edit, int32_t n); /* "[PADi]", of type unused */
void gguf_edit_set_token_type(gguf_edit *edit, int32_t token, int32_t type);
void gguf_edit_set_u32(gguf_edit *edit, const char *key, uint32_t value);
void gguf_edit_set_bool(gguf_edit *edit, const char *key, bool value);
void gguf_edit_set_text(gguf_edit *edit, const char *key, const char *value);
void gguf_edit_remove(gguf_edit *edit, const char *key);
void gguf_edit_fill_nan(gguf_edit *edit, const char *tensor); /* of type f32 or f16 */

/** Write it and free the edit. */
void gguf_edit_write(gguf_edit *edit, const char *path, bool without_weights);

/** Write it as n files, PREFIX-00001-of-0000n.gguf and on, as llama.cpp splits models, and free the edit. */
void gguf_edit_write_split(gguf_edit *edit, const char *prefix, uint16_t n);

/** Copy the first n bytes of a file (all of them when it is shorter). */
void copy_file(const char *from, const char *to, size_t n);

/** Overwrite bytes of a file. */
void patch_file(const char *path, long offset, const void *bytes, size_t n);

#endif
