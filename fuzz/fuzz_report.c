/*
 * The files of a run (src/eval/results.c, report*.c), one behind the other with a byte 0x1E between: run.json, results.jsonl,
 * bad_rows.jsonl. They are refused with a message, or become a page in which nothing of theirs is markup, Markdown without a tag,
 * and JSON.
 *
 * The page is read as a browser would: names of elements that it does not have, an attribute that is no plain name="value", a
 * reference to anywhere or an element that is not closed end the run.
 */
#include "util/buffer.h"

#include <costeer/report.h>
#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEPARATOR   0x1E
#define N_FILES     3
#define ELEMENT_MAX 32
#define DEPTH_MAX   64
#define N_ROUNDS    5

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static _Noreturn void fail(const char *what, const char *where)
{
    fprintf(stderr, "fuzz_report: %s: %.200s\n", what, where);
    abort();
}

/* ---- the page ---------------------------------------------------------------------------------------------------- */

/* Elements that are open. */
typedef struct page {
    char open[DEPTH_MAX][ELEMENT_MAX];
    int n_open;
} page;

static bool is_one_of(const char *name, const char *const *names)
{
    for (; *names != NULL; names++) {
        if (strcmp(name, *names) == 0) {
            return true;
        }
    }
    return false;
}

static const char *read_name(const char *at, char name[ELEMENT_MAX])
{
    size_t n = 0;
    const char *start = at;
    while (isalnum((unsigned char)*at) || *at == '-') {
        if (n + 1 == ELEMENT_MAX) {
            fail("a long name", start);
        }
        name[n++] = *at++;
    }
    name[n] = '\0';
    if (n == 0) {
        fail("no name", start);
    }
    return at;
}

/* Attributes up to the end of the tag; returns where that is. */
static const char *read_attributes(const char *at)
{
    static const char *const forbidden[] = {"href", "src", "action", "srcset", "style", "data", "formaction", NULL};
    while (*at == ' ') {
        char name[ELEMENT_MAX];
        const char *start = at;
        at = read_name(at + 1, name);
        if (strncmp(name, "on", 2) == 0 || is_one_of(name, forbidden)) {
            fail("an attribute that does something", start);
        }
        if (at[0] != '=' || at[1] != '"') {
            fail("an attribute without a quoted value", start);
        }
        at += 2;
        at += strcspn(at, "\"<>");
        if (*at++ != '"') {
            fail("markup in an attribute", start);
        }
    }
    return at;
}

static const char *read_tag(page *p, const char *at)
{
    static const char *const empty[] = {"meta", "br", "hr", NULL};
    static const char *const forbidden[] = {"script", "img",  "iframe", "object", "embed",         "link",
                                            "a",      "form", "base",   "input",  "foreignObject", NULL};
    char name[ELEMENT_MAX];
    const char *start = at;
    const bool is_end = at[1] == '/';
    at = read_name(at + (is_end ? 2 : 1), name);
    if (is_one_of(name, forbidden)) {
        fail("an element that has no place there", start);
    }
    if (is_end) {
        if (p->n_open == 0 || strcmp(p->open[--p->n_open], name) != 0) {
            fail("an end without a beginning", start);
        }
    } else {
        at = read_attributes(at);
        const bool is_closed = *at == '/';
        at += is_closed ? 1 : 0;
        if (!is_closed && !is_one_of(name, empty)) {
            if (p->n_open == DEPTH_MAX) {
                fail("too deep", start);
            }
            memcpy(p->open[p->n_open++], name, sizeof name);
        }
    }
    if (*at != '>') {
        fail("a tag that does not end", start);
    }
    return at + 1;
}

static void check_page(const char *text)
{
    static const char doctype[] = "<!DOCTYPE html>";
    page p = {.n_open = 0};
    if (strncmp(text, doctype, strlen(doctype)) != 0) {
        fail("no document", text);
    }
    const char *at = text + strlen(doctype);
    while (*at != '\0') {
        if (*at == '<') {
            at = read_tag(&p, at);
            if (p.n_open > 0 && strcmp(p.open[p.n_open - 1], "style") == 0) { /* of our own making: up to its end */
                at = strstr(at, "</style>");
                if (at == NULL) {
                    fail("a style sheet without an end", text);
                }
            }
        } else if (*at == '>' || *at == '"' || *at == '\'') {
            fail("a sign that should have been a reference", at);
        } else {
            at++;
        }
    }
    if (p.n_open != 0) {
        fail("an element stays open", p.open[p.n_open - 1]);
    }
}

/* ---- the other texts --------------------------------------------------------------------------------------------- */

/* A tag would need a < without a backslash before a letter. */
static void check_markdown(const char *text)
{
    for (const char *at = strchr(text, '<'); at != NULL; at = strchr(at + 1, '<')) {
        if ((isalpha((unsigned char)at[1]) || strchr("/!?", at[1]) != NULL) && (at == text || at[-1] != '\\')) {
            fail("a tag in Markdown", at);
        }
    }
}

static void check_json(const char *text)
{
    json_t *object = json_loads(text, 0, NULL);
    if (!json_is_object(object)) {
        fail("no JSON", text);
    }
    json_decref(object);
}

static bool keep(const char *bytes, size_t n_bytes, void *user)
{
    return cs_buffer_append(user, bytes, n_bytes);
}

static void write_all(const costeer_eval_report *report)
{
    static const struct {
        costeer_eval_report_format format;
        void (*check)(const char *text);
    } kinds[] = {{COSTEER_EVAL_REPORT_HTML, check_page},
                 {COSTEER_EVAL_REPORT_MARKDOWN, check_markdown},
                 {COSTEER_EVAL_REPORT_JSON, check_json}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        cs_buffer text = {.cap = (size_t)64 << 20};
        costeer_error err = {.code = COSTEER_OK};
        if (costeer_eval_report_write(report, kinds[i].format, keep, &text, &err) != COSTEER_OK || text.bytes == NULL) {
            fail("not written", err.message);
        }
        if (strlen(text.bytes) != text.n_bytes) {
            fail("a NUL in a report", text.bytes);
        }
        kinds[i].check(text.bytes);
        cs_buffer_dispose(&text);
    }
}

/* ---- the target -------------------------------------------------------------------------------------------------- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *texts[N_FILES] = {"", "", NULL};
    size_t n[N_FILES] = {0};
    const uint8_t *at = data;
    const uint8_t *end = data + size;
    for (size_t i = 0; i < N_FILES && at < end; i++) {
        const uint8_t *stop = i + 1 < N_FILES ? memchr(at, SEPARATOR, (size_t)(end - at)) : NULL;
        texts[i] = (const char *)at;
        n[i] = (size_t)((stop != NULL ? stop : end) - at);
        at = stop != NULL ? stop + 1 : end;
    }
    const costeer_eval_report_files files = {
        .run = texts[0], .n_run = n[0], .results = texts[1], .n_results = n[1], .bad_rows = texts[2], .n_bad_rows = n[2]};
    costeer_eval_report *report;
    costeer_error err = {.code = COSTEER_OK};
    const costeer_err code = costeer_eval_report_create(&files, &report, &err);
    if (code != COSTEER_OK) {
        if (code != COSTEER_EINVAL || err.message[0] == '\0' || report != NULL) {
            fail("refused without a reason", costeer_err_name(code));
        }
        return 0;
    }
    costeer_eval_report_params params = COSTEER_EVAL_REPORT_PARAMS_DEFAULT;
    params.n_rounds = N_ROUNDS;
    if (costeer_eval_report_compute(report, &params, &err) != COSTEER_OK) {
        fail("not computed", err.message);
    }
    write_all(report);
    costeer_eval_report_free(report);
    return 0;
}
