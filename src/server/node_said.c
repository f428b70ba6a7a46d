/*
 * A conversation comes as messages, with the answers of its earlier turns as texts. Cut into tokens again, an answer may become
 * other tokens than those that were computed, and all from there on would be computed anew. So a connection keeps the tokens of
 * its answers, and takes them for a message of the same text. No other connection sees them.
 */
#include "server/node_said.h"

#include <stdlib.h>
#include <string.h>

static void forget_first(cs_said *said)
{
    said->n_tokens -= said->answers[0].n;
    costeer_tokens_dispose(&said->answers[0]);
    said->n--;
    memmove(said->answers, said->answers + 1, said->n * sizeof *said->answers);
}

void cs_said_add(cs_said *said, const costeer_batch_answer *answer, size_t n_max)
{
    if (said->n == CS_SAID_MAX) {
        forget_first(said);
    }
    costeer_tokens *last = &said->answers[said->n];
    last->ids = malloc(n_max * sizeof *last->ids);
    if (last->ids == NULL) {
        return;
    }
    last->n = costeer_batch_read_tokens(answer, last->ids, n_max);
    int32_t *fitting = realloc(last->ids, (last->n + 1) * sizeof *last->ids);
    last->ids = fitting != NULL ? fitting : last->ids;
    said->n++;
    said->n_tokens += last->n;
    while (said->n_tokens > n_max) {
        forget_first(said);
    }
}

void cs_said_recall(const cs_said *said, const costeer_model *model, costeer_message *turns, size_t n_turns)
{
    for (size_t i = 0; i < n_turns; i++) {
        for (size_t a = said->n; a > 0 && turns[i].n_ids == 0 && strcmp(turns[i].role, "assistant") == 0; a--) {
            const costeer_tokens *answer = &said->answers[a - 1];
            if (costeer_prompt_count_spelled(model, answer->ids, answer->n, turns[i].content) > 0) {
                turns[i].ids = answer->ids;
                turns[i].n_ids = answer->n;
            }
        }
    }
}

void cs_said_dispose(cs_said *said)
{
    while (said->n > 0) {
        forget_first(said);
    }
}
