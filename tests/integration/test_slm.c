/* The SLM: one batch for all roles gives what separate contexts give; prompts' common beginnings are kept; stopping leaves it
 * usable. */
#include "core/decoder.h"
#include "support/slm_support.h"

#include <costeer/log.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A context of its own for one prompt, as the reference. */
static cs_decoder *create_reference(const costeer_tokens *prompt)
{
    const cs_decoder_params params = {.component = "test", .n_sequences = 1, .n_ctx = 512, .n_threads = 1};
    cs_decoder *decoder;
    costeer_error err = {0};
    assert_ok(cs_decoder_create(model, &params, &decoder, &err), &err);
    assert_ok(cs_decoder_set_prompt(decoder, 0, prompt->ids, prompt->n, 64, "the prompt", &err), &err);
    assert_ok(cs_decoder_prefill(decoder, NULL, &err), &err);
    return decoder;
}

static size_t common_beginning(const costeer_tokens *a, const costeer_tokens *b)
{
    size_t n = 0;
    while (n < a->n && n < b->n && a->ids[n] == b->ids[n]) {
        n++;
    }
    return n;
}

/* ---- one batch --------------------------------------------------------------------------------------------------- */

static void test_slm__one_batch_gives_what_separate_contexts_give(void **state)
{
    (void)state;
    costeer_tokens prompts[3] = {
        build_prompt(model, NULL, "Write a short bio."),
        build_prompt(model, "My name is Soraya. I live in Lisbon and like lasagna.", "Write a short bio."),
        build_prompt(model, "My dog is called Rex.", "Write a short bio.")};
    cs_decoder *references[3];
    for (int i = 0; i < 3; i++) {
        references[i] = create_reference(&prompts[i]);
    }
    costeer_slm *slm = create_slm(2, 512);
    begin(slm, &prompts[0], &prompts[1]);
    costeer_delta_source *source = costeer_slm_delta_source(slm);
    for (int position = 0; position < 20; position++) {
        costeer_delta deltas[2] = {0};
        source->ops->read(source, deltas, 2);
        assert_ptr_equal(deltas[0].amateur, deltas[1].amateur);
        assert_same_logits(deltas[0].amateur, cs_decoder_logits(references[0], 0));
        assert_same_logits(deltas[0].expert, cs_decoder_logits(references[1], 0));
        assert_same_logits(deltas[1].expert, cs_decoder_logits(references[2], 0));
        const int32_t token = argmax(deltas[0].expert);
        step(slm, token);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(cs_decoder_step(references[i], token, NULL), COSTEER_OK);
        }
    }
    costeer_slm_free(slm);
    for (int i = 0; i < 3; i++) {
        cs_decoder_free(references[i]);
        costeer_tokens_dispose(&prompts[i]);
    }
}

static void test_slm__a_prompt_longer_than_a_batch_gives_the_same_logits(void **state)
{
    (void)state;
    char *text = long_text(model, 700); /* batches have 512 tokens */
    costeer_tokens expert = build_prompt(model, text, "Write a short bio.");
    costeer_tokens amateur = build_prompt(model, NULL, "Write a short bio.");
    costeer_slm *slm = create_slm(1, 1024);
    begin(slm, &amateur, &expert);
    assert_int_equal(costeer_slm_prefilled(slm), amateur.n + expert.n);
    costeer_delta delta = {0};
    costeer_delta_source *source = costeer_slm_delta_source(slm);
    source->ops->read(source, &delta, 1);
    cs_decoder *reference = create_reference(&amateur);
    assert_same_logits(delta.amateur, cs_decoder_logits(reference, 0));
    costeer_slm_free(slm);
    cs_decoder_free(reference);
    costeer_tokens_dispose(&amateur);
    costeer_tokens_dispose(&expert);
    free(text);
}

/* ---- keeping what was computed ----------------------------------------------------------------------------------- */

static void test_slm__a_second_query_computes_only_the_query(void **state)
{
    (void)state;
    static const char context[] =
        "My name is Soraya. I live in Lisbon. My favourite food is lasagna. I have two cats and a piano.";
    costeer_tokens first[2] = {build_prompt(model, NULL, "Write a short bio."),
                               build_prompt(model, context, "Write a short bio.")};
    costeer_tokens second[2] = {build_prompt(model, NULL, "Plan my day."), build_prompt(model, context, "Plan my day.")};
    costeer_slm *slm = create_slm(1, 512);
    begin(slm, &first[0], &first[1]);
    assert_int_equal(costeer_slm_prefilled(slm), first[0].n + first[1].n);
    for (int32_t i = 0; i < 10; i++) {
        step(slm, 300 + i);
    }
    begin(slm, &second[0], &second[1]);
    const size_t left =
        second[0].n - common_beginning(&first[0], &second[0]) + second[1].n - common_beginning(&first[1], &second[1]);
    assert_int_equal(costeer_slm_prefilled(slm), left);
    assert_true(left < second[1].n); /* less than the context alone */
    costeer_delta delta = {0};
    costeer_delta_source *source = costeer_slm_delta_source(slm);
    source->ops->read(source, &delta, 1);
    cs_decoder *reference = create_reference(&second[1]);
    assert_same_logits(delta.expert, cs_decoder_logits(reference, 0));
    begin(slm, &second[0], &second[1]); /* the same once more: the last tokens only, for their logits */
    assert_int_equal(costeer_slm_prefilled(slm), 2);
    source->ops->read(source, &delta, 1);
    assert_same_logits(delta.expert, cs_decoder_logits(reference, 0));
    cs_decoder_free(reference);
    costeer_slm_free(slm);
    for (int i = 0; i < 2; i++) {
        costeer_tokens_dispose(&first[i]);
        costeer_tokens_dispose(&second[i]);
    }
}

/* ---- stopping and errors ----------------------------------------------------------------------------------------- */

static void test_slm__a_cancelled_begin_leaves_it_usable(void **state)
{
    (void)state;
    costeer_tokens amateur = build_prompt(model, NULL, "Write a short bio.");
    costeer_tokens expert = build_prompt(model, "I live in Lisbon.", "Write a short bio.");
    costeer_slm *slm = create_slm(1, 512);
    atomic_bool cancel = true;
    costeer_slm_set_cancel(slm, &cancel);
    costeer_error err = {0};
    costeer_delta_source *source = costeer_slm_delta_source(slm);
    assert_ok(costeer_slm_set_prompts(slm, &amateur, &expert, 64, &err), &err);
    assert_int_equal(source->ops->begin(source, &err), COSTEER_ECANCELED);
    assert_int_equal(source->ops->step(source, &(int32_t){5}, 1, &err), COSTEER_ESTATE);
    atomic_store(&cancel, false);
    begin(slm, &amateur, &expert);
    atomic_store(&cancel, true);
    assert_int_equal(source->ops->step(source, &(int32_t){300}, 1, &err), COSTEER_ECANCELED);
    costeer_slm_set_cancel(slm, NULL);
    begin(slm, &amateur, &expert);
    costeer_delta delta = {0};
    source->ops->read(source, &delta, 1);
    cs_decoder *reference = create_reference(&expert);
    assert_same_logits(delta.expert, cs_decoder_logits(reference, 0));
    cs_decoder_free(reference);
    costeer_slm_free(slm);
    costeer_tokens_dispose(&amateur);
    costeer_tokens_dispose(&expert);
}

/* Stops after it was asked some times: somewhere inside a computation. */
static bool stop_later(void *user)
{
    int *left = user;
    return --*left < 0;
}

static void test_decoder__stopped_anywhere_it_goes_on_correctly(void **state)
{
    (void)state;
    char *text = long_text(model, 200);
    costeer_tokens prompt = build_prompt(model, text, "Write a short bio.");
    cs_decoder *reference = create_reference(&prompt);
    int left = 1 << 30;
    const cs_decoder_params params = {
        .component = "test", .n_sequences = 1, .n_ctx = 512, .n_threads = 1, .stop = stop_later, .stop_user = &left};
    cs_decoder *decoder;
    assert_int_equal(cs_decoder_create(model, &params, &decoder, NULL), COSTEER_OK);
    for (int stop = 1; stop < 400; stop += 37) {
        assert_int_equal(cs_decoder_set_prompt(decoder, 0, prompt.ids, prompt.n, 64, "the prompt", NULL), COSTEER_OK);
        left = stop;
        const costeer_err code = cs_decoder_prefill(decoder, NULL, NULL);
        assert_true(code == COSTEER_ECANCELED || code == COSTEER_OK);
        assert_true(stop > 1 || code == COSTEER_ECANCELED);
        left = 1 << 30;
        assert_int_equal(cs_decoder_prefill(decoder, NULL, NULL), COSTEER_OK);
        assert_same_logits(cs_decoder_logits(decoder, 0), cs_decoder_logits(reference, 0));
    }
    cs_decoder_free(decoder);
    cs_decoder_free(reference);
    costeer_tokens_dispose(&prompt);
    free(text);
}

static void count_message(costeer_log_level level, const char *component, const char *message, void *user)
{
    (void)component;
    (void)message;
    int *counts = user;
    counts[level]++;
}

static void test_decoder__a_stop_on_purpose_is_no_warning(void **state)
{
    (void)state;
    char *text = long_text(model, 200);
    costeer_tokens prompt = build_prompt(model, text, "Write a short bio.");
    int left = 1 << 30;
    const cs_decoder_params params = {
        .component = "test", .n_sequences = 1, .n_ctx = 512, .n_threads = 1, .stop = stop_later, .stop_user = &left};
    cs_decoder *decoder;
    assert_int_equal(cs_decoder_create(model, &params, &decoder, NULL), COSTEER_OK);
    assert_int_equal(cs_decoder_set_prompt(decoder, 0, prompt.ids, prompt.n, 64, "the prompt", NULL), COSTEER_OK);
    int counts[COSTEER_LOG_DEBUG + 1] = {0};
    costeer_log_set_callback(count_message, COSTEER_LOG_DEBUG, counts);
    left = 20; /* llama.cpp asks after each of its operations */
    assert_int_equal(cs_decoder_prefill(decoder, NULL, NULL), COSTEER_ECANCELED);
    costeer_log_set_callback(NULL, COSTEER_LOG_ERROR, NULL);
    assert_int_equal(counts[COSTEER_LOG_ERROR], 0);
    assert_int_equal(counts[COSTEER_LOG_WARN], 0);
    assert_true(counts[COSTEER_LOG_DEBUG] > 0);
    cs_decoder_free(decoder);
    costeer_tokens_dispose(&prompt);
    free(text);
}

static void test_slm__too_long_names_both_sizes(void **state)
{
    (void)state;
    char *text = long_text(model, 600);
    costeer_tokens amateur = build_prompt(model, NULL, "Write a short bio.");
    costeer_tokens expert = build_prompt(model, text, "Write a short bio.");
    costeer_slm *slm = create_slm(1, 512);
    costeer_error err = {0};
    assert_int_equal(costeer_slm_set_prompts(slm, &amateur, &expert, 64, &err), COSTEER_ETOOLONG);
    assert_non_null(strstr(err.message, "context"));
    assert_non_null(strstr(err.message, "64 of answer do not fit the 512"));
    assert_int_equal(costeer_slm_set_prompts(slm, &amateur, &amateur, 512, &err), COSTEER_ETOOLONG);
    costeer_slm_free(slm);
    costeer_tokens_dispose(&amateur);
    costeer_tokens_dispose(&expert);
    free(text);
}

static void test_slm__refuses_parameters_out_of_range(void **state)
{
    (void)state;
    costeer_slm *slm = NULL;
    costeer_error err = {0};
    assert_int_equal(costeer_slm_create(model, &(costeer_slm_params){.n_contexts = 0, .n_threads = 1}, &slm, &err),
                     COSTEER_EINVAL);
    assert_int_equal(costeer_slm_create(model, &(costeer_slm_params){.n_contexts = 17, .n_threads = 1}, &slm, &err),
                     COSTEER_EINVAL);
    assert_int_equal(costeer_slm_create(model, &(costeer_slm_params){.n_contexts = 1, .n_threads = 0}, &slm, &err),
                     COSTEER_EINVAL);
    assert_int_equal(costeer_slm_create(model, &(costeer_slm_params){.n_contexts = 1, .n_threads = 1, .n_ctx = -1}, &slm, &err),
                     COSTEER_EINVAL);
    assert_int_equal(
        costeer_slm_create(model, &(costeer_slm_params){.n_contexts = 1, .n_threads = 1, .n_drafts = 33}, &slm, &err),
        COSTEER_EINVAL);
    assert_int_equal(
        costeer_slm_create(model, &(costeer_slm_params){.n_contexts = 1, .n_threads = 1, .n_drafts = -1}, &slm, &err),
        COSTEER_EINVAL);
    slm = create_slm(1, 512);
    costeer_delta_source *source = costeer_slm_delta_source(slm);
    int32_t token = 0, n = 0;
    assert_int_equal(source->ops->draft(source, &(costeer_draft_params){.n_max = 1}, 5, &token, &n, &err), COSTEER_ESTATE);
    assert_int_equal(source->ops->draft(source, &(costeer_draft_params){.n_max = 1, .is_private = true}, 5, &token, &n, &err),
                     COSTEER_EINVAL);
    assert_int_equal(source->ops->begin(source, &err), COSTEER_ESTATE); /* no prompts yet */
    const costeer_tokens foreign = {.ids = (int32_t[]){0, 1 << 30}, .n = 2};
    assert_int_equal(costeer_slm_set_prompts(slm, &foreign, &foreign, 1, &err), COSTEER_EINVAL);
    const costeer_tokens empty = {0};
    assert_int_equal(costeer_slm_set_prompts(slm, &empty, &empty, 1, &err), COSTEER_EINVAL);
    costeer_slm_free(slm);
    costeer_slm_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slm__one_batch_gives_what_separate_contexts_give),
        cmocka_unit_test(test_slm__a_prompt_longer_than_a_batch_gives_the_same_logits),
        cmocka_unit_test(test_slm__a_second_query_computes_only_the_query),
        cmocka_unit_test(test_slm__a_cancelled_begin_leaves_it_usable),
        cmocka_unit_test(test_decoder__stopped_anywhere_it_goes_on_correctly),
        cmocka_unit_test(test_decoder__a_stop_on_purpose_is_no_warning),
        cmocka_unit_test(test_slm__too_long_names_both_sizes),
        cmocka_unit_test(test_slm__refuses_parameters_out_of_range),
    };
    return cmocka_run_group_tests(tests, load_slm, free_slm);
}
