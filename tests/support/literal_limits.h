/*
 * The definition of limited deltas, written out in double precision over the whole vocabulary with libm, several passes and no
 * cleverness: what docs/mathematics.md says, for comparison with the program's one pass.
 */
#ifndef CS_TEST_LITERAL_LIMITS_H
#define CS_TEST_LITERAL_LIMITS_H

#include <stddef.h>
#include <stdint.h>

typedef struct literal_limited {
    const float *expert;  /* [n_vocab] logits */
    const float *amateur; /* [n_vocab] */
    double weight;
    double plausibility; /* 0: off */
    double divergence;   /* nats; 0: off */
} literal_limited;

/** Write base + sum of weight · min(1, KL / D) · delta, [n_vocab]. */
void literal_limited_scores(const float *base, const literal_limited *deltas, size_t n_deltas, int32_t n_vocab, double *scores);

double literal_largest(const double *values, int32_t n);

/** Scores are defined up to a constant: it must be the same for all tokens, and the same ones must be -inf. */
void literal_assert_same_up_to_constant(const double *a, const double *b, int32_t n, double tolerance);

#endif
