/*
 * The protocol's frames: each one's fields in their order, for writing and for reading at once, and the two entry points.
 *
 * docs/protocol.md is the specification. This is the only code that makes bytes for a cloud node or takes bytes from one, so what
 * leaves a device can be checked here: token ids, positions and counts, and nothing that depends on the context.
 */
#include "cloud/wire_io.h"

#include <string.h>

#define HASH_BYTES 32

/* Bits of an open's second byte. */
#define OPEN_HALF     0x01U
#define OPEN_MESSAGES 0x02U

/* ---- frames ------------------------------------------------------------------------------------------------------ */

static bool position(cs_wire_io *io, int32_t *value)
{
    return cs_wire_int32(io, "position", 0, io->max_context - 1, value);
}

/* The version stands first and is checked first: what follows it may change with it. */
static bool hello(cs_wire_io *io, costeer_frame_hello *f)
{
    return cs_wire_int32(io, "version", COSTEER_WIRE_VERSION, COSTEER_WIRE_VERSION, &f->version) &&
           cs_wire_int32(io, "n_vocab", 1, COSTEER_WIRE_VOCAB_MAX, &f->n_vocab) &&
           cs_wire_bytes(io, "vocab_sha256", f->vocab_sha256, HASH_BYTES) &&
           cs_wire_int32(io, "max_context", 1, COSTEER_WIRE_CONTEXT_MAX, &f->max_context) &&
           cs_wire_int32(io, "max_window", 0, COSTEER_WIRE_WINDOW_MAX, &f->max_window) &&
           cs_wire_int32(io, "max_drafts", 0, COSTEER_WIRE_DRAFTS_MAX, &f->max_drafts) &&
           cs_wire_text(io, "name", 0, COSTEER_WIRE_NAME_MAX, CS_WIRE_LINE, &f->name, &f->n_name);
}

static bool open_messages(cs_wire_io *io, costeer_frame_open *f)
{
    if (io->in != NULL && io->messages == NULL) {
        return cs_wire_fail(io, "chat messages are not taken");
    }
    if (io->in == NULL && f->messages == NULL) {
        return cs_wire_fail(io, "the list of messages is NULL");
    }
    if (!cs_wire_count(io, "messages", 1, COSTEER_WIRE_CHAT_MAX, &f->n_messages)) {
        return false;
    }
    size_t room = COSTEER_WIRE_TEXT_MAX;
    for (size_t i = 0; i < f->n_messages; i++) {
        costeer_chat_message m = {.role = NULL};
        if (io->in == NULL) {
            m = f->messages[i];
        }
        if (!cs_wire_text(io, "role", 1, COSTEER_WIRE_ROLE_MAX, CS_WIRE_LINE, &m.role, &m.n_role) ||
            !cs_wire_text(io, "text", 0, room, CS_WIRE_TEXT, &m.text, &m.n_text)) {
            return false;
        }
        room -= m.n_text;
        if (io->in != NULL) {
            io->messages[i] = m;
        }
    }
    if (io->in != NULL) {
        f->messages = io->messages;
    }
    return true;
}

static bool open_window(cs_wire_io *io, costeer_frame_open *f)
{
    const bool streamed = f->mode == COSTEER_MODE_STREAMED;
    return cs_wire_int32(io, "window", streamed ? 1 : 0, streamed ? COSTEER_WIRE_WINDOW_MAX : 0, &f->window);
}

static bool open_frame(cs_wire_io *io, costeer_frame_open *f)
{
    uint32_t mode = (uint32_t)f->mode;
    uint32_t flags = (f->half ? OPEN_HALF : 0U) | (f->n_messages > 0 ? OPEN_MESSAGES : 0U);
    if (io->in == NULL && (f->n_prompt > 0) == (f->n_messages > 0)) {
        return cs_wire_fail(io, "give either prompt tokens or messages");
    }
    if (!cs_wire_byte(io, "mode", COSTEER_MODE_LOCKSTEP, COSTEER_MODE_DRAFTED, &mode) ||
        !cs_wire_byte(io, "flags", 0, OPEN_HALF | OPEN_MESSAGES, &flags)) {
        return false;
    }
    f->mode = (costeer_cloud_mode)mode;
    f->half = (flags & OPEN_HALF) != 0;
    const size_t max_context = (size_t)io->max_context;
    if (!open_window(io, f) || !cs_wire_int32(io, "top_k", 0, io->n_vocab, &f->top_k) ||
        !cs_wire_int32(io, "max_tokens", 1, COSTEER_WIRE_CONTEXT_MAX, &f->max_tokens)) {
        return false;
    }
    if ((flags & OPEN_MESSAGES) != 0) {
        if (!open_messages(io, f)) {
            return false;
        }
    } else if (!cs_wire_count(io, "prompt", 1, max_context, &f->n_prompt) ||
               !cs_wire_ids(io, "prompt token", f->n_prompt, &f->prompt)) {
        return false;
    }
    const size_t left = max_context - f->n_prompt;
    const size_t most = (size_t)f->max_tokens - 1;
    return cs_wire_count(io, "accepted", 0, most < left ? most : left, &f->n_accepted) &&
           cs_wire_ids(io, "accepted token", f->n_accepted, &f->accepted);
}

static bool commit(cs_wire_io *io, costeer_frame_commit *f)
{
    return position(io, &f->position);
}

static bool correct(cs_wire_io *io, costeer_frame_correct *f)
{
    return cs_wire_int32(io, "epoch", 1, INT32_MAX, &f->epoch) && position(io, &f->position) &&
           cs_wire_int32(io, "token", 0, io->n_vocab - 1, &f->token);
}

static bool draft(cs_wire_io *io, costeer_frame_draft *f)
{
    if (!position(io, &f->position)) {
        return false;
    }
    const size_t left = (size_t)(io->max_context - f->position);
    return cs_wire_count(io, "drafts", 1, left < COSTEER_WIRE_DRAFTS_MAX ? left : COSTEER_WIRE_DRAFTS_MAX, &f->n) &&
           cs_wire_ids(io, "draft", f->n, &f->tokens);
}

static bool deepen(cs_wire_io *io, costeer_frame_deepen *f)
{
    return cs_wire_int32(io, "epoch", 0, INT32_MAX, &f->epoch) && position(io, &f->position) &&
           cs_wire_int32(io, "top_k", 0, io->n_vocab, &f->top_k);
}

/* A device has no account to give; three zeros, so that the frame has one layout. */
static bool close_frame(cs_wire_io *io, costeer_frame_close *f)
{
    if (!cs_wire_uint32(io, "n_steps", &f->n_steps) || !cs_wire_uint32(io, "n_wasted", &f->n_wasted) ||
        !cs_wire_uint32(io, "n_rollbacks", &f->n_rollbacks)) {
        return false;
    }
    return io->in == NULL || io->from_node || (f->n_steps == 0 && f->n_wasted == 0 && f->n_rollbacks == 0) ||
           cs_wire_fail(io, "a device sends zeros");
}

static bool error_frame(cs_wire_io *io, costeer_frame_error *f)
{
    uint32_t code = (uint32_t)f->code;
    if (!cs_wire_byte(io, "code", COSTEER_WIRE_EPROTOCOL, COSTEER_WIRE_ERATE, &code)) {
        return false;
    }
    f->code = (costeer_wire_error)code;
    return cs_wire_uint32(io, "retry_after_ms", &f->retry_after_ms) &&
           cs_wire_text(io, "message", 0, COSTEER_WIRE_MESSAGE_MAX, CS_WIRE_LINE, &f->message, &f->n_message);
}

static bool ping(cs_wire_io *io, costeer_frame_ping *f)
{
    uint32_t is_reply = f->is_reply ? 1 : 0;
    if (!cs_wire_byte(io, "is_reply", 0, 1, &is_reply)) {
        return false;
    }
    f->is_reply = is_reply != 0;
    return cs_wire_fixed32(io, "nonce", &f->nonce);
}

/* ---- any frame --------------------------------------------------------------------------------------------------- */

/* Without a vocabulary neither ids nor entries can be read. */
static bool needs_vocab(costeer_frame_type type)
{
    return type != COSTEER_FRAME_HELLO && type != COSTEER_FRAME_ERROR && type != COSTEER_FRAME_PING;
}

/* The fields behind the type. */
static bool fields(cs_wire_io *io, costeer_frame *frame)
{
    if (needs_vocab(frame->type) && (io->n_vocab < 1 || io->n_vocab > COSTEER_WIRE_VOCAB_MAX)) {
        return cs_wire_fail(io, "comes before the vocabulary is known");
    }
    switch (frame->type) {
    case COSTEER_FRAME_HELLO:
        return hello(io, &frame->as.hello);
    case COSTEER_FRAME_OPEN:
        return open_frame(io, &frame->as.open);
    case COSTEER_FRAME_DISTRIBUTION:
        return cs_wire_distribution(io, &frame->as.distribution);
    case COSTEER_FRAME_COMMIT:
        return commit(io, &frame->as.commit);
    case COSTEER_FRAME_CORRECT:
        return correct(io, &frame->as.correct);
    case COSTEER_FRAME_DRAFT:
        return draft(io, &frame->as.draft);
    case COSTEER_FRAME_DEEPEN:
        return deepen(io, &frame->as.deepen);
    case COSTEER_FRAME_CLOSE:
        return close_frame(io, &frame->as.close);
    case COSTEER_FRAME_ERROR:
        return error_frame(io, &frame->as.error);
    case COSTEER_FRAME_PING:
        return ping(io, &frame->as.ping);
    }
    return cs_wire_fail(io, "type %u is unknown", (unsigned)frame->type);
}

/* Who may send it. */
static bool is_allowed(costeer_frame_type type, bool from_node)
{
    switch (type) {
    case COSTEER_FRAME_HELLO:
    case COSTEER_FRAME_DISTRIBUTION:
        return from_node;
    case COSTEER_FRAME_OPEN:
    case COSTEER_FRAME_COMMIT:
    case COSTEER_FRAME_CORRECT:
    case COSTEER_FRAME_DRAFT:
    case COSTEER_FRAME_DEEPEN:
        return !from_node;
    case COSTEER_FRAME_CLOSE:
    case COSTEER_FRAME_ERROR:
    case COSTEER_FRAME_PING:
        return true;
    }
    return true; /* unknown: said so by its fields */
}

costeer_err costeer_wire_encode(const costeer_frame *frame, int32_t n_vocab, uint8_t *out, size_t capacity, size_t *n,
                                costeer_error *err)
{
    if (frame == NULL || n == NULL || *n > capacity || (out == NULL && capacity > 0)) {
        return cs_error_set(err, COSTEER_EINVAL, "wire", "encode: a frame, room and a length within it are needed");
    }
    cs_wire_io io = {.out = out,
                     .at = *n,
                     .n = capacity,
                     .frame = costeer_frame_name(frame->type),
                     .n_vocab = n_vocab,
                     .max_context = COSTEER_WIRE_CONTEXT_MAX,
                     .err = err};
    costeer_frame copy = *frame; /* the fields' functions work both ways */
    uint32_t type = (uint32_t)frame->type;
    if (!cs_wire_byte(&io, "type", COSTEER_FRAME_HELLO, COSTEER_FRAME_PING, &type) || !fields(&io, &copy)) {
        return io.status;
    }
    *n = io.at;
    return COSTEER_OK;
}

costeer_err costeer_wire_decode(costeer_wire_reader *reader, const uint8_t *bytes, size_t n, costeer_frame *out, size_t *n_read,
                                costeer_error *err)
{
    if (bytes == NULL || n == 0) {
        return cs_error_set(err, COSTEER_ECLOUD, "wire", "a message has no frame");
    }
    memset(out, 0, sizeof *out);
    out->type = (costeer_frame_type)bytes[0];
    const bool is_bounded = reader->max_context > 0 && reader->max_context < COSTEER_WIRE_CONTEXT_MAX;
    cs_wire_io io = {.in = bytes,
                     .at = 1,
                     .n = n,
                     .frame = costeer_frame_name(out->type),
                     .from_node = reader->from_node,
                     .n_vocab = reader->n_vocab,
                     .max_context = is_bounded ? reader->max_context : COSTEER_WIRE_CONTEXT_MAX,
                     .ids = reader->ids,
                     .max_ids = reader->max_ids,
                     .values = reader->values,
                     .max_values = reader->max_values,
                     .seen = reader->seen,
                     .messages = reader->messages,
                     .err = err};
    if (!is_allowed(out->type, reader->from_node)) {
        (void)cs_wire_fail(&io, "is not a frame of a %s", reader->from_node ? "node" : "device");
        return io.status;
    }
    if (!fields(&io, out)) {
        return io.status;
    }
    *n_read = io.at;
    return COSTEER_OK;
}

/* ---- sizes and names --------------------------------------------------------------------------------------------- */

static size_t at_most(size_t n, size_t max)
{
    return n < max ? n : max;
}

static size_t open_size_max(const costeer_frame_open *f, int32_t n_vocab)
{
    const size_t n_tokens = at_most(f->n_prompt, COSTEER_WIRE_CONTEXT_MAX) + at_most(f->n_accepted, COSTEER_WIRE_CONTEXT_MAX);
    size_t size = 1 + 2 + 5 * 5 + cs_wire_ids_bytes(n_tokens, n_vocab) + 1; /* two lists: one more byte of padding */
    for (size_t i = 0; i < at_most(f->n_messages, COSTEER_WIRE_CHAT_MAX); i++) {
        size +=
            5 + 5 + at_most(f->messages[i].n_role, COSTEER_WIRE_ROLE_MAX) + at_most(f->messages[i].n_text, COSTEER_WIRE_TEXT_MAX);
    }
    return size;
}

size_t costeer_wire_size_max(const costeer_frame *frame, int32_t n_vocab)
{
    if (n_vocab < 0 || n_vocab > COSTEER_WIRE_VOCAB_MAX) {
        n_vocab = n_vocab < 0 ? 0 : COSTEER_WIRE_VOCAB_MAX; /* it will be refused */
    }
    switch (frame->type) {
    case COSTEER_FRAME_HELLO:
        return 1 + 6 * 5 + HASH_BYTES + at_most(frame->as.hello.n_name, COSTEER_WIRE_NAME_MAX);
    case COSTEER_FRAME_OPEN:
        return open_size_max(&frame->as.open, n_vocab);
    case COSTEER_FRAME_DISTRIBUTION:
        return cs_wire_distribution_size_max(&frame->as.distribution, n_vocab);
    case COSTEER_FRAME_DRAFT:
        return 1 + 5 + 5 + cs_wire_ids_bytes(at_most(frame->as.draft.n, COSTEER_WIRE_DRAFTS_MAX), n_vocab);
    case COSTEER_FRAME_ERROR:
        return 1 + 1 + 5 + 5 + at_most(frame->as.error.n_message, COSTEER_WIRE_MESSAGE_MAX);
    case COSTEER_FRAME_COMMIT:
    case COSTEER_FRAME_CORRECT:
    case COSTEER_FRAME_DEEPEN:
    case COSTEER_FRAME_CLOSE:
    case COSTEER_FRAME_PING:
        break;
    }
    return 1 + 3 * 5; /* three numbers at most */
}

const char *costeer_frame_name(costeer_frame_type type)
{
    static const char *const names[] = {
        [COSTEER_FRAME_HELLO] = "hello",   [COSTEER_FRAME_OPEN] = "open",       [COSTEER_FRAME_DISTRIBUTION] = "distribution",
        [COSTEER_FRAME_COMMIT] = "commit", [COSTEER_FRAME_CORRECT] = "correct", [COSTEER_FRAME_DRAFT] = "draft",
        [COSTEER_FRAME_DEEPEN] = "deepen", [COSTEER_FRAME_CLOSE] = "close",     [COSTEER_FRAME_ERROR] = "error",
        [COSTEER_FRAME_PING] = "ping"};
    const size_t i = (size_t)type;
    return i < sizeof names / sizeof names[0] && names[i] != NULL ? names[i] : "unknown";
}

const char *costeer_wire_error_name(costeer_wire_error code)
{
    static const char *const names[] = {
        [COSTEER_WIRE_EPROTOCOL] = "protocol", [COSTEER_WIRE_EBUSY] = "busy",         [COSTEER_WIRE_ETOOLONG] = "too long",
        [COSTEER_WIRE_EDRAINING] = "draining", [COSTEER_WIRE_EINTERNAL] = "internal", [COSTEER_WIRE_ETIMEDOUT] = "timed out",
        [COSTEER_WIRE_ERATE] = "rate"};
    const size_t i = (size_t)code;
    return i < sizeof names / sizeof names[0] && names[i] != NULL ? names[i] : "unknown";
}
