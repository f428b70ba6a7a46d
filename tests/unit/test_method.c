/*
 * The table of methods: its rows as published, its weights, and that they are what the published loops amount to.
 *
 * The loops are run literally in float64 over random distributions: Amulet's here, CoSteer's in ftrl_oracle.c.
 */
#include <costeer/method.h>

#include "ftrl_oracle.h"
#include "random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const costeer_method *method(const char *name)
{
    const costeer_method *found = costeer_method_find(name);
    if (found == NULL) {
        fail_msg("there is no method %s", name);
    }
    return found;
}

static void assert_near(double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance)) {
        fail_msg("%.17g is not within %g of %.17g", value, tolerance, expected);
    }
}

static double weight_of(const char *name, costeer_method_settings settings)
{
    double out = NAN;
    costeer_error err = {.message = ""};
    if (costeer_method_compute_weight(method(name), &settings, &out, &err) != COSTEER_OK) {
        fail_msg("%s: %s", name, err.message);
    }
    return out;
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

struct expected_row {
    const char *name;
    costeer_source base, expert, amateur;
    costeer_weight_rule rule;
    bool shows_context, uses_llm, uses_slm;
    double top_p;
    costeer_gate_kind gate;
};

/* As EVALUATION.md's table reads; the order is the one in which they are shown. */
static const struct expected_row expected_rows[] = {
    {"llm", COSTEER_SOURCE_LLM, 0, 0, COSTEER_WEIGHT_NONE, false, true, false, 1, COSTEER_GATE_NONE},
    {"llm+context", COSTEER_SOURCE_LLM_WITH, 0, 0, COSTEER_WEIGHT_NONE, true, true, false, 1, COSTEER_GATE_NONE},
    {"slm", COSTEER_SOURCE_SLM, 0, 0, COSTEER_WEIGHT_NONE, false, false, true, 1, COSTEER_GATE_NONE},
    {"slm+context", COSTEER_SOURCE_SLM_WITH, 0, 0, COSTEER_WEIGHT_NONE, false, false, true, 1, COSTEER_GATE_NONE},
    {"costeer", COSTEER_SOURCE_LLM, COSTEER_SOURCE_SLM_WITH, COSTEER_SOURCE_SLM, COSTEER_WEIGHT_FTRL, false, true, true, 1,
     COSTEER_GATE_NONE},
    {"costeer-plausible", COSTEER_SOURCE_LLM, COSTEER_SOURCE_SLM_WITH, COSTEER_SOURCE_SLM, COSTEER_WEIGHT_FTRL, false, true, true,
     1, COSTEER_GATE_NONE},
    {"costeer-divergence", COSTEER_SOURCE_LLM, COSTEER_SOURCE_SLM_WITH, COSTEER_SOURCE_SLM, COSTEER_WEIGHT_FTRL, false, true,
     true, 1, COSTEER_GATE_NONE},
    {"costeer-whole", COSTEER_SOURCE_LLM, COSTEER_SOURCE_SLM_WITH, COSTEER_SOURCE_SLM, COSTEER_WEIGHT_FREE, false, true, true, 1,
     COSTEER_GATE_NONE},
    {"lightcosteer", COSTEER_SOURCE_LLM, COSTEER_SOURCE_SLM_WITH, COSTEER_SOURCE_SLM, COSTEER_WEIGHT_FTRL_ONCE, false, true, true,
     1, COSTEER_GATE_NONE},
    {"adacosteer", COSTEER_SOURCE_LLM, COSTEER_SOURCE_SLM_WITH, COSTEER_SOURCE_SLM, COSTEER_WEIGHT_FTRL, false, true, true, 1,
     COSTEER_GATE_ADA},
    {"context-steering", COSTEER_SOURCE_LLM_WITH, COSTEER_SOURCE_LLM_WITH, COSTEER_SOURCE_LLM, COSTEER_WEIGHT_FREE, true, true,
     false, 1, COSTEER_GATE_NONE},
    {"linear-alignment", COSTEER_SOURCE_LLM_WITH, COSTEER_SOURCE_LLM_WITH, COSTEER_SOURCE_LLM, COSTEER_WEIGHT_FREE, true, true,
     false, 0.95, COSTEER_GATE_NONE},
    {"amulet", COSTEER_SOURCE_LLM_WITH, COSTEER_SOURCE_LLM_WITH, COSTEER_SOURCE_LLM, COSTEER_WEIGHT_AMULET, true, true, false, 1,
     COSTEER_GATE_NONE},
    {"proxy-tuning", COSTEER_SOURCE_LLM, COSTEER_SOURCE_SLM_TUNED, COSTEER_SOURCE_SLM, COSTEER_WEIGHT_FREE, false, true, true, 1,
     COSTEER_GATE_NONE},
};

static void test_method__the_rows_are_the_published_ones(void **state)
{
    (void)state;
    size_t n;
    const costeer_method *rows = costeer_method_list(&n);
    assert_int_equal(n, sizeof expected_rows / sizeof expected_rows[0]);
    for (size_t i = 0; i < n; i++) {
        const struct expected_row *expected = &expected_rows[i];
        assert_string_equal(rows[i].name, expected->name);
        assert_int_equal(rows[i].base, expected->base);
        assert_int_equal(rows[i].expert, expected->expert);
        assert_int_equal(rows[i].amateur, expected->amateur);
        assert_int_equal(rows[i].rule, expected->rule);
        assert_int_equal(rows[i].gate, expected->gate);
        assert_true(rows[i].top_p == expected->top_p);
        assert_int_equal(costeer_method_shows_context(&rows[i]), expected->shows_context);
        assert_int_equal(costeer_method_uses_llm(&rows[i]), expected->uses_llm);
        assert_int_equal(costeer_method_uses_slm(&rows[i]), expected->uses_slm);
        assert_true(strlen(rows[i].title) > 0 && strlen(rows[i].note) > 0);
    }
}

static void test_method__is_found_by_its_name_alone(void **state)
{
    (void)state;
    size_t n;
    const costeer_method *rows = costeer_method_list(&n);
    for (size_t i = 0; i < n; i++) {
        assert_ptr_equal(costeer_method_find(rows[i].name), &rows[i]);
    }
    assert_null(costeer_method_find("CoSteer"));
    assert_null(costeer_method_find("costeer "));
    assert_null(costeer_method_find(""));
    assert_null(costeer_method_find(NULL));
}

/* ---- weights ----------------------------------------------------------------------------------------------------- */

static void test_method__published_weights(void **state)
{
    (void)state;
    const costeer_method_settings none = COSTEER_METHOD_SETTINGS_NONE;
    assert_near(weight_of("costeer", none), 1.78325684, 5e-9);
    assert_near(weight_of("adacosteer", none), 1.78325684, 5e-9);
    assert_near(weight_of("lightcosteer", none), 0.47619048, 5e-9);
    assert_near(weight_of("amulet", none), 4.64869901, 5e-9);
    assert_true(weight_of("linear-alignment", none) == 2);
    assert_true(weight_of("context-steering", none) == 1);
    assert_true(weight_of("proxy-tuning", none) == 1);
    assert_true(weight_of("llm", none) == 0);
    assert_true(weight_of("slm+context", none) == 0);
    costeer_method_settings twenty = COSTEER_METHOD_SETTINGS_NONE;
    twenty.T = 20;
    assert_near(weight_of("amulet", twenty), 3.56651369, 5e-9);
    double out = NAN;
    assert_int_equal(costeer_method_compute_weight(method("costeer"), NULL, &out, NULL), COSTEER_OK);
    assert_near(out, 1.78325684, 5e-9);
}

static void test_method__a_weight_takes_the_place_of_all_the_rest(void **state)
{
    (void)state;
    size_t n;
    const costeer_method *rows = costeer_method_list(&n);
    const costeer_method_settings settings = {.weight = -0.25, .T = 7, .alpha = 3, .beta = 4, .lambda = 5, .eta = 6};
    for (size_t i = 0; i < n; i++) {
        if (rows[i].rule != COSTEER_WEIGHT_NONE) {
            assert_true(weight_of(rows[i].name, settings) == -0.25);
        }
    }
}

static void test_method__settings_replace_single_values(void **state)
{
    (void)state;
    const costeer_strength_params params = {.T = 7, .alpha = 1.5, .beta = 0.5, .lambda = 3, .eta = 4};
    const costeer_method_settings settings = {.weight = NAN, .T = 7, .alpha = 1.5, .beta = 0.5, .lambda = 3, .eta = 4};
    double expected;
    assert_int_equal(costeer_strength_compute(&params, &expected, NULL), COSTEER_OK);
    assert_true(weight_of("costeer", settings) == expected);

    costeer_method_settings only_alpha = COSTEER_METHOD_SETTINGS_NONE;
    only_alpha.alpha = 0;
    assert_near(weight_of("costeer", only_alpha), 0.5, 1e-7);

    costeer_method_settings light = settings;
    light.T = 0;
    assert_near(weight_of("lightcosteer", light), 0.5 / (3 + 0.25), 1e-15);

    /* Amulet: alpha is beta too */
    costeer_method_settings amulet = COSTEER_METHOD_SETTINGS_NONE;
    amulet.alpha = 1.25;
    const costeer_strength_params same = {.T = 60, .alpha = 1.25, .beta = 1.25, .lambda = 2, .eta = 10};
    assert_int_equal(costeer_strength_compute(&same, &expected, NULL), COSTEER_OK);
    assert_true(weight_of("amulet", amulet) == expected);
}

/* One setting that each of the methods lacks. */
static void assert_lacks(const char *name, costeer_method_settings settings, const char *word)
{
    double out = 42;
    costeer_error err = {.message = ""};
    assert_int_equal(costeer_method_compute_weight(method(name), &settings, &out, &err), COSTEER_EINVAL);
    assert_int_equal(err.code, COSTEER_EINVAL);
    char begin[64];
    (void)snprintf(begin, sizeof begin, "%s has no %s: ", name, word);
    if (strncmp(err.message, begin, strlen(begin)) != 0) {
        fail_msg("\"%s\" does not begin with \"%s\"", err.message, begin);
    }
    assert_true(out == 42);
    assert_int_equal(costeer_method_compute_weight(method(name), &settings, &out, NULL), COSTEER_EINVAL);
}

static void test_method__refuses_what_a_method_does_not_have(void **state)
{
    (void)state;
    const char *const words[] = {"T", "alpha", "beta", "lambda", "eta"};
    for (int i = 0; i < 5; i++) {
        costeer_method_settings one = COSTEER_METHOD_SETTINGS_NONE;
        one.T = i == 0 ? 5 : 0;
        double *const numbers[] = {NULL, &one.alpha, &one.beta, &one.lambda, &one.eta};
        if (i > 0) {
            *numbers[i] = 1;
        }
        const char *const without[] = {"llm",         "llm+context", "slm", "slm+context", "context-steering", "linear-alignment",
                                       "proxy-tuning"};
        for (size_t m = 0; m < sizeof without / sizeof without[0]; m++) {
            assert_lacks(without[m], one, words[i]);
        }
        if (i == 0) {
            assert_lacks("lightcosteer", one, "T");
        } else {
            (void)weight_of("lightcosteer", one);
        }
        if (i == 2) {
            assert_lacks("amulet", one, "beta");
        } else {
            (void)weight_of("amulet", one);
        }
        (void)weight_of("costeer", one);
        (void)weight_of("adacosteer", one);
    }
    costeer_method_settings weight = COSTEER_METHOD_SETTINGS_NONE;
    weight.weight = 1;
    assert_lacks("llm", weight, "strength");
    assert_lacks("slm+context", weight, "strength");
}

static void test_method__refuses_values_out_of_range(void **state)
{
    (void)state;
    const costeer_method_settings none = COSTEER_METHOD_SETTINGS_NONE;
    costeer_method_settings cases[4] = {none, none, none, none};
    cases[0].T = -3;
    cases[1].lambda = 0;
    cases[2].weight = INFINITY;
    cases[3].eta = -1;
    const char *const words[] = {"T is -3", "lambda is 0", "strength is inf", "eta is -1"};
    for (size_t i = 0; i < 4; i++) {
        double out = 42;
        costeer_error err = {.message = ""};
        assert_int_equal(costeer_method_compute_weight(method("costeer"), &cases[i], &out, &err), COSTEER_EINVAL);
        assert_non_null(strstr(err.message, words[i]));
        assert_true(out == 42);
    }
    double out;
    assert_int_equal(costeer_method_compute_weight(NULL, &none, &out, NULL), COSTEER_EINVAL);
    assert_int_equal(costeer_method_compute_weight(method("costeer"), &none, NULL, NULL), COSTEER_EINVAL);
}

/* ---- limits ------------------------------------------------------------------------------------------------------ */

static void test_method__only_rows_of_our_own_have_limits(void **state)
{
    (void)state;
    const struct {
        const char *name;
        costeer_delta_limits limits;
        double weight;
    } ours[] = {{"costeer-plausible", {.plausibility = 0.1}, 1.78325684},
                {"costeer-divergence", {.divergence = 1.0}, 1.78325684},
                {"costeer-whole", {.plausibility = 0.1, .divergence = 0.5}, 2.5}};
    size_t n;
    size_t n_limited = 0;
    const costeer_method *rows = costeer_method_list(&n);
    for (size_t i = 0; i < n; i++) {
        n_limited += rows[i].limits.plausibility > 0 || rows[i].limits.divergence > 0;
    }
    assert_int_equal(n_limited, 3);
    for (size_t i = 0; i < 3; i++) {
        const costeer_method_settings none = COSTEER_METHOD_SETTINGS_NONE;
        costeer_delta_limits limits;
        assert_int_equal(costeer_method_find_limits(method(ours[i].name), NULL, &limits, NULL), COSTEER_OK);
        assert_true(limits.plausibility == ours[i].limits.plausibility && limits.divergence == ours[i].limits.divergence);
        assert_near(weight_of(ours[i].name, none), ours[i].weight, 5e-9);
    }
}

static void test_method__limits_are_set_where_the_slm_steers_and_costeer_stays_as_published(void **state)
{
    (void)state;
    costeer_method_settings settings = COSTEER_METHOD_SETTINGS_NONE;
    costeer_delta_limits limits;
    settings.plausibility = 0.3;
    const char *const taking[] = {"costeer-plausible", "costeer-divergence", "costeer-whole",
                                  "lightcosteer",      "adacosteer",         "proxy-tuning"};
    for (size_t i = 0; i < sizeof taking / sizeof taking[0]; i++) {
        assert_int_equal(costeer_method_find_limits(method(taking[i]), &settings, &limits, NULL), COSTEER_OK);
        assert_true(limits.plausibility == 0.3 && limits.divergence == method(taking[i])->limits.divergence);
    }
    const struct {
        const char *name;
        const char *word;
    } refusing[] = {{"costeer", "use costeer-plausible"},
                    {"llm", "no deltas"},
                    {"slm+context", "no deltas"},
                    {"amulet", "steered by the LLM"},
                    {"context-steering", "steered by the LLM"},
                    {"linear-alignment", "steered by the LLM"}};
    for (size_t i = 0; i < sizeof refusing / sizeof refusing[0]; i++) {
        costeer_error err = {.message = ""};
        assert_int_equal(costeer_method_find_limits(method(refusing[i].name), &settings, &limits, &err), COSTEER_EINVAL);
        assert_non_null(strstr(err.message, refusing[i].name));
        assert_non_null(strstr(err.message, refusing[i].word));
    }
    settings = COSTEER_METHOD_SETTINGS_NONE;
    settings.divergence = 0.25;
    costeer_error err = {.message = ""};
    assert_int_equal(costeer_method_find_limits(method("costeer"), &settings, &limits, &err), COSTEER_EINVAL);
    assert_non_null(strstr(err.message, "use costeer-divergence"));
    settings.divergence = 0; /* takes the method's own away */
    assert_int_equal(costeer_method_find_limits(method("costeer-whole"), &settings, &limits, NULL), COSTEER_OK);
    assert_true(limits.plausibility == 0.1 && limits.divergence == 0);
    settings.divergence = -1;
    assert_int_equal(costeer_method_find_limits(method("costeer-whole"), &settings, &limits, NULL), COSTEER_EINVAL);
}

/* ---- the published loops ----------------------------------------------------------------------------------------- */

enum { N = 257 };

static void log_softmax(double *values)
{
    double largest = -INFINITY;
    double sum = 0;
    for (int i = 0; i < N; i++) {
        largest = fmax(largest, values[i]);
    }
    for (int i = 0; i < N; i++) {
        sum += exp(values[i] - largest);
    }
    for (int i = 0; i < N; i++) {
        values[i] -= largest + log(sum);
    }
}

static void random_distribution(struct test_random *random, double spread, double *out)
{
    for (int i = 0; i < N; i++) {
        out[i] = test_random_between(random, -spread, spread);
    }
    log_softmax(out);
}

/*
 * Amulet's update, one array operation per term:
 * p_t = logsoftmax[(lambda p_0 + (1/t) sum_{i<=t} alpha (p_{i-1} − ref) + p_{t-1}/(eta t)) / (lambda + 1/(eta t))]
 */
static void run_amulet(const costeer_strength_params *params, const double *with, const double *ref, double *p)
{
    double utilities[N] = {0};
    memcpy(p, with, N * sizeof *p);
    for (int32_t t = 1; t <= params->T; t++) {
        for (int i = 0; i < N; i++) {
            utilities[i] += params->alpha * (p[i] - ref[i]);
            p[i] = (params->lambda * with[i] + utilities[i] / t + p[i] / (params->eta * t)) /
                   (params->lambda + 1 / (params->eta * t));
        }
        log_softmax(p);
    }
}

static void test_method__amulets_loop_is_one_multiply_add(void **state)
{
    (void)state;
    struct test_random random = {.state = 20260601};
    const costeer_strength_params published = method("amulet")->strength;
    for (int round = 0; round < 60; round++) {
        costeer_strength_params params = published;
        if (round > 0) {
            params = (costeer_strength_params){.T = 1 + test_random_below(&random, 60),
                                               .alpha = test_random_between(&random, -1, 2),
                                               .lambda = test_random_between(&random, 2, 4),
                                               .eta = test_random_between(&random, 0.5, 20)};
        }
        const costeer_method_settings settings = {
            .weight = NAN, .T = params.T, .alpha = params.alpha, .beta = NAN, .lambda = params.lambda, .eta = params.eta};
        const double weight = weight_of("amulet", settings);
        double with[N];
        double ref[N];
        double loop[N];
        double closed[N];
        random_distribution(&random, 8, with);
        random_distribution(&random, 8, ref);
        run_amulet(&params, with, ref, loop);
        for (int i = 0; i < N; i++) {
            closed[i] = with[i] + weight * (with[i] - ref[i]);
        }
        log_softmax(closed);
        for (int i = 0; i < N; i++) {
            assert_near(closed[i], loop[i], 1e-9);
        }
    }
}

static void test_method__costeers_loop_is_one_multiply_add(void **state)
{
    (void)state;
    struct test_random random = {.state = 7041995};
    const char *const names[] = {"costeer", "lightcosteer", "adacosteer"};
    for (int round = 0; round < 30; round++) {
        const costeer_method *row = method(names[round % 3]);
        const costeer_method_settings none = COSTEER_METHOD_SETTINGS_NONE;
        const double weight = weight_of(row->name, none);
        float base[N];
        float expert[N];
        float amateur[N];
        double loop[N];
        double closed[N];
        for (int i = 0; i < N; i++) {
            base[i] = (float)test_random_between(&random, -8, 8);
            expert[i] = (float)test_random_between(&random, -8, 8);
            amateur[i] = (float)test_random_between(&random, -8, 8);
            closed[i] = (double)base[i] + weight * ((double)expert[i] - (double)amateur[i]);
        }
        ftrl_oracle(&row->strength, base, expert, amateur, N, loop);
        log_softmax(closed);
        for (int i = 0; i < N; i++) {
            assert_near(closed[i], loop[i], 1e-9);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_method__the_rows_are_the_published_ones),
        cmocka_unit_test(test_method__is_found_by_its_name_alone),
        cmocka_unit_test(test_method__published_weights),
        cmocka_unit_test(test_method__a_weight_takes_the_place_of_all_the_rest),
        cmocka_unit_test(test_method__settings_replace_single_values),
        cmocka_unit_test(test_method__refuses_what_a_method_does_not_have),
        cmocka_unit_test(test_method__refuses_values_out_of_range),
        cmocka_unit_test(test_method__only_rows_of_our_own_have_limits),
        cmocka_unit_test(test_method__limits_are_set_where_the_slm_steers_and_costeer_stays_as_published),
        cmocka_unit_test(test_method__amulets_loop_is_one_multiply_add),
        cmocka_unit_test(test_method__costeers_loop_is_one_multiply_add),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
