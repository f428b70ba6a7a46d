/* The results of `costeer bench net`, as tables or as JSON. */
#ifndef CS_CLI_RENDER_BENCH_NET_H
#define CS_CLI_RENDER_BENCH_NET_H

#include "bench/net_bench.h"
#include "util/file.h"

#include <jansson.h>

void cs_render_net_cell(cs_output *out, const cs_net_bench_params *params, const cs_net_cell *cell);
void cs_render_net_sessions(cs_output *out, const cs_net_bench_params *params, const cs_net_sessions_result *results);

/** One object. NULL when memory is out. */
json_t *cs_net_grid_json(const cs_net_bench_params *params, const cs_net_cell *cells);
json_t *cs_net_sessions_json(const cs_net_bench_params *params, const cs_net_sessions_result *results);

#endif
