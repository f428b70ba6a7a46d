/*
 * A llama.cpp context: some sequences, one batch at a time, threads of its own. The thin part of a decoder that touches
 * llama.cpp, for a decoder of its own (decoder.c) and for those that share one (engine.c).
 */
#ifndef CS_CORE_LLAMA_STATE_H
#define CS_CORE_LLAMA_STATE_H

#include "core/decoder.h"

typedef struct cs_llama_state cs_llama_state;

/** A token of a batch. */
typedef struct cs_batch_token {
    int32_t token;
    int32_t position; /**< how many tokens its sequence holds before it */
    int32_t sequence;
    int32_t row; /**< which of the batch's rows of logits is its, −1: none is computed */
} cs_batch_token;

/**
 * Create a context. The parameters are a decoder's.
 *
 * @param model     must outlive it
 * @param[out] out  free with cs_llama_state_free(); NULL on failure
 * Threads: one at a time.
 */
costeer_err cs_llama_state_create(const costeer_model *model, const cs_decoder_params *params, cs_llama_state **out,
                                  costeer_error *err);
void cs_llama_state_free(cs_llama_state *state);

int32_t cs_llama_state_n_ctx(const cs_llama_state *state);   /**< tokens of a sequence */
int32_t cs_llama_state_n_batch(const cs_llama_state *state); /**< tokens of a batch at most */
int32_t cs_llama_state_n_piece(const cs_llama_state *state); /**< tokens of it that are computed together at most */
int32_t cs_llama_state_n_rows(const cs_llama_state *state);  /**< rows of logits of a batch at most */

/** False for recurrent models: a sequence can be dropped, but not cut. */
bool cs_llama_state_can_cut(const cs_llama_state *state);

/** Put a batch together: sequences in rising order share llama.cpp's computations best. Limits are the caller's. */
void cs_llama_state_begin(cs_llama_state *state);
int32_t cs_llama_state_add(cs_llama_state *state, const cs_batch_token *token, int32_t sequence);

/**
 * Compute it. COSTEER_ECANCELED when params->stop asked for it; COSTEER_EINTERNAL with llama.cpp's message.
 *
 * @param is_prompt  with the threads of prompts, and in turn with other prompts (core/turn.h)
 */
costeer_err cs_llama_state_compute(cs_llama_state *state, bool is_prompt, costeer_error *err);

/** Logits behind a token of the batch computed last; NULL when there are none. */
const float *cs_llama_state_row(const cs_llama_state *state, int32_t index);

/** Drop what a sequence holds from token n on. Returns how many it holds now: n, or 0 where it cannot be cut. */
int32_t cs_llama_state_cut(cs_llama_state *state, int32_t sequence, int32_t n);

/** After a stop or a failure: what a sequence of that batch still holds. Never assume what was computed. */
int32_t cs_llama_state_recover(cs_llama_state *state, int32_t sequence);

/** Make a sequence hold exactly what another one holds, bit by bit. False: no memory, or llama.cpp cannot; `to` is empty then. */
bool cs_llama_state_copy(cs_llama_state *state, int32_t from, int32_t to);

#endif
