/* What every measurement needs: medians, and how much memory the process has used. */
#ifndef CS_BENCH_STATS_H
#define CS_BENCH_STATS_H

#include <stddef.h>
#include <stdint.h>

/** Return the median of values[0..n), which are sorted in place; NaN for none. */
double cs_bench_median(double *values, size_t n);

/** Have cs_bench_peak_bytes() start anew; where the system cannot, the peak is that of the whole run. */
void cs_bench_forget_peak(void);

/** Return the largest resident size the process has had, in bytes; 0 when the system does not tell. */
uint64_t cs_bench_peak_bytes(void);

/**
 * Return the bytes of a model's KV cache: keys and values of 16 bits for every layer and position.
 *
 * @param path         GGUF file; its metadata give layers, heads and their width
 * @param n_ctx        positions of one sequence
 * @param n_sequences  each with a cache of its own
 * @return 0 when the file does not say
 */
uint64_t cs_bench_kv_bytes(const char *path, int32_t n_ctx, int32_t n_sequences);

#endif
