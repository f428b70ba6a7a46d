/* The numbers of a report: for each label and measure an estimate with its interval, and the comparison with the baseline. */
#ifndef CS_EVAL_SUMMARY_H
#define CS_EVAL_SUMMARY_H

#include "eval/results.h"

#include <costeer/stats.h>

typedef struct cs_estimate {
    size_t n; /**< rows that have the measure; 0: the interval means nothing */
    costeer_interval interval;
} cs_estimate;

/** Of a label with the baseline, over the rows that have the measure with both. */
typedef struct cs_comparison {
    size_t n;
    costeer_interval difference; /**< mean of label − baseline */
    double p;
} cs_comparison;

typedef struct cs_label_summary {
    cs_estimate estimates[CS_MEASURES];
    cs_comparison comparisons[CS_MEASURES]; /**< n = 0 for the baseline itself and for measures that are not compared */
    size_t n_paired;                        /**< rows that both labels have */
} cs_label_summary;

/** Owned by the caller; all-zero is empty. */
typedef struct cs_summary {
    size_t baseline; /**< index of its label */
    uint64_t seed;
    int32_t n_rounds;
    cs_label_summary *labels; /**< [n_labels of the results] */
} cs_summary;

/** Compute. Dispose of the summary in every case. COSTEER_EINVAL: no such baseline, n_rounds out of range. */
costeer_err cs_summary_compute(cs_summary *summary, const cs_results *results, const costeer_eval_report_params *params,
                               costeer_error *err);
void cs_summary_dispose(cs_summary *summary);

/** True when any label has the measure. */
bool cs_summary_has(const cs_summary *summary, size_t n_labels, cs_measure_id measure);

#endif
