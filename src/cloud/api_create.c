/*
 * Making the cloud of an engine: the URL, what can be checked without asking, and then the checks that ask (api_probe.c).
 */
#include "cloud/api_internal.h"
#include "util/error.h"

#include <stdlib.h>
#include <string.h>

/* "vllm+https://…": what it is, and where. */
static costeer_err parse_url(const char *text, cs_api *api, costeer_error *err)
{
    static const cs_api_dialect *const dialects[] = {&cs_api_llama_server, &cs_api_vllm, &cs_api_sglang, &cs_api_openai};
    for (size_t i = 0; text != NULL && i < sizeof dialects / sizeof dialects[0]; i++) {
        const size_t n = strlen(dialects[i]->scheme);
        if (strncmp(text, dialects[i]->scheme, n) == 0 && text[n] == '+') {
            api->info.kind = dialects[i]->kind;
            return cs_native_url_parse_http(text + n + 1, &api->url, err);
        }
    }
    return cs_native_url_parse_http(text, &api->url, err);
}

static costeer_err check_key(const cs_native_url *url, const char *key, costeer_error *err)
{
    if (key == NULL) {
        return COSTEER_OK;
    }
    if (key[0] == '\0' || strlen(key) > 1024) {
        return cs_error_set(err, COSTEER_EINVAL, "cloud", "the key is empty or longer than 1,024 characters");
    }
    for (const char *at = key; *at != '\0'; at++) {
        if (*at <= ' ' || *at > '~') { /* above all no line ends */
            return cs_error_set(err, COSTEER_EINVAL, "cloud", "the key holds a character that cannot be sent");
        }
    }
    return url->is_tls || url->is_loopback
               ? COSTEER_OK
               : cs_error_set(err, COSTEER_EINVAL, "cloud",
                              "a key is not sent over plain http:// to %s, where others could read it: use https://", url->host);
}

static costeer_err check_params(const costeer_engine_params *params, costeer_error *err)
{
    if (params->mode < COSTEER_MODE_LOCKSTEP || params->mode > COSTEER_MODE_DRAFTED) {
        return cs_error_set(err, COSTEER_EINVAL, "cloud", "mode %d is not one of lockstep, streamed, drafted", (int)params->mode);
    }
    if (params->top_k < 0 || params->window < 0) {
        return cs_error_set(err, COSTEER_EINVAL, "cloud", "top_k is %d and window %d; neither is negative", params->top_k,
                            params->window);
    }
    if (params->n_drafts < 0 || params->n_drafts > COSTEER_WIRE_DRAFTS_MAX) {
        return cs_error_set(err, COSTEER_EINVAL, "cloud", "n_drafts is %d; give 0 to %d tokens", params->n_drafts,
                            COSTEER_WIRE_DRAFTS_MAX);
    }
    if (params->model != NULL && (params->model[0] == '\0' || strlen(params->model) >= CS_API_MODEL_MAX)) {
        return cs_error_set(err, COSTEER_EINVAL, "cloud", "the model's name is empty or longer than %d characters",
                            CS_API_MODEL_MAX - 1);
    }
    return params->timeout_ms >= 1
               ? COSTEER_OK
               : cs_error_set(err, COSTEER_EINVAL, "cloud", "timeout_ms is %d; give at least 1", params->timeout_ms);
}

static costeer_err create(cs_api *api, const costeer_engine_params *params, const atomic_bool *cancel, costeer_error *err)
{
    const cs_api_http_params http = {
        .url = &api->url, .key = params->key, .ca_file = params->ca_file, .proxy = params->proxy, .no_proxy = params->no_proxy};
    costeer_err code = cs_api_http_create(&http, &api->http, err);
    code = code == COSTEER_OK ? cs_api_positions_init(&api->positions, api->n_vocab, err) : code;
    api->dense = malloc((size_t)api->n_vocab * sizeof *api->dense);
    if (code == COSTEER_OK && api->dense == NULL) {
        code = cs_error_set(err, COSTEER_ENOMEM, "cloud", "no memory for a distribution");
    }
    code = code == COSTEER_OK ? cs_api_spelling_create(api->model, &api->spelling, err) : code;
    api->setting.spelling = api->spelling;
    return code == COSTEER_OK ? cs_api_probe(api, cancel, err) : code;
}

costeer_err costeer_cloud_create_engine(const costeer_model *model, const costeer_engine_params *params,
                                        const atomic_bool *cancel, costeer_cloud **out, costeer_error *err)
{
    if (out == NULL || model == NULL || params == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "cloud", "model, params and out must not be NULL");
    }
    *out = NULL;
    cs_api *api = calloc(1, sizeof *api);
    if (api == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "cloud", "no memory for a cloud");
    }
    api->cloud.ops = &cs_api_ops;
    api->model = model;
    api->n_vocab = costeer_model_get_info(model)->n_vocab;
    api->params = *params;
    api->has_key = params->key != NULL;
    api->audit = (cs_audit){.write = params->audit, .user = params->audit_user, .model = model};
    costeer_err code = parse_url(params->url, api, err);
    code = code == COSTEER_OK ? check_params(params, err) : code;
    code = code == COSTEER_OK ? check_key(&api->url, params->key, err) : code;
    code = code == COSTEER_OK ? create(api, params, cancel, err) : code;
    api->params.url = api->params.model = api->params.key = api->params.ca_file = api->params.proxy = api->params.no_proxy = NULL;
    if (code != COSTEER_OK) {
        cs_api_dispose(api);
        return code;
    }
    *out = &api->cloud;
    return COSTEER_OK;
}

const costeer_engine_info *costeer_cloud_engine_info(const costeer_cloud *cloud)
{
    return &((const cs_api *)cloud)->info;
}
