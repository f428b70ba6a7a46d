/* What several positions cost in one LLM step: the price of a draft. */
#ifndef CS_BENCH_BATCH_BENCH_H
#define CS_BENCH_BATCH_BENCH_H

#include <costeer/error.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define CS_BENCH_BATCH_SIZES_MAX 8

typedef struct cs_bench_batch_params {
    const char *llm; /* GGUF file */
    int32_t n_threads;
    int32_t n_prompt;                        /* positions already there, >= 1 */
    int32_t n_rounds;                        /* of all sizes in turn, >= 1 */
    int32_t sizes[CS_BENCH_BATCH_SIZES_MAX]; /* positions of a step, 1 … COSTEER_WIRE_DRAFTS_MAX + 1 */
    size_t n_sizes;
    const atomic_bool *cancel;
} cs_bench_batch_params;

/**
 * Measure steps of the sizes given with the batcher that a node uses: logits, log-softmax and the best 64 of every position.
 *
 * @param[out] step_us  [n_sizes] medians
 * @return COSTEER_OK; errors of the model and the batcher; COSTEER_ECANCELED
 */
costeer_err cs_bench_batch(const cs_bench_batch_params *params, double *step_us, costeer_error *err);

#endif
