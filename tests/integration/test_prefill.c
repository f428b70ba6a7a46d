/* Prompts before an answer: what is computed once, by which threads, in turn with whom, and what is reported meanwhile. */
#include "core/decoder.h"
#include "core/turn.h"
#include "support/slm_support.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A prompt of n_shared tokens that all prompts have, and n_own that only those of this seed have. */
static costeer_tokens make_prompt(size_t n_shared, size_t n_own, uint32_t seed)
{
    static const char *const begins[] = {"A",         "My name is Soraya.", "I live in Lisbon.", "Two cats",
                                         "The piano", "On Monday",          "Write a short bio."};
    costeer_tokens text = {0};
    costeer_tokens own = {0};
    costeer_tokens prompt = {.n = n_shared + n_own};
    char *words = long_text(model, 700);
    costeer_error err = {0};
    assert_ok(costeer_model_tokenize(model, words, strlen(words), false, false, &text, &err), &err);
    assert_ok(costeer_model_tokenize(model, begins[seed], strlen(begins[seed]), false, false, &own, &err), &err);
    prompt.ids = malloc(prompt.n * sizeof *prompt.ids);
    memcpy(prompt.ids, text.ids, n_shared * sizeof *prompt.ids);
    for (size_t i = 0; i < n_own; i++) {
        prompt.ids[n_shared + i] = i < own.n ? own.ids[i] : text.ids[i];
    }
    costeer_tokens_dispose(&text);
    costeer_tokens_dispose(&own);
    free(words);
    return prompt;
}

static cs_decoder *compute_alone(const costeer_tokens *prompt)
{
    const cs_decoder_params params = {.component = "alone", .n_sequences = 1, .n_ctx = 1024, .n_threads = 1};
    cs_decoder *decoder = NULL;
    costeer_error err = {0};
    assert_ok(cs_decoder_create(model, &params, &decoder, &err), &err);
    assert_ok(cs_decoder_set_prompt(decoder, 0, prompt->ids, prompt->n, 64, "the prompt", &err), &err);
    assert_ok(cs_decoder_prefill(decoder, NULL, &err), &err);
    return decoder;
}

/* ---- a shared beginning ------------------------------------------------------------------------------------------ */

/* Without our patches pieces of a prompt that are shorter than 64 tokens go another way through llama.cpp's attention. */
static void assert_near(const float *a, const float *b)
{
    for (int32_t i = 0; i < n_vocab; i++) {
        if (!(fabsf(a[i] - b[i]) <= 2.0F * LOGIT_TOLERANCE)) {
            fail_msg("logit %d is %g and %g", i, (double)a[i], (double)b[i]);
        }
    }
}

/* The amateur and two experts, and a few steps, against each alone. */
static void assert_equals_alone(costeer_slm *slm, const costeer_tokens *prompts)
{
    costeer_delta_source *source = costeer_slm_delta_source(slm);
    costeer_delta deltas[2] = {0};
    cs_decoder *alone[3];
    for (int i = 0; i < 3; i++) {
        alone[i] = compute_alone(&prompts[i]);
    }
    for (int32_t token = 300; token < 304; token++) {
        source->ops->read(source, deltas, 2);
        assert_near(deltas[0].amateur, cs_decoder_logits(alone[0], 0));
        assert_near(deltas[0].expert, cs_decoder_logits(alone[1], 0));
        assert_near(deltas[1].expert, cs_decoder_logits(alone[2], 0));
        step(slm, token);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(cs_decoder_step(alone[i], token, NULL), COSTEER_OK);
        }
    }
    for (int i = 0; i < 3; i++) {
        cs_decoder_free(alone[i]);
    }
}

static void test_prefill__a_beginning_that_all_prompts_share_is_computed_once(void **state)
{
    (void)state;
    for (size_t n_shared = 20; n_shared < 300; n_shared += 130) {
        costeer_tokens prompts[3] = {make_prompt(n_shared, 30, 1), make_prompt(n_shared, 200, 2), make_prompt(n_shared, 70, 3)};
        costeer_slm *slm = create_slm(2, 1024);
        begin(slm, &prompts[0], &prompts[1]);
        assert_int_equal(costeer_slm_prefilled(slm), n_shared + 30 + 200 + 70);
        assert_equals_alone(slm, prompts);
        costeer_slm_free(slm);
        for (int i = 0; i < 3; i++) {
            costeer_tokens_dispose(&prompts[i]);
        }
    }
}

static void test_prefill__what_is_kept_goes_before_what_is_shared(void **state)
{
    (void)state;
    costeer_tokens first[3] = {make_prompt(100, 40, 1), make_prompt(100, 60, 2), make_prompt(100, 70, 3)};
    costeer_tokens second[3] = {make_prompt(60, 40, 4), make_prompt(60, 50, 5), make_prompt(60, 60, 6)};
    costeer_slm *slm = create_slm(2, 1024);
    begin(slm, &first[0], &first[1]);
    begin(slm, &second[0], &second[1]); /* each sequence holds the 60 already */
    assert_int_equal(costeer_slm_prefilled(slm), 40 + 50 + 60);
    assert_equals_alone(slm, second);
    begin(slm, &first[0], &first[1]); /* all hold 60 of the 100; 40 are computed once */
    assert_int_equal(costeer_slm_prefilled(slm), 40 + 40 + 60 + 70);
    assert_equals_alone(slm, first);
    costeer_slm_free(slm);
    for (int i = 0; i < 3; i++) {
        costeer_tokens_dispose(&first[i]);
        costeer_tokens_dispose(&second[i]);
    }
}

/* ---- threads ----------------------------------------------------------------------------------------------------- */

/* Threads of the process; 0 where that is not known. The thread sanitizer adds one of its own at some time. */
static int count_threads(void)
{
#if defined(__SANITIZE_THREAD__)
    return 0;
#else
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    int n = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "Threads:", 8) == 0) {
            n = (int)strtol(line + 8, NULL, 10);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return n;
#endif
}

static void test_prefill__prompts_have_threads_of_their_own_and_give_the_same_bits(void **state)
{
    (void)state;
    costeer_tokens prompts[2] = {make_prompt(20, 30, 1), make_prompt(20, 300, 2)};
    costeer_delta deltas[2] = {0};
    costeer_slm *slms[2];
    const int n_before = count_threads();
    for (int i = 0; i < 2; i++) {
        const costeer_slm_params params = {.n_contexts = 1, .n_ctx = 512, .n_threads = 1, .n_threads_prompt = i == 0 ? 0 : 3};
        costeer_error err = {0};
        assert_ok(costeer_slm_create(model, &params, &slms[i], &err), &err);
        begin(slms[i], &prompts[0], &prompts[1]);
        step(slms[i], 300);
        costeer_delta_source *source = costeer_slm_delta_source(slms[i]);
        source->ops->read(source, &deltas[i], 1);
        if (n_before > 0) {
            assert_int_equal(count_threads() - n_before, 2 * i);
        }
    }
    assert_memory_equal(deltas[0].expert, deltas[1].expert, (size_t)n_vocab * sizeof(float));
    assert_memory_equal(deltas[0].amateur, deltas[1].amateur, (size_t)n_vocab * sizeof(float));
    for (int i = 0; i < 2; i++) {
        costeer_slm_free(slms[i]);
        costeer_tokens_dispose(&prompts[i]);
    }
    costeer_slm *none = NULL;
    assert_int_equal(
        costeer_slm_create(model, &(costeer_slm_params){.n_contexts = 1, .n_threads = 1, .n_threads_prompt = -1}, &none, NULL),
        COSTEER_EINVAL);
}

/* ---- turns ------------------------------------------------------------------------------------------------------- */

static atomic_int n_inside;
static atomic_int n_met;

static void *take_turns(void *user)
{
    (void)user;
    for (int i = 0; i < 200; i++) {
        assert_true(cs_turn_take(NULL, NULL));
        n_met += atomic_fetch_add(&n_inside, 1) != 0;
        n_inside--;
        cs_turn_give();
    }
    return NULL;
}

static bool stops(void *user)
{
    (*(int *)user)++;
    return true;
}

static void test_turn__one_at_a_time(void **state)
{
    (void)state;
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, take_turns, NULL), 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(n_met, 0);
}

static void test_turn__one_that_waits_can_be_stopped(void **state)
{
    (void)state;
    int n_asked = 0;
    assert_true(cs_turn_take(NULL, NULL));
    assert_false(cs_turn_take(stops, &n_asked));
    assert_true(n_asked >= 1);
    cs_turn_give();
    assert_true(cs_turn_take(stops, &n_asked)); /* nobody to wait for */
    cs_turn_give();
}

/* A prompt waits while another one has its turn, and a step does not. */
static void test_turn__is_for_prompts_only(void **state)
{
    (void)state;
    costeer_tokens prompt = make_prompt(20, 30, 1);
    cs_decoder *decoder = compute_alone(&prompt);
    int n_asked = 0;
    assert_true(cs_turn_take(NULL, NULL));
    assert_int_equal(cs_decoder_step(decoder, 300, NULL), COSTEER_OK);
    cs_decoder_set_stop(decoder, stops, &n_asked);
    assert_int_equal(cs_decoder_prefill(decoder, NULL, NULL), COSTEER_ECANCELED);
    cs_turn_give();
    cs_decoder_free(decoder);
    costeer_tokens_dispose(&prompt);
}

/* ---- progress ---------------------------------------------------------------------------------------------------- */

typedef struct record {
    size_t n_calls;
    size_t n_done;
    size_t n_all;
    bool is_in_order;
} record;

static void note(const costeer_prompt_progress *progress, void *user)
{
    record *r = user;
    r->is_in_order = (r->n_calls == 0 ? progress->n_done == 0 && strcmp(progress->model, "slm") == 0
                                      : r->is_in_order && progress->n_done > r->n_done) &&
                     progress->n_done <= progress->n_all;
    r->n_done = progress->n_done;
    r->n_all = progress->n_all;
    r->n_calls++;
}

static void test_prefill__reports_tokens_done_of_all(void **state)
{
    (void)state;
    record r = {0};
    costeer_tokens prompts[2] = {make_prompt(40, 30, 1), make_prompt(40, 600, 2)};
    const costeer_slm_params params = {.n_contexts = 1, .n_ctx = 1024, .n_threads = 1, .on_prompt = note, .on_prompt_user = &r};
    costeer_slm *slm = NULL;
    costeer_error err = {0};
    assert_ok(costeer_slm_create(model, &params, &slm, &err), &err);
    begin(slm, &prompts[0], &prompts[1]);
    assert_true(r.is_in_order);
    assert_int_equal(r.n_done, 40 + 30 + 600);
    assert_int_equal(r.n_all, r.n_done);
    assert_true(r.n_calls >= 3);
    const size_t n_calls = r.n_calls;
    step(slm, 300);
    assert_int_equal(r.n_calls, n_calls); /* steps report nothing */
    costeer_slm_free(slm);
    costeer_tokens_dispose(&prompts[0]);
    costeer_tokens_dispose(&prompts[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prefill__a_beginning_that_all_prompts_share_is_computed_once),
        cmocka_unit_test(test_prefill__what_is_kept_goes_before_what_is_shared),
        cmocka_unit_test(test_prefill__prompts_have_threads_of_their_own_and_give_the_same_bits),
        cmocka_unit_test(test_turn__one_at_a_time),
        cmocka_unit_test(test_turn__one_that_waits_can_be_stopped),
        cmocka_unit_test(test_turn__is_for_prompts_only),
        cmocka_unit_test(test_prefill__reports_tokens_done_of_all),
    };
    return cmocka_run_group_tests(tests, load_slm, free_slm);
}
