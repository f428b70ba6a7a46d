/* The best K of a dense base, as the log-probabilities that a sparse one carries. Pure; no allocation. */
#ifndef CS_CLOUD_TOP_K_H
#define CS_CLOUD_TOP_K_H

#include <stdint.h>

/** Index of the largest value, the lowest one at a tie; NaN never wins unless nothing else is there. n >= 1. */
int32_t cs_argmax(const float *values, int32_t n);

/**
 * Write the k largest logits as log-probabilities of the softmax over all n, descending, ties by lower id.
 *
 * @param ids, values  [k]; values are log-softmax, nats, finite and <= 0
 * @return entries written: k, or fewer when fewer are finite; 0 when the logits are no distribution (NaN, +inf, or all −inf)
 */
int32_t cs_top_k_logprobs(const float *logits, int32_t n, int32_t k, int32_t *ids, float *values);

#endif
