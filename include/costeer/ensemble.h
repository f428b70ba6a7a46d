/*
 * The models of an answer, put together as a method wants them: which model gives the base, which ones the deltas.
 *
 * Running states (contexts of llama.cpp, connections) are made when a method first needs them and kept for the next one, so that
 * several methods over the same prompts read each prompt once.
 */
#ifndef COSTEER_ENSEMBLE_H
#define COSTEER_ENSEMBLE_H

#include <costeer/cloud.h>
#include <costeer/method.h>
#include <costeer/prompt.h>
#include <costeer/session.h>
#include <costeer/vocab.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct costeer_ensemble costeer_ensemble;

/** Open a connection to the cloud that runs the LLM; the ensemble frees it. */
typedef costeer_err (*costeer_connect_fn)(void *user, costeer_cloud **out, costeer_error *err);

typedef struct costeer_ensemble_params {
    const costeer_model *llm;   /**< its vocabulary is the answer's; with `connect` the vocabulary is enough. NULL: no method that
                                   uses   the LLM */
    const costeer_model *slm;   /**< NULL: no method that uses the SLM */
    const costeer_model *tuned; /**< proxy-tuning's SLM, with the SLM's vocabulary; may be NULL */
    const costeer_vocab_map *vocab_map; /**< NULL: LLM and SLM have the same vocabulary */
    costeer_connect_fn connect;         /**< NULL: the LLM runs in this process */
    void *connect_user;
    bool by_chat;              /**< connect: give the cloud the request as chat messages, for its own template */
    bool allow_context_upload; /**< connect: allow methods that show the context to the cloud */
    int32_t n_contexts;        /**< deltas, 1 … COSTEER_DELTAS_MAX; 0 when nothing is steered by contexts */
    int32_t n_ctx;             /**< tokens of prompt and answer; 0: what each model was trained for, at most 8192 */
    int32_t n_threads_llm;
    int32_t n_threads_slm;
    int32_t n_threads_prompt; /**< of prompts, which models compute in turn: all cores are best; 0: as the two above */
    costeer_prompt_progress_fn on_prompt; /**< told how far the reading of prompts is; may be NULL; not with shared engines */
    void *on_prompt_user;
    int32_t n_drafts;          /**< longest draft of the SLM; 0: none */
    const atomic_bool *cancel; /**< may be NULL */
} costeer_ensemble_params;

/** Prompts of the next answers. Texts are copied. */
typedef struct costeer_ensemble_prompts {
    costeer_prompt plain;       /**< without a context */
    costeer_prompt amateur;     /**< the same for the SLM as amateur, in the framing of `with`; query NULL: plain */
    const costeer_prompt *with; /**< [n_contexts] with one context each; for the SLM's experts */
    costeer_prompt with_all;    /**< with all contexts that are to be followed; for sources "with"; query NULL: none */
    const char *llm_template;   /**< of the LLM's prompts, NULL: the chat_template that each prompt has */
    const char *slm_template;   /**< of the SLM's and the tuned SLM's, the same */
    int32_t max_tokens;
} costeer_ensemble_prompts;

/** What a session is made of. Valid until the next call on the ensemble. */
typedef struct costeer_ensemble_parts {
    costeer_cloud *cloud;
    costeer_delta_source *deltas; /**< NULL: unsteered */
    bool deltas_are_local;        /**< they come from this device's SLM, so that it could finish an answer alone: without it,
                                     COSTEER_CLOUD_FAILURE_LOCAL must not be asked for */
    const costeer_model *model;   /**< whose tokens the answer consists of */
    const int32_t *prompt;        /**< [n_prompt] of the base; n_prompt 0 when the cloud is given the chat */
    size_t n_prompt;
    const costeer_chat *chat; /**< for costeer_session_params; NULL: none */
} costeer_ensemble_parts;

/**
 * Create an ensemble; nothing is loaded or connected yet.
 *
 * @param params    models must outlive it
 * @param[out] out  free with costeer_ensemble_free(); NULL on failure
 */
COSTEER_API costeer_err costeer_ensemble_create(const costeer_ensemble_params *params, costeer_ensemble **out,
                                                costeer_error *err);
COSTEER_API void costeer_ensemble_free(costeer_ensemble *ensemble);

/** Change the number of contexts; the SLM's state is made anew when it is another. New prompts have to be set. Threads: one at a
 * time. */
COSTEER_API costeer_err costeer_ensemble_set_n_contexts(costeer_ensemble *ensemble, int32_t n_contexts, costeer_error *err);

/** Set the prompts. Errors of building one come from costeer_ensemble_use(), which builds those that a method needs. */
COSTEER_API costeer_err costeer_ensemble_set_prompts(costeer_ensemble *ensemble, const costeer_ensemble_prompts *prompts,
                                                     costeer_error *err);

/**
 * Put together what a method needs for one answer.
 *
 * @param top_p  the base's support, for methods that restrict it (method->top_p is the published value); else ignored
 * @return COSTEER_OK; COSTEER_EINVAL: a model that the method needs is missing, or it would show the context to a remote cloud
 * without allow_context_upload (the message says what to do); COSTEER_ETOOLONG; errors of connecting and prompts
 *
 * Threads: one at a time.   Blocks: while connecting.
 */
COSTEER_API costeer_err costeer_ensemble_use(costeer_ensemble *ensemble, const costeer_method *method, double top_p,
                                             costeer_ensemble_parts *out, costeer_error *err);

/** The connection to the LLM's cloud that the last use made or kept; NULL: none. For its name and limits. */
COSTEER_API costeer_cloud *costeer_ensemble_remote(const costeer_ensemble *ensemble);

#ifdef __cplusplus
}
#endif
#endif
