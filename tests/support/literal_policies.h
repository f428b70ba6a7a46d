/* The policies of the methods, written out: see literal.h. */
#ifndef CS_TEST_LITERAL_POLICIES_H
#define CS_TEST_LITERAL_POLICIES_H

#include "support/literal.h"

void literal_only_llm(const literal_rows *rows, double weight, double *scores, void *user);
void literal_only_llm_with(const literal_rows *rows, double weight, double *scores, void *user);
void literal_only_slm(const literal_rows *rows, double weight, double *scores, void *user);
void literal_only_slm_with(const literal_rows *rows, double weight, double *scores, void *user);

/** The published update's T steps over whole arrays, T = 20 and T = 1; they take no weight. */
void literal_costeer(const literal_rows *rows, double weight, double *scores, void *user);
void literal_light(const literal_rows *rows, double weight, double *scores, void *user);

/** `user` of AdaCoSteer: all zero before an answer. */
typedef struct literal_ada_state {
    int n_sure;
    bool is_off;
    int n_off;
} literal_ada_state;

void literal_ada(const literal_rows *rows, double weight, double *scores, void *user);
/** base + weight · min(1, KL / divergence) · delta, where tokens that the expert holds for implausible do not gain. `user` is
 * literal_limits. */
typedef struct literal_limits {
    double plausibility;
    double divergence;
    bool of_tuning; /**< the expert is the tuned SLM, without the context */
} literal_limits;

void literal_limited_costeer(const literal_rows *rows, double weight, double *scores, void *user);

void literal_context_steering(const literal_rows *rows, double weight, double *scores, void *user);

/** `user` is a double: top_p. */
void literal_linear_alignment(const literal_rows *rows, double weight, double *scores, void *user);

/** Amulet's own loop of 60 steps; it takes no weight. */
void literal_amulet(const literal_rows *rows, double weight, double *scores, void *user);
void literal_proxy_tuning(const literal_rows *rows, double weight, double *scores, void *user);

#endif
