/* Real logits: greedy answers are those of the published 20-step update, run literally over 151,936 tokens in float64. */
#include "real/real_support.h"
#include "support/models.h"
#include "unit/ftrl_oracle.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_TOKENS 32
#define N_CTX      512

static const char notes[] =
    "My name is Marta Lindqvist. I live in Gothenburg with my partner Jonas and our dog Biscuit. I turn 40 on "
    "Saturday 14 March and want to celebrate at the boathouse in Saltholmen from six in the evening.";
static const char *const queries[] = {"Write a short invitation to my birthday party.", "Introduce me to a new colleague."};
#define N_QUERIES (sizeof queries / sizeof queries[0])

static costeer_model *llm_model, *slm_model;

static int load_pair(void **state)
{
    (void)state;
    return 0;
}

static void need_pair(void)
{
    if (llm_model == NULL) {
        llm_model = load_real(QWEN_LARGE);
        slm_model = load_real(QWEN_SMALL);
    }
}

static int free_pair(void **state)
{
    (void)state;
    costeer_model_free(llm_model);
    costeer_model_free(slm_model);
    return 0;
}

/* A query's prompts, and both models without anything computed: what is computed together decides the last bits. */
typedef struct pair {
    costeer_cloud *llm;
    costeer_slm *slm;
    costeer_tokens amateur, expert;
} pair;

static pair open_pair(const char *query)
{
    pair p = {.amateur = build_real_prompt(slm_model, NULL, query), .expert = build_real_prompt(slm_model, notes, query)};
    costeer_error err = {0};
    const costeer_local_params local_params = {.n_ctx = N_CTX, .n_threads = 1};
    assert_ok(costeer_cloud_create_local(llm_model, &local_params, &p.llm, &err), &err);
    const costeer_slm_params params = {.n_contexts = 1, .n_ctx = N_CTX, .n_threads = 1};
    assert_ok(costeer_slm_create(slm_model, &params, &p.slm, &err), &err);
    assert_ok(costeer_slm_set_prompts(p.slm, &p.amateur, &p.expert, MAX_TOKENS, &err), &err);
    return p;
}

static void close_pair(pair *p)
{
    costeer_slm_free(p->slm);
    costeer_cloud_free(p->llm);
    costeer_tokens_dispose(&p->amateur);
    costeer_tokens_dispose(&p->expert);
}

typedef struct answer {
    int32_t tokens[MAX_TOKENS];
    size_t n;
    costeer_report report;
} answer;

static answer generate(const char *query, int32_t base_top_k)
{
    pair p = open_pair(query);
    answer out = {.n = 0};
    costeer_error err = {0};
    costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    params.max_tokens = MAX_TOKENS;
    params.base_top_k = base_top_k;
    const costeer_vocab vocab = costeer_model_vocab(llm_model);
    costeer_session *session = NULL;
    assert_ok(costeer_session_create(p.llm, costeer_slm_delta_source(p.slm), &vocab, &params, &session, &err), &err);
    assert_ok(costeer_session_run(session, p.amateur.ids, p.amateur.n, &out.report, &err), &err);
    const int32_t *tokens = costeer_session_tokens(session, &out.n);
    memcpy(out.tokens, tokens, out.n * sizeof *tokens);
    costeer_session_free(session);
    close_pair(&p);
    return out;
}

static int32_t best_of(const double *values, int32_t n)
{
    int32_t best = 0;
    for (int32_t t = 1; t < n; t++) {
        best = values[t] > values[best] ? t : best;
    }
    return best;
}

/* The answer, written out by hand: next, the update's 20 steps, commit, step. */
static answer literal_answer(const char *query)
{
    pair p = open_pair(query);
    answer out = {.n = 0};
    costeer_error err = {0};
    costeer_delta_source *source = costeer_slm_delta_source(p.slm);
    const costeer_strength_params update = COSTEER_STRENGTH_DEFAULTS;
    const int32_t n_vocab = costeer_model_get_info(llm_model)->n_vocab;
    double *log_policy = calloc((size_t)n_vocab, sizeof *log_policy);
    assert_non_null(log_policy);
    const costeer_cloud_request request = {.prompt = p.amateur.ids, .n_prompt = p.amateur.n, .max_tokens = MAX_TOKENS};
    assert_ok(costeer_cloud_open(p.llm, &request, &err), &err);
    assert_ok(source->ops->begin(source, &err), &err);
    for (;;) {
        const int32_t position = (int32_t)out.n;
        costeer_distribution base;
        costeer_delta delta = {0};
        assert_ok(costeer_cloud_next(p.llm, position, &base, &err), &err);
        source->ops->read(source, &delta, 1);
        ftrl_oracle(&update, base.base.values, delta.expert, delta.amateur, n_vocab, log_policy);
        const int32_t token = best_of(log_policy, n_vocab);
        out.tokens[out.n++] = token;
        if (costeer_model_is_end(llm_model, token) || out.n == MAX_TOKENS) {
            break;
        }
        assert_ok(costeer_cloud_commit(p.llm, position, token, &err), &err);
        assert_ok(source->ops->step(source, &token, 1, &err), &err);
    }
    costeer_cloud_close(p.llm);
    free(log_policy);
    close_pair(&p);
    return out;
}

static void test_real_policy__is_the_published_update_token_for_token(void **state)
{
    (void)state;
    need_pair();
    for (size_t i = 0; i < N_QUERIES; i++) {
        const answer expected = literal_answer(queries[i]);
        static const int32_t depths[] = {0, 64};
        for (size_t d = 0; d < sizeof depths / sizeof depths[0]; d++) {
            const answer got = generate(queries[i], depths[d]);
            assert_int_equal(expected.n, got.n);
            assert_memory_equal(expected.tokens, got.tokens, got.n * sizeof got.tokens[0]);
            assert_int_equal(got.report.n_certified, got.report.n_tokens);
            assert_true(got.report.n_steered > 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real_policy__is_the_published_update_token_for_token),
    };
    return cmocka_run_group_tests(tests, load_pair, free_pair);
}
