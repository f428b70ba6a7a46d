/*
 * All words of the vocabulary in one sorted array. A wrong guess here would be a wrong token, so whatever is ambiguous is
 * refused: two tokens of the same bytes, and a text that was cut inside a character.
 */
#include "cloud/api_spelling.h"

#include "core/vocab_strings.h"
#include "core/vocab_words.h"
#include "util/error.h"
#include "util/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cs_api_spelling {
    cs_vocab_words words;
    cs_vocab_entry *entries; /* [n] sorted */
    size_t n;
};

static costeer_err fill(cs_api_spelling *spelling, const costeer_model *model, costeer_error *err)
{
    cs_vocab_words *words = &spelling->words;
    const costeer_err code = cs_vocab_words_read(model, words, err);
    if (code != COSTEER_OK) {
        return code;
    }
    spelling->entries = calloc((size_t)words->n + 1, sizeof *spelling->entries);
    if (spelling->entries == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "cloud", "no memory for the vocabulary's texts");
    }
    for (int32_t i = 0; i < words->n; i++) {
        const size_t length = cs_vocab_words_length(words, i);
        if (length > 0 && words->kinds[i] != CS_WORD_NONE) {
            spelling->entries[spelling->n++] = cs_vocab_entry_make(words->bytes + words->at[i], length, i);
        }
    }
    cs_vocab_entries_sort(spelling->entries, spelling->n);
    return COSTEER_OK;
}

costeer_err cs_api_spelling_create(const costeer_model *model, cs_api_spelling **out, costeer_error *err)
{
    *out = NULL;
    cs_api_spelling *spelling = calloc(1, sizeof *spelling);
    if (spelling == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "cloud", "no memory for the vocabulary's texts");
    }
    const costeer_err code = fill(spelling, model, err);
    if (code != COSTEER_OK) {
        cs_api_spelling_free(spelling);
        return code;
    }
    *out = spelling;
    return COSTEER_OK;
}

void cs_api_spelling_free(cs_api_spelling *spelling)
{
    if (spelling != NULL) {
        cs_vocab_words_dispose(&spelling->words);
        free(spelling->entries);
        free(spelling);
    }
}

/* A text in a message: one line of printable ASCII. */
static void print_text(const char *bytes, size_t n, char out[64])
{
    size_t length = 0;
    for (size_t i = 0; i < n && length < 56; i++) {
        const unsigned char c = (unsigned char)bytes[i];
        length += (size_t)snprintf(out + length, 64 - length, c >= ' ' && c <= '~' ? "%c" : "\\x%02x", c);
    }
    out[length] = '\0';
}

static int compare(const cs_vocab_entry *entry, const char *bytes, size_t n)
{
    const size_t shorter = entry->n_bytes < n ? entry->n_bytes : n;
    const int order = memcmp(entry->bytes, bytes, shorter);
    return order != 0 ? order : entry->n_bytes < n ? -1 : entry->n_bytes > n;
}

costeer_err cs_api_spelling_find_bytes(const cs_api_spelling *spelling, const char *bytes, size_t n, int32_t *out,
                                       costeer_error *err)
{
    size_t low = 0;
    size_t high = spelling->n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (compare(&spelling->entries[middle], bytes, n) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    char text[64];
    print_text(bytes, n, text);
    if (low == spelling->n || compare(&spelling->entries[low], bytes, n) != 0) {
        return cs_error_set(err, COSTEER_ECLOUD, "cloud",
                            "the engine names a token \"%s\", which is none of the vocabulary's: it has another vocabulary, or "
                            "needs to be asked for token ids",
                            text);
    }
    const cs_vocab_entry *found = &spelling->entries[low];
    if (low + 1 < spelling->n && cs_vocab_entry_equal(found, found + 1)) {
        return cs_error_set(
            err, COSTEER_ECLOUD, "cloud",
            "the engine names a token \"%s\", and both token %d and token %d are spelled so: an engine that tells "
            "ids is needed for this vocabulary",
            text, found[0].token, found[1].token);
    }
    *out = found->token;
    return COSTEER_OK;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* "bytes:\xe2\x80": 4 characters a byte. Returns the number of bytes, 0 when it is not written so. */
static size_t read_escaped(const char *text, size_t n, char out[COSTEER_PIECE_MAX])
{
    size_t length = 0;
    if (n < 10 || memcmp(text, "bytes:", 6) != 0) {
        return 0;
    }
    for (size_t at = 6; at < n; at += 4) {
        const int high = n - at >= 4 && text[at] == '\\' && text[at + 1] == 'x' ? hex_digit(text[at + 2]) : -1;
        const int low = high >= 0 ? hex_digit(text[at + 3]) : -1;
        if (low < 0 || length == COSTEER_PIECE_MAX) {
            return 0;
        }
        out[length++] = (char)(high * 16 + low);
    }
    return length;
}

costeer_err cs_api_spelling_find(const cs_api_spelling *spelling, const char *text, size_t n, int32_t *out, costeer_error *err)
{
    char bytes[COSTEER_PIECE_MAX];
    const size_t n_bytes = read_escaped(text, n, bytes);
    if (n_bytes > 0) {
        return cs_api_spelling_find_bytes(spelling, bytes, n_bytes, out, err);
    }
    for (size_t i = 0; i + CS_UTF8_REPLACEMENT_BYTES <= n; i++) {
        if (memcmp(text + i, CS_UTF8_REPLACEMENT, CS_UTF8_REPLACEMENT_BYTES) == 0) {
            return cs_error_set(err, COSTEER_ECLOUD, "cloud",
                                "the engine names a token by text that was cut inside a character, which may be any of several: "
                                "an engine that tells ids is needed");
        }
    }
    return cs_api_spelling_find_bytes(spelling, text, n, out, err);
}
