/*
 * A vocabulary as the tables see it: what kind of token each id is, and the bytes or the name that it is matched by. Everything
 * that a table depends on is in here, so the hash of it names the table.
 */
#ifndef CS_CORE_VOCAB_WORDS_H
#define CS_CORE_VOCAB_WORDS_H

#include <costeer/model.h>

typedef enum cs_word_kind {
    CS_WORD_TEXT,    /**< stands for its bytes */
    CS_WORD_BYTE,    /**< stands for one byte that no other token may cover: "<0xE2>" */
    CS_WORD_CONTROL, /**< special, no text */
    CS_WORD_NONE,    /**< unused: neither special nor text */
    CS_WORD_END      /**< ends generation */
} cs_word_kind;

typedef struct cs_vocab_words {
    int32_t n;
    int32_t *at;           /**< [n + 1] where each token's string begins in `bytes` */
    char *bytes;           /**< of text: the bytes it stands for; of the others: their names */
    unsigned char *kinds;  /**< [n] cs_word_kind */
    int32_t end_of_answer; /**< the end token that stands for those without a namesake, −1 none */
    unsigned char sha256[32];
} cs_vocab_words;

/**
 * Take the words out of a model.
 *
 * @param[out] out  dispose of it in every case
 * @return COSTEER_OK; COSTEER_ENOMEM, also for more than 1 GiB of token texts
 */
costeer_err cs_vocab_words_read(const costeer_model *model, cs_vocab_words *out, costeer_error *err);

/** Compute the hash of what is there. False when OpenSSL fails. */
bool cs_vocab_words_hash(cs_vocab_words *words);

void cs_vocab_words_dispose(cs_vocab_words *words);

static inline bool cs_vocab_words_is_text(const cs_vocab_words *words, int32_t token)
{
    return words->kinds[token] == CS_WORD_TEXT || words->kinds[token] == CS_WORD_BYTE;
}

static inline size_t cs_vocab_words_length(const cs_vocab_words *words, int32_t token)
{
    return (size_t)(words->at[token + 1] - words->at[token]);
}

#endif
