/* Facts of the context must come through an SLM of another vocabulary: held-out prompts, whole answers. */
#include "support/models.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define OTHER_PATH   COSTEER_TEST_MODELS_DIR "/costeer-slm-other.gguf"
#define PROMPTS_PATH COSTEER_TEST_MODELS_DIR "/eval/prompts.jsonl"
#define N_PROMPTS    12
#define MAX_TOKENS   128

typedef struct answer {
    char text[8192];
    size_t n;
} answer;

static bool add_text(const char *text, size_t n, void *user)
{
    answer *to = user;
    if (n < sizeof to->text - to->n) {
        memcpy(to->text + to->n, text, n);
        to->n += n;
        to->text[to->n] = '\0';
    }
    return true;
}

typedef struct pair {
    costeer_model *llm_model, *slm_model;
    costeer_vocab_map *map;
    costeer_cloud *llm;
    costeer_slm *slm;
} pair;

static pair create_pair(costeer_vocab_mode mode)
{
    costeer_error err = {0};
    pair out = {.llm_model = load_model(LLM_PATH), .slm_model = load_model(OTHER_PATH)};
    const costeer_vocab_map_params map = {.mode = mode};
    const costeer_local_params local = {.n_ctx = 512, .n_threads = 1};
    assert_ok(costeer_vocab_map_create(out.llm_model, out.slm_model, &map, &out.map, &err), &err);
    assert_int_equal(costeer_vocab_map_mode(out.map), mode);
    assert_ok(costeer_cloud_create_local(out.llm_model, &local, &out.llm, &err), &err);
    const costeer_slm_params slm = {.n_contexts = 1, .n_ctx = 512, .n_threads = 1, .vocab_map = out.map};
    assert_ok(costeer_slm_create(out.slm_model, &slm, &out.slm, &err), &err);
    return out;
}

static void free_pair(pair *p)
{
    costeer_slm_free(p->slm);
    costeer_cloud_free(p->llm);
    costeer_vocab_map_free(p->map);
    costeer_model_free(p->slm_model);
    costeer_model_free(p->llm_model);
}

static void write_answer(const pair *p, const char *context, const char *query, answer *out)
{
    costeer_error err = {0};
    costeer_tokens prompt = build_prompt(p->llm_model, NULL, query);
    costeer_tokens amateur = build_prompt(p->slm_model, NULL, query);
    costeer_tokens expert = build_prompt(p->slm_model, context, query);
    assert_ok(costeer_slm_set_prompts(p->slm, &amateur, &expert, MAX_TOKENS, &err), &err);
    costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    params.max_tokens = MAX_TOKENS;
    params.on_text = add_text;
    params.user = out;
    const costeer_vocab vocab = costeer_model_vocab(p->llm_model);
    costeer_session *session = NULL;
    costeer_report report;
    assert_ok(costeer_session_create(p->llm, costeer_slm_delta_source(p->slm), &vocab, &params, &session, &err), &err);
    assert_ok(costeer_session_run(session, prompt.ids, prompt.n, &report, &err), &err);
    costeer_session_free(session);
    costeer_tokens_dispose(&expert);
    costeer_tokens_dispose(&amateur);
    costeer_tokens_dispose(&prompt);
}

static double share_of_facts(const json_t *facts, const char *text)
{
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(facts); i++) {
        n += strstr(text, json_string_value(json_array_get(facts, i))) != NULL;
    }
    return (double)n / (double)json_array_size(facts);
}

static double recall_of(costeer_vocab_mode mode)
{
    pair p = create_pair(mode);
    FILE *file = fopen(PROMPTS_PATH, "r");
    assert_non_null(file);
    char line[8192];
    double sum = 0.0;
    for (int i = 0; i < N_PROMPTS; i++) {
        assert_non_null(fgets(line, sizeof line, file));
        json_t *row = json_loads(line, 0, NULL);
        assert_non_null(row);
        answer out = {.n = 0};
        write_answer(&p, json_string_value(json_object_get(row, "context")), json_string_value(json_object_get(row, "query")),
                     &out);
        sum += share_of_facts(json_object_get(row, "facts"), out.text);
        json_decref(row);
    }
    (void)fclose(file);
    free_pair(&p);
    print_message("%s: recall %.3f over %d prompts\n", costeer_vocab_mode_name(mode), sum / N_PROMPTS, N_PROMPTS);
    return sum / N_PROMPTS;
}

/* Over all 200 prompts: byte 0.86, map-intersect and map less than half of that (docs/vocabularies.md). */
static void test_recall__facts_come_through_byte_and_less_through_map(void **state)
{
    (void)state;
    const double byte = recall_of(COSTEER_VOCAB_BYTE);
    const double map = recall_of(COSTEER_VOCAB_MAP);
    const double intersect = recall_of(COSTEER_VOCAB_MAP_INTERSECT);
    assert_true(byte >= 0.75);
    assert_true(map >= 0.2 && map < byte);
    assert_true(intersect >= 0.2 && intersect < byte);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recall__facts_come_through_byte_and_less_through_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
