/* The vocabulary of a made model: copied from a GGUF file, padded, with single tokens renamed, and with a chat template. */
#ifndef COSTEER_BENCH_MODEL_VOCAB_H
#define COSTEER_BENCH_MODEL_VOCAB_H

#include <gguf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** A token whose text is replaced: makes a pair of models that differ in one token. */
typedef struct cs_rename {
    int32_t id;
    const char *text;
} cs_rename;

typedef struct cs_vocab_options {
    const char *path;         /* the GGUF file to copy from; weights in it are not read */
    int32_t n_padded;         /* tokens wanted, the rest is padding; 0: as many as the file has */
    const cs_rename *renames; /* [n_renames] */
    size_t n_renames;
    bool no_template; /* leave the chat template out */
} cs_vocab_options;

/**
 * Copy the tokenizer into a file being made.
 *
 * Padding gets what the converter of real models writes: "[PAD<id>]", of the type "unused".
 *
 * @param[out] n_tokens  tokens in the vocabulary, padding included
 * @param[out] why       one line for a person, when false is returned
 */
bool cs_vocab_copy(const cs_vocab_options *options, struct gguf_context *out, int32_t *n_tokens, char *why, size_t why_size);

#endif
