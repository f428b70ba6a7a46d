/*
 * What the reference says about every command, how an option is shown, and the plain-text renderer behind --help.
 *
 * Text is wrapped at 80 columns whatever the terminal, so that it reads the same in a mail; every write is checked by its output.
 */
#include "cli/help.h"

#include "cli/message.h"

#include <costeer/version.h>
#include <stdio.h>
#include <string.h>

#define WIDTH 80

const char cs_help_intro[] =
    "CoSteer lets a large language model (LLM) answer as if it knew what only a small one (SLM) on this device was told. At "
    "every token the SLM says in which direction a private context pushes the next word; that direction is added to the LLM's "
    "own distribution, and only the chosen token goes back to the LLM. The context never leaves the device.";

const cs_help_row cs_help_exit_codes[] = {
    {"0", "success"},
    {"1", "unexpected: no memory, or a bug"},
    {"2", "usage: an option or a parameter"},
    {"3", "input: a context, query, template or case is missing, empty, not UTF-8, damaged or too long"},
    {"4", "model: missing, truncated, not GGUF, unable to generate text, or two that cannot be paired"},
    {"5", "output: not writable, or the disk is full"},
    {"6", "cloud, or the hub of models: not reached, refused, failed or timed out"},
    {"7", "numeric: a model gave NaN or no usable distribution"},
    {"8", "uncertified: a token could not be proved, and --require-certified was given"},
    {"130", "interrupted (SIGINT; SIGTERM gives 143, SIGHUP 129): what was written so far stays; a second signal kills"},
    {"141", "the reader of standard output went away (as SIGPIPE would give)"},
    {NULL, NULL}};

const cs_help_row cs_help_environment[] = {
    {"COSTEER_MODELS_DIR", "the folder of the built-in pair; nowhere else is then looked for it"},
    {"COSTEER_CACHE_DIR", "the folder where the tables between two vocabularies are kept; without: costeer under "
                          "$XDG_CACHE_HOME, else ~/.cache/costeer; nowhere when neither that nor HOME is set"},
    {"http_proxy, https_proxy, all_proxy, no_proxy", "the proxy that an engine (--cloud http://..., https://...) and the hub "
                                                     "(pull) are reached through, and the hosts that are reached without; "
                                                     "nodes are never reached through one"},
    {"HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME",
     "where models of the hub are kept: HF_HUB_CACHE, else hub under HF_HOME, else huggingface/hub under XDG_CACHE_HOME or "
     "~/.cache; shared with huggingface_hub and llama.cpp"},
    {"HF_TOKEN, HF_TOKEN_PATH",
     "the token that pull shows to the hub and to no other host; without: the file HF_TOKEN_PATH, else token "
     "under HF_HOME; HF_HUB_DISABLE_IMPLICIT_TOKEN=1: none"},
    {"HF_ENDPOINT, MODEL_ENDPOINT", "the hub that pull asks; without: https://huggingface.co"},
    {"HF_HUB_OFFLINE", "1: pull asks nobody, and finds what is in the cache"},
    {"HF_HUB_DOWNLOAD_TIMEOUT", "seconds without a byte after which pull tries again; without: 60"},
    {"SSL_CERT_FILE", "PEM file of the authorities that pull trusts; without: the system's"},
    {"NO_COLOR", "when set and not empty, compare uses no colours"},
    {"COLUMNS", "the width that compare lays its answers out for when the terminal does not tell one"},
    {NULL, NULL}};

const cs_help_row cs_help_files[] = {{"costeer-llm.gguf, costeer-slm.gguf",
                                      "The built-in pair: in $COSTEER_MODELS_DIR when that is set, else in "
                                      "../share/costeer/models or models beside the program, else "
                                      "where it was installed."},
                                     {NULL, NULL}};

/* ---- an option's parts ------------------------------------------------------------------------------------------- */

const char *cs_help_option_head(const cs_option *option, char *buffer, size_t size)
{
    char letter[8] = "";
    if (option->letter != '\0') {
        snprintf(letter, sizeof letter, "-%c, ", option->letter);
    }
    snprintf(buffer, size, "%s--%s%s%s", letter, option->name, option->value_name != NULL ? " " : "",
             option->value_name != NULL ? option->value_name : "");
    return buffer;
}

const char *cs_help_option_note(const cs_option *option, char *buffer, size_t size)
{
    char range[64];
    const char *parts[3];
    size_t n = 0;
    char in_range[80];
    char fallback[80];
    if (cs_option_range_text(option, range, sizeof range)[0] != '\0') {
        snprintf(in_range, sizeof in_range, "in %s", range);
        parts[n++] = in_range;
    }
    if ((option->kind == CS_OPTION_TEXTS || option->kind == CS_OPTION_FILES) && option->max_items != 1) {
        parts[n++] = "repeatable";
    }
    if (option->default_value != NULL) {
        snprintf(fallback, sizeof fallback, "default %s", option->default_value);
        parts[n++] = fallback;
    }
    size_t used = 0;
    buffer[0] = '\0';
    for (size_t i = 0; i < n && used < size; i++) {
        int written = snprintf(buffer + used, size - used, "%s%s", i > 0 ? "; " : "", parts[i]);
        used += written > 0 ? (size_t)written : 0;
    }
    return buffer;
}

/* ---- wrapped text ------------------------------------------------------------------------------------------------ */

static void put(cs_output *out, const char *text)
{
    cs_output_write(out, text, strlen(text));
}

static void put_spaces(cs_output *out, size_t n)
{
    while (n-- > 0) {
        cs_output_write(out, " ", 1);
    }
}

/* Writes words from `column` on, wrapped at WIDTH with an indent, and ends the line. */
static void put_wrapped(cs_output *out, const char *text, size_t length, size_t column, size_t indent)
{
    size_t begin = 0;
    bool first = true;
    while (begin < length) {
        size_t end = begin;
        while (end < length && text[end] != ' ') {
            end++;
        }
        size_t word = end - begin;
        if (!first && column + 1 + word > WIDTH) {
            put(out, "\n");
            put_spaces(out, indent);
            column = indent;
        } else if (!first) {
            put(out, " ");
            column++;
        }
        cs_output_write(out, text + begin, word);
        column += word;
        first = false;
        begin = end + 1;
    }
    put(out, "\n");
}

/* Paragraphs of a description; lines that begin with two spaces are shown as they are. */
static void put_paragraphs(cs_output *out, const char *text)
{
    while (*text != '\0') {
        size_t length = strcspn(text, "\n");
        if (strncmp(text, "  ", 2) == 0 || length == 0) {
            cs_output_write(out, text, length);
            put(out, "\n");
        } else {
            put_wrapped(out, text, length, 0, 0);
        }
        text += length + (text[length] == '\n' ? 1 : 0);
    }
}

static void put_rows(cs_output *out, const char *title, const cs_help_row *rows, size_t column)
{
    cs_output_print(out, "\n%s:\n", title);
    for (; rows->name != NULL; rows++) {
        cs_output_print(out, "  %s", rows->name);
        size_t used = 2 + strlen(rows->name);
        if (used + 2 > column) {
            put(out, "\n");
            used = 0;
        }
        put_spaces(out, column - used);
        put_wrapped(out, rows->text, strlen(rows->text), column, column);
    }
}

/* ---- --help ------------------------------------------------------------------------------------------------------ */

#define OPTION_COLUMN 28

static void put_option(cs_output *out, const cs_option *option)
{
    char head[96];
    char note[192];
    char text[1600];
    cs_help_option_head(option, head, sizeof head);
    cs_help_option_note(option, note, sizeof note);
    snprintf(text, sizeof text, note[0] != '\0' ? "%s (%s)" : "%s%s", option->help, note);
    /* Long names of options with a letter and without line up. */
    size_t used = 2 + (option->letter != '\0' ? 0U : 4U);
    put_spaces(out, used);
    put(out, head);
    used += strlen(head);
    if (used + 2 > OPTION_COLUMN) {
        put(out, "\n");
        used = 0;
    }
    put_spaces(out, OPTION_COLUMN - used);
    put_wrapped(out, text, strlen(text), OPTION_COLUMN, OPTION_COLUMN);
}

static void put_usage(cs_output *out, const cs_command *command)
{
    cs_output_print(out, "Usage: costeer %s%s%s%s\n", command->name, command->groups[0] != NULL ? " [OPTIONS]" : "",
                    command->arguments != NULL ? " " : "", command->arguments != NULL ? command->arguments : "");
}

static void put_exit_codes(cs_output *out)
{
    put_rows(out, "Exit codes", cs_help_exit_codes, 8);
}

/* A command without what is common to all. */
static void put_command(cs_output *out, const cs_command *command)
{
    put_usage(out, command);
    put(out, "\n");
    put_paragraphs(out, command->description);
    if (command->outputs != NULL) {
        put(out, "\n");
        put_paragraphs(out, command->outputs);
    }
    for (size_t g = 0; g < CS_COMMAND_GROUPS_MAX && command->groups[g] != NULL; g++) {
        cs_output_print(out, "\n%s:\n", command->groups[g]->title);
        for (size_t i = 0; i < command->groups[g]->n_options; i++) {
            put_option(out, &command->groups[g]->options[i]);
        }
    }
    if (command->examples != NULL) {
        cs_output_print(out, "\nExamples:\n");
        put(out, command->examples);
        put(out, "\n");
    }
}

void cs_help_text_command(cs_output *out, const cs_command *command)
{
    put_command(out, command);
    put_exit_codes(out);
}

#define SUMMARY_COLUMN 13

void cs_help_overview(cs_output *out)
{
    put(out, "Usage: costeer COMMAND [OPTIONS] [ARGUMENTS]\n\n");
    put_wrapped(out, cs_help_intro, strlen(cs_help_intro), 0, 0);
    put(out, "\nCommands:\n");
    for (const cs_command *const *command = cs_commands(); *command != NULL; command++) {
        cs_output_print(out, "  %-10s ", (*command)->name);
        put_wrapped(out, (*command)->summary, strlen((*command)->summary), SUMMARY_COLUMN, SUMMARY_COLUMN);
    }
    put(out, "\nTry:\n"
             "  costeer compare --context notes.txt \"Write an invitation to my birthday.\"\n"
             "  costeer help generate\n");
    put_exit_codes(out);
    put_rows(out, "Environment", cs_help_environment, 24);
}

void cs_help_text(cs_output *out)
{
    cs_help_overview(out);
    put_rows(out, "Files", cs_help_files, 8);
    for (const cs_command *const *command = cs_commands(); *command != NULL; command++) {
        cs_output_print(out, "\n\n%s\n", (*command)->name);
        for (size_t i = 0; i < strlen((*command)->name); i++) {
            put(out, "=");
        }
        put(out, "\n\n");
        put_command(out, *command);
    }
}

int cs_help_print_command(const cs_command *command)
{
    cs_output out;
    cs_output_init_stdout(&out);
    cs_help_text_command(&out, command);
    int error = cs_output_close(&out);
    return error == 0 ? CS_EXIT_OK : cs_fail_output(out.name, error);
}
