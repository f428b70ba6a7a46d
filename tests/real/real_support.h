/* Models that people use, for tests in C: see README.md here. */
#ifndef CS_TEST_REAL_SUPPORT_H
#define CS_TEST_REAL_SUPPORT_H

#include <costeer/costeer.h>

#define QWEN_LARGE "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"
#define QWEN_SMALL "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
#define SMOLLM     "smollm2-135m-instruct-q4_1.gguf"
#define GEMMA      "gemma-3-270m-q4_k_m.gguf" /* sliding window of 512 tokens; no chat template */

/** Load one from the folder $COSTEER_REAL_MODELS; without it the test is skipped. */
costeer_model *load_real(const char *file);

/** The prompt's tokens, with the model's own template, or none where it has none. `context` may be NULL. */
costeer_tokens build_real_prompt(const costeer_model *model, const char *context, const char *query);

#endif
