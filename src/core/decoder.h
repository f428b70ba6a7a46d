/*
 * A llama.cpp context as CoSteer uses it: some sequences, computed together in batches.
 *
 * Two levels. A batch is put together token by token (begin, add …, compute, row) by those who decide themselves what is computed
 * when (the batcher, drafts). Prompts and steps, in which all sequences advance together by one token, stand on it. What a
 * sequence holds of its next prompt's beginning is kept. Every computation may be stopped; the state is usable afterwards.
 *
 * A decoder has a context of its own (cs_decoder_create) or is a view of one that several share (core/pool.h).
 */
#ifndef CS_CORE_DECODER_H
#define CS_CORE_DECODER_H

#include <costeer/model.h>

typedef struct cs_decoder cs_decoder;

/** Asked often while the model computes, on any of its threads; true stops the computation. */
typedef bool (*cs_decoder_stop_fn)(void *user);

typedef struct cs_decoder_params {
    const char *component;    /**< for messages, static: "slm" or "llm" */
    int32_t n_sequences;      /**< >= 1 */
    int32_t n_ctx;            /**< tokens that each sequence can hold; 0: what the model was trained for, at most 8192 */
    int32_t n_threads;        /**< >= 1 */
    int32_t n_threads_prompt; /**< of prefills; 0: as n_threads */
    int32_t n_rows;           /**< rows of logits of one batch at most; 0: one per sequence */
    cs_decoder_stop_fn stop;  /**< may be NULL */
    void *stop_user;
    int32_t order; /**< of a view (core/pool.h): its place among the engine's, whenever it is opened */
} cs_decoder_params;

/**
 * Create the running state; every buffer that a step needs is allocated here.
 *
 * @param model     must outlive it
 * @param[out] out  free with cs_decoder_free(); NULL on failure
 * Threads: one at a time.
 */
costeer_err cs_decoder_create(const costeer_model *model, const cs_decoder_params *params, cs_decoder **out, costeer_error *err);
void cs_decoder_free(cs_decoder *decoder);

/** Tokens that each sequence can hold. */
int32_t cs_decoder_n_ctx(const cs_decoder *decoder);

/** Ask another function whether to stop; not while something is computed. */
void cs_decoder_set_stop(cs_decoder *decoder, cs_decoder_stop_fn stop, void *user);

/** Have prefills report how far they are; not while something is computed. A view reports nothing. */
void cs_decoder_set_progress(cs_decoder *decoder, costeer_prompt_progress_fn call, void *user);

/* ---- batches ----------------------------------------------------------------------------------------------------- */

/** Start to put a batch together; one that was submitted and not waited for is abandoned. */
void cs_decoder_begin(cs_decoder *decoder);

/** Tokens that the batch still takes. */
int32_t cs_decoder_room(const cs_decoder *decoder);

/**
 * Add a token behind those that a sequence holds, or will hold with this batch.
 *
 * @param wants_row  compute the logits behind it; at most n_rows of a batch
 * @return its number in the batch, for cs_decoder_row(); −1 when the batch, its rows or the sequence are full, or the id is out
 * of range
 */
int32_t cs_decoder_add(cs_decoder *decoder, int32_t sequence, int32_t token, bool wants_row);

/** Compute the batch. After a failure or stop the sequences hold what llama.cpp says they hold: ask cs_decoder_held(). */
costeer_err cs_decoder_compute(cs_decoder *decoder, costeer_error *err);

/**
 * The same in two parts, so that other work can be done meanwhile: submit returns at once, wait blocks until it is computed. A
 * context of its own computes in wait. Between the two only wait, begin, abandon and free may be called.
 */
void cs_decoder_submit(cs_decoder *decoder);
costeer_err cs_decoder_wait(cs_decoder *decoder, costeer_error *err);

/** Let go of what was submitted and not waited for. A view's sequences are empty then; waits for what runs already. */
void cs_decoder_abandon(cs_decoder *decoder);

/** The logits behind a token of the batch that was computed last, [n_vocab_padded], until the next one; NULL when there are none.
 */
const float *cs_decoder_row(const cs_decoder *decoder, int32_t index);

/** Tokens that a sequence holds, and which. */
int32_t cs_decoder_held(const cs_decoder *decoder, int32_t sequence);
const int32_t *cs_decoder_held_tokens(const cs_decoder *decoder, int32_t sequence);

/** Drop what a sequence holds from token n on. Returns how many it holds now: n, or 0 for models whose state cannot be cut. */
int32_t cs_decoder_truncate(cs_decoder *decoder, int32_t sequence, int32_t n);

/* ---- prompts and steps ------------------------------------------------------------------------------------------- */

/**
 * Set the prompt of one sequence, to be computed by the next prefill.
 *
 * @param n_answer  tokens that must still fit behind it
 * @param what      whose prompt, for the message
 * @return COSTEER_OK; COSTEER_ETOOLONG: the message gives the sizes; COSTEER_EINVAL: empty, or a token id out of range
 */
costeer_err cs_decoder_set_prompt(cs_decoder *decoder, int32_t sequence, const int32_t *ids, size_t n, int32_t n_answer,
                                  const char *what, costeer_error *err);

/**
 * Compute the prompts, but for what the sequences hold already; at least the last token of each. A beginning that all share is
 * computed once, for the first of them, and copied.
 *
 * @param[out] n_computed  tokens computed, over all sequences; may be NULL
 * @return COSTEER_OK; COSTEER_ECANCELED when stopped; COSTEER_ESTATE without prompts; COSTEER_EINTERNAL
 */
costeer_err cs_decoder_prefill(cs_decoder *decoder, size_t *n_computed, costeer_error *err);

/** Append one token to every sequence. COSTEER_ESTATE before a prefill; COSTEER_ETOOLONG when a sequence is full. No allocation.
 */
costeer_err cs_decoder_step(cs_decoder *decoder, int32_t token, costeer_error *err);

/**
 * Prefill and step in two parts. What is started is submitted; finish waits for it, and goes on with the chunks of a long prompt.
 *
 * Errors that need no computing come from start; then there is nothing to finish.
 */
costeer_err cs_decoder_start_prefill(cs_decoder *decoder, costeer_error *err);
costeer_err cs_decoder_start_step(cs_decoder *decoder, int32_t token, costeer_error *err);
costeer_err cs_decoder_finish(cs_decoder *decoder, size_t *n_computed, costeer_error *err);

/** Batches computed since the last prefill began, those of prompts left out. */
int32_t cs_decoder_n_batches(const cs_decoder *decoder);

/** Logits behind a sequence's last token, [n_vocab_padded]; valid until the next prefill or step; NULL when there are none. */
const float *cs_decoder_logits(const cs_decoder *decoder, int32_t sequence);

#endif
