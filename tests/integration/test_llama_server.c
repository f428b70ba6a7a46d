/*
 * An existing engine as the cloud, against a real llama-server (environment: LLAMA_SERVER) with the built-in LLM: both modes give
 * the answer, and each position the distribution, of the cloud in this process.
 */
#include "support/llama_server.h"
#include "support/models.h"

#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define PROMPTS_PATH COSTEER_TEST_MODELS_DIR "/eval/prompts.jsonl"
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define MAX_TOKENS 24
#define N_PROMPTS  4 /* what sanitizers look for shows in a few */
#define N_VARIED   1
#else
#define MAX_TOKENS 48
#define N_PROMPTS  50
#define N_VARIED   6
#endif
#define N_SLOTS    2
#define N_CTX      512   /* of a slot */
#define TIMEOUT_MS 60000 /* no test waits for it; sanitizers on a loaded machine are slow */

/* ---- the pair, the server, and answers ----------------------------------------------------------------------------- */

static llama_server *server;
static costeer_model *llm, *slm_model;
static costeer_slm *slm;
static costeer_cloud *local;

static costeer_slm *create_slm(void)
{
    costeer_slm *out = NULL;
    costeer_error err = {0};
    const costeer_slm_params params = {.n_contexts = 1, .n_ctx = N_CTX, .n_threads = 1};
    assert_ok(costeer_slm_create(slm_model, &params, &out, &err), &err);
    return out;
}

static int set_up(void **state)
{
    (void)state;
    costeer_error err = {0};
    server = llama_server_start(llama_server_program(), LLM_PATH, N_SLOTS, N_SLOTS * N_CTX);
    llm = load_model(LLM_PATH);
    slm_model = load_model(SLM_PATH);
    const costeer_local_params params = {.n_ctx = N_CTX, .n_threads = 1};
    assert_ok(costeer_cloud_create_local(llm, &params, &local, &err), &err);
    slm = create_slm();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    costeer_slm_free(slm);
    costeer_cloud_free(local);
    costeer_model_free(slm_model);
    costeer_model_free(llm);
    llama_server_stop(server);
    return 0;
}

static const costeer_cloud_mode modes[] = {COSTEER_MODE_LOCKSTEP, COSTEER_MODE_STREAMED};
static const char *const mode_names[] = {"lockstep", "streamed"};
#define N_MODES (sizeof modes / sizeof modes[0])

static costeer_engine_params to_server(const char *scheme)
{
    static char url[64];
    (void)snprintf(url, sizeof url, "%shttp://127.0.0.1:%d", scheme, llama_server_port(server));
    costeer_engine_params params = COSTEER_ENGINE_DEFAULTS;
    params.url = url;
    params.timeout_ms = TIMEOUT_MS;
    return params;
}

static costeer_cloud *connect_mode(costeer_cloud_mode mode)
{
    costeer_cloud *cloud = NULL;
    costeer_error err = {0};
    costeer_engine_params params = to_server("llama-server+");
    params.mode = mode;
    assert_ok(costeer_cloud_create_engine(slm_model, &params, NULL, &cloud, &err), &err);
    return cloud;
}

typedef struct answer {
    int32_t tokens[MAX_TOKENS];
    int32_t n;
    double margin[MAX_TOKENS]; /* between the two best policy scores */
    costeer_report report;
    costeer_cloud_stats stats;
} answer;

static bool on_position(const costeer_position *position, void *user)
{
    answer *out = user;
    out->margin[position->position] =
        position->n_best > 1 ? position->best_after_logprob[0] - position->best_after_logprob[1] : INFINITY;
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

/* One answer; asserts nothing, so that any thread may ask. `deltas` NULL: unsteered. */
static costeer_err run(costeer_cloud *cloud, costeer_delta_source *deltas, const costeer_tokens *prompt,
                       costeer_session_params params, answer *out, costeer_error *err)
{
    *out = (answer){.n = 0};
    params.on_position = on_position;
    params.user = out;
    const costeer_vocab vocab = costeer_model_vocab(slm_model);
    costeer_session *session = NULL;
    costeer_err code = costeer_session_create(cloud, deltas, &vocab, &params, &session, err);
    code = code == COSTEER_OK ? costeer_session_run(session, prompt->ids, prompt->n, &out->report, err) : code;
    if (session != NULL) {
        size_t n;
        const int32_t *tokens = costeer_session_tokens(session, &n);
        memcpy(out->tokens, tokens, n * sizeof *tokens);
        out->n = (int32_t)n;
        costeer_cloud_read_stats(cloud, &out->stats);
    }
    costeer_session_free(session);
    return code;
}

/* `context` NULL: unsteered. */
static answer ask(costeer_cloud *cloud, const char *query, const char *context, costeer_session_params params)
{
    answer out;
    costeer_error err = {0};
    costeer_cloud_close(cloud); /* a test that failed may have left it open */
    costeer_tokens amateur = build_prompt(slm_model, NULL, query);
    if (context != NULL) {
        costeer_tokens expert = build_prompt(slm_model, context, query);
        assert_ok(costeer_slm_set_prompts(slm, &amateur, &expert, params.max_tokens, &err), &err);
        costeer_tokens_dispose(&expert);
    }
    assert_ok(run(cloud, context != NULL ? costeer_slm_delta_source(slm) : NULL, &amateur, params, &out, &err), &err);
    costeer_tokens_dispose(&amateur);
    return out;
}

static const char *const bio = "Write a short bio.";
static const char *const soraya = "My name is Soraya. I live in Lisbon. My favourite food is lasagna. I work as a plasterer.";

/* ---- the same answer ----------------------------------------------------------------------------------------------- */

/* The engine computes in batches of other sizes, with 16 bits for what it remembers: values of two runs differ by up to 6e-3
 * (those of two positions by whole nats). Where the best two scores are that close in one of the runs, either may win. */
#define CLOSE_NATS 1e-2

/* Returns whether the answers differ, which they may at a tie. */
static bool differ(const answer *a, const answer *b, const char *what)
{
    for (int32_t i = 0; i < a->n && i < b->n; i++) {
        if (a->tokens[i] != b->tokens[i]) {
            const double margin = fmin(a->margin[i], b->margin[i]);
            if (margin >= CLOSE_NATS) {
                fail_msg("%s: another token at position %d, where the best two are %g apart", what, i, margin);
            }
            print_message("%s: another token at position %d, where the best two are %g apart\n", what, i, margin);
            return true;
        }
    }
    assert_int_equal(a->n, b->n);
    return false;
}

/* Both modes over the first prompts; returns how many answers differ at a tie. `expected_k` is of the cloud in this process. */
static int compare_over_prompts(int n_prompts, costeer_session_params params, int32_t expected_k, bool is_steered,
                                int *n_deepened)
{
    FILE *file = fopen(PROMPTS_PATH, "r");
    assert_non_null(file);
    costeer_cloud *clouds[N_MODES];
    int n_different = 0;
    for (size_t m = 0; m < N_MODES; m++) {
        clouds[m] = connect_mode(modes[m]);
    }
    for (int i = 0; i < n_prompts; i++) {
        json_t *prompt = json_loadf(file, JSON_DISABLE_EOF_CHECK, NULL);
        assert_non_null(prompt);
        const char *query = json_string_value(json_object_get(prompt, "query"));
        const char *context = is_steered ? json_string_value(json_object_get(prompt, "context")) : NULL;
        costeer_session_params expected_params = params;
        expected_params.base_top_k = expected_k;
        const answer expected = ask(local, query, context, expected_params);
        for (size_t m = 0; m < N_MODES; m++) {
            const answer got = ask(clouds[m], query, context, params);
            n_different += differ(&expected, &got, mode_names[m]);
            assert_int_equal(got.report.n_local, 0);
            *n_deepened += got.report.n_deepened;
        }
        json_decref(prompt);
    }
    for (size_t m = 0; m < N_MODES; m++) {
        costeer_cloud_free(clouds[m]);
    }
    (void)fclose(file);
    return n_different;
}

static void test_llama_server__both_modes_give_the_answer_of_the_cloud_in_this_process(void **state)
{
    (void)state;
    int n_deepened = 0;
    const int n_different = compare_over_prompts(N_PROMPTS, greedy(), 64, true, &n_deepened);
    print_message("%d of %zu answers differ at a tie\n", n_different, N_MODES * N_PROMPTS);
    assert_true(n_different <= (int)(N_MODES * N_PROMPTS) / 10);
    assert_true(n_deepened > 0);
}

/* Four entries are too little at many positions; what is asked for then comes to the same as the whole base. */
static void test_llama_server__deepening_gives_the_answer_of_the_whole_base(void **state)
{
    (void)state;
    int n_deepened = 0;
    costeer_session_params params = greedy();
    params.base_top_k = 4;
    (void)compare_over_prompts(N_VARIED, params, 0, true, &n_deepened);
    assert_true(n_deepened > 2 * N_VARIED);
}

static void test_llama_server__a_constant_k_is_never_deepened(void **state)
{
    (void)state;
    int n_deepened = 0;
    costeer_session_params params = greedy();
    params.base_top_k = 4;
    params.constant_k = true;
    (void)compare_over_prompts(N_VARIED, params, 4, true, &n_deepened);
    assert_int_equal(n_deepened, 0);
}

static void test_llama_server__a_dense_base_gives_the_same_answer(void **state)
{
    (void)state;
    int n_deepened = 0;
    costeer_session_params params = greedy();
    params.base_top_k = 0;
    (void)compare_over_prompts((N_VARIED + 1) / 2, params, 0, true, &n_deepened);
    assert_int_equal(n_deepened, 0);
}

static void test_llama_server__unsteered_it_is_the_engines_own_answer(void **state)
{
    (void)state;
    int n_deepened = 0;
    (void)compare_over_prompts(N_VARIED, greedy(), 64, false, &n_deepened);
    assert_int_equal(n_deepened, 0);
}

static const struct {
    const char *query, *context;
} many_bytes[] = {
    {"Write a short bio of me, Zoë 🙂.", "name: Zoë Øster 你好 🙂\ncity: Malmö\njob: 画家"},
    {"你好 🙂 Zoë Øster", "name: 你好\nMy dog is called Čiča 🐕."},
    {"Help me apologise to Bjørk Þórsdóttir.", "The neighbour is called Bjørk. I am Łucja. We live in Kraków."},
};

static void test_llama_server__characters_of_many_bytes_change_nothing(void **state)
{
    (void)state;
    for (size_t m = 0; m < N_MODES; m++) {
        costeer_cloud *cloud = connect_mode(modes[m]);
        for (size_t i = 0; i < sizeof many_bytes / sizeof many_bytes[0]; i++) {
            const answer expected = ask(local, many_bytes[i].query, many_bytes[i].context, greedy());
            const answer got = ask(cloud, many_bytes[i].query, many_bytes[i].context, greedy());
            (void)differ(&expected, &got, mode_names[m]);
        }
        costeer_cloud_free(cloud);
    }
}

/* ---- the same distributions ---------------------------------------------------------------------------------------- */

/* Log-probabilities of all tokens, −inf for what was not sent. @param[out] out  [n_vocab] */
static void spread(const costeer_base *base, int32_t n_vocab, double *out)
{
    double sum = 0;
    for (int32_t i = 0; i < n_vocab; i++) {
        out[i] = base->ids == NULL ? (double)base->values[i] : -INFINITY;
        sum += exp(out[i]);
    }
    for (int32_t i = 0; base->ids == NULL && i < n_vocab; i++) {
        out[i] -= log(sum); /* dense values may be logits */
    }
    for (int32_t i = 0; base->ids != NULL && i < base->n; i++) {
        out[base->ids[i]] = (double)base->values[i];
    }
}

static int best_of(const double *values, int32_t n, int other_than)
{
    int best = -1;
    for (int32_t i = 0; i < n; i++) {
        best = i != other_than && (best < 0 || values[i] > values[best]) ? i : best;
    }
    return best;
}

/* Tokens whose value in `whole` is that of the last one sent may be sent or not. */
static void assert_close(const costeer_distribution *got, const double *whole, int32_t n_vocab)
{
    double *sent = calloc((size_t)n_vocab, sizeof *sent);
    assert_non_null(sent);
    spread(&got->base, n_vocab, sent);
    double lowest = 0;
    for (int32_t i = 0; i < n_vocab; i++) {
        lowest = isfinite(sent[i]) ? fmin(lowest, sent[i]) : lowest;
    }
    for (int32_t i = 0; i < n_vocab; i++) {
        if (isfinite(sent[i]) ? fabs(sent[i] - whole[i]) > CLOSE_NATS : whole[i] > lowest + CLOSE_NATS) {
            fail_msg("position %d, token %d: %g instead of %g", got->position, i, sent[i], whole[i]);
        }
    }
    free(sent);
}

static void assert_own(const costeer_distribution *got, const costeer_distribution *expected, const double *whole,
                       int32_t n_vocab)
{
    const int best = best_of(whole, n_vocab, -1);
    const bool is_tie = whole[best] - whole[best_of(whole, n_vocab, best)] < CLOSE_NATS;
    if (got->own_token != expected->own_token && !is_tie) {
        fail_msg("position %d: own token %d instead of %d", got->position, got->own_token, expected->own_token);
    }
}

static bool is_inside_character(int32_t token)
{
    char piece[COSTEER_PIECE_MAX];
    return costeer_model_token_to_piece(llm, token, piece) == 1 && (unsigned char)piece[0] >= 0x80;
}

/* Go through an answer with both clouds: `tokens` [n], or, NULL, the cloud's own. Returns how many of the cloud's own tokens were
 * a part of a character only. */
static int walk(costeer_cloud *cloud, const costeer_tokens *prompt, const int32_t *tokens, int32_t n, int32_t top_k)
{
    const int32_t n_vocab = costeer_model_get_info(llm)->n_vocab;
    costeer_cloud_request request = {.prompt = prompt->ids, .n_prompt = prompt->n, .top_k = top_k, .max_tokens = n};
    costeer_error err = {0};
    int n_inside = 0;
    double *whole = calloc((size_t)n_vocab, sizeof *whole);
    assert_non_null(whole);
    costeer_cloud_close(local); /* a test that failed may have left it open */
    assert_ok(costeer_cloud_open(cloud, &request, &err), &err);
    request.top_k = 0;
    assert_ok(costeer_cloud_open(local, &request, &err), &err);
    for (int32_t i = 0; i < n; i++) {
        costeer_distribution expected, got;
        assert_ok(costeer_cloud_next(local, i, &expected, &err), &err);
        assert_ok(costeer_cloud_next(cloud, i, &got, &err), &err);
        assert_int_equal(got.position, i);
        assert_int_equal(got.base.n, top_k == 0 ? n_vocab : top_k);
        spread(&expected.base, n_vocab, whole);
        assert_close(&got, whole, n_vocab);
        assert_own(&got, &expected, whole, n_vocab);
        n_inside += is_inside_character(expected.own_token);
        const int32_t token = tokens != NULL ? tokens[i] : expected.own_token;
        if (i + 1 < n) {
            assert_ok(costeer_cloud_commit(local, i, token, &err), &err);
            assert_ok(costeer_cloud_commit(cloud, i, token, &err), &err);
        }
    }
    costeer_cloud_close(local);
    costeer_cloud_close(cloud);
    free(whole);
    return n_inside;
}

static costeer_tokens tokenize(const char *text)
{
    costeer_tokens out = {0};
    costeer_error err = {0};
    assert_ok(costeer_model_tokenize(llm, text, strlen(text), false, false, &out, &err), &err);
    return out;
}

static const char *const letters = "Zoë Øster, 你好 🙂 naïve — €!";

/* Corrections in the middle of characters: after each the engine is asked to go on from a part of one. */
static void test_llama_server__characters_are_committed_byte_by_byte(void **state)
{
    (void)state;
    costeer_tokens prompt = build_prompt(llm, NULL, bio);
    costeer_tokens script = tokenize(letters);
    int n_bytes = 0;
    for (size_t i = 0; i < script.n; i++) {
        n_bytes += is_inside_character(script.ids[i]);
    }
    assert_true(n_bytes >= 10);
    for (size_t m = 0; m < N_MODES; m++) {
        costeer_cloud *cloud = connect_mode(modes[m]);
        (void)walk(cloud, &prompt, script.ids, (int32_t)script.n, 64);
        (void)walk(cloud, &prompt, script.ids, (int32_t)script.n, 0);
        costeer_cloud_free(cloud);
    }
    costeer_tokens_dispose(&script);
    costeer_tokens_dispose(&prompt);
}

/* The engine's own choice are the bytes of characters, which it holds back until they are whole, or to the end. */
static void test_llama_server__characters_are_held_back_by_the_engine(void **state)
{
    (void)state;
    static const char repeated[] = "你好 🙂 Zoë Øster; 你好 🙂 Zoë Øster; 你好 🙂 Zoë Øster; 你好";
    costeer_tokens prompt = tokenize(repeated);
    int n_inside = 0;
    for (size_t m = 0; m < N_MODES; m++) {
        costeer_cloud *cloud = connect_mode(modes[m]);
        for (int32_t n = 1; n <= 24; n += n < 12 ? 1 : 12) { /* wherever the answer ends */
            n_inside += walk(cloud, &prompt, NULL, n, 16);
        }
        costeer_cloud_free(cloud);
    }
    print_message("%d tokens inside characters\n", n_inside);
    assert_true(n_inside >= 20);
    costeer_tokens_dispose(&prompt);
}

/* Not UTF-8 at all: parts of characters that nothing completes. */
static void test_llama_server__broken_characters_change_nothing(void **state)
{
    (void)state;
    costeer_tokens prompt = tokenize("你好 🙂 Zoë; 你好 🙂 Zoë; 你");
    costeer_tokens whole = tokenize("🙂你a好🙂é");
    int32_t broken[16] = {0};
    int32_t n = 0;
    for (size_t i = 0; i < whole.n && n < 16; i++) {
        if (i % 3 != 2) { /* every third byte is lost */
            broken[n++] = whole.ids[i];
        }
    }
    for (size_t m = 0; m < N_MODES; m++) {
        costeer_cloud *cloud = connect_mode(modes[m]);
        (void)walk(cloud, &prompt, broken, n, 16);
        costeer_cloud_free(cloud);
    }
    costeer_tokens_dispose(&whole);
    costeer_tokens_dispose(&prompt);
}

static void test_llama_server__deeper_entries_are_of_the_same_position(void **state)
{
    (void)state;
    const int32_t n_vocab = costeer_model_get_info(llm)->n_vocab;
    costeer_tokens prompt = build_prompt(llm, NULL, bio);
    double *whole = calloc((size_t)n_vocab, sizeof *whole);
    assert_non_null(whole);
    for (size_t m = 0; m < N_MODES; m++) {
        costeer_cloud *cloud = connect_mode(modes[m]);
        costeer_cloud_request request = {.prompt = prompt.ids, .n_prompt = prompt.n, .top_k = 4, .max_tokens = 6};
        costeer_error err = {0};
        costeer_cloud_close(local);
        assert_ok(costeer_cloud_open(cloud, &request, &err), &err);
        assert_ok(costeer_cloud_open(local, &request, &err), &err);
        for (int32_t i = 0; i < 6; i++) {
            static const int32_t depths[] = {4, 8, 7, 300, 0, 5000};
            costeer_distribution expected, got;
            assert_ok(costeer_cloud_next(local, i, &expected, &err), &err);
            assert_ok(costeer_cloud_deepen(local, i, 0, &expected, &err), &err);
            spread(&expected.base, n_vocab, whole);
            assert_ok(costeer_cloud_next(cloud, i, &got, &err), &err);
            for (size_t d = 0; d < sizeof depths / sizeof depths[0]; d++) {
                assert_ok(costeer_cloud_deepen(cloud, i, depths[d], &got, &err), &err);
                assert_true(got.base.n >= (depths[d] == 0 || depths[d] > n_vocab ? n_vocab : depths[d]));
                assert_false(got.is_deepest);
                assert_close(&got, whole, n_vocab);
                assert_own(&got, &expected, whole, n_vocab);
            }
            if (i < 5) {
                const int32_t token = i % 2 == 0 ? expected.own_token : 300 + i;
                assert_ok(costeer_cloud_commit(local, i, token, &err), &err);
                assert_ok(costeer_cloud_commit(cloud, i, token, &err), &err);
            }
        }
        costeer_cloud_close(local);
        costeer_cloud_free(cloud);
    }
    free(whole);
    costeer_tokens_dispose(&prompt);
}

/* ---- what it costs ------------------------------------------------------------------------------------------------- */

static void test_llama_server__statistics_add_up(void **state)
{
    (void)state;
    for (size_t m = 0; m < N_MODES; m++) {
        costeer_cloud *cloud = connect_mode(modes[m]);
        for (int i = 0; i < 2; i++) { /* they are of the last answer */
            const answer got = ask(cloud, bio, soraya, greedy());
            const costeer_cloud_stats *s = &got.stats;
            assert_true(got.n >= 20);
            assert_in_range(s->n_corrections, got.report.n_steered - 1, got.report.n_steered); /* the last token is not told */
            assert_true(s->n_corrections > 0);
            assert_true(s->n_deepenings >= got.report.n_deepened);
            assert_int_equal(s->n_steps - s->n_wasted_steps, got.n + s->n_deepenings);
            assert_int_equal(s->n_drafts_sent, 0);
            assert_int_equal(s->n_withdrawn, 0);
            assert_int_equal(s->n_reconnects, 0);
            assert_true(s->n_tokens_sent >= s->n_corrections && s->n_tokens_sent < got.n);
            assert_true(s->n_messages_up >= 1 + s->n_corrections + s->n_deepenings);
            assert_true(s->bytes_up > 100 * (uint64_t)s->n_messages_up);
            assert_true(s->bytes_down > (uint64_t)64 * 20 * (uint64_t)got.n);
            assert_true(s->round_trip_us > 0);
        }
        costeer_cloud_free(cloud);
    }
}

/* ---- cancelling, and another answer -------------------------------------------------------------------------------- */

static void wait_until_idle(void)
{
    for (int i = 0; llama_server_n_busy(server) != 0; i++) {
        assert_true(i < 1000);
        (void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
}

static void test_llama_server__cancelled_it_stops_and_the_next_answer_is_right(void **state)
{
    (void)state;
    const answer expected = ask(local, bio, soraya, greedy());
    costeer_tokens prompt = build_prompt(llm, NULL, bio);
    for (size_t m = 0; m < N_MODES; m++) {
        costeer_cloud *cloud = connect_mode(modes[m]);
        for (int32_t n = 1; n <= 5; n += 2) {
            atomic_bool cancel = false;
            const costeer_cloud_request request = {
                .prompt = prompt.ids, .n_prompt = prompt.n, .top_k = 64, .max_tokens = 400, .cancel = &cancel};
            costeer_distribution out;
            costeer_error err = {0};
            assert_ok(costeer_cloud_open(cloud, &request, &err), &err);
            for (int32_t i = 0; i < n; i++) {
                assert_ok(costeer_cloud_next(cloud, i, &out, &err), &err);
                assert_ok(costeer_cloud_commit(cloud, i, (out.own_token + 1) % 1000, &err), &err);
            }
            atomic_store(&cancel, true);
            assert_int_equal(costeer_cloud_next(cloud, n, &out, &err), COSTEER_ECANCELED);
            assert_int_equal(costeer_cloud_next(cloud, n, &out, &err), COSTEER_ESTATE);
            costeer_cloud_close(cloud);
            wait_until_idle();
            const answer got = ask(cloud, bio, soraya, greedy());
            (void)differ(&expected, &got, mode_names[m]);
        }
        costeer_cloud_free(cloud);
    }
    costeer_tokens_dispose(&prompt);
}

static void test_llama_server__left_in_the_middle_it_stops(void **state)
{
    (void)state;
    costeer_tokens prompt = build_prompt(llm, NULL, bio);
    costeer_cloud *cloud = connect_mode(COSTEER_MODE_STREAMED);
    for (int i = 0; i < 3; i++) {
        const costeer_cloud_request request = {.prompt = prompt.ids, .n_prompt = prompt.n, .top_k = 0, .max_tokens = 400};
        costeer_distribution out;
        costeer_error err = {0};
        assert_ok(costeer_cloud_open(cloud, &request, &err), &err);
        for (int32_t position = 0; position < i; position++) {
            assert_ok(costeer_cloud_next(cloud, position, &out, &err), &err);
            assert_ok(costeer_cloud_commit(cloud, position, out.own_token, &err), &err);
        }
        costeer_cloud_close(cloud);
        wait_until_idle();
    }
    costeer_cloud_free(cloud);
    costeer_tokens_dispose(&prompt);
}

/* ---- two at once --------------------------------------------------------------------------------------------------- */

typedef struct device {
    costeer_cloud *cloud;
    costeer_slm *slm;
    costeer_tokens prompt, expert;
    answer expected, got[4];
    costeer_err code;
    costeer_error err;
} device;

static void *run_device(void *user)
{
    device *d = user;
    for (size_t i = 0; d->code == COSTEER_OK && i < sizeof d->got / sizeof d->got[0]; i++) {
        d->code = costeer_slm_set_prompts(d->slm, &d->prompt, &d->expert, MAX_TOKENS, &d->err);
        d->code = d->code == COSTEER_OK
                      ? run(d->cloud, costeer_slm_delta_source(d->slm), &d->prompt, greedy(), &d->got[i], &d->err)
                      : d->code;
    }
    return NULL;
}

static void test_llama_server__two_clouds_in_two_threads(void **state)
{
    (void)state;
    static const char *const queries[] = {"Write a short bio.", "Help me apologise to my neighbour."};
    static const char *const contexts[] = {"My name is Soraya. I live in Lisbon. I work as a plasterer.",
                                           "The neighbour is called Philippa. I am Desmond. My pet is Juniper."};
    static device devices[2];
    pthread_t threads[2];
    for (size_t m = 0; m < N_MODES; m++) {
        for (int i = 0; i < 2; i++) {
            devices[i] = (device){.cloud = connect_mode(modes[m]),
                                  .slm = create_slm(),
                                  .prompt = build_prompt(slm_model, NULL, queries[i]),
                                  .expert = build_prompt(slm_model, contexts[i], queries[i]),
                                  .expected = ask(local, queries[i], contexts[i], greedy())};
        }
        for (int i = 0; i < 2; i++) {
            assert_int_equal(pthread_create(&threads[i], NULL, run_device, &devices[i]), 0);
        }
        for (int i = 0; i < 2; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        }
        for (int i = 0; i < 2; i++) {
            device *d = &devices[i];
            assert_ok(d->code, &d->err);
            for (size_t a = 0; a < sizeof d->got / sizeof d->got[0]; a++) {
                (void)differ(&d->expected, &d->got[a], mode_names[m]);
            }
            costeer_cloud_free(d->cloud);
            costeer_slm_free(d->slm);
            costeer_tokens_dispose(&d->prompt);
            costeer_tokens_dispose(&d->expert);
        }
    }
}

/* ---- creation, and the order of calls ------------------------------------------------------------------------------ */

static void test_llama_server__a_plain_url_is_found_out(void **state)
{
    (void)state;
    costeer_cloud *cloud = NULL;
    costeer_error err = {0};
    costeer_engine_params params = to_server("");
    for (int i = 0; i < 4; i++) { /* the slots are idle for different times, and hold different things */
        assert_ok(costeer_cloud_create_engine(slm_model, &params, NULL, &cloud, &err), &err);
        const costeer_engine_info *info = costeer_cloud_engine_info(cloud);
        assert_int_equal(info->kind, COSTEER_ENGINE_LLAMA_SERVER);
        assert_string_equal(info->name, "llama-server");
        assert_non_null(strstr(info->model, "costeer-llm.gguf"));
        assert_int_equal(info->top_k_max, 0);
        assert_int_equal(info->max_context, N_CTX);
        assert_true(info->has_ids);
        assert_true(info->vocab_checked);
        assert_int_equal(info->prefix_cache, COSTEER_ENGINE_YES);
        costeer_cloud_free(cloud);
    }
}

static void test_llama_server__what_it_cannot_do_is_refused_before_the_first_token(void **state)
{
    (void)state;
    costeer_cloud *cloud = NULL;
    costeer_error err = {0};
    costeer_engine_params params = to_server("llama-server+");
    params.mode = COSTEER_MODE_DRAFTED;
    assert_int_equal(costeer_cloud_create_engine(slm_model, &params, NULL, &cloud, &err), COSTEER_EINVAL);
    assert_null(cloud);
    assert_non_null(strstr(err.message, "cannot score drafts"));
    costeer_model *other = load_model(COSTEER_TEST_MODELS_DIR "/costeer-slm-other.gguf");
    params = to_server("llama-server+");
    assert_int_equal(costeer_cloud_create_engine(other, &params, NULL, &cloud, &err), COSTEER_EPAIR);
    assert_null(cloud);
    costeer_model_free(other);
    atomic_bool cancel = true;
    assert_int_equal(costeer_cloud_create_engine(slm_model, &params, &cancel, &cloud, &err), COSTEER_ECANCELED);
    assert_null(cloud);
}

static void test_llama_server__calls_out_of_order_are_errors_and_change_nothing(void **state)
{
    (void)state;
    for (size_t m = 0; m < N_MODES; m++) {
        costeer_cloud *cloud = connect_mode(modes[m]);
        costeer_distribution out;
        costeer_error err = {0};
        const int32_t prompt[] = {300, 301}, wrong[] = {300, 1 << 20};
        costeer_cloud_request request = {.prompt = prompt, .n_prompt = 2, .top_k = 4, .max_tokens = N_CTX};
        assert_int_equal(costeer_cloud_next(cloud, 0, &out, &err), COSTEER_ESTATE);
        assert_int_equal(costeer_cloud_open(cloud, &request, &err), COSTEER_ETOOLONG);
        request.max_tokens = 2;
        request.prompt = wrong;
        assert_int_equal(costeer_cloud_open(cloud, &request, &err), COSTEER_EINVAL);
        request.prompt = prompt;
        assert_ok(costeer_cloud_open(cloud, &request, &err), &err);
        assert_int_equal(costeer_cloud_open(cloud, &request, &err), COSTEER_ESTATE);
        assert_int_equal(costeer_cloud_commit(cloud, 0, 5, &err), COSTEER_ESTATE);
        assert_int_equal(costeer_cloud_deepen(cloud, 0, 8, &out, &err), COSTEER_ESTATE);
        assert_int_equal(costeer_cloud_next(cloud, 1, &out, &err), COSTEER_ESTATE);
        assert_ok(costeer_cloud_next(cloud, 0, &out, &err), &err);
        assert_ok(costeer_cloud_next(cloud, 0, &out, &err), &err); /* again */
        assert_int_equal(costeer_cloud_deepen(cloud, 1, 8, &out, &err), COSTEER_ESTATE);
        assert_int_equal(costeer_cloud_commit(cloud, 0, 1 << 20, &err), COSTEER_EINVAL);
        assert_ok(costeer_cloud_commit(cloud, 0, out.own_token, &err), &err);
        assert_int_equal(costeer_cloud_commit(cloud, 0, 5, &err), COSTEER_ESTATE);
        assert_ok(costeer_cloud_next(cloud, 1, &out, &err), &err);
        assert_int_equal(costeer_cloud_commit(cloud, 1, 5, &err), COSTEER_ESTATE); /* beyond max_tokens */
        costeer_cloud_free(cloud);                                                 /* with the answer open */
    }
}

static void test_llama_server__a_context_is_filled_to_its_end(void **state)
{
    (void)state;
    int32_t prompt[N_CTX];
    for (int32_t i = 0; i < N_CTX; i++) {
        prompt[i] = 300 + i % 7;
    }
    for (size_t m = 0; m < N_MODES; m++) {
        costeer_cloud *cloud = connect_mode(modes[m]);
        costeer_error err = {0};
        costeer_cloud_request request = {.prompt = prompt, .n_prompt = N_CTX - 4, .top_k = 4, .max_tokens = 4};
        costeer_distribution out;
        assert_ok(costeer_cloud_open(cloud, &request, &err), &err);
        for (int32_t i = 0; i < 4; i++) {
            assert_ok(costeer_cloud_next(cloud, i, &out, &err), &err);
            if (i < 3) {
                assert_ok(costeer_cloud_commit(cloud, i, i == 1 ? 310 : out.own_token, &err), &err);
            }
        }
        costeer_cloud_free(cloud);
    }
}

static void test_llama_server__skipped_without_one(void **state)
{
    (void)state;
    print_message("LLAMA_SERVER is not set: tests against a real llama-server are skipped\n");
    skip();
}

int main(void)
{
    const struct CMUnitTest skipped[] = {cmocka_unit_test(test_llama_server__skipped_without_one)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama_server__a_plain_url_is_found_out),
        cmocka_unit_test(test_llama_server__what_it_cannot_do_is_refused_before_the_first_token),
        cmocka_unit_test(test_llama_server__calls_out_of_order_are_errors_and_change_nothing),
        cmocka_unit_test(test_llama_server__a_context_is_filled_to_its_end),
        cmocka_unit_test(test_llama_server__characters_are_committed_byte_by_byte),
        cmocka_unit_test(test_llama_server__characters_are_held_back_by_the_engine),
        cmocka_unit_test(test_llama_server__broken_characters_change_nothing),
        cmocka_unit_test(test_llama_server__characters_of_many_bytes_change_nothing),
        cmocka_unit_test(test_llama_server__deeper_entries_are_of_the_same_position),
        cmocka_unit_test(test_llama_server__statistics_add_up),
        cmocka_unit_test(test_llama_server__cancelled_it_stops_and_the_next_answer_is_right),
        cmocka_unit_test(test_llama_server__left_in_the_middle_it_stops),
        cmocka_unit_test(test_llama_server__two_clouds_in_two_threads),
        cmocka_unit_test(test_llama_server__unsteered_it_is_the_engines_own_answer),
        cmocka_unit_test(test_llama_server__a_dense_base_gives_the_same_answer),
        cmocka_unit_test(test_llama_server__a_constant_k_is_never_deepened),
        cmocka_unit_test(test_llama_server__deepening_gives_the_answer_of_the_whole_base),
        cmocka_unit_test(test_llama_server__both_modes_give_the_answer_of_the_cloud_in_this_process),
    };
    return llama_server_program() == NULL ? cmocka_run_group_tests(skipped, NULL, NULL)
                                          : cmocka_run_group_tests(tests, set_up, tear_down);
}
