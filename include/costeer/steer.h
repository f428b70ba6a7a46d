/*
 * The mathematics of steering: strength, fusion, certification. Pure functions: no I/O, no model, no clock, no allocation.
 *
 * Every decoding-time method of this family is one row of one table, policy = softmax(base + sum_j weight_j (expert_j −
 * amateur_j)). Constants added to a whole array vanish in the softmax, so base, expert and amateur may be raw logits or
 * log-probabilities. Source: Lv et al., CoSteer, arXiv 2507.04756; docs/mathematics.md derives the closed form used here.
 */
#ifndef COSTEER_STEER_H
#define COSTEER_STEER_H

#include <costeer/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Parameters of the published T-step update (names as published). */
typedef struct costeer_strength_params {
    int32_t T;     /**< steps, >= 1 */
    double alpha;  /**< weight of the drift from the base */
    double beta;   /**< weight of the delta */
    double lambda; /**< regularisation towards the base, > 0 */
    double eta;    /**< step size, > 0 */
} costeer_strength_params;

/** The published defaults; their strength is 1.78325684. */
#define COSTEER_STRENGTH_DEFAULTS ((costeer_strength_params){.T = 20, .alpha = 2.0, .beta = 1.0, .lambda = 2.0, .eta = 10.0})

/** Largest T accepted: the recurrence is O(T) and diverges long before. */
#define COSTEER_STRENGTH_T_MAX 1000000

/**
 * Compute the strength c_T to which T steps of the published update amount.
 *
 *     c_0 = 0,  c_t = (alpha sum_{i<t} c_i + t beta + c_{t-1}/eta) / (t lambda + 1/eta)
 *
 * @param[out] out  the strength; unchanged on failure
 * @return COSTEER_OK; COSTEER_EINVAL when a parameter is out of range or not finite, or the strength overflows: the message
 *         names the parameter
 */
COSTEER_API costeer_err costeer_strength_compute(const costeer_strength_params *params, double *out, costeer_error *err);

/** A base: the LLM's distribution at one position, dense or the sparse top of it. Not owned. */
typedef struct costeer_base {
    const int32_t *ids; /**< [n] distinct token ids; NULL when dense (values[i] belongs to token i) */
    const float
        *values; /**< [n] dense: logits or log-probabilities; sparse: log-probabilities of the full distribution, descending */
    int32_t n;   /**< dense: may exceed n_vocab (a padded output width), the rest is not read; sparse: 1 ≤ n ≤ n_vocab */
    float error; /**< sparse: largest rounding error of a value, nats; 0: exact */
    float tail;  /**< sparse: log of the probability of all unsent tokens as the sender knows it, <= 0; 0: not told */
    float sum_error; /**< sparse: nats by which all values together may be off, as the sender's softmax lost them in adding up; 0:
                        exact */
} costeer_base;

/** One delta: the direction in which a context pushes the next word, and its weight. Not owned. What is not set is 0. */
typedef struct costeer_delta {
    const float *expert;  /**< [>= n_vocab] logits with the context */
    const float *amateur; /**< [>= n_vocab] logits without it */
    double weight;        /**< strength times the context's own weight; finite, may be negative */
    /**
     * Plausibility. False: floor and shift are not read, and the delta is expert − amateur.
     *
     * True: the delta is expert − amateur − shift, and where the expert's value is below floor at most 0. With a negative weight
     * expert and amateur change places here: what gains then is what the amateur holds for likelier, so its value is what counts.
     */
    bool is_limited;
    double floor; /**< of values of the expert; -inf: limits nothing */
    double shift; /**< log-sum-exp of the expert minus that of the amateur: makes the difference one of log-probabilities */
} costeer_delta;

/** What holds a delta back where it is noise. All 0: nothing does, as published. Source: docs/methods.md. */
typedef struct costeer_delta_limits {
    /** A in (0, 1]: no token gains that the expert holds for less likely than A times its best one; 0: off. */
    double plausibility;
    /** D > 0, nats: the weight is multiplied by min(1, KL(expert, amateur) / D); 0: off. */
    double divergence;
} costeer_delta_limits;

/** COSTEER_EINVAL: the message names the limit and its range. */
COSTEER_API costeer_err costeer_delta_limits_check(const costeer_delta_limits *limits, costeer_error *err);

/**
 * Apply limits to a delta at one position: multiply its weight, set is_limited, floor and shift.
 *
 * One pass over both arrays. Call it anew at each position, with the whole weight. With a negative weight expert and amateur
 * change places, in the divergence too.
 *
 * @param n_vocab  entries that make the distributions; more in the arrays (padding) are not read
 * @return COSTEER_OK; COSTEER_EINVAL; COSTEER_ENUMERIC for NaN, +inf or nothing but -inf: the message names the token. The delta
 *         is then unchanged
 * Threads: any. Identical results on every instruction set.
 */
COSTEER_API costeer_err costeer_delta_limit(costeer_delta *delta, const costeer_delta_limits *limits, int32_t n_vocab,
                                            costeer_error *err);

/** At most this many deltas are fused at once (contexts of one answer). */
#define COSTEER_DELTAS_MAX 16

/** A chosen token. */
typedef struct costeer_choice {
    int32_t token;
    double score; /**< base + sum weight·delta of that token; comparable within one position only */
    /**
     * Nats by which scores would have to move for another token to be chosen, >= 0; +inf when there is no other.
     *
     * Greedy: its score minus the best score of another entry. Drawn: temperature times the distance, in log-odds, from the
     * uniform to the nearer edge of the token's interval of the cumulative distribution.
     */
    double margin;
} costeer_choice;

/**
 * What grouping can move, in nats: the difference of two tokens' base log-probabilities, and of two tokens' deltas.
 *
 * A model's logits depend a little on which tokens an engine computes in one batch, because sums are then added up in another
 * order. The base may come from any engine: in bfloat16 it moves most. The deltas are computed here. docs/mathematics.md has the
 * measurements.
 */
#define COSTEER_NEAR_TIE_BASE  0.12
#define COSTEER_NEAR_TIE_DELTA 0.05

/**
 * Return the margin, in nats, below which another grouping of the same tokens may choose another token.
 *
 *     COSTEER_NEAR_TIE_BASE + sum_j |weight_j| · COSTEER_NEAR_TIE_DELTA
 *
 * @param deltas  [n_deltas]; only the weights are read
 */
COSTEER_API double costeer_near_tie_bound(const costeer_delta *deltas, size_t n_deltas);

/**
 * Choose the greedy token of the policy in one pass, writing nothing.
 *
 * Scores are computed in double precision, so that the choice is that of the T-step loop; the lowest id wins a tie.
 * A token whose base, or whose expert alone, is −inf is excluded; where expert and amateur are both −inf the delta is 0.
 *
 * @param n_vocab  width of the tokenizer's vocabulary: entries beyond it (padding) are never chosen
 * @return COSTEER_OK; COSTEER_EINVAL for a bad argument (id out of range, too many deltas, n_vocab < 1);
 *         COSTEER_ENUMERIC for NaN, a score of +inf, or no finite score: the message names the token
 *
 * Threads: any. Identical results on every instruction set.
 */
COSTEER_API costeer_err costeer_fuse_choose(const costeer_base *base, const costeer_delta *deltas, size_t n_deltas,
                                            int32_t n_vocab, costeer_choice *out, costeer_error *err);

/**
 * Write the scores of the policy (unnormalised) and the greedy choice.
 *
 * @param[out] scores  [n_vocab] when the base is dense, [base->n] when sparse (entry i belongs to base->ids[i])
 * Otherwise as costeer_fuse_choose().
 */
COSTEER_API costeer_err costeer_fuse_scores(const costeer_base *base, const costeer_delta *deltas, size_t n_deltas,
                                            int32_t n_vocab, double *scores, costeer_choice *out, costeer_error *err);

/**
 * Write the log-policy: scores minus their log-sum-exp, in nats (over the sent entries only when the base is sparse).
 *
 * @param[out] log_policy  shape as in costeer_fuse_scores(); excluded tokens are −inf
 */
COSTEER_API costeer_err costeer_fuse_policy(const costeer_base *base, const costeer_delta *deltas, size_t n_deltas,
                                            int32_t n_vocab, double *log_policy, costeer_choice *out, costeer_error *err);

/** Return the log of the sum of exponentials of values[0..n), in nats; −inf for none. */
COSTEER_API double costeer_logsumexp(const float *values, int32_t n);

/** Name of the instruction set that fusion uses on this machine: "avx512", "avx2" or "plain". */
COSTEER_API const char *costeer_fuse_isa(void);

/** What a top-K base proves about the choice that the full vocabulary would have given. */
typedef struct costeer_certificate {
    bool certified;
    double tail_bound;  /**< m: no unsent token has a larger base log-probability */
    double best_unsent; /**< largest score an unsent token can have; −inf when all tokens were sent */
    double unsent_mass; /**< sampled only: upper bound of (unsent policy mass / sent policy mass) */
} costeer_certificate;

/** Number of uint64_t words of scratch that certification needs for a vocabulary. */
#define COSTEER_CERTIFY_SCRATCH_WORDS(n_vocab) (((size_t)(n_vocab) + 63) / 64)

/**
 * Prove, or fail to prove, that the greedy choice over the sent entries is the one over the full vocabulary.
 *
 * m = min(K-th value, log(1 − sum of sent probabilities), tail), rounded up; certified when best_score exceeds
 * m + max over unsent x of sum_j weight_j delta_j(x). With base->error, m allows for it, and best_score − error must exceed: no
 * unsent token can win then, but whether another sent one could is for the caller to look at.
 *
 * @param base        sparse, with true log-softmax values (within base->error), sorted descending; checked: ids in range and
 *                    distinct, values finite, <= 0 and sorted, probabilities summing to at most 1 + 1e-4, error finite and not
 *                    negative, tail not above 0 (the cloud is not trusted)
 * @param best_score  the best score among the sent entries, after any penalty that only lowers scores
 * @param scratch     [COSTEER_CERTIFY_SCRATCH_WORDS(n_vocab)], contents ignored and overwritten
 * @return COSTEER_OK (whether certified or not); COSTEER_EINVAL, COSTEER_ENUMERIC; COSTEER_ECLOUD when the base breaks a rule
 */
COSTEER_API costeer_err costeer_certify_greedy(const costeer_base *base, const costeer_delta *deltas, size_t n_deltas,
                                               int32_t n_vocab, double best_score, uint64_t *scratch, costeer_certificate *out,
                                               costeer_error *err);

/**
 * Bound the policy mass of the unsent tokens when sampling at a temperature.
 *
 * unsent_mass <= sum over unsent x of exp((m + sum_j weight_j delta_j(x)) / temperature), relative to the sent mass. A base with
 * an error is never certified: rounded values are another distribution.
 *
 * @param scores       [base->n] scores of the sent entries (after any penalty that only lowers scores)
 * @param temperature  > 0
 * @param tolerance    certified when unsent_mass is at most this (1e-3 is the project's default)
 */
COSTEER_API costeer_err costeer_certify_sampled(const costeer_base *base, const costeer_delta *deltas, size_t n_deltas,
                                                int32_t n_vocab, const double *scores, double temperature, double tolerance,
                                                uint64_t *scratch, costeer_certificate *out, costeer_error *err);

#ifdef __cplusplus
}
#endif
#endif
