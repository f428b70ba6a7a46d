/* One answer of what an ensemble put together, and what came out of it. generate and compare are made of these. */
#ifndef CS_CLI_ANSWER_H
#define CS_CLI_ANSWER_H

#include "util/buffer.h"

#include <costeer/ensemble.h>
#include <jansson.h>

/** What is to be answered. Not owned. */
typedef struct cs_cli_answer_request {
    const costeer_ensemble_parts *parts;
    costeer_session_params params; /**< callbacks and user may be set: they are called with every position and text */
} cs_cli_answer_request;

typedef struct cs_cli_answer {
    cs_buffer text;
    cs_buffer reasoning; /**< empty: none */
    int32_t *tokens;     /**< [n_tokens] */
    bool *changed;       /**< [n_tokens] steering changed it */
    size_t n_tokens;
    costeer_report report;
    costeer_err status;
    costeer_error error; /**< filled when status is not COSTEER_OK */
} cs_cli_answer;

/** Run a session. Returns its status, which is also in the answer; what came before a failure is kept. */
costeer_err cs_cli_answer_run(const cs_cli_answer_request *request, cs_cli_answer *out);
void cs_cli_answer_dispose(cs_cli_answer *answer);

/** "end", "length", "stop", "cancelled", or "error". */
const char *cs_cli_answer_finish(const cs_cli_answer *answer);

/** Tokens per second after the prompt was read; 0 when there is nothing to tell it from. */
double cs_cli_answer_rate(const cs_cli_answer *answer);

/** {"prefill", "slm", "llm_wait", "fuse", "total"} in µs. NULL when memory is out. */
json_t *cs_cli_answer_times(const cs_cli_answer *answer);

#endif
