/*
 * Reasoning, token by token: has it begun, has it ended, what of it is text.
 *
 * A mark may be one token or several, of which some are control tokens, which have no text, and others shared with what is around
 * the mark. So marks are looked for in the text, and a mark's control tokens count as their spelling.
 */
#include "core/thinking.h"

#include "util/error.h"

#include <stdlib.h>
#include <string.h>

/* Blank tokens between the closing mark and the answer; more of them are the answer's. */
#define BLANKS_MAX 8
/* Longer than any mark. */
#define MARK_MAX 64

typedef enum stage {
    BEFORE, /* the model may begin to reason, or not */
    INSIDE,
    AFTER, /* the closing mark is there, the answer's first letter is not */
    DONE
} stage;

struct cs_thinking {
    const costeer_reasoning *marks;
    costeer_vocab vocab;
    int32_t budget;
    stage stage;
    int32_t n_tokens; /* of the reasoning */
    int32_t n_blanks;
    size_t n_forced;                             /* tokens of the closing that were forced */
    char seen[2 * MARK_MAX + COSTEER_PIECE_MAX]; /* [n_seen] text that may be a mark's beginning, not handed out yet */
    size_t n_seen;
    cs_text_out *text;
};

costeer_err cs_thinking_create(const costeer_session_params *params, const costeer_vocab *vocab, cs_thinking **out,
                               costeer_error *err)
{
    *out = NULL;
    const costeer_reasoning *marks = params->reasoning;
    if (marks == NULL || marks->begin == NULL) {
        return COSTEER_OK;
    }
    if (params->reasoning_budget < 1 || strlen(marks->begin) >= MARK_MAX || strlen(marks->end) >= MARK_MAX ||
        (marks->answer != NULL && strlen(marks->answer) >= MARK_MAX)) {
        return cs_error_set(err, COSTEER_EINVAL, "session", "the reasoning's budget is %d tokens; give at least 1",
                            params->reasoning_budget);
    }
    cs_thinking *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return cs_error_set(err, COSTEER_ENOMEM, "session", "no memory for its reasoning");
    }
    self->marks = marks;
    self->vocab = *vocab;
    self->budget = params->reasoning_budget;
    const costeer_err code = cs_text_out_create(NULL, 0, sizeof self->seen, &self->text, err);
    if (code != COSTEER_OK) {
        cs_thinking_free(self);
        return code;
    }
    *out = self;
    return COSTEER_OK;
}

void cs_thinking_free(cs_thinking *self)
{
    if (self != NULL) {
        cs_text_out_free(self->text);
        free(self);
    }
}

void cs_thinking_reset(cs_thinking *self)
{
    if (self != NULL) {
        self->stage = self->marks->is_open ? INSIDE : BEFORE;
        self->n_tokens = 0;
        self->n_blanks = 0;
        self->n_forced = 0;
        self->n_seen = 0;
        cs_text_out_reset(self->text);
    }
}

bool cs_thinking_is_under_way(const cs_thinking *self)
{
    return self != NULL && self->stage != DONE;
}

static bool is_blank(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strchr(" \t\r\n", text[i]) == NULL || text[i] == '\0') {
            return false;
        }
    }
    return true;
}

/* True when text, blanks at its front left aside, is the beginning of a mark, or begins with all of it. */
static bool may_be(const char *mark, const char *text, size_t n)
{
    while (n > 0 && is_blank(text, 1)) {
        text++;
        n--;
    }
    const size_t n_mark = strlen(mark);
    return memcmp(text, mark, n < n_mark ? n : n_mark) == 0;
}

/* True when text is the beginning of the mark before a reasoning, or before an answer without one. */
static bool may_begin(const cs_thinking *self, const char *text, size_t n)
{
    const costeer_reasoning *marks = self->marks;
    return may_be(marks->begin, text, n) || (marks->answer != NULL && may_be(marks->answer, text, n));
}

/* The text of a token, the marks' control tokens spelled out. */
static size_t spell(const cs_thinking *self, int32_t token, const char *piece, size_t n, char out[COSTEER_PIECE_MAX])
{
    const costeer_reasoning *marks = self->marks;
    for (size_t i = 0; n == 0 && i < marks->n_tokens; i++) {
        if (token == marks->tokens[i].token) {
            piece = marks->tokens[i].text;
            n = strlen(piece);
        }
    }
    memmove(out, piece, n); /* out may be piece */
    return n;
}

bool cs_thinking_takes(cs_thinking *self, int32_t own_token)
{
    if (self == NULL || self->stage == DONE || self->stage == INSIDE) {
        return self != NULL && self->stage == INSIDE;
    }
    char piece[COSTEER_PIECE_MAX];
    char text[sizeof self->seen];
    const bool is_end = self->vocab.is_end(self->vocab.model, own_token);
    size_t n = self->vocab.token_to_piece(self->vocab.model, own_token, piece);
    n = spell(self, own_token, piece, n, piece);
    if (self->stage == AFTER) {
        self->stage = !is_end && is_blank(piece, n) && self->n_blanks < BLANKS_MAX ? AFTER : DONE;
        return self->stage == AFTER;
    }
    memcpy(text, self->seen, self->n_seen);
    memcpy(text + self->n_seen, piece, n);
    self->stage = !is_end && self->n_seen < MARK_MAX && may_begin(self, text, self->n_seen + n) ? BEFORE : DONE;
    return self->stage == BEFORE;
}

bool cs_thinking_forces(const cs_thinking *self, int32_t *token)
{
    if (self == NULL || self->stage != INSIDE || self->n_tokens < self->budget || self->n_forced >= self->marks->closing.n) {
        return false;
    }
    *token = self->marks->closing.ids[self->n_forced];
    return true;
}

static const char *find(const char *text, size_t n, const char *mark)
{
    const size_t n_mark = strlen(mark);
    for (size_t i = 0; i + n_mark <= n; i++) {
        if (memcmp(text + i, mark, n_mark) == 0) {
            return text + i;
        }
    }
    return NULL;
}

static void drop_seen(cs_thinking *self, size_t n)
{
    memmove(self->seen, self->seen + n, self->n_seen - n);
    self->n_seen -= n;
}

/* Hand out what is seen but the last bytes, which may belong to a mark. */
static void hand_out(cs_thinking *self, size_t n_kept)
{
    if (self->n_seen > n_kept) {
        (void)cs_text_out_push(self->text, self->seen, self->n_seen - n_kept);
        drop_seen(self, self->n_seen - n_kept);
    }
}

/* A mark stands at `at` of what is seen, and the answer after it. Returns how much of that is seen already. */
static size_t begin_answer(cs_thinking *self, const char *at, const char *mark)
{
    const char *rest = at + strlen(mark);
    size_t n_rest = (size_t)(self->seen + self->n_seen - rest);
    while (n_rest > 0 && is_blank(rest, 1)) {
        rest++;
        n_rest--;
    }
    self->n_seen = 0;
    self->stage = n_rest > 0 ? DONE : AFTER;
    return n_rest;
}

/* As cs_thinking_push(), once the text is seen. */
static size_t push_seen(cs_thinking *self)
{
    const costeer_reasoning *marks = self->marks;
    if (self->stage == BEFORE) {
        const char *begin = find(self->seen, self->n_seen, marks->begin);
        const char *answer = begin == NULL && marks->answer != NULL ? find(self->seen, self->n_seen, marks->answer) : NULL;
        if (answer != NULL) {
            return begin_answer(self, answer, marks->answer);
        }
        if (begin == NULL) {
            return 0;
        }
        drop_seen(self, (size_t)(begin - self->seen) + strlen(marks->begin));
        self->stage = INSIDE;
    }
    const char *end = find(self->seen, self->n_seen, marks->end);
    if (end == NULL) {
        hand_out(self, strlen(marks->end) - 1);
        return 0;
    }
    (void)cs_text_out_push(self->text, self->seen, (size_t)(end - self->seen));
    return begin_answer(self, end, marks->end);
}

size_t cs_thinking_push(cs_thinking *self, int32_t token, const char *piece, size_t n)
{
    char text[COSTEER_PIECE_MAX];
    int32_t forced;
    self->n_forced += cs_thinking_forces(self, &forced) && forced == token;
    self->n_tokens++;
    if (self->stage == AFTER) {
        self->n_blanks++;
        return 0;
    }
    n = spell(self, token, piece, n, text);
    memcpy(self->seen + self->n_seen, text, n);
    self->n_seen += n;
    if (self->stage == BEFORE && !may_begin(self, self->seen, self->n_seen)) {
        self->n_seen -= n; /* a draw that was not the cloud's own choice */
        self->stage = DONE;
        return n;
    }
    return push_seen(self);
}

const char *cs_thinking_take_back(cs_thinking *self, size_t *n)
{
    *n = 0;
    if (self == NULL || self->stage != DONE) {
        return "";
    }
    *n = self->n_seen;
    self->n_seen = 0;
    return self->seen;
}

void cs_thinking_finish(cs_thinking *self)
{
    if (self != NULL && self->n_seen > 0 && (self->stage == INSIDE || self->stage == BEFORE)) {
        hand_out(self, 0);
    } else if (self != NULL) {
        cs_text_out_finish(self->text);
    }
}

const char *cs_thinking_take_text(cs_thinking *self, size_t *n)
{
    *n = 0;
    return self == NULL ? "" : cs_text_out_take(self->text, n);
}
