/*
 * The hub's cache on disk, as huggingface_hub and llama.cpp lay it out:
 *
 *     models--owner--repo/refs/main                  the commit that the revision was when it was last asked for
 *     models--owner--repo/snapshots/COMMIT/FILE      a relative symbolic link to
 *     models--owner--repo/blobs/OID                  the file, named by its SHA-256 (Git's SHA-1 for small files)
 *     models--owner--repo/blobs/OID.incomplete       the beginning of one
 *     .locks/models--owner--repo/OID.lock            held (flock) by who downloads it
 */
#ifndef CS_HUB_CACHE_H
#define CS_HUB_CACHE_H

#include "hub/hub_name.h"
#include "hub/hub_strings.h"
#include "util/error.h"

#include <costeer/hub.h>

#define CS_HUB_OID_MAX    65
#define CS_HUB_COMMIT_MAX 41

/** A path of the cache; a pointer to it is passed where it is written. */
typedef struct cs_hub_path {
    char text[COSTEER_HUB_PATH_MAX];
} cs_hub_path;

/** Write a path; false: it is too long. */
bool cs_hub_path_print(cs_hub_path *path, const char *format, ...) CS_PRINTF(2, 3);

/** Write "CACHE/models--owner--repo". */
bool cs_hub_path_of_repo(cs_hub_path *path, const char *cache_dir, const char *repo);

/** Report errno for a path of the cache: COSTEER_EIO, COSTEER_ENOMEM. */
costeer_err cs_hub_fail_file(costeer_error *err, const char *path, int error);
costeer_err cs_hub_fail_long(costeer_error *err, const char *cache_dir);

/** Called with each file below a folder; the path is relative to it. False ends the walk. */
typedef bool (*cs_hub_walk_fn)(const char *relative, void *user);

/** Walk a folder and those below it; one that is missing is empty. Returns 0, an errno value, or ECANCELED when `fn` ended it. */
int cs_hub_walk(const char *folder, cs_hub_walk_fn fn, void *user);

/** Make a folder and those above it. Returns 0 or an errno value. */
int cs_hub_make_folder(const char *path);

/** The commit that a revision ("": main) stands for in the cache; false: it does not say. */
bool cs_hub_cache_commit(const char *repo_folder, const char *revision, char commit[CS_HUB_COMMIT_MAX]);

/** List the GGUF files of a snapshot that are there, relative and sorted. */
costeer_err cs_hub_cache_files(const char *repo_folder, const char *commit, cs_hub_strings *out, costeer_error *err);

/** True when all files of a model are there, given its first one; *bytes gets their size. */
bool cs_hub_cache_is_whole(const char *first, uint64_t *bytes);

/** Write the path of a model's part i, from 1, given any of them. False: too long. */
bool cs_hub_cache_part(const char *path, int i, cs_hub_path *out);

/** costeer_hub_find() for a parsed name. `shown` is what the message calls it. */
costeer_err cs_hub_cache_find(const char *cache_dir, const cs_hub_name *name, const char *shown, cs_hub_path *out,
                              costeer_error *err);

/** Give a blob its name in a snapshot, by a link or, where the file system has none, by moving it there. */
costeer_err cs_hub_cache_link(const char *repo_folder, const char *commit, const char *file, const char *oid, costeer_error *err);

/** Note which commit a revision is. */
costeer_err cs_hub_cache_write_ref(const char *repo_folder, const char *revision, const char *commit, costeer_error *err);

#endif
