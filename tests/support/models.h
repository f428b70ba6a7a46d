/* The built-in pair, and paths, for integration tests. Compile definitions: COSTEER_TEST_MODELS_DIR, COSTEER_TEST_TMP_DIR. */
#ifndef CS_TEST_MODELS_H
#define CS_TEST_MODELS_H

#include <costeer/costeer.h>

#define LLM_PATH       COSTEER_TEST_MODELS_DIR "/costeer-llm.gguf"
#define SLM_PATH       COSTEER_TEST_MODELS_DIR "/costeer-slm.gguf"
#define TMP_PATH(name) COSTEER_TEST_TMP_DIR "/" name

/* With our patches a token's logits are the same bits, whatever shares a batch with it. Without, or on another CPU than they are
 * made for, batches of other shapes round otherwise: weights and KV caches are half precision, 8e-3 was seen (240 positions). A
 * wrong token or position changes logits by more than 0.03. */
#if defined(COSTEER_TEST_LLAMA_IS_PATCHED) && defined(__x86_64__)
#define LOGIT_TOLERANCE 0.0F
#else
#define LOGIT_TOLERANCE 1.2e-2F
#endif

/** Load a model; the test fails, with the message, when that fails. */
costeer_model *load_model(const char *path);

/** The prompt's tokens, with the model's own template. `context` may be NULL. */
costeer_tokens build_prompt(const costeer_model *model, const char *context, const char *query);

/** Some words of plain text, so many that the text has at least n_tokens tokens. Free it. */
char *long_text(const costeer_model *model, size_t n_tokens);

/** Fail the test with the error's message unless code is COSTEER_OK. */
void assert_ok(costeer_err code, const costeer_error *err);

#endif
