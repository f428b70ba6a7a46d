/*
 * The loop: at each position wait for the base, steer, choose, commit; while the cloud computes the next base, step the SLM.
 *
 * It knows neither models nor threads nor sockets, only a cloud, a delta source and a vocabulary, so it is tested with fakes. The
 * token is committed before anything else is done with it (callbacks, SLM step), because that is what the cloud waits for; the
 * last one never, nobody would read what follows. Drafts go with the commit, so the SLM makes them first. A gate may leave the
 * choice to the cloud: while it is closed the SLM lags (follower.h). When the cloud fails, the SLM may finish alone. Everything a
 * token needs is allocated when the session is created.
 */
#include "core/choose.h"
#include "core/details.h"
#include "core/follower.h"
#include "core/text_out.h"
#include "core/thinking.h"
#include "util/clock.h"
#include "util/error.h"

#include <costeer/session.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* More answer tokens than any context window holds are a mistake. */
#define MAX_TOKENS_MAX (1 << 24)

/* Bytes that a token adds to the answer: its own, and what was held for the mark of a reasoning. */
#define TEXT_MAX ((size_t)2 * COSTEER_PIECE_MAX + 128)

/*
 * What the SLM without context is less sure of than this is not worth a distribution. Measured on the built-in pair, 12 prompts,
 * 4 drafts at most: without a limit 1.55 drafts a token are sent and 0.58 accepted, with this one 0.68 and 0.56, and a third less
 * comes down.
 */
#define PUBLIC_DRAFT_CONFIDENCE 0.5

struct costeer_session {
    costeer_cloud *cloud;
    cs_follower slm; /* without a source: the cloud alone */
    costeer_vocab vocab;
    costeer_session_params params;
    costeer_gate gate;
    cs_chooser *chooser;
    cs_details *details; /* NULL unless asked for */
    cs_text_out *text;
    cs_thinking *thinking; /* NULL: the answer begins at once */
    int32_t *tokens;       /* [n_positions_max] */
    size_t n_tokens;
    int32_t n_answer; /* of them, the answer's */
    int32_t n_positions_max;
    int32_t drafts[COSTEER_WIRE_DRAFTS_MAX];
    bool is_open;  /* the cloud has the answer */
    bool is_local; /* the cloud has failed, and the SLM goes on alone */
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
    if (params->reasoning_budget < 0 || params->reasoning_budget > MAX_TOKENS_MAX) {
        return cs_error_set(err, COSTEER_EINVAL, "session", "reasoning_budget is %d; give 1 to %d", params->reasoning_budget,
                            MAX_TOKENS_MAX);
    }
    if (params->base_top_k < 0) {
        return cs_error_set(err, COSTEER_EINVAL, "session", "base_top_k is %d; give a number of tokens, or 0 for all",
                            params->base_top_k);
    }
    if (!(params->unsent_tolerance > 0.0) || !isfinite(params->unsent_tolerance)) {
        return invalid(err, "unsent_tolerance must be a finite number above 0");
    }
    if (!(params->draft_confidence > 0.0) || params->draft_confidence > 1.0) {
        return cs_error_set(err, COSTEER_EINVAL, "session", "draft_confidence is %g; give a probability above 0 and up to 1",
                            params->draft_confidence);
    }
    if (params->on_cloud_failure != COSTEER_CLOUD_FAILURE_STOP && params->on_cloud_failure != COSTEER_CLOUD_FAILURE_LOCAL) {
        return cs_error_set(err, COSTEER_EINVAL, "session", "on_cloud_failure is %d; give 0 (stop) or 1 (local)",
                            (int)params->on_cloud_failure);
    }
    if (params->n_stop > 0 && params->stop == NULL) {
        return invalid(err, "stop must not be NULL when n_stop is not 0");
    }
    costeer_gate unused;
    const costeer_err code = costeer_delta_limits_check(&params->limits, err);
    return code == COSTEER_OK ? costeer_gate_init(&params->gate, &unused, err) : code;
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
    const costeer_session_params *params = &session->params;
    costeer_err code = cs_chooser_create(params, session->vocab.n_vocab, &session->chooser, err);
    if (code == COSTEER_OK) {
        code = cs_text_out_create(params->stop, params->n_stop, TEXT_MAX, &session->text, err);
    }
    if (code == COSTEER_OK && params->details) {
        code = cs_details_create(session->vocab.n_vocab, &session->details, err);
    }
    if (code != COSTEER_OK) {
        return code;
    }
    code = cs_thinking_create(params, &session->vocab, &session->thinking, err);
    if (code != COSTEER_OK) {
        return code;
    }
    session->n_positions_max = costeer_session_positions_max(params);
    session->tokens = malloc((size_t)session->n_positions_max * sizeof *session->tokens);
    if (session->tokens == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "session", "no memory for %d tokens", session->n_positions_max);
    }
    return COSTEER_OK;
}

int32_t costeer_session_positions_max(const costeer_session_params *params)
{
    const bool reasons = params->reasoning != NULL && params->reasoning->begin != NULL;
    return params->max_tokens + (reasons ? params->reasoning_budget + COSTEER_REASONING_MARGIN : 0);
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
    cs_follower_init(&session->slm, deltas, &session->params);
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
    cs_chooser_free(session->chooser);
    cs_text_out_free(session->text);
    cs_thinking_free(session->thinking);
    cs_details_free(session->details);
    free(session->tokens);
    free(session);
}

const int32_t *costeer_session_tokens(const costeer_session *session, size_t *n)
{
    *n = session->n_tokens;
    return session->tokens;
}

/* ---- choosing ---------------------------------------------------------------------------------------------------- */

static bool is_cancelled(const costeer_session *session)
{
    return session->params.cancel != NULL && atomic_load_explicit(session->params.cancel, memory_order_relaxed);
}

/* Whether the SLM is left behind on purpose, to catch up in one step when it is needed. */
static bool lags(const costeer_session *session)
{
    return !session->is_local && (session->gate.params.kind == COSTEER_GATE_TOKEN || session->gate.is_off ||
                                  cs_thinking_is_under_way(session->thinking));
}

/* Give the SLM what it has not seen of the answer's first n tokens. */
static costeer_err follow(costeer_session *session, size_t n, int64_t *slm_us, costeer_error *err)
{
    return cs_follower_follow(&session->slm, session->tokens, n, slm_us, err);
}

/*
 * Whether noise of the SLM could move the choice by way of the limits: they cut at a value, and the divergence weighs all of a
 * delta. So the choice is made again with as much less and as much more steering as noise allows.
 */
static bool limits_are_near(cs_chooser *chooser, const cs_follower *slm, const costeer_base *base, const costeer_position *at)
{
    costeer_delta deltas[COSTEER_DELTAS_MAX];
    for (int side = -1; side <= 1; side += 2) {
        costeer_choice again;
        bool is_certain;
        cs_follower_with_noise(slm, side * COSTEER_NEAR_TIE_DELTA, deltas);
        const costeer_err code = cs_chooser_choose_again(chooser, base, deltas, slm->n_deltas, at->position, &again, &is_certain);
        if (code != COSTEER_OK || again.token != at->token || (at->certified && !is_certain) ||
            again.margin < costeer_near_tie_bound(deltas, slm->n_deltas)) {
            return true;
        }
    }
    return false;
}

/* The rest of a position whose choice is made. */
static costeer_err complete(costeer_session *session, const costeer_base *base, int32_t own_token, const costeer_choice *choice,
                            costeer_position *at, costeer_error *err)
{
    const size_t n_deltas = at->gated ? 0 : session->slm.n_deltas;
    at->token = choice->token;
    at->margin = choice->margin;
    at->near_tie = at->near_tie || at->margin < costeer_near_tie_bound(session->slm.deltas, n_deltas);
    at->base_token = own_token;
    at->steered = at->token != own_token;
    at->n_entries = base->ids == NULL ? session->vocab.n_vocab : base->n;
    at->is_end = session->vocab.is_end(session->vocab.model, at->token);
    if (n_deltas > 0 && !at->near_tie && cs_follower_is_limited(&session->slm)) {
        const int64_t start = cs_clock_us();
        at->near_tie = limits_are_near(session->chooser, &session->slm, base, at);
        at->fuse_us += cs_clock_us() - start;
    }
    if (session->details == NULL) {
        return COSTEER_OK;
    }
    at->n_weights = (int32_t)n_deltas;
    for (size_t i = 0; i < n_deltas; i++) {
        at->weights[i] = session->slm.deltas[i].weight;
    }
    at->delta = n_deltas == 0 ? 0.0 : cs_follower_delta(&session->slm, session->vocab.n_vocab, at->token);
    at->gain = n_deltas == 0 ? 0.0 : cs_follower_gain(&session->slm, session->vocab.n_vocab, at->token);
    return cs_details_fill(session->details, base, session->slm.deltas, n_deltas, session->vocab.n_vocab, at, err);
}

/* Wait for the base of a position, and ask the gate whether it is steered. */
static costeer_err receive(costeer_session *session, costeer_distribution *base, costeer_position *at, costeer_error *err)
{
    const int64_t start = cs_clock_us();
    const costeer_err code = costeer_cloud_next(session->cloud, at->position, base, err);
    at->cloud_wait_us = cs_clock_us() - start;
    at->is_reasoning = code == COSTEER_OK && cs_thinking_takes(session->thinking, base->own_token);
    at->gated = at->is_reasoning;
    if (code != COSTEER_OK || at->is_reasoning || session->slm.source == NULL) {
        return code;
    }
    return cs_chooser_ask_gate(session->chooser, session->cloud, &session->gate, base, at, err);
}

/* Bring the SLM to where the answer is and read what it says. */
static costeer_err consult(costeer_session *session, int64_t *slm_us, costeer_error *err)
{
    const costeer_err code = follow(session, session->n_tokens, slm_us, err);
    return code == COSTEER_OK ? cs_follower_read(&session->slm, session->vocab.n_vocab, slm_us, err) : code;
}

/* Choose the token from what the cloud has sent. */
static costeer_err decide(costeer_session *session, costeer_distribution *base, costeer_position *at, costeer_error *err)
{
    costeer_choice choice;
    const costeer_err code = cs_chooser_choose_surely(session->chooser, session->cloud, session->slm.deltas,
                                                      at->gated ? 0 : session->slm.n_deltas, base, at, &choice, err);
    if (code != COSTEER_OK) {
        return code;
    }
    if (at->is_reasoning) {
        (void)cs_thinking_forces(session->thinking, &choice.token);
    }
    return complete(session, &base->base, base->own_token, &choice, at, err);
}

/* Choose a token without the cloud: the SLM with the contexts. What it says alone takes the place of the base. */
static costeer_err decide_locally(costeer_session *session, costeer_position *at, costeer_error *err)
{
    costeer_err code = consult(session, &at->slm_us, err);
    if (code != COSTEER_OK) {
        return code;
    }
    const costeer_base base = {.values = cs_follower_alone(&session->slm), .n = session->vocab.n_vocab};
    const int64_t start = cs_clock_us();
    costeer_choice choice;
    code = cs_chooser_choose(session->chooser, &base, session->slm.deltas, session->slm.n_deltas, at->position, &choice, err);
    at->fuse_us = cs_clock_us() - start;
    if (code != COSTEER_OK) {
        return code;
    }
    at->certified = true;
    at->is_local = true;
    at->is_reasoning = cs_thinking_takes(session->thinking, choice.token);
    if (at->is_reasoning) {
        (void)cs_thinking_forces(session->thinking, &choice.token);
    }
    return complete(session, &base, choice.token, &choice, at, err);
}

/* ---- after the choice -------------------------------------------------------------------------------------------- */

/* Remember the token and add its text. Tells whether, and how, it ends the answer. */
static costeer_finish accept(costeer_session *session, const costeer_position *at)
{
    session->tokens[session->n_tokens++] = at->token;
    cs_chooser_accept(session->chooser, at->token);
    if (at->is_end) {
        return COSTEER_FINISH_END;
    }
    char piece[COSTEER_PIECE_MAX];
    const size_t n = session->vocab.token_to_piece(session->vocab.model, at->token, piece);
    const size_t n_answer = at->is_reasoning ? cs_thinking_push(session->thinking, at->token, piece, n) : n;
    session->n_answer += at->is_reasoning ? 0 : 1;
    char text[TEXT_MAX];
    size_t n_back;
    const char *back = cs_thinking_take_back(session->thinking, &n_back);
    memcpy(text, back, n_back);
    memcpy(text + n_back, piece + n - n_answer, n_answer);
    if (n_back + n_answer > 0 && cs_text_out_push(session->text, text, n_back + n_answer)) {
        return COSTEER_FINISH_STOP;
    }
    return session->n_answer == session->params.max_tokens || at->position + 1 == session->n_positions_max ? COSTEER_FINISH_LENGTH
                                                                                                           : COSTEER_FINISH_NONE;
}

static void count(costeer_report *report, const costeer_position *at)
{
    report->n_tokens++;
    report->n_steered += at->steered && !at->is_reasoning;
    report->n_certified += at->certified;
    report->n_deepened += at->n_deepened > 0;
    report->n_uncertified += at->uncertified_kept;
    report->n_near_ties += at->near_tie;
    report->n_gated += at->gated && !at->is_reasoning;
    report->n_reasoning += at->is_reasoning;
    report->n_local += at->is_local;
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
    const char *thought = cs_thinking_take_text(session->thinking, &n);
    if (n > 0 && session->params.on_reasoning != NULL && !session->params.on_reasoning(thought, n, session->params.user)) {
        return false;
    }
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

/* ---- the cloud's part -------------------------------------------------------------------------------------------- */

/* With strength 0 the SLM is not there to go on with; and cancelling is not a failure. */
static bool can_go_on_locally(const costeer_session *session, costeer_err code)
{
    return session->params.on_cloud_failure == COSTEER_CLOUD_FAILURE_LOCAL && session->slm.source != NULL && !session->is_local &&
           (code == COSTEER_ECLOUD || code == COSTEER_ETIMEDOUT || code == COSTEER_EIO);
}

static void close_cloud(costeer_session *session)
{
    if (session->is_open) {
        session->is_open = false;
        costeer_cloud_close(session->cloud);
    }
}

/* What became of a call to the cloud: fine, the end of the answer, or the beginning of its local part. */
static costeer_err settle(costeer_session *session, costeer_err code, const costeer_error *failure, costeer_report *report,
                          costeer_error *err)
{
    if (code == COSTEER_OK) {
        return COSTEER_OK;
    }
    if (!can_go_on_locally(session, code)) {
        if (err != NULL) {
            *err = *failure;
        }
        return code;
    }
    report->cloud_status = code;
    report->cloud_error = *failure;
    session->is_local = true;
    cs_follower_go_alone(&session->slm);
    close_cloud(session);
    return COSTEER_OK;
}

static costeer_err open_cloud(costeer_session *session, const int32_t *prompt, size_t n_prompt, costeer_report *report,
                              costeer_error *err)
{
    const costeer_session_params *params = &session->params;
    const costeer_cloud_request request = {.prompt = prompt,
                                           .n_prompt = n_prompt,
                                           .chat = params->chat,
                                           .top_k = params->base_top_k,
                                           .max_tokens = session->n_positions_max,
                                           .cancel = params->cancel};
    costeer_error failure = {.code = COSTEER_OK};
    const costeer_err code = costeer_cloud_open(session->cloud, &request, &failure);
    session->is_open = code == COSTEER_OK;
    return settle(session, code, &failure, report, err);
}

/* The token of a position, from cloud and SLM. A failure of the cloud makes the session local; one of the SLM is the end. */
static costeer_err choose_with_cloud(costeer_session *session, costeer_position *at, costeer_report *report, costeer_error *err)
{
    costeer_distribution base;
    costeer_error failure = {.code = COSTEER_OK};
    costeer_err code = settle(session, receive(session, &base, at, &failure), &failure, report, err);
    if (code == COSTEER_OK && !session->is_local && !at->gated) {
        code = consult(session, &at->slm_us, err);
    }
    if (code == COSTEER_OK && !session->is_local) {
        code = settle(session, decide(session, &base, at, &failure), &failure, report, err);
    }
    return code;
}

/* The token of a position; once the cloud has failed, from the SLM alone. */
static costeer_err choose_token(costeer_session *session, costeer_position *at, costeer_report *report, costeer_error *err)
{
    if (!session->is_local) {
        const costeer_err code = choose_with_cloud(session, at, report, err);
        if (code != COSTEER_OK || !session->is_local) {
            return code;
        }
        *at = (costeer_position){.position = at->position, .slm_us = at->slm_us, .cloud_wait_us = at->cloud_wait_us};
    }
    return decide_locally(session, at, err);
}

/* Draft what may follow the last token, as far as the cloud has a use for it. */
static costeer_err draft(costeer_session *session, const costeer_position *at, int32_t *n, int64_t *slm_us, costeer_error *err)
{
    *n = 0;
    const costeer_delta_source *source = session->slm.source;
    if (source == NULL || source->ops->draft == NULL || session->gate.is_off || cs_thinking_is_under_way(session->thinking)) {
        return COSTEER_OK;
    }
    /* a draft is of use where a position follows it: at none of the last two */
    const int32_t n_useful = session->n_positions_max - 2 - at->position;
    int32_t n_max = costeer_cloud_wants_drafts(session->cloud, at->position, at->token);
    n_max = n_max < n_useful ? n_max : n_useful;
    n_max = n_max < COSTEER_WIRE_DRAFTS_MAX ? n_max : COSTEER_WIRE_DRAFTS_MAX;
    if (n_max <= 0) {
        return COSTEER_OK;
    }
    const bool is_private = session->params.private_drafts;
    const costeer_draft_params params = {.n_max = n_max,
                                         .is_private = is_private,
                                         .confidence = is_private ? session->params.draft_confidence : PUBLIC_DRAFT_CONFIDENCE};
    return cs_follower_draft(&session->slm, params, session->tokens, session->n_tokens, session->drafts, n, slm_us, err);
}

/* Tell the cloud the token of a position, with drafts where it wants them. */
static costeer_err commit(costeer_session *session, const costeer_position *at, int64_t *slm_us, costeer_report *report,
                          costeer_error *err)
{
    if (session->is_local) {
        return COSTEER_OK;
    }
    int32_t n;
    const costeer_err code = draft(session, at, &n, slm_us, err);
    if (code != COSTEER_OK) {
        return code;
    }
    costeer_error failure = {.code = COSTEER_OK};
    const costeer_err told =
        n > 0 ? costeer_cloud_commit_drafts(session->cloud, at->position, at->token, session->drafts, n, &failure)
              : costeer_cloud_commit(session->cloud, at->position, at->token, &failure);
    return settle(session, told, &failure, report, err);
}

/* ---- the loop ---------------------------------------------------------------------------------------------------- */

static costeer_err run_positions(costeer_session *session, int64_t start, costeer_report *report, costeer_error *err)
{
    int64_t slm_us = 0;
    costeer_err code = cs_follower_begin(&session->slm, &slm_us, err); /* the cloud computes meanwhile, as at every step */
    for (int32_t position = 0; code == COSTEER_OK; position++) {
        costeer_position at = {.position = position, .slm_us = slm_us};
        code = is_cancelled(session) ? cs_error_set(err, COSTEER_ECANCELED, "session", "cancelled at position %d", position)
                                     : choose_token(session, &at, report, err);
        if (code != COSTEER_OK) {
            return code;
        }
        report->prefill_us = position == 0 ? cs_clock_us() - start : report->prefill_us;
        const costeer_finish finish = accept(session, &at);
        count(report, &at);
        slm_us = 0;
        if (finish == COSTEER_FINISH_NONE) {
            code = commit(session, &at, &slm_us, report, err);
        }
        /* a failed commit does not take back the token: it is told, and the error after it */
        const costeer_err told = hand_out(session, &at, code == COSTEER_OK ? err : NULL);
        code = code == COSTEER_OK ? told : code;
        if (code == COSTEER_OK && finish != COSTEER_FINISH_NONE) {
            report->finish = finish;
            return COSTEER_OK;
        }
        if (code == COSTEER_OK && !lags(session)) {
            /* limits take a pass over the rows: now, while the cloud computes */
            code = cs_follower_is_limited(&session->slm) ? consult(session, &slm_us, err)
                                                         : follow(session, session->n_tokens, &slm_us, err);
        }
    }
    return code;
}

costeer_err costeer_session_run(costeer_session *session, const int32_t *prompt, size_t n_prompt, costeer_report *report,
                                costeer_error *err)
{
    costeer_report ours = {.finish = COSTEER_FINISH_NONE};
    report = report == NULL ? &ours : report;
    *report = (costeer_report){.finish = COSTEER_FINISH_NONE};
    const int64_t start = cs_clock_us();
    session->n_tokens = 0;
    session->n_answer = 0;
    session->is_local = false;
    session->gate = (costeer_gate){.params = session->params.gate};
    cs_follower_reset(&session->slm, &session->params);
    cs_chooser_reset(session->chooser);
    cs_text_out_reset(session->text);
    cs_thinking_reset(session->thinking);
    costeer_err code = open_cloud(session, prompt, n_prompt, report, err);
    code = code == COSTEER_OK ? run_positions(session, start, report, err) : code;
    report->n_slm_steps = cs_follower_n_batches(&session->slm);
    report->n_slm_tokens = (int32_t)session->slm.n_given;
    close_cloud(session);
    costeer_cloud_read_stats(session->cloud, &report->cloud); /* after the end, when the cloud has told its account */
    if (code != COSTEER_EABORTED) {                           /* what was held back is part of the answer, however it ended */
        cs_thinking_finish(session->thinking);
        cs_text_out_finish(session->text);
        if (!hand_out_text(session) && code == COSTEER_OK) {
            code = cs_error_set(err, COSTEER_EABORTED, "session", "stopped by the caller's callback at the end");
        }
    }
    report->total_us = cs_clock_us() - start;
    return code;
}

const char *costeer_finish_name(costeer_finish finish)
{
    switch (finish) {
    case COSTEER_FINISH_END:
        return "end";
    case COSTEER_FINISH_LENGTH:
        return "length";
    case COSTEER_FINISH_STOP:
        return "stop";
    case COSTEER_FINISH_NONE:
        break;
    }
    return "none";
}
