/*
 * The slots of a batcher: which answer's tokens each sequence of the decoder holds.
 *
 * A slot is given to those who have something to compute, in order of arrival. An answer that waits for its device keeps its
 * slot, so that the next token costs a token; but when others wait and it has been silent for a second, it gives the slot up, or
 * a few silent devices could stop everybody. When it goes on it gets one again, and what it held is computed anew.
 */
#include "cloud/batch_internal.h"
#include "util/clock.h"

/* Longer than a round trip and a device's own work; shorter than a person's patience. */
#define IDLE_US 1000000

static int32_t count_shared(const costeer_batcher *batcher, int32_t s, const cs_answer *answer)
{
    const int32_t *held = cs_decoder_held_tokens(batcher->decoder, s);
    const int32_t n_held = cs_decoder_held(batcher->decoder, s);
    const int32_t n_tokens = answer->n_prompt + answer->n_known;
    int32_t n = 0;
    while (n < n_held && n < n_tokens && held[n] == answer->tokens[n]) {
        n++;
    }
    return n;
}

/*
 * What a slot holds is used again only for its own owner: a prompt that another's cache made faster would tell, by the time it
 * takes, what that other one had asked. Of the slots that hold nothing for this owner, the one that was not used for longest
 * goes.
 */
static int32_t find_slot(const costeer_batcher *batcher, const costeer_batch_answer *answer)
{
    int32_t best = -1;
    int32_t best_shared = 0;
    for (int32_t s = 0; s < batcher->params.n_parallel; s++) {
        const cs_batch_slot *slot = &batcher->slots[s];
        if (slot->answer != NULL) {
            continue;
        }
        const bool is_own = answer->owner != 0 && slot->owner == answer->owner;
        const int32_t n_shared = is_own ? count_shared(batcher, s, &answer->state) : 0;
        if (best < 0 || n_shared > best_shared || (n_shared == best_shared && slot->used < batcher->slots[best].used)) {
            best = s;
            best_shared = n_shared;
        }
    }
    return best;
}

static bool has_work(const costeer_batch_answer *answer, const int32_t *held, int32_t n_held)
{
    return answer->is_held || answer->state.deepen != CS_DEEPEN_NONE ||
           cs_answer_find_work(&answer->state, held, n_held).rows > 0;
}

/* The slot of the answer that has been silent for longest, if that is long enough; −1: none. */
static int32_t find_idle_slot(const costeer_batcher *batcher, int64_t now_us)
{
    int32_t best = -1;
    int64_t oldest_us = now_us - IDLE_US;
    for (int32_t s = 0; s < batcher->params.n_parallel; s++) {
        const cs_batch_slot *slot = &batcher->slots[s];
        if (slot->worked_us <= oldest_us &&
            !has_work(slot->answer, cs_decoder_held_tokens(batcher->decoder, s), cs_decoder_held(batcher->decoder, s))) {
            best = s;
            oldest_us = slot->worked_us;
        }
    }
    return best;
}

static void give(costeer_batcher *batcher, int32_t s, costeer_batch_answer *answer, int64_t now_us)
{
    cs_batch_slot *slot = &batcher->slots[s];
    if (slot->answer != NULL) {
        slot->answer->slot = -1;
    }
    if (answer->owner == 0 || slot->owner != answer->owner) {
        (void)cs_decoder_truncate(batcher->decoder, s, 0);
    }
    *slot = (cs_batch_slot){.answer = answer, .owner = answer->owner, .used = batcher->step + 1, .worked_us = now_us};
    answer->slot = s;
}

bool cs_batch_assign_slots(costeer_batcher *batcher)
{
    const int64_t now_us = cs_clock_us();
    for (costeer_batch_answer *answer = batcher->first; answer != NULL; answer = answer->next) {
        if (answer->slot >= 0 || answer->is_ended || answer->is_closed || !has_work(answer, NULL, 0)) {
            continue;
        }
        int32_t s = find_slot(batcher, answer);
        s = s >= 0 ? s : find_idle_slot(batcher, now_us);
        if (s < 0) {
            return true;
        }
        give(batcher, s, answer, now_us);
    }
    return false;
}

void cs_batch_touch_slots(costeer_batcher *batcher)
{
    const int64_t now_us = cs_clock_us();
    for (int32_t s = 0; s < batcher->params.n_parallel; s++) {
        cs_batch_slot *slot = &batcher->slots[s];
        slot->worked_us = slot->was_used ? now_us : slot->worked_us;
        slot->was_used = false;
    }
}
