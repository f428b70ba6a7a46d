/*
 * The strength: the scalar to which T steps of the published update amount.
 *
 * The update runs Follow-The-Regularized-Leader over the whole vocabulary (CoSteer, arXiv 2507.04756). Every iterate has the form
 * p_t = base + c_t delta + constant, and constants vanish in the softmax, so T passes over the vocabulary become one recurrence
 * over numbers. tests/unit/ftrl_oracle.c is the literal loop that this is checked against.
 */
#include <costeer/steer.h>

#include "util/error.h"

#include <math.h>

static costeer_err check_params(const costeer_strength_params *p, costeer_error *err)
{
    if (p->T < 1 || p->T > COSTEER_STRENGTH_T_MAX) {
        return cs_error_set(err, COSTEER_EINVAL, "strength", "T is %d; it must be from 1 to %d", p->T, COSTEER_STRENGTH_T_MAX);
    }
    if (!isfinite(p->alpha)) {
        return cs_error_set(err, COSTEER_EINVAL, "strength", "alpha is %g; it must be a finite number", p->alpha);
    }
    if (!isfinite(p->beta)) {
        return cs_error_set(err, COSTEER_EINVAL, "strength", "beta is %g; it must be a finite number", p->beta);
    }
    if (!isfinite(p->lambda) || p->lambda <= 0) {
        return cs_error_set(err, COSTEER_EINVAL, "strength", "lambda is %g; it must be finite and greater than 0", p->lambda);
    }
    if (!isfinite(p->eta) || p->eta <= 0) {
        return cs_error_set(err, COSTEER_EINVAL, "strength", "eta is %g; it must be finite and greater than 0", p->eta);
    }
    return COSTEER_OK;
}

costeer_err costeer_strength_compute(const costeer_strength_params *params, double *out, costeer_error *err)
{
    if (params == NULL || out == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "strength", "params and out must not be NULL");
    }
    const costeer_err bad = check_params(params, err);
    if (bad != COSTEER_OK) {
        return bad;
    }
    const double inverse_eta = 1.0 / params->eta;
    double c = 0.0;
    double earlier = 0.0; /* sum over i < t of c_i */
    for (int32_t t = 1; t <= params->T; t++) {
        c = (params->alpha * earlier + t * params->beta + c * inverse_eta) / (t * params->lambda + inverse_eta);
        earlier += c;
    }
    if (!isfinite(c)) {
        return cs_error_set(
            err, COSTEER_EINVAL, "strength",
            "the strength overflows at T %d, alpha %g, beta %g, lambda %g, eta %g; lower T or alpha, or raise lambda", params->T,
            params->alpha, params->beta, params->lambda, params->eta);
    }
    *out = c;
    return COSTEER_OK;
}
