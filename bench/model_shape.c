/*
 * The table of shapes, and the list of tensors of each architecture.
 *
 * Names are those that llama.cpp's loader asks for (src/models/qwen2.cpp, bert.cpp). Types follow llama_tensor_get_type_impl() of
 * src/llama-quant.cpp: vectors stay F32; the output, or the embedding where it is also the output, gets Q6_K; a row that Q6_K's
 * blocks of 256 do not divide gets Q8_0. A real Qwen2.5-0.5B Q4_0 file has a Q8_0 embedding for this reason.
 */
#include "model_shape.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* From the config.json of Qwen2.5-0.5B-Instruct and Qwen2.5-7B-Instruct. */
static const cs_shape shapes[] = {
    {.name = "tiny", .n_embd = 64, .n_layer = 2, .n_head = 4, .n_head_kv = 2, .n_ff = 128, .n_ctx = 2048, .tied = true},
    {.name = "qwen2.5-0.5b",
     .n_embd = 896,
     .n_layer = 24,
     .n_head = 14,
     .n_head_kv = 2,
     .n_ff = 4864,
     .n_ctx = 32768,
     .n_vocab = 151936,
     .tied = true},
    {.name = "qwen2.5-7b",
     .n_embd = 3584,
     .n_layer = 28,
     .n_head = 28,
     .n_head_kv = 4,
     .n_ff = 18944,
     .n_ctx = 32768,
     .n_vocab = 152064},
};

/* llama.cpp asserts its 512 layers; the others are far beyond any model, and keep a row inside the pool of random weights. */
enum { WIDTH_MAX = 1 << 18, LAYERS_MAX = 512, CONTEXT_MAX = 1 << 24 };

enum { TENSORS_PER_LAYER = 16, TENSORS_OUTSIDE = 8 };

const cs_shape *cs_shape_find(const char *name)
{
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        if (strcmp(shapes[i].name, name) == 0) {
            return &shapes[i];
        }
    }
    return NULL;
}

const char *cs_shape_names(void)
{
    return "tiny, qwen2.5-0.5b, qwen2.5-7b";
}

const char *cs_shape_arch_name(cs_shape_arch arch)
{
    return arch == CS_SHAPE_BERT ? "bert" : "qwen2";
}

size_t cs_shape_n_tensors(const cs_shape *shape)
{
    return (size_t)shape->n_layer * TENSORS_PER_LAYER + TENSORS_OUTSIDE;
}

static bool in_range(const char *what, int32_t value, int32_t max, char *why, size_t why_size)
{
    if (value >= 1 && value <= max) {
        return true;
    }
    snprintf(why, why_size, "%s is %" PRId32 ", not in 1 … %" PRId32, what, value, max);
    return false;
}

bool cs_shape_check(const cs_shape *shape, char *why, size_t why_size)
{
    if (!in_range("n-embd", shape->n_embd, WIDTH_MAX, why, why_size) ||
        !in_range("n-layer", shape->n_layer, LAYERS_MAX, why, why_size) ||
        !in_range("n-head", shape->n_head, shape->n_embd, why, why_size) ||
        !in_range("n-head-kv", shape->n_head_kv, shape->n_head, why, why_size) ||
        !in_range("n-ff", shape->n_ff, WIDTH_MAX, why, why_size) ||
        !in_range("n-ctx", shape->n_ctx, CONTEXT_MAX, why, why_size)) {
        return false;
    }
    /* Rotary embeddings turn pairs of a head's entries, so a head has an even width. */
    if (shape->n_embd % shape->n_head != 0 || (shape->n_embd / shape->n_head) % 2 != 0) {
        snprintf(why, why_size, "%" PRId32 " heads do not divide a width of %" PRId32 " into even parts", shape->n_head,
                 shape->n_embd);
        return false;
    }
    if (shape->n_head % shape->n_head_kv != 0) {
        snprintf(why, why_size, "%" PRId32 " key-value heads do not divide %" PRId32 " heads", shape->n_head_kv, shape->n_head);
        return false;
    }
    return true;
}

/* ---- metadata ---------------------------------------------------------------------------------------------------- */

typedef struct key {
    char text[96];
} key;

/* "<architecture>.<rest>" */
static key arch_key(const cs_shape *shape, const char *rest)
{
    key k;
    snprintf(k.text, sizeof(k.text), "%s.%s", cs_shape_arch_name(shape->arch), rest);
    return k;
}

static void set_number(const cs_shape *shape, const char *rest, int32_t value, struct gguf_context *out)
{
    gguf_set_val_u32(out, arch_key(shape, rest).text, (uint32_t)value);
}

static uint32_t file_type(enum ggml_type type)
{
    switch (type) { /* llama_ftype in llama.h */
    case GGML_TYPE_F32:
        return 0;
    case GGML_TYPE_F16:
        return 1;
    case GGML_TYPE_Q4_0:
        return 2;
    default:
        return 7; /* Q8_0 */
    }
}

void cs_shape_set_metadata(const cs_shape *shape, enum ggml_type type, struct gguf_context *out)
{
    char name[96];
    snprintf(name, sizeof(name), "random %s", shape->name);
    gguf_set_val_str(out, "general.architecture", cs_shape_arch_name(shape->arch));
    gguf_set_val_str(out, "general.type", "model");
    gguf_set_val_str(out, "general.name", name);
    gguf_set_val_u32(out, "general.file_type", file_type(type));
    gguf_set_val_u32(out, "general.quantization_version", GGML_QNT_VERSION);

    set_number(shape, "block_count", shape->n_layer, out);
    set_number(shape, "context_length", shape->n_ctx, out);
    set_number(shape, "embedding_length", shape->n_embd, out);
    set_number(shape, "feed_forward_length", shape->n_ff, out);
    set_number(shape, "attention.head_count", shape->n_head, out);
    if (shape->arch == CS_SHAPE_BERT) {
        gguf_set_val_f32(out, arch_key(shape, "attention.layer_norm_epsilon").text, 1e-12F);
        gguf_set_val_bool(out, arch_key(shape, "attention.causal").text, false);
        gguf_set_val_u32(out, arch_key(shape, "pooling_type").text, 1); /* mean */
        return;
    }
    set_number(shape, "attention.head_count_kv", shape->n_head_kv, out);
    gguf_set_val_f32(out, arch_key(shape, "rope.freq_base").text, 1e6F);
    gguf_set_val_f32(out, arch_key(shape, "attention.layer_norm_rms_epsilon").text, 1e-6F);
}

/* ---- tensors ----------------------------------------------------------------------------------------------------- */

typedef struct tensor_list {
    const cs_shape *shape;
    enum ggml_type type;
    struct ggml_context *scratch;
    struct gguf_context *out;
} tensor_list;

static void add(const tensor_list *list, struct ggml_tensor *tensor, const char *name)
{
    ggml_set_name(tensor, name);
    gguf_add_tensor(list->out, tensor);
}

static void add_vector(const tensor_list *list, const char *name, int32_t n)
{
    add(list, ggml_new_tensor_1d(list->scratch, GGML_TYPE_F32, n), name);
}

static enum ggml_type fitting(enum ggml_type type, int32_t n_columns)
{
    if (type == GGML_TYPE_Q6_K && n_columns % ggml_blck_size(type) != 0) {
        type = GGML_TYPE_Q8_0;
    }
    return n_columns % ggml_blck_size(type) != 0 ? GGML_TYPE_F16 : type;
}

static void add_matrix_of(const tensor_list *list, enum ggml_type type, const char *name, int32_t n_columns, int32_t n_rows)
{
    add(list, ggml_new_tensor_2d(list->scratch, fitting(type, n_columns), n_columns, n_rows), name);
}

static void add_matrix(const tensor_list *list, const char *name, int32_t n_columns, int32_t n_rows)
{
    add_matrix_of(list, list->type, name, n_columns, n_rows);
}

/* "blk.<layer>.<rest>" */
static key layer_key(int32_t layer, const char *rest)
{
    key k;
    snprintf(k.text, sizeof(k.text), "blk.%" PRId32 ".%s", layer, rest);
    return k;
}

/* A projection with its bias, as the attention of both architectures has them. */
static void add_biased(const tensor_list *list, int32_t layer, const char *part, int32_t n_in, int32_t n_out)
{
    char name[64];
    snprintf(name, sizeof(name), "%s.weight", part);
    add_matrix(list, layer_key(layer, name).text, n_in, n_out);
    snprintf(name, sizeof(name), "%s.bias", part);
    add_vector(list, layer_key(layer, name).text, n_out);
}

static void add_qwen2_layer(const tensor_list *list, int32_t layer)
{
    const cs_shape *s = list->shape;
    int32_t n_kv = s->n_embd / s->n_head * s->n_head_kv;
    add_vector(list, layer_key(layer, "attn_norm.weight").text, s->n_embd);
    add_biased(list, layer, "attn_q", s->n_embd, s->n_embd);
    add_biased(list, layer, "attn_k", s->n_embd, n_kv);
    add_biased(list, layer, "attn_v", s->n_embd, n_kv);
    add_matrix(list, layer_key(layer, "attn_output.weight").text, s->n_embd, s->n_embd);
    add_vector(list, layer_key(layer, "ffn_norm.weight").text, s->n_embd);
    add_matrix(list, layer_key(layer, "ffn_gate.weight").text, s->n_embd, s->n_ff);
    add_matrix(list, layer_key(layer, "ffn_up.weight").text, s->n_embd, s->n_ff);
    add_matrix(list, layer_key(layer, "ffn_down.weight").text, s->n_ff, s->n_embd);
}

static void add_qwen2(const tensor_list *list)
{
    const cs_shape *s = list->shape;
    enum ggml_type output_type = list->type == GGML_TYPE_Q4_0 ? GGML_TYPE_Q6_K : list->type;
    add_matrix_of(list, s->tied ? output_type : list->type, "token_embd.weight", s->n_embd, s->n_vocab);
    for (int32_t layer = 0; layer < s->n_layer; layer++) {
        add_qwen2_layer(list, layer);
    }
    add_vector(list, "output_norm.weight", s->n_embd);
    if (!s->tied) {
        add_matrix_of(list, output_type, "output.weight", s->n_embd, s->n_vocab);
    }
}

static void add_bert_norm(const tensor_list *list, int32_t layer, const char *part)
{
    char name[64];
    snprintf(name, sizeof(name), "%s.weight", part);
    add_vector(list, layer_key(layer, name).text, list->shape->n_embd);
    snprintf(name, sizeof(name), "%s.bias", part);
    add_vector(list, layer_key(layer, name).text, list->shape->n_embd);
}

static void add_bert(const tensor_list *list)
{
    const cs_shape *s = list->shape;
    add_matrix(list, "token_embd.weight", s->n_embd, s->n_vocab);
    add_matrix_of(list, GGML_TYPE_F32, "token_types.weight", s->n_embd, 2);
    add_matrix_of(list, GGML_TYPE_F32, "position_embd.weight", s->n_embd, s->n_ctx);
    add_vector(list, "token_embd_norm.weight", s->n_embd);
    add_vector(list, "token_embd_norm.bias", s->n_embd);
    for (int32_t layer = 0; layer < s->n_layer; layer++) {
        add_biased(list, layer, "attn_q", s->n_embd, s->n_embd);
        add_biased(list, layer, "attn_k", s->n_embd, s->n_embd);
        add_biased(list, layer, "attn_v", s->n_embd, s->n_embd);
        add_biased(list, layer, "attn_output", s->n_embd, s->n_embd);
        add_bert_norm(list, layer, "attn_output_norm");
        add_biased(list, layer, "ffn_up", s->n_embd, s->n_ff);
        add_biased(list, layer, "ffn_down", s->n_ff, s->n_embd);
        add_bert_norm(list, layer, "layer_output_norm");
    }
}

void cs_shape_add_tensors(const cs_shape *shape, enum ggml_type type, struct ggml_context *scratch, struct gguf_context *out)
{
    tensor_list list = {.shape = shape, .type = type, .scratch = scratch, .out = out};
    if (shape->arch == CS_SHAPE_BERT) {
        add_bert(&list);
    } else {
        add_qwen2(&list);
    }
}
