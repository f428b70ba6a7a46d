/*
 * One order for every command that answers: nothing costly happens before everything cheap was checked. Options, outputs, texts,
 * then models, vocabularies, prompts, the cloud. Only the models that the methods take are loaded. With --cloud that is never the
 * LLM: its tokens are spelled with the vocabulary that --llm names, or else with the SLM's, which the node's must then equal.
 */
#include "cli/setup.h"

#include "cli/message.h"
#include "cli/signals.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Of a conversation, what is kept of what was sent: with an engine, every request has the whole prompt. */
#define SENT_BYTES_MAX ((size_t)64 << 20)

void cs_setup_init(cs_setup *setup)
{
    memset(setup, 0, sizeof *setup);
    setup->sent.cap = SENT_BYTES_MAX;
    setup->out.fd = -1;
    setup->trace.fd = -1;
    setup->audit.fd = -1;
    cs_prompt_progress_init(&setup->progress, CS_PROGRESS_NONE);
}

/* ---- outputs ----------------------------------------------------------------------------------------------------- */

static int open_output(cs_output *out, const char *path, bool is_private)
{
    int error = path != NULL ? cs_output_open(out, path, is_private) : 0;
    return error == 0 ? CS_EXIT_OK : cs_fail_output(out->name, error);
}

static int open_outputs(cs_setup *setup)
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

static bool is_same_file(const char *one, const char *other)
{
    struct stat a;
    struct stat b;
    return one != NULL && other != NULL && stat(one, &a) == 0 && stat(other, &b) == 0 && S_ISREG(a.st_mode) &&
           a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* An output takes its name at the end and replaces what has it: notes and models must not go by a slip of the hand. */
static int check_overwriting(const cs_setup *setup)
{
    const cs_settings *s = &setup->settings;
    const struct {
        const char *option;
        const char *path;
    } outputs[] = {{"output", s->output}, {"trace", s->trace}, {"audit", s->audit}};
    const char *const files[] = {s->query_file,    s->messages,      s->context_template, s->amateur_template,
                                 s->chat_template, s->template_file, s->llm_template,     s->slm_template,
                                 s->llm,           s->slm,           s->tuned_slm};
    for (size_t i = 0; i < sizeof outputs / sizeof outputs[0]; i++) {
        bool is_input = false;
        for (size_t f = 0; f < sizeof files / sizeof files[0]; f++) {
            is_input = is_input || is_same_file(outputs[i].path, files[f]);
        }
        for (size_t c = 0; c < setup->inputs.n_contexts + setup->inputs.n_empty; c++) {
            is_input = is_input || is_same_file(outputs[i].path, setup->inputs.names[c]);
        }
        if (is_input) {
            return cs_fail(CS_EXIT_USAGE, "--%s: %s is also read, and would be overwritten; name another file", outputs[i].option,
                           outputs[i].path);
        }
    }
    return CS_EXIT_OK;
}

/* ---- models ------------------------------------------------------------------------------------------------------ */

static bool needs_both(const costeer_method *method)
{
    return costeer_method_uses_llm(method) && costeer_method_uses_slm(method);
}

static bool uses_tuned(const costeer_method *method)
{
    return method->expert == COSTEER_SOURCE_SLM_TUNED;
}

/* What does not go with two vocabularies; that there are two is only known once the models are loaded. */
static int check_two_vocabularies(const cs_setup *setup)
{
    const cs_settings *s = &setup->settings;
    if (cs_settings_n_drafts(s) > 0) {
        return cs_fail(CS_EXIT_USAGE,
                       "%s: drafts need one vocabulary, and those of LLM and SLM differ; use --cloud-mode streamed",
                       cs_settings_drafts_privately(s) ? "--draft private" : "--cloud-mode drafted");
    }
    if (cs_choices_any(&setup->choices, uses_tuned)) {
        return cs_fail(
            CS_EXIT_USAGE,
            "--method proxy-tuning: needs one vocabulary, and those of LLM and SLM differ; give an --slm of the LLM's");
    }
    return CS_EXIT_OK;
}

static int load_models(cs_setup *setup)
{
    const cs_pair_needs needs = {.llm = cs_choices_any(&setup->choices, costeer_method_uses_llm),
                                 .slm = cs_choices_any(&setup->choices, costeer_method_uses_slm),
                                 .tuned = cs_choices_any(&setup->choices, uses_tuned),
                                 .map = cs_choices_any(&setup->choices, needs_both),
                                 .templates = &setup->inputs.templates};
    const cs_messages *given = &setup->inputs.conversation;
    int exit_code = cs_pair_load(&setup->settings, &needs, &setup->pair);
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_messages_check_tokens(given, setup->settings.messages, cs_pair_spelling(&setup->pair));
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_messages_check_tokens(given, setup->settings.messages, setup->pair.slm);
    }
    return exit_code == CS_EXIT_OK && setup->pair.map != NULL ? check_two_vocabularies(setup) : exit_code;
}

const char *cs_setup_vocab_name(const cs_setup *setup, const costeer_method *method)
{
    if (!needs_both(method)) {
        return NULL;
    }
    return costeer_vocab_mode_name(setup->pair.map != NULL ? costeer_vocab_map_mode(setup->pair.map) : COSTEER_VOCAB_SAME);
}

/* ---- the ensemble ------------------------------------------------------------------------------------------------ */

static costeer_ensemble_params make_params(cs_setup *setup)
{
    const cs_settings *s = &setup->settings;
    const cs_pair *pair = &setup->pair;
    bool uses_llm = cs_choices_any(&setup->choices, costeer_method_uses_llm);
    bool uses_slm = cs_choices_any(&setup->choices, costeer_method_uses_slm);
    costeer_ensemble_params params = {.llm = uses_llm ? cs_pair_spelling(pair) : NULL,
                                      .slm = uses_slm ? pair->slm : NULL,
                                      .tuned = pair->tuned,
                                      .vocab_map = pair->map,
                                      .n_contexts = (int32_t)setup->inputs.n_contexts,
                                      .n_ctx = s->ctx_size,
                                      .n_threads_llm = s->threads_llm,
                                      .n_threads_slm = s->threads_slm,
                                      .n_threads_prompt = s->threads_prompt,
                                      .on_prompt = cs_prompt_progress_show,
                                      .on_prompt_user = &setup->progress,
                                      .n_drafts = cs_settings_n_drafts(s),
                                      .cancel = cs_interrupt_flag()};
    if (s->cloud != NULL && uses_llm) {
        params.connect = cs_remote_connect;
        params.connect_user = &setup->remote;
        /* A template that was named is the caller's for both models; else the node's own is the right one for its LLM. An engine
         * gets tokens: what spells them here has the template too. */
        params.by_chat = cs_templates_are_the_nodes(s);
        params.allow_context_upload = s->allow_context_upload;
    }
    return params;
}

int cs_setup_set_prompts(cs_setup *setup)
{
    const cs_settings *s = &setup->settings;
    const cs_inputs *inputs = &setup->inputs;
    costeer_prompt with[CS_OPTION_LIST_MAX];
    for (size_t i = 0; i < inputs->n_contexts; i++) {
        with[i] = cs_inputs_prompt(s, inputs, inputs->contexts[i]);
    }
    costeer_ensemble_prompts prompts = {.plain = cs_inputs_prompt(s, inputs, NULL),
                                        .amateur = cs_inputs_amateur(s, inputs),
                                        .with = with,
                                        .llm_template = inputs->templates.llm,
                                        .slm_template = inputs->templates.slm,
                                        .max_tokens = cs_settings_positions_max(s)};
    if (inputs->all_contexts != NULL) {
        prompts.with_all = cs_inputs_prompt(s, inputs, inputs->all_contexts);
    }
    costeer_error err = {.code = COSTEER_OK};
    if (costeer_ensemble_set_n_contexts(setup->ensemble, (int32_t)inputs->n_contexts, &err) != COSTEER_OK ||
        costeer_ensemble_set_prompts(setup->ensemble, &prompts, &err) != COSTEER_OK) {
        return cs_fail_error(&err);
    }
    return CS_EXIT_OK;
}

static int create_ensemble(cs_setup *setup)
{
    const cs_settings *s = &setup->settings;
    setup->progress.kind = cs_progress_kind_of(s->quiet, s->verbose);
    costeer_ensemble_params params = make_params(setup);
    costeer_error err = {.code = COSTEER_OK};
    if (costeer_ensemble_create(&params, &setup->ensemble, &err) != COSTEER_OK) {
        return cs_fail_error(&err);
    }
    return cs_setup_set_prompts(setup);
}

/* What each choice needs is made before the first one answers, so that nothing is computed for a command that fails. */
static int try_choices(cs_setup *setup)
{
    costeer_ensemble_parts parts;
    int exit_code = CS_EXIT_OK;
    for (size_t i = 0; i < setup->choices.n && exit_code == CS_EXIT_OK; i++) {
        exit_code = cs_setup_use(setup, &setup->choices.items[i], &parts);
    }
    return exit_code;
}

static void tell_of_drafts(const cs_setup *setup)
{
    const cs_settings *s = &setup->settings;
    if (cs_settings_drafts_privately(s) && !s->quiet) {
        cs_fail(CS_EXIT_OK,
                "private drafts: the cloud also sees drafted tokens that are withdrawn; their number is in the report");
    }
}

static void tell_of_reasoning(const cs_setup *setup)
{
    const cs_settings *s = &setup->settings;
    if (cs_settings_thinks(s) && setup->reasoning.begin == NULL && s->answer_prefix == NULL && !s->quiet) {
        cs_fail(CS_EXIT_OK,
                "the chat template has no reasoning that is known; --thinking on changes nothing but what it is told");
    }
}

/* The choice is written down where what is sent is, and before it. */
static int record_choice(cs_setup *setup)
{
    bool ok = true;
    for (size_t i = 0; i < setup->use.n && setup->settings.cloud != NULL && ok; i++) {
        char *line = cs_use_audit_line(&setup->use.chosen[i]);
        ok = line != NULL && cs_remote_note(&setup->remote, line);
        free(line);
    }
    return ok ? CS_EXIT_OK : cs_setup_fail_aborted(setup);
}

/* Before anything is sent; methods without contexts choose nothing. */
int cs_setup_choose_parts(cs_setup *setup)
{
    if (!cs_choices_any(&setup->choices, cs_method_uses_context)) {
        return CS_EXIT_OK;
    }
    const bool has_slm = cs_choices_any(&setup->choices, costeer_method_uses_slm);
    const int exit_code = cs_use_choose(&setup->use, &setup->settings, &setup->pair, has_slm, &setup->inputs);
    return exit_code == CS_EXIT_OK ? record_choice(setup) : exit_code;
}

static int open_models(cs_setup *setup)
{
    int exit_code =
        setup->settings.cloud != NULL
            ? cs_remote_prepare(&setup->settings, setup->settings.audit != NULL ? &setup->audit : NULL, &setup->remote)
            : CS_EXIT_OK;
    if (exit_code == CS_EXIT_OK) {
        exit_code = load_models(setup);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code =
            cs_use_settle(&setup->use, &setup->settings, &setup->pair, cs_choices_any(&setup->choices, costeer_method_uses_slm));
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = setup->settings.is_chat ? CS_EXIT_OK : cs_setup_choose_parts(setup); /* chat: at every question */
    }
    if (exit_code == CS_EXIT_OK) {
        setup->remote.model = cs_pair_spelling(&setup->pair);
        setup->remote.sent = setup->settings.is_chat ? &setup->sent : NULL;
        exit_code = create_ensemble(setup);
    }
    const bool is_chosen_later =
        setup->settings.is_chat && cs_use_is_on(&setup->use, &setup->settings); /* the whole need not fit */
    if (exit_code == CS_EXIT_OK && !is_chosen_later) {
        exit_code = try_choices(setup);
    }
    if (exit_code == CS_EXIT_OK) {
        tell_of_drafts(setup);
        tell_of_reasoning(setup);
    }
    return exit_code;
}

int cs_setup_read(cs_setup *setup, const cs_arguments *arguments)
{
    int exit_code = open_outputs(setup);
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_inputs_read(&setup->settings, arguments, &setup->inputs);
    }
    return exit_code == CS_EXIT_OK ? check_overwriting(setup) : exit_code;
}

int cs_setup_prepare(cs_setup *setup, const cs_arguments *arguments)
{
    cs_settings *s = &setup->settings;
    int exit_code = cs_settings_resolve(s, arguments, cs_choices_any(&setup->choices, cs_method_has_experts));
    exit_code = exit_code == CS_EXIT_OK ? cs_use_check(s) : exit_code;
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_choices_check_upload(s, &setup->choices);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_choices_check_contexts(&setup->choices, s->contexts.n > 0 || s->is_chat, true);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_setup_read(setup, arguments);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code =
            cs_choices_check_contexts(&setup->choices, true, setup->inputs.all_contexts != NULL || setup->inputs.n_contexts == 0);
    }
    return exit_code == CS_EXIT_OK ? open_models(setup) : exit_code;
}

/* ---- what does not fit ------------------------------------------------------------------------------------------- */

/* What a model holds when --ctx-size says nothing (costeer/ensemble.h). */
#define CTX_DEFAULT_MAX 8192

static bool fits(const cs_setup *setup, const costeer_model *model, const char *context)
{
    const cs_settings *s = &setup->settings;
    int32_t n_trained = costeer_model_get_info(model)->n_ctx_train;
    int32_t n_ctx = s->ctx_size > 0 ? s->ctx_size : (n_trained < CTX_DEFAULT_MAX ? n_trained : CTX_DEFAULT_MAX);
    costeer_prompt prompt = cs_inputs_prompt(s, &setup->inputs, context);
    prompt.chat_template = cs_templates_of(&setup->inputs.templates, model == setup->pair.llm);
    costeer_tokens tokens = {.n = 0};
    costeer_err code = costeer_prompt_build(model, &prompt, &tokens, NULL);
    size_t n = tokens.n;
    costeer_tokens_dispose(&tokens);
    return code == COSTEER_OK && n + (size_t)cs_settings_positions_max(s) <= (size_t)n_ctx;
}

/* The file whose context does not fit; NULL when the query alone does not, or when a node knows better what fits there. */
static const char *find_too_long(const cs_setup *setup, const costeer_method *method)
{
    const cs_inputs *inputs = &setup->inputs;
    bool is_slm = cs_method_has_experts(method) || method->base == COSTEER_SOURCE_SLM_WITH;
    const costeer_model *model = is_slm ? setup->pair.slm : setup->pair.llm;
    if (!cs_method_uses_context(method) || (!is_slm && setup->settings.cloud != NULL) || !fits(setup, model, NULL)) {
        return NULL;
    }
    bool joins = !cs_method_has_experts(method);
    for (size_t i = 0; i < inputs->n_contexts; i++) {
        bool is_used = !joins || inputs->weights[i] > 0.0;
        if (is_used && !fits(setup, model, inputs->contexts[i])) {
            return inputs->context_names[i];
        }
    }
    return joins && !fits(setup, model, inputs->all_contexts) ? "the contexts together" : NULL;
}

/* ---- one answer -------------------------------------------------------------------------------------------------- */

int cs_setup_fail(const cs_setup *setup, const cs_choice *choice, const costeer_error *err)
{
    if (err->code == COSTEER_EIO) { /* of the files that connecting takes, the library reads the certificates */
        return cs_fail(CS_EXIT_INPUT, "%s", err->message);
    }
    const char *name = err->code == COSTEER_ETOOLONG ? find_too_long(setup, choice->method) : NULL;
    if (name == NULL && err->code == COSTEER_ETOOLONG && setup->settings.is_chat && setup->inputs.conversation.n_turns > 0) {
        return cs_fail(CS_EXIT_INPUT, "%s; /new begins a new conversation", err->message);
    }
    return name != NULL ? cs_fail(CS_EXIT_INPUT, "%s: %s", name, err->message) : cs_fail_error(err);
}

/* Where every context is empty, expert and amateur would be the same, and so would the prompts with and without. */
static const costeer_method *method_to_run(const cs_setup *setup, const cs_choice *choice)
{
    if (!cs_method_uses_context(choice->method) || setup->inputs.n_contexts > 0) {
        return choice->method;
    }
    return costeer_method_find(costeer_method_uses_llm(choice->method) ? "llm" : "slm");
}

/* How the model that gives the base reasons, when it is let. */
static costeer_err find_reasoning(cs_setup *setup, const costeer_method *method, const costeer_model *model, costeer_error *err)
{
    costeer_prompt prompt = cs_inputs_prompt(&setup->settings, &setup->inputs, NULL);
    prompt.chat_template = cs_templates_of(&setup->inputs.templates, costeer_method_uses_llm(method));
    prompt.answer_prefix = NULL; /* behind it nothing is reasoned, and what it is of is_open is not to be seen */
    const costeer_err code = costeer_reasoning_find(model, &prompt, &setup->reasoning, err);
    if (setup->settings.answer_prefix != NULL) {
        costeer_reasoning_dispose(&setup->reasoning);
    }
    return code;
}

int cs_setup_use(cs_setup *setup, const cs_choice *choice, costeer_ensemble_parts *out)
{
    costeer_error err = {.code = COSTEER_OK};
    costeer_err code = costeer_ensemble_use(setup->ensemble, method_to_run(setup, choice), choice->top_p, out, &err);
    if (code == COSTEER_OK && cs_settings_thinks(&setup->settings)) {
        code = find_reasoning(setup, method_to_run(setup, choice), out->model, &err);
    }
    return code == COSTEER_OK ? CS_EXIT_OK : cs_setup_fail(setup, choice, &err);
}

costeer_session_params cs_setup_session(const cs_setup *setup, const cs_choice *choice, const costeer_ensemble_parts *parts)
{
    const cs_settings *s = &setup->settings;
    const costeer_method *method = method_to_run(setup, choice);
    bool has_experts = cs_method_has_experts(method);
    costeer_session_params params = cs_settings_session(s);
    params.strength = choice->weight;
    params.limits = choice->limits;
    if (method == choice->method) {
        params.gate = choice->gate;
    }
    params.chat = parts->chat;
    params.reasoning = &setup->reasoning;
    params.context_weights = has_experts ? setup->inputs.weights : NULL;
    params.private_drafts = has_experts && params.private_drafts;
    if (s->cloud != NULL && has_experts && strcmp(s->on_cloud_failure, "local") == 0) {
        params.on_cloud_failure = COSTEER_CLOUD_FAILURE_LOCAL;
    }
    return params;
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

int cs_setup_dispose(cs_setup *setup, int exit_code)
{
    costeer_ensemble_free(setup->ensemble); /* the goodbye to the node is part of the audit */
    if (setup->settings.audit != NULL && setup->remote.was_asked) {
        int error = cs_output_close(&setup->audit);
        exit_code = error != 0 && exit_code == CS_EXIT_OK ? cs_fail_output(setup->audit.name, error) : exit_code;
    }
    cs_buffer_dispose(&setup->sent);
    cs_prompt_progress_dispose(&setup->progress);
    cs_remote_dispose(&setup->remote);
    cs_use_dispose(&setup->use);
    cs_pair_dispose(&setup->pair);
    costeer_reasoning_dispose(&setup->reasoning);
    cs_inputs_dispose(&setup->inputs);
    cs_output_discard(&setup->audit);
    cs_output_discard(&setup->trace);
    cs_output_discard(&setup->out);
    return exit_code;
}
