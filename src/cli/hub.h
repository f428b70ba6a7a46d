/* Models by name: what the environment says about the hub (Hugging Face's variables), and where a name's file is. */
#ifndef CS_CLI_HUB_H
#define CS_CLI_HUB_H

#include <costeer/hub.h>
#include <stdbool.h>

/** The parameters of the hub's functions and the texts they point to. */
typedef struct cs_hub_environment {
    costeer_hub_params params; /**< progress is left to the caller */
    char cache_dir[COSTEER_HUB_PATH_MAX];
    char *token; /**< owned */
} cs_hub_environment;

/** Read the environment; dispose of it in every case. Returns an exit code. */
int cs_hub_environment_read(cs_hub_environment *out);
void cs_hub_environment_dispose(cs_hub_environment *environment);

/** The name of a recommended model or pair that was perhaps meant, or NULL. */
const char *cs_hub_nearest(const char *name);

/** Write the cache's folder and return an exit code. */
int cs_hub_cache_dir(char out[COSTEER_HUB_PATH_MAX]);

/**
 * Find the file of a model that was named on the command line.
 *
 * @param value      a path, or a model's name (costeer/hub.h); a file of that name comes first
 * @param is_slm     of a pair's name the SLM is meant
 * @param buffer     holds the path of a model that was found in the cache
 * @param[out] path  value itself, or buffer; what has a '/' or ends in ".gguf" and is no name is left to whoever opens it
 * @return an exit code
 */
int cs_hub_locate(const char *value, bool is_slm, char buffer[COSTEER_HUB_PATH_MAX], const char **path);

#endif
