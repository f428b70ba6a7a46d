/* The loop, with a fake cloud and a fake delta source: order of calls, deepening, text, ends, errors. */
#include <costeer/session.h>

#include "support/session_bench.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* ---- order of calls ---------------------------------------------------------------------------------------------- */

static void test_session__commits_before_it_steps_and_never_commits_the_last(void **state)
{
    bench *b = *state;
    prefer(b, 2, 3, 4, FAKE_END);
    assert_int_equal(run(b), COSTEER_OK);
    assert_string_equal(b->journal.text,
                        "open(3,0) begin next(0) commit(0,2) step(2) next(1) commit(1,3) step(3) next(2) commit(2,4) "
                        "step(4) next(3) close ");
    assert_int_equal(b->report.finish, COSTEER_FINISH_END);
    assert_int_equal(b->report.n_tokens, 4);
    assert_text(b, "Hello world");
    assert_int_equal(b->n_tokens, 4);
    assert_int_equal(b->tokens[3], FAKE_END);
}

static void test_session__without_deltas_the_cloud_answers_alone(void **state)
{
    bench *b = *state;
    prefer(b, 2, FAKE_END);
    assert_int_equal(run_with(b, NULL), COSTEER_OK);
    assert_string_equal(b->journal.text, "open(3,0) next(0) commit(0,2) next(1) close ");
    assert_int_equal(b->report.n_steered, 0);
}

static void test_session__strength_zero_leaves_the_slm_alone(void **state)
{
    bench *b = *state;
    prefer(b, 2, FAKE_END);
    b->deltas.expert[0][7] = 100.0F;
    b->params.strength = 0.0;
    assert_int_equal(run(b), COSTEER_OK);
    assert_string_equal(b->journal.text, "open(3,0) next(0) commit(0,2) next(1) close ");
    assert_int_equal(b->tokens[0], 2);
}

static void test_session__an_end_token_at_position_zero_gives_no_text(void **state)
{
    bench *b = *state;
    prefer(b, FAKE_END);
    assert_int_equal(run(b), COSTEER_OK);
    assert_int_equal(b->report.finish, COSTEER_FINISH_END);
    assert_int_equal(b->report.n_tokens, 1);
    assert_true(b->positions[0].is_end);
    assert_text(b, "");
    assert_null(strstr(b->journal.text, "commit"));
}

static void test_session__max_tokens_ends_it(void **state)
{
    bench *b = *state;
    prefer(b, 2, 3, 4, 5);
    b->params.max_tokens = 2;
    assert_int_equal(run(b), COSTEER_OK);
    assert_int_equal(b->report.finish, COSTEER_FINISH_LENGTH);
    assert_int_equal(b->report.n_tokens, 2);
    assert_string_equal(b->journal.text, "open(3,0) begin next(0) commit(0,2) step(2) next(1) close ");
    assert_text(b, "Hello ");
}

static void test_session__a_second_run_starts_anew(void **state)
{
    bench *b = *state;
    prefer(b, 2, FAKE_END);
    costeer_session *session;
    assert_int_equal(costeer_session_create(&b->cloud.cloud, &b->deltas.source, &b->vocab, &b->params, &session, NULL),
                     COSTEER_OK);
    assert_int_equal(costeer_session_run(session, prompt, 3, &b->report, NULL), COSTEER_OK);
    assert_int_equal(costeer_session_run(session, prompt, 3, &b->report, NULL), COSTEER_OK);
    size_t n;
    (void)costeer_session_tokens(session, &n);
    assert_int_equal(n, 2);
    assert_int_equal(b->report.n_tokens, 2);
    assert_text(b, "HelloHello");
    costeer_session_free(session);
}

/* ---- steering ---------------------------------------------------------------------------------------------------- */

static void test_session__the_delta_moves_the_choice(void **state)
{
    bench *b = *state;
    prefer(b, 2, FAKE_END);
    b->deltas.expert[0][4] = 10.0F;
    assert_int_equal(run(b), COSTEER_OK);
    assert_int_equal(b->tokens[0], 4);
    assert_true(b->positions[0].steered);
    assert_int_equal(b->positions[0].base_token, 2);
    assert_int_equal(b->report.n_steered, 1);
    assert_non_null(strstr(b->journal.text, "commit(0,4) step(4)"));
}

static void test_session__context_weights_multiply_the_strength(void **state)
{
    bench *b = *state;
    prefer(b, 2, FAKE_END);
    fake_deltas_init(&b->deltas, &b->journal, 2);
    b->deltas.expert[0][4] = 10.0F;
    b->deltas.second[0][4] = 10.0F;
    const double weights[] = {1.0, -0.5}; /* 10 − 5 < 9 */
    b->params.context_weights = weights;
    assert_int_equal(run(b), COSTEER_OK);
    assert_int_equal(b->tokens[0], 2);
    b->params.strength = 2.0; /* 20 − 10 > 9 */
    assert_int_equal(run(b), COSTEER_OK);
    assert_int_equal(b->tokens[0], 4);
}

static void test_session__nan_is_an_error_and_not_a_token(void **state)
{
    bench *b = *state;
    prefer(b, 2, FAKE_END);
    b->cloud.logits[1][100] = NAN;
    assert_int_equal(run(b), COSTEER_ENUMERIC);
    assert_int_equal(b->report.n_tokens, 1);
    assert_int_equal(b->report.finish, COSTEER_FINISH_NONE);
    assert_text(b, "Hello");
}

/* ---- near ties --------------------------------------------------------------------------------------------------- */

static void test_session__counts_positions_that_another_grouping_may_decide_otherwise(void **state)
{
    bench *b = *state;
    prefer(b, 2, 3, 4, FAKE_END); /* 9 nats above all others */
    b->params.strength = 1.0;
    b->deltas.expert[0][7] = 9.0F - 0.9F * (float)(COSTEER_NEAR_TIE_BASE + COSTEER_NEAR_TIE_DELTA);
    b->deltas.expert[1][7] = 9.0F - 1.1F * (float)(COSTEER_NEAR_TIE_BASE + COSTEER_NEAR_TIE_DELTA);
    assert_int_equal(run(b), COSTEER_OK);
    assert_true(b->positions[0].near_tie && !b->positions[1].near_tie && !b->positions[2].near_tie);
    assert_true(fabs(b->positions[0].margin - 0.9 * (COSTEER_NEAR_TIE_BASE + COSTEER_NEAR_TIE_DELTA)) < 1e-5);
    assert_true(fabs(b->positions[2].margin - 9.0) < 1e-5);
    assert_int_equal(b->report.n_near_ties, 1);
    assert_int_equal(b->report.n_tokens, 4);
}

/* The second best of a proved choice may be one that was not sent: only a bound of it is known. */
static void test_session__an_unsent_token_may_be_the_near_one(void **state)
{
    bench *b = *state;
    prefer(b, 2, FAKE_END);
    b->params.base_top_k = 1;
    b->params.strength = 1.0;
    b->params.max_tokens = 1;
    const float unsent = log1pf(-1.0F / (1.0F + (float)(FAKE_VOCAB - 1) * expf(-9.0F))); /* all of them together */
    const float sent = -log1pf((float)(FAKE_VOCAB - 1) * expf(-9.0F));
    b->deltas.expert[0][400] = sent - unsent - 0.05F;
    assert_int_equal(run(b), COSTEER_OK);
    assert_true(b->positions[0].certified);
    assert_int_equal(b->positions[0].n_deepened, 0);
    assert_true(b->positions[0].near_tie);
    assert_true(b->positions[0].margin > 0 && b->positions[0].margin < 0.06);
}

/* ---- sparse bases ------------------------------------------------------------------------------------------------ */

static void test_session__deepens_eightfold_twice_and_then_asks_for_all(void **state)
{
    bench *b = *state;
    prefer(b, 2, FAKE_END);
    b->params.base_top_k = 2;
    b->params.max_tokens = 1;
    b->deltas.expert[0][400] = 1000.0F; /* among the last of the base */
    assert_int_equal(run(b), COSTEER_OK);
    assert_string_equal(b->journal.text, "open(3,2) begin next(0) deepen(0,16) deepen(0,128) deepen(0,0) close ");
    assert_int_equal(b->tokens[0], 400);
    assert_true(b->positions[0].certified);
    assert_int_equal(b->positions[0].n_deepened, 3);
    assert_int_equal(b->positions[0].n_entries, FAKE_VOCAB);
    assert_int_equal(b->report.n_deepened, 1);
}

static void test_session__stops_deepening_once_certified(void **state)
{
    bench *b = *state;
    prefer(b, 2, FAKE_END);
    b->params.base_top_k = 2;
    b->params.max_tokens = 1;
    b->deltas.expert[0][9] = 20.0F; /* within the best 16 */
    assert_int_equal(run(b), COSTEER_OK);
    assert_string_equal(b->journal.text, "open(3,2) begin next(0) deepen(0,16) close ");
    assert_int_equal(b->tokens[0], 9);
    assert_int_equal(b->positions[0].n_entries, 16);
}

static void test_session__asks_for_all_at_once_where_eightfold_would_be_all(void **state)
{
    bench *b = *state;
    prefer(b, 2, FAKE_END);
    b->params.base_top_k = 64;
    b->params.max_tokens = 1;
    b->deltas.expert[0][400] = 1000.0F;
    assert_int_equal(run(b), COSTEER_OK);
    assert_string_equal(b->journal.text, "open(3,64) begin next(0) deepen(0,0) close ");
}

static void test_session__constant_k_keeps_what_it_cannot_prove_and_counts_it(void **state)
{
    bench *b = *state;
    prefer(b, 2, FAKE_END);
    b->params.base_top_k = 2;
    b->params.constant_k = true;
    b->params.max_tokens = 1;
    b->deltas.expert[0][400] = 1000.0F;
    assert_int_equal(run(b), COSTEER_OK);
    assert_null(strstr(b->journal.text, "deepen"));
    assert_int_equal(b->tokens[0], 2);
    assert_false(b->positions[0].certified);
    assert_true(b->positions[0].uncertified_kept);
    assert_int_equal(b->report.n_uncertified, 1);
    assert_int_equal(b->report.n_certified, 0);
}

/* An SLM that has no token for what the cloud likes best. */
static void exclude(bench *b, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        b->deltas.expert[0][i] = -INFINITY;
    }
}

static void test_session__where_every_entry_is_excluded_a_deeper_base_is_asked_for(void **state)
{
    bench *b = *state;
    for (int is_sampled = 0; is_sampled < 2; is_sampled++) {
        reset(b);
        b->params.base_top_k = 2;
        b->params.max_tokens = 1;
        b->params.sampler.temperature = is_sampled ? 0.1 : 0.0;
        prefer(b, 2);
        exclude(b, 15); /* of 16 entries (2, 0, 1, 3 … 15) one is left */
        b->cloud.logits[0][15] = 8.0F;
        b->cloud.logits[0][3] = 8.5F;
        assert_int_equal(run(b), COSTEER_OK);
        assert_string_equal(b->journal.text, "open(3,2) begin next(0) deepen(0,16) close ");
        assert_int_equal(b->tokens[0], 15);
        assert_true(b->positions[0].certified);
        assert_int_equal(b->positions[0].n_entries, 16);
    }
}

static void test_session__where_every_entry_is_excluded_and_depth_is_constant_the_message_says_what_to_do(void **state)
{
    bench *b = *state;
    prefer(b, 2, FAKE_END);
    b->params.base_top_k = 4;
    b->params.constant_k = true;
    exclude(b, 10);
    assert_int_equal(run(b), COSTEER_ENUMERIC);
    assert_null(strstr(b->journal.text, "deepen"));
    assert_non_null(strstr(b->err.message, "none of the 4 entries"));
    assert_non_null(strstr(b->err.message, "--base-top-k"));
}

static void test_session__where_the_whole_vocabulary_is_excluded_it_is_an_error(void **state)
{
    bench *b = *state;
    prefer(b, 2, FAKE_END);
    exclude(b, FAKE_VOCAB);
    assert_int_equal(run(b), COSTEER_ENUMERIC);
    assert_string_equal(b->journal.text, "open(3,0) begin next(0) close ");
    b->journal = (fake_journal){.n = 0};
    b->params.base_top_k = 64;
    assert_int_equal(run(b), COSTEER_ENUMERIC);
    assert_string_equal(b->journal.text, "open(3,64) begin next(0) deepen(0,0) close ");
    b->params.base_top_k = FAKE_VOCAB; /* all were sent */
    b->journal = (fake_journal){.n = 0};
    assert_int_equal(run(b), COSTEER_ENUMERIC);
    assert_null(strstr(b->journal.text, "deepen"));
}

static void test_session__a_broken_expert_is_no_reason_to_ask_for_more(void **state)
{
    bench *b = *state;
    prefer(b, 2, FAKE_END);
    b->params.base_top_k = 4;
    exclude(b, FAKE_VOCAB);
    b->deltas.expert[0][1] = NAN;
    assert_int_equal(run(b), COSTEER_ENUMERIC);
    assert_null(strstr(b->journal.text, "deepen"));
}

static void test_session__a_sparse_base_without_deltas_needs_no_proof(void **state)
{
    bench *b = *state;
    prefer(b, 2, FAKE_END);
    b->params.base_top_k = 1;
    assert_int_equal(run_with(b, NULL), COSTEER_OK);
    assert_null(strstr(b->journal.text, "deepen"));
    assert_int_equal(b->report.n_certified, 2);
}

static void test_session__sampling_deepens_until_little_is_unsent(void **state)
{
    bench *b = *state;
    b->params.base_top_k = 2; /* a flat base: nearly everything is unsent */
    b->params.max_tokens = 1;
    b->params.sampler.temperature = 1.0;
    assert_int_equal(run(b), COSTEER_OK);
    assert_non_null(strstr(b->journal.text, "deepen(0,16) deepen(0,128) deepen(0,0)"));
    assert_true(b->positions[0].certified);
    assert_true(b->positions[0].unsent_mass <= 1e-3);
}

static void test_session__sampling_is_reproducible_and_the_same_over_a_deepened_base(void **state)
{
    bench *b = *state;
    b->params.max_tokens = 8;
    b->params.sampler.temperature = 1.0;
    b->params.sampler.seed = 7;
    int32_t first[8];
    assert_int_equal(run(b), COSTEER_OK);
    memcpy(first, b->tokens, sizeof first);
    assert_int_equal(run(b), COSTEER_OK);
    assert_memory_equal(first, b->tokens, sizeof first);
    b->params.base_top_k = 4;
    assert_int_equal(run(b), COSTEER_OK);
    assert_memory_equal(first, b->tokens, sizeof first);
}

static void test_session__the_repetition_penalty_sees_emitted_tokens(void **state)
{
    bench *b = *state;
    b->params.max_tokens = 2;
    b->params.sampler.repetition_penalty = 1e6;
    for (int32_t i = 0; i < 2; i++) {
        b->cloud.logits[i][4] = 9.0F;
        b->cloud.logits[i][3] = 8.0F;
    }
    assert_int_equal(run(b), COSTEER_OK);
    assert_int_equal(b->tokens[0], 4);
    assert_int_equal(b->tokens[1], 3);
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

static void test_session__a_stop_string_across_tokens_ends_it_without_commit(void **state)
{
    bench *b = *state;
    prefer(b, 2, 6, 7, 4);
    const char *const stops[] = {"\n\nQ:"};
    b->params.stop = stops;
    b->params.n_stop = 1;
    assert_int_equal(run(b), COSTEER_OK);
    assert_int_equal(b->report.finish, COSTEER_FINISH_STOP);
    assert_int_equal(b->report.n_tokens, 3);
    assert_text(b, "Hello");
    assert_null(strstr(b->journal.text, "commit(2"));
}

static void test_session__a_character_split_over_tokens_goes_out_whole(void **state)
{
    bench *b = *state;
    static const char *const pieces[] = {"", "", "\xF0\x9F", "\x98", "\x80", NULL};
    b->vocab = fake_vocab(pieces);
    prefer(b, 2, 3, 4, FAKE_END);
    assert_int_equal(run(b), COSTEER_OK);
    assert_text(b, "\xF0\x9F\x98\x80");
}

static void test_session__what_is_held_back_goes_out_at_the_end(void **state)
{
    bench *b = *state;
    prefer(b, 2, 6, FAKE_END);
    const char *const stops[] = {"\n\nQ:"};
    b->params.stop = stops;
    b->params.n_stop = 1;
    assert_int_equal(run(b), COSTEER_OK);
    assert_text(b, "Hello\n\n");
}

/* ---- stopping ---------------------------------------------------------------------------------------------------- */

static void test_session__cancelled_before_the_first_token(void **state)
{
    bench *b = *state;
    atomic_store(&b->cancel, true);
    b->params.cancel = &b->cancel;
    assert_int_equal(run(b), COSTEER_ECANCELED);
    assert_int_equal(b->report.n_tokens, 0);
    assert_null(strstr(b->journal.text, "next"));
}

static void test_session__cancelled_in_the_middle_keeps_what_was_done(void **state)
{
    bench *b = *state;
    prefer(b, 2, 3, 4, 5);
    b->params.cancel = &b->cancel;
    b->cancel_at = 1;
    assert_int_equal(run(b), COSTEER_ECANCELED);
    assert_int_equal(b->report.n_tokens, 2);
    assert_int_equal(b->report.finish, COSTEER_FINISH_NONE);
    assert_text(b, "Hello ");
}

static void test_session__a_callback_can_stop_it(void **state)
{
    bench *b = *state;
    prefer(b, 2, 3, 4, 5);
    b->stop_at = 1;
    assert_int_equal(run(b), COSTEER_EABORTED);
    assert_int_equal(b->report.n_tokens, 2);
    reset(b);
    prefer(b, 2, 3, 4, 5);
    b->refuse_text = true;
    assert_int_equal(run(b), COSTEER_EABORTED);
    assert_int_equal(b->report.n_tokens, 1);
    assert_text(b, "Hello"); /* asked once, not again */
}

/* ---- errors ------------------------------------------------------------------------------------------------------ */

static void test_session__an_error_of_open_is_passed_on(void **state)
{
    bench *b = *state;
    b->cloud.open = (fake_fault){.at = 0, .code = COSTEER_ETOOLONG};
    assert_int_equal(run(b), COSTEER_ETOOLONG);
    assert_string_equal(b->journal.text, "open(3,0) ");
}

static void test_session__errors_of_cloud_and_slm_are_passed_on_and_the_cloud_closed(void **state)
{
    bench *b = *state;
    struct {
        fake_fault *fault;
        int32_t at;
        int32_t n_tokens;
    } cases[] = {
        {&b->cloud.next, 0, 0},   {&b->cloud.next, 2, 2},  {&b->cloud.commit, 1, 2},
        {&b->deltas.begin, 0, 0}, {&b->deltas.step, 2, 2},
    };
    static const size_t n_text[] = {0, 5, 6}; /* "Hello", "Hello " */
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        reset(b);
        prefer(b, 2, 3, 4, 5);
        *cases[i].fault = (fake_fault){.at = cases[i].at, .code = COSTEER_ECLOUD};
        assert_int_equal(run(b), COSTEER_ECLOUD);
        assert_string_equal(b->err.component, "fake");
        assert_int_equal(b->report.n_tokens, cases[i].n_tokens);
        assert_int_equal(b->n_text, n_text[cases[i].n_tokens]);
        assert_non_null(strstr(b->journal.text, "close"));
    }
}

static void test_session__an_error_of_deepen_is_passed_on(void **state)
{
    bench *b = *state;
    b->params.base_top_k = 2;
    b->deltas.expert[0][400] = 1000.0F;
    b->cloud.deepen = (fake_fault){.at = 0, .code = COSTEER_ETIMEDOUT};
    assert_int_equal(run(b), COSTEER_ETIMEDOUT);
}

static costeer_err create_only(bench *b)
{
    costeer_session *session = (costeer_session *)b;
    const costeer_err code = costeer_session_create(&b->cloud.cloud, &b->deltas.source, &b->vocab, &b->params, &session, &b->err);
    assert_true(code == COSTEER_OK || session == NULL);
    costeer_session_free(session);
    return code;
}

static void test_session__refuses_parameters_out_of_range(void **state)
{
    bench *b = *state;
    const double bad_weight[] = {INFINITY};
#define assert_refused(assignment, word)                  \
    do {                                                  \
        reset(b);                                         \
        b->params.assignment;                             \
        assert_int_equal(create_only(b), COSTEER_EINVAL); \
        assert_non_null(strstr(b->err.message, word));    \
    } while (0)
    assert_refused(strength = NAN, "strength");
    assert_refused(context_weights = bad_weight, "weight");
    assert_refused(max_tokens = 0, "max_tokens");
    assert_refused(base_top_k = -1, "base_top_k");
    assert_refused(unsent_tolerance = 0.0, "unsent_tolerance");
    assert_refused(unsent_tolerance = NAN, "unsent_tolerance");
    assert_refused(n_stop = 1, "stop");
    assert_refused(sampler.temperature = -1.0, "temperature");
    assert_refused(draft_confidence = 0.0, "draft_confidence");
    assert_refused(draft_confidence = 1.01, "draft_confidence");
    assert_refused(draft_confidence = NAN, "draft_confidence");
    assert_refused(on_cloud_failure = 2, "on_cloud_failure");
#undef assert_refused
    reset(b);
    b->vocab.n_vocab = 0;
    assert_int_equal(create_only(b), COSTEER_EINVAL);
    reset(b);
    b->deltas.source.n_deltas = COSTEER_DELTAS_MAX + 1;
    assert_int_equal(create_only(b), COSTEER_EINVAL);
}

/* ---- details ----------------------------------------------------------------------------------------------------- */

static void test_session__details_are_true_log_probabilities(void **state)
{
    bench *b = *state;
    prefer(b, 2);
    b->deltas.expert[0][4] = 10.0F;
    b->params.max_tokens = 1;
    b->params.details = true;
    assert_int_equal(run(b), COSTEER_OK);
    const costeer_position *at = &b->positions[0];
    const double base_sum = exp(9.0) + (FAKE_VOCAB - 1);
    const double policy_sum = exp(9.0) + exp(10.0) + (FAKE_VOCAB - 2);
    assert_int_equal(at->token, 4);
    assert_true(fabs(at->base_logprob - (0.0 - log(base_sum))) < 1e-9);
    assert_true(fabs(at->policy_logprob - (10.0 - log(policy_sum))) < 1e-9);
    /* log p_expert − log p_amateur: the expert's log-sum-exp counts, the offsets of the logits do not */
    assert_true(fabs(at->delta - (10.0 - log(exp(10.0) + (FAKE_VOCAB - 1)) + log((double)FAKE_VOCAB))) < 1e-9);
    assert_int_equal(at->n_best, COSTEER_BEST_MAX);
    assert_int_equal(at->best_before[0], 2);
    assert_int_equal(at->best_before[1], 0); /* the rest ties: lowest ids first */
    assert_int_equal(at->best_after[0], 4);
    assert_int_equal(at->best_after[1], 2);
    assert_true(fabs(at->best_before_logprob[0] - (9.0 - log(base_sum))) < 1e-9);
}

static void test_session__delta_is_the_published_one_whatever_strength_and_offset(void **state)
{
    bench *b = *state;
    const double weights[] = {1.0, -0.5};
    prefer(b, 2);
    fake_deltas_init(&b->deltas, &b->journal, 2);
    b->deltas.expert[0][2] = 3.0F;
    b->deltas.second[0][2] = 2.0F;
    for (int i = 0; i < FAKE_VOCAB; i++) {
        b->deltas.second[0][i] += 100.0F;
    }
    b->params.context_weights = weights;
    b->params.max_tokens = 1;
    b->params.details = true;
    const double n = FAKE_VOCAB;
    const double first = 3.0 - log(exp(3.0) + n - 1) + log(n);
    const double second = 2.0 - log(exp(2.0) + n - 1) + log(n);
    const double strengths[] = {0.1, 1.0, 1.78325684};
    for (int i = 0; i < 3; i++) {
        b->params.strength = strengths[i];
        assert_int_equal(run(b), COSTEER_OK);
        assert_int_equal(b->positions[0].token, 2);
        assert_true(fabs(b->positions[0].delta - (first - 0.5 * second)) < 1e-5);
    }
    b->params.base_top_k = 64;
    assert_int_equal(run(b), COSTEER_OK);
    assert_true(fabs(b->positions[0].delta - (first - 0.5 * second)) < 1e-5);
    b->params.strength = 0.0;
    assert_int_equal(run(b), COSTEER_OK);
    assert_true(b->positions[0].delta == 0.0);
}

static void test_session__details_of_a_sparse_base_keep_its_log_probabilities(void **state)
{
    bench *b = *state;
    prefer(b, 2);
    b->params.base_top_k = 3;
    b->params.max_tokens = 1;
    b->params.details = true;
    assert_int_equal(run(b), COSTEER_OK);
    const costeer_position *at = &b->positions[0];
    assert_true(fabs(at->base_logprob - (9.0 - log(exp(9.0) + (FAKE_VOCAB - 1)))) < 1e-6);
    assert_int_equal(at->n_best, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        session_test(test_session__commits_before_it_steps_and_never_commits_the_last),
        session_test(test_session__without_deltas_the_cloud_answers_alone),
        session_test(test_session__strength_zero_leaves_the_slm_alone),
        session_test(test_session__an_end_token_at_position_zero_gives_no_text),
        session_test(test_session__max_tokens_ends_it),
        session_test(test_session__a_second_run_starts_anew),
        session_test(test_session__the_delta_moves_the_choice),
        session_test(test_session__context_weights_multiply_the_strength),
        session_test(test_session__nan_is_an_error_and_not_a_token),
        session_test(test_session__counts_positions_that_another_grouping_may_decide_otherwise),
        session_test(test_session__an_unsent_token_may_be_the_near_one),
        session_test(test_session__deepens_eightfold_twice_and_then_asks_for_all),
        session_test(test_session__stops_deepening_once_certified),
        session_test(test_session__asks_for_all_at_once_where_eightfold_would_be_all),
        session_test(test_session__constant_k_keeps_what_it_cannot_prove_and_counts_it),
        session_test(test_session__where_every_entry_is_excluded_a_deeper_base_is_asked_for),
        session_test(test_session__where_every_entry_is_excluded_and_depth_is_constant_the_message_says_what_to_do),
        session_test(test_session__where_the_whole_vocabulary_is_excluded_it_is_an_error),
        session_test(test_session__a_broken_expert_is_no_reason_to_ask_for_more),
        session_test(test_session__a_sparse_base_without_deltas_needs_no_proof),
        session_test(test_session__sampling_deepens_until_little_is_unsent),
        session_test(test_session__sampling_is_reproducible_and_the_same_over_a_deepened_base),
        session_test(test_session__the_repetition_penalty_sees_emitted_tokens),
        session_test(test_session__a_stop_string_across_tokens_ends_it_without_commit),
        session_test(test_session__a_character_split_over_tokens_goes_out_whole),
        session_test(test_session__what_is_held_back_goes_out_at_the_end),
        session_test(test_session__cancelled_before_the_first_token),
        session_test(test_session__cancelled_in_the_middle_keeps_what_was_done),
        session_test(test_session__a_callback_can_stop_it),
        session_test(test_session__an_error_of_open_is_passed_on),
        session_test(test_session__errors_of_cloud_and_slm_are_passed_on_and_the_cloud_closed),
        session_test(test_session__an_error_of_deepen_is_passed_on),
        session_test(test_session__refuses_parameters_out_of_range),
        session_test(test_session__details_are_true_log_probabilities),
        session_test(test_session__delta_is_the_published_one_whatever_strength_and_offset),
        session_test(test_session__details_of_a_sparse_base_keep_its_log_probabilities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
