/*
 * The commands. Each cmd_*.c defines one cs_command; main.c lists them. A command's function gets the arguments behind its name,
 * parses them with cs_options_parse() and returns an exit code of message.h.
 */
#ifndef CS_CLI_CMD_H
#define CS_CLI_CMD_H

#include "cli/options.h"

#define CS_COMMAND_GROUPS_MAX 12

typedef struct cs_command {
    const char *name;
    const char *arguments; /**< what is not an option, as shown: "[QUERY]" */
    const char *summary;   /**< one line, no full stop */
    /** Paragraphs separated by empty lines, each one line of source; a line that begins with two spaces is shown as it is. */
    const char *description;
    const char *outputs;  /**< more of them, what the outputs hold: a string of C has 4,095 bytes at most; NULL: none */
    const char *examples; /**< lines, shown as they are; NULL: none */
    const cs_option_group *groups[CS_COMMAND_GROUPS_MAX]; /**< NULL-terminated */
    int (*run)(const struct cs_command *self, int argc, char **argv);
} cs_command;

extern const cs_command cs_command_generate;
extern const cs_command cs_command_chat;
extern const cs_command cs_command_compare;
extern const cs_command cs_command_prompt;
extern const cs_command cs_command_select;
extern const cs_command cs_command_node;
extern const cs_command cs_command_eval;
extern const cs_command cs_command_report;
extern const cs_command cs_command_score;
extern const cs_command cs_command_audit;
extern const cs_command cs_command_policy;
extern const cs_command cs_command_model;
extern const cs_command cs_command_vocab;
extern const cs_command cs_command_pull;
extern const cs_command cs_command_models;
extern const cs_command cs_command_bench;
extern const cs_command cs_command_version;
extern const cs_command cs_command_help;

/** All commands in the order they are shown; NULL-terminated. */
const cs_command *const *cs_commands(void);

/** NULL when there is none of that name. */
const cs_command *cs_command_find(const char *name);

/** Say that there is no such command, with the nearest one, and return the exit code. */
int cs_fail_command(const char *name);

#endif
