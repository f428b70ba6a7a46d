/* A delta source of two clouds: one gives the expert, the other the amateur, each from a prompt of its own. */
#ifndef CS_CLOUD_CLOUD_DELTAS_H
#define CS_CLOUD_CLOUD_DELTAS_H

#include <costeer/session.h>

/**
 * Create it; closes the clouds' answers where it begins one, ends and is freed, but does not free the clouds.
 *
 * @param expert,amateur  two clouds, which must outlive it; their bases must be dense: open them with top_k 0
 * @param n_vocab         tokens of the vocabulary
 * @param[out] out        free with cs_cloud_deltas_free(); NULL on failure
 */
costeer_err cs_cloud_deltas_create(costeer_cloud *expert, costeer_cloud *amateur, int32_t n_vocab, costeer_delta_source **out,
                                   costeer_error *err);
void cs_cloud_deltas_free(costeer_delta_source *source);

/** Set what the next answer begins with; the requests' arrays and texts must outlive it. top_k is ignored. */
void cs_cloud_deltas_set_requests(costeer_delta_source *source, const costeer_cloud_request *expert,
                                  const costeer_cloud_request *amateur);

/** Set what stops a begin or step, from the next begin on; NULL: nothing. */
void cs_cloud_deltas_set_cancel(costeer_delta_source *source, const atomic_bool *cancel);

/** Close both clouds' answers. */
void cs_cloud_deltas_end(costeer_delta_source *source);

/** What the answer has cost: both clouds together. */
void cs_cloud_deltas_read_stats(const costeer_delta_source *source, costeer_cloud_stats *out);

#endif
