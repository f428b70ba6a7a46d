/* The top-K certificate: that it never claims too much, that it does claim something, and that a hostile base is refused. */
#include <costeer/steer.h>

#include "core/fuse_kernel.h"
#include "random.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WIDE 5000

/* One position: the whole base as a cloud would send it (float32 log-softmax, descending), and two deltas. */
static struct {
    int32_t n;
    int32_t ids[WIDE];
    float values[WIDE];
    float slm[4][WIDE];
    costeer_delta deltas[2];
    size_t n_deltas;
} at;

static uint64_t scratch[COSTEER_CERTIFY_SCRATCH_WORDS(WIDE)];

static double logits[WIDE];

static int by_logit(const void *left, const void *right)
{
    const int32_t a = *(const int32_t *)left, b = *(const int32_t *)right;
    return logits[a] != logits[b] ? (logits[a] < logits[b] ? 1 : -1) : (a > b) - (a < b);
}

/* sharpness: how peaked the base is. The head of the distribution gets extra weight, as in real models. */
static void make_position(struct test_random *r, int32_t n, double sharpness, double delta_spread)
{
    double max = -INFINITY, sum = 0;
    at.n = n;
    for (int32_t i = 0; i < n; i++) {
        const double u = test_random_between(r, 1e-9, 1);
        logits[i] = -sharpness * log(u); /* exponential: a few stand out */
        max = fmax(max, logits[i]);
        at.ids[i] = i;
    }
    for (int32_t i = 0; i < n; i++) {
        sum += exp(logits[i] - max);
    }
    qsort(at.ids, (size_t)n, sizeof at.ids[0], by_logit);
    for (int32_t i = 0; i < n; i++) {
        at.values[i] = (float)(logits[at.ids[i]] - max - log(sum));
    }
    for (int32_t i = 0; i < 4 * n; i++) {
        at.slm[i / n][i % n] = (float)test_random_between(r, -delta_spread, delta_spread);
    }
    at.deltas[0] = (costeer_delta){.expert = at.slm[0], .amateur = at.slm[1], .weight = test_random_between(r, 0.3, 2.5)};
    at.deltas[1] = (costeer_delta){.expert = at.slm[2], .amateur = at.slm[3], .weight = test_random_between(r, -1, 1)};
    at.n_deltas = (size_t)test_random_below(r, 3);
    memset(scratch, 0xff, sizeof scratch); /* its contents must not matter */
}

static costeer_base top(int32_t k)
{
    return (costeer_base){.ids = at.ids, .values = at.values, .n = k};
}

static costeer_choice choose(int32_t k)
{
    const costeer_base base = top(k);
    costeer_choice choice = {.token = -1};
    assert_int_equal(costeer_fuse_choose(&base, at.deltas, at.n_deltas, at.n, &choice, NULL), COSTEER_OK);
    return choice;
}

/* ---- greedy ------------------------------------------------------------------------------------------------------ */

static void test_certify__certified_choice_is_the_full_one(void **state)
{
    (void)state;
    static const int32_t ks[] = {1, 4, 16, 64};
    struct test_random r = {404};
    int certified[4] = {0}, uncertified[4] = {0}, differ = 0;
    for (int round = 0; round < 1500; round++) {
        make_position(&r, 65 + test_random_below(&r, round % 5 ? 300 : WIDE - 65), test_random_between(&r, 0.5, 4),
                      test_random_between(&r, 0.1, 4));
        const costeer_choice full = choose(at.n);
        for (size_t i = 0; i < 4; i++) {
            const costeer_base base = top(ks[i]);
            const costeer_choice sent = choose(ks[i]);
            costeer_certificate c;
            assert_int_equal(costeer_certify_greedy(&base, at.deltas, at.n_deltas, at.n, sent.score, scratch, &c, NULL),
                             COSTEER_OK);
            if (c.certified) {
                assert_int_equal(sent.token, full.token);
                certified[i]++;
            } else {
                differ += sent.token != full.token;
                uncertified[i]++;
            }
        }
    }
    for (size_t i = 0; i < 4; i++) {
        print_message("K=%d: %d certified, %d not\n", ks[i], certified[i], uncertified[i]);
        assert_true(certified[i] > 20);
        assert_true(uncertified[i] > 20);
    }
    assert_true(differ > 100); /* the top alone is often wrong: there is something to prove */
}

static void test_certify__bounds_hold_for_every_unsent_token(void **state)
{
    (void)state;
    struct test_random r = {405};
    static double scores[WIDE];
    int reached = 0;
    for (int round = 0; round < 1000; round++) {
        make_position(&r, 20 + test_random_below(&r, round % 5 ? 300 : WIDE - 20), 1.5, 1);
        const int32_t k = 1 + test_random_below(&r, 19);
        const costeer_base base = top(k), all = top(at.n);
        costeer_choice best;
        costeer_certificate c;
        assert_int_equal(costeer_fuse_scores(&all, at.deltas, at.n_deltas, at.n, scores, &best, NULL), COSTEER_OK);
        assert_int_equal(costeer_certify_greedy(&base, at.deltas, at.n_deltas, at.n, 0, scratch, &c, NULL), COSTEER_OK);
        double highest = -INFINITY;
        for (int32_t i = k; i < at.n; i++) {
            assert_true((double)at.values[i] <= c.tail_bound);
            assert_true(scores[i] <= c.best_unsent); /* exactly, without any tolerance */
            highest = fmax(highest, scores[i]);
        }
        reached += c.best_unsent - highest < 1;
    }
    assert_true(reached > 100); /* and it is not far above what it bounds */
}

static void test_certify__tail_bound_is_the_smaller_of_two(void **state)
{
    (void)state;
    const int32_t ids[2] = {3, 8};
    const float little_left[2] = {logf(0.90F), logf(0.09F)}; /* 0.01 is left: less than the second value */
    const float much_left[2] = {logf(0.30F), logf(0.01F)};   /* 0.69 is left: the second value is the bound */
    costeer_base base = {.ids = ids, .values = little_left, .n = 2};
    costeer_certificate c;
    assert_int_equal(costeer_certify_greedy(&base, NULL, 0, 100, -0.1, scratch, &c, NULL), COSTEER_OK);
    assert_true(c.tail_bound >= log(0.01) - 1e-6 && c.tail_bound < log(0.01) + 1e-4);
    assert_true(c.best_unsent == c.tail_bound); /* no delta */
    assert_true(c.certified);
    base.values = much_left;
    assert_int_equal(costeer_certify_greedy(&base, NULL, 0, 100, -0.1, scratch, &c, NULL), COSTEER_OK);
    assert_true(c.tail_bound > (double)much_left[1] && c.tail_bound < (double)much_left[1] + 1e-5);
    assert_true(c.unsent_mass == 0); /* sampled only */
}

/* The sender's softmax lost 7e-4 of its sum: its two best seem to leave 3e-4, and leave 1e-3. */
static void test_certify__a_sum_error_leaves_more_to_the_unsent_and_orders_nothing_anew(void **state)
{
    (void)state;
    const int32_t ids[2] = {3, 8};
    const float values[2] = {logf(0.9F * 1.0007F), logf(0.099F * 1.0007F)};
    costeer_base base = {.ids = ids, .values = values, .n = 2};
    costeer_certificate c;
    assert_int_equal(costeer_certify_greedy(&base, NULL, 0, 100, -7.5, scratch, &c, NULL), COSTEER_OK);
    assert_true(c.certified && c.tail_bound < log(1e-3)); /* wrong: the sum was taken for exact */
    base.sum_error = 1e-3F;
    assert_int_equal(costeer_certify_greedy(&base, NULL, 0, 100, -7.5, scratch, &c, NULL), COSTEER_OK);
    assert_false(c.certified);
    assert_true(c.tail_bound >= log(1e-3) && c.tail_bound < log(1.4e-3));
    const float small[2] = {logf(0.3F), logf(0.01F)}; /* bounded by the second value, which all unsent ones are compared with */
    base.values = small;
    assert_int_equal(costeer_certify_greedy(&base, NULL, 0, 100, -0.1, scratch, &c, NULL), COSTEER_OK);
    assert_true(c.tail_bound > (double)small[1] && c.tail_bound < (double)small[1] + 1e-5);
    base.sum_error = NAN;
    assert_int_equal(costeer_certify_greedy(&base, NULL, 0, 100, -0.1, scratch, &c, NULL), COSTEER_EINVAL);
}

/* True log-probabilities are rounded to float32 either way; the remainder must be bounded from above all the same. */
static void test_certify__remainder_survives_rounding(void **state)
{
    (void)state;
    struct test_random r = {77};
    int by_remainder = 0;
    for (int round = 0; round < 3000; round++) {
        const double rest = pow(10, test_random_between(&r, -12, -1)), share = test_random_between(&r, 0.5, 0.9999);
        const double p[2] = {(1 - rest) * share, (1 - rest) * (1 - share)}; /* sent; the whole rest is on one unsent token */
        const int32_t ids[2] = {0, 1};
        const float values[2] = {(float)log(p[0]), (float)log(p[1])};
        const costeer_base base = {.ids = ids, .values = values, .n = 2};
        costeer_certificate c;
        if (rest > p[1]) {
            continue; /* would have been sent */
        }
        assert_int_equal(costeer_certify_greedy(&base, NULL, 0, 3, 0, scratch, &c, NULL), COSTEER_OK);
        assert_true(c.tail_bound >= log(rest));
        by_remainder += c.tail_bound < (double)values[1] - 0.1;
    }
    assert_true(by_remainder > 1000);
}

static void test_certify__sum_just_above_one_says_nothing_about_the_rest(void **state)
{
    (void)state;
    const int32_t ids[2] = {0, 1};
    const float values[2] = {logf(0.9F), logf(0.10005F)};
    const costeer_base base = {.ids = ids, .values = values, .n = 2};
    costeer_certificate c;
    assert_int_equal(costeer_certify_greedy(&base, NULL, 0, 9, 0, scratch, &c, NULL), COSTEER_OK);
    assert_true(c.tail_bound >= (double)values[1]);
}

static void test_certify__tie_is_not_certified(void **state)
{
    (void)state;
    struct test_random r = {6};
    make_position(&r, 500, 1, 1);
    const costeer_base base = top(10);
    costeer_certificate c;
    assert_int_equal(costeer_certify_greedy(&base, at.deltas, 1, 500, -INFINITY, scratch, &c, NULL), COSTEER_OK);
    assert_false(c.certified);
    const double bound = c.best_unsent;
    assert_int_equal(costeer_certify_greedy(&base, at.deltas, 1, 500, bound, scratch, &c, NULL), COSTEER_OK);
    assert_false(c.certified);
    assert_int_equal(costeer_certify_greedy(&base, at.deltas, 1, 500, nextafter(bound, INFINITY), scratch, &c, NULL), COSTEER_OK);
    assert_true(c.certified);
}

static void test_certify__all_sent_is_always_certified(void **state)
{
    (void)state;
    struct test_random r = {8};
    make_position(&r, 300, 0.5, 4);
    const costeer_base base = top(300);
    const costeer_choice best = choose(300);
    costeer_certificate c;
    assert_int_equal(costeer_certify_greedy(&base, at.deltas, at.n_deltas, 300, best.score, scratch, &c, NULL), COSTEER_OK);
    assert_true(c.certified);
    assert_true(c.best_unsent == -INFINITY);
}

static void test_certify__sent_tokens_do_not_raise_the_bound(void **state)
{
    (void)state;
    static float expert[WIDE], amateur[WIDE];
    const int32_t ids[3] = {4999, 2048, 63}; /* last of a block, first of a block, last of a word */
    const float values[3] = {-0.5F, -1.5F, -2.5F};
    for (size_t i = 0; i < 3; i++) {
        expert[ids[i]] = 50;
    }
    expert[64] = 1;
    const costeer_base base = {.ids = ids, .values = values, .n = 3};
    const costeer_delta delta = {.expert = expert, .amateur = amateur, .weight = 1};
    costeer_certificate c;
    assert_int_equal(costeer_certify_greedy(&base, &delta, 1, WIDE, 49, scratch, &c, NULL), COSTEER_OK);
    assert_true(c.best_unsent == c.tail_bound + 1);
    assert_true(c.certified);
}

static void test_certify__excluded_unsent_tokens_cannot_win(void **state)
{
    (void)state;
    float expert[5] = {0, 0, -INFINITY, -INFINITY, -INFINITY}, amateur[5] = {0};
    const int32_t ids[2] = {0, 1};
    const float values[2] = {logf(0.3F), logf(0.2F)};
    const costeer_base base = {.ids = ids, .values = values, .n = 2};
    const costeer_delta delta = {.expert = expert, .amateur = amateur, .weight = 1};
    costeer_certificate c;
    assert_int_equal(costeer_certify_greedy(&base, &delta, 1, 5, -1, scratch, &c, NULL), COSTEER_OK);
    assert_true(c.best_unsent == -INFINITY);
    assert_true(c.certified);
    amateur[3] = -INFINITY; /* impossible with and without the context: the delta is 0, so the bound is m */
    assert_int_equal(costeer_certify_greedy(&base, &delta, 1, 5, -100, scratch, &c, NULL), COSTEER_OK);
    assert_true(c.best_unsent == c.tail_bound);
    assert_false(c.certified);
}

/* ---- rounded values and tails ------------------------------------------------------------------------------------ */

static int descending(const void *left, const void *right)
{
    const float a = *(const float *)left, b = *(const float *)right;
    return (a < b) - (a > b);
}

/* The top, each value moved by less than the error. Sorting moves the k-th value by no more than the values were. */
static costeer_base rounded_top(struct test_random *r, int32_t k, double error)
{
    static float values[WIDE];
    for (int32_t i = 0; i < k; i++) {
        values[i] = fminf(at.values[i] + (float)(error * test_random_between(r, -0.999, 0.999)), 0.0F);
    }
    qsort(values, (size_t)k, sizeof values[0], descending);
    return (costeer_base){.ids = at.ids, .values = values, .n = k, .error = (float)error};
}

static double log_rest(int32_t k)
{
    double sum = DBL_MIN;
    for (int32_t i = k; i < at.n; i++) {
        sum += exp((double)at.values[i]);
    }
    return log(sum);
}

static void test_certify__no_unsent_token_beats_a_certified_rounded_one(void **state)
{
    (void)state;
    struct test_random r = {1618};
    int n_certified = 0, n_exact_certified = 0, by_tail = 0;
    for (int round = 0; round < 2000; round++) {
        make_position(&r, 65 + test_random_below(&r, round % 5 ? 300 : WIDE - 65), test_random_between(&r, 0.5, 4),
                      test_random_between(&r, 0.1, 2));
        const int32_t k = 4 + test_random_below(&r, 60);
        const double error = round % 2 ? 1.0 / 4096 : pow(10, test_random_between(&r, -5, -1));
        costeer_base base = rounded_top(&r, k, error);
        costeer_choice choice, sent = choose(k);
        costeer_certificate c, told, exact;
        const costeer_base all_exact = top(k);
        assert_int_equal(costeer_fuse_choose(&base, at.deltas, at.n_deltas, at.n, &choice, NULL), COSTEER_OK);
        assert_int_equal(costeer_certify_greedy(&base, at.deltas, at.n_deltas, at.n, choice.score, scratch, &c, NULL),
                         COSTEER_OK);
        base.tail = (float)log_rest(k);
        assert_int_equal(costeer_certify_greedy(&base, at.deltas, at.n_deltas, at.n, choice.score, scratch, &told, NULL),
                         COSTEER_OK);
        assert_int_equal(costeer_certify_greedy(&all_exact, at.deltas, at.n_deltas, at.n, sent.score, scratch, &exact, NULL),
                         COSTEER_OK);
        const double unsent = (double)at.values[k];
        assert_true(c.tail_bound >= unsent && told.tail_bound >= unsent && told.tail_bound <= c.tail_bound);
        assert_true(c.tail_bound <= (double)base.values[k - 1] + error * (1 + 1e-3) + 1e-5);
        if (c.certified || told.certified) {
            const costeer_choice full = choose(at.n);
            assert_int_equal(full.token, sent.token); /* what is unsent cannot win, whatever the sent ones do among themselves */
        }
        assert_true(told.certified || !c.certified);
        n_certified += told.certified;
        n_exact_certified += exact.certified;
        by_tail += told.tail_bound < c.tail_bound;
    }
    print_message("%d certified, %d with exact values; the tail helped %d times\n", n_certified, n_exact_certified, by_tail);
    assert_true(n_certified > 500 && n_certified * 10 > n_exact_certified * 9);
    assert_true(by_tail > 5);
}

static void test_certify__the_error_lowers_the_best_and_raises_the_rest(void **state)
{
    (void)state;
    const int32_t ids[3] = {3, 4, 5};
    const float values[3] = {-1, -2, -3};
    const costeer_base base = {.ids = ids, .values = values, .n = 3, .error = 0.25F};
    costeer_certificate c;
    assert_int_equal(costeer_certify_greedy(&base, NULL, 0, 100, -2.51, scratch, &c, NULL), COSTEER_OK);
    assert_true(c.tail_bound >= -2.75 && c.tail_bound < -2.74);
    assert_false(c.certified); /* −2.51 − 0.25 is not above −2.75 */
    assert_int_equal(costeer_certify_greedy(&base, NULL, 0, 100, -2.49, scratch, &c, NULL), COSTEER_OK);
    assert_true(c.certified);
}

static void test_certify__a_tail_counts_only_where_it_makes_a_whole(void **state)
{
    (void)state;
    const int32_t ids[2] = {0, 1};
    const float values[2] = {logf(0.9F), logf(0.09999F)}; /* 1e-5 is left */
    costeer_base base = {.ids = ids, .values = values, .n = 2};
    costeer_certificate c;
    assert_int_equal(costeer_certify_greedy(&base, NULL, 0, 100, -0.1, scratch, &c, NULL), COSTEER_OK);
    const double without = c.tail_bound;
    base.tail = -13.8F; /* 1e-6: within what normalisers differ by */
    assert_int_equal(costeer_certify_greedy(&base, NULL, 0, 100, -0.1, scratch, &c, NULL), COSTEER_OK);
    assert_true(c.tail_bound >= -13.8 && c.tail_bound < -13.79 && without > -11.6);
    base.tail = -INFINITY; /* nothing is left */
    assert_int_equal(costeer_certify_greedy(&base, NULL, 0, 100, -1e30, scratch, &c, NULL), COSTEER_OK);
    assert_true(c.certified && c.best_unsent == -INFINITY);
    const float half[2] = {logf(0.5F), logf(0.4F)}; /* a tenth is left, whatever the tail says */
    base.values = half;
    assert_int_equal(costeer_certify_greedy(&base, NULL, 0, 100, -0.1, scratch, &c, NULL), COSTEER_OK);
    assert_true(c.tail_bound > -2.4);
}

/* The base of a method that keeps only a support of its own: what is not sent has no probability at all. */
static void test_certify__a_base_that_is_a_whole_by_itself_certifies_at_once(void **state)
{
    (void)state;
    struct test_random r = {410};
    static float whole[WIDE];
    static double scores[WIDE];
    for (int round = 0; round < 500; round++) {
        make_position(&r, 100 + test_random_below(&r, WIDE - 100), 1.5, 30); /* deltas that would pull anything up */
        const int32_t k = 1 + test_random_below(&r, 64);
        const double sum = costeer_logsumexp(at.values, k);
        for (int32_t i = 0; i < k; i++) {
            whole[i] = (float)fmin((double)at.values[i] - sum, 0.0);
        }
        const costeer_base base = {.ids = at.ids, .values = whole, .n = k, .tail = -INFINITY};
        costeer_choice best;
        costeer_certificate c;
        assert_int_equal(costeer_fuse_scores(&base, at.deltas, at.n_deltas, at.n, scores, &best, NULL), COSTEER_OK);
        assert_int_equal(costeer_certify_greedy(&base, at.deltas, at.n_deltas, at.n, best.score, scratch, &c, NULL), COSTEER_OK);
        assert_true(c.certified);
        assert_true(c.best_unsent == -INFINITY && c.tail_bound <= (double)-FLT_MAX);
        assert_int_equal(costeer_certify_sampled(&base, at.deltas, at.n_deltas, at.n, scores, 1.0, 1e-12, scratch, &c, NULL),
                         COSTEER_OK);
        assert_true(c.certified);
        assert_true(c.unsent_mass == 0.0);
    }
}

static void test_certify__rounded_values_are_never_good_enough_to_draw_from(void **state)
{
    (void)state;
    const int32_t ids[2] = {0, 1};
    const float values[2] = {logf(0.9F), logf(0.09999F)};
    const double scores[2] = {-0.1, -2.3};
    costeer_base base = {.ids = ids, .values = values, .n = 2};
    costeer_certificate c, exact;
    assert_int_equal(costeer_certify_sampled(&base, NULL, 0, 5, scores, 1, 1, scratch, &exact, NULL), COSTEER_OK);
    assert_true(exact.certified);
    base.error = 1e-4F;
    assert_int_equal(costeer_certify_sampled(&base, NULL, 0, 5, scores, 1, 1, scratch, &c, NULL), COSTEER_OK);
    assert_false(c.certified);
    assert_true(c.unsent_mass > exact.unsent_mass);
}

/* ---- what must be refused ---------------------------------------------------------------------------------------- */

static void assert_refused(costeer_base base, costeer_err expected, const char *says)
{
    const double scores[4] = {-1, -2, -3, -4};
    costeer_certificate c = {.certified = false};
    costeer_error err = {0};
    assert_int_equal(costeer_certify_greedy(&base, NULL, 0, 100, 1e9, scratch, &c, &err), expected);
    assert_false(c.certified);
    assert_non_null(strstr(err.message, says));
    assert_string_equal(err.component, "certify");
    assert_int_equal(costeer_certify_sampled(&base, NULL, 0, 100, scores, 1, 1e9, scratch, &c, NULL), expected);
    assert_false(c.certified);
}

static void test_certify__hostile_base_is_refused(void **state)
{
    (void)state;
    const int32_t ids[3] = {7, 9, 11}, twice[3] = {7, 9, 7}, high[3] = {7, 9, 100}, low[3] = {7, -1, 9};
    const float good[3] = {-1, -2, -3}, unsorted[3] = {-2, -1, -3}, positive[3] = {1e-6F, -2, -3}, nan[3] = {-1, NAN, -3};
    const float infinite[3] = {-1, -2, -INFINITY}, heavy[3] = {logf(0.5F), logf(0.3F), logf(0.2002F)};
    assert_refused((costeer_base){.ids = twice, .values = good, .n = 3}, COSTEER_ECLOUD, "token 7 twice");
    assert_refused((costeer_base){.ids = high, .values = good, .n = 3}, COSTEER_ECLOUD, "token 100");
    assert_refused((costeer_base){.ids = low, .values = good, .n = 3}, COSTEER_ECLOUD, "token -1");
    assert_refused((costeer_base){.ids = ids, .values = unsorted, .n = 3}, COSTEER_ECLOUD, "not sorted");
    assert_refused((costeer_base){.ids = ids, .values = positive, .n = 3}, COSTEER_ECLOUD, "token 7");
    assert_refused((costeer_base){.ids = ids, .values = nan, .n = 3}, COSTEER_ECLOUD, "nan");
    assert_refused((costeer_base){.ids = ids, .values = infinite, .n = 3}, COSTEER_ECLOUD, "-inf");
    assert_refused((costeer_base){.ids = ids, .values = heavy, .n = 3}, COSTEER_ECLOUD, "add up to 1.0002");
    assert_refused((costeer_base){.ids = ids, .values = good, .n = 0}, COSTEER_ECLOUD, "0 entries");
    assert_refused((costeer_base){.ids = ids, .values = good, .n = 101}, COSTEER_ECLOUD, "101 entries");
    assert_refused((costeer_base){.ids = ids, .values = good, .n = 3, .error = NAN}, COSTEER_ECLOUD, "nan");
    assert_refused((costeer_base){.ids = ids, .values = good, .n = 3, .error = -1}, COSTEER_ECLOUD, "-1");
    assert_refused((costeer_base){.ids = ids, .values = good, .n = 3, .error = INFINITY}, COSTEER_ECLOUD, "inf");
    assert_refused((costeer_base){.ids = ids, .values = good, .n = 3, .tail = NAN}, COSTEER_ECLOUD, "nan");
    assert_refused((costeer_base){.ids = ids, .values = good, .n = 3, .tail = 0.5F}, COSTEER_ECLOUD, "0.5");
    assert_refused((costeer_base){.ids = ids, .values = heavy, .n = 3, .error = 1e-5F}, COSTEER_ECLOUD, "add up to 1.0002");
    assert_refused((costeer_base){.ids = NULL, .values = good, .n = 3}, COSTEER_EINVAL, "sparse");
    assert_refused((costeer_base){.ids = ids, .values = NULL, .n = 3}, COSTEER_EINVAL, "sparse");
    costeer_certificate c;
    const costeer_base base = {.ids = ids, .values = good, .n = 3};
    assert_int_equal(costeer_certify_greedy(&base, NULL, 0, 100, 1, scratch, &c, NULL), COSTEER_OK);
}

static void test_certify__nan_in_the_slm_is_an_error(void **state)
{
    (void)state;
    static float expert[WIDE], amateur[WIDE], odd[2 * WIDE];
    const int32_t ids[2] = {3000, 4};
    const float values[2] = {-1, -2};
    const double scores[2] = {-1, -2};
    const costeer_base base = {.ids = ids, .values = values, .n = 2};
    const int32_t places[] = {0, 4, 2047, 2048, 2999, 3000, 4999}; /* some of them sent */
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        costeer_certificate c = {.certified = false};
        costeer_error err = {0};
        const costeer_delta deltas[2] = {{.expert = expert, .amateur = amateur, .weight = 1},
                                         {.expert = odd, .amateur = odd + WIDE, .weight = 2}};
        odd[(i % 2) * WIDE + (size_t)places[i]] = i % 3 ? NAN : INFINITY;
        assert_int_equal(costeer_certify_greedy(&base, deltas, 2, WIDE, 5, scratch, &c, &err), COSTEER_ENUMERIC);
        assert_int_equal(costeer_certify_sampled(&base, deltas, 2, WIDE, scores, 1, 1, scratch, &c, NULL), COSTEER_ENUMERIC);
        assert_false(c.certified);
        odd[(i % 2) * WIDE + (size_t)places[i]] = 0;
        assert_int_equal(costeer_certify_greedy(&base, deltas, 2, WIDE, 5, scratch, &c, NULL), COSTEER_OK);
    }
    amateur[17] = -INFINITY; /* an unsent token with a delta of +inf: no bound exists */
    const costeer_delta delta = {.expert = expert, .amateur = amateur, .weight = 1};
    costeer_certificate c;
    assert_int_equal(costeer_certify_greedy(&base, &delta, 1, WIDE, 5, scratch, &c, NULL), COSTEER_ENUMERIC);
}

static void test_certify__bad_arguments_are_refused(void **state)
{
    (void)state;
    const int32_t ids[2] = {3, 4};
    const float values[2] = {-1, -2};
    const double scores[2] = {-1, -2}, nan[2] = {-1, NAN}, none[2] = {-INFINITY, -INFINITY};
    const costeer_base b = {.ids = ids, .values = values, .n = 2};
    costeer_certificate c;
    assert_int_equal(costeer_certify_greedy(&b, NULL, 0, 9, NAN, scratch, &c, NULL), COSTEER_ENUMERIC);
    assert_int_equal(costeer_certify_greedy(&b, NULL, 0, 9, INFINITY, scratch, &c, NULL), COSTEER_ENUMERIC);
    assert_int_equal(costeer_certify_greedy(&b, NULL, 0, 0, 1, scratch, &c, NULL), COSTEER_EINVAL);
    assert_int_equal(costeer_certify_greedy(&b, NULL, 0, 9, 1, NULL, &c, NULL), COSTEER_EINVAL);
    assert_int_equal(costeer_certify_greedy(&b, NULL, 0, 9, 1, scratch, NULL, NULL), COSTEER_EINVAL);
    assert_int_equal(costeer_certify_greedy(NULL, NULL, 0, 9, 1, scratch, &c, NULL), COSTEER_EINVAL);
    assert_int_equal(costeer_certify_greedy(&b, NULL, 1, 9, 1, scratch, &c, NULL), COSTEER_EINVAL);
    assert_int_equal(costeer_certify_sampled(&b, NULL, 0, 9, NULL, 1, 1, scratch, &c, NULL), COSTEER_EINVAL);
    assert_int_equal(costeer_certify_sampled(&b, NULL, 0, 9, scores, 0, 1, scratch, &c, NULL), COSTEER_EINVAL);
    assert_int_equal(costeer_certify_sampled(&b, NULL, 0, 9, scores, -1, 1, scratch, &c, NULL), COSTEER_EINVAL);
    assert_int_equal(costeer_certify_sampled(&b, NULL, 0, 9, scores, NAN, 1, scratch, &c, NULL), COSTEER_EINVAL);
    assert_int_equal(costeer_certify_sampled(&b, NULL, 0, 9, scores, 1, -1, scratch, &c, NULL), COSTEER_EINVAL);
    assert_int_equal(costeer_certify_sampled(&b, NULL, 0, 9, scores, 1, NAN, scratch, &c, NULL), COSTEER_EINVAL);
    assert_int_equal(costeer_certify_sampled(&b, NULL, 0, 9, nan, 1, 1, scratch, &c, NULL), COSTEER_ENUMERIC);
    assert_int_equal(costeer_certify_sampled(&b, NULL, 0, 9, none, 1, 1, scratch, &c, NULL), COSTEER_ENUMERIC);
}

/* ---- sampled ----------------------------------------------------------------------------------------------------- */

static double delta_of(int32_t token)
{
    double sum = 0;
    for (size_t j = 0; j < at.n_deltas; j++) {
        sum += at.deltas[j].weight * ((double)at.deltas[j].expert[token] - (double)at.deltas[j].amateur[token]);
    }
    return sum;
}

static void test_certify__unsent_mass_is_bounded(void **state)
{
    (void)state;
    struct test_random r = {31};
    static double scores[WIDE];
    int n_certified = 0, n_uncertified = 0;
    for (int round = 0; round < 600; round++) {
        make_position(&r, 65 + test_random_below(&r, round % 5 ? 300 : WIDE - 65), test_random_between(&r, 0.5, 6),
                      test_random_between(&r, 0.1, 2));
        const int32_t k = 1 + test_random_below(&r, 64);
        const double temperature = test_random_between(&r, 0.2, 2), tolerance = pow(10, test_random_between(&r, -4, 0));
        const costeer_base base = top(k), all = top(at.n);
        costeer_choice best;
        costeer_certificate c;
        assert_int_equal(costeer_fuse_scores(&all, at.deltas, at.n_deltas, at.n, scores, &best, NULL), COSTEER_OK);
        assert_int_equal(
            costeer_certify_sampled(&base, at.deltas, at.n_deltas, at.n, scores, temperature, tolerance, scratch, &c, NULL),
            COSTEER_OK);
        double sent = 0, unsent = 0, bound = 0; /* relative to exp(best score), as any common factor cancels */
        for (int32_t i = 0; i < at.n; i++) {
            *(i < k ? &sent : &unsent) += exp((scores[i] - best.score) / temperature);
            bound += i < k ? 0 : exp((c.tail_bound + delta_of(at.ids[i]) - best.score) / temperature);
        }
        assert_true(c.unsent_mass >= unsent / sent);                                    /* sound */
        assert_true(c.unsent_mass >= bound / sent * (1 - 1e-9));                        /* the documented formula … */
        assert_true(c.unsent_mass <= bound / sent * (1 + 1e-5) + 1.001e-3 * tolerance); /* … and no more */
        assert_int_equal(c.certified, c.unsent_mass <= tolerance);
        n_certified += c.certified;
        n_uncertified += !c.certified;
    }
    print_message("%d certified, %d not\n", n_certified, n_uncertified);
    assert_true(n_certified > 50 && n_uncertified > 50);
}

static void test_certify__all_sent_leaves_no_mass(void **state)
{
    (void)state;
    const int32_t ids[3] = {2, 0, 1};
    const float values[3] = {logf(0.5F), logf(0.3F), logf(0.2F)};
    const double scores[3] = {-1, -INFINITY, -3};
    const costeer_base base = {.ids = ids, .values = values, .n = 3};
    costeer_certificate c;
    assert_int_equal(costeer_certify_sampled(&base, NULL, 0, 3, scores, 0.7, 0, scratch, &c, NULL), COSTEER_OK);
    assert_true(c.certified);
    assert_true(c.unsent_mass == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_certify__certified_choice_is_the_full_one),
        cmocka_unit_test(test_certify__bounds_hold_for_every_unsent_token),
        cmocka_unit_test(test_certify__tail_bound_is_the_smaller_of_two),
        cmocka_unit_test(test_certify__a_sum_error_leaves_more_to_the_unsent_and_orders_nothing_anew),
        cmocka_unit_test(test_certify__remainder_survives_rounding),
        cmocka_unit_test(test_certify__sum_just_above_one_says_nothing_about_the_rest),
        cmocka_unit_test(test_certify__tie_is_not_certified),
        cmocka_unit_test(test_certify__all_sent_is_always_certified),
        cmocka_unit_test(test_certify__sent_tokens_do_not_raise_the_bound),
        cmocka_unit_test(test_certify__excluded_unsent_tokens_cannot_win),
        cmocka_unit_test(test_certify__no_unsent_token_beats_a_certified_rounded_one),
        cmocka_unit_test(test_certify__the_error_lowers_the_best_and_raises_the_rest),
        cmocka_unit_test(test_certify__a_tail_counts_only_where_it_makes_a_whole),
        cmocka_unit_test(test_certify__a_base_that_is_a_whole_by_itself_certifies_at_once),
        cmocka_unit_test(test_certify__rounded_values_are_never_good_enough_to_draw_from),
        cmocka_unit_test(test_certify__hostile_base_is_refused),
        cmocka_unit_test(test_certify__nan_in_the_slm_is_an_error),
        cmocka_unit_test(test_certify__bad_arguments_are_refused),
        cmocka_unit_test(test_certify__unsent_mass_is_bounded),
        cmocka_unit_test(test_certify__all_sent_leaves_no_mass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
