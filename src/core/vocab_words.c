/*
 * The words of a model, packed one behind the other. llama.cpp answers for one token at a time and copies strings at that, so
 * each token is asked once and everything else works on the packed bytes.
 */
#include "core/vocab_words.h"

#include "core/model_internal.h"
#include "util/buffer.h"
#include "util/error.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

/* Real vocabularies have some 2 MB; offsets are 32-bit numbers. */
#define WORDS_BYTES_MAX ((size_t)1 << 30)

/* The token's bytes or name, in `piece` or in the model. */
static const char *read_word(const costeer_model *model, int32_t token, char piece[COSTEER_PIECE_MAX], size_t *n,
                             cs_word_kind *kind)
{
    const cs_token_traits traits = cs_model_token_traits(model, token);
    *n = costeer_model_token_to_piece(model, token, piece);
    if (costeer_model_is_end(model, token)) { /* some have bytes too: what counts is that nothing follows */
        *kind = CS_WORD_END;
    } else if (traits.is_control) {
        *kind = CS_WORD_CONTROL;
    } else if (*n == 0) {
        *kind = CS_WORD_NONE;
    } else {
        *kind = traits.is_byte ? CS_WORD_BYTE : CS_WORD_TEXT;
        return piece;
    }
    const char *name = cs_model_token_text(model, token);
    *n = name == NULL ? 0 : strlen(name);
    return name;
}

costeer_err cs_vocab_words_read(const costeer_model *model, cs_vocab_words *out, costeer_error *err)
{
    memset(out, 0, sizeof *out);
    out->n = costeer_model_get_info(model)->n_vocab;
    const int32_t end = cs_model_end_of_answer(model);
    out->end_of_answer = end < out->n ? end : -1;
    out->at = malloc(((size_t)out->n + 1) * sizeof *out->at);
    out->kinds = malloc((size_t)out->n + 1);
    if (out->at == NULL || out->kinds == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "vocab", "no memory for the texts of %d tokens", out->n);
    }
    cs_buffer bytes = {.cap = WORDS_BYTES_MAX};
    bool fits = cs_buffer_append(&bytes, "", 1); /* so that there is memory to point to, whatever the words are */
    bytes.n_bytes = 0;
    for (int32_t i = 0; fits && i < out->n; i++) {
        char piece[COSTEER_PIECE_MAX];
        size_t n = 0;
        cs_word_kind kind = CS_WORD_NONE;
        const char *word = read_word(model, i, piece, &n, &kind);
        out->at[i] = (int32_t)bytes.n_bytes;
        out->kinds[i] = (unsigned char)kind;
        fits = n == 0 || cs_buffer_append(&bytes, word, n);
    }
    out->at[out->n] = (int32_t)bytes.n_bytes;
    out->bytes = bytes.bytes;
    return fits ? COSTEER_OK
                : cs_error_set(err, COSTEER_ENOMEM, "vocab", "no memory for the texts of %d tokens, or more than %zu bytes",
                               out->n, WORDS_BYTES_MAX);
}

bool cs_vocab_words_hash(cs_vocab_words *words)
{
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    const size_t n = (size_t)words->n;
    bool ok = hash != NULL && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1;
    ok = ok && EVP_DigestUpdate(hash, &words->n, sizeof words->n) == 1;
    ok = ok && EVP_DigestUpdate(hash, &words->end_of_answer, sizeof words->end_of_answer) == 1;
    ok = ok && EVP_DigestUpdate(hash, words->kinds, n) == 1;
    ok = ok && EVP_DigestUpdate(hash, words->at, (n + 1) * sizeof *words->at) == 1;
    ok = ok && EVP_DigestUpdate(hash, words->bytes, (size_t)words->at[n]) == 1;
    ok = ok && EVP_DigestFinal_ex(hash, words->sha256, NULL) == 1;
    EVP_MD_CTX_free(hash);
    return ok;
}

void cs_vocab_words_dispose(cs_vocab_words *words)
{
    free(words->at);
    free(words->kinds);
    free(words->bytes);
    memset(words, 0, sizeof *words);
}
