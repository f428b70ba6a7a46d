/* From text to words: the three tokenisations that the metrics use, as ids of one table. docs/evaluation.md defines them. */
#ifndef CS_EVAL_TOKENS_H
#define CS_EVAL_TOKENS_H

#include "eval/intern.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Owned by the caller; all-zero is empty. */
typedef struct cs_tokens {
    int32_t *ids; /**< [n] */
    size_t n;
    size_t capacity;
} cs_tokens;

/**
 * Add the words of a text as rouge-score has them with its stemmer: runs of a–z and 0–9 of the lower-cased text, those of more
 * than three letters stemmed. All three return false when memory is out.
 */
bool cs_tokens_rouge(cs_intern *table, const char *text, cs_tokens *out);

/** Add the tokens that sacreBLEU's tokenisation 13a (that of mteval-v13a) makes of a text; case is kept. */
bool cs_tokens_13a(cs_intern *table, const char *text, cs_tokens *out);

/** Add the lower-cased words of a text: runs of letters, marks and digits of any script; an ideograph or kana is a word by
 * itself. */
bool cs_tokens_words(cs_intern *table, const char *text, cs_tokens *out);

bool cs_tokens_push(cs_tokens *tokens, int32_t id);

void cs_tokens_dispose(cs_tokens *tokens);

/** Decode the character at bytes[0..n), n >= 1; U+FFFD for what is not UTF-8. */
uint32_t cs_character_next(const char *bytes, size_t n, size_t *length);

/** White space as Unicode has it. */
bool cs_character_is_space(uint32_t character);

#endif
