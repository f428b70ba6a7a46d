/*
 * Tokenisation 13a as sacreBLEU defines it (sacrebleu/tokenizers/tokenizer_13a.py and tokenizer_re.py), after mteval-v13a.pl: a
 * few replacements, then four regular expressions one after the other, each over the whole line. They are written out as passes
 * over bytes: all they look for is ASCII, and a byte of a longer character is, as the whole character, no digit.
 */
#include "eval/tokens.h"
#include "util/buffer.h"
#include "util/utf8.h"

#include <string.h>

typedef bool (*pass_fn)(const char *in, size_t n, cs_buffer *out);

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_point(char c)
{
    return c == '.' || c == ',';
}

/* UTF-8, without white space at the end. */
static bool clean(const char *in, size_t n, cs_buffer *out)
{
    size_t length;
    size_t n_kept = 0;
    for (size_t i = 0; i < n; i += length) {
        uint32_t c = cs_character_next(in + i, n - i, &length);
        bool ok = c == 0xFFFD ? cs_buffer_append(out, CS_UTF8_REPLACEMENT, CS_UTF8_REPLACEMENT_BYTES)
                              : cs_buffer_append(out, in + i, length);
        if (!ok) {
            return false;
        }
        n_kept = cs_character_is_space(c) ? n_kept : out->n_bytes;
    }
    out->n_bytes = n_kept;
    return true;
}

static bool replace_all(const char *in, size_t n, const char *from, const char *to, cs_buffer *out)
{
    size_t n_from = strlen(from);
    for (size_t i = 0; i < n;) {
        bool here = n - i >= n_from && memcmp(in + i, from, n_from) == 0;
        if (!cs_buffer_append(out, here ? to : in + i, here ? strlen(to) : 1)) {
            return false;
        }
        i += here ? n_from : 1;
    }
    return true;
}

/* ([\{-\~\[-\` -\&\(-\+\:-\@\/]) becomes " \1 ", with a space around the line. */
static bool separate_signs(const char *in, size_t n, cs_buffer *out)
{
    bool ok = cs_buffer_append(out, " ", 1);
    for (size_t i = 0; ok && i < n; i++) {
        char c = in[i];
        bool sign = (c >= '{' && c <= '~') || (c >= '[' && c <= '`') || (c >= ' ' && c <= '&') || (c >= '(' && c <= '+') ||
                    (c >= ':' && c <= '@') || c == '/';
        char spaced[] = {' ', c, ' '};
        ok = cs_buffer_append(out, sign ? spaced : &c, sign ? sizeof spaced : 1);
    }
    return ok && cs_buffer_append(out, " ", 1);
}

/* ([^0-9])([\.,]) becomes "\1 \2 ". */
static bool separate_behind_text(const char *in, size_t n, cs_buffer *out)
{
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        ok = cs_buffer_append(out, in + i, 1);
        if (ok && !is_digit(in[i]) && i + 1 < n && is_point(in[i + 1])) {
            char spaced[] = {' ', in[++i], ' '};
            ok = cs_buffer_append(out, spaced, sizeof spaced);
        }
    }
    return ok;
}

/* ([\.,])([^0-9]) becomes " \1 \2". */
static bool separate_before_text(const char *in, size_t n, cs_buffer *out)
{
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        if (is_point(in[i]) && i + 1 < n && !is_digit(in[i + 1])) {
            char spaced[] = {' ', in[i], ' ', in[i + 1]};
            ok = cs_buffer_append(out, spaced, sizeof spaced);
            i++;
        } else {
            ok = cs_buffer_append(out, in + i, 1);
        }
    }
    return ok;
}

/* ([0-9])(-) becomes "\1 \2 ". */
static bool separate_dash(const char *in, size_t n, cs_buffer *out)
{
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        bool behind_digit = in[i] == '-' && i > 0 && is_digit(in[i - 1]);
        ok = behind_digit ? cs_buffer_append(out, " - ", 3) : cs_buffer_append(out, in + i, 1);
    }
    return ok;
}

/* Run a pass, or a replacement where there is none, from one buffer to the other and back. */
static bool run(cs_buffer *text, cs_buffer *spare, pass_fn pass, const char *const replacement[2])
{
    spare->n_bytes = 0;
    bool ok = pass != NULL ? pass(text->bytes, text->n_bytes, spare)
                           : replace_all(text->bytes, text->n_bytes, replacement[0], replacement[1], spare);
    cs_buffer swapped = *text;
    *text = *spare;
    *spare = swapped;
    return ok;
}

static bool split(cs_intern *table, const cs_buffer *text, cs_tokens *out)
{
    size_t begin = 0;
    size_t length;
    for (size_t i = 0; i < text->n_bytes; i += length) {
        if (!cs_character_is_space(cs_character_next(text->bytes + i, text->n_bytes - i, &length))) {
            continue;
        }
        if (i > begin && !cs_tokens_push(out, cs_intern_add(table, text->bytes + begin, i - begin))) {
            return false;
        }
        begin = i + length;
    }
    return text->n_bytes == begin || cs_tokens_push(out, cs_intern_add(table, text->bytes + begin, text->n_bytes - begin));
}

bool cs_tokens_13a(cs_intern *table, const char *text, cs_tokens *out)
{
    static const char *const replacements[][2] = {{"<skipped>", ""}, {"-\n", ""},   {"\n", " "},  {"&quot;", "\""},
                                                  {"&amp;", "&"},    {"&lt;", "<"}, {"&gt;", ">"}};
    static const pass_fn passes[] = {separate_signs, separate_behind_text, separate_before_text, separate_dash};
    cs_buffer line = {.cap = SIZE_MAX / 4};
    cs_buffer spare = line;
    bool ok = clean(text, strlen(text), &line);
    for (size_t i = 0; ok && i < sizeof replacements / sizeof replacements[0]; i++) {
        ok = run(&line, &spare, NULL, replacements[i]);
    }
    for (size_t i = 0; ok && i < sizeof passes / sizeof passes[0]; i++) {
        ok = run(&line, &spare, passes[i], NULL);
    }
    ok = ok && split(table, &line, out);
    cs_buffer_dispose(&line);
    cs_buffer_dispose(&spare);
    return ok;
}
