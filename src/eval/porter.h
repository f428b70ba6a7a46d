/* Porter's stemmer as NLTK's PorterStemmer has it by default (mode NLTK_EXTENSIONS), which rouge-score uses. */
#ifndef CS_EVAL_PORTER_H
#define CS_EVAL_PORTER_H

#include <stddef.h>

/**
 * Stem a word in place.
 *
 * @param word  [n] letters a–z in lower case and digits, which count as consonants
 * @return the stem's length, at most n
 */
size_t cs_porter_stem(char *word, size_t n);

#endif
