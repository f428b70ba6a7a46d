/*
 * A cloud that is a node on the network: the operations of costeer_cloud on top of a link (bytes), an inbox (what came), an
 * outbox (what goes) and the answer's bookkeeping. The device's thread does everything here; it holds the link's lock while it
 * looks at the inbox, and sleeps on the link while it waits.
 *
 * An answer survives the connection: next() and deepen() go on with another one, from the tokens accepted so far.
 */
#include "cloud/native_internal.h"
#include "util/clock.h"
#include "util/error.h"

#include <stdlib.h>
#include <string.h>

/* How long close() waits for the node's account. It is worth a round trip, not more. */
#define CLOSE_US 2000000

static int64_t deadline(const cs_native *self)
{
    return cs_clock_us() + (int64_t)self->params.timeout_ms * 1000;
}

static costeer_err out_of_order(const cs_native *self, const char *call, int32_t position, costeer_error *err)
{
    static const char *const states[] = {"no answer is open", "next has not been called", "it is ready", "it has failed"};
    return cs_error_set(err, COSTEER_ESTATE, "cloud", "%s(%d) out of order: the cloud is at position %d and %s", call, position,
                        self->answer.position, states[self->phase]);
}

/* ---- open -------------------------------------------------------------------------------------------------------- */

static void dispose_answer(cs_native_answer *answer)
{
    free(answer->prompt);
    for (size_t i = 0; i < answer->n_messages; i++) {
        free((char *)answer->messages[i].role); /* ours */
        free((char *)answer->messages[i].content);
    }
    free(answer->messages);
    free(answer->tokens);
    *answer = (cs_native_answer){.position = 0};
}

static bool has_system(const costeer_chat *chat)
{
    return chat->system != NULL && chat->system[0] != '\0';
}

static size_t count_messages(const costeer_chat *chat)
{
    return (has_system(chat) ? 1 : 0) + chat->n_turns + 1;
}

static costeer_err check_request(const cs_native *self, const costeer_cloud_request *request, costeer_error *err)
{
    if (self->phase != CS_NATIVE_CLOSED) {
        return cs_error_set(err, COSTEER_ESTATE, "cloud", "an answer is open; close it first");
    }
    if (request->n_prompt == 0 && request->chat->user == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "cloud", "the chat has no user message");
    }
    if (request->n_prompt == 0 && count_messages(request->chat) > COSTEER_WIRE_CHAT_MAX) {
        return cs_error_set(err, COSTEER_ETOOLONG, "cloud",
                            "%zu messages are more than the %d that a node takes; leave out the oldest",
                            count_messages(request->chat), COSTEER_WIRE_CHAT_MAX);
    }
    for (size_t i = 0; i < request->n_prompt; i++) {
        if (request->prompt[i] < 0 || request->prompt[i] >= self->n_vocab) {
            return cs_error_set(err, COSTEER_EINVAL, "cloud", "token %zu of the prompt is not one of the vocabulary's %d", i,
                                self->n_vocab);
        }
    }
    const int32_t max_context = self->inbox.max_context;
    if (request->max_tokens > max_context || request->n_prompt > (size_t)(max_context - request->max_tokens)) {
        return cs_error_set(err, COSTEER_ETOOLONG, "cloud",
                            "%zu tokens of prompt and up to %d of answer do not fit the node's %d: shorten the query or ask for "
                            "fewer tokens",
                            request->n_prompt, request->max_tokens, max_context);
    }
    return COSTEER_OK;
}

static bool add_message(cs_native_answer *answer, const char *role, const char *content)
{
    costeer_message *message = &answer->messages[answer->n_messages++];
    *message = (costeer_message){.role = strdup(role), .content = strdup(content)};
    return message->role != NULL && message->content != NULL;
}

static bool copy_chat(cs_native_answer *answer, const costeer_chat *chat)
{
    answer->messages = calloc(count_messages(chat), sizeof *answer->messages);
    bool ok = answer->messages != NULL && (!has_system(chat) || add_message(answer, "system", chat->system));
    for (size_t i = 0; ok && i < chat->n_turns; i++) {
        ok = add_message(answer, chat->turns[i].role, chat->turns[i].content);
    }
    return ok && add_message(answer, "user", chat->user);
}

static bool copy_request(cs_native_answer *answer, const costeer_cloud_request *request)
{
    const size_t n = request->n_prompt;
    answer->tokens = malloc((size_t)request->max_tokens * sizeof *answer->tokens);
    bool ok = answer->tokens != NULL;
    if (n > 0) {
        answer->prompt = malloc(n * sizeof *answer->prompt);
        ok = ok && answer->prompt != NULL;
        if (ok) {
            memcpy(answer->prompt, request->prompt, n * sizeof *answer->prompt);
        }
    } else {
        ok = ok && copy_chat(answer, request->chat);
    }
    return ok;
}

static costeer_err prepare(cs_native *self, const costeer_cloud_request *request, costeer_error *err)
{
    cs_native_answer *answer = &self->answer;
    dispose_answer(answer);
    if (!copy_request(answer, request)) {
        dispose_answer(answer);
        return cs_error_set(err, COSTEER_ENOMEM, "cloud", "no memory for an answer of %d tokens", request->max_tokens);
    }
    answer->n_prompt = request->n_prompt;
    answer->max_tokens = request->max_tokens;
    answer->top_k = request->top_k >= self->n_vocab ? 0 : request->top_k;
    answer->cancel = request->cancel;
    const int32_t window = self->params.mode == COSTEER_MODE_STREAMED ? self->params.window : 0;
    return cs_inbox_reserve(&self->inbox, answer->top_k, window + self->params.n_drafts + 2, err);
}

static void reset_stats(cs_native *self)
{
    self->stats = (costeer_cloud_stats){.bytes_up = 0};
    self->outbox.bytes_up = 0;
    self->outbox.n_messages = 0;
    self->inbox.bytes_down = 0;
}

static costeer_err open_now(cs_native *self, const costeer_cloud_request *request, costeer_error *err)
{
    costeer_err code = check_request(self, request, err);
    code = code == COSTEER_OK ? prepare(self, request, err) : code;
    if (code != COSTEER_OK) {
        return code;
    }
    reset_stats(self);
    self->inbox.first = self->inbox.next = 0; /* what came of the answer before is none of this one */
    cs_native_settle(self);
    self->retry_at_us = 0;
    self->timed_out = false;
    if (cs_native_link_get_state(self->link) == CS_NATIVE_LINK_DOWN) {
        self->is_trying = false; /* lost between two answers: next() connects again, and that is no news */
    } else if (self->inbox.has_hello && !self->inbox.has_error) {
        code = cs_native_send_open(self, err);
    }
    if (code == COSTEER_OK) {
        self->phase = CS_NATIVE_RUNNING;
    }
    return code;
}

static costeer_err native_open(costeer_cloud *cloud, const costeer_cloud_request *request, costeer_error *err)
{
    cs_native *self = (cs_native *)cloud;
    cs_native_link_lock(self->link);
    const costeer_err code = open_now(self, request, err);
    cs_native_link_unlock(self->link);
    return code;
}

/* ---- next and deepen --------------------------------------------------------------------------------------------- */

/* Wait until the present position is here. With the lock held. */
static costeer_err await_position(cs_native *self, int64_t until, costeer_error *err)
{
    const int32_t position = self->answer.position;
    while (cs_inbox_find(&self->inbox, position) == NULL) {
        costeer_err code = cs_native_ensure(self, until, err);
        if (code == COSTEER_OK && cs_inbox_find(&self->inbox, position) == NULL) {
            code = cs_native_wait(self, self->answer.cancel, until, err);
        }
        if (code != COSTEER_OK) {
            return code;
        }
    }
    cs_native_settle(self);
    return COSTEER_OK;
}

static costeer_err native_next(costeer_cloud *cloud, int32_t position, costeer_distribution *out, costeer_error *err)
{
    cs_native *self = (cs_native *)cloud;
    if ((self->phase != CS_NATIVE_RUNNING && self->phase != CS_NATIVE_READY) || position != self->answer.position) {
        return out_of_order(self, "next", position, err);
    }
    cs_native_link_lock(self->link);
    const costeer_err code = await_position(self, deadline(self), err);
    if (code == COSTEER_OK) {
        *out = cs_inbox_find(&self->inbox, position)->distribution;
    }
    cs_native_link_unlock(self->link);
    self->phase = code == COSTEER_OK ? CS_NATIVE_READY : CS_NATIVE_FAILED;
    return code;
}

static costeer_err send_deepen(cs_native *self, int32_t top_k, costeer_error *err)
{
    const costeer_frame frame = {.type = COSTEER_FRAME_DEEPEN,
                                 .as.deepen = {.epoch = self->inbox.epoch, .position = self->answer.position, .top_k = top_k}};
    cs_inbox_deepen(&self->inbox, self->answer.position, top_k);
    cs_native_link_set_limit(self->link, cs_inbox_message_max(&self->inbox));
    return cs_native_outbox_send(&self->outbox, &frame, 1, err);
}

/* Ask, and ask again over another connection when one is lost: then the position itself comes again first. */
static costeer_err await_deepened(cs_native *self, int32_t top_k, costeer_error *err)
{
    const int64_t until = deadline(self);
    bool is_asked = false;
    costeer_err code = cs_inbox_reserve_deepening(&self->inbox, top_k, err);
    self->inbox.has_deepened = false;
    while (code == COSTEER_OK && !self->inbox.has_deepened) {
        code = cs_native_notice(self, err);
        is_asked = is_asked && self->answer.is_sent;
        if (code == COSTEER_OK && !self->answer.is_sent) {
            code = cs_native_ensure(self, until, err);
        }
        if (code == COSTEER_OK && !is_asked && cs_inbox_find(&self->inbox, self->answer.position) != NULL) {
            code = send_deepen(self, top_k, err);
            is_asked = true;
        }
        if (code == COSTEER_OK && !self->inbox.has_deepened) {
            code = cs_native_wait(self, self->answer.cancel, until, err);
        }
    }
    return code;
}

static costeer_err native_deepen(costeer_cloud *cloud, int32_t position, int32_t top_k, costeer_distribution *out,
                                 costeer_error *err)
{
    cs_native *self = (cs_native *)cloud;
    if (self->phase != CS_NATIVE_READY || position != self->answer.position) {
        return out_of_order(self, "deepen", position, err);
    }
    cs_native_link_lock(self->link);
    const costeer_err code = await_deepened(self, top_k >= self->n_vocab ? 0 : top_k, err);
    if (code == COSTEER_OK) {
        *out = self->inbox.deepened.distribution;
        self->stats.n_deepenings++;
        cs_native_settle(self);
    } else {
        self->phase = CS_NATIVE_FAILED;
    }
    cs_native_link_unlock(self->link);
    return code;
}

/* ---- commit ------------------------------------------------------------------------------------------------------ */

static costeer_err native_commit(costeer_cloud *cloud, int32_t position, int32_t token, const int32_t *drafts, int32_t n_drafts,
                                 costeer_error *err)
{
    cs_native *self = (cs_native *)cloud;
    if (self->phase != CS_NATIVE_READY || position != self->answer.position) {
        return out_of_order(self, "commit", position, err);
    }
    if (token >= self->n_vocab) {
        return cs_error_set(err, COSTEER_EINVAL, "cloud", "token %d is not one of the vocabulary's %d", token, self->n_vocab);
    }
    if (position + 1 >= self->answer.max_tokens) {
        return cs_error_set(err, COSTEER_ESTATE, "cloud", "commit(%d) goes beyond the %d tokens that were asked for", position,
                            self->answer.max_tokens);
    }
    cs_native_link_lock(self->link);
    costeer_err code = cs_native_notice(self, err); /* what cannot be mended is told now; the rest next() mends */
    code = code == COSTEER_OK ? cs_native_accept(self, token, drafts, n_drafts, err) : code;
    cs_native_link_unlock(self->link);
    self->phase = code == COSTEER_OK ? CS_NATIVE_RUNNING : CS_NATIVE_FAILED;
    return code;
}

static int32_t native_wants_drafts(const costeer_cloud *cloud, int32_t position, int32_t token)
{
    const cs_native *self = (const cs_native *)cloud;
    if (self->phase != CS_NATIVE_READY || position != self->answer.position) {
        return 0;
    }
    cs_native_link_lock(self->link);
    const int32_t n = self->answer.is_sent ? cs_native_count_drafts(self, token) : 0;
    cs_native_link_unlock(self->link);
    return n;
}

static void native_read_stats(const costeer_cloud *cloud, costeer_cloud_stats *out)
{
    const cs_native *self = (const cs_native *)cloud;
    cs_native_link_lock(self->link);
    *out = self->stats;
    out->bytes_up = self->outbox.bytes_up;
    out->n_messages_up = self->outbox.n_messages;
    out->bytes_down = self->inbox.bytes_down;
    out->round_trip_us = self->inbox.round_trip_us;
    cs_native_link_unlock(self->link);
}

/* ---- close ------------------------------------------------------------------------------------------------------- */

/* Ask for the account and wait for it. Returns whether the connection can be used again: everything of this answer has come. */
static bool take_leave(cs_native *self)
{
    const int64_t timeout = (int64_t)self->params.timeout_ms * 1000;
    const int64_t until = cs_clock_us() + (timeout < CLOSE_US ? timeout : CLOSE_US);
    costeer_frame frames[2];
    size_t n = 0;
    n += cs_native_acknowledge(self, &frames[n]) ? 1 : 0;
    frames[n++] = (costeer_frame){.type = COSTEER_FRAME_CLOSE};
    cs_inbox *inbox = &self->inbox;
    inbox->is_closing = true;
    costeer_err code = cs_native_outbox_send(&self->outbox, frames, n, NULL);
    while (code == COSTEER_OK && !inbox->has_account && !inbox->has_error &&
           cs_native_link_get_state(self->link) == CS_NATIVE_LINK_UP) {
        code = cs_native_wait(self, NULL, until, NULL);
    }
    if (inbox->has_account) {
        self->stats.n_steps += (int32_t)(inbox->account.n_steps & INT32_MAX);
        self->stats.n_wasted_steps += (int32_t)(inbox->account.n_wasted & INT32_MAX);
    }
    return inbox->has_account;
}

static void close_answer(cs_native *self)
{
    cs_native_answer *answer = &self->answer;
    cs_inbox *inbox = &self->inbox;
    if (answer->is_sent) {
        const bool is_useful = cs_native_link_get_state(self->link) == CS_NATIVE_LINK_UP && !inbox->has_error && !self->timed_out;
        if (!is_useful || !take_leave(self)) {
            cs_native_link_disconnect(self->link);
        }
    } else if (self->timed_out) {
        cs_native_link_disconnect(self->link);
    }
    (void)cs_audit_answer(&self->outbox.audit, answer->tokens, (size_t)answer->position, NULL);
    cs_native_withdraw_drafts(self);
    answer->is_sent = false;
    answer->cancel = NULL; /* the caller's flag may not outlive the answer */
    inbox->is_open = inbox->is_closing = inbox->is_deepening = inbox->has_error = false;
    self->phase = CS_NATIVE_CLOSED;
}

static void native_close(costeer_cloud *cloud)
{
    cs_native *self = (cs_native *)cloud;
    if (self->phase != CS_NATIVE_CLOSED) {
        cs_native_link_lock(self->link);
        close_answer(self);
        cs_native_link_unlock(self->link);
    }
}

/* What the node does not like about it, the next answer finds out. */
static void native_keep(costeer_cloud *cloud)
{
    cs_native *self = (cs_native *)cloud;
    cs_native_link_lock(self->link);
    if (self->phase == CS_NATIVE_CLOSED && !self->inbox.has_error) {
        (void)cs_native_ping(self, NULL);
    }
    cs_native_link_unlock(self->link);
}

/* The link goes first: its thread writes to the inbox. */
static void dispose(cs_native *self)
{
    cs_native_link_free(self->link);
    cs_native_outbox_dispose(&self->outbox);
    cs_inbox_dispose(&self->inbox);
    dispose_answer(&self->answer);
    free(self);
}

static void native_free(costeer_cloud *cloud)
{
    native_close(cloud);
    dispose((cs_native *)cloud);
}

static const costeer_cloud_ops native_ops = {
    .open = native_open,
    .next = native_next,
    .deepen = native_deepen,
    .commit = native_commit,
    .close = native_close,
    .free = native_free,
    .wants_drafts = native_wants_drafts,
    .read_stats = native_read_stats,
    .keep = native_keep,
};

/* ---- creation ---------------------------------------------------------------------------------------------------- */

static costeer_err check_token_text(const cs_native_url *url, const char *token, costeer_error *err)
{
    if (token == NULL) {
        return COSTEER_OK;
    }
    if (token[0] == '\0' || strlen(token) > 1024) {
        return cs_error_set(err, COSTEER_EINVAL, "cloud", "the bearer token is empty or longer than 1,024 characters");
    }
    for (const char *at = token; *at != '\0'; at++) {
        if (*at <= ' ' || *at > '~') { /* RFC 6750 section 2.1; above all no line ends */
            return cs_error_set(err, COSTEER_EINVAL, "cloud", "the bearer token holds a character that cannot be sent");
        }
    }
    if (!url->is_tls && !url->is_loopback) {
        return cs_error_set(err, COSTEER_EINVAL, "cloud",
                            "a bearer token is not sent over plain ws:// to %s, where others could read it: use wss://",
                            url->host);
    }
    return COSTEER_OK;
}

static costeer_err check_params(const costeer_native_params *params, costeer_error *err)
{
    if (params->mode < COSTEER_MODE_LOCKSTEP || params->mode > COSTEER_MODE_DRAFTED) {
        return cs_error_set(err, COSTEER_EINVAL, "cloud", "mode %d is not one of lockstep, streamed, drafted", (int)params->mode);
    }
    if (params->mode == COSTEER_MODE_STREAMED && (params->window < 1 || params->window > COSTEER_WIRE_WINDOW_MAX)) {
        return cs_error_set(err, COSTEER_EINVAL, "cloud", "window is %d; give 1 to %d positions", params->window,
                            COSTEER_WIRE_WINDOW_MAX);
    }
    if (params->n_drafts < 0 || params->n_drafts > COSTEER_WIRE_DRAFTS_MAX) {
        return cs_error_set(err, COSTEER_EINVAL, "cloud", "n_drafts is %d; give 0 to %d tokens", params->n_drafts,
                            COSTEER_WIRE_DRAFTS_MAX);
    }
    if (params->timeout_ms < 1) {
        return cs_error_set(err, COSTEER_EINVAL, "cloud", "timeout_ms is %d; give at least 1", params->timeout_ms);
    }
    return COSTEER_OK;
}

static costeer_err on_message(void *user, const uint8_t *bytes, size_t n, costeer_error *err)
{
    cs_native *self = user;
    return cs_inbox_receive(&self->inbox, bytes, n, err);
}

static costeer_err create(cs_native *self, const costeer_native_params *params, const atomic_bool *cancel, costeer_error *err)
{
    costeer_err code = cs_inbox_init(&self->inbox, self->model, err);
    if (code != COSTEER_OK) {
        return code;
    }
    self->inbox.allows_half = params->half;
    const cs_native_link_params link = {
        .url = &self->url, .ca_file = params->ca_file, .token = params->token, .on_message = on_message, .user = self};
    code = cs_native_link_create(&link, &self->link, err);
    if (code != COSTEER_OK) {
        return code;
    }
    const cs_audit audit = {.write = params->audit, .user = params->audit_user, .model = self->model};
    cs_native_link_lock(self->link);
    code = cs_native_outbox_init(&self->outbox, self->link, &audit, self->n_vocab, err);
    code = code == COSTEER_OK ? cs_native_connect_first(self, cancel, deadline(self), err) : code;
    cs_native_link_unlock(self->link);
    return code;
}

costeer_err costeer_cloud_create_native(const costeer_model *model, const costeer_native_params *params,
                                        const atomic_bool *cancel, costeer_cloud **out, costeer_error *err)
{
    if (out == NULL || model == NULL || params == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "cloud", "model, params and out must not be NULL");
    }
    *out = NULL;
    cs_native_url url;
    costeer_err code = cs_native_url_parse(params->url, &url, err);
    code = code == COSTEER_OK ? check_params(params, err) : code;
    code = code == COSTEER_OK ? check_token_text(&url, params->token, err) : code;
    if (code != COSTEER_OK) {
        return code;
    }
    cs_native *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "cloud", "no memory for a cloud");
    }
    self->cloud.ops = &native_ops;
    self->model = model;
    self->n_vocab = costeer_model_get_info(model)->n_vocab;
    self->url = url;
    self->params = *params;
    self->params.url = self->params.ca_file = self->params.token = NULL;
    self->has_token = params->token != NULL;
    code = create(self, params, cancel, err);
    if (code != COSTEER_OK) {
        dispose(self);
        return code;
    }
    *out = &self->cloud;
    return COSTEER_OK;
}

int32_t costeer_cloud_native_max_context(const costeer_cloud *cloud)
{
    const cs_native *self = (const cs_native *)cloud;
    cs_native_link_lock(self->link);
    const int32_t n = self->inbox.max_context;
    cs_native_link_unlock(self->link);
    return n;
}

const char *costeer_cloud_native_name(const costeer_cloud *cloud)
{
    return ((const cs_native *)cloud)->inbox.name;
}
