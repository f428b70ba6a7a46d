/*
 * Fields of frames: numbers, texts, packed token ids.
 *
 * Numbers are unsigned LEB128 because nearly all of them are small; only the shortest form is taken, so that every frame has
 * exactly one sequence of bytes. Ids of a vocabulary of 151,936 take 18 bits instead of 32. Every length is compared with the
 * bytes that are there, and with the room of the list, before anything is read or written.
 */
#include "cloud/wire_io.h"

#include "util/utf8.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool cs_wire_fail(cs_wire_io *io, const char *format, ...)
{
    if (io->status == COSTEER_OK) {
        char what[400];
        va_list args;
        va_start(args, format);
        (void)vsnprintf(what, sizeof what, format, args);
        va_end(args);
        io->status = cs_error_set(io->err, io->in != NULL ? COSTEER_ECLOUD : COSTEER_EINVAL, "wire", "%s: %s", io->frame, what);
    }
    return false;
}

bool cs_wire_need(cs_wire_io *io, const char *field, size_t n)
{
    if (n <= io->n - io->at) {
        return true;
    }
    if (io->in != NULL) {
        return cs_wire_fail(io, "ends within %s: %zu bytes are missing", field, n - (io->n - io->at));
    }
    if (io->status == COSTEER_OK) {
        io->status = cs_error_set(io->err, COSTEER_ETOOLONG, "wire", "%s: does not fit %zu bytes", io->frame, io->n);
    }
    return false;
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

/* Seven bits a byte, the lowest first; the top bit tells that more follow. */
static bool write_varint(cs_wire_io *io, const char *field, uint32_t value)
{
    do {
        if (!cs_wire_need(io, field, 1)) {
            return false;
        }
        io->out[io->at++] = (uint8_t)((value & 0x7FU) | (value > 0x7FU ? 0x80U : 0U));
        value >>= 7;
    } while (value != 0);
    return true;
}

static bool read_varint(cs_wire_io *io, const char *field, uint32_t *value)
{
    uint32_t sum = 0;
    for (unsigned shift = 0;; shift += 7) {
        if (!cs_wire_need(io, field, 1)) {
            return false;
        }
        const uint8_t byte = io->in[io->at++];
        if (shift == 28 && byte > 0x0F) {
            return cs_wire_fail(io, "%s does not fit 32 bits", field);
        }
        sum |= (uint32_t)(byte & 0x7FU) << shift;
        if ((byte & 0x80U) == 0) {
            if (byte == 0 && shift > 0) {
                return cs_wire_fail(io, "%s is not written in its fewest bytes", field);
            }
            *value = sum;
            return true;
        }
    }
}

static bool check_range(cs_wire_io *io, const char *field, int64_t min, int64_t max, int64_t value)
{
    if (value >= min && value <= max) {
        return true;
    }
    if (min == max) {
        return cs_wire_fail(io, "%s: %" PRId64 " is not %" PRId64, field, value, min);
    }
    return cs_wire_fail(io, "%s: %" PRId64 " is not in [%" PRId64 ", %" PRId64 "]", field, value, min, max);
}

static bool number(cs_wire_io *io, const char *field, int64_t min, int64_t max, int64_t *value)
{
    if (io->in == NULL) {
        return check_range(io, field, min, max, *value) && write_varint(io, field, (uint32_t)*value);
    }
    uint32_t read = 0;
    if (!read_varint(io, field, &read) || !check_range(io, field, min, max, read)) {
        return false;
    }
    *value = read;
    return true;
}

bool cs_wire_int32(cs_wire_io *io, const char *field, int32_t min, int32_t max, int32_t *value)
{
    int64_t wide = *value;
    if (!number(io, field, min, max, &wide)) {
        return false;
    }
    *value = (int32_t)wide;
    return true;
}

bool cs_wire_uint32(cs_wire_io *io, const char *field, uint32_t *value)
{
    int64_t wide = *value;
    if (!number(io, field, 0, UINT32_MAX, &wide)) {
        return false;
    }
    *value = (uint32_t)wide;
    return true;
}

bool cs_wire_count(cs_wire_io *io, const char *field, size_t min, size_t max, size_t *value)
{
    int64_t wide = *value < INT64_MAX ? (int64_t)*value : INT64_MAX;
    if (!number(io, field, (int64_t)min, (int64_t)max, &wide)) {
        return false;
    }
    *value = (size_t)wide;
    return true;
}

bool cs_wire_byte(cs_wire_io *io, const char *field, uint32_t min, uint32_t max, uint32_t *value)
{
    if (!cs_wire_need(io, field, 1)) {
        return false;
    }
    const uint32_t byte = io->in != NULL ? io->in[io->at] : *value;
    if (!check_range(io, field, min, max, byte)) {
        return false;
    }
    if (io->in == NULL) {
        io->out[io->at] = (uint8_t)byte;
    }
    io->at++;
    *value = byte;
    return true;
}

bool cs_wire_fixed32(cs_wire_io *io, const char *field, uint32_t *value)
{
    if (!cs_wire_need(io, field, 4)) {
        return false;
    }
    if (io->in != NULL) {
        *value = cs_wire_load32(io->in + io->at);
    } else {
        cs_wire_store32(io->out + io->at, *value);
    }
    io->at += 4;
    return true;
}

bool cs_wire_float(cs_wire_io *io, const char *field, float *value)
{
    uint32_t bits;
    memcpy(&bits, value, sizeof bits);
    if (!cs_wire_fixed32(io, field, &bits)) {
        return false;
    }
    memcpy(value, &bits, sizeof bits);
    return true;
}

/* ---- bytes and texts --------------------------------------------------------------------------------------------- */

bool cs_wire_bytes(cs_wire_io *io, const char *field, uint8_t *bytes, size_t n)
{
    if (!cs_wire_need(io, field, n)) {
        return false;
    }
    if (io->in != NULL) {
        memcpy(bytes, io->in + io->at, n);
    } else {
        memcpy(io->out + io->at, bytes, n);
    }
    io->at += n;
    return true;
}

/* C0, DEL and C1 (U+0080 … U+009F, in UTF-8 C2 80 … C2 9F): what a terminal would act on. The text is UTF-8 already. */
static bool is_control(const char *text, size_t n, size_t i)
{
    const unsigned char byte = (unsigned char)text[i];
    return byte < 0x20 || byte == 0x7F || (byte == 0xC2 && i + 1 < n && (unsigned char)text[i + 1] < 0xA0);
}

static bool check_text(cs_wire_io *io, const char *field, cs_wire_text_kind kind, const char *text, size_t n)
{
    size_t bad = 0;
    if (!cs_utf8_check(text, n, &bad)) {
        return cs_wire_fail(io, "%s: byte %zu is not UTF-8", field, bad);
    }
    for (size_t i = 0; i < n; i++) {
        if (kind == CS_WIRE_LINE ? is_control(text, n, i) : text[i] == '\0') {
            return cs_wire_fail(io, "%s: byte %zu is a %s", field, i, kind == CS_WIRE_LINE ? "control character" : "NUL");
        }
    }
    return true;
}

bool cs_wire_text(cs_wire_io *io, const char *field, size_t min, size_t max, cs_wire_text_kind kind, const char **text, size_t *n)
{
    if (!cs_wire_count(io, field, min, max, n) || !cs_wire_need(io, field, *n)) {
        return false;
    }
    if (io->in != NULL) {
        *text = (const char *)(io->in + io->at);
    } else if (*text == NULL && *n > 0) {
        return cs_wire_fail(io, "%s is NULL", field);
    }
    if (*n > 0 && !check_text(io, field, kind, *text, *n)) {
        return false;
    }
    if (io->in == NULL && *n > 0) {
        memcpy(io->out + io->at, *text, *n);
    }
    io->at += *n;
    return true;
}

/* ---- token ids --------------------------------------------------------------------------------------------------- */

uint32_t cs_wire_id_bits(int32_t n_vocab)
{
    uint32_t bits = 0;
    while (bits < 31 && (INT32_C(1) << bits) < n_vocab) {
        bits++;
    }
    return bits;
}

size_t cs_wire_ids_bytes(size_t n, int32_t n_vocab)
{
    return (n * cs_wire_id_bits(n_vocab) + 7) / 8;
}

static bool check_id(cs_wire_io *io, const char *field, size_t i, int32_t id)
{
    return (id >= 0 && id < io->n_vocab) ||
           cs_wire_fail(io, "%s %zu: token %" PRId32 " is not one of %" PRId32, field, i, id, io->n_vocab);
}

/* Id i is in bits [i * width, (i + 1) * width), the lowest bit of a byte first. */
static bool write_ids(cs_wire_io *io, const char *field, size_t n, const int32_t *ids)
{
    const uint32_t width = cs_wire_id_bits(io->n_vocab);
    uint8_t *to = io->out + io->at;
    uint64_t bits = 0;
    uint32_t n_bits = 0;
    for (size_t i = 0; i < n; i++) {
        if (!check_id(io, field, i, ids[i])) {
            return false;
        }
        bits |= (uint64_t)(uint32_t)ids[i] << n_bits;
        n_bits += width;
        for (; n_bits >= 8; n_bits -= 8) {
            *to++ = (uint8_t)bits;
            bits >>= 8;
        }
    }
    if (n_bits > 0) {
        *to = (uint8_t)bits;
    }
    return true;
}

static bool read_ids(cs_wire_io *io, const char *field, size_t n, int32_t *ids)
{
    const uint32_t width = cs_wire_id_bits(io->n_vocab);
    const uint32_t mask = (UINT32_C(1) << width) - 1;
    const uint8_t *from = io->in + io->at;
    uint64_t bits = 0;
    uint32_t n_bits = 0;
    for (size_t i = 0; i < n; i++) {
        for (; n_bits < width; n_bits += 8) {
            bits |= (uint64_t)*from++ << n_bits;
        }
        ids[i] = (int32_t)((uint32_t)bits & mask);
        bits >>= width;
        n_bits -= width;
        if (!check_id(io, field, i, ids[i])) {
            return false;
        }
    }
    return bits == 0 || cs_wire_fail(io, "the bits behind the last %s are not zero", field);
}

bool cs_wire_ids(cs_wire_io *io, const char *field, size_t n, const int32_t **ids)
{
    if (io->in != NULL && n > io->max_ids - io->n_ids) {
        return cs_wire_fail(io, "%zu tokens are more than the %zu that are taken", io->n_ids + n, io->max_ids);
    }
    const size_t n_bytes = cs_wire_ids_bytes(n, io->n_vocab);
    if (!cs_wire_need(io, field, n_bytes)) {
        return false;
    }
    if (io->in != NULL) {
        int32_t *to = n > 0 ? io->ids + io->n_ids : NULL;
        if (n > 0 && !read_ids(io, field, n, to)) {
            return false;
        }
        *ids = to;
        io->n_ids += n;
    } else if (n > 0 && (*ids == NULL || !write_ids(io, field, n, *ids))) {
        return cs_wire_fail(io, "the list of %ss is NULL", field);
    }
    io->at += n_bytes;
    return true;
}
