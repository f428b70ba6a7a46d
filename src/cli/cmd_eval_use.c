/*
 * eval --use: the parts of each row's context that the methods are given, chosen on this device before the first answer. A choice
 * takes as long as an answer, so each is written to DIR/chosen.jsonl when it is made, and a run that goes on reads it there.
 */
#include "cli/cmd_eval.h"
#include "cli/json.h"
#include "cli/message.h"
#include "cli/signals.h"

#include <costeer/select.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES 4096

static bool is_use(const cs_eval_settings *s, const char *what)
{
    return strcmp(s->use, what) == 0;
}

int cs_eval_use_check(const cs_eval_settings *s)
{
    const costeer_eval_task *task = s->task != NULL ? costeer_eval_task_find(s->task) : NULL;
    if (is_use(s, "all")) {
        return s->common.selector != NULL
                   ? cs_fail(CS_EXIT_USAGE, "--selector: needs --use needed; with --use %s no model is asked", s->use)
                   : CS_EXIT_OK;
    }
    if (task == NULL || (task->shape != COSTEER_EVAL_LABELLED && task->shape != COSTEER_EVAL_FIELDS)) {
        return cs_fail(CS_EXIT_USAGE,
                       "--use %s: the published tasks use all of their contexts; take task requests, cimemories or generic",
                       s->use);
    }
    if (is_use(s, "labelled") && task->shape != COSTEER_EVAL_LABELLED) {
        return cs_fail(CS_EXIT_USAGE, "--use labelled: the rows of task %s have no labels", s->task);
    }
    if (is_use(s, "labelled") && s->common.selector != NULL) {
        return cs_fail(CS_EXIT_USAGE, "--selector: needs --use needed; with --use labelled no model is asked");
    }
    return s->truncate_context
               ? cs_fail(CS_EXIT_USAGE, "--truncate-context: not with --use %s, which chooses from whole contexts", s->use)
               : CS_EXIT_OK;
}

/* ---- a choice ---------------------------------------------------------------------------------------------------- */

/* What was chosen of a row. */
typedef struct choice {
    char *text;
    size_t n_used;
    size_t n_left;
    bool *is_chosen; /* [row->n_parts] */
} choice;

static void dispose_choice(choice *c)
{
    free(c->text);
    free(c->is_chosen);
    *c = (choice){.text = NULL};
}

static bool overlaps(const costeer_eval_part *label, const costeer_part *part)
{
    return label->at < part->end && part->begin < label->at + label->n_bytes;
}

/* The labelled parts that have something in a used part. */
static void mark_chosen(const costeer_eval_row *row, const costeer_selection *selection, bool *is_chosen)
{
    for (size_t l = 0; l < row->n_parts; l++) {
        for (size_t i = 0; i < selection->parts.n; i++) {
            is_chosen[l] = is_chosen[l] || (selection->is_used[i] && overlaps(&row->parts[l], &selection->parts.items[i]));
        }
    }
}

static int choose_needed(costeer_selector *selector, const costeer_eval_row *row, choice *out)
{
    const costeer_select_request request = {
        .query = row->query, .context = row->context != NULL ? row->context : "", .threshold = (double)NAN};
    costeer_selection selection = {.n_used = 0};
    costeer_error err = {.code = COSTEER_OK};
    const costeer_err code = costeer_select(selector, &request, &selection, &err);
    if (code != COSTEER_OK) {
        return code == COSTEER_ECANCELED ? cs_interrupt_exit_code()
                                         : cs_fail(cs_exit_code(code), "line %lld: %s", (long long)row->line, err.message);
    }
    *out = (choice){.text = strdup(selection.text),
                    .n_used = selection.n_used,
                    .n_left = selection.n_left,
                    .is_chosen = calloc(row->n_parts + 1, sizeof *out->is_chosen)};
    if (out->is_chosen != NULL) {
        mark_chosen(row, &selection, out->is_chosen);
    }
    costeer_selection_dispose(&selection);
    return out->text != NULL && out->is_chosen != NULL ? CS_EXIT_OK : cs_fail(CS_EXIT_INTERNAL, "out of memory");
}

/* The notes that are labelled as needed, a line each. */
static int choose_labelled(const costeer_eval_row *row, choice *out)
{
    size_t n = 1;
    for (size_t i = 0; i < row->n_parts; i++) {
        n += row->parts[i].n_bytes + 1;
    }
    *out = (choice){.text = calloc(n, 1), .is_chosen = calloc(row->n_parts + 1, sizeof *out->is_chosen)};
    if (out->text == NULL || out->is_chosen == NULL) {
        return cs_fail(CS_EXIT_INTERNAL, "out of memory");
    }
    char *at = out->text;
    for (size_t i = 0; i < row->n_parts; i++) {
        out->is_chosen[i] = row->parts[i].label == COSTEER_FACT_NEEDED;
        out->n_used += out->is_chosen[i] ? 1 : 0;
        if (out->is_chosen[i]) {
            *at = '\n';
            at += at != out->text ? 1 : 0;
            memcpy(at, row->context + row->parts[i].at, row->parts[i].n_bytes);
            at += row->parts[i].n_bytes;
        }
    }
    *at = '\0';
    out->n_left = row->n_parts - out->n_used;
    return CS_EXIT_OK;
}

/* A row without a context stays as it is. */
static int apply(costeer_eval_row *row, const choice *c)
{
    if (row->context == NULL || row->context[0] == '\0') {
        return CS_EXIT_OK;
    }
    costeer_error err = {.code = COSTEER_OK};
    return costeer_eval_row_choose(row, c->text, c->n_used, c->n_left, c->is_chosen, &err) == COSTEER_OK ? CS_EXIT_OK
                                                                                                         : cs_fail_error(&err);
}

/* ---- chosen.jsonl ------------------------------------------------------------------------------------------------ */

static json_t *describe(const costeer_eval_row *row, const choice *c)
{
    json_t *list = json_array();
    for (size_t i = 0; i < row->n_parts; i++) {
        (void)json_array_append_new(list, json_boolean(c->is_chosen[i]));
    }
    return json_pack("{s:s, s:I, s:I, s:o, s:o}", "row", row->id, "used", (json_int_t)c->n_used, "left", (json_int_t)c->n_left,
                     "labelled", list, "text", cs_json_text(c->text, strlen(c->text)));
}

static int append(FILE *file, const char *path, const costeer_eval_row *row, const choice *c)
{
    json_t *object = describe(row, c);
    char *line = json_dumps(object, 0);
    json_decref(object);
    if (line == NULL) {
        return cs_fail(CS_EXIT_INTERNAL, "out of memory");
    }
    const bool ok = fprintf(file, "%s\n", line) > 0 && fflush(file) == 0;
    free(line);
    return ok ? CS_EXIT_OK : cs_fail_output(path, errno);
}

/* Take the choice of a line when it is the row's. */
static bool take(const char *line, size_t n_bytes, costeer_eval_row *row)
{
    json_t *object = json_loadb(line, n_bytes, JSON_ALLOW_NUL, NULL);
    const char *id = json_string_value(json_object_get(object, "row"));
    const json_t *list = json_object_get(object, "labelled");
    choice c = {.text = NULL};
    const char *text = json_string_value(json_object_get(object, "text"));
    const json_int_t n_used = json_integer_value(json_object_get(object, "used"));
    const json_int_t n_left = json_integer_value(json_object_get(object, "left"));
    bool ok = id != NULL && text != NULL && strcmp(id, row->id) == 0 && json_array_size(list) == row->n_parts && n_used >= 0 &&
              n_left >= 0;
    if (ok) {
        c = (choice){.text = strdup(text),
                     .n_used = (size_t)n_used,
                     .n_left = (size_t)n_left,
                     .is_chosen = calloc(row->n_parts + 1, sizeof *c.is_chosen)};
        ok = c.text != NULL && c.is_chosen != NULL;
    }
    for (size_t i = 0; ok && i < row->n_parts; i++) {
        c.is_chosen[i] = json_is_true(json_array_get(list, i));
    }
    ok = ok && apply(row, &c) == CS_EXIT_OK;
    dispose_choice(&c);
    json_decref(object);
    return ok;
}

/* Read the choices that are there, up to a line that has no end; *n_done rows have theirs then. */
static int read_choices(FILE *file, const char *path, cs_eval_rows *rows, size_t *n_done)
{
    char *line = NULL;
    size_t capacity = 0;
    ssize_t n;
    off_t end = 0;
    int exit_code = CS_EXIT_OK;
    while (exit_code == CS_EXIT_OK && (n = getline(&line, &capacity, file)) > 0 && line[n - 1] == '\n') {
        if (*n_done >= rows->n || !take(line, (size_t)n - 1, &rows->rows[*n_done])) {
            exit_code = cs_fail(CS_EXIT_INPUT, "%s:%zu: not the choice that belongs there; it was changed: remove the folder",
                                path, *n_done + 1);
        } else {
            end += (off_t)n;
            ++*n_done;
        }
    }
    free(line);
    if (exit_code == CS_EXIT_OK && (ftruncate(fileno(file), end) != 0 || fseek(file, end, SEEK_SET) != 0)) {
        exit_code = cs_fail_output(path, errno);
    }
    return exit_code;
}

/* ---- all rows ---------------------------------------------------------------------------------------------------- */

static void show_progress(const cs_eval_settings *s, size_t i, size_t n)
{
    const cs_progress_kind kind = cs_progress_kind_of(s->common.quiet, s->common.verbose);
    if (kind == CS_PROGRESS_NONE) {
        return;
    }
    const char *end = kind == CS_PROGRESS_REWRITTEN && i < n ? "\r" : "\n";
    (void)fprintf(stderr, "costeer: choosing what is needed: %zu of %zu rows%s", i, n, end);
}

static int choose_rows(const cs_eval_settings *s, costeer_selector *selector, FILE *file, const char *path, cs_eval_rows *rows)
{
    size_t i = 0;
    int exit_code = read_choices(file, path, rows, &i);
    for (; i < rows->n && exit_code == CS_EXIT_OK; i++) {
        costeer_eval_row *row = &rows->rows[i];
        choice c = {.text = NULL};
        exit_code = selector != NULL ? choose_needed(selector, row, &c) : choose_labelled(row, &c);
        exit_code = exit_code == CS_EXIT_OK ? apply(row, &c) : exit_code;
        exit_code = exit_code == CS_EXIT_OK ? append(file, path, row, &c) : exit_code;
        dispose_choice(&c);
        if (exit_code == CS_EXIT_OK && selector != NULL) {
            show_progress(s, i + 1, rows->n);
        }
    }
    return exit_code;
}

static FILE *open_choices(const char *path)
{
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, S_IRUSR | S_IWUSR);
    FILE *file = fd >= 0 ? fdopen(fd, "r+") : NULL;
    if (file == NULL && fd >= 0) {
        (void)close(fd);
    }
    return file;
}

int cs_eval_use_choose(const cs_eval_settings *s, const costeer_model *model, cs_eval_rows *rows)
{
    if (is_use(s, "all")) {
        return CS_EXIT_OK;
    }
    char path[PATH_BYTES];
    const int n = snprintf(path, sizeof path, "%s/chosen.jsonl", s->out);
    if (n < 0 || n >= PATH_BYTES) {
        return cs_fail(CS_EXIT_USAGE, "--out: the path is too long");
    }
    costeer_selector *selector = NULL;
    costeer_error err = {.code = COSTEER_OK};
    const costeer_selector_params params = {.n_threads = s->common.threads_prompt, .cancel = cs_interrupt_flag()};
    if (model != NULL && costeer_selector_create(model, &params, &selector, &err) != COSTEER_OK) {
        return cs_fail_error(&err);
    }
    FILE *file = open_choices(path);
    int exit_code = file != NULL ? choose_rows(s, selector, file, path, rows) : cs_fail_output(path, errno);
    if (file != NULL && fclose(file) != 0 && exit_code == CS_EXIT_OK) {
        exit_code = cs_fail_output(path, errno);
    }
    costeer_selector_free(selector);
    return exit_code;
}
