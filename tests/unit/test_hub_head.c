/* The lines of a response's head: what the hub's client takes from them, and what it does not. */
#include "hub/hub_http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static cs_hub_head head;

/* The head of one line. */
static const cs_hub_head *read_one(const char *line)
{
    cs_hub_head_forget(&head);
    cs_hub_head_read_line(&head, line, strlen(line));
    return &head;
}

static void test_hub_head__takes_what_is_acted_on(void **state)
{
    (void)state;
    assert_string_equal(read_one("Location: https://cdn.example/x?a=1\r\n")->location, "https://cdn.example/x?a=1");
    assert_string_equal(read_one("x-error-code:GatedRepo\r\n")->error_code, "GatedRepo");
    assert_int_equal(read_one("Content-Range: bytes 500-999/1000\r\n")->range_begin, 500);
    assert_int_equal(read_one("Retry-After: 37\n")->retry_after_s, 37);
}

static void test_hub_head__finds_the_next_page_among_links(void **state)
{
    (void)state;
    assert_string_equal(read_one("Link: <https://h/2>; rel=\"next\"")->next, "https://h/2");
    assert_string_equal(read_one("Link: <https://h/0>; rel=\"prev\", <https://h/2>; rel=\"next\"")->next, "https://h/2");
    assert_string_equal(read_one("Link: <https://h/2>; rel=\"next\", <https://h/9>; rel=\"last\"")->next, "https://h/2");
    assert_string_equal(read_one("Link: <https://h/9>; rel=\"last\"")->next, "");
    assert_string_equal(read_one("Link: <https://h/2; rel=\"next\"")->next, "");
    assert_string_equal(read_one("Link: >; rel=\"next\" <")->next, "");
}

static void test_hub_head__a_number_that_is_none_is_not_told(void **state)
{
    (void)state;
    static const char *const lines[] = {"Retry-After: Wed, 21 Oct 2015 07:28:00 GMT", "Retry-After: -1",
                                        "Retry-After:", "Retry-After: 99999999999999999999", "Retry-After: 9223372036854775808"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        assert_int_equal(read_one(lines[i])->retry_after_s, -1);
    }
    assert_int_equal(read_one("Content-Range: bytes */1000")->range_begin, -1);
    assert_int_equal(read_one("Content-Range: lines 1-2/3")->range_begin, -1);
}

static void test_hub_head__a_status_line_begins_another_head(void **state)
{
    (void)state;
    static const char *const lines[] = {"X-Error-Code: GatedRepo\r\n", "HTTP/1.1 200 OK\r\n", "\r\n"};
    cs_hub_head_forget(&head);
    for (size_t i = 0; i < 3; i++) {
        cs_hub_head_read_line(&head, lines[i], strlen(lines[i]));
    }
    assert_string_equal(head.error_code, "");
}

static void test_hub_head__a_text_that_is_too_long_is_cut_or_left_out(void **state)
{
    (void)state;
    static char line[2 * CS_HUB_URL_MAX];
    memset(line, 'x', sizeof line - 1);
    memcpy(line, "X-Error-Code: ", 14);
    assert_string_equal(read_one(line)->error_code, "");
    line[200] = '\0';
    assert_int_equal(strlen(read_one(line)->error_code), sizeof head.error_code - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hub_head__takes_what_is_acted_on),
        cmocka_unit_test(test_hub_head__finds_the_next_page_among_links),
        cmocka_unit_test(test_hub_head__a_number_that_is_none_is_not_told),
        cmocka_unit_test(test_hub_head__a_status_line_begins_another_head),
        cmocka_unit_test(test_hub_head__a_text_that_is_too_long_is_cut_or_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
