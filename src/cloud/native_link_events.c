/*
 * What happens on a connection: handshake, messages in pieces, room to write, its end. Called by libwebsockets on the link's
 * thread. An event of a connection that does not count any more is answered with "close it".
 */
#include "cloud/native_link_internal.h"
#include "util/error.h"

#include <costeer/wire.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

/* ---- incoming ---------------------------------------------------------------------------------------------------- */

bool cs_native_link_grow(cs_native_link *link, size_t n)
{
    if (n <= link->message_capacity) {
        return true;
    }
    size_t capacity = link->message_capacity == 0 ? CS_NATIVE_LINK_MESSAGE_BYTES : link->message_capacity;
    while (capacity < n) {
        capacity *= 2;
    }
    uint8_t *larger = realloc(link->message, capacity);
    if (larger == NULL) {
        return false;
    }
    link->message = larger;
    link->message_capacity = capacity;
    return true;
}

/* A piece of a message. Returns whether the connection goes on. */
static bool receive(cs_native_link *link, struct lws *wsi, const uint8_t *bytes, size_t n)
{
    if (lws_is_first_fragment(wsi)) {
        link->n_message = 0;
    }
    if (!lws_frame_is_binary(wsi)) {
        cs_native_link_fail_with(link, true, "broke the protocol: a text message");
        return false;
    }
    if (n > link->message_limit || link->n_message > link->message_limit - n) {
        cs_native_link_fail_with(link, true, "broke the protocol: a message longer than what was asked for can be");
        return false;
    }
    if (!cs_native_link_grow(link, link->n_message + n)) {
        cs_native_link_fail_with(link, true, "sent a message for which there is no memory");
        return false;
    }
    if (n > 0) {
        memcpy(link->message + link->n_message, bytes, n);
        link->n_message += n;
    }
    if (!lws_is_final_fragment(wsi)) {
        return true;
    }
    cs_native_link_failure failure = {.is_final = true};
    const costeer_err code = link->on_message(link->user, link->message, link->n_message, &failure.error);
    if (code != COSTEER_OK) {
        cs_native_link_fail(link, &failure);
        return false;
    }
    (void)pthread_cond_broadcast(&link->changed);
    return true;
}

/* ---- outgoing ---------------------------------------------------------------------------------------------------- */

/* Take the oldest message into `outgoing`, which libwebsockets masks in place. Returns its bytes, 0: none. */
static size_t take(cs_native_link *link)
{
    if (link->queue_head == link->queue_end) {
        return 0;
    }
    uint32_t n;
    memcpy(&n, link->queue + link->queue_head, sizeof n);
    if (n > link->outgoing_capacity) {
        uint8_t *larger = realloc(link->outgoing, LWS_PRE + n);
        if (larger == NULL) {
            return 0;
        }
        link->outgoing = larger;
        link->outgoing_capacity = n;
    }
    memcpy(link->outgoing + LWS_PRE, link->queue + link->queue_head + sizeof n, n);
    link->queue_head += sizeof n + n;
    if (link->queue_head == link->queue_end) {
        link->queue_head = link->queue_end = 0;
    }
    return n;
}

static bool write_next(cs_native_link *link, struct lws *wsi)
{
    cs_native_link_lock(link);
    const size_t n = take(link);
    const bool has_more = link->queue_head != link->queue_end;
    cs_native_link_unlock(link);
    if (n == 0) {
        return true;
    }
    if (lws_write(wsi, link->outgoing + LWS_PRE, n, LWS_WRITE_BINARY) < (int)n) {
        return false;
    }
    if (has_more) {
        (void)lws_callback_on_writable(wsi);
    }
    return true;
}

/* ---- libwebsockets' events --------------------------------------------------------------------------------------- */

static bool is_current(const cs_native_link *link, struct lws *wsi)
{
    return (uintptr_t)lws_get_opaque_user_data(wsi) == link->attempt && !link->quit && link->state != CS_NATIVE_LINK_DOWN;
}

static bool add_token(const cs_native_link *link, struct lws *wsi, uint8_t **at, size_t n)
{
    if (link->token == NULL) {
        return true;
    }
    static const char scheme[] = "Bearer ";
    const size_t n_token = strlen(link->token);
    unsigned char *value = malloc(sizeof scheme + n_token);
    if (value == NULL) {
        return false;
    }
    memcpy(value, scheme, sizeof scheme - 1);
    memcpy(value + sizeof scheme - 1, link->token, n_token);
    const int failed =
        lws_add_http_header_by_token(wsi, WSI_TOKEN_HTTP_AUTHORIZATION, value, (int)(sizeof scheme - 1 + n_token), at, *at + n);
    OPENSSL_cleanse(value, sizeof scheme + n_token);
    free(value);
    return failed == 0;
}

/* The other side must speak our subprotocol, not just WebSocket. */
static bool check_subprotocol(cs_native_link *link, struct lws *wsi)
{
    char name[32] = "";
    if (lws_hdr_copy(wsi, name, sizeof name, WSI_TOKEN_PROTOCOL) > 0 && strcmp(name, COSTEER_WIRE_SUBPROTOCOL) == 0) {
        return true;
    }
    cs_native_link_fail_with(link, true,
                             "opens a WebSocket, but not with the subprotocol " COSTEER_WIRE_SUBPROTOCOL
                             ": it is not a CoSteer node of "
                             "this version");
    return false;
}

static void established(cs_native_link *link, struct lws *wsi)
{
    const int on = 1; /* small messages must not wait for each other */
    (void)setsockopt(lws_get_socket_fd(wsi), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    link->state = CS_NATIVE_LINK_UP;
    link->wsi = wsi;
    link->n_message = 0;
    (void)pthread_cond_broadcast(&link->changed);
    if (link->queue_head != link->queue_end) {
        (void)lws_callback_on_writable(wsi);
    }
}

/* With the lock held, for events of the connection that counts. Returns whether it goes on. */
static bool handle(cs_native_link *link, struct lws *wsi, enum lws_callback_reasons reason, void *in, size_t n)
{
    switch (reason) {
    case LWS_CALLBACK_CLIENT_FILTER_PRE_ESTABLISH:
        return check_subprotocol(link, wsi);
    case LWS_CALLBACK_CLIENT_ESTABLISHED:
        established(link, wsi);
        return true;
    case LWS_CALLBACK_CLIENT_RECEIVE:
        return receive(link, wsi, in, n);
    case LWS_CALLBACK_CLIENT_HTTP_REDIRECT: /* the token must not follow to another host */
        cs_native_link_fail_with(link, true, "redirects to another address: it is not a CoSteer node; give the address itself");
        return false;
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR: {
        const cs_native_link_failure failure = cs_native_link_explain(link, lws_http_client_http_response(wsi), in, n);
        cs_native_link_fail(link, &failure);
        return true;
    }
    case LWS_CALLBACK_CLIENT_CLOSED:
    case LWS_CALLBACK_WSI_DESTROY:
        cs_native_link_fail_with(link, false, "closed the connection");
        return true;
    default:
        return true;
    }
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t n)
{
    (void)user;
    switch (reason) {
    case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
    case LWS_CALLBACK_CLIENT_FILTER_PRE_ESTABLISH:
    case LWS_CALLBACK_CLIENT_ESTABLISHED:
    case LWS_CALLBACK_CLIENT_RECEIVE:
    case LWS_CALLBACK_CLIENT_WRITEABLE:
    case LWS_CALLBACK_CLIENT_HTTP_REDIRECT:
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
    case LWS_CALLBACK_CLIENT_CLOSED:
    case LWS_CALLBACK_WSI_DESTROY:
        break;
    default:
        return 0;
    }
    cs_native_link *link = lws_context_user(lws_get_context(wsi));
    cs_native_link_lock(link);
    const bool counts = is_current(link, wsi);
    bool goes_on = counts;
    if (counts && reason == LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER) {
        link->was_asked = true;
        goes_on = add_token(link, wsi, in, n);
    } else if (counts && reason != LWS_CALLBACK_CLIENT_WRITEABLE) {
        goes_on = handle(link, wsi, reason, in, n);
    }
    if (reason == LWS_CALLBACK_WSI_DESTROY && link->doomed == wsi) {
        link->doomed = NULL;
    }
    cs_native_link_unlock(link);
    if (goes_on && reason == LWS_CALLBACK_CLIENT_WRITEABLE) {
        goes_on = write_next(link, wsi);
    }
    return goes_on ? 0 : -1;
}

const struct lws_protocols cs_native_link_protocols[] = {{.name = COSTEER_WIRE_SUBPROTOCOL, .callback = on_event},
                                                         {.name = NULL}};
