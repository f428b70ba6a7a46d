/*
 * How far a model's numbers move when the same tokens are computed in other company.
 *
 * One text, fed a token at a time, is the reference. The same tokens are fed in twos, threes, …, beside other sequences, after
 * drafts that were withdrawn, and behind a prompt that was cut elsewhere. With our patches that must not move a bit; without, it
 * must stay below what the count of near ties takes for granted. What counts for a choice is how far the difference of two logits
 * moves: over the best tokens of a position, the largest move minus the smallest. COSTEER_GROUPING_MODEL (a GGUF) and
 * COSTEER_GROUPING_THREADS measure another model: the table of docs/mathematics.md.
 */
#include "core/decoder.h"
#include "support/models.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N_PROMPT 540
#define N_ANSWER 16
#define N_BEST   20
#define N_CTX    1024
#define N_BATCH  512
#define WIDEST   16

/* The same tokens, grouped in some way. */
typedef struct grouping {
    const char *name;
    int32_t width;         /* tokens of the answer at once */
    int32_t n_others;      /* other sequences, one token each in every batch */
    int32_t prompt_piece;  /* tokens of the prompt in a batch */
    int32_t n_withdrawn;   /* wrong tokens computed and cut off before every batch */
    bool prompts_together; /* the others' prompts are in one batch with its own */
    int32_t n_threads;     /* 0: those of the reference */
} grouping;

static const grouping groupings[] = {
    {"the same again", 1, 0, N_BATCH, 0, false, 0},
    {"2 tokens at once", 2, 0, N_BATCH, 0, false, 0},
    {"3 tokens at once", 3, 0, N_BATCH, 0, false, 0},
    {"4 tokens at once", 4, 0, N_BATCH, 0, false, 0},
    {"5 tokens at once", 5, 0, N_BATCH, 0, false, 0},
    {"9 tokens at once", 9, 0, N_BATCH, 0, false, 0},
    {"beside one other sequence", 1, 1, N_BATCH, 0, false, 0},
    {"beside three others", 1, 3, N_BATCH, 0, false, 0},
    {"5 tokens at once beside three others", 5, 3, N_BATCH, 0, false, 0},
    {"after 4 withdrawn drafts each", 1, 0, N_BATCH, 4, false, 0},
    {"by two threads", 1, 0, N_BATCH, 0, false, 2},
    {"prompt with another in one batch", 1, 1, N_BATCH, 0, true, 0},
    {"prompt a token at a time", 1, 0, 1, 0, false, 0},
    {"prompt in pieces of 16", 1, 0, 16, 0, false, 0},
    {"prompt in pieces of 64", 1, 0, 64, 0, false, 0},
    {"prompt in pieces of 100", 1, 0, 100, 0, false, 0},
};

static costeer_model *model;
static int32_t n_threads = 1;
static int32_t n_vocab;
static costeer_tokens text; /* prompt, answer, and what the others hold */
static float *reference;    /* [N_ANSWER][n_vocab] */
static float *rows;         /* [N_ANSWER][n_vocab] */

static int load(void **state)
{
    (void)state;
    const char *path = getenv("COSTEER_GROUPING_MODEL");
    const char *threads = getenv("COSTEER_GROUPING_THREADS");
    static char bytes[60000];
    costeer_error err = {0};
    model = load_model(path != NULL ? path : LLM_PATH);
    n_threads = threads != NULL ? (int32_t)strtol(threads, NULL, 10) : 1;
    n_vocab = costeer_model_get_info(model)->n_vocab;
    FILE *file = fopen(COSTEER_TEST_MODELS_DIR "/../docs/architecture.md", "rb");
    assert_non_null(file);
    const size_t n = fread(bytes, 1, sizeof bytes - 1, file);
    (void)fclose(file);
    /* a character may be cut at the end: the last line goes */
    size_t n_whole = n;
    while (n_whole > 0 && bytes[n_whole - 1] != '\n') {
        n_whole--;
    }
    assert_ok(costeer_model_tokenize(model, bytes, n_whole, false, false, &text, &err), &err);
    assert_true(text.n > N_PROMPT + 2 * N_ANSWER + WIDEST);
    reference = calloc((size_t)N_ANSWER * (size_t)n_vocab, sizeof *reference);
    rows = calloc((size_t)N_ANSWER * (size_t)n_vocab, sizeof *rows);
    assert_true(reference != NULL && rows != NULL);
    return 0;
}

static int unload(void **state)
{
    (void)state;
    free(reference);
    free(rows);
    costeer_tokens_dispose(&text);
    costeer_model_free(model);
    return 0;
}

/* ---- computing --------------------------------------------------------------------------------------------------- */

static void compute(cs_decoder *decoder)
{
    costeer_error err = {0};
    assert_ok(cs_decoder_compute(decoder, &err), &err);
}

/* What another sequence holds: some other part of the text. */
static const int32_t *text_of(int32_t sequence)
{
    return text.ids + (size_t)sequence * 3;
}

static int32_t n_prompt_of(int32_t sequence)
{
    return sequence == 0 ? N_PROMPT : N_PROMPT / 3 + 17 * sequence;
}

static void feed(cs_decoder *decoder, int32_t sequence, int32_t piece)
{
    for (int32_t i = 0; i < n_prompt_of(sequence);) {
        cs_decoder_begin(decoder);
        for (int32_t k = 0; k < piece && i < n_prompt_of(sequence) && cs_decoder_room(decoder) > 0; k++) {
            assert_true(cs_decoder_add(decoder, sequence, text_of(sequence)[i++], false) >= 0);
        }
        compute(decoder);
    }
}

static void feed_all(cs_decoder *decoder, const grouping *g)
{
    costeer_error err = {0};
    for (int32_t s = 0; s <= g->n_others; s++) {
        if (!g->prompts_together) {
            feed(decoder, s, s == 0 ? g->prompt_piece : N_BATCH);
        } else {
            assert_ok(cs_decoder_set_prompt(decoder, s, text_of(s), (size_t)n_prompt_of(s), N_ANSWER, "prompt", &err), &err);
        }
    }
    if (g->prompts_together) {
        assert_ok(cs_decoder_prefill(decoder, NULL, &err), &err);
    }
}

static void draft_in_vain(cs_decoder *decoder, int32_t at, int32_t n)
{
    cs_decoder_begin(decoder);
    for (int32_t i = 0; i < n; i++) {
        assert_true(cs_decoder_add(decoder, 0, text.ids[at + i], false) >= 0);
    }
    compute(decoder);
    assert_int_equal(cs_decoder_truncate(decoder, 0, N_PROMPT + at), N_PROMPT + at);
}

/* Tokens of the answer from `at` on, with one of each other sequence. Returns how many. */
static int32_t step(cs_decoder *decoder, const grouping *g, int32_t at, float *out)
{
    int32_t index[WIDEST];
    int32_t n = 0;
    cs_decoder_begin(decoder);
    for (; n < g->width && at + n < N_ANSWER; n++) {
        index[n] = cs_decoder_add(decoder, 0, text.ids[N_PROMPT + at + n], true);
        assert_true(index[n] >= 0);
    }
    for (int32_t s = 1; s <= g->n_others; s++) {
        assert_true(cs_decoder_add(decoder, s, text_of(s)[n_prompt_of(s) + at], true) >= 0);
    }
    compute(decoder);
    for (int32_t k = 0; k < n; k++) {
        memcpy(out + (size_t)(at + k) * (size_t)n_vocab, cs_decoder_row(decoder, index[k]), (size_t)n_vocab * sizeof *out);
    }
    return n;
}

static void run(const grouping *g, float *out)
{
    const cs_decoder_params params = {.component = "llm",
                                      .n_sequences = 1 + g->n_others,
                                      .n_ctx = N_CTX,
                                      .n_threads = g->n_threads > 0 ? g->n_threads : n_threads,
                                      .n_rows = g->width + g->n_others};
    cs_decoder *decoder = NULL;
    costeer_error err = {0};
    assert_ok(cs_decoder_create(model, &params, &decoder, &err), &err);
    feed_all(decoder, g);
    for (int32_t at = 0; at < N_ANSWER;) {
        if (g->n_withdrawn > 0) {
            draft_in_vain(decoder, at, g->n_withdrawn);
        }
        at += step(decoder, g, at, out);
    }
    cs_decoder_free(decoder);
}

/* ---- comparing --------------------------------------------------------------------------------------------------- */

/* The ids of the best tokens of a row, by insertion. */
static void find_best(const float *row, int32_t best[N_BEST])
{
    int32_t n = 0;
    for (int32_t i = 0; i < n_vocab; i++) {
        if (n == N_BEST && row[i] <= row[best[N_BEST - 1]]) {
            continue;
        }
        int32_t k = n < N_BEST ? n++ : N_BEST - 1;
        for (; k > 0 && row[best[k - 1]] < row[i]; k--) {
            best[k] = best[k - 1];
        }
        best[k] = i;
    }
}

/* How far two tokens among the best moved apart at most. */
static double move_of(const float *before, const float *after)
{
    int32_t best[N_BEST] = {0};
    double low = INFINITY, high = -INFINITY;
    find_best(before, best);
    for (int i = 0; i < N_BEST; i++) {
        const double moved = (double)after[best[i]] - (double)before[best[i]];
        low = fmin(low, moved);
        high = fmax(high, moved);
    }
    return high - low;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

static void test_grouping__what_shares_a_batch_moves_no_bit(void **state)
{
    (void)state;
    run(&groupings[0], reference);
    print_message("| grouping | equal bits | median | 90 %% | max |\n");
    for (size_t g = 0; g < sizeof groupings / sizeof groupings[0]; g++) {
        double moves[N_ANSWER];
        int n_same = 0;
        run(&groupings[g], rows);
        for (int32_t p = 0; p < N_ANSWER; p++) {
            const size_t at = (size_t)p * (size_t)n_vocab;
            moves[p] = move_of(reference + at, rows + at);
            n_same += memcmp(reference + at, rows + at, (size_t)n_vocab * sizeof *rows) == 0;
        }
        qsort(moves, N_ANSWER, sizeof moves[0], by_value);
        print_message("| %s | %d of %d | %.4f | %.4f | %.4f |\n", groupings[g].name, n_same, N_ANSWER, moves[N_ANSWER / 2],
                      moves[N_ANSWER * 9 / 10], moves[N_ANSWER - 1]);
        assert_true(n_same == N_ANSWER || LOGIT_TOLERANCE > 0);
        assert_true(moves[N_ANSWER - 1] < COSTEER_NEAR_TIE_BASE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grouping__what_shares_a_batch_moves_no_bit),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
