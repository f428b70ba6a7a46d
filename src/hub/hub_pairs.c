/*
 * The recommended pairs. A revision is pinned where it is known for sure; the pair of which it is not takes the newest one. The
 * sizes are those of the files at these revisions. docs/models.md shows the same table.
 */
#include "hub/hub_pairs.h"

#include <string.h>

#define QWEN_05B                                                                                                               \
    {                                                                                                                          \
        .name = "qwen2.5-0.5b", .hub_name = "Qwen/Qwen2.5-0.5B-Instruct-GGUF@9217f5db79a29953eb74d5343926648285ec7e67:Q4_K_M", \
        .licence = "Apache-2.0", .bytes = 491400032, .is_pinned = true                                                         \
    }
#define QWEN_15B                                                                                                               \
    {                                                                                                                          \
        .name = "qwen2.5-1.5b", .hub_name = "Qwen/Qwen2.5-1.5B-Instruct-GGUF@91cad51170dc346986eccefdc2dd33a9da36ead9:Q4_K_M", \
        .licence = "Apache-2.0", .bytes = 1117320736, .is_pinned = true                                                        \
    }
#define QWEN_7B                                                                                                            \
    {                                                                                                                      \
        .name = "qwen2.5-7b", .hub_name = "Qwen/Qwen2.5-7B-Instruct-GGUF@bb5d59e06d9551d752d08b292a50eb208b07ab1f:Q4_K_M", \
        .licence = "Apache-2.0", .bytes = 4683073632, .is_pinned = true                                                    \
    }
#define QWEN_14B                                                                                             \
    {                                                                                                        \
        .name = "qwen2.5-14b", .hub_name = "Qwen/Qwen2.5-14B-Instruct-GGUF:Q4_K_M", .licence = "Apache-2.0", \
        .bytes = 8988110496, .is_pinned = false                                                              \
    }

static const costeer_hub_pair pairs[] = {
    {.name = "qwen2.5-4gib",
     .device_gib = 4,
     .llm = QWEN_15B,
     .slm = QWEN_05B,
     .why = "the smallest of the family that writes well, on any laptop"},
    {.name = "qwen2.5-8gib",
     .device_gib = 8,
     .llm = QWEN_7B,
     .slm = QWEN_05B,
     .why = "much better texts; leave the memory to it"},
    {.name = "qwen2.5-16gib",
     .device_gib = 16,
     .llm = QWEN_14B,
     .slm = QWEN_15B,
     .why = "the largest that fits, and an SLM that reads notes better"},
};
#define N_PAIRS (sizeof pairs / sizeof pairs[0])

const costeer_hub_pair *costeer_hub_pairs(size_t *n)
{
    *n = N_PAIRS;
    return pairs;
}

const costeer_hub_pair *costeer_hub_find_pair(const char *name)
{
    for (size_t i = 0; i < N_PAIRS; i++) {
        if (strcmp(pairs[i].name, name) == 0) {
            return &pairs[i];
        }
    }
    return NULL;
}

const char *cs_hub_expand(const char *name, bool is_slm)
{
    for (size_t i = 0; i < N_PAIRS; i++) {
        if (strcmp(pairs[i].name, name) == 0) {
            return is_slm ? pairs[i].slm.hub_name : pairs[i].llm.hub_name;
        }
        if (strcmp(pairs[i].llm.name, name) == 0) {
            return pairs[i].llm.hub_name;
        }
        if (strcmp(pairs[i].slm.name, name) == 0) {
            return pairs[i].slm.hub_name;
        }
    }
    return name;
}

costeer_err cs_hub_name_read(const char *text, bool is_slm, cs_hub_name *out, costeer_error *err)
{
    if (cs_hub_name_parse(cs_hub_expand(text, is_slm), out)) {
        return COSTEER_OK;
    }
    return cs_error_set(
        err, COSTEER_EINVAL, "hub",
        "%.200s: no model's name: owner/repo[@revision][:QUANT], hf:owner/repo/file.gguf, or one of costeer pull --list", text);
}

bool costeer_hub_is_name(const char *text)
{
    cs_hub_name name;
    return cs_hub_name_parse(cs_hub_expand(text, false), &name);
}
