/*
 * The options of chat templates. A template is a name or a file: what is neither "raw" nor a name that the library has is taken
 * as a file, and what is in it as Jinja.
 */
#include "cli/templates.h"

#include "cli/inputs.h"
#include "cli/message.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIELD(field) .offset = offsetof(cs_settings, field)

#define NAMES "raw (none), chatml, gemma, llama2, llama3, mistral, phi3 or zephyr"

static const cs_option options[] = {
    {.name = "template",
     .kind = CS_OPTION_TEXT,
     .value_name = "NAME|FILE",
     FIELD(chat_template),
     .help = "Chat template for both models: " NAMES ", or a file with a Jinja template; without: each model's own"},
    {.name = "template-file",
     .kind = CS_OPTION_FILE,
     .value_name = "FILE",
     FIELD(template_file),
     .help = "The same from a file, whatever its name"},
    {.name = "llm-template",
     .kind = CS_OPTION_TEXT,
     .value_name = "NAME|FILE",
     FIELD(llm_template),
     .help = "The LLM's, as --template"},
    {.name = "slm-template",
     .kind = CS_OPTION_TEXT,
     .value_name = "NAME|FILE",
     FIELD(slm_template),
     .help = "The SLM's, as --template"},
    {.name = "no-default-system",
     .kind = CS_OPTION_FLAG,
     FIELD(no_default_system),
     .help = "Without --system, give the template an empty system message where it would put one of its own"},
    {.name = "thinking",
     .kind = CS_OPTION_CHOICE,
     .value_name = "SWITCH",
     .choices = "off|on",
     .default_value = "off",
     FIELD(thinking),
     .help =
         "Whether the models reason before they answer, where their template has a switch. off: a reasoning that the template "
         "begins all the same is closed at once"},
    {.name = "thinking-budget",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 1, .max = 1000000},
     .default_value = "1024",
     FIELD(thinking_budget),
     .help = "Tokens after which a reasoning is ended by force; --max-tokens is the answer's alone"},
    {.name = "answer-prefix",
     .kind = CS_OPTION_TEXT,
     .value_name = "TEXT",
     FIELD(answer_prefix),
     .help = "What the answer begins with, for both models; it is not printed again"},
};

const cs_option_group cs_group_template = CS_OPTION_GROUP("Chat template", options);

/* One option's value as the library takes it. */
static int read_one(const char *option, const char *value, char **out)
{
    if (value == NULL) {
        return CS_EXIT_OK;
    }
    if (strcmp(value, "raw") == 0 || costeer_chat_template_find(value) != NULL) {
        *out = strdup(value);
        return *out != NULL ? CS_EXIT_OK : cs_fail(CS_EXIT_INTERNAL, "out of memory");
    }
    if (access(value, F_OK) != 0 && strchr(value, '/') == NULL && strchr(value, '.') == NULL) {
        return cs_fail(CS_EXIT_USAGE, "--%s: \"%s\" is no chat template and no file: give %s, or a file", option, value, NAMES);
    }
    int exit_code = cs_input_read_text(value, "chat template", out);
    if (exit_code == CS_EXIT_OK && strstr(*out, "{{") == NULL && strstr(*out, "{%") == NULL) {
        exit_code = cs_fail(CS_EXIT_INPUT, "%s: is no Jinja template: it has neither {{ nor {%%", value);
    }
    return exit_code;
}

int cs_templates_read(const cs_settings *settings, cs_templates *out)
{
    memset(out, 0, sizeof *out);
    if (settings->chat_template != NULL && settings->template_file != NULL) {
        return cs_fail(CS_EXIT_USAGE, "--template and --template-file exclude each other");
    }
    int exit_code = read_one("template", settings->chat_template, &out->both);
    if (exit_code == CS_EXIT_OK && settings->template_file != NULL) {
        exit_code = cs_input_read_text(settings->template_file, "chat template", &out->both);
        if (exit_code == CS_EXIT_OK && strstr(out->both, "{{") == NULL && strstr(out->both, "{%") == NULL) {
            exit_code = cs_fail(CS_EXIT_INPUT, "%s: is no Jinja template: it has neither {{ nor {%%", settings->template_file);
        }
    }
    exit_code = exit_code == CS_EXIT_OK ? read_one("llm-template", settings->llm_template, &out->llm) : exit_code;
    return exit_code == CS_EXIT_OK ? read_one("slm-template", settings->slm_template, &out->slm) : exit_code;
}

void cs_templates_dispose(cs_templates *templates)
{
    free(templates->both);
    free(templates->llm);
    free(templates->slm);
    memset(templates, 0, sizeof *templates);
}

const char *cs_templates_of(const cs_templates *templates, bool is_llm)
{
    const char *own = is_llm ? templates->llm : templates->slm;
    return own != NULL ? own : templates->both;
}

void cs_templates_apply(const cs_settings *settings, const cs_templates *templates, costeer_prompt *prompt)
{
    prompt->chat_template = templates->both;
    prompt->no_default_system = settings->no_default_system;
    prompt->thinking = cs_settings_thinks(settings);
    prompt->answer_prefix = settings->answer_prefix;
}

bool cs_templates_are_the_nodes(const cs_settings *settings)
{
    return settings->chat_template == NULL && settings->template_file == NULL && settings->llm_template == NULL &&
           !settings->no_default_system && !cs_settings_thinks(settings) && settings->answer_prefix == NULL &&
           !cs_settings_is_engine(settings);
}
