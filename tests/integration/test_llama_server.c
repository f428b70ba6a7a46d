/*
 * An existing engine as the cloud, against a real llama-server (environment: LLAMA_SERVER) with the built-in LLM: both modes give
 * the answer, and each position the distribution, of the cloud in this process.
 */
#include "support/engine_pair.h"
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
#define N_PROMPTS 4 /* what sanitizers look for shows in a few */
#define N_VARIED  1
#else
#define N_PROMPTS 50
#define N_VARIED  6
#endif

static const char *const bio = "Write a short bio.";
static const char *const soraya = "My name is Soraya. I live in Lisbon. My favourite food is lasagna. I work as a plasterer.";

/* ---- the same answer ----------------------------------------------------------------------------------------------- */

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

/* The command line reads the environment; the library never does. */
static void test_llama_server__the_environments_proxy_is_not_asked(void **state)
{
    (void)state;
    static const char *const names[] = {"http_proxy", "all_proxy", "ALL_PROXY"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_int_equal(setenv(names[i], "http://127.0.0.1:1", 1), 0);
    }
    costeer_cloud_free(connect_mode(COSTEER_MODE_STREAMED));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_int_equal(unsetenv(names[i]), 0);
    }
    costeer_engine_params params = to_server("llama-server+"); /* and one that is given is */
    params.proxy = "http://127.0.0.1:1";
    costeer_cloud *cloud = NULL;
    assert_int_equal(costeer_cloud_create_engine(slm_model, &params, NULL, &cloud, NULL), COSTEER_ECLOUD);
    assert_null(cloud);
    params.no_proxy = "127.0.0.1";
    costeer_error err = {0};
    assert_ok(costeer_cloud_create_engine(slm_model, &params, NULL, &cloud, &err), &err);
    costeer_cloud_free(cloud);
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
        cmocka_unit_test(test_llama_server__the_environments_proxy_is_not_asked),
        cmocka_unit_test(test_llama_server__what_it_cannot_do_is_refused_before_the_first_token),
        cmocka_unit_test(test_llama_server__calls_out_of_order_are_errors_and_change_nothing),
        cmocka_unit_test(test_llama_server__a_context_is_filled_to_its_end),
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
