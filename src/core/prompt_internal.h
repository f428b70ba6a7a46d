/* The user message of a prompt by itself, for a cloud with a chat template of its own. */
#ifndef CS_CORE_PROMPT_INTERNAL_H
#define CS_CORE_PROMPT_INTERNAL_H

#include "util/buffer.h"

#include <costeer/model.h>

/**
 * Render the user message: the query, or the context template filled with context and query.
 *
 * @param[out] out  empty, with a cap
 * @return COSTEER_OK; COSTEER_EINVAL, COSTEER_EUTF8, COSTEER_ETOOLONG, COSTEER_ENOMEM as costeer_prompt_build()
 */
costeer_err cs_prompt_render_message(const costeer_prompt *prompt, cs_buffer *out, costeer_error *err);

/** Longest message that is rendered, in bytes. */
#define CS_PROMPT_MESSAGE_BYTES_MAX ((size_t)64 << 20)

#endif
