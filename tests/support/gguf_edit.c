/* Makes model files that are wrong in exactly one way: see gguf_edit.h. */
#include "support/gguf_edit.h"

#include <ggml.h>
#include <gguf.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct gguf_edit {
    struct gguf_context *gguf;
    struct ggml_context *data;
};

gguf_edit *gguf_edit_open(const char *path)
{
    gguf_edit *edit = calloc(1, sizeof *edit);
    assert_non_null(edit);
    edit->gguf = gguf_init_from_file(path, (struct gguf_init_params){.no_alloc = false, .ctx = &edit->data});
    assert_non_null(edit->gguf);
    return edit;
}

/* The token texts, copied: setting the key frees the old ones. */
static char **copy_tokens(const gguf_edit *edit, size_t n_more, size_t *n)
{
    const int64_t key = gguf_find_key(edit->gguf, "tokenizer.ggml.tokens");
    *n = gguf_get_arr_n(edit->gguf, key);
    char **texts = calloc(*n + n_more, sizeof *texts);
    assert_non_null(texts);
    for (size_t i = 0; i < *n; i++) {
        texts[i] = strdup(gguf_get_arr_str(edit->gguf, key, i));
    }
    return texts;
}

static void set_tokens(gguf_edit *edit, char **texts, size_t n)
{
    const char **view = calloc(n, sizeof *view);
    assert_non_null(view);
    for (size_t i = 0; i < n; i++) {
        view[i] = texts[i];
    }
    gguf_set_arr_str(edit->gguf, "tokenizer.ggml.tokens", view, n);
    for (size_t i = 0; i < n; i++) {
        free(texts[i]);
    }
    free(view);
    free(texts);
}

void gguf_edit_rename_token(gguf_edit *edit, int32_t token, const char *text)
{
    size_t n;
    char **texts = copy_tokens(edit, 0, &n);
    free(texts[token]);
    texts[token] = strdup(text);
    set_tokens(edit, texts, n);
}

/* Grow an array of 32-bit numbers by n of one value. */
static void grow_numbers(gguf_edit *edit, const char *name, enum gguf_type type, size_t n_more, const void *value)
{
    const int64_t key = gguf_find_key(edit->gguf, name);
    if (key < 0) {
        return;
    }
    const size_t n = gguf_get_arr_n(edit->gguf, key);
    char *grown = malloc((n + n_more) * 4);
    assert_non_null(grown);
    memcpy(grown, gguf_get_arr_data(edit->gguf, key), n * 4);
    for (size_t i = n; i < n + n_more; i++) {
        memcpy(grown + 4 * i, value, 4);
    }
    gguf_set_arr_data(edit->gguf, name, type, grown, n + n_more);
    free(grown);
}

void gguf_edit_append_tokens(gguf_edit *edit, int32_t n)
{
    size_t n_old;
    char **texts = copy_tokens(edit, (size_t)n, &n_old);
    for (size_t i = n_old; i < n_old + (size_t)n; i++) {
        char pad[32];
        (void)snprintf(pad, sizeof pad, "[PAD%zu]", i);
        texts[i] = strdup(pad);
    }
    set_tokens(edit, texts, n_old + (size_t)n);
    const int32_t unused = 5;
    const float score = 0.0F;
    grow_numbers(edit, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, (size_t)n, &unused);
    grow_numbers(edit, "tokenizer.ggml.scores", GGUF_TYPE_FLOAT32, (size_t)n, &score);
}

void gguf_edit_set_token_type(gguf_edit *edit, int32_t token, int32_t type)
{
    const int64_t key = gguf_find_key(edit->gguf, "tokenizer.ggml.token_type");
    const size_t n = gguf_get_arr_n(edit->gguf, key);
    int32_t *types = malloc(n * sizeof *types);
    assert_non_null(types);
    memcpy(types, gguf_get_arr_data(edit->gguf, key), n * sizeof *types);
    types[token] = type;
    gguf_set_arr_data(edit->gguf, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, types, n);
    free(types);
}

void gguf_edit_set_u32(gguf_edit *edit, const char *key, uint32_t value)
{
    gguf_set_val_u32(edit->gguf, key, value);
}

void gguf_edit_set_bool(gguf_edit *edit, const char *key, bool value)
{
    gguf_set_val_bool(edit->gguf, key, value);
}

void gguf_edit_set_text(gguf_edit *edit, const char *key, const char *value)
{
    gguf_set_val_str(edit->gguf, key, value);
}

void gguf_edit_remove(gguf_edit *edit, const char *key)
{
    (void)gguf_remove_key(edit->gguf, key);
}

void gguf_edit_fill_nan(gguf_edit *edit, const char *tensor)
{
    struct ggml_tensor *of = ggml_get_tensor(edit->data, tensor);
    assert_non_null(of);
    const int64_t n = ggml_nelements(of);
    for (int64_t i = 0; i < n; i++) {
        if (of->type == GGML_TYPE_F32) {
            ((float *)of->data)[i] = NAN;
        } else {
            assert_int_equal(of->type, GGML_TYPE_F16);
            ((ggml_fp16_t *)of->data)[i] = ggml_fp32_to_fp16(NAN);
        }
    }
}

void gguf_edit_write(gguf_edit *edit, const char *path, bool without_weights)
{
    struct gguf_context *out = gguf_init_empty(); /* the one that was read does not know its tensors' data */
    gguf_set_kv(out, edit->gguf);
    struct ggml_tensor *blob = ggml_get_first_tensor(edit->data); /* all data in one; the tensors follow it */
    for (struct ggml_tensor *at = ggml_get_next_tensor(edit->data, blob); at != NULL && !without_weights;
         at = ggml_get_next_tensor(edit->data, at)) {
        gguf_add_tensor(out, at);
    }
    assert_true(gguf_write_to_file(out, path, false));
    gguf_free(out);
    gguf_free(edit->gguf);
    ggml_free(edit->data);
    free(edit);
}

void gguf_edit_write_split(gguf_edit *edit, const char *prefix, uint16_t n)
{
    const int64_t n_tensors = gguf_get_n_tensors(edit->gguf);
    for (uint16_t part = 0; part < n; part++) {
        struct gguf_context *out = gguf_init_empty();
        if (part == 0) {
            gguf_set_kv(out, edit->gguf);
        }
        gguf_set_val_u16(out, "split.no", part);
        gguf_set_val_u16(out, "split.count", n);
        gguf_set_val_i32(out, "split.tensors.count", (int32_t)n_tensors);
        for (int64_t i = n_tensors * part / n; i < n_tensors * (part + 1) / n; i++) {
            gguf_add_tensor(out, ggml_get_tensor(edit->data, gguf_get_tensor_name(edit->gguf, i)));
        }
        char path[1024];
        (void)snprintf(path, sizeof path, "%s-%05d-of-%05d.gguf", prefix, part + 1, n);
        assert_true(gguf_write_to_file(out, path, false));
        gguf_free(out);
    }
    gguf_free(edit->gguf);
    ggml_free(edit->data);
    free(edit);
}

void copy_file(const char *from, const char *to, size_t n)
{
    FILE *in = fopen(from, "rb");
    FILE *out = fopen(to, "wb");
    assert_non_null(in);
    assert_non_null(out);
    char block[65536];
    while (n > 0) {
        const size_t got = fread(block, 1, n < sizeof block ? n : sizeof block, in);
        assert_int_equal(fwrite(block, 1, got, out), got);
        n = got == 0 ? 0 : n - got;
    }
    (void)fclose(in);
    assert_int_equal(fclose(out), 0);
}

void patch_file(const char *path, long offset, const void *bytes, size_t n)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, offset, SEEK_SET), 0);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}
