/*
 * The cloud: whatever answers with the base, seen from the device. open → (next → [deepen …] → commit) … → close.
 *
 * The device's loop is the same for every adapter: a model in this process (costeer_cloud_create_local), a cloud node, an
 * existing engine. Only public data passes through: prompt tokens of the query, emitted tokens, the depth asked for.
 */
#ifndef COSTEER_CLOUD_H
#define COSTEER_CLOUD_H

#include <costeer/model.h>
#include <costeer/steer.h>
#include <stdatomic.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct costeer_cloud costeer_cloud;

/** The base at one position. Arrays belong to the cloud and are valid until the next commit, deepen, open or close. */
typedef struct costeer_distribution {
    costeer_base base;
    int32_t position;
    int32_t own_token;  /**< the cloud's own greedy choice */
    int64_t compute_us; /**< time the LLM took for this position, as the cloud reports it */
} costeer_distribution;

/** What a cloud needs to begin an answer. Not owned; copied where needed. */
typedef struct costeer_cloud_request {
    const int32_t *prompt; /**< [n_prompt] token ids */
    size_t n_prompt;
    int32_t top_k;             /**< entries of the base wanted; 0: all */
    int32_t max_tokens;        /**< answer tokens that will be asked for at most */
    const atomic_bool *cancel; /**< may be NULL; set from anywhere: what runs is abandoned and next returns COSTEER_ECANCELED */
} costeer_cloud_request;

/** The operations of an adapter; `self` is the object that embeds costeer_cloud first. */
typedef struct costeer_cloud_ops {
    costeer_err (*open)(costeer_cloud *self, const costeer_cloud_request *request, costeer_error *err);
    costeer_err (*next)(costeer_cloud *self, int32_t position, costeer_distribution *out, costeer_error *err);
    costeer_err (*deepen)(costeer_cloud *self, int32_t position, int32_t top_k, costeer_distribution *out, costeer_error *err);
    costeer_err (*commit)(costeer_cloud *self, int32_t position, int32_t token, costeer_error *err);
    void (*close)(costeer_cloud *self);
    void (*free)(costeer_cloud *self);
} costeer_cloud_ops;

/** Base of every adapter: an adapter's struct begins with one. */
struct costeer_cloud {
    const costeer_cloud_ops *ops;
};

/**
 * Begin an answer; the computation of position 0 starts at once and does not block.
 *
 * @return COSTEER_OK; COSTEER_ETOOLONG when prompt and answer do not fit; COSTEER_EINVAL
 */
COSTEER_API costeer_err costeer_cloud_open(costeer_cloud *cloud, const costeer_cloud_request *request, costeer_error *err);

/** Wait for the base of a position (0 after open, p+1 after commit of p). Blocks until it is there. */
COSTEER_API costeer_err costeer_cloud_next(costeer_cloud *cloud, int32_t position, costeer_distribution *out, costeer_error *err);

/** Ask for more of the same position's base: its top_k best entries, 0 for all. Never names tokens: names would be private. */
COSTEER_API costeer_err costeer_cloud_deepen(costeer_cloud *cloud, int32_t position, int32_t top_k, costeer_distribution *out,
                                             costeer_error *err);

/** Tell the token chosen at a position; the computation of the next one starts at once and does not block. */
COSTEER_API costeer_err costeer_cloud_commit(costeer_cloud *cloud, int32_t position, int32_t token, costeer_error *err);

/** End the answer, in any state; the cloud can be opened again. Waits for a running step to be abandoned. */
COSTEER_API void costeer_cloud_close(costeer_cloud *cloud);
COSTEER_API void costeer_cloud_free(costeer_cloud *cloud);

typedef struct costeer_local_params {
    int32_t n_ctx;     /**< tokens of prompt and answer; 0: what the model was trained for, at most 8192 */
    int32_t n_threads; /**< >= 1 */
} costeer_local_params;

/**
 * Create a cloud that is a model in this process, computing on a thread of its own.
 *
 * @param model     must outlive the cloud
 * @param[out] out  free with costeer_cloud_free(); NULL on failure
 */
COSTEER_API costeer_err costeer_cloud_create_local(const costeer_model *model, const costeer_local_params *params,
                                                   costeer_cloud **out, costeer_error *err);

#ifdef __cplusplus
}
#endif
#endif
