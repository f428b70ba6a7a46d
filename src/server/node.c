/*
 * The node's life: parts put together, the loop, draining, and the end. One thread runs libwebsockets' loop, the batcher's
 * threads compute; what they bring is announced by waking the loop, the only call of libwebsockets that another thread may make.
 *
 * Order of the end: the sockets first (each closes its answer), then the batcher (which calls back a last time for each), then
 * what the sockets left behind.
 */
#include "server/node_internal.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"
#include "util/lws_context.h"
#include "util/utf8.h"

#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define COMPONENT "node"

/* The loop looks at the clock and the stop flag this often at least; costeer/node.h promises a second. */
#define TICK_MAX_MS 250
#define TICK_MIN_MS 20

/* How long what was said last may take to be read once everything else is done. */
#define FLUSH_US 1000000

/* Descriptors that are not connections: models, logs, the loop's own. */
#define SPARE_DESCRIPTORS 64

static const struct lws_protocols protocols[] = {
    {.name = "http", .callback = cs_node_on_http},
    {.name = COSTEER_WIRE_SUBPROTOCOL,
     .callback = cs_node_on_websocket,
     .per_session_data_size = sizeof(void *),
     .rx_buffer_size = 16384,
     .tx_packet_size = 65536},
    {.name = NULL},
};

/* ---- creation ---------------------------------------------------------------------------------------------------- */

static costeer_err check_range(const char *name, int32_t value, int32_t low, int32_t high, costeer_error *err)
{
    if (value < low || value > high) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "%s: %d is not in [%d, %d]", name, (int)value, (int)low, (int)high);
    }
    return COSTEER_OK;
}

static costeer_err check_params(const costeer_node_params *params, costeer_error *err)
{
    const struct {
        const char *name;
        int32_t value;
        int32_t low;
        int32_t high;
    } rules[] = {
        {"port", params->port, 0, 65535},
        {"max_sessions", params->max_sessions, 1, 100000},
        {"n_parallel", params->n_parallel, 1, params->max_sessions < 256 ? params->max_sessions : 256},
        {"max_context", params->max_context, 0, COSTEER_WIRE_CONTEXT_MAX},
        {"max_window", params->max_window, 1, COSTEER_WIRE_WINDOW_MAX},
        {"n_threads", params->n_threads, 1, 1024},
        {"idle_timeout_ms", params->idle_timeout_ms, 1, INT32_MAX},
        {"drain_timeout_ms", params->drain_timeout_ms, 0, INT32_MAX},
        {"step_floor_ms", params->step_floor_ms, 0, 60000},
    };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        const costeer_err code = check_range(rules[i].name, rules[i].value, rules[i].low, rules[i].high, err);
        if (code != COSTEER_OK) {
            return code;
        }
    }
    if (params->address == NULL || (params->tls_cert == NULL) != (params->tls_key == NULL)) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT,
                            "an address is needed, and a certificate and a key together or neither");
    }
    if (params->token != NULL && params->token[0] == '\0') {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "the token is empty; leave it out or give one");
    }
    return COSTEER_OK;
}

/* What a model file says of itself goes into every hello: whole characters, none that control a terminal. */
static void set_name(costeer_node *node, const char *name)
{
    size_t n = 0;
    size_t length;
    const size_t n_name = strlen(name);
    for (size_t i = 0; i < n_name && cs_utf8_next(name + i, n_name - i, &length) == CS_UTF8_VALID; i += length) {
        const unsigned char first = (unsigned char)name[i];
        /* U+0080 to U+009F control too. */
        const bool is_control = first < 0x20 || first == 0x7f || (first == 0xc2 && (unsigned char)name[i + 1] < 0xa0);
        if (n + length > COSTEER_WIRE_NAME_MAX) {
            break;
        }
        if (!is_control) {
            memcpy(node->name + n, name + i, length);
            n += length;
        }
    }
    node->name[n] = '\0';
}

static costeer_err create_batcher(costeer_node *node, costeer_error *err)
{
    const costeer_node_params *params = &node->params;
    const costeer_batcher_params batcher = {.n_parallel = params->n_parallel,
                                            .n_ctx = params->max_context,
                                            .n_threads = params->n_threads,
                                            .max_window = params->max_window,
                                            .max_drafts = CS_NODE_MAX_DRAFTS,
                                            .step_floor_ms = params->step_floor_ms,
                                            .callbacks = cs_node_batch_callbacks(node)};
    const costeer_err code = costeer_batcher_create(node->model, &batcher, &node->batcher, err);
    if (code == COSTEER_OK) {
        node->n_ctx = costeer_batcher_n_ctx(node->batcher);
    }
    return code;
}

/* No more connections than there are descriptors for: accepting beyond them would spin. */
static void set_max_connections(costeer_node *node)
{
    struct rlimit limit;
    node->max_connections = node->params.max_sessions + CS_NODE_SPARE_CONNECTIONS;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < (rlim_t)node->max_connections + SPARE_DESCRIPTORS) {
        const rlim_t fewest = 2 * (rlim_t)SPARE_DESCRIPTORS;
        const int32_t n = (int32_t)((limit.rlim_cur > fewest ? limit.rlim_cur : fewest) - SPARE_DESCRIPTORS);
        node->max_connections = n < node->max_connections ? n : node->max_connections;
        cs_log(COSTEER_LOG_WARN, COMPONENT, "the limit of open files allows %d connections only", (int)node->max_connections);
    }
}

static costeer_err listen_on(costeer_node *node, const costeer_node_params *params, const cs_node_address *address,
                             costeer_error *err)
{
    struct lws_context_creation_info info = {
        .iface = address->numeric,
        .protocols = protocols,
        .server_string = "costeer",
        .port = params->port,
        .keepalive_timeout = 5,
        .timeout_secs = CS_NODE_HANDSHAKE_SECONDS,
        .timeout_secs_ah_idle = CS_NODE_HANDSHAKE_SECONDS,
        .alpn = "http/1.1", /* WebSockets over HTTP/2 are another protocol */
        .user = node,
        .fd_limit_per_thread = (unsigned int)node->max_connections + SPARE_DESCRIPTORS,
        .gid = -1,
        .uid = -1,
        .options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
    };
    info.options |= address->is_ipv6 ? 0 : LWS_SERVER_OPTION_DISABLE_IPV6;
    if (params->tls_cert != NULL) {
        info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
        info.ssl_cert_filepath = params->tls_cert;
        info.ssl_private_key_filepath = params->tls_key;
        info.ssl_options_set = (long)(SSL_OP_NO_SSLv3 | SSL_OP_NO_TLSv1 | SSL_OP_NO_TLSv1_1 | SSL_OP_NO_RENEGOTIATION);
    }
    node->context = cs_lws_create_context(&info);
    if (node->context == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, COMPONENT, "no memory for the server");
    }
    info.options |= LWS_SERVER_OPTION_FAIL_UPON_UNABLE_TO_BIND;
    node->vhost = lws_create_vhost(node->context, &info);
    if (node->vhost == NULL) {
        return cs_error_set(err, COSTEER_EIO, COMPONENT, "%s port %d: cannot be listened on; another program may have it",
                            address->numeric, (int)params->port);
    }
    node->port = lws_get_vhost_listen_port(node->vhost);
    return COSTEER_OK;
}

static costeer_err create(costeer_node *node, const costeer_node_params *params, costeer_error *err)
{
    cs_node_address address;
    costeer_err code = cs_node_find_address(params, &address, err);
    if (code != COSTEER_OK) {
        return code;
    }
    code = params->tls_cert != NULL ? cs_node_check_tls(params->tls_cert, params->tls_key, err) : COSTEER_OK;
    code = code == COSTEER_OK ? create_batcher(node, err) : code;
    if (code != COSTEER_OK) {
        return code;
    }
    if (!cs_node_create_buffers(node)) {
        return cs_error_set(err, COSTEER_ENOMEM, COMPONENT, "no memory for the node");
    }
    set_max_connections(node);
    return listen_on(node, params, &address, err);
}

costeer_err costeer_node_create(const costeer_model *model, const costeer_node_params *params, costeer_node **out,
                                costeer_error *err)
{
    if (model == NULL || params == NULL || out == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "model, params and out must not be NULL");
    }
    *out = NULL;
    costeer_err code = check_params(params, err);
    if (code != COSTEER_OK) {
        return code;
    }
    costeer_node *node = calloc(1, sizeof *node);
    if (node == NULL || pthread_mutex_init(&node->context_lock, NULL) != 0) {
        free(node);
        return cs_error_set(err, COSTEER_ENOMEM, COMPONENT, "no memory for the node");
    }
    cs_link_init(&node->connections);
    cs_link_init(&node->answers);
    node->model = model;
    node->params = *params;
    node->n_vocab = costeer_model_get_info(model)->n_vocab;
    set_name(node, costeer_model_get_info(model)->name);
    if (params->token != NULL) {
        node->has_token = true;
        SHA256((const unsigned char *)params->token, strlen(params->token), node->token_hash);
    }
    code = create(node, params, err);
    node->params.address = NULL;
    node->params.tls_cert = NULL;
    node->params.tls_key = NULL;
    node->params.token = NULL;
    if (code != COSTEER_OK) {
        costeer_node_free(node);
        return code;
    }
    *out = node;
    return COSTEER_OK;
}

void costeer_node_free(costeer_node *node)
{
    if (node == NULL) {
        return;
    }
    pthread_mutex_lock(&node->context_lock);
    struct lws_context *context = node->context;
    node->context = NULL; /* nobody wakes it any more */
    pthread_mutex_unlock(&node->context_lock);
    if (context != NULL) {
        lws_context_destroy(context);
    }
    costeer_batcher_free(node->batcher);
    cs_node_free_connections(node);
    pthread_mutex_destroy(&node->context_lock);
    cs_node_free_buffers(node);
    free(node);
}

int32_t costeer_node_port(const costeer_node *node)
{
    return node->port;
}

/* ---- the loop ---------------------------------------------------------------------------------------------------- */

void cs_node_wake(costeer_node *node)
{
    pthread_mutex_lock(&node->context_lock);
    if (node->context != NULL) {
        lws_cancel_service(node->context);
    }
    pthread_mutex_unlock(&node->context_lock);
}

void costeer_node_wake(costeer_node *node)
{
    cs_node_wake(node);
}

static void schedule_tick(costeer_node *node);

static void on_tick(lws_sorted_usec_list_t *tick)
{
    costeer_node *node = (costeer_node *)(void *)((char *)tick - offsetof(costeer_node, tick));
    cs_node_look_at_clock(node);
    schedule_tick(node);
}

/* Often enough to keep the idle timeout to a quarter. */
static void schedule_tick(costeer_node *node)
{
    const int32_t quarter = node->params.idle_timeout_ms / 4;
    const int32_t ms = quarter > TICK_MAX_MS ? TICK_MAX_MS : quarter < TICK_MIN_MS ? TICK_MIN_MS : quarter;
    lws_sul_schedule(node->context, 0, &node->tick, on_tick, (lws_usec_t)ms * 1000);
}

/* True when nothing is left to do, or no more time to do it in. */
static bool is_drained(costeer_node *node)
{
    const int64_t now_us = cs_clock_us();
    if (node->answers.next == &node->answers && cs_node_is_flushed(node)) {
        return true;
    }
    if (now_us < node->drain_until_us) {
        return false;
    }
    cs_node_end_answers(node);
    return now_us > node->drain_until_us + FLUSH_US;
}

static void begin_draining(costeer_node *node)
{
    node->is_draining = true;
    node->drain_until_us = cs_clock_us() + (int64_t)node->params.drain_timeout_ms * 1000;
    cs_log(COSTEER_LOG_INFO, COMPONENT, "draining: %d answers are open", (int)node->n_answers);
}

costeer_err costeer_node_run(costeer_node *node, const atomic_bool *stop, costeer_error *err)
{
    if (node == NULL || stop == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "node and stop must not be NULL");
    }
    sigset_t pipe, before;
    (void)sigemptyset(&pipe);
    (void)sigaddset(&pipe, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &pipe, &before); /* a device that goes away is not the program's end */
    schedule_tick(node);
    costeer_err code = COSTEER_OK;
    while (code == COSTEER_OK && !(node->is_draining && is_drained(node))) {
        if (lws_service(node->context, 0) < 0) {
            code = cs_error_set(err, COSTEER_EINTERNAL, COMPONENT, "the server's loop failed");
        }
        if (!node->is_draining && atomic_load(stop)) {
            begin_draining(node);
        }
    }
    lws_sul_cancel(&node->tick);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code;
}
