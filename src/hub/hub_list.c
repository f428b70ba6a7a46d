/*
 * Listing and removing. A model is listed under the shortest name that finds it again; it is removed by taking its name out of
 * the snapshot, and its file with it when no other snapshot has a link to that.
 */
#include "hub/hub_cache.h"
#include "hub/hub_pairs.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- listing ----------------------------------------------------------------------------------------------------- */

static costeer_err no_memory(costeer_error *err)
{
    return cs_hub_fail_file(err, "", ENOMEM);
}

static bool add_entry(costeer_hub_list *list, const char *name, const char *path, uint64_t bytes)
{
    costeer_hub_entry *entries = realloc(list->entries, (list->n + 1) * sizeof *entries);
    if (entries == NULL) {
        return false;
    }
    list->entries = entries;
    costeer_hub_entry *entry = &entries[list->n++];
    *entry = (costeer_hub_entry){.name = strdup(name), .path = strdup(path), .bytes = bytes};
    return entry->name != NULL && entry->path != NULL;
}

/* "owner/repo:TAG" where that finds the file, else "hf:owner/repo/file"; with "@commit" where the revision is not the usual one.
 */
static bool print_name(const char *repo, const char *revision, const cs_hub_strings *files, size_t i, cs_hub_path *out)
{
    const char *at = revision[0] != '\0' ? "@" : "";
    cs_hub_gguf gguf;
    const bool is_tag = cs_hub_gguf_read(files->items[i], &gguf) && gguf.tag[0] != '\0' &&
                        cs_hub_choose((const char *const *)files->items, files->n, gguf.tag) == i;
    return is_tag ? cs_hub_path_print(out, "%s%s%s:%s", repo, at, revision, gguf.tag)
                  : cs_hub_path_print(out, "hf:%s%s%s/%s", repo, at, revision, files->items[i]);
}

static costeer_err list_snapshot(const char *folder, const char *repo, const char *commit, costeer_hub_list *out,
                                 costeer_error *err)
{
    char usual[CS_HUB_COMMIT_MAX] = "";
    const bool is_usual = cs_hub_cache_commit(folder, "", usual) && strcmp(usual, commit) == 0;
    cs_hub_strings files = {0};
    costeer_err code = cs_hub_cache_files(folder, commit, &files, err);
    for (size_t i = 0; code == COSTEER_OK && i < files.n; i++) {
        cs_hub_path path;
        cs_hub_path name;
        uint64_t bytes;
        const char *one = files.items[i];
        if (cs_hub_choose(&one, 1, "") != 0 || !cs_hub_path_print(&path, "%s/snapshots/%s/%s", folder, commit, files.items[i]) ||
            !cs_hub_cache_is_whole(path.text, &bytes)) {
            continue; /* a later part, a companion, or not all of it */
        }
        if (!print_name(repo, is_usual ? "" : commit, &files, i, &name) || !add_entry(out, name.text, path.text, bytes)) {
            code = no_memory(err);
        }
    }
    cs_hub_strings_dispose(&files);
    return code;
}

/* The names in a folder; a folder that is missing has none. */
static int read_folder(const char *path, cs_hub_strings *out)
{
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return errno == ENOENT ? 0 : errno;
    }
    int error = 0;
    for (struct dirent *entry; error == 0 && (entry = readdir(dir)) != NULL;) {
        error = entry->d_name[0] == '.' || cs_hub_strings_add(out, entry->d_name) ? 0 : ENOMEM;
    }
    closedir(dir);
    return error;
}

static costeer_err list_repo(const char *folder, const char *repo, costeer_hub_list *out, costeer_error *err)
{
    cs_hub_path path;
    cs_hub_strings commits = {0};
    if (!cs_hub_path_print(&path, "%s/snapshots", folder)) {
        return cs_hub_fail_long(err, folder);
    }
    const int error = read_folder(path.text, &commits);
    costeer_err code = error == 0 ? COSTEER_OK : cs_hub_fail_file(err, path.text, error);
    for (size_t i = 0; code == COSTEER_OK && i < commits.n; i++) {
        code = cs_hub_is_commit(commits.items[i]) ? list_snapshot(folder, repo, commits.items[i], out, err) : COSTEER_OK;
    }
    cs_hub_strings_dispose(&commits);
    return code;
}

/* "models--owner--repo" -> "owner/repo"; false: another folder. */
static bool read_repo(const char *folder, char repo[CS_HUB_REPO_MAX])
{
    static const char prefix[] = "models--";
    const char *rest = folder + sizeof prefix - 1;
    const char *gap = strncmp(folder, prefix, sizeof prefix - 1) == 0 ? strstr(rest, "--") : NULL;
    const int n = gap == NULL ? -1 : snprintf(repo, CS_HUB_REPO_MAX, "%.*s/%s", (int)(gap - rest), rest, gap + 2);
    return n > 0 && n < CS_HUB_REPO_MAX && cs_hub_is_repo(repo, (size_t)n);
}

static int compare_entries(const void *left, const void *right)
{
    return strcmp(((const costeer_hub_entry *)left)->name, ((const costeer_hub_entry *)right)->name);
}

costeer_err costeer_hub_list_models(const char *cache_dir, costeer_hub_list *out, costeer_error *err)
{
    memset(out, 0, sizeof *out);
    cs_hub_strings folders = {0};
    const int error = read_folder(cache_dir, &folders);
    costeer_err code = error == 0 ? COSTEER_OK : cs_hub_fail_file(err, cache_dir, error);
    for (size_t i = 0; code == COSTEER_OK && i < folders.n; i++) {
        char repo[CS_HUB_REPO_MAX];
        cs_hub_path folder;
        if (read_repo(folders.items[i], repo) && cs_hub_path_of_repo(&folder, cache_dir, repo)) {
            code = list_repo(folder.text, repo, out, err);
        }
    }
    cs_hub_strings_dispose(&folders);
    if (code != COSTEER_OK) {
        costeer_hub_list_dispose(out);
    } else if (out->n > 1) {
        qsort(out->entries, out->n, sizeof out->entries[0], compare_entries);
    }
    return code;
}

void costeer_hub_list_dispose(costeer_hub_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        free(list->entries[i].name);
        free(list->entries[i].path);
    }
    free(list->entries);
    memset(list, 0, sizeof *list);
}

/* ---- removing ---------------------------------------------------------------------------------------------------- */

/* A search for whoever else has a link to a blob, or a reference to a commit. */
typedef struct search {
    const char *folder;
    const char *wanted;
    bool found;
    uint64_t bytes; /* of what was removed */
} search;

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static bool read_link(const char *path, cs_hub_path *target)
{
    const ssize_t n = readlink(path, target->text, sizeof target->text - 1);
    target->text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

static bool look_at_link(const char *relative, void *user)
{
    search *s = user;
    cs_hub_path path;
    cs_hub_path target;
    s->found = s->found || (cs_hub_path_print(&path, "%s/%s", s->folder, relative) && read_link(path.text, &target) &&
                            strcmp(last_part(target.text), s->wanted) == 0);
    return true;
}

/* A reference to a snapshot that is gone would be called damaged by other programs. */
static bool drop_ref(const char *relative, void *user)
{
    const search *s = user;
    cs_hub_path path;
    char line[CS_HUB_COMMIT_MAX] = "";
    FILE *file = cs_hub_path_print(&path, "%s/%s", s->folder, relative) ? fopen(path.text, "re") : NULL;
    if (file != NULL) {
        const bool is_it = fgets(line, sizeof line, file) != NULL && strcmp(line, s->wanted) == 0;
        (void)fclose(file);
        if (is_it) {
            (void)unlink(path.text);
        }
    }
    return true;
}

/* Remove the folders above a file that are empty, down to the snapshot's; true when that is gone too. */
static bool prune(const char *file, const char *snapshots)
{
    cs_hub_path path;
    if (!cs_hub_path_print(&path, "%s", file)) {
        return false;
    }
    const size_t n = strlen(snapshots);
    for (char *slash; (slash = strrchr(path.text, '/')) != NULL && (size_t)(slash - path.text) > n;) {
        *slash = '\0';
        if (rmdir(path.text) != 0) {
            return false;
        }
    }
    return true;
}

static costeer_err remove_part(const char *folder, const char *snapshots, const char *path, uint64_t *bytes, costeer_error *err)
{
    cs_hub_path target;
    struct stat status;
    const bool is_link = read_link(path, &target);
    const uint64_t size = stat(path, &status) == 0 ? (uint64_t)status.st_size : 0;
    if (unlink(path) != 0) {
        return cs_hub_fail_file(err, path, errno);
    }
    search s = {.folder = snapshots, .wanted = last_part(target.text)};
    cs_hub_path blob;
    if (is_link && cs_hub_is_path(s.wanted)) {
        (void)cs_hub_walk(snapshots, look_at_link, &s);
        if (!s.found && cs_hub_path_print(&blob, "%s/blobs/%s", folder, s.wanted) && unlink(blob.text) != 0 && errno != ENOENT) {
            return cs_hub_fail_file(err, blob.text, errno);
        }
    }
    *bytes += s.found ? 0 : size;
    return COSTEER_OK;
}

static bool drop_file(const char *relative, void *user)
{
    const char *folder = user;
    cs_hub_path path;
    if (cs_hub_path_print(&path, "%s/%s", folder, relative) && unlink(path.text) == 0) {
        (void)prune(path.text, folder);
    }
    return true;
}

static bool remove_if_empty(const char *folder, const char *below)
{
    cs_hub_path path;
    return cs_hub_path_print(&path, "%s/%s", folder, below) && (rmdir(path.text) == 0 || errno == ENOENT);
}

/* References to the commit that is gone; the whole folder when nothing is left but programs' notes about what was there. */
static void prune_repo(const char *folder, const char *commit)
{
    cs_hub_path path;
    if (cs_hub_path_print(&path, "%s/refs", folder)) {
        search s = {.folder = path.text, .wanted = commit};
        (void)cs_hub_walk(path.text, drop_ref, &s);
    }
    if (remove_if_empty(folder, "snapshots") && remove_if_empty(folder, "blobs") && cs_hub_path_print(&path, "%s", folder)) {
        (void)cs_hub_walk(folder, drop_file, path.text);
        (void)remove_if_empty(folder, "refs");
        (void)rmdir(folder);
    }
}

/* first: "FOLDER/snapshots/COMMIT/file.gguf" */
static costeer_err remove_model(const char *folder, const char *first, uint64_t *bytes, costeer_error *err)
{
    cs_hub_path snapshots;
    cs_hub_gguf gguf;
    char commit[CS_HUB_COMMIT_MAX] = "";
    if (!cs_hub_path_print(&snapshots, "%s/snapshots", folder) || !cs_hub_gguf_read(first, &gguf)) {
        return cs_hub_fail_long(err, folder);
    }
    (void)snprintf(commit, sizeof commit, "%s", first + strlen(snapshots.text) + 1);
    costeer_err code = COSTEER_OK;
    for (int i = 1; code == COSTEER_OK && (i <= gguf.count || i == 1); i++) {
        cs_hub_path part;
        code = cs_hub_cache_part(first, i, &part) ? remove_part(folder, snapshots.text, part.text, bytes, err)
                                                  : cs_hub_fail_long(err, folder);
    }
    if (code == COSTEER_OK && prune(first, snapshots.text)) {
        prune_repo(folder, commit);
    }
    return code;
}

static bool drop_incomplete(const char *relative, void *user)
{
    static const char suffix[] = ".incomplete";
    search *s = user;
    const size_t n = strlen(relative);
    cs_hub_path path;
    struct stat status;
    if (n > sizeof suffix - 1 && strcmp(relative + n - (sizeof suffix - 1), suffix) == 0 &&
        cs_hub_path_print(&path, "%s/%s", s->folder, relative) && stat(path.text, &status) == 0 && unlink(path.text) == 0) {
        s->found = true;
        s->bytes += (uint64_t)status.st_size;
    }
    return true;
}

/* The beginnings of files whose download broke. */
static bool remove_incomplete(const char *folder, uint64_t *bytes)
{
    cs_hub_path blobs;
    if (!cs_hub_path_print(&blobs, "%s/blobs", folder)) {
        return false;
    }
    search s = {.folder = blobs.text};
    (void)cs_hub_walk(blobs.text, drop_incomplete, &s);
    *bytes += s.bytes;
    if (s.found) {
        prune_repo(folder, "");
    }
    return s.found;
}

/* All models of a repository. */
static costeer_err remove_repo(const char *folder, const cs_hub_name *name, const char *cache_dir, uint64_t *bytes,
                               costeer_error *err)
{
    costeer_hub_list list = {0};
    costeer_err code = list_repo(folder, name->repo, &list, err);
    const bool had_incomplete = code == COSTEER_OK && remove_incomplete(folder, bytes);
    if (code == COSTEER_OK && list.n == 0 && !had_incomplete) {
        code = cs_error_set(err, COSTEER_EMODEL, "hub",
                            "%s: no model of it in the cache %.200s; costeer models lists those there", name->repo, cache_dir);
    }
    for (size_t i = 0; code == COSTEER_OK && i < list.n; i++) {
        code = remove_model(folder, list.entries[i].path, bytes, err);
    }
    costeer_hub_list_dispose(&list);
    return code;
}

static costeer_err remove_one(const char *cache_dir, const char *text, bool is_slm, uint64_t *bytes, costeer_error *err)
{
    cs_hub_name name;
    cs_hub_path folder;
    cs_hub_path first;
    costeer_err code = cs_hub_name_read(text, is_slm, &name, err);
    if (code != COSTEER_OK) {
        return code;
    }
    if (!cs_hub_path_of_repo(&folder, cache_dir, name.repo)) {
        return cs_hub_fail_long(err, cache_dir);
    }
    if (name.tag[0] == '\0' && name.file[0] == '\0' && name.revision[0] == '\0') {
        return remove_repo(folder.text, &name, cache_dir, bytes, err);
    }
    code = cs_hub_cache_find(cache_dir, &name, text, &first, err);
    if (code == COSTEER_EMODEL) {
        return cs_error_set(err, code, "hub", "%.200s: not in the cache %.200s; costeer models lists what is there", text,
                            cache_dir);
    }
    return code == COSTEER_OK ? remove_model(folder.text, first.text, bytes, err) : code;
}

costeer_err costeer_hub_remove(const char *cache_dir, const char *name, uint64_t *bytes, costeer_error *err)
{
    uint64_t freed = 0;
    costeer_err code = remove_one(cache_dir, name, false, &freed, err);
    if (code == COSTEER_OK && costeer_hub_find_pair(name) != NULL) {
        code = remove_one(cache_dir, name, true, &freed, err);
    }
    if (bytes != NULL) {
        *bytes = freed;
    }
    return code;
}
