/* Parts of a plot: scales with readable ticks, labels that keep apart, marks with intervals. Coordinates are pixels of the
 * picture. */
#ifndef CS_EVAL_SVG_H
#define CS_EVAL_SVG_H

#include "eval/report_out.h"

#include <stddef.h>

#define CS_SCALE_TICKS_MAX 24

/** From values to pixels; linear, logarithmic where values differ by more than a factor of 25, or by their square roots. */
typedef struct cs_scale {
    double low;
    double high;
    double from; /**< pixel of low */
    double to;   /**< pixel of high */
    bool is_log;
    bool is_root;
    int decimals; /**< of a tick's label */
    double ticks[CS_SCALE_TICKS_MAX];
    int n_ticks;
} cs_scale;

/**
 * Make a scale that holds [low, high] with round ends.
 *
 * @param n_ticks  about as many; at most 10
 * @param may_log  false: linear in every case
 */
void cs_scale_init(cs_scale *scale, double low, double high, double from, double to, int n_ticks, bool may_log);

/** Make a scale from 0 to high > 0, rounded up to one digit, on which equal lengths are equal differences of square roots: room
 * for what lies near 0. */
void cs_scale_init_root(cs_scale *scale, double high, double from, double to);

double cs_scale_at(const cs_scale *scale, double value);

/** Write a tick's label. Returns buffer. */
const char *cs_scale_label(const cs_scale *scale, double tick, char *buffer, size_t size);

/**
 * Move labels apart: positions as near as possible to those wanted, in their order, at least gap apart, within [low, high] as far
 * as there is room.
 *
 * @param wanted  [n]; n <= CS_SPREAD_MAX, more are left as they are
 */
#define CS_SPREAD_MAX 64
void cs_spread(const double *wanted, size_t n, double gap, double low, double high, double *placed);

/** Begin a picture with a title in it; `says` is read to who cannot see it. */
void cs_svg_begin(cs_report_out *out, double width, double height, const char *title, const char *says);
void cs_svg_end(cs_report_out *out);

/** A line of a class of the page's style sheet: "grid", "axis", "base", "lead". */
void cs_svg_line(cs_report_out *out, const char *class_name, double x1, double y1, double x2, double y2);

/** Text; anchor is "start", "middle" or "end"; cut behind n characters. */
void cs_svg_text(cs_report_out *out, const char *class_name, double x, double y, const char *anchor, const char *text, size_t n);

/** A mark of class s0 … s5: a disc, or a diamond where the context was shown to the LLM. */
void cs_svg_mark(cs_report_out *out, int series, bool diamond, double x, double y);

/** Axes: ticks with grid lines from one end to the other, labels outside. */
void cs_svg_axis_x(cs_report_out *out, const cs_scale *scale, double top, double bottom, const char *title);
void cs_svg_axis_y(cs_report_out *out, const cs_scale *scale, double left, double right);

#endif
