/* The one way out: frames are encoded, written to the audit, counted, and queued, in this order, here and nowhere else. */
#ifndef CS_CLOUD_NATIVE_OUTBOX_H
#define CS_CLOUD_NATIVE_OUTBOX_H

#include "cloud/audit.h"
#include "cloud/native_link.h"

/** Frames of one message at most: a commit or correction, and a draft. */
#define CS_NATIVE_OUTBOX_FRAMES_MAX 2

typedef struct cs_native_outbox {
    cs_native_link *link;
    cs_audit audit;
    int32_t n_vocab;
    uint8_t *bytes; /* [capacity] the message that is put together */
    size_t capacity;
    uint64_t bytes_up; /* WebSocket headers included */
    int32_t n_messages;
} cs_native_outbox;

/** COSTEER_OK; COSTEER_ENOMEM: there is nothing to dispose. */
costeer_err cs_native_outbox_init(cs_native_outbox *outbox, cs_native_link *link, const cs_audit *audit, int32_t n_vocab,
                                  costeer_error *err);
void cs_native_outbox_dispose(cs_native_outbox *outbox);

/**
 * Send 1 … CS_NATIVE_OUTBOX_FRAMES_MAX frames as one message. With the link's lock held.
 *
 * @return COSTEER_OK; COSTEER_EABORTED: the audit refused, nothing was sent; COSTEER_ECLOUD: the node takes nothing;
 * COSTEER_ENOMEM
 */
costeer_err cs_native_outbox_send(cs_native_outbox *outbox, const costeer_frame *frames, size_t n_frames, costeer_error *err);

#endif
