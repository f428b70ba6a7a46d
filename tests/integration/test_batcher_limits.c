/* Continuous batching: who waits, who is refused, what is abandoned, how answers end, and a device that does as it likes. */
#include "support/batch_client.h"
#include "support/gguf_edit.h"
#include "support/models.h"
#include "unit/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define N_CTX 512

static costeer_model *model;
static int32_t n_vocab;
static costeer_tokens prompt;
static int32_t long_prompt[N_CTX - 64];
static batch_bench bench;

static int load_llm(void **state)
{
    (void)state;
    model = load_model(LLM_PATH);
    n_vocab = costeer_model_get_info(model)->n_vocab;
    prompt = build_prompt(model, NULL, "Write a short bio.");
    for (size_t i = 0; i < sizeof long_prompt / sizeof *long_prompt; i++) {
        long_prompt[i] = prompt.ids[i % prompt.n];
    }
    return 0;
}

static int free_llm(void **state)
{
    (void)state;
    costeer_tokens_dispose(&prompt);
    costeer_model_free(model);
    return 0;
}

static void create(int32_t n_parallel, int32_t step_floor_ms)
{
    bench_create(&bench, model,
                 (costeer_batcher_params){.n_parallel = n_parallel,
                                          .n_ctx = N_CTX,
                                          .n_threads = 1,
                                          .max_window = 16,
                                          .max_drafts = 4,
                                          .step_floor_ms = step_floor_ms});
}

static costeer_batch_request request_of(int32_t window, uint64_t owner)
{
    return (costeer_batch_request){
        .prompt = prompt.ids, .n_prompt = prompt.n, .max_tokens = 32, .window = window, .top_k = 8, .owner = owner};
}

static void open_answer(batch_client *client, int32_t window, uint64_t owner)
{
    const costeer_batch_request request = request_of(window, owner);
    client_open(client, &bench, &request);
}

static void sleep_ms(int32_t ms)
{
    const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&pause, NULL);
}

/* ---- abandoning -------------------------------------------------------------------------------------------------- */

/* The step of position 1 takes seconds; a correction of position 0 makes it useless. */
static void test_batcher__a_correction_abandons_the_running_step(void **state)
{
    (void)state;
    create(2, 5000);
    batch_client client;
    open_answer(&client, 4, 0);
    const client_event *event = client_read(&client);
    assert_int_equal(event->position, 0);
    sleep_ms(200); /* the next step has begun */
    costeer_error err = {0};
    assert_ok(costeer_batch_correct(client.answer, 1, 0, (event->own_token + 1) % n_vocab, &err), &err);
    const costeer_batch_step step = bench_step(&bench, 1);
    assert_true(step.aborted);
    assert_true(step.step_us < 4000000);
    assert_int_equal(step.n_wasted, 1);
    client_close(&client);
    assert_int_equal(client.account.n_rollbacks, 1);
    assert_true(client.account.n_wasted >= 1 && client.account.n_wasted < client.account.n_steps);
    bench_free(&bench);
}

/* Another answer is in the step, so it goes on; only the row is lost. */
static void test_batcher__a_step_that_others_share_is_not_abandoned(void **state)
{
    (void)state;
    create(2, 400);
    batch_client first;
    batch_client second;
    open_answer(&first, 16, 0);
    open_answer(&second, 16, 0);
    (void)client_read(&first);
    (void)client_read(&second);
    (void)client_read(&second); /* from here on both are in every step */
    sleep_ms(100);              /* and one of those has begun */
    costeer_error err = {0};
    assert_ok(costeer_batch_correct(first.answer, 1, 0, 300 % n_vocab, &err), &err);
    assert_int_equal(client_read_epoch(&first, 1)->position, 1);
    assert_int_equal(client_read(&second)->position, 2);
    int32_t n_lost = 0;
    for (int32_t i = 0; i < bench_count_steps(&bench); i++) {
        const costeer_batch_step step = bench_step(&bench, i);
        assert_true(!step.aborted);
        n_lost += step.n_wasted;
    }
    assert_int_equal(n_lost, 1);
    client_close(&first);
    client_close(&second);
    bench_free(&bench);
}

/* The reply to a deepening does not wait for the step that runs. */
static void test_batcher__remembered_entries_come_while_a_step_runs(void **state)
{
    (void)state;
    create(1, 20000);
    batch_client client;
    open_answer(&client, 4, 0);
    (void)client_read(&client);
    costeer_error err = {0};
    assert_ok(costeer_batch_deepen(client.answer, 0, 0, 20, &err), &err);
    const client_event *event = client_read(&client);
    assert_true(event->is_deepening);
    assert_int_equal(event->n, 20);
    assert_true(bench_count_steps(&bench) <= 1); /* the second lasts for 20 seconds */
    client_close(&client);
    bench_free(&bench);
}

/* ---- turns ------------------------------------------------------------------------------------------------------- */

static void test_batcher__answers_wait_for_their_turn_in_order(void **state)
{
    (void)state;
    enum { N = 6 };
    static batch_client clients[N];
    create(2, 0);
    for (int32_t c = 0; c < N; c++) {
        open_answer(&clients[c], 0, 0);
    }
    (void)client_read(&clients[0]);
    for (int32_t c = 0; c + 1 < N; c++) {
        (void)client_read(&clients[c + 1]);
        for (int32_t later = c + 2; later < N; later++) {
            assert_true(client_is_idle(&clients[later]));
        }
        client_close(&clients[c]);
    }
    client_close(&clients[N - 1]);
    assert_true(clients[N - 1].account.queue_us >= clients[0].account.queue_us);
    bench_free(&bench);
}

/* Prompt tokens that the steps up to the first distribution computed. */
static int32_t count_prompt_tokens(uint64_t owner)
{
    const int32_t n_before = bench_count_steps(&bench);
    batch_client client;
    open_answer(&client, 0, owner);
    (void)client_read(&client);
    const int32_t n = bench_step(&bench, n_before).n_prompt_tokens;
    client_close(&client);
    return n;
}

static void test_batcher__a_cache_is_used_again_only_by_its_owner(void **state)
{
    (void)state;
    create(1, 0);
    const int32_t n_all = (int32_t)prompt.n;
    assert_int_equal(count_prompt_tokens(7), n_all);
    assert_int_equal(count_prompt_tokens(7), 0);
    assert_int_equal(count_prompt_tokens(8), n_all);
    assert_int_equal(count_prompt_tokens(7), n_all);
    assert_int_equal(count_prompt_tokens(0), n_all);
    assert_int_equal(count_prompt_tokens(0), n_all);
    bench_free(&bench);
    create(2, 0); /* each owner keeps a slot */
    assert_int_equal(count_prompt_tokens(7), n_all);
    assert_int_equal(count_prompt_tokens(8), n_all);
    assert_int_equal(count_prompt_tokens(7), 0);
    assert_int_equal(count_prompt_tokens(8), 0);
    bench_free(&bench);
}

static void test_batcher__a_held_answer_computes_nothing_until_it_is_released(void **state)
{
    (void)state;
    create(1, 0);
    batch_client client;
    open_answer(&client, 0, 0);
    (void)client_read(&client);
    costeer_error err = {0};
    costeer_batch_hold(client.answer);
    assert_ok(costeer_batch_commit(client.answer, 0, &err), &err);
    sleep_ms(50);
    assert_true(client_is_idle(&client));
    const int32_t drafts[] = {300, 301, 302};
    assert_ok(costeer_batch_draft(client.answer, 1, drafts, 3, &err), &err);
    costeer_batch_release(client.answer);
    for (int32_t i = 1; i <= 4; i++) {
        assert_int_equal(client_read(&client)->position, i);
    }
    assert_int_equal(bench_step(&bench, 1).n_positions, 4); /* all in one step */
    client_close(&client);
    bench_free(&bench);
}

/* ---- ends -------------------------------------------------------------------------------------------------------- */

static void test_batcher__closed_in_any_state_it_ends_once(void **state)
{
    (void)state;
    static batch_client clients[6];
    create(2, 300);
    open_answer(&clients[0], 16, 0); /* running */
    (void)client_read(&clients[0]);
    const costeer_batch_request reading = {
        .prompt = long_prompt, .n_prompt = sizeof long_prompt / sizeof *long_prompt, .max_tokens = 8, .top_k = 0};
    client_open(&clients[1], &bench, &reading); /* its prompt is being read */
    open_answer(&clients[2], 0, 0);             /* waits */
    client_close(&clients[2]);
    client_close(&clients[1]);
    client_close(&clients[0]);
    open_answer(&clients[3], 0, 0); /* idle */
    (void)client_read(&clients[3]);
    client_close(&clients[3]);
    open_answer(&clients[4], 0, 0); /* not begun perhaps */
    client_close(&clients[4]);
    open_answer(&clients[5], 4, 0); /* a deepening is to come */
    (void)client_read(&clients[5]);
    costeer_error err = {0};
    assert_ok(costeer_batch_deepen(clients[5].answer, 0, 0, 0, &err), &err);
    client_close(&clients[5]);
    for (int32_t c = 0; c < 6; c++) {
        assert_int_equal(clients[c].status, COSTEER_OK);
    }
    bench_free(&bench);
    for (int32_t c = 0; c < 6; c++) {
        assert_int_equal(clients[c].n_ends, 1);
    }
}

static void test_batcher__freed_with_answers_open_each_ends_once(void **state)
{
    (void)state;
    enum { N = 5 };
    static batch_client clients[N];
    create(2, 10000);
    for (int32_t c = 0; c < N; c++) {
        open_answer(&clients[c], 4, 0);
    }
    (void)client_read(&clients[0]);
    bench_free(&bench); /* a step of ten seconds is running */
    for (int32_t c = 0; c < N; c++) {
        assert_int_equal(clients[c].n_ends, 1);
        assert_int_equal(clients[c].status, COSTEER_ECANCELED);
        client_dispose(&clients[c]);
    }
    costeer_batcher_free(NULL);
}

static void test_batcher__nan_logits_end_the_answer_and_not_the_batcher(void **state)
{
    (void)state;
    gguf_edit *edit = gguf_edit_open(LLM_PATH);
    gguf_edit_fill_nan(edit, "output_norm.weight");
    gguf_edit_write(edit, TMP_PATH("batcher_nan.gguf"), false);
    costeer_model *broken = load_model(TMP_PATH("batcher_nan.gguf"));
    bench_create(&bench, broken, (costeer_batcher_params){.n_parallel = 1, .n_ctx = N_CTX, .n_threads = 1});
    for (int32_t i = 0; i < 2; i++) {
        batch_client client;
        costeer_batch_request request = request_of(0, 0);
        request.top_k = i == 0 ? 0 : 8;
        client_open(&client, &bench, &request);
        client_wait_end(&client);
        assert_int_equal(client.status, COSTEER_ENUMERIC);
        costeer_error err = {0};
        assert_int_equal(costeer_batch_commit(client.answer, 0, &err), COSTEER_ESTATE);
        client_close(&client);
        assert_int_equal(client.account.n_wasted, 1);
    }
    bench_free(&bench);
    costeer_model_free(broken);
}

/* Two devices, one slot: one that says nothing keeps its slot from nobody, and goes on later where it was. */
static void test_batcher__a_silent_answer_gives_way_and_comes_back(void **state)
{
    (void)state;
    create(1, 0);
    batch_client silent, other;
    open_answer(&silent, 0, 0);
    const client_event *first = client_read(&silent);
    const int32_t own = first->own_token;
    open_answer(&other, 0, 0);
    assert_int_equal(client_read(&other)->own_token, own); /* the same prompt: the same answer, after a second */
    for (int32_t position = 0; position < 3; position++) {
        assert_int_equal(costeer_batch_commit(other.answer, position, NULL), COSTEER_OK);
        (void)client_read(&other);
    }
    for (int32_t position = 0; position < 3; position++) {
        assert_int_equal(costeer_batch_commit(silent.answer, position, NULL), COSTEER_OK);
        const client_event *back = client_read(&silent);
        assert_int_equal(back->position, position + 1);
        assert_int_equal(back->own_token, other.events[position + 1]->own_token);
    }
    client_close(&silent);
    client_close(&other);
    assert_int_equal(silent.account.n_wasted, 0);
    bench_free(&bench);
}

/* ---- refusals ---------------------------------------------------------------------------------------------------- */

static void assert_open_refused(costeer_batch_request request, costeer_err code, const char *message)
{
    costeer_error err = {0};
    costeer_batch_answer *answer = NULL;
    assert_int_equal(costeer_batch_open(bench.batcher, &request, NULL, &answer, &err), code);
    assert_null(answer);
    assert_non_null(strstr(err.message, message));
}

static void test_batcher__refuses_what_cannot_be_answered(void **state)
{
    (void)state;
    create(1, 0);
    assert_int_equal(costeer_batcher_n_ctx(bench.batcher), N_CTX);
    const int32_t bad[] = {5, n_vocab};
    costeer_batch_request request = request_of(0, 0);
    request.max_tokens = N_CTX;
    assert_open_refused(request, COSTEER_ETOOLONG, "do not fit the 512");
    request = request_of(17, 0);
    assert_open_refused(request, COSTEER_EINVAL, "the window is 17; give 0 to 16");
    request = request_of(0, 0);
    request.prompt = bad;
    request.n_prompt = 2;
    assert_open_refused(request, COSTEER_EINVAL, "the prompt: token 1 is not one of");
    batch_client client;
    open_answer(&client, 0, 0); /* and it still answers */
    (void)client_read(&client);
    client_close(&client);
    bench_free(&bench);
}

static void assert_create_refused(costeer_batcher_params params, const char *message)
{
    costeer_error err = {0};
    costeer_batcher *batcher = NULL;
    assert_int_equal(costeer_batcher_create(model, &params, &batcher, &err), COSTEER_EINVAL);
    assert_null(batcher);
    assert_non_null(strstr(err.message, message));
}

static void on_nothing(void *answer_user, const costeer_batch_distribution *distribution, void *user)
{
    (void)answer_user;
    (void)distribution;
    (void)user;
}

static void on_no_end(void *answer_user, costeer_err status, const costeer_error *error, const costeer_batch_account *account,
                      void *user)
{
    (void)answer_user;
    (void)status;
    (void)error;
    (void)account;
    (void)user;
}

static void test_batcher__refuses_bad_parameters(void **state)
{
    (void)state;
    const costeer_batch_callbacks callbacks = {.on_distribution = on_nothing, .on_end = on_no_end};
    assert_create_refused((costeer_batcher_params){.n_parallel = 0, .n_threads = 1, .callbacks = callbacks}, "n_parallel is 0");
    assert_create_refused((costeer_batcher_params){.n_parallel = 257, .n_threads = 1, .callbacks = callbacks}, "give 1 to 256");
    assert_create_refused((costeer_batcher_params){.n_parallel = 1, .n_threads = 0, .callbacks = callbacks}, "n_threads is 0");
    assert_create_refused((costeer_batcher_params){.n_parallel = 1, .n_threads = 1}, "on_distribution");
}

/* ---- a device that does as it likes ------------------------------------------------------------------------------ */

/* Near the truth as often as not, so that many of the calls are accepted. */
static void do_anything(batch_client *client, int32_t epoch, int32_t position, struct test_random *random)
{
    const int32_t near = position + test_random_below(random, 5) - 2;
    const int32_t drafts[6] = {test_random_below(random, n_vocab + 1), 300, 301, 302, 303, 304};
    switch (test_random_below(random, 8)) {
    case 0:
    case 1:
        (void)costeer_batch_commit(client->answer, near, NULL);
        break;
    case 2:
        (void)costeer_batch_correct(client->answer, epoch + 1, position, drafts[0], NULL);
        break;
    case 3:
        (void)costeer_batch_correct(client->answer, epoch + test_random_below(random, 3), near, drafts[0] - 1, NULL);
        break;
    case 4:
        (void)costeer_batch_draft(client->answer, near, drafts, (size_t)test_random_below(random, 7), NULL);
        break;
    case 5:
        (void)costeer_batch_deepen(client->answer, epoch, near, test_random_below(random, n_vocab + 2) - 1, NULL);
        break;
    case 6:
        (void)costeer_batch_deepen(client->answer, epoch - test_random_below(random, 2), position, 16, NULL);
        break;
    default:
        test_random_below(random, 2) == 0 ? costeer_batch_hold(client->answer) : costeer_batch_release(client->answer);
        break;
    }
}

static void test_batcher__whatever_devices_do_positions_stay_in_order(void **state)
{
    (void)state;
    enum { N = 3, ROUNDS = 4, OPERATIONS = 60 };
    static batch_client clients[N];
    struct test_random random = {.state = 20250801};
    create(2, 0);
    for (int32_t round = 0; round < ROUNDS; round++) {
        for (int32_t c = 0; c < N; c++) {
            open_answer(&clients[c], test_random_below(&random, 5), (uint64_t)test_random_below(&random, 3));
        }
        for (int32_t i = 0; i < OPERATIONS; i++) {
            batch_client *client = &clients[test_random_below(&random, N)];
            (void)pthread_mutex_lock(&bench.mutex);
            const int32_t epoch = client->last_epoch;
            const int32_t position = client->last_position;
            (void)pthread_mutex_unlock(&bench.mutex);
            do_anything(client, epoch, position, &random);
            sleep_ms(i % 3);
        }
        for (int32_t c = 0; c < N; c++) {
            client_close(&clients[c]); /* checks the order */
            assert_int_equal(clients[c].status, COSTEER_OK);
            assert_true(clients[c].account.n_wasted <= clients[c].account.n_steps);
        }
    }
    batch_client honest;
    open_answer(&honest, 4, 0);
    for (int32_t i = 0; i < 5; i++) {
        assert_int_equal(client_read(&honest)->position, i);
    }
    client_close(&honest);
    bench_free(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batcher__a_correction_abandons_the_running_step),
        cmocka_unit_test(test_batcher__a_step_that_others_share_is_not_abandoned),
        cmocka_unit_test(test_batcher__remembered_entries_come_while_a_step_runs),
        cmocka_unit_test(test_batcher__answers_wait_for_their_turn_in_order),
        cmocka_unit_test(test_batcher__a_cache_is_used_again_only_by_its_owner),
        cmocka_unit_test(test_batcher__a_held_answer_computes_nothing_until_it_is_released),
        cmocka_unit_test(test_batcher__closed_in_any_state_it_ends_once),
        cmocka_unit_test(test_batcher__freed_with_answers_open_each_ends_once),
        cmocka_unit_test(test_batcher__nan_logits_end_the_answer_and_not_the_batcher),
        cmocka_unit_test(test_batcher__a_silent_answer_gives_way_and_comes_back),
        cmocka_unit_test(test_batcher__refuses_what_cannot_be_answered),
        cmocka_unit_test(test_batcher__refuses_bad_parameters),
        cmocka_unit_test(test_batcher__whatever_devices_do_positions_stay_in_order),
    };
    return cmocka_run_group_tests_name("batcher_limits", tests, load_llm, free_llm);
}
