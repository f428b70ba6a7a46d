/*
 * The reader of event streams (src/cloud/api_sse.c): how a stream was cut into pieces on its way must make no difference, and no
 * event may be longer than the cap. After a line or an event that is too long nothing more is read until the reader is reset,
 * which forgets all of it.
 *
 * The first byte tells the cap, the two behind it where to cut; the rest is the stream.
 */
#include "cloud/api_sse.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_BYTES 3
#define PIECE_MAX    64 /* about a line of a short event */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a stream was taken for: each event's data and its length behind it. */
typedef struct log {
    cs_buffer events;
    size_t n;
    bool is_too_long;
} log;

static void check(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "fuzz_sse: %s\n", what);
        abort();
    }
}

/* All events of one piece, which is a copy of its own length, so that a sanitizer sees a byte read too many. */
static void feed_piece(cs_sse *sse, const uint8_t *bytes, size_t n, size_t cap, log *out)
{
    char *piece = malloc(n);
    check(piece != NULL, "out of memory");
    memcpy(piece, bytes, n);
    for (size_t at = 0; at < n;) {
        size_t n_taken = 0;
        const cs_sse_result result = cs_sse_feed(sse, piece + at, n - at, &n_taken);
        check(sse->line.n_bytes <= cap && sse->data.n_bytes <= cap, "more than the cap is kept");
        if (result == CS_SSE_TOO_LONG) {
            out->is_too_long = true;
            break;
        }
        check(n_taken >= 1 && n_taken <= n - at, "taken are no bytes, or more than there are");
        check(result == CS_SSE_EVENT || n_taken == n - at, "bytes are left though there is no event");
        at += n_taken;
        if (result == CS_SSE_EVENT) {
            const size_t length = sse->data.n_bytes;
            check((length == 0 || cs_buffer_append(&out->events, sse->data.bytes, length)) &&
                      cs_buffer_append(&out->events, (const char *)&length, sizeof length),
                  "out of memory");
            out->n++;
        }
    }
    free(piece);
}

/* Pieces of 1 to `longest` bytes, by the state of a generator; 1: byte by byte. */
static log feed(cs_sse *sse, const uint8_t *bytes, size_t n, size_t cap, size_t longest, uint32_t random)
{
    log out = {.events.cap = SIZE_MAX / 4};
    cs_sse_reset(sse, cap);
    for (size_t at = 0; at < n && !out.is_too_long;) {
        random = random * 1664525U + 1013904223U; /* Numerical Recipes' generator */
        size_t piece = 1 + (random >> 16) % longest;
        piece = piece < n - at ? piece : n - at;
        feed_piece(sse, bytes + at, piece, cap, &out);
        at += piece;
    }
    return out;
}

static void check_same(const log *a, const log *b)
{
    check(a->n == b->n && a->is_too_long == b->is_too_long, "other events when it is cut otherwise");
    check(a->events.n_bytes == b->events.n_bytes &&
              (a->events.n_bytes == 0 || memcmp(a->events.bytes, b->events.bytes, a->events.n_bytes) == 0),
          "other data when it is cut otherwise");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t caps[] = {0, 1, 2, 7, 64, 1024, 65536, SIZE_MAX / 4};
    if (size < HEADER_BYTES) {
        return 0;
    }
    const size_t cap = caps[data[0] % (sizeof caps / sizeof caps[0])];
    const uint32_t random = (uint32_t)data[1] | (uint32_t)data[2] << 8;
    const uint8_t *bytes = data + HEADER_BYTES;
    const size_t n = size - HEADER_BYTES;
    cs_sse sse = {.line.cap = 0};
    log by_byte = feed(&sse, bytes, n, cap, 1, random);
    log again = feed(&sse, bytes, n, cap, PIECE_MAX, random);
    check_same(&by_byte, &again);
    cs_buffer_dispose(&again.events);
    if (n > 0) {
        again = feed(&sse, bytes, n, cap, n, random);
        check_same(&by_byte, &again);
        cs_buffer_dispose(&again.events);
    }
    cs_buffer_dispose(&by_byte.events);
    cs_sse_dispose(&sse);
    return 0;
}
