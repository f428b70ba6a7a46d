/*
 * Pictures in a page. Everything has a colour of its own as an attribute, for readers that do not apply style sheets; the page's
 * style sheet takes its place and knows about dark pages.
 */
#include "eval/svg.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* As in bench/plot.py: from that spread on a linear axis hides the small values. */
#define LOG_FROM 25.0

/* ---- scales ------------------------------------------------------------------------------------------------------ */

/* The step of 1, 2 or 5 times a power of ten that divides a span into about n parts. */
static double nice_step(double span, int n)
{
    const double raw = span / n;
    const double power = pow(10.0, floor(log10(raw)));
    const double factors[] = {1.0, 2.0, 5.0};
    for (size_t i = 0; i < sizeof factors / sizeof factors[0]; i++) {
        if (power * factors[i] >= raw * (1.0 - 1e-9)) {
            return power * factors[i];
        }
    }
    return power * 10.0;
}

static void init_linear(cs_scale *scale, double low, double high, int n_ticks)
{
    /* Zero belongs to the picture unless that would leave most of it empty. */
    if (low > 0.0 && low < 0.6 * high) {
        low = 0.0;
    }
    /* Values that differ in their last digits only are one value: no ticks could tell them apart. */
    if (!(high - low > 1e-6 * fmax(fabs(low), fabs(high)))) {
        const double room = low != 0.0 ? 0.1 * fabs(low) : 0.5;
        low -= low == 0.0 ? 0.0 : room;
        high += room;
    }
    const double step = nice_step(high - low, n_ticks);
    const double first = floor(low / step + 1e-9);
    const double last = ceil(high / step - 1e-9);
    scale->low = first * step;
    scale->high = last * step;
    scale->decimals = step < 1.0 ? (int)ceil(-log10(step) - 1e-9) : 0;
    while (first + scale->n_ticks <= last && scale->n_ticks < CS_SCALE_TICKS_MAX) {
        scale->ticks[scale->n_ticks] = (first + scale->n_ticks) * step;
        scale->n_ticks++;
    }
}

/* 1, 2 and 5 in each power of ten, or 1 alone when there are many powers. */
static void init_log(cs_scale *scale, double low, double high)
{
    static const double factors[] = {1.0, 2.0, 5.0, 10.0};
    const int first = (int)floor(log10(low) + 1e-9);
    const int last = (int)floor(log10(high) - 1e-9);
    const bool many = last - first > 2;
    scale->low = pow(10.0, first);
    scale->high = pow(10.0, last + 1);
    for (int power = first; power <= last + 1 && scale->n_ticks < CS_SCALE_TICKS_MAX; power++) {
        for (int k = 0; k < (many ? 1 : 3) && scale->n_ticks < CS_SCALE_TICKS_MAX; k++) {
            const double tick = factors[k] * pow(10.0, power);
            const double next = (many ? 10.0 : factors[k + 1]) * pow(10.0, power);
            const double before = tick / (many ? 10.0 : (k == 2 ? 2.5 : 2.0));
            if (next > low && before < high) {
                scale->ticks[scale->n_ticks++] = tick;
            }
        }
    }
    if (scale->n_ticks > 0) {
        scale->low = scale->ticks[0];
        scale->high = scale->ticks[scale->n_ticks - 1];
    }
}

void cs_scale_init(cs_scale *scale, double low, double high, double from, double to, int n_ticks, bool may_log)
{
    *scale = (cs_scale){.from = from, .to = to};
    scale->is_log = may_log && low > 0.0 && high / low > LOG_FROM;
    if (scale->is_log) {
        init_log(scale, low, high);
    } else {
        init_linear(scale, low, high, n_ticks);
    }
}

/* Ticks of a root scale are at least that share of it apart. */
#define ROOT_APART 0.075

void cs_scale_init_root(cs_scale *scale, double high, double from, double to)
{
    static const double factors[] = {1.0, 2.0, 5.0};
    const int last = (int)floor(log10(high) + 1e-9);
    const double unit = pow(10.0, last);
    high = ceil(high / unit - 1e-9) * unit;
    *scale = (cs_scale){.high = high, .from = from, .to = to, .is_root = true, .n_ticks = 1};
    for (int power = last - 2; power <= last; power++) {
        for (size_t k = 0; k < sizeof factors / sizeof factors[0]; k++) {
            const double tick = factors[k] * pow(10.0, power);
            const double apart = sqrt(tick / high) - sqrt(scale->ticks[scale->n_ticks - 1] / high);
            if (apart >= ROOT_APART && sqrt(tick / high) <= 1.0 - ROOT_APART) {
                scale->ticks[scale->n_ticks++] = tick;
            }
        }
    }
    scale->ticks[scale->n_ticks++] = high;
}

double cs_scale_at(const cs_scale *scale, double value)
{
    if (scale->is_root) {
        return scale->from + sqrt(fmax(value, 0.0) / scale->high) * (scale->to - scale->from);
    }
    const double share = scale->is_log ? log(value / scale->low) / log(scale->high / scale->low)
                                       : (value - scale->low) / (scale->high - scale->low);
    return scale->from + share * (scale->to - scale->from);
}

const char *cs_scale_label(const cs_scale *scale, double tick, char *buffer, size_t size)
{
    if (scale->is_log || scale->is_root || fabs(tick) >= 1e6) {
        snprintf(buffer, size, "%g", tick);
    } else {
        snprintf(buffer, size, "%s%.*f", tick < 0.0 ? "\xE2\x88\x92" : "", scale->decimals, fabs(tick));
    }
    return buffer;
}

/* ---- labels ------------------------------------------------------------------------------------------------------ */

/* Labels that touch, as one: members order[first .. first + n), the first one's place. */
typedef struct block {
    size_t first;
    size_t n;
    double at;
} block;

static void order_by(const double *wanted, size_t n, size_t *order)
{
    for (size_t i = 0; i < n; i++) {
        size_t k = i;
        while (k > 0 && wanted[order[k - 1]] > wanted[i]) {
            order[k] = order[k - 1];
            k--;
        }
        order[k] = i;
    }
}

static double block_place(const double *wanted, const size_t *order, const block *b, double gap, double low, double high)
{
    double mean = 0.0;
    for (size_t k = 0; k < b->n; k++) {
        mean += (wanted[order[b->first + k]] - gap * (double)k) / (double)b->n;
    }
    const double last = high - gap * (double)(b->n - 1);
    return fmax(fmin(mean, last), low);
}

void cs_spread(const double *wanted, size_t n, double gap, double low, double high, double *placed)
{
    size_t order[CS_SPREAD_MAX];
    block blocks[CS_SPREAD_MAX];
    size_t n_blocks = 0;
    if (n > CS_SPREAD_MAX) {
        memcpy(placed, wanted, n * sizeof *placed);
        return;
    }
    order_by(wanted, n, order);
    for (size_t i = 0; i < n; i++) {
        blocks[n_blocks] = (block){.first = i, .n = 1};
        blocks[n_blocks].at = block_place(wanted, order, &blocks[n_blocks], gap, low, high);
        n_blocks++;
        while (n_blocks > 1 && blocks[n_blocks - 1].at < blocks[n_blocks - 2].at + gap * (double)blocks[n_blocks - 2].n) {
            n_blocks--;
            blocks[n_blocks - 1].n += blocks[n_blocks].n;
            blocks[n_blocks - 1].at = block_place(wanted, order, &blocks[n_blocks - 1], gap, low, high);
        }
    }
    for (size_t b = 0; b < n_blocks; b++) {
        for (size_t k = 0; k < blocks[b].n; k++) {
            placed[order[blocks[b].first + k]] = blocks[b].at + gap * (double)k;
        }
    }
}

/* ---- drawing ----------------------------------------------------------------------------------------------------- */

void cs_svg_begin(cs_report_out *out, double width, double height, const char *title, const char *says)
{
    cs_out_print(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" role=\"img\" "
        "font-family=\"system-ui, sans-serif\" font-size=\"12\" aria-label=\"",
        width, height, width, height);
    cs_out_text(out, says);
    cs_out_raw(out, "\">\n");
    cs_svg_text(out, "title", 0.0, 15.0, "start", title, 80);
}

void cs_svg_end(cs_report_out *out)
{
    cs_out_raw(out, "</svg>\n");
}

void cs_svg_line(cs_report_out *out, const char *class_name, double x1, double y1, double x2, double y2)
{
    cs_out_print(out, "<line class=\"%s\" stroke=\"#888\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", class_name, x1,
                 y1, x2, y2);
}

void cs_svg_text(cs_report_out *out, const char *class_name, double x, double y, const char *anchor, const char *text, size_t n)
{
    cs_out_print(out, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", class_name, x, y, anchor);
    cs_out_text_cut(out, text, n);
    cs_out_raw(out, "</text>\n");
}

void cs_svg_mark(cs_report_out *out, int series, bool diamond, double x, double y)
{
    if (diamond) {
        cs_out_print(out, "<path class=\"m s%d\" d=\"M%.1f %.1fl4.8 4.8l-4.8 4.8l-4.8 -4.8z\"/>\n", series, x, y - 4.8);
    } else {
        cs_out_print(out, "<circle class=\"m s%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.7\"/>\n", series, x, y);
    }
}

void cs_svg_axis_x(cs_report_out *out, const cs_scale *scale, double top, double bottom, const char *title)
{
    char label[40];
    for (int i = 0; i < scale->n_ticks; i++) {
        const double x = cs_scale_at(scale, scale->ticks[i]);
        cs_svg_line(out, "grid", x, top, x, bottom);
        cs_svg_text(out, "tick", x, bottom + 15.0, "middle", cs_scale_label(scale, scale->ticks[i], label, sizeof label), 20);
    }
    cs_svg_line(out, "axis", scale->from, bottom, scale->to, bottom);
    if (title != NULL) {
        cs_svg_text(out, "tick", (scale->from + scale->to) / 2.0, bottom + 31.0, "middle", title, 60);
    }
}

void cs_svg_axis_y(cs_report_out *out, const cs_scale *scale, double left, double right)
{
    char label[40];
    for (int i = 0; i < scale->n_ticks; i++) {
        const double y = cs_scale_at(scale, scale->ticks[i]);
        cs_svg_line(out, "grid", left, y, right, y);
        cs_svg_text(out, "tick", left - 7.0, y + 4.0, "end", cs_scale_label(scale, scale->ticks[i], label, sizeof label), 20);
    }
}
