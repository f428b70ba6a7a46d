/* The same tables as the page, for a terminal or a repository. */
#include "eval/report_internal.h"

#include <stdio.h>

void cs_report_write_markdown(cs_report_out *out, const costeer_eval_report *report)
{
    const char *task = cs_results_text(report->results.run, "task");
    const char *preference = cs_results_text(report->results.run, "preference");
    char title[256];
    snprintf(title, sizeof title, "CoSteer evaluation: %.80s%s%.40s", task != NULL ? task : "unnamed task",
             preference != NULL ? ", " : "", preference != NULL ? preference : "");
    cs_out_heading(out, 1, title);
    cs_report_write_facts(out, report);
    cs_out_heading(out, 2, "Results");
    cs_out_paragraph(out, "In brackets: 95% bootstrap intervals over rows.");
    cs_report_write_measures(out, report);
    cs_report_write_methods(out, report);
    cs_report_write_sweeps(out, report);
    cs_report_write_differences(out, report);
    cs_report_write_bad_rows(out, report);
}
