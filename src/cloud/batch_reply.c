/*
 * What a batcher does for its answers without computing: ending them, and deepening from what is remembered.
 *
 * A step may take long with a big model, and who asks for a deepening waits for the reply before it can choose a token. So these
 * run on a thread of their own, while the other computes; only what needs the decoder waits for the end of the step.
 */
#include "cloud/batch_base.h"
#include "cloud/batch_internal.h"

#include <stdlib.h>

/* ---- ending ------------------------------------------------------------------------------------------------------ */

void cs_batch_forget(costeer_batch_answer *answer)
{
    costeer_batcher *batcher = answer->batcher;
    *(answer->previous != NULL ? &answer->previous->next : &batcher->first) = answer->next;
    *(answer->next != NULL ? &answer->next->previous : &batcher->last) = answer->previous;
    cs_answer_dispose(&answer->state);
    free(answer);
}

void cs_batch_end(costeer_batch_answer *answer, costeer_err status, const costeer_error *error)
{
    costeer_batcher *batcher = answer->batcher;
    const costeer_batch_callbacks *callbacks = &batcher->params.callbacks;
    if (answer->slot >= 0) {
        cs_batch_slot *slot = &batcher->slots[answer->slot];
        slot->answer = NULL;
        slot->owner = status == COSTEER_OK ? slot->owner : 0; /* what it holds may be broken */
        batcher->parts[answer->slot].answer = NULL;
        (void)pthread_cond_signal(&batcher->work); /* the slot is free for another */
    }
    answer->is_ended = true;
    const costeer_batch_account account = cs_answer_close_account(&answer->state);
    callbacks->on_end(answer->user, status, error, &account, callbacks->user);
    if (answer->is_closed) {
        cs_batch_forget(answer);
    }
}

/* Useful is a row whose past has not changed; what is read of a prompt stays useful as long as the answer is there. */
static bool is_useful(const cs_batch_part *part)
{
    return part->answer != NULL && !part->answer->is_closed &&
           (part->n_gap > 0 || part->generation == part->answer->state.generation);
}

void cs_batch_check_step(costeer_batcher *batcher)
{
    for (int32_t s = 0; s < batcher->params.n_parallel; s++) {
        if (is_useful(&batcher->parts[s])) {
            return;
        }
    }
    if (batcher->is_in_step) {
        atomic_store_explicit(&batcher->stop_step, true, memory_order_relaxed);
    }
}

/* ---- deepening --------------------------------------------------------------------------------------------------- */

static void deliver_deepening(costeer_batch_answer *answer, costeer_batch_distribution *distribution)
{
    const costeer_batch_callbacks *callbacks = &answer->batcher->params.callbacks;
    distribution->epoch = answer->state.epoch;
    distribution->position = answer->state.deepen_position;
    distribution->is_deepening = true;
    answer->state.deepen = CS_DEEPEN_NONE;
    callbacks->on_distribution(answer->user, distribution, callbacks->user);
}

static bool deepen_with(costeer_batch_answer *answer, const float *logits, int64_t compute_us)
{
    cs_answer *state = &answer->state;
    costeer_batch_distribution distribution = {.compute_us = compute_us};
    costeer_error err = {0};
    if (cs_batch_read_base(answer->batcher, state, logits, state->deepen_top_k, NULL, &distribution, &err) != COSTEER_OK) {
        return false;
    }
    deliver_deepening(answer, &distribution);
    return true;
}

static void deepen_from_memory(costeer_batch_answer *answer)
{
    const cs_answer *state = &answer->state;
    const cs_answer_entry *entry = cs_answer_find_entry(state, state->deepen_position);
    if (entry != NULL && entry->logits != NULL) {
        (void)deepen_with(answer, entry->logits, entry->compute_us);
        return;
    }
    if (entry == NULL || state->deepen_top_k == 0 || state->deepen_top_k > entry->n) {
        return;
    }
    const int32_t k = state->deepen_top_k;
    costeer_batch_distribution distribution = {
        .own_token = entry->own_token,
        .compute_us = entry->compute_us,
        .base = {.ids = entry->ids,
                 .values = entry->values,
                 .n = k,
                 .tail = cs_base_tail(entry->values, k, entry->n, entry->rest)},
    };
    deliver_deepening(answer, &distribution);
}

void cs_batch_reply(costeer_batcher *batcher)
{
    for (costeer_batch_answer *answer = batcher->first, *next = NULL; answer != NULL; answer = next) {
        next = answer->next;
        if (answer->is_closed && !answer->is_ended) {
            cs_batch_end(answer, COSTEER_OK, NULL);
        } else if (!answer->is_ended && answer->state.deepen == CS_DEEPEN_ASKED) {
            deepen_from_memory(answer);
        }
    }
}

/* The logits of a position of the last step are still there as long as nothing was computed since. */
static bool deepen_from_logits(costeer_batch_answer *answer)
{
    costeer_batcher *batcher = answer->batcher;
    const cs_answer *state = &answer->state;
    const cs_answer_entry *entry = cs_answer_find_entry(state, state->deepen_position);
    if (entry == NULL || !batcher->has_logits || entry->step != batcher->step) {
        return false;
    }
    const float *logits = cs_decoder_row(batcher->decoder, entry->row);
    return logits != NULL && deepen_with(answer, logits, entry->compute_us);
}

void cs_batch_deepen(costeer_batcher *batcher)
{
    for (costeer_batch_answer *answer = batcher->first; answer != NULL; answer = answer->next) {
        if (!answer->is_ended && answer->state.deepen == CS_DEEPEN_ASKED && !deepen_from_logits(answer)) {
            cs_answer_recompute(&answer->state);
        }
    }
}
