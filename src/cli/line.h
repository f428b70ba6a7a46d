/* Questions, a line at a time: edited on a terminal, with what was typed before at hand; read plainly from anything else. */
#ifndef CS_CLI_LINE_H
#define CS_CLI_LINE_H

#include <stdbool.h>

typedef struct cs_line_reader cs_line_reader;

/** How a line ended. */
typedef enum cs_line_end {
    CS_LINE_READ,        /**< a line is there */
    CS_LINE_END,         /**< no more will come */
    CS_LINE_INTERRUPTED, /**< a signal came (cs_interrupted()); what was typed is gone */
    CS_LINE_BAD          /**< it is no text; a message said why, and the next one can be read */
} cs_line_end;

/** Called now and then while nothing is typed. */
typedef void (*cs_line_idle_fn)(void *user);

/** Milliseconds between two such calls. */
#define CS_LINE_IDLE_MS 15000

typedef struct cs_line_params {
    bool has_history; /**< keep lines in a file of the user's (terminal only) */
    cs_line_idle_fn on_idle;
    void *user;
} cs_line_params;

/** NULL: no memory. Free it, which writes the history. */
cs_line_reader *cs_line_create(const cs_line_params *params);
void cs_line_free(cs_line_reader *reader);

/** True when lines come from a terminal. */
bool cs_line_is_terminal(const cs_line_reader *reader);

/**
 * Read a line; a backslash at its end goes on with the next.
 *
 * @param[out] line  without line end; valid until the next call
 */
cs_line_end cs_line_read(cs_line_reader *reader, const char **line);

#endif
