/* LoRA adapters: what they change, and that a wrong one gives one clear error before llama.cpp could end the process. */
#include "support/gguf_edit.h"
#include "support/lora.h"
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

#define LORA_PATH TMP_PATH("lora.gguf")

static const char *const query = "Write a short bio.";
#define N_STEPS 4

/* Of an adapter of one pair; every byte of it would take too long. */
#define LORA_HEADER_BYTES 352
#define LORA_STRIDE       5

static costeer_model *load_with(const char *path, const char *lora)
{
    costeer_model *model = NULL;
    costeer_error err = {.message = ""};
    const costeer_model_params params = {.lora_path = lora};
    assert_ok(costeer_model_load(path, &params, &model, &err), &err);
    return model;
}

/* The logits of a few positions over the same tokens. Free them. */
static float *logits_of(const costeer_model *model)
{
    const int32_t n_vocab = costeer_model_get_info(model)->n_vocab;
    float *out = calloc((size_t)n_vocab * N_STEPS, sizeof *out);
    costeer_error err = {.message = ""};
    costeer_cloud *cloud = NULL;
    const costeer_local_params params = {.n_ctx = 256, .n_threads = 1};
    assert_non_null(out);
    assert_ok(costeer_cloud_create_local(model, &params, &cloud, &err), &err);
    costeer_tokens prompt = build_prompt(model, NULL, query);
    const costeer_cloud_request request = {.prompt = prompt.ids, .n_prompt = prompt.n, .max_tokens = N_STEPS};
    assert_ok(costeer_cloud_open(cloud, &request, &err), &err);
    for (int32_t i = 0; i < N_STEPS; i++) {
        costeer_distribution at;
        assert_ok(costeer_cloud_next(cloud, i, &at, &err), &err);
        memcpy(out + (size_t)i * (size_t)n_vocab, at.base.values, (size_t)n_vocab * sizeof *out);
        if (i + 1 < N_STEPS) {
            assert_ok(costeer_cloud_commit(cloud, i, 100 + i, &err), &err);
        }
    }
    costeer_cloud_free(cloud);
    costeer_tokens_dispose(&prompt);
    return out;
}

static double largest_difference(const costeer_model *model, const float *a, const float *b)
{
    const int32_t n = costeer_model_get_info(model)->n_vocab * N_STEPS;
    double largest = 0;
    for (int32_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs((double)a[i] - (double)b[i]));
    }
    return largest;
}

/* ---- what it changes --------------------------------------------------------------------------------------------- */

static void test_lora__of_zeros_changes_nothing(void **state)
{
    (void)state;
    lora_write_for_slm(LORA_PATH, 0);
    costeer_model *plain = load_model(SLM_PATH);
    costeer_model *tuned = load_with(SLM_PATH, LORA_PATH);
    float *a = logits_of(plain);
    float *b = logits_of(tuned);
    assert_true(largest_difference(plain, a, b) == 0);
    assert_string_equal(costeer_model_get_info(tuned)->adapter_path, LORA_PATH);
    assert_null(costeer_model_get_info(plain)->adapter_path);
    assert_ok(costeer_model_check_pair(plain, tuned, NULL), &(costeer_error){.message = ""});
    free(a);
    free(b);
    costeer_model_free(plain); /* it has lent its tokenizer to the other one */
    costeer_model_free(tuned);
}

static void test_lora__is_what_merging_it_gives(void **state)
{
    (void)state;
    const char *merged_path = TMP_PATH("merged.gguf");
    lora_write_for_slm(LORA_PATH, 0.3F);
    lora_merge(SLM_PATH, LORA_PATH, merged_path);
    costeer_model *tuned = load_with(SLM_PATH, LORA_PATH);
    costeer_model *plain = load_model(SLM_PATH);
    costeer_model *merged = load_model(merged_path);
    float *a = logits_of(tuned);
    float *b = logits_of(merged);
    float *c = logits_of(plain);
    const double off = largest_difference(plain, a, b);
    const double change = largest_difference(plain, a, c);
    print_message("changes logits by up to %.3f; merged weights of 16 bits are off by %.4f\n", change, off);
    assert_true(change > 1);
    assert_true(off < 0.03 * change);
    free(a);
    free(b);
    free(c);
    costeer_model_free(tuned);
    costeer_model_free(merged);
    costeer_model_free(plain);
}

/* The device's SLM has a context of its own kind: more sequences, several rows. */
static void test_lora__is_attached_to_the_slm_too(void **state)
{
    (void)state;
    lora_write_for_slm(LORA_PATH, 0.3F);
    costeer_model *tuned = load_with(SLM_PATH, LORA_PATH);
    costeer_error err = {.message = ""};
    costeer_slm *slm = NULL;
    const costeer_slm_params params = {.n_contexts = 1, .n_ctx = 256, .n_threads = 1};
    assert_ok(costeer_slm_create(tuned, &params, &slm, &err), &err);
    costeer_tokens prompt = build_prompt(tuned, NULL, query);
    assert_ok(costeer_slm_set_prompts(slm, &prompt, &prompt, N_STEPS, &err), &err);
    costeer_delta_source *source = costeer_slm_delta_source(slm);
    assert_ok(source->ops->begin(source, &err), &err);
    costeer_delta delta = {0};
    source->ops->read(source, &delta, 1);
    float *expected = logits_of(tuned);
    for (int32_t t = 0; t < costeer_model_get_info(tuned)->n_vocab; t++) {
        assert_true(fabsf(delta.amateur[t] - expected[t]) < 0.03F);
    }
    free(expected);
    costeer_tokens_dispose(&prompt);
    costeer_slm_free(slm);
    costeer_model_free(tuned);
}

/* ---- what is refused --------------------------------------------------------------------------------------------- */

static void assert_refused(const char *what, const char *lora, const char *words)
{
    costeer_model *model = (costeer_model *)&model;
    costeer_error err = {.message = ""};
    const costeer_model_params params = {.lora_path = lora};
    assert_int_equal(costeer_model_load(SLM_PATH, &params, &model, &err), COSTEER_EMODEL);
    assert_null(model);
    if (strstr(err.message, words) == NULL || strchr(err.message, '\n') != NULL) {
        fail_msg("%s: \"%s\" does not say \"%s\"", what, err.message, words);
    }
}

static void test_lora__of_wrong_shape_is_refused(void **state)
{
    (void)state;
    const struct {
        const char *what;
        lora_pair pair;
        const char *words;
    } wrong[] = {
        {"too wide", {.weight = "blk.0.attn_q.weight", .a = {161, 4}, .b = {4, 160}}, "does not fit"},
        {"too high", {.weight = "blk.0.attn_q.weight", .a = {160, 4}, .b = {4, 192}}, "does not fit"},
        {"two ranks", {.weight = "blk.0.attn_q.weight", .a = {160, 4}, .b = {5, 160}}, "does not fit"},
        {"transposed", {.weight = "blk.0.ffn_up.weight", .a = {4, 160}, .b = {384, 4}}, "does not fit"},
        {"experts", {.weight = "blk.0.attn_q.weight", .a = {160, 4, 2}, .b = {4, 160, 2}}, "does not fit"},
        {"one with experts", {.weight = "blk.0.attn_q.weight", .a = {160, 4}, .b = {4, 160, 2}}, "does not fit"},
        {"no such weight", {.weight = "blk.4.attn_q.weight", .a = {160, 4}, .b = {4, 160}}, "does not fit"},
        {"no B", {.weight = "blk.0.attn_q.weight", .a = {160, 4}}, "no second matrix"},
        {"no A", {.weight = "blk.0.attn_q.weight", .b = {4, 160}}, "holds no LoRA matrices"},
        {"whole numbers", {.weight = "blk.0.attn_q.weight", .a = {160, 4}, .b = {4, 160}, .is_integer = true}, "cannot compute"},
        {"tied embedding", {.weight = "token_embd.weight", .a = {4, 1024}, .b = {4, 160}}, "merge the adapter"},
        {"embedding of two ranks", {.weight = "token_embd.weight", .a = {5, 1024}, .b = {4, 160}}, "does not fit"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        lora_write(LORA_PATH, &wrong[i].pair, 1, 8.0F);
        assert_refused(wrong[i].what, LORA_PATH, wrong[i].words);
    }
    lora_write(LORA_PATH, NULL, 0, 8.0F);
    assert_refused("nothing", LORA_PATH, "holds no LoRA matrices");
    const lora_pair half[] = {{.weight = "blk.0.attn_q.weight", .a = {160, 4}, .b = {4, 160}},
                              {.weight = "blk.1.attn_q.weight", .b = {4, 160}}};
    lora_write(LORA_PATH, half, 2, 8.0F);
    assert_refused("one without A", LORA_PATH, "no first one");
}

static void test_lora__that_is_none_is_refused(void **state)
{
    (void)state;
    const char *edited = TMP_PATH("lora_edited.gguf");
    const struct {
        const char *key;
        const char *value; /* NULL: a number instead of what it should be */
        const char *words;
    } edits[] = {
        {"general.type", "model", "is not an adapter"},
        {"general.type", NULL, "is not an adapter"},
        {"general.architecture", "qwen2", "\"qwen2\""},
        {"general.architecture", NULL, "give the adapter's own model"},
        {"adapter.type", "ia3", "give a LoRA adapter"},
        {"adapter.type", NULL, "give a LoRA adapter"},
        {"adapter.lora.alpha", "much", "give a LoRA adapter"},
        {"adapter.lora.alpha", NULL, "give a LoRA adapter"},
        {"adapter.alora.invocation_tokens", "x", "activated LoRA"},
    };
    lora_write_for_slm(LORA_PATH, 0.3F);
    for (size_t i = 0; i < sizeof edits / sizeof edits[0]; i++) {
        gguf_edit *edit = gguf_edit_open(LORA_PATH);
        gguf_edit_remove(edit, edits[i].key);
        if (edits[i].value != NULL) {
            gguf_edit_set_text(edit, edits[i].key, edits[i].value);
        } else {
            gguf_edit_set_u32(edit, edits[i].key, 7);
        }
        gguf_edit_write(edit, edited, false);
        assert_refused(edits[i].key, edited, edits[i].words);
    }
    lora_write(LORA_PATH, &(lora_pair){.weight = "blk.0.attn_q.weight", .a = {160, 4}, .b = {4, 160}}, 1, NAN);
    assert_refused("alpha of NaN", LORA_PATH, "give a LoRA adapter");
    assert_refused("a model", SLM_PATH, "is not an adapter");
    assert_refused("no file", TMP_PATH("there-is-none.gguf"), "check the path");
}

static void test_lora__that_is_cut_is_refused_wherever_it_is_cut(void **state)
{
    (void)state;
    const char *cut = TMP_PATH("lora_cut.gguf");
    lora_write_for_slm(LORA_PATH, 0.3F);
    FILE *file = fopen(LORA_PATH, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    const size_t n = (size_t)ftell(file);
    (void)fclose(file);
    for (size_t at = 0; at < n; at += at < 1024 ? 61 : n / 7) {
        copy_file(LORA_PATH, cut, at);
        costeer_model *model;
        costeer_error err = {.message = ""};
        const costeer_model_params params = {.lora_path = cut};
        assert_int_equal(costeer_model_load(SLM_PATH, &params, &model, &err), COSTEER_EMODEL);
        assert_non_null(strstr(err.message, "lora_cut.gguf: "));
        assert_false(costeer_model_is_adapter(cut));
    }
}

/* Bytes of its header: names, types, sizes. What llama.cpp takes must also be computed with. */
static void test_lora__with_a_wrong_byte_never_ends_the_process(void **state)
{
    (void)state;
    const char *changed = TMP_PATH("lora_changed.gguf");
    const lora_pair pair = {.weight = "blk.0.ffn_up.weight", .a = {160, 4}, .b = {4, 384}, .size_a = 0.3F, .size_b = 0.3F};
    lora_write(LORA_PATH, &pair, 1, 8.0F);
    int n_refused = 0;
    int n_taken = 0;
    for (long at = 4; at < LORA_HEADER_BYTES; at += LORA_STRIDE) {
        const unsigned char values[] = {0, 1, 9, 0x7F, 0xFF};
        copy_file(LORA_PATH, changed, SIZE_MAX);
        patch_file(changed, at, &values[(size_t)(at / LORA_STRIDE) % sizeof values], 1);
        costeer_model *model = NULL;
        costeer_error err = {.message = ""};
        const costeer_model_params params = {.lora_path = changed};
        const costeer_err code = costeer_model_load(SLM_PATH, &params, &model, &err);
        if (code == COSTEER_OK) {
            free(logits_of(model));
            n_taken++;
        } else {
            assert_int_equal(code, COSTEER_EMODEL);
            assert_true(err.message[0] != '\0');
            n_refused++;
        }
        costeer_model_free(model);
    }
    print_message("%d refused, %d taken\n", n_refused, n_taken);
    assert_true(n_refused > n_taken);
}

static void test_lora__is_told_from_a_model(void **state)
{
    (void)state;
    lora_write_for_slm(LORA_PATH, 0.3F);
    assert_true(costeer_model_is_adapter(LORA_PATH));
    assert_false(costeer_model_is_adapter(SLM_PATH));
    assert_false(costeer_model_is_adapter(COSTEER_TEST_MODELS_DIR "/README.md"));
    assert_false(costeer_model_is_adapter(TMP_PATH("there-is-none.gguf")));
    assert_false(costeer_model_is_adapter(NULL));
    costeer_model *model;
    costeer_error err = {.message = ""};
    assert_int_equal(costeer_model_load(LORA_PATH, NULL, &model, &err), COSTEER_EMODEL);
    assert_non_null(strstr(err.message, "adapter"));
}

static void test_lora__is_checked_with_a_vocabulary_alone(void **state)
{
    (void)state;
    lora_write_for_slm(LORA_PATH, 0.3F);
    costeer_model *model = NULL;
    costeer_error err = {.message = ""};
    costeer_model_params params = {.lora_path = LORA_PATH, .vocab_only = true};
    assert_ok(costeer_model_load(SLM_PATH, &params, &model, &err), &err);
    costeer_model_free(model);
    params.lora_path = SLM_PATH;
    assert_int_equal(costeer_model_load(SLM_PATH, &params, &model, &err), COSTEER_EMODEL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lora__of_zeros_changes_nothing),
        cmocka_unit_test(test_lora__is_what_merging_it_gives),
        cmocka_unit_test(test_lora__is_attached_to_the_slm_too),
        cmocka_unit_test(test_lora__of_wrong_shape_is_refused),
        cmocka_unit_test(test_lora__that_is_none_is_refused),
        cmocka_unit_test(test_lora__that_is_cut_is_refused_wherever_it_is_cut),
        cmocka_unit_test(test_lora__with_a_wrong_byte_never_ends_the_process),
        cmocka_unit_test(test_lora__is_told_from_a_model),
        cmocka_unit_test(test_lora__is_checked_with_a_vocabulary_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
