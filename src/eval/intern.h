/* Small numbers for byte strings: equal strings get equal ids, 0, 1, 2 … in the order they first come. */
#ifndef CS_EVAL_INTERN_H
#define CS_EVAL_INTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Owned by the caller; all-zero is an empty one. */
typedef struct cs_intern {
    char *bytes; /**< all strings, one behind the other */
    size_t n_bytes;
    size_t bytes_capacity;
    size_t *ends; /**< [n] end of each string in bytes */
    size_t n;     /**< strings */
    size_t capacity;
    uint32_t *slots; /**< [n_slots] id + 1, 0: free; open addressing */
    size_t n_slots;  /**< a power of two */
} cs_intern;

/** The id of a string, a new one for a new string; −1 when memory is out. */
int32_t cs_intern_add(cs_intern *table, const void *bytes, size_t n_bytes);

/** The id of a string, −1 when the table does not have it. */
int32_t cs_intern_find(const cs_intern *table, const void *bytes, size_t n_bytes);

/** A string by its id; valid until the next one is added. */
const char *cs_intern_get(const cs_intern *table, int32_t id, size_t *n_bytes);

void cs_intern_dispose(cs_intern *table);

#endif
