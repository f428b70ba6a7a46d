/*
 * Each method's greedy answer on the built-in pair against the method written out literally: models that run by themselves, the
 * policy in double precision over the whole vocabulary, the published loops where there are some.
 */
#include "support/literal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_TOKENS 24

static const literal_case cases[] = {
    {"My name is Soraya. I live in Lisbon. My favourite food is lasagna.", "Write a short bio."},
    {"name: Tamiko\njob: gardener\ncity: Ravenbrook", "Write an invitation to my birthday."},
};
#define N_CASES (sizeof cases / sizeof cases[0])

static costeer_model *llm, *slm;
static costeer_ensemble *ensemble;

static costeer_ensemble_params default_params(void)
{
    return (costeer_ensemble_params){.llm = llm,
                                     .slm = slm,
                                     .tuned = llm, /* a stand-in: another model with the SLM's vocabulary */
                                     .n_contexts = 1,
                                     .n_ctx = 512,
                                     .n_threads_llm = 1,
                                     .n_threads_slm = 1};
}

static costeer_ensemble *create(const costeer_ensemble_params *params)
{
    costeer_ensemble *out = NULL;
    costeer_error err = {0};
    assert_ok(costeer_ensemble_create(params, &out, &err), &err);
    return out;
}

static int set_up(void **state)
{
    (void)state;
    llm = load_model(LLM_PATH);
    slm = load_model(SLM_PATH);
    const costeer_ensemble_params params = default_params();
    ensemble = create(&params);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    costeer_ensemble_free(ensemble);
    costeer_model_free(slm);
    costeer_model_free(llm);
    return 0;
}

static void set_prompts(costeer_ensemble *of, const literal_case *it)
{
    costeer_error err = {0};
    const costeer_prompt with = {.context = it->context, .query = it->query};
    const costeer_ensemble_prompts prompts = {
        .plain = {.query = it->query}, .with = &with, .with_all = with, .max_tokens = MAX_TOKENS};
    assert_ok(costeer_ensemble_set_prompts(of, &prompts, &err), &err);
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

typedef struct answer {
    int32_t tokens[MAX_TOKENS];
    size_t n;
    costeer_report report;
} answer;

static const costeer_method *method(const char *name)
{
    const costeer_method *found = costeer_method_find(name);
    assert_non_null(found);
    return found;
}

static double weight_of(const char *name)
{
    double weight = NAN;
    assert_int_equal(costeer_method_compute_weight(method(name), NULL, &weight, NULL), COSTEER_OK);
    return weight;
}

static answer ask(costeer_ensemble *of, const char *name, double weight, double top_p)
{
    answer out = {.n = 0};
    costeer_error err = {0};
    costeer_ensemble_parts parts;
    assert_ok(costeer_ensemble_use(of, method(name), top_p, &parts, &err), &err);
    costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    params.strength = weight;
    params.max_tokens = MAX_TOKENS;
    params.gate.kind = method(name)->gate;
    params.chat = parts.chat;
    const costeer_vocab vocab = costeer_model_vocab(parts.model);
    costeer_session *session = NULL;
    assert_ok(costeer_session_create(parts.cloud, parts.deltas, &vocab, &params, &session, &err), &err);
    assert_ok(costeer_session_run(session, parts.prompt, parts.n_prompt, &out.report, &err), &err);
    const int32_t *tokens = costeer_session_tokens(session, &out.n);
    memcpy(out.tokens, tokens, out.n * sizeof *tokens);
    costeer_session_free(session);
    return out;
}

/* ---- the policies, written out ----------------------------------------------------------------------------------- */

static void copy_row(const double *row, const literal_rows *rows, double *scores)
{
    memcpy(scores, row, (size_t)rows->n_vocab * sizeof *scores);
}

static void only_llm(const literal_rows *rows, double weight, double *scores, void *user)
{
    (void)weight;
    (void)user;
    copy_row(rows->llm, rows, scores);
}

static void only_llm_with(const literal_rows *rows, double weight, double *scores, void *user)
{
    (void)weight;
    (void)user;
    copy_row(rows->llm_with, rows, scores);
}

static void only_slm(const literal_rows *rows, double weight, double *scores, void *user)
{
    (void)weight;
    (void)user;
    copy_row(rows->slm, rows, scores);
}

static void only_slm_with(const literal_rows *rows, double weight, double *scores, void *user)
{
    (void)weight;
    (void)user;
    copy_row(rows->slm_with, rows, scores);
}

/* The published update (arXiv 2507.04756) with base, delta: T steps of whole arrays. */
static void costeer_loop(const literal_rows *rows, int32_t T, double *p)
{
    const double alpha = 2, beta = 1, lambda = 2, eta = 10;
    static double u_sum[LITERAL_VOCAB_MAX];
    memset(u_sum, 0, sizeof u_sum);
    copy_row(rows->llm, rows, p);
    for (int32_t t = 1; t <= T; t++) {
        for (int32_t i = 0; i < rows->n_vocab; i++) {
            u_sum[i] += alpha * (p[i] - rows->llm[i]) + beta * (rows->slm_with[i] - rows->slm[i]);
            p[i] = (t * lambda * rows->llm[i] + u_sum[i] + p[i] / eta) / (t * lambda + 1 / eta);
        }
        literal_log_softmax(p, rows->n_vocab);
    }
}

static void costeer_policy(const literal_rows *rows, double weight, double *scores, void *user)
{
    (void)weight;
    (void)user;
    costeer_loop(rows, 20, scores);
}

static void light_policy(const literal_rows *rows, double weight, double *scores, void *user)
{
    (void)weight;
    (void)user;
    costeer_loop(rows, 1, scores);
}

typedef struct ada_state {
    int n_sure;
    bool is_off;
    int n_off;
} ada_state;

static void ada_policy(const literal_rows *rows, double weight, double *scores, void *user)
{
    (void)weight;
    ada_state *ada = user;
    double largest = -INFINITY;
    for (int32_t i = 0; i < rows->n_vocab; i++) {
        largest = fmax(largest, rows->llm[i]);
    }
    ada->n_sure = 1 - exp(largest) < 0.1 ? ada->n_sure + 1 : 0;
    ada->is_off = ada->is_off || ada->n_sure >= 3;
    ada->n_off += ada->is_off;
    if (ada->is_off) {
        copy_row(rows->llm, rows, scores);
    } else {
        costeer_loop(rows, 20, scores);
    }
}

static void context_steering(const literal_rows *rows, double weight, double *scores, void *user)
{
    (void)user;
    for (int32_t i = 0; i < rows->n_vocab; i++) {
        scores[i] = rows->llm_with[i] + weight * (rows->llm_with[i] - rows->llm[i]);
    }
}

/* The support by counting, for each token, how much probability is before it. */
static void linear_alignment(const literal_rows *rows, double weight, double *scores, void *user)
{
    const double top_p = *(const double *)user;
    const double *with = rows->llm_with;
    for (int32_t i = 0; i < rows->n_vocab; i++) {
        double before = 0;
        for (int32_t j = 0; j < rows->n_vocab; j++) {
            before += with[j] > with[i] || (with[j] == with[i] && j < i) ? exp(with[j]) : 0;
        }
        scores[i] = before < top_p ? with[i] + weight * (with[i] - rows->llm[i]) : -INFINITY;
    }
}

/* Amulet's own loop. */
static void amulet_policy(const literal_rows *rows, double weight, double *scores, void *user)
{
    (void)weight;
    (void)user;
    const double alpha = 2, lambda = 2, eta = 10;
    static double utilities[LITERAL_VOCAB_MAX];
    memset(utilities, 0, sizeof utilities);
    copy_row(rows->llm_with, rows, scores);
    for (int32_t t = 1; t <= 60; t++) {
        for (int32_t i = 0; i < rows->n_vocab; i++) {
            utilities[i] += alpha * (scores[i] - rows->llm[i]);
            scores[i] = (lambda * rows->llm_with[i] + utilities[i] / t + scores[i] / (eta * t)) / (lambda + 1 / (eta * t));
        }
        literal_log_softmax(scores, rows->n_vocab);
    }
}

static void proxy_tuning(const literal_rows *rows, double weight, double *scores, void *user)
{
    (void)user;
    for (int32_t i = 0; i < rows->n_vocab; i++) {
        scores[i] = rows->llm[i] + weight * (rows->tuned[i] - rows->slm[i]);
    }
}

/* ---- against the reference --------------------------------------------------------------------------------------- */

static void assert_literal(costeer_ensemble *of, const char *name, double weight, double top_p, literal_policy_fn policy,
                           void *user, size_t user_bytes)
{
    const literal_models models = {.llm = llm, .slm = slm, .tuned = llm};
    for (size_t i = 0; i < N_CASES; i++) {
        set_prompts(of, &cases[i]);
        const answer got = ask(of, name, weight, top_p);
        if (user != NULL && user_bytes > 0) {
            memset(user, 0, user_bytes);
        }
        literal_assert(name, &models, &cases[i], got.tokens, got.n, policy, weight, 1 + 2 * fabs(weight), user);
    }
}

static void test_ensemble__one_model_answers_as_it_does_alone(void **state)
{
    (void)state;
    assert_literal(ensemble, "llm", 0, 1, only_llm, NULL, 0);
    assert_literal(ensemble, "llm+context", 0, 1, only_llm_with, NULL, 0);
    assert_literal(ensemble, "slm", 0, 1, only_slm, NULL, 0);
    assert_literal(ensemble, "slm+context", 0, 1, only_slm_with, NULL, 0);
}

static void test_ensemble__costeer_is_its_loop(void **state)
{
    (void)state;
    assert_literal(ensemble, "costeer", weight_of("costeer"), 1, costeer_policy, NULL, 0);
    assert_literal(ensemble, "lightcosteer", weight_of("lightcosteer"), 1, light_policy, NULL, 0);
}

static void test_ensemble__adacosteer_ends_for_good_once_the_llm_is_sure(void **state)
{
    (void)state;
    ada_state ada = {0};
    assert_literal(ensemble, "adacosteer", weight_of("adacosteer"), 1, ada_policy, &ada, sizeof ada);
    assert_in_range(ada.n_off, 1, MAX_TOKENS);
}

static void test_ensemble__context_steering_at_minus_1_0_and_1(void **state)
{
    (void)state;
    assert_literal(ensemble, "context-steering", 1, 1, context_steering, NULL, 0);
    assert_literal(ensemble, "context-steering", -1, 1, only_llm, NULL, 0);
    assert_literal(ensemble, "context-steering", 0, 1, only_llm_with, NULL, 0);
}

static void test_ensemble__linear_alignment_stays_in_its_support(void **state)
{
    (void)state;
    double top_p = method("linear-alignment")->top_p;
    assert_literal(ensemble, "linear-alignment", 2, top_p, linear_alignment, &top_p, 0);
    top_p = 0.3;
    assert_literal(ensemble, "linear-alignment", 5, top_p, linear_alignment, &top_p, 0);
    top_p = 1e-9; /* one token: the base alone */
    assert_literal(ensemble, "linear-alignment", 50, top_p, only_llm_with, &top_p, 0);
    top_p = 1;
    assert_literal(ensemble, "linear-alignment", 2, top_p, context_steering, NULL, 0);
}

static void test_ensemble__amulet_is_its_loop(void **state)
{
    (void)state;
    assert_literal(ensemble, "amulet", weight_of("amulet"), 1, amulet_policy, NULL, 0);
}

static void test_ensemble__proxy_tuning_adds_what_tuning_changed(void **state)
{
    (void)state;
    assert_literal(ensemble, "proxy-tuning", weight_of("proxy-tuning"), 1, proxy_tuning, NULL, 0);
    assert_literal(ensemble, "proxy-tuning", 0, 1, only_llm, NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ensemble__one_model_answers_as_it_does_alone),
        cmocka_unit_test(test_ensemble__costeer_is_its_loop),
        cmocka_unit_test(test_ensemble__adacosteer_ends_for_good_once_the_llm_is_sure),
        cmocka_unit_test(test_ensemble__context_steering_at_minus_1_0_and_1),
        cmocka_unit_test(test_ensemble__linear_alignment_stays_in_its_support),
        cmocka_unit_test(test_ensemble__amulet_is_its_loop),
        cmocka_unit_test(test_ensemble__proxy_tuning_adds_what_tuning_changed),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
