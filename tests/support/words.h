/* Small vocabularies without a model, for tests of the tables between two. */
#ifndef CS_TEST_WORDS_H
#define CS_TEST_WORDS_H

#include "core/vocab_internal.h"
#include "unit/random.h"

/** A token: its kind, and its bytes or name. */
typedef struct test_word {
    cs_word_kind kind;
    const char *bytes;
    size_t n_bytes; /* 0: strlen(bytes) */
} test_word;

#define TEXT(s)                            \
    {                                      \
        .kind = CS_WORD_TEXT, .bytes = (s) \
    }
#define BYTE(s)                                          \
    {                                                    \
        .kind = CS_WORD_BYTE, .bytes = (s), .n_bytes = 1 \
    }
#define CONTROL(s)                            \
    {                                         \
        .kind = CS_WORD_CONTROL, .bytes = (s) \
    }
#define UNUSED(s)                          \
    {                                      \
        .kind = CS_WORD_NONE, .bytes = (s) \
    }
#define END(s)                            \
    {                                     \
        .kind = CS_WORD_END, .bytes = (s) \
    }

/** The vocabulary of [n] words. The first end token stands for those without a namesake. Has its hash. */
cs_vocab_words words_make(const test_word *words, size_t n);

/**
 * A random one: text over few letters, so that strings overlap; some tokens share their bytes; some are special or ends.
 *
 * @param n_letters  2 … 256; the bytes 0, 1, … (so that nothing takes a NUL for an end)
 * @param all_bytes  the first n_letters tokens are all letters, so that every text can be spelled
 */
cs_vocab_words words_random(struct test_random *r, int32_t n, int32_t n_letters, bool all_bytes);

/** Align; the test fails, with the message, when that fails. */
costeer_vocab_map *words_align(const cs_vocab_words *llm, const cs_vocab_words *slm, costeer_vocab_mode mode);

/** Fail unless both hold the same tables. */
void assert_same_tables(const costeer_vocab_map *a, const costeer_vocab_map *b);

#endif
