/*
 * costeer node: serve an LLM to devices on the network. Everything about serving is in src/server; here are the options, the
 * token and the model, the line that says where it listens, and signals.
 */
#include "cli/cmd.h"
#include "cli/json.h"
#include "cli/message.h"
#include "cli/pair.h"
#include "cli/signals.h"
#include "cli/text.h"
#include "cli/token.h"
#include "util/buffer.h"
#include "util/parse.h"

#include <costeer/node.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Descriptors beyond the answers': other connections (src/server allows 256), the model, the log. */
#define DESCRIPTORS_BESIDES 512

#define HOST_BYTES_MAX 255

#define PARALLEL_DEFAULT 8

typedef struct node_settings {
    const char *model;
    int32_t gpu_layers;
    int32_t threads;
    int32_t max_context;
    const char *listen;
    const char *tls_cert;
    const char *tls_key;
    const char *token_file;
    bool insecure;
    const char *init_tls;
    int32_t max_sessions;
    int32_t parallel;
    int32_t window;
    int32_t idle_timeout_ms;
    int32_t drain_timeout_ms;
    int32_t bench_step_ms;
    const char *log_level;
    bool quiet;
    bool json;
} node_settings;

#define FIELD(field) .offset = offsetof(node_settings, field)

static const cs_option model_options[] = {
    {.name = "model",
     .kind = CS_OPTION_LLM,
     .value_name = "MODEL",
     FIELD(model),
     .help = "The LLM: a GGUF file, or the name of a model in the hub's cache (costeer pull --help); without: the built-in one"},
    {.name = "threads",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 1, .max = 1024},
     FIELD(threads),
     .help = "Threads for it; without: all cores but one, one on a machine with two"},
    {.name = "gpu-layers",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = -1, .max = 100000},
     .default_value = "0",
     FIELD(gpu_layers),
     .help = "Layers to offload when llama.cpp was built with a GPU backend, -1 all (passed through; untested here)"},
    {.name = "max-context",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 1, .max = COSTEER_WIRE_CONTEXT_MAX},
     FIELD(max_context),
     .help = "Tokens of prompt and answer that must fit; without: what the model was trained for, at most 8192. Memory for the "
             "KV cache is taken for --parallel times as many"},
};

static const cs_option network_options[] = {
    {.name = "listen",
     .kind = CS_OPTION_TEXT,
     .value_name = "HOST:PORT",
     .default_value = "127.0.0.1:8790",
     FIELD(listen),
     .help = "Where to listen; an IPv6 address stands in brackets, [::1]:8790; port 0 takes a free one"},
    {.name = "tls-cert",
     .kind = CS_OPTION_FILE,
     .value_name = "FILE",
     FIELD(tls_cert),
     .help = "Certificate chain, PEM: serve wss:// and https:// (TLS 1.2 or later). Needed for any address but loopback"},
    {.name = "tls-key", .kind = CS_OPTION_FILE, .value_name = "FILE", FIELD(tls_key), .help = "Its private key, PEM"},
    {.name = "token-file",
     .kind = CS_OPTION_FILE,
     .value_name = "FILE",
     FIELD(token_file),
     .help = "Let in only who shows the token in the first line of FILE: 8 to 512 printable ASCII characters without spaces. "
             "/health stays open"},
    {.name = "insecure",
     .kind = CS_OPTION_FLAG,
     FIELD(insecure),
     .help = "Serve other addresses than loopback without TLS: queries, answers and the token can then be read on the way"},
    {.name = "init-tls",
     .kind = CS_OPTION_FILE,
     .value_name = "DIR",
     FIELD(init_tls),
     .help = "Make a certificate for development in DIR and exit: ca.pem (for --cloud-ca), node.pem and node-key.pem, for "
             "localhost, 127.0.0.1, ::1 and this host's name, for a year. Nothing is overwritten"},
};

static const cs_option limit_options[] = {
    {.name = "max-sessions",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 1, .max = 10000},
     .default_value = "64",
     FIELD(max_sessions),
     .help = "Answers open at once, waiting ones included; a device beyond them is told to try again"},
    {.name = "parallel",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 1, .max = 256},
     FIELD(parallel),
     .help = "Answers computed together; the others wait in order of arrival. Without: 8, or --max-sessions if that is less"},
    {.name = "window",
     .kind = CS_OPTION_INT,
     .value_name = "W",
     .range = {.min = 1, .max = COSTEER_WIRE_WINDOW_MAX},
     .default_value = "32",
     FIELD(window),
     .help = "Positions that an answer may run ahead of its device at most"},
    {.name = "idle-timeout-ms",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 1, .max = 86400000},
     .default_value = "120000",
     FIELD(idle_timeout_ms),
     .help = "Close a connection that says nothing, or takes nothing, for so long"},
    {.name = "drain-timeout-ms",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 0, .max = 86400000},
     .default_value = "30000",
     FIELD(drain_timeout_ms),
     .help = "How long running answers may go on after SIGTERM"},
    {.name = "bench-step-ms",
     .kind = CS_OPTION_INT,
     .value_name = "S",
     .range = {.min = 0, .max = 60000},
     .default_value = "0",
     FIELD(bench_step_ms),
     .help = "For benches: no step of the model takes less, so that a small model stands for a larger one"},
};

static const cs_option output_options[] = {
    {.name = "json", .kind = CS_OPTION_FLAG, FIELD(json), .help = "Say where it listens as JSON: url, port, model, pid"},
    {.name = "log-level",
     .kind = CS_OPTION_CHOICE,
     .value_name = "LEVEL",
     .choices = "error|warn|info|debug",
     FIELD(log_level),
     .help = "Show the library's messages on standard error up to LEVEL: error, warn, info or debug; they hold nothing of what "
             "is asked or answered"},
    {.name = "quiet",
     .letter = 'q',
     .kind = CS_OPTION_FLAG,
     FIELD(quiet),
     .help = "No progress and no warnings on standard error"},
};

static const cs_option_group model_group = CS_OPTION_GROUP("Model", model_options);
static const cs_option_group network_group = CS_OPTION_GROUP("Network", network_options);
static const cs_option_group limit_group = CS_OPTION_GROUP("Limits", limit_options);
static const cs_option_group output_group = CS_OPTION_GROUP("Output", output_options);

/* ---- where to listen --------------------------------------------------------------------------------------------- */

typedef struct listen_address {
    char host[HOST_BYTES_MAX + 1]; /* without brackets */
    int32_t port;
} listen_address;

/* HOST:PORT, or [IPv6]:PORT. */
static bool parse_address(const char *text, listen_address *out)
{
    const bool has_brackets = text[0] == '[';
    const char *host = has_brackets ? text + 1 : text;
    const char *end = has_brackets ? strchr(host, ']') : strrchr(host, ':');
    if (end == NULL || end == host || (size_t)(end - host) > HOST_BYTES_MAX) {
        return false;
    }
    const size_t n_host = (size_t)(end - host);
    end += has_brackets ? 1 : 0;
    if (*end != ':' || (!has_brackets && memchr(host, ':', n_host) != NULL)) {
        return false;
    }
    uint64_t port;
    if (cs_parse_uint64(end + 1, &port) != CS_PARSE_OK || port > 65535) {
        return false;
    }
    memcpy(out->host, host, n_host);
    out->host[n_host] = '\0';
    out->port = (int32_t)port;
    return true;
}

/* ---- what it needs ----------------------------------------------------------------------------------------------- */

/* A connection each; the limit that most systems begin with is 1,024. */
static void allow_descriptors(int32_t max_sessions)
{
    const rlim_t wanted = (rlim_t)max_sessions + DESCRIPTORS_BESIDES;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < wanted) {
        limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int read_token(const node_settings *settings, char **out)
{
    const char *path = settings->token_file;
    if (path == NULL) {
        return CS_EXIT_OK;
    }
    struct stat status;
    if (!settings->quiet && stat(path, &status) == 0 && S_ISREG(status.st_mode) && (status.st_mode & (S_IRGRP | S_IROTH)) != 0) {
        (void)cs_fail(CS_EXIT_OK, "%s: others can read this token; chmod 600 keeps it to you", path);
    }
    return cs_token_read(path, CS_TOKEN_BYTES_MIN, out);
}

static int check_settings(node_settings *settings, listen_address *address)
{
    if (!parse_address(settings->listen, address)) {
        return cs_fail(CS_EXIT_USAGE, "--listen: \"%s\" is not HOST:PORT; an IPv6 address stands in brackets, [::1]:8790",
                       settings->listen);
    }
    if ((settings->tls_cert == NULL) != (settings->tls_key == NULL)) {
        return cs_fail(CS_EXIT_USAGE, "--tls-cert and --tls-key go together; %s is missing",
                       settings->tls_cert == NULL ? "--tls-cert" : "--tls-key");
    }
    if (settings->parallel > settings->max_sessions) {
        return cs_fail(CS_EXIT_USAGE, "--parallel: %d is more than --max-sessions %d", (int)settings->parallel,
                       (int)settings->max_sessions);
    }
    if (settings->parallel == 0) {
        settings->parallel = settings->max_sessions < PARALLEL_DEFAULT ? settings->max_sessions : PARALLEL_DEFAULT;
    }
    return CS_EXIT_OK;
}

static int make_certificate(const node_settings *settings)
{
    costeer_error err = {.code = COSTEER_OK};
    if (costeer_node_init_tls(settings->init_tls, &err) != COSTEER_OK) {
        return cs_fail_error(&err);
    }
    cs_output out;
    cs_output_init_stdout(&out);
    int exit_code = CS_EXIT_OK;
    if (settings->json) {
        exit_code = cs_json_print(&out, json_pack("{s:s+, s:s+, s:s+}", "ca", settings->init_tls, "/ca.pem", "cert",
                                                  settings->init_tls, "/node.pem", "key", settings->init_tls, "/node-key.pem"));
    } else {
        cs_output_print(&out, "costeer node: %.1000s/ca.pem, node.pem and node-key.pem are made; they are for development\n",
                        settings->init_tls);
    }
    const int error = cs_output_close(&out);
    return error == 0 ? exit_code : cs_fail_output(out.name, error);
}

/* ---- serving ----------------------------------------------------------------------------------------------------- */

/* What a model file says of itself, in one harmless line; its file's name when it says nothing. */
static void write_name(const costeer_model_info *info, cs_buffer *out)
{
    const char *slash = strrchr(info->path, '/');
    const char *name = info->name[0] != '\0' ? info->name : slash != NULL ? slash + 1 : info->path;
    (void)cs_text_append_valid(out, name, strlen(name));
    for (size_t i = 0; i < out->n_bytes; i++) {
        const unsigned char c = (unsigned char)out->bytes[i];
        out->bytes[i] = (char)(c < 0x20 || c == 0x7f ? '?' : c);
    }
}

/* Flushed at once: scripts wait for this line. */
static int announce(const node_settings *settings, const costeer_model *model, const listen_address *address, int32_t port)
{
    char url[HOST_BYTES_MAX + 32];
    const bool is_ipv6 = strchr(address->host, ':') != NULL;
    (void)snprintf(url, sizeof url, "%s://%s%s%s:%" PRId32, settings->tls_cert != NULL ? "wss" : "ws", is_ipv6 ? "[" : "",
                   address->host, is_ipv6 ? "]" : "", port);
    cs_buffer name = {.cap = 1024};
    write_name(costeer_model_get_info(model), &name);
    const char *model_name = name.n_bytes > 0 ? name.bytes : "";
    cs_output out;
    cs_output_init_stdout(&out);
    int exit_code = CS_EXIT_OK;
    if (settings->json) {
        exit_code = cs_json_print(
            &out, json_pack("{s:s, s:i, s:s, s:i}", "url", url, "port", (int)port, "model", model_name, "pid", (int)getpid()));
    } else {
        cs_output_print(&out, "costeer node: %s, %s\n", model_name, url);
    }
    cs_buffer_dispose(&name);
    const int error = cs_output_close(&out);
    return error == 0 ? exit_code : cs_fail_output(out.name, error);
}

/* Certificates are input; a port that cannot be had is output, as a file that cannot be written is. */
static int fail_create(const costeer_error *err)
{
    return err->code == COSTEER_EIO && strcmp(err->component, "tls") == 0 ? cs_fail(CS_EXIT_INPUT, "%s", err->message)
                                                                          : cs_fail_error(err);
}

static int serve(const node_settings *settings, const listen_address *address, const costeer_model *model, const char *token)
{
    costeer_error err = {.code = COSTEER_OK};
    costeer_node *node = NULL;
    const costeer_node_params params = {.address = address->host,
                                        .port = address->port,
                                        .tls_cert = settings->tls_cert,
                                        .tls_key = settings->tls_key,
                                        .token = token,
                                        .insecure = settings->insecure,
                                        .max_sessions = settings->max_sessions,
                                        .n_parallel = settings->parallel,
                                        .max_context = settings->max_context,
                                        .max_window = settings->window,
                                        .n_threads = settings->threads,
                                        .idle_timeout_ms = settings->idle_timeout_ms,
                                        .drain_timeout_ms = settings->drain_timeout_ms,
                                        .step_floor_ms = settings->bench_step_ms};
    if (costeer_node_create(model, &params, &node, &err) != COSTEER_OK) {
        return fail_create(&err);
    }
    int exit_code = announce(settings, model, address, costeer_node_port(node));
    if (exit_code == CS_EXIT_OK && costeer_node_run(node, cs_interrupt_flag(), &err) != COSTEER_OK) {
        exit_code = cs_fail_error(&err);
    }
    costeer_node_free(node);
    return exit_code;
}

static int load_and_serve(node_settings *settings, const listen_address *address)
{
    cs_settings common = {.threads_llm = settings->threads, .log_level = settings->log_level, .quiet = settings->quiet};
    cs_settings_prepare(&common, 1);
    settings->threads = common.threads_llm;
    allow_descriptors(settings->max_sessions);
    char *token = NULL;
    costeer_model *model = NULL;
    int exit_code = read_token(settings, &token);
    if (exit_code == CS_EXIT_OK) {
        exit_code = cs_model_load(settings->model, "costeer-llm.gguf", settings->gpu_layers,
                                  cs_progress_kind_of(settings->quiet, false), &model);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = serve(settings, address, model, token);
    }
    cs_token_free(token);
    costeer_model_free(model);
    return exit_code;
}

static int run(const cs_command *self, int argc, char **argv)
{
    node_settings settings = {0};
    cs_arguments arguments = {.n = 0};
    listen_address address;
    int exit_code;
    if (!cs_options_parse(self, argc, argv, &settings, &arguments, &exit_code)) {
        return exit_code;
    }
    if (arguments.n > 0) {
        return cs_fail(CS_EXIT_USAGE, "node: takes options only; the model is given with --model FILE");
    }
    if (settings.init_tls != NULL) {
        return make_certificate(&settings);
    }
    exit_code = check_settings(&settings, &address);
    return exit_code == CS_EXIT_OK ? load_and_serve(&settings, &address) : exit_code;
}

const cs_command cs_command_node = {
    .name = "node",
    .arguments = "",
    .summary = "serve a model to devices on the network",
    .description =
        "Serves a GGUF model to costeer generate --cloud and compare --cloud on other machines. A device sends the query and the "
        "tokens it has chosen; the node sends the model's distributions and sees nothing else. Answers of many devices are "
        "computed together. When it listens it prints one line with the model's name and the address, so that a script can wait "
        "for it.\n"
        "\n"
        "The same port answers GET /health (is it up, is it draining), /metrics (Prometheus) and /v1/model; the last two ask for "
        "the token when there is one.\n"
        "\n"
        "SIGTERM or SIGINT drains: new answers are refused, running ones may finish within --drain-timeout-ms; then it ends with "
        "exit code 0. A second signal kills. Exit code 5 says that the address cannot be listened on, 3 that a certificate, key "
        "or token file is not usable.",
    .examples = "  costeer node\n"
                "  costeer node --init-tls tls\n"
                "  costeer node --model big.gguf --listen 0.0.0.0:8790 --tls-cert tls/node.pem --tls-key tls/node-key.pem \\\n"
                "    --token-file token.txt\n"
                "  costeer generate --cloud wss://node.example:8790 --cloud-ca tls/ca.pem --cloud-token-file token.txt \"Hello\"",
    .groups = {&model_group, &network_group, &limit_group, &output_group},
    .run = run,
};
