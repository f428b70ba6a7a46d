/* docs/commands.md: the whole reference as Markdown. Option tables hold '|' escaped; everything else is plain prose. */
#include "cli/help.h"

#include <string.h>

static void put(cs_output *out, const char *text)
{
    cs_output_write(out, text, strlen(text));
}

/* In a table's cell '|' ends the cell, and angle brackets would be read as HTML. */
static void put_cell(cs_output *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '|') {
            put(out, "\\|");
        } else if (*text == '<') {
            put(out, "&lt;");
        } else {
            cs_output_write(out, text, 1);
        }
    }
}

static void put_paragraphs(cs_output *out, const char *text)
{
    bool in_example = false;
    while (*text != '\0') {
        size_t length = strcspn(text, "\n");
        bool is_example = strncmp(text, "  ", 2) == 0;
        if (is_example != in_example) {
            put(out, "```\n");
            in_example = is_example;
        }
        cs_output_write(out, is_example ? text + 2 : text, is_example ? length - 2 : length);
        put(out, "\n");
        text += length + (text[length] == '\n' ? 1 : 0);
    }
    put(out, in_example ? "```\n" : "");
}

static void put_group(cs_output *out, const cs_option_group *group)
{
    cs_output_print(out, "\n| %s | |\n|---|---|\n", group->title);
    for (size_t i = 0; i < group->n_options; i++) {
        char head[96];
        char note[192];
        put(out, "| `");
        put_cell(out, cs_help_option_head(&group->options[i], head, sizeof head));
        put(out, "` | ");
        put_cell(out, group->options[i].help);
        if (cs_help_option_note(&group->options[i], note, sizeof note)[0] != '\0') {
            put(out, " (");
            put_cell(out, note);
            put(out, ")");
        }
        put(out, " |\n");
    }
}

static void put_command(cs_output *out, const cs_command *command)
{
    cs_output_print(out, "\n## costeer %s\n\n```\ncosteer %s%s%s%s\n```\n\n", command->name, command->name,
                    command->groups[0] != NULL ? " [OPTIONS]" : "", command->arguments != NULL ? " " : "",
                    command->arguments != NULL ? command->arguments : "");
    put_paragraphs(out, command->description);
    if (command->outputs != NULL) {
        put(out, "\n");
        put_paragraphs(out, command->outputs);
    }
    for (size_t g = 0; g < CS_COMMAND_GROUPS_MAX && command->groups[g] != NULL; g++) {
        put_group(out, command->groups[g]);
    }
    if (command->examples != NULL) {
        put(out, "\nExamples:\n\n");
        put_paragraphs(out, command->examples);
    }
}

static void put_rows(cs_output *out, const char *title, const char *head, const cs_help_row *rows)
{
    cs_output_print(out, "\n## %s\n\n| %s | |\n|---|---|\n", title, head);
    for (; rows->name != NULL; rows++) {
        put(out, "| `");
        put_cell(out, rows->name);
        put(out, "` | ");
        put_cell(out, rows->text);
        put(out, " |\n");
    }
}

void cs_help_markdown(cs_output *out)
{
    put(out, "# Commands\n\nThis page is what `costeer help --format markdown` prints; a test compares the two.\n\n");
    put(out, cs_help_intro);
    put(out, "\n\nEvery command takes `-h`, `--help`. Options are written `--name VALUE` or `--name=VALUE`; `--` ends them. "
             "Errors are\n"
             "one line on standard error that begins with `costeer: ` and never holds a query, a context or generated text.\n"
             "\n"
             "| command | |\n"
             "|---|---|\n");
    for (const cs_command *const *command = cs_commands(); *command != NULL; command++) {
        cs_output_print(out, "| [`%s`](#costeer-%s) | %s |\n", (*command)->name, (*command)->name, (*command)->summary);
    }
    for (const cs_command *const *command = cs_commands(); *command != NULL; command++) {
        put_command(out, *command);
    }
    put_rows(out, "Exit codes", "code", cs_help_exit_codes);
    put_rows(out, "Environment", "variable", cs_help_environment);
    put_rows(out, "Files", "file", cs_help_files);
}
