/*
 * From bytes to positions, and from failures to what can be done about them. What may pass by itself (a lost connection, 429,
 * 5xx) is told apart from what a person must change.
 */
#include "cloud/api_internal.h"
#include "util/clock.h"
#include "util/error.h"

#include <string.h>

#define PAUSE_FIRST_MS 100
#define PAUSE_MAX_MS   3200

/* A cancel flag has no way to wake anybody; it is looked at so often. */
#define WAIT_MS 100

/* ---- what a status means ----------------------------------------------------------------------------------------- */

static bool may_pass(int64_t status)
{
    return status >= 500 || status == 429 || status == 408 || status == 425;
}

static costeer_err explain_refusal(const cs_api *api, long status, const char *message, costeer_error *err)
{
    const char *host = api->url.host;
    switch (status) {
    case 401:
    case 403:
        return api->has_key ? cs_error_set(err, COSTEER_ECLOUD, "cloud",
                                           "%s does not accept the key (HTTP %ld): check --cloud-key-file", host, status)
                            : cs_error_set(err, COSTEER_ECLOUD, "cloud",
                                           "%s wants a key (HTTP %ld): give one with --cloud-key-file", host, status);
    case 404:
        return cs_error_set(err, COSTEER_ECLOUD, "cloud",
                            "%s:%d has no %s, or no model of that name (HTTP 404; check --cloud and --cloud-model)%s%s", host,
                            api->url.port, api->dialect != NULL ? api->dialect->path : "such path",
                            message[0] != '\0' ? ": " : "", message);
    default:
        return cs_error_set(err, COSTEER_ECLOUD, "cloud", "%s refuses the request (HTTP %ld)%s%s", host, status,
                            message[0] != '\0' ? ": " : "", message);
    }
}

costeer_err cs_api_explain_status(const cs_api *api, long status, const json_t *answer, bool *is_final, costeer_error *err)
{
    char message[CS_API_MESSAGE_MAX];
    cs_api_json_message(answer, message, sizeof message);
    *is_final = true;
    if (status >= 300 && status < 400) {
        return cs_error_set(err, COSTEER_ECLOUD, "cloud",
                            "%s:%d answers with a redirect (HTTP %ld), which is not followed: give the "
                            "address that it leads to",
                            api->url.host, api->url.port, status);
    }
    if (may_pass(status)) {
        *is_final = false;
        return cs_error_set(err, COSTEER_ECLOUD, "cloud", "%s %s (HTTP %ld)%s%s", api->url.host,
                            status == 429 ? "takes no more requests now" : "fails", status, message[0] != '\0' ? ": " : "",
                            message);
    }
    return explain_refusal(api, status, message, err);
}

costeer_err cs_api_time_out(const cs_api *api, costeer_error *err)
{
    const bool is_plain = api->url.is_tls && !cs_api_http_is_secured(api->http);
    return cs_error_set(err, COSTEER_ETIMEDOUT, "cloud", "%s:%d said nothing for %d ms (--timeout-ms)%s", api->url.host,
                        api->url.port, api->params.timeout_ms, is_plain ? "; an engine without TLS is reached with http://" : "");
}

/* ---- failures ---------------------------------------------------------------------------------------------------- */

static void pause_after(cs_api *api, int64_t retry_after_ms)
{
    const int64_t pause_ms = retry_after_ms > 0 ? retry_after_ms : api->pause_ms;
    api->retry_at_us = cs_clock_us() + pause_ms * 1000;
    api->pause_ms = api->pause_ms * 2 < PAUSE_MAX_MS ? api->pause_ms * 2 : PAUSE_MAX_MS;
    api->pause_ms = api->pause_ms < PAUSE_FIRST_MS ? PAUSE_FIRST_MS : api->pause_ms;
    api->has_cause = true;
}

static cs_api_news settle(cs_api *api, const costeer_error *error, bool is_final, int64_t retry_after_ms, costeer_error *err)
{
    cs_api_http_cancel(api->http);
    if (is_final) {
        if (err != NULL) {
            *err = *error;
        }
        return CS_API_REFUSED;
    }
    api->cause = *error;
    pause_after(api, retry_after_ms);
    return CS_API_LOST;
}

/* A refusal for good, by a status or inside a stream: what can be learnt from it. */
static void note_refusal(cs_api *api, bool is_final, int64_t status, const json_t *answer)
{
    api->refused = is_final ? (long)status : 0;
    api->granted = is_final ? cs_api_json_limit(answer) : 0;
}

/* The request has ended without an answer that could be read. */
static cs_api_news explain_end(cs_api *api, const cs_api_response *response, costeer_error *err)
{
    costeer_error error = {.code = COSTEER_ECLOUD};
    bool is_final = false;
    if (response->failed) {
        (void)cs_api_http_explain(api->http, &is_final, &error);
    } else {
        json_t *answer = NULL;
        (void)cs_api_json_parse(response->bytes, response->n, &answer, NULL);
        (void)cs_api_explain_status(api, response->status, answer, &is_final, &error);
        note_refusal(api, is_final, response->status, answer);
        json_decref(answer);
    }
    return settle(api, &error, is_final, response->retry_after_ms, err);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* The status that an error object tells; 500 when it does not. */
static int64_t status_of(const json_t *answer)
{
    const json_t *error = json_object_get(answer, "error");
    return cs_api_json_int_or(json_is_object(error) ? error : answer, "code", 500);
}

/* An error inside an answer that began well. */
static bool is_error(const json_t *answer)
{
    const json_t *error = json_object_get(answer, "error");
    return error != NULL && !json_is_null(error);
}

static costeer_err read_json(cs_api *api, const char *bytes, size_t n, cs_api_news *news, costeer_error *err)
{
    json_t *answer = NULL;
    costeer_err code = cs_api_json_parse(bytes, n, &answer, err);
    if (code == COSTEER_OK && is_error(answer)) {
        char message[CS_API_MESSAGE_MAX];
        costeer_error error;
        cs_api_json_message(answer, message, sizeof message);
        (void)cs_error_set(&error, COSTEER_ECLOUD, "cloud", "%s gave the answer up: %s", api->url.host, message);
        note_refusal(api, !may_pass(status_of(answer)), status_of(answer), answer);
        *news = settle(api, &error, !may_pass(status_of(answer)), 0, err);
        code = *news == CS_API_REFUSED ? COSTEER_ECLOUD : COSTEER_OK;
    } else if (code == COSTEER_OK) {
        const int32_t n_before = api->reading.n_read;
        costeer_error error = {.code = COSTEER_OK};
        code = api->dialect->read(&api->setting, &api->ask, answer, &api->reading, &error);
        api->stats.n_steps += api->reading.n_read - n_before;
        *news = code == COSTEER_OK ? CS_API_READ : settle(api, &error, !api->reading.may_pass, 0, err);
        code = *news == CS_API_LOST ? COSTEER_OK : code;
    }
    json_decref(answer);
    return code;
}

/* One event, if one is there. */
static costeer_err read_event(cs_api *api, const cs_api_response *response, cs_api_news *news, costeer_error *err)
{
    size_t n_taken = 0;
    const cs_sse_result result = cs_sse_feed(&api->sse, response->bytes, response->n, &n_taken);
    cs_api_http_consume(api->http, n_taken);
    if (result == CS_SSE_TOO_LONG) {
        return cs_error_set(err, COSTEER_ECLOUD, "cloud", "%s sends an event of more than %zu bytes, which none should have",
                            api->url.host, api->sse.data.cap);
    }
    if (result == CS_SSE_MORE) {
        return COSTEER_OK;
    }
    const cs_buffer *data = &api->sse.data;
    if (data->n_bytes == 6 && memcmp(data->bytes, "[DONE]", 6) == 0) {
        api->reading.has_ended = true;
        *news = CS_API_READ;
        return COSTEER_OK;
    }
    return data->n_bytes > 0 ? read_json(api, data->bytes, data->n_bytes, news, err) : COSTEER_OK;
}

costeer_err cs_api_receive(cs_api *api, int wait_ms, cs_api_news *news, costeer_error *err)
{
    *news = CS_API_NOTHING;
    cs_api_response response = cs_api_http_response(api->http);
    const bool has_event = api->ask.is_stream && response.status == 200 && response.n > 0;
    if (!has_event && !response.is_done) {
        const costeer_err code = cs_api_http_run(api->http, wait_ms, err);
        if (code != COSTEER_OK) {
            return code;
        }
        response = cs_api_http_response(api->http);
    }
    const bool is_good = response.status == 200;
    if (api->ask.is_stream && is_good && response.n > 0) {
        return read_event(api, &response, news, err);
    }
    if (!response.is_done) {
        return COSTEER_OK;
    }
    if (response.failed || !is_good) {
        *news = explain_end(api, &response, err);
        return *news == CS_API_REFUSED && err != NULL ? err->code : *news == CS_API_REFUSED ? COSTEER_ECLOUD : COSTEER_OK;
    }
    if (api->ask.is_stream) {
        *news = CS_API_ENDED;
        return COSTEER_OK;
    }
    const costeer_err code = read_json(api, response.bytes, response.n, news, err);
    if (*news == CS_API_READ) {
        *news = CS_API_ENDED;
        cs_api_http_consume(api->http, response.n);
    }
    return code;
}

/* ---- checks ------------------------------------------------------------------------------------------------------ */

costeer_err cs_api_receive_check(cs_api *api, const atomic_bool *cancel, int64_t until_us, long *status, json_t **out,
                                 costeer_error *err)
{
    *status = 0;
    *out = NULL;
    cs_api_response response = cs_api_http_response(api->http);
    while (!response.is_done) {
        if (cancel != NULL && atomic_load_explicit(cancel, memory_order_relaxed)) {
            return cs_error_set(err, COSTEER_ECANCELED, "cloud", "cancelled while waiting for the engine");
        }
        if (cs_clock_us() >= until_us) {
            return cs_api_time_out(api, err);
        }
        const costeer_err code = cs_api_http_run(api->http, WAIT_MS, err);
        if (code != COSTEER_OK) {
            return code;
        }
        response = cs_api_http_response(api->http);
    }
    if (response.failed) {
        bool is_final;
        return cs_api_http_explain(api->http, &is_final, err);
    }
    *status = response.status;
    (void)cs_api_json_parse(response.bytes, response.n, out, NULL); /* a text is no JSON, and no failure of the request */
    return COSTEER_OK;
}
