/*
 * Some sequences on their way through an answer, and the tokens that they have computed ahead of it.
 *
 * Invariant: sequence s holds the n_accepted[s] tokens of prompt and answer, and behind them those of the run that it has
 * computed. Rows of logits stay where llama.cpp has them as long as nothing else is computed; before that, those still of use are
 * copied. Sequences need not be equally far: with public drafts the amateur runs ahead alone, and the experts follow in one
 * batch. What a withdrawn draft left is cut off. Where that cannot be done (recurrent states), the sequence is computed anew,
 * once, and nothing is drafted from then on. Several tokens of the answer at once are computed like a prompt: rows for the last
 * ones only.
 */
#include "core/lookahead.h"

#include "util/error.h"

#include <stdlib.h>
#include <string.h>

struct cs_lookahead {
    cs_decoder *decoder;
    cs_lookahead_params params;
    int32_t n_run_max;     /* the expected token and the drafts */
    bool is_ready;         /* the prompts are computed and no step has failed */
    bool cannot_cut;       /* seen: the model's state cannot be cut */
    int32_t *n_accepted;   /* [n_sequences] */
    const float **current; /* [n_sequences] logits behind the last token of the answer */
    int32_t *run;          /* [n_run_max] */
    int32_t n_run;
    int32_t at;          /* tokens of the run that have become part of the answer */
    int32_t *n_computed; /* [n_sequences] tokens of the run whose rows are known; without a run, see catch_up() */
    int32_t *n_added;    /* [n_sequences] with the batch that is being computed */
    int32_t *index;      /* [n_sequences][n_run_max] their numbers in the batch */
    const float **rows;  /* [n_sequences][n_run_max] in llama.cpp's memory or in kept */
    float *kept;         /* [n_sequences][n_run_max][n_vocab]; NULL without drafts. Pages that are never used cost nothing */
    int32_t *replay;     /* [n_ctx] a sequence's tokens while it is cut */
};

/* ---- creation ---------------------------------------------------------------------------------------------------- */

static bool allocate(cs_lookahead *ahead)
{
    const size_t n_sequences = (size_t)ahead->params.n_sequences;
    const size_t n_run = (size_t)ahead->n_run_max;
    ahead->n_accepted = calloc(n_sequences, sizeof *ahead->n_accepted);
    ahead->current = calloc(n_sequences, sizeof *ahead->current);
    ahead->run = calloc(n_run, sizeof *ahead->run);
    ahead->n_computed = calloc(n_sequences, sizeof *ahead->n_computed);
    ahead->n_added = calloc(n_sequences, sizeof *ahead->n_added);
    ahead->index = calloc(n_sequences * n_run, sizeof *ahead->index);
    ahead->rows = calloc(n_sequences * n_run, sizeof *ahead->rows);
    ahead->replay = malloc((size_t)cs_decoder_n_ctx(ahead->decoder) * sizeof *ahead->replay);
    if (ahead->params.n_drafts > 0) {
        ahead->kept = malloc(n_sequences * n_run * (size_t)ahead->params.n_vocab * sizeof *ahead->kept);
        if (ahead->kept == NULL) {
            return false;
        }
    }
    return ahead->n_accepted != NULL && ahead->current != NULL && ahead->run != NULL && ahead->n_computed != NULL &&
           ahead->n_added != NULL && ahead->index != NULL && ahead->rows != NULL && ahead->replay != NULL;
}

costeer_err cs_lookahead_create(cs_decoder *decoder, const cs_lookahead_params *params, cs_lookahead **out, costeer_error *err)
{
    *out = NULL;
    cs_lookahead *ahead = calloc(1, sizeof *ahead);
    if (ahead != NULL) {
        ahead->decoder = decoder;
        ahead->params = *params;
        ahead->n_run_max = 1 + params->n_drafts;
    }
    if (ahead == NULL || !allocate(ahead)) {
        cs_lookahead_free(ahead);
        return cs_error_set(err, COSTEER_ENOMEM, params->component, "no memory for drafts of %d tokens", params->n_drafts);
    }
    *out = ahead;
    return COSTEER_OK;
}

void cs_lookahead_free(cs_lookahead *ahead)
{
    if (ahead == NULL) {
        return;
    }
    free(ahead->n_accepted);
    free((void *)ahead->current);
    free(ahead->run);
    free(ahead->n_computed);
    free(ahead->n_added);
    free(ahead->index);
    free((void *)ahead->rows);
    free(ahead->kept);
    free(ahead->replay);
    free(ahead);
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

static size_t slot(const cs_lookahead *ahead, int32_t s, int32_t i)
{
    return (size_t)s * (size_t)ahead->n_run_max + (size_t)i;
}

static float *kept_row(const cs_lookahead *ahead, int32_t s, int32_t i)
{
    return ahead->kept + slot(ahead, s, i) * (size_t)ahead->params.n_vocab;
}

/* Make slot i the place of a row, wherever it is now. */
static void keep_row(cs_lookahead *ahead, int32_t s, int32_t i, const float *row)
{
    float *place = kept_row(ahead, s, i);
    if (row != place) {
        memcpy(place, row, (size_t)ahead->params.n_vocab * sizeof *place);
    }
    ahead->rows[slot(ahead, s, i)] = place;
}

/* llama.cpp is about to overwrite its rows: save those that a step may still ask for. */
static void keep_rows(cs_lookahead *ahead)
{
    for (int32_t s = 0; s < ahead->params.n_sequences; s++) {
        for (int32_t i = ahead->at; i < ahead->n_computed[s]; i++) {
            keep_row(ahead, s, i, ahead->rows[slot(ahead, s, i)]);
        }
        ahead->current[s] = NULL;
    }
}

void cs_lookahead_drop(cs_lookahead *ahead)
{
    ahead->n_run = 0;
    ahead->at = 0;
    memset(ahead->n_computed, 0, (size_t)ahead->params.n_sequences * sizeof *ahead->n_computed);
}

/* Forget the part of the run that has become part of the answer. */
static void shift(cs_lookahead *ahead)
{
    const int32_t by = ahead->at;
    for (int32_t s = 0; s < ahead->params.n_sequences && by > 0; s++) {
        for (int32_t i = by; i < ahead->n_computed[s]; i++) {
            keep_row(ahead, s, i - by, ahead->rows[slot(ahead, s, i)]);
        }
        ahead->n_computed[s] = ahead->n_computed[s] > by ? ahead->n_computed[s] - by : 0;
    }
    ahead->n_run -= by;
    memmove(ahead->run, ahead->run + by, (size_t)ahead->n_run * sizeof *ahead->run);
    ahead->at = 0;
}

/* ---- computing --------------------------------------------------------------------------------------------------- */

/* A token that cannot be added must be found before any is: what was added counts as held. */
static costeer_err check_fits(const cs_lookahead *ahead, size_t n, costeer_error *err)
{
    for (int32_t s = 0; s < ahead->params.n_sequences; s++) {
        if (n > (size_t)(cs_decoder_n_ctx(ahead->decoder) - ahead->n_accepted[s])) {
            return cs_error_set(err, COSTEER_ETOOLONG, ahead->params.component,
                                "the context window of %d tokens is full; use --ctx-size", cs_decoder_n_ctx(ahead->decoder));
        }
    }
    return COSTEER_OK;
}

static bool is_behind(const cs_lookahead *ahead, int32_t n_sequences, int32_t n_needed)
{
    for (int32_t s = 0; s < n_sequences; s++) {
        if (ahead->n_computed[s] < n_needed) {
            return true;
        }
    }
    return false;
}

/* Put what is missing of the run into a batch, for those sequences that are not as far as needed. */
static void fill(cs_lookahead *ahead, int32_t n_sequences, int32_t n_needed)
{
    cs_decoder_begin(ahead->decoder);
    for (int32_t s = 0; s < n_sequences; s++) {
        const int32_t from = ahead->n_computed[s];
        ahead->n_added[s] = 0;
        for (int32_t i = from; from < n_needed && i < ahead->n_run && cs_decoder_room(ahead->decoder) > 0; i++) {
            ahead->index[slot(ahead, s, i)] = cs_decoder_add(ahead->decoder, s, ahead->run[i], true);
            ahead->n_added[s]++;
        }
    }
}

static costeer_err take_rows(cs_lookahead *ahead, int32_t n_sequences, costeer_error *err)
{
    for (int32_t s = 0; s < n_sequences; s++) {
        for (; ahead->n_added[s] > 0; ahead->n_added[s]--) {
            const size_t at = slot(ahead, s, ahead->n_computed[s]);
            ahead->rows[at] = cs_decoder_row(ahead->decoder, ahead->index[at]);
            if (ahead->rows[at] == NULL) {
                return cs_error_set(err, COSTEER_EINTERNAL, ahead->params.component, "llama.cpp has no logits for a step");
            }
            ahead->n_computed[s]++;
        }
    }
    return COSTEER_OK;
}

/* Compute the whole run for those of the first n sequences that do not have `n_needed` tokens of it yet. */
static costeer_err compute(cs_lookahead *ahead, int32_t n_sequences, int32_t n_needed, costeer_error *err)
{
    costeer_err code = check_fits(ahead, (size_t)(ahead->n_run - ahead->at), err);
    while (code == COSTEER_OK && is_behind(ahead, n_sequences, n_needed)) {
        keep_rows(ahead);
        fill(ahead, n_sequences, n_needed);
        code = cs_decoder_compute(ahead->decoder, err);
        code = code == COSTEER_OK ? take_rows(ahead, n_sequences, err) : code;
    }
    if (code != COSTEER_OK) {
        cs_lookahead_drop(ahead);
    }
    return code;
}

/* Compute a sequence's tokens from n on once more. */
static costeer_err compute_again(cs_lookahead *ahead, int32_t s, int32_t n, costeer_error *err)
{
    costeer_err code = COSTEER_OK;
    while (n < ahead->n_accepted[s] && code == COSTEER_OK) {
        cs_decoder_begin(ahead->decoder);
        while (n < ahead->n_accepted[s] && cs_decoder_room(ahead->decoder) > 0) {
            (void)cs_decoder_add(ahead->decoder, s, ahead->replay[n++], false);
        }
        code = cs_decoder_compute(ahead->decoder, err);
    }
    return code;
}

/* Cut off what the sequences hold beyond the answer. */
static costeer_err cut(cs_lookahead *ahead, costeer_error *err)
{
    costeer_err code = COSTEER_OK;
    for (int32_t s = 0; s < ahead->params.n_sequences && code == COSTEER_OK; s++) {
        const int32_t n = ahead->n_accepted[s];
        if (cs_decoder_held(ahead->decoder, s) < n) {
            ahead->is_ready = false;
            return cs_error_set(err, COSTEER_ESTATE, ahead->params.component,
                                "what was computed of the answer is lost; begin it again");
        }
        if (cs_decoder_held(ahead->decoder, s) == n) {
            continue;
        }
        memcpy(ahead->replay, cs_decoder_held_tokens(ahead->decoder, s), (size_t)n * sizeof *ahead->replay);
        const int32_t left = cs_decoder_truncate(ahead->decoder, s, n);
        ahead->cannot_cut = ahead->cannot_cut || left < n;
        code = compute_again(ahead, s, left, err);
    }
    return code;
}

/* ---- the answer -------------------------------------------------------------------------------------------------- */

costeer_err cs_lookahead_prefill(cs_lookahead *ahead, size_t *n_computed, costeer_error *err)
{
    ahead->is_ready = false;
    cs_lookahead_drop(ahead);
    const costeer_err code = cs_decoder_prefill(ahead->decoder, n_computed, err);
    for (int32_t s = 0; s < ahead->params.n_sequences; s++) {
        ahead->n_accepted[s] = cs_decoder_held(ahead->decoder, s);
        ahead->current[s] = code == COSTEER_OK ? cs_decoder_logits(ahead->decoder, s) : NULL;
    }
    ahead->is_ready = code == COSTEER_OK;
    return code;
}

/* Make the run's next m tokens, which are computed, part of the answer. */
static void accept(cs_lookahead *ahead, int32_t m)
{
    for (int32_t s = 0; s < ahead->params.n_sequences; s++) {
        ahead->current[s] = ahead->rows[slot(ahead, s, ahead->at + m - 1)];
        ahead->n_accepted[s] += m;
    }
    ahead->at += m;
}

costeer_err cs_lookahead_step(cs_lookahead *ahead, int32_t token, costeer_error *err)
{
    costeer_err code = COSTEER_OK;
    if (!ahead->is_ready || ahead->at == ahead->n_run || ahead->run[ahead->at] != token) {
        code = cs_lookahead_start(ahead, token, err);
    }
    code = code == COSTEER_OK ? compute(ahead, ahead->params.n_sequences, ahead->at + 1, err) : code;
    if (code != COSTEER_OK) {
        ahead->is_ready = ahead->is_ready && code != COSTEER_ECANCELED && code != COSTEER_EINTERNAL;
        return code;
    }
    accept(ahead, 1);
    return COSTEER_OK;
}

/* ---- several tokens of the answer -------------------------------------------------------------------------------- */

static costeer_err check_token(const cs_lookahead *ahead, int32_t token, costeer_error *err)
{
    if (!ahead->is_ready) {
        return cs_error_set(err, COSTEER_ESTATE, ahead->params.component, "a step before the prompt was computed");
    }
    if (token < 0 || token >= ahead->params.n_ids) {
        return cs_error_set(err, COSTEER_EINVAL, ahead->params.component, "token %d is not one of the model's %d", token,
                            ahead->params.n_ids);
    }
    return COSTEER_OK;
}

static costeer_err check_tokens(const cs_lookahead *ahead, const int32_t *tokens, size_t n, costeer_error *err)
{
    costeer_err code = check_fits(ahead, n, err);
    for (size_t i = 0; i < n && code == COSTEER_OK; i++) {
        code = check_token(ahead, tokens[i], err);
    }
    return code;
}

/* How many of the tokens the run begins with. */
static int32_t match(const cs_lookahead *ahead, const int32_t *tokens, int32_t n)
{
    int32_t i = 0;
    while (i < n && ahead->at + i < ahead->n_run && ahead->run[ahead->at + i] == tokens[i]) {
        i++;
    }
    return i;
}

/*
 * Drop the run, but for what the sequences have computed of its next m tokens: that becomes part of the answer. From here until
 * catch_up() is done, n_computed counts what each sequence has of the tokens that are to be caught up with.
 */
static costeer_err keep_matching(cs_lookahead *ahead, int32_t m, costeer_error *err)
{
    const int32_t at = ahead->at;
    ahead->n_run = 0;
    ahead->at = 0;
    for (int32_t s = 0; s < ahead->params.n_sequences; s++) {
        const int32_t n = ahead->n_computed[s] - at;
        ahead->n_computed[s] = n < 0 ? 0 : (n < m ? n : m);
        ahead->n_accepted[s] += ahead->n_computed[s];
        ahead->current[s] = NULL;
    }
    return cut(ahead, err);
}

/* Put what the sequences lack of the tokens into a batch; the last ones only when all of it fits, as their rows must come from
 * one batch. Returns whether it does. */
static bool fill_missing(cs_lookahead *ahead, const int32_t *tokens, int32_t n)
{
    int64_t n_left = 0;
    for (int32_t s = 0; s < ahead->params.n_sequences; s++) {
        n_left += n - ahead->n_computed[s];
    }
    cs_decoder_begin(ahead->decoder);
    const bool is_all = n_left <= cs_decoder_room(ahead->decoder);
    const int32_t n_needed = is_all ? n : n - 1;
    for (int32_t s = 0; s < ahead->params.n_sequences; s++) {
        while (ahead->n_computed[s] < n_needed && cs_decoder_room(ahead->decoder) > 0) {
            const int32_t i = ahead->n_computed[s]++;
            ahead->index[slot(ahead, s, 0)] = cs_decoder_add(ahead->decoder, s, tokens[i], i == n - 1);
        }
    }
    return is_all;
}

/* Compute what the sequences lack of the tokens, at least the last one of each. */
static costeer_err catch_up(cs_lookahead *ahead, const int32_t *tokens, int32_t n, costeer_error *err)
{
    bool is_all = false;
    costeer_err code = COSTEER_OK;
    while (!is_all && code == COSTEER_OK) {
        is_all = fill_missing(ahead, tokens, n);
        code = cs_decoder_compute(ahead->decoder, err);
    }
    for (int32_t s = 0; s < ahead->params.n_sequences && code == COSTEER_OK; s++) {
        ahead->n_accepted[s] = cs_decoder_held(ahead->decoder, s);
        ahead->current[s] = cs_decoder_row(ahead->decoder, ahead->index[slot(ahead, s, 0)]);
        if (ahead->current[s] == NULL) {
            code = cs_error_set(err, COSTEER_EINTERNAL, ahead->params.component, "llama.cpp has no logits for a step");
        }
    }
    cs_lookahead_drop(ahead);
    return code;
}

costeer_err cs_lookahead_advance(cs_lookahead *ahead, const int32_t *tokens, size_t n, costeer_error *err)
{
    if (n == 1) {
        return cs_lookahead_step(ahead, tokens[0], err);
    }
    costeer_err code = check_tokens(ahead, tokens, n, err);
    if (code != COSTEER_OK || n == 0) {
        return code;
    }
    const int32_t m = match(ahead, tokens, (int32_t)n);
    if (m == (int32_t)n) {
        code = compute(ahead, ahead->params.n_sequences, ahead->at + m, err);
        if (code == COSTEER_OK) {
            accept(ahead, m);
        }
    } else {
        code = keep_matching(ahead, m, err);
        code = code == COSTEER_OK ? catch_up(ahead, tokens, (int32_t)n, err) : code;
    }
    ahead->is_ready = code == COSTEER_OK;
    return code;
}

const float *cs_lookahead_logits(const cs_lookahead *ahead, int32_t s)
{
    return ahead->current[s];
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

costeer_err cs_lookahead_start(cs_lookahead *ahead, int32_t token, costeer_error *err)
{
    costeer_err code = check_token(ahead, token, err);
    if (code != COSTEER_OK) {
        return code;
    }
    if (ahead->at < ahead->n_run && ahead->run[ahead->at] == token) {
        shift(ahead);
        return COSTEER_OK;
    }
    cs_lookahead_drop(ahead);
    code = cut(ahead, err);
    if (code == COSTEER_OK) {
        ahead->run[0] = token;
        ahead->n_run = 1;
    }
    return code;
}

const int32_t *cs_lookahead_drafts(const cs_lookahead *ahead, int32_t *n)
{
    *n = ahead->n_run - 1;
    return ahead->run + 1;
}

bool cs_lookahead_has_room(const cs_lookahead *ahead)
{
    for (int32_t s = 0; s < ahead->params.n_sequences; s++) {
        if (ahead->n_accepted[s] + ahead->n_run >= cs_decoder_n_ctx(ahead->decoder)) {
            return false;
        }
    }
    return ahead->n_run < ahead->n_run_max && !ahead->cannot_cut;
}

void cs_lookahead_add(cs_lookahead *ahead, int32_t draft)
{
    ahead->run[ahead->n_run++] = draft;
}

costeer_err cs_lookahead_compute(cs_lookahead *ahead, int32_t n_sequences, costeer_error *err)
{
    return compute(ahead, n_sequences, ahead->n_run, err);
}

const float *cs_lookahead_last(const cs_lookahead *ahead, int32_t s)
{
    return ahead->rows[slot(ahead, s, ahead->n_run - 1)];
}
