/* The published T-step update, run literally: what the closed form in src/core is checked against. */
#ifndef CS_TEST_FTRL_ORACLE_H
#define CS_TEST_FTRL_ORACLE_H

#include <costeer/steer.h>

/**
 * Run the loop in float64 over logits.
 *
 * A token whose base, or whose expert alone, is −inf is left out of the vocabulary and reported as −inf; where expert and amateur
 * are both −inf the delta is 0.
 *
 * @param[out] log_policy  [n]
 */
void ftrl_oracle(const costeer_strength_params *params, const float *base, const float *expert, const float *amateur, int32_t n,
                 double *log_policy);

#endif
