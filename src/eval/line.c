/*
 * A line of results.jsonl: what a row and an item gave, measured. Nothing in it depends on the clock, so that a run that was
 * interrupted ends with the same bytes. Made on the thread that delivers, where the judge is used too.
 */
#include "eval/eval_internal.h"
#include "eval/pairwise.h"
#include "util/error.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

/* ---- measuring --------------------------------------------------------------------------------------------------- */

static costeer_err judge(const costeer_eval *eval, const costeer_eval_row *row, const cs_eval_answer *answer, json_t **out,
                         costeer_error *err)
{
    cs_judgement judgement = {.n_tokens = 0};
    costeer_err code = COSTEER_OK;
    if (eval->judge != NULL) {
        char *message = costeer_eval_row_message(row);
        const costeer_prompt prompt = cs_fit_make_prompt(&eval->fit, row, message, true);
        code = message == NULL ? cs_error_set(err, COSTEER_ENOMEM, "judge", "no memory for a prompt")
                               : cs_judge_answer(eval->judge, &prompt, answer->text.bytes, answer->text.n_bytes,
                                                 answer->report.finish == COSTEER_FINISH_END, &judgement, err);
        free(message);
    }
    *out = judgement.n_tokens > 0 ? json_pack("{s:f, s:i}", "logprob", judgement.logprob, "n_tokens", (int)judgement.n_tokens)
                                  : json_null();
    return code;
}

/* Which answer is better, as far as that is asked. */
static costeer_err compare(const costeer_eval *eval, const costeer_eval_row *row, const cs_eval_answer *answer, json_t **out,
                           costeer_error *err)
{
    double wins = (double)NAN;
    costeer_err code = COSTEER_OK;
    if (answer->against != NULL) {
        const char *text = answer->text.n_bytes > 0 ? answer->text.bytes : "";
        code = cs_pairwise_judge(eval->judge, &eval->fit.form, row, text, answer->against, &wins, err);
    }
    *out = isnan(wins) ? json_null() : json_pack("{s:s, s:f}", "against", eval->items[0].label, "wins", wins);
    return code;
}

static costeer_err measure(const costeer_eval_row *row, const cs_eval_answer *answer, json_t **out, costeer_error *err)
{
    const costeer_metrics_inputs inputs = {.answer = answer->text.bytes != NULL ? answer->text.bytes : "",
                                           .reference = row->reference,
                                           .context = row->context,
                                           .query = row->query,
                                           .facts = (const char *const *)row->facts,
                                           .n_facts = row->n_facts};
    costeer_metrics m;
    const costeer_err code = costeer_metrics_compute(&inputs, &m, err);
    if (code != COSTEER_OK) {
        return code;
    }
    *out = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "rouge1", number(m.rouge1), "rouge2", number(m.rouge2),
                     "rougeL", number(m.rougeL), "bleu", number(m.bleu), "meteor", number(m.meteor), "length_ratio",
                     number(m.length_ratio), "distinct1", number(m.distinct1), "distinct2", number(m.distinct2), "context_recall",
                     number(m.context_recall), "fact_recall", number(m.fact_recall));
    return COSTEER_OK;
}

/* ---- the line ---------------------------------------------------------------------------------------------------- */

static int set_item(json_t *object, const costeer_eval_item *item)
{
    int failed = json_object_set_new(object, "label", json_string(item->label));
    failed |= json_object_set_new(object, "method", json_string(item->method->name));
    failed |= json_object_set_new(object, "parameter", item->parameter != NULL ? json_string(item->parameter) : json_null());
    failed |= json_object_set_new(object, "value", item->parameter != NULL ? number(item->value) : json_null());
    failed |= json_object_set_new(object, "strength", number(item->strength));
    failed |= json_object_set_new(object, "shows_context", json_boolean(costeer_method_shows_context(item->method)));
    return failed;
}

static int set_answer(json_t *object, const cs_eval_answer *answer)
{
    const costeer_report *r = &answer->report;
    const struct {
        const char *name;
        int32_t value;
    } counts[] = {{"n_tokens", r->n_tokens},           {"n_reasoning", r->n_reasoning},
                  {"n_steered", r->n_steered},         {"n_gated", r->n_gated},
                  {"n_slm_steps", r->n_slm_steps},     {"n_slm_tokens", r->n_slm_tokens},
                  {"n_uncertified", r->n_uncertified}, {"n_near_ties", r->n_near_ties}};
    const char *text = answer->text.n_bytes > 0 ? answer->text.bytes : "";
    int failed = json_object_set_new(object, "answer", json_stringn(text, answer->text.n_bytes));
    if (answer->reasoning.n_bytes > 0) {
        failed |= json_object_set_new(object, "reasoning", json_stringn(answer->reasoning.bytes, answer->reasoning.n_bytes));
    }
    failed |= json_object_set_new(object, "finish", json_string(costeer_finish_name(r->finish)));
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        failed |= json_object_set_new(object, counts[i].name, json_integer(counts[i].value));
    }
    return failed;
}

/* What was chosen of the row's context: counts of parts, and of the labelled ones how many of each label, and how many are used.
 */
static json_t *describe_choice(const costeer_eval_row *row)
{
    static const char *const names[] = {"needed", "fine", "inappropriate"};
    if (row->chosen == NULL) {
        return json_null();
    }
    json_t *object = json_pack("{s:I, s:I}", "used", (json_int_t)row->n_used, "left", (json_int_t)row->n_left);
    for (size_t label = 0; label < 3 && row->is_chosen != NULL; label++) {
        json_int_t n = 0;
        json_int_t n_chosen = 0;
        for (size_t i = 0; i < row->n_parts; i++) {
            const bool is_one = row->parts[i].label == (costeer_fact_label)label;
            n += is_one ? 1 : 0;
            n_chosen += is_one && row->is_chosen[i] ? 1 : 0;
        }
        (void)json_object_set_new(object, names[label], json_pack("[I, I]", n_chosen, n));
    }
    return object;
}

costeer_err cs_eval_line_make(const costeer_eval *eval, const costeer_eval_row *row, const costeer_eval_item *item,
                              const cs_eval_answer *answer, char **line, costeer_error *err)
{
    json_t *judged = NULL;
    json_t *metrics = NULL;
    json_t *compared = NULL;
    *line = NULL;
    costeer_err code = judge(eval, row, answer, &judged, err);
    code = code == COSTEER_OK ? compare(eval, row, answer, &compared, err) : code;
    code = code == COSTEER_OK ? measure(row, answer, &metrics, err) : code;
    if (code != COSTEER_OK) {
        json_decref(judged);
        json_decref(compared);
        return code;
    }
    json_t *object = json_object();
    const char *text = answer->text.n_bytes > 0 ? answer->text.bytes : "";
    const bool is_cut = answer->report.finish == COSTEER_FINISH_LENGTH;
    int failed = json_object_set_new(object, "row", json_string(row->id));
    failed |= json_object_set_new(object, "line", json_integer(row->line));
    failed |= set_item(object, item);
    failed |= set_answer(object, answer);
    failed |= json_object_set_new(object, "truncated", json_boolean(row->n_cut > 0));
    failed |= json_object_set_new(object, "choice", describe_choice(row));
    failed |= json_object_set_new(object, "exposure", number(answer->exposure));
    failed |= json_object_set_new(object, "judge", judged);
    failed |= json_object_set_new(object, "pairwise", compared);
    code = cs_eval_line_add_reader(eval, row, text, is_cut, object, metrics, err);
    failed |= json_object_set_new(object, "metrics", metrics);
    if (code != COSTEER_OK) {
        json_decref(object);
        return code;
    }
    *line = failed == 0 ? json_dumps(object, 0) : NULL;
    json_decref(object);
    return *line != NULL ? COSTEER_OK : cs_error_set(err, COSTEER_ENOMEM, "eval", "no memory for a result");
}
