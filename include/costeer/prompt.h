/* Prompts: messages, a chat template, and the tokens that a model makes of them. */
#ifndef COSTEER_PROMPT_H
#define COSTEER_PROMPT_H

#include <costeer/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One message of a conversation. */
typedef struct costeer_message {
    const char *role;    /**< "user" or "assistant" */
    const char *content; /**< UTF-8 */
    const int32_t *ids;  /**< [n_ids] the tokens that an assistant wrote the content with; more may follow it; NULL: unknown.
                            They are used where they spell the content in the model's vocabulary and the template keeps it whole,
                            so that what was computed for them can be kept; else the content is tokenized */
    size_t n_ids;
    const char *ids_vocab; /**< vocab_sha256 of the vocabulary that they are of (costeer_model_info): they are used with that one
                                only, and then must spell the content; NULL: with any where they do */
} costeer_message;

/** A prompt in parts. NULL or empty parts are left out; all-zero but the query is a request with the model's own template. */
typedef struct costeer_prompt {
    const char *system;           /**< system message */
    const costeer_message *turns; /**< [n_turns] what was said before the query, in order */
    size_t n_turns;
    const char *context;          /**< the private text: only for a model on this device */
    const char *query;            /**< the public request: the last message, of the user */
    const char *context_template; /**< the user's first message where a context is given, with {context} and {query};
                                       NULL: "{context}\n\n{query}" */
    const char *query_template;   /**< the same where no context is given, with {query}; NULL: the query alone */
    const char *chat_template;    /**< NULL: the model's own; "raw": none; a name (costeer_chat_template_find()); else the text of
                                       a Jinja template */
    bool no_default_system;       /**< without a system message: also leave out the one that the template would put there */
    bool thinking;                /**< let the model reason before it answers, where its template knows how */
    const char *answer_prefix;    /**< what the answer begins with, word for word */
} costeer_prompt;

/**
 * A framing: how a context is put to a model. `with` is the context_template of a prompt with it, `without` the query_template of
 * the amateur's, which says the same without the context, so that their difference is the context and not the framing.
 */
typedef struct costeer_framing {
    const char *name;
    const char *summary; /**< a few words */
    const char *with;    /**< has {context} and {query}; NULL: "{context}\n\n{query}" */
    const char *without; /**< has {query}; NULL: the query alone */
} costeer_framing;

/** All framings in the order they are shown; the first is the published one. */
COSTEER_API const costeer_framing *costeer_framing_list(size_t *n);

/** The framing of a name; NULL when there is none. */
COSTEER_API const costeer_framing *costeer_framing_find(const char *name);

/** Which system message a prompt has. */
typedef enum costeer_system_source {
    COSTEER_SYSTEM_NONE,
    COSTEER_SYSTEM_GIVEN,
    COSTEER_SYSTEM_IN_USER, /**< given, and put before the user's first message: the template has no system role */
    COSTEER_SYSTEM_TEMPLATE /**< the template's own */
} costeer_system_source;

/** "none", "given", "in-user", "template". */
COSTEER_API const char *costeer_system_source_name(costeer_system_source source);

/** A prompt as text, owned by the caller; all-zero is an empty one. */
typedef struct costeer_prompt_text {
    char *text;     /**< NUL-terminated; without the beginning-of-text token that a model may put in front */
    size_t n_bytes; /**< of text */
    costeer_system_source system_source;
    char *system; /**< the system message's text, NULL: none */
} costeer_prompt_text;

COSTEER_API void costeer_prompt_text_dispose(costeer_prompt_text *text);

/**
 * Render a prompt: messages and chat template, as transformers does it, without tokenizing.
 *
 * @param[out] out  what it held is freed
 * @return as costeer_prompt_build()
 */
COSTEER_API costeer_err costeer_prompt_render(const costeer_model *model, const costeer_prompt *prompt, costeer_prompt_text *out,
                                              costeer_error *err);

/**
 * Build the prompt's tokens for a model: messages, chat template, tokenizer.
 *
 * The context stands first in the user's first message, so that what was computed for it can be kept for the next query. A
 * message that spells one of the model's control tokens stays text: only what the template itself wrote is read as control
 * tokens.
 *
 * @return COSTEER_OK; COSTEER_EINVAL: an empty query, a role that is neither user nor assistant, tokens with
 *         an ids_vocab that do not spell their message, a context template without
 *         {query} or {context}, an unknown template name, messages that the template refuses; COSTEER_EMODEL: the model has no
 *         template, or one that cannot be read or run; COSTEER_EUTF8; COSTEER_ETOOLONG; COSTEER_ENOMEM. Messages say what to do.
 */
COSTEER_API costeer_err costeer_prompt_build(const costeer_model *model, const costeer_prompt *prompt, costeer_tokens *out,
                                             costeer_error *err);

/**
 * How many of the first tokens spell a text, each of them text itself: a control token, or another vocabulary's, spells none.
 *
 * @return 0: they do not, or not to its end
 */
COSTEER_API size_t costeer_prompt_count_spelled(const costeer_model *model, const int32_t *ids, size_t n_ids, const char *text);

/** Most special tokens that the marks of a reasoning have. */
#define COSTEER_REASONING_TOKENS_MAX 8

/** How a model's reasoning looks in its text. All-zero: it has none, or was not let. */
typedef struct costeer_reasoning {
    const char *begin;  /**< the mark before it, NULL: nothing is reasoned */
    const char *end;    /**< the mark after it */
    const char *answer; /**< the mark before an answer that is not reasoned, NULL: there is none */
    bool is_open;       /**< the prompt ends with `begin` */
    struct {
        int32_t token;
        const char *text;
    } tokens[COSTEER_REASONING_TOKENS_MAX]; /**< [n_tokens] special tokens in the marks, which have no text of their own, and how
                                               the marks spell them */
    size_t n_tokens;
    costeer_tokens closing; /**< what ends it by force */
} costeer_reasoning;

/**
 * Find how a model reasons when it is given a prompt.
 *
 * @param[out] out  dispose of it; all-zero where the prompt does not let it, or its template has no marks that are known
 * @return as costeer_prompt_build()
 */
COSTEER_API costeer_err costeer_reasoning_find(const costeer_model *model, const costeer_prompt *prompt, costeer_reasoning *out,
                                               costeer_error *err);
COSTEER_API void costeer_reasoning_dispose(costeer_reasoning *reasoning);

/** The Jinja text of a template that has a name here ("chatml", …), NULL: none has. */
COSTEER_API const char *costeer_chat_template_find(const char *name);

/** Their names, for messages: "chatml, gemma, …". */
COSTEER_API const char *costeer_chat_template_names(void);

#ifdef __cplusplus
}
#endif
#endif
