/*
 * Where models come from. The built-in pair is looked for beside the program first, so that a build tree and a relocated
 * installation both find their own; COSTEER_MODELS_DIR in the environment overrides all of it and nothing is then guessed.
 */
#include "cli/pair.h"

#include "cli/message.h"
#include "cli/signals.h"
#include "util/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef COSTEER_MODELS_DIR
#define COSTEER_MODELS_DIR "/usr/local/share/costeer/models"
#endif

/* Small models load faster than this, and a line that flashes by tells nothing. */
#define PROGRESS_AFTER_US 400000

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

typedef struct progress {
    const char *name;
    int64_t start_us;
    bool is_shown; /* progress may be shown at all */
    bool is_there; /* and a line stands on the terminal */
    int percent;
} progress;

static bool on_progress(float share, void *user)
{
    progress *p = user;
    int percent = (int)(share * 100.0F);
    if (p->is_shown && percent != p->percent && cs_clock_us() - p->start_us > PROGRESS_AFTER_US) {
        p->percent = percent;
        p->is_there = true;
        fprintf(stderr, "\r\033[Kloading %s %d%%", p->name, percent);
    }
    return !cs_interrupted();
}

static int load(const char *path, const char *builtin_file, costeer_model_params params, bool quiet, costeer_model **out)
{
    char builtin[4096];
    if (path == NULL) {
        int exit_code = cs_builtin_path(builtin_file, builtin, sizeof builtin);
        if (exit_code != CS_EXIT_OK) {
            return exit_code;
        }
        path = builtin;
    }
    const char *slash = strrchr(path, '/');
    progress p = {.name = slash != NULL ? slash + 1 : path, .start_us = cs_clock_us(), .percent = -1};
    p.is_shown = !quiet && cs_stderr_is_terminal();
    params.progress = on_progress;
    params.progress_user = &p;
    costeer_error err = {.code = COSTEER_OK};
    costeer_err code = costeer_model_load(path, &params, out, &err);
    if (p.is_there) {
        fputs("\r\033[K", stderr);
    }
    return code == COSTEER_OK ? CS_EXIT_OK : cs_fail_error(&err);
}

int cs_model_load(const char *path, const char *builtin_file, int32_t n_gpu_layers, bool quiet, costeer_model **out)
{
    costeer_model_params params = {.n_gpu_layers = n_gpu_layers};
    return load(path, builtin_file, params, quiet, out);
}

int cs_slm_load(const cs_settings *settings, bool vocab_only, costeer_model **out)
{
    costeer_model_params params = {.n_gpu_layers = vocab_only ? 0 : settings->gpu_layers_slm, .vocab_only = vocab_only};
    return load(settings->slm, "costeer-slm.gguf", params, settings->quiet, out);
}

int cs_pair_load(const cs_settings *settings, bool with_slm, cs_pair *out)
{
    out->llm = NULL;
    out->slm = NULL;
    int exit_code = cs_model_load(settings->llm, "costeer-llm.gguf", settings->gpu_layers_llm, settings->quiet, &out->llm);
    if (exit_code != CS_EXIT_OK || !with_slm) {
        return exit_code;
    }
    exit_code = cs_slm_load(settings, false, &out->slm);
    if (exit_code != CS_EXIT_OK) {
        return exit_code;
    }
    costeer_error err = {.code = COSTEER_OK};
    return costeer_model_check_pair(out->llm, out->slm, &err) == COSTEER_OK ? CS_EXIT_OK : cs_fail_error(&err);
}

void cs_pair_dispose(cs_pair *pair)
{
    costeer_model_free(pair->slm);
    costeer_model_free(pair->llm);
    pair->slm = NULL;
    pair->llm = NULL;
}
