/*
 * Where a report goes, and the tables in it. A table is told cell by cell and comes out as HTML or as Markdown, so both always
 * say the same. Text is escaped here and nowhere else.
 */
#ifndef CS_EVAL_REPORT_OUT_H
#define CS_EVAL_REPORT_OUT_H

#include <costeer/report.h>

#define CS_TABLE_COLUMNS_MAX 32

typedef struct cs_report_out {
    costeer_eval_report_write_fn write;
    void *user;
    bool is_html;
    bool failed; /**< `write` said false; nothing is written any more */
    /* the table being told */
    bool is_left[CS_TABLE_COLUMNS_MAX]; /**< columns of text */
    int n_columns;
    int column; /**< of the next cell */
    bool has_body;
} cs_report_out;

/** Write markup as it is. */
void cs_out_raw(cs_report_out *out, const char *markup);

/** Write formatted markup of at most 1023 bytes; arguments must need no escaping: numbers and our own words. */
void cs_out_print(cs_report_out *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** Write text of any origin: escaped, control characters replaced; in Markdown on one line. */
void cs_out_text(cs_report_out *out, const char *text);

/** The same, cut behind n characters, with an ellipsis. */
void cs_out_text_cut(cs_report_out *out, const char *text, size_t n);

/** A heading of level 1 to 3. */
void cs_out_heading(cs_report_out *out, int level, const char *text);

/** A paragraph of our own words. */
void cs_out_paragraph(cs_report_out *out, const char *text);

/* A table: begin, heads, then rows of cells, end. */
void cs_table_begin(cs_report_out *out, const char *caption);
void cs_table_head(cs_report_out *out, const char *text, bool is_left);
void cs_table_row(cs_report_out *out);
/** The first cell of a row: a name, and a mark behind it; NULL: none. */
void cs_table_name(cs_report_out *out, const char *text, const char *mark);
/** A value, what stands in small letters with it (NULL: nothing), and whether the eye should find it. */
void cs_table_cell(cs_report_out *out, const char *text, const char *note, bool is_strong);
void cs_table_row_end(cs_report_out *out);
void cs_table_end(cs_report_out *out);

#endif
