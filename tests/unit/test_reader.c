/* What a reader sees in an answer, against tests/golden/reader.json; and what of it is plain without a second implementation. */
#include "eval/unknown_words.h"

#include <costeer/metrics.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TOLERANCE 1e-12
#define LIST_MAX  16

typedef struct texts {
    const char *items[LIST_MAX];
    size_t n;
} texts;

static texts texts_of(const json_t *list)
{
    texts out = {.n = json_array_size(list)};
    assert_true(out.n <= LIST_MAX);
    for (size_t i = 0; i < out.n; i++) {
        out.items[i] = json_string_value(json_array_get(list, i));
    }
    return out;
}

static json_t *load(const char *list)
{
    json_t *golden = json_load_file(COSTEER_TEST_GOLDEN_DIR "/reader.json", 0, NULL);
    assert_non_null(golden);
    json_t *out = json_incref(json_object_get(golden, list));
    json_decref(golden);
    assert_true(json_array_size(out) >= 8);
    return out;
}

/* ---- golden values ----------------------------------------------------------------------------------------------- */

static void test_text_states__what_the_second_implementation_finds(void **state)
{
    (void)state;
    json_t *rows = load("stated");
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        const char *text = json_string_value(json_array_get(row, 0));
        const char *string = json_string_value(json_array_get(row, 1));
        if (costeer_text_states(text, string) != json_is_true(json_array_get(row, 2))) {
            fail_msg("\"%s\" in \"%s\"", string, text);
        }
    }
    json_decref(rows);
}

static void assert_value(size_t i, const json_t *wanted, const char *name, double got)
{
    const json_t *value = json_object_get(wanted, name);
    assert_non_null(value);
    if (!(json_is_null(value) ? isnan(got) : fabs(json_number_value(value) - got) <= TOLERANCE)) {
        fail_msg("answer %zu: %s is %.12g, wanted %.12g", i, name, got, json_number_value(value));
    }
}

static costeer_fact_label label_of(const char *name)
{
    return name[0] == 'n' ? COSTEER_FACT_NEEDED : (name[0] == 'f' ? COSTEER_FACT_FINE : COSTEER_FACT_INAPPROPRIATE);
}

static void assert_answer(size_t i, const json_t *inputs, const json_t *wanted)
{
    const json_t *list = json_object_get(inputs, "facts");
    costeer_fact facts[LIST_MAX];
    texts strings[LIST_MAX];
    const texts writer = texts_of(json_object_get(inputs, "writer"));
    const texts addressee = texts_of(json_object_get(inputs, "addressee"));
    assert_true(json_array_size(list) <= LIST_MAX);
    for (size_t k = 0; k < json_array_size(list); k++) {
        const json_t *fact = json_array_get(list, k);
        strings[k] = texts_of(json_object_get(fact, "any"));
        facts[k] = (costeer_fact){.label = label_of(json_string_value(json_object_get(fact, "label"))),
                                  .strings = strings[k].items,
                                  .n_strings = strings[k].n};
    }
    costeer_reader_metrics m;
    assert_int_equal(
        costeer_reader_metrics_compute(&(costeer_reader_inputs){.answer = json_string_value(json_object_get(inputs, "answer")),
                                                                .is_cut = json_is_true(json_object_get(inputs, "is_cut")),
                                                                .context = json_string_value(json_object_get(inputs, "context")),
                                                                .facts = facts,
                                                                .n_facts = json_array_size(list),
                                                                .writer = writer.items,
                                                                .n_writer = writer.n,
                                                                .addressee = addressee.items,
                                                                .n_addressee = addressee.n},
                                       &m, NULL),
        COSTEER_OK);
    assert_value(i, wanted, "completeness", m.completeness);
    assert_value(i, wanted, "violations", m.violations);
    assert_value(i, wanted, "salutation", m.salutation);
    assert_value(i, wanted, "signature", m.signature);
    assert_value(i, wanted, "seq_rep_4", m.seq_rep_4);
    assert_value(i, wanted, "copied_run", m.copied_run);
}

static void test_reader_metrics__are_those_of_the_second_implementation(void **state)
{
    (void)state;
    json_t *rows = load("answers");
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        assert_answer(i, json_array_get(row, 0), json_array_get(row, 1));
    }
    json_decref(rows);
}

static void test_unknown_words__are_those_of_the_second_implementation(void **state)
{
    (void)state;
    json_t *rows = load("unknown");
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        cs_intern vocab = {.n = 0};
        const texts words = texts_of(json_array_get(row, 0));
        const texts known = texts_of(json_array_get(row, 2));
        for (size_t k = 0; k < words.n; k++) {
            assert_true(cs_unknown_words_add_text(words.items[k], &vocab));
        }
        json_t *got = NULL;
        assert_true(cs_unknown_words_list(&vocab, json_string_value(json_array_get(row, 1)), known.items, known.n, &got));
        if (!json_equal(got, json_array_get(row, 3))) {
            fail_msg("answer %zu: other words", i);
        }
        json_decref(got);
        cs_intern_dispose(&vocab);
    }
    json_decref(rows);
}

/* ---- plain ------------------------------------------------------------------------------------------------------- */

static void test_reader_metrics__counts_are_of_facts_that_have_strings(void **state)
{
    (void)state;
    static const char *const one[] = {"Piotr", "Zielinski"};
    static const char *const two[] = {"interview"};
    const costeer_fact facts[] = {{COSTEER_FACT_NEEDED, one, 2},
                                  {COSTEER_FACT_NEEDED, two, 0},
                                  {COSTEER_FACT_INAPPROPRIATE, two, 1},
                                  {COSTEER_FACT_FINE, two, 1}};
    bool is_stated[4];
    costeer_reader_metrics m;
    const costeer_reader_inputs inputs = {.answer = "Ask Mr Zielinski.", .facts = facts, .n_facts = 4, .is_stated = is_stated};
    assert_int_equal(costeer_reader_metrics_compute(&inputs, &m, NULL), COSTEER_OK);
    assert_true(is_stated[0] && !is_stated[1] && !is_stated[2] && !is_stated[3]);
    assert_int_equal(m.n_needed, 1);
    assert_int_equal(m.n_needed_stated, 1);
    assert_int_equal(m.n_inappropriate, 1);
    assert_int_equal(m.n_inappropriate_stated, 0);
    assert_true(m.completeness == 1.0 && m.violations == 0.0);
    assert_true(isnan(m.salutation) && isnan(m.signature) && isnan(m.copied_run));
}

static void test_reader_metrics__need_an_answer(void **state)
{
    (void)state;
    costeer_reader_metrics m;
    costeer_error err;
    assert_int_equal(costeer_reader_metrics_compute(&(costeer_reader_inputs){.answer = NULL}, &m, &err), COSTEER_EINVAL);
    assert_false(costeer_text_states(NULL, "a"));
}

static void test_text_states__bytes_that_are_no_utf8_are_no_letters(void **state)
{
    (void)state;
    assert_true(costeer_text_states("\xFF"
                                    "dog\x80",
                                    "dog"));
    assert_false(costeer_text_states("\xC3\xA9"
                                     "dog",
                                     "dog"));
    assert_false(costeer_text_states("\xC3", "dog"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_states__what_the_second_implementation_finds),
        cmocka_unit_test(test_text_states__bytes_that_are_no_utf8_are_no_letters),
        cmocka_unit_test(test_reader_metrics__are_those_of_the_second_implementation),
        cmocka_unit_test(test_reader_metrics__counts_are_of_facts_that_have_strings),
        cmocka_unit_test(test_reader_metrics__need_an_answer),
        cmocka_unit_test(test_unknown_words__are_those_of_the_second_implementation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
