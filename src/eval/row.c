/*
 * One line of a file of rows, made a query and the prompt that has the context. Pure: text in, texts out.
 *
 * Nothing of the line is trusted: jansson bounds the depth and checks the UTF-8, sizes and types are checked here. Messages name
 * fields and sizes, never what stands in them.
 */
#include "eval/row_parts.h"
#include "util/buffer.h"
#include "util/error.h"

#include <costeer/eval.h>
#include <inttypes.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Records of the author in a prompt, as published. */
#define RECORDS_MAX 5

/* A template may name the context more than once: what comes of it is bounded like a prompt. */
#define MESSAGE_BYTES_MAX ((size_t)64 << 20)

static const char handover[] = "Now it's your turn.\n\n";

static costeer_err no_memory(costeer_error *err)
{
    return cs_error_set(err, COSTEER_ENOMEM, "eval", "no memory for a row");
}

static costeer_err keep(char **out, const char *text, size_t n_bytes, costeer_error *err)
{
    *out = strndup(text, n_bytes);
    return *out != NULL ? COSTEER_OK : no_memory(err);
}

/* ---- fields ------------------------------------------------------------------------------------------------------ */

static bool is_there(const json_t *value)
{
    return value != NULL && !json_is_null(value);
}

static costeer_err get_text(const json_t *object, const char *field, const char *where, const char **out, costeer_error *err)
{
    const json_t *value = json_object_get(object, field);
    if (!is_there(value)) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "%sfield \"%.60s\" is missing", where, field);
    }
    if (!json_is_string(value)) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "%sfield \"%.60s\" is not a text", where, field);
    }
    *out = json_string_value(value);
    return COSTEER_OK;
}

static bool is_blank(const char *text)
{
    return text[strspn(text, " \t\r\n")] == '\0';
}

static costeer_err get_full_text(const json_t *object, const char *field, const char **out, costeer_error *err)
{
    const costeer_err code = get_text(object, field, "", out, err);
    if (code != COSTEER_OK) {
        return code;
    }
    if (is_blank(*out)) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "field \"%.60s\" is empty", field);
    }
    return COSTEER_OK;
}

static costeer_err read_id(const json_t *object, const char *field, costeer_eval_row *out, costeer_error *err)
{
    const json_t *value = json_object_get(object, field);
    char number[40];
    const char *id = number;
    if (json_is_string(value)) {
        id = json_string_value(value);
    } else if (json_is_integer(value)) {
        snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    } else if (json_is_real(value)) {
        snprintf(number, sizeof number, "%.17g", json_real_value(value));
    } else {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "field \"%.60s\", the row's id, is neither a text nor a number", field);
    }
    const size_t n = strlen(id);
    if (n == 0 || n > COSTEER_EVAL_ID_MAX) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "the row's id has %zu bytes; 1 to %d are allowed", n,
                            COSTEER_EVAL_ID_MAX);
    }
    return keep(&out->id, id, n, err);
}

/* The first of the published fields that is there, else the number of the line. */
static costeer_err find_id(const costeer_eval_form *form, const json_t *object, costeer_eval_row *out, costeer_error *err)
{
    static const char *const published[] = {"id", "tid", "index"};
    if (form->id_field != NULL) {
        return read_id(object, form->id_field, out, err);
    }
    for (size_t i = 0; i < sizeof published / sizeof published[0]; i++) {
        if (is_there(json_object_get(object, published[i]))) {
            return read_id(object, published[i], out, err);
        }
    }
    char number[24];
    const int n = snprintf(number, sizeof number, "%" PRId64, out->line);
    return keep(&out->id, number, (size_t)n, err);
}

static costeer_err read_reference(const json_t *object, const char *field, costeer_eval_row *out, costeer_error *err)
{
    const json_t *value = json_object_get(object, field);
    if (!is_there(value)) {
        return COSTEER_OK;
    }
    if (!json_is_string(value)) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "field \"%.60s\" is not a text", field);
    }
    return keep(&out->reference, json_string_value(value), json_string_length(value), err);
}

/* ---- shapes ------------------------------------------------------------------------------------------------------ */

/* The texts that become a prompt, while they are put together. */
typedef struct parts {
    cs_buffer head;
    cs_buffer material;
    cs_buffer tail;
    cs_buffer context;
    bool is_full; /* something was left out because it had no room */
} parts;

static void add(parts *p, cs_buffer *buffer, const char *text, size_t n_bytes)
{
    buffer->cap = MESSAGE_BYTES_MAX;
    p->is_full |= !cs_buffer_append(buffer, text, n_bytes);
}

static void add_text(parts *p, cs_buffer *buffer, const char *text)
{
    add(p, buffer, text, strlen(text));
}

static void reverse(const char *text, size_t n, char *out)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = text[n - 1 - i];
    }
    out[n] = '\0';
}

/* The last place of one text in another, −1: none. strstr() is linear, and searching reversed texts forwards stays so. */
static costeer_err find_last(const char *text, const char *what, ptrdiff_t *out, costeer_error *err)
{
    const size_t n_text = strlen(text);
    const size_t n = strlen(what);
    char *backwards = malloc(n_text + n + 2);
    if (backwards == NULL) {
        return no_memory(err);
    }
    char *wanted = backwards + n_text + 1;
    reverse(text, n_text, backwards);
    reverse(what, n, wanted);
    const char *found = strstr(backwards, wanted);
    *out = found != NULL ? (ptrdiff_t)(n_text - n) - (found - backwards) : -1;
    free(backwards);
    return COSTEER_OK;
}

/* What stands before the query is the material, oldest first; where the query is not in it, all of it is. */
static costeer_err make_paired(const json_t *object, const char *query, parts *p, costeer_error *err)
{
    const char *personal = NULL;
    ptrdiff_t at = -1;
    costeer_err code = get_full_text(object, "personalized_input", &personal, err);
    code = code == COSTEER_OK ? find_last(personal, query, &at, err) : code;
    if (code != COSTEER_OK) {
        return code;
    }
    const size_t n_before = at >= 0 ? (size_t)at : strlen(personal);
    add(p, &p->material, personal, n_before);
    add_text(p, &p->tail, personal + n_before);
    add(p, &p->context, personal, n_before);
    add_text(p, &p->context, at >= 0 ? personal + n_before + strlen(query) : "");
    return COSTEER_OK;
}

static void add_field(parts *p, const char *name, size_t number, const char *text)
{
    char label[48];
    snprintf(label, sizeof label, "%s[%zu]: ", name, number);
    add_text(p, &p->material, label);
    add_text(p, &p->material, text);
    add_text(p, &p->material, "\n");
    add_text(p, &p->context, text);
    add_text(p, &p->context, "\n");
}

static costeer_err make_records(const costeer_eval_task *task, const json_t *object, const char *query, parts *p,
                                costeer_error *err)
{
    const json_t *list = json_object_get(object, "top_5");
    const size_t n_all = json_array_size(list);
    const size_t n = n_all < RECORDS_MAX ? n_all : RECORDS_MAX;
    if (n == 0) {
        const char *what = json_is_array(list) ? "empty" : (is_there(list) ? "not a list of records" : "missing");
        return cs_error_set(err, COSTEER_EINVAL, "eval", "field \"top_5\" is %s", what);
    }
    add_text(p, &p->head, task->heading);
    add_text(p, &p->head, "\n");
    for (size_t i = 0; i < n; i++) {
        char where[40];
        snprintf(where, sizeof where, "record %zu of \"top_5\": ", i + 1);
        for (size_t f = 0; f < 2; f++) {
            const char *text = NULL;
            const costeer_err code = get_text(json_array_get(list, i), task->record[f], where, &text, err);
            if (code != COSTEER_OK) {
                return code;
            }
            add_field(p, task->record_as[f], i + 1, text);
        }
        add_text(p, &p->material, "\n");
    }
    add_text(p, &p->tail, handover);
    add_text(p, &p->tail, query);
    return COSTEER_OK;
}

static void make_preference(const char *preference, const char *query, parts *p)
{
    add_text(p, &p->head, query);
    add_text(p, &p->tail, "\n\nYour answer should be as ");
    add_text(p, &p->tail, preference);
    add_text(p, &p->tail, " as possible.");
}

/* The template up to its first {context} is the head, what follows that the tail; as in core/prompt.c, what is filled in is not
 * looked at again. */
static costeer_err make_fields(const costeer_eval_form *form, const json_t *object, const char *query, parts *p,
                               costeer_error *err)
{
    static const char context_name[] = "{context}";
    static const char query_name[] = "{query}";
    const char *context = NULL;
    const costeer_err code = get_text(object, form->context_field != NULL ? form->context_field : "context", "", &context, err);
    if (code != COSTEER_OK) {
        return code;
    }
    if (is_blank(context)) { /* as generate without a context */
        add_text(p, &p->head, query);
        return COSTEER_OK;
    }
    cs_buffer *to = &p->head;
    const char *at = form->context_template != NULL ? form->context_template : "{context}\n\n{query}";
    while (*at != '\0') {
        const size_t n = strcspn(at, "{");
        add(p, to, at, n);
        at += n;
        if (strncmp(at, context_name, strlen(context_name)) == 0) {
            add_text(p, to == &p->head ? &p->material : to, context);
            to = &p->tail;
            at += strlen(context_name);
        } else if (strncmp(at, query_name, strlen(query_name)) == 0) {
            add_text(p, to, query);
            at += strlen(query_name);
        } else if (*at == '{') {
            add(p, to, at, 1);
            at++;
        }
    }
    add_text(p, &p->context, context);
    return COSTEER_OK;
}

static costeer_err make_parts(const costeer_eval_form *form, const json_t *object, const char *query, parts *p,
                              costeer_error *err)
{
    switch (form->task->shape) {
    case COSTEER_EVAL_PAIRED:
        return make_paired(object, query, p, err);
    case COSTEER_EVAL_RECORDS:
        return make_records(form->task, object, query, p, err);
    case COSTEER_EVAL_PREFERENCE:
        make_preference(form->preference, query, p);
        return COSTEER_OK;
    case COSTEER_EVAL_FIELDS:
    case COSTEER_EVAL_LABELLED:
        break;
    }
    return make_fields(form, object, query, p, err);
}

/* ---- the row ----------------------------------------------------------------------------------------------------- */

static costeer_err find_query(const costeer_eval_form *form, const json_t *object, const char **out, costeer_error *err)
{
    if (form->task->shape == COSTEER_EVAL_FIELDS || form->task->shape == COSTEER_EVAL_LABELLED) {
        return get_full_text(object, form->query_field != NULL ? form->query_field : "query", out, err);
    }
    const bool is_old = form->task->shape == COSTEER_EVAL_PREFERENCE && !is_there(json_object_get(object, "input")) &&
                        is_there(json_object_get(object, "question"));
    return get_full_text(object, is_old ? "question" : "input", out, err);
}

static char *take(cs_buffer *buffer)
{
    char *text = buffer->bytes != NULL ? buffer->bytes : strdup("");
    *buffer = (cs_buffer){0};
    return text;
}

static costeer_err set_prompts(const costeer_eval_form *form, const json_t *object, const char *query, costeer_eval_row *out,
                               costeer_error *err)
{
    parts p = {.is_full = false};
    costeer_err code = make_parts(form, object, query, &p, err);
    if (code == COSTEER_OK && p.is_full) {
        code = cs_error_set(err, COSTEER_ETOOLONG, "eval", "the prompt has more than %zu bytes", MESSAGE_BYTES_MAX);
    }
    if (code == COSTEER_OK) {
        out->context = p.context.bytes != NULL ? take(&p.context) : NULL;
        out->head = take(&p.head);
        out->material = take(&p.material);
        out->tail = take(&p.tail);
        code = out->head != NULL && out->material != NULL && out->tail != NULL ? COSTEER_OK : no_memory(err);
    }
    cs_buffer_dispose(&p.head);
    cs_buffer_dispose(&p.material);
    cs_buffer_dispose(&p.tail);
    cs_buffer_dispose(&p.context);
    return code;
}

static costeer_err read_row(const costeer_eval_form *form, const json_t *object, costeer_eval_row *out, costeer_error *err)
{
    const bool is_free = form->task->shape == COSTEER_EVAL_FIELDS;
    const char *query = "";
    costeer_err code = find_id(form, object, out, err);
    if (code == COSTEER_OK && form->task->shape == COSTEER_EVAL_LABELLED) {
        code = cs_row_read_labelled(form, object, out, err);
    }
    if (out->is_skipped) {
        return code;
    }
    code = code == COSTEER_OK ? find_query(form, object, &query, err) : code;
    code = code == COSTEER_OK ? keep(&out->query, query, strlen(query), err) : code;
    code = code == COSTEER_OK ? set_prompts(form, object, query, out, err) : code;
    if (code == COSTEER_OK && form->task->shape != COSTEER_EVAL_PREFERENCE) {
        code = read_reference(object, is_free && form->reference_field != NULL ? form->reference_field : "output", out, err);
    }
    if (code == COSTEER_OK && is_free) {
        const char *field = form->facts_field != NULL ? form->facts_field : "facts";
        code = cs_row_read_texts(json_object_get(object, field), field, &out->facts, &out->n_facts, err);
    }
    return code;
}

/* jansson's own text of an error quotes the line, so only the place is told. */
static costeer_err explain(const json_error_t *error, costeer_error *err)
{
    switch (json_error_code(error)) {
    case json_error_invalid_utf8:
        return cs_error_set(err, COSTEER_EUTF8, "eval", "not UTF-8 at byte %d", error->position);
    case json_error_out_of_memory:
        return no_memory(err);
    case json_error_duplicate_key:
        return cs_error_set(err, COSTEER_EINVAL, "eval", "a field stands there twice, at byte %d", error->position);
    case json_error_null_character:
        return cs_error_set(err, COSTEER_EINVAL, "eval", "a text has a NUL in it, at byte %d", error->position);
    default:
        return cs_error_set(err, COSTEER_EINVAL, "eval", "not JSON at byte %d", error->position);
    }
}

costeer_err costeer_eval_row_parse(const costeer_eval_form *form, const char *text, size_t n_bytes, int64_t line,
                                   costeer_eval_row *out, costeer_error *err)
{
    if (form == NULL || form->task == NULL || text == NULL || out == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "form, text and out must not be NULL");
    }
    *out = (costeer_eval_row){.line = line};
    if (n_bytes > COSTEER_EVAL_LINE_MAX) {
        return cs_error_set(err, COSTEER_ETOOLONG, "eval", "the line has %zu bytes; at most %zu MiB are read", n_bytes,
                            COSTEER_EVAL_LINE_MAX >> 20);
    }
    json_error_t error;
    json_t *object = json_loadb(text, n_bytes, JSON_REJECT_DUPLICATES, &error);
    if (object == NULL) {
        return explain(&error, err);
    }
    const costeer_err code = json_is_object(object)
                                 ? read_row(form, object, out, err)
                                 : cs_error_set(err, COSTEER_EINVAL, "eval", "the line is JSON, but no object");
    json_decref(object);
    return code;
}

void costeer_eval_row_dispose(costeer_eval_row *row)
{
    char *const texts[] = {row->id, row->query, row->head, row->material, row->tail, row->context, row->reference, row->chosen};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        free(texts[i]);
    }
    free((void *)row->facts);
    free(row->is_chosen);
    cs_row_free_labelled(row);
    *row = (costeer_eval_row){.line = 0};
}

/* One text of three. malloc'ed. */
static char *join_texts(const char *const texts[3])
{
    size_t n[3];
    size_t n_all = 0;
    for (size_t i = 0; i < 3; i++) {
        n[i] = strlen(texts[i]);
        n_all += n[i];
    }
    char *joined = malloc(n_all + 1);
    char *at = joined;
    for (size_t i = 0; joined != NULL && i < 3; i++) {
        memcpy(at, texts[i], n[i]);
        at += n[i];
    }
    if (joined != NULL) {
        *at = '\0';
    }
    return joined;
}

char *costeer_eval_row_message(const costeer_eval_row *row)
{
    return join_texts((const char *const[3]){row->head, row->material + row->n_cut, row->tail});
}

char *costeer_eval_row_chosen_message(const costeer_eval_row *row)
{
    if (row->chosen == NULL) {
        return costeer_eval_row_message(row);
    }
    return row->chosen[0] == '\0' ? strdup(row->query) : join_texts((const char *const[3]){row->head, row->chosen, row->tail});
}

costeer_err costeer_eval_row_choose(costeer_eval_row *row, const char *text, size_t n_used, size_t n_left, const bool *is_chosen,
                                    costeer_error *err)
{
    if (row->context == NULL || strcmp(row->material, row->context) != 0 || row->n_cut > 0) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "line %lld: its context is not one text to choose from",
                            (long long)row->line);
    }
    if (row->context[0] != '\0' && strstr(row->tail, row->context) != NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "line %lld: the template has {context} more than once",
                            (long long)row->line);
    }
    char *chosen = strdup(text);
    bool *kept = is_chosen != NULL && row->n_parts > 0 ? calloc(row->n_parts, sizeof *kept) : NULL;
    if (chosen == NULL || (kept == NULL && is_chosen != NULL && row->n_parts > 0)) {
        free(chosen);
        free(kept);
        return no_memory(err);
    }
    if (kept != NULL) {
        memcpy(kept, is_chosen, row->n_parts * sizeof *kept);
    }
    free(row->chosen);
    free(row->is_chosen);
    row->chosen = chosen;
    row->is_chosen = kept;
    row->n_used = n_used;
    row->n_left = n_left;
    return COSTEER_OK;
}

bool costeer_eval_hash(const void *bytes, size_t n_bytes, char hex[65])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    hex[0] = '\0';
    if (EVP_Digest(bytes, n_bytes, digest, &n, EVP_sha256(), NULL) != 1 || n != 32) {
        return false;
    }
    for (unsigned int i = 0; i < n; i++) {
        snprintf(hex + (size_t)2 * i, 3, "%02x", (unsigned)digest[i]);
    }
    return true;
}
