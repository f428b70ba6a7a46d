/*
 * A hash table with open addressing. Texts come from files, so a text made to collide costs time: the tables live as long as one
 * row of an evaluation and hold its words, which the caller bounds by the size of a line.
 */
#include "eval/intern.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_SLOTS   256
#define FIRST_BYTES   2048
#define FIRST_STRINGS 128

/* FNV-1a, 64 bits; the high half is mixed in because only low bits choose the slot. */
static size_t hash(const char *bytes, size_t n_bytes)
{
    uint64_t h = 0xCBF29CE484222325U;
    for (size_t i = 0; i < n_bytes; i++) {
        h = (h ^ (unsigned char)bytes[i]) * 0x100000001B3U;
    }
    return (size_t)(h ^ (h >> 32));
}

const char *cs_intern_get(const cs_intern *table, int32_t id, size_t *n_bytes)
{
    size_t begin = id > 0 ? table->ends[id - 1] : 0;
    *n_bytes = table->ends[id] - begin;
    return table->bytes + begin;
}

/* The slot that has the string, or the free one where it belongs. */
static size_t find_slot(const cs_intern *table, const char *bytes, size_t n_bytes)
{
    size_t i = hash(bytes, n_bytes) & (table->n_slots - 1);
    while (table->slots[i] != 0) {
        size_t n;
        const char *there = cs_intern_get(table, (int32_t)(table->slots[i] - 1), &n);
        if (n == n_bytes && memcmp(there, bytes, n) == 0) {
            break;
        }
        i = (i + 1) & (table->n_slots - 1);
    }
    return i;
}

static bool grow_slots(cs_intern *table)
{
    size_t n_slots = table->n_slots == 0 ? FIRST_SLOTS : 2 * table->n_slots;
    uint32_t *slots = calloc(n_slots, sizeof *slots);
    if (slots == NULL) {
        return false;
    }
    free(table->slots);
    table->slots = slots;
    table->n_slots = n_slots;
    for (size_t id = 0; id < table->n; id++) {
        size_t n;
        const char *there = cs_intern_get(table, (int32_t)id, &n);
        table->slots[find_slot(table, there, n)] = (uint32_t)id + 1;
    }
    return true;
}

static bool grow_strings(cs_intern *table, size_t n_bytes)
{
    if (table->n == table->capacity) {
        size_t capacity = table->capacity == 0 ? FIRST_STRINGS : 2 * table->capacity;
        size_t *ends = realloc(table->ends, capacity * sizeof *ends);
        if (ends == NULL) {
            return false;
        }
        table->ends = ends;
        table->capacity = capacity;
    }
    if (table->n_bytes + n_bytes > table->bytes_capacity || table->bytes == NULL) {
        size_t capacity = table->bytes_capacity == 0 ? FIRST_BYTES : table->bytes_capacity;
        while (capacity < table->n_bytes + n_bytes) {
            capacity *= 2;
        }
        char *bytes = realloc(table->bytes, capacity);
        if (bytes == NULL) {
            return false;
        }
        table->bytes = bytes;
        table->bytes_capacity = capacity;
    }
    return true;
}

int32_t cs_intern_find(const cs_intern *table, const void *bytes, size_t n_bytes)
{
    return table->n_slots == 0 ? -1 : (int32_t)(table->slots[find_slot(table, bytes, n_bytes)]) - 1;
}

int32_t cs_intern_add(cs_intern *table, const void *bytes, size_t n_bytes)
{
    int32_t id = cs_intern_find(table, bytes, n_bytes);
    if (id >= 0) {
        return id;
    }
    /* At most half of the slots are used. */
    if (table->n >= INT32_MAX - 1 || (2 * (table->n + 1) > table->n_slots && !grow_slots(table)) ||
        !grow_strings(table, n_bytes)) {
        return -1;
    }
    if (n_bytes > 0) {
        memcpy(table->bytes + table->n_bytes, bytes, n_bytes);
    }
    table->n_bytes += n_bytes;
    table->ends[table->n++] = table->n_bytes;
    table->slots[find_slot(table, bytes, n_bytes)] = (uint32_t)table->n;
    return (int32_t)(table->n - 1);
}

void cs_intern_dispose(cs_intern *table)
{
    free(table->bytes);
    free(table->ends);
    free(table->slots);
    memset(table, 0, sizeof *table);
}
