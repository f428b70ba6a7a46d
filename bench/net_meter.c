/* See net_meter.h. An answer's sums begin with its open and are read after its end. */
#include "net_meter.h"

#include "util/clock.h"

static costeer_err meter_open(costeer_cloud *cloud, const costeer_cloud_request *request, costeer_error *err)
{
    cs_net_meter *self = (cs_net_meter *)cloud;
    self->sums = (cs_net_meter_sums){0};
    self->committed_us = 0;
    return costeer_cloud_open(self->inner, request, err);
}

static costeer_err meter_next(costeer_cloud *cloud, int32_t position, costeer_distribution *out, costeer_error *err)
{
    cs_net_meter *self = (cs_net_meter *)cloud;
    if (self->committed_us != 0) {
        self->sums.follow_us += cs_clock_us() - self->committed_us;
    }
    const costeer_err code = costeer_cloud_next(self->inner, position, out, err);
    self->ready_us = cs_clock_us();
    if (code == COSTEER_OK) {
        self->deepen_us = 0;
        self->sums.n_positions += position > 0;
        self->sums.compute_us += position > 0 ? out->compute_us : 0;
    }
    return code;
}

static costeer_err meter_deepen(costeer_cloud *cloud, int32_t position, int32_t top_k, costeer_distribution *out,
                                costeer_error *err)
{
    cs_net_meter *self = (cs_net_meter *)cloud;
    const int64_t start = cs_clock_us();
    const costeer_err code = costeer_cloud_deepen(self->inner, position, top_k, out, err);
    self->deepen_us += cs_clock_us() - start;
    return code;
}

static costeer_err meter_commit(costeer_cloud *cloud, int32_t position, int32_t token, const int32_t *drafts, int32_t n_drafts,
                                costeer_error *err)
{
    cs_net_meter *self = (cs_net_meter *)cloud;
    const int64_t think_us = cs_clock_us() - self->ready_us - self->deepen_us;
    if (position > 0) {
        self->sums.n_decided++;
        self->sums.think_us += think_us;
        self->sums.n_drafting += n_drafts > 0;
        self->sums.think_drafting_us += n_drafts > 0 ? think_us : 0;
    }
    const costeer_err code = costeer_cloud_commit_drafts(self->inner, position, token, drafts, n_drafts, err);
    self->committed_us = cs_clock_us();
    return code;
}

static void meter_close(costeer_cloud *cloud)
{
    costeer_cloud_close(((cs_net_meter *)cloud)->inner);
}

/* The inner cloud is the caller's, and the meter too. */
static void meter_free(costeer_cloud *cloud)
{
    (void)cloud;
}

static int32_t meter_wants_drafts(const costeer_cloud *cloud, int32_t position, int32_t token)
{
    return costeer_cloud_wants_drafts(((const cs_net_meter *)cloud)->inner, position, token);
}

static void meter_read_stats(const costeer_cloud *cloud, costeer_cloud_stats *out)
{
    costeer_cloud_read_stats(((const cs_net_meter *)cloud)->inner, out);
}

static const costeer_cloud_ops meter_ops = {
    .open = meter_open,
    .next = meter_next,
    .deepen = meter_deepen,
    .commit = meter_commit,
    .close = meter_close,
    .free = meter_free,
    .wants_drafts = meter_wants_drafts,
    .read_stats = meter_read_stats,
};

void cs_net_meter_init(cs_net_meter *meter, costeer_cloud *inner)
{
    *meter = (cs_net_meter){.cloud = {.ops = &meter_ops}, .inner = inner};
}
