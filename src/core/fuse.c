/*
 * Fusion: the policy of base and deltas, over a dense base or the sparse top of one.
 *
 * One pass in blocks. A kernel (fuse_kernel.h) scores a block and reports its maximum; only the block that holds the best score
 * is looked at again, to find the token. Blocks with anything non-finite go through score_checked(), which knows the rules for
 * −inf and turns NaN and +inf into an error: a broken model must never yield a token. Nothing is allocated. Ties go to the lowest
 * id, on every instruction set, because blocks run in ascending order and scores are compared exactly.
 */
#include "core/fuse_kernel.h"
#include "util/error.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

/* ---- instruction sets -------------------------------------------------------------------------------------------- */

/* Resolved at first use. Threads that race find the same answer, so storing it twice does no harm. */
static _Atomic(const struct cs_fuse_kernel *) active_kernel;

static const struct cs_fuse_kernel *best_kernel(void)
{
    const struct cs_fuse_kernel *kernel = cs_fuse_kernel_avx512();
    if (kernel == NULL) {
        kernel = cs_fuse_kernel_avx2();
    }
    return kernel != NULL ? kernel : cs_fuse_kernel_plain();
}

const struct cs_fuse_kernel *cs_fuse_kernel_current(void)
{
    const struct cs_fuse_kernel *kernel = atomic_load_explicit(&active_kernel, memory_order_relaxed);
    if (kernel == NULL) {
        kernel = best_kernel();
        atomic_store_explicit(&active_kernel, kernel, memory_order_relaxed);
    }
    return kernel;
}

bool cs_fuse_force_isa(const char *name)
{
    const struct cs_fuse_kernel *const kernels[] = {cs_fuse_kernel_avx512(), cs_fuse_kernel_avx2(), cs_fuse_kernel_plain()};
    for (size_t i = 0; i < sizeof kernels / sizeof kernels[0]; i++) {
        if (kernels[i] != NULL && (name == NULL || strcmp(kernels[i]->name, name) == 0)) {
            atomic_store_explicit(&active_kernel, kernels[i], memory_order_relaxed);
            return true;
        }
    }
    return false;
}

const char *costeer_fuse_isa(void)
{
    return cs_fuse_kernel_current()->name;
}

/* ---- arguments --------------------------------------------------------------------------------------------------- */

static struct cs_fuse_term make_term(const costeer_delta *delta)
{
    if (!delta->is_limited) {
        return (struct cs_fuse_term){delta->expert, delta->amateur, delta->weight, -INFINITY, 0};
    }
    const bool is_away = delta->weight < 0;
    return (struct cs_fuse_term){.expert = is_away ? delta->amateur : delta->expert,
                                 .amateur = is_away ? delta->expert : delta->amateur,
                                 .weight = fabs(delta->weight),
                                 .floor = delta->floor,
                                 .shift = delta->shift};
}

costeer_err cs_fuse_terms_init(struct cs_fuse_terms *terms, const costeer_delta *deltas, size_t n_deltas, const char *component,
                               costeer_error *err)
{
    terms->n = 0;
    terms->is_limited = false;
    if (n_deltas > COSTEER_DELTAS_MAX) {
        return cs_error_set(err, COSTEER_EINVAL, component, "%zu deltas were given; at most %d can be fused", n_deltas,
                            COSTEER_DELTAS_MAX);
    }
    if (n_deltas > 0 && deltas == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, component, "deltas is NULL but %zu were announced", n_deltas);
    }
    for (size_t j = 0; j < n_deltas; j++) {
        if (!isfinite(deltas[j].weight)) {
            return cs_error_set(err, COSTEER_EINVAL, component, "the weight of delta %zu is %g; it must be a finite number", j,
                                deltas[j].weight);
        }
        if (deltas[j].weight == 0) {
            continue; /* 0 · inf would be NaN: a delta that is switched off must not be read at all */
        }
        if (deltas[j].expert == NULL || deltas[j].amateur == NULL) {
            return cs_error_set(err, COSTEER_EINVAL, component, "delta %zu has no expert or no amateur", j);
        }
        if (deltas[j].is_limited && (isnan(deltas[j].floor) || !isfinite(deltas[j].shift))) {
            return cs_error_set(err, COSTEER_EINVAL, component, "delta %zu has floor %g and shift %g; they must be numbers", j,
                                deltas[j].floor, deltas[j].shift);
        }
        terms->term[terms->n++] = make_term(&deltas[j]);
        terms->is_limited = terms->is_limited || deltas[j].is_limited;
    }
    return COSTEER_OK;
}

static costeer_err check_base(const costeer_base *base, int32_t n_vocab, costeer_error *err)
{
    if (base == NULL || base->values == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "fuse", "the base is NULL");
    }
    if (n_vocab < 1) {
        return cs_error_set(err, COSTEER_EINVAL, "fuse", "n_vocab is %d; it must be at least 1", n_vocab);
    }
    if (base->ids == NULL && base->n < n_vocab) {
        return cs_error_set(err, COSTEER_EINVAL, "fuse", "a dense base of %d entries does not cover the vocabulary of %d tokens",
                            base->n, n_vocab);
    }
    if (base->ids != NULL && (base->n < 1 || base->n > n_vocab)) {
        return cs_error_set(err, COSTEER_EINVAL, "fuse", "a sparse base has %d entries; it must have from 1 to n_vocab (%d)",
                            base->n, n_vocab);
    }
    return COSTEER_OK;
}

/* ---- scores ------------------------------------------------------------------------------------------------------ */

static bool is_broken(float logit)
{
    return isnan(logit) || logit == INFINITY;
}

static costeer_err broken(costeer_error *err, const char *what, double value, size_t token)
{
    return cs_error_set(err, COSTEER_ENUMERIC, "fuse", "%s of token %zu is %g; the model's output is unusable", what, token,
                        value);
}

/* Finite numbers whose weighted sum is not: the weight may be to blame. */
static costeer_err overflowed(costeer_error *err, const char *what, double value, size_t token)
{
    return cs_error_set(err, COSTEER_ENUMERIC, "fuse",
                        "%s of token %zu is %g; give a smaller strength or weight, or a model whose output is finite", what,
                        token, value);
}

/* Score one token that may hold anything. NaN and +inf are errors wherever they stand, also where the token is excluded anyway:
 * a model that produces them cannot be trusted in its other numbers either. */
static costeer_err score_checked(float base, const struct cs_fuse_terms *terms, size_t token, double *out, costeer_error *err)
{
    if (is_broken(base)) {
        return broken(err, "the base", (double)base, token);
    }
    double score = (double)base;
    for (size_t j = 0; j < terms->n; j++) {
        const float expert = terms->term[j].expert[token];
        const float amateur = terms->term[j].amateur[token];
        if (is_broken(expert)) {
            return broken(err, "the expert", (double)expert, token);
        }
        if (is_broken(amateur)) {
            return broken(err, "the amateur", (double)amateur, token);
        }
        if (base == -INFINITY || (expert == -INFINITY && amateur == -INFINITY)) {
            continue; /* excluded by the base; or impossible with and without the context, which then says nothing */
        }
        const double weighted = terms->term[j].weight * cs_fuse_delta(&terms->term[j], token);
        if (weighted == INFINITY) {
            return overflowed(err, "the weighted delta", weighted, token);
        }
        score += weighted;
    }
    if (score == INFINITY) {
        return overflowed(err, "the score", score, token);
    }
    *out = score;
    return COSTEER_OK;
}

static costeer_err block_checked(const float *base, const struct cs_fuse_terms *terms, size_t first, size_t n, double *scores,
                                 double *max, costeer_error *err)
{
    *max = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        double score = 0;
        const costeer_err bad = score_checked(base[i], terms, first + i, &score, err);
        if (bad != COSTEER_OK) {
            return bad;
        }
        *max = score > *max ? score : *max;
        if (scores != NULL) {
            scores[i] = score;
        }
    }
    return COSTEER_OK;
}

costeer_err cs_fuse_block(const float *base, const struct cs_fuse_terms *terms, size_t first, size_t n, double *scores,
                          double *max, costeer_error *err)
{
    if (cs_fuse_kernel_current()->block(base, terms, first, n, scores, max)) {
        return COSTEER_OK;
    }
    return block_checked(base, terms, first, n, scores, max, err);
}

static costeer_err no_finite_score(costeer_error *err, int32_t n)
{
    return cs_error_set(err, COSTEER_ENUMERIC, "fuse", "none of %d tokens has a finite score; there is nothing to choose from",
                        n);
}

/* Entries scored at once when the best token is looked for: few enough for the scalar search that follows. */
#define LOCATE_BLOCK ((size_t)64)

/* The best two of the scores offered so far; ids ascend, so that the first of equal scores is the lowest. */
struct best_two {
    int32_t token;
    double score;
    double second;
};

static void offer(struct best_two *best, int32_t token, double score)
{
    if (score > best->score) {
        best->second = best->score;
        best->token = token;
        best->score = score;
    } else if (score > best->second) {
        best->second = score;
    }
}

/* Find the lowest token of a block with the best score, and the second best score of the block. The kernel narrows it down:
 * scalar code alone would take a sixth of the whole pass. */
static costeer_err locate(const float *base, const struct cs_fuse_terms *terms, size_t first, size_t n, double score,
                          struct best_two *out)
{
    *out = (struct best_two){.token = -1, .score = -INFINITY, .second = -INFINITY};
    for (size_t start = 0; start < n; start += LOCATE_BLOCK) {
        const size_t end = n - start < LOCATE_BLOCK ? n : start + LOCATE_BLOCK;
        double max = 0;
        if (cs_fuse_block(base + start, terms, first + start, end - start, NULL, &max, NULL) != COSTEER_OK) {
            return COSTEER_EINTERNAL;
        }
        if (max != score || out->score == score) {
            offer(out, (int32_t)(first + start), max); /* only its score matters: the best is elsewhere */
            continue;
        }
        for (size_t i = start; i < end; i++) {
            double candidate = -INFINITY;
            (void)score_checked(base[i], terms, first + i, &candidate, NULL);
            offer(out, (int32_t)(first + i), candidate);
        }
    }
    return out->score == score ? COSTEER_OK : COSTEER_EINTERNAL;
}

static costeer_err fuse_dense(const costeer_base *base, const struct cs_fuse_terms *terms, size_t n_vocab, double *scores,
                              costeer_choice *out, costeer_error *err)
{
    double best = -INFINITY;
    double second = -INFINITY; /* of the other blocks' best scores */
    size_t best_first = 0;
    for (size_t first = 0; first < n_vocab; first += CS_FUSE_BLOCK) {
        const size_t n = n_vocab - first < CS_FUSE_BLOCK ? n_vocab - first : CS_FUSE_BLOCK;
        double max = 0;
        const costeer_err bad = cs_fuse_block(base->values + first, terms, first, n, scores ? scores + first : NULL, &max, err);
        if (bad != COSTEER_OK) {
            return bad;
        }
        if (max > best) { /* strictly: an earlier block keeps a tie */
            second = best;
            best = max;
            best_first = first;
        } else if (max > second) {
            second = max;
        }
    }
    if (best == -INFINITY) {
        return no_finite_score(err, (int32_t)n_vocab);
    }
    const size_t n = n_vocab - best_first < CS_FUSE_BLOCK ? n_vocab - best_first : CS_FUSE_BLOCK;
    struct best_two found;
    if (locate(base->values + best_first, terms, best_first, n, best, &found) != COSTEER_OK) {
        return cs_error_set(err, COSTEER_EINTERNAL, "fuse",
                            "the best score was not found again; was an input changed meanwhile?");
    }
    second = found.second > second ? found.second : second;
    *out = (costeer_choice){.token = found.token, .score = best, .margin = best - second};
    return COSTEER_OK;
}

static costeer_err fuse_sparse(const costeer_base *base, const struct cs_fuse_terms *terms, int32_t n_vocab, double *scores,
                               costeer_choice *out, costeer_error *err)
{
    struct best_two best = {.token = -1, .score = -INFINITY, .second = -INFINITY};
    for (int32_t i = 0; i < base->n; i++) {
        const int32_t token = base->ids[i];
        if (token < 0 || token >= n_vocab) {
            return cs_error_set(err, COSTEER_EINVAL, "fuse", "entry %d of the base names token %d; ids run from 0 to %d", i,
                                token, n_vocab - 1);
        }
        double score = 0;
        const costeer_err bad = score_checked(base->values[i], terms, (size_t)token, &score, err);
        if (bad != COSTEER_OK) {
            return bad;
        }
        if (scores != NULL) {
            scores[i] = score;
        }
        offer(&best, token, score);
        if (score == best.score && token < best.token) { /* entries do not come by id */
            best.token = token;
        }
    }
    if (best.score == -INFINITY) {
        return no_finite_score(err, base->n);
    }
    *out = (costeer_choice){.token = best.token, .score = best.score, .margin = best.score - best.second};
    return COSTEER_OK;
}

static costeer_err fuse(const costeer_base *base, const costeer_delta *deltas, size_t n_deltas, int32_t n_vocab, double *scores,
                        costeer_choice *out, costeer_error *err)
{
    struct cs_fuse_terms terms;
    costeer_err bad = check_base(base, n_vocab, err);
    if (bad == COSTEER_OK) {
        bad = cs_fuse_terms_init(&terms, deltas, n_deltas, "fuse", err);
    }
    if (bad != COSTEER_OK) {
        return bad;
    }
    if (out == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "fuse", "out is NULL");
    }
    return base->ids == NULL ? fuse_dense(base, &terms, (size_t)n_vocab, scores, out, err)
                             : fuse_sparse(base, &terms, n_vocab, scores, out, err);
}

/* ---- public ------------------------------------------------------------------------------------------------------ */

double costeer_near_tie_bound(const costeer_delta *deltas, size_t n_deltas)
{
    double bound = COSTEER_NEAR_TIE_BASE;
    for (size_t j = 0; deltas != NULL && j < n_deltas; j++) {
        bound += fabs(deltas[j].weight) * COSTEER_NEAR_TIE_DELTA;
    }
    return bound;
}

costeer_err costeer_fuse_choose(const costeer_base *base, const costeer_delta *deltas, size_t n_deltas, int32_t n_vocab,
                                costeer_choice *out, costeer_error *err)
{
    return fuse(base, deltas, n_deltas, n_vocab, NULL, out, err);
}

costeer_err costeer_fuse_scores(const costeer_base *base, const costeer_delta *deltas, size_t n_deltas, int32_t n_vocab,
                                double *scores, costeer_choice *out, costeer_error *err)
{
    if (scores == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "fuse", "scores is NULL");
    }
    return fuse(base, deltas, n_deltas, n_vocab, scores, out, err);
}

/* At least 1, as the maximum is among the scores. */
static double sum_exp_scores(const double *scores, int32_t n, double max)
{
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        sum += exp(scores[i] - max);
    }
    return sum;
}

costeer_err costeer_fuse_policy(const costeer_base *base, const costeer_delta *deltas, size_t n_deltas, int32_t n_vocab,
                                double *log_policy, costeer_choice *out, costeer_error *err)
{
    const costeer_err bad = costeer_fuse_scores(base, deltas, n_deltas, n_vocab, log_policy, out, err);
    if (bad != COSTEER_OK) {
        return bad;
    }
    /* Subtracting the maximum first keeps every exponent <= 0: offsets of any size neither overflow nor underflow the sum. */
    const int32_t n = base->ids == NULL ? n_vocab : base->n;
    const double log_sum = log(sum_exp_scores(log_policy, n, out->score));
    for (int32_t i = 0; i < n; i++) {
        log_policy[i] = (log_policy[i] - out->score) - log_sum;
    }
    return COSTEER_OK;
}

static double sum_exp_logits(const float *logits, int32_t n, double max)
{
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        sum += exp((double)logits[i] - max);
    }
    return sum;
}

double costeer_logsumexp(const float *values, int32_t n)
{
    double max = -INFINITY;
    for (int32_t i = 0; i < n; i++) {
        if (isnan(values[i])) {
            return (double)values[i];
        }
        max = (double)values[i] > max ? (double)values[i] : max;
    }
    if (isinf(max)) {
        return max; /* all −inf, none at all, or a +inf: max − max would be NaN */
    }
    return max + log(sum_exp_logits(values, n, max));
}
