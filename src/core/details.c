/*
 * What --trace and compare show of a position beyond the choice.
 *
 * The fast path never computes a probability; this one does, over the whole base, which is why it is separate and off by default.
 * Policy here is the fused policy, before sampling options. Over a sparse base it is normalised over the entries the device has
 * seen.
 */
#include "core/details.h"

#include "util/error.h"

#include <math.h>
#include <stdlib.h>

struct cs_details {
    double *log_policy; /* [n_vocab] */
};

costeer_err cs_details_create(int32_t n_vocab, cs_details **out, costeer_error *err)
{
    *out = calloc(1, sizeof **out);
    if (*out != NULL) {
        (*out)->log_policy = malloc((size_t)n_vocab * sizeof *(*out)->log_policy);
    }
    if (*out == NULL || (*out)->log_policy == NULL) {
        cs_details_free(*out);
        *out = NULL;
        return cs_error_set(err, COSTEER_ENOMEM, "session", "no memory for the details of %d tokens", n_vocab);
    }
    return COSTEER_OK;
}

void cs_details_free(cs_details *details)
{
    if (details != NULL) {
        free(details->log_policy);
        free(details);
    }
}

/* The best few so far, descending; ties keep the order of arrival, which is by id when dense. */
typedef struct best_list {
    int32_t *ids;
    double *values;
    int32_t n;
} best_list;

static void offer(best_list *best, int32_t id, double value)
{
    if (isnan(value) || isinf(value) || (best->n == COSTEER_BEST_MAX && value <= best->values[best->n - 1])) {
        return;
    }
    int32_t at = best->n < COSTEER_BEST_MAX ? best->n++ : best->n - 1;
    for (; at > 0 && best->values[at - 1] < value; at--) {
        best->ids[at] = best->ids[at - 1];
        best->values[at] = best->values[at - 1];
    }
    best->ids[at] = id;
    best->values[at] = value;
}

costeer_err cs_details_fill(cs_details *details, const costeer_base *base, const costeer_delta *deltas, size_t n_deltas,
                            int32_t n_vocab, costeer_position *at, costeer_error *err)
{
    costeer_choice unused;
    const costeer_err code = costeer_fuse_policy(base, deltas, n_deltas, n_vocab, details->log_policy, &unused, err);
    if (code != COSTEER_OK) {
        return code;
    }
    const int32_t n = base->ids == NULL ? n_vocab : base->n;
    const double normaliser = base->ids == NULL ? costeer_logsumexp(base->values, n_vocab) : 0.0;
    best_list before = {.ids = at->best_before, .values = at->best_before_logprob};
    best_list after = {.ids = at->best_after, .values = at->best_after_logprob};
    for (int32_t i = 0; i < n; i++) {
        const int32_t token = base->ids == NULL ? i : base->ids[i];
        const double logprob = (double)base->values[i] - normaliser;
        offer(&before, token, logprob);
        offer(&after, token, details->log_policy[i]);
        if (token == at->token) {
            at->base_logprob = logprob;
            at->policy_logprob = details->log_policy[i];
        }
    }
    at->n_best = before.n < after.n ? before.n : after.n;
    return COSTEER_OK;
}
