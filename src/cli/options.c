/*
 * Reading the command line by the tables of cmd_*.c.
 *
 * Both --name VALUE and --name=VALUE; "--" ends the options; options and arguments may be mixed. A value that is itself the name
 * of an option is refused, because it is nearly always a forgotten value (--name=--other says it is meant). A query could be
 * mistaken for an option, so an argument is shown in a message only when it looks like an option's name.
 */
#include "cli/options.h"

#include "cli/cmd.h"
#include "cli/help.h"
#include "cli/hub.h"
#include "cli/message.h"
#include "util/parse.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct parser {
    const cs_command *command;
    void *settings;
    cs_arguments *arguments;
    int exit_code; /* of the message that was printed */
} parser;

/* ---- values ------------------------------------------------------------------------------------------------------ */

static bool has_range(const cs_option *option)
{
    return option->range.min < option->range.max;
}

const char *cs_option_range_text(const cs_option *option, char *buffer, size_t size)
{
    const cs_option_range *range = &option->range;
    buffer[0] = '\0';
    if (has_range(option)) {
        bool endless = isinf(range->max) != 0;
        snprintf(buffer, size, "%s%.15g, %.*g%s", range->min_open ? "(" : "[", range->min, endless ? 1 : 15, range->max,
                 range->max_open || endless ? ")" : "]");
    }
    return buffer;
}

static bool in_range(const cs_option *option, double value)
{
    const cs_option_range *range = &option->range;
    if (!has_range(option)) {
        return true;
    }
    bool above = range->min_open ? value > range->min : value >= range->min;
    bool below = range->max_open ? value < range->max : value <= range->max;
    return above && below;
}

static bool refuse_number(parser *p, const cs_option *option, const char *value, bool is_number)
{
    char range[64];
    cs_option_range_text(option, range, sizeof range);
    const char *kind = option->kind == CS_OPTION_REAL ? "a finite number" : "a whole number";
    if (is_number && range[0] != '\0') {
        p->exit_code = cs_fail(CS_EXIT_USAGE, "--%s: %s is not in %s", option->name, value, range);
    } else {
        p->exit_code = cs_fail(CS_EXIT_USAGE, "--%s: \"%s\" is not %s%s%s", option->name, value, kind,
                               range[0] != '\0' ? " in " : "", range);
    }
    return false;
}

static bool store_int(parser *p, const cs_option *option, const char *value, int32_t *field)
{
    int64_t number = 0;
    cs_parse_result result = cs_parse_int64(value, &number);
    if (result != CS_PARSE_OK || !in_range(option, (double)number) || number < INT32_MIN || number > INT32_MAX) {
        return refuse_number(p, option, value, result != CS_PARSE_SYNTAX);
    }
    *field = (int32_t)number;
    return true;
}

static bool store_seed(parser *p, const cs_option *option, const char *value, uint64_t *field)
{
    uint64_t number = 0;
    cs_parse_result result = cs_parse_uint64(value, &number);
    /* JSON's integers are signed here, and a seed is written there. */
    if (result == CS_PARSE_OK && number <= INT64_MAX) {
        *field = number;
        return true;
    }
    p->exit_code =
        result == CS_PARSE_SYNTAX
            ? cs_fail(CS_EXIT_USAGE, "--%s: \"%s\" is not a whole number in [0, %" PRId64 "]", option->name, value, INT64_MAX)
            : cs_fail(CS_EXIT_USAGE, "--%s: %s is not in [0, %" PRId64 "]", option->name, value, INT64_MAX);
    return false;
}

static bool store_real(parser *p, const cs_option *option, const char *value, double *field)
{
    double number = 0.0;
    cs_parse_result result = cs_parse_double(value, &number);
    if (result != CS_PARSE_OK || !in_range(option, number)) {
        return refuse_number(p, option, value, result != CS_PARSE_SYNTAX);
    }
    *field = number;
    return true;
}

static bool store_choice(parser *p, const cs_option *option, const char *value, const char **field)
{
    size_t length = strlen(value);
    for (const char *choice = option->choices; *choice != '\0';) {
        size_t n = strcspn(choice, "|");
        if (n == length && strncmp(choice, value, n) == 0) {
            *field = value;
            return true;
        }
        choice += n + (choice[n] == '|' ? 1 : 0);
    }
    p->exit_code = cs_fail(CS_EXIT_USAGE, "--%s: \"%s\" is not one of %s", option->name, value, option->choices);
    return false;
}

static bool store_item(parser *p, const cs_option *option, const char *value, cs_option_list *list)
{
    size_t n_max = option->max_items != 0 ? option->max_items : CS_OPTION_LIST_MAX;
    if (list->n == n_max) {
        p->exit_code = n_max == 1 ? cs_fail(CS_EXIT_USAGE, "--%s: given more than once", option->name)
                                  : cs_fail(CS_EXIT_USAGE, "--%s: given more than %zu times", option->name, n_max);
        return false;
    }
    list->items[list->n++] = value;
    return true;
}

static bool store(parser *p, const cs_option *option, const char *value)
{
    void *field = (char *)p->settings + option->offset;
    switch (option->kind) {
    case CS_OPTION_FLAG:
        *(bool *)field = true;
        return true;
    case CS_OPTION_TEXT:
    case CS_OPTION_FILE:
    case CS_OPTION_LLM:
    case CS_OPTION_SLM:
        *(const char **)field = value;
        return true;
    case CS_OPTION_CHOICE:
        return store_choice(p, option, value, field);
    case CS_OPTION_TEXTS:
    case CS_OPTION_FILES:
        return store_item(p, option, value, field);
    case CS_OPTION_INT:
        return store_int(p, option, value, field);
    case CS_OPTION_SEED:
        return store_seed(p, option, value, field);
    case CS_OPTION_REAL:
        return store_real(p, option, value, field);
    }
    return false;
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

typedef bool (*visit_fn)(const cs_option *option, void *user);

/* The first option for which visit returns true, or NULL. */
static const cs_option *each_option(const cs_command *command, visit_fn visit, void *user)
{
    for (size_t g = 0; g < CS_COMMAND_GROUPS_MAX && command->groups[g] != NULL; g++) {
        const cs_option_group *group = command->groups[g];
        for (size_t i = 0; i < group->n_options; i++) {
            if (visit(&group->options[i], user)) {
                return &group->options[i];
            }
        }
    }
    return NULL;
}

typedef struct option_name {
    const char *text;
    size_t length;
} option_name;

static bool has_name(const cs_option *option, void *user)
{
    const option_name *name = user;
    return strlen(option->name) == name->length && strncmp(option->name, name->text, name->length) == 0;
}

static bool has_letter(const cs_option *option, void *user)
{
    return option->letter != '\0' && option->letter == *(const char *)user;
}

static bool apply_default(const cs_option *option, void *user)
{
    parser *p = user;
    if (option->default_value != NULL) {
        return !store(p, option, option->default_value);
    }
    if (option->kind == CS_OPTION_REAL) {
        void *field = (char *)p->settings + option->offset;
        *(double *)field = NAN;
    }
    return false;
}

typedef struct name_list {
    const char *items[128];
    size_t n;
} name_list;

static bool add_name(const cs_option *option, void *user)
{
    name_list *names = user;
    if (names->n < sizeof names->items / sizeof names->items[0]) {
        names->items[names->n++] = option->name;
    }
    return false;
}

static bool looks_like_name(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (!isalnum((unsigned char)text[i]) && text[i] != '-' && text[i] != '_') {
            return false;
        }
    }
    return length > 0 && length <= 32;
}

static bool refuse_unknown(parser *p, const char *argument)
{
    const char *dashes = argument[1] == '-' ? "--" : "-";
    const char *text = argument + strlen(dashes);
    size_t length = strcspn(text, "=");
    if (!looks_like_name(text, length)) {
        p->exit_code =
            cs_fail(CS_EXIT_USAGE, "an argument begins with '-' but is no option; put -- before an argument that begins so");
        return false;
    }
    char name[33];
    snprintf(name, sizeof name, "%.*s", (int)length, text);
    name_list names = {.items = {"help"}, .n = 1};
    each_option(p->command, add_name, &names);
    const char *nearest = length > 1 ? cs_nearest(name, names.items, names.n) : NULL;
    if (nearest != NULL) {
        p->exit_code = cs_fail(CS_EXIT_USAGE, "unknown option %s%s; did you mean --%s? see costeer %s --help", dashes, name,
                               nearest, p->command->name);
    } else {
        p->exit_code = cs_fail(CS_EXIT_USAGE, "unknown option %s%s; see costeer %s --help", dashes, name, p->command->name);
    }
    return false;
}

/* ---- the line ---------------------------------------------------------------------------------------------------- */

bool cs_arguments_have(const cs_arguments *arguments, const char *option)
{
    for (size_t i = 0; i < arguments->n_options; i++) {
        if (strcmp(arguments->options[i], option) == 0) {
            return true;
        }
    }
    return false;
}

/* No command has as many options as there is room for. */
static void note_option(cs_arguments *arguments, const cs_option *option)
{
    if (arguments->n_options < CS_OPTIONS_GIVEN_MAX && !cs_arguments_have(arguments, option->name)) {
        arguments->options[arguments->n_options++] = option->name;
    }
}

static bool is_option_name(parser *p, const char *argument)
{
    if (strncmp(argument, "--", 2) != 0) {
        return false;
    }
    option_name name = {argument + 2, strcspn(argument + 2, "=")};
    return each_option(p->command, has_name, &name) != NULL;
}

/* Reads the option at argv[*i]; moves *i on when its value is the next argument. */
static bool parse_option(parser *p, int argc, char **argv, int *i)
{
    const char *argument = argv[*i];
    const char *value = NULL;
    const cs_option *option = NULL;
    if (argument[1] == '-') {
        option_name name = {argument + 2, strcspn(argument + 2, "=")};
        option = each_option(p->command, has_name, &name);
        value = name.text[name.length] == '=' ? name.text + name.length + 1 : NULL;
    } else if (argument[2] == '\0') {
        char letter = argument[1];
        option = each_option(p->command, has_letter, &letter);
    }
    if (option == NULL) {
        return refuse_unknown(p, argument);
    }
    note_option(p->arguments, option);
    if (option->kind == CS_OPTION_FLAG) {
        if (value != NULL) {
            p->exit_code = cs_fail(CS_EXIT_USAGE, "--%s: takes no value", option->name);
            return false;
        }
        return store(p, option, NULL);
    }
    if (value == NULL) {
        if (*i + 1 >= argc || is_option_name(p, argv[*i + 1])) {
            p->exit_code = cs_fail(CS_EXIT_USAGE, "--%s: needs a value: --%s %s", option->name, option->name, option->value_name);
            return false;
        }
        value = argv[++*i];
    }
    return store(p, option, value);
}

static bool add_argument(parser *p, const char *argument)
{
    if (p->arguments->n == CS_OPTION_LIST_MAX) {
        p->exit_code =
            cs_fail(CS_EXIT_USAGE, "more than %d arguments; put a text of several words in quotes", CS_OPTION_LIST_MAX);
        return false;
    }
    p->arguments->items[p->arguments->n++] = argument;
    return true;
}

static bool asks_for_help(const char *argument)
{
    return strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0;
}

/* After all options, so that a slip elsewhere is reported first. True: a message was printed. */
static bool locate_model(const cs_option *option, void *user)
{
    parser *p = user;
    cs_arguments *arguments = p->arguments;
    void *field = (char *)p->settings + option->offset;
    const char **path = field;
    if ((option->kind != CS_OPTION_LLM && option->kind != CS_OPTION_SLM) || *path == NULL ||
        arguments->n_paths == CS_OPTIONS_MODELS_MAX) {
        return false;
    }
    p->exit_code = cs_hub_locate(*path, option->kind == CS_OPTION_SLM, arguments->paths[arguments->n_paths++], path);
    return p->exit_code != CS_EXIT_OK;
}

bool cs_options_parse(const cs_command *command, int argc, char **argv, void *settings, cs_arguments *arguments, int *exit_code)
{
    parser p = {command, settings, arguments, CS_EXIT_USAGE};
    bool only_arguments = false;
    bool ok = each_option(command, apply_default, &p) == NULL;
    arguments->n = 0;
    arguments->n_options = 0;
    arguments->n_paths = 0;
    for (int i = 0; ok && i < argc; i++) {
        const char *argument = argv[i];
        if (only_arguments || argument[0] != '-' || argument[1] == '\0') {
            ok = add_argument(&p, argument);
        } else if (strcmp(argument, "--") == 0) {
            only_arguments = true;
        } else if (asks_for_help(argument)) {
            *exit_code = cs_help_print_command(command);
            return false;
        } else {
            ok = parse_option(&p, argc, argv, &i);
        }
    }
    ok = ok && each_option(command, locate_model, &p) == NULL;
    *exit_code = p.exit_code;
    return ok;
}
