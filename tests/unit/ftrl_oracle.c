/*
 * The literal loop (arXiv 2507.04756), one array operation per term of the equations, so that it can be read against the paper:
 *
 *     p_0 = base,  u_t = alpha (p_{t-1} − base) + beta delta
 *     p_t = logsoftmax[(t lambda base + sum_{i<=t} u_i + p_{t-1}/eta) / (t lambda + 1/eta)]
 *
 * It shares nothing with src/core and must not be made clever.
 */
#include "ftrl_oracle.h"

#include <math.h>
#include <stdlib.h>

static void log_softmax(double *values, int32_t n)
{
    double max = -INFINITY;
    for (int32_t i = 0; i < n; i++) {
        max = fmax(max, values[i]);
    }
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        sum += exp(values[i] - max);
    }
    for (int32_t i = 0; i < n; i++) {
        values[i] = values[i] - max - log(sum);
    }
}

static double *new_array(int32_t n)
{
    double *const values = calloc((size_t)n + 1, sizeof *values);
    if (values == NULL) {
        abort();
    }
    return values;
}

/* p must begin as base; both are [n], without excluded tokens. */
static void run(const costeer_strength_params *params, const double *base, const double *delta, int32_t n, double *p)
{
    double *const u_sum = new_array(n);
    for (int32_t t = 1; t <= params->T; t++) {
        for (int32_t i = 0; i < n; i++) {
            const double u = params->alpha * (p[i] - base[i]) + params->beta * delta[i];
            u_sum[i] += u;
            p[i] = (t * params->lambda * base[i] + u_sum[i] + p[i] / params->eta) / (t * params->lambda + 1 / params->eta);
        }
        log_softmax(p, n);
    }
    free(u_sum);
}

void ftrl_oracle(const costeer_strength_params *params, const float *base, const float *expert, const float *amateur, int32_t n,
                 double *log_policy)
{
    double *const b = new_array(n), *const e = new_array(n), *const a = new_array(n), *const p = new_array(n);
    int32_t kept = 0;
    for (int32_t i = 0; i < n; i++) {
        const bool neither = expert[i] == -INFINITY && amateur[i] == -INFINITY;
        const bool excluded = base[i] == -INFINITY || (expert[i] == -INFINITY && !neither);
        log_policy[i] = excluded ? -INFINITY : 0;
        if (!excluded) {
            b[kept] = (double)base[i];
            e[kept] = neither ? 0 : (double)expert[i];
            a[kept] = neither ? 0 : (double)amateur[i];
            kept++;
        }
    }
    /* Normalising expert and amateur shifts every delta alike; a token whose delta is defined as 0 must not be shifted with them,
     * so delta is taken from the logits. That the shift does not matter is what the golden vectors show. */
    log_softmax(b, kept);
    for (int32_t i = 0; i < kept; i++) {
        e[i] -= a[i];
        p[i] = b[i];
    }
    run(params, b, e, kept, p);
    for (int32_t i = 0, k = 0; i < n; i++) {
        if (log_policy[i] == 0) {
            log_policy[i] = p[k++];
        }
    }
    free(b);
    free(e);
    free(a);
    free(p);
}
