/*
 * Strings of two vocabularies in one sorted array, which is a trie: what begins with a string follows it directly, and the
 * longest proper prefix of each is named. Partners, spellings and masses all come out of it.
 */
#ifndef CS_CORE_VOCAB_STRINGS_H
#define CS_CORE_VOCAB_STRINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Bytes that are compared as memcmp() does; of two with the same beginning the shorter comes first. */
typedef struct cs_vocab_entry {
    uint64_t key; /**< the first eight bytes as one number, zeros behind a shorter string: most comparisons end here */
    const char *bytes;
    uint32_t n_bytes;
    int32_t token; /**< >= 0: of the LLM; else ~token of the SLM */
} cs_vocab_entry;

cs_vocab_entry cs_vocab_entry_make(const char *bytes, size_t n_bytes, int32_t token);

/** Sort by bytes; equal ones by token. */
void cs_vocab_entries_sort(cs_vocab_entry *entries, size_t n);

bool cs_vocab_entry_equal(const cs_vocab_entry *a, const cs_vocab_entry *b);

/** Distinct strings, sorted. It points into what owns them. */
typedef struct cs_vocab_strings {
    int32_t n;
    const int32_t *at; /**< [n + 1] where each begins in bytes */
    const char *bytes;
    const int32_t *parent; /**< [n] the longest proper prefix in the array, −1 none; less than its own index */
    const int32_t *stop;   /**< [n] one past the last string that begins with it */
} cs_vocab_strings;

/** Below 0, 0 or above as string i comes before, is, or comes after s[0..n). */
int cs_vocab_strings_compare(const cs_vocab_strings *strings, int32_t i, const char *s, size_t n);

/** The last of strings [low, high) that does not come after s[0..n); low − 1: all do. */
int32_t cs_vocab_strings_floor(const cs_vocab_strings *strings, int32_t low, int32_t high, const char *s, size_t n);

/** True when s[0..n) begins with string i. */
bool cs_vocab_strings_is_prefix(const cs_vocab_strings *strings, int32_t i, const char *s, size_t n);

/** The longest string that s[0..n) begins with, s itself included; −1: none. `floor` is its place by cs_vocab_strings_floor(). */
int32_t cs_vocab_strings_deepest(const cs_vocab_strings *strings, int32_t floor, const char *s, size_t n);

/** One past the strings that begin with s[0..n) and are longer; they stand directly behind its floor. */
int32_t cs_vocab_strings_range_end(const cs_vocab_strings *strings, int32_t floor, const char *s, size_t n);

#endif
