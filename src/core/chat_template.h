/*
 * Chat templates: Jinja texts, run by the engine in llama.cpp's `common` library. This header is C; the one file behind it is
 * C++, and no exception leaves it.
 */
#ifndef CS_CORE_CHAT_TEMPLATE_H
#define CS_CORE_CHAT_TEMPLATE_H

#include <costeer/prompt.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cs_chat_template cs_chat_template;

/** What a template does, found out by trying it on a conversation of one word. Strings live as long as the template. */
typedef struct cs_chat_traits {
    bool has_system_role;
    const char *default_system; /**< what it puts where no system message is given; NULL: nothing */
} cs_chat_traits;

/**
 * Read a template.
 *
 * @param name      for messages: the model's or the template's file
 * @param bos       spelling of the model's beginning-of-text token, "" when it has none; eos: of its end-of-text token
 * @param[out] out  free with cs_chat_template_free(); NULL on failure
 * @return COSTEER_OK; COSTEER_EMODEL: no template that the engine can read; COSTEER_ENOMEM
 */
costeer_err cs_chat_template_create(const char *source, const char *name, const char *bos, const char *eos,
                                    cs_chat_template **out, costeer_error *err);
void cs_chat_template_free(cs_chat_template *self);

cs_chat_traits cs_chat_template_traits(const cs_chat_template *self);

/** The texts in quotes in its source, which are all that it can look for in a message: [*n_bytes], a NUL after each. */
const char *cs_chat_template_literals(const cs_chat_template *self, size_t *n_bytes);

/** A piece of a rendered conversation: written by the template, or by whoever wrote a message. */
typedef struct cs_chat_part {
    size_t n_bytes;
    bool is_input;
} cs_chat_part;

/** A rendered conversation, owned by the caller; all-zero is an empty one. */
typedef struct cs_chat_rendering {
    char *text; /**< [n_bytes], NUL-terminated: the parts one after the other */
    size_t n_bytes;
    cs_chat_part *parts; /**< [n_parts] */
    size_t n_parts;
} cs_chat_rendering;

void cs_chat_rendering_dispose(cs_chat_rendering *rendering);

/** Add a part at the end. False when memory is out. */
bool cs_chat_rendering_append(cs_chat_rendering *rendering, const char *text, size_t n_bytes, bool is_input);

/**
 * Render messages up to the place where the answer begins, with the variables that transformers gives: messages, tools and
 * documents (none), add_generation_prompt, bos_token, eos_token; and enable_thinking and its kin (thinking, thinking_mode).
 *
 * @param messages  [n]; a first one of the role "system" only where the template has that role
 * @param[out] out  what it held is freed
 * @return COSTEER_OK; COSTEER_EINVAL: the template refuses the messages; COSTEER_EMODEL: it fails; COSTEER_ENOMEM
 */
costeer_err cs_chat_template_render(const cs_chat_template *self, const costeer_message *messages, size_t n, bool thinking,
                                    cs_chat_rendering *out, costeer_error *err);

#ifdef __cplusplus
}
#endif
#endif
