/*
 * Being connected, and being connected again. Whoever needs the node (next, deepen) first sees that the connection stands and
 * that the node knows the answer; when it does not, it connects with growing pauses and opens the answer with the tokens that are
 * accepted so far, until the call's deadline. A refusal that trying again cannot change ends it at once.
 */
#include "cloud/native_internal.h"
#include "util/clock.h"
#include "util/error.h"

#define PAUSE_FIRST_MS 100
#define PAUSE_MAX_MS   3200

/* A cancel flag is looked at so often; it has no way to wake anybody. */
#define WAIT_US 100000

/* A node that is full and does not say when to come back. */
#define BUSY_PAUSE_MS 1000

/* What may come before an answer is opened: hello, ping and error. */
#define IDLE_MESSAGE_BYTES 2048

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

static costeer_err time_out(cs_native *self, costeer_error *err)
{
    self->timed_out = true;
    if (self->has_cause) {
        return cs_error_set(err, COSTEER_ECLOUD, "cloud", "no answer within %d ms (--timeout-ms): %.380s",
                            self->params.timeout_ms, self->cause.error.message);
    }
    return cs_error_set(err, COSTEER_ETIMEDOUT, "cloud", "%s:%d said nothing for %d ms (--timeout-ms)", self->url.host,
                        self->url.port, self->params.timeout_ms);
}

static costeer_err send_pong(cs_native *self, costeer_error *err)
{
    const costeer_frame frame = {.type = COSTEER_FRAME_PING, .as.ping = {.is_reply = true, .nonce = self->inbox.pong_nonce}};
    self->inbox.wants_pong = false;
    return cs_native_outbox_send(&self->outbox, &frame, 1, err);
}

costeer_err cs_native_wait(cs_native *self, const atomic_bool *cancel, int64_t deadline_us, costeer_error *err)
{
    if (cancel != NULL && atomic_load_explicit(cancel, memory_order_relaxed)) {
        return cs_error_set(err, COSTEER_ECANCELED, "cloud", "cancelled while waiting for the node");
    }
    const int64_t now = cs_clock_us();
    if (now >= deadline_us) {
        return time_out(self, err);
    }
    if (self->inbox.wants_pong && cs_native_link_get_state(self->link) == CS_NATIVE_LINK_UP) {
        const costeer_err code = send_pong(self, err);
        if (code != COSTEER_OK) {
            return code;
        }
    }
    int64_t until = now + WAIT_US < deadline_us ? now + WAIT_US : deadline_us;
    if (self->retry_at_us > now && self->retry_at_us < until) {
        until = self->retry_at_us;
    }
    cs_native_link_wait(self->link, until);
    return COSTEER_OK;
}

/* ---- news of the connection -------------------------------------------------------------------------------------- */

static costeer_err give_up(const cs_native *self, costeer_error *err)
{
    if (err != NULL) {
        *err = self->cause.error;
    }
    return self->cause.error.code;
}

/* The node does not know the answer any more. The present position stays if it is here; what is behind it rests on tokens that
 * were only assumed, and comes again. */
static void forget(cs_native *self, int32_t pause_ms)
{
    const int32_t next = self->answer.position + 1;
    if (self->answer.is_sent) {
        cs_native_withdraw_drafts(self);
        self->answer.is_sent = false;
    }
    self->inbox.next = self->inbox.next < next ? self->inbox.next : next;
    self->inbox.is_open = false;
    self->retry_at_us = cs_clock_us() + (int64_t)pause_ms * 1000;
}

/* The answer was ended by the node, with a reason. */
static void take_error(cs_native *self)
{
    cs_inbox *inbox = &self->inbox;
    const costeer_wire_error reason = inbox->error_code;
    inbox->has_error = false;
    self->has_cause = true;
    self->cause = (cs_native_link_failure){.is_final = reason == COSTEER_WIRE_EPROTOCOL || reason == COSTEER_WIRE_ETOOLONG,
                                           .is_busy = reason == COSTEER_WIRE_EBUSY};
    (void)cs_error_set(&self->cause.error, reason == COSTEER_WIRE_ETOOLONG ? COSTEER_ETOOLONG : COSTEER_ECLOUD, "cloud",
                       "the node ended the answer (%s): %s", costeer_wire_error_name(reason), inbox->error_text);
    int32_t pause_ms = self->pause_ms;
    if (inbox->retry_after_ms > 0) {
        pause_ms = inbox->retry_after_ms < INT32_MAX ? (int32_t)inbox->retry_after_ms : INT32_MAX;
    }
    if (reason != COSTEER_WIRE_EBUSY) { /* a full node keeps the connection; any other reason may end it at any time */
        cs_native_link_disconnect(self->link);
        self->is_trying = false;
    }
    forget(self, pause_ms);
}

static void take_loss(cs_native *self)
{
    self->cause = *cs_native_link_get_failure(self->link);
    self->has_cause = true;
    self->is_trying = false;
    forget(self, self->cause.is_busy ? BUSY_PAUSE_MS : self->pause_ms);
    self->pause_ms = self->pause_ms * 2 < PAUSE_MAX_MS ? self->pause_ms * 2 : PAUSE_MAX_MS;
}

costeer_err cs_native_notice(cs_native *self, costeer_error *err)
{
    bool is_news = false;
    if (self->inbox.has_error) {
        take_error(self);
        is_news = true;
    } else if (self->is_trying && cs_native_link_get_state(self->link) == CS_NATIVE_LINK_DOWN) {
        take_loss(self);
        is_news = true;
    }
    return is_news && self->cause.is_final ? give_up(self, err) : COSTEER_OK;
}

/* ---- connecting -------------------------------------------------------------------------------------------------- */

static costeer_err start(cs_native *self, costeer_error *err)
{
    const costeer_err code = cs_audit_connect(&self->outbox.audit, &self->url, self->has_token, err);
    if (code != COSTEER_OK) {
        return code;
    }
    cs_inbox_connect(&self->inbox);
    cs_native_link_set_limit(self->link, IDLE_MESSAGE_BYTES);
    cs_native_link_connect(self->link);
    self->is_trying = self->is_new = true;
    return COSTEER_OK;
}

static bool is_ready(const cs_native *self)
{
    return cs_native_link_get_state(self->link) == CS_NATIVE_LINK_UP && self->inbox.has_hello;
}

costeer_err cs_native_ping(cs_native *self, costeer_error *err)
{
    if (!is_ready(self) || self->inbox.ping_us != 0) {
        return COSTEER_OK;
    }
    const costeer_frame frame = {.type = COSTEER_FRAME_PING, .as.ping = {.nonce = 1}};
    self->inbox.ping_nonce = 1;
    self->inbox.ping_us = cs_clock_us();
    return cs_native_outbox_send(&self->outbox, &frame, 1, err);
}

costeer_err cs_native_connect_first(cs_native *self, const atomic_bool *cancel, int64_t deadline_us, costeer_error *err)
{
    self->pause_ms = PAUSE_FIRST_MS;
    while (!is_ready(self)) {
        costeer_err code = cs_native_notice(self, err);
        if (code == COSTEER_OK && self->has_cause && !self->cause.is_busy) {
            code = give_up(self, err); /* here a person may still correct the address */
        }
        if (code == COSTEER_OK && !self->is_trying && cs_clock_us() >= self->retry_at_us) {
            code = start(self, err);
        }
        code = code == COSTEER_OK ? cs_native_wait(self, cancel, deadline_us, err) : code;
        if (code != COSTEER_OK) {
            return code;
        }
    }
    self->is_new = self->has_cause = false;
    return cs_native_ping(self, err);
}

static costeer_err open_again(cs_native *self, costeer_error *err)
{
    const costeer_err code = cs_native_send_open(self, err);
    self->stats.n_reconnects += code == COSTEER_OK && self->is_new ? 1 : 0;
    self->is_new = code == COSTEER_OK ? false : self->is_new;
    return code;
}

costeer_err cs_native_ensure(cs_native *self, int64_t deadline_us, costeer_error *err)
{
    for (;;) {
        costeer_err code = cs_native_notice(self, err);
        if (code != COSTEER_OK) {
            return code;
        }
        if (is_ready(self) && self->answer.is_sent) {
            return COSTEER_OK;
        }
        if (cs_clock_us() >= self->retry_at_us) {
            if (is_ready(self)) {
                return open_again(self, err);
            }
            code = self->is_trying ? COSTEER_OK : start(self, err);
        }
        code = code == COSTEER_OK ? cs_native_wait(self, self->answer.cancel, deadline_us, err) : code;
        if (code != COSTEER_OK) {
            return code;
        }
    }
}

void cs_native_settle(cs_native *self)
{
    self->has_cause = false;
    self->pause_ms = PAUSE_FIRST_MS;
}
