/* Messages to the callback that the program set. Never a query, a context, a token or generated text. */
#ifndef CS_UTIL_LOG_H
#define CS_UTIL_LOG_H

#include "util/error.h"

#include <costeer/log.h>
#include <stdbool.h>

/** True when a message of this level would reach anybody: asked before work is spent on composing it. */
bool cs_log_enabled(costeer_log_level level);

/** Send one message, without a newline; at most 1023 bytes are kept. */
void cs_log(costeer_log_level level, const char *component, const char *format, ...) CS_PRINTF(3, 4);

#endif
