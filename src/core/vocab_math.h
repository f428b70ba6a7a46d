/*
 * exp and log of many floats at a time: plain loops that the compiler turns into vector code, the same bits on every instruction
 * set because nothing but +, −, · in a fixed order is used (compile with -ffp-contract=off). Both are within 2 ulp of the true
 * value (tests/unit/test_vocab_mass.c). Polynomials: Cephes expf and logf (S. Moshier).
 */
#ifndef CS_CORE_VOCAB_MATH_H
#define CS_CORE_VOCAB_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* exp(−87) is the last that is not subnormal: finite logits further below the largest count as much as this. */
#define CS_EXP_FLOOR (-87.0F)

static inline float cs_float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t cs_bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/** exp(x) for x <= 0: at least exp(CS_EXP_FLOOR) for finite x, 0 for −inf, NaN for NaN. */
static inline float cs_float_exp(float x)
{
    const float to_integer = 12582912.0F; /* 1.5 · 2^23: adding it leaves no fraction bits */
    const float y = x < CS_EXP_FLOOR ? CS_EXP_FLOOR : x;
    const float shifted = y * 1.44269504F + to_integer;
    const float k = shifted - to_integer;
    const float high = y - k * 0.693359375F; /* ln 2 in two parts, the first with few bits: k · it is exact */
    const float r = high + k * 2.12194440e-4F;
    float p = 1.9875691500e-4F;
    p = p * r + 1.3981999507e-3F;
    p = p * r + 8.3334519073e-3F;
    p = p * r + 4.1665795894e-2F;
    p = p * r + 1.6666665459e-1F;
    p = p * r + 5.0000001201e-1F;
    p = p * (r * r) + r + 1.0F;
    const float power = cs_float_of_bits((cs_bits_of_float(shifted) << 23) + (127U << 23)); /* 2^k: k is in the low bits */
    const float value = p * power;
    return x == -INFINITY ? 0.0F : value;
}

/** log(x · 2^exponent) for x >= the smallest normal number; −inf for 0, NaN for NaN. */
static inline float cs_float_log(float x, int32_t exponent)
{
    const uint32_t bits = cs_bits_of_float(x) - 0x3F3504F3U; /* of sqrt ½: m in [sqrt ½, sqrt 2) */
    const float k = (float)(((int32_t)bits >> 23) + exponent);
    const float m = cs_float_of_bits((bits & 0x007FFFFFU) + 0x3F3504F3U) - 1.0F;
    float p = 7.0376836292e-2F;
    p = p * m - 1.1514610310e-1F;
    p = p * m + 1.1676998740e-1F;
    p = p * m - 1.2420140846e-1F;
    p = p * m + 1.4249322787e-1F;
    p = p * m - 1.6668057665e-1F;
    p = p * m + 2.0000714765e-1F;
    p = p * m - 2.4999993993e-1F;
    p = p * m + 3.3333331174e-1F;
    const float square = m * m;
    float value = p * m * square;
    value = value - k * 2.12194440e-4F;
    value = value - 0.5F * square;
    value = m + value + k * 0.693359375F;
    return x > 0 ? value : (x == 0 ? -INFINITY : x);
}

#endif
