/* Rows of every task become exactly the documented prompts; whatever is not such a row is told, and never quoted. */
#include <costeer/eval.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* needs the ones above before it */

static costeer_eval_form form_of(const char *task)
{
    return (costeer_eval_form){.task = costeer_eval_task_find(task)};
}

static costeer_eval_row parse_form(const costeer_eval_form *form, const char *text)
{
    costeer_eval_row row;
    costeer_error err = {.code = COSTEER_OK};
    if (costeer_eval_row_parse(form, text, strlen(text), 7, &row, &err) != COSTEER_OK) {
        fail_msg("%s", err.message);
    }
    return row;
}

static costeer_eval_row parse(const char *task, const char *text)
{
    const costeer_eval_form form = form_of(task);
    return parse_form(&form, text);
}

static void expect_message(const costeer_eval_row *row, const char *wanted)
{
    char *message = costeer_eval_row_message(row);
    assert_string_equal(message, wanted);
    free(message);
}

static void expect_refused(const costeer_eval_form *form, const char *text, size_t n_bytes, costeer_err code, const char *part)
{
    costeer_eval_row row;
    costeer_error err = {.code = COSTEER_OK};
    assert_int_equal(costeer_eval_row_parse(form, text, n_bytes, 7, &row, &err), code);
    if (strstr(err.message, part) == NULL) {
        fail_msg("\"%s\" does not tell \"%s\"", err.message, part);
    }
    assert_null(strstr(err.message, "sesame"));
    costeer_eval_row_dispose(&row);
}

static void refuse(const char *task, const char *text, costeer_err code, const char *part)
{
    const costeer_eval_form form = form_of(task);
    expect_refused(&form, text, strlen(text), code, part);
}

/* ---- prompts ----------------------------------------------------------------------------------------------------- */

static void test_cogenesis__the_paired_prompt_takes_the_place_of_the_query(void **state)
{
    (void)state;
    costeer_eval_row row = parse("cogenesis", "{\"id\": \"3_7\", \"input\": \"Write a note.\", \"output\": \"A note.\", "
                                              "\"personalized_input\": \"Profile: Ann.\\nWrite a note. Or so.\\n\\n## Task\\n"
                                              "Write a note.\\n\", \"output_without_context\": \"x\"}");
    assert_string_equal(row.id, "3_7");
    assert_string_equal(row.query, "Write a note.");
    expect_message(&row, "Profile: Ann.\nWrite a note. Or so.\n\n## Task\nWrite a note.\n");
    assert_string_equal(row.material, "Profile: Ann.\nWrite a note. Or so.\n\n## Task\n");
    assert_string_equal(row.tail, "Write a note.\n");
    assert_string_equal(row.context, "Profile: Ann.\nWrite a note. Or so.\n\n## Task\n\n");
    assert_string_equal(row.reference, "A note.");
    assert_int_equal(row.line, 7);
    costeer_eval_row_dispose(&row);
}

static void test_cogenesis__a_paired_prompt_without_the_query_is_all_context(void **state)
{
    (void)state;
    costeer_eval_row row = parse("cogenesis", "{\"input\": \"Write a note.\", \"personalized_input\": \"Ann says hello.\"}");
    expect_message(&row, "Ann says hello.");
    assert_string_equal(row.context, "Ann says hello.");
    assert_string_equal(row.tail, "");
    assert_null(row.reference);
    costeer_eval_row_dispose(&row);
}

/* A row with `n` records of two fields, and what must come of it. */
static void check_records(const char *task, const char *key, const char *text, const char *heading, const char *key_as,
                          const char *text_as, int n)
{
    char json[2048];
    char wanted[2048];
    char context[512] = "";
    size_t used = (size_t)snprintf(json, sizeof json, "{\"input\": \"Write.\", \"top_5\": [");
    size_t made = (size_t)snprintf(wanted, sizeof wanted, "%s\n", heading);
    size_t said = 0;
    for (int i = 1; i <= n; i++) {
        used += (size_t)snprintf(json + used, sizeof json - used, "%s{\"%s\": \"k%d\", \"%s\": \"t%d\", \"more\": 1}",
                                 i > 1 ? ", " : "", key, i, text, i);
        if (i <= 5) {
            made += (size_t)snprintf(wanted + made, sizeof wanted - made, "%s[%d]: k%d\n%s[%d]: t%d\n\n", key_as, i, i, text_as,
                                     i, i);
            said += (size_t)snprintf(context + said, sizeof context - said, "k%d\nt%d\n", i, i);
        }
    }
    snprintf(json + used, sizeof json - used, "], \"output\": \"Out.\"}");
    snprintf(wanted + made, sizeof wanted - made, "Now it's your turn.\n\nWrite.");
    costeer_eval_row row = parse(task, json);
    expect_message(&row, wanted);
    assert_string_equal(row.context, context);
    assert_string_equal(row.query, "Write.");
    assert_string_equal(row.reference, "Out.");
    assert_string_equal(row.id, "7");
    costeer_eval_row_dispose(&row);
}

static void test_longlamp__five_records_stand_before_the_query(void **state)
{
    (void)state;
    check_records("longlamp_abstract", "title", "abstract",
                  "The following are titles of an author's papers with their abstracts.", "Title", "Abstract", 6);
    check_records("longlamp_review", "description", "reviewText",
                  "The following are descriptions of products with a user's reviews of them.", "Product", "Review", 5);
    check_records("longlamp_writing", "summary", "content",
                  "The following are summaries of an author's reddit posts with their content.", "Summary", "Content", 2);
}

static void test_preferences__one_sentence_follows_the_query(void **state)
{
    (void)state;
    static const char *const tasks[] = {"helpsteer", "personal_preference_eval", "truthfulqa", "ultrachat"};
    for (size_t i = 0; i < sizeof tasks / sizeof tasks[0]; i++) {
        costeer_eval_form form = form_of(tasks[i]);
        form.preference = "uplifting";
        costeer_eval_row row = parse_form(&form, "{\"id\": 12, \"input\": \"What is tea?\"}");
        assert_string_equal(row.query, "What is tea?");
        expect_message(&row, "What is tea?\n\nYour answer should be as uplifting as possible.");
        assert_null(row.context);
        assert_string_equal(row.id, "12");
        costeer_eval_row_dispose(&row);
        row = parse_form(&form, "{\"question\": \"What is tea?\", \"output\": 5}");
        expect_message(&row, "What is tea?\n\nYour answer should be as uplifting as possible.");
        costeer_eval_row_dispose(&row);
    }
}

static void test_generic__fields_and_template_are_the_callers(void **state)
{
    (void)state;
    costeer_eval_form form = form_of("generic");
    costeer_eval_row row = parse_form(&form, "{\"query\": \"Bio?\", \"context\": \"Name: Ann\", \"facts\": [\"Ann\"], "
                                             "\"output\": \"Ann.\"}");
    expect_message(&row, "Name: Ann\n\nBio?");
    assert_int_equal(row.n_facts, 1);
    assert_string_equal(row.facts[0], "Ann");
    assert_string_equal(row.reference, "Ann.");
    costeer_eval_row_dispose(&row);
    form = (costeer_eval_form){.task = form.task,
                               .query_field = "q",
                               .context_field = "c",
                               .reference_field = "r",
                               .facts_field = "f",
                               .id_field = "name",
                               .context_template = "{query} {x} [{context}] {query}{context}{"};
    row = parse_form(&form, "{\"q\": \"{context}?\", \"c\": \"{query}!\", \"r\": null, \"name\": -4, \"id\": 9}");
    expect_message(&row, "{context}? {x} [{query}!] {context}?{query}!{");
    assert_string_equal(row.head, "{context}? {x} [");
    assert_string_equal(row.material, "{query}!");
    assert_string_equal(row.id, "-4");
    assert_null(row.reference);
    assert_int_equal(row.n_facts, 0);
    costeer_eval_row_dispose(&row);
}

static void test_generic__an_empty_context_leaves_the_query_alone(void **state)
{
    (void)state;
    static const char *const lines[] = {"{\"query\": \"Bio?\", \"context\": \"\"}",
                                        "{\"query\": \"Bio?\", \"context\": \" \\n\\t\"}"};
    for (size_t i = 0; i < 2; i++) {
        costeer_eval_row row = parse("generic", lines[i]);
        expect_message(&row, "Bio?");
        assert_null(row.context);
        costeer_eval_row_dispose(&row);
    }
}

/* ---- labelled notes ---------------------------------------------------------------------------------------------- */

#define NOTES "\"query\": \"Bio?\", \"context\": \"I am Ann. I am ill.\""

static void test_requests__parts_and_names_are_read(void **state)
{
    (void)state;
    costeer_eval_row row = parse("requests", "{" NOTES ", \"writer\": [\"Ann\", \"Ann Lee\"], \"addressee\": [], \"parts\": ["
                                             "{\"note\": \"I am Ann.\", \"label\": \"needed\", \"any\": [\"Ann\", \"Anna\"]}, "
                                             "{\"note\": \"I am ill.\", \"label\": \"inappropriate\", \"any\": []}]}");
    expect_message(&row, "I am Ann. I am ill.\n\nBio?");
    assert_int_equal(row.n_parts, 2);
    assert_int_equal(row.parts[0].at, 0);
    assert_int_equal(row.parts[0].n_bytes, strlen("I am Ann."));
    assert_int_equal(row.parts[0].label, COSTEER_FACT_NEEDED);
    assert_int_equal(row.parts[0].n_strings, 2);
    assert_string_equal(row.parts[0].strings[1], "Anna");
    assert_int_equal(row.parts[1].label, COSTEER_FACT_INAPPROPRIATE);
    assert_int_equal(row.parts[1].n_strings, 0);
    assert_int_equal(row.n_writer, 2);
    assert_string_equal(row.writer[1], "Ann Lee");
    assert_int_equal(row.n_addressee, 0);
    costeer_eval_row_dispose(&row);
}

static void test_cimemories__parts_have_their_own_fields(void **state)
{
    (void)state;
    costeer_eval_row row = parse("cimemories", "{" NOTES ", \"recipient\": \"x\", \"parts\": [{\"name\": \"n\", \"statement\": "
                                               "\"I am ill.\", \"label\": \"fine\", \"strings\": [\"ill\"]}]}");
    assert_int_equal(row.n_parts, 1);
    assert_int_equal(row.parts[0].at, strlen("I am Ann. "));
    assert_int_equal(row.parts[0].n_bytes, strlen("I am ill."));
    assert_int_equal(row.parts[0].label, COSTEER_FACT_FINE);
    assert_string_equal(row.parts[0].strings[0], "ill");
    costeer_eval_row_dispose(&row);
}

static void test_requests__rows_of_another_split_are_skipped(void **state)
{
    (void)state;
    costeer_eval_form form = form_of("requests");
    form.split = "dev";
    costeer_eval_row row = parse_form(&form, "{\"id\": \"a\", \"split\": \"test\"}");
    assert_true(row.is_skipped);
    assert_string_equal(row.id, "a");
    costeer_eval_row_dispose(&row);
    row = parse_form(&form, "{\"split\": \"dev\", " NOTES ", \"parts\": [{\"note\": \"I\", \"label\": \"fine\"}]}");
    assert_false(row.is_skipped);
    assert_int_equal(row.n_parts, 1);
    costeer_eval_row_dispose(&row);
    static const char without[] = "{" NOTES ", \"parts\": [{\"note\": \"I\", \"label\": \"fine\"}]}";
    expect_refused(&form, without, strlen(without), COSTEER_EINVAL, "field \"split\" is missing");
    form.split = NULL;
    row = parse_form(&form, without);
    assert_false(row.is_skipped);
    costeer_eval_row_dispose(&row);
}

static void test_requests__a_part_that_is_none_is_refused(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"1", "\"parts\" is not a list"},
        {"null", "\"parts\" is missing"},
        {"[]", "\"parts\" has not 1 to 1024 parts"},
        {"[7]", "part 1 of \"parts\": field \"note\" is not a text"},
        {"[{\"note\": \" \"}]", "part 1 of \"parts\": field \"note\" is not a text"},
        {"[{\"note\": \"sesame\"}]", "part 1 of \"parts\": field \"note\" is not in the context"},
        {"[{\"note\": \"I\", \"label\": \"fine\"}, {\"note\": \"I\"}]", "part 2 of \"parts\": field \"label\" is none of"},
        {"[{\"note\": \"I\", \"label\": \"sesame\"}]", "is none of needed, fine and inappropriate"},
        {"[{\"note\": \"I\", \"label\": \"fine\", \"any\": \"sesame\"}]", "part 1 of \"parts\": field \"any\" is not a list"},
        {"[{\"note\": \"I\", \"label\": \"fine\", \"any\": [\"sesame\", \"\"]}]", "field \"any\": its item 2 is not a text"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[256];
        snprintf(text, sizeof text, "{" NOTES ", \"parts\": %s}", bad[i][0]);
        refuse("requests", text, COSTEER_EINVAL, bad[i][1]);
    }
    refuse("requests", "{" NOTES ", \"parts\": [{\"note\": \"I\", \"label\": \"fine\"}], \"writer\": [1]}", COSTEER_EINVAL,
           "field \"writer\": its item 1 is not a text");
    refuse("requests", "{\"query\": \"Bio?\", \"parts\": [{\"note\": \"I\"}]}", COSTEER_EINVAL, "is not in the context");
}

static void expect_form(const costeer_eval_form *form, costeer_err code)
{
    costeer_error err;
    assert_int_equal(costeer_eval_form_check(form, &err), code);
}

static void test_form__splits_and_templates_are_for_tasks_that_have_them(void **state)
{
    (void)state;
    costeer_eval_form form = form_of("requests");
    form.split = "dev";
    form.context_template = "{context}{query}";
    expect_form(&form, COSTEER_OK);
    form.split = "train";
    expect_form(&form, COSTEER_EINVAL);
    form.split = NULL;
    form.query_field = "q";
    expect_form(&form, COSTEER_EINVAL);
    form = form_of("generic");
    form.split = "test";
    expect_form(&form, COSTEER_EINVAL);
    form = form_of("ultrachat");
    form.preference = "concise";
    form.context_template = "{context}{query}";
    expect_form(&form, COSTEER_EINVAL);
}

static void test_id__is_id_then_tid_then_index_then_the_line(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"\"id\": \"a\", \"tid\": \"b\", \"index\": 3", "a"},
        {"\"id\": null, \"tid\": \"b\", \"index\": 3", "b"},
        {"\"index\": 3", "3"},
        {"\"index\": 3.5", "3.5"},
        {"\"other\": 3", "7"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[128];
        snprintf(text, sizeof text, "{%s, \"query\": \"q\", \"context\": \"c\"}", rows[i][0]);
        costeer_eval_row row = parse("generic", text);
        assert_string_equal(row.id, rows[i][1]);
        costeer_eval_row_dispose(&row);
    }
}

static void test_message__leaves_out_what_was_cut(void **state)
{
    (void)state;
    costeer_eval_row row = parse("generic", "{\"query\": \"Bio?\", \"context\": \"Name: Ann\"}");
    row.n_cut = 6;
    expect_message(&row, "Ann\n\nBio?");
    costeer_eval_row_dispose(&row);
}

/* ---- bad rows ---------------------------------------------------------------------------------------------------- */

static void test_bad_rows__are_told_by_field_and_never_quoted(void **state)
{
    (void)state;
    static const struct {
        const char *task;
        const char *text;
        costeer_err code;
        const char *part;
    } rows[] = {
        {"generic", "", COSTEER_EINVAL, "not JSON"},
        {"generic", "sesame", COSTEER_EINVAL, "not JSON at byte"},
        {"generic", "{\"query\": \"sesame\"", COSTEER_EINVAL, "not JSON"},
        {"generic", "[\"sesame\"]", COSTEER_EINVAL, "no object"},
        {"generic", "\"sesame\"", COSTEER_EINVAL, "not JSON"},
        {"generic", "{\"query\": \"sesame\"}", COSTEER_EINVAL, "\"context\" is missing"},
        {"generic", "{\"context\": \"sesame\"}", COSTEER_EINVAL, "\"query\" is missing"},
        {"generic", "{\"query\": [\"sesame\"], \"context\": \"c\"}", COSTEER_EINVAL, "\"query\" is not a text"},
        {"generic", "{\"query\": \" \\n\", \"context\": \"c\"}", COSTEER_EINVAL, "\"query\" is empty"},
        {"generic", "{\"query\": \"q\", \"context\": \"c\", \"output\": 3}", COSTEER_EINVAL, "\"output\" is not a text"},
        {"generic", "{\"query\": \"q\", \"context\": \"c\", \"facts\": \"sesame\"}", COSTEER_EINVAL, "\"facts\" is not a list"},
        {"generic", "{\"query\": \"q\", \"context\": \"c\", \"facts\": [\"a\", 3]}", COSTEER_EINVAL, "item 2 is not a text"},
        {"generic", "{\"query\": \"q\", \"query\": \"sesame\", \"context\": \"c\"}", COSTEER_EINVAL, "twice"},
        {"generic", "{\"query\": \"sesame\\u0000\", \"context\": \"c\"}", COSTEER_EINVAL, "NUL"},
        {"generic", "{\"query\": \"sesame\xff\", \"context\": \"c\"}", COSTEER_EUTF8, "not UTF-8"},
        {"generic", "{\"id\": [3], \"query\": \"q\", \"context\": \"c\"}", COSTEER_EINVAL, "neither a text nor a number"},
        {"generic", "{\"id\": \"\", \"query\": \"q\", \"context\": \"c\"}", COSTEER_EINVAL, "has 0 bytes"},
        {"cogenesis", "{\"input\": \"sesame\"}", COSTEER_EINVAL, "\"personalized_input\" is missing"},
        {"cogenesis", "{\"personalized_input\": \"sesame\"}", COSTEER_EINVAL, "\"input\" is missing"},
        {"longlamp_review", "{\"input\": \"q\"}", COSTEER_EINVAL, "\"top_5\" is missing"},
        {"longlamp_review", "{\"input\": \"q\", \"top_5\": \"sesame\"}", COSTEER_EINVAL, "not a list of records"},
        {"longlamp_review", "{\"input\": \"q\", \"top_5\": []}", COSTEER_EINVAL, "is empty"},
        {"longlamp_review", "{\"input\": \"q\", \"top_5\": [\"sesame\"]}", COSTEER_EINVAL, "record 1 of \"top_5\""},
        {"longlamp_review", "{\"input\": \"q\", \"top_5\": [{\"description\": \"sesame\"}]}", COSTEER_EINVAL,
         "record 1 of \"top_5\": field \"reviewText\" is missing"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        refuse(rows[i].task, rows[i].text, rows[i].code, rows[i].part);
    }
}

static void test_bad_rows__too_deep_and_too_long_are_refused(void **state)
{
    (void)state;
    const size_t n = COSTEER_EVAL_LINE_MAX + 1;
    char *text = malloc(n);
    assert_non_null(text);
    memset(text, '[', n);
    const costeer_eval_form form = form_of("generic");
    expect_refused(&form, text, n, COSTEER_ETOOLONG, "16 MiB");
    expect_refused(&form, text, 1 << 20, COSTEER_EINVAL, "not JSON");
    free(text);
}

static void test_bad_rows__a_long_id_is_refused(void **state)
{
    (void)state;
    char text[512];
    snprintf(text, sizeof text, "{\"id\": \"%0*d\", \"query\": \"q\", \"context\": \"c\"}", COSTEER_EVAL_ID_MAX + 1, 1);
    refuse("generic", text, COSTEER_EINVAL, "has 257 bytes");
}

/* ---- forms ------------------------------------------------------------------------------------------------------- */

static void check_form(const costeer_eval_form *form, const char *part)
{
    costeer_error err = {.code = COSTEER_OK};
    const costeer_err code = costeer_eval_form_check(form, &err);
    assert_int_equal(code, part == NULL ? COSTEER_OK : COSTEER_EINVAL);
    if (part != NULL && strstr(err.message, part) == NULL) {
        fail_msg("\"%s\" does not tell \"%s\"", err.message, part);
    }
}

static void test_form__takes_a_preference_and_fields_only_where_they_belong(void **state)
{
    (void)state;
    costeer_eval_form form = form_of("helpsteer");
    check_form(&form, "needs a preference");
    form.preference = "loud";
    check_form(&form, "\"loud\" is not a preference");
    form.preference = "verbose";
    check_form(&form, NULL);
    form.query_field = "q";
    check_form(&form, "own fields");
    form = form_of("cogenesis");
    check_form(&form, NULL);
    form.preference = "concise";
    check_form(&form, "takes no preference");
    form = form_of("generic");
    form.context_template = "{context}";
    check_form(&form, "needs {context} and {query}");
    form.context_template = "{context}{query}";
    check_form(&form, NULL);
    form.id_field = "";
    check_form(&form, "empty");
}

static void test_tasks__published_ones_have_the_published_defaults(void **state)
{
    (void)state;
    size_t n;
    const costeer_eval_task *tasks = costeer_eval_task_list(&n);
    assert_int_equal(n, 11);
    for (size_t i = 0; i < n; i++) {
        assert_ptr_equal(costeer_eval_task_find(tasks[i].name), &tasks[i]);
        const bool is_ours = tasks[i].shape == COSTEER_EVAL_FIELDS || tasks[i].shape == COSTEER_EVAL_LABELLED;
        assert_int_equal(tasks[i].max_tokens, is_ours ? (strcmp(tasks[i].name, "cimemories") == 0 ? 512 : 256) : 1024);
        assert_int_equal(tasks[i].system == NULL, is_ours);
        assert_string_equal(tasks[i].system != NULL ? tasks[i].system : "", is_ours ? "" : "You are a helpful assistant.");
    }
    assert_null(costeer_eval_task_find("longlamp"));
}

static void test_hash__is_sha256(void **state)
{
    (void)state;
    char hex[65];
    assert_true(costeer_eval_hash("abc", 3, hex));
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cogenesis__the_paired_prompt_takes_the_place_of_the_query),
        cmocka_unit_test(test_cogenesis__a_paired_prompt_without_the_query_is_all_context),
        cmocka_unit_test(test_longlamp__five_records_stand_before_the_query),
        cmocka_unit_test(test_preferences__one_sentence_follows_the_query),
        cmocka_unit_test(test_generic__fields_and_template_are_the_callers),
        cmocka_unit_test(test_generic__an_empty_context_leaves_the_query_alone),
        cmocka_unit_test(test_requests__parts_and_names_are_read),
        cmocka_unit_test(test_cimemories__parts_have_their_own_fields),
        cmocka_unit_test(test_requests__rows_of_another_split_are_skipped),
        cmocka_unit_test(test_requests__a_part_that_is_none_is_refused),
        cmocka_unit_test(test_form__splits_and_templates_are_for_tasks_that_have_them),
        cmocka_unit_test(test_id__is_id_then_tid_then_index_then_the_line),
        cmocka_unit_test(test_message__leaves_out_what_was_cut),
        cmocka_unit_test(test_bad_rows__are_told_by_field_and_never_quoted),
        cmocka_unit_test(test_bad_rows__too_deep_and_too_long_are_refused),
        cmocka_unit_test(test_bad_rows__a_long_id_is_refused),
        cmocka_unit_test(test_form__takes_a_preference_and_fields_only_where_they_belong),
        cmocka_unit_test(test_tasks__published_ones_have_the_published_defaults),
        cmocka_unit_test(test_hash__is_sha256),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
