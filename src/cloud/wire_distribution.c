/*
 * The frame that makes the traffic: the base at a position.
 *
 * Ids first, then values, so that both are plain loops. The 16-bit form is fixed point, not binary16: log-probabilities matter by
 * their difference, so the error should be the same everywhere (2^-12 nats), where binary16 would be off by 2^-7 at −20. Steering
 * multiplies what it is told into a choice, so nothing that is not a distribution may pass: NaN, a sum over 1, a token twice.
 */
#include "cloud/wire_io.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* What a true distribution's float32 values may be over 1, generously: a relative error of 2^-24 on 10 nats is 6e-7. */
#define SUM_TOLERANCE 1e-4

/* exp(-30) times the largest vocabulary is 1e-7: not worth an exponential. */
#define NEGLIGIBLE (-30.0F)

#define HALF_SCALE 2048.0

/* ---- values ------------------------------------------------------------------------------------------------------ */

static bool check_value(cs_wire_io *io, int32_t i, float value)
{
    return value <= 0.0F || cs_wire_fail(io, "entry %" PRId32 ": %g is not a log-probability", i, (double)value);
}

/* A 16-bit value is checked as the other side reads it, and its rounding is allowed on top. */
static bool check_sum(cs_wire_io *io, const costeer_frame_distribution *d)
{
    const bool is_half = d->form == COSTEER_FORM_HALF;
    double sum = 0.0;
    for (int32_t i = 0; i < d->n; i++) {
        if (d->values[i] > NEGLIGIBLE) {
            const double value = (double)d->values[i];
            sum += exp(is_half ? -floor(-value * HALF_SCALE + 0.5) / HALF_SCALE : value);
        }
    }
    const double most = (1.0 + SUM_TOLERANCE) * (is_half ? exp(COSTEER_WIRE_HALF_ERROR) : 1.0);
    return sum <= most || cs_wire_fail(io, "the probabilities add up to %.6f", sum);
}

/* Before writing only: what is read this way cannot be otherwise. */
static bool check_sparse(cs_wire_io *io, const costeer_frame_distribution *d)
{
    for (int32_t i = 0; i < d->n; i++) {
        if (!check_value(io, i, d->values[i])) {
            return false;
        }
        if (isinf(d->values[i])) {
            return cs_wire_fail(io, "entry %" PRId32 ": -inf is not finite", i);
        }
        if (i > 0 && d->values[i] > d->values[i - 1]) {
            return cs_wire_fail(io, "entry %" PRId32 ": %g is above the entry before it, %g", i, (double)d->values[i],
                                (double)d->values[i - 1]);
        }
    }
    return check_sum(io, d);
}

static bool check_dense(cs_wire_io *io, const costeer_frame_distribution *d)
{
    const float best = d->values[d->own_token];
    if (!(best <= 0.0F) || isinf(best)) {
        return cs_wire_fail(io, "own_token: %g is not a finite log-probability", (double)best);
    }
    for (int32_t i = 0; i < d->n; i++) {
        if (!check_value(io, i, d->values[i])) {
            return false;
        }
        if (d->values[i] > best) {
            return cs_wire_fail(io, "own_token: entry %" PRId32 " is above it, %g > %g", i, (double)d->values[i], (double)best);
        }
    }
    return check_sum(io, d);
}

static void write_floats(uint8_t *to, const float *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        cs_wire_store32(to + 4 * i, bits);
    }
}

static void read_floats(const uint8_t *from, float *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = cs_wire_load32(from + 4 * i);
        memcpy(&values[i], &bits, sizeof bits);
    }
}

/* All values in order of id; not checked yet when read, already when written. */
static bool dense_values(cs_wire_io *io, costeer_frame_distribution *d)
{
    const size_t n = (size_t)d->n;
    if (!cs_wire_need(io, "its values", 4 * n)) {
        return false;
    }
    if (io->in == NULL) {
        write_floats(io->out + io->at, d->values, n);
    } else {
        read_floats(io->in + io->at, io->values, n);
        d->values = io->values;
    }
    io->at += 4 * n;
    return true;
}

/* ---- ids --------------------------------------------------------------------------------------------------------- */

/* Only what was set is cleared, so that the cost is that of the entries and not of the vocabulary. */
static bool check_distinct(cs_wire_io *io, const int32_t *ids, int32_t n)
{
    int32_t i = 0;
    for (; i < n; i++) {
        const uint64_t bit = UINT64_C(1) << (ids[i] & 63);
        if ((io->seen[ids[i] >> 6] & bit) != 0) {
            break;
        }
        io->seen[ids[i] >> 6] |= bit;
    }
    for (int32_t k = 0; k < i; k++) {
        io->seen[ids[k] >> 6] = 0;
    }
    return i == n || cs_wire_fail(io, "entry %" PRId32 ": its token is there already", i);
}

/* ---- forms ------------------------------------------------------------------------------------------------------- */

static bool has_room(cs_wire_io *io, int32_t n)
{
    return io->in == NULL || (size_t)n <= io->max_values ||
           cs_wire_fail(io, "%" PRId32 " entries are more than the %zu that are taken", n, io->max_values);
}

static bool sparse(cs_wire_io *io, costeer_frame_distribution *d)
{
    if (!cs_wire_int32(io, "n", 1, io->n_vocab, &d->n) || !has_room(io, d->n) || !cs_wire_float(io, "tail", &d->tail)) {
        return false;
    }
    if (!(d->tail <= 0.0F)) {
        return cs_wire_fail(io, "tail: %g is not a log-probability", (double)d->tail);
    }
    if (!cs_wire_ids(io, "entry", (size_t)d->n, &d->ids)) {
        return false;
    }
    if (io->in == NULL) {
        if (d->ids[0] != d->own_token) {
            return cs_wire_fail(io, "own_token: it is not the first entry's");
        }
        return check_sparse(io, d) && cs_wire_values(io, d);
    }
    d->own_token = d->ids[0];
    return check_distinct(io, d->ids, d->n) && cs_wire_values(io, d) && check_sum(io, d);
}

static bool dense(cs_wire_io *io, costeer_frame_distribution *d)
{
    if (io->in != NULL) {
        d->n = io->n_vocab;
        d->ids = NULL;
        d->tail = -INFINITY;
    } else if (d->n != io->n_vocab || d->ids != NULL || !isinf(d->tail) || d->tail > 0.0F) {
        return cs_wire_fail(io, "the dense form has n = n_vocab, no ids, and -inf as tail");
    }
    if (!has_room(io, d->n) || !cs_wire_int32(io, "own_token", 0, io->n_vocab - 1, &d->own_token)) {
        return false;
    }
    return io->in == NULL ? check_dense(io, d) && dense_values(io, d) : dense_values(io, d) && check_dense(io, d);
}

bool cs_wire_distribution(cs_wire_io *io, costeer_frame_distribution *d)
{
    if (io->in != NULL && (io->seen == NULL || io->values == NULL)) {
        return cs_wire_fail(io, "none is expected");
    }
    if (io->in == NULL && d->values == NULL) {
        return cs_wire_fail(io, "the list of values is NULL");
    }
    uint32_t form = (uint32_t)d->form;
    if (!cs_wire_byte(io, "form", COSTEER_FORM_EXACT, COSTEER_FORM_DENSE, &form) ||
        !cs_wire_int32(io, "epoch", 0, INT32_MAX, &d->epoch) ||
        !cs_wire_int32(io, "position", 0, io->max_context - 1, &d->position) ||
        !cs_wire_uint32(io, "compute_us", &d->compute_us)) {
        return false;
    }
    d->form = (costeer_wire_form)form;
    return d->form == COSTEER_FORM_DENSE ? dense(io, d) : sparse(io, d);
}

size_t cs_wire_distribution_size_max(const costeer_frame_distribution *d, int32_t n_vocab)
{
    const size_t head = 2 + 5 * 5 + 4; /* type, form, five numbers, tail */
    if (d->form == COSTEER_FORM_DENSE) {
        return head + 4 * (size_t)n_vocab;
    }
    const size_t n = d->n < 0 ? 0 : (size_t)(d->n < n_vocab ? d->n : n_vocab);
    return head + cs_wire_ids_bytes(n, n_vocab) + cs_wire_values_size_max(n, d->form);
}
