/* What can be typed besides questions. Each command answers on standard output; what is wrong with it is one line. */
#include "cli/audit_show.h"
#include "cli/chat.h"
#include "cli/json.h"
#include "cli/message.h"
#include "cli/text.h"
#include "util/parse.h"
#include "util/utf8.h"

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Text before a changed token, in /why. */
#define BEFORE_BYTES 40

typedef struct command {
    const char *name;
    const char *argument; /* as /help shows it, NULL: none is taken */
    const char *help;
    int (*run)(cs_chat *chat, const char *argument); /* "": none was given */
} command;

static cs_output *out_of(cs_chat *chat)
{
    return &chat->setup.out;
}

/* ---- /context ---------------------------------------------------------------------------------------------------- */

static int list_contexts(cs_chat *chat)
{
    const cs_inputs *inputs = &chat->setup.inputs;
    for (size_t i = 0; i < inputs->n_contexts; i++) {
        cs_output_print(out_of(chat), "%s  %zu bytes, weight %g\n", inputs->context_names[i], strlen(inputs->contexts[i]),
                        inputs->weights[i]);
    }
    if (inputs->n_contexts == 0) {
        cs_output_print(out_of(chat), "no context; the LLM answers alone\n");
    }
    return CS_EXIT_OK;
}

/* "~/notes.txt": no shell has seen it. */
static char *expand_home(const char *path)
{
    const char *home = getenv("HOME");
    cs_buffer out = {.cap = SIZE_MAX};
    if (strncmp(path, "~/", 2) != 0 || home == NULL) {
        return strdup(path);
    }
    if (!cs_buffer_append(&out, home, strlen(home)) || !cs_buffer_append(&out, path + 1, strlen(path + 1))) {
        cs_buffer_dispose(&out);
    }
    return out.bytes;
}

static bool is_in_past(const cs_chat *chat, const char *text)
{
    const char *at = chat->past.bytes;
    size_t i = 0;
    while (i < chat->n_past && strcmp(at, text) != 0) {
        at += strlen(at) + 1;
        i++;
    }
    return i < chat->n_past;
}

/* What steered until now is looked for in all that was sent, also later. */
static int remember_contexts(cs_chat *chat)
{
    const cs_inputs *inputs = &chat->setup.inputs;
    chat->past.cap = SIZE_MAX / 2;
    for (size_t i = 0; i < inputs->n_contexts; i++) {
        if (is_in_past(chat, inputs->contexts[i])) {
            continue;
        }
        if (!cs_buffer_append(&chat->past, inputs->contexts[i], strlen(inputs->contexts[i]) + 1)) {
            return cs_fail(CS_EXIT_INTERNAL, "out of memory");
        }
        chat->n_past++;
    }
    return CS_EXIT_OK;
}

/* Take contexts, if their prompts can be made and fit; else those from before stay. */
static int take_contexts(cs_chat *chat, cs_inputs *fresh)
{
    cs_setup *s = &chat->setup;
    costeer_ensemble_parts parts;
    int exit_code = remember_contexts(chat);
    if (exit_code != CS_EXIT_OK) {
        return exit_code;
    }
    cs_inputs_swap_contexts(&s->inputs, fresh);
    if (cs_use_is_on(&s->use, &s->settings)) {
        return CS_EXIT_OK; /* the whole need not fit: parts of it are tried at the next question */
    }
    exit_code = cs_setup_set_prompts(s);
    exit_code = exit_code == CS_EXIT_OK ? cs_setup_use(s, &s->choices.items[0], &parts) : exit_code;
    if (exit_code != CS_EXIT_OK) {
        cs_inputs_swap_contexts(&s->inputs, fresh);
    }
    return exit_code;
}

static int change_context(cs_chat *chat, const char *argument)
{
    if (argument[0] == '\0') {
        return list_contexts(chat);
    }
    const bool keeps = argument[0] == '+';
    const bool is_off = strcmp(argument, "off") == 0;
    argument += keeps ? 1 : 0;
    argument += strspn(argument, " \t");
    if (strcmp(argument, "-") == 0 || argument[0] == '\0') {
        return cs_fail(CS_EXIT_USAGE, "/context: give a file; standard input is where the questions come from");
    }
    char *path = expand_home(argument);
    if (path == NULL) {
        return cs_fail(CS_EXIT_INTERNAL, "out of memory");
    }
    cs_inputs fresh;
    int exit_code = cs_inputs_change_contexts(&chat->setup.inputs, is_off ? NULL : path, keeps, &fresh);
    exit_code = exit_code == CS_EXIT_OK ? take_contexts(chat, &fresh) : exit_code;
    cs_inputs_dispose(&fresh);
    free(path);
    return exit_code == CS_EXIT_OK ? list_contexts(chat) : exit_code;
}

/* ---- /strength --------------------------------------------------------------------------------------------------- */

static int change_strength(cs_chat *chat, const char *argument)
{
    cs_choice *choice = &chat->setup.choices.items[0];
    double value;
    if (!cs_method_is_steered(choice->method)) {
        return cs_fail(CS_EXIT_USAGE, "/strength: method %s steers nothing", choice->method->name);
    }
    if (argument[0] != '\0') {
        if (cs_parse_double(argument, &value) != CS_PARSE_OK) {
            return cs_fail(CS_EXIT_USAGE, "/strength: \"%.40s\" is no number", argument);
        }
        choice->weight = value;
    }
    cs_output_print(out_of(chat), "strength %g\n", choice->weight);
    return CS_EXIT_OK;
}

/* ---- /why -------------------------------------------------------------------------------------------------------- */

/* Write text in quotes, with nothing in it that a terminal would obey. */
static void print_quoted(cs_output *out, const char *bytes, size_t n_bytes)
{
    cs_buffer valid = {.cap = SIZE_MAX};
    (void)cs_text_append_valid(&valid, bytes, n_bytes);
    (void)cs_output_write(out, "\"", 1);
    for (size_t i = 0, n = 1; i < valid.n_bytes; i += n) {
        (void)cs_utf8_next(valid.bytes + i, valid.n_bytes - i, &n);
        const uint32_t code_point = cs_text_code_point(valid.bytes + i, n);
        if (code_point == '\n') {
            (void)cs_output_write(out, "\\n", 2);
        } else if (code_point < 0x20 || (code_point >= 0x7F && code_point < 0xA0)) {
            (void)cs_output_write(out, CS_UTF8_REPLACEMENT, CS_UTF8_REPLACEMENT_BYTES);
        } else {
            (void)cs_output_write(out, valid.bytes + i, n);
        }
    }
    (void)cs_output_write(out, "\"", 1);
    cs_buffer_dispose(&valid);
}

static void print_token(const cs_chat *chat, cs_output *out, int32_t token)
{
    char piece[COSTEER_PIECE_MAX];
    if (chat->vocab.is_end(chat->vocab.model, token)) {
        (void)cs_output_print(out, "(end)");
        return;
    }
    print_quoted(out, piece, chat->vocab.token_to_piece(chat->vocab.model, token, piece));
}

/* The last characters of a text. */
static void print_tail(cs_output *out, const cs_buffer *text)
{
    size_t at = text->n_bytes > BEFORE_BYTES ? text->n_bytes - BEFORE_BYTES : 0;
    while (at < text->n_bytes && ((unsigned char)text->bytes[at] & 0xC0U) == 0x80U) {
        at++;
    }
    print_quoted(out, text->n_bytes > 0 ? text->bytes + at : "", text->n_bytes - at);
}

static int explain(cs_chat *chat, const char *argument)
{
    (void)argument;
    cs_output *out = out_of(chat);
    cs_buffer text = {.cap = SIZE_MAX};
    if (chat->n_answer == 0) {
        return cs_fail(CS_EXIT_USAGE, "/why: nothing was answered yet");
    }
    (void)cs_output_print(out, "%zu of %zu tokens are not what the LLM alone would have taken%s\n", chat->n_changed,
                          chat->n_answer, chat->n_changed > 0 ? ":" : "");
    for (size_t i = 0; i < chat->n_answer; i++) {
        const cs_chat_token *t = &chat->answer[i];
        if (t->token != t->base_token) {
            (void)cs_output_print(out, "%5zu  ", i + 1);
            print_token(chat, out, t->base_token);
            (void)cs_output_print(out, " -> ");
            print_token(chat, out, t->token);
            (void)cs_output_print(out, "  after ");
            print_tail(out, &text);
            (void)cs_output_print(out, "\n");
        }
        char piece[COSTEER_PIECE_MAX];
        (void)cs_buffer_append(&text, piece, chat->vocab.token_to_piece(chat->vocab.model, t->token, piece));
    }
    cs_buffer_dispose(&text);
    return CS_EXIT_OK;
}

/* ---- /disclosed -------------------------------------------------------------------------------------------------- */

static int search_past(const cs_chat *chat, const cs_audit_file *audit, cs_audit_finding *finding)
{
    const char **texts = calloc(chat->n_past + 1, sizeof *texts);
    if (texts == NULL) {
        return cs_fail(CS_EXIT_INTERNAL, "out of memory");
    }
    const char *at = chat->past.bytes;
    for (size_t i = 0; i < chat->n_past; i++) {
        texts[i] = at;
        at += strlen(at) + 1;
    }
    const int exit_code = cs_audit_search(audit, texts, chat->n_past, finding);
    free(texts);
    return exit_code;
}

static int show_disclosed(cs_chat *chat, const char *argument)
{
    (void)argument;
    cs_setup *s = &chat->setup;
    if (s->settings.cloud == NULL) {
        cs_output_print(out_of(chat), "nothing: the LLM runs on this machine\n");
        return CS_EXIT_OK;
    }
    int exit_code = remember_contexts(chat); /* now the present ones are among them */
    if (exit_code != CS_EXIT_OK) {
        return exit_code;
    }
    cs_audit_file audit;
    cs_audit_finding finding = {.runs = NULL};
    exit_code = cs_audit_text_read("what was sent", s->sent.bytes, s->sent.n_bytes, &audit);
    if (exit_code == CS_EXIT_OK && chat->n_past > 0) {
        exit_code = search_past(chat, &audit, &finding);
    }
    if (exit_code == CS_EXIT_OK) {
        cs_output_print(out_of(chat), "to %s: the questions, the answers' tokens, and when each came\n", s->settings.cloud);
        cs_audit_print(out_of(chat), &audit, chat->n_past > 0 ? &finding : NULL);
        if (s->remote.sent == NULL) {
            cs_output_print(out_of(chat), "this is only the beginning: --audit FILE keeps all of it\n");
        }
    }
    cs_audit_finding_dispose(&finding);
    cs_audit_file_dispose(&audit);
    return exit_code;
}

/* ---- the others -------------------------------------------------------------------------------------------------- */

static int compare(cs_chat *chat, const char *argument)
{
    (void)argument;
    return cs_chat_compare(chat);
}

/* A message on a line of its own, with the tokens that it was written with as far as they are known and spell it. */
static bool append_message(const cs_chat *chat, const costeer_message *message, cs_buffer *out)
{
    const costeer_model *model = chat->vocab.model;
    const char *vocab = message->ids_vocab;
    size_t n_ids = message->n_ids;
    if (n_ids > 0 && vocab == NULL) { /* of this conversation's own answers */
        vocab = costeer_model_get_info(model)->vocab_sha256;
        n_ids = costeer_prompt_count_spelled(model, message->ids, n_ids, message->content);
    }
    json_t *object = json_pack("{s:s, s:s}", "role", message->role, "content", message->content);
    if (n_ids > 0) {
        json_object_set_new(object, "tokens", json_pack("{s:s, s:o}", "vocab", vocab, "ids", cs_json_ids(message->ids, n_ids)));
    }
    char *text = json_dumps(object, 0);
    const char *before = out->n_bytes == 0 ? "[\n  " : ",\n  ";
    const bool ok = text != NULL && cs_buffer_append(out, before, strlen(before)) && cs_buffer_append(out, text, strlen(text));
    free(text);
    json_decref(object);
    return ok;
}

/* As --messages reads it; NULL: no memory. */
static char *make_messages(const cs_chat *chat)
{
    const cs_setup *s = &chat->setup;
    const cs_messages *conversation = &s->inputs.conversation;
    const char *system = s->settings.system != NULL ? s->settings.system : conversation->system;
    cs_buffer out = {.cap = SIZE_MAX};
    bool ok = system == NULL || append_message(chat, &(costeer_message){.role = "system", .content = system}, &out);
    for (size_t i = 0; ok && i < conversation->n_turns; i++) {
        ok = append_message(chat, &conversation->turns[i], &out);
    }
    if (!ok || !cs_buffer_append(&out, "\n]", 2)) {
        cs_buffer_dispose(&out);
    }
    return out.bytes;
}

static int write_conversation(cs_chat *chat, const char *path)
{
    cs_output file;
    char *text = make_messages(chat);
    if (text == NULL) {
        return cs_fail(CS_EXIT_INTERNAL, "out of memory");
    }
    int error = cs_output_open(&file, path, true);
    if (error == 0) {
        (void)cs_output_write(&file, text, strlen(text));
        (void)cs_output_write(&file, "\n", 1);
        error = cs_output_close(&file);
    }
    cs_output_discard(&file);
    free(text);
    return error == 0 ? CS_EXIT_OK : cs_fail_output(path, error);
}

static int save(cs_chat *chat, const char *argument)
{
    struct stat there;
    char *path = expand_home(argument);
    if (path == NULL) {
        return cs_fail(CS_EXIT_INTERNAL, "out of memory");
    }
    int exit_code = CS_EXIT_OK;
    if (path[0] == '\0' || strcmp(path, "-") == 0) {
        exit_code = cs_fail(CS_EXIT_USAGE, "/save: give a file");
    } else if (chat->setup.inputs.conversation.n_turns == 0) {
        exit_code = cs_fail(CS_EXIT_USAGE, "/save: nothing was said yet");
    } else if (stat(path, &there) == 0 && (chat->saved == NULL || strcmp(chat->saved, path) != 0)) {
        exit_code = cs_fail(CS_EXIT_OUTPUT, "/save: %s is there already; name another file", path);
    } else {
        exit_code = write_conversation(chat, path);
    }
    if (exit_code != CS_EXIT_OK) {
        free(path);
        return exit_code;
    }
    free(chat->saved);
    chat->saved = path;
    cs_output_print(out_of(chat), "%s: %zu messages\n", path, chat->setup.inputs.conversation.n_turns);
    return CS_EXIT_OK;
}

static int begin_anew(cs_chat *chat, const char *argument)
{
    (void)argument;
    cs_chat_begin_anew(chat);
    cs_use_begin_anew(&chat->setup.use);
    return CS_EXIT_OK;
}

/* ---- /parts ------------------------------------------------------------------------------------------------------ */

static int show_parts(cs_chat *chat, const char *argument)
{
    (void)argument;
    const cs_use *use = &chat->setup.use;
    for (size_t c = 0; c < use->n; c++) {
        for (size_t i = 0; i < use->chosen[c].selection.parts.n; i++) {
            cs_use_print_part(&use->chosen[c].selection, use->chosen[c].context, i, out_of(chat));
        }
    }
    if (use->n == 0) {
        const bool chooses = cs_use_is_on(use, &chat->setup.settings);
        cs_output_print(out_of(chat), "%s\n", chooses ? "nothing was chosen yet" : "all parts of the contexts are used");
    }
    return CS_EXIT_OK;
}

/* ---- /pin, /drop ------------------------------------------------------------------------------------------------- */

static int list_texts(cs_chat *chat, const cs_option_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        print_quoted(out_of(chat), list->items[i], strlen(list->items[i]));
        cs_output_print(out_of(chat), "\n");
    }
    if (list->n == 0) {
        cs_output_print(out_of(chat), "none\n");
    }
    return CS_EXIT_OK;
}

/* What --pin or --drop would have been given, from the next question on. */
static int name_parts(cs_chat *chat, const char *argument, const char *name, cs_option_list *list)
{
    const cs_settings *s = &chat->setup.settings;
    if (argument[0] == '\0') {
        return list_texts(chat, list);
    }
    if (s->use != NULL && strcmp(s->use, "all") == 0) {
        return cs_fail(CS_EXIT_USAGE, "%s: not with --use all, which uses every part", name);
    }
    if (strcmp(argument, "off") == 0) {
        list->n = 0;
        return list_texts(chat, list);
    }
    const size_t n_max = sizeof chat->named / sizeof chat->named[0];
    if (list->n == CS_OPTION_LIST_MAX || chat->n_named == n_max) {
        return cs_fail(CS_EXIT_USAGE, "%s: no room for more texts; %d at once", name, CS_OPTION_LIST_MAX);
    }
    char *text = strdup(argument);
    if (text == NULL) {
        return cs_fail(CS_EXIT_INTERNAL, "out of memory");
    }
    chat->named[chat->n_named++] = text;
    list->items[list->n++] = text;
    return list_texts(chat, list);
}

static int pin(cs_chat *chat, const char *argument)
{
    return name_parts(chat, argument, "/pin", &chat->setup.settings.pins);
}

static int drop(cs_chat *chat, const char *argument)
{
    return name_parts(chat, argument, "/drop", &chat->setup.settings.drops);
}

static int quit(cs_chat *chat, const char *argument)
{
    (void)argument;
    chat->is_over = true;
    return CS_EXIT_OK;
}

static int help(cs_chat *chat, const char *argument);

static const command commands[] = {
    {"context", "[+]FILE[:WEIGHT]", "steer by FILE; +: also; off: by none; alone: list", change_context},
    {"parts", NULL, "what of the contexts the last answer was given, with + before it", show_parts},
    {"pin", "TEXT", "always use parts with TEXT in them; off: none; alone: list", pin},
    {"drop", "TEXT", "never use them, from the next question on; likewise", drop},
    {"strength", "X", "weight of the contexts; alone: show it", change_strength},
    {"why", NULL, "what steering changed in the last answer", explain},
    {"compare", NULL, "the LLM's own answer to the last question", compare},
    {"disclosed", NULL, "what was sent to the cloud", show_disclosed},
    {"save", "FILE", "write the conversation, as --messages reads it", save},
    {"new", NULL, "forget the conversation; contexts and models stay", begin_anew},
    {"help", NULL, "this list", help},
    {"quit", NULL, "the end, as Ctrl-D", quit},
};
#define N_COMMANDS (sizeof commands / sizeof commands[0])

static int help(cs_chat *chat, const char *argument)
{
    (void)argument;
    for (size_t i = 0; i < N_COMMANDS; i++) {
        const char *takes = commands[i].argument != NULL ? commands[i].argument : "";
        cs_output_print(out_of(chat), "/%s%s%-*s %s\n", commands[i].name, takes[0] != '\0' ? " " : "",
                        26 - (int)strlen(commands[i].name) - (takes[0] != '\0' ? 1 : 0), takes, commands[i].help);
    }
    cs_output_print(out_of(chat), "Anything else is a question. // begins one with a slash; \\ at the end of a line\n"
                                  "goes on with the next.\n");
    return CS_EXIT_OK;
}

static int fail_unknown(const char *name)
{
    const char *names[N_COMMANDS];
    for (size_t i = 0; i < N_COMMANDS; i++) {
        names[i] = commands[i].name;
    }
    const char *nearest = cs_nearest(name, names, N_COMMANDS);
    return nearest != NULL ? cs_fail(CS_EXIT_USAGE, "there is no such command; did you mean /%s? see /help", nearest)
                           : cs_fail(CS_EXIT_USAGE, "there is no such command; see /help");
}

int cs_chat_command(cs_chat *chat, const char *line)
{
    char name[16] = "";
    const char *at = line + 1;
    const size_t n_name = strcspn(at, " \t\n");
    memcpy(name, at, n_name < sizeof name ? n_name : sizeof name - 1);
    at += n_name;
    at += strspn(at, " \t\n");
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (n_name == strlen(commands[i].name) && strcmp(name, commands[i].name) == 0) {
            const int exit_code = commands[i].argument == NULL && at[0] != '\0'
                                      ? cs_fail(CS_EXIT_USAGE, "/%s takes nothing", name)
                                      : commands[i].run(chat, at);
            (void)cs_output_flush(out_of(chat));
            return exit_code;
        }
    }
    return fail_unknown(name);
}
