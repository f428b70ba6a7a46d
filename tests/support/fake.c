/* The fakes: see fake.h. */
#include "support/fake.h"

#include "cloud/top_k.h"
#include "unit/random.h"
#include "util/error.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 2, 3))) static void note(fake_journal *journal, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(journal->text + journal->n, sizeof journal->text - journal->n, format, args);
    va_end(args);
    if (n > 0 && (size_t)n < sizeof journal->text - journal->n) {
        journal->n += (size_t)n;
    }
}

static costeer_err fail(const fake_fault *fault, int32_t position, costeer_error *err)
{
    return fault->at == position ? cs_error_set(err, fault->code, "fake", "told to fail at %d", position) : COSTEER_OK;
}

/* ---- cloud ------------------------------------------------------------------------------------------------------- */

static costeer_err cloud_open(costeer_cloud *cloud, const costeer_cloud_request *request, costeer_error *err)
{
    fake_cloud *self = (fake_cloud *)cloud;
    note(self->journal, "open(%zu,%d) ", request->n_prompt, request->top_k);
    self->is_open = self->open.at != 0;
    self->top_k = request->top_k;
    self->chat = request->chat;
    return fail(&self->open, 0, err);
}

/* Move each value by less than the error; sorted anew, since order statistics move by no more than the values do. */
static void jitter_values(fake_cloud *self, int32_t n)
{
    struct test_random r = {self->jitter};
    for (int32_t i = 0; i < n; i++) {
        const double by = (double)self->error * test_random_between(&r, -0.999, 0.999);
        const float value = fminf(self->values[i] + (float)by, 0.0F);
        int32_t at = i;
        for (; at > 0 && self->values[at - 1] < value; at--) {
            self->values[at] = self->values[at - 1];
        }
        self->values[at] = value;
    }
}

/* Lay the values of a sparse base on a grid, as a sender of half precision does. */
static void round_values(fake_cloud *self, costeer_base *base)
{
    const float step = 2.0F * self->error;
    if (base->ids == NULL) {
        return;
    }
    base->error = self->error;
    if (self->jitter != 0) {
        jitter_values(self, base->n);
        return;
    }
    for (int32_t i = 0; step > 0.0F && i < base->n; i++) {
        self->values[i] = roundf(self->values[i] / step) * step;
    }
}

static float log_of_rest(const float *values, int32_t n)
{
    double sum = 0.0;
    for (int32_t i = 0; i < n; i++) {
        sum += exp((double)values[i]);
    }
    return sum < 1.0 ? (float)log(1.0 - sum) : -INFINITY;
}

static void answer(fake_cloud *self, int32_t position, int32_t top_k, costeer_distribution *out)
{
    const float *logits = self->logits[position];
    *out = (costeer_distribution){.position = position, .own_token = cs_argmax(logits, FAKE_VOCAB)};
    if (self->deepest > 0 && (top_k == 0 || top_k >= self->deepest)) {
        top_k = self->deepest;
        out->is_deepest = true;
    }
    if (top_k == 0) {
        out->base = (costeer_base){.values = logits, .n = FAKE_VOCAB};
    } else {
        const int32_t n = cs_top_k_logprobs(logits, FAKE_VOCAB, top_k, self->ids, self->values);
        out->base = (costeer_base){.ids = self->ids, .values = self->values, .n = n};
        out->base.tail = self->tells_tail ? log_of_rest(self->values, n) : 0.0F;
    }
}

static costeer_err cloud_next(costeer_cloud *cloud, int32_t position, costeer_distribution *out, costeer_error *err)
{
    fake_cloud *self = (fake_cloud *)cloud;
    note(self->journal, "next(%d) ", position);
    answer(self, position, self->top_k, out);
    round_values(self, &out->base);
    return fail(&self->next, position, err);
}

static costeer_err cloud_deepen(costeer_cloud *cloud, int32_t position, int32_t top_k, costeer_distribution *out,
                                costeer_error *err)
{
    fake_cloud *self = (fake_cloud *)cloud;
    note(self->journal, "deepen(%d,%d) ", position, top_k);
    answer(self, position, top_k, out);
    if (self->rounds_always) {
        round_values(self, &out->base);
    }
    return fail(&self->deepen, position, err);
}

static costeer_err cloud_commit(costeer_cloud *cloud, int32_t position, int32_t token, const int32_t *drafts, int32_t n_drafts,
                                costeer_error *err)
{
    fake_cloud *self = (fake_cloud *)cloud;
    char list[16 * COSTEER_WIRE_DRAFTS_MAX] = "";
    int n = 0;
    for (int32_t i = 0; i < n_drafts; i++) {
        n += snprintf(list + n, sizeof list - (size_t)n, "%s%d", i == 0 ? ",[" : ",", drafts[i]);
    }
    note(self->journal, "commit(%d,%d%s%s) ", position, token, list, n_drafts > 0 ? "]" : "");
    return fail(&self->commit, position, err);
}

static void cloud_close(costeer_cloud *cloud)
{
    fake_cloud *self = (fake_cloud *)cloud;
    note(self->journal, "close ");
    self->is_open = false;
}

static void cloud_free(costeer_cloud *cloud)
{
    (void)cloud;
}

static int32_t cloud_wants_drafts(const costeer_cloud *cloud, int32_t position, int32_t token)
{
    (void)position;
    (void)token;
    return ((const fake_cloud *)cloud)->n_drafts;
}

static void cloud_read_stats(const costeer_cloud *cloud, costeer_cloud_stats *out)
{
    const fake_cloud *self = (const fake_cloud *)cloud;
    *out = self->stats;
    out->n_steps = self->is_open ? -1 : out->n_steps;
}

void fake_cloud_init(fake_cloud *cloud, fake_journal *journal)
{
    static const costeer_cloud_ops ops = {.open = cloud_open,
                                          .next = cloud_next,
                                          .deepen = cloud_deepen,
                                          .commit = cloud_commit,
                                          .close = cloud_close,
                                          .free = cloud_free,
                                          .wants_drafts = cloud_wants_drafts,
                                          .read_stats = cloud_read_stats};
    memset(cloud, 0, sizeof *cloud);
    cloud->cloud.ops = &ops;
    cloud->journal = journal;
    cloud->open.at = cloud->next.at = cloud->deepen.at = cloud->commit.at = -1;
}

void fake_cloud_prefer(fake_cloud *cloud, const int32_t *tokens, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        cloud->logits[i][tokens[i]] = 9.0F;
    }
}

/* ---- deltas ------------------------------------------------------------------------------------------------------ */

static costeer_err deltas_begin(costeer_delta_source *source, costeer_error *err)
{
    fake_deltas *self = (fake_deltas *)source;
    note(self->journal, "begin ");
    self->position = 0;
    return fail(&self->begin, 0, err);
}

static costeer_err deltas_step(costeer_delta_source *source, const int32_t *tokens, size_t n, costeer_error *err)
{
    fake_deltas *self = (fake_deltas *)source;
    for (size_t i = 0; i < n; i++) {
        note(self->journal, "%s%d%s", i == 0 ? "step(" : ",", tokens[i], i + 1 < n ? "" : ") ");
    }
    self->position += (int32_t)n;
    return fail(&self->step, self->position, err);
}

static void deltas_read(costeer_delta_source *source, costeer_delta *deltas, size_t n_deltas)
{
    const fake_deltas *self = (const fake_deltas *)source;
    for (size_t i = 0; i < n_deltas; i++) {
        deltas[i].expert = i == 0 ? self->expert[self->position] : self->second[self->position];
        deltas[i].amateur = self->amateur;
    }
}

static costeer_err deltas_draft(costeer_delta_source *source, const costeer_draft_params *params, int32_t token, int32_t *tokens,
                                int32_t *n, costeer_error *err)
{
    fake_deltas *self = (fake_deltas *)source;
    note(self->journal, "draft(%d,%d) ", token, params->n_max);
    self->was_private = params->is_private;
    self->confidence = params->confidence;
    memcpy(self->draft_weights, params->weights, source->n_deltas * sizeof *self->draft_weights);
    const int32_t first = self->position + 1;
    *n = 0;
    while (*n < params->n_max && first + *n < FAKE_POSITIONS && self->drafts[first + *n] != 0) {
        tokens[*n] = self->drafts[first + *n];
        ++*n;
    }
    return fail(&self->draft, self->position, err);
}

static const float *deltas_alone(costeer_delta_source *source)
{
    const fake_deltas *self = (const fake_deltas *)source;
    return self->alone[self->position];
}

static const costeer_delta_source_ops deltas_ops = {
    .begin = deltas_begin, .step = deltas_step, .read = deltas_read, .draft = deltas_draft};
static const costeer_delta_source_ops speaking_ops = {
    .begin = deltas_begin, .step = deltas_step, .read = deltas_read, .draft = deltas_draft, .alone = deltas_alone};

void fake_deltas_init(fake_deltas *deltas, fake_journal *journal, size_t n_deltas)
{
    memset(deltas, 0, sizeof *deltas);
    deltas->source = (costeer_delta_source){.ops = &deltas_ops, .n_deltas = n_deltas};
    deltas->journal = journal;
    deltas->begin.at = deltas->step.at = deltas->draft.at = -1;
}

void fake_deltas_speak(fake_deltas *deltas)
{
    deltas->source.ops = &speaking_ops;
}

/* ---- vocabulary -------------------------------------------------------------------------------------------------- */

static size_t token_to_piece(const void *model, int32_t token, char piece[COSTEER_PIECE_MAX])
{
    const char *const *pieces = model;
    for (int32_t i = 0; pieces[i] != NULL; i++) {
        if (i == token) {
            memcpy(piece, pieces[i], strlen(pieces[i]));
            return strlen(pieces[i]);
        }
    }
    const int n = snprintf(piece, COSTEER_PIECE_MAX, "<%d>", token);
    return n > 0 ? (size_t)n : 0;
}

static bool is_end(const void *model, int32_t token)
{
    (void)model;
    return token == FAKE_END;
}

costeer_vocab fake_vocab(const char *const *pieces)
{
    return (costeer_vocab){.n_vocab = FAKE_VOCAB, .token_to_piece = token_to_piece, .is_end = is_end, .model = pieces};
}
