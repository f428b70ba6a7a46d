/*
 * Gates across a network: a real node in this process, every mode, and the answer of the cloud in this process.
 *
 * Batches of another size change the last bits of all logits: where the best two scores, or the LLM's doubt and the threshold,
 * are that near to each other in one of the runs, either may win.
 */
#include "support/node_thread.h"
#include "support/slm_support.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_TOKENS 64
#define TIMEOUT_MS 600000 /* no test waits for it */

static const struct {
    const char *context;
    const char *query;
} cases[] = {
    {"My name is Soraya. I live in Lisbon. My favourite food is lasagna.", "Write a short bio."},
    {"name: Tamiko\njob: gardener\ncity: Ravenbrook", "Write an invitation to my birthday."},
    {"My neighbour is called Philippa. My hobby is the zither.", "Help me apologise to my neighbour."},
};
#define N_CASES (sizeof cases / sizeof cases[0])

static costeer_model *llm;
static costeer_slm *slm;
static costeer_cloud *local;
static node_thread *node;

static int set_up(void **state)
{
    costeer_error err = {0};
    (void)load_slm(state);
    llm = load_model(LLM_PATH);
    const costeer_local_params local_params = {.n_ctx = 512, .n_threads = 1};
    assert_ok(costeer_cloud_create_local(llm, &local_params, &local, &err), &err);
    slm = create_drafting(1, 512, 4);
    costeer_node_params params = COSTEER_NODE_DEFAULTS;
    params.port = 0;
    params.max_context = 512;
    params.drain_timeout_ms = 100;
    node = node_thread_start(llm, &params);
    return 0;
}

static int tear_down(void **state)
{
    node_thread_stop(node);
    costeer_slm_free(slm);
    costeer_cloud_free(local);
    costeer_model_free(llm);
    return free_slm(state);
}

static costeer_cloud *connect_mode(costeer_cloud_mode mode, bool half)
{
    char url[64];
    costeer_error err = {0};
    costeer_cloud *cloud = NULL;
    (void)snprintf(url, sizeof url, "ws://127.0.0.1:%d", node_thread_port(node));
    costeer_native_params params = COSTEER_NATIVE_DEFAULTS;
    params.url = url;
    params.timeout_ms = TIMEOUT_MS;
    params.mode = mode;
    params.n_drafts = 4;
    params.half = half;
    assert_ok(costeer_cloud_create_native(model, &params, NULL, &cloud, &err), &err);
    return cloud;
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

typedef struct answer {
    double threshold; /* of the gate */
    int32_t tokens[MAX_TOKENS];
    bool gated[MAX_TOKENS];
    double margin[MAX_TOKENS]; /* between the best two scores, or from the threshold when that is nearer */
    int32_t n;
    costeer_report report;
} answer;

static bool note_position(const costeer_position *position, void *user)
{
    answer *out = user;
    const int32_t p = position->position;
    const double best_two = position->n_best > 1 ? position->best_after_logprob[0] - position->best_after_logprob[1] : INFINITY;
    const double to_threshold = fabs(1.0 - exp(position->best_before_logprob[0]) - out->threshold);
    out->gated[p] = position->gated;
    out->margin[p] = fmin(best_two, to_threshold);
    return true;
}

static answer ask(costeer_cloud *cloud, size_t i, costeer_session_params params)
{
    answer out = {.threshold = params.gate.threshold};
    costeer_error err = {0};
    costeer_tokens amateur = build_prompt(model, NULL, cases[i].query);
    costeer_tokens expert = build_prompt(model, cases[i].context, cases[i].query);
    assert_ok(costeer_slm_set_prompts(slm, &amateur, &expert, MAX_TOKENS, &err), &err);
    params.max_tokens = MAX_TOKENS;
    params.details = true;
    params.on_position = note_position;
    params.user = &out;
    const costeer_vocab vocab = costeer_model_vocab(model);
    costeer_session *session = NULL;
    assert_ok(costeer_session_create(cloud, costeer_slm_delta_source(slm), &vocab, &params, &session, &err), &err);
    assert_ok(costeer_session_run(session, amateur.ids, amateur.n, &out.report, &err), &err);
    size_t n;
    const int32_t *tokens = costeer_session_tokens(session, &n);
    memcpy(out.tokens, tokens, n * sizeof *tokens);
    out.n = (int32_t)n;
    costeer_session_free(session);
    costeer_tokens_dispose(&amateur);
    costeer_tokens_dispose(&expert);
    return out;
}

/* What rounding may move: the SLM's logits, two of expert and amateur each, times the strength; the LLM's by far less. */
#define NEAR_TIE (4.0 * (double)LOGIT_TOLERANCE * COSTEER_SESSION_DEFAULTS.strength)

/* Returns how many of the positions agree: all, or those before a near tie. */
static int32_t agree(const answer *a, const answer *b, const char *mode)
{
    for (int32_t p = 0; p < a->n && p < b->n; p++) {
        if (a->tokens[p] != b->tokens[p] || a->gated[p] != b->gated[p]) {
            const double margin = fmin(a->margin[p], b->margin[p]);
            if (margin >= NEAR_TIE) {
                fail_msg("%s: position %d differs, where the margin is %g", mode, p, margin);
            }
            print_message("%s: position %d differs, where the margin is %g\n", mode, p, margin);
            return p;
        }
    }
    assert_int_equal(a->n, b->n);
    return a->n;
}

static void assert_every_mode_agrees(const costeer_gate_params *gate)
{
    static const struct {
        const char *name;
        costeer_cloud_mode mode;
        bool half;
        bool private_drafts;
    } modes[] = {
        {"lockstep", COSTEER_MODE_LOCKSTEP, false, false}, {"lockstep, half", COSTEER_MODE_LOCKSTEP, true, false},
        {"streamed", COSTEER_MODE_STREAMED, false, false}, {"streamed, half", COSTEER_MODE_STREAMED, true, false},
        {"drafted", COSTEER_MODE_DRAFTED, false, false},   {"drafted, private", COSTEER_MODE_DRAFTED, false, true},
    };
    int32_t n_agreed = 0, n_tokens = 0, n_gated = 0;
    for (size_t m = 0; m < sizeof modes / sizeof modes[0]; m++) {
        costeer_cloud *cloud = connect_mode(modes[m].mode, modes[m].half);
        for (size_t i = 0; i < N_CASES; i++) {
            costeer_session_params params = COSTEER_SESSION_DEFAULTS;
            params.gate = *gate;
            const answer expected = ask(local, i, params); /* dense */
            params.base_top_k = 64;
            params.private_drafts = modes[m].private_drafts;
            params.draft_confidence = 0.5;
            const answer got = ask(cloud, i, params);
            n_agreed += agree(&expected, &got, modes[m].name);
            n_tokens += expected.n;
            n_gated += got.report.n_gated;
            assert_int_equal(got.report.n_certified, got.n);
        }
        costeer_cloud_free(cloud);
    }
    print_message("%d of %d positions compared, %d gated\n", n_agreed, n_tokens, n_gated);
    assert_true(n_agreed > n_tokens / 2);
    assert_true(n_gated > n_tokens / 4 && n_gated < n_tokens);
}

static void test_gate__by_token_every_mode_gives_the_answer_of_the_cloud_in_this_process(void **state)
{
    (void)state;
    assert_every_mode_agrees(&(costeer_gate_params){.kind = COSTEER_GATE_TOKEN, .threshold = 0.1});
}

static void test_gate__ada_every_mode_gives_the_answer_of_the_cloud_in_this_process(void **state)
{
    (void)state;
    assert_every_mode_agrees(&(costeer_gate_params){.kind = COSTEER_GATE_ADA, .threshold = 0.1, .patience = 6});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gate__by_token_every_mode_gives_the_answer_of_the_cloud_in_this_process),
        cmocka_unit_test(test_gate__ada_every_mode_gives_the_answer_of_the_cloud_in_this_process),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
