/* The LLM without and with the context, as two sequences stepped in one batch: a delta source of one delta. */
#ifndef CS_CLOUD_LLM_PAIR_H
#define CS_CLOUD_LLM_PAIR_H

#include "core/decoder.h"

#include <costeer/session.h>

/**
 * Create it on a decoder of two sequences.
 *
 * @param decoder   owned from here on, freed also on failure
 * @param[out] out  free with cs_llm_pair_free(); NULL on failure
 */
costeer_err cs_llm_pair_create(cs_decoder *decoder, costeer_delta_source **out, costeer_error *err);
void cs_llm_pair_free(costeer_delta_source *pair);

/** Set the prompts of the next answer: of the amateur, and of the expert with the context. */
costeer_err cs_llm_pair_set_prompts(costeer_delta_source *pair, const costeer_tokens *without, const costeer_tokens *with,
                                    int32_t max_tokens, costeer_error *err);

/** What stops a begin or step; NULL: nothing. */
void cs_llm_pair_set_cancel(costeer_delta_source *pair, const atomic_bool *cancel);

#endif
