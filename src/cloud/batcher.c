/*
 * The batcher's calls and its threads: see costeer/batcher.h.
 *
 * Calls take the mutex, change an answer's tokens and wake the threads; they never wait for a computation, which runs without the
 * mutex. A call that makes the running step useless sets a flag that llama.cpp asks for.
 */
#include "cloud/batch_internal.h"
#include "core/model_internal.h"
#include "util/clock.h"
#include "util/error.h"

#include <costeer/wire.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* How often to look for a slot that has fallen idle while others wait. */
#define SLOT_POLL_US 100000

#define COMPONENT "batcher"

#define PROMPT_CHUNK_DEFAULT 64 /* one piece of llama.cpp's (n_ubatch): a step with a prompt takes about twice as long */
#define STEP_FLOOR_MAX_MS    60000

/* Rows of logits of one step: each is as wide as the vocabulary, 600 KB for 152k tokens. More drafts take more steps. */
#define N_ROWS_MAX 256
#define ROWS_BYTES ((size_t)64 << 20)

/* ---- threads ----------------------------------------------------------------------------------------------------- */

static bool should_stop(void *user)
{
    const costeer_batcher *batcher = user;
    return atomic_load_explicit(&batcher->stop_step, memory_order_relaxed);
}

static void end_all(costeer_batcher *batcher)
{
    costeer_error err = {0};
    (void)cs_error_set(&err, COSTEER_ECANCELED, COMPONENT, "the node is being shut down");
    for (costeer_batch_answer *answer = batcher->first, *next = NULL; answer != NULL; answer = next) {
        next = answer->next;
        if (answer->is_ended) {
            cs_batch_forget(answer); /* it failed, and its owner did not close it */
        } else {
            const bool was_closed = answer->is_closed;
            answer->is_closed = true; /* nobody can close it any more */
            cs_batch_end(answer, was_closed ? COSTEER_OK : COSTEER_ECANCELED, was_closed ? NULL : &err);
        }
    }
}

/* Those who wait for a slot get one when it falls idle, which nobody tells. */
static void wait_for_work(costeer_batcher *batcher, bool some_wait)
{
    if (!some_wait) {
        (void)pthread_cond_wait(&batcher->work, &batcher->mutex);
        return;
    }
    const int64_t end_us = cs_clock_us() + SLOT_POLL_US;
    const struct timespec end = {.tv_sec = (time_t)(end_us / 1000000), .tv_nsec = (long)(end_us % 1000000 * 1000)};
    (void)pthread_cond_timedwait(&batcher->work, &batcher->mutex, &end);
}

static void *compute(void *user)
{
    costeer_batcher *batcher = user;
    (void)pthread_mutex_lock(&batcher->mutex);
    while (!batcher->quit) {
        cs_batch_reply(batcher);
        cs_batch_deepen(batcher);
        const bool some_wait = cs_batch_assign_slots(batcher);
        if (!cs_batch_run_step(batcher)) {
            wait_for_work(batcher, some_wait);
        }
    }
    end_all(batcher);
    (void)pthread_mutex_unlock(&batcher->mutex);
    return NULL;
}

static void *reply(void *user)
{
    costeer_batcher *batcher = user;
    (void)pthread_mutex_lock(&batcher->mutex);
    while (!batcher->quit) {
        cs_batch_reply(batcher);
        (void)pthread_cond_wait(&batcher->asked, &batcher->mutex);
    }
    (void)pthread_mutex_unlock(&batcher->mutex);
    return NULL;
}

static void stop_threads(costeer_batcher *batcher, bool has_replier)
{
    (void)pthread_mutex_lock(&batcher->mutex);
    batcher->quit = true;
    atomic_store(&batcher->stop_step, true);
    (void)pthread_cond_broadcast(&batcher->work);
    (void)pthread_cond_broadcast(&batcher->asked);
    (void)pthread_mutex_unlock(&batcher->mutex);
    (void)pthread_join(batcher->thread, NULL);
    if (has_replier) {
        (void)pthread_join(batcher->replier, NULL);
    }
}

static bool start_threads(costeer_batcher *batcher)
{
    if (pthread_create(&batcher->thread, NULL, compute, batcher) != 0) {
        return false;
    }
    if (pthread_create(&batcher->replier, NULL, reply, batcher) != 0) {
        stop_threads(batcher, false);
        return false;
    }
    return true;
}

/* ---- creation ---------------------------------------------------------------------------------------------------- */

static bool init_conditions(costeer_batcher *batcher)
{
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes) != 0) {
        return false;
    }
    bool is_ok =
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 && pthread_cond_init(&batcher->work, &attributes) == 0;
    if (is_ok && pthread_cond_init(&batcher->asked, &attributes) != 0) {
        (void)pthread_cond_destroy(&batcher->work);
        is_ok = false;
    }
    (void)pthread_condattr_destroy(&attributes);
    return is_ok;
}

static bool init_synchronisation(costeer_batcher *batcher)
{
    if (pthread_mutex_init(&batcher->mutex, NULL) != 0) {
        return false;
    }
    if (!init_conditions(batcher)) {
        (void)pthread_mutex_destroy(&batcher->mutex);
        return false;
    }
    return true;
}

static void dispose(costeer_batcher *batcher)
{
    cs_decoder_free(batcher->decoder);
    free(batcher->ids);
    free(batcher->values);
    (void)pthread_cond_destroy(&batcher->work);
    (void)pthread_cond_destroy(&batcher->asked);
    (void)pthread_mutex_destroy(&batcher->mutex);
    free(batcher);
}

static int32_t pick_rows(const costeer_batcher_params *params, int32_t n_vocab_padded)
{
    const size_t n_fitting = ROWS_BYTES / sizeof(float) / (size_t)n_vocab_padded;
    const int64_t n_wanted = (int64_t)params->n_parallel * (1 + params->max_drafts);
    int64_t n = n_wanted < N_ROWS_MAX ? n_wanted : N_ROWS_MAX;
    n = n < (int64_t)n_fitting ? n : (int64_t)n_fitting;
    return (int32_t)(n > params->n_parallel ? n : params->n_parallel); /* one for each answer in any case */
}

static costeer_err check_range(int32_t value, int32_t low, int32_t high, const char *name, costeer_error *err)
{
    if (value < low || value > high) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "%s is %d; give %d to %d", name, value, low, high);
    }
    return COSTEER_OK;
}

static costeer_err check_params(const costeer_batcher_params *params, costeer_error *err)
{
    costeer_err code = check_range(params->n_parallel, 1, CS_BATCH_PARALLEL_MAX, "n_parallel", err);
    code = code != COSTEER_OK ? code : check_range(params->prompt_chunk, 0, COSTEER_WIRE_CONTEXT_MAX, "prompt_chunk", err);
    code = code != COSTEER_OK ? code : check_range(params->max_window, 0, COSTEER_WIRE_WINDOW_MAX, "max_window", err);
    code = code != COSTEER_OK ? code : check_range(params->max_drafts, 0, COSTEER_WIRE_DRAFTS_MAX, "max_drafts", err);
    code = code != COSTEER_OK ? code : check_range(params->step_floor_ms, 0, STEP_FLOOR_MAX_MS, "step_floor_ms", err);
    if (code == COSTEER_OK && (params->callbacks.on_distribution == NULL || params->callbacks.on_end == NULL)) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "on_distribution and on_end must not be NULL");
    }
    return code;
}

/* Not the template's: the device has perhaps another, and it decides where an answer ends. */
static bool is_end(const void *model, int32_t token)
{
    return cs_model_is_vocab_end(model, token);
}

static costeer_err create(costeer_batcher *batcher, const costeer_model *model, costeer_error *err)
{
    const costeer_batcher_params *params = &batcher->params;
    const costeer_model_info *info = costeer_model_get_info(model);
    batcher->ids = malloc((size_t)info->n_vocab * sizeof *batcher->ids);
    batcher->values = malloc((size_t)info->n_vocab * sizeof *batcher->values);
    if (batcher->ids == NULL || batcher->values == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, COMPONENT, "no memory for the base of %d tokens", info->n_vocab);
    }
    const cs_decoder_params decoder = {.component = "llm",
                                       .n_sequences = params->n_parallel,
                                       .n_ctx = params->n_ctx,
                                       .n_threads = params->n_threads,
                                       .n_rows = pick_rows(params, info->n_vocab_padded),
                                       .stop = should_stop,
                                       .stop_user = batcher};
    const costeer_err code = cs_decoder_create(model, &decoder, &batcher->decoder, err);
    if (code != COSTEER_OK) {
        return code;
    }
    batcher->limits = (cs_answer_limits){.n_vocab = info->n_vocab,
                                         .n_ctx = cs_decoder_n_ctx(batcher->decoder),
                                         .max_window = params->max_window,
                                         .max_drafts = params->max_drafts,
                                         .is_end = is_end,
                                         .model = model};
    cs_decoder_begin(batcher->decoder);
    batcher->step_limits =
        (cs_schedule_limits){.room = cs_decoder_room(batcher->decoder),
                             .rows = decoder.n_rows,
                             .prompt_chunk = params->prompt_chunk > 0 ? params->prompt_chunk : PROMPT_CHUNK_DEFAULT};
    return start_threads(batcher) ? COSTEER_OK : cs_error_set(err, COSTEER_ENOMEM, COMPONENT, "its threads could not be started");
}

costeer_err costeer_batcher_create(const costeer_model *model, const costeer_batcher_params *params, costeer_batcher **out,
                                   costeer_error *err)
{
    if (model == NULL || params == NULL || out == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "model, params and out must not be NULL");
    }
    *out = NULL;
    costeer_err code = check_params(params, err);
    if (code != COSTEER_OK) {
        return code;
    }
    costeer_batcher *batcher = calloc(1, sizeof *batcher);
    if (batcher == NULL || !init_synchronisation(batcher)) {
        free(batcher);
        return cs_error_set(err, COSTEER_ENOMEM, COMPONENT, "no memory for its state");
    }
    batcher->params = *params;
    atomic_init(&batcher->stop_step, false);
    code = create(batcher, model, err);
    if (code != COSTEER_OK) {
        dispose(batcher);
        return code;
    }
    *out = batcher;
    return COSTEER_OK;
}

void costeer_batcher_free(costeer_batcher *batcher)
{
    if (batcher != NULL) {
        stop_threads(batcher, true);
        dispose(batcher);
    }
}

int32_t costeer_batcher_n_ctx(const costeer_batcher *batcher)
{
    return batcher->limits.n_ctx;
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

costeer_err costeer_batch_open(costeer_batcher *batcher, const costeer_batch_request *request, void *answer_user,
                               costeer_batch_answer **out, costeer_error *err)
{
    if (batcher == NULL || request == NULL || out == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "batcher, request and out must not be NULL");
    }
    *out = NULL;
    costeer_batch_answer *answer = calloc(1, sizeof *answer);
    if (answer == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, COMPONENT, "no memory for an answer");
    }
    const costeer_err code = cs_answer_init(&answer->state, request, &batcher->limits, err);
    if (code != COSTEER_OK) {
        free(answer);
        return code;
    }
    answer->batcher = batcher;
    answer->user = answer_user;
    answer->owner = request->owner;
    answer->opened_us = cs_clock_us();
    answer->slot = -1;
    *out = answer; /* before the mutex is given back: the first callback may come at once */
    (void)pthread_mutex_lock(&batcher->mutex);
    answer->previous = batcher->last;
    *(batcher->last != NULL ? &batcher->last->next : &batcher->first) = answer;
    batcher->last = answer;
    (void)pthread_cond_signal(&batcher->work);
    (void)pthread_mutex_unlock(&batcher->mutex);
    return COSTEER_OK;
}

/* Every call: lock, refuse when the answer has ended, do it, and let the threads see what follows from it. */
static costeer_err begin_call(costeer_batch_answer *answer, costeer_error *err)
{
    (void)pthread_mutex_lock(&answer->batcher->mutex);
    return answer->is_ended ? cs_error_set(err, COSTEER_ESTATE, COMPONENT, "the answer has ended; close it") : COSTEER_OK;
}

static costeer_err end_call(costeer_batch_answer *answer, costeer_err code)
{
    costeer_batcher *batcher = answer->batcher;
    if (code == COSTEER_OK) {
        cs_batch_check_step(batcher);
        (void)pthread_cond_signal(&batcher->work);
    }
    (void)pthread_mutex_unlock(&batcher->mutex);
    return code;
}

costeer_err costeer_batch_commit(costeer_batch_answer *answer, int32_t position, costeer_error *err)
{
    costeer_err code = begin_call(answer, err);
    code = code == COSTEER_OK ? cs_answer_commit(&answer->state, position, err) : code;
    return end_call(answer, code);
}

costeer_err costeer_batch_correct(costeer_batch_answer *answer, int32_t epoch, int32_t position, int32_t token,
                                  costeer_error *err)
{
    costeer_err code = begin_call(answer, err);
    code = code == COSTEER_OK ? cs_answer_correct(&answer->state, epoch, position, token, err) : code;
    return end_call(answer, code);
}

costeer_err costeer_batch_draft(costeer_batch_answer *answer, int32_t position, const int32_t *tokens, size_t n,
                                costeer_error *err)
{
    costeer_err code = begin_call(answer, err);
    code = code == COSTEER_OK ? cs_answer_draft(&answer->state, position, tokens, n, err) : code;
    return end_call(answer, code);
}

costeer_err costeer_batch_deepen(costeer_batch_answer *answer, int32_t epoch, int32_t position, int32_t top_k, costeer_error *err)
{
    costeer_err code = begin_call(answer, err);
    code = code == COSTEER_OK ? cs_answer_deepen(&answer->state, epoch, position, top_k, err) : code;
    if (code == COSTEER_OK) {
        (void)pthread_cond_signal(&answer->batcher->asked);
    }
    return end_call(answer, code);
}

static void set_held(costeer_batch_answer *answer, bool is_held)
{
    (void)pthread_mutex_lock(&answer->batcher->mutex);
    answer->is_held = is_held;
    (void)end_call(answer, COSTEER_OK);
}

void costeer_batch_hold(costeer_batch_answer *answer)
{
    set_held(answer, true);
}

void costeer_batch_release(costeer_batch_answer *answer)
{
    set_held(answer, false);
}

size_t costeer_batch_read_tokens(const costeer_batch_answer *answer, int32_t *out, size_t n_max)
{
    (void)pthread_mutex_lock(&answer->batcher->mutex);
    const cs_answer *state = &answer->state;
    const size_t n = (size_t)state->n_known < n_max ? (size_t)state->n_known : n_max;
    memcpy(out, state->tokens + state->n_prompt, n * sizeof *out);
    (void)pthread_mutex_unlock(&answer->batcher->mutex);
    return n;
}

void costeer_batch_close(costeer_batch_answer *answer)
{
    if (answer == NULL) {
        return;
    }
    costeer_batcher *batcher = answer->batcher;
    (void)pthread_mutex_lock(&batcher->mutex);
    if (answer->is_ended) {
        cs_batch_forget(answer);
    } else {
        answer->is_closed = true;
        cs_batch_check_step(batcher);
        (void)pthread_cond_signal(&batcher->asked);
        (void)pthread_cond_signal(&batcher->work);
    }
    (void)pthread_mutex_unlock(&batcher->mutex);
}
