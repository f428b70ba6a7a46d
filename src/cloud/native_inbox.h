/*
 * What a node has sent: its hello, the distributions that wait to be asked for, its account, its error. Filled by the link's
 * thread and read by the device's, both under the link's lock; the arrays of a delivered position are only read without it.
 */
#ifndef CS_CLOUD_NATIVE_INBOX_H
#define CS_CLOUD_NATIVE_INBOX_H

#include <costeer/cloud.h>

/** A distribution with room for its entries. */
typedef struct cs_inbox_slot {
    costeer_distribution distribution;
    int32_t *ids;    /* [capacity] */
    float *values;   /* [capacity] */
    size_t capacity; /* entries */
} cs_inbox_slot;

typedef struct cs_inbox {
    /* of the device's model, set by init */
    int32_t n_vocab;
    uint8_t vocab_sha256[32];
    costeer_wire_reader reader;
    /* of the connection */
    bool has_hello;
    bool knows_node; /* there was a hello before: the node must be the same */
    char name[COSTEER_WIRE_NAME_MAX + 1];
    int32_t max_context, max_window, max_drafts;
    int64_t ping_us; /* when a ping was sent; 0: none is on its way */
    uint32_t ping_nonce;
    int64_t round_trip_us; /* shortest; 0: unknown */
    bool wants_pong;
    uint32_t pong_nonce;
    uint64_t bytes_down;
    /* of the answer */
    bool is_open;    /* distributions are expected */
    bool is_closing; /* a close was sent: what comes before the account is dropped */
    bool has_account;
    costeer_frame_close account;
    bool has_error;
    costeer_wire_error error_code;
    uint32_t retry_after_ms;
    char error_text[COSTEER_WIRE_MESSAGE_MAX + 1];
    int32_t epoch;
    int32_t first; /* positions first … next − 1 are here */
    int32_t next;  /* the position that comes next */
    int32_t limit; /* the last position that the node may compute */
    int32_t max_tokens;
    int32_t top_k;    /* 0: all */
    bool allows_half; /* 16-bit values were said to be welcome */
    int32_t n_slots;
    cs_inbox_slot *slots;  /* [n_slots] by position modulo n_slots */
    cs_inbox_slot scratch; /* what is being decoded */
    cs_inbox_slot deepened;
    bool is_deepening; /* a reply is expected */
    bool has_deepened;
    int32_t deepen_position;
    int32_t deepen_top_k;
} cs_inbox;

/** COSTEER_OK; COSTEER_ENOMEM: there is nothing to dispose. */
costeer_err cs_inbox_init(cs_inbox *inbox, const costeer_model *model, costeer_error *err);
void cs_inbox_dispose(cs_inbox *inbox);

/** Make room for an answer's distributions. Keeps what is there when it suffices. */
costeer_err cs_inbox_reserve(cs_inbox *inbox, int32_t top_k, int32_t n_slots, costeer_error *err);

/** Make room for a deepening. */
costeer_err cs_inbox_reserve_deepening(cs_inbox *inbox, int32_t top_k, costeer_error *err);

/** Bytes that a message can have at most: all that may be on its way at once. */
size_t cs_inbox_message_max(const cs_inbox *inbox);

/** A new connection: everything starts with a hello. */
void cs_inbox_connect(cs_inbox *inbox);

/** An open was sent, with position `first` as the next one. */
void cs_inbox_open(cs_inbox *inbox, int32_t first, int32_t limit, int32_t max_tokens);

/** A correction was sent: a new epoch, that goes on with position `next`. */
void cs_inbox_correct(cs_inbox *inbox, int32_t next);

/** A deepening was sent. */
void cs_inbox_deepen(cs_inbox *inbox, int32_t position, int32_t top_k);

/** The distribution of a position; NULL: it has not come. */
cs_inbox_slot *cs_inbox_find(const cs_inbox *inbox, int32_t position);

/** Take a message apart. COSTEER_ECLOUD names the rule that was broken; COSTEER_EPAIR: another vocabulary. */
costeer_err cs_inbox_receive(cs_inbox *inbox, const uint8_t *bytes, size_t n, costeer_error *err);

#endif
