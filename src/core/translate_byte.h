/* The SLM follows the text of the answer: see translate_byte.c. Functions as in translate.h. */
#ifndef CS_CORE_TRANSLATE_BYTE_H
#define CS_CORE_TRANSLATE_BYTE_H

#include "core/translate.h"

typedef struct cs_translate_byte cs_translate_byte;

costeer_err cs_translate_byte_create(const cs_translate_params *params, cs_translate_byte **out, costeer_error *err);
void cs_translate_byte_free(cs_translate_byte *byte);
void cs_translate_byte_weigh(cs_translate_byte *byte, const double *weights, size_t n_deltas);
costeer_err cs_translate_byte_begin(cs_translate_byte *byte, size_t *n_computed, costeer_error *err);
costeer_err cs_translate_byte_step(cs_translate_byte *byte, const int32_t *tokens, size_t n, costeer_error *err);

/** [n_llm] log of the probability that the text goes on with each of the LLM's tokens. */
const float *cs_translate_byte_row(const cs_translate_byte *byte, int32_t sequence);
const float *cs_translate_byte_own_row(const cs_translate_byte *byte, int32_t sequence);
const float *cs_translate_byte_alone(cs_translate_byte *byte);

#endif
