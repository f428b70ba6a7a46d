/* Makes LoRA adapters, right and wrong ones, and merges one into a model by hand. */
#ifndef CS_TEST_LORA_H
#define CS_TEST_LORA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** A pair of matrices: sizes as GGUF has them, the inner one first; numbers are random, up to `size_a` and `size_b`. */
typedef struct lora_pair {
    const char *weight; /**< "blk.0.attn_q.weight" */
    int64_t a[3];       /**< in, rank, experts; a[0] 0: left out. experts 0: 1 */
    int64_t b[3];       /**< rank, out, experts */
    float size_a;
    float size_b;
    bool is_integer; /**< of a type that nothing can be computed with */
} lora_pair;

/** Write an adapter for architecture "llama". */
void lora_write(const char *path, const lora_pair *pairs, size_t n_pairs, float alpha);

/** Write a copy of a model of 16-bit weights with the adapter's products added: W + alpha/rank B A. */
void lora_merge(const char *model, const char *adapter, const char *path);

/** An adapter of rank 4 for some matrices of the built-in SLM. `size` 0 is one that changes nothing; 0.3 changes a lot. */
void lora_write_for_slm(const char *path, float size);

#endif
