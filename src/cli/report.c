/*
 * What an answer was made of, who saw the context, and what it has cost on the way to the cloud and back. The numbers are the
 * session's; nothing is counted here. A URL is shown without what may stand behind a '?', where some put a secret.
 */
#include "cli/report.h"

#include "cli/json.h"
#include "cli/message.h"

#include <stdio.h>
#include <string.h>

json_t *cs_report_cloud(const cs_setup *setup, const cs_cli_answer *answer)
{
    const cs_settings *s = &setup->settings;
    if (s->cloud == NULL) {
        return json_null();
    }
    const costeer_cloud_stats *c = &answer->report.cloud;
    const char *name = cs_remote_name(&setup->remote);
    const char *engine = setup->remote.engine;
    return json_pack("{s:o, s:s?, s:s, s:I, s:I, s:I, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:o}", "url",
                     cs_json_text(s->cloud, strcspn(s->cloud, "?#")), "engine", engine, "mode", s->cloud_mode, "round_trip_us",
                     (json_int_t)c->round_trip_us, "bytes_up", (json_int_t)c->bytes_up, "bytes_down", (json_int_t)c->bytes_down,
                     "tokens_sent", (int)c->n_tokens_sent, "drafts_sent", (int)c->n_drafts_sent, "withdrawn", (int)c->n_withdrawn,
                     "corrections", (int)c->n_corrections, "deepenings", (int)c->n_deepenings, "reconnects", (int)c->n_reconnects,
                     "steps", (int)c->n_steps, "wasted_steps", (int)c->n_wasted_steps, "llm", cs_json_text(name, strlen(name)));
}

int cs_report_set_method(json_t *object, const cs_setup *setup, const cs_choice *choice, const cs_cli_answer *answer)
{
    const costeer_report *r = &answer->report;
    const char *vocab = cs_setup_vocab_name(setup, choice->method);
    int failed = json_object_set_new(object, "vocab", vocab != NULL ? json_string(vocab) : json_null());
    failed |= json_object_set_new(object, "gate", json_string(cs_gate_name(choice->gate.kind)));
    failed |= json_object_set_new(object, "n_gated", json_integer(r->n_gated));
    failed |= json_object_set_new(object, "n_slm_steps", json_integer(r->n_slm_steps));
    failed |= json_object_set_new(object, "n_slm_tokens", json_integer(r->n_slm_tokens));
    failed |= cs_report_set_system(object, setup, choice);
    failed |= json_object_set_new(object, "n_reasoning", json_integer(r->n_reasoning));
    failed |= json_object_set_new(
        object, "reasoning",
        r->n_reasoning > 0 ? cs_json_text(answer->reasoning.n_bytes > 0 ? answer->reasoning.bytes : "", answer->reasoning.n_bytes)
                           : json_null());
    return failed != 0 ? -1 : 0;
}

/* ---- the system message ------------------------------------------------------------------------------------------ */

/* Which one a model's prompt has; a node's own template may add one that is not known here. */
static void find_system(const cs_setup *setup, const costeer_model *model, bool is_llm, costeer_prompt_text *out,
                        const char **source)
{
    costeer_prompt prompt = cs_inputs_prompt(&setup->settings, &setup->inputs, NULL);
    prompt.chat_template = cs_templates_of(&setup->inputs.templates, is_llm);
    *source = "none";
    if (is_llm && setup->settings.cloud != NULL && cs_templates_are_the_nodes(&setup->settings)) {
        *source = prompt.system != NULL ? "given" : "node";
    } else if (costeer_prompt_render(model, &prompt, out, NULL) == COSTEER_OK) {
        *source = costeer_system_source_name(out->system_source);
    }
}

static json_t *describe_system(const cs_setup *setup, const costeer_model *model, bool is_llm)
{
    costeer_prompt_text text = {.text = NULL};
    const char *source;
    find_system(setup, model, is_llm, &text, &source);
    json_t *object = json_pack("{s:s, s:o}", "source", source, "text",
                               text.system == NULL ? json_null() : cs_json_text(text.system, strlen(text.system)));
    costeer_prompt_text_dispose(&text);
    return object;
}

int cs_report_set_system(json_t *object, const cs_setup *setup, const cs_choice *choice)
{
    const bool uses_llm = costeer_method_uses_llm(choice->method);
    const bool uses_slm = costeer_method_uses_slm(choice->method) && setup->pair.slm != NULL;
    json_t *systems =
        json_pack("{s:o, s:o}", "llm", uses_llm ? describe_system(setup, cs_pair_spelling(&setup->pair), true) : json_null(),
                  "slm", uses_slm ? describe_system(setup, setup->pair.slm, false) : json_null());
    return json_object_set_new(object, "system", systems);
}

const char *cs_report_system_summary(const cs_setup *setup, const cs_choice *choice, char *buffer, size_t size)
{
    const bool uses_llm = costeer_method_uses_llm(choice->method);
    costeer_prompt_text text = {.text = NULL};
    const char *source;
    find_system(setup, uses_llm ? cs_pair_spelling(&setup->pair) : setup->pair.slm, uses_llm, &text, &source);
    buffer[0] = '\0';
    if (strcmp(source, "template") == 0) {
        snprintf(buffer, size, "; system message of the template: \"%.60s%s\"", text.system,
                 strlen(text.system) > 60 ? "..." : "");
    } else if (strcmp(source, "in-user") == 0) {
        snprintf(buffer, size, "; system message before the user's first: the template has no system role");
    }
    costeer_prompt_text_dispose(&text);
    return buffer;
}

void cs_report_tell_empty(const cs_setup *setup, const cs_choice *choice, const cs_cli_answer *answer)
{
    if (!setup->settings.quiet && answer->status == COSTEER_OK && answer->report.n_tokens - answer->report.n_reasoning <= 1 &&
        answer->text.n_bytes == 0) {
        cs_fail(CS_EXIT_OK, "the answer is empty: the %s ended it at once; see what it read with costeer prompt (--%s-template)",
                costeer_method_uses_llm(choice->method) ? "LLM" : "SLM", costeer_method_uses_llm(choice->method) ? "llm" : "slm");
    }
}

/* ---- exposure ---------------------------------------------------------------------------------------------------- */

const char *cs_report_exposure(const cs_setup *setup, const costeer_method *method)
{
    if (!costeer_method_shows_context(method)) {
        return "";
    }
    return setup->settings.cloud != NULL ? "context shown to the LLM's cloud" : "the LLM saw the context (on this machine)";
}

int32_t cs_report_local_from(const cs_cli_answer *answer)
{
    return answer->report.n_local > 0 ? answer->report.n_tokens - answer->report.n_local : -1;
}

int cs_report_set_local(json_t *object, const cs_cli_answer *answer)
{
    const costeer_report *r = &answer->report;
    bool is_local = r->n_local > 0;
    int failed = json_object_set_new(object, "n_local", json_integer(r->n_local));
    failed |= json_object_set_new(object, "local_from", is_local ? json_integer(cs_report_local_from(answer)) : json_null());
    failed |= json_object_set_new(object, "cloud_error",
                                  is_local ? cs_json_text(r->cloud_error.message, strlen(r->cloud_error.message)) : json_null());
    return failed != 0 ? -1 : 0;
}

void cs_report_tell_local(const cs_setup *setup, const cs_cli_answer *answer)
{
    if (answer->report.n_local > 0 && !setup->settings.quiet) {
        cs_fail(CS_EXIT_OK, "the cloud failed at token %d (%s); the rest is the small model's alone",
                (int)cs_report_local_from(answer), answer->report.cloud_error.message);
    }
}

const char *cs_report_cloud_summary(const cs_setup *setup, const cs_cli_answer *answer, char *buffer, size_t size)
{
    const costeer_cloud_stats *c = &answer->report.cloud;
    int n_tokens = answer->report.n_tokens > 0 ? (int)answer->report.n_tokens : 1;
    buffer[0] = '\0';
    if (setup->settings.cloud == NULL) {
        return buffer;
    }
    int n = snprintf(buffer, size, "; cloud: %d corrected, %.1f bytes a token up, %.0f down", (int)c->n_corrections,
                     (double)c->bytes_up / n_tokens, (double)c->bytes_down / n_tokens);
    if (c->n_drafts_sent > 0 && n > 0 && (size_t)n < size) {
        snprintf(buffer + n, size - (size_t)n, "; %d of %d tokens sent were withdrawn", (int)c->n_withdrawn,
                 (int)c->n_tokens_sent);
    }
    return buffer;
}
