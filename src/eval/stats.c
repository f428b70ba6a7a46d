/*
 * Bootstrap and permutation test. The random words of a round are blocks 0, 1, 2 … of Philox under the seed, with the round and
 * the kind of draw in the counter, so rounds do not depend on each other and every machine draws the same.
 *
 * Sources: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, sections 13.3 (percentile interval) and 15.2
 * (permutation test); Lemire, Fast Random Integer Generation in an Interval, ACM TOMACS 29(1), 2019 (drawing without bias);
 * Phipson & Smyth, 2010 (why a p-value from random permutations counts the observed one: it is never 0).
 */
#include "eval/stats_columns.h"

#include "core/philox.h"
#include "util/error.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

/* Sums of the same numbers in another order differ in their last bits; that much is "as extreme". */
#define TIE_TOLERANCE 1e-12

typedef enum draw_kind { DRAW_ROWS = 0, DRAW_SIGNS = 1 } draw_kind;

/* ---- random words ------------------------------------------------------------------------------------------------ */

typedef struct stream {
    uint32_t key[2];
    uint32_t counter[4]; /* block, round, kind, 0 */
    uint32_t words[4];
    int n_used;
} stream;

static stream stream_of(uint64_t seed, int32_t round, draw_kind kind)
{
    return (stream){
        .key = {(uint32_t)seed, (uint32_t)(seed >> 32)}, .counter = {0, (uint32_t)round, (uint32_t)kind, 0}, .n_used = 4};
}

static uint32_t next_word(stream *s)
{
    if (s->n_used == 4) {
        cs_philox4x32(s->counter, s->key, s->words);
        s->counter[0]++;
        s->n_used = 0;
    }
    return s->words[s->n_used++];
}

/* A number below n, all equally likely: the few words that would favour some are passed over. */
static uint32_t next_below(stream *s, uint32_t n)
{
    uint64_t product = (uint64_t)next_word(s) * n;
    if ((uint32_t)product < n) {
        uint32_t threshold = (0U - n) % n;
        while ((uint32_t)product < threshold) {
            product = (uint64_t)next_word(s) * n;
        }
    }
    return (uint32_t)(product >> 32);
}

/* ---- bootstrap --------------------------------------------------------------------------------------------------- */

static int compare_numbers(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The ends that leave out 2.5% on either side: of n sorted values, the k-th from below and above, k = floor(0.025 (n + 1)). */
static void percentiles(double *values, size_t n, costeer_interval *out)
{
    qsort(values, n, sizeof *values, compare_numbers);
    size_t k = (n + 1) / 40;
    k = k > 0 ? k : 1;
    out->low = values[k - 1];
    out->high = values[n - k];
}

/* Columns whose rounds are kept at a time: 64 of 10,000 rounds are 5 MB. */
#define COLUMNS_AT_A_TIME 64

/* The statistic over drawn rows; not finite where only rows without a denominator were drawn. */
static double statistic(const cs_stats_column *column, const uint32_t *rows, uint32_t n)
{
    double numerator = 0.0;
    double denominator = (double)n;
    for (uint32_t i = 0; i < n; i++) {
        numerator += column->numerators[rows[i]];
    }
    if (column->denominators != NULL) {
        denominator = 0.0;
        for (uint32_t i = 0; i < n; i++) {
            denominator += column->denominators[rows[i]];
        }
    }
    return numerator / denominator;
}

/* rounds: [n_columns][n_rounds]; those that are not finite are left out. */
static void finish_column(const cs_stats_column *column, double *rounds, int32_t n_rounds)
{
    size_t n_kept = 0;
    for (int32_t i = 0; i < n_rounds; i++) {
        if (isfinite(rounds[i])) {
            rounds[n_kept++] = rounds[i];
        }
    }
    column->out->low = column->out->value;
    column->out->high = column->out->value;
    if (n_kept > 0) {
        percentiles(rounds, n_kept, column->out);
    }
}

static void run_columns(const cs_stats_column *columns, size_t n_columns, uint32_t n, uint64_t seed, int32_t n_rounds,
                        uint32_t *rows, double *rounds)
{
    for (uint32_t i = 0; i < n; i++) {
        rows[i] = i;
    }
    for (size_t c = 0; c < n_columns; c++) {
        columns[c].out->value = statistic(&columns[c], rows, n);
    }
    for (int32_t round = 0; round < n_rounds; round++) {
        stream s = stream_of(seed, round, DRAW_ROWS);
        for (uint32_t i = 0; i < n; i++) {
            rows[i] = next_below(&s, n);
        }
        for (size_t c = 0; c < n_columns; c++) {
            rounds[c * (size_t)n_rounds + (size_t)round] = statistic(&columns[c], rows, n);
        }
    }
    for (size_t c = 0; c < n_columns; c++) {
        finish_column(&columns[c], rounds + c * (size_t)n_rounds, n_rounds);
    }
}

costeer_err cs_stats_bootstrap_columns(const cs_stats_column *columns, size_t n_columns, size_t n, uint64_t seed,
                                       int32_t n_rounds, costeer_error *err)
{
    const size_t n_batch = n_columns < COLUMNS_AT_A_TIME ? n_columns : COLUMNS_AT_A_TIME;
    uint32_t *rows = malloc((n + 1) * sizeof *rows);
    double *rounds = malloc((n_batch + 1) * (size_t)n_rounds * sizeof *rounds);
    costeer_err code = COSTEER_OK;
    if (rows == NULL || rounds == NULL) {
        code = cs_error_set(err, COSTEER_ENOMEM, "stats", "out of memory for %d rounds over %zu rows", (int)n_rounds, n);
        n_columns = 0;
    }
    for (size_t c = 0; c < n_columns; c += n_batch) {
        size_t n_here = n_columns - c < n_batch ? n_columns - c : n_batch;
        run_columns(columns + c, n_here, (uint32_t)n, seed, n_rounds, rows, rounds);
    }
    free(rows);
    free(rounds);
    return code;
}

static costeer_err check(const double *values, size_t n, int32_t n_rounds, costeer_error *err)
{
    if (n < 1 || n > UINT32_MAX) {
        return cs_error_set(err, COSTEER_EINVAL, "stats", "%zu rows: at least one is needed", n);
    }
    if (n_rounds < 1) {
        return cs_error_set(err, COSTEER_EINVAL, "stats", "%d rounds: at least one is needed", (int)n_rounds);
    }
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(values[i])) {
            return cs_error_set(err, COSTEER_EINVAL, "stats", "value %zu is not finite; leave its row out", i);
        }
    }
    return COSTEER_OK;
}

costeer_err costeer_stats_bootstrap_mean(const double *values, size_t n, uint64_t seed, int32_t n_rounds, costeer_interval *out,
                                         costeer_error *err)
{
    costeer_err code = check(values, n, n_rounds, err);
    const cs_stats_column column = {.numerators = values, .out = out};
    return code == COSTEER_OK ? cs_stats_bootstrap_columns(&column, 1, n, seed, n_rounds, err) : code;
}

costeer_err costeer_stats_bootstrap_ratio(const double *numerators, const double *denominators, size_t n, uint64_t seed,
                                          int32_t n_rounds, costeer_interval *out, costeer_error *err)
{
    costeer_err code = check(numerators, n, n_rounds, err);
    if (code == COSTEER_OK) {
        code = check(denominators, n, n_rounds, err);
    }
    double sum = 0.0;
    for (size_t i = 0; code == COSTEER_OK && i < n; i++) {
        if (denominators[i] < 0.0) {
            return cs_error_set(err, COSTEER_EINVAL, "stats", "denominator %zu is %g; it must be 0 or more", i, denominators[i]);
        }
        sum += denominators[i];
    }
    if (code == COSTEER_OK && sum <= 0.0) {
        return cs_error_set(err, COSTEER_EINVAL, "stats", "all denominators are 0; the ratio is not defined");
    }
    const cs_stats_column column = {.numerators = numerators, .denominators = denominators, .out = out};
    return code == COSTEER_OK ? cs_stats_bootstrap_columns(&column, 1, n, seed, n_rounds, err) : code;
}

/* ---- permutation test -------------------------------------------------------------------------------------------- */

/* All 2^n patterns fit in the rounds. */
static bool is_exact(size_t n, int32_t n_rounds)
{
    return n < 31 && (INT32_C(1) << n) <= n_rounds;
}

/* The differences with signs turned around by the bits of a pattern. */
static double sum_by_pattern(const double *differences, size_t n, uint32_t pattern)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        sum += (pattern >> i & 1U) != 0 ? -differences[i] : differences[i];
    }
    return sum;
}

/* The same by drawn bits, the lowest of a word first. */
static double sum_by_chance(const double *differences, size_t n, stream *s)
{
    double sum = 0.0;
    uint32_t bits = 0;
    for (size_t i = 0; i < n; i++) {
        bits = i % 32 == 0 ? next_word(s) : bits >> 1;
        sum += (bits & 1U) != 0 ? -differences[i] : differences[i];
    }
    return sum;
}

static double p_of(const double *differences, size_t n, uint64_t seed, int32_t n_rounds)
{
    double observed = 0.0;
    double magnitude = 0.0;
    for (size_t i = 0; i < n; i++) {
        observed += differences[i];
        magnitude += fabs(differences[i]);
    }
    const double extreme = fabs(observed) - TIE_TOLERANCE * magnitude;
    const bool exact = is_exact(n, n_rounds);
    const int32_t n_patterns = exact ? INT32_C(1) << n : n_rounds;
    int32_t n_extreme = 0;
    for (int32_t i = 0; i < n_patterns; i++) {
        stream s = stream_of(seed, i, DRAW_SIGNS);
        double sum = exact ? sum_by_pattern(differences, n, (uint32_t)i) : sum_by_chance(differences, n, &s);
        n_extreme += fabs(sum) >= extreme;
    }
    return exact ? (double)n_extreme / (double)n_patterns : ((double)n_extreme + 1.0) / ((double)n_patterns + 1.0);
}

costeer_err costeer_stats_permutation_test(const double *a, const double *b, size_t n, uint64_t seed, int32_t n_rounds,
                                           double *p_value, costeer_error *err)
{
    costeer_err code = check(a, n, n_rounds, err);
    code = code == COSTEER_OK ? check(b, n, n_rounds, err) : code;
    if (code != COSTEER_OK) {
        return code;
    }
    double *differences = malloc(n * sizeof *differences);
    if (differences == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "stats", "out of memory for %zu rows", n);
    }
    for (size_t i = 0; i < n; i++) {
        differences[i] = a[i] - b[i];
    }
    *p_value = p_of(differences, n, seed, n_rounds);
    free(differences);
    return COSTEER_OK;
}
