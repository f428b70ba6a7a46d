/* What a LoRA adapter says about itself, looked at before llama.cpp loads it. */
#ifndef CS_CORE_GGUF_ADAPTER_H
#define CS_CORE_GGUF_ADAPTER_H

#include <costeer/error.h>
#include <stdbool.h>

/**
 * Check that a file is a whole LoRA adapter for a model: its architecture, and every pair of matrices of the right shape.
 *
 * @param model_path  a file that cs_gguf_file_check() has passed
 * @return COSTEER_OK; COSTEER_EMODEL: the message says what is wrong and what to do; COSTEER_ENOMEM
 */
costeer_err cs_gguf_adapter_check(const char *path, const char *model_path, costeer_error *err);

/** True for a whole GGUF file that says it is an adapter. */
bool cs_gguf_is_adapter(const char *path);

#endif
