/*
 * A line lists the words of its answer that are in neither notes, request nor vocabulary. What a model wrote by itself, anywhere
 * in the run, is a word all the same; the rest is broken. Without such an answer nothing can be said.
 */
#include "eval/results_words.h"

#include "eval/unknown_words.h"

#include <math.h>
#include <string.h>

bool cs_results_words_learn(cs_results *results, const json_t *line, const cs_results_label *label)
{
    const char *answer = cs_results_text(line, "answer");
    return label->strength != 0.0 || answer == NULL || cs_unknown_words_add_text(answer, &results->words);
}

double cs_results_words_count(const cs_results *results, const json_t *line)
{
    const json_t *list = json_object_get(line, "unknown_words");
    size_t n = 0;
    if (!json_is_array(list) || results->words.n == 0) {
        return (double)NAN;
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *word = json_string_value(json_array_get(list, i));
        n += word != NULL && cs_intern_find(&results->words, word, strlen(word)) < 0;
    }
    return (double)n;
}
