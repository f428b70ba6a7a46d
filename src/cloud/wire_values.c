/*
 * The values of a sparse distribution: sorted, so that their differences are small, and written as such, without losing a bit.
 *
 * A log-probability <= 0 is a rank: how many float32 (exact form) or multiples of 2^-11 (half form) lie between it and 0. Ranks
 * rise from entry to entry. The first is written as it is, the others as differences in a Rice code (Rice & Plaunt 1971): the
 * quotient by 2^k in unary, then k bits of remainder; from a quotient of 8 on, eight ones and the difference itself. k is the one
 * that takes the fewest bits, so a list has exactly one sequence of bytes. What is not sorted, not finite or above 0 cannot be
 * written at all.
 */
#include "cloud/wire_io.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define HALF_SCALE 2048.0
#define HALF_MAX   65515U /* the last multiple of 1/2048 above -31.99 */
#define HALF_BITS  16U
#define EXACT_MAX  0x7F7FFFFFU /* the bits of the largest finite float32 */
#define EXACT_BITS 31U

#define ESCAPE 8U /* ones: the difference itself follows */

static uint32_t most_of(costeer_wire_form form)
{
    return form == COSTEER_FORM_HALF ? HALF_MAX : EXACT_MAX;
}

static uint32_t bits_of(costeer_wire_form form)
{
    return form == COSTEER_FORM_HALF ? HALF_BITS : EXACT_BITS;
}

/*
 * No list takes more than with k = log2 of the mean difference, so none more than with that of the largest mean: k bits and the
 * unary's end for each entry, quotients that add up to 2n, of which n/4 at most are escapes.
 */
size_t cs_wire_values_size_max(size_t n, costeer_wire_form form)
{
    const uint32_t width = bits_of(form);
    uint32_t k = 0;
    for (size_t mean = n == 0 ? 0 : most_of(form) / n; mean > 1; mean >>= 1) {
        k++;
    }
    return 1 + (width + n * (k + 3) + (n / 4 + 1) * (width - k) + 7) / 8;
}

/* ---- ranks ------------------------------------------------------------------------------------------------------- */

/* Of a value that can be written in this form. */
static uint32_t rank_of(costeer_wire_form form, float value)
{
    if (form == COSTEER_FORM_HALF) {
        return (uint32_t)(-(double)value * HALF_SCALE + 0.5); /* exact: a float times a power of two */
    }
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x7FFFFFFFU;
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

/* Bits that n values take after the first one, when remainders have k; `bound` or more: it does not matter how many. */
static uint64_t count_bits(costeer_wire_form form, const float *values, size_t n, uint32_t k, uint64_t bound)
{
    const uint32_t width = bits_of(form);
    uint32_t before = rank_of(form, values[0]);
    uint64_t n_bits = 0;
    for (size_t i = 1; i < n && n_bits < bound; i++) {
        const uint32_t rank = rank_of(form, values[i]);
        const uint32_t quotient = (rank - before) >> k;
        n_bits += quotient < ESCAPE ? quotient + 1 + k : ESCAPE + width;
        before = rank;
    }
    return n_bits;
}

/* The remainder's bits that make the list shortest; the fewest of them. */
static uint32_t best_k(costeer_wire_form form, const float *values, size_t n)
{
    uint32_t best = 0;
    uint64_t fewest = UINT64_MAX;
    for (uint32_t k = 0; k < bits_of(form); k++) {
        const uint64_t n_bits = count_bits(form, values, n, k, fewest);
        best = n_bits < fewest ? k : best;
        fewest = n_bits < fewest ? n_bits : fewest;
    }
    return best;
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

static bool put_difference(bit_writer *w, uint32_t difference, uint32_t k, uint32_t width)
{
    const uint32_t quotient = difference >> k;
    if (quotient >= ESCAPE) {
        return put_bits(w, (1U << ESCAPE) - 1U, ESCAPE) && put_bits(w, difference, width);
    }
    return put_bits(w, (1U << quotient) - 1U, quotient + 1) && put_bits(w, difference & ((1U << k) - 1U), k);
}

static bool write_values(cs_wire_io *io, costeer_wire_form form, const float *values, size_t n)
{
    const double lowest = -(double)values[n - 1] * HALF_SCALE + 0.5; /* they are sorted: what it fits all fit */
    if (form == COSTEER_FORM_HALF && !(lowest < HALF_MAX + 1.0)) {
        return cs_wire_fail(io, "entry %zu: %g does not fit 16 bits", n - 1, (double)values[n - 1]);
    }
    if (!cs_wire_need(io, "its values", 1)) {
        return false;
    }
    const uint32_t k = best_k(form, values, n);
    io->out[io->at++] = (uint8_t)k;
    bit_writer w = {.io = io};
    uint32_t before = rank_of(form, values[0]);
    if (!put_bits(&w, before, bits_of(form))) {
        return false;
    }
    for (size_t i = 1; i < n; i++) {
        const uint32_t rank = rank_of(form, values[i]);
        if (!put_difference(&w, rank - before, k, bits_of(form))) {
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

static bool take(bit_reader *r, uint32_t n, uint32_t *bits)
{
    if (!fill(r, n)) {
        return false;
    }
    *bits = (uint32_t)(r->pending & ((UINT64_C(1) << n) - 1U));
    r->pending >>= n;
    r->n_pending -= n;
    return true;
}

static bool take_difference(bit_reader *r, uint32_t k, uint32_t width, uint32_t *difference)
{
    uint32_t quotient = 0;
    uint32_t bit = 1;
    while (bit == 1 && quotient < ESCAPE) {
        if (!take(r, 1, &bit)) {
            return false;
        }
        quotient += bit;
    }
    if (quotient < ESCAPE) {
        uint32_t rest = 0;
        const bool ok = take(r, k, &rest);
        *difference = quotient << k | rest; /* 3 bits of quotient and 30 of remainder at most: checked below */
        return ok && (uint64_t)quotient << k <= EXACT_MAX;
    }
    return take(r, width, difference) &&
           (*difference >> k >= ESCAPE || cs_wire_fail(r->io, "a value is written in more bits than it needs"));
}

static bool read_values(cs_wire_io *io, costeer_wire_form form, float *values, size_t n)
{
    const uint32_t most = most_of(form);
    const uint32_t width = bits_of(form);
    uint32_t k = 0;
    if (!cs_wire_byte(io, "remainder bits", 0, width - 1, &k)) {
        return false;
    }
    bit_reader r = {.io = io};
    uint32_t rank = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t difference = 0;
        const bool ok = i == 0 ? take(&r, width, &difference) : take_difference(&r, k, width, &difference);
        if (!ok || difference > most - rank) {
            return cs_wire_fail(io, "entry %zu: is below the lowest value of its form", i);
        }
        rank += difference;
        values[i] = value_of(form, rank);
    }
    if (k != best_k(form, values, n)) {
        return cs_wire_fail(io, "remainder bits: %" PRIu32 " is not %" PRIu32, k, best_k(form, values, n));
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
