/*
 * A sparse base made from logits: see batch_base.h.
 *
 * The device proves its choice with the tail, so the tail must never be too small. Every value was rounded to float, by up to
 * half a unit in the last place; all sums here are raised by what that can amount to.
 */
#include "cloud/batch_base.h"

#include "cloud/top_k.h"

#include <float.h>
#include <math.h>

/* Adding up the unsent tokens one by one keeps the tail sharp where it is tiny; a second pass over a big vocabulary would cost a
 * millisecond for each position, which 1 − sum does not. */
#define ADD_UP_MAX 32768

/* Relative error of sums of up to 2^20 exponentials in double, and of the normaliser; generous. */
#define SUM_ERROR 1e-9

/* exp() of a rounded log-probability is off by |value| · 2^-24 at most; doubled for exp() itself. */
static double entry_error(double value)
{
    return fabs(value) * 0x1p-23;
}

/* Worst of the kept logits, the highest id at a tie. The order of entries is that of rounded values, so look at all. */
static int32_t find_worst(const float *logits, const int32_t *ids, int32_t n)
{
    int32_t worst = ids[0];
    for (int32_t i = 1; i < n; i++) {
        if (logits[ids[i]] < logits[worst] || (logits[ids[i]] == logits[worst] && ids[i] > worst)) {
            worst = ids[i];
        }
    }
    return worst;
}

/* The normaliser is what the best entry's value was made with; that value's rounding is its error. */
static double add_up_rest(const float *logits, int32_t n_vocab, const int32_t *ids, const float *values, int32_t n)
{
    const double normaliser = (double)logits[ids[0]] - (double)values[0];
    const int32_t worst = find_worst(logits, ids, n);
    const float lowest = logits[worst];
    double rest = 0;
    for (int32_t i = 0; i < n_vocab; i++) {
        if (logits[i] < lowest || (logits[i] == lowest && i > worst)) {
            rest += exp((double)logits[i] - normaliser);
        }
    }
    rest *= 1 + SUM_ERROR + entry_error((double)values[0]);
    return rest > DBL_MIN ? rest : DBL_MIN; /* exp() may have given 0 for what is very small */
}

static double subtract_from_one(const float *values, int32_t n)
{
    double sum = 0;
    double error = SUM_ERROR;
    for (int32_t i = 0; i < n; i++) {
        const double p = exp((double)values[i]);
        sum += p;
        error += p * entry_error((double)values[i]);
    }
    const double rest = 1 - sum + error;
    return rest > DBL_MIN ? rest : DBL_MIN;
}

int32_t cs_base_best(const float *logits, int32_t n_vocab, int32_t k, int32_t *ids, float *values, double *rest)
{
    const int32_t n = cs_top_k_logprobs(logits, n_vocab, k, ids, values);
    *rest = 0;
    if (n > 0 && n == k && k < n_vocab) { /* fewer than k: the others are −inf */
        *rest = n_vocab <= ADD_UP_MAX ? add_up_rest(logits, n_vocab, ids, values, n) : subtract_from_one(values, n);
    }
    return n;
}

double cs_base_mass(const float *values, int32_t k, int32_t n, double rest)
{
    double mass = rest;
    for (int32_t i = n - 1; i >= k; i--) { /* the small ones first */
        mass += exp((double)values[i]) * (1 + entry_error((double)values[i]));
    }
    return mass;
}

float cs_base_tail(const float *values, int32_t k, int32_t n, double rest)
{
    const double mass = cs_base_mass(values, k, n, rest);
    if (mass <= 0) {
        return -INFINITY;
    }
    const float tail = nextafterf((float)(log(mass) + SUM_ERROR), INFINITY);
    return tail < 0 ? tail : -FLT_TRUE_MIN;
}
