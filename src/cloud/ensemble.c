/*
 * From a row of the table of methods to what a session is made of: a cloud, a delta source, a prompt.
 *
 * Nothing here knows a method by its name: the row's sources tell which models take part, with which prompts, and whether the
 * context would be seen by a cloud that is not this process. That is refused before anything is connected or built, so that a
 * context cannot leave by mistake.
 */
#include "cloud/ensemble_internal.h"

#include "cloud/cloud_deltas.h"
#include "cloud/contrast.h"
#include "cloud/llm_pair.h"
#include "util/error.h"

#include <stdlib.h>
#include <string.h>

/* ---- creation ---------------------------------------------------------------------------------------------------- */

static costeer_err check_n_contexts(int32_t n, costeer_error *err)
{
    return n >= 0 && n <= COSTEER_DELTAS_MAX
               ? COSTEER_OK
               : cs_error_set(err, COSTEER_EINVAL, "ensemble", "%d contexts; give 0 to %d", n, COSTEER_DELTAS_MAX);
}

costeer_err cs_ensemble_create_pooled(const costeer_ensemble_params *params, const cs_ensemble_engines *engines,
                                      costeer_ensemble **out, costeer_error *err)
{
    if (params == NULL || out == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "ensemble", "params and out must not be NULL");
    }
    *out = NULL;
    const costeer_err code = check_n_contexts(params->n_contexts, err);
    if (code != COSTEER_OK) {
        return code;
    }
    costeer_ensemble *e = calloc(1, sizeof *e);
    if (e == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "ensemble", "no memory for its state");
    }
    e->params = *params;
    if (engines != NULL) {
        e->engines = *engines;
    }
    *out = e;
    return COSTEER_OK;
}

costeer_err costeer_ensemble_create(const costeer_ensemble_params *params, costeer_ensemble **out, costeer_error *err)
{
    return cs_ensemble_create_pooled(params, NULL, out, err);
}

void costeer_ensemble_free(costeer_ensemble *e)
{
    if (e != NULL) {
        cs_ensemble_close_parts(e);
        cs_prompt_store_free(e->prompts);
        free(e);
    }
}

costeer_err costeer_ensemble_set_n_contexts(costeer_ensemble *e, int32_t n_contexts, costeer_error *err)
{
    const costeer_err code = check_n_contexts(n_contexts, err);
    if (code == COSTEER_OK && n_contexts != e->params.n_contexts) {
        costeer_slm_free(e->deltas);
        e->deltas = NULL;
        cs_prompt_store_free(e->prompts);
        e->prompts = NULL;
        e->params.n_contexts = n_contexts;
    }
    return code;
}

costeer_err costeer_ensemble_set_prompts(costeer_ensemble *e, const costeer_ensemble_prompts *prompts, costeer_error *err)
{
    if (e == NULL || prompts == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "ensemble", "ensemble and prompts must not be NULL");
    }
    cs_prompt_store *store;
    const costeer_err code = cs_prompt_store_create(prompts, e->params.n_contexts, &store, err);
    if (code == COSTEER_OK) {
        cs_prompt_store_free(e->prompts);
        e->prompts = store;
    }
    return code;
}

costeer_cloud *costeer_ensemble_remote(const costeer_ensemble *e)
{
    return e->params.connect != NULL ? e->llm : NULL;
}

/* ---- may it be used ---------------------------------------------------------------------------------------------- */

static costeer_err lacks(const costeer_method *method, const char *what, costeer_error *err)
{
    return cs_error_set(err, COSTEER_EINVAL, "ensemble", "%s needs %s", method->name, what);
}

static bool uses(const costeer_method *method, costeer_source source)
{
    return method->base == source || method->expert == source || method->amateur == source;
}

static costeer_err check_models(const costeer_ensemble *e, const costeer_method *method, costeer_error *err)
{
    if (costeer_method_uses_llm(method) && e->params.llm == NULL) {
        return lacks(method, "an LLM; give one with --llm", err);
    }
    if (costeer_method_uses_slm(method) && e->params.slm == NULL) {
        return lacks(method, "an SLM; give one with --slm", err);
    }
    if (!uses(method, COSTEER_SOURCE_SLM_TUNED)) {
        return COSTEER_OK;
    }
    if (e->params.tuned == NULL) {
        return lacks(method, "a tuned SLM; give a model or a LoRA adapter of the SLM with --tuned-slm", err);
    }
    if (e->params.vocab_map != NULL && costeer_vocab_map_mode(e->params.vocab_map) != COSTEER_VOCAB_SAME) {
        return lacks(method, "models of one vocabulary; give an SLM with the LLM's", err);
    }
    if (strcmp(costeer_model_get_info(e->params.slm)->vocab_sha256, costeer_model_get_info(e->params.tuned)->vocab_sha256) != 0) {
        return lacks(method, "models of one vocabulary; give a tuned SLM with the SLM's", err);
    }
    return COSTEER_OK;
}

static costeer_err check_context(const costeer_ensemble *e, const costeer_method *method, costeer_error *err)
{
    const bool is_remote = e->params.connect != NULL;
    if (is_remote && costeer_method_shows_context(method) && !e->params.allow_context_upload) {
        return cs_error_set(err, COSTEER_EINVAL, "ensemble",
                            "%s would show the context to the cloud; allow it with --allow-context-upload, or use costeer",
                            method->name);
    }
    const bool steers_by_contexts = cs_ensemble_kind_of(method) == CS_ENSEMBLE_CONTEXTS;
    const bool needs_all = uses(method, COSTEER_SOURCE_LLM_WITH) || method->base == COSTEER_SOURCE_SLM_WITH;
    if ((steers_by_contexts && e->params.n_contexts == 0) || (needs_all && !cs_prompt_store_has_with(e->prompts))) {
        return lacks(method, "a context; give one with --context", err);
    }
    return COSTEER_OK;
}

static costeer_err check(const costeer_ensemble *e, const costeer_method *method, double top_p, costeer_error *err)
{
    if (method->top_p < 1.0 && !(top_p > 0.0 && top_p <= 1.0)) {
        return cs_error_set(err, COSTEER_EINVAL, "ensemble", "top_p of %s is %g; give a probability above 0 and up to 1",
                            method->name, top_p);
    }
    if (e->prompts == NULL) {
        return cs_error_set(err, COSTEER_ESTATE, "ensemble", "no prompts were set");
    }
    const costeer_err code = check_models(e, method, err);
    return code == COSTEER_OK ? check_context(e, method, err) : code;
}

/* ---- prompts ----------------------------------------------------------------------------------------------------- */

/* What the LLM is given: tokens, or messages where the cloud has a template of its own. */
static costeer_err get_llm_request(costeer_ensemble *e, bool is_with, costeer_cloud_request *out, costeer_error *err)
{
    *out = (costeer_cloud_request){.max_tokens = cs_prompt_store_max_tokens(e->prompts)};
    if (e->params.connect != NULL && e->params.by_chat) {
        return cs_prompt_store_chat(e->prompts, is_with, &out->chat, err);
    }
    const costeer_tokens *tokens;
    const costeer_err code =
        cs_prompt_store_tokens(e->prompts, is_with ? CS_PROMPT_LLM_WITH : CS_PROMPT_LLM, e->params.llm, &tokens, err);
    out->prompt = tokens->ids;
    out->n_prompt = tokens->n;
    return code;
}

static costeer_err get_slm_request(costeer_ensemble *e, cs_prompt_slot slot, const costeer_model *model,
                                   costeer_cloud_request *out, costeer_error *err)
{
    const costeer_tokens *tokens;
    const costeer_err code = cs_prompt_store_tokens(e->prompts, slot, model, &tokens, err);
    *out = (costeer_cloud_request){
        .prompt = tokens->ids, .n_prompt = tokens->n, .max_tokens = cs_prompt_store_max_tokens(e->prompts)};
    return code;
}

/* What the base is asked for, of whichever model. */
static costeer_err get_base_request(costeer_ensemble *e, const costeer_method *method, costeer_cloud_request *out,
                                    costeer_error *err)
{
    const bool is_with = method->base == COSTEER_SOURCE_LLM_WITH || method->base == COSTEER_SOURCE_SLM_WITH;
    return method->base == COSTEER_SOURCE_LLM || method->base == COSTEER_SOURCE_LLM_WITH
               ? get_llm_request(e, is_with, out, err)
               : get_slm_request(e, is_with ? CS_PROMPT_SLM_WITH : CS_PROMPT_SLM, e->params.slm, out, err);
}

/* ---- putting together -------------------------------------------------------------------------------------------- */

/* CoSteer and its kin: the SLM without and with each context. */
static costeer_err use_contexts(costeer_ensemble *e, costeer_ensemble_parts *out, costeer_error *err)
{
    const costeer_tokens *plain;
    const costeer_tokens *with;
    costeer_err code = cs_prompt_store_tokens(e->prompts, CS_PROMPT_AMATEUR, e->params.slm, &plain, err);
    code = code == COSTEER_OK ? cs_prompt_store_contexts(e->prompts, e->params.slm, &with, err) : code;
    if (code != COSTEER_OK) {
        return code;
    }
    costeer_slm_set_cancel(e->deltas, e->params.cancel);
    out->deltas = costeer_slm_delta_source(e->deltas);
    return costeer_slm_set_prompts(e->deltas, plain, with, cs_prompt_store_max_tokens(e->prompts), err);
}

/* The LLM with the context against itself without; `with` is what the base is asked for. */
static costeer_err use_contrast(costeer_ensemble *e, double top_p, const costeer_cloud_request *with, costeer_ensemble_parts *out,
                                costeer_error *err)
{
    costeer_cloud_request plain;
    costeer_err code = get_llm_request(e, false, &plain, err);
    if (code != COSTEER_OK) {
        return code;
    }
    if (e->params.connect != NULL) {
        cs_cloud_deltas_set_requests(e->llm_connections, with, &plain);
    } else {
        const costeer_tokens *amateur;
        const costeer_tokens *expert;
        code = cs_prompt_store_tokens(e->prompts, CS_PROMPT_LLM, e->params.llm, &amateur, err);
        code = code == COSTEER_OK ? cs_prompt_store_tokens(e->prompts, CS_PROMPT_LLM_WITH, e->params.llm, &expert, err) : code;
        code = code == COSTEER_OK ? cs_llm_pair_set_prompts(e->llm_pair, amateur, expert, with->max_tokens, err) : code;
    }
    cs_contrast_set_top_p(e->contrast, top_p);
    out->cloud = e->contrast;
    out->deltas = cs_contrast_deltas(e->contrast);
    return code;
}

static costeer_err use_proxies(costeer_ensemble *e, costeer_ensemble_parts *out, costeer_error *err)
{
    costeer_cloud_request expert;
    costeer_cloud_request amateur;
    costeer_err code = get_slm_request(e, CS_PROMPT_TUNED, e->params.tuned, &expert, err);
    code = code == COSTEER_OK ? get_slm_request(e, CS_PROMPT_SLM, e->params.slm, &amateur, err) : code;
    if (code == COSTEER_OK) {
        cs_cloud_deltas_set_requests(e->proxies, &expert, &amateur);
        cs_cloud_deltas_set_cancel(e->proxies, e->params.cancel);
    }
    out->deltas = e->proxies;
    return code;
}

static costeer_err use(costeer_ensemble *e, const costeer_method *method, double top_p, costeer_ensemble_parts *out,
                       costeer_error *err)
{
    const bool is_llm = costeer_method_uses_llm(method);
    costeer_cloud_request base;
    costeer_err code =
        get_base_request(e, method, &base, err); /* before connecting: a prompt that cannot be built costs nothing */
    const cs_ensemble_kind kind = cs_ensemble_kind_of(method);
    const cs_ensemble_needs needs = cs_ensemble_needs_of(method);
    code = code == COSTEER_OK ? cs_ensemble_open_parts(e, &needs, err) : code;
    if (code != COSTEER_OK) {
        return code;
    }
    *out = (costeer_ensemble_parts){.cloud = is_llm ? e->llm : e->slm,
                                    .model = is_llm ? e->params.llm : e->params.slm,
                                    .prompt = base.prompt,
                                    .n_prompt = base.n_prompt,
                                    .chat = base.chat,
                                    .deltas_are_local = kind == CS_ENSEMBLE_CONTEXTS || kind == CS_ENSEMBLE_PROXIES};
    switch (kind) {
    case CS_ENSEMBLE_PLAIN:
        break;
    case CS_ENSEMBLE_CONTEXTS:
        return use_contexts(e, out, err);
    case CS_ENSEMBLE_CONTRAST:
        return use_contrast(e, method->top_p < 1.0 ? top_p : 1.0, &base, out, err);
    case CS_ENSEMBLE_PROXIES:
        return use_proxies(e, out, err);
    }
    return COSTEER_OK;
}

costeer_err costeer_ensemble_use(costeer_ensemble *e, const costeer_method *method, double top_p, costeer_ensemble_parts *out,
                                 costeer_error *err)
{
    if (e == NULL || method == NULL || out == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "ensemble", "ensemble, method and out must not be NULL");
    }
    *out = (costeer_ensemble_parts){.cloud = NULL};
    costeer_err code = check(e, method, top_p, err);
    code = code == COSTEER_OK ? use(e, method, top_p, out, err) : code;
    if (code != COSTEER_OK) {
        *out = (costeer_ensemble_parts){.cloud = NULL};
    }
    return code;
}
