/*
 * The cloud node: a model behind a WebSocket (subprotocol costeer.v1) with /health, /metrics and /v1/model, for many devices.
 *
 * costeer_node_run() is the server's loop on the calling thread; the model computes on another (costeer/batcher.h). The node
 * knows queries and emitted tokens, and nothing else of a device; it logs neither.
 */
#ifndef COSTEER_NODE_H
#define COSTEER_NODE_H

#include <costeer/model.h>
#include <stdatomic.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct costeer_node costeer_node;

typedef struct costeer_node_params {
    const char *address;      /**< numeric address or host name to listen on; "127.0.0.1", "::1", "0.0.0.0", … */
    int32_t port;             /**< 0: any free one, see costeer_node_port() */
    const char *tls_cert;     /**< PEM file with the certificate chain; NULL: plain, loopback only unless insecure */
    const char *tls_key;      /**< PEM file */
    const char *token;        /**< bearer token that a device must show; NULL: none */
    bool insecure;            /**< allow plain connections from beyond loopback */
    int32_t max_sessions;     /**< answers open at once, waiting ones included, >= 1 */
    int32_t n_parallel;       /**< answers computed together, >= 1, <= max_sessions */
    int32_t max_context;      /**< tokens of prompt and answer; 0: what the model was trained for, at most 8192 */
    int32_t max_window;       /**< 1 … COSTEER_WIRE_WINDOW_MAX */
    int32_t n_threads;        /**< >= 1 */
    int32_t idle_timeout_ms;  /**< a connection that says nothing for so long, with or without an answer open, is ended */
    int32_t drain_timeout_ms; /**< how long running answers may go on after the stop flag was set */
    int32_t step_floor_ms;    /**< bench only, see costeer/batcher.h */
} costeer_node_params;

#define COSTEER_NODE_DEFAULTS                         \
    ((costeer_node_params){.address = "127.0.0.1",    \
                           .port = 8790,              \
                           .max_sessions = 64,        \
                           .n_parallel = 8,           \
                           .max_window = 32,          \
                           .n_threads = 1,            \
                           .idle_timeout_ms = 120000, \
                           .drain_timeout_ms = 30000})

/**
 * Create a node and listen.
 *
 * @param model     must outlive it
 * @param[out] out  free with costeer_node_free(); NULL on failure
 * @return COSTEER_OK; COSTEER_EINVAL: a parameter, or a plain address beyond loopback; COSTEER_EIO: the port is taken, a file of
 * the certificate or key cannot be read or does not fit; COSTEER_ENOMEM
 */
COSTEER_API costeer_err costeer_node_create(const costeer_model *model, const costeer_node_params *params, costeer_node **out,
                                            costeer_error *err);
COSTEER_API void costeer_node_free(costeer_node *node);

/** The port it listens on. */
COSTEER_API int32_t costeer_node_port(const costeer_node *node);

/**
 * Serve until `stop` is set; then drain: new answers are refused, running ones finish within drain_timeout_ms.
 *
 * @param stop  set from anywhere, a signal handler too (which must then call costeer_node_wake() from a thread, or wait a second)
 * Threads: one.   Blocks: until drained.
 */
COSTEER_API costeer_err costeer_node_run(costeer_node *node, const atomic_bool *stop, costeer_error *err);

/** Make a running node look at its stop flag now. Any thread. */
COSTEER_API void costeer_node_wake(costeer_node *node);

/**
 * Make a certificate for development: a CA of one use and a certificate for localhost, 127.0.0.1, ::1 and this host's name,
 * P-256, valid for a year. Writes ca.pem, node.pem and node-key.pem (mode 0600) into a folder, which is made if needed; the CA's
 * key is kept nowhere.
 *
 * @return COSTEER_OK; COSTEER_EIO: not writable, or one of the files exists already (nothing is overwritten)
 */
COSTEER_API costeer_err costeer_node_init_tls(const char *folder, costeer_error *err);

#ifdef __cplusplus
}
#endif
#endif
