/* What a costeer_vocab_map holds, for the files that make it (vocab_align.c), keep it (vocab_cache.c) and use it (vocab_byte.c).
 */
#ifndef CS_CORE_VOCAB_INTERNAL_H
#define CS_CORE_VOCAB_INTERNAL_H

#include "core/vocab_strings.h"
#include "core/vocab_tables.h"
#include "core/vocab_words.h"

/* place[] of LLM tokens that are no text. */
#define CS_PLACE_NONE (-1)
#define CS_PLACE_END  (-2)

/** How many there are of everything; with it the layout of the block is known. */
typedef struct cs_vocab_sizes {
    int32_t n_llm;
    int32_t n_slm;
    int32_t n_ends;     /**< end tokens of the SLM */
    int32_t n_strings;  /**< distinct bytes of LLM and SLM tokens together */
    int32_t n_twins;    /**< SLM tokens whose bytes are those of another one */
    int32_t n_bytes;    /**< of all strings */
    int32_t n_spelling; /**< SLM tokens in spellings of more or less than one token */
} cs_vocab_sizes;

/** All arrays lie in one block, which is also what a cache file holds. */
struct costeer_vocab_map {
    costeer_vocab_mode mode;
    cs_vocab_sizes sizes;
    costeer_vocab_coverage coverage;
    char *block;          /**< [cs_vocab_block_bytes(&sizes)] */
    int32_t *partner;     /**< [n_llm] */
    int32_t *exact;       /**< [n_llm] */
    int32_t *place;       /**< [n_llm] of its string, or CS_PLACE_* */
    int32_t *ends;        /**< [n_ends] */
    int32_t *spelling_at; /**< [n_llm + 1] into spelling; a token with an exact partner has none */
    int32_t *at;          /**< [n_strings + 1] */
    int32_t *parent;      /**< [n_strings] */
    int32_t *stop;        /**< [n_strings] */
    int32_t *slm_token;   /**< [n_strings] the SLM's token of these bytes, −1 none */
    int32_t *twins;       /**< [2 n_twins] each with the SLM token that stands for its string */
    int32_t *spelling;    /**< [n_spelling] */
    char *bytes;          /**< [n_bytes] */
};

size_t cs_vocab_block_bytes(const cs_vocab_sizes *sizes);

/** A map with room for everything; NULL: no memory. */
costeer_vocab_map *cs_vocab_map_new(costeer_vocab_mode mode, const cs_vocab_sizes *sizes);

/** Make room for the tokens of spellings, of which there were none. False when memory could not be had. */
bool cs_vocab_map_add_spelling(costeer_vocab_map *map, int32_t n_spelling);

/** Count what the tables say (was_cached and build_us stay). */
void cs_vocab_map_count(costeer_vocab_map *map);

cs_vocab_strings cs_vocab_map_strings(const costeer_vocab_map *map);

/**
 * Align two vocabularies (vocab_align.c). They may be equal: tests align a vocabulary with itself.
 *
 * @param mode  MAP, MAP_INTERSECT or BYTE
 * @return COSTEER_OK; COSTEER_EPAIR: nothing is alike; COSTEER_ENOMEM
 */
costeer_err cs_vocab_map_align(const cs_vocab_words *llm, const cs_vocab_words *slm, costeer_vocab_mode mode,
                               costeer_vocab_map **out, costeer_error *err);

/**
 * Align, or take the tables from the cache and keep them there (vocab_map.c).
 *
 * @param cache_dir  NULL: nowhere
 */
costeer_err cs_vocab_map_build(const costeer_model *llm, const costeer_model *slm, costeer_vocab_mode mode, const char *cache_dir,
                               costeer_vocab_map **out, costeer_error *err);

/* ---- vocab_cache.c; both words have their hash ------------------------------------------------------------------- */

/** The tables from a file; NULL when there is none that is whole and made for these two and this mode. */
costeer_vocab_map *cs_vocab_cache_load(const char *dir, const cs_vocab_words *llm, const cs_vocab_words *slm,
                                       costeer_vocab_mode mode);

/** Keep the tables. What goes wrong is logged at debug level and no error: the next run makes them again. */
void cs_vocab_cache_store(const char *dir, const cs_vocab_words *llm, const cs_vocab_words *slm, const costeer_vocab_map *map);

#endif
