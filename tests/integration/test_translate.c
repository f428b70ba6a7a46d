/* An SLM that follows another vocabulary's answer: against the same vocabulary, against the SLM asked afresh, by enumeration. */
#include "core/follower.h"
#include "core/slm_internal.h"
#include "core/translate.h"
#include "core/vocab_internal.h"
#include "support/models.h"
#include "support/truncate.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define OTHER_PATH  COSTEER_TEST_MODELS_DIR "/costeer-slm-other.gguf"
#define CONTEXT     "I am Desmond. My neighbour is called Philippa. My pet is Juniper. I am learning the zither."
#define QUERY       "Help me apologise to my neighbour."
#define PREFIX_TEXT "Dear Philippa, I am truly sorry that I played the zi"

static costeer_model *llm_model, *slm_model, *other_model;
static int32_t n_llm;

static int load_all(void **state)
{
    (void)state;
    llm_model = load_model(LLM_PATH);
    slm_model = load_model(SLM_PATH);
    other_model = load_model(OTHER_PATH);
    n_llm = costeer_model_get_info(llm_model)->n_vocab;
    return 0;
}

static int free_all(void **state)
{
    (void)state;
    costeer_model_free(other_model);
    costeer_model_free(slm_model);
    costeer_model_free(llm_model);
    return 0;
}

static costeer_vocab_map *create_map(const costeer_model *slm, costeer_vocab_mode mode)
{
    costeer_error err = {0};
    costeer_vocab_map *map = NULL;
    assert_ok(cs_vocab_map_build(llm_model, slm, mode, NULL, &map, &err), &err);
    return map;
}

/* An SLM with its prompts; map may be NULL. */
static costeer_slm *create_slm(const costeer_model *slm, const costeer_vocab_map *map, const char *context, int32_t n_ctx)
{
    costeer_error err = {0};
    costeer_slm *out = NULL;
    const costeer_slm_params params = {
        .n_contexts = 1, .n_ctx = n_ctx, .n_threads = 1, .n_drafts = map == NULL ? 0 : 4, .vocab_map = map};
    assert_ok(costeer_slm_create(slm, &params, &out, &err), &err);
    costeer_tokens amateur = build_prompt(slm, NULL, QUERY);
    costeer_tokens expert = build_prompt(slm, context, QUERY);
    assert_ok(costeer_slm_set_prompts(out, &amateur, &expert, 8, &err), &err);
    costeer_tokens_dispose(&amateur);
    costeer_tokens_dispose(&expert);
    return out;
}

static void begin(costeer_slm *slm)
{
    costeer_error err = {0};
    costeer_delta_source *source = costeer_slm_delta_source(slm);
    assert_ok(source->ops->begin(source, &err), &err);
}

static void step(costeer_slm *slm, const int32_t *tokens, size_t n)
{
    costeer_error err = {0};
    costeer_delta_source *source = costeer_slm_delta_source(slm);
    assert_ok(source->ops->step(source, tokens, n, &err), &err);
}

static costeer_delta read_delta(costeer_slm *slm, double weight)
{
    costeer_delta delta = {.weight = weight};
    costeer_delta_source *source = costeer_slm_delta_source(slm);
    source->ops->read(source, &delta, 1);
    return delta;
}

static costeer_tokens split_by_llm(const char *text)
{
    costeer_error err = {0};
    costeer_tokens out = {0};
    assert_ok(costeer_model_tokenize(llm_model, text, strlen(text), false, false, &out, &err), &err);
    return out;
}

/* What is likely must be alike: rarer tokens hang on ways that are not followed. */
static void assert_close(const float *a, const float *b)
{
    for (int32_t t = 0; t < n_llm; t++) {
        if (b[t] > -1.5F && !(fabsf(a[t] - b[t]) <= 2e-2F)) {
            fail_msg("token %d: %g and %g", t, (double)a[t], (double)b[t]);
        }
    }
}

/* ---- map --------------------------------------------------------------------------------------------------------- */

/* The delta that a trace shows: of normalised distributions, whatever the mode. */
static double traced_delta(costeer_slm *slm, int32_t token)
{
    const costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    cs_follower follower;
    cs_follower_init(&follower, costeer_slm_delta_source(slm), &params);
    cs_follower_reset(&follower, &params);
    int64_t us = 0;
    costeer_error err = {0};
    assert_ok(cs_follower_read(&follower, n_llm, &us, &err), &err);
    return cs_follower_delta(&follower, n_llm, token);
}

/* What limits make of the SLM's state. */
static cs_follower read_limited(costeer_slm *slm, int32_t n_vocab)
{
    costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    params.limits = (costeer_delta_limits){.plausibility = 0.1, .divergence = 0.5};
    cs_follower follower;
    int64_t us = 0;
    costeer_error err = {0};
    cs_follower_init(&follower, costeer_slm_delta_source(slm), &params);
    cs_follower_reset(&follower, &params);
    assert_ok(cs_follower_read(&follower, n_vocab, &us, &err), &err);
    return follower;
}

static void assert_same_limits(costeer_slm *a, costeer_slm *b)
{
    const cs_follower x = read_limited(a, n_llm);
    const cs_follower y = read_limited(b, n_llm);
    assert_memory_equal(&x.states[0], &y.states[0], sizeof x.states[0]);
    assert_true(x.deltas[0].weight == y.deltas[0].weight && x.deltas[0].weight > 0);
}

static void compare_with_itself(costeer_vocab_mode mode)
{
    costeer_vocab_map *map = create_map(slm_model, mode);
    assert_int_equal(costeer_vocab_map_mode(map), mode);
    costeer_slm *plain = create_slm(slm_model, NULL, CONTEXT, 512);
    costeer_slm *mapped = create_slm(slm_model, map, CONTEXT, 512);
    costeer_tokens answer = split_by_llm("Dear Philippa, I am truly sorry that I played the zither so late. Sincerely, Desmond.");
    begin(plain);
    begin(mapped);
    assert_int_equal(costeer_slm_prefilled(plain), costeer_slm_prefilled(mapped));
    assert_null(costeer_slm_delta_source(mapped)->ops->draft);
    for (size_t i = 0;; i++) {
        const costeer_delta a = read_delta(plain, 1.78325684);
        const costeer_delta b = read_delta(mapped, 1.78325684);
        for (int32_t t = 0; t < n_llm; t++) {
            if (costeer_vocab_map_partner(map, t) >= 0) {
                assert_int_equal(costeer_vocab_map_partner(map, t), t);
                assert_memory_equal(&a.expert[t], &b.expert[t], sizeof(float));
                assert_memory_equal(&a.amateur[t], &b.amateur[t], sizeof(float));
            }
        }
        assert_same_limits(plain, mapped);
        if (i == answer.n) {
            break;
        }
        if (costeer_vocab_map_partner(map, answer.ids[i]) >= 0) {
            assert_true(fabs(traced_delta(plain, answer.ids[i]) - traced_delta(mapped, answer.ids[i])) < 1e-5);
        }
        step(plain, &answer.ids[i], 1);
        step(mapped, &answer.ids[i], 1);
    }
    costeer_tokens_dispose(&answer);
    costeer_slm_free(mapped);
    costeer_slm_free(plain);
    costeer_vocab_map_free(map);
}

static void test_map__of_a_vocabulary_with_itself_gives_the_same_bits(void **state)
{
    (void)state;
    compare_with_itself(COSTEER_VOCAB_MAP);
    compare_with_itself(COSTEER_VOCAB_MAP_INTERSECT);
}

static int32_t count_partnerless(const costeer_vocab_map *map)
{
    int32_t n = 0;
    for (int32_t t = 0; t < n_llm; t++) {
        n += costeer_vocab_map_partner(map, t) < 0;
    }
    return n;
}

static void test_map_intersect__excludes_what_only_the_llm_has_whatever_the_sign(void **state)
{
    (void)state;
    static const double weights[] = {1.78, -0.5, 1.78};
    costeer_vocab_map *map = create_map(other_model, COSTEER_VOCAB_MAP_INTERSECT);
    assert_true(count_partnerless(map) > 100);
    costeer_slm *slm = create_slm(other_model, map, CONTEXT, 512);
    float *base = calloc((size_t)n_llm, sizeof *base);
    double *scores = calloc((size_t)n_llm, sizeof *scores);
    begin(slm);
    for (size_t i = 0; i < sizeof weights / sizeof weights[0]; i++) {
        const costeer_delta delta = read_delta(slm, weights[i]);
        const costeer_base dense = {.values = base, .n = n_llm};
        costeer_choice choice;
        costeer_error err = {0};
        assert_ok(costeer_fuse_scores(&dense, &delta, 1, n_llm, scores, &choice, &err), &err);
        for (int32_t t = 0; t < n_llm; t++) {
            assert_int_equal(scores[t] == -HUGE_VAL, costeer_vocab_map_partner(map, t) < 0);
        }
    }
    free(base);
    free(scores);
    costeer_slm_free(slm);
    costeer_vocab_map_free(map);
}

static void test_map__a_token_is_spelled_with_the_slms_in_one_step(void **state)
{
    (void)state;
    costeer_vocab_map *map = create_map(other_model, COSTEER_VOCAB_MAP);
    costeer_slm *slm = create_slm(other_model, map, CONTEXT, 512);
    costeer_slm *plain = create_slm(other_model, NULL, CONTEXT, 512);
    costeer_tokens answer = split_by_llm(PREFIX_TEXT);
    begin(slm);
    begin(plain);
    step(slm, answer.ids, answer.n);
    size_t n_spelled = 0;
    for (size_t i = 0; i < answer.n; i++) {
        const int32_t *spelling;
        const size_t n = cs_vocab_map_spelling(map, answer.ids[i], &spelling);
        assert_true(n > 0);
        step(plain, spelling, n);
        n_spelled += n;
    }
    assert_true(n_spelled > answer.n);
    const costeer_delta a = read_delta(slm, 1.0);
    const costeer_delta b = read_delta(plain, 1.0);
    for (int32_t t = 0; t < n_llm; t++) {
        const int32_t partner = costeer_vocab_map_partner(map, t);
        assert_true(partner >= 0);
        assert_true(fabsf(a.expert[t] - b.expert[partner]) <= 2e-2F);
    }
    costeer_tokens_dispose(&answer);
    costeer_slm_free(plain);
    costeer_slm_free(slm);
    costeer_vocab_map_free(map);
}

/* ---- byte: against the SLM itself, by enumeration ---------------------------------------------------------------- */

/* What follows a text, by asking the SLM for every way to cover it: all tokens from the prompt's end on that agree with the text
 * and, beyond it, with one of the LLM's tokens. Ways of less probability than `smallest` are left out. */
typedef struct enumeration {
    costeer_slm *slm; /* of its own vocabulary */
    int32_t n_slm;
    const char *text; /* the last word so far, then the wanted bytes */
    size_t n_text;
    double smallest;
    double sum;
} enumeration;

static costeer_tokens prompt_of(const costeer_tokens *prompt, const int32_t *path, size_t n)
{
    costeer_tokens out = {.ids = calloc(prompt->n + n + 1, sizeof(int32_t)), .n = prompt->n + n};
    assert_non_null(out.ids);
    memcpy(out.ids, prompt->ids, prompt->n * sizeof *out.ids);
    memcpy(out.ids + prompt->n, path, n * sizeof *path);
    return out;
}

static void enumerate(enumeration *e, const costeer_tokens *prompt, int32_t path[8], size_t depth, size_t at, double probability)
{
    costeer_error err = {0};
    costeer_tokens now = prompt_of(prompt, path, depth);
    assert_ok(costeer_slm_set_prompts(e->slm, &now, &now, 1, &err), &err);
    costeer_tokens_dispose(&now);
    begin(e->slm);
    float *row = calloc((size_t)e->n_slm, sizeof *row);
    assert_non_null(row);
    memcpy(row, read_delta(e->slm, 1.0).expert, (size_t)e->n_slm * sizeof *row);
    const double normaliser = costeer_logsumexp(row, e->n_slm);
    for (int32_t t = 0; t < e->n_slm; t++) {
        char piece[COSTEER_PIECE_MAX];
        const size_t n = costeer_model_token_to_piece(other_model, t, piece);
        const size_t n_left = e->n_text - at;
        const double p = probability * exp((double)row[t] - normaliser);
        if (n == 0 || memcmp(piece, e->text + at, n < n_left ? n : n_left) != 0) {
            continue;
        }
        if (n >= n_left) {
            e->sum += p; /* the text is covered */
        } else if (p >= e->smallest && depth < 8) {
            path[depth] = t;
            enumerate(e, prompt, path, depth + 1, at + n, p);
        }
    }
    free(row);
}

/* P(the text goes on with these bytes), of the expert. `before` is text that ends where every way has a boundary. */
static double enumerate_covers(const char *before, const char *word, const char *bytes)
{
    costeer_error err = {0};
    costeer_slm *slm = create_slm(other_model, NULL, CONTEXT, 512);
    costeer_tokens prompt = build_prompt(other_model, CONTEXT, QUERY);
    costeer_tokens tokens = {0};
    assert_ok(costeer_model_tokenize(other_model, before, strlen(before), false, false, &tokens, &err), &err);
    costeer_tokens whole = prompt_of(&prompt, tokens.ids, tokens.n);
    char text[64];
    double sums[2];
    for (int i = 0; i < 2; i++) {
        (void)snprintf(text, sizeof text, "%s%s", word, i == 0 ? bytes : "");
        const size_t n_text = strlen(text);
        enumeration e = {
            .slm = slm, .n_slm = costeer_model_get_info(other_model)->n_vocab, .text = text, .n_text = n_text, .smallest = 1e-5};
        int32_t path[8];
        enumerate(&e, &whole, path, 0, 0, 1.0);
        sums[i] = n_text == 0 ? 1.0 : e.sum;
    }
    costeer_tokens_dispose(&whole);
    costeer_tokens_dispose(&tokens);
    costeer_tokens_dispose(&prompt);
    costeer_slm_free(slm);
    return sums[0] / sums[1];
}

static int32_t find_llm_token(const char *bytes)
{
    for (int32_t t = 0; t < n_llm; t++) {
        char piece[COSTEER_PIECE_MAX];
        const size_t n = costeer_model_token_to_piece(llm_model, t, piece);
        if (n == strlen(bytes) && memcmp(piece, bytes, n) == 0) {
            return t;
        }
    }
    fail_msg("the LLM has no token \"%s\"", bytes);
    return -1;
}

static void test_byte__is_what_enumerating_the_ways_to_cover_the_text_gives(void **state)
{
    (void)state;
    static const struct {
        const char *before, *word, *bytes;
    } cases[] = {
        {"Dear", " Ph", "il"},
        {"Dear", " Phil", "i"},
        {"Dear", "", " P"},
        {"Dear Philippa, I am truly sorry that I played the", " z", "i"},
        {"Dear Philippa, I am truly sorry that I played the", " zi", "th"},
        {"Dear Philippa, I am", " tru", "ly"},
        {"Dear Philippa, I am truly sorry that I played the zither so", "", " l"},
        {"Dear Philippa, I am", "", " so"},
        {"Dear Philippa, I am truly sorry that I played the", "", " h"},
        {"", "", "D"},
        {"", "D", "ear"},
        {"", "H", "ell"},
    };
    costeer_vocab_map *map = create_map(other_model, COSTEER_VOCAB_BYTE);
    costeer_slm *slm = create_slm(other_model, map, CONTEXT, 512);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[256];
        (void)snprintf(text, sizeof text, "%s%s", cases[i].before, cases[i].word);
        costeer_tokens answer = split_by_llm(text);
        begin(slm);
        step(slm, answer.ids, answer.n);
        const double p = exp((double)read_delta(slm, 1.0).expert[find_llm_token(cases[i].bytes)]);
        const double wanted = enumerate_covers(cases[i].before, cases[i].word, cases[i].bytes);
        /* a way of less than 5 in 100 is not followed: it then counts for all that its bytes begin */
        if (!(p >= 0.95 * wanted - 2e-3 && p <= wanted + 0.05)) {
            fail_msg("\"%s\" goes on with \"%s\" at %.5f, enumerated %.5f", text, cases[i].bytes, p, wanted);
        }
        costeer_tokens_dispose(&answer);
    }
    costeer_slm_free(slm);
    costeer_vocab_map_free(map);
}

/* ---- byte: step by step ------------------------------------------------------------------------------------------- */

/* Token by token is what all at once is, as far as the ways that are followed tell: those of 5 in 100 and more. */
/* byte's rows are log-probabilities of text already: nothing is left to normalise. */
static void test_byte__the_traced_delta_is_a_log_ratio_of_probabilities(void **state)
{
    (void)state;
    costeer_vocab_map *map = create_map(other_model, COSTEER_VOCAB_BYTE);
    costeer_slm *slm = create_slm(other_model, map, CONTEXT, 512);
    begin(slm);
    const costeer_delta delta = read_delta(slm, 1);
    for (int32_t t = 0; t < n_llm; t++) {
        assert_true(delta.expert[t] <= 1e-4F && delta.amateur[t] <= 1e-4F);
        if (isfinite(delta.expert[t]) && isfinite(delta.amateur[t])) {
            assert_true(fabs(traced_delta(slm, t) - ((double)delta.expert[t] - (double)delta.amateur[t])) < 1e-9);
        }
    }
    costeer_slm_free(slm);
    costeer_vocab_map_free(map);
}

/* Text that another vocabulary splits otherwise: the divergence is that of the SLM asked in its own tokens, and no token gains
 * that goes on with bytes which the expert holds for less likely than a tenth of its best token. */
static void test_byte__limits_are_those_of_the_slms_own_distribution(void **state)
{
    (void)state;
    costeer_error err = {0};
    costeer_vocab_map *map = create_map(other_model, COSTEER_VOCAB_BYTE);
    costeer_slm *slm = create_slm(other_model, map, CONTEXT, 512);
    costeer_slm *plain = create_slm(other_model, NULL, CONTEXT, 512);
    const char text[] = "Dear Philippa, I am truly sorry that I played the zither so late.";
    costeer_tokens answer = split_by_llm(text);
    costeer_tokens own = {0};
    assert_ok(costeer_model_tokenize(other_model, text, strlen(text), false, false, &own, &err), &err);
    begin(slm);
    begin(plain);
    step(slm, answer.ids, answer.n);
    step(plain, own.ids, own.n);
    const int32_t n_other = costeer_model_get_info(other_model)->n_vocab;
    const cs_follower got = read_limited(slm, n_llm);
    const cs_follower expected = read_limited(plain, n_other);
    assert_true(fabs(got.states[0].kl - expected.states[0].kl) < 2e-2 * (1 + expected.states[0].kl));
    assert_true(got.states[0].shift == 0);
    const double best = got.states[0].floor - log(0.1); /* a log-probability here, a logit there */
    const double normaliser = costeer_logsumexp(expected.deltas[0].expert, n_other);
    assert_true(fabs(best - (expected.states[0].floor - log(0.1) - normaliser)) < 2e-2);
    float *base = calloc((size_t)n_llm, sizeof *base);
    double *scores = calloc((size_t)n_llm, sizeof *scores);
    const costeer_base flat = {.values = base, .n = n_llm};
    costeer_choice choice;
    assert_ok(costeer_fuse_scores(&flat, &got.deltas[0], 1, n_llm, scores, &choice, &err), &err);
    int32_t n_held = 0;
    for (int32_t t = 0; t < n_llm; t++) {
        const bool is_implausible = (double)got.deltas[0].expert[t] < best + log(0.1);
        assert_true(!is_implausible || scores[t] <= 0);
        n_held += is_implausible && got.deltas[0].expert[t] > got.deltas[0].amateur[t];
    }
    assert_true(n_held > 0);
    free(base);
    free(scores);
    costeer_tokens_dispose(&own);
    costeer_tokens_dispose(&answer);
    costeer_slm_free(plain);
    costeer_slm_free(slm);
    costeer_vocab_map_free(map);
}

static void test_byte__many_steps_are_one(void **state)
{
    (void)state;
    costeer_vocab_map *map = create_map(other_model, COSTEER_VOCAB_BYTE);
    costeer_slm *stepped = create_slm(other_model, map, CONTEXT, 512);
    costeer_tokens answer = split_by_llm(PREFIX_TEXT "ther so late. Sincerely, Desmond.");
    begin(stepped);
    for (size_t n = 1; n <= answer.n; n++) {
        step(stepped, &answer.ids[n - 1], 1);
        costeer_slm *fresh = create_slm(other_model, map, CONTEXT, 512);
        begin(fresh);
        step(fresh, answer.ids, n);
        const costeer_delta a = read_delta(stepped, 1.0);
        const costeer_delta b = read_delta(fresh, 1.0);
        assert_close(a.expert, b.expert);
        costeer_slm_free(fresh);
    }
    costeer_tokens_dispose(&answer);
    costeer_slm_free(stepped);
    costeer_vocab_map_free(map);
}

/* Characters whose bytes are tokens of their own, spaces, line ends: every number stays a probability. */
static void test_byte__bytes_of_characters_and_blanks_keep_everything_finite(void **state)
{
    (void)state;
    const char text[] =
        "Caf\xC3\xA9 \xF0\x9F\x98\x80\xF0\x9F\x8E\x89  \n\n \t na\xC3\xAFve \xE6\x97\xA5\xE6\x9C\xAC\n- Philippa    ";
    costeer_vocab_map *map = create_map(other_model, COSTEER_VOCAB_BYTE);
    costeer_slm *slm = create_slm(other_model, map, CONTEXT, 512);
    costeer_delta_source *source = costeer_slm_delta_source(slm);
    costeer_tokens answer = split_by_llm(text);
    begin(slm);
    for (size_t i = 0; i < answer.n; i++) {
        step(slm, &answer.ids[i], 1);
        const costeer_delta delta = read_delta(slm, 1.0);
        const float *alone = source->ops->alone(source);
        bool has_choice = false;
        for (int32_t t = 0; t < n_llm; t++) {
            assert_true(delta.expert[t] <= 1e-3F && delta.amateur[t] <= 1e-3F); /* false for NaN, too */
            assert_true(alone[t] < INFINITY);                                   /* not NaN */
            has_choice = has_choice || isfinite(alone[t]);
        }
        assert_true(has_choice);
    }
    costeer_tokens_dispose(&answer);
    costeer_slm_free(slm);
    costeer_vocab_map_free(map);
}

/* A name that both split otherwise: the SLM must know how it goes on wherever the LLM's tokens end. */
static void test_byte__a_name_is_known_in_the_middle_of_its_tokens(void **state)
{
    (void)state;
    static const char *const beginnings[] = {"Dear P",     "Dear Ph",     "Dear Phi",    "Dear Phil",
                                             "Dear Phili", "Dear Philip", "Dear Philipp"};
    static const char name[] = "Dear Philippa";
    costeer_vocab_map *map = create_map(other_model, COSTEER_VOCAB_BYTE);
    costeer_slm *slm = create_slm(other_model, map, CONTEXT, 512);
    for (size_t i = 0; i < sizeof beginnings / sizeof beginnings[0]; i++) {
        costeer_tokens answer = split_by_llm(beginnings[i]);
        begin(slm);
        for (size_t j = 0; j < answer.n; j++) {
            step(slm, &answer.ids[j], 1);
        }
        const char next[2] = {name[strlen(beginnings[i])], '\0'};
        const float logprob = read_delta(slm, 1.0).expert[find_llm_token(next)];
        if (!(logprob > -0.7F)) {
            fail_msg("\"%s\" goes on with \"%s\" at %g nats only", beginnings[i], next, (double)logprob);
        }
        costeer_tokens_dispose(&answer);
    }
    costeer_slm_free(slm);
    costeer_vocab_map_free(map);
}

static void test_byte__a_state_that_cannot_be_cut_is_computed_anew(void **state)
{
    (void)state;
    costeer_vocab_map *map = create_map(other_model, COSTEER_VOCAB_BYTE);
    costeer_slm *stepped = create_slm(other_model, map, CONTEXT, 512);
    costeer_slm *at_once = create_slm(other_model, map, CONTEXT, 512);
    costeer_tokens answer = split_by_llm(PREFIX_TEXT);
    begin(stepped);
    n_lost = 0;
    cannot_cut = true; /* neither looks ahead then, so that both follow the text's own tokens only */
    for (size_t i = 0; i < answer.n; i++) {
        step(stepped, &answer.ids[i], 1);
        begin(at_once);
        step(at_once, answer.ids, i + 1);
        assert_close(read_delta(stepped, 1.0).expert, read_delta(at_once, 1.0).expert);
    }
    cannot_cut = false;
    assert_true(n_lost > 0);
    costeer_tokens_dispose(&answer);
    costeer_slm_free(at_once);
    costeer_slm_free(stepped);
    costeer_vocab_map_free(map);
}

/* ---- failures ---------------------------------------------------------------------------------------------------- */

static const costeer_vocab_mode modes[] = {COSTEER_VOCAB_MAP, COSTEER_VOCAB_MAP_INTERSECT, COSTEER_VOCAB_BYTE};
#define N_MODES (sizeof modes / sizeof modes[0])

static void test_translated__a_cancelled_step_is_repaired_by_begin(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_MODES; i++) {
        costeer_error err = {0};
        costeer_vocab_map *map = create_map(other_model, modes[i]);
        costeer_slm *slm = create_slm(other_model, map, CONTEXT, 512);
        costeer_delta_source *source = costeer_slm_delta_source(slm);
        costeer_tokens answer = split_by_llm(PREFIX_TEXT);
        assert_int_equal(source->ops->step(source, answer.ids, 1, &err), COSTEER_ESTATE); /* before begin */
        begin(slm);
        step(slm, answer.ids, answer.n);
        float *wanted = calloc((size_t)n_llm, sizeof *wanted);
        memcpy(wanted, read_delta(slm, 1.0).expert, (size_t)n_llm * sizeof *wanted);
        begin(slm);
        atomic_bool cancel = false;
        costeer_slm_set_cancel(slm, &cancel);
        step(slm, answer.ids, 2);
        atomic_store(&cancel, true);
        assert_int_equal(source->ops->step(source, answer.ids + 2, answer.n - 2, &err), COSTEER_ECANCELED);
        atomic_store(&cancel, false);
        assert_int_equal(source->ops->step(source, answer.ids + 2, 1, &err), COSTEER_ESTATE);
        begin(slm);
        step(slm, answer.ids, answer.n);
        assert_close(read_delta(slm, 1.0).expert, wanted);
        free(wanted);
        costeer_tokens_dispose(&answer);
        costeer_slm_free(slm);
        costeer_vocab_map_free(map);
    }
}

static void test_translated__a_full_context_window_is_told(void **state)
{
    (void)state;
    costeer_tokens prompt = build_prompt(other_model, CONTEXT, QUERY);
    const int32_t n_ctx = (int32_t)(prompt.n + 12);
    for (size_t i = 0; i < N_MODES; i++) {
        costeer_error err = {0};
        costeer_vocab_map *map = create_map(other_model, modes[i]);
        costeer_slm *slm = create_slm(other_model, map, CONTEXT, n_ctx);
        costeer_delta_source *source = costeer_slm_delta_source(slm);
        costeer_tokens answer = split_by_llm("1234567890123456");
        begin(slm);
        step(slm, answer.ids, 8);
        assert_int_equal(source->ops->step(source, answer.ids + 8, answer.n - 8, &err), COSTEER_ETOOLONG);
        assert_non_null(strstr(err.message, "--ctx-size"));
        begin(slm);
        step(slm, answer.ids, 8);
        assert_int_equal(source->ops->step(source, &n_llm, 1, &err), COSTEER_EINVAL);
        costeer_tokens_dispose(&answer);
        costeer_slm_free(slm);
        costeer_vocab_map_free(map);
    }
    costeer_tokens_dispose(&prompt);
}

static void test_translated__a_map_of_another_slm_is_refused(void **state)
{
    (void)state;
    costeer_error err = {0};
    costeer_slm *slm = NULL;
    costeer_vocab_map *map = create_map(other_model, COSTEER_VOCAB_BYTE);
    const costeer_slm_params params = {.n_contexts = 1, .n_threads = 1, .vocab_map = map};
    assert_int_equal(costeer_slm_create(slm_model, &params, &slm, &err), COSTEER_EPAIR);
    assert_null(slm);
    costeer_vocab_map_free(map);
}

/* On somebody else's decoder it says the very same. */
static void test_translated__on_a_given_decoder_it_is_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_MODES; i++) {
        costeer_error err = {0};
        costeer_vocab_map *map = create_map(other_model, modes[i]);
        costeer_slm *own = create_slm(other_model, map, CONTEXT, 512);
        const costeer_slm_params params = {.n_contexts = 1, .n_ctx = 512, .n_threads = 1, .vocab_map = map};
        const cs_decoder_params decoder_params = {
            .component = "slm", .n_sequences = 2, .n_ctx = 512, .n_threads = 1, .n_rows = cs_slm_n_rows(&params)};
        cs_decoder *decoder = NULL;
        costeer_slm *given = NULL;
        assert_ok(cs_decoder_create(other_model, &decoder_params, &decoder, &err), &err);
        assert_ok(cs_slm_create_on(decoder, other_model, &params, &given, &err), &err);
        costeer_tokens amateur = build_prompt(other_model, NULL, QUERY);
        costeer_tokens expert = build_prompt(other_model, CONTEXT, QUERY);
        assert_ok(costeer_slm_set_prompts(given, &amateur, &expert, 8, &err), &err);
        costeer_tokens answer = split_by_llm(PREFIX_TEXT);
        begin(own);
        begin(given);
        for (size_t j = 0; j < answer.n; j++) {
            step(own, &answer.ids[j], 1);
            step(given, &answer.ids[j], 1);
        }
        const costeer_delta a = read_delta(own, 1.0);
        const costeer_delta b = read_delta(given, 1.0);
        assert_memory_equal(a.expert, b.expert, (size_t)n_llm * sizeof(float));
        assert_memory_equal(a.amateur, b.amateur, (size_t)n_llm * sizeof(float));
        costeer_tokens_dispose(&answer);
        costeer_tokens_dispose(&amateur);
        costeer_tokens_dispose(&expert);
        costeer_slm_free(given);
        costeer_slm_free(own);
        costeer_vocab_map_free(map);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map__of_a_vocabulary_with_itself_gives_the_same_bits),
        cmocka_unit_test(test_map_intersect__excludes_what_only_the_llm_has_whatever_the_sign),
        cmocka_unit_test(test_map__a_token_is_spelled_with_the_slms_in_one_step),
        cmocka_unit_test(test_byte__is_what_enumerating_the_ways_to_cover_the_text_gives),
        cmocka_unit_test(test_byte__the_traced_delta_is_a_log_ratio_of_probabilities),
        cmocka_unit_test(test_byte__limits_are_those_of_the_slms_own_distribution),
        cmocka_unit_test(test_byte__many_steps_are_one),
        cmocka_unit_test(test_byte__bytes_of_characters_and_blanks_keep_everything_finite),
        cmocka_unit_test(test_byte__a_name_is_known_in_the_middle_of_its_tokens),
        cmocka_unit_test(test_byte__a_state_that_cannot_be_cut_is_computed_anew),
        cmocka_unit_test(test_translated__a_cancelled_step_is_repaired_by_begin),
        cmocka_unit_test(test_translated__a_full_context_window_is_told),
        cmocka_unit_test(test_translated__a_map_of_another_slm_is_refused),
        cmocka_unit_test(test_translated__on_a_given_decoder_it_is_the_same),
    };
    return cmocka_run_group_tests(tests, load_all, free_all);
}
