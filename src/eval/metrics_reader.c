/*
 * What a reader sees in an answer: which facts it states, whom it greets and who signs it, whether it repeats itself or copies
 * the notes. docs/evaluation.md defines each; tests/golden/reader.json holds what an independent implementation makes of them.
 */
#include "eval/metrics_internal.h"
#include "eval/states.h"
#include "util/error.h"

#include <costeer/metrics.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A line of a signature is short: "With kind regards from all of us," has 33 characters. */
#define SIGNATURE_CHARACTERS 40
#define SIGNATURE_LINES      3

/* ---- facts ------------------------------------------------------------------------------------------------------- */

/* True when the folded text states one of [n] strings; *ok becomes false when memory is out. */
static bool states_any(const char *folded, const char *const *strings, size_t n, bool *ok)
{
    bool found = false;
    for (size_t i = 0; i < n && !found && *ok; i++) {
        char *string = cs_states_fold(strings[i]);
        *ok = string != NULL;
        found = *ok && cs_states_find(folded, string);
        free(string);
    }
    return found;
}

static bool count_facts(const costeer_reader_inputs *inputs, const char *folded, costeer_reader_metrics *out)
{
    bool ok = true;
    for (size_t i = 0; i < inputs->n_facts && ok; i++) {
        const costeer_fact *fact = &inputs->facts[i];
        const bool is_stated = states_any(folded, fact->strings, fact->n_strings, &ok);
        if (inputs->is_stated != NULL) {
            inputs->is_stated[i] = is_stated;
        }
        if (fact->label == COSTEER_FACT_FINE || fact->n_strings == 0) {
            continue;
        }
        const bool is_needed = fact->label == COSTEER_FACT_NEEDED;
        *(is_needed ? &out->n_needed : &out->n_inappropriate) += 1;
        *(is_needed ? &out->n_needed_stated : &out->n_inappropriate_stated) += is_stated;
    }
    if (out->n_needed > 0) {
        out->completeness = (double)out->n_needed_stated / (double)out->n_needed;
    }
    if (out->n_inappropriate > 0) {
        out->violations = (double)out->n_inappropriate_stated / (double)out->n_inappropriate;
    }
    return ok;
}

/* ---- who speaks to whom ------------------------------------------------------------------------------------------ */

/* How letters and messages begin; folded. */
static const char *const greetings[] = {"dear",
                                        "hi",
                                        "hello",
                                        "hey",
                                        "good morning",
                                        "good afternoon",
                                        "good evening",
                                        "to whom it may concern",
                                        "sehr geehrte",
                                        "sehr geehrter",
                                        "liebe",
                                        "lieber",
                                        "liebes",
                                        "hallo",
                                        "guten morgen",
                                        "guten tag",
                                        "guten abend",
                                        "moin",
                                        "servus",
                                        "\xE5\xB0\x8A\xE6\x95\xAC\xE7\x9A\x84", /* 尊敬的 */
                                        "\xE6\x95\xAC\xE7\x88\xB1\xE7\x9A\x84", /* 敬爱的 */
                                        "\xE4\xBA\xB2\xE7\x88\xB1\xE7\x9A\x84", /* 亲爱的 */
                                        "\xE4\xBD\xA0\xE5\xA5\xBD",             /* 你好 */
                                        "\xE6\x82\xA8\xE5\xA5\xBD",             /* 您好 */
                                        "\xE5\x90\x84\xE4\xBD\x8D"};            /* 各位 */

static char *fold_bytes(const char *text, size_t n)
{
    char *copy = strndup(text, n);
    char *folded = copy != NULL ? cs_states_fold(copy) : NULL;
    free(copy);
    return folded;
}

/* What ends a salutation, and what may be in front of a line; folded, so that full-width signs are ASCII. */
static const char salutation_ends[] = ",:!";
static const char ornaments[] = " \t\r*_#>\"'-";

static bool is_empty_line(const char *line, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strchr(ornaments, line[i]) == NULL) {
            return false;
        }
    }
    return true;
}

/* Length of the greeting that a folded line begins with; 0: none. */
static size_t greeting_length(const char *line)
{
    for (size_t i = 0; i < sizeof greetings / sizeof greetings[0]; i++) {
        const size_t n = strlen(greetings[i]);
        const bool is_latin = (unsigned char)greetings[i][0] < 0x80;
        if (strncmp(line, greetings[i], n) == 0) {
            size_t length;
            const bool is_end =
                line[n] == '\0' || !cs_character_is_in_word(cs_character_next(line + n, strnlen(line + n, 4), &length));
            if (is_end || !is_latin) {
                return n;
            }
        }
    }
    return 0;
}

/* Take the salutation of a folded line: what follows the greeting up to its end. False: the line is none. */
static bool take_salutation(char *line)
{
    char *at = line + strspn(line, ornaments);
    const size_t n_greeting = greeting_length(at);
    size_t n = strlen(at);
    if (n_greeting == 0) {
        while (n > 0 && strchr(ornaments, at[n - 1]) != NULL) {
            n--;
        }
        if (n == 0 || strchr(salutation_ends, at[n - 1]) == NULL) {
            return false;
        }
    }
    at += n_greeting;
    at += strspn(at, " ,:!*_");
    n = strcspn(at, salutation_ends);
    memmove(line, at, n);
    line[n] = '\0';
    return true;
}

/* Where the answer's salutation is: the first line that greets, else the first that has something in it. */
typedef struct line_at {
    size_t begin;
    size_t n; /* without the line end; 0: there is no line */
} line_at;

/* False when memory is out. */
static bool find_salutation_line(const char *answer, line_at *out)
{
    *out = (line_at){0};
    for (size_t at = 0; answer[at] != '\0';) {
        const size_t n = strcspn(answer + at, "\n");
        char *folded = fold_bytes(answer + at, n);
        if (folded == NULL) {
            return false;
        }
        const bool greets = greeting_length(folded + strspn(folded, ornaments)) > 0;
        if (greets || (out->n == 0 && !is_empty_line(folded, strlen(folded)))) {
            *out = (line_at){.begin = at, .n = n};
        }
        free(folded);
        if (greets) {
            return true;
        }
        at += n + (answer[at + n] == '\n' ? 1 : 0);
    }
    return true;
}

/* The salutation of a line, "" when it is none; folded, malloc'ed. NULL: memory is out. */
static char *read_salutation(const char *answer, const line_at *line)
{
    char *folded = fold_bytes(answer + line->begin, line->n);
    if (folded != NULL && !take_salutation(folded)) {
        folded[0] = '\0';
    }
    return folded;
}

/* Bytes of the last `limit` characters of [n]; n where there are no more. */
static size_t last_characters(const char *text, size_t n, size_t limit)
{
    size_t at = n;
    for (size_t count = 0; at > 0; at--) {
        count += ((unsigned char)text[at - 1] & 0xC0) != 0x80;
        if (count == limit) {
            return n - at + 1;
        }
    }
    return n;
}

/* The line before `end` that begins at `first` or behind it. */
static line_at line_before(const char *text, size_t first, size_t end)
{
    size_t begin = end;
    while (begin > first && text[begin - 1] != '\n') {
        begin--;
    }
    return (line_at){.begin = begin, .n = end - begin};
}

/* The short lines at the end, behind the salutation; else the end of the last line. Folded, malloc'ed. NULL: memory is out. */
static char *read_signature(const char *answer, const line_at *salutation)
{
    const size_t first = salutation->begin + salutation->n;
    size_t begin = strlen(answer);
    size_t n_lines = 0;
    for (size_t end = begin; end > first && n_lines < SIGNATURE_LINES;) {
        const line_at line = line_before(answer, first, end);
        const size_t n_last = last_characters(answer + line.begin, line.n, SIGNATURE_CHARACTERS);
        if (!is_empty_line(answer + line.begin, line.n)) {
            if (n_last < line.n) {
                begin = n_lines == 0 ? end - n_last : begin;
                n_lines = SIGNATURE_LINES;
                break;
            }
            begin = line.begin;
            n_lines++;
        }
        end = line.begin > first ? line.begin - 1 : first;
    }
    if (n_lines == 0) { /* all of it is one line */
        begin = first - last_characters(answer + salutation->begin, salutation->n, SIGNATURE_CHARACTERS);
    }
    return cs_states_fold(answer + begin);
}

/* 1 when a folded text names one, where there is one, and not the other. */
static double names(const char *folded, const char *const *one, size_t n_one, const char *const *other, size_t n_other, bool *ok)
{
    const bool has_one = n_one == 0 || states_any(folded, one, n_one, ok);
    return has_one && !states_any(folded, other, n_other, ok) ? 1.0 : 0.0;
}

static bool measure_names(const costeer_reader_inputs *in, costeer_reader_metrics *out)
{
    line_at line;
    bool ok = find_salutation_line(in->answer, &line);
    if (ok && in->n_addressee + in->n_writer > 0) {
        char *salutation = read_salutation(in->answer, &line);
        ok = salutation != NULL;
        out->salutation = ok ? names(salutation, in->addressee, in->n_addressee, in->writer, in->n_writer, &ok) : out->salutation;
        free(salutation);
    }
    if (ok && in->n_writer > 0 && !in->is_cut) {
        char *signature = read_signature(in->answer, &line);
        ok = signature != NULL;
        out->signature = ok ? names(signature, in->writer, in->n_writer, in->addressee, in->n_addressee, &ok) : out->signature;
        free(signature);
    }
    return ok;
}

/* ---- repetition and copies --------------------------------------------------------------------------------------- */

/* Longest run that both texts have, one row of the table at a time. */
static bool longest_run(const cs_tokens *a, const cs_tokens *b, size_t *length)
{
    size_t *row = calloc(b->n + 1, sizeof *row);
    *length = 0;
    for (size_t i = 0; row != NULL && i < a->n; i++) {
        for (size_t j = b->n; j > 0; j--) {
            row[j] = a->ids[i] == b->ids[j - 1] ? row[j - 1] + 1 : 0;
            *length = row[j] > *length ? row[j] : *length;
        }
    }
    free(row);
    return row != NULL;
}

static bool measure_words(const costeer_reader_inputs *inputs, costeer_reader_metrics *out)
{
    cs_intern table = {0};
    cs_intern grams = {0};
    cs_tokens answer = {0};
    cs_tokens context = {0};
    cs_tokens ids = {0};
    size_t n_run = 0;
    bool ok = cs_tokens_words(&table, inputs->answer, &answer) &&
              (inputs->context == NULL || cs_tokens_words(&table, inputs->context, &context)) &&
              cs_metrics_ngrams(&grams, &answer, 4, &ids) && longest_run(&answer, &context, &n_run);
    if (ok && ids.n > 0) {
        out->seq_rep_4 = 1.0 - (double)grams.n / (double)ids.n;
    }
    if (ok && context.n > 0) {
        out->copied_run = (double)n_run;
    }
    cs_tokens_dispose(&answer);
    cs_tokens_dispose(&context);
    cs_tokens_dispose(&ids);
    cs_intern_dispose(&grams);
    cs_intern_dispose(&table);
    return ok;
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

costeer_err costeer_reader_metrics_compute(const costeer_reader_inputs *inputs, costeer_reader_metrics *out, costeer_error *err)
{
    const double none = (double)NAN;
    *out = (costeer_reader_metrics){
        .completeness = none, .violations = none, .salutation = none, .signature = none, .seq_rep_4 = none, .copied_run = none};
    if (inputs->answer == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "metrics", "there is no answer to measure; an empty one is \"\"");
    }
    char *folded = cs_states_fold(inputs->answer);
    const bool ok =
        folded != NULL && count_facts(inputs, folded, out) && measure_names(inputs, out) && measure_words(inputs, out);
    free(folded);
    return ok ? COSTEER_OK : cs_error_set(err, COSTEER_ENOMEM, "metrics", "out of memory while an answer was measured");
}
