/* Names of models on the hub, and the choice among files; llama.cpp's own choice is asked for in tests/hub. */
#include "hub/hub_name.h"
#include "hub/hub_pairs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_hub_name__reads_every_form(void **state)
{
    (void)state;
    static const struct {
        const char *text, *repo, *revision, *tag, *file;
    } names[] = {
        {"a/b", "a/b", "", "", ""},
        {"Qwen/Qwen2.5-7B_x", "Qwen/Qwen2.5-7B_x", "", "", ""},
        {"a/b:Q4_K_M", "a/b", "", "Q4_K_M", ""},
        {"a/b:UD-Q4_K_XL", "a/b", "", "UD-Q4_K_XL", ""},
        {"a/b@v1.0", "a/b", "v1.0", "", ""},
        {"a/b@refs/pr/1:q8_0", "a/b", "refs/pr/1", "q8_0", ""},
        {"hf:a/b", "a/b", "", "", ""},
        {"hf://a/b@main:F16", "a/b", "main", "F16", ""},
        {"hf:a/b/c.gguf", "a/b", "", "", "c.gguf"},
        {"hf:a/b@v1/d/e f.gguf", "a/b", "v1", "", "d/e f.gguf"},
        {"hf:a/b.gguf/c.gguf", "a/b.gguf", "", "", "c.gguf"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        cs_hub_name name;
        assert_true(cs_hub_name_parse(names[i].text, &name));
        assert_string_equal(name.repo, names[i].repo);
        assert_string_equal(name.revision, names[i].revision);
        assert_string_equal(name.tag, names[i].tag);
        assert_string_equal(name.file, names[i].file);
    }
}

static void test_hub_name__refuses_what_could_leave_its_folder_or_is_a_path(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",
                                        "a",
                                        "a/",
                                        "/b",
                                        "a/b/c",
                                        "./b",
                                        "../b",
                                        "a/..b",
                                        "a/b..c",
                                        "a--x/b",
                                        "a/b--c",
                                        "a/-b",
                                        "a/b.",
                                        "a b/c",
                                        "a/b:",
                                        "a/b:Q4/K",
                                        "a/b:Q4:K",
                                        "a/b@",
                                        "a/b@..",
                                        "a/b@x/../y",
                                        "a/b@/x",
                                        "a/b@x//y",
                                        "a/b@x:",
                                        "a/model.gguf",
                                        "hf:",
                                        "hf:a",
                                        "hf:a/b/c",

                                        "hf:a/b/../c.gguf",
                                        "hf:a/b//c.gguf",
                                        "hf:a/b/\x1b.gguf",
                                        "hf:a/b@/c.gguf",
                                        "hf:/a/b/c.gguf",
                                        "hf:a/b/c\xC2\x9B.gguf",
                                        "hf:a/b/c\\d.gguf",
                                        "~/b"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        cs_hub_name name;
        if (cs_hub_name_parse(wrong[i], &name)) {
            fail_msg("\"%s\" was taken for a name", wrong[i]);
        }
    }
    char longest[700] = "a/";
    memset(longest + 2, 'b', sizeof longest - 3);
    cs_hub_name name;
    assert_false(cs_hub_name_parse(longest, &name));
    longest[256] = '\0';
    assert_true(cs_hub_name_parse(longest, &name));
}

static void test_hub_name__reads_parts_and_quantisations(void **state)
{
    (void)state;
    static const struct {
        const char *path, *tag;
        int index, count;
        size_t n_prefix;
    } files[] = {{"m-Q4_K_M.gguf", "Q4_K_M", 1, 1, 8},
                 {"m.q8_0.gguf", "Q8_0", 1, 1, 6},
                 {"d/m-f16-00002-of-00003.gguf", "F16", 2, 3, 7},
                 {"plain.gguf", "", 1, 1, 5},
                 {"m-0001-of-00003.gguf", "00003", 1, 1, 15}};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        cs_hub_gguf gguf;
        assert_true(cs_hub_gguf_read(files[i].path, &gguf));
        assert_string_equal(gguf.tag, files[i].tag);
        assert_int_equal(gguf.index, files[i].index);
        assert_int_equal(gguf.count, files[i].count);
        assert_int_equal(gguf.n_prefix, files[i].n_prefix);
    }
    cs_hub_gguf gguf;
    assert_false(cs_hub_gguf_read("m.safetensors", &gguf));
}

static void test_hub_name__the_default_is_q4_k_m_then_q8_0_then_the_first_model(void **state)
{
    (void)state;
    const char *const all[] = {"mmproj-F16.gguf", "m-F16.gguf", "m-Q8_0.gguf", "m-q4_k_m-00002-of-00002.gguf",
                               "m-q4_k_m-00001-of-00002.gguf"};
    assert_int_equal(cs_hub_choose(all, 5, ""), 4);
    assert_int_equal(cs_hub_choose(all, 4, ""), 2);
    assert_int_equal(cs_hub_choose(all, 2, ""), 1);
    assert_int_equal(cs_hub_choose(all, 1, ""), 1);
    assert_int_equal(cs_hub_choose(all, 5, "f16"), 1);
    assert_int_equal(cs_hub_choose(all, 5, "Q5_K_M"), 5);
}

static void test_hub_name__recommended_pairs_are_names_and_share_none(void **state)
{
    (void)state;
    size_t n;
    const costeer_hub_pair *pairs = costeer_hub_pairs(&n);
    assert_true(n >= 3);
    for (size_t i = 0; i < n; i++) {
        cs_hub_name name;
        assert_true(cs_hub_name_parse(pairs[i].llm.hub_name, &name) && name.tag[0] != '\0');
        assert_int_equal(cs_hub_is_commit(name.revision), pairs[i].llm.is_pinned);
        assert_true(cs_hub_name_parse(pairs[i].slm.hub_name, &name) && name.tag[0] != '\0');
        assert_string_equal(cs_hub_expand(pairs[i].name, false), pairs[i].llm.hub_name);
        assert_string_equal(cs_hub_expand(pairs[i].name, true), pairs[i].slm.hub_name);
        assert_string_equal(cs_hub_expand(pairs[i].slm.name, false), pairs[i].slm.hub_name);
        assert_ptr_equal(costeer_hub_find_pair(pairs[i].name), &pairs[i]);
        assert_true(costeer_hub_is_name(pairs[i].llm.name) && costeer_hub_is_name(pairs[i].name));
    }
    assert_null(costeer_hub_find_pair("qwen2.5-1.5b"));
    assert_false(costeer_hub_is_name("qwen"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hub_name__reads_every_form),
        cmocka_unit_test(test_hub_name__refuses_what_could_leave_its_folder_or_is_a_path),
        cmocka_unit_test(test_hub_name__reads_parts_and_quantisations),
        cmocka_unit_test(test_hub_name__the_default_is_q4_k_m_then_q8_0_then_the_first_model),
        cmocka_unit_test(test_hub_name__recommended_pairs_are_names_and_share_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
