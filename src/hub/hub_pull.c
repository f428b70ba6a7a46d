/* A pull: the cache if it need not ask, else the hub's list of files, the choice, room for them, each file, and their names. */
#include "hub/hub_fetch.h"
#include "hub/hub_pairs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

/* The files that make the chosen model, in their order. */
typedef struct parts {
    cs_hub_file *files; /* [n], their paths belong to the tree */
    size_t n;
} parts;

/* ---- the choice -------------------------------------------------------------------------------------------------- */

static costeer_err fail_choice(const cs_hub_tree *tree, const cs_hub_name *name, costeer_error *err)
{
    char there[200] = "";
    size_t n_used = 0;
    for (size_t i = 0; i < tree->n; i++) {
        cs_hub_gguf gguf;
        const char *path = tree->paths[i];
        if (cs_hub_choose(&path, 1, "") != 0 || !cs_hub_gguf_read(path, &gguf) || gguf.tag[0] == '\0') {
            continue;
        }
        const int n = snprintf(there + n_used, sizeof there - n_used, "%s%s", n_used > 0 ? ", " : "", gguf.tag);
        if (n < 0 || n_used + (size_t)n >= sizeof there) {
            there[n_used] = '\0';
            break;
        }
        n_used += (size_t)n;
    }
    const char *wanted = name->file[0] != '\0' ? name->file : name->tag;
    if (there[0] == '\0') {
        return cs_error_set(err, COSTEER_EMODEL, "hub", "%s: no GGUF model in this repository%s", name->repo,
                            tree->n == 0 ? "; look for one whose name ends in -GGUF" : "");
    }
    return cs_error_set(err, COSTEER_EMODEL, "hub", "%s: no GGUF file %.150s in it; there is %s", name->repo, wanted, there);
}

static size_t find_path(const cs_hub_tree *tree, const char *path)
{
    size_t i = 0;
    while (i < tree->n && strcmp(tree->paths[i], path) != 0) {
        i++;
    }
    return i;
}

static costeer_err choose(const cs_hub_tree *tree, const cs_hub_name *name, parts *out, costeer_error *err)
{
    const size_t chosen = name->file[0] != '\0' ? find_path(tree, name->file) : cs_hub_choose(tree->paths, tree->n, name->tag);
    cs_hub_gguf gguf = {.count = 1};
    if (chosen == tree->n || !cs_hub_gguf_read(tree->paths[chosen], &gguf)) {
        return fail_choice(tree, name, err);
    }
    const size_t n = gguf.count > 1 ? (size_t)gguf.count : 1;
    out->files = calloc(n, sizeof *out->files);
    if (out->files == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "hub", "no memory for the list of files");
    }
    for (out->n = 0; out->n < n; out->n++) {
        cs_hub_path part;
        const size_t i = cs_hub_cache_part(tree->paths[chosen], (int)out->n + 1, &part) ? find_path(tree, part.text) : tree->n;
        if (i == tree->n) {
            return cs_error_set(err, COSTEER_EMODEL, "hub", "%s: part %zu of %zu of %.150s is missing in the repository",
                                name->repo, out->n + 1, n, tree->paths[chosen]);
        }
        out->files[out->n] = tree->files[i];
    }
    return COSTEER_OK;
}

/* ---- room -------------------------------------------------------------------------------------------------------- */

/* Before the first byte: the nearest folder that is there tells how much is free. */
static costeer_err check_room(const cs_hub_job *job, const parts *p, costeer_error *err)
{
    uint64_t needed = 0;
    for (size_t i = 0; i < p->n; i++) {
        const uint64_t missing = cs_hub_fetch_missing(job, &p->files[i]);
        needed = missing > UINT64_MAX - needed ? UINT64_MAX : needed + missing;
    }
    cs_hub_path folder = job->repo_folder;
    struct statvfs status;
    int error = needed > 0 ? ENOENT : 0;
    while (error == ENOENT) {
        error = statvfs(folder.text, &status) == 0 ? 0 : errno;
        char *slash = error == ENOENT ? strrchr(folder.text, '/') : NULL;
        if (slash == NULL || slash == folder.text) {
            break;
        }
        *slash = '\0';
    }
    const uint64_t free = needed > 0 && error == 0 ? (uint64_t)status.f_bavail * status.f_frsize : UINT64_MAX;
    if (needed <= free) {
        return COSTEER_OK; /* also where the system does not tell: writing will */
    }
    return cs_error_set(err, COSTEER_EIO, "hub",
                        "%.250s: %.1f MB free, %.1f MB needed; free some space, or set HF_HUB_CACHE to another folder",
                        folder.text, (double)free / 1e6, (double)needed / 1e6);
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

static costeer_err fetch_parts(cs_hub_job *job, const parts *p, cs_hub_path *path, costeer_error *err)
{
    costeer_err code = check_room(job, p, err);
    for (size_t i = 0; code == COSTEER_OK && i < p->n; i++) {
        job->progress.bytes_all += p->files[i].bytes;
    }
    for (size_t i = 0; code == COSTEER_OK && i < p->n; i++) {
        code = cs_hub_fetch(job, &p->files[i], err);
    }
    for (size_t i = 0; code == COSTEER_OK && i < p->n; i++) {
        code = cs_hub_cache_link(job->repo_folder.text, job->commit, p->files[i].path, p->files[i].oid, err);
    }
    if (code == COSTEER_OK && !cs_hub_is_commit(job->name->revision)) {
        const char *revision = job->name->revision[0] != '\0' ? job->name->revision : "main";
        code = cs_hub_cache_write_ref(job->repo_folder.text, revision, job->commit, err);
    }
    if (code == COSTEER_OK && p->n > 0 &&
        !cs_hub_path_print(path, "%s/snapshots/%s/%s", job->repo_folder.text, job->commit, p->files[0].path)) {
        code = cs_hub_fail_long(err, job->repo_folder.text);
    }
    return code;
}

static costeer_err pull(cs_hub_job *job, cs_hub_path *path, costeer_error *err)
{
    cs_hub_tree tree = {0};
    parts p = {0};
    costeer_err code = cs_hub_http_create(job->params, &job->http, err);
    code = code == COSTEER_OK ? cs_hub_api_tree(job->http, job->params, job->name, &tree, err) : code;
    memcpy(job->commit, tree.commit, sizeof job->commit);
    code = code == COSTEER_OK ? choose(&tree, job->name, &p, err) : code;
    code = code == COSTEER_OK ? fetch_parts(job, &p, path, err) : code;
    free(p.files);
    cs_hub_tree_dispose(&tree);
    cs_hub_http_free(job->http);
    return code;
}

costeer_err costeer_hub_pull(const costeer_hub_params *params, const char *name, bool is_slm, char path[COSTEER_HUB_PATH_MAX],
                             costeer_error *err)
{
    cs_hub_name parsed;
    cs_hub_path found;
    path[0] = '\0';
    costeer_err code = cs_hub_name_read(name, is_slm, &parsed, err);
    if (code != COSTEER_OK) {
        return code;
    }
    /* A commit never changes: what is there of it need not be asked for. */
    const bool is_exact = cs_hub_is_commit(parsed.revision) && (parsed.tag[0] != '\0' || parsed.file[0] != '\0');
    code = is_exact || params->is_offline ? cs_hub_cache_find(params->cache_dir, &parsed, name, &found, err) : COSTEER_EMODEL;
    if (code == COSTEER_EMODEL && params->is_offline) {
        return cs_error_set(err, COSTEER_EMODEL, "hub",
                            "%.200s: not in the cache %.200s, and HF_HUB_OFFLINE is set: unset it to pull", name,
                            params->cache_dir);
    }
    if (code == COSTEER_EMODEL) {
        cs_hub_job job = {.params = params, .name = &parsed, .progress = {.file = ""}};
        code = cs_hub_path_of_repo(&job.repo_folder, params->cache_dir, parsed.repo) ? pull(&job, &found, err)
                                                                                     : cs_hub_fail_long(err, params->cache_dir);
    }
    if (code == COSTEER_OK) {
        memcpy(path, found.text, COSTEER_HUB_PATH_MAX);
    }
    return code;
}

costeer_err costeer_hub_find(const char *cache_dir, const char *name, bool is_slm, char path[COSTEER_HUB_PATH_MAX],
                             costeer_error *err)
{
    cs_hub_name parsed;
    cs_hub_path found;
    path[0] = '\0';
    costeer_err code = cs_hub_name_read(name, is_slm, &parsed, err);
    code = code == COSTEER_OK ? cs_hub_cache_find(cache_dir, &parsed, name, &found, err) : code;
    if (code == COSTEER_OK) {
        memcpy(path, found.text, COSTEER_HUB_PATH_MAX);
    }
    return code;
}
