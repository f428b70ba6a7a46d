/* Tokens by their text and bytes, in the built-in vocabulary, which has every byte as a token of its own beside its words. */
#include "cloud/api_spelling.h"

#include "core/vocab_words.h"
#include "support/models.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define BYTE_TOKEN(byte) (4 + (byte)) /* of the built-in vocabulary */

static costeer_model *model;
static cs_api_spelling *spelling;

static int set_up_model(void **state)
{
    (void)state;
    const costeer_model_params params = {.vocab_only = true};
    costeer_error err = {.code = COSTEER_OK};
    assert_ok(costeer_model_load(SLM_PATH, &params, &model, &err), &err);
    assert_ok(cs_api_spelling_create(model, &spelling, &err), &err);
    return 0;
}

static int tear_down_model(void **state)
{
    (void)state;
    cs_api_spelling_free(spelling);
    cs_api_spelling_free(NULL);
    costeer_model_free(model);
    return 0;
}

static int32_t find(const char *text)
{
    int32_t token = -1;
    costeer_error err = {.code = COSTEER_OK};
    assert_ok(cs_api_spelling_find(spelling, text, strlen(text), &token, &err), &err);
    return token;
}

static void assert_refused_n(const char *text, size_t n, const char *why)
{
    int32_t token = -7;
    costeer_error err = {.code = COSTEER_OK};
    assert_int_equal(cs_api_spelling_find(spelling, text, n, &token, &err), COSTEER_ECLOUD);
    assert_int_equal(token, -7);
    if (strstr(err.message, why) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", err.message, why);
    }
}

static void assert_refused(const char *text, const char *why)
{
    assert_refused_n(text, strlen(text), why);
}

static void test_spelling__a_text_is_its_token(void **state)
{
    (void)state;
    assert_int_equal(find("ere"), 625);
    assert_int_equal(find("ello"), 1002);
    assert_int_equal(find(" is"), 494);
    assert_int_equal(find("ob"), 491);
    int32_t token = -1;
    assert_int_equal(cs_api_spelling_find(spelling, "\0", 1, &token, NULL), COSTEER_OK); /* no end of a text */
    assert_int_equal(token, BYTE_TOKEN(0));
}

static void test_spelling__special_tokens_have_their_names(void **state)
{
    (void)state;
    assert_int_equal(find("<unk>"), 0);
    assert_int_equal(find("<|endoftext|>"), 1);
    assert_int_equal(find("<|im_start|>"), 2);
    assert_int_equal(find("<|im_end|>"), 3);
}

static void test_spelling__two_tokens_of_one_text_are_both_named_and_refused(void **state)
{
    (void)state;
    assert_refused("H", "\"H\", and both token 76 and token 300 are spelled so");
    assert_refused("\n", "\"\\x0a\", and both token 14 and token 260 are spelled so");
    assert_refused("bytes:\\x48", "\"H\", and both token 76 and token 300");
}

static void test_spelling__what_no_token_is_spelled_like_is_shown_in_one_line(void **state)
{
    (void)state;
    assert_refused("zzqq", "\"zzqq\", which is none of the vocabulary's");
    assert_refused("", "\"\", which is none");
    assert_refused("<|im_end|", "none of the vocabulary's"); /* the beginning of one */
    assert_refused("eree", "none of the vocabulary's");
    assert_refused_n("ere\0", 4, "\"ere\\x00\"");
    assert_refused("\x1b[31m\xC3\xA9", "\"\\x1b[31m\\xc3\\xa9\"");
    char text[300];
    memset(text, '\n', sizeof text);
    assert_refused_n(text, sizeof text, "\\x0a\", which is none");
}

static void test_spelling__bytes_that_are_no_text_are_written_out(void **state)
{
    (void)state;
    assert_int_equal(find("bytes:\\xe2"), BYTE_TOKEN(0xE2));
    assert_int_equal(find("bytes:\\xE2"), BYTE_TOKEN(0xE2));
    assert_int_equal(find("bytes:\\x00"), BYTE_TOKEN(0));
    assert_int_equal(find("bytes:\\x65\\x72\\x65"), 625);
    assert_refused("bytes:\\xe2\\x82", "\"\\xe2\\x82\", which is none");
    static const char *const no_bytes[] = {"bytes:",          "bytes:\\xe", "bytes:\\xg0",
                                           "bytes:\\xe2\\x8", "bytes:/xe2", "bytes:\\xe2 "};
    for (size_t i = 0; i < sizeof no_bytes / sizeof no_bytes[0]; i++) {
        assert_refused(no_bytes[i], "\"bytes:"); /* a text like any other */
    }
    char text[6 + 4 * (COSTEER_PIECE_MAX + 1) + 1] = "bytes:";
    for (size_t n = 6; n + 4 < sizeof text; n += 4) {
        memcpy(text + n, "\\x61", 5);
    }
    assert_refused(text, "\"bytes:"); /* longer than any token */
}

static void test_spelling__a_text_cut_inside_a_character_is_refused(void **state)
{
    (void)state;
    assert_refused("\xEF\xBF\xBD", "cut inside a character");
    assert_refused(" \xEF\xBF\xBD", "cut inside a character");
    assert_refused("\xEF\xBF\xBDre", "cut inside a character");
    assert_refused("\xEF\xBF", "\"\\xef\\xbf\", which is none"); /* cut itself */
}

static void test_spelling__bytes_are_found_as_they_are(void **state)
{
    (void)state;
    int32_t token = -1;
    assert_int_equal(cs_api_spelling_find_bytes(spelling, "\xE2", 1, &token, NULL), COSTEER_OK);
    assert_int_equal(token, BYTE_TOKEN(0xE2));
    assert_int_equal(cs_api_spelling_find_bytes(spelling, "ere", 3, &token, NULL), COSTEER_OK);
    assert_int_equal(token, 625);
    assert_int_equal(cs_api_spelling_find_bytes(spelling, "bytes:\\xe2", 10, &token, NULL), COSTEER_ECLOUD);
}

/* Every token of the vocabulary: itself, or refused because another one has its bytes. */
static void test_spelling__no_token_is_taken_for_another(void **state)
{
    (void)state;
    cs_vocab_words words;
    int32_t n_found = 0;
    assert_int_equal(cs_vocab_words_read(model, &words, NULL), COSTEER_OK);
    for (int32_t i = 0; i < words.n; i++) {
        int32_t token = -1;
        costeer_error err = {.code = COSTEER_OK};
        const costeer_err code =
            cs_api_spelling_find_bytes(spelling, words.bytes + words.at[i], cs_vocab_words_length(&words, i), &token, &err);
        char name[32];
        (void)snprintf(name, sizeof name, "token %d ", i);
        assert_true(code == COSTEER_OK ? token == i : strstr(err.message, name) != NULL);
        n_found += code == COSTEER_OK;
    }
    print_message("%d of %d tokens can be told by their text\n", n_found, words.n);
    assert_true(n_found > words.n / 2);
    cs_vocab_words_dispose(&words);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spelling__a_text_is_its_token),
        cmocka_unit_test(test_spelling__special_tokens_have_their_names),
        cmocka_unit_test(test_spelling__two_tokens_of_one_text_are_both_named_and_refused),
        cmocka_unit_test(test_spelling__what_no_token_is_spelled_like_is_shown_in_one_line),
        cmocka_unit_test(test_spelling__bytes_that_are_no_text_are_written_out),
        cmocka_unit_test(test_spelling__a_text_cut_inside_a_character_is_refused),
        cmocka_unit_test(test_spelling__bytes_are_found_as_they_are),
        cmocka_unit_test(test_spelling__no_token_is_taken_for_another),
    };
    return cmocka_run_group_tests(tests, set_up_model, tear_down_model);
}
