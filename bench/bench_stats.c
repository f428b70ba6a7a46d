/* Medians and memory. Peak memory is VmHWM of /proc: getrusage() would count what the process was before exec. */
#include "bench_stats.h"

#include <gguf.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int compare_values(const void *left, const void *right)
{
    const double a = *(const double *)left;
    const double b = *(const double *)right;
    return (a > b) - (a < b);
}

double cs_bench_median(double *values, size_t n)
{
    if (n == 0) {
        return NAN;
    }
    qsort(values, n, sizeof *values, compare_values);
    return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

void cs_bench_forget_peak(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (file != NULL) {
        (void)fputs("5", file);
        fclose(file);
    }
}

uint64_t cs_bench_peak_bytes(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    if (file == NULL) {
        return 0;
    }
    static const char name[] = "VmHWM:";
    char line[256];
    uint64_t kib = 0;
    while (kib == 0 && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, name, sizeof name - 1) == 0) {
            kib = strtoull(line + sizeof name - 1, NULL, 10);
        }
    }
    fclose(file);
    return kib * 1024;
}

/* A whole number; 0 when the file has none, or a list with one for each layer. */
static uint32_t get_number(const struct gguf_context *file, const char *name)
{
    char key[128];
    const int64_t architecture = gguf_find_key(file, "general.architecture");
    if (architecture < 0 || gguf_get_kv_type(file, architecture) != GGUF_TYPE_STRING) {
        return 0;
    }
    snprintf(key, sizeof key, "%s.%s", gguf_get_val_str(file, architecture), name);
    const int64_t id = gguf_find_key(file, key);
    return id >= 0 && gguf_get_kv_type(file, id) == GGUF_TYPE_UINT32 ? gguf_get_val_u32(file, id) : 0;
}

static uint64_t kv_bytes_per_position(const struct gguf_context *file)
{
    const uint32_t n_head = get_number(file, "attention.head_count");
    const uint32_t n_head_kv = get_number(file, "attention.head_count_kv");
    if (n_head == 0) {
        return 0;
    }
    const uint32_t head_width = get_number(file, "embedding_length") / n_head;
    const uint32_t key_width = get_number(file, "attention.key_length");
    const uint32_t value_width = get_number(file, "attention.value_length");
    const uint64_t width = (uint64_t)(key_width != 0 ? key_width : head_width) + (value_width != 0 ? value_width : head_width);
    return 2 * width * (n_head_kv != 0 ? n_head_kv : n_head) * get_number(file, "block_count");
}

uint64_t cs_bench_kv_bytes(const char *path, int32_t n_ctx, int32_t n_sequences)
{
    struct gguf_context *file = gguf_init_from_file(path, (struct gguf_init_params){.no_alloc = true, .ctx = NULL});
    if (file == NULL) {
        return 0;
    }
    /* llama.cpp rounds the positions of a cache up to a multiple of 256. */
    const uint64_t n_positions = ((uint64_t)n_ctx + 255) / 256 * 256;
    const uint64_t bytes = kv_bytes_per_position(file) * n_positions * (uint64_t)n_sequences;
    gguf_free(file);
    return bytes;
}
