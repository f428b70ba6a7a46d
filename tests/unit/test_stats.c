/* Intervals and p-values: against tests/golden/stats.json, made by a second implementation, and by their properties. */
#include <costeer/stats.h>

#include "core/philox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#define N_MAX     1000
#define TOLERANCE 1e-12

static void assert_near(double got, double wanted, double tolerance)
{
    if (!(fabs(got - wanted) <= tolerance)) {
        fail_msg("%.17g is not %.17g", got, wanted);
    }
}

static size_t read_numbers(const json_t *object, const char *name, double out[N_MAX])
{
    const json_t *list = json_object_get(object, name);
    size_t n = json_array_size(list);
    assert_in_range(n, 1, N_MAX);
    for (size_t i = 0; i < n; i++) {
        out[i] = json_number_value(json_array_get(list, i));
    }
    return n;
}

static void assert_interval(const json_t *wanted, const costeer_interval *got)
{
    assert_int_equal(json_array_size(wanted), 3);
    assert_near(json_number_value(json_array_get(wanted, 0)), got->value, TOLERANCE);
    assert_near(json_number_value(json_array_get(wanted, 1)), got->low, TOLERANCE);
    assert_near(json_number_value(json_array_get(wanted, 2)), got->high, TOLERANCE);
}

static void assert_case(const json_t *c)
{
    static double a[N_MAX];
    static double b[N_MAX];
    static double weights[N_MAX];
    size_t n = read_numbers(c, "a", a);
    assert_int_equal(read_numbers(c, "b", b), n);
    assert_int_equal(read_numbers(c, "weights", weights), n);
    uint64_t seed = strtoull(json_string_value(json_object_get(c, "seed")), NULL, 10);
    int32_t n_rounds = (int32_t)json_integer_value(json_object_get(c, "n_rounds"));
    costeer_interval got;
    double p;
    assert_int_equal(costeer_stats_bootstrap_mean(a, n, seed, n_rounds, &got, NULL), COSTEER_OK);
    assert_interval(json_object_get(c, "mean"), &got);
    assert_int_equal(costeer_stats_bootstrap_ratio(a, weights, n, seed, n_rounds, &got, NULL), COSTEER_OK);
    assert_interval(json_object_get(c, "ratio"), &got);
    assert_int_equal(costeer_stats_permutation_test(a, b, n, seed, n_rounds, &p, NULL), COSTEER_OK);
    assert_near(json_number_value(json_object_get(c, "p")), p, TOLERANCE);
}

static void test_stats__are_those_of_the_second_implementation(void **state)
{
    (void)state;
    json_t *cases = json_load_file(COSTEER_TEST_GOLDEN_DIR "/stats.json", 0, NULL);
    assert_true(json_array_size(cases) >= 16);
    size_t i;
    json_t *c;
    json_array_foreach(cases, i, c)
    {
        assert_case(c);
    }
    json_decref(cases);
}

/* Numbers of [0, 1) that do not depend on the code under test. */
static void fill(double *values, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t words[4];
        cs_philox4x32((const uint32_t[4]){(uint32_t)i, 7, 7, 7}, (const uint32_t[2]){seed, 1}, words);
        values[i] = words[0] / 4294967296.0;
    }
}

static void test_bootstrap__of_equal_values_has_no_width(void **state)
{
    (void)state;
    const double values[] = {0.25, 0.25, 0.25};
    costeer_interval got;
    assert_int_equal(costeer_stats_bootstrap_mean(values, 3, 1, 500, &got, NULL), COSTEER_OK);
    assert_near(got.low, 0.25, 0.0);
    assert_near(got.high, 0.25, 0.0);
}

static void test_bootstrap__holds_the_true_mean_nineteen_times_of_twenty(void **state)
{
    (void)state;
    int n_held = 0;
    for (uint32_t i = 0; i < 300; i++) {
        double values[50];
        costeer_interval got;
        fill(values, 50, i);
        assert_int_equal(costeer_stats_bootstrap_mean(values, 50, 5, 400, &got, NULL), COSTEER_OK);
        assert_true(got.low <= got.value && got.value <= got.high);
        n_held += got.low <= 0.5 && 0.5 <= got.high;
    }
    assert_in_range(n_held, 270, 295); /* 285 wanted; fixed numbers, so this is no matter of luck */
}

static void test_bootstrap__width_is_that_of_the_normal_law(void **state)
{
    (void)state;
    double values[400];
    costeer_interval got;
    fill(values, 400, 1);
    assert_int_equal(costeer_stats_bootstrap_mean(values, 400, 3, 2000, &got, NULL), COSTEER_OK);
    assert_near(got.high - got.low, 2 * 1.96 * sqrt(1.0 / 12.0 / 400.0), 0.006);
}

static void test_bootstrap__a_ratio_over_ones_is_the_mean(void **state)
{
    (void)state;
    double values[20];
    double ones[20];
    fill(values, 20, 2);
    for (int i = 0; i < 20; i++) {
        ones[i] = 1.0;
    }
    costeer_interval mean;
    costeer_interval ratio;
    assert_int_equal(costeer_stats_bootstrap_mean(values, 20, 9, 100, &mean, NULL), COSTEER_OK);
    assert_int_equal(costeer_stats_bootstrap_ratio(values, ones, 20, 9, 100, &ratio, NULL), COSTEER_OK);
    assert_memory_equal(&mean, &ratio, sizeof mean);
}

static void test_bootstrap__rounds_without_a_denominator_do_not_count(void **state)
{
    (void)state;
    const double tops[] = {2.0, 0.0};
    const double bottoms[] = {1.0, 0.0};
    costeer_interval got;
    assert_int_equal(costeer_stats_bootstrap_ratio(tops, bottoms, 2, 9, 100, &got, NULL), COSTEER_OK);
    assert_near(got.low, 2.0, 0.0);
    assert_near(got.high, 2.0, 0.0);
}

static void test_permutation__p_is_uniform_where_nothing_differs(void **state)
{
    (void)state;
    int n_below[2] = {0, 0};
    for (uint32_t i = 0; i < 400; i++) {
        double a[30];
        double b[30];
        double p;
        fill(a, 30, 2 * i + 1000);
        fill(b, 30, 2 * i + 1001);
        assert_int_equal(costeer_stats_permutation_test(a, b, 30, i, 300, &p, NULL), COSTEER_OK);
        n_below[0] += p <= 0.1;
        n_below[1] += p <= 0.5;
    }
    assert_in_range(n_below[0], 25, 55);   /* 40 wanted */
    assert_in_range(n_below[1], 170, 230); /* 200 wanted */
}

static void test_permutation__a_plain_difference_is_seen_and_either_order_tells_the_same(void **state)
{
    (void)state;
    double a[60];
    double b[60];
    double p;
    double q;
    fill(a, 60, 1);
    fill(b, 60, 2);
    for (int i = 0; i < 60; i++) {
        b[i] += 0.4;
    }
    assert_int_equal(costeer_stats_permutation_test(a, b, 60, 1, 999, &p, NULL), COSTEER_OK);
    assert_int_equal(costeer_stats_permutation_test(b, a, 60, 1, 999, &q, NULL), COSTEER_OK);
    assert_near(p, 0.001, 1e-12); /* no round was as extreme */
    assert_near(p, q, 0.0);
}

static void test_permutation__few_rows_are_tested_exactly(void **state)
{
    (void)state;
    const double a[] = {1.0, 2.0, 3.0, 4.0};
    const double b[] = {0.0, 0.0, 0.0, 0.0};
    double p;
    assert_int_equal(costeer_stats_permutation_test(a, b, 4, 1, 16, &p, NULL), COSTEER_OK);
    assert_near(p, 2.0 / 16.0, 0.0); /* all plus and all minus */
    assert_int_equal(costeer_stats_permutation_test(a, a, 4, 1, 16, &p, NULL), COSTEER_OK);
    assert_near(p, 1.0, 0.0);
}

static void test_stats__bad_input_is_refused(void **state)
{
    (void)state;
    const double good[] = {1.0, 2.0};
    const double bad[] = {1.0, (double)NAN};
    const double zeros[] = {0.0, 0.0};
    const double below[] = {3.0, -1.0};
    costeer_interval got;
    double p;
    costeer_error err;
    assert_int_equal(costeer_stats_bootstrap_mean(good, 0, 1, 10, &got, &err), COSTEER_EINVAL);
    assert_int_equal(costeer_stats_bootstrap_mean(good, 2, 1, 0, &got, &err), COSTEER_EINVAL);
    assert_int_equal(costeer_stats_bootstrap_mean(bad, 2, 1, 10, &got, &err), COSTEER_EINVAL);
    assert_int_equal(costeer_stats_bootstrap_ratio(good, zeros, 2, 1, 10, &got, &err), COSTEER_EINVAL);
    assert_int_equal(costeer_stats_bootstrap_ratio(good, below, 2, 1, 10, &got, &err), COSTEER_EINVAL);
    assert_int_equal(costeer_stats_permutation_test(good, bad, 2, 1, 10, &p, &err), COSTEER_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stats__are_those_of_the_second_implementation),
        cmocka_unit_test(test_bootstrap__of_equal_values_has_no_width),
        cmocka_unit_test(test_bootstrap__holds_the_true_mean_nineteen_times_of_twenty),
        cmocka_unit_test(test_bootstrap__width_is_that_of_the_normal_law),
        cmocka_unit_test(test_bootstrap__a_ratio_over_ones_is_the_mean),
        cmocka_unit_test(test_bootstrap__rounds_without_a_denominator_do_not_count),
        cmocka_unit_test(test_permutation__p_is_uniform_where_nothing_differs),
        cmocka_unit_test(test_permutation__a_plain_difference_is_seen_and_either_order_tells_the_same),
        cmocka_unit_test(test_permutation__few_rows_are_tested_exactly),
        cmocka_unit_test(test_stats__bad_input_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
