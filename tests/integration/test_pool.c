/* Several answers in shared batches: the same bits whatever the timing, shared indeed, and failures that stay in their place. */
#include "cloud/pooled.h"
#include "support/pool_support.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N_CTX 256

static costeer_tokens prompt;
static costeer_tokens other_prompt;

static int set_up(void **state)
{
    (void)load_pair(state);
    prompt = build_prompt(llm_model, NULL, "Write a short bio.");
    other_prompt = build_prompt(llm_model, NULL, "Write a note to my landlord about the broken window in the kitchen.");
    return 0;
}

static int tear_down(void **state)
{
    costeer_tokens_dispose(&prompt);
    costeer_tokens_dispose(&other_prompt);
    return free_pair(state);
}

/* ---- views of one engine, on one thread -------------------------------------------------------------------------- */

typedef struct shared {
    cs_pool *pool;
    cs_engine *engine;
} shared;

static shared create_shared(int32_t n_sequences, int32_t n_rows)
{
    shared out = {0};
    costeer_error err = {0};
    const cs_engine_params params = {
        .component = "llm", .n_sequences = n_sequences, .n_ctx = N_CTX, .n_threads = 1, .n_rows = n_rows};
    assert_ok(cs_pool_create(false, &out.pool, &err), &err);
    assert_ok(cs_engine_create(out.pool, llm_model, &params, &out.engine, &err), &err);
    return out;
}

static void free_shared(shared *of)
{
    cs_engine_free(of->engine);
    cs_pool_free(of->pool);
}

static cs_decoder *open_view(const shared *of, int32_t n_sequences)
{
    cs_decoder *out = NULL;
    costeer_error err = {0};
    const cs_decoder_params params = {.component = "llm", .n_sequences = n_sequences};
    assert_ok(cs_engine_open(of->engine, &params, &out, &err), &err);
    return out;
}

static cs_decoder *create_own(void)
{
    cs_decoder *out = NULL;
    costeer_error err = {0};
    const cs_decoder_params params = {.component = "llm", .n_sequences = 1, .n_ctx = N_CTX, .n_threads = 1};
    assert_ok(cs_decoder_create(llm_model, &params, &out, &err), &err);
    return out;
}

static void set_prompt(cs_decoder *decoder, const costeer_tokens *tokens)
{
    costeer_error err = {0};
    assert_ok(cs_decoder_set_prompt(decoder, 0, tokens->ids, tokens->n, 64, "the prompt", &err), &err);
}

static void prefill(cs_decoder *decoder, const costeer_tokens *tokens)
{
    costeer_error err = {0};
    set_prompt(decoder, tokens);
    assert_ok(cs_decoder_prefill(decoder, NULL, &err), &err);
}

static int32_t argmax(const float *logits)
{
    int32_t best = 0;
    for (int32_t i = 1; i < costeer_model_get_info(llm_model)->n_vocab; i++) {
        best = logits[i] > logits[best] ? i : best;
    }
    return best;
}

static void assert_same_logits(const cs_decoder *a, const cs_decoder *b)
{
    const float *x = cs_decoder_logits(a, 0);
    const float *y = cs_decoder_logits(b, 0);
    assert_non_null(x);
    assert_non_null(y);
    assert_int_equal(argmax(x), argmax(y));
    for (int32_t i = 0; i < costeer_model_get_info(llm_model)->n_vocab; i++) {
        assert_true(fabsf(x[i] - y[i]) <= LOGIT_TOLERANCE);
    }
}

static void test_pool__a_view_computes_what_a_context_of_its_own_does(void **state)
{
    (void)state;
    shared of = create_shared(3, 0);
    cs_decoder *own = create_own();
    cs_decoder *view = open_view(&of, 1);
    const costeer_tokens *const prompts[] = {&prompt, &other_prompt, &prompt};
    for (size_t p = 0; p < 3; p++) {
        prefill(own, prompts[p]);
        prefill(view, prompts[p]);
        for (int i = 0; i < 20; i++) {
            assert_same_logits(own, view);
            const int32_t token = argmax(cs_decoder_logits(own, 0));
            assert_int_equal(cs_decoder_step(own, token, NULL), COSTEER_OK);
            assert_int_equal(cs_decoder_step(view, token, NULL), COSTEER_OK);
        }
        assert_int_equal(cs_decoder_held(view, 0), cs_decoder_held(own, 0));
    }
    cs_decoder_free(own);
    cs_decoder_free(view);
    free_shared(&of);
}

static void test_pool__what_several_views_submit_is_one_batch(void **state)
{
    (void)state;
    shared of = create_shared(3, 0);
    cs_decoder *own = create_own();
    cs_decoder *views[3];
    for (int v = 0; v < 3; v++) {
        views[v] = open_view(&of, 1);
        set_prompt(views[v], v == 1 ? &other_prompt : &prompt);
        assert_int_equal(cs_decoder_start_prefill(views[v], NULL), COSTEER_OK);
    }
    const int32_t before = decode_calls();
    for (int v = 2; v >= 0; v--) {
        assert_int_equal(cs_decoder_finish(views[v], NULL, NULL), COSTEER_OK);
    }
    assert_int_equal(decode_calls() - before, 1);
    prefill(own, &other_prompt);
    assert_same_logits(own, views[1]);
    prefill(own, &prompt);
    assert_same_logits(own, views[0]);
    assert_same_logits(own, views[2]);
    for (int v = 0; v < 3; v++) {
        cs_decoder_free(views[v]);
    }
    cs_decoder_free(own);
    free_shared(&of);
}

static void test_pool__what_does_not_fit_one_batch_is_computed_in_several(void **state)
{
    (void)state;
    shared of = create_shared(5, 2);
    cs_decoder *own = create_own();
    cs_decoder *views[5];
    for (int v = 0; v < 5; v++) {
        views[v] = open_view(&of, 1);
        set_prompt(views[v], v % 2 == 0 ? &other_prompt : &prompt);
        assert_int_equal(cs_decoder_start_prefill(views[v], NULL), COSTEER_OK);
    }
    const int32_t before = decode_calls();
    for (int v = 0; v < 5; v++) {
        assert_int_equal(cs_decoder_finish(views[v], NULL, NULL), COSTEER_OK);
    }
    assert_int_equal(decode_calls() - before, 3); /* two rows of logits each */
    for (int v = 0; v < 5; v++) {
        prefill(own, v % 2 == 0 ? &other_prompt : &prompt);
        assert_same_logits(own, views[v]);
        cs_decoder_free(views[v]);
    }
    cs_decoder_free(own);
    free_shared(&of);
}

static void test_pool__a_prompt_longer_than_a_batch_is_computed_in_chunks(void **state)
{
    (void)state;
    costeer_error err = {0};
    char *text = long_text(llm_model, 700);
    costeer_tokens tokens = build_prompt(llm_model, NULL, text);
    const cs_engine_params params = {.component = "llm", .n_sequences = 2, .n_ctx = 1024, .n_threads = 1};
    const cs_decoder_params own_params = {.component = "llm", .n_sequences = 1, .n_ctx = 1024, .n_threads = 1};
    shared of = {0};
    cs_decoder *own = NULL;
    assert_ok(cs_pool_create(false, &of.pool, &err), &err);
    assert_ok(cs_engine_create(of.pool, llm_model, &params, &of.engine, &err), &err);
    assert_ok(cs_decoder_create(llm_model, &own_params, &own, &err), &err);
    cs_decoder *view = open_view(&of, 1);
    prefill(own, &tokens);
    for (int i = 0; i < 2; i++) { /* and again, as nothing is kept */
        size_t n = 0;
        set_prompt(view, &tokens);
        assert_ok(cs_decoder_prefill(view, &n, &err), &err);
        assert_int_equal(n, tokens.n);
        assert_same_logits(own, view);
    }
    cs_decoder_free(own);
    cs_decoder_free(view);
    free_shared(&of);
    costeer_tokens_dispose(&tokens);
    free(text);
}

static void test_pool__what_is_cut_off_is_gone(void **state)
{
    (void)state;
    shared of = create_shared(2, 0);
    cs_decoder *own = create_own();
    cs_decoder *view = open_view(&of, 1);
    prefill(own, &prompt);
    prefill(view, &prompt);
    const int32_t n = cs_decoder_held(view, 0);
    for (int32_t wrong = 300; wrong < 306; wrong++) {
        assert_int_equal(cs_decoder_step(view, wrong, NULL), COSTEER_OK);
    }
    assert_int_equal(cs_decoder_truncate(view, 0, n + 4), n + 4);
    assert_int_equal(cs_decoder_truncate(view, 0, n), n);
    assert_int_equal(cs_decoder_held(view, 0), n);
    for (int32_t token = 310; token < 314; token++) {
        cs_decoder *const both[] = {own, view};
        for (int d = 0; d < 2; d++) {
            cs_decoder_begin(both[d]);
            const int32_t row = cs_decoder_add(both[d], 0, token, true);
            assert_int_equal(cs_decoder_compute(both[d], NULL), COSTEER_OK);
            assert_non_null(cs_decoder_row(both[d], row));
        }
        const float *a = cs_decoder_row(own, 0);
        const float *b = cs_decoder_row(view, 0);
        for (int32_t i = 0; i < costeer_model_get_info(llm_model)->n_vocab; i++) {
            assert_true(fabsf(a[i] - b[i]) <= LOGIT_TOLERANCE);
        }
    }
    cs_decoder_free(own);
    cs_decoder_free(view);
    free_shared(&of);
}

static void test_pool__a_place_that_was_given_back_begins_empty(void **state)
{
    (void)state;
    shared of = create_shared(2, 0);
    cs_decoder *own = create_own();
    prefill(own, &prompt);
    for (int i = 0; i < 3; i++) {
        cs_decoder *first = open_view(&of, 1);
        cs_decoder *second = open_view(&of, 1);
        prefill(first, &other_prompt);
        prefill(second, &prompt);
        assert_same_logits(own, second);
        cs_decoder_free(first);
        cs_decoder *third = open_view(&of, 1);
        prefill(third, &prompt);
        assert_same_logits(own, third);
        assert_same_logits(own, second); /* its rows are copies */
        cs_decoder_free(second);
        cs_decoder_free(third);
    }
    cs_decoder_free(own);
    free_shared(&of);
}

static void test_pool__a_submitted_batch_can_be_abandoned(void **state)
{
    (void)state;
    shared of = create_shared(2, 0);
    cs_decoder *own = create_own();
    cs_decoder *view = open_view(&of, 1);
    cs_decoder *other = open_view(&of, 1);
    prefill(own, &prompt);
    prefill(other, &prompt);
    set_prompt(view, &other_prompt);
    assert_int_equal(cs_decoder_start_prefill(view, NULL), COSTEER_OK);
    cs_decoder_abandon(view); /* not taken yet */
    assert_int_equal(cs_decoder_held(view, 0), 0);
    prefill(view, &prompt);
    assert_same_logits(own, view);
    assert_int_equal(cs_decoder_start_step(view, 300, NULL), COSTEER_OK);
    assert_int_equal(cs_decoder_step(other, 300, NULL), COSTEER_OK); /* computes both */
    cs_decoder_abandon(view);
    assert_int_equal(cs_decoder_step(view, 300, NULL), COSTEER_ESTATE);
    prefill(view, &prompt);
    assert_same_logits(own, view);
    assert_int_equal(cs_decoder_start_step(view, 300, NULL), COSTEER_OK);
    cs_decoder_free(view); /* with a batch that nobody waits for */
    cs_decoder_free(other);
    cs_decoder_free(own);
    free_shared(&of);
}

static void test_pool__a_batch_that_fails_fails_for_all_its_views_and_is_over_then(void **state)
{
    (void)state;
    shared of = create_shared(2, 0);
    cs_decoder *own = create_own();
    cs_decoder *a = open_view(&of, 1);
    cs_decoder *b = open_view(&of, 1);
    costeer_error err = {0};
    prefill(own, &prompt);
    prefill(a, &prompt);
    prefill(b, &prompt);
    assert_int_equal(cs_decoder_start_step(a, 300, NULL), COSTEER_OK);
    assert_int_equal(cs_decoder_start_step(b, 301, NULL), COSTEER_OK);
    fail_decode(0);
    assert_int_equal(cs_decoder_finish(a, NULL, &err), COSTEER_EINTERNAL);
    assert_non_null(strstr(err.message, "failed to decode a batch of 2 tokens"));
    assert_int_equal(cs_decoder_finish(b, NULL, &err), COSTEER_EINTERNAL);
    assert_int_equal(cs_decoder_held(a, 0), (int32_t)prompt.n); /* what llama.cpp has */
    assert_null(cs_decoder_logits(a, 0));
    prefill(a, &prompt);
    prefill(b, &prompt);
    assert_same_logits(own, a);
    assert_same_logits(own, b);
    cs_decoder_free(a);
    cs_decoder_free(b);
    cs_decoder_free(own);
    free_shared(&of);
}

static void test_pool__refuses_more_than_an_engine_has(void **state)
{
    (void)state;
    shared of = create_shared(3, 2);
    cs_decoder *view = NULL;
    costeer_error err = {0};
    cs_decoder_params params = {.component = "llm", .n_sequences = 3};
    assert_int_equal(cs_engine_open(of.engine, &params, &view, &err), COSTEER_EINVAL); /* rows */
    assert_null(view);
    params.n_rows = 2;
    params.n_sequences = 4;
    assert_int_equal(cs_engine_open(of.engine, &params, &view, &err), COSTEER_EINVAL); /* sequences */
    params.n_sequences = 0;
    assert_int_equal(cs_engine_open(of.engine, &params, &view, &err), COSTEER_EINVAL);
    cs_decoder *two = open_view(&of, 2);
    params.n_sequences = 2;
    assert_int_equal(cs_engine_open(of.engine, &params, &view, &err), COSTEER_EINVAL); /* one is left */
    assert_non_null(strstr(err.message, "has not so many left of 3"));
    cs_decoder_free(two);
    assert_ok(cs_engine_open(of.engine, &params, &view, &err), &err);
    cs_decoder_free(view);
    const cs_engine_params too_many = {.component = "llm", .n_sequences = 257, .n_ctx = N_CTX, .n_threads = 1};
    cs_engine *engine = NULL;
    assert_int_equal(cs_engine_create(of.pool, llm_model, &too_many, &engine, &err), COSTEER_EINVAL);
    assert_null(engine);
    assert_non_null(strstr(err.message, "257 sequences"));
    cs_engine_free(NULL);
    cs_pool_free(NULL);
    free_shared(&of);
}

/* ---- sessions ---------------------------------------------------------------------------------------------------- */

/* Four of different lengths, the last one asking twice. */
static pool_run four_sessions(void)
{
    return (pool_run){
        .n_ctx = N_CTX,
        .n_sessions = 4,
        .sessions = {
            {.context = "My name is Soraya Behrouz and I live in Turin.", .query = "Write a short bio.", .max_tokens = 28},
            {.context = "I am a baker.", .query = "Write a note to my landlord about the broken window.", .max_tokens = 17},
            {.context = "My dog is called Argos. We walk along the river every morning, and he likes the rain.",
             .query = "Write a post about my pet.",
             .max_tokens = 22},
            {.context = "I play the cello.", .query = "Write a short bio.", .max_tokens = 9, .n_answers = 2},
        }};
}

static void assert_all_answered(const pool_run *run)
{
    for (int32_t i = 0; i < run->n_sessions; i++) {
        const pool_session *session = &run->sessions[i];
        assert_ok(session->result, &session->error);
        assert_int_equal(session->n_tokens, session->max_tokens * (session->n_answers > 0 ? session->n_answers : 1));
    }
}

static void assert_same_bits(const pool_session *a, const pool_session *b)
{
    assert_int_equal(a->n_tokens, b->n_tokens);
    assert_true(a->tokens_hash == b->tokens_hash);
    assert_true(a->base_hash == b->base_hash);
    assert_true(a->deltas_hash == b->deltas_hash);
}

static void test_pool__the_same_bits_whatever_the_timing(void **state)
{
    (void)state;
    pool_run first = four_sessions();
    run_pool(&first);
    assert_all_answered(&first);
    assert_true(first.sessions[0].base_hash != first.sessions[2].base_hash);
    for (uint64_t naps = 1; naps <= 4; naps++) {
        pool_run again = four_sessions();
        again.naps = naps * 1000;
        run_pool(&again);
        assert_all_answered(&again);
        for (int32_t i = 0; i < first.n_sessions; i++) {
            assert_same_bits(&first.sessions[i], &again.sessions[i]);
        }
    }
}

static void test_pool__sessions_share_their_batches(void **state)
{
    (void)state;
    pool_run run = {.n_ctx = N_CTX, .n_sessions = 4};
    for (int32_t i = 0; i < run.n_sessions; i++) {
        run.sessions[i] = (pool_session){.context = "I am a baker.", .query = "Write a short bio.", .max_tokens = 30};
    }
    const int32_t before = decode_calls();
    run_pool(&run);
    assert_all_answered(&run);
    assert_int_equal(decode_calls() - before, 2 * 30); /* prompts and 29 steps, of each model */
}

static void test_pool__a_session_that_fails_leaves_the_others_alone(void **state)
{
    (void)state;
    pool_run first = four_sessions();
    first.sessions[1].abort_at = 7;
    first.sessions[2].max_tokens = N_CTX; /* too long: an error before anything is computed */
    run_pool(&first);
    assert_int_equal(first.sessions[1].result, COSTEER_EABORTED);
    assert_int_equal(first.sessions[1].n_tokens, 8);
    assert_int_equal(first.sessions[2].result, COSTEER_ETOOLONG);
    assert_ok(first.sessions[0].result, &first.sessions[0].error);
    assert_int_equal(first.sessions[0].n_tokens, 28);
    assert_ok(first.sessions[3].result, &first.sessions[3].error);
    pool_run again = four_sessions();
    again.sessions[1].abort_at = 7;
    again.sessions[2].max_tokens = N_CTX;
    again.naps = 77;
    run_pool(&again);
    for (int32_t i = 0; i < first.n_sessions; i++) {
        assert_same_bits(&first.sessions[i], &again.sessions[i]);
    }
}

static void test_pool__a_batch_that_fails_ends_its_sessions_and_not_the_pool(void **state)
{
    (void)state;
    pool_run run = four_sessions();
    fail_decode(20);
    run_pool(&run);
    int32_t n_failed = 0;
    for (int32_t i = 0; i < run.n_sessions; i++) {
        n_failed += run.sessions[i].result == COSTEER_EINTERNAL;
        assert_true(run.sessions[i].result == COSTEER_EINTERNAL || run.sessions[i].result == COSTEER_OK);
    }
    assert_true(n_failed > 0);
}

static void test_pool__cancelled_by_one_all_end(void **state)
{
    (void)state;
    for (int32_t eager = 0; eager < 2; eager++) {
        pool_run run = four_sessions();
        run.is_eager = eager == 1;
        run.sessions[2].cancel_at = 5;
        run.sessions[0].wait_at = run.is_eager ? 20 : 0; /* else it could be over before the third began */
        run_pool(&run);
        assert_int_equal(run.sessions[2].result, COSTEER_ECANCELED);
        assert_int_equal(run.sessions[2].n_tokens, 6);
        assert_int_equal(run.sessions[0].result, COSTEER_ECANCELED);
        assert_true(run.sessions[0].n_tokens < 28);
    }
}

static void test_pool__eager_engines_answer_too(void **state)
{
    (void)state;
    pool_run run = four_sessions();
    run.is_eager = true;
    run.naps = 5;
    run_pool(&run);
    assert_all_answered(&run);
}

/* ---- the cloud --------------------------------------------------------------------------------------------------- */

static void test_pool__a_pooled_cloud_keeps_the_order_of_calls(void **state)
{
    (void)state;
    shared of = create_shared(1, 0);
    costeer_cloud *cloud = NULL;
    costeer_error err = {0};
    costeer_distribution out;
    assert_ok(cs_cloud_create_pooled(open_view(&of, 1), llm_model, &cloud, &err), &err);
    const costeer_cloud_request request = {.prompt = prompt.ids, .n_prompt = prompt.n, .top_k = 8, .max_tokens = 3};
    assert_int_equal(costeer_cloud_next(cloud, 0, &out, &err), COSTEER_ESTATE);
    for (int i = 0; i < 2; i++) {
        assert_ok(costeer_cloud_open(cloud, &request, &err), &err);
        assert_int_equal(costeer_cloud_open(cloud, &request, &err), COSTEER_ESTATE);
        assert_int_equal(costeer_cloud_commit(cloud, 0, 5, &err), COSTEER_ESTATE); /* before next */
        assert_ok(costeer_cloud_next(cloud, 0, &out, &err), &err);
        assert_int_equal(out.base.n, 8);
        assert_ok(costeer_cloud_next(cloud, 0, &out, &err), &err); /* may be asked again */
        assert_ok(costeer_cloud_deepen(cloud, 0, 0, &out, &err), &err);
        assert_int_equal(out.own_token, argmax(out.base.values));
        assert_int_equal(costeer_cloud_commit(cloud, 0, costeer_model_get_info(llm_model)->n_vocab, &err), COSTEER_EINVAL);
        assert_ok(costeer_cloud_commit(cloud, 0, out.own_token, &err), &err);
        costeer_cloud_close(cloud); /* with a step that was submitted */
        costeer_cloud_close(cloud);
    }
    atomic_bool cancel = true;
    costeer_cloud_request cancelled = request;
    cancelled.cancel = &cancel;
    assert_ok(costeer_cloud_open(cloud, &cancelled, &err), &err);
    assert_int_equal(costeer_cloud_next(cloud, 0, &out, &err), COSTEER_ECANCELED);
    assert_int_equal(costeer_cloud_next(cloud, 0, &out, &err), COSTEER_ESTATE); /* told once */
    costeer_cloud_close(cloud);
    assert_ok(costeer_cloud_open(cloud, &request, &err), &err);
    assert_ok(costeer_cloud_next(cloud, 0, &out, &err), &err);
    costeer_cloud_free(cloud); /* open */
    free_shared(&of);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool__a_view_computes_what_a_context_of_its_own_does),
        cmocka_unit_test(test_pool__what_several_views_submit_is_one_batch),
        cmocka_unit_test(test_pool__what_does_not_fit_one_batch_is_computed_in_several),
        cmocka_unit_test(test_pool__a_prompt_longer_than_a_batch_is_computed_in_chunks),
        cmocka_unit_test(test_pool__what_is_cut_off_is_gone),
        cmocka_unit_test(test_pool__a_place_that_was_given_back_begins_empty),
        cmocka_unit_test(test_pool__a_submitted_batch_can_be_abandoned),
        cmocka_unit_test(test_pool__a_batch_that_fails_fails_for_all_its_views_and_is_over_then),
        cmocka_unit_test(test_pool__refuses_more_than_an_engine_has),
        cmocka_unit_test(test_pool__the_same_bits_whatever_the_timing),
        cmocka_unit_test(test_pool__sessions_share_their_batches),
        cmocka_unit_test(test_pool__a_session_that_fails_leaves_the_others_alone),
        cmocka_unit_test(test_pool__a_batch_that_fails_ends_its_sessions_and_not_the_pool),
        cmocka_unit_test(test_pool__cancelled_by_one_all_end),
        cmocka_unit_test(test_pool__eager_engines_answer_too),
        cmocka_unit_test(test_pool__a_pooled_cloud_keeps_the_order_of_calls),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
