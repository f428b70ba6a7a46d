/*
 * BM25 over the parts of one text: which share words with a query. Words of scripts without spaces are pairs of neighbouring
 * characters. Words are compared by 64-bit hashes: a collision only changes a score that is a first filter.
 */
#include "core/select_internal.h"
#include "util/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The usual constants (Robertson and Zaragoza, 2009). */
#define K1 1.2
#define B  0.75

/* What counts of a heading: so long a one is none. */
#define HEADING_BYTES_MAX 200

typedef struct word_list {
    uint64_t *items; /* [n] hashes */
    size_t n;
    size_t capacity;
    bool has_memory;
} word_list;

static uint32_t fold(uint32_t c)
{
    const bool is_upper = (c >= 'A' && c <= 'Z') || (c >= 0xC0 && c <= 0xDE && c != 0xD7) || (c >= 0x391 && c <= 0x3A9) ||
                          (c >= 0x410 && c <= 0x42F);
    return is_upper ? c + 32 : c;
}

static bool is_word(uint32_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= 0xC0 && c < 0x2000) ||
           (c >= 0x3040 && c < 0xFF00 && c != 0xFEFF) || c >= 0x10000;
}

static uint64_t mix(uint64_t hash, uint32_t c)
{
    return (hash ^ c) * 0x100000001B3ULL; /* FNV-1a, by characters */
}

static void add_word(word_list *list, uint64_t hash)
{
    if (list->n == list->capacity) {
        const size_t capacity = list->capacity == 0 ? 64 : 2 * list->capacity;
        uint64_t *items = realloc(list->items, capacity * sizeof *items);
        if (items == NULL) {
            list->has_memory = false;
            return;
        }
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->n++] = hash;
}

static void add_words(word_list *list, const char *text, size_t begin, size_t end)
{
    static const uint64_t basis = 0xCBF29CE484222325ULL;
    uint64_t hash = basis;
    uint32_t before = 0; /* the neighbour before, of a script without spaces */
    size_t length;
    for (size_t at = begin; at < end && list->has_memory; at += length) {
        const uint32_t c = fold(cs_select_character(text, at, end, &length));
        const bool is_unspaced = is_word(c) && cs_select_is_unspaced(c);
        if (is_word(c) && !is_unspaced) {
            hash = mix(hash, c);
        } else if (hash != basis) {
            add_word(list, hash);
            hash = basis;
        }
        if (is_unspaced && before != 0) {
            add_word(list, mix(mix(basis, before), c));
        }
        before = is_unspaced ? c : 0;
    }
    if (hash != basis) {
        add_word(list, hash);
    }
}

static int compare_hashes(const void *left, const void *right)
{
    const uint64_t a = *(const uint64_t *)left;
    const uint64_t b = *(const uint64_t *)right;
    return a < b ? -1 : a > b ? 1 : 0;
}

/* Sort, and keep each once. */
static void make_set(word_list *list)
{
    if (list->n == 0) {
        return;
    }
    qsort(list->items, list->n, sizeof *list->items, compare_hashes);
    size_t n = 1;
    for (size_t i = 1; i < list->n; i++) {
        if (list->items[i] != list->items[n - 1]) {
            list->items[n++] = list->items[i];
        }
    }
    list->n = n;
}

/* How often each of the query's words is in a part and its headings; the result is how many words these have. */
static size_t count(const char *text, const costeer_parts *parts, size_t i, const word_list *query, word_list *scratch,
                    uint32_t *counts)
{
    scratch->n = 0;
    int depth = 0;
    for (int32_t at = (int32_t)i; at >= 0 && depth < 32; at = parts->items[at].heading, depth++) {
        const costeer_part *part = &parts->items[at];
        const bool is_cut = depth > 0 && part->end - part->begin > HEADING_BYTES_MAX;
        add_words(scratch, text, part->begin, is_cut ? part->begin + HEADING_BYTES_MAX : part->end);
    }
    memset(counts, 0, (query->n + 1) * sizeof *counts);
    for (size_t w = 0; w < scratch->n; w++) {
        const uint64_t *found =
            query->n == 0 ? NULL : bsearch(&scratch->items[w], query->items, query->n, sizeof *query->items, compare_hashes);
        if (found != NULL) {
            counts[found - query->items]++;
        }
    }
    return scratch->n;
}

costeer_err costeer_parts_score_words(const char *text, const costeer_parts *parts, const char *query, double *scores,
                                      costeer_error *err)
{
    word_list wanted = {.has_memory = true};
    word_list scratch = {.has_memory = true};
    add_words(&wanted, query, 0, strlen(query));
    make_set(&wanted);
    uint32_t *counts = malloc((wanted.n + 1) * sizeof *counts);
    size_t *n_parts_with = calloc(wanted.n + 1, sizeof *n_parts_with);
    double n_words = 0.0;
    bool ok = counts != NULL && n_parts_with != NULL && wanted.has_memory;
    for (size_t i = 0; ok && i < parts->n; i++) {
        n_words += (double)count(text, parts, i, &wanted, &scratch, counts);
        for (size_t w = 0; w < wanted.n; w++) {
            n_parts_with[w] += counts[w] > 0 ? 1 : 0;
        }
    }
    const double n = (double)parts->n;
    for (size_t i = 0; ok && i < parts->n; i++) {
        const double length = (double)count(text, parts, i, &wanted, &scratch, counts);
        const double norm = K1 * (1.0 - B + B * (n_words > 0.0 ? length * n / n_words : 1.0));
        scores[i] = 0.0;
        for (size_t w = 0; w < wanted.n; w++) {
            const double with = (double)n_parts_with[w];
            const double idf = log(1.0 + (n - with + 0.5) / (with + 0.5));
            scores[i] += idf * (double)counts[w] * (K1 + 1.0) / ((double)counts[w] + norm);
        }
    }
    ok = ok && scratch.has_memory;
    free(counts);
    free(n_parts_with);
    free(wanted.items);
    free(scratch.items);
    return ok ? COSTEER_OK : cs_error_set(err, COSTEER_ENOMEM, "select", "no memory for the words of %zu parts", parts->n);
}
