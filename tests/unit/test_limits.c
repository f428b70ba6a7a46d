/*
 * Limits of deltas: plausibility and strength by divergence, against a literal computation in double precision over the whole
 * vocabulary, on every instruction set; what infinities do; and that a certificate with limits never claims too much.
 */
#include "fuse_support.h"

#include "support/literal_limits.h"

#include <float.h>
#include <stdio.h>
#include <string.h>

static const char *const ISAS[] = {"plain", "avx2", "avx512"};
#define N_ISAS (sizeof ISAS / sizeof ISAS[0])

/* Logits as models give them: most tokens hopeless, a few likely; the amateur is the expert with noise. */
static void fill_slm(struct test_random *r, float *expert, float *amateur, int32_t n, double noise, double offset)
{
    for (int32_t i = 0; i < n; i++) {
        const double logit = -2 * log(test_random_between(r, 1e-9, 1));
        expert[i] = (float)(offset + logit + test_random_between(r, -noise, noise));
        amateur[i] = (float)(logit - offset / 2);
    }
}

/* ---- against the literal definition ------------------------------------------------------------------------------ */

static void compare_with_literal(struct test_random *r, int32_t n, bool with_infinities)
{
    static float base[WIDE], expert[2][WIDE], amateur[2][WIDE];
    static double literal[WIDE], scores[WIDE], first[WIDE];
    costeer_delta deltas[2] = {0};
    literal_limited limited[2];
    const size_t n_deltas = 1 + (size_t)test_random_below(r, 2);
    fill(r, base, n, 12, -30);
    for (size_t j = 0; j < n_deltas; j++) {
        fill_slm(r, expert[j], amateur[j], n, test_random_between(r, 0, 4), test_random_between(r, -1e3, 1e3));
        if (with_infinities) {
            sprinkle(r, base, expert[j], amateur[j], n);
        }
        limited[j] = (literal_limited){.expert = expert[j],
                                       .amateur = amateur[j],
                                       .weight = test_random_between(r, with_infinities ? 0.5 : -2,
                                                                     3), /* an expert of -inf excludes with a positive weight */
                                       .plausibility = test_random_below(r, 3) == 0 ? 0 : test_random_between(r, 1e-3, 1),
                                       .divergence = test_random_between(r, 0.05, 2)};
        if (limited[j].plausibility > 0 && test_random_below(r, 3) == 0) {
            limited[j].divergence = 0;
        }
    }
    literal_limited_scores(base, limited, n_deltas, n, literal);
    int n_isas = 0;
    for (size_t isa = 0; isa < N_ISAS; isa++) {
        if (!cs_fuse_force_isa(ISAS[isa])) {
            continue;
        }
        costeer_error err = {0};
        for (size_t j = 0; j < n_deltas; j++) {
            const costeer_delta_limits limits = {.plausibility = limited[j].plausibility, .divergence = limited[j].divergence};
            deltas[j] = (costeer_delta){.expert = expert[j], .amateur = amateur[j], .weight = limited[j].weight};
            if (costeer_delta_limit(&deltas[j], &limits, n, &err) != COSTEER_OK) {
                fail_msg("%s", err.message);
            }
        }
        const costeer_base b = dense(base, n);
        costeer_choice scored = {.token = -1}, chosen = {.token = -1};
        assert_int_equal(costeer_fuse_scores(&b, deltas, n_deltas, n, scores, &scored, &err), COSTEER_OK);
        assert_int_equal(costeer_fuse_choose(&b, deltas, n_deltas, n, &chosen, &err), COSTEER_OK);
        assert_true(chosen.token == scored.token && chosen.score == scored.score);
        literal_assert_same_up_to_constant(scores, literal, n, 1e-6);
        assert_true(literal[chosen.token] >= literal_largest(literal, n) - 1e-6);
        if (n_isas++ == 0) {
            memcpy(first, scores, (size_t)n * sizeof *first);
        }
        assert_memory_equal(scores, first, (size_t)n * sizeof *first); /* the same bits */
    }
    assert_true(n_isas >= 1);
}

static void test_limits__are_the_literal_ones_on_every_isa(void **state)
{
    (void)state;
    struct test_random r = {1411};
    for (int round = 0; round < 600; round++) {
        compare_with_literal(&r, 1 + test_random_below(&r, round % 4 ? 90 : (int32_t)WIDE), false);
    }
}

static void test_limits__know_the_rules_for_infinities(void **state)
{
    (void)state;
    struct test_random r = {1412};
    for (int round = 0; round < 600; round++) {
        compare_with_literal(&r, 1 + test_random_below(&r, round % 4 ? 90 : (int32_t)WIDE), true);
    }
}

/* ---- single properties ------------------------------------------------------------------------------------------- */

static void test_limits__none_leave_every_bit(void **state)
{
    (void)state;
    struct test_random r = {1413};
    static float expert[WIDE], amateur[WIDE];
    fill_slm(&r, expert, amateur, WIDE, 2, 5);
    const costeer_delta delta = {.expert = expert, .amateur = amateur, .weight = 1.78325684};
    costeer_delta limited = delta;
    const costeer_delta_limits none = {0};
    assert_int_equal(costeer_delta_limit(&limited, &none, WIDE, NULL), COSTEER_OK);
    assert_memory_equal(&limited, &delta, sizeof delta);
    const costeer_delta_limits by_divergence = {.divergence = 1e-9}; /* reached everywhere */
    assert_int_equal(costeer_delta_limit(&limited, &by_divergence, WIDE, NULL), COSTEER_OK);
    assert_true(limited.weight == delta.weight && limited.floor == -INFINITY);
}

static void test_limits__no_implausible_token_gains(void **state)
{
    (void)state;
    const float base[4] = {0, 0, 0, 0};
    const float expert[4] = {2, 1.5F, -3, -4}, amateur[4] = {2, 0, -6, 2};
    costeer_delta delta = {.expert = expert, .amateur = amateur, .weight = 1};
    const costeer_delta_limits limits = {.plausibility = 0.1};
    double scores[4];
    costeer_choice choice;
    const costeer_base b = dense(base, 4);
    assert_int_equal(costeer_delta_limit(&delta, &limits, 4, NULL), COSTEER_OK);
    assert_int_equal(costeer_fuse_scores(&b, &delta, 1, 4, scores, &choice, NULL), COSTEER_OK);
    assert_true(scores[1] > 1);  /* plausible, and likelier with the context */
    assert_true(scores[2] == 0); /* likelier with the context, but e^-5 of the best: broken words come from such */
    assert_true(scores[3] < -5); /* what the context speaks against still loses */
    assert_int_equal(choice.token, 1);
}

static void test_limits__a_negative_weight_swaps_expert_and_amateur(void **state)
{
    (void)state;
    struct test_random r = {1414};
    static float base[WIDE], expert[WIDE], amateur[WIDE];
    static double away[WIDE], swapped[WIDE];
    fill(&r, base, WIDE, 5, 0);
    fill_slm(&r, expert, amateur, WIDE, 3, 0);
    const costeer_delta_limits limits = {.plausibility = 0.2, .divergence = 1.5};
    costeer_delta a = {.expert = expert, .amateur = amateur, .weight = -1.25};
    costeer_delta b = {.expert = amateur, .amateur = expert, .weight = 1.25};
    costeer_choice choice;
    const costeer_base whole = dense(base, WIDE);
    assert_int_equal(costeer_delta_limit(&a, &limits, WIDE, NULL), COSTEER_OK);
    assert_int_equal(costeer_delta_limit(&b, &limits, WIDE, NULL), COSTEER_OK);
    assert_true(a.weight == -b.weight);
    assert_int_equal(costeer_fuse_scores(&whole, &a, 1, WIDE, away, &choice, NULL), COSTEER_OK);
    assert_int_equal(costeer_fuse_scores(&whole, &b, 1, WIDE, swapped, &choice, NULL), COSTEER_OK);
    assert_memory_equal(away, swapped, sizeof away);
}

static void test_limits__divergence_of_equal_rows_is_no_steering(void **state)
{
    (void)state;
    struct test_random r = {1415};
    static float slm[WIDE];
    fill(&r, slm, WIDE, 9, -400);
    costeer_delta delta = {.expert = slm, .amateur = slm, .weight = 2};
    const costeer_delta_limits limits = {.divergence = 1};
    assert_int_equal(costeer_delta_limit(&delta, &limits, WIDE, NULL), COSTEER_OK);
    assert_true(delta.weight >= 0 && delta.weight < 1e-9);
}

static void test_limits__bad_ones_are_refused(void **state)
{
    (void)state;
    const float row[2] = {1, 2};
    const struct {
        costeer_delta_limits limits;
        const char *word;
    } bad[] = {{{.plausibility = -0.1}, "plausibility is -0.1"}, {{.plausibility = 1.5}, "plausibility is 1.5"},
               {{.plausibility = NAN}, "plausibility is"},       {{.divergence = -1}, "divergence is -1"},
               {{.divergence = INFINITY}, "divergence is inf"},  {{.divergence = NAN}, "divergence is"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        costeer_error err = {0};
        costeer_delta delta = {.expert = row, .amateur = row, .weight = 1};
        assert_int_equal(costeer_delta_limit(&delta, &bad[i].limits, 2, &err), COSTEER_EINVAL);
        assert_non_null(strstr(err.message, bad[i].word));
        assert_false(delta.is_limited);
    }
    const costeer_delta limited = {.expert = row, .amateur = row, .weight = 1, .is_limited = true, .floor = NAN};
    const costeer_base b = dense(row, 2);
    costeer_choice choice;
    assert_int_equal(costeer_fuse_choose(&b, &limited, 1, 2, &choice, NULL), COSTEER_EINVAL);
}

static void test_limits__broken_rows_are_refused_and_named(void **state)
{
    (void)state;
    static float rows[2][WIDE];
    const costeer_delta_limits limits = {.plausibility = 0.1, .divergence = 1};
    const size_t places[] = {0, 7, 2047, 2048, WIDE - 1};
    const float values[] = {NAN, INFINITY};
    for (size_t i = 0; i < (size_t)4 * sizeof places / sizeof places[0]; i++) {
        const size_t place = places[i / 4];
        costeer_error err = {0};
        char word[64];
        costeer_delta delta = {.expert = rows[0], .amateur = rows[1], .weight = 1};
        rows[i % 2][place] = values[i / 2 % 2];
        snprintf(word, sizeof word, "the %s of token %zu is", i % 2 ? "amateur" : "expert", place);
        assert_int_equal(costeer_delta_limit(&delta, &limits, WIDE, &err), COSTEER_ENUMERIC);
        assert_non_null(strstr(err.message, word));
        rows[i % 2][place] = 0;
    }
    for (int side = 0; side < 2; side++) {
        costeer_delta delta = {.expert = rows[0], .amateur = rows[1], .weight = 1};
        for (size_t i = 0; i < WIDE; i++) {
            rows[side][i] = -INFINITY;
        }
        assert_int_equal(costeer_delta_limit(&delta, &limits, WIDE, NULL), COSTEER_ENUMERIC);
        memset(rows[side], 0, sizeof rows[side]);
    }
}

/* ---- certification ----------------------------------------------------------------------------------------------- */

#define SENT_MAX 64

static struct {
    int32_t n;
    float logprobs[WIDE]; /* by token */
    int32_t ids[WIDE];    /* best first */
    float values[WIDE];
    float expert[WIDE], amateur[WIDE];
} at;

static int by_logprob(const void *left, const void *right)
{
    const int32_t a = *(const int32_t *)left, b = *(const int32_t *)right;
    return at.logprobs[a] != at.logprobs[b] ? (at.logprobs[a] < at.logprobs[b] ? 1 : -1) : (a > b) - (a < b);
}

static void make_position(struct test_random *r)
{
    at.n = 100 + test_random_below(r, 400);
    const double sharpness = test_random_between(r, 1, 4);
    double sum = 0;
    for (int32_t i = 0; i < at.n; i++) {
        at.logprobs[i] = (float)(-sharpness * log(test_random_between(r, 1e-9, 1)));
        at.ids[i] = i;
        sum += exp((double)at.logprobs[i]);
    }
    for (int32_t i = 0; i < at.n; i++) {
        at.logprobs[i] -= (float)log(sum);
    }
    qsort(at.ids, (size_t)at.n, sizeof at.ids[0], by_logprob);
    for (int32_t i = 0; i < at.n; i++) {
        at.values[i] = at.logprobs[at.ids[i]];
    }
    /* The SLM knows what is likely; where nothing is, expert and amateur are noise. That is what a certificate has to rule out.
     */
    for (int32_t i = 0; i < at.n; i++) {
        const double noise = -0.3 * (double)at.logprobs[i];
        at.expert[i] = at.logprobs[i] + (float)test_random_between(r, -noise, noise);
        at.amateur[i] = at.logprobs[i] + (float)test_random_between(r, -noise, noise);
    }
}

static costeer_delta limited_delta(double weight, double plausibility, double divergence)
{
    costeer_delta delta = {.expert = at.expert, .amateur = at.amateur, .weight = weight};
    const costeer_delta_limits limits = {.plausibility = plausibility, .divergence = divergence};
    assert_int_equal(costeer_delta_limit(&delta, &limits, at.n, NULL), COSTEER_OK);
    return delta;
}

/* Whether the first k entries prove the choice; and that what is proved is the choice over all, and no unsent score is above. */
static bool is_proved(int32_t k, const costeer_delta *delta)
{
    static double scores[WIDE];
    static uint64_t scratch[COSTEER_CERTIFY_SCRATCH_WORDS(WIDE)];
    const costeer_base sent = {.ids = at.ids, .values = at.values, .n = k}, all = {.ids = at.ids, .values = at.values, .n = at.n};
    costeer_choice best, over_all;
    costeer_certificate c;
    assert_int_equal(costeer_fuse_choose(&sent, delta, 1, at.n, &best, NULL), COSTEER_OK);
    assert_int_equal(costeer_fuse_scores(&all, delta, 1, at.n, scores, &over_all, NULL), COSTEER_OK);
    assert_int_equal(costeer_certify_greedy(&sent, delta, 1, at.n, best.score, scratch, &c, NULL), COSTEER_OK);
    for (int32_t i = k; i < at.n; i++) {
        assert_true(scores[i] <= c.best_unsent); /* exactly */
    }
    assert_true(!c.certified || best.token == over_all.token);
    costeer_certificate mass;
    assert_int_equal(costeer_certify_sampled(&sent, delta, 1, at.n, scores, 1, 1e-3, scratch, &mass, NULL), COSTEER_OK);
    double unsent = 0, of_sent = 0;
    for (int32_t i = 0; i < at.n; i++) {
        *(i < k ? &of_sent : &unsent) += exp(scores[i]);
    }
    assert_true(unsent <= mass.unsent_mass * of_sent);
    return c.certified;
}

static void test_limits__certified_choices_are_the_full_ones_and_more_are_proved(void **state)
{
    (void)state;
    struct test_random r = {1416};
    int published = 0, plausible = 0, whole = 0;
    for (int round = 0; round < 1500; round++) {
        make_position(&r);
        const int32_t k = 1 + test_random_below(&r, SENT_MAX);
        const costeer_delta as_published = limited_delta(1.78325684, 0, 0), at_a_tenth = limited_delta(1.78325684, 0.1, 0),
                            both = limited_delta(2.5, 0.1, 0.5);
        published += is_proved(k, &as_published);
        plausible += is_proved(k, &at_a_tenth);
        whole += is_proved(k, &both);
    }
    print_message("of 1500: %d proved as published, %d plausible, %d with both limits\n", published, plausible, whole);
    assert_true(published > 20 && plausible < 1500);
    assert_true(plausible > 2 * published && whole > 2 * published); /* few tokens can gain, so little is to be ruled out */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BEST_ISA(test_limits__are_the_literal_ones_on_every_isa),
        WITH_BEST_ISA(test_limits__know_the_rules_for_infinities),
        WITH_BEST_ISA(test_limits__none_leave_every_bit),
        WITH_BEST_ISA(test_limits__no_implausible_token_gains),
        WITH_BEST_ISA(test_limits__a_negative_weight_swaps_expert_and_amateur),
        WITH_BEST_ISA(test_limits__divergence_of_equal_rows_is_no_steering),
        WITH_BEST_ISA(test_limits__bad_ones_are_refused),
        WITH_BEST_ISA(test_limits__broken_rows_are_refused_and_named),
        WITH_BEST_ISA(test_limits__certified_choices_are_the_full_ones_and_more_are_proved),
    };
    return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
