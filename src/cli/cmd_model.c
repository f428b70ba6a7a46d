/*
 * costeer model: what a model is, and whether two can be paired. Only the vocabulary and the metadata are loaded, so that it
 * answers at once for a file of any size.
 */
#include "cli/cmd.h"
#include "cli/hub.h"
#include "cli/json.h"
#include "cli/message.h"
#include "cli/text.h"
#include "util/utf8.h"

#include <costeer/model.h>
#include <costeer/vocab.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* What is shown of a chat template: enough to tell ChatML from Llama's. */
#define TEMPLATE_LINES      3
#define TEMPLATE_LINE_BYTES 88

typedef struct model_settings {
    bool json;
} model_settings;

static const cs_option options[] = {
    {.name = "json",
     .kind = CS_OPTION_FLAG,
     .offset = offsetof(model_settings, json),
     .help = "Print one JSON object; with two files it has models, can_be_paired, vocab (what generate's --vocab auto "
             "takes), difference (of the vocabularies) and reason (why they cannot be paired)"},
};

static const cs_option_group group = CS_OPTION_GROUP("Options", options);

/* What generate would do with two models. */
typedef struct pairing {
    costeer_vocab_map *map; /* NULL: they cannot be paired */
    const char *difference; /* of the vocabularies; NULL: there is none */
    const char *reason;     /* why they cannot be paired; NULL: they can */
    costeer_error compared; /* what difference and reason point into */
    costeer_error mapped;
} pairing;

/* ---- as text ----------------------------------------------------------------------------------------------------- */

static void print_row(cs_output *out, const char *name, const char *text)
{
    cs_output_print(out, "  %-16s %s\n", name, text);
}

/* 6123456 -> "6,123,456". */
static const char *group_digits(uint64_t value, char *buffer, size_t size)
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%" PRIu64, value);
    size_t used = 0;
    for (int i = 0; i < n && used + 2 < size; i++) {
        if (i > 0 && (n - i) % 3 == 0) {
            buffer[used++] = ',';
        }
        buffer[used++] = digits[i];
    }
    buffer[used] = '\0';
    return buffer;
}

/* Shown to a person: what a model file says about itself must not steer the terminal. */
static void print_harmless(cs_output *out, const char *name, const char *text, size_t n_bytes)
{
    char line[TEMPLATE_LINE_BYTES + 8];
    size_t n = 0;
    for (size_t i = 0; i < n_bytes && n < TEMPLATE_LINE_BYTES;) {
        size_t length = 1;
        bool valid = cs_utf8_next(text + i, n_bytes - i, &length) == CS_UTF8_VALID;
        bool is_plain =
            valid && (unsigned char)text[i] >= 0x20 && (unsigned char)text[i] != 0x7f && (unsigned char)text[i] != 0xc2;
        memcpy(line + n, is_plain ? text + i : "?", is_plain ? length : 1);
        n += is_plain ? length : 1;
        i += length > 0 ? length : 1;
    }
    line[n] = '\0';
    print_row(out, name, line);
}

static void print_template(cs_output *out, const char *text)
{
    if (text == NULL) {
        print_row(out, "chat template", "none; use --template raw or a name");
        return;
    }
    for (int i = 0; i < TEMPLATE_LINES && *text != '\0'; i++) {
        size_t length = strcspn(text, "\n");
        print_harmless(out, i == 0 ? "chat template" : "", text, length);
        text += length + (text[length] == '\n' ? 1 : 0);
    }
}

/* What quantisation comes to: files mix types, and their names tell less than this. */
static double bits_per_weight(const costeer_model_info *info)
{
    return info->n_params > 0 ? 8.0 * (double)info->size_bytes / (double)info->n_params : 0.0;
}

static void print_model(cs_output *out, const costeer_model_info *info)
{
    char line[256];
    char number[32];
    cs_output_print(out, "%.1024s\n", info->path);
    print_harmless(out, "name", info->name, strlen(info->name));
    snprintf(line, sizeof line, "%.64s, %d layers of width %d", info->architecture, (int)info->n_layer, (int)info->n_embd);
    print_row(out, "architecture", line);
    snprintf(line, sizeof line, "%.1f MB in the file, %.1f MB of weights", (double)info->file_bytes / 1e6,
             (double)info->size_bytes / 1e6);
    print_row(out, "size", line);
    snprintf(line, sizeof line, "%s of %.1f bits on average", group_digits(info->n_params, number, sizeof number),
             bits_per_weight(info));
    print_row(out, "parameters", line);
    snprintf(line, sizeof line, "%s tokens (%.32s), output width %d%s",
             group_digits((uint64_t)info->n_vocab, number, sizeof number), info->vocab_type, (int)info->n_vocab_padded,
             info->adds_bos ? ", adds BOS" : "");
    print_row(out, "vocabulary", line);
    print_row(out, "vocabulary hash", info->vocab_sha256);
    snprintf(line, sizeof line, "%s tokens", group_digits((uint64_t)info->n_ctx_train, number, sizeof number));
    print_row(out, "context length", line);
    print_template(out, info->chat_template);
}

static void print_pairing(cs_output *out, const pairing *pair)
{
    if (pair->map == NULL) {
        cs_output_print(out, "These two cannot be paired.\n");
    } else if (pair->difference == NULL) {
        cs_output_print(out, "These two can be paired: they have one vocabulary.\n");
    } else {
        costeer_vocab_coverage coverage;
        costeer_vocab_map_read_coverage(pair->map, &coverage);
        cs_output_print(out,
                        "These two can be paired, with --vocab %s (auto takes it): %s.\n"
                        "%.1f%% of the LLM's tokens have the bytes of one of the SLM's; costeer vocab shows more. Drafts and "
                        "--method proxy-tuning need one vocabulary.\n",
                        costeer_vocab_mode_name(costeer_vocab_map_mode(pair->map)), pair->difference,
                        coverage.n_llm > 0 ? 100.0 * (double)coverage.n_exact / (double)coverage.n_llm : 0.0);
    }
}

/* ---- as JSON ----------------------------------------------------------------------------------------------------- */

static json_t *text_or_null(const char *text)
{
    return text != NULL ? cs_json_text(text, strlen(text)) : json_null();
}

static json_t *make_model(const costeer_model_info *info)
{
    return json_pack("{s:o, s:o, s:o, s:I, s:I, s:I, s:f, s:i, s:i, s:o, s:i, s:i, s:s, s:i, s:b, s:o}", "path",
                     text_or_null(info->path), "name", text_or_null(info->name), "architecture", text_or_null(info->architecture),
                     "file_bytes", (json_int_t)info->file_bytes, "weight_bytes", (json_int_t)info->size_bytes, "n_params",
                     (json_int_t)info->n_params, "bits_per_weight", bits_per_weight(info), "n_layer", (int)info->n_layer,
                     "n_embd", (int)info->n_embd, "vocab_type", text_or_null(info->vocab_type), "n_vocab", (int)info->n_vocab,
                     "n_vocab_padded", (int)info->n_vocab_padded, "vocab_sha256", info->vocab_sha256, "n_ctx_train",
                     (int)info->n_ctx_train, "adds_bos", (int)info->adds_bos, "chat_template", text_or_null(info->chat_template));
}

static json_t *make_pair(const costeer_model_info *llm, const costeer_model_info *slm, const pairing *pair)
{
    const char *mode = pair->map != NULL ? costeer_vocab_mode_name(costeer_vocab_map_mode(pair->map)) : NULL;
    return json_pack("{s:[o, o], s:b, s:o, s:o, s:o}", "models", make_model(llm), make_model(slm), "can_be_paired",
                     pair->map != NULL ? 1 : 0, "vocab", text_or_null(mode), "difference", text_or_null(pair->difference),
                     "reason", text_or_null(pair->reason));
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

static int show(const model_settings *settings, costeer_model *const models[2], const pairing *pair)
{
    cs_output out;
    cs_output_init_stdout(&out);
    const costeer_model_info *first = costeer_model_get_info(models[0]);
    const costeer_model_info *second = models[1] != NULL ? costeer_model_get_info(models[1]) : NULL;
    int exit_code = CS_EXIT_OK;
    if (settings->json) {
        exit_code = cs_json_print(&out, second == NULL ? make_model(first) : make_pair(first, second, pair));
    } else {
        print_model(&out, first);
        if (second != NULL) {
            print_model(&out, second);
            print_pairing(&out, pair);
        }
    }
    int error = cs_output_close(&out);
    return error == 0 ? exit_code : cs_fail_output(out.name, error);
}

static void pair_up(costeer_model *const models[2], pairing *pair)
{
    if (costeer_model_check_pair(models[0], models[1], &pair->compared) != COSTEER_OK) {
        pair->difference = pair->compared.message;
    }
    if (costeer_vocab_map_create(models[0], models[1], NULL, &pair->map, &pair->mapped) != COSTEER_OK) {
        pair->reason = pair->mapped.message;
    }
}

static int load_and_show(const model_settings *settings, const cs_arguments *arguments, costeer_model *models[2], pairing *pair)
{
    costeer_error err = {.code = COSTEER_OK};
    const costeer_model_params params = {.vocab_only = true};
    for (size_t i = 0; i < arguments->n; i++) {
        char buffer[COSTEER_HUB_PATH_MAX];
        const char *path;
        const int located = cs_hub_locate(arguments->items[i], i == 1, buffer, &path);
        if (located != CS_EXIT_OK) {
            return located;
        }
        if (costeer_model_load(path, &params, &models[i], &err) != COSTEER_OK) {
            return cs_fail_error(&err);
        }
    }
    if (models[1] != NULL) {
        pair_up(models, pair);
    }
    int exit_code = show(settings, models, pair);
    return exit_code == CS_EXIT_OK && pair->reason != NULL ? cs_fail_error(&pair->mapped) : exit_code;
}

static int run(const cs_command *self, int argc, char **argv)
{
    model_settings settings = {0};
    cs_arguments arguments = {.n = 0};
    int exit_code;
    if (!cs_options_parse(self, argc, argv, &settings, &arguments, &exit_code)) {
        return exit_code;
    }
    if (arguments.n < 1 || arguments.n > 2) {
        return cs_fail(CS_EXIT_USAGE, "model: takes one GGUF file, or two to see whether they can be paired");
    }
    costeer_model *models[2] = {NULL, NULL};
    pairing pair;
    memset(&pair, 0, sizeof pair);
    exit_code = load_and_show(&settings, &arguments, models, &pair);
    costeer_vocab_map_free(pair.map);
    costeer_model_free(models[1]);
    costeer_model_free(models[0]);
    return exit_code;
}

const cs_command cs_command_model = {
    .name = "model",
    .arguments = "MODEL [MODEL2]",
    .summary = "show what a GGUF model is, and whether two can be paired",
    .description = "Prints architecture, size, parameters and their average size in bits (which tells the quantisation), "
                   "vocabulary (its size, the width of the model's output and a hash of all token texts), context length and "
                   "the beginning of the chat template. A model is a GGUF file, or a name as of costeer pull. With two it also "
                   "says whether the second can steer the first, "
                   "as generate would pair them: by one vocabulary, or by bytes where the vocabularies differ. If they cannot "
                   "be paired the reason is on standard error and the exit code is 4. Only the vocabulary and metadata are read, "
                   "so it is quick for files of any size.",
    .examples = "  costeer model big.gguf\n"
                "  costeer model big.gguf small.gguf && echo fine",
    .groups = {&group},
    .run = run,
};
