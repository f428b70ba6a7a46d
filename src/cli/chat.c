/*
 * A turn. The LLM sees the questions and the answers, the expert sees them with the contexts, the amateur without: all follow
 * from the inputs, to which a turn adds two messages. The answer keeps its tokens, so that the next turn computes nothing of it
 * again.
 */
#include "cli/chat.h"

#include "cli/message.h"
#include "cli/report.h"
#include "cli/signals.h"
#include "cli/trace.h"
#include "util/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One answer on its way. */
typedef struct turn {
    cs_chat *chat;
    const cs_choice *choice;
    bool is_kept;      /* its tokens are remembered, and traced */
    bool has_reasoned; /* and the line of it is open */
} turn;

/* ---- while it runs ----------------------------------------------------------------------------------------------- */

/* The reasoning's line on standard error ends before the answer, and before any message. */
static void close_reasoning(turn *t)
{
    if (t->has_reasoned) {
        (void)fputc('\n', stderr);
        t->has_reasoned = false;
    }
}

static bool on_reasoning(const char *text, size_t n_bytes, void *user)
{
    turn *t = user;
    if (!t->chat->setup.settings.quiet) {
        cs_prompt_progress_clear(&t->chat->setup.progress);
        (void)fwrite(text, 1, n_bytes, stderr);
        t->has_reasoned = true;
    }
    return true;
}

static bool on_text(const char *text, size_t n_bytes, void *user)
{
    turn *t = user;
    cs_output *out = &t->chat->setup.out;
    close_reasoning(t);
    return cs_output_write(out, text, n_bytes) && cs_output_flush(out);
}

static bool on_position(const costeer_position *position, void *user)
{
    const turn *t = user;
    cs_chat *chat = t->chat;
    if (!t->is_kept) {
        return true;
    }
    if (position->is_reasoning) {
        return chat->setup.settings.trace == NULL || cs_trace_write(&chat->setup.trace, NULL, &chat->vocab, position);
    }
    chat->answer[chat->n_answer++] = (cs_chat_token){.token = position->token, .base_token = position->base_token};
    chat->n_changed += position->steered ? 1 : 0;
    return chat->setup.settings.trace == NULL || cs_trace_write(&chat->setup.trace, NULL, &chat->vocab, position);
}

/* ---- an answer --------------------------------------------------------------------------------------------------- */

/* The text ends with a line end; on a terminal an empty line stands before the next question. */
static int end_text(cs_chat *chat, const cs_cli_answer *answer)
{
    cs_output *out = &chat->setup.out;
    if (answer->text.n_bytes > 0 && out->last != '\n') {
        (void)cs_output_write(out, "\n", 1);
    }
    if (answer->text.n_bytes > 0 && cs_line_is_terminal(chat->lines)) {
        (void)cs_output_write(out, "\n", 1);
    }
    (void)cs_output_flush(out);
    if (out->error == 0) {
        return CS_EXIT_OK;
    }
    chat->is_over = true;
    return cs_fail_output(out->name, out->error);
}

static int judge(cs_chat *chat, const cs_choice *choice, const cs_cli_answer *answer)
{
    switch (answer->status) {
    case COSTEER_OK:
        return CS_EXIT_OK;
    case COSTEER_ECANCELED:
        return cs_interrupt_exit_code();
    case COSTEER_EABORTED:
        chat->is_over = true;
        return cs_setup_fail_aborted(&chat->setup);
    default:
        return cs_setup_fail(&chat->setup, choice, &answer->error);
    }
}

/* A line a turn would be in the way of who reads; who asks for it gets it. */
static void print_summary(const cs_chat *chat, const cs_cli_answer *answer)
{
    const costeer_report *r = &answer->report;
    char cloud[160] = "";
    char chosen[CS_USE_SUMMARY_SIZE];
    if (chat->setup.settings.verbose && (answer->status == COSTEER_OK || answer->status == COSTEER_ECANCELED)) {
        cs_fail(CS_EXIT_OK, "%d tokens, the first after %.2f s, %.0f tok/s, %d steered%s, %s%s", (int)r->n_tokens,
                (double)r->prefill_us / 1e6, cs_cli_answer_rate(answer), (int)r->n_steered,
                cs_use_summary(&chat->setup.use, chosen, sizeof chosen), cs_cli_answer_finish(answer),
                cs_report_cloud_summary(&chat->setup, answer, cloud, sizeof cloud));
    }
}

/* Answer the present query with the present conversation and contexts. */
static int answer_with_inputs(turn *t, cs_cli_answer *out)
{
    cs_chat *chat = t->chat;
    cs_setup *s = &chat->setup;
    costeer_ensemble_parts parts;
    int exit_code = cs_setup_set_prompts(s);
    exit_code = exit_code == CS_EXIT_OK ? cs_setup_use(s, t->choice, &parts) : exit_code;
    if (exit_code != CS_EXIT_OK) {
        return exit_code;
    }
    cs_cli_answer_request request = {.parts = &parts, .params = cs_setup_session(s, t->choice, &parts)};
    request.params.details = s->settings.trace != NULL;
    request.params.on_text = on_text;
    request.params.on_reasoning = on_reasoning;
    request.params.on_position = on_position;
    request.params.user = t;
    if (t->is_kept && s->settings.trace != NULL && !cs_use_trace(&s->use, &s->trace)) {
        chat->is_over = true;
        return cs_setup_fail_aborted(s);
    }
    if (t->is_kept) {
        chat->vocab = costeer_model_vocab(parts.model);
        chat->n_answer = chat->n_changed = 0;
    }
    (void)cs_cli_answer_run(&request, out);
    close_reasoning(t);
    cs_prompt_progress_clear(&s->progress);
    chat->asked_us = cs_clock_us();
    exit_code = end_text(chat, out);
    print_summary(chat, out);
    cs_report_tell_local(s, out);
    cs_report_tell_empty(s, t->choice, out);
    cs_report_tell_words(s, t->choice, parts.model, out);
    return exit_code == CS_EXIT_OK ? judge(chat, t->choice, out) : exit_code;
}

/* The same with what the query needs of the contexts, where that is asked for; they are whole again for the next one. */
static int answer(turn *t, cs_cli_answer *out)
{
    cs_setup *s = &t->chat->setup;
    memset(out, 0, sizeof *out);
    if (!cs_use_is_on(&s->use, &s->settings) || !cs_method_uses_context(t->choice->method)) {
        return answer_with_inputs(t, out);
    }
    cs_inputs other;
    int exit_code = cs_inputs_change_contexts(&s->inputs, NULL, true, &other);
    if (exit_code == CS_EXIT_OK) {
        cs_inputs_swap_contexts(&s->inputs, &other);
        exit_code = cs_setup_choose_parts(s);
        exit_code = exit_code == CS_EXIT_OK ? answer_with_inputs(t, out) : exit_code;
        cs_inputs_swap_contexts(&s->inputs, &other);
    }
    cs_inputs_dispose(&other);
    return exit_code;
}

/* ---- the conversation -------------------------------------------------------------------------------------------- */

static bool add_turn(cs_messages *conversation, const char *role, char *content, int32_t *ids, size_t n_ids)
{
    costeer_message *grown = realloc(conversation->turns, (conversation->n_turns + 1) * sizeof *grown);
    if (grown == NULL) {
        return false;
    }
    conversation->turns = grown;
    grown[conversation->n_turns++] = (costeer_message){.role = role, .content = content, .ids = ids, .n_ids = n_ids};
    return true;
}

/* Those that a file gave are the file's. */
static void drop_turns(cs_chat *chat, size_t n_left)
{
    cs_messages *conversation = &chat->setup.inputs.conversation;
    while (conversation->n_turns > n_left) {
        const costeer_message *last = &conversation->turns[--conversation->n_turns];
        if (conversation->n_turns >= chat->n_given) {
            free((char *)last->content); /* ours */
            free((int32_t *)last->ids);
        }
    }
    chat->n_given = chat->n_given < n_left ? chat->n_given : n_left;
}

/* What the answer said, with what it was made to begin with. */
static char *whole_text(const cs_settings *settings, const cs_cli_answer *answer)
{
    cs_buffer text = {.cap = SIZE_MAX};
    const char *prefix = settings->answer_prefix != NULL ? settings->answer_prefix : "";
    const bool ok =
        cs_buffer_append(&text, prefix, strlen(prefix)) && cs_buffer_append(&text, answer->text.bytes, answer->text.n_bytes);
    if (!ok) {
        cs_buffer_dispose(&text);
    }
    return text.bytes;
}

/* Question and answer become part of it. */
static int keep(cs_chat *chat, cs_cli_answer *answer)
{
    cs_inputs *inputs = &chat->setup.inputs;
    cs_messages *conversation = &inputs->conversation;
    const size_t n_before = conversation->n_turns;
    char *question = strdup(inputs->query);
    char *text = whole_text(&chat->setup.settings, answer);
    if (question == NULL || text == NULL || !add_turn(conversation, "user", question, NULL, 0)) {
        free(question);
        free(text);
        return cs_fail(CS_EXIT_INTERNAL, "out of memory");
    }
    const size_t n_reasoning = (size_t)answer->report.n_reasoning; /* no template shows it to a later turn */
    answer->n_tokens -= n_reasoning;
    memmove(answer->tokens, answer->tokens + n_reasoning, answer->n_tokens * sizeof *answer->tokens);
    if (!add_turn(conversation, "assistant", text, answer->tokens, answer->n_tokens)) {
        free(text);
        drop_turns(chat, n_before);
        return cs_fail(CS_EXIT_INTERNAL, "out of memory");
    }
    answer->tokens = NULL; /* the conversation's now */
    answer->n_tokens = 0;
    return CS_EXIT_OK;
}

static int set_query(cs_chat *chat, const char *question)
{
    char *copy = strdup(question);
    if (copy == NULL) {
        return cs_fail(CS_EXIT_INTERNAL, "out of memory");
    }
    free(chat->setup.inputs.query);
    chat->setup.inputs.query = copy;
    chat->setup.inputs.is_trial = false;
    return CS_EXIT_OK;
}

int cs_chat_ask(cs_chat *chat, const char *question)
{
    turn t = {.chat = chat, .choice = &chat->setup.choices.items[0], .is_kept = true};
    cs_cli_answer got;
    if (chat->answer == NULL) {
        chat->answer = calloc((size_t)cs_settings_positions_max(&chat->setup.settings), sizeof *chat->answer);
    }
    int exit_code = chat->answer == NULL ? cs_fail(CS_EXIT_INTERNAL, "out of memory") : set_query(chat, question);
    if (exit_code != CS_EXIT_OK) {
        return exit_code;
    }
    exit_code = answer(&t, &got);
    if ((got.status == COSTEER_OK || got.status == COSTEER_ECANCELED) && got.text.n_bytes > 0) {
        int kept = keep(chat, &got);
        kept = kept == CS_EXIT_OK ? cs_use_keep(&chat->setup.use) : kept;
        exit_code = exit_code == CS_EXIT_OK ? kept : exit_code;
    }
    cs_cli_answer_dispose(&got);
    return exit_code;
}

int cs_chat_compare(cs_chat *chat)
{
    cs_inputs *inputs = &chat->setup.inputs;
    cs_messages *conversation = &inputs->conversation;
    const size_t n = conversation->n_turns;
    if (n < 2) {
        return cs_fail(CS_EXIT_USAGE, "/compare: nothing was answered yet");
    }
    const cs_choice alone = {.method = costeer_method_find("llm"), .top_p = 1.0};
    turn t = {.chat = chat, .choice = &alone};
    cs_cli_answer got;
    int exit_code = set_query(chat, conversation->turns[n - 2].content);
    if (exit_code == CS_EXIT_OK) {
        conversation->n_turns = n - 2;
        exit_code = answer(&t, &got);
        conversation->n_turns = n;
        cs_cli_answer_dispose(&got);
    }
    return exit_code;
}

void cs_chat_begin_anew(cs_chat *chat)
{
    drop_turns(chat, 0);
    chat->n_answer = chat->n_changed = 0;
}

void cs_chat_dispose(cs_chat *chat)
{
    drop_turns(chat, 0);
    cs_line_free(chat->lines);
    free(chat->answer);
    free(chat->saved);
    for (size_t i = 0; i < chat->n_named; i++) {
        free(chat->named[i]);
    }
    cs_buffer_dispose(&chat->past);
}
