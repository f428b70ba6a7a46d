/*
 * Metrics over texts. Pure functions: the same texts give the same numbers on every machine.
 *
 * Texts are UTF-8; invalid bytes count as characters that are in no word. docs/evaluation.md defines each metric.
 */
#ifndef COSTEER_METRICS_H
#define COSTEER_METRICS_H

#include <costeer/error.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What is measured of one answer; NaN where a metric has nothing to be measured against (no reference, no facts, no context). */
typedef struct costeer_metrics {
    double rouge1; /**< F1, as Google's rouge-score with use_stemmer=True */
    double rouge2;
    double rougeL;
    double bleu;           /**< sentence BLEU-4, 0 … 100, as sacreBLEU's (13a tokens, exponential smoothing, effective order) */
    double meteor;         /**< stages exact and stem; alpha 0.9, beta 3, gamma 0.5 */
    double length_ratio;   /**< words of the answer / words of the reference */
    double distinct1;      /**< distinct words / words */
    double distinct2;      /**< distinct bigrams / bigrams */
    double context_recall; /**< share of the context's rare n-grams that the answer has */
    double fact_recall;    /**< share of the given facts that the answer contains, byte for byte */
} costeer_metrics;

/** What an answer is measured against; NULL and 0 where there is none. */
typedef struct costeer_metrics_inputs {
    const char *answer;
    const char *reference;
    const char *context;      /**< the private text */
    const char *query;        /**< what is in it is not rare */
    const char *const *facts; /**< [n_facts] */
    size_t n_facts;
} costeer_metrics_inputs;

/** Measure one answer. COSTEER_ENOMEM; COSTEER_EINVAL without an answer. */
COSTEER_API costeer_err costeer_metrics_compute(const costeer_metrics_inputs *inputs, costeer_metrics *out, costeer_error *err);

#ifdef __cplusplus
}
#endif
#endif
