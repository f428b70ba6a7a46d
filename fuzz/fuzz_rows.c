/*
 * A line of a file of rows (src/eval/row.c), for every task and for a generic one whose fields and template are given: it becomes
 * a whole row, or a message that holds nothing of the line. The seeds' texts begin with a word that no message has.
 */
#include <costeer/eval.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PRIVATE "Zq7"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static _Noreturn void fail(const costeer_eval_form *form, const char *what)
{
    fprintf(stderr, "fuzz_rows: %s: %s\n", form->task->name, what);
    abort();
}

/* The message is what the parts say, and without a beginning of the material it is that much shorter. */
static void check_message(const costeer_eval_form *form, costeer_eval_row *row)
{
    const size_t n_material = strlen(row->material);
    const size_t n_all = strlen(row->head) + n_material + strlen(row->tail);
    for (row->n_cut = 0; row->n_cut <= n_material; row->n_cut += n_material / 2 + 1) {
        char *message = costeer_eval_row_message(row);
        if (message == NULL || strlen(message) + row->n_cut != n_all) {
            fail(form, "a message of another length");
        }
        free(message);
    }
}

static void check_row(const costeer_eval_form *form, costeer_eval_row *row)
{
    if (row->id == NULL || row->id[0] == '\0' || strlen(row->id) > COSTEER_EVAL_ID_MAX || row->query == NULL ||
        row->query[0] == '\0' || row->head == NULL || row->material == NULL || row->tail == NULL ||
        row->n_facts > COSTEER_EVAL_FACTS_MAX) {
        fail(form, "a row that is not whole");
    }
    for (size_t i = 0; i < row->n_facts; i++) {
        if (row->facts[i] == NULL || row->facts[i][0] == '\0') {
            fail(form, "an empty fact");
        }
    }
    for (size_t i = 0; i < row->n_parts; i++) {
        const costeer_eval_part *part = &row->parts[i];
        const size_t n_context = row->context != NULL ? strlen(row->context) : 0;
        if (part->n_bytes == 0 || part->at + part->n_bytes > n_context || part->label > COSTEER_FACT_INAPPROPRIATE) {
            fail(form, "a part that is not in the context");
        }
        for (size_t k = 0; k < part->n_strings; k++) {
            if (part->strings[k][0] == '\0') {
                fail(form, "an empty string");
            }
        }
    }
    check_message(form, row);
}

static void parse(const costeer_eval_form *form, const uint8_t *data, size_t size)
{
    costeer_eval_row row;
    costeer_error err = {.code = COSTEER_OK};
    const costeer_err code = costeer_eval_row_parse(form, (const char *)data, size, 7, &row, &err);
    if (code == COSTEER_OK && row.is_skipped) {
        if (form->split == NULL || row.id == NULL) {
            fail(form, "a row that is skipped for nothing");
        }
    } else if (code == COSTEER_OK) {
        check_row(form, &row);
    } else if ((code != COSTEER_EINVAL && code != COSTEER_EUTF8 && code != COSTEER_ETOOLONG) || err.message[0] == '\0') {
        fail(form, "refused without a reason");
    } else if (strstr(err.message, PRIVATE) != NULL) {
        fail(form, "a message with something of the line");
    }
    costeer_eval_row_dispose(&row);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t n;
    const costeer_eval_task *tasks = costeer_eval_task_list(&n);
    for (size_t i = 0; i < n; i++) {
        costeer_eval_form form = {.task = &tasks[i]};
        if (tasks[i].shape == COSTEER_EVAL_PREFERENCE) {
            form.preference = "concise";
        }
        parse(&form, data, size);
        if (tasks[i].shape == COSTEER_EVAL_LABELLED) {
            form.split = "dev";
            parse(&form, data, size);
        }
        if (tasks[i].shape == COSTEER_EVAL_FIELDS) {
            form.query_field = "input";
            form.context_field = "output";
            form.reference_field = "context";
            form.facts_field = "top_5";
            form.id_field = "index";
            form.context_template = "{{query}{context}{query}{context}{";
            parse(&form, data, size);
        }
    }
    return 0;
}
