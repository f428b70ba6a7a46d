/* The queue of an engine's positions: what it keeps of their entries, in which order, and what it refuses. */
#include "cloud/api_positions.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define N_VOCAB 70 /* more than a word of the bitmap */
#define PADDING 4096

/* Fresh for each test. */
static cs_api_positions queue;
static costeer_error err;

static int set_up(void **state)
{
    (void)state;
    err = (costeer_error){.code = COSTEER_OK};
    return cs_api_positions_init(&queue, N_VOCAB, NULL) == COSTEER_OK ? 0 : -1;
}

/* Whatever a test did, the bitmap is clear. */
static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < (N_VOCAB + 63) / 64; i++) {
        assert_int_equal(queue.seen[i], 0);
    }
    cs_api_positions_dispose(&queue);
    return 0;
}

static costeer_err add_all(const cs_api_entry *entries, size_t n)
{
    costeer_err code = COSTEER_OK;
    cs_api_positions_begin(&queue);
    for (size_t i = 0; code == COSTEER_OK && i < n; i++) {
        code = cs_api_positions_add(&queue, entries[i].id, (double)entries[i].value, &err);
    }
    return code;
}

static costeer_err put(const cs_api_entry *entries, size_t n, int64_t own, int32_t top_k)
{
    const costeer_err code = add_all(entries, n);
    return code == COSTEER_OK ? cs_api_positions_end(&queue, own, top_k, &err) : code;
}

/* The next position is one certain token. */
static void put_one(int32_t token)
{
    const cs_api_entry entry = {.id = token, .value = -0.5F};
    assert_int_equal(put(&entry, 1, token, 1), COSTEER_OK);
}

static const cs_api_position *last(void)
{
    return cs_api_positions_find(&queue, queue.first + queue.n - 1);
}

static void assert_ids(const cs_api_position *position, const int32_t *ids, int32_t n)
{
    assert_non_null(position);
    assert_true(position->is_known);
    assert_int_equal(position->n, n);
    assert_memory_equal(position->ids, ids, (size_t)n * sizeof *ids);
}

#define ENTRIES(...) (const cs_api_entry[]){__VA_ARGS__}, sizeof((const cs_api_entry[]){__VA_ARGS__}) / sizeof(cs_api_entry)
#define IDS(...)     (const int32_t[]){__VA_ARGS__}, (int32_t)(sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static void assert_refused(costeer_err code, const char *why)
{
    assert_int_equal(code, COSTEER_ECLOUD);
    if (strstr(err.message, why) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", err.message, why);
    }
}

/* ---- the ring ---------------------------------------------------------------------------------------------------- */

static void test_positions__the_ring_grows_and_keeps_the_order_wherever_it_begins(void **state)
{
    (void)state;
    for (int32_t n_dropped = 0; n_dropped < 8; n_dropped++) {
        cs_api_positions_reset(&queue, 100);
        for (int32_t i = 0; i < 8; i++) {
            put_one(i);
        }
        cs_api_positions_drop_before(&queue, 100 + n_dropped);
        for (int32_t i = 8; i < 40; i++) {
            put_one(i);
        }
        assert_int_equal(queue.n, 40 - n_dropped);
        for (int32_t i = 0; i < 40; i++) {
            const cs_api_position *p = cs_api_positions_find(&queue, 100 + i);
            if (i < n_dropped) {
                assert_null(p);
            } else {
                assert_ids(p, IDS(i));
                assert_int_equal(p->own_token, i);
            }
        }
        assert_null(cs_api_positions_find(&queue, 140));
        cs_api_positions_dispose(&queue);
        assert_int_equal(cs_api_positions_init(&queue, N_VOCAB, NULL), COSTEER_OK);
    }
}

static void test_positions__dropping_forgets_the_oldest_and_no_more_than_there_are(void **state)
{
    (void)state;
    cs_api_positions_drop_before(&queue, 3); /* empty, and without a ring */
    assert_int_equal(queue.n, 0);
    cs_api_positions_reset(&queue, 5);
    assert_null(cs_api_positions_find(&queue, 5));
    put_one(1);
    put_one(2);
    put_one(3);
    cs_api_positions_drop_before(&queue, 5);
    assert_int_equal(queue.n, 3);
    cs_api_positions_drop_before(&queue, 7);
    assert_int_equal(queue.n, 1);
    assert_int_equal(queue.first, 7);
    assert_ids(cs_api_positions_find(&queue, 7), IDS(3));
    assert_null(cs_api_positions_find(&queue, 6));
    cs_api_positions_drop_before(&queue, 100);
    assert_int_equal(queue.n, 0);
    assert_int_equal(queue.first, 8); /* where the next one goes */
    put_one(4);
    assert_ids(cs_api_positions_find(&queue, 8), IDS(4));
}

static void test_positions__a_reset_forgets_all_and_what_was_known_of_a_place(void **state)
{
    (void)state;
    for (int32_t i = 0; i < 20; i++) {
        put_one(i);
    }
    cs_api_positions_reset(&queue, 0);
    assert_null(cs_api_positions_find(&queue, 0));
    assert_int_equal(cs_api_positions_skip(&queue, &err), COSTEER_OK);
    put_one(9);
    const cs_api_position *unknown = cs_api_positions_find(&queue, 0);
    assert_non_null(unknown);
    assert_false(unknown->is_known || unknown->is_all);
    assert_int_equal(unknown->n, 0);
    assert_int_equal(unknown->own_token, -1);
    assert_ids(cs_api_positions_find(&queue, 1), IDS(9));
}

/* ---- what is kept of the entries --------------------------------------------------------------------------------- */

static void test_positions__entries_are_sorted_and_ties_go_to_the_lowest_id(void **state)
{
    (void)state;
    assert_int_equal(put(ENTRIES({-4.0F, 9}, {-2.0F, 40}, {-3.0F, 69}, {-2.0F, 8}, {-3.0F, 3}), 40, 64), COSTEER_OK);
    assert_ids(last(), IDS(8, 40, 3, 69, 9));
    static const float values[] = {-2.0F, -2.0F, -3.0F, -3.0F, -4.0F};
    assert_memory_equal(last()->values, values, sizeof values);
    assert_int_equal(last()->own_token, 40);
    assert_int_equal(put(ENTRIES({-1.0F, 2}, {-1.0F, 1}), 1, 64), COSTEER_OK); /* a tie alone is put in order too */
    assert_ids(last(), IDS(1, 2));
}

static void test_positions__only_the_k_best_are_kept_of_k_and_the_sampled_token(void **state)
{
    (void)state;
    assert_int_equal(put(ENTRIES({-7.0F, 50}, {-1.0F, 4}, {-2.0F, 5}), 50, 2), COSTEER_OK); /* vLLM puts it first */
    assert_ids(last(), IDS(4, 5));
    assert_int_equal(last()->own_token, -1); /* not the best: it is not followed */
    assert_false(last()->is_all);
    assert_int_equal(put(ENTRIES({-1.0F, 4}, {-2.0F, 5}, {-7.0F, 50}), 4, 0), COSTEER_OK); /* 0: all */
    assert_ids(last(), IDS(4, 5, 50));
}

/* K was cut without a word: then the sampled token is among fewer than were asked for, and the others do not reach down to it. */
static void test_positions__a_sampled_token_at_the_end_bounds_nothing(void **state)
{
    (void)state;
    assert_int_equal(put(ENTRIES({-1.0F, 4}, {-2.0F, 5}, {-7.0F, 50}), 50, 64), COSTEER_OK);
    assert_ids(last(), IDS(4, 5));
    assert_int_equal(last()->own_token, -1);
    assert_int_equal(last()->n_sent, 3);
    assert_int_equal(put(ENTRIES({-1.0F, 4}, {-2.0F, 5}, {-7.0F, 50}), 4, 64), COSTEER_OK);
    assert_ids(last(), IDS(4, 5, 50));
    assert_int_equal(put(ENTRIES({-1.0F, 4}, {-1.0F, 50}), 50, 64), COSTEER_OK); /* one of the best stays */
    assert_ids(last(), IDS(4, 50));
    assert_int_equal(put(ENTRIES({-1.0F, 4}), 4, 64), COSTEER_OK); /* the only one stays */
    assert_ids(last(), IDS(4));
}

static void test_positions__what_stands_for_minus_infinity_is_left_out(void **state)
{
    (void)state;
    assert_int_equal(put(ENTRIES({-0.5F, 4}, {-9999.0F, 5}, {-FLT_MAX, 6}, {-INFINITY, 7}, {-8999.0F, 8}), 4, 64), COSTEER_OK);
    assert_ids(last(), IDS(4, 8));
    assert_int_equal(add_all(ENTRIES({-9999.0F, 4}, {-FLT_MAX, 5})), COSTEER_OK);
    assert_refused(cs_api_positions_end(&queue, 4, 64, &err), "without log-probabilities");
    cs_api_positions_begin(&queue);
    assert_int_equal(cs_api_positions_add(&queue, 1, -DBL_MAX, &err), COSTEER_OK);
    assert_int_equal(cs_api_positions_add(&queue, 2, -1.0, &err), COSTEER_OK);
    assert_int_equal(cs_api_positions_end(&queue, 2, 64, &err), COSTEER_OK);
    assert_ids(last(), IDS(2));
    assert_int_equal(last()->n_sent, 2);
    assert_refused(put(ENTRIES({-1.0F, 4}, {-9999.0F, 4}), 4, 64), "twice"); /* nor may they be told twice */
}

static void test_positions__padding_ids_are_left_out_and_others_refused(void **state)
{
    (void)state;
    assert_int_equal(put(ENTRIES({-1.0F, N_VOCAB - 1}, {-2.0F, N_VOCAB}, {-3.0F, N_VOCAB + PADDING - 1}), N_VOCAB, 64),
                     COSTEER_OK);
    assert_ids(last(), IDS(N_VOCAB - 1));
    assert_int_equal(last()->own_token, -1);
    static const int64_t wrong[] = {-1, N_VOCAB + PADDING, INT32_MAX, INT64_MAX, INT64_MIN, INT64_C(1) << 32};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        cs_api_positions_begin(&queue);
        assert_refused(cs_api_positions_add(&queue, wrong[i], -1.0, &err), "not one of the vocabulary's 70");
        put_one(3);
        cs_api_positions_begin(&queue);
        assert_int_equal(cs_api_positions_add(&queue, 3, -1.0, &err), COSTEER_OK);
        assert_int_equal(cs_api_positions_end(&queue, wrong[i], 64, &err), COSTEER_OK); /* its own choice is just none of ours */
        assert_int_equal(last()->own_token, -1);
    }
}

static void test_positions__all_are_given_when_every_token_was_named(void **state)
{
    (void)state;
    cs_api_entry entries[N_VOCAB];
    for (int32_t i = 0; i < N_VOCAB; i++) {
        entries[i] = (cs_api_entry){.id = i, .value = i % 3 == 2 ? -9999.0F : -5.0F};
    }
    assert_int_equal(put(entries, N_VOCAB, 0, N_VOCAB), COSTEER_OK);
    assert_true(last()->is_all);
    assert_int_equal(last()->n, 47); /* of 70, those with a probability */
    assert_int_equal(put(entries, N_VOCAB, 0, 47), COSTEER_OK);
    assert_true(last()->is_all);
    assert_int_equal(put(entries, N_VOCAB, 0, 46), COSTEER_OK); /* cut */
    assert_false(last()->is_all);
    assert_int_equal(put(entries, N_VOCAB - 1, 0, N_VOCAB), COSTEER_OK); /* one is missing */
    assert_false(last()->is_all);
    entries[0].id = N_VOCAB; /* padding is no token */
    assert_int_equal(put(entries, N_VOCAB, 1, N_VOCAB), COSTEER_OK);
    assert_false(last()->is_all);
    entries[0].id = 0;
    assert_int_equal(put(entries, N_VOCAB, 69, N_VOCAB), COSTEER_OK); /* the last one is no addition to fewer */
    assert_int_equal(last()->n, 47);
    assert_true(last()->is_all);
}

/* ---- what is refused --------------------------------------------------------------------------------------------- */

static void test_positions__what_is_no_log_probability_is_refused(void **state)
{
    (void)state;
    static const double wrong[] = {(double)NAN, 0.01, 12.5, (double)INFINITY};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        cs_api_positions_begin(&queue);
        assert_refused(cs_api_positions_add(&queue, 7, wrong[i], &err), "no log-probability");
        assert_non_null(strstr(err.message, "--logprobs-mode raw_logprobs"));
    }
    cs_api_positions_begin(&queue);
    assert_int_equal(cs_api_positions_add(&queue, 7, 5e-5, &err), COSTEER_OK); /* rounding may exceed 0 */
    assert_int_equal(cs_api_positions_end(&queue, 7, 1, &err), COSTEER_OK);
    assert_true(last()->values[0] == 0.0F);
}

/* An engine that adds up 152k probabilities in float32 sends all of them a little too large. */
static void test_positions__a_sum_that_float32_has_lost_something_of_is_made_one(void **state)
{
    (void)state;
    cs_api_positions_dispose(&queue);
    assert_int_equal(cs_api_positions_init(&queue, 151665, NULL), COSTEER_OK);
    const float first = logf(0.9F) + 7e-4F, second = logf(0.1F) + 7e-4F;
    assert_int_equal(put(ENTRIES({first, 4}, {second, 5}), 4, 64), COSTEER_OK);
    const float *values = last()->values;
    assert_true(exp((double)values[0]) + exp((double)values[1]) <= 1 + 1e-6);
    assert_true(fabsf((values[0] - values[1]) - (first - second)) < 1e-6F);
    assert_int_equal(put(ENTRIES({7e-4F, 4}), 4, 64), COSTEER_OK);
    assert_true(last()->values[0] == 0.0F);
    assert_refused(put(ENTRIES({0.01F, 4}), 4, 64), "no log-probability");
    assert_refused(put(ENTRIES({logf(0.9F) + 0.01F, 4}, {logf(0.1F) + 0.01F, 5}), 4, 64), "add up to 1.01");
}

static void test_positions__a_token_twice_a_sum_above_one_and_nothing_are_refused(void **state)
{
    (void)state;
    assert_refused(put(ENTRIES({-1.0F, 69}, {-2.0F, 5}, {-3.0F, 69}), 5, 64), "token 69 twice");
    assert_refused(put(ENTRIES({-0.1F, 4}, {-0.2F, 5}), 4, 64), "add up to 1.7236");
    assert_refused(put(ENTRIES({-0.1F, 4}, {-0.2F, 5}), 4, 1), "add up to 1.7236"); /* those beyond K count */
    cs_api_positions_begin(&queue);
    assert_refused(cs_api_positions_end(&queue, 4, 64, &err), "without log-probabilities");
    assert_int_equal(queue.n, 0);
    assert_int_equal(put(ENTRIES({-1.0F, 69}, {-2.0F, 5}), 5, 64), COSTEER_OK); /* nothing of it is left */
    assert_ids(last(), IDS(69));
}

int main(void)
{
#define positions_test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        positions_test(test_positions__the_ring_grows_and_keeps_the_order_wherever_it_begins),
        positions_test(test_positions__dropping_forgets_the_oldest_and_no_more_than_there_are),
        positions_test(test_positions__a_reset_forgets_all_and_what_was_known_of_a_place),
        positions_test(test_positions__entries_are_sorted_and_ties_go_to_the_lowest_id),
        positions_test(test_positions__only_the_k_best_are_kept_of_k_and_the_sampled_token),
        positions_test(test_positions__a_sampled_token_at_the_end_bounds_nothing),
        positions_test(test_positions__what_stands_for_minus_infinity_is_left_out),
        positions_test(test_positions__padding_ids_are_left_out_and_others_refused),
        positions_test(test_positions__all_are_given_when_every_token_was_named),
        positions_test(test_positions__what_is_no_log_probability_is_refused),
        positions_test(test_positions__a_sum_that_float32_has_lost_something_of_is_made_one),
        positions_test(test_positions__a_token_twice_a_sum_above_one_and_nothing_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
