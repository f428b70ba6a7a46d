/*
 * From the records of a run to estimates and comparisons. Each label × measure is a column of numbers, and each comparison one of
 * differences; columns of the same length are resampled together, which draws the rows of a round once for all of them. A row is
 * the unit of everything: rows are what a new run would draw anew.
 */
#include "eval/summary.h"

#include "eval/stats_columns.h"
#include "util/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A column on its way to an interval. */
typedef struct column {
    double *values; /* [n] numerators, then [n] denominators where there are any; in the pool */
    size_t n;
    bool has_bottoms;
    costeer_interval *out;
} column;

typedef struct work {
    const cs_results *results;
    cs_summary *summary;
    column *columns;
    size_t n_columns;
    double *pool; /* room for all columns: each record has at most three numbers of a measure in them */
    size_t n_used;
    double *spare; /* [n_records] */
} work;

static costeer_err no_memory(costeer_error *err)
{
    return cs_error_set(err, COSTEER_ENOMEM, "report", "out of memory for the statistics");
}

/* ---- columns ----------------------------------------------------------------------------------------------------- */

/* Take what stands at the end of the pool as a column. */
static void add_column(work *w, size_t n, bool has_bottoms, costeer_interval *out)
{
    w->columns[w->n_columns++] = (column){.values = w->pool + w->n_used, .n = n, .has_bottoms = has_bottoms, .out = out};
    w->n_used += has_bottoms ? 2 * n : n;
}

/* The numbers of one label and measure. */
static void add_estimate(work *w, size_t label, cs_measure_id measure)
{
    const cs_results_label *of = &w->results->labels[label];
    cs_estimate *estimate = &w->summary->labels[label].estimates[measure];
    const bool has_bottoms = cs_measures[measure].bottom != NULL;
    double *values = w->pool + w->n_used;
    double sum = 0.0;
    size_t n = 0;
    for (size_t i = of->first; i < of->first + of->n; i++) {
        const cs_record *record = &w->results->records[i];
        if (!isnan(record->tops[measure])) {
            values[n] = record->tops[measure];
            w->spare[n] = record->bottoms[measure];
            sum += record->bottoms[measure];
            n++;
        }
    }
    if (n > 0 && sum > 0.0) {
        memcpy(values + n, w->spare, n * sizeof *values);
        estimate->n = n;
        add_column(w, n, has_bottoms, &estimate->interval);
    }
}

/* What a row alone says of a measure; NaN when nothing. */
static double row_value(const cs_record *record, cs_measure_id measure)
{
    return record->bottoms[measure] > 0.0 ? record->tops[measure] / record->bottoms[measure] : (double)NAN;
}

/* Fill [n] pairs of rows that both labels have; returns their number. */
static size_t pair_rows(const work *w, size_t label, cs_measure_id measure, double *a, double *b, size_t *n_paired)
{
    const cs_results_label *mine = &w->results->labels[label];
    const cs_results_label *base = &w->results->labels[w->summary->baseline];
    const cs_record *records = w->results->records;
    size_t n = 0;
    *n_paired = 0;
    for (size_t i = mine->first, j = base->first; i < mine->first + mine->n && j < base->first + base->n;) {
        if (records[i].row != records[j].row) {
            *(records[i].row < records[j].row ? &i : &j) += 1;
            continue;
        }
        a[n] = row_value(&records[i++], measure);
        b[n] = row_value(&records[j++], measure);
        n += !isnan(a[n]) && !isnan(b[n]);
        ++*n_paired;
    }
    return n;
}

static costeer_err add_comparison(work *w, size_t label, cs_measure_id measure, costeer_error *err)
{
    cs_comparison *comparison = &w->summary->labels[label].comparisons[measure];
    double *a = w->pool + w->n_used;
    const double *b = w->spare;
    const size_t n = pair_rows(w, label, measure, a, w->spare, &w->summary->labels[label].n_paired);
    if (n == 0) {
        return COSTEER_OK;
    }
    const costeer_err code = costeer_stats_permutation_test(a, b, n, w->summary->seed, w->summary->n_rounds, &comparison->p, err);
    for (size_t i = 0; i < n; i++) {
        a[i] -= b[i];
    }
    comparison->n = n;
    add_column(w, n, false, &comparison->difference);
    return code;
}

static costeer_err add_columns(work *w, costeer_error *err)
{
    costeer_err code = COSTEER_OK;
    for (size_t label = 0; label < w->results->n_labels; label++) {
        for (cs_measure_id m = 0; m < CS_MEASURES && code == COSTEER_OK; m++) {
            add_estimate(w, label, m);
            if (cs_measures[m].compared && label != w->summary->baseline) {
                code = add_comparison(w, label, m, err);
            }
        }
    }
    return code;
}

/* ---- intervals --------------------------------------------------------------------------------------------------- */

static int compare_columns(const void *a, const void *b)
{
    const column *x = a;
    const column *y = b;
    return (x->n > y->n) - (x->n < y->n);
}

/* All columns of one length, and so on. */
static costeer_err bootstrap(work *w, costeer_error *err)
{
    cs_stats_column *columns = malloc((w->n_columns + 1) * sizeof *columns);
    if (columns == NULL) {
        return no_memory(err);
    }
    qsort(w->columns, w->n_columns, sizeof *w->columns, compare_columns);
    costeer_err code = COSTEER_OK;
    for (size_t begin = 0, end; begin < w->n_columns && code == COSTEER_OK; begin = end) {
        const size_t n = w->columns[begin].n;
        for (end = begin; end < w->n_columns && w->columns[end].n == n; end++) {
            const column *c = &w->columns[end];
            columns[end - begin] =
                (cs_stats_column){.numerators = c->values, .denominators = c->has_bottoms ? c->values + n : NULL, .out = c->out};
        }
        code = cs_stats_bootstrap_columns(columns, end - begin, n, w->summary->seed, w->summary->n_rounds, err);
    }
    free(columns);
    return code;
}

/* The exponential keeps order, so the ends of the interval are those of its logarithm's. */
static void take_exponentials(work *w)
{
    for (size_t label = 0; label < w->results->n_labels; label++) {
        for (cs_measure_id m = 0; m < CS_MEASURES; m++) {
            if (cs_measures[m].kind == CS_MEASURE_EXP_RATIO) {
                costeer_interval *interval = &w->summary->labels[label].estimates[m].interval;
                *interval = (costeer_interval){exp(interval->value), exp(interval->low), exp(interval->high)};
            }
        }
    }
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

static costeer_err find_baseline(const cs_results *results, const char *name, size_t *baseline, costeer_error *err)
{
    *baseline = 0;
    for (size_t i = 0; name != NULL && i < results->n_labels; i++) {
        if (strcmp(results->labels[i].name, name) == 0) {
            *baseline = i;
            return COSTEER_OK;
        }
    }
    return name == NULL ? COSTEER_OK
                        : cs_error_set(err, COSTEER_EINVAL, "report", "baseline '%.100s' is no label of this run", name);
}

static costeer_err run(const cs_results *results, cs_summary *summary, costeer_error *err)
{
    work w = {.results = results, .summary = summary};
    w.columns = calloc(results->n_labels * CS_MEASURES * 2, sizeof *w.columns);
    w.pool = calloc((results->n_records + 1) * CS_MEASURES, 3 * sizeof *w.pool);
    w.spare = calloc(results->n_records + 1, sizeof *w.spare);
    costeer_err code = COSTEER_ENOMEM;
    if (w.columns == NULL || w.pool == NULL || w.spare == NULL) {
        no_memory(err);
    } else {
        code = add_columns(&w, err);
        code = code == COSTEER_OK ? bootstrap(&w, err) : code;
        take_exponentials(&w);
    }
    free(w.columns);
    free(w.pool);
    free(w.spare);
    return code;
}

costeer_err cs_summary_compute(cs_summary *summary, const cs_results *results, const costeer_eval_report_params *params,
                               costeer_error *err)
{
    *summary = (cs_summary){.seed = params->seed, .n_rounds = params->n_rounds};
    if (params->n_rounds < 1 || params->n_rounds > COSTEER_EVAL_REPORT_ROUNDS_MAX) {
        return cs_error_set(err, COSTEER_EINVAL, "report", "%d rounds; 1 to %d are possible", (int)params->n_rounds,
                            COSTEER_EVAL_REPORT_ROUNDS_MAX);
    }
    costeer_err code = find_baseline(results, params->baseline, &summary->baseline, err);
    if (code != COSTEER_OK) {
        return code;
    }
    summary->labels = calloc(results->n_labels, sizeof *summary->labels);
    return summary->labels != NULL ? run(results, summary, err) : no_memory(err);
}

void cs_summary_dispose(cs_summary *summary)
{
    free(summary->labels);
    memset(summary, 0, sizeof *summary);
}

bool cs_summary_has(const cs_summary *summary, size_t n_labels, cs_measure_id measure)
{
    for (size_t i = 0; i < n_labels; i++) {
        if (summary->labels[i].estimates[measure].n > 0) {
            return true;
        }
    }
    return false;
}
