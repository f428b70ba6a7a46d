/*
 * Every name is checked here before it becomes a URL or a path: owner and repository by the hub's rules, a file's path so that it
 * cannot leave the snapshot's folder. The rules of the choice are llama.cpp's, so that one name means one file in both programs;
 * a test asks llama.cpp itself.
 */
#include "hub/hub_name.h"

#include "util/utf8.h"

#include <costeer/hub.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- characters -------------------------------------------------------------------------------------------------- */

static bool is_alphanumeric(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool cs_hub_is_hex(const char *text, size_t n)
{
    return strlen(text) == n && strspn(text, "0123456789abcdefABCDEF") == n;
}

bool cs_hub_is_commit(const char *text)
{
    return cs_hub_is_hex(text, 40);
}

/* [/.-] between other characters only, so no "..", and one '/'. "--" would be read as '/' in the cache's folder. */
bool cs_hub_is_repo(const char *text, size_t n_bytes)
{
    int n_slashes = 0;
    bool is_special = true;
    for (size_t i = 0; i < n_bytes; i++) {
        const char c = text[i];
        if (is_alphanumeric(c) || c == '_') {
            is_special = false;
        } else if ((c == '/' || c == '.' || c == '-') && !is_special) {
            n_slashes += c == '/';
            is_special = true;
        } else {
            return false;
        }
    }
    return !is_special && n_slashes == 1 && n_bytes < CS_HUB_REPO_MAX;
}

bool cs_hub_is_path(const char *text)
{
    const size_t n = strlen(text);
    if (n == 0 || n >= CS_HUB_FILE_MAX || !cs_utf8_check(text, n, NULL) || text[0] == '/' || text[n - 1] == '/') {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)text[i];
        const bool is_control = c < 0x20 || c == 0x7f || (c == 0xC2 && (unsigned char)text[i + 1] < 0xA0);
        if (is_control || c == '\\') {
            return false;
        }
        if (i == 0 || text[i - 1] == '/') { /* a part's beginning */
            const size_t length = strcspn(text + i, "/");
            if (length == 0 || (c == '.' && (length == 1 || (length == 2 && text[i + 1] == '.')))) {
                return false;
            }
        }
    }
    return true;
}

/* A branch, a tag, a commit, refs/pr/1. */
static bool is_revision(const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        if (!is_alphanumeric(*c) && strchr("._-/+", *c) == NULL) {
            return false;
        }
    }
    return cs_hub_is_path(text) && strlen(text) < CS_HUB_REVISION_MAX && strstr(text, "..") == NULL;
}

static bool is_tag(const char *text)
{
    const size_t n = strlen(text);
    for (size_t i = 0; i < n; i++) {
        if (!is_alphanumeric(text[i]) && strchr("_.-", text[i]) == NULL) {
            return false;
        }
    }
    return n > 0 && n < CS_HUB_TAG_MAX;
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

/* Copies [n] bytes that are known to be short enough, or says that they are not. */
static bool take(char *out, size_t size, const char *text, size_t n)
{
    if (n >= size) {
        return false;
    }
    memcpy(out, text, n);
    out[n] = '\0';
    return true;
}

static bool ends_with_gguf(const char *text)
{
    const size_t n = strlen(text);
    return n > 5 && strcmp(text + n - 5, ".gguf") == 0;
}

/* owner/repo[@revision]/file.gguf; a revision has no '/' here. */
static bool parse_file(const char *text, cs_hub_name *out)
{
    const char *slash = strchr(text, '/');
    const size_t n_repo = slash == NULL ? 0 : (size_t)(slash - text) + 1 + strcspn(slash + 1, "@/");
    const char *rest = text + n_repo;
    if (n_repo == 0 || !cs_hub_is_repo(text, n_repo) || !take(out->repo, sizeof out->repo, text, n_repo)) {
        return false;
    }
    if (*rest == '@') {
        const size_t n = strcspn(++rest, "/");
        if (!take(out->revision, sizeof out->revision, rest, n) || !is_revision(out->revision)) {
            return false;
        }
        rest += n;
    }
    return *rest == '/' && cs_hub_is_path(rest + 1) && take(out->file, sizeof out->file, rest + 1, strlen(rest + 1));
}

static bool parse_repo(const char *text, cs_hub_name *out)
{
    const size_t n_repo = strcspn(text, "@:");
    const char *rest = text + n_repo;
    if (!cs_hub_is_repo(text, n_repo) || !take(out->repo, sizeof out->repo, text, n_repo)) {
        return false;
    }
    if (*rest == '@') {
        const size_t n = strcspn(++rest, ":");
        if (!take(out->revision, sizeof out->revision, rest, n) || !is_revision(out->revision)) {
            return false;
        }
        rest += n;
    }
    return *rest == '\0' || (is_tag(rest + 1) && take(out->tag, sizeof out->tag, rest + 1, strlen(rest + 1)));
}

bool cs_hub_name_parse(const char *text, cs_hub_name *out)
{
    memset(out, 0, sizeof *out);
    if (strncmp(text, "hf:", 3) != 0) {
        return !ends_with_gguf(text) && parse_repo(text, out);
    }
    text += strncmp(text, "hf://", 5) == 0 ? 5 : 3;
    return ends_with_gguf(text) ? parse_file(text, out) : parse_repo(text, out);
}

/* ---- names of files ---------------------------------------------------------------------------------------------- */

/* "-00001-of-00002" before the suffix, or nothing of it. */
static void read_part(const char *path, cs_hub_gguf *out)
{
    static const size_t n_part = sizeof "-00001-of-00002" - 1;
    if (out->n_prefix <= n_part) {
        return;
    }
    const char *part = path + out->n_prefix - n_part;
    if (part[0] != '-' || strspn(part + 1, "0123456789") != 5 || strncasecmp(part + 6, "-of-", 4) != 0 ||
        strspn(part + 10, "0123456789") != 5) {
        return;
    }
    out->index = (int)strtol(part + 1, NULL, 10);
    out->count = (int)strtol(part + 10, NULL, 10);
    out->n_prefix -= n_part;
}

/* The letters, digits and '_' behind the last '-' or '.'. */
static void read_tag(const char *path, cs_hub_gguf *out)
{
    size_t begin = out->n_prefix;
    while (begin > 0 && (is_alphanumeric(path[begin - 1]) || path[begin - 1] == '_')) {
        begin--;
    }
    const size_t n = out->n_prefix - begin;
    if (begin == 0 || n == 0 || n >= sizeof out->tag || (path[begin - 1] != '-' && path[begin - 1] != '.')) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        out->tag[i] = (char)toupper((unsigned char)path[begin + i]);
    }
    out->tag[n] = '\0';
}

bool cs_hub_gguf_read(const char *path, cs_hub_gguf *out)
{
    *out = (cs_hub_gguf){.index = 1, .count = 1};
    if (!ends_with_gguf(path)) {
        return false;
    }
    out->n_prefix = strlen(path) - 5;
    read_part(path, out);
    read_tag(path, out);
    return true;
}

bool cs_hub_gguf_same_model(const char *path, const char *other)
{
    cs_hub_gguf a;
    cs_hub_gguf b;
    return cs_hub_gguf_read(path, &a) && cs_hub_gguf_read(other, &b) && a.count == b.count && a.n_prefix == b.n_prefix &&
           strncmp(path, other, a.n_prefix) == 0 && (a.count > 1 || strcmp(path, other) == 0);
}

/* ---- the choice -------------------------------------------------------------------------------------------------- */

/* A model's only or first file, and no companion of one. */
static bool is_model(const char *path)
{
    static const char *const companions[] = {"mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-"};
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    for (size_t i = 0; i < sizeof companions / sizeof companions[0]; i++) {
        if (strstr(name, companions[i]) != NULL) {
            return false;
        }
    }
    cs_hub_gguf gguf;
    return cs_hub_gguf_read(path, &gguf) && (gguf.count <= 1 || gguf.index == 1);
}

static bool has_tag(const char *path, const char *tag)
{
    const size_t n = strlen(tag);
    for (; strlen(path) > n; path++) {
        if (strncasecmp(path, tag, n) == 0 && (path[n] == '.' || path[n] == '-')) {
            return true;
        }
    }
    return false;
}

static size_t choose_tag(const char *const *paths, size_t n, const char *tag)
{
    size_t i = 0;
    while (i < n && !(is_model(paths[i]) && (tag == NULL || has_tag(paths[i], tag)))) {
        i++;
    }
    return i;
}

size_t cs_hub_choose(const char *const *paths, size_t n, const char *tag)
{
    const char *const defaults[] = {"Q4_K_M", "Q8_0", NULL};
    if (tag[0] != '\0') {
        return choose_tag(paths, n, tag);
    }
    size_t found = n;
    for (size_t i = 0; i < 3 && found == n; i++) {
        found = choose_tag(paths, n, defaults[i]);
    }
    return found;
}
