/*
 * costeer generate: one steered answer, streamed. Whatever ends it (the end, a signal, a reader that went away, the cloud), what
 * was written stays and exactly one line says why when something went wrong.
 */
#include "cli/cmd.h"
#include "cli/json.h"
#include "cli/message.h"
#include "cli/report.h"
#include "cli/setup.h"
#include "cli/trace.h"

#include <stdio.h>
#include <string.h>

typedef struct generation {
    cs_setup setup;
    costeer_vocab vocab;
    cs_cli_answer answer;
} generation;

/* ---- while it runs ----------------------------------------------------------------------------------------------- */

static bool on_text(const char *text, size_t n_bytes, void *user)
{
    generation *g = user;
    cs_output *out = &g->setup.out;
    return g->setup.settings.json || (cs_output_write(out, text, n_bytes) && cs_output_flush(out));
}

static bool on_position(const costeer_position *position, void *user)
{
    generation *g = user;
    return g->setup.settings.trace == NULL || cs_trace_write(&g->setup.trace, &g->vocab, position);
}

/* ---- after ------------------------------------------------------------------------------------------------------- */

static json_t *describe_model(const costeer_model *model, const char *name)
{
    if (model == NULL) {
        return json_null();
    }
    const costeer_model_info *info = costeer_model_get_info(model);
    name = name != NULL ? name : info->name;
    return json_pack("{s:o, s:s}", "name", cs_json_text(name, strlen(name)), "vocab_sha256", info->vocab_sha256);
}

/* A node's model has the vocabulary that the SLM was found to share with it. */
static json_t *describe_models(const cs_setup *s)
{
    bool is_remote = s->settings.cloud != NULL;
    return json_pack("{s:o, s:o}", "llm", describe_model(cs_setup_vocab(s), is_remote ? cs_remote_name(&s->remote) : NULL), "slm",
                     describe_model(s->device.slm != NULL ? s->pair.slm : NULL, NULL));
}

static json_t *make_report(const generation *g)
{
    const cs_setup *s = &g->setup;
    const cs_cli_answer *a = &g->answer;
    const costeer_report *r = &a->report;
    json_t *report = json_pack(
        "{s:o, s:o, s:s, s:f, s:i, s:i, s:i, s:i, s:i, s:o, s:f, s:o, s:I, s:o}", "text",
        cs_json_text(a->text.n_bytes > 0 ? a->text.bytes : "", a->text.n_bytes), "tokens", cs_json_ids(a->tokens, a->n_tokens),
        "finish", cs_cli_answer_finish(a), "strength", s->device.slm != NULL ? s->strength : 0.0, "n_tokens", (int)r->n_tokens,
        "n_steered", (int)r->n_steered, "certified", (int)r->n_certified, "deepened", (int)r->n_deepened, "uncertified",
        (int)r->n_uncertified, "times_us", cs_cli_answer_times(a), "tokens_per_second", cs_cli_answer_rate(a), "models",
        describe_models(s), "seed", (json_int_t)s->settings.sampler.seed, "cloud", cs_report_cloud(s, a));
    if (report != NULL && cs_report_set_local(report, a) != 0) {
        json_decref(report);
        return NULL;
    }
    return report;
}

/* The text gets its line end, the JSON is written, files get their names. */
static int close_outputs(generation *g, int exit_code)
{
    cs_setup *s = &g->setup;
    bool keep = exit_code == CS_EXIT_OK || g->answer.status == COSTEER_ECANCELED || exit_code == CS_EXIT_SIGPIPE;
    bool has_text = s->out.last != '\0' || g->answer.status == COSTEER_OK;
    if (!s->settings.json && has_text && s->out.last != '\n' && s->out.error == 0) {
        cs_output_write(&s->out, "\n", 1);
    }
    if (s->settings.json && keep && cs_json_print(&s->out, make_report(g)) != CS_EXIT_OK) {
        keep = false;
        exit_code = CS_EXIT_INTERNAL;
    }
    return cs_setup_close_outputs(s, keep, exit_code);
}

/* Short enough for a terminal of 80 columns in the usual case. */
static void print_summary(const generation *g)
{
    const cs_setup *s = &g->setup;
    const costeer_report *r = &g->answer.report;
    if (s->settings.quiet || !(s->settings.verbose || cs_stderr_is_terminal())) {
        return;
    }
    char steered[96] = ", not steered";
    char certified[64] = "";
    char cloud[160];
    if (s->device.slm != NULL) {
        snprintf(steered, sizeof steered, ", %d steered (strength %.4g)", (int)r->n_steered, s->strength);
    }
    if (r->n_uncertified > 0 || r->n_deepened > 0) {
        snprintf(certified, sizeof certified, ", %d certified, %d deepened, %d unproved", (int)r->n_certified, (int)r->n_deepened,
                 (int)r->n_uncertified);
    } else {
        snprintf(certified, sizeof certified, ", all certified");
    }
    cs_fail(CS_EXIT_OK, "%d tokens, %.0f tok/s%s%s, %s%s", (int)r->n_tokens, cs_cli_answer_rate(&g->answer), steered, certified,
            cs_cli_answer_finish(&g->answer), cs_report_cloud_summary(s, &g->answer, cloud, sizeof cloud));
}

/* The exit code of an answer; a failed write is told when the outputs are closed. */
static int judge(const generation *g)
{
    switch (g->answer.status) {
    case COSTEER_OK:
        return CS_EXIT_OK;
    case COSTEER_EABORTED:
        return cs_setup_fail_aborted(&g->setup);
    default:
        return cs_exit_code(g->answer.status);
    }
}

static int answer(generation *g)
{
    cs_setup *s = &g->setup;
    bool is_steered = s->device.slm != NULL;
    const costeer_model *model = cs_setup_vocab(s);
    g->vocab = costeer_model_vocab(model);
    cs_cli_answer_request request = {.cloud = s->cloud, .model = model, .prompt = &s->prompt};
    request.deltas = is_steered ? costeer_slm_delta_source(s->device.slm) : NULL;
    request.params = cs_setup_session(s, is_steered);
    request.params.details = s->settings.trace != NULL;
    request.params.on_text = on_text;
    request.params.on_position = on_position;
    request.params.user = g;
    costeer_err status = cs_cli_answer_run(&request, &g->answer);
    int exit_code = close_outputs(g, judge(g));
    cs_report_tell_local(s, &g->answer);
    if (status == COSTEER_OK || status == COSTEER_ECANCELED) {
        print_summary(g);
    } else if (status != COSTEER_EABORTED) {
        cs_fail_error(&g->answer.error);
    }
    return exit_code;
}

static int run_steps(generation *g, const cs_arguments *arguments)
{
    cs_setup *s = &g->setup;
    int exit_code = cs_settings_resolve(&s->settings, arguments, &s->strength);
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_setup_open_outputs(s);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_inputs_read(&s->settings, arguments, &s->inputs);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_setup_open_models(s, s->inputs.n_contexts > 0);
    }
    return exit_code == CS_EXIT_OK ? answer(g) : exit_code;
}

static int run(const cs_command *self, int argc, char **argv)
{
    generation g;
    memset(&g, 0, sizeof g);
    cs_setup_init(&g.setup);
    cs_arguments arguments = {.n = 0};
    int exit_code;
    if (!cs_options_parse(self, argc, argv, &g.setup.settings, &arguments, &exit_code)) {
        return exit_code;
    }
    exit_code = run_steps(&g, &arguments);
    cs_cli_answer_dispose(&g.answer);
    return cs_setup_dispose(&g.setup, exit_code);
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
        "prefill), models, seed, cloud, n_local, local_from and cloud_error. With --cloud, cloud has url, mode, round_trip_us, "
        "bytes_up, bytes_down, tokens_sent, drafts_sent, withdrawn (drafts that were sent in vain), corrections, deepenings, "
        "reconnects, steps and wasted_steps (of the node) and llm (the name of its model); without, it is null.\n"
        "\n"
        "When the node fails and --on-cloud-failure is local, the SLM writes the rest alone: a line on standard error says so "
        "(unless -q), n_local counts those tokens, local_from is the position of the first, cloud_error tells why, and the exit "
        "code is 0. With --cloud and without --template the node puts the query into its own chat template, and --ctx-size "
        "concerns the SLM only.\n"
        "\n"
        "A line of --trace has position, token, text, is_end, steered, base_token (what the LLM alone would have taken), "
        "base_logprob, policy_logprob and delta of the token, best_before and best_after (five tokens each with text and "
        "logprob), certified, n_deepened, n_entries, unsent_mass, is_local, slm_us, llm_wait_us and fuse_us. A text that is not "
        "UTF-8 by "
        "itself is also given as bytes. Log-probabilities are in nats; minus infinity is the string \"-inf\".\n"
        "\n"
        "Texts are UTF-8 of at most 16 MiB; line ends at their end are dropped. The first Ctrl-C ends the answer and keeps what "
        "is there, the second kills.",
    .examples =
        "  costeer generate --context notes.txt \"Write a short bio of me.\"\n"
        "  costeer generate --llm big.gguf --slm small.gguf --context notes.txt --context tone.txt:0.5 --json <query.txt\n"
        "  costeer generate --cloud wss://llm.example.org:8790 --cloud-token-file token --context notes.txt <query.txt",
    .groups = {&cs_group_input, &cs_group_models, &cs_group_cloud, &cs_group_steering, &cs_group_answer, &cs_group_output},
    .run = run,
};
