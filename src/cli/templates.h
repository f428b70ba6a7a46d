/* The chat templates of a run, and what goes with them: which template each model's prompts have, and how it is asked. */
#ifndef CS_CLI_TEMPLATES_H
#define CS_CLI_TEMPLATES_H

#include "cli/settings.h"

#include <costeer/ensemble.h>

/** What costeer_prompt.chat_template takes, owned; NULL: the model's own. */
typedef struct cs_templates {
    char *both;
    char *llm; /**< instead of `both` */
    char *slm;
} cs_templates;

extern const cs_option_group cs_group_template;

/**
 * Read the files that the settings name as templates.
 *
 * @param[out] out  dispose of it in every case
 * @return an exit code
 */
int cs_templates_read(const cs_settings *settings, cs_templates *out);
void cs_templates_dispose(cs_templates *templates);

/** What a model's prompts have. */
const char *cs_templates_of(const cs_templates *templates, bool is_llm);

/** Set the fields of a prompt that the options are about; chat_template is that of both models. */
void cs_templates_apply(const cs_settings *settings, const cs_templates *templates, costeer_prompt *prompt);

/** True when a node is given messages for its model's own template: nothing was asked for that messages cannot say. */
bool cs_templates_are_the_nodes(const cs_settings *settings);

#endif
