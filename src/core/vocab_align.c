/*
 * Aligning two vocabularies: the tokens of both that are text are sorted by their bytes, and one scan over the sorted array tells
 * everything: equal neighbours are partners, and the longest prefix of a string is its nearest ancestor.
 *
 * What is no text is never matched by bytes: an end token by its role, a special one by its name. A text that happens to read
 * like a special token's name must not become one.
 */
#include "core/vocab_internal.h"
#include "util/buffer.h"
#include "util/error.h"

#include <stdlib.h>
#include <string.h>

typedef struct aligner {
    const cs_vocab_words *llm;
    const cs_vocab_words *slm;
    cs_vocab_entry *entries; /* [n_entries] text tokens of both, sorted; later the names of one kind */
    size_t n_entries;
    int32_t *slm_place; /* [n_slm] */
    int32_t *nearest;   /* [n_strings] the string itself or its longest prefix that is the bytes of an SLM token, −1 none */
    int32_t *first;     /* [FIRST_N + 1] where the strings of each two leading bytes begin */
    costeer_vocab_map *map;
    cs_buffer spelling; /* int32_t, one behind the other */
} aligner;

#define FIRST_N (1 << 16)

static costeer_err no_memory(const aligner *a, costeer_error *err)
{
    return cs_error_set(err, COSTEER_ENOMEM, "vocab", "no memory to align %d tokens with %d", a->llm->n, a->slm->n);
}

/* ---- sorting ----------------------------------------------------------------------------------------------------- */

static bool is_wanted(const cs_vocab_words *words, int32_t token, cs_word_kind kind)
{
    return kind == CS_WORD_TEXT ? cs_vocab_words_is_text(words, token) : words->kinds[token] == kind;
}

/* Gather and sort the tokens of both vocabularies of one kind; bytes of text count as text. */
static void gather(aligner *a, cs_word_kind kind)
{
    size_t n = 0;
    for (int32_t i = 0; i < a->llm->n; i++) {
        if (is_wanted(a->llm, i, kind)) {
            a->entries[n++] = cs_vocab_entry_make(a->llm->bytes + a->llm->at[i], cs_vocab_words_length(a->llm, i), i);
        }
    }
    for (int32_t i = 0; i < a->slm->n; i++) {
        if (is_wanted(a->slm, i, kind)) {
            a->entries[n++] = cs_vocab_entry_make(a->slm->bytes + a->slm->at[i], cs_vocab_words_length(a->slm, i), ~i);
        }
    }
    a->n_entries = n;
    cs_vocab_entries_sort(a->entries, n);
}

/* Where the entries that equal entry `begin` end. */
static size_t group_end(const aligner *a, size_t begin)
{
    size_t end = begin + 1;
    while (end < a->n_entries && cs_vocab_entry_equal(&a->entries[begin], &a->entries[end])) {
        end++;
    }
    return end;
}

/* The SLM's token that stands for a group: one that is no byte fallback, then the lowest; −1: the group has none. */
static int32_t choose_slm_token(const aligner *a, size_t begin, size_t end)
{
    int32_t best = -1;
    for (size_t i = begin; i < end; i++) {
        const int32_t token = ~a->entries[i].token;
        if (token < 0) {
            continue;
        }
        const int worse = best < 0 ? 1 : (a->slm->kinds[best] == CS_WORD_BYTE) - (a->slm->kinds[token] == CS_WORD_BYTE);
        if (worse > 0 || (worse == 0 && token < best)) {
            best = token;
        }
    }
    return best;
}

/* ---- the array of strings ---------------------------------------------------------------------------------------- */

static bool count_strings(const aligner *a, cs_vocab_sizes *sizes)
{
    *sizes = (cs_vocab_sizes){.n_llm = a->llm->n, .n_slm = a->slm->n};
    size_t n_bytes = 0;
    for (size_t begin = 0, end; begin < a->n_entries; begin = end) {
        end = group_end(a, begin);
        int32_t n_slm = 0;
        for (size_t i = begin; i < end; i++) {
            n_slm += a->entries[i].token < 0;
        }
        sizes->n_strings++;
        sizes->n_twins += n_slm > 1 ? n_slm - 1 : 0;
        n_bytes += a->entries[begin].n_bytes;
    }
    for (int32_t i = 0; i < a->slm->n; i++) {
        sizes->n_ends += a->slm->kinds[i] == CS_WORD_END;
    }
    sizes->n_bytes = (int32_t)n_bytes;
    return n_bytes <= INT32_MAX;
}

static void place_tokens(aligner *a, size_t begin, size_t end, int32_t place, int32_t *n_twins)
{
    costeer_vocab_map *map = a->map;
    const int32_t stands = choose_slm_token(a, begin, end);
    map->slm_token[place] = stands;
    for (size_t i = begin; i < end; i++) {
        const int32_t token = a->entries[i].token;
        if (token >= 0) {
            map->place[token] = place;
            continue;
        }
        a->slm_place[~token] = place;
        if (~token != stands) {
            int32_t *twin = map->twins + 2 * (size_t)*n_twins;
            twin[0] = ~token;
            twin[1] = stands;
            *n_twins += 1;
        }
    }
}

/* Strings come in order, so those that still wait for their end are the ancestors of the last one. */
static void place_string(aligner *a, const cs_vocab_entry *entry, int32_t place)
{
    costeer_vocab_map *map = a->map;
    const cs_vocab_strings strings = cs_vocab_map_strings(map);
    memcpy(map->bytes + map->at[place], entry->bytes, entry->n_bytes);
    map->at[place + 1] = map->at[place] + (int32_t)entry->n_bytes;
    int32_t ancestor = place - 1;
    while (ancestor >= 0 && !cs_vocab_strings_is_prefix(&strings, ancestor, entry->bytes, entry->n_bytes)) {
        map->stop[ancestor] = place;
        ancestor = map->parent[ancestor];
    }
    map->parent[place] = ancestor;
}

static void fill_strings(aligner *a)
{
    costeer_vocab_map *map = a->map;
    int32_t n = 0;
    int32_t n_twins = 0;
    for (size_t begin = 0, end; begin < a->n_entries; begin = end) {
        end = group_end(a, begin);
        place_string(a, &a->entries[begin], n);
        place_tokens(a, begin, end, n, &n_twins);
        n++;
    }
    for (int32_t last = n - 1; last >= 0; last = map->parent[last]) {
        map->stop[last] = n;
    }
    for (int32_t i = 0; i < n; i++) {
        const bool is_there = map->slm_token[i] >= 0;
        a->nearest[i] = is_there ? i : (map->parent[i] >= 0 ? a->nearest[map->parent[i]] : -1);
    }
}

/* ---- partners ---------------------------------------------------------------------------------------------------- */

static int32_t exact_text(const aligner *a, int32_t token)
{
    const int32_t place = a->map->place[token];
    return token < a->slm->n && a->slm_place[token] == place ? token : a->map->slm_token[place];
}

/* Whether the SLM's token of the same id is of the same kind and name. */
static bool is_namesake(const aligner *a, cs_word_kind kind, int32_t token)
{
    const cs_vocab_words *llm = a->llm;
    const cs_vocab_words *slm = a->slm;
    return token < slm->n && slm->kinds[token] == kind &&
           cs_vocab_words_length(llm, token) == cs_vocab_words_length(slm, token) &&
           memcmp(llm->bytes + llm->at[token], slm->bytes + slm->at[token], cs_vocab_words_length(llm, token)) == 0;
}

/* Match the tokens of a kind that is no text by name. Namesakes of one id go together, else the lowest stands. */
static void match_names(aligner *a, cs_word_kind kind)
{
    gather(a, kind);
    for (size_t begin = 0, end; begin < a->n_entries; begin = end) {
        end = group_end(a, begin);
        const int32_t stands = choose_slm_token(a, begin, end);
        for (size_t i = begin; i < end; i++) {
            const int32_t token = a->entries[i].token;
            if (token < 0) {
                continue;
            }
            a->map->exact[token] = is_namesake(a, kind, token) ? token : stands;
        }
    }
}

static int32_t stand_in_for_ends(const aligner *a)
{
    if (a->slm->end_of_answer >= 0) {
        return a->slm->end_of_answer;
    }
    return a->map->sizes.n_ends > 0 ? a->map->ends[0] : -1;
}

static void fill_partners(aligner *a)
{
    costeer_vocab_map *map = a->map;
    int32_t n_ends = 0;
    for (int32_t i = 0; i < a->slm->n; i++) {
        if (a->slm->kinds[i] == CS_WORD_END) {
            map->ends[n_ends++] = i;
        }
    }
    match_names(a, CS_WORD_CONTROL);
    match_names(a, CS_WORD_NONE);
    match_names(a, CS_WORD_END);
    for (int32_t i = 0; i < a->llm->n; i++) {
        int32_t ancestor = -1;
        if (cs_vocab_words_is_text(a->llm, i)) {
            map->exact[i] = exact_text(a, i);
            ancestor = a->nearest[map->place[i]];
        } else if (map->place[i] == CS_PLACE_END && map->exact[i] < 0) {
            map->exact[i] = stand_in_for_ends(a);
        }
        map->partner[i] = map->exact[i];
        if (map->exact[i] < 0 && ancestor >= 0 && map->mode != COSTEER_VOCAB_MAP_INTERSECT) {
            map->partner[i] = map->slm_token[ancestor];
        }
    }
}

/* ---- spellings --------------------------------------------------------------------------------------------------- */

static int32_t leading_bytes(const char *s, size_t n)
{
    return (unsigned char)s[0] << 8 | (n > 1 ? (unsigned char)s[1] : 0);
}

/* Most strings share their two leading bytes with few others, which leaves little to search. */
static void index_leading_bytes(aligner *a)
{
    const costeer_vocab_map *map = a->map;
    int32_t bucket = 0;
    for (int32_t i = 0; i < map->sizes.n_strings; i++) {
        const int32_t of_string = leading_bytes(map->bytes + map->at[i], (size_t)(map->at[i + 1] - map->at[i]));
        while (bucket <= of_string) {
            a->first[bucket++] = i;
        }
    }
    while (bucket <= FIRST_N) {
        a->first[bucket++] = map->sizes.n_strings;
    }
}

/* The longest string of an SLM token that s begins with, −1 none. */
static int32_t longest_piece(const aligner *a, const cs_vocab_strings *strings, const char *s, size_t n)
{
    const int32_t bucket = leading_bytes(s, n);
    const int32_t floor = cs_vocab_strings_floor(strings, a->first[bucket], a->first[bucket + 1], s, n);
    const int32_t deepest = cs_vocab_strings_deepest(strings, floor, s, n);
    return deepest < 0 ? -1 : a->nearest[deepest];
}

/* Greedy, longest pieces first. A byte that no SLM token begins with is passed over. */
static bool spell(aligner *a, int32_t place)
{
    const costeer_vocab_map *map = a->map;
    const cs_vocab_strings strings = cs_vocab_map_strings(map);
    const char *s = map->bytes + map->at[place];
    size_t n = (size_t)(map->at[place + 1] - map->at[place]);
    while (n > 0) {
        const int32_t piece = longest_piece(a, &strings, s, n);
        size_t length = 1;
        if (piece >= 0) {
            length = (size_t)(map->at[piece + 1] - map->at[piece]);
            if (!cs_buffer_append(&a->spelling, (const char *)&map->slm_token[piece], sizeof(int32_t))) {
                return false;
            }
        }
        s += length;
        n -= length;
    }
    return true;
}

static bool fill_spellings(aligner *a)
{
    costeer_vocab_map *map = a->map;
    index_leading_bytes(a);
    a->spelling.cap = (size_t)INT32_MAX;
    for (int32_t i = 0; i < map->sizes.n_llm; i++) {
        map->spelling_at[i] = (int32_t)(a->spelling.n_bytes / sizeof(int32_t));
        if (map->exact[i] < 0 && map->place[i] >= 0 && !spell(a, map->place[i])) {
            return false;
        }
    }
    const int32_t n = (int32_t)(a->spelling.n_bytes / sizeof(int32_t));
    map->spelling_at[map->sizes.n_llm] = n;
    if (!cs_vocab_map_add_spelling(map, n)) {
        return false;
    }
    if (n > 0) {
        memcpy(map->spelling, a->spelling.bytes, a->spelling.n_bytes);
    }
    return true;
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

/* False: no memory. */
static bool prepare(aligner *a, costeer_vocab_mode mode)
{
    a->entries = malloc(((size_t)a->llm->n + (size_t)a->slm->n + 1) * sizeof *a->entries);
    a->slm_place = malloc(((size_t)a->slm->n + 1) * sizeof *a->slm_place);
    a->first = malloc((FIRST_N + 1) * sizeof *a->first);
    if (a->entries == NULL || a->slm_place == NULL || a->first == NULL) {
        return false;
    }
    gather(a, CS_WORD_TEXT);
    cs_vocab_sizes sizes;
    if (!count_strings(a, &sizes)) {
        return false;
    }
    a->map = cs_vocab_map_new(mode, &sizes);
    a->nearest = malloc(((size_t)sizes.n_strings + 1) * sizeof *a->nearest);
    if (a->map == NULL || a->nearest == NULL) {
        return false;
    }
    for (int32_t i = 0; i < a->slm->n; i++) {
        a->slm_place[i] = -1;
    }
    for (int32_t i = 0; i < a->llm->n; i++) {
        a->map->exact[i] = -1;
        a->map->place[i] = a->llm->kinds[i] == CS_WORD_END ? CS_PLACE_END : CS_PLACE_NONE;
    }
    return true;
}

static bool has_slm_token(const costeer_vocab_map *map, int32_t begin, int32_t end)
{
    while (begin < end && map->slm_token[begin] < 0) {
        begin++;
    }
    return begin < end;
}

/* Text of the LLM that the SLM knows something of: a prefix, or (byte) a longer token. Without any there is no steering. */
static bool is_anything_alike(const aligner *a)
{
    const costeer_vocab_map *map = a->map;
    for (int32_t i = 0; i < map->sizes.n_llm; i++) {
        const int32_t place = map->place[i];
        if (place >= 0 &&
            (map->partner[i] >= 0 || (map->mode == COSTEER_VOCAB_BYTE && has_slm_token(map, place, map->stop[place])))) {
            return true;
        }
    }
    return false;
}

static costeer_err align(aligner *a, costeer_vocab_mode mode, costeer_error *err)
{
    if (!prepare(a, mode)) {
        return no_memory(a, err);
    }
    fill_strings(a);
    fill_partners(a);
    if (!is_anything_alike(a)) {
        return cs_error_set(
            err, COSTEER_EPAIR, "vocab",
            "the models cannot be paired: the LLM's tokens have nothing in common with the SLM's; use another SLM");
    }
    return fill_spellings(a) ? COSTEER_OK : no_memory(a, err);
}

costeer_err cs_vocab_map_align(const cs_vocab_words *llm, const cs_vocab_words *slm, costeer_vocab_mode mode,
                               costeer_vocab_map **out, costeer_error *err)
{
    aligner a = {.llm = llm, .slm = slm};
    const costeer_err code = align(&a, mode, err);
    free(a.entries);
    free(a.slm_place);
    free(a.first);
    free(a.nearest);
    cs_buffer_dispose(&a.spelling);
    if (code != COSTEER_OK) {
        costeer_vocab_map_free(a.map);
        a.map = NULL;
    } else {
        cs_vocab_map_count(a.map);
    }
    *out = a.map;
    return code;
}
