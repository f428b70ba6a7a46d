/*
 * What the parts of the batcher share: batcher.c has its calls and threads, batch_slots.c who may compute, batch_step.c a step,
 * batch_reply.c what ends or answers without computing.
 *
 * One mutex guards all. The decoder, the slots' contents and the plan belong to the batcher's thread, which computes without the
 * mutex; others only mark the plan's parts as useless.
 */
#ifndef CS_CLOUD_BATCH_INTERNAL_H
#define CS_CLOUD_BATCH_INTERNAL_H

#include "cloud/batch_answer.h"
#include "cloud/batch_schedule.h"
#include "core/decoder.h"

#include <pthread.h>
#include <stdatomic.h>

/* Sequences that one llama.cpp context can have. */
#define CS_BATCH_PARALLEL_MAX 256

struct costeer_batch_answer {
    cs_answer state;
    costeer_batcher *batcher;
    void *user;
    uint64_t owner;
    int64_t opened_us;
    int32_t slot;                   /* −1: waits for one */
    bool is_started;                /* something was computed for it */
    bool is_held;                   /* costeer_batch_hold() */
    bool is_closed;                 /* its owner does not want it any more */
    bool is_ended;                  /* on_end was called */
    costeer_batch_answer *previous; /* in order of arrival */
    costeer_batch_answer *next;
};

/* A sequence of the decoder. */
typedef struct cs_batch_slot {
    costeer_batch_answer *answer; /* NULL: free */
    uint64_t owner;               /* whose tokens it holds; 0: nobody may use them again */
    uint64_t used;                /* step in which it was given away last */
    int64_t worked_us;            /* when something was computed for it last */
    bool was_used;                /* by the running step */
} cs_batch_slot;

/* What the running step computes for one answer. */
typedef struct cs_batch_part {
    costeer_batch_answer *answer; /* NULL: it has ended meanwhile */
    uint32_t generation;
    bool is_continued; /* only rows, no prompt */
    int32_t n_gap;
    int32_t n_rows;
    int32_t first_row; /* of the decoder's batch */
} cs_batch_part;

struct costeer_batcher {
    costeer_batcher_params params;
    cs_answer_limits limits;
    cs_schedule_limits step_limits;
    cs_decoder *decoder;
    pthread_t thread;  /* computes */
    pthread_t replier; /* answers what needs no computation while the other computes */
    pthread_mutex_t mutex;
    pthread_cond_t work;  /* for the thread: something to compute, or a step has become useless */
    pthread_cond_t asked; /* for the replier: a deepening or a close */
    bool quit;
    atomic_bool stop_step; /* no row of the running step is wanted any more */
    bool is_in_step;
    uint64_t step;   /* number of the running or last one */
    bool has_logits; /* of that step */
    costeer_batch_answer *first;
    costeer_batch_answer *last;
    cs_batch_slot slots[CS_BATCH_PARALLEL_MAX]; /* the first n_parallel of each are used */
    cs_schedule_part schedule[CS_BATCH_PARALLEL_MAX];
    cs_batch_part parts[CS_BATCH_PARALLEL_MAX]; /* of the running step, by slot */
    int32_t *ids;                               /* [n_vocab] */
    float *values;                              /* [n_vocab] */
};

/* ---- batch_slots.c: the batcher's thread, with the mutex, between steps -------------------------------------------- */

/** Give slots to those who have work, in order of arrival. True: there are not enough. */
bool cs_batch_assign_slots(costeer_batcher *batcher);

/** The step was of use to the slots that took part. */
void cs_batch_touch_slots(costeer_batcher *batcher);

/* ---- batch_step.c: the batcher's thread, with the mutex ------------------------------------------------------------ */

/** Compute one shared step and deliver it; the mutex is released meanwhile. False: there is nothing to compute. */
bool cs_batch_run_step(costeer_batcher *batcher);

/** Make the base of `wants` entries (0: dense) from logits. What the answer remembers goes into the entry, unless it is NULL. */
costeer_err cs_batch_read_base(costeer_batcher *batcher, const cs_answer *answer, const float *logits, int32_t wants,
                               cs_answer_entry *entry, costeer_batch_distribution *out, costeer_error *err);

/* ---- batch_reply.c: any thread of the batcher, with the mutex ------------------------------------------------------ */

/** Call on_end, once, and take the answer out of its slot and of the running step. Frees it if its owner has closed it. */
void cs_batch_end(costeer_batch_answer *answer, costeer_err status, const costeer_error *error);

/** Take an answer that has ended out of the list and free it. */
void cs_batch_forget(costeer_batch_answer *answer);

/** End what was closed, and answer the deepenings that memory can answer. */
void cs_batch_reply(costeer_batcher *batcher);

/** The batcher's thread between steps: answer the other deepenings from the last logits, or have them computed. */
void cs_batch_deepen(costeer_batcher *batcher);

/** Stop the running step if nobody wants anything of it any more. */
void cs_batch_check_step(costeer_batcher *batcher);

#endif
