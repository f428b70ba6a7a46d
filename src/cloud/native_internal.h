/* The native cloud's object, shared by its operations (native.c), its answer (native_answer.c) and recovery (native_recover.c).
 */
#ifndef CS_CLOUD_NATIVE_INTERNAL_H
#define CS_CLOUD_NATIVE_INTERNAL_H

#include "cloud/native_inbox.h"
#include "cloud/native_outbox.h"

typedef enum cs_native_phase {
    CS_NATIVE_CLOSED,  /* no answer is open */
    CS_NATIVE_RUNNING, /* the position has not been asked for */
    CS_NATIVE_READY,   /* next() has delivered the position: deepen and commit are allowed */
    CS_NATIVE_FAILED   /* an error was delivered: only close is left */
} cs_native_phase;

/** The answer as the device knows it. Positions below `position` have their token. */
typedef struct cs_native_answer {
    int32_t *prompt; /* [n_prompt] a copy, for opening again */
    size_t n_prompt;
    costeer_message *messages; /* [n_messages] copies of the chat, system message included, where there are no tokens */
    size_t n_messages;
    int32_t *tokens; /* [max_tokens] */
    int32_t max_tokens;
    int32_t top_k;
    const atomic_bool *cancel;
    int32_t position;
    int32_t n_told;      /* positions that the node knows to be accepted */
    int32_t draft_start; /* the last draft sent: positions draft_start … draft_end − 1 */
    int32_t draft_end;
    int32_t drafts[COSTEER_WIRE_DRAFTS_MAX];
    bool is_sent; /* the node has been told of this answer, over this connection */
} cs_native_answer;

typedef struct cs_native {
    costeer_cloud cloud; /* first: the cloud is the object */
    const costeer_model *model;
    int32_t n_vocab;
    cs_native_url url;
    costeer_native_params params; /* numbers and flags; its strings are the caller's and not used after creation */
    bool has_token;
    cs_native_link *link;
    cs_inbox inbox; /* guarded by the link's lock */
    cs_native_outbox outbox;
    cs_native_phase phase;
    cs_native_answer answer;
    costeer_cloud_stats stats; /* what is counted here; read_stats adds the rest */
    /* coming back after a loss */
    bool is_trying;      /* a connection is there or being made; when it is found to be down, that is news */
    bool is_new;         /* this connection has not been used for an answer yet */
    int32_t pause_ms;    /* before the next attempt after a loss */
    int64_t retry_at_us; /* not earlier */
    bool has_cause;      /* `cause` says why the answer was interrupted */
    cs_native_link_failure cause;
    bool timed_out; /* the node said nothing for too long: it is not waited for again */
} cs_native;

/* ---- native_recover.c: connected, and the answer known to the node ------------------------------------------------ */

/** With the lock held: wait a little for a change. COSTEER_ECANCELED, COSTEER_ETIMEDOUT or, after a loss, its cause. */
costeer_err cs_native_wait(cs_native *self, const atomic_bool *cancel, int64_t deadline_us, costeer_error *err);

/** With the lock held: connect, for the first time, and wait for the hello. */
costeer_err cs_native_connect_first(cs_native *self, const atomic_bool *cancel, int64_t deadline_us, costeer_error *err);

/** With the lock held: see that the connection stands and the node knows the answer, or bring that about. Blocks. */
costeer_err cs_native_ensure(cs_native *self, int64_t deadline_us, costeer_error *err);

/** With the lock held, while nothing else is on its way: the node hears of us, and the round trip is as short as it gets. */
costeer_err cs_native_ping(cs_native *self, costeer_error *err);

/** With the lock held: find out whether the connection was lost, or the node gave the answer up. Never blocks. */
costeer_err cs_native_notice(cs_native *self, costeer_error *err);

/** With the lock held: the node answers again; the next loss starts with the shortest pause. */
void cs_native_settle(cs_native *self);

/* ---- native_answer.c: what is told to the node --------------------------------------------------------------------- */

/** Positions the node may run ahead; 0 unless streamed. */
int32_t cs_native_window(const cs_native *self);

/** With the lock held: tell the node of the answer, as far as it is accepted. */
costeer_err cs_native_send_open(cs_native *self, costeer_error *err);

/* The commit of what the node was not told of yet; false: there is nothing. */
bool cs_native_acknowledge(cs_native *self, costeer_frame *out);

/** With the lock held: tell what follows from the token of the present position, if anything, and go on to the next. */
costeer_err cs_native_accept(cs_native *self, int32_t token, const int32_t *drafts, int32_t n_drafts, costeer_error *err);

/** How many drafts would be sent with this token. */
int32_t cs_native_count_drafts(const cs_native *self, int32_t token);

/** With the lock held: the drafts that are not accepted were in vain. */
void cs_native_withdraw_drafts(cs_native *self);

#endif
