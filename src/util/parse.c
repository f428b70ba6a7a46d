/*
 * Strict number parsing over the C library's converters: they decide the value, the checks before them decide the spelling,
 * because the converters alone accept leading space, hexadecimal, "nan" and whatever follows the number.
 */
#include "util/parse.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

static const char *skip_digits(const char *p)
{
    while (*p >= '0' && *p <= '9') {
        p++;
    }
    return p;
}

static bool is_whole_number(const char *text, bool may_be_negative)
{
    const char *digits = text + (may_be_negative && *text == '-' ? 1 : 0);
    const char *end = skip_digits(digits);
    return end > digits && *end == '\0';
}

/* [-+] digits [. digits] [e [-+] digits], with at least one digit before the exponent. */
static bool is_decimal_number(const char *text)
{
    const char *p = text + (*text == '-' || *text == '+' ? 1 : 0);
    const char *whole = p;
    p = skip_digits(p);
    long n_digits = (long)(p - whole);
    if (*p == '.') {
        const char *fraction = ++p;
        p = skip_digits(p);
        n_digits += (long)(p - fraction);
    }
    if (n_digits == 0) {
        return false;
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        p += *p == '-' || *p == '+' ? 1 : 0;
        const char *exponent = p;
        p = skip_digits(p);
        if (p == exponent) {
            return false;
        }
    }
    return *p == '\0';
}

cs_parse_result cs_parse_int64(const char *text, int64_t *out)
{
    if (!is_whole_number(text, true)) {
        return CS_PARSE_SYNTAX;
    }
    errno = 0;
    long long value = strtoll(text, NULL, 10);
    if (errno == ERANGE) {
        return CS_PARSE_RANGE;
    }
    *out = value;
    return CS_PARSE_OK;
}

cs_parse_result cs_parse_uint64(const char *text, uint64_t *out)
{
    if (!is_whole_number(text, false)) {
        return is_whole_number(text, true) ? CS_PARSE_RANGE : CS_PARSE_SYNTAX;
    }
    errno = 0;
    unsigned long long value = strtoull(text, NULL, 10);
    if (errno == ERANGE) {
        return CS_PARSE_RANGE;
    }
    *out = value;
    return CS_PARSE_OK;
}

cs_parse_result cs_parse_double(const char *text, double *out)
{
    if (!is_decimal_number(text)) {
        return CS_PARSE_SYNTAX;
    }
    double value = strtod(text, NULL);
    if (!isfinite(value)) {
        return CS_PARSE_RANGE;
    }
    *out = value;
    return CS_PARSE_OK;
}
