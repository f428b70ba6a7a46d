/*
 * The literal reference of a method: every model that takes part runs by itself, token by token, and the policy is written out as
 * the method's paper has it, in double precision over the whole vocabulary.
 */
#ifndef CS_TEST_LITERAL_H
#define CS_TEST_LITERAL_H

#include "support/models.h"

#define LITERAL_VOCAB_MAX 1024

/** Log-distributions of one position, [LITERAL_VOCAB_MAX] each; those of models that were not given are not filled. */
typedef struct literal_rows {
    int32_t n_vocab;
    double llm[LITERAL_VOCAB_MAX];
    double llm_with[LITERAL_VOCAB_MAX];
    double slm[LITERAL_VOCAB_MAX];
    double slm_with[LITERAL_VOCAB_MAX];
    double tuned[LITERAL_VOCAB_MAX];
} literal_rows;

/** The models; NULL ones take no part. */
typedef struct literal_models {
    const costeer_model *llm;
    const costeer_model *slm;
    const costeer_model *tuned;
} literal_models;

/** Write the scores of a position, [n_vocab]; −inf for what cannot be chosen. `user` may carry a state from one to the next. */
typedef void (*literal_policy_fn)(const literal_rows *rows, double weight, double *scores, void *user);

typedef struct literal_case {
    const char *context;
    const char *query;
    const char *context_template; /**< what the ensemble is given; NULL: none */
    const char *query_template;   /**< the same for the amateur */
    const char *with;    /**< the user's message with the context that comes of it, whole; NULL: context, empty line, query */
    const char *without; /**< the amateur's; NULL: the query */
} literal_case;

/**
 * Walk along an answer and assert that each token is the best of the policy written out, given the tokens before it.
 *
 * Batches of other shapes round otherwise, by 8e-3 of a logit, which a weight multiplies: a token may be that far below the best,
 * but at no more than one position in twenty.
 *
 * @param spread  how much of the models' rounding the policy can show: 1 + 2·|weight| for base + weight (expert − amateur)
 */
void literal_assert(const char *what, const literal_models *models, const literal_case *of, const int32_t *tokens, size_t n,
                    literal_policy_fn policy, double weight, double spread, void *user);

/** Normalise log-probabilities. */
void literal_log_softmax(double *values, int32_t n);

#endif
