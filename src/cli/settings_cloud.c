/*
 * The options that put the cloud on another machine, and how they go together. An option that would do nothing is refused rather
 * than ignored: who asks for a window of 8 in lockstep expects something that will not happen.
 */
#include "cli/message.h"
#include "cli/settings.h"

#include <string.h>

#define FIELD(field) .offset = offsetof(cs_settings, field)

/* Tokens that a node may run ahead. */
#define WINDOW_OF_NODE 32

/* Entries of the base over a network: the steered token is among them at 98 to 99 % of the positions, in under 450 bytes. */
#define BASE_TOP_K_REMOTE 64

static const cs_option cloud_options[] = {
    {.name = "cloud",
     .kind = CS_OPTION_TEXT,
     .value_name = "URL",
     FIELD(cloud),
     .help =
         "Ask the LLM of a cloud node (see costeer node) at ws://HOST:PORT or wss://HOST:PORT instead of loading one, or that "
         "of an engine: llama-server+URL, vllm+URL, sglang+URL, openai+URL (anything with /v1/completions), where URL is "
         "http(s)://HOST:PORT; a plain https://HOST:PORT finds out which. The query, the answer and how much of the LLM was "
         "looked at are all that is sent, unless --allow-context-upload allows more"},
    {.name = "cloud-ca",
     .kind = CS_OPTION_FILE,
     .value_name = "FILE",
     FIELD(cloud_ca),
     .help = "PEM certificates to trust instead of the system's, for wss:// and https://"},
    {.name = "cloud-token-file",
     .kind = CS_OPTION_FILE,
     .value_name = "FILE",
     FIELD(cloud_token_file),
     .help = "File whose first line is the token that the node wants to see"},
    {.name = "cloud-key-file",
     .kind = CS_OPTION_FILE,
     .value_name = "FILE",
     FIELD(cloud_key_file),
     .help = "File whose first line is the API key of the engine; never sent over http:// but to this machine"},
    {.name = "cloud-model",
     .kind = CS_OPTION_TEXT,
     .value_name = "NAME",
     FIELD(cloud_model),
     .help = "The model's name at the engine; without: the only one it has"},
    {.name = "cloud-mode",
     .kind = CS_OPTION_CHOICE,
     .value_name = "MODE",
     .choices = "lockstep|streamed|drafted",
     .default_value = "streamed",
     FIELD(cloud_mode),
     .help = "lockstep: a round trip per token; streamed: the node runs ahead on its own choice, a round trip per correction; "
             "drafted: the SLM drafts, a round trip per draft (of engines, vLLM and SGLang can). The answer is the same"},
    {.name = "window",
     .kind = CS_OPTION_INT,
     .value_name = "W",
     .range = {.min = 1, .max = COSTEER_WIRE_WINDOW_MAX},
     FIELD(window),
     .help = "Tokens that the node may run ahead (streamed), lowered to what it grants; of an engine, tokens asked for in one "
             "request; without: 32 of a node, of an engine all that the answer may need"},
    {.name = "draft",
     .kind = CS_OPTION_CHOICE,
     .value_name = "HOW",
     .choices = "public|private",
     .default_value = "public",
     FIELD(draft),
     .help = "public: drafts come from the SLM without context and tell nothing; private: from the SLM with the contexts, also "
             "with the corrections of a streamed answer: fewer round trips, but the cloud also sees those that are withdrawn"},
    {.name = "draft-confidence",
     .kind = CS_OPTION_REAL,
     .value_name = "X",
     .range = {.min = 0, .max = 1, .min_open = true},
     .default_value = "0.99",
     FIELD(draft_confidence),
     .help = "Least probability of a token that is drafted privately"},
    {.name = "draft-length",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 1, .max = COSTEER_WIRE_DRAFTS_MAX},
     .default_value = "8",
     FIELD(draft_length),
     .help = "Longest draft, in tokens"},
    {.name = "half-precision",
     .kind = CS_OPTION_FLAG,
     FIELD(half_precision),
     .help = "Let the node send 16-bit values where they prove the choice all the same"},
    {.name = "timeout-ms",
     .kind = CS_OPTION_INT,
     .value_name = "N",
     .range = {.min = 1, .max = 86400000},
     .default_value = "30000",
     FIELD(timeout_ms),
     .help = "Longest wait for the cloud, trying again included"},
    {.name = "on-cloud-failure",
     .kind = CS_OPTION_CHOICE,
     .value_name = "WHAT",
     .choices = "stop|local",
     .default_value = "stop",
     FIELD(on_cloud_failure),
     .help = "When the cloud fails for longer than that: stop with exit code 6, or let the SLM finish the answer alone, which is "
             "told"},
    {.name = "allow-context-upload",
     .kind = CS_OPTION_FLAG,
     FIELD(allow_context_upload),
     .help = "Let methods that put the context into the LLM's prompt do so: the node then sees it"},
    {.name = "audit",
     .kind = CS_OPTION_FILE,
     .value_name = "FILE",
     FIELD(audit),
     .help = "Write a JSON line per message sent to the node to FILE, also when the answer fails; see costeer audit. It holds "
             "the query and the answer, so only you may read it (mode 0600)"},
};

const cs_option_group cs_group_cloud = CS_OPTION_GROUP("Cloud", cloud_options);

/* ---- what follows from them -------------------------------------------------------------------------------------- */

static bool is_node_url(const char *url)
{
    return strncmp(url, "ws://", 5) == 0 || strncmp(url, "wss://", 6) == 0;
}

bool cs_settings_is_engine(const cs_settings *settings)
{
    return settings->cloud != NULL && !is_node_url(settings->cloud);
}

costeer_cloud_mode cs_settings_mode(const cs_settings *settings)
{
    if (strcmp(settings->cloud_mode, "lockstep") == 0) {
        return COSTEER_MODE_LOCKSTEP;
    }
    return strcmp(settings->cloud_mode, "drafted") == 0 ? COSTEER_MODE_DRAFTED : COSTEER_MODE_STREAMED;
}

bool cs_settings_drafts_privately(const cs_settings *settings)
{
    return settings->cloud != NULL && strcmp(settings->draft, "private") == 0;
}

int32_t cs_settings_n_drafts(const cs_settings *settings)
{
    if (settings->cloud == NULL) {
        return 0;
    }
    bool drafts = cs_settings_mode(settings) == COSTEER_MODE_DRAFTED || cs_settings_drafts_privately(settings);
    return drafts ? settings->draft_length : 0;
}

/* ---- checks ------------------------------------------------------------------------------------------------------ */

/* Options without --cloud, and options of the model that is then elsewhere. */
static int check_presence(const cs_settings *s, const cs_arguments *arguments)
{
    static const char *const local[] = {"threads-llm", "gpu-layers-llm"};
    for (size_t i = 0; i < cs_group_cloud.n_options && s->cloud == NULL; i++) {
        if (cs_arguments_have(arguments, cs_group_cloud.options[i].name)) {
            return cs_fail(CS_EXIT_USAGE, "--%s: needs --cloud, the node or engine it is about", cs_group_cloud.options[i].name);
        }
    }
    for (size_t i = 0; i < sizeof local / sizeof local[0] && s->cloud != NULL; i++) {
        if (cs_arguments_have(arguments, local[i])) {
            return cs_fail(CS_EXIT_USAGE, "--%s and --cloud exclude each other: the LLM is elsewhere", local[i]);
        }
    }
    return CS_EXIT_OK;
}

/* What stands before the host: the engine's name, if any, is taken off. NULL: no URL that is known. */
static const char *find_scheme(const char *url)
{
    static const char *const engines[] = {"llama-server+", "vllm+", "sglang+", "openai+"};
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < sizeof engines / sizeof engines[0]; i++) {
        size_t n = strlen(engines[i]);
        if (strncmp(url, engines[i], n) == 0) {
            url += n;
            break;
        }
    }
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        if (strncmp(url, schemes[i], strlen(schemes[i])) == 0) {
            return url;
        }
    }
    return NULL;
}

/* The URL may hold a secret that was put there by mistake, so it is not repeated. */
static int check_url(const cs_settings *s)
{
    const char *url = is_node_url(s->cloud) ? s->cloud : find_scheme(s->cloud);
    if (url == NULL) {
        return cs_fail(CS_EXIT_USAGE,
                       "--cloud: needs a URL: wss://HOST:PORT of a node (ws:// on this machine), or https://HOST:PORT "
                       "of an engine, with llama-server+, vllm+, sglang+ or openai+ before it");
    }
    const char *host = strchr(url, '/') + 2;
    bool is_secure = strncmp(url, "wss:", 4) == 0 || strncmp(url, "https:", 6) == 0;
    if (memchr(host, '@', strcspn(host, "/")) != NULL) {
        return cs_fail(CS_EXIT_USAGE, "--cloud: the URL holds credentials, which others can see; use %s",
                       cs_settings_is_engine(s) ? "--cloud-key-file" : "--cloud-token-file");
    }
    if (s->cloud_ca != NULL && !is_secure) {
        return cs_fail(CS_EXIT_USAGE, "--cloud-ca: needs a wss:// or https:// URL; %s:// has no certificates",
                       cs_settings_is_engine(s) ? "http" : "ws");
    }
    return CS_EXIT_OK;
}

/* What only a node has, and what only an engine has. */
static int check_kind(const cs_settings *s)
{
    if (!cs_settings_is_engine(s)) {
        return s->cloud_key_file == NULL && s->cloud_model == NULL
                   ? CS_EXIT_OK
                   : cs_fail(CS_EXIT_USAGE, "--%s: is for an engine; a node %s",
                             s->cloud_key_file != NULL ? "cloud-key-file" : "cloud-model",
                             s->cloud_key_file != NULL ? "takes --cloud-token-file" : "has one model");
    }
    if (s->cloud_token_file != NULL) {
        return cs_fail(CS_EXIT_USAGE, "--cloud-token-file: is for a costeer node; an engine takes --cloud-key-file");
    }
    if (s->half_precision) {
        return cs_fail(CS_EXIT_USAGE, "--half-precision: only a costeer node can send 16-bit values");
    }
    if (cs_settings_drafts_privately(s)) {
        return cs_fail(CS_EXIT_USAGE, "--draft private: only a costeer node takes drafts with corrections");
    }
    return CS_EXIT_OK;
}

static int check_mode(const cs_settings *s, const cs_arguments *arguments)
{
    costeer_cloud_mode mode = cs_settings_mode(s);
    if (cs_arguments_have(arguments, "window") && mode != COSTEER_MODE_STREAMED) {
        return cs_fail(CS_EXIT_USAGE, "--window: only --cloud-mode streamed has one");
    }
    if (mode == COSTEER_MODE_LOCKSTEP && cs_settings_drafts_privately(s)) {
        return cs_fail(CS_EXIT_USAGE, "--draft private: --cloud-mode lockstep takes no drafts");
    }
    if (cs_arguments_have(arguments, "draft-confidence") && !cs_settings_drafts_privately(s)) {
        return cs_fail(CS_EXIT_USAGE, "--draft-confidence: needs --draft private");
    }
    if (cs_arguments_have(arguments, "draft-length") && cs_settings_n_drafts(s) == 0) {
        return cs_fail(CS_EXIT_USAGE, "--draft-length: needs --cloud-mode drafted or --draft private");
    }
    return CS_EXIT_OK;
}

/* What only an SLM that the contexts steer through can do. */
static int check_slm(const cs_settings *s)
{
    if (cs_settings_n_drafts(s) > 0) {
        return cs_fail(CS_EXIT_USAGE, "--cloud-mode drafted and --draft private: need a --context and a method that steers with "
                                      "the SLM, such as costeer; no other SLM drafts");
    }
    if (strcmp(s->on_cloud_failure, "local") == 0) {
        return cs_fail(CS_EXIT_USAGE,
                       "--on-cloud-failure local: needs a --context and a method that steers with the SLM, such as "
                       "costeer; no other SLM can go on");
    }
    return CS_EXIT_OK;
}

/* Nothing here tells what the node's tokens are but a model of the same vocabulary. */
static int check_vocab(const cs_settings *s)
{
    bool needs_llm = strcmp(s->vocab, "auto") != 0 && strcmp(s->vocab, "same") != 0;
    return needs_llm && s->llm == NULL
               ? cs_fail(CS_EXIT_USAGE, "--vocab %s: with --cloud it needs --llm, a GGUF with the vocabulary of the node's model",
                         s->vocab)
               : CS_EXIT_OK;
}

int cs_settings_resolve_cloud(cs_settings *settings, const cs_arguments *arguments, bool slm_steers)
{
    int exit_code = check_presence(settings, arguments);
    if (exit_code != CS_EXIT_OK || settings->cloud == NULL) {
        return exit_code;
    }
    if (!cs_arguments_have(arguments, "base-top-k")) {
        settings->base_top_k = BASE_TOP_K_REMOTE;
    }
    if (settings->window == 0 && !cs_settings_is_engine(settings)) {
        settings->window = WINDOW_OF_NODE;
    }
    if (settings->half_precision && (settings->constant_k || settings->sampler.temperature > 0.0)) {
        return cs_fail(CS_EXIT_USAGE,
                       "--half-precision: where it proves nothing exact values are asked for, which --constant-k forbids and "
                       "--temperature above 0 would need every time; leave one out");
    }
    if (settings->half_precision && settings->base_top_k == 0) {
        return cs_fail(CS_EXIT_USAGE, "--half-precision: needs a --base-top-k above 0; all of the LLM always comes exact");
    }
    exit_code = check_url(settings);
    if (exit_code == CS_EXIT_OK) {
        exit_code = check_kind(settings);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = check_mode(settings, arguments);
    }
    if (exit_code == CS_EXIT_OK) {
        exit_code = check_vocab(settings);
    }
    return exit_code == CS_EXIT_OK && !slm_steers ? check_slm(settings) : exit_code;
}
