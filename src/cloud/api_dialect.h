/*
 * What differs from engine to engine: how a request is written, and how its answer is read. One table of functions each; nothing
 * in them keeps state but a stream's reader.
 */
#ifndef CS_CLOUD_API_DIALECT_H
#define CS_CLOUD_API_DIALECT_H

#include "cloud/api_positions.h"
#include "cloud/api_spelling.h"

#include <costeer/engine.h>
#include <jansson.h>

/** One completion request: the public prompt, the answer so far, and what is wanted of what follows. */
typedef struct cs_api_ask {
    const int32_t *tokens; /**< [n_tokens] prompt, answer so far, drafts */
    size_t n_tokens;
    int32_t n_drafts;  /**< the last of them, whose distributions are wanted too */
    int32_t n_predict; /**< positions wanted behind the tokens, >= 1; 1 with drafts and without a stream */
    int32_t top_k;     /**< entries of each, >= 1 */
    bool wants_all;    /**< as many entries as there are: a model's output may be wider than its vocabulary */
    bool is_stream;
    bool is_probe;    /**< a check: temperature 1, to see whether that changes the log-probabilities */
    bool ignores_end; /**< an end token is no reason to say nothing */
    int32_t slot;     /**< llama-server: where the prompt's beginning is kept; −1: anywhere */
} cs_api_ask;

/** How an engine is to be asked, as far as it was found out. */
typedef struct cs_api_setting {
    const char *model;               /**< its name there */
    int32_t ascii_token;             /**< a token that is one ASCII character, −1: there is none */
    const cs_api_spelling *spelling; /**< for engines that name tokens by their text */
} cs_api_setting;

/** What reading answers leaves behind. */
typedef struct cs_api_reading {
    cs_api_positions *positions; /**< where distributions go */
    int32_t n_read;              /**< positions of this request that were read, those left out included */
    bool has_ended;              /**< the engine said that nothing follows */
    bool may_pass;               /**< reading failed for a reason that another try may not meet */
    bool has_ids;                /**< tokens were named by id */
    bool tells_once;             /**< SGLang: its events do not repeat what was told before */
    int32_t slot;                /**< llama-server: where the prompt is now; −1: not told */
    int64_t n_cached;            /**< tokens of the prompt that were not computed again; −1: not told */
    int64_t n_prompt;            /**< tokens of the prompt as the engine counts them; −1: not told */
} cs_api_reading;

typedef struct cs_api_dialect {
    costeer_engine_kind kind;
    const char *name;
    const char *scheme; /**< what stands before the '+' of a URL */
    const char *path;   /**< of completion requests */
    bool can_score;     /**< drafts can be scored in one request */
    const char *more_k; /**< what to change for a larger K, as the end of a sentence */
    json_t *(*write)(const cs_api_setting *setting, const cs_api_ask *ask); /**< NULL: no memory */
    /** Read an event of a stream, or a whole answer. */
    costeer_err (*read)(const cs_api_setting *setting, const cs_api_ask *ask, const json_t *answer, cs_api_reading *out,
                        costeer_error *err);
} cs_api_dialect;

extern const cs_api_dialect cs_api_llama_server;
extern const cs_api_dialect cs_api_vllm;
extern const cs_api_dialect cs_api_sglang;
extern const cs_api_dialect cs_api_openai;

/** Begin to read the answer of a request. */
void cs_api_reading_begin(cs_api_reading *reading, cs_api_positions *positions);

/* ---- api_json.c: JSON that is not trusted -------------------------------------------------------------------------- */

/** Parse a text; the error shows where it is broken. */
costeer_err cs_api_json_parse(const char *text, size_t n, json_t **out, costeer_error *err);

/** "the engine's answer: <where>: <what>", COSTEER_ECLOUD. */
costeer_err cs_api_json_refuse(const char *where, const char *what, costeer_error *err);

/** A whole number from min to max. */
costeer_err cs_api_json_int(const json_t *value, const char *where, int64_t min, int64_t max, int64_t *out, costeer_error *err);

/** A number; what is none (null, for NaN) is an error. */
costeer_err cs_api_json_number(const json_t *value, const char *where, double *out, costeer_error *err);

/** Whole number of an object, `missing` where there is none or something else. */
int64_t cs_api_json_int_or(const json_t *object, const char *key, int64_t missing);

/** A member that must be an array or object. */
costeer_err cs_api_json_member(const json_t *object, const char *key, json_type type, const json_t **out, costeer_error *err);

/** The message of an engine's error object, in any of the usual shapes, at most n bytes with the NUL, in one line; "" for none.
 */
void cs_api_json_message(const json_t *answer, char *out, size_t n);

/** The largest K that an engine's refusal names; 0: it names none. */
int32_t cs_api_json_limit(const json_t *answer);

/** Ids as a JSON array; NULL: no memory. */
json_t *cs_api_json_ids(const int32_t *ids, size_t n);

#endif
