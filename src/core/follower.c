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

void cs_follower_set_strength(cs_follower *follower, double strength)
{
    for (size_t i = 0; i < follower->n_deltas; i++) {
        follower->deltas[i].weight = strength * follower->context_weights[i];
    }
}

void cs_follower_reset(cs_follower *follower, double strength)
{
    follower->n_given = 0;
    follower->n_steps = 0;
    follower->has_begun = false;
    cs_follower_set_strength(follower, strength);
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

void cs_follower_read(cs_follower *follower)
{
    if (follower->source != NULL) {
        follower->source->ops->read(follower->source, follower->deltas, follower->n_deltas);
    }
}

const float *cs_follower_alone(const cs_follower *follower)
{
    costeer_delta_source *source = follower->source;
    return source->ops->alone != NULL ? source->ops->alone(source) : follower->deltas[0].amateur;
}

/* What turns the rows of a delta into log-probabilities. */
static void normalise(const cs_follower *follower, size_t i, int32_t n_vocab, double *expert, double *amateur)
{
    costeer_delta_source *source = follower->source;
    if (source->ops->normalisers != NULL) {
        source->ops->normalisers(source, i, expert, amateur);
        return;
    }
    *expert = costeer_logsumexp(follower->deltas[i].expert, n_vocab);
    *amateur = costeer_logsumexp(follower->deltas[i].amateur, n_vocab);
}

double cs_follower_delta(const cs_follower *follower, int32_t n_vocab, int32_t token)
{
    double sum = 0.0;
    for (size_t i = 0; i < follower->n_deltas; i++) {
        const costeer_delta *delta = &follower->deltas[i];
        if (follower->context_weights[i] == 0.0 || (isinf(delta->expert[token]) && isinf(delta->amateur[token]))) {
            continue; /* as in fusion: 0 times infinity would be no number */
        }
        double expert;
        double amateur;
        normalise(follower, i, n_vocab, &expert, &amateur);
        const double ratio = ((double)delta->expert[token] - expert) - ((double)delta->amateur[token] - amateur);
        sum += follower->context_weights[i] * ratio;
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
    const int64_t start = cs_clock_us();
    const costeer_err drafted = source->ops->draft(source, &params, tokens[n_tokens - 1], drafts, n, err);
    *us += cs_clock_us() - start;
    return drafted;
}
