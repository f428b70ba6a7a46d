/*
 * The state of one answer in a batcher: its tokens, what was accepted, delivered and assumed, and what is to be computed next.
 *
 * Pure: no thread, no clock, no model; nothing is allocated after creation. Every call checks what it is given, because it comes
 * from a device, and changes nothing when it refuses. Positions are those of the answer; position 0 follows the prompt.
 */
#ifndef CS_CLOUD_BATCH_ANSWER_H
#define CS_CLOUD_BATCH_ANSWER_H

#include <costeer/batcher.h>

/** What an answer may ask for at most, and how its model ends one. */
typedef struct cs_answer_limits {
    int32_t n_vocab;
    int32_t n_ctx;
    int32_t max_window;
    int32_t max_drafts;
    bool (*is_end)(const void *model, int32_t token);
    const void *model;
} cs_answer_limits;

/** What is remembered of a delivered position until it is accepted. */
typedef struct cs_answer_entry {
    int32_t position;   /* −1: nothing */
    int32_t own_token;  /* the model's choice */
    int32_t n;          /* entries remembered; 0 when dense, or when logits are */
    int32_t *ids;       /* [n_remembered] */
    float *values;      /* [n_remembered] */
    double rest;        /* upper bound of the probability of all that is not remembered */
    float *logits;      /* [n_vocab] instead; NULL: not */
    int64_t compute_us; /* of its step */
    uint64_t step;      /* the step that made it, and its row there: until the next step the logits themselves can be read */
    int32_t row;
} cs_answer_entry;

typedef enum cs_deepen_state {
    CS_DEEPEN_NONE,
    CS_DEEPEN_ASKED,       /* to be answered from memory, from the logits, or by computing again */
    CS_DEEPEN_RECOMPUTING, /* the position is the next one, in a new epoch */
} cs_deepen_state;

typedef struct cs_answer {
    cs_answer_limits limits;
    int32_t *tokens; /* [n_prompt + max_tokens] */
    int32_t n_prompt;
    int32_t max_tokens;
    int32_t window;
    int32_t useful_window; /* of it, what it pays to run ahead by now */
    int32_t n_decided;     /* tokens accepted since open, */
    int32_t n_corrected;   /* and how many of them were corrections */
    int32_t top_k;         /* 0: dense */
    int32_t n_remembered;  /* entries of each position; 0: none, or all logits */
    bool remembers_logits; /* which take no more room than the entries would, and need no sorting */
    int32_t epoch;
    int32_t n_accepted;
    int32_t n_known;     /* answer tokens: accepted, then drafts, then the model's own */
    int32_t drafts_end;  /* the first position behind the drafts; n_accepted when there are none */
    int32_t first_end;   /* position of the first end token; INT32_MAX: none */
    int32_t next;        /* the position to deliver next */
    uint32_t generation; /* rows computed for an older one are of no use: something before them has changed */
    int32_t n_in_flight; /* rows of the running step, of this generation */
    cs_deepen_state deepen;
    int32_t deepen_position;
    int32_t deepen_top_k;
    cs_answer_entry *entries; /* [n_entries] by position modulo n_entries */
    int32_t n_entries;
    int32_t *memory_ids;  /* [n_entries * n_remembered] what the entries point into */
    float *memory_values; /* the same, or [n_entries * n_vocab] logits */
    costeer_batch_account account;
} cs_answer;

/** What an answer would have computed now. */
typedef struct cs_answer_work {
    int32_t start; /* index of the first token to compute: what is held beyond it is to be dropped */
    int32_t gap;   /* tokens before the first one whose distribution is wanted: prompt */
    int32_t rows;  /* tokens whose distribution is wanted, that of position `next` first */
} cs_answer_work;

/** COSTEER_OK; COSTEER_EINVAL, COSTEER_ETOOLONG or COSTEER_ENOMEM: then there is nothing to dispose. */
costeer_err cs_answer_init(cs_answer *answer, const costeer_batch_request *request, const cs_answer_limits *limits,
                           costeer_error *err);
void cs_answer_dispose(cs_answer *answer);

/* What a device asks for. See costeer/batcher.h for the rules. */
costeer_err cs_answer_commit(cs_answer *answer, int32_t position, costeer_error *err);
costeer_err cs_answer_correct(cs_answer *answer, int32_t epoch, int32_t position, int32_t token, costeer_error *err);
costeer_err cs_answer_draft(cs_answer *answer, int32_t position, const int32_t *tokens, size_t n, costeer_error *err);
costeer_err cs_answer_deepen(cs_answer *answer, int32_t epoch, int32_t position, int32_t top_k, costeer_error *err);

/** The last position that may be computed now; below `next` when there is none. */
int32_t cs_answer_last(const cs_answer *answer);

/** What is to be computed when a sequence holds these tokens. All zero: nothing. */
cs_answer_work cs_answer_find_work(const cs_answer *answer, const int32_t *held, int32_t n_held);

/** Rows of the positions from `next` on are being computed. */
void cs_answer_start_rows(cs_answer *answer, int32_t n);

/** Rows of this generation will not come after all. */
void cs_answer_lose_rows(cs_answer *answer);

/** The entry of position `next`, to be filled in before it is delivered. */
cs_answer_entry *cs_answer_next_entry(cs_answer *answer);

/** The position `next` was computed, its entry is filled in: assume its own token if none is known there. */
void cs_answer_deliver(cs_answer *answer);

/** What is remembered of a position; NULL: it was not delivered, or accepted since. */
const cs_answer_entry *cs_answer_find_entry(const cs_answer *answer, int32_t position);

/** Compute the position of the deepening again, in a new epoch. */
void cs_answer_recompute(cs_answer *answer);

/**
 * The account if the answer ended now. Wasted are positions whose distribution was never used: those delivered behind the
 * first one that is not accepted (that one is in use), those that corrections dropped, and those of abandoned steps.
 */
costeer_batch_account cs_answer_close_account(const cs_answer *answer);

#endif
