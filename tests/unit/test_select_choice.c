/* What follows from the parts without a model: words in common, and the text of a choice. */
#include <costeer/select.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static costeer_parts split(const char *text)
{
    costeer_parts parts = {.n = 0};
    assert_int_equal(costeer_parts_split(text, strlen(text), &parts, NULL), COSTEER_OK);
    return parts;
}

/* The text of the parts that have one of the words in them. */
static char *join(const char *text, const char *const *words)
{
    costeer_parts parts = split(text);
    bool *is_used = calloc(parts.n + 1, sizeof *is_used);
    for (size_t i = 0; i < parts.n; i++) {
        char *part = strndup(text + parts.items[i].begin, parts.items[i].end - parts.items[i].begin);
        for (size_t w = 0; words[w] != NULL; w++) {
            is_used[i] = is_used[i] || strstr(part, words[w]) != NULL;
        }
        free(part);
    }
    char *out = NULL;
    assert_int_equal(costeer_parts_join(text, &parts, is_used, &out, NULL), COSTEER_OK);
    free(is_used);
    costeer_parts_dispose(&parts);
    return out;
}

static void expect_joined(const char *text, const char *const *words, const char *wanted)
{
    char *out = join(text, words);
    assert_string_equal(out, wanted);
    free(out);
}

/* ---- the text of a choice ---------------------------------------------------------------------------------------- */

static void test_join__headings_come_with_what_needs_them(void **state)
{
    (void)state;
    static const char text[] = "# Me\nI am Mia.\n\n# Shop\nBuy:\n- milk\n- bread\n  - rye\n\nSalary: 5";
    expect_joined(text, (const char *const[]){"rye", NULL}, "# Shop\nBuy:\n- bread\n- rye");
    expect_joined(text, (const char *const[]){"Mia", "Salary", NULL}, "# Me\nI am Mia.\n\n# Shop\nSalary: 5");
    expect_joined(text, (const char *const[]){NULL}, "");
}

static void test_join__a_heading_alone_is_never_used(void **state)
{
    (void)state;
    expect_joined("# Shop\n- milk\n", (const char *const[]){"Shop", NULL}, "");
}

static void test_join__sentences_of_a_paragraph_stay_one(void **state)
{
    (void)state;
    expect_joined("I am Ann. I am Bob. I am Cy.\n\nI am Di.", (const char *const[]){"Ann", "Cy", "Di", NULL},
                  "I am Ann. I am Cy.\n\nI am Di.");
    expect_joined("我住在上海。我怕狗。我三十岁。", (const char *const[]){"上海", "三十", NULL}, "我住在上海。我三十岁。");
}

/* What was left out has no influence: neither its words, nor its length, nor how many parts it was. */
static void test_join__nothing_of_the_others_is_in_it(void **state)
{
    (void)state;
    static const char *const words[] = {"Mia", "milk", NULL};
    char *a = join("I am Mia. I am ill. So.\n\nList:\n- milk\n- gin\n- beer\n\nSalary: 5", words);
    char *b = join("I am Mia. Rich!\n\nList:\n- whisky, much of it\n- milk\n\nPassport: 9\nIBAN: 8\n\nMore. And more.", words);
    assert_string_equal(a, b);
    free(a);
    free(b);
}

/* ---- words ------------------------------------------------------------------------------------------------------- */

static void score(const char *text, const char *query, double *scores, size_t n)
{
    costeer_parts parts = split(text);
    assert_int_equal(parts.n, n);
    assert_int_equal(costeer_parts_score_words(text, &parts, query, scores, NULL), COSTEER_OK);
    costeer_parts_dispose(&parts);
}

/* Robertson's formula by hand: 2 parts of 2 and 4 words; "tea" is once in the first. */
static void test_words__bm25_by_hand(void **state)
{
    (void)state;
    double scores[2];
    score("green tea.\nI like strong coffee.", "Tea, please", scores, 2);
    const double idf = log(1.0 + (2.0 - 1.0 + 0.5) / (1.0 + 0.5));
    const double norm = 1.2 * (1.0 - 0.75 + 0.75 * 2.0 / 3.0);
    assert_true(fabs(scores[0] - idf * 2.2 / (1.0 + norm)) < 1e-12);
    assert_true(scores[1] == 0.0);
}

static void test_words__headings_and_other_scripts_count(void **state)
{
    (void)state;
    double scores[5];
    score("Geburtstag:\n- 3. Mai\n\nGRÜSSE an Éva.\n我对花生过敏。\n我住在上海。", "花生? Grüsse zum Geburtstag, éva", scores, 5);
    for (size_t i = 0; i < 4; i++) {
        assert_true(scores[i] > 0.0);
    }
    assert_true(scores[4] == 0.0);
}

static void test_words__no_words_score_nothing(void **state)
{
    (void)state;
    double scores[2];
    score("One.\nTwo.", "?!", scores, 2);
    assert_true(scores[0] == 0.0 && scores[1] == 0.0);
}

/* ---- after a change ---------------------------------------------------------------------------------------------- */

static void test_update__follows_the_caller(void **state)
{
    (void)state;
    static const char text[] = "Buy:\n- milk\n- bread\n  - rye\n";
    costeer_selection selection = {.parts = split(text)};
    selection.is_used = calloc(4, sizeof *selection.is_used);
    assert_int_equal(costeer_selection_update(&selection, text, NULL), COSTEER_OK);
    assert_string_equal(selection.text, "");
    assert_int_equal(selection.n_left, 3);
    selection.is_used[3] = true; /* needs the item that it is nested in, and the heading */
    assert_int_equal(costeer_selection_update(&selection, text, NULL), COSTEER_OK);
    assert_string_equal(selection.text, "Buy:\n- bread\n- rye");
    assert_int_equal(selection.n_used, 2);
    assert_true(selection.is_used[0] && selection.is_used[2] && !selection.is_used[1]);
    costeer_selection_dispose(&selection);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_join__headings_come_with_what_needs_them),
        cmocka_unit_test(test_join__a_heading_alone_is_never_used),
        cmocka_unit_test(test_join__sentences_of_a_paragraph_stay_one),
        cmocka_unit_test(test_join__nothing_of_the_others_is_in_it),
        cmocka_unit_test(test_words__bm25_by_hand),
        cmocka_unit_test(test_words__headings_and_other_scripts_count),
        cmocka_unit_test(test_words__no_words_score_nothing),
        cmocka_unit_test(test_update__follows_the_caller),
    };
    return cmocka_run_group_tests_name("select: the choice", tests, NULL, NULL);
}
