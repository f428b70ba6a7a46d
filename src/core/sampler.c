/*
 * Choosing a token from the scores of the policy: penalty → top-k → top-p → min-p → temperature → draw.
 *
 * Each filter acts on what the one before has left. top-k and top-p take candidates from a heap, best first (ties: lowest id), so
 * a few tokens out of 150,000 cost no full sort. The draw inverts the cumulative distribution over the kept tokens in ascending
 * order of id, with the uniform that (seed, position) fixes: the same set gives the same token whether the base was dense or
 * sparse. Same scores, same seed, same token on every machine: the generator is integer arithmetic, exp and log are our own. Must
 * never allocate after creation, and never yield a token from NaN.
 */
#include <costeer/sampler.h>

#include "core/philox.h"
#include "core/portable_math.h"
#include "util/error.h"

#include <stdlib.h>

#define REPETITION_WINDOW_MAX 65536

/* A candidate this many nats below the best has at most e^-64 = 2^-92 of its probability, 2^31 of them 2^-61: less than the 2^-53
 * that one step of the uniform covers. They can neither be drawn nor shift a draw, so their exponentials are not computed. */
#define NEGLIGIBLE_NATS 64.0

struct candidate {
    double score;
    double weight; /* exp of the score, relative to the best */
    int32_t token;
};

/* Comes a before b? A total order: tokens are distinct. */
typedef bool (*before_fn)(const struct candidate *a, const struct candidate *b);

struct costeer_sampler {
    costeer_sampler_params params;
    double log_penalty;
    double log_min_p;
    int32_t n_vocab;
    struct candidate *candidates; /* [n_vocab] */
    int32_t *window;              /* [repetition_window] ring of accepted tokens */
    int32_t *recent;              /* [repetition_window] the same tokens in ascending order, repeats included */
    int32_t n_recent;
    int32_t next; /* where the ring is written next */
};

/* ---- creation ---------------------------------------------------------------------------------------------------- */

static costeer_err out_of_range(costeer_error *err, const char *name, double value, const char *range)
{
    return cs_error_set(err, COSTEER_EINVAL, "sampler", "%s is %g; it must be %s", name, value, range);
}

static costeer_err check_params(const costeer_sampler_params *p, int32_t n_vocab, costeer_error *err)
{
    if (!isfinite(p->temperature) || p->temperature < 0) {
        return out_of_range(err, "temperature", p->temperature, "0 (greedy) or a finite number above 0");
    }
    if (p->top_k < 0) {
        return out_of_range(err, "top_k", p->top_k, "0 (keep all) or more");
    }
    if (!(p->top_p > 0 && p->top_p <= 1)) {
        return out_of_range(err, "top_p", p->top_p, "above 0 and at most 1 (keep all)");
    }
    if (!(p->min_p >= 0 && p->min_p <= 1)) {
        return out_of_range(err, "min_p", p->min_p, "from 0 (keep all) to 1");
    }
    if (!isfinite(p->repetition_penalty) || p->repetition_penalty < 1) {
        return out_of_range(err, "repetition_penalty", p->repetition_penalty, "a finite number of at least 1 (off)");
    }
    if (p->repetition_window < 1 || p->repetition_window > REPETITION_WINDOW_MAX) {
        return out_of_range(err, "repetition_window", p->repetition_window, "from 1 to 65536");
    }
    if (n_vocab < 1) {
        return out_of_range(err, "n_vocab", n_vocab, "at least 1");
    }
    return COSTEER_OK;
}

costeer_err costeer_sampler_create(const costeer_sampler_params *params, int32_t n_vocab, costeer_sampler **out,
                                   costeer_error *err)
{
    if (params == NULL || out == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "sampler", "params and out must not be NULL");
    }
    *out = NULL;
    const costeer_err bad = check_params(params, n_vocab, err);
    if (bad != COSTEER_OK) {
        return bad;
    }
    costeer_sampler *const s = calloc(1, sizeof *s);
    if (s == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "sampler", "no memory for a sampler");
    }
    s->params = *params;
    s->log_penalty = cs_portable_log(params->repetition_penalty);
    s->log_min_p = params->min_p > 0 ? cs_portable_log(params->min_p) : -INFINITY;
    s->n_vocab = n_vocab;
    s->candidates = malloc((size_t)n_vocab * sizeof *s->candidates);
    s->window = malloc((size_t)params->repetition_window * sizeof *s->window);
    s->recent = malloc((size_t)params->repetition_window * sizeof *s->recent);
    if (s->candidates == NULL || s->window == NULL || s->recent == NULL) {
        costeer_sampler_free(s);
        return cs_error_set(err, COSTEER_ENOMEM, "sampler", "no memory for %d candidates and a window of %d tokens", n_vocab,
                            params->repetition_window);
    }
    *out = s;
    return COSTEER_OK;
}

void costeer_sampler_free(costeer_sampler *sampler)
{
    if (sampler == NULL) {
        return;
    }
    free(sampler->candidates);
    free(sampler->window);
    free(sampler->recent);
    free(sampler);
}

bool costeer_sampler_is_argmax(const costeer_sampler *sampler)
{
    return sampler->params.temperature == 0 && sampler->params.repetition_penalty == 1;
}

/* ---- repetition -------------------------------------------------------------------------------------------------- */

/* First place in `recent` whose token is not below this one. */
static int32_t recent_find(const costeer_sampler *s, int32_t token)
{
    int32_t low = 0, high = s->n_recent;
    while (low < high) {
        const int32_t middle = low + (high - low) / 2;
        if (s->recent[middle] < token) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

void costeer_sampler_accept(costeer_sampler *sampler, int32_t token)
{
    costeer_sampler *const s = sampler;
    if (s->n_recent == s->params.repetition_window) {
        const int32_t leaving = recent_find(s, s->window[s->next]);
        s->n_recent--;
        memmove(s->recent + leaving, s->recent + leaving + 1, (size_t)(s->n_recent - leaving) * sizeof *s->recent);
    }
    const int32_t place = recent_find(s, token);
    memmove(s->recent + place + 1, s->recent + place, (size_t)(s->n_recent - place) * sizeof *s->recent);
    s->recent[place] = token;
    s->n_recent++;
    s->window[s->next] = token;
    s->next = (s->next + 1) % s->params.repetition_window;
}

void costeer_sampler_reset(costeer_sampler *sampler)
{
    sampler->n_recent = 0;
    sampler->next = 0;
}

void costeer_sampler_penalize(const costeer_sampler *sampler, const int32_t *ids, double *scores, int32_t n)
{
    const costeer_sampler *const s = sampler;
    if (s->params.repetition_penalty == 1 || s->n_recent == 0) {
        return;
    }
    if (ids == NULL) {
        for (int32_t i = 0; i < s->n_recent; i++) {
            const bool repeated =
                i > 0 && s->recent[i] == s->recent[i - 1]; /* a token is penalised once, however often it came */
            if (!repeated && s->recent[i] >= 0 && s->recent[i] < n) {
                scores[s->recent[i]] -= s->log_penalty;
            }
        }
        return;
    }
    for (int32_t i = 0; i < n; i++) {
        const int32_t place = recent_find(s, ids[i]);
        if (place < s->n_recent && s->recent[place] == ids[i]) {
            scores[i] -= s->log_penalty;
        }
    }
}

/* ---- heap -------------------------------------------------------------------------------------------------------- */

static bool better(const struct candidate *a, const struct candidate *b)
{
    return a->score > b->score || (a->score == b->score && a->token < b->token);
}

static bool worse(const struct candidate *a, const struct candidate *b)
{
    return better(b, a);
}

static bool higher_id(const struct candidate *a, const struct candidate *b)
{
    return a->token > b->token;
}

static void sift_down(struct candidate *heap, int32_t n, int32_t root, before_fn before)
{
    const struct candidate moving = heap[root];
    for (int32_t child = 2 * root + 1; child < n; child = 2 * root + 1) {
        if (child + 1 < n && before(&heap[child + 1], &heap[child])) {
            child++;
        }
        if (!before(&heap[child], &moving)) {
            break;
        }
        heap[root] = heap[child];
        root = child;
    }
    heap[root] = moving;
}

static void heapify(struct candidate *heap, int32_t n, before_fn before)
{
    for (int32_t root = n / 2 - 1; root >= 0; root--) {
        sift_down(heap, n, root, before);
    }
}

/* Move the first of a heap of n to its end, where it is no longer part of it. */
static void pop(struct candidate *heap, int32_t n, before_fn before)
{
    const struct candidate first = heap[0];
    heap[0] = heap[n - 1];
    heap[n - 1] = first;
    sift_down(heap, n - 1, 0, before);
}

/* Heap sort: qsort() may allocate. Tokens that already ascend, as dense ones do, are left alone. */
static void sort_by_id(struct candidate *c, int32_t n)
{
    int32_t sorted = 1;
    while (sorted < n && c[sorted - 1].token < c[sorted].token) {
        sorted++;
    }
    if (sorted >= n) {
        return;
    }
    heapify(c, n, higher_id);
    for (int32_t left = n; left > 1; left--) {
        pop(c, left, higher_id);
    }
}

/* ---- filters ----------------------------------------------------------------------------------------------------- */

/* Best score, lowest id on a tie; refuses what is not a distribution. */
static costeer_err find_best(const int32_t *ids, const double *scores, int32_t n, costeer_choice *best, costeer_error *err)
{
    *best = (costeer_choice){.token = -1, .score = -INFINITY};
    double second = -INFINITY;
    for (int32_t i = 0; i < n; i++) {
        const int32_t token = ids != NULL ? ids[i] : i;
        if (isnan(scores[i]) || scores[i] == INFINITY) {
            return cs_error_set(err, COSTEER_ENUMERIC, "sampler", "the score of token %d is %g", token, scores[i]);
        }
        if (scores[i] > best->score || (scores[i] == best->score && token < best->token)) {
            second = best->score;
            *best = (costeer_choice){.token = token, .score = scores[i]};
        } else if (scores[i] > second) {
            second = scores[i];
        }
    }
    if (best->score == -INFINITY) {
        return cs_error_set(err, COSTEER_ENUMERIC, "sampler",
                            "none of %d tokens has a finite score; there is nothing to choose from", n);
    }
    best->margin = best->score - second;
    return COSTEER_OK;
}

/* Copy the candidates that can matter. top-p counts probabilities at temperature 1, the draw those at the temperature. */
static int32_t collect(costeer_sampler *s, const int32_t *ids, const double *scores, int32_t n, double best)
{
    const double t = s->params.temperature;
    const bool counts_all = s->params.top_p < 1;
    double lowest = best - NEGLIGIBLE_NATS * (counts_all && t < 1 ? 1 : t);
    if (!counts_all && best + s->log_min_p > lowest) {
        lowest = best + s->log_min_p; /* min-p and top-k commute: both keep the best, only top-p asks what the others weigh */
    }
    int32_t kept = 0;
    for (int32_t i = 0; i < n; i++) {
        if (scores[i] >= lowest && scores[i] > -INFINITY) {
            s->candidates[kept++] = (struct candidate){.score = scores[i], .token = ids != NULL ? ids[i] : i};
        }
    }
    return kept;
}

static double weigh(struct candidate *c, int32_t n, double best, double temperature)
{
    double total = 0;
    for (int32_t i = 0; i < n; i++) {
        c[i].weight = cs_portable_exp((c[i].score - best) / temperature);
        total += c[i].weight;
    }
    return total;
}

static int32_t keep_above(struct candidate *c, int32_t n, double lowest)
{
    int32_t kept = 0;
    for (int32_t i = 0; i < n; i++) {
        if (c[i].score >= lowest) {
            c[kept++] = c[i];
        }
    }
    return kept;
}

/* Keep the k best, in any order: a heap of k with the worst on top, so that most candidates cost one comparison. */
static int32_t keep_top_k(struct candidate *c, int32_t n, int32_t k)
{
    heapify(c, k, worse);
    for (int32_t i = k; i < n; i++) {
        if (better(&c[i], &c[0])) {
            c[0] = c[i];
            sift_down(c, k, 0, worse);
        }
    }
    return k;
}

/* Drop, whole nats at a time, candidates that the smallest set of this mass cannot hold: a heap of all of them is slow to build.
 */
static int32_t drop_tail(struct candidate *c, int32_t n, double best, double enough)
{
    double mass_by_nats[(int)NEGLIGIBLE_NATS + 1] = {0}; /* entry i: at least i and less than i + 1 nats below the best */
    for (int32_t i = 0; i < n; i++) {
        const double nats = fmin(best - c[i].score, NEGLIGIBLE_NATS);
        mass_by_nats[(int)nats] += c[i].weight;
    }
    double mass = 0;
    int depth = 0;
    while (depth < (int)NEGLIGIBLE_NATS && mass < enough) {
        mass += mass_by_nats[depth++];
    }
    /* One nat more than is needed, in case these sums round differently from the one that decides. */
    return depth < (int)NEGLIGIBLE_NATS ? keep_above(c, n, best - depth - 1) : n;
}

/* Keep the smallest set of best candidates with at least the share p of the probability. */
static int32_t keep_top_p(struct candidate *c, int32_t n, double best, double p)
{
    const double enough = p * weigh(c, n, best, 1);
    n = drop_tail(c, n, best, enough);
    heapify(c, n, better);
    int32_t left = n;
    double mass = 0;
    while (left > 0 && mass < enough) {
        pop(c, left--, better);
        mass += c[left].weight;
    }
    memmove(c, c + left, (size_t)(n - left) * sizeof *c);
    return n - left;
}

static int32_t filter(const costeer_sampler *s, int32_t n, double best)
{
    if (s->params.top_k > 0 && s->params.top_k < n) {
        n = keep_top_k(s->candidates, n, s->params.top_k);
    }
    if (s->params.top_p < 1) {
        n = keep_top_p(s->candidates, n, best, s->params.top_p);
    }
    if (s->params.min_p > 0) {
        n = keep_above(s->candidates, n, best + s->log_min_p);
    }
    return n;
}

/* ---- the draw ---------------------------------------------------------------------------------------------------- */

double costeer_sampler_uniform(uint64_t seed, uint64_t position)
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t counter[4] = {(uint32_t)position, (uint32_t)(position >> 32), 0, 0};
    uint32_t bits[4];
    cs_philox4x32(counter, key, bits);
    const uint64_t word = (uint64_t)bits[1] << 32 | bits[0];
    return (double)(word >> 11) * 0x1p-53; /* the upper 53 bits: every value is a double */
}

static double log_odds(double part, double total)
{
    return log(part / (total - part)); /* −inf for none of it, +inf for all */
}

/* Invert the cumulative distribution over candidates in ascending order of id. */
static costeer_choice draw(struct candidate *c, int32_t n, double best, double temperature, double uniform)
{
    sort_by_id(c, n);
    const double total = weigh(c, n, best, temperature);
    const double target = uniform * total;
    double before = 0;
    int32_t i = 0;
    while (i < n - 1 && before + c[i].weight <= target) { /* the last one ends it: uniform < 1 and the sum is the same one */
        before += c[i++].weight;
    }
    /* Raising the scores of all ids below an edge against those above it by d nats moves the edge's log-odds by d/temperature. */
    const double at = log_odds(target, total);
    const double down = i > 0 ? at - log_odds(before, total) : INFINITY;
    const double up = i < n - 1 ? log_odds(before + c[i].weight, total) - at : INFINITY;
    const double margin = temperature * fmax(fmin(down, up), 0);
    return (costeer_choice){.token = c[i].token, .score = c[i].score, .margin = margin};
}

costeer_err costeer_sampler_choose(costeer_sampler *sampler, const int32_t *ids, const double *scores, int32_t n,
                                   int32_t position, costeer_choice *out, costeer_error *err)
{
    costeer_sampler *const s = sampler;
    if (s == NULL || scores == NULL || out == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "sampler", "sampler, scores and out must not be NULL");
    }
    if (n < 1 || n > s->n_vocab) {
        return cs_error_set(err, COSTEER_EINVAL, "sampler", "%d candidates were given; this sampler takes from 1 to %d", n,
                            s->n_vocab);
    }
    if (position < 0) {
        return cs_error_set(err, COSTEER_EINVAL, "sampler", "position is %d; it must be at least 0", position);
    }
    costeer_choice best;
    const costeer_err bad = find_best(ids, scores, n, &best, err);
    if (bad != COSTEER_OK) {
        return bad;
    }
    if (s->params.temperature == 0) {
        *out = best;
        return COSTEER_OK;
    }
    const int32_t kept = filter(s, collect(s, ids, scores, n, best.score), best.score);
    const double uniform = costeer_sampler_uniform(s->params.seed, (uint64_t)position);
    *out = draw(s->candidates, kept, best.score, s->params.temperature, uniform);
    return COSTEER_OK;
}
