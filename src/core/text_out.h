/* The text of an answer on its way out: whole UTF-8 characters, cut at the first stop string. Pure; allocates only when created.
 */
#ifndef CS_CORE_TEXT_OUT_H
#define CS_CORE_TEXT_OUT_H

#include <costeer/error.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct cs_text_out cs_text_out;

/**
 * Create it.
 *
 * @param stop       [n_stop] non-empty UTF-8 strings, copied
 * @param piece_max  longest piece that will be pushed, bytes
 * @return COSTEER_OK; COSTEER_EINVAL: an empty stop string, or one longer than 4096 bytes; COSTEER_EUTF8; COSTEER_ENOMEM
 */
costeer_err cs_text_out_create(const char *const *stop, size_t n_stop, size_t piece_max, cs_text_out **out, costeer_error *err);
void cs_text_out_free(cs_text_out *text);

/** Forget everything: a new answer begins. */
void cs_text_out_reset(cs_text_out *text);

/** Add a token's bytes. True: a stop string is complete; what follows it is gone. */
bool cs_text_out_push(cs_text_out *text, const char *piece, size_t n_bytes);

/** No more will come: nothing is held back any longer. */
void cs_text_out_finish(cs_text_out *text);

/** Take what may go out now; valid until the next call. Invalid bytes have become U+FFFD. */
const char *cs_text_out_take(cs_text_out *text, size_t *n_bytes);

#endif
