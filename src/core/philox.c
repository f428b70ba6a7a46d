/*
 * Philox4x32-10 in integer arithmetic only, so every machine gives the same bits. Checked against the known answers that its
 * authors publish with Random123 (tests/unit/test_sampler.c).
 */
#include "core/philox.h"

#include <string.h>

/* Multipliers and key increments as published; the latter are the golden ratio and sqrt(3) − 1 as binary fractions. */
#define MULTIPLIER_0 0xD2511F53U
#define MULTIPLIER_1 0xCD9E8D57U
#define WEYL_0       0x9E3779B9U
#define WEYL_1       0xBB67AE85U
#define ROUNDS       10 /* the authors' recommended number; 7 already pass BigCrush */

void cs_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t x[4];
    uint32_t k0 = key[0], k1 = key[1];
    memcpy(x, counter, sizeof x);
    for (int round = 0; round < ROUNDS; round++) {
        const uint64_t p0 = (uint64_t)MULTIPLIER_0 * x[0];
        const uint64_t p1 = (uint64_t)MULTIPLIER_1 * x[2];
        x[0] = (uint32_t)(p1 >> 32) ^ x[1] ^ k0;
        x[1] = (uint32_t)p1;
        x[2] = (uint32_t)(p0 >> 32) ^ x[3] ^ k1;
        x[3] = (uint32_t)p0;
        k0 += WEYL_0;
        k1 += WEYL_1;
    }
    memcpy(out, x, sizeof x);
}
