/*
 * Steps of several positions through the batcher, as a draft makes them: a correction and n − 1 drafts in one message are one
 * step of n tokens, whose n distributions come back. Sizes take turns, so that all meet the same state of the machine.
 */
#include "batch_bench.h"

#include "bench_stats.h"
#include "util/error.h"

#include <costeer/batcher.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TOP_K 64
/* Steps of a size in a round; one before them warms up and is not counted. */
#define N_STEPS 4

/* What the batcher's thread has told. */
typedef struct receiver {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int32_t position; /* delivered last, −1: none */
    int32_t epoch;
    int64_t compute_us;
    bool has_ended;
    costeer_err status;
    costeer_error error;
} receiver;

static void on_distribution(void *answer_user, const costeer_batch_distribution *distribution, void *user)
{
    receiver *r = answer_user;
    (void)user;
    (void)pthread_mutex_lock(&r->mutex);
    r->position = distribution->position;
    r->epoch = distribution->epoch;
    r->compute_us = distribution->compute_us;
    (void)pthread_cond_signal(&r->changed);
    (void)pthread_mutex_unlock(&r->mutex);
}

static void on_end(void *answer_user, costeer_err status, const costeer_error *error, const costeer_batch_account *account,
                   void *user)
{
    receiver *r = answer_user;
    (void)account;
    (void)user;
    (void)pthread_mutex_lock(&r->mutex);
    r->has_ended = true;
    r->status = status;
    if (error != NULL) {
        r->error = *error;
    }
    (void)pthread_cond_signal(&r->changed);
    (void)pthread_mutex_unlock(&r->mutex);
}

static bool is_cancelled(const cs_bench_batch_params *params)
{
    return params->cancel != NULL && atomic_load(params->cancel);
}

/* Waits until a position of an epoch has come; looks at the cancel flag ten times a second. */
static costeer_err wait_for(receiver *r, const cs_bench_batch_params *params, int32_t epoch, int32_t position,
                            int64_t *compute_us, costeer_error *err)
{
    (void)pthread_mutex_lock(&r->mutex);
    while (!r->has_ended && !(r->epoch == epoch && r->position == position) && !is_cancelled(params)) {
        struct timespec until;
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 100000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        (void)pthread_cond_timedwait(&r->changed, &r->mutex, &until);
    }
    costeer_err code = COSTEER_OK;
    if (r->has_ended) {
        code = cs_error_set(err, r->status == COSTEER_OK ? COSTEER_EINTERNAL : r->status, "bench", "the LLM stopped: %s",
                            r->error.message);
    } else if (is_cancelled(params)) {
        code = cs_error_set(err, COSTEER_ECANCELED, "bench", "cancelled");
    }
    *compute_us = r->compute_us;
    (void)pthread_mutex_unlock(&r->mutex);
    return code;
}

static void wait_for_end(receiver *r)
{
    (void)pthread_mutex_lock(&r->mutex);
    while (!r->has_ended) {
        (void)pthread_cond_wait(&r->changed, &r->mutex);
    }
    (void)pthread_mutex_unlock(&r->mutex);
}

/* ---- one size ---------------------------------------------------------------------------------------------------- */

typedef struct job {
    const cs_bench_batch_params *params;
    costeer_model *model;
    costeer_batcher *batcher;
    int32_t tokens[64]; /* none of them ends an answer */
} job;

/* A correction at the last position that came, and drafts behind it. */
static costeer_err ask(const job *j, costeer_batch_answer *answer, int32_t epoch, int32_t position, int32_t n, costeer_error *err)
{
    const int32_t n_tokens = (int32_t)(sizeof j->tokens / sizeof j->tokens[0]);
    costeer_batch_hold(answer);
    costeer_err code = costeer_batch_correct(answer, epoch, position, j->tokens[position % n_tokens], err);
    if (code == COSTEER_OK && n > 1) {
        code = costeer_batch_draft(answer, position + 1, j->tokens, (size_t)n - 1, err);
    }
    costeer_batch_release(answer);
    return code;
}

/* An answer made of steps of n positions; the first one is not kept. */
static costeer_err time_steps(const job *j, receiver *r, costeer_batch_answer *answer, int32_t n, double *step_us,
                              costeer_error *err)
{
    int64_t compute_us = 0;
    int32_t position = 0;
    costeer_err code = wait_for(r, j->params, 0, 0, &compute_us, err);
    for (int32_t i = 0; i <= N_STEPS && code == COSTEER_OK; i++) {
        code = ask(j, answer, i + 1, position, n, err);
        position += n;
        code = code == COSTEER_OK ? wait_for(r, j->params, i + 1, position, &compute_us, err) : code;
        if (i > 0) {
            step_us[i - 1] = (double)compute_us;
        }
    }
    return code;
}

static costeer_err time_size(const job *j, int32_t n, double *step_us, costeer_error *err)
{
    receiver r = {.position = -1, .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    costeer_batch_answer *answer = NULL;
    const int32_t n_prompt = j->params->n_prompt;
    int32_t *prompt = malloc((size_t)n_prompt * sizeof *prompt);
    if (prompt == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "bench", "no memory for the prompt");
    }
    for (int32_t i = 0; i < n_prompt; i++) {
        prompt[i] = j->tokens[(size_t)i % (sizeof j->tokens / sizeof j->tokens[0])];
    }
    const costeer_batch_request request = {
        .prompt = prompt, .n_prompt = (size_t)n_prompt, .max_tokens = (N_STEPS + 1) * n + 2, .top_k = TOP_K};
    costeer_err code = costeer_batch_open(j->batcher, &request, &r, &answer, err);
    if (code == COSTEER_OK) {
        code = time_steps(j, &r, answer, n, step_us, err);
        costeer_batch_close(answer);
        wait_for_end(&r);
    }
    free(prompt);
    return code;
}

/* ---- all sizes --------------------------------------------------------------------------------------------------- */

static void fill_tokens(job *j)
{
    const int32_t n_vocab = costeer_model_get_info(j->model)->n_vocab;
    size_t n = 0;
    for (int32_t token = n_vocab / 2; n < sizeof j->tokens / sizeof j->tokens[0]; token = (token + 1) % n_vocab) {
        if (!costeer_model_is_end(j->model, token)) {
            j->tokens[n++] = token;
        }
    }
}

static costeer_err prepare(job *j, costeer_error *err)
{
    const cs_bench_batch_params *params = j->params;
    const costeer_batcher_params batcher = {.n_parallel = 1,
                                            .n_ctx = params->n_prompt + (N_STEPS + 1) * (COSTEER_WIRE_DRAFTS_MAX + 1) + 2,
                                            .n_threads = params->n_threads,
                                            .max_window = 1,
                                            .max_drafts = COSTEER_WIRE_DRAFTS_MAX,
                                            .callbacks = {.on_distribution = on_distribution, .on_end = on_end}};
    costeer_err code = costeer_model_load(params->llm, NULL, &j->model, err);
    if (code == COSTEER_OK) {
        fill_tokens(j);
        code = costeer_batcher_create(j->model, &batcher, &j->batcher, err);
    }
    return code;
}

/* Sizes take turns within a round. */
static costeer_err time_rounds(const job *j, double *values, size_t n_values, costeer_error *err)
{
    costeer_err code = COSTEER_OK;
    for (int32_t round = 0; round < j->params->n_rounds; round++) {
        for (size_t i = 0; i < j->params->n_sizes && code == COSTEER_OK; i++) {
            code = time_size(j, j->params->sizes[i], values + i * n_values + (size_t)round * N_STEPS, err);
        }
    }
    return code;
}

costeer_err cs_bench_batch(const cs_bench_batch_params *params, double *step_us, costeer_error *err)
{
    job j = {.params = params};
    const size_t n_values = (size_t)params->n_rounds * N_STEPS;
    double *values = calloc(params->n_sizes * n_values, sizeof *values);
    if (values == NULL) {
        (void)cs_error_set(err, COSTEER_ENOMEM, "bench", "no memory for the measurement");
        return COSTEER_ENOMEM;
    }
    costeer_err code = prepare(&j, err);
    code = code == COSTEER_OK ? time_rounds(&j, values, n_values, err) : code;
    for (size_t i = 0; i < params->n_sizes && code == COSTEER_OK; i++) {
        step_us[i] = cs_bench_median(values + i * n_values, n_values);
    }
    costeer_batcher_free(j.batcher);
    costeer_model_free(j.model);
    free(values);
    return code;
}
