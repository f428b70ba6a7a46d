/*
 * Reasoning: the marks that a model's template puts around what it thinks before it answers.
 *
 * Templates have no common switch: some take enable_thinking, some open the reasoning at the end of the prompt whatever they are
 * told, some leave it to the model. What is common is how it looks in the text, and that is what this table has.
 */
#include "core/prompt_internal.h"
#include "util/error.h"

#include <string.h>

typedef struct marks {
    const char *begin;
    const char *end;
} marks;

static const marks known[] = {
    {"<think>", "</think>"},           {"[THINK]", "[/THINK]"},       {"<|START_THINKING|>", "<|END_THINKING|>"},
    {"<seed:think>", "</seed:think>"}, {"<mm:think>", "</mm:think>"}, {"<|channel>thought", "<channel|>"},
};

#define N_KNOWN (sizeof known / sizeof known[0])

/* gpt-oss ends its prompt with the speaker, and the model names the channel: naming the last one skips the others. */
static const char harmony_speaker[] = "<|start|>assistant";
static const char harmony_final[] = "<|channel|>final<|message|>";

/* The marks that a template knows, NULL: none. */
static const marks *find_marks(const char *source)
{
    for (size_t i = 0; i < N_KNOWN; i++) {
        if (strstr(source, known[i].begin) != NULL && strstr(source, known[i].end) != NULL) {
            return &known[i];
        }
    }
    return NULL;
}

static bool ends_with(const char *text, size_t n, const char *end)
{
    const size_t n_end = strlen(end);
    return n >= n_end && memcmp(text + n - n_end, end, n_end) == 0;
}

/* The marks whose beginning a rendered prompt ends with, blanks left aside, NULL: the answer begins at once. */
static const marks *find_open(const cs_chat_rendering *rendering)
{
    size_t n = rendering->n_bytes;
    if (rendering->n_parts == 0 || rendering->parts[rendering->n_parts - 1].is_input) {
        return NULL; /* what is open there was said by somebody */
    }
    while (n > 0 && strchr(" \t\r\n", rendering->text[n - 1]) != NULL) {
        n--;
    }
    for (size_t i = 0; i < N_KNOWN; i++) {
        if (ends_with(rendering->text, n, known[i].begin)) {
            return &known[i];
        }
    }
    return NULL;
}

bool cs_reasoning_skip(const char *source, cs_chat_rendering *rendering)
{
    const marks *open = find_open(rendering);
    if (open != NULL) {
        const bool has_line = rendering->text[rendering->n_bytes - 1] == '\n';
        return cs_chat_rendering_append(rendering, "\n", has_line ? 0 : 1, false) &&
               cs_chat_rendering_append(rendering, "\n", 1, false) &&
               cs_chat_rendering_append(rendering, open->end, strlen(open->end), false) &&
               cs_chat_rendering_append(rendering, "\n\n", 2, false);
    }
    if (strstr(source, harmony_final) != NULL && rendering->n_parts > 0 && !rendering->parts[rendering->n_parts - 1].is_input &&
        ends_with(rendering->text, rendering->n_bytes, harmony_speaker)) {
        return cs_chat_rendering_append(rendering, harmony_final, sizeof harmony_final - 1, false);
    }
    return true;
}

/* ---- for a session ----------------------------------------------------------------------------------------------- */

void costeer_reasoning_dispose(costeer_reasoning *reasoning)
{
    if (reasoning != NULL) {
        costeer_tokens_dispose(&reasoning->closing);
        *reasoning = (costeer_reasoning){.begin = NULL};
    }
}

/* The one token that a mark is, −1: it is several. */
static costeer_err find_token(const costeer_model *model, const char *mark, int32_t *out, costeer_error *err)
{
    costeer_tokens tokens = {.n = 0};
    const costeer_err code = costeer_model_tokenize(model, mark, strlen(mark), false, true, &tokens, err);
    *out = code == COSTEER_OK && tokens.n == 1 ? tokens.ids[0] : -1;
    costeer_tokens_dispose(&tokens);
    return code;
}

costeer_err costeer_reasoning_find(const costeer_model *model, const costeer_prompt *prompt, costeer_reasoning *out,
                                   costeer_error *err)
{
    costeer_reasoning_dispose(out);
    const char *source = cs_prompt_template_source(model, prompt->chat_template);
    const marks *found = source == NULL || !prompt->thinking ? NULL : find_marks(source);
    if (found == NULL) {
        return COSTEER_OK;
    }
    cs_prompt_parts parts = {.system = NULL};
    costeer_err code = cs_prompt_parts_make(model, prompt, &parts, err);
    out->begin = found->begin;
    out->end = found->end;
    out->is_open = code == COSTEER_OK && find_open(&parts.rendering) == found;
    cs_prompt_parts_dispose(&parts);
    cs_buffer closing = {.cap = 64};
    if (code == COSTEER_OK &&
        (!cs_buffer_append(&closing, "\n", 1) || !cs_buffer_append(&closing, found->end, strlen(found->end)) ||
         !cs_buffer_append(&closing, "\n\n", 2))) {
        code = cs_error_set(err, COSTEER_ENOMEM, "prompt", "no memory for the marks of a reasoning");
    }
    code = code == COSTEER_OK ? costeer_model_tokenize(model, closing.bytes, closing.n_bytes, false, true, &out->closing, err)
                              : code;
    code = code == COSTEER_OK ? find_token(model, found->begin, &out->begin_token, err) : code;
    code = code == COSTEER_OK ? find_token(model, found->end, &out->end_token, err) : code;
    cs_buffer_dispose(&closing);
    if (code != COSTEER_OK) {
        costeer_reasoning_dispose(out);
    }
    return code;
}
