#include "support/ensemble_support.h"

#include "support/lora.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

const literal_case cases[2] = {
    {.context = "My name is Soraya. I live in Lisbon. My favourite food is lasagna.", .query = "Write a short bio."},
    {.context = "name: Tamiko\njob: gardener\ncity: Ravenbrook", .query = "Write an invitation to my birthday."},
};

costeer_model *llm, *slm, *tuned;

void load_ensemble_models(const char *lora_path)
{
    llm = load_model(LLM_PATH);
    slm = load_model(SLM_PATH);
    lora_write_for_slm(lora_path, 0.3F);
    const costeer_model_params with_lora = {.lora_path = lora_path};
    costeer_error err = {.message = ""};
    assert_ok(costeer_model_load(SLM_PATH, &with_lora, &tuned, &err), &err);
}

void free_ensemble_models(void)
{
    costeer_model_free(tuned);
    costeer_model_free(slm);
    costeer_model_free(llm);
}

costeer_ensemble_params default_params(void)
{
    return (costeer_ensemble_params){
        .llm = llm, .slm = slm, .tuned = tuned, .n_contexts = 1, .n_ctx = 512, .n_threads_llm = 1, .n_threads_slm = 1};
}

costeer_ensemble *create(const costeer_ensemble_params *params)
{
    costeer_ensemble *out = NULL;
    costeer_error err = {.message = ""};
    assert_ok(costeer_ensemble_create(params, &out, &err), &err);
    return out;
}

const costeer_method *method(const char *name)
{
    const costeer_method *found = costeer_method_find(name);
    assert_non_null(found);
    return found;
}

double weight_of(const char *name)
{
    double weight = NAN;
    assert_int_equal(costeer_method_compute_weight(method(name), NULL, &weight, NULL), COSTEER_OK);
    return weight;
}

static costeer_err set_prompts(costeer_ensemble *of, const literal_case *it, costeer_error *err)
{
    const costeer_prompt with = {.context = it->context, .query = it->query, .context_template = it->context_template};
    const costeer_ensemble_prompts prompts = {.plain = {.query = it->query},
                                              .amateur = {.query = it->query, .query_template = it->query_template},
                                              .with = &with,
                                              .with_all = with,
                                              .max_tokens = MAX_TOKENS};
    return costeer_ensemble_set_prompts(of, &prompts, err);
}

answer try_to_ask(costeer_ensemble *of, const literal_case *it, const costeer_method *by, double weight, double top_p)
{
    answer out = {.n = 0};
    costeer_ensemble_parts parts;
    costeer_session *session = NULL;
    costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    params.strength = weight;
    params.limits = by->limits;
    params.max_tokens = MAX_TOKENS;
    params.gate.kind = by->gate;
    out.code = set_prompts(of, it, &out.error);
    out.code = out.code == COSTEER_OK ? costeer_ensemble_use(of, by, top_p, &parts, &out.error) : out.code;
    if (out.code == COSTEER_OK) {
        params.chat = parts.chat;
        const costeer_vocab vocab = costeer_model_vocab(parts.model);
        out.code = costeer_session_create(parts.cloud, parts.deltas, &vocab, &params, &session, &out.error);
    }
    if (out.code == COSTEER_OK) {
        out.code = costeer_session_run(session, parts.prompt, parts.n_prompt, &out.report, &out.error);
        const int32_t *tokens = costeer_session_tokens(session, &out.n);
        memcpy(out.tokens, tokens, out.n * sizeof *tokens);
    }
    costeer_session_free(session);
    return out;
}

answer ask(costeer_ensemble *of, const literal_case *it, const char *name, double weight, double top_p)
{
    const answer out = try_to_ask(of, it, method(name), weight, top_p);
    assert_ok(out.code, &out.error);
    return out;
}

void assert_literal_answer(const char *what, const literal_case *it, const answer *got, literal_policy_fn policy, double weight,
                           void *user)
{
    const literal_models models = {.llm = llm, .slm = slm, .tuned = tuned};
    literal_assert(what, &models, it, got->tokens, got->n, policy, weight, 1 + 2 * fabs(weight), user);
}
