/*
 * The sums that limits need (limits.c), as a body that each kernel compiles for its own instruction set.
 *
 * Included by the kernels, each with its MOMENTS_LANES doubles a vector and its MOMENTS_TARGET. Eight partial sums are kept and
 * added up in one order whatever the width, and exp is made of the same operations, never contracted: so the bits are the same
 * everywhere. Vectors are GCC's and clang's extension, of a width that the instruction set has.
 */
#include "core/portable_math.h"

#include <float.h>

/* Vectors for the eight partial sums. */
#define MOMENTS_VECTORS (8 / MOMENTS_LANES)

typedef double moments_double __attribute__((vector_size(8 * MOMENTS_LANES)));
typedef float moments_float __attribute__((vector_size(4 * MOMENTS_LANES)));
typedef int32_t moments_int __attribute__((vector_size(4 * MOMENTS_LANES)));
typedef int64_t moments_long __attribute__((vector_size(8 * MOMENTS_LANES)));

#define MOMENTS_INLINE __attribute__((always_inline)) static inline MOMENTS_TARGET

MOMENTS_INLINE void moments_load(const float *from, moments_double *out)
{
    moments_float values;
    memcpy(&values, from, sizeof values);
    *out = __builtin_convertvector(values, moments_double);
}

/*
 * x becomes exp(x), for x <= 0; 0 below CS_EXP_MIN. As cs_portable_exp() but with Taylor's terms up to r^9/9!: with |r| <= ln 2 / 2
 * the rest is below 1e-11, which is nothing in a sum.
 */
MOMENTS_INLINE void moments_exp(moments_double *x)
{
    static const double inverse_factorial[] = {1.0 / 40320, 1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24,
                                               1.0 / 6,     1.0 / 2,    1.0,       1.0};
    const moments_double zero = {0};
    const moments_long is_large = *x >= zero + CS_EXP_MIN; /* false for NaN */
    const moments_double clamped = (moments_double)((moments_long)*x & is_large);
    const moments_int exponent = __builtin_convertvector(clamped * CS_LOG2_E - 0.5, moments_int);
    const moments_double k = __builtin_convertvector(exponent, moments_double);
    moments_double r = clamped - k * CS_LN2_HIGH;
    r = r - k * CS_LN2_LOW;
    moments_double p = zero + 1.0 / 362880;
    for (size_t i = 0; i < sizeof inverse_factorial / sizeof inverse_factorial[0]; i++) {
        p = p * r + inverse_factorial[i];
    }
    const moments_long bits = (__builtin_convertvector(exponent, moments_long) + 1023) << 52; /* 2^k */
    const moments_double value = p * (moments_double)bits;
    *x = (moments_double)((moments_long)value & is_large);
}

struct moments_sums {
    moments_double expert[MOMENTS_VECTORS];
    moments_double amateur[MOMENTS_VECTORS];
    moments_double cross[MOMENTS_VECTORS];
};

/* Add eight entries. */
MOMENTS_INLINE void moments_add(const float *expert, const float *amateur, double expert_max, double amateur_max,
                                struct moments_sums *sums)
{
    for (size_t v = 0; v < MOMENTS_VECTORS; v++) {
        moments_double e;
        moments_double a;
        moments_load(expert + v * MOMENTS_LANES, &e);
        moments_load(amateur + v * MOMENTS_LANES, &a);
        moments_double p = e - expert_max;
        moments_double q = a - amateur_max;
        moments_exp(&p);
        moments_exp(&q);
        sums->expert[v] += p;
        sums->amateur[v] += q;
        sums->cross[v] += p * (e - a);
    }
}

static double moments_total(const moments_double *sums)
{
    double s[8];
    memcpy(s, sums, sizeof s);
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

/* The largest value; with a NaN among them, whatever. */
MOMENTS_TARGET static double moments_max(const float *values, size_t n)
{
    float max[16];
    for (size_t lane = 0; lane < 16; lane++) {
        max[lane] = -INFINITY;
    }
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        for (size_t lane = 0; lane < 16; lane++) {
            max[lane] = values[i + lane] > max[lane] ? values[i + lane] : max[lane];
        }
    }
    for (; i < n; i++) {
        max[0] = values[i] > max[0] ? values[i] : max[0];
    }
    for (size_t lane = 1; lane < 16; lane++) {
        max[0] = max[lane] > max[0] ? max[lane] : max[0];
    }
    return (double)max[0];
}

MOMENTS_TARGET static bool moments(const float *expert, const float *amateur, size_t n, struct cs_fuse_moments *out)
{
    struct moments_sums sums = {0};
    out->expert_max = moments_max(expert, n);
    out->amateur_max = moments_max(amateur, n);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        moments_add(expert + i, amateur + i, out->expert_max, out->amateur_max, &sums);
    }
    if (i < n) {
        float e[8];
        float a[8];
        for (size_t lane = 0; lane < 8; lane++) { /* of no weight, and no difference */
            e[lane] = i + lane < n ? expert[i + lane] : -FLT_MAX;
            a[lane] = i + lane < n ? amateur[i + lane] : -FLT_MAX;
        }
        moments_add(e, a, out->expert_max, out->amateur_max, &sums);
    }
    out->expert_sum = moments_total(sums.expert);
    out->amateur_sum = moments_total(sums.amateur);
    out->cross = moments_total(sums.cross);
    return isfinite(out->cross) && isfinite(out->expert_max) && isfinite(out->amateur_max); /* cross: NaN and -inf show in it */
}
