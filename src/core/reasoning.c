/*
 * Reasoning: the marks that a model's template puts around what it thinks before it answers.
 *
 * Templates have no common switch: some take enable_thinking, some open the reasoning at the end of the prompt whatever they are
 * told, some leave it to the model. What is common is how it looks in the text, and that is what this table has.
 */
#include "core/reasoning.h"

#include "core/prompt_internal.h"

#include <string.h>

static const cs_reasoning_marks known[] = {
    {"<think>", "</think>"},
    {"[THINK]", "[/THINK]"},
    {"<|START_THINKING|>", "<|END_THINKING|>"},
    {"<seed:think>", "</seed:think>"},
    {"<mm:think>", "</mm:think>"},
};

/* gpt-oss ends its prompt with the speaker, and the model names the channel: naming the last one skips the others. */
static const char harmony_speaker[] = "<|start|>assistant";
static const char harmony_final[] = "<|channel|>final<|message|>";

const cs_reasoning_marks *cs_reasoning_find(const char *source)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
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

const cs_reasoning_marks *cs_reasoning_open(const char *text, size_t n)
{
    while (n > 0 && strchr(" \t\r\n", text[n - 1]) != NULL) {
        n--;
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (ends_with(text, n, known[i].begin)) {
            return &known[i];
        }
    }
    return NULL;
}

bool cs_reasoning_skip(const char *source, cs_chat_rendering *rendering)
{
    if (rendering->n_parts == 0 || rendering->parts[rendering->n_parts - 1].is_input) {
        return true; /* what is open there was said by somebody */
    }
    const cs_reasoning_marks *marks = cs_reasoning_open(rendering->text, rendering->n_bytes);
    if (marks != NULL) {
        const bool has_line = rendering->text[rendering->n_bytes - 1] == '\n';
        return cs_chat_rendering_append(rendering, "\n", has_line ? 0 : 1, false) &&
               cs_chat_rendering_append(rendering, "\n", 1, false) &&
               cs_chat_rendering_append(rendering, marks->end, strlen(marks->end), false) &&
               cs_chat_rendering_append(rendering, "\n\n", 2, false);
    }
    if (strstr(source, harmony_final) != NULL && ends_with(rendering->text, rendering->n_bytes, harmony_speaker)) {
        return cs_chat_rendering_append(rendering, harmony_final, sizeof harmony_final - 1, false);
    }
    return true;
}
