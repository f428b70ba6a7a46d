/* Reasoning before the answer: the cloud's alone, with a budget of its own, handed out apart. */
#include <costeer/session.h>

#include "support/session_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { OPEN = 2, HM, CLOSE, LINES, HELLO, BANG, CLO, SE_HI, SMALLER, MARK };

static const char *const pieces[] = {"",  "",     "<think>",    "Hm", "</think>", "\n\n", "Hello",
                                     "!", "</th", "ink>\n\nHi", "<",  "",         NULL};

static char thought[256];

static bool on_reasoning(const char *text, size_t n, void *user)
{
    (void)user;
    strncat(thought, text, n);
    return true;
}

/* A session that reasons. The closing by force is one token. */
static costeer_reasoning let_reason(bench *b, bool is_open, int32_t budget)
{
    static int32_t closing[] = {CLOSE};
    b->vocab = fake_vocab(pieces);
    b->params.on_reasoning = on_reasoning;
    b->params.reasoning_budget = budget;
    thought[0] = '\0';
    return (costeer_reasoning){.begin = "<think>",
                               .end = "</think>",
                               .is_open = is_open,
                               .tokens = {{OPEN, "<think>"}, {CLOSE, "</think>"}},
                               .n_tokens = 2,
                               .closing = {.ids = closing, .n = 1}};
}

/* The SLM would write BANG everywhere. */
static void steer_everywhere(bench *b)
{
    for (size_t p = 0; p < FAKE_POSITIONS; p++) {
        b->deltas.expert[p][BANG] = 100.0F;
    }
}

static void test_thinking__reasoning_is_unsteered_and_apart_from_the_answer(void **state)
{
    bench *b = *state;
    const costeer_reasoning reasoning = let_reason(b, false, 8);
    b->params.reasoning = &reasoning;
    b->params.max_tokens = 2;
    steer_everywhere(b);
    prefer(b, OPEN, HM, CLOSE, LINES, HELLO, HELLO);
    assert_int_equal(run(b), COSTEER_OK);
    assert_text(b, "!!");
    assert_string_equal(thought, "Hm");
    assert_int_equal(b->report.n_reasoning, 4);
    assert_int_equal(b->report.n_tokens, 6);
    assert_int_equal(b->report.n_steered, 2);
    assert_int_equal(b->report.n_gated, 0);
    assert_int_equal(b->report.finish, COSTEER_FINISH_LENGTH); /* of the answer: max_tokens is its own */
    assert_true(b->positions[3].is_reasoning && !b->positions[4].is_reasoning);
    assert_non_null(strstr(b->journal.text, "step(2,3,4,5)")); /* the SLM reads it in one batch */
}

static void test_thinking__a_prompt_that_began_it_needs_no_mark(void **state)
{
    bench *b = *state;
    const costeer_reasoning reasoning = let_reason(b, true, 8);
    b->params.reasoning = &reasoning;
    prefer(b, HM, CLOSE, HELLO, FAKE_END);
    assert_int_equal(run(b), COSTEER_OK);
    assert_text(b, "Hello");
    assert_string_equal(thought, "Hm");
    assert_int_equal(b->report.n_reasoning, 2);
}

static void test_thinking__a_model_that_does_not_reason_is_steered_from_its_first_token(void **state)
{
    bench *b = *state;
    const costeer_reasoning reasoning = let_reason(b, false, 8);
    b->params.reasoning = &reasoning;
    b->params.max_tokens = 1;
    steer_everywhere(b);
    prefer(b, HELLO, FAKE_END);
    assert_int_equal(run(b), COSTEER_OK);
    assert_text(b, "!");
    assert_int_equal(b->report.n_reasoning, 0);
}

static void test_thinking__a_mark_may_be_several_tokens_and_share_one_with_the_answer(void **state)
{
    bench *b = *state;
    const costeer_reasoning reasoning = let_reason(b, true, 8);
    b->params.reasoning = &reasoning;
    prefer(b, HM, CLO, SE_HI, BANG, FAKE_END);
    assert_int_equal(run(b), COSTEER_OK);
    assert_text(b, "Hi!");
    assert_string_equal(thought, "Hm");
}

static void test_thinking__a_mark_may_be_a_token_without_text(void **state)
{
    bench *b = *state;
    costeer_reasoning reasoning = let_reason(b, true, 8);
    reasoning.tokens[1].token = MARK;
    b->params.reasoning = &reasoning;
    prefer(b, HM, MARK, HELLO, FAKE_END);
    assert_int_equal(run(b), COSTEER_OK);
    assert_text(b, "Hello");
    assert_string_equal(thought, "Hm");
}

/* ---- marks of several control tokens ----------------------------------------------------------------------------- */

enum { CHANNEL = 2, MESSAGE, END, START, ANALYSIS, FINAL, ASSISTANT, THOUGHT, WORD, COMMENTARY, NEXT };

static const char *const harmony_pieces[] = {"",
                                             "",
                                             "",
                                             "",
                                             "",
                                             "",
                                             "analysis",
                                             "final",
                                             "assistant",
                                             "Let's",
                                             "Yes.",
                                             "commentary",
                                             "<|end|><|start|>assistant<|channel|>",
                                             NULL};

static costeer_reasoning let_reason_in_channels(bench *b, int32_t budget)
{
    static int32_t closing[] = {END, START, ASSISTANT, CHANNEL, FINAL, MESSAGE};
    b->vocab = fake_vocab(harmony_pieces);
    b->params.on_reasoning = on_reasoning;
    b->params.reasoning_budget = budget;
    b->params.max_tokens = 4;
    thought[0] = '\0';
    return (costeer_reasoning){
        .begin = "<|channel|>analysis<|message|>",
        .end = "<|end|><|start|>assistant<|channel|>final<|message|>",
        .answer = "<|channel|>final<|message|>",
        .tokens = {{CHANNEL, "<|channel|>"}, {MESSAGE, "<|message|>"}, {END, "<|end|>"}, {START, "<|start|>"}},
        .n_tokens = 4,
        .closing = {.ids = closing, .n = 6}};
}

static void test_thinking__channels_are_told_apart(void **state)
{
    bench *b = *state;
    const costeer_reasoning reasoning = let_reason_in_channels(b, 16);
    b->params.reasoning = &reasoning;
    prefer(b, CHANNEL, ANALYSIS, MESSAGE, THOUGHT, END, START, ASSISTANT, CHANNEL, FINAL, MESSAGE, WORD, FAKE_END);
    assert_int_equal(run(b), COSTEER_OK);
    assert_text(b, "Yes.");
    assert_string_equal(thought, "Let's");
    assert_int_equal(b->report.n_reasoning, 10);
    assert_false(b->positions[10].is_reasoning);
}

static void test_thinking__an_answer_in_the_last_channel_at_once_is_not_reasoned(void **state)
{
    bench *b = *state;
    const costeer_reasoning reasoning = let_reason_in_channels(b, 16);
    b->params.reasoning = &reasoning;
    prefer(b, CHANNEL, FINAL, MESSAGE, WORD, FAKE_END);
    assert_int_equal(run(b), COSTEER_OK);
    assert_text(b, "Yes.");
    assert_string_equal(thought, "");
    assert_int_equal(b->report.n_reasoning, 3);
}

static void test_thinking__what_stands_in_other_channels_before_the_last_is_reasoning(void **state)
{
    bench *b = *state;
    const costeer_reasoning reasoning = let_reason_in_channels(b, 32);
    b->params.reasoning = &reasoning;
    prefer(b, CHANNEL, ANALYSIS, MESSAGE, THOUGHT, NEXT, COMMENTARY, MESSAGE, THOUGHT, NEXT, FINAL, MESSAGE, WORD, FAKE_END);
    assert_int_equal(run(b), COSTEER_OK);
    assert_text(b, "Yes.");
    assert_string_equal(thought, "Let's<|end|><|start|>assistant<|channel|>commentary<|message|>Let's");
}

static void test_thinking__the_budget_names_the_last_channel(void **state)
{
    bench *b = *state;
    const costeer_reasoning reasoning = let_reason_in_channels(b, 5);
    b->params.reasoning = &reasoning;
    prefer(b, CHANNEL, ANALYSIS, MESSAGE, THOUGHT, THOUGHT, THOUGHT, THOUGHT, THOUGHT, THOUGHT, THOUGHT, THOUGHT, WORD, FAKE_END);
    assert_int_equal(run(b), COSTEER_OK);
    assert_text(b, "Yes.");
    assert_string_equal(thought, "Let'sLet's");
    assert_int_equal(b->tokens[5], END);
    assert_int_equal(b->tokens[10], MESSAGE);
}

static void test_thinking__the_budget_ends_it(void **state)
{
    bench *b = *state;
    const costeer_reasoning reasoning = let_reason(b, true, 3);
    b->params.reasoning = &reasoning;
    b->params.max_tokens = 1;
    prefer(b, HM, HM, HM, HM, HELLO, HELLO);
    assert_int_equal(run(b), COSTEER_OK);
    assert_string_equal(thought, "HmHmHm");
    assert_text(b, "Hello");
    assert_int_equal(b->tokens[3], CLOSE);
    assert_non_null(strstr(b->journal.text, "commit(3,4)"));
    assert_int_equal(b->report.n_steered, 0);
}

static void test_thinking__what_only_looked_like_a_mark_is_the_answers(void **state)
{
    bench *b = *state;
    const costeer_reasoning reasoning = let_reason(b, false, 8);
    b->params.reasoning = &reasoning;
    prefer(b, SMALLER, HELLO, FAKE_END);
    assert_int_equal(run(b), COSTEER_OK);
    assert_text(b, "<Hello");
    assert_string_equal(thought, "");
}

static void test_thinking__an_end_inside_leaves_an_empty_answer(void **state)
{
    bench *b = *state;
    const costeer_reasoning reasoning = let_reason(b, true, 8);
    b->params.reasoning = &reasoning;
    prefer(b, HM, FAKE_END);
    assert_int_equal(run(b), COSTEER_OK);
    assert_text(b, "");
    assert_string_equal(thought, "Hm");
    assert_int_equal(b->report.finish, COSTEER_FINISH_END);
}

static void test_thinking__stop_strings_are_the_answers(void **state)
{
    bench *b = *state;
    const costeer_reasoning reasoning = let_reason(b, true, 8);
    static const char *const stop[] = {"Hm"};
    b->params.reasoning = &reasoning;
    b->params.stop = stop;
    b->params.n_stop = 1;
    prefer(b, HM, CLOSE, HELLO, HM, HELLO);
    assert_int_equal(run(b), COSTEER_OK);
    assert_text(b, "Hello");
    assert_int_equal(b->report.finish, COSTEER_FINISH_STOP);
}

static void test_thinking__the_cloud_is_asked_for_room_for_both(void **state)
{
    bench *b = *state;
    const costeer_reasoning reasoning = let_reason(b, true, 8);
    b->params.reasoning = &reasoning;
    assert_int_equal(costeer_session_positions_max(&b->params), 8 + 8 + COSTEER_REASONING_MARGIN);
    b->params.reasoning_budget = 0;
    costeer_session *session;
    assert_int_equal(costeer_session_create(&b->cloud.cloud, NULL, &b->vocab, &b->params, &session, &b->err), COSTEER_EINVAL);
    assert_non_null(strstr(b->err.message, "budget is 0"));
    b->params.reasoning = NULL;
    assert_int_equal(costeer_session_positions_max(&b->params), 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        session_test(test_thinking__reasoning_is_unsteered_and_apart_from_the_answer),
        session_test(test_thinking__a_prompt_that_began_it_needs_no_mark),
        session_test(test_thinking__a_model_that_does_not_reason_is_steered_from_its_first_token),
        session_test(test_thinking__a_mark_may_be_several_tokens_and_share_one_with_the_answer),
        session_test(test_thinking__a_mark_may_be_a_token_without_text),
        session_test(test_thinking__channels_are_told_apart),
        session_test(test_thinking__an_answer_in_the_last_channel_at_once_is_not_reasoned),
        session_test(test_thinking__what_stands_in_other_channels_before_the_last_is_reasoning),
        session_test(test_thinking__the_budget_names_the_last_channel),
        session_test(test_thinking__the_budget_ends_it),
        session_test(test_thinking__what_only_looked_like_a_mark_is_the_answers),
        session_test(test_thinking__an_end_inside_leaves_an_empty_answer),
        session_test(test_thinking__stop_strings_are_the_answers),
        session_test(test_thinking__the_cloud_is_asked_for_room_for_both),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
