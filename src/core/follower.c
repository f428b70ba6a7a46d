/*
 * The SLM on its way along an answer: see follower.h.
 *
 * A gate lets the SLM skip positions. It is cheaper to skip the steps too and to take them later in one batch, because a batch
 * reads the weights once whatever the number of tokens. The tokens themselves are the session's: the follower only remembers how
 * many of them the source knows, so that lagging needs no memory.
 */
#include "core/follower.h"

#include "util/clock.h"

#include <math.h>

void cs_follower_init(cs_follower *follower, costeer_delta_source *source, const costeer_session_params *params)
{
    *follower = (cs_follower){.source = NULL};
    if (source == NULL || params->strength == 0.0) {
        return;
    }
    follower->source = source;
    follower->n_deltas = source->n_deltas;
    for (size_t i = 0; i < follower->n_deltas; i++) {
        follower->context_weights[i] = params->context_weights == NULL ? 1.0 : params->context_weights[i];
        follower->draft_weights[i] = params->strength * follower->context_weights[i];
    }
}

static void set_strength(cs_follower *follower, double strength)
{
    follower->is_read = false;
    for (size_t i = 0; i < follower->n_deltas; i++) {
        follower->weights[i] = strength * follower->context_weights[i];
        follower->deltas[i] = (costeer_delta){.weight = follower->weights[i]};
    }
}

void cs_follower_go_alone(cs_follower *follower)
{
    follower->limits = (costeer_delta_limits){.plausibility = 0.0};
    set_strength(follower, 1.0);
}

void cs_follower_reset(cs_follower *follower, const costeer_session_params *params)
{
    follower->n_given = 0;
    follower->n_steps = 0;
    follower->has_begun = false;
    follower->limits = params->limits;
    set_strength(follower, params->strength);
}

costeer_err cs_follower_begin(cs_follower *follower, int64_t *us, costeer_error *err)
{
    if (follower->source == NULL) {
        return COSTEER_OK;
    }
    const int64_t start = cs_clock_us();
    if (follower->source->ops->weigh != NULL) {
        follower->source->ops->weigh(follower->source, follower->draft_weights);
    }
    const costeer_err code = follower->source->ops->begin(follower->source, err);
    follower->has_begun = code == COSTEER_OK;
    follower->is_read = false;
    *us += cs_clock_us() - start;
    return code;
}

costeer_err cs_follower_follow(cs_follower *follower, const int32_t *tokens, size_t n, int64_t *us, costeer_error *err)
{
    if (follower->source == NULL || n <= follower->n_given) {
        return COSTEER_OK;
    }
    const int64_t start = cs_clock_us();
    const costeer_err code =
        follower->source->ops->step(follower->source, tokens + follower->n_given, n - follower->n_given, err);
    *us += cs_clock_us() - start;
    follower->is_read = false;
    if (code == COSTEER_OK) {
        follower->n_given = n;
        follower->n_steps++;
    }
    return code;
}

int32_t cs_follower_n_batches(const cs_follower *follower)
{
    const costeer_delta_source *source = follower->source;
    return source != NULL && follower->has_begun && source->ops->count_batches != NULL ? source->ops->count_batches(source)
                                                                                       : follower->n_steps;
}

/* The SLM's own rows of a delta that was read. */
static costeer_slm_rows rows_of(const cs_follower *follower, size_t i, int32_t n_vocab)
{
    costeer_slm_rows rows = {.expert = follower->deltas[i].expert, .amateur = follower->deltas[i].amateur, .n = n_vocab};
    if (follower->source->ops->rows != NULL) {
        follower->source->ops->rows(follower->source, i, &rows);
    }
    return rows;
}

static costeer_err limit(cs_follower *follower, int32_t n_vocab, costeer_error *err)
{
    costeer_err code = COSTEER_OK;
    for (size_t i = 0; code == COSTEER_OK && i < follower->n_deltas; i++) {
        const double weight = follower->weights[i];
        if (weight != 0.0) { /* else it must not be read at all */
            const costeer_slm_rows rows = rows_of(follower, i, n_vocab);
            code = cs_limits_measure(&rows, &follower->limits, weight < 0.0, &follower->states[i], err);
        }
    }
    return code;
}

costeer_err cs_follower_read(cs_follower *follower, int32_t n_vocab, int64_t *us, costeer_error *err)
{
    if (follower->source == NULL || follower->is_read) {
        return COSTEER_OK;
    }
    for (size_t i = 0; i < follower->n_deltas; i++) {
        follower->deltas[i].weight = follower->weights[i]; /* read may look at the sign */
    }
    follower->source->ops->read(follower->source, follower->deltas, follower->n_deltas);
    if (cs_follower_is_limited(follower)) {
        const int64_t start = cs_clock_us();
        const costeer_err code = limit(follower, n_vocab, err);
        *us += cs_clock_us() - start;
        if (code != COSTEER_OK) {
            return code;
        }
        cs_follower_with_noise(follower, 0.0, follower->deltas);
    }
    follower->is_read = true;
    return COSTEER_OK;
}

bool cs_follower_is_limited(const cs_follower *follower)
{
    return follower->source != NULL && cs_limits_are_on(&follower->limits);
}

void cs_follower_with_noise(const cs_follower *follower, double noise, costeer_delta *out)
{
    for (size_t i = 0; i < follower->n_deltas; i++) {
        out[i] = follower->deltas[i];
        if (follower->weights[i] != 0.0) {
            cs_limits_apply(&follower->states[i], &follower->limits, follower->weights[i], noise, &out[i]);
        }
    }
}

const float *cs_follower_alone(const cs_follower *follower)
{
    costeer_delta_source *source = follower->source;
    return source->ops->alone != NULL ? source->ops->alone(source) : follower->deltas[0].amateur;
}

/* The delta of one context for a token, of normalised distributions; 0 where the SLM says nothing. */
static double published_delta(const cs_follower *follower, size_t i, int32_t n_vocab, int32_t token)
{
    const costeer_delta *delta = &follower->deltas[i];
    if (isinf(delta->expert[token]) && isinf(delta->amateur[token])) {
        return 0.0;
    }
    const costeer_slm_rows rows = rows_of(follower, i, n_vocab);
    const double expert = rows.is_normalised ? 0.0 : costeer_logsumexp(rows.expert, rows.n);
    const double amateur = rows.is_normalised ? 0.0 : costeer_logsumexp(rows.amateur, rows.n);
    return ((double)delta->expert[token] - expert) - ((double)delta->amateur[token] - amateur);
}

double cs_follower_delta(const cs_follower *follower, int32_t n_vocab, int32_t token)
{
    double sum = 0.0;
    for (size_t i = 0; i < follower->n_deltas; i++) {
        if (follower->context_weights[i] != 0.0) { /* as in fusion: 0 times infinity would be no number */
            sum += follower->context_weights[i] * published_delta(follower, i, n_vocab, token);
        }
    }
    return sum;
}

double cs_follower_gain(const cs_follower *follower, int32_t n_vocab, int32_t token)
{
    double sum = 0.0;
    for (size_t i = 0; i < follower->n_deltas; i++) {
        const costeer_delta *delta = &follower->deltas[i];
        if (delta->weight == 0.0) {
            continue;
        }
        const double gain = delta->weight * published_delta(follower, i, n_vocab, token);
        const float favours = delta->weight > 0.0 ? delta->expert[token] : delta->amateur[token];
        sum += delta->is_limited && (double)favours < delta->floor ? fmin(gain, 0.0) : gain;
    }
    return sum;
}

costeer_err cs_follower_draft(cs_follower *follower, costeer_draft_params params, const int32_t *tokens, size_t n_tokens,
                              int32_t *drafts, int32_t *n, int64_t *us, costeer_error *err)
{
    costeer_delta_source *source = follower->source;
    *n = 0;
    const costeer_err code = cs_follower_follow(follower, tokens, n_tokens - 1, us, err);
    if (code != COSTEER_OK) {
        return code;
    }
    params.weights = follower->draft_weights;
    params.limits = follower->limits;
    follower->is_read = false; /* a draft may overwrite the rows */
    const int64_t start = cs_clock_us();
    const costeer_err drafted = source->ops->draft(source, &params, tokens[n_tokens - 1], drafts, n, err);
    *us += cs_clock_us() - start;
    return drafted;
}
