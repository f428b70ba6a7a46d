/* One file into the cache: locked, resumed, checked, and only then given its name. */
#ifndef CS_HUB_FETCH_H
#define CS_HUB_FETCH_H

#include "hub/hub_api.h"

/** What the files of one pull share. */
typedef struct cs_hub_job {
    const costeer_hub_params *params;
    const cs_hub_name *name;
    char commit[CS_HUB_COMMIT_MAX];
    cs_hub_http *http;
    cs_hub_path repo_folder;
    costeer_hub_progress progress;
} cs_hub_job;

/** Bytes of a file that are still to come; 0: its blob is there. */
uint64_t cs_hub_fetch_missing(const cs_hub_job *job, const cs_hub_file *file);

/** Download a file's blob, unless it is there. */
costeer_err cs_hub_fetch(cs_hub_job *job, const cs_hub_file *file, costeer_error *err);

/** Tell whoever watches. */
void cs_hub_tell(cs_hub_job *job, const char *note);

#endif
