/* The reference, rendered from the commands' tables: as text, man page, Markdown and bash completion. */
#ifndef CS_CLI_HELP_H
#define CS_CLI_HELP_H

#include "cli/cmd.h"
#include "util/file.h"

#include <stddef.h>

/** A line of a table: a name and what it means. */
typedef struct cs_help_row {
    const char *name;
    const char *text;
} cs_help_row;

/** What concerns every command; NULL name ends each. */
extern const cs_help_row cs_help_exit_codes[];
extern const cs_help_row cs_help_environment[];
extern const cs_help_row cs_help_files[];
extern const char cs_help_intro[];

/** Print a command's --help to standard output and return the exit code. */
int cs_help_print_command(const cs_command *command);

/** The renderers write to an output; its error tells whether that went well. */
void cs_help_overview(cs_output *out);
void cs_help_text(cs_output *out);
void cs_help_text_command(cs_output *out, const cs_command *command);
void cs_help_man(cs_output *out);
void cs_help_markdown(cs_output *out);
void cs_help_bash(cs_output *out);

/** Write "--name VALUE" or "-q, --quiet". Returns buffer. */
const char *cs_help_option_head(const cs_option *option, char *buffer, size_t size);

/** Write "in (0, 1]; default 1", "repeatable", … or "". Returns buffer. */
const char *cs_help_option_note(const cs_option *option, char *buffer, size_t size);

#endif
