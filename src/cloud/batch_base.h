/* A sparse base made from logits: the best entries and an upper bound of what is left. Pure; no allocation. */
#ifndef CS_CLOUD_BATCH_BASE_H
#define CS_CLOUD_BATCH_BASE_H

#include <stdint.h>

/**
 * Write the k best entries (see cs_top_k_logprobs()) and bound the probability of all others.
 *
 * @param ids, values  [k]
 * @param[out] rest    upper bound of the others' probability; 0 when they have none
 * @return entries written; 0 when the logits are no distribution
 */
int32_t cs_base_best(const float *logits, int32_t n_vocab, int32_t k, int32_t *ids, float *values, double *rest);

/** Upper bound of the probability of all but the first k of n entries; `rest` is that of all but the n. */
double cs_base_mass(const float *values, int32_t k, int32_t n, double rest);

/**
 * The log of the probability of all but the first k of n entries, rounded up: costeer_base.tail.
 *
 * @param rest  that of all but the n
 * @return < 0, because 0 would say "not told"; −inf when nothing is left
 */
float cs_base_tail(const float *values, int32_t k, int32_t n, double rest);

#endif
