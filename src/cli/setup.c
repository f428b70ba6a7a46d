/*
 * One order for every command that answers: nothing costly happens before everything cheap was checked. Options, outputs, texts,
 * then models, prompts, the cloud. With --cloud no LLM is loaded here; prompts and tokens are then spelled with the SLM's
 * vocabulary, which the node's must equal, and an unsteered answer needs no more of the SLM than that.
 */
#include "cli/setup.h"

#include "cli/message.h"
#include "cli/signals.h"

#include <string.h>

void cs_setup_init(cs_setup *setup)
{
    memset(setup, 0, sizeof *setup);
    setup->out.fd = -1;
    setup->trace.fd = -1;
    setup->audit.fd = -1;
}

/* ---- outputs ----------------------------------------------------------------------------------------------------- */

static int open_output(cs_output *out, const char *path, bool is_private)
{
    int error = path != NULL ? cs_output_open(out, path, is_private) : 0;
    return error == 0 ? CS_EXIT_OK : cs_fail_output(out->name, error);
}

int cs_setup_open_outputs(cs_setup *setup)
{
    const cs_settings *s = &setup->settings;
    int exit_code = open_output(&setup->out, s->output != NULL ? s->output : "-", false);
    if (exit_code == CS_EXIT_OK) {
        exit_code = open_output(&setup->trace, s->trace, true);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = open_output(&setup->audit, s->audit, true);
    }
    return exit_code;
}

int cs_setup_fail_aborted(const cs_setup *setup)
{
    const cs_output *const outputs[] = {&setup->out, &setup->trace, &setup->audit};
    for (size_t i = 0; i < sizeof outputs / sizeof outputs[0]; i++) {
        if (outputs[i]->error != 0) {
            return cs_fail_output(outputs[i]->name, outputs[i]->error);
        }
    }
    return cs_fail(CS_EXIT_INTERNAL, "out of memory");
}

int cs_setup_close_outputs(cs_setup *setup, bool keep, int exit_code)
{
    cs_output_flush(&setup->out);
    int out_error = setup->out.error;
    int trace_error = 0;
    if (keep) {
        out_error = cs_output_close(&setup->out);
        trace_error = setup->settings.trace != NULL ? cs_output_close(&setup->trace) : 0;
    }
    bool was_cut = cs_interrupted() && exit_code == cs_interrupt_exit_code();
    if (exit_code != CS_EXIT_OK && !was_cut) {
        return exit_code;
    }
    if (out_error != 0) {
        return cs_fail_output(setup->out.name, out_error);
    }
    return trace_error != 0 ? cs_fail_output(setup->trace.name, trace_error) : exit_code;
}

/* ---- models, prompts, cloud -------------------------------------------------------------------------------------- */

static int load_models(cs_setup *setup, bool is_steered)
{
    if (setup->settings.cloud != NULL) {
        return cs_slm_load(&setup->settings, !is_steered, &setup->pair.slm);
    }
    return cs_pair_load(&setup->settings, is_steered, &setup->pair);
}

const costeer_model *cs_setup_vocab(const cs_setup *setup)
{
    return setup->pair.llm != NULL ? setup->pair.llm : setup->pair.slm;
}

static int open_cloud(cs_setup *setup)
{
    const cs_settings *s = &setup->settings;
    if (s->cloud == NULL) {
        int exit_code = cs_cloud_open(setup->pair.llm, s, s->threads_llm, &setup->local);
        setup->cloud = setup->local;
        return exit_code;
    }
    int exit_code = cs_remote_open(s, setup->pair.slm, s->audit != NULL ? &setup->audit : NULL, &setup->remote);
    setup->cloud = setup->remote.cloud;
    if (exit_code == CS_EXIT_OK && cs_settings_drafts_privately(s) && !s->quiet) {
        cs_fail(CS_EXIT_OK,
                "private drafts: the cloud also sees drafted tokens that are withdrawn; their number is in the report");
    }
    return exit_code;
}

/* A template that was named is the caller's for both models; else the node's own is the right one for its LLM. */
static bool asks_by_chat(const cs_settings *settings)
{
    return settings->cloud != NULL && settings->chat_template == NULL;
}

int cs_setup_open_models(cs_setup *setup, bool is_steered)
{
    setup->chat = (costeer_chat){.system = setup->settings.system, .user = setup->inputs.query};
    int exit_code = load_models(setup, is_steered);
    if (exit_code == CS_EXIT_OK && !asks_by_chat(&setup->settings)) {
        exit_code = cs_prompt_build(cs_setup_vocab(setup), &setup->settings, &setup->inputs, NULL, &setup->prompt);
    }
    if (exit_code == CS_EXIT_OK && is_steered) {
        exit_code = cs_device_open(setup->pair.slm, &setup->settings, &setup->inputs, &setup->device);
    }
    return exit_code == CS_EXIT_OK ? open_cloud(setup) : exit_code;
}

costeer_session_params cs_setup_session(const cs_setup *setup, bool is_steered)
{
    const cs_settings *s = &setup->settings;
    costeer_session_params params = cs_settings_session(s, setup->strength);
    params.context_weights = is_steered ? setup->inputs.weights : NULL;
    params.private_drafts = is_steered && params.private_drafts;
    if (s->cloud != NULL) {
        params.chat = asks_by_chat(s) ? &setup->chat : NULL;
        params.on_cloud_failure =
            is_steered && strcmp(s->on_cloud_failure, "local") == 0 ? COSTEER_CLOUD_FAILURE_LOCAL : COSTEER_CLOUD_FAILURE_STOP;
    }
    return params;
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

int cs_setup_dispose(cs_setup *setup, int exit_code)
{
    bool had_remote = setup->remote.cloud != NULL;
    costeer_cloud_free(setup->local);
    cs_remote_dispose(&setup->remote); /* its goodbye is part of the audit */
    if (setup->settings.audit != NULL && had_remote) {
        int error = cs_output_close(&setup->audit);
        exit_code = error != 0 && exit_code == CS_EXIT_OK ? cs_fail_output(setup->audit.name, error) : exit_code;
    }
    cs_device_dispose(&setup->device);
    costeer_tokens_dispose(&setup->prompt);
    cs_pair_dispose(&setup->pair);
    cs_inputs_dispose(&setup->inputs);
    cs_output_discard(&setup->audit);
    cs_output_discard(&setup->trace);
    cs_output_discard(&setup->out);
    return exit_code;
}
