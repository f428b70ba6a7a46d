/*
 * costeer vocab: how the tokens of an LLM relate to those of an SLM, and what bringing them together costs. Like costeer model it
 * loads vocabularies only, so that it answers at once for models of any size.
 */
#include "cli/cmd.h"
#include "cli/json.h"
#include "cli/message.h"
#include "cli/pair.h"

#include <costeer/vocab.h>
#include <dirent.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Enough runs for a minimum that a busy machine does not spoil. */
#define N_BUILDS 10
#define N_PASSES 200

typedef struct vocab_settings {
    const char *llm;
    const char *slm;
    const char *mode;
    bool json;
    bool time;
} vocab_settings;

static const cs_option options[] = {
    {.name = "llm",
     .kind = CS_OPTION_LLM,
     .value_name = "MODEL",
     .offset = offsetof(vocab_settings, llm),
     .help = "The LLM whose tokens are written: a GGUF file, or a name as of costeer pull; without: the built-in LLM"},
    {.name = "slm",
     .kind = CS_OPTION_SLM,
     .value_name = "MODEL",
     .offset = offsetof(vocab_settings, slm),
     .help = "The SLM that steers, as --llm; without: the built-in SLM"},
    {.name = "mode",
     .kind = CS_OPTION_CHOICE,
     .value_name = "MODE",
     .choices = "auto|same|map|map-intersect|byte",
     .default_value = "auto",
     .offset = offsetof(vocab_settings, mode),
     .help = "How to bring them together, as --vocab of generate"},
    {.name = "time",
     .kind = CS_OPTION_FLAG,
     .offset = offsetof(vocab_settings, time),
     .help = "Measure, on one thread: making the tables, reading them from a cache, and with mode byte one pass over them"},
    {.name = "json", .kind = CS_OPTION_FLAG, .offset = offsetof(vocab_settings, json), .help = "Print one JSON object"},
};

static const cs_option_group group = CS_OPTION_GROUP("Options", options);

/** Milliseconds of several runs; n = 0: there was nothing to measure. */
typedef struct timing {
    double ms[N_PASSES];
    size_t n;
} timing;

typedef struct comparison {
    costeer_model *llm;
    costeer_model *slm;
    costeer_vocab_mode asked;
    costeer_vocab_mode mode;
    costeer_vocab_coverage coverage;
    timing build;
    timing load;
    timing pass;
} comparison;

/* ---- measuring --------------------------------------------------------------------------------------------------- */

static int compare_doubles(const void *left, const void *right)
{
    const double a = *(const double *)left;
    const double b = *(const double *)right;
    return (a > b) - (a < b);
}

static void sort_timing(timing *t)
{
    qsort(t->ms, t->n, sizeof t->ms[0], compare_doubles);
}

static double median(const timing *t)
{
    return (t->ms[(t->n - 1) / 2] + t->ms[t->n / 2]) / 2.0;
}

/* Make a map N_BUILDS times; with a folder only those that came from it count. */
static costeer_err time_maps(const comparison *c, const char *cache_dir, timing *out, costeer_error *err)
{
    const costeer_vocab_map_params params = {.mode = c->mode, .cache_dir = cache_dir};
    for (size_t i = 0; i < N_BUILDS + 1; i++) {
        costeer_vocab_map *map;
        const costeer_err code = costeer_vocab_map_create(c->llm, c->slm, &params, &map, err);
        if (code != COSTEER_OK) {
            return code;
        }
        costeer_vocab_coverage coverage;
        costeer_vocab_map_read_coverage(map, &coverage);
        if (i > 0 && coverage.was_cached == (cache_dir != NULL)) { /* the first warms up, or fills the cache */
            out->ms[out->n++] = (double)coverage.build_us / 1e3;
        }
        costeer_vocab_map_free(map);
    }
    sort_timing(out);
    return COSTEER_OK;
}

static void remove_folder(const char *path)
{
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        char file[4096];
        const int n = snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        if (n > 0 && (size_t)n < sizeof file && strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            (void)unlink(file);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    (void)rmdir(path);
}

static int time_loads(comparison *c)
{
    const char *named = getenv("TMPDIR");
    const char *folder = named != NULL && *named != '\0' ? named : "/tmp";
    char path[2048];
    const int n = snprintf(path, sizeof path, "%s/costeer-vocab-XXXXXX", folder);
    if (n <= 0 || (size_t)n >= sizeof path) {
        return cs_fail_output(folder, ENAMETOOLONG);
    }
    if (mkdtemp(path) == NULL) {
        return cs_fail_output(folder, errno);
    }
    costeer_error err = {.code = COSTEER_OK};
    const costeer_err code = time_maps(c, path, &c->load, &err);
    remove_folder(path);
    return code == COSTEER_OK ? CS_EXIT_OK : cs_fail_error(&err);
}

static int measure(comparison *c, const costeer_vocab_map *map)
{
    costeer_error err = {.code = COSTEER_OK};
    if (time_maps(c, NULL, &c->build, &err) != COSTEER_OK) {
        return cs_fail_error(&err);
    }
    const int exit_code = c->mode == COSTEER_VOCAB_SAME ? CS_EXIT_OK : time_loads(c);
    if (exit_code != CS_EXIT_OK || c->mode != COSTEER_VOCAB_BYTE) {
        return exit_code;
    }
    if (costeer_vocab_map_time_passes(map, N_PASSES, c->pass.ms, &err) != COSTEER_OK) {
        return cs_fail_error(&err);
    }
    c->pass.n = N_PASSES;
    for (size_t i = 0; i < N_PASSES; i++) {
        c->pass.ms[i] /= 1e3;
    }
    sort_timing(&c->pass);
    return CS_EXIT_OK;
}

/* ---- output ------------------------------------------------------------------------------------------------------ */

static double share(const comparison *c, int32_t n)
{
    return c->coverage.n_llm > 0 ? (double)n / (double)c->coverage.n_llm : 0.0;
}

static void print_count(cs_output *out, const comparison *c, const char *name, int32_t n, const char *what)
{
    cs_output_print(out, "  %-16s %7d  %6.2f%%  %s\n", name, (int)n, 100.0 * share(c, n), what);
}

static void print_timing(cs_output *out, const char *name, const timing *t)
{
    if (t->n > 0) {
        cs_output_print(out, "  %-16s %9.3f ms at best, median %.3f ms of %zu\n", name, t->ms[0], median(t), t->n);
    }
}

static void print_text(cs_output *out, const comparison *c)
{
    const costeer_vocab_coverage *v = &c->coverage;
    cs_output_print(out, "%d tokens of the LLM, %d of the SLM\n", (int)v->n_llm, (int)v->n_slm);
    cs_output_print(out, "  %-16s %s%s\n", "mode", costeer_vocab_mode_name(c->mode),
                    c->mode == c->asked             ? ""
                    : c->mode == COSTEER_VOCAB_SAME ? " (the vocabularies are identical)"
                                                    : " (the vocabularies differ)");
    print_count(out, c, "exact", v->n_exact, "the SLM has a token of the very same bytes");
    print_count(out, c, "prefix", v->n_prefix, "it has one of their longest prefix");
    print_count(out, c, "end", v->n_end, "end of generation, aligned by role");
    print_count(out, c, "special", v->n_control, "special, of the same name");
    print_count(out, c, "none", v->n_none, "without a partner");
    cs_output_print(out, "  %-16s %9.3f ms\n", "made in", (double)v->build_us / 1e3);
    print_timing(out, "making tables", &c->build);
    print_timing(out, "from the cache", &c->load);
    print_timing(out, "a byte pass", &c->pass);
}

static json_t *make_count(const comparison *c, int32_t n)
{
    return json_pack("{s:i, s:o}", "n", (int)n, "share", cs_json_number(share(c, n)));
}

static json_t *make_timing(const timing *t)
{
    return t->n == 0 ? json_null()
                     : json_pack("{s:o, s:o, s:I}", "min_ms", cs_json_number(t->ms[0]), "median_ms", cs_json_number(median(t)),
                                 "runs", (json_int_t)t->n);
}

static json_t *make_json(const comparison *c, bool with_time)
{
    const costeer_vocab_coverage *v = &c->coverage;
    json_t *object = json_pack("{s:s, s:s, s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:o}", "asked", costeer_vocab_mode_name(c->asked),
                               "mode", costeer_vocab_mode_name(c->mode), "n_llm", (int)v->n_llm, "n_slm", (int)v->n_slm, "exact",
                               make_count(c, v->n_exact), "prefix", make_count(c, v->n_prefix), "end", make_count(c, v->n_end),
                               "special", make_count(c, v->n_control), "none", make_count(c, v->n_none), "build_ms",
                               cs_json_number((double)v->build_us / 1e3));
    if (object != NULL && with_time &&
        json_object_set_new(object, "time",
                            json_pack("{s:o, s:o, s:o}", "build", make_timing(&c->build), "load", make_timing(&c->load), "pass",
                                      make_timing(&c->pass))) != 0) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static int print(const comparison *c, const vocab_settings *settings)
{
    cs_output out;
    cs_output_init_stdout(&out);
    int exit_code = CS_EXIT_OK;
    if (settings->json) {
        exit_code = cs_json_print(&out, make_json(c, settings->time));
    } else {
        print_text(&out, c);
    }
    const int error = cs_output_close(&out);
    return error == 0 ? exit_code : cs_fail_output(out.name, error);
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

static int load_vocabulary(const char *path, const char *builtin_file, costeer_model **out)
{
    char builtin[4096];
    if (path == NULL) {
        const int exit_code = cs_builtin_path(builtin_file, builtin, sizeof builtin);
        if (exit_code != CS_EXIT_OK) {
            return exit_code;
        }
        path = builtin;
    }
    costeer_error err = {.code = COSTEER_OK};
    const costeer_model_params params = {.vocab_only = true};
    return costeer_model_load(path, &params, out, &err) == COSTEER_OK ? CS_EXIT_OK : cs_fail_error(&err);
}

static costeer_vocab_mode mode_named(const char *name)
{
    int mode = COSTEER_VOCAB_AUTO;
    while (mode < COSTEER_VOCAB_BYTE && strcmp(costeer_vocab_mode_name((costeer_vocab_mode)mode), name) != 0) {
        mode++;
    }
    return (costeer_vocab_mode)mode;
}

static int compare(comparison *c, const vocab_settings *settings)
{
    c->asked = mode_named(settings->mode);
    const costeer_vocab_map_params params = {.mode = c->asked};
    costeer_vocab_map *map;
    costeer_error err = {.code = COSTEER_OK};
    if (costeer_vocab_map_create(c->llm, c->slm, &params, &map, &err) != COSTEER_OK) {
        return cs_fail_error(&err);
    }
    c->mode = costeer_vocab_map_mode(map);
    costeer_vocab_map_read_coverage(map, &c->coverage);
    int exit_code = settings->time ? measure(c, map) : CS_EXIT_OK;
    costeer_vocab_map_free(map);
    if (exit_code == CS_EXIT_OK) {
        exit_code = print(c, settings);
    }
    return exit_code;
}

static int run(const cs_command *self, int argc, char **argv)
{
    vocab_settings settings = {0};
    cs_arguments arguments = {.n = 0};
    int exit_code;
    if (!cs_options_parse(self, argc, argv, &settings, &arguments, &exit_code)) {
        return exit_code;
    }
    if (arguments.n > 0) {
        return cs_fail(CS_EXIT_USAGE, "vocab: takes no argument; name the models with --llm and --slm");
    }
    comparison c;
    memset(&c, 0, sizeof c);
    exit_code = load_vocabulary(settings.llm, "costeer-llm.gguf", &c.llm);
    if (exit_code == CS_EXIT_OK) {
        exit_code = load_vocabulary(settings.slm, "costeer-slm.gguf", &c.slm);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = compare(&c, &settings);
    }
    costeer_model_free(c.slm);
    costeer_model_free(c.llm);
    return exit_code;
}

const cs_command cs_command_vocab = {
    .name = "vocab",
    .arguments = "",
    .summary = "show how the tokens of an LLM relate to those of an SLM",
    .description =
        "Loads both vocabularies, brings them together as generate would, and prints how many of the LLM's tokens have a partner "
        "in "
        "the SLM's: one of the very same bytes, or of their longest prefix; end tokens are aligned by role and special ones by "
        "name. Identical vocabularies are \"same\" whatever --mode says. With --mode same, different ones end it with exit code "
        "4.",
    .examples = "  costeer vocab --llm big.gguf --slm small.gguf\n"
                "  costeer vocab --llm big.gguf --slm small.gguf --mode byte --time --json",
    .groups = {&group},
    .run = run,
};
