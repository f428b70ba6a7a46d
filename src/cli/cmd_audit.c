/*
 * costeer audit: the user's own check of what was sent. The words of the context that it found are shown: who runs it has both
 * files and asked for it.
 */
#include "cli/audit_file.h"
#include "cli/cmd.h"
#include "cli/inputs.h"
#include "cli/json.h"
#include "cli/message.h"
#include "cli/overlap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More than a person reads; their number is told all the same. */
#define RUNS_SHOWN 50

typedef struct audit_settings {
    cs_option_list contexts;
    bool json;
} audit_settings;

typedef struct auditing {
    audit_settings settings;
    cs_audit_file audit;
    char *contexts[CS_OPTION_LIST_MAX];
    json_t *runs; /* [{"place", "text"}] */
    int place;    /* being searched */
    int64_t n_violations;
    cs_output out;
} auditing;

static const cs_option options[] = {
    {.name = "context",
     .kind = CS_OPTION_FILES,
     .value_name = "FILE",
     .offset = offsetof(audit_settings, contexts),
     .help = "A text that must not have been sent; '-' is standard input"},
    {.name = "json", .kind = CS_OPTION_FLAG, .offset = offsetof(audit_settings, json), .help = "Print one JSON object"},
};

static const cs_option_group group = CS_OPTION_GROUP("Options", options);

/* ---- searching --------------------------------------------------------------------------------------------------- */

/* A draft is no secret any more when the answer says the same. */
static bool is_violation(const auditing *a, const char *run, size_t n_bytes)
{
    const cs_buffer *emitted = &a->audit.texts[CS_AUDIT_EMITTED];
    bool is_draft = a->place == CS_AUDIT_WITHDRAWN || a->place == CS_AUDIT_UNSETTLED;
    return a->place != CS_AUDIT_EMITTED && !(is_draft && cs_overlap_contains(emitted->bytes, emitted->n_bytes, run, n_bytes));
}

static bool on_run(const char *run, size_t n_bytes, void *user)
{
    auditing *a = user;
    bool violates = is_violation(a, run, n_bytes);
    a->n_violations += violates;
    json_t *found = json_pack("{s:s, s:o, s:b}", "place", cs_audit_place_name(a->place), "text", cs_json_text(run, n_bytes),
                              "violation", violates);
    return json_array_append_new(a->runs, found) == 0;
}

static int search(auditing *a)
{
    cs_overlap *overlap = cs_overlap_create((const char *const *)a->contexts, a->settings.contexts.n);
    bool ok = overlap != NULL;
    for (a->place = 0; ok && a->place < CS_AUDIT_PLACES; a->place++) {
        const cs_buffer *text = &a->audit.texts[a->place];
        ok = text->n_bytes == 0 || cs_overlap_find(overlap, text->bytes, text->n_bytes, on_run, a);
    }
    cs_overlap_free(overlap);
    return ok ? CS_EXIT_OK : cs_fail(CS_EXIT_INTERNAL, "out of memory");
}

/* ---- showing ----------------------------------------------------------------------------------------------------- */

static json_t *make_kinds(const cs_audit_file *audit)
{
    json_t *object = json_object();
    for (int i = 0; i < CS_AUDIT_KINDS; i++) {
        json_object_set_new(
            object, cs_audit_kind_name(i),
            json_pack("{s:I, s:I}", "n", (json_int_t)audit->kinds[i].n, "bytes", (json_int_t)audit->kinds[i].n_bytes));
    }
    return object;
}

static json_t *make_report(const auditing *a)
{
    const cs_audit_file *u = &a->audit;
    json_t *report = json_pack(
        "{s:I, s:I, s:I, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "messages", (json_int_t)u->n_messages, "bytes",
        (json_int_t)u->n_bytes, "answers", (json_int_t)u->n_answers, "reopened", (json_int_t)u->n_reopened, "kinds",
        make_kinds(u), "prompt_tokens", (json_int_t)u->n_prompt_tokens, "tokens_sent", (json_int_t)u->n_tokens, "drafts_sent",
        (json_int_t)u->n_drafts, "withdrawn", (json_int_t)u->n_withdrawn, "unsettled", (json_int_t)u->n_unsettled, "corrections",
        (json_int_t)u->kinds[CS_AUDIT_CORRECT].n, "deepenings", (json_int_t)u->kinds[CS_AUDIT_DEEPEN].n);
    if (report != NULL && a->settings.contexts.n > 0 &&
        (json_object_set(report, "context_runs", a->runs) |
         json_object_set_new(report, "violations", json_integer(a->n_violations))) != 0) {
        json_decref(report);
        return NULL;
    }
    return report;
}

static void print_counts(auditing *a)
{
    const cs_audit_file *u = &a->audit;
    cs_output_print(&a->out, "messages     %lld, %lld bytes\n", (long long)u->n_messages, (long long)u->n_bytes);
    for (int i = 0; i < CS_AUDIT_KINDS; i++) {
        if (u->kinds[i].n > 0) {
            cs_output_print(&a->out, "  %-10s %lld, %lld bytes\n", cs_audit_kind_name(i), (long long)u->kinds[i].n,
                            (long long)u->kinds[i].n_bytes);
        }
    }
    cs_output_print(&a->out, "answers      %lld, taken up again %lld times\n", (long long)u->n_answers, (long long)u->n_reopened);
    cs_output_print(&a->out, "tokens       %lld told, of them %lld as drafts, %lld withdrawn, %lld unsettled\n",
                    (long long)u->n_tokens, (long long)u->n_drafts, (long long)u->n_withdrawn, (long long)u->n_unsettled);
    cs_output_print(&a->out, "fields       all known\n");
}

static void print_runs(auditing *a, bool violations, const char *title)
{
    size_t i;
    json_t *run;
    size_t n = 0;
    json_array_foreach(a->runs, i, run)
    {
        const json_t *text = json_object_get(run, "text");
        if (json_is_true(json_object_get(run, "violation")) != violations || n++ >= RUNS_SHOWN) {
            continue;
        }
        cs_output_print(&a->out, "%s  %-10s ", n == 1 ? title : "", json_string_value(json_object_get(run, "place")));
        cs_output_write(&a->out, json_string_value(text), json_string_length(text));
        cs_output_write(&a->out, "\n", 1);
    }
    if (n > RUNS_SHOWN) {
        cs_output_print(&a->out, "  and %zu more\n", n - RUNS_SHOWN);
    }
}

static void print_finding(auditing *a)
{
    const int64_t n_emitted = (int64_t)json_array_size(a->runs) - a->n_violations;
    if (n_emitted + a->n_violations == 0) {
        cs_output_print(&a->out, "context      no phrase of it (16 bytes, or three words) was sent\n");
        return;
    }
    cs_output_print(&a->out,
                    "context      %lld phrases of it (16 bytes, or three words) sent in the answer, %lld anywhere else\n",
                    (long long)n_emitted, (long long)a->n_violations);
}

static int show(auditing *a)
{
    int exit_code = CS_EXIT_OK;
    cs_output_init_stdout(&a->out);
    if (a->settings.json) {
        exit_code = cs_json_print(&a->out, make_report(a));
    } else {
        print_counts(a);
        if (a->settings.contexts.n > 0) {
            print_finding(a);
        }
        print_runs(a, false, "in the answer:\n");
        print_runs(a, true, "elsewhere:\n");
    }
    int error = cs_output_close(&a->out);
    return error == 0 ? exit_code : cs_fail_output(a->out.name, error);
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

static int run_steps(auditing *a, const cs_arguments *arguments)
{
    if (arguments->n != 1) {
        return cs_fail(CS_EXIT_USAGE, "audit: takes one file, which --audit wrote");
    }
    int exit_code = cs_audit_file_read(arguments->items[0], &a->audit);
    for (size_t i = 0; i < a->settings.contexts.n && exit_code == CS_EXIT_OK; i++) {
        exit_code = cs_input_read_text(a->settings.contexts.items[i], "context", &a->contexts[i]);
    }
    a->runs = json_array();
    if (exit_code == CS_EXIT_OK && a->settings.contexts.n > 0) {
        exit_code = search(a);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = show(a);
    }
    if (exit_code != CS_EXIT_OK || a->n_violations == 0) {
        return exit_code;
    }
    return cs_fail(CS_EXIT_INPUT, "%s: %lld run%s of the context stand%s outside the answer", arguments->items[0],
                   (long long)a->n_violations, a->n_violations == 1 ? "" : "s", a->n_violations == 1 ? "s" : "");
}

static int run(const cs_command *self, int argc, char **argv)
{
    auditing a;
    memset(&a, 0, sizeof a);
    cs_arguments arguments = {.n = 0};
    int exit_code;
    if (!cs_options_parse(self, argc, argv, &a.settings, &arguments, &exit_code)) {
        return exit_code;
    }
    exit_code = run_steps(&a, &arguments);
    json_decref(a.runs);
    for (size_t i = 0; i < CS_OPTION_LIST_MAX; i++) {
        free(a.contexts[i]);
    }
    cs_audit_file_dispose(&a.audit);
    return exit_code;
}

const cs_command cs_command_audit = {
    .name = "audit",
    .arguments = "FILE",
    .summary = "check what was sent to a cloud",
    .description =
        "Reads a file that --audit wrote, adds up what was sent, and checks that it holds nothing but the messages and fields "
        "of the protocol. A line that is damaged, or holds anything else, is named and gives exit code 3.\n"
        "\n"
        "With --context it also looks for the context in everything that was sent: every run of at least 16 bytes, or of at "
        "least three words, that stands in a context as well. Upper and lower case differ; white space of any length counts "
        "as one space; words are runs of letters and digits, and between three words nothing else counts. What is found "
        "in the emitted text is listed as \"emitted\": it is part of the answer. Anything found elsewhere is a violation and "
        "gives exit code 3: in the request (the query holds words of the context), or in a draft that was withdrawn, or was "
        "unsettled when the answer ended, unless the answer says the same. A draft of which only the beginning was accepted "
        "counts as a whole.\n"
        "\n"
        "What went to an engine (llama-server, vLLM, ...) stands as requests, each with the whole prompt and answer so far, and "
        "as "
        "checks: the text of ours that it is tried with before the first token, and requests without content that keep "
        "connections "
        "ready. Beside that, HTTP headers hold the host, the key, and a random number for each answer (session).\n"
        "\n"
        "--json prints messages, bytes (with the headers of WebSocket, without those of HTTP), answers, reopened (after a lost "
        "connection), kinds (n "
        "and bytes of each), prompt_tokens, tokens_sent, drafts_sent, withdrawn, unsettled, corrections and deepenings; with "
        "--context also context_runs (place, text and violation of each) and violations (their number).",
    .examples = "  costeer generate --cloud ws://127.0.0.1:8790 --audit sent.jsonl --context notes.txt \"Plan my day.\"\n"
                "  costeer audit sent.jsonl --context notes.txt",
    .groups = {&group},
    .run = run,
};
