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

/** Write a character as UTF-8 to out[0..4); returns its length. */
size_t cs_character_write(uint32_t character, char *out);

/** The lower-case letter of one of the letters whose case is known; another character as it is. */
uint32_t cs_character_lower(uint32_t character);

/** True for letters, marks and digits as in cs_tokens_words(). */
bool cs_character_is_in_word(uint32_t character);

/** True for one that is a word by itself, an ideograph or kana. */
bool cs_character_is_word_alone(uint32_t character);

/** White space as Unicode has it. */
bool cs_character_is_space(uint32_t character);

#endif
