/* The pure parts of the batcher: an answer's rules, what goes into a step, the tail of a sparse base. No model. */
#include "cloud/batch_answer.h"
#include "cloud/batch_base.h"
#include "cloud/batch_schedule.h"
#include "unit/random.h"

#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define N_VOCAB  100
#define END      99
#define N_PROMPT 5

static bool is_end(const void *of, int32_t token)
{
    (void)of;
    return token == END;
}

static const int32_t prompt[N_PROMPT] = {1, 2, 3, 4, 5};
static const cs_answer_limits limits = {.n_vocab = N_VOCAB, .n_ctx = 64, .max_window = 8, .max_drafts = 4, .is_end = is_end};
static costeer_error err;

static costeer_batch_request request_of(int32_t window, int32_t top_k)
{
    return (costeer_batch_request){.prompt = prompt, .n_prompt = N_PROMPT, .max_tokens = 20, .window = window, .top_k = top_k};
}

static cs_answer make(int32_t window)
{
    cs_answer answer;
    const costeer_batch_request request = request_of(window, 4);
    assert_int_equal(cs_answer_init(&answer, &request, &limits, &err), COSTEER_OK);
    return answer;
}

/* Compute and deliver what may be computed, with these own tokens; token t at position p: 10 + p unless given. */
static int32_t deliver(cs_answer *answer, int32_t n, int32_t own_token)
{
    int32_t n_delivered = 0;
    while (n_delivered < n && answer->next <= cs_answer_last(answer)) {
        cs_answer_start_rows(answer, 1);
        cs_answer_next_entry(answer)->own_token = own_token >= 0 ? own_token : 10 + answer->next;
        cs_answer_deliver(answer);
        n_delivered++;
    }
    return n_delivered;
}

static void assert_refused(costeer_err code, const char *message)
{
    assert_int_equal(code, COSTEER_EINVAL);
    if (strstr(err.message, message) == NULL) {
        fail_msg("the message is \"%s\", not \"%s\"", err.message, message);
    }
}

/* What a sequence holds of the answer, and what is left to do then. */
static void assert_work(const cs_answer *answer, int32_t n_held, int32_t start, int32_t gap, int32_t rows)
{
    const cs_answer_work work = cs_answer_find_work(answer, answer->tokens, n_held);
    assert_int_equal(work.start, start);
    assert_int_equal(work.gap, gap);
    assert_int_equal(work.rows, rows);
}

/* ---- how far ahead ----------------------------------------------------------------------------------------------- */

static void test_batch_answer__lockstep_waits_for_each_token(void **state)
{
    (void)state;
    cs_answer answer = make(0);
    assert_work(&answer, 0, 0, N_PROMPT - 1, 1);
    assert_int_equal(deliver(&answer, 100, -1), 1);
    assert_work(&answer, N_PROMPT, 0, 0, 0); /* nothing to do */
    for (int32_t p = 0; p + 1 < 20; p++) {
        assert_int_equal(cs_answer_commit(&answer, p, &err), COSTEER_OK);
        assert_work(&answer, N_PROMPT + p, N_PROMPT + p, 0, 1);
        assert_int_equal(deliver(&answer, 100, -1), 1);
    }
    assert_int_equal(cs_answer_commit(&answer, 19, &err), COSTEER_OK); /* the last one: max_tokens */
    assert_int_equal(deliver(&answer, 100, -1), 0);
    const costeer_batch_account account = cs_answer_close_account(&answer);
    assert_int_equal(account.n_steps, 20);
    assert_int_equal(account.n_wasted, 0);
    cs_answer_dispose(&answer);
}

static void test_batch_answer__the_window_bounds_how_far_it_runs_ahead(void **state)
{
    (void)state;
    cs_answer answer = make(3);
    assert_int_equal(deliver(&answer, 100, -1), 4); /* positions 0 … 3 */
    assert_int_equal(cs_answer_commit(&answer, 1, &err), COSTEER_OK);
    assert_int_equal(deliver(&answer, 100, -1), 2);
    assert_int_equal(answer.next, 6);
    const costeer_batch_account account = cs_answer_close_account(&answer);
    assert_int_equal(account.n_wasted, 3); /* 3, 4, 5; position 2 is in use */
    cs_answer_dispose(&answer);
}

/* Nine of ten runs of agreement end within 18 tokens if one in 8 is corrected, and sooner the more are. */
static void test_batch_answer__it_runs_ahead_as_far_as_it_is_agreed_with(void **state)
{
    (void)state;
    const cs_answer_limits wide = {.n_vocab = N_VOCAB, .n_ctx = 512, .max_window = 64, .max_drafts = 4, .is_end = is_end};
    costeer_batch_request request = request_of(64, 4);
    request.max_tokens = 500;
    cs_answer answer;
    assert_int_equal(cs_answer_init(&answer, &request, &wide, &err), COSTEER_OK);
    assert_int_equal(cs_answer_last(&answer), 0);
    deliver(&answer, INT_MAX, 7);
    assert_int_equal(answer.next, 1 + 18);
    for (int32_t position = 0; position < 200; position++) {
        assert_int_equal(cs_answer_commit(&answer, position, &err), COSTEER_OK);
        deliver(&answer, INT_MAX, 7);
    }
    assert_int_equal(answer.next, 200 + 1 + 64);
    for (int32_t i = 0; i < 200; i++) { /* every second one is corrected */
        const int32_t position = answer.n_accepted;
        const costeer_err code = i % 2 == 0 ? cs_answer_commit(&answer, position, &err)
                                            : cs_answer_correct(&answer, answer.epoch + 1, position, 8, &err);
        assert_int_equal(code, COSTEER_OK);
        deliver(&answer, INT_MAX, 7);
    }
    assert_int_equal(answer.next, 400 + 1 + 9); /* 100 of 400 */
    cs_answer_dispose(&answer);
}

static void test_batch_answer__nothing_is_computed_behind_an_end_token(void **state)
{
    (void)state;
    cs_answer answer = make(8);
    assert_int_equal(deliver(&answer, 2, -1), 2);
    assert_int_equal(deliver(&answer, 100, END), 1); /* position 2 chose to end */
    assert_int_equal(deliver(&answer, 100, -1), 0);
    assert_int_equal(cs_answer_correct(&answer, 1, 2, 50, &err), COSTEER_OK); /* but it may be corrected */
    assert_int_equal(deliver(&answer, 100, -1), 9);                           /* 3 … 11 */
    cs_answer_dispose(&answer);
}

static void test_batch_answer__it_is_taken_up_again_behind_accepted_tokens(void **state)
{
    (void)state;
    const int32_t accepted[] = {10, 11, 12};
    costeer_batch_request request = request_of(1, 4);
    request.accepted = accepted;
    request.n_accepted = 3;
    cs_answer answer;
    assert_int_equal(cs_answer_init(&answer, &request, &limits, &err), COSTEER_OK);
    assert_int_equal(answer.next, 3);
    assert_work(&answer, 0, 0, N_PROMPT + 2, 1);
    assert_int_equal(deliver(&answer, 100, -1), 2);
    assert_refused(cs_answer_commit(&answer, 2, &err), "position 2 is accepted already");
    assert_int_equal(cs_answer_commit(&answer, 3, &err), COSTEER_OK);
    cs_answer_dispose(&answer);
}

/* ---- what is to be computed -------------------------------------------------------------------------------------- */

static void test_batch_answer__work_follows_from_what_is_held(void **state)
{
    (void)state;
    cs_answer answer = make(3);
    const int32_t other[] = {1, 2, 9, 4, 5, 6, 7};
    cs_answer_work work = cs_answer_find_work(&answer, other, 7);
    assert_int_equal(work.start, 2); /* another prompt from there on */
    assert_int_equal(work.gap, 2);
    assert_int_equal(work.rows, 1);
    assert_work(&answer, N_PROMPT, N_PROMPT - 1, 0, 1); /* all is held, but the last token's row is wanted */
    assert_int_equal(deliver(&answer, 100, -1), 4);
    assert_int_equal(cs_answer_correct(&answer, 1, 1, 77, &err), COSTEER_OK);
    const int32_t held[] = {1, 2, 3, 4, 5, 10, 11, 12};
    work = cs_answer_find_work(&answer, held, 8);
    assert_int_equal(work.start, 6); /* 11 was replaced by 77 */
    assert_int_equal(work.gap, 0);
    assert_int_equal(work.rows, 1);
    work = cs_answer_find_work(&answer, held, 0); /* a recurrent model lost all */
    assert_int_equal(work.gap, 6);
    cs_answer_dispose(&answer);
}

/* ---- commit and correct ------------------------------------------------------------------------------------------ */

static void test_batch_answer__commit_takes_what_was_delivered_once(void **state)
{
    (void)state;
    cs_answer answer = make(3);
    assert_refused(cs_answer_commit(&answer, 0, &err), "commit: position 0 was not delivered; the next one is 0");
    assert_int_equal(deliver(&answer, 3, -1), 3);
    assert_refused(cs_answer_commit(&answer, 3, &err), "commit: position 3 was not delivered; the next one is 3");
    assert_refused(cs_answer_commit(&answer, -1, &err), "commit: position -1 is accepted already");
    assert_refused(cs_answer_commit(&answer, INT32_MIN, &err), "is accepted already");
    assert_refused(cs_answer_commit(&answer, INT32_MAX, &err), "was not delivered");
    assert_int_equal(cs_answer_commit(&answer, 1, &err), COSTEER_OK);
    assert_refused(cs_answer_commit(&answer, 1, &err), "commit: position 1 is accepted already, as all below 2 are");
    assert_int_equal(answer.n_accepted, 2);
    cs_answer_dispose(&answer);
}

static void test_batch_answer__correct_drops_what_was_assumed(void **state)
{
    (void)state;
    cs_answer answer = make(6);
    assert_int_equal(deliver(&answer, 5, -1), 5);
    cs_answer_start_rows(&answer, 1); /* position 5 is being computed */
    const uint32_t generation = answer.generation;
    assert_int_equal(cs_answer_correct(&answer, 1, 2, 77, &err), COSTEER_OK);
    assert_true(answer.generation != generation);
    assert_int_equal(answer.epoch, 1);
    assert_int_equal(answer.n_accepted, 3);
    assert_int_equal(answer.next, 3);
    assert_int_equal(answer.n_known, 3);
    assert_int_equal(answer.tokens[N_PROMPT + 2], 77);
    assert_int_equal(answer.account.n_wasted, 3); /* 3, 4 and the row of 5 */
    assert_int_equal(answer.account.n_rollbacks, 1);
    cs_answer_dispose(&answer);
}

static void test_batch_answer__correct_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    cs_answer answer = make(6);
    assert_int_equal(deliver(&answer, 3, -1), 3);
    assert_int_equal(cs_answer_commit(&answer, 0, &err), COSTEER_OK);
    assert_refused(cs_answer_correct(&answer, 0, 1, 5, &err), "correct: epoch 0 does not follow 0");
    assert_refused(cs_answer_correct(&answer, 2, 1, 5, &err), "correct: epoch 2 does not follow 0");
    assert_refused(cs_answer_correct(&answer, 1, 0, 5, &err), "correct: position 0 is accepted already");
    assert_refused(cs_answer_correct(&answer, 1, 3, 5, &err), "correct: position 3 was not delivered");
    assert_refused(cs_answer_correct(&answer, 1, 1, N_VOCAB, &err), "correct: the token is not one of the vocabulary's 100");
    assert_refused(cs_answer_correct(&answer, 1, 1, -1, &err), "correct: the token is not one of");
    assert_int_equal(answer.epoch, 0);
    assert_int_equal(answer.next, 3);
    assert_int_equal(answer.n_known, 3);
    cs_answer_dispose(&answer);
}

static void test_batch_answer__a_correction_that_drops_nothing_is_no_rollback(void **state)
{
    (void)state;
    cs_answer answer = make(0);
    assert_int_equal(deliver(&answer, 1, -1), 1);
    assert_int_equal(cs_answer_correct(&answer, 1, 0, 77, &err), COSTEER_OK);
    assert_int_equal(answer.account.n_rollbacks, 0);
    assert_int_equal(answer.account.n_wasted, 0);
    cs_answer_dispose(&answer);
}

/* ---- drafts ------------------------------------------------------------------------------------------------------ */

static void test_batch_answer__drafts_are_computed_in_one_go(void **state)
{
    (void)state;
    const int32_t drafts[] = {20, 21, 22};
    cs_answer answer = make(0);
    assert_int_equal(deliver(&answer, 1, -1), 1);
    assert_int_equal(cs_answer_commit(&answer, 0, &err), COSTEER_OK);
    assert_int_equal(cs_answer_draft(&answer, 1, drafts, 3, &err), COSTEER_OK);
    assert_work(&answer, N_PROMPT, N_PROMPT, 0, 4); /* positions 1 … 4 */
    assert_int_equal(deliver(&answer, 100, 50), 4);
    assert_int_equal(answer.tokens[N_PROMPT + 1], 20); /* a draft stays, whatever the model's choice */
    assert_int_equal(answer.tokens[N_PROMPT + 4], 50);
    assert_int_equal(cs_answer_correct(&answer, 1, 3, 77, &err), COSTEER_OK); /* accepts 20, 21; drops 22 */
    assert_int_equal(answer.account.n_wasted, 1);
    assert_int_equal(cs_answer_draft(&answer, 4, drafts, 2, &err), COSTEER_OK);
    assert_int_equal(deliver(&answer, 100, 50), 3);
    assert_int_equal(cs_answer_commit(&answer, 6, &err), COSTEER_OK); /* drafts and what follows them */
    assert_int_equal(cs_answer_close_account(&answer).n_wasted, 1);
    cs_answer_dispose(&answer);
}

static void test_batch_answer__draft_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    const int32_t drafts[] = {20, 21, 22, 23, N_VOCAB};
    cs_answer answer = make(3);
    assert_refused(cs_answer_draft(&answer, 1, drafts, 1, &err), "draft: begins at position 1; the first not accepted is 0");
    assert_int_equal(deliver(&answer, 2, -1), 2);
    assert_refused(cs_answer_draft(&answer, 0, drafts, 1, &err), "draft: position 0 has a token that was gone on with");
    assert_int_equal(cs_answer_correct(&answer, 1, 0, 5, &err), COSTEER_OK);
    assert_refused(cs_answer_draft(&answer, 1, drafts, 0, &err), "draft: 0 tokens; give 1 to 4");
    assert_refused(cs_answer_draft(&answer, 1, drafts, 5, &err), "draft: 5 tokens; give 1 to 4");
    assert_refused(cs_answer_draft(&answer, 1, drafts, SIZE_MAX, &err), "give 1 to 4");
    assert_refused(cs_answer_draft(&answer, 1, drafts + 4, 1, &err), "draft: the token is not one of");
    assert_refused(cs_answer_draft(&answer, 2, drafts, 1, &err), "draft: begins at position 2; the first not accepted is 1");
    assert_int_equal(answer.n_known, 1);
    assert_int_equal(cs_answer_draft(&answer, 1, drafts, 2, &err), COSTEER_OK);
    assert_refused(cs_answer_draft(&answer, 1, drafts, 2, &err), "draft: position 1 has a token that was gone on with");
    cs_answer_dispose(&answer);
    answer = make(0);
    for (int32_t p = 0; p < 17; p++) {
        assert_int_equal(deliver(&answer, 1, -1), 1);
        assert_int_equal(cs_answer_commit(&answer, p, &err), COSTEER_OK);
    }
    assert_refused(cs_answer_draft(&answer, 17, drafts, 4, &err),
                   "draft: 4 tokens from position 17 on go beyond the answer's 20");
    assert_int_equal(cs_answer_draft(&answer, 17, drafts, 3, &err), COSTEER_OK);
    assert_int_equal(deliver(&answer, 100, -1), 3); /* 17, 18, 19: none behind the last token */
    cs_answer_dispose(&answer);
}

/* The model was quicker than the draft: its own token was delivered, nothing behind it. */
static void test_batch_answer__a_draft_replaces_an_own_token_nothing_was_delivered_behind(void **state)
{
    (void)state;
    const int32_t drafts[] = {20, 21};
    cs_answer answer = make(2);
    assert_int_equal(deliver(&answer, 1, -1), 1);
    cs_answer_start_rows(&answer, 1); /* position 1 is being computed from the model's own token */
    const uint32_t generation = answer.generation;
    assert_int_equal(cs_answer_draft(&answer, 0, drafts, 2, &err), COSTEER_OK);
    assert_true(answer.generation != generation);
    assert_int_equal(answer.next, 1);
    assert_int_equal(answer.n_known, 2);
    assert_int_equal(answer.tokens[N_PROMPT], 20);
    assert_int_equal(answer.account.n_wasted, 1);
    cs_answer_dispose(&answer);
}

/* ---- deepening --------------------------------------------------------------------------------------------------- */

static void test_batch_answer__deepening_is_for_delivered_positions_of_this_epoch(void **state)
{
    (void)state;
    cs_answer answer = make(4);
    assert_refused(cs_answer_deepen(&answer, 0, 0, 8, &err), "deepen: position 0 was not delivered");
    assert_int_equal(deliver(&answer, 4, -1), 4);
    assert_int_equal(cs_answer_commit(&answer, 0, &err), COSTEER_OK);
    assert_refused(cs_answer_deepen(&answer, 1, 1, 8, &err), "deepen: epoch 1; the answer is in epoch 0");
    assert_refused(cs_answer_deepen(&answer, 0, 0, 8, &err), "deepen: position 0 is accepted already");
    assert_refused(cs_answer_deepen(&answer, 0, 1, -1, &err), "deepen: top_k is -1; give 0 to 100");
    assert_refused(cs_answer_deepen(&answer, 0, 1, N_VOCAB + 1, &err), "deepen: top_k is 101; give 0 to 100");
    assert_int_equal(cs_answer_deepen(&answer, 0, 2, 8, &err), COSTEER_OK);
    assert_refused(cs_answer_deepen(&answer, 0, 3, 8, &err), "deepen: position 2 is being deepened");
    assert_int_equal(cs_answer_find_entry(&answer, 2)->own_token, 12);
    assert_null(cs_answer_find_entry(&answer, 0));
    assert_null(cs_answer_find_entry(&answer, 4));
    assert_int_equal(cs_answer_commit(&answer, 2, &err), COSTEER_OK); /* then nobody needs it any more */
    assert_int_equal(answer.deepen, CS_DEEPEN_NONE);
    cs_answer_dispose(&answer);
}

static void test_batch_answer__computing_again_drops_own_tokens_and_keeps_drafts(void **state)
{
    (void)state;
    const int32_t drafts[] = {20, 21, 22};
    cs_answer answer = make(2);
    assert_int_equal(deliver(&answer, 3, -1), 3);
    assert_int_equal(cs_answer_deepen(&answer, 0, 1, 50, &err), COSTEER_OK);
    cs_answer_recompute(&answer);
    assert_int_equal(answer.epoch, 1);
    assert_int_equal(answer.next, 1);
    assert_int_equal(answer.n_known, 1);
    assert_int_equal(answer.account.n_wasted, 1); /* position 2; the first computation of 1 was used */
    assert_int_equal(deliver(&answer, 1, -1), 1);
    assert_int_equal(answer.deepen, CS_DEEPEN_NONE);
    assert_int_equal(cs_answer_correct(&answer, 2, 1, 5, &err), COSTEER_OK);
    assert_int_equal(cs_answer_draft(&answer, 2, drafts, 3, &err), COSTEER_OK);
    assert_int_equal(deliver(&answer, 4, -1), 4);
    assert_int_equal(cs_answer_deepen(&answer, 2, 3, 0, &err), COSTEER_OK);
    cs_answer_recompute(&answer);
    assert_int_equal(answer.n_known, 5); /* with drafts 20, 21, 22 at 2, 3, 4 */
    assert_work(&answer, N_PROMPT + 5, N_PROMPT + 2, 0, 3);
    cs_answer_dispose(&answer);
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static void assert_not_made(const costeer_batch_request *request, costeer_err code, const char *message)
{
    cs_answer answer;
    assert_int_equal(cs_answer_init(&answer, request, &limits, &err), code);
    assert_non_null(strstr(err.message, message));
}

static void test_batch_answer__opening_is_refused_with_the_rule(void **state)
{
    (void)state;
    const int32_t accepted[] = {5, END, N_VOCAB, -1};
    costeer_batch_request request = request_of(0, 4);
    request.n_prompt = 0;
    assert_not_made(&request, COSTEER_EINVAL, "the prompt is empty");
    request = request_of(0, 4);
    request.max_tokens = 0;
    assert_not_made(&request, COSTEER_EINVAL, "max_tokens is 0");
    request.max_tokens = 60;
    assert_not_made(&request, COSTEER_ETOOLONG, "a prompt of 5 tokens and up to 60 of answer do not fit the 64");
    request.n_prompt = SIZE_MAX;
    assert_not_made(&request, COSTEER_ETOOLONG, "do not fit");
    request = request_of(9, 4);
    assert_not_made(&request, COSTEER_EINVAL, "the window is 9; give 0 to 8");
    request = request_of(0, N_VOCAB + 1);
    assert_not_made(&request, COSTEER_EINVAL, "top_k is 101; give 0 to 100");
    request = request_of(0, 4);
    request.accepted = accepted;
    request.n_accepted = 2;
    assert_not_made(&request, COSTEER_EINVAL, "accepted token 1 ends the answer");
    request.n_accepted = 4;
    assert_not_made(&request, COSTEER_EINVAL, "the accepted tokens: token 2 is not one of the vocabulary's 100");
    request.n_accepted = 20;
    assert_not_made(&request, COSTEER_EINVAL, "20 accepted tokens; there must be fewer than max_tokens, 20");
}

static void test_batch_answer__what_is_remembered_is_bounded(void **state)
{
    (void)state;
    cs_answer_limits wide = limits;
    wide.n_vocab = 1 << 20;
    wide.max_window = 256;
    wide.n_ctx = 2000;
    costeer_batch_request request = request_of(256, 1 << 19);
    request.max_tokens = 1000;
    cs_answer answer;
    assert_int_equal(cs_answer_init(&answer, &request, &wide, &err), COSTEER_OK);
    assert_true((int64_t)answer.n_remembered * answer.n_entries * 8 <= 16 << 20);
    assert_true(answer.n_remembered > 1000);
    cs_answer_dispose(&answer);
    answer = make(0);
    assert_int_equal(answer.n_remembered, 32);
    assert_true(!answer.remembers_logits);
    cs_answer_dispose(&answer);
    request = request_of(0, 7); /* 56 entries of 100 take more than the logits */
    assert_int_equal(cs_answer_init(&answer, &request, &limits, &err), COSTEER_OK);
    assert_true(answer.remembers_logits && answer.entries[0].logits != NULL);
    cs_answer_dispose(&answer);
}

/* ---- the step ---------------------------------------------------------------------------------------------------- */

static void test_batch_schedule__prompts_share_what_continued_answers_leave(void **state)
{
    (void)state;
    const cs_schedule_limits step = {.room = 512, .rows = 64, .prompt_chunk = 64};
    cs_schedule_part parts[4] = {{.rows = 1}, {.gap = 1000, .rows = 1}, {.rows = 5}, {.gap = 9, .rows = 1}};
    assert_int_equal(cs_schedule(parts, 4, 0, &step), 1 + 5 + 64);
    assert_int_equal(parts[0].take_rows, 1);
    assert_int_equal(parts[2].take_rows, 5);
    assert_int_equal(parts[3].take_gap, 9); /* the short prompt is done at once */
    assert_int_equal(parts[3].take_rows, 1);
    assert_int_equal(parts[1].take_gap, 54);
    assert_int_equal(parts[1].take_rows, 0);
}

static void test_batch_schedule__prompts_alone_fill_the_step(void **state)
{
    (void)state;
    const cs_schedule_limits step = {.room = 512, .rows = 64, .prompt_chunk = 64};
    cs_schedule_part parts[3] = {{.gap = 1000, .rows = 1}, {.rows = 0}, {.gap = 1000, .rows = 1}};
    assert_int_equal(cs_schedule(parts, 3, 0, &step), 512);
    assert_int_equal(parts[0].take_gap, 256);
    assert_int_equal(parts[2].take_gap, 256);
    assert_int_equal(parts[1].take_gap + parts[1].take_rows, 0);
}

static void test_batch_schedule__each_gets_one_row_before_any_gets_more(void **state)
{
    (void)state;
    const cs_schedule_limits step = {.room = 512, .rows = 5, .prompt_chunk = 64};
    cs_schedule_part parts[3] = {{.rows = 9}, {.rows = 9}, {.rows = 9}};
    assert_int_equal(cs_schedule(parts, 3, 1, &step), 5);
    assert_int_equal(parts[0].take_rows, 1);
    assert_int_equal(parts[1].take_rows, 3); /* the first in turn */
    assert_int_equal(parts[2].take_rows, 1);
}

/* Turns: with less room than answers, nobody waits longer than a round; bounds hold for anything. */
static void test_batch_schedule__nobody_is_left_out_and_no_bound_is_broken(void **state)
{
    (void)state;
    enum { N = 7 };
    struct test_random random = {.state = 77};
    int32_t served[N] = {0};
    for (int32_t round = 0; round < 2000; round++) {
        const cs_schedule_limits step = {.room = 1 + test_random_below(&random, 20),
                                         .rows = 1 + test_random_below(&random, 8),
                                         .prompt_chunk = 1 + test_random_below(&random, 10)};
        cs_schedule_part parts[N];
        for (int32_t i = 0; i < N; i++) {
            parts[i] = (cs_schedule_part){.gap = test_random_below(&random, 2) * test_random_below(&random, 30),
                                          .rows = test_random_below(&random, 4)};
        }
        const int32_t n = cs_schedule(parts, N, round % N, &step);
        int32_t n_tokens = 0;
        int32_t n_rows = 0;
        int32_t n_wanted = 0;
        for (int32_t i = 0; i < N; i++) {
            assert_true(parts[i].take_gap >= 0 && parts[i].take_gap <= parts[i].gap && parts[i].take_rows <= parts[i].rows);
            assert_true(parts[i].rows > 0 || parts[i].take_gap == 0);
            assert_true(parts[i].take_rows == 0 || parts[i].take_gap == parts[i].gap);
            n_tokens += parts[i].take_gap + parts[i].take_rows;
            n_rows += parts[i].take_rows;
            n_wanted += parts[i].rows;
            served[i] += parts[i].take_gap + parts[i].take_rows > 0 ? 1 : 0;
        }
        assert_int_equal(n, n_tokens);
        assert_true(n <= step.room && n_rows <= step.rows && (n > 0 || n_wanted == 0));
    }
    for (int32_t i = 0; i < N; i++) {
        assert_true(served[i] > 500);
    }
}

/* ---- the tail ---------------------------------------------------------------------------------------------------- */

static void check_tail(int32_t n_vocab, float spread, uint64_t seed)
{
    enum { MAX = 40000, K = 64, SENT = 8 };
    static float logits[MAX];
    struct test_random random = {.state = seed};
    for (int32_t i = 0; i < n_vocab; i++) {
        logits[i] = (float)test_random_between(&random, -1, 1) * spread;
    }
    int32_t ids[K];
    float values[K];
    double rest = 0;
    const int32_t n = cs_base_best(logits, n_vocab, K, ids, values, &rest);
    assert_int_equal(n, K);
    for (int32_t k = SENT; k <= K; k += K - SENT) {
        double unsent = 0; /* exactly: the smallest first does not matter in double */
        const double normaliser = costeer_logsumexp(logits, n_vocab);
        for (int32_t i = 0; i < n_vocab; i++) {
            bool is_sent = false;
            for (int32_t j = 0; j < k; j++) {
                is_sent = is_sent || ids[j] == i;
            }
            unsent += is_sent ? 0 : exp((double)logits[i] - normaliser);
        }
        const float tail = cs_base_tail(values, k, n, rest);
        assert_true(tail < 0 && (double)tail >= log(unsent)); /* an upper bound */
        assert_true(exp((double)tail) - unsent < 1e-6);       /* and a close one */
    }
}

static void test_batch_base__the_tail_is_a_close_upper_bound(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 6; seed++) {
        check_tail(768, 12, seed);
        check_tail(768, 0.01F, seed);
        check_tail(40000, 12, seed); /* where it is one minus what is sent */
        check_tail(40000, 60, seed);
    }
}

static void test_batch_base__the_tail_of_everything_is_nothing(void **state)
{
    (void)state;
    const float logits[5] = {1, -INFINITY, 0, -INFINITY, 2};
    int32_t ids[4];
    float values[4];
    double rest = 1;
    assert_int_equal(cs_base_best(logits, 5, 4, ids, values, &rest), 3); /* all others are impossible */
    assert_true(rest <= 0);
    assert_true(isinf(cs_base_tail(values, 3, 3, rest)));
    assert_true(cs_base_tail(values, 0, 3, rest) < 0); /* nothing sent: all of it, and never 0 */
    const float broken[2] = {1, NAN};
    assert_int_equal(cs_base_best(broken, 2, 1, ids, values, &rest), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch_answer__lockstep_waits_for_each_token),
        cmocka_unit_test(test_batch_answer__the_window_bounds_how_far_it_runs_ahead),
        cmocka_unit_test(test_batch_answer__it_runs_ahead_as_far_as_it_is_agreed_with),
        cmocka_unit_test(test_batch_answer__nothing_is_computed_behind_an_end_token),
        cmocka_unit_test(test_batch_answer__it_is_taken_up_again_behind_accepted_tokens),
        cmocka_unit_test(test_batch_answer__work_follows_from_what_is_held),
        cmocka_unit_test(test_batch_answer__commit_takes_what_was_delivered_once),
        cmocka_unit_test(test_batch_answer__correct_drops_what_was_assumed),
        cmocka_unit_test(test_batch_answer__correct_is_refused_and_changes_nothing),
        cmocka_unit_test(test_batch_answer__a_correction_that_drops_nothing_is_no_rollback),
        cmocka_unit_test(test_batch_answer__drafts_are_computed_in_one_go),
        cmocka_unit_test(test_batch_answer__draft_is_refused_and_changes_nothing),
        cmocka_unit_test(test_batch_answer__a_draft_replaces_an_own_token_nothing_was_delivered_behind),
        cmocka_unit_test(test_batch_answer__deepening_is_for_delivered_positions_of_this_epoch),
        cmocka_unit_test(test_batch_answer__computing_again_drops_own_tokens_and_keeps_drafts),
        cmocka_unit_test(test_batch_answer__opening_is_refused_with_the_rule),
        cmocka_unit_test(test_batch_answer__what_is_remembered_is_bounded),
        cmocka_unit_test(test_batch_schedule__prompts_share_what_continued_answers_leave),
        cmocka_unit_test(test_batch_schedule__prompts_alone_fill_the_step),
        cmocka_unit_test(test_batch_schedule__each_gets_one_row_before_any_gets_more),
        cmocka_unit_test(test_batch_schedule__nobody_is_left_out_and_no_bound_is_broken),
        cmocka_unit_test(test_batch_base__the_tail_is_a_close_upper_bound),
        cmocka_unit_test(test_batch_base__the_tail_of_everything_is_nothing),
    };
    return cmocka_run_group_tests_name("batch_answer", tests, NULL, NULL);
}
