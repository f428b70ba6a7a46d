/*
 * The SLM: amateur and experts as sequences of one llama.cpp context, stepped in one batch, seen by the loop as a delta source.
 *
 * One batch instead of one per role, because a step reads all weights once whatever the number of sequences. Sequence 0 is the
 * amateur, 1 … n are the experts. The private context is in this file's keeping only as KV cache and token ids; nothing is
 * logged.
 */
#include "core/decoder.h"
#include "util/error.h"

#include <costeer/session.h>
#include <stdlib.h>

struct costeer_slm {
    costeer_delta_source source; /* first: the source is the SLM */
    cs_decoder *decoder;
    const atomic_bool *cancel;
    size_t n_prefilled;
};

static bool is_cancelled(void *user)
{
    const costeer_slm *slm = user;
    return slm->cancel != NULL && atomic_load_explicit(slm->cancel, memory_order_relaxed);
}

/* ---- as a delta source ------------------------------------------------------------------------------------------- */

static costeer_err begin(costeer_delta_source *self, costeer_error *err)
{
    costeer_slm *slm = (costeer_slm *)self;
    return cs_decoder_prefill(slm->decoder, &slm->n_prefilled, err);
}

static costeer_err step(costeer_delta_source *self, int32_t token, costeer_error *err)
{
    return cs_decoder_step(((costeer_slm *)self)->decoder, token, err);
}

static void read_deltas(costeer_delta_source *self, costeer_delta *deltas, size_t n_deltas)
{
    const costeer_slm *slm = (const costeer_slm *)self;
    for (size_t i = 0; i < n_deltas; i++) {
        deltas[i].amateur = cs_decoder_logits(slm->decoder, 0);
        deltas[i].expert = cs_decoder_logits(slm->decoder, (int32_t)i + 1);
    }
}

static const costeer_delta_source_ops slm_ops = {.begin = begin, .step = step, .read = read_deltas};

/* ---- creation and prompts ---------------------------------------------------------------------------------------- */

costeer_err costeer_slm_create(const costeer_model *model, const costeer_slm_params *params, costeer_slm **out,
                               costeer_error *err)
{
    if (model == NULL || params == NULL || out == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "slm", "model, params and out must not be NULL");
    }
    *out = NULL;
    if (params->n_contexts < 1 || params->n_contexts > COSTEER_DELTAS_MAX) {
        return cs_error_set(err, COSTEER_EINVAL, "slm", "%d contexts; give 1 to %d", params->n_contexts, COSTEER_DELTAS_MAX);
    }
    costeer_slm *slm = calloc(1, sizeof *slm);
    if (slm == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "slm", "no memory for its state");
    }
    slm->source = (costeer_delta_source){.ops = &slm_ops, .n_deltas = (size_t)params->n_contexts};
    const cs_decoder_params decoder = {.component = "slm",
                                       .n_sequences = params->n_contexts + 1,
                                       .n_ctx = params->n_ctx,
                                       .n_threads = params->n_threads,
                                       .stop = is_cancelled,
                                       .stop_user = slm};
    const costeer_err code = cs_decoder_create(model, &decoder, &slm->decoder, err);
    if (code != COSTEER_OK) {
        free(slm);
        return code;
    }
    *out = slm;
    return COSTEER_OK;
}

void costeer_slm_free(costeer_slm *slm)
{
    if (slm != NULL) {
        cs_decoder_free(slm->decoder);
        free(slm);
    }
}

costeer_err costeer_slm_set_prompts(costeer_slm *slm, const costeer_tokens *amateur, const costeer_tokens *experts,
                                    int32_t max_tokens, costeer_error *err)
{
    costeer_err code = cs_decoder_set_prompt(slm->decoder, 0, amateur->ids, amateur->n, max_tokens, "the SLM's prompt", err);
    for (size_t i = 0; code == COSTEER_OK && i < slm->source.n_deltas; i++) {
        code = cs_decoder_set_prompt(slm->decoder, (int32_t)i + 1, experts[i].ids, experts[i].n, max_tokens,
                                     "the SLM's prompt with the context", err);
    }
    return code;
}

void costeer_slm_set_cancel(costeer_slm *slm, const atomic_bool *cancel)
{
    slm->cancel = cancel;
}

size_t costeer_slm_prefilled(const costeer_slm *slm)
{
    return slm->n_prefilled;
}

costeer_delta_source *costeer_slm_delta_source(costeer_slm *slm)
{
    return &slm->source;
}
