/*
 * Random weights, streamed.
 *
 * Quantising seven billion drawn numbers would take minutes. A matrix is cut from a pool instead: a quarter of a million weights,
 * drawn and quantised once per tensor, from which each row takes its parts at random places. Every row is different (equal rows
 * would give equal logits), every block is a true block of its type, and writing is as fast as the disk.
 */
#include "random_weights.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Weights in a pool: a multiple of every block size, small enough to quantise in a few milliseconds. */
enum { POOL_WEIGHTS = 1 << 18 };

/* Parts of a row that are cut from the pool on their own: with four, two equal rows are all but impossible. */
enum { ROW_PARTS = 4 };

static uint64_t next_u64(cs_random *random)
{
    uint64_t z = (random->state += 0x9e3779b97f4a7c15U);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

/* The sum of four uniform 16-bit numbers: near enough to a normal one, and the same bits everywhere, which log() is not. */
float cs_random_normal(cs_random *random)
{
    uint64_t bits = next_u64(random);
    uint32_t sum =
        (uint32_t)(bits & 0xffff) + (uint32_t)(bits >> 16 & 0xffff) + (uint32_t)(bits >> 32 & 0xffff) + (uint32_t)(bits >> 48);
    const double mean = 4.0 * 65535.0 / 2.0;
    const double deviation = 37837.23; /* sqrt(4 (2^32 - 1) / 12) */
    return (float)((sum - mean) / deviation);
}

bool cs_weights_write_vector(cs_output *out, cs_random *random, int64_t n, float mean, float deviation)
{
    for (int64_t i = 0; i < n; i++) {
        float value = mean + deviation * cs_random_normal(random);
        if (!cs_output_write(out, (const char *)&value, sizeof(value))) {
            return false;
        }
    }
    return true;
}

/* Draw and quantise a pool; NULL when memory is short. */
static char *make_pool(cs_random *random, enum ggml_type type, float deviation)
{
    float *weights = malloc(POOL_WEIGHTS * sizeof(*weights));
    char *pool = malloc(ggml_row_size(type, POOL_WEIGHTS));
    if (!weights || !pool) {
        free(weights);
        free(pool);
        return NULL;
    }
    for (size_t i = 0; i < POOL_WEIGHTS; i++) {
        weights[i] = deviation * cs_random_normal(random);
    }
    if (type == GGML_TYPE_F32) {
        memcpy(pool, weights, POOL_WEIGHTS * sizeof(*weights));
    } else {
        ggml_quantize_chunk(type, weights, pool, 0, 1, POOL_WEIGHTS, NULL);
    }
    free(weights);
    return pool;
}

bool cs_weights_write_matrix(cs_output *out, cs_random *random, enum ggml_type type, int64_t n_columns, int64_t n_rows,
                             float deviation)
{
    char *pool = make_pool(random, type, deviation);
    if (!pool) {
        out->error = ENOMEM;
        return false;
    }
    size_t block_bytes = ggml_type_size(type);
    uint64_t n_pool = POOL_WEIGHTS / (uint64_t)ggml_blck_size(type);
    uint64_t n_blocks = (uint64_t)(n_columns / ggml_blck_size(type));
    uint64_t n_part = (n_blocks + ROW_PARTS - 1) / ROW_PARTS;
    bool written = true;
    for (int64_t row = 0; row < n_rows && written; row++) {
        for (uint64_t done = 0; done < n_blocks && written; done += n_part) {
            uint64_t n = n_blocks - done < n_part ? n_blocks - done : n_part;
            uint64_t from = next_u64(random) % (n_pool - n + 1);
            written = cs_output_write(out, pool + from * block_bytes, n * block_bytes);
        }
    }
    free(pool);
    return written;
}
