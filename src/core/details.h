/* What --trace and compare show of a position beyond the choice: log-probabilities and the best tokens before and after steering.
 */
#ifndef CS_CORE_DETAILS_H
#define CS_CORE_DETAILS_H

#include <costeer/session.h>

typedef struct cs_details cs_details;

/** Create it, with every buffer it needs. Free with cs_details_free(). */
costeer_err cs_details_create(int32_t n_vocab, cs_details **out, costeer_error *err);
void cs_details_free(cs_details *details);

/** Fill the lower half of a position whose token is known, but for the delta, which is the follower's. Costs some passes over the
 * base; allocates nothing. */
costeer_err cs_details_fill(cs_details *details, const costeer_base *base, const costeer_delta *deltas, size_t n_deltas,
                            int32_t n_vocab, costeer_position *at, costeer_error *err);

#endif
