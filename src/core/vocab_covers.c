/*
 * Which tokens the SLM may say where the text ends, and which of the LLM's tokens go on behind them: look-ups in the trie of both
 * vocabularies. What begins with some bytes is one range of it, what they begin with is one chain of parents.
 */
#include "core/vocab_internal.h"

#include <math.h>

typedef struct search {
    const costeer_vocab_map *map;
    const float *logits;
    const int32_t *but;
    size_t n_but;
    int32_t token;
    float logit;
} search;

static void look_at(search *s, int32_t string)
{
    const int32_t token = s->map->slm_token[string];
    if (token < 0 || !(s->logits[token] > s->logit)) {
        return;
    }
    for (size_t i = 0; i < s->n_but; i++) {
        if (s->but[i] == token) {
            return;
        }
    }
    s->token = token;
    s->logit = s->logits[token];
}

int32_t cs_vocab_map_likeliest(const costeer_vocab_map *map, const float *logits, const char *bytes, size_t n, const int32_t *but,
                               size_t n_but)
{
    const cs_vocab_strings strings = cs_vocab_map_strings(map);
    search s = {.map = map, .logits = logits, .but = but, .n_but = n_but, .token = -1, .logit = -INFINITY};
    const int32_t floor = cs_vocab_strings_floor(&strings, 0, strings.n, bytes, n);
    const int32_t end = cs_vocab_strings_range_end(&strings, floor, bytes, n);
    for (int32_t i = floor + 1; i < end; i++) {
        look_at(&s, i);
    }
    for (int32_t i = cs_vocab_strings_deepest(&strings, floor, bytes, n); i >= 0; i = strings.parent[i]) {
        look_at(&s, i);
    }
    return s.token;
}

int32_t cs_vocab_map_count_longer(const costeer_vocab_map *map, const char *bytes, size_t n)
{
    const cs_vocab_strings strings = cs_vocab_map_strings(map);
    const int32_t floor = cs_vocab_strings_floor(&strings, 0, strings.n, bytes, n);
    return cs_vocab_strings_range_end(&strings, floor, bytes, n) - floor - 1;
}
