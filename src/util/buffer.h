/* A growing run of bytes with a cap. */
#ifndef CS_UTIL_BUFFER_H
#define CS_UTIL_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

/** Owned by the caller; all-zero with a cap is an empty one. */
typedef struct cs_buffer {
    char *bytes; /**< [n_bytes], followed by a NUL once anything was appended */
    size_t n_bytes;
    size_t capacity;
    size_t cap; /**< n_bytes never exceeds this */
} cs_buffer;

/** Append bytes. Returns false, with the buffer unchanged, when the cap would be exceeded or memory could not be had. */
bool cs_buffer_append(cs_buffer *buffer, const char *bytes, size_t n_bytes);

/** Free what it holds; it is empty afterwards and can be used again. */
void cs_buffer_dispose(cs_buffer *buffer);

#endif
