/*
 * What libwebsockets does to a whole process when a context is made, and what is done about it here.
 *
 * It writes messages to standard error unless told otherwise; they are about connections and never hold what is sent over them,
 * and all count as debug, because what matters to a person is told by the caller's errors. It ignores SIGPIPE, which is not a
 * library's decision. And each initialisation of TLS gives version 4.1 another index under which it finds a connection from its
 * SSL object: handshakes that are under way, of other contexts too, then fail to find theirs. So clients initialise it once; a
 * server always must.
 */
#include "util/lws_context.h"

#include "util/log.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

static void emit(int level, const char *line)
{
    (void)level;
    const size_t n = strcspn(line, "\r\n");
    cs_log(COSTEER_LOG_DEBUG, "websocket", "%.*s", (int)n, line);
}

struct lws_context *cs_lws_create_context(const struct lws_context_creation_info *info)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static bool has_tls;
    struct lws_context_creation_info once = *info;
    (void)pthread_mutex_lock(&mutex);
    lws_set_log_level(LLL_ERR | LLL_WARN, emit);
    struct sigaction before;
    const bool is_known = sigaction(SIGPIPE, NULL, &before) == 0;
    if (has_tls && info->ssl_cert_filepath == NULL) { /* a server without it would not speak TLS */
        once.options &= ~(uint64_t)LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
    }
    struct lws_context *context = lws_create_context(&once);
    has_tls = has_tls || (context != NULL && (info->options & LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT) != 0);
    if (is_known) {
        (void)sigaction(SIGPIPE, &before, NULL);
    }
    (void)pthread_mutex_unlock(&mutex);
    return context;
}
