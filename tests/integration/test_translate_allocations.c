/*
 * No allocation per token in our code when the SLM follows another vocabulary: malloc, calloc and realloc are counted in steps
 * and reads, except while llama.cpp decodes or splits text into tokens, where it allocates itself. See
 * support/count_allocations.h.
 */
#include "core/vocab_internal.h"
#include "support/count_allocations.h"
#include "support/models.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define OTHER_PATH COSTEER_TEST_MODELS_DIR "/costeer-slm-other.gguf"

static int count_in_steps(costeer_vocab_mode mode)
{
    costeer_error err = {0};
    costeer_model *llm = load_model(LLM_PATH);
    costeer_model *slm_model = load_model(OTHER_PATH);
    costeer_vocab_map *map = NULL;
    costeer_slm *slm = NULL;
    assert_ok(cs_vocab_map_build(llm, slm_model, mode, NULL, &map, &err), &err);
    const costeer_slm_params params = {.n_contexts = 1, .n_ctx = 512, .n_threads = 1, .vocab_map = map};
    assert_ok(costeer_slm_create(slm_model, &params, &slm, &err), &err);
    costeer_tokens amateur = build_prompt(slm_model, NULL, "Write a short bio.");
    costeer_tokens expert = build_prompt(slm_model, "My name is Soraya. I live in Lisbon.", "Write a short bio.");
    costeer_tokens answer = {0};
    const char text[] = "Here is a little about me. People know me as Soraya. I live happily in Lisbon caf\xC3\xA9s, "
                        "\xF0\x9F\x98\x80.\n\nThat is me.";
    assert_ok(costeer_model_tokenize(llm, text, sizeof text - 1, false, false, &answer, &err), &err);
    assert_ok(costeer_slm_set_prompts(slm, &amateur, &expert, 128, &err), &err);
    costeer_delta_source *source = costeer_slm_delta_source(slm);
    assert_ok(source->ops->begin(source, &err), &err);
    (void)take_allocations();
    costeer_err code = COSTEER_OK;
    for (size_t i = 0; i < answer.n && code == COSTEER_OK; i++) {
        costeer_delta delta = {.weight = 1.0};
        count_allocations(i > 2);
        code = source->ops->step(source, &answer.ids[i], 1, &err);
        source->ops->read(source, &delta, 1);
        (void)source->ops->alone(source);
        count_allocations(false);
    }
    assert_ok(code, &err);
    costeer_tokens_dispose(&answer);
    costeer_tokens_dispose(&expert);
    costeer_tokens_dispose(&amateur);
    costeer_slm_free(slm);
    costeer_vocab_map_free(map);
    costeer_model_free(slm_model);
    costeer_model_free(llm);
    return take_allocations();
}

static void test_translate_allocations__the_counter_works(void **state)
{
    (void)state;
    (void)take_allocations();
    count_allocations(true);
    void *volatile block = malloc(16);
    count_allocations(false);
    free(block);
    assert_int_equal(take_allocations(), 1);
}

static void test_translate_allocations__none_per_token(void **state)
{
    (void)state;
    assert_int_equal(count_in_steps(COSTEER_VOCAB_MAP), 0);
    assert_int_equal(count_in_steps(COSTEER_VOCAB_MAP_INTERSECT), 0);
    assert_int_equal(count_in_steps(COSTEER_VOCAB_BYTE), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_translate_allocations__the_counter_works),
        cmocka_unit_test(test_translate_allocations__none_per_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
