/* What a connection's answers said, as the tokens that they were written with. */
#ifndef CS_SERVER_NODE_SAID_H
#define CS_SERVER_NODE_SAID_H

#include <costeer/batcher.h>
#include <costeer/prompt.h>

/** Answers remembered: as many as an open has messages of the assistant. */
#define CS_SAID_MAX 32

/** All-zero: nothing was said. */
typedef struct cs_said {
    costeer_tokens answers[CS_SAID_MAX]; /**< [n] the oldest first */
    size_t n;
    size_t n_tokens; /**< of all */
} cs_said;

/**
 * Remember an answer that is about to be closed; the oldest give way to it. Without memory nothing is remembered.
 *
 * @param n_max  tokens kept, of all answers
 */
void cs_said_add(cs_said *said, const costeer_batch_answer *answer, size_t n_max);

/** Give the assistant's turns the tokens of the answers that have their text. They stay the property of `said`. */
void cs_said_recall(const cs_said *said, const costeer_model *model, costeer_message *turns, size_t n_turns);

void cs_said_dispose(cs_said *said);

#endif
