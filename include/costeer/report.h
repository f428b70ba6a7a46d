/*
 * The report of an evaluation: what `costeer eval` wrote becomes means with intervals, paired tests, tables and plots.
 *
 * Two steps: read the files' text, then compute and write. Pure functions of the texts and the parameters; files and their places
 * are the caller's business. docs/evaluation.md defines every number. The answers are untrusted: whatever they hold is shown as
 * text.
 */
#ifndef COSTEER_REPORT_H
#define COSTEER_REPORT_H

#include <costeer/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct costeer_eval_report costeer_eval_report;

/** The files of a run. */
typedef struct costeer_eval_report_files {
    const char *run; /**< [n_run] run.json */
    size_t n_run;
    const char *results; /**< [n_results] results.jsonl */
    size_t n_results;
    const char *bad_rows; /**< [n_bad_rows] bad_rows.jsonl; NULL and 0: there is none */
    size_t n_bad_rows;
} costeer_eval_report_files;

/**
 * Read a run. A last line of the results that has no line end is what a killed run leaves: it is left out, and the report says
 * so.
 *
 * @param files     may be freed afterwards
 * @param[out] out  free with costeer_eval_report_free(); NULL on failure
 * @return COSTEER_OK; COSTEER_EINVAL: not a run, no results, or a damaged line; the message names file and line; COSTEER_ENOMEM
 */
COSTEER_API costeer_err costeer_eval_report_create(const costeer_eval_report_files *files, costeer_eval_report **out,
                                                   costeer_error *err);
COSTEER_API void costeer_eval_report_free(costeer_eval_report *report);

/** Labels in the run's order. */
COSTEER_API size_t costeer_eval_report_n_labels(const costeer_eval_report *report);

/** NULL when there are not that many. Valid as long as the report. */
COSTEER_API const char *costeer_eval_report_label(const costeer_eval_report *report, size_t i);

/** Most rounds of bootstrap and permutation test. */
#define COSTEER_EVAL_REPORT_ROUNDS_MAX 1000000

typedef struct costeer_eval_report_params {
    const char *baseline; /**< label that the others are compared to; NULL: the run's first */
    uint64_t seed;
    int32_t n_rounds; /**< of bootstrap and permutation test; 1 … COSTEER_EVAL_REPORT_ROUNDS_MAX */
} costeer_eval_report_params;

#define COSTEER_EVAL_REPORT_PARAMS_DEFAULT ((costeer_eval_report_params){.baseline = NULL, .seed = 0, .n_rounds = 10000})

/**
 * Compute means, intervals and tests. Has to come before writing; can be repeated.
 *
 * @return COSTEER_OK; COSTEER_EINVAL: no such label, or too many rounds; COSTEER_ENOMEM
 */
COSTEER_API costeer_err costeer_eval_report_compute(costeer_eval_report *report, const costeer_eval_report_params *params,
                                                    costeer_error *err);

/** Receives text as it is made; false stops. */
typedef bool (*costeer_eval_report_write_fn)(const char *bytes, size_t n_bytes, void *user);

/** How a report is written. */
typedef enum costeer_eval_report_format {
    COSTEER_EVAL_REPORT_HTML = 0,     /**< one page that needs nothing else: no scripts, pictures inside */
    COSTEER_EVAL_REPORT_MARKDOWN = 1, /**< the tables */
    COSTEER_EVAL_REPORT_JSON = 2      /**< one object */
} costeer_eval_report_format;

/**
 * Write the report.
 *
 * @return COSTEER_OK; COSTEER_ESTATE: nothing computed yet; COSTEER_EABORTED: `write` said false; COSTEER_ENOMEM
 */
COSTEER_API costeer_err costeer_eval_report_write(const costeer_eval_report *report, costeer_eval_report_format format,
                                                  costeer_eval_report_write_fn write, void *user, costeer_error *err);

#ifdef __cplusplus
}
#endif
#endif
