/* What the place where a result is shown can do. */
#ifndef CS_CLI_TERMINAL_H
#define CS_CLI_TERMINAL_H

#include "util/file.h"

#include <stdbool.h>

typedef struct cs_terminal {
    int n_columns;    /**< 0: unknown, not a terminal */
    bool has_color;   /**< escape sequences may be used */
    bool has_unicode; /**< characters other than ASCII may be drawn */
} cs_terminal;

/** Look at an output: a terminal's width, NO_COLOR, the locale; COLUMNS when it is no terminal. */
cs_terminal cs_terminal_of(const cs_output *out);

#endif
