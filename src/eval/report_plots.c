/*
 * The pictures of the page: a measure by method, measures over strength, recall against perplexity. Colours are Okabe and Ito's,
 * darker on a light page, and shape tells the same as colour. Points of a sweep have pictures of their own and are left out of
 * the others when there are many, unless there is nothing to compare else.
 */
#include "eval/report_internal.h"
#include "eval/svg.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* More methods than that are no picture any more; the tables have all. */
#define METHODS_SHOWN 40
#define CROWDED       20 /* with more, points of sweeps are left out */
#define LABEL_SHOWN   26 /* characters of a label */
#define SERIES_SHOWN  30 /* of the name of a sweep: "linear-alignment by strength" */
#define SERIES_MAX    CS_SWEEPS_SHOWN

/* Strengths beyond that, which small lambdas have, would leave no room to those in use. */
#define STRENGTH_ROOT_FROM 6.0

static const cs_measure_id main_measures[] = {CS_MEASURE_COMPLETENESS, CS_MEASURE_VIOLATIONS,     CS_MEASURE_BROKEN_WORDS,
                                              CS_MEASURE_FACT_RECALL,  CS_MEASURE_CONTEXT_RECALL, CS_MEASURE_ROUGE1,
                                              CS_MEASURE_ROUGEL,       CS_MEASURE_BLEU,           CS_MEASURE_METEOR,
                                              CS_MEASURE_PERPLEXITY,   CS_MEASURE_EXPOSURE};

/* Labels that a picture shows, by index. */
typedef struct chosen {
    size_t labels[METHODS_SHOWN];
    size_t n;
} chosen;

static const cs_estimate *estimate_of(const costeer_eval_report *report, size_t label, cs_measure_id measure)
{
    return &report->summary.labels[label].estimates[measure];
}

/* Numbers that no scale could hold are left to the tables. */
static bool fits_scale(double value)
{
    return fabs(value) <= 1e12;
}

static bool is_drawn(const costeer_eval_report *report, size_t label, cs_measure_id measure)
{
    const cs_estimate *e = estimate_of(report, label, measure);
    return e->n > 0 && fits_scale(e->interval.value) && fits_scale(e->interval.low) && fits_scale(e->interval.high);
}

/* What to show of a measure: all that have it, or those that are no points of a sweep. */
static chosen choose_methods(const costeer_eval_report *report, cs_measure_id measure)
{
    chosen c = {.n = 0};
    size_t n_plain = 0;
    for (size_t i = 0; i < report->results.n_labels; i++) {
        n_plain += report->results.labels[i].parameter == NULL;
    }
    const bool only_plain = n_plain > 1 && report->results.n_labels > CROWDED;
    for (size_t i = 0; i < report->results.n_labels && c.n < METHODS_SHOWN; i++) {
        if ((!only_plain || report->results.labels[i].parameter == NULL) && is_drawn(report, i, measure)) {
            c.labels[c.n++] = i;
        }
    }
    return c;
}

static void widen(double *low, double *high, const costeer_interval *interval)
{
    *low = fmin(*low, interval->low);
    *high = fmax(*high, interval->high);
}

/* Shares and scores are compared with 0; perplexity has no 0. */
static bool may_be_log(cs_measure_id measure)
{
    return measure == CS_MEASURE_PERPLEXITY;
}

static cs_scale scale_of(const costeer_eval_report *report, const chosen *c, cs_measure_id measure, double from, double to,
                         int n_ticks)
{
    double low = (double)INFINITY;
    double high = -(double)INFINITY;
    for (size_t k = 0; k < c->n; k++) {
        widen(&low, &high, &estimate_of(report, c->labels[k], measure)->interval);
    }
    cs_scale scale;
    cs_scale_init(&scale, low, high, from, to, n_ticks, may_be_log(measure));
    return scale;
}

/* ---- a measure by method ----------------------------------------------------------------------------------------- */

#define ROW_HEIGHT  22.0
#define METHODS_TOP 28.0

static double label_width(const costeer_eval_report *report, const chosen *c)
{
    size_t longest = 4;
    for (size_t k = 0; k < c->n; k++) {
        const size_t n = strlen(report->results.labels[c->labels[k]].name);
        longest = n > longest ? n : longest;
    }
    return 7.0 * (double)(longest < LABEL_SHOWN ? longest : LABEL_SHOWN) + 14.0;
}

static void method_line(cs_report_out *out, const costeer_eval_report *report, size_t label, cs_measure_id measure,
                        const cs_scale *scale, double y, double right)
{
    const costeer_interval *interval = &estimate_of(report, label, measure)->interval;
    const cs_results_label *of = &report->results.labels[label];
    const int series = of->shows_context ? 1 : 0;
    char text[64];
    cs_svg_text(out, of->shows_context ? "name shown" : "name", scale->from - 10.0, y + 4.0, "end", of->name, LABEL_SHOWN);
    /* With ends, so that an interval narrower than its mark is seen. */
    cs_out_print(out, "<path class=\"w s%d\" stroke=\"#555\" fill=\"none\" d=\"M%.1f %.1fv10m0 -5H%.1fm0 -5v10\"/>\n", series,
                 cs_scale_at(scale, interval->low), y - 5.0, cs_scale_at(scale, interval->high));
    cs_svg_mark(out, series, of->shows_context, cs_scale_at(scale, interval->value), y);
    cs_svg_text(out, "value", right, y + 4.0, "end", cs_measure_text(&cs_measures[measure], interval->value, text, sizeof text),
                16);
}

static void plot_measure(cs_report_out *out, const costeer_eval_report *report, cs_measure_id measure)
{
    const chosen c = choose_methods(report, measure);
    if (c.n == 0) {
        return;
    }
    const double width = 460.0;
    const double bottom = METHODS_TOP + ROW_HEIGHT * (double)c.n;
    const cs_scale scale = scale_of(report, &c, measure, label_width(report, &c), width - 62.0, 4);
    char title[160];
    char says[200];
    snprintf(title, sizeof title, "%s%s", cs_measures[measure].title, scale.is_log ? " (logarithmic)" : "");
    snprintf(says, sizeof says, "%s by method with 95%% intervals; the numbers are in the tables", cs_measures[measure].title);
    cs_svg_begin(out, width, bottom + 24.0, title, says);
    cs_svg_axis_x(out, &scale, METHODS_TOP - 6.0, bottom, NULL);
    if (is_drawn(report, report->summary.baseline, measure)) {
        const double value = estimate_of(report, report->summary.baseline, measure)->interval.value;
        if (value >= scale.low && value <= scale.high) {
            cs_svg_line(out, "base", cs_scale_at(&scale, value), METHODS_TOP - 6.0, cs_scale_at(&scale, value), bottom);
        }
    }
    for (size_t k = 0; k < c.n; k++) {
        method_line(out, report, c.labels[k], measure, &scale, METHODS_TOP + ROW_HEIGHT * ((double)k + 0.5), width);
    }
    cs_svg_end(out);
}

void cs_report_plot_methods(cs_report_out *out, const costeer_eval_report *report)
{
    cs_out_raw(out, "<div class=\"plots\">\n");
    for (size_t k = 0; k < COUNT(main_measures); k++) {
        const cs_measure_id measure = main_measures[k];
        if (cs_measures[measure].compared ? cs_report_has(report, measure) : cs_report_has_some(report, measure)) {
            plot_measure(out, report, measure);
        }
    }
    cs_out_raw(out, "</div>\n");
}

/* ---- measures over strength -------------------------------------------------------------------------------------- */

typedef struct sweep_point {
    double strength;
    costeer_interval interval;
} sweep_point;

typedef struct sweep_series {
    size_t first; /* label */
    sweep_point *points;
    size_t n;
} sweep_series;

typedef struct sweep_plot {
    sweep_series series[SERIES_MAX];
    size_t n;
    cs_scale x;
    cs_scale y;
} sweep_plot;

/* Where the axes are. */
typedef struct sweep_area {
    double left;
    double right;
    double top;
    double bottom;
} sweep_area;

static int compare_points(const void *a, const void *b)
{
    const double x = ((const sweep_point *)a)->strength;
    const double y = ((const sweep_point *)b)->strength;
    return (x > y) - (x < y);
}

/* Collect the points of one sweep; false when memory is out. */
static bool collect_series(sweep_series *series, const costeer_eval_report *report, size_t first, cs_measure_id measure)
{
    const cs_results_label *labels = report->results.labels;
    *series = (sweep_series){.first = first, .points = calloc(report->results.n_labels, sizeof *series->points)};
    for (size_t i = first; series->points != NULL && i < report->results.n_labels; i++) {
        if (cs_report_same_sweep(&labels[first], &labels[i]) && fits_scale(labels[i].strength) && is_drawn(report, i, measure)) {
            series->points[series->n++] =
                (sweep_point){.strength = labels[i].strength, .interval = estimate_of(report, i, measure)->interval};
        }
    }
    if (series->points != NULL) {
        qsort(series->points, series->n, sizeof *series->points, compare_points);
    }
    return series->points != NULL;
}

/* Limits act at each position by themselves: their sweeps have one strength. */
static bool is_limit(const char *parameter)
{
    return strcmp(parameter, "plausibility") == 0 || strcmp(parameter, "divergence") == 0;
}

static bool collect_sweeps(sweep_plot *plot, const costeer_eval_report *report, cs_measure_id measure)
{
    plot->n = 0;
    for (size_t i = 0; i < report->results.n_labels && plot->n < SERIES_MAX; i++) {
        const char *parameter = report->results.labels[i].parameter;
        if (parameter == NULL || is_limit(parameter) || cs_report_is_later_point(report, i)) {
            continue;
        }
        if (!collect_series(&plot->series[plot->n], report, i, measure)) {
            return false;
        }
        plot->n++;
        if (plot->series[plot->n - 1].n == 0) {
            free(plot->series[--plot->n].points);
        }
    }
    return true;
}

/* What the sweeps are compared with, unless it is a point of one. */
static const costeer_interval *find_baseline(const costeer_eval_report *report, cs_measure_id measure)
{
    const size_t baseline = report->summary.baseline;
    const bool is_point = report->results.labels[baseline].parameter != NULL;
    return !is_point && is_drawn(report, baseline, measure) ? &estimate_of(report, baseline, measure)->interval : NULL;
}

static void scale_sweeps(sweep_plot *plot, const costeer_interval *baseline, bool may_log, const sweep_area *area)
{
    double x_low = (double)INFINITY;
    double x_high = -(double)INFINITY;
    double y_low = (double)INFINITY;
    double y_high = -(double)INFINITY;
    for (size_t s = 0; s < plot->n; s++) {
        for (size_t i = 0; i < plot->series[s].n; i++) {
            const sweep_point *point = &plot->series[s].points[i];
            x_low = fmin(x_low, point->strength);
            x_high = fmax(x_high, point->strength);
            widen(&y_low, &y_high, &point->interval);
        }
    }
    if (baseline != NULL) {
        y_low = fmin(y_low, baseline->value);
        y_high = fmax(y_high, baseline->value);
    }
    if (x_low >= 0.0 && x_high > STRENGTH_ROOT_FROM) {
        cs_scale_init_root(&plot->x, x_high, area->left, area->right);
    } else {
        cs_scale_init(&plot->x, x_low, x_high, area->left, area->right, 6, false);
    }
    cs_scale_init(&plot->y, y_low, y_high, area->bottom, area->top, 5, may_log);
}

/* Orange comes last: elsewhere it means that the context was shown. */
static int colour_of(size_t series)
{
    static const int colours[SERIES_MAX] = {0, 2, 3, 4, 5, 1};
    return colours[series];
}

static void draw_line(cs_report_out *out, const sweep_plot *plot, const sweep_series *series, const char *class_name)
{
    cs_out_print(out, "<path class=\"%s\" fill=\"none\" stroke=\"#555\" d=\"", class_name);
    for (size_t i = 0; i < series->n; i++) {
        cs_out_print(out, "%c%.1f %.1f", i == 0 ? 'M' : 'L', cs_scale_at(&plot->x, series->points[i].strength),
                     cs_scale_at(&plot->y, series->points[i].interval.value));
    }
    cs_out_raw(out, "\"/>\n");
}

/* A method that has one sweep: its line, and a band of the intervals. */
static void draw_series(cs_report_out *out, const sweep_plot *plot, size_t s)
{
    const sweep_series *series = &plot->series[s];
    char class_name[16];
    cs_out_print(out, "<path class=\"band s%d\" fill=\"#ccc\" d=\"", colour_of(s));
    for (size_t i = 0; i < series->n; i++) {
        cs_out_print(out, "%c%.1f %.1f", i == 0 ? 'M' : 'L', cs_scale_at(&plot->x, series->points[i].strength),
                     cs_scale_at(&plot->y, series->points[i].interval.high));
    }
    for (size_t i = series->n; i-- > 0;) {
        cs_out_print(out, "L%.1f %.1f", cs_scale_at(&plot->x, series->points[i].strength),
                     cs_scale_at(&plot->y, series->points[i].interval.low));
    }
    cs_out_raw(out, "z\"/>\n");
    snprintf(class_name, sizeof class_name, "l s%d", colour_of(s));
    draw_line(out, plot, series, class_name);
}

static bool same_method(const costeer_eval_report *report, const sweep_series *a, const sweep_series *b)
{
    const char *x = report->results.labels[a->first].method;
    const char *y = report->results.labels[b->first].method;
    return x != NULL && y != NULL && strcmp(x, y) == 0;
}

/*
 * The lines behind the points. Several sweeps of a method have one line through all of their points, in order of strength: what
 * the answer depends on is the strength, whichever parameter it comes of.
 */
static void draw_lines(cs_report_out *out, const sweep_plot *plot, const costeer_eval_report *report)
{
    for (size_t s = 0; s < plot->n; s++) {
        sweep_series all = {.n = 0};
        size_t n_sweeps = 0;
        size_t first = plot->n;
        all.points = calloc(report->results.n_labels, sizeof *all.points);
        if (all.points == NULL) {
            draw_series(out, plot, s); /* less to see, nothing wrong */
            continue;
        }
        for (size_t k = plot->n; k-- > 0;) {
            if (same_method(report, &plot->series[s], &plot->series[k])) {
                memcpy(all.points + all.n, plot->series[k].points, plot->series[k].n * sizeof *all.points);
                all.n += plot->series[k].n;
                n_sweeps++;
                first = k;
            }
        }
        if (n_sweeps < 2) {
            draw_series(out, plot, s);
        } else if (first == s) {
            qsort(all.points, all.n, sizeof *all.points, compare_points);
            draw_line(out, plot, &all, "l joint");
        }
        free(all.points);
    }
}

static void draw_points(cs_report_out *out, const sweep_plot *plot, const costeer_eval_report *report, size_t s)
{
    const sweep_series *series = &plot->series[s];
    for (size_t i = 0; i < series->n; i++) {
        const double x = cs_scale_at(&plot->x, series->points[i].strength);
        const costeer_interval *interval = &series->points[i].interval;
        cs_out_print(out, "<line class=\"w s%d\" stroke=\"#555\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
                     colour_of(s), x, cs_scale_at(&plot->y, interval->low), x, cs_scale_at(&plot->y, interval->high));
        cs_svg_mark(out, colour_of(s), report->results.labels[series->first].shows_context, x,
                    cs_scale_at(&plot->y, interval->value));
    }
}

/* Names at the right end of each line, kept apart. */
static void name_series(cs_report_out *out, const sweep_plot *plot, const costeer_eval_report *report, double top, double bottom)
{
    double wanted[SERIES_MAX];
    double placed[SERIES_MAX];
    for (size_t s = 0; s < plot->n; s++) {
        wanted[s] = cs_scale_at(&plot->y, plot->series[s].points[plot->series[s].n - 1].interval.value);
    }
    cs_spread(wanted, plot->n, 16.0, top, bottom, placed);
    for (size_t s = 0; s < plot->n; s++) {
        const sweep_series *series = &plot->series[s];
        const cs_results_label *label = &report->results.labels[series->first];
        const double x = cs_scale_at(&plot->x, series->points[series->n - 1].strength);
        char name[128];
        snprintf(name, sizeof name, "%.60s by %.20s", label->method, label->parameter);
        cs_out_print(out, "<line class=\"lead\" stroke=\"#888\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", x + 6.0,
                     wanted[s], plot->x.to + 14.0, placed[s]);
        char class_name[16];
        snprintf(class_name, sizeof class_name, "name t%d", colour_of(s));
        cs_svg_text(out, class_name, plot->x.to + 18.0, placed[s] + 4.0, "start", name, SERIES_SHOWN);
    }
}

static const char *strength_title(const cs_scale *x)
{
    return x->is_root ? "strength (spaced by square roots)" : "strength";
}

static void plot_sweep(cs_report_out *out, const costeer_eval_report *report, cs_measure_id measure)
{
    const double width = 590.0;
    const double height = 300.0;
    const sweep_area area = {.left = 48.0, .right = 380.0, .top = 34.0, .bottom = height - 44.0};
    const costeer_interval *baseline = find_baseline(report, measure);
    char title[160];
    sweep_plot plot;
    char says[160];
    if (collect_sweeps(&plot, report, measure) && plot.n > 0) {
        scale_sweeps(&plot, baseline, may_be_log(measure), &area);
        snprintf(title, sizeof title, "%s%s", cs_measures[measure].title, plot.y.is_log ? " (logarithmic)" : "");
        snprintf(says, sizeof says, "%s over strength with 95%% intervals; the numbers are in the tables",
                 cs_measures[measure].title);
        cs_svg_begin(out, width, height, title, says);
        cs_svg_axis_y(out, &plot.y, area.left, area.right);
        cs_svg_axis_x(out, &plot.x, area.top, area.bottom, strength_title(&plot.x));
        if (baseline != NULL) {
            const double y = cs_scale_at(&plot.y, baseline->value);
            cs_svg_line(out, "base", area.left, y, area.right, y);
        }
        draw_lines(out, &plot, report);
        for (size_t s = 0; s < plot.n; s++) {
            draw_points(out, &plot, report, s);
        }
        name_series(out, &plot, report, area.top, area.bottom);
        cs_svg_end(out);
    }
    for (size_t s = 0; s < plot.n; s++) {
        free(plot.series[s].points);
    }
}

void cs_report_plot_sweeps(cs_report_out *out, const costeer_eval_report *report)
{
    cs_out_raw(out, "<div class=\"plots wide\">\n");
    for (size_t k = 0; k < COUNT(main_measures); k++) {
        plot_sweep(out, report, main_measures[k]);
    }
    cs_out_raw(out, "</div>\n");
}

/* ---- one measure against another --------------------------------------------------------------------------------- */

/* Two measures, of which `up` is good. */
typedef struct pair_plot {
    cs_measure_id across;
    cs_measure_id up;
    const char *across_title;
    const char *says;
} pair_plot;

static void pair_point(cs_report_out *out, const costeer_eval_report *report, size_t label, const pair_plot *plot,
                       const cs_scale *x, const cs_scale *y, double name_x, double name_y)
{
    const cs_results_label *of = &report->results.labels[label];
    const costeer_interval *across = &estimate_of(report, label, plot->across)->interval;
    const costeer_interval *up = &estimate_of(report, label, plot->up)->interval;
    const int series = of->shows_context ? 1 : 0;
    const double px = cs_scale_at(x, across->value);
    const double py = cs_scale_at(y, up->value);
    cs_svg_line(out, "lead", px, py, name_x - 4.0, name_y);
    cs_out_print(out, "<path class=\"w s%d\" stroke=\"#555\" fill=\"none\" d=\"M%.1f %.1fH%.1fM%.1f %.1fV%.1f\"/>\n", series,
                 cs_scale_at(x, across->low), py, cs_scale_at(x, across->high), px, cs_scale_at(y, up->low),
                 cs_scale_at(y, up->high));
    cs_svg_mark(out, series, of->shows_context, px, py);
    cs_svg_text(out, of->shows_context ? "name shown" : "name", name_x, name_y + 4.0, "start", of->name, LABEL_SHOWN);
}

static chosen choose_pairs(const costeer_eval_report *report, const pair_plot *plot)
{
    chosen c = choose_methods(report, plot->across);
    size_t n = 0;
    for (size_t k = 0; k < c.n; k++) {
        if (is_drawn(report, c.labels[k], plot->up)) {
            c.labels[n++] = c.labels[k];
        }
    }
    c.n = n;
    return c;
}

static void plot_pairs(cs_report_out *out, const costeer_eval_report *report, const pair_plot *plot)
{
    const chosen c = choose_pairs(report, plot);
    if (c.n == 0) {
        return;
    }
    const double height = fmax(360.0, 18.0 * (double)c.n + 90.0);
    const double bottom = height - 44.0;
    const cs_scale x = scale_of(report, &c, plot->across, 48.0, 480.0, 6);
    const cs_scale y = scale_of(report, &c, plot->up, bottom, 34.0, 6);
    char across_title[96];
    double wanted[METHODS_SHOWN];
    double placed[METHODS_SHOWN];
    for (size_t k = 0; k < c.n; k++) {
        wanted[k] = cs_scale_at(&y, estimate_of(report, c.labels[k], plot->up)->interval.value);
    }
    cs_spread(wanted, c.n, 17.0, 34.0, bottom, placed);
    snprintf(across_title, sizeof across_title, "%s%s", plot->across_title, x.is_log ? " (logarithmic)" : "");
    cs_out_raw(out, "<div class=\"plots one wide\">\n");
    cs_svg_begin(out, 700.0, height, cs_measures[plot->up].title, plot->says);
    cs_svg_axis_y(out, &y, 48.0, 480.0);
    cs_svg_axis_x(out, &x, 34.0, bottom, across_title);
    for (size_t k = 0; k < c.n; k++) {
        pair_point(out, report, c.labels[k], plot, &x, &y, 500.0, placed[k]);
    }
    cs_svg_end(out);
    cs_out_raw(out, "</div>\n");
}

void cs_report_plot_recall(cs_report_out *out, const costeer_eval_report *report)
{
    const bool has_facts = cs_report_has(report, CS_MEASURE_FACT_RECALL);
    plot_pairs(out, report,
               &(pair_plot){.across = CS_MEASURE_PERPLEXITY,
                            .up = has_facts ? CS_MEASURE_FACT_RECALL : CS_MEASURE_CONTEXT_RECALL,
                            .across_title = "perplexity under the judge",
                            .says = "Recall against perplexity with 95% intervals; the numbers are in the tables"});
}

void cs_report_plot_harm(cs_report_out *out, const costeer_eval_report *report)
{
    plot_pairs(out, report,
               &(pair_plot){.across = CS_MEASURE_VIOLATIONS,
                            .up = CS_MEASURE_COMPLETENESS,
                            .across_title = "violations: inappropriate facts stated",
                            .says = "Completeness against violations with 95% intervals; the numbers are in the tables"});
}
