/* Which words of private texts a public one says. */
#include "cli/disclosed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

typedef struct listing {
    char text[512];
    int limit; /* stop after so many; 0: never */
    const char *searched;
} listing;

static bool on_word(const char *word, size_t n_bytes, size_t at, void *user)
{
    listing *l = user;
    assert_ptr_equal(word, l->searched + at);
    const size_t n = strlen(l->text);
    (void)snprintf(l->text + n, sizeof l->text - n, "%s%.*s", n == 0 ? "" : "|", (int)n_bytes, word);
    return l->limit == 0 || --l->limit > 0;
}

static void assert_found(const char *secret, const char *known, const char *text, const char *expected)
{
    cs_word_set *secrets = cs_word_set_create(&secret, 1);
    cs_word_set *public = cs_word_set_create(&known, known == NULL ? 0 : 1);
    listing l = {.searched = text};
    assert_true(secrets != NULL && public != NULL);
    assert_true(cs_disclosed_find(secrets, public, text, strlen(text), on_word, &l));
    assert_string_equal(l.text, expected);
    cs_word_set_free(secrets);
    cs_word_set_free(public);
}

static void test_disclosed__whole_words_of_any_case(void **state)
{
    (void)state;
    assert_found("I live in Lund, at 12 Ore street.", NULL, "lund has 12 streets; more LUND.", "lund|12|LUND");
    assert_found("ore", NULL, "more, ore-ish, Ore", "ore|Ore");
    assert_found("Zo\xC3\xAB", NULL, "Zo and zo\xC3\xAB!", "zo\xC3\xAB");
    assert_found("\xE2\x80\x9Cquoted\xE2\x80\x9D \xE2\x80\x94 text", NULL, "quoted\xE2\x80\x94text", "quoted|text");
}

static void test_disclosed__not_what_is_known(void **state)
{
    (void)state;
    assert_found("Maria lives in Lund", "Where is LUND?", "Maria is in Lund", "Maria|in");
    assert_found("", NULL, "anything", "");
    assert_found("anything", "anything", "anything", "");
    assert_found("anything", NULL, "", "");
}

static void test_disclosed__pairs_of_characters_where_no_spaces_are(void **state)
{
    (void)state;
    /* 我住在隆德市 in the notes, 他住在隆德。 said: "住在隆德" is one run */
    assert_found("\xE6\x88\x91\xE4\xBD\x8F\xE5\x9C\xA8\xE9\x9A\x86\xE5\xBE\xB7\xE5\xB8\x82", NULL,
                 "\xE4\xBB\x96\xE4\xBD\x8F\xE5\x9C\xA8\xE9\x9A\x86\xE5\xBE\xB7\xE3\x80\x82",
                 "\xE4\xBD\x8F\xE5\x9C\xA8\xE9\x9A\x86\xE5\xBE\xB7");
    /* 住在 is known: what is left is 在隆 and 隆德 */
    assert_found("\xE6\x88\x91\xE4\xBD\x8F\xE5\x9C\xA8\xE9\x9A\x86\xE5\xBE\xB7\xE5\xB8\x82", "\xE4\xBD\x8F\xE5\x9C\xA8",
                 "\xE4\xBB\x96\xE4\xBD\x8F\xE5\x9C\xA8\xE9\x9A\x86\xE5\xBE\xB7\xE3\x80\x82",
                 "\xE5\x9C\xA8\xE9\x9A\x86\xE5\xBE\xB7");
    assert_found("\xE9\x9A\x86", NULL, "a\xE9\x9A\x86z", "\xE9\x9A\x86"); /* one alone is a word */
    assert_found("\xE9\x9A\x86\xE5\xBE\xB7", NULL, "\xE9\x9A\x86", "");
}

static void test_disclosed__any_bytes(void **state)
{
    (void)state;
    assert_found("a\xFF"
                 "b \xE9\x9A",
                 NULL,
                 "a\xFF"
                 "b\xE9",
                 "a|b");
    const char *text = "one two three";
    cs_word_set *secrets = cs_word_set_create(&text, 1);
    listing l = {.searched = text, .limit = 2};
    assert_false(cs_disclosed_find(secrets, NULL, text, strlen(text), on_word, &l));
    assert_string_equal(l.text, "one|two");
    cs_word_set_free(secrets);
    cs_word_set_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_disclosed__whole_words_of_any_case),
        cmocka_unit_test(test_disclosed__not_what_is_known),
        cmocka_unit_test(test_disclosed__pairs_of_characters_where_no_spaces_are),
        cmocka_unit_test(test_disclosed__any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
