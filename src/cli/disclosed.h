/*
 * Words of private texts that a public one says: what whoever reads it has learned of them.
 *
 * A word is a run of letters and digits, upper and lower case of ASCII alike. Chinese, Japanese and Korean are written without
 * spaces: there two characters side by side are a word, and words that touch are one.
 */
#ifndef CS_CLI_DISCLOSED_H
#define CS_CLI_DISCLOSED_H

#include <stdbool.h>
#include <stddef.h>

typedef struct cs_word_set cs_word_set;

/**
 * The words of texts[0..n), which must outlive the set.
 *
 * @return NULL: no memory. Free with cs_word_set_free()
 */
cs_word_set *cs_word_set_create(const char *const *texts, size_t n);
void cs_word_set_free(cs_word_set *set);

/** Receives a word as it stands in the text, at byte `at`. Return false to stop. */
typedef bool (*cs_disclosed_fn)(const char *word, size_t n_bytes, size_t at, void *user);

/**
 * Find the words of text[0..n) that the private texts have and what is known already does not, each time they come.
 *
 * @param known  may be NULL
 * @return false: `found` returned false
 */
bool cs_disclosed_find(const cs_word_set *secret, const cs_word_set *known, const char *text, size_t n, cs_disclosed_fn found,
                       void *user);

#endif
