/*
 * What the tests with a real llama-server share: the server with the built-in LLM, the pair, the same LLM as a cloud in this
 * process, and answers that are compared.
 */
#ifndef CS_TEST_ENGINE_PAIR_H
#define CS_TEST_ENGINE_PAIR_H

#include "support/llama_server.h"

#include <costeer/costeer.h>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define MAX_TOKENS 24
#else
#define MAX_TOKENS 48
#endif
#define N_SLOTS    2
#define N_CTX      512    /* of a slot */
#define TIMEOUT_MS 600000 /* no test waits for it */

/* The engine computes in batches of other sizes, with 16 bits for what it remembers: values of two runs differ by up to 6e-3
 * (those of two positions by whole nats). Where the best two scores are that close in one of the runs, either may win. */
#define CLOSE_NATS 1e-2

extern llama_server *server;
extern costeer_model *llm, *slm_model;
extern costeer_slm *slm;
extern costeer_cloud *local;

/** Start the server and load the pair; and the end of it. For cmocka's groups. */
int set_up(void **state);
int tear_down(void **state);

costeer_slm *create_slm(void);

#define N_MODES ((size_t)2)
extern const costeer_cloud_mode modes[N_MODES];
extern const char *const mode_names[N_MODES];

/** Parameters for the server; `scheme` is "" or what stands before the URL. */
costeer_engine_params to_server(const char *scheme);
costeer_cloud *connect_mode(costeer_cloud_mode mode);

typedef struct answer {
    int32_t tokens[MAX_TOKENS];
    int32_t n;
    double margin[MAX_TOKENS]; /**< between the two best policy scores */
    costeer_report report;
    costeer_cloud_stats stats;
} answer;

costeer_session_params greedy(void);

/** One answer; asserts nothing, so that any thread may ask. `deltas` NULL: unsteered. */
costeer_err run(costeer_cloud *cloud, costeer_delta_source *deltas, const costeer_tokens *prompt, costeer_session_params params,
                answer *out, costeer_error *err);

/** One answer of the pair's SLM and a cloud. `context` NULL: unsteered. */
answer ask(costeer_cloud *cloud, const char *query, const char *context, costeer_session_params params);

/** Returns whether the answers differ, which they may at a tie; fails the test where they differ elsewhere. */
bool differ(const answer *a, const answer *b, const char *what);

#endif
