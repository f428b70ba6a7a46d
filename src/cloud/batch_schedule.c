/* Which tokens go into the next shared step: see batch_schedule.h. */
#include "cloud/batch_schedule.h"

#include <stdbool.h>

/* What is still to give away. */
typedef struct budget {
    int32_t room;
    int32_t rows;
} budget;

static int32_t min(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static bool is_continued(const cs_schedule_part *part)
{
    return part->gap == 0 && part->rows > 0;
}

static void take_rows(cs_schedule_part *part, int32_t n_wanted, budget *left)
{
    const int32_t n = min(min(n_wanted, part->rows - part->take_rows), min(left->room, left->rows));
    part->take_rows += n;
    left->room -= n;
    left->rows -= n;
}

/* Up to n more tokens of a prompt: the gap first, then rows. */
static int32_t take_prompt(cs_schedule_part *part, int32_t n, budget *left)
{
    const int32_t room_before = left->room;
    const int32_t n_gap = min(min(n, part->gap - part->take_gap), left->room);
    part->take_gap += n_gap;
    left->room -= n_gap;
    if (part->take_gap == part->gap) {
        take_rows(part, n - n_gap, left);
    }
    return room_before - left->room;
}

static void serve_prompts(cs_schedule_part *parts, int32_t n, int32_t first, int32_t n_prompts, int32_t n_tokens, budget *left)
{
    const int32_t share = n_tokens / n_prompts > 0 ? n_tokens / n_prompts : 1;
    for (int32_t pass = 0; pass < 2; pass++) { /* first its share to each, then what others did not need */
        for (int32_t i = 0; i < n && n_tokens > 0; i++) {
            cs_schedule_part *part = &parts[(first + i) % n];
            if (part->rows > 0 && part->gap > 0) {
                n_tokens -= take_prompt(part, pass == 0 ? min(share, n_tokens) : n_tokens, left);
            }
        }
    }
}

int32_t cs_schedule(cs_schedule_part *parts, int32_t n, int32_t first, const cs_schedule_limits *limits)
{
    budget left = {.room = limits->room, .rows = limits->rows};
    int32_t n_prompts = 0;
    for (int32_t i = 0; i < n; i++) {
        parts[i].take_gap = 0;
        parts[i].take_rows = 0;
        n_prompts += parts[i].rows > 0 && parts[i].gap > 0 ? 1 : 0;
    }
    for (int32_t i = 0; i < n; i++) {
        cs_schedule_part *part = &parts[(first + i) % n];
        take_rows(part, is_continued(part) ? 1 : 0, &left);
    }
    for (int32_t i = 0; i < n; i++) {
        cs_schedule_part *part = &parts[(first + i) % n];
        take_rows(part, is_continued(part) ? part->rows : 0, &left);
    }
    if (n_prompts > 0) {
        const bool is_shared = left.room < limits->room;
        serve_prompts(parts, n, first, n_prompts, is_shared ? min(left.room, limits->prompt_chunk) : left.room, &left);
    }
    return limits->room - left.room;
}
