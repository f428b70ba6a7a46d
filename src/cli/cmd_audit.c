/*
 * costeer audit: the user's own check of what was sent. The words of the context that it found are shown: who runs it has both
 * files and asked for it.
 */
#include "cli/audit_show.h"
#include "cli/cmd.h"
#include "cli/inputs.h"
#include "cli/json.h"
#include "cli/message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct audit_settings {
    cs_option_list contexts;
    bool json;
} audit_settings;

typedef struct auditing {
    audit_settings settings;
    cs_audit_file audit;
    char *contexts[CS_OPTION_LIST_MAX];
    cs_audit_finding finding;
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
        (json_object_set(report, "context_runs", a->finding.runs) | json_object_set(report, "context_words", a->finding.words) |
         json_object_set(report, "context_parts", a->finding.parts) |
         json_object_set_new(report, "violations", json_integer(a->finding.n_violations))) != 0) {
        json_decref(report);
        return NULL;
    }
    return report;
}

static int show(auditing *a)
{
    int exit_code = CS_EXIT_OK;
    cs_output_init_stdout(&a->out);
    if (a->settings.json) {
        exit_code = cs_json_print(&a->out, make_report(a));
    } else {
        cs_audit_print(&a->out, &a->audit, a->settings.contexts.n > 0 ? &a->finding : NULL);
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
    if (exit_code == CS_EXIT_OK && a->settings.contexts.n > 0) {
        exit_code = cs_audit_search(&a->audit, (const char *const *)a->contexts, a->settings.contexts.n, &a->finding);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = show(a);
    }
    if (exit_code != CS_EXIT_OK || a->finding.n_violations == 0) {
        return exit_code;
    }
    return cs_fail(CS_EXIT_INPUT, "%s: %lld run%s of the context stand%s outside the answer", arguments->items[0],
                   (long long)a->finding.n_violations, a->finding.n_violations == 1 ? "" : "s",
                   a->finding.n_violations == 1 ? "s" : "");
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
    cs_audit_finding_dispose(&a.finding);
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
        "With --context it also looks for the context in everything that was sent: every run of at least 16 bytes, or "
        "of at least three words, that stands in a context as well. Upper and lower case differ; white space of any "
        "length counts as one space; words are runs of letters and digits, and between three words nothing else counts. "
        "The same run at the same place counts once. Every word of the context that an answer says and no request before it "
        "has is listed too, each once, in its sentence (context_words in --json): that is what the cloud has learned word by "
        "word.\n"
        "\n"
        "What is found in an answer is listed as \"emitted\". A request repeats the conversation, as messages or as "
        "tokens: what stands in it and an answer before it had said is listed as \"earlier\", whoever wrote it there; "
        "of such a run fewer than 16 bytes and three words may be new. Anything found elsewhere is a violation and "
        "gives exit code 3: in a request (the query holds words of the context), or in a draft that was withdrawn, or "
        "was unsettled when the answer ended, unless the answer says the same. A draft of which only the beginning was "
        "accepted counts as a whole.\n"
        "\n"
        "Of an answer the device sends only the tokens that the cloud would not have taken. So when one ends, a line of "
        "the kind answer, which is no message, has all of its tokens; an answer without it (the program was killed) is "
        "known by what was sent of it.\n"
        "\n"
        "A line of the kind selection, which is not a message, lists the bytes of a context that were used and those of all "
        "its parts. It holds no words of the context, but its length and a checksum, by which a short context can be guessed: do "
        "not hand it on. With that context, the parts that no answer used are counted. Words that only these parts have are "
        "marked when an answer says them: the cloud knew or guessed them.\n"
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
        "--context also context_runs (place, text and violation of each), context_words (word, text and stayed of each: it is of "
        "a part that was not used), context_parts (used and stayed; null: nothing was chosen from them) and violations "
        "(their "
        "number).",
    .examples = "  costeer generate --cloud ws://127.0.0.1:8790 --audit sent.jsonl --context notes.txt \"Plan my day.\"\n"
                "  costeer audit sent.jsonl --context notes.txt",
    .groups = {&group},
    .run = run,
};
