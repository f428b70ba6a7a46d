/*
 * Copies a tokenizer from one GGUF file to another.
 *
 * The speed of a model does not depend on its weights, but it does depend on the true vocabulary: the width of the output, and
 * what the tokenizer does. llama.cpp's source holds vocabulary-only files of many real models; this takes theirs unchanged.
 */
#include "model_vocab.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_TOKENS   "tokenizer.ggml.tokens"
#define KEY_TYPES    "tokenizer.ggml.token_type"
#define KEY_SCORES   "tokenizer.ggml.scores"
#define KEY_TEMPLATE "tokenizer.chat_template"

/* llama_token_type */
enum { TOKEN_NORMAL = 1, TOKEN_UNUSED = 5 };

/* Far beyond any vocabulary; keeps array sizes inside 32 bits. */
enum { VOCAB_MAX = 1 << 22 };

/* "[PAD" + ten digits + "]" + NUL */
enum { PAD_TEXT_SIZE = 16 };

/* The format of Qwen, as its converter writes it when the tokenizer has the two special tokens. */
static const char chatml[] = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + "
                             "'<|im_end|>' + '\\n'}}{% endfor %}"
                             "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/* The token arrays of the new file; texts point into the source, the renames or `pads`. */
typedef struct token_table {
    int32_t n_source;
    int32_t n; /* with padding */
    const char **texts;
    int32_t *types;
    float *scores; /* NULL when the vocabulary has none */
    char (*pads)[PAD_TEXT_SIZE];
} token_table;

static void table_free(token_table *table)
{
    free(table->texts);
    free(table->types);
    free(table->scores);
    free(table->pads);
}

static bool is_array(const struct gguf_context *file, int64_t key, enum gguf_type type)
{
    return key >= 0 && gguf_get_kv_type(file, key) == GGUF_TYPE_ARRAY && gguf_get_arr_type(file, key) == type;
}

static bool table_alloc(token_table *table, bool with_scores)
{
    size_t n = (size_t)table->n;
    table->texts = calloc(n, sizeof(*table->texts));
    table->types = calloc(n, sizeof(*table->types));
    table->scores = with_scores ? calloc(n, sizeof(*table->scores)) : NULL;
    table->pads = calloc(n, sizeof(*table->pads));
    return table->texts && table->types && table->pads && (table->scores || !with_scores);
}

/* Read texts, types and scores of the source's tokens; the rest of the table stays zero. */
static bool table_read(token_table *table, const struct gguf_context *source, int32_t n_padded, char *why, size_t why_size)
{
    int64_t tokens = gguf_find_key(source, KEY_TOKENS);
    if (!is_array(source, tokens, GGUF_TYPE_STRING) || gguf_get_arr_n(source, tokens) == 0 ||
        gguf_get_arr_n(source, tokens) > VOCAB_MAX) {
        snprintf(why, why_size, "it holds no vocabulary (" KEY_TOKENS ")");
        return false;
    }
    table->n_source = (int32_t)gguf_get_arr_n(source, tokens);
    table->n = n_padded == 0 ? table->n_source : n_padded;
    if (table->n < table->n_source || table->n > VOCAB_MAX) {
        snprintf(why, why_size, "its %" PRId32 " tokens cannot be padded to %" PRId32, table->n_source, n_padded);
        return false;
    }
    int64_t types = gguf_find_key(source, KEY_TYPES);
    int64_t scores = gguf_find_key(source, KEY_SCORES);
    size_t n = (size_t)table->n_source;
    bool with_types = is_array(source, types, GGUF_TYPE_INT32) && gguf_get_arr_n(source, types) == n;
    bool with_scores = is_array(source, scores, GGUF_TYPE_FLOAT32) && gguf_get_arr_n(source, scores) == n;
    if (!table_alloc(table, with_scores)) {
        snprintf(why, why_size, "out of memory");
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        table->texts[i] = gguf_get_arr_str(source, tokens, i);
        table->types[i] = with_types ? ((const int32_t *)gguf_get_arr_data(source, types))[i] : TOKEN_NORMAL;
        if (with_scores) {
            table->scores[i] = ((const float *)gguf_get_arr_data(source, scores))[i];
        }
    }
    return true;
}

/*
 * Padding that the source already has is marked unused as well: older converters called it user-defined, and the tokenizer would
 * then look for "[PAD…]" in every text.
 */
static void table_pad(token_table *table)
{
    for (int32_t i = 0; i < table->n; i++) {
        snprintf(table->pads[i], PAD_TEXT_SIZE, "[PAD%" PRId32 "]", i);
        if (i < table->n_source && strcmp(table->texts[i], table->pads[i]) != 0) {
            continue;
        }
        table->texts[i] = table->pads[i];
        table->types[i] = TOKEN_UNUSED;
        if (table->scores) {
            table->scores[i] = -1000.0F; /* as the converter: below every real piece */
        }
    }
}

static bool table_rename(token_table *table, const cs_rename *renames, size_t n_renames, char *why, size_t why_size)
{
    for (size_t i = 0; i < n_renames; i++) {
        if (renames[i].id >= table->n) {
            snprintf(why, why_size, "it has no token %" PRId32 " to rename, only %" PRId32, renames[i].id, table->n);
            return false;
        }
        table->texts[renames[i].id] = renames[i].text;
    }
    return true;
}

static bool has_token(const token_table *table, const char *text)
{
    for (int32_t i = 0; i < table->n; i++) {
        if (strcmp(table->texts[i], text) == 0) {
            return true;
        }
    }
    return false;
}

/* Copy every key of the tokenizer; keys of the architecture are the new file's own. */
static void copy_keys(const struct gguf_context *source, struct gguf_context *out)
{
    gguf_set_kv(out, source);
    for (int64_t i = gguf_get_n_kv(source) - 1; i >= 0; i--) {
        const char *name = gguf_get_key(source, i);
        if (strncmp(name, "tokenizer.", strlen("tokenizer.")) != 0) {
            gguf_remove_key(out, name);
        }
    }
}

static void write_keys(const token_table *table, const cs_vocab_options *options, const struct gguf_context *source,
                       struct gguf_context *out)
{
    size_t n = (size_t)table->n;
    copy_keys(source, out);
    gguf_set_arr_str(out, KEY_TOKENS, table->texts, n);
    gguf_set_arr_data(out, KEY_TYPES, GGUF_TYPE_INT32, table->types, n);
    if (table->scores) {
        gguf_set_arr_data(out, KEY_SCORES, GGUF_TYPE_FLOAT32, table->scores, n);
    }
    if (options->no_template) {
        gguf_remove_key(out, KEY_TEMPLATE);
    } else if (gguf_find_key(out, KEY_TEMPLATE) < 0 && has_token(table, "<|im_start|>") && has_token(table, "<|im_end|>")) {
        gguf_set_val_str(out, KEY_TEMPLATE, chatml);
    }
}

/* gguf_init_from_file() says nothing to the caller about why it failed, so the common reason is found first. */
static struct gguf_context *open_source(const char *path, char *why, size_t why_size)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        snprintf(why, why_size, "%s", strerror(errno));
        return NULL;
    }
    struct gguf_context *source = gguf_init_from_file_ptr(file, (struct gguf_init_params){.no_alloc = true, .ctx = NULL});
    fclose(file);
    if (!source) {
        snprintf(why, why_size, "not a readable GGUF file");
    }
    return source;
}

bool cs_vocab_copy(const cs_vocab_options *options, struct gguf_context *out, int32_t *n_tokens, char *why, size_t why_size)
{
    struct gguf_context *source = open_source(options->path, why, why_size);
    if (!source) {
        return false;
    }
    token_table table = {0};
    bool done = false;
    if (!table_read(&table, source, options->n_padded, why, why_size)) {
        goto out;
    }
    table_pad(&table);
    if (!table_rename(&table, options->renames, options->n_renames, why, why_size)) {
        goto out;
    }
    write_keys(&table, options, source, out);
    *n_tokens = table.n;
    done = true;
out:
    table_free(&table);
    gguf_free(source);
    return done;
}
