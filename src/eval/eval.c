/* Creating an evaluation: the engines that its items need, with as many sequences as its jobs take, and the judge. */
#include "eval/eval_internal.h"
#include "eval/unknown_words.h"

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
    if (params->pairwise && (params->judge == NULL || params->models.connect != NULL)) {
        return cs_error_set(err, COSTEER_EINVAL, "eval",
                            "answers are compared in pairs by a judge, and with the LLM in this process");
    }
    if (params->session.max_tokens < 1) {
        return cs_error_set(err, COSTEER_EINVAL, "eval", "max_tokens is %d; give at least 1", params->session.max_tokens);
    }
    return check_models(params, err);
}

/*
 * Models whose weights stay in the processor's caches gain little from a batch: a row costs what it computes, and cores that wait
 * for each other's sessions cost more. So their sessions compute in twos. Measured with the built-in pair (8.6 and 2.7 MB), two
 * cores, 4 jobs: 1.10 of one job's speed in one group, 1.66 in two. Bigger models read their weights once for all sessions.
 */
#define SMALL_BYTES             ((uint64_t)16 << 20)
#define SESSIONS_IN_SMALL_GROUP 2

/* ---- engines ----------------------------------------------------------------------------------------------------- */

static costeer_err create_engine(const costeer_eval *eval, cs_pool *pool, const costeer_model *model, const char *component,
                                 int32_t n_sequences, int32_t n_threads, cs_engine **out, costeer_error *err)
{
    if (n_sequences == 0) {
        return COSTEER_OK;
    }
    const int32_t n_sessions = (eval->params.n_jobs + eval->n_groups - 1) / eval->n_groups;
    const int32_t n_all = n_sequences * n_sessions;
    const cs_engine_params params = {.component = component,
                                     .n_sequences = n_all,
                                     .n_ctx = eval->params.models.n_ctx,
                                     .n_threads = n_threads,
                                     .n_threads_prompt = eval->params.models.n_threads_prompt,
                                     .n_rows = n_all * cs_ensemble_rows_per_sequence(&eval->params.models)};
    return cs_engine_create(pool, model, &params, out, err);
}

/* Sequences of each engine that a session needs. */
typedef struct needs {
    int32_t n_llm;
    int32_t n_slm;
    int32_t n_tuned;
} needs;

static costeer_err count_needs(const costeer_eval *eval, needs *out, costeer_error *err)
{
    const costeer_method **methods = malloc(eval->params.n_items * sizeof(const costeer_method *));
    if (methods == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "eval", "no memory for the methods");
    }
    for (size_t i = 0; i < eval->params.n_items; i++) {
        methods[i] = eval->items[i].method;
    }
    cs_ensemble_count_sequences(methods, eval->params.n_items, 1, &out->n_llm, &out->n_slm, &out->n_tuned);
    free((void *)methods);
    out->n_llm = eval->params.models.connect != NULL ? 0 : out->n_llm;
    return COSTEER_OK;
}

static costeer_err create_group(const costeer_eval *eval, const needs *n, cs_eval_group *group, costeer_error *err)
{
    const costeer_ensemble_params *m = &eval->params.models;
    cs_ensemble_engines *engines = &group->engines;
    /* Sessions that also wait for a network would hold up those that do not. */
    costeer_err code = cs_pool_create(m->connect != NULL, &group->pool, err);
    if (code == COSTEER_OK) {
        code = create_engine(eval, group->pool, m->llm, "llm", n->n_llm, m->n_threads_llm, &engines->llm, err);
    }
    if (code == COSTEER_OK) {
        code = create_engine(eval, group->pool, m->slm, "slm", n->n_slm, m->n_threads_slm, &engines->slm, err);
    }
    if (code == COSTEER_OK) {
        code = create_engine(eval, group->pool, m->tuned, "tuned", n->n_tuned, m->n_threads_slm, &engines->tuned, err);
    }
    return code;
}

static void dispose_group(cs_eval_group *group)
{
    cs_engine_free(group->engines.llm);
    cs_engine_free(group->engines.slm);
    cs_engine_free(group->engines.tuned);
    cs_pool_free(group->pool);
}

static bool is_small(const costeer_model *model)
{
    return model == NULL || costeer_model_get_info(model)->size_bytes <= SMALL_BYTES;
}

static costeer_err create_groups(costeer_eval *eval, costeer_error *err)
{
    const costeer_ensemble_params *m = &eval->params.models;
    const bool are_small = is_small(m->connect != NULL ? NULL : m->llm) && is_small(m->slm) && is_small(m->tuned);
    needs n = {0};
    eval->n_groups = are_small ? (eval->params.n_jobs + SESSIONS_IN_SMALL_GROUP - 1) / SESSIONS_IN_SMALL_GROUP : 1;
    costeer_err code = count_needs(eval, &n, err);
    for (int32_t i = 0; i < eval->n_groups && code == COSTEER_OK; i++) {
        code = create_group(eval, &n, &eval->groups[i], err);
    }
    return code;
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

/* Words that exist, as far as a model's vocabulary tells; a connection's model has one too. */
static costeer_err read_vocab(costeer_eval *eval, costeer_error *err)
{
    const costeer_ensemble_params *m = &eval->params.models;
    const costeer_model *model = m->llm != NULL ? m->llm : m->slm;
    return cs_unknown_words_add_vocab(model, &eval->vocab_words)
               ? COSTEER_OK
               : cs_error_set(err, COSTEER_ENOMEM, "eval", "no memory for the vocabulary's words");
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
    costeer_err code = create_groups(eval, err);
    code = code == COSTEER_OK ? create_judge(eval, err) : code;
    return code == COSTEER_OK ? read_vocab(eval, err) : code;
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
        for (int32_t i = 0; i < eval->n_groups; i++) {
            dispose_group(&eval->groups[i]);
        }
        cs_judge_free(eval->judge);
        cs_intern_dispose(&eval->vocab_words);
        free(eval->items);
        free(eval);
    }
}
