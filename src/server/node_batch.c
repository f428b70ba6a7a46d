/*
 * What the batcher calls back, on its thread and with its mutex held: a distribution becomes a frame in its connection's outbox
 * at once, so that nothing is copied twice and an answer's order is the order of encoding. The loop is woken once per step.
 */
#include "server/node_internal.h"
#include "util/clock.h"

#include <math.h>

/* ---- a distribution ---------------------------------------------------------------------------------------------- */

/* Log-probabilities from logits; rounding must not lift one above 0. */
static void normalise(const costeer_batch_distribution *distribution, float *values, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        values[i] = fminf((float)((double)distribution->base.values[i] - distribution->log_normaliser), 0.0F);
    }
}

static costeer_frame make_frame(const costeer_node *node, const costeer_batch_distribution *distribution)
{
    const costeer_base *base = &distribution->base;
    const int64_t us = distribution->compute_us > 0 ? distribution->compute_us : 0;
    costeer_frame frame = {.type = COSTEER_FRAME_DISTRIBUTION};
    costeer_frame_distribution *d = &frame.as.distribution;
    d->epoch = distribution->epoch;
    d->position = distribution->position;
    d->own_token = distribution->own_token;
    d->compute_us = us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
    if (base->ids == NULL) {
        normalise(distribution, node->dense, node->n_vocab);
        d->form = COSTEER_FORM_DENSE;
        d->tail = -INFINITY;
        d->n = node->n_vocab;
        d->values = node->dense;
    } else {
        d->form = COSTEER_FORM_EXACT;
        d->tail = base->tail;
        d->n = base->n;
        d->ids = base->ids;
        d->values = base->values;
    }
    return frame;
}

/* 16-bit values where they are welcome and can hold this one; the encoder tells. */
static costeer_err push(cs_connection *connection, costeer_frame *frame, bool half)
{
    costeer_frame_distribution *d = &frame->as.distribution;
    const int32_t n_vocab = connection->node->n_vocab;
    if (half && d->form == COSTEER_FORM_EXACT) {
        d->form = COSTEER_FORM_HALF;
        if (cs_outbox_push(&connection->out, frame, n_vocab, d->epoch) == COSTEER_OK) {
            return COSTEER_OK;
        }
        d->form = COSTEER_FORM_EXACT;
    }
    return cs_outbox_push(&connection->out, frame, n_vocab, d->epoch);
}

static void on_distribution(void *answer_user, const costeer_batch_distribution *distribution, void *user)
{
    costeer_node *node = user;
    cs_connection *connection = answer_user;
    costeer_frame frame = make_frame(node, distribution);
    pthread_mutex_lock(&connection->out.lock);
    if (!connection->is_muted) {
        /* A deepening that had to compute again begins an epoch of its own: what waits from before it is of no use. */
        cs_outbox_drop(&connection->out, distribution->epoch);
        if (push(connection, &frame, connection->half && !distribution->is_deepening) != COSTEER_OK) {
            connection->out.is_failed = true;
        }
        connection->has_delivered = true;
    }
    pthread_mutex_unlock(&connection->out.lock);
    if (distribution->is_deepening) {
        cs_node_wake(node); /* it may have come without a step */
    }
}

/* ---- ends and steps ---------------------------------------------------------------------------------------------- */

static void on_end(void *answer_user, costeer_err status, const costeer_error *error, const costeer_batch_account *account,
                   void *user)
{
    (void)error;
    costeer_node *node = user;
    cs_connection *connection = answer_user;
    cs_metrics_add(&node->metrics.wasted, account->n_wasted);
    cs_metrics_add(&node->metrics.rollbacks, account->n_rollbacks);
    cs_histogram_add(&node->metrics.queue, account->queue_us);
    pthread_mutex_lock(&connection->out.lock);
    connection->end = (cs_answer_end){.is_there = true, .status = status, .account = *account};
    pthread_mutex_unlock(&connection->out.lock);
    /* From here on the loop may free the connection. */
    cs_node_wake(node);
}

static void on_step(const costeer_batch_step *step, void *user)
{
    costeer_node *node = user;
    cs_metrics_add(&node->metrics.steps, 1);
    cs_metrics_add(&node->metrics.positions, step->n_positions > 0 ? (uint64_t)step->n_positions : 0);
    cs_metrics_add(&node->metrics.prompt_tokens, step->n_prompt_tokens > 0 ? (uint64_t)step->n_prompt_tokens : 0);
    cs_histogram_add(&node->metrics.step, step->step_us);
    cs_node_wake(node);
}

costeer_batch_callbacks cs_node_batch_callbacks(costeer_node *node)
{
    return (costeer_batch_callbacks){.on_distribution = on_distribution, .on_end = on_end, .on_step = on_step, .user = node};
}
