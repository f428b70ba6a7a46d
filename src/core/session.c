/*
 * The loop: at each position wait for the base, steer, choose, commit; while the cloud computes the next base, step the SLM.
 *
 * It knows neither models nor threads nor sockets, only a cloud, a delta source and a vocabulary, so it is tested with fakes. The
 * token is committed before anything else is done with it (callbacks, SLM step), because that is what the cloud waits for. The
 * last token is never committed: nobody would read what follows. Everything a token needs is allocated when the session is
 * created.
 */
#include "core/details.h"
#include "core/text_out.h"
#include "util/clock.h"
#include "util/error.h"

#include <costeer/session.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A deeper base has this many times the entries; after two of them all are asked for. */
#define DEEPEN_FACTOR     8
#define DEEPEN_BEFORE_ALL 2

/* More answer tokens than any context window holds are a mistake. */
#define MAX_TOKENS_MAX (1 << 24)

struct costeer_session {
    costeer_cloud *cloud;
    costeer_delta_source *source; /* NULL: the cloud alone */
    costeer_vocab vocab;
    costeer_session_params params;
    costeer_delta deltas[COSTEER_DELTAS_MAX];
    size_t n_deltas;
    costeer_sampler *sampler;
    bool is_argmax;      /* the choice is the argmax of the scores: no array of scores is needed */
    double *scores;      /* [n_vocab] unless is_argmax */
    uint64_t *scratch;   /* [COSTEER_CERTIFY_SCRATCH_WORDS(n_vocab)] for certification */
    cs_details *details; /* NULL unless asked for */
    cs_text_out *text;
    int32_t *tokens; /* [max_tokens] */
    size_t n_tokens;
};

/* ---- creation ---------------------------------------------------------------------------------------------------- */

static costeer_err invalid(costeer_error *err, const char *what)
{
    return cs_error_set(err, COSTEER_EINVAL, "session", "%s", what);
}

static costeer_err check_params(const costeer_session_params *params, size_t n_deltas, costeer_error *err)
{
    if (!isfinite(params->strength)) {
        return invalid(err, "strength must be a finite number");
    }
    for (size_t i = 0; params->context_weights != NULL && i < n_deltas; i++) {
        if (!isfinite(params->context_weights[i]) || !isfinite(params->context_weights[i] * params->strength)) {
            return cs_error_set(err, COSTEER_EINVAL, "session", "the weight of context %zu must be a finite number", i + 1);
        }
    }
    if (params->max_tokens < 1 || params->max_tokens > MAX_TOKENS_MAX) {
        return cs_error_set(err, COSTEER_EINVAL, "session", "max_tokens is %d; give 1 to %d", params->max_tokens, MAX_TOKENS_MAX);
    }
    if (params->base_top_k < 0) {
        return cs_error_set(err, COSTEER_EINVAL, "session", "base_top_k is %d; give a number of tokens, or 0 for all",
                            params->base_top_k);
    }
    if (!(params->unsent_tolerance > 0.0) || !isfinite(params->unsent_tolerance)) {
        return invalid(err, "unsent_tolerance must be a finite number above 0");
    }
    return params->n_stop > 0 && params->stop == NULL ? invalid(err, "stop must not be NULL when n_stop is not 0") : COSTEER_OK;
}

static costeer_err check_parts(const costeer_cloud *cloud, const costeer_delta_source *deltas, const costeer_vocab *vocab,
                               costeer_error *err)
{
    if (cloud == NULL || vocab == NULL || vocab->token_to_piece == NULL || vocab->is_end == NULL) {
        return invalid(err, "cloud and vocabulary must be given");
    }
    if (vocab->n_vocab < 1) {
        return invalid(err, "the vocabulary is empty");
    }
    if (deltas != NULL && (deltas->n_deltas < 1 || deltas->n_deltas > COSTEER_DELTAS_MAX)) {
        return cs_error_set(err, COSTEER_EINVAL, "session", "%zu deltas; give 1 to %d", deltas->n_deltas, COSTEER_DELTAS_MAX);
    }
    return COSTEER_OK;
}

static costeer_err allocate(costeer_session *session, costeer_error *err)
{
    const size_t n_vocab = (size_t)session->vocab.n_vocab;
    const costeer_session_params *params = &session->params;
    costeer_err code = costeer_sampler_create(&params->sampler, session->vocab.n_vocab, &session->sampler, err);
    if (code == COSTEER_OK) {
        code = cs_text_out_create(params->stop, params->n_stop, COSTEER_PIECE_MAX, &session->text, err);
    }
    if (code == COSTEER_OK && params->details) {
        code = cs_details_create(session->vocab.n_vocab, &session->details, err);
    }
    if (code != COSTEER_OK) {
        return code;
    }
    session->is_argmax = costeer_sampler_is_argmax(session->sampler);
    session->tokens = malloc((size_t)params->max_tokens * sizeof *session->tokens);
    session->scratch = malloc(COSTEER_CERTIFY_SCRATCH_WORDS(n_vocab) * sizeof *session->scratch);
    session->scores = session->is_argmax ? NULL : malloc(n_vocab * sizeof *session->scores);
    if (session->tokens == NULL || session->scratch == NULL || (!session->is_argmax && session->scores == NULL)) {
        return cs_error_set(err, COSTEER_ENOMEM, "session", "no memory for %d tokens over a vocabulary of %zu",
                            params->max_tokens, n_vocab);
    }
    return COSTEER_OK;
}

/* Strength 0 is the cloud alone: the SLM then has nothing to do. */
static void set_deltas(costeer_session *session, costeer_delta_source *source)
{
    const costeer_session_params *params = &session->params;
    if (source == NULL || params->strength == 0.0) {
        return;
    }
    session->source = source;
    session->n_deltas = source->n_deltas;
    for (size_t i = 0; i < session->n_deltas; i++) {
        session->deltas[i].weight = params->strength * (params->context_weights == NULL ? 1.0 : params->context_weights[i]);
    }
}

costeer_err costeer_session_create(costeer_cloud *cloud, costeer_delta_source *deltas, const costeer_vocab *vocab,
                                   const costeer_session_params *params, costeer_session **out, costeer_error *err)
{
    if (out == NULL || params == NULL) {
        return invalid(err, "params and out must not be NULL");
    }
    *out = NULL;
    costeer_err code = check_parts(cloud, deltas, vocab, err);
    code = code == COSTEER_OK ? check_params(params, deltas == NULL ? 0 : deltas->n_deltas, err) : code;
    if (code != COSTEER_OK) {
        return code;
    }
    costeer_session *session = calloc(1, sizeof *session);
    if (session == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "session", "no memory for its state");
    }
    session->cloud = cloud;
    session->vocab = *vocab;
    session->params = *params;
    set_deltas(session, deltas);
    code = allocate(session, err);
    if (code != COSTEER_OK) {
        costeer_session_free(session);
        return code;
    }
    session->params.stop = NULL; /* copied; the caller's arrays need not outlive this call */
    session->params.context_weights = NULL;
    *out = session;
    return COSTEER_OK;
}

void costeer_session_free(costeer_session *session)
{
    if (session == NULL) {
        return;
    }
    costeer_sampler_free(session->sampler);
    cs_text_out_free(session->text);
    cs_details_free(session->details);
    free(session->tokens);
    free(session->scratch);
    free(session->scores);
    free(session);
}

const int32_t *costeer_session_tokens(const costeer_session *session, size_t *n)
{
    *n = session->n_tokens;
    return session->tokens;
}

/* ---- choosing ---------------------------------------------------------------------------------------------------- */

/* The choice over the entries at hand. */
static costeer_err choose(costeer_session *session, const costeer_base *base, int32_t position, costeer_choice *out,
                          costeer_error *err)
{
    const int32_t n_vocab = session->vocab.n_vocab;
    if (session->is_argmax) {
        return costeer_fuse_choose(base, session->deltas, session->n_deltas, n_vocab, out, err);
    }
    const int32_t n = base->ids == NULL ? n_vocab : base->n;
    const costeer_err code = costeer_fuse_scores(base, session->deltas, session->n_deltas, n_vocab, session->scores, out, err);
    if (code != COSTEER_OK) {
        return code;
    }
    costeer_sampler_penalize(session->sampler, base->ids, session->scores, n);
    return costeer_sampler_choose(session->sampler, base->ids, session->scores, n, position, out, err);
}

/* Whether the choice is the one that the full vocabulary would have given. */
static costeer_err certify(costeer_session *session, const costeer_base *base, const costeer_choice *choice, costeer_position *at,
                           costeer_error *err)
{
    const double temperature = session->params.sampler.temperature;
    costeer_certificate certificate;
    at->certified = true;
    at->unsent_mass = 0.0;
    if (base->ids == NULL || (session->n_deltas == 0 && session->is_argmax)) {
        return COSTEER_OK; /* dense, or the cloud's own first choice: the rest cannot be better */
    }
    const int32_t n_vocab = session->vocab.n_vocab;
    costeer_err code;
    if (temperature > 0.0) {
        code = costeer_certify_sampled(base, session->deltas, session->n_deltas, n_vocab, session->scores, temperature,
                                       session->params.unsent_tolerance, session->scratch, &certificate, err);
    } else {
        code = costeer_certify_greedy(base, session->deltas, session->n_deltas, n_vocab, choice->score, session->scratch,
                                      &certificate, err);
    }
    if (code == COSTEER_OK) {
        at->certified = certificate.certified;
        at->unsent_mass = temperature > 0.0 ? certificate.unsent_mass : 0.0;
    }
    return code;
}

/* How many entries to ask for next: 8 times as many, twice; then all (0). */
static int32_t deeper(const costeer_session *session, int32_t top_k, int32_t n_deepened)
{
    const int32_t n_vocab = session->vocab.n_vocab;
    return n_deepened >= DEEPEN_BEFORE_ALL || top_k >= n_vocab / DEEPEN_FACTOR ? 0 : top_k * DEEPEN_FACTOR;
}

/* The choice at a position, with as deep a base as it takes to be sure of it. */
static costeer_err choose_surely(costeer_session *session, costeer_distribution *from, costeer_position *at, costeer_choice *out,
                                 costeer_error *err)
{
    int32_t top_k = session->params.base_top_k;
    for (;;) {
        const int64_t start = cs_clock_us();
        costeer_err code = choose(session, &from->base, at->position, out, err);
        code = code == COSTEER_OK ? certify(session, &from->base, out, at, err) : code;
        at->fuse_us += cs_clock_us() - start;
        const bool has_all = at->n_deepened > 0 && top_k == 0;
        if (code != COSTEER_OK || at->certified || has_all) {
            return code;
        }
        if (session->params.constant_k) {
            at->uncertified_kept = true;
            return COSTEER_OK;
        }
        top_k = deeper(session, top_k, at->n_deepened);
        const int64_t asked = cs_clock_us();
        code = costeer_cloud_deepen(session->cloud, at->position, top_k, from, err);
        at->cloud_wait_us += cs_clock_us() - asked;
        at->n_deepened++;
        if (code != COSTEER_OK) {
            return code;
        }
    }
}

static bool is_cancelled(const costeer_session *session)
{
    return session->params.cancel != NULL && atomic_load_explicit(session->params.cancel, memory_order_relaxed);
}

/* Wait for the base of a position and choose its token. */
static costeer_err decide(costeer_session *session, costeer_position *at, costeer_error *err)
{
    costeer_distribution base;
    const int64_t start = cs_clock_us();
    costeer_err code = costeer_cloud_next(session->cloud, at->position, &base, err);
    at->cloud_wait_us = cs_clock_us() - start;
    if (code != COSTEER_OK) {
        return code;
    }
    if (session->source != NULL) {
        session->source->ops->read(session->source, session->deltas, session->n_deltas);
    }
    costeer_choice choice;
    code = choose_surely(session, &base, at, &choice, err);
    if (code != COSTEER_OK) {
        return code;
    }
    at->token = choice.token;
    at->base_token = base.own_token;
    at->steered = choice.token != base.own_token;
    at->n_entries = base.base.ids == NULL ? session->vocab.n_vocab : base.base.n;
    at->is_end = session->vocab.is_end(session->vocab.model, choice.token);
    return session->details == NULL ? COSTEER_OK
                                    : cs_details_fill(session->details, &base.base, session->deltas, session->n_deltas,
                                                      session->vocab.n_vocab, at, err);
}

/* ---- after the choice -------------------------------------------------------------------------------------------- */

/* Remember the token and add its text. Tells whether, and how, it ends the answer. */
static costeer_finish accept(costeer_session *session, const costeer_position *at)
{
    session->tokens[session->n_tokens++] = at->token;
    costeer_sampler_accept(session->sampler, at->token);
    if (at->is_end) {
        return COSTEER_FINISH_END;
    }
    char piece[COSTEER_PIECE_MAX];
    const size_t n = session->vocab.token_to_piece(session->vocab.model, at->token, piece);
    if (cs_text_out_push(session->text, piece, n)) {
        return COSTEER_FINISH_STOP;
    }
    return at->position + 1 == session->params.max_tokens ? COSTEER_FINISH_LENGTH : COSTEER_FINISH_NONE;
}

static void count(costeer_report *report, const costeer_position *at)
{
    report->n_tokens++;
    report->n_steered += at->steered;
    report->n_certified += at->certified;
    report->n_deepened += at->n_deepened > 0;
    report->n_uncertified += at->uncertified_kept;
    report->unsent_mass_max = at->unsent_mass > report->unsent_mass_max ? at->unsent_mass : report->unsent_mass_max;
    report->fuse_us += at->fuse_us;
    if (at->position > 0) { /* position 0's are the prefill */
        report->slm_us += at->slm_us;
        report->cloud_wait_us += at->cloud_wait_us;
    }
}

static bool hand_out_text(costeer_session *session)
{
    size_t n;
    const char *text = cs_text_out_take(session->text, &n);
    return n == 0 || session->params.on_text == NULL || session->params.on_text(text, n, session->params.user);
}

static costeer_err hand_out(costeer_session *session, const costeer_position *at, costeer_error *err)
{
    const bool goes_on =
        hand_out_text(session) && (session->params.on_position == NULL || session->params.on_position(at, session->params.user));
    return goes_on
               ? COSTEER_OK
               : cs_error_set(err, COSTEER_EABORTED, "session", "stopped by the caller's callback at position %d", at->position);
}

/* ---- the loop ---------------------------------------------------------------------------------------------------- */

/* Advance the SLM, or read its prompts at the start, while the cloud computes. */
static costeer_err advance(costeer_session *session, const int32_t *token, int64_t *slm_us, costeer_error *err)
{
    costeer_delta_source *source = session->source;
    *slm_us = 0;
    if (source == NULL) {
        return COSTEER_OK;
    }
    const int64_t start = cs_clock_us();
    const costeer_err code = token == NULL ? source->ops->begin(source, err) : source->ops->step(source, *token, err);
    *slm_us = cs_clock_us() - start;
    return code;
}

static costeer_err run_positions(costeer_session *session, int64_t start, costeer_report *report, costeer_error *err)
{
    int64_t slm_us;
    costeer_err code = advance(session, NULL, &slm_us, err);
    for (int32_t position = 0; code == COSTEER_OK; position++) {
        costeer_position at = {.position = position, .slm_us = slm_us};
        code = is_cancelled(session) ? cs_error_set(err, COSTEER_ECANCELED, "session", "cancelled at position %d", position)
                                     : decide(session, &at, err);
        if (code != COSTEER_OK) {
            return code;
        }
        report->prefill_us = position == 0 ? cs_clock_us() - start : report->prefill_us;
        const costeer_finish finish = accept(session, &at);
        count(report, &at);
        if (finish == COSTEER_FINISH_NONE) {
            code = costeer_cloud_commit(session->cloud, position, at.token, err);
        }
        /* a failed commit does not take back the token: it is told, and the error after it */
        const costeer_err told = hand_out(session, &at, code == COSTEER_OK ? err : NULL);
        code = code == COSTEER_OK ? told : code;
        if (code == COSTEER_OK && finish != COSTEER_FINISH_NONE) {
            report->finish = finish;
            return COSTEER_OK;
        }
        code = code == COSTEER_OK ? advance(session, &at.token, &slm_us, err) : code;
    }
    return code;
}

costeer_err costeer_session_run(costeer_session *session, const int32_t *prompt, size_t n_prompt, costeer_report *report,
                                costeer_error *err)
{
    costeer_report ours = {0};
    report = report == NULL ? &ours : report;
    *report = (costeer_report){.finish = COSTEER_FINISH_NONE};
    const int64_t start = cs_clock_us();
    session->n_tokens = 0;
    costeer_sampler_reset(session->sampler);
    cs_text_out_reset(session->text);
    const costeer_cloud_request request = {.prompt = prompt,
                                           .n_prompt = n_prompt,
                                           .top_k = session->params.base_top_k,
                                           .max_tokens = session->params.max_tokens,
                                           .cancel = session->params.cancel};
    costeer_err code = costeer_cloud_open(session->cloud, &request, err);
    if (code == COSTEER_OK) {
        code = run_positions(session, start, report, err);
        costeer_cloud_close(session->cloud);
    }
    if (code != COSTEER_EABORTED) { /* what was held back is part of the answer, however it ended */
        cs_text_out_finish(session->text);
        if (!hand_out_text(session) && code == COSTEER_OK) {
            code = cs_error_set(err, COSTEER_EABORTED, "session", "stopped by the caller's callback at the end");
        }
    }
    report->total_us = cs_clock_us() - start;
    return code;
}
