/* What the tests of fusion share. */
#ifndef TESTS_FUSE_SUPPORT_H
#define TESTS_FUSE_SUPPORT_H

#include <costeer/steer.h>

#include "core/fuse_kernel.h"
#include "random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define WIDE ((size_t)5000) /* spans three blocks of the kernels */

static inline float *new_floats(size_t n)
{
    float *const values = calloc(n, sizeof *values);
    assert_non_null(values);
    return values;
}

static inline double *new_doubles(size_t n)
{
    double *const values = calloc(n, sizeof *values);
    assert_non_null(values);
    return values;
}

static inline void fill(struct test_random *r, float *values, int32_t n, double spread, double offset)
{
    for (int32_t i = 0; i < n; i++) {
        values[i] = (float)(offset + test_random_between(r, -spread, spread));
    }
}

static inline costeer_base dense(const float *values, int32_t n)
{
    return (costeer_base){.values = values, .n = n};
}

static inline int use_best_isa(void **state)
{
    (void)state;
    return cs_fuse_force_isa(NULL) ? 0 : -1;
}

/* Sprinkle −inf over the arrays where the policy is defined: base alone, both SLM arrays, and the expert alone. */
static inline void sprinkle(struct test_random *r, float *base, float *expert, float *amateur, int32_t n)
{
    for (int32_t i = 1; i < n; i++) { /* token 0 stays: something must be left */
        switch (test_random_below(r, 12)) {
        case 0:
            base[i] = -INFINITY;
            break;
        case 1:
            expert[i] = amateur[i] = -INFINITY;
            break;
        case 2:
            expert[i] = -INFINITY;
            break;
        default:
            break;
        }
    }
}

/* Every test begins on the instruction set that users get. */
#define WITH_BEST_ISA(test) cmocka_unit_test_setup(test, use_best_isa)

#endif
