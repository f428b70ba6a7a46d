/*
 * The cloud: whatever answers with the base, seen from the device. open → (next → [deepen …] → commit) … → close.
 *
 * The device's loop is the same for every adapter: a model in this process (costeer_cloud_create_local), a cloud node, an
 * existing engine. Only public data passes through: prompt tokens of the query, emitted tokens, the depth asked for.
 */
#ifndef COSTEER_CLOUD_H
#define COSTEER_CLOUD_H

#include <costeer/prompt.h>
#include <costeer/steer.h>
#include <costeer/wire.h>
#include <stdatomic.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct costeer_cloud costeer_cloud;

/** The base at one position. Arrays belong to the cloud and are valid until the next commit, deepen, open or close. */
typedef struct costeer_distribution {
    costeer_base base;
    int32_t position;
    int32_t own_token;  /**< the cloud's own greedy choice */
    int64_t compute_us; /**< time the LLM took for this position, as the cloud reports it */
    bool is_deepest; /**< the cloud has no more to give of this position, although not all was sent (an engine with a limit on K)
                      */
} costeer_distribution;

/** The public request as chat messages, for a cloud that has a chat template of its own. */
typedef struct costeer_chat {
    const char *system;           /**< may be NULL */
    const costeer_message *turns; /**< [n_turns] what was said before */
    size_t n_turns;               /**< system message, turns and user are COSTEER_WIRE_CHAT_MAX at most for a node */
    const char *user;
} costeer_chat;

/** What a cloud needs to begin an answer. Not owned; copied where needed. */
typedef struct costeer_cloud_request {
    const int32_t *prompt; /**< [n_prompt] token ids */
    size_t n_prompt;
    const costeer_chat *chat;  /**< may be NULL; used instead of the tokens by a cloud that has chat messages */
    int32_t top_k;             /**< entries of the base wanted; 0: all */
    int32_t max_tokens;        /**< answer tokens that will be asked for at most */
    const atomic_bool *cancel; /**< may be NULL; set from anywhere: what runs is abandoned and next returns COSTEER_ECANCELED */
} costeer_cloud_request;

/** What an answer has cost on the way to and from the cloud; counted since open. A cloud in this process leaves it zero. */
typedef struct costeer_cloud_stats {
    uint64_t bytes_up; /**< WebSocket framing included, TLS and TCP not */
    uint64_t bytes_down;
    int32_t n_messages_up;
    int32_t n_corrections; /**< tokens that were not the one the cloud had gone on with */
    int32_t n_deepenings;
    int32_t n_tokens_sent; /**< answer tokens that the cloud has got, by commit, correction or draft */
    int32_t n_drafts_sent; /**< of them, as drafts */
    int32_t n_withdrawn;   /**< of the drafts, those that did not become part of the answer */
    int32_t n_reconnects;
    int32_t n_steps;        /**< positions that the LLM computed, as the cloud tells at the end */
    int32_t n_wasted_steps; /**< of them, in vain */
    int64_t round_trip_us;  /**< shortest seen; 0: unknown */
} costeer_cloud_stats;

/** The operations of an adapter; `self` is the object that embeds costeer_cloud first. */
typedef struct costeer_cloud_ops {
    costeer_err (*open)(costeer_cloud *self, const costeer_cloud_request *request, costeer_error *err);
    costeer_err (*next)(costeer_cloud *self, int32_t position, costeer_distribution *out, costeer_error *err);
    costeer_err (*deepen)(costeer_cloud *self, int32_t position, int32_t top_k, costeer_distribution *out, costeer_error *err);
    /** drafts[0..n_drafts) may follow; a hint that an adapter may ignore. */
    costeer_err (*commit)(costeer_cloud *self, int32_t position, int32_t token, const int32_t *drafts, int32_t n_drafts,
                          costeer_error *err);
    void (*close)(costeer_cloud *self);
    void (*free)(costeer_cloud *self);
    /** How many drafts are of use with commit(position, token); NULL: never any. */
    int32_t (*wants_drafts)(const costeer_cloud *self, int32_t position, int32_t token);
    void (*read_stats)(const costeer_cloud *self, costeer_cloud_stats *out); /**< NULL: all zero */
    void (*keep)(costeer_cloud *self);                                       /**< NULL: there is nothing to keep */
} costeer_cloud_ops;

/** Base of every adapter: an adapter's struct begins with one. */
struct costeer_cloud {
    const costeer_cloud_ops *ops;
};

/**
 * Begin an answer; the computation of position 0 starts at once and does not block.
 *
 * @return COSTEER_OK; COSTEER_ETOOLONG when prompt and answer do not fit; COSTEER_EINVAL
 */
COSTEER_API costeer_err costeer_cloud_open(costeer_cloud *cloud, const costeer_cloud_request *request, costeer_error *err);

/** Wait for the base of a position (0 after open, p+1 after commit of p). Blocks until it is there. */
COSTEER_API costeer_err costeer_cloud_next(costeer_cloud *cloud, int32_t position, costeer_distribution *out, costeer_error *err);

/** Ask for more of the same position's base: its top_k best entries, 0 for all. Never names tokens: names would be private. */
COSTEER_API costeer_err costeer_cloud_deepen(costeer_cloud *cloud, int32_t position, int32_t top_k, costeer_distribution *out,
                                             costeer_error *err);

/** Tell the token chosen at a position; the computation of the next one starts at once and does not block. */
COSTEER_API costeer_err costeer_cloud_commit(costeer_cloud *cloud, int32_t position, int32_t token, costeer_error *err);

/** How many drafts would save waiting if they came with this commit; 0: none. Call it between next and commit. */
COSTEER_API int32_t costeer_cloud_wants_drafts(const costeer_cloud *cloud, int32_t position, int32_t token);

/**
 * Commit a token and tell which ones are likely to follow, so that the cloud can compute them in one step.
 *
 * Drafts change nothing about the answer: the token of each position is still told by its own commit.
 *
 * @param drafts  [n_drafts] token ids for positions position+1 …; at most as many as costeer_cloud_wants_drafts() told
 */
COSTEER_API costeer_err costeer_cloud_commit_drafts(costeer_cloud *cloud, int32_t position, int32_t token, const int32_t *drafts,
                                                    int32_t n_drafts, costeer_error *err);

/** What the open answer, or the last one, has cost so far. */
COSTEER_API void costeer_cloud_read_stats(const costeer_cloud *cloud, costeer_cloud_stats *out);

/**
 * Between answers: show that another one may come, so that a cloud at the other end of a connection keeps it, and what it has
 * computed. Every 15 s is often enough for our node's idle time-out. Never blocks; a connection that is lost comes back with the
 * next answer.
 */
COSTEER_API void costeer_cloud_keep(costeer_cloud *cloud);

/** End the answer, in any state; the cloud can be opened again. Waits for a running step to be abandoned. */
COSTEER_API void costeer_cloud_close(costeer_cloud *cloud);
COSTEER_API void costeer_cloud_free(costeer_cloud *cloud);

typedef struct costeer_local_params {
    int32_t n_ctx;                        /**< tokens of prompt and answer; 0: what the model was trained for, at most 8192 */
    int32_t n_threads;                    /**< >= 1 */
    int32_t n_threads_prompt;             /**< of prompts, which models compute in turn: all cores are best; 0: n_threads */
    costeer_prompt_progress_fn on_prompt; /**< told how far the reading of prompts is; may be NULL */
    void *on_prompt_user;
} costeer_local_params;

/**
 * Create a cloud that is a model in this process, computing on a thread of its own.
 *
 * @param model     must outlive the cloud
 * @param[out] out  free with costeer_cloud_free(); NULL on failure
 */
COSTEER_API costeer_err costeer_cloud_create_local(const costeer_model *model, const costeer_local_params *params,
                                                   costeer_cloud **out, costeer_error *err);

/* ---- a cloud node over the network -------------------------------------------------------------------------------- */

/**
 * Receives everything that is about to be sent as JSON lines without a newline, one per frame; return false to fail the answer
 * (COSTEER_EABORTED): what was refused is not sent. Called on the thread that uses the cloud, with the connection's lock held: it
 * must not call the cloud. src/cloud/audit.h has the fields.
 */
typedef bool (*costeer_audit_fn)(const char *line, size_t n_bytes, void *user);

typedef struct costeer_native_params {
    const char *url;     /**< ws://host:port or wss://host:port, with an optional path */
    const char *ca_file; /**< PEM certificates to trust instead of the system's; NULL: the system's */
    const char *token;   /**< bearer token, NULL: none. Never sent over ws:// to other than loopback */
    costeer_cloud_mode mode;
    int32_t window;   /**< streamed: positions the node may run ahead; lowered to what it grants */
    int32_t n_drafts; /**< drafts with a commit (drafted), or with a correction (streamed and drafts_with_corrections) */
    bool drafts_with_corrections;
    bool half;              /**< accept 16-bit values; the session asks for exact ones where they do not certify */
    int32_t timeout_ms;     /**< longest wait for the cloud, reconnecting included; > 0 */
    costeer_audit_fn audit; /**< may be NULL */
    void *audit_user;
} costeer_native_params;

#define COSTEER_NATIVE_DEFAULTS \
    ((costeer_native_params){.mode = COSTEER_MODE_STREAMED, .window = 32, .n_drafts = 8, .timeout_ms = 30000})

/**
 * Create a cloud that is a node on the network (costeer/node.h), and connect.
 *
 * When the connection is lost during an answer, it connects again with growing pauses, opens the answer with what was accepted so
 * far, and goes on; the answer is the same. COSTEER_ETIMEDOUT or COSTEER_ECLOUD comes when that did not help within timeout_ms.
 * The same when a node is full or shuts down. What breaks the protocol, the certificate or the token, is not tried again.
 *
 * close waits up to 2 s (and never longer than timeout_ms) for the node's account, from which n_steps and n_wasted_steps come;
 * free another 2 s at most, when a name is just being looked up. Neither the environment's proxies nor redirects are followed.
 *
 * @param model     whose vocabulary the node must have (the SLM); must outlive the cloud
 * @param cancel    stops connecting; may be NULL
 * @param[out] out  free with costeer_cloud_free(); NULL on failure
 * @return COSTEER_OK; COSTEER_EINVAL: the URL, a token over plain ws://; COSTEER_ECLOUD: refused, wrong token, wrong certificate,
 * no node, another version; COSTEER_EPAIR: another vocabulary; COSTEER_ETIMEDOUT; COSTEER_EIO: the CA file; COSTEER_ECANCELED
 */
COSTEER_API costeer_err costeer_cloud_create_native(const costeer_model *model, const costeer_native_params *params,
                                                    const atomic_bool *cancel, costeer_cloud **out, costeer_error *err);

/** Longest prompt and answer the node takes, in tokens. Only for a cloud made by costeer_cloud_create_native(). */
COSTEER_API int32_t costeer_cloud_native_max_context(const costeer_cloud *cloud);

/** The name of the node's model, "" when it has none. Only for a cloud made by costeer_cloud_create_native(). */
COSTEER_API const char *costeer_cloud_native_name(const costeer_cloud *cloud);

#ifdef __cplusplus
}
#endif
#endif
