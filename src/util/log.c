/*
 * Where messages go: one callback for the whole process, set before anything else (costeer/log.h), so reading it needs no lock.
 *
 * Without a callback nothing is composed. This file must never write to a stream.
 */
#include "util/log.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

static costeer_log_fn log_callback;
static costeer_log_level log_max_level;
static void *log_user;

void costeer_log_set_callback(costeer_log_fn callback, costeer_log_level max_level, void *user)
{
    log_callback = callback;
    log_max_level = max_level;
    log_user = user;
}

bool cs_log_enabled(costeer_log_level level)
{
    return log_callback != NULL && level <= log_max_level;
}

void cs_log(costeer_log_level level, const char *component, const char *format, ...)
{
    if (!cs_log_enabled(level)) {
        return;
    }
    char message[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    log_callback(level, component, message, log_user);
}
