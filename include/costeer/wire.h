/*
 * The protocol costeer.v1 between device and cloud node: one encoder and one decoder, used by both sides. docs/protocol.md is the
 * specification; this header is its C form.
 *
 * A WebSocket binary message holds one or more frames, one behind the other; a frame tells its own length by its fields. Nothing
 * is allocated here: the caller gives the bytes to write to, and the arrays that a decoded frame's lists are put in. Neither side
 * is trusted: what is decoded was checked (sizes, ranges, order, sums), and the first rule that is broken is named in the error.
 */
#ifndef COSTEER_WIRE_H
#define COSTEER_WIRE_H

#include <costeer/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define COSTEER_WIRE_VERSION     1
#define COSTEER_WIRE_SUBPROTOCOL "costeer.v1"

/* Hard limits of the protocol; a node's hello may set lower ones. */
#define COSTEER_WIRE_CONTEXT_MAX 1048576 /**< tokens of prompt and answer */
#define COSTEER_WIRE_VOCAB_MAX   1048576 /**< tokens of a vocabulary */
#define COSTEER_WIRE_WINDOW_MAX  256     /**< positions a node may run ahead */
#define COSTEER_WIRE_DRAFTS_MAX  32      /**< tokens of one draft frame */
#define COSTEER_WIRE_NAME_MAX    128     /**< bytes of a model's name */
#define COSTEER_WIRE_MESSAGE_MAX 256     /**< bytes of an error's text */
#define COSTEER_WIRE_CHAT_MAX    64      /**< messages of a prompt */
#define COSTEER_WIRE_ROLE_MAX    32      /**< bytes of a message's role */
#define COSTEER_WIRE_TEXT_MAX    1048576 /**< bytes of all messages' texts together */

/** The frame's first byte. */
typedef enum costeer_frame_type {
    COSTEER_FRAME_HELLO = 0x01,        /**< node: who it is and what it grants; the first frame of a connection */
    COSTEER_FRAME_OPEN = 0x02,         /**< device: begin an answer */
    COSTEER_FRAME_DISTRIBUTION = 0x03, /**< node: the base at a position */
    COSTEER_FRAME_COMMIT = 0x04,       /**< device: accepted as assumed, up to and including a position */
    COSTEER_FRAME_CORRECT = 0x05,      /**< device: another token at a position; what was assumed from there on is dropped */
    COSTEER_FRAME_DRAFT = 0x06,        /**< device: tokens to assume behind the last accepted one */
    COSTEER_FRAME_DEEPEN = 0x07,       /**< device: more of a position's base */
    COSTEER_FRAME_CLOSE = 0x08,        /**< device: end of the answer; node: its account of it */
    COSTEER_FRAME_ERROR = 0x09,        /**< either: why it ends the answer */
    COSTEER_FRAME_PING = 0x0A          /**< either: the other sends it back */
} costeer_frame_type;

/** How far the node goes without being told. */
typedef enum costeer_cloud_mode {
    COSTEER_MODE_LOCKSTEP = 0, /**< a position is computed when the one before it was accepted; window 0, no drafts */
    COSTEER_MODE_STREAMED = 1, /**< the node runs ahead on its own choice, by up to `window` positions */
    COSTEER_MODE_DRAFTED = 2   /**< the device sends drafts, the node computes them in one step; window 0 */
} costeer_cloud_mode;

/** How a distribution's values are written. */
typedef enum costeer_wire_form {
    COSTEER_FORM_EXACT = 0, /**< K entries, float32: id and log-probability */
    COSTEER_FORM_HALF = 1,  /**< K entries, 16 bits fixed point: multiples of 2^-11 nats in [-31.99, 0] */
    COSTEER_FORM_DENSE = 2  /**< all log-probabilities, float32, in order of id */
} costeer_wire_form;

/** Largest rounding error of a COSTEER_FORM_HALF value, in nats. */
#define COSTEER_WIRE_HALF_ERROR (1.0 / 4096.0)

/** Codes of an error frame. The numbers are part of the protocol. */
typedef enum costeer_wire_error {
    COSTEER_WIRE_EPROTOCOL = 1, /**< a frame broke a rule; the text names it */
    COSTEER_WIRE_EBUSY = 2,     /**< no room for another answer; retry_after_ms */
    COSTEER_WIRE_ETOOLONG = 3,  /**< prompt and answer do not fit */
    COSTEER_WIRE_EDRAINING = 4, /**< the node is being shut down */
    COSTEER_WIRE_EINTERNAL = 5, /**< the node or its model failed */
    COSTEER_WIRE_ETIMEDOUT = 6, /**< nothing was heard for too long */
    COSTEER_WIRE_ERATE = 7      /**< too many frames or bytes in a second */
} costeer_wire_error;

typedef struct costeer_frame_hello {
    int32_t version;          /**< COSTEER_WIRE_VERSION */
    int32_t n_vocab;          /**< 1 … COSTEER_WIRE_VOCAB_MAX */
    uint8_t vocab_sha256[32]; /**< as costeer_model_info.vocab_sha256, in bytes */
    int32_t max_context;      /**< tokens of prompt and answer, 1 … COSTEER_WIRE_CONTEXT_MAX */
    int32_t max_window;       /**< 0 … COSTEER_WIRE_WINDOW_MAX */
    int32_t max_drafts;       /**< 0 … COSTEER_WIRE_DRAFTS_MAX */
    const char *name;         /**< [n_name] the model's, not NUL-terminated; UTF-8 without control characters */
    size_t n_name;            /**< 0 … COSTEER_WIRE_NAME_MAX */
} costeer_frame_hello;

typedef struct costeer_chat_message {
    const char *role; /**< [n_role] "system", "user", … ; UTF-8, no control characters */
    size_t n_role;    /**< 1 … COSTEER_WIRE_ROLE_MAX */
    const char *text; /**< [n_text] UTF-8 without NUL */
    size_t n_text;
} costeer_chat_message;

/** Exactly one of tokens and messages is given. */
typedef struct costeer_frame_open {
    costeer_cloud_mode mode;
    int32_t window;        /**< 0 … hello's max_window; 0 unless streamed, >= 1 if streamed */
    int32_t top_k;         /**< entries of a distribution, 1 … n_vocab; 0: all (dense) */
    int32_t max_tokens;    /**< answer tokens at most, >= 1 */
    bool half;             /**< COSTEER_FORM_HALF is welcome; the node may still send exact ones */
    const int32_t *prompt; /**< [n_prompt] */
    size_t n_prompt;
    const costeer_chat_message *messages; /**< [n_messages] */
    size_t n_messages;                    /**< 0 … COSTEER_WIRE_CHAT_MAX */
    const int32_t *accepted; /**< [n_accepted] tokens of positions 0 … n_accepted − 1, when an answer is taken up again */
    size_t n_accepted;       /**< less than max_tokens */
} costeer_frame_open;

typedef struct costeer_frame_distribution {
    costeer_wire_form form;
    int32_t epoch;
    int32_t position;
    int32_t own_token;   /**< the node's own greedy choice; the first entry of a sparse form */
    uint32_t compute_us; /**< what the step took */
    float tail;          /**< log of the probability of all that was not sent, nats, <= 0; -inf: nothing. Dense: -inf */
    int32_t n;           /**< entries; dense: n_vocab */
    const int32_t *ids;  /**< [n] distinct; NULL when dense */
    const float *values; /**< [n] log-probabilities, <= 0. Sparse: finite, descending. Dense: −inf allowed */
} costeer_frame_distribution;

typedef struct costeer_frame_commit {
    int32_t position;
} costeer_frame_commit;

typedef struct costeer_frame_correct {
    int32_t epoch; /**< the new one: one more than the last */
    int32_t position;
    int32_t token;
} costeer_frame_correct;

typedef struct costeer_frame_draft {
    int32_t position;      /**< of the first token */
    const int32_t *tokens; /**< [n] */
    size_t n;              /**< 1 … COSTEER_WIRE_DRAFTS_MAX */
} costeer_frame_draft;

/**
 * Answered by a distribution of the same position. When the node must compute the position again, that answer's epoch is one more
 * than the request's: everything behind the position was dropped and comes again.
 */
typedef struct costeer_frame_deepen {
    int32_t epoch;
    int32_t position;
    int32_t top_k; /**< 1 … n_vocab; 0: all */
} costeer_frame_deepen;

/** A device sends zeros; the node's account counts since the answer's open. */
typedef struct costeer_frame_close {
    uint32_t n_steps;  /**< positions computed, prompt not counted */
    uint32_t n_wasted; /**< of them, those that a correction, or the end, made useless */
    uint32_t n_rollbacks;
} costeer_frame_close;

typedef struct costeer_frame_error {
    costeer_wire_error code;
    uint32_t retry_after_ms; /**< 0: do not */
    const char *message;     /**< [n_message] one line of UTF-8, not NUL-terminated */
    size_t n_message;        /**< 0 … COSTEER_WIRE_MESSAGE_MAX */
} costeer_frame_error;

typedef struct costeer_frame_ping {
    bool is_reply;
    uint32_t nonce;
} costeer_frame_ping;

/** One frame. Pointers are borrowed: from the caller when encoding, from the decoded bytes and the decoder's arrays when
 * decoding. */
typedef struct costeer_frame {
    costeer_frame_type type;
    union {
        costeer_frame_hello hello;
        costeer_frame_open open;
        costeer_frame_distribution distribution;
        costeer_frame_commit commit;
        costeer_frame_correct correct;
        costeer_frame_draft draft;
        costeer_frame_deepen deepen;
        costeer_frame_close close;
        costeer_frame_error error;
        costeer_frame_ping ping;
    } as;
} costeer_frame;

/** What a decoder accepts, and where it puts lists. Owned by the caller, one per direction of a connection. */
typedef struct costeer_wire_reader {
    bool from_node;      /**< frames come from a node: hello, distribution, close, error, ping; else those of a device */
    int32_t n_vocab;     /**< 0: not known yet, then only hello, error and ping are accepted from a node */
    int32_t max_context; /**< tokens of prompt and answer at most; 0: COSTEER_WIRE_CONTEXT_MAX */
    int32_t *ids;        /**< [max_ids] */
    size_t max_ids;      /**< prompt and accepted tokens of an open, drafts, or a distribution's entries must fit */
    float *values;       /**< [max_values] a distribution's; a device's frames need none */
    size_t max_values;
    uint64_t *seen;                 /**< [(n_vocab + 63) / 64], all zero between calls; NULL when no distribution is expected */
    costeer_chat_message *messages; /**< [COSTEER_WIRE_CHAT_MAX]; NULL from a node */
} costeer_wire_reader;

/**
 * Append a frame.
 *
 * @param n_vocab   of the vocabulary: the width of packed ids follows from it; not used by hello, error and ping
 * @param out       [capacity] bytes
 * @param[in,out] n bytes used before and after; unchanged on failure
 * @return COSTEER_OK; COSTEER_ETOOLONG when it does not fit; COSTEER_EINVAL when a field breaks the frame's rules (that a
 * distribution's ids are distinct is the caller's word: only a reader has the memory to see it), or a value does not fit
 * COSTEER_FORM_HALF
 */
COSTEER_API costeer_err costeer_wire_encode(const costeer_frame *frame, int32_t n_vocab, uint8_t *out, size_t capacity, size_t *n,
                                            costeer_error *err);

/** Upper bound of the bytes that a frame takes. */
COSTEER_API size_t costeer_wire_size_max(const costeer_frame *frame, int32_t n_vocab);

/**
 * Read and check the frame at the beginning of bytes[0..n).
 *
 * @param[out] out     valid until the reader's arrays are used again or the bytes change
 * @param[out] n_read  bytes of this frame
 * @return COSTEER_OK; COSTEER_ECLOUD: the message names the broken rule and the frame ("distribution: entry 7: token 151940 is
 * not one of 151936")
 */
COSTEER_API costeer_err costeer_wire_decode(costeer_wire_reader *reader, const uint8_t *bytes, size_t n, costeer_frame *out,
                                            size_t *n_read, costeer_error *err);

/** "hello", "open", … ; "unknown" for another number. */
COSTEER_API const char *costeer_frame_name(costeer_frame_type type);

/** "protocol", "busy", … ; "unknown" for another number. */
COSTEER_API const char *costeer_wire_error_name(costeer_wire_error code);

#ifdef __cplusplus
}
#endif
#endif
