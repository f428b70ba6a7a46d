/*
 * The program costeer: finds the command and runs it. Everything a command needs is in its cmd_*.c; what they share is in
 * settings, inputs, pair, setup and answer. The locale is used for nothing but the width of characters: numbers are read and
 * written in the C locale.
 */
#include "cli/cmd.h"
#include "cli/help.h"
#include "cli/message.h"
#include "cli/signals.h"

#include <locale.h>
#include <stdio.h>
#include <string.h>

static const cs_command *const commands[] = {
    &cs_command_generate,
    &cs_command_chat,
    &cs_command_compare,
    &cs_command_select,
    &cs_command_prompt,
    &cs_command_pull,
    &cs_command_models,
    &cs_command_node,
    &cs_command_audit,
    &cs_command_eval,
    &cs_command_report,
    &cs_command_score,
    &cs_command_policy,
    &cs_command_model,
    &cs_command_vocab,
    &cs_command_bench,
    &cs_command_version,
    &cs_command_help,
    NULL,
};

const cs_command *const *cs_commands(void)
{
    return commands;
}

const cs_command *cs_command_find(const char *name)
{
    for (const cs_command *const *command = commands; *command != NULL; command++) {
        if (strcmp((*command)->name, name) == 0) {
            return *command;
        }
    }
    return NULL;
}

int cs_fail_command(const char *name)
{
    const char *names[sizeof commands / sizeof commands[0]];
    size_t n = 0;
    for (const cs_command *const *command = commands; *command != NULL; command++) {
        names[n++] = (*command)->name;
    }
    const char *nearest = cs_nearest(name, names, n);
    /* It may be a query whose command was forgotten, so it is not repeated. */
    if (nearest == NULL) {
        return cs_fail(CS_EXIT_USAGE, "no such command; see costeer help");
    }
    return cs_fail(CS_EXIT_USAGE, "no such command; did you mean %s? see costeer help", nearest);
}

static int print_overview(void)
{
    cs_output out;
    cs_output_init_stdout(&out);
    cs_help_overview(&out);
    int error = cs_output_close(&out);
    return error == 0 ? CS_EXIT_OK : cs_fail_output(out.name, error);
}

int main(int argc, char **argv)
{
    cs_signals_install();
    setlocale(LC_CTYPE, "");
    if (argc < 2) {
        return cs_fail(CS_EXIT_USAGE, "no command; try costeer help");
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        return print_overview();
    }
    if (strcmp(name, "--version") == 0) {
        name = "version";
    }
    const cs_command *command = cs_command_find(name);
    return command != NULL ? command->run(command, argc - 2, argv + 2) : cs_fail_command(name);
}
