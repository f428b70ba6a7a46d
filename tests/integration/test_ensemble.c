/*
 * Each method's greedy answer on the built-in pair against the method written out literally: models that run by themselves, the
 * policy in double precision over the whole vocabulary, the published loops where there are some.
 */
#include "support/ensemble_support.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static costeer_ensemble *ensemble;

static int set_up(void **state)
{
    (void)state;
    load_ensemble_models(TMP_PATH("ensemble_lora.gguf"));
    const costeer_ensemble_params params = default_params();
    ensemble = create(&params);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    costeer_ensemble_free(ensemble);
    free_ensemble_models();
    return 0;
}

/* ---- against the reference --------------------------------------------------------------------------------------- */

static void assert_literal(costeer_ensemble *of, const char *name, double weight, double top_p, literal_policy_fn policy,
                           void *user, size_t user_bytes)
{
    for (size_t i = 0; i < N_CASES; i++) {
        const answer got = ask(of, &cases[i], name, weight, top_p);
        if (user != NULL && user_bytes > 0) {
            memset(user, 0, user_bytes);
        }
        assert_literal_answer(name, &cases[i], &got, policy, weight, user);
    }
}

static void test_ensemble__one_model_answers_as_it_does_alone(void **state)
{
    (void)state;
    assert_literal(ensemble, "llm", 0, 1, literal_only_llm, NULL, 0);
    assert_literal(ensemble, "llm+context", 0, 1, literal_only_llm_with, NULL, 0);
    assert_literal(ensemble, "slm", 0, 1, literal_only_slm, NULL, 0);
    assert_literal(ensemble, "slm+context", 0, 1, literal_only_slm_with, NULL, 0);
}

static void test_ensemble__costeer_is_its_loop(void **state)
{
    (void)state;
    assert_literal(ensemble, "costeer", weight_of("costeer"), 1, literal_costeer, NULL, 0);
    assert_literal(ensemble, "lightcosteer", weight_of("lightcosteer"), 1, literal_light, NULL, 0);
}

static void test_ensemble__adacosteer_ends_for_good_once_the_llm_is_sure(void **state)
{
    (void)state;
    literal_ada_state ada = {0};
    assert_literal(ensemble, "adacosteer", weight_of("adacosteer"), 1, literal_ada, &ada, sizeof ada);
    assert_true(ada.n_off > 0 || MAX_TOKENS < 24); /* too few tokens to become sure */
}

static void test_ensemble__limited_methods_are_their_definitions(void **state)
{
    (void)state;
    const char *const names[] = {"costeer-plausible", "costeer-divergence", "costeer-whole"};
    for (size_t i = 0; i < 3; i++) {
        literal_limits limits = {.plausibility = method(names[i])->limits.plausibility,
                                 .divergence = method(names[i])->limits.divergence};
        assert_literal(ensemble, names[i], weight_of(names[i]), 1, literal_limited_costeer, &limits, 0);
    }
}

static void test_ensemble__proxy_tuning_can_be_limited(void **state)
{
    (void)state;
    costeer_method limited = *method("proxy-tuning");
    literal_limits limits = {.plausibility = 0.3, .divergence = 0.2, .of_tuning = true};
    limited.limits = (costeer_delta_limits){.plausibility = 0.3, .divergence = 0.2};
    for (size_t i = 0; i < N_CASES; i++) {
        const answer got = try_to_ask(ensemble, &cases[i], &limited, 1.5, 1);
        assert_ok(got.code, &got.error);
        assert_literal_answer("limited proxy-tuning", &cases[i], &got, literal_limited_costeer, 1.5, &limits);
    }
}

static void test_ensemble__context_steering_at_minus_1_0_and_1(void **state)
{
    (void)state;
    assert_literal(ensemble, "context-steering", 1, 1, literal_context_steering, NULL, 0);
    assert_literal(ensemble, "context-steering", -1, 1, literal_only_llm, NULL, 0);
    assert_literal(ensemble, "context-steering", 0, 1, literal_only_llm_with, NULL, 0);
}

static void test_ensemble__linear_alignment_stays_in_its_support(void **state)
{
    (void)state;
    double top_p = method("linear-alignment")->top_p;
    assert_literal(ensemble, "linear-alignment", 2, top_p, literal_linear_alignment, &top_p, 0);
    top_p = 0.3;
    assert_literal(ensemble, "linear-alignment", 5, top_p, literal_linear_alignment, &top_p, 0);
    top_p = 1e-9; /* one token: the base alone */
    assert_literal(ensemble, "linear-alignment", 50, top_p, literal_only_llm_with, &top_p, 0);
    top_p = 1;
    assert_literal(ensemble, "linear-alignment", 2, top_p, literal_context_steering, NULL, 0);
}

static void test_ensemble__amulet_is_its_loop(void **state)
{
    (void)state;
    assert_literal(ensemble, "amulet", weight_of("amulet"), 1, literal_amulet, NULL, 0);
}

static void test_ensemble__proxy_tuning_adds_what_tuning_changed(void **state)
{
    (void)state;
    const answer plain = ask(ensemble, &cases[0], "llm", 0, 1);
    const answer steered = ask(ensemble, &cases[0], "proxy-tuning", 1, 1);
    assert_true(plain.n != steered.n || memcmp(plain.tokens, steered.tokens, plain.n * sizeof *plain.tokens) != 0);
    assert_literal(ensemble, "proxy-tuning", weight_of("proxy-tuning"), 1, literal_proxy_tuning, NULL, 0);
    assert_literal(ensemble, "proxy-tuning", 0, 1, literal_only_llm, NULL, 0);
}

static void test_ensemble__expert_and_amateur_are_framed_and_the_llm_is_not(void **state)
{
    (void)state;
    const literal_case framed = {.context = "My name is Soraya Behrouz.",
                                 .query = "Write a short bio.",
                                 .context_template = "Notes: {context} Task: {query} Go.",
                                 .query_template = "Notes: {context} Task: {query} Go.", /* which has no context to put there */
                                 .with = "Notes: My name is Soraya Behrouz. Task: Write a short bio. Go.",
                                 .without = "Notes: {context} Task: Write a short bio. Go."};
    const literal_case without_frame = {.context = framed.context, .query = framed.query};
    const char *const names[] = {"costeer", "lightcosteer"};
    const literal_policy_fn policies[] = {literal_costeer, literal_light};
    for (size_t i = 0; i < 2; i++) {
        const answer got = ask(ensemble, &framed, names[i], weight_of(names[i]), 1);
        assert_literal_answer(names[i], &framed, &got, policies[i], weight_of(names[i]), NULL);
        const answer plain = ask(ensemble, &without_frame, names[i], weight_of(names[i]), 1);
        assert_true(got.n != plain.n || memcmp(got.tokens, plain.tokens, got.n * sizeof *got.tokens) != 0);
    }
    const answer by_slm = ask(ensemble, &framed, "slm", 0, 1);
    const answer by_slm_plain = ask(ensemble, &without_frame, "slm", 0, 1);
    assert_int_equal(by_slm.n, by_slm_plain.n);
    assert_memory_equal(by_slm.tokens, by_slm_plain.tokens, by_slm.n * sizeof *by_slm.tokens);
}

/* ---- several contexts -------------------------------------------------------------------------------------------- */

static void test_ensemble__adds_up_several_contexts(void **state)
{
    (void)state;
    costeer_ensemble_params params = default_params();
    params.n_contexts = 2;
    costeer_ensemble *two = create(&params);
    costeer_error err = {0};
    const costeer_prompt with[2] = {{.context = cases[0].context, .query = cases[0].query},
                                    {.context = cases[1].context, .query = cases[0].query}};
    const costeer_ensemble_prompts prompts = {.plain = {.query = cases[0].query}, .with = with, .max_tokens = MAX_TOKENS};
    assert_ok(costeer_ensemble_set_prompts(two, &prompts, &err), &err);
    costeer_ensemble_parts parts;
    assert_ok(costeer_ensemble_use(two, method("costeer"), 1, &parts, &err), &err);
    assert_int_equal(parts.deltas->n_deltas, 2);
    /* a weight of 0 leaves the second one out, whichever it is */
    const costeer_vocab vocab = costeer_model_vocab(parts.model);
    for (int i = 0; i < 2; i++) {
        costeer_session_params session_params = COSTEER_SESSION_DEFAULTS;
        const double weights[2] = {i == 0 ? 1 : 0, i == 0 ? 0 : 1};
        session_params.context_weights = weights;
        session_params.max_tokens = MAX_TOKENS;
        costeer_session *session = NULL;
        costeer_report report;
        assert_ok(costeer_session_create(parts.cloud, parts.deltas, &vocab, &session_params, &session, &err), &err);
        assert_ok(costeer_session_run(session, parts.prompt, parts.n_prompt, &report, &err), &err);
        size_t n;
        const int32_t *tokens = costeer_session_tokens(session, &n);
        const literal_models models = {.llm = llm, .slm = slm};
        const literal_case of = {.context = cases[i].context, .query = cases[0].query};
        literal_assert("one of two contexts", &models, &of, tokens, n, literal_costeer, 0, 1 + 2 * 1.79, NULL);
        costeer_session_free(session);
    }
    costeer_ensemble_free(two);
}

/* ---- what is kept, and what is refused --------------------------------------------------------------------------- */

static void test_ensemble__keeps_running_states_between_methods(void **state)
{
    (void)state;
    costeer_error err = {0};
    costeer_ensemble_parts first;
    costeer_ensemble_parts other;
    costeer_ensemble_parts again;
    (void)ask(ensemble, &cases[0], "llm", 0, 1); /* sets the prompts */
    assert_ok(costeer_ensemble_use(ensemble, method("costeer"), 1, &first, &err), &err);
    assert_ok(costeer_ensemble_use(ensemble, method("amulet"), 1, &other, &err), &err);
    assert_ok(costeer_ensemble_use(ensemble, method("lightcosteer"), 1, &again, &err), &err);
    assert_ptr_equal(first.cloud, again.cloud);
    assert_ptr_equal(first.deltas, again.deltas);
    assert_ptr_equal(first.prompt, again.prompt);
    assert_ptr_not_equal(first.cloud, other.cloud);
    assert_true(first.deltas_are_local && !other.deltas_are_local);
    assert_ok(costeer_ensemble_use(ensemble, method("llm+context"), 1, &other, &err), &err);
    assert_ptr_equal(first.cloud, other.cloud);
    assert_true(other.n_prompt > first.n_prompt);
    assert_null(costeer_ensemble_remote(ensemble));
    assert_ok(costeer_ensemble_use(ensemble, method("slm"), 1, &other, &err), &err);
    assert_ptr_equal(other.model, slm);
    assert_ptr_equal(first.model, llm);
}

static void assert_refused(const costeer_ensemble_params *params, const char *name, double top_p, bool has_with_all,
                           costeer_err code, const char *words)
{
    costeer_ensemble *of = create(params);
    costeer_error err = {0};
    const costeer_prompt with = {.context = cases[0].context, .query = cases[0].query};
    costeer_ensemble_prompts prompts = {.plain = {.query = cases[0].query}, .with = &with, .max_tokens = MAX_TOKENS};
    prompts.with_all = has_with_all ? with : prompts.with_all;
    assert_ok(costeer_ensemble_set_prompts(of, &prompts, &err), &err);
    costeer_ensemble_parts parts;
    assert_int_equal(costeer_ensemble_use(of, method(name), top_p, &parts, &err), code);
    if (strstr(err.message, words) == NULL) {
        fail_msg("%s: \"%s\" does not say \"%s\"", name, err.message, words);
    }
    assert_true(parts.cloud == NULL && parts.deltas == NULL);
    costeer_ensemble_free(of);
}

static void test_ensemble__says_what_a_method_lacks(void **state)
{
    (void)state;
    costeer_ensemble_params params = default_params();
    params.llm = NULL;
    assert_refused(&params, "costeer", 1, true, COSTEER_EINVAL, "costeer needs an LLM");
    params = default_params();
    params.slm = NULL;
    assert_refused(&params, "slm", 1, true, COSTEER_EINVAL, "slm needs an SLM");
    assert_refused(&params, "proxy-tuning", 1, true, COSTEER_EINVAL, "proxy-tuning needs an SLM");
    params = default_params();
    params.tuned = NULL;
    assert_refused(&params, "proxy-tuning", 1, true, COSTEER_EINVAL, "proxy-tuning needs a tuned SLM");
    params = default_params();
    params.n_contexts = 0;
    assert_refused(&params, "adacosteer", 1, true, COSTEER_EINVAL, "adacosteer needs a context");
    params = default_params();
    assert_refused(&params, "amulet", 1, false, COSTEER_EINVAL, "amulet needs a context");
    assert_refused(&params, "slm+context", 1, false, COSTEER_EINVAL, "slm+context needs a context");
    assert_refused(&params, "linear-alignment", 0, true, COSTEER_EINVAL, "top_p of linear-alignment is 0");
    assert_refused(&params, "linear-alignment", NAN, true, COSTEER_EINVAL, "top_p of linear-alignment is");
    params.n_ctx = 50;
    assert_refused(&params, "amulet", 1, true, COSTEER_ETOOLONG, "the LLM's prompt with the context");
    params = default_params();
    costeer_model *other = load_model(COSTEER_TEST_MODELS_DIR "/costeer-slm-other.gguf");
    params.slm = other;
    assert_refused(&params, "proxy-tuning", 1, true, COSTEER_EINVAL, "proxy-tuning needs models of one vocabulary");
    costeer_vocab_map *map = NULL;
    const costeer_vocab_map_params by_map = {.mode = COSTEER_VOCAB_MAP};
    assert_int_equal(costeer_vocab_map_create(llm, other, &by_map, &map, NULL), COSTEER_OK);
    params.vocab_map = map;
    params.tuned = other;
    assert_refused(&params, "proxy-tuning", 1, true, COSTEER_EINVAL, "proxy-tuning needs models of one vocabulary");
    costeer_vocab_map_free(map);
    costeer_model_free(other);
    params = default_params();
    costeer_ensemble *none = create(&params);
    costeer_ensemble_parts parts;
    assert_int_equal(costeer_ensemble_use(none, method("llm"), 1, &parts, NULL), COSTEER_ESTATE);
    costeer_ensemble_free(none);
    params.n_contexts = COSTEER_DELTAS_MAX + 1;
    assert_int_equal(costeer_ensemble_create(&params, &none, NULL), COSTEER_EINVAL);
    assert_null(none);
    costeer_ensemble_free(NULL);
}

/* A public prompt with a context in it would be sent to the cloud. */
static void test_ensemble__refuses_a_public_prompt_with_a_context(void **state)
{
    (void)state;
    costeer_error err = {0};
    const costeer_prompt with = {.context = "private", .query = "q"};
    costeer_ensemble_prompts prompts = {.plain = with, .with = &with, .max_tokens = 4};
    assert_int_equal(costeer_ensemble_set_prompts(ensemble, &prompts, &err), COSTEER_EINVAL);
    prompts.plain.context = NULL;
    prompts.max_tokens = 0;
    assert_int_equal(costeer_ensemble_set_prompts(ensemble, &prompts, &err), COSTEER_EINVAL);
    prompts.max_tokens = 4;
    prompts.with = NULL;
    assert_int_equal(costeer_ensemble_set_prompts(ensemble, &prompts, &err), COSTEER_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ensemble__one_model_answers_as_it_does_alone),
        cmocka_unit_test(test_ensemble__costeer_is_its_loop),
        cmocka_unit_test(test_ensemble__adacosteer_ends_for_good_once_the_llm_is_sure),
        cmocka_unit_test(test_ensemble__limited_methods_are_their_definitions),
        cmocka_unit_test(test_ensemble__proxy_tuning_can_be_limited),
        cmocka_unit_test(test_ensemble__context_steering_at_minus_1_0_and_1),
        cmocka_unit_test(test_ensemble__linear_alignment_stays_in_its_support),
        cmocka_unit_test(test_ensemble__amulet_is_its_loop),
        cmocka_unit_test(test_ensemble__proxy_tuning_adds_what_tuning_changed),
        cmocka_unit_test(test_ensemble__expert_and_amateur_are_framed_and_the_llm_is_not),
        cmocka_unit_test(test_ensemble__adds_up_several_contexts),
        cmocka_unit_test(test_ensemble__keeps_running_states_between_methods),
        cmocka_unit_test(test_ensemble__says_what_a_method_lacks),
        cmocka_unit_test(test_ensemble__refuses_a_public_prompt_with_a_context),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
