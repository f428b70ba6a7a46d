/*
 * The cloud interface: arguments are checked here, once for all adapters, so that an adapter sees only sensible ones.
 *
 * What depends on the state of an answer (commit before next, a position out of order) each adapter checks itself.
 */
#include <costeer/cloud.h>

#include "util/error.h"

costeer_err costeer_cloud_open(costeer_cloud *cloud, const costeer_cloud_request *request, costeer_error *err)
{
    if (cloud == NULL || request == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "cloud", "cloud and request must not be NULL");
    }
    if ((request->prompt == NULL || request->n_prompt == 0) && request->chat == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "cloud", "the prompt is empty");
    }
    if (request->top_k < 0) {
        return cs_error_set(err, COSTEER_EINVAL, "cloud", "top_k is %d; give a number of tokens, or 0 for all", request->top_k);
    }
    if (request->max_tokens < 1) {
        return cs_error_set(err, COSTEER_EINVAL, "cloud", "max_tokens is %d; give at least 1", request->max_tokens);
    }
    return cloud->ops->open(cloud, request, err);
}

costeer_err costeer_cloud_next(costeer_cloud *cloud, int32_t position, costeer_distribution *out, costeer_error *err)
{
    if (cloud == NULL || out == NULL || position < 0) {
        return cs_error_set(err, COSTEER_EINVAL, "cloud", "next: cloud and out must not be NULL, position %d not negative",
                            position);
    }
    return cloud->ops->next(cloud, position, out, err);
}

costeer_err costeer_cloud_deepen(costeer_cloud *cloud, int32_t position, int32_t top_k, costeer_distribution *out,
                                 costeer_error *err)
{
    if (cloud == NULL || out == NULL || position < 0 || top_k < 0) {
        return cs_error_set(err, COSTEER_EINVAL, "cloud",
                            "deepen: cloud and out must not be NULL, position %d and top_k %d not negative", position, top_k);
    }
    return cloud->ops->deepen(cloud, position, top_k, out, err);
}

costeer_err costeer_cloud_commit(costeer_cloud *cloud, int32_t position, int32_t token, costeer_error *err)
{
    if (cloud == NULL || position < 0 || token < 0) {
        return cs_error_set(err, COSTEER_EINVAL, "cloud", "commit: cloud must not be NULL, position %d and token %d not negative",
                            position, token);
    }
    return cloud->ops->commit(cloud, position, token, NULL, 0, err);
}

costeer_err costeer_cloud_commit_drafts(costeer_cloud *cloud, int32_t position, int32_t token, const int32_t *drafts,
                                        int32_t n_drafts, costeer_error *err)
{
    if (cloud == NULL || position < 0 || token < 0 || n_drafts < 0 || (n_drafts > 0 && drafts == NULL)) {
        return cs_error_set(err, COSTEER_EINVAL, "cloud",
                            "commit: cloud must not be NULL, position %d, token %d and %d drafts not negative", position, token,
                            n_drafts);
    }
    return cloud->ops->commit(cloud, position, token, drafts, n_drafts, err);
}

int32_t costeer_cloud_wants_drafts(const costeer_cloud *cloud, int32_t position, int32_t token)
{
    return cloud == NULL || cloud->ops->wants_drafts == NULL ? 0 : cloud->ops->wants_drafts(cloud, position, token);
}

void costeer_cloud_read_stats(const costeer_cloud *cloud, costeer_cloud_stats *out)
{
    *out = (costeer_cloud_stats){.bytes_up = 0};
    if (cloud != NULL && cloud->ops->read_stats != NULL) {
        cloud->ops->read_stats(cloud, out);
    }
}

void costeer_cloud_keep(costeer_cloud *cloud)
{
    if (cloud != NULL && cloud->ops->keep != NULL) {
        cloud->ops->keep(cloud);
    }
}

void costeer_cloud_close(costeer_cloud *cloud)
{
    if (cloud != NULL) {
        cloud->ops->close(cloud);
    }
}

void costeer_cloud_free(costeer_cloud *cloud)
{
    if (cloud != NULL) {
        cloud->ops->free(cloud);
    }
}
