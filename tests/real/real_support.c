/* Test support: models that people use. */
#include "real/real_support.h"

#include "support/models.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

costeer_model *load_real(const char *file)
{
    const char *folder = getenv("COSTEER_REAL_MODELS");
    if (folder == NULL || *folder == '\0') {
        puts("the packages with real weights are not here: scripts/get-test-models");
        skip();
    }
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", folder, file);
    return load_model(path);
}

costeer_tokens build_real_prompt(const costeer_model *model, const char *context, const char *query)
{
    costeer_tokens out = {0};
    costeer_error err = {0};
    const char *own = costeer_model_get_info(model)->chat_template;
    const costeer_prompt prompt = {.context = context, .query = query, .chat_template = own != NULL ? NULL : "raw"};
    assert_ok(costeer_prompt_build(model, &prompt, &out, &err), &err);
    return out;
}
