/*
 * Conversations as JSON. Whatever a message has beside role and content (tool calls, names, images) would change what the models
 * read, so it is refused and not left out.
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
        if (strcmp(key, "role") != 0 && strcmp(key, "content") != 0) {
            return cs_fail(CS_EXIT_INPUT, "%s: message %zu has \"%.40s\"; only role and content are taken", path, number, key);
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

static int take(const char *path, bool may_be_answered, cs_messages *out)
{
    const size_t n = json_array_size(out->list);
    out->turns = calloc(n, sizeof *out->turns);
    if (out->turns == NULL) {
        return cs_fail(CS_EXIT_INTERNAL, "out of memory");
    }
    for (size_t i = 0; i < n; i++) {
        json_t *message = json_array_get(out->list, i);
        const char *fault = find_fault(message, i, n, may_be_answered);
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
            out->turns[out->n_turns++] = (costeer_message){.role = role, .content = content};
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

void cs_messages_dispose(cs_messages *messages)
{
    json_decref(messages->list);
    free(messages->turns);
    memset(messages, 0, sizeof *messages);
}
