/*
 * What engines answer, read: the recorded answers and streams of each (engine/recorded), and variations of them. All tell of the
 * same three positions, "H", "ere" and " is", with the built-in LLM's values.
 */
#include "cloud/api_dialect.h"
#include "cloud/api_sse.h"
#include "support/models.h"
#include "util/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FILE_MAX   ((size_t)1 << 20)
#define EVENTS_MAX 8

/* What is known of a position, and what the engine went on with. */
typedef struct expected {
    int32_t ids[5];
    float values[5];
} expected;

static const expected positions[] = {
    {{300, 304, 293, 593, 308},
     {-1.1988017559051514F, -1.3712623119354248F, -1.5778186321258545F, -2.4243953227996826F, -2.5797488689422607F}},
    {{625, 1002, 333, 533, 325},
     {-0.266821026802063F, -1.5940190553665161F, -6.221109390258789F, -6.630270957946777F, -7.421143531799316F}},
    {{494, 882, 491, 816, 998},
     {-0.010064255446195602F, -8.068805694580078F, -8.778780937194824F, -8.892655372619629F, -9.306833267211914F}},
};

static costeer_model *model;
static cs_api_spelling *spelling;

/* One request and what its answer has left. */
static struct {
    const cs_api_dialect *dialect;
    cs_api_setting setting;
    cs_api_ask ask;
    cs_api_positions queue;
    cs_api_reading reading;
    costeer_error err;
} at;

static int set_up_model(void **state)
{
    (void)state;
    const costeer_model_params params = {.vocab_only = true};
    assert_ok(costeer_model_load(SLM_PATH, &params, &model, &at.err), &at.err);
    assert_ok(cs_api_spelling_create(model, &spelling, &at.err), &at.err);
    return 0;
}

static int tear_down_model(void **state)
{
    (void)state;
    cs_api_positions_dispose(&at.queue);
    cs_api_spelling_free(spelling);
    costeer_model_free(model);
    return 0;
}

/* ---- asking and reading ------------------------------------------------------------------------------------------ */

/* Ask for n positions of K entries, as a stream or at once. */
static void ask(const cs_api_dialect *dialect, bool is_stream, int32_t n, int32_t top_k)
{
    cs_api_positions_dispose(&at.queue);
    at.dialect = dialect;
    at.setting = (cs_api_setting){.model = "m", .ascii_token = -1, .spelling = spelling};
    at.ask = (cs_api_ask){.n_predict = n, .top_k = top_k, .is_stream = is_stream, .slot = -1};
    at.err = (costeer_error){.code = COSTEER_OK};
    assert_ok(cs_api_positions_init(&at.queue, costeer_model_get_info(model)->n_vocab, &at.err), &at.err);
    cs_api_reading_begin(&at.reading, &at.queue);
}

static void ask_drafts(const cs_api_dialect *dialect, int32_t n_drafts, int32_t top_k)
{
    ask(dialect, false, 1, top_k);
    at.ask.n_drafts = n_drafts;
}

static costeer_err read_bytes(const char *bytes, size_t n)
{
    json_t *answer = NULL;
    costeer_err code = cs_api_json_parse(bytes, n, &answer, &at.err);
    code = code == COSTEER_OK ? at.dialect->read(&at.setting, &at.ask, answer, &at.reading, &at.err) : code;
    json_decref(answer);
    return code;
}

/* NULL, an event that the recorded stream does not have, is no answer. */
static costeer_err read_text(const char *text)
{
    return read_bytes(text, text != NULL ? strlen(text) : 0);
}

static char *load(const char *name, size_t *n)
{
    char path[1024];
    char *text = NULL;
    (void)snprintf(path, sizeof path, "%s/%s", COSTEER_TEST_RECORDED_DIR, name);
    if (cs_file_read(path, FILE_MAX, NULL, &text, n) != 0) {
        fail_msg("%s cannot be read", path);
    }
    return text;
}

/* A recorded stream's events, by number: [DONE] is none. Free them. */
static size_t load_events(const char *name, char *events[EVENTS_MAX])
{
    size_t n;
    char *text = load(name, &n);
    size_t n_events = 0;
    memset(events, 0, EVENTS_MAX * sizeof *events);
    cs_sse sse = {.skips_lf = false};
    cs_sse_reset(&sse, FILE_MAX);
    for (size_t i = 0, n_taken = n; i < n && n_events < EVENTS_MAX; i += n_taken) {
        if (cs_sse_feed(&sse, text + i, n - i, &n_taken) == CS_SSE_EVENT && strcmp(sse.data.bytes, "[DONE]") != 0) {
            events[n_events] = strdup(sse.data.bytes);
            assert_non_null(events[n_events++]);
        }
    }
    cs_sse_dispose(&sse);
    free(text);
    return n_events;
}

static void free_events(char *events[EVENTS_MAX], size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(events[i]);
    }
}

static costeer_err read_recorded(const char *name)
{
    costeer_err code = COSTEER_OK;
    if (strstr(name, ".sse") != NULL) {
        char *events[EVENTS_MAX];
        const size_t n_events = load_events(name, events);
        for (size_t i = 0; code == COSTEER_OK && i < n_events; i++) {
            code = read_text(events[i]);
        }
        free_events(events, n_events);
        return code;
    }
    size_t n;
    char *text = load(name, &n);
    code = read_bytes(text, n);
    free(text);
    return code;
}

/* ---- what was read ----------------------------------------------------------------------------------------------- */

/* Position i of the answer has the k best of what is expected of position `of`. */
static void assert_position(int32_t i, size_t of, int32_t k)
{
    const cs_api_position *p = cs_api_positions_find(&at.queue, i);
    assert_non_null(p);
    assert_true(p->is_known);
    assert_false(p->is_all);
    assert_int_equal(p->own_token, positions[of].ids[0]);
    assert_int_equal(p->n, k);
    assert_memory_equal(p->ids, positions[of].ids, (size_t)k * sizeof *p->ids);
    assert_memory_equal(p->values, positions[of].values, (size_t)k * sizeof *p->values);
}

static void assert_unknown(int32_t i)
{
    const cs_api_position *p = cs_api_positions_find(&at.queue, i);
    assert_non_null(p);
    assert_false(p->is_known);
    assert_int_equal(p->own_token, -1);
}

/* All of the first n positions, and no more, with k entries each. */
static void assert_all_read(int32_t n, int32_t k)
{
    assert_int_equal(at.reading.n_read, n);
    assert_int_equal(at.queue.n, n);
    for (int32_t i = 0; i < n; i++) {
        assert_position(i, (size_t)i, k);
    }
}

static void assert_says(costeer_err code, const char *why)
{
    assert_int_equal(code, COSTEER_ECLOUD);
    if (strstr(at.err.message, why) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", at.err.message, why);
    }
    for (size_t i = 0; i < ((size_t)at.queue.n_vocab + 63) / 64; i++) {
        assert_int_equal(at.queue.seen[i], 0);
    }
}

/* ---- vLLM -------------------------------------------------------------------------------------------------------- */

static void test_read__vllm_names_tokens_by_id(void **state)
{
    (void)state;
    ask(&cs_api_vllm, false, 3, 4);
    assert_ok(read_recorded("vllm_answer.json"), &at.err);
    assert_all_read(3, 4);
    assert_true(at.reading.has_ids && at.reading.has_ended);
    assert_int_equal(at.reading.n_prompt, 21);
    assert_int_equal(at.reading.n_cached, -1); /* null: not told */
    ask(&cs_api_vllm, true, 3, 2);             /* fewer are kept than came */
    assert_ok(read_recorded("vllm_stream.sse"), &at.err);
    assert_all_read(3, 2);
    assert_true(at.reading.has_ids && at.reading.has_ended);
    assert_int_equal(at.reading.n_prompt, 21); /* of the last event, which has no choice */
}

static void test_read__vllm_tells_of_a_stream_when_it_ends_and_what_was_cached(void **state)
{
    (void)state;
    char *events[EVENTS_MAX];
    ask(&cs_api_vllm, true, 3, 4);
    const size_t n = load_events("vllm_stream.sse", events);
    assert_int_equal(n, 4);
    for (int32_t i = 0; i < 3; i++) {
        assert_ok(read_text(events[i]), &at.err);
        assert_int_equal(at.reading.n_read, i + 1);
        assert_int_equal(at.reading.has_ended, i == 2);
    }
    free_events(events, n);
    assert_ok(
        read_text("{\"choices\": [], \"usage\": {\"prompt_tokens\": 21, \"prompt_tokens_details\": {\"cached_tokens\": 16}}}"),
        &at.err);
    assert_int_equal(at.reading.n_cached, 16);
}

static void test_read__vllm_by_text_is_refused_where_two_tokens_have_it(void **state)
{
    (void)state;
    ask(&cs_api_vllm, false, 3, 4);
    assert_says(read_recorded("vllm_answer_strings.json"), "both token 76 and token 300");
    assert_int_equal(at.queue.n, 0);
    assert_false(at.reading.has_ids);
}

/* The choices of the recorded batch, in an order. */
static costeer_err read_batch(const size_t order[3])
{
    size_t n;
    char *text = load("vllm_batch.json", &n);
    json_t *answer = json_loads(text, 0, NULL);
    json_t *choices = json_array();
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(json_array_append(choices, json_array_get(json_object_get(answer, "choices"), order[i])), 0);
    }
    assert_int_equal(json_object_set_new(answer, "choices", choices), 0);
    char *shuffled = json_dumps(answer, 0);
    const costeer_err code = read_text(shuffled);
    free(shuffled);
    json_decref(answer);
    free(text);
    return code;
}

static void test_read__vllm_drafts_are_a_batch_in_any_order(void **state)
{
    (void)state;
    ask_drafts(&cs_api_vllm, 2, 4);
    assert_ok(read_recorded("vllm_batch.json"), &at.err);
    assert_all_read(3, 4);
    assert_true(at.reading.has_ended);
    static const size_t orders[][3] = {{0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
        ask_drafts(&cs_api_vllm, 2, 3);
        assert_ok(read_batch(orders[i]), &at.err);
        assert_all_read(3, 3);
    }
    ask_drafts(&cs_api_vllm, 2, 4);
    assert_says(read_batch((const size_t[]){0, 1, 1}), "choices: index: one is missing");
    ask_drafts(&cs_api_vllm, 3, 4);
    assert_says(read_recorded("vllm_batch.json"), "choices: not as many as prompts");
    ask_drafts(&cs_api_vllm, 1, 4);
    assert_says(read_recorded("vllm_batch.json"), "choices: not as many as prompts");
    ask_drafts(&cs_api_vllm, 1, 4);
    assert_says(read_text("{\"choices\": [{\"index\": 0, \"text\": \"\"}, {\"index\": 1, \"text\": \"\"}]}"),
                "one does not have one position");
}

/* ---- other /v1/completions --------------------------------------------------------------------------------------- */

static void test_read__openai_by_text_is_refused_where_two_tokens_have_it(void **state)
{
    (void)state;
    static const char *const names[] = {"openai_answer.json", "openai_stream.sse", "openai_answer_content.json",
                                        "openai_answer_token_ids.json"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        ask(&cs_api_openai, strstr(names[i], ".sse") != NULL, 3, 5);
        assert_says(read_recorded(names[i]), "\"H\", and both token 76 and token 300");
        assert_int_equal(at.queue.n, 0);
    }
}

static void test_read__openai_by_text_where_each_token_has_its_own(void **state)
{
    (void)state;
    ask(&cs_api_openai, false, 2, 4);
    assert_ok(read_text("{\"choices\": [{\"text\": \" is\", \"logprobs\": {\"tokens\": [\" is\", \"bytes:\\\\xe2\"], "
                        "\"top_logprobs\": [{\" are\": -8.068805694580078, \" is\": -0.010064255446195602, "
                        "\"ob\": -8.778780937194824, \" even\": -8.892655372619629}, "
                        "{\"bytes:\\\\xe2\": -0.5, \"<|im_end|>\": -1.5, \"ere\": -9999.0}]}, \"finish_reason\": \"stop\"}]}"),
              &at.err);
    assert_position(0, 2, 4);
    const cs_api_position *p = cs_api_positions_find(&at.queue, 1);
    assert_int_equal(p->own_token, 230); /* the byte E2 */
    assert_int_equal(p->n, 2);
    assert_int_equal(p->ids[0], 230);
    assert_int_equal(p->ids[1], 3);
    assert_false(at.reading.has_ids);
    assert_true(at.reading.has_ended);
    assert_int_equal(at.reading.n_prompt, -1);
    ask(&cs_api_openai, false, 1, 4);
    assert_says(read_text("{\"choices\": [{\"text\": \"\", \"logprobs\": {\"tokens\": [\"\\ufffd\"], "
                          "\"top_logprobs\": [{\"\\ufffd\": -0.5}]}}]}"),
                "cut inside a character");
}

static void test_read__content_names_tokens_by_id_then_bytes_then_text(void **state)
{
    (void)state;
    ask(&cs_api_openai, false, 2, 3);
    assert_ok(read_recorded("openai_answer_content_ids.json"), &at.err);
    assert_all_read(2, 3);
    assert_true(at.reading.has_ids);
    static const char *const names[] = {"\"id\": 625, \"token\": \"H\"",
                                        "\"token_id\": 625, \"bytes\": [72]",
                                        "\"bytes\": [101, 114, 101], \"token\": \"H\"",
                                        "\"bytes\": null, \"token\": \"ere\"",
                                        "\"bytes\": [], \"token\": \"ere\"",
                                        "\"token\": \"token_id:625\""};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char text[1024];
        (void)snprintf(text, sizeof text,
                       "{\"choices\": [{\"logprobs\": {\"content\": [{%s, \"top_logprobs\": [{%s, \"logprob\": "
                       "-0.266821026802063}, {\"id\": 1002, \"logprob\": -1.5940190553665161}]}]}, \"finish_reason\": null}]}",
                       names[i], names[i]);
        ask(&cs_api_openai, true, 1, 2);
        assert_ok(read_text(text), &at.err);
        assert_position(0, 1, 2);
        assert_false(at.reading.has_ended);
    }
}

static void test_read__content_that_names_nothing_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *why;
    } cases[] = {{"\"x\": 1", "token: missing or no text"},      {"\"token\": 5", "token: missing or no text"},
                 {"\"id\": -1", "token_id: out of range"},       {"\"id\": 1.5", "token_id: no whole number"},
                 {"\"bytes\": [256]", "bytes: out of range"},    {"\"bytes\": [\"a\"]", "bytes: no whole number"},
                 {"\"bytes\": [101, 1]", "none of the vocabul"}, {"\"token\": \"token_id:x\"", "token_id: without a number"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[256];
        (void)snprintf(text, sizeof text, "{\"choices\": [{\"logprobs\": {\"content\": [{%s, \"top_logprobs\": []}]}}]}",
                       cases[i].name);
        ask(&cs_api_openai, false, 1, 2);
        assert_says(read_text(text), cases[i].why);
    }
}

static void test_read__ids_beside_the_texts_tell_the_engines_own_choice(void **state)
{
    (void)state;
    ask(&cs_api_openai, false, 1, 2);
    assert_ok(read_text("{\"choices\": [{\"logprobs\": {\"tokens\": [\"H\"], \"token_ids\": [625], "
                        "\"top_logprobs\": [{\"ere\": -0.5, \" is\": -1.5}]}}]}"),
              &at.err);
    assert_int_equal(cs_api_positions_find(&at.queue, 0)->own_token, 625);
    ask(&cs_api_openai, false, 1, 2); /* beside the choice's texts, as vLLM has them */
    assert_ok(read_text("{\"choices\": [{\"token_ids\": [625], \"logprobs\": {\"tokens\": [\"H\"], "
                        "\"top_logprobs\": [{\"ere\": -0.5, \" is\": -1.5}]}}]}"),
              &at.err);
    assert_int_equal(cs_api_positions_find(&at.queue, 0)->own_token, 625);
}

static void test_read__a_text_without_log_probabilities_cannot_be_steered(void **state)
{
    (void)state;
    ask(&cs_api_openai, false, 2, 3);
    assert_says(read_recorded("openai_answer_none.json"), "cannot be steered");
    ask(&cs_api_openai, true, 2, 3); /* an end says nothing, and needs none */
    assert_ok(read_text("{\"choices\": [{\"text\": \"\", \"logprobs\": null, \"finish_reason\": \"stop\"}]}"), &at.err);
    assert_int_equal(at.reading.n_read, 0);
    assert_true(at.reading.has_ended);
}

static void test_read__completions_of_other_shapes_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *why;
    } cases[] = {
        {"[]", "choices: not in an object"},
        {"{}", "choices: missing"},
        {"{\"choices\": {}}", "choices: no array"},
        {"{\"choices\": []}", "choices: empty"},
        {"{\"choices\": [7]}", "choices: no object in it"},
        {"{\"choices\": [{}]}", "neither text nor log-probabilities nor an end"},
        {"{\"choices\": [{\"text\": \"a\", \"logprobs\": {\"content\": []}}]}", "cannot be steered"},
        {"{\"choices\": [{\"text\": \"\", \"token_ids\": [5], \"logprobs\": null}]}", "cannot be steered"},
        {"{\"choices\": [{\"logprobs\": {}}]}", "tokens: missing"},
        {"{\"choices\": [{\"logprobs\": 7}]}", "tokens: not in an object"},
        {"{\"choices\": [{\"logprobs\": {\"tokens\": [\"ere\"], \"top_logprobs\": []}}]}", "not as many as tokens"},
        {"{\"choices\": [{\"logprobs\": {\"tokens\": [7], \"top_logprobs\": [{}]}}]}", "tokens: no text"},
        {"{\"choices\": [{\"logprobs\": {\"tokens\": [\"ere\"], \"top_logprobs\": [null]}}]}", "neither an object nor a list"},
        {"{\"choices\": [{\"logprobs\": {\"tokens\": [\"ere\"], \"top_logprobs\": [{}]}}]}", "without log-probabilities"},
        {"{\"choices\": [{\"logprobs\": {\"tokens\": [\"ere\"], \"top_logprobs\": [{\"ere\": null}]}}]}",
         "top_logprobs: no number"},
        {"{\"choices\": [{\"logprobs\": {\"tokens\": [\"ere\"], \"top_logprobs\": [{\"ere\": 5}]}}]}", "no log-probability"},
        {"{\"choices\": [{\"logprobs\": {\"tokens\": [\"token_id:9\"], \"top_logprobs\": [{\"token_id:9\": -1, "
         "\"token_id:09\": -2}]}}]}",
         "token 9 twice"},
        {"{\"choices\": [{\"logprobs\": {\"tokens\": [\"token_id:9999999\"], \"top_logprobs\": [{\"token_id:9999999\": -1}]}}]}",
         "sent token 9999999, which is not one of the vocabulary's 1024"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ask(&cs_api_openai, false, 1, 3);
        assert_says(read_text(cases[i].text), cases[i].why);
        assert_int_equal(at.queue.n, 0);
    }
}

/* ---- SGLang ------------------------------------------------------------------------------------------------------ */

static void test_read__sglang_answers_at_once(void **state)
{
    (void)state;
    ask(&cs_api_sglang, false, 3, 4);
    assert_ok(read_recorded("sglang_answer.json"), &at.err);
    assert_all_read(3, 4);
    assert_true(at.reading.has_ids && at.reading.has_ended);
    assert_false(at.reading.tells_once);
    assert_int_equal(at.reading.n_prompt, 21);
    assert_int_equal(at.reading.n_cached, 0);
}

static void test_read__sglang_drafts_are_positions_of_the_prompt(void **state)
{
    (void)state;
    ask_drafts(&cs_api_sglang, 2, 4);
    assert_ok(read_recorded("sglang_drafts.json"), &at.err);
    assert_all_read(3, 4);
    assert_int_equal(at.reading.n_prompt, 23);
    assert_int_equal(at.reading.n_cached, 20);
    assert_false(at.reading.tells_once);
    ask_drafts(&cs_api_sglang, 3, 4);
    assert_says(read_recorded("sglang_drafts.json"), "top_logprobs"); /* the first position of the prompt has none */
    ask_drafts(&cs_api_sglang, 4, 4);
    assert_says(read_recorded("sglang_drafts.json"), "input_top_logprobs: fewer positions than drafts");
}

static void test_read__sglang_streams_repeat_or_not(void **state)
{
    (void)state;
    ask(&cs_api_sglang, true, 3, 4);
    assert_ok(read_recorded("sglang_stream.sse"), &at.err);
    assert_all_read(3, 4);
    assert_true(at.reading.has_ended);
    assert_false(at.reading.tells_once);
    ask(&cs_api_sglang, true, 3, 4);
    assert_ok(read_recorded("sglang_stream_incremental.sse"), &at.err);
    assert_all_read(3, 4);
    assert_true(at.reading.has_ended);
    assert_true(at.reading.tells_once);
}

static void test_read__sglang_streams_are_read_by_what_each_event_says_is_new(void **state)
{
    (void)state;
    char *repeating[EVENTS_MAX];
    char *once[EVENTS_MAX];
    assert_int_equal(load_events("sglang_stream.sse", repeating), 3);
    assert_int_equal(load_events("sglang_stream_incremental.sse", once), 3);
    for (unsigned mix = 0; mix < 8; mix++) {
        ask(&cs_api_sglang, true, 3, 4);
        for (int32_t i = 0; i < 3; i++) {
            const char *event = mix >> i & 1U ? once[i] : repeating[i];
            assert_ok(read_text(event), &at.err);
            assert_int_equal(at.reading.n_read, i + 1);
            assert_ok(i < 2 ? read_text(repeating[i]) : COSTEER_OK, &at.err); /* nothing new in it */
        }
        assert_all_read(3, 4);
    }
    ask(&cs_api_sglang, true, 3, 4); /* two at once */
    assert_ok(read_text(repeating[0]), &at.err);
    assert_ok(read_text(repeating[2]), &at.err);
    assert_all_read(3, 4);
    ask(&cs_api_sglang, true, 3, 4); /* one was lost */
    assert_ok(read_text(once[0]), &at.err);
    assert_says(read_text(once[2]), "completion_tokens: does not go with output_top_logprobs");
    ask(&cs_api_sglang, true, 3, 4); /* backwards */
    assert_ok(read_text(repeating[1]), &at.err);
    assert_says(read_text(repeating[0]), "completion_tokens: does not go with output_top_logprobs");
    free_events(repeating, 3);
    free_events(once, 3);
}

static void test_read__sglang_of_other_shapes_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *why;
    } cases[] = {
        {"{\"text\": \"\"}", "meta_info: missing"},
        {"{\"meta_info\": []}", "meta_info: no object"},
        {"{\"meta_info\": {\"completion_tokens\": 1}}", "cannot be steered"},
        {"{\"meta_info\": {\"completion_tokens\": 1, \"output_top_logprobs\": []}}", "output_token_logprobs: missing"},
        {"{\"meta_info\": {\"completion_tokens\": 1, \"output_top_logprobs\": 1, \"output_token_logprobs\": []}}",
         "output_top_logprobs: no array"},
        {"{\"meta_info\": {\"completion_tokens\": 1, \"output_top_logprobs\": [[[-1, 5, null]]], \"output_token_logprobs\": []}}",
         "not as many as tokens"},
        {"{\"meta_info\": {\"output_top_logprobs\": [[[-1, 5, null]]], \"output_token_logprobs\": [[-1, 5, null]]}}",
         "completion_tokens: missing"},
        {"{\"meta_info\": {\"completion_tokens\": -9223372036854775808, \"output_top_logprobs\": [[[-1, 5, null]]], "
         "\"output_token_logprobs\": [[-1, 5, null]]}}",
         "completion_tokens: out of range"},
        {"{\"meta_info\": {\"completion_tokens\": 1, \"output_top_logprobs\": [[[-1]]], \"output_token_logprobs\": [[-1, 5]]}}",
         "no [logprob, id]"},
        {"{\"meta_info\": {\"completion_tokens\": 1, \"output_top_logprobs\": [null], \"output_token_logprobs\": [[-1, 5]]}}",
         "a position has no list"},
        {"{\"meta_info\": {\"completion_tokens\": 1, \"output_top_logprobs\": [[[null, 5]]], \"output_token_logprobs\": [[-1, "
         "5]]}}",
         "no number"},
        {"{\"meta_info\": {\"finish_reason\": {\"type\": \"abort\", \"message\": \"out of\\nmemory\"}}}",
         "SGLang gave the answer up: out of memory"},
        {"{\"meta_info\": {\"finish_reason\": {\"type\": \"abort\"}}}", "it does not say why"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ask(&cs_api_sglang, true, 1, 3);
        assert_says(read_text(cases[i].text), cases[i].why);
        assert_int_equal(at.queue.n, 0);
    }
    ask(&cs_api_sglang, false, 1, 3);
    assert_says(read_recorded("sglang_batch.json"), "meta_info: not in an object"); /* never asked for */
    ask(&cs_api_sglang, true, 1, 3);                                                /* before the first token */
    assert_ok(read_text("{\"meta_info\": {\"completion_tokens\": 0, \"finish_reason\": null, \"prompt_tokens\": 21}}"), &at.err);
    assert_int_equal(at.reading.n_read, 0);
    assert_false(at.reading.has_ended);
}

/* ---- llama-server ------------------------------------------------------------------------------------------------ */

/* An event about position `of`, of which the engine says that it is the n_predicted'th. */
static costeer_err read_llama(size_t of, int n_predicted, const char *more)
{
    const expected *e = &positions[of];
    char text[1024];
    (void)snprintf(text, sizeof text,
                   "{\"content\": \"t\", \"tokens\": [%d], \"tokens_predicted\": %d, \"completion_probabilities\": [{\"id\": %d, "
                   "\"token\": \"t\", \"bytes\": [116], \"logprob\": %.17g, \"top_logprobs\": [{\"id\": %d, \"logprob\": %.17g}, "
                   "{\"id\": %d, \"logprob\": %.17g}, {\"id\": 7, \"logprob\": -3.4028234663852886e+38}]}]%s}",
                   (int)e->ids[0], n_predicted, (int)e->ids[0], (double)e->values[0], (int)e->ids[0], (double)e->values[0],
                   (int)e->ids[1], (double)e->values[1], more);
    return read_text(text);
}

static void test_read__llama_server_streams(void **state)
{
    (void)state;
    ask(&cs_api_llama_server, true, 3, 64);
    for (int i = 0; i < 3; i++) {
        assert_ok(read_llama((size_t)i, i + 1, ", \"stop\": false"), &at.err);
        assert_false(at.reading.has_ended);
    }
    assert_ok(read_text("{\"content\": \"\", \"tokens\": [], \"stop\": true, \"id_slot\": 1, \"tokens_evaluated\": 21, "
                        "\"tokens_predicted\": 3, \"timings\": {\"cache_n\": 20}}"),
              &at.err);
    assert_all_read(3, 2);
    assert_true(at.reading.has_ended && at.reading.has_ids);
    assert_int_equal(at.reading.slot, 1);
    assert_int_equal(at.reading.n_prompt, 21);
    assert_int_equal(at.reading.n_cached, 20);
}

/* Tokens that end inside a character come with the one that ends it, and only that one's distribution. */
static void test_read__what_llama_server_holds_back_becomes_unknown_positions(void **state)
{
    (void)state;
    ask(&cs_api_llama_server, true, 8, 64);
    assert_ok(read_llama(0, 1, ", \"stop\": false"), &at.err);
    assert_ok(read_llama(1, 4, ", \"stop\": false"), &at.err);
    assert_ok(read_llama(2, 5, ", \"stop\": false"), &at.err);
    assert_int_equal(at.reading.n_read, 5);
    assert_int_equal(at.queue.n, 5);
    assert_position(0, 0, 2);
    assert_unknown(1);
    assert_unknown(2);
    assert_position(3, 1, 2);
    assert_position(4, 2, 2);
    ask(&cs_api_llama_server, true, 3, 64);
    assert_says(read_llama(1, 4, ", \"stop\": false"), "tokens_predicted: more than were asked for");
    assert_int_equal(at.queue.n, 0);
}

/* The choice was forced: what the engine says it took is not what it would have taken. */
static void test_read__llama_server_forced_tells_its_own_choice_by_the_first_entry(void **state)
{
    (void)state;
    static const char forced[] =
        "{\"content\": \"a\", \"tokens\": [300], \"stop\": true, \"id_slot\": 0, \"completion_probabilities\": [{\"id\": 300, "
        "\"logprob\": -9, \"top_logprobs\": [{\"id\": 625, \"logprob\": -0.5}, {\"id\": 494, \"logprob\": -1.5}]}]}";
    ask(&cs_api_llama_server, false, 1, 2);
    at.setting.ascii_token = 300;
    assert_ok(read_text(forced), &at.err);
    assert_int_equal(at.reading.n_read, 1);
    assert_int_equal(cs_api_positions_find(&at.queue, 0)->own_token, 625);
    assert_true(at.reading.has_ended);
    assert_int_equal(at.reading.slot, 0);
    assert_int_equal(at.reading.n_cached, -1);
    ask(&cs_api_llama_server, false, 1, 2); /* no such token: not forced, and then 300 is not what a greedy engine takes */
    assert_ok(read_text(forced), &at.err);
    assert_int_equal(cs_api_positions_find(&at.queue, 0)->own_token, -1);
}

static void test_read__llama_server_of_other_shapes_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *why;
    } cases[] = {
        {"{}", "completion_probabilities: no array"},
        {"[]", "completion_probabilities: no array"},
        {"{\"completion_probabilities\": {}}", "completion_probabilities: no array"},
        {"{\"content\": \"t\", \"tokens\": [5]}", "tells tokens without probabilities"},
        {"{\"completion_probabilities\": [7]}", "completion_probabilities: id: missing"},
        {"{\"completion_probabilities\": [{\"id\": -5}]}", "completion_probabilities: id: out of range"},
        {"{\"completion_probabilities\": [{\"id\": 5}]}", "top_logprobs: missing"}, /* post_sampling_probs, or older */
        {"{\"completion_probabilities\": [{\"id\": 5, \"top_logprobs\": []}]}", "without log-probabilities"},
        {"{\"completion_probabilities\": [{\"id\": 5, \"top_logprobs\": [{\"id\": 5}]}]}", "top_logprobs: logprob: missing"},
        {"{\"completion_probabilities\": [{\"id\": 5, \"top_logprobs\": [{\"id\": 5, \"logprob\": null}]}]}",
         "logprob: no number"},
        {"{\"completion_probabilities\": [{\"id\": 5, \"top_logprobs\": [{\"id\": \"5\", \"logprob\": -1}]}]}",
         "id: no whole number"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ask(&cs_api_llama_server, true, 1, 3);
        assert_says(read_text(cases[i].text), cases[i].why);
        assert_int_equal(at.queue.n, 0);
    }
}

/* ---- what is no answer ------------------------------------------------------------------------------------------- */

static void assert_message(const char *json, const char *wanted)
{
    char message[200];
    json_t *answer = json_loads(json, JSON_DECODE_ANY, NULL);
    cs_api_json_message(answer, message, sizeof message);
    assert_string_equal(message, wanted);
    json_decref(answer);
}

static void test_read__an_engines_message_is_found_in_any_of_the_usual_places(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *message;
    } cases[] = {
        {"openai_error_logprobs.json", "Invalid value for 'logprobs': must be less than or equal to 5."},
        {"openai_error_model.json", "The model `other` does not exist or you do not have access to it."},
        {"vllm_error_logprobs.json",
         "Requested sample logprobs of 64, which is greater than max allowed: 20 (parameter=logprobs, value=64)"},
        {"vllm_error_model.json", "The model `other` does not exist."},
        {"vllm_error_length.json", /* cut at 199 bytes */
         "This model's maximum context length is 1024 tokens. However, you requested 100000 output tokens and your prompt "
         "contains at least 21 input tokens, for a total of at least 100021 tokens. Please reduce"},
        {"sglang_error_body.json", "1 validation error: {'type': 'int_type', 'loc': ('body', 'input_ids')}"},
        {"sglang_error_start.json", "req.logprob_start_len=21 is higher than the number of input tokens "
                                    "len(req.origin_input_ids)=21. Please use a smaller logprob_start_len."},
        {"openai_answer.json", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t n;
        char *text = load(cases[i].name, &n);
        assert_message(text, cases[i].message);
        free(text);
    }
    char *events[EVENTS_MAX];
    assert_int_equal(load_events("sglang_error_ids.sse", events), 1);
    assert_message(events[0], "The input_ids [1048576] contains values greater than the vocab size (1024).");
    free_events(events, 1);
    assert_message("{\"error\": \"plain\"}", "plain");
    assert_message("{\"detail\": \"Not Found\"}", "Not Found");
    assert_message("{\"error\": {\"code\": 500}, \"message\": \"beside\"}", "beside");
    assert_message("{\"error\": null, \"detail\": [1]}", "");
    assert_message("{\"message\": \"two\\nlines\\u001b[31m\\u007f\"}", "two lines [31m ");
    assert_message("[]", "");
    assert_message("7", "");
    assert_message("no JSON", "");
}

static void test_read__a_message_is_not_cut_inside_a_character(void **state)
{
    (void)state;
    json_t *answer = json_pack("{s:s}", "message", "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80");
    static const size_t lengths[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 10};
    for (size_t n = 1; n <= sizeof lengths / sizeof lengths[0]; n++) {
        char message[16] = "xxxxxxxxxxxxxxx";
        cs_api_json_message(answer, message, n);
        assert_int_equal(strlen(message), lengths[n - 1]);
        assert_int_equal(message[n], 'x');
    }
    json_decref(answer);
}

static void test_read__broken_json_is_told_where_it_breaks_and_never_quoted(void **state)
{
    (void)state;
    ask(&cs_api_vllm, false, 3, 4);
    assert_says(read_text("{\"choices\": [{\"logprobs\": {\"top\": NaN"), "no JSON: it is broken or cut off at byte 37");
    assert_says(read_text(""), "no JSON: it is broken or cut off at byte 0");
    assert_says(read_text("<html>\r\n\x1b[31m"), "broken or cut off at byte 1");
    static const char *const texts[] = {"{\"text\": \"canary", "{\"text\": canary}", "{\"canary\": 1, \"canary\": 2}", "canary"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) { /* it may be what the context put into the answer */
        assert_says(read_text(texts[i]), "no JSON");
        assert_null(strstr(at.err.message, "canary"));
    }
    size_t n;
    char *text = load("vllm_answer.json", &n);
    for (size_t cut = 0; cut + 2 < n; cut++) {
        assert_says(read_bytes(text, cut), "broken or cut off at byte");
        assert_true(strlen(at.err.message) < 140);
    }
    free(text);
    assert_int_equal(at.queue.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read__vllm_names_tokens_by_id),
        cmocka_unit_test(test_read__vllm_tells_of_a_stream_when_it_ends_and_what_was_cached),
        cmocka_unit_test(test_read__vllm_by_text_is_refused_where_two_tokens_have_it),
        cmocka_unit_test(test_read__vllm_drafts_are_a_batch_in_any_order),
        cmocka_unit_test(test_read__openai_by_text_is_refused_where_two_tokens_have_it),
        cmocka_unit_test(test_read__openai_by_text_where_each_token_has_its_own),
        cmocka_unit_test(test_read__content_names_tokens_by_id_then_bytes_then_text),
        cmocka_unit_test(test_read__content_that_names_nothing_is_refused),
        cmocka_unit_test(test_read__ids_beside_the_texts_tell_the_engines_own_choice),
        cmocka_unit_test(test_read__a_text_without_log_probabilities_cannot_be_steered),
        cmocka_unit_test(test_read__completions_of_other_shapes_are_refused),
        cmocka_unit_test(test_read__sglang_answers_at_once),
        cmocka_unit_test(test_read__sglang_drafts_are_positions_of_the_prompt),
        cmocka_unit_test(test_read__sglang_streams_repeat_or_not),
        cmocka_unit_test(test_read__sglang_streams_are_read_by_what_each_event_says_is_new),
        cmocka_unit_test(test_read__sglang_of_other_shapes_is_refused),
        cmocka_unit_test(test_read__llama_server_streams),
        cmocka_unit_test(test_read__what_llama_server_holds_back_becomes_unknown_positions),
        cmocka_unit_test(test_read__llama_server_forced_tells_its_own_choice_by_the_first_entry),
        cmocka_unit_test(test_read__llama_server_of_other_shapes_is_refused),
        cmocka_unit_test(test_read__an_engines_message_is_found_in_any_of_the_usual_places),
        cmocka_unit_test(test_read__a_message_is_not_cut_inside_a_character),
        cmocka_unit_test(test_read__broken_json_is_told_where_it_breaks_and_never_quoted),
    };
    return cmocka_run_group_tests(tests, set_up_model, tear_down_model);
}
