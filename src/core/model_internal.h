/*
 * What the other files of the core may ask of a model beyond costeer/model.h. No file but model.c, llama_state.c and gguf_file.c
 * includes llama.cpp's headers: everything else sees it through these functions only.
 */
#ifndef CS_CORE_MODEL_INTERNAL_H
#define CS_CORE_MODEL_INTERNAL_H

#include <costeer/model.h>

struct llama_context;
struct llama_model;

/** llama.cpp's object, for llama_state.c. Never changed after loading, though llama.cpp's functions do not take it as const. */
struct llama_model *cs_model_llama(const costeer_model *model);

/** Have a context compute with the model's adapter, if it has one. False when llama.cpp cannot. */
bool cs_model_attach_adapter(const costeer_model *model, struct llama_context *context);

/** True when layers were offloaded: the running state then belongs to the GPU too. */
bool cs_model_is_offloaded(const costeer_model *model);

/** True when the model was loaded without weights. */
bool cs_model_is_vocab_only(const costeer_model *model);

/** Width of the widest feed-forward layer as the file tells it, 0 when it does not. */
int32_t cs_model_n_ff(const costeer_model *model);

/** The text of a token as the vocabulary spells it; NULL for an id out of range. */
const char *cs_model_token_text(const costeer_model *model, int32_t token);

/** What a token is beyond its text: special (control or unknown), one byte that no other token may cover ("<0xE2>"), or read
 * together with the white space before it. */
typedef struct cs_token_traits {
    bool takes_blanks;
    bool is_control;
    bool is_byte;
} cs_token_traits;

cs_token_traits cs_model_token_traits(const costeer_model *model, int32_t token);

/** True when a token ends an answer whatever the template: what is known from the vocabulary alone, on both sides of a network.
 */
bool cs_model_is_vocab_end(const costeer_model *model, int32_t token);

/** The token that ends an answer: end of turn, else end of text; -1: the model has neither. */
int32_t cs_model_end_of_answer(const costeer_model *model);

/** Write vocab_sha256 of costeer_model_info (pair.c). False when OpenSSL fails. */
bool cs_model_hash_vocab(const costeer_model *model, char hex[65]);

/** The token that begins a text, −1 when the model has none or wants none. */
int32_t cs_model_bos(const costeer_model *model);

/** The tokens that a template may write at the begin and the end of a text, −1: the model has none. */
int32_t cs_model_bos_spelling(const costeer_model *model);
int32_t cs_model_eos_spelling(const costeer_model *model);

/**
 * Find the first spelling of a special token in text[0..n).
 *
 * @param[out] at      offset of its first byte
 * @param[out] token   which one; the longest when several begin there
 * @return false when there is none
 */
bool cs_model_find_special(const costeer_model *model, const char *text, size_t n, size_t *at, int32_t *token);

/** True when a text can be part of what reads as a special token: it has such a spelling in it, is in one, or shares an end with
 * the beginning of one, or a beginning with the end. */
bool cs_model_touches_special(const costeer_model *model, const char *text, size_t n);

/** True when a token is special but llama.cpp reads its spelling everywhere, whatever parse_special says. */
bool cs_model_is_always_parsed(const costeer_model *model, int32_t token);

/** Make room for n tokens in all (prompt.c); what is there stays. False when memory could not be had. */
bool cs_tokens_reserve(costeer_tokens *tokens, size_t n);

/** Forget what llama.cpp reported on this thread; tell the first error that it has reported since. One line, never empty. */
void cs_engine_error_clear(void);
const char *cs_engine_error(void);

/** Log what llama.cpp reports on this thread for debugging only, for as long as `stop` is true: it was told to stop. NULL: never.
 */
void cs_engine_set_stop(bool (*stop)(void *user), void *user);

#endif
