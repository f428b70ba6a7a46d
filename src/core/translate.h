/*
 * An SLM that follows an answer made of another vocabulary's tokens, and what it says in terms of those.
 *
 * map, map-intersect: it is given tokens that spell the LLM's, and its logits are gathered (translate.c). byte: it is given the
 * answer's text, split by its own tokenizer, and its probabilities are summed over bytes (translate_byte.c).
 */
#ifndef CS_CORE_TRANSLATE_H
#define CS_CORE_TRANSLATE_H

#include "core/decoder.h"
#include "core/lookahead.h"
#include "core/translate_tree.h"
#include "core/vocab_tables.h"

#include <costeer/steer.h>

/** Rows of logits of one batch that byte needs of each sequence. */
#define CS_TRANSLATE_ROWS CS_TREE_ROWS

typedef struct cs_translate cs_translate;

typedef struct cs_translate_params {
    const costeer_vocab_map *map; /**< of any mode but SAME */
    const costeer_model *model;   /**< the SLM */
    cs_decoder *decoder;          /**< byte: with CS_TRANSLATE_ROWS rows per sequence */
    cs_lookahead *ahead;          /**< the other modes: made on the decoder, without drafts. byte: NULL */
    int32_t n_sequences;          /**< the amateur and the experts */
} cs_translate_params;

/** Create it; every buffer is allocated here. All that params name must outlive it. Free with cs_translate_free(). */
costeer_err cs_translate_create(const cs_translate_params *params, cs_translate **out, costeer_error *err);
void cs_translate_free(cs_translate *translate);

/** The weights of the next answers' deltas: byte looks ahead only for those that have one. Without this all do. */
void cs_translate_weigh(cs_translate *translate, const double *weights, size_t n_deltas);

/** Compute the prompts that were set in the decoder. */
costeer_err cs_translate_begin(cs_translate *translate, size_t *n_computed, costeer_error *err);

/** Advance every sequence by [n] >= 1 of the LLM's tokens. After a failure begin again. */
costeer_err cs_translate_step(cs_translate *translate, const int32_t *tokens, size_t n, costeer_error *err);

/** Fill expert and amateur of each delta, [n_llm] each; reads the weights' signs (map-intersect). Valid until the next begin or
 * step. */
void cs_translate_read(cs_translate *translate, costeer_delta *deltas, size_t n_deltas);

/** The SLM's own logits of a sequence, over its vocabulary, behind all of the answer's tokens; for byte, behind all tokens of its
 * text. Valid as long as what read gave. */
const float *cs_translate_own_row(const cs_translate *translate, int32_t sequence);

/** True when what read gives is log-probabilities (byte); else it is logits on the scale of the SLM's own. */
bool cs_translate_is_normalised(const cs_translate *translate);

/** Log-weights [n_llm] of what the amateur would say alone. map: for the tokens that both have, −inf for the others. byte: for
 * all that are text; what read gave is made anew to go with it. */
const float *cs_translate_alone(cs_translate *translate);

#endif
