#include "cli/disclosed.h"

#include "cli/text.h"
#include "util/utf8.h"

#include <stdlib.h>
#include <string.h>

typedef enum kind { OTHER, LETTER, IDEOGRAPH } kind;

/* A word, or two ideographs that touch. */
typedef struct span {
    const char *bytes;
    size_t n;
    bool is_pair;
} span;

struct cs_word_set {
    span *items; /* [n] in order, each once */
    size_t n;
    size_t capacity;
};

/* ---- words of a text --------------------------------------------------------------------------------------------- */

static bool is_within(uint32_t c, uint32_t first, uint32_t last)
{
    return c >= first && c <= last;
}

static kind kind_of(uint32_t c)
{
    if (c < 0x80) {
        return is_within(c | 0x20U, 'a', 'z') || is_within(c, '0', '9') ? LETTER : OTHER;
    }
    if (is_within(c, 0x2E80, 0x2FFF) || is_within(c, 0x3040, 0x9FFF) || is_within(c, 0xAC00, 0xD7AF) ||
        is_within(c, 0xF900, 0xFAFF) || is_within(c, 0x20000, 0x3FFFF)) {
        return IDEOGRAPH;
    }
    const bool is_mark = is_within(c, 0x80, 0xBF) || is_within(c, 0x2000, 0x2BFF) || is_within(c, 0x3000, 0x303F) ||
                         is_within(c, 0xFE30, 0xFE4F) || is_within(c, 0xFF00, 0xFF0F) || is_within(c, 0xFF1A, 0xFF20);
    return is_mark ? OTHER : LETTER;
}

static kind kind_at(const char *text, size_t n, size_t at, size_t *length)
{
    *length = 1;
    if (at >= n) {
        return OTHER;
    }
    return cs_utf8_next(text + at, n - at, length) == CS_UTF8_VALID ? kind_of(cs_text_code_point(text + at, *length)) : OTHER;
}

/* The next word from *at on, which is moved to where to look on. */
static bool next_word(const char *text, size_t n, size_t *at, span *out)
{
    size_t length;
    kind here = kind_at(text, n, *at, &length);
    while (*at < n && here == OTHER) {
        *at += length;
        here = kind_at(text, n, *at, &length);
    }
    if (*at >= n) {
        return false;
    }
    *out = (span){.bytes = text + *at, .n = length};
    if (here == LETTER) {
        while (kind_at(text, n, *at + out->n, &length) == LETTER) {
            out->n += length;
        }
        *at += out->n;
        return true;
    }
    *at += length;
    size_t second;
    if (kind_at(text, n, *at, &second) == IDEOGRAPH) {
        out->n += second;
        out->is_pair = true;
        size_t third; /* the last pair ends the run: its second character begins none */
        *at += kind_at(text, n, *at + second, &third) == IDEOGRAPH ? 0 : second;
    }
    return true;
}

/* ---- sets -------------------------------------------------------------------------------------------------------- */

static int fold(char c)
{
    return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : (unsigned char)c;
}

static int compare(const void *left, const void *right)
{
    const span *a = left;
    const span *b = right;
    for (size_t i = 0; i < a->n && i < b->n; i++) {
        if (fold(a->bytes[i]) != fold(b->bytes[i])) {
            return fold(a->bytes[i]) - fold(b->bytes[i]);
        }
    }
    return (a->n > b->n) - (a->n < b->n);
}

static bool add(cs_word_set *set, const span *word)
{
    if (set->n == set->capacity) {
        const size_t capacity = set->capacity == 0 ? 256 : 2 * set->capacity;
        span *items = realloc(set->items, capacity * sizeof *items);
        if (items == NULL) {
            return false;
        }
        set->items = items;
        set->capacity = capacity;
    }
    set->items[set->n++] = *word;
    return true;
}

cs_word_set *cs_word_set_create(const char *const *texts, size_t n)
{
    cs_word_set *set = calloc(1, sizeof *set);
    bool ok = set != NULL;
    for (size_t i = 0; i < n && ok; i++) {
        const size_t n_bytes = texts[i] == NULL ? 0 : strlen(texts[i]);
        span word;
        for (size_t at = 0; ok && next_word(texts[i], n_bytes, &at, &word);) {
            ok = add(set, &word);
        }
    }
    if (!ok) {
        cs_word_set_free(set);
        return NULL;
    }
    if (set->n > 0) {
        qsort(set->items, set->n, sizeof *set->items, compare);
    }
    size_t n_kept = 0;
    for (size_t i = 0; i < set->n; i++) {
        if (n_kept == 0 || compare(&set->items[n_kept - 1], &set->items[i]) != 0) {
            set->items[n_kept++] = set->items[i];
        }
    }
    set->n = n_kept;
    return set;
}

void cs_word_set_free(cs_word_set *set)
{
    if (set != NULL) {
        free(set->items);
        free(set);
    }
}

static bool has(const cs_word_set *set, const span *word)
{
    return set != NULL && set->n > 0 && bsearch(word, set->items, set->n, sizeof *set->items, compare) != NULL;
}

/* ---- finding ----------------------------------------------------------------------------------------------------- */

bool cs_disclosed_find(const cs_word_set *secret, const cs_word_set *known, const char *text, size_t n, cs_disclosed_fn found,
                       void *user)
{
    span word;
    span run = {.n = 0}; /* pairs of ideographs that were found and touch */
    bool ok = true;
    for (size_t at = 0; ok && next_word(text, n, &at, &word);) {
        if (!has(secret, &word) || has(known, &word)) {
            continue;
        }
        const bool goes_on = run.n > 0 && word.is_pair && word.bytes < run.bytes + run.n;
        if (goes_on) {
            run.n = (size_t)(word.bytes + word.n - run.bytes);
            continue;
        }
        ok = run.n == 0 || found(run.bytes, run.n, (size_t)(run.bytes - text), user);
        run = word;
    }
    return ok && (run.n == 0 || found(run.bytes, run.n, (size_t)(run.bytes - text), user));
}
