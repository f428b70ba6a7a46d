/* What a GGUF file says about itself, looked at before it is loaded. */
#ifndef CS_CORE_GGUF_FILE_H
#define CS_CORE_GGUF_FILE_H

#include <costeer/error.h>
#include <stdbool.h>
#include <stdint.h>

/** What loading needs to know beforehand. */
typedef struct cs_gguf_summary {
    uint64_t file_bytes;
    int64_t n_tensors;
    uint32_t n_ctx_train; /**< 0 when the file does not say */
    uint32_t n_embd;
    uint32_t n_layer;
    uint32_t n_ff;     /**< widest feed-forward layer; 0 when the file does not say */
    uint32_t n_tokens; /**< of the vocabulary, padding included */
    char architecture[65];
    char tokenizer_sha256[65]; /**< of the architecture and all that makes the tokenizer, trailing padding left out */
} cs_gguf_summary;

/**
 * Check that a file is a whole GGUF model that can generate text, as far as its metadata tells.
 *
 * @param needs_weights  refuse a file that holds a vocabulary only
 * @return COSTEER_OK; COSTEER_EMODEL: the message says what is wrong and what to do
 */
costeer_err cs_gguf_file_check(const char *path, bool needs_weights, cs_gguf_summary *out, costeer_error *err);

#endif
