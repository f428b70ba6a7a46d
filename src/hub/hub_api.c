/*
 * Two requests of the hub's API: api/models/REPO/revision/REVISION for the commit, api/models/REPO/tree/COMMIT?recursive=true for
 * the files, in pages. What comes back is checked before anything is made of it, and none of its text is shown but the names of
 * files, which are checked too.
 */
#include "hub/hub_api.h"

#include "util/buffer.h"

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A page of the list has up to 1,000 files of some 400 bytes; what is said of a repository names all its files once more. */
#define BODY_MAX_MIB 8
#define BODY_MAX     ((size_t)BODY_MAX_MIB << 20)
#define PAGES_MAX    100
/* GGUF files; repositories with every quantisation of a model in many parts have some hundreds. */
#define FILES_MAX 10000

/* ---- errors ------------------------------------------------------------------------------------------------------ */

costeer_err cs_hub_api_fail_request(cs_hub_result result, const char *reason, costeer_error *err)
{
    if (result == CS_HUB_CANCELED) {
        return cs_error_set(err, COSTEER_ECANCELED, "hub", "canceled");
    }
    if (result == CS_HUB_TIMED_OUT) {
        return cs_error_set(err, COSTEER_ETIMEDOUT, "hub", "the hub: nothing came in time (%s); pull again later, it resumes",
                            reason);
    }
    return cs_error_set(err, COSTEER_ECLOUD, "hub", "the hub: %s; pull again when the network is there, it resumes", reason);
}

static costeer_err fail_access(const costeer_hub_params *params, const cs_hub_name *name, const cs_hub_head *head,
                               costeer_error *err)
{
    if (strcmp(head->error_code, "GatedRepo") == 0) {
        return cs_error_set(err, COSTEER_ECLOUD, "hub", "%s is gated (HTTP %ld): accept its terms at %.200s/%s%s", name->repo,
                            head->status, params->endpoint, name->repo,
                            params->token != NULL ? " with the account of the token"
                                                  : ", then set HF_TOKEN to a token of that account");
    }
    if (params->token == NULL) {
        return cs_error_set(
            err, COSTEER_ECLOUD, "hub",
            "%s: no such repository, or a private one (HTTP %ld): check the name, or set HF_TOKEN to a token that may read it",
            name->repo, head->status);
    }
    return cs_error_set(err, COSTEER_ECLOUD, "hub",
                        "%s: the hub refuses the token (HTTP %ld): check HF_TOKEN, or the name of the repository", name->repo,
                        head->status);
}

costeer_err cs_hub_api_fail(const costeer_hub_params *params, const cs_hub_name *name, const cs_hub_head *head, const char *what,
                            costeer_error *err)
{
    if (head->status == 401 || head->status == 403) {
        return fail_access(params, name, head, err);
    }
    if (head->status == 404 &&
        (strcmp(head->error_code, "RevisionNotFound") == 0 || strcmp(head->error_code, "EntryNotFound") == 0)) {
        return cs_error_set(err, COSTEER_ECLOUD, "hub", "%s: the hub has no %.200s in it (HTTP 404)", name->repo, what);
    }
    if (head->status == 404) {
        return cs_error_set(err, COSTEER_ECLOUD, "hub", "%s: the hub has no such repository (HTTP 404); check the name",
                            name->repo);
    }
    if (head->status == 429 && head->retry_after_s >= 0) {
        return cs_error_set(err, COSTEER_ECLOUD, "hub", "%s: too many requests (HTTP 429); pull again in %lld s", head->host,
                            (long long)head->retry_after_s);
    }
    if (head->status == 429) {
        return cs_error_set(err, COSTEER_ECLOUD, "hub", "%s: too many requests (HTTP 429); pull again later", head->host);
    }
    return cs_error_set(err, COSTEER_ECLOUD, "hub", "%s: the hub failed with HTTP status %ld; pull again later, it resumes",
                        head->host, head->status);
}

static costeer_err fail_answer(const cs_hub_name *name, const char *what, costeer_error *err)
{
    return cs_error_set(err, COSTEER_ECLOUD, "hub", "%s: the hub's answer cannot be used: %s", name->repo, what);
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static bool append(const cs_hub_head *head, const char *bytes, size_t n, void *user)
{
    (void)head;
    return cs_buffer_append(user, bytes, n);
}

/* Get JSON; `next` gets the URL of the next page, "" when there is none. */
static costeer_err get_json(cs_hub_http *http, const costeer_hub_params *params, const cs_hub_name *name, const char *url,
                            char next[CS_HUB_URL_MAX], json_t **out, costeer_error *err)
{
    cs_buffer body = {.cap = BODY_MAX};
    cs_hub_head head;
    char reason[256];
    const cs_hub_result result = cs_hub_http_get(http, url, 0, append, &body, &head, reason);
    const char *revision = name->revision[0] != '\0' ? name->revision : "main";
    char what[CS_HUB_REVISION_MAX + 16];
    costeer_err code = COSTEER_OK;
    *out = NULL;
    (void)snprintf(what, sizeof what, "revision %s", revision);
    if (result == CS_HUB_STOPPED) {
        code = cs_error_set(err, COSTEER_ECLOUD, "hub",
                            "%s: the hub's answer cannot be used: it has more than %d MiB, or memory is out", name->repo,
                            BODY_MAX_MIB);
    } else if (result != CS_HUB_DONE) {
        code = cs_hub_api_fail_request(result, reason, err);
    } else if (head.status != 200) {
        code = cs_hub_api_fail(params, name, &head, what, err);
    } else {
        *out = json_loadb(body.bytes != NULL ? body.bytes : "", body.n_bytes, 0, NULL);
        code = *out != NULL ? COSTEER_OK : fail_answer(name, "it is not JSON", err);
    }
    memcpy(next, head.next, CS_HUB_URL_MAX);
    cs_buffer_dispose(&body);
    return code;
}

/* Escape a path for a URL; slashes stay when they separate folders. */
static bool escape(const char *text, bool keeps_slashes, char *out, size_t size)
{
    size_t n = 0;
    for (; *text != '\0'; text++) {
        const unsigned char c = (unsigned char)*text;
        const bool is_plain =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-._~", c) != NULL;
        if (n + 4 > size) {
            return false;
        }
        if (is_plain || (c == '/' && keeps_slashes)) {
            out[n++] = (char)c;
        } else {
            n += (size_t)snprintf(out + n, 4, "%%%02X", c);
        }
    }
    out[n] = '\0';
    return true;
}

static int n_endpoint(const costeer_hub_params *params)
{
    size_t n = strlen(params->endpoint);
    while (n > 0 && params->endpoint[n - 1] == '/') {
        n--;
    }
    return (int)n;
}

bool cs_hub_api_file_url(const costeer_hub_params *params, const cs_hub_name *name, const char *commit, const char *path,
                         char url[CS_HUB_URL_MAX])
{
    char escaped[3 * CS_HUB_FILE_MAX + 4];
    if (!escape(path, true, escaped, sizeof escaped)) {
        return false;
    }
    const int n =
        snprintf(url, CS_HUB_URL_MAX, "%.*s/%s/resolve/%s/%s", n_endpoint(params), params->endpoint, name->repo, commit, escaped);
    return n > 0 && n < CS_HUB_URL_MAX;
}

static costeer_err get_commit(cs_hub_http *http, const costeer_hub_params *params, const cs_hub_name *name,
                              char commit[CS_HUB_COMMIT_MAX], costeer_error *err)
{
    char url[CS_HUB_URL_MAX];
    char next[CS_HUB_URL_MAX];
    char revision[3 * CS_HUB_REVISION_MAX + 4];
    json_t *info;
    const bool is_escaped = escape(name->revision[0] != '\0' ? name->revision : "main", false, revision, sizeof revision);
    const int n =
        snprintf(url, sizeof url, "%.*s/api/models/%s/revision/%s", n_endpoint(params), params->endpoint, name->repo, revision);
    if (!is_escaped || n <= 0 || (size_t)n >= sizeof url) {
        return cs_error_set(err, COSTEER_EINVAL, "hub", "the hub's endpoint is too long");
    }
    costeer_err code = get_json(http, params, name, url, next, &info, err);
    if (code == COSTEER_OK) {
        const char *sha = json_string_value(json_object_get(info, "sha"));
        if (sha == NULL || !cs_hub_is_commit(sha)) {
            code = fail_answer(name, "it names no commit", err);
        } else if (cs_hub_is_commit(name->revision) && strcasecmp(sha, name->revision) != 0) {
            code = fail_answer(name, "it names another commit than the one that was asked for", err);
        } else {
            memcpy(commit, sha, CS_HUB_COMMIT_MAX);
        }
    }
    json_decref(info);
    return code;
}

/* ---- the files --------------------------------------------------------------------------------------------------- */

static bool add_file(cs_hub_tree *tree, const char *path, const char *oid, uint64_t bytes)
{
    cs_hub_file *files = realloc(tree->files, (tree->n + 1) * sizeof *files);
    if (files == NULL) {
        return false;
    }
    tree->files = files;
    const char **paths = realloc(tree->paths, (tree->n + 1) * sizeof *paths);
    if (paths == NULL) {
        return false;
    }
    tree->paths = paths;
    cs_hub_file *file = &files[tree->n];
    *file = (cs_hub_file){.path = strdup(path), .bytes = bytes};
    for (size_t i = 0; i < CS_HUB_OID_MAX - 1 && oid[i] != '\0'; i++) {
        file->oid[i] = (char)tolower((unsigned char)oid[i]);
    }
    paths[tree->n] = file->path;
    tree->n += file->path != NULL;
    return file->path != NULL;
}

/* A file of Git LFS has the SHA-256 of its content; another one Git's own hash. */
static costeer_err read_item(const json_t *item, const cs_hub_name *name, cs_hub_tree *tree, costeer_error *err)
{
    cs_hub_gguf gguf;
    const char *type = json_string_value(json_object_get(item, "type"));
    const char *path = json_string_value(json_object_get(item, "path"));
    if (type == NULL || path == NULL || strcmp(type, "file") != 0 || !cs_hub_is_path(path) || !cs_hub_gguf_read(path, &gguf)) {
        return COSTEER_OK;
    }
    const json_t *lfs = json_object_get(item, "lfs");
    const char *oid = json_string_value(json_object_get(json_is_object(lfs) ? lfs : item, "oid"));
    const json_t *size = json_object_get(json_is_object(lfs) ? lfs : item, "size");
    if (oid == NULL || !json_is_integer(size) || json_integer_value(size) < 0 ||
        !(json_is_object(lfs) ? cs_hub_is_hex(oid, 64) : cs_hub_is_hex(oid, 40))) {
        return fail_answer(name, "a file has no size or no hash", err);
    }
    if (tree->n >= FILES_MAX) {
        return fail_answer(name, "it lists too many files", err);
    }
    if (!add_file(tree, path, oid, (uint64_t)json_integer_value(size))) {
        return cs_error_set(err, COSTEER_ENOMEM, "hub", "%s: no memory for the list of its files", name->repo);
    }
    return COSTEER_OK;
}

static costeer_err read_page(const json_t *page, const cs_hub_name *name, cs_hub_tree *tree, costeer_error *err)
{
    if (!json_is_array(page)) {
        return fail_answer(name, "the files are no list", err);
    }
    costeer_err code = COSTEER_OK;
    for (size_t i = 0; code == COSTEER_OK && i < json_array_size(page); i++) {
        code = read_item(json_array_get(page, i), name, tree, err);
    }
    return code;
}

costeer_err cs_hub_api_tree(cs_hub_http *http, const costeer_hub_params *params, const cs_hub_name *name, cs_hub_tree *out,
                            costeer_error *err)
{
    char url[CS_HUB_URL_MAX];
    char next[CS_HUB_URL_MAX];
    costeer_err code = get_commit(http, params, name, out->commit, err);
    const int n = snprintf(next, sizeof next, "%.*s/api/models/%s/tree/%s?recursive=true", n_endpoint(params), params->endpoint,
                           name->repo, out->commit);
    if (code == COSTEER_OK && (n <= 0 || (size_t)n >= sizeof next)) {
        code = cs_error_set(err, COSTEER_EINVAL, "hub", "the hub's endpoint is too long");
    }
    for (int i = 0; code == COSTEER_OK && next[0] != '\0'; i++) {
        json_t *page = NULL;
        memcpy(url, next, sizeof url);
        code = i < PAGES_MAX ? get_json(http, params, name, url, next, &page, err)
                             : fail_answer(name, "the list of files does not end", err);
        code = code == COSTEER_OK ? read_page(page, name, out, err) : code;
        json_decref(page);
    }
    return code;
}

void cs_hub_tree_dispose(cs_hub_tree *tree)
{
    for (size_t i = 0; i < tree->n; i++) {
        free(tree->files[i].path);
    }
    free(tree->files);
    free(tree->paths);
    memset(tree, 0, sizeof *tree);
}
