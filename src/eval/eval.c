/* Creating an evaluation: the engines that its items need, with as many sequences as its jobs take, and the judge. */
#include "eval/eval_internal.h"

#include "util/error.h"

#include <stdlib.h>
#include <string.h>

costeer_err costeer_eval_fit_row(const costeer_eval *eval, costeer_eval_row *row, costeer_error *err)
{
    return cs_fit_row(&eval->fit, row, err);
}

/* ---- checks ------------------------------------------------------------------------------------------------------ */

static costeer_err check_models(const costeer_eval_params *params, costeer_error *err)
{
    const costeer_ensemble_params *m = &params->models;
    for (size_t i = 0; i < params->n_items; i++) {
        const costeer_method *method = params->items[i].method;
        const bool is_tuned = method->expert == COSTEER_SOURCE_SLM_TUNED || method->base == COSTEER_SOURCE_SLM_TUNED;
        const char *missing = NULL;
        if (costeer_method_uses_llm(method) && m->llm == NULL) {
            missing = "an LLM";
        } else if (costeer_method_uses_slm(method) && m->slm == NULL) {
            missing = "an SLM";
        } else if (is_tuned && m->tuned == NULL) {
            missing = "a tuned SLM";
        }
        if (missing != NULL) {
            return cs_error_set(err, COSTEER_EINVAL, "eval", "method %s needs %s", method->name, missing);
        }
        if (m->connect != NULL && !m->allow_context_upload && costeer_method_shows_context(method)) {
            return cs_error_set(err, COSTEER_EINVAL, "eval",
                                "method %s shows the context to the cloud; leave it out, or allow that for data that is not "
                                "private (--allow-context-upload)",
                                method->name);
        }
    }
    return COSTEER_OK;
}

static costeer_err check(const costeer_eval_params *params, costeer_error *err)
{
    if (params->n_items < 1 || params->n_items > COSTEER_EVAL_ITEMS_MAX || params->items == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "%zu methods and values; give 1 to %d", params->n_items,
                            COSTEER_EVAL_ITEMS_MAX);
    }
    if (params->n_jobs < 1 || params->n_jobs > COSTEER_EVAL_JOBS_MAX) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "%d jobs; give 1 to %d", params->n_jobs, COSTEER_EVAL_JOBS_MAX);
    }
    if (params->session.max_tokens < 1) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "max_tokens is %d; give at least 1", params->session.max_tokens);
    }
    return check_models(params, err);
}

/* ---- engines ----------------------------------------------------------------------------------------------------- */

static costeer_err create_engine(costeer_eval *eval, const costeer_model *model, const char *component, int32_t n_sequences,
                                 int32_t n_threads, cs_engine **out, costeer_error *err)
{
    if (n_sequences == 0) {
        return COSTEER_OK;
    }
    const int32_t n_all = n_sequences * eval->params.n_jobs;
    const cs_engine_params params = {.component = component,
                                     .n_sequences = n_all,
                                     .n_ctx = eval->params.models.n_ctx,
                                     .n_threads = n_threads,
                                     .n_rows = n_all * cs_ensemble_rows_per_sequence(&eval->params.models)};
    return cs_engine_create(eval->pool, model, &params, out, err);
}

static costeer_err create_engines(costeer_eval *eval, costeer_error *err)
{
    const costeer_ensemble_params *m = &eval->params.models;
    const costeer_method **methods = malloc(eval->params.n_items * sizeof(const costeer_method *));
    if (methods == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "eval", "no memory for the methods");
    }
    for (size_t i = 0; i < eval->params.n_items; i++) {
        methods[i] = eval->items[i].method;
    }
    int32_t n_llm = 0;
    int32_t n_slm = 0;
    int32_t n_tuned = 0;
    cs_ensemble_count_sequences(methods, eval->params.n_items, 1, &n_llm, &n_slm, &n_tuned);
    free((void *)methods);
    n_llm = m->connect != NULL ? 0 : n_llm;
    costeer_err code = create_engine(eval, m->llm, "llm", n_llm, m->n_threads_llm, &eval->engines.llm, err);
    code = code == COSTEER_OK ? create_engine(eval, m->slm, "slm", n_slm, m->n_threads_slm, &eval->engines.slm, err) : code;
    return code == COSTEER_OK ? create_engine(eval, m->tuned, "tuned", n_tuned, m->n_threads_slm, &eval->engines.tuned, err)
                              : code;
}

static costeer_err create_judge(costeer_eval *eval, costeer_error *err)
{
    if (eval->params.judge == NULL) {
        return COSTEER_OK;
    }
    const cs_judge_params params = {
        .n_ctx = eval->params.models.n_ctx, .n_threads = eval->params.n_threads_judge, .cancel = eval->params.session.cancel};
    return cs_judge_create(eval->params.judge, &params, &eval->judge, err);
}

/* ---- creation ---------------------------------------------------------------------------------------------------- */

static costeer_err create(costeer_eval *eval, costeer_error *err)
{
    costeer_eval_params *p = &eval->params;
    eval->items = malloc(p->n_items * sizeof *eval->items);
    if (eval->items == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "eval", "no memory for the methods");
    }
    memcpy(eval->items, p->items, p->n_items * sizeof *eval->items);
    p->items = eval->items;
    p->models.n_contexts = 1;
    p->models.n_drafts = p->models.connect != NULL ? p->models.n_drafts : 0;
    p->models.cancel = &eval->stop;
    cs_fit_init(&eval->fit, p);
    /* Sessions that also wait for a network would hold up those that do not. */
    costeer_err code = cs_pool_create(p->models.connect != NULL, &eval->pool, err);
    code = code == COSTEER_OK ? create_engines(eval, err) : code;
    return code == COSTEER_OK ? create_judge(eval, err) : code;
}

costeer_err costeer_eval_create(const costeer_eval_params *params, costeer_eval **out, costeer_error *err)
{
    if (params == NULL || out == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "params and out must not be NULL");
    }
    *out = NULL;
    costeer_err code = check(params, err);
    if (code != COSTEER_OK) {
        return code;
    }
    costeer_eval *eval = calloc(1, sizeof *eval);
    if (eval == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "eval", "no memory for its state");
    }
    eval->params = *params;
    atomic_init(&eval->stop, false);
    code = create(eval, err);
    if (code != COSTEER_OK) {
        costeer_eval_free(eval);
        return code;
    }
    *out = eval;
    return COSTEER_OK;
}

void costeer_eval_free(costeer_eval *eval)
{
    if (eval != NULL) {
        cs_engine_free(eval->engines.llm);
        cs_engine_free(eval->engines.slm);
        cs_engine_free(eval->engines.tuned);
        cs_pool_free(eval->pool);
        cs_judge_free(eval->judge);
        free(eval->items);
        free(eval);
    }
}
