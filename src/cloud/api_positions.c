/*
 * Sorting is by value, then by id: engines sort by their own logits, whose ties JSON's rounding may have made, and the lowest id
 * wins a tie everywhere in CoSteer. Only the K best are kept: vLLM adds the sampled token to them when it is not among them, and
 * with it the last value would be no bound of the unsent ones.
 */
#include "cloud/api_positions.h"

#include "util/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Models pad their output beyond the tokenizer's vocabulary, each family member by its own multiple (128 … 1,024): such ids may
 * come. */
#define PADDING_MAX 4096

/* What stands for −inf where JSON has none: −9999 in vLLM, the smallest float in llama-server. No real log-probability is near
 * it. */
#define NEGATIVE_INFINITY (-9000.0)

/* Rounding of single values, in nats (certify.c allows the same). */
#define VALUE_SLACK 1e-4

/*
 * What a softmax may lose of its sum, as a share, for each token of the vocabulary: an engine that adds up in float32, one after
 * the other, rounds each time by half a unit in the last place (llama-server does; 152k tokens: 7e-4 seen, 9e-3 at most). All
 * probabilities are then too large by the same factor.
 */
#define SUM_LOSS 0x1p-24

/* Log-probabilities of two tokens with the same logit may differ by rounding. */
#define TIE_NATS 1e-3F

/* Drafts of one request, or tokens of one event: more is a mistake. */
#define POSITIONS_MAX 1048576

static costeer_err no_memory(costeer_error *err)
{
    return cs_error_set(err, COSTEER_ENOMEM, "cloud", "no memory for an engine's answer");
}

costeer_err cs_api_positions_init(cs_api_positions *positions, int32_t n_vocab, costeer_error *err)
{
    *positions = (cs_api_positions){.n_vocab = n_vocab, .sum_error = (float)(n_vocab * SUM_LOSS)};
    positions->seen = calloc(((size_t)n_vocab + 63) / 64, sizeof *positions->seen);
    return positions->seen != NULL ? COSTEER_OK : no_memory(err);
}

void cs_api_positions_dispose(cs_api_positions *positions)
{
    for (int32_t i = 0; i < positions->capacity; i++) {
        cs_buffer_dispose(&positions->ring[i].block);
    }
    free(positions->ring);
    free(positions->scratch);
    free(positions->seen);
    *positions = (cs_api_positions){.n_vocab = 0};
}

void cs_api_positions_reset(cs_api_positions *positions, int32_t first)
{
    positions->first = first;
    positions->n = 0;
}

static cs_api_position *at(const cs_api_positions *positions, int32_t i)
{
    return &positions->ring[(positions->head + i) % positions->capacity];
}

const cs_api_position *cs_api_positions_find(const cs_api_positions *positions, int32_t position)
{
    const int32_t i = position - positions->first;
    return i >= 0 && i < positions->n ? at(positions, i) : NULL;
}

void cs_api_positions_drop_before(cs_api_positions *positions, int32_t position)
{
    while (positions->n > 0 && positions->first < position) {
        positions->head = (positions->head + 1) % positions->capacity;
        positions->first++;
        positions->n--;
    }
}

/* ---- adding ------------------------------------------------------------------------------------------------------ */

/* A place behind the last. Growing keeps the order by turning the ring to begin at 0. */
static cs_api_position *push(cs_api_positions *positions)
{
    if (positions->n == positions->capacity) {
        const int32_t capacity = positions->capacity == 0 ? 8 : 2 * positions->capacity;
        cs_api_position *ring = capacity > POSITIONS_MAX ? NULL : calloc((size_t)capacity, sizeof *ring);
        if (ring == NULL) {
            return NULL;
        }
        for (int32_t i = 0; i < positions->n; i++) {
            ring[i] = *at(positions, i);
        }
        free(positions->ring);
        positions->ring = ring;
        positions->capacity = capacity;
        positions->head = 0;
    }
    cs_api_position *p = at(positions, positions->n++);
    p->n = 0;
    p->own_token = -1;
    p->is_known = p->is_all = false;
    return p;
}

void cs_api_positions_begin(cs_api_positions *positions)
{
    positions->n_scratch = positions->n_padding = 0;
}

costeer_err cs_api_positions_add(cs_api_positions *positions, int64_t id, double value, costeer_error *err)
{
    if (id < 0 || id >= (int64_t)positions->n_vocab + PADDING_MAX) {
        return cs_error_set(err, COSTEER_ECLOUD, "cloud", "the engine sent token %lld, which is not one of the vocabulary's %d",
                            (long long)id, positions->n_vocab);
    }
    if (isnan(value) || value > VALUE_SLACK + (double)positions->sum_error) {
        return cs_error_set(err, COSTEER_ECLOUD, "cloud",
                            "the engine sent %g for token %lld, which is no log-probability: it may send logits (vLLM: start it "
                            "with --logprobs-mode raw_logprobs)",
                            value, (long long)id);
    }
    if (id >= positions->n_vocab) {
        positions->n_padding += positions->n_padding < PADDING_MAX;
        return COSTEER_OK;
    }
    const float logprob = value <= NEGATIVE_INFINITY ? -INFINITY : (float)value; /* the former are left out at the end */
    if (positions->n_scratch == positions->scratch_capacity) {
        const int32_t capacity = positions->scratch_capacity == 0 ? 128 : 2 * positions->scratch_capacity;
        cs_api_entry *larger = capacity / 4 > positions->n_vocab + PADDING_MAX
                                   ? NULL
                                   : realloc(positions->scratch, (size_t)capacity * sizeof *larger);
        if (larger == NULL) {
            return no_memory(err);
        }
        positions->scratch = larger;
        positions->scratch_capacity = capacity;
    }
    positions->scratch[positions->n_scratch++] = (cs_api_entry){.id = (int32_t)id, .value = logprob};
    return COSTEER_OK;
}

static int compare(const void *left, const void *right)
{
    const cs_api_entry *a = left;
    const cs_api_entry *b = right;
    if (a->value != b->value) {
        return a->value > b->value ? -1 : 1;
    }
    return a->id < b->id ? -1 : a->id > b->id;
}

static void sort(cs_api_entry *entries, int32_t n)
{
    for (int32_t i = 1; i < n; i++) {
        if (compare(&entries[i - 1], &entries[i]) > 0) {
            qsort(entries, (size_t)n, sizeof *entries, compare);
            return;
        }
    }
}

/* What is more than 1 altogether is made 1: the engine's sum was too small. */
static costeer_err check(cs_api_positions *positions, costeer_error *err)
{
    double sum = 0;
    costeer_err code = COSTEER_OK;
    for (int32_t i = 0; code == COSTEER_OK && i < positions->n_scratch; i++) {
        const cs_api_entry *e = &positions->scratch[i];
        const uint64_t bit = UINT64_C(1) << (e->id & 63);
        if (positions->seen[e->id >> 6] & bit) {
            code = cs_error_set(err, COSTEER_ECLOUD, "cloud", "the engine sent token %d twice for one position", e->id);
        }
        positions->seen[e->id >> 6] |= bit;
        sum += exp((double)e->value);
    }
    for (int32_t i = 0; i < positions->n_scratch; i++) {
        positions->seen[positions->scratch[i].id >> 6] = 0;
    }
    if (code == COSTEER_OK && sum > exp(VALUE_SLACK + (double)positions->sum_error)) {
        return cs_error_set(err, COSTEER_ECLOUD, "cloud",
                            "the engine's probabilities add up to %.4f, more than 1: they are not raw log-probabilities (vLLM: "
                            "start it with --logprobs-mode raw_logprobs)",
                            sum);
    }
    const float excess = sum > 1 ? (float)log(sum) : 0;
    for (int32_t i = 0; i < positions->n_scratch && sum > 1; i++) {
        positions->scratch[i].value = fminf(positions->scratch[i].value - excess, 0.0F);
    }
    return code;
}

/* Put the first n entries into the position: ids, and values behind them, in one block. */
static bool fill(cs_api_position *p, const cs_api_entry *entries, int32_t n)
{
    p->block.n_bytes = 0;
    p->block.cap = SIZE_MAX / 4;
    if (!cs_buffer_append(&p->block, (const char *)entries, (size_t)n * sizeof *entries)) { /* as long as the two arrays */
        return false;
    }
    p->ids = (int32_t *)(void *)p->block.bytes;
    p->values = (float *)(void *)(p->ids + n);
    for (int32_t i = 0; i < n; i++) {
        p->ids[i] = entries[i].id;
        p->values[i] = entries[i].value;
    }
    p->n = n;
    return true;
}

/* Where K is cut without a word, the sampled token may have been added to fewer than were asked for: it is dropped where it is
 * the last and not the best. Returns how many are left of the first n. */
static int32_t drop_addition(const cs_api_positions *positions, int32_t n, int64_t own_token)
{
    const cs_api_entry *entries = positions->scratch;
    const bool is_addition = positions->n_scratch < positions->n_vocab && n > 1 && entries[n - 1].id == own_token &&
                             entries[0].value - entries[n - 1].value > TIE_NATS;
    return is_addition ? n - 1 : n;
}

static int32_t count_finite(const cs_api_entry *entries, int32_t n)
{
    while (n > 0 && entries[n - 1].value == -INFINITY) {
        n--;
    }
    return n;
}

/* At temperature 0 an engine goes on with its best token. One that says otherwise is not followed: it samples, has a penalty of
 * its own, or is wrong about itself. */
static bool is_best(const cs_api_position *position, int64_t token)
{
    for (int32_t i = 0; i < position->n && position->values[0] - position->values[i] <= TIE_NATS; i++) {
        if (position->ids[i] == token) {
            return true;
        }
    }
    return false;
}

costeer_err cs_api_positions_end(cs_api_positions *positions, int64_t own_token, int32_t top_k, costeer_error *err)
{
    const costeer_err code = check(positions, err);
    if (code != COSTEER_OK) {
        return code;
    }
    sort(positions->scratch, positions->n_scratch);
    const int32_t n_finite = drop_addition(positions, count_finite(positions->scratch, positions->n_scratch), own_token);
    const int32_t n = top_k > 0 && top_k < n_finite ? top_k : n_finite;
    if (n == 0) {
        return cs_error_set(err, COSTEER_ECLOUD, "cloud", "the engine sent a position without log-probabilities");
    }
    cs_api_position *p = push(positions);
    if (p == NULL || !fill(p, positions->scratch, n)) {
        return no_memory(err);
    }
    p->own_token = is_best(p, own_token) ? (int32_t)own_token : -1;
    p->is_known = true;
    p->n_sent = positions->n_scratch + positions->n_padding;
    p->is_all = n == n_finite && positions->n_scratch == positions->n_vocab; /* they are distinct */
    return COSTEER_OK;
}

costeer_err cs_api_positions_skip(cs_api_positions *positions, costeer_error *err)
{
    return push(positions) != NULL ? COSTEER_OK : no_memory(err);
}
