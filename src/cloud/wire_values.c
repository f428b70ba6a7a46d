/*
 * The values of a sparse distribution: sorted, so that their differences are small, and written as such, without losing a bit.
 *
 * A log-probability <= 0 is a rank: how many float32 (exact form) or multiples of 2^-11 (half form) lie between it and 0. Ranks
 * rise from entry to entry, and their differences are Rice-coded (Rice & Plaunt 1971): the quotient by 2^k in unary, k bits of
 * remainder. 64 entries take some 170 bytes instead of 256. What is not sorted, not finite or above 0 cannot be written at all.
 */
#include "cloud/wire_io.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define HALF_SCALE 2048.0
#define HALF_MAX   65515U      /* the last multiple of 1/2048 above -31.99 */
#define EXACT_MAX  0x7F7FFFFFU /* the bits of the largest finite float32 */

/* The remainder's bits follow from the last rank and the number of entries, so that a list has exactly one sequence of bytes. */
static uint32_t rice_bits(uint32_t last, size_t n)
{
    uint32_t k = 0;
    for (size_t mean = last / n; mean > 1; mean >>= 1) {
        k++;
    }
    return k;
}

size_t cs_wire_values_size_max(size_t n, costeer_wire_form form)
{
    const uint32_t last = form == COSTEER_FORM_HALF ? HALF_MAX : EXACT_MAX;
    /* at the widest k: k bits and the unary's end for each entry, and quotients that add up to less than 2n + 1 */
    return n == 0 ? 0 : 1 + (n * (rice_bits(last, n) + 1) + 2 * n + 1 + 7) / 8;
}

/* ---- ranks ------------------------------------------------------------------------------------------------------- */

static bool rank_of(cs_wire_io *io, costeer_wire_form form, size_t i, float value, uint32_t *rank)
{
    if (form != COSTEER_FORM_HALF) {
        memcpy(rank, &value, sizeof *rank);
        *rank &= 0x7FFFFFFFU;
        return true;
    }
    const double steps = -(double)value * HALF_SCALE + 0.5; /* exact: a float times a power of two */
    if (!(steps < HALF_MAX + 1.0)) {
        return cs_wire_fail(io, "entry %zu: %g does not fit 16 bits", i, (double)value);
    }
    *rank = (uint32_t)steps;
    return true;
}

static float value_of(costeer_wire_form form, uint32_t rank)
{
    if (rank == 0) {
        return 0.0F; /* 0, not -0 */
    }
    if (form == COSTEER_FORM_HALF) {
        return (float)(-(double)rank / HALF_SCALE);
    }
    const uint32_t bits = rank | 0x80000000U;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* Bits wait in `pending` until they make a byte; the first bit of a byte is its lowest. */
typedef struct bit_writer {
    cs_wire_io *io;
    uint64_t pending;
    uint32_t n_pending; /* below 8 between calls */
} bit_writer;

static bool put_bits(bit_writer *w, uint32_t bits, uint32_t n)
{
    w->pending |= (uint64_t)bits << w->n_pending;
    w->n_pending += n;
    const size_t n_bytes = w->n_pending / 8;
    if (!cs_wire_need(w->io, "its values", n_bytes)) {
        return false;
    }
    for (size_t i = 0; i < n_bytes; i++) {
        w->io->out[w->io->at++] = (uint8_t)w->pending;
        w->pending >>= 8;
    }
    w->n_pending %= 8;
    return true;
}

static bool put_rice(bit_writer *w, uint32_t difference, uint32_t k)
{
    for (uint32_t q = difference >> k; q > 0;) {
        const uint32_t n = q < 24 ? q : 24;
        if (!put_bits(w, (1U << n) - 1U, n)) {
            return false;
        }
        q -= n;
    }
    return put_bits(w, 0, 1) && put_bits(w, difference & ((1U << k) - 1U), k);
}

static bool write_values(cs_wire_io *io, costeer_wire_form form, const float *values, size_t n)
{
    uint32_t last = 0;
    if (!rank_of(io, form, n - 1, values[n - 1], &last) || !cs_wire_need(io, "its values", 1)) {
        return false;
    }
    const uint32_t k = rice_bits(last, n);
    io->out[io->at++] = (uint8_t)k;
    bit_writer w = {.io = io};
    uint32_t before = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t rank = 0;
        if (!rank_of(io, form, i, values[i], &rank) || !put_rice(&w, rank - before, k)) {
            return false;
        }
        before = rank;
    }
    return w.n_pending == 0 || put_bits(&w, 0, 8 - w.n_pending);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

typedef struct bit_reader {
    cs_wire_io *io;
    uint64_t pending;
    uint32_t n_pending;
} bit_reader;

static bool fill(bit_reader *r, uint32_t n)
{
    while (r->n_pending < n) {
        if (!cs_wire_need(r->io, "its values", 1)) {
            return false;
        }
        r->pending |= (uint64_t)r->io->in[r->io->at++] << r->n_pending;
        r->n_pending += 8;
    }
    return true;
}

static void drop(bit_reader *r, uint32_t n)
{
    r->pending >>= n;
    r->n_pending -= n;
}

/* Quotients end with the bytes, or where they would lead beyond the last rank. */
static bool get_rice(bit_reader *r, uint32_t k, uint32_t most, uint32_t *difference)
{
    uint64_t q = 0;
    for (;;) {
        if (!fill(r, 1)) {
            return false;
        }
        const bool goes_on = (r->pending & 1U) != 0;
        drop(r, 1);
        if (!goes_on) {
            break;
        }
        if ((++q << k) > most) {
            return cs_wire_fail(r->io, "a value is below the lowest of its form");
        }
    }
    if (!fill(r, k)) {
        return false;
    }
    const uint64_t whole = q << k | (r->pending & ((UINT64_C(1) << k) - 1U));
    drop(r, k);
    *difference = (uint32_t)whole;
    return whole <= most || cs_wire_fail(r->io, "a value is below the lowest of its form");
}

static bool read_values(cs_wire_io *io, costeer_wire_form form, float *values, size_t n)
{
    const uint32_t most = form == COSTEER_FORM_HALF ? HALF_MAX : EXACT_MAX;
    uint32_t k = 0;
    if (!cs_wire_byte(io, "remainder bits", 0, rice_bits(most, 1), &k)) {
        return false;
    }
    bit_reader r = {.io = io};
    uint32_t rank = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t difference = 0;
        if (!get_rice(&r, k, most - rank, &difference)) {
            return false;
        }
        rank += difference;
        values[i] = value_of(form, rank);
    }
    if (k != rice_bits(rank, n)) {
        return cs_wire_fail(io, "remainder bits: %" PRIu32 " is not %" PRIu32, k, rice_bits(rank, n));
    }
    return r.pending == 0 || cs_wire_fail(io, "the bits behind the last value are not zero");
}

bool cs_wire_values(cs_wire_io *io, costeer_frame_distribution *d)
{
    if (io->in == NULL) {
        return write_values(io, d->form, d->values, (size_t)d->n);
    }
    d->values = io->values;
    return read_values(io, d->form, io->values, (size_t)d->n);
}
