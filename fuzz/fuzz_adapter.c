/*
 * The check of a LoRA adapter before llama.cpp loads it (src/core/gguf_adapter.c): beside a sound model, and as its own model, so
 * that the model's side gets the bytes too. It ends with a message, or with an adapter that is one.
 */
#include "core/gguf_adapter.h"
#include "fuzz/input_file.h"

#include <costeer/model.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *path, const char *model_path, bool is_adapter)
{
    costeer_error err = {.code = COSTEER_OK};
    const costeer_err code = cs_gguf_adapter_check(path, model_path, &err);
    const bool is_told = code == COSTEER_EMODEL && err.message[0] != '\0';
    if (!is_told && !(code == COSTEER_OK && is_adapter)) {
        fprintf(stderr, "fuzz_adapter: %s without a reason\n", costeer_err_name(code));
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = fuzz_input_file(data, size);
    static bool is_quiet = false;
    if (!is_quiet) { /* loading anything sends llama.cpp's messages to our log, which nobody reads here */
        costeer_model *model = NULL;
        (void)costeer_model_load("/dev/null", NULL, &model, NULL);
        is_quiet = true;
    }
    const bool is_adapter = cs_gguf_is_adapter(path);
    check(path, FUZZ_ADAPTER_MODEL, is_adapter);
    check(path, path, is_adapter);
    return 0;
}
