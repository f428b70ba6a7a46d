/* Where the library's messages go. Without a callback it is silent; it never writes to a stream itself. */
#ifndef COSTEER_LOG_H
#define COSTEER_LOG_H

#include <costeer/version.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum costeer_log_level {
    COSTEER_LOG_ERROR = 0,
    COSTEER_LOG_WARN = 1,
    COSTEER_LOG_INFO = 2,
    COSTEER_LOG_DEBUG = 3
} costeer_log_level;

/** Receives one message, without a newline. Never holds a query, a context, a token or generated text. */
typedef void (*costeer_log_fn)(costeer_log_level level, const char *component, const char *message, void *user);

/**
 * Set where messages go, for the whole process.
 *
 * @param callback  NULL silences the library (the default)
 * @param max_level messages above this level are not produced
 *
 * Threads: call before any other function; the callback may be called from any thread.
 */
COSTEER_API void costeer_log_set_callback(costeer_log_fn callback, costeer_log_level max_level, void *user);

#ifdef __cplusplus
}
#endif
#endif
