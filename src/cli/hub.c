/* The variables are huggingface_hub's, with the same order of precedence; MODEL_ENDPOINT is llama.cpp's. */
#include "cli/hub.h"

#include "cli/message.h"
#include "cli/options.h"
#include "cli/signals.h"
#include "cli/token.h"
#include "util/file.h"
#include "util/parse.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define TOKEN_FILE_MAX ((size_t)1 << 16)
#define TOKEN_MAX      1000
#define SILENCE_S_MAX  86400

/* The value of the first variable that is set to something. */
static const char *find_variable(const char *const *names)
{
    for (; *names != NULL; names++) {
        const char *value = getenv(*names);
        if (value != NULL && value[0] != '\0') {
            return value;
        }
    }
    return NULL;
}

static const char *variable(const char *name)
{
    return find_variable((const char *const[]){name, NULL});
}

/* ---- folders ----------------------------------------------------------------------------------------------------- */

/* "~/x" is in the home folder; the shell does not always say so itself. */
static bool print_folder(char out[COSTEER_HUB_PATH_MAX], const char *folder, const char *below)
{
    const char *home = variable("HOME");
    const bool is_home = folder[0] == '~' && (folder[1] == '/' || folder[1] == '\0') && home != NULL;
    size_t length = strlen(folder);
    while (length > 1 && folder[length - 1] == '/') {
        length--;
    }
    const int n = is_home ? snprintf(out, COSTEER_HUB_PATH_MAX, "%s%.*s%s", home, (int)length - 1, folder + 1, below)
                          : snprintf(out, COSTEER_HUB_PATH_MAX, "%.*s%s", (int)length, folder, below);
    return n > 0 && n < COSTEER_HUB_PATH_MAX;
}

static int fail_no_home(void)
{
    return cs_fail(CS_EXIT_USAGE, "no folder for the hub's cache: set HF_HUB_CACHE, HF_HOME or HOME");
}

/* Hugging Face's folder, where the cache and the token are. */
static bool print_home(char out[COSTEER_HUB_PATH_MAX], const char *below)
{
    char tail[64];
    const char *home = variable("HF_HOME");
    if (home != NULL) {
        return print_folder(out, home, below);
    }
    const char *cache = variable("XDG_CACHE_HOME");
    (void)snprintf(tail, sizeof tail, "%s/huggingface%s", cache != NULL ? "" : "/.cache", below);
    return (cache != NULL || variable("HOME") != NULL) && print_folder(out, cache != NULL ? cache : "~", tail);
}

int cs_hub_cache_dir(char out[COSTEER_HUB_PATH_MAX])
{
    static const char *const names[] = {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", NULL};
    const char *named = find_variable(names);
    const bool found = named != NULL ? print_folder(out, named, "") : print_home(out, "/hub");
    return found ? CS_EXIT_OK : fail_no_home();
}

/* ---- the token --------------------------------------------------------------------------------------------------- */

static bool is_true(const char *value)
{
    static const char *const words[] = {"1", "on", "yes", "true"};
    for (size_t i = 0; value != NULL && i < sizeof words / sizeof words[0]; i++) {
        if (strcasecmp(value, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* Spaces and line ends around it are no part of it; within it they could end the header's line. */
static int take_token(const char *source, const char *text, char **out)
{
    while (isspace((unsigned char)*text)) {
        text++;
    }
    size_t n = strlen(text);
    while (n > 0 && isspace((unsigned char)text[n - 1])) {
        n--;
    }
    if (n == 0) {
        return CS_EXIT_OK;
    }
    for (size_t i = 0; i < n; i++) {
        if (text[i] <= ' ' || text[i] > '~' || n > TOKEN_MAX) {
            return cs_fail(CS_EXIT_USAGE, "%s: no token: it has a character that is not printable ASCII, or more than %d", source,
                           TOKEN_MAX);
        }
    }
    *out = strndup(text, n);
    return *out != NULL ? CS_EXIT_OK : cs_fail(CS_EXIT_INTERNAL, "out of memory");
}

static int read_token(char **out)
{
    static const char *const names[] = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", NULL};
    char path[COSTEER_HUB_PATH_MAX];
    const char *token = find_variable(names);
    const char *named = variable("HF_TOKEN_PATH");
    *out = NULL;
    if (is_true(variable("HF_HUB_DISABLE_IMPLICIT_TOKEN"))) {
        return CS_EXIT_OK;
    }
    if (token != NULL) {
        return take_token("HF_TOKEN", token, out);
    }
    if (!(named != NULL ? print_folder(path, named, "") : print_home(path, "/token"))) {
        return CS_EXIT_OK;
    }
    char *text;
    size_t n_bytes;
    const int error = cs_file_read(path, TOKEN_FILE_MAX, NULL, &text, &n_bytes);
    if (error == ENOENT || error == ENOTDIR) {
        return CS_EXIT_OK;
    }
    if (error != 0) {
        return cs_fail_input(path, error, TOKEN_FILE_MAX);
    }
    const int exit_code = take_token(path, text, out);
    cs_token_free(text);
    return exit_code;
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

int cs_hub_environment_read(cs_hub_environment *out)
{
    static const char *const endpoints[] = {"MODEL_ENDPOINT", "HF_ENDPOINT", NULL};
    static const char *const offline[] = {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", NULL};
    static const char *const plain[] = {"http_proxy", "all_proxy", "ALL_PROXY", NULL};
    static const char *const tls[] = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", NULL};
    static const char *const none[] = {"no_proxy", "NO_PROXY", NULL};
    memset(out, 0, sizeof *out);
    int exit_code = cs_hub_cache_dir(out->cache_dir);
    exit_code = exit_code == CS_EXIT_OK ? read_token(&out->token) : exit_code;
    const char *endpoint = find_variable(endpoints);
    const char *timeout = variable("HF_HUB_DOWNLOAD_TIMEOUT");
    int64_t silence_s = 0;
    if (exit_code == CS_EXIT_OK && timeout != NULL &&
        (cs_parse_int64(timeout, &silence_s) != CS_PARSE_OK || silence_s < 1 || silence_s > SILENCE_S_MAX)) {
        exit_code = cs_fail(CS_EXIT_USAGE, "HF_HUB_DOWNLOAD_TIMEOUT: not a whole number of seconds in [1, %d]", SILENCE_S_MAX);
    }
    endpoint = endpoint != NULL ? endpoint : "https://huggingface.co";
    out->params = (costeer_hub_params){.cache_dir = out->cache_dir,
                                       .endpoint = endpoint,
                                       .token = out->token,
                                       .ca_file = variable("SSL_CERT_FILE"),
                                       .proxy = find_variable(strncmp(endpoint, "http:", 5) == 0 ? plain : tls),
                                       .no_proxy = find_variable(none),
                                       .is_offline = is_true(find_variable(offline)),
                                       .silence_s = (int32_t)silence_s,
                                       .cancel = cs_interrupt_flag()};
    return exit_code;
}

void cs_hub_environment_dispose(cs_hub_environment *environment)
{
    cs_token_free(environment->token);
    environment->token = NULL;
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

#define PAIRS_MAX 16

const char *cs_hub_nearest(const char *name)
{
    const char *names[3 * PAIRS_MAX];
    size_t n_pairs;
    const costeer_hub_pair *pairs = costeer_hub_pairs(&n_pairs);
    size_t n = 0;
    for (size_t i = 0; i < n_pairs && i < PAIRS_MAX; i++) {
        names[n++] = pairs[i].name;
        names[n++] = pairs[i].llm.name;
        names[n++] = pairs[i].slm.name;
    }
    return cs_nearest(name, names, n);
}

/* No file, and no name of what could be in the cache. What was meant as a path is left to whoever opens it: perhaps nobody does.
 */
static int check_found(const char *value, int error)
{
    const size_t n = strlen(value);
    if (n == 0 || strchr(value, '/') != NULL || (n > 5 && strcmp(value + n - 5, ".gguf") == 0)) {
        return CS_EXIT_OK;
    }
    const char *nearest = error == ENOENT ? cs_hub_nearest(value) : NULL;
    return nearest != NULL ? cs_fail(CS_EXIT_MODEL, "%s: no such file, and no model's name; did you mean %s?", value, nearest)
                           : cs_fail(CS_EXIT_MODEL, "%s: %s; check the path of the model file", value, strerror(error));
}

int cs_hub_locate(const char *value, bool is_slm, char buffer[COSTEER_HUB_PATH_MAX], const char **path)
{
    char cache_dir[COSTEER_HUB_PATH_MAX];
    costeer_error err = {.code = COSTEER_OK};
    *path = value;
    const int error = access(value, F_OK) == 0 ? 0 : errno;
    if (error == 0) {
        return CS_EXIT_OK;
    }
    if (!costeer_hub_is_name(value)) {
        return check_found(value, error);
    }
    const int exit_code = cs_hub_cache_dir(cache_dir);
    if (exit_code != CS_EXIT_OK) {
        return exit_code;
    }
    if (costeer_hub_find(cache_dir, value, is_slm, buffer, &err) != COSTEER_OK) {
        return cs_fail_error(&err);
    }
    *path = buffer;
    return CS_EXIT_OK;
}
