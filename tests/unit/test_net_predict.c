/* The model of docs/network.md, by numbers: what a token costs in each mode. */
#include "bench/net_predict.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* A step of 30 ms, a round trip of 50 ms, a device that takes no time. */
static const cs_net_rates far = {.step_us = 30000, .round_trip_us = 50000, .window = 32};

static void test_predict__lockstep_is_step_and_round_trip(void **state)
{
    (void)state;
    cs_net_rates r = far;
    r.think_us = 100;
    assert_float_equal(cs_net_predict_us(COSTEER_MODE_LOCKSTEP, &r), 80100, 1e-9);
    r.follow_us = 90000; /* an SLM slower than all of that is what is waited for */
    assert_float_equal(cs_net_predict_us(COSTEER_MODE_LOCKSTEP, &r), 90100, 1e-9);
}

static void test_predict__streamed_without_disagreements_is_plain(void **state)
{
    (void)state;
    assert_float_equal(cs_net_predict_us(COSTEER_MODE_STREAMED, &far), cs_net_predict_plain_us(&far), 1e-9);
    assert_float_equal(cs_net_predict_plain_us(&far), 30000, 1e-9);
}

static void test_predict__streamed_pays_a_round_trip_per_correction_and_deepening(void **state)
{
    (void)state;
    cs_net_rates r = far;
    r.corrections = 0.3;
    assert_float_equal(cs_net_predict_us(COSTEER_MODE_STREAMED, &r), 45000, 1e-6);
    r.deepenings = 0.1;
    assert_float_equal(cs_net_predict_us(COSTEER_MODE_STREAMED, &r), 50000, 1e-6);
    r.recomputed = 0.01;
    assert_float_equal(cs_net_predict_us(COSTEER_MODE_STREAMED, &r), 50300, 1e-6);
}

static void test_predict__streamed_drafts_cost_no_step(void **state)
{
    (void)state;
    cs_net_rates r = far;
    r.corrections = 0.1;
    r.drafts = 0.2;
    assert_float_equal(cs_net_predict_us(COSTEER_MODE_STREAMED, &r), 0.8 * 30000 + 0.1 * 50000, 1e-6);
}

static void test_predict__drafted_pays_a_round_trip_per_round(void **state)
{
    (void)state;
    cs_net_rates r = far;
    assert_float_equal(cs_net_predict_us(COSTEER_MODE_DRAFTED, &r), 80000, 1e-6);
    r.drafts = 0.6; /* 2.5 tokens a round */
    assert_float_equal(cs_net_predict_us(COSTEER_MODE_DRAFTED, &r), 32000, 1e-6);
}

static void test_predict__plain_is_held_up_by_a_narrow_window(void **state)
{
    (void)state;
    cs_net_rates r = {.step_us = 400, .round_trip_us = 100000, .window = 32};
    assert_float_equal(cs_net_predict_plain_us(&r), 100800.0 / 32, 1e-6);
    r.window = 64;
    assert_float_equal(cs_net_predict_plain_us(&r), 100800.0 / 64, 1e-6);
    r.round_trip_us = 0;
    assert_float_equal(cs_net_predict_plain_us(&r), 400, 1e-6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_predict__lockstep_is_step_and_round_trip),
        cmocka_unit_test(test_predict__streamed_without_disagreements_is_plain),
        cmocka_unit_test(test_predict__streamed_pays_a_round_trip_per_correction_and_deepening),
        cmocka_unit_test(test_predict__streamed_drafts_cost_no_step),
        cmocka_unit_test(test_predict__drafted_pays_a_round_trip_per_round),
        cmocka_unit_test(test_predict__plain_is_held_up_by_a_narrow_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
