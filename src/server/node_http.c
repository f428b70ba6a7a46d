/*
 * What is not WebSocket: /health, /metrics, /v1/model, who may come in, and how many.
 *
 * A reply is one write of head and body; pages are small. libwebsockets offers ways off this path that nobody needs here, and
 * each is shut: CONNECT (a raw socket), an upgrade to h2c, and upgrades to anything unknown, after which version 4.1 goes on with
 * headers that it has freed (CVE-2025-11677).
 */
#include "server/node_internal.h"
#include "util/buffer.h"

#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define PAGE_BYTES_MAX 16384
#define HEAD_BYTES_MAX 1024

/* A token has at most 512 bytes; a header that is longer than this cannot be right. */
#define AUTHORIZATION_BYTES_MAX 1024

#define JSON_TYPE "application/json"
#define TEXT_TYPE "text/plain; charset=utf-8"

/* ---- replies ----------------------------------------------------------------------------------------------------- */

typedef struct reply {
    unsigned int status;
    const char *type;
    const char *extra_name; /* NULL, or one more header */
    const char *extra_value;
} reply;

/* Write a reply. Nonzero: close the connection. */
static int send_reply(struct lws *wsi, const reply *r, const char *body, size_t n_body)
{
    unsigned char bytes[LWS_PRE + HEAD_BYTES_MAX + PAGE_BYTES_MAX];
    unsigned char *at = bytes + LWS_PRE;
    unsigned char *head_end = at + HEAD_BYTES_MAX;
    if (n_body > PAGE_BYTES_MAX || lws_add_http_common_headers(wsi, r->status, r->type, n_body, &at, head_end) != 0) {
        return -1;
    }
    if (r->extra_name != NULL &&
        lws_add_http_header_by_name(wsi, (const unsigned char *)r->extra_name, (const unsigned char *)r->extra_value,
                                    (int)strlen(r->extra_value), &at, head_end) != 0) {
        return -1;
    }
    if (lws_finalize_http_header(wsi, &at, head_end) != 0) {
        return -1;
    }
    if (lws_hdr_total_length(wsi, WSI_TOKEN_HEAD_URI) == 0) { /* RFC 9110, 9.3.2: no body for HEAD */
        memcpy(at, body, n_body);
        at += n_body;
    }
    const size_t n = (size_t)(at - bytes) - LWS_PRE;
    return lws_write(wsi, bytes + LWS_PRE, n, LWS_WRITE_HTTP_HEADERS) < (int)n ? -1 : 0;
}

static int send_text(struct lws *wsi, unsigned int status, const char *text)
{
    return send_reply(wsi, &(reply){.status = status, .type = TEXT_TYPE}, text, strlen(text));
}

static int send_json(struct lws *wsi, unsigned int status, json_t *value)
{
    char text[1024];
    const size_t n = value != NULL ? json_dumpb(value, text, sizeof text - 1, JSON_COMPACT) : 0;
    json_decref(value);
    if (n == 0 || n > sizeof text - 1) {
        return -1;
    }
    text[n] = '\n';
    return send_reply(wsi, &(reply){.status = status, .type = JSON_TYPE}, text, n + 1);
}

static int send_health(const costeer_node *node, struct lws *wsi)
{
    return send_json(wsi, node->is_draining ? HTTP_STATUS_SERVICE_UNAVAILABLE : HTTP_STATUS_OK,
                     json_pack("{s:s, s:i}", "status", node->is_draining ? "draining" : "ok", "sessions", (int)node->n_answers));
}

static int send_model(const costeer_node *node, struct lws *wsi)
{
    const costeer_model_info *info = costeer_model_get_info(node->model);
    return send_json(wsi, HTTP_STATUS_OK,
                     json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:s}", "name", node->name, "vocab_sha256", info->vocab_sha256,
                               "n_vocab", (int)node->n_vocab, "max_context", (int)node->n_ctx, "max_window",
                               (int)node->params.max_window, "max_drafts", CS_NODE_MAX_DRAFTS, "protocol",
                               COSTEER_WIRE_SUBPROTOCOL));
}

static int send_metrics(const costeer_node *node, struct lws *wsi)
{
    cs_buffer text = {.cap = PAGE_BYTES_MAX};
    const int32_t n_waiting = node->n_answers - node->params.n_parallel;
    const cs_node_gauges gauges = {
        .sessions = node->n_answers, .waiting = n_waiting > 0 ? n_waiting : 0, .connections = node->n_connections};
    int result = -1;
    if (cs_metrics_write(&node->metrics, &gauges, &text)) {
        const reply r = {.status = HTTP_STATUS_OK, .type = "text/plain; version=0.0.4; charset=utf-8"};
        result = send_reply(wsi, &r, text.bytes, text.n_bytes);
    }
    cs_buffer_dispose(&text);
    return result;
}

/* ---- tokens ------------------------------------------------------------------------------------------------------ */

/* Hashes are compared, so that neither the length nor a common beginning shows in the time it takes. */
static bool is_authorised(const costeer_node *node, struct lws *wsi)
{
    static const char scheme[] = "Bearer ";
    char header[AUTHORIZATION_BYTES_MAX];
    uint8_t hash[SHA256_DIGEST_LENGTH];
    if (!node->has_token) {
        return true;
    }
    const int n = lws_hdr_copy(wsi, header, (int)sizeof header, WSI_TOKEN_HTTP_AUTHORIZATION);
    if (n < (int)sizeof scheme || strncasecmp(header, scheme, sizeof scheme - 1) != 0) {
        return false;
    }
    const char *token = header + sizeof scheme - 1;
    token += strspn(token, " ");
    SHA256((const unsigned char *)token, strlen(token), hash);
    OPENSSL_cleanse(header, sizeof header);
    return CRYPTO_memcmp(hash, node->token_hash, sizeof hash) == 0;
}

static int send_unauthorised(struct lws *wsi)
{
    static const char text[] = "a bearer token is needed\n";
    const reply r = {.status = HTTP_STATUS_UNAUTHORIZED,
                     .type = TEXT_TYPE,
                     .extra_name = "www-authenticate:",
                     .extra_value = "Bearer realm=\"costeer\""};
    return send_reply(wsi, &r, text, sizeof text - 1);
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static int send_page(const costeer_node *node, struct lws *wsi, const char *path)
{
    const bool is_health = strcmp(path, "/health") == 0;
    const bool is_model = strcmp(path, "/v1/model") == 0;
    const bool is_metrics = strcmp(path, "/metrics") == 0;
    if (!is_health && !is_model && !is_metrics) {
        return send_text(wsi, HTTP_STATUS_NOT_FOUND, "there are /health, /metrics and /v1/model, and the WebSocket\n");
    }
    if (lws_hdr_total_length(wsi, WSI_TOKEN_GET_URI) == 0) {
        static const char text[] = "only GET\n";
        const reply r = {
            .status = HTTP_STATUS_METHOD_NOT_ALLOWED, .type = TEXT_TYPE, .extra_name = "allow:", .extra_value = "GET"};
        return send_reply(wsi, &r, text, sizeof text - 1);
    }
    if (is_health) {
        return send_health(node, wsi);
    }
    if (!is_authorised(node, wsi)) {
        return send_unauthorised(wsi);
    }
    return is_model ? send_model(node, wsi) : send_metrics(node, wsi);
}

static int on_request(const costeer_node *node, struct lws *wsi, const char *path)
{
    if (send_page(node, wsi, path) != 0) {
        return -1;
    }
    /* A body that nobody reads would be taken for the next request. */
    return lws_hdr_total_length(wsi, WSI_TOKEN_GET_URI) == 0 || lws_http_transaction_completed(wsi) != 0 ? -1 : 0;
}

/* True when a comma-separated list of a header has a word. */
static bool has_word(const char *list, const char *word)
{
    const size_t n_word = strlen(word);
    while (*list != '\0') {
        list += strspn(list, ", \t");
        const size_t n = strcspn(list, ", \t");
        if (n == n_word && strncmp(list, word, n) == 0) {
            return true;
        }
        list += n;
    }
    return false;
}

/* 0: go on with the upgrade; positive: a reply was sent; negative: hang up. */
static int on_upgrade(const costeer_node *node, struct lws *wsi)
{
    char text[256];
    /* The header is asked for again: libwebsockets may have freed what it points at. */
    if (lws_hdr_copy(wsi, text, (int)sizeof text, WSI_TOKEN_UPGRADE) <= 0 || strcasecmp(text, "websocket") != 0) {
        return -1;
    }
    if (!is_authorised(node, wsi)) {
        return send_unauthorised(wsi) != 0 ? -1 : 1;
    }
    if (lws_hdr_copy(wsi, text, (int)sizeof text, WSI_TOKEN_PROTOCOL) <= 0 || !has_word(text, COSTEER_WIRE_SUBPROTOCOL)) {
        return send_text(wsi, HTTP_STATUS_BAD_REQUEST, "the subprotocol is " COSTEER_WIRE_SUBPROTOCOL "\n") != 0 ? -1 : 1;
    }
    return 0;
}

int cs_node_on_http(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
    (void)user;
    (void)len;
    costeer_node *node = lws_context_user(lws_get_context(wsi));
    switch (reason) {
    case LWS_CALLBACK_EVENT_WAIT_CANCELLED:
        cs_node_look_at_answers(node);
        return 0;
    case LWS_CALLBACK_FILTER_NETWORK_CONNECTION:
        return node->n_connections >= node->max_connections ? -1 : 0;
    case LWS_CALLBACK_WSI_CREATE: /* before the TLS handshake: what does not finish it counts too, and is destroyed too */
        node->n_connections++;
        return 0;
    case LWS_CALLBACK_WSI_DESTROY:
        node->n_connections--;
        return 0;
    case LWS_CALLBACK_HTTP:
        return on_request(node, wsi, in);
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
        return on_upgrade(node, wsi);
    case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION: /* a WebSocket of this protocol, which is for pages only */
    case LWS_CALLBACK_RAW_ADOPT:
        return -1;
    default:
        return 0;
    }
}
