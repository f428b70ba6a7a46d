/* Lines of a text, and what each looks like. All offsets are of the text; a line is never blank where one is asked about. */
#ifndef CS_CORE_SELECT_LINES_H
#define CS_CORE_SELECT_LINES_H

#include <stdbool.h>
#include <stddef.h>

typedef struct cs_select_line {
    size_t begin;  /**< without the white space before it */
    size_t end;    /**< without that behind it */
    size_t next;   /**< where the next line begins */
    size_t indent; /**< bytes of white space before it */
} cs_select_line;

/** The line that begins at text[at], at < n. */
cs_select_line cs_select_line_read(const char *text, size_t n, size_t at);

bool cs_select_line_is_blank(const cs_select_line *of);
bool cs_select_line_starts_with(const char *text, const cs_select_line *of, const char *word);

/** True for a horizontal rule ("---", "***", "==="). */
bool cs_select_line_is_rule(const char *text, const cs_select_line *of);

/** True for the border of a code block. */
bool cs_select_line_is_fence(const char *text, const cs_select_line *of);

/** Markdown's "#" to "######" as 1 to 6; 0: no heading. */
size_t cs_select_line_heading_level(const char *text, const cs_select_line *of);

/** Bytes of an item's mark and the white space behind it ("- ", "3. ", "(a) "); 0: no item. */
size_t cs_select_line_item_mark(const char *text, const cs_select_line *of);

/** Where the value of "key: value" or "key = value" begins; of->end: there is a key and no value; 0: no field. */
size_t cs_select_line_find_field(const char *text, const cs_select_line *of);

/** True for "From: …", "Subject: …" and their like, with which a mail begins. */
bool cs_select_line_is_mail_field(const char *text, const cs_select_line *of);

bool cs_select_line_ends_with_colon(const char *text, const cs_select_line *of);

/** True when the lines of text[begin, end) are notes, one a line, and not prose that was wrapped. */
bool cs_select_lines_are_notes(const char *text, size_t begin, size_t end);

/** The first byte that is no white space, and behind the last; `end`, `begin`: there is none. */
size_t cs_select_trim_begin(const char *text, size_t begin, size_t end);
size_t cs_select_trim_end(const char *text, size_t begin, size_t end);

#endif
