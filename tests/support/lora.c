#include "support/lora.h"

#include "support/gguf_edit.h"
#include "unit/random.h"

#include <ggml.h>
#include <gguf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void add_matrix(struct ggml_context *context, struct gguf_context *gguf, const lora_pair *pair, bool is_a,
                       struct test_random *random)
{
    const int64_t *ne = is_a ? pair->a : pair->b;
    if (ne[0] == 0) {
        return;
    }
    const enum ggml_type type = pair->is_integer ? GGML_TYPE_I32 : GGML_TYPE_F32;
    struct ggml_tensor *tensor = ggml_new_tensor_3d(context, type, ne[0], ne[1], ne[2] > 0 ? ne[2] : 1);
    char name[GGML_MAX_NAME];
    (void)snprintf(name, sizeof name, "%s.lora_%c", pair->weight, is_a ? 'a' : 'b');
    (void)ggml_set_name(tensor, name);
    const double size = (double)(is_a ? pair->size_a : pair->size_b);
    float *values = tensor->data;
    for (int64_t i = 0; i < ggml_nelements(tensor); i++) {
        values[i] = (float)test_random_between(random, -size, size);
    }
    gguf_add_tensor(gguf, tensor);
}

void lora_write(const char *path, const lora_pair *pairs, size_t n_pairs, float alpha)
{
    struct ggml_context *context = ggml_init((struct ggml_init_params){.mem_size = (size_t)8 << 20});
    struct gguf_context *gguf = gguf_init_empty();
    assert_true(context != NULL && gguf != NULL);
    struct test_random random = {.state = 12345};
    gguf_set_val_str(gguf, "general.type", "adapter");
    gguf_set_val_str(gguf, "general.architecture", "llama");
    gguf_set_val_str(gguf, "adapter.type", "lora");
    gguf_set_val_f32(gguf, "adapter.lora.alpha", alpha);
    for (size_t i = 0; i < n_pairs; i++) {
        add_matrix(context, gguf, &pairs[i], true, &random);
        add_matrix(context, gguf, &pairs[i], false, &random);
    }
    assert_true(gguf_write_to_file(gguf, path, false));
    gguf_free(gguf);
    ggml_free(context);
}

void lora_write_for_slm(const char *path, float size)
{
    const lora_pair pairs[] = {
        {.weight = "blk.0.attn_q.weight", .a = {160, 4}, .b = {4, 160}, .size_a = 0.3F, .size_b = size},
        {.weight = "blk.1.attn_v.weight", .a = {160, 4}, .b = {4, 160}, .size_a = 0.3F, .size_b = size},
        {.weight = "blk.2.ffn_up.weight", .a = {160, 4}, .b = {4, 384}, .size_a = 0.3F, .size_b = size},
        {.weight = "blk.3.ffn_down.weight", .a = {384, 4}, .b = {4, 160}, .size_a = 0.3F, .size_b = size},
    };
    lora_write(path, pairs, sizeof pairs / sizeof pairs[0], 8.0F);
}

/* ---- merging ----------------------------------------------------------------------------------------------------- */

/* A file's tensors with their data. */
typedef struct opened {
    struct gguf_context *gguf;
    struct ggml_context *tensors;
} opened;

static opened open_gguf(const char *path)
{
    opened out = {.gguf = NULL};
    out.gguf = gguf_init_from_file(path, (struct gguf_init_params){.no_alloc = false, .ctx = &out.tensors});
    assert_non_null(out.gguf);
    return out;
}

static void close_gguf(opened *file)
{
    gguf_free(file->gguf);
    ggml_free(file->tensors);
}

/* W[o][i] += scale · sum_r B[o][r] A[r][i], in double, rounded to 16 bits once. */
static void add_product(struct ggml_tensor *weight, const struct ggml_tensor *a, const struct ggml_tensor *b, double scale)
{
    assert_int_equal(weight->type, GGML_TYPE_F16);
    const int64_t n_in = weight->ne[0];
    const int64_t n_out = weight->ne[1];
    const int64_t rank = b->ne[0];
    ggml_fp16_t *w = weight->data;
    const float *of_a = a->data;
    const float *of_b = b->data;
    for (int64_t o = 0; o < n_out; o++) {
        for (int64_t i = 0; i < n_in; i++) {
            double sum = (double)ggml_fp16_to_fp32(w[o * n_in + i]);
            for (int64_t r = 0; r < rank; r++) {
                sum += scale * (double)of_b[o * rank + r] * (double)of_a[r * n_in + i];
            }
            w[o * n_in + i] = ggml_fp32_to_fp16((float)sum);
        }
    }
}

void lora_merge(const char *model, const char *adapter, const char *path)
{
    copy_file(model, path, SIZE_MAX);
    opened base = open_gguf(model);
    opened lora = open_gguf(adapter);
    const double alpha = (double)gguf_get_val_f32(lora.gguf, gguf_find_key(lora.gguf, "adapter.lora.alpha"));
    for (struct ggml_tensor *a = ggml_get_first_tensor(lora.tensors); a != NULL; a = ggml_get_next_tensor(lora.tensors, a)) {
        const char *name = ggml_get_name(a);
        const size_t n = strlen(name);
        if (strcmp(name + n - 7, ".lora_a") != 0) {
            continue;
        }
        char weight[GGML_MAX_NAME];
        char second[GGML_MAX_NAME];
        (void)snprintf(weight, sizeof weight, "%.*s", (int)n - 7, name);
        (void)snprintf(second, sizeof second, "%.*s.lora_b", (int)n - 7, name);
        struct ggml_tensor *w = ggml_get_tensor(base.tensors, weight);
        const struct ggml_tensor *b = ggml_get_tensor(lora.tensors, second);
        assert_true(w != NULL && b != NULL);
        if (w == NULL || b == NULL) {
            continue; /* for the analyser, which does not know that an assertion ends the test */
        }
        add_product(w, a, b, alpha / (double)b->ne[0]);
        const size_t offset =
            gguf_get_data_offset(base.gguf) + gguf_get_tensor_offset(base.gguf, gguf_find_tensor(base.gguf, weight));
        patch_file(path, (long)offset, w->data, ggml_nbytes(w));
    }
    close_gguf(&lora);
    close_gguf(&base);
}
