/* Asking the system about the terminal. A terminal of type "dumb" gets no escape sequences; see no-color.org for NO_COLOR. */
#include "cli/terminal.h"

#include "util/parse.h"

#include <langinfo.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Wider than any screen: what is beyond is a mistake in COLUMNS. */
#define COLUMNS_MAX 1000

static bool is_set(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0';
}

static int columns_of(int fd)
{
    struct winsize size;
    if (isatty(fd) == 1 && ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
        return size.ws_col;
    }
    const char *columns = getenv("COLUMNS");
    int64_t n = 0;
    if (columns != NULL && cs_parse_int64(columns, &n) == CS_PARSE_OK && n > 0 && n <= COLUMNS_MAX) {
        return (int)n;
    }
    return isatty(fd) == 1 ? 80 : 0;
}

cs_terminal cs_terminal_of(const cs_output *out)
{
    const char *type = getenv("TERM");
    bool is_dumb = type == NULL || strcmp(type, "dumb") == 0;
    cs_terminal terminal;
    terminal.n_columns = columns_of(out->fd);
    terminal.has_color = isatty(out->fd) == 1 && !is_dumb && !is_set("NO_COLOR");
    terminal.has_unicode = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    return terminal;
}
