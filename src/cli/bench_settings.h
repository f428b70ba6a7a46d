/* The options of `costeer bench`; which measurement uses which is in cmd_bench.c. */
#ifndef CS_CLI_BENCH_SETTINGS_H
#define CS_CLI_BENCH_SETTINGS_H

#include "cli/options.h"
#include "util/file.h"

/** Fields as the options set them; see options.h for what a field holds when its option was not given. */
typedef struct cs_bench_settings {
    const char *llm; /**< a path, also when the built-in model is meant */
    const char *slm;
    int32_t threads_llm;
    int32_t threads_slm;
    int32_t threads_prompt;
    int32_t n_prompt;
    int32_t n_context;
    int32_t n_tokens;
    int32_t n_vocab;
    int32_t contexts;
    int32_t repeat;
    bool json;
    const char *output;
    /* net */
    const char *step_ms;
    const char *round_trip_ms;
    const char *modes;
    int32_t n_prompts;
    const char *prompts_file;
    int32_t sessions;
    int32_t top_k;
    int32_t window;
    int32_t draft_length;
    double draft_confidence;
    const char *node;
} cs_bench_settings;

/** Of `bench net` only. */
extern const cs_option_group cs_group_bench_net;

/** Measure steps of several positions (cmd_bench_batch.c). Returns an exit code. */
int cs_bench_batch_steps(const cs_bench_settings *settings, cs_output *out);

/** Measure modes across a network (cmd_bench_net.c). Returns an exit code. */
int cs_bench_net(const cs_bench_settings *settings, cs_output *out);

#endif
