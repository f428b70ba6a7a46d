/*
 * Strict numbers: the whole string is the number, in decimal, or it is refused. No leading space, no sign where none belongs, no
 * hexadecimal, no "nan" or "inf". What is out of range is told apart from what is not a number, so that a message can say which.
 */
#ifndef CS_UTIL_PARSE_H
#define CS_UTIL_PARSE_H

#include <stdint.h>

typedef enum cs_parse_result {
    CS_PARSE_OK,
    CS_PARSE_SYNTAX, /**< not a number of this kind */
    CS_PARSE_RANGE   /**< a number, but it does not fit the type */
} cs_parse_result;

/** Parse a whole number with an optional '-'. */
cs_parse_result cs_parse_int64(const char *text, int64_t *out);

/** Parse a whole number without a sign. */
cs_parse_result cs_parse_uint64(const char *text, uint64_t *out);

/** Parse a finite decimal number, with or without exponent; what is too small becomes 0. */
cs_parse_result cs_parse_double(const char *text, double *out);

#endif
