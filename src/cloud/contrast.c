/*
 * The LLM with the context steers itself: base and expert are the same row, so that two sequences are enough where three would be
 * computed otherwise.
 *
 * The session sees a cloud and a delta source as always; both stand on one inner source, which the cloud alone drives: position 0
 * begins it, a committed token is kept and stepped over when the next position is asked for. Linear Alignment's restriction is a
 * sparse base: the support renormalised, and nothing unsent (tail −inf), so that every choice over it certifies.
 */
#include "cloud/contrast.h"

#include "cloud/top_k.h"
#include "util/clock.h"
#include "util/error.h"

#include <math.h>
#include <stdlib.h>

/* Tokens looked at first for the support, and how many times more when they do not reach top_p. Most supports are small. */
#define SUPPORT_FIRST  64
#define SUPPORT_FACTOR 8

typedef enum phase {
    PHASE_CLOSED,
    PHASE_BEGIN, /* opened: position 0 has not been asked for */
    PHASE_STEP,  /* a token is committed, and what follows has not been asked for */
    PHASE_READY, /* next() has delivered the position */
    PHASE_FAILED,
} phase;

typedef struct contrast {
    costeer_cloud cloud;          /* first: the cloud is the object */
    costeer_delta_source passive; /* what the session reads */
    costeer_delta_source *source; /* where the rows come from */
    cs_contrast_hooks hooks;
    int32_t n_vocab;
    double top_p;
    phase phase;
    int32_t position;
    int32_t max_tokens;
    int32_t token;
    int32_t *ids;  /* [n_vocab] the support */
    float *values; /* [n_vocab] */
    costeer_distribution distribution;
} contrast;

/* ---- the base ---------------------------------------------------------------------------------------------------- */

/* How many of the n most probable tokens reach p; 0: all of them do not. */
static int32_t reach(const float *logprobs, int32_t n, double p)
{
    double sum = 0.0;
    for (int32_t i = 0; i < n; i++) {
        sum += exp((double)logprobs[i]);
        if (sum >= p) {
            return i + 1;
        }
    }
    return 0;
}

/* The support of a row, renormalised. */
static costeer_err restrict_base(contrast *self, const float *logits, costeer_base *out, costeer_error *err)
{
    int32_t n = 0;
    for (int32_t k = SUPPORT_FIRST; n == 0; k *= SUPPORT_FACTOR) {
        const int32_t asked = k < self->n_vocab ? k : self->n_vocab;
        const int32_t found = cs_top_k_logprobs(logits, self->n_vocab, asked, self->ids, self->values);
        if (found == 0) {
            return cs_error_set(err, COSTEER_ENUMERIC, "llm",
                                "the LLM's logits at position %d are not a distribution (NaN or infinite)", self->position);
        }
        n = reach(self->values, found, self->top_p);
        if (n == 0 && (asked == self->n_vocab || found < asked)) {
            n = found; /* rounding: all there is */
        }
    }
    const double normaliser = costeer_logsumexp(self->values, n);
    for (int32_t i = 0; i < n; i++) {
        const double logprob = (double)self->values[i] - normaliser;
        self->values[i] = (float)(logprob < 0.0 ? logprob : 0.0);
    }
    *out = (costeer_base){.ids = self->ids, .values = self->values, .n = n, .tail = -INFINITY};
    return COSTEER_OK;
}

static costeer_err read_base(contrast *self, costeer_error *err)
{
    costeer_delta delta = {.weight = 0.0};
    self->source->ops->read(self->source, &delta, 1);
    if (delta.expert == NULL) {
        return cs_error_set(err, COSTEER_EINTERNAL, "llm", "there are no logits for position %d", self->position);
    }
    costeer_distribution *out = &self->distribution;
    out->position = self->position;
    out->base = (costeer_base){.values = delta.expert, .n = self->n_vocab};
    const costeer_err code = self->top_p < 1.0 ? restrict_base(self, delta.expert, &out->base, err) : COSTEER_OK;
    out->own_token = out->base.ids != NULL ? out->base.ids[0] : cs_argmax(out->base.values, out->base.n);
    return code;
}

/* ---- as a cloud -------------------------------------------------------------------------------------------------- */

static costeer_err out_of_order(const contrast *self, const char *call, int32_t position, costeer_error *err)
{
    static const char *const states[] = {"no answer is open", "next has not been called", "next has not been called",
                                         "it is ready", "it has failed"};
    return cs_error_set(err, COSTEER_ESTATE, "llm", "%s(%d) out of order: the cloud is at position %d and %s", call, position,
                        self->position, states[self->phase]);
}

static costeer_err contrast_open(costeer_cloud *cloud, const costeer_cloud_request *request, costeer_error *err)
{
    contrast *self = (contrast *)cloud;
    if (self->phase != PHASE_CLOSED) {
        return cs_error_set(err, COSTEER_ESTATE, "llm", "an answer is open; close it first");
    }
    if (self->hooks.set_cancel != NULL) {
        self->hooks.set_cancel(self->hooks.user, request->cancel);
    }
    self->position = 0;
    self->max_tokens = request->max_tokens;
    self->phase = PHASE_BEGIN;
    return COSTEER_OK;
}

static costeer_err contrast_next(costeer_cloud *cloud, int32_t position, costeer_distribution *out, costeer_error *err)
{
    contrast *self = (contrast *)cloud;
    if (self->phase == PHASE_CLOSED || self->phase == PHASE_FAILED || position != self->position) {
        return out_of_order(self, "next", position, err);
    }
    if (self->phase != PHASE_READY) {
        const costeer_delta_source_ops *ops = self->source->ops;
        const int64_t start = cs_clock_us();
        costeer_err code =
            self->phase == PHASE_BEGIN ? ops->begin(self->source, err) : ops->step(self->source, &self->token, 1, err);
        code = code == COSTEER_OK ? read_base(self, err) : code;
        self->phase = code == COSTEER_OK ? PHASE_READY : PHASE_FAILED;
        if (code != COSTEER_OK) {
            return code;
        }
        self->distribution.compute_us = cs_clock_us() - start;
    }
    *out = self->distribution;
    return COSTEER_OK;
}

/* Nothing lies deeper: the base is dense, or it is its whole support. */
static costeer_err contrast_deepen(costeer_cloud *cloud, int32_t position, int32_t top_k, costeer_distribution *out,
                                   costeer_error *err)
{
    (void)top_k;
    const contrast *self = (const contrast *)cloud;
    if (self->phase != PHASE_READY || position != self->position) {
        return out_of_order(self, "deepen", position, err);
    }
    *out = self->distribution;
    return COSTEER_OK;
}

static costeer_err contrast_commit(costeer_cloud *cloud, int32_t position, int32_t token, const int32_t *drafts, int32_t n_drafts,
                                   costeer_error *err)
{
    (void)drafts; /* it never wants any */
    (void)n_drafts;
    contrast *self = (contrast *)cloud;
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
    self->phase = PHASE_STEP;
    return COSTEER_OK;
}

static void contrast_close(costeer_cloud *cloud)
{
    contrast *self = (contrast *)cloud;
    if (self->phase == PHASE_CLOSED) {
        return;
    }
    if (self->hooks.end != NULL) {
        self->hooks.end(self->hooks.user);
    }
    if (self->hooks.set_cancel != NULL) {
        self->hooks.set_cancel(self->hooks.user, NULL);
    }
    self->phase = PHASE_CLOSED;
}

static void contrast_free(costeer_cloud *cloud)
{
    contrast *self = (contrast *)cloud;
    contrast_close(cloud);
    free(self->ids);
    free(self->values);
    free(self);
}

static void contrast_read_stats(const costeer_cloud *cloud, costeer_cloud_stats *out)
{
    const contrast *self = (const contrast *)cloud;
    if (self->hooks.read_stats != NULL) {
        self->hooks.read_stats(self->hooks.user, out);
    }
}

static const costeer_cloud_ops contrast_ops = {
    .open = contrast_open,
    .next = contrast_next,
    .deepen = contrast_deepen,
    .commit = contrast_commit,
    .close = contrast_close,
    .free = contrast_free,
    .read_stats = contrast_read_stats,
};

/* ---- as a delta source ------------------------------------------------------------------------------------------- */

static costeer_err passive_begin(costeer_delta_source *self, costeer_error *err)
{
    (void)self;
    (void)err;
    return COSTEER_OK;
}

static costeer_err passive_step(costeer_delta_source *self, const int32_t *tokens, size_t n, costeer_error *err)
{
    (void)self;
    (void)tokens;
    (void)n;
    (void)err;
    return COSTEER_OK;
}

static void passive_read(costeer_delta_source *passive, costeer_delta *deltas, size_t n_deltas)
{
    const contrast *self = (const contrast *)((const char *)passive - offsetof(contrast, passive));
    self->source->ops->read(self->source, deltas, n_deltas);
}

/* Without the cloud there is nothing to go on with: what would be said without a context is the cloud's as well. */
static const float *passive_alone(costeer_delta_source *passive)
{
    (void)passive;
    return NULL;
}

static const costeer_delta_source_ops passive_ops = {
    .begin = passive_begin, .step = passive_step, .read = passive_read, .alone = passive_alone};

costeer_delta_source *cs_contrast_deltas(costeer_cloud *cloud)
{
    return &((contrast *)cloud)->passive;
}

/* ---- creation ---------------------------------------------------------------------------------------------------- */

costeer_err cs_contrast_create(costeer_delta_source *source, int32_t n_vocab, const cs_contrast_hooks *hooks, costeer_cloud **out,
                               costeer_error *err)
{
    *out = NULL;
    contrast *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "llm", "no memory for its state");
    }
    self->cloud.ops = &contrast_ops;
    self->passive = (costeer_delta_source){.ops = &passive_ops, .n_deltas = 1};
    self->source = source;
    self->hooks = hooks != NULL ? *hooks : (cs_contrast_hooks){.user = NULL};
    self->n_vocab = n_vocab;
    self->top_p = 1.0;
    self->ids = malloc((size_t)n_vocab * sizeof *self->ids);
    self->values = malloc((size_t)n_vocab * sizeof *self->values);
    if (self->ids == NULL || self->values == NULL) {
        contrast_free((costeer_cloud *)self);
        return cs_error_set(err, COSTEER_ENOMEM, "llm", "no memory for the support of %d tokens", n_vocab);
    }
    *out = (costeer_cloud *)self; /* the first member; the analyser loses sight of &self->cloud */
    return COSTEER_OK;
}

void cs_contrast_set_top_p(costeer_cloud *cloud, double top_p)
{
    ((contrast *)cloud)->top_p = top_p;
}
