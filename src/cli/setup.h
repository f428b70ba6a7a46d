/* What generate and compare need before an answer can begin: outputs, texts, models, prompts, the cloud. */
#ifndef CS_CLI_SETUP_H
#define CS_CLI_SETUP_H

#include "cli/answer.h"
#include "cli/remote.h"
#include "util/file.h"

typedef struct cs_setup {
    cs_settings settings;
    double strength;
    cs_inputs inputs;
    cs_output out;
    cs_output trace;
    cs_output audit;
    cs_pair pair;
    cs_device device;      /**< its slm is NULL when nothing is steered */
    costeer_tokens prompt; /**< the public one; empty when the node is given the chat */
    costeer_chat chat;     /**< the same as messages */
    costeer_cloud *cloud;  /**< the LLM, in this process or in remote */
    costeer_cloud *local;  /**< owned; NULL with --cloud */
    cs_remote remote;      /**< all zero without --cloud */
} cs_setup;

void cs_setup_init(cs_setup *setup);

/** Open standard output or --output, --trace and --audit. Returns an exit code. */
int cs_setup_open_outputs(cs_setup *setup);

/** Load the models, build the public prompt, prepare the steered side and the cloud. Returns an exit code. */
int cs_setup_open_models(cs_setup *setup, bool is_steered);

/** The model whose vocabulary spells the LLM's tokens. */
const costeer_model *cs_setup_vocab(const cs_setup *setup);

/** The parameters of an answer of the LLM; callbacks are left to the caller. */
costeer_session_params cs_setup_session(const cs_setup *setup, bool is_steered);

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
