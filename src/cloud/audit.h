/*
 * The audit line: what a message to a cloud holds, one JSON object per frame or request, for a person or `costeer audit` to
 * check.
 *
 * Every line has kind (the frame's name, or "connect"), position (null where the frame has none), tokens (ids, in the order
 * sent), text (what they spell; of chat messages, their texts) and bytes (of the frame); the first frame of a message also has
 * message_bytes, WebSocket header included. Then the protocol's fields of that kind: accepted, epoch, half, max_tokens, mode,
 * nonce, reply, roles, sizes, top_k, window. Keys are sorted. A line of the kind answer is no message: it has the whole answer
 * when it ends, so that what a later request repeats of it is known. Requests to an engine (api_send.c) are of the kinds request,
 * whose text is that of prompt and answer, and check; their bytes are those of the body.
 */
#ifndef CS_CLOUD_AUDIT_H
#define CS_CLOUD_AUDIT_H

#include "cloud/native_url.h"

#include <costeer/cloud.h>

struct cs_api_ask;

/** Where lines go; `write` NULL: nowhere. */
typedef struct cs_audit {
    costeer_audit_fn write;
    void *user;
    const costeer_model *model; /**< for the spelling of tokens */
} cs_audit;

/**
 * Write the line of a frame that is about to be sent.
 *
 * @param n_bytes        of the frame
 * @param message_bytes  of the whole message, for its first frame; else 0
 * @return COSTEER_OK; COSTEER_EABORTED: the callback refused; COSTEER_ENOMEM
 */
costeer_err cs_audit_frame(const cs_audit *audit, const costeer_frame *frame, size_t n_bytes, size_t message_bytes,
                           costeer_error *err);

/** Write the line of an answer that has ended: its tokens, which are no message; the cloud has chosen them or was told. */
costeer_err cs_audit_answer(const cs_audit *audit, const int32_t *tokens, size_t n, costeer_error *err);

/** Write the line of a WebSocket handshake: the URL, and whether a bearer token is shown, never which. */
costeer_err cs_audit_connect(const cs_audit *audit, const cs_native_url *url, bool has_token, costeer_error *err);

/**
 * Write the line of a completion request to an engine: the public prompt and the answer so far, a line of its own for drafts.
 *
 * @param session   what the request says that it belongs to (X-Session-ID)
 * @param n_prompt  tokens of `ask` that are the prompt; the rest is the answer
 * @param n_bytes   of the body
 */
costeer_err cs_audit_request(const cs_audit *audit, const char *path, const char *session, const struct cs_api_ask *ask,
                             size_t n_prompt, size_t n_bytes, costeer_error *err);

/** Write the line of another request to an engine: a check with a text of our own, or a GET, whose text is "". */
costeer_err cs_audit_check(const cs_audit *audit, const char *path, const char *text, size_t n_bytes, costeer_error *err);

#endif
