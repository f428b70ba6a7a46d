/*
 * What a line of notes looks like: an item, a field, a heading, a rule; and whether some lines are notes or wrapped prose. A line
 * is judged by itself, and a form that is not known is none of these.
 */
#include "core/select_lines.h"

#include "core/select_internal.h"

#include <string.h>

/* Longest key of a field, in bytes. */
#define KEY_BYTES_MAX 48

/* Prose is wrapped at this many characters or more. */
#define WRAP_MIN 40

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

size_t cs_select_trim_begin(const char *text, size_t begin, size_t end)
{
    size_t length;
    while (begin < end && cs_select_is_space(cs_select_character(text, begin, end, &length))) {
        begin += length;
    }
    return begin;
}

size_t cs_select_trim_end(const char *text, size_t begin, size_t end)
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

/* ---- lines ------------------------------------------------------------------------------------------------------- */

cs_select_line cs_select_line_read(const char *text, size_t n, size_t at)
{
    const char *newline = memchr(text + at, '\n', n - at);
    cs_select_line of = {.next = newline == NULL ? n : (size_t)(newline - text) + 1};
    of.begin = cs_select_trim_begin(text, at, of.next);
    of.end = cs_select_trim_end(text, of.begin, of.next);
    of.indent = of.begin - at;
    return of;
}

bool cs_select_line_is_blank(const cs_select_line *of)
{
    return of->begin == of->end;
}

/* True for a cs_select_line of rules ("---", "***", "===") or nothing but marks. */
bool cs_select_line_is_rule(const char *text, const cs_select_line *of)
{
    return of->end - of->begin >= 3 && strspn(text + of->begin, "-*_=~ ") >= of->end - of->begin;
}

bool cs_select_line_starts_with(const char *text, const cs_select_line *of, const char *word)
{
    const size_t n = strlen(word);
    return of->end - of->begin >= n && memcmp(text + of->begin, word, n) == 0;
}

bool cs_select_line_is_fence(const char *text, const cs_select_line *of)
{
    return cs_select_line_starts_with(text, of, "```") || cs_select_line_starts_with(text, of, "~~~");
}

/* Markdown's "#" to "######"; 0: no heading. */
size_t cs_select_line_heading_level(const char *text, const cs_select_line *of)
{
    size_t n = 0;
    while (of->begin + n < of->end && text[of->begin + n] == '#') {
        n++;
    }
    return n >= 1 && n <= 6 && of->begin + n < of->end && text[of->begin + n] == ' ' ? n : 0;
}

/* Bytes of an item's mark and the white space behind it ("- ", "3. ", "(a) "), 0: no item. */
size_t cs_select_line_item_mark(const char *text, const cs_select_line *of)
{
    static const char *const bullets[] = {"-", "*", "+", "\xE2\x80\xA2", "\xE2\x80\x93", "\xE2\x80\x94", "\xC2\xB7"};
    size_t n = 0;
    for (size_t i = 0; i < sizeof bullets / sizeof bullets[0] && n == 0; i++) {
        n = cs_select_line_starts_with(text, of, bullets[i]) ? strlen(bullets[i]) : 0;
    }
    if (n == 0) {
        size_t i = of->begin + (cs_select_line_starts_with(text, of, "(") ? 1 : 0);
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
size_t cs_select_line_find_field(const char *text, const cs_select_line *of)
{
    size_t n_words = 1;
    size_t length;
    for (size_t at = of->begin; at < of->end && at - of->begin <= KEY_BYTES_MAX; at += length) {
        const uint32_t c = cs_select_character(text, at, of->end, &length);
        const bool is_wide = c == 0xFF1A; /* ： */
        if (c == ':' || is_wide || (c == '=' && at > of->begin && text[at - 1] == ' ')) {
            const size_t behind = at + length;
            const bool is_apart = behind == of->end || is_wide || text[behind] == ' ' || text[behind] == '\t';
            return at > of->begin && is_apart ? cs_select_trim_begin(text, behind, of->end) : 0;
        }
        n_words += c == ' ' ? 1 : 0;
        if (n_words > 4 || c == '.' || c == '!' || c == '?' || c == ',' || c == ';' || c == 0x3002 || c == 0xFF0C) {
            return 0;
        }
    }
    return 0;
}

/* True for "From: …", "Subject: …" and their like, with which a mail begins. */
bool cs_select_line_is_mail_field(const char *text, const cs_select_line *of)
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
        if (cs_select_line_starts_with(text, of, names[i])) {
            return true;
        }
    }
    return false;
}

bool cs_select_line_ends_with_colon(const char *text, const cs_select_line *of)
{
    return text[of->end - 1] == ':' || (of->end - of->begin >= 3 && memcmp(text + of->end - 3, "\xEF\xBC\x9A", 3) == 0);
}

static size_t count_characters(const char *text, size_t begin, size_t end)
{
    size_t n = 0;
    for (size_t at = begin; at < end; at++) {
        n += ((unsigned char)text[at] & 0xC0) != 0x80 ? 1 : 0;
    }
    return n;
}

/* Characters of a line's first word: what would have had to fit into the cs_select_line before. */
static size_t first_word(const char *text, const cs_select_line *of)
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
bool cs_select_lines_are_notes(const char *text, size_t begin, size_t end)
{
    size_t width = 0;
    for (size_t at = begin; at < end;) {
        const cs_select_line of = cs_select_line_read(text, end, at);
        const size_t n = count_characters(text, of.begin, of.end);
        width = n > width ? n : width;
        at = of.next;
    }
    size_t n_ends = 0;
    size_t n_early = 0;
    for (cs_select_line before = cs_select_line_read(text, end, begin); before.next < end;) {
        const cs_select_line of = cs_select_line_read(text, end, before.next);
        n_ends++;
        n_early += count_characters(text, before.begin, before.end) + 1 + first_word(text, &of) <= width ? 1 : 0;
        before = of;
    }
    return width < WRAP_MIN || 2 * n_early >= n_ends;
}
