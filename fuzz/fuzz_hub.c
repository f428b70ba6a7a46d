/*
 * What a hub answers (src/hub/hub_head.c, hub_api.c, hub_pull.c, hub_fetch.c, hub_cache.c), one pull over a cache that is empty:
 * a file takes its name in the cache only with the hash that the name says, nothing is written outside of the cache, and a pull
 * that fails says why in one line.
 *
 * The first byte tells the name that is pulled and where the answers come from. Behind it stand the responses, one for each
 * request, with a byte 0x1E between: the head's lines, an empty line, the body. After the last one there is no connection.
 * hub_http.c is replaced: what it does with libcurl is left out, and what it makes of a head's lines is the same.
 */
#define _XOPEN_SOURCE 700 /* nftw(), realpath() */
#include "hub/hub_cache.h"
#include "hub/hub_http.h"
#include "util/file.h"

#include <costeer/hub.h>
#include <ftw.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SEPARATOR 0x1E

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
costeer_err __wrap_cs_hub_http_create(const costeer_hub_params *params, cs_hub_http **out, costeer_error *err);
void __wrap_cs_hub_http_free(cs_hub_http *http);
cs_hub_result __wrap_cs_hub_http_get(cs_hub_http *http, const char *url, uint64_t first_byte, cs_hub_sink_fn sink, void *user,
                                     cs_hub_head *head, char reason[256]);
int __wrap_nanosleep(const struct timespec *time, struct timespec *rest);
int __wrap_fsync(int fd);

struct cs_hub_http {
    const uint8_t *at;
    const uint8_t *end;
    bool is_storage; /* of the responses */
};

static char root[PATH_MAX]; /* the cache is below it, and nothing else may be */
static char cache_dir[PATH_MAX + 16];
static cs_hub_http answers;

static void check(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "fuzz_hub: %s\n", what);
        abort();
    }
}

/* ---- the network ------------------------------------------------------------------------------------------------- */

costeer_err __wrap_cs_hub_http_create(const costeer_hub_params *params, cs_hub_http **out, costeer_error *err)
{
    (void)params, (void)err;
    *out = &answers;
    return COSTEER_OK;
}

void __wrap_cs_hub_http_free(cs_hub_http *http)
{
    (void)http;
}

/* Between attempts and before a name is given, neither of which an input can change. */
int __wrap_nanosleep(const struct timespec *time, struct timespec *rest)
{
    (void)time, (void)rest;
    return 0;
}

int __wrap_fsync(int fd)
{
    (void)fd;
    return 0;
}

static void check_head(const cs_hub_head *head)
{
    check(memchr(head->error_code, '\0', sizeof head->error_code) != NULL &&
              memchr(head->next, '\0', sizeof head->next) != NULL && memchr(head->location, '\0', sizeof head->location) != NULL,
          "a text without an end");
    check(head->range_begin >= -1 && head->retry_after_s >= -1, "a number that is none");
}

/* Read a head; returns where the body begins. `status` is what the last status line says. */
static const uint8_t *read_head(cs_hub_head *head, const uint8_t *at, const uint8_t *end, long *status)
{
    while (at < end) {
        const uint8_t *line_end = memchr(at, '\n', (size_t)(end - at));
        const size_t n = line_end != NULL ? (size_t)(line_end - at) + 1 : (size_t)(end - at);
        char *line = malloc(n + 1); /* of its own length, so that a sanitizer sees a byte read too many */
        check(line != NULL, "out of memory");
        memcpy(line, at, n);
        line = realloc(line, n);
        cs_hub_head_read_line(head, line, n);
        check_head(head);
        if (n > 12 && memcmp(line, "HTTP/1.1 ", 9) == 0) {
            *status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
        }
        at += n;
        const bool is_last = n == 1;
        free(line);
        if (is_last) {
            break;
        }
    }
    return at;
}

static bool give(cs_hub_sink_fn sink, void *user, const cs_hub_head *head, const uint8_t *bytes, size_t n)
{
    char *piece = malloc(n > 0 ? n : 1);
    check(piece != NULL, "out of memory");
    memcpy(piece, bytes, n);
    const bool goes_on = n == 0 || sink(head, piece, n, user);
    free(piece);
    return goes_on;
}

cs_hub_result __wrap_cs_hub_http_get(cs_hub_http *http, const char *url, uint64_t first_byte, cs_hub_sink_fn sink, void *user,
                                     cs_hub_head *head, char reason[256])
{
    check(strlen(url) < CS_HUB_URL_MAX && first_byte <= INT64_MAX, "a request that is none");
    (void)snprintf(reason, 256, "storage: nobody is there");
    cs_hub_head_forget(head);
    if (http->at >= http->end) {
        return CS_HUB_FAILED;
    }
    const uint8_t *separator = memchr(http->at, SEPARATOR, (size_t)(http->end - http->at));
    const uint8_t *end = separator != NULL ? separator : http->end;
    long status = 0;
    const uint8_t *body = read_head(head, http->at, end, &status);
    http->at = separator != NULL ? separator + 1 : http->end;
    head->status = status;
    head->is_endpoint = !http->is_storage;
    (void)snprintf(head->host, sizeof head->host, "storage");
    if (status < 100) {
        return status == 1 ? CS_HUB_TIMED_OUT : CS_HUB_BROKEN;
    }
    const size_t n = (size_t)(end - body);
    const bool is_taken = (status != 200 && status != 206) ||
                          (give(sink, user, head, body, n / 2) && give(sink, user, head, body + n / 2, n - n / 2));
    return is_taken ? CS_HUB_DONE : CS_HUB_STOPPED;
}

/* ---- the cache --------------------------------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *at)
{
    (void)status, (void)type;
    return at->level == 0 ? 0 : remove(path);
}

static void clean_up(void)
{
    (void)nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    (void)rmdir(root);
}

static void prepare(void)
{
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(root, sizeof root, "%s/fuzz_hub.XXXXXX", tmp != NULL ? tmp : "/tmp");
    check(mkdtemp(root) != NULL, "no folder for the cache");
    (void)snprintf(cache_dir, sizeof cache_dir, "%s/a/b/hub", root);
    (void)atexit(clean_up);
}

/* A file below the cache's blobs, or a link to one; nothing else. A whole blob is what its name says. */
static int check_one(const char *path, const struct stat *status, int type, struct FTW *at)
{
    (void)status;
    const char *name = path + at->base;
    if (type == FTW_D || type == FTW_DP || strncmp(path, cache_dir, strlen(cache_dir)) != 0) {
        check(type == FTW_D || type == FTW_DP, "a file outside of the cache");
        return 0;
    }
    if (type == FTW_SL) {
        char target[PATH_MAX];
        check(realpath(path, target) != NULL && strstr(target, "/b/hub/models--") != NULL && strstr(target, "/blobs/") != NULL,
              "a link that leads to no blob");
    } else if (strstr(path, "/blobs/") != NULL && strstr(name, ".incomplete") == NULL) {
        char *bytes;
        size_t n;
        unsigned char digest[EVP_MAX_MD_SIZE];
        char hex[2 * EVP_MAX_MD_SIZE + 1] = "";
        unsigned int n_digest = 0;
        EVP_MD_CTX *hash = EVP_MD_CTX_new();
        char head[32];
        check(cs_file_read(path, SIZE_MAX / 2, NULL, &bytes, &n) == 0 && hash != NULL, "a blob that cannot be read");
        const bool is_git = strlen(name) == 40;
        const int n_head = snprintf(head, sizeof head, "blob %zu", n) + 1;
        check(EVP_DigestInit_ex(hash, is_git ? EVP_sha1() : EVP_sha256(), NULL) == 1 &&
                  EVP_DigestUpdate(hash, head, is_git ? (size_t)n_head : 0) == 1 && EVP_DigestUpdate(hash, bytes, n) == 1 &&
                  EVP_DigestFinal_ex(hash, digest, &n_digest) == 1,
              "no hash");
        for (unsigned int i = 0; i < n_digest; i++) {
            (void)snprintf(hex + 2 * (size_t)i, 3, "%02x", digest[i]);
        }
        EVP_MD_CTX_free(hash);
        free(bytes);
        check(strcmp(hex, name) == 0, "a blob that is not what its name says");
    }
    return 0;
}

static void show(const costeer_hub_progress *progress, void *user)
{
    (void)user;
    check(progress->bytes_done <= progress->bytes_all, "more is done than there is");
}

/* ---- a pull ------------------------------------------------------------------------------------------------------ */

#define COMMIT "0123456789abcdef0123456789abcdef01234567"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"o/r", "o/r:Q8_0", "hf:o/r/m-00002-of-00002.gguf", "o/r@" COMMIT ":Q4_K_M"};
    if (root[0] == '\0') {
        prepare();
    }
    if (size < 1) {
        return 0;
    }
    answers = (cs_hub_http){.at = data + 1, .end = data + size, .is_storage = (data[0] & 4U) != 0};
    const costeer_hub_params params = {
        .cache_dir = cache_dir, .endpoint = "https://hub.example", .token = (data[0] & 8U) != 0 ? "t" : NULL, .progress = show};
    char path[COSTEER_HUB_PATH_MAX];
    costeer_error err = {.code = COSTEER_OK};
    const costeer_err code = costeer_hub_pull(&params, names[data[0] & 3], false, path, &err);
    if (code == COSTEER_OK) {
        struct stat status;
        check(strncmp(path, cache_dir, strlen(cache_dir)) == 0 && stat(path, &status) == 0 && S_ISREG(status.st_mode),
              "a pull without a file");
    } else {
        check(path[0] == '\0' && err.message[0] != '\0' && strchr(err.message, '\n') == NULL, "a failure without its line");
    }
    check(nftw(root, check_one, 8, FTW_PHYS) == 0, "the cache cannot be walked");
    check(nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS) == 0, "the cache cannot be removed");
    return 0;
}
