/*
 * The positions of an existing engine, against a real llama-server (environment: LLAMA_SERVER) with the built-in LLM: each has
 * the distribution of the cloud in this process, also where llama-server holds a token back because a character is not whole.
 */
#include "support/engine_pair.h"
#include "support/models.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const bio = "Write a short bio.";

static const struct {
    const char *query, *context;
} many_bytes[] = {
    {"Write a short bio of me, Zoë 🙂.", "name: Zoë Øster 你好 🙂\ncity: Malmö\njob: 画家"},
    {"你好 🙂 Zoë Øster", "name: 你好\nMy dog is called Čiča 🐕."},
    {"Help me apologise to Bjørk Þórsdóttir.", "The neighbour is called Bjørk. I am Łucja. We live in Kraków."},
};

static void test_llama_server__characters_of_many_bytes_change_nothing(void **state)
{
    (void)state;
    for (size_t m = 0; m < N_MODES; m++) {
        costeer_cloud *cloud = connect_mode(modes[m]);
        for (size_t i = 0; i < sizeof many_bytes / sizeof many_bytes[0]; i++) {
            const answer expected = ask(local, many_bytes[i].query, many_bytes[i].context, greedy());
            const answer got = ask(cloud, many_bytes[i].query, many_bytes[i].context, greedy());
            (void)differ(&expected, &got, mode_names[m]);
        }
        costeer_cloud_free(cloud);
    }
}

/* ---- the same distributions ---------------------------------------------------------------------------------------- */

/* Log-probabilities of all tokens, −inf for what was not sent. @param[out] out  [n_vocab] */
static void spread(const costeer_base *base, int32_t n_vocab, double *out)
{
    double sum = 0;
    for (int32_t i = 0; i < n_vocab; i++) {
        out[i] = base->ids == NULL ? (double)base->values[i] : -INFINITY;
        sum += exp(out[i]);
    }
    for (int32_t i = 0; base->ids == NULL && i < n_vocab; i++) {
        out[i] -= log(sum); /* dense values may be logits */
    }
    for (int32_t i = 0; base->ids != NULL && i < base->n; i++) {
        out[base->ids[i]] = (double)base->values[i];
    }
}

static int best_of(const double *values, int32_t n, int other_than)
{
    int best = -1;
    for (int32_t i = 0; i < n; i++) {
        best = i != other_than && (best < 0 || values[i] > values[best]) ? i : best;
    }
    return best;
}

/* Tokens whose value in `whole` is that of the last one sent may be sent or not. */
static void assert_close(const costeer_distribution *got, const double *whole, int32_t n_vocab)
{
    double *sent = calloc((size_t)n_vocab, sizeof *sent);
    assert_non_null(sent);
    spread(&got->base, n_vocab, sent);
    double lowest = 0;
    for (int32_t i = 0; i < n_vocab; i++) {
        lowest = isfinite(sent[i]) ? fmin(lowest, sent[i]) : lowest;
    }
    for (int32_t i = 0; i < n_vocab; i++) {
        if (isfinite(sent[i]) ? fabs(sent[i] - whole[i]) > CLOSE_NATS : whole[i] > lowest + CLOSE_NATS) {
            fail_msg("position %d, token %d: %g instead of %g", got->position, i, sent[i], whole[i]);
        }
    }
    free(sent);
}

static void assert_own(const costeer_distribution *got, const costeer_distribution *expected, const double *whole,
                       int32_t n_vocab)
{
    const int best = best_of(whole, n_vocab, -1);
    const bool is_tie = whole[best] - whole[best_of(whole, n_vocab, best)] < CLOSE_NATS;
    if (got->own_token != expected->own_token && !is_tie) {
        fail_msg("position %d: own token %d instead of %d", got->position, got->own_token, expected->own_token);
    }
}

static bool is_inside_character(int32_t token)
{
    char piece[COSTEER_PIECE_MAX];
    return costeer_model_token_to_piece(llm, token, piece) == 1 && (unsigned char)piece[0] >= 0x80;
}

/* Go through an answer with both clouds: `tokens` [n], or, NULL, the cloud's own. Returns how many of the cloud's own tokens were
 * a part of a character only. */
static int walk(costeer_cloud *cloud, const costeer_tokens *prompt, const int32_t *tokens, int32_t n, int32_t top_k)
{
    const int32_t n_vocab = costeer_model_get_info(llm)->n_vocab;
    costeer_cloud_request request = {.prompt = prompt->ids, .n_prompt = prompt->n, .top_k = top_k, .max_tokens = n};
    costeer_error err = {0};
    int n_inside = 0;
    double *whole = calloc((size_t)n_vocab, sizeof *whole);
    assert_non_null(whole);
    costeer_cloud_close(local); /* a test that failed may have left it open */
    assert_ok(costeer_cloud_open(cloud, &request, &err), &err);
    request.top_k = 0;
    assert_ok(costeer_cloud_open(local, &request, &err), &err);
    for (int32_t i = 0; i < n; i++) {
        costeer_distribution expected, got;
        assert_ok(costeer_cloud_next(local, i, &expected, &err), &err);
        assert_ok(costeer_cloud_next(cloud, i, &got, &err), &err);
        assert_int_equal(got.position, i);
        assert_int_equal(got.base.n, top_k == 0 ? n_vocab : top_k);
        spread(&expected.base, n_vocab, whole);
        assert_close(&got, whole, n_vocab);
        assert_own(&got, &expected, whole, n_vocab);
        n_inside += is_inside_character(expected.own_token);
        const int32_t token = tokens != NULL ? tokens[i] : expected.own_token;
        if (i + 1 < n) {
            assert_ok(costeer_cloud_commit(local, i, token, &err), &err);
            assert_ok(costeer_cloud_commit(cloud, i, token, &err), &err);
        }
    }
    costeer_cloud_close(local);
    costeer_cloud_close(cloud);
    free(whole);
    return n_inside;
}

static costeer_tokens tokenize(const char *text)
{
    costeer_tokens out = {0};
    costeer_error err = {0};
    assert_ok(costeer_model_tokenize(llm, text, strlen(text), false, false, &out, &err), &err);
    return out;
}

static const char *const letters = "Zoë Øster, 你好 🙂 naïve — €!";

/* Corrections in the middle of characters: after each the engine is asked to go on from a part of one. */
static void test_llama_server__characters_are_committed_byte_by_byte(void **state)
{
    (void)state;
    costeer_tokens prompt = build_prompt(llm, NULL, bio);
    costeer_tokens script = tokenize(letters);
    int n_bytes = 0;
    for (size_t i = 0; i < script.n; i++) {
        n_bytes += is_inside_character(script.ids[i]);
    }
    assert_true(n_bytes >= 10);
    for (size_t m = 0; m < N_MODES; m++) {
        costeer_cloud *cloud = connect_mode(modes[m]);
        (void)walk(cloud, &prompt, script.ids, (int32_t)script.n, 64);
        (void)walk(cloud, &prompt, script.ids, (int32_t)script.n, 0);
        costeer_cloud_free(cloud);
    }
    costeer_tokens_dispose(&script);
    costeer_tokens_dispose(&prompt);
}

/* The engine's own choice are the bytes of characters, which it holds back until they are whole, or to the end. */
static void test_llama_server__characters_are_held_back_by_the_engine(void **state)
{
    (void)state;
    static const char repeated[] = "你好 🙂 Zoë Øster; 你好 🙂 Zoë Øster; 你好 🙂 Zoë Øster; 你好";
    costeer_tokens prompt = tokenize(repeated);
    int n_inside = 0;
    for (size_t m = 0; m < N_MODES; m++) {
        costeer_cloud *cloud = connect_mode(modes[m]);
        for (int32_t n = 1; n <= 24; n += n < 12 ? 1 : 12) { /* wherever the answer ends */
            n_inside += walk(cloud, &prompt, NULL, n, 16);
        }
        costeer_cloud_free(cloud);
    }
    print_message("%d tokens inside characters\n", n_inside);
    assert_true(n_inside >= 20);
    costeer_tokens_dispose(&prompt);
}

/* Not UTF-8 at all: parts of characters that nothing completes. */
static void test_llama_server__broken_characters_change_nothing(void **state)
{
    (void)state;
    costeer_tokens prompt = tokenize("你好 🙂 Zoë; 你好 🙂 Zoë; 你");
    costeer_tokens whole = tokenize("🙂你a好🙂é");
    int32_t broken[16] = {0};
    int32_t n = 0;
    for (size_t i = 0; i < whole.n && n < 16; i++) {
        if (i % 3 != 2) { /* every third byte is lost */
            broken[n++] = whole.ids[i];
        }
    }
    for (size_t m = 0; m < N_MODES; m++) {
        costeer_cloud *cloud = connect_mode(modes[m]);
        (void)walk(cloud, &prompt, broken, n, 16);
        costeer_cloud_free(cloud);
    }
    costeer_tokens_dispose(&whole);
    costeer_tokens_dispose(&prompt);
}

static void test_llama_server__deeper_entries_are_of_the_same_position(void **state)
{
    (void)state;
    const int32_t n_vocab = costeer_model_get_info(llm)->n_vocab;
    costeer_tokens prompt = build_prompt(llm, NULL, bio);
    double *whole = calloc((size_t)n_vocab, sizeof *whole);
    assert_non_null(whole);
    for (size_t m = 0; m < N_MODES; m++) {
        costeer_cloud *cloud = connect_mode(modes[m]);
        costeer_cloud_request request = {.prompt = prompt.ids, .n_prompt = prompt.n, .top_k = 4, .max_tokens = 6};
        costeer_error err = {0};
        costeer_cloud_close(local);
        assert_ok(costeer_cloud_open(cloud, &request, &err), &err);
        assert_ok(costeer_cloud_open(local, &request, &err), &err);
        for (int32_t i = 0; i < 6; i++) {
            static const int32_t depths[] = {4, 8, 7, 300, 0, 5000};
            costeer_distribution expected, got;
            assert_ok(costeer_cloud_next(local, i, &expected, &err), &err);
            assert_ok(costeer_cloud_deepen(local, i, 0, &expected, &err), &err);
            spread(&expected.base, n_vocab, whole);
            assert_ok(costeer_cloud_next(cloud, i, &got, &err), &err);
            for (size_t d = 0; d < sizeof depths / sizeof depths[0]; d++) {
                assert_ok(costeer_cloud_deepen(cloud, i, depths[d], &got, &err), &err);
                assert_true(got.base.n >= (depths[d] == 0 || depths[d] > n_vocab ? n_vocab : depths[d]));
                assert_false(got.is_deepest);
                assert_close(&got, whole, n_vocab);
                assert_own(&got, &expected, whole, n_vocab);
            }
            if (i < 5) {
                const int32_t token = i % 2 == 0 ? expected.own_token : 300 + i;
                assert_ok(costeer_cloud_commit(local, i, token, &err), &err);
                assert_ok(costeer_cloud_commit(cloud, i, token, &err), &err);
            }
        }
        costeer_cloud_close(local);
        costeer_cloud_free(cloud);
    }
    free(whole);
    costeer_tokens_dispose(&prompt);
}

/* ---- all of them --------------------------------------------------------------------------------------------------- */

static void test_llama_server__skipped_without_one(void **state)
{
    (void)state;
    print_message("skipped: LLAMA_SERVER does not name a llama-server\n");
    skip();
}

int main(void)
{
    const struct CMUnitTest skipped[] = {cmocka_unit_test(test_llama_server__skipped_without_one)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama_server__characters_are_committed_byte_by_byte),
        cmocka_unit_test(test_llama_server__characters_are_held_back_by_the_engine),
        cmocka_unit_test(test_llama_server__broken_characters_change_nothing),
        cmocka_unit_test(test_llama_server__characters_of_many_bytes_change_nothing),
        cmocka_unit_test(test_llama_server__deeper_entries_are_of_the_same_position),
    };
    return llama_server_program() == NULL ? cmocka_run_group_tests(skipped, NULL, NULL)
                                          : cmocka_run_group_tests(tests, set_up, tear_down);
}
