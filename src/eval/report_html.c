/*
 * The page: one file, no scripts, nothing loaded. Without its style sheet it is still headings, lists and tables in reading
 * order. Colours are variables, so that a dark page is a second set of them.
 */
#include "eval/report_internal.h"

#include <stdio.h>

/* An answer is shown up to here; results.jsonl has all of it. */
#define ANSWER_SHOWN 1500

static const char style[] =
    ":root{color-scheme:light dark;--page:#fcfcfa;--ink:#1c1e20;--soft:#5c6166;--line:#d7d9d4;--panel:#f3f4f0;"
    "--s0:#0060a0;--s1:#b34a00;--s2:#007a58;--s3:#9a3f7f;--s4:#5b5b5b;--s5:#8a6d00;--tag:#fbe7d8}\n"
    "@media(prefers-color-scheme:dark){:root{--page:#15171a;--ink:#e5e5e1;--soft:#a2a7ac;--line:#373b40;--panel:#1e2125;"
    "--s0:#5ab4f0;--s1:#ff9a55;--s2:#3fcf9f;--s3:#e49acb;--s4:#c8c8c8;--s5:#e6c84a;--tag:#472a17}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0 auto;max-width:78rem;padding:1.5rem clamp(.8rem,3vw,2.5rem) 4rem;background:var(--page);color:var(--ink);"
    "font:1rem/1.55 system-ui,sans-serif}\n"
    "h1{font-size:1.75rem;line-height:1.2;margin:.5rem 0 1rem}h2{font-size:1.25rem;margin:2.6rem 0 .6rem}"
    "h3{font-size:1.02rem;margin:1.6rem 0 .4rem}\n"
    "p{max-width:46rem}.soft{color:var(--soft)}\n"
    "dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.7rem 1.4rem;margin:1rem 0;padding:1rem;"
    "background:var(--panel);border-radius:.5rem}dt{color:var(--soft);font-size:.82rem}dd{margin:0;overflow-wrap:anywhere}\n"
    ".scroll{overflow-x:auto;margin:1rem 0}\n"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.92rem;min-width:30rem}\n"
    "caption{text-align:left;font-weight:600;padding:.3rem 0}\n"
    "th,td{padding:.36rem .75rem;border-bottom:1px solid var(--line);vertical-align:top;text-align:right}\n"
    "thead th{font-weight:600;color:var(--soft);border-bottom:2px solid var(--line);vertical-align:bottom}\n"
    "th.left,td.left,tbody th{text-align:left}th:first-child{padding-left:0}tbody "
    "th{font-weight:500;white-space:nowrap;position:sticky;left:0;"
    "background:var(--page)}\n"
    "td small{display:block;color:var(--soft);font-size:.78rem;white-space:pre}\n"
    ".tag{display:block;width:max-content;font-size:.72rem;padding:0 .4rem;border-radius:.3rem;background:var(--tag);"
    "color:var(--s1);font-weight:600}\n"
    ".plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,25rem),1fr));gap:1.4rem 2rem;margin:1rem 0}"
    ".plots.one{grid-template-columns:minmax(0,44rem)}\n"
    "svg{width:100%;height:auto;max-width:44rem}svg text{fill:var(--ink);font-size:12px}svg "
    ".title{font-weight:600;font-size:14px}"
    "svg .tick{fill:var(--soft);font-size:11.5px}svg .value{font-variant-numeric:tabular-nums}svg .shown{fill:var(--s1)}\n"
    ".grid{stroke:var(--line);stroke-width:1}.axis{stroke:var(--soft);stroke-width:1}.base{stroke:var(--soft);stroke-width:1.3;"
    "stroke-dasharray:4 3}.lead{stroke:var(--soft);stroke-width:1;stroke-opacity:.55;stroke-dasharray:1 3}\n"
    ".w{stroke-width:1.6;fill:none}.l{stroke-width:2;fill:none}.band{stroke:none;fill-opacity:.13}"
    ".joint{stroke:var(--soft);stroke-width:1.2}.m{stroke:var(--page);stroke-width:1}\n"
    ".w.s0,.l.s0{stroke:var(--s0)}.w.s1,.l.s1{stroke:var(--s1)}.w.s2,.l.s2{stroke:var(--s2)}.w.s3,.l.s3{stroke:var(--s3)}"
    ".w.s4,.l.s4{stroke:var(--s4)}.w.s5,.l.s5{stroke:var(--s5)}\n"
    ".m.s0,.band.s0,svg .t0{fill:var(--s0)}.m.s1,.band.s1,svg .t1{fill:var(--s1)}.m.s2,.band.s2,svg .t2{fill:var(--s2)}"
    ".m.s3,.band.s3,svg .t3{fill:var(--s3)}.m.s4,.band.s4,svg .t4{fill:var(--s4)}.m.s5,.band.s5,svg .t5{fill:var(--s5)}\n"
    ".answers{display:grid;gap:.7rem}.answer{margin:0;padding:.6rem .9rem;background:var(--panel);border-radius:.4rem}"
    ".answer figcaption{font-weight:600;font-size:.88rem}.answer .tag{display:inline-block;margin-left:.5rem}"
    ".tag.in{display:inline-block}.answer p{margin:.3rem 0 0;white-space:pre-wrap;overflow-wrap:anywhere;max-width:none}\n"
    "@media(max-width:40rem){.wide{overflow-x:auto}.wide svg{width:36rem;max-width:none}}\n"
    "@media print{body{max-width:none}.scroll{overflow:visible}tbody th{position:static}}\n";

/* ---- head -------------------------------------------------------------------------------------------------------- */

static void title_text(cs_report_out *out, const costeer_eval_report *report)
{
    const char *task = cs_results_text(report->results.run, "task");
    const char *preference = cs_results_text(report->results.run, "preference");
    cs_out_raw(out, "CoSteer evaluation: ");
    cs_out_text_cut(out, task != NULL ? task : "unnamed task", 80);
    if (preference != NULL) {
        cs_out_raw(out, ", ");
        cs_out_text_cut(out, preference, 40);
    }
}

static void head(cs_report_out *out, const costeer_eval_report *report)
{
    cs_out_raw(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                    "<meta name=\"color-scheme\" content=\"light dark\">\n<title>");
    title_text(out, report);
    cs_out_raw(out, "</title>\n<style>\n");
    cs_out_raw(out, style);
    cs_out_raw(out, "</style>\n</head>\n<body>\n<header>\n<h1>");
    title_text(out, report);
    cs_out_raw(out, "</h1>\n");
    cs_report_write_facts(out, report);
    cs_out_raw(out, "</header>\n<main>\n");
}

static bool any_shows_context(const costeer_eval_report *report)
{
    for (size_t i = 0; i < report->results.n_labels; i++) {
        if (report->results.labels[i].shows_context) {
            return true;
        }
    }
    return false;
}

static size_t count_sweeps(const costeer_eval_report *report)
{
    size_t n = 0;
    for (size_t i = 0; i < report->results.n_labels; i++) {
        n += report->results.labels[i].parameter != NULL && !cs_report_is_later_point(report, i);
    }
    return n;
}

/* ---- parts ------------------------------------------------------------------------------------------------------- */

static void pictures(cs_report_out *out, const costeer_eval_report *report)
{
    cs_out_heading(out, 2, "Results");
    if (any_shows_context(report)) {
        cs_out_raw(
            out, "<p>A method marked <span class=\"tag in\">" CS_SHOWS_CONTEXT
                 "</span> puts the private text into the LLM\xE2\x80\x99s prompt: a cloud that runs the LLM reads it. The others "
                 "keep it on the device.</p>\n");
    }
    cs_out_raw(out, "<p>Lines are 95% bootstrap intervals over rows");
    if (any_shows_context(report)) {
        cs_out_raw(out, "; diamonds are methods that show the context to the LLM, discs those that do not");
    }
    cs_out_raw(out, "; the dashed line is the baseline, ");
    cs_out_text_cut(out, report->results.labels[report->summary.baseline].name, 96);
    cs_out_raw(out, ".</p>\n");
    cs_report_plot_methods(out, report);
}

static void scatter(cs_report_out *out, const costeer_eval_report *report)
{
    if (cs_report_has(report, CS_MEASURE_COMPLETENESS) && cs_report_has(report, CS_MEASURE_VIOLATIONS)) {
        cs_out_heading(out, 2, "Gained and harmed");
        cs_out_paragraph(out, "Up is more of what a good answer needs, left is less of what has no place in it.");
        cs_report_plot_harm(out, report);
    }
    if (cs_report_has(report, CS_MEASURE_PERPLEXITY) &&
        (cs_report_has(report, CS_MEASURE_FACT_RECALL) || cs_report_has(report, CS_MEASURE_CONTEXT_RECALL))) {
        cs_out_heading(out, 2, "Recall against perplexity");
        cs_out_paragraph(out, "Up is more of the context in the answer, left is an answer that the judge finds more likely.");
        cs_report_plot_recall(out, report);
    }
}

static void tables(cs_report_out *out, const costeer_eval_report *report)
{
    cs_out_heading(out, 2, "Tables");
    cs_out_paragraph(out, "Every value has its 95% bootstrap interval with it, unless that is one number, and n where only some "
                          "of the rows have the measure.");
    cs_report_write_measures(out, report);
    cs_report_write_methods(out, report);
}

static void sweeps(cs_report_out *out, const costeer_eval_report *report)
{
    if (count_sweeps(report) == 0) {
        return;
    }
    cs_out_heading(out, 2, "Sweeps");
    cs_out_paragraph(
        out, "Whatever parameter is varied, it acts through one number, the strength: sweeps of one method over different "
             "parameters lie on one curve. The line joins the points of a method in the order of their strengths.");
    if (count_sweeps(report) > CS_SWEEPS_SHOWN) {
        char text[96];
        snprintf(text, sizeof text, "The pictures show the first %d of %zu sweeps; the tables have all.", CS_SWEEPS_SHOWN,
                 count_sweeps(report));
        cs_out_paragraph(out, text);
    }
    cs_report_plot_sweeps(out, report);
    cs_report_write_sweeps(out, report);
}

static void answer(cs_report_out *out, const cs_results_label *label, const char *text)
{
    cs_out_raw(out, "<figure class=\"answer\"><figcaption>");
    cs_out_text(out, label->name);
    if (label->shows_context) {
        cs_out_raw(out, " <span class=\"tag\">" CS_SHOWS_CONTEXT "</span>");
    }
    cs_out_raw(out, "</figcaption><p>");
    cs_out_text_cut(out, text, ANSWER_SHOWN);
    cs_out_raw(out, "</p></figure>\n");
}

/* Of a sweep, its ends and its middle say enough. */
static bool is_example(const costeer_eval_report *report, size_t i)
{
    const cs_results_label *labels = report->results.labels;
    size_t n = 0;
    size_t at = 0;
    if (labels[i].parameter == NULL) {
        return true;
    }
    for (size_t k = 0; k < report->results.n_labels; k++) {
        if (cs_report_same_sweep(&labels[i], &labels[k])) {
            at = k < i ? at + 1 : at;
            n++;
        }
    }
    return at == 0 || at == n / 2 || at == n - 1;
}

static void examples(cs_report_out *out, const costeer_eval_report *report)
{
    cs_out_heading(out, 2, "Answers to the first rows");
    for (size_t row = 0; row < CS_RESULTS_EXAMPLES && row < report->results.rows.n; row++) {
        size_t n;
        const char *id = cs_intern_get(&report->results.rows, (int32_t)row, &n);
        char name[300];
        snprintf(name, sizeof name, "Row %.*s", n < 256 ? (int)n : 256, id);
        cs_out_heading(out, 3, name);
        cs_out_raw(out, "<div class=\"answers\">\n");
        for (size_t i = 0; i < report->results.n_labels; i++) {
            const cs_results_label *label = &report->results.labels[i];
            if (label->examples[row] != NULL && is_example(report, i)) {
                answer(out, label, json_string_value(label->examples[row]));
            }
        }
        cs_out_raw(out, "</div>\n");
    }
}

void cs_report_write_html(cs_report_out *out, const costeer_eval_report *report)
{
    head(out, report);
    pictures(out, report);
    scatter(out, report);
    sweeps(out, report);
    tables(out, report);
    cs_report_write_differences(out, report);
    cs_report_write_bad_rows(out, report);
    examples(out, report);
    cs_out_raw(
        out, "</main>\n<footer><p class=\"soft\">Definitions of all measures, intervals and tests: docs/evaluation.md of CoSteer."
             "</p></footer>\n</body>\n</html>\n");
}
