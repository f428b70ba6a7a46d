/*
 * costeer prompt: what the models of an answer would read, as text and as tokens. It takes the options of generate, so that the
 * same command line shows the prompts of its answer; no weights are loaded, no cloud is asked.
 */
#include "cli/cmd.h"
#include "cli/json.h"
#include "cli/message.h"
#include "cli/setup.h"

#include <stdio.h>
#include <string.h>

typedef struct showing {
    cs_setup setup;
    costeer_model *llm;
    costeer_model *slm;
    json_t *list; /* with --json */
} showing;

/* One sequence: whose it is, and with which context. */
typedef struct sequence {
    const char *name; /* "llm", "amateur", "expert" */
    const costeer_model *model;
    bool is_llm;
    const char *context; /* NULL: none */
    const char *context_name;
} sequence;

/* ---- one prompt -------------------------------------------------------------------------------------------------- */

static json_t *describe(const sequence *of, const costeer_prompt_text *text, const costeer_tokens *tokens)
{
    return json_pack("{s:s, s:o, s:o, s:s, s:o, s:o, s:o}", "sequence", of->name, "model",
                     cs_json_text(costeer_model_get_info(of->model)->path, strlen(costeer_model_get_info(of->model)->path)),
                     "context", of->context_name == NULL ? json_null() : cs_json_text(of->context_name, strlen(of->context_name)),
                     "system", costeer_system_source_name(text->system_source), "system_text",
                     text->system == NULL ? json_null() : cs_json_text(text->system, strlen(text->system)), "text",
                     cs_json_text(text->text, text->n_bytes), "tokens", cs_json_ids(tokens->ids, tokens->n));
}

static void print(cs_output *out, const sequence *of, const costeer_prompt_text *text, const costeer_tokens *tokens)
{
    cs_output_print(out, "== %s%s%s, %s: %zu tokens, system message: %s\n", of->name, of->context_name == NULL ? "" : " with ",
                    of->context_name == NULL ? "" : of->context_name, costeer_model_get_info(of->model)->path, tokens->n,
                    costeer_system_source_name(text->system_source));
    cs_output_write(out, text->text, text->n_bytes);
    cs_output_print(out, "\n== tokens:");
    for (size_t i = 0; i < tokens->n; i++) {
        cs_output_print(out, " %d", (int)tokens->ids[i]);
    }
    cs_output_print(out, "\n\n");
}

static int show(showing *s, const sequence *of)
{
    costeer_prompt prompt = cs_inputs_prompt(&s->setup.settings, &s->setup.inputs, of->context);
    prompt.query_template = of->is_llm || of->context != NULL ? NULL : s->setup.inputs.amateur_template;
    prompt.chat_template = cs_templates_of(&s->setup.inputs.templates, of->is_llm);
    costeer_prompt_text text = {.text = NULL};
    costeer_tokens tokens = {.n = 0};
    costeer_error err = {.code = COSTEER_OK};
    int exit_code = CS_EXIT_OK;
    if (costeer_prompt_render(of->model, &prompt, &text, &err) != COSTEER_OK ||
        costeer_prompt_build(of->model, &prompt, &tokens, &err) != COSTEER_OK) {
        exit_code = cs_fail_error(&err);
    } else if (!s->setup.settings.json) {
        print(&s->setup.out, of, &text, &tokens);
    } else if (json_array_append_new(s->list, describe(of, &text, &tokens)) != 0) {
        exit_code = cs_fail(CS_EXIT_INTERNAL, "out of memory");
    }
    costeer_tokens_dispose(&tokens);
    costeer_prompt_text_dispose(&text);
    return exit_code;
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

static int load(const char *path, const char *builtin, costeer_model **out)
{
    char builtin_path[1024];
    if (path == NULL) {
        const int exit_code = cs_builtin_path(builtin, builtin_path, sizeof builtin_path);
        if (exit_code != CS_EXIT_OK) {
            return exit_code;
        }
        path = builtin_path;
    }
    costeer_error err = {.code = COSTEER_OK};
    return costeer_model_load(path, &(costeer_model_params){.vocab_only = true}, out, &err) == COSTEER_OK ? CS_EXIT_OK
                                                                                                          : cs_fail_error(&err);
}

/* A cloud's model is spelled by the SLM's file where --llm names none. */
static int load_models(showing *s)
{
    const cs_settings *settings = &s->setup.settings;
    const bool is_spelled_by_slm = settings->cloud != NULL && settings->llm == NULL;
    int exit_code = CS_EXIT_OK;
    if (s->setup.inputs.n_contexts > 0 || settings->slm != NULL || is_spelled_by_slm) {
        exit_code = load(settings->slm, "costeer-slm.gguf", &s->slm);
    }
    if (exit_code == CS_EXIT_OK && !is_spelled_by_slm) {
        exit_code = load(settings->llm, "costeer-llm.gguf", &s->llm);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_messages_check_tokens(&s->setup.inputs.conversation, settings->messages, s->slm);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_messages_check_tokens(&s->setup.inputs.conversation, settings->messages, s->llm);
    }
    return exit_code;
}

static int show_all(showing *s)
{
    const cs_inputs *inputs = &s->setup.inputs;
    int exit_code = show(s, &(sequence){"llm", s->llm != NULL ? s->llm : s->slm, true, NULL, NULL});
    if (exit_code == CS_EXIT_OK && s->slm != NULL && (inputs->n_contexts > 0 || s->setup.settings.slm != NULL)) {
        exit_code = show(s, &(sequence){"amateur", s->slm, false, NULL, NULL});
    }
    for (size_t i = 0; i < inputs->n_contexts && exit_code == CS_EXIT_OK; i++) {
        exit_code = show(s, &(sequence){"expert", s->slm, false, inputs->contexts[i], inputs->context_names[i]});
    }
    return exit_code;
}

static int run_steps(showing *s, const cs_arguments *arguments)
{
    cs_setup *setup = &s->setup;
    int exit_code = cs_setup_read(setup, arguments);
    if (exit_code == CS_EXIT_OK) {
        exit_code = load_models(s);
    }
    s->list = json_array();
    if (exit_code == CS_EXIT_OK) {
        exit_code = show_all(s);
    }
    if (exit_code == CS_EXIT_OK && setup->settings.json) {
        exit_code = cs_json_print(&setup->out, json_pack("{s:O}", "prompts", s->list));
    }
    return cs_setup_close_outputs(setup, exit_code == CS_EXIT_OK, exit_code);
}

static int run(const cs_command *self, int argc, char **argv)
{
    showing s;
    memset(&s, 0, sizeof s);
    cs_setup_init(&s.setup);
    cs_arguments arguments = {.n = 0};
    int exit_code;
    if (!cs_options_parse(self, argc, argv, &s.setup.settings, &arguments, &exit_code)) {
        return exit_code;
    }
    exit_code = run_steps(&s, &arguments);
    json_decref(s.list);
    costeer_model_free(s.llm);
    costeer_model_free(s.slm);
    return cs_setup_dispose(&s.setup, exit_code);
}

const cs_command cs_command_prompt = {
    .name = "prompt",
    .arguments = "[QUERY]",
    .summary = "show what the models would read: the rendered prompts and their tokens",
    .description =
        "Takes the options of costeer generate. For each sequence of a steered answer it prints the prompt as the chat template "
        "renders it and the token ids: llm (the query), amateur (the SLM without a context) and an expert for every --context. "
        "The "
        "last two are printed when there is a context or an --slm. The output holds the contexts.\n"
        "\n"
        "A model's beginning-of-text token may stand before the first token of the text. Where a node renders the query itself "
        "(--cloud, and no option of the chat template), llm shows what the file that spells its tokens would make of it.\n"
        "\n"
        "--json prints one object with prompts, a list of sequence, model (its file), context (the file; null: none), system "
        "(none, "
        "given, in-user, template), system_text, text and tokens. docs/templates.md says what is rendered how.",
    .examples = "  costeer prompt --llm big.gguf --slm small.gguf --context notes.txt \"Write a short bio of me.\"\n"
                "  costeer prompt --messages conversation.json --thinking on --json",
    .groups = {&cs_group_input, &cs_group_template, &cs_group_method, &cs_group_models, &cs_group_cloud, &cs_group_steering,
               &cs_group_answer, &cs_group_output},
    .run = run,
};
