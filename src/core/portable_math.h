/*
 * exp and log whose last bit does not depend on the machine's C library.
 *
 * Libraries round exp and log differently in the last place (glibc even by instruction set). A draw that lands between two such
 * roundings would give another token on another machine. These use only +, −, ·, / in a fixed order and are within 2 ulp.
 * Must be compiled with -ffp-contract=off.
 */
#ifndef CS_CORE_PORTABLE_MATH_H
#define CS_CORE_PORTABLE_MATH_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* ln 2 in two parts: the first has 21 trailing zero bits, so that k·high is exact for any exponent k (Cody and Waite). */
#define CS_LN2_HIGH 0x1.62e42fee00000p-1
#define CS_LN2_LOW  0x1.a39ef35793c76p-33
#define CS_LOG2_E   0x1.71547652b82fep+0

/* Below this exp is subnormal: a probability that no draw can reach, given as 0. */
#define CS_EXP_MIN (-708.0)

/** exp(x) for x <= 709; 0 below CS_EXP_MIN. */
static inline double cs_portable_exp(double x)
{
    if (!(x >= CS_EXP_MIN)) {
        return 0;
    }
    const int64_t exponent = (int64_t)(x * CS_LOG2_E + (x < 0 ? -0.5 : 0.5)); /* to nearest; floor() would be a library call */
    const double k = (double)exponent;
    double r = x - k * CS_LN2_HIGH;
    r = r - k * CS_LN2_LOW;
    /* Taylor to r^13/13!: with |r| <= ln 2 / 2 the rest is below 2^-57. */
    static const double inverse_factorial[] = {
        1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
        1.0 / 720,        1.0 / 120,       1.0 / 24,       1.0 / 6,       1.0 / 2,      1.0,         1.0};
    double p = 0;
    for (size_t i = 0; i < sizeof inverse_factorial / sizeof inverse_factorial[0]; i++) {
        const double scaled = p * r;
        p = scaled + inverse_factorial[i];
    }
    const uint64_t bits = (uint64_t)(exponent + 1023) << 52;
    double power; /* 2^k, from its exponent bits */
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

/** log(x) for finite x > 0: log m by the series of 2 atanh((m − 1)/(m + 1)), m in [sqrt ½, sqrt 2). */
static inline double cs_portable_log(double x)
{
    int exponent = 0;
    double m = frexp(x, &exponent); /* exact everywhere */
    if (m < 0x1.6a09e667f3bcdp-1) {
        m = m * 2;
        exponent--;
    }
    const double s = (m - 1) / (m + 1);
    const double square = s * s;
    double series = 0; /* sum of s^(2i)/(2i + 1), i = 1 … 11: the rest is below 2^-64 */
    for (int i = 11; i >= 1; i--) {
        const double term = 1.0 / (2 * i + 1) + series;
        series = term * square;
    }
    const double low = 2 * s * series + exponent * CS_LN2_LOW;
    return exponent * CS_LN2_HIGH + (2 * s + low);
}

#endif
