/*
 * An ensemble from the inside: its running states, and how it is made on the engines of a pool, where several ensembles compute
 * in shared batches.
 */
#ifndef CS_CLOUD_ENSEMBLE_INTERNAL_H
#define CS_CLOUD_ENSEMBLE_INTERNAL_H

#include "cloud/ensemble_prompts.h"
#include "core/pool.h"

/* ---- in a pool --------------------------------------------------------------------------------------------------- */

/** Engines of one pool; NULL: running states of the ensemble's own. They must outlive the ensemble. */
typedef struct cs_ensemble_engines {
    cs_engine *llm;
    cs_engine *slm;
    cs_engine *tuned;
    int32_t order; /**< of the session among the pool's: the number of its job (core/pool.h) */
} cs_ensemble_engines;

/** As costeer_ensemble_create(), with views of engines for running states. */
costeer_err cs_ensemble_create_pooled(const costeer_ensemble_params *params, const cs_ensemble_engines *engines,
                                      costeer_ensemble **out, costeer_error *err);

/**
 * Count the sequences that one ensemble takes of each engine when methods are used in turn.
 *
 * What a method does not need is closed before anything else is opened, so that is the maximum over the methods, not the sum. Of
 * the LLM it counts as if it ran in this process.
 */
void cs_ensemble_count_sequences(const costeer_method *const *methods, size_t n, int32_t n_contexts, int32_t *llm, int32_t *slm,
                                 int32_t *tuned);

/** Rows of logits that an engine needs for each sequence of an ensemble with these parameters: cs_engine_params.n_rows is that
 * times its sequences. More than one only for an SLM with drafts or a vocabulary of its own. */
int32_t cs_ensemble_rows_per_sequence(const costeer_ensemble_params *params);

/* ---- running states (ensemble_parts.c) --------------------------------------------------------------------------- */

struct costeer_ensemble {
    costeer_ensemble_params params;
    cs_ensemble_engines engines;
    cs_prompt_store *prompts;  /* NULL before the first ones */
    costeer_cloud *llm;        /* in this process, or the connection */
    costeer_cloud *llm_second; /* the second connection of methods that need the LLM twice: without the context */
    costeer_cloud *slm;        /* the SLM answering by itself */
    costeer_cloud *tuned;      /* proxy-tuning's expert and amateur */
    costeer_cloud *untuned;
    costeer_slm *deltas;                   /* the SLM with and without the contexts */
    costeer_delta_source *llm_pair;        /* the LLM with and without the context, in one batch */
    costeer_delta_source *llm_connections; /* the same over two connections */
    costeer_delta_source *proxies;         /* tuned and untuned */
    costeer_cloud *contrast;               /* over llm_pair or llm_connections */
};

/** What a row of the table is made of. */
typedef enum cs_ensemble_kind {
    CS_ENSEMBLE_PLAIN,    /**< one model's answer */
    CS_ENSEMBLE_CONTEXTS, /**< the SLM with and without the contexts */
    CS_ENSEMBLE_CONTRAST, /**< the LLM with and without the context, the former the base as well */
    CS_ENSEMBLE_PROXIES   /**< the SLM tuned and untuned */
} cs_ensemble_kind;

cs_ensemble_kind cs_ensemble_kind_of(const costeer_method *method);

/** Which of the running states a method needs. */
typedef struct cs_ensemble_needs {
    bool llm;
    bool slm;
    bool deltas;
    bool contrast;
    bool proxies;
} cs_ensemble_needs;

cs_ensemble_needs cs_ensemble_needs_of(const costeer_method *method);

/** Make what is needed and not there yet. On engines, what is not needed is closed first. */
costeer_err cs_ensemble_open_parts(costeer_ensemble *ensemble, const cs_ensemble_needs *needs, costeer_error *err);

/** Close everything. */
void cs_ensemble_close_parts(costeer_ensemble *ensemble);

#endif
