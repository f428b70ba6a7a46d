/* The built-in SLM under test: see slm_support.h. */
#include "support/slm_support.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

costeer_model *model;
int32_t n_vocab;

int load_slm(void **state)
{
    (void)state;
    model = load_model(SLM_PATH);
    n_vocab = costeer_model_get_info(model)->n_vocab;
    return 0;
}

int free_slm(void **state)
{
    (void)state;
    costeer_model_free(model);
    return 0;
}

costeer_slm *create_drafting(int32_t n_contexts, int32_t n_ctx, int32_t n_drafts)
{
    costeer_slm *slm = NULL;
    costeer_error err = {0};
    const costeer_slm_params params = {.n_contexts = n_contexts, .n_ctx = n_ctx, .n_threads = 1, .n_drafts = n_drafts};
    assert_ok(costeer_slm_create(model, &params, &slm, &err), &err);
    return slm;
}

costeer_slm *create_slm(int32_t n_contexts, int32_t n_ctx)
{
    return create_drafting(n_contexts, n_ctx, 0);
}

void begin(costeer_slm *slm, const costeer_tokens *amateur, const costeer_tokens *experts)
{
    costeer_error err = {0};
    assert_ok(costeer_slm_set_prompts(slm, amateur, experts, 64, &err), &err);
    costeer_delta_source *source = costeer_slm_delta_source(slm);
    assert_ok(source->ops->begin(source, &err), &err);
}

void step(costeer_slm *slm, int32_t token)
{
    costeer_error err = {0};
    costeer_delta_source *source = costeer_slm_delta_source(slm);
    assert_ok(source->ops->step(source, &token, 1, &err), &err);
}

int32_t argmax(const float *logits)
{
    int32_t best = 0;
    for (int32_t i = 1; i < n_vocab; i++) {
        best = logits[i] > logits[best] ? i : best;
    }
    return best;
}

void assert_same_logits(const float *a, const float *b)
{
    for (int32_t i = 0; i < n_vocab; i++) {
        if (!(fabsf(a[i] - b[i]) <= LOGIT_TOLERANCE)) {
            fail_msg("logit %d is %g and %g", i, (double)a[i], (double)b[i]);
        }
    }
    assert_true(a[argmax(b)] >= a[argmax(a)] - 2.0F * LOGIT_TOLERANCE); /* the same choice, but for a tie */
}
