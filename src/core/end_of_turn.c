/*
 * The token that ends an assistant's turn, read from the template.
 *
 * llama.cpp counts a token as an end when the file says so or its spelling is on a list. A template knows better: what it writes
 * right behind an assistant's message is what the model learned to write there. A conversation of three words is rendered, and
 * the special tokens behind the answer are looked at, up to the first text. Where one of them ends an answer already, nothing is
 * missing. Else the first one does from now on, unless the vocabulary has it as text: llama.cpp makes <|end|> text where it only
 * ends a channel (gpt-oss).
 */
#include "core/prompt_internal.h"

#include "core/model_internal.h"

#include <string.h>

/* As in chat_template.cpp: bytes that nobody means and no trim() takes. */
#define ANSWER_MARK "\x01\x02said\x03\x01"
#define USER_MARK   "\x01\x02user\x03\x01"

static bool is_blank(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\0' || strchr(" \t\r\n", text[i]) == NULL) {
            return false;
        }
    }
    return true;
}

/* The missing end among the special tokens that text[0..n) begins with; −1: none is missing. */
static int32_t find_missing(const costeer_model *model, const char *text, size_t n)
{
    int32_t first = -1;
    size_t at;
    int32_t token;
    while (cs_model_find_special(model, text, n, &at, &token) && is_blank(text, at)) {
        if (cs_model_is_vocab_end(model, token)) {
            return -1;
        }
        first = first >= 0 ? first : token;
        const size_t n_taken = at + strlen(cs_model_token_text(model, token));
        text += n_taken;
        n -= n_taken;
    }
    return first >= 0 && cs_model_token_traits(model, first).is_control ? first : -1;
}

int32_t cs_end_of_turn_find(const costeer_model *model, const char *source)
{
    static const costeer_message messages[] = {{.role = "user", .content = USER_MARK},
                                               {.role = "assistant", .content = ANSWER_MARK},
                                               {.role = "user", .content = USER_MARK}};
    cs_chat_template *form = NULL;
    cs_chat_rendering rendering = {.n_bytes = 0};
    int32_t found = -1;
    if (cs_prompt_template_create(model, source, "", &form, NULL) == COSTEER_OK &&
        cs_chat_template_render(form, messages, sizeof messages / sizeof messages[0], false, &rendering, NULL) == COSTEER_OK) {
        const char *answer = strstr(rendering.text, ANSWER_MARK);
        const char *behind = answer != NULL ? answer + strlen(ANSWER_MARK) : NULL;
        const char *next = behind != NULL ? strstr(behind, USER_MARK) : NULL;
        found = next != NULL ? find_missing(model, behind, (size_t)(next - behind)) : -1;
    }
    cs_chat_rendering_dispose(&rendering);
    cs_chat_template_free(form);
    return found;
}
