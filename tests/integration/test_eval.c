/* Rows that fit and rows that are cut, and runs on the built-in pair: their order, their bytes, and how they end early. */
#include "support/models.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* needs the ones above before it */

#define N_ROWS  5
#define N_ITEMS 4

static costeer_model *llm;
static costeer_model *slm;
static costeer_eval_row rows[N_ROWS];
static costeer_eval_item *items;

static costeer_eval_row parse(const char *text, int64_t line)
{
    const costeer_eval_form form = {.task = costeer_eval_task_find("generic")};
    costeer_eval_row row;
    costeer_error err = {.code = COSTEER_OK};
    assert_ok(costeer_eval_row_parse(&form, text, strlen(text), line, &row, &err), &err);
    return row;
}

static costeer_eval_item *make_items(const char *const *names, size_t n_wanted)
{
    const costeer_method *methods[8];
    costeer_eval_items_params params = {.methods = methods, .settings = COSTEER_METHOD_SETTINGS_NONE, .top_p = NAN};
    for (; params.n_methods < n_wanted; params.n_methods++) {
        methods[params.n_methods] = costeer_method_find(names[params.n_methods]);
    }
    costeer_eval_item *out;
    size_t n;
    costeer_error err = {.code = COSTEER_OK};
    assert_ok(costeer_eval_items_create(&params, &out, &n, &err), &err);
    assert_int_equal(n, n_wanted);
    return out;
}

static int set_up(void **state)
{
    (void)state;
    static const char *const names[N_ITEMS] = {"llm", "slm+context", "costeer", "amulet"};
    static const char *const queries[N_ROWS] = {"Write a short bio of me.", "Plan my day.", "Invite my friends to a party.",
                                                "Help me apologise to my neighbour.", "Write a birthday card."};
    llm = load_model(LLM_PATH);
    slm = load_model(SLM_PATH);
    for (int i = 0; i < N_ROWS; i++) {
        char text[512];
        snprintf(text, sizeof text,
                 "{\"id\": %d, \"query\": \"%s\", \"context\": \"My name is Desmond. I live in Gothenburg. My pet is Juniper.\", "
                 "\"facts\": [\"Desmond\"]}",
                 i, queries[i]);
        rows[i] = parse(text, i + 1);
    }
    items = make_items(names, N_ITEMS);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < N_ROWS; i++) {
        costeer_eval_row_dispose(&rows[i]);
    }
    free(items);
    costeer_model_free(slm);
    costeer_model_free(llm);
    return 0;
}

static costeer_eval_params default_params(int32_t n_jobs)
{
    costeer_eval_params params = {
        .models = {.llm = llm, .slm = slm, .n_ctx = 512, .n_threads_llm = 1, .n_threads_slm = 1},
        .session = COSTEER_SESSION_DEFAULTS,
        .items = items,
        .n_items = N_ITEMS,
        .n_jobs = n_jobs,
        .n_threads_judge = 1,
    };
    params.session.max_tokens = 8;
    return params;
}

static costeer_eval *create(const costeer_eval_params *params)
{
    costeer_eval *eval;
    costeer_error err = {.code = COSTEER_OK};
    assert_ok(costeer_eval_create(params, &eval, &err), &err);
    return eval;
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

/* A row whose context is n lines. */
static costeer_eval_row long_row(int n)
{
    const size_t size = 64 + (size_t)n * 32;
    char *text = malloc(size);
    assert_non_null(text);
    size_t used = (size_t)snprintf(text, size, "{\"id\": \"long\", \"query\": \"Who am I?\", \"context\": \"");
    for (int i = 0; i < n; i++) {
        used += (size_t)snprintf(text + used, size - used, "line %d: \xC3\xA9t\xC3\xA9 in Lyon\\n", i);
    }
    snprintf(text + used, size - used, "\"}");
    costeer_eval_row row = parse(text, 1);
    free(text);
    return row;
}

static size_t count_tokens(const costeer_model *model, const costeer_eval_row *row)
{
    char *message = costeer_eval_row_message(row);
    costeer_tokens tokens = build_prompt(model, NULL, message);
    const size_t n = tokens.n;
    costeer_tokens_dispose(&tokens);
    free(message);
    return n;
}

static void test_fit__a_row_with_room_keeps_its_context_and_its_length(void **state)
{
    (void)state;
    const costeer_eval_params params = default_params(1);
    costeer_eval *eval = create(&params);
    assert_ok(costeer_eval_fit_row(eval, &rows[0], NULL), NULL);
    assert_int_equal(rows[0].n_cut, 0);
    assert_int_equal(rows[0].max_tokens, 8);
    costeer_eval_free(eval);
}

static void test_fit__a_long_row_is_refused_or_loses_its_oldest_lines(void **state)
{
    (void)state;
    costeer_eval_params params = default_params(1);
    costeer_eval *eval = create(&params);
    costeer_eval_row row = long_row(200);
    costeer_error err = {.code = COSTEER_OK};
    assert_int_equal(costeer_eval_fit_row(eval, &row, &err), COSTEER_ETOOLONG);
    assert_non_null(strstr(err.message, "of the 512"));
    assert_non_null(strstr(err.message, "--truncate-context"));
    costeer_eval_free(eval);
    params.truncates = true;
    eval = create(&params);
    assert_ok(costeer_eval_fit_row(eval, &row, &err), &err);
    assert_true(row.n_cut > 0 && row.material[row.n_cut - 1] == '\n');
    assert_memory_equal(row.material + row.n_cut, "line ", 5);
    assert_int_equal(row.max_tokens, 8);
    assert_true(count_tokens(llm, &row) + 8 <= 512);
    /* A line more would not have fitted. */
    size_t before = row.n_cut - 1;
    while (before > 0 && row.material[before - 1] != '\n') {
        before--;
    }
    row.n_cut = before;
    assert_true(count_tokens(llm, &row) + 8 > 512);
    costeer_eval_row_dispose(&row);
    costeer_eval_free(eval);
}

static void test_fit__the_answer_is_shortened_before_a_row_is_refused(void **state)
{
    (void)state;
    costeer_eval_params params = default_params(1);
    params.session.max_tokens = 400;
    costeer_eval *eval = create(&params);
    costeer_eval_row row = long_row(15);
    const size_t n = count_tokens(llm, &row);
    assert_true(n > 112 && n + COSTEER_EVAL_ANSWER_MIN <= 512);
    costeer_error err = {.code = COSTEER_OK};
    assert_ok(costeer_eval_fit_row(eval, &row, &err), &err);
    assert_int_equal(row.max_tokens, 512 - (int32_t)n);
    assert_int_equal(row.n_cut, 0);
    costeer_eval_row_dispose(&row);
    costeer_eval_free(eval);
}

static void test_fit__a_query_that_does_not_fit_is_refused_whatever_is_cut(void **state)
{
    (void)state;
    costeer_eval_params params = default_params(1);
    params.truncates = true;
    params.models.n_ctx = 24;
    costeer_eval *eval = create(&params);
    costeer_eval_row row = long_row(10);
    costeer_error err = {.code = COSTEER_OK};
    assert_int_equal(costeer_eval_fit_row(eval, &row, &err), COSTEER_ETOOLONG);
    assert_non_null(strstr(err.message, "of the 24"));
    costeer_eval_row_dispose(&row);
    costeer_eval_free(eval);
}

/* ---- runs -------------------------------------------------------------------------------------------------------- */

/* What a run delivers; stops it at a number of results. */
typedef struct collected {
    char *lines[N_ROWS * N_ITEMS];
    size_t n;
    size_t n_first;
    size_t n_most;
    atomic_bool *cancels; /* set instead of saying no */
} collected;

static bool collect(const costeer_eval_result *result, void *user)
{
    collected *c = user;
    const size_t pair = c->n_first + c->n;
    assert_int_equal(result->row, pair / N_ITEMS);
    assert_int_equal(result->item, pair % N_ITEMS);
    assert_int_equal(result->n_bytes, strlen(result->line));
    assert_true(result->report->n_tokens > 0);
    c->lines[c->n++] = strdup(result->line);
    if (c->n_most > 0 && c->n == c->n_most && c->cancels != NULL) {
        atomic_store(c->cancels, true);
    }
    return c->n_most == 0 || c->n < c->n_most || c->cancels != NULL;
}

static void dispose(collected *c)
{
    for (size_t i = 0; i < c->n; i++) {
        free(c->lines[i]);
    }
    *c = (collected){.n = 0};
}

static costeer_err run(const costeer_eval_params *params, size_t n_done, collected *c)
{
    costeer_eval *eval = create(params);
    costeer_error err = {.code = COSTEER_OK};
    for (int i = 0; i < N_ROWS; i++) {
        assert_ok(costeer_eval_fit_row(eval, &rows[i], &err), &err);
    }
    c->n_first = n_done;
    const costeer_err code = costeer_eval_run(eval, rows, N_ROWS, n_done, collect, c, &err);
    assert_int_equal(err.code, code);
    costeer_eval_free(eval);
    return code;
}

static void expect_same_tail(const collected *whole, const collected *tail)
{
    assert_int_equal(tail->n, whole->n - tail->n_first);
    for (size_t i = 0; i < tail->n; i++) {
        assert_string_equal(tail->lines[i], whole->lines[tail->n_first + i]);
    }
}

static void test_run__gives_all_results_in_order_and_the_same_bytes_again(void **state)
{
    (void)state;
    for (int32_t jobs = 1; jobs <= 3; jobs += 2) {
        const costeer_eval_params params = default_params(jobs);
        collected first = {.n = 0};
        collected second = {.n = 0};
        assert_int_equal(run(&params, 0, &first), COSTEER_OK);
        assert_int_equal(first.n, N_ROWS * N_ITEMS);
        assert_int_equal(run(&params, 0, &second), COSTEER_OK);
        expect_same_tail(&first, &second);
        dispose(&first);
        dispose(&second);
    }
}

static void test_run__that_goes_on_gives_what_an_undisturbed_one_gives(void **state)
{
    (void)state;
    /* 20 pairs are two segments of two jobs: in the first, in the second, at the end. */
    static const size_t starts[] = {5, 17, 20};
    const costeer_eval_params params = default_params(2);
    collected whole = {.n = 0};
    assert_int_equal(run(&params, 0, &whole), COSTEER_OK);
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
        collected tail = {.n = 0};
        assert_int_equal(run(&params, starts[i], &tail), COSTEER_OK);
        expect_same_tail(&whole, &tail);
        dispose(&tail);
    }
    dispose(&whole);
}

static void test_run__a_callback_that_says_no_ends_it(void **state)
{
    (void)state;
    const costeer_eval_params params = default_params(2);
    collected c = {.n_most = 3};
    assert_int_equal(run(&params, 0, &c), COSTEER_EABORTED);
    assert_int_equal(c.n, 3);
    dispose(&c);
}

static void test_run__a_cancellation_ends_it_and_nothing_is_out_of_order(void **state)
{
    (void)state;
    atomic_bool cancel = false;
    costeer_eval_params params = default_params(2);
    params.session.cancel = &cancel;
    params.session.max_tokens = 300;
    collected c = {.n_most = 1, .cancels = &cancel};
    assert_int_equal(run(&params, 0, &c), COSTEER_ECANCELED);
    assert_in_range(c.n, 1, N_ROWS * N_ITEMS - 1);
    dispose(&c);
}

static void test_run__a_failure_names_the_row_and_the_method(void **state)
{
    (void)state;
    costeer_eval_params params = default_params(1);
    params.session.sampler.temperature = -1.0;
    costeer_eval *eval = create(&params);
    costeer_error err = {.code = COSTEER_OK};
    for (int i = 0; i < N_ROWS; i++) {
        assert_ok(costeer_eval_fit_row(eval, &rows[i], &err), &err);
    }
    collected c = {.n = 0};
    assert_int_equal(costeer_eval_run(eval, rows, N_ROWS, 0, collect, &c, &err), COSTEER_EINVAL);
    assert_int_equal(c.n, 0);
    assert_non_null(strstr(err.message, "line 1, llm: "));
    costeer_eval_free(eval);
}

static void test_run__rows_that_were_not_fitted_are_refused(void **state)
{
    (void)state;
    const costeer_eval_params params = default_params(1);
    costeer_eval *eval = create(&params);
    costeer_eval_row row = long_row(1);
    collected c = {.n = 0};
    assert_int_equal(costeer_eval_run(eval, &row, 1, 0, collect, &c, NULL), COSTEER_ESTATE);
    costeer_eval_row_dispose(&row);
    costeer_eval_free(eval);
}

static void test_judge__is_the_same_whatever_was_judged_before(void **state)
{
    (void)state;
    costeer_eval_params params = default_params(2);
    params.judge = llm;
    collected whole = {.n = 0};
    collected tail = {.n = 0};
    assert_int_equal(run(&params, 0, &whole), COSTEER_OK);
    for (size_t i = 0; i < whole.n; i++) {
        assert_non_null(strstr(whole.lines[i], "\"judge\": {\"logprob\": -"));
    }
    assert_int_equal(run(&params, N_ITEMS + 2, &tail), COSTEER_OK);
    expect_same_tail(&whole, &tail);
    dispose(&whole);
    dispose(&tail);
}

/* ---- creation ---------------------------------------------------------------------------------------------------- */

static void refuse(const costeer_eval_params *params, const char *part)
{
    costeer_eval *eval;
    costeer_error err = {.code = COSTEER_OK};
    assert_int_equal(costeer_eval_create(params, &eval, &err), COSTEER_EINVAL);
    assert_null(eval);
    if (strstr(err.message, part) == NULL) {
        fail_msg("\"%s\" does not tell \"%s\"", err.message, part);
    }
}

static costeer_err no_connection(void *user, costeer_cloud **out, costeer_error *err)
{
    (void)user;
    (void)err;
    *out = NULL;
    return COSTEER_ECLOUD;
}

static void test_create__refuses_what_it_cannot_run(void **state)
{
    (void)state;
    costeer_eval_params params = default_params(0);
    refuse(&params, "0 jobs");
    params = default_params(COSTEER_EVAL_JOBS_MAX + 1);
    refuse(&params, "65 jobs");
    params = default_params(1);
    params.models.slm = NULL;
    refuse(&params, "slm+context needs an SLM");
    params = default_params(1);
    params.models.llm = NULL;
    refuse(&params, "llm needs an LLM");
    params = default_params(1);
    params.models.connect = no_connection;
    refuse(&params, "amulet shows the context to the cloud");
    params = default_params(1);
    params.n_items = 0;
    refuse(&params, "give 1 to");
    params = default_params(1);
    params.session.max_tokens = 0;
    refuse(&params, "max_tokens");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fit__a_row_with_room_keeps_its_context_and_its_length),
        cmocka_unit_test(test_fit__a_long_row_is_refused_or_loses_its_oldest_lines),
        cmocka_unit_test(test_fit__the_answer_is_shortened_before_a_row_is_refused),
        cmocka_unit_test(test_fit__a_query_that_does_not_fit_is_refused_whatever_is_cut),
        cmocka_unit_test(test_run__gives_all_results_in_order_and_the_same_bytes_again),
        cmocka_unit_test(test_run__that_goes_on_gives_what_an_undisturbed_one_gives),
        cmocka_unit_test(test_run__a_callback_that_says_no_ends_it),
        cmocka_unit_test(test_run__a_cancellation_ends_it_and_nothing_is_out_of_order),
        cmocka_unit_test(test_run__a_failure_names_the_row_and_the_method),
        cmocka_unit_test(test_run__rows_that_were_not_fitted_are_refused),
        cmocka_unit_test(test_judge__is_the_same_whatever_was_judged_before),
        cmocka_unit_test(test_create__refuses_what_it_cannot_run),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
