/* Special tokens, sorted by spelling, so that the longest one at a place is found by narrowing the list byte by byte. */
#define _GNU_SOURCE /* memmem() */
#include "core/special.h"

#include <stdlib.h>
#include <string.h>

bool cs_special_reserve(cs_special *special, size_t n)
{
    special->items = malloc((n + 1) * sizeof *special->items);
    return special->items != NULL;
}

void cs_special_add(cs_special *special, const char *text, int32_t token)
{
    if (*text != '\0') {
        special->items[special->n++] = (cs_special_token){.text = text, .token = token};
        special->begins[(unsigned char)*text] = true;
    }
}

static int compare(const void *a, const void *b)
{
    return strcmp(((const cs_special_token *)a)->text, ((const cs_special_token *)b)->text);
}

void cs_special_sort(cs_special *special)
{
    qsort(special->items, special->n, sizeof *special->items, compare);
}

void cs_special_dispose(cs_special *special)
{
    free(special->items);
    special->items = NULL;
    special->n = 0;
}

/* Of special tokens [*begin, *end), which agree in their first n bytes, those that go on with c. */
static void narrow(const cs_special *special, size_t n, unsigned char c, size_t *begin, size_t *end)
{
    size_t bounds[2]; /* the first that goes on with c or more, the first that goes on with more */
    for (int i = 0; i < 2; i++) {
        size_t low = *begin;
        size_t high = *end;
        while (low < high) {
            const size_t middle = low + (high - low) / 2;
            if ((unsigned char)special->items[middle].text[n] < c + i) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        bounds[i] = low;
    }
    *begin = bounds[0];
    *end = bounds[1];
}

/* Length of the longest special token that a text begins with; 0: none. */
static size_t match_special(const cs_special *special, const char *text, size_t n, int32_t *token)
{
    size_t begin = 0;
    size_t end = special->n;
    size_t longest = 0;
    for (size_t i = 0; i < n && text[i] != '\0' && begin < end; i++) {
        narrow(special, i, (unsigned char)text[i], &begin, &end);
        if (begin < end && special->items[begin].text[i + 1] == '\0') {
            longest = i + 1;
            *token = special->items[begin].token;
        }
    }
    return longest;
}

bool cs_special_find(const cs_special *special, const char *text, size_t n, size_t *at, int32_t *token)
{
    for (size_t i = 0; i < n; i++) {
        if (special->begins[(unsigned char)text[i]] && match_special(special, text + i, n - i, token) > 0) {
            *at = i;
            return true;
        }
    }
    return false;
}

/* True when an end of `first` is a beginning of `second`. */
static bool runs_into(const char *first, size_t n_first, const char *second, size_t n_second)
{
    const size_t longest = n_first < n_second ? n_first : n_second;
    for (size_t n = 1; n <= longest; n++) {
        if (memcmp(first + n_first - n, second, n) == 0) {
            return true;
        }
    }
    return false;
}

bool cs_special_touches(const cs_special *special, const char *text, size_t n)
{
    for (size_t s = 0; s < special->n; s++) {
        const char *spelling = special->items[s].text;
        const size_t length = strlen(spelling);
        if (strspn(spelling, " \t\n\v\f\r") == length) {
            continue; /* a run of blanks, which some vocabularies have as tokens of their own */
        }
        if (memmem(spelling, length, text, n) != NULL || memmem(text, n, spelling, length) != NULL ||
            runs_into(text, n, spelling, length) || runs_into(spelling, length, text, n)) {
            return true;
        }
    }
    return false;
}
