/*
 * Texts for `costeer bench net`. Disagreements between the steered and the plain answer decide how fast a mode is, so the texts
 * must be such as the built-in pair was made for: a request, and notes of a person, as in models/eval/prompts.jsonl.
 */
#include "net_prompts.h"

#include "util/error.h"
#include "util/file.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Far above any file of prompts. */
#define FILE_BYTES_MAX ((size_t)64 << 20)

typedef struct text_pair {
    const char *query;
    const char *context;
} text_pair;

/* Names and values are not those the built-in pair was trained with. */
static const text_pair own_texts[] = {
    {"Write a short introduction for my new team.",
     "name: Soraya\ncity: Gothenburg\njob: bookbinder\nMy dog is called Rufus.\nfavourite dish: lasagna\nI play the clarinet.\n"
     "I like to drink kefir."},
    {"Suggest a menu for the family.",
     "# About me\n- husband = Rupert\n- My company is Hollowell.\n- I like to drink buttermilk.\n"
     "- favourite flower: carnations\n- likes to eat - lasagna\n- cannot eat: shellfish"},
    {"Give me a plan for what to do on my day off.",
     "The book I love is Frankenstein.\nMy husband is called Bronwyn.\nmy store: Thornbury\nI have a cat named Rufus.\n"
     "address: Trieste\nfavourite drink - kefir\nMy hobby is gymnastics.\nMy friend is called Leonora."},
    {"Leave a message for the house sitter",
     "About me:\n- I like to eat shakshuka.\n- In summer I go to Brisbane.\n- son: Harriet\n- I cannot eat gluten.\n"
     "- neighbour: Leonora\n- My pet is Truffle.\n- favourite flower: hyacinths"},
    {"Write my bio for me.",
     "My company is Pinnacle. The food I like best is ceviche. People call me Ludwig. By trade I am a plasterer. My city is "
     "Montevideo. I enjoy beekeeping. My birthday is on 5 January."},
    {"Help me apologise to my neighbour.",
     "I work as a plasterer. My favourite drink is buttermilk. I am learning the zither. We live in Gothenburg. I am Desmond. My "
     "pet is Juniper. The neighbour is called Philippa. My favourite flowers are anemones."},
};

/* ---- from texts to tokens ---------------------------------------------------------------------------------------- */

static costeer_err build(const costeer_model *llm, const costeer_model *slm, const text_pair *texts, cs_net_prompt *out,
                         costeer_error *err)
{
    const costeer_prompt plain = {.query = texts->query};
    const costeer_prompt with_context = {.query = texts->query, .context = texts->context};
    costeer_err code = costeer_prompt_build(llm, &plain, &out->cloud, err);
    code = code == COSTEER_OK ? costeer_prompt_build(slm, &plain, &out->amateur, err) : code;
    return code == COSTEER_OK ? costeer_prompt_build(slm, &with_context, &out->expert, err) : code;
}

/* ---- from a file ------------------------------------------------------------------------------------------------- */

/* Cuts a text into its lines in place; empty ones are left out. Returns how many there are. */
static size_t split_lines(char *text, char **lines, size_t max)
{
    size_t n = 0;
    for (char *line = text; line != NULL && *line != '\0';) {
        char *end = strchr(line, '\n');
        if (end != NULL) {
            *end = '\0';
        }
        if (*line != '\0') {
            if (lines != NULL && n < max) {
                lines[n] = line;
            }
            n++;
        }
        line = end != NULL ? end + 1 : NULL;
    }
    return n;
}

static size_t count_lines(const char *text)
{
    size_t n = 1;
    for (const char *p = text; *p != '\0'; p++) {
        n += *p == '\n';
    }
    return n;
}

/* The file's texts are private: a message tells the line's number only. */
static costeer_err build_from_line(const costeer_model *llm, const costeer_model *slm, const char *path, const char *line,
                                   size_t number, cs_net_prompt *out, costeer_error *err)
{
    json_t *object = json_loads(line, 0, NULL);
    const text_pair texts = {.query = json_string_value(json_object_get(object, "query")),
                             .context = json_string_value(json_object_get(object, "context"))};
    costeer_err code = COSTEER_OK;
    if (texts.query == NULL || texts.context == NULL) {
        code = cs_error_set(err, COSTEER_EINVAL, "bench", "%s: prompt %zu is not a JSON object with \"query\" and \"context\"",
                            path, number);
    } else {
        code = build(llm, slm, &texts, out, err);
    }
    json_decref(object);
    return code;
}

static costeer_err make_from_lines(const costeer_model *llm, const costeer_model *slm, const char *path, char *text,
                                   cs_net_prompts *out, costeer_error *err)
{
    const size_t max = count_lines(text);
    char **lines = calloc(max, sizeof *lines);
    if (lines == NULL) {
        (void)cs_error_set(err, COSTEER_ENOMEM, "bench", "no memory for the prompts");
        return COSTEER_ENOMEM;
    }
    const size_t n_lines = split_lines(text, lines, max);
    costeer_err code = COSTEER_OK;
    if (n_lines == 0) {
        code = cs_error_set(err, COSTEER_EINVAL, "bench", "%s: there is no prompt in it", path);
    }
    for (size_t i = 0; i < out->n && n_lines > 0 && code == COSTEER_OK; i++) {
        const size_t line = n_lines > out->n ? i * n_lines / out->n : i % n_lines;
        code = build_from_line(llm, slm, path, lines[line], line + 1, &out->items[i], err);
    }
    free(lines);
    return code;
}

static costeer_err make_from_file(const costeer_model *llm, const costeer_model *slm, const char *path, cs_net_prompts *out,
                                  costeer_error *err)
{
    char *text = NULL;
    size_t n_bytes = 0;
    const int error = cs_file_read(path, FILE_BYTES_MAX, NULL, &text, &n_bytes);
    if (error != 0) {
        return cs_error_set(err, COSTEER_EINVAL, "bench", "%s: cannot be read: %s", path, strerror(error));
    }
    const costeer_err code = make_from_lines(llm, slm, path, text, out, err);
    free(text);
    return code;
}

costeer_err cs_net_prompts_make(const costeer_model *llm, const costeer_model *slm, const char *path, size_t n,
                                cs_net_prompts *out, costeer_error *err)
{
    *out = (cs_net_prompts){.items = calloc(n, sizeof *out->items), .n = n};
    if (out->items == NULL) {
        out->n = 0;
        return cs_error_set(err, COSTEER_ENOMEM, "bench", "no memory for %zu prompts", n);
    }
    if (path != NULL) {
        return make_from_file(llm, slm, path, out, err);
    }
    costeer_err code = COSTEER_OK;
    for (size_t i = 0; i < n && code == COSTEER_OK; i++) {
        code = build(llm, slm, &own_texts[i % (sizeof own_texts / sizeof own_texts[0])], &out->items[i], err);
    }
    return code;
}

void cs_net_prompts_dispose(cs_net_prompts *prompts)
{
    for (size_t i = 0; i < prompts->n; i++) {
        costeer_tokens_dispose(&prompts->items[i].cloud);
        costeer_tokens_dispose(&prompts->items[i].amateur);
        costeer_tokens_dispose(&prompts->items[i].expert);
    }
    free(prompts->items);
    *prompts = (cs_net_prompts){.n = 0};
}
