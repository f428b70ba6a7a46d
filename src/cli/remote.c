/*
 * From the options to a connected cloud. When the node cannot be reached at all and the answer may be finished locally, a cloud
 * stands in that fails at the first position with the same error, so that there is one way to go on without the node: the
 * session's.
 */
#include "cli/remote.h"

#include "cli/message.h"
#include "cli/signals.h"
#include "cli/token.h"

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

int cs_remote_open(const cs_settings *settings, const costeer_model *model, cs_output *audit, cs_remote *out)
{
    memset(out, 0, sizeof *out);
    if (settings->cloud_token_file != NULL) {
        int exit_code = cs_token_read(settings->cloud_token_file, &out->token);
        if (exit_code != CS_EXIT_OK) {
            return exit_code;
        }
    }
    costeer_native_params params = make_params(settings, out->token, audit);
    costeer_error err = {.code = COSTEER_OK};
    costeer_err code = costeer_cloud_create_native(model, &params, cs_interrupt_flag(), &out->cloud, &err);
    out->is_connected = code == COSTEER_OK;
    if (code == COSTEER_OK) {
        return CS_EXIT_OK;
    }
    if (code == COSTEER_EIO) { /* of the files that connecting takes, the library reads the certificates */
        return cs_fail(CS_EXIT_INPUT, "%s", err.message);
    }
    if (!goes_on_alone(settings, code)) {
        return cs_fail_error(&err);
    }
    out->cloud = make_absent(&err);
    return out->cloud != NULL ? CS_EXIT_OK : cs_fail(CS_EXIT_INTERNAL, "out of memory");
}

void cs_remote_dispose(cs_remote *remote)
{
    costeer_cloud_free(remote->cloud);
    cs_token_free(remote->token);
    memset(remote, 0, sizeof *remote);
}

const char *cs_remote_name(const cs_remote *remote)
{
    return remote->is_connected ? costeer_cloud_native_name(remote->cloud) : "";
}
