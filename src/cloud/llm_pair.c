/*
 * The LLM twice, for methods that steer it by itself. One batch of two sequences, because a step reads all weights once whatever
 * the number of sequences: the second one is nearly free.
 */
#include "cloud/llm_pair.h"

#include "util/error.h"

#include <stdlib.h>

enum { AMATEUR, EXPERT }; /* sequences of the decoder */

typedef struct llm_pair {
    costeer_delta_source source; /* first: the source is the object */
    cs_decoder *decoder;
    const atomic_bool *cancel;
} llm_pair;

static bool is_cancelled(void *user)
{
    const llm_pair *self = user;
    return self->cancel != NULL && atomic_load_explicit(self->cancel, memory_order_relaxed);
}

static costeer_err begin(costeer_delta_source *source, costeer_error *err)
{
    return cs_decoder_prefill(((llm_pair *)source)->decoder, NULL, err);
}

static costeer_err step(costeer_delta_source *source, const int32_t *tokens, size_t n, costeer_error *err)
{
    costeer_err code = COSTEER_OK;
    for (size_t i = 0; i < n && code == COSTEER_OK; i++) {
        code = cs_decoder_step(((llm_pair *)source)->decoder, tokens[i], err);
    }
    return code;
}

static void read_deltas(costeer_delta_source *source, costeer_delta *deltas, size_t n_deltas)
{
    const llm_pair *self = (const llm_pair *)source;
    for (size_t i = 0; i < n_deltas; i++) {
        deltas[i].expert = cs_decoder_logits(self->decoder, EXPERT);
        deltas[i].amateur = cs_decoder_logits(self->decoder, AMATEUR);
    }
}

costeer_err cs_llm_pair_create(cs_decoder *decoder, costeer_delta_source **out, costeer_error *err)
{
    static const costeer_delta_source_ops ops = {.begin = begin, .step = step, .read = read_deltas};
    *out = NULL;
    llm_pair *self = calloc(1, sizeof *self);
    if (self == NULL) {
        cs_decoder_free(decoder);
        return cs_error_set(err, COSTEER_ENOMEM, "llm", "no memory for its state");
    }
    self->source = (costeer_delta_source){.ops = &ops, .n_deltas = 1};
    self->decoder = decoder;
    cs_decoder_set_stop(decoder, is_cancelled, self);
    *out = &self->source;
    return COSTEER_OK;
}

void cs_llm_pair_free(costeer_delta_source *pair)
{
    if (pair != NULL) {
        cs_decoder_free(((llm_pair *)pair)->decoder);
        free(pair);
    }
}

costeer_err cs_llm_pair_set_prompts(costeer_delta_source *pair, const costeer_tokens *without, const costeer_tokens *with,
                                    int32_t max_tokens, costeer_error *err)
{
    cs_decoder *decoder = ((llm_pair *)pair)->decoder;
    const costeer_err code =
        cs_decoder_set_prompt(decoder, AMATEUR, without->ids, without->n, max_tokens, "the LLM's prompt", err);
    return code != COSTEER_OK
               ? code
               : cs_decoder_set_prompt(decoder, EXPERT, with->ids, with->n, max_tokens, "the LLM's prompt with the context", err);
}

void cs_llm_pair_set_cancel(costeer_delta_source *pair, const atomic_bool *cancel)
{
    ((llm_pair *)pair)->cancel = cancel;
}
