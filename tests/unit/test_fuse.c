/* Fusion: exclusion and error rules, ties, padding, sparse bases, and equal bits on every instruction set. */
#include "fuse_support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const ISAS[] = {"plain", "avx2", "avx512"};
#define N_ISAS (sizeof ISAS / sizeof ISAS[0])

/* ---- instruction sets -------------------------------------------------------------------------------------------- */

static void test_fuse__every_isa_gives_the_same_bits(void **state)
{
    (void)state;
    struct test_random r = {7};
    float *const arrays = new_floats((1 + 2 * 5) * WIDE);
    double *const scores = new_doubles(N_ISAS * WIDE);
    int n_isas = 0;
    for (int round = 0; round < 400; round++) {
        const int32_t n = 1 + test_random_below(&r, round % 4 ? 80 : WIDE);
        const size_t n_deltas = (size_t)test_random_below(&r, 6);
        costeer_delta deltas[5] = {0};
        fill(&r, arrays, n, 30, 0);
        for (size_t j = 0; j < n_deltas; j++) {
            deltas[j] = (costeer_delta){.expert = arrays + (1 + 2 * j) * WIDE,
                                        .amateur = arrays + (2 + 2 * j) * WIDE,
                                        .weight = test_random_between(&r, 0.1, 3)};
            fill(&r, arrays + (1 + 2 * j) * WIDE, n, 30, 0);
            fill(&r, arrays + (2 + 2 * j) * WIDE, n, 30, 0);
        }
        if (round % 3 == 0) {
            arrays[test_random_below(&r, n)] = -INFINITY;
            arrays[0] = 1;
        }
        const costeer_base base = dense(arrays, n);
        costeer_choice first = {.token = -1};
        n_isas = 0;
        for (size_t isa = 0; isa < N_ISAS; isa++) {
            if (!cs_fuse_force_isa(ISAS[isa])) {
                continue;
            }
            costeer_choice choice = {.token = -1}, scored = {.token = -1};
            assert_string_equal(costeer_fuse_isa(), ISAS[isa]);
            assert_int_equal(costeer_fuse_choose(&base, deltas, n_deltas, n, &choice, NULL), COSTEER_OK);
            assert_int_equal(costeer_fuse_scores(&base, deltas, n_deltas, n, scores + isa * WIDE, &scored, NULL), COSTEER_OK);
            first = n_isas == 0 ? choice : first;
            assert_int_equal(choice.token, first.token);
            assert_int_equal(scored.token, first.token);
            assert_true(choice.score == first.score && scored.score == first.score);
            assert_true(scores[isa * WIDE + (size_t)first.token] == first.score);
            assert_memory_equal(scores + isa * WIDE, scores, (size_t)n * sizeof *scores);
            n_isas++;
        }
    }
    print_message("compared %d instruction sets\n", n_isas);
    assert_true(n_isas >= 1);
    free(arrays);
    free(scores);
}

static void test_fuse__unknown_isa_is_refused(void **state)
{
    (void)state;
    const char *const before = costeer_fuse_isa();
    assert_false(cs_fuse_force_isa("abacus"));
    assert_string_equal(costeer_fuse_isa(), before);
}

/* ---- what deltas do ---------------------------------------------------------------------------------------------- */

static void test_fuse__zero_delta_is_identity(void **state)
{
    (void)state;
    struct test_random r = {3};
    float base[257], slm[257];
    double scores[257];
    fill(&r, base, 257, 20, 0);
    fill(&r, slm, 257, 20, -1e4);
    const costeer_base b = dense(base, 257);
    const costeer_delta delta = {.expert = slm, .amateur = slm, .weight = 1.78};
    costeer_choice choice;
    assert_int_equal(costeer_fuse_scores(&b, &delta, 1, 257, scores, &choice, NULL), COSTEER_OK);
    for (int i = 0; i < 257; i++) {
        assert_true(scores[i] == (double)base[i]);
    }
}

static void test_fuse__weight_zero_ignores_the_delta_entirely(void **state)
{
    (void)state;
    const float base[3] = {1, 3, 2};
    const float bad[3] = {NAN, INFINITY, -INFINITY};
    const costeer_delta deltas[2] = {{.expert = bad, .amateur = bad, .weight = 0},
                                     {.expert = NULL, .amateur = NULL, .weight = -0.0}};
    const costeer_base b = dense(base, 3);
    costeer_choice choice;
    assert_int_equal(costeer_fuse_choose(&b, deltas, 2, 3, &choice, NULL), COSTEER_OK);
    assert_int_equal(choice.token, 1);
    assert_true(choice.score == 3);
}

static void test_fuse__several_deltas_add_up(void **state)
{
    (void)state;
    const float base[3] = {1, 2, 3}, e0[3] = {4, 0, 0}, a0[3] = {1, 0, 0}, e1[3] = {0, 8, 0}, a1[3] = {0, 2, 0},
                e2[3] = {1, 1, 9}, a2[3] = {0, 0, 4};
    const costeer_delta deltas[3] = {{.expert = e0, .amateur = a0, .weight = 2},
                                     {.expert = e1, .amateur = a1, .weight = 0.5},
                                     {.expert = e2, .amateur = a2, .weight = -1}};
    const costeer_base b = dense(base, 3);
    double scores[3];
    costeer_choice choice;
    assert_int_equal(costeer_fuse_scores(&b, deltas, 3, 3, scores, &choice, NULL), COSTEER_OK);
    assert_true(scores[0] == 1 + 2 * 3 - 1);
    assert_true(scores[1] == 2 + 0.5 * 6 - 1);
    assert_true(scores[2] == 3 - 5);
    assert_int_equal(choice.token, 0);
}

/* ---- −inf, NaN, +inf --------------------------------------------------------------------------------------------- */

static costeer_err score_one(float base, float expert, float amateur, double weight, double *score, costeer_error *err)
{
    const float bases[2] = {-1000, base}, experts[2] = {0, expert}, amateurs[2] = {0, amateur};
    const costeer_delta delta = {.expert = experts, .amateur = amateurs, .weight = weight};
    const costeer_base b = dense(bases, 2);
    double scores[2] = {0, 0};
    costeer_choice choice;
    const costeer_err result = costeer_fuse_scores(&b, &delta, 1, 2, scores, &choice, err);
    *score = scores[1];
    return result;
}

static void test_fuse__infinite_logits_follow_the_rules(void **state)
{
    (void)state;
    const double inf = INFINITY;
    const struct {
        double base, expert, amateur, weight, score;
        costeer_err result;
    } cases[] = {
        {-inf, 1, 2, 1, -INFINITY, COSTEER_OK},    /* the base excludes */
        {-inf, 1, -inf, 1, -INFINITY, COSTEER_OK}, /* whatever the delta would be */
        {1, -inf, -inf, 3, 1, COSTEER_OK},         /* both: no delta */
        {1, -inf, -inf, -3, 1, COSTEER_OK},
        {1, -inf, 2, 1, -INFINITY, COSTEER_OK}, /* the expert alone excludes */
        {1, 2, -inf, -1, -INFINITY, COSTEER_OK},
        {1, -inf, 2, -1, 0, COSTEER_ENUMERIC}, /* weighted to +inf */
        {1, 2, -inf, 1, 0, COSTEER_ENUMERIC},
        {inf, 1, 2, 1, 0, COSTEER_ENUMERIC},
        {1, inf, 2, 1, 0, COSTEER_ENUMERIC},
        {1, inf, 2, -1, 0, COSTEER_ENUMERIC}, /* an SLM that says +inf is broken, whatever the sign */
        {1, 2, inf, 1, 0, COSTEER_ENUMERIC},
        {1, inf, inf, 1, 0, COSTEER_ENUMERIC},
        {1, 3e38, -3e38, 1e300, 0, COSTEER_ENUMERIC}, /* overflows: 6e338 */
        {1, -3e38, 3e38, 1e300, -INFINITY, COSTEER_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        costeer_error err = {0};
        double score = 0;
        const costeer_err result =
            score_one((float)cases[i].base, (float)cases[i].expert, (float)cases[i].amateur, cases[i].weight, &score, &err);
        if (result != cases[i].result || (result == COSTEER_OK && score != cases[i].score)) {
            fail_msg("case %zu: result %d, score %g", i, (int)result, score);
        }
        if (result == COSTEER_ENUMERIC) {
            assert_non_null(strstr(err.message, "token 1 "));
            assert_string_equal(err.component, "fuse");
        }
    }
}

/* Put a bad value at one place of one of the arrays; whatever is called must fail and leave the choice alone. */
static void check_bad_value(float *const arrays[5], size_t which, int32_t at, float value, int32_t n)
{
    const float saved = arrays[which][at];
    arrays[which][at] = value;
    const costeer_delta deltas[2] = {{.expert = arrays[1], .amateur = arrays[2], .weight = 1.5},
                                     {.expert = arrays[3], .amateur = arrays[4], .weight = -0.5}};
    static int32_t ids[WIDE];
    static float values[WIDE];
    static double scores[WIDE];
    for (int32_t i = 0; i < n; i++) {
        ids[i] = n - 1 - i;
        values[i] = arrays[0][n - 1 - i];
    }
    const costeer_base bases[2] = {dense(arrays[0], n), {.ids = ids, .values = values, .n = n}};
    const size_t n_deltas = which > 2 ? 2 : 1;
    for (size_t b = 0; b < 2; b++) {
        costeer_choice choice = {.token = -77};
        costeer_error err = {0};
        assert_int_equal(costeer_fuse_choose(&bases[b], deltas, n_deltas, n, &choice, &err), COSTEER_ENUMERIC);
        char name[32];
        (void)snprintf(name, sizeof name, "token %d ", at);
        assert_non_null(strstr(err.message, name));
        assert_int_equal(costeer_fuse_scores(&bases[b], deltas, n_deltas, n, scores, &choice, NULL), COSTEER_ENUMERIC);
        assert_int_equal(costeer_fuse_policy(&bases[b], deltas, n_deltas, n, scores, &choice, NULL), COSTEER_ENUMERIC);
        assert_int_equal(choice.token, -77);
    }
    arrays[which][at] = saved;
}

static void test_fuse__nan_anywhere_is_an_error_and_never_a_token(void **state)
{
    (void)state;
    static float storage[5][WIDE];
    float *const arrays[5] = {storage[0], storage[1], storage[2], storage[3], storage[4]};
    struct test_random r = {99};
    for (size_t isa = 0; isa < N_ISAS; isa++) {
        if (!cs_fuse_force_isa(ISAS[isa])) {
            continue;
        }
        for (int round = 0; round < 150; round++) {
            const int32_t n = 1 + test_random_below(&r, round % 5 ? 70 : WIDE);
            for (size_t a = 0; a < 5; a++) {
                fill(&r, arrays[a], n, 10, 0);
            }
            const size_t which = (size_t)test_random_below(&r, 5);
            const int32_t at = round % 3 ? test_random_below(&r, n) : n - 1;
            check_bad_value(arrays, which, at, round % 2 ? NAN : INFINITY, n);
        }
    }
}

static void test_fuse__nan_of_an_excluded_token_is_an_error(void **state)
{
    (void)state;
    double score = 0;
    assert_int_equal(score_one(-INFINITY, NAN, 0, 1, &score, NULL), COSTEER_ENUMERIC);
    assert_int_equal(score_one(0, -INFINITY, NAN, 1, &score, NULL), COSTEER_ENUMERIC);
}

static void test_fuse__nothing_finite_is_an_error(void **state)
{
    (void)state;
    float base[70], expert[70], amateur[70] = {0};
    for (int i = 0; i < 70; i++) {
        base[i] = i % 2 ? -INFINITY : 1;
        expert[i] = i % 2 ? 1 : -INFINITY;
    }
    const costeer_delta delta = {.expert = expert, .amateur = amateur, .weight = 1};
    const costeer_base b = dense(base, 70);
    costeer_choice choice = {.token = -77};
    costeer_error err = {0};
    assert_int_equal(costeer_fuse_choose(&b, &delta, 1, 70, &choice, &err), COSTEER_ENUMERIC);
    assert_non_null(strstr(err.message, "none of 70 tokens"));
    const int32_t ids[2] = {1, 3};
    const float values[2] = {-INFINITY, -INFINITY};
    const costeer_base sparse = {.ids = ids, .values = values, .n = 2};
    assert_int_equal(costeer_fuse_choose(&sparse, NULL, 0, 70, &choice, NULL), COSTEER_ENUMERIC);
    assert_int_equal(choice.token, -77);
}

/* ---- ties, padding, sparse bases --------------------------------------------------------------------------------- */

static void test_fuse__lowest_id_wins_a_tie_on_every_isa(void **state)
{
    (void)state;
    struct test_random r = {5};
    static float base[WIDE], zeros[WIDE];
    for (size_t isa = 0; isa < N_ISAS; isa++) {
        if (!cs_fuse_force_isa(ISAS[isa])) {
            continue;
        }
        for (int round = 0; round < 300; round++) {
            const int32_t n = 2 + test_random_below(&r, round % 2 ? 60 : WIDE - 2);
            const int32_t one = test_random_below(&r, n), other = test_random_below(&r, n);
            for (int32_t i = 0; i < n; i++) {
                base[i] = -1;
            }
            base[one] = base[other] = round % 3 ? 4 : -1; /* every third time all are equal */
            const costeer_base b = dense(base, n);
            const costeer_delta delta = {.expert = zeros, .amateur = zeros, .weight = 2};
            costeer_choice choice;
            assert_int_equal(costeer_fuse_choose(&b, &delta, 1, n, &choice, NULL), COSTEER_OK);
            assert_int_equal(choice.token, round % 3 ? (one < other ? one : other) : 0);
        }
    }
}

static void test_fuse__negative_zero_ties_with_zero(void **state)
{
    (void)state;
    float base[40];
    for (int i = 0; i < 40; i++) {
        base[i] = i < 3 ? -1 : (i % 2 ? -0.0F : 0.0F);
    }
    const costeer_base b = dense(base, 40);
    for (size_t isa = 0; isa < N_ISAS; isa++) {
        costeer_choice choice;
        if (cs_fuse_force_isa(ISAS[isa])) {
            assert_int_equal(costeer_fuse_choose(&b, NULL, 0, 40, &choice, NULL), COSTEER_OK);
            assert_int_equal(choice.token, 3);
        }
    }
}

static void test_fuse__padding_is_never_read(void **state)
{
    (void)state;
    /* Exactly n_vocab entries are allocated for the SLM, so a sanitizer sees any read beyond; the base is padded with bait. */
    enum { N = 37, PADDED = 64 };
    float base[PADDED];
    float *const expert = new_floats(N), *const amateur = new_floats(N);
    for (int i = 0; i < PADDED; i++) {
        base[i] = i < N ? (float)-i : (i % 2 ? NAN : 1e30F);
    }
    const costeer_base b = dense(base, PADDED);
    const costeer_delta delta = {.expert = expert, .amateur = amateur, .weight = 1};
    double scores[N + 1];
    scores[N] = 123;
    costeer_choice choice;
    for (size_t isa = 0; isa < N_ISAS; isa++) {
        if (cs_fuse_force_isa(ISAS[isa])) {
            assert_int_equal(costeer_fuse_choose(&b, &delta, 1, N, &choice, NULL), COSTEER_OK);
            assert_int_equal(choice.token, 0);
            assert_int_equal(costeer_fuse_scores(&b, &delta, 1, N, scores, &choice, NULL), COSTEER_OK);
            assert_true(scores[N] == 123);
        }
    }
    free(expert);
    free(amateur);
}

static void test_fuse__sparse_equals_dense_when_all_are_sent(void **state)
{
    (void)state;
    struct test_random r = {11};
    static float base[WIDE], expert[WIDE], amateur[WIDE], values[WIDE];
    static int32_t ids[WIDE];
    static double full[WIDE], sent[WIDE];
    for (int round = 0; round < 200; round++) {
        const int32_t n = 1 + test_random_below(&r, 400);
        fill(&r, base, n, 10, 0);
        fill(&r, expert, n, 10, 0);
        fill(&r, amateur, n, 10, 0);
        sprinkle(&r, base, expert, amateur, n);
        for (int32_t i = 0; i < n; i++) { /* shuffled as it goes (Fisher and Yates, inside out) */
            const int32_t j = test_random_below(&r, i + 1);
            ids[i] = ids[j];
            ids[j] = i;
        }
        for (int32_t i = 0; i < n; i++) {
            values[i] = base[ids[i]];
        }
        const costeer_base d = dense(base, n), s = {.ids = ids, .values = values, .n = n};
        const costeer_delta deltas[2] = {{.expert = expert, .amateur = amateur, .weight = 1.25},
                                         {.expert = amateur, .amateur = amateur, .weight = 3}};
        costeer_choice from_dense, from_sparse;
        assert_int_equal(costeer_fuse_policy(&d, deltas, 2, n, full, &from_dense, NULL), COSTEER_OK);
        assert_int_equal(costeer_fuse_policy(&s, deltas, 2, n, sent, &from_sparse, NULL), COSTEER_OK);
        assert_int_equal(from_sparse.token, from_dense.token);
        assert_true(from_sparse.score == from_dense.score);
        for (int32_t i = 0; i < n; i++) {
            assert_true(sent[i] == full[ids[i]] || fabs(sent[i] - full[ids[i]]) < 1e-12); /* the sum's order differs */
        }
    }
}

static void test_fuse__sparse_tie_goes_to_the_lowest_id(void **state)
{
    (void)state;
    const int32_t ids[4] = {9, 4, 7, 2};
    const float values[4] = {-1, -1, -1, -2};
    const costeer_base b = {.ids = ids, .values = values, .n = 4};
    costeer_choice choice;
    assert_int_equal(costeer_fuse_choose(&b, NULL, 0, 10, &choice, NULL), COSTEER_OK);
    assert_int_equal(choice.token, 4);
}

/* ---- margins ----------------------------------------------------------------------------------------------------- */

static double plain_margin(const double *scores, int32_t n, int32_t token)
{
    double second = -INFINITY;
    for (int32_t i = 0; i < n; i++) {
        second = i != token && scores[i] > second ? scores[i] : second;
    }
    return scores[token] - second;
}

/* The second best may be in the block of the best, before or behind it, or in another. */
static void test_fuse__the_margin_is_that_of_all_scores_on_every_isa(void **state)
{
    (void)state;
    struct test_random r = {31};
    static float base[WIDE], expert[WIDE], amateur[WIDE];
    static double scores[WIDE];
    static int32_t ids[WIDE];
    for (int round = 0; round < 400; round++) {
        const int32_t n = 1 + test_random_below(&r, round % 2 ? 150 : WIDE - 1);
        fill(&r, base, n, 3, 0);
        fill(&r, expert, n, 3, 0);
        fill(&r, amateur, n, 3, 0);
        base[test_random_below(&r, n)] = 40;
        base[test_random_below(&r, n)] = round % 5 ? 40.5F : -INFINITY;
        for (int32_t i = 0; i < n; i++) {
            ids[i] = n - 1 - i;
        }
        const costeer_delta delta = {.expert = expert, .amateur = amateur, .weight = 1.78};
        for (size_t isa = 0; isa < N_ISAS; isa++) {
            costeer_choice choice;
            const costeer_base b = dense(base, n);
            if (!cs_fuse_force_isa(ISAS[isa]) || costeer_fuse_scores(&b, &delta, 1, n, scores, &choice, NULL) != COSTEER_OK) {
                continue; /* not this machine's; or the only token was excluded */
            }
            assert_true(choice.margin == plain_margin(scores, n, choice.token));
            assert_int_equal(costeer_fuse_choose(&b, &delta, 1, n, &choice, NULL), COSTEER_OK);
            assert_true(choice.margin == plain_margin(scores, n, choice.token));
        }
        costeer_choice sparse;
        for (int32_t i = 0; i < n / 2; i++) {
            const float swapped = base[i];
            base[i] = base[n - 1 - i];
            base[n - 1 - i] = swapped;
        }
        const costeer_base b = {.ids = ids, .values = base, .n = n};
        if (costeer_fuse_choose(&b, &delta, 1, n, &sparse, NULL) == COSTEER_OK) {
            assert_true(sparse.margin == plain_margin(scores, n, sparse.token));
        }
    }
}

static void test_fuse__a_tie_has_no_margin_and_a_single_token_an_infinite_one(void **state)
{
    (void)state;
    static float base[WIDE];
    const int32_t n = (int32_t)WIDE;
    costeer_choice choice;
    base[70] = base[4000] = 1;
    const costeer_base b = dense(base, n);
    assert_int_equal(costeer_fuse_choose(&b, NULL, 0, n, &choice, NULL), COSTEER_OK);
    assert_int_equal(choice.token, 70);
    assert_true(choice.margin == 0);
    base[4000] = 0;
    base[71] = 1;
    assert_int_equal(costeer_fuse_choose(&b, NULL, 0, n, &choice, NULL), COSTEER_OK);
    assert_true(choice.token == 70 && choice.margin == 0);
    const costeer_base one = dense(base, 1);
    assert_int_equal(costeer_fuse_choose(&one, NULL, 0, 1, &choice, NULL), COSTEER_OK);
    assert_true(choice.margin == INFINITY);
}

static void test_fuse__the_bound_of_near_ties_grows_with_every_weight(void **state)
{
    (void)state;
    const costeer_delta deltas[2] = {{.weight = 1.5}, {.weight = -0.5}};
    assert_true(costeer_near_tie_bound(NULL, 0) == COSTEER_NEAR_TIE_BASE);
    assert_true(fabs(costeer_near_tie_bound(deltas, 1) - (COSTEER_NEAR_TIE_BASE + 1.5 * COSTEER_NEAR_TIE_DELTA)) < 1e-15);
    assert_true(fabs(costeer_near_tie_bound(deltas, 2) - (COSTEER_NEAR_TIE_BASE + 2.0 * COSTEER_NEAR_TIE_DELTA)) < 1e-15);
}

/* ---- normalisation ----------------------------------------------------------------------------------------------- */

static void test_fuse__policy_does_not_depend_on_offsets(void **state)
{
    (void)state;
    static const float offsets[] = {0, 1e4F, -1e4F};
    struct test_random r = {21};
    enum { N = 500 };
    float plain[3][N], shifted[3][N];
    double expected[N], policy[N];
    costeer_choice choice, first;
    for (int a = 0; a < 3; a++) {
        for (int i = 0; i < N; i++) { /* multiples of 1/64: exact in float32 also with an offset */
            plain[a][i] = (float)(test_random_below(&r, 1280) - 640) / 64;
        }
    }
    const costeer_delta delta = {.expert = plain[1], .amateur = plain[2], .weight = 1.78325684},
                        moved = {.expert = shifted[1], .amateur = shifted[2], .weight = 1.78325684};
    const costeer_base base = dense(plain[0], N), moved_base = dense(shifted[0], N);
    assert_int_equal(costeer_fuse_policy(&base, &delta, 1, N, expected, &first, NULL), COSTEER_OK);
    for (int combination = 0; combination < 27; combination++) {
        const float by[3] = {offsets[combination % 3], offsets[combination / 3 % 3], offsets[combination / 9]};
        for (int i = 0; i < 3 * N; i++) {
            shifted[i / N][i % N] = plain[i / N][i % N] + by[i / N];
        }
        assert_int_equal(costeer_fuse_policy(&moved_base, &moved, 1, N, policy, &choice, NULL), COSTEER_OK);
        assert_int_equal(choice.token, first.token);
        double sum = 0;
        for (int i = 0; i < N; i++) {
            sum += exp(policy[i]);
            assert_true(fabs(policy[i] - expected[i]) < 1e-9);
        }
        assert_true(fabs(sum - 1) < 1e-12);
    }
}

static void test_fuse__logsumexp_is_safe_at_the_edges(void **state)
{
    (void)state;
    const float high[2] = {1e4F, 1e4F}, low[2] = {-1e4F, -1e4F}, none[2] = {-INFINITY, -INFINITY}, some[2] = {-INFINITY, 3};
    const float inf[2] = {INFINITY, INFINITY}, bad[3] = {1, NAN, INFINITY};
    assert_true(fabs(costeer_logsumexp(high, 2) - (1e4 + log(2))) < 1e-9);
    assert_true(fabs(costeer_logsumexp(low, 2) - (-1e4 + log(2))) < 1e-9);
    assert_true(costeer_logsumexp(none, 2) == -INFINITY);
    assert_true(costeer_logsumexp(high, 0) == -INFINITY);
    assert_true(costeer_logsumexp(some, 2) == 3);
    assert_true(costeer_logsumexp(inf, 2) == INFINITY);
    assert_true(isnan(costeer_logsumexp(bad, 3)));
}

/* ---- arguments --------------------------------------------------------------------------------------------------- */

static void assert_invalid(const costeer_base *base, const costeer_delta *deltas, size_t n_deltas, int32_t n_vocab,
                           const char *says)
{
    costeer_choice choice = {.token = -77};
    costeer_error err = {0};
    assert_int_equal(costeer_fuse_choose(base, deltas, n_deltas, n_vocab, &choice, &err), COSTEER_EINVAL);
    assert_int_equal(choice.token, -77);
    assert_non_null(strstr(err.message, says));
}

static void test_fuse__bad_arguments_are_named(void **state)
{
    (void)state;
    const float values[4] = {0, 1, 2, 3};
    const int32_t ids[2] = {1, 3}, negative[2] = {1, -1};
    costeer_delta many[COSTEER_DELTAS_MAX + 1] = {0};
    for (size_t j = 0; j <= COSTEER_DELTAS_MAX; j++) {
        many[j] = (costeer_delta){.expert = values, .amateur = values, .weight = 1};
    }
    const costeer_base b = dense(values, 4), none = {0}, outside = {.ids = ids, .values = values, .n = 2},
                       below = {.ids = negative, .values = values, .n = 2}, empty = {.ids = ids, .values = values, .n = 0},
                       long_one = {.ids = ids, .values = values, .n = 2};
    assert_invalid(NULL, NULL, 0, 4, "base");
    assert_invalid(&none, NULL, 0, 4, "base");
    assert_invalid(&b, NULL, 0, 0, "n_vocab is 0");
    assert_invalid(&b, NULL, 0, 5, "4 entries");
    assert_invalid(&outside, NULL, 0, 3, "token 3");
    assert_invalid(&below, NULL, 0, 3, "token -1");
    assert_invalid(&empty, NULL, 0, 3, "0 entries");
    assert_invalid(&long_one, NULL, 0, 1, "2 entries");
    assert_invalid(&b, many, COSTEER_DELTAS_MAX + 1, 4, "17 deltas");
    assert_invalid(&b, NULL, 1, 4, "deltas is NULL");
    many[3].weight = NAN;
    assert_invalid(&b, many, 4, 4, "delta 3 is nan");
    many[3] = (costeer_delta){.expert = values, .amateur = NULL, .weight = 1};
    assert_invalid(&b, many, 4, 4, "delta 3");
    assert_int_equal(costeer_fuse_choose(&b, NULL, 0, 4, NULL, NULL), COSTEER_EINVAL);
    costeer_choice choice;
    assert_int_equal(costeer_fuse_scores(&b, NULL, 0, 4, NULL, &choice, NULL), COSTEER_EINVAL);
}

static void test_fuse__takes_the_largest_number_of_deltas(void **state)
{
    (void)state;
    const float base[2] = {5, 0}, expert[2] = {0, 1}, amateur[2] = {0, 0};
    costeer_delta deltas[COSTEER_DELTAS_MAX] = {0};
    for (size_t j = 0; j < COSTEER_DELTAS_MAX; j++) {
        deltas[j] = (costeer_delta){.expert = expert, .amateur = amateur, .weight = 1};
    }
    const costeer_base b = dense(base, 2);
    costeer_choice choice;
    assert_int_equal(costeer_fuse_choose(&b, deltas, COSTEER_DELTAS_MAX, 2, &choice, NULL), COSTEER_OK);
    assert_int_equal(choice.token, 1);
    assert_true(choice.score == COSTEER_DELTAS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BEST_ISA(test_fuse__every_isa_gives_the_same_bits),
        WITH_BEST_ISA(test_fuse__unknown_isa_is_refused),
        WITH_BEST_ISA(test_fuse__zero_delta_is_identity),
        WITH_BEST_ISA(test_fuse__weight_zero_ignores_the_delta_entirely),
        WITH_BEST_ISA(test_fuse__several_deltas_add_up),
        WITH_BEST_ISA(test_fuse__infinite_logits_follow_the_rules),
        WITH_BEST_ISA(test_fuse__nan_anywhere_is_an_error_and_never_a_token),
        WITH_BEST_ISA(test_fuse__nan_of_an_excluded_token_is_an_error),
        WITH_BEST_ISA(test_fuse__nothing_finite_is_an_error),
        WITH_BEST_ISA(test_fuse__lowest_id_wins_a_tie_on_every_isa),
        WITH_BEST_ISA(test_fuse__negative_zero_ties_with_zero),
        WITH_BEST_ISA(test_fuse__padding_is_never_read),
        WITH_BEST_ISA(test_fuse__sparse_equals_dense_when_all_are_sent),
        WITH_BEST_ISA(test_fuse__sparse_tie_goes_to_the_lowest_id),
        WITH_BEST_ISA(test_fuse__the_margin_is_that_of_all_scores_on_every_isa),
        WITH_BEST_ISA(test_fuse__a_tie_has_no_margin_and_a_single_token_an_infinite_one),
        WITH_BEST_ISA(test_fuse__the_bound_of_near_ties_grows_with_every_weight),
        WITH_BEST_ISA(test_fuse__policy_does_not_depend_on_offsets),
        WITH_BEST_ISA(test_fuse__logsumexp_is_safe_at_the_edges),
        WITH_BEST_ISA(test_fuse__bad_arguments_are_named),
        WITH_BEST_ISA(test_fuse__takes_the_largest_number_of_deltas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
