/* Broken words: the second half, for which the answers of the whole run are needed. */
#ifndef CS_EVAL_RESULTS_WORDS_H
#define CS_EVAL_RESULTS_WORDS_H

#include "eval/results.h"

/** Keep the words of a line's answer, when a model wrote it by itself. False when memory is out. */
bool cs_results_words_learn(cs_results *results, const json_t *line, const cs_results_label *label);

/** Count a line's broken words: those of its unknown words that no model wrote by itself. NaN: not measured, or not to be. */
double cs_results_words_count(const cs_results *results, const json_t *line);

#endif
