/*
 * Maps between real vocabularies: every token's partner and spelling against a reference that looks strings up in a hash table,
 * the roles of end tokens, masses of a sample, the cache, and the time all of it takes.
 */
#include "core/model_internal.h"
#include "support/models.h"
#include "support/words.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#ifdef COSTEER_TEST_VOCAB_DIR

static const char *const names[] = {"qwen2", "llama-bpe", "gpt-2", "phi-3", "gemma-4"};

#define N_VOCABULARIES (sizeof names / sizeof names[0])

/* ---- a second way to look at a vocabulary ------------------------------------------------------------------------ */

/* One real vocabulary: the bytes of its text tokens as the public header gives them, and a hash table over them. */
typedef struct vocabulary {
    costeer_model *model;
    int32_t n;
    char *bytes;
    size_t *at;     /* [n + 1]; nothing for what is no text */
    int32_t *slots; /* [n_slots] the token that stands for its bytes, −1 free */
    size_t n_slots; /* a power of two */
    size_t longest;
} vocabulary;

static vocabulary vocabularies[N_VOCABULARIES];

static bool is_text(const vocabulary *v, int32_t token)
{
    return v->at[token + 1] > v->at[token];
}

static size_t length(const vocabulary *v, int32_t token)
{
    return v->at[token + 1] - v->at[token];
}

static bool has_bytes(const vocabulary *v, int32_t token, const char *s, size_t n)
{
    return length(v, token) == n && memcmp(v->bytes + v->at[token], s, n) == 0;
}

/* The slot of some bytes: the one that holds them, or the free one where they would be. */
static int32_t *find_slot(const vocabulary *v, const char *s, size_t n)
{
    uint64_t hash = 14695981039346656037ULL; /* FNV-1a */
    for (size_t i = 0; i < n; i++) {
        hash = (hash ^ (unsigned char)s[i]) * 1099511628211ULL;
    }
    size_t at = (size_t)(hash ^ hash >> 32) & (v->n_slots - 1);
    while (v->slots[at] >= 0 && !has_bytes(v, v->slots[at], s, n)) {
        at = (at + 1) & (v->n_slots - 1);
    }
    return &v->slots[at];
}

static int32_t look_up(const vocabulary *v, const char *s, size_t n)
{
    return *find_slot(v, s, n);
}

static bool is_fallback(const vocabulary *v, int32_t token)
{
    return cs_model_token_traits(v->model, token).is_byte;
}

static void read_pieces(vocabulary *v)
{
    size_t capacity = COSTEER_PIECE_MAX;
    v->bytes = malloc(capacity);
    assert_non_null(v->bytes);
    for (int32_t i = 0; i < v->n; i++) {
        char piece[COSTEER_PIECE_MAX];
        const size_t n = costeer_model_is_end(v->model, i) ? 0 : costeer_model_token_to_piece(v->model, i, piece);
        if (v->at[i] + n > capacity) {
            capacity = capacity * 2 + COSTEER_PIECE_MAX;
            v->bytes = realloc(v->bytes, capacity);
            assert_non_null(v->bytes);
        }
        if (n > 0) {
            memcpy(v->bytes + v->at[i], piece, n);
        }
        v->at[i + 1] = v->at[i] + n;
        v->longest = n > v->longest ? n : v->longest;
    }
}

static void load_vocabulary(vocabulary *v, const char *name)
{
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/ggml-vocab-%s.gguf", COSTEER_TEST_VOCAB_DIR, name);
    costeer_error err = {.code = COSTEER_OK};
    assert_ok(costeer_model_load(path, &(costeer_model_params){.vocab_only = true}, &v->model, &err), &err);
    v->n = costeer_model_get_info(v->model)->n_vocab;
    v->n_slots = 1 << 20;
    v->at = calloc((size_t)v->n + 1, sizeof *v->at);
    v->slots = malloc(v->n_slots * sizeof *v->slots);
    assert_non_null(v->at);
    assert_non_null(v->slots);
    memset(v->slots, 0xFF, v->n_slots * sizeof *v->slots);
    read_pieces(v);
    for (int32_t i = 0; i < v->n; i++) {
        int32_t *slot = find_slot(v, v->bytes + v->at[i], length(v, i));
        if (is_text(v, i) && (*slot < 0 || (is_fallback(v, *slot) && !is_fallback(v, i)))) {
            *slot = i;
        }
    }
}

static int load_vocabularies(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_VOCABULARIES; i++) {
        load_vocabulary(&vocabularies[i], names[i]);
    }
    return 0;
}

static int free_vocabularies(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_VOCABULARIES; i++) {
        free(vocabularies[i].slots);
        free(vocabularies[i].at);
        free(vocabularies[i].bytes);
        costeer_model_free(vocabularies[i].model);
    }
    return 0;
}

static const vocabulary *vocabulary_of(const char *name)
{
    size_t i = 0;
    while (strcmp(names[i], name) != 0) {
        i++;
    }
    return &vocabularies[i];
}

static int32_t token_named(const vocabulary *v, const char *text)
{
    for (int32_t i = 0; i < v->n; i++) {
        if (strcmp(cs_model_token_text(v->model, i), text) == 0) {
            return i;
        }
    }
    fail_msg("no token is called %s", text);
    return -1;
}

static costeer_vocab_map *build(const vocabulary *llm, const vocabulary *slm, costeer_vocab_mode mode)
{
    costeer_vocab_map *map = NULL;
    costeer_error err = {.code = COSTEER_OK};
    assert_ok(cs_vocab_map_build(llm->model, slm->model, mode, NULL, &map, &err), &err);
    return map;
}

/* ---- partners ---------------------------------------------------------------------------------------------------- */

/* A special token's namesake of the same kind, −1 none. */
static int32_t expected_namesake(const vocabulary *llm, const vocabulary *slm, int32_t token)
{
    const char *text = cs_model_token_text(llm->model, token);
    const bool is_end = costeer_model_is_end(llm->model, token);
    for (int32_t i = 0; i < slm->n; i++) {
        const bool is_like_it = is_end ? costeer_model_is_end(slm->model, i)
                                       : !costeer_model_is_end(slm->model, i) && cs_model_token_traits(slm->model, i).is_control;
        if (is_like_it && strcmp(cs_model_token_text(slm->model, i), text) == 0) {
            return i;
        }
    }
    return is_end ? cs_model_end_of_answer(slm->model) : -1;
}

static int32_t expected_exact(const vocabulary *llm, const vocabulary *slm, int32_t token)
{
    if (!is_text(llm, token)) {
        return expected_namesake(llm, slm, token);
    }
    const char *s = llm->bytes + llm->at[token];
    if (token < slm->n && has_bytes(slm, token, s, length(llm, token))) {
        return token;
    }
    return look_up(slm, s, length(llm, token));
}

static int32_t expected_prefix(const vocabulary *llm, const vocabulary *slm, int32_t token)
{
    int32_t found = -1;
    for (size_t n = length(llm, token); found < 0 && n > 1; n--) {
        found = look_up(slm, llm->bytes + llm->at[token], n - 1);
    }
    return found;
}

static void check_spelling(const vocabulary *llm, const vocabulary *slm, const costeer_vocab_map *map, int32_t token)
{
    const int32_t *tokens;
    const size_t n_tokens = cs_vocab_map_spelling(map, token, &tokens);
    const char *s = llm->bytes + llm->at[token];
    size_t n = length(llm, token);
    size_t i = 0;
    while (n > 0) {
        size_t taken = n < slm->longest ? n : slm->longest;
        while (taken > 0 && look_up(slm, s, taken) < 0) {
            taken--;
        }
        assert_true(taken > 0); /* these vocabularies have all bytes */
        assert_true(i < n_tokens);
        assert_int_equal(tokens[i++], look_up(slm, s, taken));
        s += taken;
        n -= taken;
    }
    assert_int_equal(i, n_tokens);
}

/* Returns how many partners were prefixes. */
static int32_t check_partners(const vocabulary *llm, const vocabulary *slm, const costeer_vocab_map *map)
{
    int32_t n_prefix = 0;
    for (int32_t i = 0; i < llm->n; i++) {
        const int32_t exact = expected_exact(llm, slm, i);
        const int32_t expected = exact < 0 && is_text(llm, i) ? expected_prefix(llm, slm, i) : exact;
        if (costeer_vocab_map_partner(map, i) != expected || cs_vocab_map_exact(map)[i] != exact) {
            fail_msg("token %d: partner %d and exact %d, by the reference %d and %d", (int)i,
                     (int)costeer_vocab_map_partner(map, i), (int)cs_vocab_map_exact(map)[i], (int)expected, (int)exact);
        }
        if (exact >= 0) {
            const int32_t *tokens;
            assert_int_equal(cs_vocab_map_spelling(map, i, &tokens), 1);
            assert_int_equal(tokens[0], exact);
        } else {
            check_spelling(llm, slm, map, i);
        }
        n_prefix += exact < 0 && expected >= 0;
    }
    return n_prefix;
}

static void check_coverage(const vocabulary *llm, const vocabulary *slm, const costeer_vocab_map *map, int32_t n_prefix)
{
    costeer_vocab_coverage c;
    costeer_vocab_map_read_coverage(map, &c);
    assert_int_equal(c.n_llm, llm->n);
    assert_int_equal(c.n_slm, slm->n);
    assert_int_equal(c.n_prefix, n_prefix);
    assert_int_equal(c.n_exact + c.n_prefix + c.n_end + c.n_control + c.n_none, c.n_llm);
    int32_t n_end = 0;
    for (int32_t i = 0; i < llm->n; i++) {
        n_end += costeer_model_is_end(llm->model, i);
        assert_int_equal(cs_vocab_map_is_end(map, i), costeer_model_is_end(llm->model, i));
    }
    assert_int_equal(c.n_end, n_end); /* all these SLMs have an end */
}

static void test_map__partners_of_real_vocabularies_are_the_references(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_VOCABULARIES; i++) {
        for (size_t j = 0; j < N_VOCABULARIES; j++) {
            if (i != j) {
                costeer_vocab_map *map = build(&vocabularies[i], &vocabularies[j], COSTEER_VOCAB_MAP);
                const int32_t n_prefix = check_partners(&vocabularies[i], &vocabularies[j], map);
                check_coverage(&vocabularies[i], &vocabularies[j], map, n_prefix);
                costeer_vocab_map_free(map);
            }
        }
    }
}

static void test_map__intersect_keeps_the_exact_partners_of_map(void **state)
{
    (void)state;
    const vocabulary *llm = vocabulary_of("llama-bpe");
    const vocabulary *slm = vocabulary_of("phi-3");
    costeer_vocab_map *map = build(llm, slm, COSTEER_VOCAB_MAP);
    costeer_vocab_map *intersect = build(llm, slm, COSTEER_VOCAB_MAP_INTERSECT);
    for (int32_t i = 0; i < llm->n; i++) {
        assert_int_equal(costeer_vocab_map_partner(intersect, i), cs_vocab_map_exact(map)[i]);
    }
    costeer_vocab_coverage c;
    costeer_vocab_map_read_coverage(intersect, &c);
    assert_int_equal(c.n_prefix, 0);
    assert_true(c.n_none > 0);
    costeer_vocab_map_free(intersect);
    costeer_vocab_map_free(map);
}

static void test_map__a_real_vocabulary_with_itself_is_the_identity(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_VOCABULARIES; i++) {
        costeer_vocab_map *map = build(&vocabularies[i], &vocabularies[i], COSTEER_VOCAB_MAP);
        for (int32_t t = 0; t < vocabularies[i].n; t++) {
            if (costeer_vocab_map_partner(map, t) != t) {
                fail_msg("%s: partner of %d is %d", names[i], (int)t, (int)costeer_vocab_map_partner(map, t));
            }
        }
        costeer_vocab_map_free(map);
    }
}

static void test_map__ends_of_real_models_go_by_role(void **state)
{
    (void)state;
    static const struct {
        const char *llm, *end, *slm, *partner;
    } cases[] = {
        {"llama-bpe", "<|eot_id|>", "qwen2", "<|im_end|>"},   {"llama-bpe", "<|end_of_text|>", "qwen2", "<|im_end|>"},
        {"qwen2", "<|im_end|>", "llama-bpe", "<|eot_id|>"},   {"qwen2", "<|endoftext|>", "llama-bpe", "<|eot_id|>"},
        {"qwen2", "<|endoftext|>", "gpt-2", "<|endoftext|>"}, {"qwen2", "<|im_end|>", "gpt-2", "<|endoftext|>"},
        {"gpt-2", "<|endoftext|>", "phi-3", "<|endoftext|>"}, {"phi-3", "<|end|>", "qwen2", "<|im_end|>"},
        {"llama-bpe", "<|eot_id|>", "phi-3", "<|end|>"},      {"gemma-4", "<turn|>", "llama-bpe", "<|eot_id|>"},
        {"phi-3", "<|endoftext|>", "qwen2", "<|endoftext|>"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const vocabulary *llm = vocabulary_of(cases[i].llm);
        const vocabulary *slm = vocabulary_of(cases[i].slm);
        costeer_vocab_map *map = build(llm, slm, COSTEER_VOCAB_MAP_INTERSECT);
        const int32_t end = token_named(llm, cases[i].end);
        assert_true(cs_vocab_map_is_end(map, end));
        assert_string_equal(cs_model_token_text(slm->model, costeer_vocab_map_partner(map, end)), cases[i].partner);
        costeer_vocab_map_free(map);
    }
}

/* ---- masses ------------------------------------------------------------------------------------------------------ */

static float *random_logits(struct test_random *r, int32_t n, double *log_sum)
{
    float *logits = malloc((size_t)n * sizeof *logits);
    assert_non_null(logits);
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        logits[i] = (float)test_random_between(r, -15, 5);
        sum += exp((double)logits[i]);
    }
    *log_sum = log(sum);
    return logits;
}

/* By the definition: SLM tokens that, without the pending bytes, begin with s or are a prefix of it. */
static double mass_of(const vocabulary *slm, const float *logits, double log_sum, const char *pending, size_t n_pending,
                      const char *s, size_t n)
{
    double mass = 0;
    for (int32_t i = 0; i < slm->n; i++) {
        const char *rest = slm->bytes + slm->at[i] + n_pending;
        const size_t n_token = length(slm, i);
        if (n_token <= n_pending || memcmp(rest - n_pending, pending, n_pending) != 0) {
            continue;
        }
        const size_t n_rest = n_token - n_pending;
        mass += memcmp(rest, s, n < n_rest ? n : n_rest) == 0 ? exp((double)logits[i] - log_sum) : 0.0;
    }
    return mass;
}

static void test_mass__of_real_vocabularies_equals_its_definition(void **state)
{
    (void)state;
    const vocabulary *llm = vocabulary_of("llama-bpe");
    const vocabulary *slm = vocabulary_of("phi-3");
    struct test_random r = {.state = 11};
    double log_sum;
    float *logits = random_logits(&r, slm->n, &log_sum);
    float *out = malloc((size_t)llm->n * sizeof *out);
    assert_non_null(out);
    costeer_vocab_map *map = build(llm, slm, COSTEER_VOCAB_BYTE);
    cs_vocab_mass *mass;
    assert_int_equal(cs_vocab_mass_create(map, &mass, NULL), COSTEER_OK);
    cs_vocab_mass_add(mass, logits, 0.0);
    cs_vocab_mass_add_crossing(mass, logits, -1.0, " ", 1); /* a third of all tokens begin with it */
    cs_vocab_mass_add_crossing(mass, logits, -0.5, " th", 3);
    cs_vocab_mass_finish(mass, out);
    for (int sample = 0; sample < 150; sample++) {
        const int32_t token = test_random_below(&r, llm->n);
        const char *s = llm->bytes + llm->at[token];
        const size_t n = length(llm, token);
        if (n > 0) {
            const double expected = mass_of(slm, logits, log_sum, "", 0, s, n) +
                                    exp(-1.0) * mass_of(slm, logits, log_sum, " ", 1, s, n) +
                                    exp(-0.5) * mass_of(slm, logits, log_sum, " th", 3, s, n);
            assert_true(fabs((double)out[token] - log(expected)) < 1e-5);
        }
    }
    cs_vocab_mass_free(mass);
    costeer_vocab_map_free(map);
    free(out);
    free(logits);
}

/* ---- what a caller sees ------------------------------------------------------------------------------------------ */

static void test_create__identical_vocabularies_are_the_same_whatever_was_asked(void **state)
{
    (void)state;
    costeer_model *llm = load_model(LLM_PATH);
    costeer_model *slm = load_model(SLM_PATH);
    for (int mode = COSTEER_VOCAB_AUTO; mode <= COSTEER_VOCAB_BYTE; mode++) {
        costeer_vocab_map *map;
        costeer_error err = {.code = COSTEER_OK};
        const costeer_vocab_map_params params = {.mode = (costeer_vocab_mode)mode, .cache_dir = TMP_PATH("vocab-same")};
        assert_ok(costeer_vocab_map_create(llm, slm, &params, &map, &err), &err);
        assert_int_equal(costeer_vocab_map_mode(map), COSTEER_VOCAB_SAME);
        assert_null(cs_vocab_map_partners(map));
        costeer_vocab_coverage c;
        costeer_vocab_map_read_coverage(map, &c);
        assert_true(c.n_none == 0 && c.n_prefix == 0 && c.n_end > 0 && !c.was_cached);
        for (int32_t i = 0; i < c.n_llm; i++) {
            assert_int_equal(costeer_vocab_map_partner(map, i), i);
            assert_int_equal(cs_vocab_map_is_end(map, i), costeer_model_is_end(llm, i));
        }
        assert_int_equal(costeer_vocab_map_partner(map, -1), -1);
        assert_int_equal(costeer_vocab_map_partner(map, c.n_llm), -1);
        costeer_vocab_map_free(map);
    }
    costeer_model_free(slm);
    costeer_model_free(llm);
}

static void test_create__different_vocabularies_choose_byte_or_say_why_not(void **state)
{
    (void)state;
    const vocabulary *llm = vocabulary_of("gpt-2");
    const vocabulary *slm = vocabulary_of("phi-3");
    costeer_vocab_map *map;
    costeer_error err = {.code = COSTEER_OK};
    assert_ok(costeer_vocab_map_create(llm->model, slm->model, NULL, &map, &err), &err);
    assert_int_equal(costeer_vocab_map_mode(map), COSTEER_VOCAB_BYTE);
    costeer_vocab_map_free(map);
    const costeer_vocab_map_params same = {.mode = COSTEER_VOCAB_SAME};
    assert_int_equal(costeer_vocab_map_create(llm->model, slm->model, &same, &map, &err), COSTEER_EPAIR);
    assert_null(map);
    assert_non_null(strstr(err.message, "token 0 is"));
    assert_non_null(strstr(err.message, "or bring them together (mode byte)"));
    assert_int_equal(costeer_vocab_map_create(llm->model, slm->model, &same, &map, NULL), COSTEER_EPAIR);
    const costeer_vocab_map_params unknown = {.mode = (costeer_vocab_mode)9};
    assert_int_equal(costeer_vocab_map_create(llm->model, slm->model, &unknown, &map, &err), COSTEER_EINVAL);
    assert_int_equal(costeer_vocab_map_create(NULL, slm->model, NULL, &map, &err), COSTEER_EINVAL);
    assert_int_equal(costeer_vocab_map_create(llm->model, slm->model, NULL, NULL, &err), COSTEER_EINVAL);
}

static void test_create__the_second_time_comes_from_the_cache(void **state)
{
    (void)state;
    const vocabulary *llm = vocabulary_of("gpt-2");
    const vocabulary *slm = vocabulary_of("phi-3");
    const costeer_vocab_map_params params = {.mode = COSTEER_VOCAB_BYTE, .cache_dir = TMP_PATH("vocab-real")};
    costeer_vocab_map *fresh = build(llm, slm, COSTEER_VOCAB_BYTE);
    for (int i = 0; i < 2; i++) { /* the first may find what an earlier run kept */
        costeer_vocab_map *map;
        costeer_error err = {.code = COSTEER_OK};
        assert_ok(costeer_vocab_map_create(llm->model, slm->model, &params, &map, &err), &err);
        costeer_vocab_coverage c;
        costeer_vocab_map_read_coverage(map, &c);
        assert_true(i == 0 || c.was_cached);
        assert_true(c.build_us > 0);
        assert_true(c.n_exact == fresh->coverage.n_exact && c.n_prefix == fresh->coverage.n_prefix);
        assert_same_tables(map, fresh);
        costeer_vocab_map_free(map);
    }
    costeer_vocab_map_free(fresh);
}

/* How quick they are is for scripts/bench; docs/vocabularies.md has the figures. */
static void test_time__of_tables_and_passes_is_measured(void **state)
{
    (void)state;
    costeer_vocab_map *map;
    costeer_error err = {.code = COSTEER_OK};
    assert_ok(costeer_vocab_map_create(vocabulary_of("llama-bpe")->model, vocabulary_of("qwen2")->model, NULL, &map, &err), &err);
    costeer_vocab_coverage c;
    costeer_vocab_map_read_coverage(map, &c);
    assert_true(c.build_us > 0);
    double us[3] = {0};
    assert_int_equal(costeer_vocab_map_time_passes(map, 3, us, NULL), COSTEER_OK);
    assert_true(us[0] > 0 && us[1] > 0 && us[2] > 0);
    costeer_vocab_map_free(map);
    map = build(vocabulary_of("gpt-2"), vocabulary_of("phi-3"), COSTEER_VOCAB_MAP);
    assert_int_equal(costeer_vocab_map_time_passes(map, 1, us, NULL), COSTEER_EINVAL);
    costeer_vocab_map_free(map);
}

#else
static int load_vocabularies(void **state)
{
    (void)state;
    return 0;
}

static int free_vocabularies(void **state)
{
    (void)state;
    return 0;
}

static void test_map__skipped_without_the_files(void **state)
{
    (void)state;
    print_message("COSTEER_TEST_VOCAB_DIR is not set: tests over real vocabularies are skipped\n");
    skip();
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifdef COSTEER_TEST_VOCAB_DIR
        cmocka_unit_test(test_map__partners_of_real_vocabularies_are_the_references),
        cmocka_unit_test(test_map__intersect_keeps_the_exact_partners_of_map),
        cmocka_unit_test(test_map__a_real_vocabulary_with_itself_is_the_identity),
        cmocka_unit_test(test_map__ends_of_real_models_go_by_role),
        cmocka_unit_test(test_mass__of_real_vocabularies_equals_its_definition),
        cmocka_unit_test(test_create__identical_vocabularies_are_the_same_whatever_was_asked),
        cmocka_unit_test(test_create__different_vocabularies_choose_byte_or_say_why_not),
        cmocka_unit_test(test_create__the_second_time_comes_from_the_cache),
        cmocka_unit_test(test_time__of_tables_and_passes_is_measured),
#else
        cmocka_unit_test(test_map__skipped_without_the_files),
#endif
    };
    return cmocka_run_group_tests(tests, load_vocabularies, free_vocabularies);
}
