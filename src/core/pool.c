/*
 * Who computes when: sessions that wait, engines that are idle, and the moment at which all engines start.
 *
 * Why batches do not depend on timing. Engines start together, at a firing: when every session waits for a batch that is not
 * computed, and no engine is busy. What was submitted by then is taken under the mutex, at once; what is submitted later belongs
 * to the next firing. Between two firings a session runs from one wait to the next, through those whose batches were taken at
 * earlier firings (each of them comes to its end before the next firing, as all engines must be idle), up to the first wait for a
 * batch that was submitted since. Where that is, and what the session has submitted, cut and freed on the way, follows from its
 * program and the rows it was given, not from when it was given them: a session that has its rows but was not scheduled yet does
 * not count as waiting (cs_view_deliver). So, by induction, the views of every firing, their tokens, and with the order of views
 * (engine.c) the batches and the rows are the same for every interleaving. It takes sessions that are deterministic themselves
 * and open their views in a fixed order, or with cs_decoder_params.order.
 *
 * Nobody is left waiting: a session waits only for what is pending or taken; if all wait and no engine is busy, something is
 * pending, and fires. A session that ends must leave. One that waits for another session by other means than the pool (a mutex
 * held while that one waits here) holds up the pool: callers must not do that.
 */
#include "core/pool.h"

#include "core/pool_internal.h"
#include "util/error.h"

#include <stdlib.h>

/* ---- the pool ---------------------------------------------------------------------------------------------------- */

costeer_err cs_pool_create(bool is_eager, cs_pool **out, costeer_error *err)
{
    *out = NULL;
    cs_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL || pthread_mutex_init(&pool->mutex, NULL) != 0) {
        free(pool);
        return cs_error_set(err, COSTEER_ENOMEM, "pool", "no memory for its state");
    }
    pool->is_eager = is_eager;
    *out = pool;
    return COSTEER_OK;
}

void cs_pool_free(cs_pool *pool)
{
    if (pool != NULL) {
        (void)pthread_mutex_destroy(&pool->mutex);
        free(pool);
    }
}

static void change_sessions(cs_pool *pool, int32_t by)
{
    (void)pthread_mutex_lock(&pool->mutex);
    pool->n_sessions += by;
    cs_pool_check(pool);
    (void)pthread_mutex_unlock(&pool->mutex);
}

void cs_pool_add_sessions(cs_pool *pool, int32_t n)
{
    change_sessions(pool, n);
}

void cs_pool_leave(cs_pool *pool)
{
    change_sessions(pool, -1);
}

static bool may_fire(const cs_pool *pool)
{
    if (pool->n_waiting == 0 || pool->n_waiting < pool->n_sessions) {
        return false;
    }
    for (const cs_engine *engine = pool->engines; engine != NULL; engine = engine->next) {
        if (engine->is_busy) {
            return false;
        }
    }
    return true;
}

void cs_pool_check(cs_pool *pool)
{
    if (!pool->is_eager && !may_fire(pool)) {
        return;
    }
    for (cs_engine *engine = pool->engines; engine != NULL; engine = engine->next) {
        if (!engine->is_busy) {
            cs_engine_start(engine);
        }
    }
}

/* ---- a session's side -------------------------------------------------------------------------------------------- */

void cs_view_submit(cs_view *view, const cs_batch_token *tokens, int32_t n_tokens, int32_t n_wanted)
{
    cs_pool *pool = view->engine->pool;
    (void)pthread_mutex_lock(&pool->mutex);
    view->tokens = tokens;
    view->n_tokens = n_tokens;
    view->n_wanted = n_wanted;
    view->phase = CS_VIEW_PENDING;
    if (pool->is_eager) {
        cs_pool_check(pool);
    }
    (void)pthread_mutex_unlock(&pool->mutex);
}

static void wait_until_done(cs_view *view)
{
    cs_pool *pool = view->engine->pool;
    if (view->phase != CS_VIEW_PENDING && view->phase != CS_VIEW_TAKEN) {
        return;
    }
    view->has_waiter = true;
    pool->n_waiting++;
    cs_pool_check(pool);
    while (view->has_waiter) {
        (void)pthread_cond_wait(&view->done, &pool->mutex);
    }
}

costeer_err cs_view_wait(cs_view *view, costeer_error *err)
{
    cs_pool *pool = view->engine->pool;
    (void)pthread_mutex_lock(&pool->mutex);
    wait_until_done(view);
    view->phase = CS_VIEW_IDLE;
    (void)pthread_mutex_unlock(&pool->mutex);
    if (view->result != COSTEER_OK && err != NULL) {
        *err = view->error;
    }
    return view->result;
}

void cs_view_abandon(cs_view *view)
{
    cs_pool *pool = view->engine->pool;
    (void)pthread_mutex_lock(&pool->mutex);
    if (view->phase != CS_VIEW_PENDING) {
        wait_until_done(view);
    }
    view->phase = CS_VIEW_IDLE;
    (void)pthread_mutex_unlock(&pool->mutex);
}

void cs_view_deliver(cs_view *view)
{
    view->phase = CS_VIEW_DONE;
    if (view->has_waiter) {
        view->has_waiter = false;
        view->engine->pool->n_waiting--;
        (void)pthread_cond_signal(&view->done);
    }
}

int32_t cs_view_cut(cs_view *view, int32_t s, int32_t n)
{
    cs_pool *pool = view->engine->pool;
    n = cs_llama_state_can_cut(view->engine->llama) ? n : 0;
    (void)pthread_mutex_lock(&pool->mutex);
    if (view->cut[s] < 0 || n < view->cut[s]) {
        view->cut[s] = n;
    }
    (void)pthread_mutex_unlock(&pool->mutex);
    return n;
}
