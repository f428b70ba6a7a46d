/* The special tokens of a vocabulary, and where a text spells one. */
#ifndef CS_CORE_SPECIAL_H
#define CS_CORE_SPECIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct cs_special_token {
    const char *text; /**< the vocabulary's */
    int32_t token;
} cs_special_token;

/** All-zero: none. */
typedef struct cs_special {
    cs_special_token *items; /**< [n] sorted by text */
    size_t n;
    bool begins[256]; /**< whether a spelling begins with that byte */
} cs_special;

/** Make room for n tokens, once. False when memory could not be had. */
bool cs_special_reserve(cs_special *special, size_t n);
void cs_special_add(cs_special *special, const char *text, int32_t token);

/** To be called when all are there, before anything is looked for. */
void cs_special_sort(cs_special *special);
void cs_special_dispose(cs_special *special);

/** As cs_model_find_special(), cs_model_touches_special(). */
bool cs_special_find(const cs_special *special, const char *text, size_t n, size_t *at, int32_t *token);
bool cs_special_touches(const cs_special *special, const char *text, size_t n);

#endif
