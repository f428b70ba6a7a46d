/* The main job on the built-in pair: the loop's answers are those of the published T-step update, run literally. */
#include "support/literal_limits.h"
#include "support/pair_support.h"
#include "unit/ftrl_oracle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_TOKENS 48

static const pair_case cases[] = {
    {"My name is Soraya. I live in Lisbon. My favourite food is lasagna.", "Write a short bio."},
    {"name: Tamiko\njob: gardener\ncity: Ravenbrook", "Write an invitation to my birthday."},
    {"My dog is called Rex and my sister is called Ilka.", "Write a diary entry."},
    {"I collect stamps. I work as a baker.", "Plan my weekend."},
};
#define N_CASES (sizeof cases / sizeof cases[0])

static pair_support it;

static int load_pair(void **state)
{
    (void)state;
    pair_load(&it);
    return 0;
}

static int free_pair(void **state)
{
    (void)state;
    pair_dispose(&it);
    return 0;
}

static void set_case(size_t i)
{
    pair_set_case(&it, &cases[i], MAX_TOKENS);
}

typedef struct answer {
    int32_t tokens[MAX_TOKENS];
    size_t n;
    costeer_report report;
} answer;

static answer generate(size_t i, costeer_session_params params)
{
    set_case(i);
    params.max_tokens = MAX_TOKENS;
    const costeer_vocab vocab = costeer_model_vocab(it.llm_model);
    costeer_session *session = NULL;
    costeer_error err = {0};
    answer out = {.n = 0};
    assert_ok(costeer_session_create(it.llm, costeer_slm_delta_source(it.slm), &vocab, &params, &session, &err), &err);
    assert_ok(costeer_session_run(session, it.amateur.ids, it.amateur.n, &out.report, &err), &err);
    const int32_t *tokens = costeer_session_tokens(session, &out.n);
    memcpy(out.tokens, tokens, out.n * sizeof *tokens);
    assert_int_equal(out.report.n_tokens, out.n);
    costeer_session_free(session);
    return out;
}

static void assert_same_answer(const answer *a, const answer *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->tokens, b->tokens, a->n * sizeof a->tokens[0]);
}

typedef int32_t choose_fn(const float *base, const costeer_delta *delta, int32_t n_vocab, double *scores, const void *user);

/* ---- against the oracle ------------------------------------------------------------------------------------------ */

/* The published loop at one position, over the full vocabulary in float64. */
static int32_t oracle_choice(const float *base, const costeer_delta *delta, int32_t n_vocab, double *log_policy,
                             const void *unused)
{
    (void)unused;
    const costeer_strength_params params = COSTEER_STRENGTH_DEFAULTS;
    ftrl_oracle(&params, base, delta->expert, delta->amateur, n_vocab, log_policy);
    int32_t best = 0;
    for (int32_t t = 1; t < n_vocab; t++) {
        best = log_policy[t] > log_policy[best] ? t : best;
    }
    return best;
}

/* The answer, written out by hand: next, T-step update, commit, step. */
static answer reference_answer(size_t i, choose_fn *choose, const void *user)
{
    set_case(i);
    answer out = {.n = 0};
    costeer_error err = {0};
    costeer_delta_source *source = costeer_slm_delta_source(it.slm);
    const int32_t n_vocab = costeer_model_get_info(it.llm_model)->n_vocab;
    double *log_policy = calloc((size_t)n_vocab, sizeof *log_policy);
    assert_non_null(log_policy);
    const costeer_cloud_request request = {.prompt = it.amateur.ids, .n_prompt = it.amateur.n, .max_tokens = MAX_TOKENS};
    assert_ok(costeer_cloud_open(it.llm, &request, &err), &err);
    assert_ok(source->ops->begin(source, &err), &err);
    for (;;) {
        const int32_t position = (int32_t)out.n;
        costeer_distribution base;
        costeer_delta delta = {0};
        assert_ok(costeer_cloud_next(it.llm, position, &base, &err), &err);
        source->ops->read(source, &delta, 1);
        const int32_t token = choose(base.base.values, &delta, n_vocab, log_policy, user);
        out.tokens[out.n++] = token;
        if (costeer_model_is_end(it.llm_model, token) || out.n == MAX_TOKENS) {
            break;
        }
        assert_ok(costeer_cloud_commit(it.llm, position, token, &err), &err);
        assert_ok(source->ops->step(source, &token, 1, &err), &err);
    }
    costeer_cloud_close(it.llm);
    free(log_policy);
    return out;
}

static void test_generate__is_the_published_update_token_for_token(void **state)
{
    (void)state;
    int32_t n_steered = 0;
    for (size_t i = 0; i < N_CASES; i++) {
        const answer expected = reference_answer(i, oracle_choice, NULL);
        const answer got = generate(i, COSTEER_SESSION_DEFAULTS);
        assert_same_answer(&expected, &got);
        n_steered += got.report.n_steered;
    }
    assert_true(n_steered > 0); /* the contexts did something */
}

static void test_generate__a_sparse_base_gives_the_same_answer_and_proves_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_CASES; i++) {
        const answer dense = generate(i, COSTEER_SESSION_DEFAULTS);
        const int32_t depths[] = {8, 64};
        for (size_t d = 0; d < 2; d++) {
            costeer_session_params params = COSTEER_SESSION_DEFAULTS;
            params.base_top_k = depths[d];
            const answer sparse = generate(i, params);
            assert_same_answer(&dense, &sparse);
            assert_int_equal(sparse.report.n_certified, sparse.report.n_tokens);
            assert_int_equal(sparse.report.n_uncertified, 0);
        }
    }
}

static void test_generate__is_the_same_every_time(void **state)
{
    (void)state;
    costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    const answer first = generate(0, params);
    const answer second = generate(0, params);
    assert_same_answer(&first, &second);
    params.sampler.temperature = 1.0;
    params.sampler.seed = 42;
    const answer third = generate(0, params);
    const answer fourth = generate(0, params);
    assert_same_answer(&third, &fourth);
    params.sampler.seed = 43;
    const answer other = generate(0, params);
    assert_true(other.n != third.n || memcmp(other.tokens, third.tokens, third.n * sizeof third.tokens[0]) != 0);
}

static void test_generate__strength_zero_is_the_llm_alone(void **state)
{
    (void)state;
    costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    params.strength = 0.0;
    const answer got = generate(0, params);
    assert_int_equal(got.report.n_steered, 0);
    assert_int_equal(got.report.slm_us, 0);
    set_case(0);
    const costeer_cloud_request request = {.prompt = it.amateur.ids, .n_prompt = it.amateur.n, .max_tokens = MAX_TOKENS};
    assert_int_equal(costeer_cloud_open(it.llm, &request, NULL), COSTEER_OK);
    for (size_t i = 0; i < got.n; i++) {
        costeer_distribution base;
        assert_int_equal(costeer_cloud_next(it.llm, (int32_t)i, &base, NULL), COSTEER_OK);
        assert_int_equal(base.own_token, got.tokens[i]);
        if (i + 1 < got.n) {
            assert_int_equal(costeer_cloud_commit(it.llm, (int32_t)i, got.tokens[i], NULL), COSTEER_OK);
        }
    }
    costeer_cloud_close(it.llm);
}

/* ---- limits ------------------------------------------------------------------------------------------------------ */

/* The definition of limited deltas at one position, over the full vocabulary in float64. */
static int32_t limited_choice(const float *base, const costeer_delta *delta, int32_t n_vocab, double *scores, const void *user)
{
    const costeer_session_params *params = user;
    const literal_limited limited = {.expert = delta->expert,
                                     .amateur = delta->amateur,
                                     .weight = params->strength,
                                     .plausibility = params->limits.plausibility,
                                     .divergence = params->limits.divergence};
    literal_limited_scores(base, &limited, 1, n_vocab, scores);
    int32_t best = 0;
    for (int32_t t = 1; t < n_vocab; t++) {
        best = scores[t] > scores[best] ? t : best;
    }
    return best;
}

/* Sessions with limits: published strength and plausibility, divergence; both. */
static costeer_session_params limited_params(size_t i)
{
    static const costeer_delta_limits limits[] = {
        {.plausibility = 0.1}, {.divergence = 1.0}, {.plausibility = 0.1, .divergence = 0.5}};
    costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    params.limits = limits[i];
    params.strength = i == 2 ? 2.5 : params.strength;
    return params;
}

static void test_generate__limits_are_their_definition_token_for_token(void **state)
{
    (void)state;
    int32_t n_other = 0;
    for (size_t i = 0; i < N_CASES; i++) {
        const answer published = generate(i, COSTEER_SESSION_DEFAULTS);
        for (size_t j = 0; j < 3; j++) {
            const costeer_session_params params = limited_params(j);
            const answer expected = reference_answer(i, limited_choice, &params);
            const answer got = generate(i, params);
            assert_same_answer(&expected, &got);
            n_other += got.n != published.n || memcmp(got.tokens, published.tokens, got.n * sizeof got.tokens[0]) != 0;
        }
    }
    assert_true(n_other > 0); /* the limits did something */
}

static void test_generate__limits_with_a_sparse_base_give_the_same_answer_and_prove_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_CASES; i++) {
        for (size_t j = 0; j < 3; j++) {
            costeer_session_params params = limited_params(j);
            const answer dense = generate(i, params);
            params.base_top_k = 8;
            const answer sparse = generate(i, params);
            assert_same_answer(&dense, &sparse);
            assert_int_equal(sparse.report.n_certified, sparse.report.n_tokens);
        }
    }
}

static void test_generate__with_limits_fewer_entries_prove_the_choice(void **state)
{
    (void)state;
    int32_t n_deepened = 0;
    int32_t n_deepened_plausible = 0;
    int32_t n_tokens = 0;
    int32_t n_tokens_plausible = 0;
    for (size_t i = 0; i < N_CASES; i++) {
        costeer_session_params params = COSTEER_SESSION_DEFAULTS;
        costeer_session_params plausible = limited_params(0);
        params.base_top_k = plausible.base_top_k = 8;
        const answer a = generate(i, params);
        const answer b = generate(i, plausible);
        n_deepened += a.report.n_deepened;
        n_tokens += a.report.n_tokens;
        n_deepened_plausible += b.report.n_deepened;
        n_tokens_plausible += b.report.n_tokens;
    }
    print_message("8 entries do not do at %d of %d positions as published, at %d of %d with plausibility 0.1\n", n_deepened,
                  n_tokens, n_deepened_plausible, n_tokens_plausible);
    assert_true((int64_t)n_deepened_plausible * n_tokens < (int64_t)n_deepened * n_tokens_plausible);
}

/* ---- several contexts -------------------------------------------------------------------------------------------- */

static void test_generate__two_equal_contexts_of_half_weight_are_one(void **state)
{
    (void)state;
    const answer one = generate(1, COSTEER_SESSION_DEFAULTS);
    costeer_error err = {0};
    costeer_slm *two = NULL;
    const costeer_slm_params slm_params = {.n_contexts = 2, .n_ctx = 512, .n_threads = 1};
    assert_ok(costeer_slm_create(it.slm_model, &slm_params, &two, &err), &err);
    const costeer_tokens experts[] = {it.expert, it.expert};
    assert_ok(costeer_slm_set_prompts(two, &it.amateur, experts, MAX_TOKENS, &err), &err);
    const double halves[] = {0.5, 0.5};
    costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    params.max_tokens = 24;
    params.context_weights = halves;
    const costeer_vocab vocab = costeer_model_vocab(it.llm_model);
    costeer_session *session = NULL;
    costeer_report report;
    assert_ok(costeer_session_create(it.llm, costeer_slm_delta_source(two), &vocab, &params, &session, &err), &err);
    assert_ok(costeer_session_run(session, it.amateur.ids, it.amateur.n, &report, &err), &err);
    size_t n;
    const int32_t *tokens = costeer_session_tokens(session, &n);
    assert_memory_equal(tokens, one.tokens, (n < one.n ? n : one.n) * sizeof *tokens);
    costeer_session_free(session);
    costeer_slm_free(two);
}

/* ---- threads ----------------------------------------------------------------------------------------------------- */

/* Few tokens: llama.cpp's threads spin at barriers, which takes long where other programs want the same cores. */
static void test_generate__two_threads_for_the_llm_give_its_answer_too(void **state)
{
    (void)state;
    costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    const answer expected = generate(2, params);
    costeer_error err = {0};
    costeer_cloud *llm = NULL;
    const costeer_local_params local_params = {.n_ctx = 512, .n_threads = 2};
    assert_ok(costeer_cloud_create_local(it.llm_model, &local_params, &llm, &err), &err);
    params.max_tokens = 3;
    const costeer_vocab vocab = costeer_model_vocab(it.llm_model);
    costeer_session *session = NULL;
    costeer_report report;
    assert_ok(costeer_session_create(llm, costeer_slm_delta_source(it.slm), &vocab, &params, &session, &err), &err);
    assert_ok(costeer_session_run(session, it.amateur.ids, it.amateur.n, &report, &err), &err);
    size_t n;
    const int32_t *tokens = costeer_session_tokens(session, &n);
    assert_memory_equal(tokens, expected.tokens, n * sizeof *tokens);
    assert_true(report.total_us >= report.prefill_us && report.prefill_us > 0);
    costeer_session_free(session);
    costeer_cloud_free(llm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generate__is_the_published_update_token_for_token),
        cmocka_unit_test(test_generate__a_sparse_base_gives_the_same_answer_and_proves_it),
        cmocka_unit_test(test_generate__limits_are_their_definition_token_for_token),
        cmocka_unit_test(test_generate__limits_with_a_sparse_base_give_the_same_answer_and_prove_it),
        cmocka_unit_test(test_generate__with_limits_fewer_entries_prove_the_choice),
        cmocka_unit_test(test_generate__is_the_same_every_time),
        cmocka_unit_test(test_generate__strength_zero_is_the_llm_alone),
        cmocka_unit_test(test_generate__two_equal_contexts_of_half_weight_are_one),
        cmocka_unit_test(test_generate__two_threads_for_the_llm_give_its_answer_too),
    };
    return cmocka_run_group_tests(tests, load_pair, free_pair);
}
