/* The choice at a position: over the entries at hand, with as deep a base as it takes to be sure of it. */
#ifndef CS_CORE_CHOOSE_H
#define CS_CORE_CHOOSE_H

#include <costeer/session.h>

typedef struct cs_chooser cs_chooser;

/** Create it; every buffer that a choice needs is allocated here. Keeps nothing of `params` but numbers. */
costeer_err cs_chooser_create(const costeer_session_params *params, int32_t n_vocab, cs_chooser **out, costeer_error *err);
void cs_chooser_free(cs_chooser *chooser);

/** A new answer begins. */
void cs_chooser_reset(cs_chooser *chooser);

/** Remember an emitted token for the repetition penalty. */
void cs_chooser_accept(cs_chooser *chooser, int32_t token);

/** Choose over the entries at hand, whatever is missing. */
costeer_err cs_chooser_choose(cs_chooser *chooser, const costeer_base *base, const costeer_delta *deltas, size_t n_deltas,
                              int32_t position, costeer_choice *out, costeer_error *err);

/** The same with other deltas than those of the choice that was made, and whether the entries at hand prove it. */
costeer_err cs_chooser_choose_again(cs_chooser *chooser, const costeer_base *base, const costeer_delta *deltas, size_t n_deltas,
                                    int32_t position, costeer_choice *out, bool *is_certain);

/**
 * Choose as the full vocabulary would, asking the cloud for exact values and for more of them as long as that is not certain.
 *
 * @param cloud  open, and at the position of `from`
 * @param from   the base to begin with; the one used on return
 * @param at     position is read; certified, uncertified_kept, n_deepened, unsent_mass and fuse_us are set, cloud_wait_us grows
 */
costeer_err cs_chooser_choose_surely(cs_chooser *chooser, costeer_cloud *cloud, const costeer_delta *deltas, size_t n_deltas,
                                     costeer_distribution *from, costeer_position *at, costeer_choice *out, costeer_error *err);

/**
 * Ask the gate whether a position is steered, by the cloud's own first choice.
 *
 * Where rounding could decide, exact values are asked for first (not with constant_k).
 *
 * @param from  as above
 * @param at    gated is set, and near_tie to whether another grouping of the LLM's tokens could have decided otherwise;
 *              n_deepened and cloud_wait_us may grow
 */
costeer_err cs_chooser_ask_gate(cs_chooser *chooser, costeer_cloud *cloud, costeer_gate *gate, costeer_distribution *from,
                                costeer_position *at, costeer_error *err);

#endif
