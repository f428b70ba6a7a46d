/*
 * The tokens of a text that grows at its end.
 *
 * A tokenizer may split the last word otherwise once it goes on ("▁Ru" is "▁R","u", "▁Rufus" is "▁R","uf","us"), but not the
 * words before it. So the text is split anew from the beginning of a word that is some words back. The word behind that must come
 * out as before; where it does not, the tokenizer joins words, and the text is split from further back, in the end from its
 * beginning. A text without any words is split from SPLIT_TOKENS_MAX tokens or SPLIT_BYTES_MAX bytes back: what is before stays,
 * which such a long word could only notice at that very place.
 *
 * SentencePiece puts a space before whatever it is given. A mark is put there instead, a character that is in no longer token,
 * and its tokens are dropped.
 */
#include "core/translate_text.h"

#include "core/model_internal.h"
#include "util/error.h"
#include "util/utf8.h"

#include <stdlib.h>
#include <string.h>

#define SPLIT_TOKENS_MAX ((size_t)512)
#define SPLIT_BYTES_MAX  ((size_t)16384)

/* Bytes added before the text is split again; as U+FFFD they may become three times as many. */
#define PUSH_BYTES_MAX ((size_t)4096)

/* Bytes of text in memory: when they are used up, all but the last SPLIT_BYTES_MAX are forgotten. */
#define WINDOW_BYTES ((size_t)65536)

#define MARK_TOKENS_MAX ((size_t)4)

/* Whole words behind the place from which the text is split: the first of them must not change. */
#define WORDS_BACK 3

struct cs_text_tokens {
    const costeer_model *model;
    size_t n_max;
    size_t longest;
    int32_t *tokens; /* [n_max] */
    int64_t *ends;   /* [n_max + 1] bytes of the text that the first i tokens stand for; −1: not known */
    size_t n_tokens;
    size_t n_unchanged; /* of the tokens, since somebody asked */
    char *text;         /* [WINDOW_BYTES] whole characters, then the beginning of one */
    size_t n_whole;
    size_t n_all;
    int64_t start;      /* of the text in memory, counted from the text's beginning */
    char *piece;        /* [1 + WINDOW_BYTES] what the tokenizer is given: the mark and the end of the text */
    costeer_tokens new; /* what it gave */
    char mark;          /* '\0': this tokenizer needs none */
    int32_t mark_tokens[MARK_TOKENS_MAX];
    size_t n_mark_tokens;
};

/* ---- creation ---------------------------------------------------------------------------------------------------- */

/* Look at all tokens: the longest one, and which characters stand in one with something behind them. */
static void look_at_tokens(cs_text_tokens *text, bool is_joined[256])
{
    char piece[COSTEER_PIECE_MAX];
    const int32_t n = costeer_model_get_info(text->model)->n_vocab;
    for (int32_t token = 0; token < n; token++) {
        const size_t length = costeer_model_token_to_piece(text->model, token, piece);
        text->longest = length > text->longest ? length : text->longest;
        for (size_t i = 0; i + 1 < length; i++) {
            is_joined[(unsigned char)piece[i]] = true;
        }
    }
}

/* True when the tokens spell " " and the character: what a tokenizer that adds a space makes of it. */
static bool is_space_and(const cs_text_tokens *text, char character)
{
    char piece[COSTEER_PIECE_MAX];
    char spelled[2];
    size_t at = 0;
    for (size_t i = 0; i < text->new.n; i++) {
        const size_t n = costeer_model_token_to_piece(text->model, text->new.ids[i], piece);
        if (n > sizeof spelled - at) {
            return false;
        }
        memcpy(spelled + at, piece, n);
        at += n;
    }
    return at == 2 && spelled[0] == ' ' && spelled[1] == character;
}

/* Find out whether the tokenizer adds a space, and choose the mark if it does. */
static costeer_err choose_mark(cs_text_tokens *text, costeer_error *err)
{
    static const char candidates[] = "\n\x01\x02\x03\x1f|~^";
    bool is_joined[256] = {false};
    look_at_tokens(text, is_joined);
    costeer_err code = costeer_model_tokenize(text->model, "a", 1, false, false, &text->new, err);
    if (code != COSTEER_OK || !is_space_and(text, 'a')) {
        return code;
    }
    for (size_t i = 0; i + 1 < sizeof candidates && text->mark == '\0'; i++) {
        code = costeer_model_tokenize(text->model, &candidates[i], 1, false, false, &text->new, err);
        if (code != COSTEER_OK) {
            return code;
        }
        if (!is_joined[(unsigned char)candidates[i]] && text->new.n <= MARK_TOKENS_MAX && is_space_and(text, candidates[i])) {
            text->mark = candidates[i];
            text->n_mark_tokens = text->new.n;
            memcpy(text->mark_tokens, text->new.ids, text->new.n * sizeof *text->mark_tokens);
        }
    }
    return COSTEER_OK;
}

costeer_err cs_text_tokens_create(const costeer_model *model, size_t n_max, cs_text_tokens **out, costeer_error *err)
{
    *out = NULL;
    cs_text_tokens *text = calloc(1, sizeof *text);
    if (text == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "slm", "no memory for the answer's text");
    }
    text->model = model;
    text->n_max = n_max;
    text->tokens = malloc(n_max * sizeof *text->tokens);
    text->ends = malloc((n_max + 1) * sizeof *text->ends);
    text->text = malloc(WINDOW_BYTES);
    text->piece = malloc(1 + WINDOW_BYTES);
    /* one token a byte, and the guess of costeer_model_tokenize: it then never grows */
    const bool ok = cs_tokens_reserve(&text->new, WINDOW_BYTES + 16);
    if (!ok || text->tokens == NULL || text->ends == NULL || text->text == NULL || text->piece == NULL) {
        cs_text_tokens_free(text);
        return cs_error_set(err, COSTEER_ENOMEM, "slm", "no memory for the answer's text");
    }
    const costeer_err code = choose_mark(text, err);
    if (code != COSTEER_OK) {
        cs_text_tokens_free(text);
        return code;
    }
    cs_text_tokens_reset(text);
    *out = text;
    return COSTEER_OK;
}

void cs_text_tokens_free(cs_text_tokens *text)
{
    if (text != NULL) {
        free(text->tokens);
        free(text->ends);
        free(text->text);
        free(text->piece);
        costeer_tokens_dispose(&text->new);
        free(text);
    }
}

void cs_text_tokens_reset(cs_text_tokens *text)
{
    text->n_tokens = 0;
    text->n_unchanged = 0;
    text->ends[0] = 0;
    text->n_whole = 0;
    text->n_all = 0;
    text->start = 0;
}

/* ---- the text ---------------------------------------------------------------------------------------------------- */

/* Make room for what PUSH_BYTES_MAX bytes may become. */
static void slide(cs_text_tokens *text)
{
    if (WINDOW_BYTES - text->n_all >= CS_UTF8_REPLACEMENT_BYTES * (PUSH_BYTES_MAX + 4)) {
        return;
    }
    const size_t n = text->n_whole - SPLIT_BYTES_MAX;
    memmove(text->text, text->text + n, text->n_all - n);
    text->n_whole -= n;
    text->n_all -= n;
    text->start += (int64_t)n;
}

static const char replacement[CS_UTF8_REPLACEMENT_BYTES] = {'\xEF', '\xBF', '\xBD'}; /* CS_UTF8_REPLACEMENT */

/* Add bytes, and let all whole characters be text. Returns whether there are more of them now. */
static bool add_bytes(cs_text_tokens *text, const char *bytes, size_t n)
{
    slide(text);
    memcpy(text->text + text->n_all, bytes, n);
    text->n_all += n;
    const size_t before = text->n_whole;
    while (text->n_whole < text->n_all) {
        char *at = text->text + text->n_whole;
        size_t length;
        const cs_utf8_kind kind = cs_utf8_next(at, text->n_all - text->n_whole, &length);
        if (kind == CS_UTF8_INCOMPLETE) {
            break;
        }
        if (kind == CS_UTF8_INVALID) {
            const size_t n_behind = text->n_all - text->n_whole - length;
            memmove(at + CS_UTF8_REPLACEMENT_BYTES, at + length, n_behind);
            memcpy(at, replacement, sizeof replacement);
            text->n_all = text->n_whole + CS_UTF8_REPLACEMENT_BYTES + n_behind;
            length = CS_UTF8_REPLACEMENT_BYTES;
        }
        text->n_whole += length;
    }
    return text->n_whole > before;
}

/* Where the text behind the first i tokens begins in memory; false when that is not known or not there any more. */
static bool find_start(const cs_text_tokens *text, size_t i, size_t *at)
{
    if (text->ends[i] < text->start) {
        return false;
    }
    *at = (size_t)(text->ends[i] - text->start);
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* A place where every tokenizer that splits words splits: a space behind something that is none. */
static bool begins_word(const cs_text_tokens *text, size_t at)
{
    return at > 0 && at < text->n_whole && text->text[at] == ' ' && !is_blank(text->text[at - 1]);
}

/* ---- where to split from ----------------------------------------------------------------------------------------- */

typedef struct split_from {
    size_t first;   /* tokens that stay whatever comes */
    size_t settled; /* those up to here must come out as before, or first is not far enough back */
} split_from;

/* Where the text behind the first i tokens begins, if it can be split there; false beyond the limit of bytes too. */
static bool may_split(const cs_text_tokens *text, size_t i, size_t *at)
{
    return find_start(text, i, at) && text->n_whole - *at <= SPLIT_BYTES_MAX &&
           (*at == text->n_whole || ((unsigned char)text->text[*at] & 0xC0) != 0x80); /* not inside a character */
}

/* Go back by some words, but not beyond the limits. A text's beginning, and the limits, are far enough. */
static split_from go_back(const cs_text_tokens *text, int n_words)
{
    const size_t n = text->n_tokens;
    size_t furthest = n;
    size_t last_word = n;
    for (size_t i = n; i-- > 0 && n - i <= SPLIT_TOKENS_MAX;) {
        size_t at;
        if (!may_split(text, i, &at)) {
            continue;
        }
        furthest = i;
        if (begins_word(text, at)) {
            if (--n_words == 0) {
                return (split_from){.first = i, .settled = last_word};
            }
            last_word = i;
        }
    }
    return (split_from){.first = furthest, .settled = furthest};
}

/* ---- splitting --------------------------------------------------------------------------------------------------- */

/* Give the tokenizer the text from a place on; the new tokens come behind the mark's. */
static costeer_err tokenize(cs_text_tokens *text, size_t at, costeer_error *err)
{
    const size_t n_mark = text->mark == '\0' ? 0 : 1;
    text->piece[0] = text->mark;
    memcpy(text->piece + n_mark, text->text + at, text->n_whole - at);
    const costeer_err code =
        costeer_model_tokenize(text->model, text->piece, n_mark + text->n_whole - at, false, false, &text->new, err);
    if (code != COSTEER_OK) {
        return code;
    }
    const size_t n_drop = text->n_mark_tokens;
    if (text->new.n < n_drop || (n_drop > 0 && memcmp(text->new.ids, text->mark_tokens, n_drop * sizeof(int32_t)) != 0)) {
        return cs_error_set(err, COSTEER_EINTERNAL, "slm", "the tokenizer joins a control character with what is behind it");
    }
    return COSTEER_OK;
}

/* Put new tokens in the place of those from `first` on, and find where each ends. */
static costeer_err replace(cs_text_tokens *text, size_t first, size_t at, const int32_t *tokens, size_t n, costeer_error *err)
{
    if (n > text->n_max - first) {
        return cs_error_set(err, COSTEER_ETOOLONG, "slm", "the context window of %zu tokens is full; use --ctx-size",
                            text->n_max);
    }
    bool is_known = true;
    char piece[COSTEER_PIECE_MAX];
    size_t n_same = 0;
    while (n_same < n && first + n_same < text->n_tokens && text->tokens[first + n_same] == tokens[n_same]) {
        n_same++;
    }
    text->n_unchanged = first + n_same < text->n_unchanged ? first + n_same : text->n_unchanged;
    for (size_t i = 0; i < n; i++) {
        const size_t length = costeer_model_token_to_piece(text->model, tokens[i], piece);
        is_known = is_known && length <= text->n_whole - at && memcmp(piece, text->text + at, length) == 0;
        at += is_known ? length : 0;
        text->tokens[first + i] = tokens[i];
        text->ends[first + i + 1] = is_known ? text->start + (int64_t)at : -1;
    }
    text->n_tokens = first + n;
    text->ends[text->n_tokens] = text->start + (int64_t)text->n_whole;
    return COSTEER_OK;
}

static bool is_as_before(const cs_text_tokens *text, split_from from, const int32_t *tokens, size_t n)
{
    const size_t n_settled = from.settled - from.first;
    return n_settled <= n && memcmp(tokens, text->tokens + from.first, n_settled * sizeof *tokens) == 0;
}

/* Split the end of the text. */
static costeer_err split(cs_text_tokens *text, costeer_error *err)
{
    for (int n_words = WORDS_BACK;; n_words *= 4) {
        const split_from from = go_back(text, n_words);
        size_t at;
        if (!find_start(text, from.first, &at)) {
            return cs_error_set(err, COSTEER_EINTERNAL, "slm", "the end of the answer's text is lost");
        }
        const costeer_err code = tokenize(text, at, err);
        if (code != COSTEER_OK) {
            return code;
        }
        const int32_t *tokens = text->new.ids + text->n_mark_tokens;
        const size_t n = text->new.n - text->n_mark_tokens;
        if (is_as_before(text, from, tokens, n)) {
            return replace(text, from.first, at, tokens, n, err);
        }
    }
}

costeer_err cs_text_tokens_push(cs_text_tokens *text, const char *bytes, size_t n, costeer_error *err)
{
    while (n > 0) {
        const size_t n_now = n < PUSH_BYTES_MAX ? n : PUSH_BYTES_MAX;
        const bool has_grown = add_bytes(text, bytes, n_now);
        const costeer_err code = has_grown ? split(text, err) : COSTEER_OK;
        if (code != COSTEER_OK) {
            return code;
        }
        bytes += n_now;
        n -= n_now;
    }
    return COSTEER_OK;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

const int32_t *cs_text_tokens_get(const cs_text_tokens *text, size_t *n)
{
    *n = text->n_tokens;
    return text->tokens;
}

size_t cs_text_tokens_take_unchanged(cs_text_tokens *text)
{
    const size_t n = text->n_unchanged;
    text->n_unchanged = text->n_tokens;
    return n;
}

int64_t cs_text_tokens_end(const cs_text_tokens *text, size_t i)
{
    return i <= text->n_tokens ? text->ends[i] : -1;
}

int64_t cs_text_tokens_size(const cs_text_tokens *text)
{
    return text->start + (int64_t)text->n_all;
}

const char *cs_text_tokens_from(const cs_text_tokens *text, int64_t offset, size_t *n)
{
    if (offset < text->start || offset > cs_text_tokens_size(text)) {
        *n = 0;
        return NULL;
    }
    *n = (size_t)(cs_text_tokens_size(text) - offset);
    return text->text + (offset - text->start);
}

size_t cs_text_tokens_longest(const cs_text_tokens *text)
{
    return text->longest;
}
