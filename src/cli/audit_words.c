/* Every word of the contexts that an answer says and no request before it did, each once, in the sentence where it first stands.
 */
#include "cli/audit_show.h"

#include "cli/disclosed.h"
#include "cli/json.h"
#include "util/utf8.h"

#include <string.h>

#define SENTENCE_BYTES 200

typedef struct listing {
    const cs_buffer *text; /* of the answers */
    size_t begin;          /* of the piece that is searched, in it */
    json_t *known;         /* words, folded, that were listed or that a request has */
    json_t *words;         /* NULL: a request is searched, and nothing is listed */
} listing;

/* ---- a word's sentence ------------------------------------------------------------------------------------------- */

/* A line end, a NUL between two answers, or the end of a sentence before a blank. */
static bool is_border(const cs_buffer *text, size_t at)
{
    const char c = text->bytes[at];
    const char next = at + 1 < text->n_bytes ? text->bytes[at + 1] : '\n';
    return c == '\0' || c == '\n' || ((c == '.' || c == '!' || c == '?') && (next == ' ' || next == '\n' || next == '\0'));
}

static bool is_inside_character(const cs_buffer *text, size_t at)
{
    return at < text->n_bytes && ((unsigned char)text->bytes[at] & 0xC0U) == 0x80U;
}

static json_t *make_sentence(const cs_buffer *text, size_t at, size_t n_bytes)
{
    size_t begin = at;
    size_t end = at + n_bytes;
    while (begin > 0 && at - begin < SENTENCE_BYTES && !is_border(text, begin - 1)) {
        begin--;
    }
    while (end < text->n_bytes && end - at < SENTENCE_BYTES && !is_border(text, end)) {
        end++;
    }
    end += end < text->n_bytes && text->bytes[end] != '\n' && text->bytes[end] != '\0' ? 1 : 0; /* the full stop */
    while (begin < at && (text->bytes[begin] == ' ' || is_inside_character(text, begin))) {
        begin++;
    }
    while (is_inside_character(text, end)) {
        end++;
    }
    return cs_json_text(text->bytes + begin, end - begin);
}

/* ---- words ------------------------------------------------------------------------------------------------------- */

static bool on_word(const char *word, size_t n_bytes, size_t at, void *user)
{
    const listing *l = user;
    cs_buffer folded = {.cap = SIZE_MAX};
    bool ok = cs_buffer_append(&folded, word, n_bytes);
    for (size_t i = 0; i < folded.n_bytes; i++) {
        const char c = folded.bytes[i];
        folded.bytes[i] = (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    }
    const bool is_known = ok && json_object_get(l->known, folded.bytes) != NULL;
    ok = ok && (is_known || json_object_set_new(l->known, folded.bytes, json_true()) == 0);
    cs_buffer_dispose(&folded);
    if (!ok || is_known || l->words == NULL) {
        return ok;
    }
    return json_array_append_new(l->words, json_pack("{s:o, s:o}", "word", cs_json_text(word, n_bytes), "text",
                                                     make_sentence(l->text, l->begin + at, n_bytes))) == 0;
}

static bool search(const cs_word_set *secret, listing *l, const cs_buffer *text, size_t begin, size_t end)
{
    l->begin = begin;
    return begin >= end || cs_disclosed_find(secret, NULL, text->bytes + begin, end - begin, on_word, l);
}

json_t *cs_audit_list_words(const cs_audit_file *audit, const char *const *contexts, size_t n_contexts)
{
    const cs_buffer *said = &audit->texts[CS_AUDIT_EMITTED];
    const cs_buffer *asked = &audit->texts[CS_AUDIT_REQUEST];
    const cs_audit_part *parts = (const cs_audit_part *)audit->parts.bytes;
    const size_t n_parts = audit->parts.n_bytes / sizeof *parts;
    cs_word_set *secret = cs_word_set_create(contexts, n_contexts);
    json_t *words = json_array();
    listing l = {.text = said, .known = json_object()};
    bool ok = secret != NULL && words != NULL && l.known != NULL;
    size_t n_said = 0;
    size_t n_asked = 0;
    for (size_t i = 0; ok && i <= n_parts; i++) { /* answers up to a request, then the request; at last the rest of the answers */
        const size_t until = i < n_parts && parts[i].n_said < said->n_bytes ? parts[i].n_said : said->n_bytes;
        l.words = words;
        if (i == n_parts || until > n_said) {
            ok = search(secret, &l, said, n_said, until);
            n_said = until;
        }
        if (ok && i < n_parts) {
            l.words = NULL;
            ok = search(secret, &l, asked, n_asked, parts[i].end);
            n_asked = parts[i].end;
        }
    }
    cs_word_set_free(secret);
    json_decref(l.known);
    if (!ok) {
        json_decref(words);
        return NULL;
    }
    return words;
}
