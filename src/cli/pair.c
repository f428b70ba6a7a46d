/*
 * Where models come from. The built-in pair is looked for beside the program first, so that a build tree and a relocated
 * installation both find their own; COSTEER_MODELS_DIR in the environment overrides all of it and nothing is then guessed.
 *
 * Two vocabularies are brought together here and only here, so that whatever cannot be paired is found before anything is
 * computed or sent.
 */
#include "cli/pair.h"

#include "cli/message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef COSTEER_MODELS_DIR
#define COSTEER_MODELS_DIR "/usr/local/share/costeer/models"
#endif

/* ---- the built-in pair ------------------------------------------------------------------------------------------- */

/* The folder of the running program, or "" where the system does not tell it. */
static void executable_folder(char *folder, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", folder, size - 1);
    folder[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(folder, '/');
    if (slash != NULL) {
        *slash = '\0';
    }
}

static bool is_in(const char *folder, const char *between, const char *file, char *path, size_t size)
{
    int n = snprintf(path, size, "%s%s/%s", folder, between, file);
    return n > 0 && (size_t)n < size && access(path, R_OK) == 0;
}

int cs_builtin_path(const char *file, char *path, size_t size)
{
    const char *named = getenv("COSTEER_MODELS_DIR");
    if (named != NULL && named[0] != '\0') {
        return is_in(named, "", file, path, size)
                   ? CS_EXIT_OK
                   : cs_fail(CS_EXIT_MODEL, "%s/%s: not there; COSTEER_MODELS_DIR names the folder of the built-in pair", named,
                             file);
    }
    char beside[2048];
    executable_folder(beside, sizeof beside);
    if (beside[0] != '\0' &&
        (is_in(beside, "/../share/costeer/models", file, path, size) || is_in(beside, "/models", file, path, size))) {
        return CS_EXIT_OK;
    }
    if (is_in(COSTEER_MODELS_DIR, "", file, path, size)) {
        return CS_EXIT_OK;
    }
    return cs_fail(CS_EXIT_MODEL,
                   "the built-in %s is not in %s/models, ../share/costeer/models beside it or %s; use --llm and --slm or set "
                   "COSTEER_MODELS_DIR",
                   file, beside, COSTEER_MODELS_DIR);
}

/* ---- loading ----------------------------------------------------------------------------------------------------- */

static int load(const char *path, const char *builtin_file, costeer_model_params params, cs_progress_kind shown,
                costeer_model **out)
{
    char builtin[4096];
    if (path == NULL) {
        int exit_code = cs_builtin_path(builtin_file, builtin, sizeof builtin);
        if (exit_code != CS_EXIT_OK) {
            return exit_code;
        }
        path = builtin;
    }
    cs_load_progress progress;
    cs_load_progress_start(&progress, shown, path);
    params.progress = cs_load_progress_show;
    params.progress_user = &progress;
    costeer_error err = {.code = COSTEER_OK};
    costeer_err code = costeer_model_load(path, &params, out, &err);
    cs_load_progress_end(&progress, code == COSTEER_OK);
    return code == COSTEER_OK ? CS_EXIT_OK : cs_fail_error(&err);
}

int cs_model_load(const char *path, const char *builtin_file, int32_t n_gpu_layers, cs_progress_kind shown, costeer_model **out)
{
    costeer_model_params params = {.n_gpu_layers = n_gpu_layers};
    return load(path, builtin_file, params, shown, out);
}

static cs_progress_kind shown_for(const cs_settings *settings)
{
    return cs_progress_kind_of(settings->quiet, settings->verbose);
}

/* It spells a node's tokens where no LLM's file does. */
static int load_slm(const cs_settings *settings, const cs_pair_needs *needs, bool vocab_only, costeer_model **out)
{
    const bool is_spelling = settings->cloud != NULL && settings->llm == NULL && needs->llm;
    costeer_model_params params = {.n_gpu_layers = vocab_only ? 0 : settings->gpu_layers_slm,
                                   .vocab_only = vocab_only,
                                   .chat_template = cs_templates_of(needs->templates, is_spelling)};
    return load(settings->slm, "costeer-slm.gguf", params, shown_for(settings), out);
}

/* The LLM of a node is not loaded; what spells its tokens is, unless the SLM does. */
static int load_llm(const cs_settings *settings, const cs_pair_needs *needs, cs_pair *out)
{
    const bool is_here = settings->cloud == NULL;
    if (!is_here && settings->llm == NULL) {
        return needs->slm ? CS_EXIT_OK : load_slm(settings, needs, true, &out->slm);
    }
    const costeer_model_params params = {.n_gpu_layers = is_here ? settings->gpu_layers_llm : 0,
                                         .vocab_only = !is_here,
                                         .chat_template = cs_templates_of(needs->templates, true)};
    return load(settings->llm, "costeer-llm.gguf", params, shown_for(settings), &out->llm);
}

/* A model of its own, or an adapter for the SLM that was just loaded. */
static int load_tuned(const cs_settings *settings, cs_pair *out)
{
    costeer_model_params params = {.n_gpu_layers = settings->gpu_layers_slm};
    if (!costeer_model_is_adapter(settings->tuned_slm)) {
        return load(settings->tuned_slm, "costeer-slm.gguf", params, shown_for(settings), &out->tuned);
    }
    params.lora_path = settings->tuned_slm;
    return load(settings->slm, "costeer-slm.gguf", params, shown_for(settings), &out->tuned);
}

/* One line for all models that compute here, before anything is computed in vain. */
static void warn_of_ctx_size(const cs_settings *settings, const cs_pair_needs *needs, const cs_pair *pair)
{
    const costeer_model *const models[] = {settings->cloud == NULL ? pair->llm : NULL, needs->slm ? pair->slm : NULL,
                                           pair->tuned};
    const costeer_model_info *least = NULL;
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        const costeer_model_info *info = models[i] != NULL ? costeer_model_get_info(models[i]) : NULL;
        if (info != NULL && (least == NULL || info->n_ctx_train < least->n_ctx_train)) {
            least = info;
        }
    }
    if (least != NULL && settings->ctx_size > least->n_ctx_train && !settings->quiet) {
        const char *slash = strrchr(least->path, '/');
        cs_fail(CS_EXIT_OK, "warning: --ctx-size %d: %s was trained for %d tokens; what lies beyond may be nonsense",
                (int)settings->ctx_size, slash != NULL ? slash + 1 : least->path, (int)least->n_ctx_train);
    }
}

/* ---- two vocabularies -------------------------------------------------------------------------------------------- */

/* Where the tables are kept; NULL: nowhere. */
static const char *find_cache(char *folder, size_t size)
{
    static const struct {
        const char *variable;
        const char *below;
    } places[] = {{"COSTEER_CACHE_DIR", ""}, {"XDG_CACHE_HOME", "/costeer"}, {"HOME", "/.cache/costeer"}};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const char *value = getenv(places[i].variable);
        if (value != NULL && value[0] != '\0') {
            int n = snprintf(folder, size, "%s%s", value, places[i].below);
            return n > 0 && (size_t)n < size ? folder : NULL;
        }
    }
    return NULL;
}

static int make_map(const cs_settings *settings, cs_pair *pair)
{
    char cache[4096];
    costeer_vocab_map_params params = {.mode = cs_settings_vocab(settings), .cache_dir = find_cache(cache, sizeof cache)};
    costeer_error err = {.code = COSTEER_OK};
    costeer_vocab_map *map = NULL;
    if (costeer_vocab_map_create(pair->llm, pair->slm, &params, &map, &err) != COSTEER_OK) {
        return err.code == COSTEER_EPAIR ? cs_fail(CS_EXIT_MODEL, "%s; see --vocab", err.message) : cs_fail_error(&err);
    }
    if (costeer_vocab_map_mode(map) == COSTEER_VOCAB_SAME) {
        costeer_vocab_map_free(map);
        return CS_EXIT_OK;
    }
    pair->map = map;
    return CS_EXIT_OK;
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

int cs_pair_load(const cs_settings *settings, const cs_pair_needs *needs, cs_pair *out)
{
    memset(out, 0, sizeof *out);
    int exit_code = needs->llm ? load_llm(settings, needs, out) : CS_EXIT_OK;
    if (exit_code == CS_EXIT_OK && needs->slm) {
        exit_code = load_slm(settings, needs, false, &out->slm);
    }
    if (exit_code == CS_EXIT_OK && needs->map && out->llm != NULL) {
        exit_code = make_map(settings, out);
    }
    if (exit_code == CS_EXIT_OK && needs->tuned) {
        exit_code = load_tuned(settings, out);
    }
    if (exit_code == CS_EXIT_OK) {
        warn_of_ctx_size(settings, needs, out);
    }
    return exit_code;
}

const costeer_model *cs_pair_spelling(const cs_pair *pair)
{
    return pair->llm != NULL ? pair->llm : pair->slm;
}

void cs_pair_dispose(cs_pair *pair)
{
    costeer_vocab_map_free(pair->map);
    costeer_model_free(pair->tuned);
    costeer_model_free(pair->slm);
    costeer_model_free(pair->llm);
    memset(pair, 0, sizeof *pair);
}
