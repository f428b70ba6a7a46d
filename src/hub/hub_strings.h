/* A list of strings that it owns. */
#ifndef CS_HUB_STRINGS_H
#define CS_HUB_STRINGS_H

#include <stdbool.h>
#include <stddef.h>

/** Growing list of owned strings; all-zero is an empty one. */
typedef struct cs_hub_strings {
    char **items; /**< [n] */
    size_t n;
} cs_hub_strings;

/** Append a copy; false: memory is out. */
bool cs_hub_strings_add(cs_hub_strings *strings, const char *text);
void cs_hub_strings_sort(cs_hub_strings *strings);
void cs_hub_strings_dispose(cs_hub_strings *strings);

#endif
