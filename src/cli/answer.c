/* Between the command and the library: the session of one answer, and the record of what it said. */
#include "cli/answer.h"

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
    r->answer->changed[r->answer->n_tokens] = position->steered && !position->is_reasoning;
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

static bool on_reasoning(const char *text, size_t n_bytes, void *user)
{
    recorder *r = user;
    if (!cs_buffer_append(&r->answer->reasoning, text, n_bytes)) {
        r->out_of_memory = true;
        return false;
    }
    costeer_text_fn next = r->request->params.on_reasoning;
    return next == NULL || next(text, n_bytes, r->request->params.user);
}

costeer_err cs_cli_answer_run(const cs_cli_answer_request *request, cs_cli_answer *out)
{
    memset(out, 0, sizeof *out);
    out->text.cap = ANSWER_BYTES_MAX;
    out->reasoning.cap = ANSWER_BYTES_MAX;
    recorder r = {.request = request, .answer = out};
    costeer_session_params params = request->params;
    params.on_position = on_position;
    params.on_text = on_text;
    params.on_reasoning = on_reasoning;
    params.user = &r;
    const costeer_ensemble_parts *parts = request->parts;
    costeer_vocab vocab = costeer_model_vocab(parts->model);
    costeer_session *session = NULL;
    out->tokens = calloc((size_t)costeer_session_positions_max(&params), sizeof out->tokens[0]);
    out->changed = calloc((size_t)costeer_session_positions_max(&params), sizeof out->changed[0]);
    r.out_of_memory = out->tokens == NULL || out->changed == NULL;
    if (!r.out_of_memory) {
        out->status = costeer_session_create(parts->cloud, parts->deltas, &vocab, &params, &session, &out->error);
    }
    if (session != NULL) {
        out->status = costeer_session_run(session, parts->prompt, parts->n_prompt, &out->report, &out->error);
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
    cs_buffer_dispose(&answer->reasoning);
    free(answer->tokens);
    free(answer->changed);
    memset(answer, 0, sizeof *answer);
}

const char *cs_cli_answer_finish(const cs_cli_answer *answer)
{
    if (answer->status == COSTEER_ECANCELED) {
        return "cancelled";
    }
    return answer->report.finish == COSTEER_FINISH_NONE ? "error" : costeer_finish_name(answer->report.finish);
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
