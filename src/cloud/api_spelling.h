/* The vocabulary by the bytes of its tokens, for engines that name tokens by their text instead of their id. */
#ifndef CS_CLOUD_API_SPELLING_H
#define CS_CLOUD_API_SPELLING_H

#include <costeer/model.h>

typedef struct cs_api_spelling cs_api_spelling;

/** @param[out] out  free with cs_api_spelling_free(); NULL on failure */
costeer_err cs_api_spelling_create(const costeer_model *model, cs_api_spelling **out, costeer_error *err);
void cs_api_spelling_free(cs_api_spelling *spelling);

/**
 * Find the token of a text.
 *
 * "bytes:\xNN…" stands for bytes that are no text by themselves (OpenAI's way); special tokens are found by their names.
 *
 * @return COSTEER_OK; COSTEER_ECLOUD: none, or two tokens have it (the message names them), or a replacement character shows
 * that it was cut inside a character
 */
costeer_err cs_api_spelling_find(const cs_api_spelling *spelling, const char *text, size_t n, int32_t *out, costeer_error *err);

/** Find the token of bytes; the same otherwise. */
costeer_err cs_api_spelling_find_bytes(const cs_api_spelling *spelling, const char *bytes, size_t n, int32_t *out,
                                       costeer_error *err);

#endif
