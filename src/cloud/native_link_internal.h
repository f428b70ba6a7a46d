/* The link's object, shared by its thread (native_link.c), its events (native_link_events.c) and its messages about failures
 * (native_link_failure.c). */
#ifndef CS_CLOUD_NATIVE_LINK_INTERNAL_H
#define CS_CLOUD_NATIVE_LINK_INTERNAL_H

#include "cloud/native_link.h"
#include "cloud/native_tls.h"

#include <libwebsockets.h>
#include <pthread.h>

/** The buffer of an incoming message starts so and grows up to the limit. */
#define CS_NATIVE_LINK_MESSAGE_BYTES 4096

struct cs_native_link {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct lws_context *context;
    struct lws_vhost *vhost;
    cs_native_url url;
    cs_native_tls tls;
    char *ca_file;
    char *token;
    costeer_err (*on_message)(void *user, const uint8_t *bytes, size_t n, costeer_error *err);
    void *user;
    /* the rest is guarded by the mutex */
    cs_native_link_state state;
    cs_native_link_failure failure;
    uintptr_t attempt; /* number of the connection that counts */
    bool wants_connect;
    bool was_asked; /* this attempt's connection was made, and the handshake sent */
    bool quit;
    bool exited;
    bool abandoned;     /* nobody waits for the thread: it frees the link */
    struct lws *wsi;    /* of this attempt; NULL: none (yet) */
    struct lws *doomed; /* of an earlier attempt, to be killed by the thread */
    uint8_t *queue;     /* [queue_capacity] messages, each behind its length */
    size_t queue_capacity, queue_head, queue_end;
    uint8_t *outgoing; /* [LWS_PRE + outgoing_capacity] the link's thread only */
    size_t outgoing_capacity;
    uint8_t *message; /* [message_capacity] the message that is coming in; the link's thread only */
    size_t message_capacity, n_message;
    size_t message_limit;
};

/** What libwebsockets is told to call. */
extern const struct lws_protocols cs_native_link_protocols[];

/** Make room for an incoming message. False: no memory. */
bool cs_native_link_grow(cs_native_link *link, size_t n);

/** With the lock held: it is down, for this reason. The first reason is the one that counts: what follows from it says less. */
void cs_native_link_fail(cs_native_link *link, const cs_native_link_failure *failure);

/** The same, with "host:port " before the text. */
void cs_native_link_fail_with(cs_native_link *link, bool is_final, const char *what);

/**
 * Say why a connection did not come about.
 *
 * @param status  of the HTTP response, 0: none came
 * @param detail  [n] libwebsockets' word for it; may be NULL
 */
cs_native_link_failure cs_native_link_explain(const cs_native_link *link, unsigned int status, const char *detail, size_t n);

#endif
