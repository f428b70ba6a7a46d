/* Text with marked parts, broken into lines of a given width as a terminal shows them. */
#ifndef CS_CLI_WRAP_H
#define CS_CLI_WRAP_H

#include <stdbool.h>
#include <stddef.h>

/** Text of which some bytes are marked; owned by the caller, all-zero is an empty one. */
typedef struct cs_marked_text {
    char *bytes;  /**< [n_bytes], UTF-8 without control characters but '\n' */
    bool *marked; /**< [n_bytes] */
    size_t n_bytes;
    size_t capacity;
} cs_marked_text;

/** Append text as it may be shown: U+FFFD for what is not UTF-8, a space for tabs, '?' for control characters. False: no memory.
 */
bool cs_marked_text_append(cs_marked_text *text, const char *bytes, size_t n_bytes, bool marked);
void cs_marked_text_dispose(cs_marked_text *text);

/** A line: bytes [begin, end) of the text, and the columns they take. */
typedef struct cs_line {
    size_t begin;
    size_t end;
    int n_columns;
} cs_line;

typedef struct cs_lines {
    cs_line *items;
    size_t n;
    size_t capacity;
} cs_lines;

/** Break a text between words; a word that is wider than a line is cut. n_columns >= 2. False: no memory. */
bool cs_wrap(const cs_marked_text *text, int n_columns, cs_lines *out);
void cs_lines_dispose(cs_lines *lines);

/** Columns that a text takes on one line. */
int cs_text_columns(const char *bytes, size_t n_bytes);

#endif
