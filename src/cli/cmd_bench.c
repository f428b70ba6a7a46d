/*
 * costeer bench: what steering costs on this machine. Measuring is in bench/; here are the options, and the results as a table or
 * JSON. Ratios are between figures of one run: times of two runs differ by what else the machine did.
 */
#include "bench/fuse_bench.h"
#include "bench/model_bench.h"
#include "cli/bench_settings.h"
#include "cli/cmd.h"
#include "cli/json.h"
#include "cli/message.h"
#include "cli/pair.h"
#include "cli/signals.h"
#include "util/cores.h"

#include <costeer/steer.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define FIELD(field) .offset = offsetof(cs_bench_settings, field)

/* A prompt and its answer stay far below 2^31 tokens, whatever the caller asks for. */
#define TOKENS_MAX 1000000

/* The longest path of a built-in model; cs_builtin_path() refuses longer ones. */
#define PATH_SIZE 4096

static const cs_option options[] = {
    {.name = "llm",
     .kind = CS_OPTION_LLM,
     .value_name = "MODEL",
     FIELD(llm),
     .help = "The large model (generate, batch, net): a GGUF file, or a name as of costeer pull; without: the built-in one"},
    {.name = "slm",
     .kind = CS_OPTION_SLM,
     .value_name = "MODEL",
     FIELD(slm),
     .help = "The small model (slm, generate, net), as --llm; without: the built-in one"},
    {.name = "threads-llm",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 1, .max = 1024},
     .default_value = "1",
     FIELD(threads_llm),
     .help = "Threads for the LLM; in net those of the node"},
    {.name = "threads-slm",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 1, .max = 1024},
     .default_value = "1",
     FIELD(threads_slm),
     .help = "Threads for the SLM"},
    {.name = "threads-prompt",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 1, .max = 512},
     FIELD(threads_prompt),
     .help = "Threads for reading prompts (slm, generate); without: all cores"},
    {.name = "n-prompt",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 1, .max = TOKENS_MAX},
     .default_value = "32",
     FIELD(n_prompt),
     .help = "Tokens of the query's prompt (slm, generate, batch)"},
    {.name = "n-context",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 0, .max = TOKENS_MAX},
     .default_value = "64",
     FIELD(n_context),
     .help = "Tokens by which the context makes the expert's prompt longer (slm, generate)"},
    {.name = "n-tokens",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 2, .max = TOKENS_MAX},
     .default_value = "64",
     FIELD(n_tokens),
     .help = "Tokens of an answer; end tokens do not end it, but in net they do"},
    {.name = "contexts",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 1, .max = COSTEER_DELTAS_MAX},
     .default_value = "1",
     FIELD(contexts),
     .help = "Measure steps with 1 to N contexts, and what an added one costs (slm)"},
    {.name = "n-vocab",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 1, .max = 10000000},
     .default_value = "151936",
     FIELD(n_vocab),
     .help = "Size of the vocabulary (fuse)"},
    {.name = "repeat",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 1, .max = 100000},
     FIELD(repeat),
     .help = "Times to measure, for the median; without: 200 for fuse, 3 for the others"},
    {.name = "json", .kind = CS_OPTION_FLAG, FIELD(json), .help = "Print one JSON object; times in microseconds"},
    {.name = "output",
     .kind = CS_OPTION_FILE,
     .value_name = "FILE",
     FIELD(output),
     .help = "Write the results to FILE instead of standard output"},
};

static const cs_option_group group = CS_OPTION_GROUP("Options", options);

static cs_bench_model_params model_params(const cs_bench_settings *settings)
{
    return (cs_bench_model_params){.llm = settings->llm,
                                   .slm = settings->slm,
                                   .n_threads_llm = settings->threads_llm,
                                   .n_threads_slm = settings->threads_slm,
                                   .n_threads_prompt = settings->threads_prompt > 0 ? settings->threads_prompt : cs_cores_count(),
                                   .n_prompt = settings->n_prompt,
                                   .n_context = settings->n_context,
                                   .n_tokens = settings->n_tokens,
                                   .n_rounds = settings->repeat > 0 ? settings->repeat : 3,
                                   .cancel = cs_interrupt_flag()};
}

/* ---- fuse -------------------------------------------------------------------------------------------------------- */

static int bench_fuse(const cs_bench_settings *settings, cs_output *out)
{
    struct cs_bench_fuse_result r;
    const int n_repeats = settings->repeat == 0 ? 200 : settings->repeat;
    if (n_repeats < 3) {
        return cs_fail(CS_EXIT_USAGE, "--repeat: %d is not in [3, 100000]", n_repeats);
    }
    const costeer_err result = cs_bench_fuse(settings->n_vocab, n_repeats, &r);
    if (result != COSTEER_OK) {
        return cs_fail(cs_exit_code(result), "bench fuse: %s", costeer_err_name(result));
    }
    if (settings->json) {
        return cs_json_print(out, json_pack("{s:s, s:i, s:s, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "bench", "fuse", "n_vocab",
                                            settings->n_vocab, "isa", costeer_fuse_isa(), "repeat", n_repeats, "choose_us",
                                            r.choose_us, "loop_us", r.loop_us, "read_us", r.read_us, "loop_ratio",
                                            r.loop_us / r.choose_us, "read_ratio", r.choose_us / r.read_us, "limit_us",
                                            r.limit_us, "limited_choose_us", r.limited_choose_us));
    }
    cs_output_print(out, "%" PRId32 " tokens, %s, medians of %d\n", settings->n_vocab, costeer_fuse_isa(), n_repeats);
    cs_output_print(out, "  fuse and choose    %10.1f us\n", r.choose_us);
    cs_output_print(out, "  T = 20 loop        %10.1f us  %.0f times as long\n", r.loop_us, r.loop_us / r.choose_us);
    cs_output_print(out, "  read the arrays    %10.1f us  fuse takes %.2f times that\n", r.read_us, r.choose_us / r.read_us);
    cs_output_print(out, "  limits of a delta  %10.1f us  fuse and choose with it %.1f us\n", r.limit_us, r.limited_choose_us);
    return CS_EXIT_OK;
}

/* ---- slm --------------------------------------------------------------------------------------------------------- */

static json_t *contexts_json(const cs_bench_model_params *params, int32_t n_max, const cs_bench_contexts_result *results)
{
    json_t *list = json_array();
    for (int32_t i = 0; i < n_max; i++) {
        (void)json_array_append_new(list,
                                    json_pack("{s:i, s:f, s:f, s:f}", "contexts", i + 1, "step_us", results[i].step_us,
                                              "step_best_us", results[i].step_best_us, "added_share", results[i].added_share));
    }
    return json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:o}", "bench", "slm", "threads", params->n_threads_slm, "n_prompt",
                     params->n_prompt, "n_context", params->n_context, "n_tokens", params->n_tokens, "repeat", params->n_rounds,
                     "steps", list);
}

static int bench_slm_contexts(const cs_bench_settings *settings, cs_output *out)
{
    const cs_bench_model_params params = model_params(settings);
    cs_bench_contexts_result results[COSTEER_DELTAS_MAX];
    costeer_error err;
    if (cs_bench_slm_contexts(&params, settings->contexts, results, &err) != COSTEER_OK) {
        return cs_fail_error(&err);
    }
    if (settings->json) {
        return cs_json_print(out, contexts_json(&params, settings->contexts, results));
    }
    cs_output_print(out,
                    "one batch of amateur and contexts, %" PRId32 " thread(s), medians of %" PRId32 " times %" PRId32 " steps\n",
                    params.n_threads_slm, params.n_rounds, params.n_tokens);
    cs_output_print(out, "  contexts    step ms    best ms   an added one, as a share of the step with one\n");
    for (int32_t i = 0; i < settings->contexts; i++) {
        cs_output_print(out, "  %8" PRId32 " %10.2f %10.2f", i + 1, results[i].step_us / 1e3, results[i].step_best_us / 1e3);
        if (i > 0) {
            cs_output_print(out, "   %.2f", results[i].added_share);
        }
        cs_output_print(out, "\n");
    }
    return CS_EXIT_OK;
}

static int bench_slm(const cs_bench_settings *settings, cs_output *out)
{
    if (settings->contexts > 1) {
        return bench_slm_contexts(settings, out);
    }
    const cs_bench_model_params params = model_params(settings);
    cs_bench_slm_result r;
    costeer_error err;
    if (cs_bench_slm(&params, &r, &err) != COSTEER_OK) {
        return cs_fail_error(&err);
    }
    if (settings->json) {
        return cs_json_print(out, json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:f}", "bench", "slm", "threads",
                                            params.n_threads_slm, "n_prompt", params.n_prompt, "n_context", params.n_context,
                                            "n_tokens", params.n_tokens, "repeat", params.n_rounds, "step_us", r.step_us,
                                            "step_best_us", r.step_best_us, "tokens_per_s", r.tokens_per_s, "prefill_us",
                                            r.prefill_us));
    }
    cs_output_print(out,
                    "expert and amateur in one batch, %" PRId32 " thread(s), median of %" PRId32 " times %" PRId32 " steps\n",
                    params.n_threads_slm, params.n_rounds, params.n_tokens);
    cs_output_print(out, "  step     %9.2f ms  (best %.2f ms)\n", r.step_us / 1e3, r.step_best_us / 1e3);
    cs_output_print(out, "  tokens   %9.2f /s  (two a step)\n", r.tokens_per_s);
    cs_output_print(out, "  prompts  %9.2f ms  (%" PRId32 " and %" PRId32 " tokens)\n", r.prefill_us / 1e3, params.n_prompt,
                    params.n_prompt + params.n_context);
    return CS_EXIT_OK;
}

/* ---- generate ---------------------------------------------------------------------------------------------------- */

static json_t *answer_json(const cs_bench_answer *answer)
{
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f}", "tokens_per_s", answer->tokens_per_s, "token_us", answer->token_us,
                     "prefill_us", answer->prefill_us, "slm_us", answer->slm_us, "cloud_wait_us", answer->cloud_wait_us,
                     "fuse_us", answer->fuse_us);
}

static json_t *generate_json(const cs_bench_model_params *params, const cs_bench_generate_result *r)
{
    return json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:o, s:o, s:f, s:I, s:I, s:I}", "bench", "generate", "threads_llm",
                     params->n_threads_llm, "threads_slm", params->n_threads_slm, "threads_prompt", params->n_threads_prompt,
                     "n_prompt", params->n_prompt, "n_context", params->n_context, "n_tokens", params->n_tokens, "repeat",
                     params->n_rounds, "alone", answer_json(&r->alone), "steered", answer_json(&r->steered), "ratio", r->ratio,
                     "file_bytes", (json_int_t)r->file_bytes, "kv_bytes", (json_int_t)r->kv_bytes, "peak_bytes",
                     (json_int_t)r->peak_bytes);
}

static void print_answer(cs_output *out, const char *name, const cs_bench_answer *a)
{
    cs_output_print(out, "  %-10s %8.2f %11.2f %9.2f %9.2f %9.3f %9.0f\n", name, a->tokens_per_s, a->token_us / 1e3,
                    a->slm_us / 1e3, a->cloud_wait_us / 1e3, a->fuse_us / 1e3, a->prefill_us / 1e3);
}

static int bench_generate(const cs_bench_settings *settings, cs_output *out)
{
    const cs_bench_model_params params = model_params(settings);
    const double mb = 1024.0 * 1024.0;
    cs_bench_generate_result r;
    costeer_error err;
    if (cs_bench_generate(&params, &r, &err) != COSTEER_OK) {
        return cs_fail_error(&err);
    }
    if (settings->json) {
        return cs_json_print(out, generate_json(&params, &r));
    }
    cs_output_print(out,
                    "%" PRId32 " tokens after a prompt of %" PRId32 " (and a context of %" PRId32 "), medians of %" PRId32 "\n",
                    params.n_tokens, params.n_prompt, params.n_context, params.n_rounds);
    cs_output_print(out, "             tokens/s    token ms    SLM ms   wait ms   fuse ms prompt ms\n");
    print_answer(out, "LLM alone", &r.alone);
    print_answer(out, "steered", &r.steered);
    cs_output_print(out, "  ratio      %8.3f\n", r.ratio);
    cs_output_print(out, "  memory     peak %.0f MB; model files %.0f MB, KV cache %.0f MB\n", (double)r.peak_bytes / mb,
                    (double)r.file_bytes / mb, (double)r.kv_bytes / mb);
    return CS_EXIT_OK;
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

typedef struct measurement {
    const char *name;
    bool needs_llm;
    bool needs_slm;
    int (*run)(const cs_bench_settings *settings, cs_output *out);
} measurement;

static const measurement measurements[] = {{"fuse", false, false, bench_fuse},
                                           {"slm", false, true, bench_slm},
                                           {"generate", true, true, bench_generate},
                                           {"batch", true, false, cs_bench_batch_steps},
                                           {"net", true, true, cs_bench_net}};

static const measurement *find_measurement(const cs_arguments *arguments)
{
    for (size_t i = 0; arguments->n == 1 && i < sizeof measurements / sizeof measurements[0]; i++) {
        if (strcmp(arguments->items[0], measurements[i].name) == 0) {
            return &measurements[i];
        }
    }
    return NULL;
}

/* A model that would not be looked at was given by mistake; one that is missing is the built-in one. */
static int resolve_model(const measurement *what, const char *option, bool is_needed, const char *builtin, char *buffer,
                         const char **path)
{
    if (!is_needed) {
        return *path == NULL ? CS_EXIT_OK : cs_fail(CS_EXIT_USAGE, "bench %s: does not use --%s", what->name, option);
    }
    if (*path != NULL) {
        return CS_EXIT_OK;
    }
    *path = buffer;
    return cs_builtin_path(builtin, buffer, PATH_SIZE);
}

/* Options of one measurement with another would do nothing. */
static int check_options(const measurement *what, const cs_arguments *arguments)
{
    if (what->run != bench_slm && cs_arguments_have(arguments, "contexts")) {
        return cs_fail(CS_EXIT_USAGE, "bench %s: does not use --contexts", what->name);
    }
    for (size_t i = 0; i < cs_group_bench_net.n_options && what->run != cs_bench_net; i++) {
        if (cs_arguments_have(arguments, cs_group_bench_net.options[i].name)) {
            return cs_fail(CS_EXIT_USAGE, "bench %s: does not use --%s", what->name, cs_group_bench_net.options[i].name);
        }
    }
    return CS_EXIT_OK;
}

/* What the options mean, then the measurement; its results stay where they are only when all of it went well. */
static int measure(const measurement *what, cs_bench_settings settings, cs_output *out)
{
    char llm[PATH_SIZE];
    char slm[PATH_SIZE];
    int exit_code = resolve_model(what, "llm", what->needs_llm, "costeer-llm.gguf", llm, &settings.llm);
    if (exit_code == CS_EXIT_OK) {
        exit_code = resolve_model(what, "slm", what->needs_slm, "costeer-slm.gguf", slm, &settings.slm);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = what->run(&settings, out);
    }
    if (exit_code != CS_EXIT_OK) {
        return exit_code;
    }
    const int error = cs_output_close(out);
    return error == 0 ? CS_EXIT_OK : cs_fail_output(out->name, error);
}

static int run(const cs_command *self, int argc, char **argv)
{
    cs_bench_settings settings = {0};
    cs_arguments arguments = {.n = 0};
    int exit_code;
    if (!cs_options_parse(self, argc, argv, &settings, &arguments, &exit_code)) {
        return exit_code;
    }
    const measurement *what = find_measurement(&arguments);
    if (what == NULL) {
        return cs_fail(CS_EXIT_USAGE, "bench: give one of fuse, slm, generate, batch, net");
    }
    exit_code = check_options(what, &arguments);
    if (exit_code != CS_EXIT_OK) {
        return exit_code;
    }
    cs_output out;
    const int error = cs_output_open(&out, settings.output != NULL ? settings.output : "-", false);
    exit_code = error == 0 ? measure(what, settings, &out) : cs_fail_output(out.name, error);
    cs_output_discard(&out);
    return exit_code;
}

const cs_command cs_command_bench = {
    .name = "bench",
    .arguments = "fuse|slm|generate|batch|net",
    .summary = "measure what steering costs on this machine",
    .description =
        "Prompts are fixed pseudo-random tokens, end tokens end nothing, a first round warms up and is not counted, and medians "
        "are "
        "reported. Compare figures of one run only.\n"
        "\n"
        "fuse: the fused greedy choice, against the published loop of 20 steps, and against merely reading the three arrays; "
        "then what "
        "plausibility and divergence (costeer-whole) add.\n"
        "\n"
        "slm: the step that expert and amateur take in one batch of two tokens. With --contexts: steps with 1 to N experts, and "
        "the "
        "cost of an added one as a share of the step with one: (t_N - t_1) / ((N - 1) t_1).\n"
        "\n"
        "generate: answers of the LLM alone and steered ones in turn, without prompts and first tokens; and the most memory the "
        "process has used, beside the sizes of model files and KV caches.\n"
        "\n"
        "batch: what 1, 2, 4, 5, 8 and 9 positions cost in one step of the LLM; a draft of n tokens is a step of n + 1.\n"
        "\n"
        "net: a costeer node is started as a process of its own, a proxy between it and this one makes the round trips, and "
        "every mode of --cloud answers the same prompts; plain is the LLM's own text, streamed through the same node and proxy. "
        "Told of each mode: tokens per second after the first one with the range over runs, as a share of plain, corrections and "
        "starts of steered runs per hundred tokens, bytes up and down per token, wasted LLM steps, and the time per token that "
        "the round trip, the steps and the corrections predict. With --sessions: the total rate of many answers at once.",
    .examples = "  costeer bench fuse\n"
                "  costeer bench slm --slm small.gguf --threads-slm 1\n"
                "  costeer bench slm --slm small.gguf --contexts 4\n"
                "  costeer bench generate --llm large.gguf --slm small.gguf --n-tokens 64 --json\n"
                "  costeer bench net --step-ms 30 --round-trip-ms 0,50 --modes plain,lockstep,streamed\n"
                "  costeer bench net --sessions 16 --json --output sessions.json",
    .groups = {&group, &cs_group_bench_net},
    .run = run,
};
