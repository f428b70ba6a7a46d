/*
 * Rows and context windows: the room that is left for the answer, and how much of the context must go.
 *
 * One number of answer tokens holds for all items of a row, because answers of different length limits could not be compared.
 * What must go is searched by halving over the characters of the material, so that a row of any length costs some twenty
 * tokenisations; then the cut moves on to the next line, or word, that begins soon.
 */
#include "eval/fit.h"

#include "util/error.h"

#include <stdlib.h>
#include <string.h>

/* As core/decoder.c has it for 0. */
#define N_CTX_DEFAULT_MAX 8192

/* An SLM of another vocabulary follows the text: it may take as many tokens a word as for the query, and as much again. */
#define FOREIGN_MARGIN 2

/* A cut moves on by at most this many bytes to stand before a line, else before a word. */
#define LINE_WITHIN 256
#define WORD_WITHIN 32

/* ---- what is needed ---------------------------------------------------------------------------------------------- */

int32_t cs_fit_window(const costeer_model *model, int32_t n_ctx)
{
    const int32_t n_train = costeer_model_get_info(model)->n_ctx_train;
    const int32_t n_default = n_train < N_CTX_DEFAULT_MAX ? n_train : N_CTX_DEFAULT_MAX;
    return n_ctx > 0 ? n_ctx : n_default;
}

static bool needs(const costeer_eval_params *params, costeer_source source)
{
    bool found = false;
    for (size_t i = 0; i < params->n_items; i++) {
        const costeer_method *m = params->items[i].method;
        found = found || m->base == source || m->expert == source || m->amateur == source;
    }
    return found;
}

static void add_prompt(cs_fit *fit, const costeer_eval_params *params, costeer_source source, cs_fit_prompt prompt)
{
    const bool is_llm = source == COSTEER_SOURCE_LLM || source == COSTEER_SOURCE_LLM_WITH;
    const char *own = is_llm ? params->llm_template : params->slm_template;
    prompt.chat_template = own != NULL ? own : params->form.chat_template;
    if (prompt.model != NULL && needs(params, source)) {
        fit->prompts[fit->n_prompts++] = prompt;
    }
}

void cs_fit_init(cs_fit *fit, const costeer_eval_params *params)
{
    const costeer_ensemble_params *m = &params->models;
    *fit = (cs_fit){.form = params->form,
                    .max_tokens = params->session.max_tokens,
                    .n_reasoning = params->form.thinking ? params->session.reasoning_budget + COSTEER_REASONING_MARGIN : 0,
                    .truncates = params->truncates};
    fit->is_remote = m->connect != NULL;
    int32_t llm = m->llm == NULL ? 0 : cs_fit_window(m->llm, m->n_ctx);
    if (fit->is_remote) {
        llm = params->n_ctx_remote > 0 ? params->n_ctx_remote : INT32_MAX;
    }
    const int32_t slm = m->slm == NULL ? 0 : cs_fit_window(m->slm, m->n_ctx);
    const int32_t tuned = m->tuned == NULL ? 0 : cs_fit_window(m->tuned, m->n_ctx);
    const bool is_foreign = m->vocab_map != NULL && costeer_vocab_map_mode(m->vocab_map) != COSTEER_VOCAB_SAME;
    fit->spelling = m->llm;
    add_prompt(fit, params, COSTEER_SOURCE_LLM, (cs_fit_prompt){m->llm, false, llm, false, "the LLM's prompt", NULL});
    add_prompt(fit, params, COSTEER_SOURCE_LLM_WITH,
               (cs_fit_prompt){m->llm, true, llm, false, "the LLM's prompt with the context", NULL});
    add_prompt(fit, params, COSTEER_SOURCE_SLM, (cs_fit_prompt){m->slm, false, slm, is_foreign, "the SLM's prompt", NULL});
    add_prompt(fit, params, COSTEER_SOURCE_SLM_WITH,
               (cs_fit_prompt){m->slm, true, slm, is_foreign, "the SLM's prompt with the context", NULL});
    add_prompt(fit, params, COSTEER_SOURCE_SLM_TUNED,
               (cs_fit_prompt){m->tuned, false, tuned, is_foreign, "the tuned SLM's prompt", NULL});
}

costeer_prompt cs_fit_make_prompt(const cs_fit *fit, const costeer_eval_row *row, const char *message, bool is_with)
{
    costeer_prompt prompt = fit->form;
    prompt.query = is_with ? message : row->query;
    return prompt;
}

/* ---- measuring --------------------------------------------------------------------------------------------------- */

/* How a row fits with its present cut. */
typedef struct measure {
    int32_t room;                /* tokens left for the answer, over all prompts; may be negative */
    size_t n_tokens;             /* of the prompt that leaves so little */
    const cs_fit_prompt *prompt; /* which one */
} measure;

/* Tokens of an answer that a prompt of n tokens leaves room for. */
static costeer_err find_room(const cs_fit *fit, const costeer_eval_row *row, const cs_fit_prompt *p, size_t n, int64_t *room,
                             costeer_error *err)
{
    *room = (int64_t)p->n_ctx - (int64_t)n;
    if (!p->is_foreign || *room <= 0) {
        return COSTEER_OK;
    }
    costeer_tokens own = {0};
    costeer_tokens theirs = {0};
    const size_t n_bytes = strlen(row->query);
    costeer_err code = costeer_model_tokenize(fit->spelling, row->query, n_bytes, false, false, &own, err);
    code = code == COSTEER_OK ? costeer_model_tokenize(p->model, row->query, n_bytes, false, false, &theirs, err) : code;
    if (code == COSTEER_OK && own.n < theirs.n * FOREIGN_MARGIN) {
        *room = *room * (int64_t)own.n / ((int64_t)theirs.n * FOREIGN_MARGIN);
    }
    costeer_tokens_dispose(&own);
    costeer_tokens_dispose(&theirs);
    return code;
}

static costeer_err measure_row(const cs_fit *fit, const costeer_eval_row *row, measure *out, costeer_error *err)
{
    *out = (measure){.room = INT32_MAX};
    char *message = costeer_eval_row_message(row);
    costeer_err code = message != NULL ? COSTEER_OK : cs_error_set(err, COSTEER_ENOMEM, "eval", "no memory for a prompt");
    costeer_tokens tokens = {0};
    for (size_t i = 0; code == COSTEER_OK && i < fit->n_prompts; i++) {
        const cs_fit_prompt *p = &fit->prompts[i];
        costeer_prompt prompt = cs_fit_make_prompt(fit, row, message, p->is_with);
        prompt.chat_template = p->chat_template;
        int64_t room = INT32_MAX;
        code = costeer_prompt_build(p->model, &prompt, &tokens, err);
        code = code == COSTEER_OK ? find_room(fit, row, p, tokens.n, &room, err) : code;
        room -= fit->n_reasoning;
        if (code == COSTEER_OK && room < out->room) {
            *out = (measure){.room = (int32_t)(room < INT32_MIN ? INT32_MIN : room), .n_tokens = tokens.n, .prompt = p};
        }
    }
    costeer_tokens_dispose(&tokens);
    free(message);
    return code;
}

/* Tokens that must be left for the answer at least. A cloud is told how long an answer may become: there it must not depend on
 * the context's length, so it is never shortened. */
static int32_t room_wanted(const cs_fit *fit)
{
    if (fit->is_remote) {
        return fit->max_tokens;
    }
    return fit->max_tokens < COSTEER_EVAL_ANSWER_MIN ? fit->max_tokens : COSTEER_EVAL_ANSWER_MIN;
}

static costeer_err too_long(const cs_fit *fit, const measure *m, bool was_cut, costeer_error *err)
{
    return cs_error_set(err, COSTEER_ETOOLONG, "eval",
                        "%s has %zu tokens%s, which leaves less than %d of the %d for an answer; %s", m->prompt->what,
                        m->n_tokens, was_cut ? " without any context" : "", room_wanted(fit), m->prompt->n_ctx,
                        was_cut || fit->truncates ? "use --ctx-size or a smaller --max-tokens"
                                                  : "use --ctx-size, --truncate-context or a smaller --max-tokens");
}

/* ---- cutting ----------------------------------------------------------------------------------------------------- */

static bool is_inside_character(char c)
{
    return ((unsigned char)c & 0xC0U) == 0x80U;
}

/* The next place from `at` on where a character begins. */
static size_t next_character(const char *text, size_t at)
{
    while (is_inside_character(text[at])) {
        at++;
    }
    return at;
}

/* A tidy place soon behind `at`: where a line begins, or a word, or at least a character. */
static size_t tidy(const char *text, size_t n, size_t at)
{
    at = next_character(text, at);
    for (size_t i = at; at > 0 && i < n && i < at + LINE_WITHIN; i++) {
        if (text[i - 1] == '\n') {
            return i;
        }
    }
    for (size_t i = at; at > 0 && i < n && i < at + WORD_WITHIN; i++) {
        if (text[i - 1] == ' ') {
            return i;
        }
    }
    return at;
}

/* The fewest bytes to cut for `wanted` tokens of room; the whole material when even that does not do. */
static costeer_err find_cut(const cs_fit *fit, costeer_eval_row *row, int32_t wanted, measure *m, costeer_error *err)
{
    const size_t n = strlen(row->material);
    size_t low = 0; /* does not fit */
    size_t high = n;
    while (high - low > 1) {
        const size_t middle = next_character(row->material, low + (high - low) / 2);
        if (middle >= high) {
            break;
        }
        row->n_cut = middle;
        const costeer_err code = measure_row(fit, row, m, err);
        if (code != COSTEER_OK) {
            return code;
        }
        *(m->room >= wanted ? &high : &low) = middle;
    }
    row->n_cut = high < n ? tidy(row->material, n, high) : n;
    costeer_err code = measure_row(fit, row, m, err);
    /* Cutting more nearly always makes fewer tokens; where a word in two pieces makes more, cut on. */
    while (code == COSTEER_OK && m->room < wanted && row->n_cut < n) {
        row->n_cut = next_character(row->material, row->n_cut + 1);
        code = measure_row(fit, row, m, err);
    }
    return code;
}

costeer_err cs_fit_row(const cs_fit *fit, costeer_eval_row *row, costeer_error *err)
{
    measure m;
    row->n_cut = 0;
    row->max_tokens = 0;
    costeer_err code = measure_row(fit, row, &m, err);
    const int32_t wanted = room_wanted(fit);
    if (code == COSTEER_OK && m.room < wanted && !fit->truncates) {
        return too_long(fit, &m, false, err);
    }
    /* Where something must go anyway, make room for the whole answer if that leaves some context. */
    if (code == COSTEER_OK && m.room < wanted) {
        code = find_cut(fit, row, fit->max_tokens, &m, err);
        if (code == COSTEER_OK && (m.room < fit->max_tokens || row->material[row->n_cut] == '\0')) {
            code = find_cut(fit, row, wanted, &m, err);
        }
    }
    if (code == COSTEER_OK && m.room < wanted) {
        return too_long(fit, &m, true, err);
    }
    row->max_tokens = code == COSTEER_OK ? (m.room < fit->max_tokens ? m.room : fit->max_tokens) : 0;
    return code;
}
