/* Words of an answer that nothing known has: the first half of "broken words" (docs/evaluation.md); the report is the second. */
#ifndef CS_EVAL_UNKNOWN_WORDS_H
#define CS_EVAL_UNKNOWN_WORDS_H

#include "eval/intern.h"

#include <costeer/model.h>
#include <jansson.h>

/** Add the words that are one token of a model's behind a space. False when memory is out. */
bool cs_unknown_words_add_vocab(const costeer_model *model, cs_intern *words);

/** Add all words of a text. False when memory is out. */
bool cs_unknown_words_add_text(const char *text, cs_intern *words);

/**
 * List the words of an answer that are in none of the texts and not in the vocabulary, each once, in their order.
 *
 * @param vocab     from cs_unknown_words_add_vocab()
 * @param texts     [n_texts] NULL: none
 * @param[out] out  an array; null when the answer has no word that counts
 * @return false when memory is out
 */
bool cs_unknown_words_list(const cs_intern *vocab, const char *answer, const char *const *texts, size_t n_texts, json_t **out);

#endif
