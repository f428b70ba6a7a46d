/*
 * How far a session's reasoning is. Reasoning stands before the answer: it is the cloud's alone, has a budget of its own, and is
 * handed out apart. Pure: it sees tokens and their text.
 */
#ifndef CS_CORE_THINKING_H
#define CS_CORE_THINKING_H

#include "core/text_out.h"

#include <costeer/session.h>

typedef struct cs_thinking cs_thinking;

/** Create it; NULL in `out` where nothing is reasoned (all functions take that). */
costeer_err cs_thinking_create(const costeer_session_params *params, const costeer_vocab *vocab, cs_thinking **out,
                               costeer_error *err);
void cs_thinking_free(cs_thinking *self);

/** A new answer begins. */
void cs_thinking_reset(cs_thinking *self);

/** True while the answer has not begun, as far as is known before the next base. */
bool cs_thinking_is_under_way(const cs_thinking *self);

/** True when the next position belongs to the reasoning, given the token that the cloud would take there; else it is over. */
bool cs_thinking_takes(cs_thinking *self, int32_t own_token);

/** True when the budget is spent: `token` is what must be written next to end the reasoning. */
bool cs_thinking_forces(const cs_thinking *self, int32_t *token);

/** Add a token of the reasoning. Returns bytes of `piece` at its end that are the answer's already. */
size_t cs_thinking_push(cs_thinking *self, int32_t token, const char *piece, size_t n);

/** What was taken for a mark's beginning and is the answer's after all: it goes before the next token. Valid until the next call;
 * COSTEER_PIECE_MAX + 64 bytes at most. */
const char *cs_thinking_take_back(cs_thinking *self, size_t *n);

/** No more will come. */
void cs_thinking_finish(cs_thinking *self);

/** Text of the reasoning that may go out now, without its marks; valid until the next call. */
const char *cs_thinking_take_text(cs_thinking *self, size_t *n);

#endif
