/* costeer models: what is in the hub's cache, and removing it. */
#include "cli/cmd.h"
#include "cli/hub.h"
#include "cli/json.h"
#include "cli/message.h"
#include "cli/text.h"

#include <costeer/model.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

typedef struct models_settings {
    cs_option_list remove;
    bool json;
} models_settings;

static const cs_option options[] = {
    {.name = "remove",
     .kind = CS_OPTION_TEXTS,
     .value_name = "NAME",
     .offset = offsetof(models_settings, remove),
     .help = "Remove a model, by its name as listed or as of pull; owner/repo removes all GGUF models of that repository and "
             "what was "
             "downloaded of others"},
    {.name = "json", .kind = CS_OPTION_FLAG, .offset = offsetof(models_settings, json), .help = "Print one JSON object"},
};

static const cs_option_group group = CS_OPTION_GROUP("Options", options);

/* What a file's vocabulary is, without its weights. */
typedef struct vocabulary {
    int32_t n_tokens; /* 0: the file cannot be read as a model */
    char type[16];
    char sha256[65];
} vocabulary;

static vocabulary read_vocabulary(const char *path)
{
    vocabulary out = {.n_tokens = 0};
    const costeer_model_params params = {.vocab_only = true};
    costeer_model *model = NULL;
    if (costeer_model_load(path, &params, &model, NULL) == COSTEER_OK) {
        const costeer_model_info *info = costeer_model_get_info(model);
        out.n_tokens = info->n_vocab;
        (void)snprintf(out.type, sizeof out.type, "%s", info->vocab_type);
        (void)snprintf(out.sha256, sizeof out.sha256, "%s", info->vocab_sha256);
    }
    costeer_model_free(model);
    return out;
}

/* ---- listing ----------------------------------------------------------------------------------------------------- */

static void print_row(cs_output *out, const costeer_hub_entry *entry, const vocabulary *v, int width)
{
    if (v->n_tokens == 0) {
        cs_output_print(out, "%-*s %9.1f MB  no model that can be used here: see costeer model\n", width, entry->name,
                        (double)entry->bytes / 1e6);
        return;
    }
    cs_output_print(out, "%-*s %9.1f MB  %7d %-4s %.8s\n", width, entry->name, (double)entry->bytes / 1e6, (int)v->n_tokens,
                    v->type, v->sha256);
}

static int list_text(cs_output *out, const costeer_hub_list *list, const char *cache_dir)
{
    int width = 4;
    for (size_t i = 0; i < list->n; i++) {
        const int n = (int)strlen(list->entries[i].name);
        width = n > width ? n : width;
    }
    if (list->n == 0) {
        cs_output_print(out, "No models in %.2000s; costeer pull --list shows some to get.\n", cache_dir);
        return CS_EXIT_OK;
    }
    cs_output_print(out, "%-*s %12s  %s\n", width, "NAME", "SIZE", "VOCABULARY");
    for (size_t i = 0; i < list->n; i++) {
        const vocabulary v = read_vocabulary(list->entries[i].path);
        print_row(out, &list->entries[i], &v, width);
    }
    return CS_EXIT_OK;
}

static json_t *describe(const costeer_hub_entry *entry)
{
    const vocabulary v = read_vocabulary(entry->path);
    json_t *vocab = v.n_tokens > 0 ? json_pack("{s:i, s:s, s:s}", "n_tokens", (int)v.n_tokens, "type", v.type, "sha256", v.sha256)
                                   : json_null();
    return json_pack("{s:s, s:o, s:I, s:o}", "name", entry->name, "path", cs_json_text(entry->path, strlen(entry->path)), "bytes",
                     (json_int_t)entry->bytes, "vocabulary", vocab);
}

static int list_json(cs_output *out, const costeer_hub_list *list, const char *cache_dir)
{
    json_t *models = json_array();
    for (size_t i = 0; i < list->n; i++) {
        (void)json_array_append_new(models, describe(&list->entries[i]));
    }
    return cs_json_print(out, json_pack("{s:o, s:o}", "cache", cs_json_text(cache_dir, strlen(cache_dir)), "models", models));
}

static int list_models(const models_settings *settings, const char *cache_dir, cs_output *out)
{
    costeer_hub_list list = {0};
    costeer_error err = {.code = COSTEER_OK};
    if (costeer_hub_list_models(cache_dir, &list, &err) != COSTEER_OK) {
        return cs_fail_error(&err);
    }
    const int exit_code = settings->json ? list_json(out, &list, cache_dir) : list_text(out, &list, cache_dir);
    costeer_hub_list_dispose(&list);
    return exit_code;
}

/* ---- removing ---------------------------------------------------------------------------------------------------- */

static int remove_models(const models_settings *settings, const char *cache_dir, cs_output *out)
{
    uint64_t all = 0;
    for (size_t i = 0; i < settings->remove.n; i++) {
        uint64_t bytes = 0;
        costeer_error err = {.code = COSTEER_OK};
        if (costeer_hub_remove(cache_dir, settings->remove.items[i], &bytes, &err) != COSTEER_OK) {
            return cs_fail_error(&err);
        }
        all += bytes;
        if (!settings->json) {
            cs_output_print(out, "removed %s: %.1f MB freed\n", settings->remove.items[i], (double)bytes / 1e6);
        }
    }
    return settings->json ? cs_json_print(out, json_pack("{s:I}", "bytes_freed", (json_int_t)all)) : CS_EXIT_OK;
}

static int run(const cs_command *self, int argc, char **argv)
{
    models_settings settings = {.json = false};
    cs_arguments arguments = {.n = 0};
    char cache_dir[COSTEER_HUB_PATH_MAX];
    int exit_code;
    if (!cs_options_parse(self, argc, argv, &settings, &arguments, &exit_code)) {
        return exit_code;
    }
    if (arguments.n > 0) {
        return cs_fail(CS_EXIT_USAGE, "models: takes no argument; to remove a model: --remove NAME");
    }
    exit_code = cs_hub_cache_dir(cache_dir);
    if (exit_code != CS_EXIT_OK) {
        return exit_code;
    }
    cs_output out;
    cs_output_init_stdout(&out);
    exit_code = settings.remove.n > 0 ? remove_models(&settings, cache_dir, &out) : list_models(&settings, cache_dir, &out);
    const int error = cs_output_close(&out);
    return error == 0 ? exit_code : cs_fail_output(out.name, error);
}

const cs_command cs_command_models = {
    .name = "models",
    .arguments = "",
    .summary = "list the models in the hub's cache, or remove some",
    .description =
        "Lists the GGUF models in the cache that huggingface_hub, llama.cpp and costeer pull share: the name that --llm and "
        "--slm "
        "take, the size of its files, and its vocabulary: how many tokens, of which kind, and the beginning of their hash. Two "
        "models with one hash have one vocabulary. A model of which a file is missing is not listed.\n"
        "\n"
        "--remove takes a model's name out of the cache, and its files when nothing else there refers to them. Files of other "
        "kinds (safetensors, ...) stay.",
    .examples = "  costeer models\n"
                "  costeer models --remove Qwen/Qwen2.5-7B-Instruct-GGUF:Q4_K_M",
    .groups = {&group},
    .run = run,
};
