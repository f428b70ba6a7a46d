/*
 * No allocation per token in our code: counted between two positions of a real answer (support/count_allocations.h).
 */
#include "support/count_allocations.h"
#include "support/models.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define FIRST_COUNTED 10
#define LAST_COUNTED  60

static bool start_and_stop(const costeer_position *position, void *user)
{
    (void)user;
    if (position->position == FIRST_COUNTED || position->position == LAST_COUNTED) {
        count_allocations(position->position == FIRST_COUNTED);
    }
    return true;
}

static bool ignore_text(const char *text, size_t n, void *user)
{
    (void)text;
    (void)n;
    (void)user;
    return true;
}

/* A vocabulary that never ends, so that the answer is long enough. */
static bool never_ends(const void *model, int32_t token)
{
    (void)model;
    (void)token;
    return false;
}

/* A cloud in this process that asks for drafts all the same. */
static costeer_cloud_ops drafting_ops;
static int32_t n_wanted;

static int32_t wants_drafts(const costeer_cloud *cloud, int32_t position, int32_t token)
{
    (void)cloud;
    (void)position;
    (void)token;
    return n_wanted;
}

static int32_t count_in_answer(costeer_session_params params)
{
    costeer_error err = {0};
    costeer_model *llm_model = load_model(LLM_PATH);
    costeer_model *slm_model = load_model(SLM_PATH);
    costeer_tokens amateur = build_prompt(slm_model, NULL, "Write a short bio.");
    costeer_tokens expert = build_prompt(slm_model, "My name is Soraya.", "Write a short bio.");
    costeer_cloud *llm = NULL;
    costeer_slm *slm = NULL;
    const costeer_local_params local_params = {.n_ctx = 512, .n_threads = 1};
    assert_ok(costeer_cloud_create_local(llm_model, &local_params, &llm, &err), &err);
    drafting_ops = *llm->ops;
    drafting_ops.wants_drafts = wants_drafts;
    llm->ops = &drafting_ops;
    const costeer_slm_params slm_params = {.n_contexts = 1, .n_ctx = 512, .n_threads = 1, .n_drafts = n_wanted};
    assert_ok(costeer_slm_create(slm_model, &slm_params, &slm, &err), &err);
    assert_ok(costeer_slm_set_prompts(slm, &amateur, &expert, LAST_COUNTED + 2, &err), &err);
    params.max_tokens = LAST_COUNTED + 2;
    params.on_position = start_and_stop;
    params.on_text = ignore_text;
    costeer_vocab vocab = costeer_model_vocab(llm_model);
    vocab.is_end = never_ends;
    costeer_session *session = NULL;
    costeer_report report;
    assert_ok(costeer_session_create(llm, costeer_slm_delta_source(slm), &vocab, &params, &session, &err), &err);
    (void)take_allocations();
    assert_ok(costeer_session_run(session, amateur.ids, amateur.n, &report, &err), &err);
    assert_int_equal(report.n_tokens, LAST_COUNTED + 2);
    costeer_session_free(session);
    costeer_slm_free(slm);
    costeer_cloud_free(llm);
    costeer_tokens_dispose(&amateur);
    costeer_tokens_dispose(&expert);
    costeer_model_free(llm_model);
    costeer_model_free(slm_model);
    return take_allocations();
}

static void test_allocations__the_counter_works(void **state)
{
    (void)state;
    (void)take_allocations();
    count_allocations(true);
    void *volatile block = malloc(16);
    count_allocations(false);
    free(block);
    assert_int_equal(take_allocations(), 1);
}

static void test_allocations__none_per_token_when_greedy(void **state)
{
    (void)state;
    assert_int_equal(count_in_answer(COSTEER_SESSION_DEFAULTS), 0);
}

static void test_allocations__none_per_token_when_sparse_and_deepened(void **state)
{
    (void)state;
    costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    params.base_top_k = 4;
    assert_int_equal(count_in_answer(params), 0);
}

static void test_allocations__none_per_token_when_sampled_with_everything_on(void **state)
{
    (void)state;
    costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    const char *const stops[] = {"never to be seen"};
    params.sampler = (costeer_sampler_params){.temperature = 0.8,
                                              .top_k = 40,
                                              .top_p = 0.95,
                                              .min_p = 0.01,
                                              .repetition_penalty = 1.1,
                                              .repetition_window = 64,
                                              .seed = 3};
    params.details = true;
    params.stop = stops;
    params.n_stop = 1;
    assert_int_equal(count_in_answer(params), 0);
}

static void test_allocations__none_per_token_with_limits(void **state)
{
    (void)state;
    costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    params.limits = (costeer_delta_limits){.plausibility = 0.1, .divergence = 0.5};
    params.base_top_k = 4;
    params.details = true;
    assert_int_equal(count_in_answer(params), 0);
}

static void test_allocations__none_per_token_with_drafts_of_either_kind(void **state)
{
    (void)state;
    costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    n_wanted = 4;
    assert_int_equal(count_in_answer(params), 0);
    params.private_drafts = true;
    params.draft_confidence = 0.3;
    assert_int_equal(count_in_answer(params), 0);
    n_wanted = 0;
}

static void test_allocations__none_per_token_with_gates(void **state)
{
    (void)state;
    costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    for (int kind = COSTEER_GATE_ADA; kind <= COSTEER_GATE_TOKEN; kind++) {
        params.gate.kind = (costeer_gate_kind)kind;
        n_wanted = 0;
        assert_int_equal(count_in_answer(params), 0);
        n_wanted = 4;
        assert_int_equal(count_in_answer(params), 0);
    }
    n_wanted = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocations__the_counter_works),
        cmocka_unit_test(test_allocations__none_per_token_when_greedy),
        cmocka_unit_test(test_allocations__none_per_token_when_sparse_and_deepened),
        cmocka_unit_test(test_allocations__none_per_token_when_sampled_with_everything_on),
        cmocka_unit_test(test_allocations__none_per_token_with_limits),
        cmocka_unit_test(test_allocations__none_per_token_with_drafts_of_either_kind),
        cmocka_unit_test(test_allocations__none_per_token_with_gates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
