/*
 * What pool.c (who computes when), engine.c (what an engine computes) and decoder.c (a view as a decoder) share.
 *
 * The pool's mutex guards everything here, with two exceptions. While an engine is busy, its step, and the views taken for it,
 * belong to its thread. And a view's tokens, rows and result belong to its session while the view is idle.
 */
#ifndef CS_CORE_POOL_INTERNAL_H
#define CS_CORE_POOL_INTERNAL_H

#include "core/llama_state.h"
#include "core/pool.h"

#include <pthread.h>

typedef struct cs_view cs_view;

typedef enum cs_view_phase {
    CS_VIEW_IDLE,
    CS_VIEW_PENDING, /* a batch was submitted */
    CS_VIEW_TAKEN,   /* and is part of the engine's step */
    CS_VIEW_DONE,    /* and was computed, or failed */
} cs_view_phase;

struct cs_view {
    cs_engine *engine;
    cs_view *next; /* of the engine's, by order */
    int32_t order;
    int32_t n_sequences;
    int32_t n_rows;
    cs_decoder_stop_fn stop;
    void *stop_user;
    pthread_cond_t done;
    cs_view_phase phase;
    bool has_waiter; /* its session counts as waiting */
    const cs_batch_token *tokens;
    int32_t n_tokens;
    int32_t n_wanted; /* rows of the batch */
    int32_t first;    /* number of its first token in the shared batch */
    costeer_err result;
    costeer_error error;
    int32_t *place; /* [n_sequences] the engine's sequence that it is, −1: none yet */
    int32_t *cut;   /* [n_sequences] tokens that are to be left of it; −1: all */
    int32_t *held;  /* [n_sequences] after a failure: tokens that are left of it */
    float *rows;    /* [n_rows][n_vocab_padded] */
};

#define CS_ENGINE_SEQUENCES_MAX 256 /* llama.cpp's own limit */

struct cs_engine {
    cs_pool *pool;
    cs_engine *next;
    cs_llama_state *llama;
    const char *component;
    int32_t n_sequences;
    int32_t n_vocab_padded;
    int32_t n_open; /* sequences of the views */
    bool is_used[CS_ENGINE_SEQUENCES_MAX];
    cs_view *views;
    pthread_t thread;
    pthread_cond_t posted;
    bool is_busy;
    bool quits;
    cs_view *step[CS_ENGINE_SEQUENCES_MAX]; /* views that are computed now, by place */
    int32_t n_step;
    int32_t n_tokens; /* of the shared batch */
    int32_t from;     /* the shared batch that is computed now: step[from … to) */
    int32_t to;
};

struct cs_pool {
    pthread_mutex_t mutex;
    bool is_eager;
    int32_t n_sessions;
    int32_t n_waiting;
    cs_engine *engines;
};

/** Start those engines that may compute now. The mutex is held. */
void cs_pool_check(cs_pool *pool);

/** The view's result is there; its session runs on. The mutex is held. */
void cs_view_deliver(cs_view *view);

/** Take what was submitted, and start. The engine is idle, the mutex is held. */
void cs_engine_start(cs_engine *engine);

/* ---- a view, as decoder.c uses it -------------------------------------------------------------------------------- */

costeer_err cs_view_open(cs_engine *engine, const cs_decoder_params *params, cs_view **out, costeer_error *err);
void cs_view_free(cs_view *view);

/** Hand a batch with n_wanted rows to the engine; tokens stay untouched until wait or abandon. */
void cs_view_submit(cs_view *view, const cs_batch_token *tokens, int32_t n_tokens, int32_t n_wanted);
costeer_err cs_view_wait(cs_view *view, costeer_error *err);

/** Take back what was submitted, or wait until it is computed. */
void cs_view_abandon(cs_view *view);

/** Have a sequence cut before its next batch. Returns the tokens that it will hold: n, or 0 where it cannot be cut. */
int32_t cs_view_cut(cs_view *view, int32_t sequence, int32_t n);

#endif
