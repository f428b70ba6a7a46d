/* One row answered with one item: prompts into the ensemble, a session over what it puts together, the text and what it gave
 * away. */
#include "eval/eval_internal.h"

#include "util/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* An answer has at most max_tokens pieces, so this is never reached; it bounds what one answer may hold all the same. */
#define ANSWER_BYTES_MAX ((size_t)256 << 20)

static bool on_text(const char *text, size_t n_bytes, void *user)
{
    cs_eval_answer *out = user;
    return cs_buffer_append(&out->text, text, n_bytes);
}

static bool on_reasoning(const char *text, size_t n_bytes, void *user)
{
    cs_eval_answer *out = user;
    return cs_buffer_append(&out->reasoning, text, n_bytes);
}

static bool on_position(const costeer_position *at, void *user)
{
    cs_eval_answer *out = user;
    out->exposure += at->policy_logprob - at->base_logprob;
    return true;
}

/* ---- prompts ----------------------------------------------------------------------------------------------------- */

static costeer_err set_prompts(const costeer_eval *eval, costeer_ensemble *ensemble, const costeer_eval_row *row,
                               costeer_error *err)
{
    char *message = costeer_eval_row_chosen_message(row);
    if (message == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "eval", "no memory for a prompt");
    }
    const costeer_prompt with = cs_fit_make_prompt(&eval->fit, row, message, true);
    const costeer_prompt plain = cs_fit_make_prompt(&eval->fit, row, NULL, false);
    costeer_prompt amateur = plain;
    /* Where nothing of the context is there, expert and amateur read the same, and nothing is steered. */
    amateur.query_template = strcmp(message, row->query) != 0 ? eval->params.amateur_template : NULL;
    const costeer_ensemble_prompts prompts = {.plain = plain,
                                              .amateur = amateur,
                                              .with = &with,
                                              .with_all = with,
                                              .llm_template = eval->params.llm_template,
                                              .slm_template = eval->params.slm_template,
                                              .max_tokens = row->max_tokens + eval->fit.n_reasoning};
    const costeer_err code = costeer_ensemble_set_prompts(ensemble, &prompts, err);
    free(message);
    return code;
}

/* ---- the session ------------------------------------------------------------------------------------------------- */

static costeer_session_params make_params(const costeer_eval *eval, const costeer_ensemble_parts *parts,
                                          const costeer_eval_row *row, const costeer_eval_item *item, cs_eval_answer *out)
{
    costeer_session_params params = eval->params.session;
    const bool is_steered = parts->deltas != NULL;
    params.strength = item->strength;
    params.limits = item->limits;
    params.context_weights = NULL;
    params.max_tokens = row->max_tokens;
    params.private_drafts = params.private_drafts && is_steered;
    params.on_cloud_failure = COSTEER_CLOUD_FAILURE_STOP; /* what the SLM wrote alone would be measured as the method's */
    params.gate.kind = item->method->gate != COSTEER_GATE_NONE ? item->method->gate : params.gate.kind;
    params.chat = parts->chat;
    params.details = is_steered && params.base_top_k == 0; /* the exposure is known where the base is dense */
    params.on_text = on_text;
    params.on_reasoning = on_reasoning;
    params.on_position = params.details ? on_position : NULL;
    params.user = out;
    params.cancel = &eval->stop;
    return params;
}

/* How the model that gives the base reasons, when the rows let it. */
static costeer_err find_reasoning(const costeer_eval *eval, const costeer_model *model, const costeer_eval_row *row,
                                  const costeer_eval_item *item, costeer_reasoning *out, costeer_error *err)
{
    costeer_prompt prompt = cs_fit_make_prompt(&eval->fit, row, NULL, false);
    const char *own = costeer_method_uses_llm(item->method) ? eval->params.llm_template : eval->params.slm_template;
    if (!prompt.thinking || prompt.answer_prefix != NULL) {
        return COSTEER_OK;
    }
    prompt.chat_template = own != NULL ? own : prompt.chat_template;
    return costeer_reasoning_find(model, &prompt, out, err);
}

static costeer_err answer(const costeer_eval *eval, const costeer_ensemble_parts *parts, const costeer_eval_row *row,
                          const costeer_eval_item *item, cs_eval_answer *out)
{
    costeer_session_params params = make_params(eval, parts, row, item, out);
    const costeer_vocab vocab = costeer_model_vocab(parts->model);
    costeer_session *session = NULL;
    costeer_reasoning reasoning = {.begin = NULL};
    params.reasoning = &reasoning;
    costeer_err code = find_reasoning(eval, parts->model, row, item, &reasoning, &out->error);
    code =
        code != COSTEER_OK ? code : costeer_session_create(parts->cloud, parts->deltas, &vocab, &params, &session, &out->error);
    if (code == COSTEER_OK) {
        code = costeer_session_run(session, parts->prompt, parts->n_prompt, &out->report, &out->error);
    }
    costeer_session_free(session);
    costeer_reasoning_dispose(&reasoning);
    out->exposure = params.details ? out->exposure : (double)NAN;
    return code;
}

void cs_eval_answer_dispose(cs_eval_answer *answer)
{
    cs_buffer_dispose(&answer->text);
    cs_buffer_dispose(&answer->reasoning);
}

void cs_eval_answer_run(const costeer_eval *eval, costeer_ensemble *ensemble, const costeer_eval_row *row,
                        const costeer_eval_item *item, cs_eval_answer *out)
{
    *out = (cs_eval_answer){.text = {.cap = ANSWER_BYTES_MAX}, .reasoning = {.cap = ANSWER_BYTES_MAX}};
    costeer_ensemble_parts parts;
    costeer_err code = set_prompts(eval, ensemble, row, &out->error);
    code = code == COSTEER_OK ? costeer_ensemble_use(ensemble, item->method, item->top_p, &parts, &out->error) : code;
    code = code == COSTEER_OK ? answer(eval, &parts, row, item, out) : code;
    out->status = code;
    out->error.code = code;
}
