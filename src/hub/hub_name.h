/* Names of models on the hub, and what a GGUF file's name says. Text in, text out. */
#ifndef CS_HUB_NAME_H
#define CS_HUB_NAME_H

#include <stdbool.h>
#include <stddef.h>

#define CS_HUB_REPO_MAX     257
#define CS_HUB_REVISION_MAX 129
#define CS_HUB_TAG_MAX      65
#define CS_HUB_FILE_MAX     513

typedef struct cs_hub_name {
    char repo[CS_HUB_REPO_MAX];         /**< "owner/name" */
    char revision[CS_HUB_REVISION_MAX]; /**< "": main */
    char tag[CS_HUB_TAG_MAX];           /**< quantisation; "": llama.cpp's default */
    char file[CS_HUB_FILE_MAX];         /**< that file; "": the one of the quantisation */
} cs_hub_name;

/** Parse "owner/repo[@revision][:QUANT]" or "hf:owner/repo[@revision]/file.gguf". False: it has neither form. */
bool cs_hub_name_parse(const char *text, cs_hub_name *out);

/** True for a commit's full hash in hexadecimal. */
bool cs_hub_is_commit(const char *text);

/** True for [n] digits of hexadecimal and nothing else. */
bool cs_hub_is_hex(const char *text, size_t n);

/** True for "owner/repo" as the hub allows it. */
bool cs_hub_is_repo(const char *text, size_t n_bytes);

/** True for a relative path that stays below where it is put, is UTF-8, and cannot steer a terminal. */
bool cs_hub_is_path(const char *text);

/** What the name of a GGUF file says. */
typedef struct cs_hub_gguf {
    size_t n_prefix;          /**< bytes before "-00001-of-00002.gguf" or ".gguf" */
    int index;                /**< of the file, from 1 */
    int count;                /**< of files that make the model, 1: this one alone */
    char tag[CS_HUB_TAG_MAX]; /**< quantisation in capitals; "": the name shows none */
} cs_hub_gguf;

/** Read a file's name; false: no ".gguf". */
bool cs_hub_gguf_read(const char *path, cs_hub_gguf *out);

/** True when two files are parts of one model. */
bool cs_hub_gguf_same_model(const char *path, const char *other);

/**
 * Choose a model among the files of a repository, as llama.cpp's find_best_model() does (common/download.cpp, v0.5.0): the first
 * in the hub's order whose path holds the quantisation followed by '.' or '-', no part but the first, no file that goes with a
 * model (mmproj, imatrix, drafters).
 *
 * @param tag  "": Q4_K_M, else Q8_0, else the first model
 * @return an index below n, or n: none
 */
size_t cs_hub_choose(const char *const *paths, size_t n, const char *tag);

#endif
