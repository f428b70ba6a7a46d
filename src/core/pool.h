/*
 * Several answers computed in shared batches, in an order that depends on the answers alone.
 *
 * A pool has some sessions, each on a thread of its own, and some engines, each a model with one llama.cpp context and a thread.
 * A session computes through views: decoders (core/decoder.h) whose sequences live in an engine. An engine computes what is
 * submitted when every session of the pool waits and every engine is idle: what shares a batch is then decided by the answers,
 * never by timing, and the same answers in the same pool give the same bits. `is_eager` gives that up where sessions also wait
 * for a network: an engine then computes whatever is there as soon as it is idle.
 *
 * A failed or stopped computation ends the same way for every view that had a part in the batch: cancelling one session may
 * cancel what the others compute just then. A session must not wait for another one but through the pool.
 */
#ifndef CS_CORE_POOL_H
#define CS_CORE_POOL_H

#include "core/decoder.h"

typedef struct cs_pool cs_pool;
typedef struct cs_engine cs_engine;

costeer_err cs_pool_create(bool is_eager, cs_pool **out, costeer_error *err);
void cs_pool_free(cs_pool *pool); /* after its engines */

/**
 * The pool has n more sessions (running, not waiting); call it before their threads start. Without any, a single thread may use
 * the pool as it likes.
 */
void cs_pool_add_sessions(cs_pool *pool, int32_t n);

/** The calling session has ended, well or not, and waits for nothing any more; or else the others wait for it for ever. */
void cs_pool_leave(cs_pool *pool);

typedef struct cs_engine_params {
    const char *component; /**< for messages, static: "slm" or "llm" */
    int32_t n_sequences;   /**< over all views */
    int32_t n_ctx;         /**< tokens of each sequence; 0: what the model was trained for, at most 8192 */
    int32_t n_threads;
    int32_t n_threads_prompt; /**< of batches that are mostly prompts; 0: as n_threads */
    int32_t n_rows;           /**< rows of logits of one batch at most; 0: one per sequence */
} cs_engine_params;

/** Create an engine and its thread. `model` and `pool` must outlive it; free it after its views. */
costeer_err cs_engine_create(cs_pool *pool, const costeer_model *model, const cs_engine_params *params, cs_engine **out,
                             costeer_error *err);
void cs_engine_free(cs_engine *engine);

/**
 * Open a view: a decoder of params->n_sequences free sequences of the engine. n_ctx and n_threads are the engine's.
 *
 * A view keeps nothing from one prompt to the next: every prefill computes its prompts from the first token, so that an answer
 * does not depend on those before it. Its rows are copies, valid until its next computation.
 *
 * Views are computed in the order of params->order, and those of the same order as they were opened. So a session that opens
 * views on its own thread gives an order that is its alone (the number of the job); else the order would depend on timing.
 * Free it with cs_decoder_free(), on the thread of its session; a session that frees or empties what it does not need makes room
 * for others to stand side by side, which is faster.
 *
 * @return COSTEER_OK; COSTEER_EINVAL: more rows than the engine's, more sequences than it has left; COSTEER_ENOMEM
 */
costeer_err cs_engine_open(cs_engine *engine, const cs_decoder_params *params, cs_decoder **out, costeer_error *err);

#endif
