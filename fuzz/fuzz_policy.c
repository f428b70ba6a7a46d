/*
 * The JSON cases of `costeer policy`, through the command's own function. It ends with one of the documented exit codes; an
 * internal error is a bug.
 *
 * The program's messages, options and signals are not linked: messages are formatted and dropped, the one argument is the file.
 */
#include "cli/cmd.h"
#include "cli/message.h"
#include "cli/signals.h"
#include "fuzz/input_file.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- in the place of the program's other files ------------------------------------------------------------------- */

int cs_fail(int exit_code, const char *format, ...)
{
    char line[4096];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    return exit_code;
}

int cs_fail_output(const char *name, int error)
{
    (void)name;
    (void)error;
    return CS_EXIT_OUTPUT;
}

int cs_fail_input(const char *name, int error, size_t max_bytes)
{
    (void)name;
    (void)error;
    (void)max_bytes;
    return CS_EXIT_INPUT;
}

int cs_exit_code(costeer_err code)
{
    return code == COSTEER_ENUMERIC ? CS_EXIT_NUMERIC : code == COSTEER_EINVAL ? CS_EXIT_USAGE : CS_EXIT_INTERNAL;
}

bool cs_interrupt_wait_readable(int fd)
{
    (void)fd;
    return true;
}

bool cs_options_parse(const struct cs_command *command, int argc, char **argv, void *settings, cs_arguments *arguments,
                      int *exit_code)
{
    (void)command;
    (void)argc;
    (void)settings;
    (void)exit_code;
    arguments->items[0] = argv[0];
    arguments->n = 1;
    return true;
}

/* ---- the target -------------------------------------------------------------------------------------------------- */

/* Results go to standard output. */
static void silence(void)
{
    const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nowhere < 0 || dup2(nowhere, STDOUT_FILENO) < 0) {
        abort();
    }
    (void)close(nowhere);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool is_silent = false;
    if (!is_silent) {
        silence();
        is_silent = true;
    }
    char path[64];
    (void)snprintf(path, sizeof path, "%s", fuzz_input_file(data, size));
    char *argv[] = {path, NULL};
    const int exit_code = cs_command_policy.run(&cs_command_policy, 1, argv);
    if (exit_code != CS_EXIT_OK && exit_code != CS_EXIT_USAGE && exit_code != CS_EXIT_INPUT && exit_code != CS_EXIT_NUMERIC) {
        fprintf(stderr, "fuzz_policy: exit code %d\n", exit_code);
        abort();
    }
    return 0;
}
