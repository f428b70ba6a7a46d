/* The LLM on another machine: connecting to the node that --cloud names. */
#ifndef CS_CLI_REMOTE_H
#define CS_CLI_REMOTE_H

#include "cli/settings.h"
#include "util/file.h"

#include <costeer/cloud.h>

typedef struct cs_remote {
    costeer_cloud *cloud; /**< free with cs_remote_dispose() */
    bool is_connected;    /**< false: the node could not be reached and --on-cloud-failure is local: every answer fails at once */
    char *token;
} cs_remote;

/**
 * Connect.
 *
 * @param model     its vocabulary is the node's
 * @param audit     an open output that gets every outgoing message; NULL: none. Must outlive the remote
 * @param[out] out  dispose of it in every case
 * @return an exit code
 */
int cs_remote_open(const cs_settings *settings, const costeer_model *model, cs_output *audit, cs_remote *out);
void cs_remote_dispose(cs_remote *remote);

/** The name of the node's model, "" when there is none. */
const char *cs_remote_name(const cs_remote *remote);

#endif
