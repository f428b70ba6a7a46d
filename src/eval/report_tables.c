/* The tables of a report. A column that no label has a value for is left out. */
#include "eval/report_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define TEXT_SIZE 96

/* Below that a difference is printed in strong letters: the usual mark, and no more than that. */
#define P_STRONG 0.05

static const cs_measure_id reader[] = {CS_MEASURE_COMPLETENESS, CS_MEASURE_VIOLATIONS,   CS_MEASURE_SALUTATION,
                                       CS_MEASURE_SIGNATURE,    CS_MEASURE_BROKEN_WORDS, CS_MEASURE_SEQ_REP_4,
                                       CS_MEASURE_COPIED_RUN,   CS_MEASURE_WINS};
static const cs_measure_id quality[] = {CS_MEASURE_ROUGE1, CS_MEASURE_ROUGE2, CS_MEASURE_ROUGEL,
                                        CS_MEASURE_BLEU,   CS_MEASURE_METEOR, CS_MEASURE_PERPLEXITY};
static const cs_measure_id content[] = {CS_MEASURE_CONTEXT_RECALL, CS_MEASURE_FACT_RECALL, CS_MEASURE_LENGTH_RATIO,
                                        CS_MEASURE_DISTINCT1, CS_MEASURE_DISTINCT2};
static const cs_measure_id cost[] = {CS_MEASURE_TOKENS,      CS_MEASURE_STEERED,   CS_MEASURE_GATED,   CS_MEASURE_SLM_STEPS,
                                     CS_MEASURE_UNCERTIFIED, CS_MEASURE_NEAR_TIES, CS_MEASURE_EXPOSURE};

#define READER_CAPTION "As a reader sees it"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

const char *cs_number_text(double value, int places, bool plus, char *buffer, size_t size)
{
    if (!isfinite(value)) {
        snprintf(buffer, size, "%s", isnan(value) ? "\xE2\x80\x93" : (value > 0.0 ? "\xE2\x88\x9E" : "\xE2\x88\x92\xE2\x88\x9E"));
        return buffer;
    }
    char digits[64];
    /* A number too long for a column has an exponent. */
    snprintf(digits, sizeof digits, fabs(value) < 1e9 ? "%.*f" : "%.*e", places, fabs(value));
    bool is_zero = strspn(digits, "0.") == strlen(digits);
    const char *sign = value < 0.0 ? "\xE2\x88\x92" : "+";
    snprintf(buffer, size, "%s%s", (value < 0.0 || plus) && !is_zero ? sign : "", digits);
    return buffer;
}

const char *cs_measure_text(const cs_measure *measure, double value, char *buffer, size_t size)
{
    cs_number_text(measure->percent ? 100.0 * value : value, measure->decimals, false, buffer, size);
    size_t n = strlen(buffer);
    if (measure->percent && isfinite(value)) {
        snprintf(buffer + n, size - n, "%%");
    }
    return buffer;
}

bool cs_report_has(const costeer_eval_report *report, cs_measure_id measure)
{
    return cs_summary_has(&report->summary, report->results.n_labels, measure);
}

bool cs_report_has_some(const costeer_eval_report *report, cs_measure_id measure)
{
    for (size_t i = 0; i < report->results.n_labels; i++) {
        const cs_estimate *estimate = &report->summary.labels[i].estimates[measure];
        if (estimate->n > 0 && estimate->interval.value > 0.0) {
            return true;
        }
    }
    return false;
}

/* ---- facts of the run -------------------------------------------------------------------------------------------- */

static void fact(cs_report_out *out, const char *name, const char *value)
{
    cs_out_raw(out, out->is_html ? "<div><dt>" : "- ");
    cs_out_text(out, name);
    cs_out_raw(out, out->is_html ? "</dt><dd>" : ": ");
    cs_out_text(out, value);
    cs_out_raw(out, out->is_html ? "</dd></div>\n" : "\n");
}

static void fact_of(cs_report_out *out, const char *name, const json_t *object, const char *member)
{
    const json_t *value = json_object_get(object, member);
    char text[TEXT_SIZE];
    if (json_is_string(value)) {
        fact(out, name, json_string_value(value));
    } else if (json_is_integer(value)) {
        snprintf(text, sizeof text, "%lld", (long long)json_integer_value(value));
        fact(out, name, text);
    }
}

static void models(cs_report_out *out, const json_t *run)
{
    static const char *const roles[][2] = {{"llm", "LLM"}, {"slm", "SLM"}, {"tuned", "tuned SLM"}, {"judge", "judge"}};
    for (size_t i = 0; i < COUNT(roles); i++) {
        fact_of(out, roles[i][1], json_object_get(json_object_get(run, "models"), roles[i][0]), "name");
    }
}

static void gate_fact(cs_report_out *out, const json_t *run)
{
    const json_t *gate = json_object_get(run, "gate");
    if (json_is_string(gate)) {
        fact(out, "gate", json_string_value(gate));
    } else if (cs_results_text(gate, "kind") != NULL) {
        fact_of(out, "gate", gate, "kind");
    }
}

static void row_facts(cs_report_out *out, const costeer_eval_report *report)
{
    char text[TEXT_SIZE];
    const size_t n_bad = json_array_size(report->results.bad);
    snprintf(text, sizeof text, "%zu%s", report->results.rows.n, report->results.is_cut ? ", and the beginning of one more" : "");
    fact(out, "rows answered", text);
    if (n_bad > 0) {
        snprintf(text, sizeof text, "%zu", n_bad);
        fact(out, "rows left out", text);
    }
}

void cs_report_write_facts(cs_report_out *out, const costeer_eval_report *report)
{
    const json_t *run = report->results.run;
    const json_t *data = json_object_get(run, "data");
    char text[TEXT_SIZE];
    cs_out_raw(out, out->is_html ? "<dl>\n" : "\n");
    fact_of(out, "task", run, "task");
    fact_of(out, "preference", run, "preference");
    fact_of(out, "split", run, "split");
    fact_of(out, "data", data, "name");
    if (cs_results_text(data, "sha256") != NULL) {
        snprintf(text, sizeof text, "%.12s\xE2\x80\xA6", cs_results_text(data, "sha256"));
        fact(out, "SHA-256 of the data", text);
    }
    row_facts(out, report);
    models(out, run);
    fact_of(out, "cloud", run, "cloud");
    fact_of(out, "vocabularies", run, "vocab");
    gate_fact(out, run);
    fact_of(out, "seed of the run", run, "seed");
    fact_of(out, "longest answer, tokens", run, "max_tokens");
    snprintf(text, sizeof text, "%d rounds, seed %llu", (int)report->summary.n_rounds, (unsigned long long)report->summary.seed);
    fact(out, "statistics", text);
    fact_of(out, "CoSteer", run, "costeer");
    cs_out_raw(out, out->is_html ? "</dl>\n" : "");
}

/* ---- methods ----------------------------------------------------------------------------------------------------- */

static void name_cell(cs_report_out *out, const cs_results_label *label)
{
    cs_table_name(out, label->name, label->shows_context ? CS_SHOWS_CONTEXT : NULL);
}

/* A value, its interval, and how many rows have it where those are not all. */
static void estimate_cell(cs_report_out *out, const costeer_eval_report *report, size_t label, cs_measure_id id)
{
    const cs_measure *measure = &cs_measures[id];
    const cs_estimate *estimate = &report->summary.labels[label].estimates[id];
    char value[TEXT_SIZE];
    char low[TEXT_SIZE];
    char high[TEXT_SIZE];
    char note[4 * TEXT_SIZE] = "";
    if (estimate->n == 0) {
        cs_table_cell(out, "\xE2\x80\x93", NULL, false);
        return;
    }
    cs_measure_text(measure, estimate->interval.value, value, sizeof value);
    cs_measure_text(measure, estimate->interval.low, low, sizeof low);
    cs_measure_text(measure, estimate->interval.high, high, sizeof high);
    if (strcmp(low, value) != 0 || strcmp(high, value) != 0) { /* as it is shown */
        snprintf(note, sizeof note, "%s \xE2\x80\xA6 %s", low, high);
    }
    if (estimate->n < report->results.labels[label].n) {
        const size_t n = strlen(note);
        snprintf(note + n, sizeof note - n, "%sn = %zu", n > 0 ? "; " : "", estimate->n);
    }
    cs_table_cell(out, value, note[0] != '\0' ? note : NULL, false);
}

/* A count of 0 everywhere says nothing: no gate, nothing uncertified, nothing steered. */
static bool is_shown(const costeer_eval_report *report, cs_measure_id measure)
{
    return cs_measures[measure].object != NULL ? cs_report_has(report, measure) : cs_report_has_some(report, measure);
}

static void method_row(cs_report_out *out, const costeer_eval_report *report, size_t i, bool is_truncated)
{
    const cs_results_label *label = &report->results.labels[i];
    char text[TEXT_SIZE];
    cs_table_row(out);
    name_cell(out, label);
    cs_table_cell(out, cs_number_text(label->strength, 4, false, text, sizeof text), NULL, false);
    cs_table_cell(out, label->shows_context ? "yes" : "no", NULL, label->shows_context);
    snprintf(text, sizeof text, "%zu", label->n);
    cs_table_cell(out, text, NULL, false);
    if (is_truncated) {
        snprintf(text, sizeof text, "%zu", label->n_truncated);
        cs_table_cell(out, text, NULL, false);
    }
    for (size_t k = 0; k < COUNT(cost); k++) {
        if (is_shown(report, cost[k])) {
            estimate_cell(out, report, i, cost[k]);
        }
    }
    cs_table_row_end(out);
}

/* What the methods were given of the contexts, where that was not all. */
static void write_choice(cs_report_out *out, const costeer_eval_report *report)
{
    const cs_results *r = &report->results;
    const char *what = json_string_value(json_object_get(json_object_get(r->run, "use"), "what"));
    const bool is_labelled = what != NULL && strcmp(what, "labelled") == 0;
    char text[320];
    if (!r->has_choice) {
        return;
    }
    const int n =
        snprintf(text, sizeof text, "The methods were given %s",
                 is_labelled ? "the parts that the rows label as needed, which is a choice without errors (--use labelled)"
                             : "the parts of each context that the device chose (--use needed)");
    if (r->chosen[0][1] > 0 && n > 0 && (size_t)n < sizeof text) {
        (void)snprintf(text + n, sizeof text - (size_t)n, ": %lld of %lld needed, %lld of %lld fine, %lld of %lld inappropriate",
                       (long long)r->chosen[0][0], (long long)r->chosen[0][1], (long long)r->chosen[1][0],
                       (long long)r->chosen[1][1], (long long)r->chosen[2][0], (long long)r->chosen[2][1]);
    }
    (void)strncat(text, ".", sizeof text - strlen(text) - 1);
    cs_out_paragraph(out, text);
}

void cs_report_write_methods(cs_report_out *out, const costeer_eval_report *report)
{
    bool is_truncated = false;
    for (size_t i = 0; i < report->results.n_labels; i++) {
        is_truncated = is_truncated || report->results.labels[i].n_truncated > 0;
    }
    cs_table_begin(out, "Methods, and what an answer took");
    cs_table_head(out, "method", true);
    cs_table_head(out, "strength", false);
    cs_table_head(out, CS_SHOWS_CONTEXT, false);
    cs_table_head(out, "rows", false);
    if (is_truncated) {
        cs_table_head(out, "rows with a cut context", false);
    }
    for (size_t k = 0; k < COUNT(cost); k++) {
        if (is_shown(report, cost[k])) {
            cs_table_head(out, cs_measures[cost[k]].title, false);
        }
    }
    for (size_t i = 0; i < report->results.n_labels; i++) {
        method_row(out, report, i, is_truncated);
    }
    cs_table_end(out);
    write_choice(out, report);
}

/* ---- measures ---------------------------------------------------------------------------------------------------- */

/* The measures of a list that are there; returns their number. */
static size_t present(const costeer_eval_report *report, const cs_measure_id *list, size_t n, cs_measure_id *out)
{
    size_t n_out = 0;
    for (size_t k = 0; k < n; k++) {
        if (is_shown(report, list[k])) {
            out[n_out++] = list[k];
        }
    }
    return n_out;
}

/* Without references there is nothing to be like. */
static const char *quality_caption(const costeer_eval_report *report)
{
    return cs_report_has(report, CS_MEASURE_ROUGE1) ? "Likeness to the reference, and fluency" : "Fluency";
}

static void measure_table(cs_report_out *out, const costeer_eval_report *report, const cs_measure_id *list, size_t n_list,
                          const char *caption)
{
    cs_measure_id shown[CS_MEASURES];
    const size_t n = present(report, list, n_list, shown);
    if (n == 0) {
        return;
    }
    cs_table_begin(out, caption);
    cs_table_head(out, "method", true);
    for (size_t k = 0; k < n; k++) {
        cs_table_head(out, cs_measures[shown[k]].title, false);
    }
    for (size_t i = 0; i < report->results.n_labels; i++) {
        cs_table_row(out);
        name_cell(out, &report->results.labels[i]);
        for (size_t k = 0; k < n; k++) {
            estimate_cell(out, report, i, shown[k]);
        }
        cs_table_row_end(out);
    }
    cs_table_end(out);
}

void cs_report_write_measures(cs_report_out *out, const costeer_eval_report *report)
{
    measure_table(out, report, reader, COUNT(reader), READER_CAPTION);
    measure_table(out, report, quality, COUNT(quality), quality_caption(report));
    measure_table(out, report, content, COUNT(content), "What of the context is in the answer, and its form");
}

/* ---- differences ------------------------------------------------------------------------------------------------- */

static const char *p_text(double p, char *buffer, size_t size)
{
    snprintf(buffer, size, p < 0.001 ? "p < 0.001" : "p = %.3f", p);
    return buffer;
}

static void difference_cell(cs_report_out *out, const cs_measure *measure, const cs_comparison *comparison)
{
    char value[TEXT_SIZE];
    char low[TEXT_SIZE];
    char high[TEXT_SIZE];
    char p[TEXT_SIZE];
    char note[4 * TEXT_SIZE];
    if (comparison->n == 0) {
        cs_table_cell(out, "\xE2\x80\x93", NULL, false);
        return;
    }
    snprintf(note, sizeof note, "%s \xE2\x80\xA6 %s,\n%s",
             cs_number_text(comparison->difference.low, measure->decimals, true, low, sizeof low),
             cs_number_text(comparison->difference.high, measure->decimals, true, high, sizeof high),
             p_text(comparison->p, p, sizeof p));
    cs_table_cell(out, cs_number_text(comparison->difference.value, measure->decimals, true, value, sizeof value), note,
                  comparison->p < P_STRONG);
}

static size_t keep_compared(cs_measure_id *list, size_t n)
{
    size_t n_kept = 0;
    for (size_t k = 0; k < n; k++) {
        if (cs_measures[list[k]].compared) {
            list[n_kept++] = list[k];
        }
    }
    return n_kept;
}

static void difference_table(cs_report_out *out, const costeer_eval_report *report, const cs_measure_id *list, size_t n_list,
                             const char *caption)
{
    cs_measure_id shown[CS_MEASURES];
    size_t n = present(report, list, n_list, shown);
    n = keep_compared(shown, n);
    if (n == 0) {
        return;
    }
    cs_table_begin(out, caption);
    cs_table_head(out, "method", true);
    cs_table_head(out, "paired rows", false);
    for (size_t k = 0; k < n; k++) {
        const cs_measure *measure = &cs_measures[shown[k]];
        cs_table_head(out, measure->compared_as != NULL ? measure->compared_as : measure->title, false);
    }
    for (size_t i = 0; i < report->results.n_labels; i++) {
        char text[TEXT_SIZE];
        if (i == report->summary.baseline) {
            continue;
        }
        cs_table_row(out);
        name_cell(out, &report->results.labels[i]);
        snprintf(text, sizeof text, "%zu", report->summary.labels[i].n_paired);
        cs_table_cell(out, text, NULL, false);
        for (size_t k = 0; k < n; k++) {
            difference_cell(out, &cs_measures[shown[k]], &report->summary.labels[i].comparisons[shown[k]]);
        }
        cs_table_row_end(out);
    }
    cs_table_end(out);
}

void cs_report_write_differences(cs_report_out *out, const costeer_eval_report *report)
{
    if (report->results.n_labels < 2) {
        return;
    }
    char heading[2 * TEXT_SIZE];
    snprintf(heading, sizeof heading, "Differences from %.100s", report->results.labels[report->summary.baseline].name);
    cs_out_heading(out, 2, heading);
    cs_out_paragraph(
        out,
        "Mean of (method \xE2\x88\x92 baseline) over the rows that both have, its 95% interval, and the two-sided p-value of "
        "a paired permutation test. Strong letters: p < 0.05. With many comparisons some p-values are small by "
        "chance; they are not corrected for that.");
    difference_table(out, report, reader, COUNT(reader), READER_CAPTION ": differences");
    snprintf(heading, sizeof heading, "%s: differences", quality_caption(report));
    difference_table(out, report, quality, COUNT(quality), heading);
    difference_table(out, report, content, COUNT(content), "What of the context is in the answer, and its form: differences");
}

/* ---- sweeps ------------------------------------------------------------------------------------------------------ */

bool cs_report_same_sweep(const cs_results_label *a, const cs_results_label *b)
{
    return a->parameter != NULL && b->parameter != NULL && strcmp(a->parameter, b->parameter) == 0 && a->method != NULL &&
           b->method != NULL && strcmp(a->method, b->method) == 0;
}

bool cs_report_is_later_point(const costeer_eval_report *report, size_t label)
{
    for (size_t i = 0; i < label; i++) {
        if (cs_report_same_sweep(&report->results.labels[i], &report->results.labels[label])) {
            return true;
        }
    }
    return false;
}

static const cs_measure_id sweep_measures[] = {CS_MEASURE_COMPLETENESS,   CS_MEASURE_VIOLATIONS,  CS_MEASURE_BROKEN_WORDS,
                                               CS_MEASURE_CONTEXT_RECALL, CS_MEASURE_FACT_RECALL, CS_MEASURE_ROUGEL,
                                               CS_MEASURE_PERPLEXITY,     CS_MEASURE_DISTINCT2,   CS_MEASURE_EXPOSURE};

static void sweep_table(cs_report_out *out, const costeer_eval_report *report, size_t first)
{
    const cs_results_label *labels = report->results.labels;
    cs_measure_id shown[CS_MEASURES];
    const size_t n = present(report, sweep_measures, COUNT(sweep_measures), shown);
    const bool is_strength = strcmp(labels[first].parameter, "strength") == 0;
    char caption[2 * TEXT_SIZE];
    snprintf(caption, sizeof caption, "%.60s: %.60s%s", labels[first].method != NULL ? labels[first].method : "",
             labels[first].parameter, is_strength ? "" : ", and the strength it amounts to");
    cs_table_begin(out, caption);
    cs_table_head(out, labels[first].parameter, true);
    if (!is_strength) {
        cs_table_head(out, "strength", false);
    }
    for (size_t k = 0; k < n; k++) {
        cs_table_head(out, cs_measures[shown[k]].title, false);
    }
    for (size_t i = first; i < report->results.n_labels; i++) {
        char text[TEXT_SIZE];
        if (i != first && !cs_report_same_sweep(&labels[first], &labels[i])) {
            continue;
        }
        cs_table_row(out);
        snprintf(text, sizeof text, "%g", labels[i].value);
        cs_table_name(out, text, labels[i].shows_context ? CS_SHOWS_CONTEXT : NULL);
        if (!is_strength) {
            cs_table_cell(out, cs_number_text(labels[i].strength, 4, false, text, sizeof text), NULL, false);
        }
        for (size_t k = 0; k < n; k++) {
            estimate_cell(out, report, i, shown[k]);
        }
        cs_table_row_end(out);
    }
    cs_table_end(out);
}

void cs_report_write_sweeps(cs_report_out *out, const costeer_eval_report *report)
{
    for (size_t i = 0; i < report->results.n_labels; i++) {
        if (report->results.labels[i].parameter != NULL && !cs_report_is_later_point(report, i)) {
            sweep_table(out, report, i);
        }
    }
}

/* ---- bad rows ---------------------------------------------------------------------------------------------------- */

void cs_report_write_bad_rows(cs_report_out *out, const costeer_eval_report *report)
{
    const size_t n = json_array_size(report->results.bad);
    char text[TEXT_SIZE];
    if (n == 0) {
        return;
    }
    cs_out_heading(out, 2, "Rows that were left out");
    snprintf(text, sizeof text, "%zu row%s could not be used%s.", n, n == 1 ? "" : "s",
             n > CS_BAD_ROWS_SHOWN ? "; the first 200 of them are listed" : "");
    cs_out_paragraph(out, text);
    cs_table_begin(out, "Rows that were left out");
    cs_table_head(out, "line", true);
    cs_table_head(out, "row", true);
    cs_table_head(out, "reason", true);
    for (size_t i = 0; i < n && i < CS_BAD_ROWS_SHOWN; i++) {
        const cs_bad_row bad = cs_results_bad_row(&report->results, i);
        cs_table_row(out);
        snprintf(text, sizeof text, "%lld", (long long)bad.line);
        cs_table_name(out, text, NULL);
        cs_table_cell(out, bad.row != NULL ? bad.row : "\xE2\x80\x93", NULL, false);
        cs_table_cell(out, bad.reason, NULL, false);
        cs_table_row_end(out);
    }
    cs_table_end(out);
}
