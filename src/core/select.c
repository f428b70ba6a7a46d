/*
 * The choice of parts: split, score, compare with a threshold, and put together what was chosen. No cloud comes near it: neither
 * a function here nor a type has one, and the text that is built depends on the chosen parts alone.
 */
#include "core/select_internal.h"
#include "util/buffer.h"
#include "util/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N_JUDGED_MAX 256

/* What a model is shown of a heading, as a share of what it is shown of a part. */
#define HEADING_SHARE 10

const char *costeer_part_kind_name(costeer_part_kind kind)
{
    static const char *const names[] = {"paragraph", "sentence", "item", "field", "record", "heading", "mail"};
    return (size_t)kind < sizeof names / sizeof names[0] ? names[kind] : "unknown";
}

const char *costeer_part_reason_name(costeer_part_reason reason)
{
    static const char *const names[] = {"score", "pinned", "dropped", "heading", "words", "kept"};
    return (size_t)reason < sizeof names / sizeof names[0] ? names[reason] : "unknown";
}

bool costeer_part_is_choosable(const costeer_part *part)
{
    return part->kind != COSTEER_PART_HEADING && part->kind != COSTEER_PART_MAIL;
}

/* ---- the text of chosen parts ------------------------------------------------------------------------------------ */

/* What stands between two parts: it follows from these two alone. */
static const char *separator(const char *text, const costeer_part *before, const costeer_part *part)
{
    if (before->block != part->block) {
        return before->kind == COSTEER_PART_HEADING ? "\n" : "\n\n";
    }
    if (before->kind != COSTEER_PART_SENTENCE || part->kind != COSTEER_PART_SENTENCE) {
        return "\n";
    }
    size_t at = before->end - 1;
    size_t length;
    while (at > before->begin && ((unsigned char)text[at] & 0xC0) == 0x80) {
        at--;
    }
    const uint32_t last = cs_select_character(text, at, before->end, &length);
    return last >= 0x3000 && last < 0xFFF0 ? "" : " "; /* a mark of Chinese and Japanese has its space in itself */
}

/* Parts and what they need. */
static bool *mark_needed(const costeer_parts *parts, const bool *is_used)
{
    bool *is_needed = calloc(parts->n + 1, sizeof *is_needed);
    for (size_t i = 0; is_needed != NULL && i < parts->n; i++) {
        is_needed[i] = is_used[i] && costeer_part_is_choosable(&parts->items[i]);
    }
    for (size_t i = parts->n; is_needed != NULL && i-- > 0;) {
        if (is_needed[i] && parts->items[i].heading >= 0) {
            is_needed[parts->items[i].heading] = true;
        }
    }
    return is_needed;
}

costeer_err costeer_parts_join(const char *text, const costeer_parts *parts, const bool *is_used, char **out, costeer_error *err)
{
    cs_buffer joined = {.cap = SIZE_MAX / 4};
    bool *is_needed = mark_needed(parts, is_used);
    bool ok = is_needed != NULL && cs_buffer_append(&joined, "", 0);
    const costeer_part *before = NULL;
    for (size_t i = 0; ok && i < parts->n; i++) {
        const costeer_part *part = &parts->items[i];
        if (is_needed[i]) {
            const char *between = before == NULL ? "" : separator(text, before, part);
            ok = cs_buffer_append(&joined, between, strlen(between)) &&
                 cs_buffer_append(&joined, text + part->begin, part->end - part->begin);
            before = part;
        }
    }
    free(is_needed);
    *out = joined.bytes;
    if (ok && *out == NULL) {
        *out = calloc(1, 1);
        ok = *out != NULL;
    }
    if (!ok) {
        cs_buffer_dispose(&joined);
        *out = NULL;
        return cs_error_set(err, COSTEER_ENOMEM, "select", "no memory for the chosen parts");
    }
    return COSTEER_OK;
}

size_t cs_select_cut(const char *text, const costeer_part *part, size_t n_max)
{
    if (part->end - part->begin <= n_max) {
        return part->end;
    }
    size_t end = part->begin + n_max;
    while (((unsigned char)text[end] & 0xC0) == 0x80) {
        end--;
    }
    return end;
}

costeer_err cs_select_show_part(const char *text, const costeer_parts *parts, size_t i, size_t n_max, cs_buffer *out,
                                costeer_error *err)
{
    int32_t chain[32] = {0};
    size_t n = 0;
    for (int32_t at = (int32_t)i; at >= 0 && n < sizeof chain / sizeof chain[0]; at = parts->items[at].heading) {
        chain[n++] = at;
    }
    out->n_bytes = 0;
    bool ok = true;
    while (ok && n-- > 0) {
        const costeer_part *part = &parts->items[chain[n]];
        const size_t end = cs_select_cut(text, part, n == 0 ? n_max : n_max / HEADING_SHARE);
        ok = cs_buffer_append(out, text + part->begin, end - part->begin) && (n == 0 || cs_buffer_append(out, "\n", 1));
    }
    return ok ? COSTEER_OK : cs_error_set(err, COSTEER_ENOMEM, "select", "no memory for a part of the context");
}

/* ---- the choice -------------------------------------------------------------------------------------------------- */

static char folded(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
}

static bool has_text(const char *bytes, size_t n, const char *wanted)
{
    const size_t n_wanted = strlen(wanted);
    for (size_t at = 0; n_wanted > 0 && at + n_wanted <= n; at++) {
        size_t i = 0;
        while (i < n_wanted && folded(bytes[at + i]) == folded(wanted[i])) {
            i++;
        }
        if (i == n_wanted) {
            return true;
        }
    }
    return false;
}

static bool has_any(const char *text, const costeer_part *part, const char *const *wanted, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (has_text(text + part->begin, part->end - part->begin, wanted[i])) {
            return true;
        }
    }
    return false;
}

/* A part comes with its headings: what is dropped in one of them drops it too. */
static bool is_dropped(const costeer_select_request *request, const costeer_parts *parts, size_t i)
{
    for (int32_t at = (int32_t)i; at >= 0; at = parts->items[at].heading) {
        if (has_any(request->context, &parts->items[at], request->drops, request->n_drops)) {
            return true;
        }
    }
    return false;
}

static void choose(const costeer_select_request *request, costeer_selection *out)
{
    for (size_t i = 0; i < out->parts.n; i++) {
        const costeer_part *part = &out->parts.items[i];
        out->is_used[i] = false;
        if (!costeer_part_is_choosable(part)) {
            out->reasons[i] = COSTEER_REASON_HEADING;
        } else if (is_dropped(request, &out->parts, i)) {
            out->reasons[i] = COSTEER_REASON_DROPPED;
        } else if (has_any(request->context, part, request->pins, request->n_pins)) {
            out->reasons[i] = COSTEER_REASON_PINNED;
            out->is_used[i] = true;
        } else {
            out->reasons[i] = isnan(out->scores[i]) ? COSTEER_REASON_WORDS : COSTEER_REASON_SCORE;
            out->is_used[i] = out->scores[i] > out->threshold; /* false for NaN */
        }
    }
}

costeer_err costeer_selection_update(costeer_selection *selection, const char *context, costeer_error *err)
{
    char *text;
    const costeer_err code = costeer_parts_join(context, &selection->parts, selection->is_used, &text, err);
    if (code != COSTEER_OK) {
        return code;
    }
    free(selection->text);
    selection->text = text;
    selection->n_used = selection->n_left = 0;
    bool *is_needed = mark_needed(&selection->parts, selection->is_used);
    if (is_needed == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "select", "no memory for the chosen parts");
    }
    for (size_t i = 0; i < selection->parts.n; i++) {
        if (!costeer_part_is_choosable(&selection->parts.items[i])) {
            selection->is_used[i] = is_needed[i];
        } else if (is_needed[i]) { /* also an item that a nested one needs */
            selection->is_used[i] = true;
            selection->n_used++;
        } else {
            selection->n_left++;
        }
    }
    free(is_needed);
    return COSTEER_OK;
}

void costeer_selection_dispose(costeer_selection *selection)
{
    costeer_parts_dispose(&selection->parts);
    free(selection->scores);
    free(selection->answers);
    free(selection->is_used);
    free(selection->reasons);
    free(selection->text);
    *selection = (costeer_selection){.n_used = 0};
}

/* ---- which parts are worth asking about -------------------------------------------------------------------------- */

typedef struct ranked {
    double score;
    size_t part;
} ranked;

static int compare_ranked(const void *left, const void *right)
{
    const ranked *a = left;
    const ranked *b = right;
    if (a->score != b->score) {
        return a->score > b->score ? -1 : 1;
    }
    return a->part < b->part ? -1 : a->part > b->part ? 1 : 0;
}

static int compare_parts(const void *left, const void *right)
{
    const size_t a = *(const size_t *)left;
    const size_t b = *(const size_t *)right;
    return a < b ? -1 : a > b ? 1 : 0;
}

/* Keep those of [*n] parts that share the most words with the request, n_max of them, in the text's order. */
static costeer_err keep_best(const costeer_select_request *request, const costeer_parts *parts, size_t n_max, size_t *asked,
                             size_t *n, costeer_error *err)
{
    double *words = malloc((parts->n + 1) * sizeof *words);
    ranked *order = malloc((*n + 1) * sizeof *order);
    if (words == NULL || order == NULL) {
        free(words);
        free(order);
        return cs_error_set(err, COSTEER_ENOMEM, "select", "no memory for %zu parts", parts->n);
    }
    const costeer_err code = costeer_parts_score_words(request->context, parts, request->query, words, err);
    if (code == COSTEER_OK) {
        for (size_t i = 0; i < *n; i++) {
            order[i] = (ranked){words[asked[i]], asked[i]};
        }
        qsort(order, *n, sizeof *order, compare_ranked);
        for (size_t i = 0; i < n_max; i++) {
            asked[i] = order[i].part;
        }
        qsort(asked, n_max, sizeof *asked, compare_parts);
        *n = n_max;
    }
    free(words);
    free(order);
    return code;
}

/* The parts to ask about: all that can be chosen, or of too many those with the best words. */
static costeer_err list_asked(const costeer_select_request *request, const costeer_parts *parts, size_t n_max, size_t **out,
                              size_t *n_out, costeer_error *err)
{
    size_t *asked = malloc((parts->n + 1) * sizeof *asked);
    if (asked == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "select", "no memory for %zu parts", parts->n);
    }
    size_t n = 0;
    for (size_t i = 0; i < parts->n; i++) {
        if (costeer_part_is_choosable(&parts->items[i])) {
            asked[n++] = i;
        }
    }
    *out = asked;
    const costeer_err code = n > n_max ? keep_best(request, parts, n_max, asked, &n, err) : COSTEER_OK;
    *n_out = n;
    return code;
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

static costeer_err allocate(costeer_selection *out, costeer_error *err)
{
    const size_t n = out->parts.n + 1;
    out->scores = calloc(n, sizeof *out->scores);
    out->answers = calloc(n, sizeof *out->answers);
    out->is_used = calloc(n, sizeof *out->is_used);
    out->reasons = calloc(n, sizeof *out->reasons);
    if (out->scores == NULL || out->answers == NULL || out->is_used == NULL || out->reasons == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "select", "no memory for %zu parts", out->parts.n);
    }
    for (size_t i = 0; i < n; i++) {
        out->scores[i] = out->answers[i] = (double)NAN;
    }
    return COSTEER_OK;
}

costeer_err costeer_select(costeer_selector *selector, const costeer_select_request *request, costeer_selection *out,
                           costeer_error *err)
{
    costeer_selection_dispose(out);
    size_t *asked = NULL;
    size_t n_asked = 0;
    const size_t n_max = (size_t)cs_selector_n_judged_max(selector, N_JUDGED_MAX);
    out->scale = (double)NAN;
    out->threshold = isnan(request->threshold) ? COSTEER_SELECT_THRESHOLD : request->threshold;
    costeer_err code = costeer_parts_split(request->context, strlen(request->context), &out->parts, err);
    code = code == COSTEER_OK ? allocate(out, err) : code;
    code = code == COSTEER_OK ? list_asked(request, &out->parts, n_max, &asked, &n_asked, err) : code;
    if (code == COSTEER_OK && n_asked > 0) {
        const cs_select_asked parts = {.text = request->context, .parts = &out->parts, .asked = asked, .n = n_asked};
        code = cs_selector_judge(selector, request->query, &parts, out, err);
    }
    free(asked);
    if (code == COSTEER_OK) {
        choose(request, out);
        code = costeer_selection_update(out, request->context, err);
    }
    if (code != COSTEER_OK) {
        costeer_selection_dispose(out);
    }
    return code;
}
