/*
 * Continuous batching: one LLM that computes many answers in shared steps. What a cloud node is made of, without the network.
 *
 * A thread of its own owns the llama.cpp context. In every step it takes the next token of each answer that has one to compute,
 * then pieces of prompts, fills a batch and hands the resulting distributions to the answers' owner. Calls on an answer change
 * its state at once, under a mutex, and never wait for a computation; they check everything, because a device is not trusted.
 *
 * An answer is the prompt and a run of tokens: first accepted ones, then assumed ones (drafts, then the model's own choices). The
 * distribution of position p may be computed when p <= accepted + window + drafts. Nothing is computed behind an end token or
 * from max_tokens on.
 */
#ifndef COSTEER_BATCHER_H
#define COSTEER_BATCHER_H

#include <costeer/cloud.h>
#include <costeer/model.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct costeer_batcher costeer_batcher;
typedef struct costeer_batch_answer costeer_batch_answer; /**< one answer; belongs to the batcher */

/** A base at one position of one answer. Arrays are valid during the callback. */
typedef struct costeer_batch_distribution {
    int32_t epoch;
    int32_t position;
    int32_t own_token;
    int64_t compute_us;    /**< of the step that it came from */
    costeer_base base;     /**< sparse: log-probabilities; dense (ids NULL): logits */
    double log_normaliser; /**< dense: subtract it from the values to get log-probabilities; sparse: 0 */
    bool is_deepening;     /**< the reply to a deepen, not the next position */
} costeer_batch_distribution;

/** What an answer took. */
typedef struct costeer_batch_account {
    uint32_t n_steps;     /**< positions computed, prompt not counted */
    uint32_t n_wasted;    /**< of them, those whose distribution was never of use: dropped by a correction, aborted, or, at the
                               end, behind the first position that is not accepted */
    uint32_t n_rollbacks; /**< corrections (and deepenings) that dropped something computed */
    int64_t queue_us;     /**< from open to the first computation */
} costeer_batch_account;

/** One shared step, as the metrics want it. */
typedef struct costeer_batch_step {
    int64_t step_us;
    int32_t n_answers;       /**< that took part with a token to continue from */
    int32_t n_prompt_tokens; /**< of prompts */
    int32_t n_positions;     /**< distributions made */
    int32_t n_wasted;        /**< rows that were computed for nothing */
    bool aborted;
} costeer_batch_step;

/**
 * Called from a thread of the batcher with its mutex held (so one at a time): do little, never call the batcher. `answer_user` is
 * what open was given. on_end is called exactly once per answer and last: after close, or after a failure (status not
 * COSTEER_OK). After a failure calls are refused (COSTEER_ESTATE), and close is still due.
 */
typedef struct costeer_batch_callbacks {
    void (*on_distribution)(void *answer_user, const costeer_batch_distribution *distribution, void *user);
    void (*on_end)(void *answer_user, costeer_err status, const costeer_error *error, const costeer_batch_account *account,
                   void *user);
    void (*on_step)(const costeer_batch_step *step, void *user); /**< after the step's distributions; the mutex is not held */
    void *user;
} costeer_batch_callbacks;

typedef struct costeer_batcher_params {
    int32_t n_parallel; /**< answers computed together, 1 … 256; more wait, in order of arrival, for one to end or to fall silent
                           for a second */
    int32_t n_ctx;      /**< tokens of prompt and answer of each; 0: what the model was trained for, at most 8192 */
    int32_t n_threads;  /**< >= 1 */
    int32_t prompt_chunk;  /**< prompt tokens per step at most while answers are being continued; 0: 64 */
    int32_t max_window;    /**< largest window of a request */
    int32_t max_drafts;    /**< largest number of drafts behind an accepted token */
    int32_t step_floor_ms; /**< bench only: no step with positions of answers in it takes less; stands for a bigger model */
    costeer_batch_callbacks callbacks;
} costeer_batcher_params;

typedef struct costeer_batch_request {
    const int32_t *prompt; /**< [n_prompt] copied */
    size_t n_prompt;
    const int32_t *accepted; /**< [n_accepted] copied: the answer so far; the first distribution is that of position n_accepted */
    size_t n_accepted;
    int32_t max_tokens; /**< of the answer, n_accepted included */
    int32_t window;     /**< positions to run ahead on the model's own choice; 0: none */
    int32_t top_k;      /**< 0: dense */
    uint64_t owner;     /**< KV cache left by an answer is used again only for the same owner's next; 0: never */
} costeer_batch_request;

/**
 * Create it and start its thread.
 *
 * @param model     must outlive it
 * @param[out] out  free with costeer_batcher_free(); NULL on failure
 */
COSTEER_API costeer_err costeer_batcher_create(const costeer_model *model, const costeer_batcher_params *params,
                                               costeer_batcher **out, costeer_error *err);

/** Abandon what runs, end every answer (COSTEER_ECANCELED), stop the thread. No answer may be used afterwards, nor closed. */
COSTEER_API void costeer_batcher_free(costeer_batcher *batcher);

/** Tokens of prompt and answer that fit. */
COSTEER_API int32_t costeer_batcher_n_ctx(const costeer_batcher *batcher);

/**
 * Queue an answer.
 *
 * @param[out] out  for the calls below, until close
 * @return COSTEER_OK; COSTEER_ETOOLONG; COSTEER_EINVAL: the message names the rule
 */
COSTEER_API costeer_err costeer_batch_open(costeer_batcher *batcher, const costeer_batch_request *request, void *answer_user,
                                           costeer_batch_answer **out, costeer_error *err);

/** Accept what was assumed up to and including a position. COSTEER_EINVAL unless it was delivered and a token is assumed there.
 */
COSTEER_API costeer_err costeer_batch_commit(costeer_batch_answer *answer, int32_t position, costeer_error *err);

/**
 * Put another token at a position (which accepts all before it) and drop what is behind it: what is being computed for it in vain
 * is aborted when no other answer shares the step.
 *
 * @param epoch  must be the answer's epoch + 1
 */
COSTEER_API costeer_err costeer_batch_correct(costeer_batch_answer *answer, int32_t epoch, int32_t position, int32_t token,
                                              costeer_error *err);

/**
 * Assume tokens behind the last one known; position must be the first one without a token, and all before it accepted.
 *
 * A token that the model itself chose there meanwhile gives way, as long as nothing computed from it was delivered.
 */
COSTEER_API costeer_err costeer_batch_draft(costeer_batch_answer *answer, int32_t position, const int32_t *tokens, size_t n,
                                            costeer_error *err);

/**
 * Ask for more entries of a delivered position that is not accepted yet.
 *
 * Up to 8 times the answer's top_k are remembered (of a small vocabulary all, with a huge top_k and window fewer) and come at
 * once; of the position computed last all come, while nothing else is being computed; for more the position is computed again, in
 * a new epoch (one more), and what was behind it is dropped and comes again.
 */
COSTEER_API costeer_err costeer_batch_deepen(costeer_batch_answer *answer, int32_t epoch, int32_t position, int32_t top_k,
                                             costeer_error *err);

/**
 * Compute nothing new for an answer until costeer_batch_release(), so that the calls in between (the frames of one message:
 * commit or correct, then draft) are seen together and their positions computed in one step. Does not wait, does not nest.
 */
COSTEER_API void costeer_batch_hold(costeer_batch_answer *answer);
COSTEER_API void costeer_batch_release(costeer_batch_answer *answer);

/** Copy the answer's first tokens: those accepted, then those assumed. Returns how many, at most n_max. */
COSTEER_API size_t costeer_batch_read_tokens(const costeer_batch_answer *answer, int32_t *out, size_t n_max);

/** Forget an answer, in any state; on_end follows (soon, from the batcher's thread). The pointer must not be used afterwards. */
COSTEER_API void costeer_batch_close(costeer_batch_answer *answer);

#ifdef __cplusplus
}
#endif
#endif
