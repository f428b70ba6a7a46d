/*
 * Nothing reaches a node but through cs_native_outbox_send() (and the WebSocket handshake, which has its own audit line). The
 * buffer is large enough for every frame of a step; only an open may make it grow.
 */
#include "cloud/native_outbox.h"

#include "util/error.h"

#include <stdlib.h>

/* A correction and a draft of the largest number of tokens take less. */
#define STEP_BYTES ((size_t)1024)

static costeer_err reserve(cs_native_outbox *outbox, size_t n, costeer_error *err)
{
    if (n > outbox->capacity) {
        uint8_t *larger = realloc(outbox->bytes, n);
        if (larger == NULL) {
            return cs_error_set(err, COSTEER_ENOMEM, "cloud", "no memory for a message of %zu bytes", n);
        }
        outbox->bytes = larger;
        outbox->capacity = n;
    }
    return cs_native_link_reserve(outbox->link, outbox->capacity)
               ? COSTEER_OK
               : cs_error_set(err, COSTEER_ENOMEM, "cloud", "no memory to queue a message of %zu bytes", n);
}

costeer_err cs_native_outbox_init(cs_native_outbox *outbox, cs_native_link *link, const cs_audit *audit, int32_t n_vocab,
                                  costeer_error *err)
{
    *outbox = (cs_native_outbox){.link = link, .audit = *audit, .n_vocab = n_vocab};
    const costeer_err code = reserve(outbox, STEP_BYTES, err);
    if (code != COSTEER_OK) {
        cs_native_outbox_dispose(outbox);
    }
    return code;
}

void cs_native_outbox_dispose(cs_native_outbox *outbox)
{
    free(outbox->bytes);
    *outbox = (cs_native_outbox){.link = NULL};
}

costeer_err cs_native_outbox_send(cs_native_outbox *outbox, const costeer_frame *frames, size_t n_frames, costeer_error *err)
{
    size_t needed = 0;
    for (size_t i = 0; i < n_frames; i++) {
        needed += costeer_wire_size_max(&frames[i], outbox->n_vocab);
    }
    costeer_err code = reserve(outbox, needed, err);
    size_t ends[CS_NATIVE_OUTBOX_FRAMES_MAX] = {0};
    size_t n = 0;
    for (size_t i = 0; code == COSTEER_OK && i < n_frames; i++) {
        code = costeer_wire_encode(&frames[i], outbox->n_vocab, outbox->bytes, outbox->capacity, &n, err);
        ends[i] = n;
    }
    const size_t message_bytes = n + cs_native_link_header_bytes(n, true);
    for (size_t i = 0; code == COSTEER_OK && i < n_frames; i++) {
        code = cs_audit_frame(&outbox->audit, &frames[i], ends[i] - (i == 0 ? 0 : ends[i - 1]), i == 0 ? message_bytes : 0, err);
    }
    if (code != COSTEER_OK) {
        return code;
    }
    if (!cs_native_link_send(outbox->link, outbox->bytes, n)) {
        return cs_error_set(err, COSTEER_ECLOUD, "cloud", "the node takes no more messages");
    }
    outbox->bytes_up += message_bytes;
    outbox->n_messages++;
    return COSTEER_OK;
}
