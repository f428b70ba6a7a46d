/* The built-in SLM, and steps of it that must not fail, for integration tests. */
#ifndef CS_TEST_SLM_SUPPORT_H
#define CS_TEST_SLM_SUPPORT_H

#include "support/models.h"

extern costeer_model *model;
extern int32_t n_vocab;

/** Set-up and tear-down of a group of tests. */
int load_slm(void **state);
int free_slm(void **state);

costeer_slm *create_slm(int32_t n_contexts, int32_t n_ctx);
costeer_slm *create_drafting(int32_t n_contexts, int32_t n_ctx, int32_t n_drafts);
void begin(costeer_slm *slm, const costeer_tokens *amateur, const costeer_tokens *experts);
void step(costeer_slm *slm, int32_t token);
int32_t argmax(const float *logits);

void assert_same_logits(const float *a, const float *b);

#endif
