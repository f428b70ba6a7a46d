/*
 * A cloud that is a model in this process: a thread of its own owns the llama.cpp context, so that LLM and SLM compute together.
 *
 * The device's thread posts one job at a time (read the prompt, append a token) and returns at once; next() waits for its end.
 * While no job runs, everything belongs to the device's thread, so the base can be handed over as a pointer into llama.cpp's own
 * logits. Stopping is a flag that the running computation asks for; it never blocks on the mutex, so closing cannot hang.
 */
#include "cloud/local_base.h"
#include "util/clock.h"
#include "util/error.h"

#include <pthread.h>
#include <stdlib.h>

/* What the thread shall do. */
typedef enum job {
    JOB_NONE,
    JOB_PREFILL,
    JOB_STEP,
    JOB_QUIT,
} job;

typedef struct local_cloud {
    cs_local_base base; /* first: the cloud is the object */
    pthread_t thread;
    pthread_mutex_t mutex; /* guards job; result and distribution belong to the thread while a job runs */
    pthread_cond_t posted;
    pthread_cond_t finished;
    job job;
    atomic_bool stop; /* close() wants the running job abandoned */
    int32_t token;    /* to append */
    costeer_err result;
    costeer_error error;
} local_cloud;

/* ---- the thread -------------------------------------------------------------------------------------------------- */

static bool should_stop(void *user)
{
    const local_cloud *self = user;
    return atomic_load_explicit(&self->stop, memory_order_relaxed) || cs_local_base_is_cancelled(&self->base);
}

static costeer_err run_job(local_cloud *self, job what)
{
    costeer_error *err = &self->error;
    cs_decoder *decoder = self->base.decoder;
    const int64_t start = cs_clock_us();
    const costeer_err code =
        what == JOB_PREFILL ? cs_decoder_prefill(decoder, NULL, err) : cs_decoder_step(decoder, self->token, err);
    return code == COSTEER_OK ? cs_local_base_read(&self->base, start, err) : code;
}

static void *work(void *user)
{
    local_cloud *self = user;
    (void)pthread_mutex_lock(&self->mutex);
    while (self->job != JOB_QUIT) {
        if (self->job == JOB_NONE) {
            (void)pthread_cond_wait(&self->posted, &self->mutex);
            continue;
        }
        const job what = self->job;
        (void)pthread_mutex_unlock(&self->mutex);
        const costeer_err result = run_job(self, what);
        (void)pthread_mutex_lock(&self->mutex);
        self->result = result;
        self->job = JOB_NONE;
        (void)pthread_cond_signal(&self->finished);
    }
    (void)pthread_mutex_unlock(&self->mutex);
    return NULL;
}

/* ---- the device's side ------------------------------------------------------------------------------------------- */

static void post(local_cloud *self, job what)
{
    (void)pthread_mutex_lock(&self->mutex);
    self->job = what;
    (void)pthread_cond_signal(&self->posted);
    (void)pthread_mutex_unlock(&self->mutex);
}

static void wait_until_idle(local_cloud *self)
{
    (void)pthread_mutex_lock(&self->mutex);
    while (self->job != JOB_NONE) {
        (void)pthread_cond_wait(&self->finished, &self->mutex);
    }
    (void)pthread_mutex_unlock(&self->mutex);
}

static costeer_err local_open(costeer_cloud *cloud, const costeer_cloud_request *request, costeer_error *err)
{
    local_cloud *self = (local_cloud *)cloud;
    const costeer_err code = cs_local_base_open(&self->base, request, err);
    if (code == COSTEER_OK) {
        post(self, JOB_PREFILL);
    }
    return code;
}

static costeer_err local_next(costeer_cloud *cloud, int32_t position, costeer_distribution *out, costeer_error *err)
{
    local_cloud *self = (local_cloud *)cloud;
    const costeer_err code = cs_local_base_check_next(&self->base, position, err);
    if (code != COSTEER_OK) {
        return code;
    }
    wait_until_idle(self);
    if (self->result != COSTEER_OK && err != NULL) {
        *err = self->error;
    }
    return cs_local_base_deliver(&self->base, self->result, out);
}

static costeer_err local_commit(costeer_cloud *cloud, int32_t position, int32_t token, const int32_t *drafts, int32_t n_drafts,
                                costeer_error *err)
{
    (void)drafts; /* nothing is gained by them here: next() costs no round trip */
    (void)n_drafts;
    local_cloud *self = (local_cloud *)cloud;
    const costeer_err code = cs_local_base_commit(&self->base, position, token, err);
    if (code == COSTEER_OK) {
        self->token = token;
        post(self, JOB_STEP);
    }
    return code;
}

static void local_close(costeer_cloud *cloud)
{
    local_cloud *self = (local_cloud *)cloud;
    atomic_store(&self->stop, true);
    wait_until_idle(self);
    atomic_store(&self->stop, false);
    cs_local_base_close(&self->base);
}

static void dispose(local_cloud *self)
{
    cs_local_base_dispose(&self->base);
    (void)pthread_mutex_destroy(&self->mutex);
    (void)pthread_cond_destroy(&self->posted);
    (void)pthread_cond_destroy(&self->finished);
    free(self);
}

static void local_free(costeer_cloud *cloud)
{
    local_cloud *self = (local_cloud *)cloud;
    local_close(cloud);
    post(self, JOB_QUIT);
    (void)pthread_join(self->thread, NULL);
    dispose(self);
}

static const costeer_cloud_ops local_ops = {
    .open = local_open,
    .next = local_next,
    .deepen = cs_local_base_deepen,
    .commit = local_commit,
    .close = local_close,
    .free = local_free,
};

/* ---- creation ---------------------------------------------------------------------------------------------------- */

static bool init_synchronisation(local_cloud *self)
{
    if (pthread_mutex_init(&self->mutex, NULL) != 0) {
        return false;
    }
    if (pthread_cond_init(&self->posted, NULL) != 0) {
        (void)pthread_mutex_destroy(&self->mutex);
        return false;
    }
    if (pthread_cond_init(&self->finished, NULL) != 0) {
        (void)pthread_cond_destroy(&self->posted);
        (void)pthread_mutex_destroy(&self->mutex);
        return false;
    }
    return true;
}

static costeer_err create(local_cloud *self, const costeer_model *model, const costeer_local_params *params, costeer_error *err)
{
    const cs_decoder_params decoder = {.component = "llm",
                                       .n_sequences = 1,
                                       .n_ctx = params->n_ctx,
                                       .n_threads = params->n_threads,
                                       .n_threads_prompt = params->n_threads_prompt,
                                       .stop = should_stop,
                                       .stop_user = self};
    costeer_err code = cs_local_base_init(&self->base, model, &local_ops, err);
    code = code == COSTEER_OK ? cs_decoder_create(model, &decoder, &self->base.decoder, err) : code;
    if (code != COSTEER_OK) {
        return code;
    }
    cs_decoder_set_progress(self->base.decoder, params->on_prompt, params->on_prompt_user);
    if (pthread_create(&self->thread, NULL, work, self) != 0) {
        return cs_error_set(err, COSTEER_ENOMEM, "llm", "the LLM's thread could not be started");
    }
    return COSTEER_OK;
}

costeer_err costeer_cloud_create_local(const costeer_model *model, const costeer_local_params *params, costeer_cloud **out,
                                       costeer_error *err)
{
    if (model == NULL || params == NULL || out == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "llm", "model, params and out must not be NULL");
    }
    *out = NULL;
    local_cloud *self = calloc(1, sizeof *self);
    if (self == NULL || !init_synchronisation(self)) {
        free(self);
        return cs_error_set(err, COSTEER_ENOMEM, "llm", "no memory for its state");
    }
    atomic_init(&self->stop, false);
    const costeer_err code = create(self, model, params, err);
    if (code != COSTEER_OK) {
        dispose(self);
        return code;
    }
    *out = &self->base.cloud;
    return COSTEER_OK;
}
