/* What each engine is asked: the bodies of completion requests, compared as objects. */
#include "cloud/api_dialect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Prompt, answer and two tokens that may be drafts. */
static const int32_t tokens[] = {2, 468, 363, 300, 625};

static const cs_api_setting setting = {.model = "a \"model\"", .ascii_token = 300};

static cs_api_ask plain(void)
{
    return (cs_api_ask){.tokens = tokens, .n_tokens = 3, .n_predict = 1, .top_k = 64, .slot = -1};
}

static cs_api_ask stream(void)
{
    return (cs_api_ask){
        .tokens = tokens, .n_tokens = 3, .n_predict = 20, .top_k = 64, .is_stream = true, .ignores_end = true, .slot = 1};
}

static cs_api_ask drafts(void)
{
    return (cs_api_ask){.tokens = tokens, .n_tokens = 5, .n_drafts = 2, .n_predict = 1, .top_k = 8, .slot = -1};
}

static cs_api_ask probe(void)
{
    cs_api_ask ask = plain();
    ask.is_probe = true;
    return ask;
}

static void assert_written(const cs_api_dialect *dialect, const cs_api_setting *how, cs_api_ask ask, const char *expected)
{
    json_t *body = dialect->write(how, &ask);
    json_t *wanted = json_loads(expected, 0, NULL);
    assert_non_null(body);
    assert_non_null(wanted);
    if (json_equal(body, wanted) != 1) {
        fail_msg("%s: %s instead of %s", dialect->name, json_dumps(body, JSON_SORT_KEYS), json_dumps(wanted, JSON_SORT_KEYS));
    }
    json_decref(body);
    json_decref(wanted);
}

/* ---- llama-server ------------------------------------------------------------------------------------------------ */

#define LLAMA_COMMON "\"cache_prompt\": true, \"samplers\": [\"top_k\"], \"top_k\": 1, \"return_tokens\": true"

static void test_write__llama_server_is_forced_to_an_ascii_token_where_one_position_is_wanted(void **state)
{
    (void)state;
    assert_written(&cs_api_llama_server, &setting, plain(),
                   "{\"prompt\": [2, 468, 363], \"n_predict\": 1, \"n_probs\": 64, \"stream\": false, \"id_slot\": -1, "
                   "\"temperature\": 0, \"logit_bias\": [[300, 1000000.0]], " LLAMA_COMMON "}");
    const cs_api_setting without = {.model = "m", .ascii_token = -1};
    assert_written(&cs_api_llama_server, &without, plain(),
                   "{\"prompt\": [2, 468, 363], \"n_predict\": 1, \"n_probs\": 64, \"stream\": false, \"id_slot\": -1, "
                   "\"temperature\": 0, " LLAMA_COMMON "}");
}

static void test_write__llama_server_streams_its_own_choices_from_a_slot(void **state)
{
    (void)state;
    assert_written(&cs_api_llama_server, &setting, stream(),
                   "{\"prompt\": [2, 468, 363], \"n_predict\": 20, \"n_probs\": 64, \"stream\": true, \"id_slot\": 1, "
                   "\"temperature\": 0, " LLAMA_COMMON "}");
    cs_api_ask one = stream();
    one.n_predict = 1; /* the last of an answer: not forced, since a token may follow in the stream before */
    assert_written(&cs_api_llama_server, &setting, one,
                   "{\"prompt\": [2, 468, 363], \"n_predict\": 1, \"n_probs\": 64, \"stream\": true, \"id_slot\": 1, "
                   "\"temperature\": 0, " LLAMA_COMMON "}");
}

static void test_write__llama_server_is_probed_at_temperature_1(void **state)
{
    (void)state;
    assert_written(&cs_api_llama_server, &setting, probe(),
                   "{\"prompt\": [2, 468, 363], \"n_predict\": 1, \"n_probs\": 64, \"stream\": false, \"id_slot\": -1, "
                   "\"temperature\": 1, \"logit_bias\": [[300, 1000000.0]], " LLAMA_COMMON "}");
}

static void test_write__all_entries_are_as_many_as_the_output_is_wide(void **state)
{
    (void)state;
    cs_api_ask ask = plain();
    ask.wants_all = true;
    assert_written(&cs_api_llama_server, &setting, ask,
                   "{\"prompt\": [2, 468, 363], \"n_predict\": 1, \"n_probs\": 4160, \"stream\": false, \"id_slot\": -1, "
                   "\"temperature\": 0, \"logit_bias\": [[300, 1000000.0]], " LLAMA_COMMON "}");
    json_t *body = cs_api_vllm.write(&setting, &ask);
    assert_int_equal(json_integer_value(json_object_get(body, "logprobs")), -1);
    json_decref(body);
}

static void assert_limit(const char *text, int32_t expected)
{
    json_t *answer = json_loads(text, 0, NULL);
    assert_int_equal(cs_api_json_limit(answer), expected);
    json_decref(answer);
}

static void test_limit__is_the_one_that_a_refusal_names(void **state)
{
    (void)state;
    assert_limit("{\"error\": {\"message\": \"Requested sample logprobs of 151936, which is greater than max allowed: 1024 "
                 "(parameter=logprobs, value=151936)\", \"code\": 400}}",
                 1024);
    assert_limit("{\"error\": {\"message\": \"logprobs: Input should be less than or equal to 5\"}}", 5);
    assert_limit("{\"error\": {\"message\": \"too many\"}}", 0);
    assert_limit("{\"error\": {\"message\": \"max allowed: -3\"}}", 0);
    assert_limit("{\"error\": {\"message\": \"max allowed: 99999999999999999999999\"}}", 0);
    assert_limit("{\"error\": {\"message\": \"max allowed: none\"}}", 0);
    assert_limit("[]", 0);
}

/* ---- vLLM and others with /v1/completions ------------------------------------------------------------------------ */

#define VLLM_COMMON                                                                                        \
    "\"model\": \"a \\\"model\\\"\", \"return_tokens_as_token_ids\": true, \"return_token_ids\": true, "   \
    "\"repetition_penalty\": 1.0, \"presence_penalty\": 0.0, \"frequency_penalty\": 0.0, \"top_p\": 1.0, " \
    "\"top_k\": -1, \"min_p\": 0.0, \"skip_special_tokens\": false, \"add_special_tokens\": false"

static void test_write__vllm_names_tokens_by_id_and_forgets_its_models_defaults(void **state)
{
    (void)state;
    assert_written(&cs_api_vllm, &setting, plain(),
                   "{\"prompt\": [2, 468, 363], \"max_tokens\": 1, \"temperature\": 0, \"logprobs\": 64, \"stream\": false, "
                   "\"ignore_eos\": false, " VLLM_COMMON "}");
    assert_written(&cs_api_vllm, &setting, stream(),
                   "{\"prompt\": [2, 468, 363], \"max_tokens\": 20, \"temperature\": 0, \"logprobs\": 64, \"stream\": true, "
                   "\"ignore_eos\": true, " VLLM_COMMON "}");
    assert_written(&cs_api_vllm, &setting, probe(),
                   "{\"prompt\": [2, 468, 363], \"max_tokens\": 1, \"temperature\": 1, \"logprobs\": 64, \"stream\": false, "
                   "\"ignore_eos\": false, " VLLM_COMMON "}");
}

static void test_write__vllm_scores_drafts_as_a_batch_of_prefixes(void **state)
{
    (void)state;
    assert_written(&cs_api_vllm, &setting, drafts(),
                   "{\"prompt\": [[2, 468, 363], [2, 468, 363, 300], [2, 468, 363, 300, 625]], \"max_tokens\": 1, "
                   "\"temperature\": 0, \"logprobs\": 8, \"stream\": false, \"ignore_eos\": false, " VLLM_COMMON "}");
}

static void test_write__others_get_only_what_the_api_has(void **state)
{
    (void)state;
    assert_written(&cs_api_openai, &setting, plain(),
                   "{\"model\": \"a \\\"model\\\"\", \"prompt\": [2, 468, 363], \"max_tokens\": 1, \"temperature\": 0, "
                   "\"logprobs\": 64, \"stream\": false}");
    assert_written(&cs_api_openai, &setting, stream(),
                   "{\"model\": \"a \\\"model\\\"\", \"prompt\": [2, 468, 363], \"max_tokens\": 20, \"temperature\": 0, "
                   "\"logprobs\": 64, \"stream\": true}");
    assert_written(&cs_api_openai, &setting, probe(),
                   "{\"model\": \"a \\\"model\\\"\", \"prompt\": [2, 468, 363], \"max_tokens\": 1, \"temperature\": 1, "
                   "\"logprobs\": 64, \"stream\": false}");
}

/* ---- SGLang ------------------------------------------------------------------------------------------------------ */

static void test_write__sglang_is_asked_for_output_positions(void **state)
{
    (void)state;
    assert_written(&cs_api_sglang, &setting, plain(),
                   "{\"input_ids\": [2, 468, 363], \"return_logprob\": true, \"top_logprobs_num\": 64, \"stream\": false, "
                   "\"sampling_params\": {\"max_new_tokens\": 1, \"temperature\": 0, \"ignore_eos\": false, "
                   "\"skip_special_tokens\": false}}");
    assert_written(&cs_api_sglang, &setting, stream(),
                   "{\"input_ids\": [2, 468, 363], \"return_logprob\": true, \"top_logprobs_num\": 64, \"stream\": true, "
                   "\"sampling_params\": {\"max_new_tokens\": 20, \"temperature\": 0, \"ignore_eos\": true, "
                   "\"skip_special_tokens\": false}}");
    assert_written(&cs_api_sglang, &setting, probe(),
                   "{\"input_ids\": [2, 468, 363], \"return_logprob\": true, \"top_logprobs_num\": 64, \"stream\": false, "
                   "\"sampling_params\": {\"max_new_tokens\": 1, \"temperature\": 1, \"ignore_eos\": false, "
                   "\"skip_special_tokens\": false}}");
}

/* From the last token before the drafts on: that position has no distribution, the drafts' follow. */
static void test_write__sglang_scores_drafts_as_positions_of_the_prompt(void **state)
{
    (void)state;
    assert_written(&cs_api_sglang, &setting, drafts(),
                   "{\"input_ids\": [2, 468, 363, 300, 625], \"return_logprob\": true, \"top_logprobs_num\": 8, "
                   "\"stream\": false, \"logprob_start_len\": 2, \"sampling_params\": {\"max_new_tokens\": 1, "
                   "\"temperature\": 0, \"ignore_eos\": false, \"skip_special_tokens\": false}}");
}

static void test_write__dialects_say_what_they_can_and_where(void **state)
{
    (void)state;
    assert_string_equal(cs_api_llama_server.path, "/completion");
    assert_string_equal(cs_api_vllm.path, "/v1/completions");
    assert_string_equal(cs_api_sglang.path, "/generate");
    assert_string_equal(cs_api_openai.path, "/v1/completions");
    assert_true(cs_api_vllm.can_score && cs_api_sglang.can_score);
    assert_false(cs_api_llama_server.can_score || cs_api_openai.can_score);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write__llama_server_is_forced_to_an_ascii_token_where_one_position_is_wanted),
        cmocka_unit_test(test_write__llama_server_streams_its_own_choices_from_a_slot),
        cmocka_unit_test(test_write__llama_server_is_probed_at_temperature_1),
        cmocka_unit_test(test_write__all_entries_are_as_many_as_the_output_is_wide),
        cmocka_unit_test(test_limit__is_the_one_that_a_refusal_names),
        cmocka_unit_test(test_write__vllm_names_tokens_by_id_and_forgets_its_models_defaults),
        cmocka_unit_test(test_write__vllm_scores_drafts_as_a_batch_of_prefixes),
        cmocka_unit_test(test_write__others_get_only_what_the_api_has),
        cmocka_unit_test(test_write__sglang_is_asked_for_output_positions),
        cmocka_unit_test(test_write__sglang_scores_drafts_as_positions_of_the_prompt),
        cmocka_unit_test(test_write__dialects_say_what_they_can_and_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
