/*
 * costeer report: the folder of an evaluation becomes a page, Markdown, and a table on the terminal. The library computes and
 * writes; here are the files. Both files are complete before either takes the place of an older one.
 */
#include "cli/cmd.h"
#include "cli/message.h"
#include "cli/signals.h"
#include "util/file.h"

#include <costeer/report.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Far above any run: the results of 100,000 answers are some 100 MB. */
#define RESULTS_BYTES_MAX ((size_t)512 << 20)
#define RUN_BYTES_MAX     ((size_t)16 << 20)

typedef struct report_settings {
    const char *baseline;
    uint64_t seed;
    int32_t n_rounds;
    const char *output;
    bool json;
} report_settings;

typedef struct reporting {
    report_settings settings;
    const char *folder;
    char *run; /* texts of the files */
    char *results;
    char *bad_rows;
    costeer_eval_report *report;
    char *page_name;
    char *markdown_name;
    cs_output page;
    cs_output markdown;
    cs_output out;
} reporting;

static const cs_option options[] = {
    {.name = "baseline",
     .kind = CS_OPTION_TEXT,
     .value_name = "LABEL",
     .offset = offsetof(report_settings, baseline),
     .help = "What the others are compared with, as the table names it; without: the first one"},
    {.name = "seed",
     .kind = CS_OPTION_SEED,
     .value_name = "N",
     .default_value = "0",
     .offset = offsetof(report_settings, seed),
     .help = "Seed of the intervals and tests: the same seed gives the same numbers on every machine"},
    {.name = "rounds",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 100, .max = COSTEER_EVAL_REPORT_ROUNDS_MAX},
     .default_value = "10000",
     .offset = offsetof(report_settings, n_rounds),
     .help = "Rounds of the bootstrap and of the permutation test"},
    {.name = "output",
     .letter = 'o',
     .kind = CS_OPTION_FILE,
     .value_name = "FILE",
     .offset = offsetof(report_settings, output),
     .help = "Where the page goes; without: report.html in DIR"},
    {.name = "json",
     .kind = CS_OPTION_FLAG,
     .offset = offsetof(report_settings, json),
     .help = "Print one JSON object in place of the Markdown"},
};

static const cs_option_group group = CS_OPTION_GROUP("Options", options);

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* A file's name in the folder; NULL when memory is out. */
static char *path_of(const char *folder, const char *name)
{
    const size_t n = strlen(folder);
    const size_t size = n + strlen(name) + 2;
    char *path = malloc(size);
    if (path != NULL) {
        snprintf(path, size, "%s%s%s", folder, n > 0 && folder[n - 1] == '/' ? "" : "/", name);
    }
    return path;
}

static int read_file(const reporting *r, const char *name, size_t max_bytes, bool may_miss, char **text, size_t *n_bytes)
{
    char *path = path_of(r->folder, name);
    if (path == NULL) {
        return cs_fail(CS_EXIT_INTERNAL, "out of memory");
    }
    int exit_code = CS_EXIT_OK;
    const int error = cs_file_read(path, max_bytes, cs_interrupt_wait_readable, text, n_bytes);
    if (error == ENOENT && may_miss) {
        *n_bytes = 0;
    } else if (error == ENOENT || error == ENOTDIR) {
        exit_code =
            cs_fail(CS_EXIT_INPUT, "%s: there is no %s in it; name the folder that costeer eval --out wrote", r->folder, name);
    } else if (error != 0) {
        exit_code = cs_fail_input(path, error, max_bytes);
    }
    free(path);
    return exit_code;
}

static int read_run(reporting *r)
{
    costeer_eval_report_files files = {.n_run = 0};
    costeer_error err = {.code = COSTEER_OK};
    int exit_code = read_file(r, "run.json", RUN_BYTES_MAX, false, &r->run, &files.n_run);
    if (exit_code == CS_EXIT_OK) {
        exit_code = read_file(r, "results.jsonl", RESULTS_BYTES_MAX, false, &r->results, &files.n_results);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = read_file(r, "bad_rows.jsonl", RESULTS_BYTES_MAX, true, &r->bad_rows, &files.n_bad_rows);
    }
    if (exit_code != CS_EXIT_OK) {
        return exit_code;
    }
    files.run = r->run;
    files.results = r->results;
    files.bad_rows = r->bad_rows;
    if (costeer_eval_report_create(&files, &r->report, &err) == COSTEER_OK) {
        return CS_EXIT_OK;
    }
    return err.code == COSTEER_EINVAL ? cs_fail(CS_EXIT_INPUT, "%s/%s", r->folder, err.message) : cs_fail_error(&err);
}

/* ---- computing --------------------------------------------------------------------------------------------------- */

static int fail_baseline(const reporting *r)
{
    const size_t n = costeer_eval_report_n_labels(r->report);
    const char **labels = malloc((n + 1) * sizeof *labels);
    if (labels == NULL) {
        return cs_fail(CS_EXIT_INTERNAL, "out of memory");
    }
    for (size_t i = 0; i < n; i++) {
        labels[i] = costeer_eval_report_label(r->report, i);
    }
    const char *nearest = cs_nearest(r->settings.baseline, labels, n);
    const int exit_code = nearest != NULL ? cs_fail(CS_EXIT_USAGE, "--baseline: this run has no '%s'; did you mean '%s'?",
                                                    r->settings.baseline, nearest)
                                          : cs_fail(CS_EXIT_USAGE, "--baseline: this run has no '%s'; its first label is '%s'",
                                                    r->settings.baseline, labels[0]);
    free(labels);
    return exit_code;
}

static bool has_baseline(const reporting *r)
{
    const char *label;
    for (size_t i = 0; (label = costeer_eval_report_label(r->report, i)) != NULL; i++) {
        if (r->settings.baseline == NULL || strcmp(label, r->settings.baseline) == 0) {
            return true;
        }
    }
    return false;
}

static int compute(reporting *r)
{
    costeer_error err = {.code = COSTEER_OK};
    const costeer_eval_report_params params = {
        .baseline = r->settings.baseline, .seed = r->settings.seed, .n_rounds = r->settings.n_rounds};
    if (!has_baseline(r)) {
        return fail_baseline(r);
    }
    return costeer_eval_report_compute(r->report, &params, &err) == COSTEER_OK ? CS_EXIT_OK : cs_fail_error(&err);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static bool write_bytes(const char *bytes, size_t n_bytes, void *user)
{
    return cs_output_write(user, bytes, n_bytes);
}

/* Write a report to an output that is open; it stays open. */
static int write_report(reporting *r, costeer_eval_report_format format, cs_output *out)
{
    costeer_error err = {.code = COSTEER_OK};
    if (costeer_eval_report_write(r->report, format, write_bytes, out, &err) == COSTEER_OK) {
        return CS_EXIT_OK;
    }
    return out->error != 0 ? cs_fail_output(out->name, out->error) : cs_fail_error(&err);
}

/* For the owner only, as the results themselves: the page has answers in it. */
static int write_file(reporting *r, costeer_eval_report_format format, const char *name, cs_output *out)
{
    const int error = cs_output_open(out, name, true);
    int exit_code = error == 0 ? write_report(r, format, out) : cs_fail_output(name, error);
    if (exit_code == CS_EXIT_OK && !cs_output_flush(out)) {
        exit_code = cs_fail_output(name, out->error);
    }
    return exit_code;
}

static int put_in_place(cs_output *out)
{
    const int error = cs_output_close(out);
    return error == 0 ? CS_EXIT_OK : cs_fail_output(out->name, error);
}

static int write_files(reporting *r)
{
    r->page_name = path_of(r->folder, "report.html");
    r->markdown_name = path_of(r->folder, "report.md");
    if (r->page_name == NULL || r->markdown_name == NULL) {
        return cs_fail(CS_EXIT_INTERNAL, "out of memory");
    }
    const char *page = r->settings.output != NULL ? r->settings.output : r->page_name;
    int exit_code = write_file(r, COSTEER_EVAL_REPORT_HTML, page, &r->page);
    if (exit_code == CS_EXIT_OK) {
        exit_code = write_file(r, COSTEER_EVAL_REPORT_MARKDOWN, r->markdown_name, &r->markdown);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = put_in_place(&r->page);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = put_in_place(&r->markdown);
    }
    return exit_code;
}

static int print(reporting *r)
{
    cs_output_init_stdout(&r->out);
    const int exit_code = write_report(r, r->settings.json ? COSTEER_EVAL_REPORT_JSON : COSTEER_EVAL_REPORT_MARKDOWN, &r->out);
    const int error = cs_output_close(&r->out);
    return exit_code != CS_EXIT_OK || error == 0 ? exit_code : cs_fail_output(r->out.name, error);
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

static int run_steps(reporting *r, const cs_arguments *arguments)
{
    if (arguments->n != 1 || arguments->items[0][0] == '\0') {
        return cs_fail(CS_EXIT_USAGE, "report: takes one folder, which costeer eval --out wrote");
    }
    if (r->settings.output != NULL && strcmp(r->settings.output, "-") == 0) {
        return cs_fail(CS_EXIT_USAGE, "--output: standard output is for the table; name a file for the page");
    }
    r->folder = arguments->items[0];
    int exit_code = read_run(r);
    if (exit_code == CS_EXIT_OK) {
        exit_code = compute(r);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = write_files(r);
    }
    return exit_code == CS_EXIT_OK ? print(r) : exit_code;
}

static int run(const cs_command *self, int argc, char **argv)
{
    reporting r;
    memset(&r, 0, sizeof r);
    r.page.fd = -1;
    r.markdown.fd = -1;
    cs_arguments arguments = {.n = 0};
    int exit_code;
    if (!cs_options_parse(self, argc, argv, &r.settings, &arguments, &exit_code)) {
        return exit_code;
    }
    exit_code = run_steps(&r, &arguments);
    cs_output_discard(&r.page);
    cs_output_discard(&r.markdown);
    costeer_eval_report_free(r.report);
    free(r.run);
    free(r.results);
    free(r.bad_rows);
    free(r.page_name);
    free(r.markdown_name);
    return exit_code;
}

const cs_command cs_command_report = {
    .name = "report",
    .arguments = "DIR",
    .summary = "turn an evaluation into a page with tables and plots",
    .description =
        "Reads the folder that costeer eval --out wrote and computes, for each method, the mean of every measure with its 95% "
        "bootstrap interval, and for each difference from the baseline its interval and the p-value of a paired permutation "
        "test.\n"
        "\n"
        "Writes report.html into the folder: one page with tables and plots that needs no network and no scripts. Writes "
        "report.md "
        "with the same tables, and prints them. The page holds answers to the first rows, which may tell what is in the "
        "context.\n"
        "\n"
        "A damaged line is named and gives exit code 3. The last line of a run that was stopped may be incomplete; it is left "
        "out. "
        "Definitions of all measures are in docs/evaluation.md.",
    .examples = "  costeer report results\n"
                "  costeer report results --baseline llm --json",
    .groups = {&group},
    .run = run,
};
