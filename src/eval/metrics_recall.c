/*
 * Context recall: how much of what only the private text could tell is in the answer. Counted are the context's words that are
 * neither in the query nor among the commonest English words, and its pairs of neighbours of which neither is such a common word
 * and which the query does not have; each once.
 */
#include "eval/metrics_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Articles, pronouns, prepositions, conjunctions, auxiliaries, and the endings that an apostrophe cuts off; sorted. */
static const char *const stop_words[] = {
    "a",     "about",  "after", "all",   "also",  "am",    "an",    "and",   "any",   "are",  "as",    "at",    "be",   "because",
    "been",  "before", "being", "but",   "by",    "can",   "could", "d",     "did",   "do",   "does",  "for",   "from", "had",
    "has",   "have",   "he",    "her",   "here",  "hers",  "him",   "his",   "how",   "i",    "if",    "in",    "into", "is",
    "it",    "its",    "just",  "ll",    "m",     "may",   "me",    "might", "mine",  "more", "most",  "must",  "my",   "no",
    "not",   "of",     "off",   "on",    "or",    "other", "our",   "out",   "over",  "re",   "s",     "shall", "she",  "should",
    "so",    "some",   "such",  "t",     "than",  "that",  "the",   "their", "them",  "then", "there", "these", "they", "this",
    "those", "to",     "too",   "under", "until", "up",    "us",    "ve",    "very",  "was",  "we",    "were",  "what", "when",
    "where", "which",  "while", "who",   "whom",  "why",   "will",  "with",  "would", "you",  "your",  "yours",
};

static int compare_word(const void *a, const void *b)
{
    return strcmp(a, *(const char *const *)b);
}

bool cs_metrics_is_stop_word(const char *word, size_t n)
{
    char key[16];
    if (n >= sizeof key) {
        return false;
    }
    memcpy(key, word, n);
    key[n] = '\0';
    return bsearch(key, stop_words, sizeof stop_words / sizeof stop_words[0], sizeof stop_words[0], compare_word) != NULL;
}

/* What stands of an n-gram; bits. */
enum { IN_QUERY = 1, IN_ANSWER = 2, COUNTED = 4 };

typedef struct recall {
    const cs_intern *words;
    size_t n_rare;
    size_t n_found;
} recall;

static bool is_rare(const recall *r, const cs_tokens *context, size_t at, size_t order)
{
    for (size_t i = at; i < at + order; i++) {
        size_t n;
        const char *word = cs_intern_get(r->words, context->ids[i], &n);
        if (cs_metrics_is_stop_word(word, n)) {
            return false;
        }
    }
    return true;
}

/* Count the n-grams of one length. False when memory is out. */
static bool count(recall *r, const cs_tokens *answer, const cs_tokens *context, const cs_tokens *query, size_t order)
{
    cs_intern ngrams = {0};
    cs_tokens ids = {0};
    bool ok = cs_metrics_ngrams(&ngrams, query, order, &ids);
    size_t n_query = ids.n;
    ok = ok && cs_metrics_ngrams(&ngrams, answer, order, &ids);
    size_t n_answer = ids.n;
    ok = ok && cs_metrics_ngrams(&ngrams, context, order, &ids);
    unsigned char *marks = ok ? calloc(ngrams.n + 1, 1) : NULL;
    ok = marks != NULL;
    for (size_t i = 0; ok && i < n_answer; i++) {
        marks[ids.ids[i]] |= i < n_query ? IN_QUERY : IN_ANSWER;
    }
    for (size_t i = n_answer; ok && i < ids.n; i++) {
        unsigned char *mark = &marks[ids.ids[i]];
        if ((*mark & (IN_QUERY | COUNTED)) == 0 && is_rare(r, context, i - n_answer, order)) {
            r->n_rare++;
            r->n_found += (*mark & IN_ANSWER) != 0;
            *mark |= COUNTED;
        }
    }
    free(marks);
    cs_tokens_dispose(&ids);
    cs_intern_dispose(&ngrams);
    return ok;
}

bool cs_metrics_context_recall(const cs_intern *words, const cs_tokens *answer, const cs_tokens *context, const cs_tokens *query,
                               double *share)
{
    recall r = {.words = words};
    bool ok = count(&r, answer, context, query, 1) && count(&r, answer, context, query, 2);
    *share = ok && r.n_rare > 0 ? (double)r.n_found / (double)r.n_rare : (double)NAN;
    return ok;
}
