/*
 * Reading the cache trusts nothing but names: a link that leads nowhere is no file, a reference that is no commit is none.
 * Writing puts every file and reference in place by a rename, so that a reader sees the old one or the new one.
 */
#include "hub/hub_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 8

/* ---- paths ------------------------------------------------------------------------------------------------------- */

bool cs_hub_path_print(cs_hub_path *path, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(path->text, sizeof path->text, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof path->text) {
        path->text[0] = '\0';
        return false;
    }
    return true;
}

bool cs_hub_path_of_repo(cs_hub_path *path, const char *cache_dir, const char *repo)
{
    const size_t n_owner = strcspn(repo, "/");
    return cs_hub_path_print(path, "%s/models--%.*s--%s", cache_dir, (int)n_owner, repo, repo + n_owner + 1);
}

costeer_err cs_hub_fail_file(costeer_error *err, const char *path, int error)
{
    if (error == ENOMEM) {
        return cs_error_set(err, COSTEER_ENOMEM, "hub", "no memory for the hub's cache");
    }
    const char *hint = error == ENOSPC || error == EDQUOT || error == EFBIG
                           ? "free some space and pull again (it resumes), or set HF_HUB_CACHE to another folder"
                           : "set HF_HUB_CACHE to a folder that can be written";
    return cs_error_set(err, COSTEER_EIO, "hub", "%.250s: %s; %s", path, strerror(error), hint);
}

costeer_err cs_hub_fail_long(costeer_error *err, const char *cache_dir)
{
    return cs_error_set(err, COSTEER_EIO, "hub", "%.200s…: the cache's path is too long; set HF_HUB_CACHE to a shorter one",
                        cache_dir);
}

/* ---- folders ----------------------------------------------------------------------------------------------------- */

static int walk(const char *root, const char *below, int depth, cs_hub_walk_fn fn, void *user)
{
    cs_hub_path path;
    if (!cs_hub_path_print(&path, "%s/%s", root, below)) {
        return ENAMETOOLONG;
    }
    DIR *dir = opendir(path.text);
    if (dir == NULL) {
        return errno == ENOENT ? 0 : errno;
    }
    int error = 0;
    for (struct dirent *entry; error == 0 && (entry = readdir(dir)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        cs_hub_path relative;
        struct stat status;
        if (!cs_hub_path_print(&relative, "%s%s%s", below, below[0] != '\0' ? "/" : "", entry->d_name) ||
            !cs_hub_path_print(&path, "%s/%s", root, relative.text)) {
            error = ENAMETOOLONG;
        } else if (lstat(path.text, &status) == 0 && S_ISDIR(status.st_mode)) {
            error = depth < DEPTH_MAX ? walk(root, relative.text, depth + 1, fn, user) : 0;
        } else if (!fn(relative.text, user)) {
            error = ECANCELED;
        }
    }
    closedir(dir);
    return error;
}

int cs_hub_walk(const char *folder, cs_hub_walk_fn fn, void *user)
{
    return walk(folder, "", 0, fn, user);
}

int cs_hub_make_folder(const char *path)
{
    cs_hub_path part;
    struct stat status;
    if (!cs_hub_path_print(&part, "%s", path)) {
        return ENAMETOOLONG;
    }
    for (char *slash = part.text + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        const bool is_there = stat(part.text, &status) == 0 || mkdir(part.text, 0777) == 0 || errno == EEXIST;
        if (!is_there) {
            return errno;
        }
        *slash = '/';
    }
    return mkdir(path, 0777) == 0 || (errno == EEXIST && stat(path, &status) == 0 && S_ISDIR(status.st_mode)) ? 0 : errno;
}

/* ---- what a revision is ------------------------------------------------------------------------------------------ */

static bool read_ref(const char *path, char commit[CS_HUB_COMMIT_MAX])
{
    FILE *file = fopen(path, "re");
    char line[64] = "";
    if (file == NULL) {
        return false;
    }
    const bool is_read = fgets(line, sizeof line, file) != NULL;
    (void)fclose(file);
    line[strcspn(line, "\r\n")] = '\0';
    if (!is_read || !cs_hub_is_commit(line)) {
        return false;
    }
    memcpy(commit, line, CS_HUB_COMMIT_MAX);
    return true;
}

static bool add_string(const char *relative, void *user)
{
    return cs_hub_strings_add(user, relative);
}

/* The first reference of any name. */
static bool read_any_ref(const char *repo_folder, char commit[CS_HUB_COMMIT_MAX])
{
    cs_hub_path path;
    cs_hub_strings refs = {0};
    bool found = false;
    if (cs_hub_path_print(&path, "%s/refs", repo_folder) && cs_hub_walk(path.text, add_string, &refs) == 0) {
        cs_hub_strings_sort(&refs);
        for (size_t i = 0; i < refs.n && !found; i++) {
            found = cs_hub_path_print(&path, "%s/refs/%s", repo_folder, refs.items[i]) && read_ref(path.text, commit);
        }
    }
    cs_hub_strings_dispose(&refs);
    return found;
}

/* The only snapshot: a commit that was pulled by its hash has no reference. */
static bool read_only_snapshot(const char *repo_folder, char commit[CS_HUB_COMMIT_MAX])
{
    cs_hub_path path;
    DIR *dir = cs_hub_path_print(&path, "%s/snapshots", repo_folder) ? opendir(path.text) : NULL;
    int n = 0;
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        if (cs_hub_is_commit(entry->d_name)) {
            memcpy(commit, entry->d_name, CS_HUB_COMMIT_MAX);
            n++;
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return n == 1;
}

bool cs_hub_cache_commit(const char *repo_folder, const char *revision, char commit[CS_HUB_COMMIT_MAX])
{
    if (cs_hub_is_commit(revision)) {
        memcpy(commit, revision, CS_HUB_COMMIT_MAX);
        return true;
    }
    cs_hub_path path;
    if (cs_hub_path_print(&path, "%s/refs/%s", repo_folder, revision[0] != '\0' ? revision : "main") &&
        read_ref(path.text, commit)) {
        return true;
    }
    return revision[0] == '\0' && (read_any_ref(repo_folder, commit) || read_only_snapshot(repo_folder, commit));
}

/* ---- a snapshot's files ------------------------------------------------------------------------------------------ */

typedef struct file_walk {
    cs_hub_strings *out;
    const char *folder;
} file_walk;

static bool add_gguf(const char *relative, void *user)
{
    const file_walk *w = user;
    cs_hub_gguf gguf;
    cs_hub_path path;
    struct stat status;
    const bool is_file = cs_hub_is_path(relative) && cs_hub_gguf_read(relative, &gguf) &&
                         cs_hub_path_print(&path, "%s/%s", w->folder, relative) && stat(path.text, &status) == 0 &&
                         S_ISREG(status.st_mode);
    return !is_file || cs_hub_strings_add(w->out, relative);
}

costeer_err cs_hub_cache_files(const char *repo_folder, const char *commit, cs_hub_strings *out, costeer_error *err)
{
    cs_hub_path folder;
    if (!cs_hub_path_print(&folder, "%s/snapshots/%s", repo_folder, commit)) {
        return cs_hub_fail_long(err, repo_folder);
    }
    file_walk w = {.out = out, .folder = folder.text};
    const int error = cs_hub_walk(folder.text, add_gguf, &w);
    cs_hub_strings_sort(out);
    return error == 0 ? COSTEER_OK : cs_hub_fail_file(err, folder.text, error == ECANCELED ? ENOMEM : error);
}

bool cs_hub_cache_part(const char *path, int i, cs_hub_path *out)
{
    cs_hub_gguf gguf;
    if (!cs_hub_gguf_read(path, &gguf) || gguf.count <= 1) {
        return cs_hub_path_print(out, "%s", path);
    }
    return cs_hub_path_print(out, "%.*s-%05d-of-%05d.gguf", (int)gguf.n_prefix, path, i, gguf.count);
}

bool cs_hub_cache_is_whole(const char *first, uint64_t *bytes)
{
    cs_hub_gguf gguf;
    *bytes = 0;
    if (!cs_hub_gguf_read(first, &gguf)) {
        return false;
    }
    for (int i = 1; i <= gguf.count || i == 1; i++) {
        cs_hub_path part;
        struct stat status;
        if (!cs_hub_cache_part(first, i, &part) || stat(part.text, &status) != 0 || !S_ISREG(status.st_mode)) {
            return false;
        }
        *bytes += (uint64_t)status.st_size;
    }
    return true;
}

/* ---- finding ----------------------------------------------------------------------------------------------------- */

static size_t find_file(const cs_hub_strings *files, const cs_hub_name *name)
{
    if (name->file[0] == '\0') {
        return cs_hub_choose((const char *const *)files->items, files->n, name->tag);
    }
    cs_hub_path first;
    size_t i = 0;
    while (i < files->n && !(cs_hub_cache_part(name->file, 1, &first) && strcmp(files->items[i], first.text) == 0)) {
        i++;
    }
    return i;
}

costeer_err cs_hub_cache_find(const char *cache_dir, const cs_hub_name *name, const char *shown, cs_hub_path *out,
                              costeer_error *err)
{
    cs_hub_path folder;
    char commit[CS_HUB_COMMIT_MAX];
    uint64_t bytes;
    if (!cs_hub_path_of_repo(&folder, cache_dir, name->repo)) {
        return cs_hub_fail_long(err, cache_dir);
    }
    cs_hub_strings files = {0};
    costeer_err code = COSTEER_OK;
    bool found = false;
    if (cs_hub_cache_commit(folder.text, name->revision, commit)) {
        code = cs_hub_cache_files(folder.text, commit, &files, err);
        const size_t i = code == COSTEER_OK ? find_file(&files, name) : files.n;
        found = i < files.n && cs_hub_path_print(out, "%s/snapshots/%s/%s", folder.text, commit, files.items[i]) &&
                cs_hub_cache_is_whole(out->text, &bytes);
    }
    cs_hub_strings_dispose(&files);
    if (code == COSTEER_OK && !found) {
        code = cs_error_set(err, COSTEER_EMODEL, "hub",
                            "%.150s: neither a file nor a model in the cache %.150s; costeer pull %.150s gets it", shown,
                            cache_dir, shown);
    }
    return code;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* "../../blobs/OID", with one ".." more for each folder that the file is in. */
static bool print_target(cs_hub_path *out, const char *file, const char *oid)
{
    char up[CS_HUB_FILE_MAX * 3] = "../../";
    size_t n = strlen(up);
    for (const char *c = file; *c != '\0'; c++) {
        if (*c == '/') {
            memcpy(up + n, "../", 4);
            n += 3;
        }
    }
    return cs_hub_path_print(out, "%sblobs/%s", up, oid);
}

static int link_or_move(const char *blob, const char *target, const char *link)
{
    cs_hub_path temporary;
    if (!cs_hub_path_print(&temporary, "%s.%ld", link, (long)getpid())) {
        return ENAMETOOLONG;
    }
    (void)unlink(temporary.text);
    if (symlink(target, temporary.text) == 0) {
        const int error = rename(temporary.text, link) == 0 ? 0 : errno;
        if (error != 0) {
            (void)unlink(temporary.text);
        }
        return error;
    }
    if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS) {
        return errno;
    }
    return rename(blob, link) == 0 ? 0 : errno; /* FAT and its kin: as huggingface_hub does there */
}

/* True when the link leads to the blob already, or the file itself stands there. */
static bool is_linked(const char *link, const char *target)
{
    char there[COSTEER_HUB_PATH_MAX];
    struct stat status;
    const ssize_t n = readlink(link, there, sizeof there - 1);
    there[n > 0 ? n : 0] = '\0';
    return n > 0 ? strcmp(there, target) == 0 : lstat(link, &status) == 0 && S_ISREG(status.st_mode);
}

costeer_err cs_hub_cache_link(const char *repo_folder, const char *commit, const char *file, const char *oid, costeer_error *err)
{
    cs_hub_path link;
    cs_hub_path blob;
    cs_hub_path target;
    if (!cs_hub_path_print(&link, "%s/snapshots/%s/%s", repo_folder, commit, file) || !print_target(&target, file, oid) ||
        !cs_hub_path_print(&blob, "%s/blobs/%s", repo_folder, oid)) {
        return cs_hub_fail_long(err, repo_folder);
    }
    if (is_linked(link.text, target.text)) {
        return COSTEER_OK;
    }
    char *slash = strrchr(link.text, '/');
    *slash = '\0';
    int error = cs_hub_make_folder(link.text);
    *slash = '/';
    error = error == 0 ? link_or_move(blob.text, target.text, link.text) : error;
    return error == 0 ? COSTEER_OK : cs_hub_fail_file(err, link.text, error);
}

costeer_err cs_hub_cache_write_ref(const char *repo_folder, const char *revision, const char *commit, costeer_error *err)
{
    cs_hub_path path;
    cs_hub_path temporary;
    char there[CS_HUB_COMMIT_MAX];
    if (!cs_hub_path_print(&path, "%s/refs/%s", repo_folder, revision) ||
        !cs_hub_path_print(&temporary, "%s.%ld", path.text, (long)getpid())) {
        return cs_hub_fail_long(err, repo_folder);
    }
    if (read_ref(path.text, there) && strcmp(there, commit) == 0) {
        return COSTEER_OK;
    }
    char *slash = strrchr(path.text, '/');
    *slash = '\0';
    int error = cs_hub_make_folder(path.text);
    *slash = '/';
    FILE *file = error == 0 ? fopen(temporary.text, "we") : NULL;
    if (file != NULL) {
        const bool is_written = fputs(commit, file) >= 0;
        error = fclose(file) == 0 && is_written && rename(temporary.text, path.text) == 0 ? 0 : errno;
    } else if (error == 0) {
        error = errno;
    }
    if (error != 0) {
        (void)unlink(temporary.text);
        return cs_hub_fail_file(err, path.text, error);
    }
    return COSTEER_OK;
}
