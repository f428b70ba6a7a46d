/* The prompts of an ensemble: texts that it has copied, and the tokens and messages made of them when a method asks for them. */
#ifndef CS_CLOUD_ENSEMBLE_PROMPTS_H
#define CS_CLOUD_ENSEMBLE_PROMPTS_H

#include <costeer/ensemble.h>

/** Whose tokens of which prompt. The SLM's prompts with one context each come last, so that they are an array. */
typedef enum cs_prompt_slot {
    CS_PROMPT_LLM,
    CS_PROMPT_LLM_WITH,
    CS_PROMPT_SLM,
    CS_PROMPT_SLM_WITH,
    CS_PROMPT_TUNED,
    CS_PROMPT_AMATEUR, /**< the SLM's beside its experts */
    CS_PROMPT_CONTEXT, /**< + i: with context i */
    CS_PROMPT_SLOTS = CS_PROMPT_CONTEXT + COSTEER_DELTAS_MAX
} cs_prompt_slot;

typedef struct cs_prompt_store cs_prompt_store;

/**
 * Copy the texts of prompts.
 *
 * @param[out] out  free with cs_prompt_store_free(); NULL on failure
 */
costeer_err cs_prompt_store_create(const costeer_ensemble_prompts *prompts, int32_t n_contexts, cs_prompt_store **out,
                                   costeer_error *err);
void cs_prompt_store_free(cs_prompt_store *store);

int32_t cs_prompt_store_max_tokens(const cs_prompt_store *store);

/** True when there is a prompt with all contexts. */
bool cs_prompt_store_has_with(const cs_prompt_store *store);

/** The tokens of a slot, built by `model` the first time; they live as long as the store. */
costeer_err cs_prompt_store_tokens(cs_prompt_store *store, cs_prompt_slot slot, const costeer_model *model,
                                   const costeer_tokens **out, costeer_error *err);

/** The tokens of all the prompts with one context each, as an array. */
costeer_err cs_prompt_store_contexts(cs_prompt_store *store, const costeer_model *model, const costeer_tokens **out,
                                     costeer_error *err);

/** The messages of the prompt without or with all contexts; they live as long as the store. */
costeer_err cs_prompt_store_chat(cs_prompt_store *store, bool is_with, const costeer_chat **out, costeer_error *err);

#endif
