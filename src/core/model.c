/*
 * Models: GGUF files loaded through llama.cpp, and everything that is asked of their vocabularies.
 *
 * Together with decoder.c (the running state) this is the only user of llama.h: what the rest of CoSteer sees of llama.cpp is
 * costeer/model.h and model_internal.h. A loaded model is immutable, so threads share it without a lock. llama.cpp's own messages
 * go to our log callback and never to a stream; its first error on the loading thread becomes part of our message.
 */
#include "core/gguf_adapter.h"
#include "core/gguf_file.h"
#include "core/mapping.h"
#include "core/model_internal.h"
#include "core/prompt_internal.h"
#include "core/special.h"
#include "core/tokenizer.h"
#include "util/child.h"
#include "util/error.h"
#include "util/log.h"
#include "util/utf8.h"

#include <costeer/session.h>
#include <errno.h>
#include <limits.h>
#include <llama.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The limit that costeer_model_tokenize() documents. */
#define TEXT_BYTES_MAX ((size_t)64 << 20)

struct costeer_model {
    struct llama_model *llama;
    struct llama_adapter_lora *adapter; /* NULL: none; freed with llama */
    cs_tokenizer *tokenizer;
    const struct llama_vocab *vocab; /* the tokenizer's */
    int32_t n_texts;                 /* its tokens, padding included: may differ from this model's own width */
    costeer_model_info info;
    char *path;
    char *adapter_path; /* NULL: none */
    char name[128];
    char architecture[80];
    char description[128];
    char role[32];
    int32_t n_ff;
    bool is_offloaded;
    bool is_vocab_only;
    int32_t ends_of_turn[2]; /* of the file's template and of the one that is used instead; −1: none that the vocabulary lacks */
    cs_special special;      /* control, unknown and user-defined tokens: a text can spell them */
};

/* ---- llama.cpp's log --------------------------------------------------------------------------------------------- */

/* Per thread, because decoding threads report errors while another thread loads. */
static _Thread_local char engine_error[256];

void cs_engine_error_clear(void)
{
    engine_error[0] = '\0';
}

/* What asks for this thread's computation to end: llama.cpp reports that as an error and two more lines. */
static _Thread_local bool (*stop_asked)(void *user);
static _Thread_local void *stop_asked_user;

void cs_engine_set_stop(bool (*stop)(void *user), void *user)
{
    stop_asked = stop;
    stop_asked_user = user;
}

const char *cs_engine_error(void)
{
    return engine_error[0] == '\0' ? "no further details" : engine_error;
}

/* Copy a message without the function's name before it and the newline behind it. */
static void copy_line(char *to, size_t size, const char *message)
{
    const char *colon = strstr(message, ": ");
    if (colon != NULL && memchr(message, ' ', (size_t)(colon - message)) == NULL) {
        message = colon + 2;
    }
    size_t n = strcspn(message, "\r\n");
    n = n < size - 1 ? n : size - 1;
    memcpy(to, message, n);
    to[n] = '\0';
}

static void receive_log(enum ggml_log_level level, const char *message, void *user)
{
    (void)user;
    char line[512];
    copy_line(line, sizeof line, message);
    if (level == GGML_LOG_LEVEL_ERROR && engine_error[0] == '\0') { /* the first says why; "failed to load" follows */
        (void)snprintf(engine_error, sizeof engine_error, "%.255s", line);
    }
    costeer_log_level ours = COSTEER_LOG_DEBUG;
    switch (level) {
    case GGML_LOG_LEVEL_ERROR: /* the caller hears of it through the error object */
    case GGML_LOG_LEVEL_WARN:
        ours = stop_asked != NULL && stop_asked(stop_asked_user) ? COSTEER_LOG_DEBUG : COSTEER_LOG_WARN;
        break;
    case GGML_LOG_LEVEL_NONE:
    case GGML_LOG_LEVEL_DEBUG:
    case GGML_LOG_LEVEL_INFO:
        break;
    case GGML_LOG_LEVEL_CONT: /* pieces of a progress bar */
        return;
    }
    if (line[0] != '\0' && cs_log_enabled(ours)) {
        cs_log(ours, "llama.cpp", "%s", line);
    }
}

static void start_engine(void)
{
    llama_log_set(receive_log, NULL);
    llama_backend_init();
}

/* Before anything else of llama.cpp is called: it would write to a stream. */
static void ensure_engine(void)
{
    static pthread_once_t started = PTHREAD_ONCE_INIT;
    (void)pthread_once(&started, start_engine);
}

static char engine_version[32];

static void name_engine_version(void)
{
    const char *version = llama_version();
    (void)snprintf(engine_version, sizeof engine_version, "%s%.30s", version[0] == 'v' ? "" : "v", version);
}

const char *costeer_version_llama(void)
{
    static pthread_once_t named = PTHREAD_ONCE_INIT;
    (void)pthread_once(&named, name_engine_version);
    return engine_version;
}

/* ---- what a model is --------------------------------------------------------------------------------------------- */

/* Converters fill the vocabulary up to the width of the output with tokens like "[PAD151665]": not part of the tokenizer. */
static bool is_padding(const struct llama_vocab *vocab, int32_t token)
{
    char pad[32];
    (void)snprintf(pad, sizeof pad, "[PAD%d]", token);
    return (llama_vocab_get_attr(vocab, token) & LLAMA_TOKEN_ATTR_UNUSED) != 0 ||
           strcmp(llama_vocab_get_text(vocab, token), pad) == 0;
}

static int32_t count_vocab(const struct llama_vocab *vocab)
{
    int32_t n = llama_vocab_n_tokens(vocab);
    while (n > 1 && is_padding(vocab, n - 1)) {
        n--;
    }
    return n;
}

static const char *vocab_type_name(enum llama_vocab_type type)
{
    static const char *const names[] = {"none", "SPM", "BPE", "WPM", "UGM", "RWKV", "PLaMo2"}; /* in llama.h's order */
    return (size_t)type < sizeof names / sizeof names[0] ? names[type] : "unknown";
}

/* Collect the tokens that llama.cpp can read as themselves: control, unknown and user-defined ones. */
static bool collect_special(costeer_model *model)
{
    const unsigned wanted = LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNKNOWN | LLAMA_TOKEN_ATTR_USER_DEFINED;
    size_t n = 0;
    for (int32_t i = 0; i < model->n_texts; i++) {
        n += ((unsigned)llama_vocab_get_attr(model->vocab, i) & wanted) != 0;
    }
    if (!cs_special_reserve(&model->special, n)) {
        return false;
    }
    for (int32_t i = 0; i < model->n_texts; i++) {
        if (((unsigned)llama_vocab_get_attr(model->vocab, i) & wanted) != 0) {
            cs_special_add(&model->special, llama_vocab_get_text(model->vocab, i), i);
        }
    }
    cs_special_sort(&model->special);
    return true;
}

static costeer_err describe(costeer_model *model, const cs_gguf_summary *summary, costeer_error *err)
{
    costeer_model_info *info = &model->info;
    (void)llama_model_meta_val_str(model->llama, "general.name", model->name, sizeof model->name);
    (void)llama_model_meta_val_str(model->llama, "general.architecture", model->architecture, sizeof model->architecture);
    (void)llama_model_meta_val_str(model->llama, "costeer.role", model->role, sizeof model->role);
    if (model->is_vocab_only) {
        (void)snprintf(model->description, sizeof model->description, "%.80s vocabulary", model->architecture);
    } else {
        (void)llama_model_desc(model->llama, model->description, sizeof model->description);
    }
    info->path = model->path;
    info->name = model->name;
    info->architecture = model->architecture;
    info->description = model->description;
    info->role = model->role;
    info->chat_template = llama_model_chat_template(model->llama, NULL);
    info->vocab_type = vocab_type_name(llama_vocab_type(model->vocab));
    info->file_bytes = summary->file_bytes;
    info->size_bytes = llama_model_size(model->llama);
    info->n_params = llama_model_n_params(model->llama);
    info->n_vocab_padded = (int32_t)summary->n_tokens;
    info->n_vocab = count_vocab(model->vocab);
    /* llama.cpp leaves these at 0 when it loads the vocabulary only; the file has them either way */
    info->n_ctx_train = (int32_t)summary->n_ctx_train;
    info->n_embd = (int32_t)summary->n_embd;
    info->n_layer = (int32_t)summary->n_layer;
    info->adds_bos = llama_vocab_get_add_bos(model->vocab);
    model->n_ff = (int32_t)summary->n_ff;
    if (!collect_special(model)) {
        return cs_error_set(err, COSTEER_ENOMEM, "model", "%s: no memory for its special tokens", model->path);
    }
    if (!cs_model_hash_vocab(model, info->vocab_sha256)) {
        return cs_error_set(err, COSTEER_EINTERNAL, "model", "%s: OpenSSL could not compute SHA-256", model->path);
    }
    return COSTEER_OK;
}

/* Templates that cannot be used are reported when they are. */
static void find_ends_of_turn(costeer_model *model, const char *used)
{
    const char *const sources[] = {model->info.chat_template, used != NULL ? cs_prompt_template_source(model, used) : NULL};
    for (size_t i = 0; i < 2; i++) {
        model->ends_of_turn[i] = sources[i] != NULL ? cs_end_of_turn_find(model, sources[i]) : -1;
    }
}

/* ---- loading ----------------------------------------------------------------------------------------------------- */

/* The caller's progress callback, and whether it was what stopped the loading. Loading has two passes where the file is mapped.
 */
typedef struct progress_relay {
    costeer_model_progress_fn call;
    void *user;
    float before; /* share of the passes before this one */
    float of;     /* and of this one */
    bool stopped;
} progress_relay;

static bool relay_progress(float share, void *user)
{
    progress_relay *relay = user;
    relay->stopped = relay->stopped || (relay->call != NULL && !relay->call(relay->before + share * relay->of, relay->user));
    return !relay->stopped;
}

/* What the file's metadata could not tell. */
static costeer_err check_loaded(const costeer_model *model, costeer_error *err)
{
    const char *why = NULL;
    if (llama_model_has_encoder(model->llama) || !llama_model_has_decoder(model->llama)) {
        why = "has an encoder, which CoSteer cannot feed; give a decoder-only model";
    } else if (llama_model_is_diffusion(model->llama)) {
        why = "is a diffusion model; give one that generates token by token";
    } else if (llama_vocab_type(model->vocab) == LLAMA_VOCAB_TYPE_NONE ||
               llama_vocab_type(model->vocab) == LLAMA_VOCAB_TYPE_TEST) {
        why = "has no tokenizer; give a GGUF file that was converted with its vocabulary";
    }
    return why == NULL ? COSTEER_OK : cs_error_set(err, COSTEER_EMODEL, "model", "%s: %s", model->path, why);
}

static struct llama_model_params engine_params(const costeer_model_params *params, bool maps, progress_relay *relay)
{
    struct llama_model_params out = llama_model_default_params();
    static ggml_backend_dev_t no_device[] = {NULL};
    if (params->n_gpu_layers == 0) {
        out.devices = no_device; /* else llama.cpp opens a GPU that is not asked for */
    }
    out.n_gpu_layers = params->n_gpu_layers;
    out.vocab_only = params->vocab_only;
    /* Mapped weights belong to all processes that use the file; llama.cpp copies those that it repacks for the CPU's kernels. */
    out.load_mode = maps ? LLAMA_LOAD_MODE_MMAP : LLAMA_LOAD_MODE_NONE;
    out.progress_callback = relay_progress;
    out.progress_callback_user_data = relay;
    return out;
}

/* Load with llama.cpp; without the tokenizer when another model lends its own. */
static void load_with_engine(costeer_model *model, struct llama_model_params params, const cs_gguf_summary *summary)
{
    struct llama_model_kv_override overrides[3] = {
        {.tag = LLAMA_KV_OVERRIDE_TYPE_STR, .key = "tokenizer.ggml.model", .val_str = "no_vocab"},
        {.tag = LLAMA_KV_OVERRIDE_TYPE_INT, .val_i64 = summary->n_tokens},
        {.key = ""}}; /* an empty key ends the list */
    (void)snprintf(overrides[1].key, sizeof overrides[1].key, "%s.vocab_size", summary->architecture);
    model->tokenizer = cs_tokenizer_borrow(summary->tokenizer_sha256);
    params.kv_overrides = model->tokenizer == NULL ? NULL : overrides;
    model->llama = llama_model_load_from_file(model->path, params);
    if (model->llama != NULL && model->tokenizer == NULL) {
        model->tokenizer = cs_tokenizer_lend(summary->tokenizer_sha256, model->llama);
    }
}

/* Load the adapter that goes on top of the weights; decoders attach it. */
static costeer_err load_adapter(costeer_model *model, const char *path, costeer_error *err)
{
    const costeer_err code = cs_gguf_adapter_check(path, model->path, err);
    if (code != COSTEER_OK) {
        return code;
    }
    model->adapter_path = strdup(path);
    if (model->adapter_path == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "model", "%s: no memory to load it", path);
    }
    model->info.adapter_path = model->adapter_path;
    if (model->is_vocab_only) {
        return COSTEER_OK;
    }
    cs_engine_error_clear();
    model->adapter = llama_adapter_lora_init(model->llama, path);
    return model->adapter != NULL ? COSTEER_OK
                                  : cs_error_set(err, COSTEER_EMODEL, "model", "%s: cannot be applied to %s (%s)", path,
                                                 model->path, cs_engine_error());
}

static costeer_err load(costeer_model *model, const costeer_model_params *params, costeer_error *err)
{
    cs_gguf_summary summary;
    costeer_err code = cs_gguf_file_check(model->path, !params->vocab_only, &summary, err);
    if (code != COSTEER_OK) {
        return code;
    }
    const bool maps = summary.can_map && !params->vocab_only;
    progress_relay relay = {.call = params->progress, .user = params->progress_user, .of = maps ? 0.5F : 1.0F};
    cs_engine_error_clear();
    if (!maps || cs_mapping_warm(model->path, summary.n_files, relay_progress, &relay)) {
        relay.before = maps ? relay.of : 0.0F;
        load_with_engine(model, engine_params(params, maps, &relay), &summary);
    }
    if (model->llama == NULL && relay.stopped) {
        return cs_error_set(err, COSTEER_ECANCELED, "model", "%s: loading was cancelled", model->path);
    }
    if (model->llama == NULL) {
        return cs_error_set(err, COSTEER_EMODEL, "model",
                            "%s: cannot be loaded (%s); check that the file is complete and made for "
                            "llama.cpp %s",
                            model->path, cs_engine_error(), costeer_version_llama());
    }
    if (model->tokenizer == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "model", "%s: no memory to load it", model->path);
    }
    if (maps) {
        cs_mapping_release(model->path, summary.n_files); /* what was repacked is in memory twice */
    }
    model->vocab = llama_model_get_vocab(cs_tokenizer_owner(model->tokenizer));
    model->n_texts = llama_vocab_n_tokens(model->vocab);
    model->is_vocab_only = params->vocab_only;
    model->is_offloaded = params->n_gpu_layers != 0;
    code = check_loaded(model, err);
    code = code == COSTEER_OK ? describe(model, &summary, err) : code;
    if (code == COSTEER_OK) {
        find_ends_of_turn(model, params->chat_template);
    }
    code = code == COSTEER_OK && params->lora_path != NULL ? load_adapter(model, params->lora_path, err) : code;
#ifdef __GLIBC__
    (void)malloc_trim(0); /* the file's metadata was parsed twice: some 12 MB for a vocabulary of 152k tokens */
#endif
    return code;
}

costeer_err costeer_model_load(const char *path, const costeer_model_params *params, costeer_model **out, costeer_error *err)
{
    if (out == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, "model", "out must not be NULL");
    }
    *out = NULL;
    if (path == NULL || *path == '\0') {
        return cs_error_set(err, COSTEER_EINVAL, "model", "the path of a model must not be empty");
    }
    ensure_engine();
    cs_child_prepare(); /* for its chat template, while this process is small */
    costeer_model *model = calloc(1, sizeof *model);
    if (model == NULL || (model->path = strdup(path)) == NULL) {
        free(model);
        return cs_error_set(err, COSTEER_ENOMEM, "model", "%s: no memory to load it", path);
    }
    static const costeer_model_params defaults;
    const costeer_err code = load(model, params == NULL ? &defaults : params, err);
    if (code != COSTEER_OK) {
        costeer_model_free(model);
        return code;
    }
    *out = model;
    return COSTEER_OK;
}

bool costeer_model_is_adapter(const char *path)
{
    ensure_engine();
    return path != NULL && cs_gguf_is_adapter(path);
}

void costeer_model_free(costeer_model *model)
{
    if (model == NULL) {
        return;
    }
    if (model->tokenizer == NULL || cs_tokenizer_owner(model->tokenizer) != model->llama) {
        llama_model_free(model->llama);
    }
    llama_model_free(cs_tokenizer_return(model->tokenizer)); /* of the last user; NULL is fine */
    cs_special_dispose(&model->special);
    free(model->adapter_path);
    free(model->path);
    free(model);
}

/* ---- asking a model ---------------------------------------------------------------------------------------------- */

const costeer_model_info *costeer_model_get_info(const costeer_model *model)
{
    return &model->info;
}

struct llama_model *cs_model_llama(const costeer_model *model)
{
    return model->llama;
}

bool cs_model_attach_adapter(const costeer_model *model, struct llama_context *context)
{
    struct llama_adapter_lora *adapter = model->adapter;
    float scale = 1.0F;
    return adapter == NULL || llama_set_adapters_lora(context, &adapter, 1, &scale) == 0;
}

bool cs_model_is_offloaded(const costeer_model *model)
{
    return model->is_offloaded;
}

bool cs_model_is_vocab_only(const costeer_model *model)
{
    return model->is_vocab_only;
}

int32_t cs_model_n_ff(const costeer_model *model)
{
    return model->n_ff;
}

static bool is_token(const costeer_model *model, int32_t token)
{
    return token >= 0 && token < model->n_texts && token < model->info.n_vocab_padded;
}

const char *cs_model_token_text(const costeer_model *model, int32_t token)
{
    return is_token(model, token) ? llama_vocab_get_text(model->vocab, token) : NULL;
}

int32_t cs_model_bos(const costeer_model *model)
{
    const llama_token bos = llama_vocab_bos(model->vocab);
    return model->info.adds_bos && is_token(model, bos) ? bos : -1;
}

int32_t cs_model_bos_spelling(const costeer_model *model)
{
    return llama_vocab_bos(model->vocab);
}

int32_t cs_model_eos_spelling(const costeer_model *model)
{
    return llama_vocab_eos(model->vocab);
}

bool cs_model_is_always_parsed(const costeer_model *model, int32_t token)
{
    const unsigned hidden = LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNKNOWN;
    return is_token(model, token) && ((unsigned)llama_vocab_get_attr(model->vocab, token) & hidden) == 0;
}

bool cs_model_find_special(const costeer_model *model, const char *text, size_t n, size_t *at, int32_t *token)
{
    return cs_special_find(&model->special, text, n, at, token);
}

bool cs_model_touches_special(const costeer_model *model, const char *text, size_t n)
{
    return cs_special_touches(&model->special, text, n);
}

size_t costeer_model_token_to_piece(const costeer_model *model, int32_t token, char piece[COSTEER_PIECE_MAX])
{
    if (!is_token(model, token)) {
        return 0;
    }
    const int32_t n = llama_token_to_piece(model->vocab, token, piece, COSTEER_PIECE_MAX, 0, false);
    return n > 0 ? (size_t)n : 0; /* negative: longer than COSTEER_PIECE_MAX, which no real vocabulary has */
}

bool cs_model_is_vocab_end(const costeer_model *model, int32_t token)
{
    return is_token(model, token) && llama_vocab_is_eog(model->vocab, token);
}

bool costeer_model_is_end(const costeer_model *model, int32_t token)
{
    return cs_model_is_vocab_end(model, token) ||
           (token >= 0 && (token == model->ends_of_turn[0] || token == model->ends_of_turn[1]));
}

cs_token_traits cs_model_token_traits(const costeer_model *model, int32_t token)
{
    const unsigned bits = is_token(model, token) ? (unsigned)llama_vocab_get_attr(model->vocab, token) : 0;
    return (cs_token_traits){.takes_blanks = (bits & LLAMA_TOKEN_ATTR_LSTRIP) != 0,
                             .is_control = (bits & (LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNKNOWN)) != 0,
                             .is_byte = (bits & LLAMA_TOKEN_ATTR_BYTE) != 0};
}

int32_t cs_model_end_of_answer(const costeer_model *model)
{
    const int32_t *own = model->ends_of_turn;
    const llama_token turn = own[1] >= 0 ? own[1] : (own[0] >= 0 ? own[0] : llama_vocab_eot(model->vocab));
    const llama_token text = llama_vocab_eos(model->vocab);
    return costeer_model_is_end(model, turn) ? turn : (costeer_model_is_end(model, text) ? text : -1);
}

static size_t vocab_token_to_piece(const void *model, int32_t token, char piece[COSTEER_PIECE_MAX])
{
    return costeer_model_token_to_piece(model, token, piece);
}

static bool vocab_is_end(const void *model, int32_t token)
{
    return costeer_model_is_end(model, token);
}

costeer_vocab costeer_model_vocab(const costeer_model *model)
{
    return (costeer_vocab){
        .n_vocab = model->info.n_vocab, .token_to_piece = vocab_token_to_piece, .is_end = vocab_is_end, .model = model};
}

/* ---- text to tokens ---------------------------------------------------------------------------------------------- */

costeer_err costeer_model_tokenize(const costeer_model *model, const char *text, size_t n_bytes, bool add_special,
                                   bool parse_special, costeer_tokens *out, costeer_error *err)
{
    out->n = 0;
    if (text == NULL && n_bytes > 0) {
        return cs_error_set(err, COSTEER_EINVAL, "model", "text must not be NULL");
    }
    if (n_bytes > TEXT_BYTES_MAX) {
        return cs_error_set(err, COSTEER_EINVAL, "model", "a text of %zu bytes is too long to tokenize; at most %zu", n_bytes,
                            TEXT_BYTES_MAX);
    }
    size_t offset;
    if (!cs_utf8_check(text, n_bytes, &offset)) {
        return cs_error_set(err, COSTEER_EUTF8, "model", "the text is not UTF-8 at byte %zu; convert it to UTF-8", offset);
    }
    text = text == NULL ? "" : text;
    size_t wanted = n_bytes / 3 + 16; /* a guess that usually holds; else llama.cpp tells the number */
    for (int attempt = 0; attempt < 2; attempt++) {
        if (!cs_tokens_reserve(out, wanted)) {
            return cs_error_set(err, COSTEER_ENOMEM, "model", "no memory for the tokens of %zu bytes of text", n_bytes);
        }
        const int32_t capacity = (int32_t)(out->capacity < INT_MAX ? out->capacity : INT_MAX);
        const int32_t n = llama_tokenize(model->vocab, text, (int32_t)n_bytes, out->ids, capacity, add_special, parse_special);
        if (n >= 0) {
            out->n = (size_t)n;
            return COSTEER_OK;
        }
        wanted = n == INT32_MIN ? 0 : (size_t)-n;
    }
    return cs_error_set(err, COSTEER_EINTERNAL, "model", "llama.cpp could not tokenize %zu bytes of text", n_bytes);
}
