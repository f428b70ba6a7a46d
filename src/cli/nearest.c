/* What was meant by a mistyped name: the one with the smallest edit distance, when that is small for its length. */
#include "cli/options.h"

#include <string.h>

#define NAME_MAX_LENGTH 48

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* Levenshtein's distance, one row at a time. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[NAME_MAX_LENGTH + 1];
    size_t n = strlen(b);
    for (size_t j = 0; j <= n; j++) {
        row[j] = j;
    }
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = min3(replaced, row[j] + 1, row[j - 1] + 1);
        }
    }
    return row[n];
}

const char *cs_nearest(const char *word, const char *const *names, size_t n)
{
    const char *best = NULL;
    size_t best_distance = 0;
    size_t length = strlen(word);
    for (size_t i = 0; i < n; i++) {
        if (strlen(names[i]) > NAME_MAX_LENGTH) {
            continue;
        }
        /* What a name begins with is as near as one wrong letter: --max for --max-tokens. */
        size_t distance = length >= 3 && strncmp(word, names[i], length) == 0 ? 1 : edit_distance(word, names[i]);
        if (best == NULL || distance < best_distance) {
            best = names[i];
            best_distance = distance;
        }
    }
    size_t allowed = length <= 4 ? 1 : (length <= 8 ? 2 : 3);
    return best != NULL && best_distance <= allowed ? best : NULL;
}
