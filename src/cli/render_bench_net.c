/*
 * Results of `costeer bench net`. The table has what a mode is judged by, the JSON every sum that it was made of. Bytes are per
 * token of the answer, WebSocket framing included; a prediction is compared with the median.
 */
#include "cli/render_bench_net.h"

#include "cli/json.h"

#include <math.h>
#include <string.h>

static double per_token(const cs_net_figures *f, int64_t n)
{
    return f->n_tokens > 0 ? (double)n / (double)f->n_tokens : 0.0;
}

/* How much longer a token took than was predicted; negative: shorter. */
static double difference(const cs_net_result *r)
{
    return r->token_us / r->predicted_us - 1.0;
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

static void print_result(cs_output *out, const cs_net_result *r)
{
    const cs_net_figures *f = &r->figures;
    const double share_wasted = f->n_steps > 0 ? 100.0 * (double)f->n_wasted_steps / (double)f->n_steps : 0.0;
    char ratio[32] = "    -";
    if (isfinite(r->ratio.median)) {
        (void)snprintf(ratio, sizeof ratio, "%5.2f", r->ratio.median);
    }
    cs_output_print(out, "  %-16s %7.1f %7.1f-%-7.1f %s %6.1f %6.1f %7.1f %7.1f %6.1f %7.2f %7.2f %+6.1f\n", r->mode->name,
                    r->tokens_per_s.median, r->tokens_per_s.min, r->tokens_per_s.max, ratio,
                    100.0 * per_token(f, f->n_corrections), 100.0 * per_token(f, f->n_run_starts), per_token(f, f->bytes_up),
                    per_token(f, f->bytes_down), share_wasted, r->token_us / 1e3, r->predicted_us / 1e3, 100.0 * difference(r));
}

void cs_render_net_cell(cs_output *out, const cs_net_bench_params *params, const cs_net_cell *cell)
{
    cs_output_print(out, "step %d ms, round trip %d ms; %d run(s) of %zu prompt(s), K = %d, window %d, drafts of %d\n",
                    (int)cell->step_ms, (int)cell->round_trip_ms, (int)params->n_runs, params->setup.prompts->n,
                    (int)params->setup.top_k, (int)params->setup.window, (int)params->setup.n_drafts);
    cs_output_print(out, "  %-16s %7s %15s %5s %6s %6s %7s %7s %6s %7s %7s %6s\n", "mode", "tok/s", "range     ", "plain",
                    "corr %", "runs %", "up B", "down B", "vain %", "ms/tok", "predict", "diff %");
    for (size_t i = 0; i < params->n_modes; i++) {
        print_result(out, &cell->results[i]);
    }
    int64_t n_different = 0;
    int64_t n_answers = 0;
    int64_t n_near_ties = 0;
    for (size_t i = 0; i < params->n_modes; i++) {
        n_near_ties += cell->results[i].mode->is_steered ? cell->results[i].figures.n_near_ties : 0;
        n_different += cell->results[i].n_different;
        n_answers += cell->results[i].mode->is_steered ? cell->results[i].n_answers : 0;
    }
    if (n_different > 0) {
        cs_output_print(out,
                        "  %lld of %lld steered answers differ from those of the first steered mode (%lld near ties in all)\n",
                        (long long)n_different, (long long)n_answers, (long long)n_near_ties);
    }
}

void cs_render_net_sessions(cs_output *out, const cs_net_bench_params *params, const cs_net_sessions_result *results)
{
    cs_output_print(out, "%d sessions at once, %zu answers each; step %d ms, round trip %d ms\n", (int)params->n_sessions,
                    params->setup.prompts->n, (int)params->step_ms[0], (int)params->round_trip_ms[0]);
    cs_output_print(out, "  mode             tokens/s   tokens  seconds\n");
    for (size_t i = 0; i < params->n_modes; i++) {
        cs_output_print(out, "  %-16s %8.1f %8lld %8.2f\n", results[i].mode->name, results[i].tokens_per_s,
                        (long long)results[i].figures.n_tokens, (double)results[i].wall_us / 1e6);
    }
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

static json_t *range_json(const cs_net_range *range)
{
    return json_pack("{s:o, s:o, s:o}", "median", cs_json_number(range->median), "min", cs_json_number(range->min), "max",
                     cs_json_number(range->max));
}

static json_t *figures_json(const cs_net_figures *f)
{
    const struct {
        const char *name;
        int64_t value;
    } sums[] = {{"tokens", f->n_tokens},
                {"gaps", f->n_gaps},
                {"gaps_us", f->gaps_us},
                {"total_us", f->total_us},
                {"steered", f->n_steered},
                {"run_starts", f->n_run_starts},
                {"uncertified", f->n_uncertified},
                {"near_ties", f->n_near_ties},
                {"deepened_positions", f->n_deepened},
                {"bytes_up", f->bytes_up},
                {"bytes_down", f->bytes_down},
                {"messages_up", f->n_messages_up},
                {"corrections", f->n_corrections},
                {"deepenings", f->n_deepenings},
                {"drafts_sent", f->n_drafts_sent},
                {"drafts_withdrawn", f->n_withdrawn},
                {"reconnects", f->n_reconnects},
                {"llm_steps", f->n_steps},
                {"wasted_steps", f->n_wasted_steps},
                {"round_trip_us", f->round_trip_us}};
    json_t *object = json_object();
    for (size_t i = 0; i < sizeof sums / sizeof sums[0]; i++) {
        (void)json_object_set_new(object, sums[i].name, json_integer((json_int_t)sums[i].value));
    }
    return object;
}

static json_t *rates_json(const cs_net_rates *r)
{
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "step_us", r->step_us, "round_trip_us", r->round_trip_us,
                     "think_us", r->think_us, "correct_us", r->correct_us, "follow_us", r->follow_us, "corrections",
                     r->corrections, "deepenings", r->deepenings, "recomputed", r->recomputed, "drafts_kept", r->drafts);
}

static json_t *result_json(const cs_net_result *r)
{
    const cs_net_figures *f = &r->figures;
    return json_pack("{s:s, s:o, s:o, s:o, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:o, s:o}", "mode", r->mode->name,
                     "tokens_per_s", range_json(&r->tokens_per_s), "tokens_per_s_all", range_json(&r->tokens_per_s_all), "ratio",
                     range_json(&r->ratio), "token_us", r->token_us, "predicted_us", r->predicted_us, "difference", difference(r),
                     "disagreements", per_token(f, f->n_corrections), "run_starts", per_token(f, f->n_run_starts),
                     "bytes_up_per_token", per_token(f, f->bytes_up), "bytes_down_per_token", per_token(f, f->bytes_down),
                     "answers", (json_int_t)r->n_answers, "answers_different", (json_int_t)r->n_different, "predicted_from",
                     rates_json(&r->rates), "sums", figures_json(f));
}

static json_t *cell_json(const cs_net_bench_params *params, const cs_net_cell *cell)
{
    json_t *modes = json_array();
    for (size_t i = 0; i < params->n_modes; i++) {
        (void)json_array_append_new(modes, result_json(&cell->results[i]));
    }
    return json_pack("{s:i, s:i, s:o}", "step_ms", (int)cell->step_ms, "round_trip_ms", (int)cell->round_trip_ms, "modes", modes);
}

json_t *cs_net_grid_json(const cs_net_bench_params *params, const cs_net_cell *cells)
{
    json_t *array = json_array();
    for (size_t i = 0; i < params->n_step_ms * params->n_round_trip_ms; i++) {
        (void)json_array_append_new(array, cell_json(params, &cells[i]));
    }
    const cs_net_setup *setup = &params->setup;
    return json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:o}", "bench", "net", "prompts", (int)setup->prompts->n,
                     "runs", (int)params->n_runs, "n_tokens", (int)setup->n_tokens, "top_k", (int)setup->top_k, "window",
                     (int)setup->window, "draft_length", (int)setup->n_drafts, "draft_confidence", setup->draft_confidence,
                     "strength", setup->strength, "cells", array);
}

/* The prompts as the LLM got them: another server can be given the same. */
static json_t *prompts_json(const cs_net_prompts *prompts)
{
    json_t *array = json_array();
    for (size_t i = 0; i < prompts->n; i++) {
        (void)json_array_append_new(array, cs_json_ids(prompts->items[i].cloud.ids, prompts->items[i].cloud.n));
    }
    return array;
}

json_t *cs_net_sessions_json(const cs_net_bench_params *params, const cs_net_sessions_result *results)
{
    json_t *modes = json_array();
    for (size_t i = 0; i < params->n_modes; i++) {
        const cs_net_sessions_result *r = &results[i];
        (void)json_array_append_new(modes, json_pack("{s:s, s:f, s:I, s:I, s:I, s:o}", "mode", r->mode->name, "tokens_per_s",
                                                     r->tokens_per_s, "tokens", (json_int_t)r->figures.n_tokens, "wall_us",
                                                     (json_int_t)r->wall_us, "answers", (json_int_t)r->n_answers, "sums",
                                                     figures_json(&r->figures)));
    }
    return json_pack("{s:s, s:i, s:i, s:i, s:i, s:o, s:o}", "bench", "net", "sessions", (int)params->n_sessions, "step_ms",
                     (int)params->step_ms[0], "round_trip_ms", (int)params->round_trip_ms[0], "n_tokens",
                     (int)params->setup.n_tokens, "prompts", prompts_json(params->setup.prompts), "modes", modes);
}
