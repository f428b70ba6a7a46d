/*
 * Intervals and tests for paired results over the same rows. Seeded and counter based (Philox4x32-10): the same numbers on every
 * machine. Pure functions.
 */
#ifndef COSTEER_STATS_H
#define COSTEER_STATS_H

#include <costeer/error.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct costeer_interval {
    double value; /**< of the statistic over all rows */
    double low;   /**< 2.5% of the bootstrap distribution */
    double high;  /**< 97.5% */
} costeer_interval;

/**
 * Mean with its 95% percentile bootstrap interval (Efron & Tibshirani 1993, section 13.3): rows drawn with replacement.
 *
 * @param values  [n] one per row; n >= 1, finite
 */
COSTEER_API costeer_err costeer_stats_bootstrap_mean(const double *values, size_t n, uint64_t seed, int32_t n_rounds,
                                                     costeer_interval *out, costeer_error *err);

/** The same for sum(numerators) / sum(denominators), as perplexity's log needs it. Denominators >= 0, their sum > 0. */
COSTEER_API costeer_err costeer_stats_bootstrap_ratio(const double *numerators, const double *denominators, size_t n,
                                                      uint64_t seed, int32_t n_rounds, costeer_interval *out, costeer_error *err);

/**
 * Two-sided paired permutation test of the mean difference: signs flipped at random, exactly where 2^n is at most n_rounds.
 *
 * @param[out] p_value  (count of rounds at least as extreme + 1) / (n_rounds + 1); exact: the share itself
 */
COSTEER_API costeer_err costeer_stats_permutation_test(const double *a, const double *b, size_t n, uint64_t seed,
                                                       int32_t n_rounds, double *p_value, costeer_error *err);

#ifdef __cplusplus
}
#endif
#endif
