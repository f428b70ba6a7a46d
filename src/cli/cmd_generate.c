/*
 * costeer generate: one steered answer, streamed.
 *
 * The order is chosen so that nothing costly happens before everything cheap was checked: options, outputs, texts, models,
 * prompts, then the answer. Whatever ends it (the end, a signal, a reader that went away), what was written stays and exactly one
 * line says why when something went wrong.
 */
#include "cli/answer.h"
#include "cli/cmd.h"
#include "cli/json.h"
#include "cli/message.h"
#include "cli/signals.h"
#include "cli/trace.h"

#include <stdio.h>
#include <string.h>

typedef struct generation {
    cs_settings settings;
    double strength;
    cs_inputs inputs;
    cs_output out;
    cs_output trace;
    cs_pair pair;
    cs_device device;
    costeer_cloud *cloud;
    costeer_tokens prompt;
    costeer_vocab vocab;
    cs_answer answer;
} generation;

/* ---- while it runs ----------------------------------------------------------------------------------------------- */

static bool on_text(const char *text, size_t n_bytes, void *user)
{
    generation *g = user;
    return g->settings.json || (cs_output_write(&g->out, text, n_bytes) && cs_output_flush(&g->out));
}

static bool on_position(const costeer_position *position, void *user)
{
    generation *g = user;
    return g->settings.trace == NULL || cs_trace_write(&g->trace, &g->vocab, position);
}

/* ---- before ------------------------------------------------------------------------------------------------------ */

static int open_outputs(generation *g)
{
    const char *path = g->settings.output != NULL ? g->settings.output : "-";
    int error = cs_output_open(&g->out, path, false);
    if (error != 0) {
        return cs_fail_output(g->out.name, error);
    }
    if (g->settings.trace != NULL) {
        error = cs_output_open(&g->trace, g->settings.trace, true);
        if (error != 0) {
            return cs_fail_output(g->trace.name, error);
        }
    }
    return CS_EXIT_OK;
}

static int open_models(generation *g)
{
    bool is_steered = g->inputs.n_contexts > 0;
    int exit_code = cs_pair_load(&g->settings, is_steered, &g->pair);
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_prompt_build(g->pair.llm, &g->settings, &g->inputs, NULL, &g->prompt);
    }
    if (exit_code == CS_EXIT_OK && is_steered) {
        exit_code = cs_device_open(g->pair.slm, &g->settings, &g->inputs, &g->device);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_cloud_open(g->pair.llm, &g->settings, g->settings.threads_llm, &g->cloud);
    }
    return exit_code;
}

/* ---- after ------------------------------------------------------------------------------------------------------- */

static json_t *describe_model(const costeer_model *model)
{
    if (model == NULL) {
        return json_null();
    }
    const costeer_model_info *info = costeer_model_get_info(model);
    return json_pack("{s:o, s:s}", "name", cs_json_text(info->name, strlen(info->name)), "vocab_sha256", info->vocab_sha256);
}

static json_t *make_report(const generation *g)
{
    const cs_answer *a = &g->answer;
    const costeer_report *r = &a->report;
    return json_pack(
        "{s:o, s:o, s:s, s:f, s:i, s:i, s:i, s:i, s:i, s:o, s:f, s:{s:o, s:o}, s:I}", "text",
        cs_json_text(a->text.n_bytes > 0 ? a->text.bytes : "", a->text.n_bytes), "tokens", cs_json_ids(a->tokens, a->n_tokens),
        "finish", cs_answer_finish(a), "strength", g->device.slm != NULL ? g->strength : 0.0, "n_tokens", (int)r->n_tokens,
        "n_steered", (int)r->n_steered, "certified", (int)r->n_certified, "deepened", (int)r->n_deepened, "uncertified",
        (int)r->n_uncertified, "times_us", cs_answer_times(a), "tokens_per_second", cs_answer_rate(a), "models", "llm",
        describe_model(g->pair.llm), "slm", describe_model(g->pair.slm), "seed", (json_int_t)g->settings.sampler.seed);
}

/* The text gets its line end, the JSON is written, files get their names. */
static int close_outputs(generation *g, int exit_code)
{
    bool keep = exit_code == CS_EXIT_OK || g->answer.status == COSTEER_ECANCELED || exit_code == CS_EXIT_SIGPIPE;
    bool has_text = g->out.last != '\0' || g->answer.status == COSTEER_OK;
    if (!g->settings.json && has_text && g->out.last != '\n' && g->out.error == 0) {
        cs_output_write(&g->out, "\n", 1);
    }
    if (g->settings.json && keep && cs_json_print(&g->out, make_report(g)) != CS_EXIT_OK) {
        keep = false;
        exit_code = CS_EXIT_INTERNAL;
    }
    cs_output_flush(&g->out);
    int out_error = g->out.error;
    int trace_error = 0;
    if (keep) {
        out_error = cs_output_close(&g->out);
        trace_error = g->settings.trace != NULL ? cs_output_close(&g->trace) : 0;
    }
    if (exit_code == CS_EXIT_OK || g->answer.status == COSTEER_ECANCELED) {
        if (out_error != 0) {
            return cs_fail_output(g->out.name, out_error);
        }
        if (trace_error != 0) {
            return cs_fail_output(g->trace.name, trace_error);
        }
    }
    return exit_code;
}

/* Short enough for a terminal of 80 columns in the usual case. */
static void print_summary(const generation *g)
{
    const costeer_report *r = &g->answer.report;
    if (g->settings.quiet || !(g->settings.verbose || cs_stderr_is_terminal())) {
        return;
    }
    char steered[96] = ", not steered";
    char certified[64] = "";
    if (g->device.slm != NULL) {
        snprintf(steered, sizeof steered, ", %d steered (strength %.4g)", (int)r->n_steered, g->strength);
    }
    if (r->n_uncertified > 0 || r->n_deepened > 0) {
        snprintf(certified, sizeof certified, ", %d certified, %d deepened, %d unproved", (int)r->n_certified, (int)r->n_deepened,
                 (int)r->n_uncertified);
    } else {
        snprintf(certified, sizeof certified, ", all certified");
    }
    cs_fail(CS_EXIT_OK, "%d tokens, %.0f tok/s%s%s, %s", (int)r->n_tokens, cs_answer_rate(&g->answer), steered, certified,
            cs_answer_finish(&g->answer));
}

/* The exit code of an answer; a failed write is told when the outputs are closed. */
static int judge(generation *g)
{
    switch (g->answer.status) {
    case COSTEER_OK:
        return CS_EXIT_OK;
    case COSTEER_EABORTED:
        if (g->out.error != 0) {
            return cs_fail_output(g->out.name, g->out.error);
        }
        if (g->trace.error != 0) {
            return cs_fail_output(g->trace.name, g->trace.error);
        }
        return cs_fail(CS_EXIT_INTERNAL, "out of memory");
    default:
        return cs_exit_code(g->answer.status);
    }
}

static int answer(generation *g)
{
    g->vocab = costeer_model_vocab(g->pair.llm);
    cs_answer_request request = {.cloud = g->cloud, .model = g->pair.llm, .prompt = &g->prompt};
    request.deltas = g->device.slm != NULL ? costeer_slm_delta_source(g->device.slm) : NULL;
    request.params = cs_settings_session(&g->settings, g->strength);
    request.params.context_weights = g->inputs.weights;
    request.params.details = g->settings.trace != NULL;
    request.params.on_text = on_text;
    request.params.on_position = on_position;
    request.params.user = g;
    costeer_err status = cs_answer_run(&request, &g->answer);
    int exit_code = close_outputs(g, judge(g));
    if (status == COSTEER_OK || status == COSTEER_ECANCELED) {
        print_summary(g);
    } else if (status != COSTEER_EABORTED) {
        cs_fail_error(&g->answer.error);
    }
    return exit_code;
}

static int run_steps(generation *g, const cs_arguments *arguments)
{
    int exit_code = cs_settings_resolve(&g->settings, &g->strength);
    if (exit_code == CS_EXIT_OK) {
        exit_code = open_outputs(g);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_inputs_read(&g->settings, arguments, &g->inputs);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = open_models(g);
    }
    return exit_code == CS_EXIT_OK ? answer(g) : exit_code;
}

static int run(const cs_command *self, int argc, char **argv)
{
    generation g;
    memset(&g, 0, sizeof g);
    g.out.fd = -1;
    g.trace.fd = -1;
    cs_arguments arguments = {.n = 0};
    int exit_code;
    if (!cs_options_parse(self, argc, argv, &g.settings, &arguments, &exit_code)) {
        return exit_code;
    }
    exit_code = run_steps(&g, &arguments);
    cs_answer_dispose(&g.answer);
    costeer_cloud_free(g.cloud);
    cs_device_dispose(&g.device);
    costeer_tokens_dispose(&g.prompt);
    cs_pair_dispose(&g.pair);
    cs_inputs_dispose(&g.inputs);
    cs_output_discard(&g.trace);
    cs_output_discard(&g.out);
    return exit_code;
}

const cs_command cs_command_generate = {
    .name = "generate",
    .arguments = "[QUERY]",
    .summary = "write an answer of the LLM, steered by what the SLM alone is told",
    .description =
        "The LLM sees the query only; the SLM also sees the contexts and steers the LLM's choice of every token. The query is "
        "the argument, or is read from --query-file or standard input. Without --context the LLM answers alone and the SLM is "
        "not loaded.\n"
        "\n"
        "The text is printed while it is made. On a terminal a summary follows on standard error. --json prints one object "
        "instead: text, tokens (ids), finish (end, length, stop or cancelled), strength, n_tokens, n_steered, certified, "
        "deepened and uncertified (positions), times_us (prefill, slm, llm_wait, fuse, total), tokens_per_second (after the "
        "prefill), models and seed.\n"
        "\n"
        "A line of --trace has position, token, text, is_end, steered, base_token (what the LLM alone would have taken), "
        "base_logprob, policy_logprob and delta of the token, best_before and best_after (five tokens each with text and "
        "logprob), certified, n_deepened, n_entries, unsent_mass, slm_us, llm_wait_us and fuse_us. A text that is not UTF-8 by "
        "itself is also given as bytes. Log-probabilities are in nats; minus infinity is the string \"-inf\".\n"
        "\n"
        "Texts are UTF-8 of at most 16 MiB; line ends at their end are dropped. The first Ctrl-C ends the answer and keeps what "
        "is there, the second kills.",
    .examples = "  costeer generate --context notes.txt \"Write a short bio of me.\"\n"
                "  costeer generate --llm big.gguf --slm small.gguf --context notes.txt --context tone.txt:0.5 --json <query.txt",
    .groups = {&cs_group_input, &cs_group_models, &cs_group_steering, &cs_group_answer, &cs_group_output},
    .run = run,
};
