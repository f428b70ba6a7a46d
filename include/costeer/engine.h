/*
 * An existing engine as the cloud: llama-server, vLLM, SGLang, or anything with an OpenAI-compatible /v1/completions that takes
 * token ids and gives log-probabilities. The engine is not modified and knows nothing of steering: it gets completion requests.
 *
 * The prompt goes as token ids of the model's vocabulary, so that the engine's must be the same; creating the cloud checks it.
 * docs/engines.md says what each engine is asked for, and how to start it.
 */
#ifndef COSTEER_ENGINE_H
#define COSTEER_ENGINE_H

#include <costeer/cloud.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum costeer_engine_kind {
    COSTEER_ENGINE_ANY = 0, /**< a plain URL: found out by asking */
    COSTEER_ENGINE_LLAMA_SERVER = 1,
    COSTEER_ENGINE_VLLM = 2,
    COSTEER_ENGINE_SGLANG = 3,
    COSTEER_ENGINE_OPENAI = 4 /**< any other with /v1/completions */
} costeer_engine_kind;

typedef struct costeer_engine_params {
    const char *url;      /**< http(s)://host[:port][/path], with llama-server+, vllm+, sglang+ or openai+ before it, or plain */
    const char *model;    /**< the model's name there; NULL: the only one it has */
    const char *key;      /**< API key, sent as a bearer token, never over http:// to other than loopback; NULL: none */
    const char *ca_file;  /**< PEM certificates to trust instead of the system's; NULL: the system's */
    const char *proxy;    /**< URL of an HTTP proxy; NULL: none. The environment is never asked */
    const char *no_proxy; /**< hosts that are reached without it, comma separated; may be NULL */
    costeer_cloud_mode mode; /**< drafted: vLLM and SGLang only */
    int32_t top_k;           /**< entries of the base that answers will ask for, checked to be granted; 0: all */
    int32_t window;          /**< streamed: positions asked for in one request; 0: all that the answer may need */
    int32_t n_drafts;        /**< drafted: longest draft */
    int32_t timeout_ms;      /**< longest wait for the engine, trying again included; > 0 */
    costeer_audit_fn audit;  /**< may be NULL */
    void *audit_user;
} costeer_engine_params;

#define COSTEER_ENGINE_DEFAULTS \
    ((costeer_engine_params){.mode = COSTEER_MODE_STREAMED, .top_k = 64, .n_drafts = 8, .timeout_ms = 30000})

/** What is known about something that an engine may or may not do. */
typedef enum costeer_engine_known {
    COSTEER_ENGINE_UNKNOWN = 0,
    COSTEER_ENGINE_NO = 1,
    COSTEER_ENGINE_YES = 2
} costeer_engine_known;

/** What creating the cloud found out. Strings live as long as the cloud. */
typedef struct costeer_engine_info {
    costeer_engine_kind kind;          /**< never COSTEER_ENGINE_ANY */
    const char *name;                  /**< "llama-server", "vLLM", "SGLang", "OpenAI-compatible" */
    const char *model;                 /**< as the engine calls it */
    int32_t top_k_max;                 /**< entries it gives at most; 0: as many as there are, as far as is known */
    int32_t max_context;               /**< tokens of prompt and answer; 0: it does not tell */
    bool has_ids;                      /**< it names tokens by id; else by their bytes */
    bool vocab_checked;                /**< it tokenized, or spelled, a text as the model does; false: it has no way to ask */
    costeer_engine_known prefix_cache; /**< whether a prompt's beginning is kept from one request to the next */
} costeer_engine_info;

/**
 * Create a cloud that is an engine on the network, after having checked that it can serve: its vocabulary, K, raw
 * log-probabilities. Each refusal says what to change on the engine's side.
 *
 * A request that fails for a reason that may pass (a lost connection, 429, 5xx) is made again with growing pauses, or when the
 * engine says (Retry-After), within timeout_ms. An engine with a limit on K gives what it has; what that does not certify is
 * marked (costeer_distribution.is_deepest). Redirects are not followed. Of what the engine sends nothing is believed that
 * could be checked: ids, values, their sum.
 *
 * @param model     whose vocabulary the engine must have; must outlive the cloud
 * @param cancel    stops creating it; may be NULL
 * @param[out] out  free with costeer_cloud_free(); NULL on failure
 * @return COSTEER_OK; COSTEER_EINVAL: the URL, a key over plain http://, a mode that the engine cannot serve; COSTEER_ECLOUD:
 * refused, wrong key, wrong certificate, not there, no log-probabilities, not raw ones; COSTEER_EPAIR: another vocabulary;
 * COSTEER_ETIMEDOUT; COSTEER_EIO: the CA file; COSTEER_ECANCELED
 *
 * Threads: one at a time.   Blocks: for a few round trips.
 */
COSTEER_API costeer_err costeer_cloud_create_engine(const costeer_model *model, const costeer_engine_params *params,
                                                    const atomic_bool *cancel, costeer_cloud **out, costeer_error *err);

/** Only for a cloud made by costeer_cloud_create_engine(). */
COSTEER_API const costeer_engine_info *costeer_cloud_engine_info(const costeer_cloud *cloud);

#ifdef __cplusplus
}
#endif
#endif
