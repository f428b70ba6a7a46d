/* Fusion against the published update: golden vectors, and the literal T-step loop over random parameters and vocabularies. */
#include "fuse_support.h"

#include "ftrl_oracle.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static float *read_floats(const json_t *array, size_t n)
{
    float *const values = new_floats(n);
    assert_int_equal(json_array_size(array), n);
    for (size_t i = 0; i < n; i++) {
        values[i] = (float)json_number_value(json_array_get(array, i));
    }
    return values;
}

static void check_golden(const json_t *c, double tolerance)
{
    const costeer_strength_params params = {.T = (int32_t)json_integer_value(json_object_get(c, "T")),
                                            .alpha = json_number_value(json_object_get(c, "alpha")),
                                            .beta = json_number_value(json_object_get(c, "beta")),
                                            .lambda = json_number_value(json_object_get(c, "lambda_")),
                                            .eta = json_number_value(json_object_get(c, "eta"))};
    const json_t *const expected = json_object_get(c, "log_policy");
    const size_t n = json_array_size(expected);
    float *const llm = read_floats(json_object_get(c, "llm"), n);
    float *const without = read_floats(json_object_get(c, "slm_without"), n);
    float *const with = read_floats(json_object_get(c, "slm_with"), n);
    double *const policy = new_doubles(n), *const oracle = new_doubles(n);
    costeer_delta delta = {.expert = with, .amateur = without};
    costeer_choice choice = {.token = -1};
    const costeer_base base = dense(llm, (int32_t)n);
    assert_int_equal(costeer_strength_compute(&params, &delta.weight, NULL), COSTEER_OK);
    assert_int_equal(costeer_fuse_policy(&base, &delta, 1, (int32_t)n, policy, &choice, NULL), COSTEER_OK);
    assert_int_equal(choice.token, json_integer_value(json_object_get(c, "argmax")));
    ftrl_oracle(&params, llm, with, without, (int32_t)n, oracle);
    for (size_t i = 0; i < n; i++) {
        const double golden = json_number_value(json_array_get(expected, i));
        assert_true(fabs(policy[i] - golden) <= tolerance);
        assert_true(fabs(oracle[i] - golden) <= 1e-9); /* the oracle is the loop that made the file */
    }
    free(llm);
    free(without);
    free(with);
    free(policy);
    free(oracle);
}

static void test_fuse__reproduces_the_golden_vectors(void **state)
{
    (void)state;
    json_error_t error;
    json_t *const file = json_load_file(COSTEER_TEST_GOLDEN_DIR "/ftrl.json", 0, &error);
    assert_non_null(file);
    const json_t *const cases = json_object_get(file, "cases");
    assert_int_equal(json_array_size(cases), 12);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        check_golden(json_array_get(cases, i), json_number_value(json_object_get(file, "tolerance")));
    }
    json_decref(file);
}

static void check_against_loop(struct test_random *r, float *arrays, double *work, int *n_compared)
{
    static const double offsets[] = {0, 1e4, -1e4};
    const int32_t n = test_random_below(r, 8) == 0 ? 1 + test_random_below(r, WIDE) : 1 + test_random_below(r, 300);
    float *const base = arrays, *const expert = arrays + WIDE, *const amateur = arrays + 2 * WIDE;
    double *const policy = work, *const oracle = work + WIDE;
    costeer_strength_params params = {.T = 1 + test_random_below(r, 30),
                                      .alpha = test_random_between(r, 0, 3),
                                      .beta = test_random_between(r, 0.1, 3),
                                      .eta = pow(10, test_random_between(r, -1, 2))};
    params.lambda = params.alpha * 0.8 + test_random_between(r, 0.3, 3); /* far below alpha the loop itself diverges */
    fill(r, base, n, 10, offsets[test_random_below(r, 3)]);
    fill(r, expert, n, 10, offsets[test_random_below(r, 3)]);
    fill(r, amateur, n, 10, offsets[test_random_below(r, 3)]);
    if (test_random_below(r, 2)) {
        sprinkle(r, base, expert, amateur, n);
    }
    const costeer_base b = dense(base, n);
    costeer_delta delta = {.expert = expert, .amateur = amateur};
    costeer_choice choice, chosen;
    assert_int_equal(costeer_strength_compute(&params, &delta.weight, NULL), COSTEER_OK);
    assert_int_equal(costeer_fuse_policy(&b, &delta, 1, n, policy, &choice, NULL), COSTEER_OK);
    assert_int_equal(costeer_fuse_choose(&b, &delta, 1, n, &chosen, NULL), COSTEER_OK);
    assert_int_equal(choice.token, chosen.token);
    ftrl_oracle(&params, base, expert, amateur, n, oracle);
    int32_t best = 0;
    double second = -INFINITY;
    for (int32_t i = 0; i < n; i++) {
        assert_true(policy[i] == oracle[i] || fabs(policy[i] - oracle[i]) <= 1e-5); /* −inf equals −inf */
        if (i > 0 && oracle[i] > oracle[best]) {
            second = oracle[best];
            best = i;
        } else if (i > 0 && oracle[i] > second) {
            second = oracle[i];
        }
    }
    if (oracle[best] - second > 1e-9) {
        assert_int_equal(choice.token, best);
        ++*n_compared;
    }
}

static void test_fuse__closed_form_equals_the_loop(void **state)
{
    (void)state;
    struct test_random r = {20260101};
    float *const arrays = new_floats(3 * WIDE);
    double *const work = new_doubles(2 * WIDE);
    int n_compared = 0;
    for (int i = 0; i < 3000; i++) {
        check_against_loop(&r, arrays, work, &n_compared);
    }
    assert_true(n_compared > 2500); /* nearly every case has a clear winner, so the choice was really compared */
    free(arrays);
    free(work);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BEST_ISA(test_fuse__reproduces_the_golden_vectors),
        WITH_BEST_ISA(test_fuse__closed_form_equals_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
