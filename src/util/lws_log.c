/*
 * libwebsockets writes its messages to standard error unless told otherwise. They are about connections and never hold what is
 * sent over them; all of them count as debug, because what matters to a person is told by the errors of the caller.
 */
#include "util/lws_log.h"

#include "util/log.h"

#include <libwebsockets.h>
#include <pthread.h>
#include <string.h>

static void emit(int level, const char *line)
{
    (void)level;
    const size_t n = strcspn(line, "\r\n");
    cs_log(COSTEER_LOG_DEBUG, "websocket", "%.*s", (int)n, line);
}

static void install(void)
{
    lws_set_log_level(LLL_ERR | LLL_WARN, emit);
}

void cs_lws_log_install(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, install);
}
