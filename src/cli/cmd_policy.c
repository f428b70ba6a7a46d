/*
 * costeer policy: the policy of given numbers, so that anyone can check ours against another program's in a line.
 *
 * A case's arrays are read as 32-bit floats, as models give them. The one thing JSON cannot hold and a base can is −inf: it is
 * read and written as the string "-inf".
 */
#include "cli/cmd.h"
#include "cli/json.h"
#include "cli/message.h"
#include "cli/signals.h"

#include <costeer/steer.h>
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Room for a hundred cases over a vocabulary of 150,000. */
#define INPUT_BYTES_MAX ((size_t)1 << 30)

/* Where a case stands, for messages: "FILE" or "FILE: cases[3]". */
typedef struct place {
    char text[512];
} place;

typedef struct array {
    float *values;
    size_t n;
} array;

static int fail_field(const place *where, const char *field, const char *what)
{
    return cs_fail(CS_EXIT_INPUT, "%s: field %s %s", where->text, field, what);
}

/* ---- fields ------------------------------------------------------------------------------------------------------ */

static int read_real(const place *where, const json_t *object, const char *field, double *out)
{
    const json_t *value = json_object_get(object, field);
    if (value == NULL) {
        return fail_field(where, field, "is missing");
    }
    if (!json_is_number(value)) {
        return fail_field(where, field, "is not a number");
    }
    *out = json_number_value(value);
    return CS_EXIT_OK;
}

static int read_steps(const place *where, const json_t *object, int32_t *out)
{
    const json_t *value = json_object_get(object, "T");
    if (value == NULL) {
        return fail_field(where, "T", "is missing");
    }
    if (!json_is_integer(value)) {
        return fail_field(where, "T", "is not a whole number");
    }
    json_int_t steps = json_integer_value(value);
    if (steps < 1 || steps > COSTEER_STRENGTH_T_MAX) {
        return cs_fail(CS_EXIT_USAGE, "%s: field T: %" JSON_INTEGER_FORMAT " is not in [1, %d]", where->text, steps,
                       COSTEER_STRENGTH_T_MAX);
    }
    *out = (int32_t)steps;
    return CS_EXIT_OK;
}

static int read_parameters(const place *where, const json_t *object, costeer_strength_params *params)
{
    int exit_code = read_steps(where, object, &params->T);
    if (exit_code == CS_EXIT_OK) {
        exit_code = read_real(where, object, "alpha", &params->alpha);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = read_real(where, object, "beta", &params->beta);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = read_real(where, object, "lambda_", &params->lambda);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = read_real(where, object, "eta", &params->eta);
    }
    return exit_code;
}

/* Returns an exit code; the message names the element. */
static int read_element(const place *where, const char *field, size_t i, const json_t *value, float *out)
{
    const char *string = json_string_value(value);
    if (string != NULL && strcmp(string, "-inf") == 0) {
        *out = -INFINITY;
        return CS_EXIT_OK;
    }
    if (!json_is_number(value)) {
        return cs_fail(CS_EXIT_INPUT, "%s: field %s, element %zu is neither a number nor \"-inf\"", where->text, field, i);
    }
    double number = json_number_value(value);
    if (fabs(number) > FLT_MAX) {
        return cs_fail(CS_EXIT_INPUT, "%s: field %s, element %zu: %g does not fit a 32-bit float", where->text, field, i, number);
    }
    *out = (float)number;
    return CS_EXIT_OK;
}

static int read_array(const place *where, const json_t *object, const char *field, array *out)
{
    const json_t *list = json_object_get(object, field);
    if (list == NULL) {
        return fail_field(where, field, "is missing");
    }
    if (!json_is_array(list)) {
        return fail_field(where, field, "is not a list of numbers");
    }
    size_t n = json_array_size(list);
    if (n == 0) {
        return fail_field(where, field, "is empty");
    }
    if (n > INT32_MAX) {
        return fail_field(where, field, "is too long");
    }
    out->values = malloc(n * sizeof out->values[0]);
    if (out->values == NULL) {
        return cs_fail(CS_EXIT_INTERNAL, "out of memory");
    }
    out->n = n;
    int exit_code = CS_EXIT_OK;
    for (size_t i = 0; i < n && exit_code == CS_EXIT_OK; i++) {
        exit_code = read_element(where, field, i, json_array_get(list, i), &out->values[i]);
    }
    return exit_code;
}

/* ---- a case ------------------------------------------------------------------------------------------------------ */

/* What a case may have beside the update's parameters. */
static int read_limits(const place *where, const json_t *object, costeer_delta_limits *limits)
{
    int exit_code = CS_EXIT_OK;
    *limits = (costeer_delta_limits){.plausibility = 0.0};
    if (json_object_get(object, "plausibility") != NULL) {
        exit_code = read_real(where, object, "plausibility", &limits->plausibility);
    }
    if (exit_code == CS_EXIT_OK && json_object_get(object, "divergence") != NULL) {
        exit_code = read_real(where, object, "divergence", &limits->divergence);
    }
    return exit_code;
}

enum { LLM, SLM_WITHOUT, SLM_WITH, N_ARRAYS };

static int read_arrays(const place *where, const json_t *object, array arrays[N_ARRAYS])
{
    static const char *const fields[N_ARRAYS] = {"llm", "slm_without", "slm_with"};
    for (size_t i = 0; i < N_ARRAYS; i++) {
        int exit_code = read_array(where, object, fields[i], &arrays[i]);
        if (exit_code != CS_EXIT_OK) {
            return exit_code;
        }
        if (arrays[i].n != arrays[LLM].n) {
            return cs_fail(CS_EXIT_INPUT, "%s: field %s has %zu elements, but llm has %zu", where->text, fields[i], arrays[i].n,
                           arrays[LLM].n);
        }
    }
    return CS_EXIT_OK;
}

/* `weight` is told where limits may make it another number than the strength; else NULL. */
static json_t *make_result(double strength, const double *weight, int32_t argmax, const double *log_policy, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        if (json_array_append_new(list, cs_json_number(log_policy[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    json_t *result = json_pack("{s:f, s:i, s:o}", "strength", strength, "argmax", (int)argmax, "log_policy", list);
    if (weight != NULL && json_object_set_new(result, "weight", json_real(*weight)) != 0) {
        json_decref(result);
        return NULL;
    }
    return result;
}

static int fuse(const place *where, const costeer_strength_params *params, const costeer_delta_limits *limits,
                const array arrays[N_ARRAYS], json_t **out)
{
    costeer_error err = {.code = COSTEER_OK};
    double strength = 0.0;
    if (costeer_strength_compute(params, &strength, &err) != COSTEER_OK) {
        return cs_fail(cs_exit_code(err.code), "%s: %s", where->text, err.message);
    }
    size_t n = arrays[LLM].n;
    double *log_policy = n > 0 ? malloc(n * sizeof log_policy[0]) : NULL;
    if (log_policy == NULL) {
        return cs_fail(CS_EXIT_INTERNAL, "out of memory");
    }
    costeer_base base = {.ids = NULL, .values = arrays[LLM].values, .n = (int32_t)n};
    costeer_delta delta = {.expert = arrays[SLM_WITH].values, .amateur = arrays[SLM_WITHOUT].values, .weight = strength};
    costeer_choice choice;
    int exit_code = CS_EXIT_OK;
    const bool is_limited = limits->plausibility != 0.0 || limits->divergence != 0.0;
    if (costeer_delta_limit(&delta, limits, (int32_t)n, &err) != COSTEER_OK ||
        costeer_fuse_policy(&base, &delta, 1, (int32_t)n, log_policy, &choice, &err) != COSTEER_OK) {
        exit_code = cs_fail(cs_exit_code(err.code), "%s: %s", where->text, err.message);
    } else {
        *out = make_result(strength, is_limited ? &delta.weight : NULL, choice.token, log_policy, n);
        if (*out == NULL) {
            exit_code = cs_fail(CS_EXIT_INTERNAL, "out of memory");
        }
    }
    free(log_policy);
    return exit_code;
}

static int run_case(const place *where, const json_t *object, json_t **out)
{
    if (!json_is_object(object)) {
        return cs_fail(CS_EXIT_INPUT, "%s: a case is not a JSON object", where->text);
    }
    costeer_strength_params params;
    costeer_delta_limits limits;
    array arrays[N_ARRAYS] = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
    int exit_code = read_parameters(where, object, &params);
    if (exit_code == CS_EXIT_OK) {
        exit_code = read_limits(where, object, &limits);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = read_arrays(where, object, arrays);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = fuse(where, &params, &limits, arrays, out);
    }
    for (size_t i = 0; i < N_ARRAYS; i++) {
        free(arrays[i].values);
    }
    return exit_code;
}

static int run_cases(const char *name, const json_t *cases, json_t **out)
{
    if (!json_is_array(cases)) {
        return cs_fail(CS_EXIT_INPUT, "%s: field cases is not a list", name);
    }
    json_t *results = json_array();
    for (size_t i = 0; i < json_array_size(cases); i++) {
        place where;
        snprintf(where.text, sizeof where.text, "%.400s: cases[%zu]", name, i);
        json_t *result = NULL;
        int exit_code = run_case(&where, json_array_get(cases, i), &result);
        if (exit_code != CS_EXIT_OK || json_array_append_new(results, result) != 0) {
            json_decref(results);
            return exit_code != CS_EXIT_OK ? exit_code : cs_fail(CS_EXIT_INTERNAL, "out of memory");
        }
    }
    *out = json_pack("{s:o}", "cases", results);
    return CS_EXIT_OK;
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

static int load(const char *path, const char *name, json_t **out)
{
    char *text;
    size_t n_bytes;
    int error = cs_file_read(path, INPUT_BYTES_MAX, cs_interrupt_wait_readable, &text, &n_bytes);
    if (error != 0) {
        return cs_fail_input(name, error, INPUT_BYTES_MAX);
    }
    json_error_t json_error;
    *out = json_loadb(text, n_bytes, 0, &json_error);
    free(text);
    if (*out == NULL) {
        return cs_fail(CS_EXIT_INPUT,
                       "%s: not JSON at line %d, column %d (NaN and Infinity are not JSON; \"-inf\" is minus infinity)", name,
                       json_error.line, json_error.column);
    }
    return CS_EXIT_OK;
}

static int compute(const char *name, const json_t *input, json_t **out)
{
    const json_t *cases = json_object_get(input, "cases");
    if (cases != NULL) {
        return run_cases(name, cases, out);
    }
    place where;
    snprintf(where.text, sizeof where.text, "%.400s", name);
    return run_case(&where, input, out);
}

static int run(const cs_command *self, int argc, char **argv)
{
    cs_arguments arguments = {.n = 0};
    int exit_code;
    if (!cs_options_parse(self, argc, argv, NULL, &arguments, &exit_code)) {
        return exit_code;
    }
    if (arguments.n > 1) {
        return cs_fail(CS_EXIT_USAGE, "policy: takes one file");
    }
    const char *path = arguments.n == 1 ? arguments.items[0] : "-";
    const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
    json_t *input = NULL;
    json_t *result = NULL;
    exit_code = load(path, name, &input);
    if (exit_code == CS_EXIT_OK) {
        exit_code = compute(name, input, &result);
    }
    json_decref(input);
    if (exit_code != CS_EXIT_OK) {
        return exit_code;
    }
    cs_output out;
    cs_output_init_stdout(&out);
    exit_code = cs_json_print(&out, result);
    int error = cs_output_close(&out);
    return error == 0 ? exit_code : cs_fail_output(out.name, error);
}

const cs_command cs_command_policy = {
    .name = "policy",
    .arguments = "[FILE]",
    .summary = "compute strength, choice and log-policy of a JSON case",
    .description =
        "Reads one case from FILE, or standard input, and prints one line of JSON. A case has the parameters of the published "
        "update, T, alpha, beta, lambda_ and eta, and three lists of the same length: llm, slm_without and slm_with (logits or "
        "log-probabilities; numbers, or the string \"-inf\"). plausibility and divergence may be given, as the options of "
        "generate. Other fields are ignored.\n"
        "\n"
        "The result has the strength that the parameters amount to, argmax (the greedy choice; the lowest index wins a tie) and "
        "log_policy in nats; with plausibility or divergence also weight, what the delta was multiplied with. Numbers read back "
        "exactly; minus infinity is the string \"-inf\". A file with a list \"cases\" "
        "gives an object with a list \"cases\". The lists are read as 32-bit floats.",
    .examples = "  costeer policy case.json\n"
                "  python3 -c 'import json; print(json.dumps(dict(T=20, alpha=2, beta=1, lambda_=2, eta=10,\n"
                "      llm=[1, 2, 3], slm_without=[1, 1, 1], slm_with=[3, 1, 1])))' | costeer policy",
    .groups = {NULL},
    .run = run,
};
