/*
 * A cloud that is a model in this process: a thread of its own owns the llama.cpp context, so that LLM and SLM compute together.
 *
 * The device's thread posts one job at a time (read the prompt, append a token) and returns at once; next() waits for its end.
 * While no job runs, everything belongs to the device's thread, so the base can be handed over as a pointer into llama.cpp's own
 * logits. Stopping is a flag that the running computation asks for; it never blocks on the mutex, so closing cannot hang.
 */
#include "cloud/top_k.h"
#include "core/decoder.h"
#include "util/clock.h"
#include "util/error.h"

#include <costeer/cloud.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* What the thread shall do. */
typedef enum job {
    JOB_NONE,
    JOB_PREFILL,
    JOB_STEP,
    JOB_QUIT,
} job;

/* Where the answer stands, seen from the device. */
typedef enum phase {
    PHASE_CLOSED,  /* no answer is open */
    PHASE_RUNNING, /* a position is being computed, or is done and has not been asked for */
    PHASE_READY,   /* next() has delivered the position: deepen and commit are allowed */
    PHASE_FAILED,  /* an error was delivered: only close is left */
} phase;

typedef struct local_cloud {
    costeer_cloud cloud; /* first: the cloud is the object */
    cs_decoder *decoder;
    int32_t n_vocab;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards job; result and distribution belong to the thread while a job runs */
    pthread_cond_t posted;
    pthread_cond_t finished;
    job job;
    atomic_bool stop;          /* close() wants the running job abandoned */
    const atomic_bool *cancel; /* the caller's, from the request */
    phase phase;
    int32_t position;
    int32_t max_tokens;
    int32_t top_k;
    int32_t token; /* to append */
    int32_t *ids;  /* [n_vocab] sparse base */
    float *values; /* [n_vocab] */
    costeer_err result;
    costeer_error error;
    costeer_distribution distribution;
} local_cloud;

/* ---- the thread -------------------------------------------------------------------------------------------------- */

static bool should_stop(void *user)
{
    const local_cloud *self = user;
    return atomic_load_explicit(&self->stop, memory_order_relaxed) ||
           (self->cancel != NULL && atomic_load_explicit(self->cancel, memory_order_relaxed));
}

/* The base at this position: all logits as they are, or the best top_k as log-probabilities. */
static costeer_err read_base(local_cloud *self, int32_t top_k, costeer_base *out, costeer_error *err)
{
    const float *logits = cs_decoder_logits(self->decoder, 0);
    if (logits == NULL) {
        return cs_error_set(err, COSTEER_EINTERNAL, "llm", "llama.cpp has no logits for position %d", self->position);
    }
    if (top_k == 0 || top_k >= self->n_vocab) {
        *out = (costeer_base){.ids = NULL, .values = logits, .n = self->n_vocab};
        return COSTEER_OK;
    }
    const int32_t n = cs_top_k_logprobs(logits, self->n_vocab, top_k, self->ids, self->values);
    if (n == 0) {
        return cs_error_set(err, COSTEER_ENUMERIC, "llm",
                            "the LLM's logits at position %d are not a distribution (NaN or infinite)", self->position);
    }
    *out = (costeer_base){.ids = self->ids, .values = self->values, .n = n};
    return COSTEER_OK;
}

static costeer_err run_job(local_cloud *self, job what)
{
    costeer_error *err = &self->error;
    const int64_t start = cs_clock_us();
    costeer_err code =
        what == JOB_PREFILL ? cs_decoder_prefill(self->decoder, NULL, err) : cs_decoder_step(self->decoder, self->token, err);
    if (code != COSTEER_OK) {
        return code;
    }
    costeer_distribution *out = &self->distribution;
    out->position = self->position;
    code = read_base(self, self->top_k, &out->base, err);
    if (code == COSTEER_OK) {
        out->own_token = out->base.ids != NULL ? out->base.ids[0] : cs_argmax(out->base.values, out->base.n);
    }
    out->compute_us = cs_clock_us() - start;
    return code;
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

static costeer_err out_of_order(const local_cloud *self, const char *call, int32_t position, costeer_error *err)
{
    static const char *const states[] = {"no answer is open", "next has not been called", "it is ready", "it has failed"};
    return cs_error_set(err, COSTEER_ESTATE, "llm", "%s(%d) out of order: the cloud is at position %d and %s", call, position,
                        self->position, states[self->phase]);
}

static costeer_err local_open(costeer_cloud *cloud, const costeer_cloud_request *request, costeer_error *err)
{
    local_cloud *self = (local_cloud *)cloud;
    if (self->phase != PHASE_CLOSED) {
        return cs_error_set(err, COSTEER_ESTATE, "llm", "an answer is open; close it first");
    }
    if (request->n_prompt == 0) {
        return cs_error_set(err, COSTEER_EINVAL, "llm", "a cloud in this process needs the prompt's tokens");
    }
    const costeer_err code =
        cs_decoder_set_prompt(self->decoder, 0, request->prompt, request->n_prompt, request->max_tokens, "the LLM's prompt", err);
    if (code != COSTEER_OK) {
        return code;
    }
    self->position = 0;
    self->max_tokens = request->max_tokens;
    self->top_k = request->top_k;
    self->cancel = request->cancel;
    self->phase = PHASE_RUNNING;
    post(self, JOB_PREFILL);
    return COSTEER_OK;
}

static costeer_err local_next(costeer_cloud *cloud, int32_t position, costeer_distribution *out, costeer_error *err)
{
    local_cloud *self = (local_cloud *)cloud;
    if ((self->phase != PHASE_RUNNING && self->phase != PHASE_READY) || position != self->position) {
        return out_of_order(self, "next", position, err);
    }
    wait_until_idle(self);
    if (self->result != COSTEER_OK) {
        self->phase = PHASE_FAILED;
        if (err != NULL) {
            *err = self->error;
        }
        return self->result;
    }
    self->phase = PHASE_READY;
    *out = self->distribution;
    return COSTEER_OK;
}

static costeer_err local_deepen(costeer_cloud *cloud, int32_t position, int32_t top_k, costeer_distribution *out,
                                costeer_error *err)
{
    local_cloud *self = (local_cloud *)cloud;
    if (self->phase != PHASE_READY || position != self->position) {
        return out_of_order(self, "deepen", position, err);
    }
    const costeer_err code = read_base(self, top_k, &self->distribution.base, err);
    if (code != COSTEER_OK) {
        self->phase = PHASE_FAILED;
        return code;
    }
    *out = self->distribution;
    return COSTEER_OK;
}

static costeer_err local_commit(costeer_cloud *cloud, int32_t position, int32_t token, const int32_t *drafts, int32_t n_drafts,
                                costeer_error *err)
{
    (void)drafts; /* nothing is gained by them here: next() costs no round trip */
    (void)n_drafts;
    local_cloud *self = (local_cloud *)cloud;
    if (self->phase != PHASE_READY || position != self->position) {
        return out_of_order(self, "commit", position, err);
    }
    if (token >= self->n_vocab) {
        return cs_error_set(err, COSTEER_EINVAL, "llm", "token %d is not one of the vocabulary's %d", token, self->n_vocab);
    }
    if (position + 1 >= self->max_tokens) {
        return cs_error_set(err, COSTEER_ESTATE, "llm", "commit(%d) goes beyond the %d tokens that were asked for", position,
                            self->max_tokens);
    }
    self->position = position + 1;
    self->token = token;
    self->phase = PHASE_RUNNING;
    post(self, JOB_STEP);
    return COSTEER_OK;
}

static void local_close(costeer_cloud *cloud)
{
    local_cloud *self = (local_cloud *)cloud;
    atomic_store(&self->stop, true);
    wait_until_idle(self);
    atomic_store(&self->stop, false);
    self->cancel = NULL; /* the caller's flag may not outlive the answer */
    self->phase = PHASE_CLOSED;
}

static void dispose(local_cloud *self)
{
    cs_decoder_free(self->decoder);
    free(self->ids);
    free(self->values);
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
    .deepen = local_deepen,
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
                                       .stop = should_stop,
                                       .stop_user = self};
    const costeer_err code = cs_decoder_create(model, &decoder, &self->decoder, err);
    if (code != COSTEER_OK) {
        return code;
    }
    self->ids = malloc((size_t)self->n_vocab * sizeof *self->ids);
    self->values = malloc((size_t)self->n_vocab * sizeof *self->values);
    if (self->ids == NULL || self->values == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "llm", "no memory for the base of %d tokens", self->n_vocab);
    }
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
    self->cloud.ops = &local_ops;
    self->n_vocab = costeer_model_get_info(model)->n_vocab;
    atomic_init(&self->stop, false);
    const costeer_err code = create(self, model, params, err);
    if (code != COSTEER_OK) {
        dispose(self);
        return code;
    }
    *out = &self->cloud;
    return COSTEER_OK;
}
