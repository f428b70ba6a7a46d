/* A token goes into an HTTP header, so what could end the header's line or change its meaning is refused here. */
#include "cli/token.h"

#include "cli/message.h"
#include "cli/signals.h"
#include "util/file.h"

#include <stdlib.h>
#include <string.h>

/* Longer ones do not fit the header lines that servers usually take. */
#define TOKEN_BYTES_MAX 512

/* A token file is a line; what is larger is another file given by mistake. */
#define FILE_BYTES_MAX ((size_t)1 << 20)

/* A plain memset() of memory that is about to be freed may be optimised away. */
static void wipe(char *bytes, size_t n_bytes)
{
    volatile char *at = bytes;
    while (n_bytes-- > 0) {
        *at++ = '\0';
    }
}

static int check_token(const char *name, const char *token, size_t n_bytes, int n_min)
{
    for (size_t i = 0; i < n_bytes; i++) {
        if (token[i] <= ' ' || token[i] > '~') {
            return cs_fail(CS_EXIT_INPUT, "%s: character %zu of the token is not printable ASCII; use letters and digits", name,
                           i + 1);
        }
    }
    if (n_bytes < (size_t)n_min || n_bytes > TOKEN_BYTES_MAX) {
        return cs_fail(CS_EXIT_INPUT, "%s: the first line has %zu characters; a token has %d to %d", name, n_bytes, n_min,
                       TOKEN_BYTES_MAX);
    }
    return CS_EXIT_OK;
}

int cs_token_read(const char *path, int n_min, char **out)
{
    const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
    char *text;
    size_t n_bytes;
    *out = NULL;
    int error = cs_file_read(path, FILE_BYTES_MAX, cs_interrupt_wait_readable, &text, &n_bytes);
    if (error != 0) {
        return cs_fail_input(name, error, FILE_BYTES_MAX);
    }
    const char *end = memchr(text, '\n', n_bytes);
    size_t length = end != NULL ? (size_t)(end - text) : n_bytes;
    length -= length > 0 && text[length - 1] == '\r' ? 1U : 0U;
    int exit_code = check_token(name, text, length, n_min);
    if (exit_code != CS_EXIT_OK) {
        wipe(text, n_bytes);
        free(text);
        return exit_code;
    }
    wipe(text + length, n_bytes - length);
    *out = text;
    return CS_EXIT_OK;
}

void cs_token_free(char *token)
{
    if (token != NULL) {
        wipe(token, strlen(token));
        free(token);
    }
}
