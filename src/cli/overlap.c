/*
 * Two hash tables over the indexed texts, one of all runs of 16 bytes and one of all triples of words; whatever is longer is made
 * of these. Equal runs are stored once, so that a text of one repeated line is no worse than another. A text is searched in one
 * pass that marks its bytes; what is marked without a gap is a run.
 */
#include "cli/overlap.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES_MAX ((size_t)1 << 30)

typedef struct word {
    uint32_t begin;
    uint32_t end;
} word;

/* A text with white space made one space, and its words. */
typedef struct words_of {
    char *bytes; /* [n_bytes] */
    size_t n_bytes;
    word *words; /* [n_words] */
    size_t n_words;
} words_of;

/* Open addressing; a slot holds an offset (or a word's number) plus one, 0: free. */
typedef struct table {
    uint32_t *slots;
    size_t mask;
} table;

struct cs_overlap {
    words_of text;
    table runs;
    table triples;
};

/* ---- texts ------------------------------------------------------------------------------------------------------- */

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0x80;
}

static void append_spaced(words_of *text, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char c = is_space(bytes[i]) ? ' ' : bytes[i];
        if (c != ' ' || text->n_bytes == 0 || text->bytes[text->n_bytes - 1] != ' ') {
            text->bytes[text->n_bytes++] = c;
        }
    }
}

static bool find_words(words_of *text)
{
    text->words = calloc(text->n_bytes / 2 + 1, sizeof text->words[0]);
    for (size_t i = 0; text->words != NULL && i < text->n_bytes;) {
        size_t begin = i;
        while (i < text->n_bytes && is_word(text->bytes[i])) {
            i++;
        }
        if (i > begin) {
            text->words[text->n_words++] = (word){(uint32_t)begin, (uint32_t)i};
        } else {
            i++;
        }
    }
    return text->words != NULL;
}

static void dispose_text(words_of *text)
{
    free(text->bytes);
    free(text->words);
}

/* ---- runs of bytes and of words ---------------------------------------------------------------------------------- */

#define HASH_START 14695981039346656037ULL /* FNV-1a, 64 bit */
#define HASH_PRIME 1099511628211ULL

static uint64_t hash_bytes(uint64_t hash, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        hash = (hash ^ (unsigned char)bytes[i]) * HASH_PRIME;
    }
    return hash;
}

static uint64_t hash_run(const words_of *text, size_t at)
{
    return hash_bytes(HASH_START, text->bytes + at, CS_OVERLAP_BYTES);
}

static bool same_run(const words_of *a, size_t at_a, const words_of *b, size_t at_b)
{
    return memcmp(a->bytes + at_a, b->bytes + at_b, CS_OVERLAP_BYTES) == 0;
}

static uint64_t hash_triple(const words_of *text, size_t first)
{
    uint64_t hash = HASH_START;
    for (size_t i = first; i < first + CS_OVERLAP_WORDS; i++) {
        hash = hash_bytes(hash, text->bytes + text->words[i].begin, text->words[i].end - text->words[i].begin);
        hash = hash_bytes(hash, " ", 1);
    }
    return hash;
}

static bool same_triple(const words_of *a, size_t first_a, const words_of *b, size_t first_b)
{
    for (size_t i = 0; i < CS_OVERLAP_WORDS; i++) {
        const word x = a->words[first_a + i];
        const word y = b->words[first_b + i];
        if (x.end - x.begin != y.end - y.begin || memcmp(a->bytes + x.begin, b->bytes + y.begin, x.end - x.begin) != 0) {
            return false;
        }
    }
    return true;
}

/* Runs begin at [0, n_runs); one that holds a NUL is none. */
static size_t n_runs(const words_of *text)
{
    return text->n_bytes < CS_OVERLAP_BYTES ? 0 : text->n_bytes - CS_OVERLAP_BYTES + 1;
}

static bool is_run(const words_of *text, size_t at)
{
    return memchr(text->bytes + at, '\0', CS_OVERLAP_BYTES) == NULL;
}

static size_t n_triples(const words_of *text)
{
    return text->n_words < CS_OVERLAP_WORDS ? 0 : text->n_words - CS_OVERLAP_WORDS + 1;
}

static bool is_triple(const words_of *text, size_t first)
{
    size_t begin = text->words[first].begin;
    return memchr(text->bytes + begin, '\0', text->words[first + CS_OVERLAP_WORDS - 1].end - begin) == NULL;
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

typedef bool (*same_fn)(const words_of *a, size_t at_a, const words_of *b, size_t at_b);

static bool make_table(table *t, size_t n)
{
    size_t size = 16;
    while (size < 2 * n) {
        size *= 2;
    }
    t->mask = size - 1;
    t->slots = calloc(size, sizeof t->slots[0]);
    return t->slots != NULL;
}

/* The slot of what is at `at` of a text, or the free one where it would be. */
static uint32_t *find_slot(const table *t, const words_of *indexed, same_fn same, const words_of *text, size_t at, uint64_t hash)
{
    size_t i = (size_t)(hash ^ hash >> 32) & t->mask;
    while (t->slots[i] != 0 && !same(indexed, t->slots[i] - 1, text, at)) {
        i = (i + 1) & t->mask;
    }
    return &t->slots[i];
}

static bool fill_tables(cs_overlap *o)
{
    const words_of *text = &o->text;
    if (!make_table(&o->runs, n_runs(text)) || !make_table(&o->triples, n_triples(text))) {
        return false;
    }
    for (size_t at = 0; at < n_runs(text); at++) {
        if (is_run(text, at)) {
            *find_slot(&o->runs, text, same_run, text, at, hash_run(text, at)) = (uint32_t)at + 1;
        }
    }
    for (size_t at = 0; at < n_triples(text); at++) {
        if (is_triple(text, at)) {
            *find_slot(&o->triples, text, same_triple, text, at, hash_triple(text, at)) = (uint32_t)at + 1;
        }
    }
    return true;
}

/* An index with room for the text of so many bytes. */
static cs_overlap *allocate(size_t n_bytes)
{
    cs_overlap *o = n_bytes <= TEXT_BYTES_MAX ? calloc(1, sizeof *o) : NULL;
    if (o != NULL && (o->text.bytes = malloc(n_bytes + 1)) == NULL) {
        free(o);
        return NULL;
    }
    return o;
}

/* Index the text that it has. */
static cs_overlap *finish(cs_overlap *o)
{
    if (!find_words(&o->text) || !fill_tables(o)) {
        cs_overlap_free(o);
        return NULL;
    }
    return o;
}

cs_overlap *cs_overlap_create(const char *const *texts, size_t n)
{
    size_t n_bytes = 0;
    for (size_t i = 0; i < n; i++) {
        n_bytes += strlen(texts[i]) + 1;
    }
    cs_overlap *o = allocate(n_bytes);
    for (size_t i = 0; o != NULL && i < n; i++) {
        append_spaced(&o->text, texts[i], strlen(texts[i]) + 1);
    }
    return o != NULL ? finish(o) : NULL;
}

cs_overlap *cs_overlap_create_bytes(const char *bytes, size_t n)
{
    cs_overlap *o = allocate(n);
    if (o != NULL) {
        append_spaced(&o->text, bytes, n);
    }
    return o != NULL ? finish(o) : NULL;
}

void cs_overlap_free(cs_overlap *overlap)
{
    if (overlap != NULL) {
        dispose_text(&overlap->text);
        free(overlap->runs.slots);
        free(overlap->triples.slots);
        free(overlap);
    }
}

/* ---- searching --------------------------------------------------------------------------------------------------- */

static void mark_runs(const cs_overlap *o, const words_of *text, bool *marked)
{
    for (size_t at = 0; at < n_runs(text); at++) {
        if (*find_slot(&o->runs, &o->text, same_run, text, at, hash_run(text, at)) != 0) {
            memset(marked + at, true, CS_OVERLAP_BYTES);
        }
    }
    for (size_t at = 0; at < n_triples(text); at++) {
        if (is_triple(text, at) && *find_slot(&o->triples, &o->text, same_triple, text, at, hash_triple(text, at)) != 0) {
            size_t begin = text->words[at].begin;
            memset(marked + begin, true, text->words[at + CS_OVERLAP_WORDS - 1].end - begin);
        }
    }
}

static bool report_runs(const words_of *text, const bool *marked, cs_overlap_fn found, void *user)
{
    for (size_t i = 0; i < text->n_bytes;) {
        size_t begin = i;
        while (i < text->n_bytes && marked[i]) {
            i++;
        }
        if (i > begin && !found(text->bytes + begin, i - begin, user)) {
            return false;
        }
        i += i == begin ? 1U : 0U;
    }
    return true;
}

bool cs_overlap_find(const cs_overlap *overlap, const char *bytes, size_t n, cs_overlap_fn found, void *user)
{
    words_of text = {.n_bytes = 0};
    text.bytes = n <= TEXT_BYTES_MAX ? malloc(n + 1) : NULL;
    bool *marked = calloc(n + 1, sizeof *marked);
    bool ok = text.bytes != NULL && marked != NULL;
    if (ok) {
        append_spaced(&text, bytes, n);
        ok = find_words(&text);
    }
    if (ok) {
        mark_runs(overlap, &text, marked);
        ok = report_runs(&text, marked, found, user);
    }
    dispose_text(&text);
    free(marked);
    return ok;
}

static bool is_touched(const bool *marked, const word *w)
{
    uint32_t i = w->begin;
    while (i < w->end && !marked[i]) {
        i++;
    }
    return i < w->end;
}

/* True when what is not marked has a run in it somewhere. */
static bool has_unmarked(const words_of *text, const bool *marked)
{
    for (size_t i = 0, n = 0; i < text->n_bytes; i++) {
        n = marked[i] ? 0 : n + 1;
        if (n >= CS_OVERLAP_BYTES) {
            return true;
        }
    }
    for (size_t i = 0, n = 0; i < text->n_words; i++) {
        n = is_touched(marked, &text->words[i]) ? 0 : n + 1;
        if (n >= CS_OVERLAP_WORDS) {
            return true;
        }
    }
    return false;
}

bool cs_overlap_is_new(const cs_overlap *overlap, const char *run, size_t n_run)
{
    words_of text = {.bytes = malloc(n_run + 1)};
    bool *marked = calloc(n_run + 1, sizeof *marked);
    bool is_new = true;
    if (text.bytes != NULL && marked != NULL) {
        append_spaced(&text, run, n_run);
        if (find_words(&text)) {
            mark_runs(overlap, &text, marked);
            is_new = has_unmarked(&text, marked);
        }
    }
    dispose_text(&text);
    free(marked);
    return is_new;
}

bool cs_overlap_contains(const char *bytes, size_t n, const char *run, size_t n_run)
{
    words_of text = {.bytes = calloc(n + 1, 1)};
    if (text.bytes == NULL) {
        return false;
    }
    append_spaced(&text, bytes, n);
    bool found = false;
    for (size_t at = 0; at + n_run <= text.n_bytes && !found; at++) {
        found = memcmp(text.bytes + at, run, n_run) == 0;
    }
    free(text.bytes);
    return found;
}
