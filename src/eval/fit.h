/* Whether a row's prompts fit the models, and what to cut where they do not. */
#ifndef CS_EVAL_FIT_H
#define CS_EVAL_FIT_H

#include <costeer/eval.h>

/** A prompt that some item needs, and what its model can hold. */
typedef struct cs_fit_prompt {
    const costeer_model *model;
    bool is_with; /**< with the context */
    int32_t n_ctx;
    bool is_foreign;           /**< its tokens are not those of the answer */
    const char *what;          /**< for messages: "the SLM's prompt with the context" */
    const char *chat_template; /**< as in costeer_prompt */
} cs_fit_prompt;

/** LLM, SLM with and without, the tuned SLM without. */
#define CS_FIT_PROMPTS_MAX 5

typedef struct cs_fit {
    cs_fit_prompt prompts[CS_FIT_PROMPTS_MAX];
    size_t n_prompts;
    const costeer_model *spelling; /**< of the answer's tokens, for prompts that are foreign */
    costeer_prompt form;           /**< what all prompts have */
    int32_t max_tokens;
    int32_t n_reasoning; /**< tokens that are kept free for it beside the answer's */
    bool is_remote;      /* the LLM runs elsewhere */
    bool truncates;
} cs_fit;

/** Collect the prompts that the items of an evaluation need. */
void cs_fit_init(cs_fit *fit, const costeer_eval_params *params);

/** The prompt of a row for a model. `message` is the one with the context, used when is_with; both outlive the prompt. */
costeer_prompt cs_fit_make_prompt(const cs_fit *fit, const costeer_eval_row *row, const char *message, bool is_with);

/** costeer_eval_fit_row(). */
costeer_err cs_fit_row(const cs_fit *fit, costeer_eval_row *row, costeer_error *err);

/** Tokens that a model holds when n_ctx were asked for. */
int32_t cs_fit_window(const costeer_model *model, int32_t n_ctx);

#endif
