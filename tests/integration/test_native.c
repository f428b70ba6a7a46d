/* The device's side of a cloud node, against a real node in this process: every mode gives the answer of the cloud in this
 * process. */
#include "net/proxy.h"
#include "support/node_thread.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PROMPTS_PATH COSTEER_TEST_MODELS_DIR "/eval/prompts.jsonl"
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define MAX_TOKENS 24
#define N_PROMPTS  4 /* what sanitizers look for shows in a few; all 50 would take them many minutes */
#else
#define MAX_TOKENS 60
#define N_PROMPTS  50
#endif
#define TIMEOUT_MS 600000 /* no test waits for it */

/* ---- the pair, a node, and answers -------------------------------------------------------------------------------- */

static costeer_model *llm, *slm_model;
static costeer_slm *slm;
static costeer_cloud *local;
static node_thread *node;

static int set_up(void **state)
{
    (void)state;
    costeer_error err = {0};
    llm = load_model(LLM_PATH);
    slm_model = load_model(SLM_PATH);
    const costeer_local_params local_params = {.n_ctx = 512, .n_threads = 1};
    assert_ok(costeer_cloud_create_local(llm, &local_params, &local, &err), &err);
    const costeer_slm_params slm_params = {.n_contexts = 1, .n_ctx = 512, .n_threads = 1, .n_drafts = 4};
    assert_ok(costeer_slm_create(slm_model, &slm_params, &slm, &err), &err);
    costeer_node_params params = COSTEER_NODE_DEFAULTS;
    params.port = 0;
    params.max_context = 512;
    params.drain_timeout_ms = 100;
    node = node_thread_start(llm, &params);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    node_thread_stop(node);
    costeer_slm_free(slm);
    costeer_cloud_free(local);
    costeer_model_free(slm_model);
    costeer_model_free(llm);
    return 0;
}

static costeer_native_params to_port(int port)
{
    static char url[64];
    (void)snprintf(url, sizeof url, "ws://127.0.0.1:%d", port);
    costeer_native_params params = COSTEER_NATIVE_DEFAULTS;
    params.url = url;
    params.timeout_ms = TIMEOUT_MS;
    return params;
}

static costeer_cloud *connect_with(const costeer_native_params *params)
{
    costeer_cloud *cloud = NULL;
    costeer_error err = {0};
    assert_ok(costeer_cloud_create_native(slm_model, params, NULL, &cloud, &err), &err);
    return cloud;
}

static costeer_cloud *connect_mode(costeer_cloud_mode mode)
{
    costeer_native_params params = to_port(node_thread_port(node));
    params.mode = mode;
    return connect_with(&params);
}

typedef struct answer {
    int32_t tokens[MAX_TOKENS];
    int32_t n;
    double margin[MAX_TOKENS]; /* between the two best policy scores */
    costeer_report report;
    costeer_cloud_stats stats;
} answer;

typedef struct watch {
    answer *out;
    void (*at)(int32_t position);
} watch;

static bool on_position(const costeer_position *position, void *user)
{
    const watch *it = user;
    it->out->margin[position->position] =
        position->n_best > 1 ? position->best_after_logprob[0] - position->best_after_logprob[1] : INFINITY;
    if (it->at != NULL) {
        it->at(position->position);
    }
    return true;
}

static costeer_session_params greedy(void)
{
    costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    params.max_tokens = MAX_TOKENS;
    params.base_top_k = 64;
    params.details = true;
    return params;
}

/* One answer. `at` may be NULL. */
static answer ask(costeer_cloud *cloud, const char *query, const char *context, costeer_session_params params,
                  void (*at)(int32_t position))
{
    answer out = {.n = 0};
    watch it = {.out = &out, .at = at};
    costeer_error err = {0};
    costeer_tokens amateur = build_prompt(slm_model, NULL, query);
    costeer_tokens expert = build_prompt(slm_model, context, query);
    assert_ok(costeer_slm_set_prompts(slm, &amateur, &expert, params.max_tokens, &err), &err);
    params.on_position = on_position;
    params.user = &it;
    const costeer_vocab vocab = costeer_model_vocab(slm_model);
    costeer_session *session = NULL;
    assert_ok(costeer_session_create(cloud, costeer_slm_delta_source(slm), &vocab, &params, &session, &err), &err);
    assert_ok(costeer_session_run(session, amateur.ids, amateur.n, &out.report, &err), &err);
    size_t n;
    const int32_t *tokens = costeer_session_tokens(session, &n);
    memcpy(out.tokens, tokens, n * sizeof *tokens);
    out.n = (int32_t)n;
    costeer_cloud_read_stats(cloud, &out.stats);
    costeer_session_free(session);
    costeer_tokens_dispose(&amateur);
    costeer_tokens_dispose(&expert);
    return out;
}

static const char *const query = "Write a short bio.";
static const char *const context = "My name is Soraya. I live in Lisbon. My favourite food is lasagna. I work as a plasterer.";

/* ---- the same answer ---------------------------------------------------------------------------------------------- */

/* Batches of another size change the last bits of every logit, of the LLM and of the SLM, whose deltas the strength multiplies;
 * where the best two scores are that close in one of the runs, either may win. */
#define TIE 2e-3

/* Returns whether the answers differ, which they may at a tie. */
static bool differ(const answer *a, const answer *b, const char *what)
{
    for (int32_t i = 0; i < a->n && i < b->n; i++) {
        if (a->tokens[i] != b->tokens[i]) {
            const double margin = fmin(a->margin[i], b->margin[i]);
            if (margin >= TIE) {
                fail_msg("%s: another token at position %d, where the best two are %g apart", what, i, margin);
            }
            print_message("%s: another token at position %d, where the best two are %g apart\n", what, i, margin);
            return true;
        }
    }
    assert_int_equal(a->n, b->n);
    return false;
}

static const struct {
    const char *name;
    costeer_cloud_mode mode;
    bool drafts_with_corrections, private_drafts, half;
} modes[] = {{"lockstep", COSTEER_MODE_LOCKSTEP, false, false, false},
             {"streamed", COSTEER_MODE_STREAMED, false, false, false},
             {"drafted", COSTEER_MODE_DRAFTED, false, false, false},
             {"drafted, private", COSTEER_MODE_DRAFTED, false, true, false},
             {"streamed, private", COSTEER_MODE_STREAMED, true, true, false},
             {"streamed, half", COSTEER_MODE_STREAMED, false, false, true}};
#define N_MODES (sizeof modes / sizeof modes[0])

static costeer_cloud *connect_nth(size_t m)
{
    costeer_native_params params = to_port(node_thread_port(node));
    params.mode = modes[m].mode;
    params.drafts_with_corrections = modes[m].drafts_with_corrections;
    params.half = modes[m].half;
    return connect_with(&params);
}

static void test_native__every_mode_gives_the_answer_of_the_cloud_in_this_process(void **state)
{
    (void)state;
    FILE *file = fopen(PROMPTS_PATH, "r");
    assert_non_null(file);
    costeer_cloud *clouds[N_MODES];
    int64_t n_up[N_MODES] = {0}, n_down[N_MODES] = {0}, n_tokens = 0;
    int n_different = 0, n_deepened[N_MODES] = {0};
    for (size_t m = 0; m < N_MODES; m++) {
        clouds[m] = connect_nth(m);
    }
    for (int i = 0; i < N_PROMPTS; i++) {
        json_t *prompt = json_loadf(file, JSON_DISABLE_EOF_CHECK, NULL);
        assert_non_null(prompt);
        const char *q = json_string_value(json_object_get(prompt, "query"));
        const char *c = json_string_value(json_object_get(prompt, "context"));
        const answer expected = ask(local, q, c, greedy(), NULL);
        n_tokens += expected.n;
        for (size_t m = 0; m < N_MODES; m++) {
            costeer_session_params params = greedy();
            params.private_drafts = modes[m].private_drafts;
            params.draft_confidence = 0.9;
            const answer got = ask(clouds[m], q, c, params, NULL);
            n_different += differ(&expected, &got, modes[m].name);
            assert_int_equal(got.report.n_local, 0);
            n_deepened[m] += got.stats.n_deepenings;
            n_up[m] += (int64_t)got.stats.bytes_up;
            n_down[m] += (int64_t)got.stats.bytes_down;
        }
        json_decref(prompt);
    }
    (void)fclose(file);
    for (size_t m = 0; m < N_MODES; m++) {
        print_message("%s: %.1f bytes up, %.1f down per token, %.3f deepenings\n", modes[m].name,
                      (double)n_up[m] / (double)n_tokens, (double)n_down[m] / (double)n_tokens, n_deepened[m] / (double)n_tokens);
        assert_true(n_up[m] <= 16 * n_tokens);
        costeer_cloud_free(clouds[m]);
    }
    print_message("%d of %zu answers differ at a tie\n", n_different, N_MODES * N_PROMPTS);
}

static void assert_same(const answer *expected, const answer *got)
{
    (void)differ(expected, got, "answer");
}

static void test_native__sampled_and_seeded_lockstep_and_streamed_draw_the_same_tokens(void **state)
{
    (void)state;
    costeer_session_params params = greedy();
    params.sampler.temperature = 0.9F;
    params.sampler.seed = 7;
    costeer_cloud *lockstep = connect_mode(COSTEER_MODE_LOCKSTEP);
    costeer_cloud *streamed = connect_mode(COSTEER_MODE_STREAMED);
    const answer a = ask(lockstep, query, context, params, NULL);
    const answer b = ask(streamed, query, context, params, NULL);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.tokens, b.tokens, (size_t)a.n * sizeof a.tokens[0]);
    params.sampler.seed = 8;
    const answer c = ask(streamed, query, context, params, NULL);
    assert_true(c.n != a.n || memcmp(a.tokens, c.tokens, (size_t)a.n * sizeof a.tokens[0]) != 0);
    costeer_cloud_free(lockstep);
    costeer_cloud_free(streamed);
}

/* A base of four entries is too little at many positions; the deeper ones come from memory, then from a new computation. */
static void test_native__deepening_gives_the_answer_of_the_whole_base(void **state)
{
    (void)state;
    costeer_session_params params = greedy();
    params.base_top_k = 0;
    const answer expected = ask(local, query, context, params, NULL);
    params.base_top_k = 2;
    for (size_t m = 0; m < N_MODES; m++) {
        costeer_cloud *cloud = connect_nth(m);
        params.private_drafts = modes[m].private_drafts;
        const answer got = ask(cloud, query, context, params, NULL);
        assert_same(&expected, &got);
        assert_true(got.report.n_deepened > 0);
        assert_true(got.stats.n_deepenings >= got.report.n_deepened);
        costeer_cloud_free(cloud);
    }
}

static void test_native__dense_and_half_bases_give_the_same_answer(void **state)
{
    (void)state;
    const answer expected = ask(local, query, context, greedy(), NULL);
    costeer_session_params params = greedy();
    params.base_top_k = 0;
    costeer_cloud *dense_cloud = connect_mode(COSTEER_MODE_STREAMED);
    const answer dense = ask(dense_cloud, query, context, params, NULL);
    assert_same(&expected, &dense);
    costeer_cloud_free(dense_cloud);
    costeer_native_params half_params = to_port(node_thread_port(node));
    half_params.half = true;
    costeer_cloud *cloud = connect_with(&half_params);
    const answer half = ask(cloud, query, context, greedy(), NULL);
    assert_same(&expected, &half);
    costeer_cloud_free(cloud);
}

/* In lockstep nothing is computed in vain, so the bytes are those of the frames: K = 64, deepenings left out. */
static void test_native__a_position_costs_few_bytes(void **state)
{
    (void)state;
    costeer_session_params params = greedy();
    params.constant_k = true;
    for (int half = 0; half < 2; half++) {
        costeer_native_params native = to_port(node_thread_port(node));
        native.mode = COSTEER_MODE_LOCKSTEP;
        native.half = half == 1;
        costeer_cloud *cloud = connect_with(&native);
        const answer got = ask(cloud, query, context, params, NULL);
        assert_true(got.n >= 20);
        assert_true(got.stats.bytes_down <= (uint64_t)got.n * (half == 1 ? 300 : 450));
        assert_true(got.stats.n_corrections > 0);
        costeer_cloud_free(cloud);
    }
}

/* ---- audit --------------------------------------------------------------------------------------------------------- */

typedef struct ledger {
    char kinds[65536]; /* "connect ping open commit …" */
    int64_t message_bytes, frame_bytes;
    int n_tokens; /* of corrections and drafts */
    int n_answer; /* of the answer's line */
    bool refuse;
} ledger;

static bool enter(const char *line, size_t n, void *user)
{
    ledger *it = user;
    if (it->refuse) {
        return false;
    }
    json_t *entry = json_loadb(line, n, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(entry);
    assert_null(memchr(line, '\n', n));
    const char *kind = json_string_value(json_object_get(entry, "kind"));
    const size_t used = strlen(it->kinds);
    assert_true(used + strlen(kind) + 2 < sizeof it->kinds);
    (void)snprintf(it->kinds + used, sizeof it->kinds - used, "%s ", kind);
    if (strcmp(kind, "open") == 0) { /* statistics are counted from here on */
        it->message_bytes = it->frame_bytes = 0;
    } else if (strcmp(kind, "answer") == 0) {
        it->n_answer += (int)json_array_size(json_object_get(entry, "tokens"));
    } else {
        it->n_tokens += (int)json_array_size(json_object_get(entry, "tokens"));
    }
    it->message_bytes += json_integer_value(json_object_get(entry, "message_bytes"));
    it->frame_bytes += json_integer_value(json_object_get(entry, "bytes"));
    assert_true(json_is_string(json_object_get(entry, "text")));
    assert_true(json_is_null(json_object_get(entry, "position")) || json_is_integer(json_object_get(entry, "position")));
    json_decref(entry);
    return true;
}

static void test_native__the_audit_accounts_for_every_byte(void **state)
{
    (void)state;
    for (size_t m = 0; m < N_MODES; m++) {
        static ledger it;
        it = (ledger){.n_tokens = 0};
        costeer_native_params native = to_port(node_thread_port(node));
        native.mode = modes[m].mode;
        native.drafts_with_corrections = modes[m].drafts_with_corrections;
        native.audit = enter;
        native.audit_user = &it;
        costeer_cloud *cloud = connect_with(&native);
        costeer_session_params params = greedy();
        params.private_drafts = modes[m].private_drafts;
        params.draft_confidence = 0.5;
        const answer got = ask(cloud, query, context, params, NULL);
        assert_true(strncmp(it.kinds, "connect ping open ", 18) == 0);
        assert_non_null(strstr(it.kinds, "close"));
        assert_int_equal(it.message_bytes, got.stats.bytes_up);
        assert_true(it.n_answer == got.n || it.n_answer == got.n - 1); /* the node need not hear of the last one */
        assert_true(it.frame_bytes + INT64_C(6) * got.stats.n_messages_up <= it.message_bytes);
        assert_int_equal(it.n_tokens, got.stats.n_corrections + got.stats.n_drafts_sent);
        assert_true(got.stats.n_withdrawn <= got.stats.n_drafts_sent);
        assert_int_equal(got.stats.n_tokens_sent - got.stats.n_withdrawn <= got.n, 1);
        assert_int_equal(modes[m].mode == COSTEER_MODE_DRAFTED, strstr(it.kinds, "draft") != NULL && m != 4);
        assert_true(got.stats.n_steps >= got.n);
        assert_true(got.stats.round_trip_us > 0);
        costeer_cloud_free(cloud);
    }
}

static void test_native__nothing_is_sent_that_the_audit_refuses(void **state)
{
    (void)state;
    static ledger it;
    it = (ledger){.n_tokens = 0};
    costeer_native_params native = to_port(node_thread_port(node));
    native.audit = enter;
    native.audit_user = &it;
    costeer_cloud *cloud = connect_with(&native);
    it.refuse = true;
    const int32_t prompt[] = {300};
    const costeer_cloud_request request = {.prompt = prompt, .n_prompt = 1, .top_k = 4, .max_tokens = 4};
    costeer_error err = {0};
    assert_int_equal(costeer_cloud_open(cloud, &request, &err), COSTEER_EABORTED);
    costeer_cloud_stats stats;
    costeer_cloud_read_stats(cloud, &stats);
    assert_int_equal(stats.bytes_up, 0);
    costeer_cloud_free(cloud);
}

/* ---- losses -------------------------------------------------------------------------------------------------------- */

static net_proxy *proxy;

static void cut_sometimes(int32_t position)
{
    if (position % 7 == 3) {
        net_proxy_cut(proxy, false);
    }
}

static void test_native__cut_again_and_again_the_answer_is_the_same(void **state)
{
    (void)state;
    const answer expected = ask(local, query, context, greedy(), NULL);
    for (size_t m = 0; m < N_MODES; m++) {
        const net_proxy_params path = {
            .target_host = "127.0.0.1", .target_port = node_thread_port(node), .up = NET_PATH_CLEAN, .down = NET_PATH_CLEAN};
        proxy = net_proxy_start(&path);
        assert_non_null(proxy);
        costeer_native_params native = to_port(net_proxy_port(proxy));
        native.mode = modes[m].mode;
        native.drafts_with_corrections = modes[m].drafts_with_corrections;
        costeer_cloud *cloud = connect_with(&native);
        costeer_session_params params = greedy();
        params.private_drafts = modes[m].private_drafts;
        const answer got = ask(cloud, query, context, params, cut_sometimes);
        assert_same(&expected, &got);
        assert_true(got.stats.n_reconnects >= 2);
        const answer undisturbed = ask(cloud, query, context, params, NULL);
        assert_same(&expected, &undisturbed);
        costeer_cloud_free(cloud);
        net_proxy_stop(proxy);
    }
}

static void test_native__a_node_that_stalls_times_out(void **state)
{
    (void)state;
    net_proxy_params path = {
        .target_host = "127.0.0.1", .target_port = node_thread_port(node), .up = NET_PATH_CLEAN, .down = NET_PATH_CLEAN};
    proxy = net_proxy_start(&path);
    assert_non_null(proxy);
    costeer_native_params native = to_port(net_proxy_port(proxy));
    native.timeout_ms = 3000;
    costeer_cloud *cloud = connect_with(&native);
    path.down.stall_at = 0;
    net_proxy_set(proxy, &path);
    const int32_t prompt[] = {300};
    const costeer_cloud_request request = {.prompt = prompt, .n_prompt = 1, .top_k = 4, .max_tokens = 4};
    costeer_distribution out;
    costeer_error err = {0};
    assert_ok(costeer_cloud_open(cloud, &request, &err), &err);
    assert_int_equal(costeer_cloud_next(cloud, 0, &out, &err), COSTEER_ETIMEDOUT);
    costeer_cloud_free(cloud);
    net_proxy_stop(proxy);
}

/* ---- order --------------------------------------------------------------------------------------------------------- */

static void test_native__calls_out_of_order_are_errors_and_change_nothing(void **state)
{
    (void)state;
    costeer_cloud *cloud = connect_mode(COSTEER_MODE_STREAMED);
    costeer_distribution out;
    costeer_error err = {0};
    const int32_t prompt[] = {300, 301};
    costeer_cloud_request request = {.prompt = prompt, .n_prompt = 2, .top_k = 4, .max_tokens = 600};
    assert_int_equal(costeer_cloud_next(cloud, 0, &out, &err), COSTEER_ESTATE);
    assert_int_equal(costeer_cloud_open(cloud, &request, &err), COSTEER_ETOOLONG);
    request.max_tokens = 2;
    assert_ok(costeer_cloud_open(cloud, &request, &err), &err);
    assert_int_equal(costeer_cloud_open(cloud, &request, &err), COSTEER_ESTATE);
    assert_int_equal(costeer_cloud_commit(cloud, 0, 5, &err), COSTEER_ESTATE);
    assert_int_equal(costeer_cloud_next(cloud, 1, &out, &err), COSTEER_ESTATE);
    assert_ok(costeer_cloud_next(cloud, 0, &out, &err), &err);
    assert_ok(costeer_cloud_next(cloud, 0, &out, &err), &err); /* again */
    assert_int_equal(costeer_cloud_commit(cloud, 0, 1 << 20, &err), COSTEER_EINVAL);
    assert_ok(costeer_cloud_commit(cloud, 0, out.own_token, &err), &err);
    assert_ok(costeer_cloud_next(cloud, 1, &out, &err), &err);
    assert_int_equal(costeer_cloud_commit(cloud, 1, 5, &err), COSTEER_ESTATE); /* beyond max_tokens */
    assert_int_equal(costeer_cloud_native_max_context(cloud), 512);
    assert_true(strlen(costeer_cloud_native_name(cloud)) > 0);
    costeer_cloud_free(cloud); /* with the answer open */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_native__calls_out_of_order_are_errors_and_change_nothing),
        cmocka_unit_test(test_native__the_audit_accounts_for_every_byte),
        cmocka_unit_test(test_native__nothing_is_sent_that_the_audit_refuses),
        cmocka_unit_test(test_native__a_node_that_stalls_times_out),
        cmocka_unit_test(test_native__cut_again_and_again_the_answer_is_the_same),
        cmocka_unit_test(test_native__sampled_and_seeded_lockstep_and_streamed_draw_the_same_tokens),
        cmocka_unit_test(test_native__deepening_gives_the_answer_of_the_whole_base),
        cmocka_unit_test(test_native__a_position_costs_few_bytes),
        cmocka_unit_test(test_native__dense_and_half_bases_give_the_same_answer),
        cmocka_unit_test(test_native__every_mode_gives_the_answer_of_the_cloud_in_this_process),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
