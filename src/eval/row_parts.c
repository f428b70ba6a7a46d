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

costeer_err cs_row_read_texts(const json_t *list, const char *where, const char *field, char ***out, size_t *n,
                              costeer_error *err)
{
    const size_t n_all = json_array_size(list);
    *out = NULL;
    *n = 0;
    if (!is_there(list)) {
        return COSTEER_OK;
    }
    if (!json_is_array(list) || n_all > COSTEER_EVAL_FACTS_MAX) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "%sfield \"%.60s\" is not a list of at most %d texts", where, field,
                            COSTEER_EVAL_FACTS_MAX);
    }
    *out = calloc(n_all > 0 ? n_all : 1, sizeof(char *));
    if (*out == NULL) {
        return no_memory(err);
    }
    for (size_t i = 0; i < n_all; i++) {
        const json_t *text = json_array_get(list, i);
        if (!json_is_string(text) || json_string_length(text) == 0) {
            return cs_error_set(err, COSTEER_EINVAL, "eval", "%sfield \"%.60s\": its item %zu is not a text", where, field,
                                i + 1);
        }
        (*out)[i] = strdup(json_string_value(text));
        if ((*out)[i] == NULL) {
            return no_memory(err);
        }
        ++*n;
    }
    return COSTEER_OK;
}

void cs_row_free_texts(char **texts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(texts[i]);
    }
    free((void *)texts);
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

static costeer_err read_note(const json_t *value, const char *where, const char *field, const char *context, char **out,
                             costeer_error *err)
{
    const char *note = json_string_value(value);
    if (note == NULL || note[0] == '\0') {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "%sfield \"%.60s\" is not a text", where, field);
    }
    if (strstr(context, note) == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "%sfield \"%.60s\" is not in the context", where, field);
    }
    *out = strdup(note);
    return *out != NULL ? COSTEER_OK : no_memory(err);
}

static costeer_err read_part(const costeer_eval_task *task, const json_t *object, size_t i, const char *context,
                             costeer_eval_part *out, costeer_error *err)
{
    char where[48];
    snprintf(where, sizeof where, "part %zu of \"parts\": ", i + 1);
    costeer_err code = read_note(json_object_get(object, task->record[0]), where, task->record[0], context, &out->note, err);
    code = code == COSTEER_OK ? read_label(json_object_get(object, "label"), where, &out->label, err) : code;
    return code == COSTEER_OK ? cs_row_read_texts(json_object_get(object, task->record[1]), where, task->record[1], &out->strings,
                                                  &out->n_strings, err)
                              : code;
}

static costeer_err read_parts(const costeer_eval_task *task, const json_t *object, costeer_eval_row *out, costeer_error *err)
{
    const json_t *list = json_object_get(object, "parts");
    const char *context = json_string_value(json_object_get(object, "context"));
    const size_t n = json_array_size(list);
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
        code = read_part(task, json_array_get(list, i), i, context != NULL ? context : "", &out->parts[i], err);
    }
    return code;
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
    code = code == COSTEER_OK
               ? cs_row_read_texts(json_object_get(object, "writer"), "", "writer", &out->writer, &out->n_writer, err)
               : code;
    return code == COSTEER_OK
               ? cs_row_read_texts(json_object_get(object, "addressee"), "", "addressee", &out->addressee, &out->n_addressee, err)
               : code;
}

void cs_row_free_labelled(costeer_eval_row *row)
{
    for (size_t i = 0; i < row->n_parts; i++) {
        free(row->parts[i].note);
        cs_row_free_texts(row->parts[i].strings, row->parts[i].n_strings);
    }
    free(row->parts);
    cs_row_free_texts(row->writer, row->n_writer);
    cs_row_free_texts(row->addressee, row->n_addressee);
}
