/* Continuous batching with the built-in LLM: the same answers as alone, corrections, order, sharing, ends. */
#include "core/decoder.h"
#include "support/batch_client.h"
#include "support/models.h"
#include "support/truncate.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N_TOKENS  24
#define N_PROMPTS 6

/* What may change places, and by how much log-probabilities may differ: by the rounding of a sum; where batches of other sizes
 * round otherwise, by what was seen and some more. Another text differs by whole nats. */
#define NEAR      (1e-9 + 0.1 * (double)LOGIT_TOLERANCE)
#define TOLERANCE (4e-6 + 2.0 * (double)LOGIT_TOLERANCE)

static costeer_model *model;
static costeer_cloud *local;
static int32_t n_vocab;
static costeer_tokens prompts[N_PROMPTS];
static int32_t greedy[N_PROMPTS][N_TOKENS]; /* the model's own text */
static int32_t n_greedy[N_PROMPTS];         /* up to and including an end token */
static double margins[N_PROMPTS][N_TOKENS]; /* between the best two */
static batch_bench bench;

static const char *const queries[N_PROMPTS] = {"Write a short bio.",          "What shall we cook tonight?", "Plan a weekend.",
                                               "Write a letter to a friend.", "Tell me about my family.",    "Hello!"};

/* ---- the reference: the same model, alone ------------------------------------------------------------------------ */

static void run_alone(int32_t p)
{
    costeer_error err = {0};
    const costeer_cloud_request request = {.prompt = prompts[p].ids, .n_prompt = prompts[p].n, .max_tokens = N_TOKENS};
    assert_ok(costeer_cloud_open(local, &request, &err), &err);
    for (int32_t i = 0; i < N_TOKENS; i++) {
        costeer_distribution d;
        assert_ok(costeer_cloud_next(local, i, &d, &err), &err);
        double second = -INFINITY;
        for (int32_t t = 0; t < n_vocab; t++) {
            second = t != d.own_token && (double)d.base.values[t] > second ? (double)d.base.values[t] : second;
        }
        margins[p][i] = (double)d.base.values[d.own_token] - second;
        greedy[p][i] = d.own_token;
        n_greedy[p] = i + 1;
        if (costeer_model_is_end(model, d.own_token) || i + 1 == N_TOKENS) {
            break;
        }
        assert_ok(costeer_cloud_commit(local, i, d.own_token, &err), &err);
    }
    costeer_cloud_close(local);
}

/* The distribution behind prompt p and tokens[0..n) must be this one. */
static void assert_is_behind(const client_event *event, int32_t p, const int32_t *tokens, int32_t n)
{
    int32_t all[512];
    assert_true(prompts[p].n + (size_t)n <= 512);
    memcpy(all, prompts[p].ids, prompts[p].n * sizeof *all);
    memcpy(all + prompts[p].n, tokens, (size_t)n * sizeof *all);
    const costeer_cloud_request request = {.prompt = all, .n_prompt = prompts[p].n + (size_t)n, .max_tokens = 1};
    costeer_error err = {0};
    costeer_distribution d;
    assert_ok(costeer_cloud_open(local, &request, &err), &err);
    assert_ok(costeer_cloud_next(local, 0, &d, &err), &err);
    const double normaliser = costeer_logsumexp(d.base.values, n_vocab);
    double largest = 0;
    for (int32_t i = 0; i < event->n; i++) {
        const double expected = (double)d.base.values[event->ids[i]] - normaliser;
        largest = fmax(largest, fabs((double)event->logprobs[i] - expected));
    }
    const double lost = (double)d.base.values[d.own_token] - (double)d.base.values[event->own_token];
    costeer_cloud_close(local);
    assert_int_equal(event->position, n);
    if (largest >= TOLERANCE || lost >= NEAR) {
        fail_msg("prompt %d, position %d: differs by %g, its choice by %g", p, n, largest, lost);
    }
}

static int load_llm(void **state)
{
    (void)state;
    model = load_model(LLM_PATH);
    n_vocab = costeer_model_get_info(model)->n_vocab;
    const costeer_local_params params = {.n_ctx = 512, .n_threads = 1};
    costeer_error err = {0};
    assert_ok(costeer_cloud_create_local(model, &params, &local, &err), &err);
    for (int32_t p = 0; p < N_PROMPTS; p++) {
        prompts[p] = build_prompt(model, NULL, queries[p]);
        run_alone(p);
    }
    return 0;
}

static int free_llm(void **state)
{
    (void)state;
    for (int32_t p = 0; p < N_PROMPTS; p++) {
        costeer_tokens_dispose(&prompts[p]);
    }
    costeer_cloud_free(local);
    costeer_model_free(model);
    return 0;
}

static void create(int32_t n_parallel)
{
    bench_create(
        &bench, model,
        (costeer_batcher_params){
            .n_parallel = n_parallel, .n_ctx = 512, .n_threads = 1, .max_window = 32, .max_drafts = 8, .prompt_chunk = 16});
}

static void open_prompt(batch_client *client, int32_t p, int32_t window, int32_t top_k)
{
    client_open(
        client, &bench,
        &(costeer_batch_request){
            .prompt = prompts[p].ids, .n_prompt = prompts[p].n, .max_tokens = N_TOKENS, .window = window, .top_k = top_k});
}

static void commit(batch_client *client, int32_t position)
{
    costeer_error err = {0};
    assert_ok(costeer_batch_commit(client->answer, position, &err), &err);
}

static void correct(batch_client *client, int32_t epoch, int32_t position, int32_t token)
{
    costeer_error err = {0};
    assert_ok(costeer_batch_correct(client->answer, epoch, position, token, &err), &err);
}

/* Compare with the model alone, up to where the best two are too near. Returns whether they were. */
static int32_t compare_with_alone(int32_t p, int32_t position, int32_t token)
{
    if (token == greedy[p][position]) {
        return 0;
    }
    assert_true(margins[p][position] < NEAR);
    return 1;
}

/* ---- the same answers as alone ----------------------------------------------------------------------------------- */

static void test_batcher__lockstep_is_the_models_own_text(void **state)
{
    (void)state;
    create(2);
    for (int32_t p = 0; p < N_PROMPTS; p++) {
        batch_client client;
        open_prompt(&client, p, 0, p % 2 == 0 ? 0 : 8);
        for (int32_t i = 0; i < n_greedy[p]; i++) {
            const client_event *event = client_read(&client);
            assert_int_equal(event->position, i);
            if (compare_with_alone(p, i, event->own_token) > 0) {
                break;
            }
            commit(&client, i);
        }
        client_close(&client);
        assert_int_equal(client.account.n_rollbacks, 0);
        assert_int_equal(client.account.n_wasted, 0);
    }
    bench_free(&bench);
}

static void test_batcher__streamed_is_the_models_own_text(void **state)
{
    (void)state;
    create(2);
    for (int32_t p = 0; p < N_PROMPTS; p++) {
        batch_client client;
        open_prompt(&client, p, 8, 8);
        for (int32_t i = 0; i < n_greedy[p]; i++) {
            const client_event *event = client_read(&client);
            assert_int_equal(event->position, i);
            if (compare_with_alone(p, i, event->own_token) > 0) {
                break;
            }
            if (i % 4 == 3) {
                commit(&client, i);
            }
        }
        client_close(&client);
        assert_int_equal(client.account.n_rollbacks, 0);
    }
    bench_free(&bench);
}

/* A token that is not the model's choice, nor an end. */
static int32_t other_than(int32_t token)
{
    int32_t other = token;
    do {
        other = (other + 7) % n_vocab;
    } while (costeer_model_is_end(model, other));
    return other;
}

/* Drafts are the model's own text but for a wrong one in each round, which is corrected. */
static void run_drafted(int32_t n_prompts)
{
    create(2);
    for (int32_t p = 0; p < n_prompts; p++) {
        batch_client client;
        open_prompt(&client, p, 0, 8);
        int32_t epoch = 0;
        int32_t n_near = 0;
        int32_t drafts_end = 0;
        int32_t drafts[N_TOKENS + 8] = {0}; /* by position */
        for (int32_t i = 0; i < n_greedy[p] && n_near == 0; i++) {
            const client_event *event = client_read_epoch(&client, epoch);
            assert_int_equal(event->position, i);
            n_near = compare_with_alone(p, i, event->own_token);
            if (i < drafts_end && drafts[i] == greedy[p][i]) {
                continue; /* the draft is what is chosen */
            }
            costeer_batch_hold(client.answer);
            if (i < drafts_end) {
                correct(&client, ++epoch, i, greedy[p][i]);
            } else {
                commit(&client, i);
            }
            const int32_t n = N_TOKENS - i - 1 < 4 ? N_TOKENS - i - 1 : 4;
            for (int32_t j = i + 1; j <= i + n; j++) {
                drafts[j] = j < n_greedy[p] ? greedy[p][j] : other_than(0);
                drafts[j] = j == i + 3 ? other_than(drafts[j]) : drafts[j];
            }
            costeer_error err = {0};
            if (n > 0) {
                assert_ok(costeer_batch_draft(client.answer, i + 1, drafts + i + 1, (size_t)n, &err), &err);
            }
            costeer_batch_release(client.answer);
            drafts_end = i + 1 + n;
        }
        client_close(&client);
    }
    bench_free(&bench);
}

static void test_batcher__drafted_is_the_models_own_text(void **state)
{
    (void)state;
    run_drafted(N_PROMPTS);
}

/* ---- corrections ------------------------------------------------------------------------------------------------- */

static void test_batcher__a_correction_gives_the_distributions_of_the_corrected_text(void **state)
{
    (void)state;
    create(2);
    for (int32_t top_k = 0; top_k <= 16; top_k += 16) {
        batch_client client;
        int32_t tokens[N_TOKENS] = {0};
        int32_t epoch = 0;
        open_prompt(&client, 0, 6, top_k);
        for (int32_t i = 0; i < 20; i++) {
            const client_event *event = client_read_epoch(&client, epoch);
            assert_is_behind(event, 0, tokens, i);
            tokens[i] = event->own_token;
            if (i % 3 == 2 || costeer_model_is_end(model, tokens[i])) {
                tokens[i] = other_than(tokens[i]);
                correct(&client, ++epoch, i, tokens[i]);
            }
        }
        client_close(&client);
        assert_int_equal(client.status, COSTEER_OK);
        assert_true(client.account.n_rollbacks <= (uint32_t)epoch && client.account.n_wasted < client.account.n_steps);
        assert_true(client.account.n_steps >= 20);
    }
    bench_free(&bench);
}

/* The same loop with a model whose state cannot be cut: all is computed again, and the answer is the same. */
static void test_batcher__a_model_that_cannot_go_back_is_computed_again(void **state)
{
    atomic_store(&cannot_cut, true);
    test_batcher__a_correction_gives_the_distributions_of_the_corrected_text(state);
    run_drafted(1);
    atomic_store(&cannot_cut, false);
}

/* ---- together ---------------------------------------------------------------------------------------------------- */

/* Eight at once, some of them streamed, some corrected all the time: each gets what it would get alone. */
static void test_batcher__eight_answers_at_once_are_as_if_each_were_alone(void **state)
{
    (void)state;
    enum { N = 8, LENGTH = 8 };
    static batch_client clients[N];
    int32_t tokens[N][LENGTH] = {0};
    int32_t epochs[N] = {0};
    create(N);
    for (int32_t c = 0; c < N; c++) {
        open_prompt(&clients[c], c % N_PROMPTS, c % 3 * 4, c % 2 == 0 ? 0 : 8);
    }
    for (int32_t i = 0; i < LENGTH; i++) {
        for (int32_t c = 0; c < N; c++) {
            const client_event *event = client_read_epoch(&clients[c], epochs[c]);
            assert_is_behind(event, c % N_PROMPTS, tokens[c], i);
            tokens[c][i] = event->own_token;
            if (costeer_model_is_end(model, tokens[c][i]) || (c + i) % 5 == 4) {
                tokens[c][i] = other_than(tokens[c][i]);
                correct(&clients[c], ++epochs[c], i, tokens[c][i]);
            } else {
                commit(&clients[c], i);
            }
        }
    }
    for (int32_t c = 0; c < N; c++) {
        client_close(&clients[c]);
    }
    int32_t n_shared = 0;
    for (int32_t i = 0; i < bench_count_steps(&bench); i++) {
        n_shared += bench_step(&bench, i).n_answers > 1 ? 1 : 0;
    }
    assert_true(n_shared > 0);
    bench_free(&bench);
}

/* While an answer goes on, a long prompt is read in chunks, and every chunk's step continues the answer too. */
static void test_batcher__a_long_prompt_does_not_stall_others(void **state)
{
    (void)state;
    enum { N_LONG = 400, CHUNK = 50 };
    bench_create(&bench, model,
                 (costeer_batcher_params){.n_parallel = 2,
                                          .n_ctx = 512,
                                          .n_threads = 1,
                                          .max_window = 32,
                                          .prompt_chunk = CHUNK,
                                          .step_floor_ms = 100}); /* slow enough that the prompt comes in time */
    batch_client writer;
    batch_client reader;
    int32_t longest = 0;
    for (int32_t p = 1; p < N_PROMPTS; p++) {
        longest = n_greedy[p] > n_greedy[longest] ? p : longest;
    }
    assert_true(n_greedy[longest] > 20);
    open_prompt(&writer, longest, 32, 8);
    (void)client_read(&writer);
    int32_t text[N_LONG];
    for (int32_t i = 0; i < N_LONG; i++) {
        text[i] = prompts[0].ids[i % (int32_t)prompts[0].n];
    }
    client_open(&reader, &bench, &(costeer_batch_request){.prompt = text, .n_prompt = N_LONG, .max_tokens = 2, .top_k = 8});
    (void)client_read(&reader);
    int32_t n_prompt_tokens = 0;
    int32_t n_chunks = 0;
    for (int32_t i = 1; n_prompt_tokens < N_LONG; i++) { /* step 0 is the writer's prompt */
        const costeer_batch_step step = bench_step(&bench, i);
        assert_int_equal(step.n_answers, 1);
        assert_true(step.n_prompt_tokens <= CHUNK);
        n_prompt_tokens += step.n_prompt_tokens;
        n_chunks += step.n_prompt_tokens > 0 ? 1 : 0;
    }
    assert_int_equal(n_prompt_tokens, N_LONG);
    assert_int_equal(n_chunks, N_LONG / CHUNK);
    client_close(&writer);
    client_close(&reader);
    bench_free(&bench);
}

/* ---- deepening --------------------------------------------------------------------------------------------------- */

static void deepen(batch_client *client, int32_t epoch, int32_t position, int32_t top_k)
{
    costeer_error err = {0};
    assert_ok(costeer_batch_deepen(client->answer, epoch, position, top_k, &err), &err);
}

static double sum_of(const client_event *event)
{
    double sum = event->is_dense ? 0 : exp((double)event->tail);
    for (int32_t i = 0; i < event->n; i++) {
        sum += exp((double)event->logprobs[i]);
    }
    return sum;
}

static void test_batcher__remembered_entries_come_at_once_and_disturb_nothing(void **state)
{
    (void)state;
    create(1);
    batch_client client;
    open_prompt(&client, 0, 3, 8);
    for (int32_t i = 0; i < 4; i++) { /* as far as it may go ahead */
        const client_event *event = client_read(&client);
        assert_int_equal(event->n, 8);
        assert_true(sum_of(event) >= 1 - 1e-6 && sum_of(event) < 1 + 1e-4);
    }
    for (int32_t i = 3; i >= 0; i--) {
        deepen(&client, 0, i, i == 2 ? 9 : 64);
        const client_event *event = client_read(&client);
        assert_true(event->is_deepening);
        assert_int_equal(event->epoch, 0);
        assert_int_equal(event->n, i == 2 ? 9 : 64);
        assert_true(sum_of(event) >= 1 - 1e-6 && sum_of(event) < 1 + 1e-4);
        assert_is_behind(event, 0, greedy[0], i);
    }
    commit(&client, 0);
    assert_int_equal(client_read(&client)->position, 4);
    client_close(&client);
    assert_int_equal(client.account.n_rollbacks, 0);
    bench_free(&bench);
}

/* Where 8 times top_k is most of the vocabulary, all of it is remembered, so nothing is ever computed again. */
static void test_batcher__a_small_vocabulary_is_remembered_as_a_whole(void **state)
{
    (void)state;
    create(1);
    batch_client client;
    open_prompt(&client, 0, 3, n_vocab / 8);
    for (int32_t i = 0; i < 4; i++) {
        const client_event *event = client_read(&client);
        assert_int_equal(event->n, n_vocab / 8);
        assert_is_behind(event, 0, greedy[0], i);
    }
    for (int32_t i = 0; i < 4; i++) {
        const int32_t top_k = i % 2 == 0 ? 0 : n_vocab - 1;
        deepen(&client, 0, i, top_k);
        const client_event *event = client_read(&client);
        assert_true(event->is_deepening && event->is_dense == (top_k == 0));
        assert_int_equal(event->epoch, 0);
        assert_int_equal(event->n, top_k == 0 ? n_vocab : top_k);
        assert_true(fabs(sum_of(event) - 1) < 1e-4);
        assert_is_behind(event, 0, greedy[0], i);
    }
    client_close(&client);
    assert_int_equal(client.account.n_steps, 4);
    bench_free(&bench);
}

static void test_batcher__logits_that_are_still_there_need_no_new_epoch(void **state)
{
    (void)state;
    create(1);
    batch_client client;
    open_prompt(&client, 0, 0, 8);
    for (int32_t i = 0; i < 3; i++) {
        (void)client_read(&client);
        deepen(&client, 0, i, i == 1 ? 200 : 0);
        const client_event *event = client_read(&client);
        assert_true(event->is_deepening && event->is_dense == (i != 1));
        assert_int_equal(event->epoch, 0);
        assert_int_equal(event->n, i == 1 ? 200 : n_vocab);
        assert_true(fabs(sum_of(event) - 1) < 1e-4);
        assert_is_behind(event, 0, greedy[0], i);
        commit(&client, i);
    }
    client_close(&client);
    assert_true(client.account.n_steps <= 4);
    bench_free(&bench);
}

static void test_batcher__more_than_remembered_is_computed_again_in_a_new_epoch(void **state)
{
    (void)state;
    create(1);
    batch_client client;
    open_prompt(&client, 0, 5, 8);
    for (int32_t i = 0; i < 6; i++) {
        (void)client_read(&client);
    }
    deepen(&client, 0, 2, 0);
    const client_event *event = client_read(&client);
    assert_true(event->is_deepening && event->is_dense);
    assert_int_equal(event->epoch, 1);
    assert_is_behind(event, 0, greedy[0], 2);
    for (int32_t i = 3; i < 6; i++) { /* what was behind comes again */
        event = client_read(&client);
        assert_true(!event->is_deepening);
        assert_int_equal(event->epoch, 1);
        assert_is_behind(event, 0, greedy[0], i);
    }
    correct(&client, 2, 2, other_than(greedy[0][2]));
    assert_int_equal(client_read_epoch(&client, 2)->position, 3);
    client_close(&client);
    assert_int_equal(client.account.n_rollbacks, 2);
    bench_free(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batcher__lockstep_is_the_models_own_text),
        cmocka_unit_test(test_batcher__streamed_is_the_models_own_text),
        cmocka_unit_test(test_batcher__drafted_is_the_models_own_text),
        cmocka_unit_test(test_batcher__a_correction_gives_the_distributions_of_the_corrected_text),
        cmocka_unit_test(test_batcher__a_model_that_cannot_go_back_is_computed_again),
        cmocka_unit_test(test_batcher__eight_answers_at_once_are_as_if_each_were_alone),
        cmocka_unit_test(test_batcher__a_long_prompt_does_not_stall_others),
        cmocka_unit_test(test_batcher__remembered_entries_come_at_once_and_disturb_nothing),
        cmocka_unit_test(test_batcher__a_small_vocabulary_is_remembered_as_a_whole),
        cmocka_unit_test(test_batcher__logits_that_are_still_there_need_no_new_epoch),
        cmocka_unit_test(test_batcher__more_than_remembered_is_computed_again_in_a_new_epoch),
    };
    return cmocka_run_group_tests_name("batcher", tests, load_llm, free_llm);
}
