/* Event streams as the HTML standard has them (section 9.2.6), however they are cut into pieces, and their cap. */
#include "cloud/api_sse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define CAP ((size_t)1000)

/* A reader, and the events that it has found: "<a><b>". */
typedef struct reading {
    cs_sse sse;
    char events[512];
    size_t n;
    cs_sse_result last;
} reading;

static reading begin(size_t cap)
{
    reading r = {.last = CS_SSE_MORE};
    cs_sse_reset(&r.sse, cap);
    return r;
}

/* Returns how many events were in it. */
static int feed(reading *r, const char *bytes, size_t n)
{
    int n_events = 0;
    for (size_t at = 0; at < n;) {
        size_t n_taken = 0;
        r->last = cs_sse_feed(&r->sse, bytes + at, n - at, &n_taken);
        if (r->last == CS_SSE_TOO_LONG) {
            break;
        }
        assert_in_range(n_taken, 1, n - at);
        assert_true(r->last == CS_SSE_EVENT || n_taken == n - at);
        at += n_taken;
        if (r->last == CS_SSE_EVENT) {
            const int length = (int)r->sse.data.n_bytes;
            r->n += (size_t)snprintf(r->events + r->n, sizeof r->events - r->n, "<%.*s>", length,
                                     length > 0 ? r->sse.data.bytes : "");
            n_events++;
        }
    }
    return n_events;
}

/* The stream in one piece, byte by byte, and in two pieces cut anywhere. */
static void assert_events(const char *text, const char *expected)
{
    const size_t n = strlen(text);
    for (size_t cut = 0; cut <= n + 1; cut++) {
        reading r = begin(CAP);
        for (size_t at = 0; cut == n + 1 && at < n; at++) {
            (void)feed(&r, text + at, 1);
        }
        if (cut <= n) {
            (void)feed(&r, text, cut);
            (void)feed(&r, text + cut, n - cut);
        }
        if (strcmp(r.events, expected) != 0) {
            fail_msg("\"%s\", cut at %zu of %zu: %s instead of %s", text, cut, n, r.events, expected);
        }
        cs_sse_dispose(&r.sse);
    }
}

static void test_sse__lines_end_in_lf_or_cr_lf_or_cr(void **state)
{
    (void)state;
    assert_events("data: a\n\ndata: b\n\n", "<a><b>");
    assert_events("data: a\r\n\r\ndata: b\r\n\r\n", "<a><b>");
    assert_events("data: a\r\rdata: b\r\r", "<a><b>");
    assert_events("data: a\n\rdata: b\r\n\ndata: c\r\r\n", "<a><b><c>");
    assert_events("data: a\r\ndata: b\rdata: c\n\n", "<a\nb\nc>");
}

static void test_sse__an_lf_behind_a_cr_at_a_pieces_end_belongs_to_it(void **state)
{
    (void)state;
    reading r = begin(CAP);
    assert_int_equal(feed(&r, "data: a\r", 8), 0);
    assert_int_equal(feed(&r, "\n", 1), 0); /* not the empty line */
    assert_int_equal(feed(&r, "\r", 1), 1); /* an event need not wait for what follows the CR */
    assert_int_equal(feed(&r, "\n", 1), 0);
    assert_int_equal(feed(&r, "data: b\r", 8), 0);
    assert_int_equal(feed(&r, "\r", 1), 1);
    assert_int_equal(feed(&r, "\ndata: c\n\n", 10), 1);
    assert_string_equal(r.events, "<a><b><c>");
    cs_sse_dispose(&r.sse);
}

static void test_sse__only_data_is_of_interest(void **state)
{
    (void)state;
    assert_events(":\n: comment\n:data: x\n\n", "");
    assert_events("event: message\nid: 1\nretry: 10\n\n", "");
    assert_events("event: message\ndata: a\nid: 1\n: x\n\n", "<a>");
    assert_events("datax: a\ndat: b\nDATA: c\n data: d\nxdata: e\n\n", "");
    assert_events("\n\n\n", "");
    assert_events("\n\ndata: a\n\n\n\ndata: b\n\n", "<a><b>");
}

static void test_sse__one_leading_space_is_no_part_of_the_value(void **state)
{
    (void)state;
    assert_events("data:a\n\ndata: a\n\ndata:  a\n\ndata:\ta\n\ndata: a \n\n", "<a><a>< a><\ta><a >");
    assert_events("data::\n\ndata: b: c\n\n", "<:><b: c>");
}

static void test_sse__a_field_may_have_no_colon_and_data_may_be_empty(void **state)
{
    (void)state;
    assert_events("data\n\n", "<>");
    assert_events("data:\n\n", "<>");
    assert_events("data: \n\n", "<>");
    assert_events("data\n\ndata\ndata\n\ndata:", "<><\n>"); /* the standard's example */
    assert_events("data: a\ndata\ndata: b\n\n", "<a\n\nb>");
    assert_events("data: YHOO\ndata: +2\ndata: 10\n\n", "<YHOO\n+2\n10>");
}

static void test_sse__what_no_empty_line_ends_is_no_event(void **state)
{
    (void)state;
    assert_events("data: a", "");
    assert_events("data: a\n", "");
    assert_events("data: a\n\ndata: b\n", "<a>");
}

static void test_sse__a_byte_order_mark_is_left_out_at_the_beginning_only(void **state)
{
    (void)state;
    assert_events("\xEF\xBB\xBF"
                  "data: a\n\n",
                  "<a>");
    assert_events("\xEF\xBB\xBF\n\ndata: a\n\n", "<a>");
    assert_events("\n\xEF\xBB\xBF"
                  "data: a\n\ndata: b\n\n",
                  "<b>");
    assert_events("\xEF\xBB\xBF\xEF\xBB\xBF"
                  "data: a\n\n",
                  "");
    assert_events("data: \xEF\xBB\xBF\n\n", "<\xEF\xBB\xBF>");
}

static void test_sse__a_zero_byte_is_a_byte(void **state)
{
    (void)state;
    static const char text[] = "data: a\0b\n\n";
    size_t n_taken = 0;
    reading r = begin(CAP);
    assert_int_equal(cs_sse_feed(&r.sse, text, sizeof text - 1, &n_taken), CS_SSE_EVENT);
    assert_int_equal(n_taken, sizeof text - 1);
    assert_int_equal(r.sse.data.n_bytes, 3);
    assert_memory_equal(r.sse.data.bytes, "a\0b", 4); /* and a NUL behind it */
    cs_sse_dispose(&r.sse);
}

/* ---- the cap ----------------------------------------------------------------------------------------------------- */

static cs_sse_result read_all(const char *text, size_t cap)
{
    reading r = begin(cap);
    (void)feed(&r, text, strlen(text));
    cs_sse_dispose(&r.sse);
    return r.last;
}

static void test_sse__a_line_or_an_events_data_above_the_cap_is_too_long(void **state)
{
    (void)state;
    assert_int_equal(read_all("data:123\n\n", 8), CS_SSE_EVENT);
    assert_int_equal(read_all("data:1234\n\n", 8), CS_SSE_TOO_LONG);
    assert_int_equal(read_all("data:1234", 8), CS_SSE_TOO_LONG); /* before it ends */
    assert_int_equal(read_all(":comments", 8), CS_SSE_TOO_LONG);
    assert_int_equal(read_all("data:12\ndata:34\ndata:56\n\n", 8), CS_SSE_EVENT); /* with two LF between */
    assert_int_equal(read_all("data:12\ndata:34\ndata:567\n\n", 8), CS_SSE_TOO_LONG);
    assert_int_equal(read_all("data:1\ndata\ndata\ndata\ndata\ndata\ndata\ndata\ndata\n\n", 8), CS_SSE_TOO_LONG);
    assert_int_equal(read_all("data:123\n\ndata:456\n\ndata:789\n\n", 8), CS_SSE_EVENT); /* each its own */
}

static void test_sse__a_reset_forgets_everything_but_the_memory(void **state)
{
    (void)state;
    reading r = begin(8);
    (void)feed(&r, "data:1\ndata:", 12);
    (void)feed(&r, "123456789", 9);
    assert_int_equal(r.last, CS_SSE_TOO_LONG);
    cs_sse_reset(&r.sse, 9);
    assert_int_equal(feed(&r,
                          "\xEF\xBB\xBF"
                          "data:2\n\n",
                          11),
                     1); /* at the beginning once more */
    (void)feed(&r, "data: a\r", 8);
    cs_sse_reset(&r.sse, 9);
    assert_int_equal(feed(&r, "\ndata:3\n\n", 9), 1);
    assert_string_equal(r.events, "<2><3>");
    cs_sse_dispose(&r.sse);
    assert_null(r.sse.line.bytes);
    assert_null(r.sse.data.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sse__lines_end_in_lf_or_cr_lf_or_cr),
        cmocka_unit_test(test_sse__an_lf_behind_a_cr_at_a_pieces_end_belongs_to_it),
        cmocka_unit_test(test_sse__only_data_is_of_interest),
        cmocka_unit_test(test_sse__one_leading_space_is_no_part_of_the_value),
        cmocka_unit_test(test_sse__a_field_may_have_no_colon_and_data_may_be_empty),
        cmocka_unit_test(test_sse__what_no_empty_line_ends_is_no_event),
        cmocka_unit_test(test_sse__a_byte_order_mark_is_left_out_at_the_beginning_only),
        cmocka_unit_test(test_sse__a_zero_byte_is_a_byte),
        cmocka_unit_test(test_sse__a_line_or_an_events_data_above_the_cap_is_too_long),
        cmocka_unit_test(test_sse__a_reset_forgets_everything_but_the_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
