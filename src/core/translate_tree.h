/*
 * Rows of logits behind several ways to go on from a text: a small tree of tokens.
 *
 * One way is the text as its tokenizer splits it; others are tokens that the SLM is likely to say instead, up to the text's end
 * and beyond. All sequences are asked along the same ways, and each computes one way at a time: going over to another one cuts
 * what the two do not share.
 */
#ifndef CS_CORE_TRANSLATE_TREE_H
#define CS_CORE_TRANSLATE_TREE_H

#include "core/decoder.h"

#include <costeer/steer.h>

/** Places that have rows; and how many of them one batch computes per sequence at most. */
#define CS_TREE_NODES 16
#define CS_TREE_ROWS  8

/** A place: behind a token. */
typedef struct cs_tree_node {
    bool is_used;
    bool is_text;   /**< the way here is the text's own tokens */
    int32_t token;  /**< −1: behind the prompt */
    int32_t parent; /**< the place before the token; −1: that of the text's own tokens, which is no place any more */
    size_t depth;   /**< tokens on the way here, this one included */
    int64_t end;    /**< bytes of the text that they stand for, may be beyond its end; −1: not known */
} cs_tree_node;

typedef struct cs_tree cs_tree;

/** Create it; every buffer is allocated here. `decoder`, with CS_TREE_ROWS rows per sequence, must outlive it. */
costeer_err cs_tree_create(cs_decoder *decoder, int32_t n_sequences, int32_t n_vocab, cs_tree **out, costeer_error *err);
void cs_tree_free(cs_tree *tree);

/** Compute the prompts; the only place is then the one behind them. */
costeer_err cs_tree_begin(cs_tree *tree, size_t *n_computed, costeer_error *err);

/** [CS_TREE_NODES] The caller keeps is_text and end up to date. */
cs_tree_node *cs_tree_nodes(cs_tree *tree);

/** Forget a place and all behind it; but what is text behind a place of the text stays. */
void cs_tree_drop(cs_tree *tree, int32_t node);

/**
 * Compute tokens behind a place, in one batch where they fit; the last ones, CS_TREE_ROWS at most, become places.
 *
 * @param text    [>= depth of the way's first place] the tokens of the text
 * @param node    the place they follow; −1: the first n_before tokens of the text
 * @param n       0 < n; more than CS_TREE_ROWS only when the way is the text
 * @param[out] last  the place behind the last one; its end and is_text, and those of the other new ones, are not set
 * @return COSTEER_OK; COSTEER_ETOOLONG; COSTEER_ECANCELED and others: begin again
 */
costeer_err cs_tree_extend(cs_tree *tree, const int32_t *text, size_t n_before, int32_t node, const int32_t *tokens, size_t n,
                           int32_t *last, costeer_error *err);

/** Places that can be added without forgetting one. */
size_t cs_tree_room(const cs_tree *tree);

/** True once it was seen that the model's state cannot be cut: going over to another way then costs a whole prompt. */
bool cs_tree_cannot_cut(const cs_tree *tree);

/** [n_vocab] logits behind a place; their log-sum-exp. */
const float *cs_tree_row(const cs_tree *tree, int32_t node, int32_t sequence);
double cs_tree_normaliser(cs_tree *tree, int32_t node, int32_t sequence);

#endif
