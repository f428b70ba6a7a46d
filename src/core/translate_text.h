/*
 * The tokens of a text that grows at its end, as a model's tokenizer splits it: only the end is split anew.
 *
 * The text is an answer's: it goes on behind a prompt, so that no tokenizer may put a space before it.
 */
#ifndef CS_CORE_TRANSLATE_TEXT_H
#define CS_CORE_TRANSLATE_TEXT_H

#include <costeer/model.h>

typedef struct cs_text_tokens cs_text_tokens;

/**
 * Create it; every buffer is allocated here.
 *
 * @param model     whose tokenizer; must outlive it
 * @param n_max     tokens that it can hold
 * @param[out] out  free with cs_text_tokens_free(); NULL on failure
 */
costeer_err cs_text_tokens_create(const costeer_model *model, size_t n_max, cs_text_tokens **out, costeer_error *err);
void cs_text_tokens_free(cs_text_tokens *text);

/** Forget the text. */
void cs_text_tokens_reset(cs_text_tokens *text);

/**
 * Add bytes to the end of the text and split it anew. What begins a UTF-8 character waits for its rest; what can never become one
 * is read as U+FFFD.
 *
 * @return COSTEER_OK; COSTEER_ETOOLONG: more than n_max tokens; COSTEER_ENOMEM; COSTEER_EINTERNAL. The text is lost then
 */
costeer_err cs_text_tokens_push(cs_text_tokens *text, const char *bytes, size_t n, costeer_error *err);

/** The tokens of all whole characters. */
const int32_t *cs_text_tokens_get(const cs_text_tokens *text, size_t *n);

/** How many of the first tokens have stayed what they are since this was asked last. */
size_t cs_text_tokens_take_unchanged(cs_text_tokens *text);

/** Bytes of the text that the first i tokens stand for; −1: not known, as the tokenizer does not keep the text's bytes there. */
int64_t cs_text_tokens_end(const cs_text_tokens *text, size_t i);

/** Bytes of the text, those of an unfinished character included. */
int64_t cs_text_tokens_size(const cs_text_tokens *text);

/** The text's bytes from an offset to its end; NULL when that is too far back. */
const char *cs_text_tokens_from(const cs_text_tokens *text, int64_t offset, size_t *n);

/** Bytes of the tokenizer's longest token. */
size_t cs_text_tokens_longest(const cs_text_tokens *text);

#endif
