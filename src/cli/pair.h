/* Loading models: the ones named, or the built-in pair, and how their vocabularies go together; progress on a terminal. */
#ifndef CS_CLI_PAIR_H
#define CS_CLI_PAIR_H

#include "cli/progress.h"
#include "cli/settings.h"
#include "cli/templates.h"

#include <costeer/model.h>
#include <costeer/vocab.h>

/** Which models an answer takes. */
typedef struct cs_pair_needs {
    bool llm;
    bool slm;
    bool tuned;
    bool map;                      /**< one answer takes LLM and SLM: their vocabularies are to be brought together */
    const cs_templates *templates; /**< what prompts will have: a token that ends a turn there ends answers */
} cs_pair_needs;

typedef struct cs_pair {
    costeer_model *llm;     /**< with --cloud a vocabulary only; NULL when not asked for, or when the SLM's is the node's too */
    costeer_model *slm;     /**< NULL when not asked for; a vocabulary only when that is all the LLM needs of it */
    costeer_model *tuned;   /**< NULL when not asked for */
    costeer_vocab_map *map; /**< NULL: one vocabulary */
} cs_pair;

/** Write the path of a built-in model ("costeer-llm.gguf") and return an exit code; the message says where it was looked for. */
int cs_builtin_path(const char *file, char *path, size_t size);

/** Load one model; path NULL: the built-in file of that name. Returns an exit code. */
int cs_model_load(const char *path, const char *builtin_file, int32_t n_gpu_layers, cs_progress_kind shown, costeer_model **out);

/**
 * Load what is needed and bring the vocabularies together.
 *
 * @param[out] out  dispose of it in every case
 * @return an exit code
 */
int cs_pair_load(const cs_settings *settings, const cs_pair_needs *needs, cs_pair *out);

/** The model whose vocabulary spells the LLM's tokens. */
const costeer_model *cs_pair_spelling(const cs_pair *pair);

void cs_pair_dispose(cs_pair *pair);

#endif
