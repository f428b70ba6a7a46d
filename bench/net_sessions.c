/*
 * Many devices at once: a thread each, with a connection and an SLM of its own. All are connected and have given an answer before
 * the clock starts. What is compared is the node's total rate, so nobody waits for anybody: each device gives its answers one
 * after the other.
 */
#include "net_bench.h"

#include "tests/net/proxy.h"
#include "util/clock.h"
#include "util/error.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct line {
    const cs_net_setup *setup;
    size_t first; /* prompt to begin with */
    size_t n_answers;
    cs_net_device device;
    cs_net_figures figures;
    pthread_t thread;
    bool is_running;
    costeer_err code;
    costeer_error error;
} line;

static void *answer_all(void *user)
{
    line *self = user;
    const cs_net_prompts *prompts = self->setup->prompts;
    for (size_t i = 0; i < self->n_answers && self->code == COSTEER_OK; i++) {
        const cs_net_prompt *prompt = &prompts->items[(self->first + i) % prompts->n];
        self->code = cs_net_answer(&self->device, prompt, &self->figures, NULL, &self->error);
    }
    return NULL;
}

static costeer_err connect_all(const cs_net_bench_params *params, const cs_net_mode *mode, int32_t port, line *lines,
                               costeer_error *err)
{
    costeer_err code = COSTEER_OK;
    for (int32_t i = 0; i < params->n_sessions && code == COSTEER_OK; i++) {
        lines[i].setup = &params->setup;
        lines[i].first = (size_t)i * params->setup.prompts->n / (size_t)params->n_sessions;
        code = cs_net_device_open(&params->setup, mode, port, NULL, &lines[i].device, err);
    }
    return code;
}

static costeer_err run_all(line *lines, int32_t n, size_t n_answers, costeer_error *err)
{
    costeer_err code = COSTEER_OK;
    for (int32_t i = 0; i < n && code == COSTEER_OK; i++) {
        lines[i].n_answers = n_answers;
        lines[i].figures = (cs_net_figures){.n_tokens = 0};
        lines[i].is_running = pthread_create(&lines[i].thread, NULL, answer_all, &lines[i]) == 0;
        code = lines[i].is_running ? COSTEER_OK : cs_error_set(err, COSTEER_ENOMEM, "bench", "no more threads than %d", (int)i);
    }
    for (int32_t i = 0; i < n && lines[i].is_running; i++) {
        (void)pthread_join(lines[i].thread, NULL);
        lines[i].is_running = false;
        if (code == COSTEER_OK && lines[i].code != COSTEER_OK) {
            code = lines[i].code;
            *err = lines[i].error;
        }
    }
    return code;
}

static costeer_err measure(const cs_net_bench_params *params, const cs_net_mode *mode, int32_t port, cs_net_sessions_result *out,
                           costeer_error *err)
{
    line *lines = calloc((size_t)params->n_sessions, sizeof *lines);
    if (lines == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "bench", "no memory for %d sessions", (int)params->n_sessions);
    }
    *out = (cs_net_sessions_result){.mode = mode};
    costeer_err code = connect_all(params, mode, port, lines, err);
    code = code == COSTEER_OK ? run_all(lines, params->n_sessions, 1, err) : code; /* warms up */
    const int64_t start = cs_clock_us();
    code = code == COSTEER_OK ? run_all(lines, params->n_sessions, params->setup.prompts->n, err) : code;
    out->wall_us = cs_clock_us() - start;
    for (int32_t i = 0; i < params->n_sessions; i++) {
        cs_net_figures_add(&out->figures, &lines[i].figures);
        cs_net_device_close(&lines[i].device, NULL);
    }
    out->n_answers = params->n_sessions * (int32_t)params->setup.prompts->n;
    out->tokens_per_s = (double)out->figures.n_tokens * 1e6 / (double)out->wall_us;
    free(lines);
    return code;
}

static costeer_err measure_modes(const cs_net_bench_params *params, int32_t port, cs_net_sessions_result *results,
                                 costeer_error *err)
{
    costeer_err code = COSTEER_OK;
    for (size_t i = 0; i < params->n_modes && code == COSTEER_OK; i++) {
        if (params->progress != NULL) {
            char what[64];
            (void)snprintf(what, sizeof what, "%d sessions, %s", (int)params->n_sessions, params->modes[i]->name);
            params->progress(what, (int32_t)i, (int32_t)params->n_modes, params->progress_user);
        }
        code = measure(params, params->modes[i], port, &results[i], err);
    }
    return code;
}

costeer_err cs_net_bench_sessions(const cs_net_bench_params *params, cs_net_sessions_result *results, costeer_error *err)
{
    cs_net_node node;
    cs_net_node_params of_node = params->node;
    of_node.step_ms = params->step_ms[0];
    of_node.n_parallel = params->n_sessions;
    costeer_err code = cs_net_node_start(&of_node, &node, err);
    net_proxy *proxy = NULL;
    if (code == COSTEER_OK && params->round_trip_ms[0] > 0) {
        proxy = cs_net_proxy_start(&node, params->round_trip_ms[0], err);
        code = proxy != NULL ? COSTEER_OK : COSTEER_EIO;
    }
    if (code == COSTEER_OK) {
        code = measure_modes(params, proxy != NULL ? net_proxy_port(proxy) : node.port, results, err);
    }
    if (proxy != NULL) {
        net_proxy_stop(proxy);
    }
    cs_net_node_stop(&node);
    return code;
}
