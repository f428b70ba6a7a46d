/*
 * POST /v1/completions, as vLLM and other OpenAI-compatible servers have it. vLLM is asked to name tokens by id ("token_id:9" in
 * the place of texts, vllm/entrypoints/openai); others give the legacy object of texts, ids beside them (Fireworks), or the newer
 * list of objects with bytes. A batch of prompts, one prefix longer than the other, scores drafts: each is a request of its own
 * to vLLM.
 */
#include "cloud/api_dialect.h"
#include "util/parse.h"

#include <string.h>

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static json_t *write_prompt(const cs_api_ask *ask)
{
    if (ask->n_drafts == 0) {
        return cs_api_json_ids(ask->tokens, ask->n_tokens);
    }
    json_t *prompts = json_array();
    for (size_t n = ask->n_tokens - (size_t)ask->n_drafts; prompts != NULL && n <= ask->n_tokens; n++) {
        if (json_array_append_new(prompts, cs_api_json_ids(ask->tokens, n)) != 0) {
            json_decref(prompts);
            return NULL;
        }
    }
    return prompts;
}

static json_t *write_with(const cs_api_setting *setting, const cs_api_ask *ask, int logprobs)
{
    return json_pack("{s:s, s:o, s:i, s:i, s:i, s:b}", "model", setting->model, "prompt", write_prompt(ask), "max_tokens",
                     (int)ask->n_predict, "temperature", ask->is_probe ? 1 : 0, "logprobs", logprobs, "stream",
                     (int)ask->is_stream);
}

static json_t *write(const cs_api_setting *setting, const cs_api_ask *ask)
{
    return write_with(setting, ask, (int)ask->top_k);
}

/* −1 is the whole output: as many entries as the vocabulary has tokens could miss some, in the place of which ids come that pad
 * it.
 *
 * What a model's generation_config.json brings by default would make vLLM's own choice another one than the best. */
static json_t *write_vllm(const cs_api_setting *setting, const cs_api_ask *ask)
{
    json_t *body = write_with(setting, ask, ask->wants_all ? -1 : (int)ask->top_k);
    json_t *more =
        json_pack("{s:b, s:b, s:f, s:f, s:f, s:f, s:i, s:f, s:b, s:b, s:b}", "return_tokens_as_token_ids", 1, "return_token_ids",
                  1, "repetition_penalty", 1.0, "presence_penalty", 0.0, "frequency_penalty", 0.0, "top_p", 1.0, "top_k", -1,
                  "min_p", 0.0, "ignore_eos", (int)ask->ignores_end, "skip_special_tokens", 0, "add_special_tokens", 0);
    const bool ok = body != NULL && more != NULL && json_object_update(body, more) == 0;
    json_decref(more);
    if (!ok) {
        json_decref(body);
        return NULL;
    }
    return body;
}

/* ---- reading: which token ---------------------------------------------------------------------------------------- */

/* "token_id:9", or a text. */
static costeer_err find_token(const cs_api_setting *setting, const char *name, size_t n, cs_api_reading *out, int64_t *id,
                              costeer_error *err)
{
    static const char prefix[] = "token_id:";
    if (strncmp(name, prefix, sizeof prefix - 1) == 0) {
        out->has_ids = true;
        return cs_parse_int64(name + sizeof prefix - 1, id) == CS_PARSE_OK && *id >= 0
                   ? COSTEER_OK
                   : cs_api_json_refuse("logprobs", "a token_id: without a number", err);
    }
    int32_t token = -1;
    const costeer_err code = cs_api_spelling_find(setting->spelling, name, n, &token, err);
    *id = token;
    return code;
}

/* An element of the newer list, or of its top_logprobs: by id, by bytes, or by text. */
static costeer_err find_object(const cs_api_setting *setting, const json_t *object, cs_api_reading *out, int64_t *id,
                               costeer_error *err)
{
    const json_t *named = json_object_get(object, "token_id"); /* Fireworks */
    named = named != NULL ? named : json_object_get(object, "id");
    if (named != NULL && !json_is_null(named)) {
        out->has_ids = true;
        return cs_api_json_int(named, "logprobs: token_id", 0, INT32_MAX, id, err);
    }
    const json_t *bytes = json_object_get(object, "bytes");
    int32_t token = -1;
    costeer_err code = COSTEER_OK;
    if (json_array_size(bytes) > COSTEER_PIECE_MAX) {
        return cs_api_json_refuse("logprobs: bytes", "more than a token has", err);
    }
    if (json_array_size(bytes) > 0) {
        char text[COSTEER_PIECE_MAX];
        size_t n = 0;
        for (; code == COSTEER_OK && n < json_array_size(bytes); n++) {
            int64_t byte = 0;
            code = cs_api_json_int(json_array_get(bytes, n), "logprobs: bytes", 0, 255, &byte, err);
            text[n] = (char)byte;
        }
        code = code == COSTEER_OK ? cs_api_spelling_find_bytes(setting->spelling, text, n, &token, err) : code;
    } else {
        const json_t *text = json_object_get(object, "token");
        if (!json_is_string(text)) {
            return cs_api_json_refuse("logprobs: token", "missing or no text", err);
        }
        return find_token(setting, json_string_value(text), json_string_length(text), out, id, err);
    }
    *id = token;
    return code;
}

/* ---- reading: one position --------------------------------------------------------------------------------------- */

/* {"token_id:9": -1.2, …} or {"text": -1.2, …} */
static costeer_err read_map(const cs_api_setting *setting, const json_t *map, cs_api_reading *out, costeer_error *err)
{
    const char *key;
    json_t *value;
    costeer_err code = COSTEER_OK;
    json_object_foreach((json_t *)map, key, value) /* it is not changed */
    {
        int64_t id = 0;
        double logprob = 0;
        code = find_token(setting, key, strlen(key), out, &id, err);
        code = code == COSTEER_OK ? cs_api_json_number(value, "top_logprobs", &logprob, err) : code;
        code = code == COSTEER_OK ? cs_api_positions_add(out->positions, id, logprob, err) : code;
        if (code != COSTEER_OK) {
            break;
        }
    }
    return code;
}

/* [{"token", "bytes", "logprob"}, …] */
static costeer_err read_list(const cs_api_setting *setting, const json_t *list, cs_api_reading *out, costeer_error *err)
{
    size_t i;
    const json_t *entry;
    costeer_err code = COSTEER_OK;
    json_array_foreach(list, i, entry)
    {
        int64_t id = 0;
        double logprob = 0;
        code = find_object(setting, entry, out, &id, err);
        code = code == COSTEER_OK ? cs_api_json_number(json_object_get(entry, "logprob"), "top_logprobs: logprob", &logprob, err)
                                  : code;
        code = code == COSTEER_OK ? cs_api_positions_add(out->positions, id, logprob, err) : code;
        if (code != COSTEER_OK) {
            break;
        }
    }
    return code;
}

static costeer_err read_top(const cs_api_setting *setting, const json_t *top, cs_api_reading *out, costeer_error *err)
{
    cs_api_positions_begin(out->positions);
    if (json_is_object(top)) {
        return read_map(setting, top, out, err);
    }
    return json_is_array(top) ? read_list(setting, top, out, err)
                              : cs_api_json_refuse("top_logprobs", "neither an object nor a list", err);
}

/* ---- reading: a choice ------------------------------------------------------------------------------------------- */

/* {"tokens": […], "top_logprobs": [{…}, …], maybe "token_ids": […]} */
static costeer_err read_legacy(const cs_api_setting *setting, const cs_api_ask *ask, const json_t *choice, const json_t *logprobs,
                               cs_api_reading *out, costeer_error *err)
{
    const json_t *tokens;
    const json_t *tops;
    costeer_err code = cs_api_json_member(logprobs, "tokens", JSON_ARRAY, &tokens, err);
    code = code == COSTEER_OK ? cs_api_json_member(logprobs, "top_logprobs", JSON_ARRAY, &tops, err) : code;
    if (code == COSTEER_OK && json_array_size(tokens) != json_array_size(tops)) {
        return cs_api_json_refuse("top_logprobs", "not as many as tokens", err);
    }
    const json_t *ids = json_object_get(logprobs, "token_ids");
    ids = json_array_size(ids) == json_array_size(tokens) ? ids : json_object_get(choice, "token_ids");
    const bool has_ids = json_array_size(ids) == json_array_size(tokens);
    for (size_t i = 0; code == COSTEER_OK && i < json_array_size(tokens); i++) {
        const json_t *name = json_array_get(tokens, i);
        int64_t own = -1;
        if (has_ids) {
            code = cs_api_json_int(json_array_get(ids, i), "token_ids", 0, INT32_MAX, &own, err);
        } else {
            code = json_is_string(name) ? find_token(setting, json_string_value(name), json_string_length(name), out, &own, err)
                                        : cs_api_json_refuse("tokens", "no text", err);
        }
        code = code == COSTEER_OK ? read_top(setting, json_array_get(tops, i), out, err) : code;
        code = code == COSTEER_OK ? cs_api_positions_end(out->positions, own, ask->top_k, err) : code;
        out->n_read++;
    }
    return code;
}

/* {"content": [{"token", "bytes", "logprob", "top_logprobs"}, …]} */
static costeer_err read_content(const cs_api_setting *setting, const cs_api_ask *ask, const json_t *content, cs_api_reading *out,
                                costeer_error *err)
{
    size_t i;
    const json_t *token;
    costeer_err code = COSTEER_OK;
    json_array_foreach(content, i, token)
    {
        int64_t own = -1;
        code = find_object(setting, token, out, &own, err);
        code = code == COSTEER_OK ? read_top(setting, json_object_get(token, "top_logprobs"), out, err) : code;
        code = code == COSTEER_OK ? cs_api_positions_end(out->positions, own, ask->top_k, err) : code;
        out->n_read++;
        if (code != COSTEER_OK) {
            break;
        }
    }
    return code;
}

/* Where nothing was read: an event that tells of no token is passed over, but not one whose tokens are not told of. */
static costeer_err check_silence(const json_t *choice, bool has_ended, costeer_error *err)
{
    const json_t *text = json_object_get(choice, "text");
    if (!json_is_string(text) && !has_ended) {
        return cs_api_json_refuse("choices", "neither text nor log-probabilities nor an end in one", err);
    }
    return json_string_length(text) > 0 || (!has_ended && json_array_size(json_object_get(choice, "token_ids")) > 0)
               ? cs_api_json_refuse("logprobs", "missing: the engine answers with text only, and cannot be steered", err)
               : COSTEER_OK;
}

static costeer_err read_choice(const cs_api_setting *setting, const cs_api_ask *ask, const json_t *choice, cs_api_reading *out,
                               costeer_error *err)
{
    const json_t *logprobs = json_object_get(choice, "logprobs");
    const int32_t n_before = out->n_read;
    costeer_err code = COSTEER_OK;
    out->has_ended = json_is_string(json_object_get(choice, "finish_reason"));
    if (logprobs != NULL && !json_is_null(logprobs)) {
        const json_t *content = json_object_get(logprobs, "content");
        code = json_is_array(content) ? read_content(setting, ask, content, out, err)
                                      : read_legacy(setting, ask, choice, logprobs, out, err);
    }
    return code == COSTEER_OK && out->n_read == n_before ? check_silence(choice, out->has_ended, err) : code;
}

/* ---- reading: an answer ------------------------------------------------------------------------------------------ */

/* The choices of a batch come in any order; each has one position. */
static costeer_err read_batch(const cs_api_setting *setting, const cs_api_ask *ask, const json_t *choices, cs_api_reading *out,
                              costeer_error *err)
{
    costeer_err code = json_array_size(choices) == (size_t)ask->n_drafts + 1
                           ? COSTEER_OK
                           : cs_api_json_refuse("choices", "not as many as prompts", err);
    for (int32_t wanted = 0; code == COSTEER_OK && wanted <= ask->n_drafts; wanted++) {
        const json_t *found = NULL;
        size_t i;
        const json_t *choice;
        json_array_foreach(choices, i, choice)
        {
            found = cs_api_json_int_or(choice, "index", -1) == wanted ? choice : found;
        }
        code = found != NULL ? read_choice(setting, ask, found, out, err)
                             : cs_api_json_refuse("choices: index", "one is missing", err);
        if (code == COSTEER_OK && out->n_read != wanted + 1) {
            code = cs_api_json_refuse("choices", "one does not have one position", err);
        }
    }
    out->has_ended = true;
    return code;
}

static costeer_err read(const cs_api_setting *setting, const cs_api_ask *ask, const json_t *answer, cs_api_reading *out,
                        costeer_error *err)
{
    const json_t *choices;
    const costeer_err code = cs_api_json_member(answer, "choices", JSON_ARRAY, &choices, err);
    const json_t *usage = json_object_get(answer, "usage");
    if (code != COSTEER_OK) {
        return code;
    }
    out->n_prompt = cs_api_json_int_or(usage, "prompt_tokens", out->n_prompt);
    out->n_cached = cs_api_json_int_or(json_object_get(usage, "prompt_tokens_details"), "cached_tokens", out->n_cached);
    if (ask->n_drafts > 0) {
        return read_batch(setting, ask, choices, out, err);
    }
    const json_t *choice = json_array_get(choices, 0);
    if (choice == NULL) { /* the last event may have the usage only */
        return usage != NULL ? COSTEER_OK : cs_api_json_refuse("choices", "empty", err);
    }
    return json_is_object(choice) ? read_choice(setting, ask, choice, out, err)
                                  : cs_api_json_refuse("choices", "no object in it", err);
}

const cs_api_dialect cs_api_vllm = {.kind = COSTEER_ENGINE_VLLM,
                                    .name = "vLLM",
                                    .scheme = "vllm",
                                    .path = "/v1/completions",
                                    .can_score = true,
                                    .more_k = "start vLLM with a larger --max-logprobs (-1: no limit)",
                                    .write = write_vllm,
                                    .read = read};

const cs_api_dialect cs_api_openai = {.kind = COSTEER_ENGINE_OPENAI,
                                      .name = "OpenAI-compatible",
                                      .scheme = "openai",
                                      .path = "/v1/completions",
                                      .more_k = "the engine's own settings say how many it gives",
                                      .write = write,
                                      .read = read};
