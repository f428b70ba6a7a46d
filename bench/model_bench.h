/* Timing of models: the SLM's step on its own, and the whole loop against the LLM alone. */
#ifndef CS_BENCH_MODEL_BENCH_H
#define CS_BENCH_MODEL_BENCH_H

#include <costeer/error.h>
#include <stdatomic.h>
#include <stdint.h>

/** What is measured. Prompts are fixed pseudo-random tokens; end tokens do not end anything. */
typedef struct cs_bench_model_params {
    const char *llm; /* GGUF file; not used by cs_bench_slm */
    const char *slm;
    int32_t n_threads_llm;
    int32_t n_threads_slm;
    int32_t n_threads_prompt; /* of prompts; 0: as the two above */
    int32_t n_prompt;         /* tokens of the query's prompt, >= 1 */
    int32_t n_context;        /* tokens by which the expert's prompt is longer, >= 0 */
    int32_t n_tokens;         /* steps, or tokens of an answer, >= 2 */
    int32_t n_rounds;         /* >= 1; the result is the median over rounds */
    const atomic_bool *cancel;
} cs_bench_model_params;

/** The step that expert and amateur take together: one batch of two tokens. Times in microseconds. */
typedef struct cs_bench_slm_result {
    double step_us;      /* median of all steps of all rounds */
    double step_best_us; /* the fastest */
    double tokens_per_s; /* 2 / median */
    double prefill_us;   /* median time to read both prompts */
} cs_bench_slm_result;

/**
 * Measure the SLM's step: n_rounds times both prompts and n_tokens steps.
 *
 * @return COSTEER_OK; errors of the model; COSTEER_ECANCELED
 */
costeer_err cs_bench_slm(const cs_bench_model_params *params, cs_bench_slm_result *out, costeer_error *err);

/** The step of an SLM with some contexts: one batch of a token for each, and one for the amateur. */
typedef struct cs_bench_contexts_result {
    double step_us;      /* median over rounds of a round's median */
    double step_best_us; /* the fastest of all steps */
    /* (t_n − t_1) / ((n − 1) t_1), t_1 being the step with one context of the same round: median over rounds; 0 for n = 1 */
    double added_share;
} cs_bench_contexts_result;

/**
 * Measure the SLM's step with 1, 2 … n_max contexts, each with a prompt of its own; in every round all of them in turn, so that
 * they meet the same state of the machine.
 *
 * @param n_max     1 … COSTEER_DELTAS_MAX
 * @param[out] out  [n_max] entry i has i + 1 contexts
 * @return as cs_bench_slm()
 */
costeer_err cs_bench_slm_contexts(const cs_bench_model_params *params, int32_t n_max, cs_bench_contexts_result *out,
                                  costeer_error *err);

/** One way of producing answers, in the steady state: without prompts and first tokens. Medians over rounds. */
typedef struct cs_bench_answer {
    double tokens_per_s;
    double token_us;   /* median time from a token to the next, over all rounds */
    double prefill_us; /* from the start to the first token */
    double slm_us;     /* the rest: means per token */
    double cloud_wait_us;
    double fuse_us;
} cs_bench_answer;

typedef struct cs_bench_generate_result {
    cs_bench_answer alone;   /* the LLM through our loop, without an SLM */
    cs_bench_answer steered; /* LLM and SLM */
    double ratio;            /* median over rounds of steered / alone tokens per second */
    uint64_t file_bytes;     /* both models */
    uint64_t kv_bytes;       /* both caches; 0: unknown */
    uint64_t peak_bytes;     /* of the process; 0: unknown */
} cs_bench_generate_result;

/**
 * Measure the main job: in each round an answer of the LLM alone, then a steered one.
 *
 * @return COSTEER_OK; errors of models, pairing, cloud, SLM and loop; COSTEER_ECANCELED
 */
costeer_err cs_bench_generate(const cs_bench_model_params *params, cs_bench_generate_result *out, costeer_error *err);

#endif
