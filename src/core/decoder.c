/*
 * A llama.cpp context as CoSteer uses it: some sequences, computed together in batches.
 *
 * The decoder remembers the tokens that each sequence's KV cache holds, so that a new prompt computes only what follows the
 * common beginning. A prompt runs in chunks; only the last chunk has outputs, one per sequence, so that logits buffers stay at
 * one row each. The state after a stop or a failure is read back from llama.cpp (or, for recurrent models, dropped): never assume
 * what was computed.
 */
#include "core/decoder.h"

#include "core/model_internal.h"
#include "util/error.h"

#include <llama.h>
#include <stdlib.h>
#include <string.h>

/* Prompts longer than this need --ctx-size: KV caches grow with it, and most prompts here are short. */
#define N_CTX_DEFAULT_MAX 8192

/* Tokens handed to llama.cpp at once; it cuts them into pieces of n_ubatch. */
#define N_BATCH 512

/*
 * A piece's intermediate results should stay below this, because a tokenizer of 152k tokens already takes most of the 64 MB that
 * a pair may use beyond weights and KV caches. Small pieces cost little: measured on one thread, 0.5B prefills at 97% of its best
 * with 64 tokens and at 85% with 32; 7B is as fast with 16 as with 128.
 */
#define UBATCH_BYTES ((size_t)4 << 20)
#define UBATCH_MIN   16
#define UBATCH_MAX   64

typedef struct sequence {
    int32_t *held; /* [n_ctx] tokens in the KV cache */
    int32_t n_held;
    int32_t *wanted; /* [n_ctx] the prompt that the next prefill computes */
    int32_t n_wanted;
    int32_t output; /* row of its logits */
} sequence;

struct cs_decoder {
    struct llama_context *context;
    llama_memory_t memory;
    struct ggml_threadpool *pool;
    struct llama_batch batch;
    sequence *sequences; /* [n_sequences] */
    int32_t n_sequences;
    int32_t n_ctx;
    int32_t n_batch;
    int32_t n_vocab_padded;
    bool keeps_no_prefix; /* recurrent state cannot go back */
    bool is_computed;     /* the batch is: its rows can be read */
    bool has_logits;      /* of the last prefill or step */
    const char *component;
    cs_decoder_stop_fn stop;
    void *stop_user;
};

/* ---- creation ---------------------------------------------------------------------------------------------------- */

static bool should_abort(void *user)
{
    const cs_decoder *decoder = user;
    return decoder->stop != NULL && decoder->stop(decoder->stop_user);
}

/* Pieces so small that the widest intermediate results (gate, up and their product; some of the embedding's width) fit. */
static uint32_t pick_ubatch(const costeer_model *model)
{
    const costeer_model_info *info = costeer_model_get_info(model);
    const size_t n_ff = cs_model_n_ff(model) > 0 ? (size_t)cs_model_n_ff(model) : 4 * (size_t)info->n_embd;
    const size_t bytes_per_token = sizeof(float) * (3 * n_ff + 4 * (size_t)info->n_embd);
    size_t n = UBATCH_BYTES / bytes_per_token / UBATCH_MIN * UBATCH_MIN;
    n = n < UBATCH_MIN ? UBATCH_MIN : n;
    return (uint32_t)(n > UBATCH_MAX ? UBATCH_MAX : n);
}

static struct llama_context_params engine_params(cs_decoder *decoder, const costeer_model *model, const cs_decoder_params *params)
{
    struct llama_context_params out = llama_context_default_params();
    const uint32_t n_sequences = (uint32_t)decoder->n_sequences;
    out.n_ctx = (uint32_t)decoder->n_ctx * n_sequences;
    out.n_batch = (uint32_t)decoder->n_batch;
    out.n_ubatch = pick_ubatch(model);
    out.n_seq_max = n_sequences;
    out.n_outputs_max = params->n_rows > 0 ? (uint32_t)params->n_rows : n_sequences;
    out.n_threads = params->n_threads;
    out.n_threads_batch = params->n_threads;
    out.kv_unified = false;
    out.no_perf = true;
    out.offload_kqv = cs_model_is_offloaded(model);
    out.op_offload = cs_model_is_offloaded(model);
    out.abort_callback = should_abort;
    out.abort_callback_data = decoder;
    return out;
}

static bool allocate_sequences(cs_decoder *decoder)
{
    decoder->sequences = calloc((size_t)decoder->n_sequences, sizeof *decoder->sequences);
    for (int32_t s = 0; decoder->sequences != NULL && s < decoder->n_sequences; s++) {
        decoder->sequences[s].held = malloc((size_t)decoder->n_ctx * sizeof(int32_t));
        decoder->sequences[s].wanted = malloc((size_t)decoder->n_ctx * sizeof(int32_t));
        if (decoder->sequences[s].held == NULL || decoder->sequences[s].wanted == NULL) {
            return false;
        }
    }
    return decoder->sequences != NULL;
}

/* llama.cpp would otherwise start and end threads for every step. They sleep between steps: the other model needs the cores. */
static bool attach_threads(cs_decoder *decoder, int32_t n_threads)
{
    struct ggml_threadpool_params params = ggml_threadpool_params_default(n_threads);
    params.poll = 0;
    decoder->pool = ggml_threadpool_new(&params);
    if (decoder->pool == NULL) {
        return false;
    }
    llama_attach_threadpool(decoder->context, decoder->pool, decoder->pool);
    return true;
}

static costeer_err create(cs_decoder *decoder, const costeer_model *model, const cs_decoder_params *params, costeer_error *err)
{
    const char *path = costeer_model_get_info(model)->path;
    const int32_t n_ctx_train = costeer_model_get_info(model)->n_ctx_train;
    const int32_t n_ctx_default = n_ctx_train < N_CTX_DEFAULT_MAX ? n_ctx_train : N_CTX_DEFAULT_MAX;
    decoder->n_ctx = params->n_ctx > 0 ? params->n_ctx : n_ctx_default;
    decoder->n_batch = decoder->n_ctx < N_BATCH ? decoder->n_ctx : N_BATCH;
    decoder->n_sequences = params->n_sequences;
    decoder->n_vocab_padded = costeer_model_get_info(model)->n_vocab_padded;
    decoder->component = params->component;
    decoder->stop = params->stop;
    decoder->stop_user = params->stop_user;
    decoder->keeps_no_prefix = llama_model_is_recurrent(cs_model_llama(model)) || llama_model_is_hybrid(cs_model_llama(model));
    if (!allocate_sequences(decoder)) {
        return cs_error_set(err, COSTEER_ENOMEM, params->component, "%s: no memory for %d tokens of context", path,
                            decoder->n_ctx);
    }
    cs_engine_error_clear();
    decoder->context = llama_init_from_model(cs_model_llama(model), engine_params(decoder, model, params));
    if (decoder->context == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, params->component,
                            "%s: llama.cpp could not make %d times %d tokens of context (%s); use a smaller --ctx-size", path,
                            decoder->n_sequences, decoder->n_ctx, cs_engine_error());
    }
    decoder->memory = llama_get_memory(decoder->context);
    if (decoder->memory == NULL) {
        return cs_error_set(err, COSTEER_EMODEL, params->component,
                            "%s: keeps no state between tokens, so it cannot generate text", path);
    }
    decoder->batch = llama_batch_init(decoder->n_batch, 0, 1);
    if (decoder->batch.token == NULL || !attach_threads(decoder, params->n_threads)) {
        return cs_error_set(err, COSTEER_ENOMEM, params->component, "%s: no memory for its batches and threads", path);
    }
    return COSTEER_OK;
}

costeer_err cs_decoder_create(const costeer_model *model, const cs_decoder_params *params, cs_decoder **out, costeer_error *err)
{
    *out = NULL;
    if (params->n_threads < 1 || params->n_threads > GGML_MAX_N_THREADS) {
        return cs_error_set(err, COSTEER_EINVAL, params->component, "n_threads is %d; give 1 to %d", params->n_threads,
                            GGML_MAX_N_THREADS);
    }
    if (params->n_ctx < 0) {
        return cs_error_set(err, COSTEER_EINVAL, params->component, "n_ctx is %d; give a number of tokens, or 0", params->n_ctx);
    }
    if (cs_model_is_vocab_only(model)) {
        return cs_error_set(err, COSTEER_EMODEL, params->component, "%s: was loaded without weights, so it cannot generate",
                            costeer_model_get_info(model)->path);
    }
    cs_decoder *decoder = calloc(1, sizeof *decoder);
    if (decoder == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, params->component, "no memory for its state");
    }
    const costeer_err code = create(decoder, model, params, err);
    if (code != COSTEER_OK) {
        cs_decoder_free(decoder);
        return code;
    }
    *out = decoder;
    return COSTEER_OK;
}

void cs_decoder_free(cs_decoder *decoder)
{
    if (decoder == NULL) {
        return;
    }
    if (decoder->context != NULL) {
        llama_free(decoder->context);
    }
    if (decoder->pool != NULL) {
        ggml_threadpool_free(decoder->pool);
    }
    if (decoder->batch.token != NULL) {
        llama_batch_free(decoder->batch);
    }
    for (int32_t s = 0; decoder->sequences != NULL && s < decoder->n_sequences; s++) {
        free(decoder->sequences[s].held);
        free(decoder->sequences[s].wanted);
    }
    free(decoder->sequences);
    free(decoder);
}

int32_t cs_decoder_n_ctx(const cs_decoder *decoder)
{
    return decoder->n_ctx;
}

/* ---- computing --------------------------------------------------------------------------------------------------- */

void cs_decoder_begin(cs_decoder *decoder)
{
    decoder->batch.n_tokens = 0;
    decoder->is_computed = false;
    decoder->has_logits = false;
}

int32_t cs_decoder_room(const cs_decoder *decoder)
{
    return decoder->n_batch - decoder->batch.n_tokens;
}

/* A token counts as held from here on: when the batch fails, resynchronise() takes it back. */
int32_t cs_decoder_add(cs_decoder *decoder, int32_t s, int32_t token, bool wants_row)
{
    struct llama_batch *batch = &decoder->batch;
    sequence *of = &decoder->sequences[s];
    if (batch->n_tokens >= decoder->n_batch || of->n_held >= decoder->n_ctx || token < 0 || token >= decoder->n_vocab_padded) {
        return -1;
    }
    const int32_t i = batch->n_tokens++;
    batch->token[i] = token;
    batch->pos[i] = of->n_held;
    batch->n_seq_id[i] = 1;
    batch->seq_id[i][0] = s;
    batch->logits[i] = wants_row ? 1 : 0;
    of->held[of->n_held++] = token;
    return i;
}

/* After a stop or a failure: believe only what llama.cpp says it still holds. */
static void resynchronise(cs_decoder *decoder)
{
    if (decoder->keeps_no_prefix) {
        llama_memory_clear(decoder->memory, false);
    }
    for (int32_t s = 0; s < decoder->n_sequences; s++) {
        const int32_t n = llama_memory_seq_pos_max(decoder->memory, s) + 1;
        sequence *of = &decoder->sequences[s];
        of->n_held = n < of->n_held ? n : of->n_held;
    }
    decoder->has_logits = false;
}

costeer_err cs_decoder_compute(cs_decoder *decoder, costeer_error *err)
{
    decoder->is_computed = false;
    decoder->has_logits = false;
    if (should_abort(decoder)) { /* small models finish before llama.cpp asks */
        resynchronise(decoder);
        return cs_error_set(err, COSTEER_ECANCELED, decoder->component, "cancelled");
    }
    cs_engine_error_clear();
    const int32_t result = llama_decode(decoder->context, decoder->batch);
    if (result == 0) {
        decoder->is_computed = true;
        return COSTEER_OK;
    }
    resynchronise(decoder);
    if (result == 2) {
        return cs_error_set(err, COSTEER_ECANCELED, decoder->component, "cancelled");
    }
    return cs_error_set(err, COSTEER_EINTERNAL, decoder->component, "llama.cpp failed to decode a batch of %d tokens: %d (%s)",
                        decoder->batch.n_tokens, result, cs_engine_error());
}

const float *cs_decoder_row(const cs_decoder *decoder, int32_t index)
{
    return decoder->is_computed ? llama_get_logits_ith(decoder->context, index) : NULL;
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
    if (n < of->n_held && !llama_memory_seq_rm(decoder->memory, s, n, -1)) {
        (void)llama_memory_seq_rm(decoder->memory, s, -1, -1); /* recurrent states cannot be cut: begin anew */
        n = 0;
    }
    of->n_held = n < of->n_held ? n : of->n_held;
    return of->n_held;
}

/* ---- prompts and steps ------------------------------------------------------------------------------------------- */

/* Keep the common beginning of what is held and what is wanted, but let at least one token be computed. */
static void keep_prefix(cs_decoder *decoder, int32_t s)
{
    sequence *of = &decoder->sequences[s];
    int32_t n = 0;
    while (n < of->n_held && n < of->n_wanted - 1 && of->held[n] == of->wanted[n]) {
        n++;
    }
    (void)cs_decoder_truncate(decoder, s, n);
}

/* Fill a batch with the next tokens of all sequences, all but their last ones. */
static void fill_chunk(cs_decoder *decoder)
{
    cs_decoder_begin(decoder);
    for (int32_t s = 0; s < decoder->n_sequences; s++) {
        sequence *of = &decoder->sequences[s];
        while (decoder->batch.n_tokens < decoder->n_batch && of->n_held < of->n_wanted - 1) {
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

costeer_err cs_decoder_prefill(cs_decoder *decoder, size_t *n_computed, costeer_error *err)
{
    decoder->has_logits = false;
    if (n_computed != NULL) {
        *n_computed = 0;
    }
    for (int32_t s = 0; s < decoder->n_sequences; s++) {
        if (decoder->sequences[s].n_wanted == 0) {
            return cs_error_set(err, COSTEER_ESTATE, decoder->component, "no prompt was set for sequence %d", s);
        }
        keep_prefix(decoder, s);
    }
    const size_t n_left = count_left(decoder);
    while (count_left(decoder) > (size_t)decoder->n_batch) {
        fill_chunk(decoder);
        const costeer_err code = cs_decoder_compute(decoder, err);
        if (code != COSTEER_OK) {
            return code;
        }
    }
    fill_last(decoder);
    const costeer_err code = cs_decoder_compute(decoder, err);
    decoder->has_logits = code == COSTEER_OK;
    if (n_computed != NULL) {
        *n_computed = n_left;
    }
    return code;
}

costeer_err cs_decoder_step(cs_decoder *decoder, int32_t token, costeer_error *err)
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
    const costeer_err code = cs_decoder_compute(decoder, err);
    decoder->has_logits = code == COSTEER_OK;
    return code;
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
