/*
 * run.json: everything that the results depend on, so that a run is only taken up by one that is the same. A URL is not among it:
 * where a node is does not matter, and may be nobody's business who gets the results.
 */
#include "cli/cmd_eval.h"
#include "cli/json.h"

#include <costeer/select.h>
#include <costeer/version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *text_or_null(const char *text)
{
    return text != NULL ? cs_json_text(text, strlen(text)) : json_null();
}

static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* ---- parts ------------------------------------------------------------------------------------------------------- */

/* A model's file is too long to be hashed whole at every start, but two of one family often have the same name, vocabulary and
 * length: pieces spread over the file tell them apart. */
#define SAMPLES      ((size_t)128)
#define SAMPLE_BYTES ((size_t)4096)

static json_t *describe_bytes(const char *path)
{
    char hex[65];
    FILE *in = path != NULL ? fopen(path, "rb") : NULL;
    unsigned char *bytes = in != NULL ? calloc(SAMPLES, SAMPLE_BYTES) : NULL;
    const long file_bytes = bytes != NULL && fseek(in, 0, SEEK_END) == 0 ? ftell(in) : 0;
    size_t n = 0;
    for (size_t i = 0; bytes != NULL && i < SAMPLES; i++) {
        if (fseek(in, file_bytes / (long)SAMPLES * (long)i, SEEK_SET) == 0) {
            n += fread(bytes + n, 1, SAMPLE_BYTES, in);
        }
    }
    json_t *out = n > 0 && costeer_eval_hash(bytes, n, hex) ? json_string(hex) : json_null();
    free(bytes);
    if (in != NULL) {
        (void)fclose(in);
    }
    return out;
}

/* Path: NULL for a built-in model, which its length tells, and for one that is not here. */
static json_t *describe_model(const costeer_model *model, const char *name, const char *path, bool is_here)
{
    if (model == NULL) {
        return json_null();
    }
    const costeer_model_info *info = costeer_model_get_info(model);
    name = name != NULL ? name : info->name;
    return json_pack("{s:o, s:s, s:o, s:o}", "name", cs_json_text(name, strlen(name)), "vocab_sha256", info->vocab_sha256,
                     "file_bytes", is_here ? json_integer((json_int_t)info->file_bytes) : json_null(), "sample_sha256",
                     is_here ? describe_bytes(path) : json_null());
}

static bool any_uses(const cs_eval_run *run, bool (*uses)(const costeer_method *method))
{
    bool found = false;
    for (size_t i = 0; i < run->n_items; i++) {
        found = found || uses(run->items[i].method);
    }
    return found;
}

static json_t *describe_models(const cs_eval_run *run)
{
    const cs_settings *common = &run->settings->common;
    bool is_remote = common->cloud != NULL;
    const costeer_model *llm = any_uses(run, costeer_method_uses_llm) ? cs_pair_spelling(run->pair) : NULL;
    const costeer_model *slm = any_uses(run, costeer_method_uses_slm) ? run->pair->slm : NULL;
    return json_pack("{s:o, s:o, s:o, s:o}", "llm",
                     describe_model(llm, is_remote ? cs_remote_name(run->remote) : NULL, common->llm, !is_remote), "slm",
                     describe_model(slm, NULL, common->slm, true), "tuned",
                     describe_model(run->pair->tuned, NULL, common->tuned_slm, true), "judge",
                     describe_model(run->judge, NULL, run->settings->judge, true));
}

static json_t *describe_item(const costeer_eval_item *item)
{
    return json_pack("{s:s, s:s, s:s?, s:o, s:f, s:f, s:f, s:f, s:b}", "label", item->label, "method", item->method->name,
                     "parameter", item->parameter, "value", item->parameter != NULL ? json_real(item->value) : json_null(),
                     "strength", item->strength, "plausibility", item->limits.plausibility, "divergence", item->limits.divergence,
                     "top_p", item->top_p, "shows_context", (int)costeer_method_shows_context(item->method));
}

static json_t *describe_items(const cs_eval_run *run)
{
    json_t *list = json_array();
    for (size_t i = 0; i < run->n_items; i++) {
        if (json_array_append_new(list, describe_item(&run->items[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *describe_fields(const costeer_eval_form *form)
{
    if (form->task->shape != COSTEER_EVAL_FIELDS && form->task->shape != COSTEER_EVAL_LABELLED) {
        return json_null();
    }
    return json_pack("{s:s?, s:s?, s:s?, s:s?, s:s?, s:o}", "query", form->query_field, "context", form->context_field,
                     "reference", form->reference_field, "facts", form->facts_field, "id", form->id_field, "template",
                     text_or_null(form->context_template));
}

static json_t *describe_sampler(const costeer_sampler_params *s)
{
    return json_pack("{s:f, s:i, s:f, s:f, s:f, s:i}", "temperature", s->temperature, "top_k", (int)s->top_k, "top_p", s->top_p,
                     "min_p", s->min_p, "repetition_penalty", s->repetition_penalty, "repetition_window",
                     (int)s->repetition_window);
}

static json_t *describe_stop(const costeer_session_params *session)
{
    json_t *list = json_array();
    for (size_t i = 0; i < session->n_stop; i++) {
        if (json_array_append_new(list, text_or_null(session->stop[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static const char *vocab_name(const cs_eval_run *run)
{
    return costeer_vocab_mode_name(run->pair->map != NULL ? costeer_vocab_map_mode(run->pair->map) : COSTEER_VOCAB_SAME);
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

/* What the contract with the report names. */
static int set_contract(json_t *object, const cs_eval_run *run)
{
    const cs_eval_settings *s = run->settings;
    const costeer_gate_params *gate = &run->session->gate;
    int failed = json_object_set_new(object, "costeer", json_string(costeer_version()));
    failed |= json_object_set_new(object, "task", json_string(run->form->task->name));
    failed |= json_object_set_new(object, "preference", text_or_null(run->form->preference));
    failed |= json_object_set_new(object, "split", text_or_null(run->form->split));
    failed |= json_object_set_new(object, "data",
                                  json_pack("{s:o, s:s}", "name", text_or_null(file_name(s->data)), "sha256", run->rows->sha256));
    failed |= json_object_set_new(object, "models", describe_models(run));
    failed |= json_object_set_new(object, "cloud", json_string(s->common.cloud != NULL ? "remote" : "local"));
    failed |= json_object_set_new(object, "items", describe_items(run));
    failed |= json_object_set_new(object, "seed", json_integer((json_int_t)run->session->sampler.seed));
    failed |= json_object_set_new(object, "max_tokens", json_integer(run->session->max_tokens));
    failed |= json_object_set_new(object, "ctx_size", json_integer(s->common.ctx_size));
    failed |= json_object_set_new(object, "jobs", json_integer(s->jobs));
    failed |= json_object_set_new(object, "gate",
                                  json_pack("{s:s, s:f, s:i}", "kind", cs_gate_name(gate->kind), "threshold", gate->threshold,
                                            "patience", (int)gate->patience));
    failed |= json_object_set_new(object, "vocab", json_string(vocab_name(run)));
    failed |= json_object_set_new(object, "limit", s->limit > 0 ? json_integer(s->limit) : json_null());
    return failed;
}

static json_t *describe_use(const cs_eval_run *run)
{
    const bool is_needed = strcmp(run->settings->use, "needed") == 0;
    return json_pack("{s:s, s:o, s:o}", "what", run->settings->use, "threshold",
                     is_needed ? json_real(COSTEER_SELECT_THRESHOLD) : json_null(), "selector",
                     is_needed ? describe_model(run->selector, NULL, run->settings->common.selector, true) : json_null());
}

/* What else the answers depend on. */
static int set_rest(json_t *object, const cs_eval_run *run)
{
    const cs_eval_settings *s = run->settings;
    int failed = json_object_set_new(object, "system", text_or_null(run->system));
    failed |= json_object_set_new(object, "chat_template", text_or_null(run->templates->both));
    failed |= json_object_set_new(object, "llm_template", text_or_null(run->templates->llm));
    failed |= json_object_set_new(object, "slm_template", text_or_null(run->templates->slm));
    failed |= json_object_set_new(object, "no_default_system", json_boolean(s->common.no_default_system));
    failed |= json_object_set_new(object, "thinking", json_string(s->common.thinking));
    failed |= json_object_set_new(object, "thinking_budget", json_integer(s->common.thinking_budget));
    failed |= json_object_set_new(object, "answer_prefix", text_or_null(s->common.answer_prefix));
    failed |= json_object_set_new(object, "amateur_template", text_or_null(run->amateur_template));
    failed |= json_object_set_new(object, "fields", describe_fields(run->form));
    failed |= json_object_set_new(object, "use", describe_use(run));
    failed |= json_object_set_new(object, "pairwise", json_boolean(s->pairwise));
    failed |= json_object_set_new(object, "truncate_context", json_boolean(s->truncate_context));
    failed |= json_object_set_new(object, "sampler", describe_sampler(&run->session->sampler));
    failed |= json_object_set_new(object, "stop", describe_stop(run->session));
    failed |= json_object_set_new(object, "base_top_k", json_integer(run->session->base_top_k));
    failed |= json_object_set_new(object, "constant_k", json_boolean(run->session->constant_k));
    failed |= json_object_set_new(object, "threads",
                                  json_pack("{s:i, s:i}", "llm", (int)s->common.threads_llm, "slm", (int)s->common.threads_slm));
    return failed;
}

json_t *cs_eval_describe(const cs_eval_run *run)
{
    json_t *object = json_object();
    if ((set_contract(object, run) | set_rest(object, run)) != 0) {
        json_decref(object);
        return NULL;
    }
    return object;
}
