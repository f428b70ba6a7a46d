/*
 * Prompts take turns.
 *
 * A prompt is computed by all cores. Two at once, the LLM's and the SLM's, would have two threads for each core, and threads of
 * one computation wait for each other: together they would take longer than one after the other. So all contexts of a process
 * take turns, a piece of a prompt each. Steps do not: they have their own few threads.
 */
#ifndef CS_CORE_TURN_H
#define CS_CORE_TURN_H

#include <stdbool.h>

/**
 * Wait until no other prompt is computed.
 *
 * @param stop  asked some times a second; may be NULL
 * @return false: stop said so, and there is nothing to give back
 */
bool cs_turn_take(bool (*stop)(void *user), void *user);
void cs_turn_give(void);

#endif
