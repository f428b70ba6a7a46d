/*
 * From the options to a connected cloud. When it cannot be reached at all and the answer may be finished locally, a cloud stands
 * in that fails at the first position with the same error, so that there is one way to go on without it: the session's. The
 * environment's proxies are read here, for engines: the library never looks at the environment.
 */
#include "cli/remote.h"

#include "cli/message.h"
#include "cli/signals.h"
#include "cli/token.h"

#include <costeer/engine.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a cloud that is not there ----------------------------------------------------------------------------------- */

typedef struct absent {
    costeer_cloud base;
    costeer_error error;
} absent;

static costeer_err open_absent(costeer_cloud *self, const costeer_cloud_request *request, costeer_error *err)
{
    (void)self;
    (void)request;
    (void)err;
    return COSTEER_OK;
}

static costeer_err fail(const costeer_cloud *self, costeer_error *err)
{
    const absent *a = (const absent *)self;
    if (err != NULL) {
        *err = a->error;
    }
    return a->error.code;
}

static costeer_err next_absent(costeer_cloud *self, int32_t position, costeer_distribution *out, costeer_error *err)
{
    (void)position;
    (void)out;
    return fail(self, err);
}

static costeer_err deepen_absent(costeer_cloud *self, int32_t position, int32_t top_k, costeer_distribution *out,
                                 costeer_error *err)
{
    (void)position;
    (void)top_k;
    (void)out;
    return fail(self, err);
}

static costeer_err commit_absent(costeer_cloud *self, int32_t position, int32_t token, const int32_t *drafts, int32_t n_drafts,
                                 costeer_error *err)
{
    (void)position;
    (void)token;
    (void)drafts;
    (void)n_drafts;
    return fail(self, err);
}

static void close_absent(costeer_cloud *self)
{
    (void)self;
}

static void free_absent(costeer_cloud *self)
{
    free(self);
}

static costeer_cloud *make_absent(const costeer_error *error)
{
    static const costeer_cloud_ops ops = {.open = open_absent,
                                          .next = next_absent,
                                          .deepen = deepen_absent,
                                          .commit = commit_absent,
                                          .close = close_absent,
                                          .free = free_absent};
    absent *a = calloc(1, sizeof *a);
    if (a == NULL) {
        return NULL;
    }
    a->base.ops = &ops;
    a->error = *error;
    return (costeer_cloud *)a; /* the first member; the analyser loses sight of &a->base */
}

/* ---- connecting -------------------------------------------------------------------------------------------------- */

static bool write_audit(const char *line, size_t n_bytes, void *user)
{
    cs_remote *remote = user;
    cs_buffer *sent = remote->sent;
    if (sent != NULL && !(cs_buffer_append(sent, line, n_bytes) && cs_buffer_append(sent, "\n", 1))) {
        remote->sent = NULL; /* what is there is told of, and that it is not all */
    }
    return remote->audit == NULL || (cs_output_write(remote->audit, line, n_bytes) && cs_output_write(remote->audit, "\n", 1));
}

bool cs_remote_note(cs_remote *remote, const char *line)
{
    return write_audit(line, strlen(line), remote);
}

static bool is_audited(const cs_remote *remote)
{
    return remote->audit != NULL || remote->sent != NULL;
}

static costeer_native_params make_node_params(cs_remote *remote)
{
    const cs_settings *s = remote->settings;
    costeer_native_params params = COSTEER_NATIVE_DEFAULTS;
    params.url = s->cloud;
    params.ca_file = s->cloud_ca;
    params.token = remote->token;
    params.mode = cs_settings_mode(s);
    params.window = params.mode == COSTEER_MODE_STREAMED ? s->window : 0;
    params.n_drafts = cs_settings_n_drafts(s);
    params.drafts_with_corrections = params.mode == COSTEER_MODE_STREAMED && cs_settings_drafts_privately(s);
    params.half = s->half_precision;
    params.timeout_ms = s->timeout_ms;
    params.audit = is_audited(remote) ? write_audit : NULL;
    params.audit_user = remote;
    return params;
}

/* The first that is set and not empty, NULL: none. */
static const char *find_variable(const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *value = getenv(names[i]);
        if (value != NULL && value[0] != '\0') {
            return value;
        }
    }
    return NULL;
}

/* As curl reads them: HTTP_PROXY in capitals is not asked, because a CGI program's is its client's to set. */
static void set_proxy(costeer_engine_params *params)
{
    static const char *const plain[] = {"http_proxy", "all_proxy", "ALL_PROXY"};
    static const char *const tls[] = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};
    static const char *const none[] = {"no_proxy", "NO_PROXY"};
    bool is_tls = strstr(params->url, "https://") != NULL;
    params->proxy = is_tls ? find_variable(tls, 4) : find_variable(plain, 3);
    params->no_proxy = find_variable(none, 2);
}

static costeer_engine_params make_engine_params(cs_remote *remote)
{
    const cs_settings *s = remote->settings;
    costeer_engine_params params = COSTEER_ENGINE_DEFAULTS;
    params.url = s->cloud;
    params.model = s->cloud_model;
    params.key = remote->token;
    params.ca_file = s->cloud_ca;
    params.mode = cs_settings_mode(s);
    params.top_k = s->base_top_k;
    params.window = params.mode == COSTEER_MODE_STREAMED ? s->window : 0;
    params.n_drafts = cs_settings_n_drafts(s);
    params.timeout_ms = s->timeout_ms;
    params.audit = is_audited(remote) ? write_audit : NULL;
    params.audit_user = remote;
    set_proxy(&params);
    return params;
}

static bool goes_on_alone(const cs_settings *settings, costeer_err code)
{
    return strcmp(settings->on_cloud_failure, "local") == 0 && (code == COSTEER_ECLOUD || code == COSTEER_ETIMEDOUT);
}

int cs_remote_prepare(const cs_settings *settings, cs_output *audit, cs_remote *out)
{
    memset(out, 0, sizeof *out);
    out->settings = settings;
    out->audit = audit;
    if (settings->cloud_key_file != NULL) {
        return cs_token_read(settings->cloud_key_file, CS_KEY_BYTES_MIN, &out->token);
    }
    return settings->cloud_token_file != NULL ? cs_token_read(settings->cloud_token_file, CS_TOKEN_BYTES_MIN, &out->token)
                                              : CS_EXIT_OK;
}

/* The library knows nothing of options; who reads this does. */
static void add_advice(const cs_settings *settings, costeer_error *err)
{
    size_t used = strlen(err->message);
    const char *advice =
        settings->llm == NULL
            ? "; give --llm a GGUF with the vocabulary of the cloud's model; --vocab says how the two are used together"
            : "; --llm is to have the vocabulary of the cloud's model";
    snprintf(err->message + used, sizeof err->message - used, "%s", advice);
}

/* ---- what was found ---------------------------------------------------------------------------------------------- */

/* What was found out about an engine that a person should know: once, in one line each. */
static void tell_of_engine(const cs_remote *remote, const costeer_engine_info *info)
{
    const cs_settings *s = remote->settings;
    bool was_found = strncmp(s->cloud, "http", 4) == 0;
    if (s->quiet || remote->was_asked) {
        return;
    }
    if (was_found || s->verbose) {
        char limit[48] = "";
        if (info->top_k_max > 0) {
            snprintf(limit, sizeof limit, ", %d entries a token at most", (int)info->top_k_max);
        }
        cs_fail(CS_EXIT_OK, "the cloud is %s with the model \"%s\"%s", info->name, info->model, limit);
    }
    if (!info->vocab_checked) {
        cs_fail(CS_EXIT_OK,
                "the engine has no way to tell whether its vocabulary is the SLM's; if it is another, the answer is nonsense");
    }
    if (info->top_k_max > 0 && (s->base_top_k == 0 || s->base_top_k > info->top_k_max)) {
        cs_fail(CS_EXIT_OK,
                "the engine gives %d entries a token, not %d: what they do not prove is counted as unproved (--require-certified "
                "stops there)",
                (int)info->top_k_max, (int)s->base_top_k);
    }
    if (info->prefix_cache == COSTEER_ENGINE_NO) {
        cs_fail(CS_EXIT_OK, "the engine's prefix cache seems to be off: every correction computes the whole prompt again");
    }
}

static costeer_err connect_engine(cs_remote *remote, costeer_cloud **out, costeer_error *err)
{
    costeer_engine_params params = make_engine_params(remote);
    costeer_err code = costeer_cloud_create_engine(remote->model, &params, cs_interrupt_flag(), out, err);
    if (code == COSTEER_OK) {
        const costeer_engine_info *info = costeer_cloud_engine_info(*out);
        tell_of_engine(remote, info);
        snprintf(remote->name, sizeof remote->name, "%s", info->model);
        remote->engine = info->name;
    }
    return code;
}

static costeer_err connect_node(cs_remote *remote, costeer_cloud **out, costeer_error *err)
{
    costeer_native_params params = make_node_params(remote);
    costeer_err code = costeer_cloud_create_native(remote->model, &params, cs_interrupt_flag(), out, err);
    if (code == COSTEER_OK) {
        snprintf(remote->name, sizeof remote->name, "%s", costeer_cloud_native_name(*out));
    }
    return code;
}

costeer_err cs_remote_connect(void *user, costeer_cloud **out, costeer_error *err)
{
    cs_remote *remote = user;
    costeer_error error = {.code = COSTEER_OK};
    costeer_err code =
        cs_settings_is_engine(remote->settings) ? connect_engine(remote, out, &error) : connect_node(remote, out, &error);
    remote->was_asked = true;
    if (code == COSTEER_OK) {
        return COSTEER_OK;
    }
    if (code == COSTEER_EPAIR) {
        add_advice(remote->settings, &error);
    }
    if (goes_on_alone(remote->settings, code)) {
        *out = make_absent(&error);
        code = *out != NULL ? COSTEER_OK : COSTEER_ENOMEM;
    }
    if (code != COSTEER_OK && err != NULL) {
        *err = error;
        err->code = code;
    }
    return code;
}

void cs_remote_dispose(cs_remote *remote)
{
    cs_token_free(remote->token);
    memset(remote, 0, sizeof *remote);
}

const char *cs_remote_name(const cs_remote *remote)
{
    return remote->name;
}

int32_t cs_remote_max_context(const cs_remote *remote, const costeer_cloud *cloud)
{
    return cs_settings_is_engine(remote->settings) ? costeer_cloud_engine_info(cloud)->max_context
                                                   : costeer_cloud_native_max_context(cloud);
}
