/*
 * METEOR with the stages exact and stem: Lavie & Agarwal, WMT 2007, in NLTK's form (nltk/translate/meteor_score.py without its
 * WordNet stage). The alignment is NLTK's: in each stage the answer's words are taken from the last to the first, and each is
 * matched to the last word of the reference that equals it and is still free. It is not the one with the fewest crossings.
 */
#include "eval/metrics_internal.h"
#include "eval/porter.h"

#include <stdlib.h>
#include <string.h>

#define ALPHA 0.9 /* weight of recall in the harmonic mean */
#define GAMMA 0.5 /* largest penalty; it grows with the cube (beta = 3) of chunks per match */

#define UNMATCHED SIZE_MAX

typedef struct alignment {
    size_t *match;  /* [n_answer] position in the reference, or UNMATCHED */
    bool *is_taken; /* [n_reference] */
    size_t *head;   /* [n_ids] last free position of an id in the reference, + 1; 0: none */
    size_t *before; /* [n_reference] the next one towards the beginning, + 1 */
} alignment;

/* One stage: the same words, or words of the same stem, by ids. */
static void match_ids(alignment *a, const cs_tokens *answer, const cs_tokens *reference, size_t n_ids)
{
    memset(a->head, 0, n_ids * sizeof *a->head);
    for (size_t j = 0; j < reference->n; j++) {
        if (!a->is_taken[j]) {
            size_t *head = &a->head[reference->ids[j]];
            a->before[j] = *head;
            *head = j + 1;
        }
    }
    for (size_t i = answer->n; i-- > 0;) {
        size_t *head = &a->head[answer->ids[i]];
        if (a->match[i] == UNMATCHED && *head > 0) {
            a->match[i] = *head - 1;
            a->is_taken[*head - 1] = true;
            *head = a->before[*head - 1];
        }
    }
}

/* An English stemmer: words with letters beyond ASCII stay as they are. */
static int32_t stem_id(cs_intern *stems, const cs_intern *words, int32_t id, char *room)
{
    size_t n;
    const char *word = cs_intern_get(words, id, &n);
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)word[i] >= 0x80) {
            return cs_intern_add(stems, word, n);
        }
    }
    memcpy(room, word, n);
    return cs_intern_add(stems, room, cs_porter_stem(room, n));
}

static bool make_stems(cs_intern *stems, const cs_intern *words, const cs_tokens *in, char *room, cs_tokens *out)
{
    bool ok = true;
    for (size_t i = 0; ok && i < in->n; i++) {
        ok = cs_tokens_push(out, stem_id(stems, words, in->ids[i], room));
    }
    return ok;
}

static double score(const alignment *a, size_t n_answer, size_t n_reference)
{
    size_t n_matches = 0;
    size_t n_chunks = 0;
    size_t last = UNMATCHED;
    for (size_t i = 0; i < n_answer; i++) {
        if (a->match[i] != UNMATCHED) {
            n_matches++;
            n_chunks += last == UNMATCHED || a->match[i] != last + 1;
        }
        last = a->match[i];
    }
    if (n_matches == 0) {
        return 0.0;
    }
    double precision = (double)n_matches / (double)n_answer;
    double recall = (double)n_matches / (double)n_reference;
    double mean = precision * recall / (ALPHA * precision + (1.0 - ALPHA) * recall);
    double fragments = (double)n_chunks / (double)n_matches;
    return (1.0 - GAMMA * fragments * fragments * fragments) * mean;
}

bool cs_metrics_meteor(const cs_intern *words, const cs_tokens *answer, const cs_tokens *reference, double *meteor)
{
    cs_intern stems = {0};
    cs_tokens answer_stems = {0};
    cs_tokens reference_stems = {0};
    char *room = malloc(words->n_bytes + 1);
    alignment a = {.match = malloc((answer->n + 1) * sizeof *a.match),
                   .is_taken = calloc(reference->n + 1, sizeof *a.is_taken),
                   .head = malloc((words->n + 1) * sizeof *a.head), /* stems are never more than words */
                   .before = malloc((reference->n + 1) * sizeof *a.before)};
    bool ok = room != NULL && a.match != NULL && a.is_taken != NULL && a.head != NULL && a.before != NULL &&
              make_stems(&stems, words, answer, room, &answer_stems) &&
              make_stems(&stems, words, reference, room, &reference_stems);
    if (ok) {
        for (size_t i = 0; i < answer->n; i++) {
            a.match[i] = UNMATCHED;
        }
        match_ids(&a, answer, reference, words->n);
        match_ids(&a, &answer_stems, &reference_stems, stems.n);
        *meteor = score(&a, answer->n, reference->n);
    }
    free(a.match);
    free(a.is_taken);
    free(a.head);
    free(a.before);
    free(room);
    cs_tokens_dispose(&answer_stems);
    cs_tokens_dispose(&reference_stems);
    cs_intern_dispose(&stems);
    return ok;
}
