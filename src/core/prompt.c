/*
 * Prompts as text: messages, and the chat template around them.
 *
 * A context goes into the user's first message, so that it stands before everything that a conversation adds and what was
 * computed for it can be kept. A system message for a template without that role goes before the same message.
 */
#include "core/prompt_internal.h"

#include "core/model_internal.h"
#include "util/error.h"
#include "util/utf8.h"

#include <stdlib.h>
#include <string.h>

/* costeer_model_tokenize() takes no more either. */
#define MESSAGE_BYTES_MAX CS_PROMPT_MESSAGE_BYTES_MAX

static bool is_given(const char *text)
{
    return text != NULL && *text != '\0';
}

static costeer_err no_memory(costeer_error *err)
{
    return cs_error_set(err, COSTEER_ENOMEM, "prompt", "no memory for the prompt");
}

/* ---- checks ------------------------------------------------------------------------------------------------------ */

static costeer_err check_text(const char *what, const char *text, costeer_error *err)
{
    size_t offset;
    if (text != NULL && !cs_utf8_check(text, strlen(text), &offset)) {
        return cs_error_set(err, COSTEER_EUTF8, "prompt", "the %s is not UTF-8 at byte %zu; convert it to UTF-8", what, offset);
    }
    return COSTEER_OK;
}

static costeer_err check_turn(const costeer_message *turn, size_t i, costeer_error *err)
{
    if (turn->role == NULL || (strcmp(turn->role, "user") != 0 && strcmp(turn->role, "assistant") != 0)) {
        return cs_error_set(err, COSTEER_EINVAL, "prompt", "message %zu has the role \"%.20s\"; it must be user or assistant",
                            i + 1, turn->role == NULL ? "" : turn->role);
    }
    if (turn->content == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "prompt", "message %zu has no content", i + 1);
    }
    return check_text("message", turn->content, err);
}

costeer_err cs_prompt_check(const costeer_prompt *prompt, costeer_error *err)
{
    if (!is_given(prompt->query)) {
        return cs_error_set(err, COSTEER_EINVAL, "prompt", "the query is empty; say what to write");
    }
    costeer_err code = check_text("query", prompt->query, err);
    code = code == COSTEER_OK ? check_text("context", prompt->context, err) : code;
    code = code == COSTEER_OK ? check_text("system message", prompt->system, err) : code;
    code = code == COSTEER_OK ? check_text("context template", prompt->context_template, err) : code;
    code = code == COSTEER_OK ? check_text("query template", prompt->query_template, err) : code;
    code = code == COSTEER_OK ? check_text("chat template", prompt->chat_template, err) : code;
    code = code == COSTEER_OK ? check_text("answer's prefix", prompt->answer_prefix, err) : code;
    for (size_t i = 0; i < prompt->n_turns && code == COSTEER_OK; i++) {
        code = check_turn(&prompt->turns[i], i, err);
    }
    return code;
}

/* ---- the user's first message ------------------------------------------------------------------------------------ */

size_t cs_prompt_first_user(const costeer_prompt *prompt)
{
    size_t i = 0;
    while (i < prompt->n_turns && strcmp(prompt->turns[i].role, "user") != 0) {
        i++;
    }
    return i;
}

static const char context_name[] = "{context}";
static const char query_name[] = "{query}";

/* Copy a template with {query} and, where a context is given, {context} filled in; what is filled in is not looked at again. */
static costeer_err fill_form(const char *form, const char *context, const char *message, cs_buffer *out, costeer_error *err)
{
    bool ok = true;
    while (ok && *form != '\0') {
        size_t n = strcspn(form, "{");
        ok = cs_buffer_append(out, form, n);
        form += n;
        if (context != NULL && strncmp(form, context_name, strlen(context_name)) == 0) {
            ok = ok && cs_buffer_append(out, context, strlen(context));
            form += strlen(context_name);
        } else if (strncmp(form, query_name, strlen(query_name)) == 0) {
            ok = ok && cs_buffer_append(out, message, strlen(message));
            form += strlen(query_name);
        } else if (*form == '{') {
            ok = ok && cs_buffer_append(out, form, 1);
            form++;
        }
    }
    return ok ? COSTEER_OK
              : cs_error_set(err, COSTEER_ETOOLONG, "prompt", "context and query are longer than %zu bytes; shorten them",
                             MESSAGE_BYTES_MAX);
}

costeer_err cs_prompt_fill_message(const costeer_prompt *prompt, const char *message, cs_buffer *out, costeer_error *err)
{
    if (is_given(prompt->context)) {
        const char *form = is_given(prompt->context_template) ? prompt->context_template : "{context}\n\n{query}";
        if (strstr(form, context_name) == NULL || strstr(form, query_name) == NULL) {
            return cs_error_set(err, COSTEER_EINVAL, "prompt", "the context template has no %s; it needs {context} and {query}",
                                strstr(form, context_name) == NULL ? context_name : query_name);
        }
        return fill_form(form, prompt->context, message, out, err);
    }
    if (is_given(prompt->query_template)) {
        if (strstr(prompt->query_template, query_name) == NULL) {
            return cs_error_set(err, COSTEER_EINVAL, "prompt", "the query template has no {query}; it needs one");
        }
        return fill_form(prompt->query_template, NULL, message, out, err);
    }
    return cs_buffer_append(out, message, strlen(message)) ? COSTEER_OK : no_memory(err);
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

/* Copies of all messages, so that they can be changed in place of the caller's. */
typedef struct messages {
    costeer_message *items; /* [n] */
    size_t n;
    size_t first_user;
} messages;

static void dispose_messages(messages *list)
{
    for (size_t i = 0; i < list->n; i++) {
        free((char *)list->items[i].content); /* ours */
    }
    free(list->items);
    *list = (messages){.n = 0};
}

static bool add_message(messages *list, const char *role, const char *content)
{
    char *copy = strdup(content);
    list->items[list->n] = (costeer_message){.role = role, .content = copy};
    list->n += copy != NULL ? 1 : 0;
    return copy != NULL;
}

/* Replace a message's text by `before`, `between` and itself. */
static bool put_before(costeer_message *message, const char *before, const char *between)
{
    cs_buffer text = {.cap = 2 * MESSAGE_BYTES_MAX};
    const bool ok = cs_buffer_append(&text, before, strlen(before)) && cs_buffer_append(&text, between, strlen(between)) &&
                    cs_buffer_append(&text, message->content, strlen(message->content));
    if (ok) {
        free((char *)message->content);
        message->content = text.bytes;
    } else {
        cs_buffer_dispose(&text);
    }
    return ok;
}

/* All messages but the system's, the context in the first of the user. */
static costeer_err list_messages(const costeer_prompt *prompt, messages *out, costeer_error *err)
{
    out->items = calloc(prompt->n_turns + 2, sizeof *out->items); /* one more for a system message */
    out->first_user = cs_prompt_first_user(prompt);
    bool ok = out->items != NULL;
    for (size_t i = 0; ok && i <= prompt->n_turns; i++) {
        const bool is_query = i == prompt->n_turns;
        const char *content = is_query ? prompt->query : prompt->turns[i].content;
        cs_buffer filled = {.cap = MESSAGE_BYTES_MAX};
        if (i == out->first_user) {
            const costeer_err code = cs_prompt_fill_message(prompt, content, &filled, err);
            if (code != COSTEER_OK) {
                cs_buffer_dispose(&filled);
                return code;
            }
            content = filled.bytes != NULL ? filled.bytes : "";
        }
        ok = add_message(out, is_query ? "user" : prompt->turns[i].role, content);
        cs_buffer_dispose(&filled);
    }
    return ok ? COSTEER_OK : no_memory(err);
}

static bool put_system_first(messages *list, const char *system)
{
    memmove(list->items + 1, list->items, list->n * sizeof *list->items);
    list->items[0] = (costeer_message){.role = "system", .content = strdup(system)};
    list->n++;
    return list->items[0].content != NULL;
}

/* ---- the template ------------------------------------------------------------------------------------------------ */

const char *cs_prompt_template_source(const costeer_model *model, const char *wanted)
{
    if (wanted == NULL || *wanted == '\0') {
        return costeer_model_get_info(model)->chat_template;
    }
    const bool is_text = strstr(wanted, "{{") != NULL || strstr(wanted, "{%") != NULL;
    return is_text ? wanted : costeer_chat_template_find(wanted);
}

costeer_err cs_prompt_template_create(const costeer_model *model, const char *source, const char *name, cs_chat_template **out,
                                      costeer_error *err)
{
    const char *bos = cs_model_token_text(model, cs_model_bos_spelling(model));
    const char *eos = cs_model_token_text(model, cs_model_eos_spelling(model));
    return cs_chat_template_create(source, name, bos == NULL ? "" : bos, eos == NULL ? "" : eos, out, err);
}

static costeer_err open_template(const costeer_model *model, const char *wanted, cs_chat_template **out, const char **source,
                                 costeer_error *err)
{
    const costeer_model_info *info = costeer_model_get_info(model);
    const char *name = is_given(wanted) ? "--template" : info->path;
    *source = cs_prompt_template_source(model, wanted);
    *out = NULL;
    if (is_given(wanted) && *source == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "prompt", "\"%.40s\" is no chat template: give raw (none), %s, or a Jinja text",
                            wanted, costeer_chat_template_names());
    }
    if (!is_given(*source)) {
        return cs_error_set(
            err, COSTEER_EMODEL, "prompt",
            "%s: has no chat template; say which one is for this model with --llm-template or --slm-template: raw "
            "(none), or %s",
            info->path, costeer_chat_template_names());
    }
    return cs_prompt_template_create(model, *source, name, out, err);
}

static bool keep_system(cs_prompt_parts *out, costeer_system_source source, const char *text)
{
    out->system_source = source;
    out->system = text == NULL ? NULL : strdup(text);
    return text == NULL || out->system != NULL;
}

/* Put the system message where the template takes it, and note which one the prompt will have. */
static bool place_system(const costeer_prompt *prompt, const cs_chat_traits *traits, messages *list, cs_prompt_parts *out)
{
    if (!is_given(prompt->system)) {
        if (traits->default_system == NULL) {
            return keep_system(out, COSTEER_SYSTEM_NONE, NULL);
        }
        return prompt->no_default_system ? put_system_first(list, "") && keep_system(out, COSTEER_SYSTEM_NONE, NULL)
                                         : keep_system(out, COSTEER_SYSTEM_TEMPLATE, traits->default_system);
    }
    return traits->has_system_role
               ? put_system_first(list, prompt->system) && keep_system(out, COSTEER_SYSTEM_GIVEN, prompt->system)
               : put_before(&list->items[list->first_user], prompt->system, "\n\n") &&
                     keep_system(out, COSTEER_SYSTEM_IN_USER, prompt->system);
}

static costeer_err check_left_out(const cs_prompt_parts *out, const cs_chat_traits *traits, const messages *list,
                                  const char *path, costeer_error *err)
{
    if (list->items[0].content[0] == '\0' && strcmp(list->items[0].role, "system") == 0 &&
        strstr(out->rendering.text, traits->default_system) != NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "prompt",
                            "%s: its chat template cannot leave out its own system message; give another with --system", path);
    }
    return COSTEER_OK;
}

/* ---- rendering --------------------------------------------------------------------------------------------------- */

/* No template: the messages as plain text, an empty line between them. */
static bool render_raw(const costeer_prompt *prompt, const messages *list, cs_prompt_parts *out)
{
    bool ok = keep_system(out, is_given(prompt->system) ? COSTEER_SYSTEM_GIVEN : COSTEER_SYSTEM_NONE, prompt->system);
    for (size_t i = 0; ok && i < list->n; i++) {
        ok = (i == 0 || cs_chat_rendering_append(&out->rendering, "\n\n", 2, true)) &&
             cs_chat_rendering_append(&out->rendering, list->items[i].content, strlen(list->items[i].content), true);
    }
    return ok;
}

static costeer_err render_template(const costeer_model *model, const costeer_prompt *prompt, messages *list, cs_prompt_parts *out,
                                   costeer_error *err)
{
    cs_chat_template *form;
    const char *source;
    costeer_err code = open_template(model, prompt->chat_template, &form, &source, err);
    if (code != COSTEER_OK) {
        return code;
    }
    const cs_chat_traits traits = cs_chat_template_traits(form);
    code = place_system(prompt, &traits, list, out) ? COSTEER_OK : no_memory(err);
    code = code == COSTEER_OK ? cs_prompt_render_apart(model, form, list->items, list->n, prompt->thinking, &out->rendering, err)
                              : code;
    code = code == COSTEER_OK ? check_left_out(out, &traits, list, costeer_model_get_info(model)->path, err) : code;
    if (code == COSTEER_OK && !prompt->thinking && !cs_reasoning_skip(source, &out->rendering)) {
        code = no_memory(err);
    }
    cs_chat_template_free(form);
    return code;
}

costeer_err cs_prompt_parts_make(const costeer_model *model, const costeer_prompt *prompt, cs_prompt_parts *out,
                                 costeer_error *err)
{
    messages list = {.n = 0};
    costeer_err code = cs_prompt_check(prompt, err);
    code = code == COSTEER_OK ? list_messages(prompt, &list, err) : code;
    if (code == COSTEER_OK && prompt->chat_template != NULL && strcmp(prompt->chat_template, "raw") == 0) {
        const bool ok = (!is_given(prompt->system) || put_system_first(&list, prompt->system)) && render_raw(prompt, &list, out);
        code = ok ? COSTEER_OK : no_memory(err);
    } else if (code == COSTEER_OK) {
        code = render_template(model, prompt, &list, out, err);
    }
    const char *prefix = prompt->answer_prefix;
    if (code == COSTEER_OK && is_given(prefix) && !cs_chat_rendering_append(&out->rendering, prefix, strlen(prefix), true)) {
        code = no_memory(err);
    }
    dispose_messages(&list);
    return code;
}

void cs_prompt_parts_dispose(cs_prompt_parts *parts)
{
    cs_chat_rendering_dispose(&parts->rendering);
    free(parts->system);
    *parts = (cs_prompt_parts){.system = NULL};
}

/* ---- for callers ------------------------------------------------------------------------------------------------- */

const char *costeer_system_source_name(costeer_system_source source)
{
    static const char *const names[] = {"none", "given", "in-user", "template"};
    return (size_t)source < sizeof names / sizeof names[0] ? names[source] : "unknown";
}

void costeer_prompt_text_dispose(costeer_prompt_text *text)
{
    if (text != NULL) {
        free(text->text);
        free(text->system);
        *text = (costeer_prompt_text){.text = NULL};
    }
}

costeer_err costeer_prompt_render(const costeer_model *model, const costeer_prompt *prompt, costeer_prompt_text *out,
                                  costeer_error *err)
{
    if (model == NULL || prompt == NULL || out == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "prompt", "model, prompt and out must not be NULL");
    }
    costeer_prompt_text_dispose(out);
    cs_prompt_parts parts = {.system = NULL};
    const costeer_err code = cs_prompt_parts_make(model, prompt, &parts, err);
    if (code == COSTEER_OK) {
        *out = (costeer_prompt_text){.text = parts.rendering.text,
                                     .n_bytes = parts.rendering.n_bytes,
                                     .system_source = parts.system_source,
                                     .system = parts.system};
        parts.rendering.text = NULL;
        parts.system = NULL;
    }
    cs_prompt_parts_dispose(&parts);
    return code;
}
