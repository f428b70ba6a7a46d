/*
 * What of two vocabularies is compared: the hash, and whether two models have one vocabulary (the same token-to-id map).
 *
 * The tokenizers' vocabularies are compared, not the widths of the outputs, which models of one family pad differently. A
 * difference is named by its first token, because "vocabularies differ" helps nobody.
 */
#include "core/model_internal.h"
#include "util/error.h"
#include "util/utf8.h"

#include <openssl/evp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

bool cs_model_hash_vocab(const costeer_model *model, char hex[65])
{
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    bool ok = hash != NULL && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1;
    for (int32_t i = 0; ok && i < costeer_model_get_info(model)->n_vocab; i++) {
        const char *text = cs_model_token_text(model, i);
        const size_t n = strlen(text);
        const unsigned char length[4] = {(unsigned char)n, (unsigned char)(n >> 8), (unsigned char)(n >> 16),
                                         (unsigned char)(n >> 24)};
        ok = EVP_DigestUpdate(hash, length, sizeof length) == 1 && EVP_DigestUpdate(hash, text, n) == 1;
    }
    unsigned char digest[EVP_MAX_MD_SIZE];
    ok = ok && EVP_DigestFinal_ex(hash, digest, NULL) == 1;
    EVP_MD_CTX_free(hash);
    for (size_t i = 0; ok && i < 32; i++) {
        (void)snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    }
    return ok;
}

/* What of a token's text is shown; longer ones are cut. */
#define SHOWN_BYTES 40

/* Write text so that it fits on a line: whole UTF-8 characters as they are, everything else as \xNN. */
static void escape(const char *text, char *out, size_t size)
{
    const size_t n = strlen(text);
    size_t used = 0;
    size_t at = 0;
    while (at < n && used < SHOWN_BYTES) {
        size_t length;
        const bool valid = cs_utf8_next(text + at, n - at, &length) == CS_UTF8_VALID;
        const unsigned char first = (unsigned char)text[at];
        if (valid && first >= 0x20 && first != 0x7F && first != '"' && first != '\\') {
            memcpy(out + used, text + at, length);
            used += length;
        } else {
            length = 1;
            used += (size_t)snprintf(out + used, size - used, "\\x%02X", first);
        }
        at += length;
    }
    (void)snprintf(out + used, size - used, "%s", at < n ? "..." : "");
}

costeer_err costeer_model_check_pair(const costeer_model *llm, const costeer_model *slm, costeer_error *err)
{
    if (llm == NULL || slm == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "pair", "two models are needed");
    }
    const costeer_model_info *a = costeer_model_get_info(llm);
    const costeer_model_info *b = costeer_model_get_info(slm);
    const int32_t n = a->n_vocab < b->n_vocab ? a->n_vocab : b->n_vocab;
    for (int32_t i = 0; i < n; i++) {
        const char *of_llm = cs_model_token_text(llm, i);
        const char *of_slm = cs_model_token_text(slm, i);
        if (strcmp(of_llm, of_slm) != 0) {
            char shown_llm[SHOWN_BYTES + 16];
            char shown_slm[SHOWN_BYTES + 16];
            escape(of_llm, shown_llm, sizeof shown_llm);
            escape(of_slm, shown_slm, sizeof shown_slm);
            return cs_error_set(err, COSTEER_EPAIR, "pair",
                                "the vocabularies differ: token %d is \"%s\" in the LLM and \"%s\" in the SLM", i, shown_llm,
                                shown_slm);
        }
    }
    if (a->n_vocab != b->n_vocab) {
        return cs_error_set(err, COSTEER_EPAIR, "pair", "the vocabularies differ: the LLM's has %d tokens and the SLM's %d",
                            a->n_vocab, b->n_vocab);
    }
    return COSTEER_OK;
}
