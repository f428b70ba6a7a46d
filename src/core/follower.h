/*
 * The SLM on its way along an answer: a delta source, and how many tokens of the answer it has been given.
 *
 * It may lag behind: what it has missed it is given later in one step.
 */
#ifndef CS_CORE_FOLLOWER_H
#define CS_CORE_FOLLOWER_H

#include "core/limits.h"

#include <costeer/session.h>

typedef struct cs_follower {
    costeer_delta_source *source; /* NULL: nothing is steered, and none of the rest is used */
    size_t n_deltas;              /* 0 without a source */
    costeer_delta deltas[COSTEER_DELTAS_MAX];
    double weights[COSTEER_DELTAS_MAX]; /* of the deltas, before limits */
    costeer_delta_limits limits;
    cs_limits_state states[COSTEER_DELTAS_MAX]; /* of the deltas as read, where there are limits */
    bool is_read;                               /* deltas hold what follows the last token given */
    double context_weights[COSTEER_DELTAS_MAX];
    double draft_weights[COSTEER_DELTAS_MAX]; /* the same times the strength */
    size_t n_given;                           /* tokens of the answer that the source was given */
    int32_t n_steps;                          /* steps that this took */
    bool has_begun;                           /* its prompts are computed */
} cs_follower;

/** Set the source and the weights. `source` may be NULL; with strength 0 it is left alone. */
void cs_follower_init(cs_follower *follower, costeer_delta_source *source, const costeer_session_params *params);

/** A new answer begins: nothing of it was given yet. */
void cs_follower_reset(cs_follower *follower, const costeer_session_params *params);

/** The SLM goes on alone from here on: amateur + weight·(expert − amateur), of one context the expert itself, without limits. */
void cs_follower_go_alone(cs_follower *follower);

/** Read the prompts. `us` grows by the time that it took. */
costeer_err cs_follower_begin(cs_follower *follower, int64_t *us, costeer_error *err);

/** See to it that the source has been given the answer's first n tokens; one step at most. */
costeer_err cs_follower_follow(cs_follower *follower, const int32_t *tokens, size_t n, int64_t *us, costeer_error *err);

/** Fill deltas with what follows the last token given, limits applied; nothing to do when they are. Errors of the limits. */
costeer_err cs_follower_read(cs_follower *follower, int32_t n_vocab, int64_t *us, costeer_error *err);

/** Whether there are limits, so that noise of the SLM may move more than scores. */
bool cs_follower_is_limited(const cs_follower *follower);

/** The deltas as read, [n_deltas], with limits as if the SLM were off by so many nats (cs_limits_apply). */
void cs_follower_with_noise(const cs_follower *follower, double noise, costeer_delta *out);

/** Logits of what would be said without cloud and context, of the width of the vocabulary; valid as long as what read gave. */
const float *cs_follower_alone(const cs_follower *follower);

/**
 * The delta of a token as published: sum over the contexts of weight · (log p_expert − log p_amateur), in nats, of the SLM's
 * normalised distributions. Costs passes over the vocabulary: for traces, not for choosing.
 */
double cs_follower_delta(const cs_follower *follower, int32_t n_vocab, int32_t token);

/** What the deltas add to a token's score, in nats, normalised as above. Passes over the vocabulary, too. */
double cs_follower_gain(const cs_follower *follower, int32_t n_vocab, int32_t token);

/** Batches that the source has computed for this answer after its prompts. */
int32_t cs_follower_n_batches(const cs_follower *follower);

/** Draft what may follow the answer's [n_tokens] tokens, of which the source is given all but the last. */
costeer_err cs_follower_draft(cs_follower *follower, costeer_draft_params params, const int32_t *tokens, size_t n_tokens,
                              int32_t *drafts, int32_t *n, int64_t *us, costeer_error *err);

#endif
