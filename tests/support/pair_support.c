/* Test support: the built-in pair, loaded anew for each case. */
#include "support/pair_support.h"

#include <string.h>

void pair_load(pair_support *pair)
{
    costeer_error err = {0};
    memset(pair, 0, sizeof *pair);
    pair->llm_model = load_model(LLM_PATH);
    pair->slm_model = load_model(SLM_PATH);
    const costeer_local_params local_params = {.n_ctx = 512, .n_threads = 1};
    assert_ok(costeer_cloud_create_local(pair->llm_model, &local_params, &pair->llm, &err), &err);
    const costeer_slm_params params = {.n_contexts = 1, .n_ctx = 512, .n_threads = 1};
    assert_ok(costeer_slm_create(pair->slm_model, &params, &pair->slm, &err), &err);
}

void pair_dispose(pair_support *pair)
{
    costeer_tokens_dispose(&pair->amateur);
    costeer_tokens_dispose(&pair->expert);
    costeer_slm_free(pair->slm);
    costeer_cloud_free(pair->llm);
    costeer_model_free(pair->slm_model);
    costeer_model_free(pair->llm_model);
    memset(pair, 0, sizeof *pair);
}

void pair_set_case(pair_support *pair, const pair_case *of, int32_t max_tokens)
{
    costeer_error err = {0};
    pair_dispose(pair);
    pair_load(pair);
    pair->amateur = build_prompt(pair->slm_model, NULL, of->query);
    pair->expert = build_prompt(pair->slm_model, of->context, of->query);
    assert_ok(costeer_slm_set_prompts(pair->slm, &pair->amateur, &pair->expert, max_tokens, &err), &err);
}
