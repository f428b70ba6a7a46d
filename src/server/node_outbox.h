/*
 * Frames that wait to be written to a device: a queue of bytes that grows to what is needed, never beyond its bound, and from
 * which distributions of an old epoch can be taken out again. The batcher's thread puts in, the loop's takes out.
 */
#ifndef CS_SERVER_NODE_OUTBOX_H
#define CS_SERVER_NODE_OUTBOX_H

#include <costeer/wire.h>
#include <pthread.h>

/** Epoch of a frame that is not a distribution, and is never taken out. */
#define CS_OUTBOX_CONTROL (-1)

typedef struct cs_outbox {
    pthread_mutex_t lock; /**< the caller holds it for every call but init and dispose */
    uint8_t *bytes;       /**< [capacity] of records: a head, then the frame */
    size_t begin;
    size_t end;
    size_t capacity;
    size_t bound;   /**< for records of distributions; control frames have CS_OUTBOX_RESERVE more */
    bool is_failed; /**< something did not fit: the reader is too slow, or memory is out */
} cs_outbox;

/** Room that distributions leave for what ends an answer. */
#define CS_OUTBOX_RESERVE 2048

/** Bytes that a frame takes in here. */
size_t cs_outbox_record_bytes(size_t n_frame_bytes);

bool cs_outbox_init(cs_outbox *out, size_t bound);
void cs_outbox_dispose(cs_outbox *out);

/** Append a frame; COSTEER_ETOOLONG (and is_failed) when it does not fit, COSTEER_EINVAL when the encoder refuses it. */
costeer_err cs_outbox_push(cs_outbox *out, const costeer_frame *frame, int32_t n_vocab, int32_t epoch);

/** Take out all distributions of epochs before this one. */
void cs_outbox_drop(cs_outbox *out, int32_t epoch);

/** Take out everything, and forget a failure. */
void cs_outbox_clear(cs_outbox *out);

bool cs_outbox_is_empty(const cs_outbox *out);

/** Bytes of the first frame; 0: there is none. */
size_t cs_outbox_first_bytes(const cs_outbox *out);

/** Move whole frames, the first in any case, others while they fit into `size`, to `to`. Returns their bytes. */
size_t cs_outbox_take(cs_outbox *out, uint8_t *to, size_t size);

#endif
