/*
 * What a device says: frames in their order, each checked, each turned into one call of the batcher. The first broken rule is
 * named in an error, and the connection is closed.
 *
 * Between a device's close and the batcher's account nothing is processed, so that the account stands before everything of the
 * next answer; what comes meanwhile is kept, and bounded as a message is.
 */
#include "server/node_internal.h"
#include "util/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rate limits, with a second's worth of burst. Lockstep over loopback with a tiny model is some thousand frames a second, and a
 * frame has hardly more than 16 bytes. */
#define FRAMES_PER_SECOND 20000.0
#define BYTES_PER_SECOND  1048576.0

/* What an open counts: it may cost a tokenisation and the beginning of a prompt. */
#define FRAMES_OF_AN_OPEN 100.0

static void drop_distributions(cs_connection *connection)
{
    pthread_mutex_lock(&connection->out.lock);
    connection->is_muted = true;
    cs_outbox_drop(&connection->out, INT32_MAX);
    pthread_mutex_unlock(&connection->out.lock);
}

void cs_session_drop_answer(cs_connection *connection)
{
    if (connection->answer != NULL) {
        drop_distributions(connection);
        if (connection->has_messages) {
            cs_said_add(&connection->said, connection->answer, (size_t)connection->node->n_ctx);
        }
        costeer_batch_close(connection->answer);
        connection->answer = NULL;
        connection->is_held = false;
        connection->node->n_answers--;
    }
    if (connection->state != CS_ANSWER_NONE) {
        connection->state = CS_ANSWER_REFUSED;
    }
}

void cs_session_violate(cs_connection *connection, costeer_wire_error code, const char *format, ...)
{
    char text[COSTEER_WIRE_MESSAGE_MAX + 1];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (connection->close_status != 0) {
        return;
    }
    if (code != COSTEER_WIRE_ETIMEDOUT) {
        cs_metrics_add(&connection->node->metrics.protocol_errors, 1);
    }
    cs_session_drop_answer(connection);
    pthread_mutex_lock(&connection->out.lock);
    cs_outbox_clear(&connection->out); /* the error is the last word, and must fit */
    pthread_mutex_unlock(&connection->out.lock);
    cs_connection_push_error(connection, code, 0, "%s", text);
    cs_connection_end(connection, LWS_CLOSE_STATUS_POLICY_VIOLATION);
}

void cs_session_hello(cs_connection *connection)
{
    const costeer_node *node = connection->node;
    connection->frames_left = FRAMES_PER_SECOND;
    connection->bytes_left = BYTES_PER_SECOND;
    const costeer_model_info *info = costeer_model_get_info(node->model);
    costeer_frame frame = {.type = COSTEER_FRAME_HELLO,
                           .as.hello = {.version = COSTEER_WIRE_VERSION,
                                        .n_vocab = node->n_vocab,
                                        .max_context = node->n_ctx,
                                        .max_window = node->params.max_window,
                                        .max_drafts = CS_NODE_MAX_DRAFTS,
                                        .name = node->name,
                                        .n_name = strlen(node->name)}};
    for (size_t i = 0; i < sizeof frame.as.hello.vocab_sha256; i++) {
        const char digits[3] = {info->vocab_sha256[2 * i], info->vocab_sha256[2 * i + 1], '\0'};
        frame.as.hello.vocab_sha256[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    cs_connection_push(connection, &frame);
}

/* ---- frames ------------------------------------------------------------------------------------------------------ */

/* True when a frame about an answer is to be dealt with. */
static bool has_answer(cs_connection *connection, costeer_frame_type type)
{
    if (connection->state == CS_ANSWER_NONE) {
        cs_session_violate(connection, COSTEER_WIRE_EPROTOCOL, "%s: no answer is open", costeer_frame_name(type));
    }
    return connection->state == CS_ANSWER_OPEN;
}

static bool has_ended(cs_connection *connection)
{
    pthread_mutex_lock(&connection->out.lock);
    const bool is_there = connection->end.is_there;
    pthread_mutex_unlock(&connection->out.lock);
    return is_there;
}

/* The batcher refused. When it had already given the answer up, its own error is on the way, and the device could not know. */
static void refuse(cs_connection *connection, const costeer_error *err)
{
    if (!has_ended(connection)) {
        cs_session_violate(connection, COSTEER_WIRE_EPROTOCOL, "%s", err->message);
    }
}

static void count_accepted(cs_connection *connection, int32_t n_accepted)
{
    if (n_accepted > connection->n_accepted) {
        cs_metrics_add(&connection->node->metrics.tokens, (uint64_t)(n_accepted - connection->n_accepted));
        connection->n_accepted = n_accepted;
    }
}

static void on_commit(cs_connection *connection, const costeer_frame_commit *commit)
{
    costeer_error err = {.code = COSTEER_OK};
    if (costeer_batch_commit(connection->answer, commit->position, &err) != COSTEER_OK) {
        refuse(connection, &err);
        return;
    }
    count_accepted(connection, commit->position + 1);
}

static void on_correct(cs_connection *connection, const costeer_frame_correct *correct)
{
    costeer_error err = {.code = COSTEER_OK};
    if (costeer_batch_correct(connection->answer, correct->epoch, correct->position, correct->token, &err) != COSTEER_OK) {
        refuse(connection, &err);
        return;
    }
    pthread_mutex_lock(&connection->out.lock);
    cs_outbox_drop(&connection->out, correct->epoch);
    pthread_mutex_unlock(&connection->out.lock);
    count_accepted(connection, correct->position + 1);
}

static void on_draft(cs_connection *connection, const costeer_frame_draft *draft)
{
    costeer_error err = {.code = COSTEER_OK};
    if (!connection->takes_drafts) {
        cs_session_violate(connection, COSTEER_WIRE_EPROTOCOL, "draft: there are none in lockstep");
        return;
    }
    if (costeer_batch_draft(connection->answer, draft->position, draft->tokens, draft->n, &err) != COSTEER_OK) {
        refuse(connection, &err);
    }
}

static void on_deepen(cs_connection *connection, const costeer_frame_deepen *deepen)
{
    costeer_error err = {.code = COSTEER_OK};
    if (costeer_batch_deepen(connection->answer, deepen->epoch, deepen->position, deepen->top_k, &err) != COSTEER_OK) {
        refuse(connection, &err);
    }
}

static void on_close(cs_connection *connection)
{
    cs_session_drop_answer(connection);
    connection->state = CS_ANSWER_CLOSING;
}

static void on_ping(cs_connection *connection, const costeer_frame_ping *ping)
{
    if (!ping->is_reply) {
        cs_connection_push(connection,
                           &(costeer_frame){.type = COSTEER_FRAME_PING, .as.ping = {.is_reply = true, .nonce = ping->nonce}});
    }
}

static void on_open(cs_connection *connection, const costeer_frame_open *open)
{
    if (connection->state == CS_ANSWER_OPEN) {
        cs_session_violate(connection, COSTEER_WIRE_EPROTOCOL, "open: an answer is open already; close it first");
        return;
    }
    cs_session_open(connection, open);
}

static void on_frame(cs_connection *connection, const costeer_frame *frame)
{
    switch (frame->type) {
    case COSTEER_FRAME_OPEN:
        on_open(connection, &frame->as.open);
        return;
    case COSTEER_FRAME_PING:
        on_ping(connection, &frame->as.ping);
        return;
    default:
        break;
    }
    if (!has_answer(connection, frame->type)) {
        return;
    }
    switch (frame->type) {
    case COSTEER_FRAME_COMMIT:
        on_commit(connection, &frame->as.commit);
        return;
    case COSTEER_FRAME_CORRECT:
        on_correct(connection, &frame->as.correct);
        return;
    case COSTEER_FRAME_DRAFT:
        on_draft(connection, &frame->as.draft);
        return;
    case COSTEER_FRAME_DEEPEN:
        on_deepen(connection, &frame->as.deepen);
        return;
    case COSTEER_FRAME_CLOSE:
    case COSTEER_FRAME_ERROR:
        on_close(connection);
        return;
    default:
        cs_session_violate(connection, COSTEER_WIRE_EPROTOCOL, "%s: not a device's frame", costeer_frame_name(frame->type));
        return;
    }
}

/* Replies that are not read pile up, here from pings. */
static void check_outbox(cs_connection *connection)
{
    pthread_mutex_lock(&connection->out.lock);
    const bool is_failed = connection->out.is_failed;
    pthread_mutex_unlock(&connection->out.lock);
    if (is_failed) {
        cs_session_violate(connection, COSTEER_WIRE_ERATE, "what was asked for is not read");
    }
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

static double smaller(double a, double b)
{
    return a < b ? a : b;
}

static bool is_within_rate(cs_connection *connection, const costeer_frame *frame, size_t n_bytes)
{
    const bool is_open = frame->type == COSTEER_FRAME_OPEN;
    const int64_t now_us = cs_clock_us();
    const double seconds = (double)(now_us - connection->refilled_us) / 1e6;
    connection->refilled_us = now_us;
    connection->frames_left = smaller(connection->frames_left + seconds * FRAMES_PER_SECOND, FRAMES_PER_SECOND);
    connection->bytes_left = smaller(connection->bytes_left + seconds * BYTES_PER_SECOND, BYTES_PER_SECOND);
    connection->frames_left -= is_open ? FRAMES_OF_AN_OPEN : 1.0;
    connection->bytes_left -= is_open ? 0.0 : (double)n_bytes;
    return connection->frames_left >= 0.0 && connection->bytes_left >= 0.0;
}

/* Process frames until the bytes are used up, an answer is closed, or a rule is broken. Returns the bytes used. */
static size_t process(cs_connection *connection, const uint8_t *bytes, size_t n)
{
    costeer_error err = {.code = COSTEER_OK};
    size_t used = 0;
    while (used < n && connection->close_status == 0 && connection->state != CS_ANSWER_CLOSING) {
        costeer_frame frame;
        size_t n_read = 0;
        if (costeer_wire_decode(&connection->node->reader, bytes + used, n - used, &frame, &n_read, &err) != COSTEER_OK) {
            cs_session_violate(connection, COSTEER_WIRE_EPROTOCOL, "%s", err.message);
            break;
        }
        if (!is_within_rate(connection, &frame, n_read)) {
            cs_session_violate(connection, COSTEER_WIRE_ERATE, "more than %d frames or %d bytes in a second",
                               (int)FRAMES_PER_SECOND, (int)BYTES_PER_SECOND);
            break;
        }
        used += n_read;
        /* What one message says is one step's work. */
        if (used < n && connection->answer != NULL && !connection->is_held) {
            costeer_batch_hold(connection->answer);
            connection->is_held = true;
        }
        on_frame(connection, &frame);
        check_outbox(connection);
    }
    if (connection->is_held && connection->answer != NULL) {
        costeer_batch_release(connection->answer);
        connection->is_held = false;
    }
    return used;
}

static bool keep(cs_connection *connection, const uint8_t *bytes, size_t n)
{
    const size_t message_max = connection->node->message_max;
    if (n > message_max - connection->n_in) {
        cs_session_violate(connection, COSTEER_WIRE_ETOOLONG, "message: more than %zu bytes", message_max);
        return false;
    }
    if (connection->n_in + n > connection->in_capacity) {
        const size_t capacity = connection->n_in + n > message_max / 2 ? message_max : 2 * (connection->n_in + n);
        uint8_t *grown = realloc(connection->in, capacity);
        if (grown == NULL) {
            cs_session_violate(connection, COSTEER_WIRE_EINTERNAL, "the node has no memory for a message");
            return false;
        }
        connection->in = grown;
        connection->in_capacity = capacity;
    }
    memcpy(connection->in + connection->n_in, bytes, n);
    connection->n_in += n;
    return true;
}

void cs_session_go_on(cs_connection *connection)
{
    if (connection->n_whole == 0 || connection->state == CS_ANSWER_CLOSING || connection->close_status != 0) {
        return;
    }
    const size_t used = process(connection, connection->in, connection->n_whole);
    connection->n_in -= used;
    connection->n_whole -= used;
    if (connection->n_in == 0) {
        /* Long messages are rare: their room is not kept. */
        free(connection->in);
        connection->in = NULL;
        connection->in_capacity = 0;
    } else if (used > 0) {
        memmove(connection->in, connection->in + used, connection->n_in);
    }
}

void cs_session_receive(cs_connection *connection, const uint8_t *bytes, size_t n, bool is_last)
{
    connection->heard_us = cs_clock_us();
    cs_metrics_add(&connection->node->metrics.bytes_received, n);
    if (connection->close_status != 0) {
        return;
    }
    if (connection->n_in == 0 && is_last && connection->state != CS_ANSWER_CLOSING) {
        const size_t used = process(connection, bytes, n);
        bytes += used;
        n -= used;
        if (n == 0 || connection->close_status != 0) {
            return;
        }
    }
    if (keep(connection, bytes, n) && is_last) {
        connection->n_whole = connection->n_in;
        cs_session_go_on(connection);
    }
}

/* ---- the batcher's last word ------------------------------------------------------------------------------------- */

void cs_session_on_end(cs_connection *connection, const cs_answer_end *end)
{
    if (connection->state == CS_ANSWER_CLOSING) {
        connection->state = CS_ANSWER_NONE;
        cs_connection_push(connection, &(costeer_frame){.type = COSTEER_FRAME_CLOSE,
                                                        .as.close = {.n_steps = end->account.n_steps,
                                                                     .n_wasted = end->account.n_wasted,
                                                                     .n_rollbacks = end->account.n_rollbacks}});
        cs_session_go_on(connection);
    } else if (connection->state == CS_ANSWER_OPEN) {
        cs_session_drop_answer(connection);
        cs_connection_push_error(connection, COSTEER_WIRE_EINTERNAL, 0, "the model failed (%s)", costeer_err_name(end->status));
    }
}
