/*
 * Fields of frames, each described once for both ways: the same call writes a field of a frame, or reads it into one.
 *
 * So a rule about a field (its range, its text's characters) cannot be checked on one side and forgotten on the other. A call
 * returns false when the rule is broken, the bytes end, or the room does; the first reason is kept, later calls do not matter.
 */
#ifndef CS_CLOUD_WIRE_IO_H
#define CS_CLOUD_WIRE_IO_H

#include "util/error.h"

#include <costeer/wire.h>

/* One frame on its way. in or out is used, and with it the lists of the reader. */
typedef struct cs_wire_io {
    const uint8_t *in; /* NULL: writing */
    uint8_t *out;
    size_t at;
    size_t n;            /* end of in, or capacity of out */
    const char *frame;   /* for messages */
    bool from_node;      /* reading only */
    int32_t n_vocab;     /* 0: unknown */
    int32_t max_context; /* tokens of prompt and answer */
    int32_t *ids;        /* reading: [max_ids], of which n_ids are taken */
    size_t max_ids;
    size_t n_ids;
    float *values; /* reading: [max_values] */
    size_t max_values;
    uint64_t *seen;                 /* reading: all zero */
    costeer_chat_message *messages; /* reading: [COSTEER_WIRE_CHAT_MAX] */
    costeer_err status;
    costeer_error *err;
} cs_wire_io;

/* What a text may hold besides being UTF-8. */
typedef enum cs_wire_text_kind {
    CS_WIRE_LINE, /* no control characters: it may be shown on a terminal */
    CS_WIRE_TEXT  /* anything but NUL: it may be put in a C string */
} cs_wire_text_kind;

/* Tell what is wrong with this frame; returns false. Reading it is the peer's fault, writing it the caller's. */
bool cs_wire_fail(cs_wire_io *io, const char *format, ...) CS_PRINTF(2, 3);

/* True when n more bytes can be read, or written. */
bool cs_wire_need(cs_wire_io *io, const char *field, size_t n);

/* An unsigned LEB128 number in its fewest bytes (at most 5), min <= value <= max <= UINT32_MAX. */
bool cs_wire_int32(cs_wire_io *io, const char *field, int32_t min, int32_t max, int32_t *value);
bool cs_wire_uint32(cs_wire_io *io, const char *field, uint32_t *value);
bool cs_wire_count(cs_wire_io *io, const char *field, size_t min, size_t max, size_t *value);

/* One byte, min <= value <= max <= 255. */
bool cs_wire_byte(cs_wire_io *io, const char *field, uint32_t min, uint32_t max, uint32_t *value);

/* 32 bits, little endian. */
bool cs_wire_fixed32(cs_wire_io *io, const char *field, uint32_t *value);
bool cs_wire_float(cs_wire_io *io, const char *field, float *value);

/* n bytes as they are. */
bool cs_wire_bytes(cs_wire_io *io, const char *field, uint8_t *bytes, size_t n);

/* A count of bytes, then UTF-8; reading, the text stays where it is. */
bool cs_wire_text(cs_wire_io *io, const char *field, size_t min, size_t max, cs_wire_text_kind kind, const char **text,
                  size_t *n);

/* n token ids, packed; reading, they are put behind those that were read before. */
bool cs_wire_ids(cs_wire_io *io, const char *field, size_t n, const int32_t **ids);

/* Bits of a packed id, ceil(log2(n_vocab)), and bytes of n of them. */
uint32_t cs_wire_id_bits(int32_t n_vocab);
size_t cs_wire_ids_bytes(size_t n, int32_t n_vocab);

/* The n values of a sparse form, descending; writing, they are checked already. And the most bytes that n take. */
bool cs_wire_values(cs_wire_io *io, costeer_frame_distribution *d);
size_t cs_wire_values_size_max(size_t n, costeer_wire_form form);

/* A base at a position, all after the type's byte. */
bool cs_wire_distribution(cs_wire_io *io, costeer_frame_distribution *d);
size_t cs_wire_distribution_size_max(const costeer_frame_distribution *d, int32_t n_vocab);

static inline void cs_wire_store32(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
    at[2] = (uint8_t)(value >> 16);
    at[3] = (uint8_t)(value >> 24);
}

static inline uint32_t cs_wire_load32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

#endif
