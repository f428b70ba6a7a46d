/*
 * What engines answer (src/cloud/api_{json,llama,openai,sglang,positions,spelling}.c): whatever the text is, it becomes positions
 * that keep their promises, or a message. The vocabulary is the built-in SLM's.
 *
 * Three bytes tell the question: the dialect and the kind of request, its drafts and length, K and how many positions are kept.
 * Behind them stand answers, one a line: the events of a stream, or one whole answer and more.
 */
#include "cloud/api_dialect.h"
#include "util/utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_BYTES  3
#define FIRST         7 /* position of the first answer */
#define POSITIONS_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static costeer_model *model;
static cs_api_spelling *spelling;
static int32_t n_vocab;

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "fuzz_api: %s\n", what);
    abort();
}

static void check(bool holds, const char *what)
{
    if (!holds) {
        fail(what);
    }
}

static void clean_up(void)
{
    cs_api_spelling_free(spelling);
    costeer_model_free(model);
}

static void prepare(void)
{
    const costeer_model_params params = {.vocab_only = true};
    costeer_error err = {.code = COSTEER_OK};
    if (costeer_model_load(FUZZ_API_MODEL, &params, &model, &err) != COSTEER_OK ||
        cs_api_spelling_create(model, &spelling, &err) != COSTEER_OK) {
        fail(err.message);
    }
    n_vocab = costeer_model_get_info(model)->n_vocab;
    (void)atexit(clean_up);
}

/* ---- promises ---------------------------------------------------------------------------------------------------- */

static void check_position(const cs_api_position *p, int32_t top_k, uint64_t *seen)
{
    double sum = 0;
    check(p->own_token >= -1 && p->own_token < n_vocab, "its own token is none");
    check(p->n <= top_k && p->n <= n_vocab, "more entries than were asked for");
    check(p->is_known ? p->n > 0 : p->n == 0 && !p->is_all, "an unknown position with entries, or a known one without");
    for (int32_t i = 0; i < p->n; i++) {
        check(p->ids[i] >= 0 && p->ids[i] < n_vocab, "an entry is no token");
        const uint64_t bit = UINT64_C(1) << (p->ids[i] & 63);
        check((seen[p->ids[i] >> 6] & bit) == 0, "a token twice");
        seen[p->ids[i] >> 6] |= bit;
        check(isfinite(p->values[i]) && p->values[i] <= 0.0F, "a value is no log-probability");
        check(i == 0 || p->values[i] < p->values[i - 1] || (p->values[i] == p->values[i - 1] && p->ids[i] > p->ids[i - 1]),
              "entries are not in order");
        sum += exp((double)p->values[i]);
    }
    check(sum <= 1 + 1e-3, "probabilities add up to more than 1");
    for (int32_t i = 0; i < p->n; i++) {
        seen[p->ids[i] >> 6] = 0;
    }
}

/* FNV-1a, of what must not change while a position is kept. */
static uint64_t digest(const cs_api_position *p)
{
    uint64_t sum = UINT64_C(14695981039346656037) ^ (uint64_t)(p->own_token + 1) ^ (p->is_known ? 1U << 31 : 0);
    for (int32_t i = 0; i < p->n; i++) {
        uint32_t value = 0;
        memcpy(&value, &p->values[i], sizeof value);
        sum = (sum ^ (uint64_t)p->ids[i]) * UINT64_C(1099511628211);
        sum = (sum ^ value) * UINT64_C(1099511628211);
    }
    return sum;
}

/* Positions that were there before are as they were. `n_before`: up to which they were looked at; the others are remembered. */
static void check_kept(const cs_api_positions *positions, int32_t n_before)
{
    static uint64_t remembered[POSITIONS_MAX];
    for (int32_t i = 0; i < positions->n; i++) {
        const int32_t position = positions->first + i;
        if (position >= POSITIONS_MAX) {
            return;
        }
        const uint64_t sum = digest(cs_api_positions_find(positions, position));
        check(position >= n_before || remembered[position] == sum, "a position has changed");
        remembered[position] = sum;
    }
}

static void check_positions(const cs_api_positions *positions, int32_t top_k)
{
    const size_t n_words = ((size_t)n_vocab + 63) / 64;
    uint64_t *seen = calloc(n_words, sizeof *seen);
    check(seen != NULL, "out of memory");
    for (size_t i = 0; i < n_words; i++) {
        check(positions->seen[i] == 0, "the bitmap is not clear");
    }
    check(cs_api_positions_find(positions, positions->first - 1) == NULL &&
              cs_api_positions_find(positions, positions->first + positions->n) == NULL,
          "a position that is not there");
    for (int32_t i = 0; i < positions->n; i++) {
        const cs_api_position *p = cs_api_positions_find(positions, positions->first + i);
        check(p != NULL, "a position is missing");
        check_position(p, top_k, seen);
    }
    free(seen);
}

/* An engine's message goes to a terminal: one line, whole characters. */
static void check_message(const json_t *answer)
{
    static const size_t sizes[] = {1, 2, 16, 200};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char *message = malloc(sizes[i]);
        check(message != NULL, "out of memory");
        cs_api_json_message(answer, message, sizes[i]);
        const size_t n = strnlen(message, sizes[i]);
        check(n < sizes[i], "a message without an end");
        for (size_t at = 0, length = 0; at < n; at += length) {
            check(cs_utf8_next(message + at, n - at, &length) == CS_UTF8_VALID, "a message that is no text");
            check((unsigned char)message[at] >= ' ' && message[at] != 0x7F, "a message with control characters");
        }
        free(message);
    }
}

/* ---- one answer -------------------------------------------------------------------------------------------------- */

static void check_refusal(costeer_err code, const costeer_error *err)
{
    check((code == COSTEER_ECLOUD || code == COSTEER_ENOMEM) && err->message[0] != '\0', "refused without a reason");
}

/* Returns whether the engine is still believed. */
static bool read_answer(const cs_api_dialect *dialect, const cs_api_setting *setting, const cs_api_ask *ask, const uint8_t *bytes,
                        size_t n, cs_api_reading *reading)
{
    costeer_error err = {.code = COSTEER_OK};
    json_t *answer = NULL;
    char *text = malloc(n + 1); /* of its own length, so that a sanitizer sees a byte read too many */
    check(text != NULL, "out of memory");
    memcpy(text, bytes, n);
    costeer_err code = cs_api_json_parse(text, n, &answer, &err);
    free(text);
    check((code == COSTEER_OK) == (answer != NULL), "an error with an answer, or none without");
    check_message(answer);
    code = code == COSTEER_OK ? dialect->read(setting, ask, answer, reading, &err) : code;
    json_decref(answer);
    if (code != COSTEER_OK) {
        check_refusal(code, &err);
    }
    return code == COSTEER_OK;
}

/* The question that the answers are to; tokens are not looked at in reading. */
static cs_api_ask make_ask(const cs_api_dialect *dialect, const uint8_t *header)
{
    static const int32_t lengths[] = {1, 2, 8, 1000};
    static const int32_t top_ks[] = {1, 3, 5, 64, 5000};
    const bool is_stream = (header[0] & 4U) != 0;
    return (cs_api_ask){.is_stream = is_stream,
                        .is_probe = (header[0] & 16U) != 0,
                        .n_drafts = is_stream || !dialect->can_score ? 0 : header[1] & 3,
                        .n_predict = is_stream ? lengths[header[1] >> 2 & 3] : 1,
                        .top_k = top_ks[(header[2] & 7U) % (sizeof top_ks / sizeof top_ks[0])],
                        .slot = -1};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const cs_api_dialect *const dialects[] = {&cs_api_llama_server, &cs_api_vllm, &cs_api_sglang, &cs_api_openai};
    if (model == NULL) {
        prepare();
    }
    if (size < HEADER_BYTES) {
        return 0;
    }
    const cs_api_dialect *dialect = dialects[data[0] & 3];
    const cs_api_ask ask = make_ask(dialect, data);
    const cs_api_setting setting = {.model = "m", .ascii_token = (data[0] & 8U) != 0 ? 5 : -1, .spelling = spelling};
    const int32_t n_kept = (data[2] >> 3) + 1;
    cs_api_positions positions;
    cs_api_reading reading;
    check(cs_api_positions_init(&positions, n_vocab, NULL) == COSTEER_OK, "out of memory");
    cs_api_positions_reset(&positions, FIRST);
    cs_api_reading_begin(&reading, &positions);
    bool is_good = true;
    for (size_t at = HEADER_BYTES; is_good && at <= size;) {
        const uint8_t *end = at < size ? memchr(data + at, '\n', size - at) : NULL;
        const size_t n = end != NULL ? (size_t)(end - (data + at)) : size - at;
        const int32_t n_before = positions.first + positions.n;
        is_good = read_answer(dialect, &setting, &ask, data + at, n, &reading);
        check(reading.positions == &positions && reading.n_read >= 0, "the reading is broken");
        check(!is_good || positions.first + positions.n == FIRST + reading.n_read, "other positions than were read");
        check_positions(&positions, ask.top_k);
        check_kept(&positions, n_before);
        cs_api_positions_drop_before(&positions, positions.first + positions.n - n_kept);
        check(positions.n <= n_kept, "positions are kept that were to be dropped");
        at += n + 1;
    }
    cs_api_positions_dispose(&positions);
    return 0;
}
