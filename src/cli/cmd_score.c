/*
 * costeer score: how likely a model finds a given answer, token by token through the same cloud that generate talks to. The
 * evaluation uses it for perplexity under the LLM that sees the context.
 */
#include "cli/cmd.h"
#include "cli/inputs.h"
#include "cli/json.h"
#include "cli/message.h"
#include "cli/pair.h"
#include "cli/signals.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const cs_option score_options[] = {
    {.name = "text",
     .kind = CS_OPTION_FILE,
     .value_name = "FILE",
     .default_value = "-",
     .offset = offsetof(cs_settings, text),
     .help = "The answer to score; '-' is standard input"},
    {.name = "with-end",
     .kind = CS_OPTION_FLAG,
     .offset = offsetof(cs_settings, with_end),
     .help = "Count the end of the answer as one more token: the probability that any end token follows"},
    {.name = "model",
     .kind = CS_OPTION_LLM,
     .value_name = "MODEL",
     .offset = offsetof(cs_settings, model),
     .help = "The model that judges: a GGUF file, or a name as of costeer pull; without: the built-in LLM"},
    {.name = "threads",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 1, .max = 512},
     .offset = offsetof(cs_settings, threads_llm),
     .help = "Threads for the model; without: all cores but one, at least 1; texts are read with all"},
    {.name = "ctx-size",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 8, .max = 16777216},
     .offset = offsetof(cs_settings, ctx_size),
     .help = "Tokens of prompt and answer that must fit; without: what the model was trained for, at most 8192"},
    {.name = "gpu-layers",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = -1, .max = 100000},
     .default_value = "0",
     .offset = offsetof(cs_settings, gpu_layers_llm),
     .help = "Layers to offload when llama.cpp was built with a GPU backend, -1 all (passed through; untested here)"},
    {.name = "json", .kind = CS_OPTION_FLAG, .offset = offsetof(cs_settings, json), .help = "Print one JSON object"},
    {.name = "quiet",
     .letter = 'q',
     .kind = CS_OPTION_FLAG,
     .offset = offsetof(cs_settings, quiet),
     .help = "No progress or hints on standard error"},
};

static const cs_option_group group = CS_OPTION_GROUP("Scoring", score_options);

typedef struct scoring {
    cs_settings settings;
    cs_inputs inputs;
    char *text;
    costeer_model *model;
    costeer_cloud *cloud;
    costeer_tokens prompt;
    costeer_tokens answer;
    int32_t *ends; /* [n_ends] tokens that end an answer */
    size_t n_ends;
    size_t n_tokens; /* scored, the end included when it was asked for */
    double logprob_sum;
} scoring;

/* ---- preparation ------------------------------------------------------------------------------------------------- */

static int tokenize(scoring *s)
{
    costeer_prompt prompt = cs_inputs_prompt(&s->settings, &s->inputs, s->inputs.all_contexts);
    prompt.chat_template = cs_templates_of(&s->inputs.templates, true);
    costeer_error err = {.code = COSTEER_OK};
    if (costeer_prompt_build(s->model, &prompt, &s->prompt, &err) != COSTEER_OK ||
        costeer_model_tokenize(s->model, s->text, strlen(s->text), false, false, &s->answer, &err) != COSTEER_OK) {
        return cs_fail_error(&err);
    }
    return CS_EXIT_OK;
}

static int find_ends(scoring *s)
{
    int32_t n_vocab = costeer_model_get_info(s->model)->n_vocab;
    s->ends = malloc((size_t)n_vocab * sizeof s->ends[0]);
    if (s->ends == NULL) {
        return cs_fail(CS_EXIT_INTERNAL, "out of memory");
    }
    for (int32_t token = 0; token < n_vocab; token++) {
        if (costeer_model_is_end(s->model, token)) {
            s->ends[s->n_ends++] = token;
        }
    }
    return CS_EXIT_OK;
}

static int open_cloud(scoring *s)
{
    costeer_local_params params = {
        .n_ctx = s->settings.ctx_size, .n_threads = s->settings.threads_llm, .n_threads_prompt = s->settings.threads_prompt};
    costeer_error err = {.code = COSTEER_OK};
    return costeer_cloud_create_local(s->model, &params, &s->cloud, &err) == COSTEER_OK ? CS_EXIT_OK : cs_fail_error(&err);
}

static int prepare(scoring *s, const cs_arguments *arguments)
{
    cs_settings_prepare(&s->settings, 1);
    if (arguments->n == 0 && s->settings.query_file == NULL && s->settings.messages == NULL) {
        return cs_fail(CS_EXIT_USAGE, "score: needs the query that the text answers, as an argument or with --query-file");
    }
    int exit_code = cs_inputs_read(&s->settings, arguments, &s->inputs);
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_input_read_text(s->settings.text, "text", &s->text);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_model_load(s->settings.model, "costeer-llm.gguf", s->settings.gpu_layers_llm,
                                  cs_progress_kind_of(s->settings.quiet, s->settings.verbose), &s->model);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_messages_check_tokens(&s->inputs.conversation, s->settings.messages, s->model);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = tokenize(s);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = find_ends(s);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = open_cloud(s);
    }
    return exit_code;
}

/* ---- scoring ----------------------------------------------------------------------------------------------------- */

/* The log-probability that one of [n] tokens follows. */
static double logprob_of(const costeer_distribution *distribution, int32_t n_vocab, const int32_t *tokens, size_t n)
{
    const float *values = distribution->base.values;
    double all = costeer_logsumexp(values, n_vocab);
    if (isnan(all)) {
        return all;
    }
    double best = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        best = fmax(best, (double)values[tokens[i]]);
    }
    double sum = 0.0;
    for (size_t i = 0; i < n && isfinite(best); i++) {
        sum += exp((double)values[tokens[i]] - best);
    }
    return sum > 0.0 ? best + log(sum) - all : -INFINITY;
}

static int add_position(scoring *s, int32_t position, const int32_t *tokens, size_t n, costeer_error *err)
{
    costeer_distribution distribution;
    int32_t n_vocab = costeer_model_get_info(s->model)->n_vocab;
    if (costeer_cloud_next(s->cloud, position, &distribution, err) != COSTEER_OK) {
        return cs_fail_error(err);
    }
    double logprob = logprob_of(&distribution, n_vocab, tokens, n);
    if (isnan(logprob)) {
        return cs_fail(CS_EXIT_NUMERIC, "the model gave NaN at position %d", (int)position);
    }
    s->logprob_sum += logprob;
    s->n_tokens++;
    return CS_EXIT_OK;
}

static int score(scoring *s)
{
    costeer_error err = {.code = COSTEER_OK};
    size_t n = s->answer.n + (s->settings.with_end ? 1U : 0U);
    costeer_cloud_request request = {.prompt = s->prompt.ids, .n_prompt = s->prompt.n, .max_tokens = (int32_t)n};
    if (costeer_cloud_open(s->cloud, &request, &err) != COSTEER_OK) {
        return cs_fail_error(&err);
    }
    int exit_code = CS_EXIT_OK;
    for (size_t i = 0; i < n && exit_code == CS_EXIT_OK; i++) {
        bool is_text = i < s->answer.n;
        exit_code = add_position(s, (int32_t)i, is_text ? &s->answer.ids[i] : s->ends, is_text ? 1 : s->n_ends, &err);
        if (exit_code == CS_EXIT_OK && cs_interrupted()) {
            exit_code = cs_interrupt_exit_code();
        }
        if (exit_code == CS_EXIT_OK && i + 1 < n &&
            costeer_cloud_commit(s->cloud, (int32_t)i, s->answer.ids[i], &err) != COSTEER_OK) {
            exit_code = cs_fail_error(&err);
        }
    }
    costeer_cloud_close(s->cloud);
    return exit_code;
}

static int print(const scoring *s)
{
    cs_output out;
    cs_output_init_stdout(&out);
    double perplexity = exp(-s->logprob_sum / (double)s->n_tokens);
    int exit_code = CS_EXIT_OK;
    if (s->settings.json) {
        exit_code =
            cs_json_print(&out, json_pack("{s:I, s:o, s:o, s:I, s:I}", "n_tokens", (json_int_t)s->n_tokens, "logprob_sum",
                                          cs_json_number(s->logprob_sum), "perplexity", cs_json_number(perplexity), "n_contexts",
                                          (json_int_t)s->inputs.n_contexts, "n_contexts_empty", (json_int_t)s->inputs.n_empty));
    } else {
        cs_output_print(&out, "tokens           %zu\nlog-probability  %.6f nats\nperplexity       %.6f\n", s->n_tokens,
                        s->logprob_sum, perplexity);
    }
    int error = cs_output_close(&out);
    return error == 0 ? exit_code : cs_fail_output(out.name, error);
}

static int run(const cs_command *self, int argc, char **argv)
{
    scoring s;
    memset(&s, 0, sizeof s);
    cs_arguments arguments = {.n = 0};
    int exit_code;
    if (!cs_options_parse(self, argc, argv, &s.settings, &arguments, &exit_code)) {
        return exit_code;
    }
    exit_code = prepare(&s, &arguments);
    if (exit_code == CS_EXIT_OK) {
        exit_code = score(&s);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = print(&s);
    }
    costeer_cloud_free(s.cloud);
    costeer_tokens_dispose(&s.answer);
    costeer_tokens_dispose(&s.prompt);
    costeer_model_free(s.model);
    cs_inputs_dispose(&s.inputs);
    free(s.ends);
    free(s.text);
    return exit_code;
}

const cs_command cs_command_score = {
    .name = "score",
    .arguments = "QUERY",
    .summary = "tell how likely a model finds a given answer: perplexity",
    .description =
        "Reads an answer from --text and prints its number of tokens, the sum of their log-probabilities in nats and the "
        "perplexity, under one model that is given the query and, with --context, the context. Several contexts are joined in "
        "order; one with a negative weight is left out. An empty one is left out, and a line on standard error "
        "says so. --json prints n_tokens, logprob_sum, perplexity, n_contexts and n_contexts_empty (left out).",
    .examples = "  costeer generate --context notes.txt \"Plan my day.\" |\n"
                "      costeer score --context notes.txt --json \"Plan my day.\"",
    .groups = {&cs_group_input, &cs_group_template, &group},
    .run = run,
};
