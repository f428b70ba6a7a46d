/*
 * The sums that limits need (limits.c), as a body that each kernel compiles for its own instruction set.
 *
 * Included by the kernels, each with its MOMENTS_LANES doubles a vector, its MOMENTS_LOAD of as many floats, its
 * MOMENTS_MAX and MOMENTS_MIN, and its MOMENTS_TARGET. Eight partial sums are kept and added up in one order whatever the width,
 * and exp is made of the same operations, never contracted: so the bits are the same everywhere. Vectors are GCC's and clang's
 * extension, of a width that the instruction set has.
 */
#include "core/portable_math.h"

/* Vectors for the eight partial sums. */
#define MOMENTS_VECTORS (8 / MOMENTS_LANES)

/* Values further below the largest have no place in exp's exponent: a block that has one is for the careful path. */
#define MOMENTS_SPREAD 700.0

typedef double moments_double __attribute__((vector_size(8 * MOMENTS_LANES)));
typedef uint64_t moments_bits __attribute__((vector_size(8 * MOMENTS_LANES)));

#define MOMENTS_INLINE __attribute__((always_inline)) MOMENTS_TARGET static inline

/*
 * x becomes exp(x), for -MOMENTS_SPREAD <= x <= 0.
 *
 * As cs_portable_exp() but with Taylor's terms up to r^8/8!: with |r| <= ln 2 / 2 the rest is below 3e-10, which is nothing in a
 * sum. Adding 1.5 * 2^52 rounds to a whole number, and leaves it in the low bits; with 1023 more they are the exponent of 2^k.
 */
MOMENTS_INLINE void moments_exp(moments_double *x)
{
    static const double inverse_factorial[] = {1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 1.0 / 2, 1.0, 1.0};
    const double round = 0x1.8p52 + 1023;
    const moments_double shifted = *x * CS_LOG2_E + round;
    const moments_double k = shifted - round;
    moments_double r = *x - k * CS_LN2_HIGH;
    r = r - k * CS_LN2_LOW;
    moments_double p = r * (1.0 / 40320);
    for (size_t i = 0; i + 1 < sizeof inverse_factorial / sizeof inverse_factorial[0]; i++) {
        p = (p + inverse_factorial[i]) * r;
    }
    /* times 2^52: a shift to the machine, but GCC's analyser knows none of vectors */
    const moments_bits bits = (moments_bits)shifted * ((uint64_t)1 << 52);
    *x = (p + 1.0) * (moments_double)bits;
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
        const moments_double e = MOMENTS_LOAD(expert + v * MOMENTS_LANES);
        const moments_double a = MOMENTS_LOAD(amateur + v * MOMENTS_LANES);
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

/* The largest and the smallest value; with a NaN among them, whatever. */
MOMENTS_TARGET static void moments_range(const float *values, size_t n, double *largest, double *smallest)
{
    moments_double high[MOMENTS_VECTORS];
    moments_double low[MOMENTS_VECTORS];
    double highs[8] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY};
    double lows[8] = {INFINITY, INFINITY, INFINITY, INFINITY, INFINITY, INFINITY, INFINITY, INFINITY};
    memcpy(high, highs, sizeof high);
    memcpy(low, lows, sizeof low);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        for (size_t v = 0; v < MOMENTS_VECTORS; v++) {
            const moments_double value = MOMENTS_LOAD(values + i + v * MOMENTS_LANES);
            high[v] = MOMENTS_MAX(value, high[v]);
            low[v] = MOMENTS_MIN(value, low[v]);
        }
    }
    for (size_t lane = 0; lane < 8; lane++) {
        highs[lane] = high[lane / MOMENTS_LANES][lane % MOMENTS_LANES];
        lows[lane] = low[lane / MOMENTS_LANES][lane % MOMENTS_LANES];
    }
    for (size_t lane = 0; lane < 8; lane++) { /* the rest, and the eight */
        const double value = i + lane < n ? (double)values[i + lane] : highs[0];
        highs[0] = fmax(highs[0], fmax(highs[lane], value));
        lows[0] = fmin(lows[0], fmin(lows[lane], i + lane < n ? value : lows[0]));
    }
    *largest = highs[0];
    *smallest = lows[0];
}

MOMENTS_TARGET static bool moments(const float *expert, const float *amateur, size_t n, struct cs_fuse_moments *out)
{
    struct moments_sums sums = {0};
    double expert_min;
    double amateur_min;
    moments_range(expert, n, &out->expert_max, &expert_min);
    moments_range(amateur, n, &out->amateur_max, &amateur_min);
    if (!(out->expert_max - expert_min <= MOMENTS_SPREAD && out->amateur_max - amateur_min <= MOMENTS_SPREAD)) {
        return false; /* an infinity, too */
    }
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        moments_add(expert + i, amateur + i, out->expert_max, out->amateur_max, &sums);
    }
    if (i < n) {
        float e[8];
        float a[8];
        for (size_t lane = 0; lane < 8; lane++) { /* exp(-600) is nothing */
            e[lane] = i + lane < n ? expert[i + lane] : (float)(out->expert_max - 600);
            a[lane] = i + lane < n ? amateur[i + lane] : (float)(out->amateur_max - 600);
        }
        moments_add(e, a, out->expert_max, out->amateur_max, &sums);
    }
    out->expert_sum = moments_total(sums.expert);
    out->amateur_sum = moments_total(sums.amateur);
    out->cross = moments_total(sums.cross);
    return isfinite(out->cross); /* a NaN shows in it */
}
