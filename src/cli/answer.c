/* Between the options and the library: prompts, cloud, SLM and session of one answer, and the record of what the session said. */
#include "cli/answer.h"

#include "cli/message.h"
#include "cli/signals.h"

#include <stdlib.h>
#include <string.h>

/* No answer is longer than --max-tokens allows at COSTEER_PIECE_MAX bytes each; this only stops a runaway. */
#define ANSWER_BYTES_MAX ((size_t)1 << 30)

typedef struct recorder {
    const cs_cli_answer_request *request;
    cs_cli_answer *answer;
    bool out_of_memory;
} recorder;

static bool on_position(const costeer_position *position, void *user)
{
    recorder *r = user;
    r->answer->tokens[r->answer->n_tokens] = position->token;
    r->answer->changed[r->answer->n_tokens] = position->steered;
    r->answer->n_tokens++;
    costeer_position_fn next = r->request->params.on_position;
    return next == NULL || next(position, r->request->params.user);
}

static bool on_text(const char *text, size_t n_bytes, void *user)
{
    recorder *r = user;
    if (!cs_buffer_append(&r->answer->text, text, n_bytes)) {
        r->out_of_memory = true;
        return false;
    }
    costeer_text_fn next = r->request->params.on_text;
    return next == NULL || next(text, n_bytes, r->request->params.user);
}

costeer_err cs_cli_answer_run(const cs_cli_answer_request *request, cs_cli_answer *out)
{
    memset(out, 0, sizeof *out);
    out->text.cap = ANSWER_BYTES_MAX;
    recorder r = {.request = request, .answer = out};
    costeer_session_params params = request->params;
    params.on_position = on_position;
    params.on_text = on_text;
    params.user = &r;
    costeer_vocab vocab = costeer_model_vocab(request->model);
    costeer_session *session = NULL;
    out->tokens = calloc((size_t)params.max_tokens, sizeof out->tokens[0]);
    out->changed = calloc((size_t)params.max_tokens, sizeof out->changed[0]);
    r.out_of_memory = out->tokens == NULL || out->changed == NULL;
    if (!r.out_of_memory) {
        out->status = costeer_session_create(request->cloud, request->deltas, &vocab, &params, &session, &out->error);
    }
    if (session != NULL) {
        out->status = costeer_session_run(session, request->prompt->ids, request->prompt->n, &out->report, &out->error);
    }
    if (r.out_of_memory) {
        out->status = COSTEER_ENOMEM;
        out->error = (costeer_error){.code = COSTEER_ENOMEM, .message = "out of memory"};
    }
    costeer_session_free(session);
    return out->status;
}

void cs_cli_answer_dispose(cs_cli_answer *answer)
{
    cs_buffer_dispose(&answer->text);
    free(answer->tokens);
    free(answer->changed);
    memset(answer, 0, sizeof *answer);
}

const char *cs_cli_answer_finish(const cs_cli_answer *answer)
{
    if (answer->status == COSTEER_ECANCELED) {
        return "cancelled";
    }
    switch (answer->report.finish) {
    case COSTEER_FINISH_END:
        return "end";
    case COSTEER_FINISH_LENGTH:
        return "length";
    case COSTEER_FINISH_STOP:
        return "stop";
    case COSTEER_FINISH_NONE:
        break;
    }
    return "error";
}

double cs_cli_answer_rate(const cs_cli_answer *answer)
{
    int64_t decode_us = answer->report.total_us - answer->report.prefill_us;
    if (answer->report.n_tokens < 2 || decode_us <= 0) {
        return 0.0;
    }
    /* The first token's choice belongs to the prefill. */
    return (double)(answer->report.n_tokens - 1) * 1e6 / (double)decode_us;
}

json_t *cs_cli_answer_times(const cs_cli_answer *answer)
{
    const costeer_report *r = &answer->report;
    return json_pack("{s:I, s:I, s:I, s:I, s:I}", "prefill", (json_int_t)r->prefill_us, "slm", (json_int_t)r->slm_us, "llm_wait",
                     (json_int_t)r->cloud_wait_us, "fuse", (json_int_t)r->fuse_us, "total", (json_int_t)r->total_us);
}

/* ---- what a request needs ---------------------------------------------------------------------------------------- */

int cs_prompt_build(const costeer_model *model, const cs_settings *settings, const cs_inputs *inputs, const char *context,
                    costeer_tokens *out)
{
    costeer_prompt prompt = {.system = settings->system,
                             .context = context,
                             .query = inputs->query,
                             .context_template = inputs->context_template,
                             .chat_template = settings->chat_template};
    costeer_error err = {.code = COSTEER_OK};
    return costeer_prompt_build(model, &prompt, out, &err) == COSTEER_OK ? CS_EXIT_OK : cs_fail_error(&err);
}

static int build_prompts(const costeer_model *slm, const cs_settings *settings, const cs_inputs *inputs, cs_device *out)
{
    int exit_code = cs_prompt_build(slm, settings, inputs, NULL, &out->amateur);
    for (size_t i = 0; i < inputs->n_contexts && exit_code == CS_EXIT_OK; i++) {
        exit_code = cs_prompt_build(slm, settings, inputs, inputs->contexts[i], &out->experts[i]);
    }
    return exit_code;
}

int cs_device_open(const costeer_model *slm, const cs_settings *settings, const cs_inputs *inputs, cs_device *out)
{
    memset(out, 0, sizeof *out);
    int exit_code = build_prompts(slm, settings, inputs, out);
    if (exit_code != CS_EXIT_OK) {
        return exit_code;
    }
    costeer_slm_params params = {.n_contexts = (int32_t)inputs->n_contexts,
                                 .n_ctx = settings->ctx_size,
                                 .n_threads = settings->threads_slm,
                                 .n_drafts = cs_settings_n_drafts(settings)};
    costeer_error err = {.code = COSTEER_OK};
    if (costeer_slm_create(slm, &params, &out->slm, &err) != COSTEER_OK ||
        costeer_slm_set_prompts(out->slm, &out->amateur, out->experts, settings->max_tokens, &err) != COSTEER_OK) {
        return cs_fail_error(&err);
    }
    costeer_slm_set_cancel(out->slm, cs_interrupt_flag());
    return CS_EXIT_OK;
}

void cs_device_dispose(cs_device *device)
{
    costeer_slm_free(device->slm);
    costeer_tokens_dispose(&device->amateur);
    for (size_t i = 0; i < CS_OPTION_LIST_MAX; i++) {
        costeer_tokens_dispose(&device->experts[i]);
    }
    memset(device, 0, sizeof *device);
}

int cs_cloud_open(const costeer_model *model, const cs_settings *settings, int32_t n_threads, costeer_cloud **out)
{
    costeer_local_params params = {.n_ctx = settings->ctx_size, .n_threads = n_threads};
    costeer_error err = {.code = COSTEER_OK};
    return costeer_cloud_create_local(model, &params, out, &err) == COSTEER_OK ? CS_EXIT_OK : cs_fail_error(&err);
}
