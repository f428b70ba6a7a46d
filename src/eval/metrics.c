/*
 * What is measured of an answer. Texts become ids of words once, and n-grams become ids of those; from there on all is counting.
 * Definitions and sources are in docs/evaluation.md; tests/golden/metrics.json holds what an independent implementation, checked
 * against rouge-score's, sacreBLEU's and NLTK's own code, makes of a hundred pairs of texts.
 */
#include <costeer/metrics.h>

#include "eval/metrics_internal.h"
#include "util/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- n-grams ----------------------------------------------------------------------------------------------------- */

bool cs_metrics_ngrams(cs_intern *ngrams, const cs_tokens *tokens, size_t order, cs_tokens *out)
{
    for (size_t i = 0; i + order <= tokens->n; i++) {
        if (!cs_tokens_push(out, cs_intern_add(ngrams, tokens->ids + i, order * sizeof *tokens->ids))) {
            return false;
        }
    }
    return true;
}

bool cs_metrics_overlap(const cs_tokens *answer, const cs_tokens *reference, size_t order, cs_overlap_counts *out)
{
    cs_intern ngrams = {0};
    cs_tokens of_answer = {0};
    cs_tokens of_reference = {0};
    bool ok = cs_metrics_ngrams(&ngrams, reference, order, &of_reference);
    size_t *left =
        ok ? calloc(ngrams.n + 1, sizeof *left) : NULL; /* how often the reference has each one, less what was shared */
    size_t n_known = ngrams.n;
    ok = left != NULL && cs_metrics_ngrams(&ngrams, answer, order, &of_answer);
    *out = (cs_overlap_counts){.n_answer = of_answer.n, .n_reference = of_reference.n};
    for (size_t i = 0; ok && i < of_reference.n; i++) {
        left[of_reference.ids[i]]++;
    }
    for (size_t i = 0; ok && i < of_answer.n; i++) {
        size_t id = (size_t)of_answer.ids[i];
        if (id < n_known && left[id] > 0) {
            left[id]--;
            out->n_shared++;
        }
    }
    free(left);
    cs_tokens_dispose(&of_answer);
    cs_tokens_dispose(&of_reference);
    cs_intern_dispose(&ngrams);
    return ok;
}

/* ---- ROUGE ------------------------------------------------------------------------------------------------------- */

/* As rouge-score's fmeasure(): 0 where nothing is shared, and where a text is empty. */
static double f1(size_t n_shared, size_t n_answer, size_t n_reference)
{
    double precision = (double)n_shared / (double)(n_answer > 0 ? n_answer : 1);
    double recall = (double)n_shared / (double)(n_reference > 0 ? n_reference : 1);
    return precision + recall > 0.0 ? 2.0 * precision * recall / (precision + recall) : 0.0;
}

/* Length of the longest common subsequence, one row of the table at a time. False when memory is out. */
static bool longest_common(const cs_tokens *a, const cs_tokens *b, size_t *length)
{
    size_t *row = calloc(b->n + 1, sizeof *row);
    if (row == NULL) {
        return false;
    }
    for (size_t i = 0; i < a->n; i++) {
        size_t diagonal = 0;
        for (size_t j = 0; j < b->n; j++) {
            size_t above = row[j + 1];
            size_t longer = above > row[j] ? above : row[j];
            row[j + 1] = a->ids[i] == b->ids[j] ? diagonal + 1 : longer;
            diagonal = above;
        }
    }
    *length = row[b->n];
    free(row);
    return true;
}

static bool rouge(const char *answer_text, const char *reference_text, costeer_metrics *out)
{
    cs_intern table = {0};
    cs_tokens answer = {0};
    cs_tokens reference = {0};
    cs_overlap_counts one;
    cs_overlap_counts two;
    size_t common = 0;
    bool ok = cs_tokens_rouge(&table, answer_text, &answer) && cs_tokens_rouge(&table, reference_text, &reference) &&
              cs_metrics_overlap(&answer, &reference, 1, &one) && cs_metrics_overlap(&answer, &reference, 2, &two) &&
              longest_common(&answer, &reference, &common);
    if (ok) {
        out->rouge1 = f1(one.n_shared, one.n_answer, one.n_reference);
        out->rouge2 = f1(two.n_shared, two.n_answer, two.n_reference);
        out->rougeL = f1(common, answer.n, reference.n);
    }
    cs_tokens_dispose(&answer);
    cs_tokens_dispose(&reference);
    cs_intern_dispose(&table);
    return ok;
}

/* ---- words ------------------------------------------------------------------------------------------------------- */

/* Different n-grams over all of them; NaN without one. False when memory is out. */
static bool distinct(const cs_tokens *answer, size_t order, double *share)
{
    cs_intern ngrams = {0};
    cs_tokens ids = {0};
    bool ok = cs_metrics_ngrams(&ngrams, answer, order, &ids);
    if (ok && ids.n > 0) {
        *share = (double)ngrams.n / (double)ids.n;
    }
    cs_tokens_dispose(&ids);
    cs_intern_dispose(&ngrams);
    return ok;
}

typedef struct word_lists {
    cs_intern table;
    cs_tokens answer;
    cs_tokens reference;
    cs_tokens context;
    cs_tokens query;
} word_lists;

static bool read_words(word_lists *words, const costeer_metrics_inputs *inputs)
{
    return cs_tokens_words(&words->table, inputs->answer, &words->answer) &&
           (inputs->reference == NULL || cs_tokens_words(&words->table, inputs->reference, &words->reference)) &&
           (inputs->context == NULL || cs_tokens_words(&words->table, inputs->context, &words->context)) &&
           (inputs->query == NULL || cs_tokens_words(&words->table, inputs->query, &words->query));
}

/* What is counted in words. */
static bool measure_words(const costeer_metrics_inputs *inputs, bool has_reference, costeer_metrics *out)
{
    word_lists words;
    memset(&words, 0, sizeof words);
    bool ok =
        read_words(&words, inputs) && distinct(&words.answer, 1, &out->distinct1) && distinct(&words.answer, 2, &out->distinct2);
    if (ok && words.reference.n > 0) {
        out->length_ratio = (double)words.answer.n / (double)words.reference.n;
    }
    ok = ok && (!has_reference || cs_metrics_meteor(&words.table, &words.answer, &words.reference, &out->meteor));
    ok = ok && cs_metrics_context_recall(&words.table, &words.answer, &words.context, &words.query, &out->context_recall);
    cs_tokens_dispose(&words.answer);
    cs_tokens_dispose(&words.reference);
    cs_tokens_dispose(&words.context);
    cs_tokens_dispose(&words.query);
    cs_intern_dispose(&words.table);
    return ok;
}

static double fact_recall(const costeer_metrics_inputs *inputs)
{
    size_t n = 0;
    size_t n_found = 0;
    for (size_t i = 0; i < inputs->n_facts; i++) {
        if (inputs->facts[i][0] != '\0') {
            n++;
            n_found += strstr(inputs->answer, inputs->facts[i]) != NULL;
        }
    }
    return n > 0 ? (double)n_found / (double)n : (double)NAN;
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

static bool is_blank(const char *text)
{
    size_t n = strlen(text);
    size_t length;
    for (size_t i = 0; i < n; i += length) {
        if (!cs_character_is_space(cs_character_next(text + i, n - i, &length))) {
            return false;
        }
    }
    return true;
}

costeer_err costeer_metrics_compute(const costeer_metrics_inputs *inputs, costeer_metrics *out, costeer_error *err)
{
    const double none = (double)NAN;
    *out = (costeer_metrics){none, none, none, none, none, none, none, none, none, none};
    if (inputs->answer == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "metrics", "there is no answer to measure; an empty one is \"\"");
    }
    bool has_reference = inputs->reference != NULL && !is_blank(inputs->reference);
    bool ok = measure_words(inputs, has_reference, out);
    if (has_reference) {
        ok =
            ok && rouge(inputs->answer, inputs->reference, out) && cs_metrics_bleu(inputs->answer, inputs->reference, &out->bleu);
    }
    if (!ok) {
        return cs_error_set(err, COSTEER_ENOMEM, "metrics", "out of memory while an answer was measured");
    }
    out->fact_recall = fact_recall(inputs);
    return COSTEER_OK;
}
