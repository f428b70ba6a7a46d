/*
 * Sentences of prose. A sentence ends with a full stop, a question or exclamation mark, closing quotes included, where white
 * space follows; those of Chinese and Japanese need none. A full stop after an initial, an abbreviation or an ordinal number
 * ("Dr.", "J.", "am 3. Mai"), or before a small letter, ends none. To miss an end costs little: two sentences are one part.
 */
#include "core/select_internal.h"

#include <string.h>

/* Longest abbreviation below, in bytes. */
#define ABBREVIATION_MAX 6

static const char *const abbreviations[] = {
    "mr",  "mrs", "ms", "dr", "prof", "st",     "vs",  "etc", "e.g",  "i.e", "no",  "nr",  "bzw",  "z.b", "d.h", "ca", "inc",
    "ltd", "co",  "jr", "sr", "fig",  "approx", "apt", "ave", "dept", "str", "tel", "mme", "mlle", "sra", "u.a", "hr", "fr",
};

static bool is_full_width_end(uint32_t c)
{
    return c == 0x3002 || c == 0xFF01 || c == 0xFF1F || c == 0xFF61; /* 。！？｡ */
}

/* Ends that white space must follow: . ! ? … and those of Arabic and Devanagari. */
static bool is_spaced_end(uint32_t c)
{
    return c == '.' || c == '!' || c == '?' || c == 0x2026 || c == 0x061F || c == 0x06D4 || c == 0x0964;
}

static bool is_closing(uint32_t c)
{
    return c == '"' || c == '\'' || c == ')' || c == ']' || c == '*' || c == '_' || c == 0x2019 || c == 0x201D || c == 0x201C ||
           c == 0xBB || c == 0x300D || c == 0x300F || c == 0xFF09 || c == 0x3011 || c == 0x300B;
}

static bool is_lower(uint32_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 0xDF && c <= 0xFF && c != 0xF7) || (c >= 0x3B1 && c <= 0x3C9) ||
           (c >= 0x430 && c <= 0x45F);
}

static bool is_word_byte(char c)
{
    return (unsigned char)c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.';
}

/* True when the full stop at text[at] belongs to the word before it. */
static bool is_abbreviation(const char *text, size_t begin, size_t at)
{
    size_t from = at;
    while (from > begin && at - from < ABBREVIATION_MAX && is_word_byte(text[from - 1])) {
        from--;
    }
    const size_t n = at - from;
    if (n == 0 || (from > begin && is_word_byte(text[from - 1]))) {
        return false;
    }
    if (n <= 2 && strspn(text + from, "0123456789") >= n) {
        return true; /* an ordinal number */
    }
    if (n == 1 && (unsigned char)text[from] < 0x80) {
        return text[from] != 'I'; /* an initial; "…, not I." is an end */
    }
    char word[ABBREVIATION_MAX + 1] = "";
    for (size_t i = 0; i < n; i++) {
        word[i] = (char)(text[from + i] >= 'A' && text[from + i] <= 'Z' ? text[from + i] + 32 : text[from + i]);
    }
    for (size_t i = 0; i < sizeof abbreviations / sizeof abbreviations[0]; i++) {
        if (strcmp(word, abbreviations[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* Skip further marks and closing quotes behind an end. */
static size_t skip_closing(const char *text, size_t at, size_t end)
{
    size_t length;
    while (at < end) {
        const uint32_t c = cs_select_character(text, at, end, &length);
        if (!is_closing(c) && !is_spaced_end(c) && !is_full_width_end(c)) {
            break;
        }
        at += length;
    }
    return at;
}

/* True when what stands at text[at] can follow a sentence that ends with a mark of spaced scripts. */
static bool can_follow(const char *text, size_t at, size_t end)
{
    size_t length;
    const size_t from = at;
    while (at < end && cs_select_is_space(cs_select_character(text, at, end, &length))) {
        at += length;
    }
    return at == end || (at > from && !is_lower(cs_select_character(text, at, end, &length)));
}

void cs_splitter_add_sentences(cs_splitter *splitter, size_t begin, size_t end, int32_t heading)
{
    const char *text = splitter->text;
    size_t from = begin;
    size_t at = begin;
    while (at < end && splitter->has_memory) {
        size_t length;
        const uint32_t c = cs_select_character(text, at, end, &length);
        const bool is_full_width = is_full_width_end(c);
        if (!is_full_width && (!is_spaced_end(c) || (c == '.' && is_abbreviation(text, from, at)))) {
            at += length;
            continue;
        }
        at = skip_closing(text, at + length, end);
        if (is_full_width || can_follow(text, at, end)) {
            (void)cs_splitter_add(splitter, from, at, COSTEER_PART_SENTENCE, heading);
            from = at;
        }
    }
    (void)cs_splitter_add(splitter, from, end, COSTEER_PART_SENTENCE, heading);
}
