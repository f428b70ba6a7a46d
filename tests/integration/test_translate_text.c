/* A text that grows at its end is always split as its whole would be, by real tokenizers of every kind. */
#include "core/translate_text.h"
#include "support/models.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define OTHER_PATH COSTEER_TEST_MODELS_DIR "/costeer-slm-other.gguf"
#define TEXT_MAX   8192
#define TOKENS_MAX 8192

static const char *const texts[] = {
    "Dear Rufus, I am truly sorry that I played the zither so late. What is more, Juniper made a terrible noise!",
    "  two spaces,   three spaces,\ttabs\t\tand\n\nempty lines\n \n   indented\r\n- a list\n- of things   ",
    "      ",
    "int main(void)\n{\n    return x->y[10] == 0x1F ? 3.14159 : -2000000; /* don't we'll I'm */\n}\n",
    "Na\xC3\xAFve caf\xC3\xA9 \xE2\x80\x94 \xF0\x9F\x98\x80\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x92\xBB ok "
    "\xF0\x9F\x87\xA9\xF0\x9F\x87\xAA.",
    "\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E\xE3\x81\xAE\xE3\x83\x86\xE3\x82\xAD\xE3\x82\xB9\xE3\x83\x88\xE3\x81\xAF\xE5\x8D\x98\xE8"
    "\xAA\x9E"
    "\xE3\x81\xAE\xE9\x96\x93\xE3\x81\xAB\xE7\xA9\xBA\xE7\x99\xBD\xE3\x81\x8C\xE3\x81\x82\xE3\x82\x8A\xE3\x81\xBE\xE3\x81\x9B\xE3"
    "\x82\x93\xE3\x80\x82",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "Donaudampfschifffahrtselektrizit\xC3\xA4tenhauptbetriebswerkbauunterbeamtengesellschaft and internationalization",
};
#define N_TEXTS (sizeof texts / sizeof texts[0])

/* The tokens of a whole text behind something else: SentencePiece's space goes before a line end, and both are taken off. */
static costeer_tokens tokenize_behind(const costeer_model *of, const char *text, size_t n)
{
    costeer_error err = {0};
    costeer_tokens out = {0};
    char piece[COSTEER_PIECE_MAX];
    assert_ok(costeer_model_tokenize(of, "a", 1, false, false, &out, &err), &err);
    size_t n_a = 0;
    for (size_t i = 0; i < out.n; i++) {
        n_a += costeer_model_token_to_piece(of, out.ids[i], piece);
    }
    if (n_a == 1) {
        assert_ok(costeer_model_tokenize(of, text, n, false, false, &out, &err), &err);
        return out;
    }
    char *marked = calloc(n + 2, 1);
    assert_non_null(marked);
    marked[0] = '\n';
    memcpy(marked + 1, text, n);
    assert_ok(costeer_model_tokenize(of, marked, n + 1, false, false, &out, &err), &err);
    free(marked);
    size_t n_drop = 0;
    for (size_t n_bytes = 0; n_bytes < 2; n_drop++) {
        n_bytes += costeer_model_token_to_piece(of, out.ids[n_drop], piece);
    }
    out.n -= n_drop;
    memmove(out.ids, out.ids + n_drop, out.n * sizeof *out.ids);
    return out;
}

/* Length of text[0..n) without the beginning of a character at its end. */
static size_t whole_characters(const char *text, size_t n)
{
    size_t begin = n;
    while (begin > 0 && ((unsigned char)text[begin - 1] & 0xC0) == 0x80) {
        begin--;
    }
    if (begin == 0 || (unsigned char)text[begin - 1] < 0xC0) {
        return n;
    }
    const unsigned char lead = (unsigned char)text[begin - 1];
    const size_t wanted = lead >= 0xF0 ? 4 : (lead >= 0xE0 ? 3 : 2);
    return n - begin + 1 < wanted ? begin - 1 : n;
}

static void assert_split(const costeer_model *of, const cs_text_tokens *split, const char *text, size_t n, const char *name)
{
    size_t n_tokens;
    const int32_t *tokens = cs_text_tokens_get(split, &n_tokens);
    costeer_tokens whole = tokenize_behind(of, text, whole_characters(text, n));
    if (n_tokens != whole.n || memcmp(tokens, whole.ids, n_tokens * sizeof *tokens) != 0) {
        fail_msg("%s: \"%.*s\" is %zu tokens, and %zu when split step by step", name, (int)n, text, whole.n, n_tokens);
    }
    assert_int_equal(cs_text_tokens_size(split), n);
    assert_int_equal(cs_text_tokens_end(split, n_tokens), whole_characters(text, n));
    costeer_tokens_dispose(&whole);
}

/* Grow every text in steps of some bytes, cut anywhere, and look at the tokens after each. */
static void grow_texts(const char *path, const char *name)
{
    costeer_model *of = NULL;
    costeer_error err = {0};
    const costeer_model_params params = {.vocab_only = true};
    assert_ok(costeer_model_load(path, &params, &of, &err), &err);
    cs_text_tokens *split = NULL;
    assert_ok(cs_text_tokens_create(of, TOKENS_MAX, &split, &err), &err);
    for (size_t i = 0; i < N_TEXTS; i++) {
        const size_t length = strlen(texts[i]);
        for (size_t step = 1; step <= 7; step += 2) {
            cs_text_tokens_reset(split);
            for (size_t n = 0; n < length;) {
                const size_t more = length - n < step ? length - n : step;
                assert_ok(cs_text_tokens_push(split, texts[i] + n, more, &err), &err);
                n += more;
                assert_split(of, split, texts[i], n, name);
            }
        }
    }
    cs_text_tokens_free(split);
    costeer_model_free(of);
}

static void test_text__grows_as_its_whole_is_split(void **state)
{
    (void)state;
    grow_texts(LLM_PATH, "llm");
    grow_texts(OTHER_PATH, "other slm");
}

static void test_text__grows_as_its_whole_is_split_by_real_tokenizers(void **state)
{
    (void)state;
#ifdef COSTEER_TEST_VOCAB_DIR
    static const char *const names[] = {"llama-spm",    "phi-3",  "gpt-2",   "qwen2",    "llama-bpe",
                                        "deepseek-llm", "falcon", "gemma-4", "command-r"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[512];
        (void)snprintf(path, sizeof path, "%s/ggml-vocab-%s.gguf", COSTEER_TEST_VOCAB_DIR, names[i]);
        grow_texts(path, names[i]);
    }
#else
    print_message("COSTEER_TEST_VOCAB_DIR is not set: tests over real vocabularies are skipped\n");
    skip();
#endif
}

static cs_text_tokens *create(costeer_model **of)
{
    costeer_error err = {0};
    const costeer_model_params params = {.vocab_only = true};
    cs_text_tokens *out = NULL;
    assert_ok(costeer_model_load(OTHER_PATH, &params, of, &err), &err);
    assert_ok(cs_text_tokens_create(*of, TOKENS_MAX, &out, &err), &err);
    return out;
}

static void test_text__bytes_that_are_no_characters_are_read_as_u_fffd(void **state)
{
    (void)state;
    costeer_error err = {0};
    costeer_model *of = NULL;
    cs_text_tokens *split = create(&of);
    assert_ok(cs_text_tokens_push(split, "a\xFF", 2, &err), &err);
    assert_ok(cs_text_tokens_push(split, "b\xE2", 2, &err), &err); /* begins a character … */
    assert_ok(cs_text_tokens_push(split, "c", 1, &err), &err);     /* … that does not go on */
    const char text[] = "a\xEF\xBF\xBD"
                        "b\xEF\xBF\xBD"
                        "c";
    assert_split(of, split, text, sizeof text - 1, "other slm");
    cs_text_tokens_free(split);
    costeer_model_free(of);
}

/* Far more text than the window holds: the tokens stay those of the whole, and the far past is not known any more. */
static void test_text__stays_right_when_it_is_longer_than_the_window(void **state)
{
    (void)state;
    enum { N = 200000 };
    costeer_error err = {0};
    costeer_model *llm = NULL;
    const costeer_model_params params = {.vocab_only = true};
    assert_ok(costeer_model_load(LLM_PATH, &params, &llm, &err), &err);
    cs_text_tokens *split = NULL;
    assert_ok(cs_text_tokens_create(llm, N, &split, &err), &err);
    char *text = calloc(N + 1, 1);
    assert_non_null(text);
    size_t n = 0;
    while (n + 64 < N) {
        n += (size_t)snprintf(text + n, 64, "my sister %zu likes caf\xC3\xA9s, ", n);
    }
    for (size_t at = 0; at < n;) {
        const size_t more = at % 3 == 0 ? 5000 : 7; /* more than is split at once, and little */
        const size_t now = n - at < more ? n - at : more;
        assert_ok(cs_text_tokens_push(split, text + at, now, &err), &err);
        at += now;
    }
    assert_split(llm, split, text, n, "llm");
    size_t n_behind;
    assert_null(cs_text_tokens_from(split, 0, &n_behind));
    assert_non_null(cs_text_tokens_from(split, (int64_t)n - 600, &n_behind));
    assert_int_equal(n_behind, 600);
    free(text);
    cs_text_tokens_free(split);
    costeer_model_free(llm);
}

static void test_text__more_tokens_than_fit_are_refused(void **state)
{
    (void)state;
    costeer_error err = {0};
    costeer_model *of = NULL;
    const costeer_model_params params = {.vocab_only = true};
    assert_ok(costeer_model_load(OTHER_PATH, &params, &of, &err), &err);
    cs_text_tokens *split = NULL;
    assert_ok(cs_text_tokens_create(of, 4, &split, &err), &err);
    assert_ok(cs_text_tokens_push(split, "1234", 4, &err), &err);
    assert_int_equal(cs_text_tokens_push(split, "5", 1, &err), COSTEER_ETOOLONG);
    cs_text_tokens_reset(split);
    assert_ok(cs_text_tokens_push(split, "5", 1, &err), &err);
    cs_text_tokens_free(split);
    costeer_model_free(of);
}

/* What was asked before stays what it was, as far as it is said to. */
static void test_text__tells_how_far_its_tokens_have_stayed(void **state)
{
    (void)state;
    costeer_error err = {0};
    costeer_model *of = NULL;
    cs_text_tokens *split = create(&of);
    const char *text = texts[0];
    int32_t before[TEXT_MAX];
    size_t n_before = 0;
    bool has_shrunk = false;
    for (size_t n = 0; n < strlen(text); n++) {
        size_t n_tokens;
        assert_ok(cs_text_tokens_push(split, text + n, 1, &err), &err);
        const int32_t *tokens = cs_text_tokens_get(split, &n_tokens);
        const size_t n_unchanged = cs_text_tokens_take_unchanged(split);
        assert_true(n_unchanged <= n_before);
        assert_memory_equal(tokens, before, n_unchanged * sizeof *tokens);
        if (n_unchanged < n_before && n_unchanged < n_tokens) {
            assert_int_not_equal(tokens[n_unchanged], before[n_unchanged]);
        }
        has_shrunk = has_shrunk || n_unchanged < n_before;
        memcpy(before, tokens, n_tokens * sizeof *tokens);
        n_before = n_tokens;
    }
    assert_true(has_shrunk);
    cs_text_tokens_free(split);
    costeer_model_free(of);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text__grows_as_its_whole_is_split),
        cmocka_unit_test(test_text__grows_as_its_whole_is_split_by_real_tokenizers),
        cmocka_unit_test(test_text__bytes_that_are_no_characters_are_read_as_u_fffd),
        cmocka_unit_test(test_text__stays_right_when_it_is_longer_than_the_window),
        cmocka_unit_test(test_text__more_tokens_than_fit_are_refused),
        cmocka_unit_test(test_text__tells_how_far_its_tokens_have_stayed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
