/* Sorting byte strings, and finding them in a sorted array. Nothing here knows what a token is. */
#include "core/vocab_strings.h"

#include <stdlib.h>
#include <string.h>

cs_vocab_entry cs_vocab_entry_make(const char *bytes, size_t n_bytes, int32_t token)
{
    uint64_t key = 0;
    for (size_t i = 0; i < 8; i++) {
        key = key << 8 | (i < n_bytes ? (unsigned char)bytes[i] : 0U);
    }
    return (cs_vocab_entry){.key = key, .bytes = bytes, .n_bytes = (uint32_t)n_bytes, .token = token};
}

static int compare_bytes(const char *a, size_t n_a, const char *b, size_t n_b)
{
    const int order = memcmp(a, b, n_a < n_b ? n_a : n_b);
    return order != 0 ? order : (n_a > n_b) - (n_a < n_b);
}

static int compare_entries(const void *left, const void *right)
{
    const cs_vocab_entry *a = left;
    const cs_vocab_entry *b = right;
    if (a->key != b->key) {
        return a->key < b->key ? -1 : 1;
    }
    const int order = compare_bytes(a->bytes, a->n_bytes, b->bytes, b->n_bytes);
    return order != 0 ? order : (a->token > b->token) - (a->token < b->token);
}

void cs_vocab_entries_sort(cs_vocab_entry *entries, size_t n)
{
    if (n > 0) {
        qsort(entries, n, sizeof *entries, compare_entries);
    }
}

bool cs_vocab_entry_equal(const cs_vocab_entry *a, const cs_vocab_entry *b)
{
    return a->key == b->key && a->n_bytes == b->n_bytes && memcmp(a->bytes, b->bytes, a->n_bytes) == 0;
}

static size_t length_of(const cs_vocab_strings *strings, int32_t i)
{
    return (size_t)(strings->at[i + 1] - strings->at[i]);
}

int cs_vocab_strings_compare(const cs_vocab_strings *strings, int32_t i, const char *s, size_t n)
{
    return compare_bytes(strings->bytes + strings->at[i], length_of(strings, i), s, n);
}

int32_t cs_vocab_strings_floor(const cs_vocab_strings *strings, int32_t low, int32_t high, const char *s, size_t n)
{
    while (low < high) {
        const int32_t middle = low + (high - low) / 2;
        if (cs_vocab_strings_compare(strings, middle, s, n) <= 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low - 1;
}

bool cs_vocab_strings_is_prefix(const cs_vocab_strings *strings, int32_t i, const char *s, size_t n)
{
    const size_t length = length_of(strings, i);
    return length <= n && memcmp(strings->bytes + strings->at[i], s, length) == 0;
}

int32_t cs_vocab_strings_deepest(const cs_vocab_strings *strings, int32_t floor, const char *s, size_t n)
{
    /* Whatever stands between a prefix of s and s in the order begins with that prefix too: so it is on the chain of the floor.
     */
    while (floor >= 0 && !cs_vocab_strings_is_prefix(strings, floor, s, n)) {
        floor = strings->parent[floor];
    }
    return floor;
}

int32_t cs_vocab_strings_range_end(const cs_vocab_strings *strings, int32_t floor, const char *s, size_t n)
{
    int32_t low = floor + 1;
    int32_t high = strings->n;
    while (low < high) {
        const int32_t middle = low + (high - low) / 2;
        if (length_of(strings, middle) >= n && memcmp(strings->bytes + strings->at[middle], s, n) == 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}
