/*
 * The connection to a cloud node: WebSocket messages over TCP or TLS, on a thread of its own.
 *
 * The device's thread asks for a connection, queues messages, and waits; the link's thread does all I/O. Both share one mutex,
 * the link's; what on_message is given belongs to the user and is guarded by it too.
 */
#ifndef CS_CLOUD_NATIVE_LINK_H
#define CS_CLOUD_NATIVE_LINK_H

#include "cloud/native_url.h"

#include <costeer/error.h>
#include <stdint.h>

typedef struct cs_native_link cs_native_link;

typedef enum cs_native_link_state {
    CS_NATIVE_LINK_DOWN, /**< never connected, lost, refused, or closed: see cs_native_link_failure() */
    CS_NATIVE_LINK_CONNECTING,
    CS_NATIVE_LINK_UP
} cs_native_link_state;

typedef struct cs_native_link_params {
    const cs_native_url *url; /**< copied */
    const char *ca_file;      /**< copied; NULL: the system's certificates */
    const char *token;        /**< copied; NULL: none */
    /** A whole message, on the link's thread with the lock held. A failure ends the connection and is final. */
    costeer_err (*on_message)(void *user, const uint8_t *bytes, size_t n, costeer_error *err);
    void *user;
} cs_native_link_params;

/** Why a link is down. */
typedef struct cs_native_link_failure {
    costeer_error error;
    bool is_final; /**< trying again would not help: the certificate, the token, a broken protocol */
    bool is_busy;  /**< the node said that it has no room for another connection */
} cs_native_link_failure;

/**
 * Create a link, not connected, and start its thread.
 *
 * @return COSTEER_OK; COSTEER_EIO: the CA file; COSTEER_ENOMEM; COSTEER_EINTERNAL
 */
costeer_err cs_native_link_create(const cs_native_link_params *params, cs_native_link **out, costeer_error *err);

/** End the connection and the thread. on_message is not called once this returns. Blocks: up to 2 s, see native_link.c. */
void cs_native_link_free(cs_native_link *link);

/* Everything below is called with the lock held. */
void cs_native_link_lock(cs_native_link *link);
void cs_native_link_unlock(cs_native_link *link);

/** Wait for a change of anything, or until a time (cs_clock_us); may return early. */
void cs_native_link_wait(cs_native_link *link, int64_t until_us);

/** Start to connect, when it is down; what was queued is dropped. */
void cs_native_link_connect(cs_native_link *link);

/** Cut the connection, or stop connecting; it is down at once. */
void cs_native_link_disconnect(cs_native_link *link);

cs_native_link_state cs_native_link_get_state(const cs_native_link *link);
const cs_native_link_failure *cs_native_link_get_failure(const cs_native_link *link);

/** Make room for messages of n bytes in sum besides what steps need. False: no memory. */
bool cs_native_link_reserve(cs_native_link *link, size_t n);

/** Largest message that may come. */
void cs_native_link_set_limit(cs_native_link *link, size_t n);

/** Queue a message. False when the node takes nothing and the room is used up. */
bool cs_native_link_send(cs_native_link *link, const uint8_t *bytes, size_t n);

/** Bytes of the WebSocket header of a message of n bytes, RFC 6455 section 5.2; a client's has a mask. */
size_t cs_native_link_header_bytes(size_t n, bool is_masked);

#endif
