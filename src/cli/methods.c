/*
 * From --method and the options about steering to rows of the table of methods. Which method has which number is the table's
 * business (costeer/method.h); here it is only said what was given in vain, because who asks for a gate where nothing is steered
 * expects something that will not happen.
 */
#include "cli/methods.h"

#include "cli/message.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define METHODS_MAX 32

/* ---- what a method is -------------------------------------------------------------------------------------------- */

static bool has_source(const costeer_method *method, costeer_source source)
{
    return method->base == source || method->expert == source || method->amateur == source;
}

bool cs_method_uses_context(const costeer_method *method)
{
    return has_source(method, COSTEER_SOURCE_LLM_WITH) || has_source(method, COSTEER_SOURCE_SLM_WITH);
}

bool cs_method_is_steered(const costeer_method *method)
{
    return method->expert != COSTEER_SOURCE_NONE;
}

bool cs_method_has_experts(const costeer_method *method)
{
    return method->expert == COSTEER_SOURCE_SLM_WITH;
}

static bool has_support(const costeer_method *method)
{
    return method->top_p < 1.0;
}

static bool has_tuned(const costeer_method *method)
{
    return has_source(method, COSTEER_SOURCE_SLM_TUNED);
}

/* All contexts together stand in a prompt, instead of one by one beside it. */
static bool joins_contexts(const costeer_method *method)
{
    return has_source(method, COSTEER_SOURCE_LLM_WITH) || method->base == COSTEER_SOURCE_SLM_WITH;
}

bool cs_choices_any(const cs_choices *choices, bool (*is_so)(const costeer_method *method))
{
    for (size_t i = 0; i < choices->n; i++) {
        if (is_so(choices->items[i].method)) {
            return true;
        }
    }
    return false;
}

const char *cs_gate_name(costeer_gate_kind kind)
{
    static const char *const names[] = {"none", "ada", "token"};
    return names[kind];
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

static int refuse_name(const char *name)
{
    const char *names[METHODS_MAX];
    char all[512] = "";
    size_t used = 0;
    size_t n = 0;
    const costeer_method *list = costeer_method_list(&n);
    n = n < METHODS_MAX ? n : METHODS_MAX;
    for (size_t i = 0; i < n; i++) {
        names[i] = list[i].name;
        int written = snprintf(all + used, sizeof all - used, "%s%s", i > 0 ? ", " : "", list[i].name);
        used += written > 0 && (size_t)written < sizeof all - used ? (size_t)written : 0;
    }
    const char *nearest = cs_nearest(name, names, n);
    return nearest != NULL ? cs_fail(CS_EXIT_USAGE, "--method: there is no \"%s\"; did you mean %s?", name, nearest)
                           : cs_fail(CS_EXIT_USAGE, "--method: there is no \"%s\"; there are %s", name, all);
}

static int add_method(const char *name, bool is_named, cs_choices *out)
{
    const costeer_method *method = costeer_method_find(name);
    if (method == NULL) {
        return refuse_name(name);
    }
    for (size_t i = 0; i < out->n; i++) {
        if (out->items[i].method == method) {
            return cs_fail(CS_EXIT_USAGE, "--method %s: given twice", name);
        }
    }
    out->items[out->n++] = (cs_choice){.method = method, .is_named = is_named, .top_p = method->top_p};
    return CS_EXIT_OK;
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

static bool has_published_parameter(const cs_settings *s)
{
    return s->T != 0 || !isnan(s->alpha) || !isnan(s->beta) || !isnan(s->lambda) || !isnan(s->eta);
}

costeer_method_settings cs_method_settings(const cs_settings *settings)
{
    return (costeer_method_settings){.weight = settings->strength,
                                     .T = settings->T,
                                     .alpha = settings->alpha,
                                     .beta = settings->beta,
                                     .lambda = settings->lambda,
                                     .eta = settings->eta,
                                     .plausibility = settings->plausibility,
                                     .divergence = settings->divergence};
}

int cs_choice_weigh(const cs_settings *settings, cs_choice *choice)
{
    if (!isnan(settings->strength) && has_published_parameter(settings)) {
        return cs_fail(CS_EXIT_USAGE,
                       "--strength and --T, --alpha, --beta, --lambda, --eta exclude each other; give one or the others");
    }
    const costeer_method_settings given = cs_method_settings(settings);
    costeer_error err = {.code = COSTEER_OK};
    if (costeer_method_compute_weight(choice->method, &given, &choice->weight, &err) != COSTEER_OK ||
        costeer_method_find_limits(choice->method, &given, &choice->limits, &err) != COSTEER_OK) {
        return cs_fail_error(&err);
    }
    return CS_EXIT_OK;
}

/* Numbers that concern nothing are checked all the same when the command chose the methods: with a context they would matter. */
static int check_unused(const cs_settings *settings)
{
    cs_choice costeer = {.method = costeer_method_find("costeer")};
    return cs_choice_weigh(settings, &costeer);
}

/* Only where nothing at all that was named is steered, a method without deltas complains about a weight. */
static int weigh(const cs_settings *settings, cs_choices *choices)
{
    bool any_steered = cs_choices_any(choices, cs_method_is_steered);
    if (!any_steered && !choices->items[0].is_named) {
        return check_unused(settings);
    }
    for (size_t i = 0; i < choices->n; i++) {
        cs_choice *choice = &choices->items[i];
        bool concerns = cs_method_is_steered(choice->method) || (choice->is_named && !any_steered);
        int exit_code = concerns ? cs_choice_weigh(settings, choice) : CS_EXIT_OK;
        if (exit_code != CS_EXIT_OK) {
            return exit_code;
        }
        choice->top_p = has_support(choice->method) && !isnan(settings->support_top_p) ? settings->support_top_p : choice->top_p;
    }
    return CS_EXIT_OK;
}

static int set_gates(const cs_settings *settings, const cs_arguments *arguments, cs_choices *choices)
{
    bool any_gate = false;
    bool any_ada = false;
    for (size_t i = 0; i < choices->n; i++) {
        cs_choice *choice = &choices->items[i];
        costeer_gate_kind own = choice->method->gate;
        choice->gate =
            (costeer_gate_params){.kind = own, .threshold = settings->gate_threshold, .patience = settings->gate_patience};
        if (settings->gate != NULL && own != COSTEER_GATE_NONE && strcmp(settings->gate, cs_gate_name(own)) != 0) {
            return cs_fail(CS_EXIT_USAGE, "--gate %s: %s has its own gate, %s", settings->gate, choice->method->name,
                           cs_gate_name(own));
        }
        for (int kind = COSTEER_GATE_NONE; settings->gate != NULL && kind <= COSTEER_GATE_TOKEN; kind++) {
            if (cs_method_is_steered(choice->method) && strcmp(settings->gate, cs_gate_name((costeer_gate_kind)kind)) == 0) {
                choice->gate.kind = (costeer_gate_kind)kind;
            }
        }
        any_gate = any_gate || choice->gate.kind != COSTEER_GATE_NONE;
        any_ada = any_ada || choice->gate.kind == COSTEER_GATE_ADA;
    }
    if (settings->gate != NULL && !cs_choices_any(choices, cs_method_is_steered)) {
        return cs_fail(CS_EXIT_USAGE, "--gate: method %s steers nothing that a gate could leave alone",
                       choices->items[0].method->name);
    }
    if (cs_arguments_have(arguments, "gate-threshold") && !any_gate) {
        return cs_fail(CS_EXIT_USAGE, "--gate-threshold: needs --gate ada or --gate token");
    }
    if (cs_arguments_have(arguments, "gate-patience") && !any_ada) {
        return cs_fail(CS_EXIT_USAGE, "--gate-patience: needs --gate ada or --method adacosteer; no other gate counts");
    }
    return CS_EXIT_OK;
}

/* What belongs to one method alone. */
static int check_own_options(const cs_settings *settings, const cs_choices *choices)
{
    if (!isnan(settings->support_top_p) && !cs_choices_any(choices, has_support)) {
        return cs_fail(CS_EXIT_USAGE, "--support-top-p: needs --method linear-alignment, the only one that has a support");
    }
    bool any_tuned = cs_choices_any(choices, has_tuned);
    if (settings->tuned_slm != NULL && !any_tuned) {
        return cs_fail(CS_EXIT_USAGE, "--tuned-slm: needs --method proxy-tuning, the only one that uses it");
    }
    if (settings->tuned_slm == NULL && any_tuned) {
        return cs_fail(CS_EXIT_USAGE, "--method proxy-tuning: needs --tuned-slm FILE, the SLM as it was tuned");
    }
    return CS_EXIT_OK;
}

int cs_choices_make(const cs_settings *settings, const cs_arguments *arguments, const char *const *defaults, size_t n_defaults,
                    cs_choices *out)
{
    bool is_named = settings->methods.n > 0;
    const char *const *names = is_named ? settings->methods.items : defaults;
    int exit_code = CS_EXIT_OK;
    out->n = 0;
    for (size_t i = 0; i < (is_named ? settings->methods.n : n_defaults) && exit_code == CS_EXIT_OK; i++) {
        exit_code = add_method(names[i], is_named, out);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = weigh(settings, out);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = set_gates(settings, arguments, out);
    }
    return exit_code == CS_EXIT_OK ? check_own_options(settings, out) : exit_code;
}

/* ---- contexts ---------------------------------------------------------------------------------------------------- */

bool cs_method_needs_permission(const cs_settings *settings, const costeer_method *method)
{
    return settings->cloud != NULL && costeer_method_shows_context(method) && !settings->allow_context_upload;
}

int cs_choices_check_upload(const cs_settings *settings, const cs_choices *choices)
{
    for (size_t i = 0; i < choices->n; i++) {
        const cs_choice *choice = &choices->items[i];
        if (choice->is_named && cs_method_needs_permission(settings, choice->method)) {
            return cs_fail(CS_EXIT_USAGE, "--method %s: would show the context to the cloud; --allow-context-upload allows it",
                           choice->method->name);
        }
    }
    return CS_EXIT_OK;
}

int cs_choices_check_contexts(const cs_choices *choices, bool has_context, bool has_followed)
{
    for (size_t i = 0; i < choices->n; i++) {
        const costeer_method *method = choices->items[i].method;
        const char *option = choices->items[i].is_named ? "--method " : "";
        if (cs_method_uses_context(method) && !has_context) {
            return cs_fail(CS_EXIT_USAGE, "%s%s: needs a --context FILE", option, method->name);
        }
        if (joins_contexts(method) && !has_followed) {
            return cs_fail(CS_EXIT_USAGE, "%s%s: needs a --context with a positive weight", option, method->name);
        }
    }
    return CS_EXIT_OK;
}
