/*
 * costeer compare: the same query answered four ways, so that one sees what steering does and what it spares. All four go through
 * the same session loop; only the cloud, the prompt and the deltas differ.
 */
#include "cli/cmd.h"
#include "cli/json.h"
#include "cli/message.h"
#include "cli/render_compare.h"
#include "cli/signals.h"
#include "cli/trace.h"
#include "util/clock.h"

#include <stdio.h>
#include <string.h>

/* The line that tells how far it is is redrawn at most this often. */
#define STATUS_EVERY_US 100000

enum { LLM_ALONE, SLM_WITH_CONTEXT, COSTEER, LLM_WITH_CONTEXT };

typedef struct comparison {
    cs_settings settings;
    double strength;
    cs_inputs inputs;
    cs_output out;
    cs_output trace;
    cs_pair pair;
    cs_device device;
    costeer_cloud *llm;
    costeer_cloud *slm;
    costeer_tokens prompts[CS_METHODS]; /* of CoSteer: as the LLM alone, so unused */
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

static int open_outputs(comparison *c)
{
    int error = cs_output_open(&c->out, c->settings.output != NULL ? c->settings.output : "-", false);
    if (error != 0) {
        return cs_fail_output(c->out.name, error);
    }
    if (c->settings.trace != NULL) {
        error = cs_output_open(&c->trace, c->settings.trace, true);
        if (error != 0) {
            return cs_fail_output(c->trace.name, error);
        }
    }
    return CS_EXIT_OK;
}

static int build_prompts(comparison *c)
{
    const char *context = c->inputs.all_contexts;
    int exit_code = cs_prompt_build(c->pair.llm, &c->settings, &c->inputs, NULL, &c->prompts[LLM_ALONE]);
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_prompt_build(c->pair.slm, &c->settings, &c->inputs, context, &c->prompts[SLM_WITH_CONTEXT]);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_prompt_build(c->pair.llm, &c->settings, &c->inputs, context, &c->prompts[LLM_WITH_CONTEXT]);
    }
    return exit_code;
}

static int open_models(comparison *c)
{
    int exit_code = cs_pair_load(&c->settings, true, &c->pair);
    if (exit_code == CS_EXIT_OK) {
        exit_code = build_prompts(c);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_device_open(c->pair.slm, &c->settings, &c->inputs, &c->device);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_cloud_open(c->pair.llm, &c->settings, c->settings.threads_llm, &c->llm);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_cloud_open(c->pair.slm, &c->settings, c->settings.threads_slm, &c->slm);
    }
    return exit_code;
}

static int prepare(comparison *c, const cs_arguments *arguments)
{
    int exit_code = cs_settings_resolve(&c->settings, &c->strength);
    if (exit_code == CS_EXIT_OK && c->settings.contexts.n == 0) {
        exit_code = cs_fail(CS_EXIT_USAGE, "compare: needs a --context FILE; without one there is nothing to compare");
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = open_outputs(c);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_inputs_read(&c->settings, arguments, &c->inputs);
    }
    if (exit_code == CS_EXIT_OK && c->inputs.all_contexts == NULL) {
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
    return !c->running->is_steered || c->settings.trace == NULL || cs_trace_write(&c->trace, &c->vocab, position);
}

static int run_method(comparison *c, int which)
{
    cs_method *m = &c->methods[which];
    m->strength = c->strength;
    m->model = which == SLM_WITH_CONTEXT ? c->pair.slm : c->pair.llm;
    cs_answer_request request = {.cloud = which == SLM_WITH_CONTEXT ? c->slm : c->llm, .model = m->model};
    request.deltas = m->is_steered ? costeer_slm_delta_source(c->device.slm) : NULL;
    request.prompt = &c->prompts[m->is_steered ? LLM_ALONE : which];
    request.params = cs_settings_session(&c->settings, c->strength);
    request.params.context_weights = m->is_steered ? c->inputs.weights : NULL;
    request.params.details = m->is_steered && c->settings.trace != NULL;
    request.params.on_position = on_position;
    request.params.user = c;
    c->running = m;
    c->vocab = costeer_model_vocab(m->model);
    costeer_err status = cs_answer_run(&request, &m->answer);
    clear_status(c);
    m->was_run = status == COSTEER_OK || status == COSTEER_ECANCELED;
    if (status == COSTEER_EABORTED) {
        return c->trace.error != 0 ? cs_fail_output(c->trace.name, c->trace.error) : cs_fail(CS_EXIT_INTERNAL, "out of memory");
    }
    return status == COSTEER_OK ? CS_EXIT_OK : cs_fail_error(&m->answer.error);
}

/* ---- showing ----------------------------------------------------------------------------------------------------- */

static json_t *make_changed(const cs_answer *answer)
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

static json_t *make_method(const cs_method *m)
{
    const cs_answer *a = &m->answer;
    json_t *object = json_pack("{s:s, s:o, s:o, s:s, s:i, s:f, s:o}", "name", m->name, "text",
                               cs_json_text(a->text.n_bytes > 0 ? a->text.bytes : "", a->text.n_bytes), "token_ids",
                               cs_json_ids(a->tokens, a->n_tokens), "finish", cs_answer_finish(a), "n_tokens",
                               (int)a->report.n_tokens, "tokens_per_second", cs_answer_rate(a), "times_us", cs_answer_times(a));
    int failed = 0;
    if (m->is_steered) {
        failed |= json_object_set_new(object, "changed", make_changed(a));
        failed |= json_object_set_new(object, "n_steered", json_integer(a->report.n_steered));
        failed |= json_object_set_new(object, "certified", json_integer(a->report.n_certified));
        failed |= json_object_set_new(object, "deepened", json_integer(a->report.n_deepened));
        failed |= json_object_set_new(object, "uncertified", json_integer(a->report.n_uncertified));
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
    for (int i = 0; i < CS_METHODS; i++) {
        if (c->methods[i].was_run && json_array_append_new(list, make_method(&c->methods[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return json_pack("{s:o, s:f, s:I, s:o}", "query", cs_json_text(c->inputs.query, strlen(c->inputs.query)), "strength",
                     c->strength, "seed", (json_int_t)c->settings.sampler.seed, "methods", list);
}

static int show(comparison *c, int exit_code)
{
    int shown = CS_EXIT_OK;
    if (c->settings.json) {
        shown = cs_json_print(&c->out, make_report(c));
    } else {
        cs_terminal terminal = cs_terminal_of(&c->out);
        if (!cs_render_compare(&c->out, &terminal, c->methods)) {
            shown = cs_fail(CS_EXIT_INTERNAL, "out of memory");
        }
    }
    if (shown != CS_EXIT_OK) {
        return shown;
    }
    int error = cs_output_close(&c->out);
    if (error != 0) {
        return cs_fail_output(c->out.name, error);
    }
    error = c->settings.trace != NULL ? cs_output_close(&c->trace) : 0;
    return error != 0 ? cs_fail_output(c->trace.name, error) : exit_code;
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
    memcpy(c.methods, methods, sizeof methods);
    c.out.fd = -1;
    c.trace.fd = -1;
    cs_arguments arguments = {.n = 0};
    int exit_code;
    if (!cs_options_parse(self, argc, argv, &c.settings, &arguments, &exit_code)) {
        return exit_code;
    }
    c.shows_status = !c.settings.quiet && cs_stderr_is_terminal();
    exit_code = compare(&c, &arguments);
    for (int i = 0; i < CS_METHODS; i++) {
        cs_answer_dispose(&c.methods[i].answer);
        costeer_tokens_dispose(&c.prompts[i]);
    }
    costeer_cloud_free(c.slm);
    costeer_cloud_free(c.llm);
    cs_device_dispose(&c.device);
    cs_pair_dispose(&c.pair);
    cs_inputs_dispose(&c.inputs);
    cs_output_discard(&c.trace);
    cs_output_discard(&c.out);
    return exit_code;
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
                   "also with changed (positions of the changed tokens), n_steered, certified, deepened and uncertified. "
                   "--trace follows the CoSteer answer.",
    .examples = "  costeer compare --context notes.txt \"Write an invitation to my birthday.\"\n"
                "  costeer compare --strength 1 --context notes.txt --json \"Plan my day.\" | jq .methods[2].text",
    .groups = {&cs_group_input, &cs_group_models, &cs_group_steering, &cs_group_answer, &cs_group_output},
    .run = run,
};
