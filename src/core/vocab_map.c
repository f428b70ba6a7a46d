/*
 * The map between two vocabularies: choosing its mode, making it or finding it in the cache, and everything that is asked of it.
 *
 * Identical vocabularies are the same whatever was asked for: the id of a token is then the finest event that both models know,
 * and any table could only blur it. How tables are made is in vocab_align.c, where they are kept in vocab_cache.c.
 */
#include "core/vocab_internal.h"
#include "util/clock.h"
#include "util/error.h"

#include <stdlib.h>
#include <string.h>

static const char *const mode_names[] = {"auto", "same", "map", "map-intersect", "byte"}; /* in the enum's order */

const char *costeer_vocab_mode_name(costeer_vocab_mode mode)
{
    return (size_t)mode < sizeof mode_names / sizeof mode_names[0] ? mode_names[mode] : "unknown";
}

/* ---- the block --------------------------------------------------------------------------------------------------- */

/* How many 32-bit numbers stand before the bytes of the strings. Sizes are below 2^31, so nothing can overflow 64 bits. */
static size_t count_numbers(const cs_vocab_sizes *s)
{
    return 4 * (size_t)s->n_llm + 1 + (size_t)s->n_ends + 4 * (size_t)s->n_strings + 1 + 2 * (size_t)s->n_twins +
           (size_t)s->n_spelling;
}

size_t cs_vocab_block_bytes(const cs_vocab_sizes *sizes)
{
    return count_numbers(sizes) * sizeof(int32_t) + (size_t)sizes->n_bytes;
}

static int32_t *take(int32_t **next, size_t n)
{
    int32_t *taken = *next;
    *next += n;
    return taken;
}

static void lay_out(costeer_vocab_map *map)
{
    const cs_vocab_sizes *s = &map->sizes;
    int32_t *next = (int32_t *)(void *)map->block;
    map->partner = take(&next, (size_t)s->n_llm);
    map->exact = take(&next, (size_t)s->n_llm);
    map->place = take(&next, (size_t)s->n_llm);
    map->spelling_at = take(&next, (size_t)s->n_llm + 1);
    map->ends = take(&next, (size_t)s->n_ends);
    map->at = take(&next, (size_t)s->n_strings + 1);
    map->parent = take(&next, (size_t)s->n_strings);
    map->stop = take(&next, (size_t)s->n_strings);
    map->slm_token = take(&next, (size_t)s->n_strings);
    map->twins = take(&next, 2 * (size_t)s->n_twins);
    map->spelling = take(&next, (size_t)s->n_spelling);
    map->bytes = (char *)next;
}

costeer_vocab_map *cs_vocab_map_new(costeer_vocab_mode mode, const cs_vocab_sizes *sizes)
{
    costeer_vocab_map *map = calloc(1, sizeof *map);
    char *block = calloc(cs_vocab_block_bytes(sizes), 1);
    if (map == NULL || block == NULL) {
        free(map);
        free(block);
        return NULL;
    }
    map->mode = mode;
    map->sizes = *sizes;
    map->block = block;
    lay_out(map);
    return map;
}

bool cs_vocab_map_add_spelling(costeer_vocab_map *map, int32_t n_spelling)
{
    cs_vocab_sizes sizes = map->sizes;
    sizes.n_spelling = n_spelling;
    char *block = realloc(map->block, cs_vocab_block_bytes(&sizes));
    if (block == NULL) {
        return false;
    }
    map->block = block;
    lay_out(map); /* where the bytes stand now */
    const char *bytes = map->bytes;
    map->sizes = sizes;
    lay_out(map);
    memmove(map->bytes, bytes, (size_t)sizes.n_bytes);
    return true;
}

cs_vocab_strings cs_vocab_map_strings(const costeer_vocab_map *map)
{
    return (cs_vocab_strings){
        .n = map->sizes.n_strings, .at = map->at, .bytes = map->bytes, .parent = map->parent, .stop = map->stop};
}

void cs_vocab_map_count(costeer_vocab_map *map)
{
    costeer_vocab_coverage counted = {.n_llm = map->sizes.n_llm,
                                      .n_slm = map->sizes.n_slm,
                                      .was_cached = map->coverage.was_cached,
                                      .build_us = map->coverage.build_us};
    for (int32_t i = 0; i < map->sizes.n_llm; i++) {
        if (map->partner[i] < 0) {
            counted.n_none++;
        } else if (map->place[i] == CS_PLACE_END) {
            counted.n_end++;
        } else if (map->place[i] == CS_PLACE_NONE) {
            counted.n_control++;
        } else if (map->exact[i] >= 0) {
            counted.n_exact++;
        } else {
            counted.n_prefix++;
        }
    }
    map->coverage = counted;
}

/* ---- making one -------------------------------------------------------------------------------------------------- */

static costeer_err make_same(const cs_vocab_words *llm, const cs_vocab_words *slm, costeer_vocab_map **out, costeer_error *err)
{
    cs_vocab_sizes sizes = {.n_llm = llm->n, .n_slm = slm->n};
    for (int32_t i = 0; i < slm->n; i++) {
        sizes.n_ends += slm->kinds[i] == CS_WORD_END;
    }
    costeer_vocab_map *map = cs_vocab_map_new(COSTEER_VOCAB_SAME, &sizes);
    if (map == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "vocab", "no memory for a table of %d tokens", llm->n);
    }
    int32_t n_ends = 0;
    for (int32_t i = 0; i < llm->n; i++) {
        map->partner[i] = i;
        map->exact[i] = i;
        map->place[i] = llm->kinds[i] == CS_WORD_END ? CS_PLACE_END : (cs_vocab_words_is_text(llm, i) ? 0 : CS_PLACE_NONE);
        if (slm->kinds[i] == CS_WORD_END) {
            map->ends[n_ends++] = i;
        }
    }
    *out = map;
    return COSTEER_OK;
}

static costeer_err make_tables(cs_vocab_words *llm, cs_vocab_words *slm, costeer_vocab_mode mode, const char *cache_dir,
                               costeer_vocab_map **out, costeer_error *err)
{
    if (mode == COSTEER_VOCAB_SAME) {
        return make_same(llm, slm, out, err);
    }
    const bool is_kept = cache_dir != NULL && cs_vocab_words_hash(llm) && cs_vocab_words_hash(slm);
    *out = is_kept ? cs_vocab_cache_load(cache_dir, llm, slm, mode) : NULL;
    if (*out != NULL) {
        (*out)->coverage.was_cached = true;
        return COSTEER_OK;
    }
    const costeer_err code = cs_vocab_map_align(llm, slm, mode, out, err);
    if (code == COSTEER_OK && is_kept) {
        cs_vocab_cache_store(cache_dir, llm, slm, *out);
    }
    return code;
}

costeer_err cs_vocab_map_build(const costeer_model *llm, const costeer_model *slm, costeer_vocab_mode mode, const char *cache_dir,
                               costeer_vocab_map **out, costeer_error *err)
{
    cs_vocab_words of_llm = {.n = 0};
    cs_vocab_words of_slm = {.n = 0};
    *out = NULL;
    costeer_err code = cs_vocab_words_read(llm, &of_llm, err);
    code = code == COSTEER_OK ? cs_vocab_words_read(slm, &of_slm, err) : code;
    code = code == COSTEER_OK ? make_tables(&of_llm, &of_slm, mode, cache_dir, out, err) : code;
    cs_vocab_words_dispose(&of_slm);
    cs_vocab_words_dispose(&of_llm);
    if (*out != NULL) {
        cs_vocab_map_count(*out);
    }
    return code;
}

costeer_err costeer_vocab_map_create(const costeer_model *llm, const costeer_model *slm, const costeer_vocab_map_params *params,
                                     costeer_vocab_map **out, costeer_error *err)
{
    if (out == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "vocab", "out must not be NULL");
    }
    *out = NULL;
    static const costeer_vocab_map_params defaults;
    params = params == NULL ? &defaults : params;
    const costeer_vocab_mode mode = params->mode;
    if (llm == NULL || slm == NULL || (size_t)mode >= sizeof mode_names / sizeof mode_names[0]) {
        return cs_error_set(err, COSTEER_EINVAL, "vocab", "two models and a mode from 0 to 4 are needed");
    }
    const int64_t start_us = cs_clock_us();
    costeer_error difference = {.code = COSTEER_OK};
    const bool is_same = costeer_model_check_pair(llm, slm, &difference) == COSTEER_OK;
    if (!is_same && mode == COSTEER_VOCAB_SAME) {
        return cs_error_set(err, COSTEER_EPAIR, "vocab", "%s; use two models of one family, or bring them together (mode byte)",
                            difference.message);
    }
    const costeer_vocab_mode chosen = is_same ? COSTEER_VOCAB_SAME : (mode == COSTEER_VOCAB_AUTO ? COSTEER_VOCAB_BYTE : mode);
    const costeer_err code = cs_vocab_map_build(llm, slm, chosen, params->cache_dir, out, err);
    if (*out != NULL) {
        (*out)->coverage.build_us = cs_clock_us() - start_us;
    }
    return code;
}

void costeer_vocab_map_free(costeer_vocab_map *map)
{
    if (map != NULL) {
        free(map->block);
        free(map);
    }
}

/* ---- asking it --------------------------------------------------------------------------------------------------- */

costeer_vocab_mode costeer_vocab_map_mode(const costeer_vocab_map *map)
{
    return map->mode;
}

void costeer_vocab_map_read_coverage(const costeer_vocab_map *map, costeer_vocab_coverage *out)
{
    *out = map->coverage;
}

static bool is_llm_token(const costeer_vocab_map *map, int32_t token)
{
    return token >= 0 && token < map->sizes.n_llm;
}

int32_t costeer_vocab_map_partner(const costeer_vocab_map *map, int32_t llm_token)
{
    return is_llm_token(map, llm_token) ? map->partner[llm_token] : -1;
}

const int32_t *cs_vocab_map_partners(const costeer_vocab_map *map)
{
    return map->mode == COSTEER_VOCAB_SAME ? NULL : map->partner;
}

int32_t cs_vocab_map_n_llm(const costeer_vocab_map *map)
{
    return map->sizes.n_llm;
}

int32_t cs_vocab_map_n_slm(const costeer_vocab_map *map)
{
    return map->sizes.n_slm;
}

size_t cs_vocab_map_spelling(const costeer_vocab_map *map, int32_t llm_token, const int32_t **tokens)
{
    *tokens = NULL;
    if (!is_llm_token(map, llm_token)) {
        return 0;
    }
    if (map->exact[llm_token] >= 0) {
        *tokens = &map->exact[llm_token];
        return 1;
    }
    *tokens = map->spelling + map->spelling_at[llm_token];
    return (size_t)(map->spelling_at[llm_token + 1] - map->spelling_at[llm_token]);
}

const int32_t *cs_vocab_map_slm_ends(const costeer_vocab_map *map, size_t *n)
{
    *n = (size_t)map->sizes.n_ends;
    return map->ends;
}

bool cs_vocab_map_is_end(const costeer_vocab_map *map, int32_t llm_token)
{
    return is_llm_token(map, llm_token) && map->place[llm_token] == CS_PLACE_END;
}

const char *cs_vocab_map_bytes(const costeer_vocab_map *map, int32_t llm_token, size_t *n)
{
    *n = 0;
    if (!is_llm_token(map, llm_token) || map->place[llm_token] < 0 || map->place[llm_token] >= map->sizes.n_strings) {
        return map->bytes;
    }
    const int32_t place = map->place[llm_token];
    *n = (size_t)(map->at[place + 1] - map->at[place]);
    return map->bytes + map->at[place];
}

const int32_t *cs_vocab_map_exact(const costeer_vocab_map *map)
{
    return map->exact;
}

/* ---- time -------------------------------------------------------------------------------------------------------- */

static void time_passes(cs_vocab_mass *mass, const float *logits, float *out, size_t n_runs, double *us)
{
    for (size_t run = 0; run < n_runs; run++) {
        const int64_t start_us = cs_clock_us();
        cs_vocab_mass_begin(mass);
        cs_vocab_mass_add(mass, logits, 0.0);
        cs_vocab_mass_finish(mass, out);
        us[run] = (double)(cs_clock_us() - start_us);
    }
}

costeer_err costeer_vocab_map_time_passes(const costeer_vocab_map *map, size_t n_runs, double *us, costeer_error *err)
{
    if (map == NULL || us == NULL || map->mode != COSTEER_VOCAB_BYTE) {
        return cs_error_set(err, COSTEER_EINVAL, "vocab", "only a map of mode byte has passes to time");
    }
    const size_t n_llm = (size_t)map->sizes.n_llm;
    const size_t n_slm = (size_t)map->sizes.n_slm;
    float *logits = malloc((n_llm + n_slm) * sizeof *logits);
    if (logits == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "vocab", "no memory for %zu logits", n_slm);
    }
    for (size_t i = 0; i < n_slm; i++) {
        logits[i] = (float)((uint32_t)i * 2654435761U >> 16) * (20.0F / 65536.0F); /* Knuth's multiplier scatters them */
    }
    cs_vocab_mass *mass;
    const costeer_err code = cs_vocab_mass_create(map, &mass, err);
    if (code == COSTEER_OK) {
        time_passes(mass, logits, logits + n_slm, n_runs, us);
    }
    cs_vocab_mass_free(mass);
    free(logits);
    return code;
}
