/*
 * A text as parts, by its form alone: blocks between empty lines, and in them headings, list items, fields, rows of tables, JSON
 * and prose. It must never lose or change a byte, and never fail on a form that it does not know: what is nothing else is prose.
 *
 * What a part is not understood without (the heading above it, the item that it is nested in, a mail's header) is its heading,
 * and that may have one too.
 */
#include "core/select_internal.h"
#include "core/select_lines.h"
#include "util/error.h"
#include "util/utf8.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES_MAX ((size_t)64 << 20)

/* Longest line that can be the heading of the list under it, in bytes. */
#define LEAD_BYTES_MAX 120

/* How deep headings and nested items can be. */
#define LEVELS_MAX 16

/* Levels: Markdown's headings have 1 to 6; any of them ends a mail. */
#define LEVEL_MAIL 6
#define LEVEL_LEAD 7

typedef struct level {
    int32_t part;
    size_t depth; /* a heading's level, or an item's indent */
} level;

typedef struct outline {
    level levels[LEVELS_MAX];
    size_t n;
} outline;

typedef struct reader {
    cs_splitter out;
    outline headings;
    outline items; /* the list that is open: each item's parents */
} reader;

/* ---- parts ------------------------------------------------------------------------------------------------------- */

/* Too many parts: join neighbours, and be coarse from here on. */
static void halve(cs_splitter *splitter)
{
    costeer_parts *parts = &splitter->parts;
    size_t n = 0;
    for (size_t i = 0; i < parts->n; i += 2) {
        const size_t last = i + 1 < parts->n ? i + 1 : i;
        parts->items[n] = (costeer_part){parts->items[i].begin, parts->items[last].end, COSTEER_PART_PARAGRAPH, -1, (int32_t)n};
        n++;
    }
    parts->n = n;
    splitter->is_coarse = true;
}

static bool reserve(costeer_parts *parts)
{
    if (parts->n < parts->capacity) {
        return true;
    }
    const size_t capacity = parts->capacity == 0 ? 64 : 2 * parts->capacity;
    costeer_part *items = realloc(parts->items, capacity * sizeof *items);
    if (items == NULL) {
        return false;
    }
    parts->items = items;
    parts->capacity = capacity;
    return true;
}

int32_t cs_splitter_add(cs_splitter *splitter, size_t begin, size_t end, costeer_part_kind kind, int32_t heading)
{
    begin = cs_select_trim_begin(splitter->text, begin, end);
    end = cs_select_trim_end(splitter->text, begin, end);
    if (begin == end) {
        return -1;
    }
    if (splitter->parts.n == COSTEER_PARTS_MAX) {
        halve(splitter);
    }
    if (!reserve(&splitter->parts)) {
        splitter->has_memory = false;
        return -1;
    }
    const int32_t n = (int32_t)splitter->parts.n++;
    splitter->parts.items[n] = splitter->is_coarse ? (costeer_part){begin, end, COSTEER_PART_PARAGRAPH, -1, n}
                                                   : (costeer_part){begin, end, kind, heading, splitter->block};
    return splitter->is_coarse ? -1 : n;
}

/* ---- outlines ---------------------------------------------------------------------------------------------------- */

/* The heading of what is next, once what is as deep as it or deeper is closed. */
static int32_t close_levels(outline *of, size_t depth)
{
    while (of->n > 0 && of->levels[of->n - 1].depth >= depth) {
        of->n--;
    }
    return of->n > 0 ? of->levels[of->n - 1].part : -1;
}

static void open_level(outline *of, int32_t part, size_t depth)
{
    if (part >= 0 && of->n < LEVELS_MAX) {
        of->levels[of->n++] = (level){part, depth};
    }
}

static int32_t current_heading(const reader *r)
{
    const outline *of = r->items.n > 0 ? &r->items : &r->headings;
    return of->n == 0 ? -1 : of->levels[of->n - 1].part;
}

static void add_heading(reader *r, size_t begin, size_t end, costeer_part_kind kind, size_t depth)
{
    r->items.n = 0;
    r->out.block++;
    const int32_t above = close_levels(&r->headings, depth);
    open_level(&r->headings, cs_splitter_add(&r->out, begin, end, kind, above), depth);
}

/* ---- prose ------------------------------------------------------------------------------------------------------- */

static void add_prose(reader *r, size_t begin, size_t end)
{
    const bool is_notes = cs_select_lines_are_notes(r->out.text, begin, end);
    for (size_t at = begin; at < end && r->out.has_memory;) {
        const size_t next = is_notes ? cs_select_line_read(r->out.text, r->out.n, at).next : end;
        cs_splitter_add_sentences(&r->out, at, next < end ? next : end, current_heading(r));
        at = next;
    }
}

/* ---- what a line begins ------------------------------------------------------------------------------------------ */

/* True when a line is more of the one before: indented deeper than it, and nothing of its own. */
static bool continues(const char *text, const cs_select_line *of, size_t indent)
{
    return !cs_select_line_is_blank(of) && of->indent > indent && cs_select_line_item_mark(text, of) == 0;
}

/* What closes a list, so that what follows does not belong to it. */
static void close_list(reader *r)
{
    r->items.n = 0;
    (void)close_levels(&r->headings, LEVEL_LEAD);
}

/* Add a part that what is indented deeper needs as a heading. */
static void add_nested(reader *r, const cs_select_line *of, size_t end, costeer_part_kind kind)
{
    (void)close_levels(&r->items, of->indent);
    open_level(&r->items, cs_splitter_add(&r->out, of->begin, end, kind, current_heading(r)), of->indent);
}

/* An item with its further lines. What is nested deeper needs it. */
static size_t take_item(reader *r, cs_select_line of)
{
    const char *text = r->out.text;
    const size_t indent = of.indent;
    cs_select_line last = of;
    for (cs_select_line next = last; last.next < r->out.n; last = next) {
        next = cs_select_line_read(r->out.text, r->out.n, last.next);
        if (!continues(text, &next, indent)) {
            break;
        }
    }
    add_nested(r, &of, last.end, COSTEER_PART_ITEM);
    return last.next;
}

/* A field, with further lines that are indented; without a value, and with lines that are, it is their heading. */
static size_t take_field(reader *r, cs_select_line of)
{
    const char *text = r->out.text;
    cs_select_line last = of;
    for (cs_select_line next = last; last.next < r->out.n; last = next) {
        next = cs_select_line_read(r->out.text, r->out.n, last.next);
        if (!continues(text, &next, of.indent) || cs_select_line_find_field(text, &next) != 0) {
            break;
        }
    }
    if (of.indent == 0) {
        close_list(r);
    }
    add_nested(r, &of, last.end, COSTEER_PART_FIELD);
    return last.next;
}

static size_t take_fence(reader *r, cs_select_line of)
{
    const char *text = r->out.text;
    cs_select_line last = of;
    while (last.next < r->out.n) {
        last = cs_select_line_read(r->out.text, r->out.n, last.next);
        if (cs_select_line_is_fence(text, &last)) {
            break;
        }
    }
    r->out.block++;
    (void)cs_splitter_add(&r->out, of.begin, last.end, COSTEER_PART_PARAGRAPH, current_heading(r));
    r->out.block++;
    return last.next;
}

/* Rows of a table; the first is the heading of the others where a rule follows it. */
static size_t take_table(reader *r, cs_select_line of)
{
    const char *text = r->out.text;
    r->out.block++;
    int32_t heading = current_heading(r);
    const cs_select_line second = of.next < r->out.n ? cs_select_line_read(r->out.text, r->out.n, of.next) : of;
    if (of.next < r->out.n && cs_select_line_starts_with(text, &second, "|") &&
        strspn(text + second.begin, "|-: ") >= second.end - second.begin) {
        heading = cs_splitter_add(&r->out, of.begin, second.end, COSTEER_PART_HEADING, heading);
        of.next = second.next;
    } else {
        (void)cs_splitter_add(&r->out, of.begin, of.end, COSTEER_PART_RECORD, heading);
    }
    while (of.next < r->out.n && r->out.has_memory) {
        const cs_select_line next = cs_select_line_read(r->out.text, r->out.n, of.next);
        if (!cs_select_line_starts_with(text, &next, "|")) {
            break;
        }
        (void)cs_splitter_add(&r->out, next.begin, next.end, COSTEER_PART_RECORD, heading);
        of = next;
    }
    r->out.block++;
    return of.next;
}

/* The fields with which a mail begins. Behind 0: there is only one, and no mail. */
static size_t take_mail(reader *r, cs_select_line of)
{
    const char *text = r->out.text;
    cs_select_line last = of;
    size_t n = 1;
    for (cs_select_line next = last; last.next < r->out.n; last = next) {
        next = cs_select_line_read(r->out.text, r->out.n, last.next);
        if (cs_select_line_is_blank(&next) ||
            (!cs_select_line_is_mail_field(text, &next) && !continues(text, &next, of.indent))) {
            break;
        }
        n += cs_select_line_is_mail_field(text, &next) ? 1 : 0;
    }
    if (n < 2) {
        return 0;
    }
    add_heading(r, of.begin, last.end, COSTEER_PART_MAIL, LEVEL_MAIL);
    r->out.block++;
    return last.next;
}

/* True when a line leads over to a list: it ends with a colon, and an item or field follows, an empty line between or not. */
static bool leads_to_list(const reader *r, const cs_select_line *of)
{
    const char *text = r->out.text;
    if (of->end - of->begin > LEAD_BYTES_MAX || !cs_select_line_ends_with_colon(text, of)) {
        return false;
    }
    cs_select_line next = *of;
    for (int i = 0; i < 2 && next.next < r->out.n; i++) {
        next = cs_select_line_read(r->out.text, r->out.n, next.next);
        if (!cs_select_line_is_blank(&next)) {
            return cs_select_line_item_mark(text, &next) > 0 || next.indent > of->indent;
        }
    }
    return false;
}

/* ---- blocks ------------------------------------------------------------------------------------------------------ */

/* Take what begins at a line; the result is where it ends, 0: it is prose, or begins nothing. */
static size_t take_form(reader *r, const cs_select_line *of)
{
    const char *text = r->out.text;
    const size_t markdown = cs_select_line_heading_level(text, of);
    size_t next = 0;
    if (markdown > 0) {
        add_heading(r, of->begin, of->end, COSTEER_PART_HEADING, markdown);
        r->out.block++;
        next = of->next;
    } else if (cs_select_line_is_rule(text, of)) {
        r->out.block++;
        r->items.n = 0;
        (void)close_levels(&r->headings, LEVEL_MAIL);
        next = of->next;
    } else if (cs_select_line_is_fence(text, of)) {
        next = take_fence(r, *of);
    } else if (cs_select_line_starts_with(text, of, "|")) {
        next = take_table(r, *of);
    } else if ((text[of->begin] == '{' || text[of->begin] == '[') &&
               cs_splitter_add_json(&r->out, of->begin, of->end, current_heading(r), true)) {
        next = of->next;
    } else if (cs_select_line_is_mail_field(text, of)) {
        next = take_mail(r, *of);
    }
    if (next == 0 && of->indent == 0 && cs_select_line_item_mark(text, of) == 0 && leads_to_list(r, of)) {
        add_heading(r, of->begin, of->end, COSTEER_PART_HEADING, LEVEL_LEAD);
        next = of->next;
    } else if (next == 0 && cs_select_line_item_mark(text, of) > 0) {
        next = take_item(r, *of);
    } else if (next == 0 && cs_select_line_find_field(text, of) != 0) {
        next = take_field(r, *of);
    }
    return next;
}

/* Lines of prose, up to an empty line or one that begins something else behind the end of a sentence. */
static size_t take_prose(reader *r, const cs_select_line *of)
{
    const char *text = r->out.text;
    cs_select_line last = *of;
    for (cs_select_line next = last; last.next < r->out.n; last = next) {
        next = cs_select_line_read(r->out.text, r->out.n, last.next);
        if (cs_select_line_is_blank(&next) || cs_select_line_heading_level(text, &next) > 0 ||
            cs_select_line_is_rule(text, &next) || cs_select_line_is_fence(text, &next) ||
            cs_select_line_item_mark(text, &next) > 0 || cs_select_line_starts_with(text, &next, "|") ||
            leads_to_list(r, &next) ||
            (cs_select_line_find_field(text, &next) != 0 && strchr(".!?:)", text[last.end - 1]) != NULL)) {
            break;
        }
    }
    add_prose(r, of->begin, last.end);
    return last.next;
}

static void read_text(reader *r)
{
    bool is_after_blank = false;
    for (size_t at = 0; at < r->out.n && r->out.has_memory;) {
        const cs_select_line of = cs_select_line_read(r->out.text, r->out.n, at);
        if (cs_select_line_is_blank(&of)) {
            r->out.block++;
            is_after_blank = true;
            at = of.next;
            continue;
        }
        const bool is_list = cs_select_line_item_mark(r->out.text, &of) > 0 || of.indent > 0;
        if (is_after_blank && !is_list && r->headings.n > 0 && r->headings.levels[r->headings.n - 1].depth == LEVEL_LEAD &&
            (int32_t)r->out.parts.n - 1 != r->headings.levels[r->headings.n - 1].part) {
            close_list(r);
        }
        if (is_after_blank && !is_list) {
            r->items.n = 0;
        }
        is_after_blank = false;
        size_t next = take_form(r, &of);
        if (next == 0) {
            close_list(r);
            next = take_prose(r, &of);
        }
        at = next;
    }
}

/* A heading that nothing needs may say something itself ("# I am a vegetarian"). */
static void choose_lone_headings(costeer_parts *parts)
{
    for (size_t i = 0; i < parts->n; i++) {
        const bool is_needed = i + 1 < parts->n && parts->items[i + 1].heading == (int32_t)i; /* its first part follows it */
        if (!costeer_part_is_choosable(&parts->items[i]) && !is_needed) {
            parts->items[i].kind = COSTEER_PART_SENTENCE;
        }
    }
}

costeer_err costeer_parts_split(const char *text, size_t n_bytes, costeer_parts *out, costeer_error *err)
{
    size_t bad;
    out->n = 0;
    if (n_bytes > TEXT_BYTES_MAX) {
        return cs_error_set(err, COSTEER_EINVAL, "select", "the context has %zu bytes; at most %zu can be split", n_bytes,
                            TEXT_BYTES_MAX);
    }
    if (!cs_utf8_check(text, n_bytes, &bad)) {
        return cs_error_set(err, COSTEER_EUTF8, "select", "the context is not UTF-8 at byte %zu; convert it to UTF-8", bad);
    }
    reader r = {.out = {.text = text, .n = n_bytes, .parts = *out, .has_memory = true}};
    if (!cs_splitter_add_json(&r.out, 0, n_bytes, -1, false)) {
        read_text(&r);
    }
    *out = r.out.parts;
    choose_lone_headings(out);
    if (!r.out.has_memory) {
        costeer_parts_dispose(out);
        return cs_error_set(err, COSTEER_ENOMEM, "select", "no memory for the parts of the context");
    }
    return COSTEER_OK;
}

void costeer_parts_dispose(costeer_parts *parts)
{
    free(parts->items);
    *parts = (costeer_parts){.n = 0};
}
