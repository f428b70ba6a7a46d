/* Ensembles that share what they compute with: a node on the network, and the engines of a pool. */
#include "cloud/ensemble_internal.h"
#include "support/ensemble_support.h"
#include "support/node_thread.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static node_thread *node;
static char url[64];
static int n_connected;

static int set_up(void **state)
{
    (void)state;
    load_ensemble_models(TMP_PATH("ensemble_shared_lora.gguf"));
    costeer_node_params params = COSTEER_NODE_DEFAULTS;
    params.port = 0;
    params.max_context = 512;
    params.drain_timeout_ms = 100;
    node = node_thread_start(llm, &params);
    (void)snprintf(url, sizeof url, "ws://127.0.0.1:%d", node_thread_port(node));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    node_thread_stop(node);
    free_ensemble_models();
    return 0;
}

/* How each method's policy is written out. */
static const struct policy {
    const char *name;
    literal_policy_fn fn;
    bool has_top_p;
    bool is_ada;
} policies[] = {
    {"llm", literal_only_llm, false, false},
    {"llm+context", literal_only_llm_with, false, false},
    {"slm", literal_only_slm, false, false},
    {"slm+context", literal_only_slm_with, false, false},
    {"costeer", literal_costeer, false, false},
    {"lightcosteer", literal_light, false, false},
    {"adacosteer", literal_ada, false, true},
    {"context-steering", literal_context_steering, false, false},
    {"linear-alignment", literal_linear_alignment, true, false},
    {"amulet", literal_amulet, false, false},
    {"proxy-tuning", literal_proxy_tuning, false, false},
};
#define N_POLICIES (sizeof policies / sizeof policies[0])

static void assert_policy(const struct policy *by, const literal_case *it, const answer *got)
{
    literal_ada_state ada = {0};
    double top_p = method(by->name)->top_p;
    void *user = by->is_ada ? (void *)&ada : by->has_top_p ? (void *)&top_p : NULL;
    assert_ok(got->code, &got->error);
    assert_literal_answer(by->name, it, got, by->fn, weight_of(by->name), user);
}

/* ---- a node ------------------------------------------------------------------------------------------------------ */

static costeer_err connect_node(void *user, costeer_cloud **out, costeer_error *err)
{
    (void)user;
    costeer_native_params params = COSTEER_NATIVE_DEFAULTS;
    params.url = url;
    params.timeout_ms = 60000;
    n_connected++;
    return costeer_cloud_create_native(llm, &params, NULL, out, err);
}

static costeer_ensemble *create_remote(bool by_chat, bool allows_upload)
{
    costeer_ensemble_params params = default_params();
    params.connect = connect_node;
    params.by_chat = by_chat;
    params.allow_context_upload = allows_upload;
    n_connected = 0;
    return create(&params);
}

static void test_ensemble__every_method_over_a_node_is_the_one_in_this_process(void **state)
{
    (void)state;
    for (int by_chat = 0; by_chat < N_CASES; by_chat++) {
        costeer_ensemble *remote = create_remote(by_chat != 0, true);
        assert_null(costeer_ensemble_remote(remote));
        for (size_t i = 0; i < N_POLICIES; i++) {
            const literal_case *it = &cases[(i + (size_t)by_chat) % N_CASES];
            const answer got = ask(remote, it, policies[i].name, weight_of(policies[i].name), method(policies[i].name)->top_p);
            assert_policy(&policies[i], it, &got);
            assert_int_equal(got.report.cloud.bytes_up > 0, costeer_method_uses_llm(method(policies[i].name)));
        }
        assert_int_equal(n_connected, 2); /* the second one for what needs the LLM twice */
        assert_string_equal(costeer_cloud_native_name(costeer_ensemble_remote(remote)), costeer_model_get_info(llm)->name);
        costeer_ensemble_free(remote);
    }
}

static void test_ensemble__does_not_show_the_context_unless_it_may(void **state)
{
    (void)state;
    costeer_ensemble *remote = create_remote(true, false);
    size_t n;
    const costeer_method *rows = costeer_method_list(&n);
    for (size_t i = 0; i < n; i++) {
        if (costeer_method_shows_context(&rows[i])) {
            const answer got = try_to_ask(remote, &cases[0], &rows[i], 1, 0.9);
            assert_int_equal(got.code, COSTEER_EINVAL);
            assert_non_null(strstr(got.error.message, rows[i].name));
            assert_non_null(strstr(got.error.message, "would show the context to the cloud"));
        }
    }
    assert_int_equal(n_connected, 0); /* refused before anything else */
    const answer steered = ask(remote, &cases[0], "costeer", weight_of("costeer"), 1);
    assert_policy(&policies[4], &cases[0], &steered);
    assert_int_equal(n_connected, 1);
    costeer_ensemble_free(remote);
}

static costeer_err fail_to_connect(void *user, costeer_cloud **out, costeer_error *err)
{
    (void)user;
    *out = NULL;
    err->code = COSTEER_ETIMEDOUT;
    return COSTEER_ETIMEDOUT;
}

static void test_ensemble__says_that_it_could_not_connect(void **state)
{
    (void)state;
    costeer_ensemble_params params = default_params();
    params.connect = fail_to_connect;
    params.allow_context_upload = true;
    costeer_ensemble *remote = create(&params);
    assert_int_equal(try_to_ask(remote, &cases[0], method("costeer"), 1, 1).code, COSTEER_ETIMEDOUT);
    assert_int_equal(try_to_ask(remote, &cases[0], method("amulet"), 1, 1).code, COSTEER_ETIMEDOUT);
    assert_null(costeer_ensemble_remote(remote));
    assert_int_equal(ask(remote, &cases[0], "slm+context", 0, 1).code, COSTEER_OK); /* needs no cloud */
    costeer_ensemble_free(remote);
}

/* ---- a pool ------------------------------------------------------------------------------------------------------ */

#define N_JOBS 2

typedef struct job {
    pthread_t thread;
    cs_pool *pool;
    cs_ensemble_engines engines;
    size_t number;
    answer answers[N_POLICIES]; /* in the order of policies[] */
} job;

/* All methods, each job in another order and over another case. */
static void *run_job(void *user)
{
    job *self = user;
    const costeer_ensemble_params params = default_params();
    costeer_ensemble *ensemble = NULL;
    costeer_error err = {.message = ""};
    const costeer_err code = cs_ensemble_create_pooled(&params, &self->engines, &ensemble, &err);
    for (size_t i = 0; i < N_POLICIES; i++) {
        const size_t p = self->number == 0 ? i : N_POLICIES - 1 - i;
        const costeer_method *by = costeer_method_find(policies[p].name);
        double weight = NAN;
        (void)costeer_method_compute_weight(by, NULL, &weight, NULL);
        self->answers[p] = code == COSTEER_OK ? try_to_ask(ensemble, &cases[self->number % N_CASES], by, weight, by->top_p)
                                              : (answer){.code = code, .error = err};
    }
    costeer_ensemble_free(ensemble);
    cs_pool_leave(self->pool);
    return NULL;
}

static cs_engine *create_engine(cs_pool *pool, const costeer_model *model, const char *component, int32_t n_sequences)
{
    const cs_engine_params params = {.component = component, .n_sequences = N_JOBS * n_sequences, .n_ctx = 512, .n_threads = 1};
    cs_engine *out = NULL;
    costeer_error err = {.message = ""};
    assert_ok(cs_engine_create(pool, model, &params, &out, &err), &err);
    return out;
}

static void run_jobs(job jobs[N_JOBS])
{
    costeer_error err = {.message = ""};
    cs_pool *pool = NULL;
    assert_ok(cs_pool_create(false, &pool, &err), &err);
    const costeer_method *methods[N_POLICIES];
    for (size_t i = 0; i < N_POLICIES; i++) {
        methods[i] = method(policies[i].name);
    }
    int32_t n_llm, n_slm, n_tuned;
    cs_ensemble_count_sequences(methods, N_POLICIES, 1, &n_llm, &n_slm, &n_tuned);
    const cs_ensemble_engines engines = {.llm = create_engine(pool, llm, "llm", n_llm),
                                         .slm = create_engine(pool, slm, "slm", n_slm),
                                         .tuned = create_engine(pool, tuned, "slm", n_tuned)};
    cs_pool_add_sessions(pool, N_JOBS);
    for (size_t j = 0; j < N_JOBS; j++) {
        jobs[j].pool = pool;
        jobs[j].number = j;
        jobs[j].engines = engines;
        jobs[j].engines.order = (int32_t)j;
        assert_int_equal(pthread_create(&jobs[j].thread, NULL, run_job, &jobs[j]), 0);
    }
    for (size_t j = 0; j < N_JOBS; j++) {
        (void)pthread_join(jobs[j].thread, NULL);
    }
    cs_engine_free(engines.llm);
    cs_engine_free(engines.slm);
    cs_engine_free(engines.tuned);
    cs_pool_free(pool);
}

static void test_ensemble__every_method_in_a_pool_is_the_one_by_itself(void **state)
{
    (void)state;
    job *jobs = calloc((size_t)2 * N_JOBS, sizeof *jobs);
    assert_non_null(jobs);
    run_jobs(jobs);
    run_jobs(jobs + N_JOBS);
    for (size_t j = 0; j < N_JOBS; j++) {
        for (size_t i = 0; i < N_POLICIES; i++) {
            const answer *got = &jobs[j].answers[i];
            const answer *again = &jobs[N_JOBS + j].answers[i];
            assert_policy(&policies[i], &cases[j % N_CASES], got);
            assert_int_equal(got->n, again->n);
            assert_memory_equal(got->tokens, again->tokens, got->n * sizeof *got->tokens);
        }
    }
    free(jobs);
}

/* An SLM that reads several rows at a position, because its tokens are others. */
static void test_ensemble__in_a_pool_takes_an_slm_of_another_vocabulary(void **state)
{
    (void)state;
    costeer_error err = {.message = ""};
    costeer_model *other = load_model(COSTEER_TEST_MODELS_DIR "/costeer-slm-other.gguf");
    costeer_vocab_map *map = NULL;
    const costeer_vocab_map_params by_bytes = {.mode = COSTEER_VOCAB_BYTE};
    assert_ok(costeer_vocab_map_create(llm, other, &by_bytes, &map, &err), &err);
    costeer_ensemble_params params = default_params();
    params.slm = other;
    params.vocab_map = map;
    costeer_ensemble *alone = create(&params);
    const answer expected = ask(alone, &cases[0], "costeer", weight_of("costeer"), 1);
    costeer_ensemble_free(alone);

    cs_pool *pool = NULL;
    assert_ok(cs_pool_create(false, &pool, &err), &err);
    const cs_engine_params slm_params = {
        .component = "slm", .n_sequences = 2, .n_ctx = 512, .n_threads = 1, .n_rows = 2 * cs_ensemble_rows_per_sequence(&params)};
    cs_ensemble_engines engines = {.llm = create_engine(pool, llm, "llm", 1)};
    assert_ok(cs_engine_create(pool, other, &slm_params, &engines.slm, &err), &err);
    cs_pool_add_sessions(pool, 1);
    costeer_ensemble *pooled = NULL;
    assert_ok(cs_ensemble_create_pooled(&params, &engines, &pooled, &err), &err);
    const answer got = ask(pooled, &cases[0], "costeer", weight_of("costeer"), 1);
    costeer_ensemble_free(pooled);
    cs_pool_leave(pool);
    assert_int_equal(got.n, expected.n);
    assert_memory_equal(got.tokens, expected.tokens, got.n * sizeof *got.tokens);
    assert_true(got.report.n_steered > 0 || MAX_TOKENS < 24);
    cs_engine_free(engines.slm);
    cs_engine_free(engines.llm);
    cs_pool_free(pool);
    costeer_vocab_map_free(map);
    costeer_model_free(other);
}

static void test_ensemble__counts_what_a_pool_needs(void **state)
{
    (void)state;
    const struct {
        const char *names[3];
        int32_t n_contexts, llm, slm, tuned;
    } counts[] = {
        {{"llm"}, 1, 1, 0, 0},
        {{"costeer"}, 3, 1, 4, 0},
        {{"slm", "slm+context"}, 1, 0, 1, 0},
        {{"proxy-tuning"}, 1, 1, 1, 1},
        {{"amulet", "llm"}, 1, 2, 0, 0},
        {{"costeer", "slm", "proxy-tuning"}, 1, 1, 2, 1}, /* in turn, not together */
    };
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        const costeer_method *methods[3];
        size_t n = 0;
        for (; n < 3 && counts[i].names[n] != NULL; n++) {
            methods[n] = method(counts[i].names[n]);
        }
        int32_t n_llm, n_slm, n_tuned;
        cs_ensemble_count_sequences(methods, n, counts[i].n_contexts, &n_llm, &n_slm, &n_tuned);
        assert_int_equal(n_llm, counts[i].llm);
        assert_int_equal(n_slm, counts[i].slm);
        assert_int_equal(n_tuned, counts[i].tuned);
    }
    costeer_ensemble_params params = default_params();
    assert_int_equal(cs_ensemble_rows_per_sequence(&params), 1);
    params.n_drafts = 3;
    assert_int_equal(cs_ensemble_rows_per_sequence(&params), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ensemble__every_method_over_a_node_is_the_one_in_this_process),
        cmocka_unit_test(test_ensemble__does_not_show_the_context_unless_it_may),
        cmocka_unit_test(test_ensemble__says_that_it_could_not_connect),
        cmocka_unit_test(test_ensemble__every_method_in_a_pool_is_the_one_by_itself),
        cmocka_unit_test(test_ensemble__in_a_pool_takes_an_slm_of_another_vocabulary),
        cmocka_unit_test(test_ensemble__counts_what_a_pool_needs),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
