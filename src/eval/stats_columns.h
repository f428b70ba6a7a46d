/* Bootstrap of many statistics over the same rows: the rows of a round are drawn once for all of them. */
#ifndef CS_EVAL_STATS_COLUMNS_H
#define CS_EVAL_STATS_COLUMNS_H

#include <costeer/stats.h>

/** sum(numerators) / sum(denominators), or the mean of the numerators. */
typedef struct cs_stats_column {
    const double *numerators;   /**< [n] finite */
    const double *denominators; /**< [n] >= 0, their sum > 0; NULL: ones */
    costeer_interval *out;
} cs_stats_column;

/** Each column gets what costeer_stats_bootstrap_mean() or _ratio() would give it. COSTEER_ENOMEM; the rest is not checked. */
costeer_err cs_stats_bootstrap_columns(const cs_stats_column *columns, size_t n_columns, size_t n, uint64_t seed,
                                       int32_t n_rounds, costeer_error *err);

#endif
