/*
 * costeer bench net: the options, and from them the parameters of bench/net_bench.h. Lists are read strictly before a model is
 * loaded or a node started.
 */
#include "cli/bench_settings.h"
#include "cli/json.h"
#include "cli/message.h"
#include "cli/render_bench_net.h"
#include "cli/signals.h"
#include "util/parse.h"

#include <costeer/steer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIELD(field) .offset = offsetof(cs_bench_settings, field)

/* A step or round trip of a minute measures nothing but patience. */
#define MS_MAX        60000
#define LIST_TEXT_MAX 256

static const cs_option net_options[] = {
    {.name = "step-ms",
     .kind = CS_OPTION_TEXT,
     .value_name = "LIST",
     FIELD(step_ms),
     .help = "Least times of an LLM step, which stand for bigger models; without: 0,30 (with --sessions: 0)"},
    {.name = "round-trip-ms",
     .kind = CS_OPTION_TEXT,
     .value_name = "LIST",
     FIELD(round_trip_ms),
     .help = "Round trips between device and node; without: 0,20,50,100 (with --sessions: 0)"},
    {.name = "modes",
     .kind = CS_OPTION_TEXT,
     .value_name = "LIST",
     FIELD(modes),
     .help = "Some of plain, lockstep, streamed, streamed+private, drafted, drafted+private; without: all (with --sessions: "
             "plain,streamed)"},
    {.name = "prompts",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 1, .max = 10000},
     .default_value = "3",
     FIELD(n_prompts),
     .help = "Prompts that every mode answers; with --sessions: that every session answers"},
    {.name = "prompts-file",
     .kind = CS_OPTION_FILE,
     .value_name = "FILE",
     FIELD(prompts_file),
     .help = "JSON lines with \"query\" and \"context\", such as models/eval/prompts.jsonl; without: texts of our own"},
    {.name = "sessions",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 1, .max = 256},
     FIELD(sessions),
     .help = "Measure N answers at once instead of one after the other: total tokens per second"},
    {.name = "base-top-k",
     .kind = CS_OPTION_INT,
     .value_name = "K",
     .range = {.min = 0, .max = INT32_MAX},
     .default_value = "64",
     FIELD(top_k),
     .help = "Entries of the LLM's distribution that are sent; 0: all"},
    {.name = "window",
     .kind = CS_OPTION_INT,
     .value_name = "W",
     .range = {.min = 1, .max = COSTEER_WIRE_WINDOW_MAX},
     .default_value = "32",
     FIELD(window),
     .help = "Tokens that the node may run ahead (plain, streamed)"},
    {.name = "draft-length",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 1, .max = COSTEER_WIRE_DRAFTS_MAX},
     .default_value = "8",
     FIELD(draft_length),
     .help = "Longest draft, in tokens"},
    {.name = "draft-confidence",
     .kind = CS_OPTION_REAL,
     .value_name = "X",
     .range = {.min = 0, .max = 1, .min_open = true},
     .default_value = "0.99",
     FIELD(draft_confidence),
     .help = "Least probability of a token that is drafted privately"},
    {.name = "node",
     .kind = CS_OPTION_FILE,
     .value_name = "PROGRAM",
     FIELD(node),
     .help = "The costeer program whose node is measured; without: this one"},
};

const cs_option_group cs_group_bench_net = CS_OPTION_GROUP("Options of net", net_options);

/* ---- lists ------------------------------------------------------------------------------------------------------- */

/* Calls visit with every item of "a,b,c"; false: the list is empty, too long or an item was refused. */
typedef bool (*item_fn)(const char *item, void *user);

static bool each_item(const char *list, item_fn visit, void *user)
{
    char text[LIST_TEXT_MAX];
    if (strlen(list) >= sizeof text) {
        return false;
    }
    memcpy(text, list, strlen(list) + 1);
    for (char *item = text; item != NULL;) {
        char *comma = strchr(item, ',');
        if (comma != NULL) {
            *comma = '\0';
        }
        if (!visit(item, user)) {
            return false;
        }
        item = comma != NULL ? comma + 1 : NULL;
    }
    return true;
}

typedef struct ms_list {
    int32_t *items; /* [CS_NET_LIST_MAX] */
    size_t n;
} ms_list;

static bool add_ms(const char *item, void *user)
{
    ms_list *list = user;
    int64_t value = 0;
    if (cs_parse_int64(item, &value) != CS_PARSE_OK || value < 0 || value > MS_MAX || list->n == CS_NET_LIST_MAX) {
        return false;
    }
    list->items[list->n++] = (int32_t)value;
    return true;
}

static int read_ms(const char *option, const char *text, int32_t *items, size_t *n)
{
    ms_list list = {.items = items};
    if (!each_item(text, add_ms, &list)) {
        return cs_fail(CS_EXIT_USAGE, "--%s: \"%s\" is not a list like 0,20,50 of at most %d whole numbers in [0, %d]", option,
                       text, CS_NET_LIST_MAX, MS_MAX);
    }
    *n = list.n;
    return CS_EXIT_OK;
}

static bool mark_mode(const char *item, void *user)
{
    bool *wanted = user;
    for (size_t i = 0; i < CS_NET_MODES_MAX; i++) {
        if (strcmp(item, cs_net_modes[i].name) == 0) {
            wanted[i] = true;
            return true;
        }
    }
    return false;
}

static int read_modes(const char *text, cs_net_bench_params *params)
{
    bool wanted[CS_NET_MODES_MAX] = {false};
    if (!each_item(text, mark_mode, wanted)) {
        return cs_fail(CS_EXIT_USAGE,
                       "--modes: \"%s\" is not a list of plain, lockstep, streamed, streamed+private, drafted, drafted+private",
                       text);
    }
    for (size_t i = 0; i < CS_NET_MODES_MAX; i++) {
        if (wanted[i]) {
            params->modes[params->n_modes++] = &cs_net_modes[i];
        }
    }
    return CS_EXIT_OK;
}

static int read_lists(const cs_bench_settings *settings, cs_net_bench_params *params)
{
    static const char all[] = "plain,lockstep,streamed,streamed+private,drafted,drafted+private";
    const bool grid = settings->sessions == 0;
    const char *step_ms = settings->step_ms != NULL ? settings->step_ms : (grid ? "0,30" : "0");
    const char *round_trip_ms = settings->round_trip_ms != NULL ? settings->round_trip_ms : (grid ? "0,20,50,100" : "0");
    const char *modes = settings->modes != NULL ? settings->modes : (grid ? all : "plain,streamed");
    int exit_code = read_ms("step-ms", step_ms, params->step_ms, &params->n_step_ms);
    if (exit_code == CS_EXIT_OK) {
        exit_code = read_ms("round-trip-ms", round_trip_ms, params->round_trip_ms, &params->n_round_trip_ms);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = read_modes(modes, params);
    }
    if (exit_code == CS_EXIT_OK && !grid && (params->n_step_ms > 1 || params->n_round_trip_ms > 1)) {
        return cs_fail(CS_EXIT_USAGE, "--sessions: takes one --step-ms and one --round-trip-ms, not lists");
    }
    return exit_code;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static void show_progress(const char *what, int32_t n_done, int32_t n_all, void *user)
{
    (void)user;
    if (cs_stderr_is_terminal()) {
        (void)fprintf(stderr, "\r\033[K%d of %d: %s", (int)n_done + 1, (int)n_all, what);
    }
}

static void end_progress(void)
{
    if (cs_stderr_is_terminal()) {
        (void)fputs("\r\033[K", stderr);
    }
}

static int fail_measurement(costeer_err code, const costeer_error *err)
{
    end_progress();
    return cs_interrupted() ? cs_interrupt_exit_code() : (code == err->code ? cs_fail_error(err) : cs_exit_code(code));
}

static int run_grid(const cs_bench_settings *settings, const cs_net_bench_params *params, cs_output *out)
{
    const size_t n = params->n_step_ms * params->n_round_trip_ms;
    cs_net_cell *cells = calloc(n, sizeof *cells);
    if (cells == NULL) {
        return cs_fail(CS_EXIT_INTERNAL, "out of memory");
    }
    costeer_error err = {.code = COSTEER_OK};
    const costeer_err code = cs_net_bench_grid(params, cells, &err);
    int exit_code = CS_EXIT_OK;
    if (code != COSTEER_OK) {
        exit_code = fail_measurement(code, &err);
    } else {
        end_progress();
        if (settings->json) {
            exit_code = cs_json_print(out, cs_net_grid_json(params, cells));
        }
        for (size_t i = 0; i < n && !settings->json; i++) {
            cs_render_net_cell(out, params, &cells[i]);
        }
    }
    free(cells);
    return exit_code;
}

static int run_sessions(const cs_bench_settings *settings, const cs_net_bench_params *params, cs_output *out)
{
    cs_net_sessions_result results[CS_NET_MODES_MAX];
    costeer_error err = {.code = COSTEER_OK};
    const costeer_err code = cs_net_bench_sessions(params, results, &err);
    if (code != COSTEER_OK) {
        return fail_measurement(code, &err);
    }
    end_progress();
    if (settings->json) {
        return cs_json_print(out, cs_net_sessions_json(params, results));
    }
    cs_render_net_sessions(out, params, results);
    return CS_EXIT_OK;
}

/* The device knows the LLM by its vocabulary and template only. */
static costeer_err load_models(const cs_bench_settings *settings, costeer_model **llm, costeer_model **slm, costeer_error *err)
{
    const costeer_model_params vocab_only = {.vocab_only = true};
    costeer_err code = costeer_model_load(settings->llm, &vocab_only, llm, err);
    code = code == COSTEER_OK ? costeer_model_load(settings->slm, NULL, slm, err) : code;
    return code == COSTEER_OK ? costeer_model_check_pair(*llm, *slm, err) : code;
}

static cs_net_setup make_setup(const cs_bench_settings *settings)
{
    return (cs_net_setup){.n_tokens = settings->n_tokens,
                          .top_k = settings->top_k,
                          .window = settings->window,
                          .n_drafts = settings->draft_length,
                          .n_threads_slm = settings->threads_slm,
                          .draft_confidence = settings->draft_confidence,
                          .strength = COSTEER_SESSION_DEFAULTS.strength,
                          .cancel = cs_interrupt_flag()};
}

int cs_bench_net(const cs_bench_settings *settings, cs_output *out)
{
    cs_net_bench_params params = {.setup = make_setup(settings),
                                  .node = {.program = settings->node,
                                           .model = settings->llm,
                                           .window = settings->window,
                                           .n_parallel = 1,
                                           .n_threads = settings->threads_llm,
                                           .cancel = cs_interrupt_flag()},
                                  .n_runs = settings->repeat > 0 ? settings->repeat : 3,
                                  .n_sessions = settings->sessions,
                                  .progress = show_progress};
    int exit_code = read_lists(settings, &params);
    if (exit_code != CS_EXIT_OK) {
        return exit_code;
    }
    costeer_model *llm = NULL;
    costeer_model *slm = NULL;
    cs_net_prompts prompts = {.n = 0};
    costeer_error err = {.code = COSTEER_OK};
    costeer_err code = load_models(settings, &llm, &slm, &err);
    if (code == COSTEER_OK) {
        code = cs_net_prompts_make(llm, slm, settings->prompts_file, (size_t)settings->n_prompts, &prompts, &err);
    }
    if (code == COSTEER_OK) {
        params.setup.llm = llm;
        params.setup.slm = slm;
        params.setup.prompts = &prompts;
        exit_code = params.n_sessions > 0 ? run_sessions(settings, &params, out) : run_grid(settings, &params, out);
    } else {
        exit_code = cs_fail_error(&err);
    }
    cs_net_prompts_dispose(&prompts);
    costeer_model_free(slm);
    costeer_model_free(llm);
    return exit_code;
}
