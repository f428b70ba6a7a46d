/* A list of strings that it owns. */
#include "hub/hub_strings.h"

#include <stdlib.h>
#include <string.h>

bool cs_hub_strings_add(cs_hub_strings *strings, const char *text)
{
    char **items = realloc(strings->items, (strings->n + 1) * sizeof *items);
    if (items == NULL) {
        return false;
    }
    strings->items = items;
    items[strings->n] = strdup(text);
    const bool is_added = items[strings->n] != NULL;
    strings->n += is_added;
    return is_added;
}

static int compare_strings(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

void cs_hub_strings_sort(cs_hub_strings *strings)
{
    if (strings->n > 1) {
        qsort(strings->items, strings->n, sizeof strings->items[0], compare_strings);
    }
}

void cs_hub_strings_dispose(cs_hub_strings *strings)
{
    for (size_t i = 0; i < strings->n; i++) {
        free(strings->items[i]);
    }
    free(strings->items);
    memset(strings, 0, sizeof *strings);
}
