/*
 * What the files of the node share. Two threads meet here: the loop's (libwebsockets, everything about connections) and the
 * batcher's, which calls back with distributions. They share a connection's outbox and its `end`, under the outbox's lock, and
 * the metrics, which are atomic. Nobody calls the batcher while holding that lock.
 */
#ifndef CS_SERVER_NODE_INTERNAL_H
#define CS_SERVER_NODE_INTERNAL_H

#include "server/node_metrics.h"
#include "server/node_outbox.h"
#include "server/node_said.h"

#include <costeer/batcher.h>
#include <costeer/node.h>
#include <costeer/prompt.h>
#include <costeer/wire.h>
#include <libwebsockets.h>
#include <pthread.h>

/* Drafts granted: the device sends 4 unless told otherwise, and a run of private ones is hardly longer than a long name. */
#define CS_NODE_MAX_DRAFTS 16

/* Time for the TLS and HTTP handshake, and from there to the first open: a device has its prompt ready when it connects. */
#define CS_NODE_HANDSHAKE_SECONDS 10

/* Connections besides those with an answer: devices between answers, health checks, those that are still to be refused. */
#define CS_NODE_SPARE_CONNECTIONS 256

/* Small frames share a WebSocket message up to this size: a TLS record, which is what is encrypted at once. */
#define CS_NODE_MESSAGE_BYTES 16384

typedef struct cs_link {
    struct cs_link *next;
    struct cs_link *previous;
} cs_link;

typedef enum cs_answer_state {
    CS_ANSWER_NONE,    /* nothing open; an open is awaited */
    CS_ANSWER_OPEN,    /* the batcher has it */
    CS_ANSWER_CLOSING, /* the device closed it; the batcher's account is awaited, and what was received behind is kept back */
    CS_ANSWER_REFUSED  /* ended by an error: what the device sent before it knew is ignored until its next open */
} cs_answer_state;

/* How an answer ended, as the batcher told. */
typedef struct cs_answer_end {
    bool is_there;
    costeer_err status;
    costeer_batch_account account;
} cs_answer_end;

/* One WebSocket connection. Outlives its socket until the batcher has let go of its answer. */
typedef struct cs_connection {
    cs_link link;        /* in costeer_node.connections */
    cs_link answer_link; /* in costeer_node.answers while the batcher may still call */
    costeer_node *node;
    struct lws *wsi; /* NULL: the socket is gone */
    uint64_t owner;  /* a number of its own: only what was computed for this connection may be used again for it */
    cs_said said;    /* its answers, as the tokens that they are */

    cs_answer_state state;
    costeer_batch_answer *answer; /* OPEN; NULL when closed */
    bool is_held;                 /* between costeer_batch_hold() and _release() */
    bool half;                    /* the device welcomes 16-bit values */
    bool takes_drafts;            /* not in lockstep */
    bool has_messages;            /* the open answer's prompt came as messages: the next one's may hold its text */
    int32_t n_accepted;
    bool has_opened; /* at least once */

    cs_outbox out;
    cs_answer_end end;  /* under out.lock */
    bool is_muted;      /* under out.lock: distributions are of no use any more */
    bool has_delivered; /* under out.lock: since the open */

    uint8_t *in; /* [n_in] received, and not processed yet */
    size_t n_in;
    size_t in_capacity;
    size_t n_whole; /* bytes of whole messages in it */

    double frames_left; /* token buckets of the rate limits */
    double bytes_left;
    int64_t refilled_us;

    int64_t connected_us;
    int64_t heard_us;
    int64_t spoke_us;  /* last time output was taken */
    int64_t stuck_us;  /* since when output waits without any of it being taken; 0: it does not */
    int close_status;  /* 0, or the WebSocket status to close with when the outbox is empty */
    int64_t ending_us; /* when close_status was set */
} cs_connection;

struct costeer_node {
    const costeer_model *model;
    char name[COSTEER_WIRE_NAME_MAX + 1]; /* of the model, as hello takes it */
    costeer_node_params params;           /* its strings are not kept */
    costeer_batcher *batcher;
    int32_t n_vocab;
    int32_t n_ctx;
    int32_t max_connections;
    size_t message_max; /* bytes of a WebSocket message */
    bool has_token;
    uint8_t token_hash[32];

    pthread_mutex_t context_lock; /* of `context`, for waking it */
    struct lws_context *context;
    struct lws_vhost *vhost;
    lws_sorted_usec_list_t tick;
    int32_t port;

    cs_link connections;
    cs_link answers;
    uint64_t n_owners;     /* connections so far */
    int32_t n_connections; /* sockets, HTTP included */
    int32_t n_answers;     /* open */
    bool is_draining;
    int64_t drain_until_us;

    costeer_wire_reader reader; /* one for all: a frame is dealt with before the next is read */
    uint8_t *write_buffer;      /* [LWS_PRE + the longest frame, or CS_NODE_MESSAGE_BYTES] */
    float *dense;               /* [n_vocab] for the batcher's callbacks, which come one at a time */
    cs_node_metrics metrics;
};

/* ---- lists ------------------------------------------------------------------------------------------------------- */

static inline void cs_link_init(cs_link *head)
{
    head->next = head;
    head->previous = head;
}

static inline void cs_link_add(cs_link *head, cs_link *link)
{
    link->next = head;
    link->previous = head->previous;
    head->previous->next = link;
    head->previous = link;
}

static inline bool cs_link_is_in(const cs_link *link)
{
    return link->next != NULL;
}

static inline void cs_link_remove(cs_link *link)
{
    if (cs_link_is_in(link)) {
        link->next->previous = link->previous;
        link->previous->next = link->next;
        link->next = NULL;
        link->previous = NULL;
    }
}

#define CS_CONNECTION_OF(pointer, member) ((cs_connection *)(void *)((char *)(pointer)-offsetof(cs_connection, member)))

/* ---- node.c ------------------------------------------------------------------------------------------------------ */

/** Make the loop look at what happened. Any thread. */
void cs_node_wake(costeer_node *node);

/* ---- node_buffers.c ---------------------------------------------------------------------------------------------- */

/** False: no memory; free what is there in any case. */
bool cs_node_create_buffers(costeer_node *node);
void cs_node_free_buffers(costeer_node *node);

/* ---- node_batch.c ------------------------------------------------------------------------------------------------ */

/** The batcher's callbacks; their user is the node, an answer's user is its connection. */
costeer_batch_callbacks cs_node_batch_callbacks(costeer_node *node);

/* ---- node_connection.c: a connection's socket, from handshake to close ------------------------------------------ */

/** libwebsockets' callback of the protocol costeer.v1. */
int cs_node_on_websocket(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len);

/** Deal with what the batcher has brought: ends of answers, and output to be written. */
void cs_node_look_at_answers(costeer_node *node);

/** Deal with time: silent and stuck connections. */
void cs_node_look_at_clock(costeer_node *node);

/** End every answer with an error, because draining took too long. */
void cs_node_end_answers(costeer_node *node);

/** True when no connection has output left. */
bool cs_node_is_flushed(const costeer_node *node);

/** Free what the sockets left behind; only when the batcher is gone. */
void cs_node_free_connections(costeer_node *node);

/** Close with a status once the outbox is empty. */
void cs_connection_end(cs_connection *connection, int close_status);

/** Queue a frame that is not a distribution. */
void cs_connection_push(cs_connection *connection, const costeer_frame *frame);

/** Queue an error frame; its text has at most COSTEER_WIRE_MESSAGE_MAX bytes of printable ASCII. */
void cs_connection_push_error(cs_connection *connection, costeer_wire_error code, uint32_t retry_after_ms, const char *format,
                              ...) __attribute__((format(printf, 4, 5)));

/* ---- node_session.c: the protocol -------------------------------------------------------------------------------- */

/** Say who this node is. */
void cs_session_hello(cs_connection *connection);

/** A piece of a WebSocket message has come. */
void cs_session_receive(cs_connection *connection, const uint8_t *bytes, size_t n, bool is_last);

/** Process what was kept back. */
void cs_session_go_on(cs_connection *connection);

/** The batcher has let go of the answer. */
void cs_session_on_end(cs_connection *connection, const cs_answer_end *end);

/** Break a rule: tell which, end the answer, close the connection. */
void cs_session_violate(cs_connection *connection, costeer_wire_error code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** Give the answer back to the batcher, if there is one; nothing more is sent of it. */
void cs_session_drop_answer(cs_connection *connection);

/* ---- node_open.c: the open frame --------------------------------------------------------------------------------- */

void cs_session_open(cs_connection *connection, const costeer_frame_open *open);

/** The outbox's bound while nothing is open: hello, errors, pings. */
#define CS_OUTBOX_CONTROL_BYTES 4096

/* ---- node_http.c ------------------------------------------------------------------------------------------------- */

/** libwebsockets' callback of the protocol "http": requests, handshakes, new sockets. */
int cs_node_on_http(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len);

/* ---- node_address.c ---------------------------------------------------------------------------------------------- */

/** Where the server is to be bound. */
typedef struct cs_node_address {
    char numeric[64];
    bool is_ipv6;
} cs_node_address;

/**
 * Find the address to listen on, and see whether it may and can be had.
 *
 * @return COSTEER_OK; COSTEER_EINVAL: no such host, or plain beyond loopback; COSTEER_EIO: the port is taken, or not allowed
 */
costeer_err cs_node_find_address(const costeer_node_params *params, cs_node_address *out, costeer_error *err);

/* ---- node_tls.c -------------------------------------------------------------------------------------------------- */

/** See that certificate and key can be read and belong together. */
costeer_err cs_node_check_tls(const char *cert, const char *key, costeer_error *err);

#endif
