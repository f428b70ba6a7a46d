/* The loop on the built-in pair: drafts change nothing about an answer, and without the cloud the SLM goes on with the context.
 */
#include "support/slm_support.h"

#include "util/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define N_TOKENS 32
#define N_DRAFTS 4

/* The LLM in this process, except that it asks for drafts, counts them, and fails where it is told to. */
static costeer_cloud_ops ops, local_ops;
static bool wants;
static int32_t n_drafts_seen;
static int32_t fails_at;

static int32_t wants_drafts(const costeer_cloud *cloud, int32_t position, int32_t token)
{
    (void)cloud;
    (void)position;
    (void)token;
    return wants ? N_DRAFTS : 0;
}

static costeer_err commit(costeer_cloud *cloud, int32_t position, int32_t token, const int32_t *drafts, int32_t n_drafts,
                          costeer_error *err)
{
    n_drafts_seen += n_drafts;
    return local_ops.commit(cloud, position, token, drafts, n_drafts, err);
}

static costeer_err next(costeer_cloud *cloud, int32_t position, costeer_distribution *out, costeer_error *err)
{
    return position == fails_at ? cs_error_set(err, COSTEER_ECLOUD, "test", "told to fail at %d", position)
                                : local_ops.next(cloud, position, out, err);
}

typedef struct answer {
    int32_t tokens[N_TOKENS];
    costeer_position positions[N_TOKENS];
    costeer_report report;
} answer;

static bool keep_position(const costeer_position *position, void *user)
{
    ((answer *)user)->positions[position->position] = *position;
    return true;
}

static answer generate(const costeer_model *llm_model, const costeer_tokens *amateur, const costeer_tokens *expert,
                       costeer_session_params params)
{
    costeer_error err = {0};
    costeer_cloud *llm = NULL;
    costeer_session *session = NULL;
    static answer out;
    memset(&out, 0, sizeof out);
    const costeer_local_params local_params = {.n_ctx = 512, .n_threads = 1};
    assert_ok(costeer_cloud_create_local(llm_model, &local_params, &llm, &err), &err);
    ops = local_ops = *llm->ops;
    ops.wants_drafts = wants_drafts;
    ops.commit = commit;
    ops.next = next;
    llm->ops = &ops;
    costeer_slm *slm = create_drafting(1, 512, N_DRAFTS);
    assert_ok(costeer_slm_set_prompts(slm, amateur, expert, N_TOKENS, &err), &err);
    params.max_tokens = N_TOKENS;
    params.details = true;
    params.on_position = keep_position;
    params.user = &out;
    const costeer_vocab vocab = costeer_model_vocab(llm_model);
    assert_ok(costeer_session_create(llm, costeer_slm_delta_source(slm), &vocab, &params, &session, &err), &err);
    assert_ok(costeer_session_run(session, amateur->ids, amateur->n, &out.report, &err), &err);
    size_t n;
    const int32_t *tokens = costeer_session_tokens(session, &n);
    memcpy(out.tokens, tokens, n * sizeof *tokens);
    costeer_session_free(session);
    costeer_slm_free(slm);
    costeer_cloud_free(llm);
    return out;
}

/* Where batches of other shapes round otherwise, the answers may part at a tie of the two best. */
static bool is_tie(const costeer_position *at)
{
    return at->best_after_logprob[0] - at->best_after_logprob[1] < 8.0 * (double)LOGIT_TOLERANCE;
}

static bool assert_same_answer(const answer *a, const answer *b)
{
    for (int32_t i = 0; i < a->report.n_tokens; i++) {
        if (a->tokens[i] != b->tokens[i]) {
            assert_true(is_tie(&a->positions[i]));
            return false;
        }
    }
    assert_int_equal(a->report.n_tokens, b->report.n_tokens);
    return true;
}

static void test_device__drafts_change_nothing_about_the_answer(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"My name is Soraya. I live in Lisbon. My favourite food is lasagna.", "Write a short bio."},
        {"name: Tamiko\njob: gardener\ncity: Ravenbrook", "Write an invitation to my birthday."},
        {"My dog is called Rex and my sister is called Ilka.", "Write a diary entry."}};
    costeer_model *llm_model = load_model(LLM_PATH);
    int n_parted = 0;
    fails_at = -1;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        costeer_tokens amateur = build_prompt(model, NULL, cases[i][1]), expert = build_prompt(model, cases[i][0], cases[i][1]);
        costeer_session_params params = COSTEER_SESSION_DEFAULTS;
        params.strength = 1.0;
        wants = false;
        const answer plain = generate(llm_model, &amateur, &expert, params);
        wants = true;
        n_drafts_seen = 0;
        const answer public_drafts = generate(llm_model, &amateur, &expert, params);
        n_parted += !assert_same_answer(&plain, &public_drafts);
        assert_true(n_drafts_seen > N_TOKENS);
        params.private_drafts = true;
        params.draft_confidence = 0.5;
        n_drafts_seen = 0;
        const answer private_drafts = generate(llm_model, &amateur, &expert, params);
        n_parted += !assert_same_answer(&plain, &private_drafts);
        assert_true(n_drafts_seen > 0);
        costeer_tokens_dispose(&amateur);
        costeer_tokens_dispose(&expert);
    }
    assert_true(n_parted <= 2);
    costeer_model_free(llm_model);
}

static void test_device__without_the_cloud_the_slm_goes_on_with_the_context(void **state)
{
    (void)state;
    costeer_model *llm_model = load_model(LLM_PATH);
    costeer_tokens amateur = build_prompt(model, NULL, "Write a short bio.");
    costeer_tokens expert = build_prompt(model, "My name is Soraya. I live in Lisbon.", "Write a short bio.");
    costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    params.on_cloud_failure = COSTEER_CLOUD_FAILURE_LOCAL;
    wants = true;
    for (fails_at = 0; fails_at < 12; fails_at += 5) {
        const answer got = generate(llm_model, &amateur, &expert, params);
        assert_int_equal(got.report.n_local, got.report.n_tokens - fails_at);
        assert_int_equal(got.report.cloud_status, COSTEER_ECLOUD);
        costeer_slm *slm = create_slm(1, 512);
        begin(slm, &amateur, &expert);
        costeer_delta_source *source = costeer_slm_delta_source(slm);
        for (int32_t i = 0; i < got.report.n_tokens; i++) {
            costeer_delta delta = {0};
            source->ops->read(source, &delta, 1);
            assert_int_equal(got.positions[i].is_local, i >= fails_at);
            assert_true(i < fails_at ||
                        delta.expert[got.tokens[i]] >= delta.expert[argmax(delta.expert)] - 2.0F * LOGIT_TOLERANCE);
            step(slm, got.tokens[i]);
        }
        costeer_slm_free(slm);
    }
    costeer_tokens_dispose(&amateur);
    costeer_tokens_dispose(&expert);
    costeer_model_free(llm_model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_device__drafts_change_nothing_about_the_answer),
        cmocka_unit_test(test_device__without_the_cloud_the_slm_goes_on_with_the_context),
    };
    return cmocka_run_group_tests(tests, load_slm, free_slm);
}
