/* Masses over the byte trie against their definition, token by token; the exponentials and logarithms they use. */
#include "core/vocab_math.h"
#include "support/words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- the definition ---------------------------------------------------------------------------------------------- */

#define ROWS_MAX 4

/* A row of logits, and where it stands: n_pending = 0 behind the text's last token. */
typedef struct row {
    float *logits;
    double log_weight;
    char pending[8];
    size_t n_pending;
} row;

typedef struct scene {
    cs_vocab_words llm;
    cs_vocab_words slm;
    costeer_vocab_map *map;
    cs_vocab_mass *mass;
    row rows[ROWS_MAX];
    size_t n_rows;
    float *out; /* [n_llm] */
} scene;

static double probability(const scene *s, const row *r, int32_t token)
{
    double max = -HUGE_VAL;
    double sum = 0;
    for (int32_t i = 0; i < s->slm.n; i++) {
        max = fmax(max, (double)r->logits[i]);
    }
    for (int32_t i = 0; i < s->slm.n; i++) {
        sum += exp((double)r->logits[i] - max);
    }
    return exp((double)r->logits[token] - max) / sum;
}

/* What of an SLM token is behind the pending bytes; false: it does not count. */
static bool take_rest(const scene *s, const row *r, int32_t token, const char **rest, size_t *n)
{
    *rest = s->slm.bytes + s->slm.at[token] + r->n_pending;
    *n = cs_vocab_words_length(&s->slm, token);
    if (!cs_vocab_words_is_text(&s->slm, token) || *n <= r->n_pending ||
        memcmp(*rest - r->n_pending, r->pending, r->n_pending) != 0) {
        return false;
    }
    *n -= r->n_pending;
    return true;
}

/* The mass of an LLM token as vocab_tables.h defines it, relative to the weight `reference`. */
static double brute_force(const scene *s, int32_t token, double reference)
{
    const char *bytes = s->llm.bytes + s->llm.at[token];
    const size_t n_bytes = cs_vocab_words_length(&s->llm, token);
    const bool is_end = s->llm.kinds[token] == CS_WORD_END;
    const bool is_text = cs_vocab_words_is_text(&s->llm, token);
    double mass = 0;
    for (size_t j = 0; j < s->n_rows; j++) {
        const row *r = &s->rows[j];
        const double weight = exp(r->log_weight - reference);
        for (int32_t i = 0; i < s->slm.n; i++) {
            const char *rest;
            size_t n;
            const bool counts = take_rest(s, r, i, &rest, &n);
            const bool is_for_it = is_text  ? counts && memcmp(bytes, rest, n < n_bytes ? n : n_bytes) == 0
                                   : is_end ? r->n_pending == 0 && s->slm.kinds[i] == CS_WORD_END
                                            : counts || r->n_pending == 0;
            mass += is_for_it ? weight * probability(s, r, i) : 0.0;
        }
    }
    return mass;
}

/* ---- random scenes ----------------------------------------------------------------------------------------------- */

static row row_random(struct test_random *r, int32_t n_slm, int32_t n_letters, bool is_crossing)
{
    row out = {.logits = calloc((size_t)n_slm, sizeof(float)), .log_weight = test_random_between(r, -20, 3)};
    assert_non_null(out.logits);
    for (int32_t i = 0; i < n_slm; i++) {
        out.logits[i] = test_random_below(r, 30) == 0 ? -INFINITY : (float)test_random_between(r, -30, 20);
    }
    out.n_pending = is_crossing ? 1 + (size_t)test_random_below(r, 3) : 0;
    for (size_t i = 0; i < out.n_pending; i++) {
        out.pending[i] = (char)test_random_below(r, n_letters);
    }
    return out;
}

static void add_rows(scene *s)
{
    cs_vocab_mass_begin(s->mass);
    for (size_t j = 0; j < s->n_rows; j++) {
        const row *r = &s->rows[j];
        if (r->n_pending == 0) {
            cs_vocab_mass_add(s->mass, r->logits, r->log_weight);
        } else {
            cs_vocab_mass_add_crossing(s->mass, r->logits, r->log_weight, r->pending, r->n_pending);
        }
    }
    cs_vocab_mass_finish(s->mass, s->out);
}

static void scene_open(scene *s, cs_vocab_words llm, cs_vocab_words slm)
{
    *s = (scene){.llm = llm, .slm = slm};
    s->map = words_align(&s->llm, &s->slm, COSTEER_VOCAB_BYTE);
    costeer_error err;
    assert_int_equal(cs_vocab_mass_create(s->map, &s->mass, &err), COSTEER_OK);
    s->out = calloc((size_t)llm.n, sizeof(float));
    assert_non_null(s->out);
}

static void scene_close(scene *s)
{
    for (size_t j = 0; j < s->n_rows; j++) {
        free(s->rows[j].logits);
    }
    free(s->out);
    cs_vocab_mass_free(s->mass);
    costeer_vocab_map_free(s->map);
    cs_vocab_words_dispose(&s->slm);
    cs_vocab_words_dispose(&s->llm);
}

static void scene_random(scene *s, struct test_random *r)
{
    const int32_t n_letters = 2 + test_random_below(r, 3);
    const int32_t n_llm = 8 + test_random_below(r, 60);
    const int32_t n_slm = 8 + test_random_below(r, 60);
    cs_vocab_words llm = words_random(r, n_llm, n_letters, true);
    cs_vocab_words slm = words_random(r, n_slm, n_letters, test_random_below(r, 2) == 0);
    slm.kinds[0] = CS_WORD_TEXT; /* so that something is alike: all letters are in the LLM's vocabulary */
    scene_open(s, llm, slm);
    s->n_rows = 1 + (size_t)test_random_below(r, ROWS_MAX);
    for (size_t j = 0; j < s->n_rows; j++) {
        s->rows[j] = row_random(r, n_slm, n_letters, test_random_below(r, 3) > 0);
    }
}

static double reference_of(const scene *s)
{
    double max = -HUGE_VAL;
    for (size_t j = 0; j < s->n_rows; j++) {
        max = fmax(max, s->rows[j].log_weight);
    }
    return max;
}

static void assert_masses(const scene *s, uint64_t seed)
{
    const double reference = reference_of(s);
    double total = 0;
    for (int32_t i = 0; i < s->llm.n; i++) {
        const double mass = brute_force(s, i, reference);
        const double expected = mass > 0 ? reference + log(mass) : -HUGE_VAL;
        const double got = (double)s->out[i];
        /* a finite logit far below the largest counts as exp(-87): far below what this allows */
        if (!(expected == got || fabs(expected - got) < 1e-6 * (1 + fabs(expected)) || (mass < 1e-30 && got < -60))) {
            fail_msg("seed %llu: token %d: %.9g, by the definition %.9g", (unsigned long long)seed, (int)i, got, expected);
        }
        total = s->llm.kinds[i] == CS_WORD_CONTROL ? got : total;
    }
    if (total != 0 && isfinite(total)) {
        assert_true(fabs(total - cs_vocab_mass_total(s->mass)) < 1e-6 * (1 + fabs(total)));
    }
}

static void test_mass__equals_its_definition(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 1500; seed++) {
        struct test_random r = {.state = seed * 7919};
        scene s;
        scene_random(&s, &r);
        add_rows(&s);
        assert_masses(&s, seed);
        scene_close(&s);
    }
}

static void test_mass__a_new_distribution_forgets_the_last(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct test_random r = {.state = seed * 104729};
        scene s;
        scene_random(&s, &r);
        add_rows(&s);
        float *first = calloc((size_t)s.llm.n, sizeof *first);
        assert_non_null(first);
        memcpy(first, s.out, (size_t)s.llm.n * sizeof *first);
        const size_t n_rows = s.n_rows;
        s.n_rows = 1;
        add_rows(&s);
        s.n_rows = n_rows;
        add_rows(&s);
        assert_memory_equal(first, s.out, (size_t)s.llm.n * sizeof *first);
        free(first);
        scene_close(&s);
    }
}

/* ---- single rules ------------------------------------------------------------------------------------------------ */

static scene scene_of(const test_word *llm, size_t n_llm, const test_word *slm, size_t n_slm)
{
    scene s;
    scene_open(&s, words_make(llm, n_llm), words_make(slm, n_slm));
    return s;
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const test_word llm_words[] = {TEXT("a"), TEXT("ab"), TEXT("abc"), TEXT("z"), END("</s>"), CONTROL("<x>"), UNUSED("u")};
static const test_word slm_words[] = {TEXT("a"), TEXT("ab"), TEXT("abcd"), END("<end>"), END("<stop>"), CONTROL("<y>")};
/* log of 1, 2, 4, 3, 5, 1 sixteenths */
static const float slm_logits[] = {0.0F, 0.6931472F, 1.3862944F, 1.0986123F, 1.6094379F, 0.0F};

static void assert_sixteenths(const scene *s, int32_t token, double sixteenths)
{
    const double got = exp((double)s->out[token]) * 16;
    if (!(fabs(got - sixteenths) < 1e-5)) {
        fail_msg("token %d: %.9g sixteenths, expected %.9g", (int)token, got, sixteenths);
    }
}

static void test_mass__counts_what_begins_with_a_token_and_its_prefixes(void **state)
{
    (void)state;
    scene s = scene_of(llm_words, COUNT(llm_words), slm_words, COUNT(slm_words));
    cs_vocab_mass_add(s.mass, slm_logits, 0.0);
    cs_vocab_mass_finish(s.mass, s.out);
    assert_sixteenths(&s, 0, 1 + 2 + 4);
    assert_sixteenths(&s, 1, 1 + 2 + 4);
    assert_sixteenths(&s, 2, 1 + 2 + 4); /* "abc" is not the SLM's; "abcd" begins with it */
    assert_true(s.out[3] == -INFINITY);
    assert_sixteenths(&s, 4, 3 + 5); /* all end tokens together */
    assert_sixteenths(&s, 5, 16);    /* no bytes: the total */
    assert_sixteenths(&s, 6, 16);
    scene_close(&s);
}

static void test_mass__finished_as_a_distribution_each_string_counts_once(void **state)
{
    (void)state;
    static const test_word llm[] = {TEXT("a"),   TEXT("ab"),     TEXT("abc"), TEXT("z"),
                                    END("</s>"), CONTROL("<x>"), UNUSED("u"), TEXT("ab")};
    scene s = scene_of(llm, COUNT(llm), slm_words, COUNT(slm_words));
    cs_vocab_mass_add(s.mass, slm_logits, 0.0);
    cs_vocab_mass_finish_longest(s.mass, s.out);
    assert_sixteenths(&s, 0, 1);
    assert_sixteenths(&s, 1, 2);
    assert_sixteenths(&s, 2, 4); /* of "abcd", whose longest beginning it is */
    assert_true(fabs((double)s.out[3] + 60) < 1e-3);
    assert_sixteenths(&s, 4, 3 + 5);
    assert_true(s.out[5] == -INFINITY && s.out[6] == -INFINITY); /* what is no text is not to be written */
    assert_true(s.out[7] == -INFINITY);                          /* nor is "ab" twice as likely for having two tokens */
    cs_vocab_mass_begin(s.mass);
    cs_vocab_mass_add_crossing(s.mass, slm_logits, 0.0, "a", 1); /* "b" and "bcd": nothing the LLM could begin them with */
    cs_vocab_mass_finish_longest(s.mass, s.out);
    for (int32_t i = 0; i < 5; i++) {
        assert_true(s.out[i] < -50.0F && isfinite(s.out[i]));
    }
    scene_close(&s);
}

static void test_mass__tokens_that_cross_count_for_what_is_behind_the_pending_bytes(void **state)
{
    (void)state;
    static const test_word llm[] = {TEXT("b"), TEXT("bc"), TEXT("bcde"), TEXT("c"), END("</s>"), CONTROL("<x>"), TEXT("a")};
    scene s = scene_of(llm, COUNT(llm), slm_words, COUNT(slm_words));
    cs_vocab_mass_add_crossing(s.mass, slm_logits, 0.0, "a", 1); /* "b" (2) and "bcd" (4), which the array does not have */
    cs_vocab_mass_finish(s.mass, s.out);
    assert_sixteenths(&s, 0, 2 + 4);
    assert_sixteenths(&s, 1, 2 + 4);
    assert_sixteenths(&s, 2, 2 + 4);
    assert_true(s.out[3] == -INFINITY);
    assert_true(s.out[4] == -INFINITY); /* an end cannot cross */
    assert_sixteenths(&s, 5, 2 + 4);
    assert_true(fabs(exp(cs_vocab_mass_total(s.mass)) * 16 - 6) < 1e-5);
    scene_close(&s);
}

static void test_mass__pending_bytes_that_no_token_goes_beyond_add_nothing(void **state)
{
    (void)state;
    scene s = scene_of(llm_words, COUNT(llm_words), slm_words, COUNT(slm_words));
    cs_vocab_mass_add_crossing(s.mass, slm_logits, 0.0, "abcd", 4);
    cs_vocab_mass_add_crossing(s.mass, slm_logits, 0.0, "abcde", 5);
    cs_vocab_mass_add_crossing(s.mass, slm_logits, 0.0, "zz", 2);
    cs_vocab_mass_finish(s.mass, s.out);
    for (int32_t i = 0; i < s.llm.n; i++) {
        assert_true(s.out[i] == -INFINITY);
    }
    assert_true(cs_vocab_mass_total(s.mass) == -HUGE_VAL);
    scene_close(&s);
}

static void test_mass__only_the_ratio_of_weights_must_fit(void **state)
{
    (void)state;
    scene s = scene_of(llm_words, COUNT(llm_words), slm_words, COUNT(slm_words));
    cs_vocab_mass_add(s.mass, slm_logits, -5000.0);
    cs_vocab_mass_add(s.mass, slm_logits, -5000.0 + log(3));
    cs_vocab_mass_finish(s.mass, s.out);
    assert_true(fabs((double)s.out[0] - (-5000.0 + log(4.0 * 7 / 16))) < 1e-3); /* a float's last bit there */
    assert_true(fabs(cs_vocab_mass_total(s.mass) - (-5000.0 + log(4))) < 1e-9);
    cs_vocab_mass_begin(s.mass);
    cs_vocab_mass_add(s.mass, slm_logits, -HUGE_VAL);
    cs_vocab_mass_finish(s.mass, s.out);
    assert_true(s.out[0] == -INFINITY);
    scene_close(&s);
}

static void test_mass__broken_logits_show(void **state)
{
    (void)state;
    scene s = scene_of(llm_words, COUNT(llm_words), slm_words, COUNT(slm_words));
    const float broken[] = {NAN, INFINITY};
    for (size_t i = 0; i < COUNT(broken); i++) {
        float logits[COUNT(slm_logits)];
        memcpy(logits, slm_logits, sizeof logits);
        logits[1] = broken[i];
        cs_vocab_mass_begin(s.mass);
        cs_vocab_mass_add(s.mass, logits, 0.0);
        cs_vocab_mass_finish(s.mass, s.out);
        assert_true(isnan(s.out[0]));
    }
    float none[COUNT(slm_logits)];
    for (size_t i = 0; i < COUNT(none); i++) {
        none[i] = -INFINITY;
    }
    cs_vocab_mass_begin(s.mass);
    cs_vocab_mass_add(s.mass, none, 0.0);
    cs_vocab_mass_finish(s.mass, s.out);
    assert_true(isnan(s.out[0]));
    scene_close(&s);
}

static void test_mass__unlikely_tokens_keep_a_finite_logarithm(void **state)
{
    (void)state;
    scene s = scene_of(llm_words, COUNT(llm_words), slm_words, COUNT(slm_words));
    const float logits[] = {-1e30F, -1e9F, -500.0F, 0.0F, 0.0F, 0.0F};
    cs_vocab_mass_add(s.mass, logits, 0.0);
    cs_vocab_mass_finish(s.mass, s.out);
    assert_true(isfinite(s.out[0]) && s.out[0] < -80.0F && isfinite(s.out[2]));
    scene_close(&s);
}

/* ---- exp and log ------------------------------------------------------------------------------------------------- */

/* Distance from the true value in units of the float's last place. */
static double ulp_error(float got, double truth)
{
    const double place = fabs((double)nextafterf(fabsf((float)truth), INFINITY) - (double)fabsf((float)truth));
    return fabs((double)got - truth) / place;
}

static void test_float_exp__is_within_two_ulp(void **state)
{
    (void)state;
    for (int32_t i = 0; i <= 1000000; i++) {
        const float x = -87.0F * (float)i / 1000000.0F;
        if (ulp_error(cs_float_exp(x), exp((double)x)) > 2.0) {
            fail_msg("exp(%.9g) is %.9g", (double)x, (double)cs_float_exp(x));
        }
    }
    assert_true(cs_float_exp(0.0F) == 1.0F);
    assert_true(cs_float_exp(-INFINITY) == 0.0F);
    assert_true(cs_float_exp(-1e30F) == cs_float_exp(-87.0F) && cs_float_exp(-87.0F) > 0.0F);
    assert_true(isnan(cs_float_exp(NAN)));
}

static void test_float_log__is_within_two_ulp(void **state)
{
    (void)state;
    struct test_random r = {.state = 5};
    for (int32_t i = 0; i < 1000000; i++) {
        const float near = (float)test_random_between(&r, 0.5, 2.0);
        const float x = i % 2 == 0 ? near : ldexpf(near, test_random_below(&r, 220) - 120);
        const int32_t exponent = i % 3 == 0 ? -100 : 0;
        const double truth = log(ldexp((double)x, exponent));
        if (ulp_error(cs_float_log(x, exponent), truth) > 2.0) {
            fail_msg("log(%.9g * 2^%d) is %.9g", (double)x, (int)exponent, (double)cs_float_log(x, exponent));
        }
    }
    assert_true(cs_float_log(1.0F, 0) == 0.0F && cs_float_log(0x1p100F, -100) == 0.0F);
    assert_true(cs_float_log(0.0F, 0) == -INFINITY);
    assert_true(isnan(cs_float_log(NAN, 0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mass__equals_its_definition),
        cmocka_unit_test(test_mass__a_new_distribution_forgets_the_last),
        cmocka_unit_test(test_mass__counts_what_begins_with_a_token_and_its_prefixes),
        cmocka_unit_test(test_mass__finished_as_a_distribution_each_string_counts_once),
        cmocka_unit_test(test_mass__tokens_that_cross_count_for_what_is_behind_the_pending_bytes),
        cmocka_unit_test(test_mass__pending_bytes_that_no_token_goes_beyond_add_nothing),
        cmocka_unit_test(test_mass__only_the_ratio_of_weights_must_fit),
        cmocka_unit_test(test_mass__broken_logits_show),
        cmocka_unit_test(test_mass__unlikely_tokens_keep_a_finite_logarithm),
        cmocka_unit_test(test_float_exp__is_within_two_ulp),
        cmocka_unit_test(test_float_log__is_within_two_ulp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
