/*
 * Tokenizers that models share. One of 152k tokens takes llama.cpp some 40 MB, and a pair has the same one twice. So the first
 * model loaded with a tokenizer lends it to the next ones, which are loaded without; it stays in memory until the last of them
 * is freed.
 */
#ifndef CS_CORE_TOKENIZER_H
#define CS_CORE_TOKENIZER_H

typedef struct cs_tokenizer cs_tokenizer;
struct llama_model;

/** The tokenizer of a model that is loaded already, with one more user; NULL when there is none like it. */
cs_tokenizer *cs_tokenizer_borrow(const char *sha256);

/** Offer a model's tokenizer to the next ones. The model then belongs to the tokenizer. NULL: no memory. */
cs_tokenizer *cs_tokenizer_lend(const char *sha256, struct llama_model *owner);

struct llama_model *cs_tokenizer_owner(const cs_tokenizer *tokenizer);

/** One user less. Returns the owner, which is then to be freed, after the last one; else NULL. `used` may be NULL. */
struct llama_model *cs_tokenizer_return(cs_tokenizer *used);

#endif
