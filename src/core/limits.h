/*
 * Limits of a delta, computed from rows that need not be the delta's own arrays.
 *
 * An SLM of another vocabulary gives arrays of the LLM's tokens, which are no distribution. What it holds for likely, and how far
 * expert and amateur are apart, is then read off its own logits.
 */
#ifndef CS_CORE_LIMITS_H
#define CS_CORE_LIMITS_H

#include <costeer/session.h>

/** What is known of a delta at one position, apart from its weight. */
typedef struct cs_limits_state {
    double kl;    /**< nats; may be +inf */
    double floor; /**< as in costeer_delta */
    double shift;
} cs_limits_state;

/**
 * Compute the divergence of a delta, its floor and its shift.
 *
 * @param is_away  the weight is negative: expert and amateur change places
 * Returns as costeer_delta_limit() does.
 */
costeer_err cs_limits_measure(const costeer_slm_rows *rows, const costeer_delta_limits *limits, bool is_away,
                              cs_limits_state *out, costeer_error *err);

/**
 * Set a delta's weight, floor and shift.
 *
 * @param weight  the whole weight
 * @param noise   nats by which the SLM is taken to be off: more steering where it is positive, less where it is negative; 0
 */
void cs_limits_apply(const cs_limits_state *state, const costeer_delta_limits *limits, double weight, double noise,
                     costeer_delta *delta);

/** True when there are any. */
static inline bool cs_limits_are_on(const costeer_delta_limits *limits)
{
    return limits->plausibility > 0 || limits->divergence > 0;
}

#endif
