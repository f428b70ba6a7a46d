/*
 * What the clouds in this process have in common: where the answer stands, and the base as it is read from a decoder's logits.
 *
 * A dense base is handed over as a pointer to the decoder's own logits: nothing is computed before the next commit.
 */
#include "cloud/local_base.h"

#include "cloud/top_k.h"
#include "util/clock.h"
#include "util/error.h"

#include <stdlib.h>

costeer_err cs_local_base_init(cs_local_base *base, const costeer_model *model, const costeer_cloud_ops *ops, costeer_error *err)
{
    base->cloud.ops = ops;
    base->n_vocab = costeer_model_get_info(model)->n_vocab;
    base->ids = malloc((size_t)base->n_vocab * sizeof *base->ids);
    base->values = malloc((size_t)base->n_vocab * sizeof *base->values);
    if (base->ids == NULL || base->values == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "llm", "no memory for the base of %d tokens", base->n_vocab);
    }
    return COSTEER_OK;
}

void cs_local_base_dispose(cs_local_base *base)
{
    cs_decoder_free(base->decoder);
    free(base->ids);
    free(base->values);
}

bool cs_local_base_is_cancelled(const cs_local_base *base)
{
    return base->cancel != NULL && atomic_load_explicit(base->cancel, memory_order_relaxed);
}

/* The base at this position: all logits as they are, or the best top_k as log-probabilities. */
static costeer_err read_base(cs_local_base *self, int32_t top_k, costeer_base *out, costeer_error *err)
{
    const float *logits = cs_decoder_logits(self->decoder, 0);
    if (logits == NULL) {
        return cs_error_set(err, COSTEER_EINTERNAL, "llm", "llama.cpp has no logits for position %d", self->position);
    }
    if (top_k == 0 || top_k >= self->n_vocab) {
        *out = (costeer_base){.ids = NULL, .values = logits, .n = self->n_vocab};
        return COSTEER_OK;
    }
    const int32_t n = cs_top_k_logprobs(logits, self->n_vocab, top_k, self->ids, self->values);
    if (n == 0) {
        return cs_error_set(err, COSTEER_ENUMERIC, "llm",
                            "the LLM's logits at position %d are not a distribution (NaN or infinite)", self->position);
    }
    *out = (costeer_base){.ids = self->ids, .values = self->values, .n = n};
    return COSTEER_OK;
}

static costeer_err out_of_order(const cs_local_base *self, const char *call, int32_t position, costeer_error *err)
{
    static const char *const states[] = {"no answer is open", "next has not been called", "it is ready", "it has failed"};
    return cs_error_set(err, COSTEER_ESTATE, "llm", "%s(%d) out of order: the cloud is at position %d and %s", call, position,
                        self->position, states[self->phase]);
}

costeer_err cs_local_base_open(cs_local_base *self, const costeer_cloud_request *request, costeer_error *err)
{
    if (self->phase != CS_LOCAL_CLOSED) {
        return cs_error_set(err, COSTEER_ESTATE, "llm", "an answer is open; close it first");
    }
    if (request->n_prompt == 0) {
        return cs_error_set(err, COSTEER_EINVAL, "llm", "a cloud in this process needs the prompt's tokens");
    }
    const costeer_err code =
        cs_decoder_set_prompt(self->decoder, 0, request->prompt, request->n_prompt, request->max_tokens, "the LLM's prompt", err);
    if (code != COSTEER_OK) {
        return code;
    }
    self->position = 0;
    self->max_tokens = request->max_tokens;
    self->top_k = request->top_k;
    self->cancel = request->cancel;
    self->phase = CS_LOCAL_RUNNING;
    return COSTEER_OK;
}

costeer_err cs_local_base_check_next(const cs_local_base *self, int32_t position, costeer_error *err)
{
    const bool is_allowed = self->phase == CS_LOCAL_RUNNING || self->phase == CS_LOCAL_READY;
    return is_allowed && position == self->position ? COSTEER_OK : out_of_order(self, "next", position, err);
}

costeer_err cs_local_base_read(cs_local_base *self, int64_t start_us, costeer_error *err)
{
    costeer_distribution *out = &self->distribution;
    out->position = self->position;
    const costeer_err code = read_base(self, self->top_k, &out->base, err);
    if (code == COSTEER_OK) {
        out->own_token = out->base.ids != NULL ? out->base.ids[0] : cs_argmax(out->base.values, out->base.n);
    }
    out->compute_us = cs_clock_us() - start_us;
    return code;
}

costeer_err cs_local_base_deliver(cs_local_base *self, costeer_err result, costeer_distribution *out)
{
    self->phase = result == COSTEER_OK ? CS_LOCAL_READY : CS_LOCAL_FAILED;
    if (result == COSTEER_OK) {
        *out = self->distribution;
    }
    return result;
}

costeer_err cs_local_base_deepen(costeer_cloud *cloud, int32_t position, int32_t top_k, costeer_distribution *out,
                                 costeer_error *err)
{
    cs_local_base *self = (cs_local_base *)cloud;
    if (self->phase != CS_LOCAL_READY || position != self->position) {
        return out_of_order(self, "deepen", position, err);
    }
    return cs_local_base_deliver(self, read_base(self, top_k, &self->distribution.base, err), out);
}

costeer_err cs_local_base_commit(cs_local_base *self, int32_t position, int32_t token, costeer_error *err)
{
    if (self->phase != CS_LOCAL_READY || position != self->position) {
        return out_of_order(self, "commit", position, err);
    }
    if (token >= self->n_vocab) {
        return cs_error_set(err, COSTEER_EINVAL, "llm", "token %d is not one of the vocabulary's %d", token, self->n_vocab);
    }
    if (position + 1 >= self->max_tokens) {
        return cs_error_set(err, COSTEER_ESTATE, "llm", "commit(%d) goes beyond the %d tokens that were asked for", position,
                            self->max_tokens);
    }
    self->position = position + 1;
    self->phase = CS_LOCAL_RUNNING;
    return COSTEER_OK;
}

void cs_local_base_close(cs_local_base *self)
{
    self->cancel = NULL; /* the caller's flag may not outlive the answer */
    self->phase = CS_LOCAL_CLOSED;
}
