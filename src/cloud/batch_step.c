/*
 * One shared step of a batcher: what is computed, who gets which row.
 *
 * What is computed follows from two lists of tokens, the answer's and those its sequence holds; there is no other memory of what
 * was done. A row is delivered if nothing before it has changed since the step began, which the answer's generation tells.
 */
#include "cloud/batch_base.h"
#include "cloud/batch_internal.h"
#include "cloud/top_k.h"
#include "util/clock.h"
#include "util/error.h"

#include <costeer/steer.h>
#include <math.h>
#include <string.h>
#include <time.h>

/* ---- the batch --------------------------------------------------------------------------------------------------- */

/* Drop what a sequence holds too much, and see what is to be computed then. */
static cs_schedule_part find_part(costeer_batcher *batcher, int32_t s)
{
    const costeer_batch_answer *answer = batcher->slots[s].answer;
    if (answer == NULL || answer->is_held || answer->is_closed) {
        return (cs_schedule_part){0};
    }
    const cs_answer_work work =
        cs_answer_find_work(&answer->state, cs_decoder_held_tokens(batcher->decoder, s), cs_decoder_held(batcher->decoder, s));
    if (work.rows == 0) {
        return (cs_schedule_part){0};
    }
    const int32_t n_held = cs_decoder_truncate(batcher->decoder, s, work.start);
    return (cs_schedule_part){.gap = work.start - n_held + work.gap, .rows = work.rows};
}

/* Tokens of one answer go into the batch one behind the other, so its rows do too. */
static cs_batch_part add_part(costeer_batcher *batcher, int32_t s, const cs_schedule_part *scheduled)
{
    costeer_batch_answer *answer = batcher->slots[s].answer;
    cs_batch_part part = {.answer = answer,
                          .generation = answer->state.generation,
                          .is_continued = scheduled->gap == 0,
                          .n_gap = scheduled->take_gap,
                          .n_rows = scheduled->take_rows,
                          .first_row = -1};
    const int32_t *tokens = answer->state.tokens + cs_decoder_held(batcher->decoder, s);
    for (int32_t i = 0; i < part.n_gap; i++) {
        (void)cs_decoder_add(batcher->decoder, s, tokens[i], false);
    }
    for (int32_t i = 0; i < part.n_rows; i++) {
        const int32_t row = cs_decoder_add(batcher->decoder, s, tokens[part.n_gap + i], true);
        part.first_row = i == 0 ? row : part.first_row;
    }
    cs_answer_start_rows(&answer->state, part.n_rows);
    return part;
}

/* Choose what is computed and put it into the decoder's batch. False: nothing. */
static bool begin_step(costeer_batcher *batcher, int64_t now_us, costeer_batch_step *step)
{
    const int32_t n = batcher->params.n_parallel;
    for (int32_t s = 0; s < n; s++) {
        batcher->schedule[s] = find_part(batcher, s);
    }
    const int32_t first = (int32_t)(batcher->step % (uint64_t)n);
    if (cs_schedule(batcher->schedule, n, first, &batcher->step_limits) == 0) {
        return false;
    }
    cs_decoder_begin(batcher->decoder);
    batcher->has_logits = false;
    batcher->step++;
    for (int32_t s = 0; s < n; s++) {
        const cs_schedule_part *scheduled = &batcher->schedule[s];
        batcher->parts[s] = (cs_batch_part){0};
        if (scheduled->take_gap + scheduled->take_rows == 0) {
            continue;
        }
        cs_batch_part *part = &batcher->parts[s];
        *part = add_part(batcher, s, scheduled);
        if (!part->answer->is_started) {
            part->answer->is_started = true;
            part->answer->state.account.queue_us = now_us - part->answer->opened_us;
        }
        step->n_answers += part->is_continued ? 1 : 0;
        step->n_prompt_tokens += part->is_continued ? 0 : part->n_gap + (part->n_rows > 0 ? 1 : 0);
        step->n_positions += part->n_rows;
    }
    return true;
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

static int32_t max(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

static costeer_err refuse_logits(costeer_error *err)
{
    return cs_error_set(err, COSTEER_ENUMERIC, "llm", "the LLM's logits are not a distribution (NaN or infinite)");
}

static void remember(const costeer_batcher *batcher, const cs_answer *answer, const float *logits, int32_t n, double rest,
                     cs_answer_entry *entry)
{
    if (entry->logits != NULL) {
        memcpy(entry->logits, logits, (size_t)batcher->limits.n_vocab * sizeof *logits);
        return;
    }
    entry->n = n < answer->n_remembered ? n : answer->n_remembered;
    memcpy(entry->ids, batcher->ids, (size_t)entry->n * sizeof *entry->ids);
    memcpy(entry->values, batcher->values, (size_t)entry->n * sizeof *entry->values);
    entry->rest = cs_base_mass(batcher->values, entry->n, n, rest);
}

costeer_err cs_batch_read_base(costeer_batcher *batcher, const cs_answer *answer, const float *logits, int32_t wants,
                               cs_answer_entry *entry, costeer_batch_distribution *out, costeer_error *err)
{
    const int32_t n_vocab = batcher->limits.n_vocab;
    if (answer->top_k > 0) {
        const int32_t k = max(max(entry != NULL ? answer->n_remembered : 1, wants), 1);
        double rest = 0;
        const int32_t n = cs_base_best(logits, n_vocab, k, batcher->ids, batcher->values, &rest);
        if (n == 0) {
            return refuse_logits(err);
        }
        if (entry != NULL) {
            remember(batcher, answer, logits, n, rest, entry);
        }
        const int32_t n_sent = n < wants ? n : wants;
        out->own_token = batcher->ids[0];
        out->base = (costeer_base){
            .ids = batcher->ids, .values = batcher->values, .n = n_sent, .tail = cs_base_tail(batcher->values, n_sent, n, rest)};
    }
    if (wants == 0) {
        out->log_normaliser = costeer_logsumexp(logits, n_vocab);
        if (!isfinite(out->log_normaliser)) {
            return refuse_logits(err);
        }
        out->own_token = cs_argmax(logits, n_vocab);
        out->base = (costeer_base){.ids = NULL, .values = logits, .n = n_vocab};
    }
    return COSTEER_OK;
}

static costeer_err deliver_row(costeer_batcher *batcher, costeer_batch_answer *answer, int32_t row, int64_t step_us)
{
    const costeer_batch_callbacks *callbacks = &batcher->params.callbacks;
    cs_answer *state = &answer->state;
    costeer_error err = {0};
    const float *logits = cs_decoder_row(batcher->decoder, row);
    costeer_batch_distribution out = {.position = state->next,
                                      .compute_us = step_us,
                                      .is_deepening =
                                          state->deepen == CS_DEEPEN_RECOMPUTING && state->deepen_position == state->next};
    const int32_t wants = out.is_deepening ? state->deepen_top_k : state->top_k;
    costeer_err code = logits == NULL
                           ? cs_error_set(&err, COSTEER_EINTERNAL, "llm", "llama.cpp has no logits for a row")
                           : cs_batch_read_base(batcher, state, logits, wants, cs_answer_next_entry(state), &out, &err);
    if (code != COSTEER_OK) {
        cs_batch_end(answer, code, &err);
        return code;
    }
    cs_answer_entry *entry = cs_answer_next_entry(state);
    entry->own_token = out.own_token;
    entry->compute_us = step_us;
    entry->step = batcher->step;
    entry->row = row;
    cs_answer_deliver(state);
    out.epoch = state->epoch;
    callbacks->on_distribution(answer->user, &out, callbacks->user);
    return COSTEER_OK;
}

/* Deliver what is still wanted; returns the number of rows that were computed for nothing. */
static int32_t deliver_part(costeer_batcher *batcher, const cs_batch_part *part, int64_t step_us)
{
    for (int32_t i = 0; i < part->n_rows; i++) {
        if (part->answer == NULL || part->answer->is_closed || part->generation != part->answer->state.generation ||
            deliver_row(batcher, part->answer, part->first_row + i, step_us) != COSTEER_OK) {
            return part->n_rows - i;
        }
    }
    return 0;
}

/* ---- the step ---------------------------------------------------------------------------------------------------- */

/* The bench's stand-in for a bigger model: wait, unless nobody wants the step any more. Monotonic, as cs_clock_us(). */
static void wait_until(costeer_batcher *batcher, int64_t end_us)
{
    const struct timespec end = {.tv_sec = (time_t)(end_us / 1000000), .tv_nsec = (long)(end_us % 1000000 * 1000)};
    while (!batcher->quit && !atomic_load_explicit(&batcher->stop_step, memory_order_relaxed) && cs_clock_us() < end_us) {
        (void)pthread_cond_timedwait(&batcher->work, &batcher->mutex, &end);
    }
}

/* A stopped or failed step: nothing of it is delivered. A failure ends whoever took part, for it may be anyone's fault. */
static void drop_step(costeer_batcher *batcher, costeer_err code, const costeer_error *err)
{
    for (int32_t s = 0; s < batcher->params.n_parallel; s++) {
        cs_batch_part *part = &batcher->parts[s];
        if (part->answer == NULL) {
            continue;
        }
        if (part->generation == part->answer->state.generation) {
            cs_answer_lose_rows(&part->answer->state);
        }
        if (code != COSTEER_ECANCELED) {
            cs_batch_end(part->answer, code, err);
        }
    }
}

static void finish_step(costeer_batcher *batcher, costeer_err code, const costeer_error *err, int64_t start_us,
                        costeer_batch_step *step)
{
    step->step_us = cs_clock_us() - start_us;
    step->aborted = atomic_load_explicit(&batcher->stop_step, memory_order_relaxed);
    batcher->has_logits = code == COSTEER_OK;
    if (code != COSTEER_OK) {
        step->n_wasted = step->n_positions;
        drop_step(batcher, code, err);
    }
    for (int32_t s = 0; s < batcher->params.n_parallel; s++) {
        cs_batch_part *part = &batcher->parts[s];
        if (code == COSTEER_OK) {
            step->n_wasted += deliver_part(batcher, part, step->step_us);
        }
        batcher->slots[s].was_used = batcher->slots[s].was_used || part->answer != NULL;
        *part = (cs_batch_part){0};
    }
    cs_batch_touch_slots(batcher);
    batcher->is_in_step = false;
}

bool cs_batch_run_step(costeer_batcher *batcher)
{
    const costeer_batch_callbacks *callbacks = &batcher->params.callbacks;
    const int64_t start_us = cs_clock_us();
    costeer_batch_step step = {0};
    costeer_error err = {0};
    if (!begin_step(batcher, start_us, &step)) {
        return false;
    }
    batcher->is_in_step = true;
    atomic_store_explicit(&batcher->stop_step, batcher->quit, memory_order_relaxed);
    (void)pthread_mutex_unlock(&batcher->mutex);
    const costeer_err code = cs_decoder_compute(batcher->decoder, &err);
    (void)pthread_mutex_lock(&batcher->mutex);
    if (code == COSTEER_OK && step.n_answers > 0 && batcher->params.step_floor_ms > 0) {
        wait_until(batcher, start_us + (int64_t)batcher->params.step_floor_ms * 1000);
    }
    finish_step(batcher, code, &err, start_us, &step);
    if (callbacks->on_step != NULL) {
        (void)pthread_mutex_unlock(&batcher->mutex);
        callbacks->on_step(&step, callbacks->user);
        (void)pthread_mutex_lock(&batcher->mutex);
    }
    return true;
}
