/* Contexts of libwebsockets, for the device's link and the node alike, without what it does to the whole process. */
#ifndef CS_UTIL_LWS_CONTEXT_H
#define CS_UTIL_LWS_CONTEXT_H

#include <libwebsockets.h>

/**
 * Create a context: messages go to the callback that the program set, SIGPIPE stays as it was (so block it on the thread that
 * serves the context), and TLS is initialised once per process for all clients.
 *
 * @return NULL: libwebsockets could not
 * Threads: any.
 */
struct lws_context *cs_lws_create_context(const struct lws_context_creation_info *info);

#endif
