/* What the files of the metrics share. */
#ifndef CS_EVAL_METRICS_INTERNAL_H
#define CS_EVAL_METRICS_INTERNAL_H

#include "eval/tokens.h"

#include <stdbool.h>
#include <stddef.h>

/** True for one of the short English words that context recall leaves out; the list is in docs/evaluation.md. */
bool cs_metrics_is_stop_word(const char *word, size_t n);

/** Runs of `order` tokens: how many each text has, and how many they share, each counted at most as often as in either text. */
typedef struct cs_overlap_counts {
    size_t n_answer;
    size_t n_reference;
    size_t n_shared;
} cs_overlap_counts;

/** Add the ids of a text's n-grams. False when memory is out. */
bool cs_metrics_ngrams(cs_intern *ngrams, const cs_tokens *tokens, size_t order, cs_tokens *out);

/** Count n-grams. False when memory is out. */
bool cs_metrics_overlap(const cs_tokens *answer, const cs_tokens *reference, size_t order, cs_overlap_counts *out);

/* Each sets its values; false when memory is out. */
bool cs_metrics_bleu(const char *answer, const char *reference, double *bleu);
bool cs_metrics_meteor(const cs_intern *words, const cs_tokens *answer, const cs_tokens *reference, double *meteor);

/** @param words  the table of the three texts' words, in lower case; the query may be empty */
bool cs_metrics_context_recall(const cs_intern *words, const cs_tokens *answer, const cs_tokens *context, const cs_tokens *query,
                               double *recall);

#endif
