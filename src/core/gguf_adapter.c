/*
 * LoRA adapters, looked at before llama.cpp loads them: pairs of matrices A (rank x in) and B (out x rank) whose product is added
 * to one of the model's.
 *
 * llama.cpp compares most shapes and reports them, but what it only asserts when it computes (the two inner sizes of an
 * embedding, experts, types of numbers, an embedding that is the output as well) would end the process in the middle of an
 * answer. Values of the wrong type would end it while it loads.
 */
#include "core/gguf_adapter.h"

#include "core/gguf_file.h"
#include "util/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define A_SUFFIX    ".lora_a"
#define B_SUFFIX    ".lora_b"
#define NORM_SUFFIX "_norm.weight"
#define EMBEDDING   "token_embd.weight"
#define OUTPUT      "output.weight"

static costeer_err bad(costeer_error *err, const char *path, const char *what)
{
    return cs_error_set(err, COSTEER_EMODEL, "model", "%s: %s", path, what);
}

static bool ends_with(const char *text, const char *suffix)
{
    const size_t n = strlen(text);
    const size_t n_suffix = strlen(suffix);
    return n >= n_suffix && strcmp(text + n - n_suffix, suffix) == 0;
}

/* ---- what kind of file ------------------------------------------------------------------------------------------- */

static costeer_err check_kind(const cs_gguf_listing *adapter, const cs_gguf_listing *model, const char *path,
                              const char *model_path, costeer_error *err)
{
    if (strcmp(adapter->type, "adapter") != 0) {
        return bad(err, path, "is not an adapter; give a LoRA adapter made by llama.cpp's convert_lora_to_gguf.py");
    }
    if (strcmp(adapter->adapter_type, "lora") != 0 || adapter->has_bad_alpha) {
        return bad(err, path, "is an adapter of a kind that llama.cpp cannot apply; give a LoRA adapter");
    }
    if (adapter->has_invocation) {
        return bad(err, path, "is an activated LoRA, which waits for words of its own in the prompt; give a plain LoRA adapter");
    }
    if (strcmp(adapter->architecture, model->architecture) != 0) {
        return cs_error_set(err, COSTEER_EMODEL, "model",
                            "%s: is made for architecture \"%s\", but %s is \"%s\"; give the adapter's own model", path,
                            adapter->architecture, model_path, model->architecture);
    }
    return COSTEER_OK;
}

/* ---- pairs ------------------------------------------------------------------------------------------------------- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const cs_gguf_tensor *)a)->name, ((const cs_gguf_tensor *)b)->name);
}

static const cs_gguf_tensor *find(const cs_gguf_listing *in, const char *name)
{
    cs_gguf_tensor key = {.is_plain = false};
    (void)snprintf(key.name, sizeof key.name, "%s", name);
    return bsearch(&key, in->tensors, in->n_tensors, sizeof key, compare_names);
}

/* The same name with another suffix of the same length, or without one. */
static void rename_to(const char *name, const char *suffix, char out[CS_GGUF_NAME_MAX])
{
    (void)snprintf(out, CS_GGUF_NAME_MAX, "%.*s%s", (int)(strlen(name) - strlen(A_SUFFIX)), name, suffix);
}

static bool fits(const cs_gguf_tensor *a, const cs_gguf_tensor *b, const cs_gguf_tensor *weight)
{
    for (int d = 2; d < 4; d++) {
        if (a->ne[d] != weight->ne[d] || b->ne[d] != weight->ne[d]) {
            return false;
        }
    }
    if (strcmp(weight->name, EMBEDDING) == 0) { /* looked up by row: A is transposed */
        return b->ne[1] == weight->ne[0] && a->ne[1] == weight->ne[1] && a->ne[0] == b->ne[0];
    }
    return a->ne[0] == weight->ne[0] && b->ne[1] == weight->ne[1] && a->ne[1] == b->ne[0];
}

static costeer_err check_pair(const cs_gguf_listing *adapter, const cs_gguf_tensor *a, const cs_gguf_listing *model,
                              const char *path, const char *model_path, costeer_error *err)
{
    char name[CS_GGUF_NAME_MAX];
    rename_to(a->name, B_SUFFIX, name);
    const cs_gguf_tensor *b = find(adapter, name);
    rename_to(a->name, "", name);
    const cs_gguf_tensor *weight = find(model, name);
    if (b == NULL) {
        return cs_error_set(err, COSTEER_EMODEL, "model", "%s: is damaged (%s has no second matrix); fetch it again", path, name);
    }
    if (!a->is_plain || !b->is_plain) {
        return cs_error_set(err, COSTEER_EMODEL, "model",
                            "%s: has numbers for %s that llama.cpp cannot compute with; convert it to f32 or f16", path, name);
    }
    if (weight == NULL && model->is_split) {
        return COSTEER_OK; /* in another file of the model; llama.cpp looks there */
    }
    if (weight == NULL || !fits(a, b, weight)) {
        return cs_error_set(err, COSTEER_EMODEL, "model", "%s: its %s does not fit %s; give the adapter's own model", path, name,
                            model_path);
    }
    if (strcmp(name, EMBEDDING) == 0 && !model->is_split && find(model, OUTPUT) == NULL) {
        return cs_error_set(
            err, COSTEER_EMODEL, "model",
            "%s: changes the token embedding, which %s uses for its output too; llama.cpp cannot apply that, merge "
            "the adapter into the model",
            path, model_path);
    }
    return COSTEER_OK;
}

static costeer_err check_tensors(const cs_gguf_listing *adapter, const cs_gguf_listing *model, const char *path,
                                 const char *model_path, costeer_error *err)
{
    size_t n_pairs = 0;
    size_t n_seconds = 0;
    for (size_t i = 0; i < adapter->n_tensors; i++) {
        const cs_gguf_tensor *at = &adapter->tensors[i];
        if (ends_with(at->name, A_SUFFIX)) {
            const costeer_err code = check_pair(adapter, at, model, path, model_path, err);
            if (code != COSTEER_OK) {
                return code;
            }
            n_pairs++;
        } else if (ends_with(at->name, B_SUFFIX)) {
            n_seconds++;
        } else if (!ends_with(at->name, NORM_SUFFIX)) { /* those llama.cpp leaves out */
            return cs_error_set(err, COSTEER_EMODEL, "model", "%s: holds %s, which is no part of a LoRA adapter", path, at->name);
        }
    }
    if (n_pairs == 0 || n_seconds != n_pairs) {
        return bad(err, path,
                   n_pairs == 0 ? "holds no LoRA matrices; fetch it again"
                                : "is damaged (a matrix has no first one); fetch it again");
    }
    return COSTEER_OK;
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

static void sort(cs_gguf_listing *listing)
{
    if (listing->n_tensors > 0) {
        qsort(listing->tensors, listing->n_tensors, sizeof *listing->tensors, compare_names);
    }
}

costeer_err cs_gguf_adapter_check(const char *path, const char *model_path, costeer_error *err)
{
    cs_gguf_listing adapter = {.tensors = NULL};
    cs_gguf_listing model = {.tensors = NULL};
    costeer_err code = cs_gguf_file_list(path, &adapter, err);
    code = code == COSTEER_OK ? cs_gguf_file_list(model_path, &model, err) : code;
    if (code == COSTEER_OK) {
        sort(&adapter);
        sort(&model);
        code = check_kind(&adapter, &model, path, model_path, err);
    }
    code = code == COSTEER_OK ? check_tensors(&adapter, &model, path, model_path, err) : code;
    cs_gguf_listing_dispose(&adapter);
    cs_gguf_listing_dispose(&model);
    return code;
}

bool cs_gguf_is_adapter(const char *path)
{
    cs_gguf_listing listing = {.tensors = NULL};
    const bool is_adapter = cs_gguf_file_list(path, &listing, NULL) == COSTEER_OK && strcmp(listing.type, "adapter") == 0;
    cs_gguf_listing_dispose(&listing);
    return is_adapter;
}
