/*
 * Before the first token: what the engine is, whether its vocabulary is the model's, whether it grants K, and whether its
 * log-probabilities are the raw ones. All with one public text of our own. A check that an engine has no way to answer is left
 * out, and told (costeer_engine_info).
 */
#include "cloud/api_internal.h"
#include "util/clock.h"
#include "util/error.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Words, figures, punctuation, accents and another script, so that two vocabularies that agree on it are most likely one; plain,
 * so that llama.cpp's and an engine's own tokenizer agree where the vocabulary is the same. Long enough for a block of a prefix
 * cache (16 tokens).
 */
static const char probe_text[] =
    "The quick brown fox, aged 1234567 days, jumps over the lazy dog; it doesn't mind. Zum Beispiel: "
    "Größe, déjà vu, señor. 你好,世界! x = (a + b) * 3.14;\n";

/* What a hosted API may give where it does not give K. */
static const int32_t smaller_k[] = {20, 5};

/* Two requests for one prompt differ by the rounding of other batches, some hundredths of a nat in half precision. */
#define SAME_NATS 0.15

#define PAUSE_MS      500
#define PAUSE_MAX_MS  10000
#define WAIT_SLICE_MS 50

typedef struct probe {
    cs_api *api;
    const atomic_bool *cancel;
    int64_t until_us;
    costeer_tokens tokens; /* of probe_text */
} probe;

/* ---- one request ------------------------------------------------------------------------------------------------- */

static bool may_pass(long status)
{
    return status >= 500 || status == 429 || status == 408 || status == 425;
}

static costeer_err pause_for(const probe *p, int64_t ms, costeer_error *err)
{
    const int64_t end = cs_clock_us() + (ms < PAUSE_MAX_MS ? ms : PAUSE_MAX_MS) * 1000;
    while (cs_clock_us() < end && cs_clock_us() < p->until_us) {
        if (p->cancel != NULL && atomic_load_explicit(p->cancel, memory_order_relaxed)) {
            return cs_error_set(err, COSTEER_ECANCELED, "cloud", "cancelled while waiting for the engine");
        }
        const costeer_err code = cs_api_http_run(p->api->http, WAIT_SLICE_MS, err);
        if (code != COSTEER_OK) {
            return code;
        }
    }
    return COSTEER_OK;
}

/* A connection that was kept from before may be closed just now. */
static bool is_lost(const cs_api *api, costeer_err code)
{
    bool is_final = true;
    if (code == COSTEER_ECLOUD && cs_api_http_response(api->http).failed) {
        (void)cs_api_http_explain(api->http, &is_final, NULL);
    }
    return !is_final;
}

/* Ask until something else comes than "later". `body` is taken over; NULL: a GET. */
static costeer_err call(const probe *p, const char *path, json_t *body, const char *text, long *status, json_t **out,
                        costeer_error *err)
{
    costeer_err code = COSTEER_OK;
    for (int n_lost = 0;;) {
        code = cs_api_send_check(p->api, path, json_incref(body), text, err);
        code = code == COSTEER_OK ? cs_api_receive_check(p->api, p->cancel, p->until_us, status, out, err) : code;
        const int64_t retry_after_ms = cs_api_http_response(p->api->http).retry_after_ms;
        n_lost += is_lost(p->api, code);
        const bool again = code == COSTEER_OK ? may_pass(*status) : is_lost(p->api, code) && n_lost == 1;
        if (!again || cs_clock_us() >= p->until_us) {
            break;
        }
        const costeer_err paused = pause_for(p, retry_after_ms > 0 ? retry_after_ms : PAUSE_MS, err);
        if (paused != COSTEER_OK || cs_clock_us() >= p->until_us) {
            code = paused != COSTEER_OK ? paused : code;
            break;
        }
        json_decref(*out);
        *out = NULL;
    }
    json_decref(body);
    return code;
}

/* ---- what it is -------------------------------------------------------------------------------------------------- */

static const cs_api_dialect *const dialects[] = {&cs_api_llama_server, &cs_api_vllm, &cs_api_sglang, &cs_api_openai};

/* Members of a family pad their vocabularies to widths that differ a little; another family's differs by more. */
static costeer_err check_width(const cs_api *api, int64_t n_vocab, costeer_error *err)
{
    enum { PADDING_MAX = 4096 };
    const bool is_near = n_vocab >= (int64_t)api->n_vocab - PADDING_MAX && n_vocab <= (int64_t)api->n_vocab + PADDING_MAX;
    return n_vocab == 0 || is_near ? COSTEER_OK
                                   : cs_error_set(err, COSTEER_EPAIR, "cloud",
                                                  "the model at %s has another vocabulary than the SLM: %lld tokens, and %d",
                                                  api->url.host, (long long)n_vocab, api->n_vocab);
}

static costeer_err take_models(cs_api *api, const json_t *models, costeer_error *err)
{
    const json_t *list = json_object_get(models, "data");
    const json_t *found = NULL;
    size_t i;
    const json_t *item;
    json_array_foreach(list, i, item)
    {
        const char *id = json_string_value(json_object_get(item, "id"));
        if (id != NULL && (api->params.model == NULL ? found == NULL : strcmp(id, api->params.model) == 0)) {
            found = item;
        }
    }
    const char *id = json_string_value(json_object_get(found, "id"));
    if (api->params.model == NULL && json_array_size(list) > 1 && api->dialect != &cs_api_llama_server) {
        return cs_error_set(err, COSTEER_EINVAL, "cloud", "%s has %zu models, \"%.60s\" among them: say which with --cloud-model",
                            api->url.host, json_array_size(list), id != NULL ? id : "");
    }
    if (api->params.model != NULL && found == NULL && json_array_size(list) > 0) {
        const char *other = json_string_value(json_object_get(json_array_get(list, 0), "id"));
        return cs_error_set(err, COSTEER_ECLOUD, "cloud", "%s has no model \"%.100s\" (--cloud-model); it has \"%.100s\"",
                            api->url.host, api->params.model, other != NULL ? other : "");
    }
    if (id != NULL && strlen(id) >= sizeof api->model_name) {
        return cs_error_set(err, COSTEER_ECLOUD, "cloud", "%s names a model with more than %zu bytes", api->url.host,
                            sizeof api->model_name - 1);
    }
    (void)snprintf(api->model_name, sizeof api->model_name, "%s",
                   id != NULL                  ? id
                   : api->params.model != NULL ? api->params.model
                                               : "");
    const json_t *meta = json_object_get(found, "meta");
    const int64_t max_context = cs_api_json_int_or(found, "max_model_len", cs_api_json_int_or(meta, "n_ctx", 0));
    api->info.max_context = max_context > 0 && max_context <= INT32_MAX ? (int32_t)max_context : 0;
    return check_width(api, cs_api_json_int_or(meta, "n_vocab", 0), err);
}

static const cs_api_dialect *recognise(const json_t *models)
{
    const char *owner = json_string_value(json_object_get(json_array_get(json_object_get(models, "data"), 0), "owned_by"));
    if (owner == NULL) {
        return NULL;
    }
    return strcmp(owner, "llamacpp") == 0 ? &cs_api_llama_server
           : strcmp(owner, "vllm") == 0   ? &cs_api_vllm
           : strcmp(owner, "sglang") == 0 ? &cs_api_sglang
                                          : &cs_api_openai;
}

/* Engines of which /v1/models tells nothing are asked for what only they have. */
static costeer_err ask_what_it_is(const probe *p, costeer_error *err)
{
    long status = 0;
    json_t *answer = NULL;
    costeer_err code = call(p, "/props", NULL, "", &status, &answer, err);
    if (code == COSTEER_OK && json_object_get(answer, "total_slots") != NULL) {
        p->api->dialect = &cs_api_llama_server;
    }
    json_decref(answer);
    answer = NULL;
    if (code == COSTEER_OK && p->api->dialect == NULL) {
        code = call(p, "/get_model_info", NULL, "", &status, &answer, err);
        p->api->dialect = json_object_get(answer, "model_path") != NULL ? &cs_api_sglang : NULL;
        json_decref(answer);
    }
    return code == COSTEER_OK && p->api->dialect == NULL
               ? cs_error_set(err, COSTEER_ECLOUD, "cloud",
                              "%s:%d is no engine that is known (nothing at /v1/models, /props or /get_model_info): check the "
                              "address, or say what it is, as in --cloud openai+https://…",
                              p->api->url.host, p->api->url.port)
               : code;
}

/* One that says what it is, and is not what the URL says. Any may be used as an OpenAI-compatible one. */
static costeer_err check_name(const cs_api *api, const cs_api_dialect *found, costeer_error *err)
{
    const bool is_known = found != NULL && found != &cs_api_openai;
    return !is_known || found == api->dialect || api->dialect == &cs_api_openai
               ? COSTEER_OK
               : cs_error_set(err, COSTEER_ECLOUD, "cloud", "%s:%d is %s, not %s: write --cloud %s+http://...", api->url.host,
                              api->url.port, found->name, api->dialect->name, found->scheme);
}

static costeer_err find_engine(const probe *p, costeer_error *err)
{
    cs_api *api = p->api;
    long status = 0;
    json_t *models = NULL;
    bool is_final;
    costeer_err code = call(p, "/v1/models", NULL, "", &status, &models, err);
    if (code == COSTEER_OK && status != 200 && status != 404 && status != 405) {
        code = cs_api_explain_status(api, status, models, &is_final, err);
    }
    if (code == COSTEER_OK && api->dialect != NULL) {
        code = check_name(api, recognise(models), err);
    } else if (code == COSTEER_OK) {
        api->dialect = recognise(models);
        code = api->dialect == NULL ? ask_what_it_is(p, err) : COSTEER_OK;
    }
    code = code == COSTEER_OK ? take_models(api, models, err) : code;
    json_decref(models);
    return code;
}

/* ---- its vocabulary ---------------------------------------------------------------------------------------------- */

static costeer_err other_vocabulary(const cs_api *api, const char *what, costeer_error *err)
{
    return cs_error_set(err, COSTEER_EPAIR, "cloud", "%s at %s has another vocabulary than the SLM: %s", api->dialect->name,
                        api->url.host, what);
}

/* The ids that the engine makes of the text, against ours. A beginning-of-text token that it adds all the same is no difference.
 */
static costeer_err compare_ids(const probe *p, const json_t *ids, costeer_error *err)
{
    const size_t n = json_array_size(ids);
    const size_t extra = n == p->tokens.n + 1 ? 1 : 0;
    char what[128];
    for (size_t i = 0; i < p->tokens.n && i + extra < n; i++) {
        const json_int_t theirs = json_integer_value(json_array_get(ids, i + extra));
        if (theirs != p->tokens.ids[i]) {
            (void)snprintf(what, sizeof what, "token %zu of a text is %lld there and %d here", i + 1, (long long)theirs,
                           p->tokens.ids[i]);
            return other_vocabulary(p->api, what, err);
        }
    }
    if (n - extra != p->tokens.n) {
        (void)snprintf(what, sizeof what, "a text has %zu tokens there and %zu here", n, p->tokens.n);
        return other_vocabulary(p->api, what, err);
    }
    return COSTEER_OK;
}

/* POST /tokenize. @param[out] was_checked  false: it has none */
static costeer_err check_tokenizing(const probe *p, bool *was_checked, costeer_error *err)
{
    cs_api *api = p->api;
    long status = 0;
    json_t *answer = NULL;
    json_t *body = api->dialect == &cs_api_llama_server
                       ? json_pack("{s:s, s:b, s:b}", "content", probe_text, "add_special", 0, "parse_special", 0)
                       : json_pack("{s:s, s:s, s:b}", "model", api->model_name, "prompt", probe_text, "add_special_tokens", 0);
    costeer_err code = call(p, "/tokenize", body, probe_text, &status, &answer, err);
    const json_t *ids = json_object_get(answer, "tokens");
    *was_checked = code == COSTEER_OK && status == 200 && json_is_array(ids);
    code = *was_checked ? compare_ids(p, ids, err) : code;
    if (status == 401 || status == 403) {
        bool is_final;
        code = cs_api_explain_status(api, status, answer, &is_final, err);
    }
    json_decref(answer);
    return code;
}

/* A text that the engine spells token `id` with; one that was cut inside a character tells nothing. */
static bool is_spelled(const probe *p, const json_t *text, int32_t id, size_t *n_told)
{
    char piece[COSTEER_PIECE_MAX];
    const size_t n = costeer_model_token_to_piece(p->api->model, id, piece);
    const char *theirs = json_string_value(text);
    if (theirs == NULL || strstr(theirs, "\xEF\xBF\xBD") != NULL || strncmp(theirs, "bytes:", 6) == 0 ||
        strncmp(theirs, "token_id:", 9) == 0) {
        return true;
    }
    ++*n_told;
    const size_t space = n > 0 && piece[0] == ' ' && theirs[0] != ' ' ? 1 : 0; /* some strip it */
    return strlen(theirs) == n - space && memcmp(theirs, piece + space, n - space) == 0;
}

/* How the engine spells our ids, where it says so with the prompt: [[logprob, id, text]], [{"token": text}] or [text]. */
static costeer_err compare_texts(const probe *p, const json_t *list, bool *was_checked, costeer_error *err)
{
    size_t n_told = 0;
    for (size_t i = 0; i < p->tokens.n && i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        item = json_is_array(item) ? json_array_get(item, 2) : json_is_object(item) ? json_object_get(item, "token") : item;
        if (!is_spelled(p, item, p->tokens.ids[i], &n_told)) {
            char what[128];
            (void)snprintf(what, sizeof what, "it spells token %d differently", p->tokens.ids[i]);
            return other_vocabulary(p->api, what, err);
        }
    }
    *was_checked = n_told > p->tokens.n / 2;
    return COSTEER_OK;
}

static costeer_err check_spelling(const probe *p, bool *was_checked, costeer_error *err)
{
    cs_api *api = p->api;
    long status = 0;
    json_t *answer = NULL;
    json_t *ids = cs_api_json_ids(p->tokens.ids, p->tokens.n);
    json_t *body =
        api->dialect == &cs_api_sglang
            ? json_pack("{s:o, s:b, s:i, s:b, s:{s:i, s:i}}", "input_ids", ids, "return_logprob", 1, "logprob_start_len", 0,
                        "return_text_in_logprobs", 1, "sampling_params", "max_new_tokens", 1, "temperature", 0)
            : json_pack("{s:s, s:o, s:i, s:b, s:i, s:i}", "model", api->model_name, "prompt", ids, "max_tokens", 1, "echo", 1,
                        "logprobs", 1, "temperature", 0);
    costeer_err code = call(p, api->dialect->path, body, probe_text, &status, &answer, err);
    const json_t *choice = json_array_get(json_object_get(answer, "choices"), 0);
    const json_t *list = api->dialect == &cs_api_sglang
                             ? json_object_get(json_object_get(answer, "meta_info"), "input_token_logprobs")
                             : json_object_get(json_object_get(choice, "logprobs"), "tokens");
    list = list != NULL ? list : json_object_get(json_object_get(choice, "logprobs"), "content");
    const bool is_told = code == COSTEER_OK && status == 200 && json_array_size(list) >= p->tokens.n;
    code = is_told ? compare_texts(p, list, was_checked, err) : code;
    json_decref(answer);
    return code;
}

static costeer_err check_vocabulary(const probe *p, costeer_error *err)
{
    cs_api *api = p->api;
    bool was_checked = false;
    costeer_err code = api->dialect != &cs_api_openai ? check_tokenizing(p, &was_checked, err) : COSTEER_OK;
    if (code == COSTEER_OK && !was_checked && api->dialect != &cs_api_llama_server) {
        code = check_spelling(p, &was_checked, err);
    }
    api->info.vocab_checked = was_checked;
    return code;
}

/* llama-server tells the number of its slots, and how many tokens each has. */
static costeer_err read_props(const probe *p, costeer_error *err)
{
    long status = 0;
    json_t *props = NULL;
    const costeer_err code = call(p, "/props", NULL, "", &status, &props, err);
    const int64_t n_slots = cs_api_json_int_or(props, "total_slots", 0);
    const int64_t n_ctx = cs_api_json_int_or(json_object_get(props, "default_generation_settings"), "n_ctx", 0);
    p->api->n_slots = n_slots > 0 && n_slots < 65536 ? (int32_t)n_slots : 0;
    p->api->info.max_context = n_ctx > 0 && n_ctx <= INT32_MAX ? (int32_t)n_ctx : p->api->info.max_context;
    json_decref(props);
    return code;
}

/* ---- its distributions ------------------------------------------------------------------------------------------- */

/* One position behind the text, into positions. @param[out] status  HTTP's, when it is not 200 nothing was read */
static costeer_err ask_position(const probe *p, int32_t top_k, bool at_temperature_1, long *status, costeer_error *err)
{
    cs_api *api = p->api;
    const int32_t first_slot =
        at_temperature_1 ? api->reading.slot : -1; /* the one before's, so that it finds the prompt there */
    const cs_api_ask ask = {.tokens = p->tokens.ids,
                            .n_tokens = p->tokens.n,
                            .n_predict = 1,
                            .top_k = top_k,
                            .wants_all = top_k >= api->n_vocab,
                            .is_probe = at_temperature_1,
                            .ignores_end = true,
                            .slot = api->n_slots == 1 ? 0 : first_slot};
    json_t *answer = NULL;
    cs_api_positions_reset(&api->positions, 0);
    cs_api_reading_begin(&api->reading, &api->positions);
    costeer_err code = call(p, api->dialect->path, api->dialect->write(&api->setting, &ask), probe_text, status, &answer, err);
    if (code == COSTEER_OK && *status == 200) {
        const cs_api_response response = cs_api_http_response(api->http);
        code = answer != NULL ? COSTEER_OK : cs_api_json_parse(response.bytes, response.n, &answer, err); /* for its error */
        code = code == COSTEER_OK ? api->dialect->read(&api->setting, &ask, answer, &api->reading, err) : code;
        if (code == COSTEER_OK && cs_api_positions_find(&api->positions, 0) == NULL) {
            code = cs_api_json_refuse("a check", "no log-probabilities: the engine answers with text only, and cannot be steered",
                                      err);
        }
    } else if (code == COSTEER_OK) {
        bool is_final;
        costeer_error why;
        (void)cs_api_explain_status(api, *status, answer, &is_final, &why);
        if (err != NULL) {
            *err = why;
        }
    }
    json_decref(answer);
    return code;
}

/* Either K is too large, or something else is wrong with any request: K = 1 tells which. */
static costeer_err refuse_k(const probe *p, int32_t top_k, const costeer_error *why, costeer_error *err)
{
    long status = 0;
    costeer_error any = {.code = COSTEER_OK};
    const costeer_err code = ask_position(p, 1, false, &status, &any);
    if (code == COSTEER_ECANCELED || code == COSTEER_EABORTED || code == COSTEER_ENOMEM) {
        return cs_error_set(err, code, "cloud", "%.400s", any.message);
    }
    return status == 400 || status == 422
               ? cs_error_set(err, COSTEER_ECLOUD, "cloud", "no request of token ids is granted: %.400s", why->message)
               : cs_error_set(err, COSTEER_ECLOUD, "cloud", "K = %d is not granted: %.300s; %s, or use a smaller --base-top-k",
                              top_k, why->message, p->api->dialect->more_k);
}

/* Ask for K; of an engine with limits of its own, for less. */
static costeer_err check_k(const probe *p, int32_t *granted, costeer_error *err)
{
    cs_api *api = p->api;
    const int32_t wanted = api->params.top_k == 0 || api->params.top_k > api->n_vocab ? api->n_vocab : api->params.top_k;
    costeer_error why = {.code = COSTEER_OK};
    long status = 0;
    *granted = wanted;
    costeer_err code = ask_position(p, wanted, false, &status, &why);
    const costeer_error first = why;
    for (size_t i = 0; code == COSTEER_OK && status == 400 && api->dialect == &cs_api_openai && i < 2; i++) {
        if (smaller_k[i] < wanted) {
            *granted = smaller_k[i];
            code = ask_position(p, *granted, false, &status, &why);
        }
    }
    if (code != COSTEER_OK || (status != 200 && status != 400 && status != 422)) {
        if (err != NULL) {
            *err = why;
        }
        return code != COSTEER_OK ? code : COSTEER_ECLOUD;
    }
    if (status != 200) {
        return refuse_k(p, wanted, &first, err);
    }
    const cs_api_position *position = cs_api_positions_find(&api->positions, 0);
    const bool is_cut = position->n_sent < *granted;
    api->info.top_k_max = is_cut ? position->n : *granted < wanted ? *granted : 0;
    api->info.has_ids = api->reading.has_ids;
    return COSTEER_OK;
}

/* The same position at temperature 1 must have the same log-probabilities. */
static costeer_err check_raw(const probe *p, int32_t top_k, costeer_error *err)
{
    cs_api *api = p->api;
    enum { COMPARED = 8 };
    cs_api_entry before[COMPARED];
    int32_t n = 0;
    const cs_api_position *position = cs_api_positions_find(&api->positions, 0);
    for (; n < position->n && n < COMPARED; n++) {
        before[n] = (cs_api_entry){.id = position->ids[n], .value = position->values[n]};
    }
    long status = 0;
    costeer_err code = ask_position(p, top_k, true, &status, err);
    if (code != COSTEER_OK || status != 200) {
        return code != COSTEER_OK ? code : COSTEER_ECLOUD;
    }
    position = cs_api_positions_find(&api->positions, 0);
    double off = 0;
    for (int32_t i = 0; i < n; i++) {
        for (int32_t j = 0; j < position->n; j++) {
            if (position->ids[j] == before[i].id) {
                off = fmax(off, fabs((double)position->values[j] - (double)before[i].value));
            }
        }
    }
    const bool has_vanished = n < COMPARED && position->n > 2 * n; /* nothing but the best has a probability at temperature 0 */
    return off <= SAME_NATS && !has_vanished
               ? COSTEER_OK
               : cs_error_set(err, COSTEER_ECLOUD, "cloud",
                              "%s changes its log-probabilities with the temperature; the raw ones are needed: start vLLM with "
                              "--logprobs-mode raw_logprobs, SGLang with SGLANG_RETURN_ORIGINAL_LOGPROB=1",
                              api->dialect->name);
}

static bool contains(const char *bytes, size_t n, const char *what)
{
    const size_t length = strlen(what);
    for (size_t i = 0; i + length <= n; i++) {
        if (memcmp(bytes + i, what, length) == 0) {
            return true;
        }
    }
    return false;
}

/* vLLM counts whole blocks, which may be longer than our text (128 tokens on a CPU): its metrics say whether there is a cache. A
 * router in front of it may not have them. */
static costeer_err ask_for_prefix_cache(const probe *p, costeer_engine_known *out, costeer_error *err)
{
    long status = 0;
    json_t *answer = NULL;
    costeer_error ignored;
    costeer_err code = cs_api_send_check(p->api, "/metrics", NULL, "", err);
    if (code == COSTEER_OK) {
        code = cs_api_receive_check(p->api, p->cancel, p->until_us, &status, &answer, &ignored);
        const cs_api_response response = cs_api_http_response(p->api->http);
        if (code == COSTEER_OK && status == 200) {
            *out = contains(response.bytes, response.n, "enable_prefix_caching=\"True\"")    ? COSTEER_ENGINE_YES
                   : contains(response.bytes, response.n, "enable_prefix_caching=\"False\"") ? COSTEER_ENGINE_NO
                                                                                             : COSTEER_ENGINE_UNKNOWN;
        }
        json_decref(answer);
        code = code == COSTEER_ECANCELED ? cs_error_set(err, code, "cloud", "%s", ignored.message) : COSTEER_OK;
    }
    return code;
}

/* The last request's prompt was the one's before. */
static costeer_err check_prefix_cache(const probe *p, costeer_error *err)
{
    cs_api *api = p->api;
    if (api->reading.n_cached < 0) {
        return COSTEER_OK;
    }
    api->info.prefix_cache = api->reading.n_cached > 0      ? COSTEER_ENGINE_YES
                             : api->dialect == &cs_api_vllm ? COSTEER_ENGINE_UNKNOWN
                                                            : COSTEER_ENGINE_NO;
    return api->info.prefix_cache != COSTEER_ENGINE_UNKNOWN ? COSTEER_OK : ask_for_prefix_cache(p, &api->info.prefix_cache, err);
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

/* A token that is one ASCII letter, which no engine holds back. */
static int32_t find_ascii(const costeer_model *model)
{
    for (int32_t i = 0; i < costeer_model_get_info(model)->n_vocab; i++) {
        char piece[COSTEER_PIECE_MAX];
        if (costeer_model_token_to_piece(model, i, piece) == 1 && piece[0] >= 'a' && piece[0] <= 'z') {
            return i;
        }
    }
    return -1;
}

static costeer_err check_mode(const cs_api *api, costeer_error *err)
{
    return api->params.mode != COSTEER_MODE_DRAFTED || api->dialect->can_score
               ? COSTEER_OK
               : cs_error_set(err, COSTEER_EINVAL, "cloud",
                              "%s cannot score drafts, only vLLM and SGLang can: use --cloud-mode streamed", api->dialect->name);
}

static costeer_err check_spelling_is_unique(const cs_api *api, costeer_error *err)
{
    return api->info.has_ids || strcmp(costeer_model_get_info(api->model)->vocab_type, "SPM") != 0
               ? COSTEER_OK
               : cs_error_set(err, COSTEER_ECLOUD, "cloud",
                              "%s names tokens by their text only, which does not tell apart those of a SentencePiece vocabulary "
                              "with and without a space: an engine that tells ids is needed",
                              api->dialect->name);
}

static costeer_err run_checks(probe *p, costeer_error *err)
{
    cs_api *api = p->api;
    int32_t granted = 0;
    costeer_err code = find_engine(p, err);
    code = code == COSTEER_OK ? check_mode(api, err) : code;
    code = code == COSTEER_OK && api->dialect == &cs_api_llama_server ? read_props(p, err) : code;
    code = code == COSTEER_OK ? check_vocabulary(p, err) : code;
    code = code == COSTEER_OK ? check_k(p, &granted, err) : code;
    code = code == COSTEER_OK ? check_spelling_is_unique(api, err) : code;
    code = code == COSTEER_OK ? check_raw(p, granted, err) : code;
    return code == COSTEER_OK ? check_prefix_cache(p, err) : code;
}

costeer_err cs_api_probe(cs_api *api, const atomic_bool *cancel, costeer_error *err)
{
    probe p = {.api = api, .cancel = cancel, .until_us = cs_clock_us() + (int64_t)api->params.timeout_ms * 1000};
    for (size_t i = 0; i < sizeof dialects / sizeof dialects[0]; i++) {
        api->dialect = dialects[i]->kind == api->info.kind ? dialects[i] : api->dialect;
    }
    api->setting.ascii_token = find_ascii(api->model);
    api->setting.model = api->model_name;
    costeer_err code = costeer_model_tokenize(api->model, probe_text, sizeof probe_text - 1, false, false, &p.tokens, err);
    code = code == COSTEER_OK ? run_checks(&p, err) : code;
    costeer_tokens_dispose(&p.tokens);
    cs_api_http_cancel(api->http);
    if (code == COSTEER_OK) {
        api->info.kind = api->dialect->kind;
        api->info.name = api->dialect->name;
        api->info.model = api->model_name;
    }
    return code;
}
