/* A cloud node as a child process: the same program, started with `node`, on a free port of the loopback. */
#ifndef CS_BENCH_NET_NODE_H
#define CS_BENCH_NET_NODE_H

#include <costeer/error.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

typedef struct cs_net_node_params {
    const char *program; /* NULL: this program itself */
    const char *model;   /* GGUF file; NULL: the built-in LLM */
    int32_t step_ms;     /* floor of a step's time, 0: none */
    int32_t window;      /* largest that a device may ask for */
    int32_t n_parallel;  /* answers computed together */
    int32_t n_threads;
    const atomic_bool *cancel; /* ends the wait for the node; may be NULL */
} cs_net_node_params;

typedef struct cs_net_node {
    pid_t pid; /* 0: none runs */
    int out;   /* its standard output; −1: none */
    FILE *log; /* its standard error, read only when it fails */
    int32_t port;
} cs_net_node;

/**
 * Start a node and wait until it listens.
 *
 * @param[out] out  to be stopped in every case
 * @return COSTEER_OK; COSTEER_ECLOUD: it ended or told no port, the message holds the last line it wrote; COSTEER_ETIMEDOUT;
 * COSTEER_ECANCELED
 */
costeer_err cs_net_node_start(const cs_net_node_params *params, cs_net_node *out, costeer_error *err);

/** End it, by SIGTERM and after five seconds by SIGKILL, and wait for it. Harmless when none runs. */
void cs_net_node_stop(cs_net_node *node);

/**
 * Put a proxy before a node that delays both ways by half of a round trip.
 *
 * @return to be stopped with net_proxy_stop(); NULL: the error says why (COSTEER_EIO)
 */
struct net_proxy *cs_net_proxy_start(const cs_net_node *node, int32_t round_trip_ms, costeer_error *err);

#endif
