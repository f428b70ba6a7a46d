/* An evaluation from the inside: the engines, what answers one row with one item, and the line that comes of it. */
#ifndef CS_EVAL_EVAL_INTERNAL_H
#define CS_EVAL_EVAL_INTERNAL_H

#include "cloud/ensemble_internal.h"
#include "eval/fit.h"
#include "eval/intern.h"
#include "eval/judge.h"
#include "util/buffer.h"

#include <costeer/eval.h>
#include <jansson.h>

/** Sessions that compute together. */
typedef struct cs_eval_group {
    cs_pool *pool;
    cs_ensemble_engines engines;
} cs_eval_group;

struct costeer_eval {
    costeer_eval_params params; /* items is the copy */
    costeer_eval_item *items;
    cs_fit fit;
    cs_eval_group groups[COSTEER_EVAL_JOBS_MAX]; /* session k belongs to group k mod n_groups */
    int32_t n_groups;
    cs_judge *judge;       /* NULL: none */
    cs_intern vocab_words; /* words that the LLM (or the SLM, where there is no LLM) has as one token */
    atomic_bool stop;      /* what the caller's cancel, or a failure, becomes: every answer ends */
};

/* ---- one answer (answer.c) --------------------------------------------------------------------------------------- */

/** What became of one row and one item. All-zero is one that has not begun. */
typedef struct cs_eval_answer {
    costeer_err status;
    costeer_error error;
    costeer_report report;
    cs_buffer text;
    cs_buffer reasoning; /**< what stood before the text, without its marks; empty: none */
    double exposure;     /**< nats; NaN: unknown */
    const char *against; /**< the first item's answer to the same row; NULL: not compared */
} cs_eval_answer;

void cs_eval_answer_dispose(cs_eval_answer *answer);

/** Answer a row with an item. Blocks; one thread per ensemble. `out` is filled in every case; dispose of it. */
void cs_eval_answer_run(const costeer_eval *eval, costeer_ensemble *ensemble, const costeer_eval_row *row,
                        const costeer_eval_item *item, cs_eval_answer *out);

/* ---- its line (line.c) ------------------------------------------------------------------------------------------- */

/** Measure an answer and write it as JSON. *line is malloc'ed; NULL on failure. */
costeer_err cs_eval_line_make(const costeer_eval *eval, const costeer_eval_row *row, const costeer_eval_item *item,
                              const cs_eval_answer *answer, char **line, costeer_error *err);

/** Add what a reader sees to a line and its metrics (line_reader.c). `is_cut`: the answer did not end by itself. */
costeer_err cs_eval_line_add_reader(const costeer_eval *eval, const costeer_eval_row *row, const char *answer, bool is_cut,
                                    json_t *line, json_t *metrics, costeer_error *err);

#endif
