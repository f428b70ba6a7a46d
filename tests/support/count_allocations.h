/*
 * Counting allocations of our own code: malloc, calloc and realloc, except while llama.cpp decodes or splits text into tokens,
 * where it allocates itself. tests/CMakeLists.txt wraps these five functions at link time.
 */
#ifndef CS_TEST_COUNT_ALLOCATIONS_H
#define CS_TEST_COUNT_ALLOCATIONS_H

#include <stdbool.h>

/** Count from now on, or stop counting. */
void count_allocations(bool on);

/** Allocations counted since the last call. */
int take_allocations(void);

#endif
