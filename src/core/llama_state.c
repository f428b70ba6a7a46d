/*
 * A llama.cpp context: some sequences, one batch at a time, threads of its own.
 *
 * With model.c and gguf_file.c the only file that sees llama.cpp. It decides what belongs to the machine, not to the answers: the
 * size of pieces, threads that sleep between steps, where adapters are attached.
 */
#include "core/llama_state.h"

#include "core/model_internal.h"
#include "core/turn.h"
#include "util/error.h"

#include <llama.h>
#include <stdlib.h>

/* Prompts longer than this need --ctx-size: KV caches grow with it, and most prompts here are short. */
#define N_CTX_DEFAULT_MAX 8192

/* Tokens handed to llama.cpp at once; it cuts them into pieces of n_ubatch. */
#define N_BATCH 512

/*
 * A piece of a prompt: what is computed together. Every piece reads all weights, so pieces must not be small: a file of Q4
 * weights of a 1.5B takes as long to read as some ten tokens to compute. But intermediate results take memory for each token. The
 * results do not depend on the size (patches/).
 */
#define UBATCH_BYTES ((size_t)16 << 20)
#define UBATCH_STEP  16
#define UBATCH_MIN   64
#define UBATCH_MAX   128

struct cs_llama_state {
    struct llama_context *context;
    llama_memory_t memory;
    struct ggml_threadpool *pool;        /* of steps */
    struct ggml_threadpool *prompt_pool; /* of prompts; the same one when they have as many threads */
    int32_t n_threads;
    int32_t n_threads_prompt;
    bool takes_turns; /* with other prompts: it computes on the CPU */
    struct llama_batch batch;
    int32_t n_sequences;
    int32_t n_ctx;
    int32_t n_batch;
    int32_t n_ubatch;
    int32_t n_rows;
    bool can_cut;
    const char *component;
    cs_decoder_stop_fn stop;
    void *stop_user;
};

/* ---- creation ---------------------------------------------------------------------------------------------------- */

static bool should_abort(void *user)
{
    const cs_llama_state *state = user;
    return state->stop != NULL && state->stop(state->stop_user);
}

/* Pieces so small that the widest intermediate results (gate, up and their product; some of the embedding's width) fit. */
static int32_t pick_ubatch(const costeer_model *model)
{
    const costeer_model_info *info = costeer_model_get_info(model);
    const size_t n_ff = cs_model_n_ff(model) > 0 ? (size_t)cs_model_n_ff(model) : 4 * (size_t)info->n_embd;
    const size_t bytes_per_token = sizeof(float) * (3 * n_ff + 4 * (size_t)info->n_embd);
    size_t n = UBATCH_BYTES / bytes_per_token / UBATCH_STEP * UBATCH_STEP;
    n = n < UBATCH_MIN ? UBATCH_MIN : n;
    return (int32_t)(n > UBATCH_MAX ? UBATCH_MAX : n);
}

static struct llama_context_params context_params(cs_llama_state *state, const costeer_model *model)
{
    struct llama_context_params out = llama_context_default_params();
    const uint32_t n_sequences = (uint32_t)state->n_sequences;
    out.n_ctx = (uint32_t)state->n_ctx * n_sequences;
    out.n_batch = (uint32_t)state->n_batch;
    out.n_ubatch = (uint32_t)state->n_ubatch;
    out.n_seq_max = n_sequences;
    out.n_outputs_max = (uint32_t)(state->n_rows > state->n_sequences ? state->n_rows : state->n_sequences); /* it insists */
    out.n_threads = state->n_threads;
    out.n_threads_batch = state->n_threads;
    out.kv_unified = false;
    out.no_perf = true;
    out.offload_kqv = cs_model_is_offloaded(model);
    out.op_offload = cs_model_is_offloaded(model);
    out.abort_callback = should_abort;
    out.abort_callback_data = state;
    return out;
}

/* llama.cpp would otherwise start and end threads for every step. They sleep between steps: the other model needs the cores. */
static struct ggml_threadpool *start_threads(int32_t n_threads)
{
    struct ggml_threadpool_params params = ggml_threadpool_params_default(n_threads);
    params.poll = 0;
    return ggml_threadpool_new(&params);
}

static bool attach_threads(cs_llama_state *state)
{
    state->pool = start_threads(state->n_threads);
    state->prompt_pool = state->n_threads_prompt == state->n_threads ? state->pool : start_threads(state->n_threads_prompt);
    if (state->pool == NULL || state->prompt_pool == NULL) {
        return false;
    }
    llama_attach_threadpool(state->context, state->pool, state->pool);
    return true;
}

/* llama.cpp takes a step of two sequences for a batch, so what is a prompt is decided here. */
static void use_threads(cs_llama_state *state, bool is_prompt)
{
    if (state->prompt_pool != state->pool) {
        const int32_t n_threads = is_prompt ? state->n_threads_prompt : state->n_threads;
        struct ggml_threadpool *pool = is_prompt ? state->prompt_pool : state->pool;
        llama_attach_threadpool(state->context, pool, pool);
        llama_set_n_threads(state->context, n_threads, n_threads);
    }
}

static void set_sizes(cs_llama_state *state, const costeer_model *model, const cs_decoder_params *params)
{
    const int32_t n_ctx_train = costeer_model_get_info(model)->n_ctx_train;
    const int32_t n_ctx_default = n_ctx_train < N_CTX_DEFAULT_MAX ? n_ctx_train : N_CTX_DEFAULT_MAX;
    state->n_sequences = params->n_sequences;
    state->n_ctx = params->n_ctx > 0 ? params->n_ctx : n_ctx_default;
    state->n_batch = state->n_ctx < N_BATCH ? state->n_ctx : N_BATCH;
    state->n_batch = state->n_batch < state->n_sequences ? state->n_sequences : state->n_batch; /* a step is one batch */
    state->n_ubatch = pick_ubatch(model);
    state->n_ubatch = state->n_ubatch < state->n_batch ? state->n_ubatch : state->n_batch;
    state->n_rows = params->n_rows > 0 ? params->n_rows : params->n_sequences;
    state->n_threads = params->n_threads;
    state->n_threads_prompt = params->n_threads_prompt > 0 ? params->n_threads_prompt : params->n_threads;
    state->takes_turns = !cs_model_is_offloaded(model);
}

static costeer_err create(cs_llama_state *state, const costeer_model *model, const cs_decoder_params *params, costeer_error *err)
{
    const char *path = costeer_model_get_info(model)->path;
    struct llama_model *llama = cs_model_llama(model);
    set_sizes(state, model, params);
    state->component = params->component;
    state->stop = params->stop;
    state->stop_user = params->stop_user;
    state->can_cut = !llama_model_is_recurrent(llama) && !llama_model_is_hybrid(llama);
    cs_engine_error_clear();
    state->context = llama_init_from_model(llama, context_params(state, model));
    if (state->context == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, params->component,
                            "%s: llama.cpp could not make %d times %d tokens of context (%s); use a smaller --ctx-size", path,
                            state->n_sequences, state->n_ctx, cs_engine_error());
    }
    if (!cs_model_attach_adapter(model, state->context)) {
        return cs_error_set(err, COSTEER_EMODEL, params->component, "%s: llama.cpp cannot attach its adapter", path);
    }
    state->memory = llama_get_memory(state->context);
    if (state->memory == NULL) {
        return cs_error_set(err, COSTEER_EMODEL, params->component,
                            "%s: keeps no state between tokens, so it cannot generate text", path);
    }
    state->batch = llama_batch_init(state->n_batch, 0, 1);
    if (state->batch.token == NULL || !attach_threads(state)) {
        return cs_error_set(err, COSTEER_ENOMEM, params->component, "%s: no memory for its batches and threads", path);
    }
    return COSTEER_OK;
}

static costeer_err check_params(const costeer_model *model, const cs_decoder_params *params, costeer_error *err)
{
    if (params->n_sequences < 1) {
        return cs_error_set(err, COSTEER_EINVAL, params->component, "n_sequences is %d; give at least 1", params->n_sequences);
    }
    if (params->n_threads < 1 || params->n_threads > GGML_MAX_N_THREADS) {
        return cs_error_set(err, COSTEER_EINVAL, params->component, "n_threads is %d; give 1 to %d", params->n_threads,
                            GGML_MAX_N_THREADS);
    }
    if (params->n_threads_prompt < 0 || params->n_threads_prompt > GGML_MAX_N_THREADS) {
        return cs_error_set(err, COSTEER_EINVAL, params->component, "n_threads_prompt is %d; give 1 to %d, or 0",
                            params->n_threads_prompt, GGML_MAX_N_THREADS);
    }
    if (params->n_ctx < 0) {
        return cs_error_set(err, COSTEER_EINVAL, params->component, "n_ctx is %d; give a number of tokens, or 0", params->n_ctx);
    }
    if (cs_model_is_vocab_only(model)) {
        return cs_error_set(err, COSTEER_EMODEL, params->component, "%s: was loaded without weights, so it cannot generate",
                            costeer_model_get_info(model)->path);
    }
    return COSTEER_OK;
}

costeer_err cs_llama_state_create(const costeer_model *model, const cs_decoder_params *params, cs_llama_state **out,
                                  costeer_error *err)
{
    *out = NULL;
    costeer_err code = check_params(model, params, err);
    if (code != COSTEER_OK) {
        return code;
    }
    cs_llama_state *state = calloc(1, sizeof *state);
    if (state == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, params->component, "no memory for its state");
    }
    code = create(state, model, params, err);
    if (code != COSTEER_OK) {
        cs_llama_state_free(state);
        return code;
    }
    *out = state;
    return COSTEER_OK;
}

void cs_llama_state_free(cs_llama_state *state)
{
    if (state == NULL) {
        return;
    }
    if (state->context != NULL) {
        llama_free(state->context);
    }
    if (state->prompt_pool != NULL && state->prompt_pool != state->pool) {
        ggml_threadpool_free(state->prompt_pool);
    }
    if (state->pool != NULL) {
        ggml_threadpool_free(state->pool);
    }
    if (state->batch.token != NULL) {
        llama_batch_free(state->batch);
    }
    free(state);
}

int32_t cs_llama_state_n_ctx(const cs_llama_state *state)
{
    return state->n_ctx;
}

int32_t cs_llama_state_n_batch(const cs_llama_state *state)
{
    return state->n_batch;
}

int32_t cs_llama_state_n_piece(const cs_llama_state *state)
{
    return state->n_ubatch;
}

int32_t cs_llama_state_n_rows(const cs_llama_state *state)
{
    return state->n_rows;
}

bool cs_llama_state_can_cut(const cs_llama_state *state)
{
    return state->can_cut;
}

/* ---- computing --------------------------------------------------------------------------------------------------- */

void cs_llama_state_begin(cs_llama_state *state)
{
    state->batch.n_tokens = 0;
}

int32_t cs_llama_state_add(cs_llama_state *state, const cs_batch_token *token, int32_t sequence)
{
    struct llama_batch *batch = &state->batch;
    const int32_t i = batch->n_tokens++;
    batch->token[i] = token->token;
    batch->pos[i] = token->position;
    batch->n_seq_id[i] = 1;
    batch->seq_id[i][0] = sequence;
    batch->logits[i] = token->row >= 0 ? 1 : 0;
    return i;
}

static costeer_err decode(cs_llama_state *state, costeer_error *err)
{
    cs_engine_error_clear();
    cs_engine_set_stop(should_abort, state);
    const int32_t result = llama_decode(state->context, state->batch);
    cs_engine_set_stop(NULL, NULL);
    if (result == 0) {
        return COSTEER_OK;
    }
    if (result == 2) {
        return cs_error_set(err, COSTEER_ECANCELED, state->component, "cancelled");
    }
    return cs_error_set(err, COSTEER_EINTERNAL, state->component, "llama.cpp failed to decode a batch of %d tokens: %d (%s)",
                        state->batch.n_tokens, result, cs_engine_error());
}

costeer_err cs_llama_state_compute(cs_llama_state *state, bool is_prompt, costeer_error *err)
{
    const bool takes_turn = is_prompt && state->takes_turns;
    if (should_abort(state) ||
        (takes_turn && !cs_turn_take(should_abort, state))) { /* small models finish before llama.cpp asks */
        return cs_error_set(err, COSTEER_ECANCELED, state->component, "cancelled");
    }
    use_threads(state, is_prompt);
    const costeer_err code = decode(state, err);
    if (takes_turn) {
        cs_turn_give();
    }
    return code;
}

const float *cs_llama_state_row(const cs_llama_state *state, int32_t index)
{
    return llama_get_logits_ith(state->context, index);
}

int32_t cs_llama_state_cut(cs_llama_state *state, int32_t s, int32_t n)
{
    if (llama_memory_seq_rm(state->memory, s, n, -1)) {
        return n;
    }
    (void)llama_memory_seq_rm(state->memory, s, -1, -1); /* recurrent states cannot be cut: begin anew */
    return 0;
}

int32_t cs_llama_state_recover(cs_llama_state *state, int32_t s)
{
    if (!state->can_cut) {
        (void)llama_memory_seq_rm(state->memory, s, -1, -1);
        return 0;
    }
    return llama_memory_seq_pos_max(state->memory, s) + 1;
}

bool cs_llama_state_copy(cs_llama_state *state, int32_t from, int32_t to)
{
    const size_t n_bytes = llama_state_seq_get_size(state->context, from);
    uint8_t *bytes = n_bytes > 0 ? malloc(n_bytes) : NULL;
    const bool ok = bytes != NULL && llama_state_seq_get_data(state->context, bytes, n_bytes, from) == n_bytes &&
                    llama_state_seq_set_data(state->context, bytes, n_bytes, to) == n_bytes;
    free(bytes);
    if (!ok) {
        (void)llama_memory_seq_rm(state->memory, to, -1, -1);
    }
    return ok;
}
