/*
 * The short table at the end: means of the main metrics per item. Intervals and tests are `costeer report`'s. Computed from the
 * lines as they are written, so that a run that was taken up counts what it found.
 */
#include "cli/cmd_eval.h"
#include "cli/json.h"
#include "cli/message.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Names in a line's "metrics"; a title is a column of the text's table. */
static const struct {
    const char *name;
    const char *title;
} metrics[] = {{"rouge1", NULL},
               {"rouge2", NULL},
               {"rougeL", "ROUGE-L"},
               {"bleu", "BLEU"},
               {"meteor", "METEOR"},
               {"distinct1", NULL},
               {"distinct2", "distinct-2"},
               {"length_ratio", "length"},
               {"context_recall", "ctx"},
               {"fact_recall", "facts"},
               {"completeness", "complete"},
               {"violations", "violations"},
               {"salutation", "salutation"},
               {"signature", "signature"},
               {"seq_rep_4", "seq-rep-4"},
               {"copied_run", "copied run"}};

#define N_METRICS (sizeof metrics / sizeof metrics[0])

typedef struct mean {
    double sum;
    size_t n;
} mean;

typedef struct item_sums {
    mean metrics[N_METRICS];
    mean n_tokens;
    mean exposure;
    double judge_logprob;
    double judge_tokens;
} item_sums;

struct cs_eval_table {
    const costeer_eval_item *items;
    size_t n_items;
    item_sums *sums;         /* [n_items] */
    json_int_t chosen[3][2]; /* labelled parts by label: chosen, all; over the first item's rows */
};

cs_eval_table *cs_eval_table_create(const costeer_eval_item *items, size_t n_items)
{
    cs_eval_table *table = calloc(1, sizeof *table);
    if (table == NULL) {
        return NULL;
    }
    *table = (cs_eval_table){.items = items, .n_items = n_items, .sums = calloc(n_items > 0 ? n_items : 1, sizeof(item_sums))};
    if (table->sums == NULL) {
        cs_eval_table_free(table);
        return NULL;
    }
    return table;
}

void cs_eval_table_free(cs_eval_table *table)
{
    if (table != NULL) {
        free(table->sums);
        free(table);
    }
}

static void add(mean *to, const json_t *value)
{
    if (json_is_number(value)) {
        to->sum += json_number_value(value);
        to->n++;
    }
}

void cs_eval_table_add(cs_eval_table *table, size_t item, const json_t *line)
{
    item_sums *sums = &table->sums[item];
    const json_t *measured = json_object_get(line, "metrics");
    for (size_t i = 0; i < N_METRICS; i++) {
        add(&sums->metrics[i], json_object_get(measured, metrics[i].name));
    }
    add(&sums->n_tokens, json_object_get(line, "n_tokens"));
    add(&sums->exposure, json_object_get(line, "exposure"));
    const json_t *judge = json_object_get(line, "judge");
    sums->judge_logprob += json_number_value(json_object_get(judge, "logprob"));
    sums->judge_tokens += json_number_value(json_object_get(judge, "n_tokens"));
    static const char *const labels[] = {"needed", "fine", "inappropriate"};
    for (size_t i = 0; i < 6 && item == 0; i++) {
        const json_t *counts = json_object_get(json_object_get(line, "choice"), labels[i / 2]);
        table->chosen[i / 2][i % 2] += json_integer_value(json_array_get(counts, i % 2));
    }
}

static void print_choice(cs_output *out, const cs_eval_table *table, const char *use)
{
    const json_int_t(*c)[2] = table->chosen;
    if (c[0][1] > 0) {
        cs_output_print(out, "--use %s: %lld of %lld needed parts used, %lld of %lld fine, %lld of %lld inappropriate\n", use,
                        (long long)c[0][0], (long long)c[0][1], (long long)c[1][0], (long long)c[1][1], (long long)c[2][0],
                        (long long)c[2][1]);
    }
}

static double value_of(const mean *m)
{
    return m->n > 0 ? m->sum / (double)m->n : (double)NAN;
}

static double perplexity(const item_sums *sums)
{
    return sums->judge_tokens > 0.0 ? exp(-sums->judge_logprob / sums->judge_tokens) : (double)NAN;
}

/* ---- as JSON ----------------------------------------------------------------------------------------------------- */

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *make_item(const cs_eval_table *table, size_t item)
{
    const item_sums *sums = &table->sums[item];
    json_t *means = json_object();
    int failed = 0;
    for (size_t i = 0; i < N_METRICS; i++) {
        failed |= json_object_set_new(means, metrics[i].name, number(value_of(&sums->metrics[i])));
    }
    if (failed != 0) {
        json_decref(means);
        return NULL;
    }
    return json_pack("{s:s, s:f, s:b, s:I, s:o, s:o, s:o, s:o}", "label", table->items[item].label, "strength",
                     table->items[item].strength, "shows_context", (int)costeer_method_shows_context(table->items[item].method),
                     "rows", (json_int_t)sums->n_tokens.n, "n_tokens", number(value_of(&sums->n_tokens)), "exposure",
                     number(value_of(&sums->exposure)), "perplexity", number(perplexity(sums)), "metrics", means);
}

static json_t *make_summary(const cs_eval_table *table, const cs_eval_settings *settings, const cs_eval_rows *rows)
{
    json_t *list = json_array();
    for (size_t i = 0; i < table->n_items; i++) {
        if (json_array_append_new(list, make_item(table, i)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return json_pack("{s:s, s:I, s:I, s:o}", "task", settings->task, "rows", (json_int_t)rows->n, "bad_rows",
                     (json_int_t)rows->n_bad, "items", list);
}

/* ---- as text ----------------------------------------------------------------------------------------------------- */

/* A column is shown when any item has a number in it. */
static bool has_column(const cs_eval_table *table, size_t metric)
{
    bool found = false;
    for (size_t i = 0; i < table->n_items; i++) {
        found = found || table->sums[i].metrics[metric].n > 0;
    }
    return found && metrics[metric].title != NULL;
}

static bool is_judged(const cs_eval_table *table)
{
    return table->n_items > 0 && table->sums[0].judge_tokens > 0.0;
}

static void print_number(cs_output *out, double value, int decimals)
{
    if (isfinite(value)) {
        cs_output_print(out, " %10.*f", decimals, value);
    } else {
        cs_output_print(out, " %10s", "-");
    }
}

static int label_width(const cs_eval_table *table)
{
    size_t width = strlen("method");
    for (size_t i = 0; i < table->n_items; i++) {
        size_t n = strlen(table->items[i].label);
        width = n > width ? n : width;
    }
    return (int)width;
}

static void print_head(cs_output *out, const cs_eval_table *table, int width)
{
    cs_output_print(out, "%-*s %10s %10s %10s", width, "method", "strength", "rows", "tokens");
    for (size_t i = 0; i < N_METRICS; i++) {
        if (has_column(table, i)) {
            cs_output_print(out, " %10s", metrics[i].title);
        }
    }
    cs_output_print(out, "%s\n", is_judged(table) ? " perplexity" : "");
}

static void print_item(cs_output *out, const cs_eval_table *table, size_t item, int width)
{
    const item_sums *sums = &table->sums[item];
    cs_output_print(out, "%-*s %10.4g %10zu", width, table->items[item].label, table->items[item].strength, sums->n_tokens.n);
    print_number(out, value_of(&sums->n_tokens), 1);
    for (size_t i = 0; i < N_METRICS; i++) {
        if (has_column(table, i)) {
            print_number(out, value_of(&sums->metrics[i]), strcmp(metrics[i].name, "bleu") == 0 ? 2 : 4);
        }
    }
    if (is_judged(table)) {
        print_number(out, perplexity(sums), 3);
    }
    cs_output_write(out, "\n", 1);
}

int cs_eval_table_print(const cs_eval_table *table, const cs_eval_settings *settings, const cs_eval_rows *rows)
{
    cs_output out;
    cs_output_init_stdout(&out);
    int exit_code = CS_EXIT_OK;
    if (settings->common.json) {
        exit_code = cs_json_print(&out, make_summary(table, settings, rows));
    } else {
        int width = label_width(table);
        print_head(&out, table, width);
        for (size_t i = 0; i < table->n_items; i++) {
            print_item(&out, table, i, width);
        }
        print_choice(&out, table, settings->use);
    }
    int error = cs_output_close(&out);
    return error != 0 && exit_code == CS_EXIT_OK ? cs_fail_output(out.name, error) : exit_code;
}
