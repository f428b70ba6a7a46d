/* Filling a costeer_error: the one way every part of CoSteer reports what went wrong. */
#ifndef CS_UTIL_ERROR_H
#define CS_UTIL_ERROR_H

#include <costeer/error.h>

#if defined(__GNUC__)
#define CS_PRINTF(format_index, first_argument) __attribute__((format(printf, format_index, first_argument)))
#else
#define CS_PRINTF(format_index, first_argument)
#endif

/**
 * Fill an error and return its code, so that a caller can write `return cs_error_set(err, COSTEER_EINVAL, "fuse", …);`.
 *
 * @param err        may be NULL: then only the code is returned
 * @param component  the noun that failed, at most 23 bytes are kept
 * @param format     one line for a person: what was wrong, with the value, and what to do; at most 511 bytes are kept
 */
costeer_err cs_error_set(costeer_error *err, costeer_err code, const char *component, const char *format, ...) CS_PRINTF(4, 5);

#endif
