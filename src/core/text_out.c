/*
 * The text of an answer on its way out: whole UTF-8 characters, cut at the first stop string.
 *
 * Two things are held back: the beginning of a character whose rest has not come, and an end of the text that could begin a stop
 * string. Everything else goes out at once. Bytes that can never become a character are replaced by U+FFFD, so that whoever
 * receives the text gets valid UTF-8 whatever the model does.
 */
#include "core/text_out.h"

#include "util/error.h"
#include "util/utf8.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Longer ones are no stop strings but mistakes, and the buffer grows with them. */
#define STOP_BYTES_MAX 4096

struct cs_text_out {
    char **stop;
    size_t n_stop;
    char *held; /* [held_max] bytes not yet known to go out */
    size_t n_held;
    size_t held_max;
    char *ready; /* [3 * held_max] bytes that may go out */
    size_t n_ready;
    bool is_over; /* a stop string came: whatever follows is dropped */
};

/* ---- creation ---------------------------------------------------------------------------------------------------- */

static costeer_err check_stop(const char *stop, costeer_error *err)
{
    if (stop == NULL || *stop == '\0') {
        return cs_error_set(err, COSTEER_EINVAL, "session", "a stop string must not be empty");
    }
    const size_t n = strlen(stop);
    size_t offset;
    if (n > STOP_BYTES_MAX) {
        return cs_error_set(err, COSTEER_EINVAL, "session", "a stop string has %zu bytes; at most %d are allowed", n,
                            STOP_BYTES_MAX);
    }
    if (!cs_utf8_check(stop, n, &offset)) {
        return cs_error_set(err, COSTEER_EUTF8, "session", "a stop string is not UTF-8 at byte %zu", offset);
    }
    return COSTEER_OK;
}

costeer_err cs_text_out_create(const char *const *stop, size_t n_stop, size_t piece_max, cs_text_out **out, costeer_error *err)
{
    *out = NULL;
    size_t longest = 0;
    for (size_t i = 0; i < n_stop; i++) {
        const costeer_err code = check_stop(stop[i], err);
        if (code != COSTEER_OK) {
            return code;
        }
        longest = strlen(stop[i]) > longest ? strlen(stop[i]) : longest;
    }
    cs_text_out *text = calloc(1, sizeof *text);
    if (text == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "session", "no memory for its text");
    }
    text->held_max = longest + 4 + piece_max; /* 4: the longest character */
    text->held = malloc(text->held_max);
    text->ready = malloc(CS_UTF8_REPLACEMENT_BYTES * text->held_max);
    text->stop = calloc(n_stop + 1, sizeof *text->stop);
    bool ok = text->held != NULL && text->ready != NULL && text->stop != NULL;
    for (; ok && text->n_stop < n_stop; text->n_stop++) {
        text->stop[text->n_stop] = strdup(stop[text->n_stop]);
        if (text->stop[text->n_stop] == NULL) {
            ok = false;
            break;
        }
    }
    if (!ok) {
        cs_text_out_free(text);
        return cs_error_set(err, COSTEER_ENOMEM, "session", "no memory for its text");
    }
    *out = text;
    return COSTEER_OK;
}

void cs_text_out_free(cs_text_out *text)
{
    if (text == NULL) {
        return;
    }
    for (size_t i = 0; i < text->n_stop; i++) {
        free(text->stop[i]);
    }
    free(text->stop);
    free(text->held);
    free(text->ready);
    free(text);
}

void cs_text_out_reset(cs_text_out *text)
{
    text->n_held = 0;
    text->n_ready = 0;
    text->is_over = false;
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

static bool stands_at(const char *stop, const char *at, size_t n)
{
    const size_t length = strlen(stop);
    return length <= n && memcmp(stop, at, length) == 0;
}

/* Offset of the first complete stop string; n_held when there is none. */
static size_t find_stop(const cs_text_out *text)
{
    for (size_t at = 0; at < text->n_held; at++) {
        for (size_t i = 0; i < text->n_stop; i++) {
            if (stands_at(text->stop[i], text->held + at, text->n_held - at)) {
                return at;
            }
        }
    }
    return text->n_held;
}

/* Offset of the longest end of the text that begins a stop string; n_held when there is none. */
static size_t find_possible_stop(const cs_text_out *text)
{
    for (size_t at = 0; at < text->n_held; at++) {
        for (size_t i = 0; i < text->n_stop; i++) {
            if (strncmp(text->stop[i], text->held + at, text->n_held - at) == 0) {
                return at;
            }
        }
    }
    return text->n_held;
}

static void put(cs_text_out *text, const char *bytes, size_t n)
{
    memcpy(text->ready + text->n_ready, bytes, n);
    text->n_ready += n;
}

/*
 * Let held[0..end) go out, up to an incomplete character at the end of all text unless nothing more will come. A stop string may
 * begin at `end`, never inside a character, so looking beyond it only tells that the character before it will not be completed.
 */
static void release(cs_text_out *text, size_t end, bool is_last)
{
    size_t at = 0;
    while (at < end) {
        size_t length;
        const cs_utf8_kind kind = cs_utf8_next(text->held + at, text->n_held - at, &length);
        if (kind == CS_UTF8_INCOMPLETE && !is_last) {
            break;
        }
        if (kind == CS_UTF8_VALID) {
            put(text, text->held + at, length);
        } else {
            put(text, CS_UTF8_REPLACEMENT, CS_UTF8_REPLACEMENT_BYTES);
        }
        at += length;
    }
    memmove(text->held, text->held + at, text->n_held - at);
    text->n_held -= at;
}

bool cs_text_out_push(cs_text_out *text, const char *piece, size_t n_bytes)
{
    text->n_ready = 0;
    if (text->is_over || n_bytes > text->held_max - text->n_held) {
        return text->is_over;
    }
    memcpy(text->held + text->n_held, piece, n_bytes);
    text->n_held += n_bytes;
    const size_t stop = find_stop(text);
    if (stop < text->n_held) {
        release(text, stop, true);
        text->n_held = 0;
        text->is_over = true;
        return true;
    }
    release(text, find_possible_stop(text), false);
    return false;
}

void cs_text_out_finish(cs_text_out *text)
{
    text->n_ready = 0;
    release(text, text->n_held, true);
}

const char *cs_text_out_take(cs_text_out *text, size_t *n_bytes)
{
    *n_bytes = text->n_ready;
    text->n_ready = 0; /* taken once */
    return text->ready;
}
