/*
 * Rows × items, answered by several sessions over one pool, delivered in order.
 *
 * The pairs are done in segments of 8 per job. Within a segment a session has its own list, in order, so that who answers what
 * never depends on timing; with the pool's own promise the batches, and so the bits, are those of every other run. A segment
 * begins with fresh running states, whatever was computed before: a run that goes on in the middle computes the segment it
 * stopped in again, and what is delivered from there on is what an undisturbed run would have delivered. Over a network there is
 * no such promise to keep, and nothing is computed twice.
 */
#include "eval/eval_internal.h"

#include "util/error.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Pairs of a session in a segment. More waste less at its end, where those that are done wait; and cost more when resumed. */
#define PAIRS_PER_JOB 8

/* How often a caller's cancellation is looked for. */
#define CANCEL_EVERY_NS 50000000L

typedef struct run run;

/* A session and its thread. */
typedef struct slot {
    run *run;
    int32_t index;
    costeer_ensemble *ensemble; /* NULL: not made yet */
    pthread_t thread;
    bool is_started;
} slot;

struct run {
    costeer_eval *eval;
    const costeer_eval_row *rows;
    size_t n_pairs;
    size_t n_done; /* pairs that the caller has */
    size_t first;  /* pair of the segment */
    size_t n;      /* pairs in it */
    slot slots[COSTEER_EVAL_JOBS_MAX];
    cs_eval_answer *answers; /* [8 · jobs] of the segment; the slot's while it is not done */
    bool *is_done;           /* [8 · jobs], guarded */
    cs_buffer against;       /* the first item's answer to the present row, where answers are compared */
    pthread_mutex_t mutex;
    pthread_cond_t done;
    costeer_eval_result_fn on_result;
    void *user;
};

static size_t n_items(const run *r)
{
    return r->eval->params.n_items;
}

static size_t n_jobs(const run *r)
{
    return (size_t)r->eval->params.n_jobs;
}

static bool is_remote(const run *r)
{
    return r->eval->params.models.connect != NULL;
}

/* ---- sessions ---------------------------------------------------------------------------------------------------- */

/* Who answers the i-th pair of a segment: turned by one with every round, so that no session gets the same method all the time.
 */
static size_t slot_of(const run *r, size_t i)
{
    return (i + i / n_jobs(r)) % n_jobs(r);
}

static cs_eval_group *group_of(const slot *s)
{
    costeer_eval *eval = s->run->eval;
    return &eval->groups[s->index % eval->n_groups];
}

static costeer_err open_ensemble(slot *s, costeer_error *err)
{
    const costeer_eval *eval = s->run->eval;
    if (s->ensemble != NULL) {
        return COSTEER_OK;
    }
    cs_ensemble_engines engines = group_of(s)->engines;
    engines.order = s->index;
    return cs_ensemble_create_pooled(&eval->params.models, &engines, &s->ensemble, err);
}

static void answer_pair(slot *s, size_t i)
{
    run *r = s->run;
    const size_t pair = r->first + i;
    cs_eval_answer *answer = &r->answers[i];
    *answer = (cs_eval_answer){.status = COSTEER_OK};
    if (atomic_load(&r->eval->stop)) {
        answer->status = cs_error_set(&answer->error, COSTEER_ECANCELED, "eval", "stopped before it began");
        return;
    }
    answer->status = open_ensemble(s, &answer->error);
    if (answer->status == COSTEER_OK) {
        cs_eval_answer_run(r->eval, s->ensemble, &r->rows[pair / n_items(r)], &r->eval->items[pair % n_items(r)], answer);
    }
}

static void mark_done(run *r, size_t i)
{
    (void)pthread_mutex_lock(&r->mutex);
    r->is_done[i] = true;
    (void)pthread_cond_signal(&r->done);
    (void)pthread_mutex_unlock(&r->mutex);
}

static void close_ensemble(slot *s)
{
    costeer_ensemble_free(s->ensemble);
    s->ensemble = NULL;
}

static void *work(void *user)
{
    slot *s = user;
    run *r = s->run;
    for (size_t i = 0; i < r->n; i++) {
        const bool is_known = is_remote(r) && r->first + i < r->n_done;
        if (slot_of(r, i) != (size_t)s->index || is_known) {
            continue;
        }
        answer_pair(s, i);
        mark_done(r, i);
    }
    if (!is_remote(r)) {
        close_ensemble(s);
    }
    cs_pool_leave(group_of(s)->pool);
    return NULL;
}

/* ---- delivery ---------------------------------------------------------------------------------------------------- */

/* Wait for a pair; meanwhile the caller's cancellation becomes everybody's. */
static void wait_for(run *r, size_t i)
{
    const atomic_bool *cancel = r->eval->params.session.cancel;
    (void)pthread_mutex_lock(&r->mutex);
    while (!r->is_done[i]) {
        struct timespec until;
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += CANCEL_EVERY_NS;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        (void)pthread_cond_timedwait(&r->done, &r->mutex, &until);
        if (cancel != NULL && atomic_load(cancel)) {
            atomic_store(&r->eval->stop, true);
        }
    }
    (void)pthread_mutex_unlock(&r->mutex);
}

/* Tell which answer failed; a cancellation is not a failure of any. */
static costeer_err name_failure(const costeer_eval_row *row, const costeer_eval_item *item, const cs_eval_answer *answer,
                                costeer_error *err)
{
    if (answer->status == COSTEER_ECANCELED) {
        return cs_error_set(err, COSTEER_ECANCELED, "eval", "cancelled");
    }
    return cs_error_set(err, answer->status, "eval", "line %lld, %s: %.380s", (long long)row->line, item->label,
                        answer->error.message);
}

static costeer_err deliver(run *r, size_t i, costeer_error *err)
{
    const size_t pair = r->first + i;
    const costeer_eval_row *row = &r->rows[pair / n_items(r)];
    const costeer_eval_item *item = &r->eval->items[pair % n_items(r)];
    cs_eval_answer *answer = &r->answers[i];
    if (answer->status != COSTEER_OK) {
        return name_failure(row, item, answer, err);
    }
    const bool is_compared = r->eval->params.pairwise && pair % n_items(r) > 0;
    answer->against = is_compared ? (r->against.bytes != NULL ? r->against.bytes : "") : NULL;
    char *line;
    const costeer_err code = cs_eval_line_make(r->eval, row, item, answer, &line, err);
    if (code != COSTEER_OK) {
        return code;
    }
    const costeer_eval_result result = {
        .row = pair / n_items(r), .item = pair % n_items(r), .line = line, .n_bytes = strlen(line), .report = &answer->report};
    const bool goes_on = r->on_result(&result, r->user);
    free(line);
    return goes_on ? COSTEER_OK : cs_error_set(err, COSTEER_EABORTED, "eval", "stopped by the caller's callback");
}

/* What the row's other answers are compared with. */
static void keep_first(run *r, size_t i)
{
    if (r->eval->params.pairwise && (r->first + i) % n_items(r) == 0) {
        cs_buffer_dispose(&r->against);
        r->against = r->answers[i].text;
        r->answers[i].text = (cs_buffer){0};
    }
}

/* Deliver a segment. The first error stops everybody; what comes after it in order is dropped. */
static costeer_err deliver_all(run *r, costeer_error *err)
{
    costeer_err code = COSTEER_OK;
    for (size_t i = 0; i < r->n; i++) {
        const bool is_known = r->first + i < r->n_done;
        if (is_known && is_remote(r)) {
            continue;
        }
        wait_for(r, i);
        if (code == COSTEER_OK && (!is_known || r->answers[i].status != COSTEER_OK)) {
            code = deliver(r, i, err);
        }
        if (code != COSTEER_OK) {
            atomic_store(&r->eval->stop, true);
        }
        keep_first(r, i);
        cs_eval_answer_dispose(&r->answers[i]);
    }
    return code;
}

/* ---- segments ---------------------------------------------------------------------------------------------------- */

/* A session whose thread could not be had: its pairs fail. */
static void fail_slot(slot *s)
{
    run *r = s->run;
    for (size_t i = 0; i < r->n; i++) {
        if (slot_of(r, i) == (size_t)s->index) {
            r->answers[i] = (cs_eval_answer){.status = COSTEER_ENOMEM};
            cs_error_set(&r->answers[i].error, COSTEER_ENOMEM, "eval", "a session's thread could not be started");
            mark_done(r, i);
        }
    }
    cs_pool_leave(group_of(s)->pool);
}

static costeer_err run_segment(run *r, costeer_error *err)
{
    const int32_t jobs = r->eval->params.n_jobs;
    for (size_t i = 0; i < r->n; i++) {
        r->is_done[i] = false;
        r->answers[i] = (cs_eval_answer){.status = COSTEER_OK};
    }
    for (int32_t k = 0; k < jobs; k++) {
        cs_pool_add_sessions(group_of(&r->slots[k])->pool, 1);
    }
    for (int32_t k = 0; k < jobs; k++) {
        slot *s = &r->slots[k];
        s->is_started = pthread_create(&s->thread, NULL, work, s) == 0;
        if (!s->is_started) {
            fail_slot(s);
        }
    }
    const costeer_err code = deliver_all(r, err);
    for (int32_t k = 0; k < jobs; k++) {
        if (r->slots[k].is_started) {
            (void)pthread_join(r->slots[k].thread, NULL);
        }
    }
    return code;
}

static costeer_err run_all(run *r, costeer_error *err)
{
    const size_t n_segment = PAIRS_PER_JOB * n_jobs(r);
    /* Where answers are compared, the row's first one must be computed again too. */
    const size_t n_done = r->eval->params.pairwise ? r->n_done / n_items(r) * n_items(r) : r->n_done;
    costeer_err code = COSTEER_OK;
    for (r->first = n_done / n_segment * n_segment; code == COSTEER_OK && r->first < r->n_pairs; r->first += n_segment) {
        r->n = r->n_pairs - r->first < n_segment ? r->n_pairs - r->first : n_segment;
        code = run_segment(r, err);
    }
    return code;
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

static costeer_err check(const run *r, size_t n_rows, costeer_error *err)
{
    if (r->n_done > r->n_pairs) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "%zu results are there already, of %zu", r->n_done, r->n_pairs);
    }
    for (size_t i = 0; i < n_rows; i++) {
        if (r->rows[i].max_tokens < 1) {
            return cs_error_set(err, COSTEER_ESTATE, "eval", "line %lld was not fitted", (long long)r->rows[i].line);
        }
    }
    return COSTEER_OK;
}

static bool init(run *r)
{
    const size_t n = PAIRS_PER_JOB * n_jobs(r);
    for (size_t k = 0; k < n_jobs(r); k++) {
        r->slots[k] = (slot){.run = r, .index = (int32_t)k};
    }
    r->answers = calloc(n, sizeof *r->answers);
    r->is_done = calloc(n, sizeof *r->is_done);
    if (r->answers == NULL || r->is_done == NULL || pthread_mutex_init(&r->mutex, NULL) != 0) {
        return false;
    }
    if (pthread_cond_init(&r->done, NULL) != 0) {
        (void)pthread_mutex_destroy(&r->mutex);
        return false;
    }
    return true;
}

static void dispose(run *r)
{
    for (size_t k = 0; k < n_jobs(r); k++) {
        close_ensemble(&r->slots[k]);
    }
    (void)pthread_mutex_destroy(&r->mutex);
    (void)pthread_cond_destroy(&r->done);
    cs_buffer_dispose(&r->against);
}

costeer_err costeer_eval_run(costeer_eval *eval, const costeer_eval_row *rows, size_t n_rows, size_t n_done,
                             costeer_eval_result_fn on_result, void *user, costeer_error *err)
{
    if (eval == NULL || (rows == NULL && n_rows > 0) || on_result == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "eval, rows and on_result must not be NULL");
    }
    run *r = calloc(1, sizeof *r);
    if (r == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "eval", "no memory for a run");
    }
    *r = (run){.eval = eval, .rows = rows, .n_done = n_done, .on_result = on_result, .user = user};
    r->n_pairs = n_rows * n_items(r);
    atomic_store(&eval->stop, false);
    costeer_err code = check(r, n_rows, err);
    if (code == COSTEER_OK && !init(r)) {
        code = cs_error_set(err, COSTEER_ENOMEM, "eval", "no memory for a run");
    } else if (code == COSTEER_OK) {
        code = run_all(r, err);
        dispose(r);
    }
    free(r->answers);
    free(r->is_done);
    free(r);
    return code;
}
