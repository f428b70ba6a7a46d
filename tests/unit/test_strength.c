/* The strength recurrence, its checks, and the error object that reports them. */
#include <costeer/steer.h>

#include "util/error.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static double strength(costeer_strength_params params)
{
    double out = NAN;
    assert_int_equal(costeer_strength_compute(&params, &out, NULL), COSTEER_OK);
    return out;
}

static void assert_near(double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance)) {
        fail_msg("%.17g is not within %g of %.17g", value, tolerance, expected);
    }
}

static void test_strength__defaults_give_the_published_value(void **state)
{
    (void)state;
    assert_near(strength(COSTEER_STRENGTH_DEFAULTS), 1.78325684, 5e-9);
}

static void test_strength__one_step_is_light_costeer(void **state)
{
    (void)state;
    costeer_strength_params p = COSTEER_STRENGTH_DEFAULTS;
    p.T = 1;
    assert_near(strength(p), 1 / 2.1, 1e-15);
    assert_near(strength(p), 0.47619048, 5e-9);
}

static void test_strength__other_known_values(void **state)
{
    (void)state;
    costeer_strength_params p = COSTEER_STRENGTH_DEFAULTS;
    p.T = 50;
    assert_near(strength(p), 2.23402, 5e-6);
    p = COSTEER_STRENGTH_DEFAULTS;
    p.alpha = 0;
    assert_near(strength(p), 0.5, 1e-7);
    p = COSTEER_STRENGTH_DEFAULTS;
    p.lambda = 1;
    assert_near(strength(p), 19.03, 5e-3);
}

static void test_strength__is_linear_in_beta(void **state)
{
    (void)state;
    costeer_strength_params p = COSTEER_STRENGTH_DEFAULTS;
    const double one = strength(p);
    p.beta = -2.5;
    assert_near(strength(p), -2.5 * one, 1e-12);
    p.beta = 0;
    assert_true(strength(p) == 0);
}

static void test_strength__takes_the_largest_T(void **state)
{
    (void)state;
    costeer_strength_params p = COSTEER_STRENGTH_DEFAULTS;
    p.T = COSTEER_STRENGTH_T_MAX;
    p.alpha = 1;
    assert_near(strength(p), p.beta / (p.lambda - p.alpha), 1e-2); /* what the recurrence tends to when alpha < lambda */
}

struct bad_case {
    costeer_strength_params params;
    const char *name;
    const char *value;
};

static void test_strength__names_the_bad_parameter_and_its_value(void **state)
{
    (void)state;
    const struct bad_case cases[] = {
        {{.T = 0, .alpha = 2, .beta = 1, .lambda = 2, .eta = 10}, "T is", "0"},
        {{.T = -7, .alpha = 2, .beta = 1, .lambda = 2, .eta = 10}, "T is", "-7"},
        {{.T = COSTEER_STRENGTH_T_MAX + 1, .alpha = 2, .beta = 1, .lambda = 2, .eta = 10}, "T is", "1000001"},
        {{.T = 20, .alpha = NAN, .beta = 1, .lambda = 2, .eta = 10}, "alpha is", "nan"},
        {{.T = 20, .alpha = -INFINITY, .beta = 1, .lambda = 2, .eta = 10}, "alpha is", "-inf"},
        {{.T = 20, .alpha = 2, .beta = INFINITY, .lambda = 2, .eta = 10}, "beta is", "inf"},
        {{.T = 20, .alpha = 2, .beta = NAN, .lambda = 2, .eta = 10}, "beta is", "nan"},
        {{.T = 20, .alpha = 2, .beta = 1, .lambda = 0, .eta = 10}, "lambda is", "0"},
        {{.T = 20, .alpha = 2, .beta = 1, .lambda = -1.5, .eta = 10}, "lambda is", "-1.5"},
        {{.T = 20, .alpha = 2, .beta = 1, .lambda = NAN, .eta = 10}, "lambda is", "nan"},
        {{.T = 20, .alpha = 2, .beta = 1, .lambda = INFINITY, .eta = 10}, "lambda is", "inf"},
        {{.T = 20, .alpha = 2, .beta = 1, .lambda = 2, .eta = 0}, "eta is", "0"},
        {{.T = 20, .alpha = 2, .beta = 1, .lambda = 2, .eta = -3}, "eta is", "-3"},
        {{.T = 20, .alpha = 2, .beta = 1, .lambda = 2, .eta = INFINITY}, "eta is", "inf"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double out = 42;
        costeer_error err = {0};
        assert_int_equal(costeer_strength_compute(&cases[i].params, &out, &err), COSTEER_EINVAL);
        assert_int_equal(err.code, COSTEER_EINVAL);
        assert_string_equal(err.component, "strength");
        assert_ptr_equal(strstr(err.message, cases[i].name), err.message);
        assert_non_null(strstr(err.message, cases[i].value));
        assert_non_null(strstr(err.message, "must be"));
        assert_true(out == 42);
        assert_int_equal(costeer_strength_compute(&cases[i].params, &out, NULL), COSTEER_EINVAL);
    }
}

static void test_strength__overflow_is_an_error(void **state)
{
    (void)state;
    const costeer_strength_params cases[] = {
        {.T = 1000, .alpha = 1e6, .beta = 1, .lambda = 1e-3, .eta = 10},
        {.T = 20, .alpha = 2, .beta = 1, .lambda = 2, .eta = 1e-320}, /* 1/eta is not finite */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double out = 42;
        costeer_error err = {0};
        assert_int_equal(costeer_strength_compute(&cases[i], &out, &err), COSTEER_EINVAL);
        assert_non_null(strstr(err.message, "overflows"));
        assert_non_null(strstr(err.message, "lambda"));
        assert_true(out == 42);
    }
}

static void test_strength__null_is_an_error(void **state)
{
    (void)state;
    const costeer_strength_params p = COSTEER_STRENGTH_DEFAULTS;
    double out = 0;
    assert_int_equal(costeer_strength_compute(NULL, &out, NULL), COSTEER_EINVAL);
    assert_int_equal(costeer_strength_compute(&p, NULL, NULL), COSTEER_EINVAL);
}

static void test_error__names_and_numbers_are_pinned(void **state)
{
    (void)state;
    const struct {
        int number;
        const char *name;
    } pinned[] = {
        {0, "COSTEER_OK"},          {-1, "COSTEER_EINVAL"},
        {-2, "COSTEER_ENOMEM"},     {-3, "COSTEER_EIO"},
        {-4, "COSTEER_EMODEL"},     {-5, "COSTEER_EPAIR"},
        {-6, "COSTEER_ETOOLONG"},   {-7, "COSTEER_EUTF8"},
        {-8, "COSTEER_ENUMERIC"},   {-9, "COSTEER_ECANCELED"},
        {-10, "COSTEER_ETIMEDOUT"}, {-11, "COSTEER_ESTATE"},
        {-12, "COSTEER_ECLOUD"},    {-13, "COSTEER_EINTERNAL"},
        {-14, "COSTEER_EABORTED"},  {-15, "COSTEER_EUNCERTIFIED"},
        {-999, "unknown"},          {1, "unknown"},
    };
    for (size_t i = 0; i < sizeof pinned / sizeof pinned[0]; i++) {
        assert_string_equal(costeer_err_name((costeer_err)pinned[i].number), pinned[i].name);
    }
}

static void test_error__long_message_is_cut(void **state)
{
    (void)state;
    char text[2000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    costeer_error err;
    assert_int_equal(cs_error_set(&err, COSTEER_EIO, text, "%s", text), COSTEER_EIO);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    assert_int_equal(strlen(err.component), sizeof err.component - 1);
    assert_int_equal(cs_error_set(NULL, COSTEER_EIO, "test", "no object"), COSTEER_EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strength__defaults_give_the_published_value),
        cmocka_unit_test(test_strength__one_step_is_light_costeer),
        cmocka_unit_test(test_strength__other_known_values),
        cmocka_unit_test(test_strength__is_linear_in_beta),
        cmocka_unit_test(test_strength__takes_the_largest_T),
        cmocka_unit_test(test_strength__names_the_bad_parameter_and_its_value),
        cmocka_unit_test(test_strength__overflow_is_an_error),
        cmocka_unit_test(test_strength__null_is_an_error),
        cmocka_unit_test(test_error__names_and_numbers_are_pinned),
        cmocka_unit_test(test_error__long_message_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
