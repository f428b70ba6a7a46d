/* The answers of costeer compare, laid out for people. */
#ifndef CS_CLI_RENDER_COMPARE_H
#define CS_CLI_RENDER_COMPARE_H

#include "cli/answer.h"
#include "cli/methods.h"
#include "cli/terminal.h"

#define CS_COLUMNS_MAX CS_OPTION_LIST_MAX

/** One way to answer, and its answer once it was run. */
typedef struct cs_column {
    const cs_choice *choice;
    const char *title; /**< "SLM with the context" */
    const char *note;  /**< what there is to know about it */
    bool shows_context;
    const costeer_model *model; /**< spells its tokens */
    const char *vocab;          /**< how its two vocabularies go together; NULL: there is one */
    bool was_run;
    bool is_left_out;   /**< on purpose; the note says why */
    int32_t local_from; /**< position from which on the SLM was alone; −1, or 0 when not run: never */
    cs_cli_answer answer;
} cs_column;

/**
 * Write the answers: up to four columns where the terminal is wide enough, else one below the other.
 *
 * @param columns  [n], n <= CS_COLUMNS_MAX
 * @return false when memory ran out; output errors are left in `out`
 */
bool cs_render_compare(cs_output *out, const cs_terminal *terminal, const cs_column *columns, size_t n);

#endif
