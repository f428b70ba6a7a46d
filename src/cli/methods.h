/* The methods that --method names, and what the other options make of each of them; for generate, compare and eval. */
#ifndef CS_CLI_METHODS_H
#define CS_CLI_METHODS_H

#include "cli/settings.h"

#include <costeer/method.h>

/** A method with the numbers that it runs with. */
typedef struct cs_choice {
    const costeer_method *method;
    bool is_named; /**< by --method; false: the command's own choice */
    double weight; /**< of the delta; 0 where there is none */
    costeer_delta_limits limits;
    double top_p;             /**< support of the base */
    costeer_gate_params gate; /**< NONE where there is no delta */
} cs_choice;

typedef struct cs_choices {
    cs_choice items[CS_OPTION_LIST_MAX];
    size_t n;
} cs_choices;

/**
 * Find the methods and their numbers, and refuse options that would do nothing for any of them.
 *
 * Strength and the published parameters concern the methods that have deltas; the others of the list ignore them.
 *
 * @param defaults  [n_defaults] names of the methods when --method was not given
 * @return an exit code
 */
int cs_choices_make(const cs_settings *settings, const cs_arguments *arguments, const char *const *defaults, size_t n_defaults,
                    cs_choices *out);

/** Set the weight and the limits that the settings give to a method's delta. Returns an exit code. */
int cs_choice_weigh(const cs_settings *settings, cs_choice *choice);

/** What the options set of a method. */
costeer_method_settings cs_method_settings(const cs_settings *settings);

/** True when the method is not what the cloud may see: its LLM is elsewhere, and nobody allowed to show it the context. */
bool cs_method_needs_permission(const cs_settings *settings, const costeer_method *method);

/** Refuse a method that was named and needs a permission. Returns an exit code. */
int cs_choices_check_upload(const cs_settings *settings, const cs_choices *choices);

/**
 * Refuse a method that needs a context where there is none.
 *
 * @param has_context   a context of any weight
 * @param has_followed  one with a positive weight, for models that get the contexts in their prompt
 */
int cs_choices_check_contexts(const cs_choices *choices, bool has_context, bool has_followed);

/** True when a context makes a difference to the method. */
bool cs_method_uses_context(const costeer_method *method);

/** True when the method has deltas. */
bool cs_method_is_steered(const costeer_method *method);

/** True when the contexts steer the LLM through the SLM: it drafts, and can go on alone. */
bool cs_method_has_experts(const costeer_method *method);

/** True when one of the methods is so. */
bool cs_choices_any(const cs_choices *choices, bool (*is_so)(const costeer_method *method));

/** "none", "ada", "token". */
const char *cs_gate_name(costeer_gate_kind kind);

#endif
