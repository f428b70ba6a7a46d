/* What goes to standard error: one line per message, "costeer: what; where; what to do", and the exit code that belongs to it. */
#ifndef CS_CLI_MESSAGE_H
#define CS_CLI_MESSAGE_H

#include <costeer/error.h>
#include <stdbool.h>
#include <stddef.h>

/** Exit codes, documented in `costeer help`. Signals give 128 + their number, as shells do. */
enum {
    CS_EXIT_OK = 0,
    CS_EXIT_INTERNAL = 1,
    CS_EXIT_USAGE = 2,
    CS_EXIT_INPUT = 3,
    CS_EXIT_MODEL = 4,
    CS_EXIT_OUTPUT = 5,
    CS_EXIT_CLOUD = 6,
    CS_EXIT_NUMERIC = 7,
    CS_EXIT_UNCERTIFIED = 8,
    CS_EXIT_SIGINT = 130,
    CS_EXIT_SIGPIPE = 141
};

/**
 * Print "costeer: " and the message in one line, whatever characters it holds, and return the exit code.
 *
 * Never pass a query, a context or generated text: file names, numbers and option names only.
 */
int cs_fail(int exit_code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** Print a library's error and return the exit code for it; a cancellation prints nothing. */
int cs_fail_error(const costeer_error *err);

/** Print that a file could not be written and return the exit code; a reader that went away is no message (CS_EXIT_SIGPIPE). */
int cs_fail_output(const char *name, int error);

/** Print that a file could not be read (errno, or EFBIG for more than max_bytes) and return the exit code. */
int cs_fail_input(const char *name, int error, size_t max_bytes);

/** The exit code that stands for a library's error. */
int cs_exit_code(costeer_err code);

/** True when standard error is a terminal. */
bool cs_stderr_is_terminal(void);

#endif
