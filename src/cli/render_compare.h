/* The four answers of costeer compare, laid out for people. */
#ifndef CS_CLI_RENDER_COMPARE_H
#define CS_CLI_RENDER_COMPARE_H

#include "cli/answer.h"
#include "cli/terminal.h"

#define CS_METHODS 4

/** One way to answer, and its answer once it was run. */
typedef struct cs_method {
    const char *name;  /**< in JSON: "slm+context" */
    const char *title; /**< "SLM with the context" */
    const char *note;  /**< what there is to know about it */
    bool gives_context_away;
    bool is_steered;
    double strength;            /**< when steered */
    const costeer_model *model; /**< spells its tokens */
    bool was_run;
    bool is_left_out;   /**< on purpose; the note says why */
    int32_t local_from; /**< position from which on the SLM was alone; −1, or 0 when not run: never */
    cs_cli_answer answer;
} cs_method;

/**
 * Write the answers: four or two columns where the terminal is wide enough, else one below the other.
 *
 * @return false when memory ran out; output errors are left in `out`
 */
bool cs_render_compare(cs_output *out, const cs_terminal *terminal, const cs_method methods[CS_METHODS]);

#endif
