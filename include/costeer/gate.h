/*
 * Gates: at which positions the SLM steers at all. A gate looks only at public data: how sure the LLM is of its own choice.
 * Pure functions: no I/O, no clock, no allocation.
 */
#ifndef COSTEER_GATE_H
#define COSTEER_GATE_H

#include <costeer/error.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum costeer_gate_kind {
    COSTEER_GATE_NONE = 0, /**< steer everywhere */
    COSTEER_GATE_ADA = 1,  /**< AdaCoSteer: once the LLM was sure `patience` positions in a row, never again in this answer; the
                              position that completes the run is already unsteered */
    COSTEER_GATE_TOKEN = 2 /**< steer only where the LLM is unsure; the SLM catches up in one batch when it is needed again */
} costeer_gate_kind;

typedef struct costeer_gate_params {
    costeer_gate_kind kind;
    double threshold; /**< in (0, 1]: the LLM is sure where 1 − p_max is below it; published value 0.1 */
    int32_t patience; /**< ADA: >= 1; published value 3 */
} costeer_gate_params;

#define COSTEER_GATE_DEFAULTS ((costeer_gate_params){.kind = COSTEER_GATE_NONE, .threshold = 0.1, .patience = 3})

/** A gate on its way through an answer. */
typedef struct costeer_gate {
    costeer_gate_params params;
    int32_t n_sure; /**< positions in a row, up to the last one, at which the LLM was sure */
    bool is_off;    /**< ADA: for good */
} costeer_gate;

/** Begin an answer. COSTEER_EINVAL: the message names the parameter and its range; `out` is then unchanged. */
COSTEER_API costeer_err costeer_gate_init(const costeer_gate_params *params, costeer_gate *out, costeer_error *err);

/**
 * Decide whether the next position is steered, and remember it.
 *
 * @param p_max  in [0, 1]: probability of the LLM's own first choice; NaN counts as unsure
 */
COSTEER_API bool costeer_gate_opens(costeer_gate *gate, double p_max);

#ifdef __cplusplus
}
#endif
#endif
