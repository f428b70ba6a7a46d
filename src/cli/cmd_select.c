/*
 * costeer select: which parts of the notes a request needs, shown before anything is asked. It answers nothing and sends nothing:
 * no cloud can be named.
 */
#include "cli/cmd.h"
#include "cli/inputs.h"
#include "cli/json.h"
#include "cli/message.h"
#include "cli/pair.h"
#include "cli/signals.h"
#include "cli/use.h"
#include "util/clock.h"

#include <costeer/select.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct select_settings {
    cs_settings common; /* the texts; read by cs_inputs_read() */
    const char *slm;
    cs_option_list questions;
    double threshold;
    int32_t n_judged_max;
    int32_t threads;
    bool text;
} select_settings;

#define FIELD(field)  .offset = offsetof(select_settings, field)
#define COMMON(field) .offset = offsetof(select_settings, common.field)

static const cs_option input_options[] = {
    {.name = "context",
     .kind = CS_OPTION_FILES,
     .value_name = "FILE",
     COMMON(contexts),
     .help = "The notes to choose from; '-' is standard input. Several are read one after the other"},
    {.name = "query-file", .kind = CS_OPTION_FILE, .value_name = "FILE", COMMON(query_file), .help = "Read the query from FILE"},
};

static const cs_option options[] = {
    {.name = "slm",
     .kind = CS_OPTION_SLM,
     .value_name = "MODEL",
     FIELD(slm),
     .help = "The small model, which judges where --selector names no other: a GGUF file, or a name as of costeer pull; without: "
             "the built-in one"},
    {.name = "selector",
     .kind = CS_OPTION_SLM,
     .value_name = "MODEL",
     COMMON(selector),
     .help = "The model that judges, of any vocabulary; without: the SLM"},
    {.name = "pin",
     .kind = CS_OPTION_TEXTS,
     .value_name = "TEXT",
     COMMON(pins),
     .help = "Use parts with TEXT in them, whatever their score; ASCII letters in either case"},
    {.name = "drop",
     .kind = CS_OPTION_TEXTS,
     .value_name = "TEXT",
     COMMON(drops),
     .help = "Never use parts with TEXT in them or in a heading above, pinned or not"},
    {.name = "threshold",
     .kind = CS_OPTION_REAL,
     .value_name = "SCORE",
     .range = {.min = -1000, .max = 1000},
     FIELD(threshold),
     .help = "Use parts with a score above it; without: the judge's own"},
    {.name = "judge-at-most",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 1, .max = COSTEER_PARTS_MAX},
     .default_value = "256",
     FIELD(n_judged_max),
     .help = "Ask about N parts at most; of more, those that share the most words with the request (BM25). The others stay"},
    {.name = "question",
     .kind = CS_OPTION_FILES,
     .value_name = "FILE",
     FIELD(questions),
     .help = "Ask this about each part instead: a text with {request} and {part} in it, and perhaps {answer}, behind which the "
             "answer, Yes or No, begins. Several are averaged"},
    {.name = "threads",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 1, .max = 512},
     FIELD(threads),
     .help = "Threads; without: all cores"},
    {.name = "text",
     .kind = CS_OPTION_FLAG,
     FIELD(text),
     .help = "Print only the text that would be used: the chosen parts with the headings that they need"},
    {.name = "json", .kind = CS_OPTION_FLAG, COMMON(json), .help = "Print one JSON object"},
    {.name = "quiet", .letter = 'q', .kind = CS_OPTION_FLAG, COMMON(quiet), .help = "No progress or hints on standard error"},
};

static const cs_option_group input_group = CS_OPTION_GROUP("Texts", input_options);
static const cs_option_group group = CS_OPTION_GROUP("Selection", options);

typedef struct selecting {
    select_settings settings;
    cs_inputs inputs;
    char *questions[CS_OPTION_LIST_MAX];
    costeer_model *model;
    costeer_selector *selector;
    costeer_selection selection;
    cs_prompt_progress progress;
    int64_t n_us; /* that the choice took */
} selecting;

/* ---- choosing ---------------------------------------------------------------------------------------------------- */

static int read_questions(selecting *s)
{
    int exit_code = CS_EXIT_OK;
    for (size_t i = 0; i < s->settings.questions.n && exit_code == CS_EXIT_OK; i++) {
        exit_code = cs_input_read_text(s->settings.questions.items[i], "question", &s->questions[i]);
    }
    return exit_code;
}

static int read_inputs(selecting *s, const cs_arguments *arguments)
{
    cs_settings_prepare(&s->settings.common, 1);
    if (s->settings.common.contexts.n == 0) {
        return cs_fail(CS_EXIT_USAGE, "select: needs notes to choose from; name them with --context");
    }
    if (s->settings.text && s->settings.common.json) {
        return cs_fail(CS_EXIT_USAGE, "--text and --json exclude each other");
    }
    int exit_code = read_questions(s);
    exit_code = exit_code == CS_EXIT_OK ? cs_inputs_read(&s->settings.common, arguments, &s->inputs) : exit_code;
    for (size_t i = 0; i < s->inputs.n_contexts && exit_code == CS_EXIT_OK; i++) {
        if (s->inputs.weights[i] <= 0.0) {
            exit_code = cs_fail(CS_EXIT_USAGE,
                                "%s: has the weight %g; parts are chosen from contexts that are used, with a "
                                "weight above 0",
                                s->inputs.context_names[i], s->inputs.weights[i]);
        }
    }
    return exit_code;
}

static int choose(selecting *s)
{
    const select_settings *settings = &s->settings;
    s->progress.kind = cs_progress_kind_of(settings->common.quiet, false);
    const costeer_selector_params params = {.n_threads = settings->threads,
                                            .n_judged_max = settings->n_judged_max,
                                            .questions = settings->questions.n > 0 ? (const char *const *)s->questions : NULL,
                                            .n_questions = settings->questions.n,
                                            .cancel = cs_interrupt_flag()};
    const costeer_select_request request = {.query = s->inputs.query,
                                            .context = s->inputs.all_contexts == NULL ? "" : s->inputs.all_contexts,
                                            .threshold = settings->threshold,
                                            .pins = settings->common.pins.items,
                                            .n_pins = settings->common.pins.n,
                                            .drops = settings->common.drops.items,
                                            .n_drops = settings->common.drops.n};
    costeer_error err = {.code = COSTEER_OK};
    const int64_t start_us = cs_clock_us();
    costeer_err code = costeer_selector_create(s->model, &params, &s->selector, &err);
    code = code == COSTEER_OK ? costeer_select(s->selector, &request, &s->selection, &err) : code;
    s->n_us = cs_clock_us() - start_us;
    if (code == COSTEER_ECANCELED) {
        return cs_interrupt_exit_code();
    }
    return code == COSTEER_OK ? CS_EXIT_OK : cs_fail_error(&err);
}

/* ---- printing ---------------------------------------------------------------------------------------------------- */

static int print_json(const selecting *s, cs_output *out)
{
    const costeer_selection *of = &s->selection;
    json_t *list = json_array();
    for (size_t i = 0; i < of->parts.n; i++) {
        if (json_array_append_new(list, cs_use_describe_part(of, s->inputs.all_contexts, i)) != 0) {
            json_decref(list);
            return cs_fail(CS_EXIT_INTERNAL, "out of memory");
        }
    }
    return cs_json_print(out, json_pack("{s:s, s:o, s:I, s:I, s:I, s:o, s:o, s:o}", "selector",
                                        costeer_model_get_info(s->model)->path, "threshold", cs_json_number(of->threshold),
                                        "n_used", (json_int_t)of->n_used, "n_left", (json_int_t)of->n_left, "n_tokens",
                                        (json_int_t)of->n_tokens, "ms", cs_json_number((double)s->n_us / 1000.0), "text",
                                        cs_json_text(of->text, strlen(of->text)), "parts", list));
}

static int print(const selecting *s)
{
    cs_output out;
    cs_output_init_stdout(&out);
    const costeer_selection *of = &s->selection;
    int exit_code = CS_EXIT_OK;
    if (s->settings.common.json) {
        exit_code = print_json(s, &out);
    } else if (s->settings.text) {
        cs_output_write(&out, of->text, strlen(of->text));
        cs_output_write(&out, "\n", of->text[0] != '\0' ? 1 : 0);
    } else {
        for (size_t i = 0; i < of->parts.n; i++) {
            cs_use_print_part(of, s->inputs.all_contexts, i, &out);
        }
        cs_output_print(&out, "%zu of %zu parts would be used, %zu stay (score above %.2f)\n", of->n_used,
                        of->n_used + of->n_left, of->n_left, of->threshold);
    }
    int error = cs_output_close(&out);
    return error == 0 ? exit_code : cs_fail_output(out.name, error);
}

static int run(const cs_command *self, int argc, char **argv)
{
    selecting s;
    memset(&s, 0, sizeof s);
    cs_arguments arguments = {.n = 0};
    int exit_code;
    if (!cs_options_parse(self, argc, argv, &s.settings, &arguments, &exit_code)) {
        return exit_code;
    }
    exit_code = read_inputs(&s, &arguments);
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_model_load(s.settings.common.selector != NULL ? s.settings.common.selector : s.settings.slm,
                                  "costeer-slm.gguf", 0, cs_progress_kind_of(s.settings.common.quiet, false), &s.model);
    }
    exit_code = exit_code == CS_EXIT_OK ? choose(&s) : exit_code;
    if (exit_code == CS_EXIT_OK && s.inputs.all_contexts != NULL) {
        const cs_chosen chosen = {.context = s.inputs.all_contexts, .selection = s.selection};
        cs_use_tell_unused(&s.settings.common, &chosen, 1);
    }
    exit_code = exit_code == CS_EXIT_OK ? print(&s) : exit_code;
    costeer_selection_dispose(&s.selection);
    costeer_selector_free(s.selector);
    costeer_model_free(s.model);
    cs_inputs_dispose(&s.inputs);
    for (size_t i = 0; i < CS_OPTION_LIST_MAX; i++) {
        free(s.questions[i]);
    }
    return exit_code;
}

const cs_command cs_command_select = {
    .name = "select",
    .arguments = "[QUERY]",
    .summary = "show which parts of the notes a request needs",
    .description =
        "Splits the notes into parts (sentences, list items, \"key: value\" lines, records), asks a small model about each "
        "whether a good answer to the query uses it, and prints every part with its score (0: as a note that no request needs, "
        "1: as the request itself); '+' marks those that would "
        "be used. Nothing is answered and nothing is sent: all of it happens on this device.",
    .examples =
        "  costeer select --context notes.md --slm qwen2.5-0.5b-instruct-q4_0.gguf \"Write an invitation to my birthday.\"",
    .groups = {&input_group, &group},
    .run = run,
};
