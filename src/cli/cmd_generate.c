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
    costeer_ensemble_parts parts;
    costeer_vocab vocab;
    cs_cli_answer answer;
    bool has_reasoned; /* and its line on standard error is open */
} generation;

static const cs_choice *choice_of(const generation *g)
{
    return &g->setup.choices.items[0];
}

/* ---- while it runs ----------------------------------------------------------------------------------------------- */

static void close_reasoning(generation *g)
{
    if (g->has_reasoned) {
        (void)fputc('\n', stderr);
        g->has_reasoned = false;
    }
}

static bool on_text(const char *text, size_t n_bytes, void *user)
{
    generation *g = user;
    cs_output *out = &g->setup.out;
    close_reasoning(g);
    return g->setup.settings.json || (cs_output_write(out, text, n_bytes) && cs_output_flush(out));
}

/* Apart from the answer: on standard error, where nothing else is said meanwhile. */
static bool on_reasoning(const char *text, size_t n_bytes, void *user)
{
    generation *g = user;
    if (!g->setup.settings.quiet && !g->setup.settings.json) {
        cs_prompt_progress_clear(&g->setup.progress);
        (void)fwrite(text, 1, n_bytes, stderr);
        g->has_reasoned = true;
    }
    return true;
}

static bool on_position(const costeer_position *position, void *user)
{
    generation *g = user;
    return g->setup.settings.trace == NULL || cs_trace_write(&g->setup.trace, NULL, &g->vocab, position);
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

/* A node's model has the vocabulary that spells its tokens here. */
static json_t *describe_models(const generation *g)
{
    const cs_setup *s = &g->setup;
    const costeer_method *method = choice_of(g)->method;
    const costeer_model *llm = costeer_method_uses_llm(method) ? cs_pair_spelling(&s->pair) : NULL;
    const costeer_model *slm = costeer_method_uses_slm(method) ? s->pair.slm : NULL;
    json_t *models =
        json_pack("{s:o, s:o}", "llm", describe_model(llm, s->settings.cloud != NULL ? cs_remote_name(&s->remote) : NULL), "slm",
                  describe_model(slm, NULL));
    if (s->pair.tuned != NULL && json_object_set_new(models, "tuned_slm", describe_model(s->pair.tuned, NULL)) != 0) {
        json_decref(models);
        return NULL;
    }
    return models;
}

static json_t *make_report(const generation *g)
{
    const cs_setup *s = &g->setup;
    const cs_choice *choice = choice_of(g);
    const cs_cli_answer *a = &g->answer;
    const costeer_report *r = &a->report;
    json_t *report = json_pack(
        "{s:s, s:b, s:I, s:I, s:o, s:o, s:s, s:f, s:f, s:f, s:i, s:i, s:i, s:i, s:i, s:i, s:o, s:f, s:o, s:I, s:o, s:o, s:o}",
        "method", choice->method->name, "shows_context", s->inputs.n_contexts > 0 && costeer_method_shows_context(choice->method),
        "n_contexts", (json_int_t)s->inputs.n_contexts, "n_contexts_empty", (json_int_t)s->inputs.n_empty, "text",
        cs_json_text(a->text.n_bytes > 0 ? a->text.bytes : "", a->text.n_bytes), "tokens", cs_json_ids(a->tokens, a->n_tokens),
        "finish", cs_cli_answer_finish(a), "strength", choice->weight, "plausibility", choice->limits.plausibility, "divergence",
        choice->limits.divergence, "n_tokens", (int)r->n_tokens, "n_steered", (int)r->n_steered, "certified", (int)r->n_certified,
        "deepened", (int)r->n_deepened, "uncertified", (int)r->n_uncertified, "near_ties", (int)r->n_near_ties, "times_us",
        cs_cli_answer_times(a), "tokens_per_second", cs_cli_answer_rate(a), "models", describe_models(g), "seed",
        (json_int_t)s->settings.sampler.seed, "cloud",
        costeer_method_uses_llm(choice->method) ? cs_report_cloud(s, a) : json_null(), "selection", cs_use_describe(&s->use),
        "select_ms", cs_use_describe_time(&s->use));
    if (report != NULL && (cs_report_set_method(report, s, choice, a) | cs_report_set_local(report, a) |
                           cs_report_set_words(report, s, choice, g->parts.model, a)) != 0) {
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

/* What the method did. */
static void describe_steering(const generation *g, char *buffer, size_t size)
{
    const cs_choice *choice = choice_of(g);
    const char *vocab = cs_setup_vocab_name(&g->setup, choice->method);
    if (!cs_method_is_steered(choice->method)) {
        snprintf(buffer, size, ", not steered");
        return;
    }
    int n = snprintf(buffer, size, ", %d steered (strength %.4g)", (int)g->answer.report.n_steered, choice->weight);
    if (choice->gate.kind != COSTEER_GATE_NONE && n > 0 && (size_t)n < size) {
        n += snprintf(buffer + n, size - (size_t)n, ", %d gated", (int)g->answer.report.n_gated);
    }
    if (vocab != NULL && g->setup.pair.map != NULL && n > 0 && (size_t)n < size) {
        snprintf(buffer + n, size - (size_t)n, ", vocab %s", vocab);
    }
}

/* Short enough for a terminal of 80 columns in the usual case. */
static void print_summary(const generation *g)
{
    const cs_setup *s = &g->setup;
    const costeer_report *r = &g->answer.report;
    if (s->settings.quiet || !(s->settings.verbose || cs_stderr_is_terminal())) {
        return;
    }
    char steered[128];
    char certified[96] = ", all certified";
    char cloud[160] = "";
    char chosen[CS_USE_SUMMARY_SIZE];
    char system[160];
    const char *exposure = cs_report_exposure(s, choice_of(g)->method);
    describe_steering(g, steered, sizeof steered);
    if (r->n_uncertified > 0 || r->n_deepened > 0) {
        snprintf(certified, sizeof certified, ", %d certified, %d deepened, %d unproved", (int)r->n_certified, (int)r->n_deepened,
                 (int)r->n_uncertified);
    }
    const size_t n = strlen(certified);
    if (r->n_near_ties > 0) {
        snprintf(certified + n, sizeof certified - n, ", %d near tie%s", (int)r->n_near_ties, r->n_near_ties == 1 ? "" : "s");
    }
    if (costeer_method_uses_llm(choice_of(g)->method)) {
        cs_report_cloud_summary(s, &g->answer, cloud, sizeof cloud);
    }
    cs_fail(CS_EXIT_OK, "%d tokens, %.0f tok/s%s%s%s, %s%s%s%s%s", (int)r->n_tokens, cs_cli_answer_rate(&g->answer), steered,
            cs_use_summary(&s->use, chosen, sizeof chosen), certified, cs_cli_answer_finish(&g->answer),
            exposure[0] != '\0' ? "; " : "", exposure, cloud, cs_report_system_summary(s, choice_of(g), system, sizeof system));
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
    int exit_code = cs_setup_use(s, choice_of(g), &g->parts);
    if (exit_code != CS_EXIT_OK) {
        return exit_code;
    }
    g->vocab = costeer_model_vocab(g->parts.model);
    if (s->settings.trace != NULL && !cs_use_trace(&s->use, &s->trace)) {
        return cs_setup_fail_aborted(s);
    }
    cs_cli_answer_request request = {.parts = &g->parts, .params = cs_setup_session(s, choice_of(g), &g->parts)};
    request.params.details = s->settings.trace != NULL;
    request.params.on_text = on_text;
    request.params.on_reasoning = on_reasoning;
    request.params.on_position = on_position;
    request.params.user = g;
    costeer_err status = cs_cli_answer_run(&request, &g->answer);
    cs_prompt_progress_clear(&s->progress);
    close_reasoning(g);
    exit_code = close_outputs(g, judge(g));
    cs_report_tell_local(s, &g->answer);
    cs_report_tell_empty(s, choice_of(g), &g->answer);
    if (status == COSTEER_OK || status == COSTEER_ECANCELED) {
        print_summary(g);
        cs_report_tell_words(s, choice_of(g), g->parts.model, &g->answer);
    } else if (status != COSTEER_EABORTED) {
        cs_setup_fail(s, choice_of(g), &g->answer.error);
    }
    return exit_code;
}

static void hint_at_unused(const cs_setup *s)
{
    const costeer_method *method = s->choices.items[0].method;
    if (s->settings.quiet) {
        return;
    }
    if (s->inputs.n_contexts > 0 && !cs_method_uses_context(method)) {
        cs_fail(CS_EXIT_OK, "--method %s uses no context; what --context names was read for nothing", method->name);
    }
    if (s->settings.cloud != NULL && !costeer_method_uses_llm(method)) {
        cs_fail(CS_EXIT_OK, "--method %s asks no LLM; the node that --cloud names is not connected to", method->name);
    }
}

static int run_steps(generation *g, const cs_arguments *arguments)
{
    cs_setup *s = &g->setup;
    const char *fallback = s->settings.contexts.n > 0 ? "costeer" : "llm";
    int exit_code = cs_choices_make(&s->settings, arguments, &fallback, 1, &s->choices);
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_setup_prepare(s, arguments);
    }
    if (exit_code != CS_EXIT_OK) {
        return exit_code;
    }
    hint_at_unused(s);
    return answer(g);
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
    g.setup.settings.is_needed_default = true;
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
        "--method takes another way to answer; only the models that it uses are loaded. All are base + strength x (expert - "
        "amateur); \"with\" has the contexts in its prompt:\n"
        "\n"
        "  method              base      expert, amateur   strength\n"
        "  llm                 LLM\n"
        "  llm+context         LLM with                              shows the context\n"
        "  slm                 SLM                                   no cloud\n"
        "  slm+context         SLM with                              no cloud\n"
        "  costeer             LLM       SLM with, SLM     1.7833\n"
        "  costeer-plausible   LLM       SLM with, SLM     1.7833    plausibility 0.1\n"
        "  costeer-divergence  LLM       SLM with, SLM     1.7833    divergence 1\n"
        "  costeer-whole       LLM       SLM with, SLM     2.5       both, 0.1 and 0.5\n"
        "  lightcosteer        LLM       SLM with, SLM     0.4762    one step\n"
        "  adacosteer          LLM       SLM with, SLM     1.7833    gate ada\n"
        "  context-steering    LLM with  LLM with, LLM     1         shows the context\n"
        "  linear-alignment    LLM with  LLM with, LLM     2         shows the context\n"
        "  amulet              LLM with  LLM with, LLM     4.6487    shows the context\n"
        "  proxy-tuning        LLM       SLM tuned, SLM    1         needs --tuned-slm\n"
        "\n"
        "Those that show the context put it into the LLM's prompt: with --cloud they are refused without "
        "--allow-context-upload, and the summary and the field shows_context say so. costeer and its kin follow several "
        "contexts each with its weight; the others get those with a positive weight joined, and none that is negative.",
    .outputs =
        "The text is printed as it is made. On a terminal a summary follows on standard error. --json prints one object "
        "instead: method, shows_context (to the LLM), n_contexts, n_contexts_empty (left out), text, tokens (ids), finish (end, "
        "length, stop or cancelled), strength, plausibility, divergence, "
        "n_tokens, n_steered, certified, deepened, uncertified and near_ties (positions), times_us (prefill, slm, llm_wait, "
        "fuse, total), "
        "tokens_per_second (after the prefill), models (llm, slm and tuned_slm with name and vocab_sha256; null: not used), "
        "seed, "
        "system (which system message stood in the prompts of llm and slm: source none, given, in-user, template or node, and "
        "text), "
        "n_reasoning (of n_tokens, those before the answer), reasoning (its text, apart from text; null: none), "
        "vocab (how the vocabularies went together; null with one model), gate, n_gated (positions that it left alone), "
        "n_slm_steps and n_slm_tokens (batches that the SLM computed after its prompts, drafts included, and tokens of the "
        "answer that it read), words_disclosed (by steering: the contexts have them, nothing public), cloud, n_local, local_from "
        "and "
        "cloud_error. With --cloud, cloud has url, engine (null: a node), mode, round_trip_us, bytes_up, bytes_down, "
        "tokens_sent, drafts_sent, "
        "withdrawn (wasted drafts), corrections, deepenings, reconnects, steps and wasted_steps (of the node) "
        "and llm (the name of its model); without, it is null.\n"
        "\n"
        "When the node fails and --on-cloud-failure is local, the SLM writes the rest alone: a line on standard error says so "
        "(unless -q), n_local counts those tokens, local_from is the position of the first, cloud_error tells why, and the exit "
        "code is 0. With --cloud and without an option of the chat template the node puts the messages into its own template, "
        "and "
        "--ctx-size concerns the SLM only.\n"
        "\n"
        "An engine gets token ids: the prompt is made here, with the template of the SLM or of what --llm names. Its vocabulary, "
        "K and that its log-probabilities are raw are checked before the first token. One that gives few entries proves less: "
        "see "
        "uncertified, --require-certified.\n"
        "\n"
        "LLM and SLM may have different vocabularies: see --vocab and --llm.\n"
        "\n"
        "Certified: the choice over the whole vocabulary of the claimed base. near_ties counts positions "
        "whose "
        "margin (nats) is so small that the same tokens, computed in other batches, may choose another token: another "
        "--cloud-mode "
        "or machine may go on otherwise there. docs/mathematics.md has the bound.\n"
        "\n"
        "A line of --trace has position, token, text, is_end, steered, base_token (what the base alone would have taken), "
        "base_logprob, policy_logprob, delta and gain of the token, weights, best_before and best_after (five tokens each with "
        "text and "
        "logprob), certified, margin, near_tie, n_deepened, n_entries, unsent_mass, gated, is_local, slm_us, llm_wait_us and "
        "fuse_us. delta is the published one, of normalised distributions and without the strength: log p(token) of the SLM with "
        "the context minus that without, in nats; over several contexts the sum, each times its weight; 0 where the gate is "
        "closed. "
        "weights has what the delta of each context was multiplied with here: strength times its weight, times what --divergence "
        "leaves; gain is what the token's score got from them, in nats, with --plausibility taken into account (without either, "
        "strength times delta). "
        "With --vocab byte p is the probability that the text goes on with the token's bytes. A text that "
        "is not UTF-8 by itself is also given as bytes. Log-probabilities are in nats; minus infinity is the string \"-inf\".\n"
        "\n"
        "An empty context, or one of white space only, is left out, and a line on standard error says so; if no other is there, "
        "the "
        "answer is what the LLM (for slm+context: the SLM) gives without a context: nothing is steered, and n_contexts is 0.\n"
        "\n"
        "Where parts were chosen, selection has them as costeer select --json, and select_ms the time; or null. --trace "
        "begins with both. If none is needed, the answer is that without a context.\n"
        "\n"
        "Texts are UTF-8 of at most 16 MiB; line ends at their end are dropped. The first Ctrl-C ends the answer and keeps what "
        "is there, the second kills.",
    .examples =
        "  costeer generate --context notes.txt \"Write a short bio of me.\"\n"
        "  costeer generate --llm big.gguf --slm small.gguf --context notes.txt --context tone.txt:0.5 --json <query.txt\n"
        "  costeer generate --context notes.txt --context pompous.txt:-0.5 \"Write a short bio of me.\"\n"
        "  costeer generate --method adacosteer --context notes.txt -v \"Write a short bio of me.\"\n"
        "  costeer generate --cloud wss://llm.example.org:8790 --cloud-token-file token --context notes.txt <query.txt\n"
        "  costeer generate --cloud vllm+https://llm.example.org --cloud-key-file key --context notes.txt <query.txt\n"
        "  costeer generate --cloud wss://llm.example.org:8790 --llm its-vocab.gguf --slm small.gguf --context notes.txt "
        "<query.txt",
    .groups = {&cs_group_input, &cs_group_use, &cs_group_template, &cs_group_method, &cs_group_models, &cs_group_cloud,
               &cs_group_steering, &cs_group_answer, &cs_group_output},
    .run = run,
};
