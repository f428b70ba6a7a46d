/* costeer bench batch: what several positions cost in one LLM step. */
#include "bench/batch_bench.h"
#include "cli/bench_settings.h"
#include "cli/json.h"
#include "cli/message.h"
#include "cli/signals.h"

#include <inttypes.h>

static json_t *batch_json(const cs_bench_batch_params *params, const double *step_us)
{
    json_t *steps = json_array();
    for (size_t i = 0; i < params->n_sizes; i++) {
        (void)json_array_append_new(steps, json_pack("{s:i, s:f, s:f}", "positions", params->sizes[i], "step_us", step_us[i],
                                                     "ratio", step_us[i] / step_us[0]));
    }
    return json_pack("{s:s, s:i, s:i, s:i, s:o}", "bench", "batch", "threads", params->n_threads, "n_prompt", params->n_prompt,
                     "repeat", params->n_rounds, "steps", steps);
}

int cs_bench_batch_steps(const cs_bench_settings *settings, cs_output *out)
{
    const cs_bench_batch_params params = {.llm = settings->llm,
                                          .n_threads = settings->threads_llm,
                                          .n_prompt = settings->n_prompt,
                                          .n_rounds = settings->repeat > 0 ? settings->repeat : 3,
                                          .sizes = {1, 2, 4, 5, 8, 9},
                                          .n_sizes = 6,
                                          .cancel = cs_interrupt_flag()};
    double step_us[CS_BENCH_BATCH_SIZES_MAX];
    costeer_error err;
    if (cs_bench_batch(&params, step_us, &err) != COSTEER_OK) {
        return cs_fail_error(&err);
    }
    if (settings->json) {
        return cs_json_print(out, batch_json(&params, step_us));
    }
    cs_output_print(out, "one LLM step, %" PRId32 " thread(s), medians of %" PRId32 " rounds\n", params.n_threads,
                    params.n_rounds);
    for (size_t i = 0; i < params.n_sizes; i++) {
        cs_output_print(out, "  %" PRId32 " position(s) %9.2f ms  %5.2f steps of one\n", params.sizes[i], step_us[i] / 1e3,
                        step_us[i] / step_us[0]);
    }
    return CS_EXIT_OK;
}
