/*
 * Reading and checking the texts of a run. A text is UTF-8 without NUL, at most 16 MiB (far above any context window, far below
 * what would exhaust memory). A byte order mark and the line ends at the end are dropped: they are how the file was stored, not
 * what it says. Nothing here shows any of the text: messages hold file names, sizes and offsets.
 */
#include "cli/inputs.h"

#include "cli/message.h"
#include "cli/signals.h"
#include "cli/text.h"
#include "util/file.h"
#include "util/parse.h"
#include "util/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_BYTES_MAX ((size_t)16 << 20)

static bool is_stdin(const char *path)
{
    return strcmp(path, "-") == 0;
}

static const char *display_name(const char *path)
{
    return is_stdin(path) ? "standard input" : path;
}

/* ---- one text ---------------------------------------------------------------------------------------------------- */

static int check_text(const char *what, const char *name, const char *text, size_t n_bytes)
{
    size_t bad = 0;
    if (!cs_utf8_check(text, n_bytes, &bad)) {
        return cs_fail(CS_EXIT_INPUT, "%s: the %s is not UTF-8: byte %zu (0x%02X); convert it first, for example with iconv",
                       name, what, bad, (unsigned)(unsigned char)text[bad]);
    }
    const char *nul = memchr(text, '\0', n_bytes);
    if (nul != NULL) {
        return cs_fail(CS_EXIT_INPUT, "%s: the %s has a NUL at byte %zu; it must be plain text", name, what,
                       (size_t)(nul - text));
    }
    return CS_EXIT_OK;
}

/* Drops the byte order mark and the last line ends in place. */
static void trim(char *text, size_t n_bytes)
{
    if (n_bytes >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) {
        n_bytes -= 3;
        memmove(text, text + 3, n_bytes + 1);
    }
    while (n_bytes > 0 && (text[n_bytes - 1] == '\n' || text[n_bytes - 1] == '\r')) {
        text[--n_bytes] = '\0';
    }
}

/* A text that may be blank. */
static int read_text(const char *path, const char *what, char **out)
{
    const char *name = display_name(path);
    char *text;
    size_t n_bytes;
    *out = NULL;
    int error = cs_file_read(path, TEXT_BYTES_MAX, cs_interrupt_wait_readable, &text, &n_bytes);
    if (error != 0) {
        return cs_fail_input(name, error, TEXT_BYTES_MAX);
    }
    size_t mark = n_bytes >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    int exit_code = check_text(what, name, text + mark, n_bytes - mark);
    if (exit_code != CS_EXIT_OK) {
        free(text);
        return exit_code;
    }
    trim(text, n_bytes);
    *out = text;
    return CS_EXIT_OK;
}

int cs_input_read_text(const char *path, const char *what, char **out)
{
    int exit_code = read_text(path, what, out);
    if (*out != NULL && cs_text_is_blank(*out, strlen(*out))) {
        free(*out);
        *out = NULL;
        exit_code = cs_fail(CS_EXIT_INPUT, "%s: the %s is empty", display_name(path), what);
    }
    return exit_code;
}

/* ---- contexts ---------------------------------------------------------------------------------------------------- */

/* FILE or FILE:WEIGHT. Returns the owned name of the file, NULL when memory is out. */
static char *split_weight(const char *argument, double *weight)
{
    const char *colon = strrchr(argument, ':');
    double value = 1.0;
    *weight = 1.0;
    if (colon == NULL || colon == argument || access(argument, F_OK) == 0 || cs_parse_double(colon + 1, &value) != CS_PARSE_OK) {
        return strdup(argument);
    }
    *weight = value;
    return strndup(argument, (size_t)(colon - argument));
}

static int read_context(const char *argument, cs_inputs *out)
{
    size_t i = out->n_contexts;
    out->names[i] = split_weight(argument, &out->weights[i]);
    if (out->names[i] == NULL) {
        return cs_fail(CS_EXIT_INTERNAL, "out of memory");
    }
    out->n_contexts++;
    out->context_names[i] = display_name(out->names[i]);
    return read_text(out->names[i], "context", &out->contexts[i]);
}

static bool is_empty(const cs_inputs *inputs, size_t i)
{
    return inputs->contexts[i] == NULL || cs_text_is_blank(inputs->contexts[i], strlen(inputs->contexts[i]));
}

/* Empty notes are no mistake: a program that makes them may have nothing to say. */
static void leave_out_empty(cs_inputs *inputs, bool quiet)
{
    size_t n = 0;
    for (size_t i = 0; i < inputs->n_contexts; i++) {
        n += is_empty(inputs, i) ? 0U : 1U;
    }
    const char *consequence = n == 0 ? ", unsteered" : "";
    size_t kept = 0;
    for (size_t i = 0; i < inputs->n_contexts; i++) {
        if (!is_empty(inputs, i)) {
            inputs->context_names[kept] = inputs->context_names[i];
            inputs->weights[kept] = inputs->weights[i];
            char *text = inputs->contexts[i];
            inputs->contexts[i] = inputs->contexts[kept];
            inputs->contexts[kept++] = text;
        } else if (!quiet) {
            cs_fail(CS_EXIT_OK, "%s: the context is empty; going on without it%s", inputs->context_names[i], consequence);
        }
    }
    inputs->n_empty += inputs->n_contexts - kept;
    inputs->n_contexts = kept;
}

static int join_contexts(cs_inputs *inputs)
{
    cs_buffer all = {.cap = CS_OPTION_LIST_MAX * (TEXT_BYTES_MAX + 2)};
    bool ok = true;
    for (size_t i = 0; i < inputs->n_contexts && ok; i++) {
        if (inputs->weights[i] > 0.0) {
            ok = (all.n_bytes == 0 || cs_buffer_append(&all, "\n\n", 2)) &&
                 cs_buffer_append(&all, inputs->contexts[i], strlen(inputs->contexts[i]));
        }
    }
    if (!ok) {
        cs_buffer_dispose(&all);
        return cs_fail(CS_EXIT_INTERNAL, "out of memory");
    }
    inputs->all_contexts = all.bytes;
    return CS_EXIT_OK;
}

int cs_inputs_tidy(cs_inputs *inputs)
{
    const size_t n_empty = inputs->n_empty;
    leave_out_empty(inputs, true);
    inputs->n_empty = n_empty; /* those were empty from the beginning */
    free(inputs->all_contexts);
    inputs->all_contexts = NULL;
    return join_contexts(inputs);
}

static void dispose_contexts(cs_inputs *inputs)
{
    for (size_t i = 0; i < CS_OPTION_LIST_MAX; i++) {
        free(inputs->contexts[i]);
        free(inputs->names[i]);
    }
    free(inputs->all_contexts);
}

static int copy_contexts(const cs_inputs *from, cs_inputs *to)
{
    for (size_t i = 0; i < from->n_contexts; i++) {
        to->names[i] = strdup(from->context_names[i]);
        to->contexts[i] = strdup(from->contexts[i]);
        to->weights[i] = from->weights[i];
        to->context_names[i] = to->names[i];
        to->n_contexts++;
        if (to->names[i] == NULL || to->contexts[i] == NULL) {
            return cs_fail(CS_EXIT_INTERNAL, "out of memory");
        }
    }
    return CS_EXIT_OK;
}

static int add_context(const char *argument, cs_inputs *to)
{
    if (to->n_contexts == COSTEER_DELTAS_MAX) {
        return cs_fail(CS_EXIT_USAGE, "there are %d contexts already, as many as there can be", COSTEER_DELTAS_MAX);
    }
    int exit_code = read_context(argument, to);
    const size_t last = to->n_contexts - 1;
    if (exit_code == CS_EXIT_OK && is_empty(to, last)) {
        exit_code = cs_fail(CS_EXIT_INPUT, "%s: the context is empty", to->context_names[last]);
    }
    return exit_code;
}

int cs_inputs_change_contexts(const cs_inputs *inputs, const char *argument, bool keeps, cs_inputs *out)
{
    memset(out, 0, sizeof *out);
    int exit_code = keeps ? copy_contexts(inputs, out) : CS_EXIT_OK;
    if (exit_code == CS_EXIT_OK && argument != NULL) {
        exit_code = add_context(argument, out);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = join_contexts(out);
    }
    if (exit_code != CS_EXIT_OK) {
        dispose_contexts(out);
        memset(out, 0, sizeof *out);
    }
    return exit_code;
}

void cs_inputs_swap_contexts(cs_inputs *inputs, cs_inputs *other)
{
    const cs_inputs before = *inputs;
    *inputs = *other;
    *other = before;
    inputs->query = before.query;
    inputs->conversation = before.conversation;
    inputs->templates = before.templates;
    inputs->context_template = before.context_template;
    inputs->amateur_template = before.amateur_template;
    other->query = other->context_template = other->amateur_template = NULL;
    other->conversation = (cs_messages){.n_turns = 0};
    other->templates = (cs_templates){.both = NULL};
}

/* ---- the query --------------------------------------------------------------------------------------------------- */

static int check_query_argument(const char *query)
{
    size_t n_bytes = strlen(query);
    size_t bad = 0;
    if (!cs_utf8_check(query, n_bytes, &bad)) {
        return cs_fail(CS_EXIT_INPUT, "the query is not UTF-8: byte %zu", bad);
    }
    if (cs_text_is_blank(query, n_bytes)) {
        return cs_fail(CS_EXIT_INPUT, "the query is empty; say what to ask");
    }
    return CS_EXIT_OK;
}

static int read_conversation(const cs_settings *settings, cs_inputs *out)
{
    int exit_code = cs_messages_read(settings->messages, settings->is_chat, &out->conversation);
    if (exit_code == CS_EXIT_OK && settings->system != NULL && out->conversation.system != NULL) {
        exit_code = cs_fail(CS_EXIT_USAGE, "--system, and %s has a system message: give one", settings->messages);
    }
    if (exit_code == CS_EXIT_OK && out->conversation.query != NULL && (out->query = strdup(out->conversation.query)) == NULL) {
        return cs_fail(CS_EXIT_INTERNAL, "out of memory");
    }
    return exit_code;
}

/* What the prompts of a conversation are tried with before its first question. */
static int make_trial(cs_inputs *out)
{
    if (out->query == NULL) {
        out->query = strdup("Hello.");
        out->is_trial = true;
    }
    return out->query != NULL ? CS_EXIT_OK : cs_fail(CS_EXIT_INTERNAL, "out of memory");
}

static int read_query(const cs_settings *settings, const cs_arguments *arguments, cs_inputs *out)
{
    if (arguments->n == 1 && !is_stdin(arguments->items[0])) {
        int exit_code = check_query_argument(arguments->items[0]);
        if (exit_code != CS_EXIT_OK) {
            return exit_code;
        }
        out->query = strdup(arguments->items[0]);
        if (out->query == NULL) {
            return cs_fail(CS_EXIT_INTERNAL, "out of memory");
        }
        trim(out->query, strlen(out->query));
        return CS_EXIT_OK;
    }
    if (settings->messages != NULL || settings->is_chat) {
        const int exit_code = settings->messages != NULL ? read_conversation(settings, out) : CS_EXIT_OK;
        return exit_code == CS_EXIT_OK && settings->is_chat ? make_trial(out) : exit_code;
    }
    const char *path = settings->query_file != NULL ? settings->query_file : "-";
    if (is_stdin(path) && isatty(STDIN_FILENO) == 1 && !settings->quiet) {
        cs_fail(CS_EXIT_OK, "reading the query from the terminal; end it with Ctrl-D on an empty line");
    }
    return cs_input_read_text(path, "query", &out->query);
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

static int check_sources(const cs_settings *settings, const cs_arguments *arguments)
{
    if (arguments->n > 1) {
        return cs_fail(CS_EXIT_USAGE, "%zu arguments where one query is expected; put it in quotes", arguments->n);
    }
    if (arguments->n == 1 && settings->query_file != NULL) {
        return cs_fail(CS_EXIT_USAGE, "a query and --query-file exclude each other");
    }
    if (settings->messages != NULL && (arguments->n == 1 || settings->query_file != NULL)) {
        return cs_fail(CS_EXIT_USAGE, "%s and --messages exclude each other: the query is the last message",
                       arguments->n == 1 ? "a query" : "--query-file");
    }
    const char *query_file = settings->messages != NULL ? settings->messages : settings->query_file;
    bool query_is_stdin = arguments->n == 1 ? is_stdin(arguments->items[0]) : query_file == NULL || is_stdin(query_file);
    size_t n_stdin = query_is_stdin || settings->is_chat ? 1 : 0;
    n_stdin += settings->is_chat && settings->messages != NULL && is_stdin(settings->messages) ? 1U : 0U;
    n_stdin += settings->text != NULL && is_stdin(settings->text) ? 1U : 0U;
    for (size_t i = 0; i < settings->contexts.n; i++) {
        double weight;
        char *name = split_weight(settings->contexts.items[i], &weight);
        n_stdin += name != NULL && is_stdin(name) ? 1U : 0U;
        free(name);
    }
    if (n_stdin > 1) {
        return cs_fail(CS_EXIT_USAGE, "standard input can be read once: give %s",
                       query_is_stdin && !settings->is_chat ? "the query as an argument or with --query-file"
                                                            : "one of the texts as a file");
    }
    return CS_EXIT_OK;
}

/* ---- the framing ------------------------------------------------------------------------------------------------- */

static int read_framing_file(const char *path, const char *what, const char *const *needed, size_t n_needed, char **out)
{
    int exit_code = cs_input_read_text(path, what, out);
    for (size_t i = 0; i < n_needed && exit_code == CS_EXIT_OK; i++) {
        if (*out == NULL || strstr(*out, needed[i]) == NULL) {
            exit_code = cs_fail(CS_EXIT_INPUT, "%s: the %s has no %s", display_name(path), what, needed[i]);
        }
    }
    return exit_code;
}

/* A copy of a framing's text that may be NULL. */
static int copy_framing(const char *text, char **out)
{
    *out = text == NULL ? NULL : strdup(text);
    return text == NULL || *out != NULL ? CS_EXIT_OK : cs_fail(CS_EXIT_INTERNAL, "out of memory");
}

static int find_framing(const char *name, const costeer_framing **out)
{
    size_t n;
    const costeer_framing *list = costeer_framing_list(&n);
    *out = costeer_framing_find(name);
    if (*out != NULL) {
        return CS_EXIT_OK;
    }
    char names[256] = "";
    for (size_t i = 0; i < n; i++) {
        const size_t at = strlen(names);
        (void)snprintf(names + at, sizeof names - at, "%s%s", i == 0 ? "" : ", ", list[i].name);
    }
    return cs_fail(CS_EXIT_USAGE, "--framing: there is no framing \"%.40s\": give one of %s", name, names);
}

int cs_framing_read(const cs_settings *settings, char **with, char **without)
{
    static const char *const needed[] = {"{context}", "{query}"};
    const costeer_framing *framing;
    int exit_code = find_framing(settings->framing != NULL ? settings->framing : "published", &framing);
    if (exit_code != CS_EXIT_OK) {
        return exit_code;
    }
    const bool is_own = settings->context_template != NULL;
    exit_code = is_own ? read_framing_file(settings->context_template, "context template", needed, 2, with)
                       : copy_framing(framing->with, with);
    if (exit_code == CS_EXIT_OK) {
        exit_code = settings->amateur_template != NULL
                        ? read_framing_file(settings->amateur_template, "amateur's template", needed + 1, 1, without)
                        : copy_framing(is_own ? NULL : framing->without, without);
    }
    return exit_code;
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

int cs_inputs_read(const cs_settings *settings, const cs_arguments *arguments, cs_inputs *out)
{
    memset(out, 0, sizeof *out);
    int exit_code = check_sources(settings, arguments);
    for (size_t i = 0; i < settings->contexts.n && exit_code == CS_EXIT_OK; i++) {
        exit_code = read_context(settings->contexts.items[i], out);
    }
    if (exit_code == CS_EXIT_OK) {
        leave_out_empty(out, settings->quiet);
        exit_code = join_contexts(out);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_framing_read(settings, &out->context_template, &out->amateur_template);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_templates_read(settings, &out->templates);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = read_query(settings, arguments, out);
    }
    return exit_code;
}

costeer_prompt cs_inputs_prompt(const cs_settings *settings, const cs_inputs *inputs, const char *context)
{
    costeer_prompt prompt = {.system = settings->system != NULL ? settings->system : inputs->conversation.system,
                             .turns = inputs->conversation.turns,
                             .n_turns = inputs->conversation.n_turns,
                             .context = context,
                             .query = inputs->query,
                             .context_template = inputs->context_template};
    cs_templates_apply(settings, &inputs->templates, &prompt);
    return prompt;
}

costeer_prompt cs_inputs_amateur(const cs_settings *settings, const cs_inputs *inputs)
{
    costeer_prompt prompt = cs_inputs_prompt(settings, inputs, NULL);
    prompt.query_template = inputs->amateur_template;
    return prompt;
}

void cs_inputs_dispose(cs_inputs *inputs)
{
    dispose_contexts(inputs);
    free(inputs->amateur_template);
    free(inputs->query);
    free(inputs->context_template);
    cs_messages_dispose(&inputs->conversation);
    cs_templates_dispose(&inputs->templates);
    memset(inputs, 0, sizeof *inputs);
}
