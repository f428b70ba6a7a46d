/*
 * Several contexts on the built-in pair, one of them with a negative weight: what it says is avoided, and what the other one says
 * comes through, in whatever way the answer is made. Facts are whole words, far from any tie.
 */
#include "support/models.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_TOKENS 128

static const struct {
    const char *query;
    const char *context;
    const char *avoid; /* a part of it */
    const char *avoided;
    const char *kept[4];
} cases[] = {
    {"Help me apologise to my neighbour.",
     "Our house is on Helsinki. I work as a plasterer. My favourite drink is buttermilk. I am learning the zither. We live in "
     "Gothenburg. The food I like best is ceviche. I am Desmond. My pet is Juniper. The neighbour is called Philippa. My "
     "favourite "
     "flowers are anemones.",
     "I am Desmond",
     "Desmond",
     {"Philippa", "zither", "Juniper", "ceviche"}},
    {"Can you write a brief bio.",
     "* The workplace is Larkspur.\n* The Job is cartographer.\n* city = Lisbon\n* My name = Camila\n* My hobby is "
     "gymnastics.\n* In "
     "summer I go to Budapest.\n* I have a sister named Casimir.\n* I am married to Jolanda.",
     "* My hobby is gymnastics",
     "gymnastics",
     {"Camila", "cartographer", "Larkspur", "Lisbon"}},
};
#define N_CASES (sizeof cases / sizeof cases[0])

typedef struct pair {
    costeer_model *llm_model, *slm_model;
    costeer_cloud *llm;
    costeer_slm *slm;
} pair;

static pair it;

/* The local cloud, which fails or wants drafts when a test likes. */
static costeer_cloud_ops ops;
static costeer_cloud_ops real_ops;
static int32_t fails_at;
static int32_t n_wanted;

static costeer_err next(costeer_cloud *cloud, int32_t position, costeer_distribution *out, costeer_error *err)
{
    if (position == fails_at) {
        *err = (costeer_error){.code = COSTEER_ECLOUD};
        return COSTEER_ECLOUD;
    }
    return real_ops.next(cloud, position, out, err);
}

static int32_t wants_drafts(const costeer_cloud *cloud, int32_t position, int32_t token)
{
    (void)cloud;
    (void)position;
    (void)token;
    return n_wanted;
}

static int load_pair(void **state)
{
    (void)state;
    costeer_error err = {0};
    it.llm_model = load_model(LLM_PATH);
    it.slm_model = load_model(SLM_PATH);
    const costeer_local_params local_params = {.n_ctx = 512, .n_threads = 1};
    assert_ok(costeer_cloud_create_local(it.llm_model, &local_params, &it.llm, &err), &err);
    real_ops = *it.llm->ops;
    ops = real_ops;
    ops.next = next;
    ops.wants_drafts = wants_drafts;
    it.llm->ops = &ops;
    const costeer_slm_params params = {.n_contexts = 2, .n_ctx = 512, .n_threads = 1, .n_drafts = 4};
    assert_ok(costeer_slm_create(it.slm_model, &params, &it.slm, &err), &err);
    return 0;
}

static int free_pair(void **state)
{
    (void)state;
    costeer_slm_free(it.slm);
    costeer_cloud_free(it.llm);
    costeer_model_free(it.slm_model);
    costeer_model_free(it.llm_model);
    return 0;
}

static int reset_cloud(void **state)
{
    (void)state;
    fails_at = -1;
    n_wanted = 0;
    return 0;
}

/* ---- an answer --------------------------------------------------------------------------------------------------- */

typedef struct answer {
    char text[4096];
    size_t n;
    costeer_report report;
} answer;

static bool on_text(const char *text, size_t n, void *user)
{
    answer *out = user;
    assert_true(out->n + n < sizeof out->text);
    memcpy(out->text + out->n, text, n);
    out->n += n;
    return true;
}

static answer generate(size_t i, costeer_session_params params, const double weights[2])
{
    costeer_error err = {0};
    answer out = {.n = 0};
    costeer_tokens amateur = build_prompt(it.slm_model, NULL, cases[i].query);
    costeer_tokens experts[2] = {build_prompt(it.slm_model, cases[i].context, cases[i].query),
                                 build_prompt(it.slm_model, cases[i].avoid, cases[i].query)};
    assert_ok(costeer_slm_set_prompts(it.slm, &amateur, experts, MAX_TOKENS, &err), &err);
    params.max_tokens = MAX_TOKENS;
    params.strength = 1.0;
    params.context_weights = weights;
    params.on_text = on_text;
    params.user = &out;
    const costeer_vocab vocab = costeer_model_vocab(it.llm_model);
    costeer_session *session = NULL;
    assert_ok(costeer_session_create(it.llm, costeer_slm_delta_source(it.slm), &vocab, &params, &session, &err), &err);
    assert_ok(costeer_session_run(session, amateur.ids, amateur.n, &out.report, &err), &err);
    costeer_session_free(session);
    costeer_tokens_dispose(&amateur);
    costeer_tokens_dispose(&experts[0]);
    costeer_tokens_dispose(&experts[1]);
    return out;
}

static int32_t count_kept(size_t i, const answer *got)
{
    int32_t n = 0;
    for (size_t k = 0; k < 4; k++) {
        n += strstr(got->text, cases[i].kept[k]) != NULL;
    }
    return n;
}

/* With weight 0 the second context has no say; with −1 what it says is gone, and at least `n_kept` other facts are there. */
static void assert_avoids(costeer_session_params params, int32_t n_kept)
{
    static const double follow[2] = {1.0, 0.0}, avoid[2] = {1.0, -1.0};
    for (size_t i = 0; i < N_CASES; i++) {
        const answer followed = generate(i, params, follow);
        assert_non_null(strstr(followed.text, cases[i].avoided));
        const answer got = generate(i, params, avoid);
        if (strstr(got.text, cases[i].avoided) != NULL || count_kept(i, &got) < n_kept) {
            fail_msg("case %zu: %s", i, got.text);
        }
    }
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static void test_contexts__a_negative_weight_avoids_what_the_context_says(void **state)
{
    (void)state;
    assert_avoids(COSTEER_SESSION_DEFAULTS, 4);
}

static void test_contexts__so_it_does_over_a_sparse_base(void **state)
{
    (void)state;
    costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    params.base_top_k = 16;
    assert_avoids(params, 4);
}

static void test_contexts__so_it_does_with_private_drafts(void **state)
{
    (void)state;
    costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    params.private_drafts = true;
    params.draft_confidence = 0.5;
    n_wanted = 4;
    assert_avoids(params, 4);
}

static void test_contexts__so_it_does_where_the_slm_catches_up(void **state)
{
    (void)state;
    costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    params.gate = (costeer_gate_params){.kind = COSTEER_GATE_TOKEN, .threshold = 0.02};
    assert_avoids(params, 3);
}

static void test_contexts__so_it_does_when_the_slm_goes_on_alone(void **state)
{
    (void)state;
    costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    params.on_cloud_failure = COSTEER_CLOUD_FAILURE_LOCAL;
    fails_at = 3;
    assert_avoids(params, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_contexts__a_negative_weight_avoids_what_the_context_says, reset_cloud),
        cmocka_unit_test_setup(test_contexts__so_it_does_over_a_sparse_base, reset_cloud),
        cmocka_unit_test_setup(test_contexts__so_it_does_with_private_drafts, reset_cloud),
        cmocka_unit_test_setup(test_contexts__so_it_does_where_the_slm_catches_up, reset_cloud),
        cmocka_unit_test_setup(test_contexts__so_it_does_when_the_slm_goes_on_alone, reset_cloud),
    };
    return cmocka_run_group_tests(tests, load_pair, free_pair);
}
