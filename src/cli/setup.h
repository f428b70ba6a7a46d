/* What generate and compare need before an answer can begin: outputs, texts, models, and the ensemble that is made of them. */
#ifndef CS_CLI_SETUP_H
#define CS_CLI_SETUP_H

#include "cli/answer.h"
#include "cli/inputs.h"
#include "cli/methods.h"
#include "cli/pair.h"
#include "cli/progress.h"
#include "cli/remote.h"
#include "cli/use.h"
#include "util/file.h"

typedef struct cs_setup {
    cs_settings settings;
    cs_choices choices; /**< the command fills them in, and takes away what it will not run */
    cs_inputs inputs;
    cs_output out;
    cs_output trace;
    cs_output audit;
    cs_pair pair;
    cs_use use;
    cs_prompt_progress progress;
    cs_remote remote; /**< all zero without --cloud */
    cs_buffer sent;   /**< chat: what was sent to the cloud, as --audit writes it */
    costeer_ensemble *ensemble;
    costeer_reasoning reasoning; /**< of the model that gives the base of the choice last put together */
} cs_setup;

void cs_setup_init(cs_setup *setup);

/**
 * Do everything that comes before the first answer of the choices, the cheap first: check the options, open the outputs, read the
 * texts, load the models, connect, and see that every prompt fits.
 *
 * @return an exit code
 */
int cs_setup_prepare(cs_setup *setup, const cs_arguments *arguments);

/** The part of it that loads nothing: open the outputs and read the texts. Returns an exit code. */
int cs_setup_read(cs_setup *setup, const cs_arguments *arguments);

/** With --use needed: put what the query needs of the contexts in their place (cli/use.h). Returns an exit code. */
int cs_setup_choose_parts(cs_setup *setup);

/** Give the ensemble the prompts that follow from the inputs as they are now. Returns an exit code. */
int cs_setup_set_prompts(cs_setup *setup);

/** Put together what a choice needs; `out` is valid until the next call. Returns an exit code. */
int cs_setup_use(cs_setup *setup, const cs_choice *choice, costeer_ensemble_parts *out);

/** Print why a choice could not be put together or answered, with the context's file where that is why. Returns an exit code. */
int cs_setup_fail(const cs_setup *setup, const cs_choice *choice, const costeer_error *err);

/** The parameters of an answer; callbacks are left to the caller. */
costeer_session_params cs_setup_session(const cs_setup *setup, const cs_choice *choice, const costeer_ensemble_parts *parts);

/** The name of the way in which the vocabularies are used together in a method; NULL where there is only one model. */
const char *cs_setup_vocab_name(const cs_setup *setup, const costeer_method *method);

/** Tell which output could not be written, or that memory ran out, after an answer ended with COSTEER_EABORTED. */
int cs_setup_fail_aborted(const cs_setup *setup);

/**
 * Close the standard or --output one and the trace when they are to be kept.
 *
 * @return exit_code, or that of an output that could not be written when nothing else went wrong
 */
int cs_setup_close_outputs(cs_setup *setup, bool keep, int exit_code);

/**
 * Part from the cloud and free everything. The audit is kept however the answer ended, because what was sent was sent.
 *
 * @return exit_code, or that of an audit that could not be written when nothing else went wrong
 */
int cs_setup_dispose(cs_setup *setup, int exit_code);

#endif
