/*
 * The grid of `costeer bench net`. For each step time a node is started; for each round trip a proxy stands before it; in each
 * run every mode answers all prompts. The order of the modes moves on from run to run and ratios are taken within a run, so that
 * what else the machine does meets all of them alike.
 */
#include "net_bench.h"

#include "bench_stats.h"
#include "tests/net/proxy.h"
#include "util/error.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Everything that is kept of the runs of a cell. */
typedef struct cell_runs {
    cs_net_figures *figures; /* [n_runs * n_modes] */
    uint64_t *answers;       /* [n_prompts * n_modes] of the run at hand */
    double *values;          /* [n_runs] scratch */
} cell_runs;

typedef struct grid {
    const cs_net_bench_params *params;
    costeer_slm *slm; /* all modes take turns with it */
    cell_runs runs;
    int32_t n_done;
} grid;

static size_t n_prompts(const cs_net_bench_params *params)
{
    return params->setup.prompts->n;
}

/* ---- a cell ------------------------------------------------------------------------------------------------------ */

static void tell_progress(const grid *g, const cs_net_cell *cell, int32_t run, const cs_net_mode *mode)
{
    const cs_net_bench_params *params = g->params;
    if (params->progress != NULL) {
        char what[128];
        const size_t n_all = params->n_step_ms * params->n_round_trip_ms * (size_t)params->n_runs * params->n_modes;
        (void)snprintf(what, sizeof what, "step %d ms, round trip %d ms, run %d, %s", (int)cell->step_ms,
                       (int)cell->round_trip_ms, (int)run + 1, mode->name);
        params->progress(what, g->n_done, (int32_t)n_all, params->progress_user);
    }
}

/* All prompts in one mode, over one connection. */
static costeer_err run_mode(grid *g, int32_t port, size_t mode, cs_net_figures *figures, costeer_error *err)
{
    const cs_net_bench_params *params = g->params;
    const cs_net_prompts *prompts = params->setup.prompts;
    cs_net_device device;
    costeer_err code = cs_net_device_open(&params->setup, params->modes[mode], port, g->slm, &device, err);
    for (size_t i = 0; i < prompts->n && code == COSTEER_OK; i++) {
        code = cs_net_answer(&device, &prompts->items[i], figures, &g->runs.answers[mode * prompts->n + i], err);
    }
    cs_net_device_close(&device, g->slm);
    return code;
}

/* Greedy answers are the same in all steered modes, but where two choices are as good as equal. */
static void count_different(const grid *g, cs_net_cell *cell)
{
    const cs_net_bench_params *params = g->params;
    const size_t n = n_prompts(params);
    size_t first = 0;
    while (first < params->n_modes && !params->modes[first]->is_steered) {
        first++;
    }
    for (size_t m = 0; m < params->n_modes; m++) {
        cell->results[m].n_answers += (int64_t)n;
        for (size_t i = 0; i < n && params->modes[m]->is_steered; i++) {
            cell->results[m].n_different += g->runs.answers[m * n + i] != g->runs.answers[first * n + i];
        }
    }
}

static costeer_err run_cell(grid *g, int32_t port, cs_net_cell *cell, costeer_error *err)
{
    const cs_net_bench_params *params = g->params;
    costeer_err code = COSTEER_OK;
    memset(g->runs.figures, 0, (size_t)params->n_runs * params->n_modes * sizeof *g->runs.figures);
    for (int32_t run = 0; run < params->n_runs && code == COSTEER_OK; run++) {
        for (size_t turn = 0; turn < params->n_modes && code == COSTEER_OK; turn++) {
            const size_t mode = (turn + (size_t)run) % params->n_modes;
            tell_progress(g, cell, run, params->modes[mode]);
            code = run_mode(g, port, mode, &g->runs.figures[(size_t)run * params->n_modes + mode], err);
            g->n_done++;
        }
        if (code == COSTEER_OK) {
            count_different(g, cell);
        }
    }
    return code;
}

/* ---- what it amounts to ------------------------------------------------------------------------------------------ */

/* Sorts the values. */
static cs_net_range range_of(double *values, size_t n)
{
    const double median = cs_bench_median(values, n);
    return (cs_net_range){.median = median, .min = values[0], .max = values[n - 1]};
}

static double gap_rate(const cs_net_figures *f)
{
    return f->gaps_us > 0 ? (double)f->n_gaps * 1e6 / (double)f->gaps_us : NAN;
}

static double total_rate(const cs_net_figures *f)
{
    return f->total_us > 0 ? (double)f->n_tokens * 1e6 / (double)f->total_us : NAN;
}

static double share(int64_t part, int64_t all)
{
    return all > 0 ? (double)part / (double)all : 0.0;
}

static cs_net_rates rates_of(const cs_net_figures *f, int32_t round_trip_ms, int32_t window)
{
    const cs_net_meter_sums *m = &f->meter;
    const double think_us = share(m->think_us, m->n_decided);
    return (cs_net_rates){.step_us = share(m->compute_us, m->n_positions),
                          .round_trip_us = 1e3 * round_trip_ms,
                          .think_us = think_us,
                          .correct_us = m->n_drafting > 0 ? share(m->think_drafting_us, m->n_drafting) : think_us,
                          .follow_us = share(m->follow_us, m->n_positions),
                          .corrections = share(f->n_corrections, f->n_gaps),
                          .deepenings = share(f->n_deepenings, f->n_gaps),
                          .recomputed = share(f->n_deepenings - f->n_deepened, f->n_gaps),
                          .drafts = share(f->n_drafts_sent - f->n_withdrawn, f->n_gaps),
                          .window = window};
}

static void summarise(const grid *g, cs_net_cell *cell, size_t mode)
{
    const cs_net_bench_params *params = g->params;
    const size_t n = (size_t)params->n_runs;
    const bool has_plain = !params->modes[0]->is_steered;
    cs_net_result *result = &cell->results[mode];
    double *values = g->runs.values;
    result->mode = params->modes[mode];
    for (size_t run = 0; run < n; run++) {
        const cs_net_figures *of_run = &g->runs.figures[run * params->n_modes];
        values[run] = has_plain ? gap_rate(&of_run[mode]) / gap_rate(&of_run[0]) : NAN;
        cs_net_figures_add(&result->figures, &of_run[mode]);
    }
    result->ratio = range_of(values, n);
    for (size_t run = 0; run < n; run++) {
        values[run] = gap_rate(&g->runs.figures[run * params->n_modes + mode]);
    }
    result->tokens_per_s = range_of(values, n);
    for (size_t run = 0; run < n; run++) {
        values[run] = total_rate(&g->runs.figures[run * params->n_modes + mode]);
    }
    result->tokens_per_s_all = range_of(values, n);
    result->token_us = 1e6 / result->tokens_per_s.median;
    result->rates = rates_of(&result->figures, cell->round_trip_ms, params->setup.window);
    result->predicted_us = result->mode->is_steered ? cs_net_predict_us(result->mode->mode, &result->rates)
                                                    : cs_net_predict_plain_us(&result->rates);
}

/* ---- the grid ---------------------------------------------------------------------------------------------------- */

/* All round trips before a node that runs. */
static costeer_err measure_round_trips(grid *g, const cs_net_node *node, cs_net_cell *cells, costeer_error *err)
{
    const cs_net_bench_params *params = g->params;
    costeer_err code = COSTEER_OK;
    for (size_t i = 0; i < params->n_round_trip_ms && code == COSTEER_OK; i++) {
        cs_net_cell *cell = &cells[i];
        net_proxy *proxy = cs_net_proxy_start(node, cell->round_trip_ms, err);
        if (proxy == NULL) {
            return COSTEER_EIO;
        }
        code = run_cell(g, net_proxy_port(proxy), cell, err);
        net_proxy_stop(proxy);
        for (size_t mode = 0; mode < params->n_modes && code == COSTEER_OK; mode++) {
            summarise(g, cell, mode);
        }
    }
    return code;
}

/* The first answers of a node are slower: its memory has not been touched yet. They are not counted. */
static costeer_err warm_up(grid *g, const cs_net_node *node, costeer_error *err)
{
    cs_net_figures ignored = {.n_tokens = 0};
    return run_mode(g, node->port, 0, &ignored, err);
}

static costeer_err measure_step(grid *g, int32_t step_ms, cs_net_cell *cells, costeer_error *err)
{
    const cs_net_bench_params *params = g->params;
    cs_net_node_params of_node = params->node;
    cs_net_node node;
    of_node.step_ms = step_ms;
    for (size_t i = 0; i < params->n_round_trip_ms; i++) {
        cells[i] = (cs_net_cell){.step_ms = step_ms, .round_trip_ms = params->round_trip_ms[i]};
    }
    costeer_err code = cs_net_node_start(&of_node, &node, err);
    code = code == COSTEER_OK ? warm_up(g, &node, err) : code;
    code = code == COSTEER_OK ? measure_round_trips(g, &node, cells, err) : code;
    cs_net_node_stop(&node);
    return code;
}

static costeer_err measure_steps(grid *g, cs_net_cell *cells, costeer_error *err)
{
    const cs_net_bench_params *params = g->params;
    costeer_err code = cs_net_slm_make(&params->setup, &g->slm, err);
    for (size_t i = 0; i < params->n_step_ms && code == COSTEER_OK; i++) {
        code = measure_step(g, params->step_ms[i], &cells[i * params->n_round_trip_ms], err);
    }
    costeer_slm_free(g->slm);
    return code;
}

costeer_err cs_net_bench_grid(const cs_net_bench_params *params, cs_net_cell *cells, costeer_error *err)
{
    grid g = {.params = params};
    const size_t n_runs = (size_t)params->n_runs;
    g.runs.figures = calloc(n_runs * params->n_modes, sizeof *g.runs.figures);
    g.runs.answers = calloc(n_prompts(params) * params->n_modes, sizeof *g.runs.answers);
    g.runs.values = calloc(n_runs, sizeof *g.runs.values);
    costeer_err code = COSTEER_ENOMEM;
    if (g.runs.figures != NULL && g.runs.answers != NULL && g.runs.values != NULL) {
        code = measure_steps(&g, cells, err);
    } else {
        (void)cs_error_set(err, code, "bench", "no memory for %d runs", (int)params->n_runs);
    }
    free(g.runs.figures);
    free(g.runs.answers);
    free(g.runs.values);
    return code;
}
