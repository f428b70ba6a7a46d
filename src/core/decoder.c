/*
 * Some sequences, computed together in batches, in a context of their own or as a view of a shared one (engine.c).
 *
 * The decoder remembers the tokens that each sequence's KV cache holds, so that a new prompt computes only what follows the
 * common beginning. A prompt runs in chunks; only the last chunk has outputs, one per sequence, so that logits buffers stay at
 * one row each. What all prompts begin with (a template, a system message) is computed once, for sequence 0, and copied. The
 * state after a stop or a failure is read back from llama.cpp (or, for recurrent models, dropped): never assume what was
 * computed.
 */
#include "core/decoder.h"

#include "core/llama_state.h"
#include "core/pool_internal.h"
#include "util/error.h"

#include <stdlib.h>
#include <string.h>

/* Tokens that copying a shared beginning must save: fewer are computed beside the others' in less time than a chunk of their own.
 */
#define SHARED_MIN 16

typedef struct sequence {
    int32_t *held; /* [n_ctx] tokens in the KV cache */
    int32_t n_held;
    int32_t *wanted; /* [n_ctx] the prompt that the next prefill computes */
    int32_t n_wanted;
    int32_t output; /* row of its logits */
} sequence;

struct cs_decoder {
    cs_llama_state *llama; /* its own, NULL: a view */
    cs_view *view;         /* NULL: its own context */
    sequence *sequences;   /* [n_sequences] */
    cs_batch_token *batch; /* [n_batch] */
    int32_t n_tokens;      /* of the batch */
    int32_t n_wanted_rows; /* of the batch */
    int32_t n_sequences;
    int32_t n_ctx;
    int32_t n_batch;
    int32_t n_rows;
    int32_t n_vocab_padded;
    int32_t n_batches; /* computed since the prompts */
    bool is_submitted;
    bool is_computed; /* the batch is: its rows can be read */
    bool has_logits;  /* of the last prefill or step */
    bool is_last;     /* what was started ends with the batch that is submitted */
    bool is_prompt;   /* and is a prefill */
    int32_t n_chunk;  /* tokens of a prompt at a time */
    int32_t n_shared; /* of sequence 0, to be copied to the others; 0: nothing is */
    size_t n_started; /* tokens of what was started, 0: nothing was */
    size_t n_done;    /* and of these computed */
    costeer_prompt_progress_fn progress;
    void *progress_user;
    const char *component;
    cs_decoder_stop_fn stop;
    void *stop_user;
};

/* ---- creation ---------------------------------------------------------------------------------------------------- */

static bool should_stop(void *user)
{
    const cs_decoder *decoder = user;
    return decoder->stop != NULL && decoder->stop(decoder->stop_user);
}

static bool allocate(cs_decoder *decoder)
{
    decoder->batch = malloc((size_t)decoder->n_batch * sizeof *decoder->batch);
    decoder->sequences = calloc((size_t)decoder->n_sequences, sizeof *decoder->sequences);
    for (int32_t s = 0; decoder->sequences != NULL && s < decoder->n_sequences; s++) {
        decoder->sequences[s].held = malloc((size_t)decoder->n_ctx * sizeof(int32_t));
        decoder->sequences[s].wanted = malloc((size_t)decoder->n_ctx * sizeof(int32_t));
        if (decoder->sequences[s].held == NULL || decoder->sequences[s].wanted == NULL) {
            return false;
        }
    }
    return decoder->batch != NULL && decoder->sequences != NULL;
}

static costeer_err create(cs_decoder *decoder, const costeer_model *model, cs_engine *engine, const cs_decoder_params *params,
                          costeer_error *err)
{
    cs_decoder_params inner = *params;
    inner.stop = should_stop;
    inner.stop_user = decoder;
    const costeer_err code = engine != NULL ? cs_view_open(engine, &inner, &decoder->view, err)
                                            : cs_llama_state_create(model, &inner, &decoder->llama, err);
    if (code != COSTEER_OK) {
        return code;
    }
    const cs_llama_state *llama = engine != NULL ? engine->llama : decoder->llama;
    decoder->n_sequences = params->n_sequences;
    decoder->n_ctx = cs_llama_state_n_ctx(llama);
    decoder->n_batch = cs_llama_state_n_batch(llama);
    decoder->n_chunk = engine != NULL ? decoder->n_batch : cs_llama_state_n_piece(llama);
    decoder->n_rows = params->n_rows > 0 ? params->n_rows : params->n_sequences;
    decoder->n_vocab_padded = engine != NULL ? engine->n_vocab_padded : costeer_model_get_info(model)->n_vocab_padded;
    decoder->component = params->component;
    decoder->stop = params->stop;
    decoder->stop_user = params->stop_user;
    return allocate(decoder)
               ? COSTEER_OK
               : cs_error_set(err, COSTEER_ENOMEM, params->component, "no memory for %d tokens of context", decoder->n_ctx);
}

/* With a context of its own, or as a view of an engine. */
static costeer_err create_either(const costeer_model *model, cs_engine *engine, const cs_decoder_params *params, cs_decoder **out,
                                 costeer_error *err)
{
    *out = NULL;
    cs_decoder *decoder = calloc(1, sizeof *decoder);
    if (decoder == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, params->component, "no memory for its state");
    }
    const costeer_err code = create(decoder, model, engine, params, err);
    if (code != COSTEER_OK) {
        cs_decoder_free(decoder);
        return code;
    }
    *out = decoder;
    return COSTEER_OK;
}

costeer_err cs_decoder_create(const costeer_model *model, const cs_decoder_params *params, cs_decoder **out, costeer_error *err)
{
    return create_either(model, NULL, params, out, err);
}

costeer_err cs_engine_open(cs_engine *engine, const cs_decoder_params *params, cs_decoder **out, costeer_error *err)
{
    return create_either(NULL, engine, params, out, err);
}

void cs_decoder_free(cs_decoder *decoder)
{
    if (decoder == NULL) {
        return;
    }
    cs_view_free(decoder->view);
    cs_llama_state_free(decoder->llama);
    for (int32_t s = 0; decoder->sequences != NULL && s < decoder->n_sequences; s++) {
        free(decoder->sequences[s].held);
        free(decoder->sequences[s].wanted);
    }
    free(decoder->sequences);
    free(decoder->batch);
    free(decoder);
}

int32_t cs_decoder_n_ctx(const cs_decoder *decoder)
{
    return decoder->n_ctx;
}

void cs_decoder_set_stop(cs_decoder *decoder, cs_decoder_stop_fn stop, void *user)
{
    decoder->stop = stop;
    decoder->stop_user = user;
}

void cs_decoder_set_progress(cs_decoder *decoder, costeer_prompt_progress_fn call, void *user)
{
    decoder->progress = call;
    decoder->progress_user = user;
}

/* ---- computing --------------------------------------------------------------------------------------------------- */

void cs_decoder_begin(cs_decoder *decoder)
{
    cs_decoder_abandon(decoder);
    decoder->n_tokens = 0;
    decoder->n_wanted_rows = 0;
    decoder->is_computed = false;
    decoder->has_logits = false;
    decoder->is_prompt = false;
}

int32_t cs_decoder_room(const cs_decoder *decoder)
{
    return decoder->n_batch - decoder->n_tokens;
}

/* A token counts as held from here on: when the batch fails, resynchronise() takes it back. */
int32_t cs_decoder_add(cs_decoder *decoder, int32_t s, int32_t token, bool wants_row)
{
    sequence *of = &decoder->sequences[s];
    if (decoder->n_tokens >= decoder->n_batch || of->n_held >= decoder->n_ctx || token < 0 || token >= decoder->n_vocab_padded ||
        (wants_row && decoder->n_wanted_rows >= decoder->n_rows)) {
        return -1;
    }
    const int32_t row = wants_row ? decoder->n_wanted_rows++ : -1;
    decoder->batch[decoder->n_tokens] = (cs_batch_token){.token = token, .position = of->n_held, .sequence = s, .row = row};
    of->held[of->n_held++] = token;
    return decoder->n_tokens++;
}

/* After a stop or a failure: believe only what llama.cpp says it still holds. */
static void resynchronise(cs_decoder *decoder)
{
    for (int32_t s = 0; s < decoder->n_sequences; s++) {
        const int32_t n = decoder->view != NULL ? decoder->view->held[s] : cs_llama_state_recover(decoder->llama, s);
        sequence *of = &decoder->sequences[s];
        of->n_held = n < of->n_held ? n : of->n_held;
    }
    decoder->has_logits = false;
}

static costeer_err compute_own(cs_decoder *decoder, costeer_error *err)
{
    cs_llama_state_begin(decoder->llama);
    for (int32_t i = 0; i < decoder->n_tokens; i++) {
        (void)cs_llama_state_add(decoder->llama, &decoder->batch[i], decoder->batch[i].sequence);
    }
    return cs_llama_state_compute(decoder->llama, decoder->is_prompt, err);
}

void cs_decoder_submit(cs_decoder *decoder)
{
    decoder->is_submitted = true;
    decoder->is_computed = false;
    decoder->has_logits = false;
    if (decoder->view != NULL && decoder->n_tokens > 0) {
        cs_view_submit(decoder->view, decoder->batch, decoder->n_tokens, decoder->n_wanted_rows);
    }
}

costeer_err cs_decoder_wait(cs_decoder *decoder, costeer_error *err)
{
    if (!decoder->is_submitted || decoder->n_tokens == 0) {
        decoder->is_submitted = false;
        return cs_error_set(err, COSTEER_ESTATE, decoder->component, "there is no batch to compute");
    }
    const costeer_err code = decoder->view != NULL ? cs_view_wait(decoder->view, err) : compute_own(decoder, err);
    decoder->is_submitted = false;
    decoder->is_computed = code == COSTEER_OK;
    if (code != COSTEER_OK) {
        resynchronise(decoder);
    } else if (!decoder->is_prompt) {
        decoder->n_batches++;
    }
    return code;
}

int32_t cs_decoder_n_batches(const cs_decoder *decoder)
{
    return decoder->n_batches;
}

costeer_err cs_decoder_compute(cs_decoder *decoder, costeer_error *err)
{
    cs_decoder_submit(decoder);
    return cs_decoder_wait(decoder, err);
}

void cs_decoder_abandon(cs_decoder *decoder)
{
    if (!decoder->is_submitted) {
        return;
    }
    decoder->is_submitted = false;
    if (decoder->view == NULL) {
        resynchronise(decoder); /* nothing was computed yet */
        return;
    }
    cs_view_abandon(decoder->view);
    for (int32_t s = 0; s < decoder->n_sequences; s++) {
        (void)cs_decoder_truncate(decoder, s, 0);
    }
}

const float *cs_decoder_row(const cs_decoder *decoder, int32_t index)
{
    if (!decoder->is_computed || index < 0 || index >= decoder->n_tokens || decoder->batch[index].row < 0) {
        return NULL;
    }
    return decoder->view != NULL ? decoder->view->rows + (size_t)decoder->batch[index].row * (size_t)decoder->n_vocab_padded
                                 : cs_llama_state_row(decoder->llama, index);
}

int32_t cs_decoder_held(const cs_decoder *decoder, int32_t s)
{
    return decoder->sequences[s].n_held;
}

const int32_t *cs_decoder_held_tokens(const cs_decoder *decoder, int32_t s)
{
    return decoder->sequences[s].held;
}

int32_t cs_decoder_truncate(cs_decoder *decoder, int32_t s, int32_t n)
{
    sequence *of = &decoder->sequences[s];
    if (n < of->n_held) {
        of->n_held = decoder->view != NULL ? cs_view_cut(decoder->view, s, n) : cs_llama_state_cut(decoder->llama, s, n);
    }
    return of->n_held;
}

/* ---- prompts and steps ------------------------------------------------------------------------------------------- */

/* Keep the common beginning of what is held and what is wanted, but let at least one token be computed. A view keeps nothing:
 * what it computes must not depend on the answers before. */
static void keep_prefix(cs_decoder *decoder, int32_t s)
{
    sequence *of = &decoder->sequences[s];
    int32_t n = 0;
    while (decoder->view == NULL && n < of->n_held && n < of->n_wanted - 1 && of->held[n] == of->wanted[n]) {
        n++;
    }
    (void)cs_decoder_truncate(decoder, s, n);
}

/* How many tokens the prompts begin with in common, the last one of each left out. */
static int32_t count_common(const cs_decoder *decoder)
{
    const sequence *first = &decoder->sequences[0];
    int32_t n = first->n_wanted - 1;
    for (int32_t s = 1; s < decoder->n_sequences; s++) {
        const sequence *of = &decoder->sequences[s];
        int32_t i = 0;
        while (i < n && i < of->n_wanted - 1 && of->wanted[i] == first->wanted[i]) {
            i++;
        }
        n = i;
    }
    return n;
}

/* Sequence 0 must hold the shared beginning and nothing else when it is copied, as not every state can be cut afterwards. */
static void plan_sharing(cs_decoder *decoder)
{
    const int32_t n_common = count_common(decoder);
    int32_t n_saved = 0;
    for (int32_t s = 1; s < decoder->n_sequences; s++) {
        const int32_t n_held = decoder->sequences[s].n_held;
        n_saved += n_held < n_common ? n_common - n_held : 0;
    }
    const bool is_worth_it = decoder->view == NULL && decoder->sequences[0].n_held <= n_common && n_saved >= SHARED_MIN;
    decoder->n_shared = is_worth_it ? n_common : 0;
    decoder->n_started -= is_worth_it ? (size_t)n_saved : 0;
}

static void copy_shared(cs_decoder *decoder)
{
    const int32_t n = decoder->n_shared;
    decoder->n_shared = 0;
    for (int32_t s = 1; s < decoder->n_sequences; s++) {
        sequence *to = &decoder->sequences[s];
        if (to->n_held >= n) {
            continue;
        }
        if (cs_llama_state_copy(decoder->llama, 0, s)) {
            memcpy(to->held, to->wanted, (size_t)n * sizeof *to->held);
            to->n_held = n;
        } else {
            decoder->n_started += (size_t)n; /* computed after all */
            to->n_held = 0;
        }
    }
}

/* Fill a batch with the next tokens of all sequences, all but their last ones; while a beginning is shared, of the first only. */
static void fill_chunk(cs_decoder *decoder)
{
    const int32_t n_sequences = decoder->n_shared > 0 ? 1 : decoder->n_sequences;
    cs_decoder_begin(decoder);
    for (int32_t s = 0; s < n_sequences; s++) {
        sequence *of = &decoder->sequences[s];
        const int32_t end = decoder->n_shared > 0 ? decoder->n_shared : of->n_wanted - 1;
        while (decoder->n_tokens < decoder->n_chunk && of->n_held < end) {
            (void)cs_decoder_add(decoder, s, of->wanted[of->n_held], false);
        }
    }
}

/* Fill the batch with all that is left; the last token of each sequence yields logits. */
static void fill_last(cs_decoder *decoder)
{
    cs_decoder_begin(decoder);
    for (int32_t s = 0; s < decoder->n_sequences; s++) {
        sequence *of = &decoder->sequences[s];
        while (of->n_held < of->n_wanted) {
            of->output = cs_decoder_add(decoder, s, of->wanted[of->n_held], of->n_held == of->n_wanted - 1);
        }
    }
}

static size_t count_left(const cs_decoder *decoder)
{
    size_t n = 0;
    for (int32_t s = 0; s < decoder->n_sequences; s++) {
        n += (size_t)(decoder->sequences[s].n_wanted - decoder->sequences[s].n_held);
    }
    return n;
}

/* The last chunk has the last tokens of all sequences, which must fit even where there are more sequences than a piece has room
 * for. */
static void submit_chunk(cs_decoder *decoder)
{
    if (decoder->n_shared > 0 && decoder->sequences[0].n_held == decoder->n_shared) {
        copy_shared(decoder);
    }
    const size_t n_max = (size_t)(decoder->n_chunk > decoder->n_sequences ? decoder->n_chunk : decoder->n_sequences);
    decoder->is_last = decoder->n_shared == 0 && count_left(decoder) <= n_max;
    if (decoder->is_last) {
        fill_last(decoder);
    } else {
        fill_chunk(decoder);
    }
    decoder->is_prompt = true;
    cs_decoder_submit(decoder);
}

static void report_progress(const cs_decoder *decoder)
{
    if (decoder->progress != NULL && decoder->is_prompt) {
        const costeer_prompt_progress progress = {
            .model = decoder->component, .n_done = decoder->n_done, .n_all = decoder->n_started};
        decoder->progress(&progress, decoder->progress_user);
    }
}

costeer_err cs_decoder_start_prefill(cs_decoder *decoder, costeer_error *err)
{
    cs_decoder_begin(decoder);
    decoder->n_started = 0;
    decoder->n_done = 0;
    decoder->n_batches = 0;
    for (int32_t s = 0; s < decoder->n_sequences; s++) {
        if (decoder->sequences[s].n_wanted == 0) {
            return cs_error_set(err, COSTEER_ESTATE, decoder->component, "no prompt was set for sequence %d", s);
        }
        keep_prefix(decoder, s);
    }
    decoder->n_started = count_left(decoder);
    plan_sharing(decoder);
    submit_chunk(decoder);
    return COSTEER_OK;
}

costeer_err cs_decoder_start_step(cs_decoder *decoder, int32_t token, costeer_error *err)
{
    if (!decoder->has_logits) {
        return cs_error_set(err, COSTEER_ESTATE, decoder->component, "a step before the prompt was computed");
    }
    if (token < 0 || token >= decoder->n_vocab_padded) {
        return cs_error_set(err, COSTEER_EINVAL, decoder->component, "token %d is not one of the model's %d", token,
                            decoder->n_vocab_padded);
    }
    for (int32_t s = 0; s < decoder->n_sequences; s++) {
        if (decoder->sequences[s].n_held >= decoder->n_ctx) {
            return cs_error_set(err, COSTEER_ETOOLONG, decoder->component,
                                "the context window of %d tokens is full; use --ctx-size", decoder->n_ctx);
        }
    }
    cs_decoder_begin(decoder);
    for (int32_t s = 0; s < decoder->n_sequences; s++) {
        decoder->sequences[s].output = cs_decoder_add(decoder, s, token, true);
    }
    decoder->n_started = (size_t)decoder->n_sequences;
    decoder->is_last = true;
    cs_decoder_submit(decoder);
    return COSTEER_OK;
}

costeer_err cs_decoder_finish(cs_decoder *decoder, size_t *n_computed, costeer_error *err)
{
    report_progress(decoder);
    costeer_err code = cs_decoder_wait(decoder, err);
    while (code == COSTEER_OK) {
        decoder->n_done += (size_t)decoder->n_tokens;
        report_progress(decoder);
        if (decoder->is_last) {
            break;
        }
        submit_chunk(decoder);
        code = cs_decoder_wait(decoder, err);
    }
    decoder->has_logits = code == COSTEER_OK;
    if (n_computed != NULL) {
        *n_computed = code == COSTEER_OK ? decoder->n_started : 0;
    }
    return code;
}

costeer_err cs_decoder_prefill(cs_decoder *decoder, size_t *n_computed, costeer_error *err)
{
    if (n_computed != NULL) {
        *n_computed = 0;
    }
    const costeer_err code = cs_decoder_start_prefill(decoder, err);
    return code == COSTEER_OK ? cs_decoder_finish(decoder, n_computed, err) : code;
}

costeer_err cs_decoder_step(cs_decoder *decoder, int32_t token, costeer_error *err)
{
    const costeer_err code = cs_decoder_start_step(decoder, token, err);
    return code == COSTEER_OK ? cs_decoder_finish(decoder, NULL, err) : code;
}

const float *cs_decoder_logits(const cs_decoder *decoder, int32_t s)
{
    if (!decoder->has_logits || s < 0 || s >= decoder->n_sequences) {
        return NULL;
    }
    return cs_decoder_row(decoder, decoder->sequences[s].output);
}

/* ---- prompts ----------------------------------------------------------------------------------------------------- */

costeer_err cs_decoder_set_prompt(cs_decoder *decoder, int32_t s, const int32_t *ids, size_t n, int32_t n_answer,
                                  const char *what, costeer_error *err)
{
    if (n == 0) {
        return cs_error_set(err, COSTEER_EINVAL, decoder->component, "%s is empty", what);
    }
    if (n_answer < 0 || n > (size_t)decoder->n_ctx || (size_t)n_answer > (size_t)decoder->n_ctx - n) {
        return cs_error_set(err, COSTEER_ETOOLONG, decoder->component,
                            "%s of %zu tokens and up to %d of answer do not fit the %d of the context window; shorten it, lower "
                            "--max-tokens, or use --ctx-size",
                            what, n, n_answer, decoder->n_ctx);
    }
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= decoder->n_vocab_padded) {
            return cs_error_set(err, COSTEER_EINVAL, decoder->component, "token %d of %s is not one of the model's %d", ids[i],
                                what, decoder->n_vocab_padded);
        }
    }
    memcpy(decoder->sequences[s].wanted, ids, n * sizeof *ids);
    decoder->sequences[s].n_wanted = (int32_t)n;
    return COSTEER_OK;
}
