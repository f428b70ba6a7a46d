/*
 * The best K of a dense base: a heap of K whose root is its worst entry, filled in one pass, then sorted in place.
 *
 * One comparison per token against the root, so that the cost hardly depends on K while K is small against the vocabulary. The
 * heap orders logits; the log-softmax is applied afterwards and may round neighbours to the same number: then the lower id goes
 * first.
 */
#include "cloud/top_k.h"

#include <costeer/steer.h>
#include <math.h>
#include <stdbool.h>

int32_t cs_argmax(const float *values, int32_t n)
{
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++) {
        if (values[i] > values[best] || (isnan(values[best]) && !isnan(values[i]))) {
            best = i;
        }
    }
    return best;
}

static bool is_worse(const int32_t *ids, const float *values, int32_t a, int32_t b)
{
    return values[a] < values[b] || (values[a] == values[b] && ids[a] > ids[b]);
}

static void swap(int32_t *ids, float *values, int32_t a, int32_t b)
{
    const int32_t id = ids[a];
    const float value = values[a];
    ids[a] = ids[b];
    values[a] = values[b];
    ids[b] = id;
    values[b] = value;
}

/* Let the entry at i sink until both of its children are better. */
static void sink(int32_t *ids, float *values, int32_t i, int32_t n)
{
    for (;;) {
        int32_t child = 2 * i + 1;
        if (child >= n) {
            return;
        }
        if (child + 1 < n && is_worse(ids, values, child + 1, child)) {
            child++;
        }
        if (!is_worse(ids, values, child, i)) {
            return;
        }
        swap(ids, values, i, child);
        i = child;
    }
}

/* Taking the worst away from the front, one after the other, leaves the best in front. */
static void sort_descending(int32_t *ids, float *values, int32_t n)
{
    for (int32_t last = n - 1; last > 0; last--) {
        swap(ids, values, 0, last);
        sink(ids, values, 0, last);
    }
}

static void order_ties(int32_t *ids, float *values, int32_t n)
{
    for (int32_t i = 1; i < n; i++) {
        for (int32_t j = i; j > 0 && is_worse(ids, values, j - 1, j); j--) {
            swap(ids, values, j - 1, j);
        }
    }
}

int32_t cs_top_k_logprobs(const float *logits, int32_t n, int32_t k, int32_t *ids, float *values)
{
    const double normaliser = costeer_logsumexp(logits, n);
    if (!isfinite(normaliser)) {
        return 0;
    }
    int32_t n_kept = 0;
    for (int32_t i = 0; i < n; i++) {
        if (n_kept < k && isfinite(logits[i])) {
            ids[n_kept] = i;
            values[n_kept] = logits[i];
            n_kept++;
            for (int32_t at = n_kept == k ? k / 2 - 1 : -1; at >= 0; at--) {
                sink(ids, values, at, k);
            }
        } else if (n_kept == k && logits[i] > values[0]) {
            ids[0] = i;
            values[0] = logits[i];
            sink(ids, values, 0, k);
        }
    }
    for (int32_t at = n_kept < k ? n_kept / 2 - 1 : -1; at >= 0; at--) {
        sink(ids, values, at, n_kept);
    }
    sort_descending(ids, values, n_kept);
    for (int32_t i = 0; i < n_kept; i++) {
        const double logprob = (double)values[i] - normaliser;
        values[i] = (float)(logprob < 0.0 ? logprob : 0.0);
    }
    order_ties(ids, values, n_kept);
    return n_kept;
}
