/* UTF-8 checking, and the text of an answer on its way out (core/text_out). */
#include "core/text_out.h"
#include "util/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* ---- characters -------------------------------------------------------------------------------------------------- */

static void test_utf8__accepts_the_borders_of_each_length(void **state)
{
    (void)state;
    static const char *const good[] = {"",
                                       "a",
                                       "\x7F",
                                       "\xC2\x80",
                                       "\xDF\xBF",
                                       "\xE0\xA0\x80",
                                       "\xED\x9F\xBF",
                                       "\xEE\x80\x80",
                                       "\xEF\xBF\xBF",
                                       "\xF0\x90\x80\x80",
                                       "\xF4\x8F\xBF\xBF"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(cs_utf8_check(good[i], strlen(good[i]), NULL));
    }
}

static void test_utf8__rejects_overlong_surrogates_and_beyond(void **state)
{
    (void)state;
    static const char *const wrong[] = {"\x80",
                                        "\xC0\x80",
                                        "\xC1\xBF",
                                        "\xE0\x9F\xBF",
                                        "\xED\xA0\x80",
                                        "\xF0\x8F\xBF\xBF",
                                        "\xF4\x90\x80\x80",
                                        "\xF5\x80\x80\x80",
                                        "\xFF",
                                        "\xC2",
                                        "\xE2\x82",
                                        "\xF0\x9F\x98"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        size_t bad = 99;
        assert_false(cs_utf8_check(wrong[i], strlen(wrong[i]), &bad));
        assert_int_equal(bad, 0);
    }
}

static void test_utf8__tells_the_offset_of_the_first_bad_byte(void **state)
{
    (void)state;
    size_t bad = 0;
    assert_false(cs_utf8_check("h\xC3\xA9llo \xFF!", 9, &bad));
    assert_int_equal(bad, 7);
}

static void test_utf8__tells_incomplete_from_invalid(void **state)
{
    (void)state;
    size_t length;
    assert_int_equal(cs_utf8_next("\xF0\x9F\x98", 3, &length), CS_UTF8_INCOMPLETE);
    assert_int_equal(length, 3);
    assert_int_equal(cs_utf8_next("\xF0\x9F!", 3, &length), CS_UTF8_INVALID);
    assert_int_equal(length, 2);
    assert_int_equal(cs_utf8_next("\xE0\x80\x80", 3, &length), CS_UTF8_INVALID);
    assert_int_equal(length, 1);
}

/* ---- text on its way out ----------------------------------------------------------------------------------------- */

/* Push pieces one by one and join what goes out, a bar behind each step. */
static void run(const char *const *stop, size_t n_stop, const char *const *pieces, char *out, size_t size)
{
    cs_text_out *text;
    assert_int_equal(cs_text_out_create(stop, n_stop, 64, &text, NULL), COSTEER_OK);
    size_t used = 0;
    for (size_t i = 0;; i++) {
        bool stopped = false;
        if (pieces[i] != NULL) {
            stopped = cs_text_out_push(text, pieces[i], strlen(pieces[i]));
        } else {
            cs_text_out_finish(text);
        }
        size_t n;
        const char *ready = cs_text_out_take(text, &n);
        assert_true(cs_utf8_check(ready, n, NULL));
        used += (size_t)snprintf(out + used, size - used, "%.*s%s", (int)n, ready, pieces[i] == NULL ? "" : stopped ? "#" : "|");
        if (pieces[i] == NULL) {
            break;
        }
    }
    cs_text_out_free(text);
}

#define assert_text(expected, stop, ...)                                                                   \
    do {                                                                                                   \
        const char *const stops_[] = {stop};                                                               \
        const char *const pieces_[] = {__VA_ARGS__, NULL};                                                 \
        char out_[512];                                                                                    \
        run(stops_, stops_[0] == NULL ? 0 : sizeof stops_ / sizeof stops_[0], pieces_, out_, sizeof out_); \
        assert_string_equal(out_, expected);                                                               \
    } while (0)

static void test_text_out__plain_text_goes_out_at_once(void **state)
{
    (void)state;
    assert_text("Hello| world|", NULL, "Hello", " world");
}

static void test_text_out__holds_a_character_until_it_is_whole(void **state)
{
    (void)state;
    assert_text("a||\xF0\x9F\x98\x80z|", NULL, "a\xF0\x9F", "\x98", "\x80z");
}

static void test_text_out__replaces_what_can_never_be_a_character(void **state)
{
    (void)state;
    assert_text("a\xEF\xBF\xBD|b|", NULL, "a\xFF", "b");
    assert_text("|\xEF\xBF\xBDx|", NULL, "\xE2\x82", "x");
}

static void test_text_out__an_incomplete_end_is_replaced(void **state)
{
    (void)state;
    assert_text("a|\xEF\xBF\xBD", NULL, "a\xE2\x82");
}

static void test_text_out__cuts_at_a_stop_string_across_pieces(void **state)
{
    (void)state;
    assert_text("one| two||#", "\n\nQ:", "one", " two\n", "\n", "Q: more");
}

static void test_text_out__releases_what_turned_out_not_to_be_one(void **state)
{
    (void)state;
    assert_text("one||\n\nA|", "\n\nQ:", "one\n", "\n", "A");
}

static void test_text_out__the_held_end_goes_out_when_no_more_comes(void **state)
{
    (void)state;
    assert_text("one|\n\n", "\n\nQ:", "one\n\n");
}

static void test_text_out__the_first_of_several_stop_strings_wins(void **state)
{
    (void)state;
    const char *const stops[] = {"END", "xEN"};
    const char *const pieces[] = {"abxEND tail", NULL};
    char out[64];
    run(stops, 2, pieces, out, sizeof out);
    assert_string_equal(out, "ab#");
}

static void test_text_out__overlapping_beginnings_are_found(void **state)
{
    (void)state;
    assert_text("|a|#", "aab", "aa", "a", "b");
}

static void test_text_out__a_broken_character_before_a_possible_stop_is_replaced_at_once(void **state)
{
    (void)state;
    assert_text("\xEF\xBF\xBD|#", "\n\n", "\xE2\x82\n", "\n");
}

static void test_text_out__refuses_bad_stop_strings(void **state)
{
    (void)state;
    cs_text_out *text;
    costeer_error err;
    const char *const empty[] = {"ok", ""};
    assert_int_equal(cs_text_out_create(empty, 2, 64, &text, &err), COSTEER_EINVAL);
    assert_null(text);
    const char *const not_utf8[] = {"\xFF"};
    assert_int_equal(cs_text_out_create(not_utf8, 1, 64, &text, &err), COSTEER_EUTF8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8__accepts_the_borders_of_each_length),
        cmocka_unit_test(test_utf8__rejects_overlong_surrogates_and_beyond),
        cmocka_unit_test(test_utf8__tells_the_offset_of_the_first_bad_byte),
        cmocka_unit_test(test_utf8__tells_incomplete_from_invalid),
        cmocka_unit_test(test_text_out__plain_text_goes_out_at_once),
        cmocka_unit_test(test_text_out__holds_a_character_until_it_is_whole),
        cmocka_unit_test(test_text_out__replaces_what_can_never_be_a_character),
        cmocka_unit_test(test_text_out__an_incomplete_end_is_replaced),
        cmocka_unit_test(test_text_out__cuts_at_a_stop_string_across_pieces),
        cmocka_unit_test(test_text_out__releases_what_turned_out_not_to_be_one),
        cmocka_unit_test(test_text_out__the_held_end_goes_out_when_no_more_comes),
        cmocka_unit_test(test_text_out__the_first_of_several_stop_strings_wins),
        cmocka_unit_test(test_text_out__overlapping_beginnings_are_found),
        cmocka_unit_test(test_text_out__a_broken_character_before_a_possible_stop_is_replaced_at_once),
        cmocka_unit_test(test_text_out__refuses_bad_stop_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
