/* Small vocabularies without a model: see words.h. */
#include "support/words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static size_t length_of(const test_word *word)
{
    return word->n_bytes > 0 ? word->n_bytes : strlen(word->bytes);
}

cs_vocab_words words_make(const test_word *words, size_t n)
{
    size_t n_bytes = 0;
    for (size_t i = 0; i < n; i++) {
        n_bytes += length_of(&words[i]);
    }
    cs_vocab_words out = {.n = (int32_t)n, .end_of_answer = -1};
    out.at = calloc(n + 1, sizeof *out.at);
    out.kinds = calloc(n + 1, 1);
    out.bytes = calloc(n_bytes + 1, 1);
    assert_non_null(out.at);
    assert_non_null(out.kinds);
    assert_non_null(out.bytes);
    for (size_t i = 0; i < n; i++) {
        out.kinds[i] = (unsigned char)words[i].kind;
        memcpy(out.bytes + out.at[i], words[i].bytes, length_of(&words[i]));
        out.at[i + 1] = out.at[i] + (int32_t)length_of(&words[i]);
        if (words[i].kind == CS_WORD_END && out.end_of_answer < 0) {
            out.end_of_answer = (int32_t)i;
        }
    }
    assert_true(cs_vocab_words_hash(&out));
    return out;
}

#define LETTERS_MAX 6

cs_vocab_words words_random(struct test_random *r, int32_t n, int32_t n_letters, bool all_bytes)
{
    test_word *words = calloc((size_t)n, sizeof *words);
    char *letters = calloc((size_t)n, LETTERS_MAX);
    assert_non_null(words);
    assert_non_null(letters);
    for (int32_t i = 0; i < n; i++) {
        char *bytes = letters + (size_t)i * LETTERS_MAX;
        const bool is_letter = all_bytes && i < n_letters;
        const int32_t kind = is_letter ? 10 : test_random_below(r, 24);
        words[i].kind = kind == 0 ? CS_WORD_CONTROL : (kind == 1 ? CS_WORD_END : (kind == 2 ? CS_WORD_BYTE : CS_WORD_TEXT));
        words[i].n_bytes = is_letter || words[i].kind == CS_WORD_BYTE ? 1 : 1 + (size_t)test_random_below(r, LETTERS_MAX);
        words[i].bytes = bytes;
        for (size_t j = 0; j < words[i].n_bytes; j++) {
            bytes[j] = (char)(is_letter ? i : test_random_below(r, n_letters));
        }
    }
    const cs_vocab_words out = words_make(words, (size_t)n);
    free(letters);
    free(words);
    return out;
}

costeer_vocab_map *words_align(const cs_vocab_words *llm, const cs_vocab_words *slm, costeer_vocab_mode mode)
{
    costeer_vocab_map *map = NULL;
    costeer_error err = {.code = COSTEER_OK};
    if (cs_vocab_map_align(llm, slm, mode, &map, &err) != COSTEER_OK) {
        fail_msg("%s", err.message);
    }
    return map;
}

void assert_same_tables(const costeer_vocab_map *a, const costeer_vocab_map *b)
{
    assert_int_equal(a->mode, b->mode);
    assert_memory_equal(&a->sizes, &b->sizes, sizeof a->sizes);
    assert_memory_equal(a->block, b->block, cs_vocab_block_bytes(&a->sizes));
}
