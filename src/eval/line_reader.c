/* What a reader sees in an answer, as members of its line. */
#include "eval/eval_internal.h"
#include "eval/unknown_words.h"
#include "util/error.h"

#include <math.h>
#include <stdlib.h>

static costeer_err no_memory(costeer_error *err)
{
    return cs_error_set(err, COSTEER_ENOMEM, "eval", "no memory for a result");
}

static int set_number(json_t *object, const char *name, double value)
{
    return json_object_set_new(object, name, isfinite(value) ? json_real(value) : json_null());
}

/* is_stated: [n_parts] */
static costeer_err compute(const costeer_eval_row *row, const char *answer, bool is_cut, bool *is_stated,
                           costeer_reader_metrics *out, costeer_error *err)
{
    costeer_fact *facts = calloc(row->n_parts + 1, sizeof *facts);
    if (facts == NULL) {
        return no_memory(err);
    }
    for (size_t i = 0; i < row->n_parts; i++) {
        const costeer_eval_part *part = &row->parts[i];
        facts[i] = (costeer_fact){.label = part->label, .strings = part->strings, .n_strings = part->n_strings};
    }
    const costeer_reader_inputs inputs = {.answer = answer,
                                          .is_cut = is_cut,
                                          .context = row->context,
                                          .facts = facts,
                                          .n_facts = row->n_parts,
                                          .is_stated = is_stated,
                                          .writer = (const char *const *)row->writer,
                                          .n_writer = row->n_writer,
                                          .addressee = (const char *const *)row->addressee,
                                          .n_addressee = row->n_addressee};
    const costeer_err code = costeer_reader_metrics_compute(&inputs, out, err);
    free(facts);
    return code;
}

/* Counts of facts, and which are stated, by their places from 0; null for rows without labelled parts. */
static json_t *facts_of(const costeer_eval_row *row, const bool *is_stated, const costeer_reader_metrics *m)
{
    if (row->n_parts == 0) {
        return json_null();
    }
    json_t *stated = json_array();
    for (size_t i = 0; i < row->n_parts; i++) {
        if (is_stated[i] && json_array_append_new(stated, json_integer((json_int_t)i)) != 0) {
            json_decref(stated);
            return NULL;
        }
    }
    return json_pack("{s:I, s:I, s:I, s:I, s:o}", "needed", (json_int_t)m->n_needed, "needed_stated",
                     (json_int_t)m->n_needed_stated, "inappropriate", (json_int_t)m->n_inappropriate, "inappropriate_stated",
                     (json_int_t)m->n_inappropriate_stated, "stated", stated);
}

costeer_err cs_eval_line_add_reader(const costeer_eval *eval, const costeer_eval_row *row, const char *answer, bool is_cut,
                                    json_t *line, json_t *metrics, costeer_error *err)
{
    costeer_reader_metrics m = {.n_needed = 0};
    bool *is_stated = calloc(row->n_parts + 1, sizeof *is_stated);
    if (is_stated == NULL) {
        return no_memory(err);
    }
    const costeer_err code = compute(row, answer, is_cut, is_stated, &m, err);
    json_t *facts = code == COSTEER_OK ? facts_of(row, is_stated, &m) : NULL;
    free(is_stated);
    if (code != COSTEER_OK) {
        return code;
    }
    const char *const texts[] = {row->context, row->query};
    json_t *unknown = NULL;
    int failed = json_object_set_new(line, "facts", facts);
    if (!cs_unknown_words_list(&eval->vocab_words, answer, texts, 2, &unknown)) {
        return no_memory(err);
    }
    failed |= json_object_set_new(line, "unknown_words", unknown);
    failed |= set_number(metrics, "completeness", m.completeness);
    failed |= set_number(metrics, "violations", m.violations);
    failed |= set_number(metrics, "salutation", m.salutation);
    failed |= set_number(metrics, "signature", m.signature);
    failed |= set_number(metrics, "seq_rep_4", m.seq_rep_4);
    failed |= set_number(metrics, "copied_run", m.copied_run);
    return failed == 0 ? COSTEER_OK : no_memory(err);
}
