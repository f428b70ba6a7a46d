/*
 * What an engine told of the answer's positions: for each its K best tokens, and which one it went on with. A queue in order of
 * position.
 *
 * Entries come as JSON gives them and are put right here, once for all engines: sorted, checked, without tokens of probability 0.
 * What is no log-probability is refused: the engine is not trusted.
 */
#ifndef CS_CLOUD_API_POSITIONS_H
#define CS_CLOUD_API_POSITIONS_H

#include "util/buffer.h"

#include <costeer/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct cs_api_entry {
    float value; /**< log-probability, nats */
    int32_t id;
} cs_api_entry;

typedef struct cs_api_position {
    int32_t own_token; /**< what the engine went on with; −1: no token of ours, or not its best: nothing to rely on */
    bool is_known;     /**< false: the engine kept its distribution to itself */
    bool is_all;       /**< whatever is not among the entries has a probability that is 0 in float32 */
    int32_t n_sent;    /**< entries that the engine sent, those that were left out included */
    int32_t n;
    int32_t *ids;    /**< [n] in the block */
    float *values;   /**< [n] descending, <= 0; behind them */
    cs_buffer block; /* 4 bytes each */
} cs_api_position;

typedef struct cs_api_positions {
    int32_t n_vocab;
    float sum_error; /**< nats: what an engine of this vocabulary may have lost in adding up its softmax */
    int32_t first;   /**< position of the oldest that is kept */
    int32_t n;
    int32_t head;     /**< where the oldest is */
    int32_t capacity; /**< of the ring */
    cs_api_position *ring;
    cs_api_entry *scratch; /**< [scratch_capacity] entries of the position that is being read */
    int32_t n_scratch;
    int32_t n_padding; /**< of that position, ids beyond the vocabulary, which are left out at once */
    int32_t scratch_capacity;
    uint64_t *seen; /**< [(n_vocab + 63) / 64] all zero between calls */
} cs_api_positions;

costeer_err cs_api_positions_init(cs_api_positions *positions, int32_t n_vocab, costeer_error *err);
void cs_api_positions_dispose(cs_api_positions *positions);

/** Forget all; the next one that is added is position `first`. */
void cs_api_positions_reset(cs_api_positions *positions, int32_t first);

/** NULL: it is not here (yet). */
const cs_api_position *cs_api_positions_find(const cs_api_positions *positions, int32_t position);

/** Forget all before a position. */
void cs_api_positions_drop_before(cs_api_positions *positions, int32_t position);

/** Begin the entries of the next position. */
void cs_api_positions_begin(cs_api_positions *positions);

/** Add an entry; −inf, or what stands for it in JSON (−9999, the smallest float), is left out. */
costeer_err cs_api_positions_add(cs_api_positions *positions, int64_t id, double value, costeer_error *err);

/**
 * The entries are complete: sort and check them, keep the `top_k` best (0: all).
 *
 * @param own_token  what the engine went on with
 * @return COSTEER_OK; COSTEER_ECLOUD: none, twice the same token, a sum above 1
 */
costeer_err cs_api_positions_end(cs_api_positions *positions, int64_t own_token, int32_t top_k, costeer_error *err);

/** The next position exists, but nothing is known of it. */
costeer_err cs_api_positions_skip(cs_api_positions *positions, costeer_error *err);

#endif
