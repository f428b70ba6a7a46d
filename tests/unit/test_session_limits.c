/* The loop with limits of the deltas: what a position tells of them, near ties that come of them, gates, an SLM that goes on
 * alone. */
#include <costeer/session.h>

#include "support/session_bench.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SMALL 0.1 /* plausibility */

/* A fake expert that is sure of one token of position 0, and finds another one e^-down of it. */
static void set_up_expert(bench *b, int32_t best, int32_t other, float down)
{
    reset(b);
    b->params.max_tokens = 1;
    b->params.details = true;
    for (int32_t t = 0; t < FAKE_VOCAB; t++) {
        b->deltas.expert[0][t] = -20.0F;
        b->deltas.amateur[t] = -20.0F;
    }
    b->deltas.expert[0][best] = b->deltas.amateur[best] = 0.0F;
    b->deltas.expert[0][other] = -down;
    b->params.limits.plausibility = SMALL;
}

static void test_session__bad_limits_are_refused(void **state)
{
    bench *b = *state;
    costeer_session *session = NULL;
    b->params.limits.plausibility = 2.0;
    assert_int_equal(costeer_session_create(&b->cloud.cloud, &b->deltas.source, &b->vocab, &b->params, &session, &b->err),
                     COSTEER_EINVAL);
    assert_non_null(strstr(b->err.message, "plausibility is 2"));
    b->params.limits = (costeer_delta_limits){.divergence = -1.0};
    assert_int_equal(costeer_session_create(&b->cloud.cloud, &b->deltas.source, &b->vocab, &b->params, &session, &b->err),
                     COSTEER_EINVAL);
    assert_non_null(strstr(b->err.message, "divergence is -1"));
    assert_null(session);
}

/* The context makes token 9 e^17 times as likely, from nothing to a thousandth: as published it wins, and it is what breaks
 * words. */
static void test_session__an_implausible_token_does_not_win(void **state)
{
    bench *b = *state;
    for (int i = 0; i < 2; i++) {
        set_up_expert(b, 2, 9, 7.0F);
        prefer(b, 2);
        b->params.limits.plausibility = i == 0 ? 0.0 : SMALL;
        assert_int_equal(run(b), COSTEER_OK);
        assert_int_equal(b->tokens[0], i == 0 ? 9 : 2);
    }
}

static void test_session__a_position_tells_what_was_applied(void **state)
{
    bench *b = *state;
    set_up_expert(b, 2, 9, 1.0F);
    prefer(b, 2);
    b->params.limits.divergence = 100.0;
    b->params.strength = 20.0;
    assert_int_equal(run(b), COSTEER_OK);
    const double p = 1 / (1 + exp(-1.0)), q = exp(-1.0) / (1 + exp(-1.0));
    const double divergence = p * log(p) + q * (log(q) + 20.0); /* the amateur holds token 2 for certain, up to e^-20 */
    const costeer_position *at = &b->positions[0];
    assert_int_equal(at->n_weights, 1);
    assert_true(fabs(at->weights[0] - 20.0 * divergence / 100.0) < 1e-5);
    const double delta = at->token == 9 ? log(q) + 20.0 : log(p);
    assert_true(fabs(at->delta - delta) < 1e-5);
    assert_true(fabs(at->gain - at->weights[0] * delta) < 1e-4);
    b->journal.n = 0;
    b->deltas.expert[0][9] = -7.0F; /* now it is implausible: the published delta stays, nothing of it is applied */
    b->cloud.logits[0][2] = 0.0F;
    b->cloud.logits[0][9] = 9.0F;
    assert_int_equal(run(b), COSTEER_OK);
    assert_int_equal(b->tokens[0], 9);
    assert_true(b->positions[0].delta > 12.0);
    assert_true(b->positions[0].gain == 0.0);
}

/* Token 9 would win if it were plausible; whether it is hangs on less than what other batches may move. */
static void test_session__a_token_near_the_floor_is_a_near_tie(void **state)
{
    bench *b = *state;
    const float floor = (float)-log(SMALL);
    const struct {
        float down;
        int32_t token;
        bool is_near;
    } cases[] = {{floor + 0.04F, 2, true}, {floor + 0.06F, 2, false}, {floor - 0.04F, 9, true}, {floor - 0.06F, 9, false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        set_up_expert(b, 2, 9, cases[i].down);
        prefer(b, 2);
        assert_int_equal(run(b), COSTEER_OK);
        assert_int_equal(b->tokens[0], cases[i].token);
        assert_true(b->positions[0].margin > 1.0);
        assert_int_equal(b->positions[0].near_tie, cases[i].is_near);
        assert_int_equal(b->report.n_near_ties, cases[i].is_near);
    }
}

/* An unsent token that is held back by so little, too. */
static void test_session__so_is_an_unsent_one(void **state)
{
    bench *b = *state;
    const float floor = (float)-log(SMALL);
    for (int i = 0; i < 2; i++) {
        set_up_expert(b, 2, 9, floor + (i == 0 ? 0.04F : 0.06F));
        prefer(b, 2);
        b->params.base_top_k = 4;
        b->cloud.logits[0][3] = b->cloud.logits[0][4] = b->cloud.logits[0][5] = 1.0F;
        assert_int_equal(run(b), COSTEER_OK);
        assert_true(b->positions[0].certified);
        assert_int_equal(b->positions[0].n_entries, 4);
        assert_int_equal(b->positions[0].near_tie, i == 0);
    }
}

/* Here the weight decides: with a little more divergence token 9 would win. */
static void test_session__a_divergence_that_decides_is_a_near_tie(void **state)
{
    bench *b = *state;
    int n_near = 0, n_far = 0;
    for (int i = 0; i < 40; i++) {
        set_up_expert(b, 2, 9, 0.5F);
        prefer(b, 2);
        b->params.limits = (costeer_delta_limits){.divergence = 10.0 + 0.25 * i};
        assert_int_equal(run(b), COSTEER_OK);
        /* by hand: scores of 2 and 9, with a divergence that is 0.05 nats less and more */
        const double p = 1 / (1 + exp(-0.5)), q = 1 - p;
        const double divergence = p * log(p) + q * (log(q) + 20.0);
        const double delta = log(q) + 20.0 - log(p);
        const double low = -9.0 + fmin(1, (divergence - 0.05) / b->params.limits.divergence) * delta;
        const double high = -9.0 + fmin(1, (divergence + 0.05) / b->params.limits.divergence) * delta;
        const double bound = COSTEER_NEAR_TIE_BASE + COSTEER_NEAR_TIE_DELTA;
        const bool is_near = low < bound && high > -bound;
        if (fabs(low - bound) > 0.05 && fabs(high + bound) > 0.05) { /* the bound's own weight changes a little, too */
            assert_int_equal(b->positions[0].near_tie, is_near);
            *(is_near ? &n_near : &n_far) += 1;
        }
    }
    assert_true(n_near > 0 && n_far > 0);
}

static void test_session__a_closed_gate_limits_nothing_and_tells_no_weights(void **state)
{
    bench *b = *state;
    set_up_expert(b, 2, 9, 1.0F);
    prefer(b, 2, 3, FAKE_END);
    b->params.max_tokens = 3;
    b->params.gate.kind = COSTEER_GATE_TOKEN;
    b->params.gate.threshold = 1.0;
    b->cloud.logits[0][2] = b->cloud.logits[1][3] = 30.0F;
    b->cloud.logits[2][FAKE_END] = 30.0F;
    b->deltas.expert[0][5] = NAN; /* never looked at */
    assert_int_equal(run(b), COSTEER_OK);
    assert_int_equal(b->report.n_gated, 3);
    assert_int_equal(b->positions[0].n_weights, 0);
    assert_true(b->positions[0].gain == 0.0);
    assert_null(strstr(b->journal.text, "step"));
}

static void test_session__a_broken_slm_is_an_error_and_not_a_token(void **state)
{
    bench *b = *state;
    set_up_expert(b, 2, 9, 1.0F);
    prefer(b, 2, 3, FAKE_END);
    b->params.max_tokens = 3;
    memcpy(b->deltas.expert[1], b->deltas.expert[0], sizeof b->deltas.expert[1]);
    b->deltas.expert[1][77] = NAN;
    assert_int_equal(run(b), COSTEER_ENUMERIC);
    assert_non_null(strstr(b->err.message, "token 77"));
    assert_int_equal(b->report.n_tokens, 1);
}

/* What the SLM with the context says alone is not limited: there is no base that would be better. */
static void test_session__an_slm_that_goes_on_alone_is_itself(void **state)
{
    bench *b = *state;
    reset(b);
    prefer(b, 2, 3, 4, 5);
    b->params.on_cloud_failure = COSTEER_CLOUD_FAILURE_LOCAL;
    b->params.limits = (costeer_delta_limits){.plausibility = 1.0, .divergence = 1e6};
    b->params.max_tokens = 4;
    b->params.details = true;
    for (int32_t p = 0; p < 4; p++) {
        b->deltas.expert[p][20 + p] = 3.0F;
    }
    b->cloud.next = (fake_fault){.at = 2, .code = COSTEER_ECLOUD};
    assert_int_equal(run(b), COSTEER_OK);
    const int32_t expected[] = {2, 3, 22, 23};
    assert_int_equal(b->n_tokens, 4);
    assert_memory_equal(b->tokens, expected, sizeof expected);
    assert_int_equal(b->report.n_local, 2);
    assert_true(b->positions[0].weights[0] < 1e-3 && b->positions[3].weights[0] == 1.0);
}

/* Each context by itself: one that says nothing here is not steered by, whatever the other says. */
static void test_session__contexts_are_limited_one_by_one(void **state)
{
    bench *b = *state;
    reset(b);
    fake_deltas_init(&b->deltas, &b->journal, 2);
    prefer(b, 2);
    b->params.max_tokens = 1;
    b->params.details = true;
    b->params.limits = (costeer_delta_limits){.plausibility = SMALL, .divergence = 1.0};
    b->deltas.expert[0][30] = 30.0F; /* a divergence of log 512 and more: the whole weight */
    assert_int_equal(run(b), COSTEER_OK);
    assert_int_equal(b->tokens[0], 30);
    assert_int_equal(b->positions[0].n_weights, 2);
    assert_true(b->positions[0].weights[0] == 1.0);
    assert_true(b->positions[0].weights[1] < 1e-9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        session_test(test_session__bad_limits_are_refused),
        session_test(test_session__an_implausible_token_does_not_win),
        session_test(test_session__a_position_tells_what_was_applied),
        session_test(test_session__a_token_near_the_floor_is_a_near_tie),
        session_test(test_session__so_is_an_unsent_one),
        session_test(test_session__a_divergence_that_decides_is_a_near_tie),
        session_test(test_session__a_closed_gate_limits_nothing_and_tells_no_weights),
        session_test(test_session__a_broken_slm_is_an_error_and_not_a_token),
        session_test(test_session__an_slm_that_goes_on_alone_is_itself),
        session_test(test_session__contexts_are_limited_one_by_one),
    };
    return cmocka_run_group_tests_name("session_limits", tests, NULL, NULL);
}
