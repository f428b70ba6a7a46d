/*
 * The labelled parts of a row, and the names of writer and addressee. As everywhere in a row: nothing is trusted, and messages
 * name fields and places, never what is in them. A part is refused that is not in the context, because what chooses among parts,
 * and what looks for copied ones, would look for it in vain.
 */
#include "eval/row_parts.h"

#include "util/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_there(const json_t *value)
{
    return value != NULL && !json_is_null(value);
}

static costeer_err no_memory(costeer_error *err)
{
    return cs_error_set(err, COSTEER_ENOMEM, "eval", "no memory for a row");
}

/* ---- lists of texts ---------------------------------------------------------------------------------------------- */

/* Texts that go into one block: the pointers first, then the bytes. */
typedef struct text_sizes {
    size_t n;
    size_t n_bytes;
} text_sizes;

/* Check a list and add what it takes. */
static costeer_err measure_texts(const json_t *list, const char *where, const char *field, text_sizes *sizes, costeer_error *err)
{
    const size_t n = json_array_size(list);
    if (is_there(list) && (!json_is_array(list) || n > COSTEER_EVAL_FACTS_MAX)) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "%sfield \"%.60s\" is not a list of at most %d texts", where, field,
                            COSTEER_EVAL_FACTS_MAX);
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *text = json_array_get(list, i);
        if (!json_is_string(text) || json_string_length(text) == 0) {
            return cs_error_set(err, COSTEER_EINVAL, "eval", "%sfield \"%.60s\": its item %zu is not a text", where, field,
                                i + 1);
        }
        sizes->n_bytes += json_string_length(text) + 1;
    }
    sizes->n += n;
    return COSTEER_OK;
}

/* A block, and where its bytes begin; free() it. NULL when memory is out. */
static char **create_block(const text_sizes *sizes, char **bytes)
{
    char **block = malloc(sizes->n * sizeof *block + sizes->n_bytes + 1);
    *bytes = block != NULL ? (char *)(block + sizes->n) : NULL;
    return block;
}

/* Copy a list that was measured to block[0 …]; returns how many. *bytes moves on. */
static size_t copy_texts(const json_t *list, char **block, char **bytes)
{
    const size_t n = json_array_size(list);
    for (size_t i = 0; i < n; i++) {
        const json_t *text = json_array_get(list, i);
        const size_t n_bytes = json_string_length(text) + 1;
        memcpy(*bytes, json_string_value(text), n_bytes);
        block[i] = *bytes;
        *bytes += n_bytes;
    }
    return n;
}

costeer_err cs_row_read_texts(const json_t *list, const char *field, char ***out, size_t *n, costeer_error *err)
{
    text_sizes sizes = {.n = 0};
    char *bytes;
    *out = NULL;
    *n = 0;
    const costeer_err code = measure_texts(list, "", field, &sizes, err);
    if (code != COSTEER_OK || sizes.n == 0) {
        return code;
    }
    *out = create_block(&sizes, &bytes);
    if (*out == NULL) {
        return no_memory(err);
    }
    *n = copy_texts(list, *out, &bytes);
    return COSTEER_OK;
}

/* ---- parts ------------------------------------------------------------------------------------------------------- */

static costeer_err read_label(const json_t *value, const char *where, costeer_fact_label *out, costeer_error *err)
{
    static const char *const names[] = {"needed", "fine", "inappropriate"};
    const char *label = json_string_value(value);
    for (size_t i = 0; label != NULL && i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(label, names[i]) == 0) {
            *out = (costeer_fact_label)i;
            return COSTEER_OK;
        }
    }
    return cs_error_set(err, COSTEER_EINVAL, "eval", "%sfield \"label\" is none of needed, fine and inappropriate", where);
}

static costeer_err read_note(const json_t *value, const char *where, const char *field, const char *context,
                             costeer_eval_part *out, costeer_error *err)
{
    const char *note = json_string_value(value);
    if (note == NULL || note[strspn(note, " \t\r\n")] == '\0') {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "%sfield \"%.60s\" is not a text", where, field);
    }
    const char *found = strstr(context, note);
    if (found == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "%sfield \"%.60s\" is not in the context", where, field);
    }
    out->at = (size_t)(found - context);
    out->n_bytes = strlen(note);
    return COSTEER_OK;
}

/* Read a part but for its strings, which are measured. */
static costeer_err read_part(const costeer_eval_task *task, const json_t *object, size_t i, const char *context,
                             costeer_eval_part *out, text_sizes *sizes, costeer_error *err)
{
    char where[48];
    snprintf(where, sizeof where, "part %zu of \"parts\": ", i + 1);
    costeer_err code = read_note(json_object_get(object, task->record[0]), where, task->record[0], context, out, err);
    code = code == COSTEER_OK ? read_label(json_object_get(object, "label"), where, &out->label, err) : code;
    return code == COSTEER_OK ? measure_texts(json_object_get(object, task->record[1]), where, task->record[1], sizes, err)
                              : code;
}

static costeer_err read_strings(const costeer_eval_task *task, const json_t *list, const text_sizes *sizes, costeer_eval_row *out,
                                costeer_error *err)
{
    char *bytes;
    out->part_strings = create_block(sizes, &bytes);
    if (out->part_strings == NULL) {
        return no_memory(err);
    }
    char **next = out->part_strings;
    for (size_t i = 0; i < out->n_parts; i++) {
        out->parts[i].strings = (const char *const *)next;
        out->parts[i].n_strings = copy_texts(json_object_get(json_array_get(list, i), task->record[1]), next, &bytes);
        next += out->parts[i].n_strings;
    }
    return COSTEER_OK;
}

static costeer_err read_parts(const costeer_eval_task *task, const json_t *object, costeer_eval_row *out, costeer_error *err)
{
    const json_t *list = json_object_get(object, "parts");
    const char *context = json_string_value(json_object_get(object, "context"));
    const size_t n = json_array_size(list);
    text_sizes sizes = {.n = 0};
    if (n == 0 || n > COSTEER_EVAL_FACTS_MAX) {
        const char *what = json_is_array(list) ? "has not 1 to 1024 parts" : (is_there(list) ? "is not a list" : "is missing");
        return cs_error_set(err, COSTEER_EINVAL, "eval", "field \"parts\" %s", what);
    }
    out->parts = calloc(n, sizeof out->parts[0]);
    if (out->parts == NULL) {
        return no_memory(err);
    }
    out->n_parts = n;
    costeer_err code = COSTEER_OK;
    for (size_t i = 0; i < n && code == COSTEER_OK; i++) {
        code = read_part(task, json_array_get(list, i), i, context != NULL ? context : "", &out->parts[i], &sizes, err);
    }
    return code == COSTEER_OK ? read_strings(task, list, &sizes, out, err) : code;
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

static costeer_err read_split(const costeer_eval_form *form, const json_t *object, bool *is_skipped, costeer_error *err)
{
    const char *split = json_string_value(json_object_get(object, "split"));
    if (form->split != NULL && split == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "field \"split\" is missing, and only one split is asked for");
    }
    *is_skipped = form->split != NULL && strcmp(form->split, split) != 0;
    return COSTEER_OK;
}

costeer_err cs_row_read_labelled(const costeer_eval_form *form, const json_t *object, costeer_eval_row *out, costeer_error *err)
{
    costeer_err code = read_split(form, object, &out->is_skipped, err);
    if (code != COSTEER_OK || out->is_skipped) {
        return code;
    }
    code = read_parts(form->task, object, out, err);
    code = code == COSTEER_OK ? cs_row_read_texts(json_object_get(object, "writer"), "writer", &out->writer, &out->n_writer, err)
                              : code;
    return code == COSTEER_OK
               ? cs_row_read_texts(json_object_get(object, "addressee"), "addressee", &out->addressee, &out->n_addressee, err)
               : code;
}

void cs_row_free_labelled(costeer_eval_row *row)
{
    free(row->parts);
    free((void *)row->part_strings);
    free((void *)row->writer);
    free((void *)row->addressee);
}
