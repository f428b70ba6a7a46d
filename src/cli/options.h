/*
 * One table per command: it gives parsing, --help, the man page, the completion and docs/commands.md. Nothing about an option is
 * written twice, its default included: the parser stores the default from the table before it reads the arguments.
 */
#ifndef CS_CLI_OPTIONS_H
#define CS_CLI_OPTIONS_H

#include <costeer/hub.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** What an option takes and the type of the field it is stored in. */
typedef enum cs_option_kind {
    CS_OPTION_FLAG,   /**< nothing; bool */
    CS_OPTION_TEXT,   /**< text; const char *, NULL when not given */
    CS_OPTION_FILE,   /**< a file's name, completed as one; const char * */
    CS_OPTION_LLM,    /**< a model: a file's name, or a name in the hub's cache (cli/hub.h); const char *, the path of its file */
    CS_OPTION_SLM,    /**< the same; of a pair's name the SLM */
    CS_OPTION_CHOICE, /**< one of `choices`; const char * */
    CS_OPTION_TEXTS,  /**< text, repeatable; cs_option_list */
    CS_OPTION_FILES,  /**< file names, repeatable; cs_option_list */
    CS_OPTION_INT,    /**< a whole number; int32_t, 0 when there is no default */
    CS_OPTION_SEED,   /**< a whole number >= 0; uint64_t */
    CS_OPTION_REAL    /**< a finite number; double, NaN when there is no default */
} cs_option_kind;

#define CS_OPTION_LIST_MAX 16

typedef struct cs_option_list {
    const char *items[CS_OPTION_LIST_MAX];
    size_t n;
} cs_option_list;

/** The range of a number; REAL options may leave an end out. Both ends 0: any number. */
typedef struct cs_option_range {
    double min;
    double max;
    bool min_open;
    bool max_open;
} cs_option_range;

typedef struct cs_option {
    const char *name; /**< without the dashes */
    char letter;      /**< short form, 0: none */
    cs_option_kind kind;
    const char *value_name;    /**< as shown: "FILE"; NULL for a flag */
    const char *choices;       /**< "error|warn|info|debug"; of TEXTS: what is completed, which the command checks itself */
    cs_option_range range;     /**< INT and REAL */
    size_t max_items;          /**< TEXTS and FILES; 0: CS_OPTION_LIST_MAX */
    const char *default_value; /**< as it would be typed; NULL: none */
    size_t offset;             /**< of the field in the command's settings */
    const char *help;          /**< a sentence or more, without range and default */
} cs_option;

typedef struct cs_option_group {
    const char *title;
    const cs_option *options;
    size_t n_options;
} cs_option_group;

#define CS_OPTION_GROUP(title, options)                            \
    {                                                              \
        (title), (options), sizeof(options) / sizeof((options)[0]) \
    }

#define CS_OPTIONS_GIVEN_MAX  128
#define CS_OPTIONS_MODELS_MAX 4

/** What a command line held besides values: the arguments that are not options, in order, and which options were given. */
typedef struct cs_arguments {
    const char *items[CS_OPTION_LIST_MAX];
    size_t n;
    const char *options[CS_OPTIONS_GIVEN_MAX]; /**< names, each once */
    size_t n_options;
    char paths[CS_OPTIONS_MODELS_MAX][COSTEER_HUB_PATH_MAX]; /**< of models that were found by their names */
    size_t n_paths;
} cs_arguments;

/** True when an option was given, whatever its value. */
bool cs_arguments_have(const cs_arguments *arguments, const char *option);

struct cs_command;

/**
 * Parse the arguments of a command into its settings.
 *
 * @param argv      [argc] what follows the command's name
 * @param settings  a zeroed struct, the one that the table's offsets refer to
 * @param[out] exit_code  when this returns false: what the program ends with (0 after --help)
 * @return true: go on; false: a message or the help was printed
 */
bool cs_options_parse(const struct cs_command *command, int argc, char **argv, void *settings, cs_arguments *arguments,
                      int *exit_code);

/** Write a range as in "(0, 1]"; "" for any number. Returns buffer. */
const char *cs_option_range_text(const cs_option *option, char *buffer, size_t size);

/** The nearest of [n] names, or NULL when none is near enough to be what was meant. */
const char *cs_nearest(const char *word, const char *const *names, size_t n);

#endif
