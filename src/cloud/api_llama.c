/*
 * llama-server's POST /completion (llama.cpp v0.5.0, tools/server/README.md and server-context.cpp).
 *
 * Log-probabilities are those of the untouched logits, whatever the samplers do, and n_probs has no limit. A token that ends
 * inside a UTF-8 character is held back until the character is whole, and then only the last token's distribution comes:
 * tokens_predicted tells that some are missing. A single position is therefore asked for with the choice forced to an ASCII
 * token, which is never held back.
 */
#include "cloud/api_dialect.h"

#include <math.h>

/* The number of logits' units that the forced token is raised by. Above any logit, and far from float's end. */
#define FORCING_BIAS 1e6

/* Ids that pad a model's output beyond its vocabulary come among the best; at most so many (api_positions.c). The server gives
 * what there is. */
#define PADDING_MAX 4096

static json_t *write(const cs_api_setting *setting, const cs_api_ask *ask)
{
    json_t *body =
        json_pack("{s:o, s:i, s:i, s:b, s:i, s:b, s:i, s:[s], s:i, s:b}", "prompt", cs_api_json_ids(ask->tokens, ask->n_tokens),
                  "n_predict", (int)ask->n_predict, "n_probs", (int)ask->top_k + (ask->wants_all ? PADDING_MAX : 0), "stream",
                  (int)ask->is_stream, "id_slot", (int)ask->slot, "cache_prompt", 1, "temperature", ask->is_probe ? 1 : 0,
                  "samplers", "top_k", "top_k", 1, "return_tokens", 1);
    const bool is_forced = !ask->is_stream && ask->n_predict == 1 && setting->ascii_token >= 0;
    if (body != NULL && is_forced &&
        json_object_set_new(body, "logit_bias", json_pack("[[i, f]]", (int)setting->ascii_token, FORCING_BIAS)) != 0) {
        json_decref(body);
        return NULL;
    }
    return body;
}

static costeer_err read_entries(const json_t *entries, cs_api_positions *positions, costeer_error *err)
{
    size_t i;
    const json_t *entry;
    costeer_err code = COSTEER_OK;
    cs_api_positions_begin(positions);
    json_array_foreach(entries, i, entry)
    {
        int64_t id = 0;
        double value = 0;
        code = cs_api_json_int(json_object_get(entry, "id"), "top_logprobs: id", 0, INT32_MAX, &id, err);
        code = code == COSTEER_OK ? cs_api_json_number(json_object_get(entry, "logprob"), "top_logprobs: logprob", &value, err)
                                  : code;
        code = code == COSTEER_OK ? cs_api_positions_add(positions, id, value, err) : code;
        if (code != COSTEER_OK) {
            return code;
        }
    }
    return code;
}

/* The element of completion_probabilities that belongs to one token. */
static costeer_err read_token(const cs_api_setting *setting, const cs_api_ask *ask, const json_t *token, cs_api_reading *out,
                              costeer_error *err)
{
    const json_t *entries;
    int64_t id = 0;
    costeer_err code = cs_api_json_int(json_object_get(token, "id"), "completion_probabilities: id", 0, INT32_MAX, &id, err);
    code = code == COSTEER_OK ? cs_api_json_member(token, "top_logprobs", JSON_ARRAY, &entries, err) : code;
    code = code == COSTEER_OK ? read_entries(entries, out->positions, err) : code;
    if (code != COSTEER_OK) {
        return code;
    }
    if (!ask->is_stream && ask->n_predict == 1 && setting->ascii_token >= 0) {
        id = cs_api_json_int_or(json_array_get(entries, 0), "id", -1); /* what it would have taken unforced */
    }
    out->n_read++;
    return cs_api_positions_end(out->positions, id, ask->top_k, err);
}

/* Those that were held back stand before the one that the event is about. */
static costeer_err skip_held_back(const cs_api_ask *ask, int64_t n_predicted, cs_api_reading *out, costeer_error *err)
{
    costeer_err code =
        n_predicted <= ask->n_predict ? COSTEER_OK : cs_api_json_refuse("tokens_predicted", "more than were asked for", err);
    while (code == COSTEER_OK && out->n_read + 1 < n_predicted) {
        out->n_read++;
        code = cs_api_positions_skip(out->positions, err);
    }
    return code;
}

static costeer_err read(const cs_api_setting *setting, const cs_api_ask *ask, const json_t *answer, cs_api_reading *out,
                        costeer_error *err)
{
    const json_t *tokens = json_object_get(answer, "completion_probabilities");
    out->has_ids = true;
    out->has_ended = json_is_true(json_object_get(answer, "stop"));
    if (out->has_ended) {
        out->slot = (int32_t)cs_api_json_int_or(answer, "id_slot", -1);
        out->n_prompt = cs_api_json_int_or(answer, "tokens_evaluated", -1);
        out->n_cached = cs_api_json_int_or(json_object_get(answer, "timings"), "cache_n", -1);
    }
    if (tokens == NULL && (out->has_ended || json_object_get(answer, "content") != NULL)) {
        if (!out->has_ended && json_array_size(json_object_get(answer, "tokens")) > 0) {
            return cs_api_json_refuse("completion_probabilities", "missing: the engine tells tokens without probabilities", err);
        }
        return COSTEER_OK;
    }
    costeer_err code = json_is_array(tokens) ? COSTEER_OK : cs_api_json_refuse("completion_probabilities", "no array", err);
    size_t i;
    const json_t *token;
    json_array_foreach(tokens, i, token)
    {
        const bool is_last = i + 1 == json_array_size(tokens);
        if (code == COSTEER_OK && is_last && ask->is_stream) {
            code = skip_held_back(ask, cs_api_json_int_or(answer, "tokens_predicted", 0), out, err);
        }
        code = code == COSTEER_OK ? read_token(setting, ask, token, out, err) : code;
    }
    return code;
}

const cs_api_dialect cs_api_llama_server = {.kind = COSTEER_ENGINE_LLAMA_SERVER,
                                            .name = "llama-server",
                                            .scheme = "llama-server",
                                            .path = "/completion",
                                            .more_k = "it gives any number",
                                            .write = write,
                                            .read = read};
