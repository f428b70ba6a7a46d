/*
 * A model behind a pipe: what the conformance servers (engine_server.py) compute with, in place of a GPU.
 *
 *     engine_logits MODEL.gguf
 *
 * Requests come on standard input, answers go to standard output, both little-endian: one byte, a length (32 bits), so many
 * bytes.
 *
 *     'I'                  -> n_vocab, n_ctx, bos (-1: none), then the model's name
 *     'P' id               -> flags (1 ends an answer, 2 special), bytes of its piece (32 bits), piece, the vocabulary's spelling
 *     'T' flags, text      -> ids; flags: 1 add special tokens, 2 read their spellings
 *     'Q' text             -> ids of the chat prompt that asks this
 *     'L' ids [n]          -> tokens reused, zero, log of the sum of exp(logits) (double), logits behind the last one [n_vocab]
 *
 * An answer's byte is 0, or 1 and then the bytes are a message.
 *
 * Logits are those of a local cloud, to the bit: a prompt is computed as one batch, what follows it token by token (the size of a
 * batch changes the last bits). So prefixes are kept, and taken up again only by what goes on with one of them.
 */
#include "core/decoder.h"
#include "core/model_internal.h"

#include <costeer/prompt.h>
#include <costeer/steer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_PREFIXES  8
#define N_AHEAD     4 /* tokens behind a kept prefix that are still taken for its continuation and not for another prompt */
#define REQUEST_MAX (16U << 20)

typedef struct pipe_state {
    costeer_model *model;
    cs_decoder *decoder;
    int64_t used[N_PREFIXES];    /* when, by n_requests */
    int32_t n_first[N_PREFIXES]; /* tokens computed as one batch */
    int64_t n_requests;
    const float *logits; /* behind the last token, after compute() */
} pipe_state;

typedef struct bytes {
    unsigned char *data;
    size_t n, capacity;
    bool failed;
} bytes;

static void append(bytes *out, const void *data, size_t n)
{
    if (out->capacity - out->n < n) {
        const size_t capacity = 2 * (out->n + n);
        unsigned char *grown = realloc(out->data, capacity);
        if (grown == NULL) {
            out->failed = true;
            return;
        }
        out->data = grown;
        out->capacity = capacity;
    }
    if (n > 0) {
        memcpy(out->data + out->n, data, n);
        out->n += n;
    }
}

static void append_u32(bytes *out, uint32_t value)
{
    const unsigned char data[] = {(unsigned char)value, (unsigned char)(value >> 8), (unsigned char)(value >> 16),
                                  (unsigned char)(value >> 24)};
    append(out, data, sizeof data);
}

static uint32_t read_u32(const unsigned char *data)
{
    return (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
}

static costeer_err refuse(costeer_error *err, const char *message)
{
    (void)snprintf(err->message, sizeof err->message, "%s", message);
    return COSTEER_EINVAL;
}

/* ---- the model's words -------------------------------------------------------------------------------------------- */

static costeer_err tell_info(const pipe_state *self, bytes *out)
{
    const costeer_model_info *info = costeer_model_get_info(self->model);
    append_u32(out, (uint32_t)info->n_vocab);
    append_u32(out, (uint32_t)cs_decoder_n_ctx(self->decoder));
    append_u32(out, (uint32_t)cs_model_bos(self->model));
    append(out, info->name, strlen(info->name));
    return COSTEER_OK;
}

static costeer_err tell_piece(const pipe_state *self, const bytes *request, bytes *out, costeer_error *err)
{
    const int32_t id = request->n == 4 ? (int32_t)read_u32(request->data) : -1;
    const char *text = cs_model_token_text(self->model, id);
    if (text == NULL) {
        return refuse(err, "no such token");
    }
    char piece[COSTEER_PIECE_MAX];
    const size_t n = costeer_model_token_to_piece(self->model, id, piece);
    const unsigned flags =
        (costeer_model_is_end(self->model, id) ? 1U : 0U) | (cs_model_token_traits(self->model, id).is_control ? 2U : 0U);
    append_u32(out, flags);
    append_u32(out, (uint32_t)n);
    append(out, piece, n);
    append(out, text, strlen(text));
    return COSTEER_OK;
}

static void append_ids(bytes *out, costeer_tokens *tokens)
{
    for (size_t i = 0; i < tokens->n; i++) {
        append_u32(out, (uint32_t)tokens->ids[i]);
    }
    costeer_tokens_dispose(tokens);
}

static costeer_err tokenize(const pipe_state *self, const bytes *request, bytes *out, costeer_error *err)
{
    if (request->n == 0) {
        return refuse(err, "flags are missing");
    }
    const unsigned flags = request->data[0];
    costeer_tokens tokens = {0};
    const costeer_err code = costeer_model_tokenize(self->model, (const char *)request->data + 1, request->n - 1,
                                                    (flags & 1U) != 0, (flags & 2U) != 0, &tokens, err);
    append_ids(out, &tokens);
    return code;
}

/* The request's bytes are followed by a NUL that is not counted. */
static costeer_err build_prompt(const pipe_state *self, const bytes *request, bytes *out, costeer_error *err)
{
    const costeer_prompt prompt = {.query = (const char *)request->data};
    costeer_tokens tokens = {0};
    const costeer_err code = costeer_prompt_build(self->model, &prompt, &tokens, err);
    append_ids(out, &tokens);
    return code;
}

/* ---- logits ------------------------------------------------------------------------------------------------------- */

static int32_t common_prefix(const pipe_state *self, int32_t sequence, const int32_t *ids, int32_t n)
{
    const int32_t *held = cs_decoder_held_tokens(self->decoder, sequence);
    const int32_t n_held = cs_decoder_held(self->decoder, sequence);
    int32_t same = 0;
    while (same < n_held && same < n && held[same] == ids[same]) {
        same++;
    }
    return same;
}

/* The sequence that this continues and how far it goes; else the one that was not used for longest, from its beginning. */
static int32_t choose_sequence(const pipe_state *self, const int32_t *ids, int32_t n, int32_t *n_reused)
{
    int32_t oldest = 0;
    int32_t best = -1;
    *n_reused = 0;
    for (int32_t i = 0; i < N_PREFIXES; i++) {
        const int32_t same = common_prefix(self, i, ids, n);
        if (same >= self->n_first[i] && n - same <= N_AHEAD && same > *n_reused) {
            best = i;
            *n_reused = same;
        }
        oldest = self->used[i] < self->used[oldest] ? i : oldest;
    }
    return best >= 0 ? best : oldest;
}

/* Put ids[at..end) behind what the sequence holds, as one batch where it has the room. */
static costeer_err extend(pipe_state *self, int32_t sequence, const int32_t *ids, int32_t at, int32_t end, costeer_error *err)
{
    int32_t last = -1;
    while (at < end) {
        cs_decoder_begin(self->decoder);
        for (int32_t room = cs_decoder_room(self->decoder); room > 0 && at < end; room--, at++) {
            last = cs_decoder_add(self->decoder, sequence, ids[at], at == end - 1);
            if (last < 0) {
                return refuse(err, "the prompt is too long, or has an id out of range");
            }
        }
        const costeer_err code = cs_decoder_compute(self->decoder, err);
        if (code != COSTEER_OK) {
            return code;
        }
    }
    self->logits = cs_decoder_row(self->decoder, last);
    return self->logits != NULL ? COSTEER_OK : refuse(err, "no logits");
}

static costeer_err compute(pipe_state *self, const int32_t *ids, int32_t n, uint32_t *n_reused, costeer_error *err)
{
    int32_t at = 0;
    const int32_t sequence = choose_sequence(self, ids, n, &at);
    const int32_t first = self->n_first[sequence];
    /* The last token is computed in any case: its logits are wanted. Where it ends the first batch, that is done once more. */
    at = at == n ? n - 1 : at;
    at = at < first ? 0 : at;
    at = cs_decoder_truncate(self->decoder, sequence, at);
    self->used[sequence] = ++self->n_requests;
    *n_reused = (uint32_t)at;
    self->n_first[sequence] = at == 0 ? n : first;
    if (at == 0) {
        return extend(self, sequence, ids, 0, n, err);
    }
    costeer_err code = COSTEER_OK;
    for (; at < n && code == COSTEER_OK; at++) {
        code = extend(self, sequence, ids, at, at + 1, err);
    }
    return code;
}

static costeer_err tell_logits(pipe_state *self, const bytes *request, bytes *out, costeer_error *err)
{
    const int32_t n = (int32_t)(request->n / 4);
    if (n == 0 || request->n % 4 != 0 || n > cs_decoder_n_ctx(self->decoder)) {
        return refuse(err, "no tokens, or more than the model takes");
    }
    int32_t *ids = malloc(request->n);
    if (ids == NULL) {
        return COSTEER_ENOMEM;
    }
    for (int32_t i = 0; i < n; i++) {
        ids[i] = (int32_t)read_u32(request->data + 4 * (size_t)i);
    }
    uint32_t n_reused = 0;
    const costeer_err code = compute(self, ids, n, &n_reused, err);
    free(ids);
    if (code == COSTEER_OK) {
        const int32_t n_vocab = costeer_model_get_info(self->model)->n_vocab;
        const double normaliser = costeer_logsumexp(self->logits, n_vocab);
        append_u32(out, n_reused);
        append_u32(out, 0);
        append(out, &normaliser, sizeof normaliser);
        append(out, self->logits, (size_t)n_vocab * sizeof *self->logits);
    }
    return code;
}

/* ---- the pipe ----------------------------------------------------------------------------------------------------- */

static costeer_err answer(pipe_state *self, int kind, const bytes *request, bytes *out, costeer_error *err)
{
    switch (kind) {
    case 'I':
        return tell_info(self, out);
    case 'P':
        return tell_piece(self, request, out, err);
    case 'T':
        return tokenize(self, request, out, err);
    case 'Q':
        return build_prompt(self, request, out, err);
    case 'L':
        return tell_logits(self, request, out, err);
    default:
        return refuse(err, "no such request");
    }
}

/* False at the end, or when what comes is no request. */
static bool read_request(int *kind, bytes *request)
{
    unsigned char head[5];
    if (fread(head, 1, sizeof head, stdin) != sizeof head) {
        return false;
    }
    const uint32_t n = read_u32(head + 1);
    if (n > REQUEST_MAX) {
        (void)fprintf(stderr, "engine_logits: a request of %u bytes\n", n);
        return false;
    }
    *kind = head[0];
    request->data = calloc(1, (size_t)n + 1);
    request->n = n;
    return request->data != NULL && fread(request->data, 1, n, stdin) == n;
}

static bool write_answer(costeer_err code, const costeer_error *err, const bytes *out)
{
    bytes frame = {0};
    const unsigned char status = code == COSTEER_OK && !out->failed ? 0 : 1;
    append(&frame, &status, 1);
    if (status == 0) {
        append_u32(&frame, (uint32_t)out->n);
        append(&frame, out->data, out->n);
    } else {
        append_u32(&frame, (uint32_t)strlen(err->message));
        append(&frame, err->message, strlen(err->message));
    }
    const bool done = !frame.failed && fwrite(frame.data, 1, frame.n, stdout) == frame.n && fflush(stdout) == 0;
    free(frame.data);
    return done;
}

static void serve(pipe_state *self)
{
    bool goes_on = true;
    while (goes_on) {
        int kind = 0;
        bytes request = {0};
        bytes out = {0};
        costeer_error err = {0};
        goes_on = read_request(&kind, &request);
        if (goes_on) {
            const costeer_err code = answer(self, kind, &request, &out, &err);
            goes_on = write_answer(code, &err, &out);
        }
        free(request.data);
        free(out.data);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        (void)fputs("usage: engine_logits MODEL.gguf\n", stderr);
        return 2;
    }
    pipe_state state = {0};
    costeer_error err = {0};
    const cs_decoder_params params = {.component = "llm", .n_sequences = N_PREFIXES, .n_threads = 1, .n_rows = 1};
    costeer_err code = costeer_model_load(argv[1], NULL, &state.model, &err);
    code = code == COSTEER_OK ? cs_decoder_create(state.model, &params, &state.decoder, &err) : code;
    if (code == COSTEER_OK) {
        serve(&state);
    } else {
        (void)fprintf(stderr, "engine_logits: %s\n", err.message);
    }
    cs_decoder_free(state.decoder);
    costeer_model_free(state.model);
    return code == COSTEER_OK ? 0 : 1;
}
