/*
 * make_model: writes GGUF models of true shape and true vocabulary with random weights.
 *
 * Speed and memory do not depend on what the weights are, so a benchmark needs no download of gigabytes; and tests get models
 * that are wrong in exactly one way (another vocabulary, one token renamed, NaN weights, an encoder). The file is written under a
 * temporary name and renamed at the end, and streamed, so a 7B model needs a few megabytes of memory.
 *
 * A tool of the build tree: it is not installed.
 */
#include "model_shape.h"
#include "model_vocab.h"
#include "random_weights.h"
#include "util/file.h"
#include "util/parse.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, RENAMES_MAX = 16, WHY_SIZE = 256 };

typedef struct options {
    cs_shape shape;
    cs_vocab_options vocab;
    cs_rename renames[RENAMES_MAX];
    enum ggml_type type;
    uint64_t seed;
    bool nan;
    const char *out;
} options;

static const char help[] =
    "Usage: make_model --vocab FILE [OPTION]... OUT.gguf\n"
    "Write a GGUF model with random weights.\n"
    "\n"
    "  --vocab FILE            GGUF file whose tokenizer is copied\n"
    "  --shape NAME            tiny, qwen2.5-0.5b or qwen2.5-7b (default: tiny)\n"
    "  --type TYPE             f32, f16, q8_0 or q4_0 (default: q4_0); outputs and vectors as llama-quantize would\n"
    "  --seed N                seed of the weights (default: 0)\n"
    "  --arch NAME             qwen2, or bert: a model that cannot generate text (default: qwen2)\n"
    "  --n-embd N --n-layer N --n-head N --n-head-kv N --n-ff N --n-ctx N\n"
    "                          numbers of the shape, to be given after --shape\n"
    "  --pad-vocab N           pad the vocabulary to N tokens; 0: not at all\n"
    "  --tied, --untied        use the embedding as the output, or not\n"
    "  --no-template           leave the chat template out\n"
    "  --rename-token ID=TEXT  replace a token's text; up to 16 times\n"
    "  --nan                   make every logit NaN\n"
    "  --help                  show this text\n";

/* ---- messages ---------------------------------------------------------------------------------------------------- */

__attribute__((format(printf, 1, 2))) static bool complain(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("make_model: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return false;
}

static void show_progress(double share)
{
    static int shown = -1;
    int percent = (int)(share * 100.0);
    if (percent == shown || !isatty(STDERR_FILENO)) {
        return;
    }
    shown = percent;
    fprintf(stderr, "\rmake_model: %3d %%%s", percent, percent == 100 ? "\n" : "");
}

/* llama.cpp's own messages would stand before our one line. */
static void drop_log(enum ggml_log_level level, const char *text, void *user)
{
    (void)level;
    (void)text;
    (void)user;
}

/* ---- arguments --------------------------------------------------------------------------------------------------- */

static bool parse_u64(const char *option, const char *text, uint64_t max, uint64_t *out)
{
    if (cs_parse_uint64(text, out) != CS_PARSE_OK || *out > max) {
        return complain("%s: '%s' is not a whole number in 0 … %" PRIu64, option, text, max);
    }
    return true;
}

static bool parse_i32(const char *option, const char *text, int32_t *out)
{
    uint64_t value = 0;
    if (!parse_u64(option, text, INT32_MAX, &value)) {
        return false;
    }
    *out = (int32_t)value;
    return true;
}

static bool parse_shape(const char *text, cs_shape *out)
{
    const cs_shape *shape = cs_shape_find(text);
    if (!shape) {
        return complain("--shape: '%s' is not one of %s", text, cs_shape_names());
    }
    cs_shape_arch arch = out->arch;
    *out = *shape;
    out->arch = arch;
    return true;
}

static bool parse_type(const char *text, enum ggml_type *out)
{
    static const struct {
        const char *name;
        enum ggml_type type;
    } types[] = {{"f32", GGML_TYPE_F32}, {"f16", GGML_TYPE_F16}, {"q8_0", GGML_TYPE_Q8_0}, {"q4_0", GGML_TYPE_Q4_0}};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (strcmp(text, types[i].name) == 0) {
            *out = types[i].type;
            return true;
        }
    }
    return complain("--type: '%s' is not one of f32, f16, q8_0, q4_0", text);
}

static bool parse_arch(const char *text, cs_shape_arch *out)
{
    if (strcmp(text, "qwen2") != 0 && strcmp(text, "bert") != 0) {
        return complain("--arch: '%s' is not one of qwen2, bert", text);
    }
    *out = strcmp(text, "bert") == 0 ? CS_SHAPE_BERT : CS_SHAPE_QWEN2;
    return true;
}

static bool parse_rename(const char *text, options *o)
{
    char id[16];
    const char *equals = strchr(text, '=');
    if (!equals || (size_t)(equals - text) >= sizeof(id)) {
        return complain("--rename-token: '%s' is not ID=TEXT", text);
    }
    if (o->vocab.n_renames == RENAMES_MAX) {
        return complain("--rename-token: given more than %d times", RENAMES_MAX);
    }
    snprintf(id, sizeof(id), "%.*s", (int)(equals - text), text);
    cs_rename *rename = &o->renames[o->vocab.n_renames++];
    rename->text = equals + 1;
    return parse_i32("--rename-token", id, &rename->id);
}

static bool parse_flag(const char *name, options *o)
{
    if (strcmp(name, "--tied") == 0 || strcmp(name, "--untied") == 0) {
        o->shape.tied = strcmp(name, "--tied") == 0;
    } else if (strcmp(name, "--no-template") == 0) {
        o->vocab.no_template = true;
    } else if (strcmp(name, "--nan") == 0) {
        o->nan = true;
    } else {
        return false;
    }
    return true;
}

/* The options whose value is a number of the shape. */
static int32_t *shape_number(const char *name, options *o)
{
    const struct {
        const char *name;
        int32_t *value;
    } numbers[] = {{"--n-embd", &o->shape.n_embd},       {"--n-layer", &o->shape.n_layer}, {"--n-head", &o->shape.n_head},
                   {"--n-head-kv", &o->shape.n_head_kv}, {"--n-ff", &o->shape.n_ff},       {"--n-ctx", &o->shape.n_ctx},
                   {"--pad-vocab", &o->shape.n_vocab}};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (strcmp(name, numbers[i].name) == 0) {
            return numbers[i].value;
        }
    }
    return NULL;
}

static bool parse_value(const char *name, const char *text, options *o)
{
    int32_t *number = shape_number(name, o);
    if (number) {
        return parse_i32(name, text, number);
    }
    if (strcmp(name, "--shape") == 0) {
        return parse_shape(text, &o->shape);
    }
    if (strcmp(name, "--type") == 0) {
        return parse_type(text, &o->type);
    }
    if (strcmp(name, "--arch") == 0) {
        return parse_arch(text, &o->shape.arch);
    }
    if (strcmp(name, "--seed") == 0) {
        return parse_u64(name, text, UINT64_MAX, &o->seed);
    }
    if (strcmp(name, "--rename-token") == 0) {
        return parse_rename(text, o);
    }
    if (strcmp(name, "--vocab") != 0) {
        return complain("unknown option '%s'; see --help", name);
    }
    o->vocab.path = text;
    return true;
}

static bool parse_arguments(int argc, char **argv, options *o)
{
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '-') {
            if (o->out) {
                return complain("'%s': only one output file can be written", argv[i]);
            }
            o->out = argv[i];
        } else if (!parse_flag(argv[i], o)) {
            if (i + 1 == argc) {
                return complain("'%s' is unknown or lacks its value; see --help", argv[i]);
            }
            if (!parse_value(argv[i], argv[i + 1], o)) {
                return false;
            }
            i++;
        }
    }
    char why[WHY_SIZE];
    if (!o->vocab.path) {
        return complain("--vocab is missing; see --help");
    }
    if (!o->out) {
        return complain("the output file is missing; see --help");
    }
    if (!cs_shape_check(&o->shape, why, sizeof(why))) {
        return complain("%s", why);
    }
    return true;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* Set by a signal; looked at between tensors. */
static volatile sig_atomic_t interrupted;

static void interrupt(int signal_number)
{
    interrupted = signal_number;
}

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool ends_with(const char *text, const char *suffix)
{
    size_t n = strlen(text);
    size_t m = strlen(suffix);
    return n >= m && strcmp(text + n - m, suffix) == 0;
}

/*
 * Norms near 1, small biases. Matrices N(0, 1/sqrt(fan-in)) keep activations at a variance of about 1; the output is three times
 * that, so that the logits have a deviation of 3 and the best token about 5% of the probability, as models of text have.
 */
static bool write_tensor(cs_output *out, const options *o, cs_random *random, const struct gguf_context *meta, int64_t i)
{
    const char *name = gguf_get_tensor_name(meta, i);
    const int64_t *ne = gguf_get_tensor_ne(meta, i);
    bool is_output = starts_with(name, "output.") || (o->shape.tied && starts_with(name, "token_embd."));
    if (o->nan && starts_with(name, "output_norm.")) {
        return cs_weights_write_vector(out, random, ne[0], NAN, 0.0F);
    }
    if (ends_with(name, "norm.weight")) {
        return cs_weights_write_vector(out, random, ne[0], 1.0F, 0.05F);
    }
    if (ends_with(name, ".bias")) {
        return cs_weights_write_vector(out, random, ne[0], 0.0F, 0.05F);
    }
    float deviation = (is_output ? 3.0F : 1.0F) / sqrtf((float)ne[0]);
    return cs_weights_write_matrix(out, random, gguf_get_tensor_type(meta, i), ne[0], ne[1], deviation);
}

static bool write_metadata(cs_output *out, const struct gguf_context *meta)
{
    size_t n = gguf_get_meta_size(meta);
    char *bytes = malloc(n);
    if (!bytes) {
        out->error = ENOMEM;
        return false;
    }
    gguf_get_meta_data(meta, bytes);
    bool written = cs_output_write(out, bytes, n);
    free(bytes);
    return written;
}

static bool write_padding(cs_output *out, size_t n_bytes, size_t alignment)
{
    for (size_t n = n_bytes; n % alignment != 0; n++) {
        if (!cs_output_write(out, "", 1)) {
            return false;
        }
    }
    return true;
}

static void write_model(cs_output *out, const options *o, const struct gguf_context *meta)
{
    int64_t n_tensors = gguf_get_n_tensors(meta);
    bool going_on = write_metadata(out, meta);
    for (int64_t i = 0; i < n_tensors && going_on && !interrupted; i++) {
        /* A generator of its own for each tensor: a changed shape changes only the tensors it concerns. */
        cs_random random = {o->seed * UINT64_C(0x2545f4914f6cdd1d) + (uint64_t)i};
        going_on =
            write_tensor(out, o, &random, meta, i) && write_padding(out, gguf_get_tensor_size(meta, i), gguf_get_alignment(meta));
        show_progress((double)(i + 1) / (double)n_tensors);
    }
}

/* cs_output writes beside the final name and renames at the end: a broken run leaves nothing that looks like a model. */
static bool write_file(const options *o, const struct gguf_context *meta)
{
    cs_output out;
    signal(SIGINT, interrupt);
    signal(SIGTERM, interrupt);
    if (cs_output_open(&out, o->out, false) == 0) {
        write_model(&out, o, meta);
    }
    if (interrupted) {
        cs_output_discard(&out);
        return complain("interrupted, nothing was written");
    }
    int error = cs_output_close(&out);
    if (error != 0) {
        return complain("%s: cannot be written: %s", o->out, strerror(error));
    }
    return true;
}

static bool make_model(options *o)
{
    char why[WHY_SIZE];
    bool done = false;
    struct ggml_context *scratch = NULL;
    struct gguf_context *meta = gguf_init_empty();
    o->vocab.n_padded = o->shape.n_vocab;
    o->vocab.renames = o->renames;
    if (!cs_vocab_copy(&o->vocab, meta, &o->shape.n_vocab, why, sizeof(why))) {
        complain("%s: %s", o->vocab.path, why);
        goto out;
    }
    cs_shape_set_metadata(&o->shape, o->type, meta);
    struct ggml_init_params params = {.mem_size = (cs_shape_n_tensors(&o->shape) + 1) * ggml_tensor_overhead(), .no_alloc = true};
    scratch = ggml_init(params);
    if (!scratch) {
        complain("out of memory");
        goto out;
    }
    cs_shape_add_tensors(&o->shape, o->type, scratch, meta);
    done = write_file(o, meta);
out:
    ggml_free(scratch);
    gguf_free(meta);
    return done;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            return fputs(help, stdout) == EOF || fflush(stdout) != 0;
        }
    }
    options o = {.shape = *cs_shape_find("tiny"), .type = GGML_TYPE_Q4_0};
    if (!parse_arguments(argc, argv, &o)) {
        return EXIT_USAGE;
    }
    ggml_log_set(drop_log, NULL);
    return make_model(&o) ? EXIT_SUCCESS : EXIT_FAILURE;
}
