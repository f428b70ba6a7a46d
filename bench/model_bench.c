/*
 * Timing of models through the public interface: what a user of the library would get.
 *
 * Tokens of prompts are pseudo-random and different in every round, so that no cache keeps a prompt's beginning. The vocabulary
 * that the loop is given knows no end tokens: every answer has the full length. The first round warms up and is not counted.
 */
#include "model_bench.h"

#include "bench_stats.h"
#include "util/clock.h"
#include "util/error.h"

#include <costeer/cloud.h>
#include <costeer/model.h>
#include <costeer/session.h>
#include <stdlib.h>

/* Tokens of the answer that warms up: all buffers have been touched by then. */
#define N_WARM_UP 4

/* Fill a prompt with tokens of a small generator (the constants are Knuth's MMIX). */
static bool fill_prompt(costeer_tokens *prompt, int32_t n, int32_t n_vocab, uint64_t seed)
{
    free(prompt->ids);
    prompt->ids = malloc((size_t)n * sizeof *prompt->ids);
    prompt->n = prompt->ids != NULL ? (size_t)n : 0;
    prompt->capacity = prompt->n;
    uint64_t state = seed;
    for (size_t i = 0; i < prompt->n; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        prompt->ids[i] = (int32_t)((state >> 33) % (uint64_t)n_vocab);
    }
    return prompt->ids != NULL;
}

static costeer_err no_memory(costeer_error *err)
{
    (void)cs_error_set(err, COSTEER_ENOMEM, "bench", "no memory for the measurement");
    return COSTEER_ENOMEM;
}

/* ---- the SLM on its own ------------------------------------------------------------------------------------------ */

/* A loaded SLM with its prompts, refilled for every round. */
typedef struct slm_setup {
    costeer_model *model;
    costeer_slm *slm;
    int32_t n_contexts; /* of the SLM */
    costeer_tokens amateur;
    costeer_tokens experts[COSTEER_DELTAS_MAX];
} slm_setup;

static void slm_setup_dispose(slm_setup *setup)
{
    costeer_slm_free(setup->slm);
    costeer_model_free(setup->model);
    costeer_tokens_dispose(&setup->amateur);
    for (int32_t i = 0; i < COSTEER_DELTAS_MAX; i++) {
        costeer_tokens_dispose(&setup->experts[i]);
    }
}

/* Make the SLM anew, for as many contexts. */
static costeer_err slm_setup_contexts(slm_setup *setup, const cs_bench_model_params *params, int32_t n, costeer_error *err)
{
    const costeer_slm_params slm = {.n_contexts = n,
                                    .n_ctx = params->n_prompt + params->n_context + params->n_tokens,
                                    .n_threads = params->n_threads_slm,
                                    .n_threads_prompt = params->n_threads_prompt};
    costeer_slm_free(setup->slm);
    setup->n_contexts = n;
    const costeer_err result = costeer_slm_create(setup->model, &slm, &setup->slm, err);
    if (result == COSTEER_OK) {
        costeer_slm_set_cancel(setup->slm, params->cancel);
    }
    return result;
}

static costeer_err slm_setup_init(slm_setup *setup, const cs_bench_model_params *params, costeer_error *err)
{
    const costeer_err result = costeer_model_load(params->slm, NULL, &setup->model, err);
    return result == COSTEER_OK ? slm_setup_contexts(setup, params, 1, err) : result;
}

static costeer_err slm_setup_prompts(slm_setup *setup, const cs_bench_model_params *params, int32_t round, costeer_error *err)
{
    const int32_t n_vocab = costeer_model_get_info(setup->model)->n_vocab;
    const uint64_t seed = (1 + COSTEER_DELTAS_MAX) * (uint64_t)round;
    bool is_filled = fill_prompt(&setup->amateur, params->n_prompt, n_vocab, seed);
    for (int32_t i = 0; i < setup->n_contexts && is_filled; i++) {
        is_filled = fill_prompt(&setup->experts[i], params->n_prompt + params->n_context, n_vocab, seed + 1 + (uint64_t)i);
    }
    return is_filled ? costeer_slm_set_prompts(setup->slm, &setup->amateur, setup->experts, params->n_tokens, err)
                     : no_memory(err);
}

/* One round: both prompts, then the steps, each timed. */
static costeer_err time_steps(slm_setup *setup, int32_t n_steps, double *prefill_us, double *step_us, costeer_error *err)
{
    costeer_delta_source *source = costeer_slm_delta_source(setup->slm);
    const int32_t n_vocab = costeer_model_get_info(setup->model)->n_vocab;
    const int64_t start = cs_clock_us();
    costeer_err result = source->ops->begin(source, err);
    *prefill_us = (double)(cs_clock_us() - start);
    for (int32_t i = 0; i < n_steps && result == COSTEER_OK; i++) {
        const int64_t before = cs_clock_us();
        result = source->ops->step(source, &(int32_t){i % n_vocab}, 1, err);
        step_us[i] = (double)(cs_clock_us() - before);
    }
    return result;
}

costeer_err cs_bench_slm(const cs_bench_model_params *params, cs_bench_slm_result *out, costeer_error *err)
{
    const size_t n_tokens = (size_t)params->n_tokens;
    const size_t n_rounds = (size_t)params->n_rounds;
    slm_setup setup = {0};
    double *steps = calloc(n_tokens * n_rounds, sizeof *steps);
    double *prefills = calloc(n_rounds, sizeof *prefills);
    costeer_err result = steps != NULL && prefills != NULL ? slm_setup_init(&setup, params, err) : no_memory(err);
    for (int32_t round = -1; round < params->n_rounds && result == COSTEER_OK; round++) { /* −1 warms up */
        const size_t i = round < 0 ? 0 : (size_t)round;
        result = slm_setup_prompts(&setup, params, round + 1, err);
        if (result == COSTEER_OK) {
            result = time_steps(&setup, params->n_tokens, &prefills[i], steps + i * n_tokens, err);
        }
    }
    if (result == COSTEER_OK) {
        out->step_us = cs_bench_median(steps, n_tokens * n_rounds); /* which sorts */
        out->step_best_us = steps[0];
        out->tokens_per_s = 2e6 / out->step_us;
        out->prefill_us = cs_bench_median(prefills, n_rounds);
    }
    free(steps);
    free(prefills);
    slm_setup_dispose(&setup);
    return result;
}

/* ---- more contexts ----------------------------------------------------------------------------------------------- */

/* One round with every number of contexts in turn; round −1 warms up. `medians` is [n_max], `best` keeps the fastest step. */
static costeer_err time_contexts(slm_setup *setup, const cs_bench_model_params *params, int32_t round, int32_t n_max,
                                 double *steps, double *medians, cs_bench_contexts_result *out, costeer_error *err)
{
    const int32_t n_steps = round < 0 && params->n_tokens > N_WARM_UP ? N_WARM_UP : params->n_tokens;
    costeer_err result = COSTEER_OK;
    for (int32_t n = 1; n <= n_max && result == COSTEER_OK; n++) {
        double prefill_us;
        result = slm_setup_contexts(setup, params, n, err);
        if (result == COSTEER_OK) {
            result = slm_setup_prompts(setup, params, round + 1, err);
        }
        if (result == COSTEER_OK) {
            result = time_steps(setup, n_steps, &prefill_us, steps, err);
        }
        if (result == COSTEER_OK && round >= 0) {
            medians[n - 1] = cs_bench_median(steps, (size_t)n_steps); /* which sorts */
            out[n - 1].step_best_us = round == 0 || steps[0] < out[n - 1].step_best_us ? steps[0] : out[n - 1].step_best_us;
        }
    }
    return result;
}

/* `values` has room for one number per round. */
static void summarise_contexts(const double *medians, size_t n_rounds, int32_t n_max, double *values,
                               cs_bench_contexts_result *out)
{
    const size_t width = (size_t)n_max;
    for (size_t i = 0; i < width; i++) {
        for (size_t round = 0; round < n_rounds; round++) {
            values[round] = medians[round * width + i];
        }
        out[i].step_us = cs_bench_median(values, n_rounds);
        for (size_t round = 0; round < n_rounds; round++) {
            const double one = medians[round * width];
            values[round] = i == 0 ? 0.0 : (medians[round * width + i] - one) / ((double)i * one);
        }
        out[i].added_share = cs_bench_median(values, n_rounds);
    }
}

costeer_err cs_bench_slm_contexts(const cs_bench_model_params *params, int32_t n_max, cs_bench_contexts_result *out,
                                  costeer_error *err)
{
    const size_t n_rounds = (size_t)params->n_rounds;
    slm_setup setup = {0};
    double *steps = calloc((size_t)params->n_tokens, sizeof *steps);
    double *medians = calloc(n_rounds * (size_t)n_max, sizeof *medians);
    double *values = calloc(n_rounds, sizeof *values);
    costeer_err result =
        steps != NULL && medians != NULL && values != NULL ? slm_setup_init(&setup, params, err) : no_memory(err);
    for (int32_t round = -1; round < params->n_rounds && result == COSTEER_OK; round++) {
        double *row = medians + (round < 0 ? 0 : (size_t)round) * (size_t)n_max;
        result = time_contexts(&setup, params, round, n_max, steps, row, out, err);
    }
    if (result == COSTEER_OK) {
        summarise_contexts(medians, n_rounds, n_max, values, out);
    }
    free(steps);
    free(medians);
    free(values);
    slm_setup_dispose(&setup);
    return result;
}

/* ---- the main job ------------------------------------------------------------------------------------------------ */

typedef struct main_job {
    const cs_bench_model_params *params;
    slm_setup slm;
    costeer_model *llm;
    costeer_cloud *cloud;
    costeer_vocab vocab;
    costeer_tokens query;
} main_job;

/* Times of all rounds of one way of answering. */
typedef struct answer_times {
    double *rates;    /* [n_rounds] tokens/s */
    double *prefills; /* [n_rounds] */
    double *gaps;     /* [n_gaps] from a token to the next, over all rounds */
    size_t n_gaps;
    int64_t last_us;                       /* when the last token was chosen; 0: none yet */
    double slm_us, cloud_wait_us, fuse_us; /* sums */
} answer_times;

static bool never_ends(const void *model, int32_t token)
{
    (void)model;
    (void)token;
    return false;
}

static bool note_token(const costeer_position *position, void *user)
{
    answer_times *times = user;
    const int64_t now = cs_clock_us();
    if (position->position > 0) {
        times->gaps[times->n_gaps++] = (double)(now - times->last_us);
    }
    times->last_us = now;
    return true;
}

static bool answer_times_init(answer_times *times, const cs_bench_model_params *params)
{
    const size_t n_rounds = (size_t)params->n_rounds;
    times->rates = calloc(n_rounds, sizeof *times->rates);
    times->prefills = calloc(n_rounds, sizeof *times->prefills);
    times->gaps = calloc((n_rounds + 1) * (size_t)params->n_tokens, sizeof *times->gaps);
    return times->rates != NULL && times->prefills != NULL && times->gaps != NULL;
}

static void answer_times_dispose(answer_times *times)
{
    free(times->rates);
    free(times->prefills);
    free(times->gaps);
}

static void main_job_dispose(main_job *job)
{
    costeer_cloud_free(job->cloud);
    costeer_model_free(job->llm);
    costeer_tokens_dispose(&job->query);
    slm_setup_dispose(&job->slm);
}

static costeer_err main_job_init(main_job *job, const cs_bench_model_params *params, costeer_error *err)
{
    const costeer_local_params local = {.n_ctx = params->n_prompt + params->n_tokens,
                                        .n_threads = params->n_threads_llm,
                                        .n_threads_prompt = params->n_threads_prompt};
    job->params = params;
    costeer_err result = costeer_model_load(params->llm, NULL, &job->llm, err);
    if (result == COSTEER_OK) {
        result = slm_setup_init(&job->slm, params, err);
    }
    if (result == COSTEER_OK) {
        result = costeer_model_check_pair(job->llm, job->slm.model, err);
    }
    if (result == COSTEER_OK) {
        result = costeer_cloud_create_local(job->llm, &local, &job->cloud, err);
    }
    if (result == COSTEER_OK) {
        job->vocab = costeer_model_vocab(job->llm);
        job->vocab.is_end = never_ends;
        cs_bench_forget_peak(); /* while a model loads, what is repacked counts twice */
    }
    return result;
}

/* One answer; round −1 warms up: nothing of it is kept. */
static costeer_err time_answer(main_job *job, costeer_delta_source *deltas, int32_t round, answer_times *times,
                               costeer_error *err)
{
    costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    costeer_session *session = NULL;
    costeer_report report;
    params.max_tokens = round < 0 && job->params->n_tokens > N_WARM_UP ? N_WARM_UP : job->params->n_tokens;
    params.on_position = note_token;
    params.user = times;
    params.cancel = job->params->cancel;
    costeer_err result = costeer_session_create(job->cloud, deltas, &job->vocab, &params, &session, err);
    if (result == COSTEER_OK) {
        result = costeer_session_run(session, job->query.ids, job->query.n, &report, err);
    }
    costeer_session_free(session);
    if (result != COSTEER_OK || round < 0) {
        times->n_gaps = 0;
        return result;
    }
    times->prefills[round] = (double)report.prefill_us;
    times->rates[round] = (double)(report.n_tokens - 1) * 1e6 / (double)(report.total_us - report.prefill_us);
    times->slm_us += (double)report.slm_us;
    times->cloud_wait_us += (double)report.cloud_wait_us;
    times->fuse_us += (double)report.fuse_us;
    return COSTEER_OK;
}

/* The LLM alone and with the SLM take turns, so that both meet the same state of the machine. */
static costeer_err time_rounds(main_job *job, answer_times *alone, answer_times *steered, costeer_error *err)
{
    const int32_t n_vocab = costeer_model_get_info(job->llm)->n_vocab;
    costeer_err result = COSTEER_OK;
    for (int32_t round = -1; round < job->params->n_rounds && result == COSTEER_OK; round++) {
        for (int is_steered = 0; is_steered < 2 && result == COSTEER_OK; is_steered++) {
            const uint64_t seed = 1000 + 2 * (uint64_t)(round + 1) + (uint64_t)is_steered;
            result = fill_prompt(&job->query, job->params->n_prompt, n_vocab, seed) ? COSTEER_OK : no_memory(err);
            if (result == COSTEER_OK) {
                result = slm_setup_prompts(&job->slm, job->params, round + 1, err);
            }
            if (result == COSTEER_OK) {
                costeer_delta_source *deltas = is_steered ? costeer_slm_delta_source(job->slm.slm) : NULL;
                result = time_answer(job, deltas, round, is_steered ? steered : alone, err);
            }
        }
    }
    return result;
}

static cs_bench_answer summarise(answer_times *times, const cs_bench_model_params *params)
{
    const double n_steps = (double)params->n_rounds * (double)(params->n_tokens - 1);
    const size_t n_rounds = (size_t)params->n_rounds;
    return (cs_bench_answer){.tokens_per_s = cs_bench_median(times->rates, n_rounds),
                             .token_us = cs_bench_median(times->gaps, times->n_gaps),
                             .prefill_us = cs_bench_median(times->prefills, n_rounds),
                             .slm_us = times->slm_us / n_steps,
                             .cloud_wait_us = times->cloud_wait_us / n_steps,
                             .fuse_us = times->fuse_us / n_steps};
}

static void measure_memory(const main_job *job, cs_bench_generate_result *out)
{
    const cs_bench_model_params *params = job->params;
    const int32_t n_query = params->n_prompt + params->n_tokens;
    out->peak_bytes = cs_bench_peak_bytes(); /* first: reading the files' metadata takes memory too */
    const uint64_t llm_kv = cs_bench_kv_bytes(params->llm, n_query, 1);
    const uint64_t slm_kv = cs_bench_kv_bytes(params->slm, n_query + params->n_context, 2);
    out->file_bytes = costeer_model_get_info(job->llm)->file_bytes + costeer_model_get_info(job->slm.model)->file_bytes;
    out->kv_bytes = llm_kv != 0 && slm_kv != 0 ? llm_kv + slm_kv : 0;
}

/* Each round's ratio compares neighbours in time; the medians of the rates would not. */
static double median_ratio(const answer_times *alone, const answer_times *steered, double *ratios, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ratios[i] = steered->rates[i] / alone->rates[i];
    }
    return cs_bench_median(ratios, n);
}

costeer_err cs_bench_generate(const cs_bench_model_params *params, cs_bench_generate_result *out, costeer_error *err)
{
    main_job job = {0};
    answer_times alone = {0};
    answer_times steered = {0};
    double *ratios = calloc((size_t)params->n_rounds, sizeof *ratios);
    costeer_err result = COSTEER_OK;
    if (ratios == NULL || !answer_times_init(&alone, params) || !answer_times_init(&steered, params)) {
        result = no_memory(err);
    }
    if (result == COSTEER_OK) {
        result = main_job_init(&job, params, err);
    }
    if (result == COSTEER_OK) {
        result = time_rounds(&job, &alone, &steered, err);
    }
    if (result == COSTEER_OK) {
        measure_memory(&job, out);
        out->ratio = median_ratio(&alone, &steered, ratios, (size_t)params->n_rounds);
        out->alone = summarise(&alone, params); /* which sorts */
        out->steered = summarise(&steered, params);
    }
    free(ratios);
    answer_times_dispose(&alone);
    answer_times_dispose(&steered);
    main_job_dispose(&job);
    return result;
}
