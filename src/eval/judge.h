/* How likely another model finds an answer: teacher-forced log-probability, several positions per batch. */
#ifndef CS_EVAL_JUDGE_H
#define CS_EVAL_JUDGE_H

#include <costeer/prompt.h>
#include <stdatomic.h>

typedef struct cs_judge cs_judge;

typedef struct cs_judge_params {
    int32_t n_ctx; /**< 0: what the model was trained for, at most 8192 */
    int32_t n_threads;
    const atomic_bool *cancel; /**< may be NULL */
} cs_judge_params;

/** Create it, with a running state of its own. `model` must outlive it. */
costeer_err cs_judge_create(const costeer_model *model, const cs_judge_params *params, cs_judge **out, costeer_error *err);
void cs_judge_free(cs_judge *judge);

typedef struct cs_judgement {
    double logprob;   /**< nats */
    int32_t n_tokens; /**< counted; 0: there is nothing to judge, it does not fit, or it is impossible to the judge */
} cs_judgement;

/**
 * Judge an answer. The same prompt and answer give the same bits whatever was judged before.
 *
 * @param answer    [n_answer] UTF-8
 * @param has_end   the answer ended by itself: count the mass of all end tokens behind it
 * @return COSTEER_OK; errors of building the prompt; COSTEER_ECANCELED; COSTEER_ENUMERIC
 */
costeer_err cs_judge_answer(cs_judge *judge, const costeer_prompt *prompt, const char *answer, size_t n_answer, bool has_end,
                            cs_judgement *out, costeer_error *err);

#endif
