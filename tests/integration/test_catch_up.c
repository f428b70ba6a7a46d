/* Several tokens of an answer in one batch: what comes of it is what single steps give, with and without drafts ahead. */
#include "core/decoder.h"
#include "core/lookahead.h"
#include "support/slm_support.h"
#include "support/truncate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N_EXPERTS 2
#define N_DRAFTS  4

/* The same answer twice: by single steps, and by as many tokens at once as a test likes. */
typedef struct twins {
    costeer_tokens prompts[1 + N_EXPERTS];
    costeer_slm *stepping, *leaping;
} twins;

static void begin_both(twins *t)
{
    costeer_error err = {0};
    costeer_slm *const slms[] = {t->stepping, t->leaping};
    for (int i = 0; i < 2; i++) {
        assert_ok(costeer_slm_set_prompts(slms[i], &t->prompts[0], &t->prompts[1], 8, &err), &err);
        costeer_delta_source *source = costeer_slm_delta_source(slms[i]);
        assert_ok(source->ops->begin(source, &err), &err);
    }
}

static twins create_twins(int32_t n_ctx, int32_t n_drafts)
{
    twins t = {.prompts = {build_prompt(model, NULL, "Write a short bio."),
                           build_prompt(model, "My name is Soraya. I live in Lisbon and like lasagna.", "Write a short bio."),
                           build_prompt(model, "My dog is called Rex.", "Write a short bio.")}};
    t.stepping = create_slm(N_EXPERTS, n_ctx);
    t.leaping = create_drafting(N_EXPERTS, n_ctx, n_drafts);
    begin_both(&t);
    return t;
}

static void free_twins(twins *t)
{
    costeer_slm_free(t->stepping);
    costeer_slm_free(t->leaping);
    for (int i = 0; i < 1 + N_EXPERTS; i++) {
        costeer_tokens_dispose(&t->prompts[i]);
    }
}

static costeer_err leap(twins *t, const int32_t *tokens, size_t n, costeer_error *err)
{
    costeer_delta_source *source = costeer_slm_delta_source(t->leaping);
    return source->ops->step(source, tokens, n, err);
}

static void assert_same_state(twins *t)
{
    costeer_delta a[N_EXPERTS] = {0}, b[N_EXPERTS] = {0};
    costeer_delta_source *source = costeer_slm_delta_source(t->stepping);
    source->ops->read(source, a, N_EXPERTS);
    source = costeer_slm_delta_source(t->leaping);
    source->ops->read(source, b, N_EXPERTS);
    assert_same_logits(a[0].amateur, b[0].amateur);
    for (int i = 0; i < N_EXPERTS; i++) {
        assert_same_logits(a[i].expert, b[i].expert);
    }
}

static void go_on(twins *t, const int32_t *tokens, size_t n)
{
    costeer_error err = {0};
    for (size_t i = 0; i < n; i++) {
        step(t->stepping, tokens[i]);
    }
    assert_ok(leap(t, tokens, n, &err), &err);
    assert_same_state(t);
}

static int32_t draft(twins *t, bool is_private, int32_t n_max, int32_t token, int32_t drafts[N_DRAFTS])
{
    static const double weights[N_EXPERTS] = {1.0, -0.25};
    costeer_error err = {0};
    int32_t n = -1;
    const costeer_draft_params params = {.n_max = n_max, .is_private = is_private, .confidence = 1e-9, .weights = weights};
    costeer_delta_source *source = costeer_slm_delta_source(t->leaping);
    assert_ok(source->ops->draft(source, &params, token, drafts, &n, &err), &err);
    return n;
}

/* ---- without drafts ---------------------------------------------------------------------------------------------- */

static void test_catch_up__is_the_same_as_single_steps(void **state)
{
    (void)state;
    static const size_t counts[] = {2, 1, 3, 1, 1, 7, 20, 2};
    twins t = create_twins(256, 0);
    int32_t tokens[20];
    int32_t next = 300;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        for (size_t k = 0; k < counts[i]; k++) {
            tokens[k] = next++;
        }
        go_on(&t, tokens, counts[i]);
    }
    free_twins(&t);
}

static void test_catch_up__the_sequences_hold_the_same_tokens(void **state)
{
    (void)state;
    costeer_error err = {0};
    costeer_tokens prompts[2] = {build_prompt(model, NULL, "Hi"), build_prompt(model, "I am Soraya.", "Hi")};
    static const int32_t answer[] = {300, 301, 302, 303, 304, 305};
    const cs_decoder_params params = {.component = "slm", .n_sequences = 2, .n_ctx = 64, .n_threads = 1};
    const cs_lookahead_params ahead_params = {
        .component = "slm", .n_sequences = 2, .n_vocab = n_vocab, .n_ids = costeer_model_get_info(model)->n_vocab_padded};
    cs_decoder *decoder;
    cs_lookahead *ahead;
    assert_ok(cs_decoder_create(model, &params, &decoder, &err), &err);
    assert_ok(cs_lookahead_create(decoder, &ahead_params, &ahead, &err), &err);
    assert_int_equal(cs_lookahead_advance(ahead, answer, 2, &err), COSTEER_ESTATE);
    for (int32_t s = 0; s < 2; s++) {
        assert_ok(cs_decoder_set_prompt(decoder, s, prompts[s].ids, prompts[s].n, 6, "the prompt", &err), &err);
    }
    assert_ok(cs_lookahead_prefill(ahead, NULL, &err), &err);
    assert_ok(cs_lookahead_advance(ahead, answer, 4, &err), &err);
    assert_ok(cs_lookahead_advance(ahead, answer + 4, 2, &err), &err);
    for (int32_t s = 0; s < 2; s++) {
        assert_int_equal(cs_decoder_held(decoder, s), prompts[s].n + 6);
        assert_memory_equal(cs_decoder_held_tokens(decoder, s), prompts[s].ids, prompts[s].n * sizeof prompts[s].ids[0]);
        assert_memory_equal(cs_decoder_held_tokens(decoder, s) + prompts[s].n, answer, sizeof answer);
        costeer_tokens_dispose(&prompts[s]);
    }
    cs_lookahead_free(ahead);
    cs_decoder_free(decoder);
}

static void test_catch_up__what_is_too_long_for_one_batch_takes_a_few(void **state)
{
    (void)state;
    twins t = create_twins(320, 0); /* a batch takes 320 tokens: three sequences of 200 need two */
    int32_t tokens[200];
    for (int32_t i = 0; i < 200; i++) {
        tokens[i] = 300 + i;
    }
    go_on(&t, tokens, 200);
    go_on(&t, tokens, 1);
    begin_both(&t);
    for (size_t n = 106; n < 109; n++) { /* one token less or more than fits */
        go_on(&t, tokens, n);
        begin_both(&t);
    }
    free_twins(&t);
}

/* ---- with drafts ahead ------------------------------------------------------------------------------------------- */

/* Tokens that go along with the drafts for a while and then do not, or end with them. */
static void test_catch_up__uses_of_a_draft_what_it_can(void **state)
{
    (void)state;
    twins t = create_twins(256, N_DRAFTS);
    for (int is_private = 0; is_private < 2; is_private++) {
        for (int32_t n_taken = 0; n_taken <= N_DRAFTS; n_taken++) {
            for (int32_t n_other = 0; n_other < 3; n_other++) {
                begin_both(&t);
                int32_t tokens[1 + N_DRAFTS + 3] = {300}, drafts[N_DRAFTS];
                const int32_t n = draft(&t, is_private == 1, N_DRAFTS, 300, drafts);
                size_t n_tokens = 1;
                for (int32_t i = 0; i < n_taken && i < n; i++) {
                    tokens[n_tokens++] = drafts[i];
                }
                for (int32_t i = 0; i < n_other; i++) {
                    tokens[n_tokens++] = 400 + i;
                }
                go_on(&t, tokens, n_tokens);
                go_on(&t, (const int32_t[]){410, 411}, 2);
            }
        }
    }
    free_twins(&t);
}

static void test_catch_up__begins_in_the_middle_of_a_draft(void **state)
{
    (void)state;
    twins t = create_twins(256, N_DRAFTS);
    for (int32_t n_stepped = 1; n_stepped < N_DRAFTS; n_stepped++) {
        begin_both(&t);
        int32_t tokens[1 + N_DRAFTS] = {300};
        const int32_t n = draft(&t, false, N_DRAFTS, 300, tokens + 1);
        assert_int_equal(n, N_DRAFTS);
        for (int32_t i = 0; i < n_stepped; i++) {
            go_on(&t, tokens + i, 1);
        }
        if (n_stepped % 2 == 0) {
            tokens[N_DRAFTS] = 400;
        }
        go_on(&t, tokens + n_stepped, (size_t)(1 + N_DRAFTS - n_stepped));
    }
    free_twins(&t);
}

static void test_catch_up__a_draft_may_follow_and_is_as_good(void **state)
{
    (void)state;
    twins t = create_twins(256, N_DRAFTS);
    int32_t expected[N_DRAFTS], drafts[N_DRAFTS];
    for (int32_t i = 0; i < 6; i++) {
        go_on(&t, &(int32_t){300 + i}, 1);
    }
    const int32_t n = draft(&t, false, N_DRAFTS, 306, expected);
    begin_both(&t);
    go_on(&t, (const int32_t[]){300, 301, 302, 303, 304, 305}, 6);
    assert_int_equal(draft(&t, false, N_DRAFTS, 306, drafts), n);
    assert_true(n > 0);
    assert_memory_equal(drafts, expected, (size_t)n * sizeof drafts[0]);
    free_twins(&t);
}

static void test_catch_up__a_state_that_cannot_be_cut_is_computed_anew(void **state)
{
    (void)state;
    twins t = create_twins(256, N_DRAFTS);
    int32_t drafts[N_DRAFTS];
    assert_true(draft(&t, false, N_DRAFTS, 300, drafts) > 1);
    cannot_cut = true;
    n_cuts = 0;
    go_on(&t, (const int32_t[]){300, drafts[0], 400, 401}, 4);
    assert_true(n_cuts > 0);
    assert_int_equal(draft(&t, false, N_DRAFTS, 402, drafts), 0);
    go_on(&t, (const int32_t[]){402, 403}, 2);
    cannot_cut = false;
    free_twins(&t);
}

/* ---- failures ---------------------------------------------------------------------------------------------------- */

static void test_catch_up__what_does_not_fit_changes_nothing(void **state)
{
    (void)state;
    twins t = create_twins(64, 0);
    int32_t tokens[64];
    costeer_error err = {0};
    for (int32_t i = 0; i < 64; i++) {
        tokens[i] = 300 + i;
    }
    const size_t n_left = 64 - t.prompts[1].n; /* the longest */
    assert_int_equal(leap(&t, tokens, n_left + 1, &err), COSTEER_ETOOLONG);
    assert_non_null(strstr(err.message, "--ctx-size"));
    assert_int_equal(leap(&t, tokens, SIZE_MAX / 8, &err), COSTEER_ETOOLONG);
    assert_same_state(&t);
    go_on(&t, tokens, n_left - 2);
    assert_int_equal(leap(&t, tokens, 3, &err), COSTEER_ETOOLONG);
    go_on(&t, tokens, 2);
    assert_int_equal(leap(&t, tokens, 2, &err), COSTEER_ETOOLONG);
    assert_int_equal(leap(&t, tokens, 1, &err), COSTEER_ETOOLONG);
    begin_both(&t);
    go_on(&t, tokens, n_left);
    free_twins(&t);
}

static void test_catch_up__a_token_out_of_range_changes_nothing(void **state)
{
    (void)state;
    twins t = create_twins(64, 0);
    costeer_error err = {0};
    assert_int_equal(leap(&t, (const int32_t[]){300, -1}, 2, &err), COSTEER_EINVAL);
    assert_int_equal(leap(&t, (const int32_t[]){300, 1 << 24, 301}, 3, &err), COSTEER_EINVAL);
    assert_same_state(&t);
    go_on(&t, (const int32_t[]){300, 301}, 2);
    free_twins(&t);
}

static void test_catch_up__cancelled_it_must_be_begun_again(void **state)
{
    (void)state;
    twins t = create_twins(128, 0);
    costeer_error err = {0};
    atomic_bool cancel = true;
    costeer_slm_set_cancel(t.leaping, &cancel);
    assert_int_equal(leap(&t, (const int32_t[]){300, 301, 302}, 3, &err), COSTEER_ECANCELED);
    costeer_slm_set_cancel(t.leaping, NULL);
    assert_int_equal(leap(&t, (const int32_t[]){300, 301}, 2, &err), COSTEER_ESTATE);
    begin_both(&t);
    go_on(&t, (const int32_t[]){300, 301, 302}, 3);
    free_twins(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_catch_up__is_the_same_as_single_steps),
        cmocka_unit_test(test_catch_up__the_sequences_hold_the_same_tokens),
        cmocka_unit_test(test_catch_up__what_is_too_long_for_one_batch_takes_a_few),
        cmocka_unit_test(test_catch_up__uses_of_a_draft_what_it_can),
        cmocka_unit_test(test_catch_up__begins_in_the_middle_of_a_draft),
        cmocka_unit_test(test_catch_up__a_draft_may_follow_and_is_as_good),
        cmocka_unit_test(test_catch_up__a_state_that_cannot_be_cut_is_computed_anew),
        cmocka_unit_test(test_catch_up__what_does_not_fit_changes_nothing),
        cmocka_unit_test(test_catch_up__a_token_out_of_range_changes_nothing),
        cmocka_unit_test(test_catch_up__cancelled_it_must_be_begun_again),
    };
    return cmocka_run_group_tests(tests, load_slm, free_slm);
}
