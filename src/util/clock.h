/* Monotonic time. */
#ifndef CS_UTIL_CLOCK_H
#define CS_UTIL_CLOCK_H

#include <stdint.h>

/** Microseconds since an arbitrary start; never goes backwards. */
int64_t cs_clock_us(void);

#endif
