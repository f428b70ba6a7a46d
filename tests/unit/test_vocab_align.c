/* Which token stands for which, on vocabularies small enough to see through. */
#include "support/words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A map between two lists of words; everything is freed by aligned_close(). */
typedef struct aligned {
    cs_vocab_words llm;
    cs_vocab_words slm;
    costeer_vocab_map *map;
} aligned;

static aligned aligned_open(const test_word *llm, size_t n_llm, const test_word *slm, size_t n_slm, costeer_vocab_mode mode)
{
    aligned out = {.llm = words_make(llm, n_llm), .slm = words_make(slm, n_slm)};
    out.map = words_align(&out.llm, &out.slm, mode);
    return out;
}

static void aligned_close(aligned *a)
{
    costeer_vocab_map_free(a->map);
    cs_vocab_words_dispose(&a->slm);
    cs_vocab_words_dispose(&a->llm);
}

static void assert_partners(const costeer_vocab_map *map, const int32_t *expected)
{
    for (int32_t i = 0; i < cs_vocab_map_n_llm(map); i++) {
        if (costeer_vocab_map_partner(map, i) != expected[i]) {
            fail_msg("partner of %d is %d, expected %d", (int)i, (int)costeer_vocab_map_partner(map, i), (int)expected[i]);
        }
    }
}

static void assert_spelling(const costeer_vocab_map *map, int32_t token, const int32_t *expected, size_t n)
{
    const int32_t *tokens;
    assert_int_equal(cs_vocab_map_spelling(map, token, &tokens), n);
    if (n > 0) {
        assert_memory_equal(tokens, expected, n * sizeof *tokens);
    }
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

static const test_word some_llm[] = {TEXT("birthday"), TEXT("b"), TEXT("bir"), TEXT("xyz"), TEXT("birth")};
static const test_word some_slm[] = {TEXT("day"), TEXT("birth"), TEXT("b"), TEXT("birthdays"), TEXT("irth")};

static void test_align__a_token_without_a_partner_gets_its_longest_prefix(void **state)
{
    (void)state;
    aligned a = aligned_open(some_llm, COUNT(some_llm), some_slm, COUNT(some_slm), COSTEER_VOCAB_MAP);
    assert_partners(a.map, (const int32_t[]){1, 2, 2, -1, 1});
    assert_memory_equal(cs_vocab_map_exact(a.map), ((const int32_t[]){-1, 2, -1, -1, 1}), 5 * sizeof(int32_t));
    costeer_vocab_coverage c;
    costeer_vocab_map_read_coverage(a.map, &c);
    assert_true(c.n_llm == 5 && c.n_slm == 5 && c.n_exact == 2 && c.n_prefix == 2 && c.n_none == 1);
    assert_true(c.n_end == 0 && c.n_control == 0 && !c.was_cached);
    aligned_close(&a);
}

static void test_align__intersect_leaves_only_what_both_have(void **state)
{
    (void)state;
    aligned a = aligned_open(some_llm, COUNT(some_llm), some_slm, COUNT(some_slm), COSTEER_VOCAB_MAP_INTERSECT);
    assert_partners(a.map, (const int32_t[]){-1, 2, -1, -1, 1});
    aligned_close(&a);
}

static void test_align__spelling_is_the_partner_or_longest_pieces_first(void **state)
{
    (void)state;
    aligned a = aligned_open(some_llm, COUNT(some_llm), some_slm, COUNT(some_slm), COSTEER_VOCAB_MAP);
    assert_spelling(a.map, 0, (const int32_t[]){1, 0}, 2);
    assert_spelling(a.map, 1, (const int32_t[]){2}, 1);
    assert_spelling(a.map, 2, (const int32_t[]){2}, 1); /* "i" and "r" begin no token: passed over */
    assert_spelling(a.map, 3, NULL, 0);
    assert_spelling(a.map, 4, (const int32_t[]){1}, 1);
    assert_spelling(a.map, 5, NULL, 0);
    assert_spelling(a.map, -1, NULL, 0);
    aligned_close(&a);
}

static void test_align__of_equal_bytes_the_same_id_then_no_byte_fallback_then_the_lowest(void **state)
{
    (void)state;
    static const test_word llm[] = {TEXT("x"), TEXT("y"), TEXT("z"), TEXT("q"), TEXT("z1")};
    static const test_word slm[] = {BYTE("y"), TEXT("y"), TEXT("x"), TEXT("x"), TEXT("z"), BYTE("z"), BYTE("q"), TEXT("z")};
    aligned a = aligned_open(llm, COUNT(llm), slm, COUNT(slm), COSTEER_VOCAB_MAP);
    assert_partners(a.map, (const int32_t[]){2, 1, 4, 6, 4});
    aligned_close(&a);
    static const test_word same_id[] = {BYTE("y"), TEXT("y"), TEXT("x"), TEXT("x")};
    a = aligned_open(same_id, COUNT(same_id), slm, COUNT(slm), COSTEER_VOCAB_MAP);
    assert_partners(a.map, (const int32_t[]){0, 1, 2, 3});
    aligned_close(&a);
}

static void test_align__bytes_may_be_anything(void **state)
{
    (void)state;
    static const test_word llm[] = {{.kind = CS_WORD_TEXT, .bytes = "\0\xFF", .n_bytes = 2},
                                    {.kind = CS_WORD_TEXT, .bytes = "\0", .n_bytes = 1},
                                    {.kind = CS_WORD_TEXT, .bytes = "\0\0\0\0\0\0\0\0\0", .n_bytes = 9}};
    static const test_word slm[] = {{.kind = CS_WORD_TEXT, .bytes = "\0\0\0\0\0\0\0\0", .n_bytes = 8}, BYTE("\0"), BYTE("\xFF")};
    aligned a = aligned_open(llm, COUNT(llm), slm, COUNT(slm), COSTEER_VOCAB_MAP);
    assert_partners(a.map, (const int32_t[]){1, 1, 0});
    assert_spelling(a.map, 0, (const int32_t[]){1, 2}, 2);
    assert_spelling(a.map, 2, (const int32_t[]){0, 1}, 2);
    size_t n;
    const char *bytes = cs_vocab_map_bytes(a.map, 0, &n);
    assert_int_equal(n, 2);
    assert_memory_equal(bytes, "\0\xFF", 2);
    aligned_close(&a);
}

/* ---- what is no text --------------------------------------------------------------------------------------------- */

static void test_align__ends_go_by_name_then_to_the_end_of_an_answer(void **state)
{
    (void)state;
    static const test_word llm[] = {END("<eot>"), END("<eos>"), TEXT("a")};
    static const test_word slm[] = {TEXT("<eot>"), END("<im_end>"), CONTROL("<eot>"), END("<eos>"), TEXT("a")};
    aligned a = aligned_open(llm, COUNT(llm), slm, COUNT(slm), COSTEER_VOCAB_MAP_INTERSECT);
    assert_partners(a.map, (const int32_t[]){1, 3, 4});
    assert_true(cs_vocab_map_is_end(a.map, 0) && cs_vocab_map_is_end(a.map, 1) && !cs_vocab_map_is_end(a.map, 2));
    assert_false(cs_vocab_map_is_end(a.map, 3));
    size_t n;
    const int32_t *ends = cs_vocab_map_slm_ends(a.map, &n);
    assert_int_equal(n, 2);
    assert_true(ends[0] == 1 && ends[1] == 3);
    cs_vocab_map_bytes(a.map, 0, &n);
    assert_int_equal(n, 0);
    aligned_close(&a);
}

static void test_align__an_slm_without_an_end_leaves_ends_alone(void **state)
{
    (void)state;
    static const test_word llm[] = {END("<eot>"), TEXT("a")};
    static const test_word slm[] = {TEXT("<eot>"), TEXT("a")};
    aligned a = aligned_open(llm, COUNT(llm), slm, COUNT(slm), COSTEER_VOCAB_MAP);
    assert_partners(a.map, (const int32_t[]){-1, 1});
    assert_spelling(a.map, 0, NULL, 0);
    aligned_close(&a);
}

static void test_align__special_tokens_go_by_name_never_by_bytes(void **state)
{
    (void)state;
    static const test_word llm[] = {CONTROL("<s>"), CONTROL("<x>"), TEXT("<s>"), TEXT("<s>1"), UNUSED("[PAD1]"), CONTROL("<u>")};
    static const test_word slm[] = {CONTROL("<s>"), TEXT("<x>"), TEXT("a"), TEXT("<s"), UNUSED("[PAD1]"), UNUSED("<u>")};
    aligned a = aligned_open(llm, COUNT(llm), slm, COUNT(slm), COSTEER_VOCAB_MAP);
    assert_partners(a.map, (const int32_t[]){0, -1, 3, 3, 4, -1});
    assert_spelling(a.map, 0, (const int32_t[]){0}, 1);
    assert_spelling(a.map, 1, NULL, 0);
    aligned_close(&a);
}

/* ---- limits ------------------------------------------------------------------------------------------------------ */

static void test_align__refuses_vocabularies_with_nothing_alike(void **state)
{
    (void)state;
    static const test_word llm[] = {TEXT("ab"), END("</s>")};
    static const test_word slm[] = {TEXT("c"), TEXT("abc"), END("</s>")};
    cs_vocab_words a = words_make(llm, COUNT(llm));
    cs_vocab_words b = words_make(slm, COUNT(slm));
    costeer_vocab_map *map;
    costeer_error err;
    assert_int_equal(cs_vocab_map_align(&a, &b, COSTEER_VOCAB_MAP, &map, &err), COSTEER_EPAIR);
    assert_null(map);
    assert_non_null(strstr(err.message, "nothing in common"));
    assert_int_equal(cs_vocab_map_align(&a, &b, COSTEER_VOCAB_BYTE, &map, &err), COSTEER_OK); /* "abc" begins with "ab" */
    costeer_vocab_map_free(map);
    b.n = 1;
    assert_int_equal(cs_vocab_map_align(&a, &b, COSTEER_VOCAB_BYTE, &map, &err), COSTEER_EPAIR);
    b.n = 3;
    cs_vocab_words_dispose(&a);
    cs_vocab_words_dispose(&b);
}

static void test_align__a_vocabulary_with_itself_is_the_identity(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct test_random r = {.state = seed * 31};
        cs_vocab_words words = words_random(&r, 100, 3, true);
        for (int mode = COSTEER_VOCAB_MAP; mode <= COSTEER_VOCAB_BYTE; mode++) {
            costeer_vocab_map *map = words_align(&words, &words, (costeer_vocab_mode)mode);
            for (int32_t i = 0; i < words.n; i++) {
                assert_int_equal(costeer_vocab_map_partner(map, i), i);
                assert_spelling(map, i, &i, 1);
            }
            costeer_vocab_map_free(map);
        }
        cs_vocab_words_dispose(&words);
    }
}

static void test_mode_name__is_what_options_are_called(void **state)
{
    (void)state;
    assert_string_equal(costeer_vocab_mode_name(COSTEER_VOCAB_AUTO), "auto");
    assert_string_equal(costeer_vocab_mode_name(COSTEER_VOCAB_SAME), "same");
    assert_string_equal(costeer_vocab_mode_name(COSTEER_VOCAB_MAP), "map");
    assert_string_equal(costeer_vocab_mode_name(COSTEER_VOCAB_MAP_INTERSECT), "map-intersect");
    assert_string_equal(costeer_vocab_mode_name(COSTEER_VOCAB_BYTE), "byte");
    assert_string_equal(costeer_vocab_mode_name((costeer_vocab_mode)5), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_align__a_token_without_a_partner_gets_its_longest_prefix),
        cmocka_unit_test(test_align__intersect_leaves_only_what_both_have),
        cmocka_unit_test(test_align__spelling_is_the_partner_or_longest_pieces_first),
        cmocka_unit_test(test_align__of_equal_bytes_the_same_id_then_no_byte_fallback_then_the_lowest),
        cmocka_unit_test(test_align__bytes_may_be_anything),
        cmocka_unit_test(test_align__ends_go_by_name_then_to_the_end_of_an_answer),
        cmocka_unit_test(test_align__an_slm_without_an_end_leaves_ends_alone),
        cmocka_unit_test(test_align__special_tokens_go_by_name_never_by_bytes),
        cmocka_unit_test(test_align__refuses_vocabularies_with_nothing_alike),
        cmocka_unit_test(test_align__a_vocabulary_with_itself_is_the_identity),
        cmocka_unit_test(test_mode_name__is_what_options_are_called),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
