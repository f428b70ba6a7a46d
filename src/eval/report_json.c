/* The report as one object, for other programs: every number with full precision, what does not exist is null or left out. */
#include "eval/report_internal.h"

#include <math.h>

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *text(const char *value)
{
    return value != NULL ? json_string(value) : json_null();
}

static json_t *estimates(const cs_label_summary *summary)
{
    json_t *object = json_object();
    for (int m = 0; m < CS_MEASURES; m++) {
        const cs_estimate *e = &summary->estimates[m];
        if (e->n > 0) {
            json_object_set_new(object, cs_measures[m].key,
                                json_pack("{s:I, s:o, s:o, s:o}", "n", (json_int_t)e->n, "value", number(e->interval.value),
                                          "low", number(e->interval.low), "high", number(e->interval.high)));
        }
    }
    return object;
}

static json_t *comparisons(const cs_label_summary *summary)
{
    json_t *object = json_pack("{s:I}", "n_paired", (json_int_t)summary->n_paired);
    for (int m = 0; m < CS_MEASURES; m++) {
        const cs_comparison *c = &summary->comparisons[m];
        if (c->n > 0) {
            json_object_set_new(object, cs_measures[m].kind == CS_MEASURE_EXP_RATIO ? "log_perplexity" : cs_measures[m].key,
                                json_pack("{s:I, s:o, s:o, s:o, s:o}", "n", (json_int_t)c->n, "difference",
                                          number(c->difference.value), "low", number(c->difference.low), "high",
                                          number(c->difference.high), "p", number(c->p)));
        }
    }
    return object;
}

static json_t *label_object(const costeer_eval_report *report, size_t i)
{
    const cs_results_label *label = &report->results.labels[i];
    const cs_label_summary *summary = &report->summary.labels[i];
    json_t *object =
        json_pack("{s:s, s:o, s:o, s:o, s:o, s:b, s:I, s:I, s:o}", "label", label->name, "method", text(label->method),
                  "parameter", text(label->parameter), "value", number(label->value), "strength", number(label->strength),
                  "shows_context", (int)label->shows_context, "n_rows", (json_int_t)label->n, "n_truncated",
                  (json_int_t)label->n_truncated, "measures", estimates(summary));
    if (i != report->summary.baseline) {
        json_object_set_new(object, "against_baseline", comparisons(summary));
    }
    return object;
}

/* jansson's integers have a sign; a seed beyond them is told in digits. */
static json_t *seed_value(uint64_t seed)
{
    return seed <= INT64_MAX ? json_integer((json_int_t)seed) : json_sprintf("%llu", (unsigned long long)seed);
}

json_t *cs_report_json(const costeer_eval_report *report)
{
    json_t *labels = json_array();
    bool ok = labels != NULL;
    for (size_t i = 0; ok && i < report->results.n_labels; i++) {
        ok = json_array_append_new(labels, label_object(report, i)) == 0;
    }
    if (!ok) {
        json_decref(labels);
        return NULL;
    }
    return json_pack("{s:O, s:s, s:o, s:i, s:I, s:I, s:b, s:o}", "run", report->results.run, "baseline",
                     report->results.labels[report->summary.baseline].name, "seed", seed_value(report->summary.seed), "n_rounds",
                     (int)report->summary.n_rounds, "n_rows", (json_int_t)report->results.rows.n, "n_bad_rows",
                     (json_int_t)json_array_size(report->results.bad), "is_cut", (int)report->results.is_cut, "labels", labels);
}
