/*
 * Masses over the byte trie. The strings of both vocabularies are one sorted array in which a parent comes before its children,
 * so the mass below a string is one scan backwards, and the mass above it one scan forwards. Both only add: differences of
 * running sums would drown a rare word in the rounding of all others.
 *
 * Exponentials and logarithms are in float (vocab_math.h), sums in double and in a fixed order: the same bits on every machine.
 * Nothing is allocated once a cs_vocab_mass exists. Logits that are NaN, +inf or all −inf give NaN, which fusion reports.
 */
#include "core/vocab_internal.h"
#include "core/vocab_math.h"
#include "util/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct cs_vocab_mass {
    const costeer_vocab_map *map;
    cs_vocab_strings strings;
    float *row;         /* [n_slm] exp(logit − largest) of the row at hand; twins are added to the token that stands for them */
    double *own;        /* [n_strings] mass of the very string */
    double *below;      /* [n_strings] of strings that begin with it and are not in the array; then of all that begin with it */
    double *above;      /* [n_strings] of prefixes of it that are not in the array; then of all its proper prefixes */
    double reference;   /* weights are kept relative to the first one, so that only their ratios need to fit a double */
    double total;       /* of everything that was added */
    double end;         /* of the SLM's end tokens */
    int32_t *llm_token; /* [n_strings] the first of the LLM's tokens that has the string; −1: none */
    bool has_row;       /* own is filled */
    bool has_crossing;  /* below and above are */
};

static void find_llm_tokens(cs_vocab_mass *mass)
{
    const costeer_vocab_map *map = mass->map;
    for (int32_t i = 0; i < map->sizes.n_strings; i++) {
        mass->llm_token[i] = -1;
    }
    for (int32_t i = map->sizes.n_llm - 1; i >= 0; i--) {
        if (map->place[i] >= 0) {
            mass->llm_token[map->place[i]] = i;
        }
    }
}

costeer_err cs_vocab_mass_create(const costeer_vocab_map *map, cs_vocab_mass **out, costeer_error *err)
{
    const size_t n = (size_t)map->sizes.n_strings + 1;
    *out = NULL;
    cs_vocab_mass *mass = calloc(1, sizeof *mass);
    if (mass != NULL) {
        mass->map = map;
        mass->strings = cs_vocab_map_strings(map);
        mass->row = malloc(((size_t)map->sizes.n_slm + 1) * sizeof *mass->row);
        mass->own = malloc(n * sizeof *mass->own);
        mass->below = malloc(n * sizeof *mass->below);
        mass->above = malloc(n * sizeof *mass->above);
        mass->llm_token = malloc(n * sizeof *mass->llm_token);
    }
    if (mass == NULL || mass->row == NULL || mass->own == NULL || mass->below == NULL || mass->above == NULL ||
        mass->llm_token == NULL) {
        cs_vocab_mass_free(mass);
        return cs_error_set(err, COSTEER_ENOMEM, "vocab", "no memory for the masses of %d strings", map->sizes.n_strings);
    }
    find_llm_tokens(mass);
    cs_vocab_mass_begin(mass);
    *out = mass;
    return COSTEER_OK;
}

void cs_vocab_mass_free(cs_vocab_mass *mass)
{
    if (mass != NULL) {
        free(mass->row);
        free(mass->own);
        free(mass->below);
        free(mass->above);
        free(mass->llm_token);
        free(mass);
    }
}

void cs_vocab_mass_begin(cs_vocab_mass *mass)
{
    mass->reference = 0;
    mass->total = 0;
    mass->end = 0;
    mass->has_row = false;
    mass->has_crossing = false;
}

/* ---- a row of logits --------------------------------------------------------------------------------------------- */

/* Independent lanes, so that neither maximum nor sum waits for its own last result; their order is part of the result. */
#define LANES 16

static float find_max(const float *values, size_t n)
{
    float lane[LANES] = {0};
    for (size_t j = 0; j < LANES; j++) {
        lane[j] = -INFINITY;
    }
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            lane[j] = values[i + j] > lane[j] ? values[i + j] : lane[j];
        }
    }
    for (; i < n; i++) {
        lane[0] = values[i] > lane[0] ? values[i] : lane[0];
    }
    for (size_t j = 1; j < LANES; j++) {
        lane[0] = lane[j] > lane[0] ? lane[j] : lane[0];
    }
    return lane[0];
}

static double sum_of(const float *values, size_t n)
{
    double lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            lane[j] += (double)values[i + j];
        }
    }
    for (; i < n; i++) {
        lane[0] += (double)values[i];
    }
    for (size_t j = 1; j < LANES; j++) {
        lane[0] += lane[j];
    }
    return lane[0];
}

/* What rows weigh against the first one. */
static double relative_weight(cs_vocab_mass *mass, double log_weight)
{
    if (!mass->has_row) {
        mass->reference = log_weight;
    }
    return exp(log_weight - mass->reference);
}

/* Fill `row`; returns what its entries are multiplied by to be probabilities. */
static double read_row(cs_vocab_mass *mass, const float *logits)
{
    const costeer_vocab_map *map = mass->map;
    const size_t n = (size_t)map->sizes.n_slm;
    float *row = mass->row;
    const float max = find_max(logits, n);
    for (size_t i = 0; i < n; i++) {
        row[i] = cs_float_exp(logits[i] - max);
    }
    const double sum = sum_of(row, n);
    for (size_t i = 0; i < (size_t)map->sizes.n_twins; i++) {
        row[map->twins[2 * i + 1]] += row[map->twins[2 * i]];
    }
    return 1.0 / sum;
}

void cs_vocab_mass_add(cs_vocab_mass *mass, const float *logits, double log_weight)
{
    if (log_weight == -HUGE_VAL) {
        return;
    }
    const costeer_vocab_map *map = mass->map;
    const double weight = relative_weight(mass, log_weight);
    const double scale = weight * read_row(mass, logits);
    const int32_t *token = map->slm_token;
    const size_t n = (size_t)map->sizes.n_strings;
    if (mass->has_row) {
        for (size_t i = 0; i < n; i++) {
            mass->own[i] += token[i] >= 0 ? (double)mass->row[token[i]] * scale : 0.0;
        }
    } else {
        for (size_t i = 0; i < n; i++) {
            mass->own[i] = token[i] >= 0 ? (double)mass->row[token[i]] * scale : 0.0;
        }
    }
    mass->has_row = true;
    for (int32_t i = 0; i < map->sizes.n_ends; i++) {
        mass->end += (double)mass->row[map->ends[i]] * scale;
    }
    mass->total += weight;
}

/* ---- tokens that cross the end of the text ----------------------------------------------------------------------- */

static void clear(double *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        values[i] = 0.0;
    }
}

static void prepare_crossing(cs_vocab_mass *mass)
{
    const size_t n = (size_t)mass->strings.n;
    if (!mass->has_row) {
        clear(mass->own, n);
        mass->has_row = true;
    }
    if (!mass->has_crossing) {
        clear(mass->below, n);
        clear(mass->above, n);
        mass->has_crossing = true;
    }
}

/* The floor of a string that does not come before those looked for already: near the last one, so the step doubles from there. */
static int32_t floor_from(const cs_vocab_strings *strings, int32_t from, const char *s, size_t n)
{
    int32_t low = from < 0 ? 0 : from;
    int32_t step = 1;
    while (low + step < strings->n && cs_vocab_strings_compare(strings, low + step, s, n) <= 0) {
        low += step;
        step = step < strings->n / 2 ? step * 2 : step;
    }
    const int32_t high = low + step < strings->n ? low + step : strings->n;
    return cs_vocab_strings_floor(strings, low, high, s, n);
}

/* One more string of some mass, in the array or not: it counts for its prefixes and for what begins with it. */
static void place_mass(cs_vocab_mass *mass, int32_t floor, const char *s, size_t n, double value)
{
    const cs_vocab_strings *strings = &mass->strings;
    if (floor >= 0 && cs_vocab_strings_compare(strings, floor, s, n) == 0) {
        mass->own[floor] += value;
        return;
    }
    const int32_t prefix = cs_vocab_strings_deepest(strings, floor, s, n);
    if (prefix >= 0) {
        mass->below[prefix] += value;
    }
    for (int32_t i = floor + 1; i < strings->n; i = strings->stop[i]) {
        const size_t length = (size_t)(strings->at[i + 1] - strings->at[i]);
        if (length < n || memcmp(strings->bytes + strings->at[i], s, n) != 0) {
            break;
        }
        mass->above[i] += value;
    }
}

void cs_vocab_mass_add_crossing(cs_vocab_mass *mass, const float *logits, double log_weight, const char *pending,
                                size_t n_pending)
{
    if (log_weight == -HUGE_VAL || n_pending == 0) {
        return;
    }
    const cs_vocab_strings *strings = &mass->strings;
    const double weight = relative_weight(mass, log_weight);
    prepare_crossing(mass);
    const double scale = weight * read_row(mass, logits);
    const int32_t before = cs_vocab_strings_floor(strings, 0, strings->n, pending, n_pending);
    const int32_t end = cs_vocab_strings_range_end(strings, before, pending, n_pending);
    int32_t floor = -1; /* what is behind a common beginning comes in the same order */
    for (int32_t i = before + 1; i < end; i++) {
        const int32_t token = mass->map->slm_token[i];
        if (token < 0) {
            continue;
        }
        const char *rest = strings->bytes + strings->at[i] + n_pending;
        const size_t n_rest = (size_t)(strings->at[i + 1] - strings->at[i]) - n_pending;
        const double value = (double)mass->row[token] * scale;
        floor = floor_from(strings, floor, rest, n_rest);
        place_mass(mass, floor, rest, n_rest, value);
        mass->total += value;
    }
}

/* ---- tokens behind some bytes that may follow the text (for translate_byte.c) ------------------------------------------ */

typedef struct ahead {
    cs_vocab_mass *mass;
    double scale;
    char bytes[2 * COSTEER_PIECE_MAX]; /* those ahead, then a token's */
    size_t n;
    double placed;
} ahead;

/* One of the SLM's tokens counts as the bytes ahead with its own behind them. */
static void place_behind(ahead *a, int32_t string)
{
    const cs_vocab_strings *strings = &a->mass->strings;
    const int32_t token = a->mass->map->slm_token[string];
    const size_t n = (size_t)(strings->at[string + 1] - strings->at[string]);
    if (token < 0 || n > sizeof a->bytes - a->n) {
        return;
    }
    const double value = (double)a->mass->row[token] * a->scale;
    memcpy(a->bytes + a->n, strings->bytes + strings->at[string], n);
    place_mass(a->mass, cs_vocab_strings_floor(strings, 0, strings->n, a->bytes, a->n + n), a->bytes, a->n + n, value);
    a->placed += value;
}

/* The tokens that begin with `rest` or are what it begins with, but for what the string before it begins with too. */
static void place_like(ahead *a, const char *rest, size_t n, const char *before, size_t n_before)
{
    const cs_vocab_strings *strings = &a->mass->strings;
    const int32_t floor = cs_vocab_strings_floor(strings, 0, strings->n, rest, n);
    const int32_t end = cs_vocab_strings_range_end(strings, floor, rest, n);
    for (int32_t i = floor + 1; i < end; i++) {
        place_behind(a, i);
    }
    for (int32_t i = cs_vocab_strings_deepest(strings, floor, rest, n); i >= 0; i = strings->parent[i]) {
        if (n_before == 0 || !cs_vocab_strings_is_prefix(strings, i, before, n_before)) {
            place_behind(a, i);
        }
    }
}

void cs_vocab_mass_add_behind(cs_vocab_mass *mass, const float *logits, double log_weight, const char *bytes, size_t n_bytes)
{
    if (log_weight == -HUGE_VAL || n_bytes == 0 || n_bytes > COSTEER_PIECE_MAX) {
        return;
    }
    const cs_vocab_strings *strings = &mass->strings;
    const double weight = relative_weight(mass, log_weight);
    prepare_crossing(mass);
    ahead a = {.mass = mass, .scale = weight * read_row(mass, logits), .n = n_bytes};
    memcpy(a.bytes, bytes, n_bytes);
    const int32_t floor = cs_vocab_strings_floor(strings, 0, strings->n, bytes, n_bytes);
    const int32_t end = cs_vocab_strings_range_end(strings, floor, bytes, n_bytes);
    const char *before = "";
    size_t n_before = 0;
    for (int32_t i = floor + 1; i < end; i = strings->stop[i]) {
        const char *rest = strings->bytes + strings->at[i] + n_bytes;
        const size_t n_rest = (size_t)(strings->at[i + 1] - strings->at[i]) - n_bytes;
        place_like(&a, rest, n_rest, before, n_before);
        before = rest;
        n_before = n_rest;
    }
    /* what goes on otherwise, or ends there, makes the bytes themselves likely and nothing that is longer */
    const int32_t deepest = cs_vocab_strings_deepest(strings, floor, bytes, n_bytes);
    if (deepest >= 0 && weight > a.placed) {
        mass->below[deepest] += weight - a.placed;
    }
    mass->total += weight;
}

/* ---- the result -------------------------------------------------------------------------------------------------- */

/* What no string of the array leads to is this unlikely against the total: never chosen, yet finite, so that an expert may find
 * likely what an amateur does not. */
#define LEAST (-60.0)

/* Make all arrays valid, whatever was added. */
static void fill_up(cs_vocab_mass *mass)
{
    const size_t n = (size_t)mass->strings.n;
    if (!mass->has_row) {
        clear(mass->own, n);
    }
    if (!mass->has_crossing) {
        clear(mass->below, n);
        clear(mass->above, n);
    }
}

/* Leave in `below` the mass of each string: its own, of all that begins with it, and of its prefixes. */
static void sum_up(cs_vocab_mass *mass)
{
    const int32_t n = mass->strings.n;
    const int32_t *parent = mass->strings.parent;
    double *own = mass->own;
    double *below = mass->below;
    double *above = mass->above;
    for (int32_t i = n - 1; i >= 0; i--) {
        below[i] += own[i];
        if (parent[i] >= 0) {
            below[parent[i]] += below[i];
        }
    }
    for (int32_t i = 0; i < n; i++) {
        if (parent[i] >= 0) {
            above[i] += above[parent[i]] + own[parent[i]];
        }
        below[i] += above[i];
    }
}

double cs_vocab_mass_total(const cs_vocab_mass *mass)
{
    return mass->reference + log(mass->total);
}

/* The log of what `below` has of each LLM token; `none` for tokens without bytes. */
static void write_logs(const cs_vocab_mass *mass, double none, float *out)
{
    const costeer_vocab_map *map = mass->map;
    const size_t n = (size_t)map->sizes.n_llm;
    /* In float, as multiples of 2^-100 of the total: they reach down to 2^-226 of it, far below what exp() gives. */
    const double unit = mass->total > 0 ? 0x1p100 / mass->total : 1.0;
    const double *below = mass->below;
    const float end = (float)(mass->end * unit);
    const float of_none = (float)(none * unit);
    for (size_t i = 0; i < n; i++) {
        const int32_t place = map->place[i];
        out[i] = place >= 0 ? (float)(below[place] * unit) : (place == CS_PLACE_END ? end : of_none);
    }
    const float total = (float)cs_vocab_mass_total(mass);
    for (size_t i = 0; i < n; i++) {
        out[i] = cs_float_log(out[i], -100) + total;
    }
}

void cs_vocab_mass_finish(cs_vocab_mass *mass, float *out)
{
    fill_up(mass);
    sum_up(mass);
    write_logs(mass, mass->total, out);
}

/* Mass goes up from a string to the one that it begins with only as long as no LLM token has stopped it. */
void cs_vocab_mass_finish_longest(cs_vocab_mass *mass, float *out)
{
    const int32_t *parent = mass->strings.parent;
    fill_up(mass);
    for (int32_t i = mass->strings.n - 1; i >= 0; i--) {
        mass->below[i] += mass->own[i];
        if (parent[i] >= 0 && mass->llm_token[i] < 0) {
            mass->below[parent[i]] += mass->below[i];
        }
    }
    write_logs(mass, 0.0, out);
    const float least = (float)(cs_vocab_mass_total(mass) + LEAST);
    for (int32_t i = 0; i < mass->map->sizes.n_llm; i++) {
        const int32_t place = mass->map->place[i];
        const bool is_twin = place >= 0 && mass->llm_token[place] != i; /* the same text must not be drawn twice as often */
        out[i] = is_twin ? -INFINITY : (place != CS_PLACE_NONE && out[i] < least ? least : out[i]);
    }
}
