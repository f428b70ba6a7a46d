/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef CS_UTIL_UTF8_H
#define CS_UTIL_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/** What stands at the beginning of some bytes. */
typedef enum cs_utf8_kind {
    CS_UTF8_VALID,      /**< a whole character */
    CS_UTF8_INVALID,    /**< bytes that no continuation can make a character */
    CS_UTF8_INCOMPLETE, /**< the beginning of a character; the rest has not come yet */
} cs_utf8_kind;

/** What stands in an invalid sequence's place: U+FFFD. */
#define CS_UTF8_REPLACEMENT       "\xEF\xBF\xBD"
#define CS_UTF8_REPLACEMENT_BYTES 3

/**
 * Look at the character at the beginning of bytes[0..n), n >= 1.
 *
 * @param[out] length  bytes of the character; of an invalid one, the longest part that U+FFFD stands for (Unicode 15, table 3-8)
 */
cs_utf8_kind cs_utf8_next(const char *bytes, size_t n, size_t *length);

/** True when bytes[0..n) are UTF-8; else *bad is the offset of the first byte that is not. `bad` may be NULL. */
bool cs_utf8_check(const char *bytes, size_t n, size_t *bad);

#endif
