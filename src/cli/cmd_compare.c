/*
 * costeer compare: the same query answered by several methods, so that one sees what steering does and what it spares. All go
 * through the same session loop; the ensemble puts together what each one needs. A cloud on another machine is not shown the
 * context unless that was allowed, so that methods of the default list which would do so are left out.
 */
#include "cli/cmd.h"
#include "cli/json.h"
#include "cli/message.h"
#include "cli/render_compare.h"
#include "cli/report.h"
#include "cli/setup.h"
#include "cli/signals.h"
#include "cli/trace.h"
#include "util/clock.h"

#include <stdio.h>
#include <string.h>

/* The line that tells how far it is is redrawn at most this often. */
#define STATUS_EVERY_US 100000

static const char *const default_methods[] = {"llm", "slm+context", "costeer", "llm+context"};

typedef struct comparison {
    cs_setup setup;     /* its choices are those that are run */
    cs_choices choices; /* all, in the order they are shown */
    cs_column columns[CS_COLUMNS_MAX];
    costeer_vocab vocab;
    const cs_column *running;
    bool shows_status;
    int64_t status_us;
} comparison;

/* ---- preparation ------------------------------------------------------------------------------------------------- */

static const char *title_of(const costeer_method *method)
{
    if (cs_method_is_steered(method)) {
        return method->title;
    }
    switch (method->base) {
    case COSTEER_SOURCE_LLM:
        return "LLM alone";
    case COSTEER_SOURCE_LLM_WITH:
        return "LLM with the context";
    case COSTEER_SOURCE_SLM:
        return "SLM alone";
    case COSTEER_SOURCE_SLM_WITH:
        return "SLM with the context";
    default:
        return method->title;
    }
}

/* Short enough for a narrow column, and the same words for what is the same: who sees what, and who steers. */
static const char *note_of(const cs_settings *settings, const cs_choice *choice)
{
    const costeer_method *method = choice->method;
    if (costeer_method_shows_context(method)) {
        return settings->cloud != NULL ? "the cloud was shown the context" : "would give the context away";
    }
    if (method->expert == COSTEER_SOURCE_SLM_TUNED) {
        return "LLM steered by a tuned SLM";
    }
    if (cs_method_is_steered(method)) {
        return "LLM steered by the SLM";
    }
    return costeer_method_uses_llm(method) ? "sees the query only" : "on the device";
}

/* Columns for all, and for the setup the choices that are run. */
static void make_columns(comparison *c)
{
    const cs_settings *settings = &c->setup.settings;
    for (size_t i = 0; i < c->choices.n; i++) {
        const cs_choice *choice = &c->choices.items[i];
        cs_column *column = &c->columns[i];
        *column = (cs_column){.choice = choice,
                              .title = title_of(choice->method),
                              .note = note_of(settings, choice),
                              .shows_context = costeer_method_shows_context(choice->method)};
        column->is_left_out = !choice->is_named && cs_method_needs_permission(settings, choice->method);
        if (column->is_left_out) {
            column->note = "left out: would upload the context";
        } else {
            c->setup.choices.items[c->setup.choices.n++] = *choice;
        }
    }
}

static void note_empty_context(comparison *c)
{
    for (size_t i = 0; i < c->choices.n; i++) {
        cs_column *column = &c->columns[i];
        if (cs_method_uses_context(column->choice->method) && !column->is_left_out) {
            column->note = "the context is empty";
            column->shows_context = false;
        }
    }
}

static int prepare(comparison *c, const cs_arguments *arguments)
{
    cs_settings *s = &c->setup.settings;
    size_t n_default = sizeof default_methods / sizeof default_methods[0];
    int exit_code = cs_choices_make(s, arguments, default_methods, n_default, &c->choices);
    if (exit_code == CS_EXIT_OK && s->contexts.n == 0 && s->methods.n == 0) {
        exit_code = cs_fail(CS_EXIT_USAGE, "compare: needs a --context FILE; without one there is nothing to compare");
    }
    if (exit_code != CS_EXIT_OK) {
        return exit_code;
    }
    make_columns(c);
    exit_code = cs_setup_prepare(&c->setup, arguments);
    if (exit_code == CS_EXIT_OK && c->setup.inputs.n_empty > 0 && c->setup.inputs.n_contexts == 0) {
        note_empty_context(c);
    }
    return exit_code;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static void clear_status(const comparison *c)
{
    if (c->shows_status) {
        fputs("\r\033[K", stderr);
    }
}

static bool on_position(const costeer_position *position, void *user)
{
    comparison *c = user;
    const costeer_method *method = c->running->choice->method;
    int64_t now_us = cs_clock_us();
    if (c->shows_status && now_us - c->status_us > STATUS_EVERY_US) {
        c->status_us = now_us;
        fprintf(stderr, "\r\033[K%s: %d tokens", c->running->title, (int)position->position + 1);
    }
    return !cs_method_is_steered(method) || c->setup.settings.trace == NULL ||
           cs_trace_write(&c->setup.trace, method->name, &c->vocab, position);
}

/* Where the rest may do without the cloud, its failure ends only what needs it. */
static bool is_spared(const comparison *c, const cs_column *column, costeer_err status)
{
    return c->setup.settings.cloud != NULL && costeer_method_uses_llm(column->choice->method) &&
           strcmp(c->setup.settings.on_cloud_failure, "local") == 0 && (status == COSTEER_ECLOUD || status == COSTEER_ETIMEDOUT);
}

static int run_column(comparison *c, cs_column *column)
{
    costeer_ensemble_parts parts;
    int exit_code = cs_setup_use(&c->setup, column->choice, &parts);
    if (exit_code != CS_EXIT_OK) {
        return exit_code;
    }
    column->model = parts.model;
    column->vocab = c->setup.pair.map != NULL ? cs_setup_vocab_name(&c->setup, column->choice->method) : NULL;
    c->running = column;
    c->vocab = costeer_model_vocab(parts.model);
    cs_cli_answer_request request = {.parts = &parts, .params = cs_setup_session(&c->setup, column->choice, &parts)};
    request.params.details = cs_method_is_steered(column->choice->method) && c->setup.settings.trace != NULL;
    request.params.on_position = on_position;
    request.params.user = c;
    costeer_err status = cs_cli_answer_run(&request, &column->answer);
    cs_prompt_progress_clear(&c->setup.progress);
    clear_status(c);
    column->was_run = status == COSTEER_OK || status == COSTEER_ECANCELED;
    if (status == COSTEER_EABORTED) {
        return cs_setup_fail_aborted(&c->setup);
    }
    exit_code = status == COSTEER_OK ? CS_EXIT_OK : cs_setup_fail(&c->setup, column->choice, &column->answer.error);
    if (is_spared(c, column, status)) {
        column->is_left_out = true;
        column->note = "left out: the cloud failed";
        return CS_EXIT_OK;
    }
    column->local_from = cs_report_local_from(&column->answer);
    cs_report_tell_local(&c->setup, &column->answer);
    cs_report_tell_empty(&c->setup, column->choice, &column->answer);
    cs_report_tell_words(&c->setup, column->choice, column->model, &column->answer);
    return exit_code;
}

/* ---- showing ----------------------------------------------------------------------------------------------------- */

static json_t *make_changed(const cs_cli_answer *answer)
{
    json_t *list = json_array();
    for (size_t i = 0; i < answer->n_tokens; i++) {
        if (answer->changed[i] && json_array_append_new(list, json_integer((json_int_t)i)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static int set_steering(json_t *object, const cs_column *column)
{
    const cs_cli_answer *a = &column->answer;
    int failed = json_object_set_new(object, "changed", make_changed(a));
    failed |= json_object_set_new(object, "strength", json_real(column->choice->weight));
    failed |= json_object_set_new(object, "plausibility", json_real(column->choice->limits.plausibility));
    failed |= json_object_set_new(object, "divergence", json_real(column->choice->limits.divergence));
    failed |= json_object_set_new(object, "n_steered", json_integer(a->report.n_steered));
    failed |= json_object_set_new(object, "certified", json_integer(a->report.n_certified));
    failed |= json_object_set_new(object, "deepened", json_integer(a->report.n_deepened));
    failed |= json_object_set_new(object, "uncertified", json_integer(a->report.n_uncertified));
    failed |= json_object_set_new(object, "near_ties", json_integer(a->report.n_near_ties));
    failed |= cs_report_set_local(object, a);
    return failed != 0 ? -1 : 0;
}

static json_t *make_method(const comparison *c, const cs_column *column)
{
    const costeer_method *method = column->choice->method;
    const cs_cli_answer *a = &column->answer;
    json_t *object =
        json_pack("{s:s, s:o, s:o, s:s, s:i, s:f, s:o}", "name", method->name, "text",
                  cs_json_text(a->text.n_bytes > 0 ? a->text.bytes : "", a->text.n_bytes), "token_ids",
                  cs_json_ids(a->tokens, a->n_tokens), "finish", cs_cli_answer_finish(a), "n_tokens", (int)a->report.n_tokens,
                  "tokens_per_second", cs_cli_answer_rate(a), "times_us", cs_cli_answer_times(a));
    int failed = cs_method_is_steered(method) ? set_steering(object, column) : 0;
    failed |= cs_report_set_method(object, &c->setup, column->choice, a);
    failed |= cs_report_set_words(object, &c->setup, column->choice, column->model, a);
    if (costeer_method_uses_llm(method)) {
        failed |= json_object_set_new(object, "cloud", cs_report_cloud(&c->setup, a));
    }
    failed |= json_object_set_new(object, "gives_context_away", json_boolean(column->shows_context));
    if (failed != 0) {
        json_decref(object);
        return NULL;
    }
    return object;
}

/* Of the first method that is steered. */
static double find_strength(const comparison *c)
{
    for (size_t i = 0; i < c->choices.n; i++) {
        if (cs_method_is_steered(c->choices.items[i].method)) {
            return c->choices.items[i].weight;
        }
    }
    return 0.0;
}

static json_t *make_report(const comparison *c)
{
    json_t *list = json_array();
    json_t *skipped = json_array();
    int failed = 0;
    for (size_t i = 0; i < c->choices.n; i++) {
        const cs_column *column = &c->columns[i];
        if (column->was_run) {
            failed |= json_array_append_new(list, make_method(c, column));
        } else if (column->is_left_out) {
            failed |= json_array_append_new(skipped, json_string(column->choice->method->name));
        }
    }
    if (failed != 0) {
        json_decref(list);
        json_decref(skipped);
        return NULL;
    }
    const char *query = c->setup.inputs.query;
    return json_pack("{s:o, s:I, s:I, s:f, s:I, s:o, s:o, s:o, s:o}", "query", cs_json_text(query, strlen(query)), "n_contexts",
                     (json_int_t)c->setup.inputs.n_contexts, "n_contexts_empty", (json_int_t)c->setup.inputs.n_empty, "strength",
                     find_strength(c), "seed", (json_int_t)c->setup.settings.sampler.seed, "methods", list, "skipped", skipped,
                     "selection", cs_use_describe(&c->setup.use), "select_ms", cs_use_describe_time(&c->setup.use));
}

static int show(comparison *c, int exit_code)
{
    int shown = CS_EXIT_OK;
    cs_output *out = &c->setup.out;
    if (c->setup.settings.json) {
        shown = cs_json_print(out, make_report(c));
    } else {
        cs_terminal terminal = cs_terminal_of(out);
        if (!cs_render_compare(out, &terminal, c->columns, c->choices.n)) {
            shown = cs_fail(CS_EXIT_INTERNAL, "out of memory");
        }
        char chosen[CS_USE_SUMMARY_SIZE];
        const char *summary = cs_use_summary(&c->setup.use, chosen, sizeof chosen);
        cs_output_print(out, "%s%s", summary[0] != '\0' ? summary + 2 : "", summary[0] != '\0' ? "\n" : "");
    }
    return shown == CS_EXIT_OK ? cs_setup_close_outputs(&c->setup, true, exit_code) : shown;
}

static int compare(comparison *c, const cs_arguments *arguments)
{
    int exit_code = prepare(c, arguments);
    if (exit_code != CS_EXIT_OK) {
        return exit_code;
    }
    if (c->setup.settings.trace != NULL && !cs_use_trace(&c->setup.use, &c->setup.trace)) {
        return cs_setup_fail_aborted(&c->setup);
    }
    for (size_t i = 0; i < c->choices.n && exit_code == CS_EXIT_OK; i++) {
        exit_code = c->columns[i].is_left_out ? CS_EXIT_OK : run_column(c, &c->columns[i]);
    }
    /* What a signal cut short is shown; what failed is not. */
    return exit_code == CS_EXIT_OK || cs_interrupted() ? show(c, exit_code) : exit_code;
}

static int run(const cs_command *self, int argc, char **argv)
{
    comparison c;
    memset(&c, 0, sizeof c);
    cs_setup_init(&c.setup);
    cs_arguments arguments = {.n = 0};
    int exit_code;
    if (!cs_options_parse(self, argc, argv, &c.setup.settings, &arguments, &exit_code)) {
        return exit_code;
    }
    c.shows_status = !c.setup.settings.quiet && cs_stderr_is_terminal();
    exit_code = compare(&c, &arguments);
    for (size_t i = 0; i < c.choices.n; i++) {
        cs_cli_answer_dispose(&c.columns[i].answer);
    }
    return cs_setup_dispose(&c.setup, exit_code);
}

const cs_command cs_command_compare = {
    .name = "compare",
    .arguments = "[QUERY]",
    .summary = "answer a query by several methods, side by side",
    .description =
        "Without --method there are four: the LLM alone; the SLM with the context; CoSteer; and the LLM with the context, which "
        "is "
        "as good as it could get but would give the context away. With several contexts, those with a positive weight are joined "
        "for the methods that get them in their prompt. --method names others, see costeer generate --help; it may be given up "
        "to "
        "16 times. --strength and the published parameters concern all that are steered.\n"
        "\n"
        "Where steering changed a token from what the method's base (for CoSteer the LLM alone) would have written there, it is "
        "coloured; without colours it stands in brackets, [so], and double ones where the locale has them. Four answers stand in "
        "four columns from a width of 160 on, in two from 72 on, and one below the other on a narrower terminal or when the "
        "output "
        "is no terminal; any other number takes up to four columns of at least 38.\n"
        "\n"
        "An empty context is left out, as in generate. --json prints query, n_contexts, n_contexts_empty (left out), strength "
        "(of "
        "the first steered method), seed and methods: a list in the order of the methods, each "
        "with name, text, token_ids, finish, n_tokens, tokens_per_second, times_us, vocab, gate, n_gated, n_slm_steps, "
        "n_slm_tokens and gives_context_away; those that are steered also with strength, plausibility, divergence, changed "
        "(positions of the changed "
        "tokens), n_steered, certified, deepened, uncertified, near_ties, n_local, local_from and cloud_error; those of the LLM "
        "with cloud, "
        "as "
        "in generate; skipped, the names of those left out; and selection and select_ms, as in generate. --trace follows the "
        "steered answers, and its lines have the "
        "method.\n"
        "\n"
        "With --cloud and without --allow-context-upload the LLM with the context is left out, because it would upload the "
        "context; naming such a method with --method is an error then. When the node fails and --on-cloud-failure is local, what "
        "needs it is left out too, and the title of CoSteer tells from which token on the SLM wrote alone.",
    .examples = "  costeer compare --context notes.txt \"Write an invitation to my birthday.\"\n"
                "  costeer compare --strength 1 --context notes.txt --json \"Plan my day.\" | jq .methods[2].text\n"
                "  costeer compare --method costeer --method amulet --method llm+context --context notes.txt \"Plan my day.\"\n"
                "  costeer compare --cloud ws://127.0.0.1:8790 --context notes.txt \"Plan my day.\"",
    .groups = {&cs_group_input, &cs_group_use, &cs_group_template, &cs_group_methods, &cs_group_models, &cs_group_cloud,
               &cs_group_steering, &cs_group_answer, &cs_group_output},
    .run = run,
};
