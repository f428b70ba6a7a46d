/*
 * An engine: one model's context, its thread, and the views that share it.
 *
 * A step is what the views have submitted at a firing (pool.c), in the order of the views. It is packed into batches of llama.cpp
 * greedily; a view's batch is never split, so that a failure or a stop is the same for all of it. Rows are copied to the views
 * before the next batch overwrites them. A view's sequences get their places among the engine's at the first batch of a prompt,
 * the lowest that are free: llama.cpp computes neighbours together only. Places, like batches, follow from firings alone.
 */
#include "core/model_internal.h"
#include "core/pool_internal.h"
#include "util/error.h"

#include <stdlib.h>
#include <string.h>

/* A batch of so many tokens is computed as prompts are: no steps or drafts of sessions have as many. */
#define PROMPT_MIN 256

/* ---- places ------------------------------------------------------------------------------------------------------ */

/* The first of n free places in a row, −1: there are none. */
static int32_t find_places(const cs_engine *engine, int32_t n)
{
    int32_t n_free = 0;
    for (int32_t p = 0; p < engine->n_sequences; p++) {
        n_free = engine->is_used[p] ? 0 : n_free + 1;
        if (n_free == n) {
            return p - n + 1;
        }
    }
    return -1;
}

static void take_place(cs_engine *engine, cs_view *view, int32_t s, int32_t p)
{
    view->place[s] = p;
    engine->is_used[p] = true;
    (void)cs_llama_state_cut(engine->llama, p, 0); /* whoever had it before */
}

/* There is a place for each sequence, as views with more were not opened; but perhaps not side by side. */
static void place_view(cs_engine *engine, cs_view *view)
{
    int32_t n_placed = 0;
    for (int32_t s = 0; s < view->n_sequences; s++) {
        n_placed += view->place[s] >= 0;
    }
    const int32_t row = n_placed == 0 ? find_places(engine, view->n_sequences) : -1;
    for (int32_t s = 0; s < view->n_sequences; s++) {
        if (view->place[s] < 0) {
            take_place(engine, view, s, row >= 0 ? row + s : find_places(engine, 1));
        }
    }
}

static void release_place(cs_engine *engine, cs_view *view, int32_t s)
{
    if (view->place[s] >= 0) {
        engine->is_used[view->place[s]] = false;
        view->place[s] = -1;
    }
}

/* Sequences that begin anew give their places back, of all views before any gets one: so low ones are used again. */
static void release_empty(cs_engine *engine, cs_view *view)
{
    for (int32_t s = 0; s < view->n_sequences; s++) {
        if (view->cut[s] == 0) {
            release_place(engine, view, s);
            view->cut[s] = -1;
        }
    }
}

/* cs_view_cut() has seen to it that the model's state can be cut. */
static void apply_cuts(const cs_engine *engine, cs_view *view)
{
    for (int32_t s = 0; s < view->n_sequences; s++) {
        if (view->cut[s] > 0 && view->place[s] >= 0) {
            (void)cs_llama_state_cut(engine->llama, view->place[s], view->cut[s]);
        }
        view->cut[s] = -1;
    }
}

/* ---- a step ------------------------------------------------------------------------------------------------------ */

static int32_t first_place(const cs_view *view)
{
    return view->place[view->tokens[0].sequence];
}

static void take(cs_engine *engine, cs_view *view)
{
    view->phase = CS_VIEW_TAKEN;
    place_view(engine, view);
    apply_cuts(engine, view);
    int32_t i = engine->n_step++;
    for (; i > 0 && first_place(engine->step[i - 1]) > first_place(view); i--) {
        engine->step[i] = engine->step[i - 1];
    }
    engine->step[i] = view;
}

void cs_engine_start(cs_engine *engine)
{
    engine->n_step = 0;
    for (cs_view *view = engine->views; view != NULL; view = view->next) {
        release_empty(engine, view);
    }
    for (cs_view *view = engine->views; view != NULL; view = view->next) {
        if (view->phase == CS_VIEW_PENDING) {
            take(engine, view);
        }
    }
    if (engine->n_step > 0) {
        engine->is_busy = true;
        (void)pthread_cond_signal(&engine->posted);
    }
}

/* Put the next views of the step into a batch, as many as fit; one does always. */
static void fill_batch(cs_engine *engine)
{
    int32_t n_tokens = 0;
    int32_t n_rows = 0;
    cs_llama_state_begin(engine->llama);
    for (engine->to = engine->from; engine->to < engine->n_step; engine->to++) {
        cs_view *view = engine->step[engine->to];
        if (n_tokens + view->n_tokens > cs_llama_state_n_batch(engine->llama) ||
            n_rows + view->n_wanted > cs_llama_state_n_rows(engine->llama)) {
            return;
        }
        view->first = n_tokens;
        for (int32_t i = 0; i < view->n_tokens; i++) {
            (void)cs_llama_state_add(engine->llama, &view->tokens[i], view->place[view->tokens[i].sequence]);
        }
        n_tokens += view->n_tokens;
        n_rows += view->n_wanted;
        engine->n_tokens = n_tokens;
    }
}

static costeer_err copy_rows(const cs_engine *engine, cs_view *view)
{
    const size_t width = (size_t)engine->n_vocab_padded;
    for (int32_t i = 0; i < view->n_tokens; i++) {
        if (view->tokens[i].row < 0) {
            continue;
        }
        const float *row = cs_llama_state_row(engine->llama, view->first + i);
        if (row == NULL) {
            return cs_error_set(&view->error, COSTEER_EINTERNAL, engine->component, "llama.cpp has no logits for a step");
        }
        memcpy(view->rows + (size_t)view->tokens[i].row * width, row, width * sizeof *row);
    }
    return COSTEER_OK;
}

static void read_held(const cs_engine *engine, cs_view *view)
{
    for (int32_t s = 0; s < view->n_sequences; s++) {
        view->held[s] = view->place[s] < 0 ? 0 : cs_llama_state_recover(engine->llama, view->place[s]);
    }
}

/* Rows, or what became of the sequences, before the session may look at them. */
static void take_result(const cs_engine *engine, cs_view *view, costeer_err code, const costeer_error *error)
{
    view->result = code;
    if (code == COSTEER_OK) {
        view->result = copy_rows(engine, view);
    } else {
        view->error = *error;
    }
    if (view->result != COSTEER_OK) {
        read_held(engine, view);
    }
}

static void run_step(cs_engine *engine)
{
    cs_pool *pool = engine->pool;
    for (engine->from = 0; engine->from < engine->n_step; engine->from = engine->to) {
        costeer_error error = {.code = COSTEER_OK};
        fill_batch(engine);
        const costeer_err code = cs_llama_state_compute(engine->llama, engine->n_tokens >= PROMPT_MIN, &error);
        for (int32_t i = engine->from; i < engine->to; i++) {
            take_result(engine, engine->step[i], code, &error);
        }
        (void)pthread_mutex_lock(&pool->mutex);
        for (int32_t i = engine->from; i < engine->to; i++) {
            cs_view_deliver(engine->step[i]);
        }
        (void)pthread_mutex_unlock(&pool->mutex);
    }
}

/* One that wants to stop stops all that it shares the batch with. */
static bool should_stop(void *user)
{
    const cs_engine *engine = user;
    for (int32_t i = engine->from; i < engine->to; i++) {
        const cs_view *view = engine->step[i];
        if (view->stop != NULL && view->stop(view->stop_user)) {
            return true;
        }
    }
    return false;
}

static void *work(void *user)
{
    cs_engine *engine = user;
    cs_pool *pool = engine->pool;
    (void)pthread_mutex_lock(&pool->mutex);
    while (!engine->quits) {
        if (!engine->is_busy) {
            (void)pthread_cond_wait(&engine->posted, &pool->mutex);
            continue;
        }
        (void)pthread_mutex_unlock(&pool->mutex);
        run_step(engine);
        (void)pthread_mutex_lock(&pool->mutex);
        engine->is_busy = false;
        cs_pool_check(pool);
    }
    (void)pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

/* ---- creation ---------------------------------------------------------------------------------------------------- */

static costeer_err no_memory(const char *component, costeer_error *err)
{
    return cs_error_set(err, COSTEER_ENOMEM, component, "no memory for what shares its batches");
}

static void dispose(cs_engine *engine)
{
    cs_llama_state_free(engine->llama);
    free(engine);
}

static costeer_err create(cs_engine *engine, const costeer_model *model, const cs_engine_params *params, costeer_error *err)
{
    if (params->n_sequences > CS_ENGINE_SEQUENCES_MAX) {
        return cs_error_set(err, COSTEER_EINVAL, params->component,
                            "%d sequences at a time; llama.cpp computes %d at most: use fewer --jobs", params->n_sequences,
                            CS_ENGINE_SEQUENCES_MAX);
    }
    const cs_decoder_params llama = {.component = params->component,
                                     .n_sequences = params->n_sequences,
                                     .n_ctx = params->n_ctx,
                                     .n_threads = params->n_threads,
                                     .n_threads_prompt = params->n_threads_prompt,
                                     .n_rows = params->n_rows,
                                     .stop = should_stop,
                                     .stop_user = engine};
    const costeer_err code = cs_llama_state_create(model, &llama, &engine->llama, err);
    if (code != COSTEER_OK) {
        return code;
    }
    engine->component = params->component;
    engine->n_sequences = params->n_sequences;
    engine->n_vocab_padded = costeer_model_get_info(model)->n_vocab_padded;
    if (pthread_cond_init(&engine->posted, NULL) != 0) {
        return no_memory(params->component, err);
    }
    if (pthread_create(&engine->thread, NULL, work, engine) != 0) {
        (void)pthread_cond_destroy(&engine->posted);
        return cs_error_set(err, COSTEER_ENOMEM, params->component, "the engine's thread could not be started");
    }
    return COSTEER_OK;
}

costeer_err cs_engine_create(cs_pool *pool, const costeer_model *model, const cs_engine_params *params, cs_engine **out,
                             costeer_error *err)
{
    *out = NULL;
    cs_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL) {
        return no_memory(params->component, err);
    }
    engine->pool = pool;
    const costeer_err code = create(engine, model, params, err);
    if (code != COSTEER_OK) {
        dispose(engine);
        return code;
    }
    (void)pthread_mutex_lock(&pool->mutex);
    engine->next = pool->engines;
    pool->engines = engine;
    (void)pthread_mutex_unlock(&pool->mutex);
    *out = engine;
    return COSTEER_OK;
}

void cs_engine_free(cs_engine *engine)
{
    if (engine == NULL) {
        return;
    }
    cs_pool *pool = engine->pool;
    (void)pthread_mutex_lock(&pool->mutex);
    cs_engine **link = &pool->engines;
    while (*link != engine) {
        link = &(*link)->next;
    }
    *link = engine->next;
    engine->quits = true;
    (void)pthread_cond_signal(&engine->posted);
    (void)pthread_mutex_unlock(&pool->mutex);
    (void)pthread_join(engine->thread, NULL);
    (void)pthread_cond_destroy(&engine->posted);
    dispose(engine);
}

/* ---- views ------------------------------------------------------------------------------------------------------- */

static void dispose_view(cs_view *view)
{
    free(view->place);
    free(view->cut);
    free(view->held);
    free(view->rows);
    free(view);
}

static bool allocate_view(cs_view *view)
{
    const size_t n = (size_t)view->n_sequences;
    view->place = malloc(n * sizeof *view->place);
    view->cut = malloc(n * sizeof *view->cut);
    view->held = calloc(n, sizeof *view->held);
    view->rows = malloc((size_t)view->n_rows * (size_t)view->engine->n_vocab_padded * sizeof *view->rows);
    if (view->place == NULL || view->cut == NULL || view->held == NULL || view->rows == NULL) {
        return false;
    }
    for (size_t s = 0; s < n; s++) {
        view->place[s] = -1;
        view->cut[s] = -1;
    }
    return pthread_cond_init(&view->done, NULL) == 0;
}

/* Behind those of the same order. False when the engine has not enough sequences left. */
static bool link_view(cs_engine *engine, cs_view *view)
{
    (void)pthread_mutex_lock(&engine->pool->mutex);
    const bool fits = view->n_sequences <= engine->n_sequences - engine->n_open;
    if (fits) {
        engine->n_open += view->n_sequences;
        cs_view **link = &engine->views;
        while (*link != NULL && (*link)->order <= view->order) {
            link = &(*link)->next;
        }
        view->next = *link;
        *link = view;
    }
    (void)pthread_mutex_unlock(&engine->pool->mutex);
    return fits;
}

costeer_err cs_view_open(cs_engine *engine, const cs_decoder_params *params, cs_view **out, costeer_error *err)
{
    *out = NULL;
    const int32_t n_rows = params->n_rows > 0 ? params->n_rows : params->n_sequences;
    if (params->n_sequences < 1 || n_rows > cs_llama_state_n_rows(engine->llama)) {
        return cs_error_set(err, COSTEER_EINVAL, engine->component,
                            "a view of %d sequences and %d rows: give at least one sequence, and at most the engine's %d rows",
                            params->n_sequences, n_rows, cs_llama_state_n_rows(engine->llama));
    }
    cs_view *view = calloc(1, sizeof *view);
    if (view == NULL) {
        return no_memory(engine->component, err);
    }
    view->engine = engine;
    view->order = params->order;
    view->n_sequences = params->n_sequences;
    view->n_rows = n_rows;
    view->stop = params->stop;
    view->stop_user = params->stop_user;
    if (!allocate_view(view)) {
        dispose_view(view);
        return no_memory(engine->component, err);
    }
    if (!link_view(engine, view)) {
        (void)pthread_cond_destroy(&view->done);
        dispose_view(view);
        return cs_error_set(err, COSTEER_EINVAL, engine->component,
                            "a view of %d sequences: the engine has not so many left of %d", params->n_sequences,
                            engine->n_sequences);
    }
    *out = view;
    return COSTEER_OK;
}

void cs_view_free(cs_view *view)
{
    if (view == NULL) {
        return;
    }
    cs_engine *engine = view->engine;
    cs_view_abandon(view);
    (void)pthread_mutex_lock(&engine->pool->mutex);
    cs_view **link = &engine->views;
    while (*link != view) {
        link = &(*link)->next;
    }
    *link = view->next;
    for (int32_t s = 0; s < view->n_sequences; s++) {
        release_place(engine, view, s);
    }
    engine->n_open -= view->n_sequences;
    (void)pthread_mutex_unlock(&engine->pool->mutex);
    (void)pthread_cond_destroy(&view->done);
    dispose_view(view);
}
