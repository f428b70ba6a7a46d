/*
 * An existing engine as the cloud: the operations of costeer_cloud on completion requests. docs/engines.md tells what each engine
 * is asked.
 *
 * Streamed: one request for the rest of the answer. Its events are read while their tokens are the chosen ones; at the first
 * other token the request is cancelled and made again with the corrected answer, of which the engine's prefix cache has all but
 * the last token. Lockstep: a request per position. Drafted: a request that scores a draft. A deeper base is asked for alone,
 * with one token: a stream of so many entries would be slow, and most positions that need it are corrected. What fails and may
 * pass is asked again, with what was chosen so far, until the call's deadline. There is no thread: see api_http.h.
 */
#include "cloud/api_internal.h"
#include "util/clock.h"
#include "util/error.h"

#include <math.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Positions that SGLang is asked for at a time. Its streams repeat all that was told with every event, unless it was started
 * otherwise, which grows with the square; and some of its versions (0.5.18, 0.5.19) go on to the end of a request whose client
 * has gone.
 */
#define SGLANG_WINDOW            32
#define SGLANG_CUMULATIVE_WINDOW 16

/* The end of a response comes with its last event, or right behind it. */
#define END_MS 50

/* Longest wait for bytes at a time: a cancel flag wakes nobody. */
#define WAIT_MS 100

static int32_t min(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static int32_t max(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

static costeer_err out_of_order(const cs_api *api, const char *call, int32_t position, costeer_error *err)
{
    static const char *const states[] = {"no answer is open", "next has not been called", "it is ready", "it has failed"};
    return cs_error_set(err, COSTEER_ESTATE, "cloud", "%s(%d) out of order: the cloud is at position %d and %s", call, position,
                        api->answer.position, states[api->phase]);
}

/* ---- the next request -------------------------------------------------------------------------------------------- */

/* Several slots: the first request is told where its prompt went, so that the others find it there. */
static bool seeks_slot(const cs_api *api)
{
    return api->dialect == &cs_api_llama_server && api->n_slots != 1 && api->answer.slot < 0;
}

static int32_t length_of_stream(const cs_api *api)
{
    const int32_t rest = api->answer.max_tokens - api->answer.position;
    int32_t window = api->params.window > 0 ? api->params.window : rest;
    if (api->dialect == &cs_api_sglang) {
        window = min(window, api->reading.tells_once ? SGLANG_WINDOW : SGLANG_CUMULATIVE_WINDOW);
    }
    return min(rest, window);
}

static cs_api_ask make_ask(const cs_api *api, int32_t top_k)
{
    const cs_api_answer *answer = &api->answer;
    const bool is_stream = api->params.mode == COSTEER_MODE_STREAMED && !answer->is_alone && !seeks_slot(api);
    return (cs_api_ask){.tokens = answer->tokens,
                        .n_tokens = answer->n_prompt + (size_t)(answer->position + answer->n_drafts),
                        .n_drafts = answer->n_drafts,
                        .n_predict = is_stream ? length_of_stream(api) : 1,
                        .top_k = top_k,
                        .wants_all = top_k >= api->n_vocab && api->info.top_k_max == 0,
                        .is_stream = is_stream,
                        .ignores_end = answer->was_empty,
                        .slot = api->n_slots == 1 ? 0 : answer->slot};
}

/* Tokens that the engine gets with this request and had not got, or chosen itself, before. */
static void count_told(cs_api *api)
{
    const int32_t told = api->answer.position + api->answer.n_drafts;
    api->stats.n_tokens_sent += max(0, told - api->answer.n_told);
    api->answer.n_told = max(api->answer.n_told, told);
}

static costeer_err send(cs_api *api, int32_t top_k, costeer_error *err)
{
    const bool tells_once = api->reading.tells_once;
    const cs_api_ask ask = make_ask(api, top_k);
    cs_api_positions_reset(&api->positions, api->answer.position);
    count_told(api);
    const costeer_err code = cs_api_send(api, &ask, err);
    api->reading.tells_once = tells_once;
    return code;
}

static int32_t k_of_answer(const cs_api *api)
{
    const int32_t limit = api->info.top_k_max > 0 ? min(api->info.top_k_max, api->n_vocab) : api->n_vocab;
    return api->answer.top_k == 0 ? limit : min(api->answer.top_k, limit);
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

static costeer_err time_out(const cs_api *api, costeer_error *err)
{
    if (api->has_cause) {
        return cs_error_set(err, COSTEER_ECLOUD, "cloud", "no answer within %d ms (--timeout-ms): %.380s", api->params.timeout_ms,
                            api->cause.message);
    }
    return cs_api_time_out(api, err);
}

/* An answer that ended well, and does not have the position. */
static costeer_err take_end(cs_api *api, costeer_error *err)
{
    cs_api_answer *answer = &api->answer;
    const bool is_whole = api->reading.has_ended || !api->ask.is_stream;
    cs_api_http_cancel(api->http);
    if (api->reading.n_read > 0) {
        return COSTEER_OK; /* it has come to its end: what follows is another request's */
    }
    if (!is_whole) {
        api->has_cause = true;
        api->retry_at_us = cs_clock_us() + (int64_t)max(api->pause_ms, WAIT_MS) * 1000;
        (void)cs_error_set(&api->cause, COSTEER_ECLOUD, "cloud", "%s ended the stream before its end", api->url.host);
        return COSTEER_OK;
    }
    if (answer->was_empty) {
        return cs_error_set(err, COSTEER_ECLOUD, "cloud", "%s ends the answer at position %d without saying how likely that was",
                            api->url.host, answer->position);
    }
    answer->was_empty = answer->is_alone = true; /* it saw an end; ask for its distribution alone */
    return COSTEER_OK;
}

/* The engine has said that nothing follows: a server that then keeps the response open is not waited for. */
static costeer_err end_soon(cs_api *api, costeer_error *err)
{
    const costeer_err code = cs_api_http_run(api->http, END_MS, err);
    const cs_api_response response = cs_api_http_response(api->http);
    return code != COSTEER_OK || response.n > 0 || response.is_done ? code : take_end(api, err);
}

/* One turn of waiting: send what is to be sent, or see what came. */
static costeer_err advance(cs_api *api, int32_t top_k, int64_t until_us, costeer_error *err)
{
    const cs_api_answer *answer = &api->answer;
    const int64_t now = cs_clock_us();
    if (answer->cancel != NULL && atomic_load_explicit(answer->cancel, memory_order_relaxed)) {
        return cs_error_set(err, COSTEER_ECANCELED, "cloud", "cancelled while waiting for the engine");
    }
    if (now >= until_us) {
        return time_out(api, err);
    }
    const bool is_active = cs_api_http_response(api->http).is_active;
    if (!is_active && now >= api->retry_at_us) {
        return send(api, top_k, err);
    }
    const int64_t end = !is_active && api->retry_at_us < until_us ? api->retry_at_us : until_us;
    const int wait_ms = (int)min(WAIT_MS, (int32_t)((end - now) / 1000 < WAIT_MS ? (end - now) / 1000 + 1 : WAIT_MS));
    if (!is_active) {
        return cs_api_http_run(api->http, wait_ms, err);
    }
    cs_api_news news;
    const costeer_err code = cs_api_receive(api, wait_ms, &news, err);
    if (code != COSTEER_OK || news == CS_API_LOST || cs_api_positions_find(&api->positions, answer->position) != NULL) {
        return code;
    }
    if (api->ask.is_stream && api->reading.has_ended && news != CS_API_ENDED) { /* the rest of it comes at once, or not at all */
        return cs_api_http_response(api->http).n > 0 ? COSTEER_OK : end_soon(api, err);
    }
    return news == CS_API_ENDED ? take_end(api, err) : COSTEER_OK;
}

/* The engine kept this position's distribution to itself (a token that ends inside a character): it is asked for alone. */
static bool is_missing(const cs_api *api)
{
    const cs_api_position *position = cs_api_positions_find(&api->positions, api->answer.position);
    return position != NULL && !position->is_known;
}

static void remember_slot(cs_api *api)
{
    if (api->reading.slot >= 0 && api->reading.slot < api->n_slots) {
        api->answer.slot = api->reading.slot;
    }
}

/* All tokens, in order of id; those without an entry have a probability of 0. */
static costeer_base make_dense(cs_api *api, const cs_api_position *position)
{
    for (int32_t i = 0; i < api->n_vocab; i++) {
        api->dense[i] = -INFINITY;
    }
    for (int32_t i = 0; i < position->n; i++) {
        api->dense[position->ids[i]] = position->values[i];
    }
    return (costeer_base){.values = api->dense, .n = api->n_vocab};
}

static void deliver(cs_api *api, const cs_api_position *position, bool is_deepest, costeer_distribution *out)
{
    *out = (costeer_distribution){
        .position = api->answer.position,
        .own_token = position->own_token >= 0 ? position->own_token : position->ids[0],
        .is_deepest = is_deepest,
        .base = {.ids = position->ids, .values = position->values, .n = position->n, .sum_error = api->positions.sum_error}};
    if (position->is_all) {
        out->base = make_dense(api, position);
    }
}

/* Wait until the present position is here, with at least what a request for top_k gives. */
static costeer_err await(cs_api *api, int32_t top_k, costeer_distribution *out, costeer_error *err)
{
    const int64_t until_us = cs_clock_us() + (int64_t)api->params.timeout_ms * 1000;
    cs_api_answer *answer = &api->answer;
    const cs_api_position *position = NULL;
    while ((position = cs_api_positions_find(&api->positions, answer->position)) == NULL || !position->is_known) {
        if (is_missing(api)) {
            cs_api_http_cancel(api->http);
            cs_api_positions_reset(&api->positions, answer->position);
            answer->is_alone = true;
        }
        const costeer_err code = advance(api, top_k, until_us, err);
        if (code != COSTEER_OK) {
            return code;
        }
    }
    remember_slot(api);
    answer->is_alone = answer->was_empty = false;
    api->stats.n_reconnects += api->has_cause;
    api->has_cause = false;
    api->pause_ms = 0;
    deliver(api, position, false, out);
    return COSTEER_OK;
}

static bool was_refused(const cs_api *api, costeer_err code)
{
    return code != COSTEER_OK && (api->refused == 400 || api->refused == 422);
}

/* The engine gives `top_k` entries at most, and is not asked for more again. */
static costeer_err settle_for(cs_api *api, int32_t top_k, costeer_distribution *out, costeer_error *err)
{
    api->info.top_k_max = top_k;
    api->refused = 0;
    const costeer_err code = send(api, top_k, err);
    return code == COSTEER_OK ? await(api, top_k, out, err) : code;
}

/* ---- open -------------------------------------------------------------------------------------------------------- */

static costeer_err check_request(const cs_api *api, const costeer_cloud_request *request, costeer_error *err)
{
    if (api->phase != CS_API_CLOSED) {
        return cs_error_set(err, COSTEER_ESTATE, "cloud", "an answer is open; close it first");
    }
    if (request->n_prompt == 0) {
        return cs_error_set(err, COSTEER_EINVAL, "cloud", "an engine takes a prompt as tokens, not as chat messages");
    }
    for (size_t i = 0; i < request->n_prompt; i++) {
        if (request->prompt[i] < 0 || request->prompt[i] >= api->n_vocab) {
            return cs_error_set(err, COSTEER_EINVAL, "cloud", "token %zu of the prompt is not one of the vocabulary's %d", i,
                                api->n_vocab);
        }
    }
    const int32_t limit = api->info.max_context;
    if (limit > 0 && (request->max_tokens > limit || request->n_prompt > (size_t)(limit - request->max_tokens))) {
        return cs_error_set(
            err, COSTEER_ETOOLONG, "cloud",
            "%zu tokens of prompt and up to %d of answer do not fit the engine's %d: shorten the query or ask for "
            "fewer tokens",
            request->n_prompt, request->max_tokens, limit);
    }
    return COSTEER_OK;
}

/* Sixteen random bytes: a router keeps an answer's requests at one replica by them, and learns nothing else. */
static costeer_err begin_session(cs_api *api, costeer_error *err)
{
    unsigned char bytes[(sizeof api->session - 1) / 2];
    if (RAND_bytes(bytes, sizeof bytes) != 1) {
        return cs_error_set(err, COSTEER_EINTERNAL, "cloud", "the system gives no random numbers");
    }
    for (size_t i = 0; i < sizeof bytes; i++) {
        (void)snprintf(api->session + 2 * i, 3, "%02x", bytes[i]);
    }
    return cs_api_http_set_session(api->http, api->session, err);
}

static costeer_err api_open(costeer_cloud *cloud, const costeer_cloud_request *request, costeer_error *err)
{
    cs_api *api = (cs_api *)cloud;
    costeer_err code = check_request(api, request, err);
    if (code != COSTEER_OK) {
        return code;
    }
    const size_t n = request->n_prompt + (size_t)request->max_tokens + COSTEER_WIRE_DRAFTS_MAX;
    int32_t *tokens = malloc(n * sizeof *tokens);
    if (tokens == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "cloud", "no memory for an answer of %d tokens", request->max_tokens);
    }
    memcpy(tokens, request->prompt, request->n_prompt * sizeof *tokens);
    free(api->answer.tokens);
    api->answer = (cs_api_answer){.tokens = tokens,
                                  .n_prompt = request->n_prompt,
                                  .max_tokens = request->max_tokens,
                                  .top_k = request->top_k,
                                  .slot = -1,
                                  .cancel = request->cancel};
    api->stats = (costeer_cloud_stats){.bytes_up = 0};
    api->has_cause = false;
    api->pause_ms = 0;
    api->retry_at_us = 0;
    cs_api_http_reset_counts(api->http);
    code = begin_session(api, err);
    code = code == COSTEER_OK ? send(api, k_of_answer(api), err) : code;
    api->phase = code == COSTEER_OK ? CS_API_RUNNING : CS_API_CLOSED;
    return code;
}

/* ---- next and deepen --------------------------------------------------------------------------------------------- */

static costeer_err api_next(costeer_cloud *cloud, int32_t position, costeer_distribution *out, costeer_error *err)
{
    cs_api *api = (cs_api *)cloud;
    if ((api->phase != CS_API_RUNNING && api->phase != CS_API_READY) || position != api->answer.position) {
        return out_of_order(api, "next", position, err);
    }
    const int32_t top_k = k_of_answer(api);
    api->refused = 0;
    costeer_err code = await(api, top_k, out, err);
    if (was_refused(api, code) && api->granted > 0 && api->granted < top_k) { /* another replica, with a limit of its own */
        code = settle_for(api, api->granted, out, err);
    }
    api->phase = code == COSTEER_OK ? CS_API_READY : CS_API_FAILED;
    return code;
}

/* Events that have come and were not read. */
static int32_t count_unread(const cs_api *api)
{
    if (!cs_api_http_response(api->http).is_active || cs_api_http_run(api->http, 0, NULL) != COSTEER_OK) {
        return 0;
    }
    const cs_api_response response = cs_api_http_response(api->http);
    int32_t n = 0;
    for (size_t i = 1; i < response.n; i++) {
        n += response.bytes[i] == '\n' && response.bytes[i - 1] == '\n';
    }
    return n;
}

/* Positions that are here, or have come and were not read yet: they were computed. */
static void waste_rest(cs_api *api, int32_t from)
{
    const cs_api_positions *positions = &api->positions;
    const int32_t n_behind = max(0, positions->first + positions->n - max(from, positions->first));
    const int32_t n_unread = api->ask.is_stream ? count_unread(api) : 0;
    api->stats.n_steps += n_unread;
    api->stats.n_wasted_steps += n_behind + n_unread;
}

static bool gives_more(const cs_api *api, const cs_api_position *position, int32_t top_k)
{
    const int32_t limit = api->info.top_k_max > 0 ? api->info.top_k_max : api->n_vocab;
    return position->n_sent < min(limit, top_k) && !position->is_all;
}

static costeer_err deepen(cs_api *api, int32_t top_k, costeer_distribution *out, costeer_error *err)
{
    const int32_t before = min(cs_api_positions_find(&api->positions, api->answer.position)->n_sent, api->ask.top_k);
    const int32_t drafts = api->answer.n_drafts;
    waste_rest(api, api->answer.position + 1);
    api->answer.n_drafts = 0;
    api->answer.is_alone = true;
    api->stats.n_withdrawn += max(0, api->answer.drafts_at + drafts - api->answer.position);
    api->refused = 0;
    costeer_err code = send(api, top_k, err);
    api->stats.n_deepenings++;
    code = code == COSTEER_OK ? await(api, top_k, out, err) : code;
    if (was_refused(api, code)) { /* the refusal says how many it gives; else no more than it gave */
        const bool is_named = api->granted > before && api->granted < top_k;
        code = settle_for(api, is_named ? api->granted : before, out, err);
        out->is_deepest = true;
        return code;
    }
    const cs_api_position *here = cs_api_positions_find(&api->positions, api->answer.position);
    if (code == COSTEER_OK && !here->is_all && here->n_sent <= before && here->n_sent < top_k) {
        api->info.top_k_max = before; /* cut without a word */
        out->is_deepest = true;
    }
    return code;
}

static costeer_err api_deepen(costeer_cloud *cloud, int32_t position, int32_t top_k, costeer_distribution *out,
                              costeer_error *err)
{
    cs_api *api = (cs_api *)cloud;
    if (api->phase != CS_API_READY || position != api->answer.position) {
        return out_of_order(api, "deepen", position, err);
    }
    const cs_api_position *here = cs_api_positions_find(&api->positions, position);
    const int32_t wanted = top_k == 0 ? api->n_vocab : min(top_k, api->n_vocab);
    if (!gives_more(api, here, wanted)) {
        deliver(api, here, here->n_sent < wanted && !here->is_all, out);
        return COSTEER_OK;
    }
    const costeer_err code = deepen(api, api->info.top_k_max > 0 ? min(wanted, api->info.top_k_max) : wanted, out, err);
    api->phase = code == COSTEER_OK ? CS_API_READY : CS_API_FAILED;
    return code;
}

/* ---- commit ------------------------------------------------------------------------------------------------------ */

/* Whether the engine goes on as if this token had been chosen: then what comes, or is here, belongs to the answer. */
static bool goes_on_with(const cs_api *api, int32_t token)
{
    const cs_api_answer *answer = &api->answer;
    const int32_t i = answer->position - answer->drafts_at;
    if (answer->n_drafts > 0 && i >= 0 && i < answer->n_drafts) {
        return answer->tokens[answer->n_prompt + (size_t)answer->position] == token;
    }
    const cs_api_position *position = cs_api_positions_find(&api->positions, answer->position);
    return api->ask.is_stream && position != NULL && position->own_token == token;
}

static bool has_next(const cs_api *api)
{
    const cs_api_response response = cs_api_http_response(api->http);
    const bool may_come = response.is_active && !(response.is_done && response.n == 0);
    return may_come || cs_api_positions_find(&api->positions, api->answer.position) != NULL;
}

static void put_drafts(cs_api *api, const int32_t *drafts, int32_t n)
{
    cs_api_answer *answer = &api->answer;
    if (n > 0) {
        memcpy(answer->tokens + answer->n_prompt + answer->position, drafts, (size_t)n * sizeof *drafts);
    }
    answer->drafts_at = answer->position;
    answer->n_drafts = n;
    api->stats.n_drafts_sent += n;
}

static int32_t cut_drafts(const cs_api *api, const int32_t *drafts, int32_t n_drafts)
{
    const int32_t n_max = min(n_drafts, max(0, api->answer.max_tokens - 1 - api->answer.position));
    int32_t n = 0;
    while (n < n_max && drafts[n] >= 0 && drafts[n] < api->n_vocab && !costeer_model_is_end(api->model, drafts[n])) {
        n++;
    }
    return n;
}

/* What the engine assumed was wrong: forget it. */
static void correct(cs_api *api, int32_t token)
{
    cs_api_answer *answer = &api->answer;
    const cs_api_position *position = cs_api_positions_find(&api->positions, answer->position);
    const int32_t own = position != NULL ? position->own_token : -1;
    api->stats.n_corrections += api->params.mode == COSTEER_MODE_LOCKSTEP || !api->ask.is_stream ? own != token : 1;
    api->stats.n_withdrawn += max(0, answer->drafts_at + answer->n_drafts - max(answer->position, answer->drafts_at));
    waste_rest(api, answer->position + 1);
    cs_api_http_cancel(api->http);
    answer->n_drafts = 0;
}

static costeer_err api_commit(costeer_cloud *cloud, int32_t position, int32_t token, const int32_t *drafts, int32_t n_drafts,
                              costeer_error *err)
{
    cs_api *api = (cs_api *)cloud;
    cs_api_answer *answer = &api->answer;
    if (api->phase != CS_API_READY || position != answer->position) {
        return out_of_order(api, "commit", position, err);
    }
    if (token >= api->n_vocab) {
        return cs_error_set(err, COSTEER_EINVAL, "cloud", "token %d is not one of the vocabulary's %d", token, api->n_vocab);
    }
    if (position + 1 >= answer->max_tokens) {
        return cs_error_set(err, COSTEER_ESTATE, "cloud", "commit(%d) goes beyond the %d tokens that were asked for", position,
                            answer->max_tokens);
    }
    const bool goes_on = goes_on_with(api, token);
    if (!goes_on) {
        correct(api, token);
        cs_api_positions_reset(&api->positions, position + 1);
    }
    answer->tokens[answer->n_prompt + (size_t)position] = token;
    answer->position++;
    answer->n_told = goes_on ? max(answer->n_told, answer->position) : answer->n_told;
    cs_api_positions_drop_before(&api->positions, answer->position);
    costeer_err code = COSTEER_OK;
    if (!has_next(api)) { /* at once, so that the engine computes while the SLM does */
        put_drafts(api, drafts, cut_drafts(api, drafts, n_drafts));
        code = send(api, k_of_answer(api), err);
    }
    api->phase = code == COSTEER_OK ? CS_API_RUNNING : CS_API_FAILED;
    return code;
}

static int32_t api_wants_drafts(const costeer_cloud *cloud, int32_t position, int32_t token)
{
    const cs_api *api = (const cs_api *)cloud;
    if (api->params.mode != COSTEER_MODE_DRAFTED || api->phase != CS_API_READY || position != api->answer.position) {
        return 0;
    }
    const bool is_here = goes_on_with(api, token) && cs_api_positions_find(&api->positions, position + 1) != NULL;
    if (is_here || costeer_model_is_end(api->model, token)) {
        return 0;
    }
    return max(0, min(api->params.n_drafts, api->answer.max_tokens - 2 - position));
}

static void api_read_stats(const costeer_cloud *cloud, costeer_cloud_stats *out)
{
    const cs_api *api = (const cs_api *)cloud;
    const cs_api_counts counts = cs_api_http_counts(api->http);
    *out = api->stats;
    out->bytes_up = counts.bytes_up;
    out->bytes_down = counts.bytes_down;
    out->n_messages_up = counts.n_requests;
    out->round_trip_us = counts.round_trip_us;
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

static void api_close(costeer_cloud *cloud)
{
    cs_api *api = (cs_api *)cloud;
    if (api->phase != CS_API_CLOSED) {
        waste_rest(api, api->answer.position + 1);
        cs_api_http_cancel(api->http);
        (void)cs_api_send_farewell(api, NULL);
        (void)cs_audit_answer(&api->audit, api->answer.tokens + api->answer.n_prompt, (size_t)api->answer.position, NULL);
        api->answer.cancel = NULL; /* the caller's flag may not outlive the answer */
        api->phase = CS_API_CLOSED;
    }
}

void cs_api_dispose(cs_api *api)
{
    cs_api_http_free(api->http);
    cs_api_spelling_free(api->spelling);
    cs_api_positions_dispose(&api->positions);
    cs_sse_dispose(&api->sse);
    free(api->dense);
    free(api->body);
    free(api->answer.tokens);
    free(api);
}

static void api_free(costeer_cloud *cloud)
{
    api_close(cloud);
    cs_api_dispose((cs_api *)cloud);
}

const costeer_cloud_ops cs_api_ops = {
    .open = api_open,
    .next = api_next,
    .deepen = api_deepen,
    .commit = api_commit,
    .close = api_close,
    .free = api_free,
    .wants_drafts = api_wants_drafts,
    .read_stats = api_read_stats,
};
