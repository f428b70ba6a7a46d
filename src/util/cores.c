/* How many cores the process may use: those it is confined to where the system tells, else those that are switched on. */
#define _GNU_SOURCE /* sched_getaffinity() */
#include "util/cores.h"

#include <limits.h>
#include <sched.h>
#include <unistd.h>

int cs_cores_count(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
#ifdef __linux__
    cpu_set_t allowed; /* 1024 cores; more are not counted, and the call fails */
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
        n = CPU_COUNT(&allowed);
    }
#endif
    return n > 0 && n < INT_MAX ? (int)n : 1;
}
