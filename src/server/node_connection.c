/*
 * A connection's socket: from the WebSocket handshake to its end, writing, silence. What is said over it is node_session.c.
 *
 * Nothing a device does, or leaves undone, makes anything grow: its outbox and its input are bounded, and a socket that takes no
 * output, says nothing, or never opens an answer is closed after a time.
 */
#include "server/node_internal.h"
#include "util/clock.h"
#include "util/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long a connection that is to be closed may take to read why. */
#define ENDING_US 5000000

/* What libwebsockets keeps for each connection. */
typedef struct socket_user {
    cs_connection *connection;
} socket_user;

/* ---- life -------------------------------------------------------------------------------------------------------- */

static void free_connection(cs_connection *connection)
{
    cs_link_remove(&connection->link);
    cs_link_remove(&connection->answer_link);
    cs_outbox_dispose(&connection->out);
    cs_said_dispose(&connection->said);
    free(connection->in);
    free(connection);
}

static int on_established(costeer_node *node, struct lws *wsi, socket_user *user)
{
    cs_connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL) {
        return -1;
    }
    if (!cs_outbox_init(&connection->out, CS_OUTBOX_CONTROL_BYTES)) {
        free(connection);
        return -1;
    }
    user->connection = connection;
    connection->node = node;
    connection->wsi = wsi;
    connection->owner = ++node->n_owners;
    connection->connected_us = cs_clock_us();
    connection->heard_us = connection->connected_us;
    connection->refilled_us = connection->connected_us;
    cs_link_add(&node->connections, &connection->link);
    cs_session_hello(connection);
    return 0;
}

static void on_closed(socket_user *user)
{
    cs_connection *connection = user->connection;
    user->connection = NULL;
    if (connection == NULL) {
        return;
    }
    connection->wsi = NULL;
    cs_session_drop_answer(connection);
    if (cs_link_is_in(&connection->answer_link)) {
        cs_link_remove(&connection->link); /* the batcher's last call is awaited */
    } else {
        free_connection(connection);
    }
}

void cs_connection_end(cs_connection *connection, int close_status)
{
    if (connection->close_status == 0) {
        connection->close_status = close_status;
        connection->ending_us = cs_clock_us();
        if (connection->wsi != NULL) {
            lws_callback_on_writable(connection->wsi);
        }
    }
}

static void kill_socket(cs_connection *connection)
{
    lws_set_timeout(connection->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
}

void cs_node_free_connections(costeer_node *node)
{
    for (cs_link *link = node->answers.next; link != &node->answers;) {
        cs_connection *connection = CS_CONNECTION_OF(link, answer_link);
        link = link->next;
        free_connection(connection);
    }
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void want_to_write(cs_connection *connection)
{
    if (connection->wsi != NULL) {
        connection->stuck_us = connection->stuck_us == 0 ? cs_clock_us() : connection->stuck_us;
        lws_callback_on_writable(connection->wsi);
    }
}

void cs_connection_push(cs_connection *connection, const costeer_frame *frame)
{
    pthread_mutex_lock(&connection->out.lock);
    (void)cs_outbox_push(&connection->out, frame, connection->node->n_vocab, CS_OUTBOX_CONTROL);
    pthread_mutex_unlock(&connection->out.lock);
    want_to_write(connection);
}

void cs_connection_push_error(cs_connection *connection, costeer_wire_error code, uint32_t retry_after_ms, const char *format,
                              ...)
{
    char text[COSTEER_WIRE_MESSAGE_MAX + 1];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *at = text; *at != '\0'; at++) {
        *at = *at < ' ' || *at > '~' ? '?' : *at;
    }
    cs_connection_push(
        connection,
        &(costeer_frame){
            .type = COSTEER_FRAME_ERROR,
            .as.error = {.code = code, .retry_after_ms = retry_after_ms, .message = text, .n_message = strlen(text)}});
}

/* RFC 6455, 5.2: two bytes, and a longer length where it does not fit. */
static size_t framing_bytes(size_t n)
{
    return n < 126 ? 2 : n < 65536 ? 4 : 10;
}

static int on_writable(cs_connection *connection)
{
    costeer_node *node = connection->node;
    pthread_mutex_lock(&connection->out.lock);
    const size_t n = cs_outbox_take(&connection->out, node->write_buffer + LWS_PRE, CS_NODE_MESSAGE_BYTES);
    const bool is_empty = cs_outbox_is_empty(&connection->out);
    pthread_mutex_unlock(&connection->out.lock);
    if (n > 0) {
        if (lws_write(connection->wsi, node->write_buffer + LWS_PRE, n, LWS_WRITE_BINARY) < (int)n) {
            return -1;
        }
        cs_metrics_add(&node->metrics.bytes_sent, n + framing_bytes(n));
        connection->stuck_us = 0;
        connection->spoke_us = cs_clock_us();
    }
    if (!is_empty) {
        want_to_write(connection);
    } else if (connection->close_status != 0) {
        lws_close_reason(connection->wsi, (enum lws_close_status)connection->close_status, NULL, 0);
        return -1;
    } else {
        connection->stuck_us = 0;
    }
    return 0;
}

bool cs_node_is_flushed(const costeer_node *node)
{
    for (cs_link *link = node->connections.next; link != &node->connections; link = link->next) {
        cs_connection *connection = CS_CONNECTION_OF(link, link);
        pthread_mutex_lock(&connection->out.lock);
        const bool is_empty = cs_outbox_is_empty(&connection->out);
        pthread_mutex_unlock(&connection->out.lock);
        if (!is_empty || connection->close_status != 0 || lws_partial_buffered(connection->wsi) != 0) {
            return false;
        }
    }
    return true;
}

/* ---- what the batcher has brought -------------------------------------------------------------------------------- */

static void look_at_answer(cs_connection *connection)
{
    pthread_mutex_lock(&connection->out.lock);
    const cs_answer_end end = connection->end;
    const bool is_failed = connection->out.is_failed;
    const bool is_empty = cs_outbox_is_empty(&connection->out);
    pthread_mutex_unlock(&connection->out.lock);
    if (end.is_there) {
        cs_link_remove(&connection->answer_link);
        if (connection->wsi == NULL) {
            free_connection(connection);
            return;
        }
        cs_session_on_end(connection, &end);
    }
    if (is_failed && connection->close_status == 0 && connection->wsi != NULL) {
        cs_session_violate(connection, COSTEER_WIRE_ERATE, "what was asked for is not read");
    } else if (!is_empty) {
        want_to_write(connection);
    }
}

void cs_node_look_at_answers(costeer_node *node)
{
    for (cs_link *link = node->answers.next; link != &node->answers;) {
        cs_connection *connection = CS_CONNECTION_OF(link, answer_link);
        link = link->next;
        look_at_answer(connection);
    }
}

void cs_node_end_answers(costeer_node *node)
{
    for (cs_link *link = node->answers.next; link != &node->answers; link = link->next) {
        cs_connection *connection = CS_CONNECTION_OF(link, answer_link);
        if (connection->wsi != NULL && connection->state == CS_ANSWER_OPEN) {
            cs_session_drop_answer(connection);
            cs_connection_push_error(connection, COSTEER_WIRE_EDRAINING, 0, "the node is shut down");
            cs_connection_end(connection, LWS_CLOSE_STATUS_GOINGAWAY);
        }
    }
}

/* ---- time -------------------------------------------------------------------------------------------------------- */

/* While a device waits for the first distribution it has nothing to say: the queue may be long. */
static bool owes_a_word(cs_connection *connection)
{
    if (connection->state != CS_ANSWER_OPEN) {
        return true;
    }
    pthread_mutex_lock(&connection->out.lock);
    const bool has_delivered = connection->has_delivered;
    pthread_mutex_unlock(&connection->out.lock);
    return has_delivered;
}

static void look_at_clock(cs_connection *connection, int64_t now_us)
{
    const int64_t idle_us = (int64_t)connection->node->params.idle_timeout_ms * 1000;
    if (connection->close_status != 0) {
        if (now_us - connection->ending_us > ENDING_US) {
            kill_socket(connection);
        }
        return;
    }
    if (connection->stuck_us != 0 && now_us - connection->stuck_us > idle_us) {
        cs_log(COSTEER_LOG_INFO, "node", "a connection took no output for %d ms; closed", (int)(idle_us / 1000));
        kill_socket(connection);
        return;
    }
    const int64_t handshake_us = (int64_t)CS_NODE_HANDSHAKE_SECONDS * 1000000;
    if (!connection->has_opened && now_us - connection->connected_us > handshake_us) {
        cs_session_violate(connection, COSTEER_WIRE_ETIMEDOUT, "no answer was opened within %d seconds",
                           CS_NODE_HANDSHAKE_SECONDS);
        return;
    }
    const int64_t since_us = connection->heard_us > connection->spoke_us ? connection->heard_us : connection->spoke_us;
    if (now_us - since_us > idle_us && owes_a_word(connection)) {
        cs_session_violate(connection, COSTEER_WIRE_ETIMEDOUT, "nothing was heard for %d ms", (int)(idle_us / 1000));
    }
}

void cs_node_look_at_clock(costeer_node *node)
{
    const int64_t now_us = cs_clock_us();
    for (cs_link *link = node->connections.next; link != &node->connections;) {
        cs_connection *connection = CS_CONNECTION_OF(link, link);
        link = link->next;
        look_at_clock(connection, now_us);
    }
}

/* ---- libwebsockets ----------------------------------------------------------------------------------------------- */

static void on_receive(cs_connection *connection, struct lws *wsi, const void *bytes, size_t n)
{
    if (lws_is_first_fragment(wsi) && !lws_frame_is_binary(wsi)) {
        cs_session_violate(connection, COSTEER_WIRE_EPROTOCOL, "message: it is text; frames are sent in binary messages");
        return;
    }
    const bool is_last = lws_is_final_fragment(wsi) != 0 && lws_remaining_packet_payload(wsi) == 0;
    cs_session_receive(connection, bytes, n, is_last);
}

int cs_node_on_websocket(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
    socket_user *socket = user;
    switch (reason) {
    case LWS_CALLBACK_ESTABLISHED:
        return on_established(lws_context_user(lws_get_context(wsi)), wsi, socket);
    case LWS_CALLBACK_RECEIVE:
        on_receive(socket->connection, wsi, in, len);
        return 0;
    case LWS_CALLBACK_RECEIVE_PONG:
        socket->connection->heard_us = cs_clock_us();
        return 0;
    case LWS_CALLBACK_SERVER_WRITEABLE:
        return on_writable(socket->connection);
    case LWS_CALLBACK_CLOSED:
        on_closed(socket);
        return 0;
    default:
        return 0;
    }
}
