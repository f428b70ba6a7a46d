/*
 * Different vocabularies: how the tokens of an LLM relate to those of an SLM that splits text in another way.
 *
 * The session always speaks the LLM's tokens. A map turns what the SLM knows (logits over its own tokens) into expert and amateur
 * over the LLM's. End-of-generation tokens are aligned by role, everything else by the bytes that a token stands for.
 */
#ifndef COSTEER_VOCAB_H
#define COSTEER_VOCAB_H

#include <costeer/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/** How two vocabularies are brought together. */
typedef enum costeer_vocab_mode {
    COSTEER_VOCAB_AUTO = 0, /**< same where they are identical, else byte */
    COSTEER_VOCAB_SAME = 1, /**< identical token-to-id maps are required */
    COSTEER_VOCAB_MAP = 2,  /**< by bytes; a token without a partner gets the delta of its longest prefix that has one, none: 0 */
    COSTEER_VOCAB_MAP_INTERSECT = 3, /**< the published variant: only tokens that both have can be chosen */
    COSTEER_VOCAB_BYTE = 4           /**< probability mass over a byte trie; the SLM follows the text, not the tokens */
} costeer_vocab_mode;

/** Its name: "auto", "same", "map", "map-intersect", "byte". */
COSTEER_API const char *costeer_vocab_mode_name(costeer_vocab_mode mode);

/** The tables between two vocabularies. Immutable: threads may share it. It does not refer to the models after creation. */
typedef struct costeer_vocab_map costeer_vocab_map;

typedef struct costeer_vocab_map_params {
    costeer_vocab_mode mode;
    const char *cache_dir; /**< where tables are kept by the hashes of both vocabularies, made when missing; NULL: nowhere. A file
                              that is damaged or of another version is made anew; one that cannot be written is no error */
} costeer_vocab_map_params;

/**
 * Bring the vocabularies of two models together.
 *
 * Identical vocabularies give a map of mode SAME whatever was asked for, because a token of one is then the very same event in
 * the other (docs/vocabularies.md).
 *
 * @param llm,slm   loaded at least with their vocabularies; not needed afterwards
 * @param[out] out  free with costeer_vocab_map_free() after everything made with it; NULL on failure
 * @return COSTEER_OK; COSTEER_EPAIR: SAME was asked for and they differ (the message names the first difference), or nothing of
 *         the two is alike; COSTEER_ENOMEM
 */
COSTEER_API costeer_err costeer_vocab_map_create(const costeer_model *llm, const costeer_model *slm,
                                                 const costeer_vocab_map_params *params, costeer_vocab_map **out,
                                                 costeer_error *err);
COSTEER_API void costeer_vocab_map_free(costeer_vocab_map *map);

/** The mode in use: never AUTO. */
COSTEER_API costeer_vocab_mode costeer_vocab_map_mode(const costeer_vocab_map *map);

/** What the LLM's tokens found in the SLM's vocabulary. */
typedef struct costeer_vocab_coverage {
    int32_t n_llm;     /**< tokens of the LLM */
    int32_t n_slm;     /**< tokens of the SLM */
    int32_t n_exact;   /**< of the LLM's, those with a partner of the very same bytes */
    int32_t n_prefix;  /**< those whose longest prefix with a partner is shorter than they are */
    int32_t n_end;     /**< end-of-generation tokens, aligned by role */
    int32_t n_control; /**< special tokens with a partner of the same name */
    int32_t n_none;    /**< those with nothing */
    bool was_cached;   /**< the tables came from cache_dir */
    int64_t build_us;  /**< time that creating the map took */
} costeer_vocab_coverage;

COSTEER_API void costeer_vocab_map_read_coverage(const costeer_vocab_map *map, costeer_vocab_coverage *out);

/** The SLM's token that stands for an LLM's token: the same bytes, or (modes other than MAP_INTERSECT) its longest prefix; −1:
 * none. SAME: the token itself. */
COSTEER_API int32_t costeer_vocab_map_partner(const costeer_vocab_map *map, int32_t llm_token);

/**
 * Time what mode BYTE computes for one row of the SLM's logits, on made-up ones: for benches.
 *
 * @param[out] us  [n_runs] microseconds of each pass
 * @return COSTEER_OK; COSTEER_EINVAL: the map is of another mode; COSTEER_ENOMEM
 */
COSTEER_API costeer_err costeer_vocab_map_time_passes(const costeer_vocab_map *map, size_t n_runs, double *us,
                                                      costeer_error *err);

#ifdef __cplusplus
}
#endif
#endif
