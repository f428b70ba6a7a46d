/*
 * One libwebsockets context with one client connection, on a thread of its own, which alone touches either. The device's thread
 * leaves wishes (connect, cut, send, quit) under the mutex and wakes it with lws_cancel_service(), the only call that may cross.
 *
 * Each attempt has a number; what libwebsockets still reports of an earlier one is ignored, so that cutting takes effect at once.
 * Looking up a host name blocks the thread inside the C library: who frees the link waits two seconds for it, then leaves the
 * thread to end by itself. It never writes to a closed socket with SIGPIPE on: all signals are blocked on this thread.
 */
#include "cloud/native_link_internal.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/lws_context.h"

#include <costeer/wire.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define JOIN_MS 2000

/* Steps need 16 bytes per token and at most a few hundred tokens before the node must answer. */
#define QUEUE_BYTES ((size_t)16384)

/* Read at most so much at once: a message with 64 entries fits whole. */
#define READ_BYTES 32768

/* Sockets of this context: the connection, the wake-up pipe, and those that try several addresses of a host. */
#define MAX_SOCKETS 16

/* ---- the lock ---------------------------------------------------------------------------------------------------- */

void cs_native_link_lock(cs_native_link *link)
{
    (void)pthread_mutex_lock(&link->mutex);
}

void cs_native_link_unlock(cs_native_link *link)
{
    (void)pthread_mutex_unlock(&link->mutex);
}

void cs_native_link_wait(cs_native_link *link, int64_t until_us)
{
    const struct timespec until = {.tv_sec = (time_t)(until_us / 1000000), .tv_nsec = (long)(until_us % 1000000) * 1000};
    (void)pthread_cond_timedwait(&link->changed, &link->mutex, &until);
}

static void wake(cs_native_link *link)
{
    lws_cancel_service(link->context);
}

/* ---- the thread -------------------------------------------------------------------------------------------------- */

/* Called without the lock: libwebsockets reports some failures before it returns, and looking up a name takes its time. */
static void start_connecting(cs_native_link *link, uintptr_t attempt)
{
    char header[CS_NATIVE_HOST_MAX + 16];
    cs_native_url_host_header(&link->url, header, sizeof header);
    const struct lws_client_connect_info info = {.context = link->context,
                                                 .vhost = link->vhost,
                                                 .address = link->url.host,
                                                 .port = link->url.port,
                                                 .path = link->url.path,
                                                 .host = header,
                                                 .protocol = COSTEER_WIRE_SUBPROTOCOL,
                                                 .local_protocol_name = COSTEER_WIRE_SUBPROTOCOL,
                                                 .ssl_connection =
                                                     (link->url.is_tls ? LCCSCF_USE_SSL : 0) | LCCSCF_HTTP_NO_FOLLOW_REDIRECT,
                                                 .opaque_user_data = (void *)attempt}; /* NOLINT: a number in a pointer's place */
    link->tls.verify_error = X509_V_OK;
    struct lws *wsi = lws_client_connect_via_info(&info);
    cs_native_link_lock(link);
    if (wsi == NULL) {
        if (attempt == link->attempt) { /* nothing was reported: it did not get beyond looking up the name */
            cs_native_link_fail_with(link, false,
                                     link->url.is_address
                                         ? "cannot be reached"
                                         : "cannot be reached: no such host is known; check the name in --cloud");
        }
    } else if (attempt != link->attempt || link->state == CS_NATIVE_LINK_DOWN) {
        link->doomed = link->doomed == NULL ? wsi : link->doomed;
    } else {
        link->wsi = wsi;
    }
    cs_native_link_unlock(link);
}

/* Do what was asked for since the last time. With the lock held, which is given up meanwhile. */
static void do_wishes(cs_native_link *link)
{
    if (link->doomed != NULL) {
        struct lws *doomed = link->doomed;
        link->doomed = NULL;
        cs_native_link_unlock(link);
        lws_set_timeout(doomed, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
        cs_native_link_lock(link);
    }
    if (link->wants_connect) {
        const uintptr_t attempt = link->attempt;
        link->was_asked = false;
        link->wants_connect = false;
        cs_native_link_unlock(link);
        start_connecting(link, attempt);
        cs_native_link_lock(link);
    }
    if (link->state == CS_NATIVE_LINK_UP && link->queue_head != link->queue_end) {
        (void)lws_callback_on_writable(link->wsi);
    }
}

static void dispose(cs_native_link *link)
{
    cs_native_tls_dispose(&link->tls);
    (void)pthread_mutex_destroy(&link->mutex);
    (void)pthread_cond_destroy(&link->changed);
    if (link->token != NULL) {
        OPENSSL_cleanse(link->token, strlen(link->token));
    }
    free(link->token);
    free(link->ca_file);
    free(link->queue);
    free(link->outgoing);
    free(link->message);
    free(link);
}

static void *serve(void *user)
{
    cs_native_link *link = user;
    cs_native_link_lock(link);
    while (!link->quit) {
        do_wishes(link);
        if (link->quit) {
            break;
        }
        cs_native_link_unlock(link);
        (void)lws_service(link->context, 0);
        cs_native_link_lock(link);
    }
    cs_native_link_unlock(link);
    lws_context_destroy(link->context);
    cs_native_link_lock(link);
    link->exited = true;
    (void)pthread_cond_broadcast(&link->changed);
    const bool abandoned = link->abandoned;
    cs_native_link_unlock(link);
    if (abandoned) {
        dispose(link);
    }
    return NULL;
}

/* ---- wishes ------------------------------------------------------------------------------------------------------ */

void cs_native_link_connect(cs_native_link *link)
{
    if (link->state != CS_NATIVE_LINK_DOWN) {
        return;
    }
    link->attempt++;
    link->state = CS_NATIVE_LINK_CONNECTING;
    link->failure = (cs_native_link_failure){.is_final = false};
    link->wants_connect = true;
    link->queue_head = link->queue_end = 0;
    wake(link);
}

void cs_native_link_disconnect(cs_native_link *link)
{
    if (link->state == CS_NATIVE_LINK_DOWN) {
        return;
    }
    struct lws *wsi = link->wsi;
    cs_native_link_fail_with(link, false, "was disconnected");
    link->attempt++;
    link->wants_connect = false;
    link->doomed = wsi != NULL ? wsi : link->doomed;
    wake(link);
}

cs_native_link_state cs_native_link_get_state(const cs_native_link *link)
{
    return link->state;
}

const cs_native_link_failure *cs_native_link_get_failure(const cs_native_link *link)
{
    return &link->failure;
}

bool cs_native_link_reserve(cs_native_link *link, size_t n)
{
    const size_t needed = QUEUE_BYTES + sizeof(uint32_t) + n;
    if (needed <= link->queue_capacity) {
        return true;
    }
    uint8_t *larger = realloc(link->queue, needed);
    if (larger == NULL) {
        return false;
    }
    link->queue = larger;
    link->queue_capacity = needed;
    return true;
}

void cs_native_link_set_limit(cs_native_link *link, size_t n)
{
    link->message_limit = n;
}

bool cs_native_link_send(cs_native_link *link, const uint8_t *bytes, size_t n)
{
    const uint32_t length = (uint32_t)n;
    if (link->queue_capacity - link->queue_end < sizeof length + n && link->queue_head > 0) {
        memmove(link->queue, link->queue + link->queue_head, link->queue_end - link->queue_head);
        link->queue_end -= link->queue_head;
        link->queue_head = 0;
    }
    if (n > UINT32_MAX || link->queue_capacity - link->queue_end < sizeof length + n) {
        return false;
    }
    memcpy(link->queue + link->queue_end, &length, sizeof length);
    memcpy(link->queue + link->queue_end + sizeof length, bytes, n);
    link->queue_end += sizeof length + n;
    wake(link);
    return true;
}

size_t cs_native_link_header_bytes(size_t n, bool is_masked)
{
    return (is_masked ? 4U : 0U) + (n < 126 ? 2U : n < 65536 ? 4U : 10U);
}

/* ---- creation ---------------------------------------------------------------------------------------------------- */

static costeer_err init_context(cs_native_link *link, costeer_error *err)
{
    struct lws_context_creation_info info = {.port = CONTEXT_PORT_NO_LISTEN,
                                             .options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
                                             .gid = -1,
                                             .uid = -1,
                                             .fd_limit_per_thread = MAX_SOCKETS,
                                             .pt_serv_buf_size = READ_BYTES,
                                             .user = link};
    if (link->url.is_tls) { /* else it would read the system's certificates for nothing */
        info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
    }
    link->context = cs_lws_create_context(&info);
    if (link->context == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "cloud", "libwebsockets cannot be started");
    }
    info.protocols = cs_native_link_protocols;
    info.http_proxy_address = ""; /* NULL would mean: the environment's http_proxy */
    info.provided_client_ssl_ctx = link->tls.context;
    link->vhost = lws_create_vhost(link->context, &info);
    return link->vhost != NULL ? COSTEER_OK : cs_error_set(err, COSTEER_ENOMEM, "cloud", "libwebsockets cannot make a client");
}

static bool init_synchronisation(cs_native_link *link)
{
    pthread_condattr_t monotonic;
    if (pthread_mutex_init(&link->mutex, NULL) != 0) {
        return false;
    }
    if (pthread_condattr_init(&monotonic) == 0) {
        const bool made =
            pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0 && pthread_cond_init(&link->changed, &monotonic) == 0;
        (void)pthread_condattr_destroy(&monotonic);
        if (made) {
            return true;
        }
    }
    (void)pthread_mutex_destroy(&link->mutex);
    return false;
}

static bool copy_texts(cs_native_link *link, const cs_native_link_params *params)
{
    link->ca_file = params->ca_file == NULL ? NULL : strdup(params->ca_file);
    link->token = params->token == NULL ? NULL : strdup(params->token);
    return (params->ca_file == NULL || link->ca_file != NULL) && (params->token == NULL || link->token != NULL);
}

static costeer_err init(cs_native_link *link, const cs_native_link_params *params, costeer_error *err)
{
    if (!copy_texts(link, params) || !cs_native_link_reserve(link, 0) ||
        !cs_native_link_grow(link, CS_NATIVE_LINK_MESSAGE_BYTES)) {
        return cs_error_set(err, COSTEER_ENOMEM, "cloud", "no memory for a connection");
    }
    if (link->url.is_tls) {
        const costeer_err code = cs_native_tls_init(&link->tls, &link->url, link->ca_file, err);
        if (code != COSTEER_OK) {
            return code;
        }
    }
    return init_context(link, err);
}

static bool start_thread(cs_native_link *link)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    const bool started = pthread_create(&link->thread, NULL, serve, link) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

costeer_err cs_native_link_create(const cs_native_link_params *params, cs_native_link **out, costeer_error *err)
{
    *out = NULL;
    cs_native_link *link = calloc(1, sizeof *link);
    if (link == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "cloud", "no memory for a connection");
    }
    link->url = *params->url;
    link->on_message = params->on_message;
    link->user = params->user;
    if (!init_synchronisation(link)) {
        free(link);
        return cs_error_set(err, COSTEER_ENOMEM, "cloud", "no mutex for a connection");
    }
    costeer_err code = init(link, params, err);
    if (code == COSTEER_OK && !start_thread(link)) {
        code = cs_error_set(err, COSTEER_EINTERNAL, "cloud", "a thread for the connection cannot be started");
    }
    if (code != COSTEER_OK) {
        if (link->context != NULL) {
            lws_context_destroy(link->context);
        }
        dispose(link);
        return code;
    }
    *out = link;
    return COSTEER_OK;
}

void cs_native_link_free(cs_native_link *link)
{
    if (link == NULL) {
        return;
    }
    const int64_t until = cs_clock_us() + (int64_t)JOIN_MS * 1000;
    cs_native_link_lock(link);
    link->quit = true;
    wake(link);
    while (!link->exited && cs_clock_us() < until) {
        cs_native_link_wait(link, until);
    }
    link->abandoned = !link->exited;
    const bool exited = link->exited;
    const pthread_t thread = link->thread;
    cs_native_link_unlock(link);
    if (exited) {
        (void)pthread_join(thread, NULL);
        dispose(link);
    } else {
        (void)pthread_detach(thread);
    }
}
