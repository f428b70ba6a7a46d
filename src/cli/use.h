/* Which parts of the contexts generate and compare use: chosen on this device, after the models are loaded and before a cloud is.
 */
#ifndef CS_CLI_USE_H
#define CS_CLI_USE_H

#include "cli/inputs.h"
#include "cli/json.h"
#include "cli/pair.h"

#include <costeer/select.h>

extern const cs_option_group cs_group_use;

/** What was chosen of one context. */
typedef struct cs_chosen {
    char *context; /**< as it was read */
    const char *name;
    costeer_selection selection;
} cs_chosen;

/** All-zero: everything is used. */
typedef struct cs_use {
    costeer_model *model; /**< owned; NULL: the SLM judges */
    costeer_selector *selector;
    cs_chosen chosen[CS_OPTION_LIST_MAX];
    size_t n;
    char **kept; /**< [n_kept] texts of the parts that the last turn of a conversation used */
    size_t n_kept;
    const char *why_all; /**< why everything is used though nobody said so, for as long as the program runs; NULL: it is not */
    bool is_undecided;   /**< the model could not tell for the last request, and everything was used */
    int64_t choice_us;   /**< the last choice took, loading a selector's model included, waiting for the person not */
} cs_use;

/** True where parts are chosen: with --use needed or an option that changes the choice, or by default if the model can judge. */
bool cs_use_is_on(const cs_use *use, const cs_settings *settings);

/** Check the options against each other. Returns an exit code. */
int cs_use_check(const cs_settings *settings);

/**
 * Once the models are loaded: without --use, see whether the SLM can judge at all. One that was trained for this project's
 * published prompts cannot. Returns an exit code.
 */
int cs_use_settle(cs_use *use, const cs_settings *settings, const cs_pair *pair, bool slm_has_weights);

/**
 * With --use needed: choose the parts of each context that is used, and put their text in the context's place; one of which
 * nothing is needed is left out. Contexts with a negative weight stay as they are. What was chosen before is forgotten.
 *
 * @param pair  the loaded models; the SLM is taken when it has weights
 * @return an exit code
 */
int cs_use_choose(cs_use *use, const cs_settings *settings, const cs_pair *pair, bool slm_has_weights, cs_inputs *inputs);

/** Unless --quiet: a line for each --pin and --drop whose text is in no part of what was chosen from. */
void cs_use_tell_unused(const cs_settings *settings, const cs_chosen *chosen, size_t n);

/** The field "selection": JSON null where everything is used. NULL when memory is out. */
json_t *cs_use_describe(const cs_use *use);

#define CS_USE_SUMMARY_SIZE 96

/** ", 3 of 9 parts used (chosen in 1.2 s)", or "" where everything is, or nothing was there. Returns buffer. */
const char *cs_use_summary(const cs_use *use, char *buffer, size_t size);

/** A part as costeer select prints it. NULL when memory is out. */
json_t *cs_use_describe_part(const costeer_selection *of, const char *context, size_t i);

/** Print a part in one line, with '+' where it is used. */
void cs_use_print_part(const costeer_selection *of, const char *context, size_t i, cs_output *out);

/** What the last choice used stays in use for the later turns of a conversation. Returns an exit code. */
int cs_use_keep(cs_use *use);

/** Forget what earlier turns of a conversation used. */
void cs_use_begin_anew(cs_use *use);

/* ---- records (use_record.c) ---- */

/** The field "select_ms": how long the choice took; JSON null where nothing was chosen. NULL when memory is out. */
json_t *cs_use_describe_time(const cs_use *use);

/** Write the choice as a line of --trace, where there is one. False when that failed. */
bool cs_use_trace(const cs_use *use, cs_output *trace);

/**
 * The choice from one context as a line of --audit: which bytes were parts and which were used, and a number by which the text is
 * recognised; none of its words.
 *
 * @return malloc'ed; NULL when memory is out
 */
char *cs_use_audit_line(const cs_chosen *chosen);

void cs_use_dispose(cs_use *use);

#endif
