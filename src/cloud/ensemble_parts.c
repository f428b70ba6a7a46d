/*
 * The running states of an ensemble: made when a method first needs them, kept for the next one.
 *
 * Keeping them is what lets several methods over the same prompts read each prompt once: a context of llama.cpp keeps its KV
 * cache from one answer to the next. A view of an engine keeps nothing, and takes places that others could have: views that a
 * method does not need are closed.
 */
#include "cloud/ensemble_internal.h"

#include "cloud/cloud_deltas.h"
#include "cloud/contrast.h"
#include "cloud/llm_pair.h"
#include "cloud/pooled.h"
#include "core/slm_internal.h"
#include "util/error.h"

/* ---- what methods need ------------------------------------------------------------------------------------------- */

cs_ensemble_kind cs_ensemble_kind_of(const costeer_method *method)
{
    switch (method->expert) {
    case COSTEER_SOURCE_NONE:
        return CS_ENSEMBLE_PLAIN;
    case COSTEER_SOURCE_LLM_WITH:
        return CS_ENSEMBLE_CONTRAST;
    case COSTEER_SOURCE_SLM_TUNED:
        return CS_ENSEMBLE_PROXIES;
    default:
        return CS_ENSEMBLE_CONTEXTS;
    }
}

cs_ensemble_needs cs_ensemble_needs_of(const costeer_method *method)
{
    const cs_ensemble_kind kind = cs_ensemble_kind_of(method);
    const bool is_llm = method->base == COSTEER_SOURCE_LLM || method->base == COSTEER_SOURCE_LLM_WITH;
    return (cs_ensemble_needs){.llm = is_llm && kind != CS_ENSEMBLE_CONTRAST,
                               .slm = !is_llm,
                               .deltas = kind == CS_ENSEMBLE_CONTEXTS,
                               .contrast = kind == CS_ENSEMBLE_CONTRAST,
                               .proxies = kind == CS_ENSEMBLE_PROXIES};
}

static int32_t max(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

void cs_ensemble_count_sequences(const costeer_method *const *methods, size_t n, int32_t n_contexts, int32_t *llm, int32_t *slm,
                                 int32_t *tuned)
{
    *llm = *slm = *tuned = 0;
    for (size_t i = 0; i < n; i++) {
        const cs_ensemble_needs needs = cs_ensemble_needs_of(methods[i]);
        *llm = max(*llm, (needs.llm ? 1 : 0) + (needs.contrast ? 2 : 0));
        *slm = max(*slm, (needs.slm ? 1 : 0) + (needs.deltas ? 1 + n_contexts : 0) + (needs.proxies ? 1 : 0));
        *tuned = max(*tuned, needs.proxies ? 1 : 0);
    }
}

int32_t cs_ensemble_rows_per_sequence(const costeer_ensemble_params *params)
{
    const costeer_slm_params slm = {
        .n_contexts = max(params->n_contexts, 1), .n_drafts = params->n_drafts, .vocab_map = params->vocab_map};
    return max(cs_slm_n_rows(&slm) / (slm.n_contexts + 1), 1);
}

/* ---- one of them ------------------------------------------------------------------------------------------------- */

static bool should_stop(void *user)
{
    const costeer_ensemble *e = user;
    return e->params.cancel != NULL && atomic_load_explicit(e->params.cancel, memory_order_relaxed);
}

static costeer_err open_view(costeer_ensemble *e, cs_engine *engine, int32_t n_sequences, int32_t n_rows, cs_decoder **out,
                             costeer_error *err)
{
    const cs_decoder_params params = {.component = engine == e->engines.llm ? "llm" : "slm",
                                      .n_sequences = n_sequences,
                                      .n_rows = n_rows,
                                      .stop = should_stop,
                                      .stop_user = e,
                                      .order = e->engines.order};
    return cs_engine_open(engine, &params, out, err);
}

/* A model in this process that answers by itself. */
static costeer_err open_model(costeer_ensemble *e, const costeer_model *model, cs_engine *engine, int32_t n_threads,
                              costeer_cloud **out, costeer_error *err)
{
    if (*out != NULL) {
        return COSTEER_OK;
    }
    if (engine == NULL) {
        const costeer_local_params params = {.n_ctx = e->params.n_ctx,
                                             .n_threads = n_threads,
                                             .n_threads_prompt = e->params.n_threads_prompt,
                                             .on_prompt = e->params.on_prompt,
                                             .on_prompt_user = e->params.on_prompt_user};
        return costeer_cloud_create_local(model, &params, out, err);
    }
    cs_decoder *view;
    const costeer_err code = open_view(e, engine, 1, 1, &view, err);
    return code == COSTEER_OK ? cs_cloud_create_pooled(view, model, out, err) : code;
}

static costeer_err open_llm(costeer_ensemble *e, costeer_cloud **out, costeer_error *err)
{
    if (e->params.connect == NULL) {
        return open_model(e, e->params.llm, e->engines.llm, e->params.n_threads_llm, out, err);
    }
    return *out != NULL ? COSTEER_OK : e->params.connect(e->params.connect_user, out, err);
}

static costeer_err open_deltas(costeer_ensemble *e, costeer_error *err)
{
    const costeer_slm_params params = {.n_contexts = e->params.n_contexts,
                                       .n_ctx = e->params.n_ctx,
                                       .n_threads = e->params.n_threads_slm,
                                       .n_threads_prompt = e->params.n_threads_prompt,
                                       .on_prompt = e->params.on_prompt,
                                       .on_prompt_user = e->params.on_prompt_user,
                                       .n_drafts = e->params.n_drafts,
                                       .vocab_map = e->params.vocab_map};
    if (e->deltas != NULL) {
        return COSTEER_OK;
    }
    if (e->engines.slm == NULL) {
        return costeer_slm_create(e->params.slm, &params, &e->deltas, err);
    }
    cs_decoder *view;
    costeer_err code = open_view(e, e->engines.slm, params.n_contexts + 1, cs_slm_n_rows(&params), &view, err);
    if (code != COSTEER_OK) {
        return code;
    }
    code = cs_slm_create_on(view, e->params.slm, &params, &e->deltas, err);
    if (code != COSTEER_OK) {
        cs_decoder_free(view);
    }
    return code;
}

/* Two models compute at the same time: each gets half of the threads. */
static costeer_err open_proxies(costeer_ensemble *e, costeer_error *err)
{
    const int32_t n_threads = max(e->params.n_threads_slm / 2, 1);
    const int32_t n_vocab = costeer_model_get_info(e->params.slm)->n_vocab;
    costeer_err code = open_model(e, e->params.tuned, e->engines.tuned, n_threads, &e->tuned, err);
    code = code == COSTEER_OK ? open_model(e, e->params.slm, e->engines.slm, n_threads, &e->untuned, err) : code;
    if (code == COSTEER_OK && e->proxies == NULL) {
        code = cs_cloud_deltas_create(e->tuned, e->untuned, n_vocab, &e->proxies, err);
    }
    return code;
}

/* ---- the LLM twice ----------------------------------------------------------------------------------------------- */

static void cancel_pair(void *user, const atomic_bool *cancel)
{
    cs_llm_pair_set_cancel(user, cancel);
}

static void cancel_connections(void *user, const atomic_bool *cancel)
{
    cs_cloud_deltas_set_cancel(user, cancel);
}

static void end_connections(void *user)
{
    cs_cloud_deltas_end(user);
}

static void read_connections(const void *user, costeer_cloud_stats *out)
{
    cs_cloud_deltas_read_stats(user, out);
}

/* In this process: one batch. */
static costeer_err open_pair(costeer_ensemble *e, costeer_error *err)
{
    cs_decoder *decoder;
    costeer_err code = COSTEER_OK;
    if (e->llm_pair == NULL) {
        const cs_decoder_params own = {.component = "llm",
                                       .n_sequences = 2,
                                       .n_ctx = e->params.n_ctx,
                                       .n_threads = e->params.n_threads_llm,
                                       .n_threads_prompt = e->params.n_threads_prompt};
        code = e->engines.llm == NULL ? cs_decoder_create(e->params.llm, &own, &decoder, err)
                                      : open_view(e, e->engines.llm, 2, 2, &decoder, err);
        if (code == COSTEER_OK) {
            cs_decoder_set_progress(decoder, e->params.on_prompt, e->params.on_prompt_user);
        }
        code = code == COSTEER_OK ? cs_llm_pair_create(decoder, &e->llm_pair, err) : code;
    }
    if (code != COSTEER_OK) {
        return code;
    }
    const cs_contrast_hooks hooks = {.set_cancel = cancel_pair, .user = e->llm_pair};
    return cs_contrast_create(e->llm_pair, costeer_model_get_info(e->params.llm)->n_vocab, &hooks, &e->contrast, err);
}

/* Elsewhere: two connections. */
static costeer_err open_connections(costeer_ensemble *e, costeer_error *err)
{
    const int32_t n_vocab = costeer_model_get_info(e->params.llm)->n_vocab;
    costeer_err code = open_llm(e, &e->llm, err);
    code = code == COSTEER_OK ? open_llm(e, &e->llm_second, err) : code;
    if (code == COSTEER_OK && e->llm_connections == NULL) {
        code = cs_cloud_deltas_create(e->llm, e->llm_second, n_vocab, &e->llm_connections, err);
    }
    if (code != COSTEER_OK) {
        return code;
    }
    const cs_contrast_hooks hooks = {
        .set_cancel = cancel_connections, .end = end_connections, .read_stats = read_connections, .user = e->llm_connections};
    return cs_contrast_create(e->llm_connections, n_vocab, &hooks, &e->contrast, err);
}

static costeer_err open_contrast(costeer_ensemble *e, costeer_error *err)
{
    if (e->contrast != NULL) {
        return COSTEER_OK;
    }
    return e->params.connect != NULL ? open_connections(e, err) : open_pair(e, err);
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

static void close_cloud(costeer_cloud **cloud)
{
    costeer_cloud_free(*cloud);
    *cloud = NULL;
}

static void close_slm(costeer_slm **slm)
{
    costeer_slm_free(*slm);
    *slm = NULL;
}

static void close_source(costeer_delta_source **source)
{
    cs_cloud_deltas_free(*source);
    *source = NULL;
}

static void close_contrast(costeer_ensemble *e)
{
    close_cloud(&e->contrast); /* what stands on others goes first */
    close_source(&e->llm_connections);
    cs_llm_pair_free(e->llm_pair);
    e->llm_pair = NULL;
}

static void close_proxies(costeer_ensemble *e)
{
    close_source(&e->proxies);
    close_cloud(&e->tuned);
    close_cloud(&e->untuned);
}

/* Close the views that are not needed: of an engine, that is; connections and contexts of one's own are kept. */
static void close_views(costeer_ensemble *e, const cs_ensemble_needs *needs)
{
    const bool has_llm_views = e->engines.llm != NULL && e->params.connect == NULL;
    if (has_llm_views && !needs->contrast) {
        close_contrast(e);
    }
    if (has_llm_views && !needs->llm) {
        close_cloud(&e->llm);
    }
    if (e->engines.slm != NULL && !needs->slm) {
        close_cloud(&e->slm);
    }
    if (e->engines.slm != NULL && !needs->deltas) {
        close_slm(&e->deltas);
    }
    if ((e->engines.slm != NULL || e->engines.tuned != NULL) && !needs->proxies) {
        close_proxies(e);
    }
}

costeer_err cs_ensemble_open_parts(costeer_ensemble *e, const cs_ensemble_needs *needs, costeer_error *err)
{
    close_views(e, needs);
    costeer_err code = needs->llm ? open_llm(e, &e->llm, err) : COSTEER_OK;
    if (code == COSTEER_OK && needs->slm) {
        code = open_model(e, e->params.slm, e->engines.slm, e->params.n_threads_slm, &e->slm, err);
    }
    code = code == COSTEER_OK && needs->deltas ? open_deltas(e, err) : code;
    code = code == COSTEER_OK && needs->contrast ? open_contrast(e, err) : code;
    return code == COSTEER_OK && needs->proxies ? open_proxies(e, err) : code;
}

void cs_ensemble_close_parts(costeer_ensemble *e)
{
    close_contrast(e);
    close_proxies(e);
    close_slm(&e->deltas);
    close_cloud(&e->llm);
    close_cloud(&e->llm_second);
    close_cloud(&e->slm);
}
