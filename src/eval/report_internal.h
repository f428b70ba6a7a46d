/* What the files of the report share. */
#ifndef CS_EVAL_REPORT_INTERNAL_H
#define CS_EVAL_REPORT_INTERNAL_H

#include "eval/report_out.h"
#include "eval/summary.h"

struct costeer_eval_report {
    cs_results results;
    cs_summary summary;
    bool is_computed;
};

#define CS_SHOWS_CONTEXT "context shown to the LLM"

/** Bad rows that are listed; their number is told all the same. */
#define CS_BAD_ROWS_SHOWN 200

/* Sweeps in one picture: as many as there are colours. */
#define CS_SWEEPS_SHOWN 6

/** Write a number with a true minus sign; returns buffer. `places`: digits behind the point; `plus`: a sign in every case. */
const char *cs_number_text(double value, int places, bool plus, char *buffer, size_t size);

/** Write a measure's value as it is shown. */
const char *cs_measure_text(const cs_measure *measure, double value, char *buffer, size_t size);

/** True where any row has it. */
bool cs_report_has(const costeer_eval_report *report, cs_measure_id measure);

/** True where it is more than 0 in some label. */
bool cs_report_has_some(const costeer_eval_report *report, cs_measure_id measure);

/** True when a label before this one is of the same sweep. */
bool cs_report_is_later_point(const costeer_eval_report *report, size_t label);
bool cs_report_same_sweep(const cs_results_label *a, const cs_results_label *b);

/* The parts that both texts have. */
void cs_report_write_facts(cs_report_out *out, const costeer_eval_report *report);
void cs_report_write_methods(cs_report_out *out, const costeer_eval_report *report);
void cs_report_write_measures(cs_report_out *out, const costeer_eval_report *report);
void cs_report_write_differences(cs_report_out *out, const costeer_eval_report *report);
void cs_report_write_sweeps(cs_report_out *out, const costeer_eval_report *report);
void cs_report_write_bad_rows(cs_report_out *out, const costeer_eval_report *report);

/* Whole texts. */
void cs_report_write_html(cs_report_out *out, const costeer_eval_report *report);
void cs_report_write_markdown(cs_report_out *out, const costeer_eval_report *report);

/** One object; NULL when memory is out. */
json_t *cs_report_json(const costeer_eval_report *report);

/* Pictures, for HTML. Each writes nothing where there is nothing to draw. */
void cs_report_plot_methods(cs_report_out *out, const costeer_eval_report *report);
void cs_report_plot_sweeps(cs_report_out *out, const costeer_eval_report *report);
void cs_report_plot_harm(cs_report_out *out, const costeer_eval_report *report); /* completeness against violations */
void cs_report_plot_recall(cs_report_out *out, const costeer_eval_report *report);

#endif
