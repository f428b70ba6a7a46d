/* What `costeer bench net` asks: queries with a private context each, as prompts of both models. */
#ifndef CS_BENCH_NET_PROMPTS_H
#define CS_BENCH_NET_PROMPTS_H

#include <costeer/prompt.h>

/** One request: what the cloud is given, and what only the device has. */
typedef struct cs_net_prompt {
    costeer_tokens cloud;   /* the LLM's prompt */
    costeer_tokens amateur; /* the SLM's, without the context */
    costeer_tokens expert;  /* with it */
} cs_net_prompt;

typedef struct cs_net_prompts {
    cs_net_prompt *items; /* [n] */
    size_t n;
} cs_net_prompts;

/**
 * Make prompts.
 *
 * @param path  JSON lines with "query" and "context"; n of them are taken, evenly spread over the file. NULL: texts of our own
 * @param n     wanted, >= 1; a file or the own texts may have fewer, then they are repeated
 * @param[out] out  dispose of it in every case
 * @return COSTEER_OK; COSTEER_EINVAL: the file cannot be read, or a line is not such an object: the message names the line;
 * errors of costeer_prompt_build()
 */
costeer_err cs_net_prompts_make(const costeer_model *llm, const costeer_model *slm, const char *path, size_t n,
                                cs_net_prompts *out, costeer_error *err);
void cs_net_prompts_dispose(cs_net_prompts *prompts);

#endif
