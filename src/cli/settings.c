/*
 * The option tables that generate, compare, eval and score share, and the checks between options. A default is written in the
 * table and nowhere else; what depends on the machine (threads) is worked out in cs_settings_resolve(), what depends on the
 * method (strength, gate) in methods.c.
 */
#include "cli/settings.h"

#include "cli/message.h"
#include "cli/signals.h"
#include "util/cores.h"

#include <costeer/log.h>
#include <math.h>
#include <string.h>

#define FIELD(field) .offset = offsetof(cs_settings, field)

/* The query comes first: a conversation has all but it. */
static const cs_option input_options[] = {
    {.name = "query-file", .kind = CS_OPTION_FILE, .value_name = "FILE", FIELD(query_file), .help = "Read the query from FILE"},
    {.name = "context",
     .kind = CS_OPTION_FILES,
     .value_name = "FILE[:WEIGHT]",
     FIELD(contexts),
     .help = "Private text for the SLM; it stays on this device, but for --allow-context-upload of generate and compare. WEIGHT "
             "multiplies the strength for this context (default 1; negative: away from it). A file that exists under the whole "
             "name is taken as such. '-' is standard input. An empty one is left out; line ends at the end are not part of it"},
    {.name = "messages",
     .kind = CS_OPTION_FILE,
     .value_name = "FILE",
     FIELD(messages),
     .help =
         "A conversation instead of the query: a JSON array of objects with role (system, user, assistant) and content; the last "
         "is the user's. A context goes into the user's first message. An assistant's message may have the tokens that /save of "
         "costeer chat writes"},
    {.name = "system",
     .kind = CS_OPTION_TEXT,
     .value_name = "TEXT",
     FIELD(system),
     .help = "System message, for both models; without: the one that a model's template has, if it has one"},
    {.name = "framing",
     .kind = CS_OPTION_TEXT,
     .value_name = "NAME",
     .default_value = "published",
     FIELD(framing),
     .help = "How the context is put to a model: published (the context, an empty line, the query), or notes (as notes, of which "
             "only "
             "what the request needs is to be used)"},
    {.name = "context-template",
     .kind = CS_OPTION_FILE,
     .value_name = "FILE",
     FIELD(context_template),
     .help = "The user message where a context is given, with {context} and {query} in it; without: that of --framing"},
    {.name = "amateur-template",
     .kind = CS_OPTION_FILE,
     .value_name = "FILE",
     FIELD(amateur_template),
     .help = "The user message of the SLM without the context, with {query} in it; without: that of --framing, or the query "
             "alone where "
             "--context-template is given"},
};

static const cs_option model_options[] = {
    {.name = "llm",
     .kind = CS_OPTION_LLM,
     .value_name = "MODEL",
     FIELD(llm),
     .help = "The large model: a GGUF file, or the name of a model in the hub's cache (costeer pull --help); without: the "
             "built-in one. "
             "With --cloud: a GGUF with the vocabulary of the cloud's model, of "
             "which nothing else is read; without it that is taken to be the SLM's"},
    {.name = "slm",
     .kind = CS_OPTION_SLM,
     .value_name = "MODEL",
     FIELD(slm),
     .help = "The small model, as --llm; without: the built-in one"},
    {.name = "vocab",
     .kind = CS_OPTION_CHOICE,
     .value_name = "HOW",
     .choices = "auto|same|map|map-intersect|byte",
     .default_value = "auto",
     FIELD(vocab),
     .help = "How two vocabularies are brought together. auto: same where they are identical, else byte; same: they must be "
             "identical; map: an LLM token gets the delta of the SLM token with the same bytes, or of its longest prefix; "
             "map-intersect: only tokens that both have can be written; byte: by the probability of the bytes, the SLM following "
             "the text. The tables are kept in $COSTEER_CACHE_DIR, else in costeer under $XDG_CACHE_HOME or ~/.cache"},
    {.name = "tuned-slm",
     .kind = CS_OPTION_SLM,
     .value_name = "MODEL",
     FIELD(tuned_slm),
     .help = "The SLM as it was tuned, for --method proxy-tuning: a model as --slm, or a LoRA adapter (GGUF) for the SLM"},
    {.name = "threads-llm",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 1, .max = 512},
     FIELD(threads_llm),
     .help = "Threads for the LLM; without: all cores but two, at least 1: one is the SLM's, and one stays free, because every "
             "step waits for the slowest thread. More threads than cores are slow"},
    {.name = "threads-slm",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 1, .max = 512},
     .default_value = "1",
     FIELD(threads_slm),
     .help = "Threads for the SLM, which computes beside the LLM"},
    {.name = "threads-prompt",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 1, .max = 512},
     FIELD(threads_prompt),
     .help = "Threads for reading prompts, which the models do in turn; without: all cores"},
    {.name = "ctx-size",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 8, .max = 16777216},
     FIELD(ctx_size),
     .help = "Tokens of prompt and answer that must fit; without: what the model was trained for, at most 8192. More than that "
             "is allowed, with a warning"},
    {.name = "gpu-layers-llm",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = -1, .max = 100000},
     .default_value = "0",
     FIELD(gpu_layers_llm),
     .help = "Layers of the LLM to offload when llama.cpp was built with a GPU backend, -1 all (passed through; untested here)"},
    {.name = "gpu-layers-slm",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = -1, .max = 100000},
     .default_value = "0",
     FIELD(gpu_layers_slm),
     .help = "The same for the SLM"},
};

/* For the completion; the table of methods decides (methods.c). */
#define METHOD_NAMES                                                                                                      \
    "llm|llm+context|slm|slm+context|costeer|costeer-plausible|costeer-divergence|costeer-whole|lightcosteer|adacosteer|" \
    "context-steering|linear-alignment|amulet|proxy-tuning"

static const cs_option method_options[] = {
    {.name = "method",
     .kind = CS_OPTION_TEXTS,
     .value_name = "NAME",
     .choices = METHOD_NAMES,
     .max_items = 1,
     FIELD(methods),
     .help = "How the answer is made, see below; without: costeer with a --context, else llm"},
};

static const cs_option methods_options[] = {
    {.name = "method",
     .kind = CS_OPTION_TEXTS,
     .value_name = "NAME",
     .choices = METHOD_NAMES,
     FIELD(methods),
     .help = "A way to answer, in the order they are shown; without: llm, slm+context, costeer and llm+context. All of them: see "
             "costeer generate --help"},
};

static const cs_option steering_options[] = {
    {.name = "strength",
     .kind = CS_OPTION_REAL,
     .value_name = "C",
     FIELD(strength),
     .help = "Weight of the method's delta: 0 is its base alone; without: what its published parameters amount to, for costeer "
             "1.78325684"},
    {.name = "T",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 1, .max = COSTEER_STRENGTH_T_MAX},
     FIELD(T),
     .help = "Steps of the published update, instead of --strength; published value 20, of amulet 60"},
    {.name = "alpha", .kind = CS_OPTION_REAL, .value_name = "X", FIELD(alpha), .help = "Weight of the drift; published value 2"},
    {.name = "beta", .kind = CS_OPTION_REAL, .value_name = "X", FIELD(beta), .help = "Weight of the delta; published value 1"},
    {.name = "lambda",
     .kind = CS_OPTION_REAL,
     .value_name = "X",
     .range = {.min = 0, .max = INFINITY, .min_open = true},
     FIELD(lambda),
     .help = "Pull towards the base; published value 2"},
    {.name = "eta",
     .kind = CS_OPTION_REAL,
     .value_name = "X",
     .range = {.min = 0, .max = INFINITY, .min_open = true},
     FIELD(eta),
     .help = "Step size; published value 10"},
    {.name = "plausibility",
     .kind = CS_OPTION_REAL,
     .value_name = "A",
     .range = {.min = 0, .max = 1},
     FIELD(plausibility),
     .help = "No token gains that the SLM with the context holds for less likely than A times its best one; 0: off; without: the "
             "method's own, 0.1 for costeer-plausible and costeer-whole. Not with costeer, which is as published"},
    {.name = "divergence",
     .kind = CS_OPTION_REAL,
     .value_name = "NATS",
     .range = {.min = 0, .max = INFINITY},
     FIELD(divergence),
     .help = "Steer less where the context changes little: the strength times min(1, KL / NATS), KL of the SLM with the context "
             "from the SLM without; 0: off; without: the method's own, 1 for costeer-divergence, 0.5 for costeer-whole. Not "
             "with costeer"},
    {.name = "support-top-p",
     .kind = CS_OPTION_REAL,
     .value_name = "P",
     .range = {.min = 0, .max = 1, .min_open = true},
     FIELD(support_top_p),
     .help = "linear-alignment takes only the fewest best tokens of its base that hold this share of the probability; published "
             "value 0.95"},
    {.name = "gate",
     .kind = CS_OPTION_CHOICE,
     .value_name = "WHICH",
     .choices = "none|ada|token",
     FIELD(gate),
     .help =
         "Where the LLM is sure, leave its choice alone. ada: once it was sure --gate-patience tokens in a row, for good; "
         "token: at every such token, and the SLM catches up in one batch when it is needed again; without: the method's own, "
         "which is ada for adacosteer, else none"},
    {.name = "gate-threshold",
     .kind = CS_OPTION_REAL,
     .value_name = "X",
     .range = {.min = 0, .max = 1, .min_open = true},
     .default_value = "0.1",
     FIELD(gate_threshold),
     .help = "The LLM is sure where the probability of all but its first choice is below X"},
    {.name = "gate-patience",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 1, .max = 1000000},
     .default_value = "3",
     FIELD(gate_patience),
     .help = "Sure tokens in a row that close the gate ada"},
    {.name = "base-top-k",
     .kind = CS_OPTION_INT,
     .value_name = "K",
     .range = {.min = 0, .max = INT32_MAX},
     FIELD(base_top_k),
     .help = "Use only the K best entries of the LLM, and ask for more where they prove nothing; 0: all of them; without: 64 "
             "with --cloud, else 0. With a vocabulary of 150,000 tokens 256 takes fewest bytes, and 1024 is fastest"},
    {.name = "constant-k",
     .kind = CS_OPTION_FLAG,
     FIELD(constant_k),
     .help = "Never ask for more than K; count the tokens kept without proof instead"},
    {.name = "require-certified",
     .kind = CS_OPTION_FLAG,
     FIELD(require_certified),
     .help =
         "Stop with exit code 8 at the first token that cannot be proved to be the full vocabulary's choice, as with an engine "
         "that gives few entries, or --constant-k"},
};

static const cs_option answer_options[] = {
    {.name = "max-tokens",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 1, .max = 1000000},
     .default_value = "256",
     FIELD(max_tokens),
     .help = "Longest answer, in tokens"},
    {.name = "stop",
     .kind = CS_OPTION_TEXTS,
     .value_name = "TEXT",
     FIELD(stop),
     .help = "End the answer where TEXT would appear; it is not part of the answer"},
    {.name = "temperature",
     .kind = CS_OPTION_REAL,
     .value_name = "T",
     .range = {.min = 0, .max = 1000},
     .default_value = "0",
     FIELD(sampler.temperature),
     .help = "0 always takes the best token; above it tokens are drawn, and the options below apply"},
    {.name = "top-k",
     .kind = CS_OPTION_INT,
     .value_name = "K",
     .range = {.min = 0, .max = INT32_MAX},
     .default_value = "0",
     FIELD(sampler.top_k),
     .help = "Draw among the K best tokens of the policy; 0: all"},
    {.name = "top-p",
     .kind = CS_OPTION_REAL,
     .value_name = "P",
     .range = {.min = 0, .max = 1, .min_open = true},
     .default_value = "1",
     FIELD(sampler.top_p),
     .help = "Draw among the fewest best tokens that hold this share of the probability"},
    {.name = "min-p",
     .kind = CS_OPTION_REAL,
     .value_name = "P",
     .range = {.min = 0, .max = 1},
     .default_value = "0",
     FIELD(sampler.min_p),
     .help = "Draw among tokens with at least this share of the best one's probability"},
    {.name = "repetition-penalty",
     .kind = CS_OPTION_REAL,
     .value_name = "X",
     .range = {.min = 1, .max = 1000},
     .default_value = "1",
     FIELD(sampler.repetition_penalty),
     .help = "Divide the probability of recent tokens by this; it also applies at temperature 0"},
    {.name = "repetition-window",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 1, .max = 65536},
     .default_value = "64",
     FIELD(sampler.repetition_window),
     .help = "How many tokens are recent"},
    {.name = "seed",
     .kind = CS_OPTION_SEED,
     .value_name = "N",
     .default_value = "0",
     FIELD(sampler.seed),
     .help = "Seed of the draws: the same seed gives the same answer on every machine"},
};

/* Those of one answer come first: a conversation has the others. */
static const cs_option output_options[] = {
    {.name = "json", .kind = CS_OPTION_FLAG, FIELD(json), .help = "Print one JSON object at the end instead of text"},
    {.name = "output",
     .kind = CS_OPTION_FILE,
     .value_name = "FILE",
     FIELD(output),
     .help = "Write to FILE instead of standard output; an existing file is replaced only when the answer is complete, and "
             "never one that is read"},
    {.name = "trace",
     .kind = CS_OPTION_FILE,
     .value_name = "FILE",
     FIELD(trace),
     .help =
         "Write a JSON line per token of the steered answer to FILE. It holds private text, so only you may read it (mode 0600)"},
    {.name = "log-level",
     .kind = CS_OPTION_CHOICE,
     .value_name = "LEVEL",
     .choices = "error|warn|info|debug",
     FIELD(log_level),
     .help = "Show the library's messages on standard error up to LEVEL: error, warn, info or debug; they hold nothing private"},
    {.name = "quiet",
     .letter = 'q',
     .kind = CS_OPTION_FLAG,
     FIELD(quiet),
     .help = "No progress, hints or summary on standard error"},
    {.name = "verbose",
     .letter = 'v',
     .kind = CS_OPTION_FLAG,
     FIELD(verbose),
     .help = "Progress and summary on standard error even when that is not a terminal; progress as lines then"},
};

const cs_option_group cs_group_input = CS_OPTION_GROUP("Input", input_options);
const cs_option_group cs_group_models = CS_OPTION_GROUP("Models", model_options);
const cs_option_group cs_group_method = CS_OPTION_GROUP("Method", method_options);
const cs_option_group cs_group_methods = CS_OPTION_GROUP("Methods", methods_options);
const cs_option_group cs_group_steering = CS_OPTION_GROUP("Steering", steering_options);
const cs_option_group cs_group_answer = CS_OPTION_GROUP("Answer", answer_options);
const cs_option_group cs_group_output = CS_OPTION_GROUP("Output", output_options);
const cs_option_group cs_group_input_chat = {"Input", input_options + 1, sizeof input_options / sizeof input_options[0] - 1};
const cs_option_group cs_group_output_chat = {"Output", output_options + 2, sizeof output_options / sizeof output_options[0] - 2};

/* ---- checks ------------------------------------------------------------------------------------------------------ */

static void print_log(costeer_log_level level, const char *component, const char *message, void *user)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    (void)user;
    cs_fail(CS_EXIT_OK, "%s: %s: %s", names[level], component, message);
}

static void set_log(const char *name)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    for (int level = COSTEER_LOG_ERROR; name != NULL && level <= COSTEER_LOG_DEBUG; level++) {
        if (strcmp(name, names[level]) == 0) {
            costeer_log_set_callback(print_log, (costeer_log_level)level, NULL);
        }
    }
}

void cs_settings_prepare(cs_settings *settings, int n_spare)
{
    const int n_cores = cs_cores_count();
    if (settings->threads_llm == 0) {
        settings->threads_llm = n_cores > n_spare + 1 ? n_cores - n_spare : 1;
    }
    if (settings->threads_prompt == 0) {
        settings->threads_prompt = n_cores;
    }
    set_log(settings->log_level);
}

/* Outputs that are renamed into the same place would lose one of them. */
static int check_files(const cs_settings *settings)
{
    const struct {
        const char *option;
        const char *path;
    } files[] = {{"--trace", settings->trace}, {"--output", settings->output}, {"--audit", settings->audit}};
    for (size_t i = 0; i < 3; i++) {
        for (size_t j = i + 1; j < 3; j++) {
            if (files[i].path != NULL && files[j].path != NULL && strcmp(files[i].path, files[j].path) == 0) {
                return cs_fail(CS_EXIT_USAGE, "%s and %s name the same file", files[i].option, files[j].option);
            }
        }
    }
    return CS_EXIT_OK;
}

int cs_settings_resolve(cs_settings *settings, const cs_arguments *arguments, bool slm_steers)
{
    int exit_code = cs_settings_resolve_cloud(settings, arguments, slm_steers);
    if (exit_code == CS_EXIT_OK) {
        exit_code = check_files(settings);
    }
    if (exit_code != CS_EXIT_OK) {
        return exit_code;
    }
    if (settings->constant_k && settings->base_top_k == 0) {
        return cs_fail(CS_EXIT_USAGE, "--constant-k: needs --base-top-k, which says how many");
    }
    for (size_t i = 0; i < settings->stop.n; i++) {
        if (settings->stop.items[i][0] == '\0') {
            return cs_fail(CS_EXIT_USAGE, "--stop: an empty text would end every answer at once");
        }
    }
    cs_settings_prepare(settings, 2);
    return CS_EXIT_OK;
}

bool cs_settings_thinks(const cs_settings *settings)
{
    return settings->thinking != NULL && strcmp(settings->thinking, "on") == 0;
}

int32_t cs_settings_positions_max(const cs_settings *settings)
{
    return settings->max_tokens + (cs_settings_thinks(settings) ? settings->thinking_budget + COSTEER_REASONING_MARGIN : 0);
}

costeer_vocab_mode cs_settings_vocab(const cs_settings *settings)
{
    for (int mode = COSTEER_VOCAB_AUTO; mode <= COSTEER_VOCAB_BYTE; mode++) {
        if (strcmp(settings->vocab, costeer_vocab_mode_name((costeer_vocab_mode)mode)) == 0) {
            return (costeer_vocab_mode)mode;
        }
    }
    return COSTEER_VOCAB_AUTO;
}

costeer_session_params cs_settings_session(const cs_settings *settings)
{
    costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    params.sampler = settings->sampler;
    params.max_tokens = settings->max_tokens;
    params.reasoning_budget = settings->thinking_budget;
    params.base_top_k = settings->base_top_k;
    params.constant_k = settings->constant_k;
    params.require_certified = settings->require_certified;
    params.private_drafts = cs_settings_drafts_privately(settings);
    params.draft_confidence = settings->draft_confidence;
    params.stop = settings->stop.items;
    params.n_stop = settings->stop.n;
    params.cancel = cs_interrupt_flag();
    return params;
}
