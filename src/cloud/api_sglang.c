/*
 * SGLang's POST /generate (sglang/srt/managers/io_struct.py and tokenizer_manager.py). Entries are [logprob, id, text].
 *
 * One request scores all drafts: input_top_logprobs are distributions of prompt positions from logprob_start_len on, the first of
 * which has none; the one behind the last draft is the output's. logprob_start_len is the last token before the drafts: from
 * there on is computed again, whatever the radix cache holds. A stream repeats everything it has told so far with every event
 * unless the server is started otherwise; completion_tokens tells how much is new.
 */
#include "cloud/api_dialect.h"
#include "util/error.h"

#include <string.h>

static json_t *write(const cs_api_setting *setting, const cs_api_ask *ask)
{
    (void)setting;
    const bool scores = ask->n_drafts > 0;
    json_t *body =
        json_pack("{s:o, s:b, s:i, s:b, s:{s:i, s:i, s:b, s:b}}", "input_ids", cs_api_json_ids(ask->tokens, ask->n_tokens),
                  "return_logprob", 1, "top_logprobs_num", (int)ask->top_k, "stream", (int)ask->is_stream, "sampling_params",
                  "max_new_tokens", (int)ask->n_predict, "temperature", ask->is_probe ? 1 : 0, "ignore_eos",
                  (int)ask->ignores_end, "skip_special_tokens", 0);
    const json_int_t start = (json_int_t)(ask->n_tokens - (size_t)ask->n_drafts) - 1;
    if (body != NULL && scores && json_object_set_new(body, "logprob_start_len", json_integer(start)) != 0) {
        json_decref(body);
        return NULL;
    }
    return body;
}

/* [logprob, id, text or null] */
static costeer_err read_entry(const json_t *entry, const char *where, double *value, int64_t *id, costeer_error *err)
{
    const costeer_err code = json_array_size(entry) >= 2 ? cs_api_json_number(json_array_get(entry, 0), where, value, err)
                                                         : cs_api_json_refuse(where, "an entry is no [logprob, id]", err);
    return code == COSTEER_OK ? cs_api_json_int(json_array_get(entry, 1), where, 0, INT32_MAX, id, err) : code;
}

static costeer_err read_position(const cs_api_ask *ask, const json_t *top, int64_t own, cs_api_reading *out, costeer_error *err)
{
    static const char where[] = "top_logprobs";
    costeer_err code = json_is_array(top) ? COSTEER_OK : cs_api_json_refuse(where, "a position has no list", err);
    double best = 0;
    int64_t first = -1;
    size_t i;
    const json_t *entry;
    cs_api_positions_begin(out->positions);
    json_array_foreach(top, i, entry)
    {
        double value = 0;
        int64_t id = 0;
        code = read_entry(entry, where, &value, &id, err);
        code = code == COSTEER_OK ? cs_api_positions_add(out->positions, id, value, err) : code;
        if (code != COSTEER_OK) {
            return code;
        }
        if (first < 0 || value > best) {
            first = id;
            best = value;
        }
    }
    out->n_read++;
    return code == COSTEER_OK ? cs_api_positions_end(out->positions, own >= 0 ? own : first, ask->top_k, err) : code;
}

/* The drafts' distributions: those of the prompt's positions behind the first one, which is told without. */
static costeer_err read_drafts(const cs_api_ask *ask, const json_t *meta, cs_api_reading *out, costeer_error *err)
{
    const json_t *tops;
    costeer_err code = cs_api_json_member(meta, "input_top_logprobs", JSON_ARRAY, &tops, err);
    const size_t n = json_array_size(tops);
    if (code == COSTEER_OK && n < (size_t)ask->n_drafts) {
        return cs_api_json_refuse("input_top_logprobs", "fewer positions than drafts", err);
    }
    for (size_t i = n - (size_t)ask->n_drafts; code == COSTEER_OK && i < n; i++) {
        code = read_position(ask, json_array_get(tops, i), -1, out, err);
    }
    return code;
}

/* Output positions from `from` on. */
static costeer_err read_output(const cs_api_ask *ask, const json_t *tokens, const json_t *tops, size_t from, cs_api_reading *out,
                               costeer_error *err)
{
    costeer_err code = COSTEER_OK;
    for (size_t i = from; code == COSTEER_OK && i < json_array_size(tops); i++) {
        double value = 0;
        int64_t own = -1;
        code = read_entry(json_array_get(tokens, i), "output_token_logprobs", &value, &own, err);
        code = code == COSTEER_OK ? read_position(ask, json_array_get(tops, i), own, out, err) : code;
    }
    return code;
}

/* What is written in the place of an error: a request that is given up ends with a reason of its own. A status below 500 is for
 * what was asked, else it may pass. */
static costeer_err check_end(const json_t *finish, cs_api_reading *out, costeer_error *err)
{
    const char *type = json_string_value(json_object_get(finish, "type"));
    if (type == NULL || strcmp(type, "abort") != 0) {
        return COSTEER_OK;
    }
    char message[200];
    cs_api_json_message(finish, message, sizeof message);
    out->may_pass = cs_api_json_int_or(finish, "status_code", 500) >= 500;
    return cs_error_set(err, COSTEER_ECLOUD, "cloud", "SGLang gave the answer up: %s",
                        message[0] != '\0' ? message : "it does not say why");
}

static costeer_err read(const cs_api_setting *setting, const cs_api_ask *ask, const json_t *answer, cs_api_reading *out,
                        costeer_error *err)
{
    (void)setting;
    const json_t *meta;
    const json_t *tokens;
    const json_t *tops;
    costeer_err code = cs_api_json_member(answer, "meta_info", JSON_OBJECT, &meta, err);
    if (code != COSTEER_OK) {
        return code;
    }
    code = check_end(json_object_get(meta, "finish_reason"), out, err);
    if (code != COSTEER_OK) {
        return code;
    }
    out->has_ids = true;
    out->has_ended = json_is_object(json_object_get(meta, "finish_reason"));
    out->n_prompt = cs_api_json_int_or(meta, "prompt_tokens", -1);
    out->n_cached = cs_api_json_int_or(meta, "cached_tokens", -1);
    code = ask->n_drafts > 0 ? read_drafts(ask, meta, out, err) : COSTEER_OK;
    tops = json_object_get(meta, "output_top_logprobs");
    if (code != COSTEER_OK || (tops == NULL && cs_api_json_int_or(meta, "completion_tokens", 0) == 0)) {
        return code; /* nothing has been generated yet */
    }
    if (tops == NULL) {
        return cs_api_json_refuse("output_top_logprobs", "missing: the engine answers with text only, and cannot be steered",
                                  err);
    }
    code = cs_api_json_member(meta, "output_token_logprobs", JSON_ARRAY, &tokens, err);
    code = code == COSTEER_OK ? cs_api_json_member(meta, "output_top_logprobs", JSON_ARRAY, &tops, err) : code;
    const size_t n = json_array_size(tops);
    if (code == COSTEER_OK && json_array_size(tokens) != n) {
        return cs_api_json_refuse("output_top_logprobs", "not as many as tokens", err);
    }
    /* what is new stands at the end, whether the event repeats what was told before or not: only this number tells which */
    const int64_t n_before = (int64_t)out->n_read - ask->n_drafts;
    int64_t n_told = 0;
    code = code == COSTEER_OK
               ? cs_api_json_int(json_object_get(meta, "completion_tokens"), "completion_tokens", 0, INT32_MAX, &n_told, err)
               : code;
    const int64_t n_new = n_told - n_before;
    if (code == COSTEER_OK && (n_new < 0 || n_new > (int64_t)n)) {
        return cs_api_json_refuse("completion_tokens", "does not go with output_top_logprobs", err);
    }
    out->tells_once = out->tells_once || (n_before > 0 && n > 0 && n_new == (int64_t)n);
    return code == COSTEER_OK ? read_output(ask, tokens, tops, n - (size_t)n_new, out, err) : code;
}

const cs_api_dialect cs_api_sglang = {.kind = COSTEER_ENGINE_SGLANG,
                                      .name = "SGLang",
                                      .scheme = "sglang",
                                      .path = "/generate",
                                      .can_score = true,
                                      .more_k = "see SGLang's limits on top_logprobs_num",
                                      .write = write,
                                      .read = read};
