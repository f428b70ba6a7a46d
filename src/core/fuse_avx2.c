/*
 * The fusion kernel for AVX2: 4 scores at a time, two vectors in flight.
 *
 * The floats are widened as they are loaded; multiply and add stay separate instructions (see fuse_kernel.h). The body is written
 * once and inlined with constant counts, so that no, one or two deltas run without an inner loop. As in fuse_plain.c the running
 * sum shows whether all was finite; the vector maximum alone would lose a NaN.
 */
#include "core/fuse_kernel.h"

#if CS_FUSE_X86

#include <immintrin.h>
#include <math.h>

#define LANES         4
#define TARGET        __attribute__((target("avx2")))
#define TARGET_INLINE __attribute__((target("avx2"), always_inline)) static inline

TARGET_INLINE __m256d score_vector(const float *base, const struct cs_fuse_term *terms, const size_t n_terms,
                                   const bool is_limited, size_t first, size_t i)
{
    __m256d score = _mm256_cvtps_pd(_mm_loadu_ps(base + i));
    for (size_t j = 0; j < n_terms; j++) {
        const __m256d expert = _mm256_cvtps_pd(_mm_loadu_ps(terms[j].expert + first + i));
        const __m256d amateur = _mm256_cvtps_pd(_mm_loadu_ps(terms[j].amateur + first + i));
        __m256d delta = _mm256_sub_pd(expert, amateur);
        if (is_limited) {
            delta = _mm256_sub_pd(delta, _mm256_set1_pd(terms[j].shift));
            const __m256d is_below = _mm256_cmp_pd(expert, _mm256_set1_pd(terms[j].floor), _CMP_LT_OQ);
            const __m256d at_most_0 = _mm256_min_pd(_mm256_setzero_pd(), delta); /* in this order a NaN stays */
            delta = _mm256_blendv_pd(delta, at_most_0, is_below);
        }
        const __m256d weighted = _mm256_mul_pd(_mm256_set1_pd(terms[j].weight), delta);
        score = _mm256_add_pd(score, weighted);
    }
    return score;
}

TARGET_INLINE double reduce_max(__m256d v)
{
    const __m128d two = _mm_max_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_max_sd(two, _mm_unpackhi_pd(two, two)));
}

TARGET_INLINE double reduce_add(__m256d v)
{
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

TARGET_INLINE bool block_body(const float *base, const struct cs_fuse_term *terms, const size_t n_terms, const bool is_limited,
                              size_t first, size_t n, double *const scores, double *max)
{
    __m256d best0 = _mm256_set1_pd(-INFINITY), best1 = best0;
    __m256d sum0 = _mm256_setzero_pd(), sum1 = sum0;
    size_t i = 0;
    for (; i + (size_t)2 * LANES <= n; i += (size_t)2 * LANES) {
        const __m256d s0 = score_vector(base, terms, n_terms, is_limited, first, i);
        const __m256d s1 = score_vector(base, terms, n_terms, is_limited, first, i + LANES);
        best0 = _mm256_max_pd(best0, s0);
        best1 = _mm256_max_pd(best1, s1);
        sum0 = _mm256_add_pd(sum0, s0);
        sum1 = _mm256_add_pd(sum1, s1);
        if (scores != NULL) {
            _mm256_storeu_pd(scores + i, s0);
            _mm256_storeu_pd(scores + i + LANES, s1);
        }
    }
    double best = reduce_max(_mm256_max_pd(best0, best1));
    double sum = reduce_add(_mm256_add_pd(sum0, sum1));
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
#define MOMENTS_LOAD(from) _mm256_cvtps_pd(_mm_loadu_ps(from))
#define MOMENTS_MAX(a, b)  _mm256_max_pd(a, b)
#define MOMENTS_MIN(a, b)  _mm256_min_pd(a, b)
#include "core/fuse_moments.h"

static const struct cs_fuse_kernel kernel = {"avx2", block, moments};

const struct cs_fuse_kernel *cs_fuse_kernel_avx2(void)
{
    return __builtin_cpu_supports("avx2") ? &kernel : NULL;
}

#else

const struct cs_fuse_kernel *cs_fuse_kernel_avx2(void)
{
    return NULL;
}

#endif
