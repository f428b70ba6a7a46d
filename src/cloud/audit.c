/*
 * Audit lines are made from the frame that the encoder was given, not from what the caller meant to send, so that the line and
 * the bytes cannot tell different things. Text that tokens spell may end inside a character: what is not UTF-8 becomes U+FFFD.
 */
#include "cloud/audit.h"

#include "cloud/api_dialect.h"
#include "util/buffer.h"
#include "util/error.h"
#include "util/utf8.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* A longest prompt of tokens that are as long as tokens get would be 512 MiB; nothing near that is sent. */
#define TEXT_MAX ((size_t)64 << 20)

/* ---- text -------------------------------------------------------------------------------------------------------- */

static bool append_tokens(const costeer_model *model, const int32_t *tokens, size_t n, cs_buffer *text)
{
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        char piece[COSTEER_PIECE_MAX];
        ok = cs_buffer_append(text, piece, costeer_model_token_to_piece(model, tokens[i], piece));
    }
    return ok;
}

/* A JSON string of bytes that may not be UTF-8. */
static json_t *make_text(const cs_buffer *text)
{
    cs_buffer clean = {.cap = 3 * TEXT_MAX};
    bool ok = true;
    for (size_t at = 0; ok && at < text->n_bytes;) {
        size_t n = 1;
        const bool is_valid = cs_utf8_next(text->bytes + at, text->n_bytes - at, &n) == CS_UTF8_VALID;
        ok = is_valid ? cs_buffer_append(&clean, text->bytes + at, n)
                      : cs_buffer_append(&clean, CS_UTF8_REPLACEMENT, CS_UTF8_REPLACEMENT_BYTES);
        at += n;
    }
    json_t *out = ok ? json_stringn(clean.n_bytes > 0 ? clean.bytes : "", clean.n_bytes) : NULL;
    cs_buffer_dispose(&clean);
    return out;
}

static json_t *make_ids(const int32_t *ids, size_t n)
{
    json_t *out = json_array();
    for (size_t i = 0; out != NULL && i < n; i++) {
        (void)json_array_append_new(out, json_integer(ids[i]));
    }
    return out;
}

/* ---- fields ------------------------------------------------------------------------------------------------------ */

/* A value that could not be made leaves the object without the key, which the check at the end finds. */
static void set_int(json_t *line, const char *key, int64_t value)
{
    (void)json_object_set_new(line, key, json_integer(value));
}

static void set_tokens(const cs_audit *audit, json_t *line, const int32_t *first, size_t n_first, const int32_t *second,
                       size_t n_second)
{
    cs_buffer text = {.cap = TEXT_MAX};
    if (append_tokens(audit->model, first, n_first, &text) && append_tokens(audit->model, second, n_second, &text)) {
        (void)json_object_set_new(line, "text", make_text(&text));
    }
    cs_buffer_dispose(&text);
    (void)json_object_set_new(line, "tokens", make_ids(first, n_first));
}

static void set_messages(json_t *line, const costeer_frame_open *open)
{
    cs_buffer text = {.cap = TEXT_MAX};
    bool ok = true;
    json_t *roles = json_array();
    json_t *sizes = json_array(); /* where a message ends in the text */
    for (size_t i = 0; ok && i < open->n_messages; i++) {
        const costeer_chat_message *m = &open->messages[i];
        ok = (i == 0 || cs_buffer_append(&text, "\n", 1)) && cs_buffer_append(&text, m->text, m->n_text) &&
             json_array_append_new(roles, json_stringn(m->role, m->n_role)) == 0 &&
             json_array_append_new(sizes, json_integer((json_int_t)m->n_text)) == 0;
    }
    if (ok) {
        (void)json_object_set_new(line, "text", make_text(&text));
    }
    (void)json_object_set_new(line, "roles", roles);
    (void)json_object_set_new(line, "sizes", sizes);
    cs_buffer_dispose(&text);
}

static void set_open(const cs_audit *audit, json_t *line, const costeer_frame_open *open)
{
    static const char *const modes[] = {"lockstep", "streamed", "drafted"};
    set_tokens(audit, line, open->prompt, open->n_prompt, open->accepted, open->n_accepted);
    if (open->n_messages > 0) {
        set_messages(line, open);
    }
    (void)json_object_set_new(line, "accepted", make_ids(open->accepted, open->n_accepted));
    (void)json_object_set_new(line, "half", json_boolean(open->half));
    (void)json_object_set_new(line, "mode", json_string(modes[open->mode]));
    set_int(line, "max_tokens", open->max_tokens);
    set_int(line, "position", (int64_t)open->n_accepted);
    set_int(line, "top_k", open->top_k);
    set_int(line, "window", open->window);
}

static void set_fields(const cs_audit *audit, json_t *line, const costeer_frame *frame)
{
    (void)json_object_set_new(line, "position", json_null());
    (void)json_object_set_new(line, "text", json_string(""));
    (void)json_object_set_new(line, "tokens", json_array());
    switch (frame->type) {
    case COSTEER_FRAME_OPEN:
        set_open(audit, line, &frame->as.open);
        break;
    case COSTEER_FRAME_COMMIT:
        set_int(line, "position", frame->as.commit.position);
        break;
    case COSTEER_FRAME_CORRECT:
        set_tokens(audit, line, &frame->as.correct.token, 1, NULL, 0);
        set_int(line, "position", frame->as.correct.position);
        set_int(line, "epoch", frame->as.correct.epoch);
        break;
    case COSTEER_FRAME_DRAFT:
        set_tokens(audit, line, frame->as.draft.tokens, frame->as.draft.n, NULL, 0);
        set_int(line, "position", frame->as.draft.position);
        break;
    case COSTEER_FRAME_DEEPEN:
        set_int(line, "position", frame->as.deepen.position);
        set_int(line, "epoch", frame->as.deepen.epoch);
        set_int(line, "top_k", frame->as.deepen.top_k);
        break;
    case COSTEER_FRAME_PING:
        (void)json_object_set_new(line, "reply", json_boolean(frame->as.ping.is_reply));
        set_int(line, "nonce", frame->as.ping.nonce);
        break;
    default:
        break;
    }
}

/* ---- lines ------------------------------------------------------------------------------------------------------- */

/* Write a line and free it. */
static costeer_err emit(const cs_audit *audit, json_t *line, costeer_error *err)
{
    char *text = line == NULL || json_object_get(line, "text") == NULL || json_object_get(line, "tokens") == NULL
                     ? NULL
                     : json_dumps(line, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(line);
    if (text == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "audit", "no memory for an audit line");
    }
    const bool written = audit->write(text, strlen(text), audit->user);
    free(text);
    return written ? COSTEER_OK
                   : cs_error_set(err, COSTEER_EABORTED, "audit", "the audit could not be written; nothing is sent without it");
}

costeer_err cs_audit_frame(const cs_audit *audit, const costeer_frame *frame, size_t n_bytes, size_t message_bytes,
                           costeer_error *err)
{
    if (audit->write == NULL) {
        return COSTEER_OK;
    }
    json_t *line = json_object();
    if (line != NULL) {
        (void)json_object_set_new(line, "kind", json_string(costeer_frame_name(frame->type)));
        set_int(line, "bytes", (int64_t)n_bytes);
        if (message_bytes > 0) {
            set_int(line, "message_bytes", (int64_t)message_bytes);
        }
        set_fields(audit, line, frame);
    }
    return emit(audit, line, err);
}

costeer_err cs_audit_answer(const cs_audit *audit, const int32_t *tokens, size_t n, costeer_error *err)
{
    if (audit->write == NULL || n == 0) {
        return COSTEER_OK;
    }
    json_t *line = json_object();
    if (line != NULL) {
        (void)json_object_set_new(line, "kind", json_string("answer"));
        (void)json_object_set_new(line, "position", json_null());
        set_int(line, "bytes", 0);
        set_tokens(audit, line, tokens, n, NULL, 0);
    }
    return emit(audit, line, err);
}

costeer_err cs_audit_connect(const cs_audit *audit, const cs_native_url *url, bool has_token, costeer_error *err)
{
    if (audit->write == NULL) {
        return COSTEER_OK;
    }
    json_t *line = json_object();
    if (line != NULL) {
        (void)json_object_set_new(line, "kind", json_string("connect"));
        (void)json_object_set_new(line, "host", json_string(url->host));
        (void)json_object_set_new(line, "path", json_string(url->path));
        (void)json_object_set_new(line, "position", json_null());
        (void)json_object_set_new(line, "subprotocol", json_string(COSTEER_WIRE_SUBPROTOCOL));
        (void)json_object_set_new(line, "text", json_string(""));
        (void)json_object_set_new(line, "tls", json_boolean(url->is_tls));
        (void)json_object_set_new(line, "token_shown", json_boolean(has_token));
        (void)json_object_set_new(line, "tokens", json_array());
        set_int(line, "bytes", 0);
        set_int(line, "port", url->port);
    }
    return emit(audit, line, err);
}

/* ---- engines ----------------------------------------------------------------------------------------------------- */

static json_t *make_request_line(const char *kind, const char *path, size_t n_bytes)
{
    json_t *line = json_object();
    if (line != NULL) {
        (void)json_object_set_new(line, "kind", json_string(kind));
        (void)json_object_set_new(line, "path", json_string(path));
        (void)json_object_set_new(line, "position", json_null());
        (void)json_object_set_new(line, "tokens", json_array());
        set_int(line, "bytes", (int64_t)n_bytes);
        set_int(line, "message_bytes", (int64_t)n_bytes);
    }
    return line;
}

costeer_err cs_audit_check(const cs_audit *audit, const char *path, const char *text, size_t n_bytes, costeer_error *err)
{
    if (audit->write == NULL) {
        return COSTEER_OK;
    }
    json_t *line = make_request_line("check", path, n_bytes);
    (void)json_object_set_new(line, "text", json_string(text));
    return emit(audit, line, err);
}

costeer_err cs_audit_request(const cs_audit *audit, const char *path, const char *session, const cs_api_ask *ask, size_t n_prompt,
                             size_t n_bytes, costeer_error *err)
{
    if (audit->write == NULL) {
        return COSTEER_OK;
    }
    const size_t n_answer = ask->n_tokens - n_prompt - (size_t)ask->n_drafts;
    const int32_t *answer = ask->tokens + n_prompt;
    json_t *line = make_request_line("request", path, n_bytes);
    set_tokens(audit, line, ask->tokens, n_prompt, answer, n_answer);
    (void)json_object_set_new(line, "accepted", make_ids(answer, n_answer));
    (void)json_object_set_new(line, "session", json_string(session));
    (void)json_object_set_new(line, "stream", json_boolean(ask->is_stream));
    set_int(line, "max_tokens", ask->n_predict);
    set_int(line, "position", (int64_t)n_answer);
    set_int(line, "top_k", ask->top_k);
    const costeer_err code = emit(audit, line, err);
    if (code != COSTEER_OK || ask->n_drafts == 0) {
        return code;
    }
    json_t *drafts = json_pack("{s:s, s:i, s:I}", "kind", "draft", "bytes", 0, "position", (json_int_t)n_answer);
    set_tokens(audit, drafts, answer + n_answer, (size_t)ask->n_drafts, NULL, 0);
    return emit(audit, drafts, err);
}
