/* costeer pull: get models from the hub into its cache, and the list of recommended pairs. */
#include "cli/cmd.h"
#include "cli/hub.h"
#include "cli/json.h"
#include "cli/message.h"
#include "cli/progress.h"
#include "util/clock.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

typedef struct pull_settings {
    bool list;
    bool json;
    bool quiet;
    bool verbose;
} pull_settings;

static const cs_option options[] = {
    {.name = "list",
     .kind = CS_OPTION_FLAG,
     .offset = offsetof(pull_settings, list),
     .help = "List the recommended pairs, and pull nothing"},
    {.name = "json", .kind = CS_OPTION_FLAG, .offset = offsetof(pull_settings, json), .help = "Print one JSON object"},
    {.name = "quiet",
     .letter = 'q',
     .kind = CS_OPTION_FLAG,
     .offset = offsetof(pull_settings, quiet),
     .help = "Show no progress"},
    {.name = "verbose",
     .letter = 'v',
     .kind = CS_OPTION_FLAG,
     .offset = offsetof(pull_settings, verbose),
     .help = "Where standard error is no terminal, show progress as lines, one in some seconds"},
};

static const cs_option_group group = CS_OPTION_GROUP("Options", options);

/* ---- progress ---------------------------------------------------------------------------------------------------- */

typedef struct pull_progress {
    cs_transfer_progress shown;
    char last_note[96]; /* one that repeats itself is shown once */
} pull_progress;

static void show(const costeer_hub_progress *progress, void *user)
{
    pull_progress *p = user;
    if (progress->note != NULL && strcmp(progress->note, p->last_note) != 0) {
        (void)snprintf(p->last_note, sizeof p->last_note, "%s", progress->note);
        cs_transfer_progress_note(&p->shown, progress->file, progress->note);
    }
    if (progress->note == NULL) {
        cs_transfer_progress_show(&p->shown, progress->file, progress->bytes_done, progress->bytes_all, progress->bytes_got);
    }
}

/* ---- the list ---------------------------------------------------------------------------------------------------- */

static json_t *describe_model(const costeer_hub_model *model)
{
    return json_pack("{s:s, s:s, s:s, s:I, s:b}", "name", model->name, "hub_name", model->hub_name, "licence", model->licence,
                     "bytes", (json_int_t)model->bytes, "pinned", model->is_pinned);
}

static int list_json(cs_output *out)
{
    size_t n;
    const costeer_hub_pair *pairs = costeer_hub_pairs(&n);
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        (void)json_array_append_new(list, json_pack("{s:s, s:i, s:o, s:o, s:s}", "name", pairs[i].name, "device_gib",
                                                    (int)pairs[i].device_gib, "llm", describe_model(&pairs[i].llm), "slm",
                                                    describe_model(&pairs[i].slm), "why", pairs[i].why));
    }
    return cs_json_print(out, json_pack("{s:o}", "pairs", list));
}

static int list_text(cs_output *out)
{
    size_t n;
    const costeer_hub_pair *pairs = costeer_hub_pairs(&n);
    cs_output_print(out, "%-14s %-7s %-13s %-13s %8s  %-11s %s\n", "PAIR", "DEVICE", "LLM", "SLM", "SIZE", "LICENCE", "WHY");
    for (size_t i = 0; i < n; i++) {
        const costeer_hub_pair *pair = &pairs[i];
        cs_output_print(out, "%-14s %2d GiB  %-13s %-13s %5.1f GB  %-11s %s\n", pair->name, (int)pair->device_gib, pair->llm.name,
                        pair->slm.name, (double)(pair->llm.bytes + pair->slm.bytes) / 1e9, pair->llm.licence, pair->why);
    }
    return CS_EXIT_OK;
}

/* ---- pulling ----------------------------------------------------------------------------------------------------- */

static int pull_model(cs_hub_environment *hub, const pull_settings *settings, const char *name, bool is_slm, cs_output *out,
                      json_t *models)
{
    char path[COSTEER_HUB_PATH_MAX];
    costeer_error err = {.code = COSTEER_OK};
    pull_progress progress = {.last_note = ""};
    cs_transfer_progress_start(&progress.shown, cs_progress_kind_of(settings->quiet, settings->verbose));
    hub->params.progress = show;
    hub->params.progress_user = &progress;
    const costeer_err code = costeer_hub_pull(&hub->params, name, is_slm, path, &err);
    cs_transfer_progress_end(&progress.shown);
    if (code != COSTEER_OK) {
        return cs_fail_error(&err);
    }
    if (models != NULL) {
        (void)json_array_append_new(models, json_pack("{s:s, s:o}", "name", name, "path", cs_json_text(path, strlen(path))));
    } else {
        cs_output_print(out, "%s\n", path);
    }
    return CS_EXIT_OK;
}

/* A near miss of a recommended name, before anything is downloaded. */
static int check_names(const cs_arguments *arguments)
{
    for (size_t i = 0; i < arguments->n; i++) {
        const char *name = arguments->items[i];
        const char *nearest = costeer_hub_is_name(name) ? NULL : cs_hub_nearest(name);
        if (nearest != NULL) {
            return cs_fail(CS_EXIT_USAGE, "%s: no model's name; did you mean %s? see costeer pull --list", name, nearest);
        }
    }
    return CS_EXIT_OK;
}

static int pull_all(const pull_settings *settings, const cs_arguments *arguments, cs_output *out)
{
    cs_hub_environment hub;
    int exit_code = cs_hub_environment_read(&hub);
    exit_code = exit_code == CS_EXIT_OK ? check_names(arguments) : exit_code;
    json_t *models = settings->json ? json_array() : NULL;
    for (size_t i = 0; exit_code == CS_EXIT_OK && i < arguments->n; i++) {
        const char *name = arguments->items[i];
        exit_code = pull_model(&hub, settings, name, false, out, models);
        if (exit_code == CS_EXIT_OK && costeer_hub_find_pair(name) != NULL) {
            exit_code = pull_model(&hub, settings, name, true, out, models);
        }
    }
    cs_hub_environment_dispose(&hub);
    if (exit_code == CS_EXIT_OK && settings->json) {
        return cs_json_print(out, json_pack("{s:o}", "models", models));
    }
    json_decref(models);
    return exit_code;
}

static int run(const cs_command *self, int argc, char **argv)
{
    pull_settings settings = {0};
    cs_arguments arguments = {.n = 0};
    int exit_code;
    if (!cs_options_parse(self, argc, argv, &settings, &arguments, &exit_code)) {
        return exit_code;
    }
    if (settings.list ? arguments.n > 0 : arguments.n == 0) {
        return cs_fail(CS_EXIT_USAGE,
                       settings.list ? "pull: --list takes no name" : "pull: needs a name; --list shows the recommended ones");
    }
    cs_output out;
    cs_output_init_stdout(&out);
    if (settings.list) {
        exit_code = settings.json ? list_json(&out) : list_text(&out);
    } else {
        exit_code = pull_all(&settings, &arguments, &out);
    }
    const int error = cs_output_close(&out);
    return error == 0 ? exit_code : cs_fail_output(out.name, error);
}

const cs_command cs_command_pull = {
    .name = "pull",
    .arguments = "NAME...",
    .summary = "get models from the Hugging Face hub, by pair or one by one",
    .description = "Downloads models into the hub's cache and prints the path of each (of a model in several files the first). "
                   "The cache is that of "
                   "huggingface_hub and llama.cpp: what one of them pulled is found by the others. All options that take a model "
                   "find it there by "
                   "the same name. No other command downloads anything.\n"
                   "\n"
                   "A name is one of\n"
                   "\n"
                   "  qwen2.5-4gib                        a recommended pair (--list): its LLM for\n"
                   "                                      --llm, its SLM for --slm; both for pull\n"
                   "  qwen2.5-1.5b                        a model of one\n"
                   "  owner/repo[@revision][:QUANT]       a GGUF file by its quantisation;\n"
                   "                                      without: Q4_K_M, else Q8_0, else any\n"
                   "  hf:owner/repo[@revision]/file.gguf  that file\n"
                   "\n"
                   "A download that breaks resumes, five times in a row without a byte before it gives up, and also with the "
                   "next pull. A file takes "
                   "its name in the cache when its length and its SHA-256 are what the hub says. The token (HF_TOKEN) is sent to "
                   "the hub and never to "
                   "the host that it redirects to. docs/models.md has the rest.",
    .examples = "  costeer pull --list\n"
                "  costeer pull qwen2.5-4gib\n"
                "  costeer generate --llm qwen2.5-4gib --slm qwen2.5-4gib --context notes.md \\\n"
                "      \"Write an invitation to my birthday.\"",
    .groups = {&group},
    .run = run,
};
