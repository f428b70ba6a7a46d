/*
 * The state of one answer in a batcher: see batch_answer.h.
 *
 * Tokens are one array: prompt, accepted ones, drafts, the model's own choices. All that is computed follows from it and from
 * what the sequence holds: a correction only changes tokens and lowers `next`, and the next step finds by itself what must be
 * dropped and computed. So a sequence that lost more than it had to (recurrent models, an aborted step) is no special case.
 */
#include "cloud/batch_answer.h"

#include "util/error.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COMPONENT "answer"

/* A sparse answer remembers this many times its top_k, so that most deepenings cost nothing. */
#define REMEMBERED_FACTOR 8

/* A node runs ahead by at least so many positions, if the window has them (docs/protocol.md). */
#define USEFUL_WINDOW_MIN 4

/* A device chooses top_k and window; together they must not take more of the node's memory than this for what is remembered. */
#define REMEMBERED_BYTES ((size_t)16 << 20)

static int32_t min(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/*
 * How far to run ahead: not beyond the point that nine of ten runs of agreement end before, judged by the corrections so far
 * (rule of succession, begun as if 1 of 8 tokens had been corrected). Over a long round trip all behind that is computed and sent
 * in vain. Never below USEFUL_WINDOW_MIN, which devices may rely on when they acknowledge.
 */
static void judge_window(cs_answer *answer)
{
    const double rate = (answer->n_corrected + 1.0) / (answer->n_decided + 8.0);
    const double useful = ceil(log(0.1) / log1p(-rate));
    const int32_t most = useful < answer->window ? (int32_t)useful : answer->window;
    answer->useful_window = most > USEFUL_WINDOW_MIN ? most : min(answer->window, USEFUL_WINDOW_MIN);
}

/* ---- creation ---------------------------------------------------------------------------------------------------- */

static costeer_err check_tokens(const cs_answer_limits *limits, const int32_t *tokens, size_t n, const char *what,
                                costeer_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (tokens[i] < 0 || tokens[i] >= limits->n_vocab) {
            return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "%s: token %zu is not one of the vocabulary's %d", what, i,
                                limits->n_vocab);
        }
    }
    return COSTEER_OK;
}

static costeer_err check_sizes(const costeer_batch_request *request, const cs_answer_limits *limits, costeer_error *err)
{
    if (request->prompt == NULL || request->n_prompt == 0) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "the prompt is empty");
    }
    if (request->max_tokens < 1) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "max_tokens is %d; give at least 1", request->max_tokens);
    }
    if (request->n_accepted >= (size_t)request->max_tokens || (request->n_accepted > 0 && request->accepted == NULL)) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "%zu accepted tokens; there must be fewer than max_tokens, %d",
                            request->n_accepted, request->max_tokens);
    }
    if (request->n_prompt > (size_t)limits->n_ctx || (size_t)request->max_tokens > (size_t)limits->n_ctx - request->n_prompt) {
        return cs_error_set(err, COSTEER_ETOOLONG, COMPONENT,
                            "a prompt of %zu tokens and up to %d of answer do not fit the %d of the context window",
                            request->n_prompt, request->max_tokens, limits->n_ctx);
    }
    return COSTEER_OK;
}

static costeer_err check_request(const costeer_batch_request *request, const cs_answer_limits *limits, costeer_error *err)
{
    costeer_err code = check_sizes(request, limits, err);
    if (code != COSTEER_OK) {
        return code;
    }
    if (request->window < 0 || request->window > limits->max_window) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "the window is %d; give 0 to %d", request->window,
                            limits->max_window);
    }
    if (request->top_k < 0 || request->top_k > limits->n_vocab) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "top_k is %d; give 0 to %d", request->top_k, limits->n_vocab);
    }
    code = check_tokens(limits, request->prompt, request->n_prompt, "the prompt", err);
    if (code == COSTEER_OK) {
        code = check_tokens(limits, request->accepted, request->n_accepted, "the accepted tokens", err);
    }
    for (size_t i = 0; code == COSTEER_OK && i < request->n_accepted; i++) {
        if (limits->is_end(limits->model, request->accepted[i])) {
            return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "accepted token %zu ends the answer; nothing follows it", i);
        }
    }
    return code;
}

static int32_t count_remembered(const cs_answer *answer)
{
    if (answer->top_k == 0) {
        return 0;
    }
    const size_t bytes_each = (size_t)answer->n_entries * (sizeof(int32_t) + sizeof(float));
    size_t n = (size_t)answer->top_k * REMEMBERED_FACTOR;
    n = n < REMEMBERED_BYTES / bytes_each ? n : REMEMBERED_BYTES / bytes_each;
    return n < (size_t)answer->limits.n_vocab ? (int32_t)n : answer->limits.n_vocab;
}

static bool allocate(cs_answer *answer)
{
    const size_t n_ids = (size_t)answer->n_entries * (size_t)answer->n_remembered;
    const size_t n_logits = answer->remembers_logits ? (size_t)answer->n_entries * (size_t)answer->limits.n_vocab : 0;
    answer->tokens = malloc(((size_t)answer->n_prompt + (size_t)answer->max_tokens) * sizeof *answer->tokens);
    answer->entries = calloc((size_t)answer->n_entries, sizeof *answer->entries);
    answer->memory_ids = malloc((n_ids + 1) * sizeof *answer->memory_ids); /* + 1: never a size of 0 */
    answer->memory_values = malloc((n_ids + n_logits + 1) * sizeof *answer->memory_values);
    if (answer->tokens == NULL || answer->entries == NULL || answer->memory_ids == NULL || answer->memory_values == NULL) {
        cs_answer_dispose(answer);
        return false;
    }
    for (int32_t i = 0; i < answer->n_entries; i++) {
        answer->entries[i].position = -1;
        answer->entries[i].ids = answer->memory_ids + (size_t)i * (size_t)answer->n_remembered;
        answer->entries[i].values = answer->memory_values + (size_t)i * (size_t)answer->n_remembered;
        if (answer->remembers_logits) {
            answer->entries[i].logits = answer->memory_values + (size_t)i * (size_t)answer->limits.n_vocab;
        }
    }
    return true;
}

costeer_err cs_answer_init(cs_answer *answer, const costeer_batch_request *request, const cs_answer_limits *limits,
                           costeer_error *err)
{
    const costeer_err code = check_request(request, limits, err);
    if (code != COSTEER_OK) {
        return code;
    }
    const int32_t n_accepted = (int32_t)request->n_accepted;
    *answer = (cs_answer){.limits = *limits,
                          .n_prompt = (int32_t)request->n_prompt,
                          .max_tokens = request->max_tokens,
                          .window = request->window,
                          .top_k = request->top_k >= limits->n_vocab ? 0 : request->top_k,
                          .n_accepted = n_accepted,
                          .n_known = n_accepted,
                          .drafts_end = n_accepted,
                          .first_end = INT32_MAX,
                          .next = n_accepted};
    judge_window(answer);
    /* Delivered and not accepted are at most those from accepted to accepted + window + drafts. */
    const int64_t n_ahead = (int64_t)request->window + limits->max_drafts + 1;
    answer->n_entries = n_ahead < request->max_tokens ? (int32_t)n_ahead : request->max_tokens;
    answer->n_remembered = count_remembered(answer);
    /* An entry takes as much as two logits, and a small vocabulary's sorting would take a tenth of its model's step. */
    if (answer->n_remembered > 0 && answer->n_remembered >= limits->n_vocab / 2) {
        answer->remembers_logits = true;
        answer->n_remembered = 0;
    }
    if (!allocate(answer)) {
        return cs_error_set(err, COSTEER_ENOMEM, COMPONENT, "no memory for an answer of up to %d tokens", answer->max_tokens);
    }
    memcpy(answer->tokens, request->prompt, request->n_prompt * sizeof *answer->tokens);
    if (n_accepted > 0) {
        memcpy(answer->tokens + answer->n_prompt, request->accepted, request->n_accepted * sizeof *answer->tokens);
    }
    return COSTEER_OK;
}

void cs_answer_dispose(cs_answer *answer)
{
    free(answer->tokens);
    free(answer->entries);
    free(answer->memory_ids);
    free(answer->memory_values);
    answer->tokens = NULL;
    answer->entries = NULL;
    answer->memory_ids = NULL;
    answer->memory_values = NULL;
}

/* ---- tokens ------------------------------------------------------------------------------------------------------ */

static void append(cs_answer *answer, int32_t token)
{
    if (answer->first_end == INT32_MAX && answer->limits.is_end(answer->limits.model, token)) {
        answer->first_end = answer->n_known;
    }
    answer->tokens[answer->n_prompt + answer->n_known++] = token;
}

static void forget_tokens(cs_answer *answer, int32_t n_known)
{
    answer->n_known = n_known;
    answer->first_end = answer->first_end < n_known ? answer->first_end : INT32_MAX;
}

void cs_answer_lose_rows(cs_answer *answer)
{
    answer->account.n_wasted += (uint32_t)answer->n_in_flight;
    answer->n_in_flight = 0;
    answer->generation++;
}

/* Go on from a position: n_lost delivered ones were computed in vain, and so is what is being computed. */
static void roll_back(cs_answer *answer, int32_t next, int32_t n_lost)
{
    answer->account.n_rollbacks += n_lost + answer->n_in_flight > 0 ? 1 : 0;
    answer->account.n_wasted += (uint32_t)n_lost;
    answer->next = next;
    cs_answer_lose_rows(answer);
}

/* ---- what a device asks for -------------------------------------------------------------------------------------- */

/* "commit(7): position 7 was not delivered …" unless it was, and is not accepted. */
static costeer_err check_position(const cs_answer *answer, const char *call, int32_t position, costeer_error *err)
{
    if (position < answer->n_accepted) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "%s: position %d is accepted already, as all below %d are", call,
                            position, answer->n_accepted);
    }
    if (position >= answer->next) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "%s: position %d was not delivered; the next one is %d", call,
                            position, answer->next);
    }
    return COSTEER_OK;
}

static costeer_err check_token(const cs_answer *answer, const char *call, int32_t token, costeer_error *err)
{
    if (token < 0 || token >= answer->limits.n_vocab) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "%s: the token is not one of the vocabulary's %d", call,
                            answer->limits.n_vocab);
    }
    return COSTEER_OK;
}

/* A deepening of an accepted position has become pointless; so has one of a position that is not there any more. */
static void drop_stale_deepening(cs_answer *answer)
{
    if (answer->deepen == CS_DEEPEN_ASKED &&
        (answer->deepen_position < answer->n_accepted || answer->deepen_position >= answer->next)) {
        answer->deepen = CS_DEEPEN_NONE;
    }
}

static void accept(cs_answer *answer, int32_t n_accepted)
{
    answer->n_decided += n_accepted - answer->n_accepted;
    answer->n_accepted = n_accepted;
    answer->drafts_end = answer->drafts_end > n_accepted ? answer->drafts_end : n_accepted;
    drop_stale_deepening(answer);
}

/* What is delivered has a token: its own was assumed then, if none was known. */
costeer_err cs_answer_commit(cs_answer *answer, int32_t position, costeer_error *err)
{
    const costeer_err code = check_position(answer, "commit", position, err);
    if (code == COSTEER_OK) {
        accept(answer, position + 1);
        judge_window(answer);
    }
    return code;
}

costeer_err cs_answer_correct(cs_answer *answer, int32_t epoch, int32_t position, int32_t token, costeer_error *err)
{
    if (answer->epoch == INT32_MAX || epoch != answer->epoch + 1) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "correct: epoch %d does not follow %d", epoch, answer->epoch);
    }
    costeer_err code = check_position(answer, "correct", position, err);
    code = code == COSTEER_OK ? check_token(answer, "correct", token, err) : code;
    if (code != COSTEER_OK) {
        return code;
    }
    answer->epoch = epoch;
    roll_back(answer, position + 1, answer->next - position - 1);
    forget_tokens(answer, position);
    append(answer, token);
    answer->drafts_end = position + 1;
    answer->n_corrected++;
    accept(answer, position + 1);
    judge_window(answer);
    return COSTEER_OK;
}

static costeer_err check_draft(const cs_answer *answer, int32_t position, size_t n, costeer_error *err)
{
    if (position != answer->n_accepted) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "draft: begins at position %d; the first not accepted is %d",
                            position, answer->n_accepted);
    }
    if (answer->n_known > position && (answer->drafts_end > position || answer->next > position + 1)) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "draft: position %d has a token that was gone on with", position);
    }
    if (n == 0 || n > (size_t)answer->limits.max_drafts) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "draft: %zu tokens; give 1 to %d", n, answer->limits.max_drafts);
    }
    if (n > (size_t)(answer->max_tokens - position)) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "draft: %zu tokens from position %d on go beyond the answer's %d", n,
                            position, answer->max_tokens);
    }
    return COSTEER_OK;
}

costeer_err cs_answer_draft(cs_answer *answer, int32_t position, const int32_t *tokens, size_t n, costeer_error *err)
{
    costeer_err code = check_draft(answer, position, n, err);
    for (size_t i = 0; code == COSTEER_OK && i < n; i++) {
        code = check_token(answer, "draft", tokens[i], err);
    }
    if (code != COSTEER_OK) {
        return code;
    }
    if (answer->n_known > position) { /* its own token gives way, with what is being computed from it */
        cs_answer_lose_rows(answer);
        forget_tokens(answer, position);
    }
    for (size_t i = 0; i < n; i++) {
        append(answer, tokens[i]);
    }
    answer->drafts_end = position + (int32_t)n;
    return COSTEER_OK;
}

costeer_err cs_answer_deepen(cs_answer *answer, int32_t epoch, int32_t position, int32_t top_k, costeer_error *err)
{
    if (epoch != answer->epoch) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "deepen: epoch %d; the answer is in epoch %d", epoch, answer->epoch);
    }
    const costeer_err code = check_position(answer, "deepen", position, err);
    if (code != COSTEER_OK) {
        return code;
    }
    if (top_k < 0 || top_k > answer->limits.n_vocab) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "deepen: top_k is %d; give 0 to %d", top_k, answer->limits.n_vocab);
    }
    if (answer->deepen != CS_DEEPEN_NONE || answer->epoch == INT32_MAX) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "deepen: position %d is being deepened", answer->deepen_position);
    }
    answer->deepen = CS_DEEPEN_ASKED;
    answer->deepen_position = position;
    answer->deepen_top_k = answer->top_k == 0 || top_k >= answer->limits.n_vocab ? 0 : top_k; /* dense stays dense */
    return COSTEER_OK;
}

/* Own tokens behind the position fall, because the new computation may choose differently in the last bits; drafts stay. */
void cs_answer_recompute(cs_answer *answer)
{
    const int32_t position = answer->deepen_position;
    answer->epoch++;
    roll_back(answer, position, answer->next - position - 1); /* the position itself was used */
    const int32_t n_kept = answer->drafts_end > position ? answer->drafts_end : position;
    forget_tokens(answer, n_kept < answer->n_known ? n_kept : answer->n_known);
    answer->deepen = CS_DEEPEN_RECOMPUTING;
}

/* ---- computing --------------------------------------------------------------------------------------------------- */

int32_t cs_answer_last(const cs_answer *answer)
{
    const int32_t n_drafts = answer->drafts_end - answer->n_accepted;
    const int32_t last = min(answer->n_known, answer->n_accepted + answer->useful_window + n_drafts);
    return min(min(last, answer->max_tokens - 1), answer->first_end);
}

/* Token i of prompt and answer yields the distribution of position i + 1 − n_prompt. */
cs_answer_work cs_answer_find_work(const cs_answer *answer, const int32_t *held, int32_t n_held)
{
    const int32_t last = cs_answer_last(answer);
    if (answer->next > last) {
        return (cs_answer_work){0};
    }
    const int32_t first_row = answer->n_prompt + answer->next - 1;
    int32_t start = 0;
    while (start < n_held && start < first_row && held[start] == answer->tokens[start]) {
        start++;
    }
    return (cs_answer_work){.start = start, .gap = first_row - start, .rows = last - answer->next + 1};
}

void cs_answer_start_rows(cs_answer *answer, int32_t n)
{
    answer->n_in_flight = n;
    answer->account.n_steps += (uint32_t)n;
}

cs_answer_entry *cs_answer_next_entry(cs_answer *answer)
{
    return &answer->entries[answer->next % answer->n_entries];
}

void cs_answer_deliver(cs_answer *answer)
{
    cs_answer_entry *entry = cs_answer_next_entry(answer);
    const int32_t position = answer->next++;
    entry->position = position;
    answer->n_in_flight--;
    if (answer->n_known == position) {
        append(answer, entry->own_token);
    }
    if (answer->deepen == CS_DEEPEN_RECOMPUTING && answer->deepen_position == position) {
        answer->deepen = CS_DEEPEN_NONE;
    }
}

const cs_answer_entry *cs_answer_find_entry(const cs_answer *answer, int32_t position)
{
    if (position < answer->n_accepted || position >= answer->next) {
        return NULL;
    }
    const cs_answer_entry *entry = &answer->entries[position % answer->n_entries];
    return entry->position == position ? entry : NULL;
}

costeer_batch_account cs_answer_close_account(const cs_answer *answer)
{
    costeer_batch_account out = answer->account;
    const int32_t n_unused = answer->next - answer->n_accepted - 1;
    out.n_wasted += (uint32_t)answer->n_in_flight + (n_unused > 0 ? (uint32_t)n_unused : 0);
    return out;
}
