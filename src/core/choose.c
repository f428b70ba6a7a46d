/*
 * The choice at a position: over the entries at hand, with as deep a base as it takes to be sure of it.
 *
 * A sparse base leaves two doubts: an unsent token might win (certify.c proves that it cannot), and, where values are rounded, a
 * sent one. The second is settled by choosing again over the worst case within the error: the chosen token's value lowered, all
 * others raised. Fusion and penalty are monotone in the base, rounding included, so a token that wins there wins for all true
 * values. First the exact values are asked for, then more of them. A request for a deeper base never names tokens. Where none of
 * the entries can be chosen at all (the SLM excludes what it has no token for), a deeper base is the only way out.
 */
#include "core/choose.h"

#include "core/fuse_kernel.h"
#include "util/clock.h"
#include "util/error.h"

#include <math.h>
#include <stdlib.h>

/* A deeper base has this many times the entries; after two of them all are asked for. */
#define DEEPEN_FACTOR     8
#define DEEPEN_BEFORE_ALL 2

struct cs_chooser {
    int32_t n_vocab;
    int32_t top_k; /* entries of the base that come unasked; 0: all */
    bool constant_k;
    bool require_certified;
    double temperature;
    double unsent_tolerance;
    costeer_sampler *sampler;
    bool is_argmax;    /* the choice is the argmax of the scores: no array of scores is needed */
    double *scores;    /* [n_vocab] unless is_argmax */
    uint64_t *scratch; /* [COSTEER_CERTIFY_SCRATCH_WORDS(n_vocab)] for certification */
    float *worst;      /* [n_worst] a rounded base's values in the worst case */
    int32_t n_worst;
};

/* The inputs of one choice. */
typedef struct inputs {
    const costeer_delta *deltas;
    size_t n_deltas;
    int32_t position;
} inputs;

/* ---- creation ---------------------------------------------------------------------------------------------------- */

costeer_err cs_chooser_create(const costeer_session_params *params, int32_t n_vocab, cs_chooser **out, costeer_error *err)
{
    *out = NULL;
    cs_chooser *chooser = calloc(1, sizeof *chooser);
    if (chooser == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "session", "no memory for its choices");
    }
    chooser->n_vocab = n_vocab;
    chooser->top_k = params->base_top_k;
    chooser->constant_k = params->constant_k;
    chooser->require_certified = params->require_certified;
    chooser->temperature = params->sampler.temperature;
    chooser->unsent_tolerance = params->unsent_tolerance;
    const costeer_err code = costeer_sampler_create(&params->sampler, n_vocab, &chooser->sampler, err);
    if (code != COSTEER_OK) {
        cs_chooser_free(chooser);
        return code;
    }
    chooser->is_argmax = costeer_sampler_is_argmax(chooser->sampler);
    chooser->n_worst = params->base_top_k < n_vocab ? params->base_top_k : n_vocab;
    chooser->scratch = malloc(COSTEER_CERTIFY_SCRATCH_WORDS(n_vocab) * sizeof *chooser->scratch);
    chooser->scores = chooser->is_argmax ? NULL : malloc((size_t)n_vocab * sizeof *chooser->scores);
    chooser->worst = chooser->n_worst == 0 ? NULL : malloc((size_t)chooser->n_worst * sizeof *chooser->worst);
    if (chooser->scratch == NULL || (!chooser->is_argmax && chooser->scores == NULL) ||
        (chooser->n_worst > 0 && chooser->worst == NULL)) {
        cs_chooser_free(chooser);
        return cs_error_set(err, COSTEER_ENOMEM, "session", "no memory for choices over a vocabulary of %d", n_vocab);
    }
    *out = chooser;
    return COSTEER_OK;
}

void cs_chooser_free(cs_chooser *chooser)
{
    if (chooser == NULL) {
        return;
    }
    costeer_sampler_free(chooser->sampler);
    free(chooser->scores);
    free(chooser->scratch);
    free(chooser->worst);
    free(chooser);
}

void cs_chooser_reset(cs_chooser *chooser)
{
    costeer_sampler_reset(chooser->sampler);
}

void cs_chooser_accept(cs_chooser *chooser, int32_t token)
{
    costeer_sampler_accept(chooser->sampler, token);
}

/* ---- over the entries at hand ------------------------------------------------------------------------------------ */

static costeer_err choose(cs_chooser *chooser, const costeer_base *base, const inputs *in, costeer_choice *out,
                          costeer_error *err)
{
    if (chooser->is_argmax) {
        return costeer_fuse_choose(base, in->deltas, in->n_deltas, chooser->n_vocab, out, err);
    }
    const int32_t n = base->ids == NULL ? chooser->n_vocab : base->n;
    const costeer_err code = costeer_fuse_scores(base, in->deltas, in->n_deltas, chooser->n_vocab, chooser->scores, out, err);
    if (code != COSTEER_OK) {
        return code;
    }
    costeer_sampler_penalize(chooser->sampler, base->ids, chooser->scores, n);
    return costeer_sampler_choose(chooser->sampler, base->ids, chooser->scores, n, in->position, out, err);
}

costeer_err cs_chooser_choose(cs_chooser *chooser, const costeer_base *base, const costeer_delta *deltas, size_t n_deltas,
                              int32_t position, costeer_choice *out, costeer_error *err)
{
    const inputs in = {.deltas = deltas, .n_deltas = n_deltas, .position = position};
    return choose(chooser, base, &in, out, err);
}

/* ---- being sure -------------------------------------------------------------------------------------------------- */

/* What is known of a choice. */
typedef struct proof {
    bool is_certain;
    bool may_be_exact; /* not certain, but the same entries with exact values may prove it */
    double unsent_mass;
} proof;

/* Whether the choice is the same for all values that round to those sent. */
static costeer_err survives_rounding(cs_chooser *chooser, const costeer_base *base, const inputs *in,
                                     const costeer_choice *choice, bool *out, costeer_error *err)
{
    *out = false;
    if (base->n > chooser->n_worst) {
        return COSTEER_OK; /* more than was asked for: an adapter's matter, and exact values will do */
    }
    for (int32_t i = 0; i < base->n; i++) {
        const float value = base->values[i];
        chooser->worst[i] = base->ids[i] == choice->token ? nextafterf(value - base->error, -INFINITY)
                                                          : fminf(nextafterf(value + base->error, INFINITY), 0.0F);
    }
    costeer_base worst = *base;
    worst.values = chooser->worst;
    costeer_choice again;
    const costeer_err code = choose(chooser, &worst, in, &again, err);
    *out = code == COSTEER_OK && again.token == choice->token;
    return code;
}

static costeer_err prove_greedy(cs_chooser *chooser, const costeer_base *base, const inputs *in, costeer_choice *choice,
                                proof *out, costeer_error *err)
{
    costeer_certificate certificate;
    costeer_err code = costeer_certify_greedy(base, in->deltas, in->n_deltas, chooser->n_vocab, choice->score, chooser->scratch,
                                              &certificate, err);
    if (code != COSTEER_OK) {
        return code;
    }
    out->is_certain = certificate.certified;
    if (base->error > 0.0F) {
        bool survives = false;
        code = out->is_certain ? survives_rounding(chooser, base, in, choice, &survives, err) : COSTEER_OK;
        /* an exact score may be higher by the error, and the unsent bound lower by twice of it: once by its margin */
        out->may_be_exact = choice->score + 3.0 * (double)base->error > certificate.best_unsent;
        out->is_certain = survives;
    }
    if (out->is_certain) { /* an unsent token may be the second best */
        choice->margin = fmin(choice->margin, choice->score - certificate.best_unsent);
    }
    return code;
}

static costeer_err prove_sampled(cs_chooser *chooser, const costeer_base *base, const inputs *in, proof *out, costeer_error *err)
{
    costeer_certificate certificate;
    const costeer_err code =
        costeer_certify_sampled(base, in->deltas, in->n_deltas, chooser->n_vocab, chooser->scores, chooser->temperature,
                                chooser->unsent_tolerance, chooser->scratch, &certificate, err);
    if (code == COSTEER_OK) {
        out->is_certain = certificate.certified;
        out->may_be_exact = certificate.unsent_mass <= chooser->unsent_tolerance;
        out->unsent_mass = certificate.unsent_mass;
    }
    return code;
}

/* The cloud's own first choice; the cloud sorted by its exact values. A single entry's rival has at most what it leaves. */
static costeer_choice first_entry(const costeer_base *base)
{
    const double best = (double)base->values[0];
    const double second = base->n > 1 ? (double)base->values[1] : fmin(best, log1p(-exp(best)));
    return (costeer_choice){.token = base->ids[0], .score = best, .margin = best - second};
}

/* Whether the choice is the one that the full vocabulary would have given. */
static costeer_err prove(cs_chooser *chooser, const costeer_base *base, const inputs *in, costeer_choice *choice, proof *out,
                         costeer_error *err)
{
    *out = (proof){.is_certain = true};
    if (base->ids == NULL) {
        return COSTEER_OK;
    }
    if (in->n_deltas == 0 && chooser->is_argmax) {
        if (base->error > 0.0F || base->n == 1) { /* rounding makes ties */
            *choice = first_entry(base);
        }
        return COSTEER_OK; /* the cloud's own first choice: the rest cannot be better */
    }
    return chooser->temperature > 0.0 ? prove_sampled(chooser, base, in, out, err)
                                      : prove_greedy(chooser, base, in, choice, out, err);
}

/* How many entries to ask for next: 8 times as many, twice; then all (0). */
static int32_t deeper(const cs_chooser *chooser, int32_t top_k, int32_t n_grown)
{
    return n_grown >= DEEPEN_BEFORE_ALL || top_k >= chooser->n_vocab / DEEPEN_FACTOR ? 0 : top_k * DEEPEN_FACTOR;
}

/* An exact and perhaps deeper base. */
static costeer_err ask(costeer_cloud *cloud, int32_t top_k, costeer_distribution *from, costeer_position *at, costeer_error *err)
{
    const int64_t asked = cs_clock_us();
    const costeer_err code = costeer_cloud_deepen(cloud, at->position, top_k, from, err);
    at->cloud_wait_us += cs_clock_us() - asked;
    at->n_deepened++;
    if (code == COSTEER_OK && from->base.ids != NULL && from->base.error != 0.0F) {
        return cs_error_set(err, COSTEER_ECLOUD, "session",
                            "the cloud sent rounded values at position %d where exact ones were "
                            "asked for",
                            at->position);
    }
    return code;
}

/* Whether there is nothing to choose from only because every entry is excluded: a deeper base may help then. */
static bool excludes_all(const cs_chooser *chooser, const costeer_base *base, const inputs *in)
{
    struct cs_fuse_terms terms;
    if (base->ids == NULL || base->n >= chooser->n_vocab ||
        cs_fuse_terms_init(&terms, in->deltas, in->n_deltas, "session", NULL) != COSTEER_OK) {
        return false;
    }
    for (int32_t i = 0; i < base->n; i++) {
        double score = 0.0;
        if (base->ids[i] < 0 || base->ids[i] >= chooser->n_vocab ||
            cs_fuse_block(&base->values[i], &terms, (size_t)base->ids[i], 1, NULL, &score, NULL) != COSTEER_OK ||
            score != -INFINITY) {
            return false;
        }
    }
    return true;
}

static costeer_err nothing_to_choose(const costeer_base *base, int32_t position, costeer_error *err)
{
    return cs_error_set(err, COSTEER_ENUMERIC, "session",
                        "none of the %d entries of the base can be chosen at position %d; use a larger --base-top-k", base->n,
                        position);
}

/* Choose over the entries at hand and find out how sure that is; of a base of which all is excluded, nothing is. */
static costeer_err choose_and_prove(cs_chooser *chooser, const costeer_base *base, const inputs *in, bool may_deepen,
                                    costeer_choice *out, proof *found, costeer_error *err)
{
    const costeer_err code = choose(chooser, base, in, out, err);
    if (code == COSTEER_ENUMERIC && excludes_all(chooser, base, in)) {
        *found = (proof){.is_certain = false};
        return may_deepen ? COSTEER_OK : nothing_to_choose(base, in->position, err);
    }
    return code == COSTEER_OK ? prove(chooser, base, in, out, found, err) : code;
}

costeer_err cs_chooser_choose_again(cs_chooser *chooser, const costeer_base *base, const costeer_delta *deltas, size_t n_deltas,
                                    int32_t position, costeer_choice *out, bool *is_certain)
{
    const inputs in = {.deltas = deltas, .n_deltas = n_deltas, .position = position};
    proof found;
    const costeer_err code = choose_and_prove(chooser, base, &in, false, out, &found, NULL);
    *is_certain = code == COSTEER_OK && found.is_certain;
    return code;
}

/* No deeper base is available, or none may be asked for. */
static costeer_err keep_unproved(const cs_chooser *chooser, const costeer_base *base, costeer_position *at, costeer_error *err)
{
    if (chooser->require_certified) {
        return cs_error_set(err, COSTEER_EUNCERTIFIED, "session",
                            "the token at position %d cannot be certified with the %d entries that the cloud gives "
                            "(--require-certified); use a larger --base-top-k where it grants one",
                            at->position, base->n);
    }
    at->uncertified_kept = true;
    return COSTEER_OK;
}

costeer_err cs_chooser_choose_surely(cs_chooser *chooser, costeer_cloud *cloud, const costeer_delta *deltas, size_t n_deltas,
                                     costeer_distribution *from, costeer_position *at, costeer_choice *out, costeer_error *err)
{
    const inputs in = {.deltas = deltas, .n_deltas = n_deltas, .position = at->position};
    int32_t top_k = chooser->top_k;
    int32_t n_grown = 0;
    for (;;) {
        proof found;
        const bool has_all = at->n_deepened > 0 && top_k == 0 && !from->is_deepest;
        const int64_t start = cs_clock_us();
        const bool may_deepen = !has_all && !chooser->constant_k && !from->is_deepest;
        costeer_err code = choose_and_prove(chooser, &from->base, &in, may_deepen, out, &found, err);
        at->fuse_us += cs_clock_us() - start;
        if (code != COSTEER_OK) {
            return code;
        }
        at->certified = found.is_certain;
        at->unsent_mass = found.unsent_mass;
        if (found.is_certain || has_all) {
            return COSTEER_OK;
        }
        if (!may_deepen) {
            return keep_unproved(chooser, &from->base, at, err);
        }
        if (!found.may_be_exact) {
            top_k = deeper(chooser, top_k, n_grown++);
        }
        code = ask(cloud, top_k, from, at, err);
        if (code != COSTEER_OK) {
            return code;
        }
    }
}

/* ---- the gate ---------------------------------------------------------------------------------------------------- */

/*
 * Log of the probability of the LLM's own first choice. A dense base's is rounded as a sparse one's comes, so that both decide
 * alike.
 */
static double log_p_max(const costeer_base *base, int32_t n_vocab)
{
    if (base->ids != NULL) {
        return base->n > 0 ? (double)base->values[0] : (double)NAN;
    }
    float max = -INFINITY;
    for (int32_t i = 0; i < n_vocab; i++) {
        max = base->values[i] > max ? base->values[i] : max;
    }
    return (double)(float)((double)max - costeer_logsumexp(base->values, n_vocab)); /* NaN when anything is */
}

/* Whether rounding by up to `error` leaves the gate's decision open. */
static bool is_near(const costeer_gate *gate, double logprob, double error)
{
    costeer_gate low = *gate;
    costeer_gate high = *gate;
    (void)costeer_gate_opens(&low, exp(logprob - error));
    (void)costeer_gate_opens(&high, exp(logprob + error));
    return low.n_sure != high.n_sure;
}

costeer_err cs_chooser_ask_gate(cs_chooser *chooser, costeer_cloud *cloud, costeer_gate *gate, costeer_distribution *from,
                                costeer_position *at, costeer_error *err)
{
    if (gate->params.kind == COSTEER_GATE_NONE || gate->is_off) {
        at->gated = gate->is_off;
        return COSTEER_OK;
    }
    double logprob = log_p_max(&from->base, chooser->n_vocab);
    if (from->base.ids != NULL && from->base.error > 0.0F && !chooser->constant_k &&
        is_near(gate, logprob, (double)from->base.error)) {
        const costeer_err code = ask(cloud, chooser->top_k, from, at, err);
        if (code != COSTEER_OK) {
            return code;
        }
        logprob = log_p_max(&from->base, chooser->n_vocab);
    }
    at->near_tie = is_near(gate, logprob, COSTEER_NEAR_TIE_BASE);
    at->gated = !costeer_gate_opens(gate, exp(logprob));
    return COSTEER_OK;
}
