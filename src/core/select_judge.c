/*
 * The judge: a model is asked about each part whether a good answer to the request uses it. The prompts of all parts begin alike
 * (template, question, request), so that this is computed once and copied; they run as sequences of shared batches, whose numbers
 * do not depend on each other.
 *
 * How readily a model says yes differs from request to request, and how far its answers are apart from model to model. So it is
 * also asked about notes that no request needs, which get 0 on the average, and about notes that say the request itself, which
 * get 1: one threshold serves all requests and models, and a part's score depends on no other part.
 */
#include "core/decoder.h"
#include "core/model_internal.h"
#include "core/select_internal.h"
#include "util/cores.h"
#include "util/error.h"

#include <costeer/prompt.h>
#include <costeer/steer.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Sequences of one batch: a part has some 40 tokens, so that a piece of a prompt is full with a few of them. */
#define SEQUENCES 8

/* Contexts grow in steps, so that one decoder serves many requests. */
#define CTX_STEP 256

/*
 * What a model is shown of a part: the beginning of a very long one says what it is about. Where it does not fit the model, half
 * of it, and so on.
 */
#define SHOWN_BYTES_MAX 2000
#define SHOWN_BYTES_MIN 50

#define N_STRANGE 4
#define N_SURE    2
#define N_ANCHORS (N_STRANGE + N_SURE)

/* Notes that no request needs, then the beginnings of such as say the request itself. */
static const char *const anchors[N_ANCHORS] = {
    "It rained on Tuesday.",
    "My cousin has a blue bicycle.",
    "I am annoyed with my boss.",
    "The shop on the corner closes at six.",
    "I want this: ",
    "",
};

typedef struct words {
    int32_t *ids; /* [n] tokens that spell a word, with or without a space before it, in any case */
    size_t n;
} words;

struct costeer_selector {
    const costeer_model *model;
    costeer_selector_params params;
    cs_decoder *decoder;
    int32_t n_sequences;
    words yes;
    words no;
};

/* ---- creation ---------------------------------------------------------------------------------------------------- */

static bool should_stop(void *user)
{
    const costeer_selector *selector = user;
    return selector->params.cancel != NULL && atomic_load_explicit(selector->params.cancel, memory_order_relaxed);
}

static bool spells(const costeer_model *model, int32_t token, const char *word)
{
    char piece[COSTEER_PIECE_MAX] = "";
    size_t n = costeer_model_token_to_piece(model, token, piece);
    const char *at = piece;
    if (n > 0 && *at == ' ') {
        at++;
        n--;
    }
    return n == strlen(word) && strncasecmp(at, word, n) == 0;
}

/* Tokens that spell a word; of a vocabulary without one, those that spell its first letter. */
static costeer_err find_words(const costeer_model *model, const char *word, words *out, costeer_error *err)
{
    const int32_t n_vocab = costeer_model_get_info(model)->n_vocab;
    const char letter[2] = {word[0], '\0'};
    out->ids = malloc(((size_t)n_vocab + 1) * sizeof out->ids[0]);
    if (out->ids == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "select", "no memory for the selector");
    }
    for (int pass = 0; pass < 2 && out->n == 0; pass++) {
        for (int32_t token = 0; token < n_vocab; token++) {
            if (spells(model, token, pass == 0 ? word : letter)) {
                out->ids[out->n++] = token;
            }
        }
    }
    return out->n > 0
               ? COSTEER_OK
               : cs_error_set(err, COSTEER_EMODEL, "select", "%s: has no token for \"%s\", so it cannot judge; use another",
                              costeer_model_get_info(model)->path, word);
}

static costeer_err check_questions(const costeer_selector_params *params, costeer_error *err)
{
    for (size_t i = 0; i < params->n_questions; i++) {
        const char *question = params->questions[i];
        if (strstr(question, "{request}") == NULL || strstr(question, "{part}") == NULL) {
            return cs_error_set(err, COSTEER_EINVAL, "select", "the question has no %s; it needs {request} and {part}",
                                strstr(question, "{request}") == NULL ? "{request}" : "{part}");
        }
    }
    return COSTEER_OK;
}

costeer_err costeer_selector_create(const costeer_model *model, const costeer_selector_params *params, costeer_selector **out,
                                    costeer_error *err)
{
    *out = NULL;
    costeer_selector *selector = calloc(1, sizeof *selector);
    if (selector == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "select", "no memory for the selector");
    }
    selector->model = model;
    selector->params = params != NULL ? *params : (costeer_selector_params){.n_threads = 0};
    selector->params.n_questions = selector->params.questions == NULL ? 0 : selector->params.n_questions;
    costeer_err code = check_questions(&selector->params, err);
    code = code == COSTEER_OK ? find_words(model, "yes", &selector->yes, err) : code;
    code = code == COSTEER_OK ? find_words(model, "no", &selector->no, err) : code;
    if (code != COSTEER_OK) {
        costeer_selector_free(selector);
        return code;
    }
    *out = selector;
    return COSTEER_OK;
}

void costeer_selector_free(costeer_selector *selector)
{
    if (selector != NULL) {
        cs_decoder_free(selector->decoder);
        free(selector->yes.ids);
        free(selector->no.ids);
        free(selector);
    }
}

int32_t cs_selector_n_judged_max(const costeer_selector *selector, int32_t otherwise)
{
    return selector->params.n_judged_max > 0 ? selector->params.n_judged_max : otherwise;
}

/* ---- prompts ----------------------------------------------------------------------------------------------------- */

/* The prompts of one question, one for each part and then for each anchor. */
typedef struct prompts {
    costeer_tokens *items; /* [n] */
    size_t n;
    size_t n_longest;
} prompts;

static void dispose_prompts(prompts *list)
{
    for (size_t i = 0; i < list->n; i++) {
        costeer_tokens_dispose(&list->items[i]);
    }
    free(list->items);
}

/* Fill in a question; what is filled in is not looked at again. */
static bool fill(const char *form, const char *query, const cs_buffer *part, cs_buffer *out)
{
    static const char request_name[] = "{request}";
    static const char part_name[] = "{part}";
    bool ok = true;
    out->n_bytes = 0;
    while (ok && *form != '\0' && strncmp(form, "{answer}", 8) != 0) {
        if (strncmp(form, request_name, sizeof request_name - 1) == 0) {
            ok = cs_buffer_append(out, query, strlen(query));
            form += sizeof request_name - 1;
        } else if (strncmp(form, part_name, sizeof part_name - 1) == 0) {
            ok = cs_buffer_append(out, part->bytes, part->n_bytes);
            form += sizeof part_name - 1;
        } else {
            ok = cs_buffer_append(out, form++, 1);
        }
    }
    return ok;
}

/* What is asked about, cut to n_max bytes: a part, or after these an anchor. */
static costeer_err show(const cs_select_asked *of, const char *query, size_t i, size_t n_max, cs_buffer *out, costeer_error *err)
{
    if (i < of->n) {
        return cs_select_show_part(of->text, of->parts, of->asked[i], n_max, out, err);
    }
    const char *note = anchors[i - of->n];
    const char *rest = i - of->n < N_STRANGE ? "" : query;
    const costeer_part whole = {.end = strlen(rest)};
    out->n_bytes = 0;
    const bool ok = cs_buffer_append(out, note, strlen(note)) && cs_buffer_append(out, rest, cs_select_cut(rest, &whole, n_max));
    return ok ? COSTEER_OK : cs_error_set(err, COSTEER_ENOMEM, "select", "no memory for a note");
}

/* The prompt that asks about one part or anchor: about its beginning, where all of it does not fit the model. */
static costeer_err build_one(const costeer_selector *selector, const cs_select_question *question, const char *query,
                             const cs_select_asked *of, size_t i, costeer_tokens *out, costeer_error *err)
{
    cs_buffer part = {.cap = SIZE_MAX / 4};
    cs_buffer text = {.cap = SIZE_MAX / 4};
    const char *answer = strstr(question->form, "{answer}");
    const int32_t n_trained = costeer_model_get_info(selector->model)->n_ctx_train;
    costeer_err code = COSTEER_OK;
    bool is_done = false;
    for (size_t n_max = SHOWN_BYTES_MAX; code == COSTEER_OK && !is_done; n_max /= 2) {
        code = show(of, query, i, n_max, &part, err);
        if (code == COSTEER_OK && !fill(question->form, query, &part, &text)) {
            code = cs_error_set(err, COSTEER_ENOMEM, "select", "no memory for a question");
        }
        if (code == COSTEER_OK) {
            const costeer_prompt prompt = {.turns = question->turns,
                                           .n_turns = question->n_turns,
                                           .query = text.bytes,
                                           .chat_template = selector->params.chat_template,
                                           .answer_prefix = answer != NULL ? answer + strlen("{answer}") : NULL};
            costeer_tokens_dispose(out);
            code = costeer_prompt_build(selector->model, &prompt, out, err);
        }
        is_done = n_trained <= 0 || out->n <= (size_t)n_trained || n_max / 2 < SHOWN_BYTES_MIN;
    }
    cs_buffer_dispose(&part);
    cs_buffer_dispose(&text);
    return code;
}

static costeer_err build(const costeer_selector *selector, const cs_select_question *question, const char *query,
                         const cs_select_asked *of, prompts *out, costeer_error *err)
{
    costeer_err code = COSTEER_OK;
    const size_t n = of->n + N_ANCHORS;
    out->items = calloc(n, sizeof *out->items);
    if (out->items == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "select", "no memory for %zu questions", n);
    }
    for (size_t i = 0; i < n && code == COSTEER_OK; i++) {
        out->n++;
        code = build_one(selector, question, query, of, i, &out->items[i], err);
        out->n_longest = out->items[i].n > out->n_longest ? out->items[i].n : out->n_longest;
    }
    return code;
}

/* ---- computing --------------------------------------------------------------------------------------------------- */

/* A decoder with room for the longest prompt: the one that is there, or a new one. */
static costeer_err provide_decoder(costeer_selector *selector, size_t n_longest, size_t n, costeer_error *err)
{
    const int32_t n_sequences = n < SEQUENCES ? (int32_t)n : SEQUENCES;
    if (selector->decoder != NULL && (size_t)cs_decoder_n_ctx(selector->decoder) >= n_longest &&
        selector->n_sequences >= n_sequences) {
        return COSTEER_OK;
    }
    const int32_t n_trained = costeer_model_get_info(selector->model)->n_ctx_train;
    if (n_trained > 0 && n_longest > (size_t)n_trained) {
        return cs_error_set(err, COSTEER_ETOOLONG, "select",
                            "the request and the beginning of a part have %zu tokens, and the selector holds %d; shorten the "
                            "request, or use another selector",
                            n_longest, (int)n_trained);
    }
    const size_t wanted = (n_longest + CTX_STEP - 1) / CTX_STEP * CTX_STEP;
    const cs_decoder_params params = {.component = "selector",
                                      .n_sequences = n_sequences,
                                      .n_ctx = (int32_t)wanted,
                                      .n_threads = selector->params.n_threads > 0 ? selector->params.n_threads : cs_cores_count(),
                                      .stop = should_stop,
                                      .stop_user = selector};
    cs_decoder_free(selector->decoder);
    selector->n_sequences = n_sequences;
    const costeer_err code = cs_decoder_create(selector->model, &params, &selector->decoder, err);
    if (code == COSTEER_OK) {
        cs_decoder_set_progress(selector->decoder, selector->params.progress, selector->params.progress_user);
    }
    return code;
}

/* The log of the mass of some tokens, up to a constant of the row. */
static double mass_of(const float *row, const words *of)
{
    double best = -INFINITY;
    double sum = 0.0;
    for (size_t i = 0; i < of->n; i++) {
        best = fmax(best, (double)row[of->ids[i]]);
    }
    for (size_t i = 0; i < of->n; i++) {
        sum += exp((double)row[of->ids[i]] - best);
    }
    return sum > 0.0 ? best + log(sum) : -(double)INFINITY;
}

/* One batch of prompts; where there are fewer than sequences, the last one fills them. */
static costeer_err compute(costeer_selector *selector, const prompts *list, size_t from, double *out, size_t *n_tokens,
                           costeer_error *err)
{
    costeer_err code = COSTEER_OK;
    size_t n_computed = 0;
    for (int32_t s = 0; s < selector->n_sequences && code == COSTEER_OK; s++) {
        const size_t i = from + (size_t)s < list->n ? from + (size_t)s : list->n - 1;
        code = cs_decoder_set_prompt(selector->decoder, s, list->items[i].ids, list->items[i].n, 0, "a question", err);
    }
    code = code == COSTEER_OK ? cs_decoder_prefill(selector->decoder, &n_computed, err) : code;
    *n_tokens += n_computed;
    for (int32_t s = 0; s < selector->n_sequences && code == COSTEER_OK && from + (size_t)s < list->n; s++) {
        const float *row = cs_decoder_logits(selector->decoder, s);
        const double score = row == NULL ? (double)NAN : mass_of(row, &selector->yes) - mass_of(row, &selector->no);
        if (isnan(score)) {
            return cs_error_set(err, COSTEER_ENUMERIC, "select", "the selector gave NaN for a part");
        }
        out[from + (size_t)s] = score;
    }
    return code;
}

/* The answers to one question about all parts and the anchors, added to each one's sum. */
static costeer_err ask(costeer_selector *selector, const cs_select_question *question, const char *query,
                       const cs_select_asked *of, double *sums, size_t *n_tokens, costeer_error *err)
{
    double *answers = calloc(of->n + N_ANCHORS, sizeof *answers);
    if (answers == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "select", "no memory for %zu scores", of->n);
    }
    prompts list = {.n = 0};
    costeer_err code = build(selector, question, query, of, &list, err);
    code = code == COSTEER_OK ? provide_decoder(selector, list.n_longest, list.n, err) : code;
    for (size_t from = 0; from < list.n && code == COSTEER_OK; from += (size_t)selector->n_sequences) {
        code = compute(selector, &list, from, answers, n_tokens, err);
    }
    for (size_t i = 0; i < of->n + N_ANCHORS; i++) {
        sums[i] += answers[i];
    }
    dispose_prompts(&list);
    free(answers);
    return code;
}

costeer_err cs_selector_judge(costeer_selector *selector, const char *query, const cs_select_asked *of, costeer_selection *out,
                              costeer_error *err)
{
    double *answers = calloc(of->n + N_ANCHORS, sizeof *answers);
    if (answers == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "select", "no memory for %zu scores", of->n);
    }
    size_t n_questions = selector->params.n_questions;
    const cs_select_question *own = NULL;
    if (n_questions == 0) {
        own = cs_select_own_questions(costeer_model_get_info(selector->model)->n_ctx_train, &n_questions);
    }
    costeer_err code = COSTEER_OK;
    for (size_t q = 0; q < n_questions && code == COSTEER_OK; q++) {
        const cs_select_question question = own != NULL ? own[q] : (cs_select_question){.form = selector->params.questions[q]};
        code = ask(selector, &question, query, of, answers, &out->n_tokens, err);
    }
    double strange = 0.0;
    double sure = 0.0;
    for (size_t i = 0; i < of->n + N_ANCHORS; i++) {
        answers[i] /= (double)n_questions;
        strange += i >= of->n && i < of->n + N_STRANGE ? answers[i] / (double)N_STRANGE : 0.0;
        sure += i >= of->n + N_STRANGE ? answers[i] / (double)N_SURE : 0.0;
    }
    out->scale = sure - strange;
    for (size_t i = 0; i < of->n && code == COSTEER_OK; i++) {
        out->answers[of->asked[i]] = answers[i];
        out->scores[of->asked[i]] = (answers[i] - strange) / fmax(out->scale, COSTEER_SELECT_SCALE_MIN);
    }
    free(answers);
    return code;
}
