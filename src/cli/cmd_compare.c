/*
 * costeer compare: the same query answered four ways, so that one sees what steering does and what it spares. All four go through
 * the same session loop; only the cloud, the prompt and the deltas differ. A cloud on another machine is never given the context,
 * so that the fourth way is then left out.
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

enum { LLM_ALONE, SLM_WITH_CONTEXT, COSTEER, LLM_WITH_CONTEXT };

typedef struct comparison {
    cs_setup setup;
    costeer_cloud *slm;
    costeer_tokens slm_prompt; /* with the context */
    costeer_tokens llm_prompt; /* with the context; empty when the LLM is elsewhere */
    costeer_vocab vocab;
    cs_method methods[CS_METHODS];
    const cs_method *running;
    bool shows_status;
    int64_t status_us;
} comparison;

static const cs_method methods[CS_METHODS] = {
    [LLM_ALONE] = {.name = "llm", .title = "LLM alone", .note = "sees the query only"},
    [SLM_WITH_CONTEXT] = {.name = "slm+context", .title = "SLM with the context", .note = "on the device"},
    [COSTEER] = {.name = "costeer", .title = "CoSteer", .note = "LLM steered by the SLM", .is_steered = true},
    [LLM_WITH_CONTEXT] = {.name = "llm+context",
                          .title = "LLM with the context",
                          .note = "would give the context away",
                          .gives_context_away = true},
};

/* ---- preparation ------------------------------------------------------------------------------------------------- */

static int open_models(comparison *c)
{
    cs_setup *s = &c->setup;
    const char *context = s->inputs.all_contexts;
    int exit_code = cs_setup_open_models(s, true);
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_prompt_build(s->pair.slm, &s->settings, &s->inputs, context, &c->slm_prompt);
    }
    if (exit_code == CS_EXIT_OK && s->pair.llm != NULL) {
        exit_code = cs_prompt_build(s->pair.llm, &s->settings, &s->inputs, context, &c->llm_prompt);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_cloud_open(s->pair.slm, &s->settings, s->settings.threads_slm, &c->slm);
    }
    if (s->settings.cloud != NULL) {
        c->methods[LLM_WITH_CONTEXT].is_left_out = true;
        c->methods[LLM_WITH_CONTEXT].note = "left out: would upload the context";
    }
    return exit_code;
}

static int prepare(comparison *c, const cs_arguments *arguments)
{
    cs_setup *s = &c->setup;
    int exit_code = cs_settings_resolve(&s->settings, arguments, &s->strength);
    if (exit_code == CS_EXIT_OK && s->settings.contexts.n == 0) {
        exit_code = cs_fail(CS_EXIT_USAGE, "compare: needs a --context FILE; without one there is nothing to compare");
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_setup_open_outputs(s);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_inputs_read(&s->settings, arguments, &s->inputs);
    }
    if (exit_code == CS_EXIT_OK && s->inputs.all_contexts == NULL) {
        exit_code = cs_fail(CS_EXIT_USAGE, "compare: needs a --context with a positive weight");
    }
    return exit_code == CS_EXIT_OK ? open_models(c) : exit_code;
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
    int64_t now_us = cs_clock_us();
    if (c->shows_status && now_us - c->status_us > STATUS_EVERY_US) {
        c->status_us = now_us;
        fprintf(stderr, "\r\033[K%s: %d tokens", c->running->title, (int)position->position + 1);
    }
    return !c->running->is_steered || c->setup.settings.trace == NULL || cs_trace_write(&c->setup.trace, &c->vocab, position);
}

static cs_cli_answer_request make_request(comparison *c, int which)
{
    cs_setup *s = &c->setup;
    const cs_method *m = &c->methods[which];
    cs_cli_answer_request request = {.cloud = s->cloud, .model = m->model, .prompt = &s->prompt};
    request.params = cs_setup_session(s, m->is_steered);
    request.params.details = m->is_steered && s->settings.trace != NULL;
    request.params.on_position = on_position;
    request.params.user = c;
    if (m->is_steered) {
        request.deltas = costeer_slm_delta_source(s->device.slm);
    } else if (which == SLM_WITH_CONTEXT) {
        request.cloud = c->slm;
        request.prompt = &c->slm_prompt;
        request.params.chat = NULL;
    } else if (which == LLM_WITH_CONTEXT) {
        request.prompt = &c->llm_prompt;
    }
    return request;
}

/* Where the rest may do without the cloud, its failure ends only what needs it. */
static bool is_spared(const comparison *c, costeer_err status)
{
    return c->setup.settings.cloud != NULL && strcmp(c->setup.settings.on_cloud_failure, "local") == 0 &&
           (status == COSTEER_ECLOUD || status == COSTEER_ETIMEDOUT);
}

static int run_method(comparison *c, int which)
{
    cs_method *m = &c->methods[which];
    if (m->is_left_out) {
        return CS_EXIT_OK;
    }
    m->strength = c->setup.strength;
    m->model = which == SLM_WITH_CONTEXT ? c->setup.pair.slm : cs_setup_vocab(&c->setup);
    cs_cli_answer_request request = make_request(c, which);
    c->running = m;
    c->vocab = costeer_model_vocab(m->model);
    costeer_err status = cs_cli_answer_run(&request, &m->answer);
    clear_status(c);
    m->was_run = status == COSTEER_OK || status == COSTEER_ECANCELED;
    if (status == COSTEER_EABORTED) {
        return cs_setup_fail_aborted(&c->setup);
    }
    int exit_code = status == COSTEER_OK ? CS_EXIT_OK : cs_fail_error(&m->answer.error);
    if (is_spared(c, status)) {
        m->is_left_out = true;
        m->note = "left out: the cloud failed";
        return CS_EXIT_OK;
    }
    m->local_from = cs_report_local_from(&m->answer);
    cs_report_tell_local(&c->setup, &m->answer);
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

static int set_steering(json_t *object, const cs_cli_answer *a)
{
    int failed = json_object_set_new(object, "changed", make_changed(a));
    failed |= json_object_set_new(object, "n_steered", json_integer(a->report.n_steered));
    failed |= json_object_set_new(object, "certified", json_integer(a->report.n_certified));
    failed |= json_object_set_new(object, "deepened", json_integer(a->report.n_deepened));
    failed |= json_object_set_new(object, "uncertified", json_integer(a->report.n_uncertified));
    failed |= cs_report_set_local(object, a);
    return failed != 0 ? -1 : 0;
}

static json_t *make_method(const comparison *c, int which)
{
    const cs_method *m = &c->methods[which];
    const cs_cli_answer *a = &m->answer;
    json_t *object =
        json_pack("{s:s, s:o, s:o, s:s, s:i, s:f, s:o}", "name", m->name, "text",
                  cs_json_text(a->text.n_bytes > 0 ? a->text.bytes : "", a->text.n_bytes), "token_ids",
                  cs_json_ids(a->tokens, a->n_tokens), "finish", cs_cli_answer_finish(a), "n_tokens", (int)a->report.n_tokens,
                  "tokens_per_second", cs_cli_answer_rate(a), "times_us", cs_cli_answer_times(a));
    int failed = m->is_steered ? set_steering(object, a) : 0;
    if (which != SLM_WITH_CONTEXT) {
        failed |= json_object_set_new(object, "cloud", cs_report_cloud(&c->setup, a));
    }
    failed |= json_object_set_new(object, "gives_context_away", json_boolean(m->gives_context_away));
    if (failed != 0) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static json_t *make_report(const comparison *c)
{
    json_t *list = json_array();
    json_t *skipped = json_array();
    int failed = 0;
    for (int i = 0; i < CS_METHODS; i++) {
        if (c->methods[i].was_run) {
            failed |= json_array_append_new(list, make_method(c, i));
        } else if (c->methods[i].is_left_out) {
            failed |= json_array_append_new(skipped, json_string(c->methods[i].name));
        }
    }
    if (failed != 0) {
        json_decref(list);
        json_decref(skipped);
        return NULL;
    }
    const char *query = c->setup.inputs.query;
    return json_pack("{s:o, s:f, s:I, s:o, s:o}", "query", cs_json_text(query, strlen(query)), "strength", c->setup.strength,
                     "seed", (json_int_t)c->setup.settings.sampler.seed, "methods", list, "skipped", skipped);
}

static int show(comparison *c, int exit_code)
{
    int shown = CS_EXIT_OK;
    cs_output *out = &c->setup.out;
    if (c->setup.settings.json) {
        shown = cs_json_print(out, make_report(c));
    } else {
        cs_terminal terminal = cs_terminal_of(out);
        if (!cs_render_compare(out, &terminal, c->methods)) {
            shown = cs_fail(CS_EXIT_INTERNAL, "out of memory");
        }
    }
    return shown == CS_EXIT_OK ? cs_setup_close_outputs(&c->setup, true, exit_code) : shown;
}

static int compare(comparison *c, const cs_arguments *arguments)
{
    int exit_code = prepare(c, arguments);
    if (exit_code != CS_EXIT_OK) {
        return exit_code;
    }
    for (int i = 0; i < CS_METHODS && exit_code == CS_EXIT_OK; i++) {
        exit_code = run_method(c, i);
    }
    /* What a signal cut short is shown; what failed is not. */
    return exit_code == CS_EXIT_OK || cs_interrupted() ? show(c, exit_code) : exit_code;
}

static int run(const cs_command *self, int argc, char **argv)
{
    comparison c;
    memset(&c, 0, sizeof c);
    cs_setup_init(&c.setup);
    memcpy(c.methods, methods, sizeof methods);
    cs_arguments arguments = {.n = 0};
    int exit_code;
    if (!cs_options_parse(self, argc, argv, &c.setup.settings, &arguments, &exit_code)) {
        return exit_code;
    }
    c.shows_status = !c.setup.settings.quiet && cs_stderr_is_terminal();
    exit_code = compare(&c, &arguments);
    for (int i = 0; i < CS_METHODS; i++) {
        cs_cli_answer_dispose(&c.methods[i].answer);
    }
    costeer_cloud_free(c.slm);
    costeer_tokens_dispose(&c.slm_prompt);
    costeer_tokens_dispose(&c.llm_prompt);
    return cs_setup_dispose(&c.setup, exit_code);
}

const cs_command cs_command_compare = {
    .name = "compare",
    .arguments = "[QUERY]",
    .summary = "answer a query four ways, side by side",
    .description = "The four: the LLM alone; the SLM with the context; CoSteer; and the LLM with the context, which is as good "
                   "as it could get but would give the context away. With several contexts, those with a positive weight are "
                   "joined for the two that get them in their prompt.\n"
                   "\n"
                   "Where steering changed a token from what the LLM alone would have written there, it is coloured; without "
                   "colours it stands in brackets, [so], and double ones where the locale has them. The answers stand in four "
                   "columns from a width of 160 on, in two from 72 on, and one below the other on a narrower terminal or when "
                   "the output is no terminal.\n"
                   "\n"
                   "--json prints query, strength, seed and methods: a list of llm, slm+context, costeer and llm+context, each "
                   "with name, text, token_ids, finish, n_tokens, tokens_per_second, times_us and gives_context_away; costeer "
                   "also with changed (positions of the changed tokens), n_steered, certified, deepened, uncertified, n_local, "
                   "local_from and cloud_error; those of the LLM with cloud, as in generate; and skipped, the names of those "
                   "left out. --trace follows the CoSteer answer.\n"
                   "\n"
                   "With --cloud the LLM with the context is left out, because it would upload the context. When the node fails "
                   "and --on-cloud-failure is local, the LLM alone is left out too, and the title of CoSteer tells from which "
                   "token on the SLM wrote alone.",
    .examples = "  costeer compare --context notes.txt \"Write an invitation to my birthday.\"\n"
                "  costeer compare --strength 1 --context notes.txt --json \"Plan my day.\" | jq .methods[2].text\n"
                "  costeer compare --cloud ws://127.0.0.1:8790 --context notes.txt \"Plan my day.\"",
    .groups = {&cs_group_input, &cs_group_models, &cs_group_cloud, &cs_group_steering, &cs_group_answer, &cs_group_output},
    .run = run,
};
