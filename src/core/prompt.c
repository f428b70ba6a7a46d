/*
 * Prompts: user message, chat template, tokens.
 *
 * A rendered prompt is tokenized in one go, exactly as llama.cpp's own programs do, unless the text inside it spells a special
 * token: then the template's own parts are read with their special tokens and the text without, so that a pasted "<|im_end|>"
 * cannot end the user's turn. What is text and what is template is found by rendering the template around marks that no text can
 * hold.
 */
#include "core/prompt_internal.h"

#include "core/model_internal.h"
#include "util/error.h"
#include "util/utf8.h"

#include <stdlib.h>
#include <string.h>

/* costeer_model_tokenize() takes no more either. */
#define MESSAGE_BYTES_MAX CS_PROMPT_MESSAGE_BYTES_MAX

/* Stand-ins for the messages. A template may trim blanks at the ends, so they have none; users cannot mean these control bytes.
 */
static const char system_mark[] = "\x01\x02system\x03\x01";
static const char user_mark[] = "\x01\x02user\x03\x01";

static bool is_given(const char *text)
{
    return text != NULL && *text != '\0';
}

static costeer_err no_memory(costeer_error *err)
{
    return cs_error_set(err, COSTEER_ENOMEM, "prompt", "no memory for the prompt");
}

/* ---- the user message -------------------------------------------------------------------------------------------- */

static costeer_err check_text(const char *what, const char *text, costeer_error *err)
{
    size_t offset;
    if (text != NULL && !cs_utf8_check(text, strlen(text), &offset)) {
        return cs_error_set(err, COSTEER_EUTF8, "prompt", "the %s is not UTF-8 at byte %zu; convert it to UTF-8", what, offset);
    }
    return COSTEER_OK;
}

/* Copy the template with {context} and {query} filled in; what is filled in is not looked at again. */
static costeer_err fill_message(const char *form, const costeer_prompt *prompt, cs_buffer *out, costeer_error *err)
{
    static const char context_name[] = "{context}";
    static const char query_name[] = "{query}";
    if (strstr(form, context_name) == NULL || strstr(form, query_name) == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "prompt", "the context template has no %s; it needs {context} and {query}",
                            strstr(form, context_name) == NULL ? context_name : query_name);
    }
    bool ok = true;
    while (ok && *form != '\0') {
        size_t n = strcspn(form, "{");
        ok = cs_buffer_append(out, form, n);
        form += n;
        if (strncmp(form, context_name, strlen(context_name)) == 0) {
            ok = ok && cs_buffer_append(out, prompt->context, strlen(prompt->context));
            form += strlen(context_name);
        } else if (strncmp(form, query_name, strlen(query_name)) == 0) {
            ok = ok && cs_buffer_append(out, prompt->query, strlen(prompt->query));
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

costeer_err cs_prompt_render_message(const costeer_prompt *prompt, cs_buffer *out, costeer_error *err)
{
    if (!is_given(prompt->query)) {
        return cs_error_set(err, COSTEER_EINVAL, "prompt", "the query is empty; say what to write");
    }
    costeer_err code = check_text("query", prompt->query, err);
    code = code == COSTEER_OK ? check_text("context", prompt->context, err) : code;
    code = code == COSTEER_OK ? check_text("system message", prompt->system, err) : code;
    code = code == COSTEER_OK ? check_text("context template", prompt->context_template, err) : code;
    if (code != COSTEER_OK) {
        return code;
    }
    if (is_given(prompt->context)) {
        const char *form = is_given(prompt->context_template) ? prompt->context_template : "{context}\n\n{query}";
        return fill_message(form, prompt, out, err);
    }
    return cs_buffer_append(out, prompt->query, strlen(prompt->query)) ? COSTEER_OK : no_memory(err);
}

/* ---- the chat template ------------------------------------------------------------------------------------------- */

/* The rendered prompt as alternating parts: template, system message, template, user message, template. */
typedef struct rendered {
    char *text;
    size_t start[5];
    size_t n_bytes[5];
} rendered;

static costeer_err pick_template(const costeer_model *model, const char *wanted, const char **out, costeer_error *err)
{
    *out = wanted;
    if (is_given(wanted)) {
        return cs_model_knows_template(wanted)
                   ? COSTEER_OK
                   : cs_error_set(err, COSTEER_EINVAL, "prompt",
                                  "\"%.40s\" is no chat template that llama.cpp knows; use \"raw\" for none, "
                                  "or for example \"chatml\"",
                                  wanted);
    }
    const costeer_model_info *info = costeer_model_get_info(model);
    *out = info->chat_template;
    return is_given(*out)
               ? COSTEER_OK
               : cs_error_set(err, COSTEER_EMODEL, "prompt",
                              "%s: has no chat template; use --template raw, or name one (--template chatml)", info->path);
}

static costeer_err render(const costeer_model *model, const char *form, const char *system, const char *user, char **out,
                          costeer_error *err)
{
    const costeer_err code = cs_model_render_chat(form, system, user, out);
    if (code == COSTEER_EMODEL) {
        return cs_error_set(err, code, "prompt",
                            "%s: has a chat template that llama.cpp's C library does not know; use --template raw, or name one "
                            "(--template chatml)",
                            costeer_model_get_info(model)->path);
    }
    return code == COSTEER_OK ? code : no_memory(err);
}

/* Find a literal part of the template at *at and step over it. */
static bool match_literal(rendered *out, int part, const char *literal, size_t n, size_t *at)
{
    if (strncmp(out->text + *at, literal, n) != 0) {
        return false;
    }
    out->start[part] = *at;
    out->n_bytes[part] = n;
    *at += n;
    return true;
}

/* Blanks that a template's trim() takes away. */
static const char *skip_blanks(const char *text)
{
    return text + strspn(text, " \t\n\v\f\r");
}

static size_t length_without_blanks(const char *text)
{
    size_t n = strlen(text);
    while (n > 0 && strchr(" \t\n\v\f\r", text[n - 1]) != NULL) {
        n--;
    }
    return n;
}

/* Find a message, as it is or trimmed, at *at. */
static bool match_message(rendered *out, int part, const char *message, size_t *at)
{
    const char *trimmed = skip_blanks(message);
    const size_t lengths[2] = {strlen(message), length_without_blanks(trimmed)};
    const char *candidates[2] = {message, trimmed};
    for (int i = 0; i < 2; i++) {
        if (strncmp(out->text + *at, candidates[i], lengths[i]) == 0) {
            out->start[part] = *at;
            out->n_bytes[part] = lengths[i];
            *at += lengths[i];
            return true;
        }
    }
    return false;
}

/* Tell the template's parts from the messages', by a rendering of the same template around marks. */
static bool split_rendered(rendered *out, const char *marked, const char *system, const char *user)
{
    size_t at = 0;
    const char *rest = marked;
    const char *const marks[2] = {system_mark, user_mark};
    const char *const messages[2] = {system, user};
    for (int i = 0; i < 2; i++) {
        if (messages[i] == NULL) {
            continue;
        }
        const char *mark = strstr(rest, marks[i]);
        if (mark == NULL) {
            return false;
        }
        if (!match_literal(out, 2 * i, rest, (size_t)(mark - rest), &at) || !match_message(out, 2 * i + 1, messages[i], &at)) {
            return false;
        }
        rest = mark + strlen(marks[i]);
    }
    return match_literal(out, 4, rest, strlen(rest), &at) && out->text[at] == '\0';
}

/* ---- tokens ------------------------------------------------------------------------------------------------------ */

void costeer_tokens_dispose(costeer_tokens *tokens)
{
    if (tokens != NULL) {
        free(tokens->ids);
        *tokens = (costeer_tokens){0};
    }
}

bool cs_tokens_reserve(costeer_tokens *tokens, size_t n)
{
    if (n <= tokens->capacity) {
        return true;
    }
    int32_t *grown = realloc(tokens->ids, n * sizeof *grown);
    if (grown == NULL) {
        return false;
    }
    tokens->ids = grown;
    tokens->capacity = n;
    return true;
}

static costeer_err append_tokens(costeer_tokens *out, const costeer_tokens *more, costeer_error *err)
{
    if (out->n + more->n > out->capacity && !cs_tokens_reserve(out, 2 * (out->n + more->n))) {
        return no_memory(err);
    }
    if (more->n > 0) {
        memcpy(out->ids + out->n, more->ids, more->n * sizeof *more->ids);
        out->n += more->n;
    }
    return COSTEER_OK;
}

static costeer_err append_text(const costeer_model *model, const char *text, size_t n, bool parse_special, costeer_tokens *out,
                               costeer_error *err)
{
    costeer_tokens part = {0};
    costeer_err code = n == 0 ? COSTEER_OK : costeer_model_tokenize(model, text, n, false, parse_special, &part, err);
    code = code == COSTEER_OK ? append_tokens(out, &part, err) : code;
    costeer_tokens_dispose(&part);
    return code;
}

/*
 * Append a message that spells special tokens. llama.cpp's parse_special = false reads control tokens as text but still reads
 * user-defined ones, and some converters mark the turn markers as those: the ones that the template uses are cut in two.
 */
static costeer_err append_message(const costeer_model *model, const char *marked, const char *text, size_t n, costeer_tokens *out,
                                  costeer_error *err)
{
    size_t begin = 0;
    size_t from = 0;
    size_t at;
    int32_t token;
    while (from < n && cs_model_find_special(model, text + from, n - from, &at, &token)) {
        const char *spelling = cs_model_token_text(model, token);
        from += at + 1;
        if (cs_model_is_always_parsed(model, token) && strstr(marked, spelling) != NULL) {
            const costeer_err code = append_text(model, text + begin, from - begin, false, out, err);
            if (code != COSTEER_OK) {
                return code;
            }
            begin = from;
        }
    }
    return append_text(model, text + begin, n - begin, false, out, err);
}

/* True when a message spells a token that could be taken for the template's: a control token, or one that the template uses. */
static bool spells_special(const costeer_model *model, const char *marked, const char *text)
{
    const size_t n = text == NULL ? 0 : strlen(text);
    size_t from = 0;
    size_t at;
    int32_t token;
    while (from < n && cs_model_find_special(model, text + from, n - from, &at, &token)) {
        if (!cs_model_is_always_parsed(model, token) || strstr(marked, cs_model_token_text(model, token)) != NULL) {
            return true;
        }
        from += at + 1;
    }
    return false;
}

/* Put BOS at the front where the model wants it and the template did not write it. */
static costeer_err add_bos(const costeer_model *model, costeer_tokens *out, costeer_error *err)
{
    int32_t bos = cs_model_bos(model);
    if (bos < 0 || (out->n > 0 && out->ids[0] == bos)) {
        return COSTEER_OK;
    }
    const costeer_tokens one = {.ids = &bos, .n = 1};
    const costeer_err code = append_tokens(out, &one, err);
    if (code == COSTEER_OK) {
        memmove(out->ids + 1, out->ids, (out->n - 1) * sizeof *out->ids);
        out->ids[0] = bos;
    }
    return code;
}

static costeer_err build_from_template(const costeer_model *model, const costeer_prompt *prompt, const char *user,
                                       costeer_tokens *out, costeer_error *err)
{
    const char *system = is_given(prompt->system) ? prompt->system : NULL;
    rendered whole = {0};
    char *marked = NULL;
    const char *form;
    costeer_err code = pick_template(model, prompt->chat_template, &form, err);
    code = code == COSTEER_OK ? render(model, form, system, user, &whole.text, err) : code;
    code = code == COSTEER_OK ? render(model, form, system == NULL ? NULL : system_mark, user_mark, &marked, err) : code;
    if (code != COSTEER_OK) {
        goto out;
    }
    if (!spells_special(model, marked, user) && !spells_special(model, marked, system)) {
        code = append_text(model, whole.text, strlen(whole.text), true, out, err);
        goto out;
    }
    if (!split_rendered(&whole, marked, system, user)) {
        code =
            cs_error_set(err, COSTEER_EINVAL, "prompt",
                         "the text spells a special token of the model, which its chat template does not keep apart; remove it");
        goto out;
    }
    for (int part = 0; part < 5 && code == COSTEER_OK; part++) {
        const char *text = whole.text + whole.start[part];
        code = part % 2 == 0 ? append_text(model, text, whole.n_bytes[part], true, out, err)
                             : append_message(model, marked, text, whole.n_bytes[part], out, err);
    }
out:
    free(whole.text);
    free(marked);
    return code;
}

/* No template: the system message, if any, and the user message, as plain text. */
static costeer_err build_raw(const costeer_model *model, const costeer_prompt *prompt, const cs_buffer *user, costeer_tokens *out,
                             costeer_error *err)
{
    if (!is_given(prompt->system)) {
        return append_text(model, user->bytes, user->n_bytes, false, out, err);
    }
    cs_buffer text = {.cap = MESSAGE_BYTES_MAX};
    costeer_err code = COSTEER_OK;
    if (!cs_buffer_append(&text, prompt->system, strlen(prompt->system)) || !cs_buffer_append(&text, "\n\n", 2) ||
        !cs_buffer_append(&text, user->bytes, user->n_bytes)) {
        code = no_memory(err);
    }
    code = code == COSTEER_OK ? append_text(model, text.bytes, text.n_bytes, false, out, err) : code;
    cs_buffer_dispose(&text);
    return code;
}

costeer_err costeer_prompt_build(const costeer_model *model, const costeer_prompt *prompt, costeer_tokens *out,
                                 costeer_error *err)
{
    if (model == NULL || prompt == NULL || out == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "prompt", "model, prompt and out must not be NULL");
    }
    out->n = 0;
    cs_buffer user = {.cap = MESSAGE_BYTES_MAX};
    costeer_err code = cs_prompt_render_message(prompt, &user, err);
    if (code == COSTEER_OK && prompt->chat_template != NULL && strcmp(prompt->chat_template, "raw") == 0) {
        code = build_raw(model, prompt, &user, out, err);
    } else if (code == COSTEER_OK) {
        code = build_from_template(model, prompt, user.bytes, out, err);
    }
    code = code == COSTEER_OK ? add_bos(model, out, err) : code;
    cs_buffer_dispose(&user);
    return code;
}
