/* What generate and compare tell about an answer's method and its cloud: in JSON, in the summary, and when it failed on the way.
 */
#ifndef CS_CLI_REPORT_H
#define CS_CLI_REPORT_H

#include "cli/setup.h"

/** The object "cloud", JSON null without --cloud. NULL when memory is out. */
json_t *cs_report_cloud(const cs_setup *setup, const cs_cli_answer *answer);

/** Set "vocab", "gate", "n_gated", "n_slm_steps" and "n_slm_tokens". Returns 0, or −1 when memory is out. */
int cs_report_set_method(json_t *object, const cs_setup *setup, const cs_choice *choice, const cs_cli_answer *answer);

/** Set "system": which system message stood in the prompts of llm and slm. Returns 0, or −1 when memory is out. */
int cs_report_set_system(json_t *object, const cs_setup *setup, const cs_choice *choice);

/** The same of the model that gives the base, for the summary: "; system message: …", or "" where it was given. Returns buffer.
 */
const char *cs_report_system_summary(const cs_setup *setup, const cs_choice *choice, char *buffer, size_t size);

/** Say on standard error that an answer is empty, and why that may be. */
void cs_report_tell_empty(const cs_setup *setup, const cs_choice *choice, const cs_cli_answer *answer);

/**
 * Set "words_disclosed": the words of the contexts that steering put into the answer and that nothing public has; null where
 * nothing is steered by a context or the LLM saw it. `model` spells the answer's tokens. Returns 0, or -1 when memory is out.
 */
int cs_report_set_words(json_t *object, const cs_setup *setup, const cs_choice *choice, const costeer_model *model,
                        const cs_cli_answer *answer);

/** Say on standard error which words of the contexts the cloud now knows, where there is a cloud and a summary. */
void cs_report_tell_words(const cs_setup *setup, const cs_choice *choice, const costeer_model *model,
                          const cs_cli_answer *answer);

/** Where the context was shown, in words; "" where it was not. */
const char *cs_report_exposure(const cs_setup *setup, const costeer_method *method);

/** Set "n_local", "local_from" and "cloud_error". Returns 0, or −1 when memory is out. */
int cs_report_set_local(json_t *object, const cs_cli_answer *answer);

/** The answer's position from which on the SLM was alone; −1: it never was. */
int32_t cs_report_local_from(const cs_cli_answer *answer);

/** Say on standard error that an answer was finished without the cloud, when it was. */
void cs_report_tell_local(const cs_setup *setup, const cs_cli_answer *answer);

/** Write the summary's part about the cloud: "; cloud: …", or "" without --cloud. Returns buffer. */
const char *cs_report_cloud_summary(const cs_setup *setup, const cs_cli_answer *answer, char *buffer, size_t size);

#endif
