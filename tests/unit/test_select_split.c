/* Splitting a text into parts: nothing is lost, and each form is found. */
#include "util/utf8.h"

#include <costeer/select.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A text with its parts, and what must hold of the parts of any text. */
typedef struct split {
    const char *text;
    costeer_parts parts;
} split;

static void check_order(const split *s, size_t n_bytes)
{
    size_t at = 0;
    for (size_t i = 0; i < s->parts.n; i++) {
        const costeer_part *part = &s->parts.items[i];
        assert_true(part->begin >= at && part->begin < part->end && part->end <= n_bytes);
        assert_true(part->heading >= -1 && part->heading < (int32_t)i);
        assert_true(i == 0 || part->block >= part[-1].block);
        assert_true(cs_utf8_check(s->text + part->begin, part->end - part->begin, NULL));
        at = part->end;
    }
}

/* Of prose, nothing but white space, rules and JSON's marks lies between parts. */
static void check_between(const split *s, size_t n_bytes)
{
    size_t at = 0;
    for (size_t i = 0; i <= s->parts.n; i++) {
        const size_t end = i < s->parts.n ? s->parts.items[i].begin : n_bytes;
        for (; at < end; at++) {
            assert_non_null(strchr(" \t\r\n-*_=~{}[],\xC2\xA0\xE3\x80", s->text[at]));
        }
        at = i < s->parts.n ? s->parts.items[i].end : at;
    }
}

static split make(const char *text)
{
    split s = {.text = text};
    costeer_error err = {.code = COSTEER_OK};
    assert_int_equal(costeer_parts_split(text, strlen(text), &s.parts, &err), COSTEER_OK);
    check_order(&s, strlen(text));
    check_between(&s, strlen(text));
    return s;
}

static void expect(const split *s, size_t i, const char *text, costeer_part_kind kind, int32_t heading)
{
    assert_true(i < s->parts.n);
    const costeer_part *part = &s->parts.items[i];
    char *found = strndup(s->text + part->begin, part->end - part->begin);
    assert_string_equal(found, text);
    free(found);
    assert_string_equal(costeer_part_kind_name(part->kind), costeer_part_kind_name(kind));
    assert_int_equal(part->heading, heading);
}

static void expect_sentences(const char *text, const char *const *wanted)
{
    split s = make(text);
    size_t n = 0;
    for (; wanted[n] != NULL; n++) {
        expect(&s, n, wanted[n], COSTEER_PART_SENTENCE, -1);
    }
    assert_int_equal(s.parts.n, n);
    costeer_parts_dispose(&s.parts);
}

/* ---- prose ------------------------------------------------------------------------------------------------------- */

static void test_split__sentences_of_prose(void **state)
{
    (void)state;
    expect_sentences(
        "I am Mia. I live in Cologne! Do you? \"Yes.\" Well\xE2\x80\xA6 Fine",
        (const char *const[]){"I am Mia.", "I live in Cologne!", "Do you?", "\"Yes.\"", "Well\xE2\x80\xA6", "Fine", NULL});
}

static void test_split__abbreviations_initials_and_ordinals_end_nothing(void **state)
{
    (void)state;
    expect_sentences("Dr. Brandt and J. Smith meet e.g. on Mondays. Am 3. Mai habe ich Geburtstag. It costs 3.50 a day.",
                     (const char *const[]){"Dr. Brandt and J. Smith meet e.g. on Mondays.", "Am 3. Mai habe ich Geburtstag.",
                                           "It costs 3.50 a day.", NULL});
}

static void test_split__chinese_and_japanese_need_no_space(void **state)
{
    (void)state;
    expect_sentences("我住在上海。我对花生过敏！你呢？「はい。」そうです。",
                     (const char *const[]){"我住在上海。", "我对花生过敏！", "你呢？", "「はい。」", "そうです。", NULL});
}

static void test_split__wrapped_prose_is_joined_and_notes_are_not(void **state)
{
    (void)state;
    split s =
        make("This sentence is so long that its writer had to wrap it at\nthe end of the line, and it goes on there. Short.");
    assert_int_equal(s.parts.n, 2);
    costeer_parts_dispose(&s.parts);
    expect_sentences("vegetarian\nallergic to nuts\nbirthday on 3 May",
                     (const char *const[]){"vegetarian", "allergic to nuts", "birthday on 3 May", NULL});
}

static void test_split__a_long_sentence_stays_whole(void **state)
{
    (void)state;
    char *text = malloc(100001);
    for (size_t i = 0; i < 100000; i++) {
        text[i] = i % 10 == 9 ? ' ' : 'a';
    }
    memcpy(text + 99999, ".", 2);
    split s = make(text);
    assert_int_equal(s.parts.n, 1);
    assert_int_equal(s.parts.items[0].end, 100000);
    costeer_parts_dispose(&s.parts);
    free(text);
}

/* ---- lists, headings, fields ------------------------------------------------------------------------------------- */

static void test_split__items_need_their_headings(void **state)
{
    (void)state;
    split s = make("# Party\n\nBring:\n- milk\n- bread\n  - rye\n    dark\n1) wine\n\nIt begins at six.\n## Guests\n* Anna\n");
    expect(&s, 0, "# Party", COSTEER_PART_HEADING, -1);
    expect(&s, 1, "Bring:", COSTEER_PART_HEADING, 0);
    expect(&s, 2, "- milk", COSTEER_PART_ITEM, 1);
    expect(&s, 3, "- bread", COSTEER_PART_ITEM, 1);
    expect(&s, 4, "- rye\n    dark", COSTEER_PART_ITEM, 3);
    expect(&s, 5, "1) wine", COSTEER_PART_ITEM, 1);
    expect(&s, 6, "It begins at six.", COSTEER_PART_SENTENCE, 0);
    expect(&s, 7, "## Guests", COSTEER_PART_HEADING, 0);
    expect(&s, 8, "* Anna", COSTEER_PART_ITEM, 7);
    assert_int_equal(s.parts.n, 9);
    costeer_parts_dispose(&s.parts);
}

static void test_split__fields(void **state)
{
    (void)state;
    split s = make("Salary: 54,000 EUR\n姓名：李雷\nseat = 23A\nSee https://example.org now.\n\nLikes:\n- tea\nName: Bob");
    expect(&s, 0, "Salary: 54,000 EUR", COSTEER_PART_FIELD, -1);
    expect(&s, 1, "姓名：李雷", COSTEER_PART_FIELD, -1);
    expect(&s, 2, "seat = 23A", COSTEER_PART_FIELD, -1);
    expect(&s, 3, "See https://example.org now.", COSTEER_PART_SENTENCE, -1);
    expect(&s, 5, "- tea", COSTEER_PART_ITEM, 4);
    expect(&s, 6, "Name: Bob", COSTEER_PART_FIELD, -1);
    costeer_parts_dispose(&s.parts);
}

static void test_split__a_heading_that_nothing_needs_can_be_chosen(void **state)
{
    (void)state;
    split s = make("# I am a vegetarian\n# Food\nNo nuts.");
    expect(&s, 0, "# I am a vegetarian", COSTEER_PART_SENTENCE, -1);
    expect(&s, 1, "# Food", COSTEER_PART_HEADING, -1);
    expect(&s, 2, "No nuts.", COSTEER_PART_SENTENCE, 1);
    costeer_parts_dispose(&s.parts);
}

/* ---- code, tables, mails, JSON ----------------------------------------------------------------------------------- */

static void test_split__code_is_one_part_and_rows_need_the_first(void **state)
{
    (void)state;
    split s = make("```\nint x;\n\nint y;\n```\n| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n");
    expect(&s, 0, "```\nint x;\n\nint y;\n```", COSTEER_PART_PARAGRAPH, -1);
    expect(&s, 1, "| a | b |\n|---|---|", COSTEER_PART_HEADING, -1);
    expect(&s, 2, "| 1 | 2 |", COSTEER_PART_RECORD, 1);
    expect(&s, 3, "| 3 | 4 |", COSTEER_PART_RECORD, 1);
    costeer_parts_dispose(&s.parts);
}

static void test_split__sentences_of_mails_need_the_header(void **state)
{
    (void)state;
    split s = make("From: Ann <ann@example.org>\nSubject: party\n\nHi Mia. Bring cake?\n\nFrom: Bob\nTo: Mia\nNo.\nGate: 4\n\n# "
                   "Notes\nTea.");
    expect(&s, 0, "From: Ann <ann@example.org>\nSubject: party", COSTEER_PART_MAIL, -1);
    expect(&s, 1, "Hi Mia.", COSTEER_PART_SENTENCE, 0);
    expect(&s, 2, "Bring cake?", COSTEER_PART_SENTENCE, 0);
    expect(&s, 3, "From: Bob\nTo: Mia", COSTEER_PART_MAIL, -1);
    expect(&s, 4, "No.", COSTEER_PART_SENTENCE, 3);
    expect(&s, 5, "Gate: 4", COSTEER_PART_FIELD, 3);
    expect(&s, 6, "# Notes", COSTEER_PART_HEADING, -1);
    expect(&s, 7, "Tea.", COSTEER_PART_SENTENCE, 6);
    costeer_parts_dispose(&s.parts);
}

static void test_split__json_members_elements_and_lines(void **state)
{
    (void)state;
    split s = make("{\"name\": \"Mia\", \"likes\": [\"tea\", \"a, b\"],\n \"age\": 30}");
    expect(&s, 0, "\"name\": \"Mia\"", COSTEER_PART_RECORD, -1);
    expect(&s, 1, "\"likes\": [\"tea\", \"a, b\"]", COSTEER_PART_RECORD, -1);
    expect(&s, 2, "\"age\": 30", COSTEER_PART_RECORD, -1);
    assert_int_equal(s.parts.n, 3);
    costeer_parts_dispose(&s.parts);
    s = make("{\"a\": 1, \"b\": 2}\n{\"a\": 3, \"b\": 4}\n");
    expect(&s, 0, "{\"a\": 1, \"b\": 2}", COSTEER_PART_RECORD, -1);
    expect(&s, 1, "{\"a\": 3, \"b\": 4}", COSTEER_PART_RECORD, -1);
    costeer_parts_dispose(&s.parts);
}

static void test_split__a_long_json_member_is_opened(void **state)
{
    (void)state;
    char text[1024] = "{\"people\": [";
    for (int i = 0; i < 6; i++) {
        snprintf(text + strlen(text), 128, "%s{\"name\": \"person %d\", \"note\": \"a note that is long enough to count\"}",
                 i > 0 ? ", " : "", i);
    }
    snprintf(text + strlen(text), 8, "]}");
    split s = make("{\"a\": 1}");
    costeer_parts_dispose(&s.parts);
    s = (split){.text = text};
    assert_int_equal(costeer_parts_split(text, strlen(text), &s.parts, NULL), COSTEER_OK);
    check_order(&s, strlen(text));
    expect(&s, 0, "\"people\":", COSTEER_PART_HEADING, -1);
    expect(&s, 1, "{\"name\": \"person 0\", \"note\": \"a note that is long enough to count\"}", COSTEER_PART_RECORD, 0);
    assert_int_equal(s.parts.n, 7);
    costeer_parts_dispose(&s.parts);
}

static void test_split__what_is_no_json_is_text(void **state)
{
    (void)state;
    static const char *const texts[] = {"{\"a\": 1", "{\"a\" 1}",    "[1 2]", "{]",  "[\"a]",
                                        "{a: b}",    "[ ] buy milk", "{,}",   "[1,]"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        split s = {.text = texts[i]};
        assert_int_equal(costeer_parts_split(texts[i], strlen(texts[i]), &s.parts, NULL), COSTEER_OK);
        assert_int_equal(s.parts.n, 1);
        expect(&s, 0, texts[i], s.parts.items[0].kind, -1);
        assert_int_not_equal(s.parts.items[0].kind, COSTEER_PART_RECORD);
        costeer_parts_dispose(&s.parts);
    }
}

/* ---- limits ------------------------------------------------------------------------------------------------------ */

static void test_split__nothing_gives_no_parts(void **state)
{
    (void)state;
    static const char *const texts[] = {"", " \n\t\r\n ", "---\n\n***\n", "{}", "[ ]", "\xE3\x80\x80\xC2\xA0"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        split s = make(texts[i]);
        assert_int_equal(s.parts.n, 0);
        costeer_parts_dispose(&s.parts);
    }
}

static void test_split__bad_utf8_is_refused_with_its_place(void **state)
{
    (void)state;
    costeer_parts parts = {.n = 0};
    costeer_error err = {.code = COSTEER_OK};
    assert_int_equal(costeer_parts_split("abc\xFFx", 5, &parts, &err), COSTEER_EUTF8);
    assert_non_null(strstr(err.message, "byte 3"));
    assert_int_equal(parts.n, 0);
    costeer_parts_dispose(&parts);
}

/* More parts than there may be, of each form. */
static void test_split__a_huge_text_has_bounded_parts(void **state)
{
    (void)state;
    static const char *const units[] = {"a.\n",        "- a\n",        "# a\n", "a: b\n",   "|a|\n",
                                        "{\"a\":1}\n", "A: \n  - b\n", "好。",  "\n\nA. B."};
    for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
        const size_t n = strlen(units[u]);
        const size_t n_units = 40000;
        char *text = malloc(n * n_units + 1);
        for (size_t i = 0; i < n_units; i++) {
            memcpy(text + i * n, units[u], n);
        }
        text[n * n_units] = '\0';
        split s = make(text);
        assert_in_range(s.parts.n, COSTEER_PARTS_MAX / 2, COSTEER_PARTS_MAX);
        for (size_t i = 0; i < s.parts.n; i++) {
            assert_int_equal(s.parts.items[i].heading, -1);
        }
        costeer_parts_dispose(&s.parts);
        free(text);
    }
}

/* Any bytes of these give parts that keep the rules; a fixed generator. */
static void test_split__random_texts_keep_the_rules(void **state)
{
    (void)state;
    static const char *const pieces[] = {"a",       "B",    " ",  "\n", "\n\n", ". ",  "- ", "# ",
                                         "1. ",     ":",    ": ", "|",  "```",  "{",   "}",  "[",
                                         "]",       "\"",   ",",  "\\", "。",   "「",  "」", "x = y",
                                         "From: ",  "To: ", "  ", "\t", "---",  "Dr.", "é",  "\xF0\x9F\x98\x80",
                                         "\xC2\xA0"};
    uint32_t random = 1;
    for (int round = 0; round < 3000; round++) {
        char text[512] = "";
        for (int i = 0; i < 60; i++) {
            random = random * 1664525U + 1013904223U;
            const char *piece = pieces[(random >> 16) % (sizeof pieces / sizeof pieces[0])];
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s", piece);
        }
        split s = {.text = text};
        assert_int_equal(costeer_parts_split(text, strlen(text), &s.parts, NULL), COSTEER_OK);
        check_order(&s, strlen(text));
        costeer_parts_dispose(&s.parts);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split__sentences_of_prose),
        cmocka_unit_test(test_split__abbreviations_initials_and_ordinals_end_nothing),
        cmocka_unit_test(test_split__chinese_and_japanese_need_no_space),
        cmocka_unit_test(test_split__wrapped_prose_is_joined_and_notes_are_not),
        cmocka_unit_test(test_split__a_long_sentence_stays_whole),
        cmocka_unit_test(test_split__items_need_their_headings),
        cmocka_unit_test(test_split__fields),
        cmocka_unit_test(test_split__a_heading_that_nothing_needs_can_be_chosen),
        cmocka_unit_test(test_split__code_is_one_part_and_rows_need_the_first),
        cmocka_unit_test(test_split__sentences_of_mails_need_the_header),
        cmocka_unit_test(test_split__json_members_elements_and_lines),
        cmocka_unit_test(test_split__a_long_json_member_is_opened),
        cmocka_unit_test(test_split__what_is_no_json_is_text),
        cmocka_unit_test(test_split__nothing_gives_no_parts),
        cmocka_unit_test(test_split__bad_utf8_is_refused_with_its_place),
        cmocka_unit_test(test_split__a_huge_text_has_bounded_parts),
        cmocka_unit_test(test_split__random_texts_keep_the_rules),
    };
    return cmocka_run_group_tests_name("select: splitting", tests, NULL, NULL);
}
