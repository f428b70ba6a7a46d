/*
 * How much the closed form of the update saves, measured in one run on one machine.
 *
 * Three things are timed on the same arrays: the published T-step loop (float32, a log-softmax over the vocabulary in every step,
 * plain C for the compiler to vectorise), costeer_fuse_choose(), and a bare sum of the three arrays, vectorised as well as the
 * machine allows: the floor for any method. choose and read take turns, so that both find the same state of the caches.
 * Limits (plausibility, divergence) are timed by themselves. The clock is that of the thread's processor time: a loop of 20 ms
 * would otherwise be measured with what else the machine does.
 */
#define _POSIX_C_SOURCE 200809L /* clock_gettime */

#include "fuse_bench.h"

#include <costeer/steer.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/*
 * The read floor gets the machine's best vectors, as fusion does; otherwise it would be measured too slow and flatter us. Not
 * under ThreadSanitizer: the resolver that picks a clone runs before its run-time library does, and crashes.
 */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__)
#define BEST_VECTORS __attribute__((optimize("O3"), target_clones("arch=skylake-avx512", "avx2", "default")))
#else
#define BEST_VECTORS
#endif

#define LANES 64 /* independent partial sums: without them each addition would wait for the one before */

struct arrays {
    float *base, *expert, *amateur;           /* [n] logits */
    float *log_base, *delta, *drift, *policy; /* [n] work space of the loop */
    size_t n;
};

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

BEST_VECTORS static float read_array(const float *values, size_t n)
{
    float sums[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t lane = 0; lane < LANES; lane++) {
            sums[lane] += values[i + lane];
        }
    }
    float sum = 0;
    for (; i < n; i++) {
        sum += values[i];
    }
    for (size_t lane = 0; lane < LANES; lane++) {
        sum += sums[lane];
    }
    return sum;
}

/* ---- the published loop ------------------------------------------------------------------------------------------ */

static float sum_exp(const float *values, size_t n, float max)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += expf(values[i] - max);
    }
    return sum;
}

static void log_softmax(float *values, size_t n)
{
    float max = values[0];
    for (size_t i = 1; i < n; i++) {
        max = values[i] > max ? values[i] : max;
    }
    const float log_sum = max + logf(sum_exp(values, n, max));
    for (size_t i = 0; i < n; i++) {
        values[i] -= log_sum;
    }
}

/* p_t = logsoftmax[(t lambda base + sum_{i<=t} u_i + p_{t-1}/eta) / (t lambda + 1/eta)], u_t = alpha (p_{t-1} − base) + beta
 * delta */
static int32_t loop_choose(struct arrays *a)
{
    const costeer_strength_params p = COSTEER_STRENGTH_DEFAULTS;
    const float alpha = (float)p.alpha, beta = (float)p.beta, lambda = (float)p.lambda, inverse_eta = (float)(1 / p.eta);
    memcpy(a->log_base, a->base, a->n * sizeof(float));
    memcpy(a->delta, a->expert, a->n * sizeof(float));
    memcpy(a->policy, a->amateur, a->n * sizeof(float));
    log_softmax(a->log_base, a->n);
    log_softmax(a->delta, a->n);
    log_softmax(a->policy, a->n);
    for (size_t i = 0; i < a->n; i++) {
        a->delta[i] -= a->policy[i];
        a->policy[i] = a->log_base[i];
        a->drift[i] = 0;
    }
    for (int32_t t = 1; t <= p.T; t++) {
        const float scale = 1 / ((float)t * lambda + inverse_eta);
        for (size_t i = 0; i < a->n; i++) {
            a->drift[i] += alpha * (a->policy[i] - a->log_base[i]) + beta * a->delta[i];
            a->policy[i] = ((float)t * lambda * a->log_base[i] + a->drift[i] + a->policy[i] * inverse_eta) * scale;
        }
        log_softmax(a->policy, a->n);
    }
    size_t best = 0;
    for (size_t i = 1; i < a->n; i++) {
        best = a->policy[i] > a->policy[best] ? i : best;
    }
    return (int32_t)best;
}

/* ---- measuring --------------------------------------------------------------------------------------------------- */

static int compare_times(const void *left, const void *right)
{
    const double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double median(double *times, int n)
{
    qsort(times, (size_t)n, sizeof *times, compare_times);
    return n % 2 ? times[n / 2] : (times[n / 2 - 1] + times[n / 2]) / 2;
}

/* Logits of a plausible spread from a small generator (xorshift32): the sum of four uniforms, about −8 … 8. */
static void fill(float *values, size_t n, uint32_t state)
{
    for (size_t i = 0; i < n; i++) {
        float sum = -8;
        for (int k = 0; k < 4; k++) {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            sum += (float)(state >> 8) * (4.0F / 16777216.0F);
        }
        values[i] = sum;
    }
}

static bool arrays_init(struct arrays *a, size_t n)
{
    float **const all[] = {&a->base, &a->expert, &a->amateur, &a->log_base, &a->delta, &a->drift, &a->policy};
    bool ok = true;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        *all[i] = malloc(n * sizeof(float));
        ok = ok && *all[i] != NULL;
    }
    a->n = n;
    if (ok) {
        fill(a->base, n, 1);
        fill(a->expert, n, 2);
        fill(a->amateur, n, 3);
    }
    return ok;
}

static void arrays_dispose(struct arrays *a)
{
    free(a->base);
    free(a->expert);
    free(a->amateur);
    free(a->log_base);
    free(a->delta);
    free(a->drift);
    free(a->policy);
}

/* The same choice with both limits, of the method costeer-whole. */
static costeer_err measure_limits(const struct arrays *a, int n_repeats, double *limit, double *choose,
                                  struct cs_bench_fuse_result *out)
{
    const costeer_delta_limits limits = {.plausibility = 0.1, .divergence = 0.5};
    const costeer_base base = {.values = a->base, .n = (int32_t)a->n};
    costeer_choice choice = {.token = -1};
    costeer_err result = COSTEER_OK;
    for (int i = -1; i < n_repeats && result == COSTEER_OK; i++) {
        costeer_delta delta = {.expert = a->expert, .amateur = a->amateur, .weight = 2.5};
        const double start = now_us();
        result = costeer_delta_limit(&delta, &limits, (int32_t)a->n, NULL);
        const double middle = now_us();
        result = result == COSTEER_OK ? costeer_fuse_choose(&base, &delta, 1, (int32_t)a->n, &choice, NULL) : result;
        if (i >= 0) {
            limit[i] = middle - start;
            choose[i] = now_us() - middle;
        }
    }
    out->limit_us = median(limit, n_repeats);
    out->limited_choose_us = median(choose, n_repeats);
    return result;
}

static costeer_err measure(struct arrays *a, int n_repeats, double *choose, double *read, struct cs_bench_fuse_result *out)
{
    const costeer_strength_params params = COSTEER_STRENGTH_DEFAULTS;
    costeer_delta delta = {.expert = a->expert, .amateur = a->amateur};
    const costeer_base base = {.values = a->base, .n = (int32_t)a->n};
    costeer_choice choice = {.token = -1};
    volatile float sink = 0; /* keeps the sums from being optimised away */
    costeer_err result = costeer_strength_compute(&params, &delta.weight, NULL);
    for (int i = -1; i < n_repeats && result == COSTEER_OK; i++) { /* −1 warms up */
        const double start = now_us();
        sink = read_array(a->base, a->n) + read_array(a->expert, a->n) + read_array(a->amateur, a->n);
        const double middle = now_us();
        result = costeer_fuse_choose(&base, &delta, 1, (int32_t)a->n, &choice, NULL);
        if (i >= 0) {
            read[i] = middle - start;
            choose[i] = now_us() - middle;
        }
    }
    (void)sink;
    out->choose_us = median(choose, n_repeats);
    out->read_us = median(read, n_repeats);
    const int n_loops = n_repeats / 20 > 3 ? n_repeats / 20 : 3;
    for (int i = 0; i < n_loops && result == COSTEER_OK; i++) {
        const double start = now_us();
        const int32_t token = loop_choose(a);
        choose[i] = now_us() - start;
        result = token == choice.token ? COSTEER_OK : COSTEER_EINTERNAL;
    }
    out->loop_us = median(choose, n_loops);
    return result;
}

costeer_err cs_bench_fuse(int32_t n_vocab, int n_repeats, struct cs_bench_fuse_result *out)
{
    if (n_vocab < 1 || n_repeats < 3 || out == NULL) {
        return COSTEER_EINVAL;
    }
    struct arrays a = {0};
    double *const times = calloc((size_t)n_repeats * 2, sizeof *times);
    costeer_err result = COSTEER_ENOMEM;
    if (arrays_init(&a, (size_t)n_vocab) && times != NULL) {
        result = measure(&a, n_repeats, times, times + n_repeats, out);
        result = result == COSTEER_OK ? measure_limits(&a, n_repeats, times, times + n_repeats, out) : result;
    }
    arrays_dispose(&a);
    free(times);
    return result;
}
