/*
 * Nothing reaches an engine but through post() here: a request is written as JSON, written to the audit, counted, and started, in
 * this order. Completion requests hold the public prompt, the tokens of the answer and, in drafted mode, drafts; checks hold
 * texts of our own; a GET for a spare connection holds nothing.
 */
#include "cloud/api_internal.h"
#include "util/error.h"

#include <stdlib.h>
#include <string.h>

/* A GET that every engine answers cheaply and without a key. */
#define SPARE_PATH "/v1/models"

/* Corrections come in runs, a round trip apart; a connection takes two of them, with TLS three. */
#define N_SPARES 3

/* An entry takes some 110 bytes of JSON at llama-server, where it has id, text, bytes and a long number; a text may be escaped.
 */
#define ENTRY_BYTES  1024
#define ANSWER_BYTES ((size_t)1 << 20)

/* What an answer can have at most. Of the checks, one asks for as many entries as answers will. */
static size_t answer_bytes(const cs_api *api, const cs_api_ask *ask)
{
    if (ask != NULL) {
        return ANSWER_BYTES + (size_t)ask->top_k * ENTRY_BYTES * ((size_t)ask->n_drafts + 1);
    }
    const int32_t top_k = api->params.top_k;
    return ANSWER_BYTES + (size_t)(top_k == 0 || top_k > api->n_vocab ? api->n_vocab : top_k) * ENTRY_BYTES;
}

static costeer_err no_memory(costeer_error *err)
{
    return cs_error_set(err, COSTEER_ENOMEM, "cloud", "no memory for a request");
}

static costeer_err post(cs_api *api, const char *path, json_t *body, const cs_api_ask *ask, const char *text, costeer_error *err)
{
    char *bytes = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
    json_decref(body);
    if (body != NULL && bytes == NULL) {
        return no_memory(err);
    }
    const size_t n = bytes != NULL ? strlen(bytes) : 0;
    costeer_err code = ask != NULL ? cs_audit_request(&api->audit, path, api->session, ask, api->answer.n_prompt, n, err)
                                   : cs_audit_check(&api->audit, path, text, n, err);
    if (code != COSTEER_OK) {
        free(bytes);
        return code;
    }
    cs_api_http_cancel(api->http); /* it reads the body of the request before */
    free(api->body);
    api->body = bytes;
    const bool is_stream = ask != NULL && ask->is_stream;
    const size_t limit = answer_bytes(api, ask);
    if (is_stream) {
        cs_sse_reset(&api->sse, limit);
    }
    return cs_api_http_start(api->http, path, bytes, n, is_stream, limit, err);
}

costeer_err cs_api_send(cs_api *api, const cs_api_ask *ask, costeer_error *err)
{
    json_t *body = api->dialect->write(&api->setting, ask);
    if (body == NULL) {
        return no_memory(err);
    }
    api->ask = *ask;
    cs_api_reading_begin(&api->reading, &api->positions);
    const costeer_err code = post(api, api->dialect->path, body, ask, NULL, err);
    return code == COSTEER_OK && ask->is_stream ? cs_api_send_spares(api, err) : code;
}

costeer_err cs_api_send_check(cs_api *api, const char *path, json_t *body, const char *text, costeer_error *err)
{
    return post(api, path, body, NULL, text, err);
}

costeer_err cs_api_send_spares(cs_api *api, costeer_error *err)
{
    costeer_err code = COSTEER_OK;
    while (code == COSTEER_OK && cs_api_http_wants_spare(api->http, N_SPARES)) {
        code = cs_audit_check(&api->audit, SPARE_PATH, "", 0, err);
        code = code == COSTEER_OK ? cs_api_http_open_spare(api->http, SPARE_PATH, true, err) : code;
    }
    return code;
}

costeer_err cs_api_send_farewell(cs_api *api, costeer_error *err)
{
    if (!cs_api_http_holds_reset(api->http)) {
        return COSTEER_OK;
    }
    costeer_err code = cs_audit_check(&api->audit, SPARE_PATH, "", 0, err);
    code = code == COSTEER_OK ? cs_api_http_open_spare(api->http, SPARE_PATH, false, err) : code;
    return code == COSTEER_OK ? cs_api_http_run(api->http, 0, err) : code;
}

void cs_api_reading_begin(cs_api_reading *reading, cs_api_positions *positions)
{
    *reading = (cs_api_reading){.positions = positions, .slot = -1, .n_cached = -1, .n_prompt = -1};
}
