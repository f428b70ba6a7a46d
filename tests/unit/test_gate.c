/* Gates: parameters, boundaries, and agreement with a reference that looks back over the whole answer. */
#include <costeer/gate.h>

#include "random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static costeer_gate open_gate(costeer_gate_kind kind, double threshold, int32_t patience)
{
    const costeer_gate_params params = {.kind = kind, .threshold = threshold, .patience = patience};
    costeer_gate gate;
    costeer_error err;
    assert_int_equal(costeer_gate_init(&params, &gate, &err), COSTEER_OK);
    assert_int_equal(gate.n_sure, 0);
    assert_false(gate.is_off);
    return gate;
}

/* ---- parameters -------------------------------------------------------------------------------------------------- */

static void test_gate__the_defaults_are_the_published_ones_and_steer_everywhere(void **state)
{
    (void)state;
    costeer_gate_params params = COSTEER_GATE_DEFAULTS;
    costeer_gate gate;
    assert_int_equal(params.kind, COSTEER_GATE_NONE);
    assert_true(params.threshold == 0.1);
    assert_int_equal(params.patience, 3);
    assert_int_equal(costeer_gate_init(&params, &gate, NULL), COSTEER_OK);
    for (int i = 0; i < 10; i++) {
        assert_true(costeer_gate_opens(&gate, 1.0));
    }
    params.kind = COSTEER_GATE_ADA;
    assert_int_equal(costeer_gate_init(&params, &gate, NULL), COSTEER_OK);
    params.kind = COSTEER_GATE_TOKEN;
    assert_int_equal(costeer_gate_init(&params, &gate, NULL), COSTEER_OK);
}

static void test_gate__a_bad_parameter_is_named_and_nothing_is_changed(void **state)
{
    (void)state;
    static const struct {
        costeer_gate_params params;
        const char *named;
    } cases[] = {
        {{COSTEER_GATE_ADA, 0.0, 3}, "threshold"},      {{COSTEER_GATE_TOKEN, 0.0, 3}, "threshold"},
        {{COSTEER_GATE_ADA, -0.1, 3}, "threshold"},     {{COSTEER_GATE_TOKEN, 1.0000001, 3}, "threshold"},
        {{COSTEER_GATE_ADA, NAN, 3}, "threshold"},      {{COSTEER_GATE_TOKEN, NAN, 3}, "threshold"},
        {{COSTEER_GATE_ADA, INFINITY, 3}, "threshold"}, {{COSTEER_GATE_ADA, 0.1, 0}, "patience"},
        {{COSTEER_GATE_ADA, 0.1, -3}, "patience"},      {{(costeer_gate_kind)3, 0.1, 3}, "kind"},
        {{(costeer_gate_kind)-1, 0.1, 3}, "kind"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        costeer_gate gate, before;
        memset(&gate, 0x5a, sizeof gate);
        memcpy(&before, &gate, sizeof gate);
        costeer_error err = {0};
        assert_int_equal(costeer_gate_init(&cases[i].params, &gate, &err), COSTEER_EINVAL);
        assert_memory_equal(&gate, &before, sizeof gate);
        assert_string_equal(err.component, "gate");
        assert_non_null(strstr(err.message, cases[i].named));
    }
    costeer_gate gate;
    assert_int_equal(costeer_gate_init(NULL, &gate, NULL), COSTEER_EINVAL);
    assert_int_equal(costeer_gate_init(&cases[0].params, NULL, NULL), COSTEER_EINVAL);
}

static void test_gate__what_a_kind_does_not_use_is_not_looked_at(void **state)
{
    (void)state;
    (void)open_gate(COSTEER_GATE_NONE, NAN, -1);
    (void)open_gate(COSTEER_GATE_NONE, 0.0, 0);
    (void)open_gate(COSTEER_GATE_TOKEN, 0.1, 0);
    (void)open_gate(COSTEER_GATE_TOKEN, 1.0, 1);
    (void)open_gate(COSTEER_GATE_ADA, 5e-324, INT32_MAX);
}

/* ---- one position ------------------------------------------------------------------------------------------------ */

static void test_gate__exactly_at_the_threshold_the_llm_is_not_sure(void **state)
{
    (void)state;
    costeer_gate gate = open_gate(COSTEER_GATE_TOKEN, 0.25, 1); /* 1 − 0.75 is exact */
    assert_true(costeer_gate_opens(&gate, 0.75));
    assert_false(costeer_gate_opens(&gate, nextafter(0.75, 1.0)));
    assert_true(costeer_gate_opens(&gate, nextafter(0.75, 0.0)));
    assert_false(costeer_gate_opens(&gate, 1.0));
    assert_true(costeer_gate_opens(&gate, 0.0));
    gate = open_gate(COSTEER_GATE_ADA, 0.25, 1);
    assert_true(costeer_gate_opens(&gate, 0.75));
    assert_false(gate.is_off);
    assert_false(costeer_gate_opens(&gate, nextafter(0.75, 1.0)));
    assert_true(gate.is_off);
    gate = open_gate(COSTEER_GATE_TOKEN, 1.0, 1); /* the widest: steer only where the LLM says nothing at all */
    assert_true(costeer_gate_opens(&gate, 0.0));
    assert_false(costeer_gate_opens(&gate, 1e-9));
}

static void test_gate__not_a_number_is_not_sure(void **state)
{
    (void)state;
    costeer_gate gate = open_gate(COSTEER_GATE_TOKEN, 0.1, 3);
    assert_true(costeer_gate_opens(&gate, (double)NAN));
    gate = open_gate(COSTEER_GATE_ADA, 0.1, 2);
    assert_true(costeer_gate_opens(&gate, 1.0));
    assert_true(costeer_gate_opens(&gate, (double)NAN)); /* ends the run */
    assert_true(costeer_gate_opens(&gate, 1.0));
    assert_false(costeer_gate_opens(&gate, 1.0));
    assert_false(costeer_gate_opens(&gate, (double)NAN)); /* off for good */
}

static void test_gate__counts_sure_positions_in_a_row_without_overflow(void **state)
{
    (void)state;
    costeer_gate gate = open_gate(COSTEER_GATE_TOKEN, 0.1, 3);
    (void)costeer_gate_opens(&gate, 0.95);
    (void)costeer_gate_opens(&gate, 0.95);
    assert_int_equal(gate.n_sure, 2);
    (void)costeer_gate_opens(&gate, 0.5);
    assert_int_equal(gate.n_sure, 0);
    gate.n_sure = INT32_MAX;
    (void)costeer_gate_opens(&gate, 0.95);
    assert_int_equal(gate.n_sure, INT32_MAX);
}

/* ---- an answer --------------------------------------------------------------------------------------------------- */

/* Positions of an answer, one letter each: s sure, u unsure; and what the gate makes of them: + open, - closed. */
static void test_gate__goes_through_an_answer_as_published(void **state)
{
    (void)state;
    static const struct {
        costeer_gate_kind kind;
        int32_t patience;
        const char *llm;
        const char *gate;
    } cases[] = {
        {COSTEER_GATE_NONE, 1, "ssssuuss", "++++++++"},  {COSTEER_GATE_ADA, 1, "uusuuuuu", "++------"},
        {COSTEER_GATE_ADA, 3, "sssuuuuu", "++------"},   {COSTEER_GATE_ADA, 3, "ssusssuu", "+++++---"},
        {COSTEER_GATE_ADA, 3, "ssussuss", "++++++++"},   {COSTEER_GATE_ADA, 8, "ssssssss", "+++++++-"},
        {COSTEER_GATE_ADA, 9, "ssssssss", "++++++++"},   {COSTEER_GATE_TOKEN, 1, "ssusuuss", "--+-++--"},
        {COSTEER_GATE_TOKEN, 3, "uuuuuuuu", "++++++++"}, {COSTEER_GATE_TOKEN, 3, "ssssssss", "--------"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        costeer_gate gate = open_gate(cases[i].kind, 0.1, cases[i].patience);
        for (size_t p = 0; cases[i].llm[p] != '\0'; p++) {
            const bool opens = costeer_gate_opens(&gate, cases[i].llm[p] == 's' ? 0.95 : 0.85);
            assert_int_equal(opens, cases[i].gate[p] == '+');
        }
    }
}

#define N_POSITIONS 40

/* The definition, looking back from position p over all of them. */
static bool reference(const costeer_gate_params *params, const double *p_max, int32_t p)
{
    bool is_steered = true;
    if (params->kind == COSTEER_GATE_TOKEN) {
        is_steered = 1.0 - p_max[p] >= params->threshold;
    } else if (params->kind == COSTEER_GATE_ADA) {
        for (int32_t last = params->patience - 1; last <= p; last++) {
            bool is_run = true;
            for (int32_t i = last - params->patience + 1; i <= last; i++) {
                is_run = is_run && 1.0 - p_max[i] < params->threshold;
            }
            is_steered = is_steered && !is_run;
        }
    }
    return is_steered;
}

static void test_gate__is_the_definition_for_random_answers(void **state)
{
    (void)state;
    struct test_random r = {4};
    int n_open[3] = {0}, n_closed[3] = {0};
    for (int round = 0; round < 3000; round++) {
        const costeer_gate_params params = {.kind = (costeer_gate_kind)(round % 3),
                                            .threshold = test_random_between(&r, 0.05, 0.6),
                                            .patience = 1 + test_random_below(&r, 5)};
        costeer_gate gate;
        assert_int_equal(costeer_gate_init(&params, &gate, NULL), COSTEER_OK);
        double p_max[N_POSITIONS];
        for (int32_t p = 0; p < N_POSITIONS; p++) {
            p_max[p] = test_random_between(&r, 0.0, 1.0);
            const bool opens = costeer_gate_opens(&gate, p_max[p]);
            assert_int_equal(opens, reference(&params, p_max, p));
            n_open[round % 3] += opens;
            n_closed[round % 3] += !opens;
        }
    }
    assert_int_equal(n_closed[COSTEER_GATE_NONE], 0);
    assert_true(n_open[COSTEER_GATE_ADA] > 5000 && n_closed[COSTEER_GATE_ADA] > 5000);
    assert_true(n_open[COSTEER_GATE_TOKEN] > 5000 && n_closed[COSTEER_GATE_TOKEN] > 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gate__the_defaults_are_the_published_ones_and_steer_everywhere),
        cmocka_unit_test(test_gate__a_bad_parameter_is_named_and_nothing_is_changed),
        cmocka_unit_test(test_gate__what_a_kind_does_not_use_is_not_looked_at),
        cmocka_unit_test(test_gate__exactly_at_the_threshold_the_llm_is_not_sure),
        cmocka_unit_test(test_gate__not_a_number_is_not_sure),
        cmocka_unit_test(test_gate__counts_sure_positions_in_a_row_without_overflow),
        cmocka_unit_test(test_gate__goes_through_an_answer_as_published),
        cmocka_unit_test(test_gate__is_the_definition_for_random_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
