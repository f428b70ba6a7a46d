/* How many cores the process may use. */
#ifndef CS_UTIL_CORES_H
#define CS_UTIL_CORES_H

/** Cores that this process is allowed to run on (as with taskset or in a container); at least 1. */
int cs_cores_count(void);

#endif
