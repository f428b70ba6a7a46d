/* The marks around what a model thinks before it answers. */
#ifndef CS_CORE_REASONING_H
#define CS_CORE_REASONING_H

#include <stdbool.h>
#include <stddef.h>

typedef struct cs_reasoning_marks {
    const char *begin;
    const char *end;
} cs_reasoning_marks;

/** The marks that a template knows, NULL: none. */
const cs_reasoning_marks *cs_reasoning_find(const char *source);

/** The marks whose beginning a rendered prompt ends with, blanks left aside, NULL: the answer begins at once. */
const cs_reasoning_marks *cs_reasoning_open(const char *text, size_t n);

#endif
