/* A conversation from a file: the messages before the query, and the query. */
#ifndef CS_CLI_MESSAGES_H
#define CS_CLI_MESSAGES_H

#include <costeer/prompt.h>
#include <jansson.h>

typedef struct cs_messages {
    json_t *list;           /**< the file; all texts are in it */
    const char *system;     /**< NULL: none */
    costeer_message *turns; /**< [n_turns] */
    size_t n_turns;
    int32_t *ids; /**< all tokens of the file's messages, one list after the other */
    const char *query;
} cs_messages;

/**
 * Read a JSON array of objects with role and content: an optional system message, then user and assistant, a user's last. An
 * assistant's may have tokens: {"vocab": vocab_sha256, "ids": […]}.
 *
 * @param may_be_answered  the last one may be the assistant's: then there is no query
 * @param[out] out  dispose of it in every case
 * @return an exit code; the message names the file and the message, and shows none of the text
 */
int cs_messages_read(const char *path, bool may_be_answered, cs_messages *out);

/**
 * Check that tokens which are of a model's vocabulary spell their messages.
 *
 * @param model  NULL: nothing to check
 * @return an exit code; the message names the file and the message
 */
int cs_messages_check_tokens(const cs_messages *messages, const char *path, const costeer_model *model);

void cs_messages_dispose(cs_messages *messages);

#endif
