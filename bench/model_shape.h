/*
 * Shapes of the models that make_model writes: the numbers of an architecture, and which tensors follow from them.
 *
 * Sizes are those of the real models; tensor types are those that llama-quantize would choose, because both decide the speed.
 */
#ifndef COSTEER_BENCH_MODEL_SHAPE_H
#define COSTEER_BENCH_MODEL_SHAPE_H

#include <ggml.h>
#include <gguf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum cs_shape_arch {
    CS_SHAPE_QWEN2, /* decoder, with biases on query, key and value */
    CS_SHAPE_BERT   /* encoder: a file that cannot generate text */
} cs_shape_arch;

typedef struct cs_shape {
    const char *name;
    cs_shape_arch arch;
    int32_t n_embd;
    int32_t n_layer;
    int32_t n_head;
    int32_t n_head_kv;
    int32_t n_ff;
    int32_t n_ctx;   /* positions it claims to be trained for */
    int32_t n_vocab; /* rows of the embedding; 0: as many as the vocabulary has tokens */
    bool tied;       /* the output is the embedding used again */
} cs_shape;

/** Return a named shape, or NULL. */
const cs_shape *cs_shape_find(const char *name);

/** Names of all shapes, for messages: "tiny, …". */
const char *cs_shape_names(void);

/** Name in general.architecture, and prefix of the shape's keys. */
const char *cs_shape_arch_name(cs_shape_arch arch);

/**
 * Check that the numbers fit together (heads divide the width, …).
 *
 * @param[out] why  one line for a person, when false is returned
 */
bool cs_shape_check(const cs_shape *shape, char *why, size_t why_size);

/** Write the shape's keys (context length, heads, …) and those that describe the file. */
void cs_shape_set_metadata(const cs_shape *shape, enum ggml_type type, struct gguf_context *out);

/**
 * Add every tensor's name, shape and type, in the order in which their data must follow.
 *
 * @param scratch  a context without data (no_alloc) with room for cs_shape_n_tensors() tensors
 * @param type     what the matrices are quantised to
 */
void cs_shape_add_tensors(const cs_shape *shape, enum ggml_type type, struct ggml_context *scratch, struct gguf_context *out);

/** Upper bound of the number of tensors. */
size_t cs_shape_n_tensors(const cs_shape *shape);

#endif
