/* costeer help: one command, all of them in short, or the whole reference in the form that the build and the docs need. */
#include "cli/cmd.h"
#include "cli/help.h"
#include "cli/message.h"

#include <stddef.h>
#include <string.h>

typedef struct help_settings {
    const char *format;
} help_settings;

static const cs_option options[] = {
    {.name = "format",
     .kind = CS_OPTION_CHOICE,
     .value_name = "FORM",
     .choices = "text|man|markdown|bash",
     .offset = offsetof(help_settings, format),
     .help =
         "Print the whole reference as text, man page (costeer.1) or Markdown (docs/commands.md), or the completion for bash"},
};

static const cs_option_group group = CS_OPTION_GROUP("Options", options);

static void print(cs_output *out, const char *format, const cs_command *subject)
{
    if (format == NULL) {
        if (subject != NULL) {
            cs_help_text_command(out, subject);
        } else {
            cs_help_overview(out);
        }
    } else if (strcmp(format, "man") == 0) {
        cs_help_man(out);
    } else if (strcmp(format, "markdown") == 0) {
        cs_help_markdown(out);
    } else if (strcmp(format, "bash") == 0) {
        cs_help_bash(out);
    } else {
        cs_help_text(out);
    }
}

static int run(const cs_command *self, int argc, char **argv)
{
    help_settings settings = {0};
    cs_arguments arguments = {.n = 0};
    int exit_code;
    if (!cs_options_parse(self, argc, argv, &settings, &arguments, &exit_code)) {
        return exit_code;
    }
    if (arguments.n > 1 || (arguments.n == 1 && settings.format != NULL)) {
        return cs_fail(CS_EXIT_USAGE, "help: takes one command, or --format for all of them");
    }
    const cs_command *subject = NULL;
    if (arguments.n == 1) {
        subject = cs_command_find(arguments.items[0]);
        if (subject == NULL) {
            return cs_fail_command(arguments.items[0]);
        }
    }
    cs_output out;
    cs_output_init_stdout(&out);
    print(&out, settings.format, subject);
    int error = cs_output_close(&out);
    return error == 0 ? CS_EXIT_OK : cs_fail_output(out.name, error);
}

const cs_command cs_command_help = {
    .name = "help",
    .arguments = "[COMMAND]",
    .summary = "show how a command is used, or the whole reference",
    .description = "Without a command: what there is. With one: its options, as costeer COMMAND --help.",
    .groups = {&group},
    .run = run,
};
