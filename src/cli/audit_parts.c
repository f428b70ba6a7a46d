/*
 * Parts and words. A word that is both in a part that was used and in one that stayed is not counted against the latter: the
 * answer may have it from the former. In a conversation a part has stayed that no turn used.
 */
#include "cli/audit_parts.h"

#include "cli/disclosed.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* FNV-1a. */
#define SUM_BEGIN UINT64_C(0xcbf29ce484222325)
#define SUM_PRIME UINT64_C(0x100000001b3)

/* What is known of the contexts; the texts have spaces where the other one has something. */
typedef struct division {
    char **used;   /* [n] */
    char **stayed; /* [n] */
    size_t n;
    int64_t n_used;
    int64_t n_stayed;
    bool is_any; /* a line is about one of them */
} division;

void cs_audit_name_context(const char *context, char name[CS_AUDIT_CONTEXT_SIZE])
{
    const size_t n = strlen(context);
    uint64_t sum = SUM_BEGIN;
    for (size_t i = 0; i < n; i++) {
        sum = (sum ^ (unsigned char)context[i]) * SUM_PRIME;
    }
    (void)snprintf(name, CS_AUDIT_CONTEXT_SIZE, "%zu-%016" PRIx64, n, sum);
}

bool cs_audit_places_are_right(const json_t *places)
{
    json_int_t last = 0;
    for (size_t i = 0; i < json_array_size(places); i++) {
        const json_int_t at = json_integer_value(json_array_get(places, i));
        if (at < last) {
            return false;
        }
        last = at;
    }
    return json_array_size(places) % 2 == 0;
}

static void get_place(const json_t *places, size_t i, size_t n_bytes, size_t *begin, size_t *end)
{
    *begin = (size_t)json_integer_value(json_array_get(places, i));
    *end = (size_t)json_integer_value(json_array_get(places, i + 1));
    *end = *end < n_bytes ? *end : n_bytes;
    *begin = *begin < *end ? *begin : *end;
}

/* Move what a line calls used from one text to the other. */
static void move_used(const json_t *line, const char *context, size_t n_bytes, char *used, char *stayed)
{
    const json_t *places = json_object_get(line, "used");
    size_t begin;
    size_t end;
    for (size_t i = 0; i < json_array_size(places); i += 2) {
        get_place(places, i, n_bytes, &begin, &end);
        memcpy(used + begin, context + begin, end - begin);
        memset(stayed + begin, ' ', end - begin);
    }
}

/* A part was used when its bytes were moved. */
static void count_parts(division *d, const json_t *line, size_t n_bytes, const char *context, const char *used)
{
    const json_t *places = json_object_get(line, "parts");
    size_t begin;
    size_t end;
    for (size_t i = 0; i < json_array_size(places); i += 2) {
        get_place(places, i, n_bytes, &begin, &end);
        const bool is_used = memcmp(used + begin, context + begin, end - begin) == 0;
        d->n_used += is_used ? 1 : 0;
        d->n_stayed += is_used ? 0 : 1;
    }
}

static bool divide(division *d, const cs_audit_file *audit, const char *context)
{
    const size_t n_bytes = strlen(context);
    char *used = calloc(n_bytes + 1, 1);
    char *stayed = strdup(context);
    char name[CS_AUDIT_CONTEXT_SIZE];
    const json_t *last = NULL;
    size_t i;
    const json_t *line;
    d->used[d->n] = used;
    d->stayed[d->n++] = stayed;
    if (used == NULL || stayed == NULL) {
        return false;
    }
    memset(used, ' ', n_bytes);
    cs_audit_name_context(context, name);
    json_array_foreach(audit->selections, i, line)
    {
        if (strcmp(json_string_value(json_object_get(line, "context")), name) == 0) {
            move_used(line, context, n_bytes, used, stayed);
            last = line;
        }
    }
    if (last != NULL) {
        count_parts(d, last, n_bytes, context, used);
        d->is_any = true;
    } else { /* all of it */
        memcpy(used, context, n_bytes + 1);
        memset(stayed, ' ', n_bytes);
    }
    return true;
}

static bool on_found(const char *word, size_t n_bytes, size_t at, void *user)
{
    (void)word;
    (void)n_bytes;
    (void)at;
    *(bool *)user = true;
    return true;
}

static bool mark_words(const division *d, json_t *words)
{
    cs_word_set *stayed = cs_word_set_create((const char *const *)d->stayed, d->n);
    cs_word_set *used = cs_word_set_create((const char *const *)d->used, d->n);
    bool ok = stayed != NULL && used != NULL;
    size_t i;
    json_t *one;
    json_array_foreach(words, i, one)
    {
        const json_t *word = json_object_get(one, "word");
        bool has_stayed = false;
        ok = ok && cs_disclosed_find(stayed, used, json_string_value(word), json_string_length(word), on_found, &has_stayed) &&
             json_object_set_new(one, "stayed", json_boolean(has_stayed)) == 0;
    }
    cs_word_set_free(stayed);
    cs_word_set_free(used);
    return ok;
}

json_t *cs_audit_find_parts(const cs_audit_file *audit, const char *const *contexts, size_t n_contexts, json_t *words)
{
    division d = {.used = calloc(n_contexts + 1, sizeof *d.used), .stayed = calloc(n_contexts + 1, sizeof *d.stayed)};
    bool ok = d.used != NULL && d.stayed != NULL;
    for (size_t i = 0; i < n_contexts && ok; i++) {
        ok = divide(&d, audit, contexts[i]);
    }
    ok = ok && mark_words(&d, words);
    for (size_t i = 0; i < d.n; i++) {
        free(d.used[i]);
        free(d.stayed[i]);
    }
    free(d.used);
    free(d.stayed);
    if (!ok) {
        return NULL;
    }
    return d.is_any ? json_pack("{s:I, s:I}", "used", (json_int_t)d.n_used, "stayed", (json_int_t)d.n_stayed) : json_null();
}
