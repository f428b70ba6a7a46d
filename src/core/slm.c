/*
 * The SLM: amateur and experts as sequences of one llama.cpp context, stepped in one batch, seen by the loop as a delta source.
 *
 * One batch instead of one per role, because a step reads all weights once whatever the number of sequences. Sequence 0 is the
 * amateur, 1 … n are the experts. A public draft lets only the amateur run ahead, so that it is a function of public data and is
 * there soon; the experts follow in one batch with the next step, when the draft is on its way to the cloud already. An answer of
 * another vocabulary's tokens goes through translate.c, without drafts. The private context is in this file's keeping only as KV
 * cache and token ids; nothing is logged.
 */
#include "core/slm_internal.h"

#include "core/lookahead.h"
#include "core/translate.h"
#include "util/error.h"

#include <math.h>
#include <stdlib.h>

struct costeer_slm {
    costeer_delta_source source; /* first: the source is the SLM */
    const costeer_model *model;
    cs_decoder *decoder;
    cs_lookahead *ahead;     /* NULL when it follows text */
    cs_translate *translate; /* NULL when the answer's tokens are its own */
    int32_t n_vocab;
    const atomic_bool *cancel;
    size_t n_prefilled;
    double *log_policy;     /* [n_vocab] of a private draft; NULL without drafts */
    bool has_private_draft; /* what is ahead was drafted with the contexts */
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
    return cs_lookahead_prefill(slm->ahead, &slm->n_prefilled, err);
}

static costeer_err step(costeer_delta_source *self, const int32_t *tokens, size_t n, costeer_error *err)
{
    return cs_lookahead_advance(((costeer_slm *)self)->ahead, tokens, n, err);
}

static void read_deltas(costeer_delta_source *self, costeer_delta *deltas, size_t n_deltas)
{
    const costeer_slm *slm = (const costeer_slm *)self;
    for (size_t i = 0; i < n_deltas; i++) {
        deltas[i].amateur = cs_lookahead_logits(slm->ahead, 0);
        deltas[i].expert = cs_lookahead_logits(slm->ahead, (int32_t)i + 1);
    }
}

/* ---- drafts ------------------------------------------------------------------------------------------------------ */

/* The amateur's own choice, if it is sure enough. */
static costeer_err draft_public(costeer_slm *slm, double confidence, int32_t *token, costeer_error *err)
{
    costeer_choice choice;
    costeer_err code = cs_lookahead_compute(slm->ahead, 1, err);
    if (code == COSTEER_OK) {
        const costeer_base base = {.values = cs_lookahead_last(slm->ahead, 0), .n = slm->n_vocab};
        code = costeer_fuse_choose(&base, NULL, 0, slm->n_vocab, &choice, err);
    }
    *token = -1;
    if (code == COSTEER_OK) {
        const float *logits = cs_lookahead_last(slm->ahead, 0);
        const bool is_likely = choice.score - costeer_logsumexp(logits, slm->n_vocab) >= log(confidence);
        *token = is_likely ? choice.token : -1;
    }
    return code;
}

/* The choice of the SLM with the contexts; −1 when it is not sure enough. */
static costeer_err draft_private(costeer_slm *slm, const costeer_draft_params *params, int32_t *token, costeer_error *err)
{
    costeer_delta deltas[COSTEER_DELTAS_MAX];
    const size_t n = slm->source.n_deltas;
    costeer_choice choice;
    *token = -1;
    costeer_err code = cs_lookahead_compute(slm->ahead, (int32_t)n + 1, err);
    if (code != COSTEER_OK) {
        return code;
    }
    const costeer_base base = {.values = cs_lookahead_last(slm->ahead, 0), .n = slm->n_vocab};
    for (size_t i = 0; i < n; i++) {
        deltas[i] = (costeer_delta){
            .expert = cs_lookahead_last(slm->ahead, (int32_t)i + 1), .amateur = base.values, .weight = params->weights[i]};
        code = code == COSTEER_OK ? costeer_delta_limit(&deltas[i], &params->limits, slm->n_vocab, err) : code;
    }
    if (code != COSTEER_OK) {
        return code;
    }
    code = costeer_fuse_policy(&base, deltas, n, slm->n_vocab, slm->log_policy, &choice, err);
    if (code == COSTEER_OK && exp(slm->log_policy[choice.token]) >= params->confidence) {
        *token = choice.token;
    }
    return code;
}

static bool ends(const costeer_slm *slm, const int32_t *drafts, int32_t n)
{
    return n > 0 && costeer_model_is_end(slm->model, drafts[n - 1]);
}

static costeer_err draft(costeer_delta_source *self, const costeer_draft_params *params, int32_t token, int32_t *tokens,
                         int32_t *n, costeer_error *err)
{
    costeer_slm *slm = (costeer_slm *)self;
    *n = 0;
    if (params->is_private && params->weights == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "slm", "a private draft needs the weights of the contexts");
    }
    if (params->is_private != slm->has_private_draft) {
        cs_lookahead_drop(slm->ahead); /* what the contexts had a part in must not be sent as a public draft */
        slm->has_private_draft = params->is_private;
    }
    costeer_err code = cs_lookahead_start(slm->ahead, token, err);
    if (code != COSTEER_OK) {
        return code;
    }
    int32_t n_drafts;
    const int32_t *drafts = cs_lookahead_drafts(slm->ahead, &n_drafts);
    while (n_drafts < params->n_max && cs_lookahead_has_room(slm->ahead) && !ends(slm, drafts, n_drafts)) {
        int32_t next;
        code = params->is_private ? draft_private(slm, params, &next, err) : draft_public(slm, params->confidence, &next, err);
        if (code != COSTEER_OK || next < 0) {
            break;
        }
        cs_lookahead_add(slm->ahead, next);
        drafts = cs_lookahead_drafts(slm->ahead, &n_drafts);
    }
    if (code != COSTEER_OK) {
        cs_lookahead_drop(slm->ahead);
        return code;
    }
    *n = n_drafts < params->n_max ? n_drafts : params->n_max;
    for (int32_t i = 0; i < *n; i++) {
        tokens[i] = drafts[i];
    }
    return COSTEER_OK;
}

static int32_t count_batches(const costeer_delta_source *self)
{
    return cs_decoder_n_batches(((const costeer_slm *)self)->decoder);
}

static const costeer_delta_source_ops slm_ops = {
    .begin = begin, .step = step, .read = read_deltas, .draft = draft, .count_batches = count_batches};

/* ---- another vocabulary ------------------------------------------------------------------------------------------ */

static costeer_err begin_translated(costeer_delta_source *self, costeer_error *err)
{
    costeer_slm *slm = (costeer_slm *)self;
    return cs_translate_begin(slm->translate, &slm->n_prefilled, err);
}

static costeer_err step_translated(costeer_delta_source *self, const int32_t *tokens, size_t n, costeer_error *err)
{
    return cs_translate_step(((costeer_slm *)self)->translate, tokens, n, err);
}

static void read_translated(costeer_delta_source *self, costeer_delta *deltas, size_t n_deltas)
{
    cs_translate_read(((costeer_slm *)self)->translate, deltas, n_deltas);
}

static void weigh_translated(costeer_delta_source *self, const double *weights)
{
    cs_translate_weigh(((costeer_slm *)self)->translate, weights, self->n_deltas);
}

static const float *alone_translated(costeer_delta_source *self)
{
    return cs_translate_alone(((costeer_slm *)self)->translate);
}

static void rows_translated(costeer_delta_source *self, size_t i, costeer_slm_rows *out)
{
    const costeer_slm *slm = (const costeer_slm *)self;
    out->expert = cs_translate_own_row(slm->translate, (int32_t)i + 1);
    out->amateur = cs_translate_own_row(slm->translate, 0);
    out->n = slm->n_vocab;
    out->is_normalised = cs_translate_is_normalised(slm->translate);
}

static const costeer_delta_source_ops translated_ops = {.begin = begin_translated,
                                                        .step = step_translated,
                                                        .read = read_translated,
                                                        .alone = alone_translated,
                                                        .weigh = weigh_translated,
                                                        .rows = rows_translated,
                                                        .count_batches = count_batches};

/* What the SLM follows: its own tokens (SAME), others', or text. */
static costeer_vocab_mode mode_of(const costeer_slm_params *params)
{
    return params->vocab_map == NULL ? COSTEER_VOCAB_SAME : costeer_vocab_map_mode(params->vocab_map);
}

/* ---- creation and prompts ---------------------------------------------------------------------------------------- */

int32_t cs_slm_n_rows(const costeer_slm_params *params)
{
    const costeer_vocab_mode mode = mode_of(params);
    const int32_t n_drafts = mode == COSTEER_VOCAB_SAME ? params->n_drafts : 0;
    return (params->n_contexts + 1) * (mode == COSTEER_VOCAB_BYTE ? CS_TRANSLATE_ROWS : 1 + n_drafts);
}

static costeer_err check_params(const costeer_slm_params *params, costeer_error *err)
{
    if (params->n_contexts < 1 || params->n_contexts > COSTEER_DELTAS_MAX) {
        return cs_error_set(err, COSTEER_EINVAL, "slm", "%d contexts; give 1 to %d", params->n_contexts, COSTEER_DELTAS_MAX);
    }
    if (params->n_drafts < 0 || params->n_drafts > COSTEER_WIRE_DRAFTS_MAX) {
        return cs_error_set(err, COSTEER_EINVAL, "slm", "drafts of %d tokens; give 0 to %d", params->n_drafts,
                            COSTEER_WIRE_DRAFTS_MAX);
    }
    return COSTEER_OK;
}

static costeer_err check_map(const costeer_model *model, const costeer_slm_params *params, costeer_error *err)
{
    const int32_t n_vocab = costeer_model_get_info(model)->n_vocab;
    if (params->vocab_map != NULL && cs_vocab_map_n_slm(params->vocab_map) != n_vocab) {
        return cs_error_set(err, COSTEER_EPAIR, "slm",
                            "the vocabulary map is for an SLM of %d tokens, and this one has %d; make it with this SLM",
                            cs_vocab_map_n_slm(params->vocab_map), n_vocab);
    }
    return COSTEER_OK;
}

/* All but the decoder. */
static costeer_slm *create_empty(const costeer_model *model, const costeer_slm_params *params)
{
    costeer_slm *slm = calloc(1, sizeof *slm);
    if (slm != NULL) {
        const bool is_own = mode_of(params) == COSTEER_VOCAB_SAME;
        slm->source.ops = is_own ? &slm_ops : &translated_ops;
        slm->source.n_deltas = (size_t)params->n_contexts;
        slm->model = model;
        slm->n_vocab = costeer_model_get_info(model)->n_vocab;
    }
    return slm;
}

/* What stands on the decoder. */
static costeer_err build(costeer_slm *slm, const costeer_slm_params *params, costeer_error *err)
{
    const costeer_vocab_mode mode = mode_of(params);
    const cs_lookahead_params ahead = {.component = "slm",
                                       .n_sequences = params->n_contexts + 1,
                                       .n_drafts = mode == COSTEER_VOCAB_SAME ? params->n_drafts : 0,
                                       .n_vocab = slm->n_vocab,
                                       .n_ids = costeer_model_get_info(slm->model)->n_vocab_padded};
    costeer_err code = COSTEER_OK;
    if (mode != COSTEER_VOCAB_BYTE) {
        code = cs_lookahead_create(slm->decoder, &ahead, &slm->ahead, err);
    }
    if (code == COSTEER_OK && mode != COSTEER_VOCAB_SAME) {
        const cs_translate_params translate = {.map = params->vocab_map,
                                               .model = slm->model,
                                               .decoder = slm->decoder,
                                               .ahead = slm->ahead,
                                               .n_sequences = params->n_contexts + 1};
        return cs_translate_create(&translate, &slm->translate, err);
    }
    if (code == COSTEER_OK && params->n_drafts > 0) {
        slm->log_policy = malloc((size_t)slm->n_vocab * sizeof *slm->log_policy);
        if (slm->log_policy == NULL) {
            return cs_error_set(err, COSTEER_ENOMEM, "slm", "no memory for drafts");
        }
    }
    return code;
}

static costeer_err create(const costeer_model *model, const costeer_slm_params *params, cs_decoder *decoder, costeer_slm **out,
                          costeer_error *err)
{
    *out = NULL;
    costeer_err code = check_params(params, err);
    code = code == COSTEER_OK ? check_map(model, params, err) : code;
    if (code != COSTEER_OK) {
        return code;
    }
    costeer_slm *slm = create_empty(model, params);
    if (slm == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "slm", "no memory for its state");
    }
    slm->decoder = decoder;
    if (decoder == NULL) {
        const cs_decoder_params own = {.component = "slm",
                                       .n_sequences = params->n_contexts + 1,
                                       .n_ctx = params->n_ctx,
                                       .n_threads = params->n_threads,
                                       .n_threads_prompt = params->n_threads_prompt,
                                       .n_rows = cs_slm_n_rows(params),
                                       .stop = is_cancelled,
                                       .stop_user = slm};
        code = cs_decoder_create(model, &own, &slm->decoder, err);
        if (code == COSTEER_OK) {
            cs_decoder_set_progress(slm->decoder, params->on_prompt, params->on_prompt_user);
        }
    }
    code = code == COSTEER_OK ? build(slm, params, err) : code;
    if (code != COSTEER_OK) {
        slm->decoder = decoder == NULL ? slm->decoder : NULL; /* the caller still has his */
        costeer_slm_free(slm);
        return code;
    }
    *out = slm;
    return COSTEER_OK;
}

costeer_err costeer_slm_create(const costeer_model *model, const costeer_slm_params *params, costeer_slm **out,
                               costeer_error *err)
{
    if (model == NULL || params == NULL || out == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "slm", "model, params and out must not be NULL");
    }
    return create(model, params, NULL, out, err);
}

costeer_err cs_slm_create_on(cs_decoder *decoder, const costeer_model *model, const costeer_slm_params *params, costeer_slm **out,
                             costeer_error *err)
{
    return create(model, params, decoder, out, err);
}

void costeer_slm_free(costeer_slm *slm)
{
    if (slm != NULL) {
        cs_translate_free(slm->translate);
        cs_lookahead_free(slm->ahead);
        cs_decoder_free(slm->decoder);
        free(slm->log_policy);
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
