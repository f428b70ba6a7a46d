/* What a GGUF file says about itself, looked at before it is loaded. */
#ifndef CS_CORE_GGUF_FILE_H
#define CS_CORE_GGUF_FILE_H

#include <costeer/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** What loading needs to know beforehand. */
typedef struct cs_gguf_summary {
    uint64_t file_bytes; /**< of all its files */
    uint32_t n_files;    /**< 1, or more for a model that is split into several (see cs_mapping_file()) */
    int64_t n_tensors;
    uint32_t n_ctx_train; /**< 0 when the file does not say */
    uint32_t n_embd;
    uint32_t n_layer;
    uint32_t n_ff;     /**< widest feed-forward layer; 0 when the file does not say */
    uint32_t n_tokens; /**< of the vocabulary, padding included */
    bool can_map;      /**< its tensors are where llama.cpp can use them without a copy */
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

/* ---- what is in a file, for adapters ------------------------------------------------------------------------------ */

#define CS_GGUF_NAME_MAX 64 /* ggml's, with the NUL */

typedef struct cs_gguf_tensor {
    char name[CS_GGUF_NAME_MAX];
    int64_t ne[4];
    bool is_plain; /**< f32, f16, bf16 or q8_0: what adapters are made of */
} cs_gguf_tensor;

/** All-zero is an empty one. */
typedef struct cs_gguf_listing {
    cs_gguf_tensor *tensors; /**< [n_tensors] in the file's order */
    size_t n_tensors;
    char type[16];         /**< general.type, "" when it is none */
    char architecture[65]; /**< general.architecture */
    char adapter_type[16]; /**< adapter.type */
    bool has_bad_alpha;    /**< adapter.lora.alpha is not a finite 32-bit number */
    bool has_invocation;   /**< adapter.alora.invocation_tokens */
    bool is_split;         /**< the model has further files */
} cs_gguf_listing;

/** List any GGUF file that is whole. Dispose of the listing in every case. COSTEER_EMODEL, COSTEER_ENOMEM. */
costeer_err cs_gguf_file_list(const char *path, cs_gguf_listing *out, costeer_error *err);
void cs_gguf_listing_dispose(cs_gguf_listing *listing);

#endif
