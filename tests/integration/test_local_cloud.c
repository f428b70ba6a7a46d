/* The cloud that is a model in this process: order of calls, the base it gives, stopping, errors. */
#include "support/gguf_edit.h"
#include "support/models.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static costeer_model *model;
static costeer_tokens prompt;
static int32_t n_vocab;

static int load_llm(void **state)
{
    (void)state;
    model = load_model(LLM_PATH);
    n_vocab = costeer_model_get_info(model)->n_vocab;
    prompt = build_prompt(model, NULL, "Write a short bio.");
    return 0;
}

static int free_llm(void **state)
{
    (void)state;
    costeer_tokens_dispose(&prompt);
    costeer_model_free(model);
    return 0;
}

static costeer_cloud *create_cloud(const costeer_model *of, int32_t n_ctx)
{
    costeer_cloud *cloud = NULL;
    costeer_error err = {0};
    const costeer_local_params local_params = {.n_ctx = n_ctx, .n_threads = 1};
    assert_ok(costeer_cloud_create_local(of, &local_params, &cloud, &err), &err);
    return cloud;
}

static costeer_err open_with(costeer_cloud *cloud, const costeer_tokens *tokens, int32_t top_k, costeer_error *err)
{
    const costeer_cloud_request request = {.prompt = tokens->ids, .n_prompt = tokens->n, .top_k = top_k, .max_tokens = 64};
    return costeer_cloud_open(cloud, &request, err);
}

static costeer_distribution next(costeer_cloud *cloud, int32_t position)
{
    costeer_distribution out = {0};
    costeer_error err = {0};
    assert_ok(costeer_cloud_next(cloud, position, &out, &err), &err);
    assert_int_equal(out.position, position);
    return out;
}

/* ---- the base ---------------------------------------------------------------------------------------------------- */

static void assert_is_top_k(const costeer_base *sparse, const float *logits, int32_t k)
{
    const double normaliser = costeer_logsumexp(logits, n_vocab);
    assert_int_equal(sparse->n, k);
    for (int32_t i = 0; i < k; i++) {
        assert_true(fabs((double)sparse->values[i] - ((double)logits[sparse->ids[i]] - normaliser)) < 1e-5);
        assert_true(i == 0 || sparse->values[i - 1] > sparse->values[i] ||
                    (sparse->values[i - 1] == sparse->values[i] && sparse->ids[i - 1] < sparse->ids[i]));
    }
    int32_t n_better = 0;
    for (int32_t i = 0; i < n_vocab; i++) {
        n_better += logits[i] > logits[sparse->ids[k - 1]];
    }
    assert_true(n_better < k);
}

static void test_local_cloud__top_k_is_the_top_of_the_dense_base(void **state)
{
    (void)state;
    costeer_cloud *dense_cloud = create_cloud(model, 512);
    costeer_cloud *sparse_cloud = create_cloud(model, 512);
    assert_int_equal(open_with(dense_cloud, &prompt, 0, NULL), COSTEER_OK);
    assert_int_equal(open_with(sparse_cloud, &prompt, 8, NULL), COSTEER_OK);
    for (int32_t position = 0; position < 10; position++) {
        const costeer_distribution dense = next(dense_cloud, position);
        costeer_distribution sparse = next(sparse_cloud, position);
        assert_null(dense.base.ids);
        assert_int_equal(dense.base.n, n_vocab);
        assert_int_equal(dense.own_token, sparse.own_token);
        assert_int_equal(sparse.base.ids[0], sparse.own_token);
        assert_is_top_k(&sparse.base, dense.base.values, 8);
        assert_int_equal(costeer_cloud_deepen(sparse_cloud, position, 100, &sparse, NULL), COSTEER_OK);
        assert_is_top_k(&sparse.base, dense.base.values, 100);
        assert_int_equal(costeer_cloud_deepen(sparse_cloud, position, n_vocab - 1, &sparse, NULL), COSTEER_OK);
        assert_is_top_k(&sparse.base, dense.base.values, n_vocab - 1);
        assert_int_equal(costeer_cloud_deepen(sparse_cloud, position, 0, &sparse, NULL), COSTEER_OK);
        assert_null(sparse.base.ids);
        assert_memory_equal(sparse.base.values, dense.base.values, (size_t)n_vocab * sizeof(float));
        assert_int_equal(costeer_cloud_commit(dense_cloud, position, dense.own_token, NULL), COSTEER_OK);
        assert_int_equal(costeer_cloud_commit(sparse_cloud, position, dense.own_token, NULL), COSTEER_OK);
    }
    costeer_cloud_free(dense_cloud);
    costeer_cloud_free(sparse_cloud);
}

static void test_local_cloud__next_may_be_asked_again(void **state)
{
    (void)state;
    costeer_cloud *cloud = create_cloud(model, 512);
    assert_int_equal(open_with(cloud, &prompt, 0, NULL), COSTEER_OK);
    const costeer_distribution once = next(cloud, 0);
    const costeer_distribution twice = next(cloud, 0);
    assert_ptr_equal(once.base.values, twice.base.values);
    costeer_cloud_free(cloud);
}

/* ---- order ------------------------------------------------------------------------------------------------------- */

static void test_local_cloud__calls_out_of_order_are_errors_and_change_nothing(void **state)
{
    (void)state;
    costeer_cloud *cloud = create_cloud(model, 512);
    costeer_distribution out;
    costeer_error err = {0};
    assert_int_equal(costeer_cloud_next(cloud, 0, &out, &err), COSTEER_ESTATE); /* not open */
    assert_int_equal(costeer_cloud_commit(cloud, 0, 5, &err), COSTEER_ESTATE);
    assert_int_equal(costeer_cloud_deepen(cloud, 0, 5, &out, &err), COSTEER_ESTATE);
    assert_int_equal(open_with(cloud, &prompt, 0, &err), COSTEER_OK);
    assert_int_equal(open_with(cloud, &prompt, 0, &err), COSTEER_ESTATE);      /* open already */
    assert_int_equal(costeer_cloud_commit(cloud, 0, 5, &err), COSTEER_ESTATE); /* before next */
    assert_non_null(strstr(err.message, "next has not been called"));
    assert_int_equal(costeer_cloud_next(cloud, 1, &out, &err), COSTEER_ESTATE); /* not there yet */
    (void)next(cloud, 0);
    assert_int_equal(costeer_cloud_commit(cloud, 1, 5, &err), COSTEER_ESTATE);
    assert_int_equal(costeer_cloud_commit(cloud, 0, n_vocab, &err), COSTEER_EINVAL);
    assert_int_equal(costeer_cloud_commit(cloud, 0, 300, &err), COSTEER_OK);
    assert_int_equal(costeer_cloud_commit(cloud, 0, 300, &err), COSTEER_ESTATE); /* twice */
    assert_int_equal(costeer_cloud_next(cloud, 0, &out, &err), COSTEER_ESTATE);  /* gone */
    (void)next(cloud, 1);
    costeer_cloud_free(cloud);
}

static void test_local_cloud__refuses_bad_arguments(void **state)
{
    (void)state;
    costeer_cloud *cloud = create_cloud(model, 512);
    costeer_error err = {0};
    costeer_distribution out;
    costeer_cloud_request request = {.prompt = prompt.ids, .n_prompt = 0, .max_tokens = 5};
    assert_int_equal(costeer_cloud_open(cloud, &request, &err), COSTEER_EINVAL);
    request.n_prompt = prompt.n;
    request.top_k = -1;
    assert_int_equal(costeer_cloud_open(cloud, &request, &err), COSTEER_EINVAL);
    request.top_k = 0;
    request.max_tokens = 0;
    assert_int_equal(costeer_cloud_open(cloud, &request, &err), COSTEER_EINVAL);
    assert_int_equal(costeer_cloud_open(NULL, &request, &err), COSTEER_EINVAL);
    assert_int_equal(costeer_cloud_next(cloud, -1, &out, &err), COSTEER_EINVAL);
    request.max_tokens = 1;
    assert_int_equal(costeer_cloud_open(cloud, &request, &err), COSTEER_OK);
    (void)next(cloud, 0);
    assert_int_equal(costeer_cloud_commit(cloud, 0, 300, &err), COSTEER_ESTATE); /* beyond max_tokens */
    costeer_cloud_free(cloud);
    assert_int_equal(costeer_cloud_create_local(model, &(costeer_local_params){.n_threads = 0}, &cloud, &err), COSTEER_EINVAL);
    assert_int_equal(costeer_cloud_create_local(model, &(costeer_local_params){.n_threads = 1, .n_ctx = -5}, &cloud, &err),
                     COSTEER_EINVAL);
    costeer_cloud_close(NULL);
    costeer_cloud_free(NULL);
}

static void test_local_cloud__too_long_names_both_sizes(void **state)
{
    (void)state;
    char *text = long_text(model, 600);
    costeer_tokens tokens = build_prompt(model, NULL, text);
    costeer_cloud *cloud = create_cloud(model, 512);
    costeer_error err = {0};
    assert_int_equal(open_with(cloud, &tokens, 0, &err), COSTEER_ETOOLONG);
    assert_non_null(strstr(err.message, "up to 64 of answer do not fit the 512"));
    assert_int_equal(open_with(cloud, &prompt, 0, &err), COSTEER_OK); /* still usable */
    costeer_cloud_free(cloud);
    costeer_tokens_dispose(&tokens);
    free(text);
}

/* ---- stopping ---------------------------------------------------------------------------------------------------- */

static void test_local_cloud__closed_while_computing_it_answers_the_next_prompt_correctly(void **state)
{
    (void)state;
    char *text = long_text(model, 800);
    costeer_tokens tokens = build_prompt(model, NULL, text);
    costeer_cloud *reference = create_cloud(model, 1024);
    assert_int_equal(open_with(reference, &prompt, 0, NULL), COSTEER_OK);
    const costeer_distribution expected = next(reference, 0);
    costeer_cloud *cloud = create_cloud(model, 1024);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(open_with(cloud, &tokens, 0, NULL), COSTEER_OK);
        costeer_cloud_close(cloud); /* while the prompt is read */
        costeer_cloud_close(cloud); /* closing twice is harmless */
        assert_int_equal(open_with(cloud, &prompt, 0, NULL), COSTEER_OK);
        const costeer_distribution got = next(cloud, 0);
        assert_int_equal(got.own_token, expected.own_token);
        for (int32_t t = 0; t < n_vocab; t++) {
            assert_true(fabsf(got.base.values[t] - expected.base.values[t]) < 5e-3F);
        }
        assert_int_equal(costeer_cloud_commit(cloud, 0, got.own_token, NULL), COSTEER_OK);
        costeer_cloud_close(cloud); /* while a step runs */
    }
    assert_int_equal(open_with(cloud, &tokens, 0, NULL), COSTEER_OK);
    costeer_cloud_free(cloud); /* freed while computing */
    costeer_cloud_free(reference);
    costeer_tokens_dispose(&tokens);
    free(text);
}

static void *set_soon(void *user)
{
    atomic_store((atomic_bool *)user, true);
    return NULL;
}

static void test_local_cloud__cancelled_from_another_thread_next_returns(void **state)
{
    (void)state;
    char *text = long_text(model, 800);
    costeer_tokens tokens = build_prompt(model, NULL, text);
    costeer_cloud *cloud = create_cloud(model, 1024);
    atomic_bool cancel = false;
    const costeer_cloud_request request = {.prompt = tokens.ids, .n_prompt = tokens.n, .max_tokens = 64, .cancel = &cancel};
    assert_int_equal(costeer_cloud_open(cloud, &request, NULL), COSTEER_OK);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, set_soon, &cancel), 0);
    costeer_distribution out;
    costeer_error err = {0};
    assert_int_equal(costeer_cloud_next(cloud, 0, &out, &err), COSTEER_ECANCELED);
    assert_int_equal(costeer_cloud_next(cloud, 0, &out, &err), COSTEER_ESTATE); /* told once */
    assert_int_equal(pthread_join(thread, NULL), 0);
    costeer_cloud_close(cloud);
    assert_int_equal(open_with(cloud, &prompt, 0, NULL), COSTEER_OK);
    (void)next(cloud, 0);
    costeer_cloud_free(cloud);
    costeer_tokens_dispose(&tokens);
    free(text);
}

/* ---- a broken model ---------------------------------------------------------------------------------------------- */

static void test_local_cloud__nan_logits_are_an_error(void **state)
{
    (void)state;
    gguf_edit *edit = gguf_edit_open(SLM_PATH);
    gguf_edit_fill_nan(edit, "output_norm.weight");
    gguf_edit_write(edit, TMP_PATH("nan.gguf"), false);
    costeer_model *broken = load_model(TMP_PATH("nan.gguf"));
    costeer_cloud *cloud = create_cloud(broken, 512);
    costeer_distribution out;
    costeer_error err = {0};
    assert_int_equal(open_with(cloud, &prompt, 8, NULL), COSTEER_OK);
    assert_int_equal(costeer_cloud_next(cloud, 0, &out, &err), COSTEER_ENUMERIC);
    costeer_cloud_close(cloud);
    const costeer_vocab vocab = costeer_model_vocab(broken);
    costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    costeer_session *session = NULL;
    costeer_report report;
    assert_ok(costeer_session_create(cloud, NULL, &vocab, &params, &session, &err), &err);
    assert_int_equal(costeer_session_run(session, prompt.ids, prompt.n, &report, &err), COSTEER_ENUMERIC);
    assert_int_equal(report.n_tokens, 0);
    costeer_session_free(session);
    costeer_cloud_free(cloud);
    costeer_model_free(broken);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_local_cloud__top_k_is_the_top_of_the_dense_base),
        cmocka_unit_test(test_local_cloud__next_may_be_asked_again),
        cmocka_unit_test(test_local_cloud__calls_out_of_order_are_errors_and_change_nothing),
        cmocka_unit_test(test_local_cloud__refuses_bad_arguments),
        cmocka_unit_test(test_local_cloud__too_long_names_both_sizes),
        cmocka_unit_test(test_local_cloud__closed_while_computing_it_answers_the_next_prompt_correctly),
        cmocka_unit_test(test_local_cloud__cancelled_from_another_thread_next_returns),
        cmocka_unit_test(test_local_cloud__nan_logits_are_an_error),
    };
    return cmocka_run_group_tests(tests, load_llm, free_llm);
}
