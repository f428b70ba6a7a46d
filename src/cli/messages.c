/*
 * Conversations as JSON. Whatever a message has beside role and content (tool calls, names, images) would change what the models
 * read, so it is refused and not left out. An answer that a chat saved has its tokens, which the prompt then has too; whether
 * they spell the content is seen when the prompt is built, for the vocabulary that they name.
 */
#include "cli/messages.h"

#include "cli/inputs.h"
#include "cli/message.h"
#include "cli/text.h"

#include <stdlib.h>
#include <string.h>

static int check_keys(const char *path, size_t number, json_t *message)
{
    const char *key;
    json_t *value;
    json_object_foreach(message, key, value)
    {
        if (strcmp(key, "role") != 0 && strcmp(key, "content") != 0 && strcmp(key, "tokens") != 0) {
            return cs_fail(CS_EXIT_INPUT, "%s: message %zu has \"%.40s\"; only role and content are taken, and tokens", path,
                           number, key);
        }
    }
    return CS_EXIT_OK;
}

/* What is wrong with a message at its place, NULL: nothing. */
static const char *find_fault(json_t *message, size_t i, size_t n, bool may_be_answered)
{
    const char *role = json_string_value(json_object_get(message, "role"));
    const json_t *content = json_object_get(message, "content");
    if (role == NULL || !json_is_string(content)) {
        return "is no object with the texts role and content";
    }
    if (strlen(role) != json_string_length(json_object_get(message, "role")) ||
        strlen(json_string_value(content)) != json_string_length(content)) {
        return "has a NUL in it; it must be plain text";
    }
    if (strcmp(role, "system") == 0) {
        return i == 0 ? NULL : "has the role system, which only the first may have";
    }
    if (strcmp(role, "user") != 0 && strcmp(role, "assistant") != 0) {
        return "has another role than system, user and assistant";
    }
    if (i + 1 == n && strcmp(role, "user") != 0 && !may_be_answered) {
        return "is the last and must be the user's";
    }
    return strcmp(role, "user") == 0 && cs_text_is_blank(json_string_value(content), json_string_length(content)) ? "is empty"
                                                                                                                  : NULL;
}

/* What is wrong with a message's tokens, NULL: nothing. */
static const char *find_token_fault(const json_t *message)
{
    json_t *tokens = json_object_get(message, "tokens");
    const json_t *vocab = json_object_get(tokens, "vocab");
    json_t *ids = json_object_get(tokens, "ids");
    size_t i;
    json_t *id;
    if (tokens == NULL) {
        return NULL;
    }
    if (strcmp(json_string_value(json_object_get(message, "role")), "assistant") != 0) {
        return "has tokens, which only the assistant's have";
    }
    if (json_object_size(tokens) != 2 || json_string_length(vocab) != 64 ||
        strspn(json_string_value(vocab), "0123456789abcdef") != 64 || json_array_size(ids) == 0) {
        return "has tokens that are no object with vocab (64 hexadecimal digits) and ids";
    }
    json_array_foreach(ids, i, id)
    {
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX) {
            return "has tokens of which an id is no whole number that a token can have";
        }
    }
    return NULL;
}

static size_t count_ids(const json_t *message)
{
    return json_array_size(json_object_get(json_object_get(message, "tokens"), "ids"));
}

/* Append a message's tokens to the list of all. */
static void take_ids(const json_t *message, int32_t *ids, costeer_message *out)
{
    const json_t *tokens = json_object_get(message, "tokens");
    out->n_ids = count_ids(message);
    out->ids = out->n_ids > 0 ? ids : NULL;
    out->ids_vocab = json_string_value(json_object_get(tokens, "vocab"));
    for (size_t i = 0; i < out->n_ids; i++) {
        ids[i] = (int32_t)json_integer_value(json_array_get(json_object_get(tokens, "ids"), i));
    }
}

static int32_t *allocate_ids(json_t *list)
{
    size_t n = 1;
    size_t i;
    json_t *message;
    json_array_foreach(list, i, message)
    {
        n += count_ids(message);
    }
    return calloc(n, sizeof(int32_t));
}

static int take(const char *path, bool may_be_answered, cs_messages *out)
{
    const size_t n = json_array_size(out->list);
    out->turns = calloc(n, sizeof *out->turns);
    out->ids = allocate_ids(out->list);
    int32_t *ids = out->ids;
    if (out->turns == NULL || ids == NULL) {
        return cs_fail(CS_EXIT_INTERNAL, "out of memory");
    }
    for (size_t i = 0; i < n; i++) {
        json_t *message = json_array_get(out->list, i);
        const char *fault = find_fault(message, i, n, may_be_answered);
        fault = fault == NULL ? find_token_fault(message) : fault;
        if (fault != NULL) {
            return cs_fail(CS_EXIT_INPUT, "%s: message %zu %s", path, i + 1, fault);
        }
        const int exit_code = check_keys(path, i + 1, message);
        if (exit_code != CS_EXIT_OK) {
            return exit_code;
        }
        const char *role = json_string_value(json_object_get(message, "role"));
        const char *content = json_string_value(json_object_get(message, "content"));
        if (strcmp(role, "system") == 0) {
            out->system = content;
        } else if (i + 1 == n && strcmp(role, "user") == 0) {
            out->query = content;
        } else {
            costeer_message *turn = &out->turns[out->n_turns++];
            *turn = (costeer_message){.role = role, .content = content};
            take_ids(message, ids, turn);
            ids += turn->n_ids;
        }
    }
    return out->query != NULL || may_be_answered
               ? CS_EXIT_OK
               : cs_fail(CS_EXIT_INPUT, "%s: message %zu is the last and must be the user's", path, n);
}

int cs_messages_read(const char *path, bool may_be_answered, cs_messages *out)
{
    memset(out, 0, sizeof *out);
    char *text;
    const int exit_code = cs_input_read_text(path, "conversation", &text);
    if (exit_code != CS_EXIT_OK) {
        return exit_code;
    }
    path = strcmp(path, "-") == 0 ? "standard input" : path;
    json_error_t error;
    out->list = json_loads(text, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    free(text);
    if (out->list == NULL) {
        return cs_fail(CS_EXIT_INPUT, "%s: line %d, column %d: no JSON (%s)", path, error.line, error.column, error.text);
    }
    if (!json_is_array(out->list) || json_array_size(out->list) == 0) {
        return cs_fail(CS_EXIT_INPUT, "%s: must be a JSON array of messages, each with role and content", path);
    }
    return take(path, may_be_answered, out);
}

int cs_messages_check_tokens(const cs_messages *messages, const char *path, const costeer_model *model)
{
    for (size_t i = 0; model != NULL && i < messages->n_turns; i++) {
        const costeer_message *turn = &messages->turns[i];
        if (turn->ids_vocab != NULL && strcmp(turn->ids_vocab, costeer_model_get_info(model)->vocab_sha256) == 0 &&
            costeer_prompt_count_spelled(model, turn->ids, turn->n_ids, turn->content) == 0) {
            return cs_fail(CS_EXIT_INPUT, "%s: message %zu: its tokens do not spell its content; leave its tokens out",
                           strcmp(path, "-") == 0 ? "standard input" : path, i + (messages->system != NULL ? 2 : 1));
        }
    }
    return CS_EXIT_OK;
}

void cs_messages_dispose(cs_messages *messages)
{
    json_decref(messages->list);
    free(messages->turns);
    free(messages->ids);
    memset(messages, 0, sizeof *messages);
}
