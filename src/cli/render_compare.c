/*
 * Each answer becomes a block of lines: title, note, a rule, the text, a line of figures. Blocks stand side by side as a table
 * that is one to four columns wide; where there is only one column the same blocks follow each other.
 *
 * A token that steering changed is bold and coloured where colours may be used, and stands in brackets elsewhere; the legend says
 * which. The bracket comes behind the token's leading space, so that words stay words.
 */
#include "cli/render_compare.h"

#include "cli/wrap.h"

#include <stdio.h>
#include <string.h>

#define WIDTH_MIN_TWO  72  /* of the terminal, for two columns */
#define WIDTH_MIN_FOUR 160 /* and for four */
#define COLUMN_MIN     38  /* three columns must be as wide as this: what those of four are at their least */
#define ACROSS_MAX     4
#define WIDTH_PLAIN    80  /* where nothing tells a width */
#define LINE_MAX_WIDTH 100 /* a single column wider than this is hard to read */

#define STYLE_TITLE   "\033[1m"
#define STYLE_NOTE    "\033[2m"
#define STYLE_WARNING "\033[33m"
#define STYLE_CHANGED "\033[1;36m"
#define STYLE_NONE    "\033[0m"

typedef struct block {
    const cs_column *column;
    cs_marked_text text;
    cs_lines lines;
    char figures[96];
} block;

typedef struct page {
    cs_output *out;
    const cs_terminal *terminal;
    int n_across;  /* blocks side by side */
    int n_columns; /* of one block */
} page;

/* ---- text with marks --------------------------------------------------------------------------------------------- */

static bool is_steered(const cs_column *column)
{
    return cs_method_is_steered(column->choice->method);
}

static size_t n_leading_blanks(const char *bytes, size_t n_bytes)
{
    size_t n = 0;
    while (n < n_bytes && (bytes[n] == ' ' || bytes[n] == '\n')) {
        n++;
    }
    return n;
}

/* Appends one run of equally marked text, in brackets when there are no colours. */
static bool append_run(const page *p, block *b, const char *bytes, size_t n_bytes, bool changed)
{
    size_t blanks = changed ? n_leading_blanks(bytes, n_bytes) : n_bytes;
    bool ok = cs_marked_text_append(&b->text, bytes, blanks, false);
    if (blanks == n_bytes || !ok) {
        return ok;
    }
    const char *opening = p->terminal->has_unicode ? "\xE2\x9F\xA6" : "[";
    const char *closing = p->terminal->has_unicode ? "\xE2\x9F\xA7" : "]";
    bool brackets = !p->terminal->has_color;
    ok = !brackets || cs_marked_text_append(&b->text, opening, strlen(opening), false);
    ok = ok && cs_marked_text_append(&b->text, bytes + blanks, n_bytes - blanks, true);
    return ok && (!brackets || cs_marked_text_append(&b->text, closing, strlen(closing), false));
}

/*
 * Puts marks on the answer's text by spelling its tokens again. Only as much as was emitted counts: a stop string may have cut
 * it. Returns false when the spelling is not the text (then nothing was appended) or memory ran out.
 */
static bool append_marked(const page *p, block *b, bool *no_memory)
{
    const cs_cli_answer *a = &b->column->answer;
    cs_buffer run = {.cap = SIZE_MAX};
    bool run_changed = false;
    size_t n_bytes = 0;
    bool ok = true;
    for (size_t i = 0; i < a->n_tokens && ok && n_bytes < a->text.n_bytes; i++) {
        char piece[COSTEER_PIECE_MAX];
        size_t n = costeer_model_token_to_piece(b->column->model, a->tokens[i], piece);
        n = n < a->text.n_bytes - n_bytes ? n : a->text.n_bytes - n_bytes;
        if (memcmp(piece, a->text.bytes + n_bytes, n) != 0) {
            break;
        }
        if (n > 0 && a->changed[i] != run_changed && run.n_bytes > 0) {
            ok = append_run(p, b, run.bytes, run.n_bytes, run_changed);
            run.n_bytes = 0;
        }
        run_changed = n > 0 ? a->changed[i] : run_changed;
        ok = ok && cs_buffer_append(&run, piece, n);
        n_bytes += n;
    }
    if (ok && run.n_bytes > 0) {
        ok = append_run(p, b, run.bytes, run.n_bytes, run_changed);
    }
    cs_buffer_dispose(&run);
    *no_memory = !ok;
    if (!ok || n_bytes != a->text.n_bytes) {
        cs_marked_text_dispose(&b->text);
        return false;
    }
    return true;
}

/* Appends a figure while there is room for it on the line: the last ones are the least telling. */
static void add_figure(const page *p, block *b, const char *figure)
{
    const char *dot = p->terminal->has_unicode ? " \xC2\xB7 " : ", ";
    size_t used = strlen(b->figures);
    int n_columns = cs_text_columns(b->figures, used) + 3 + (int)strlen(figure);
    if (used == 0) {
        snprintf(b->figures, sizeof b->figures, "%s", figure);
    } else if (n_columns <= p->n_columns) {
        snprintf(b->figures + used, sizeof b->figures - used, "%s%s", dot, figure);
    }
}

static void write_figures(const page *p, block *b)
{
    const cs_cli_answer *a = &b->column->answer;
    const char *finish = cs_cli_answer_finish(a);
    char figure[48];
    snprintf(figure, sizeof figure, "%d tokens", (int)a->report.n_tokens);
    add_figure(p, b, figure);
    if (is_steered(b->column)) {
        snprintf(figure, sizeof figure, "%d changed", (int)a->report.n_steered);
        add_figure(p, b, figure);
    }
    if (b->column->choice->gate.kind != COSTEER_GATE_NONE) {
        snprintf(figure, sizeof figure, "%d gated", (int)a->report.n_gated);
        add_figure(p, b, figure);
    }
    if (strcmp(finish, "end") != 0) {
        add_figure(p, b, strcmp(finish, "length") == 0 ? "cut" : finish);
    }
    snprintf(figure, sizeof figure, "%.*f tok/s", cs_cli_answer_rate(a) < 10.0 ? 1 : 0, cs_cli_answer_rate(a));
    add_figure(p, b, figure);
    if (b->column->vocab != NULL) {
        snprintf(figure, sizeof figure, "vocab %s", b->column->vocab);
        add_figure(p, b, figure);
    }
}

static bool make_block(const page *p, const cs_column *column, block *b)
{
    memset(b, 0, sizeof *b);
    b->column = column;
    if (!column->was_run) {
        snprintf(b->figures, sizeof b->figures, "not run");
        return true;
    }
    bool no_memory = false;
    if (!is_steered(column) || !append_marked(p, b, &no_memory)) {
        const cs_buffer *text = &column->answer.text;
        no_memory = no_memory || !cs_marked_text_append(&b->text, text->bytes, text->n_bytes, false);
    }
    write_figures(p, b);
    return !no_memory && cs_wrap(&b->text, p->n_columns, &b->lines);
}

static void dispose_block(block *b)
{
    cs_marked_text_dispose(&b->text);
    cs_lines_dispose(&b->lines);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void put(const page *p, const char *text)
{
    cs_output_write(p->out, text, strlen(text));
}

static void put_style(const page *p, const char *style)
{
    if (p->terminal->has_color) {
        put(p, style);
    }
}

static void put_repeated(const page *p, const char *text, int n)
{
    while (n-- > 0) {
        put(p, text);
    }
}

static const char *rule(const page *p)
{
    return p->terminal->has_unicode ? "\xE2\x94\x80" : "-";
}

/* One line of text in a style, cut or padded to the block's width. */
static void put_cell(const page *p, const char *text, const char *style, bool pad)
{
    size_t n_bytes = strlen(text);
    int n_columns = cs_text_columns(text, n_bytes);
    while (n_columns > p->n_columns) {
        do {
            n_bytes--;
        } while (n_bytes > 0 && ((unsigned char)text[n_bytes] & 0xC0) == 0x80);
        n_columns = cs_text_columns(text, n_bytes);
    }
    put_style(p, style);
    cs_output_write(p->out, text, n_bytes);
    put_style(p, STYLE_NONE);
    put_repeated(p, " ", pad ? p->n_columns - n_columns : 0);
}

static void put_text_line(const page *p, const block *b, size_t row, bool pad)
{
    if (row >= b->lines.n) {
        put_repeated(p, " ", pad ? p->n_columns : 0);
        return;
    }
    const cs_line *line = &b->lines.items[row];
    bool marked = false;
    for (size_t i = line->begin; i < line->end; i++) {
        if (b->text.marked[i] != marked) {
            marked = b->text.marked[i];
            put_style(p, marked ? STYLE_CHANGED : STYLE_NONE);
        }
        cs_output_write(p->out, &b->text.bytes[i], 1);
    }
    if (marked) {
        put_style(p, STYLE_NONE);
    }
    put_repeated(p, " ", pad ? p->n_columns - line->n_columns : 0);
}

static void put_separator(const page *p)
{
    put_style(p, STYLE_NOTE);
    put(p, p->terminal->has_unicode ? " \xE2\x94\x82 " : " | ");
    put_style(p, STYLE_NONE);
}

static void put_rule(const page *p)
{
    put_style(p, STYLE_NOTE);
    for (int i = 0; i < p->n_across; i++) {
        if (i > 0) {
            put(p, rule(p));
            put(p, p->terminal->has_unicode ? "\xE2\x94\xBC" : "+");
            put(p, rule(p));
        }
        put_repeated(p, rule(p), p->n_columns);
    }
    put_style(p, STYLE_NONE);
    put(p, "\n");
}

enum { CELL_TITLE, CELL_NOTE, CELL_FIGURES };

static void put_row(const page *p, const block *blocks, int kind)
{
    for (int i = 0; i < p->n_across; i++) {
        const cs_column *c = blocks[i].column;
        bool pad = i + 1 < p->n_across;
        if (i > 0) {
            put_separator(p);
        }
        if (kind == CELL_TITLE) {
            char title[96];
            bool is_local = c->was_run && c->local_from >= 0;
            snprintf(title, sizeof title, is_local ? "%s; from token %d on the SLM alone" : "%s", c->title, (int)c->local_from);
            put_cell(p, title, STYLE_TITLE, pad);
        } else if (kind == CELL_NOTE) {
            char note[96];
            snprintf(note, sizeof note, is_steered(c) && c->was_run ? "%s, strength %.4g" : "%s", c->note, c->choice->weight);
            put_cell(p, note, c->shows_context ? STYLE_WARNING : STYLE_NOTE, pad);
        } else {
            put_cell(p, blocks[i].figures, STYLE_NOTE, pad);
        }
    }
    put(p, "\n");
}

static void put_empty_row(const page *p)
{
    for (int i = 0; i + 1 < p->n_across; i++) {
        put_repeated(p, " ", p->n_columns);
        put_separator(p);
    }
    put(p, "\n");
}

/* The blocks of one row of the table. */
static void put_blocks(const page *p, const block *blocks)
{
    put_row(p, blocks, CELL_TITLE);
    put_row(p, blocks, CELL_NOTE);
    put_rule(p);
    size_t n_lines = 0;
    for (int i = 0; i < p->n_across; i++) {
        n_lines = blocks[i].lines.n > n_lines ? blocks[i].lines.n : n_lines;
    }
    for (size_t row = 0; row < n_lines; row++) {
        for (int i = 0; i < p->n_across; i++) {
            if (i > 0) {
                put_separator(p);
            }
            put_text_line(p, &blocks[i], row, i + 1 < p->n_across);
        }
        put(p, "\n");
    }
    put_empty_row(p);
    put_row(p, blocks, CELL_FIGURES);
}

/* What the marks are measured against: the same for all marked answers, or each method's own. */
static const char *name_base(const cs_column *columns, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (columns[i].was_run && is_steered(&columns[i]) && columns[i].choice->method->base != COSTEER_SOURCE_LLM) {
            return "not what would stand there unsteered";
        }
    }
    return "not what the LLM alone would have written there";
}

static void put_legend(const page *p, const cs_column *columns, size_t n)
{
    put(p, "\n");
    if (p->terminal->has_color) {
        put(p, STYLE_CHANGED "like this" STYLE_NONE STYLE_NOTE);
    } else {
        put(p, p->terminal->has_unicode ? "\xE2\x9F\xA6like this\xE2\x9F\xA7" : "[like this]");
    }
    put(p, ": ");
    put(p, name_base(columns, n));
    put_style(p, STYLE_NONE);
    put(p, "\n");
}

/* Four answers stand in one row or in two of two; any other number takes as many columns as are wide enough. */
static int count_across(int width, size_t n)
{
    if (width < WIDTH_MIN_TWO || n < 2) {
        return 1;
    }
    if (n == 4 || n == 2) {
        return n == 4 && width >= WIDTH_MIN_FOUR ? 4 : 2;
    }
    int across = 2;
    while (across < ACROSS_MAX && (size_t)across < n && (width - 3 * across) / (across + 1) >= COLUMN_MIN) {
        across++;
    }
    return across;
}

static page lay_out(cs_output *out, const cs_terminal *terminal, size_t n)
{
    page p = {.out = out, .terminal = terminal, .n_across = count_across(terminal->n_columns, n)};
    p.n_columns = (terminal->n_columns - 3 * (p.n_across - 1)) / p.n_across;
    if (terminal->n_columns == 0) {
        p.n_columns = WIDTH_PLAIN;
    } else if (terminal->n_columns < 20) {
        p.n_columns = 20;
    }
    p.n_columns = p.n_columns > LINE_MAX_WIDTH ? LINE_MAX_WIDTH : p.n_columns;
    return p;
}

static bool any_marks(const cs_column *columns, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (columns[i].was_run && is_steered(&columns[i])) {
            return true;
        }
    }
    return false;
}

bool cs_render_compare(cs_output *out, const cs_terminal *terminal, const cs_column *columns, size_t n)
{
    page p = lay_out(out, terminal, n);
    block blocks[CS_COLUMNS_MAX];
    bool ok = true;
    for (size_t i = 0; i < n; i++) {
        ok = make_block(&p, &columns[i], &blocks[i]) && ok;
    }
    size_t across = (size_t)p.n_across;
    for (size_t i = 0; ok && i < n; i += across) {
        put(&p, i > 0 ? "\n" : "");
        p.n_across = (int)(n - i < across ? n - i : across); /* the last row may be shorter */
        put_blocks(&p, &blocks[i]);
    }
    if (ok && any_marks(columns, n)) {
        put_legend(&p, columns, n);
    }
    for (size_t i = 0; i < n; i++) {
        dispose_block(&blocks[i]);
    }
    return ok;
}
