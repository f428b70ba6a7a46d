/*
 * The device's side of an answer: the SLM that yields the deltas, and the loop that steers.
 *
 * The loop knows neither models nor threads nor sockets: it takes a cloud, a delta source and a vocabulary.
 */
#ifndef COSTEER_SESSION_H
#define COSTEER_SESSION_H

#include <costeer/cloud.h>
#include <costeer/gate.h>
#include <costeer/model.h>
#include <costeer/sampler.h>
#include <costeer/steer.h>
#include <costeer/vocab.h>
#include <stdatomic.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- delta source ------------------------------------------------------------------------------------------------ */

/** Where expert and amateur logits come from; an implementation's struct begins with one. */
typedef struct costeer_delta_source costeer_delta_source;

/** How drafts are made. */
typedef struct costeer_draft_params {
    int32_t n_max; /**< 1 … COSTEER_WIRE_DRAFTS_MAX */
    /** False: the SLM without context goes on with its own choice, a function of public data. True: the SLM with the contexts
     * does (amateur + sum weight·(expert − amateur)); what of that is withdrawn was seen by the cloud. */
    bool is_private;
    double confidence; /**< (0, 1] what a choice's probability must be at least; the draft ends before one that is less sure */
    const double *weights;       /**< private: [n_deltas] strength times the context's own weight */
    costeer_delta_limits limits; /**< private: as for the answer */
} costeer_draft_params;

/** An SLM's own logits of one position, from which limits are computed. Not owned. */
typedef struct costeer_slm_rows {
    const float *expert;  /**< [n] */
    const float *amateur; /**< [n] */
    int32_t n;            /**< its whole vocabulary */
    bool is_normalised;   /**< what read gave is log-probabilities; else logits on the scale of these rows */
} costeer_slm_rows;

typedef struct costeer_delta_source_ops {
    /** Prepare position 0: read the prompts. Blocks. */
    costeer_err (*begin)(costeer_delta_source *self, costeer_error *err);
    /** Advance every sequence by [n] >= 1 tokens of the answer, in one batch; what is read next is what follows the last. Blocks.
     */
    costeer_err (*step)(costeer_delta_source *self, const int32_t *tokens, size_t n, costeer_error *err);
    /** Fill expert and amateur of deltas[0..n_deltas), valid until the next begin, draft or step; weights are
     * left alone. */
    void (*read)(costeer_delta_source *self, costeer_delta *deltas, size_t n_deltas);
    /**
     * Draft what may follow `token`, which the next step will be given. The steps over drafted tokens then cost little.
     *
     * @param[out] tokens  [params->n_max]
     * @param[out] n       drafted, 0 … n_max; a draft ends with an end token, or before what is not sure enough
     * NULL: this source drafts nothing. Blocks.
     */
    costeer_err (*draft)(costeer_delta_source *self, const costeer_draft_params *params, int32_t token, int32_t *tokens,
                         int32_t *n, costeer_error *err);
    /**
     * Logits [n_vocab] of what would be said without a context, to go on from when the cloud has failed; −inf for what cannot be
     * said. Valid as long as what read gave, which it may fill anew to go with it. NULL: deltas[0].amateur is that.
     */
    const float *(*alone)(costeer_delta_source *self);
    /** Before begin: the weights of the answer's deltas, [n_deltas] strength times the context's own. What has weight 0 must have
     * no part in the other deltas. NULL: they are independent of each other. */
    void (*weigh)(costeer_delta_source *self, const double *weights);
    /** The SLM's own rows of delta i, valid as long as what read gave. NULL: the arrays that read gave are that. */
    void (*rows)(costeer_delta_source *self, size_t i, costeer_slm_rows *out);
    /** Batches that steps and drafts have computed since begin, which are not as many as steps: what a draft computed is there
     * already, and several tokens may need more than one. NULL: one for each step. */
    int32_t (*count_batches)(const costeer_delta_source *self);
} costeer_delta_source_ops;

struct costeer_delta_source {
    const costeer_delta_source_ops *ops;
    size_t n_deltas; /**< contexts, 1 … COSTEER_DELTAS_MAX */
};

/** The SLM: amateur and experts as sequences of one context, stepped in one batch. */
typedef struct costeer_slm costeer_slm;

typedef struct costeer_slm_params {
    int32_t n_contexts; /**< experts, 1 … COSTEER_DELTAS_MAX */
    int32_t n_ctx;      /**< tokens of prompt and answer of each sequence; 0: what the model was trained for, at most 8192 */
    int32_t n_threads;  /**< >= 1 */
    int32_t n_threads_prompt;             /**< of prompts, which models compute in turn: all cores are best; 0: n_threads */
    costeer_prompt_progress_fn on_prompt; /**< told how far the reading of prompts is; may be NULL */
    void *on_prompt_user;
    int32_t n_drafts;                   /**< longest draft that will be asked for; 0: none */
    const costeer_vocab_map *vocab_map; /**< the answer's tokens are another model's: this brings them together, and drafts are
                                           none; must outlive the SLM. NULL: the tokens are the SLM's own */
} costeer_slm_params;

/**
 * Create the SLM's running state.
 *
 * @param model     must outlive it
 * @param[out] out  free with costeer_slm_free(); NULL on failure
 * Threads: one at a time.
 */
COSTEER_API costeer_err costeer_slm_create(const costeer_model *model, const costeer_slm_params *params, costeer_slm **out,
                                           costeer_error *err);
COSTEER_API void costeer_slm_free(costeer_slm *slm);

/**
 * Set the prompts of the next answer. What a sequence already holds of its prompt's beginning is kept, so that a second query
 * with the same context computes only the query.
 *
 * @param amateur  the prompt without a context
 * @param experts  [n_contexts] the prompts with one each
 * @param max_tokens  answer tokens that must still fit
 * @return COSTEER_OK; COSTEER_ETOOLONG: the message gives both sizes
 */
COSTEER_API costeer_err costeer_slm_set_prompts(costeer_slm *slm, const costeer_tokens *amateur, const costeer_tokens *experts,
                                                int32_t max_tokens, costeer_error *err);

/** Stop a begin, draft or step that is running, from another thread or a signal handler: it returns COSTEER_ECANCELED. NULL:
 * none. */
COSTEER_API void costeer_slm_set_cancel(costeer_slm *slm, const atomic_bool *cancel);

/** Prompt tokens computed by the last begin (all sequences), those kept from before not counted. */
COSTEER_API size_t costeer_slm_prefilled(const costeer_slm *slm);

/** The SLM as a delta source; lives as long as the SLM. */
COSTEER_API costeer_delta_source *costeer_slm_delta_source(costeer_slm *slm);

/* ---- the loop ---------------------------------------------------------------------------------------------------- */

/** Token ids to text, as the loop needs it. */
typedef struct costeer_vocab {
    int32_t n_vocab;
    size_t (*token_to_piece)(const void *model, int32_t token, char piece[COSTEER_PIECE_MAX]);
    bool (*is_end)(const void *model, int32_t token);
    const void *model;
} costeer_vocab;

/** The vocabulary of a model. */
COSTEER_API costeer_vocab costeer_model_vocab(const costeer_model *model);

#define COSTEER_BEST_MAX 5

/** What happened at one position. Log-probabilities in nats, over the entries the device has seen when the base is sparse. */
typedef struct costeer_position {
    int32_t position;
    int32_t token;
    int32_t base_token;    /**< the cloud's own greedy choice */
    bool steered;          /**< token differs from base_token */
    bool is_end;           /**< the token ends the answer and has no text */
    bool certified;        /**< always true with a dense base */
    bool uncertified_kept; /**< not certified, and deepening was switched off */
    bool near_tie; /**< margin is below costeer_near_tie_bound(), or as little would change the gate's decision or, by way of the
                      limits, the choice: the same tokens computed in other batches may go on otherwise */
    bool gated;    /**< the gate was closed: the cloud's own choice stands, whatever the context says */
    bool is_reasoning;     /**< before the answer: the cloud's own choice, or what ends a reasoning whose budget is spent */
    bool is_local;         /**< chosen by the SLM alone, because the cloud had failed (base_token is then the same token) */
    int32_t n_deepened;    /**< times a deeper base, or exact values instead of rounded ones, were asked for */
    int32_t n_entries;     /**< entries of the base used; n_vocab when dense */
    double margin;         /**< of the choice, nats (costeer_choice); certified by a sparse base: at least this */
    double unsent_mass;    /**< sampled, sparse: bound on the policy mass not seen; else 0 */
    int64_t slm_us;        /**< SLM step, catching up included */
    int64_t cloud_wait_us; /**< waiting for the cloud after the SLM was done */
    int64_t fuse_us;       /**< fuse, certify, choose */
    /* The rest is filled only when costeer_session_params.details is set. */
    double base_logprob; /**< of token */
    double policy_logprob;
    double delta; /**< of token, as published: sum over contexts of weight · (log p_expert − log p_amateur), of the SLM's
                     normalised distributions and without the strength, nats; 0 where nothing is steered or the gate is closed */
    double gain;  /**< of token: nats that the deltas added to its score, sum of weights[i] times the delta as limited. Without
                     limits this is the strength times delta */
    int32_t n_weights;                  /**< 0 where nothing is steered or the gate is closed */
    double weights[COSTEER_DELTAS_MAX]; /**< of the contexts at this position: strength times the context's own, times what the
                                           divergence leaves of it */
    int32_t n_best;
    int32_t best_before[COSTEER_BEST_MAX]; /**< base's best tokens */
    double best_before_logprob[COSTEER_BEST_MAX];
    int32_t best_after[COSTEER_BEST_MAX]; /**< policy's best tokens */
    double best_after_logprob[COSTEER_BEST_MAX];
} costeer_position;

/** Receives each position; return false to stop (COSTEER_EABORTED). */
typedef bool (*costeer_position_fn)(const costeer_position *position, void *user);

/** Receives text, always whole UTF-8 characters, not NUL-terminated; return false to stop (COSTEER_EABORTED). */
typedef bool (*costeer_text_fn)(const char *text, size_t n_bytes, void *user);

/** What to do when the cloud fails in the middle of an answer. */
typedef enum costeer_on_cloud_failure {
    COSTEER_CLOUD_FAILURE_STOP = 0, /**< the answer ends with the cloud's error */
    COSTEER_CLOUD_FAILURE_LOCAL = 1 /**< the SLM with the contexts finishes it alone; the report says from where on */
} costeer_on_cloud_failure;

typedef struct costeer_session_params {
    double strength;               /**< >= 0 usually; finite */
    costeer_delta_limits limits;   /**< of each delta, at each position; what the SLM says alone is not limited */
    const double *context_weights; /**< [n_deltas], NULL: all 1 */
    costeer_sampler_params sampler;
    int32_t max_tokens;     /**< >= 1 */
    int32_t base_top_k;     /**< 0: dense */
    bool constant_k;        /**< never ask for a deeper base; count instead */
    bool require_certified; /**< end with COSTEER_EUNCERTIFIED at the first token that cannot be proved, instead of counting it */
    double unsent_tolerance; /**< sampled, sparse: 1e-3 is the default */
    const char *const *stop; /**< [n_stop] strings that end the answer; they are not part of the text */
    size_t n_stop;
    bool details;
    bool private_drafts;     /**< draft with the context; see costeer_draft_params */
    double draft_confidence; /**< private drafts: (0, 1] */
    costeer_on_cloud_failure on_cloud_failure;
    costeer_gate_params gate; /**< asked only where there is something to steer with. While a gate per token is closed, and once
                                 ADA is off, the SLM does not step; it catches up in one batch when it is needed again */
    const costeer_chat *chat; /**< the public request as messages, for a cloud with a template of its own; NULL: the prompt only.
                               Outlives the session */
    const costeer_reasoning *reasoning; /**< of the model that gives the base; NULL: the answer begins at once. Outlives the
                                           session. max_tokens, stop strings and steering are the answer's */
    int32_t reasoning_budget;           /**< tokens after which it is ended by force, >= 1 */
    costeer_position_fn on_position;    /**< may be NULL */
    costeer_text_fn on_text;            /**< may be NULL */
    costeer_text_fn on_reasoning;       /**< receives the reasoning's text, without its marks; may be NULL */
    void *user;                         /**< given to both */
    const atomic_bool *cancel; /**< set from anywhere: the loop ends with COSTEER_ECANCELED, the report says what was done */
} costeer_session_params;

/** Tokens that a reasoning may have beyond its budget: what ends it by force, and blanks before the answer. */
#define COSTEER_REASONING_MARGIN 24

/** Positions that a session may take in all: prompt and as many tokens must fit the models. */
COSTEER_API int32_t costeer_session_positions_max(const costeer_session_params *params);

#define COSTEER_SESSION_DEFAULTS                                   \
    ((costeer_session_params){.strength = 1.78325684,              \
                              .sampler = COSTEER_SAMPLER_DEFAULTS, \
                              .max_tokens = 256,                   \
                              .unsent_tolerance = 1e-3,            \
                              .gate = COSTEER_GATE_DEFAULTS,       \
                              .draft_confidence = 0.99})

typedef enum costeer_finish {
    COSTEER_FINISH_NONE = 0,   /**< an error or cancellation ended it */
    COSTEER_FINISH_END = 1,    /**< an end-of-generation token */
    COSTEER_FINISH_LENGTH = 2, /**< max_tokens */
    COSTEER_FINISH_STOP = 3    /**< a stop string */
} costeer_finish;

/** @return "none", "end", "length" or "stop", as results tell it */
COSTEER_API const char *costeer_finish_name(costeer_finish finish);

/** Totals of an answer. Times in microseconds. */
typedef struct costeer_report {
    costeer_finish finish;
    int32_t n_tokens;  /**< emitted, an end token included */
    int32_t n_steered; /**< tokens that differ from the cloud's own choice */
    int32_t n_certified;
    int32_t n_deepened;       /**< positions at which a deeper base was asked for */
    int32_t n_reasoning;      /**< of n_tokens, those before the answer */
    int32_t n_gated;          /**< positions at which the gate was closed: the cloud chose alone */
    int32_t n_slm_steps;      /**< batches that the SLM computed after its prompts, drafts included */
    int32_t n_slm_tokens;     /**< tokens of the answer that they advanced it by */
    int32_t n_uncertified;    /**< positions kept without proof (constant_k, or a cloud that gives no more) */
    int32_t n_near_ties;      /**< positions with near_tie */
    int32_t n_local;          /**< tokens chosen by the SLM alone after the cloud had failed: the last ones */
    costeer_err cloud_status; /**< why, when n_local > 0 */
    costeer_error cloud_error;
    costeer_cloud_stats cloud; /**< what went to and from the cloud */
    double unsent_mass_max;
    int64_t prefill_us;    /**< from the start to the first token's choice */
    int64_t slm_us;        /**< sum of SLM steps after prefill */
    int64_t cloud_wait_us; /**< sum of waits after prefill */
    int64_t fuse_us;
    int64_t total_us;
} costeer_report;

typedef struct costeer_session costeer_session;

/**
 * Create a session; everything a token needs is allocated here.
 *
 * @param cloud   where the base comes from; outlives the session
 * @param deltas  where the deltas come from; NULL: the cloud's answer unsteered
 * @return COSTEER_OK; COSTEER_EINVAL: the message names the parameter; COSTEER_ENOMEM
 */
COSTEER_API costeer_err costeer_session_create(costeer_cloud *cloud, costeer_delta_source *deltas, const costeer_vocab *vocab,
                                               const costeer_session_params *params, costeer_session **out, costeer_error *err);
COSTEER_API void costeer_session_free(costeer_session *session);

/**
 * Produce an answer: at each position wait for the base, steer, choose, commit, while the SLM steps.
 *
 * May be called again for another answer (delta source and prompt set anew by the caller).
 *
 * @param prompt  [n_prompt] tokens of the public prompt: all the cloud is given
 * @param[out] report  filled in every case
 * @return COSTEER_OK; COSTEER_ECANCELED; COSTEER_EABORTED; errors of cloud, delta source and fusion
 *
 * Threads: one at a time.   Blocks: for the whole answer.   No allocation per token.
 */
COSTEER_API costeer_err costeer_session_run(costeer_session *session, const int32_t *prompt, size_t n_prompt,
                                            costeer_report *report, costeer_error *err);

/** The tokens of the last answer, an end token included; valid until the next run. */
COSTEER_API const int32_t *costeer_session_tokens(const costeer_session *session, size_t *n);

#ifdef __cplusplus
}
#endif
#endif
