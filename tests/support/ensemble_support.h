/* The built-in pair with a tuned SLM as an ensemble, and answers of it, for integration tests. */
#ifndef CS_TEST_ENSEMBLE_SUPPORT_H
#define CS_TEST_ENSEMBLE_SUPPORT_H

#include "support/literal_policies.h"

#if defined(__SANITIZE_THREAD__)
#define MAX_TOKENS 6 /* llama.cpp is instrumented as well, and 50 times slower; races show in a few tokens */
#define N_CASES    1
#else
#define MAX_TOKENS 24
#define N_CASES    2
#endif

extern const literal_case cases[2];
extern costeer_model *llm, *slm, *tuned; /* tuned: the SLM with a LoRA adapter */

/** Set-up and tear-down of a group of tests. `name`: of the adapter's file, each executable its own. */
void load_ensemble_models(const char *lora_path);
void free_ensemble_models(void);

costeer_ensemble_params default_params(void);
costeer_ensemble *create(const costeer_ensemble_params *params);

typedef struct answer {
    costeer_err code;
    costeer_error error;
    int32_t tokens[MAX_TOKENS];
    size_t n;
    costeer_report report;
} answer;

const costeer_method *method(const char *name);
double weight_of(const char *name);

/** Set the prompts of a case, and answer it. What fails is in the answer; no assertion is made, so that any thread may call it.
 */
answer try_to_ask(costeer_ensemble *of, const literal_case *it, const costeer_method *by, double weight, double top_p);

/** The same, and it must not fail. */
answer ask(costeer_ensemble *of, const literal_case *it, const char *name, double weight, double top_p);

/** Assert that an answer is the one that the policy written out gives. */
void assert_literal_answer(const char *what, const literal_case *it, const answer *got, literal_policy_fn policy, double weight,
                           void *user);

#endif
