/*
 * From the options to a connected cloud. When the node cannot be reached at all and the answer may be finished locally, a cloud
 * stands in that fails at the first position with the same error, so that there is one way to go on without the node: the
 * session's.
 */
#include "cli/remote.h"

#include "cli/message.h"
#include "cli/signals.h"
#include "cli/token.h"

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
    cs_output *out = user;
    return cs_output_write(out, line, n_bytes) && cs_output_write(out, "\n", 1);
}

static costeer_native_params make_params(const cs_settings *s, const char *token, cs_output *audit)
{
    costeer_native_params params = COSTEER_NATIVE_DEFAULTS;
    params.url = s->cloud;
    params.ca_file = s->cloud_ca;
    params.token = token;
    params.mode = cs_settings_mode(s);
    params.window = params.mode == COSTEER_MODE_STREAMED ? s->window : 0;
    params.n_drafts = cs_settings_n_drafts(s);
    params.drafts_with_corrections = params.mode == COSTEER_MODE_STREAMED && cs_settings_drafts_privately(s);
    params.half = s->half_precision;
    params.timeout_ms = s->timeout_ms;
    params.audit = audit != NULL ? write_audit : NULL;
    params.audit_user = audit;
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
    return settings->cloud_token_file != NULL ? cs_token_read(settings->cloud_token_file, &out->token) : CS_EXIT_OK;
}

/* The library knows nothing of options; who reads this does. */
static void add_advice(const cs_settings *settings, costeer_error *err)
{
    size_t used = strlen(err->message);
    const char *advice =
        settings->llm == NULL
            ? "; give --llm a GGUF with the vocabulary of the node's model; --vocab says how the two are used together"
            : "; --llm is to have the vocabulary of the node's model";
    snprintf(err->message + used, sizeof err->message - used, "%s", advice);
}

costeer_err cs_remote_connect(void *user, costeer_cloud **out, costeer_error *err)
{
    cs_remote *remote = user;
    costeer_error error = {.code = COSTEER_OK};
    costeer_native_params params = make_params(remote->settings, remote->token, remote->audit);
    costeer_err code = costeer_cloud_create_native(remote->model, &params, cs_interrupt_flag(), out, &error);
    remote->was_asked = true;
    if (code == COSTEER_OK) {
        snprintf(remote->name, sizeof remote->name, "%s", costeer_cloud_native_name(*out));
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
