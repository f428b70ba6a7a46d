/*
 * The fusion kernel for AVX-512: 8 scores at a time, two vectors in flight.
 *
 * The floats are widened as they are loaded; multiply and add stay separate instructions (see fuse_kernel.h). The body is written
 * once and inlined with constant counts, so that no, one or two deltas run without an inner loop. As in fuse_plain.c the running
 * sum shows whether all was finite; the vector maximum alone would lose a NaN.
 */
#include "core/fuse_kernel.h"

#if CS_FUSE_X86

#include <immintrin.h>
#include <math.h>

#define LANES         8
#define TARGET        __attribute__((target("avx512f,avx512dq")))
#define TARGET_INLINE __attribute__((target("avx512f,avx512dq"), always_inline)) static inline

TARGET_INLINE __m512d score_vector(const float *base, const struct cs_fuse_term *terms, const size_t n_terms,
                                   const bool is_limited, size_t first, size_t i)
{
    __m512d score = _mm512_cvtps_pd(_mm256_loadu_ps(base + i));
    for (size_t j = 0; j < n_terms; j++) {
        const __m512d expert = _mm512_cvtps_pd(_mm256_loadu_ps(terms[j].expert + first + i));
        const __m512d amateur = _mm512_cvtps_pd(_mm256_loadu_ps(terms[j].amateur + first + i));
        __m512d delta = _mm512_sub_pd(expert, amateur);
        if (is_limited) {
            delta = _mm512_sub_pd(delta, _mm512_set1_pd(terms[j].shift));
            const __mmask8 is_below = _mm512_cmp_pd_mask(expert, _mm512_set1_pd(terms[j].floor), _CMP_LT_OQ);
            delta = _mm512_mask_min_pd(delta, is_below, _mm512_setzero_pd(), delta); /* in this order a NaN stays */
        }
        const __m512d weighted = _mm512_mul_pd(_mm512_set1_pd(terms[j].weight), delta);
        score = _mm512_add_pd(score, weighted);
    }
    return score;
}

TARGET_INLINE bool block_body(const float *base, const struct cs_fuse_term *terms, const size_t n_terms, const bool is_limited,
                              size_t first, size_t n, double *const scores, double *max)
{
    __m512d best0 = _mm512_set1_pd(-INFINITY), best1 = best0;
    __m512d sum0 = _mm512_setzero_pd(), sum1 = sum0;
    size_t i = 0;
    for (; i + (size_t)2 * LANES <= n; i += (size_t)2 * LANES) {
        const __m512d s0 = score_vector(base, terms, n_terms, is_limited, first, i);
        const __m512d s1 = score_vector(base, terms, n_terms, is_limited, first, i + LANES);
        best0 = _mm512_max_pd(best0, s0);
        best1 = _mm512_max_pd(best1, s1);
        sum0 = _mm512_add_pd(sum0, s0);
        sum1 = _mm512_add_pd(sum1, s1);
        if (scores != NULL) {
            _mm512_storeu_pd(scores + i, s0);
            _mm512_storeu_pd(scores + i + LANES, s1);
        }
    }
    double best = _mm512_reduce_max_pd(_mm512_max_pd(best0, best1));
    double sum = _mm512_reduce_add_pd(_mm512_add_pd(sum0, sum1));
    for (; i < n; i++) {
        const double score = cs_fuse_score(base[i], terms, n_terms, is_limited, first + i);
        best = score > best ? score : best;
        sum += score;
        if (scores != NULL) {
            scores[i] = score;
        }
    }
    *max = best;
    return isfinite(sum);
}

TARGET static bool block(const float *base, const struct cs_fuse_terms *terms, size_t first, size_t n, double *scores,
                         double *max)
{
    if (terms->is_limited) {
        return terms->n == 1 && scores == NULL ? block_body(base, terms->term, 1, true, first, n, NULL, max)
                                               : block_body(base, terms->term, terms->n, true, first, n, scores, max);
    }
    if (scores != NULL) {
        return block_body(base, terms->term, terms->n, false, first, n, scores, max);
    }
    switch (terms->n) {
    case 0:
        return block_body(base, terms->term, 0, false, first, n, NULL, max);
    case 1:
        return block_body(base, terms->term, 1, false, first, n, NULL, max);
    case 2:
        return block_body(base, terms->term, 2, false, first, n, NULL, max);
    default:
        return block_body(base, terms->term, terms->n, false, first, n, NULL, max);
    }
}

#define MOMENTS_LANES      LANES
#define MOMENTS_TARGET     TARGET
#define MOMENTS_LOAD(from) _mm512_cvtps_pd(_mm256_loadu_ps(from))
#define MOMENTS_MAX(a, b)  _mm512_max_pd(a, b)
#define MOMENTS_MIN(a, b)  _mm512_min_pd(a, b)
#include "core/fuse_moments.h"

static const struct cs_fuse_kernel kernel = {"avx512", block, moments};

const struct cs_fuse_kernel *cs_fuse_kernel_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") ? &kernel : NULL;
}

#else

const struct cs_fuse_kernel *cs_fuse_kernel_avx512(void)
{
    return NULL;
}

#endif
