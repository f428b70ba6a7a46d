/* --trace: a JSON line per position of an answer. It holds private text, so the file is the owner's alone. */
#ifndef CS_CLI_TRACE_H
#define CS_CLI_TRACE_H

#include "util/file.h"

#include <costeer/session.h>

/** Write a position's line; method NULL: without its name. Returns false when it could not be written (the output's error says
 * why; 0: out of memory). */
bool cs_trace_write(cs_output *out, const char *method, const costeer_vocab *vocab, const costeer_position *position);

#endif
