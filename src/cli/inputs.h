/* The texts of a run: contexts, query, context template. All are read and checked before a model is loaded. */
#ifndef CS_CLI_INPUTS_H
#define CS_CLI_INPUTS_H

#include "cli/messages.h"
#include "cli/settings.h"
#include "cli/templates.h"

typedef struct cs_inputs {
    const char *context_names[CS_OPTION_LIST_MAX]; /**< for messages */
    char *contexts[CS_OPTION_LIST_MAX];
    double weights[CS_OPTION_LIST_MAX];
    size_t n_contexts;  /**< without empty ones */
    size_t n_empty;     /**< contexts that were left out because they are empty */
    char *all_contexts; /**< those with a positive weight, one after the other, for a model that gets them in its prompt; may be
                           NULL */
    char *query;
    bool is_trial;            /**< chat: nothing was asked yet, and the query only tries the prompts */
    cs_messages conversation; /**< of --messages; chat adds to its turns */
    cs_templates templates;
    char *context_template;          /**< NULL: the default */
    char *amateur_template;          /**< NULL: the query alone */
    char *names[CS_OPTION_LIST_MAX]; /**< owned parts of context_names */
} cs_inputs;

/**
 * Read what the settings and arguments name.
 *
 * @param arguments  none (the query comes from --messages, --query-file or standard input) or one, the query
 * @param[out] out   dispose of it in every case
 * @return an exit code; the message names the file and never shows its text
 */
int cs_inputs_read(const cs_settings *settings, const cs_arguments *arguments, cs_inputs *out);

/** Read a whole text, without the byte order mark before it and the line ends after it; "-" is standard input. */
int cs_input_read_text(const char *path, const char *what, char **out);

/**
 * Read a context (FILE or FILE:WEIGHT) in the place of those that are there, or beside them. An empty one is refused.
 *
 * @param argument  NULL: none
 * @param keeps     beside them
 * @param[out] out  contexts and nothing else, to be swapped in; dispose of it in every case
 * @return an exit code; the message names the file
 */
int cs_inputs_change_contexts(const cs_inputs *inputs, const char *argument, bool keeps, cs_inputs *out);

/** Leave out contexts that have become empty, and join the others anew. Returns an exit code. */
int cs_inputs_tidy(cs_inputs *inputs);

/** Exchange the contexts of two. */
void cs_inputs_swap_contexts(cs_inputs *inputs, cs_inputs *other);

/** The prompt for a context; NULL: without. It refers to settings and inputs, and has the template of both models. */
costeer_prompt cs_inputs_prompt(const cs_settings *settings, const cs_inputs *inputs, const char *context);

/** The prompt of the SLM beside those with a context: without one, in the same framing. */
costeer_prompt cs_inputs_amateur(const cs_settings *settings, const cs_inputs *inputs);

/**
 * Find the framing of --framing, --context-template and --amateur-template.
 *
 * @param[out] with, without  free them in every case; NULL: the published one
 */
int cs_framing_read(const cs_settings *settings, char **with, char **without);

void cs_inputs_dispose(cs_inputs *inputs);

#endif
