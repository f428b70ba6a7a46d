/*
 * Wrapping by display width: wcwidth() tells the columns of a character (2 for CJK, 0 for combining marks); what it does not know
 * in this locale counts as one.
 */
/* wcwidth() is one of X/Open's. */
#define _XOPEN_SOURCE 700

#include "cli/wrap.h"

#include "cli/text.h"
#include "util/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>

/* ---- text -------------------------------------------------------------------------------------------------------- */

static bool reserve(cs_marked_text *text, size_t n_more)
{
    size_t needed = text->n_bytes + n_more;
    if (needed <= text->capacity) {
        return true;
    }
    size_t capacity = text->capacity < 256 ? 256 : text->capacity;
    while (capacity < needed) {
        capacity *= 2;
    }
    char *bytes = realloc(text->bytes, capacity);
    if (bytes == NULL) {
        return false;
    }
    text->bytes = bytes;
    bool *marked = realloc(text->marked, capacity * sizeof marked[0]);
    if (marked == NULL) {
        return false;
    }
    text->marked = marked;
    text->capacity = capacity;
    return true;
}

static bool put(cs_marked_text *text, const char *bytes, size_t n_bytes, bool marked)
{
    if (!reserve(text, n_bytes)) {
        return false;
    }
    memcpy(text->bytes + text->n_bytes, bytes, n_bytes);
    for (size_t i = 0; i < n_bytes; i++) {
        text->marked[text->n_bytes + i] = marked;
    }
    text->n_bytes += n_bytes;
    return true;
}

/* C0, DEL and C1: they would move the cursor or worse. */
static bool is_control(uint32_t code_point)
{
    return code_point < 0x20 || (code_point >= 0x7F && code_point < 0xA0);
}

bool cs_marked_text_append(cs_marked_text *text, const char *bytes, size_t n_bytes, bool marked)
{
    bool ok = true;
    for (size_t i = 0; i < n_bytes && ok;) {
        size_t length = 1;
        if (cs_utf8_next(bytes + i, n_bytes - i, &length) != CS_UTF8_VALID) {
            ok = put(text, CS_UTF8_REPLACEMENT, CS_UTF8_REPLACEMENT_BYTES, marked);
        } else if (bytes[i] == '\n') {
            ok = put(text, "\n", 1, marked);
        } else if (bytes[i] == '\t') {
            ok = put(text, " ", 1, marked);
        } else if (is_control(cs_text_code_point(bytes + i, length))) {
            ok = bytes[i] == '\r' || put(text, "?", 1, marked);
        } else {
            ok = put(text, bytes + i, length, marked);
        }
        i += length > 0 ? length : 1;
    }
    return ok;
}

void cs_marked_text_dispose(cs_marked_text *text)
{
    free(text->bytes);
    free(text->marked);
    memset(text, 0, sizeof *text);
}

/* ---- width ------------------------------------------------------------------------------------------------------- */

static int columns_of(const char *character, size_t length)
{
    int n = wcwidth((wchar_t)cs_text_code_point(character, length));
    return n >= 0 ? n : 1;
}

static size_t length_of(const char *bytes, size_t n_bytes)
{
    size_t length = 1;
    cs_utf8_next(bytes, n_bytes, &length);
    return length > 0 ? length : 1;
}

int cs_text_columns(const char *bytes, size_t n_bytes)
{
    int n = 0;
    for (size_t i = 0; i < n_bytes;) {
        size_t length = length_of(bytes + i, n_bytes - i);
        n += columns_of(bytes + i, length);
        i += length;
    }
    return n;
}

/* ---- lines ------------------------------------------------------------------------------------------------------- */

static bool add_line(const cs_marked_text *text, size_t begin, size_t end, cs_lines *out)
{
    while (end > begin && text->bytes[end - 1] == ' ') {
        end--;
    }
    if (out->n == out->capacity) {
        size_t capacity = out->capacity == 0 ? 32 : out->capacity * 2;
        cs_line *items = realloc(out->items, capacity * sizeof items[0]);
        if (items == NULL) {
            return false;
        }
        out->items = items;
        out->capacity = capacity;
    }
    int n_columns = end > begin ? cs_text_columns(text->bytes + begin, end - begin) : 0;
    out->items[out->n++] = (cs_line){.begin = begin, .end = end, .n_columns = n_columns};
    return true;
}

/* Where the line that begins there ends: [begin, *end) is shown, the next one begins at the result. */
static size_t break_line(const cs_marked_text *text, size_t begin, int n_columns, size_t *end)
{
    int used = 0;
    size_t after_space = 0; /* 0: no place to break yet */
    size_t space = 0;
    bool has_word = false; /* an indent is no place to break */
    for (size_t i = begin; i < text->n_bytes;) {
        size_t length = length_of(text->bytes + i, text->n_bytes - i);
        if (text->bytes[i] == '\n') {
            *end = i;
            return i + 1;
        }
        used += columns_of(text->bytes + i, length);
        if (text->bytes[i] == ' ') {
            space = has_word ? i : 0;
            after_space = has_word ? i + 1 : 0;
        } else if (used > n_columns) {
            *end = after_space > 0 ? space : i;
            return after_space > 0 ? after_space : i;
        }
        has_word = has_word || text->bytes[i] != ' ';
        i += length;
    }
    *end = text->n_bytes;
    return text->n_bytes;
}

bool cs_wrap(const cs_marked_text *text, int n_columns, cs_lines *out)
{
    for (size_t begin = 0; begin < text->n_bytes;) {
        size_t end = begin;
        size_t next = break_line(text, begin, n_columns, &end);
        if (!add_line(text, begin, end, out)) {
            return false;
        }
        begin = next;
    }
    return true;
}

void cs_lines_dispose(cs_lines *lines)
{
    free(lines->items);
    memset(lines, 0, sizeof *lines);
}
