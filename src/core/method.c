/*
 * The methods as rows of one table: where base, expert and amateur come from, and how the weight of their difference is found.
 *
 * A row says everything about a method that is not arithmetic, so that generate, compare and eval need no code for one method in
 * particular. The values are the published ones (docs/methods.md has the papers). Amulet's own T-step update is CoSteer's with
 * beta = alpha, which docs/mathematics.md derives and tests/unit/test_method.c checks against its literal loop.
 */
#include <costeer/method.h>

#include "util/error.h"

#include <math.h>
#include <string.h>

/* As COSTEER_STRENGTH_DEFAULTS, which is a compound literal: no constant for a table. */
#define COSTEER_UPDATE                                                 \
    {                                                                  \
        .T = 20, .alpha = 2.0, .beta = 1.0, .lambda = 2.0, .eta = 10.0 \
    }
#define LIGHT_UPDATE                                                  \
    {                                                                 \
        .T = 1, .alpha = 2.0, .beta = 1.0, .lambda = 2.0, .eta = 10.0 \
    }

/* beta has no part in a row whose rule is AMULET: it is alpha, whatever alpha is set to. */
#define AMULET_UPDATE                                                  \
    {                                                                  \
        .T = 60, .alpha = 2.0, .beta = 2.0, .lambda = 2.0, .eta = 10.0 \
    }

static const costeer_method methods[] = {
    {.name = "llm", .title = "LLM", .note = "without the context", .base = COSTEER_SOURCE_LLM, .top_p = 1.0},
    {.name = "llm+context",
     .title = "LLM with context",
     .note = "the upper bound; the cloud sees the context",
     .base = COSTEER_SOURCE_LLM_WITH,
     .top_p = 1.0},
    {.name = "slm", .title = "SLM", .note = "without the context, no cloud", .base = COSTEER_SOURCE_SLM, .top_p = 1.0},
    {.name = "slm+context",
     .title = "SLM with context",
     .note = "on this device alone, no cloud",
     .base = COSTEER_SOURCE_SLM_WITH,
     .top_p = 1.0},
    {.name = "costeer",
     .title = "CoSteer",
     .note = "the SLM's delta steers the LLM",
     .base = COSTEER_SOURCE_LLM,
     .expert = COSTEER_SOURCE_SLM_WITH,
     .amateur = COSTEER_SOURCE_SLM,
     .rule = COSTEER_WEIGHT_FTRL,
     .strength = COSTEER_UPDATE,
     .top_p = 1.0},
    {.name = "costeer-plausible",
     .title = "CoSteer, plausible",
     .note = "no token gains that the SLM with the context holds for unlikely",
     .base = COSTEER_SOURCE_LLM,
     .expert = COSTEER_SOURCE_SLM_WITH,
     .amateur = COSTEER_SOURCE_SLM,
     .rule = COSTEER_WEIGHT_FTRL,
     .strength = COSTEER_UPDATE,
     .limits = {.plausibility = 0.1},
     .takes_limits = true,
     .top_p = 1.0},
    {.name = "costeer-divergence",
     .title = "CoSteer, by divergence",
     .note = "steers less where the context changes little",
     .base = COSTEER_SOURCE_LLM,
     .expert = COSTEER_SOURCE_SLM_WITH,
     .amateur = COSTEER_SOURCE_SLM,
     .rule = COSTEER_WEIGHT_FTRL,
     .strength = COSTEER_UPDATE,
     .limits = {.divergence = 1.0},
     .takes_limits = true,
     .top_p = 1.0},
    {.name = "costeer-whole",
     .title = "CoSteer, whole words",
     .note = "both limits, and a larger strength",
     .base = COSTEER_SOURCE_LLM,
     .expert = COSTEER_SOURCE_SLM_WITH,
     .amateur = COSTEER_SOURCE_SLM,
     .rule = COSTEER_WEIGHT_FREE,
     .weight = 2.5,
     .limits = {.plausibility = 0.1, .divergence = 0.5},
     .takes_limits = true,
     .top_p = 1.0},
    {.name = "lightcosteer",
     .title = "LightCoSteer",
     .note = "one step of the update",
     .base = COSTEER_SOURCE_LLM,
     .expert = COSTEER_SOURCE_SLM_WITH,
     .amateur = COSTEER_SOURCE_SLM,
     .rule = COSTEER_WEIGHT_FTRL_ONCE,
     .strength = LIGHT_UPDATE,
     .takes_limits = true,
     .top_p = 1.0},
    {.name = "adacosteer",
     .title = "AdaCoSteer",
     .note = "steering ends for good once the LLM is sure",
     .base = COSTEER_SOURCE_LLM,
     .expert = COSTEER_SOURCE_SLM_WITH,
     .amateur = COSTEER_SOURCE_SLM,
     .rule = COSTEER_WEIGHT_FTRL,
     .strength = COSTEER_UPDATE,
     .takes_limits = true,
     .top_p = 1.0,
     .gate = COSTEER_GATE_ADA},
    {.name = "context-steering",
     .title = "Context Steering",
     .note = "0 is llm+context, -1 is llm; the cloud sees the context",
     .base = COSTEER_SOURCE_LLM_WITH,
     .expert = COSTEER_SOURCE_LLM_WITH,
     .amateur = COSTEER_SOURCE_LLM,
     .rule = COSTEER_WEIGHT_FREE,
     .weight = 1.0,
     .top_p = 1.0},
    {.name = "linear-alignment",
     .title = "Linear Alignment",
     .note = "within the top-p of the LLM with the context; the cloud sees the context",
     .base = COSTEER_SOURCE_LLM_WITH,
     .expert = COSTEER_SOURCE_LLM_WITH,
     .amateur = COSTEER_SOURCE_LLM,
     .rule = COSTEER_WEIGHT_FREE,
     .weight = 2.0,
     .top_p = 0.95},
    {.name = "amulet",
     .title = "Amulet",
     .note = "its own update of T steps; the cloud sees the context",
     .base = COSTEER_SOURCE_LLM_WITH,
     .expert = COSTEER_SOURCE_LLM_WITH,
     .amateur = COSTEER_SOURCE_LLM,
     .rule = COSTEER_WEIGHT_AMULET,
     .strength = AMULET_UPDATE,
     .top_p = 1.0},
    {.name = "proxy-tuning",
     .title = "Proxy-tuning",
     .note = "a tuned SLM against the same untuned; no context",
     .base = COSTEER_SOURCE_LLM,
     .expert = COSTEER_SOURCE_SLM_TUNED,
     .amateur = COSTEER_SOURCE_SLM,
     .rule = COSTEER_WEIGHT_FREE,
     .weight = 1.0,
     .takes_limits = true,
     .top_p = 1.0},
};

/* ---- asking the table -------------------------------------------------------------------------------------------- */

const costeer_method *costeer_method_list(size_t *n)
{
    *n = sizeof methods / sizeof methods[0];
    return methods;
}

const costeer_method *costeer_method_find(const char *name)
{
    for (size_t i = 0; name != NULL && i < sizeof methods / sizeof methods[0]; i++) {
        if (strcmp(methods[i].name, name) == 0) {
            return &methods[i];
        }
    }
    return NULL;
}

static bool uses(const costeer_method *method, costeer_source source)
{
    return method->base == source || method->expert == source || method->amateur == source;
}

bool costeer_method_shows_context(const costeer_method *method)
{
    return uses(method, COSTEER_SOURCE_LLM_WITH);
}

bool costeer_method_uses_llm(const costeer_method *method)
{
    return uses(method, COSTEER_SOURCE_LLM) || uses(method, COSTEER_SOURCE_LLM_WITH);
}

bool costeer_method_uses_slm(const costeer_method *method)
{
    return uses(method, COSTEER_SOURCE_SLM) || uses(method, COSTEER_SOURCE_SLM_WITH) || uses(method, COSTEER_SOURCE_SLM_TUNED);
}

/* ---- the weight -------------------------------------------------------------------------------------------------- */

/* Which of the update's parameters a rule has. */
static bool has_update(costeer_weight_rule rule)
{
    return rule == COSTEER_WEIGHT_FTRL || rule == COSTEER_WEIGHT_FTRL_ONCE || rule == COSTEER_WEIGHT_AMULET;
}

/* The first setting that the method does not have, NULL when it has all that were given. */
static const char *find_foreign(const costeer_method *method, const costeer_method_settings *settings)
{
    const bool updates = has_update(method->rule);
    if (settings->T != 0 && (!updates || method->rule == COSTEER_WEIGHT_FTRL_ONCE)) {
        return "T";
    }
    if (!isnan(settings->alpha) && !updates) {
        return "alpha";
    }
    if (!isnan(settings->beta) && (!updates || method->rule == COSTEER_WEIGHT_AMULET)) {
        return "beta";
    }
    if (!isnan(settings->lambda) && !updates) {
        return "lambda";
    }
    return !isnan(settings->eta) && !updates ? "eta" : NULL;
}

static costeer_err refuse(const costeer_method *method, const char *setting, costeer_error *err)
{
    switch (method->rule) {
    case COSTEER_WEIGHT_FTRL_ONCE:
        return cs_error_set(err, COSTEER_EINVAL, "method", "%s has no %s: it is one step of the update; use costeer for more",
                            method->name, setting);
    case COSTEER_WEIGHT_AMULET:
        return cs_error_set(err, COSTEER_EINVAL, "method", "%s has no %s: it is alpha there; set alpha", method->name, setting);
    case COSTEER_WEIGHT_FREE:
        return cs_error_set(err, COSTEER_EINVAL, "method",
                            "%s has no %s: its weight is one number (%g); set the strength instead", method->name, setting,
                            method->weight);
    default:
        return cs_error_set(err, COSTEER_EINVAL, "method", "%s has no %s: it has no deltas to weigh; leave it out", method->name,
                            setting);
    }
}

/* The published parameters with what the user set in their place. */
static costeer_strength_params merge(const costeer_method *method, const costeer_method_settings *settings)
{
    costeer_strength_params out = method->strength;
    out.T = settings->T != 0 ? settings->T : out.T;
    out.alpha = isnan(settings->alpha) ? out.alpha : settings->alpha;
    out.beta = isnan(settings->beta) ? out.beta : settings->beta;
    out.lambda = isnan(settings->lambda) ? out.lambda : settings->lambda;
    out.eta = isnan(settings->eta) ? out.eta : settings->eta;
    out.beta = method->rule == COSTEER_WEIGHT_AMULET ? out.alpha : out.beta;
    return out;
}

costeer_err costeer_method_compute_weight(const costeer_method *method, const costeer_method_settings *settings, double *out,
                                          costeer_error *err)
{
    const costeer_method_settings none = COSTEER_METHOD_SETTINGS_NONE;
    if (method == NULL || out == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "method", "method and out must not be NULL");
    }
    settings = settings == NULL ? &none : settings;
    if (!isnan(settings->weight) && method->rule == COSTEER_WEIGHT_NONE) {
        return refuse(method, "strength", err);
    }
    if (!isnan(settings->weight)) {
        if (!isfinite(settings->weight)) {
            return cs_error_set(err, COSTEER_EINVAL, "method", "strength is %g; it must be a finite number", settings->weight);
        }
        *out = settings->weight;
        return COSTEER_OK;
    }
    const char *foreign = find_foreign(method, settings);
    if (foreign != NULL) {
        return refuse(method, foreign, err);
    }
    if (!has_update(method->rule)) {
        *out = method->rule == COSTEER_WEIGHT_FREE ? method->weight : 0.0;
        return COSTEER_OK;
    }
    const costeer_strength_params params = merge(method, settings);
    return costeer_strength_compute(&params, out, err);
}

/* ---- the limits -------------------------------------------------------------------------------------------------- */

static costeer_err refuse_limit(const costeer_method *method, const char *limit, costeer_error *err)
{
    if (method->expert == COSTEER_SOURCE_SLM_WITH) {
        return cs_error_set(err, COSTEER_EINVAL, "method", "%s has no %s: it is as published; use costeer-%s", method->name,
                            limit, strcmp(limit, "plausibility") == 0 ? "plausible" : limit);
    }
    return cs_error_set(err, COSTEER_EINVAL, "method", "%s has no %s: it %s; leave it out", method->name, limit,
                        method->expert == COSTEER_SOURCE_NONE ? "has no deltas to limit"
                                                              : "is steered by the LLM, not by the SLM");
}

costeer_err costeer_method_find_limits(const costeer_method *method, const costeer_method_settings *settings,
                                       costeer_delta_limits *out, costeer_error *err)
{
    if (method == NULL || out == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "method", "method and out must not be NULL");
    }
    costeer_delta_limits limits = method->limits;
    const bool has_plausibility = settings != NULL && !isnan(settings->plausibility);
    const bool has_divergence = settings != NULL && !isnan(settings->divergence);
    if ((has_plausibility || has_divergence) && !method->takes_limits) {
        return refuse_limit(method, has_plausibility ? "plausibility" : "divergence", err);
    }
    limits.plausibility = has_plausibility ? settings->plausibility : limits.plausibility;
    limits.divergence = has_divergence ? settings->divergence : limits.divergence;
    const costeer_err bad = costeer_delta_limits_check(&limits, err);
    if (bad == COSTEER_OK) {
        *out = limits;
    }
    return bad;
}
