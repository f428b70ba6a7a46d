/* The report: what is read, what is refused and how it is named, what is computed, and that no answer gets out of its place. */
#include <costeer/report.h>
#include <costeer/stats.h>

#include "eval/svg.h"
#include "util/buffer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUN                                                                                                                     \
    "{\"task\": \"generic\", \"items\": [{\"label\": \"llm\", \"method\": \"llm\", \"strength\": 0, \"shows_context\": false}," \
    " {\"label\": \"llm+context\", \"method\": \"llm+context\", \"strength\": 0, \"shows_context\": true}]}"

static void assert_near(double got, double wanted, double tolerance)
{
    if (!(fabs(got - wanted) <= tolerance)) {
        fail_msg("%.17g is not %.17g", got, wanted);
    }
}

/* ---- making and reading ------------------------------------------------------------------------------------------ */

/* Append a line; NaN: null. */
static void add(cs_buffer *results, const char *row, const char *label, const char *answer, double rouge1, double logprob,
                int n_tokens)
{
    char line[1024];
    char metric[64];
    snprintf(metric, sizeof metric, isnan(rouge1) ? "null" : "%.6f", rouge1);
    int n = snprintf(line, sizeof line,
                     "{\"row\": \"%s\", \"label\": \"%s\", \"answer\": \"%s\", \"n_tokens\": %d, \"n_steered\": %d, \"judge\": "
                     "{\"logprob\": %.6f, \"n_tokens\": %d}, \"metrics\": {\"rouge1\": %s}}\n",
                     row, label, answer, n_tokens, n_tokens / 2, logprob, n_tokens, metric);
    assert_in_range(n, 1, (int)sizeof line - 1);
    assert_true(cs_buffer_append(results, line, (size_t)n));
}

static costeer_err create(const char *run, const char *results, const char *bad_rows, costeer_eval_report **report,
                          costeer_error *err)
{
    const costeer_eval_report_files files = {.run = run,
                                             .n_run = strlen(run),
                                             .results = results,
                                             .n_results = strlen(results),
                                             .bad_rows = bad_rows,
                                             .n_bad_rows = bad_rows != NULL ? strlen(bad_rows) : 0};
    return costeer_eval_report_create(&files, report, err);
}

static void assert_refused(const char *run, const char *results, const char *bad_rows, const char *message)
{
    costeer_eval_report *report;
    costeer_error err = {.code = COSTEER_OK};
    assert_int_equal(create(run, results, bad_rows, &report, &err), COSTEER_EINVAL);
    assert_null(report);
    if (strstr(err.message, message) == NULL) {
        fail_msg("'%s' does not say '%s'", err.message, message);
    }
}

static bool keep(const char *bytes, size_t n_bytes, void *user)
{
    return cs_buffer_append(user, bytes, n_bytes);
}

static char *write_text(const costeer_eval_report *report, costeer_eval_report_format format)
{
    cs_buffer text = {.cap = 1 << 24};
    assert_int_equal(costeer_eval_report_write(report, format, keep, &text, NULL), COSTEER_OK);
    return text.bytes;
}

static json_t *computed(costeer_eval_report *report, const char *baseline, uint64_t seed)
{
    const costeer_eval_report_params params = {.baseline = baseline, .seed = seed, .n_rounds = 300};
    assert_int_equal(costeer_eval_report_compute(report, &params, NULL), COSTEER_OK);
    char *text = write_text(report, COSTEER_EVAL_REPORT_JSON);
    json_t *object = json_loads(text, 0, NULL);
    assert_non_null(object);
    free(text);
    return object;
}

static const json_t *measure(const json_t *object, size_t label, const char *kind, const char *name)
{
    return json_object_get(json_object_get(json_array_get(json_object_get(object, "labels"), label), kind), name);
}

static double member(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

/* Three rows of the first label, of which two the second one has too; one of them without ROUGE. */
static costeer_eval_report *small_report(void)
{
    cs_buffer results = {.cap = 1 << 20};
    costeer_eval_report *report;
    add(&results, "a", "llm", "x", 0.25, -10.0, 10);
    add(&results, "a", "llm+context", "x", 0.5, -8.0, 16);
    add(&results, "b", "llm", "x", 0.5, -30.0, 20);
    add(&results, "c", "llm", "x", 0.75, -2.0, 4);
    add(&results, "c", "llm+context", "x", (double)NAN, -3.0, 2);
    assert_int_equal(create(RUN, results.bytes, NULL, &report, NULL), COSTEER_OK);
    cs_buffer_dispose(&results);
    return report;
}

static void test_report__means_and_intervals_are_those_of_the_statistics(void **state)
{
    (void)state;
    const double values[] = {0.25, 0.5, 0.75};
    costeer_interval wanted;
    costeer_eval_report *report = small_report();
    json_t *object = computed(report, NULL, 42);
    const json_t *rouge = measure(object, 0, "measures", "rouge1");
    assert_int_equal(costeer_stats_bootstrap_mean(values, 3, 42, 300, &wanted, NULL), COSTEER_OK);
    assert_near(member(rouge, "n"), 3, 0);
    assert_near(member(rouge, "value"), wanted.value, 1e-15);
    assert_near(member(rouge, "low"), wanted.low, 1e-15);
    assert_near(member(rouge, "high"), wanted.high, 1e-15);
    assert_near(member(measure(object, 1, "measures", "rouge1"), "n"), 1, 0);
    assert_null(measure(object, 0, "measures", "meteor"));
    json_decref(object);
    costeer_eval_report_free(report);
}

static void test_report__perplexity_is_over_all_tokens_of_a_label(void **state)
{
    (void)state;
    const double losses[] = {10.0, 30.0, 2.0};
    const double tokens[] = {10.0, 20.0, 4.0};
    costeer_interval wanted;
    costeer_eval_report *report = small_report();
    json_t *object = computed(report, NULL, 1);
    const json_t *perplexity = measure(object, 0, "measures", "perplexity");
    assert_int_equal(costeer_stats_bootstrap_ratio(losses, tokens, 3, 1, 300, &wanted, NULL), COSTEER_OK);
    assert_near(member(perplexity, "value"), exp(42.0 / 34.0), 1e-12);
    assert_near(member(perplexity, "low"), exp(wanted.low), 1e-12);
    assert_near(member(perplexity, "high"), exp(wanted.high), 1e-12);
    assert_near(member(measure(object, 0, "measures", "steered"), "value"), 17.0 / 34.0, 1e-12);
    json_decref(object);
    costeer_eval_report_free(report);
}

#define WORDS_RUN                                                                                                           \
    "{\"items\": [{\"label\": \"llm\", \"method\": \"llm\", \"strength\": 0}, {\"label\": \"c\", \"method\": \"costeer\", " \
    "\"strength\": 1}]}"
#define WORDS(row, label, answer, unknown)                                                                                      \
    "{\"row\": \"" row "\", \"label\": \"" label "\", \"answer\": \"" answer "\", \"metrics\": {}, \"unknown_words\": " unknown \
    "}\n"

static void expect_broken(const char *results, size_t label, double n, double value)
{
    costeer_eval_report *report;
    assert_int_equal(create(WORDS_RUN, results, NULL, &report, NULL), COSTEER_OK);
    json_t *object = computed(report, NULL, 0);
    const json_t *broken = measure(object, label, "measures", "broken_words");
    assert_near(broken != NULL ? member(broken, "n") : 0.0, n, 0);
    assert_near(broken != NULL ? member(broken, "value") : 0.0, value, 1e-12);
    json_decref(object);
    costeer_eval_report_free(report);
}

static void test_report__broken_words_are_those_that_no_model_wrote_by_itself(void **state)
{
    (void)state;
    static const char results[] = WORDS("a", "llm", "a Sourdough loaf", "[\"sourdough\"]")
        WORDS("a", "c", "sourdough mariat sourough", "[\"sourdough\", \"mariat\", \"sourough\"]")
            WORDS("b", "llm", "nothing here", "null") WORDS("b", "c", "mariat", "[\"mariat\"]") WORDS("c", "c", "none", "[]");
    expect_broken(results, 0, 1, 0.0);
    expect_broken(results, 1, 3, 1.0);                                   /* two, one and none */
    expect_broken(WORDS("a", "c", "mariat", "[\"mariat\"]"), 1, 0, 0.0); /* no model by itself: not measured */
}

static void test_report__only_rows_that_both_labels_have_are_compared(void **state)
{
    (void)state;
    const double losses[] = {0.5, 1.5}; /* a token, of rows a and c */
    const double baseline[] = {1.0, 0.5};
    double p;
    costeer_eval_report *report = small_report();
    json_t *object = computed(report, NULL, 5);
    assert_near(member(json_object_get(json_array_get(json_object_get(object, "labels"), 1), "against_baseline"), "n_paired"), 2,
                0);
    const json_t *rouge = measure(object, 1, "against_baseline", "rouge1");
    assert_near(member(rouge, "n"), 1, 0);
    assert_near(member(rouge, "difference"), 0.25, 1e-15);
    const json_t *perplexity = measure(object, 1, "against_baseline", "log_perplexity");
    assert_int_equal(costeer_stats_permutation_test(losses, baseline, 2, 5, 300, &p, NULL), COSTEER_OK);
    assert_near(member(perplexity, "n"), 2, 0);
    assert_near(member(perplexity, "difference"), 0.25, 1e-12);
    assert_near(member(perplexity, "p"), p, 1e-15);
    assert_null(measure(object, 0, "against_baseline", "rouge1"));
    json_decref(object);
    object = computed(report, "llm+context", 5); /* the other way round */
    assert_near(member(measure(object, 0, "against_baseline", "rouge1"), "difference"), -0.25, 1e-15);
    assert_null(measure(object, 1, "against_baseline", "rouge1"));
    json_decref(object);
    costeer_eval_report_free(report);
}

static void test_report__parameters_are_checked(void **state)
{
    (void)state;
    cs_buffer text = {.cap = 1 << 20};
    costeer_eval_report *report = small_report();
    assert_int_equal(costeer_eval_report_write(report, COSTEER_EVAL_REPORT_HTML, keep, &text, NULL), COSTEER_ESTATE);
    costeer_eval_report_params params = COSTEER_EVAL_REPORT_PARAMS_DEFAULT;
    params.baseline = "llm+contex";
    assert_int_equal(costeer_eval_report_compute(report, &params, NULL), COSTEER_EINVAL);
    params.baseline = NULL;
    params.n_rounds = 0;
    assert_int_equal(costeer_eval_report_compute(report, &params, NULL), COSTEER_EINVAL);
    assert_int_equal(costeer_eval_report_write(report, COSTEER_EVAL_REPORT_HTML, keep, &text, NULL), COSTEER_ESTATE);
    assert_int_equal(costeer_eval_report_n_labels(report), 2);
    assert_string_equal(costeer_eval_report_label(report, 1), "llm+context");
    assert_null(costeer_eval_report_label(report, 2));
    cs_buffer_dispose(&text);
    costeer_eval_report_free(report);
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

#define GOOD    "{\"row\": \"a\", \"label\": \"llm\", \"answer\": \"\", \"n_tokens\": 1, \"metrics\": {}}\n"
#define GOOD_AT "{\"row\": \"b\", \"label\": \"llm\", \"answer\": \"\", \"n_tokens\": 1, \"metrics\": {}}\n"

static void test_report__damaged_lines_are_named(void **state)
{
    (void)state;
    assert_refused(RUN, GOOD "{\"row\": \n" GOOD_AT, NULL, "results.jsonl, line 2: not a JSON object");
    assert_refused(RUN, GOOD "\n", NULL, "results.jsonl, line 2: not a JSON object");
    assert_refused(RUN, GOOD GOOD, NULL, "results.jsonl, lines 1 and 2: the same row and label");
    assert_refused(RUN, GOOD "{\"label\": \"llm\", \"answer\": \"\"}\n", NULL, "line 2: no row");
    assert_refused(RUN, "{\"row\": \"a\", \"label\": \"slm\", \"answer\": \"\"}\n", NULL, "line 1: its label");
    assert_refused(RUN, "{\"row\": \"a\", \"label\": \"llm\", \"answer\": \"\", \"n_tokens\": \"1\"}\n", NULL,
                   "line 1: a number");
    assert_refused(RUN, "{\"row\": \"a\", \"label\": \"llm\", \"answer\": \"\", \"metrics\": []}\n", NULL, "line 1: a number");
    assert_refused(RUN, "", NULL, "no results");
    assert_refused(RUN, GOOD, "{\"line\": 3}\n", "bad_rows.jsonl, line 1");
    assert_refused("[]", GOOD, NULL, "run.json: not a JSON object");
    assert_refused("{\"items\": []}", GOOD, NULL, "run.json: 0 items");
    assert_refused("{\"items\": [{\"label\": \"a\"}, {\"label\": \"a\"}]}", GOOD, NULL, "run.json: items 0 and 1");
    assert_refused("{\"items\": [{\"label\": \"a\", \"parameter\": \"T\"}]}", GOOD, NULL, "run.json: item 0 has a parameter");
    assert_refused("{\"items\": [{}]}", GOOD, NULL, "run.json: item 0 has no label");
}

static void test_report__what_a_killed_run_left_of_a_line_is_left_out(void **state)
{
    (void)state;
    costeer_eval_report *report;
    assert_int_equal(create(RUN, GOOD "{\"row\": \"b\", \"la", NULL, &report, NULL), COSTEER_OK);
    json_t *object = computed(report, NULL, 0);
    assert_true(json_is_true(json_object_get(object, "is_cut")));
    assert_near(member(object, "n_rows"), 1, 0);
    json_decref(object);
    costeer_eval_report_free(report);
}

static void test_report__labels_without_rows_are_shown_as_such(void **state)
{
    (void)state;
    costeer_eval_report *report;
    assert_int_equal(create(RUN, GOOD, NULL, &report, NULL), COSTEER_OK);
    json_t *object = computed(report, "llm+context", 0);
    assert_near(member(json_array_get(json_object_get(object, "labels"), 1), "n_rows"), 0, 0);
    for (int format = COSTEER_EVAL_REPORT_HTML; format <= COSTEER_EVAL_REPORT_MARKDOWN; format++) {
        char *text = write_text(report, (costeer_eval_report_format)format);
        assert_null(strstr(text, "nan"));
        free(text);
    }
    json_decref(object);
    costeer_eval_report_free(report);
}

/* ---- texts ------------------------------------------------------------------------------------------------------- */

static void test_report__answers_names_and_reasons_stay_text(void **state)
{
    (void)state;
    cs_buffer results = {.cap = 1 << 20};
    costeer_eval_report *report;
    add(&results, "<i>|`*", "llm", "</p><script>x</script> & \\\"q\\\" 'a' \\u0007\\u202e", 0.5, -1.0, 2);
    assert_int_equal(
        create(RUN, results.bytes, "{\"line\": 1, \"row\": \"<u>\", \"reason\": \"a | <b> [x](y) &lt;\"}\n", &report, NULL),
        COSTEER_OK);
    json_t *object = computed(report, NULL, 0);
    char *html = write_text(report, COSTEER_EVAL_REPORT_HTML);
    char *markdown = write_text(report, COSTEER_EVAL_REPORT_MARKDOWN);
    assert_non_null(
        strstr(html, "&lt;/p&gt;&lt;script&gt;x&lt;/script&gt; &amp; &quot;q&quot; &#39;a&#39; \xEF\xBF\xBD\xEF\xBF\xBD"));
    assert_non_null(strstr(html, "Row &lt;i&gt;|`*"));
    assert_null(strstr(html, "<script"));
    assert_non_null(strstr(markdown, "a \\| \\<b> \\[x\\](y) \\&lt;"));
    assert_null(strstr(markdown, " <u>"));
    free(html);
    free(markdown);
    json_decref(object);
    cs_buffer_dispose(&results);
    costeer_eval_report_free(report);
}

static bool refuse(const char *bytes, size_t n_bytes, void *user)
{
    (void)bytes;
    (void)n_bytes;
    return --*(int *)user > 0;
}

static void test_report__a_writer_that_says_no_is_not_asked_again(void **state)
{
    (void)state;
    costeer_eval_report *report = small_report();
    json_decref(computed(report, NULL, 0));
    for (int format = COSTEER_EVAL_REPORT_HTML; format <= COSTEER_EVAL_REPORT_JSON; format++) {
        int left = 3;
        assert_int_equal(costeer_eval_report_write(report, (costeer_eval_report_format)format, refuse, &left, NULL),
                         COSTEER_EABORTED);
        assert_int_equal(left, 0);
    }
    costeer_eval_report_free(report);
}

/* ---- pictures ---------------------------------------------------------------------------------------------------- */

static void test_scale__holds_its_values_between_readable_ticks(void **state)
{
    (void)state;
    static const double ranges[][2] = {{0, 1},
                                       {0.21, 0.23},
                                       {0.3, 0.31},
                                       {-3, 5},
                                       {5, 5},
                                       {0, 0},
                                       {1, 20000},
                                       {0.01, 0.5},
                                       {1e-9, 2e-9},
                                       {1e7, 9e12},
                                       {-0.4, -0.1},
                                       {3.5, 95},
                                       {6.423736771429132, 6.423736771429135}};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        cs_scale scale;
        cs_scale_init(&scale, ranges[i][0], ranges[i][1], 100.0, 400.0, 5, true);
        assert_in_range(scale.n_ticks, 2, 14);
        assert_true(scale.low <= ranges[i][0] && ranges[i][1] <= scale.high);
        for (int k = 0; k < scale.n_ticks; k++) {
            const double x = cs_scale_at(&scale, scale.ticks[k]);
            assert_true(x >= 99.99 && x <= 400.01);
            assert_true(k == 0 || x - cs_scale_at(&scale, scale.ticks[k - 1]) > 20.0);
        }
    }
}

static void test_scale__by_roots_gives_room_to_small_strengths(void **state)
{
    (void)state;
    static const double highs[] = {6.01, 7.0, 9.99, 10.0, 19.03, 21.0, 100.0, 99999.0};
    for (size_t i = 0; i < sizeof highs / sizeof highs[0]; i++) {
        cs_scale scale;
        cs_scale_init_root(&scale, highs[i], 100.0, 400.0);
        assert_in_range(scale.n_ticks, 3, 14);
        assert_true(highs[i] <= scale.high && scale.high <= 2.0 * highs[i]);
        assert_true(fabs(cs_scale_at(&scale, 0.0) - 100.0) < 1e-9);
        assert_true(fabs(cs_scale_at(&scale, scale.high / 4.0) - 250.0) < 1e-9);
        assert_true(fabs(scale.ticks[scale.n_ticks - 1] - scale.high) < 1e-9);
        for (int k = 1; k < scale.n_ticks; k++) {
            assert_true(cs_scale_at(&scale, scale.ticks[k]) - cs_scale_at(&scale, scale.ticks[k - 1]) > 20.0);
        }
    }
}

static void test_spread__keeps_order_and_distance_and_stays_within(void **state)
{
    (void)state;
    const double wanted[] = {50, 10, 12, 11, 98, 99, 50};
    double placed[7];
    cs_spread(wanted, 7, 10.0, 0.0, 100.0, placed);
    for (int i = 0; i < 7; i++) {
        assert_true(placed[i] >= 0.0 && placed[i] <= 100.0);
        for (int k = 0; k < 7; k++) {
            assert_true(i == k || fabs(placed[i] - placed[k]) > 9.999);
            assert_true(!(wanted[i] < wanted[k]) || placed[i] < placed[k]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_report__means_and_intervals_are_those_of_the_statistics),
        cmocka_unit_test(test_report__perplexity_is_over_all_tokens_of_a_label),
        cmocka_unit_test(test_report__broken_words_are_those_that_no_model_wrote_by_itself),
        cmocka_unit_test(test_report__only_rows_that_both_labels_have_are_compared),
        cmocka_unit_test(test_report__parameters_are_checked),
        cmocka_unit_test(test_report__damaged_lines_are_named),
        cmocka_unit_test(test_report__what_a_killed_run_left_of_a_line_is_left_out),
        cmocka_unit_test(test_report__labels_without_rows_are_shown_as_such),
        cmocka_unit_test(test_report__answers_names_and_reasons_stay_text),
        cmocka_unit_test(test_report__a_writer_that_says_no_is_not_asked_again),
        cmocka_unit_test(test_scale__holds_its_values_between_readable_ticks),
        cmocka_unit_test(test_scale__by_roots_gives_room_to_small_strengths),
        cmocka_unit_test(test_spread__keeps_order_and_distance_and_stays_within),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
