/* Reading what --audit wrote: what was sent, how much of it, and whether it holds anything that the protocol has no place for. */
#ifndef CS_CLI_AUDIT_FILE_H
#define CS_CLI_AUDIT_FILE_H

#include "util/buffer.h"

#include <jansson.h>
#include <stdint.h>

/** Kinds of messages that a device sends. */
enum {
    CS_AUDIT_CONNECT, /**< the handshake that begins a connection */
    CS_AUDIT_OPEN,
    CS_AUDIT_COMMIT,
    CS_AUDIT_CORRECT,
    CS_AUDIT_DRAFT,
    CS_AUDIT_DEEPEN,
    CS_AUDIT_CLOSE,
    CS_AUDIT_ERROR,
    CS_AUDIT_PING,
    CS_AUDIT_CHECK,      /**< what an engine is asked before the first token, and spare connections */
    CS_AUDIT_COMPLETION, /**< "request": prompt and answer so far, to an engine */
    CS_AUDIT_ANSWER,     /**< no message: all tokens of an answer, when it ends */
    CS_AUDIT_SELECTION,  /**< no message: which parts of a context an answer is given */
    CS_AUDIT_KINDS
};

/** Where a text stood. */
enum {
    CS_AUDIT_REQUEST,   /**< all messages of a request, and the other texts of connecting and opening */
    CS_AUDIT_EMITTED,   /**< answers: all of one that ended, else corrections and drafts that were accepted */
    CS_AUDIT_WITHDRAWN, /**< drafts that a correction replaced */
    CS_AUDIT_UNSETTLED, /**< drafts that were neither accepted nor replaced when the answer ended, or was opened again */
    CS_AUDIT_PLACES
};

typedef struct cs_audit_kind {
    int64_t n;
    int64_t n_bytes;
} cs_audit_kind;

/** Where a request's text ends, and how much of CS_AUDIT_EMITTED had been said before it. */
typedef struct cs_audit_part {
    size_t end;
    size_t n_said;
} cs_audit_part;

/** What an audit file holds; all-zero before cs_audit_file_read(). */
typedef struct cs_audit_file {
    cs_audit_kind kinds[CS_AUDIT_KINDS];
    int64_t n_messages; /**< WebSocket messages, of which one may hold several of the kinds; HTTP requests */
    int64_t n_bytes;    /**< of them, the headers of WebSocket included */
    int64_t n_answers;
    int64_t n_reopened; /**< taken up again after a lost connection */
    int64_t n_prompt_tokens;
    int64_t n_tokens; /**< of answers, that were told: corrections and drafts */
    int64_t n_drafts; /**< tokens */
    int64_t n_withdrawn;
    int64_t n_unsettled;
    cs_buffer texts[CS_AUDIT_PLACES]; /**< parts that do not follow each other have a NUL between them */
    cs_buffer parts;                  /**< of texts[CS_AUDIT_REQUEST], a cs_audit_part each */
    json_t *selections;               /**< the lines CS_AUDIT_SELECTION */
} cs_audit_file;

/** "open", "commit", …, as in the file. */
const char *cs_audit_kind_name(int kind);

/** "request", "emitted", "withdrawn" or "unsettled". */
const char *cs_audit_place_name(int place);

/**
 * Read and check a file.
 *
 * @param[out] out  dispose of it in every case
 * @return an exit code; the message gives file and line and shows nothing of the texts
 */
int cs_audit_file_read(const char *path, cs_audit_file *out);

/** Read and check the text of such a file; `name` for messages. The same otherwise. */
int cs_audit_text_read(const char *name, const char *text, size_t n_bytes, cs_audit_file *out);
void cs_audit_file_dispose(cs_audit_file *audit);

#endif
