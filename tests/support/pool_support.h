/* Sessions that share the built-in pair through a pool, each on a thread, and what they were given, bit by bit. */
#ifndef CS_TEST_POOL_SUPPORT_H
#define CS_TEST_POOL_SUPPORT_H

#include "core/pool.h"
#include "support/models.h"

#define POOL_SESSIONS_MAX 8

/** One answer, or several of the same, on a thread of its own. */
typedef struct pool_session {
    const char *context;
    const char *query;
    int32_t max_tokens;
    int32_t n_answers; /**< one after the other; 0: one */
    int32_t abort_at;  /**< position at which the caller stops, 0: none */
    int32_t cancel_at; /**< position at which it sets the flag that all share, 0: none */
    int32_t wait_at;   /**< position at which it waits for that flag, 0: none; only in eager pools, where nobody waits for it */
    costeer_err result;
    costeer_error error;
    int32_t n_tokens;
    uint64_t tokens_hash; /**< of all tokens */
    uint64_t base_hash;   /**< of the LLM's logits at all positions */
    uint64_t deltas_hash; /**< of the SLM's, amateur and expert */
} pool_session;

typedef struct pool_run {
    bool is_eager;
    uint64_t naps; /**< seed of random pauses in the callbacks; 0: none */
    int32_t n_ctx;
    int32_t n_sessions;
    pool_session sessions[POOL_SESSIONS_MAX];
    int64_t total_us;
} pool_run;

/** Load the pair, free it. */
int load_pair(void **state);
int free_pair(void **state);
extern costeer_model *llm_model;
extern costeer_model *slm_model;

/** Run all sessions to their ends; the results are in the sessions. */
void run_pool(pool_run *run);

/** Calls of llama_decode so far; needs --wrap=llama_decode. The next but n of them fails, −1: none. */
int32_t decode_calls(void);
void fail_decode(int32_t n);

#endif
