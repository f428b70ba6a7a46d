/* The LLM on another machine: connecting to the node or engine that --cloud names, when the ensemble asks for it. */
#ifndef CS_CLI_REMOTE_H
#define CS_CLI_REMOTE_H

#include "cli/settings.h"
#include "util/buffer.h"
#include "util/file.h"

#include <costeer/cloud.h>

#define CS_REMOTE_NAME_MAX 256

/** All zero: nothing is connected to. */
typedef struct cs_remote {
    const cs_settings *settings;
    const costeer_model *model; /**< its vocabulary is the node's */
    cs_output *audit;           /**< an open output that gets every outgoing message; NULL: none */
    cs_buffer *sent;            /**< gets the same, as long as there is room; NULL: none */
    char *token;
    bool was_asked;     /**< a connection was tried */
    const char *engine; /**< what the cloud is: "vLLM", …; NULL: a node, or not reached */
    char name[CS_REMOTE_NAME_MAX];
} cs_remote;

/** Read the token, so that a bad one is found before a model is loaded. Dispose of it in every case. Returns an exit code. */
int cs_remote_prepare(const cs_settings *settings, cs_output *audit, cs_remote *out);
void cs_remote_dispose(cs_remote *remote);

/** A costeer_connect_fn; `user` is the remote, whose model is set by then. */
costeer_err cs_remote_connect(void *user, costeer_cloud **out, costeer_error *err);

/** Write a line where outgoing messages are written, if they are: what is no message itself. False when that failed. */
bool cs_remote_note(cs_remote *remote, const char *line);

/** The name of the node's model, "" when it has none, or before it was reached. */
const char *cs_remote_name(const cs_remote *remote);

/** Tokens of prompt and answer that a connected cloud takes; 0: not known. */
int32_t cs_remote_max_context(const cs_remote *remote, const costeer_cloud *cloud);

#endif
