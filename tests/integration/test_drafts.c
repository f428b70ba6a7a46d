/* Drafts of the SLM: they change the time of a step and nothing else; public ones are a function of public data. */
#include "core/decoder.h"
#include "support/slm_support.h"
#include "support/truncate.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- drafts ------------------------------------------------------------------------------------------------------ */

#define N_DRAFTS    5
#define N_ANSWER    40
#define N_EXPERTS   2
#define N_VOCAB_MAX 4096

static costeer_delta_limits limits; /* of private drafts */

/* The same answer with and without drafts, side by side. */
typedef struct twins {
    costeer_tokens prompts[1 + N_EXPERTS];
    costeer_slm *plain, *drafting;
    double weights[N_EXPERTS];
    double log_policy[N_VOCAB_MAX]; /* of the plain one after its last step */
    double best_log_policy;
    const float *amateur;
} twins;

static twins create_twins(int32_t n_drafts)
{
    twins t = {.prompts = {build_prompt(model, NULL, "Write a short bio."),
                           build_prompt(model, "My name is Soraya. I live in Lisbon and like lasagna.", "Write a short bio."),
                           build_prompt(model, "My dog is called Rex.", "Write a short bio.")},
               .weights = {1.0, -0.25}};
    t.plain = create_slm(N_EXPERTS, 256);
    t.drafting = create_drafting(N_EXPERTS, 256, n_drafts);
    begin(t.plain, &t.prompts[0], &t.prompts[1]);
    begin(t.drafting, &t.prompts[0], &t.prompts[1]);
    return t;
}

static void free_twins(twins *t)
{
    costeer_slm_free(t->plain);
    costeer_slm_free(t->drafting);
    for (int i = 0; i < 1 + N_EXPERTS; i++) {
        costeer_tokens_dispose(&t->prompts[i]);
    }
}

static int32_t draft(twins *t, int32_t n_max, bool is_private, double confidence, int32_t token, int32_t *tokens)
{
    costeer_error err = {0};
    int32_t n = -1;
    const costeer_draft_params params = {
        .n_max = n_max, .is_private = is_private, .confidence = confidence, .weights = t->weights, .limits = limits};
    costeer_delta_source *source = costeer_slm_delta_source(t->drafting);
    assert_ok(source->ops->draft(source, &params, token, tokens, &n, &err), &err);
    assert_true(n >= 0 && n <= n_max);
    return n;
}

/* Step both, compare all logits, and keep the plain one's: the amateur's, and the policy of the SLM with the contexts. */
static void step_both(twins *t, int32_t token)
{
    costeer_delta a[N_EXPERTS] = {0}, b[N_EXPERTS] = {0};
    step(t->plain, token);
    step(t->drafting, token);
    costeer_delta_source *source = costeer_slm_delta_source(t->plain);
    source->ops->read(source, a, N_EXPERTS);
    source = costeer_slm_delta_source(t->drafting);
    source->ops->read(source, b, N_EXPERTS);
    assert_same_logits(a[0].amateur, b[0].amateur);
    for (int i = 0; i < N_EXPERTS; i++) {
        assert_same_logits(a[i].expert, b[i].expert);
        a[i].weight = t->weights[i];
    }
    const costeer_base base = {.values = a[0].amateur, .n = n_vocab};
    costeer_choice choice;
    assert_true(n_vocab <= N_VOCAB_MAX);
    for (int i = 0; i < N_EXPERTS; i++) {
        assert_int_equal(costeer_delta_limit(&a[i], &limits, n_vocab, NULL), COSTEER_OK);
    }
    assert_int_equal(costeer_fuse_policy(&base, a, N_EXPERTS, n_vocab, t->log_policy, &choice, NULL), COSTEER_OK);
    t->best_log_policy = t->log_policy[choice.token];
    t->amateur = a[0].amateur;
}

/* A draft is what the SLM without drafts would choose (but for a tie), and sure enough. */
static void assert_good_draft(const twins *t, int32_t draft, bool is_private, double confidence)
{
    if (is_private) {
        assert_true(t->log_policy[draft] >= t->best_log_policy - 8.0 * (double)LOGIT_TOLERANCE);
        assert_true(t->log_policy[draft] >= log(confidence) - 8.0 * (double)LOGIT_TOLERANCE);
    } else {
        assert_true(t->amateur[draft] >= t->amateur[argmax(t->amateur)] - 2.0F * LOGIT_TOLERANCE);
        const double logprob = (double)t->amateur[draft] - costeer_logsumexp(t->amateur, n_vocab);
        assert_true(logprob >= log(confidence) - 4.0 * (double)LOGIT_TOLERANCE);
    }
}

/* An answer that takes the first n_taken of each draft and then a token that was not drafted; n_taken changes with the position.
 * Drafting is asked for when a draft is used up or was left, and sometimes in the middle of one. */
static int follow(twins *t, bool is_private, double confidence)
{
    int32_t drafts[N_DRAFTS], n = 0, next = 0, token = 300;
    int n_taken = 0;
    for (int position = 0; position < N_ANSWER; position++) {
        if (next == n || position % 7 == 3) {
            n = draft(t, 1 + position % N_DRAFTS, is_private, confidence, token, drafts);
            next = 0;
        }
        step_both(t, token);
        if (next < n) {
            assert_good_draft(t, drafts[next], is_private, confidence);
        }
        const bool takes = next < n && position % 11 != 10;
        n_taken += takes;
        token = takes ? drafts[next++] : 300 + position;
        n = takes ? n : 0;
        next = takes ? next : 0;
    }
    return n_taken;
}

static void test_slm__public_drafts_change_nothing_but_the_time(void **state)
{
    (void)state;
    twins t = create_twins(N_DRAFTS);
    assert_true(follow(&t, false, 1e-9) > N_ANSWER / 3);
    begin(t.plain, &t.prompts[0], &t.prompts[1]);
    begin(t.drafting, &t.prompts[0], &t.prompts[1]);
    assert_true(follow(&t, false, 0.5) > 0);
    begin(t.plain, &t.prompts[0], &t.prompts[1]); /* what was ahead is no part of the next answer */
    begin(t.drafting, &t.prompts[0], &t.prompts[1]);
    assert_true(follow(&t, false, 1e-9) > N_ANSWER / 3);
    begin(t.plain, &t.prompts[0], &t.prompts[1]);
    begin(t.drafting, &t.prompts[0], &t.prompts[1]);
    assert_true(follow(&t, false, 0.5) > 0);
    free_twins(&t);
}

static void test_slm__private_drafts_are_the_choice_with_the_contexts_while_it_is_sure(void **state)
{
    (void)state;
    static const double confidences[] = {1e-9, 0.5, 0.9};
    int n_taken[3];
    for (int i = 0; i < 3; i++) {
        twins t = create_twins(N_DRAFTS);
        n_taken[i] = follow(&t, true, confidences[i]);
        free_twins(&t);
    }
    print_message("taken: %d, %d, %d\n", n_taken[0], n_taken[1], n_taken[2]);
    assert_true(n_taken[0] >= n_taken[1] && n_taken[1] >= n_taken[2] && n_taken[0] > n_taken[2]);
}

static void test_slm__private_drafts_are_limited_as_the_answer_is(void **state)
{
    (void)state;
    limits = (costeer_delta_limits){.plausibility = 0.1, .divergence = 0.5};
    twins t = create_twins(N_DRAFTS);
    assert_true(follow(&t, true, 1e-9) > 0);
    free_twins(&t);
    limits = (costeer_delta_limits){.plausibility = 0};
}

static void test_slm__a_private_draft_is_never_handed_out_as_a_public_one(void **state)
{
    (void)state;
    twins t = create_twins(N_DRAFTS);
    int32_t of_amateur[N_DRAFTS], with_context[N_DRAFTS], afterwards[N_DRAFTS];
    int n_different = 0;
    for (int32_t token = 300; token < 330; token++) {
        const int32_t n = draft(&t, N_DRAFTS, false, 1e-9, token, of_amateur);
        const int32_t n_private = draft(&t, N_DRAFTS, true, 1e-9, token, with_context);
        assert_int_equal(draft(&t, N_DRAFTS, false, 1e-9, token, afterwards), n);
        assert_memory_equal(of_amateur, afterwards, (size_t)n * sizeof of_amateur[0]);
        n_different += n != n_private || memcmp(of_amateur, with_context, (size_t)n * sizeof of_amateur[0]) != 0;
    }
    assert_true(n_different > 10);
    free_twins(&t);
}

static void test_slm__public_drafts_do_not_depend_on_the_contexts(void **state)
{
    (void)state;
    twins t = create_twins(N_DRAFTS);
    costeer_tokens others[3] = {build_prompt(model, NULL, "Write a short bio."), build_prompt(model, "I am a baker.", "Hello."),
                                build_prompt(model, "Quiet evenings.", "Write a poem.")};
    for (int32_t token = 300; token < 320; token++) {
        int32_t a[N_DRAFTS], b[N_DRAFTS];
        begin(t.drafting, &t.prompts[0], &t.prompts[1]);
        const int32_t n = draft(&t, N_DRAFTS, false, 1e-9, token, a);
        begin(t.drafting, &others[0], &others[1]);
        assert_int_equal(draft(&t, N_DRAFTS, false, 1e-9, token, b), n);
        assert_memory_equal(a, b, (size_t)n * sizeof a[0]);
    }
    for (int i = 0; i < 3; i++) {
        costeer_tokens_dispose(&others[i]);
    }
    free_twins(&t);
}

static void test_slm__a_state_that_cannot_be_cut_is_computed_anew_and_drafts_end(void **state)
{
    (void)state;
    twins t = create_twins(N_DRAFTS);
    int32_t drafts[N_DRAFTS];
    step_both(&t, 300);
    assert_true(draft(&t, N_DRAFTS, false, 1e-9, 301, drafts) > 0);
    cannot_cut = true;
    step_both(&t, 301); /* as drafted for: nothing to cut */
    n_cuts = 0;
    step_both(&t, drafts[0] + 1);
    assert_true(n_cuts > 0);
    assert_int_equal(draft(&t, N_DRAFTS, false, 1e-9, 302, drafts), 0);
    for (int32_t token = 302; token < 310; token++) {
        step_both(&t, token);
        assert_int_equal(draft(&t, N_DRAFTS, false, 1e-9, token + 1, drafts), 0);
    }
    cannot_cut = false;
    free_twins(&t);
}

static void test_slm__a_draft_cancelled_anywhere_leaves_the_answer_where_it_was(void **state)
{
    (void)state;
    twins t = create_twins(N_DRAFTS);
    atomic_bool cancel = true;
    costeer_error err = {0};
    int32_t drafts[N_DRAFTS], n, token = 300;
    costeer_delta_source *source = costeer_slm_delta_source(t.drafting);
    for (int round = 0; round < 6; round++) {
        const bool is_private = round % 2 == 1;
        n = draft(&t, 2, is_private, 1e-9, token, drafts);
        atomic_store(&cancel, true);
        costeer_slm_set_cancel(t.drafting, &cancel);
        const costeer_draft_params params = {
            .n_max = N_DRAFTS, .is_private = is_private, .confidence = 1e-9, .weights = t.weights};
        if (n > 0 && round < 4) { /* in the middle of a run */
            assert_int_equal(source->ops->draft(source, &params, token, drafts, &n, &err), COSTEER_ECANCELED);
        }
        assert_int_equal(source->ops->draft(source, &params, token + 1, drafts, &n, &err), COSTEER_ECANCELED);
        assert_int_equal(n, 0);
        costeer_slm_set_cancel(t.drafting, NULL);
        step_both(&t, token);
        token = 310 + round;
    }
    free_twins(&t);
}

static void test_slm__drafts_stop_where_the_context_window_is_full(void **state)
{
    (void)state;
    costeer_tokens amateur = build_prompt(model, NULL, "Write a short bio.");
    costeer_slm *slm = create_drafting(1, (int32_t)amateur.n + 4, N_DRAFTS);
    costeer_error err = {0};
    assert_ok(costeer_slm_set_prompts(slm, &amateur, &amateur, 4, &err), &err);
    costeer_delta_source *source = costeer_slm_delta_source(slm);
    assert_ok(source->ops->begin(source, &err), &err);
    int32_t drafts[N_DRAFTS], n = 0;
    const costeer_draft_params params = {.n_max = N_DRAFTS};
    assert_ok(source->ops->draft(source, &params, 300, drafts, &n, &err), &err);
    assert_true(n <= 3);
    for (int32_t i = 0; i < 4; i++) {
        step(slm, i == 0 || i > n ? 300 : drafts[i - 1]);
    }
    assert_int_equal(source->ops->step(source, &(int32_t){300}, 1, &err), COSTEER_ETOOLONG);
    assert_int_equal(source->ops->draft(source, &params, 301, drafts, &n, &err), COSTEER_OK);
    assert_int_equal(n, 0);
    costeer_slm_free(slm);
    costeer_tokens_dispose(&amateur);
}

static void test_slm__a_draft_longer_than_a_batch_takes_is_computed_in_pieces(void **state)
{
    (void)state;
    costeer_tokens prompt = build_prompt(model, NULL, "Hi");
    costeer_tokens experts[COSTEER_DELTAS_MAX];
    for (int i = 0; i < COSTEER_DELTAS_MAX; i++) {
        experts[i] = prompt;
    }
    /* 17 sequences of 33 tokens and a batch of n_ctx tokens: it takes some batches */
    costeer_slm *slm = create_drafting(COSTEER_DELTAS_MAX, (int32_t)prompt.n + 60, COSTEER_WIRE_DRAFTS_MAX);
    costeer_slm *plain = create_slm(1, 256);
    begin(plain, &prompt, experts);
    costeer_error err = {0};
    assert_ok(costeer_slm_set_prompts(slm, &prompt, experts, 50, &err), &err);
    costeer_delta_source *source = costeer_slm_delta_source(slm), *reference = costeer_slm_delta_source(plain);
    assert_ok(source->ops->begin(source, &err), &err);
    int32_t drafts[COSTEER_WIRE_DRAFTS_MAX], n = 0;
    const costeer_draft_params params = {.n_max = COSTEER_WIRE_DRAFTS_MAX};
    assert_ok(source->ops->draft(source, &params, 300, drafts, &n, &err), &err);
    assert_true(n > 0);
    for (int32_t i = 0; i <= n; i++) {
        const int32_t token = i == 0 ? 300 : drafts[i - 1];
        costeer_delta deltas[COSTEER_DELTAS_MAX] = {0}, expected = {0};
        step(slm, token);
        step(plain, token);
        source->ops->read(source, deltas, COSTEER_DELTAS_MAX);
        reference->ops->read(reference, &expected, 1);
        assert_same_logits(deltas[0].amateur, expected.amateur);
        assert_same_logits(deltas[0].expert, expected.expert);
        assert_same_logits(deltas[COSTEER_DELTAS_MAX - 1].expert, expected.expert);
    }
    costeer_slm_free(slm);
    costeer_slm_free(plain);
    costeer_tokens_dispose(&prompt);
}

/* A step over what a draft has computed computes less than one batch for each token, and a draft computes without a step. */
static void test_drafts__batches_are_counted_whoever_asked_for_them(void **state)
{
    (void)state;
    twins t = create_twins(N_DRAFTS);
    costeer_delta_source *source = costeer_slm_delta_source(t.drafting);
    int32_t drafts[N_DRAFTS];
    assert_int_equal(source->ops->count_batches(source), 0);
    step(t.drafting, 300);
    assert_int_equal(source->ops->count_batches(source), 1);
    const int32_t n = draft(&t, N_DRAFTS, true, 1e-6, 301, drafts);
    assert_true(n > 1);
    assert_int_equal(source->ops->count_batches(source), 1 + n); /* each draft is chosen from a batch */
    step(t.drafting, 301);
    for (int32_t i = 0; i < n - 1; i++) {
        step(t.drafting, drafts[i]);
    }
    assert_int_equal(source->ops->count_batches(source), 1 + n); /* all of it was there */
    begin(t.drafting, &t.prompts[0], &t.prompts[1]);
    assert_int_equal(source->ops->count_batches(source), 0);
    free_twins(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slm__public_drafts_change_nothing_but_the_time),
        cmocka_unit_test(test_slm__private_drafts_are_the_choice_with_the_contexts_while_it_is_sure),
        cmocka_unit_test(test_slm__private_drafts_are_limited_as_the_answer_is),
        cmocka_unit_test(test_slm__a_private_draft_is_never_handed_out_as_a_public_one),
        cmocka_unit_test(test_slm__public_drafts_do_not_depend_on_the_contexts),
        cmocka_unit_test(test_slm__a_state_that_cannot_be_cut_is_computed_anew_and_drafts_end),
        cmocka_unit_test(test_slm__a_draft_cancelled_anywhere_leaves_the_answer_where_it_was),
        cmocka_unit_test(test_slm__drafts_stop_where_the_context_window_is_full),
        cmocka_unit_test(test_slm__a_draft_longer_than_a_batch_takes_is_computed_in_pieces),
        cmocka_unit_test(test_drafts__batches_are_counted_whoever_asked_for_them),
    };
    return cmocka_run_group_tests(tests, load_slm, free_slm);
}
