/*
 * Reading a run. Every line is checked for what the report needs, and named by its number when it is wrong; what it says is never
 * repeated in a message. Only numbers are kept of a line, and the answers of the first rows.
 */
#include "eval/results.h"

#include "eval/results_words.h"
#include "util/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COMPONENT "report"

const char *cs_results_text(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static double real(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static costeer_err no_memory(costeer_error *err)
{
    return cs_error_set(err, COSTEER_ENOMEM, COMPONENT, "out of memory for the results");
}

/* ---- run.json ---------------------------------------------------------------------------------------------------- */

static costeer_err read_label(cs_results *results, size_t i, const json_t *item, costeer_error *err)
{
    cs_results_label *label = &results->labels[i];
    *label = (cs_results_label){.name = cs_results_text(item, "label"),
                                .method = cs_results_text(item, "method"),
                                .parameter = cs_results_text(item, "parameter"),
                                .value = real(item, "value"),
                                .strength = real(item, "strength"),
                                .shows_context = json_is_true(json_object_get(item, "shows_context"))};
    if (label->name == NULL || label->name[0] == '\0') {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "run.json: item %zu has no label; the file is damaged", i);
    }
    if (label->parameter != NULL && !isfinite(label->value)) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "run.json: item %zu has a parameter without a value", i);
    }
    for (size_t k = 0; k < i; k++) {
        if (strcmp(results->labels[k].name, label->name) == 0) {
            return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "run.json: items %zu and %zu have the same label", k, i);
        }
    }
    return COSTEER_OK;
}

static costeer_err read_run(cs_results *results, const costeer_eval_report_files *files, costeer_error *err)
{
    json_error_t error;
    results->run = json_loadb(files->run, files->n_run, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(results->run)) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "run.json: not a JSON object; was it written by costeer eval?");
    }
    const json_t *items = json_object_get(results->run, "items");
    const size_t n = json_array_size(items);
    if (n == 0 || n > CS_RESULTS_LABELS_MAX) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "run.json: %zu items; 1 to %d are expected", n,
                            CS_RESULTS_LABELS_MAX);
    }
    results->labels = calloc(n, sizeof *results->labels);
    if (results->labels == NULL) {
        return no_memory(err);
    }
    costeer_err code = COSTEER_OK;
    for (size_t i = 0; i < n && code == COSTEER_OK; i++) {
        code = read_label(results, i, json_array_get(items, i), err);
        results->n_labels = i + 1;
    }
    return code;
}

/* ---- lines ------------------------------------------------------------------------------------------------------- */

/* Called with each line; what it returns ends the reading unless it is COSTEER_OK. */
typedef costeer_err (*line_fn)(cs_results *results, json_t *line, int64_t number, costeer_error *err);

/* Call a function with every line's object. An incomplete last line sets is_cut. */
static costeer_err read_lines(cs_results *results, const char *name, const char *text, size_t n_bytes, line_fn on_line,
                              costeer_error *err)
{
    int64_t number = 0;
    for (size_t at = 0; at < n_bytes;) {
        const char *end = memchr(text + at, '\n', n_bytes - at);
        const size_t length = end != NULL ? (size_t)(end - text) - at : n_bytes - at;
        json_error_t error;
        json_t *line = json_loadb(text + at, length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error); /* a model may write one */
        number++;
        if (!json_is_object(line)) {
            json_decref(line);
            if (end == NULL) {
                results->is_cut = true;
                return COSTEER_OK;
            }
            return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "%s, line %lld: not a JSON object; the file is damaged", name,
                                (long long)number);
        }
        const costeer_err code = on_line(results, line, number, err);
        json_decref(line);
        if (code != COSTEER_OK) {
            return code;
        }
        at += length + 1;
    }
    return COSTEER_OK;
}

static int32_t find_label(const cs_results *results, const char *name)
{
    for (size_t i = 0; name != NULL && i < results->n_labels; i++) {
        if (strcmp(results->labels[i].name, name) == 0) {
            return (int32_t)i;
        }
    }
    return -1;
}

static bool grow_records(cs_results *results)
{
    if (results->n_records < results->capacity) {
        return true;
    }
    size_t capacity = results->capacity == 0 ? 256 : 2 * results->capacity;
    cs_record *records = realloc(results->records, capacity * sizeof *records);
    if (records == NULL) {
        return false;
    }
    results->records = records;
    results->capacity = capacity;
    return true;
}

static costeer_err bad_line(costeer_error *err, int64_t number, const char *what)
{
    return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "results.jsonl, line %lld: %s; the file is damaged", (long long)number,
                        what);
}

/* Keep the answer of one of the first rows. */
static void keep_example(cs_results_label *label, int32_t row, json_t *answer)
{
    if (row < CS_RESULTS_EXAMPLES && label->examples[row] == NULL) {
        label->examples[row] = json_incref(answer);
    }
}

static void add_choice(cs_results *results, const json_t *choice)
{
    static const char *const labels[] = {"needed", "fine", "inappropriate"};
    results->has_choice = results->has_choice || json_is_object(choice);
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; k < 2; k++) {
            results->chosen[i][k] += json_integer_value(json_array_get(json_object_get(choice, labels[i]), k));
        }
    }
}

static costeer_err on_result(cs_results *results, json_t *line, int64_t number, costeer_error *err)
{
    const char *row = cs_results_text(line, "row");
    json_t *answer = json_object_get(line, "answer");
    const int32_t label = find_label(results, cs_results_text(line, "label"));
    if (row == NULL || !json_is_string(answer)) {
        return bad_line(err, number, "no row or no answer in it");
    }
    if (label < 0) {
        return bad_line(err, number, "its label is not one of run.json's items");
    }
    cs_record record = {.label = label, .row = cs_intern_add(&results->rows, row, strlen(row)), .line = number};
    if (record.row < 0 || !grow_records(results)) {
        return no_memory(err);
    }
    keep_example(&results->labels[label], record.row, answer);
    for (size_t i = 0; i < CS_MEASURES; i++) {
        if (!cs_measure_read(&cs_measures[i], line, &record.tops[i], &record.bottoms[i])) {
            return bad_line(err, number, "a number is missing or out of range");
        }
    }
    record.tops[CS_MEASURE_BROKEN_WORDS] = cs_results_words_count(results, line);
    if (label == 0) {
        add_choice(results, json_object_get(line, "choice"));
    }
    results->labels[label].n++;
    results->labels[label].n_truncated += json_is_true(json_object_get(line, "truncated"));
    results->records[results->n_records++] = record;
    return COSTEER_OK;
}

/* The first reading: only what models wrote by themselves. */
static costeer_err on_words(cs_results *results, json_t *line, int64_t number, costeer_error *err)
{
    (void)number;
    const int32_t label = find_label(results, cs_results_text(line, "label"));
    return label < 0 || cs_results_words_learn(results, line, &results->labels[label]) ? COSTEER_OK : no_memory(err);
}

static costeer_err on_bad_row(cs_results *results, json_t *line, int64_t number, costeer_error *err)
{
    if (!json_is_integer(json_object_get(line, "line")) || cs_results_text(line, "reason") == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT,
                            "bad_rows.jsonl, line %lld: no line or no reason in it; the file is damaged", (long long)number);
    }
    return json_array_append(results->bad, line) == 0 ? COSTEER_OK : no_memory(err);
}

cs_bad_row cs_results_bad_row(const cs_results *results, size_t i)
{
    const json_t *line = json_array_get(results->bad, i);
    return (cs_bad_row){.line = json_integer_value(json_object_get(line, "line")),
                        .row = cs_results_text(line, "row"),
                        .reason = cs_results_text(line, "reason")};
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

static int compare_records(const void *a, const void *b)
{
    const cs_record *x = a;
    const cs_record *y = b;
    if (x->label != y->label) {
        return x->label < y->label ? -1 : 1;
    }
    return (x->row > y->row) - (x->row < y->row);
}

/* Bring the records in order: by label, then row. */
static costeer_err sort_records(cs_results *results, costeer_error *err)
{
    qsort(results->records, results->n_records, sizeof *results->records, compare_records);
    size_t first = 0;
    for (size_t i = 0; i < results->n_labels; i++) {
        results->labels[i].first = first;
        first += results->labels[i].n;
    }
    for (size_t i = 1; i < results->n_records; i++) {
        const cs_record *a = &results->records[i - 1];
        const cs_record *b = &results->records[i];
        if (compare_records(a, b) == 0) {
            return cs_error_set(err, COSTEER_EINVAL, COMPONENT,
                                "results.jsonl, lines %lld and %lld: the same row and label twice; the file is damaged",
                                (long long)(a->line < b->line ? a->line : b->line),
                                (long long)(a->line < b->line ? b->line : a->line));
        }
    }
    return COSTEER_OK;
}

costeer_err cs_results_read(cs_results *results, const costeer_eval_report_files *files, costeer_error *err)
{
    memset(results, 0, sizeof *results);
    results->bad = json_array();
    costeer_err code = results->bad != NULL ? read_run(results, files, err) : no_memory(err);
    if (code == COSTEER_OK) {
        code = read_lines(results, "bad_rows.jsonl", files->bad_rows, files->n_bad_rows, on_bad_row, err);
    }
    if (code == COSTEER_OK) {
        code = read_lines(results, "results.jsonl", files->results, files->n_results, on_words, err);
    }
    if (code == COSTEER_OK) {
        code = read_lines(results, "results.jsonl", files->results, files->n_results, on_result, err);
    }
    if (code == COSTEER_OK && results->n_records == 0) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "results.jsonl: no results in it yet");
    }
    return code == COSTEER_OK ? sort_records(results, err) : code;
}

void cs_results_dispose(cs_results *results)
{
    for (size_t i = 0; i < results->n_labels; i++) {
        for (size_t k = 0; k < CS_RESULTS_EXAMPLES; k++) {
            json_decref(results->labels[i].examples[k]);
        }
    }
    free(results->labels);
    free(results->records);
    cs_intern_dispose(&results->rows);
    cs_intern_dispose(&results->words);
    json_decref(results->run);
    json_decref(results->bad);
    memset(results, 0, sizeof *results);
}
