/*
 * The LLM with the context as the base, and its difference to the LLM without as the delta: Context Steering, Linear Alignment
 * and Amulet. What makes the two rows is a delta source; this splits it into the cloud and the delta source that a session takes.
 */
#ifndef CS_CLOUD_CONTRAST_H
#define CS_CLOUD_CONTRAST_H

#include <costeer/session.h>

/** What the two rows come from besides their delta source. Every function may be NULL. */
typedef struct cs_contrast_hooks {
    void (*set_cancel)(void *user, const atomic_bool *cancel); /**< at open, and NULL at close */
    void (*end)(void *user);                                   /**< the answer has ended */
    void (*read_stats)(const void *user, costeer_cloud_stats *out);
    void *user;
} cs_contrast_hooks;

/**
 * Create the cloud whose base is the expert's row of a delta source, and the delta source that goes with it.
 *
 * The prompts are the source's: what the cloud is opened with is not looked at. Its step runs when the cloud is asked for the
 * next position, so an answer without deltas (strength 0) is driven as well.
 *
 * @param source    of one delta: expert with the context, amateur without; must outlive the cloud
 * @param n_vocab   tokens of the vocabulary
 * @param[out] out  free with costeer_cloud_free(); NULL on failure
 */
costeer_err cs_contrast_create(costeer_delta_source *source, int32_t n_vocab, const cs_contrast_hooks *hooks, costeer_cloud **out,
                               costeer_error *err);

/** Restrict the base to its own top-p support: the fewest of its most probable tokens whose probability reaches top_p; 1: not. */
void cs_contrast_set_top_p(costeer_cloud *contrast, double top_p);

/** The delta source of a contrast; lives as long as it does. Reading it is all it can do: the cloud drives what is behind. */
costeer_delta_source *cs_contrast_deltas(costeer_cloud *contrast);

#endif
