/*
 * A delta source of two clouds, for methods whose expert and amateur do not fit one batch: two models (proxy-tuning), or one
 * model behind two connections.
 *
 * Both are told a token before either is waited for, so that they compute at the same time. Rows are read as they are: a cloud
 * that leaves tokens out or rounds would make a delta that nobody asked for, and is refused.
 */
#include "cloud/cloud_deltas.h"

#include "util/error.h"

#include <stdlib.h>

enum { EXPERT, AMATEUR, N_SIDES };

typedef struct cloud_deltas {
    costeer_delta_source source; /* first: the source is the object */
    costeer_cloud *clouds[N_SIDES];
    costeer_cloud_request requests[N_SIDES];
    const float *rows[N_SIDES]; /* [>= n_vocab] at the position; NULL: none */
    int32_t n_vocab;
    int32_t position;
    const atomic_bool *cancel;
} cloud_deltas;

static costeer_err read_row(cloud_deltas *self, int side, costeer_error *err)
{
    costeer_distribution at;
    const costeer_err code = costeer_cloud_next(self->clouds[side], self->position, &at, err);
    if (code != COSTEER_OK) {
        return code;
    }
    if (at.base.ids != NULL || at.base.error != 0.0F || at.base.n < self->n_vocab) {
        return cs_error_set(
            err, COSTEER_ECLOUD, "deltas",
            "the cloud sent only some of the tokens, or rounded values, at position %d; a delta needs all of them",
            self->position);
    }
    self->rows[side] = at.base.values;
    return COSTEER_OK;
}

/* Wait for both rows. After a failure there are none. */
static costeer_err read_rows(cloud_deltas *self, costeer_error *err)
{
    costeer_err code = COSTEER_OK;
    for (int side = 0; side < N_SIDES && code == COSTEER_OK; side++) {
        code = read_row(self, side, err);
    }
    if (code != COSTEER_OK) {
        self->rows[EXPERT] = self->rows[AMATEUR] = NULL;
    }
    return code;
}

/* ---- as a delta source ------------------------------------------------------------------------------------------- */

static costeer_err begin(costeer_delta_source *source, costeer_error *err)
{
    cloud_deltas *self = (cloud_deltas *)source;
    cs_cloud_deltas_end(source);
    self->position = 0;
    for (int side = 0; side < N_SIDES; side++) {
        costeer_cloud_request request = self->requests[side];
        request.top_k = 0;
        request.cancel = self->cancel;
        const costeer_err code = costeer_cloud_open(self->clouds[side], &request, err);
        if (code != COSTEER_OK) {
            return code;
        }
    }
    return read_rows(self, err);
}

static costeer_err step(costeer_delta_source *source, const int32_t *tokens, size_t n, costeer_error *err)
{
    cloud_deltas *self = (cloud_deltas *)source;
    if (self->rows[EXPERT] == NULL) {
        return cs_error_set(err, COSTEER_ESTATE, "deltas", "a step before the answer has begun, or after one that failed");
    }
    costeer_err code = COSTEER_OK;
    for (size_t i = 0; i < n && code == COSTEER_OK; i++) {
        self->rows[EXPERT] = self->rows[AMATEUR] = NULL;
        for (int side = 0; side < N_SIDES && code == COSTEER_OK; side++) {
            code = costeer_cloud_commit(self->clouds[side], self->position, tokens[i], err);
        }
        self->position++;
        code = code == COSTEER_OK ? read_rows(self, err) : code;
    }
    return code;
}

static void read_deltas(costeer_delta_source *source, costeer_delta *deltas, size_t n_deltas)
{
    const cloud_deltas *self = (const cloud_deltas *)source;
    for (size_t i = 0; i < n_deltas; i++) {
        deltas[i].expert = self->rows[EXPERT];
        deltas[i].amateur = self->rows[AMATEUR];
    }
}

static const costeer_delta_source_ops cloud_deltas_ops = {.begin = begin, .step = step, .read = read_deltas};

/* ---- the answer -------------------------------------------------------------------------------------------------- */

void cs_cloud_deltas_set_requests(costeer_delta_source *source, const costeer_cloud_request *expert,
                                  const costeer_cloud_request *amateur)
{
    cloud_deltas *self = (cloud_deltas *)source;
    self->requests[EXPERT] = *expert;
    self->requests[AMATEUR] = *amateur;
}

void cs_cloud_deltas_set_cancel(costeer_delta_source *source, const atomic_bool *cancel)
{
    ((cloud_deltas *)source)->cancel = cancel;
}

void cs_cloud_deltas_end(costeer_delta_source *source)
{
    cloud_deltas *self = (cloud_deltas *)source;
    for (int side = 0; side < N_SIDES; side++) {
        costeer_cloud_close(self->clouds[side]);
        self->rows[side] = NULL;
    }
}

void cs_cloud_deltas_read_stats(const costeer_delta_source *source, costeer_cloud_stats *out)
{
    const cloud_deltas *self = (const cloud_deltas *)source;
    costeer_cloud_stats other;
    costeer_cloud_read_stats(self->clouds[EXPERT], out);
    costeer_cloud_read_stats(self->clouds[AMATEUR], &other);
    out->bytes_up += other.bytes_up;
    out->bytes_down += other.bytes_down;
    out->n_messages_up += other.n_messages_up;
    out->n_corrections += other.n_corrections;
    out->n_deepenings += other.n_deepenings;
    out->n_tokens_sent += other.n_tokens_sent;
    out->n_reconnects += other.n_reconnects;
    out->n_steps += other.n_steps;
    out->n_wasted_steps += other.n_wasted_steps;
    if (out->round_trip_us == 0 || (other.round_trip_us > 0 && other.round_trip_us < out->round_trip_us)) {
        out->round_trip_us = other.round_trip_us;
    }
}

/* ---- creation ---------------------------------------------------------------------------------------------------- */

costeer_err cs_cloud_deltas_create(costeer_cloud *expert, costeer_cloud *amateur, int32_t n_vocab, costeer_delta_source **out,
                                   costeer_error *err)
{
    *out = NULL;
    cloud_deltas *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "deltas", "no memory for their state");
    }
    self->source = (costeer_delta_source){.ops = &cloud_deltas_ops, .n_deltas = 1};
    self->clouds[EXPERT] = expert;
    self->clouds[AMATEUR] = amateur;
    self->n_vocab = n_vocab;
    *out = (costeer_delta_source *)self; /* the first member; the analyser loses sight of &self->source */
    return COSTEER_OK;
}

void cs_cloud_deltas_free(costeer_delta_source *source)
{
    if (source != NULL) {
        cs_cloud_deltas_end(source);
        free(source);
    }
}
