/* Random weights, streamed: rows of any ggml type without ever holding a tensor. */
#ifndef COSTEER_BENCH_RANDOM_WEIGHTS_H
#define COSTEER_BENCH_RANDOM_WEIGHTS_H

#include "util/file.h"

#include <ggml.h>
#include <stdbool.h>
#include <stdint.h>

/** A generator (SplitMix64): the same seed gives the same file on every machine. */
typedef struct cs_random {
    uint64_t state;
} cs_random;

/** One draw of about N(0, 1). */
float cs_random_normal(cs_random *random);

/**
 * Write a vector of F32 values drawn from N(mean, deviation).
 *
 * @return false when that failed; out->error says why
 */
bool cs_weights_write_vector(cs_output *out, cs_random *random, int64_t n, float mean, float deviation);

/**
 * Write a matrix of values drawn from N(0, deviation), quantised.
 *
 * @return false when that failed; out->error says why (ENOMEM: memory is short)
 */
bool cs_weights_write_matrix(cs_output *out, cs_random *random, enum ggml_type type, int64_t n_columns, int64_t n_rows,
                             float deviation);

#endif
