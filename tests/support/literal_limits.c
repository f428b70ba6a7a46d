#include "support/literal_limits.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static double *log_softmax(const float *logits, int32_t n)
{
    double *out = malloc((size_t)n * sizeof *out);
    double largest = -INFINITY, sum = 0;
    assert_non_null(out);
    for (int32_t i = 0; i < n; i++) {
        largest = fmax(largest, (double)logits[i]);
    }
    for (int32_t i = 0; i < n; i++) {
        sum += exp((double)logits[i] - largest);
    }
    for (int32_t i = 0; i < n; i++) {
        out[i] = (double)logits[i] - largest - log(sum);
    }
    return out;
}

double literal_largest(const double *values, int32_t n)
{
    double largest = -INFINITY;
    for (int32_t i = 0; i < n; i++) {
        largest = fmax(largest, values[i]);
    }
    return largest;
}

static double kl(const double *p, const double *q, int32_t n)
{
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        sum += p[i] == -INFINITY ? 0 : exp(p[i]) * (p[i] - q[i]);
    }
    return sum;
}

static void add_limited(const literal_limited *of, int32_t n, double *scores)
{
    const bool is_away = of->weight < 0; /* then expert and amateur change places */
    double *p = log_softmax(is_away ? of->amateur : of->expert, n);
    double *q = log_softmax(is_away ? of->expert : of->amateur, n);
    const double share = of->divergence > 0 ? fmin(1, kl(p, q, n) / of->divergence) : 1;
    const double threshold = of->plausibility * exp(literal_largest(p, n));
    for (int32_t i = 0; i < n; i++) {
        if (p[i] == -INFINITY && q[i] == -INFINITY) {
            continue;
        }
        double delta = p[i] - q[i];
        if (of->plausibility > 0 && exp(p[i]) < threshold) {
            delta = fmin(delta, 0);
        }
        scores[i] += fabs(of->weight) * share * delta;
    }
    free(p);
    free(q);
}

void literal_limited_scores(const float *base, const literal_limited *deltas, size_t n_deltas, int32_t n_vocab, double *scores)
{
    for (int32_t i = 0; i < n_vocab; i++) {
        scores[i] = (double)base[i];
    }
    for (size_t j = 0; j < n_deltas; j++) {
        add_limited(&deltas[j], n_vocab, scores);
    }
}

void literal_assert_same_up_to_constant(const double *a, const double *b, int32_t n, double tolerance)
{
    double constant = NAN;
    for (int32_t i = 0; i < n; i++) {
        if (isinf(a[i]) || isinf(b[i])) {
            assert_true(a[i] == b[i]);
            continue;
        }
        constant = isnan(constant) ? a[i] - b[i] : constant;
        if (!(fabs(a[i] - b[i] - constant) <= tolerance)) {
            fail_msg("token %d: %.12g and %.12g, with a constant of %g", i, a[i], b[i], constant);
        }
    }
}
