#include "support/columns.h"

#include <llama.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_PROMPT = 24, N_STEPS = 4 };

/* Sequences with prompts of their own in one cache, as expert and amateur are. Token ids are arbitrary: only sums are compared.
 */
static struct llama_context *create_sequences(struct llama_model *model, int n_sequences, int n_threads)
{
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = 512;
    params.n_seq_max = (uint32_t)n_sequences;
    params.n_threads = n_threads;
    params.n_threads_batch = n_threads;
    params.kv_unified = true;
    params.no_perf = true;
    struct llama_context *context = llama_init_from_model(model, params);
    assert_non_null(context);
    const int32_t n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
    for (int s = 0; s < n_sequences; s++) {
        struct llama_batch batch = llama_batch_init(N_PROMPT, 0, 1);
        for (int i = 0; i < N_PROMPT; i++) {
            batch.token[i] = (100 + 37 * i + 11 * s) % n_vocab;
            batch.pos[i] = i;
            batch.n_seq_id[i] = 1;
            batch.seq_id[i][0] = s;
            batch.logits[i] = 0;
        }
        batch.n_tokens = N_PROMPT;
        assert_int_equal(llama_decode(context, batch), 0);
        llama_batch_free(batch);
    }
    return context;
}

/* One token for each of the sequences first, …, first + n − 1; their logits to `out`. */
static void step(struct llama_context *context, int step, int first, int n, size_t n_vocab, float *out)
{
    struct llama_batch batch = llama_batch_init(n, 0, 1);
    for (int i = 0; i < n; i++) {
        batch.token[i] = 200 + 13 * step; /* the same for all, as a steered token is */
        batch.pos[i] = N_PROMPT + step;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = first + i;
        batch.logits[i] = 1;
    }
    batch.n_tokens = n;
    assert_int_equal(llama_decode(context, batch), 0);
    for (int i = 0; i < n; i++) {
        memcpy(out + (size_t)(first + i) * n_vocab, llama_get_logits_ith(context, i), n_vocab * sizeof *out);
    }
    llama_batch_free(batch);
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static void check(struct llama_model *model, int n_sequences, int n_threads)
{
    const size_t n_vocab = (size_t)llama_vocab_n_tokens(llama_model_get_vocab(model));
    const size_t n_values = (size_t)n_sequences * n_vocab;
    float *together = malloc(n_values * sizeof *together);
    float *alone = malloc(n_values * sizeof *alone);
    assert_true(together && alone);
    struct llama_context *contexts[2];
    for (int i = 0; i < 2; i++) {
        contexts[i] = create_sequences(model, n_sequences, n_threads);
    }
    for (int i = 0; i < N_STEPS; i++) {
        step(contexts[0], i, 0, n_sequences, n_vocab, together);
        for (int s = 0; s < n_sequences; s++) {
            step(contexts[1], i, s, 1, n_vocab, alone);
        }
        for (size_t k = 0; k < n_values; k++) {
            if (bits_of(together[k]) != bits_of(alone[k])) {
                fail_msg("step %d of %d sequences, %d threads: sequence %zu, token %zu: %.9g together, %.9g alone", i,
                         n_sequences, n_threads, k / n_vocab, k % n_vocab, (double)together[k], (double)alone[k]);
            }
        }
    }
    for (int i = 0; i < 2; i++) {
        llama_free(contexts[i]);
    }
    free(together);
    free(alone);
}

void assert_columns_are_independent(const char *path, const int *n_sequences, int n_threads)
{
    struct llama_model_params params = llama_model_default_params();
    struct llama_model *model = llama_model_load_from_file(path, params);
    assert_non_null(model);
    for (const int *n = n_sequences; *n > 0; n++) {
        check(model, *n, n_threads);
    }
    llama_model_free(model);
}
