/*
 * Limits: what holds a delta back where it is noise. docs/mathematics.md has the definitions.
 *
 * Both limits are functions of expert and amateur alone: which tokens may gain comes from the expert's best one, the weight from
 * KL(expert, amateur). One pass over both rows, in blocks, gives all that is needed: the largest value of each, their sums of
 * exponentials and sum of p_expert · (expert − amateur). A block's sums are relative to its own largest values, and blocks are
 * put together as they come (online softmax), so that each row is read from memory once. Blocks that hold −inf go through a
 * careful scalar routine, as in fuse.c.
 */
#include "core/limits.h"

#include "core/fuse_kernel.h"
#include "core/portable_math.h"
#include "util/error.h"

#include <math.h>

costeer_err costeer_delta_limits_check(const costeer_delta_limits *limits, costeer_error *err)
{
    if (!(limits->plausibility >= 0.0 && limits->plausibility <= 1.0)) {
        return cs_error_set(err, COSTEER_EINVAL, "limits", "plausibility is %g; give a number above 0 and up to 1, or 0 for none",
                            limits->plausibility);
    }
    if (!(limits->divergence >= 0.0) || isinf(limits->divergence)) {
        return cs_error_set(err, COSTEER_EINVAL, "limits", "divergence is %g; give a number of nats above 0, or 0 for none",
                            limits->divergence);
    }
    return COSTEER_OK;
}

/* ---- the sums ---------------------------------------------------------------------------------------------------- */

static costeer_err broken(const char *what, float value, size_t token, costeer_error *err)
{
    return cs_error_set(err, COSTEER_ENUMERIC, "limits", "%s of token %zu is %g; the model's output is unusable", what, token,
                        (double)value);
}

/* A block that may hold anything. What the expert excludes has no part in the divergence; what the amateur alone excludes makes
 * it infinite. */
static costeer_err moments_checked(const float *expert, const float *amateur, size_t first, size_t n, struct cs_fuse_moments *out,
                                   costeer_error *err)
{
    *out = (struct cs_fuse_moments){.expert_max = -INFINITY, .amateur_max = -INFINITY};
    for (size_t i = 0; i < n; i++) {
        if (isnan(expert[i]) || expert[i] == INFINITY) {
            return broken("the expert", expert[i], first + i, err);
        }
        if (isnan(amateur[i]) || amateur[i] == INFINITY) {
            return broken("the amateur", amateur[i], first + i, err);
        }
        out->expert_max = fmax(out->expert_max, (double)expert[i]);
        out->amateur_max = fmax(out->amateur_max, (double)amateur[i]);
    }
    for (size_t i = 0; i < n; i++) {
        if (amateur[i] > -INFINITY) {
            out->amateur_sum += cs_portable_exp((double)amateur[i] - out->amateur_max);
        }
        if (expert[i] > -INFINITY) {
            const double p = cs_portable_exp((double)expert[i] - out->expert_max);
            out->expert_sum += p;
            out->cross += amateur[i] > -INFINITY ? p * ((double)expert[i] - (double)amateur[i]) : INFINITY;
        }
    }
    return COSTEER_OK;
}

/* What to multiply the sums of two parts with, so that both are relative to the larger maximum. A part of nothing has −inf. */
static void rescale(double *max, double other, double *mine, double *others)
{
    *mine = *max >= other ? 1 : cs_portable_exp(*max - other);
    *others = *max >= other ? cs_portable_exp(other - *max) : 1;
    *max = *max >= other ? *max : other;
}

static void merge(struct cs_fuse_moments *all, const struct cs_fuse_moments *block)
{
    double mine;
    double others;
    if (block->amateur_sum > 0) {
        rescale(&all->amateur_max, block->amateur_max, &mine, &others);
        all->amateur_sum = all->amateur_sum * mine + block->amateur_sum * others;
    }
    if (block->expert_sum > 0) {
        rescale(&all->expert_max, block->expert_max, &mine, &others);
        all->expert_sum = all->expert_sum * mine + block->expert_sum * others;
        all->cross = isinf(all->cross) || isinf(block->cross) ? INFINITY : all->cross * mine + block->cross * others;
    }
}

static costeer_err add_up(const float *expert, const float *amateur, size_t n_vocab, struct cs_fuse_moments *all,
                          costeer_error *err)
{
    const struct cs_fuse_kernel *kernel = cs_fuse_kernel_current();
    *all = (struct cs_fuse_moments){.expert_max = -INFINITY, .amateur_max = -INFINITY};
    for (size_t first = 0; first < n_vocab; first += CS_FUSE_BLOCK) {
        const size_t n = n_vocab - first < CS_FUSE_BLOCK ? n_vocab - first : CS_FUSE_BLOCK;
        struct cs_fuse_moments block;
        if (!kernel->moments(expert + first, amateur + first, n, &block)) {
            const costeer_err bad = moments_checked(expert + first, amateur + first, first, n, &block, err);
            if (bad != COSTEER_OK) {
                return bad;
            }
        }
        merge(all, &block);
    }
    if (isinf(all->expert_max) || isinf(all->amateur_max)) {
        return cs_error_set(err, COSTEER_ENUMERIC, "limits", "%s holds all %zu tokens for impossible; its output is unusable",
                            isinf(all->expert_max) ? "the expert" : "the amateur", n_vocab);
    }
    return COSTEER_OK;
}

/* ---- limits ------------------------------------------------------------------------------------------------------ */

costeer_err cs_limits_measure(const costeer_slm_rows *rows, const costeer_delta_limits *limits, bool is_away,
                              cs_limits_state *out, costeer_error *err)
{
    struct cs_fuse_moments all;
    const costeer_err bad =
        add_up(is_away ? rows->amateur : rows->expert, is_away ? rows->expert : rows->amateur, (size_t)rows->n, &all, err);
    if (bad != COSTEER_OK) {
        return bad;
    }
    const double expert_sum = all.expert_max + cs_portable_log(all.expert_sum); /* log-sum-exp */
    const double shift = expert_sum - (all.amateur_max + cs_portable_log(all.amateur_sum));
    const double best = rows->is_normalised ? all.expert_max - expert_sum : all.expert_max;
    out->kl = fmax(0, all.cross / all.expert_sum - shift); /* rounding alone makes it negative */
    out->shift = rows->is_normalised ? 0 : shift;
    out->floor = limits->plausibility > 0 ? best + cs_portable_log(limits->plausibility) : -INFINITY;
    return COSTEER_OK;
}

void cs_limits_apply(const cs_limits_state *state, const costeer_delta_limits *limits, double weight, double noise,
                     costeer_delta *delta)
{
    const double share = limits->divergence > 0 ? fmin(1, fmax(0, state->kl + noise) / limits->divergence) : 1;
    delta->weight = weight * share;
    delta->is_limited = true;
    delta->floor = state->floor - noise;
    delta->shift = state->shift;
}

costeer_err costeer_delta_limit(costeer_delta *delta, const costeer_delta_limits *limits, int32_t n_vocab, costeer_error *err)
{
    if (delta == NULL || limits == NULL || n_vocab < 1) {
        return cs_error_set(err, COSTEER_EINVAL, "limits", "delta and limits must not be NULL, and n_vocab at least 1");
    }
    const costeer_err bad = costeer_delta_limits_check(limits, err);
    if (bad != COSTEER_OK || !cs_limits_are_on(limits) || delta->weight == 0) {
        return bad;
    }
    if (delta->expert == NULL || delta->amateur == NULL || !isfinite(delta->weight)) {
        return cs_error_set(err, COSTEER_EINVAL, "limits", "the delta needs an expert, an amateur and a finite weight");
    }
    const costeer_slm_rows rows = {.expert = delta->expert, .amateur = delta->amateur, .n = n_vocab};
    cs_limits_state state;
    const costeer_err failed = cs_limits_measure(&rows, limits, delta->weight < 0, &state, err);
    if (failed == COSTEER_OK) {
        cs_limits_apply(&state, limits, delta->weight, 0, delta);
    }
    return failed;
}
