/* A cloud that is a model in this process, computing in an engine that several sessions share (core/pool.h). */
#ifndef CS_CLOUD_POOLED_H
#define CS_CLOUD_POOLED_H

#include "core/decoder.h"

#include <costeer/cloud.h>

/**
 * Make a cloud of a decoder of one sequence; it has no thread of its own.
 *
 * Open and commit submit and return, next waits. What is left running by an error, close abandons. A decoder with a context of
 * its own serves too: it computes in next.
 *
 * @param view      owned by the cloud from here on, freed also on failure; its stop function becomes the request's cancel
 * @param model     the view's; must outlive the cloud
 * @param[out] out  free with costeer_cloud_free(), before the engine; NULL on failure
 */
costeer_err cs_cloud_create_pooled(cs_decoder *view, const costeer_model *model, costeer_cloud **out, costeer_error *err);

#endif
