/*
 * The man page, in man(7) macros. Text is escaped where roff would read it: backslashes, leading dots and quotes, and '-', which
 * would otherwise be a hyphen that cannot be copied into a shell.
 */
#include "cli/help.h"

#include <costeer/version.h>
#include <string.h>

static void put(cs_output *out, const char *text)
{
    cs_output_write(out, text, strlen(text));
}

static void put_escaped(cs_output *out, const char *text, size_t length)
{
    if (length > 0 && (text[0] == '.' || text[0] == '\'')) {
        put(out, "\\&");
    }
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\\') {
            put(out, "\\e");
        } else if (text[i] == '-') {
            put(out, "\\-");
        } else {
            cs_output_write(out, &text[i], 1);
        }
    }
}

static void put_text(cs_output *out, const char *text)
{
    put_escaped(out, text, strlen(text));
}

/* Lines that begin with two spaces become an example block. */
static void put_paragraphs(cs_output *out, const char *text)
{
    bool in_example = false;
    while (*text != '\0') {
        size_t length = strcspn(text, "\n");
        bool is_example = strncmp(text, "  ", 2) == 0;
        if (is_example != in_example) {
            put(out, is_example ? ".RS 2\n.nf\n" : ".fi\n.RE\n");
            in_example = is_example;
        }
        if (length == 0) {
            put(out, ".PP\n");
        } else {
            put_escaped(out, is_example ? text + 2 : text, is_example ? length - 2 : length);
            put(out, "\n");
        }
        text += length + (text[length] == '\n' ? 1 : 0);
    }
    if (in_example) {
        put(out, ".fi\n.RE\n");
    }
}

static void put_option(cs_output *out, const cs_option *option)
{
    char note[192];
    put(out, ".TP\n");
    if (option->letter != '\0') {
        cs_output_print(out, "\\fB\\-%c\\fR, ", option->letter);
    }
    put(out, "\\fB");
    put_text(out, "--");
    put_text(out, option->name);
    put(out, "\\fR");
    if (option->value_name != NULL) {
        put(out, " \\fI");
        put_text(out, option->value_name);
        put(out, "\\fR");
    }
    put(out, "\n");
    put_text(out, option->help);
    if (cs_help_option_note(option, note, sizeof note)[0] != '\0') {
        put(out, " (");
        put_text(out, note);
        put(out, ")");
    }
    put(out, "\n");
}

static void put_command(cs_output *out, const cs_command *command)
{
    cs_output_print(out, ".SS \"costeer %s\"\n", command->name);
    cs_output_print(out, "\\fBcosteer %s\\fR%s ", command->name, command->groups[0] != NULL ? " [\\fIOPTIONS\\fR]" : "");
    put_text(out, command->arguments != NULL ? command->arguments : "");
    put(out, "\n.PP\n");
    put_paragraphs(out, command->description);
    if (command->outputs != NULL) {
        put(out, ".PP\n");
        put_paragraphs(out, command->outputs);
    }
    for (size_t g = 0; g < CS_COMMAND_GROUPS_MAX && command->groups[g] != NULL; g++) {
        cs_output_print(out, ".PP\n\\fI%s\\fR\n", command->groups[g]->title);
        for (size_t i = 0; i < command->groups[g]->n_options; i++) {
            put_option(out, &command->groups[g]->options[i]);
        }
    }
    if (command->examples != NULL) {
        put(out, ".PP\nExamples:\n");
        put_paragraphs(out, command->examples);
    }
}

static void put_rows(cs_output *out, const char *title, const cs_help_row *rows)
{
    cs_output_print(out, ".SH %s\n", title);
    for (; rows->name != NULL; rows++) {
        put(out, ".TP\n\\fB");
        put_text(out, rows->name);
        put(out, "\\fR\n");
        put_text(out, rows->text);
        put(out, "\n");
    }
}

void cs_help_man(cs_output *out)
{
    cs_output_print(out, ".TH COSTEER 1 \"\" \"CoSteer %s\" \"User Commands\"\n", COSTEER_VERSION);
    put(out, ".nh\n.ad l\n.SH NAME\ncosteer \\- steer a large language model with a context that only a small one sees\n");
    put(out, ".SH SYNOPSIS\n\\fBcosteer\\fR \\fICOMMAND\\fR [\\fIOPTIONS\\fR] [\\fIARGUMENTS\\fR]\n.SH DESCRIPTION\n");
    put_text(out, cs_help_intro);
    put(out, "\n"
             ".PP\n"
             "Every command takes \\fB\\-h\\fR, \\fB\\-\\-help\\fR. Options are written \\fB\\-\\-name\\fR \\fIVALUE\\fR or "
             "\\fB\\-\\-name=\\fR\\fIVALUE\\fR; \\fB\\-\\-\\fR ends them.\n"
             ".SH COMMANDS\n");
    for (const cs_command *const *command = cs_commands(); *command != NULL; command++) {
        put_command(out, *command);
    }
    put_rows(out, "EXIT STATUS", cs_help_exit_codes);
    put_rows(out, "ENVIRONMENT", cs_help_environment);
    put_rows(out, "FILES", cs_help_files);
    put(out, ".SH SEE ALSO\nLv et al., CoSteer: Collaborative Decoding\\-Time Personalization via Local Delta Steering, "
             "arXiv 2507.04756.\n");
}
