/*
 * Some sequences on their way through an answer, and the tokens that they have computed ahead of it.
 *
 * A run is the token that is expected next and the drafts behind it. A step over a token of the run takes what is computed; any
 * other token drops the run. So drafts change the time of a step and nothing else.
 */
#ifndef CS_CORE_LOOKAHEAD_H
#define CS_CORE_LOOKAHEAD_H

#include "core/decoder.h"

typedef struct cs_lookahead cs_lookahead;

typedef struct cs_lookahead_params {
    const char *component; /**< for messages, static */
    int32_t n_sequences;   /**< of the decoder */
    int32_t n_drafts;      /**< longest draft; 0: steps only. The decoder needs n_sequences·(1 + n_drafts) rows */
    int32_t n_vocab;       /**< logits of a row that matter */
    int32_t n_ids;         /**< token ids of the model run from 0 to n_ids − 1 */
} cs_lookahead_params;

/** Create it; every buffer is allocated here. `decoder` must outlive it. Free with cs_lookahead_free(). */
costeer_err cs_lookahead_create(cs_decoder *decoder, const cs_lookahead_params *params, cs_lookahead **out, costeer_error *err);
void cs_lookahead_free(cs_lookahead *ahead);

/** Compute the prompts that were set in the decoder. */
costeer_err cs_lookahead_prefill(cs_lookahead *ahead, size_t *n_computed, costeer_error *err);

/** Advance every sequence by a token. COSTEER_ESTATE before a prefill, and after a step that failed. */
costeer_err cs_lookahead_step(cs_lookahead *ahead, int32_t token, costeer_error *err);

/**
 * Advance every sequence by [n] >= 1 tokens in one batch, or in a few when that is too long for one.
 *
 * What comes of it is what n steps give. COSTEER_ETOOLONG and COSTEER_EINVAL leave the answer where it was; after any other
 * failure it must be begun again.
 */
costeer_err cs_lookahead_advance(cs_lookahead *ahead, const int32_t *tokens, size_t n, costeer_error *err);

/** Logits behind the last token of the answer, valid until something is computed again; NULL when there are none. */
const float *cs_lookahead_logits(const cs_lookahead *ahead, int32_t sequence);

/* ---- the run ----------------------------------------------------------------------------------------------------- */

/**
 * Begin a run with the token that the next step will be given. What was computed behind that token already is kept.
 *
 * A failure here or in cs_lookahead_compute() drops the run and leaves the answer where it was: a step may follow.
 */
costeer_err cs_lookahead_start(cs_lookahead *ahead, int32_t token, costeer_error *err);

/** The drafts of the run. */
const int32_t *cs_lookahead_drafts(const cs_lookahead *ahead, int32_t *n);

/** Whether another draft fits; never for a model whose state cannot be cut, as withdrawn drafts would cost a whole prompt. */
bool cs_lookahead_has_room(const cs_lookahead *ahead);
void cs_lookahead_add(cs_lookahead *ahead, int32_t draft);

/** Compute the run to its end for the first n sequences. */
costeer_err cs_lookahead_compute(cs_lookahead *ahead, int32_t n_sequences, costeer_error *err);

/** Logits behind the last token of the run, once it is computed. */
const float *cs_lookahead_last(const cs_lookahead *ahead, int32_t sequence);

/** Forget the run. */
void cs_lookahead_drop(cs_lookahead *ahead);

#endif
