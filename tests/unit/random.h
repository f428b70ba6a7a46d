/* Random numbers for property tests: xorshift64*, seeded by the test, so that a failure can be repeated. */
#ifndef CS_TEST_RANDOM_H
#define CS_TEST_RANDOM_H

#include <stdint.h>

struct test_random {
    uint64_t state; /* not 0 */
};

static inline uint64_t test_random_bits(struct test_random *r)
{
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return r->state * UINT64_C(2685821657736338717);
}

static inline double test_random_between(struct test_random *r, double low, double high)
{
    return low + (high - low) * ((double)(test_random_bits(r) >> 11) * 0x1p-53);
}

/* A number from 0 to n − 1. */
static inline int32_t test_random_below(struct test_random *r, int32_t n)
{
    return (int32_t)((test_random_bits(r) >> 33) % (uint64_t)n);
}

#endif
