/* The main program of a binary that holds many files of tests. */
#ifndef CS_TEST_RUNNER_H
#define CS_TEST_RUNNER_H

#include <stddef.h>

typedef struct test_group {
    const char *name; /* of the file, without "test_" and ".c" */
    int (*run)(void); /* its main(): the number of tests that failed */
} test_group;

/* Ends with an entry without a name. Written by tests/CMakeLists.txt, one for each binary. */
extern const test_group test_groups[];

#endif
