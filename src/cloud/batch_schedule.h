/*
 * Which tokens go into the next shared step. Pure; no allocation.
 *
 * Answers that are being continued come first, because someone waits for each of their tokens; prompts take what is left, and not
 * more than a chunk while there are others, so that a long prompt slows running answers a little and stalls none. Each gets one
 * row before any gets more, prompts share evenly, and the step begins with another answer every time.
 */
#ifndef CS_CLOUD_BATCH_SCHEDULE_H
#define CS_CLOUD_BATCH_SCHEDULE_H

#include <stdint.h>

/** What one answer needs, and what it gets. */
typedef struct cs_schedule_part {
    int32_t gap;       /* tokens to read before the first row; 0: it is being continued */
    int32_t rows;      /* tokens with a row behind them; 0: nothing to do */
    int32_t take_gap;  /* of the gap, in this step */
    int32_t take_rows; /* of the rows; 0 unless the whole gap is taken */
} cs_schedule_part;

typedef struct cs_schedule_limits {
    int32_t room;         /* tokens of a step */
    int32_t rows;         /* rows of a step */
    int32_t prompt_chunk; /* prompt tokens while answers are being continued */
} cs_schedule_limits;

/** Fill in take_gap and take_rows of parts[0..n); part `first` modulo n is served first. Returns the tokens taken. */
int32_t cs_schedule(cs_schedule_part *parts, int32_t n, int32_t first, const cs_schedule_limits *limits);

#endif
