/*
 * M. F. Porter, An algorithm for suffix stripping, Program 14(3), 1980, with the changes that NLTK 3.8 describes in
 * nltk/stem/porter.py for its mode NLTK_EXTENSIONS: a pool of irregular forms; "dies" and "died" become "die"; y becomes i only
 * behind a consonant that is not the first letter; "alli" is replaced before the rest of step 2; "bli", "fulli" and "logi" are
 * suffixes of step 2; a word of two letters, vowel and consonant, counts as a short one. tests/golden/stems.txt holds NLTK's own
 * stems.
 *
 * A stem is never longer than its word, so all is done in place.
 */
#include "eval/porter.h"

#include <stdbool.h>
#include <string.h>

/* A word being stemmed: letters[0..n). */
typedef struct stem {
    char *letters;
    size_t n;
} stem;

/* What must hold of the letters before a suffix. */
typedef enum condition { ALWAYS, M_ABOVE_0, M_ABOVE_1, M_ABOVE_1_ST, M_ABOVE_0_WITH_L } condition;

typedef struct rule {
    const char *suffix;
    const char *replacement;
    condition condition;
} rule;

static const char *const irregular[][2] = {
    {"sky", "sky"},        {"skies", "sky"},       {"dying", "die"},        {"lying", "lie"},
    {"tying", "tie"},      {"news", "news"},       {"innings", "inning"},   {"inning", "inning"},
    {"outings", "outing"}, {"outing", "outing"},   {"cannings", "canning"}, {"canning", "canning"},
    {"howe", "howe"},      {"proceed", "proceed"}, {"exceed", "exceed"},    {"succeed", "succeed"},
};

/* ---- letters ----------------------------------------------------------------------------------------------------- */

/* A y is a consonant at the beginning and behind a vowel. */
static bool is_consonant(const char *word, size_t i)
{
    bool flipped = false;
    while (word[i] == 'y' && i > 0) {
        flipped = !flipped;
        i--;
    }
    bool consonant = strchr("aeiou", word[i]) == NULL;
    return flipped ? !consonant : consonant;
}

/* Porter's m: how often a vowel is followed by a consonant in the first n letters. */
static int measure(const char *word, size_t n)
{
    int m = 0;
    bool after_vowel = false;
    for (size_t i = 0; i < n; i++) {
        /* Not is_consonant(): a row of y would make that quadratic. Here the letter before is known. */
        bool vowel = word[i] == 'y' ? i > 0 && !after_vowel : strchr("aeiou", word[i]) != NULL;
        m += after_vowel && !vowel;
        after_vowel = vowel;
    }
    return m;
}

static bool has_vowel(const char *word, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strchr("aeiou", word[i]) != NULL || (word[i] == 'y' && i > 0)) {
            return true; /* the first y behind a consonant is a vowel, and before any vowel all are consonants */
        }
    }
    return false;
}

static bool ends_double_consonant(const char *word, size_t n)
{
    return n >= 2 && word[n - 1] == word[n - 2] && is_consonant(word, n - 1);
}

/* Porter's *o, and NLTK's addition for two letters. */
static bool ends_short(const char *word, size_t n)
{
    if (n == 2) {
        return !is_consonant(word, 0) && is_consonant(word, 1);
    }
    return n >= 3 && is_consonant(word, n - 3) && !is_consonant(word, n - 2) && is_consonant(word, n - 1) &&
           strchr("wxy", word[n - 1]) == NULL;
}

static bool ends_with(const stem *s, const char *suffix)
{
    size_t n = strlen(suffix);
    return n <= s->n && memcmp(s->letters + s->n - n, suffix, n) == 0;
}

/* Put a replacement that is not longer in the place of the last n_suffix letters. */
static void replace(stem *s, size_t n_suffix, const char *replacement)
{
    size_t n = strlen(replacement);
    s->n -= n_suffix;
    if (n > 0) {
        memcpy(s->letters + s->n, replacement, n);
    }
    s->n += n;
}

/* ---- rules ------------------------------------------------------------------------------------------------------- */

static bool holds(condition wanted, const char *word, size_t n)
{
    switch (wanted) {
    case ALWAYS:
        return true;
    case M_ABOVE_0:
        return measure(word, n) > 0;
    case M_ABOVE_1:
        return measure(word, n) > 1;
    case M_ABOVE_1_ST:
        return measure(word, n) > 1 && (word[n - 1] == 's' || word[n - 1] == 't');
    case M_ABOVE_0_WITH_L:
        return measure(word, n + 1) > 0;
    }
    return false;
}

/* The first rule whose suffix the word has decides, whether its condition holds or not. */
static void apply(stem *s, const rule *rules, size_t n_rules)
{
    for (size_t i = 0; i < n_rules; i++) {
        if (ends_with(s, rules[i].suffix)) {
            size_t n_suffix = strlen(rules[i].suffix);
            if (holds(rules[i].condition, s->letters, s->n - n_suffix)) {
                replace(s, n_suffix, rules[i].replacement);
            }
            return;
        }
    }
}

#define APPLY(s, rules) apply((s), (rules), sizeof(rules) / sizeof((rules)[0]))

static void step_1a(stem *s)
{
    static const rule rules[] = {{"sses", "ss", ALWAYS}, {"ies", "i", ALWAYS}, {"ss", "ss", ALWAYS}, {"s", "", ALWAYS}};
    if (s->n == 4 && ends_with(s, "ies")) {
        replace(s, 1, "");
        return;
    }
    APPLY(s, rules);
}

/* What step 1b does behind a removed "ed" or "ing". */
static void restore(stem *s)
{
    const bool doubled = ends_double_consonant(s->letters, s->n);
    if (ends_with(s, "at") || ends_with(s, "bl") || ends_with(s, "iz") ||
        (!doubled && measure(s->letters, s->n) == 1 && ends_short(s->letters, s->n))) {
        replace(s, 0, "e");
    } else if (doubled && strchr("lsz", s->letters[s->n - 1]) == NULL) {
        s->n--;
    }
}

static void step_1b(stem *s)
{
    if (ends_with(s, "ied")) {
        replace(s, s->n == 4 ? 1 : 2, "");
        return;
    }
    if (ends_with(s, "eed")) {
        s->n -= measure(s->letters, s->n - 3) > 0;
        return;
    }
    size_t n_suffix = ends_with(s, "ed") ? 2 : (ends_with(s, "ing") ? 3 : 0);
    if (n_suffix > 0 && has_vowel(s->letters, s->n - n_suffix)) {
        s->n -= n_suffix;
        restore(s);
    }
}

static void step_1c(stem *s)
{
    if (s->n > 2 && ends_with(s, "y") && is_consonant(s->letters, s->n - 2)) {
        replace(s, 1, "i");
    }
}

static void step_2(stem *s)
{
    static const rule rules[] = {
        {"ational", "ate", M_ABOVE_0},     {"tional", "tion", M_ABOVE_0}, {"enci", "ence", M_ABOVE_0},
        {"anci", "ance", M_ABOVE_0},       {"izer", "ize", M_ABOVE_0},    {"bli", "ble", M_ABOVE_0},
        {"alli", "al", M_ABOVE_0},         {"entli", "ent", M_ABOVE_0},   {"eli", "e", M_ABOVE_0},
        {"ousli", "ous", M_ABOVE_0},       {"ization", "ize", M_ABOVE_0}, {"ation", "ate", M_ABOVE_0},
        {"ator", "ate", M_ABOVE_0},        {"alism", "al", M_ABOVE_0},    {"iveness", "ive", M_ABOVE_0},
        {"fulness", "ful", M_ABOVE_0},     {"ousness", "ous", M_ABOVE_0}, {"aliti", "al", M_ABOVE_0},
        {"iviti", "ive", M_ABOVE_0},       {"biliti", "ble", M_ABOVE_0},  {"fulli", "ful", M_ABOVE_0},
        {"logi", "log", M_ABOVE_0_WITH_L},
    };
    if (ends_with(s, "alli") && measure(s->letters, s->n - 4) > 0) {
        replace(s, 4, "al"); /* what ends in "al" has no "alli" left, so the rules below are all that comes again */
    }
    APPLY(s, rules);
}

static void step_3(stem *s)
{
    static const rule rules[] = {{"icate", "ic", M_ABOVE_0}, {"ative", "", M_ABOVE_0},  {"alize", "al", M_ABOVE_0},
                                 {"iciti", "ic", M_ABOVE_0}, {"ical", "ic", M_ABOVE_0}, {"ful", "", M_ABOVE_0},
                                 {"ness", "", M_ABOVE_0}};
    APPLY(s, rules);
}

static void step_4(stem *s)
{
    static const rule rules[] = {
        {"al", "", M_ABOVE_1},    {"ance", "", M_ABOVE_1}, {"ence", "", M_ABOVE_1}, {"er", "", M_ABOVE_1},
        {"ic", "", M_ABOVE_1},    {"able", "", M_ABOVE_1}, {"ible", "", M_ABOVE_1}, {"ant", "", M_ABOVE_1},
        {"ement", "", M_ABOVE_1}, {"ment", "", M_ABOVE_1}, {"ent", "", M_ABOVE_1},  {"ion", "", M_ABOVE_1_ST},
        {"ou", "", M_ABOVE_1},    {"ism", "", M_ABOVE_1},  {"ate", "", M_ABOVE_1},  {"iti", "", M_ABOVE_1},
        {"ous", "", M_ABOVE_1},   {"ive", "", M_ABOVE_1},  {"ize", "", M_ABOVE_1},
    };
    APPLY(s, rules);
}

static void step_5(stem *s)
{
    if (ends_with(s, "e")) {
        int m = measure(s->letters, s->n - 1);
        if (m > 1 || (m == 1 && !ends_short(s->letters, s->n - 1))) {
            s->n--;
        }
    }
    if (ends_with(s, "ll") && measure(s->letters, s->n - 1) > 1) {
        s->n--;
    }
}

size_t cs_porter_stem(char *word, size_t n)
{
    for (size_t i = 0; i < sizeof irregular / sizeof irregular[0]; i++) {
        if (strlen(irregular[i][0]) == n && memcmp(word, irregular[i][0], n) == 0) {
            size_t n_stem = strlen(irregular[i][1]);
            memcpy(word, irregular[i][1], n_stem);
            return n_stem;
        }
    }
    if (n <= 2) {
        return n;
    }
    stem s = {.letters = word, .n = n};
    step_1a(&s);
    step_1b(&s);
    step_1c(&s);
    step_2(&s);
    step_3(&s);
    step_4(&s);
    step_5(&s);
    return s.n;
}
