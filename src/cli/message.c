/*
 * Messages are built in one buffer and written with one call, so that lines of several processes do not mix. Control characters
 * (a file name may hold them) become '?': one message is one line, and no file name can steer the terminal.
 */
#include "cli/message.h"

#include "cli/signals.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void write_line(const char *format, va_list args)
{
    static const char prefix[] = "costeer: ";
    char line[4096];
    memcpy(line, prefix, sizeof prefix);
    size_t room = sizeof line - sizeof prefix;
    int n = vsnprintf(line + sizeof prefix - 1, room, format, args);
    if (n < 0) {
        return;
    }
    size_t length = strlen(line);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)line[i];
        if (c < 0x20 || c == 0x7f) {
            line[i] = '?';
        } else if (c == 0xC2 && (unsigned char)line[i + 1] >= 0x80 && (unsigned char)line[i + 1] < 0xA0) {
            line[i] = line[i + 1] = '?'; /* U+0080 to U+009F: to a terminal that knows UTF-8, controls as well */
        }
    }
    line[length++] = '\n';
    /* Nowhere to report it when standard error itself cannot be written. */
    ssize_t ignored = write(STDERR_FILENO, line, length);
    (void)ignored;
}

int cs_fail(int exit_code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    write_line(format, args);
    va_end(args);
    return exit_code;
}

int cs_exit_code(costeer_err code)
{
    switch (code) {
    case COSTEER_OK:
        return CS_EXIT_OK;
    case COSTEER_EINVAL:
        return CS_EXIT_USAGE;
    case COSTEER_ETOOLONG:
    case COSTEER_EUTF8:
        return CS_EXIT_INPUT;
    case COSTEER_EMODEL:
    case COSTEER_EPAIR:
        return CS_EXIT_MODEL;
    case COSTEER_EIO:
        return CS_EXIT_OUTPUT;
    case COSTEER_ECLOUD:
    case COSTEER_ETIMEDOUT:
        return CS_EXIT_CLOUD;
    case COSTEER_ENUMERIC:
        return CS_EXIT_NUMERIC;
    case COSTEER_EUNCERTIFIED:
        return CS_EXIT_UNCERTIFIED;
    case COSTEER_ECANCELED:
        return cs_interrupt_exit_code();
    case COSTEER_ENOMEM:
    case COSTEER_ESTATE:
    case COSTEER_EINTERNAL:
    case COSTEER_EABORTED:
        break;
    }
    return CS_EXIT_INTERNAL;
}

int cs_fail_error(const costeer_error *err)
{
    int exit_code = cs_exit_code(err->code);
    return err->code == COSTEER_ECANCELED ? exit_code : cs_fail(exit_code, "%s", err->message);
}

int cs_fail_input(const char *name, int error, size_t max_bytes)
{
    switch (error) {
    case EINTR:
        return cs_interrupt_exit_code();
    case EFBIG:
        return cs_fail(CS_EXIT_INPUT, "%s: more than %zu MiB; shorten it", name, max_bytes >> 20);
    case EBADF:
        return cs_fail(CS_EXIT_INPUT, "%s: it is closed; nothing can be read there", name);
    case ENOMEM:
        return cs_fail(CS_EXIT_INTERNAL, "%s: out of memory", name);
    default:
        return cs_fail(CS_EXIT_INPUT, "%s: cannot be read: %s", name, strerror(error));
    }
}

int cs_fail_output(const char *name, int error)
{
    if (error == EPIPE) {
        return CS_EXIT_SIGPIPE;
    }
    const char *hint = "";
    if (error == ENOSPC) {
        hint = "; free some space or write elsewhere";
    } else if (error == EBADF) {
        return cs_fail(CS_EXIT_OUTPUT, "%s: it is closed; nothing can be written there", name);
    }
    return cs_fail(CS_EXIT_OUTPUT, "%s: cannot be written: %s%s", name, strerror(error), hint);
}

bool cs_stderr_is_terminal(void)
{
    return isatty(STDERR_FILENO) == 1;
}
