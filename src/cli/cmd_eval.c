/*
 * costeer eval: the rows of a set, answered by several methods and measured, into a folder that a killed run goes on from.
 *
 * Everything cheap is checked before a model is loaded, and all rows before the first is answered. The library makes the lines;
 * here they are put into the file as they come.
 */
#include "cli/cmd_eval.h"
#include "cli/cmd.h"
#include "cli/inputs.h"
#include "cli/message.h"
#include "cli/signals.h"
#include "util/clock.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Everything of a run, in the order in which it comes to be. */
typedef struct evaluation {
    cs_eval_settings settings;
    cs_choices choices;
    costeer_eval_form form;
    char *context_template; /* of --framing and --context-template; NULL: the published one */
    char *amateur_template; /* the same without the context */
    cs_templates templates;
    const char *system;
    costeer_eval_item *items;
    size_t n_items;
    cs_eval_rows rows;
    cs_pair pair;
    costeer_model *judge;
    costeer_model *selector; /* of --selector; NULL: the SLM */
    cs_output audit;
    cs_remote remote;
    pthread_mutex_t connecting; /* guards remote and first */
    costeer_cloud *first;       /* the connection that told the node's name; the first session takes it */
    costeer_session_params session;
    costeer_eval *eval;
    cs_eval_table *table;
    cs_eval_folder folder;
    cs_eval_progress progress;
    int output_error; /* errno */
    bool out_of_memory;
    int64_t n_tokens; /* made by this process */
} evaluation;

/* ---- options to form, methods, items ----------------------------------------------------------------------------- */

static int check_options(const evaluation *e, const cs_arguments *arguments)
{
    const cs_eval_settings *s = &e->settings;
    const struct {
        const char *name;
        const char *value;
    } needed[] = {{"task", s->task}, {"data", s->data}, {"out", s->out}};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        if (needed[i].value == NULL) {
            return cs_fail(CS_EXIT_USAGE, "eval: needs --%s; see costeer eval --help", needed[i].name);
        }
    }
    if (arguments->n > 0) {
        return cs_fail(CS_EXIT_USAGE, "eval: takes no arguments but options; the queries are in --data");
    }
    if (s->common.cloud != NULL && strcmp(s->common.on_cloud_failure, "local") == 0) {
        return cs_fail(CS_EXIT_USAGE,
                       "--on-cloud-failure local: what the SLM writes alone is not the method's; an evaluation stops "
                       "instead, and goes on when it is started again");
    }
    if (s->pairwise && (s->judge == NULL || s->common.cloud != NULL)) {
        return cs_fail(CS_EXIT_USAGE, s->judge == NULL ? "--pairwise: needs a --judge to ask"
                                                       : "--pairwise: needs the LLM in this process; leave out --cloud");
    }
    if (s->common.audit != NULL && s->jobs > 1) {
        return cs_fail(CS_EXIT_USAGE, "--audit: needs --jobs 1, so that its lines stand in one order");
    }
    return cs_eval_use_check(s);
}

static int make_form(evaluation *e, const cs_arguments *arguments)
{
    cs_eval_settings *s = &e->settings;
    int exit_code = CS_EXIT_OK;
    if (s->common.framing != NULL || s->common.context_template != NULL || s->common.amateur_template != NULL) {
        exit_code = cs_framing_read(&s->common, &e->context_template, &e->amateur_template);
    }
    if (exit_code != CS_EXIT_OK) {
        return exit_code;
    }
    e->form = (costeer_eval_form){.task = costeer_eval_task_find(s->task),
                                  .preference = s->preference,
                                  .split = s->split,
                                  .query_field = s->query_field,
                                  .context_field = s->context_field,
                                  .reference_field = s->reference_field,
                                  .facts_field = s->facts_field,
                                  .id_field = s->id_field,
                                  .context_template = e->context_template};
    costeer_error err = {.code = COSTEER_OK};
    if (costeer_eval_form_check(&e->form, &err) != COSTEER_OK) {
        return cs_fail_error(&err);
    }
    exit_code = cs_templates_read(&s->common, &e->templates);
    if (exit_code != CS_EXIT_OK) {
        return exit_code;
    }
    e->system = s->common.system != NULL ? s->common.system : e->form.task->system;
    if (!cs_arguments_have(arguments, "max-tokens")) {
        s->common.max_tokens = e->form.task->max_tokens;
    }
    return CS_EXIT_OK;
}

static int choose_methods(evaluation *e, const cs_arguments *arguments)
{
    static const char *const names[] = {"llm", "slm+context", "costeer", "llm+context"};
    const cs_settings *s = &e->settings.common;
    bool may_show = s->cloud == NULL || s->allow_context_upload;
    int exit_code = cs_choices_make(s, arguments, names, may_show ? 4 : 3, &e->choices);
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_choices_check_upload(s, &e->choices);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_settings_resolve(&e->settings.common, arguments, cs_choices_any(&e->choices, cs_method_has_experts));
    }
    return exit_code;
}

static int make_items(evaluation *e)
{
    const cs_eval_settings *s = &e->settings;
    const costeer_method *methods[CS_OPTION_LIST_MAX];
    costeer_eval_sweep sweeps[CS_OPTION_LIST_MAX];
    costeer_error err = {.code = COSTEER_OK};
    for (size_t i = 0; i < s->sweeps.n; i++) {
        if (costeer_eval_sweep_parse(s->sweeps.items[i], &sweeps[i], &err) != COSTEER_OK) {
            return cs_fail(CS_EXIT_USAGE, "--sweep: %s", err.message);
        }
    }
    for (size_t i = 0; i < e->choices.n; i++) {
        methods[i] = e->choices.items[i].method;
    }
    costeer_eval_items_params params = {.methods = methods,
                                        .n_methods = e->choices.n,
                                        .settings = cs_method_settings(&s->common),
                                        .top_p = s->common.support_top_p,
                                        .sweeps = sweeps,
                                        .n_sweeps = s->sweeps.n};
    return costeer_eval_items_create(&params, &e->items, &e->n_items, &err) == COSTEER_OK ? CS_EXIT_OK : cs_fail_error(&err);
}

/* The gate of the command line; a method that has its own keeps it. */
static costeer_gate_params make_gate(const cs_settings *s)
{
    costeer_gate_params gate = {.kind = COSTEER_GATE_NONE, .threshold = s->gate_threshold, .patience = s->gate_patience};
    for (int kind = COSTEER_GATE_NONE; s->gate != NULL && kind <= COSTEER_GATE_TOKEN; kind++) {
        if (strcmp(s->gate, cs_gate_name((costeer_gate_kind)kind)) == 0) {
            gate.kind = (costeer_gate_kind)kind;
        }
    }
    return gate;
}

/* ---- models and the cloud ---------------------------------------------------------------------------------------- */

static bool needs_both(const costeer_method *method)
{
    return costeer_method_uses_llm(method) && costeer_method_uses_slm(method);
}

static bool uses_tuned(const costeer_method *method)
{
    return method->expert == COSTEER_SOURCE_SLM_TUNED;
}

static bool uses_selector(const cs_eval_settings *s)
{
    return strcmp(s->use, "needed") == 0;
}

static bool judges_by_slm(const cs_eval_settings *s)
{
    return uses_selector(s) && s->common.selector == NULL;
}

static int load_models(evaluation *e)
{
    const cs_settings *s = &e->settings.common;
    cs_pair_needs needs = {.llm = cs_choices_any(&e->choices, costeer_method_uses_llm),
                           .slm = cs_choices_any(&e->choices, costeer_method_uses_slm) || judges_by_slm(&e->settings),
                           .tuned = cs_choices_any(&e->choices, uses_tuned),
                           .map = cs_choices_any(&e->choices, needs_both),
                           .templates = &e->templates};
    int exit_code = cs_pair_load(s, &needs, &e->pair);
    if (exit_code == CS_EXIT_OK && e->pair.map != NULL && needs.tuned) {
        exit_code = cs_fail(CS_EXIT_USAGE, "--method proxy-tuning: needs one vocabulary, and those of LLM and SLM differ");
    }
    if (exit_code == CS_EXIT_OK && e->pair.map != NULL && cs_settings_n_drafts(s) > 0) {
        exit_code =
            cs_fail(CS_EXIT_USAGE, "drafts need one vocabulary, and those of LLM and SLM differ; use --cloud-mode streamed");
    }
    if (exit_code == CS_EXIT_OK && e->settings.judge != NULL) {
        exit_code =
            cs_model_load(e->settings.judge, NULL, s->gpu_layers_llm, cs_progress_kind_of(s->quiet, s->verbose), &e->judge);
    }
    if (exit_code == CS_EXIT_OK && uses_selector(&e->settings) && s->selector != NULL) {
        exit_code = cs_model_load(s->selector, NULL, s->gpu_layers_slm, cs_progress_kind_of(s->quiet, s->verbose), &e->selector);
    }
    return exit_code;
}

static bool is_remote(const evaluation *e)
{
    return e->settings.common.cloud != NULL && cs_choices_any(&e->choices, costeer_method_uses_llm);
}

/* A costeer_connect_fn that sessions call at the same time. */
static costeer_err connect_one(void *user, costeer_cloud **out, costeer_error *err)
{
    evaluation *e = user;
    pthread_mutex_lock(&e->connecting);
    costeer_err code = COSTEER_OK;
    *out = e->first;
    e->first = NULL;
    if (*out == NULL) {
        code = cs_remote_connect(&e->remote, out, err);
    }
    pthread_mutex_unlock(&e->connecting);
    return code;
}

/* The first connection, which tells what the node is. */
static int reach_node(evaluation *e, int32_t *n_ctx)
{
    if (!is_remote(e)) {
        return CS_EXIT_OK;
    }
    e->remote.model = cs_pair_spelling(&e->pair);
    costeer_error err = {.code = COSTEER_OK};
    costeer_err code = cs_remote_connect(&e->remote, &e->first, &err);
    if (code == COSTEER_EIO) { /* of the files that connecting takes, the library reads the certificates */
        return cs_fail(CS_EXIT_INPUT, "%s", err.message);
    }
    if (code != COSTEER_OK) {
        return cs_fail_error(&err);
    }
    *n_ctx = cs_remote_max_context(&e->remote, e->first);
    return CS_EXIT_OK;
}

static int open_cloud(evaluation *e)
{
    const cs_settings *s = &e->settings.common;
    if (s->cloud == NULL) {
        return CS_EXIT_OK;
    }
    int error = s->audit != NULL ? cs_output_open(&e->audit, s->audit, true) : 0;
    if (error != 0) {
        return cs_fail_output(s->audit, error);
    }
    return cs_remote_prepare(s, s->audit != NULL ? &e->audit : NULL, &e->remote);
}

static int create_eval(evaluation *e)
{
    const cs_settings *s = &e->settings.common;
    int32_t n_ctx_remote = 0;
    int exit_code = reach_node(e, &n_ctx_remote);
    if (exit_code != CS_EXIT_OK) {
        return exit_code;
    }
    e->session = cs_settings_session(s);
    e->session.gate = make_gate(s);
    costeer_eval_params params = {.models = {.llm = cs_pair_spelling(&e->pair),
                                             .slm = e->pair.slm,
                                             .tuned = e->pair.tuned,
                                             .vocab_map = e->pair.map,
                                             .connect = is_remote(e) ? connect_one : NULL,
                                             .connect_user = e,
                                             .by_chat = cs_templates_are_the_nodes(s),
                                             .allow_context_upload = s->allow_context_upload,
                                             .n_ctx = s->ctx_size,
                                             .n_threads_llm = s->threads_llm,
                                             .n_threads_slm = s->threads_slm,
                                             .n_threads_prompt = s->threads_prompt,
                                             .n_drafts = cs_settings_n_drafts(s)},
                                  .session = e->session,
                                  .items = e->items,
                                  .n_items = e->n_items,
                                  .form = {.system = e->system},
                                  .llm_template = e->templates.llm,
                                  .slm_template = e->templates.slm,
                                  .amateur_template = e->amateur_template,
                                  .n_jobs = e->settings.jobs,
                                  .n_ctx_remote = n_ctx_remote,
                                  .truncates = e->settings.truncate_context,
                                  .judge = e->judge,
                                  .n_threads_judge = s->threads_llm,
                                  .pairwise = e->settings.pairwise};
    cs_templates_apply(s, &e->templates, &params.form);
    costeer_error err = {.code = COSTEER_OK};
    return costeer_eval_create(&params, &e->eval, &err) == COSTEER_OK ? CS_EXIT_OK : cs_fail_error(&err);
}

/* ---- rows and folder --------------------------------------------------------------------------------------------- */

static int fit_rows(evaluation *e)
{
    int exit_code = cs_eval_rows_fit(e->eval, &e->rows);
    if (exit_code != CS_EXIT_OK) {
        return exit_code;
    }
    cs_eval_rows_tell(&e->settings, &e->rows);
    return e->rows.n > 0 ? CS_EXIT_OK
                         : cs_fail(CS_EXIT_INPUT, "%s: no row that could be answered, of %zu", e->settings.data, e->rows.n_bad);
}

/* The model that is asked what is needed; NULL: none. */
static const costeer_model *selector_of(const evaluation *e)
{
    const costeer_model *model = e->selector != NULL ? e->selector : e->pair.slm;
    return uses_selector(&e->settings) ? model : NULL;
}

static int choose_parts(evaluation *e)
{
    return cs_eval_use_choose(&e->settings, selector_of(e), &e->rows);
}

static int open_folder(evaluation *e)
{
    cs_eval_run run = {.settings = &e->settings,
                       .form = &e->form,
                       .rows = &e->rows,
                       .items = e->items,
                       .n_items = e->n_items,
                       .pair = &e->pair,
                       .remote = &e->remote,
                       .judge = e->judge,
                       .selector = selector_of(e),
                       .session = &e->session,
                       .templates = &e->templates,
                       .amateur_template = e->amateur_template,
                       .system = e->system};
    json_t *description = cs_eval_describe(&run);
    e->table = cs_eval_table_create(e->items, e->n_items);
    int exit_code = description != NULL && e->table != NULL
                        ? cs_eval_folder_open(&e->folder, e->settings.out, description, &e->rows, e->items, e->n_items, e->table)
                        : cs_fail(CS_EXIT_INTERNAL, "out of memory");
    json_decref(description);
    return exit_code;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static bool on_result(const costeer_eval_result *result, void *user)
{
    evaluation *e = user;
    json_t *line = json_loadb(result->line, result->n_bytes, JSON_ALLOW_NUL, NULL);
    e->out_of_memory = line == NULL;
    if (line != NULL) {
        cs_eval_table_add(e->table, result->item, line);
        json_decref(line);
        e->output_error = cs_eval_folder_append(&e->folder, result->line, result->n_bytes);
    }
    e->n_tokens += result->report->n_tokens;
    cs_eval_progress_draw(&e->progress, e->folder.n_done);
    return line != NULL && e->output_error == 0;
}

/* What ended a run too early, in one line. */
static int tell_failure(const evaluation *e, const costeer_error *err, size_t n_all)
{
    size_t n = e->folder.n_done;
    if (err->code == COSTEER_ECANCELED && cs_interrupted()) {
        cs_fail(CS_EXIT_OK, "stopped with %zu of %zu answers; the same command goes on from there", n, n_all);
        return cs_interrupt_exit_code();
    }
    if (err->code == COSTEER_EABORTED) {
        return e->out_of_memory ? cs_fail(CS_EXIT_INTERNAL, "out of memory") : cs_fail_output(e->settings.out, e->output_error);
    }
    return cs_fail(cs_exit_code(err->code), "%s: %s; %zu of %zu answers are there, and the same command goes on from there",
                   e->settings.data, err->message, n, n_all);
}

static void print_rate(const evaluation *e, int64_t start_us)
{
    const cs_settings *s = &e->settings.common;
    double seconds = (double)(cs_clock_us() - start_us) * 1e-6;
    size_t n = e->folder.n_done - e->progress.n_first;
    if (n > 0 && seconds > 0.0 && !s->quiet && (s->verbose || cs_stderr_is_terminal())) {
        cs_fail(CS_EXIT_OK, "%zu answers in %.1f s: %.1f tokens/s, %.1f rows/min", n, seconds, (double)e->n_tokens / seconds,
                (double)n * 60.0 / (double)e->n_items / seconds);
    }
}

static int run_rows(evaluation *e)
{
    const cs_settings *s = &e->settings.common;
    size_t n_all = e->rows.n * e->n_items;
    size_t n_found = e->folder.n_done;
    if (n_found > 0 && !s->quiet) {
        cs_fail(CS_EXIT_OK, n_found == n_all ? "%s: all %zu answers are there already" : "%s: going on behind %zu answers",
                e->settings.out, n_found);
    }
    if (n_found == n_all) {
        return CS_EXIT_OK;
    }
    int64_t start_us = cs_clock_us();
    costeer_error err = {.code = COSTEER_OK};
    cs_eval_progress_start(&e->progress, cs_progress_kind_of(s->quiet, s->verbose), n_found, n_all, e->n_items);
    costeer_err code = costeer_eval_run(e->eval, e->rows.rows, e->rows.n, n_found, on_result, e, &err);
    cs_eval_progress_clear(&e->progress);
    if (code != COSTEER_OK) {
        return tell_failure(e, &err, n_all);
    }
    print_rate(e, start_us);
    return CS_EXIT_OK;
}

static int finish(evaluation *e)
{
    int exit_code = cs_eval_table_print(e->table, &e->settings, &e->rows);
    if (exit_code == CS_EXIT_OK && e->rows.n_bad > 0) {
        return cs_fail(CS_EXIT_INPUT, "%zu of %zu rows were left out; %s/bad_rows.jsonl tells why", e->rows.n_bad,
                       e->rows.n + e->rows.n_bad, e->settings.out);
    }
    return exit_code;
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

typedef int (*step_fn)(evaluation *e);

static int read_rows(evaluation *e)
{
    return cs_eval_rows_read(&e->settings, &e->form, &e->rows);
}

static int run_steps(evaluation *e, const cs_arguments *arguments)
{
    static const step_fn steps[] = {make_items, read_rows,   open_cloud,   load_models, create_eval,
                                    fit_rows,   open_folder, choose_parts, run_rows,    finish};
    int exit_code = check_options(e, arguments);
    if (exit_code == CS_EXIT_OK) {
        exit_code = make_form(e, arguments);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = choose_methods(e, arguments);
    }
    for (size_t i = 0; i < sizeof steps / sizeof steps[0] && exit_code == CS_EXIT_OK; i++) {
        exit_code = steps[i](e);
    }
    return exit_code;
}

/* Parts from the cloud first, whose goodbye is part of the audit. */
static int dispose(evaluation *e, int exit_code)
{
    bool was_connected = e->remote.was_asked;
    costeer_eval_free(e->eval);
    costeer_cloud_free(e->first);
    if (e->settings.common.audit != NULL && was_connected) {
        int error = cs_output_close(&e->audit);
        exit_code = error != 0 && exit_code == CS_EXIT_OK ? cs_fail_output(e->settings.common.audit, error) : exit_code;
    }
    cs_output_discard(&e->audit);
    cs_remote_dispose(&e->remote);
    cs_templates_dispose(&e->templates);
    cs_eval_folder_close(&e->folder);
    cs_eval_table_free(e->table);
    costeer_model_free(e->judge);
    costeer_model_free(e->selector);
    cs_pair_dispose(&e->pair);
    cs_eval_rows_dispose(&e->rows);
    free(e->items);
    free(e->context_template);
    free(e->amateur_template);
    pthread_mutex_destroy(&e->connecting);
    return exit_code;
}

static int run(const cs_command *self, int argc, char **argv)
{
    evaluation e;
    memset(&e, 0, sizeof e);
    e.folder = (cs_eval_folder){.lock_fd = -1, .fd = -1};
    e.audit.fd = -1;
    cs_arguments arguments = {.n = 0};
    int exit_code;
    if (!cs_options_parse(self, argc, argv, &e.settings, &arguments, &exit_code)) {
        return exit_code;
    }
    if (pthread_mutex_init(&e.connecting, NULL) != 0) {
        return cs_fail(CS_EXIT_INTERNAL, "out of memory");
    }
    return dispose(&e, run_steps(&e, &arguments));
}

const cs_command cs_command_eval = {
    .name = "eval",
    .summary = "answer a set of rows by several methods and measure the answers",
    .description =
        "Every row of --data is answered by every --method; each answer is measured and becomes a line of DIR/results.jsonl, "
        "rows outer, methods inner, written as it is made. DIR/run.json says what the run is, DIR/bad_rows.jsonl which rows were "
        "left out and why. The same command goes on where a run was stopped or killed, and ends with the bytes that an "
        "undisturbed run would have written (the LLM in this process, the same --jobs); another command is refused that folder. "
        "costeer report DIR makes tables with intervals and plots of it.\n"
        "\n"
        "Tasks: cogenesis; longlamp_abstract, longlamp_review and longlamp_writing; helpsteer, personal_preference_eval, "
        "truthfulqa and ultrachat, which need a --preference; requests (models/eval/requests.jsonl) and cimemories, whose notes "
        "have "
        "parts labelled as needed, fine or inappropriate; and generic, whose fields are named by options. Prompts are as "
        "published (docs/evaluation.md); the published tasks have the system message \"You are a helpful assistant.\" and at "
        "most 1,024 tokens an answer unless --system and --max-tokens say otherwise.\n"
        "\n"
        "Without --method: llm, slm+context, costeer and llm+context. With --cloud, methods that show the context to the LLM "
        "need --allow-context-upload, and llm+context is otherwise left out. --sweep runs a method once for each value of a "
        "parameter, for every method that has it.\n"
        "\n"
        "A row that is no JSON object, lacks a field, repeats an id or does not fit the models is told with file and line and "
        "left out; the exit code is then 3, though all the rest was done. Where a prompt fits but the whole answer would not, "
        "the row's answers are shortened, to 16 tokens at least; not so with --cloud, which would tell the node how long the "
        "context is.\n"
        "\n"
        "At the end a table of means is printed. --json prints one object instead: task, rows, bad_rows, and items with label, "
        "strength, shows_context, rows, n_tokens, exposure, perplexity and metrics (means).",
    .examples = "  costeer eval --task generic --data prompts.jsonl --limit 20 --out run\n"
                "  costeer eval --task requests --data models/eval/requests.jsonl --split dev --jobs 4 --out run\n"
                "  costeer eval --task helpsteer --data helpsteer.jsonl --preference concise --jobs 4 --out run\n"
                "  costeer eval --task generic --data prompts.jsonl --method costeer --sweep strength=0:3:0.25 \\\n"
                "      --judge big.gguf --out run && costeer report run",
    .groups = {&cs_group_eval, &cs_group_template, &cs_group_models, &cs_group_cloud, &cs_group_methods, &cs_group_steering,
               &cs_group_answer, &cs_group_eval_output},
    .run = run,
};
