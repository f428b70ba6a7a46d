/*
 * A cloud that is a model in this process, computing in an engine that several sessions share.
 *
 * As local.c, but for the thread: the engine has one. What open and commit submit runs with the next firing of the pool, when
 * this session waits for it, or for its SLM.
 */
#include "cloud/pooled.h"

#include "cloud/local_base.h"
#include "util/clock.h"
#include "util/error.h"

#include <stdlib.h>

typedef struct pooled_cloud {
    cs_local_base base; /* first: the cloud is the object */
    int64_t start_us;   /* when the position was submitted */
} pooled_cloud;

static bool should_stop(void *user)
{
    return cs_local_base_is_cancelled(user);
}

static costeer_err pooled_open(costeer_cloud *cloud, const costeer_cloud_request *request, costeer_error *err)
{
    pooled_cloud *self = (pooled_cloud *)cloud;
    costeer_err code = cs_local_base_open(&self->base, request, err);
    if (code == COSTEER_OK) {
        self->start_us = cs_clock_us();
        code = cs_decoder_start_prefill(self->base.decoder, err);
    }
    return code;
}

static costeer_err pooled_next(costeer_cloud *cloud, int32_t position, costeer_distribution *out, costeer_error *err)
{
    pooled_cloud *self = (pooled_cloud *)cloud;
    costeer_err code = cs_local_base_check_next(&self->base, position, err);
    if (code != COSTEER_OK) {
        return code;
    }
    if (self->base.phase == CS_LOCAL_RUNNING) {
        code = cs_decoder_finish(self->base.decoder, NULL, err);
        code = code == COSTEER_OK ? cs_local_base_read(&self->base, self->start_us, err) : code;
    }
    return cs_local_base_deliver(&self->base, code, out);
}

static costeer_err pooled_commit(costeer_cloud *cloud, int32_t position, int32_t token, const int32_t *drafts, int32_t n_drafts,
                                 costeer_error *err)
{
    (void)drafts; /* nothing is gained by them here: next() costs no round trip */
    (void)n_drafts;
    pooled_cloud *self = (pooled_cloud *)cloud;
    costeer_err code = cs_local_base_commit(&self->base, position, token, err);
    if (code == COSTEER_OK) {
        self->start_us = cs_clock_us();
        code = cs_decoder_start_step(self->base.decoder, token, err);
    }
    return code;
}

/* The place in the engine is given back too: neighbours are computed together, and a gap would part them. */
static void pooled_close(costeer_cloud *cloud)
{
    pooled_cloud *self = (pooled_cloud *)cloud;
    cs_decoder_abandon(self->base.decoder);
    (void)cs_decoder_truncate(self->base.decoder, 0, 0);
    cs_local_base_close(&self->base);
}

static void pooled_free(costeer_cloud *cloud)
{
    pooled_cloud *self = (pooled_cloud *)cloud;
    cs_local_base_dispose(&self->base);
    free(self);
}

static const costeer_cloud_ops pooled_ops = {
    .open = pooled_open,
    .next = pooled_next,
    .deepen = cs_local_base_deepen,
    .commit = pooled_commit,
    .close = pooled_close,
    .free = pooled_free,
};

costeer_err cs_cloud_create_pooled(cs_decoder *view, const costeer_model *model, costeer_cloud **out, costeer_error *err)
{
    *out = NULL;
    pooled_cloud *self = calloc(1, sizeof *self);
    if (self == NULL) {
        cs_decoder_free(view);
        return cs_error_set(err, COSTEER_ENOMEM, "llm", "no memory for its state");
    }
    self->base.decoder = view;
    const costeer_err code = cs_local_base_init(&self->base, model, &pooled_ops, err);
    if (code != COSTEER_OK) {
        pooled_free(&self->base.cloud);
        return code;
    }
    cs_decoder_set_stop(view, should_stop, &self->base);
    *out = &self->base.cloud;
    return COSTEER_OK;
}
