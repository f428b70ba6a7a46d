/* The sampler: exact sets of each filter, the distribution of the draw, and that a draw is the same everywhere. */
#include <costeer/sampler.h>

#include "core/philox.h"
#include "core/portable_math.h"
#include "random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WIDE 5000

static costeer_sampler *create(costeer_sampler_params params)
{
    costeer_sampler *s = NULL;
    assert_int_equal(costeer_sampler_create(&params, WIDE, &s, NULL), COSTEER_OK);
    assert_non_null(s);
    return s;
}

static costeer_sampler_params at_temperature(double temperature, uint64_t seed)
{
    costeer_sampler_params p = COSTEER_SAMPLER_DEFAULTS;
    p.temperature = temperature;
    p.seed = seed;
    return p;
}

static costeer_choice choose(costeer_sampler *s, const int32_t *ids, const double *scores, int32_t n, int32_t position)
{
    costeer_choice choice = {.token = -1};
    assert_int_equal(costeer_sampler_choose(s, ids, scores, n, position, &choice, NULL), COSTEER_OK);
    return choice;
}

/* Bit i: token i (below 64) is drawn at one of many positions. */
static uint64_t drawn_set(costeer_sampler_params params, const int32_t *ids, const double *scores, int32_t n)
{
    uint64_t set = 0;
    costeer_sampler *const s = create(params);
    for (int32_t position = 0; position < 4000; position++) {
        set |= UINT64_C(1) << choose(s, ids, scores, n, position).token;
    }
    costeer_sampler_free(s);
    return set;
}

/* ---- the generator ----------------------------------------------------------------------------------------------- */

/* Known answers that the authors publish with Random123 (kat_vectors). */
static void test_philox__gives_the_published_answers(void **state)
{
    (void)state;
    const struct {
        uint32_t counter[4], key[2], out[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        uint32_t out[4];
        cs_philox4x32(known[i].counter, known[i].key, out);
        assert_memory_equal(out, known[i].out, sizeof out);
    }
}

static void test_sampler__uniform_is_fixed_by_seed_and_position(void **state)
{
    (void)state;
    /* From the first known answer: (0xe169c58d6627e8d5 >> 11) / 2^53. */
    assert_true(costeer_sampler_uniform(0, 0) == (double)(UINT64_C(0xe169c58d6627e8d5) >> 11) * 0x1p-53);
    assert_true(costeer_sampler_uniform(0, 0) != costeer_sampler_uniform(0, 1));
    assert_true(costeer_sampler_uniform(0, 0) != costeer_sampler_uniform(1, 0));
    assert_true(costeer_sampler_uniform(0, 0) != costeer_sampler_uniform(UINT64_C(1) << 32, 0)); /* all 64 bits of both count */
    assert_true(costeer_sampler_uniform(0, 0) != costeer_sampler_uniform(0, UINT64_C(1) << 32));
}

static void test_sampler__uniform_is_uniform(void **state)
{
    (void)state;
    enum { BINS = 64, DRAWS = 64000 };
    int counts[BINS] = {0};
    for (uint64_t i = 0; i < DRAWS; i++) {
        const double u = costeer_sampler_uniform(12345, i);
        assert_true(u >= 0 && u < 1);
        counts[(int)(u * BINS)]++;
    }
    double chi2 = 0;
    for (int i = 0; i < BINS; i++) {
        chi2 += (counts[i] - 1000.0) * (counts[i] - 1000.0) / 1000;
    }
    assert_true(chi2 < 110 && chi2 > 28); /* 63 degrees of freedom: beyond either end once in 10,000 */
}

static void test_portable_math__is_within_two_ulp(void **state)
{
    (void)state;
    struct test_random r = {1};
    for (int i = 0; i < 200000; i++) {
        const double x = i % 2 ? test_random_between(&r, -707, 0) : test_random_between(&r, -10, 10);
        const double y = exp(test_random_between(&r, -20, 20));
        assert_true(fabs(cs_portable_exp(x) - exp(x)) <= 2 * 0x1p-52 * exp(x));
        assert_true(fabs(cs_portable_log(y) - log(y)) <= 2 * 0x1p-52 * fabs(log(y)));
    }
    assert_true(cs_portable_exp(0) == 1);
    assert_true(cs_portable_exp(-INFINITY) == 0);
    assert_true(cs_portable_exp(-709) == 0);
    assert_true(cs_portable_log(1) == 0);
}

/* These very bits must come out on every machine. */
static void test_portable_math__bits_are_fixed(void **state)
{
    (void)state;
    assert_true(cs_portable_exp(-1) == 0x1.78b56362cef38p-2);
    assert_true(cs_portable_exp(-0.1) == 0x1.cf46d99d52b3ap-1);
    assert_true(cs_portable_exp(-123.456) == 0x1.da9fb9e4ee720p-179);
    assert_true(cs_portable_log(1.1) == 0x1.8663f793c46ccp-4);
    assert_true(cs_portable_log(0.05) == -0x1.7f7427b73e391p+1);
}

/* ---- greedy ------------------------------------------------------------------------------------------------------ */

static void test_sampler__greedy_takes_the_lowest_id_of_a_tie(void **state)
{
    (void)state;
    costeer_sampler *const s = create(COSTEER_SAMPLER_DEFAULTS);
    const double scores[5] = {-1, 3, -INFINITY, 3, 3};
    const int32_t ids[5] = {50, 40, 1, 20, 30};
    assert_int_equal(choose(s, NULL, scores, 5, 0).token, 1);
    assert_int_equal(choose(s, ids, scores, 5, 0).token, 20);
    assert_true(choose(s, ids, scores, 5, 0).score == 3);
    costeer_sampler_free(s);
}

static void test_sampler__is_argmax_only_without_temperature_and_penalty(void **state)
{
    (void)state;
    costeer_sampler_params p = COSTEER_SAMPLER_DEFAULTS;
    p.top_k = 5; /* filters never remove the best */
    p.top_p = 0.5;
    costeer_sampler *s = create(p);
    assert_true(costeer_sampler_is_argmax(s));
    costeer_sampler_free(s);
    p.repetition_penalty = 1.1;
    s = create(p);
    assert_false(costeer_sampler_is_argmax(s));
    costeer_sampler_free(s);
    s = create(at_temperature(0.5, 0));
    assert_false(costeer_sampler_is_argmax(s));
    costeer_sampler_free(s);
}

static void test_sampler__tiny_temperature_is_greedy(void **state)
{
    (void)state;
    const double scores[3] = {1, 1 + 1e-12, 0.5};
    assert_int_equal(drawn_set(at_temperature(1e-300, 9), NULL, scores, 3), 1 << 1);
}

/* ---- the draw ---------------------------------------------------------------------------------------------------- */

static void test_sampler__draws_follow_the_policy(void **state)
{
    (void)state;
    enum { N = 8, DRAWS = 40000 };
    static const double temperatures[] = {0.5, 1, 2};
    const double scores[N] = {1e4 + 0.0, 1e4 - 0.5, 1e4 + 1.5, 1e4 - 2, 1e4 + 0.25, -INFINITY, 1e4 - 1, 1e4 + 1};
    for (size_t t = 0; t < 3; t++) {
        costeer_sampler *const s = create(at_temperature(temperatures[t], 42 + t));
        int counts[N] = {0};
        double total = 0, chi2 = 0;
        for (int32_t i = 0; i < DRAWS; i++) {
            counts[choose(s, NULL, scores, N, i).token]++;
        }
        for (int i = 0; i < N; i++) {
            total += exp((scores[i] - 1e4) / temperatures[t]);
        }
        assert_int_equal(counts[5], 0);
        for (int i = 0; i < N; i++) {
            const double expected = DRAWS * exp((scores[i] - 1e4) / temperatures[t]) / total;
            chi2 += i == 5 ? 0 : (counts[i] - expected) * (counts[i] - expected) / expected;
        }
        assert_true(chi2 < 27.9); /* 6 degrees of freedom: exceeded once in 10,000 */
        costeer_sampler_free(s);
    }
}

/* An independent, obvious implementation: the whole cumulative distribution, libm's exp, nothing skipped. */
static void test_sampler__draws_equal_a_plain_inverse_cdf(void **state)
{
    (void)state;
    struct test_random r = {17};
    static double scores[WIDE];
    for (int round = 0; round < 400; round++) {
        const int32_t n = 1 + test_random_below(&r, round % 8 ? 400 : WIDE - 1);
        const double temperature = test_random_between(&r, 0.05, 3);
        double best = -INFINITY, total = 0, cumulative = 0;
        for (int32_t i = 0; i < n; i++) {
            scores[i] = test_random_between(&r, -100, 10); /* many are far below the best */
            best = fmax(best, scores[i]);
        }
        for (int32_t i = 0; i < n; i++) {
            total += exp((scores[i] - best) / temperature);
        }
        costeer_sampler *const s = create(at_temperature(temperature, (uint64_t)round));
        const double u = costeer_sampler_uniform((uint64_t)round, 3);
        int32_t expected = -1;
        for (int32_t i = 0; i < n && expected < 0; i++) {
            cumulative += exp((scores[i] - best) / temperature);
            expected = cumulative > u * total ? i : -1;
        }
        const costeer_choice choice = choose(s, NULL, scores, n, 3);
        assert_int_equal(choice.token, expected);
        assert_true(choice.score == scores[expected]);
        costeer_sampler_free(s);
    }
}

/* Whether the same token is drawn when the scores of all ids before `edge` are raised by d nats. */
static bool is_drawn_again(costeer_sampler *s, const double *scores, int32_t n, int32_t edge, double d, int32_t token)
{
    double moved[64];
    for (int32_t i = 0; i < n; i++) {
        moved[i] = scores[i] + (i < edge ? d : 0);
    }
    return choose(s, NULL, moved, n, 3).token == token;
}

static void test_sampler__the_margin_is_what_it_takes_to_draw_another(void **state)
{
    (void)state;
    struct test_random r = {19};
    for (int round = 0; round < 300; round++) {
        const int32_t n = 2 + test_random_below(&r, 60);
        double scores[64];
        for (int32_t i = 0; i < n; i++) {
            scores[i] = test_random_between(&r, -3, 1);
        }
        costeer_sampler *const s = create(at_temperature(test_random_between(&r, 0.3, 2), (uint64_t)round));
        const costeer_choice choice = choose(s, NULL, scores, n, 3);
        assert_true(choice.margin >= 0 && choice.margin < 1e3);
        const double less = choice.margin * 0.999;
        const double more = choice.margin * 1.001 + 1e-9;
        /* raising what is below pushes the lower edge up over the uniform; lowering what is up to it, the upper one down */
        assert_true(is_drawn_again(s, scores, n, choice.token, less, choice.token));
        assert_true(is_drawn_again(s, scores, n, choice.token + 1, -less, choice.token));
        assert_false(is_drawn_again(s, scores, n, choice.token, more, choice.token) &&
                     is_drawn_again(s, scores, n, choice.token + 1, -more, choice.token));
        costeer_sampler_free(s);
    }
}

static void test_sampler__the_margin_without_temperature_is_to_the_second_best(void **state)
{
    (void)state;
    costeer_sampler *const s = create(at_temperature(0, 0));
    const double rising[4] = {1, 2, 2.5, 4};
    const double falling[4] = {4, 3.75, 1, 0};
    assert_true(choose(s, NULL, rising, 4, 0).margin == 1.5);
    assert_true(choose(s, NULL, falling, 4, 0).margin == 0.25);
    assert_true(choose(s, NULL, falling, 1, 0).margin == INFINITY);
    costeer_sampler_free(s);
}

static void test_sampler__sparse_draws_equal_dense_draws(void **state)
{
    (void)state;
    struct test_random r = {23};
    static double scores[WIDE], sent[WIDE];
    static int32_t ids[WIDE];
    for (int round = 0; round < 300; round++) {
        const int32_t n = 1 + test_random_below(&r, 200);
        costeer_sampler_params p = at_temperature(test_random_between(&r, 0.3, 2), (uint64_t)round);
        p.top_k = round % 3 == 0 ? 1 + test_random_below(&r, 50) : 0;
        p.top_p = round % 2 == 0 ? test_random_between(&r, 0.1, 0.99) : 1;
        p.min_p = round % 5 == 0 ? 0.01 : 0;
        for (int32_t i = 0; i < n; i++) {
            const int32_t j = test_random_below(&r, i + 1);
            scores[i] = floor(test_random_between(&r, -10, 3) * 2); /* with ties */
            ids[i] = ids[j];
            ids[j] = i;
        }
        for (int32_t i = 0; i < n; i++) {
            sent[i] = scores[ids[i]];
        }
        costeer_sampler *const s = create(p);
        for (int32_t position = 0; position < 20; position++) {
            assert_int_equal(choose(s, ids, sent, n, position).token, choose(s, NULL, scores, n, position).token);
        }
        costeer_sampler_free(s);
    }
}

static void test_sampler__a_seed_gives_these_tokens_on_every_machine(void **state)
{
    (void)state;
    static const int32_t expected[] = {79, 30, 49, 49, 84, 81, 98, 73, 54, 90, 60, 38, 38, 35, 49, 68};
    costeer_sampler_params p = at_temperature(0.8, UINT64_C(0x0123456789abcdef));
    p.top_k = 40;
    p.top_p = 0.95;
    p.min_p = 0.01;
    costeer_sampler *const s = create(p);
    double scores[100];
    for (int i = 0; i < 100; i++) {
        scores[i] = (i * 37 % 101) / 16.0; /* exact in binary */
    }
    for (int32_t position = 15; position >= 0; position--) { /* in any order */
        assert_int_equal(choose(s, NULL, scores, 100, position).token, expected[position]);
    }
    costeer_sampler_free(s);
}

/* ---- filters ----------------------------------------------------------------------------------------------------- */

static void test_sampler__top_k_keeps_the_k_best_and_low_ids_of_ties(void **state)
{
    (void)state;
    costeer_sampler_params p = at_temperature(1, 1);
    const double scores[6] = {0, 1, 2, 1, 1, -1};
    const int32_t ids[6] = {9, 8, 3, 6, 7, 1};
    p.top_k = 3;
    assert_int_equal(drawn_set(p, NULL, scores, 6), 1 << 2 | 1 << 1 | 1 << 3);
    assert_int_equal(drawn_set(p, ids, scores, 6), 1 << 3 | 1 << 6 | 1 << 7);
    p.top_k = 1;
    assert_int_equal(drawn_set(p, NULL, scores, 6), 1 << 2);
    p.top_k = 6;
    assert_int_equal(drawn_set(p, NULL, scores, 6), 0x3f);
    p.top_k = 1000;
    assert_int_equal(drawn_set(p, NULL, scores, 6), 0x3f);
}

static void test_sampler__top_p_keeps_the_smallest_sufficient_set(void **state)
{
    (void)state;
    costeer_sampler_params p = at_temperature(1, 2);
    const double scores[5] = {log(0.1), log(0.4), log(0.05), log(0.25), log(0.2)};
    const struct {
        double top_p;
        uint64_t set;
    } cases[] = {{1e-9, 1 << 1},
                 {0.39, 1 << 1},
                 {0.41, 1 << 1 | 1 << 3},
                 {0.64, 1 << 1 | 1 << 3},
                 {0.66, 1 << 1 | 1 << 3 | 1 << 4},
                 {0.94, 1 << 1 | 1 << 3 | 1 << 4 | 1 << 0},
                 {0.96, 0x1f},
                 {1, 0x1f}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        p.top_p = cases[i].top_p;
        assert_int_equal(drawn_set(p, NULL, scores, 5), cases[i].set);
    }
    const double equal[4] = {0, 0, 0, 0};
    p.top_p = 0.49;
    assert_int_equal(drawn_set(p, NULL, equal, 4), 1 << 0 | 1 << 1); /* ties: low ids first */
}

static void test_sampler__top_p_counts_before_the_temperature(void **state)
{
    (void)state;
    const double scores[4] = {log(0.4), log(0.3), log(0.2), log(0.1)};
    costeer_sampler_params p = at_temperature(5, 3); /* at temperature 5 the first two would hold only 0.56 */
    p.top_p = 0.65;
    assert_int_equal(drawn_set(p, NULL, scores, 4), 1 << 0 | 1 << 1);
    p.temperature = 0.3; /* at temperature 0.3 the first alone would hold 0.67 */
    assert_int_equal(drawn_set(p, NULL, scores, 4), 1 << 0 | 1 << 1);
}

static void test_sampler__top_p_counts_the_flat_tail_at_low_temperature(void **state)
{
    (void)state;
    /* 4,000 tokens of e^-8 each hold 1.34 times the best one's probability: at temperature 0.1 they cannot be drawn, yet they are
     * more than half of the distribution, so the set for 0.45 is larger than the best alone. */
    static double scores[4002];
    for (int i = 0; i < 4002; i++) {
        scores[i] = i == 1 ? 0 : (i == 0 ? -0.2 : -8);
    }
    costeer_sampler_params p = at_temperature(0.1, 3);
    p.top_p = 0.45; /* of 3.16: 1 is not enough, 1 + 0.82 is */
    costeer_sampler *const s = create(p);
    int seen[2] = {0, 0};
    for (int32_t position = 0; position < 1000; position++) {
        seen[choose(s, NULL, scores, 4002, position).token == 1]++;
    }
    assert_true(seen[0] > 50 && seen[1] > 500); /* e^-2 against 1 */
    costeer_sampler_free(s);
}

static void test_sampler__top_p_acts_on_what_top_k_left(void **state)
{
    (void)state;
    const double scores[4] = {log(0.4), log(0.3), log(0.2), log(0.1)};
    costeer_sampler_params p = at_temperature(1, 4);
    p.top_k = 2;
    p.top_p = 0.55; /* 0.4 of 0.7 is 0.571: enough; of the whole it would not be */
    assert_int_equal(drawn_set(p, NULL, scores, 4), 1 << 0);
    p.top_p = 0.6;
    assert_int_equal(drawn_set(p, NULL, scores, 4), 1 << 0 | 1 << 1);
}

static void test_sampler__min_p_keeps_a_share_of_the_best(void **state)
{
    (void)state;
    const double scores[4] = {log(0.1), log(0.5), log(0.3), log(0.05)};
    costeer_sampler_params p = at_temperature(2, 5);
    p.min_p = 0.19;
    assert_int_equal(drawn_set(p, NULL, scores, 4), 1 << 0 | 1 << 1 | 1 << 2);
    p.min_p = 0.21;
    assert_int_equal(drawn_set(p, NULL, scores, 4), 1 << 1 | 1 << 2);
    p.min_p = 1;
    assert_int_equal(drawn_set(p, NULL, scores, 4), 1 << 1);
    p.min_p = 0.09;
    assert_int_equal(drawn_set(p, NULL, scores, 4), 0xf);
}

/* ---- repetition -------------------------------------------------------------------------------------------------- */

static costeer_sampler *create_penalizing(double penalty, int32_t window)
{
    costeer_sampler_params p = COSTEER_SAMPLER_DEFAULTS;
    p.repetition_penalty = penalty;
    p.repetition_window = window;
    return create(p);
}

static void assert_penalized(const costeer_sampler *s, double penalty, uint64_t expected)
{
    double scores[10] = {0}, sent[10] = {0};
    const int32_t ids[10] = {4, 9, 0, 3, 1, 8, 7, 6, 2, 5};
    costeer_sampler_penalize(s, NULL, scores, 10);
    costeer_sampler_penalize(s, ids, sent, 10);
    for (int i = 0; i < 10; i++) {
        const double want = expected >> i & 1 ? -log(penalty) : 0;
        assert_true(fabs(scores[i] - want) < 1e-15);
        assert_true(sent[i] == scores[ids[i]]);
    }
}

static void test_sampler__repetition_penalises_each_recent_token_once(void **state)
{
    (void)state;
    costeer_sampler *const s = create_penalizing(1.5, 3);
    assert_penalized(s, 1.5, 0);
    costeer_sampler_accept(s, 7);
    costeer_sampler_accept(s, 7);
    assert_penalized(s, 1.5, 1 << 7);
    costeer_sampler_accept(s, 2);
    assert_penalized(s, 1.5, 1 << 7 | 1 << 2);
    costeer_sampler_accept(s, 5); /* the first 7 leaves the window, the second stays */
    assert_penalized(s, 1.5, 1 << 7 | 1 << 2 | 1 << 5);
    costeer_sampler_accept(s, 5); /* now 7 has left */
    assert_penalized(s, 1.5, 1 << 2 | 1 << 5);
    costeer_sampler_accept(s, 4999); /* beyond the scores given, and below: ignored there */
    costeer_sampler_accept(s, -3);
    assert_penalized(s, 1.5, 1 << 5);
    costeer_sampler_reset(s);
    assert_penalized(s, 1.5, 0);
    costeer_sampler_accept(s, 1);
    assert_penalized(s, 1.5, 1 << 1);
    costeer_sampler_free(s);
}

static void test_sampler__window_agrees_with_a_plain_list(void **state)
{
    (void)state;
    struct test_random r = {55};
    for (int32_t window = 1; window <= 40; window += 3) {
        costeer_sampler *const s = create_penalizing(2, window);
        int32_t history[200];
        for (int32_t i = 0; i < 200; i++) {
            history[i] = test_random_below(&r, 10);
            costeer_sampler_accept(s, history[i]);
            uint64_t recent = 0;
            for (int32_t j = i; j >= 0 && j > i - window; j--) {
                recent |= UINT64_C(1) << history[j];
            }
            assert_penalized(s, 2, recent);
        }
        costeer_sampler_free(s);
    }
}

static void test_sampler__penalty_divides_the_probability(void **state)
{
    (void)state;
    costeer_sampler *const s = create_penalizing(4, 8);
    double scores[2] = {log(0.5), log(0.5)};
    costeer_sampler_accept(s, 0);
    costeer_sampler_penalize(s, NULL, scores, 2);
    assert_true(fabs(exp(scores[0]) - 0.125) < 1e-15);
    assert_int_equal(choose(s, NULL, scores, 2, 0).token, 1);
    costeer_sampler_free(s);
}

static void test_sampler__penalty_of_one_changes_nothing(void **state)
{
    (void)state;
    costeer_sampler *const s = create_penalizing(1, 8);
    double scores[2] = {-1, -INFINITY};
    costeer_sampler_accept(s, 0);
    costeer_sampler_accept(s, 1);
    costeer_sampler_penalize(s, NULL, scores, 2);
    assert_true(scores[0] == -1 && scores[1] == -INFINITY);
    costeer_sampler_free(s);
}

/* ---- errors ------------------------------------------------------------------------------------------------------ */

static void test_sampler__unusable_scores_are_an_error_and_never_a_token(void **state)
{
    (void)state;
    const double bad[][3] = {
        {1, NAN, 2}, {INFINITY, 1, 2}, {-INFINITY, -INFINITY, -INFINITY}, {NAN, NAN, NAN}, {-INFINITY, -INFINITY, NAN}};
    for (int greedy = 0; greedy < 2; greedy++) {
        costeer_sampler *const s = create(at_temperature(greedy ? 0 : 0.7, 1));
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
            const int32_t ids[3] = {5, 6, 7};
            costeer_choice choice = {.token = -77};
            costeer_error err = {0};
            assert_int_equal(costeer_sampler_choose(s, i % 2 ? ids : NULL, bad[i], 3, 0, &choice, &err), COSTEER_ENUMERIC);
            assert_int_equal(choice.token, -77);
            assert_string_equal(err.component, "sampler");
        }
        costeer_sampler_free(s);
    }
}

static void test_sampler__bad_arguments_are_refused(void **state)
{
    (void)state;
    costeer_sampler *const s = create(at_temperature(1, 1));
    static const double scores[WIDE + 1];
    costeer_choice choice;
    assert_int_equal(costeer_sampler_choose(s, NULL, scores, 0, 0, &choice, NULL), COSTEER_EINVAL);
    assert_int_equal(costeer_sampler_choose(s, NULL, scores, WIDE + 1, 0, &choice, NULL), COSTEER_EINVAL);
    assert_int_equal(costeer_sampler_choose(s, NULL, scores, WIDE, -1, &choice, NULL), COSTEER_EINVAL);
    assert_int_equal(costeer_sampler_choose(s, NULL, NULL, 1, 0, &choice, NULL), COSTEER_EINVAL);
    assert_int_equal(costeer_sampler_choose(s, NULL, scores, 1, 0, NULL, NULL), COSTEER_EINVAL);
    assert_int_equal(costeer_sampler_choose(NULL, NULL, scores, 1, 0, &choice, NULL), COSTEER_EINVAL);
    costeer_sampler_free(s);
    costeer_sampler_free(NULL);
}

static void assert_bad_params(costeer_sampler_params params, int32_t n_vocab, const char *name)
{
    costeer_sampler *s = (costeer_sampler *)&params; /* must be set to NULL */
    costeer_error err = {0};
    assert_int_equal(costeer_sampler_create(&params, n_vocab, &s, &err), COSTEER_EINVAL);
    assert_null(s);
    assert_ptr_equal(strstr(err.message, name), err.message);
    assert_non_null(strstr(err.message, "must be"));
}

static void test_sampler__bad_parameters_are_named(void **state)
{
    (void)state;
#define BAD(field, value)                                    \
    do {                                                     \
        costeer_sampler_params p = COSTEER_SAMPLER_DEFAULTS; \
        p.field = value;                                     \
        assert_bad_params(p, 10, #field " is ");             \
    } while (0)
    BAD(temperature, -0.1);
    BAD(temperature, NAN);
    BAD(temperature, INFINITY);
    BAD(top_k, -1);
    BAD(top_p, 0);
    BAD(top_p, -0.5);
    BAD(top_p, 1.01);
    BAD(top_p, NAN);
    BAD(min_p, -0.1);
    BAD(min_p, 1.5);
    BAD(min_p, NAN);
    BAD(repetition_penalty, 0.9);
    BAD(repetition_penalty, NAN);
    BAD(repetition_penalty, INFINITY);
    BAD(repetition_window, 0);
    BAD(repetition_window, 65537);
#undef BAD
    const costeer_sampler_params good = COSTEER_SAMPLER_DEFAULTS;
    assert_bad_params(good, 0, "n_vocab is 0");
    costeer_sampler *s = NULL;
    assert_int_equal(costeer_sampler_create(NULL, 10, &s, NULL), COSTEER_EINVAL);
    assert_int_equal(costeer_sampler_create(&good, 10, NULL, NULL), COSTEER_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox__gives_the_published_answers),
        cmocka_unit_test(test_sampler__uniform_is_fixed_by_seed_and_position),
        cmocka_unit_test(test_sampler__uniform_is_uniform),
        cmocka_unit_test(test_portable_math__is_within_two_ulp),
        cmocka_unit_test(test_portable_math__bits_are_fixed),
        cmocka_unit_test(test_sampler__greedy_takes_the_lowest_id_of_a_tie),
        cmocka_unit_test(test_sampler__is_argmax_only_without_temperature_and_penalty),
        cmocka_unit_test(test_sampler__tiny_temperature_is_greedy),
        cmocka_unit_test(test_sampler__draws_follow_the_policy),
        cmocka_unit_test(test_sampler__draws_equal_a_plain_inverse_cdf),
        cmocka_unit_test(test_sampler__the_margin_is_what_it_takes_to_draw_another),
        cmocka_unit_test(test_sampler__the_margin_without_temperature_is_to_the_second_best),
        cmocka_unit_test(test_sampler__sparse_draws_equal_dense_draws),
        cmocka_unit_test(test_sampler__a_seed_gives_these_tokens_on_every_machine),
        cmocka_unit_test(test_sampler__top_k_keeps_the_k_best_and_low_ids_of_ties),
        cmocka_unit_test(test_sampler__top_p_keeps_the_smallest_sufficient_set),
        cmocka_unit_test(test_sampler__top_p_counts_before_the_temperature),
        cmocka_unit_test(test_sampler__top_p_counts_the_flat_tail_at_low_temperature),
        cmocka_unit_test(test_sampler__top_p_acts_on_what_top_k_left),
        cmocka_unit_test(test_sampler__min_p_keeps_a_share_of_the_best),
        cmocka_unit_test(test_sampler__repetition_penalises_each_recent_token_once),
        cmocka_unit_test(test_sampler__window_agrees_with_a_plain_list),
        cmocka_unit_test(test_sampler__penalty_divides_the_probability),
        cmocka_unit_test(test_sampler__penalty_of_one_changes_nothing),
        cmocka_unit_test(test_sampler__unusable_scores_are_an_error_and_never_a_token),
        cmocka_unit_test(test_sampler__bad_arguments_are_refused),
        cmocka_unit_test(test_sampler__bad_parameters_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
