/*
 * Gates: whether a position is steered, by how sure the LLM is of its own choice. The contract is in costeer/gate.h.
 *
 * "Sure" is 1 − p_max < threshold, as published, and only a number can be sure: NaN (a broken or lying cloud) counts as unsure,
 * so that the position goes on to fusion, which refuses it with an error.
 */
#include "util/error.h"

#include <costeer/gate.h>
#include <stddef.h>

costeer_err costeer_gate_init(const costeer_gate_params *params, costeer_gate *out, costeer_error *err)
{
    if (params == NULL || out == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "gate", "params and out must not be NULL");
    }
    if (params->kind != COSTEER_GATE_NONE && params->kind != COSTEER_GATE_ADA && params->kind != COSTEER_GATE_TOKEN) {
        return cs_error_set(err, COSTEER_EINVAL, "gate", "kind is %d; give 0 (none), 1 (ada) or 2 (token)", (int)params->kind);
    }
    const bool is_probability = params->threshold > 0.0 && params->threshold <= 1.0; /* false for NaN */
    if (params->kind != COSTEER_GATE_NONE && !is_probability) {
        return cs_error_set(err, COSTEER_EINVAL, "gate", "threshold is %g; give a number above 0 and up to 1", params->threshold);
    }
    if (params->kind == COSTEER_GATE_ADA && params->patience < 1) {
        return cs_error_set(err, COSTEER_EINVAL, "gate", "patience is %d; give at least 1 position", params->patience);
    }
    *out = (costeer_gate){.params = *params};
    return COSTEER_OK;
}

bool costeer_gate_opens(costeer_gate *gate, double p_max)
{
    const bool is_sure = 1.0 - p_max < gate->params.threshold;
    if (!is_sure) {
        gate->n_sure = 0;
    } else if (gate->n_sure < INT32_MAX) {
        gate->n_sure++;
    }
    switch (gate->params.kind) {
    case COSTEER_GATE_ADA:
        gate->is_off = gate->is_off || gate->n_sure >= gate->params.patience;
        return !gate->is_off;
    case COSTEER_GATE_TOKEN:
        return !is_sure;
    case COSTEER_GATE_NONE:
    default:
        return true;
    }
}
