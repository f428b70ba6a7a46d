/*
 * UTF-8, one character at a time: checking what comes in, and finding the border up to which text may go out.
 *
 * The second byte's range depends on the first (RFC 3629, section 4); all further ones are 80..BF.
 */
#include "util/utf8.h"

/* Number of bytes the first one announces, 0 when it cannot begin a character; the second byte's range. */
static size_t lead(unsigned char first, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xBF;
    if (first < 0x80) {
        return 1;
    }
    if (first >= 0xC2 && first <= 0xDF) {
        return 2;
    }
    if (first >= 0xE0 && first <= 0xEF) {
        *low = first == 0xE0 ? 0xA0 : 0x80;  /* below: overlong */
        *high = first == 0xED ? 0x9F : 0xBF; /* above: surrogates */
        return 3;
    }
    if (first >= 0xF0 && first <= 0xF4) {
        *low = first == 0xF0 ? 0x90 : 0x80;  /* below: overlong */
        *high = first == 0xF4 ? 0x8F : 0xBF; /* above: beyond U+10FFFF */
        return 4;
    }
    return 0;
}

cs_utf8_kind cs_utf8_next(const char *bytes, size_t n, size_t *length)
{
    const unsigned char *at = (const unsigned char *)bytes;
    unsigned char low;
    unsigned char high;
    const size_t wanted = lead(at[0], &low, &high);
    *length = 1;
    if (wanted == 0) {
        return CS_UTF8_INVALID;
    }
    for (size_t i = 1; i < wanted; i++) {
        if (i == n) {
            *length = n;
            return CS_UTF8_INCOMPLETE;
        }
        if (at[i] < low || at[i] > high) {
            *length = i;
            return CS_UTF8_INVALID;
        }
        low = 0x80;
        high = 0xBF;
    }
    *length = wanted;
    return CS_UTF8_VALID;
}

bool cs_utf8_check(const char *bytes, size_t n, size_t *bad)
{
    size_t at = 0;
    while (at < n) {
        size_t length;
        if (cs_utf8_next(bytes + at, n - at, &length) != CS_UTF8_VALID) {
            if (bad != NULL) {
                *bad = at;
            }
            return false;
        }
        at += length;
    }
    return true;
}
