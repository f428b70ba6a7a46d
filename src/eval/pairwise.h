/* Which of two answers to a row the judge finds better, asked in both orders. */
#ifndef CS_EVAL_PAIRWISE_H
#define CS_EVAL_PAIRWISE_H

#include "eval/judge.h"

#include <costeer/eval.h>

/**
 * Ask the judge.
 *
 * @param form      what all prompts have: system message, template
 * @param against   the other answer
 * @param[out] wins 1: the answer is better in both orders, 0: in neither, 0.5: in one; half of an order where the judge finds
 * both alike. NaN: it does not fit the judge
 * @return as cs_judge_answer()
 */
costeer_err cs_pairwise_judge(cs_judge *judge, const costeer_prompt *form, const costeer_eval_row *row, const char *answer,
                              const char *against, double *wins, costeer_error *err);

#endif
