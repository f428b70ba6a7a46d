/* Run the groups that are named on the command line, or all: see runner.h. */
#include "support/runner.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool wanted(const test_group *group, int n_names, char **names)
{
    for (int i = 0; i < n_names; i++) {
        if (strcmp(names[i], group->name) == 0) {
            return true;
        }
    }
    return n_names == 0;
}

static bool exists(const char *name)
{
    const test_group *group = test_groups;
    while (group->name != NULL && strcmp(group->name, name) != 0) {
        group++;
    }
    return group->name != NULL;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (!exists(argv[i])) {
            (void)fprintf(stderr, "%s: there is no group of tests '%s'\n", argv[0], argv[i]);
            return 2;
        }
    }
    int n_failed = 0;
    for (const test_group *group = test_groups; group->name != NULL; group++) {
        if (wanted(group, argc - 1, argv + 1) && group->run() != 0) {
            (void)fprintf(stderr, "test_%s.c: failed\n", group->name);
            n_failed++;
        }
    }
    return n_failed == 0 ? 0 : 1;
}
