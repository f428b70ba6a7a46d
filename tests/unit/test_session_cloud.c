/* The loop and a cloud across a network: rounded bases, drafts, what is done when the cloud fails. With fakes. */
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

/* ---- rounded bases ----------------------------------------------------------------------------------------------- */

static void test_session__a_rounded_base_is_good_enough_where_nothing_is_near(void **state)
{
    bench *b = *state;
    prefer(b, 2, 3, FAKE_END);
    b->params.base_top_k = 4;
    b->cloud.error = 1e-3F;
    b->deltas.expert[1][5] = 3.0F; /* 3 < 9: too little */
    assert_int_equal(run(b), COSTEER_OK);
    assert_null(strstr(b->journal.text, "deepen"));
    assert_int_equal(b->report.n_certified, 3);
    assert_int_equal(b->tokens[1], 3);
}

static void test_session__a_near_rival_is_settled_by_exact_values_of_the_same_entries(void **state)
{
    bench *b = *state;
    b->params.base_top_k = 4;
    b->params.max_tokens = 1;
    b->cloud.error = 1e-2F;
    b->cloud.logits[0][7] = 9.0F;
    b->cloud.logits[0][5] = 8.999F; /* rounds to the same value: the lower id would win */
    b->deltas.expert[0][9] = 0.1F;
    assert_int_equal(run(b), COSTEER_OK);
    assert_string_equal(b->journal.text, "open(3,4) begin next(0) deepen(0,4) close ");
    assert_int_equal(b->tokens[0], 7);
    assert_true(b->positions[0].certified);
    assert_int_equal(b->positions[0].n_deepened, 1);
    assert_int_equal(b->positions[0].n_entries, 4);
}

static void test_session__an_unsent_token_far_above_is_not_a_matter_of_rounding(void **state)
{
    bench *b = *state;
    prefer(b, 2, FAKE_END);
    b->params.base_top_k = 2;
    b->params.max_tokens = 1;
    b->cloud.error = 1e-3F;
    b->deltas.expert[0][9] = 20.0F;
    assert_int_equal(run(b), COSTEER_OK);
    assert_string_equal(b->journal.text, "open(3,2) begin next(0) deepen(0,16) close ");
    assert_int_equal(b->tokens[0], 9);
}

static void test_session__after_exact_values_the_ladder_is_the_usual_one(void **state)
{
    bench *b = *state;
    b->params.base_top_k = 2;
    b->params.max_tokens = 1;
    b->cloud.error = 1e-2F;
    b->cloud.logits[0][3] = 6.0F;
    b->cloud.logits[0][4] = 3.0F;
    b->deltas.expert[0][300] = 3.0F; /* its bound is the best sent score, or a hair above */
    assert_int_equal(run(b), COSTEER_OK);
    assert_string_equal(b->journal.text, "open(3,2) begin next(0) deepen(0,2) deepen(0,16) close ");
    assert_int_equal(b->tokens[0], 3);
}

static void test_session__unsteered_the_first_entry_is_the_clouds_choice_though_rounding_ties_it(void **state)
{
    bench *b = *state;
    b->params.base_top_k = 4;
    b->params.max_tokens = 1;
    b->cloud.error = 1e-2F;
    b->cloud.logits[0][7] = 9.0F;
    b->cloud.logits[0][5] = 8.9999F;
    assert_int_equal(run_with(b, NULL), COSTEER_OK);
    assert_string_equal(b->journal.text, "open(3,4) next(0) close ");
    assert_int_equal(b->tokens[0], 7);
    assert_true(b->positions[0].certified);
    assert_false(b->positions[0].steered);
}

static void test_session__sampling_never_draws_from_rounded_values(void **state)
{
    bench *b = *state;
    prefer(b, 2, 3, 4);
    b->params.sampler.temperature = 0.1;
    b->params.base_top_k = 4;
    b->params.max_tokens = 3;
    b->cloud.error = 1e-3F;
    assert_int_equal(run(b), COSTEER_OK);
    assert_non_null(strstr(b->journal.text, "next(0) deepen(0,4) commit(0,2)"));
    assert_non_null(strstr(b->journal.text, "next(1) deepen(1,4) commit(1,3)"));
    assert_int_equal(b->report.n_certified, 3);
}

static void test_session__constant_k_asks_for_exact_values_neither(void **state)
{
    bench *b = *state;
    b->params.base_top_k = 4;
    b->params.constant_k = true;
    b->params.max_tokens = 1;
    b->cloud.error = 1e-2F;
    b->cloud.logits[0][7] = 9.0F;
    b->cloud.logits[0][5] = 8.999F;
    assert_int_equal(run(b), COSTEER_OK);
    assert_null(strstr(b->journal.text, "deepen"));
    assert_int_equal(b->report.n_uncertified, 1);
}

static void test_session__rounded_values_after_exact_ones_were_asked_for_are_an_error(void **state)
{
    bench *b = *state;
    b->params.base_top_k = 4;
    b->cloud.error = 1e-2F;
    b->cloud.rounds_always = true;
    b->cloud.logits[0][7] = 9.0F;
    b->cloud.logits[0][5] = 8.999F;
    assert_int_equal(run(b), COSTEER_ECLOUD);
    assert_non_null(strstr(b->err.message, "exact"));
}

static void test_session__the_repetition_penalty_holds_for_rounded_values_too(void **state)
{
    bench *b = *state;
    b->params.max_tokens = 2;
    b->params.base_top_k = 4;
    b->params.sampler.repetition_penalty = 100.0;
    b->cloud.error = 1e-3F;
    for (int32_t i = 0; i < 2; i++) {
        b->cloud.logits[i][4] = 9.0F;
        b->cloud.logits[i][3] = 8.0F; /* the best once 4 is penalised by 4.6 */
    }
    assert_int_equal(run(b), COSTEER_OK);
    assert_int_equal(b->tokens[0], 4);
    assert_int_equal(b->tokens[1], 3);
    assert_null(strstr(b->journal.text, "deepen"));
}

/* A cloud that rounds, on a grid or anyhow within the error: always the exact answer, and seldom a question. */
static void test_session__a_rounded_base_gives_the_exact_choice(void **state)
{
    bench *b = *state;
    struct test_random r = {2026};
    int n_certified = 0, n_asked = 0, n_ties = 0;
    for (int round = 0; round < 2000; round++) {
        reset(b);
        b->params.max_tokens = 1;
        b->params.sampler.repetition_penalty = round % 4 == 3 ? 1.3 : 1.0;
        for (int32_t i = 0; i < FAKE_VOCAB; i++) {
            b->cloud.logits[0][i] = (float)(-3.0 * log(test_random_between(&r, 1e-6, 1.0)));
            b->deltas.expert[0][i] = (float)test_random_between(&r, -1.5, 1.5);
        }
        if (round % 5 == 0) { /* two that nearly tie once steered, so that sorting does not keep their rounding in order */
            b->cloud.logits[0][5] = 60.0F;
            b->deltas.expert[0][5] = 0.0F;
            b->cloud.logits[0][400] = 59.0F + (float)test_random_between(&r, -1e-3, 1e-3);
            b->deltas.expert[0][400] = 1.0F;
            n_ties++;
        }
        b->params.base_top_k = FAKE_VOCAB; /* all log-probabilities, exact: what the certificate refers to */
        assert_int_equal(run(b), COSTEER_OK);
        const int32_t exact = b->tokens[0];
        b->params.base_top_k = 8 + test_random_below(&r, 56);
        b->cloud.error = round % 2 ? 1.0F / 4096.0F : (float)test_random_between(&r, 1e-4, 2e-2);
        b->cloud.jitter = round % 7 < 4 ? test_random_bits(&r) | 1 : 0;
        b->cloud.tells_tail = round % 3 != 0;
        b->params.constant_k = true; /* what the rounded base itself proves */
        assert_int_equal(run(b), COSTEER_OK);
        assert_true(!b->positions[0].certified || b->tokens[0] == exact);
        n_certified += b->positions[0].certified;
        b->params.constant_k = false;
        assert_int_equal(run(b), COSTEER_OK);
        assert_true(b->positions[0].certified);
        assert_int_equal(b->tokens[0], exact);
        n_asked += b->positions[0].n_deepened > 0;
    }
    print_message("%d of 2000 certified as they came, %d asked again, %d near ties\n", n_certified, n_asked, n_ties);
    assert_true(n_certified > 1200);
    assert_true(n_asked > n_ties / 4 && n_certified + n_asked == 2000);
}

/* ---- a cloud that gives no more ---------------------------------------------------------------------------------- */

/* Positions 0 and 2 are certain; at 1 the SLM wants a token that the two or four best of the LLM are not. */
static void set_up_doubt(bench *b)
{
    reset(b);
    prefer(b, 2, 3, FAKE_END);
    b->params.base_top_k = 2;
    b->cloud.logits[1][6] = 4.0F;
    b->cloud.logits[1][7] = 3.0F;
    b->cloud.logits[1][8] = 2.0F;
    b->deltas.expert[1][9] = 20.0F;
}

static void test_session__a_cloud_that_has_no_more_is_not_asked_again(void **state)
{
    bench *b = *state;
    set_up_doubt(b);
    b->cloud.deepest = 4;
    assert_int_equal(run(b), COSTEER_OK);
    assert_string_equal(b->journal.text,
                        "open(3,2) begin next(0) commit(0,2) step(2) next(1) deepen(1,16) commit(1,3) step(3) next(2) close ");
    assert_int_equal(b->report.n_uncertified, 1);
    assert_int_equal(b->report.n_certified, 2);
    assert_int_equal(b->report.n_deepened, 1);
    assert_true(b->positions[1].uncertified_kept);
    assert_false(b->positions[1].certified);
    assert_int_equal(b->positions[1].n_entries, 4);
    assert_int_equal(b->positions[1].n_deepened, 1);
    set_up_doubt(b);
    b->cloud.deepest = 2; /* known with what came unasked */
    assert_int_equal(run(b), COSTEER_OK);
    assert_null(strstr(b->journal.text, "deepen"));
    assert_int_equal(b->report.n_uncertified, 1);
    assert_int_equal(b->report.n_certified, 2);
    assert_int_equal(b->report.n_deepened, 0);
    assert_int_equal(b->positions[1].n_entries, 2);
    assert_int_equal(b->tokens[1], 3);
}

static void test_session__what_a_cloud_with_no_more_certifies_is_certified(void **state)
{
    bench *b = *state;
    for (int required = 0; required < 2; required++) {
        reset(b);
        prefer(b, 2, 3, FAKE_END);
        b->params.base_top_k = 4;
        b->params.require_certified = required != 0;
        b->cloud.deepest = 4;
        b->deltas.expert[1][5] = 3.0F;
        assert_int_equal(run(b), COSTEER_OK);
        assert_null(strstr(b->journal.text, "deepen"));
        assert_int_equal(b->report.n_certified, 3);
        assert_int_equal(b->report.n_uncertified, 0);
        assert_text(b, "Hello ");
    }
    set_up_doubt(b); /* asked for more, it has enough, and has not come to its end */
    b->params.require_certified = true;
    b->cloud.deepest = 17;
    b->cloud.logits[1][9] = 1.0F;
    assert_int_equal(run(b), COSTEER_OK);
    assert_int_equal(b->report.n_certified, 3);
    assert_int_equal(b->tokens[1], 9);
    set_up_doubt(b); /* what is sent as its last settles it */
    b->params.require_certified = true;
    b->cloud.deepest = 16;
    b->cloud.logits[1][9] = 1.0F;
    assert_int_equal(run(b), COSTEER_OK);
    assert_int_equal(b->report.n_certified, 3);
    assert_int_equal(b->tokens[1], 9);
}

static void test_session__required_certificates_end_it_at_the_first_doubt(void **state)
{
    bench *b = *state;
    static const struct {
        int32_t deepest;
        bool constant_k;
        const char *journal;
    } cases[] = {{4, false, "open(3,2) begin next(0) commit(0,2) step(2) next(1) deepen(1,16) close "},
                 {2, false, "open(3,2) begin next(0) commit(0,2) step(2) next(1) close "},
                 {0, true, "open(3,2) begin next(0) commit(0,2) step(2) next(1) close "},
                 {2, true, "open(3,2) begin next(0) commit(0,2) step(2) next(1) close "}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        set_up_doubt(b);
        b->params.require_certified = true;
        b->params.constant_k = cases[i].constant_k;
        b->params.on_cloud_failure = COSTEER_CLOUD_FAILURE_LOCAL; /* it is no failure of the cloud */
        b->cloud.deepest = cases[i].deepest;
        assert_int_equal(run(b), COSTEER_EUNCERTIFIED);
        assert_int_equal(b->err.code, COSTEER_EUNCERTIFIED);
        assert_non_null(strstr(b->err.message, "position 1"));
        assert_non_null(strstr(b->err.message, "--require-certified"));
        assert_string_equal(b->journal.text, cases[i].journal);
        assert_int_equal(b->report.n_tokens, 1);
        assert_int_equal(b->report.n_uncertified, 0);
        assert_int_equal(b->report.n_local, 0);
        assert_text(b, "Hello");
    }
}

static void test_session__constant_k_counts_what_it_keeps_unless_certificates_are_required(void **state)
{
    bench *b = *state;
    set_up_doubt(b);
    b->params.constant_k = true;
    assert_int_equal(run(b), COSTEER_OK);
    assert_null(strstr(b->journal.text, "deepen"));
    assert_int_equal(b->report.n_uncertified, 1);
    assert_int_equal(b->report.n_certified, 2);
}

static void test_session__a_cloud_with_no_more_and_nothing_to_choose_from_is_an_error(void **state)
{
    bench *b = *state;
    set_up_doubt(b);
    b->cloud.deepest = 2;
    b->deltas.expert[1][3] = b->deltas.expert[1][6] = -INFINITY;
    assert_int_equal(run(b), COSTEER_ENUMERIC);
    assert_non_null(strstr(b->err.message, "none of the 2 entries"));
    assert_null(strstr(b->journal.text, "deepen"));
}

/* ---- drafts ------------------------------------------------------------------------------------------------------ */

static void test_session__drafts_go_with_the_commit_before_the_slm_steps(void **state)
{
    bench *b = *state;
    prefer(b, 2, 3, 4, FAKE_END);
    b->cloud.n_drafts = 2;
    b->deltas.drafts[1] = 3;
    b->deltas.drafts[2] = 9;
    assert_int_equal(run(b), COSTEER_OK);
    assert_string_equal(b->journal.text,
                        "open(3,0) begin next(0) draft(2,2) commit(0,2,[3,9]) step(2) next(1) draft(3,2) commit(1,3,[9]) step(3) "
                        "next(2) draft(4,2) commit(2,4) step(4) next(3) close ");
    assert_text(b, "Hello world");
    assert_false(b->deltas.was_private);
}

static void test_session__drafts_are_as_many_as_wanted_and_as_positions_follow(void **state)
{
    bench *b = *state;
    prefer(b, 2, 3, 4, 5, 6);
    b->params.max_tokens = 5;
    b->cloud.n_drafts = 1000;
    for (int32_t i = 0; i < FAKE_POSITIONS; i++) {
        b->deltas.drafts[i] = 50 + i;
    }
    assert_int_equal(run(b), COSTEER_OK);
    assert_string_equal(b->journal.text,
                        "open(3,0) begin next(0) draft(2,3) commit(0,2,[51,52,53]) step(2) next(1) draft(3,2) "
                        "commit(1,3,[52,53]) step(3) next(2) draft(4,1) commit(2,4,[53]) step(4) next(3) commit(3,5) step(5) "
                        "next(4) close ");
}

static void test_session__private_drafts_know_weights_and_confidence_but_not_the_strength(void **state)
{
    bench *b = *state;
    prefer(b, 2, 3, FAKE_END);
    fake_deltas_init(&b->deltas, &b->journal, 2);
    const double weights[] = {1.0, -0.5};
    b->params.context_weights = weights;
    b->params.strength = 2.0;
    b->params.private_drafts = true;
    b->params.draft_confidence = 0.75;
    b->cloud.n_drafts = 2;
    assert_int_equal(run(b), COSTEER_OK);
    assert_true(b->deltas.was_private);
    assert_true(b->deltas.confidence == 0.75);
    assert_true(b->deltas.draft_weights[0] == b->params.strength && b->deltas.draft_weights[1] == -0.5 * b->params.strength);
    assert_non_null(strstr(b->journal.text, "draft(2,2) commit(0,2) step(2)")); /* nothing was drafted: a plain commit */
}

static void test_session__without_a_source_of_drafts_commits_are_plain(void **state)
{
    bench *b = *state;
    prefer(b, 2, FAKE_END);
    b->cloud.n_drafts = 2;
    assert_int_equal(run_with(b, NULL), COSTEER_OK);
    assert_string_equal(b->journal.text, "open(3,0) next(0) commit(0,2) next(1) close ");
}

static void test_session__a_failed_draft_ends_it_after_the_token_was_told(void **state)
{
    bench *b = *state;
    prefer(b, 2, 3, 4, 5);
    b->cloud.n_drafts = 2;
    b->params.on_cloud_failure = COSTEER_CLOUD_FAILURE_LOCAL;
    b->deltas.draft = (fake_fault){.at = 1, .code = COSTEER_ECLOUD};
    assert_int_equal(run(b), COSTEER_ECLOUD);
    assert_int_equal(b->report.n_tokens, 2);
    assert_text(b, "Hello ");
    assert_null(strstr(b->journal.text, "commit(1"));
    assert_int_equal(b->report.cloud_status, COSTEER_OK);
}

/* ---- the cloud's failure ----------------------------------------------------------------------------------------- */

/* The SLM with the contexts says 20 21 22 … and then the end; the cloud, steered or not, says 2 3 4 5 … */
static void set_up_local(bench *b)
{
    reset(b);
    prefer(b, 2, 3, 4, 5, 6, 7);
    for (int32_t i = 0; i < 6; i++) {
        b->deltas.expert[i][i < 5 ? 20 + i : FAKE_END] = 3.0F;
    }
    b->params.on_cloud_failure = COSTEER_CLOUD_FAILURE_LOCAL;
}

static void test_session__goes_on_locally_whatever_fails_and_wherever(void **state)
{
    bench *b = *state;
    static const costeer_err codes[] = {COSTEER_ECLOUD, COSTEER_ETIMEDOUT, COSTEER_EIO};
    struct {
        fake_fault *fault;
        int32_t at;
        int32_t first_local;
        int32_t top_k;
    } cases[] = {
        {&b->cloud.open, 0, 0, 0},   {&b->cloud.next, 0, 0, 0},   {&b->cloud.next, 3, 3, 0},   {&b->cloud.next, 5, 5, 0},
        {&b->cloud.commit, 0, 1, 0}, {&b->cloud.commit, 4, 5, 0}, {&b->cloud.deepen, 0, 0, 2}, {&b->cloud.deepen, 2, 2, 2},
    };
    for (size_t i = 0; i < 3 * sizeof cases / sizeof cases[0]; i++) {
        const size_t c = i / 3;
        set_up_local(b);
        b->cloud.stats.n_steps = 77;
        b->params.base_top_k = cases[c].top_k;
        if (cases[c].top_k > 0) {
            b->deltas.expert[cases[c].at][400] = 20.0F; /* so that it must be asked for more */
            b->deltas.expert[cases[c].at][20 + cases[c].at] = 30.0F;
        }
        *cases[c].fault = (fake_fault){.at = cases[c].at, .code = codes[i % 3]};
        assert_int_equal(run(b), COSTEER_OK);
        assert_int_equal(b->report.finish, COSTEER_FINISH_END);
        assert_int_equal(b->report.n_tokens, 6);
        assert_int_equal(b->report.n_local, 6 - cases[c].first_local);
        assert_int_equal(b->report.cloud_status, codes[i % 3]);
        assert_string_equal(b->report.cloud_error.component, "fake");
        assert_int_equal(b->report.cloud.n_steps, 77);
        assert_int_equal(b->report.n_certified, 6);
        for (int32_t p = 0; p < 6; p++) {
            const bool is_local = p >= cases[c].first_local;
            assert_int_equal(b->positions[p].is_local, is_local);
            assert_int_equal(b->tokens[p], is_local ? (p < 5 ? 20 + p : FAKE_END) : 2 + p);
            if (is_local) {
                assert_int_equal(b->positions[p].base_token, b->tokens[p]);
                assert_false(b->positions[p].steered);
                assert_true(b->positions[p].certified);
                assert_int_equal(b->positions[p].n_deepened, 0);
                assert_int_equal(b->positions[p].n_entries, FAKE_VOCAB);
            }
        }
        const char *closed = strstr(b->journal.text, "close");
        assert_true((closed == NULL) == (cases[c].fault == &b->cloud.open));
        assert_true(closed == NULL ||
                    (strstr(closed, "next") == NULL && strstr(closed, "commit") == NULL && strstr(closed + 1, "close") == NULL &&
                     (strstr(closed, "step") != NULL || cases[c].first_local == 5))); /* left alone from then on */
        assert_non_null(strstr(b->journal.text, "begin"));
    }
}

static void test_session__alone_the_slm_has_the_contexts_weights_without_the_strength(void **state)
{
    bench *b = *state;
    const double weights[] = {1.0, -1.0};
    for (int run_number = 0; run_number < 2; run_number++) {
        reset(b);
        fake_deltas_init(&b->deltas, &b->journal, 2);
        b->params.on_cloud_failure = COSTEER_CLOUD_FAILURE_LOCAL;
        b->params.context_weights = weights;
        b->params.strength = 10.0;
        b->params.max_tokens = 1;
        b->params.details = true;
        b->deltas.amateur[4] = 2.0F;
        b->deltas.expert[0][4] = 2.0F;
        b->deltas.second[0][4] = 2.0F;
        b->deltas.expert[0][5] = 1.0F; /* 1 < 2; with the strength it would be 10 */
        b->cloud.next = (fake_fault){.at = 0, .code = COSTEER_EIO};
        assert_int_equal(run(b), COSTEER_OK);
        assert_int_equal(b->tokens[0], 4);
        assert_true(fabs(b->positions[0].base_logprob - (2.0 - log(exp(2.0) + (FAKE_VOCAB - 1)))) < 1e-9);
    }
}

static void test_session__a_later_answer_is_steered_again(void **state)
{
    bench *b = *state;
    set_up_local(b);
    b->params.max_tokens = 1;
    b->params.strength = 4.0; /* 12 > 9 */
    b->deltas.expert[0][21] = 2.0F;
    b->cloud.next = (fake_fault){.at = 0, .code = COSTEER_ECLOUD};
    costeer_session *session;
    assert_int_equal(costeer_session_create(&b->cloud.cloud, &b->deltas.source, &b->vocab, &b->params, &session, NULL),
                     COSTEER_OK);
    assert_int_equal(costeer_session_run(session, prompt, 3, &b->report, NULL), COSTEER_OK);
    assert_int_equal(b->report.n_local, 1);
    b->cloud.next.at = -1;
    assert_int_equal(costeer_session_run(session, prompt, 3, &b->report, NULL), COSTEER_OK);
    assert_int_equal(b->report.n_local, 0);
    assert_int_equal(b->report.cloud_status, COSTEER_OK);
    assert_int_equal(b->report.n_steered, 1);
    size_t n;
    assert_int_equal(costeer_session_tokens(session, &n)[0], 20);
    costeer_session_free(session);
}

static void test_session__other_errors_and_strength_zero_are_not_finished_locally(void **state)
{
    bench *b = *state;
    static const costeer_err codes[] = {COSTEER_ECANCELED, COSTEER_EPAIR,  COSTEER_ETOOLONG,
                                        COSTEER_ENUMERIC,  COSTEER_EINVAL, COSTEER_EABORTED};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        set_up_local(b);
        b->cloud.next = (fake_fault){.at = 1, .code = codes[i]};
        assert_int_equal(run(b), codes[i]);
        assert_int_equal(b->report.n_tokens, 1);
        assert_int_equal(b->report.n_local, 0);
    }
    set_up_local(b);
    b->params.strength = 0.0;
    b->cloud.next = (fake_fault){.at = 1, .code = COSTEER_ECLOUD};
    assert_int_equal(run(b), COSTEER_ECLOUD);
    set_up_local(b);
    b->deltas.step = (fake_fault){.at = 1, .code = COSTEER_EIO}; /* the SLM's own failure */
    assert_int_equal(run(b), COSTEER_EIO);
    set_up_local(b);
    b->params.on_cloud_failure = COSTEER_CLOUD_FAILURE_STOP;
    b->cloud.next = (fake_fault){.at = 1, .code = COSTEER_ETIMEDOUT};
    assert_int_equal(run(b), COSTEER_ETIMEDOUT);
    assert_string_equal(b->err.component, "fake");
}

static void test_session__cancelled_while_alone_it_ends(void **state)
{
    bench *b = *state;
    set_up_local(b);
    b->params.cancel = &b->cancel;
    b->cancel_at = 3;
    b->cloud.commit = (fake_fault){.at = 1, .code = COSTEER_ECLOUD};
    assert_int_equal(run(b), COSTEER_ECANCELED);
    assert_int_equal(b->report.n_tokens, 4);
    assert_int_equal(b->report.n_local, 2);
}

static void test_session__a_base_that_breaks_the_rules_is_a_failed_cloud(void **state)
{
    bench *b = *state;
    set_up_local(b);
    b->params.base_top_k = 4;
    b->cloud.error = NAN;
    assert_int_equal(run(b), COSTEER_OK);
    assert_int_equal(b->report.cloud_status, COSTEER_ECLOUD);
    assert_int_equal(b->report.n_local, 6);
}

/* ---- what goes through ------------------------------------------------------------------------------------------- */

static void test_session__messages_go_to_the_cloud_with_or_without_a_prompt(void **state)
{
    bench *b = *state;
    const costeer_chat chat = {.user = "Hello"};
    prefer(b, FAKE_END);
    b->params.chat = &chat;
    assert_int_equal(run(b), COSTEER_OK);
    assert_ptr_equal(b->cloud.chat, &chat);
    costeer_session *session;
    assert_int_equal(costeer_session_create(&b->cloud.cloud, NULL, &b->vocab, &b->params, &session, NULL), COSTEER_OK);
    assert_int_equal(costeer_session_run(session, NULL, 0, NULL, NULL), COSTEER_OK);
    costeer_session_free(session);
    b->params.chat = NULL;
    assert_int_equal(costeer_session_create(&b->cloud.cloud, NULL, &b->vocab, &b->params, &session, NULL), COSTEER_OK);
    assert_int_equal(costeer_session_run(session, NULL, 0, NULL, NULL), COSTEER_EINVAL);
    costeer_session_free(session);
}

static void test_session__the_report_has_the_clouds_account_of_the_end(void **state)
{
    bench *b = *state;
    prefer(b, 2, FAKE_END);
    b->cloud.stats = (costeer_cloud_stats){.bytes_up = 12, .n_steps = 3};
    assert_int_equal(run(b), COSTEER_OK);
    assert_int_equal(b->report.cloud.bytes_up, 12);
    assert_int_equal(b->report.cloud.n_steps, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        session_test(test_session__a_rounded_base_is_good_enough_where_nothing_is_near),
        session_test(test_session__a_near_rival_is_settled_by_exact_values_of_the_same_entries),
        session_test(test_session__an_unsent_token_far_above_is_not_a_matter_of_rounding),
        session_test(test_session__after_exact_values_the_ladder_is_the_usual_one),
        session_test(test_session__unsteered_the_first_entry_is_the_clouds_choice_though_rounding_ties_it),
        session_test(test_session__sampling_never_draws_from_rounded_values),
        session_test(test_session__constant_k_asks_for_exact_values_neither),
        session_test(test_session__rounded_values_after_exact_ones_were_asked_for_are_an_error),
        session_test(test_session__the_repetition_penalty_holds_for_rounded_values_too),
        session_test(test_session__a_rounded_base_gives_the_exact_choice),
        session_test(test_session__a_cloud_that_has_no_more_is_not_asked_again),
        session_test(test_session__what_a_cloud_with_no_more_certifies_is_certified),
        session_test(test_session__required_certificates_end_it_at_the_first_doubt),
        session_test(test_session__constant_k_counts_what_it_keeps_unless_certificates_are_required),
        session_test(test_session__a_cloud_with_no_more_and_nothing_to_choose_from_is_an_error),
        session_test(test_session__drafts_go_with_the_commit_before_the_slm_steps),
        session_test(test_session__drafts_are_as_many_as_wanted_and_as_positions_follow),
        session_test(test_session__private_drafts_know_weights_and_confidence_but_not_the_strength),
        session_test(test_session__without_a_source_of_drafts_commits_are_plain),
        session_test(test_session__a_failed_draft_ends_it_after_the_token_was_told),
        session_test(test_session__goes_on_locally_whatever_fails_and_wherever),
        session_test(test_session__alone_the_slm_has_the_contexts_weights_without_the_strength),
        session_test(test_session__a_later_answer_is_steered_again),
        session_test(test_session__other_errors_and_strength_zero_are_not_finished_locally),
        session_test(test_session__cancelled_while_alone_it_ends),
        session_test(test_session__a_base_that_breaks_the_rules_is_a_failed_cloud),
        session_test(test_session__messages_go_to_the_cloud_with_or_without_a_prompt),
        session_test(test_session__the_report_has_the_clouds_account_of_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
