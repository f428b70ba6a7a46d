/*
 * The top-K certificate: what the K best entries of the base prove about the policy over the whole vocabulary.
 *
 * The device knows the delta of every token and, from the K sent entries, an upper bound m of every unsent base. So m + sum of
 * weight·delta bounds every unsent score, and a sent score above the largest bound is the best of all (DESIGN.md section 2).
 * The reference is the policy over the |V| float32 log-probabilities that the same cloud would have sent with K = |V|.
 * The bounds are computed by the fusion kernel itself, with m in the place of the base: its operations are monotone in the base,
 * rounding included, so each bound is >= the score that fusion would have computed, to the last bit.
 * The cloud is not trusted: a base that breaks a rule is refused, never reasoned from.
 */
#include "core/fuse_kernel.h"
#include "util/error.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Relative error of a log-probability rounded to float32 (half a unit in the last place), doubled: once for the value that was
 * sent, once for the unsent value that it is compared with. */
#define LOGPROB_SLACK 0x1p-23

/* Largest excess over 1 of the sent probabilities: clouds compute their softmax in float32 or half precision. */
#define SUM_TOLERANCE 1e-4

/* What a sender's own sum of its unsent probabilities may be too small by, in nats. Added up in float32, 152k of them are good to
 * 1e-5. */
#define TAIL_SLACK 1e-4

/* Rounding of a fused score, relative: 16 deltas in double precision lose far less. Only where a rounded base needs a margin. */
#define SCORE_SLACK 0x1p-40

/* Takes the place of m where a token was sent: finite, so that the kernel keeps its fast path, and below every real score. */
#define SENT (-FLT_MAX)

struct scan {
    struct cs_fuse_terms terms;
    const uint64_t *sent; /* bit per token */
    size_t n_vocab;
    float m;            /* bound of every unsent base */
    double best_unsent; /* out */
    /* sampled only: */
    double inverse_temperature; /* 0: greedy */
    double reference;           /* score that unsent_mass is relative to */
    double unsent_mass;         /* out: upper bound of sum exp((score − reference) / temperature) */
    double negligible;          /* mass of a block that need not be added up exactly */
};

/* ---- the base ---------------------------------------------------------------------------------------------------- */

static costeer_err check_arguments(const costeer_base *base, int32_t n_vocab, const uint64_t *scratch,
                                   const costeer_certificate *out, costeer_error *err)
{
    if (base == NULL || base->ids == NULL || base->values == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "certify", "a sparse base is needed: ids or values are NULL");
    }
    if (scratch == NULL || out == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "certify", "scratch and out must not be NULL");
    }
    if (n_vocab < 1) {
        return cs_error_set(err, COSTEER_EINVAL, "certify", "n_vocab is %d; it must be at least 1", n_vocab);
    }
    if (base->n < 1 || base->n > n_vocab) {
        return cs_error_set(err, COSTEER_ECLOUD, "certify", "the cloud sent %d entries; it must send from 1 to n_vocab (%d)",
                            base->n, n_vocab);
    }
    if (!(base->sum_error >= 0) || !isfinite(base->sum_error)) {
        return cs_error_set(err, COSTEER_EINVAL, "certify", "sum_error is %g; it is finite and not negative",
                            (double)base->sum_error);
    }
    if (!(base->error >= 0) || !isfinite(base->error)) {
        return cs_error_set(err, COSTEER_ECLOUD, "certify", "the cloud's rounding error is %g; it is finite and not negative",
                            (double)base->error);
    }
    if (isnan(base->tail) || base->tail > 0) {
        return cs_error_set(err, COSTEER_ECLOUD, "certify",
                            "the cloud sent %g for the unsent tokens; a log-probability is at most 0", (double)base->tail);
    }
    return COSTEER_OK;
}

/* Check entry i against the rules and mark its token as sent. */
static costeer_err check_entry(const costeer_base *base, int32_t i, int32_t n_vocab, uint64_t *sent, costeer_error *err)
{
    const int32_t token = base->ids[i];
    const float value = base->values[i];
    if (token < 0 || token >= n_vocab) {
        return cs_error_set(err, COSTEER_ECLOUD, "certify", "the cloud sent token %d in entry %d; ids run from 0 to %d", token, i,
                            n_vocab - 1);
    }
    if (!isfinite(value) || value > 0) {
        return cs_error_set(err, COSTEER_ECLOUD, "certify",
                            "the cloud sent %g for token %d; a log-probability is finite and <= 0", (double)value, token);
    }
    if (i > 0 && value > base->values[i - 1]) {
        return cs_error_set(err, COSTEER_ECLOUD, "certify",
                            "the cloud's entries are not sorted: entry %d (%g) is above entry %d (%g)", i, (double)value, i - 1,
                            (double)base->values[i - 1]);
    }
    const uint64_t bit = UINT64_C(1) << (token & 63);
    if (sent[token >> 6] & bit) {
        return cs_error_set(err, COSTEER_ECLOUD, "certify", "the cloud sent token %d twice", token);
    }
    sent[token >> 6] |= bit;
    return COSTEER_OK;
}

/* log(1 − sum of sent probabilities), rounded up; 0 when it says nothing. */
static double remainder_bound(double sum_low, int32_t n)
{
    /* exp is good to 1 ulp, each of n additions rounds once, and so does a rounding error's factor: at most (n + 3) 2^-52
     * altogether, as the sum is about 1 at most. */
    const double rounding = ((double)n + 3) * DBL_EPSILON;
    const double least = sum_low - rounding;
    if (least >= 1) {
        return 0; /* more than 1 even after rounding: the cloud's normaliser is a little off, and what it leaves is unknown */
    }
    const double bound = log1p(-least);
    return bound + fabs(bound) * LOGPROB_SLACK;
}

/*
 * Bound by what the sender says is left, rounded up; 0 when it was not told, or when it and the sent tokens do not make a whole.
 *
 * The sender could as well have sent wrong values: a lie spoils only what it answers itself with, and is no way to learn anything
 * but whether a deeper base is asked for. The check catches a mistake, not an enemy.
 */
static double told_bound(const costeer_base *base, double sum)
{
    if (base->tail == 0 ||
        sum * exp((double)base->error + (double)base->sum_error) + exp((double)base->tail) < 1 - SUM_TOLERANCE) {
        return 0;
    }
    return (double)base->tail + TAIL_SLACK;
}

/*
 * m = min(K-th value, log(1 − sum of sent probabilities), tail), rounded up to a float32; marks the sent tokens.
 *
 * With a rounding error e each true value lies within e of the one sent: the K-th may be higher by e, and the sum smaller by a
 * factor exp(−e). A sum_error moves all values alike, the unsent ones too: it makes the sum smaller and orders nothing anew.
 */
static costeer_err bound_tail(const costeer_base *base, int32_t n_vocab, uint64_t *sent, float *m, costeer_error *err)
{
    memset(sent, 0, COSTEER_CERTIFY_SCRATCH_WORDS(n_vocab) * sizeof *sent);
    const double error = (double)base->error;
    const double sum_error = error + (double)base->sum_error;
    double sum = 0;
    double sum_low = 0; /* of the smallest true values that round to those sent */
    for (int32_t i = 0; i < base->n; i++) {
        const costeer_err bad = check_entry(base, i, n_vocab, sent, err);
        if (bad != COSTEER_OK) {
            return bad;
        }
        const double value = (double)base->values[i];
        const double probability = exp(value);
        sum += probability;
        sum_low += probability * (1 + (value - error) * LOGPROB_SLACK); /* value <= 0, and e^y >= 1 + y: not above the true one */
    }
    if (sum * exp(-sum_error) > 1 + SUM_TOLERANCE) {
        return cs_error_set(err, COSTEER_ECLOUD, "certify", "the cloud's probabilities add up to %.6f; they must not exceed 1",
                            sum);
    }
    const double last = (double)base->values[base->n - 1] + error;
    const double by_value = last + fabs(last) * LOGPROB_SLACK;
    const double by_sum = remainder_bound(sum_low * exp(-sum_error), base->n);
    *m = nextafterf((float)fmin(fmin(by_value, by_sum), told_bound(base, sum)), INFINITY); /* the conversion may round down */
    return COSTEER_OK;
}

/* ---- the unsent tokens ------------------------------------------------------------------------------------------- */

/* Upper bound of the mass of n scores of at most max; added up exactly only when that matters. */
static double block_mass(const struct scan *s, const double *scores, size_t n, double max)
{
    const double roof = (double)n * exp((max - s->reference) * s->inverse_temperature);
    if (roof <= s->negligible) {
        return roof;
    }
    double mass = 0;
    for (size_t i = 0; i < n; i++) {
        mass += exp((scores[i] - s->reference) * s->inverse_temperature);
    }
    return mass;
}

/* Write SENT, or m again, into a block's base where tokens were sent. */
static void mark_block(const struct scan *s, size_t first, size_t n, float value, float *base)
{
    for (size_t word = first / 64; word * 64 < first + n; word++) {
        uint64_t bits = s->sent[word];
        for (size_t token = word * 64; bits != 0; token++, bits >>= 1) {
            if (bits & 1) {
                base[token - first] = value;
            }
        }
    }
}

static costeer_err scan_unsent(struct scan *s, costeer_error *err)
{
    float base[CS_FUSE_BLOCK];
    double scores[CS_FUSE_BLOCK];
    for (size_t i = 0; i < CS_FUSE_BLOCK; i++) {
        base[i] = s->m;
    }
    s->best_unsent = -INFINITY;
    s->unsent_mass = 0;
    for (size_t first = 0; first < s->n_vocab; first += CS_FUSE_BLOCK) {
        const size_t n = s->n_vocab - first < CS_FUSE_BLOCK ? s->n_vocab - first : CS_FUSE_BLOCK;
        double max = 0;
        mark_block(s, first, n, SENT, base);
        const bool sampled = s->inverse_temperature > 0;
        const costeer_err bad = cs_fuse_block(base, &s->terms, first, n, sampled ? scores : NULL, &max, err);
        if (bad != COSTEER_OK) {
            return bad;
        }
        mark_block(s, first, n, s->m, base);
        s->best_unsent = max > s->best_unsent ? max : s->best_unsent;
        if (sampled) {
            s->unsent_mass += block_mass(s, scores, n, max);
        }
    }
    return COSTEER_OK;
}

static costeer_err certify(const costeer_base *base, const costeer_delta *deltas, size_t n_deltas, int32_t n_vocab,
                           uint64_t *scratch, struct scan *s, costeer_certificate *out, costeer_error *err)
{
    costeer_err bad = cs_fuse_terms_init(&s->terms, deltas, n_deltas, "certify", err);
    if (bad == COSTEER_OK) {
        bad = bound_tail(base, n_vocab, scratch, &s->m, err);
    }
    if (bad != COSTEER_OK) {
        return bad;
    }
    *out = (costeer_certificate){.tail_bound = -INFINITY, .best_unsent = -INFINITY};
    if (base->n == n_vocab) {
        s->best_unsent = -INFINITY;
        s->unsent_mass = 0;
        return COSTEER_OK; /* nothing is unsent */
    }
    s->sent = scratch;
    s->n_vocab = (size_t)n_vocab;
    bad = scan_unsent(s, err);
    if (bad == COSTEER_OK) {
        out->tail_bound = (double)s->m;
        out->best_unsent = s->best_unsent > (double)SENT / 2 ? s->best_unsent : -INFINITY;
    }
    return bad;
}

/* ---- public ------------------------------------------------------------------------------------------------------ */

costeer_err costeer_certify_greedy(const costeer_base *base, const costeer_delta *deltas, size_t n_deltas, int32_t n_vocab,
                                   double best_score, uint64_t *scratch, costeer_certificate *out, costeer_error *err)
{
    struct scan s = {0};
    costeer_err bad = check_arguments(base, n_vocab, scratch, out, err);
    if (bad != COSTEER_OK) {
        return bad;
    }
    if (isnan(best_score) || best_score == INFINITY) {
        return cs_error_set(err, COSTEER_ENUMERIC, "certify", "the best score is %g; it must be finite or -inf", best_score);
    }
    bad = certify(base, deltas, n_deltas, n_vocab, scratch, &s, out, err);
    if (bad == COSTEER_OK) {
        const double error = base->error > 0 ? (double)base->error + (1 + fabs(best_score)) * SCORE_SLACK : 0;
        out->certified = best_score - error > s.best_unsent; /* strictly: an unsent token with a lower id would win a tie */
    }
    return bad;
}

/* Largest score and the mass of the sent entries relative to it. */
static costeer_err sum_sent(const double *scores, int32_t n, double inverse_temperature, double *max, double *mass,
                            costeer_error *err)
{
    *max = -INFINITY;
    for (int32_t i = 0; i < n; i++) {
        if (isnan(scores[i]) || scores[i] == INFINITY) {
            return cs_error_set(err, COSTEER_ENUMERIC, "certify", "the score of entry %d is %g", i, scores[i]);
        }
        *max = scores[i] > *max ? scores[i] : *max;
    }
    if (*max == -INFINITY) {
        return cs_error_set(err, COSTEER_ENUMERIC, "certify", "none of the %d sent tokens has a finite score", n);
    }
    *mass = 0;
    for (int32_t i = 0; i < n; i++) {
        *mass += exp((scores[i] - *max) * inverse_temperature);
    }
    return COSTEER_OK;
}

costeer_err costeer_certify_sampled(const costeer_base *base, const costeer_delta *deltas, size_t n_deltas, int32_t n_vocab,
                                    const double *scores, double temperature, double tolerance, uint64_t *scratch,
                                    costeer_certificate *out, costeer_error *err)
{
    costeer_err bad = check_arguments(base, n_vocab, scratch, out, err);
    if (bad != COSTEER_OK) {
        return bad;
    }
    if (scores == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "certify", "scores is NULL");
    }
    if (!isfinite(temperature) || temperature <= 0 || !isfinite(1 / temperature)) {
        return cs_error_set(err, COSTEER_EINVAL, "certify", "temperature is %g; it must be finite and greater than 0",
                            temperature);
    }
    if (isnan(tolerance) || tolerance < 0) {
        return cs_error_set(err, COSTEER_EINVAL, "certify", "tolerance is %g; it must not be negative", tolerance);
    }
    struct scan s = {.inverse_temperature = 1 / temperature};
    double sent_mass = 0;
    bad = sum_sent(scores, base->n, s.inverse_temperature, &s.reference, &sent_mass, err);
    if (bad != COSTEER_OK) {
        return bad;
    }
    /* Blocks that are bounded instead of added up inflate the result by less than a thousandth of the tolerance altogether. */
    const size_t n_blocks = ((size_t)n_vocab + CS_FUSE_BLOCK - 1) / CS_FUSE_BLOCK;
    s.negligible = 1e-3 * tolerance * sent_mass / (double)n_blocks;
    bad = certify(base, deltas, n_deltas, n_vocab, scratch, &s, out, err);
    if (bad == COSTEER_OK) {
        /* Rounding: exp and the sums over at most 2^31 entries are good to far better than 1e-6 of the whole. */
        out->unsent_mass = s.unsent_mass / sent_mass * (1 + 1e-6);
        if (base->error > 0) { /* sampling draws from the values themselves, so rounded ones are another distribution */
            out->unsent_mass *= exp((double)base->error * s.inverse_temperature);
        }
        out->certified = out->unsent_mass <= tolerance && base->error == 0;
    }
    return bad;
}
