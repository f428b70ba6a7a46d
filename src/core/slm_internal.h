/* An SLM on a decoder that somebody else has made: a view of an engine that several answers share (core/pool.h). */
#ifndef CS_CORE_SLM_INTERNAL_H
#define CS_CORE_SLM_INTERNAL_H

#include "core/decoder.h"

#include <costeer/session.h>

/** Rows of logits of one batch that an SLM with these parameters needs: cs_decoder_params.n_rows. */
int32_t cs_slm_n_rows(const costeer_slm_params *params);

/**
 * Create an SLM as costeer_slm_create() does, but on a decoder.
 *
 * Its n_ctx and n_threads are the decoder's, and it stops when the decoder's own stop function says so: costeer_slm_set_cancel()
 * has no effect on it.
 *
 * @param decoder  of n_contexts + 1 sequences and cs_slm_n_rows() rows; the SLM frees it. After a failure the caller still has it
 */
costeer_err cs_slm_create_on(cs_decoder *decoder, const costeer_model *model, const costeer_slm_params *params, costeer_slm **out,
                             costeer_error *err);

#endif
