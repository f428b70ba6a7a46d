/* Sessions that share the built-in pair: see pool_support.h. */
#include "support/pool_support.h"

#include "cloud/pooled.h"
#include "core/slm_internal.h"
#include "util/clock.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>
#include <llama.h>

costeer_model *llm_model;
costeer_model *slm_model;

int load_pair(void **state)
{
    (void)state;
    llm_model = load_model(LLM_PATH);
    slm_model = load_model(SLM_PATH);
    return 0;
}

int free_pair(void **state)
{
    (void)state;
    costeer_model_free(llm_model);
    costeer_model_free(slm_model);
    return 0;
}

/* ---- llama_decode ------------------------------------------------------------------------------------------------ */

static atomic_int n_decodes;
static atomic_int n_until_failure = -1;

int32_t __real_llama_decode(struct llama_context *context, struct llama_batch batch);
int32_t __wrap_llama_decode(struct llama_context *context, struct llama_batch batch);

int32_t __wrap_llama_decode(struct llama_context *context, struct llama_batch batch)
{
    atomic_fetch_add(&n_decodes, 1);
    if (atomic_load(&n_until_failure) >= 0 && atomic_fetch_sub(&n_until_failure, 1) == 0) {
        return -3;
    }
    return __real_llama_decode(context, batch);
}

int32_t decode_calls(void)
{
    return atomic_load(&n_decodes);
}

void fail_decode(int32_t n)
{
    atomic_store(&n_until_failure, n);
}

/* ---- recording --------------------------------------------------------------------------------------------------- */

static uint64_t hash(uint64_t before, const void *data, size_t n)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < n; i++) {
        before = (before ^ bytes[i]) * 0x100000001b3U; /* FNV-1a */
    }
    return before;
}

/* One session at work; the cloud and the delta source that it is given note what passes. */
typedef struct worker {
    costeer_cloud cloud;         /* first */
    costeer_delta_source source; /* second */
    pool_run *run;
    pool_session *session;
    cs_pool *pool;
    cs_engine *llm_engine;
    cs_engine *slm_engine;
    costeer_cloud *llm;
    costeer_slm *slm;
    atomic_bool *cancel;
    uint64_t random;
    pthread_t thread;
} worker;

static worker *worker_of(costeer_delta_source *source)
{
    return (worker *)((char *)source - offsetof(worker, source));
}

static void nap(worker *w)
{
    if (w->run->naps != 0) {
        w->random = w->random * 6364136223846793005U + 1442695040888963407U;
        const struct timespec pause = {.tv_nsec = (long)((w->random >> 33) % 700000)};
        (void)nanosleep(&pause, NULL);
    }
}

static costeer_err cloud_open(costeer_cloud *cloud, const costeer_cloud_request *request, costeer_error *err)
{
    return costeer_cloud_open(((worker *)cloud)->llm, request, err);
}

static costeer_err cloud_next(costeer_cloud *cloud, int32_t position, costeer_distribution *out, costeer_error *err)
{
    worker *w = (worker *)cloud;
    nap(w);
    const costeer_err code = costeer_cloud_next(w->llm, position, out, err);
    if (code == COSTEER_OK) {
        w->session->base_hash = hash(w->session->base_hash, out->base.values, (size_t)out->base.n * sizeof(float));
    }
    return code;
}

static costeer_err cloud_commit(costeer_cloud *cloud, int32_t position, int32_t token, const int32_t *drafts, int32_t n_drafts,
                                costeer_error *err)
{
    (void)drafts;
    (void)n_drafts;
    nap((worker *)cloud);
    return costeer_cloud_commit(((worker *)cloud)->llm, position, token, err);
}

static void cloud_close(costeer_cloud *cloud)
{
    costeer_cloud_close(((worker *)cloud)->llm);
}

static const costeer_cloud_ops cloud_ops = {.open = cloud_open, .next = cloud_next, .commit = cloud_commit, .close = cloud_close};

static costeer_delta_source *slm_of(costeer_delta_source *source)
{
    return costeer_slm_delta_source(worker_of(source)->slm);
}

static costeer_err source_begin(costeer_delta_source *source, costeer_error *err)
{
    return slm_of(source)->ops->begin(slm_of(source), err);
}

static costeer_err source_step(costeer_delta_source *source, const int32_t *tokens, size_t n, costeer_error *err)
{
    nap(worker_of(source));
    return slm_of(source)->ops->step(slm_of(source), tokens, n, err);
}

static void source_read(costeer_delta_source *source, costeer_delta *deltas, size_t n)
{
    pool_session *session = worker_of(source)->session;
    const size_t bytes = (size_t)costeer_model_get_info(slm_model)->n_vocab * sizeof(float);
    slm_of(source)->ops->read(slm_of(source), deltas, n);
    session->deltas_hash = hash(hash(session->deltas_hash, deltas[0].amateur, bytes), deltas[0].expert, bytes);
}

static const costeer_delta_source_ops source_ops = {.begin = source_begin, .step = source_step, .read = source_read};

static bool on_position(const costeer_position *at, void *user)
{
    worker *w = user;
    pool_session *session = w->session;
    nap(w);
    session->n_tokens++;
    session->tokens_hash = hash(session->tokens_hash, &at->token, sizeof at->token);
    if (session->cancel_at > 0 && at->position == session->cancel_at) {
        atomic_store(w->cancel, true);
    }
    while (session->wait_at > 0 && at->position == session->wait_at && !atomic_load(w->cancel)) {
        (void)sched_yield();
    }
    return session->abort_at == 0 || at->position != session->abort_at;
}

/* So that every answer has the length that was asked for. */
static bool never_ends(const void *model, int32_t token)
{
    (void)model;
    (void)token;
    return false;
}

/* ---- a session --------------------------------------------------------------------------------------------------- */

static bool should_stop(void *user)
{
    return atomic_load(((worker *)user)->cancel);
}

/* Views are opened on the session's own thread, in whatever order the threads come. */
static costeer_err open_views(worker *w, costeer_error *err)
{
    const int32_t order = (int32_t)(w->session - w->run->sessions);
    cs_decoder *view = NULL;
    costeer_err code =
        cs_engine_open(w->llm_engine, &(cs_decoder_params){.component = "llm", .n_sequences = 1, .order = order}, &view, err);
    code = code == COSTEER_OK ? cs_cloud_create_pooled(view, llm_model, &w->llm, err) : code;
    const costeer_slm_params params = {.n_contexts = 1, .n_ctx = w->run->n_ctx, .n_threads = 1};
    const cs_decoder_params slm = {.component = "slm",
                                   .n_sequences = 2,
                                   .n_rows = cs_slm_n_rows(&params),
                                   .stop = should_stop,
                                   .stop_user = w,
                                   .order = order};
    code = code == COSTEER_OK ? cs_engine_open(w->slm_engine, &slm, &view, err) : code;
    if (code == COSTEER_OK) {
        code = cs_slm_create_on(view, slm_model, &params, &w->slm, err);
        if (code != COSTEER_OK) {
            cs_decoder_free(view);
        }
    }
    return code;
}

static costeer_err answer(worker *w, costeer_error *err)
{
    pool_session *session = w->session;
    costeer_tokens amateur = build_prompt(slm_model, NULL, session->query);
    costeer_tokens expert = build_prompt(slm_model, session->context, session->query);
    costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    params.max_tokens = session->max_tokens;
    params.on_position = on_position;
    params.user = w;
    params.cancel = w->cancel;
    costeer_vocab vocab = costeer_model_vocab(llm_model);
    vocab.is_end = never_ends;
    costeer_session *of = NULL;
    costeer_err code = costeer_slm_set_prompts(w->slm, &amateur, &expert, session->max_tokens, err);
    code = code == COSTEER_OK ? costeer_session_create(&w->cloud, &w->source, &vocab, &params, &of, err) : code;
    code = code == COSTEER_OK ? costeer_session_run(of, amateur.ids, amateur.n, NULL, err) : code;
    costeer_session_free(of);
    costeer_tokens_dispose(&amateur);
    costeer_tokens_dispose(&expert);
    return code;
}

static void *work(void *user)
{
    worker *w = user;
    pool_session *session = w->session;
    const int32_t n_answers = session->n_answers > 0 ? session->n_answers : 1;
    nap(w);
    session->result = open_views(w, &session->error);
    for (int32_t i = 0; i < n_answers && session->result == COSTEER_OK; i++) {
        session->result = answer(w, &session->error);
    }
    costeer_slm_free(w->slm);
    costeer_cloud_free(w->llm);
    cs_pool_leave(w->pool);
    return NULL;
}

static cs_engine *create_engine(cs_pool *pool, const costeer_model *model, const char *component, int32_t n, int32_t n_ctx)
{
    cs_engine *engine = NULL;
    costeer_error err = {0};
    const cs_engine_params params = {.component = component, .n_sequences = n, .n_ctx = n_ctx, .n_threads = 1};
    assert_ok(cs_engine_create(pool, model, &params, &engine, &err), &err);
    return engine;
}

void run_pool(pool_run *run)
{
    static worker workers[POOL_SESSIONS_MAX];
    static atomic_bool cancel;
    cs_pool *pool = NULL;
    costeer_error err = {0};
    assert_ok(cs_pool_create(run->is_eager, &pool, &err), &err);
    cs_engine *llm = create_engine(pool, llm_model, "llm", run->n_sessions, run->n_ctx);
    cs_engine *slm = create_engine(pool, slm_model, "slm", 2 * run->n_sessions, run->n_ctx);
    const int64_t start = cs_clock_us();
    atomic_store(&cancel, false);
    cs_pool_add_sessions(pool, run->n_sessions);
    for (int32_t i = 0; i < run->n_sessions; i++) {
        workers[i] = (worker){.cloud = {.ops = &cloud_ops},
                              .source = {.ops = &source_ops, .n_deltas = 1},
                              .run = run,
                              .session = &run->sessions[i],
                              .pool = pool,
                              .llm_engine = llm,
                              .slm_engine = slm,
                              .cancel = &cancel,
                              .random = run->naps + (uint64_t)i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int32_t i = 0; i < run->n_sessions; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    }
    run->total_us = cs_clock_us() - start;
    cs_engine_free(llm);
    cs_engine_free(slm);
    cs_pool_free(pool);
}
