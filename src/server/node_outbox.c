/*
 * Records lie one behind the other in one array; what was taken leaves a gap at the front that is closed when room is needed.
 * Dropping compacts in place. Memory grows by doubling while an answer finds its pace and then stays.
 */
#include "server/node_outbox.h"

#include <stdlib.h>
#include <string.h>

typedef struct record_head {
    uint32_t n_bytes; /* of the frame */
    int32_t epoch;
} record_head;

size_t cs_outbox_record_bytes(size_t n_frame_bytes)
{
    return sizeof(record_head) + n_frame_bytes;
}

bool cs_outbox_init(cs_outbox *out, size_t bound)
{
    *out = (cs_outbox){.bound = bound};
    return pthread_mutex_init(&out->lock, NULL) == 0;
}

void cs_outbox_dispose(cs_outbox *out)
{
    pthread_mutex_destroy(&out->lock);
    free(out->bytes);
    out->bytes = NULL;
}

static void close_gap(cs_outbox *out)
{
    if (out->begin > 0) {
        memmove(out->bytes, out->bytes + out->begin, out->end - out->begin);
        out->end -= out->begin;
        out->begin = 0;
    }
}

/* Make room for n more bytes at the end. */
static bool reserve(cs_outbox *out, size_t n, size_t bound)
{
    if (out->end + n <= out->capacity) {
        return true;
    }
    close_gap(out);
    if (out->end + n <= out->capacity) {
        return true;
    }
    if (out->end + n > bound) {
        return false;
    }
    size_t capacity = out->capacity == 0 ? 512 : 2 * out->capacity;
    while (capacity < out->end + n) {
        capacity *= 2;
    }
    uint8_t *grown = realloc(out->bytes, capacity);
    if (grown == NULL) {
        return false;
    }
    out->bytes = grown;
    out->capacity = capacity;
    return true;
}

costeer_err cs_outbox_push(cs_outbox *out, const costeer_frame *frame, int32_t n_vocab, int32_t epoch)
{
    const size_t bound = out->bound + (epoch == CS_OUTBOX_CONTROL ? CS_OUTBOX_RESERVE : 0);
    const size_t n_max = costeer_wire_size_max(frame, n_vocab);
    if (!reserve(out, cs_outbox_record_bytes(n_max), bound)) {
        out->is_failed = true;
        return COSTEER_ETOOLONG;
    }
    record_head head = {.epoch = epoch};
    size_t n = 0;
    const costeer_err code = costeer_wire_encode(frame, n_vocab, out->bytes + out->end + sizeof head, n_max, &n, NULL);
    if (code == COSTEER_OK) {
        head.n_bytes = (uint32_t)n;
        memcpy(out->bytes + out->end, &head, sizeof head);
        out->end += sizeof head + n;
    }
    return code;
}

void cs_outbox_drop(cs_outbox *out, int32_t epoch)
{
    size_t to = out->begin;
    for (size_t from = out->begin; from < out->end;) {
        record_head head;
        memcpy(&head, out->bytes + from, sizeof head);
        const size_t n = sizeof head + head.n_bytes;
        if (head.epoch == CS_OUTBOX_CONTROL || head.epoch >= epoch) {
            memmove(out->bytes + to, out->bytes + from, n);
            to += n;
        }
        from += n;
    }
    out->end = to;
}

void cs_outbox_clear(cs_outbox *out)
{
    out->begin = 0;
    out->end = 0;
    out->is_failed = false;
}

bool cs_outbox_is_empty(const cs_outbox *out)
{
    return out->begin == out->end;
}

size_t cs_outbox_first_bytes(const cs_outbox *out)
{
    record_head head = {.n_bytes = 0};
    if (!cs_outbox_is_empty(out)) {
        memcpy(&head, out->bytes + out->begin, sizeof head);
    }
    return head.n_bytes;
}

size_t cs_outbox_take(cs_outbox *out, uint8_t *to, size_t size)
{
    size_t taken = 0;
    size_t n = cs_outbox_first_bytes(out);
    while (n > 0 && (taken == 0 || taken + n <= size)) {
        memcpy(to + taken, out->bytes + out->begin + sizeof(record_head), n);
        out->begin += sizeof(record_head) + n;
        taken += n;
        n = cs_outbox_first_bytes(out);
    }
    if (cs_outbox_is_empty(out)) {
        out->begin = 0;
        out->end = 0;
    }
    return taken;
}
