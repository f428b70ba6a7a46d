/* Inside prompts: the user's message by itself, and a prompt rendered in parts. */
#ifndef CS_CORE_PROMPT_INTERNAL_H
#define CS_CORE_PROMPT_INTERNAL_H

#include "core/chat_template.h"
#include "util/buffer.h"

/**
 * Put the context into the user's first message: the context template filled, or the message as it is where there is no context.
 *
 * @param message  what the user said
 * @param[out] out  empty, with a cap
 * @return COSTEER_OK; COSTEER_EINVAL, COSTEER_ETOOLONG, COSTEER_ENOMEM as costeer_prompt_build()
 */
costeer_err cs_prompt_fill_message(const costeer_prompt *prompt, const char *message, cs_buffer *out, costeer_error *err);

/** Check all texts and roles of a prompt. Returns as costeer_prompt_build(). */
costeer_err cs_prompt_check(const costeer_prompt *prompt, costeer_error *err);

/** Index of the message that takes the context: the user's first among turns, n_turns: the query. */
size_t cs_prompt_first_user(const costeer_prompt *prompt);

/** A prompt as the template renders it, owned by the caller. */
typedef struct cs_prompt_parts {
    cs_chat_rendering rendering;
    costeer_system_source system_source;
    char *system; /**< NULL: none */
} cs_prompt_parts;

void cs_prompt_parts_dispose(cs_prompt_parts *parts);

/** Render messages and template (prompt.c). `out` is all-zero. Returns as costeer_prompt_build(). */
costeer_err cs_prompt_parts_make(const costeer_model *model, const costeer_prompt *prompt, cs_prompt_parts *out,
                                 costeer_error *err);

/**
 * Render messages as cs_chat_template_render() does, each byte marked as the template's or a message's (prompt_origin.c).
 *
 * @return the same; COSTEER_EINVAL: a special token would stand where it cannot be told who wrote it
 */
costeer_err cs_prompt_render_apart(const costeer_model *model, const cs_chat_template *form, const costeer_message *messages,
                                   size_t n, bool thinking, cs_chat_rendering *out, costeer_error *err);

/** The text of the template that a prompt would have (prompt.c); NULL: none. */
const char *cs_prompt_template_source(const costeer_model *model, const char *wanted);

/** Read a template with the model's spellings of begin and end of text; otherwise as cs_chat_template_create() (prompt.c). */
costeer_err cs_prompt_template_create(const costeer_model *model, const char *source, const char *name, cs_chat_template **out,
                                      costeer_error *err);

/**
 * Find the control token that a template writes right behind an assistant's message, where no token that it writes there ends an
 * answer by the vocabulary alone (end_of_turn.c).
 *
 * @return −1: none is missing, or the template has none or cannot be used
 */
int32_t cs_end_of_turn_find(const costeer_model *model, const char *source);

/** Close or skip the reasoning that a rendered prompt would begin (reasoning_marks.c). False when memory is out. */
bool cs_reasoning_skip(const char *source, cs_chat_rendering *rendering);

/** Longest message that is rendered, in bytes. */
#define CS_PROMPT_MESSAGE_BYTES_MAX ((size_t)64 << 20)

#endif
