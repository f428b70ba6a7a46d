/*
 * `costeer bench net`: tokens per second of every mode against a real node behind a proxy that makes a network of the loopback,
 * over a grid of step times and round trips; or of many answers at once.
 */
#ifndef CS_BENCH_NET_BENCH_H
#define CS_BENCH_NET_BENCH_H

#include "net_node.h"
#include "net_predict.h"
#include "net_run.h"

#define CS_NET_LIST_MAX 16

/** What is shown while it runs: what is measured now, and how much of all is done. */
typedef void (*cs_net_progress_fn)(const char *what, int32_t n_done, int32_t n_all, void *user);

typedef struct cs_net_bench_params {
    cs_net_setup setup;
    cs_net_node_params node; /* step_ms is set for each */
    int32_t step_ms[CS_NET_LIST_MAX];
    size_t n_step_ms;
    int32_t round_trip_ms[CS_NET_LIST_MAX];
    size_t n_round_trip_ms;
    const cs_net_mode *modes[CS_NET_MODES_MAX]; /* in the order of cs_net_modes */
    size_t n_modes;
    int32_t n_runs;              /* grid: times that everything is measured, for the median */
    int32_t n_sessions;          /* answers at once; 0: the grid */
    cs_net_progress_fn progress; /* may be NULL */
    void *progress_user;
} cs_net_bench_params;

/** Over runs. */
typedef struct cs_net_range {
    double median;
    double min;
    double max;
} cs_net_range;

/** A mode in a cell of the grid. */
typedef struct cs_net_result {
    const cs_net_mode *mode;
    cs_net_range tokens_per_s;     /* after the first token */
    cs_net_range tokens_per_s_all; /* from the start to the last token */
    cs_net_range ratio;            /* to plain of the same run; NaN when plain is not measured */
    cs_net_rates rates;            /* what the prediction is made of, over all runs */
    double token_us;               /* 1 / median rate */
    double predicted_us;
    cs_net_figures figures; /* sums over all runs */
    int64_t n_answers;
    int64_t n_different; /* answers that are not those of the first steered mode */
} cs_net_result;

typedef struct cs_net_cell {
    int32_t step_ms;
    int32_t round_trip_ms;
    cs_net_result results[CS_NET_MODES_MAX]; /* [n_modes] as in the parameters */
} cs_net_cell;

/**
 * Measure the grid.
 *
 * @param[out] cells  [n_step_ms * n_round_trip_ms], round trips within step times
 */
costeer_err cs_net_bench_grid(const cs_net_bench_params *params, cs_net_cell *cells, costeer_error *err);

/** Many answers at once, of one mode. */
typedef struct cs_net_sessions_result {
    const cs_net_mode *mode;
    int32_t n_answers; /* all of them */
    int64_t wall_us;   /* from the start of all to the end of the last */
    double tokens_per_s;
    cs_net_figures figures;
} cs_net_sessions_result;

/**
 * Measure params->n_sessions devices at once, each giving as many answers as there are prompts, one after the other; devices
 * begin with different prompts. One step time and one round trip, the first of each list; without a proxy when that is 0.
 *
 * @param[out] results  [n_modes]
 */
costeer_err cs_net_bench_sessions(const cs_net_bench_params *params, cs_net_sessions_result *results, costeer_error *err);

#endif
