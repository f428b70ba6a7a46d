/*
 * A model that is steered may write words that do not exist ("Mariat"). Without a dictionary of every language, a word counts as
 * known that stands in the notes or the request, that the LLM's vocabulary has as one token, or that a model wrote by itself; the
 * last is known only when all answers are, so the report takes those out of what is listed here.
 */
#include "eval/unknown_words.h"

#include "eval/tokens.h"

#include <string.h>

/* Shorter words are as often abbreviations. */
#define CHARACTERS_MIN 4

/* Thai, Lao, Tibetan, Myanmar, Khmer: runs of letters that are more than a word. */
static bool is_without_spaces(uint32_t c)
{
    return (c >= 0xE00 && c <= 0xFFF) || (c >= 0x1000 && c <= 0x109F) || (c >= 0x1780 && c <= 0x17FF) ||
           cs_character_is_word_alone(c);
}

/* Enough letters, no digit, of a script in which words are told apart. */
static bool counts(const char *word, size_t n)
{
    size_t n_characters = 0;
    size_t length;
    for (size_t i = 0; i < n; i += length, n_characters++) {
        const uint32_t c = cs_character_next(word + i, n - i, &length);
        if ((c >= '0' && c <= '9') || is_without_spaces(c)) {
            return false;
        }
    }
    return n_characters >= CHARACTERS_MIN;
}

/* Lower-case a piece that is a space and one word; its length, 0: it is something else. */
static size_t word_of_piece(const char *piece, size_t n, char *out)
{
    size_t n_out = 0;
    size_t length;
    if (n < 2 || piece[0] != ' ') {
        return 0;
    }
    for (size_t i = 1; i < n; i += length) {
        const uint32_t c = cs_character_next(piece + i, n - i, &length);
        if (!cs_character_is_in_word(c)) {
            return 0;
        }
        n_out += cs_character_write(cs_character_lower(c), out + n_out);
    }
    return n_out;
}

bool cs_unknown_words_add_vocab(const costeer_model *model, cs_intern *words)
{
    const int32_t n_vocab = costeer_model_get_info(model)->n_vocab;
    char piece[COSTEER_PIECE_MAX];
    char word[COSTEER_PIECE_MAX];
    bool ok = true;
    for (int32_t token = 0; token < n_vocab && ok; token++) {
        const size_t n = word_of_piece(piece, costeer_model_token_to_piece(model, token, piece), word);
        ok = n == 0 || cs_intern_add(words, word, n) >= 0;
    }
    return ok;
}

bool cs_unknown_words_add_text(const char *text, cs_intern *words)
{
    cs_tokens ids = {0};
    const bool ok = cs_tokens_words(words, text, &ids);
    cs_tokens_dispose(&ids);
    return ok;
}

/* Append what is unknown of the answer's words, which begin at n_known in the table. */
static bool append_unknown(const cs_intern *vocab, const cs_intern *table, const cs_tokens *answer, int32_t n_known, json_t *list,
                           bool *any)
{
    int32_t next = n_known; /* new words get rising ids, so each is seen once */
    bool ok = true;
    for (size_t i = 0; i < answer->n && ok; i++) {
        size_t n;
        const char *word = cs_intern_get(table, answer->ids[i], &n);
        if (!counts(word, n)) {
            next = answer->ids[i] >= next ? answer->ids[i] + 1 : next;
            continue;
        }
        *any = true;
        if (answer->ids[i] >= next) {
            next = answer->ids[i] + 1;
            ok = cs_intern_find(vocab, word, n) >= 0 || json_array_append_new(list, json_stringn(word, n)) == 0;
        }
    }
    return ok;
}

bool cs_unknown_words_list(const cs_intern *vocab, const char *answer, const char *const *texts, size_t n_texts, json_t **out)
{
    cs_intern table = {0};
    cs_tokens words = {0};
    bool any = false;
    bool ok = true;
    for (size_t i = 0; i < n_texts && ok; i++) {
        ok = texts[i] == NULL || cs_unknown_words_add_text(texts[i], &table);
    }
    const int32_t n_known = (int32_t)table.n;
    *out = json_array();
    ok = ok && *out != NULL && cs_tokens_words(&table, answer, &words) &&
         append_unknown(vocab, &table, &words, n_known, *out, &any);
    if (!ok || !any) {
        json_decref(*out);
        *out = ok ? json_null() : NULL;
    }
    cs_tokens_dispose(&words);
    cs_intern_dispose(&table);
    return ok;
}
