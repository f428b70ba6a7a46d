/* The built-in pair in this process: the LLM as a cloud, the SLM with prompts for one case after the other. */
#ifndef CS_TEST_PAIR_SUPPORT_H
#define CS_TEST_PAIR_SUPPORT_H

#include "support/models.h"

typedef struct pair_support {
    costeer_model *llm_model, *slm_model;
    costeer_cloud *llm;
    costeer_slm *slm;
    costeer_tokens amateur, expert;
} pair_support;

typedef struct pair_case {
    const char *context;
    const char *query;
} pair_case;

/** Load both; n_ctx 512, a thread each. Dispose with pair_dispose(). */
void pair_load(pair_support *pair);
void pair_dispose(pair_support *pair);

/** Set the prompts of a case. What both models hold is forgotten, so that every answer computes its prompt in the same pieces. */
void pair_set_case(pair_support *pair, const pair_case *of, int32_t max_tokens);

#endif
