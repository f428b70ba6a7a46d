/*
 * Who wrote which byte of a rendered prompt: the template, or a message.
 *
 * The engine marks what came from a message and loses the mark in some of what a template can do to a text: join, an index, JSON.
 * So a conversation is rendered twice, once as it is and once in disguise: each byte of a message stands there as a character of
 * its own that no text has, U+F0000 to U+F00FF, which comes through whatever is done to it. Where the second rendering,
 * undisguised, is the first, it says of every byte where it is from.
 *
 * A template may look into a message ("does it end with /no_think?"), so what it can look for stays undisguised, unless it could
 * become part of a special token. A special token that a message spells whole stays too, with a tracer behind it: U+FDD0, which
 * is no character either. White space stays, for the sake of trim().
 *
 * Where the two differ all the same (a template that makes letters large, or counts them), the engine's marks are taken, if both
 * renderings have the same special tokens from the template.
 */
#include "core/model_internal.h"
#include "core/prompt_internal.h"
#include "util/error.h"

#include <stdlib.h>
#include <string.h>

/* A byte in disguise: F3 B0, then its upper two bits and its lower six. */
#define DISGUISE_BYTES 4
#define DISGUISED_MAX  (4 * CS_PROMPT_MESSAGE_BYTES_MAX)

static const char tracer[] = "\xEF\xB7\x90";
#define TRACER_BYTES (sizeof tracer - 1)

static costeer_err no_memory(costeer_error *err)
{
    return cs_error_set(err, COSTEER_ENOMEM, "prompt", "no memory for the prompt");
}

/* ---- the disguise ------------------------------------------------------------------------------------------------ */

/* What a template looks for in messages, as far as it can stay. */
typedef struct literals {
    const costeer_model *model;
    const char **items; /* [n] */
    size_t n;
    bool begins[256]; /* whether one begins with that byte */
} literals;

static bool find_literals(const costeer_model *model, const cs_chat_template *form, literals *out)
{
    size_t n_bytes;
    const char *text = cs_chat_template_literals(form, &n_bytes);
    *out = (literals){.model = model, .items = calloc(n_bytes + 1, sizeof *out->items)};
    for (size_t at = 0; out->items != NULL && at < n_bytes; at += strlen(text + at) + 1) {
        const char *item = text + at;
        if (item[0] != '\0' && !cs_model_touches_special(model, item, strlen(item))) {
            out->items[out->n++] = item;
            out->begins[(unsigned char)item[0]] = true;
        }
    }
    return out->items != NULL;
}

/* Length of the longest literal that a text begins with; 0: none. */
static size_t match_literal(const literals *l, const char *text, size_t n)
{
    size_t longest = 0;
    for (size_t i = 0; l->begins[(unsigned char)text[0]] && i < l->n; i++) {
        const size_t length = strlen(l->items[i]);
        if (length > longest && length <= n && memcmp(text, l->items[i], length) == 0) {
            longest = length;
        }
    }
    return longest;
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_all_blank(const char *text, size_t n)
{
    size_t i = 0;
    while (i < n && is_blank(text[i])) {
        i++;
    }
    return i == n;
}

static bool append_disguised(cs_buffer *out, char c)
{
    const unsigned char byte = (unsigned char)c;
    const char disguise[DISGUISE_BYTES] = {'\xF3', '\xB0', (char)(0x80 | (byte >> 6)), (char)(0x80 | (byte & 0x3F))};
    return cs_buffer_append(out, disguise, sizeof disguise);
}

/* Append a part of a message that spells no special token whole. */
static bool disguise_plain(const literals *l, const char *text, size_t n, cs_buffer *out)
{
    bool ok = true;
    for (size_t i = 0; ok && i < n;) {
        size_t length = is_blank(text[i]) ? 1 : match_literal(l, text + i, n - i);
        ok = length > 0 ? cs_buffer_append(out, text + i, length) : append_disguised(out, text[i]);
        i += length > 0 ? length : 1;
    }
    return ok;
}

static bool disguise(const literals *l, const char *text, cs_buffer *out)
{
    const size_t n = strlen(text);
    size_t from = 0;
    size_t at;
    int32_t token;
    bool ok = cs_buffer_append(out, "", 0);
    while (ok && from < n && cs_model_find_special(l->model, text + from, n - from, &at, &token)) {
        const size_t length = strlen(cs_model_token_text(l->model, token));
        const size_t n_tracer = is_all_blank(text + from + at, length) ? 0 : TRACER_BYTES;
        ok = disguise_plain(l, text + from, at, out) && cs_buffer_append(out, text + from + at, length) &&
             cs_buffer_append(out, tracer, n_tracer);
        from += at + length;
    }
    return ok && disguise_plain(l, text + from, n - from, out);
}

/* ---- undone ------------------------------------------------------------------------------------------------------ */

static bool is_tracer(const char *text, size_t n)
{
    return n >= TRACER_BYTES && memcmp(text, tracer, TRACER_BYTES) == 0;
}

static bool is_disguise(const char *text, size_t n)
{
    return n >= DISGUISE_BYTES && memcmp(text, "\xF3\xB0", 2) == 0 && (unsigned char)text[2] <= 0x83;
}

/* A rendering in the making: bytes of one origin are one part. */
typedef struct writer {
    cs_buffer text;
    cs_chat_rendering out;
    bool is_input;
} writer;

static bool end_part(writer *w)
{
    const bool ok = w->text.n_bytes == 0 || cs_chat_rendering_append(&w->out, w->text.bytes, w->text.n_bytes, w->is_input);
    w->text.n_bytes = 0;
    return ok;
}

static bool write_bytes(writer *w, const char *bytes, size_t n, bool is_input)
{
    const bool ok = is_input == w->is_input || end_part(w);
    w->is_input = is_input;
    return ok && cs_buffer_append(&w->text, bytes, n);
}

/* How far a rendering was read. */
typedef struct reader {
    const cs_chat_rendering *from;
    size_t at;
    size_t part;
    size_t part_end; /* of the parts up to this one */
} reader;

/* Whether the engine takes the byte at `at` for a message's. */
static bool is_engine_input(reader *r, size_t at)
{
    while (at >= r->part_end && r->part < r->from->n_parts) {
        r->part_end += r->from->parts[r->part++].n_bytes;
    }
    return r->part > 0 && r->from->parts[r->part - 1].is_input;
}

/* Undo the disguise of what stands before `end`. */
static bool write_before(reader *r, size_t end, writer *w)
{
    bool ok = true;
    while (ok && r->at < end) {
        const char *text = r->from->text + r->at;
        const size_t n = end - r->at;
        if (is_disguise(text, n)) {
            const char byte = (char)(((unsigned char)text[2] & 0x03) << 6 | ((unsigned char)text[3] & 0x3F));
            ok = write_bytes(w, &byte, 1, true);
            r->at += DISGUISE_BYTES;
        } else if (is_tracer(text, n)) {
            r->at += TRACER_BYTES;
        } else {
            ok = write_bytes(w, text, 1, is_engine_input(r, r->at));
            r->at++;
        }
    }
    return ok;
}

/* Undo the disguise of a rendering. */
static bool undisguise(const costeer_model *model, const cs_chat_rendering *from, writer *w)
{
    reader r = {.from = from};
    const char *text = from->text;
    size_t next;
    int32_t token;
    bool ok = true;
    while (ok && r.at < from->n_bytes && cs_model_find_special(model, text + r.at, from->n_bytes - r.at, &next, &token)) {
        const size_t begin = r.at + next;
        const size_t end = begin + strlen(cs_model_token_text(model, token));
        ok = write_before(&r, begin, w);
        if (is_tracer(text + end, from->n_bytes - end)) {
            ok = ok && write_bytes(w, text + begin, end - begin, true);
            r.at = end + TRACER_BYTES;
        } else {
            ok = ok && write_before(&r, end, w);
        }
    }
    return ok && write_before(&r, from->n_bytes, w) && end_part(w);
}

/* ---- where the two renderings differ ----------------------------------------------------------------------------- */

/* The special tokens that are not in a message as the engine marks them, and have no tracer. */
static bool list_special(const costeer_model *model, const cs_chat_rendering *rendering, cs_buffer *out)
{
    reader r = {.from = rendering};
    size_t next;
    int32_t token;
    bool ok = true;
    while (ok && r.at < rendering->n_bytes &&
           cs_model_find_special(model, rendering->text + r.at, rendering->n_bytes - r.at, &next, &token)) {
        const size_t begin = r.at + next;
        const size_t end = begin + strlen(cs_model_token_text(model, token));
        const bool is_input = is_engine_input(&r, begin) && end <= r.part_end;
        if (!is_input && !is_tracer(rendering->text + end, rendering->n_bytes - end)) {
            ok = cs_buffer_append(out, (const char *)&token, sizeof token);
        }
        r.at = is_input ? begin + 1 : end;
    }
    return ok;
}

static costeer_err check_same_special(const costeer_model *model, const cs_chat_rendering *plain,
                                      const cs_chat_rendering *disguised, costeer_error *err)
{
    cs_buffer a = {.cap = SIZE_MAX};
    cs_buffer b = {.cap = SIZE_MAX};
    const bool ok = list_special(model, plain, &a) && list_special(model, disguised, &b);
    const bool is_same = ok && a.n_bytes == b.n_bytes && (a.n_bytes == 0 || memcmp(a.bytes, b.bytes, a.n_bytes) == 0);
    cs_buffer_dispose(&a);
    cs_buffer_dispose(&b);
    if (!ok) {
        return no_memory(err);
    }
    return is_same ? COSTEER_OK
                   : cs_error_set(err, COSTEER_EINVAL, "prompt",
                                  "the text spells a special token of the model, or a part of one, which its chat template does "
                                  "not keep apart; remove it");
}

/* ---- both renderings --------------------------------------------------------------------------------------------- */

static void dispose_messages(costeer_message *messages, size_t n)
{
    for (size_t i = 0; messages != NULL && i < n; i++) {
        free((char *)messages[i].content); /* ours */
    }
    free(messages);
}

/* Render the messages in disguise. */
static costeer_err render_disguised(const costeer_model *model, const cs_chat_template *form, const costeer_message *messages,
                                    size_t n, bool thinking, cs_chat_rendering *out, costeer_error *err)
{
    literals l;
    costeer_message *disguised = calloc(n + 1, sizeof *disguised);
    bool ok = find_literals(model, form, &l) && disguised != NULL;
    for (size_t i = 0; ok && i < n; i++) {
        cs_buffer text = {.cap = DISGUISED_MAX};
        ok = disguise(&l, messages[i].content, &text);
        disguised[i] = (costeer_message){.role = messages[i].role, .content = text.bytes};
    }
    const costeer_err code = ok ? cs_chat_template_render(form, disguised, n, thinking, out, err) : no_memory(err);
    free(l.items);
    dispose_messages(disguised, n);
    return code;
}

static bool is_same_text(const cs_chat_rendering *a, const cs_chat_rendering *b)
{
    return a->n_bytes == b->n_bytes && memcmp(a->text, b->text, a->n_bytes) == 0;
}

costeer_err cs_prompt_render_apart(const costeer_model *model, const cs_chat_template *form, const costeer_message *messages,
                                   size_t n, bool thinking, cs_chat_rendering *out, costeer_error *err)
{
    cs_chat_rendering disguised = {.n_bytes = 0};
    writer w = {.text = {.cap = SIZE_MAX}};
    costeer_err code = cs_chat_template_render(form, messages, n, thinking, out, err);
    code = code == COSTEER_OK && out->n_bytes > 0 ? render_disguised(model, form, messages, n, thinking, &disguised, err) : code;
    if (code == COSTEER_OK && disguised.n_bytes > 0) {
        code = undisguise(model, &disguised, &w) ? COSTEER_OK : no_memory(err);
    }
    if (code == COSTEER_OK && w.out.n_bytes > 0 && is_same_text(&w.out, out)) {
        const cs_chat_rendering marked = w.out;
        w.out = *out;
        *out = marked;
    } else if (code == COSTEER_OK && out->n_bytes > 0) {
        code = check_same_special(model, out, &disguised, err);
    }
    cs_buffer_dispose(&w.text);
    cs_chat_rendering_dispose(&w.out);
    cs_chat_rendering_dispose(&disguised);
    return code;
}
