/*
 * Gates on the built-in pair: the loop, whose SLM lags and catches up, against a reference whose SLM takes every step.
 *
 * Without our patches several tokens in one batch round differently than one by one, by LOGIT_TOLERANCE at most, so that a near
 * tie may fall otherwise. So the reference follows the answer and judges each token: it must be the best, or as good as that.
 */
#include "support/pair_support.h"
#include "support/slm_support.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_TOKENS 96

static const pair_case cases[] = {
    {"My name is Soraya. I live in Lisbon. My favourite food is lasagna.", "Write a short bio."},
    {"name: Tamiko\njob: gardener\ncity: Ravenbrook", "Write an invitation to my birthday."},
    {"My dog is called Rex and my sister is called Ilka.", "Write a diary entry."},
    {"I collect stamps. I work as a baker.", "Plan my weekend."},
    {"My neighbour is called Philippa. My hobby is the zither.", "Help me apologise to my neighbour."},
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
    bool gated[MAX_TOKENS];
    size_t n;
    costeer_report report;
} answer;

static bool note_gate(const costeer_position *position, void *user)
{
    answer *out = user;
    out->gated[position->position] = position->gated;
    return true;
}

static answer generate(size_t i, costeer_session_params params)
{
    set_case(i);
    answer out = {.n = 0};
    params.max_tokens = MAX_TOKENS;
    params.on_position = note_gate;
    params.user = &out;
    const costeer_vocab vocab = costeer_model_vocab(it.llm_model);
    costeer_session *session = NULL;
    costeer_error err = {0};
    assert_ok(costeer_session_create(it.llm, costeer_slm_delta_source(it.slm), &vocab, &params, &session, &err), &err);
    assert_ok(costeer_session_run(session, it.amateur.ids, it.amateur.n, &out.report, &err), &err);
    const int32_t *tokens = costeer_session_tokens(session, &out.n);
    memcpy(out.tokens, tokens, out.n * sizeof *tokens);
    costeer_session_free(session);
    return out;
}

static void assert_same_answer(const answer *a, const answer *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->tokens, b->tokens, a->n * sizeof a->tokens[0]);
    assert_memory_equal(a->gated, b->gated, a->n * sizeof a->gated[0]);
}

/* ---- against the reference --------------------------------------------------------------------------------------- */

/* What the answers of a test add up to. */
typedef struct totals {
    int32_t n_tokens, n_gated, n_steps, n_given;
    int32_t n_ties;    /* tokens that only nearly were the best */
    int32_t n_matters; /* tokens that would be otherwise without the gate */
} totals;

/* By how much rounding may move the difference of two scores: twice expert and amateur of both tokens. */
#define NEAR_TIE (4.0 * (double)LOGIT_TOLERANCE * COSTEER_SESSION_DEFAULTS.strength)

static double score(const costeer_base *base, const costeer_delta *delta, int32_t token)
{
    return (double)base->values[token] + delta->weight * ((double)delta->expert[token] - (double)delta->amateur[token]);
}

/* By hand: the full SLM at every position of the answer, and the gate between the base and the choice. */
static void assert_as_chosen(size_t i, const costeer_gate_params *params, const answer *got, totals *sum)
{
    set_case(i);
    costeer_error err = {0};
    costeer_gate gate;
    costeer_delta_source *source = costeer_slm_delta_source(it.slm);
    const int32_t n = costeer_model_get_info(it.llm_model)->n_vocab;
    const costeer_cloud_request request = {.prompt = it.amateur.ids, .n_prompt = it.amateur.n, .max_tokens = MAX_TOKENS};
    assert_ok(costeer_gate_init(params, &gate, &err), &err);
    assert_ok(costeer_cloud_open(it.llm, &request, &err), &err);
    assert_ok(source->ops->begin(source, &err), &err);
    for (size_t p = 0; p < got->n; p++) {
        costeer_distribution from;
        costeer_delta delta = {.weight = COSTEER_SESSION_DEFAULTS.strength};
        costeer_choice best;
        assert_ok(costeer_cloud_next(it.llm, (int32_t)p, &from, &err), &err);
        source->ops->read(source, &delta, 1);
        assert_ok(costeer_fuse_choose(&from.base, &delta, 1, n, &best, &err), &err);
        const double p_max = exp((double)from.base.values[from.own_token] - costeer_logsumexp(from.base.values, n));
        assert_int_equal(got->gated[p], !costeer_gate_opens(&gate, p_max));
        if (got->gated[p]) {
            assert_int_equal(got->tokens[p], from.own_token);
            sum->n_matters += best.token != from.own_token;
        } else if (got->tokens[p] != best.token) {
            assert_true(score(&from.base, &delta, got->tokens[p]) > best.score - NEAR_TIE);
            sum->n_ties++;
        }
        if (p + 1 < got->n) {
            assert_false(costeer_model_is_end(it.llm_model, got->tokens[p]));
            assert_ok(costeer_cloud_commit(it.llm, (int32_t)p, got->tokens[p], &err), &err);
            assert_ok(source->ops->step(source, &got->tokens[p], 1, &err), &err);
        }
    }
    costeer_cloud_close(it.llm);
}

/* The gate's answers, dense and sparse, are the reference's; some tokens are otherwise than they would be without the gate. */
static void assert_gate_is_the_reference(const costeer_gate_params *gate)
{
    totals sum = {0};
    for (size_t i = 0; i < N_CASES; i++) {
        costeer_session_params params = COSTEER_SESSION_DEFAULTS;
        params.gate = *gate;
        const answer dense = generate(i, params);
        params.base_top_k = 64;
        const answer sparse = generate(i, params);
        assert_same_answer(&dense, &sparse);
        assert_int_equal(sparse.report.n_certified, sparse.report.n_tokens);
        assert_as_chosen(i, gate, &dense, &sum);
        sum.n_tokens += dense.report.n_tokens;
        sum.n_gated += dense.report.n_gated;
        sum.n_steps += dense.report.n_slm_steps;
        sum.n_given += dense.report.n_slm_tokens;
    }
    print_message("%d tokens, %d gated, %d SLM steps with %d tokens; %d would be otherwise, %d near ties\n", sum.n_tokens,
                  sum.n_gated, sum.n_steps, sum.n_given, sum.n_matters, sum.n_ties);
    assert_true(sum.n_gated > 0 && sum.n_gated < sum.n_tokens);
    assert_true(sum.n_steps <= sum.n_tokens - sum.n_gated && sum.n_given < sum.n_tokens);
    assert_true(sum.n_matters > 0);
    assert_true(sum.n_ties <= 5);
}

static void test_gate__by_token_is_a_reference_that_takes_every_step(void **state)
{
    (void)state;
    static const double thresholds[] = {0.1, 0.5};
    for (int i = 0; i < 2; i++) {
        assert_gate_is_the_reference(&(costeer_gate_params){.kind = COSTEER_GATE_TOKEN, .threshold = thresholds[i]});
    }
}

static void test_gate__ada_is_a_reference_that_takes_every_step(void **state)
{
    (void)state;
    assert_gate_is_the_reference(&(costeer_gate_params){.kind = COSTEER_GATE_ADA, .threshold = 0.1, .patience = 3});
    assert_gate_is_the_reference(&(costeer_gate_params){.kind = COSTEER_GATE_ADA, .threshold = 0.3, .patience = 6});
}

/* ---- at its ends ------------------------------------------------------------------------------------------------- */

static void test_gate__always_open_it_is_no_gate(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_CASES; i++) {
        costeer_session_params params = COSTEER_SESSION_DEFAULTS;
        const answer expected = generate(i, params);
        params.gate = (costeer_gate_params){.kind = COSTEER_GATE_TOKEN, .threshold = 1e-9};
        const answer by_token = generate(i, params);
        assert_same_answer(&expected, &by_token);
        params.gate = (costeer_gate_params){.kind = COSTEER_GATE_ADA, .threshold = 0.5, .patience = MAX_TOKENS + 1};
        const answer ada = generate(i, params);
        assert_same_answer(&expected, &ada);
        assert_int_equal(ada.report.n_slm_steps, ada.report.n_tokens - 1);
    }
}

static void test_gate__always_closed_it_is_the_llm_alone(void **state)
{
    (void)state;
    costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    params.strength = 0.0;
    const answer expected = generate(0, params);
    params = COSTEER_SESSION_DEFAULTS;
    params.gate = (costeer_gate_params){.kind = COSTEER_GATE_TOKEN, .threshold = 1.0};
    const answer got = generate(0, params);
    assert_int_equal(got.n, expected.n);
    assert_memory_equal(got.tokens, expected.tokens, got.n * sizeof got.tokens[0]);
    assert_int_equal(got.report.n_gated, got.report.n_tokens);
    assert_int_equal(got.report.n_slm_steps, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gate__by_token_is_a_reference_that_takes_every_step),
        cmocka_unit_test(test_gate__ada_is_a_reference_that_takes_every_step),
        cmocka_unit_test(test_gate__always_open_it_is_no_gate),
        cmocka_unit_test(test_gate__always_closed_it_is_the_llm_alone),
    };
    return cmocka_run_group_tests(tests, load_pair, free_pair);
}
