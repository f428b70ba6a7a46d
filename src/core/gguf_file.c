/*
 * What a GGUF file says about itself, looked at before llama.cpp loads it.
 *
 * llama.cpp validates most of a file and reports it through its log, but some metadata it only asserts (and an assertion ends the
 * process), and a memory-mapped file that is too short would be noticed as SIGBUS. So the things it asserts, the extent of the
 * tensors, and whether the model generates text at all are checked here, each with a message that says what to do.
 * This is the only file that includes gguf.h.
 */
#include "core/gguf_file.h"

#include "core/mapping.h"
#include "core/model_internal.h"
#include "util/error.h"

#include <errno.h>
#include <ggml.h>
#include <gguf.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* llama.cpp's LLAMA_MAX_LAYERS and LLAMA_MAX_EXPERTS: it asserts them. */
#define LAYERS_MAX  512
#define EXPERTS_MAX 1024

/* What ggml asks of the CPU's tensors. */
#define TENSOR_ALIGNMENT 32

/* ---- reading single values --------------------------------------------------------------------------------------- */

/* Find "<architecture>.<name>". */
static int64_t find_arch_key(const struct gguf_context *gguf, const char *architecture, const char *name)
{
    char key[256];
    const int n = snprintf(key, sizeof key, "%s.%s", architecture, name);
    return n > 0 && (size_t)n < sizeof key ? gguf_find_key(gguf, key) : -1;
}

/* A whole number of any width, or the largest of an array of them; false when the key is absent or something else. */
static bool get_number(const struct gguf_context *gguf, const char *architecture, const char *name, uint64_t *out)
{
    const int64_t key = find_arch_key(gguf, architecture, name);
    if (key < 0) {
        return false;
    }
    switch (gguf_get_kv_type(gguf, key)) {
    case GGUF_TYPE_UINT16:
        *out = gguf_get_val_u16(gguf, key);
        return true;
    case GGUF_TYPE_UINT32:
        *out = gguf_get_val_u32(gguf, key);
        return true;
    case GGUF_TYPE_INT32:
        *out = (uint64_t)gguf_get_val_i32(gguf, key);
        return true;
    case GGUF_TYPE_UINT64:
        *out = gguf_get_val_u64(gguf, key);
        return true;
    case GGUF_TYPE_ARRAY:
        break;
    default:
        return false;
    }
    const enum gguf_type type = gguf_get_arr_type(gguf, key);
    if ((type != GGUF_TYPE_INT32 && type != GGUF_TYPE_UINT32) || gguf_get_arr_n(gguf, key) == 0) {
        return false;
    }
    const uint32_t *values = gguf_get_arr_data(gguf, key);
    *out = 0;
    for (size_t i = 0; i < gguf_get_arr_n(gguf, key); i++) {
        *out = values[i] > *out ? values[i] : *out;
    }
    return true;
}

static const char *get_string(const struct gguf_context *gguf, const char *name)
{
    const int64_t key = gguf_find_key(gguf, name);
    return key >= 0 && gguf_get_kv_type(gguf, key) == GGUF_TYPE_STRING ? gguf_get_val_str(gguf, key) : NULL;
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

static costeer_err bad(costeer_error *err, const char *path, const char *what)
{
    return cs_error_set(err, COSTEER_EMODEL, "model", "%s: %s", path, what);
}

/* Look at the first bytes, so that the commonest mistakes get words of their own. */
static costeer_err check_file(const char *path, cs_gguf_summary *out, costeer_error *err)
{
    struct stat status;
    if (stat(path, &status) != 0) {
        return cs_error_set(err, COSTEER_EMODEL, "model", "%s: %s; check the path of the model file", path, strerror(errno));
    }
    if (S_ISDIR(status.st_mode)) {
        return bad(err, path, "is a directory; give the .gguf file in it");
    }
    if (!S_ISREG(status.st_mode)) {
        return bad(err, path, "is not a regular file; give a .gguf file");
    }
    out->file_bytes = (uint64_t)status.st_size;
    if (out->file_bytes == 0) {
        return bad(err, path, "is empty; fetch the model file again");
    }
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return cs_error_set(err, COSTEER_EMODEL, "model", "%s: %s; check the file's permissions", path, strerror(errno));
    }
    unsigned char magic[4];
    const size_t n_read = fread(magic, 1, sizeof magic, file);
    (void)fclose(file);
    if (n_read < sizeof magic || memcmp(magic, "GGUF", 4) != 0) {
        return bad(err, path, "is not a GGUF file; give a .gguf model, or convert yours with llama.cpp's convert_hf_to_gguf.py");
    }
    return COSTEER_OK;
}

static costeer_err refuse_damaged(const char *path, costeer_error *err)
{
    return cs_error_set(err, COSTEER_EMODEL, "model", "%s: is damaged or truncated (%s); fetch it again", path,
                        cs_engine_error());
}

static bool is_aligned(const struct gguf_context *gguf)
{
    return gguf_get_alignment(gguf) % TENSOR_ALIGNMENT == 0 && gguf_get_data_offset(gguf) % TENSOR_ALIGNMENT == 0;
}

/* Every tensor must lie within the file. */
static costeer_err check_extents(const struct gguf_context *gguf, const char *path, uint64_t file_bytes, costeer_error *err)
{
    const uint64_t data = gguf_get_data_offset(gguf);
    uint64_t end = data;
    for (int64_t i = 0; i < gguf_get_n_tensors(gguf); i++) {
        const uint64_t offset = gguf_get_tensor_offset(gguf, i);
        const uint64_t size = gguf_get_tensor_size(gguf, i);
        if (offset > UINT64_MAX - data || size > UINT64_MAX - data - offset) {
            return bad(err, path, "is damaged (a tensor's place is out of range); fetch it again");
        }
        end = data + offset + size > end ? data + offset + size : end;
    }
    if (end > file_bytes) {
        return cs_error_set(err, COSTEER_EMODEL, "model",
                            "%s: is truncated: it has %" PRIu64 " bytes of the %" PRIu64 " its tensors need; fetch it again",
                            path, file_bytes, end);
    }
    return COSTEER_OK;
}

/* ---- what kind of model ------------------------------------------------------------------------------------------ */

/* Architectures that llama.cpp runs without a KV cache, or with an encoder that needs an input of its own. */
static const char *const not_generative[] = {
    "bert",         "nomic-bert", "nomic-bert-moe", "neo-bert",         "jina-bert-v2",
    "jina-bert-v3", "eurobert",   "modern-bert",    "t5encoder",        "t5",
    "clip",         "mmproj",     "llama-embed",    "gemma-embedding",  "dream",
    "llada",        "llada-moe",  "rnd1",           "wavtokenizer-dec",
};

/* A draft head generates only together with the model it was made for. */
static const char *const draft_heads[] = {"eagle3", "dflash", "gemma4-assistant"};

static bool is_among(const char *name, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

static costeer_err check_kind(const struct gguf_context *gguf, const char *architecture, const char *path, costeer_error *err)
{
    const char *type = get_string(gguf, "general.type");
    if (type != NULL && strcmp(type, "model") != 0) {
        return cs_error_set(err, COSTEER_EMODEL, "model", "%s: is of the type \"%s\", not a model; give the model file", path,
                            type);
    }
    const int64_t causal = find_arch_key(gguf, architecture, "attention.causal");
    const bool is_not_causal =
        causal >= 0 && gguf_get_kv_type(gguf, causal) == GGUF_TYPE_BOOL && !gguf_get_val_bool(gguf, causal);
    uint64_t pooling = 0;
    const bool pools = get_number(gguf, architecture, "pooling_type", &pooling) && pooling != 0;
    if (is_not_causal || pools || is_among(architecture, not_generative, sizeof not_generative / sizeof not_generative[0])) {
        return cs_error_set(err, COSTEER_EMODEL, "model",
                            "%s: architecture \"%s\"%s cannot generate text (an embedding, encoder or diffusion model); give a "
                            "text generation model",
                            path, architecture, pools ? " with pooled output" : "");
    }
    if (is_among(architecture, draft_heads, sizeof draft_heads / sizeof draft_heads[0])) {
        return cs_error_set(err, COSTEER_EMODEL, "model",
                            "%s: architecture \"%s\" is a draft head and cannot generate by itself; "
                            "give the model it belongs to",
                            path, architecture);
    }
    return COSTEER_OK;
}

/* ---- what llama.cpp would only assert ---------------------------------------------------------------------------- */

static costeer_err out_of_range(costeer_error *err, const char *path, const char *key, uint64_t value)
{
    return cs_error_set(err, COSTEER_EMODEL, "model", "%s: is damaged (%s is %" PRIu64 "); fetch it again", path, key, value);
}

static costeer_err check_experts(const struct gguf_context *gguf, const char *architecture, const char *path, costeer_error *err)
{
    uint64_t n = 0;
    uint64_t used = 0;
    uint64_t groups = 0;
    uint64_t groups_used = 0;
    (void)get_number(gguf, architecture, "expert_count", &n);
    (void)get_number(gguf, architecture, "expert_used_count", &used);
    (void)get_number(gguf, architecture, "expert_group_count", &groups);
    (void)get_number(gguf, architecture, "expert_group_used_count", &groups_used);
    if (n > EXPERTS_MAX) {
        return out_of_range(err, path, "expert_count", n);
    }
    if (used > n || (n > 0 && used == 0 && strncmp(architecture, "hunyuan", 7) != 0)) {
        return out_of_range(err, path, "expert_used_count", used);
    }
    if ((n == 0 && groups > 0) || (n > 0 && groups >= n) || (groups > 1 && n % groups != 0)) {
        return out_of_range(err, path, "expert_group_count", groups);
    }
    if (groups > 1 && (groups_used == 0 || groups_used >= groups)) {
        return out_of_range(err, path, "expert_group_used_count", groups_used);
    }
    return COSTEER_OK;
}

static costeer_err check_shape(const struct gguf_context *gguf, const char *architecture, const char *path, cs_gguf_summary *out,
                               costeer_error *err)
{
    uint64_t n_layer = 0;
    uint64_t n_embd = 0;
    uint64_t n_ctx = 0;
    uint64_t n_ff = 0;
    const bool is_told = get_number(gguf, architecture, "block_count", &n_layer) &&
                         get_number(gguf, architecture, "embedding_length", &n_embd) &&
                         get_number(gguf, architecture, "context_length", &n_ctx);
    (void)get_number(gguf, architecture, "feed_forward_length", &n_ff);
    if (is_told && out->n_tensors > 0) { /* a key that is missing llama.cpp names itself */
        if (n_layer == 0 || n_layer > LAYERS_MAX) {
            return out_of_range(err, path, "block_count", n_layer);
        }
        if (n_embd == 0 || n_embd > INT32_MAX) {
            return out_of_range(err, path, "embedding_length", n_embd);
        }
        if (n_ctx == 0 || n_ctx > INT32_MAX) {
            return out_of_range(err, path, "context_length", n_ctx);
        }
        uint64_t n_head = 0;
        uint64_t n_head_kv = 0;
        const bool has_heads = get_number(gguf, architecture, "attention.head_count", &n_head);
        if (has_heads && n_head > n_embd) {
            return out_of_range(err, path, "attention.head_count", n_head);
        }
        if (has_heads && get_number(gguf, architecture, "attention.head_count_kv", &n_head_kv) && n_head_kv > n_head) {
            return out_of_range(err, path, "attention.head_count_kv", n_head_kv);
        }
    }
    out->n_layer = (uint32_t)(n_layer <= LAYERS_MAX ? n_layer : 0);
    out->n_embd = (uint32_t)(n_embd <= INT32_MAX ? n_embd : 0);
    out->n_ctx_train = (uint32_t)(n_ctx <= INT32_MAX ? n_ctx : 0);
    out->n_ff = (uint32_t)(n_ff <= INT32_MAX ? n_ff : 0);

    const int64_t scaling = find_arch_key(gguf, architecture, "rope.scaling.type");
    if (scaling >= 0 && gguf_get_kv_type(gguf, scaling) == GGUF_TYPE_STRING) {
        static const char *const known[] = {"none", "linear", "yarn", "longrope"};
        if (!is_among(gguf_get_val_str(gguf, scaling), known, sizeof known / sizeof known[0])) {
            return bad(err, path, "is damaged or too new (rope.scaling.type is none of those llama.cpp knows); fetch it again");
        }
    }
    return check_experts(gguf, architecture, path, err);
}

/* ---- the vocabulary ---------------------------------------------------------------------------------------------- */

static uint64_t hash_text(const char *text)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (const char *at = text; *at != '\0'; at++) {
        hash = (hash ^ (unsigned char)*at) * 1099511628211u;
    }
    return hash ^ (hash >> 32);
}

/* Two tokens of one text: llama.cpp asserts that there are none. An open-addressing table at most half full. */
static costeer_err check_distinct(const struct gguf_context *gguf, int64_t key, const char *path, costeer_error *err)
{
    const size_t n = gguf_get_arr_n(gguf, key);
    size_t n_slots = 16;
    while (n_slots < 2 * n) {
        n_slots *= 2;
    }
    const char **slots = calloc(n_slots, sizeof *slots);
    if (slots == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "model", "%s: no memory to check its vocabulary of %zu tokens", path, n);
    }
    costeer_err code = COSTEER_OK;
    for (size_t i = 0; i < n && code == COSTEER_OK; i++) {
        const char *text = gguf_get_arr_str(gguf, key, i);
        size_t slot = (size_t)hash_text(text) & (n_slots - 1);
        while (*text != '\0' && slots[slot] != NULL && strcmp(slots[slot], text) != 0) {
            slot = (slot + 1) & (n_slots - 1);
        }
        if (*text != '\0' && slots[slot] != NULL) {
            code = cs_error_set(err, COSTEER_EMODEL, "model", "%s: is damaged (token %zu repeats another one); fetch it again",
                                path, i);
        } else if (*text != '\0') {
            slots[slot] = text;
        }
    }
    free(slots);
    return code;
}

static costeer_err check_vocabulary(const struct gguf_context *gguf, const char *path, cs_gguf_summary *out, costeer_error *err)
{
    const char *tokenizer = get_string(gguf, "tokenizer.ggml.model");
    const int64_t tokens = gguf_find_key(gguf, "tokenizer.ggml.tokens");
    if (tokenizer == NULL || tokens < 0 || strcmp(tokenizer, "no_vocab") == 0 || strcmp(tokenizer, "none") == 0) {
        return bad(err, path, "has no tokenizer; give a GGUF file that was converted with its vocabulary");
    }
    if (gguf_get_kv_type(gguf, tokens) != GGUF_TYPE_ARRAY || gguf_get_arr_type(gguf, tokens) != GGUF_TYPE_STRING ||
        gguf_get_arr_n(gguf, tokens) == 0 || gguf_get_arr_n(gguf, tokens) > INT32_MAX) {
        return bad(err, path, "is damaged (its token list is not a list of texts); fetch it again");
    }
    out->n_tokens = (uint32_t)gguf_get_arr_n(gguf, tokens);
    return check_distinct(gguf, tokens, path, err);
}

/* ---- the tokenizer's hash ---------------------------------------------------------------------------------------- */

static bool hash_text_value(EVP_MD_CTX *hash, const char *text)
{
    return EVP_DigestUpdate(hash, text, strlen(text) + 1) == 1;
}

/* Bytes of a number of this type; 0 for texts and arrays. */
static size_t number_bytes(enum gguf_type type)
{
    switch (type) {
    case GGUF_TYPE_UINT8:
    case GGUF_TYPE_INT8:
    case GGUF_TYPE_BOOL:
        return 1;
    case GGUF_TYPE_UINT16:
    case GGUF_TYPE_INT16:
        return 2;
    case GGUF_TYPE_UINT32:
    case GGUF_TYPE_INT32:
    case GGUF_TYPE_FLOAT32:
        return 4;
    case GGUF_TYPE_UINT64:
    case GGUF_TYPE_INT64:
    case GGUF_TYPE_FLOAT64:
        return 8;
    default:
        return 0;
    }
}

static bool hash_array(EVP_MD_CTX *hash, const struct gguf_context *gguf, int64_t key, size_t n)
{
    bool ok = true;
    if (gguf_get_arr_type(gguf, key) != GGUF_TYPE_STRING) {
        return EVP_DigestUpdate(hash, gguf_get_arr_data(gguf, key), n * number_bytes(gguf_get_arr_type(gguf, key))) == 1;
    }
    for (size_t i = 0; ok && i < n; i++) {
        ok = hash_text_value(hash, gguf_get_arr_str(gguf, key, i));
    }
    return ok;
}

/* One key of the tokenizer, with the lists that go with the tokens cut to n_vocab. */
static bool hash_value(EVP_MD_CTX *hash, const struct gguf_context *gguf, int64_t key, size_t n_tokens, size_t n_vocab)
{
    const enum gguf_type type = gguf_get_kv_type(gguf, key);
    if (!hash_text_value(hash, gguf_get_key(gguf, key))) {
        return false;
    }
    if (type == GGUF_TYPE_STRING) {
        return hash_text_value(hash, gguf_get_val_str(gguf, key));
    }
    if (type == GGUF_TYPE_ARRAY) {
        const size_t n = gguf_get_arr_n(gguf, key);
        return hash_array(hash, gguf, key, n == n_tokens ? n_vocab : n);
    }
    return EVP_DigestUpdate(hash, gguf_get_val_data(gguf, key), number_bytes(type)) == 1;
}

/* Tokens before the trailing ones that a converter added: "[PADi]", whatever their type. */
static size_t count_unpadded(const struct gguf_context *gguf, int64_t tokens)
{
    size_t n = gguf_get_arr_n(gguf, tokens);
    char pad[32];
    while (n > 1) {
        (void)snprintf(pad, sizeof pad, "[PAD%zu]", n - 1);
        if (strcmp(gguf_get_arr_str(gguf, tokens, n - 1), pad) != 0) {
            break;
        }
        n--;
    }
    return n;
}

/* Equal hashes mean: one tokenizer can serve both models. The chat template is no part of it. */
static costeer_err hash_tokenizer(const struct gguf_context *gguf, const char *path, cs_gguf_summary *out, costeer_error *err)
{
    const size_t n_vocab = count_unpadded(gguf, gguf_find_key(gguf, "tokenizer.ggml.tokens"));
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    bool ok = hash != NULL && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1 && hash_text_value(hash, out->architecture);
    for (int64_t i = 0; ok && i < gguf_get_n_kv(gguf); i++) {
        const char *key = gguf_get_key(gguf, i);
        if (strncmp(key, "tokenizer.", 10) == 0 && strncmp(key, "tokenizer.chat_template", 23) != 0) {
            ok = hash_value(hash, gguf, i, out->n_tokens, n_vocab);
        }
    }
    unsigned char digest[EVP_MAX_MD_SIZE];
    ok = ok && EVP_DigestFinal_ex(hash, digest, NULL) == 1;
    EVP_MD_CTX_free(hash);
    for (size_t i = 0; ok && i < 32; i++) {
        (void)snprintf(out->tokenizer_sha256 + 2 * i, 3, "%02x", digest[i]);
    }
    return ok ? COSTEER_OK : cs_error_set(err, COSTEER_EINTERNAL, "model", "%s: OpenSSL could not compute SHA-256", path);
}

/* ---- models in several files ------------------------------------------------------------------------------------- */

static uint32_t get_u16(const struct gguf_context *gguf, const char *key)
{
    const int64_t at = gguf_find_key(gguf, key);
    return at >= 0 && gguf_get_kv_type(gguf, at) == GGUF_TYPE_UINT16 ? gguf_get_val_u16(gguf, at) : 0;
}

/* llama.cpp maps these files too: one that is too short would end the process. */
static costeer_err check_part(const char *path, uint32_t index, cs_gguf_summary *out, costeer_error *err)
{
    cs_gguf_summary part = {.file_bytes = 0};
    costeer_err code = check_file(path, &part, err);
    if (code != COSTEER_OK) {
        return code;
    }
    struct gguf_context *gguf = gguf_init_from_file(path, (struct gguf_init_params){.no_alloc = true, .ctx = NULL});
    if (gguf == NULL) {
        return refuse_damaged(path, err);
    }
    if (get_u16(gguf, "split.no") != index || get_u16(gguf, "split.count") != out->n_files) {
        code = cs_error_set(err, COSTEER_EMODEL, "model", "%s: is not part %u of %u, as its name says; fetch it again", path,
                            index + 1, out->n_files);
    }
    code = code == COSTEER_OK ? check_extents(gguf, path, part.file_bytes, err) : code;
    out->can_map = out->can_map && is_aligned(gguf);
    out->file_bytes += part.file_bytes;
    gguf_free(gguf);
    return code;
}

static costeer_err check_parts(const char *path, cs_gguf_summary *out, costeer_error *err)
{
    costeer_err code = COSTEER_OK;
    for (uint32_t i = 1; i < out->n_files && code == COSTEER_OK; i++) {
        char part[PATH_MAX];
        if (!cs_mapping_file(path, i, out->n_files, part, sizeof part)) {
            return cs_error_set(err, COSTEER_EMODEL, "model",
                                "%s: is the first of %u files, so its name must end in -00001-of-%05u.gguf", path, out->n_files,
                                out->n_files);
        }
        code = check_part(part, i, out, err);
    }
    return code;
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

static costeer_err check_metadata(const struct gguf_context *gguf, const char *path, bool needs_weights, cs_gguf_summary *out,
                                  costeer_error *err)
{
    const uint32_t n_files = get_u16(gguf, "split.count");
    const uint32_t index = get_u16(gguf, "split.no");
    out->n_files = n_files > 1 ? n_files : 1;
    if (index != 0) {
        return cs_error_set(err, COSTEER_EMODEL, "model", "%s: is part %u of %u; give the first", path, index + 1, n_files);
    }
    const char *architecture = get_string(gguf, "general.architecture");
    if (architecture == NULL || *architecture == '\0' || strlen(architecture) > 64) {
        return bad(err, path, "does not say its architecture, so it is not a model; give a text generation model");
    }
    out->n_tensors = gguf_get_n_tensors(gguf);
    out->can_map = is_aligned(gguf);
    costeer_err code = check_extents(gguf, path, out->file_bytes, err);
    if (code == COSTEER_OK) {
        code = check_kind(gguf, architecture, path, err);
    }
    if (code == COSTEER_OK && needs_weights && out->n_tensors == 0) {
        code = bad(err, path, "holds a vocabulary but no weights, so it cannot generate; give the whole model");
    }
    if (code == COSTEER_OK) {
        code = check_shape(gguf, architecture, path, out, err);
    }
    if (code == COSTEER_OK) {
        code = check_vocabulary(gguf, path, out, err);
    }
    if (code == COSTEER_OK && needs_weights) {
        code = check_parts(path, out, err);
    }
    (void)snprintf(out->architecture, sizeof out->architecture, "%s", architecture);
    return code == COSTEER_OK ? hash_tokenizer(gguf, path, out, err) : code;
}

costeer_err cs_gguf_file_check(const char *path, bool needs_weights, cs_gguf_summary *out, costeer_error *err)
{
    memset(out, 0, sizeof *out);
    const costeer_err code = check_file(path, out, err);
    if (code != COSTEER_OK) {
        return code;
    }
    cs_engine_error_clear();
    struct gguf_context *gguf = gguf_init_from_file(path, (struct gguf_init_params){.no_alloc = true, .ctx = NULL});
    if (gguf == NULL) {
        return refuse_damaged(path, err);
    }
    const costeer_err result = check_metadata(gguf, path, needs_weights, out, err);
    gguf_free(gguf);
    return result;
}

/* ---- listing ----------------------------------------------------------------------------------------------------- */

static void copy_string(const struct gguf_context *gguf, const char *key, char *out, size_t size)
{
    const char *value = get_string(gguf, key);
    (void)snprintf(out, size, "%s", value == NULL || strlen(value) >= size ? "" : value);
}

static void list_keys(const struct gguf_context *gguf, cs_gguf_listing *out)
{
    copy_string(gguf, "general.type", out->type, sizeof out->type);
    copy_string(gguf, "general.architecture", out->architecture, sizeof out->architecture);
    copy_string(gguf, "adapter.type", out->adapter_type, sizeof out->adapter_type);
    const int64_t alpha = gguf_find_key(gguf, "adapter.lora.alpha");
    out->has_bad_alpha =
        alpha >= 0 && (gguf_get_kv_type(gguf, alpha) != GGUF_TYPE_FLOAT32 || !isfinite(gguf_get_val_f32(gguf, alpha)));
    out->has_invocation = gguf_find_key(gguf, "adapter.alora.invocation_tokens") >= 0;
    out->is_split = get_u16(gguf, "split.count") > 1;
}

static bool list_tensors(struct ggml_context *tensors, size_t n, cs_gguf_listing *out)
{
    out->tensors = calloc(n + 1, sizeof *out->tensors);
    if (out->tensors == NULL) {
        return false;
    }
    struct ggml_tensor *at = ggml_get_first_tensor(tensors);
    for (size_t i = 0; i < n && at != NULL; i++) {
        cs_gguf_tensor *to = &out->tensors[out->n_tensors++];
        (void)snprintf(to->name, sizeof to->name, "%s", ggml_get_name(at));
        memcpy(to->ne, at->ne, sizeof to->ne);
        to->is_plain =
            at->type == GGML_TYPE_F32 || at->type == GGML_TYPE_F16 || at->type == GGML_TYPE_BF16 || at->type == GGML_TYPE_Q8_0;
        at = ggml_get_next_tensor(tensors, at);
    }
    return true;
}

costeer_err cs_gguf_file_list(const char *path, cs_gguf_listing *out, costeer_error *err)
{
    cs_gguf_summary summary = {.file_bytes = 0};
    costeer_err code = check_file(path, &summary, err);
    if (code != COSTEER_OK) {
        return code;
    }
    struct ggml_context *tensors = NULL;
    cs_engine_error_clear();
    struct gguf_context *gguf = gguf_init_from_file(path, (struct gguf_init_params){.no_alloc = true, .ctx = &tensors});
    if (gguf == NULL) {
        return cs_error_set(err, COSTEER_EMODEL, "model", "%s: is damaged or truncated (%s); fetch it again", path,
                            cs_engine_error());
    }
    code = check_extents(gguf, path, summary.file_bytes, err);
    if (code == COSTEER_OK) {
        list_keys(gguf, out);
        if (!list_tensors(tensors, (size_t)gguf_get_n_tensors(gguf), out)) {
            code = cs_error_set(err, COSTEER_ENOMEM, "model", "%s: no memory for the list of its tensors", path);
        }
    }
    ggml_free(tensors);
    gguf_free(gguf);
    return code;
}

void cs_gguf_listing_dispose(cs_gguf_listing *listing)
{
    free(listing->tensors);
    *listing = (cs_gguf_listing){.tensors = NULL};
}
