/* The files of a run, read: labels, and for each the numbers of its rows. */
#ifndef CS_EVAL_RESULTS_H
#define CS_EVAL_RESULTS_H

#include "eval/intern.h"
#include "eval/measures.h"

#include <costeer/report.h>
#include <stdint.h>

/* As many as a run can have; more is no run of ours. */
#define CS_RESULTS_LABELS_MAX 1024

/* Rows whose answers are shown. */
#define CS_RESULTS_EXAMPLES 3

/** What one line says. */
typedef struct cs_record {
    int32_t label;
    int32_t row; /**< id of the row's name, in the order of first appearance */
    int64_t line;
    double tops[CS_MEASURES]; /**< NaN: not measured */
    double bottoms[CS_MEASURES];
} cs_record;

typedef struct cs_results_label {
    const char *name;
    const char *method;
    const char *parameter; /**< swept; NULL: none */
    double value;
    double strength; /**< NaN: not told */
    bool shows_context;
    size_t first; /**< its records: [first, first + n), by row */
    size_t n;
    size_t n_truncated;                    /**< rows whose context was cut to fit */
    json_t *examples[CS_RESULTS_EXAMPLES]; /**< texts; NULL: not answered */
} cs_results_label;

typedef struct cs_bad_row {
    int64_t line;
    const char *row; /**< NULL: unknown */
    const char *reason;
} cs_bad_row;

/** Owned by the caller; all-zero is empty. Texts belong to `run` and `bad`. */
typedef struct cs_results {
    json_t *run; /**< run.json */
    json_t *bad; /**< array of the lines of bad_rows.jsonl */
    cs_results_label *labels;
    size_t n_labels;
    cs_record *records; /**< by label, then row */
    size_t n_records;
    size_t capacity;
    cs_intern rows;          /**< names */
    cs_intern words;         /**< of the answers that models wrote by themselves */
    json_int_t chosen[3][2]; /**< labelled parts by label: in what was chosen, and all; of the first item's rows */
    bool has_choice;         /**< the methods were given a choice of parts */
    bool is_cut;             /**< the last line was incomplete */
} cs_results;

/** Read the files. Dispose of the results in every case. */
costeer_err cs_results_read(cs_results *results, const costeer_eval_report_files *files, costeer_error *err);
void cs_results_dispose(cs_results *results);

/** The i-th bad row. */
cs_bad_row cs_results_bad_row(const cs_results *results, size_t i);

/** A text of an object; NULL where there is none. */
const char *cs_results_text(const json_t *object, const char *name);

#endif
