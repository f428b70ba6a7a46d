/*
 * The judge: a model with a running state of its own, outside the pool, used by the one thread that delivers results.
 *
 * The prompt is computed in batches of its own, without its last token; the answer's batches begin with that. So the prompt's
 * part of the KV cache holds the same bits whether it was computed for this answer or is left from the one before, and a run that
 * goes on in the middle of a row judges as one that came there by itself.
 */
#include "eval/judge.h"

#include "core/decoder.h"
#include "util/error.h"

#include <costeer/steer.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rows of logits of one batch: enough to keep the cores busy, and 64 rows of a vocabulary of 152k are 39 MB. */
#define ROWS 64

struct cs_judge {
    const costeer_model *model;
    cs_decoder *decoder;
    const atomic_bool *cancel;
    costeer_tokens prompt;
    int32_t n_prefix; /* tokens of a prompt that the decoder holds, from read_prompt() */
    costeer_tokens answer;
    int32_t n_vocab;
    int32_t *ends; /* [n_ends] */
    size_t n_ends;
};

static bool should_stop(void *user)
{
    const cs_judge *judge = user;
    return judge->cancel != NULL && atomic_load_explicit(judge->cancel, memory_order_relaxed);
}

static costeer_err find_ends(cs_judge *judge, costeer_error *err)
{
    judge->ends = malloc((size_t)judge->n_vocab * sizeof judge->ends[0]);
    if (judge->ends == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "judge", "no memory for its end tokens");
    }
    for (int32_t token = 0; token < judge->n_vocab; token++) {
        if (costeer_model_is_end(judge->model, token)) {
            judge->ends[judge->n_ends++] = token;
        }
    }
    return COSTEER_OK;
}

costeer_err cs_judge_create(const costeer_model *model, const cs_judge_params *params, cs_judge **out, costeer_error *err)
{
    *out = NULL;
    cs_judge *judge = calloc(1, sizeof *judge);
    if (judge == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "judge", "no memory for its state");
    }
    judge->model = model;
    judge->cancel = params->cancel;
    judge->n_vocab = costeer_model_get_info(model)->n_vocab;
    const cs_decoder_params decoder = {.component = "judge",
                                       .n_sequences = 1,
                                       .n_ctx = params->n_ctx,
                                       .n_threads = params->n_threads,
                                       .n_rows = ROWS,
                                       .stop = should_stop,
                                       .stop_user = judge};
    costeer_err code = find_ends(judge, err);
    code = code == COSTEER_OK ? cs_decoder_create(model, &decoder, &judge->decoder, err) : code;
    if (code != COSTEER_OK) {
        cs_judge_free(judge);
        return code;
    }
    *out = judge;
    return COSTEER_OK;
}

void cs_judge_free(cs_judge *judge)
{
    if (judge != NULL) {
        cs_decoder_free(judge->decoder);
        costeer_tokens_dispose(&judge->prompt);
        costeer_tokens_dispose(&judge->answer);
        free(judge->ends);
        free(judge);
    }
}

/* ---- the prompt -------------------------------------------------------------------------------------------------- */

/* Compute the prompt without its last token, unless the decoder holds just that. */
static costeer_err read_prompt(cs_judge *judge, costeer_error *err)
{
    cs_decoder *decoder = judge->decoder;
    const int32_t n = (int32_t)judge->prompt.n - 1;
    const bool is_held =
        judge->n_prefix == n && cs_decoder_held(decoder, 0) >= n &&
        (n == 0 || memcmp(cs_decoder_held_tokens(decoder, 0), judge->prompt.ids, (size_t)n * sizeof(int32_t)) == 0);
    int32_t at = cs_decoder_truncate(decoder, 0, is_held ? n : 0);
    judge->n_prefix = -1;
    while (at < n) {
        cs_decoder_begin(decoder);
        while (at < n && cs_decoder_add(decoder, 0, judge->prompt.ids[at], false) >= 0) {
            at++;
        }
        const costeer_err code = cs_decoder_compute(decoder, err);
        if (code != COSTEER_OK) {
            return code;
        }
    }
    judge->n_prefix = n;
    return COSTEER_OK;
}

/* ---- the answer -------------------------------------------------------------------------------------------------- */

/* The log of the probability that one of [n] tokens has; NaN when the row is no distribution. */
static double logprob_of(const float *row, int32_t n_vocab, const int32_t *tokens, size_t n)
{
    const double all = costeer_logsumexp(row, n_vocab);
    double best = -INFINITY;
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        best = fmax(best, (double)row[tokens[i]]);
    }
    for (size_t i = 0; i < n && isfinite(best); i++) {
        sum += exp((double)row[tokens[i]] - best);
    }
    return isnan(all) || sum > 0.0 ? best + log(sum) - all : -(double)INFINITY;
}

/* What stands before position i of the answer. */
static int32_t token_before(const cs_judge *judge, size_t i)
{
    return i == 0 ? judge->prompt.ids[judge->prompt.n - 1] : judge->answer.ids[i - 1];
}

static costeer_err add_rows(const cs_judge *judge, size_t from, const int32_t *numbers, size_t n, cs_judgement *out,
                            costeer_error *err)
{
    for (size_t k = 0; k < n; k++) {
        const size_t i = from + k;
        const bool is_text = i < judge->answer.n;
        const float *row = cs_decoder_row(judge->decoder, numbers[k]);
        const double logprob = row == NULL ? (double)NAN
                                           : logprob_of(row, judge->n_vocab, is_text ? &judge->answer.ids[i] : judge->ends,
                                                        is_text ? 1 : judge->n_ends);
        if (isnan(logprob)) {
            return cs_error_set(err, COSTEER_ENUMERIC, "judge", "the model gave NaN at position %zu of an answer", i);
        }
        out->logprob += logprob;
        out->n_tokens++;
    }
    return COSTEER_OK;
}

/* Compute n positions of the answer, of which the decoder already holds none. */
static costeer_err read_answer(cs_judge *judge, size_t n, cs_judgement *out, costeer_error *err)
{
    costeer_err code = COSTEER_OK;
    for (size_t from = 0; code == COSTEER_OK && from < n;) {
        int32_t numbers[ROWS];
        size_t n_rows = 0;
        cs_decoder_begin(judge->decoder);
        while (n_rows < ROWS && from + n_rows < n) {
            numbers[n_rows] = cs_decoder_add(judge->decoder, 0, token_before(judge, from + n_rows), true);
            if (numbers[n_rows] < 0) {
                break;
            }
            n_rows++;
        }
        code = n_rows > 0 ? cs_decoder_compute(judge->decoder, err)
                          : cs_error_set(err, COSTEER_EINTERNAL, "judge", "its batch takes no token");
        code = code == COSTEER_OK ? add_rows(judge, from, numbers, n_rows, out, err) : code;
        from += n_rows;
    }
    return code;
}

costeer_err cs_judge_answer(cs_judge *judge, const costeer_prompt *prompt, const char *answer, size_t n_answer, bool has_end,
                            cs_judgement *out, costeer_error *err)
{
    *out = (cs_judgement){.n_tokens = 0};
    judge->answer.n = 0;
    costeer_err code = costeer_prompt_build(judge->model, prompt, &judge->prompt, err);
    if (code == COSTEER_OK && n_answer > 0) {
        code = costeer_model_tokenize(judge->model, answer, n_answer, false, false, &judge->answer, err);
    }
    const size_t n = judge->answer.n + (has_end && judge->n_ends > 0 ? 1U : 0U);
    if (code != COSTEER_OK || n == 0 || judge->prompt.n == 0 || judge->prompt.n + n > (size_t)cs_decoder_n_ctx(judge->decoder)) {
        return code;
    }
    code = read_prompt(judge, err);
    code = code == COSTEER_OK ? read_answer(judge, n, out, err) : code;
    if (code != COSTEER_OK || !isfinite(out->logprob)) {
        *out = (cs_judgement){.n_tokens = 0};
    }
    return code;
}
