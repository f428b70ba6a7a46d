/* The list of tokenizers that are in use, by the hash of all that makes them. Models load and are freed on any thread. */
#include "core/tokenizer.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cs_tokenizer {
    char sha256[65];
    struct llama_model *owner;
    int n_users;
    struct cs_tokenizer *next;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static cs_tokenizer *tokenizers;

cs_tokenizer *cs_tokenizer_borrow(const char *sha256)
{
    (void)pthread_mutex_lock(&mutex);
    cs_tokenizer *at = tokenizers;
    while (at != NULL && strcmp(at->sha256, sha256) != 0) {
        at = at->next;
    }
    if (at != NULL) {
        at->n_users++;
    }
    (void)pthread_mutex_unlock(&mutex);
    return at;
}

cs_tokenizer *cs_tokenizer_lend(const char *sha256, struct llama_model *owner)
{
    cs_tokenizer *out = calloc(1, sizeof *out);
    if (out == NULL) {
        return NULL;
    }
    (void)snprintf(out->sha256, sizeof out->sha256, "%s", sha256);
    out->owner = owner;
    out->n_users = 1;
    (void)pthread_mutex_lock(&mutex);
    out->next = tokenizers;
    tokenizers = out;
    (void)pthread_mutex_unlock(&mutex);
    return out;
}

struct llama_model *cs_tokenizer_owner(const cs_tokenizer *tokenizer)
{
    return tokenizer->owner;
}

struct llama_model *cs_tokenizer_return(cs_tokenizer *used)
{
    if (used == NULL) {
        return NULL;
    }
    (void)pthread_mutex_lock(&mutex);
    const bool is_last = --used->n_users == 0;
    cs_tokenizer **at = &tokenizers;
    while (is_last && *at != used) {
        at = &(*at)->next;
    }
    if (is_last) {
        *at = used->next;
    }
    (void)pthread_mutex_unlock(&mutex);
    struct llama_model *owner = is_last ? used->owner : NULL;
    if (is_last) {
        free(used);
    }
    return owner;
}
