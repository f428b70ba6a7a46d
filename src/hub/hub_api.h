/* What the hub says about a repository: which commit a revision is, and which files that has. */
#ifndef CS_HUB_API_H
#define CS_HUB_API_H

#include "hub/hub_cache.h"
#include "hub/hub_http.h"

typedef struct cs_hub_file {
    char *path; /**< checked by cs_hub_is_path() */
    char oid[CS_HUB_OID_MAX];
    uint64_t bytes;
} cs_hub_file;

/** GGUF files in the hub's order. All-zero is an empty one. */
typedef struct cs_hub_tree {
    char commit[CS_HUB_COMMIT_MAX];
    cs_hub_file *files; /**< [n] */
    const char **paths; /**< [n] of the files */
    size_t n;
} cs_hub_tree;

/** Ask for a revision ("": main). Dispose of the tree in every case. */
costeer_err cs_hub_api_tree(cs_hub_http *http, const costeer_hub_params *params, const cs_hub_name *name, cs_hub_tree *out,
                            costeer_error *err);
void cs_hub_tree_dispose(cs_hub_tree *tree);

/** Write the URL of a file at a commit. False: too long. */
bool cs_hub_api_file_url(const costeer_hub_params *params, const cs_hub_name *name, const char *commit, const char *path,
                         char url[CS_HUB_URL_MAX]);

/** The error for a response that is none of 200 and 206. `what`: a revision or a file, for 404. */
costeer_err cs_hub_api_fail(const costeer_hub_params *params, const cs_hub_name *name, const cs_hub_head *head, const char *what,
                            costeer_error *err);

/** The error for a request that got no response. */
costeer_err cs_hub_api_fail_request(cs_hub_result result, const char *reason, costeer_error *err);

#endif
