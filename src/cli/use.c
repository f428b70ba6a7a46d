/*
 * --use needed: what the request needs of the contexts, and nothing else, goes into the prompts. The choice is made when the
 * models are loaded and before anything is sent, and replaces the contexts: what comes after never sees the other parts.
 */
#include "cli/use.h"

#include "cli/message.h"
#include "cli/signals.h"
#include "util/buffer.h"
#include "util/clock.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Of a conversation's earlier questions, as much is shown to the selector. */
#define EARLIER_BYTES_MAX ((size_t)2000)

#define FIELD(field) .offset = offsetof(cs_settings, field)

static const cs_option options[] = {
    {.name = "use",
     .kind = CS_OPTION_CHOICE,
     .value_name = "WHAT",
     .choices = "all|needed",
     FIELD(use),
     .help =
         "all of the contexts, or what the request needs: before anything is sent, a model on this device is asked about each "
         "part, as costeer select shows; the others are in no prompt. Without: needed in generate and chat where the model can "
         "judge, else all"},
    {.name = "pin",
     .kind = CS_OPTION_TEXTS,
     .value_name = "TEXT",
     FIELD(pins),
     .help = "Use parts with TEXT in them, whatever the model says; ASCII letters in either case"},
    {.name = "drop",
     .kind = CS_OPTION_TEXTS,
     .value_name = "TEXT",
     FIELD(drops),
     .help = "Never use parts with TEXT in them or in a heading above, pinned or not"},
    {.name = "selector",
     .kind = CS_OPTION_SLM,
     .value_name = "MODEL",
     FIELD(selector),
     .help = "The model that is asked what is needed, of any vocabulary; without: the SLM"},
    {.name = "confirm",
     .kind = CS_OPTION_FLAG,
     FIELD(confirm),
     .help = "Show on the terminal what will be used, and let it be changed before anything is sent"},
};

const cs_option_group cs_group_use = CS_OPTION_GROUP("What of the contexts is used", options);

/* The first option that makes sense with a choice of parts only; NULL: none. */
static const char *given_option(const cs_settings *settings)
{
    return settings->pins.n > 0         ? "--pin"
           : settings->drops.n > 0      ? "--drop"
           : settings->selector != NULL ? "--selector"
           : settings->confirm          ? "--confirm"
                                        : NULL;
}

/* True where the person asked for a choice: a model that cannot make it is an error then. */
static bool is_asked_for(const cs_settings *settings)
{
    return (settings->use != NULL && strcmp(settings->use, "needed") == 0) || given_option(settings) != NULL;
}

bool cs_use_is_on(const cs_use *use, const cs_settings *settings)
{
    return is_asked_for(settings) || (settings->use == NULL && settings->is_needed_default && use->why_all == NULL);
}

int cs_use_check(const cs_settings *settings)
{
    const char *given = given_option(settings);
    if (given != NULL && settings->use != NULL && strcmp(settings->use, "all") == 0) {
        return cs_fail(CS_EXIT_USAGE, "%s: not with --use all, which uses every part", given);
    }
    return CS_EXIT_OK;
}

/* ---- showing ----------------------------------------------------------------------------------------------------- */

json_t *cs_use_describe_part(const costeer_selection *of, const char *context, size_t i)
{
    const costeer_part *part = &of->parts.items[i];
    const bool was_asked = !isnan(of->scores[i]);
    return json_pack("{s:I, s:I, s:s, s:I, s:o, s:o, s:b, s:s, s:o}", "begin", (json_int_t)part->begin, "end",
                     (json_int_t)part->end, "kind", costeer_part_kind_name(part->kind), "heading", (json_int_t)part->heading,
                     "score", was_asked ? cs_json_number(of->scores[i]) : json_null(), "answer",
                     was_asked ? cs_json_number(of->answers[i]) : json_null(), "used", of->is_used[i] ? 1 : 0, "reason",
                     costeer_part_reason_name(of->reasons[i]), "text",
                     cs_json_text(context + part->begin, part->end - part->begin));
}

/* The length of the character at `at`, and whether a terminal would take it as a command (C0, DEL, C1). The text is UTF-8. */
static size_t see_character(const char *at, size_t n, bool *is_control)
{
    const unsigned char c = (unsigned char)at[0];
    const size_t length = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    *is_control = c < 0x20 || c == 0x7F || (c == 0xC2 && n > 1 && (unsigned char)at[1] < 0xA0);
    return length < n ? length : n;
}

/* The text of a part in one line, control characters as spaces. malloc'ed; NULL when memory is out. */
static char *show_text(const costeer_selection *of, const char *context, size_t i)
{
    const costeer_part *part = &of->parts.items[i];
    char *line = malloc(part->end - part->begin + 1);
    size_t n = 0;
    for (size_t at = part->begin; line != NULL && at < part->end;) {
        bool is_control;
        const size_t length = see_character(context + at, part->end - at, &is_control);
        memcpy(line + n, is_control ? " " : context + at, is_control ? 1 : length);
        n += is_control ? 1 : length;
        at += length;
    }
    if (line != NULL) {
        line[n] = '\0';
    }
    return line;
}

void cs_use_print_part(const costeer_selection *of, const char *context, size_t i, cs_output *out)
{
    if (isnan(of->scores[i])) {
        cs_output_print(out, "%c       -  ", of->is_used[i] ? '+' : ' ');
    } else {
        cs_output_print(out, "%c %7.2f  ", of->is_used[i] ? '+' : ' ', of->scores[i]);
    }
    char *text = show_text(of, context, i);
    cs_output_write(out, text != NULL ? text : "", text != NULL ? strlen(text) : 0);
    free(text);
    if (of->reasons[i] != COSTEER_REASON_SCORE) {
        cs_output_print(out, "  (%s)", costeer_part_reason_name(of->reasons[i]));
    }
    cs_output_write(out, "\n", 1);
}

static json_t *describe_chosen(const cs_chosen *of)
{
    json_t *list = json_array();
    for (size_t i = 0; i < of->selection.parts.n; i++) {
        if (json_array_append_new(list, cs_use_describe_part(&of->selection, of->context, i)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return json_pack("{s:o, s:o, s:I, s:I, s:o}", "context", cs_json_text(of->name, strlen(of->name)), "threshold",
                     cs_json_number(of->selection.threshold), "n_used", (json_int_t)of->selection.n_used, "n_left",
                     (json_int_t)of->selection.n_left, "parts", list);
}

json_t *cs_use_describe(const cs_use *use)
{
    if (use->n == 0) {
        return json_null();
    }
    json_t *list = json_array();
    for (size_t i = 0; i < use->n; i++) {
        if (json_array_append_new(list, describe_chosen(&use->chosen[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

const char *cs_use_summary(const cs_use *use, char *buffer, size_t size)
{
    size_t n_used = 0;
    size_t n = 0;
    for (size_t i = 0; i < use->n; i++) {
        n_used += use->chosen[i].selection.n_used;
        n += use->chosen[i].selection.n_used + use->chosen[i].selection.n_left;
    }
    buffer[0] = '\0';
    if (n > 0) {
        snprintf(buffer, size, ", %zu of %zu parts used (chosen in %.1f s)", n_used, n, (double)use->choice_us / 1e6);
    }
    return buffer;
}

/* ---- the person's word ------------------------------------------------------------------------------------------- */

static int show_chosen(const cs_chosen *of, FILE *terminal)
{
    (void)fprintf(terminal, "%s:\n", of->name);
    for (size_t i = 0; i < of->selection.parts.n; i++) {
        char *text = show_text(&of->selection, of->context, i);
        (void)fprintf(terminal, "%4zu %c %s\n", i + 1, of->selection.is_used[i] ? '+' : ' ', text != NULL ? text : "");
        free(text);
    }
    (void)fprintf(terminal,
                  "%zu of %zu parts will be used. Numbers change parts, an empty line goes on, q ends: ", of->selection.n_used,
                  of->selection.n_used + of->selection.n_left);
    return fflush(terminal);
}

/* "7", or "7-12", in which headings are passed over. False: no numbers of parts. */
static bool turn_range(const costeer_selection *of, const char *word, bool *turned)
{
    char *end;
    const unsigned long first = strtoul(word, &end, 10);
    const unsigned long last = *end == '-' && end[1] >= '0' && end[1] <= '9' ? strtoul(end + 1, &end, 10) : first;
    if (*end != '\0' || first < 1 || last < first || last > of->parts.n ||
        (first == last && !costeer_part_is_choosable(&of->parts.items[first - 1]))) {
        return false;
    }
    for (size_t i = first - 1; i < last; i++) {
        turned[i] = turned[i] != costeer_part_is_choosable(&of->parts.items[i]);
    }
    return true;
}

/* Turn the parts that a line of numbers names. False, and nothing is turned: something in it is no number of a part. */
static bool turn_parts(costeer_selection *of, char *line)
{
    bool *turned = calloc(of->parts.n + 1, sizeof *turned);
    bool ok = turned != NULL;
    char *rest = NULL;
    for (char *word = strtok_r(line, " ,\t\n", &rest); word != NULL && ok; word = strtok_r(NULL, " ,\t\n", &rest)) {
        ok = turn_range(of, word, turned);
    }
    for (size_t i = 0; i < of->parts.n && ok; i++) {
        of->is_used[i] = of->is_used[i] != turned[i];
    }
    free(turned);
    return ok;
}

static int confirm(cs_chosen *of, FILE *terminal)
{
    char line[4096];
    for (;;) {
        if (show_chosen(of, terminal) != 0 || fgets(line, sizeof line, terminal) == NULL || line[0] == 'q') {
            return cs_interrupted() ? cs_interrupt_exit_code() : cs_fail(CS_EXIT_USAGE, "not confirmed; nothing was sent");
        }
        if (line[strspn(line, " \t\r\n")] == '\0') {
            return CS_EXIT_OK;
        }
        const bool is_understood = turn_parts(&of->selection, line);
        costeer_error err = {.code = COSTEER_OK};
        if (costeer_selection_update(&of->selection, of->context, &err) != COSTEER_OK) {
            return cs_fail_error(&err);
        }
        if (!is_understood) {
            (void)fprintf(terminal, "Give numbers of parts that are no headings, apart by spaces.\n");
        }
    }
}

static int confirm_all(cs_use *use)
{
    FILE *terminal = fopen("/dev/tty", "r+");
    if (terminal == NULL) {
        return cs_fail(CS_EXIT_USAGE, "--confirm: there is no terminal to ask on (%s)", strerror(errno));
    }
    int exit_code = CS_EXIT_OK;
    for (size_t i = 0; i < use->n && exit_code == CS_EXIT_OK; i++) {
        exit_code = confirm(&use->chosen[i], terminal);
    }
    (void)fclose(terminal);
    return exit_code;
}

/* ---- what names no part ------------------------------------------------------------------------------------------ */

static bool is_in_part(const cs_chosen *of, const char *text, bool is_heading_taken)
{
    const size_t n = strlen(text);
    for (size_t i = 0; i < of->selection.parts.n; i++) {
        const costeer_part *part = &of->selection.parts.items[i];
        const bool is_taken = n > 0 && (is_heading_taken || costeer_part_is_choosable(part));
        for (size_t at = part->begin; is_taken && at + n <= part->end; at++) {
            if (strncasecmp(of->context + at, text, n) == 0) {
                return true;
            }
        }
    }
    return false;
}

static void tell_unused_list(const char *option, const cs_option_list *texts, const cs_chosen *chosen, size_t n)
{
    const bool is_drop = strcmp(option, "--drop") == 0;
    for (size_t t = 0; t < texts->n; t++) {
        bool is_found = false;
        for (size_t i = 0; i < n && !is_found; i++) {
            is_found = is_in_part(&chosen[i], texts->items[t], is_drop);
        }
        if (!is_found) { /* the text may be private: it is not repeated */
            (void)cs_fail(CS_EXIT_OK,
                          "%s: no part has the text of number %zu, so it changes nothing; costeer select shows the parts", option,
                          t + 1);
        }
    }
}

void cs_use_tell_unused(const cs_settings *settings, const cs_chosen *chosen, size_t n)
{
    if (!settings->quiet) {
        tell_unused_list("--pin", &settings->pins, chosen, n);
        tell_unused_list("--drop", &settings->drops, chosen, n);
    }
}

/* ---- choosing ---------------------------------------------------------------------------------------------------- */

/* Without being asked for a choice: a model that cannot make one leaves everything in use, and it is said. */
static void tell_all(const cs_settings *settings, const char *why)
{
    if (!settings->quiet) {
        (void)cs_fail(CS_EXIT_OK,
                      "all parts of the contexts are used: %s which parts a request needs; name a model with --selector", why);
    }
}

static int use_all(cs_use *use, const cs_settings *settings, const char *why)
{
    use->why_all = why;
    tell_all(settings, why);
    return CS_EXIT_OK;
}

static int create_selector(cs_use *use, const cs_settings *settings, const cs_pair *pair, bool slm_has_weights,
                           const cs_inputs *inputs)
{
    const bool is_slm = settings->selector == NULL && pair->slm != NULL && slm_has_weights; /* it is loaded already */
    if (!is_slm && use->model == NULL) {
        const int exit_code =
            cs_model_load(settings->selector != NULL ? settings->selector : settings->slm, "costeer-slm.gguf",
                          settings->gpu_layers_slm, cs_progress_kind_of(settings->quiet, settings->verbose), &use->model);
        if (exit_code != CS_EXIT_OK) {
            return exit_code;
        }
    }
    const costeer_selector_params params = {.n_threads = settings->threads_prompt,
                                            .chat_template =
                                                settings->selector == NULL ? cs_templates_of(&inputs->templates, false) : NULL,
                                            .cancel = cs_interrupt_flag()};
    costeer_error err = {.code = COSTEER_OK};
    if (costeer_selector_create(is_slm ? pair->slm : use->model, &params, &use->selector, &err) == COSTEER_OK) {
        return CS_EXIT_OK;
    }
    return err.code == COSTEER_EMODEL && !is_asked_for(settings) ? use_all(use, settings, "the SLM cannot judge")
                                                                 : cs_fail_error(&err);
}

/* The memory of the choice goes before the answer's is taken. In a conversation a selector's own model stays for the next turn.
 */
static void rest(cs_use *use, const cs_settings *settings)
{
    costeer_selector_free(use->selector);
    use->selector = NULL;
    if (!settings->is_chat) {
        costeer_model_free(use->model);
        use->model = NULL;
    }
}

/* ---- a conversation ---------------------------------------------------------------------------------------------- */

/* What is judged: a question of a conversation is not understood without those before it ("shorter, please"). malloc'ed. */
static char *make_request(const cs_inputs *inputs)
{
    cs_buffer text = {.cap = SIZE_MAX / 4};
    const cs_messages *conversation = &inputs->conversation;
    bool ok = true;
    for (size_t i = 0; i < conversation->n_turns && ok; i++) {
        const costeer_message *turn = &conversation->turns[i];
        if (strcmp(turn->role, "user") == 0 && turn->content != inputs->query) {
            ok = cs_buffer_append(&text, turn->content, strlen(turn->content)) && cs_buffer_append(&text, "\n", 1);
        }
    }
    size_t from = text.n_bytes > EARLIER_BYTES_MAX ? text.n_bytes - EARLIER_BYTES_MAX : 0; /* the latest */
    while (from > 0 && from < text.n_bytes && ((unsigned char)text.bytes[from] & 0xC0U) == 0x80U) {
        from++;
    }
    ok = ok && cs_buffer_append(&text, inputs->query, strlen(inputs->query) + 1);
    char *request = ok ? strdup(text.bytes + from) : NULL;
    cs_buffer_dispose(&text);
    return request;
}

static bool is_kept(const cs_use *use, const char *text, size_t n_bytes)
{
    bool found = false;
    for (size_t i = 0; i < use->n_kept && !found; i++) {
        found = strlen(use->kept[i]) == n_bytes && memcmp(use->kept[i], text, n_bytes) == 0;
    }
    return found;
}

/* What an earlier turn used stays in use: the conversation goes on from an answer that says it. */
static int use_kept(const cs_use *use, const char *context, costeer_selection *of)
{
    costeer_error err = {.code = COSTEER_OK};
    for (size_t i = 0; i < of->parts.n; i++) {
        const costeer_part *part = &of->parts.items[i];
        const bool can_be = of->reasons[i] != COSTEER_REASON_DROPPED && costeer_part_is_choosable(part);
        if (can_be && !of->is_used[i] && is_kept(use, context + part->begin, part->end - part->begin)) {
            of->is_used[i] = true;
            of->reasons[i] = COSTEER_REASON_KEPT;
        }
    }
    return costeer_selection_update(of, context, &err) == COSTEER_OK ? CS_EXIT_OK : cs_fail_error(&err);
}

void cs_use_begin_anew(cs_use *use)
{
    for (size_t i = 0; i < use->n_kept; i++) {
        free(use->kept[i]);
    }
    free(use->kept);
    use->kept = NULL;
    use->n_kept = 0;
}

/* Remember the used parts of one context. */
static bool keep_parts(cs_use *use, const cs_chosen *chosen)
{
    const costeer_selection *of = &chosen->selection;
    char **grown = realloc(use->kept, (use->n_kept + of->n_used + 1) * sizeof *grown);
    bool ok = grown != NULL;
    use->kept = ok ? grown : use->kept;
    for (size_t i = 0; i < of->parts.n && ok; i++) {
        const costeer_part *part = &of->parts.items[i];
        if (of->is_used[i] && costeer_part_is_choosable(part)) {
            use->kept[use->n_kept] = strndup(chosen->context + part->begin, part->end - part->begin);
            ok = use->kept[use->n_kept] != NULL;
            use->n_kept += ok ? 1 : 0;
        }
    }
    return ok;
}

int cs_use_keep(cs_use *use)
{
    bool ok = true;
    if (use->n == 0) { /* nothing was chosen, so nothing was left out */
        return CS_EXIT_OK;
    }
    cs_use_begin_anew(use);
    for (size_t i = 0; i < use->n && ok; i++) {
        ok = keep_parts(use, &use->chosen[i]);
    }
    return ok ? CS_EXIT_OK : cs_fail(CS_EXIT_INTERNAL, "out of memory");
}

/* ---- choosing ---------------------------------------------------------------------------------------------------- */

/* A line on a terminal, as long as the model is asked: with a large one that is seconds. */
static void show_waiting(const cs_settings *settings, bool is_over)
{
    if (cs_progress_kind_of(settings->quiet, settings->verbose) == CS_PROGRESS_REWRITTEN) {
        (void)fputs(is_over ? "\r\033[K" : "\rcosteer: choosing what the request needs ...", stderr);
        (void)fflush(stderr);
    }
}

static int choose_one(cs_use *use, const cs_settings *settings, cs_inputs *inputs, const char *query, size_t i)
{
    cs_chosen *of = &use->chosen[use->n];
    const costeer_select_request request = {.query = query,
                                            .context = inputs->contexts[i],
                                            .threshold = (double)NAN,
                                            .pins = settings->pins.items,
                                            .n_pins = settings->pins.n,
                                            .drops = settings->drops.items,
                                            .n_drops = settings->drops.n};
    costeer_error err = {.code = COSTEER_OK};
    show_waiting(settings, false);
    const costeer_err code = costeer_select(use->selector, &request, &of->selection, &err);
    show_waiting(settings, true);
    if (code == COSTEER_EMODEL && !is_asked_for(settings)) {
        return use_all(use, settings, "the SLM cannot judge");
    }
    if (code != COSTEER_OK) {
        return code == COSTEER_ECANCELED ? cs_interrupt_exit_code()
                                         : cs_fail(cs_exit_code(code), "%s: %s", inputs->context_names[i], err.message);
    }
    if (!is_asked_for(settings) && of->selection.scale < COSTEER_SELECT_SCALE_MIN) {
        costeer_selection_dispose(&of->selection);
        use->is_undecided = true;
        tell_all(settings, "the SLM does not tell");
        return CS_EXIT_OK;
    }
    const int exit_code = use_kept(use, inputs->contexts[i], &of->selection);
    if (exit_code != CS_EXIT_OK) {
        costeer_selection_dispose(&of->selection);
        return exit_code;
    }
    of->name = inputs->context_names[i];
    of->context = inputs->contexts[i];
    inputs->contexts[i] = NULL; /* it is the choice's now */
    use->n++;
    return CS_EXIT_OK;
}

/* Put the chosen texts where the contexts were. */
static int replace(cs_use *use, cs_inputs *inputs)
{
    for (size_t i = 0, c = 0; i < inputs->n_contexts && c < use->n; i++) {
        if (inputs->contexts[i] == NULL) {
            inputs->contexts[i] = strdup(use->chosen[c++].selection.text);
            if (inputs->contexts[i] == NULL) {
                return cs_fail(CS_EXIT_INTERNAL, "out of memory");
            }
        }
    }
    return cs_inputs_tidy(inputs);
}

static void forget(cs_use *use)
{
    for (size_t i = 0; i < use->n; i++) {
        free(use->chosen[i].context);
        costeer_selection_dispose(&use->chosen[i].selection);
    }
    memset(use->chosen, 0, sizeof use->chosen);
    use->n = 0;
    use->is_undecided = false;
    use->choice_us = 0;
}

int cs_use_settle(cs_use *use, const cs_settings *settings, const cs_pair *pair, bool slm_has_weights)
{
    if (settings->use != NULL || !settings->is_needed_default) {
        return CS_EXIT_OK;
    }
    if (pair->slm == NULL || !slm_has_weights) {
        use->why_all = "no SLM was loaded";
    } else if (costeer_model_get_info(pair->slm)->role[0] != '\0') {
        use->why_all = "the built-in models do not tell";
        const bool concerns = settings->contexts.n > 0 && !is_asked_for(settings);
        if (concerns && (settings->verbose || cs_stderr_is_terminal())) { /* as the summary */
            tell_all(settings, use->why_all);
        }
    }
    return CS_EXIT_OK;
}

static int choose_all(cs_use *use, const cs_settings *settings, cs_inputs *inputs)
{
    char *query = make_request(inputs);
    int exit_code = query != NULL ? CS_EXIT_OK : cs_fail(CS_EXIT_INTERNAL, "out of memory");
    for (size_t i = 0; i < inputs->n_contexts && exit_code == CS_EXIT_OK && cs_use_is_on(use, settings) && !use->is_undecided;
         i++) {
        exit_code = inputs->weights[i] > 0.0 ? choose_one(use, settings, inputs, query, i) : CS_EXIT_OK;
    }
    free(query);
    return exit_code;
}

int cs_use_choose(cs_use *use, const cs_settings *settings, const cs_pair *pair, bool slm_has_weights, cs_inputs *inputs)
{
    forget(use);
    if (!cs_use_is_on(use, settings) || inputs->n_contexts == 0) {
        return CS_EXIT_OK;
    }
    const int64_t begin_us = cs_clock_us();
    int exit_code = create_selector(use, settings, pair, slm_has_weights, inputs);
    exit_code = exit_code == CS_EXIT_OK && use->selector != NULL ? choose_all(use, settings, inputs) : exit_code;
    rest(use, settings);
    use->choice_us = cs_clock_us() - begin_us;
    if (exit_code == CS_EXIT_OK) {
        cs_use_tell_unused(settings, use->chosen, use->n);
    }
    if (exit_code == CS_EXIT_OK && settings->confirm) {
        exit_code = confirm_all(use);
    }
    return exit_code == CS_EXIT_OK ? replace(use, inputs) : exit_code;
}

void cs_use_dispose(cs_use *use)
{
    forget(use);
    cs_use_begin_anew(use);
    costeer_selector_free(use->selector);
    costeer_model_free(use->model);
    memset(use, 0, sizeof *use);
}
