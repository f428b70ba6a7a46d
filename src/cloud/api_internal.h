/* The object of an engine's cloud, shared by its operations (api.c), its requests (api_send.c) and the checks before the first
 * token (api_probe.c). */
#ifndef CS_CLOUD_API_INTERNAL_H
#define CS_CLOUD_API_INTERNAL_H

#include "cloud/api_dialect.h"
#include "cloud/api_http.h"
#include "cloud/api_sse.h"
#include "cloud/audit.h"

/** An engine's own message is shown with so many bytes. */
#define CS_API_MESSAGE_MAX 200

/** Names of models are at most so long. */
#define CS_API_MODEL_MAX 256

typedef enum cs_api_phase {
    CS_API_CLOSED,  /* no answer is open */
    CS_API_RUNNING, /* the position has not been delivered */
    CS_API_READY,   /* next() has delivered the position: deepen and commit are allowed */
    CS_API_FAILED   /* an error was delivered: only close is left */
} cs_api_phase;

/** The answer as the device knows it. */
typedef struct cs_api_answer {
    int32_t *tokens; /* [n_prompt + max_tokens + drafts] prompt, answer, drafts behind it */
    size_t n_prompt;
    int32_t position; /* tokens of the answer that are chosen */
    int32_t max_tokens;
    int32_t top_k;
    int32_t n_told;    /* tokens of the answer that the engine has got, by its own choice too */
    int32_t n_drafts;  /* behind the last request's tokens */
    int32_t drafts_at; /* position of the first of them */
    bool is_alone;     /* this position is to be asked for without a stream, with one token */
    bool was_empty;    /* an answer for this position had nothing in it */
    int32_t slot;      /* llama-server: where the prompt's beginning is; −1: not known */
    const atomic_bool *cancel;
} cs_api_answer;

typedef struct cs_api {
    costeer_cloud cloud; /* first: the cloud is the object */
    const costeer_model *model;
    int32_t n_vocab;
    cs_native_url url;
    costeer_engine_params params; /* numbers; its strings are the caller's and not used after creation */
    bool has_key;
    const cs_api_dialect *dialect;
    cs_api_setting setting;
    cs_api_spelling *spelling;
    char model_name[CS_API_MODEL_MAX];
    costeer_engine_info info;
    int32_t n_slots; /* llama-server; 0: not known */
    cs_audit audit;
    cs_api_http *http;
    char *body;   /* of the request that is under way */
    float *dense; /* [n_vocab] the base at a position of which all was sent */
    cs_api_phase phase;
    char session[33]; /* of the answer: random hexadecimal digits */
    cs_api_answer answer;
    cs_api_ask ask; /* the request that is under way, or was the last */
    cs_sse sse;
    cs_api_positions positions;
    cs_api_reading reading;
    costeer_cloud_stats stats; /* what is counted here; read_stats adds the rest */
    int32_t pause_ms;          /* before the next attempt after a failure */
    int64_t retry_at_us;       /* not earlier */
    long refused;              /* HTTP status of a request that was refused for good; 0: none was */
    int32_t granted;           /* the largest K that the refusal named; 0: it named none */
    bool has_cause;            /* `cause` says why the answer was interrupted */
    costeer_error cause;
} cs_api;

/* ---- api.c ---------------------------------------------------------------------------------------------------------- */

extern const costeer_cloud_ops cs_api_ops;

/** Free it, whatever of it was made. */
void cs_api_dispose(cs_api *api);

/* ---- api_send.c: the one way out ----------------------------------------------------------------------------------- */

/** Send a completion request; one that is under way is cancelled. */
costeer_err cs_api_send(cs_api *api, const cs_api_ask *ask, costeer_error *err);

/** Send another request, of public texts only. `body` NULL: a GET; else it is taken over. */
costeer_err cs_api_send_check(cs_api *api, const char *path, json_t *body, const char *text, costeer_error *err);

/** See that connections for corrections stand ready. */
costeer_err cs_api_send_spares(cs_api *api, costeer_error *err);

/** After the last cancellation of an answer: see that the engine hears of it. */
costeer_err cs_api_send_farewell(cs_api *api, costeer_error *err);

/* ---- api_receive.c: what comes back -------------------------------------------------------------------------------- */

/** What became of the request that is under way. */
typedef enum cs_api_news {
    CS_API_NOTHING, /* nothing yet */
    CS_API_READ,    /* something was read into `positions` */
    CS_API_ENDED,   /* it has ended as it should */
    CS_API_LOST,    /* it has ended otherwise, and may be made again: `cause` says why, `retry_at_us` when */
    CS_API_REFUSED  /* it has ended otherwise, and trying again would not help: the error says why */
} cs_api_news;

/** Let bytes flow, wait up to wait_ms, and read one event or the whole answer. */
costeer_err cs_api_receive(cs_api *api, int wait_ms, cs_api_news *news, costeer_error *err);

/** Wait for the whole answer of a check; `out` NULL: only its status is of interest. @param[out] status  HTTP's; 0: nothing came
 */
costeer_err cs_api_receive_check(cs_api *api, const atomic_bool *cancel, int64_t until_us, long *status, json_t **out,
                                 costeer_error *err);

/** What an HTTP status means for who asked. @param[out] is_final  trying again would not help */
costeer_err cs_api_explain_status(const cs_api *api, long status, const json_t *answer, bool *is_final, costeer_error *err);

/** The engine said nothing for as long as it is waited for. */
costeer_err cs_api_time_out(const cs_api *api, costeer_error *err);

/* ---- api_probe.c: before the first token --------------------------------------------------------------------------- */

/** Find out what the engine is and whether it can serve. Fills the dialect, the setting and the info. */
costeer_err cs_api_probe(cs_api *api, const atomic_bool *cancel, costeer_error *err);

#endif
