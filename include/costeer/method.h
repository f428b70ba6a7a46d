/*
 * The decoding-time methods of this family as rows of one table: policy = base + weight · (expert − amateur).
 *
 * All go through the same fusion (costeer/steer.h). Definitions and published defaults: docs/methods.md. Pure data and
 * arithmetic.
 */
#ifndef COSTEER_METHOD_H
#define COSTEER_METHOD_H

#include <costeer/gate.h>
#include <costeer/steer.h>
#include <math.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Where a distribution comes from. "With" is with the context in the prompt. */
typedef enum costeer_source {
    COSTEER_SOURCE_NONE = 0,
    COSTEER_SOURCE_LLM = 1,
    COSTEER_SOURCE_LLM_WITH = 2, /**< shows the context to wherever the LLM runs */
    COSTEER_SOURCE_SLM = 3,
    COSTEER_SOURCE_SLM_WITH = 4,
    COSTEER_SOURCE_SLM_TUNED = 5 /**< without the context */
} costeer_source;

/** How a method's weight is found. */
typedef enum costeer_weight_rule {
    COSTEER_WEIGHT_NONE = 0,      /**< no deltas */
    COSTEER_WEIGHT_FTRL = 1,      /**< c_T of the published update */
    COSTEER_WEIGHT_FTRL_ONCE = 2, /**< c_1 */
    COSTEER_WEIGHT_AMULET = 3,    /**< a_T: the same recurrence with beta = alpha */
    COSTEER_WEIGHT_FREE = 4       /**< the user's number; the row has the default */
} costeer_weight_rule;

typedef struct costeer_method {
    const char *name;  /**< "linear-alignment" */
    const char *title; /**< "Linear Alignment" */
    const char *note;  /**< what there is to know about it, a few words */
    costeer_source base;
    costeer_source expert;
    costeer_source amateur;
    costeer_weight_rule rule;
    double weight;                    /**< FREE: default */
    costeer_strength_params strength; /**< FTRL, FTRL_ONCE, AMULET: published values (AMULET: beta is alpha) */
    costeer_delta_limits limits;      /**< default; all 0: none */
    bool takes_limits;                /**< the user may set them */
    double top_p;                     /**< the base is restricted to its own top-p support; 1: not */
    costeer_gate_kind gate;
} costeer_method;

/** All methods in the order they are shown. */
COSTEER_API const costeer_method *costeer_method_list(size_t *n);

/** The method of a name; NULL when there is none. */
COSTEER_API const costeer_method *costeer_method_find(const char *name);

/** True when the context is in a prompt of the LLM: a cloud that runs it sees the context. */
COSTEER_API bool costeer_method_shows_context(const costeer_method *method);

/** True when the LLM takes part. */
COSTEER_API bool costeer_method_uses_llm(const costeer_method *method);

/** True when the SLM (tuned or not) takes part. */
COSTEER_API bool costeer_method_uses_slm(const costeer_method *method);

/** What a user set; NaN and 0 (T) leave a value as the method has it. */
typedef struct costeer_method_settings {
    double weight; /**< takes the place of all the rest */
    int32_t T;
    double alpha;
    double beta;
    double lambda;
    double eta;
    double plausibility; /**< limits of the delta; 0 takes the method's own away */
    double divergence;   /**< nats */
} costeer_method_settings;

#define COSTEER_METHOD_SETTINGS_NONE \
    ((costeer_method_settings){      \
        .weight = NAN, .T = 0, .alpha = NAN, .beta = NAN, .lambda = NAN, .eta = NAN, .plausibility = NAN, .divergence = NAN})

/**
 * Compute the weight of a method's delta.
 *
 * @param settings  NULL: none
 * @param[out] out  0 for a method without deltas; unchanged on failure
 * @return COSTEER_OK; COSTEER_EINVAL: a setting that the method does not have (the message says which), or out of range
 */
COSTEER_API costeer_err costeer_method_compute_weight(const costeer_method *method, const costeer_method_settings *settings,
                                                      double *out, costeer_error *err);

/**
 * Find the limits of a method's delta.
 *
 * @param settings  NULL: none
 * @param[out] out  all 0 for a method without limits; unchanged on failure
 * @return COSTEER_OK; COSTEER_EINVAL: a limit that the method does not take (the message says which one does), or out of range
 */
COSTEER_API costeer_err costeer_method_find_limits(const costeer_method *method, const costeer_method_settings *settings,
                                                   costeer_delta_limits *out, costeer_error *err);

#ifdef __cplusplus
}
#endif
#endif
