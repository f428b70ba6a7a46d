/* The report's public face: read, compute, write. */
#include "eval/report_internal.h"
#include "util/error.h"

#include <stdlib.h>

costeer_err costeer_eval_report_create(const costeer_eval_report_files *files, costeer_eval_report **out, costeer_error *err)
{
    *out = NULL;
    costeer_eval_report *report = calloc(1, sizeof *report);
    if (report == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "report", "out of memory for a report");
    }
    const costeer_err code = cs_results_read(&report->results, files, err);
    if (code != COSTEER_OK) {
        costeer_eval_report_free(report);
        return code;
    }
    *out = report;
    return COSTEER_OK;
}

void costeer_eval_report_free(costeer_eval_report *report)
{
    if (report != NULL) {
        cs_results_dispose(&report->results);
        cs_summary_dispose(&report->summary);
        free(report);
    }
}

size_t costeer_eval_report_n_labels(const costeer_eval_report *report)
{
    return report->results.n_labels;
}

const char *costeer_eval_report_label(const costeer_eval_report *report, size_t i)
{
    return i < report->results.n_labels ? report->results.labels[i].name : NULL;
}

costeer_err costeer_eval_report_compute(costeer_eval_report *report, const costeer_eval_report_params *params, costeer_error *err)
{
    cs_summary_dispose(&report->summary);
    const costeer_err code = cs_summary_compute(&report->summary, &report->results, params, err);
    report->is_computed = code == COSTEER_OK;
    return code;
}

static int write_chunk(const char *bytes, size_t n_bytes, void *user)
{
    cs_report_out *out = user;
    out->failed = out->failed || !out->write(bytes, n_bytes, out->user);
    return out->failed ? -1 : 0;
}

static costeer_err write_json(cs_report_out *out, const costeer_eval_report *report, costeer_error *err)
{
    json_t *object = cs_report_json(report);
    const bool is_written = object != NULL && json_dump_callback(object, write_chunk, out, 0) == 0;
    json_decref(object);
    cs_out_raw(out, is_written ? "\n" : "");
    return is_written || out->failed ? COSTEER_OK : cs_error_set(err, COSTEER_ENOMEM, "report", "out of memory for a report");
}

costeer_err costeer_eval_report_write(const costeer_eval_report *report, costeer_eval_report_format format,
                                      costeer_eval_report_write_fn write, void *user, costeer_error *err)
{
    cs_report_out out = {.write = write, .user = user, .is_html = format == COSTEER_EVAL_REPORT_HTML};
    costeer_err code = COSTEER_OK;
    if (!report->is_computed) {
        return cs_error_set(err, COSTEER_ESTATE, "report", "nothing to write yet; call costeer_eval_report_compute() first");
    }
    if (format == COSTEER_EVAL_REPORT_HTML) {
        cs_report_write_html(&out, report);
    } else if (format == COSTEER_EVAL_REPORT_MARKDOWN) {
        cs_report_write_markdown(&out, report);
    } else {
        code = write_json(&out, report, err);
    }
    return code == COSTEER_OK && out.failed ? cs_error_set(err, COSTEER_EABORTED, "report", "the report could not be written on")
                                            : code;
}
