#include "support/literal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define LOGIT_NOISE 8e-3

enum { LLM, LLM_WITH, SLM, SLM_WITH, TUNED, N_WALKS };

/* One model on its way along the answer. */
typedef struct walk {
    costeer_cloud *cloud;
    costeer_tokens prompt;
} walk;

static void walk_start(walk *self, const costeer_model *model, const char *context, const char *query, size_t n)
{
    costeer_error err = {0};
    *self = (walk){.cloud = NULL};
    if (model == NULL) {
        return;
    }
    const costeer_local_params params = {.n_ctx = 512, .n_threads = 1};
    assert_ok(costeer_cloud_create_local(model, &params, &self->cloud, &err), &err);
    self->prompt = build_prompt(model, context, query);
    const costeer_cloud_request request = {.prompt = self->prompt.ids, .n_prompt = self->prompt.n, .max_tokens = (int32_t)n + 1};
    assert_ok(costeer_cloud_open(self->cloud, &request, &err), &err);
}

static void walk_read(const walk *self, int32_t position, int32_t n_vocab, double *row)
{
    if (self->cloud == NULL) {
        return;
    }
    costeer_error err = {0};
    costeer_distribution at;
    assert_ok(costeer_cloud_next(self->cloud, position, &at, &err), &err);
    assert_null(at.base.ids);
    for (int32_t t = 0; t < n_vocab; t++) {
        row[t] = (double)at.base.values[t];
    }
    literal_log_softmax(row, n_vocab);
}

static void walk_on(const walk *self, int32_t position, int32_t token)
{
    costeer_error err = {0};
    if (self->cloud != NULL) {
        assert_ok(costeer_cloud_commit(self->cloud, position, token, &err), &err);
    }
}

void literal_log_softmax(double *values, int32_t n)
{
    double largest = -INFINITY;
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        largest = fmax(largest, values[i]);
    }
    for (int32_t i = 0; i < n; i++) {
        sum += exp(values[i] - largest);
    }
    for (int32_t i = 0; i < n; i++) {
        values[i] -= largest + log(sum);
    }
}

/* By how much the best score is above the token's. */
static double shortfall(const double *scores, int32_t n_vocab, int32_t token)
{
    double best = -INFINITY;
    for (int32_t t = 0; t < n_vocab; t++) {
        best = fmax(best, scores[t]);
    }
    return best - scores[token];
}

void literal_assert(const char *what, const literal_models *models, const literal_case *of, const int32_t *tokens, size_t n,
                    literal_policy_fn policy, double weight, double spread, void *user)
{
    literal_rows *rows = calloc(1, sizeof *rows);
    double *scores = calloc(LITERAL_VOCAB_MAX, sizeof *scores);
    assert_true(rows != NULL && scores != NULL);
    const costeer_model *any = models->llm != NULL ? models->llm : models->slm;
    rows->n_vocab = costeer_model_get_info(any)->n_vocab;
    assert_in_range(rows->n_vocab, 1, LITERAL_VOCAB_MAX);
    walk walks[N_WALKS];
    walk_start(&walks[LLM], models->llm, NULL, of->query, n);
    const char *context = of->with == NULL ? of->context : NULL;
    const char *with = of->with == NULL ? of->query : of->with;
    walk_start(&walks[LLM_WITH], models->llm, context, with, n);
    walk_start(&walks[SLM], models->slm, NULL, of->without == NULL ? of->query : of->without, n);
    walk_start(&walks[SLM_WITH], models->slm, context, with, n);
    walk_start(&walks[TUNED], models->tuned, NULL, of->query, n);
    double *const at[N_WALKS] = {rows->llm, rows->llm_with, rows->slm, rows->slm_with, rows->tuned};
    size_t n_ties = 0;
    assert_true(n > 0);
    for (size_t i = 0; i < n; i++) {
        for (int w = 0; w < N_WALKS; w++) {
            walk_read(&walks[w], (int32_t)i, rows->n_vocab, at[w]);
        }
        policy(rows, weight, scores, user);
        const double short_by = shortfall(scores, rows->n_vocab, tokens[i]);
        if (short_by > LOGIT_NOISE * spread) {
            fail_msg("%s: token %d at position %zu is %g below the best", what, tokens[i], i, short_by);
        }
        n_ties += short_by > 0;
        for (int w = 0; w < N_WALKS && i + 1 < n; w++) {
            walk_on(&walks[w], (int32_t)i, tokens[i]);
        }
    }
    if (n_ties > n / 20) {
        fail_msg("%s: %zu of %zu tokens are not the best ones", what, n_ties, n);
    }
    for (int w = 0; w < N_WALKS; w++) {
        costeer_cloud_free(walks[w].cloud);
        costeer_tokens_dispose(&walks[w].prompt);
    }
    free(rows);
    free(scores);
}
