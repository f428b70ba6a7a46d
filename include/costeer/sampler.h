/*
 * Choosing a token from the fused policy: greedy, or penalty → top-k → top-p → min-p → temperature → draw.
 *
 * The generator is counter based (Philox4x32-10, Salmon et al., SC'11): the draw at a position depends on (seed, position) alone,
 * so a position that is computed again, or in another mode, draws the same number on every machine.
 */
#ifndef COSTEER_SAMPLER_H
#define COSTEER_SAMPLER_H

#include <costeer/error.h>
#include <costeer/steer.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct costeer_sampler costeer_sampler;

/** How a token is chosen. All-default is greedy. */
typedef struct costeer_sampler_params {
    double temperature; /**< 0 is greedy; otherwise > 0 */
    int32_t top_k;      /**< keep the k best; 0 keeps all */
    double top_p;       /**< keep the smallest set of probability >= p, at least one; in (0, 1], 1 keeps all */
    double min_p;       /**< keep tokens of at least this share of the best one's probability; in [0, 1], 0 keeps all */
    double
        repetition_penalty; /**< the probability of a token among the last repetition_window is divided by this; >= 1, 1 is off */
    int32_t repetition_window; /**< tokens; 1 … 65536 */
    uint64_t seed;
} costeer_sampler_params;

#define COSTEER_SAMPLER_DEFAULTS                         \
    ((costeer_sampler_params){.temperature = 0.0,        \
                              .top_k = 0,                \
                              .top_p = 1.0,              \
                              .min_p = 0.0,              \
                              .repetition_penalty = 1.0, \
                              .repetition_window = 64,   \
                              .seed = 0})

/**
 * Create a sampler; every buffer it will need is allocated here.
 *
 * @param n_vocab   largest number of candidates it will be given
 * @param[out] out  free with costeer_sampler_free(); NULL on failure
 * @return COSTEER_OK; COSTEER_EINVAL: the message names the parameter and its range; COSTEER_ENOMEM
 */
COSTEER_API costeer_err costeer_sampler_create(const costeer_sampler_params *params, int32_t n_vocab, costeer_sampler **out,
                                               costeer_error *err);
COSTEER_API void costeer_sampler_free(costeer_sampler *sampler);

/** True when the choice is the plain argmax of the scores: costeer_fuse_choose() alone then decides. */
COSTEER_API bool costeer_sampler_is_argmax(const costeer_sampler *sampler);

/** Lower the scores of recently accepted tokens in place, by log(repetition_penalty). ids NULL: dense. */
COSTEER_API void costeer_sampler_penalize(const costeer_sampler *sampler, const int32_t *ids, double *scores, int32_t n);

/**
 * Choose a token from (penalised) scores.
 *
 * @param ids       [n] token of each score, NULL when dense
 * @param scores    [n] unnormalised log-policy; −inf excludes
 * @param position  index of the answer token; with the seed it fixes the draw
 * @return COSTEER_OK; COSTEER_ENUMERIC for NaN, +inf or no finite score
 */
COSTEER_API costeer_err costeer_sampler_choose(costeer_sampler *sampler, const int32_t *ids, const double *scores, int32_t n,
                                               int32_t position, costeer_choice *out, costeer_error *err);

/** Remember an emitted token for the repetition penalty. */
COSTEER_API void costeer_sampler_accept(costeer_sampler *sampler, int32_t token);

/** Forget the accepted tokens: a new answer begins. */
COSTEER_API void costeer_sampler_reset(costeer_sampler *sampler);

/** The uniform in [0, 1) that (seed, position) fixes: 53 bits of Philox4x32-10. */
COSTEER_API double costeer_sampler_uniform(uint64_t seed, uint64_t position);

#ifdef __cplusplus
}
#endif
#endif
