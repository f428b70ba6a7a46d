/* The built-in pair for integration tests: see models.h. */
#include "support/models.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void assert_ok(costeer_err code, const costeer_error *err)
{
    if (code != COSTEER_OK) {
        fail_msg("%s: %s: %s", costeer_err_name(code), err->component, err->message);
    }
}

costeer_model *load_model(const char *path)
{
    costeer_model *model;
    costeer_error err = {0};
    assert_ok(costeer_model_load(path, NULL, &model, &err), &err);
    return model;
}

costeer_tokens build_prompt(const costeer_model *model, const char *context, const char *query)
{
    costeer_tokens out = {0};
    costeer_error err = {0};
    const costeer_prompt prompt = {.context = context, .query = query};
    assert_ok(costeer_prompt_build(model, &prompt, &out, &err), &err);
    return out;
}

char *long_text(const costeer_model *model, size_t n_tokens)
{
    static const char words[] = "my sister likes to walk along the river in the morning, ";
    const size_t capacity = n_tokens * sizeof words + 1; /* every repetition is more than one token */
    char *text = calloc(capacity, 1);
    assert_non_null(text);
    costeer_tokens tokens = {0};
    size_t n = 0;
    while (tokens.n < n_tokens) {
        memcpy(text + n, words, sizeof words - 1);
        n += sizeof words - 1;
        assert_int_equal(costeer_model_tokenize(model, text, n, false, false, &tokens, NULL), COSTEER_OK);
    }
    costeer_tokens_dispose(&tokens);
    return text;
}
