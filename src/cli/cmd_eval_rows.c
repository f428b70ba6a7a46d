/*
 * The file of rows: read whole, split into lines, parsed. What is wrong with a row is said once, with file and line, and never
 * ends the others; nothing that stands in a row is shown.
 */
#include "cli/cmd_eval.h"
#include "cli/message.h"
#include "cli/signals.h"
#include "util/file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Far above any published set, far below what would exhaust memory. */
#define DATA_BYTES_MAX ((size_t)1 << 30)

/* More bad rows than these are only counted on the terminal; bad_rows.jsonl has them all. */
#define TOLD_MAX 10

static int out_of_memory(void)
{
    return cs_fail(CS_EXIT_INTERNAL, "out of memory");
}

/* Room for one more of [n] things. */
static bool grow(void **items, size_t n, size_t *capacity, size_t size)
{
    if (n < *capacity) {
        return true;
    }
    size_t wanted = *capacity == 0 ? 64 : *capacity * 2;
    void *grown = realloc(*items, wanted * size);
    if (grown == NULL) {
        return false;
    }
    *items = grown;
    *capacity = wanted;
    return true;
}

/* Takes the id. */
static int add_bad(cs_eval_rows *rows, int64_t line, char *id, const char *reason)
{
    void *bad = rows->bad;
    if (!grow(&bad, rows->n_bad, &rows->bad_capacity, sizeof rows->bad[0])) {
        free(id);
        return out_of_memory();
    }
    rows->bad = bad;
    cs_eval_bad *added = &rows->bad[rows->n_bad++];
    *added = (cs_eval_bad){.line = line, .id = id};
    snprintf(added->reason, sizeof added->reason, "%s", reason);
    return CS_EXIT_OK;
}

/* A row that was parsed becomes a bad one. */
static int reject(cs_eval_rows *rows, costeer_eval_row *row, const char *reason)
{
    char *id = row->id;
    int64_t line = row->line;
    row->id = NULL;
    costeer_eval_row_dispose(row);
    return add_bad(rows, line, id, reason);
}

static int by_line(const void *a, const void *b)
{
    int64_t x = ((const cs_eval_bad *)a)->line;
    int64_t y = ((const cs_eval_bad *)b)->line;
    return x < y ? -1 : (x > y ? 1 : 0);
}

static void sort_bad(cs_eval_rows *rows)
{
    if (rows->n_bad > 1) {
        qsort(rows->bad, rows->n_bad, sizeof rows->bad[0], by_line);
    }
}

/* ---- parsing ----------------------------------------------------------------------------------------------------- */

static bool is_blank(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strchr(" \t\r", text[i]) == NULL) {
            return false;
        }
    }
    return true;
}

/* Rows of another split are no rows of this run. */
static int add_line(const costeer_eval_form *form, const char *text, size_t n, int64_t line, cs_eval_rows *out, bool *is_skipped)
{
    costeer_eval_row row;
    costeer_error err = {.code = COSTEER_OK};
    costeer_err code = costeer_eval_row_parse(form, text, n, line, &row, &err);
    *is_skipped = row.is_skipped;
    if (code == COSTEER_ENOMEM || row.is_skipped) {
        costeer_eval_row_dispose(&row);
        return code == COSTEER_OK ? CS_EXIT_OK : cs_fail_error(&err);
    }
    if (code != COSTEER_OK) {
        return reject(out, &row, err.message);
    }
    void *rows = out->rows;
    if (!grow(&rows, out->n, &out->capacity, sizeof out->rows[0])) {
        costeer_eval_row_dispose(&row);
        return out_of_memory();
    }
    out->rows = rows;
    out->rows[out->n++] = row;
    return CS_EXIT_OK;
}

static int parse_lines(const cs_eval_settings *settings, const costeer_eval_form *form, const char *text, size_t n_bytes,
                       cs_eval_rows *out)
{
    int exit_code = CS_EXIT_OK;
    int64_t line = 1;
    int32_t n_read = 0;
    for (size_t at = 0; at < n_bytes && exit_code == CS_EXIT_OK; line++) {
        const char *end = memchr(text + at, '\n', n_bytes - at);
        size_t n = end != NULL ? (size_t)(end - (text + at)) : n_bytes - at;
        if (settings->limit > 0 && n_read == settings->limit) {
            break;
        }
        if (!is_blank(text + at, n)) {
            bool is_skipped;
            exit_code = add_line(form, text + at, n, line, out, &is_skipped);
            n_read += !is_skipped;
        }
        at += n + 1;
        if (cs_interrupted()) {
            return cs_interrupt_exit_code();
        }
    }
    return exit_code;
}

/* ---- ids --------------------------------------------------------------------------------------------------------- */

static int by_id(const void *a, const void *b)
{
    const costeer_eval_row *x = *(costeer_eval_row *const *)a;
    const costeer_eval_row *y = *(costeer_eval_row *const *)b;
    int order = strcmp(x->id, y->id);
    return order != 0 ? order : (x->line < y->line ? -1 : 1);
}

/* Takes out the rows that have no id any more. */
static void close_gaps(cs_eval_rows *rows)
{
    size_t n = 0;
    for (size_t i = 0; i < rows->n; i++) {
        if (rows->rows[i].id != NULL) {
            rows->rows[n++] = rows->rows[i];
        }
    }
    rows->n = n;
}

/* Results are told apart by id, so only the first row of an id stays. */
static int reject_repeated(cs_eval_rows *rows)
{
    costeer_eval_row **sorted = malloc((rows->n > 0 ? rows->n : 1) * sizeof(costeer_eval_row *));
    if (sorted == NULL) {
        return out_of_memory();
    }
    for (size_t i = 0; i < rows->n; i++) {
        sorted[i] = &rows->rows[i];
    }
    qsort((void *)sorted, rows->n, sizeof(costeer_eval_row *), by_id);
    int exit_code = CS_EXIT_OK;
    const costeer_eval_row *first = rows->n > 0 ? sorted[0] : NULL;
    for (size_t i = 1; i < rows->n && exit_code == CS_EXIT_OK; i++) {
        if (strcmp(sorted[i]->id, first->id) != 0) {
            first = sorted[i];
            continue;
        }
        char reason[96];
        snprintf(reason, sizeof reason, "line %" PRId64 " has the same id", first->line);
        exit_code = reject(rows, sorted[i], reason);
    }
    free((void *)sorted);
    close_gaps(rows);
    return exit_code;
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

int cs_eval_rows_read(const cs_eval_settings *settings, const costeer_eval_form *form, cs_eval_rows *out)
{
    memset(out, 0, sizeof *out);
    char *text;
    size_t n_bytes;
    int error = cs_file_read(settings->data, DATA_BYTES_MAX, cs_interrupt_wait_readable, &text, &n_bytes);
    if (error != 0) {
        return cs_fail_input(settings->data, error, DATA_BYTES_MAX);
    }
    int exit_code = costeer_eval_hash(text, n_bytes, out->sha256) ? CS_EXIT_OK : cs_fail(CS_EXIT_INTERNAL, "no SHA-256");
    size_t mark = n_bytes >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    if (exit_code == CS_EXIT_OK) {
        exit_code = parse_lines(settings, form, text + mark, n_bytes - mark, out);
    }
    free(text);
    if (exit_code == CS_EXIT_OK) {
        exit_code = reject_repeated(out);
    }
    sort_bad(out);
    return exit_code;
}

int cs_eval_rows_fit(const costeer_eval *eval, cs_eval_rows *rows)
{
    int exit_code = CS_EXIT_OK;
    for (size_t i = 0; i < rows->n && exit_code == CS_EXIT_OK; i++) {
        costeer_error err = {.code = COSTEER_OK};
        costeer_err code = costeer_eval_fit_row(eval, &rows->rows[i], &err);
        bool is_the_rows = code == COSTEER_ETOOLONG || code == COSTEER_EINVAL || code == COSTEER_EUTF8;
        if (code != COSTEER_OK) {
            exit_code = is_the_rows ? reject(rows, &rows->rows[i], err.message) : cs_fail_error(&err);
        }
        if (cs_interrupted()) {
            exit_code = cs_interrupt_exit_code();
        }
    }
    close_gaps(rows);
    sort_bad(rows);
    return exit_code;
}

void cs_eval_rows_tell(const cs_eval_settings *settings, const cs_eval_rows *rows)
{
    for (size_t i = 0; i < rows->n_bad && i < TOLD_MAX; i++) {
        cs_fail(CS_EXIT_OK, "%s:%" PRId64 ": row left out: %s", settings->data, rows->bad[i].line, rows->bad[i].reason);
    }
    if (rows->n_bad > TOLD_MAX) {
        cs_fail(CS_EXIT_OK, "%s: %zu more rows left out; %s/bad_rows.jsonl tells why", settings->data, rows->n_bad - TOLD_MAX,
                settings->out);
    }
}

void cs_eval_rows_dispose(cs_eval_rows *rows)
{
    for (size_t i = 0; i < rows->n; i++) {
        costeer_eval_row_dispose(&rows->rows[i]);
    }
    for (size_t i = 0; i < rows->n_bad; i++) {
        free(rows->bad[i].id);
    }
    free(rows->rows);
    free(rows->bad);
    memset(rows, 0, sizeof *rows);
}
