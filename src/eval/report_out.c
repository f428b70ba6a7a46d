/* HTML: what could begin markup is a character reference. Markdown: a backslash before every sign that could. */
#include "eval/report_out.h"

#include "eval/tokens.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PRINT_MAX 1024

static void put(cs_report_out *out, const char *bytes, size_t n)
{
    if (!out->failed && n > 0 && !out->write(bytes, n, out->user)) {
        out->failed = true;
    }
}

void cs_out_raw(cs_report_out *out, const char *markup)
{
    put(out, markup, strlen(markup));
}

void cs_out_print(cs_report_out *out, const char *format, ...)
{
    char text[PRINT_MAX];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (n < 0 || (size_t)n >= sizeof text) {
        out->failed = true;
        return;
    }
    put(out, text, (size_t)n);
}

/* ---- escaping ---------------------------------------------------------------------------------------------------- */

static const char *html_reference(char c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

/* Characters that HTML does not allow, C1 controls with them, and those that turn the direction of what follows around. */
static bool is_forbidden(uint32_t c)
{
    return (c < 0x20 && c != '\t' && c != '\n') || (c >= 0x7F && c <= 0x9F) || (c >= 0x202A && c <= 0x202E) ||
           (c >= 0x2066 && c <= 0x2069) || (c >= 0xFDD0 && c <= 0xFDEF) || (c & 0xFFFE) == 0xFFFE;
}

/* Signs that begin something in the middle of a line of Markdown; < and & only where a tag or a reference could follow. */
static bool needs_backslash(char c, char next)
{
    const bool is_letter = (next >= 'a' && next <= 'z') || (next >= 'A' && next <= 'Z');
    if (c == '<' || c == '&') {
        return is_letter || strchr("/!?#", next) != NULL; /* the end of the text as well */
    }
    return strchr("\\`*_[]|~$", c) != NULL;
}

/* Write one character of n bytes; what follows it may be looked at. */
static void put_character(cs_report_out *out, const char *bytes, size_t n, uint32_t c)
{
    if (c == 0xFFFD || (is_forbidden(c) && c != '\r')) {
        cs_out_raw(out, "\xEF\xBF\xBD");
    } else if (out->is_html && n == 1 && html_reference(*bytes) != NULL) {
        cs_out_raw(out, html_reference(*bytes));
    } else if (c == '\r' || (!out->is_html && (c == '\n' || c == '\t'))) {
        cs_out_raw(out, out->is_html ? "\n" : " ");
    } else {
        if (!out->is_html && n == 1 && needs_backslash(bytes[0], bytes[1])) {
            cs_out_raw(out, "\\");
        }
        put(out, bytes, n);
    }
}

void cs_out_text_cut(cs_report_out *out, const char *text, size_t n)
{
    const size_t n_bytes = strlen(text);
    size_t length;
    for (size_t i = 0; i < n_bytes; i += length) {
        const uint32_t c = cs_character_next(text + i, n_bytes - i, &length);
        if (n-- == 0) {
            cs_out_raw(out, "\xE2\x80\xA6");
            return;
        }
        if (c != '\r' || text[i + 1] != '\n') {
            put_character(out, text + i, length, c);
        }
    }
}

void cs_out_text(cs_report_out *out, const char *text)
{
    cs_out_text_cut(out, text, SIZE_MAX);
}

/* ---- blocks ------------------------------------------------------------------------------------------------------ */

void cs_out_heading(cs_report_out *out, int level, const char *text)
{
    if (out->is_html) {
        cs_out_print(out, "<h%d>", level);
        cs_out_text(out, text);
        cs_out_print(out, "</h%d>\n", level);
    } else {
        cs_out_print(out, "%s%s ", level == 1 ? "" : "\n", &"###"[3 - level]);
        cs_out_text(out, text);
        cs_out_raw(out, "\n");
    }
}

void cs_out_paragraph(cs_report_out *out, const char *text)
{
    cs_out_raw(out, out->is_html ? "<p>" : "\n");
    cs_out_text(out, text);
    cs_out_raw(out, out->is_html ? "</p>\n" : "\n");
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

void cs_table_begin(cs_report_out *out, const char *caption)
{
    out->n_columns = 0;
    out->has_body = false;
    if (out->is_html) {
        cs_out_raw(out, "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"");
        cs_out_text(out, caption);
        cs_out_raw(out, "\">\n<table>\n<caption>");
        cs_out_text(out, caption);
        cs_out_raw(out, "</caption>\n<thead><tr>");
    } else {
        cs_out_raw(out, "\n");
        cs_out_text(out, caption);
        cs_out_raw(out, ":\n\n|");
    }
}

void cs_table_head(cs_report_out *out, const char *text, bool is_left)
{
    if (out->n_columns < CS_TABLE_COLUMNS_MAX) {
        out->is_left[out->n_columns++] = is_left;
    }
    if (out->is_html) {
        cs_out_raw(out, is_left ? "<th scope=\"col\" class=\"left\">" : "<th scope=\"col\">");
        cs_out_text(out, text);
        cs_out_raw(out, "</th>");
    } else {
        cs_out_raw(out, " ");
        cs_out_text(out, text);
        cs_out_raw(out, " |");
    }
}

static void end_heads(cs_report_out *out)
{
    if (out->has_body) {
        return;
    }
    out->has_body = true;
    if (out->is_html) {
        cs_out_raw(out, "</tr></thead>\n<tbody>\n");
        return;
    }
    cs_out_raw(out, "\n|");
    for (int i = 0; i < out->n_columns; i++) {
        cs_out_raw(out, out->is_left[i] ? " :-- |" : " --: |");
    }
    cs_out_raw(out, "\n");
}

void cs_table_row(cs_report_out *out)
{
    end_heads(out);
    out->column = 0;
    cs_out_raw(out, out->is_html ? "<tr>" : "|");
}

void cs_table_name(cs_report_out *out, const char *text, const char *mark)
{
    out->column++;
    cs_out_raw(out, out->is_html ? "<th scope=\"row\">" : " ");
    cs_out_text(out, text);
    if (mark != NULL) {
        cs_out_raw(out, out->is_html ? " <span class=\"tag\">" : " **(");
        cs_out_text(out, mark);
        cs_out_raw(out, out->is_html ? "</span>" : ")**");
    }
    cs_out_raw(out, out->is_html ? "</th>" : " |");
}

void cs_table_cell(cs_report_out *out, const char *text, const char *note, bool is_strong)
{
    const bool is_left = out->column < out->n_columns && out->is_left[out->column];
    out->column++;
    if (out->is_html) {
        cs_out_raw(out, is_left ? "<td class=\"left\">" : "<td>");
        cs_out_raw(out, is_strong ? "<strong>" : "");
    } else {
        cs_out_raw(out, is_strong ? " **" : " ");
    }
    cs_out_text(out, text);
    cs_out_raw(out, is_strong ? (out->is_html ? "</strong>" : "**") : "");
    if (note != NULL) {
        cs_out_raw(out, out->is_html ? " <small>" : " (");
        cs_out_text(out, note);
        cs_out_raw(out, out->is_html ? "</small>" : ")");
    }
    cs_out_raw(out, out->is_html ? "</td>" : " |");
}

void cs_table_row_end(cs_report_out *out)
{
    cs_out_raw(out, out->is_html ? "</tr>\n" : "\n");
}

void cs_table_end(cs_report_out *out)
{
    end_heads(out);
    cs_out_raw(out, out->is_html ? "</tbody>\n</table>\n</div>\n" : "");
}
