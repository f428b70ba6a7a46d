/*
 * What the clouds in this process have in common (local.c with a thread of its own, pooled.c in a shared engine): where the
 * answer stands, which calls are allowed, and the base read from a decoder's logits.
 */
#ifndef CS_CLOUD_LOCAL_BASE_H
#define CS_CLOUD_LOCAL_BASE_H

#include "core/decoder.h"

#include <costeer/cloud.h>

/** Where the answer stands, seen from the device. */
typedef enum cs_local_phase {
    CS_LOCAL_CLOSED,  /**< no answer is open */
    CS_LOCAL_RUNNING, /**< a position is being computed, or is done and has not been asked for */
    CS_LOCAL_READY,   /**< next() has delivered the position: deepen and commit are allowed */
    CS_LOCAL_FAILED,  /**< an error was delivered: only close is left */
} cs_local_phase;

typedef struct cs_local_base {
    costeer_cloud cloud; /**< first: the cloud is the object */
    cs_decoder *decoder; /**< of one sequence */
    int32_t n_vocab;
    const atomic_bool *cancel; /**< the caller's, from the request */
    cs_local_phase phase;
    int32_t position;
    int32_t max_tokens;
    int32_t top_k;
    int32_t *ids;  /**< [n_vocab] sparse base */
    float *values; /**< [n_vocab] */
    costeer_distribution distribution;
} cs_local_base;

/** Allocate what a base needs; the decoder is set by the caller, and freed with the rest. */
costeer_err cs_local_base_init(cs_local_base *base, const costeer_model *model, const costeer_cloud_ops *ops, costeer_error *err);
void cs_local_base_dispose(cs_local_base *base);

/** True when the caller of the open answer wants it abandoned. */
bool cs_local_base_is_cancelled(const cs_local_base *base);

/** Check the request and set the prompt: what is left is to compute it. */
costeer_err cs_local_base_open(cs_local_base *base, const costeer_cloud_request *request, costeer_error *err);

/** Check that next() may be called. */
costeer_err cs_local_base_check_next(const cs_local_base *base, int32_t position, costeer_error *err);

/** Read the distribution behind what was computed since start_us. */
costeer_err cs_local_base_read(cs_local_base *base, int64_t start_us, costeer_error *err);

/** What next() gives, and the phase after it: the distribution, or the error that computing it has given. */
costeer_err cs_local_base_deliver(cs_local_base *base, costeer_err result, costeer_distribution *out);

/** The operation deepen. */
costeer_err cs_local_base_deepen(costeer_cloud *cloud, int32_t position, int32_t top_k, costeer_distribution *out,
                                 costeer_error *err);

/** Check a commit and go to the next position: what is left is to compute it. */
costeer_err cs_local_base_commit(cs_local_base *base, int32_t position, int32_t token, costeer_error *err);

/** The answer is over; nothing runs. */
void cs_local_base_close(cs_local_base *base);

#endif
