/*
 * Words by rules that need no tables of Unicode's size. What is no word is listed by block: spaces, punctuation, symbols. Lower
 * case is known for the Latin, Greek and Cyrillic letters that texts have; other letters are compared as they are.
 */
#include "eval/tokens.h"

#include "eval/porter.h"
#include "util/utf8.h"

#include <stdlib.h>
#include <string.h>

/* ---- lists ------------------------------------------------------------------------------------------------------- */

bool cs_tokens_push(cs_tokens *tokens, int32_t id)
{
    if (id < 0) {
        return false;
    }
    if (tokens->n == tokens->capacity) {
        size_t capacity = tokens->capacity == 0 ? 64 : 2 * tokens->capacity;
        int32_t *ids = realloc(tokens->ids, capacity * sizeof *ids);
        if (ids == NULL) {
            return false;
        }
        tokens->ids = ids;
        tokens->capacity = capacity;
    }
    tokens->ids[tokens->n++] = id;
    return true;
}

void cs_tokens_dispose(cs_tokens *tokens)
{
    free(tokens->ids);
    memset(tokens, 0, sizeof *tokens);
}

/* ---- characters -------------------------------------------------------------------------------------------------- */

uint32_t cs_character_next(const char *bytes, size_t n, size_t *length)
{
    static const unsigned char first_bits[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    if (cs_utf8_next(bytes, n, length) != CS_UTF8_VALID) {
        return 0xFFFD;
    }
    uint32_t character = (unsigned char)bytes[0] & first_bits[*length];
    for (size_t i = 1; i < *length; i++) {
        character = character << 6 | ((unsigned char)bytes[i] & 0x3FU);
    }
    return character;
}

size_t cs_character_write(uint32_t c, char *out)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t length = c < 0x800 ? 2 : (c < 0x10000 ? 3 : 4);
    for (size_t i = length - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (c & 0x3F));
        c >>= 6;
    }
    out[0] = (char)((length == 2 ? 0xC0 : (length == 3 ? 0xE0 : 0xF0)) | c);
    return length;
}

typedef struct range {
    uint32_t first;
    uint32_t last;
} range;

static bool is_in(const range *ranges, size_t n, uint32_t c)
{
    for (size_t i = 0; i < n; i++) {
        if (c >= ranges[i].first && c <= ranges[i].last) {
            return true;
        }
    }
    return false;
}

#define IS_IN(ranges, c) is_in((ranges), sizeof(ranges) / sizeof((ranges)[0]), (c))

bool cs_character_is_space(uint32_t c)
{
    static const range spaces[] = {{0x09, 0x0D},     {0x1C, 0x20},     {0x85, 0x85},     {0xA0, 0xA0},     {0x1680, 0x1680},
                                   {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}};
    return IS_IN(spaces, c);
}

/* Beyond ASCII everything is part of a word but these: controls, Latin-1's signs, general punctuation, currency, arrows to
 * miscellaneous symbols, punctuation of CJK and of full width, private use, the replacement character, emoji. */
bool cs_character_is_in_word(uint32_t c)
{
    static const range none[] = {{0x80, 0xA9},     {0xAB, 0xB4},     {0xB6, 0xB9},      {0xBB, 0xBF},     {0xD7, 0xD7},
                                 {0xF7, 0xF7},     {0x1680, 0x1680}, {0x2000, 0x206F},  {0x20A0, 0x20CF}, {0x2190, 0x2BFF},
                                 {0x2E00, 0x2E7F}, {0x3000, 0x3004}, {0x3008, 0x3020},  {0x3030, 0x3030}, {0x30FB, 0x30FB},
                                 {0xE000, 0xF8FF}, {0xFE30, 0xFE6F}, {0xFF01, 0xFF0F},  {0xFF1A, 0xFF20}, {0xFF3B, 0xFF40},
                                 {0xFF5B, 0xFF65}, {0xFFE0, 0xFFFF}, {0x1F000, 0x1FAFF}};
    if (c < 0x80) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    }
    return !IS_IN(none, c);
}

/* Written without spaces, so that each one is a word: radicals, kana, ideographs. */
bool cs_character_is_word_alone(uint32_t c)
{
    static const range alone[] = {{0x2E80, 0x2FFF}, {0x3005, 0x3007}, {0x3021, 0x302F}, {0x3031, 0x30FA},  {0x30FC, 0x30FF},
                                  {0x31F0, 0x31FF}, {0x3400, 0x9FFF}, {0xF900, 0xFAFF}, {0x20000, 0x3FFFF}};
    return IS_IN(alone, c);
}

/* Letters in pairs, the capital first. */
static bool is_even_capital(uint32_t c)
{
    static const range even[] = {{0x100, 0x12F}, {0x132, 0x137}, {0x14A, 0x177}, {0x1E00, 0x1E95}, {0x1EA0, 0x1EFF}};
    return c % 2 == 0 && IS_IN(even, c);
}

static bool is_odd_capital(uint32_t c)
{
    return c % 2 == 1 && ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E));
}

/* Never longer in UTF-8 than the capital. */
uint32_t cs_character_lower(uint32_t c)
{
    static const uint32_t single[][2] = {{0x130, 'i'},    {0x178, 0xFF},  {0x386, 0x3AC}, {0x388, 0x3AD}, {0x389, 0x3AE},
                                         {0x38A, 0x3AF},  {0x38C, 0x3CC}, {0x38E, 0x3CD}, {0x38F, 0x3CE}, {0x1E9E, 0xDF},
                                         {0x2126, 0x3C9}, {0x212A, 'k'},  {0x212B, 0xE5}};
    static const range by_32[] = {{'A', 'Z'}, {0xC0, 0xD6}, {0xD8, 0xDE}, {0x391, 0x3A1}, {0x3A3, 0x3AB}, {0x410, 0x42F}};
    if (IS_IN(by_32, c)) {
        return c + 32;
    }
    if (c >= 0x400 && c <= 0x40F) {
        return c + 80;
    }
    if (is_even_capital(c) || is_odd_capital(c)) {
        return c + 1;
    }
    for (size_t i = 0; i < sizeof single / sizeof single[0]; i++) {
        if (single[i][0] == c) {
            return single[i][1];
        }
    }
    return c;
}

/* ---- words ------------------------------------------------------------------------------------------------------- */

/* A word on its way into the table. */
typedef struct word {
    cs_intern *table;
    cs_tokens *out;
    char *bytes; /* room for the whole text */
    size_t n;
    bool stems; /* those of more than three letters */
} word;

static bool end_word(word *w)
{
    if (w->n == 0) {
        return true;
    }
    size_t n = w->stems && w->n > 3 ? cs_porter_stem(w->bytes, w->n) : w->n;
    w->n = 0;
    return cs_tokens_push(w->out, cs_intern_add(w->table, w->bytes, n));
}

/* As str.lower() of Python: two signs beyond ASCII have a lower case with an ASCII letter in it. */
static bool add_rouge(word *w, uint32_t c)
{
    uint32_t lower = (c >= 'A' && c <= 'Z') || c == 0x212A ? cs_character_lower(c) : c;
    if (c == 0x130) { /* i and a combining dot, which ends the word */
        w->bytes[w->n++] = 'i';
        return end_word(w);
    }
    if ((lower >= 'a' && lower <= 'z') || (lower >= '0' && lower <= '9')) {
        w->bytes[w->n++] = (char)lower;
        return true;
    }
    return end_word(w);
}

static bool add_word(word *w, uint32_t c)
{
    if (!cs_character_is_in_word(c)) {
        return end_word(w);
    }
    bool alone = cs_character_is_word_alone(c);
    if (alone && !end_word(w)) {
        return false;
    }
    w->n += cs_character_write(cs_character_lower(c), w->bytes + w->n);
    return !alone || end_word(w);
}

static bool add_all(cs_intern *table, const char *text, bool stems, bool (*add)(word *, uint32_t), cs_tokens *out)
{
    size_t n = strlen(text);
    word w = {.table = table, .out = out, .bytes = malloc(n + 1), .stems = stems};
    bool ok = w.bytes != NULL;
    size_t length;
    for (size_t i = 0; ok && i < n; i += length) {
        ok = add(&w, cs_character_next(text + i, n - i, &length));
    }
    ok = ok && end_word(&w);
    free(w.bytes);
    return ok;
}

bool cs_tokens_rouge(cs_intern *table, const char *text, cs_tokens *out)
{
    return add_all(table, text, true, add_rouge, out);
}

bool cs_tokens_words(cs_intern *table, const char *text, cs_tokens *out)
{
    return add_all(table, text, false, add_word, out);
}
