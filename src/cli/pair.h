/* Loading models: the ones named, or the built-in pair; progress on a terminal. */
#ifndef CS_CLI_PAIR_H
#define CS_CLI_PAIR_H

#include "cli/settings.h"

#include <costeer/model.h>

typedef struct cs_pair {
    costeer_model *llm; /**< NULL when it is on a node */
    costeer_model *slm; /**< NULL when not asked for */
} cs_pair;

/** Write the path of a built-in model ("costeer-llm.gguf") and return an exit code; the message says where it was looked for. */
int cs_builtin_path(const char *file, char *path, size_t size);

/** Load one model; path NULL: the built-in file of that name. Returns an exit code. */
int cs_model_load(const char *path, const char *builtin_file, int32_t n_gpu_layers, bool quiet, costeer_model **out);

/** Load the SLM that the settings name, or its vocabulary only, which is enough to spell prompts and answers. */
int cs_slm_load(const cs_settings *settings, bool vocab_only, costeer_model **out);

/**
 * Load the pair and check that it is one.
 *
 * @param[out] out  dispose of it in every case
 * @return an exit code
 */
int cs_pair_load(const cs_settings *settings, bool with_slm, cs_pair *out);

void cs_pair_dispose(cs_pair *pair);

#endif
