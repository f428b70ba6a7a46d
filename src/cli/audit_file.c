/*
 * An audit file is JSON lines, one per message. The table below is the whole of what may stand in them: a kind or a field that is
 * not in it, or has another type, is an error that names its line. The file is written by the device from the bytes that it sends
 * (see costeer_audit_fn), so this is also the list of all that a cloud can get: a node in frames, an engine in requests and
 * checks.
 *
 * An answer that has ended has a line of its own with all of its tokens, those that the cloud chose too: what a later request
 * repeats of it is no news to the cloud.
 *
 * A draft is settled by what comes after it: a commit or a later message accepts its beginning, a correction withdraws the rest.
 */
#include "cli/audit_file.h"

#include "cli/audit_parts.h"
#include "cli/message.h"
#include "cli/signals.h"
#include "util/file.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BYTES_MAX ((size_t)1 << 30)

/* ---- what may be in a line --------------------------------------------------------------------------------------- */

typedef enum field_type { NOTHING, INTEGER, BOOLEAN, TEXT, TEXTS, TOKENS } field_type;

typedef struct field {
    const char *name;
    field_type type;
    bool is_needed;
} field;

#define FIELDS_MAX 12

static const field common_fields[] = {{"kind", TEXT, true},
                                      {"bytes", INTEGER, true},
                                      {"message_bytes", INTEGER, false},
                                      {"tokens", TOKENS, true},
                                      {"text", TEXT, true}};
#define N_COMMON (sizeof common_fields / sizeof common_fields[0])

typedef struct kind {
    const char *name;
    bool has_text; /* else tokens and text must be empty */
    field fields[FIELDS_MAX];
} kind;

#define NO_POSITION               \
    {                             \
        "position", NOTHING, true \
    }
#define A_POSITION                \
    {                             \
        "position", INTEGER, true \
    }

static const kind kinds[CS_AUDIT_KINDS] = {
    [CS_AUDIT_CONNECT] = {"connect",
                          false,
                          {NO_POSITION,
                           {"host", TEXT, true},
                           {"port", INTEGER, true},
                           {"path", TEXT, true},
                           {"subprotocol", TEXT, true},
                           {"tls", BOOLEAN, true},
                           {"token_shown", BOOLEAN, true}}},
    [CS_AUDIT_OPEN] = {"open",
                       true,
                       {A_POSITION,
                        {"accepted", TOKENS, true},
                        {"half", BOOLEAN, true},
                        {"max_tokens", INTEGER, true},
                        {"mode", TEXT, true},
                        {"roles", TEXTS, false},
                        {"sizes", TOKENS, false},
                        {"top_k", INTEGER, true},
                        {"window", INTEGER, true}}},
    [CS_AUDIT_COMMIT] = {"commit", false, {A_POSITION}},
    [CS_AUDIT_CORRECT] = {"correct", true, {A_POSITION, {"epoch", INTEGER, true}}},
    [CS_AUDIT_DRAFT] = {"draft", true, {A_POSITION}},
    [CS_AUDIT_DEEPEN] = {"deepen", false, {A_POSITION, {"epoch", INTEGER, true}, {"top_k", INTEGER, true}}},
    [CS_AUDIT_CLOSE] = {"close", false, {NO_POSITION}},
    [CS_AUDIT_ERROR] = {"error", false, {NO_POSITION}},
    [CS_AUDIT_PING] = {"ping", false, {NO_POSITION, {"nonce", INTEGER, true}, {"reply", BOOLEAN, true}}},
    [CS_AUDIT_CHECK] = {"check", true, {NO_POSITION, {"path", TEXT, true}}},
    [CS_AUDIT_COMPLETION] = {"request",
                             true,
                             {A_POSITION,
                              {"accepted", TOKENS, true},
                              {"max_tokens", INTEGER, true},
                              {"path", TEXT, true},
                              {"session", TEXT, true},
                              {"stream", BOOLEAN, true},
                              {"top_k", INTEGER, true}}},
    [CS_AUDIT_ANSWER] = {"answer", true, {NO_POSITION}},
    [CS_AUDIT_SELECTION] = {"selection",
                            false,
                            {NO_POSITION, {"context", TEXT, true}, {"parts", TOKENS, true}, {"used", TOKENS, true}}},
};

const char *cs_audit_kind_name(int which)
{
    return kinds[which].name;
}

const char *cs_audit_place_name(int place)
{
    static const char *const names[CS_AUDIT_PLACES] = {"request", "emitted", "withdrawn", "unsettled"};
    return names[place];
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* A draft whose fate is not known yet. */
typedef struct live_draft {
    int64_t position;
    int64_t n;        /* tokens; 0: there is none */
    const char *text; /* in the line's object */
    size_t n_bytes;
    json_t *line; /* owned */
} live_draft;

typedef struct reader {
    const char *name;
    size_t line;
    cs_audit_file *audit;
    live_draft draft;
    int64_t next_position; /* behind what was emitted last */
    char session[64];      /* of the last request to an engine */
    int64_t n_told;        /* tokens of its answer that were told so far */
    cs_buffer told;        /* and their text */
    cs_buffer request;     /* text of the last answer's first open */
    size_t answer_at;      /* where this answer begins in what was emitted */
    bool no_memory;
} reader;

static int damaged(const reader *r, const char *what, const char *which)
{
    return cs_fail(CS_EXIT_INPUT, "%s:%zu: %s%s", r->name, r->line, what, which);
}

static bool is_whole(const json_t *value, json_int_t max)
{
    return json_is_integer(value) && json_integer_value(value) >= 0 && json_integer_value(value) <= max;
}

static bool is_list(json_t *value, bool of_texts)
{
    size_t i;
    json_t *item;
    json_array_foreach(value, i, item)
    {
        if (of_texts ? !json_is_string(item) : !is_whole(item, INT32_MAX)) {
            return false;
        }
    }
    return json_is_array(value);
}

static bool has_type(json_t *value, field_type type)
{
    switch (type) {
    case NOTHING:
        return json_is_null(value);
    case INTEGER:
        return is_whole(value, UINT32_MAX);
    case BOOLEAN:
        return json_is_boolean(value);
    case TEXT:
        return json_is_string(value);
    case TEXTS:
    case TOKENS:
        return is_list(value, type == TEXTS);
    }
    return false;
}

static const field *find_field(const field *fields, size_t n, const char *name)
{
    for (size_t i = 0; i < n && fields[i].name != NULL; i++) {
        if (strcmp(fields[i].name, name) == 0) {
            return &fields[i];
        }
    }
    return NULL;
}

/* A name may be anything when the file is not ours, so only one that could be a field's is shown. */
static const char *shown(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz_");
    return n == strlen(name) && n <= 24 ? name : "(a name that no field has)";
}

static int check_needed(const reader *r, const json_t *line, const field *fields, size_t n)
{
    for (size_t i = 0; i < n && fields[i].name != NULL; i++) {
        if (fields[i].is_needed && json_object_get(line, fields[i].name) == NULL) {
            return damaged(r, "lacks the field ", fields[i].name);
        }
    }
    return CS_EXIT_OK;
}

/* Every field is known and has its type; those that are needed are there. */
static int check_fields(const reader *r, json_t *line, const field *fields)
{
    const char *key;
    json_t *value;
    json_object_foreach(line, key, value)
    {
        const field *found = find_field(fields, FIELDS_MAX, key);
        found = found != NULL ? found : find_field(common_fields, N_COMMON, key);
        if (found == NULL) {
            return damaged(r, "holds a field that the protocol does not have: ", shown(key));
        }
        if (!has_type(value, found->type)) {
            return damaged(r, "holds a value of a wrong type: ", found->name);
        }
    }
    int exit_code = check_needed(r, line, common_fields, N_COMMON);
    return exit_code == CS_EXIT_OK ? check_needed(r, line, fields, FIELDS_MAX) : exit_code;
}

/* Sets *which to the kind. */
static int check_line(const reader *r, json_t *line, int *which)
{
    const char *name = json_string_value(json_object_get(line, "kind"));
    if (name == NULL) {
        return damaged(r, "is no JSON object with a kind", "");
    }
    for (*which = 0; *which < CS_AUDIT_KINDS && strcmp(kinds[*which].name, name) != 0;) {
        ++*which;
    }
    if (*which == CS_AUDIT_KINDS) {
        return damaged(r, "no message that a device sends is of the kind ", shown(name));
    }
    int exit_code = check_fields(r, line, kinds[*which].fields);
    bool is_empty =
        json_array_size(json_object_get(line, "tokens")) == 0 && json_string_length(json_object_get(line, "text")) == 0;
    if (exit_code == CS_EXIT_OK && !kinds[*which].has_text && !is_empty) {
        return damaged(r, "holds tokens or text, which this kind has not: ", kinds[*which].name);
    }
    if (exit_code == CS_EXIT_OK && *which == CS_AUDIT_SELECTION &&
        !(cs_audit_places_are_right(json_object_get(line, "parts")) &&
          cs_audit_places_are_right(json_object_get(line, "used")))) {
        return damaged(r, "names places that are none", "");
    }
    return exit_code;
}

/* ---- adding up --------------------------------------------------------------------------------------------------- */

static void append(reader *r, int place, const char *bytes, size_t n_bytes, bool follows)
{
    cs_buffer *texts = &r->audit->texts[place];
    bool ok = follows || texts->n_bytes == 0 || cs_buffer_append(texts, "", 1);
    r->no_memory = r->no_memory || !ok || !cs_buffer_append(texts, bytes, n_bytes);
}

static void append_request(reader *r, const char *bytes, size_t n_bytes)
{
    append(r, CS_AUDIT_REQUEST, bytes, n_bytes, false);
    const cs_audit_part part = {.end = r->audit->texts[CS_AUDIT_REQUEST].n_bytes,
                                .n_said = r->audit->texts[CS_AUDIT_EMITTED].n_bytes};
    r->no_memory = r->no_memory || !cs_buffer_append(&r->audit->parts, (const char *)&part, sizeof part);
}

static void append_json(reader *r, const json_t *text)
{
    append_request(r, json_string_value(text), json_string_length(text));
}

static void emit(reader *r, int64_t position, int64_t n_tokens, const char *bytes, size_t n_bytes)
{
    append(r, CS_AUDIT_EMITTED, bytes, n_bytes, position == r->next_position);
    r->next_position = position + n_tokens;
}

static void begin_answer(reader *r)
{
    r->audit->n_answers++;
    r->answer_at = r->audit->texts[CS_AUDIT_EMITTED].n_bytes;
    r->next_position = -1;
}

/* Everything before a position is accepted; a draft that reaches over it keeps waiting. */
static void accept_before(reader *r, int64_t position)
{
    live_draft *d = &r->draft;
    if (d->n > 0 && d->position + d->n <= position) {
        emit(r, d->position, d->n, d->text, d->n_bytes);
        json_decref(d->line);
        memset(d, 0, sizeof *d);
    }
}

/*
 * What is left of a draft was not accepted. The text is that of all its tokens together, so a draft of which only the beginning
 * was accepted is taken as a whole for what was seen without being part of the answer.
 */
static void drop_draft(reader *r, int64_t position, int place)
{
    live_draft *d = &r->draft;
    accept_before(r, position);
    if (d->n > 0) {
        int64_t n_accepted = position > d->position ? position - d->position : 0;
        *(place == CS_AUDIT_WITHDRAWN ? &r->audit->n_withdrawn : &r->audit->n_unsettled) += d->n - n_accepted;
        append(r, place, d->text, d->n_bytes, false);
        json_decref(d->line);
        memset(d, 0, sizeof *d);
    }
}

/* The text of an answer that is taken up again is that of its first open, and then maybe what was accepted. */
static void add_open_text(reader *r, const json_t *text, int64_t n_accepted)
{
    const cs_buffer *asked = &r->request;
    const char *bytes = json_string_value(text);
    size_t n_bytes = json_string_length(text);
    if (n_accepted > 0 && asked->n_bytes > 0 && n_bytes >= asked->n_bytes && memcmp(bytes, asked->bytes, asked->n_bytes) == 0) {
        emit(r, 0, n_accepted, bytes + asked->n_bytes, n_bytes - asked->n_bytes);
        return;
    }
    append_request(r, bytes, n_bytes);
    r->request.n_bytes = 0;
    r->no_memory = r->no_memory || !cs_buffer_append(&r->request, bytes, n_bytes);
}

/* True when the sizes are those of all the text. */
static bool has_places(const json_t *open)
{
    const json_t *sizes = json_object_get(open, "sizes");
    size_t n_bytes = 0;
    for (size_t i = 0; i < json_array_size(sizes); i++) {
        const json_int_t size = json_integer_value(json_array_get(sizes, i));
        if (size < 0 || (size_t)size > json_string_length(json_object_get(open, "text")) ||
            !json_is_string(json_array_get(json_object_get(open, "roles"), i))) {
            return false;
        }
        n_bytes += (size_t)size + (i > 0 ? 1 : 0);
    }
    return json_array_size(sizes) > 0 && json_array_size(sizes) == json_array_size(json_object_get(open, "roles")) &&
           n_bytes == json_string_length(json_object_get(open, "text"));
}

/* Each message by itself: what two of them say together is no phrase. */
static void add_messages(reader *r, const json_t *line)
{
    const json_t *sizes = json_object_get(line, "sizes");
    const char *bytes = json_string_value(json_object_get(line, "text"));
    for (size_t i = 0; i < json_array_size(sizes); i++) {
        const size_t n_bytes = (size_t)json_integer_value(json_array_get(sizes, i));
        append_request(r, bytes, n_bytes);
        bytes += n_bytes + 1; /* the line end between two */
    }
}

static void add_open(reader *r, json_t *line)
{
    int64_t n_accepted = (int64_t)json_array_size(json_object_get(line, "accepted"));
    drop_draft(r, n_accepted, CS_AUDIT_UNSETTLED);
    if (n_accepted == 0) {
        begin_answer(r);
    }
    r->audit->n_reopened += n_accepted > 0;
    r->audit->n_prompt_tokens += (int64_t)json_array_size(json_object_get(line, "tokens"));
    r->next_position = -1;
    if (has_places(line)) {
        add_messages(r, line);
    } else {
        add_open_text(r, json_object_get(line, "text"), n_accepted);
    }
    size_t i;
    json_t *role;
    json_array_foreach(json_object_get(line, "roles"), i, role)
    {
        append_json(r, role);
    }
    append_json(r, json_object_get(line, "mode"));
}

/* How many tokens of the draft are at their places in the answer. */
static int64_t count_kept(const live_draft *d, const json_t *accepted)
{
    const json_t *tokens = json_object_get(d->line, "tokens");
    int64_t n = 0;
    while (n < d->n && (size_t)(d->position + n) < json_array_size(accepted) &&
           json_integer_value(json_array_get(tokens, (size_t)n)) ==
               json_integer_value(json_array_get(accepted, (size_t)(d->position + n)))) {
        n++;
    }
    return n;
}

/* Of the answer's text, which every request repeats, what is new. */
static void emit_new(reader *r, const char *bytes, size_t n_bytes)
{
    size_t n_same = 0;
    while (n_same < n_bytes && n_same < r->told.n_bytes && bytes[n_same] == r->told.bytes[n_same]) {
        n_same++;
    }
    append(r, CS_AUDIT_EMITTED, bytes + n_same, n_bytes - n_same, n_same > 0);
    r->told.n_bytes = n_same;
    r->no_memory = r->no_memory || (n_bytes > n_same && !cs_buffer_append(&r->told, bytes + n_same, n_bytes - n_same));
}

/* The first request of an answer has the prompt's text; the others have it too, and the answer's behind it. */
static void add_request_text(reader *r, const json_t *text)
{
    const cs_buffer *asked = &r->request;
    const char *bytes = json_string_value(text);
    size_t n_bytes = json_string_length(text);
    if (asked->n_bytes > 0 && n_bytes >= asked->n_bytes && memcmp(bytes, asked->bytes, asked->n_bytes) == 0) {
        emit_new(r, bytes + asked->n_bytes, n_bytes - asked->n_bytes);
        return;
    }
    append_request(r, bytes, n_bytes);
    r->no_memory = r->no_memory || (n_bytes > 0 && !cs_buffer_append(&r->request, bytes, n_bytes));
}

/* A request to an engine has the prompt and the answer so far, every time. */
static void add_request(reader *r, const json_t *line)
{
    const json_t *accepted = json_object_get(line, "accepted");
    const char *session = json_string_value(json_object_get(line, "session"));
    int64_t n_accepted = (int64_t)json_array_size(accepted);
    if (r->draft.n > 0) { /* its tokens were counted with it */
        r->n_told = r->draft.position + count_kept(&r->draft, accepted);
        drop_draft(r, r->n_told, CS_AUDIT_WITHDRAWN);
    }
    if (strncmp(r->session, session, sizeof r->session - 1) != 0) { /* another answer */
        size_t n = strlen(session) < sizeof r->session - 1 ? strlen(session) : sizeof r->session - 1;
        memcpy(r->session, session, n);
        r->session[n] = '\0';
        r->n_told = 0;
        r->told.n_bytes = r->request.n_bytes = 0;
        begin_answer(r);
        r->audit->n_prompt_tokens += (int64_t)json_array_size(json_object_get(line, "tokens"));
    }
    r->audit->n_tokens += n_accepted > r->n_told ? n_accepted - r->n_told : 0;
    r->n_told = n_accepted > r->n_told ? n_accepted : r->n_told;
    add_request_text(r, json_object_get(line, "text"));
    append_json(r, json_object_get(line, "path"));
}

static void add_check(reader *r, const json_t *line)
{
    append_json(r, json_object_get(line, "path"));
    append_json(r, json_object_get(line, "text"));
}

static void add_connect(reader *r, const json_t *line)
{
    append_json(r, json_object_get(line, "host"));
    append_json(r, json_object_get(line, "path"));
    append_json(r, json_object_get(line, "subprotocol"));
}

static void add_draft(reader *r, json_t *line, int64_t position, int64_t n_tokens)
{
    accept_before(r, position);
    drop_draft(r, position, CS_AUDIT_UNSETTLED);
    const json_t *text = json_object_get(line, "text");
    r->draft = (live_draft){.position = position,
                            .n = n_tokens,
                            .text = json_string_value(text),
                            .n_bytes = json_string_length(text),
                            .line = json_incref(line)};
    r->audit->n_tokens += n_tokens;
    r->audit->n_drafts += n_tokens;
}

/* What was told of the answer until now are pieces of it; here is all of it. */
static void add_answer(reader *r, const json_t *line)
{
    if (r->draft.n > 0) {
        drop_draft(r, r->draft.position + count_kept(&r->draft, json_object_get(line, "tokens")), CS_AUDIT_UNSETTLED);
    }
    const json_t *text = json_object_get(line, "text");
    cs_buffer *emitted = &r->audit->texts[CS_AUDIT_EMITTED];
    emitted->n_bytes = r->answer_at < emitted->n_bytes ? r->answer_at : emitted->n_bytes;
    append(r, CS_AUDIT_EMITTED, json_string_value(text), json_string_length(text), false);
}

static void add_line(reader *r, json_t *line, int which)
{
    cs_audit_file *a = r->audit;
    int64_t position = json_integer_value(json_object_get(line, "position"));
    int64_t n_tokens = (int64_t)json_array_size(json_object_get(line, "tokens"));
    const json_t *text = json_object_get(line, "text");
    a->kinds[which].n++;
    a->kinds[which].n_bytes += json_integer_value(json_object_get(line, "bytes"));
    a->n_messages += json_object_get(line, "message_bytes") != NULL;
    a->n_bytes += json_integer_value(json_object_get(line, "message_bytes"));
    switch (which) {
    case CS_AUDIT_CONNECT:
        add_connect(r, line);
        break;
    case CS_AUDIT_OPEN:
        add_open(r, line);
        break;
    case CS_AUDIT_COMMIT:
        accept_before(r, position + 1);
        break;
    case CS_AUDIT_CORRECT:
        drop_draft(r, position, CS_AUDIT_WITHDRAWN);
        emit(r, position, n_tokens, json_string_value(text), json_string_length(text));
        a->n_tokens += n_tokens;
        break;
    case CS_AUDIT_DRAFT:
        add_draft(r, line, position, n_tokens);
        break;
    case CS_AUDIT_CHECK:
        add_check(r, line);
        break;
    case CS_AUDIT_COMPLETION:
        add_request(r, line);
        break;
    case CS_AUDIT_ANSWER:
        add_answer(r, line);
        break;
    case CS_AUDIT_SELECTION:
        r->no_memory = r->no_memory || json_array_append(a->selections, line) != 0;
        break;
    case CS_AUDIT_CLOSE:
        drop_draft(r, 0, CS_AUDIT_UNSETTLED);
        break;
    default:
        break;
    }
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

static int read_line(reader *r, const char *bytes, size_t n)
{
    int which = CS_AUDIT_KINDS;
    json_t *line = json_loadb(bytes, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    int exit_code = json_is_object(line) ? check_line(r, line, &which) : damaged(r, "is no JSON object", "");
    if (exit_code == CS_EXIT_OK) {
        add_line(r, line, which);
    }
    json_decref(line);
    return exit_code == CS_EXIT_OK && r->no_memory ? cs_fail(CS_EXIT_INTERNAL, "out of memory") : exit_code;
}

int cs_audit_text_read(const char *name, const char *text, size_t n_bytes, cs_audit_file *out)
{
    reader r = {.name = name, .audit = out, .next_position = -1};
    memset(out, 0, sizeof *out);
    out->selections = json_array();
    r.request.cap = r.told.cap = out->parts.cap = FILE_BYTES_MAX;
    for (int i = 0; i < CS_AUDIT_PLACES; i++) {
        out->texts[i].cap = FILE_BYTES_MAX;
    }
    int exit_code = CS_EXIT_OK;
    for (size_t at = 0; at < n_bytes && exit_code == CS_EXIT_OK;) {
        const char *end = memchr(text + at, '\n', n_bytes - at);
        size_t length = end != NULL ? (size_t)(end - text) - at : n_bytes - at;
        r.line++;
        exit_code = end != NULL ? read_line(&r, text + at, length) : damaged(&r, "is cut off: no line end", "");
        at += length + 1;
    }
    drop_draft(&r, 0, CS_AUDIT_UNSETTLED);
    cs_buffer_dispose(&r.request);
    cs_buffer_dispose(&r.told);
    return exit_code;
}

int cs_audit_file_read(const char *path, cs_audit_file *out)
{
    char *text;
    size_t n_bytes;
    const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
    memset(out, 0, sizeof *out);
    int error = cs_file_read(path, FILE_BYTES_MAX, cs_interrupt_wait_readable, &text, &n_bytes);
    if (error != 0) {
        return cs_fail_input(name, error, FILE_BYTES_MAX);
    }
    const int exit_code = cs_audit_text_read(name, text, n_bytes, out);
    free(text);
    return exit_code;
}

void cs_audit_file_dispose(cs_audit_file *audit)
{
    for (int i = 0; i < CS_AUDIT_PLACES; i++) {
        cs_buffer_dispose(&audit->texts[i]);
    }
    cs_buffer_dispose(&audit->parts);
    json_decref(audit->selections);
}
