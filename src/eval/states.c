/*
 * Whether a text states a string. Both are folded first, so that what a reader takes for the same is the same; then every place
 * of the string is looked at until one begins and ends where words do.
 */
#include "eval/states.h"

#include "eval/tokens.h"

#include <costeer/metrics.h>
#include <stdlib.h>
#include <string.h>

/* The longest a byte becomes: one that is not UTF-8 becomes U+FFFD. */
#define FOLDED_BYTES_PER_BYTE 3

/* ---- folding ----------------------------------------------------------------------------------------------------- */

static bool is_space(uint32_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == 0xA0 || (c >= 0x2007 && c <= 0x200A) || c == 0x202F ||
           c == 0x3000;
}

static uint32_t fold(uint32_t c)
{
    if ((c >= 0x2010 && c <= 0x2014) || c == 0x2212) {
        return '-';
    }
    if (c == 0x2018 || c == 0x2019 || c == 0x2BC) {
        return '\'';
    }
    if (c >= 0xFF01 && c <= 0xFF5E) {
        c -= 0xFEE0;
    }
    return cs_character_lower(c);
}

char *cs_states_fold(const char *text)
{
    const size_t n = strlen(text);
    char *out = malloc(FOLDED_BYTES_PER_BYTE * n + 1);
    size_t n_out = 0;
    bool is_waiting = false; /* a space that is written when something follows it */
    size_t length;
    for (size_t i = 0; out != NULL && i < n; i += length) {
        const uint32_t c = cs_character_next(text + i, n - i, &length);
        if (is_space(c)) {
            is_waiting = n_out > 0;
            continue;
        }
        if (is_waiting) {
            out[n_out++] = ' ';
            is_waiting = false;
        }
        n_out += cs_character_write(fold(c), out + n_out);
    }
    if (out != NULL) {
        out[n_out] = '\0';
    }
    return out;
}

/* ---- finding ----------------------------------------------------------------------------------------------------- */

/* A character that makes one word with those beside it. */
static bool binds(uint32_t c)
{
    return cs_character_is_in_word(c) && !cs_character_is_word_alone(c);
}

static uint32_t character_at(const char *text)
{
    size_t length;
    return text[0] != '\0' ? cs_character_next(text, strnlen(text, 4), &length) : ' ';
}

/* The character that ends where text + at is; a space at the beginning. */
static uint32_t character_before(const char *text, size_t at)
{
    size_t begin = at;
    while (begin > 0 && at - begin < 4) {
        begin--;
        if (((unsigned char)text[begin] & 0xC0) != 0x80) {
            size_t length;
            return cs_character_next(text + begin, at - begin, &length);
        }
    }
    return ' ';
}

static bool ends_word(const char *after)
{
    const bool is_number = (after[0] == '.' || after[0] == ',') && after[1] >= '0' && after[1] <= '9';
    return !binds(character_at(after)) && !is_number;
}

bool cs_states_find(const char *text, const char *string)
{
    const size_t n = strlen(string);
    if (n == 0) {
        return false;
    }
    const bool begins_word = binds(character_at(string));
    const bool has_end = binds(character_before(string, n));
    for (const char *at = strstr(text, string); at != NULL; at = strstr(at + 1, string)) {
        const char *after = at + n;
        const bool is_begin = !begins_word || !binds(character_before(text, (size_t)(at - text)));
        if (is_begin && (!has_end || ends_word(after) || (after[0] == 's' && ends_word(after + 1)))) {
            return true;
        }
    }
    return false;
}

bool costeer_text_states(const char *text, const char *string)
{
    char *in = text != NULL && string != NULL ? cs_states_fold(text) : NULL;
    char *what = in != NULL ? cs_states_fold(string) : NULL;
    const bool is_stated = what != NULL && cs_states_find(in, what);
    free(in);
    free(what);
    return is_stated;
}
