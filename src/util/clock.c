/* Monotonic time: the only place of the library that asks the system for it. */
#include "util/clock.h"

#include <time.h>

int64_t cs_clock_us(void)
{
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) {
        return 0; /* cannot happen where the clock exists; times then read as zero */
    }
    return (int64_t)now.tv_sec * 1000000 + (int64_t)now.tv_nsec / 1000;
}
