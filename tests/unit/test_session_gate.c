/* The loop and a gate: who chooses, when the SLM steps and catches up, drafts, what is done when the cloud fails. With fakes. */
#include <costeer/session.h>

#include "random.h"
#include "support/session_bench.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SURE   9.0F /* p_max 0.94 over the fake's vocabulary */
#define UNSURE 5.0F /* 0.22 */

/* The cloud says 2 3 4 5 …, sure of it where the letter is s; the SLM with the context would rather have 402 403 404 405 … */
static void set_up_answer(bench *b, const char *llm, costeer_gate_kind kind)
{
    reset(b);
    b->params.gate.kind = kind;
    b->params.max_tokens = (int32_t)strlen(llm);
    for (int32_t p = 0; llm[p] != '\0'; p++) {
        b->cloud.logits[p][2 + p] = llm[p] == 's' ? SURE : UNSURE;
        b->deltas.expert[p][402 + p] = 20.0F;
    }
}

/* Tokens of the answer: the SLM's where the letter is +, else the cloud's own. */
static void assert_answer(const bench *b, const char *gate)
{
    assert_int_equal(b->n_tokens, strlen(gate));
    int32_t n_gated = 0;
    for (int32_t p = 0; gate[p] != '\0'; p++) {
        const bool is_open = gate[p] == '+';
        assert_int_equal(b->tokens[p], is_open ? 402 + p : 2 + p);
        assert_int_equal(b->positions[p].gated, !is_open);
        assert_int_equal(b->positions[p].steered, is_open);
        assert_int_equal(b->positions[p].base_token, 2 + p);
        n_gated += !is_open;
    }
    assert_int_equal(b->report.n_gated, n_gated);
    assert_int_equal(b->report.n_steered, b->report.n_tokens - n_gated);
}

static void assert_slm(const bench *b, int32_t n_steps, int32_t n_tokens)
{
    assert_int_equal(b->report.n_slm_steps, n_steps);
    assert_int_equal(b->report.n_slm_tokens, n_tokens);
}

/* ---- order of calls ---------------------------------------------------------------------------------------------- */

static void test_session__without_a_gate_the_slm_steps_at_every_position(void **state)
{
    bench *b = *state;
    set_up_answer(b, "ssss", COSTEER_GATE_NONE);
    assert_int_equal(run(b), COSTEER_OK);
    assert_string_equal(b->journal.text,
                        "open(3,0) begin next(0) commit(0,402) step(402) next(1) commit(1,403) step(403) next(2) "
                        "commit(2,404) step(404) next(3) close ");
    assert_answer(b, "++++");
    assert_slm(b, 3, 3);
}

static void test_session__ada_steers_until_the_llm_was_sure_and_never_again(void **state)
{
    bench *b = *state;
    set_up_answer(b,
                  "suss"
                  "suu",
                  COSTEER_GATE_ADA);
    assert_int_equal(run(b), COSTEER_OK);
    assert_string_equal(b->journal.text,
                        "open(3,0) begin next(0) commit(0,402) step(402) next(1) commit(1,403) step(403) next(2) commit(2,404) "
                        "step(404) next(3) commit(3,405) step(405) next(4) commit(4,6) next(5) commit(5,7) next(6) close ");
    assert_answer(b, "++++---");
    assert_slm(b, 4, 4);
}

static void test_session__ada_with_a_patience_of_one_may_never_steer(void **state)
{
    bench *b = *state;
    set_up_answer(b, "suu", COSTEER_GATE_ADA);
    b->params.gate.patience = 1;
    assert_int_equal(run(b), COSTEER_OK);
    assert_string_equal(b->journal.text, "open(3,0) begin next(0) commit(0,2) next(1) commit(1,3) next(2) close ");
    assert_answer(b, "---");
    assert_slm(b, 0, 0);
}

static void test_session__by_token_the_slm_catches_up_in_one_step_when_the_gate_opens(void **state)
{
    bench *b = *state;
    set_up_answer(b, "sssuus", COSTEER_GATE_TOKEN);
    assert_int_equal(run(b), COSTEER_OK);
    assert_string_equal(b->journal.text, "open(3,0) begin next(0) commit(0,2) next(1) commit(1,3) next(2) commit(2,4) next(3) "
                                         "step(2,3,4) commit(3,405) next(4) step(405) commit(4,406) next(5) close ");
    assert_answer(b, "---++-");
    assert_slm(b, 2, 4);
}

static void test_session__by_token_an_open_gate_at_position_zero_needs_no_step(void **state)
{
    bench *b = *state;
    set_up_answer(b, "uss", COSTEER_GATE_TOKEN);
    assert_int_equal(run(b), COSTEER_OK);
    assert_string_equal(b->journal.text, "open(3,0) begin next(0) commit(0,402) next(1) commit(1,3) next(2) close ");
    assert_answer(b, "+--");
    assert_slm(b, 0, 0);
}

static void test_session__by_token_the_slm_always_reads_where_it_stands(void **state)
{
    bench *b = *state;
    struct test_random r = {11};
    for (int round = 0; round < 200; round++) {
        char llm[FAKE_POSITIONS + 1] = "", gate[FAKE_POSITIONS + 1] = "";
        for (int p = 0; p < FAKE_POSITIONS; p++) {
            const bool is_sure = test_random_below(&r, 2) == 0;
            llm[p] = is_sure ? 's' : 'u';
            gate[p] = is_sure ? '-' : '+';
        }
        set_up_answer(b, llm, COSTEER_GATE_TOKEN);
        assert_int_equal(run(b), COSTEER_OK);
        assert_answer(b, gate);
        const char *last_open = strrchr(gate, '+');
        assert_int_equal(b->report.n_slm_tokens, last_open == NULL ? 0 : last_open - gate);
        assert_int_equal(b->deltas.position, b->report.n_slm_tokens);
    }
}

static void test_session__a_second_answer_begins_with_a_new_gate(void **state)
{
    bench *b = *state;
    set_up_answer(b, "ssuu", COSTEER_GATE_ADA);
    b->params.gate.patience = 2;
    costeer_session *session;
    assert_int_equal(costeer_session_create(&b->cloud.cloud, &b->deltas.source, &b->vocab, &b->params, &session, NULL),
                     COSTEER_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(costeer_session_run(session, prompt, 3, &b->report, NULL), COSTEER_OK);
        assert_int_equal(b->report.n_gated, 3);
        assert_slm(b, 1, 1);
    }
    b->cloud.open = (fake_fault){.at = 0, .code = COSTEER_ECLOUD};
    assert_int_equal(costeer_session_run(session, prompt, 3, &b->report, NULL), COSTEER_ECLOUD);
    assert_slm(b, 0, 0);
    costeer_session_free(session);
}

/* Of 512 tokens one is 9 nats above the others: its log-probability is −0.061. */
static void test_session__a_gate_near_its_threshold_is_a_near_tie(void **state)
{
    bench *b = *state;
    const double thresholds[] = {1.0 - exp(-0.061 - 0.9 * COSTEER_NEAR_TIE_BASE),
                                 1.0 - exp(-0.061 - 1.1 * COSTEER_NEAR_TIE_BASE)};
    for (int i = 0; i < 2; i++) {
        reset(b);
        prefer(b, 2, FAKE_END);
        b->params.gate.kind = COSTEER_GATE_TOKEN;
        b->params.gate.threshold = thresholds[i];
        b->params.max_tokens = 1;
        assert_int_equal(run(b), COSTEER_OK);
        assert_true(b->positions[0].gated && b->positions[0].margin > 8.0);
        assert_int_equal(b->report.n_near_ties, i == 0 ? 1 : 0);
    }
}

static void test_session__without_an_slm_there_is_nothing_to_gate(void **state)
{
    bench *b = *state;
    for (int kind = COSTEER_GATE_ADA; kind <= COSTEER_GATE_TOKEN; kind++) {
        set_up_answer(b, "sss", (costeer_gate_kind)kind);
        assert_int_equal(run_with(b, NULL), COSTEER_OK);
        assert_int_equal(b->report.n_gated, 0);
        b->params.strength = 0.0;
        assert_int_equal(run(b), COSTEER_OK);
        assert_int_equal(b->report.n_gated, 0);
        assert_slm(b, 0, 0);
    }
}

static void test_session__a_gate_out_of_range_is_refused(void **state)
{
    bench *b = *state;
    costeer_session *session;
    b->params.gate = (costeer_gate_params){.kind = COSTEER_GATE_TOKEN, .threshold = 1.5};
    assert_int_equal(costeer_session_create(&b->cloud.cloud, &b->deltas.source, &b->vocab, &b->params, &session, &b->err),
                     COSTEER_EINVAL);
    assert_null(session);
    assert_non_null(strstr(b->err.message, "threshold"));
}

/* ---- a closed gate ----------------------------------------------------------------------------------------------- */

static void test_session__behind_a_closed_gate_every_choice_is_the_clouds_alone(void **state)
{
    bench *b = *state;
    static const struct {
        double temperature;
        double penalty;
        int32_t top_k;
        float error;
    } cases[] = {{0.0, 1.0, 0, 0.0F}, {0.0, 1.0, 8, 0.0F},  {0.0, 1.0, 8, 1e-3F}, {0.0, 50.0, 8, 0.0F},
                 {1.0, 1.0, 0, 0.0F}, {1.0, 1.0, 64, 0.0F}, {0.7, 1.2, 64, 1e-3F}};
    struct test_random r = {5};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        reset(b);
        for (int32_t p = 0; p < 8; p++) {
            for (int32_t t = 0; t < FAKE_VOCAB; t++) {
                b->cloud.logits[p][t] = (float)(-2.0 * log(test_random_between(&r, 1e-6, 1.0)));
                b->deltas.expert[p][t] = (float)test_random_between(&r, -9.0, 9.0);
            }
            b->cloud.logits[p][FAKE_END] = -50.0F;
        }
        b->cloud.error = cases[i].error;
        b->params.base_top_k = cases[i].top_k;
        b->params.sampler.temperature = cases[i].temperature;
        b->params.sampler.repetition_penalty = cases[i].penalty;
        int32_t expected[8];
        assert_int_equal(run_with(b, NULL), COSTEER_OK);
        memcpy(expected, b->tokens, sizeof expected);
        const int32_t n_deepened = b->report.n_deepened;
        b->params.gate = (costeer_gate_params){.kind = COSTEER_GATE_TOKEN, .threshold = 1.0};
        b->journal = (fake_journal){.n = 0};
        assert_int_equal(run(b), COSTEER_OK);
        assert_memory_equal(b->tokens, expected, sizeof expected);
        assert_int_equal(b->report.n_gated, 8);
        assert_int_equal(b->report.n_deepened, n_deepened);
        assert_int_equal(b->report.n_certified, 8);
        assert_null(strstr(b->journal.text, "step"));
    }
}

static void test_session__behind_a_closed_gate_the_details_are_the_clouds(void **state)
{
    bench *b = *state;
    set_up_answer(b, "su", COSTEER_GATE_TOKEN);
    b->params.details = true;
    assert_int_equal(run(b), COSTEER_OK);
    assert_true(b->positions[0].delta == 0.0);
    assert_true(fabs(b->positions[0].policy_logprob - b->positions[0].base_logprob) < 1e-9);
    assert_int_equal(b->positions[0].best_after[0], 2);
    assert_true(fabs(b->positions[1].delta - (20.0 - log(exp(20.0) + FAKE_VOCAB - 1) + log((double)FAKE_VOCAB))) < 1e-9);
    assert_true(b->positions[1].policy_logprob > b->positions[1].base_logprob);
}

static void test_session__a_gate_that_is_always_open_changes_nothing(void **state)
{
    bench *b = *state;
    int32_t expected[8];
    for (int32_t top_k = 0; top_k <= 16; top_k += 16) {
        set_up_answer(b, "sususuus", COSTEER_GATE_NONE);
        b->params.base_top_k = top_k;
        assert_int_equal(run(b), COSTEER_OK);
        memcpy(expected, b->tokens, sizeof expected);
        b->params.gate = (costeer_gate_params){.kind = COSTEER_GATE_TOKEN, .threshold = 1e-9};
        assert_int_equal(run(b), COSTEER_OK);
        assert_memory_equal(b->tokens, expected, sizeof expected);
        assert_int_equal(b->report.n_gated, 0);
        assert_slm(b, 7, 7);
    }
}

/* ---- what the gate is told --------------------------------------------------------------------------------------- */

static void test_session__dense_and_sparse_bases_decide_alike_at_the_very_threshold(void **state)
{
    bench *b = *state;
    struct test_random r = {2027};
    int n_gated = 0;
    for (int round = 0; round < 300; round++) {
        reset(b);
        b->params.max_tokens = 1;
        for (int32_t t = 0; t < FAKE_VOCAB; t++) {
            b->cloud.logits[0][t] = (float)test_random_between(&r, -3.0, 3.0);
        }
        b->cloud.logits[0][7] = (float)test_random_between(&r, 6.0, 10.0);
        const double lse = costeer_logsumexp(b->cloud.logits[0], FAKE_VOCAB);
        const double p_max = exp((double)(float)((double)b->cloud.logits[0][7] - lse));
        /* one unit in the last place on either side, and the very value */
        const double threshold = round % 3 == 0 ? 1.0 - p_max : nextafter(1.0 - p_max, round % 3 == 1 ? 0.0 : 1.0);
        b->params.gate = (costeer_gate_params){.kind = COSTEER_GATE_TOKEN, .threshold = threshold};
        assert_int_equal(run(b), COSTEER_OK);
        const bool was_gated = b->positions[0].gated;
        assert_int_equal(was_gated, 1.0 - p_max < threshold);
        b->params.base_top_k = 1 + test_random_below(&r, 64);
        assert_int_equal(run(b), COSTEER_OK);
        assert_int_equal(b->positions[0].gated, was_gated);
        n_gated += was_gated;
    }
    assert_int_equal(n_gated, 100);
}

static void test_session__where_rounding_could_decide_the_gate_is_told_exact_values(void **state)
{
    bench *b = *state;
    set_up_answer(b, "s", COSTEER_GATE_TOKEN);
    b->params.base_top_k = 8;
    b->cloud.error = 1e-2F;
    b->deltas.expert[0][402] = 0.0F;
    const double p_max = exp(9.0) / (exp(9.0) + FAKE_VOCAB - 1);
    b->params.gate.threshold = 1.0 - p_max + 1e-4; /* sure, but within what rounding moves */
    assert_int_equal(run(b), COSTEER_OK);
    assert_string_equal(b->journal.text, "open(3,8) begin next(0) deepen(0,8) close ");
    assert_true(b->positions[0].gated);
    assert_int_equal(b->positions[0].n_deepened, 1);
    assert_true(b->positions[0].certified);

    b->params.gate.threshold = 1.0 - p_max - 1e-4;
    b->journal = (fake_journal){.n = 0};
    assert_int_equal(run(b), COSTEER_OK);
    assert_string_equal(b->journal.text, "open(3,8) begin next(0) deepen(0,8) close ");
    assert_false(b->positions[0].gated);

    b->params.gate.threshold = 0.5; /* far from it */
    b->journal = (fake_journal){.n = 0};
    assert_int_equal(run(b), COSTEER_OK);
    assert_string_equal(b->journal.text, "open(3,8) begin next(0) close ");
    assert_true(b->positions[0].gated);

    b->params.gate.threshold = 1.0 - p_max + 1e-4;
    b->params.constant_k = true;
    b->journal = (fake_journal){.n = 0};
    assert_int_equal(run(b), COSTEER_OK);
    assert_null(strstr(b->journal.text, "deepen"));
}

static void test_session__a_broken_base_never_passes_the_gate(void **state)
{
    bench *b = *state;
    set_up_answer(b, "ss", COSTEER_GATE_TOKEN);
    b->cloud.logits[1][300] = NAN;
    assert_int_equal(run(b), COSTEER_ENUMERIC);
    assert_int_equal(b->report.n_tokens, 1);
}

/* ---- drafts ------------------------------------------------------------------------------------------------------ */

static void test_session__by_token_the_slm_catches_up_before_it_drafts(void **state)
{
    bench *b = *state;
    set_up_answer(b, "sssuss", COSTEER_GATE_TOKEN);
    b->cloud.n_drafts = 1;
    for (int32_t p = 0; p < FAKE_POSITIONS; p++) {
        b->deltas.drafts[p] = 50 + p;
    }
    assert_int_equal(run(b), COSTEER_OK);
    assert_string_equal(b->journal.text,
                        "open(3,0) begin next(0) draft(2,1) commit(0,2,[51]) next(1) step(2) draft(3,1) commit(1,3,[52]) next(2) "
                        "step(3) draft(4,1) commit(2,4,[53]) next(3) step(4) draft(405,1) commit(3,405,[54]) next(4) commit(4,6) "
                        "next(5) close ");
    assert_answer(b, "---+--");
    assert_slm(b, 3, 3);
}

static void test_session__once_ada_is_off_nothing_is_drafted(void **state)
{
    bench *b = *state;
    set_up_answer(b, "usssss", COSTEER_GATE_ADA);
    b->params.gate.patience = 2;
    b->params.private_drafts = true;
    b->cloud.n_drafts = 1;
    for (int32_t p = 0; p < FAKE_POSITIONS; p++) {
        b->deltas.drafts[p] = 50 + p;
    }
    assert_int_equal(run(b), COSTEER_OK);
    assert_string_equal(
        b->journal.text,
        "open(3,0) begin next(0) draft(402,1) commit(0,402,[51]) step(402) next(1) draft(403,1) "
        "commit(1,403,[52]) step(403) next(2) commit(2,4) next(3) commit(3,5) next(4) commit(4,6) next(5) close ");
    assert_answer(b, "++----");
}

/* ---- failures ---------------------------------------------------------------------------------------------------- */

static void test_session__going_on_alone_begins_with_all_that_was_skipped(void **state)
{
    bench *b = *state;
    set_up_answer(b, "ssssss", COSTEER_GATE_TOKEN);
    b->params.on_cloud_failure = COSTEER_CLOUD_FAILURE_LOCAL;
    b->cloud.next = (fake_fault){.at = 3, .code = COSTEER_ETIMEDOUT};
    assert_int_equal(run(b), COSTEER_OK);
    assert_string_equal(b->journal.text, "open(3,0) begin next(0) commit(0,2) next(1) commit(1,3) next(2) commit(2,4) next(3) "
                                         "close step(2,3,4) step(405) step(406) ");
    static const int32_t expected[] = {2, 3, 4, 405, 406, 407};
    assert_memory_equal(b->tokens, expected, sizeof expected);
    assert_int_equal(b->report.n_local, 3);
    assert_int_equal(b->report.n_gated, 3);
    assert_false(b->positions[3].gated);
    assert_slm(b, 3, 5);
}

static void test_session__going_on_alone_wakes_an_slm_that_ada_had_switched_off(void **state)
{
    bench *b = *state;
    set_up_answer(b, "ussssss", COSTEER_GATE_ADA);
    b->params.on_cloud_failure = COSTEER_CLOUD_FAILURE_LOCAL;
    b->cloud.commit = (fake_fault){.at = 4, .code = COSTEER_EIO};
    assert_int_equal(run(b), COSTEER_OK);
    assert_string_equal(b->journal.text,
                        "open(3,0) begin next(0) commit(0,402) step(402) next(1) commit(1,403) step(403) next(2) "
                        "commit(2,404) step(404) next(3) commit(3,5) next(4) commit(4,6) close step(5,6) "
                        "step(407) ");
    assert_int_equal(b->report.n_local, 2);
    assert_int_equal(b->report.n_gated, 2);
    assert_slm(b, 5, 6);
}

static void test_session__a_gated_position_whose_choice_fails_is_local_instead(void **state)
{
    bench *b = *state;
    set_up_answer(b, "ss", COSTEER_GATE_TOKEN);
    b->params.on_cloud_failure = COSTEER_CLOUD_FAILURE_LOCAL;
    b->params.base_top_k = 2;
    b->params.sampler.temperature = 1.0; /* so that the choice asks for more */
    b->cloud.deepen = (fake_fault){.at = 1, .code = COSTEER_ECLOUD};
    assert_int_equal(run(b), COSTEER_OK);
    assert_true(b->positions[0].gated);
    assert_true(b->positions[1].is_local);
    assert_false(b->positions[1].gated);
    assert_int_equal(b->positions[1].n_deepened, 0);
    assert_int_equal(b->report.n_gated, 1);
}

static void test_session__an_slm_that_cannot_catch_up_is_not_the_clouds_failure(void **state)
{
    bench *b = *state;
    set_up_answer(b, "ssuu", COSTEER_GATE_TOKEN);
    b->params.on_cloud_failure = COSTEER_CLOUD_FAILURE_LOCAL;
    b->deltas.step = (fake_fault){.at = 2, .code = COSTEER_EIO};
    assert_int_equal(run(b), COSTEER_EIO);
    assert_int_equal(b->report.n_tokens, 2);
    assert_int_equal(b->report.cloud_status, COSTEER_OK);
    assert_slm(b, 0, 0);
}

static void test_session__alone_the_source_says_what_there_is_to_go_on_from(void **state)
{
    bench *b = *state;
    set_up_answer(b, "ss", COSTEER_GATE_NONE);
    b->params.on_cloud_failure = COSTEER_CLOUD_FAILURE_LOCAL;
    b->params.strength = 5.0;
    fake_deltas_speak(&b->deltas);
    b->deltas.expert[0][402] = b->deltas.expert[1][403] = 2.0F;
    b->deltas.alone[0][31] = 1.0F; /* 1 < 2 */
    b->deltas.alone[1][32] = 3.0F; /* 3 > 2 */
    b->cloud.next = (fake_fault){.at = 0, .code = COSTEER_EIO};
    assert_int_equal(run(b), COSTEER_OK);
    assert_int_equal(b->tokens[0], 402);
    assert_int_equal(b->tokens[1], 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        session_test(test_session__without_a_gate_the_slm_steps_at_every_position),
        session_test(test_session__ada_steers_until_the_llm_was_sure_and_never_again),
        session_test(test_session__ada_with_a_patience_of_one_may_never_steer),
        session_test(test_session__by_token_the_slm_catches_up_in_one_step_when_the_gate_opens),
        session_test(test_session__by_token_an_open_gate_at_position_zero_needs_no_step),
        session_test(test_session__by_token_the_slm_always_reads_where_it_stands),
        session_test(test_session__a_second_answer_begins_with_a_new_gate),
        session_test(test_session__a_gate_near_its_threshold_is_a_near_tie),
        session_test(test_session__without_an_slm_there_is_nothing_to_gate),
        session_test(test_session__a_gate_out_of_range_is_refused),
        session_test(test_session__behind_a_closed_gate_every_choice_is_the_clouds_alone),
        session_test(test_session__behind_a_closed_gate_the_details_are_the_clouds),
        session_test(test_session__a_gate_that_is_always_open_changes_nothing),
        session_test(test_session__dense_and_sparse_bases_decide_alike_at_the_very_threshold),
        session_test(test_session__where_rounding_could_decide_the_gate_is_told_exact_values),
        session_test(test_session__a_broken_base_never_passes_the_gate),
        session_test(test_session__by_token_the_slm_catches_up_before_it_drafts),
        session_test(test_session__once_ada_is_off_nothing_is_drafted),
        session_test(test_session__going_on_alone_begins_with_all_that_was_skipped),
        session_test(test_session__going_on_alone_wakes_an_slm_that_ada_had_switched_off),
        session_test(test_session__a_gated_position_whose_choice_fails_is_local_instead),
        session_test(test_session__an_slm_that_cannot_catch_up_is_not_the_clouds_failure),
        session_test(test_session__alone_the_source_says_what_there_is_to_go_on_from),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
