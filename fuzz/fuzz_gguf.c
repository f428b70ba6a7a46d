/* The check of a model file before llama.cpp loads it: whatever the file holds, it ends with a summary or a message. */
#include "core/gguf_file.h"
#include "fuzz/input_file.h"

#include <costeer/model.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = fuzz_input_file(data, size);
    static bool is_quiet = false;
    if (!is_quiet) { /* loading anything sends llama.cpp's messages to our log, which nobody reads here */
        costeer_model *model = NULL;
        (void)costeer_model_load("/dev/null", NULL, &model, NULL);
        is_quiet = true;
    }
    cs_gguf_summary summary;
    costeer_error err = {.code = COSTEER_OK};
    const costeer_err code = cs_gguf_file_check(path, size % 2 == 0, &summary, &err);
    const bool is_told = code == COSTEER_EMODEL && err.message[0] != '\0';
    const bool is_whole = code == COSTEER_OK && strlen(summary.tokenizer_sha256) == 64 && summary.n_tokens > 0;
    if (!is_told && !is_whole) {
        fprintf(stderr, "fuzz_gguf: %s without a reason\n", costeer_err_name(code));
        abort();
    }
    return 0;
}
