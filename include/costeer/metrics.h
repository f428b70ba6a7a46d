/*
 * Metrics over texts. Pure functions: the same texts give the same numbers on every machine.
 *
 * Texts are UTF-8; invalid bytes count as characters that are in no word. docs/evaluation.md defines each metric.
 */
#ifndef COSTEER_METRICS_H
#define COSTEER_METRICS_H

#include <costeer/error.h>
#include <stdbool.h>
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

/* ---- as a reader would -------------------------------------------------------------------------------------------- */

/** Whether a fact belongs into an answer. */
typedef enum costeer_fact_label {
    COSTEER_FACT_NEEDED = 0,       /**< a good answer states it */
    COSTEER_FACT_FINE = 1,         /**< it may be there */
    COSTEER_FACT_INAPPROPRIATE = 2 /**< it has no place there */
} costeer_fact_label;

/** A fact of the notes. */
typedef struct costeer_fact {
    costeer_fact_label label;
    const char *const *strings; /**< [n_strings] an answer with one of them states the fact */
    size_t n_strings;           /**< 0: cannot be seen in an answer, and is not counted */
} costeer_fact;

/** True when a text states a string: both folded (case, width, hyphens, spaces), at the boundaries of words. False when memory is
 * out. */
COSTEER_API bool costeer_text_states(const char *text, const char *string);

/** What a reader is told of; NULL and 0 where there is none. */
typedef struct costeer_reader_inputs {
    const char *answer;
    bool is_cut;               /**< the answer did not end by itself, so it has no signature */
    const char *context;       /**< the notes */
    const costeer_fact *facts; /**< [n_facts] */
    size_t n_facts;
    bool *is_stated;           /**< [n_facts] filled: the answer states the fact; of fine ones too. NULL: not wanted */
    const char *const *writer; /**< [n_writer] forms of the name of who writes */
    size_t n_writer;
    const char *const *addressee; /**< [n_addressee] of who is written to */
    size_t n_addressee;
} costeer_reader_inputs;

/** What a reader sees in one answer; NaN where there is nothing to look for. */
typedef struct costeer_reader_metrics {
    size_t n_needed; /**< needed facts that have strings */
    size_t n_needed_stated;
    size_t n_inappropriate; /**< inappropriate facts that have strings */
    size_t n_inappropriate_stated;
    double completeness; /**< share of the needed facts that are stated */
    double violations;   /**< share of the inappropriate ones */
    double salutation;   /**< 1: it names the addressee, where one is given, and not the writer; else 0 */
    double signature;    /**< 1: it names the writer and not the addressee; else 0 */
    double seq_rep_4;    /**< share of the 4-grams of words that repeat earlier ones */
    double copied_run;   /**< longest run of words that the notes have too, in words */
} costeer_reader_metrics;

/** Look at one answer. COSTEER_ENOMEM; COSTEER_EINVAL without an answer. */
COSTEER_API costeer_err costeer_reader_metrics_compute(const costeer_reader_inputs *inputs, costeer_reader_metrics *out,
                                                       costeer_error *err);

#ifdef __cplusplus
}
#endif
#endif
