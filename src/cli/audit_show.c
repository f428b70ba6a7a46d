/* What an audit holds, for a person: counts, and where words of the contexts stand. */
#include "cli/audit_show.h"

#include "cli/audit_parts.h"
#include "cli/json.h"
#include "cli/message.h"
#include "cli/overlap.h"

#include <string.h>

/* More than a person reads; all are counted. */
#define RUNS_SHOWN 50

typedef struct searching {
    const cs_audit_file *audit;
    cs_audit_finding *finding;
    int place;        /* being searched */
    size_t n_said;    /* what had been emitted before it, in bytes */
    cs_overlap *said; /* the same as an index, made when it is needed */
    json_t *seen;     /* places and phrases: a request repeats those of the requests before it */
    bool no_memory;
} searching;

/* ---- searching --------------------------------------------------------------------------------------------------- */

/* What an answer has said is no secret any more: a request may repeat it, a draft is no news. */
static bool was_said_before(searching *s, const char *run, size_t n_bytes)
{
    const cs_buffer *emitted = &s->audit->texts[CS_AUDIT_EMITTED];
    if (s->place != CS_AUDIT_REQUEST) {
        return cs_overlap_contains(emitted->bytes, emitted->n_bytes, run, n_bytes);
    }
    if (s->said == NULL && s->n_said > 0) {
        s->said = cs_overlap_create_bytes(emitted->bytes, s->n_said);
        s->no_memory = s->no_memory || s->said == NULL;
    }
    return s->said != NULL && !cs_overlap_is_new(s->said, run, n_bytes);
}

/* False when memory is out. */
static bool is_first(searching *s, const char *place, const json_t *text)
{
    cs_buffer key = {.cap = SIZE_MAX};
    bool ok = cs_buffer_append(&key, place, strlen(place)) && cs_buffer_append(&key, " ", 1) &&
              cs_buffer_append(&key, json_string_value(text), json_string_length(text) + 1);
    const bool is_known = ok && json_object_get(s->seen, key.bytes) != NULL;
    ok = ok && (is_known || json_object_set_new(s->seen, key.bytes, json_true()) == 0);
    cs_buffer_dispose(&key);
    s->no_memory = s->no_memory || !ok;
    return !is_known;
}

static bool on_run(const char *run, size_t n_bytes, void *user)
{
    searching *s = user;
    const bool is_answer = s->place == CS_AUDIT_EMITTED;
    const bool was_said = !is_answer && was_said_before(s, run, n_bytes);
    const bool violates = !is_answer && !was_said;
    const char *place = was_said && s->place == CS_AUDIT_REQUEST ? "earlier" : cs_audit_place_name(s->place);
    json_t *text = cs_json_text(run, n_bytes);
    if (text == NULL || !is_first(s, place, text)) {
        json_decref(text);
        return text != NULL && !s->no_memory;
    }
    s->finding->n_violations += violates;
    json_t *found = json_pack("{s:s, s:o, s:b}", "place", place, "text", text, "violation", violates);
    return json_array_append_new(s->finding->runs, found) == 0 && !s->no_memory;
}

/* The requests, each against what had been said before it. */
static bool search_requests(searching *s, const cs_overlap *overlap)
{
    const cs_buffer *text = &s->audit->texts[CS_AUDIT_REQUEST];
    const cs_audit_part *parts = (const cs_audit_part *)s->audit->parts.bytes;
    bool ok = true;
    for (size_t i = 0, begin = 0; ok && i < s->audit->parts.n_bytes / sizeof *parts; begin = parts[i++].end) {
        if (parts[i].n_said != s->n_said) {
            cs_overlap_free(s->said);
            s->said = NULL;
            s->n_said = parts[i].n_said;
        }
        ok = parts[i].end == begin || cs_overlap_find(overlap, text->bytes + begin, parts[i].end - begin, on_run, s);
    }
    cs_overlap_free(s->said);
    s->said = NULL;
    return ok;
}

int cs_audit_search(const cs_audit_file *audit, const char *const *contexts, size_t n_contexts, cs_audit_finding *out)
{
    cs_overlap *overlap = cs_overlap_create(contexts, n_contexts);
    searching s = {.audit = audit, .finding = out, .seen = json_object()};
    *out = (cs_audit_finding){.runs = json_array(), .words = cs_audit_list_words(audit, contexts, n_contexts)};
    bool ok = overlap != NULL && out->runs != NULL && out->words != NULL && s.seen != NULL && search_requests(&s, overlap);
    for (s.place = CS_AUDIT_EMITTED; ok && s.place < CS_AUDIT_PLACES; s.place++) {
        const cs_buffer *text = &audit->texts[s.place];
        ok = text->n_bytes == 0 || cs_overlap_find(overlap, text->bytes, text->n_bytes, on_run, &s);
    }
    out->parts = ok ? cs_audit_find_parts(audit, contexts, n_contexts, out->words) : NULL;
    ok = ok && out->parts != NULL;
    cs_overlap_free(overlap);
    json_decref(s.seen);
    return ok ? CS_EXIT_OK : cs_fail(CS_EXIT_INTERNAL, "out of memory");
}

void cs_audit_finding_dispose(cs_audit_finding *finding)
{
    json_decref(finding->runs);
    json_decref(finding->words);
    json_decref(finding->parts);
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

static void print_words(cs_output *out, const json_t *words)
{
    size_t i;
    const json_t *one;
    cs_output_print(out, "words        %zu of it in the answer, and in no request before%s\n", json_array_size(words),
                    json_array_size(words) > 0 ? ":" : "");
    json_array_foreach(words, i, one)
    {
        const json_t *word = json_object_get(one, "word");
        const json_t *text = json_object_get(one, "text");
        cs_output_print(out, "  ");
        cs_output_write(out, json_string_value(word), json_string_length(word));
        cs_output_print(out, "%s: ", json_is_true(json_object_get(one, "stayed")) ? " (of a part that was not used)" : "");
        cs_output_write(out, json_string_value(text), json_string_length(text));
        cs_output_write(out, "\n", 1);
    }
}

static void print_parts(cs_output *out, const cs_audit_finding *finding)
{
    size_t n_words = 0;
    size_t i;
    const json_t *one;
    if (json_is_null(finding->parts)) {
        return;
    }
    json_array_foreach(finding->words, i, one)
    {
        n_words += json_is_true(json_object_get(one, "stayed")) ? 1 : 0;
    }
    cs_output_print(out, "parts        %lld used, %lld not; %zu words of the latter in the answer\n",
                    (long long)json_integer_value(json_object_get(finding->parts, "used")),
                    (long long)json_integer_value(json_object_get(finding->parts, "stayed")), n_words);
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
        print_parts(out, finding);
        print_words(out, finding->words);
        print_runs(out, finding, false, "in the answer:\n");
        print_runs(out, finding, true, "elsewhere:\n");
    }
}
