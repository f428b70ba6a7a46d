/* Timing of fusion against the published T-step loop and against merely reading the three arrays. */
#ifndef CS_BENCH_FUSE_BENCH_H
#define CS_BENCH_FUSE_BENCH_H

#include <costeer/error.h>
#include <stdint.h>

/** Median times of one position, in microseconds, measured in one run. */
struct cs_bench_fuse_result {
    double choose_us;         /**< costeer_fuse_choose(), one delta */
    double loop_us;           /**< the published update with its defaults (T = 20) in float32, and its argmax */
    double limit_us;          /**< costeer_delta_limit() with both limits: one pass over expert and amateur */
    double limited_choose_us; /**< costeer_fuse_choose() of that delta */
    double read_us;           /**< adding up base, expert and amateur: the least any method must read */
};

/**
 * Measure on synthetic logits.
 *
 * @param n_vocab    151,936 is Qwen2.5's
 * @param n_repeats  of choose and read; the loop, hundreds of times slower, runs for a 20th of that, at least 3 times
 * @return COSTEER_OK; COSTEER_EINVAL; COSTEER_ENOMEM; COSTEER_EINTERNAL when loop and closed form choose different tokens
 */
costeer_err cs_bench_fuse(int32_t n_vocab, int n_repeats, struct cs_bench_fuse_result *out);

#endif
