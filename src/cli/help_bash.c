/*
 * Completion for bash: the option names of each command, then what the option before the cursor takes (files, choices, nothing),
 * then file names. It needs nothing of the bash-completion package, so that it works when the file is just sourced.
 */
#include "cli/help.h"

#include <ctype.h>
#include <string.h>

static void put(cs_output *out, const char *text)
{
    cs_output_write(out, text, strlen(text));
}

typedef void (*option_fn)(cs_output *out, const cs_option *option);

static void each_option(cs_output *out, const cs_command *command, option_fn visit)
{
    for (size_t g = 0; g < CS_COMMAND_GROUPS_MAX && command->groups[g] != NULL; g++) {
        for (size_t i = 0; i < command->groups[g]->n_options; i++) {
            visit(out, &command->groups[g]->options[i]);
        }
    }
}

static void put_name(cs_output *out, const cs_option *option)
{
    cs_output_print(out, " --%s", option->name);
}

static void put_file_pattern(cs_output *out, const cs_option *option)
{
    if (option->kind == CS_OPTION_FILE || option->kind == CS_OPTION_FILES || option->kind == CS_OPTION_LLM ||
        option->kind == CS_OPTION_SLM) {
        cs_output_print(out, "--%s|", option->name);
    }
}

static void put_value_pattern(cs_output *out, const cs_option *option)
{
    if (option->kind == CS_OPTION_INT || option->kind == CS_OPTION_REAL || option->kind == CS_OPTION_SEED ||
        option->kind == CS_OPTION_TEXT || (option->kind == CS_OPTION_TEXTS && option->choices == NULL)) {
        cs_output_print(out, "--%s|", option->name);
    }
}

static void put_choice_case(cs_output *out, const cs_option *option)
{
    if (option->choices == NULL) {
        return;
    }
    cs_output_print(out, "        --%s) mapfile -t COMPREPLY < <(compgen -W '", option->name);
    for (const char *c = option->choices; *c != '\0'; c++) {
        cs_output_write(out, *c == '|' ? " " : c, 1);
    }
    put(out, "' -- \"$word\"); return ;;\n");
}

static void put_command_function(cs_output *out, const cs_command *command)
{
    cs_output_print(out, "_costeer_%s() {\n    case $1 in\n", command->name);
    each_option(out, command, put_choice_case);
    put(out, "        ");
    each_option(out, command, put_file_pattern);
    put(out, "--) mapfile -t COMPREPLY < <(compgen -f -- \"$word\"); return ;;\n        ");
    each_option(out, command, put_value_pattern);
    put(out, "--) return ;;\n    esac\n    options='--help");
    each_option(out, command, put_name);
    put(out, "'\n}\n\n");
}

void cs_help_bash(cs_output *out)
{
    put(out, "# bash completion for costeer; printed by `costeer help --format bash`.\n\n");
    for (const cs_command *const *command = cs_commands(); *command != NULL; command++) {
        put_command_function(out, *command);
    }
    put(out, "_costeer() {\n"
             "    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} options='' commands=''\n"
             "    commands='");
    for (const cs_command *const *command = cs_commands(); *command != NULL; command++) {
        cs_output_print(out, "%s%s", command == cs_commands() ? "" : " ", (*command)->name);
    }
    put(out, "'\n"
             "    COMPREPLY=()\n"
             "    if ((COMP_CWORD == 1)) || [[ ${COMP_WORDS[1]} == help && $word != -* && $previous != --* ]]; then\n"
             "        mapfile -t COMPREPLY < <(compgen -W \"$commands --help --version\" -- \"$word\")\n"
             "        return\n"
             "    fi\n"
             "    # --name=VALUE arrives as three words.\n"
             "    if [[ $word == '=' ]]; then\n"
             "        word=''\n"
             "    elif [[ $previous == '=' ]]; then\n"
             "        previous=${COMP_WORDS[COMP_CWORD - 2]}\n"
             "    fi\n"
             "    [[ \" $commands \" == *\" ${COMP_WORDS[1]} \"* ]] || return\n"
             "    \"_costeer_${COMP_WORDS[1]}\" \"$previous\"\n"
             "    [[ -z $options ]] && return\n"
             "    if [[ $word == -* ]]; then\n"
             "        mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$word\")\n"
             "    else\n"
             "        mapfile -t COMPREPLY < <(compgen -f -- \"$word\")\n"
             "    fi\n"
             "}\n"
             "\n"
             "complete -o filenames -o bashdefault -F _costeer costeer\n");
}
