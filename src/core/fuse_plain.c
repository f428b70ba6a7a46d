/*
 * The fusion kernel in portable C: the reference for the others, and the only one on machines that are not x86-64.
 *
 * Like the others it proves a block finite by adding up its scores: an infinity or a NaN survives every further addition, and the
 * sum of finite scores of float inputs cannot overflow a double. (Should a huge weight make it overflow after all, the block
 * merely takes the careful path.) Four partial sums keep the additions from waiting for each other.
 */
#include "core/fuse_kernel.h"

#include <math.h>

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF /* GCC does not know the pragma; -ffp-contract=off serves there */
#endif

/* Four tokens a turn, one for each partial result; inlined with a constant number of terms it needs no inner loop. */
static inline bool block_body(const float *base, const struct cs_fuse_term *terms, const size_t n_terms, const bool is_limited,
                              size_t first, size_t n, double *const scores, double *max)
{
    double best[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    double sum[4] = {0, 0, 0, 0};
    for (size_t i = 0; i < n; i += 4) {
        for (size_t lane = 0; lane < 4 && i + lane < n; lane++) {
            const double score = cs_fuse_score(base[i + lane], terms, n_terms, is_limited, first + i + lane);
            best[lane] = score > best[lane] ? score : best[lane];
            sum[lane] += score;
            if (scores != NULL) {
                scores[i + lane] = score;
            }
        }
    }
    const double low = best[0] > best[1] ? best[0] : best[1];
    const double high = best[2] > best[3] ? best[2] : best[3];
    *max = low > high ? low : high;
    return isfinite((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

static bool block(const float *base, const struct cs_fuse_terms *terms, size_t first, size_t n, double *scores, double *max)
{
    if (terms->is_limited) {
        return block_body(base, terms->term, terms->n, true, first, n, scores, max);
    }
    if (terms->n == 1 && scores == NULL) {
        return block_body(base, terms->term, 1, false, first, n, NULL, max);
    }
    return block_body(base, terms->term, terms->n, false, first, n, scores, max);
}

/* Two doubles: what all 64-bit machines have a vector for. */
#define MOMENTS_LANES 2
#define MOMENTS_TARGET
#define MOMENTS_LOAD(from) ((moments_double){(double)(from)[0], (double)(from)[1]})
#define MOMENTS_CHOOSE(is_a, a, b) \
    ((moments_double)(((moments_bits)(is_a) & (moments_bits)(a)) | (~(moments_bits)(is_a) & (moments_bits)(b))))
#define MOMENTS_MAX(a, b) MOMENTS_CHOOSE((a) > (b), a, b)
#define MOMENTS_MIN(a, b) MOMENTS_CHOOSE((a) < (b), a, b)
#include "core/fuse_moments.h"

static const struct cs_fuse_kernel kernel = {"plain", block, moments};

const struct cs_fuse_kernel *cs_fuse_kernel_plain(void)
{
    return &kernel;
}
