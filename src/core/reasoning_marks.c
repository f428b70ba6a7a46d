/*
 * Reasoning: the marks that a model's template puts around what it thinks before it answers.
 *
 * Templates have no common switch: some take enable_thinking, some open the reasoning at the end of the prompt whatever they are
 * told, some leave it to the model. What is common is how it looks in the text, and that is what this table has.
 */
#include "core/model_internal.h"
#include "core/prompt_internal.h"
#include "util/error.h"

#include <string.h>

typedef struct marks {
    const char *begin;
    const char *end;
    const char *answer;  /* before an answer without a reasoning, NULL: nothing */
    const char *written; /* what of the end stands in the template, NULL: all */
} marks;

/* gpt-oss ends its prompt with the speaker, and the model names the channel. The reasoning ends where the speaker names the last
 * one; what stands in others before is reasoning too. */
#define HARMONY_SPEAKER "<|start|>assistant"
#define HARMONY_FINAL   "<|channel|>final<|message|>"

static const marks known[] = {
    {.begin = "<think>", .end = "</think>"},
    {.begin = "[THINK]", .end = "[/THINK]"},
    {.begin = "<|START_THINKING|>", .end = "<|END_THINKING|>"},
    {.begin = "<seed:think>", .end = "</seed:think>"},
    {.begin = "<mm:think>", .end = "</mm:think>"},
    {.begin = "<|channel>thought", .end = "<channel|>"},
    {.begin = "<|channel|>analysis<|message|>",
     .end = "<|end|>" HARMONY_SPEAKER HARMONY_FINAL,
     .answer = HARMONY_FINAL,
     .written = HARMONY_SPEAKER HARMONY_FINAL},
};

#define N_KNOWN (sizeof known / sizeof known[0])

/* The marks that a template knows, NULL: none. */
static const marks *find_marks(const char *source)
{
    for (size_t i = 0; i < N_KNOWN; i++) {
        const char *end = known[i].written != NULL ? known[i].written : known[i].end;
        if (strstr(source, known[i].begin) != NULL && strstr(source, end) != NULL) {
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
    if (strstr(source, HARMONY_FINAL) != NULL && rendering->n_parts > 0 && !rendering->parts[rendering->n_parts - 1].is_input &&
        ends_with(rendering->text, rendering->n_bytes, HARMONY_SPEAKER)) {
        return cs_chat_rendering_append(rendering, HARMONY_FINAL, sizeof HARMONY_FINAL - 1, false);
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

/* Add the special tokens of a mark. */
static void find_tokens(const costeer_model *model, const char *mark, costeer_reasoning *out)
{
    size_t at;
    int32_t token;
    while (mark != NULL && out->n_tokens < COSTEER_REASONING_TOKENS_MAX &&
           cs_model_find_special(model, mark, strlen(mark), &at, &token)) {
        out->tokens[out->n_tokens].token = token;
        out->tokens[out->n_tokens++].text = cs_model_token_text(model, token);
        mark += at + strlen(cs_model_token_text(model, token));
    }
}

/* What ends a reasoning by force. Where marks name the answer's channel, it begins right after them. */
static bool write_closing(const marks *found, cs_buffer *out)
{
    const size_t n_before = found->answer == NULL ? 1 : 0;
    return cs_buffer_append(out, "\n", n_before) && cs_buffer_append(out, found->end, strlen(found->end)) &&
           cs_buffer_append(out, "\n\n", 2 * n_before);
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
    out->answer = found->answer;
    out->is_open = code == COSTEER_OK && find_open(&parts.rendering) == found;
    cs_prompt_parts_dispose(&parts);
    cs_buffer closing = {.cap = 64};
    if (code == COSTEER_OK && !write_closing(found, &closing)) {
        code = cs_error_set(err, COSTEER_ENOMEM, "prompt", "no memory for the marks of a reasoning");
    }
    code = code == COSTEER_OK ? costeer_model_tokenize(model, closing.bytes, closing.n_bytes, false, true, &out->closing, err)
                              : code;
    find_tokens(model, found->begin, out);
    find_tokens(model, found->end, out); /* the answer's mark is in it */
    cs_buffer_dispose(&closing);
    if (code != COSTEER_OK) {
        costeer_reasoning_dispose(out);
    }
    return code;
}
