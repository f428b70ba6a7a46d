/*
 * Models from the Hugging Face hub: pulling them into its cache, finding, listing and removing them there.
 *
 * The cache has the hub's own layout, so that what huggingface_hub or llama.cpp pulled is found here and the other way round. A
 * file takes its name only when its size and its hash are the hub's. Nothing here reads the environment: docs/models.md lists
 * what the program reads for it.
 *
 * A model's name is one of
 *
 *     qwen2.5-1.5b                          a model or a pair of costeer_hub_pairs()
 *     owner/repo[@revision][:QUANT]         the GGUF file of a quantisation, chosen as llama.cpp chooses; without: Q4_K_M, Q8_0,
 * any hf:owner/repo[@revision]/file.gguf    that file; of a model in several files any of them
 */
#ifndef COSTEER_HUB_H
#define COSTEER_HUB_H

#include <costeer/error.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Longest path that is written, with the NUL. */
#define COSTEER_HUB_PATH_MAX 4096

/** How far a pull is. */
typedef struct costeer_hub_progress {
    const char *file;    /**< name of the file in its repository, without control characters */
    uint64_t bytes_done; /**< of all files of the model, those that were there before included */
    uint64_t bytes_all;
    uint64_t bytes_got; /**< received by this call */
    const char *note; /**< a sentence about something that happened ("the connection broke; …"); NULL: only the numbers changed */
} costeer_hub_progress;

/** Called while a model is pulled, on the caller's thread, with every piece that was received. */
typedef void (*costeer_hub_progress_fn)(const costeer_hub_progress *progress, void *user);

typedef struct costeer_hub_params {
    const char *cache_dir;            /**< the folder that holds models--owner--repo; made when it is missing */
    const char *endpoint;             /**< "https://huggingface.co"; plain http is allowed */
    const char *token;                /**< sent to the endpoint's scheme, host and port and to nothing else; NULL: none */
    const char *ca_file;              /**< PEM; NULL: the system's certificates */
    const char *proxy;                /**< NULL: none */
    const char *no_proxy;             /**< as curl reads it; NULL: none */
    bool is_offline;                  /**< costeer_hub_pull() finds what is in the cache and asks nobody */
    int32_t silence_s;                /**< seconds without a byte after which a connection counts as broken; 0: 60 */
    const atomic_bool *cancel;        /**< looked at about once a second; NULL: never */
    costeer_hub_progress_fn progress; /**< NULL: none */
    void *progress_user;
} costeer_hub_params;

/* ---- names ------------------------------------------------------------------------------------------------------- */

/** A recommended model. All strings are constants. */
typedef struct costeer_hub_model {
    const char *name;     /**< "qwen2.5-1.5b" */
    const char *hub_name; /**< "owner/repo@revision:QUANT" */
    const char *licence;  /**< SPDX identifier */
    uint64_t bytes;       /**< of its files */
    bool is_pinned;       /**< the revision is one commit */
} costeer_hub_model;

/** A recommended pair: two models of one vocabulary. */
typedef struct costeer_hub_pair {
    const char *name;
    int32_t device_gib; /**< memory of the device it is meant for, with both models on it */
    costeer_hub_model llm;
    costeer_hub_model slm;
    const char *why;
} costeer_hub_pair;

/** The recommended pairs, the smallest first. */
COSTEER_API const costeer_hub_pair *costeer_hub_pairs(size_t *n);

/** The pair of that name, or NULL. */
COSTEER_API const costeer_hub_pair *costeer_hub_find_pair(const char *name);

/** True when text has the form of a model's name, or is that of a recommended model or pair. A path may have that form too. */
COSTEER_API bool costeer_hub_is_name(const char *text);

/* ---- the cache --------------------------------------------------------------------------------------------------- */

/**
 * Get a model: ask the hub for the revision and its files, and download those that the cache lacks.
 *
 * A download that breaks resumes, in this call and in the next one. Other programs that pull the same file are waited for.
 *
 * @param name        a model's name; of a pair's the LLM is pulled, unless is_slm
 * @param[out] path   of the model's (first) file in the cache; "" on failure
 * @return COSTEER_OK; COSTEER_EINVAL: no name; COSTEER_EMODEL: no such GGUF file there, or (offline) not in the cache;
 * COSTEER_ECLOUD: the hub refused, failed or sent something else than it announced; COSTEER_ETIMEDOUT; COSTEER_EIO: the cache
 * cannot be written, or there is no room; COSTEER_ECANCELED; COSTEER_ENOMEM. After a failure the cache holds what it held, and at
 * most the beginning of a file under another name.
 *
 * Threads: any, several at a time.   Blocks: for the time of the download.
 */
COSTEER_API costeer_err costeer_hub_pull(const costeer_hub_params *params, const char *name, bool is_slm,
                                         char path[COSTEER_HUB_PATH_MAX], costeer_error *err);

/**
 * Find a model in the cache; nobody is asked.
 *
 * @return COSTEER_OK; COSTEER_EINVAL: no name; COSTEER_EMODEL: not there, or not all of its files; COSTEER_EIO; COSTEER_ENOMEM
 */
COSTEER_API costeer_err costeer_hub_find(const char *cache_dir, const char *name, bool is_slm, char path[COSTEER_HUB_PATH_MAX],
                                         costeer_error *err);

/** A model in the cache. */
typedef struct costeer_hub_entry {
    char *name;     /**< as a model's name */
    char *path;     /**< of the (first) file */
    uint64_t bytes; /**< of all its files */
} costeer_hub_entry;

/** All-zero is an empty one; free with costeer_hub_list_dispose(). */
typedef struct costeer_hub_list {
    costeer_hub_entry *entries; /**< [n] in the order of their names */
    size_t n;
} costeer_hub_list;

/** List the models of a cache, whole ones only; a folder that is missing holds none. COSTEER_EIO, COSTEER_ENOMEM. */
COSTEER_API costeer_err costeer_hub_list_models(const char *cache_dir, costeer_hub_list *out, costeer_error *err);
COSTEER_API void costeer_hub_list_dispose(costeer_hub_list *list);

/**
 * Remove models: their names in the snapshots, and the files that nothing else refers to.
 *
 * @param name        as listed; "owner/repo" without a quantisation: all GGUF models of the repository; of a pair both
 * @param[out] bytes  freed; may be NULL
 * @return COSTEER_OK; COSTEER_EINVAL: no name; COSTEER_EMODEL: not there; COSTEER_EIO; COSTEER_ENOMEM
 */
COSTEER_API costeer_err costeer_hub_remove(const char *cache_dir, const char *name, uint64_t *bytes, costeer_error *err);

#ifdef __cplusplus
}
#endif
#endif
