/*
 * The metrics against tests/golden/metrics.json and the stemmer against NLTK's own stems; what a metric says about texts of which
 * the answer is plain.
 */
#include <costeer/metrics.h>

#include "core/philox.h"
#include "eval/metrics_internal.h"
#include "eval/porter.h"
#include "util/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TOLERANCE 1e-9

static void assert_near(double got, double wanted, double tolerance)
{
    if (!(fabs(got - wanted) <= tolerance)) {
        fail_msg("%.17g is not %.17g", got, wanted);
    }
}

static costeer_metrics measure(const costeer_metrics_inputs *inputs)
{
    costeer_metrics m;
    costeer_error err;
    assert_int_equal(costeer_metrics_compute(inputs, &m, &err), COSTEER_OK);
    return m;
}

static costeer_metrics compare(const char *answer, const char *reference)
{
    return measure(&(costeer_metrics_inputs){.answer = answer, .reference = reference});
}

/* ---- golden values ----------------------------------------------------------------------------------------------- */

static void assert_value(size_t pair, const json_t *wanted, const char *name, double got)
{
    const json_t *value = json_object_get(wanted, name);
    assert_non_null(value);
    bool same = json_is_null(value) ? isnan(got) : fabs(json_number_value(value) - got) <= TOLERANCE;
    if (!same) {
        fail_msg("pair %zu: %s is %.12g, wanted %.12g", pair, name, got, json_number_value(value));
    }
}

static void assert_pair(size_t i, const json_t *pair)
{
    const char *facts[8];
    const json_t *list = json_array_get(pair, 4);
    size_t n_facts = json_array_size(list);
    assert_true(n_facts <= 8);
    for (size_t k = 0; k < n_facts; k++) {
        facts[k] = json_string_value(json_array_get(list, k));
    }
    const json_t *wanted = json_array_get(pair, 5);
    costeer_metrics m = measure(&(costeer_metrics_inputs){.answer = json_string_value(json_array_get(pair, 0)),
                                                          .reference = json_string_value(json_array_get(pair, 1)),
                                                          .context = json_string_value(json_array_get(pair, 2)),
                                                          .query = json_string_value(json_array_get(pair, 3)),
                                                          .facts = facts,
                                                          .n_facts = n_facts});
    assert_value(i, wanted, "rouge1", m.rouge1);
    assert_value(i, wanted, "rouge2", m.rouge2);
    assert_value(i, wanted, "rougeL", m.rougeL);
    assert_value(i, wanted, "bleu", m.bleu);
    assert_value(i, wanted, "meteor", m.meteor);
    assert_value(i, wanted, "length_ratio", m.length_ratio);
    assert_value(i, wanted, "distinct1", m.distinct1);
    assert_value(i, wanted, "distinct2", m.distinct2);
    assert_value(i, wanted, "context_recall", m.context_recall);
    assert_value(i, wanted, "fact_recall", m.fact_recall);
}

static void test_metrics__are_those_of_the_second_implementation(void **state)
{
    (void)state;
    json_error_t error;
    json_t *pairs = json_load_file(COSTEER_TEST_GOLDEN_DIR "/metrics.json", 0, &error);
    assert_non_null(pairs);
    assert_true(json_array_size(pairs) >= 100);
    size_t i;
    json_t *pair;
    json_array_foreach(pairs, i, pair)
    {
        assert_pair(i, pair);
    }
    json_decref(pairs);
}

static void test_porter__stems_as_nltk_does(void **state)
{
    (void)state;
    char *text;
    size_t n_bytes;
    assert_int_equal(cs_file_read(COSTEER_TEST_GOLDEN_DIR "/stems.txt", 1 << 20, NULL, &text, &n_bytes), 0);
    size_t n_words = 0;
    for (char *line = text; *line != '\0'; n_words++) {
        size_t n_word = strcspn(line, " ");
        const char *wanted = line + n_word + 1;
        size_t n_wanted = strcspn(wanted, "\n");
        char word[64];
        assert_true(n_word < sizeof word);
        memcpy(word, line, n_word);
        size_t n = cs_porter_stem(word, n_word);
        if (n != n_wanted || memcmp(word, wanted, n) != 0) {
            fail_msg("%.*s: stem %.*s, wanted %.*s", (int)n_word, line, (int)n, word, (int)n_wanted, wanted);
        }
        line += n_word + 1 + n_wanted + 1;
    }
    assert_true(n_words > 2000);
    free(text);
}

/* ---- plain cases ------------------------------------------------------------------------------------------------- */

static void test_metrics__equal_texts_share_everything(void **state)
{
    (void)state;
    costeer_metrics m = compare("She tunes old pianos, slowly.", "She tunes old pianos, slowly.");
    assert_near(m.rouge1, 1.0, TOLERANCE);
    assert_near(m.rouge2, 1.0, TOLERANCE);
    assert_near(m.rougeL, 1.0, TOLERANCE);
    assert_near(m.bleu, 100.0, TOLERANCE);
    assert_near(m.meteor, 1.0 - 0.5 / 125.0, TOLERANCE); /* five matches in one chunk */
    assert_near(m.length_ratio, 1.0, TOLERANCE);
    assert_near(m.distinct1, 1.0, TOLERANCE);
}

static void test_metrics__nothing_in_common_is_zero_not_nan(void **state)
{
    (void)state;
    const char *facts[] = {"Rufus"};
    costeer_metrics m = measure(&(costeer_metrics_inputs){
        .answer = "blue skies", .reference = "red roses", .context = "green", .query = "", .facts = facts, .n_facts = 1});
    const double values[] = {m.rouge1, m.rouge2, m.rougeL, m.bleu, m.meteor, m.context_recall, m.fact_recall};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        assert_near(values[i], 0.0, 0.0);
    }
}

static void test_metrics__nothing_to_measure_is_nan(void **state)
{
    (void)state;
    costeer_metrics m = compare("", NULL);
    const double values[] = {m.rouge1,       m.rouge2,    m.rougeL,    m.bleu,           m.meteor,
                             m.length_ratio, m.distinct1, m.distinct2, m.context_recall, m.fact_recall};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        assert_true(isnan(values[i]));
    }
    assert_true(isnan(compare("one", NULL).distinct2));
}

static void test_metrics__no_answer_is_refused(void **state)
{
    (void)state;
    costeer_metrics m;
    costeer_error err;
    assert_int_equal(costeer_metrics_compute(&(costeer_metrics_inputs){.reference = "a"}, &m, &err), COSTEER_EINVAL);
    assert_true(isnan(m.rouge1));
}

static void test_metrics__bytes_that_are_no_text_are_in_no_word(void **state)
{
    (void)state;
    costeer_metrics m = compare("caf\xE9 \xFF\xC3", "caf \xF0\x9F");
    assert_near(m.rouge1, 1.0, TOLERANCE);
    assert_near(m.distinct1, 1.0, 0.0);
    assert_near(m.length_ratio, 1.0, 0.0);
    assert_near(m.meteor, 0.5, TOLERANCE);
    assert_near(m.bleu, 0.0, 0.0); /* caf? and caf are different tokens of 13a */
}

static void test_metrics__a_word_of_many_y_is_no_quadratic_work(void **state)
{
    (void)state;
    enum { N = 1 << 20 };
    char *text = malloc(N + 1);
    assert_non_null(text);
    memset(text, 'y', N);
    text[N] = '\0';
    costeer_metrics m = compare(text, text);
    assert_near(m.rouge1, 1.0, TOLERANCE);
    free(text);
}

/* Text of words, signs and bytes that are no text. */
static void fill(char *text, size_t n, uint32_t seed)
{
    static const char letters[] = "aaabcdeeeinngsstty    ..,,--'&;<>0123\n\t\xC3\xA9\xE6\x97\xA5\xFF\xF0\x9F";
    for (size_t i = 0; i < n; i++) {
        uint32_t words[4];
        cs_philox4x32((const uint32_t[4]){(uint32_t)i, 0, 0, 0}, (const uint32_t[2]){seed, 0}, words);
        text[i] = letters[words[0] % (sizeof letters - 1)];
    }
    text[n] = '\0';
}

static void assert_share(double value)
{
    if (!isnan(value) && !(value >= 0.0 && value <= 1.0 + TOLERANCE)) {
        fail_msg("%.17g is no share", value);
    }
}

static void test_metrics__whatever_the_bytes_are_the_values_are_in_their_ranges(void **state)
{
    (void)state;
    char answer[200];
    char reference[200];
    char context[200];
    const char *facts[] = {"a", "n ", "e.", ""};
    for (uint32_t i = 0; i < 500; i++) {
        fill(answer, i % 199, i);
        fill(reference, (i * 7) % 199, i + 1000);
        fill(context, (i * 13) % 199, i + 2000);
        costeer_metrics m = measure(&(costeer_metrics_inputs){
            .answer = answer, .reference = reference, .context = context, .query = "an e", .facts = facts, .n_facts = 4});
        const double shares[] = {m.rouge1,    m.rouge2,    m.rougeL,         m.bleu / 100.0, m.meteor,
                                 m.distinct1, m.distinct2, m.context_recall, m.fact_recall};
        for (size_t k = 0; k < sizeof shares / sizeof shares[0]; k++) {
            assert_share(shares[k]);
        }
        assert_false(m.length_ratio < 0.0);
        costeer_metrics same = compare(answer, answer);
        assert_share(same.rouge1);
        assert_true(isnan(same.distinct1) || same.length_ratio == 1.0);
    }
}

static void test_metrics__stop_words_are_found(void **state)
{
    (void)state;
    assert_true(cs_metrics_is_stop_word("a", 1));
    assert_true(cs_metrics_is_stop_word("because", 7));
    assert_true(cs_metrics_is_stop_word("yours", 5));
    assert_false(cs_metrics_is_stop_word("becaus", 6));
    assert_false(cs_metrics_is_stop_word("", 0));
    assert_false(cs_metrics_is_stop_word("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 39));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metrics__are_those_of_the_second_implementation),
        cmocka_unit_test(test_porter__stems_as_nltk_does),
        cmocka_unit_test(test_metrics__equal_texts_share_everything),
        cmocka_unit_test(test_metrics__nothing_in_common_is_zero_not_nan),
        cmocka_unit_test(test_metrics__nothing_to_measure_is_nan),
        cmocka_unit_test(test_metrics__no_answer_is_refused),
        cmocka_unit_test(test_metrics__bytes_that_are_no_text_are_in_no_word),
        cmocka_unit_test(test_metrics__a_word_of_many_y_is_no_quadratic_work),
        cmocka_unit_test(test_metrics__whatever_the_bytes_are_the_values_are_in_their_ranges),
        cmocka_unit_test(test_metrics__stop_words_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
