/*
 * The items of a run: methods times the values of the sweeps. Pure.
 *
 * Settings and sweeps go to the methods that have the parameter. Whether a method has it is asked of the methods' own table, by
 * computing weight and limits with the published value of that parameter alone.
 */
#include "util/error.h"
#include "util/parse.h"

#include <costeer/eval.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Values of one sweep; more is surely a step that lost its zeros. */
#define SWEEP_VALUES_MAX 256

/* The parameters and their published values. */
static const struct parameter {
    const char *name;
    double published;
} parameters[] = {{"strength", 1.0}, {"T", 20.0},   {"alpha", 2.0},        {"beta", 1.0},
                  {"lambda", 2.0},   {"eta", 10.0}, {"plausibility", 0.1}, {"divergence", 1.0}};

#define N_PARAMETERS (sizeof parameters / sizeof parameters[0])

static void set(costeer_method_settings *settings, const char *parameter, double value)
{
    double *const fields[N_PARAMETERS] = {&settings->weight, NULL,           &settings->alpha,        &settings->beta,
                                          &settings->lambda, &settings->eta, &settings->plausibility, &settings->divergence};
    for (size_t i = 0; i < N_PARAMETERS; i++) {
        if (strcmp(parameters[i].name, parameter) != 0) {
            continue;
        }
        if (fields[i] != NULL) {
            *fields[i] = value;
        } else {
            settings->T = (int32_t)value;
        }
    }
}

/* The value of a setting; NaN: not set. */
static double get(const costeer_method_settings *settings, size_t parameter)
{
    const double values[N_PARAMETERS] = {settings->weight,       settings->T != 0 ? (double)settings->T : (double)NAN,
                                         settings->alpha,        settings->beta,
                                         settings->lambda,       settings->eta,
                                         settings->plausibility, settings->divergence};
    return values[parameter];
}

static bool has(const costeer_method *method, size_t parameter)
{
    costeer_method_settings settings = COSTEER_METHOD_SETTINGS_NONE;
    double weight;
    costeer_delta_limits limits;
    set(&settings, parameters[parameter].name, parameters[parameter].published);
    return costeer_method_compute_weight(method, &settings, &weight, NULL) == COSTEER_OK &&
           costeer_method_find_limits(method, &settings, &limits, NULL) == COSTEER_OK;
}

static size_t index_of(const char *parameter)
{
    size_t i = 0;
    while (i < N_PARAMETERS && strcmp(parameters[i].name, parameter) != 0) {
        i++;
    }
    return i;
}

/* ---- sweeps ------------------------------------------------------------------------------------------------------ */

static costeer_err malformed(const char *text, costeer_error *err)
{
    return cs_error_set(err, COSTEER_EINVAL, "eval",
                        "\"%.60s\" is no sweep; give NAME=FROM:TO:STEP with NAME one of strength, T, alpha, beta, lambda, eta, "
                        "plausibility, divergence",
                        text);
}

/* How many values; 0: too many. A last value that rounding put just behind the end still counts. */
static size_t count_values(const costeer_eval_sweep *sweep)
{
    const double steps = floor((sweep->to - sweep->from) / sweep->step + 1e-9);
    return steps < SWEEP_VALUES_MAX ? (size_t)steps + 1 : 0;
}

/* The i-th value as its label has it: 0.1 + 0.2 is 0.3. */
static double value_of(const costeer_eval_sweep *sweep, size_t i)
{
    char text[40];
    double value = sweep->from + (double)i * sweep->step;
    snprintf(text, sizeof text, "%.10g", value);
    return cs_parse_double(text, &value) == CS_PARSE_OK ? value : sweep->from + (double)i * sweep->step;
}

static costeer_err check_sweep(const costeer_eval_sweep *sweep, const char *text, costeer_error *err)
{
    if (!(sweep->step > 0.0) || sweep->to < sweep->from) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "\"%.60s\": the step must be above 0, and TO not below FROM", text);
    }
    if (count_values(sweep) == 0) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "\"%.60s\": more than %d values; take a larger step", text,
                            SWEEP_VALUES_MAX);
    }
    const bool is_whole = floor(sweep->from) == sweep->from && floor(sweep->step) == sweep->step;
    if (strcmp(sweep->parameter, "T") == 0 && (!is_whole || sweep->from < 1.0 || sweep->to > COSTEER_STRENGTH_T_MAX)) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "\"%.60s\": T takes whole numbers from 1 to %d", text,
                            COSTEER_STRENGTH_T_MAX);
    }
    return COSTEER_OK;
}

costeer_err costeer_eval_sweep_parse(const char *text, costeer_eval_sweep *out, costeer_error *err)
{
    char copy[128];
    const size_t n = strlen(text);
    char *const equals = n < sizeof copy ? memcpy(copy, text, n + 1) : NULL;
    char *at = equals != NULL ? strchr(copy, '=') : NULL;
    if (at == NULL) {
        return malformed(text, err);
    }
    *at++ = '\0';
    const size_t parameter = index_of(copy);
    double numbers[3];
    for (size_t i = 0; i < 3; i++) {
        char *end = at != NULL ? at + strcspn(at, ":") : NULL;
        const bool is_last = end != NULL && *end == '\0';
        if (end == NULL || is_last != (i == 2)) {
            return malformed(text, err);
        }
        *end = '\0';
        if (cs_parse_double(at, &numbers[i]) != CS_PARSE_OK) {
            return malformed(text, err);
        }
        at = end + 1;
    }
    if (parameter == N_PARAMETERS) {
        return malformed(text, err);
    }
    *out =
        (costeer_eval_sweep){.parameter = parameters[parameter].name, .from = numbers[0], .to = numbers[1], .step = numbers[2]};
    return check_sweep(out, text, err);
}

/* ---- items ------------------------------------------------------------------------------------------------------- */

/* A list that has room for COSTEER_EVAL_ITEMS_MAX. */
typedef struct list {
    costeer_eval_item *items;
    size_t n;
} list;

/* The settings that a method has. */
static costeer_method_settings select_settings(const costeer_method *method, const costeer_method_settings *settings)
{
    costeer_method_settings out = COSTEER_METHOD_SETTINGS_NONE;
    for (size_t i = 0; i < N_PARAMETERS; i++) {
        const double value = get(settings, i);
        if (!isnan(value) && has(method, i)) {
            set(&out, parameters[i].name, value);
        }
    }
    return out;
}

static costeer_err add_item(list *out, const costeer_eval_items_params *params, const costeer_method *method,
                            const costeer_eval_sweep *sweep, double value, costeer_error *err)
{
    if (out->n == COSTEER_EVAL_ITEMS_MAX) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "more than %d methods and values; take larger steps",
                            COSTEER_EVAL_ITEMS_MAX);
    }
    costeer_eval_item *item = &out->items[out->n];
    *item = (costeer_eval_item){.method = method, .top_p = method->top_p};
    if (method->top_p < 1.0 && !isnan(params->top_p)) {
        item->top_p = params->top_p;
    }
    costeer_method_settings settings = select_settings(method, &params->settings);
    snprintf(item->label, sizeof item->label, "%s", method->name);
    if (sweep != NULL) {
        set(&settings, sweep->parameter, value);
        item->parameter = sweep->parameter;
        item->value = value;
        snprintf(item->label, sizeof item->label, "%s %s=%.10g", method->name, sweep->parameter, value);
    }
    costeer_err code = costeer_method_compute_weight(method, &settings, &item->strength, err);
    code = code == COSTEER_OK ? costeer_method_find_limits(method, &settings, &item->limits, err) : code;
    out->n += code == COSTEER_OK ? 1 : 0;
    return code;
}

static costeer_err add_method(list *out, const costeer_eval_items_params *params, const costeer_method *method,
                              costeer_error *err)
{
    bool is_swept = false;
    costeer_err code = COSTEER_OK;
    for (size_t i = 0; i < params->n_sweeps; i++) {
        const costeer_eval_sweep *sweep = &params->sweeps[i];
        if (!has(method, index_of(sweep->parameter))) {
            continue;
        }
        is_swept = true;
        for (size_t k = 0; code == COSTEER_OK && k < count_values(sweep); k++) {
            code = add_item(out, params, method, sweep, value_of(sweep, k), err);
        }
    }
    return is_swept ? code : add_item(out, params, method, NULL, 0.0, err);
}

static bool any_has(const costeer_eval_items_params *params, size_t parameter)
{
    bool found = false;
    for (size_t i = 0; i < params->n_methods; i++) {
        found = found || has(params->methods[i], parameter);
    }
    return found;
}

/* Whether a parameter is one of those that the weight is made of. */
static bool is_part(size_t parameter)
{
    return parameter > 0 && parameter < index_of("plausibility");
}

/* A weight would hide whatever it is made of. */
static costeer_err check_weight(const costeer_eval_items_params *params, costeer_error *err)
{
    bool has_parts = false;
    for (size_t i = 1; i < N_PARAMETERS; i++) {
        has_parts = has_parts || (is_part(i) && !isnan(get(&params->settings, i)));
    }
    for (size_t i = 0; i < params->n_sweeps; i++) {
        const bool is_weight = strcmp(params->sweeps[i].parameter, "strength") == 0;
        if (is_part(index_of(params->sweeps[i].parameter)) && !isnan(params->settings.weight)) {
            return cs_error_set(err, COSTEER_EINVAL, "eval",
                                "a strength is given, which takes the place of %s; sweep the strength",
                                params->sweeps[i].parameter);
        }
        if (!isnan(get(&params->settings, index_of(params->sweeps[i].parameter))) || (is_weight && has_parts)) {
            return cs_error_set(err, COSTEER_EINVAL, "eval", "%s is swept and given, or a part of it is; leave one out",
                                params->sweeps[i].parameter);
        }
        for (size_t k = 0; k < i; k++) {
            if (params->sweeps[k].parameter == params->sweeps[i].parameter) {
                return cs_error_set(err, COSTEER_EINVAL, "eval", "%s is swept twice", params->sweeps[i].parameter);
            }
        }
    }
    return COSTEER_OK;
}

static costeer_err check(const costeer_eval_items_params *params, costeer_error *err)
{
    if (params->n_methods == 0) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "no method is named");
    }
    for (size_t i = 0; i < params->n_methods; i++) {
        for (size_t k = 0; k < i; k++) {
            if (params->methods[k] == params->methods[i]) {
                return cs_error_set(err, COSTEER_EINVAL, "eval", "method %s is named twice", params->methods[i]->name);
            }
        }
    }
    for (size_t i = 0; i < N_PARAMETERS; i++) {
        if (!isnan(get(&params->settings, i)) && !any_has(params, i)) {
            return cs_error_set(err, COSTEER_EINVAL, "eval", "%s is set, but none of the methods has it", parameters[i].name);
        }
    }
    for (size_t i = 0; i < params->n_sweeps; i++) {
        if (!any_has(params, index_of(params->sweeps[i].parameter))) {
            return cs_error_set(err, COSTEER_EINVAL, "eval", "%s is swept, but none of the methods has it",
                                params->sweeps[i].parameter);
        }
    }
    return check_weight(params, err);
}

costeer_err costeer_eval_items_create(const costeer_eval_items_params *params, costeer_eval_item **out, size_t *n,
                                      costeer_error *err)
{
    *out = NULL;
    *n = 0;
    costeer_err code = check(params, err);
    if (code != COSTEER_OK) {
        return code;
    }
    list items = {.items = calloc(COSTEER_EVAL_ITEMS_MAX, sizeof(costeer_eval_item))};
    if (items.items == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "eval", "no memory for the methods");
    }
    for (size_t i = 0; code == COSTEER_OK && i < params->n_methods; i++) {
        code = add_method(&items, params, params->methods[i], err);
    }
    if (code != COSTEER_OK) {
        free(items.items);
        return code;
    }
    *out = items.items;
    *n = items.n;
    return COSTEER_OK;
}
