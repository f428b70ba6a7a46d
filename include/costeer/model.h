/* Models: GGUF files loaded through llama.cpp; their vocabulary, templates and prompts; whether two can be paired. */
#ifndef COSTEER_MODEL_H
#define COSTEER_MODEL_H

#include <costeer/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A loaded model: weights and vocabulary, without any running state. Immutable after loading: threads may share it. */
typedef struct costeer_model costeer_model;

/** Called while a model loads, with the share done in [0, 1]; return false to stop (COSTEER_ECANCELED). */
typedef bool (*costeer_model_progress_fn)(float share, void *user);

typedef struct costeer_model_params {
    int32_t n_gpu_layers;      /**< layers to offload when llama.cpp was built with a GPU backend; 0 none, −1 all */
    bool vocab_only;           /**< load the vocabulary and metadata, no weights: enough for costeer_model_get_info and pairing */
    const char *chat_template; /**< what prompts of this model will have instead of its own template, as in costeer_prompt; the
                                    token that ends a turn in it ends answers too; NULL: its own */
    const char *lora_path;     /**< a LoRA adapter (GGUF) for the model, applied to all that is computed with it; NULL: none */
    costeer_model_progress_fn progress; /**< may be NULL */
    void *progress_user;
} costeer_model_params;

/**
 * Load a GGUF model.
 *
 * @param params    NULL: defaults (no offload, weights loaded, no progress)
 * @param[out] out  free with costeer_model_free() after everything made from it; NULL on failure
 * @return COSTEER_OK; COSTEER_EMODEL: the file is missing, truncated, not GGUF, damaged, or cannot generate text (an embedding or
 *         encoder model), or the adapter is none, is damaged, or belongs to another model; COSTEER_ENOMEM; COSTEER_ECANCELED
 *
 * Threads: one load at a time.   Blocks: for the time it takes to read the file.
 */
COSTEER_API costeer_err costeer_model_load(const char *path, const costeer_model_params *params, costeer_model **out,
                                           costeer_error *err);
COSTEER_API void costeer_model_free(costeer_model *model);

/** True when a file is a GGUF adapter, which goes on top of a model; false for everything else, unreadable files too. */
COSTEER_API bool costeer_model_is_adapter(const char *path);

/** What a model is. Strings live as long as the model. */
typedef struct costeer_model_info {
    const char *path;
    const char *adapter_path;  /**< the LoRA adapter on top of it, NULL: none */
    const char *name;          /**< general.name, or "" */
    const char *architecture;  /**< general.architecture, for example "qwen2" */
    const char *description;   /**< llama.cpp's one-line description: size class and quantisation */
    const char *role;          /**< costeer.role: what a model of this project was trained for, "llm" or "slm"; else "" */
    const char *chat_template; /**< the template's text, or NULL */
    const char *vocab_type;    /**< "BPE", "SPM", … */
    char vocab_sha256[65]; /**< hex SHA-256 of the token texts, in order of id, each preceded by its length (32-bit little-endian)
                            */
    uint64_t file_bytes;
    uint64_t size_bytes; /**< of the weights */
    uint64_t n_params;
    int32_t n_vocab;        /**< tokens of the tokenizer, trailing unused padding left out */
    int32_t n_vocab_padded; /**< width of the model's output */
    int32_t n_ctx_train;    /**< positions it was trained for */
    int32_t n_embd;
    int32_t n_layer;
    bool adds_bos;
} costeer_model_info;

COSTEER_API const costeer_model_info *costeer_model_get_info(const costeer_model *model);

/**
 * Check that two models have one vocabulary: the same token-to-id map.
 *
 * Models of one family may pad their output to different widths; the tokenizers' vocabularies are compared, not the widths. An
 * SLM with another vocabulary can steer too: see costeer_vocab_map_create() (costeer/vocab.h).
 *
 * @return COSTEER_OK; COSTEER_EPAIR: they differ; the message names the first token that does, or both sizes
 */
COSTEER_API costeer_err costeer_model_check_pair(const costeer_model *llm, const costeer_model *slm, costeer_error *err);

/** How far the reading of prompts is. */
typedef struct costeer_prompt_progress {
    const char *model; /**< "llm" or "slm" */
    size_t n_done;     /**< tokens computed, over all prompts of that model */
    size_t n_all;      /**< tokens to compute: what is known from the prompts before is left out */
} costeer_prompt_progress;

/**
 * Called while prompts are computed: before the first piece of some dozens of tokens, and after each.
 *
 * Threads: on the thread that computes. Models in this process have a thread each, so calls for two models may come at the same
 * time. It must return soon, and call nothing of what computes.
 */
typedef void (*costeer_prompt_progress_fn)(const costeer_prompt_progress *progress, void *user);

/** A growing list of token ids, owned by the caller; all-zero is an empty one. */
typedef struct costeer_tokens {
    int32_t *ids; /**< [n] */
    size_t n;
    size_t capacity;
} costeer_tokens;

COSTEER_API void costeer_tokens_dispose(costeer_tokens *tokens);

/**
 * Tokenize text; the result replaces what `out` held.
 *
 * @param n_bytes        length of text, at most 64 MiB
 * @param add_special    put BOS/EOS where the model wants them
 * @param parse_special  read special tokens' spellings in the text as those tokens
 * @return COSTEER_OK; COSTEER_EUTF8 (the message gives the byte offset); COSTEER_EINVAL; COSTEER_ENOMEM
 */
COSTEER_API costeer_err costeer_model_tokenize(const costeer_model *model, const char *text, size_t n_bytes, bool add_special,
                                               bool parse_special, costeer_tokens *out, costeer_error *err);

/** Longest piece of text that one token stands for, in bytes. */
#define COSTEER_PIECE_MAX 512

/**
 * Write the bytes of a token as they appear in text (special tokens give none).
 *
 * @param[out] piece  not NUL-terminated; may end in the middle of a UTF-8 character
 * @return bytes written, 0 … COSTEER_PIECE_MAX; 0 for an id out of range
 */
COSTEER_API size_t costeer_model_token_to_piece(const costeer_model *model, int32_t token, char piece[COSTEER_PIECE_MAX]);

/**
 * True when a token ends an answer: the file's end of text and end of turn, llama.cpp's known spellings of both, and where none
 * of these stands behind an answer in the model's chat template, the control token that does.
 */
COSTEER_API bool costeer_model_is_end(const costeer_model *model, int32_t token);

#ifdef __cplusplus
}
#endif
#endif
