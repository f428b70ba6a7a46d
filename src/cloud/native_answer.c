/*
 * What the node is told of an answer, and when. Its tokens are mostly the ones that the node assumes anyway (its own choice, or a
 * draft), and those need no message of their own: in streamed mode they are acknowledged two at a time, within
 * a draft when the draft is used up. Any other token is a correction, which accepts everything before it.
 *
 * `n_told`, the drafts and the window give the last position that the node may compute; both sides count it the same way.
 */
#include "cloud/native_internal.h"
#include "util/error.h"

#include <string.h>

static int32_t min(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static int32_t max(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

int32_t cs_native_window(const cs_native *self)
{
    return self->params.mode == COSTEER_MODE_STREAMED ? min(self->params.window, self->inbox.max_window) : 0;
}

/* The last position that the node may compute. */
static int32_t limit(const cs_native *self)
{
    return max(self->answer.n_told, self->answer.draft_end) + cs_native_window(self);
}

/* The token the node goes on with at the present position. */
static int32_t assumed(const cs_native *self)
{
    const cs_native_answer *answer = &self->answer;
    const int32_t position = answer->position;
    if (position >= answer->draft_start && position < answer->draft_end) {
        return answer->drafts[position - answer->draft_start];
    }
    const cs_inbox_slot *slot = cs_inbox_find(&self->inbox, position);
    return slot != NULL ? slot->distribution.own_token : -1;
}

/* ---- counting ---------------------------------------------------------------------------------------------------- */

/* The node is told that all before `end` is accepted: those are tokens it has got, but for drafts, which it has already. */
static void count_told(cs_native *self, int32_t end)
{
    cs_native_answer *answer = &self->answer;
    const int32_t n_drafted = max(0, min(end, answer->draft_end) - max(answer->n_told, answer->draft_start));
    self->stats.n_tokens_sent += max(0, end - answer->n_told - n_drafted);
    answer->n_told = max(answer->n_told, end);
}

void cs_native_withdraw_drafts(cs_native *self)
{
    cs_native_answer *answer = &self->answer;
    self->stats.n_withdrawn += max(0, answer->draft_end - max(answer->position, answer->draft_start));
    answer->draft_end = max(answer->draft_start, min(answer->draft_end, answer->position));
}

/* ---- open -------------------------------------------------------------------------------------------------------- */

static size_t make_messages(const cs_native_answer *answer, costeer_chat_message messages[COSTEER_WIRE_CHAT_MAX])
{
    for (size_t i = 0; i < answer->n_messages; i++) {
        const costeer_message *m = &answer->messages[i];
        messages[i] = (costeer_chat_message){m->role, strlen(m->role), m->content, strlen(m->content)};
    }
    return answer->n_messages;
}

costeer_err cs_native_send_open(cs_native *self, costeer_error *err)
{
    cs_native_answer *answer = &self->answer;
    costeer_chat_message messages[COSTEER_WIRE_CHAT_MAX];
    costeer_frame frame = {.type = COSTEER_FRAME_OPEN};
    const int32_t window = cs_native_window(self);
    const bool is_stepwise = self->params.mode == COSTEER_MODE_STREAMED && window == 0; /* the node does not run ahead */
    frame.as.open = (costeer_frame_open){.mode = is_stepwise ? COSTEER_MODE_LOCKSTEP : self->params.mode,
                                         .window = window,
                                         .top_k = answer->top_k,
                                         .max_tokens = answer->max_tokens,
                                         .half = self->params.half,
                                         .prompt = answer->prompt,
                                         .n_prompt = answer->n_prompt,
                                         .accepted = answer->tokens,
                                         .n_accepted = (size_t)answer->position};
    if (answer->n_prompt == 0) {
        frame.as.open.messages = messages;
        frame.as.open.n_messages = make_messages(answer, messages);
    }
    cs_native_withdraw_drafts(self);
    const int32_t before = answer->n_told;
    count_told(self, answer->position);
    answer->draft_start = answer->draft_end = answer->position;
    cs_inbox_open(&self->inbox, answer->position, limit(self), answer->max_tokens);
    cs_native_link_set_limit(self->link, cs_inbox_message_max(&self->inbox));
    const costeer_err code = cs_native_outbox_send(&self->outbox, &frame, 1, err);
    answer->is_sent = code == COSTEER_OK;
    answer->n_told = answer->is_sent ? answer->n_told : before;
    return code;
}

/* ---- drafts ------------------------------------------------------------------------------------------------------ */

/* A draft at the last position, or an end token, would give the node nothing to compute. */
static int32_t cut_drafts(const cs_native *self, const int32_t *drafts, int32_t n_drafts)
{
    int32_t n = 0;
    while (n < n_drafts && drafts[n] >= 0 && drafts[n] < self->n_vocab && !costeer_model_is_end(self->model, drafts[n])) {
        n++;
    }
    return n;
}

int32_t cs_native_count_drafts(const cs_native *self, int32_t token)
{
    const cs_native_answer *answer = &self->answer;
    const costeer_native_params *params = &self->params;
    if (params->mode == COSTEER_MODE_LOCKSTEP || (params->mode == COSTEER_MODE_STREAMED && !params->drafts_with_corrections)) {
        return 0;
    }
    const bool is_correction = token != assumed(self);
    if (!is_correction && (params->mode == COSTEER_MODE_STREAMED || answer->position + 1 <= limit(self))) {
        return 0; /* the node has what it needs */
    }
    if (costeer_model_is_end(self->model, token)) {
        return 0;
    }
    const int32_t n = min(params->n_drafts, self->inbox.max_drafts);
    return max(0, min(n, answer->max_tokens - 2 - answer->position));
}

/* ---- a token ----------------------------------------------------------------------------------------------------- */

/* The token is the assumed one: does the node have to hear of it now? */
static bool needs_commit(const cs_native *self)
{
    const int32_t next = self->answer.position + 1;
    const int32_t window = cs_native_window(self);
    if (next > limit(self)) {
        return true; /* it would wait */
    }
    /* a node runs ahead by 4 positions at least (docs/protocol.md): acknowledging every second token never stalls it */
    return window > 0 && next - self->answer.n_told >= (window >= 4 ? 2 : 1);
}

/* What was not acknowledged when the answer is closed would count as computed in vain. */
bool cs_native_acknowledge(cs_native *self, costeer_frame *out)
{
    const int32_t position = self->answer.position;
    if (self->answer.n_told >= position) {
        return false;
    }
    *out = (costeer_frame){.type = COSTEER_FRAME_COMMIT, .as.commit = {.position = position - 1}};
    count_told(self, position);
    return true;
}

static costeer_frame make_draft(const cs_native *self, const int32_t *drafts, int32_t n)
{
    return (costeer_frame){.type = COSTEER_FRAME_DRAFT,
                           .as.draft = {.position = self->answer.position + 1, .tokens = drafts, .n = (size_t)n}};
}

/* The draft that goes with the message becomes what is assumed behind the position. */
static void remember_drafts(cs_native *self, const int32_t *drafts, int32_t n)
{
    cs_native_answer *answer = &self->answer;
    answer->draft_start = answer->position + 1;
    answer->draft_end = answer->draft_start + n;
    memcpy(answer->drafts, drafts, (size_t)n * sizeof *drafts);
    self->stats.n_drafts_sent += n;
    self->stats.n_tokens_sent += n;
}

/* Tell the node of the token, with a commit or a correction, and a draft behind it. */
static costeer_err tell(cs_native *self, int32_t token, bool is_correction, const int32_t *drafts, int32_t n_drafts,
                        costeer_error *err)
{
    const int32_t position = self->answer.position;
    costeer_frame frames[CS_NATIVE_OUTBOX_FRAMES_MAX];
    size_t n = 0;
    frames[n++] = is_correction
                      ? (costeer_frame){.type = COSTEER_FRAME_CORRECT,
                                        .as.correct = {.epoch = self->inbox.epoch + 1, .position = position, .token = token}}
                      : (costeer_frame){.type = COSTEER_FRAME_COMMIT, .as.commit = {.position = position}};
    if (n_drafts > 0) {
        frames[n++] = make_draft(self, drafts, n_drafts);
    }
    const costeer_err code = cs_native_outbox_send(&self->outbox, frames, n, err);
    if (code != COSTEER_OK) {
        return code;
    }
    if (is_correction) {
        cs_native_withdraw_drafts(self);
        self->stats.n_corrections++;
        cs_inbox_correct(&self->inbox, position + 1);
    }
    count_told(self, position + 1);
    if (n_drafts > 0) {
        remember_drafts(self, drafts, n_drafts);
    }
    self->inbox.limit = limit(self);
    return COSTEER_OK;
}

costeer_err cs_native_accept(cs_native *self, int32_t token, const int32_t *drafts, int32_t n_drafts, costeer_error *err)
{
    cs_native_answer *answer = &self->answer;
    costeer_err code = COSTEER_OK;
    if (answer->is_sent) {
        const bool is_correction = token != assumed(self);
        if (is_correction || needs_commit(self)) {
            n_drafts = cut_drafts(self, drafts, min(n_drafts, cs_native_count_drafts(self, token)));
            code = tell(self, token, is_correction, drafts, n_drafts, err);
        }
    }
    if (code == COSTEER_OK) {
        answer->tokens[answer->position++] = token;
    }
    return code;
}
