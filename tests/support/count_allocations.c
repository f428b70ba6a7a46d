/* Test support: the wrapped allocation functions. */
#include "support/count_allocations.h"

#include <llama.h>
#include <stdatomic.h>
#include <stddef.h>

static atomic_bool is_counting;
static atomic_int n_allocations;
static _Thread_local bool is_in_llama;

void count_allocations(bool on)
{
    atomic_store(&is_counting, on);
}

int take_allocations(void)
{
    return atomic_exchange(&n_allocations, 0);
}

static void count_one(void)
{
    if (atomic_load(&is_counting) && !is_in_llama) {
        atomic_fetch_add(&n_allocations, 1);
    }
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
int32_t __real_llama_decode(struct llama_context *context, struct llama_batch batch);
int32_t __real_llama_tokenize(const struct llama_vocab *vocab, const char *text, int32_t n_text, llama_token *tokens,
                              int32_t n_max, bool add_special, bool parse_special);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);
int32_t __wrap_llama_decode(struct llama_context *context, struct llama_batch batch);
int32_t __wrap_llama_tokenize(const struct llama_vocab *vocab, const char *text, int32_t n_text, llama_token *tokens,
                              int32_t n_max, bool add_special, bool parse_special);

void *__wrap_malloc(size_t size)
{
    count_one();
    return __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    count_one();
    return __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    count_one();
    return __real_realloc(old, size);
}

int32_t __wrap_llama_decode(struct llama_context *context, struct llama_batch batch)
{
    is_in_llama = true;
    const int32_t result = __real_llama_decode(context, batch);
    is_in_llama = false;
    return result;
}

int32_t __wrap_llama_tokenize(const struct llama_vocab *vocab, const char *text, int32_t n_text, llama_token *tokens,
                              int32_t n_max, bool add_special, bool parse_special)
{
    is_in_llama = true;
    const int32_t result = __real_llama_tokenize(vocab, text, n_text, tokens, n_max, add_special, parse_special);
    is_in_llama = false;
    return result;
}
