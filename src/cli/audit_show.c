/* What an audit holds, for a person: counts, and where words of the contexts stand. */
#include "cli/audit_show.h"

#include "cli/json.h"
#include "cli/message.h"
#include "cli/overlap.h"

/* More than a person reads; all are counted. */
#define RUNS_SHOWN 50

typedef struct searching {
    const cs_audit_file *audit;
    cs_audit_finding *finding;
    int place; /* being searched */
} searching;

/* ---- searching --------------------------------------------------------------------------------------------------- */

/* A draft is no secret any more when the answer says the same. */
static bool is_violation(const searching *s, const char *run, size_t n_bytes)
{
    const cs_buffer *emitted = &s->audit->texts[CS_AUDIT_EMITTED];
    bool is_draft = s->place == CS_AUDIT_WITHDRAWN || s->place == CS_AUDIT_UNSETTLED;
    const bool is_answer = s->place == CS_AUDIT_EMITTED || s->place == CS_AUDIT_EARLIER;
    return !is_answer && !(is_draft && cs_overlap_contains(emitted->bytes, emitted->n_bytes, run, n_bytes));
}

static bool on_run(const char *run, size_t n_bytes, void *user)
{
    searching *s = user;
    bool violates = is_violation(s, run, n_bytes);
    s->finding->n_violations += violates;
    json_t *found = json_pack("{s:s, s:o, s:b}", "place", cs_audit_place_name(s->place), "text", cs_json_text(run, n_bytes),
                              "violation", violates);
    return json_array_append_new(s->finding->runs, found) == 0;
}

int cs_audit_search(const cs_audit_file *audit, const char *const *contexts, size_t n_contexts, cs_audit_finding *out)
{
    cs_overlap *overlap = cs_overlap_create(contexts, n_contexts);
    searching s = {.audit = audit, .finding = out};
    *out = (cs_audit_finding){.runs = json_array()};
    bool ok = overlap != NULL && out->runs != NULL;
    for (; ok && s.place < CS_AUDIT_PLACES; s.place++) {
        const cs_buffer *text = &audit->texts[s.place];
        ok = text->n_bytes == 0 || cs_overlap_find(overlap, text->bytes, text->n_bytes, on_run, &s);
    }
    cs_overlap_free(overlap);
    return ok ? CS_EXIT_OK : cs_fail(CS_EXIT_INTERNAL, "out of memory");
}

void cs_audit_finding_dispose(cs_audit_finding *finding)
{
    json_decref(finding->runs);
    *finding = (cs_audit_finding){.runs = NULL};
}

/* ---- showing ----------------------------------------------------------------------------------------------------- */

static void print_counts(cs_output *out, const cs_audit_file *u)
{
    cs_output_print(out, "messages     %lld, %lld bytes\n", (long long)u->n_messages, (long long)u->n_bytes);
    for (int i = 0; i < CS_AUDIT_KINDS; i++) {
        if (u->kinds[i].n > 0) {
            cs_output_print(out, "  %-10s %lld, %lld bytes\n", cs_audit_kind_name(i), (long long)u->kinds[i].n,
                            (long long)u->kinds[i].n_bytes);
        }
    }
    cs_output_print(out, "answers      %lld, taken up again %lld times\n", (long long)u->n_answers, (long long)u->n_reopened);
    cs_output_print(out, "tokens       %lld told, of them %lld as drafts, %lld withdrawn, %lld unsettled\n",
                    (long long)u->n_tokens, (long long)u->n_drafts, (long long)u->n_withdrawn, (long long)u->n_unsettled);
    cs_output_print(out, "fields       all known\n");
}

static void print_runs(cs_output *out, const cs_audit_finding *finding, bool violations, const char *title)
{
    size_t i;
    json_t *run;
    size_t n = 0;
    json_array_foreach(finding->runs, i, run)
    {
        const json_t *text = json_object_get(run, "text");
        if (json_is_true(json_object_get(run, "violation")) != violations || n++ >= RUNS_SHOWN) {
            continue;
        }
        cs_output_print(out, "%s  %-10s ", n == 1 ? title : "", json_string_value(json_object_get(run, "place")));
        cs_output_write(out, json_string_value(text), json_string_length(text));
        cs_output_write(out, "\n", 1);
    }
    if (n > RUNS_SHOWN) {
        cs_output_print(out, "  and %zu more\n", n - RUNS_SHOWN);
    }
}

static void print_finding(cs_output *out, const cs_audit_finding *finding)
{
    const int64_t n_emitted = (int64_t)json_array_size(finding->runs) - finding->n_violations;
    if (n_emitted + finding->n_violations == 0) {
        cs_output_print(out, "context      no phrase of it (16 bytes, or three words) was sent\n");
        return;
    }
    cs_output_print(out, "context      %lld phrases of it (16 bytes, or three words) sent in the answer, %lld anywhere else\n",
                    (long long)n_emitted, (long long)finding->n_violations);
}

void cs_audit_print(cs_output *out, const cs_audit_file *audit, const cs_audit_finding *finding)
{
    print_counts(out, audit);
    if (finding != NULL) {
        print_finding(out, finding);
        print_runs(out, finding, false, "in the answer:\n");
        print_runs(out, finding, true, "elsewhere:\n");
    }
}
