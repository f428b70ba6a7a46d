/*
 * A text as parts, by its form alone: blocks between empty lines, and in them headings, list items, fields, rows of tables, JSON
 * and prose. It must never lose or change a byte, and never fail on a form that it does not know: what is nothing else is prose.
 *
 * What a part is not understood without (the heading above it, the item that it is nested in, a mail's header) is its heading,
 * and that may have one too.
 */
#include "core/model_internal.h"
#include "core/select_internal.h"
#include "util/error.h"
#include "util/utf8.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES_MAX ((size_t)64 << 20)

/* Longest line that can be the heading of the list under it, and longest key of a field, in bytes. */
#define LEAD_BYTES_MAX 120
#define KEY_BYTES_MAX  48

/* Prose is wrapped at this many characters or more. */
#define WRAP_MIN 40

/* How deep headings and nested items can be. */
#define LEVELS_MAX 16

/* Levels: Markdown's headings have 1 to 6; any of them ends a mail. */
#define LEVEL_MAIL 6
#define LEVEL_LEAD 7

typedef struct line {
    size_t begin; /* without the white space before it */
    size_t end;   /* without that behind it */
    size_t next;  /* where the next line begins */
    size_t indent;
} line;

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

/* ---- characters -------------------------------------------------------------------------------------------------- */

uint32_t cs_select_character(const char *text, size_t at, size_t end, size_t *length)
{
    const unsigned char *c = (const unsigned char *)text + at;
    *length = c[0] < 0x80 ? 1 : c[0] < 0xE0 ? 2 : c[0] < 0xF0 ? 3 : 4;
    if (*length > end - at) { /* not with UTF-8 */
        *length = 1;
        return c[0];
    }
    switch (*length) {
    case 1:
        return c[0];
    case 2:
        return (c[0] & 0x1FU) << 6 | (c[1] & 0x3FU);
    case 3:
        return (c[0] & 0x0FU) << 12 | (c[1] & 0x3FU) << 6 | (c[2] & 0x3FU);
    default:
        return (c[0] & 0x07U) << 18 | (c[1] & 0x3FU) << 12 | (c[2] & 0x3FU) << 6 | (c[3] & 0x3FU);
    }
}

bool cs_select_is_space(uint32_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r') || c == 0xA0 || c == 0x3000;
}

bool cs_select_is_unspaced(uint32_t c)
{
    return (c >= 0x0E00 && c <= 0x0EFF) || (c >= 0x1000 && c <= 0x109F) || (c >= 0x1780 && c <= 0x17FF) ||
           (c >= 0x3040 && c <= 0x30FF) || (c >= 0x3400 && c <= 0x9FFF) || (c >= 0xF900 && c <= 0xFAFF) ||
           (c >= 0x20000 && c <= 0x3FFFF);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* ---- parts ------------------------------------------------------------------------------------------------------- */

/* Too many parts: join neighbours, and be coarse from here on. */
static void halve(cs_splitter *splitter)
{
    costeer_parts *parts = splitter->parts;
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
    if (items != NULL) {
        parts->items = items;
        parts->capacity = capacity;
    }
    return items != NULL;
}

static size_t trim_begin(const char *text, size_t begin, size_t end)
{
    size_t length;
    while (begin < end && cs_select_is_space(cs_select_character(text, begin, end, &length))) {
        begin += length;
    }
    return begin;
}

static size_t trim_end(const char *text, size_t begin, size_t end)
{
    while (end > begin) {
        size_t at = end - 1;
        size_t length;
        while (at > begin && ((unsigned char)text[at] & 0xC0) == 0x80) {
            at--;
        }
        if (!cs_select_is_space(cs_select_character(text, at, end, &length))) {
            break;
        }
        end = at;
    }
    return end;
}

int32_t cs_splitter_add(cs_splitter *splitter, size_t begin, size_t end, costeer_part_kind kind, int32_t heading)
{
    begin = trim_begin(splitter->text, begin, end);
    end = trim_end(splitter->text, begin, end);
    if (begin == end) {
        return -1;
    }
    if (splitter->parts->n == COSTEER_PARTS_MAX) {
        halve(splitter);
    }
    if (!reserve(splitter->parts)) {
        splitter->has_memory = false;
        return -1;
    }
    const int32_t n = (int32_t)splitter->parts->n++;
    splitter->parts->items[n] = splitter->is_coarse ? (costeer_part){begin, end, COSTEER_PART_PARAGRAPH, -1, n}
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

/* ---- lines ------------------------------------------------------------------------------------------------------- */

static line read_line(const reader *r, size_t at)
{
    const char *text = r->out.text;
    const char *newline = memchr(text + at, '\n', r->out.n - at);
    line of = {.next = newline == NULL ? r->out.n : (size_t)(newline - text) + 1};
    of.begin = trim_begin(text, at, of.next);
    of.end = trim_end(text, of.begin, of.next);
    of.indent = of.begin - at;
    return of;
}

static bool is_blank(const line *of)
{
    return of->begin == of->end;
}

/* True for a line of rules ("---", "***", "===") or nothing but marks. */
static bool is_rule(const char *text, const line *of)
{
    return of->end - of->begin >= 3 && strspn(text + of->begin, "-*_=~ ") >= of->end - of->begin;
}

static bool starts_with(const char *text, const line *of, const char *word)
{
    const size_t n = strlen(word);
    return of->end - of->begin >= n && memcmp(text + of->begin, word, n) == 0;
}

static bool is_fence(const char *text, const line *of)
{
    return starts_with(text, of, "```") || starts_with(text, of, "~~~");
}

/* Markdown's "#" to "######"; 0: no heading. */
static size_t heading_level(const char *text, const line *of)
{
    size_t n = 0;
    while (of->begin + n < of->end && text[of->begin + n] == '#') {
        n++;
    }
    return n >= 1 && n <= 6 && of->begin + n < of->end && text[of->begin + n] == ' ' ? n : 0;
}

/* Bytes of an item's mark and the white space behind it ("- ", "3. ", "(a) "), 0: no item. */
static size_t item_mark(const char *text, const line *of)
{
    static const char *const bullets[] = {"-", "*", "+", "\xE2\x80\xA2", "\xE2\x80\x93", "\xE2\x80\x94", "\xC2\xB7"};
    size_t n = 0;
    for (size_t i = 0; i < sizeof bullets / sizeof bullets[0] && n == 0; i++) {
        n = starts_with(text, of, bullets[i]) ? strlen(bullets[i]) : 0;
    }
    if (n == 0) {
        size_t i = of->begin + (starts_with(text, of, "(") ? 1 : 0);
        const size_t from = i;
        while (i < of->end && i - from < 3 && is_digit(text[i])) {
            i++;
        }
        if (i == from && i < of->end && text[i] >= 'a' && text[i] <= 'z') {
            i++;
        }
        n = i > from && i < of->end && (text[i] == ')' || (text[i] == '.' && is_digit(text[from]))) ? i + 1 - of->begin : 0;
    }
    size_t length;
    return n > 0 && of->begin + n < of->end && cs_select_is_space(cs_select_character(text, of->begin + n, of->end, &length))
               ? n + length
               : 0;
}

/* Where the value of "key: value" or "key = value" begins; of->end: there is a key and no value; 0: no field. */
static size_t find_field(const char *text, const line *of)
{
    size_t n_words = 1;
    size_t length;
    for (size_t at = of->begin; at < of->end && at - of->begin <= KEY_BYTES_MAX; at += length) {
        const uint32_t c = cs_select_character(text, at, of->end, &length);
        const bool is_wide = c == 0xFF1A; /* ： */
        if (c == ':' || is_wide || (c == '=' && at > of->begin && text[at - 1] == ' ')) {
            const size_t behind = at + length;
            const bool is_apart = behind == of->end || is_wide || text[behind] == ' ' || text[behind] == '\t';
            return at > of->begin && is_apart ? trim_begin(text, behind, of->end) : 0;
        }
        n_words += c == ' ' ? 1 : 0;
        if (n_words > 4 || c == '.' || c == '!' || c == '?' || c == ',' || c == ';' || c == 0x3002 || c == 0xFF0C) {
            return 0;
        }
    }
    return 0;
}

/* True for "From: …", "Subject: …" and their like, with which a mail begins. */
static bool is_mail_field(const char *text, const line *of)
{
    static const char *const names[] = {"From:",
                                        "To:",
                                        "Cc:",
                                        "Date:",
                                        "Sent:",
                                        "Subject:",
                                        "Von:",
                                        "An:",
                                        "Betreff:",
                                        "Datum:",
                                        "Gesendet:",
                                        "De:",
                                        "Objet:",
                                        "Reply-To:",
                                        "Bcc:",
                                        "Message-ID:",
                                        "MIME-Version:",
                                        "Content-Type:",
                                        "\xE5\x8F\x91\xE4\xBB\xB6\xE4\xBA\xBA",
                                        "\xE6\x94\xB6\xE4\xBB\xB6\xE4\xBA\xBA",
                                        "\xE4\xB8\xBB\xE9\xA2\x98"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (starts_with(text, of, names[i])) {
            return true;
        }
    }
    return false;
}

static bool ends_with_colon(const char *text, const line *of)
{
    return text[of->end - 1] == ':' || (of->end - of->begin >= 3 && memcmp(text + of->end - 3, "\xEF\xBC\x9A", 3) == 0);
}

/* ---- prose ------------------------------------------------------------------------------------------------------- */

static size_t count_characters(const char *text, size_t begin, size_t end)
{
    size_t n = 0;
    for (size_t at = begin; at < end; at++) {
        n += ((unsigned char)text[at] & 0xC0) != 0x80 ? 1 : 0;
    }
    return n;
}

/* Characters of a line's first word: what would have had to fit into the line before. */
static size_t first_word(const char *text, const line *of)
{
    size_t length;
    size_t n = 0;
    for (size_t at = of->begin; at < of->end; at += length) {
        const uint32_t c = cs_select_character(text, at, of->end, &length);
        if (cs_select_is_space(c) || (n > 0 && cs_select_is_unspaced(c))) {
            break;
        }
        n++;
    }
    return n;
}

/*
 * True when the lines of text[begin, end) are notes, one a line, and not prose that was wrapped: they are short, or at half of
 * the line ends or more the next line's first word would have fitted into the longest line's width.
 */
static bool is_ragged(const reader *r, size_t begin, size_t end)
{
    const char *text = r->out.text;
    size_t width = 0;
    for (size_t at = begin; at < end;) {
        const line of = read_line(r, at);
        const size_t n = count_characters(text, of.begin, of.end);
        width = n > width ? n : width;
        at = of.next;
    }
    size_t n_ends = 0;
    size_t n_early = 0;
    for (line before = read_line(r, begin); before.next < end;) {
        const line of = read_line(r, before.next);
        n_ends++;
        n_early += count_characters(text, before.begin, before.end) + 1 + first_word(text, &of) <= width ? 1 : 0;
        before = of;
    }
    return width < WRAP_MIN || 2 * n_early >= n_ends;
}

static void add_prose(reader *r, size_t begin, size_t end)
{
    const bool is_notes = is_ragged(r, begin, end);
    for (size_t at = begin; at < end && r->out.has_memory;) {
        const size_t next = is_notes ? read_line(r, at).next : end;
        cs_splitter_add_sentences(&r->out, at, next < end ? next : end, current_heading(r));
        at = next;
    }
}

/* ---- what a line begins ------------------------------------------------------------------------------------------ */

/* True when a line is more of the one before: indented deeper than it, and nothing of its own. */
static bool continues(const char *text, const line *of, size_t indent)
{
    return !is_blank(of) && of->indent > indent && item_mark(text, of) == 0;
}

/* What closes a list, so that what follows does not belong to it. */
static void close_list(reader *r)
{
    r->items.n = 0;
    (void)close_levels(&r->headings, LEVEL_LEAD);
}

/* Add a part that what is indented deeper needs as a heading. */
static void add_nested(reader *r, const line *of, size_t end, costeer_part_kind kind)
{
    (void)close_levels(&r->items, of->indent);
    open_level(&r->items, cs_splitter_add(&r->out, of->begin, end, kind, current_heading(r)), of->indent);
}

/* An item with its further lines. What is nested deeper needs it. */
static size_t take_item(reader *r, line of)
{
    const char *text = r->out.text;
    const size_t indent = of.indent;
    line last = of;
    for (line next = last; last.next < r->out.n; last = next) {
        next = read_line(r, last.next);
        if (!continues(text, &next, indent)) {
            break;
        }
    }
    add_nested(r, &of, last.end, COSTEER_PART_ITEM);
    return last.next;
}

/* A field, with further lines that are indented; without a value, and with lines that are, it is their heading. */
static size_t take_field(reader *r, line of)
{
    const char *text = r->out.text;
    line last = of;
    for (line next = last; last.next < r->out.n; last = next) {
        next = read_line(r, last.next);
        if (!continues(text, &next, of.indent) || find_field(text, &next) != 0) {
            break;
        }
    }
    if (of.indent == 0) {
        close_list(r);
    }
    add_nested(r, &of, last.end, COSTEER_PART_FIELD);
    return last.next;
}

static size_t take_fence(reader *r, line of)
{
    const char *text = r->out.text;
    line last = of;
    while (last.next < r->out.n) {
        last = read_line(r, last.next);
        if (is_fence(text, &last)) {
            break;
        }
    }
    r->out.block++;
    (void)cs_splitter_add(&r->out, of.begin, last.end, COSTEER_PART_PARAGRAPH, current_heading(r));
    r->out.block++;
    return last.next;
}

/* Rows of a table; the first is the heading of the others where a rule follows it. */
static size_t take_table(reader *r, line of)
{
    const char *text = r->out.text;
    r->out.block++;
    int32_t heading = current_heading(r);
    const line second = of.next < r->out.n ? read_line(r, of.next) : of;
    if (of.next < r->out.n && starts_with(text, &second, "|") &&
        strspn(text + second.begin, "|-: ") >= second.end - second.begin) {
        heading = cs_splitter_add(&r->out, of.begin, second.end, COSTEER_PART_HEADING, heading);
        of.next = second.next;
    } else {
        (void)cs_splitter_add(&r->out, of.begin, of.end, COSTEER_PART_RECORD, heading);
    }
    while (of.next < r->out.n && r->out.has_memory) {
        const line next = read_line(r, of.next);
        if (!starts_with(text, &next, "|")) {
            break;
        }
        (void)cs_splitter_add(&r->out, next.begin, next.end, COSTEER_PART_RECORD, heading);
        of = next;
    }
    r->out.block++;
    return of.next;
}

/* The fields with which a mail begins. Behind 0: there is only one, and no mail. */
static size_t take_mail(reader *r, line of)
{
    const char *text = r->out.text;
    line last = of;
    size_t n = 1;
    for (line next = last; last.next < r->out.n; last = next) {
        next = read_line(r, last.next);
        if (is_blank(&next) || (!is_mail_field(text, &next) && !continues(text, &next, of.indent))) {
            break;
        }
        n += is_mail_field(text, &next) ? 1 : 0;
    }
    if (n < 2) {
        return 0;
    }
    add_heading(r, of.begin, last.end, COSTEER_PART_MAIL, LEVEL_MAIL);
    r->out.block++;
    return last.next;
}

/* True when a line leads over to a list: it ends with a colon, and an item or field follows, an empty line between or not. */
static bool leads_to_list(const reader *r, const line *of)
{
    const char *text = r->out.text;
    if (of->end - of->begin > LEAD_BYTES_MAX || !ends_with_colon(text, of)) {
        return false;
    }
    line next = *of;
    for (int i = 0; i < 2 && next.next < r->out.n; i++) {
        next = read_line(r, next.next);
        if (!is_blank(&next)) {
            return item_mark(text, &next) > 0 || next.indent > of->indent;
        }
    }
    return false;
}

/* ---- blocks ------------------------------------------------------------------------------------------------------ */

/* Take what begins at a line; the result is where it ends, 0: it is prose, or begins nothing. */
static size_t take_form(reader *r, const line *of)
{
    const char *text = r->out.text;
    const size_t markdown = heading_level(text, of);
    size_t next = 0;
    if (markdown > 0) {
        add_heading(r, of->begin, of->end, COSTEER_PART_HEADING, markdown);
        r->out.block++;
        next = of->next;
    } else if (is_rule(text, of)) {
        r->out.block++;
        r->items.n = 0;
        (void)close_levels(&r->headings, LEVEL_MAIL);
        next = of->next;
    } else if (is_fence(text, of)) {
        next = take_fence(r, *of);
    } else if (starts_with(text, of, "|")) {
        next = take_table(r, *of);
    } else if ((text[of->begin] == '{' || text[of->begin] == '[') &&
               cs_splitter_add_json(&r->out, of->begin, of->end, current_heading(r), true)) {
        next = of->next;
    } else if (is_mail_field(text, of)) {
        next = take_mail(r, *of);
    }
    if (next == 0 && of->indent == 0 && item_mark(text, of) == 0 && leads_to_list(r, of)) {
        add_heading(r, of->begin, of->end, COSTEER_PART_HEADING, LEVEL_LEAD);
        next = of->next;
    } else if (next == 0 && item_mark(text, of) > 0) {
        next = take_item(r, *of);
    } else if (next == 0 && find_field(text, of) != 0) {
        next = take_field(r, *of);
    }
    return next;
}

/* Lines of prose, up to an empty line or one that begins something else behind the end of a sentence. */
static size_t take_prose(reader *r, const line *of)
{
    const char *text = r->out.text;
    line last = *of;
    for (line next = last; last.next < r->out.n; last = next) {
        next = read_line(r, last.next);
        if (is_blank(&next) || heading_level(text, &next) > 0 || is_rule(text, &next) || is_fence(text, &next) ||
            item_mark(text, &next) > 0 || starts_with(text, &next, "|") || leads_to_list(r, &next) ||
            (find_field(text, &next) != 0 && strchr(".!?:)", text[last.end - 1]) != NULL)) {
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
        const line of = read_line(r, at);
        if (is_blank(&of)) {
            r->out.block++;
            is_after_blank = true;
            at = of.next;
            continue;
        }
        const bool is_list = item_mark(r->out.text, &of) > 0 || of.indent > 0;
        if (is_after_blank && !is_list && r->headings.n > 0 && r->headings.levels[r->headings.n - 1].depth == LEVEL_LEAD &&
            (int32_t)r->out.parts->n - 1 != r->headings.levels[r->headings.n - 1].part) {
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
    reader r = {.out = {.text = text, .n = n_bytes, .parts = out, .has_memory = true}};
    if (!cs_splitter_add_json(&r.out, 0, n_bytes, -1, false)) {
        read_text(&r);
    }
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
