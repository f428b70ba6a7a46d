/*
 * Frames for the tests of the wire. The golden vectors come from JSON made by a second implementation (golden/make_wire.py).
 */
#include "wire_support.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static void *allocate(size_t n, size_t size)
{
    void *memory = calloc(n > 0 ? n : 1, size);
    assert_non_null(memory);
    return memory;
}

void wire_arrays_init(wire_arrays *a, bool from_node, int32_t n_vocab)
{
    const size_t n = COSTEER_WIRE_VOCAB_MAX;
    a->ids = allocate(n, sizeof a->ids[0]);
    a->values = allocate(n, sizeof a->values[0]);
    a->seen = allocate(n / 64, sizeof a->seen[0]);
    a->reader = (costeer_wire_reader){.from_node = from_node,
                                      .n_vocab = n_vocab,
                                      .max_context = COSTEER_WIRE_CONTEXT_MAX,
                                      .ids = a->ids,
                                      .max_ids = n,
                                      .values = a->values,
                                      .max_values = n,
                                      .seen = a->seen,
                                      .messages = a->messages};
}

void wire_arrays_dispose(wire_arrays *a)
{
    free(a->ids);
    free(a->values);
    free(a->seen);
}

void owned_frame_dispose(owned_frame *f)
{
    free(f->first_ids);
    free(f->second_ids);
    free(f->values);
}

/* ---- golden vectors ---------------------------------------------------------------------------------------------- */

static json_int_t integer(const json_t *object, const char *field)
{
    const json_t *value = json_object_get(object, field);
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

static int32_t number(const json_t *object, const char *field)
{
    return (int32_t)integer(object, field);
}

static bool flag(const json_t *object, const char *field)
{
    const json_t *value = json_object_get(object, field);
    assert_true(json_is_boolean(value));
    return json_is_true(value);
}

static const char *string(const json_t *object, const char *field, size_t *n)
{
    const json_t *value = json_object_get(object, field);
    assert_true(json_is_string(value));
    *n = json_string_length(value);
    return json_string_value(value);
}

static int32_t *list_of_ids(const json_t *object, const char *field, size_t *n)
{
    const json_t *list = json_object_get(object, field);
    *n = json_array_size(list);
    int32_t *ids = allocate(*n, sizeof ids[0]);
    for (size_t i = 0; i < *n; i++) {
        ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    }
    return ids;
}

static float logprob(const json_t *value)
{
    assert_true(json_is_number(value) || json_is_string(value));
    return json_is_string(value) ? -INFINITY : (float)json_number_value(value);
}

static uint8_t *from_hex(const char *hex, size_t n_hex, size_t *n)
{
    static const char digits[] = "0123456789abcdef";
    assert_int_equal(n_hex % 2, 0);
    *n = n_hex / 2;
    uint8_t *bytes = allocate(*n, 1);
    for (size_t i = 0; i < n_hex; i++) {
        const char *digit = strchr(digits, hex[i]);
        assert_non_null(digit);
        bytes[i / 2] = (uint8_t)(bytes[i / 2] << 4 | (digit - digits));
    }
    return bytes;
}

static void load_hello(const json_t *json, owned_frame *out)
{
    costeer_frame_hello *f = &out->frame.as.hello;
    f->version = number(json, "version");
    f->n_vocab = number(json, "n_vocab");
    f->max_context = number(json, "max_context");
    f->max_window = number(json, "max_window");
    f->max_drafts = number(json, "max_drafts");
    f->name = string(json, "name", &f->n_name);
    size_t n_hex;
    size_t n;
    const char *hex = string(json, "vocab_sha256", &n_hex);
    uint8_t *hash = from_hex(hex, n_hex, &n);
    assert_int_equal(n, sizeof f->vocab_sha256);
    memcpy(f->vocab_sha256, hash, n);
    free(hash);
}

static void load_open(const json_t *json, owned_frame *out)
{
    costeer_frame_open *f = &out->frame.as.open;
    f->mode = (costeer_cloud_mode)integer(json, "mode");
    f->window = number(json, "window");
    f->top_k = number(json, "top_k");
    f->max_tokens = number(json, "max_tokens");
    f->half = flag(json, "half");
    f->prompt = out->first_ids = list_of_ids(json, "prompt", &f->n_prompt);
    f->accepted = out->second_ids = list_of_ids(json, "accepted", &f->n_accepted);
    const json_t *messages = json_object_get(json, "messages");
    f->n_messages = json_array_size(messages);
    for (size_t i = 0; i < f->n_messages; i++) {
        costeer_chat_message *m = &out->messages[i];
        m->role = string(json_array_get(messages, i), "role", &m->n_role);
        m->text = string(json_array_get(messages, i), "text", &m->n_text);
    }
    f->messages = out->messages;
}

static void load_distribution(const json_t *json, owned_frame *out)
{
    costeer_frame_distribution *f = &out->frame.as.distribution;
    f->form = (costeer_wire_form)integer(json, "form");
    f->epoch = number(json, "epoch");
    f->position = number(json, "position");
    f->own_token = number(json, "own_token");
    f->compute_us = (uint32_t)integer(json, "compute_us");
    f->tail = logprob(json_object_get(json, "tail"));
    const json_t *values = json_object_get(json, "values");
    f->n = (int32_t)json_array_size(values);
    out->values = allocate((size_t)f->n, sizeof out->values[0]);
    for (int32_t i = 0; i < f->n; i++) {
        out->values[i] = logprob(json_array_get(values, (size_t)i));
    }
    f->values = out->values;
    if (f->form != COSTEER_FORM_DENSE) {
        size_t n;
        f->ids = out->first_ids = list_of_ids(json, "ids", &n);
        assert_int_equal(n, f->n);
    }
}

static void load_small(const json_t *json, owned_frame *out)
{
    costeer_frame *f = &out->frame;
    switch (f->type) {
    case COSTEER_FRAME_COMMIT:
        f->as.commit.position = number(json, "position");
        break;
    case COSTEER_FRAME_CORRECT:
        f->as.correct = (costeer_frame_correct){number(json, "epoch"), number(json, "position"), number(json, "token")};
        break;
    case COSTEER_FRAME_DRAFT:
        f->as.draft.position = number(json, "position");
        f->as.draft.tokens = out->first_ids = list_of_ids(json, "tokens", &f->as.draft.n);
        break;
    case COSTEER_FRAME_DEEPEN:
        f->as.deepen = (costeer_frame_deepen){number(json, "epoch"), number(json, "position"), number(json, "top_k")};
        break;
    case COSTEER_FRAME_CLOSE:
        f->as.close = (costeer_frame_close){(uint32_t)integer(json, "n_steps"), (uint32_t)integer(json, "n_wasted"),
                                            (uint32_t)integer(json, "n_rollbacks")};
        break;
    case COSTEER_FRAME_ERROR:
        f->as.error.code = (costeer_wire_error)integer(json, "code");
        f->as.error.retry_after_ms = (uint32_t)integer(json, "retry_after_ms");
        f->as.error.message = string(json, "message", &f->as.error.n_message);
        break;
    case COSTEER_FRAME_PING:
        f->as.ping = (costeer_frame_ping){flag(json, "is_reply"), (uint32_t)integer(json, "nonce")};
        break;
    default:
        fail_msg("unknown frame type %d", (int)f->type);
    }
}

static costeer_frame_type type_by_name(const char *name)
{
    for (unsigned i = 1; i <= COSTEER_FRAME_PING; i++) {
        if (strcmp(costeer_frame_name((costeer_frame_type)i), name) == 0) {
            return (costeer_frame_type)i;
        }
    }
    fail_msg("no frame is called %s", name);
    return COSTEER_FRAME_PING;
}

static void load_vector(const json_t *json, golden_vector *out)
{
    size_t n;
    out->name = string(json, "name", &n);
    out->from_node = flag(json, "from_node");
    out->n_vocab = number(json, "n_vocab");
    out->owned.frame.type = type_by_name(string(json, "type", &n));
    const char *hex = string(json, "hex", &n);
    out->bytes = from_hex(hex, n, &out->n);
    const json_t *frame = json_object_get(json, "frame");
    switch (out->owned.frame.type) {
    case COSTEER_FRAME_HELLO:
        load_hello(frame, &out->owned);
        break;
    case COSTEER_FRAME_OPEN:
        load_open(frame, &out->owned);
        break;
    case COSTEER_FRAME_DISTRIBUTION:
        load_distribution(frame, &out->owned);
        break;
    default:
        load_small(frame, &out->owned);
    }
}

golden_vector *golden_load(size_t *n, json_t **root)
{
    *root = json_load_file(COSTEER_TEST_GOLDEN_DIR "/wire.json", 0, NULL);
    const json_t *list = json_object_get(*root, "vectors");
    *n = json_array_size(list);
    assert_true(*n > 0);
    golden_vector *vectors = allocate(*n, sizeof vectors[0]);
    for (size_t i = 0; i < *n; i++) {
        load_vector(json_array_get(list, i), &vectors[i]);
    }
    return vectors;
}

void golden_free(golden_vector *vectors, size_t n, json_t *root)
{
    for (size_t i = 0; i < n; i++) {
        owned_frame_dispose(&vectors[i].owned);
        free(vectors[i].bytes);
    }
    free(vectors);
    json_decref(root);
}

/* ---- random frames ----------------------------------------------------------------------------------------------- */

/* Small numbers as often as large ones. */
static int32_t any_below(struct test_random *r, int32_t n)
{
    const int32_t few = n < 200 ? n : 200;
    return test_random_below(r, test_random_below(r, 2) == 0 ? few : n);
}

static int32_t *random_ids(struct test_random *r, size_t n, int32_t n_vocab)
{
    int32_t *ids = allocate(n, sizeof ids[0]);
    for (size_t i = 0; i < n; i++) {
        ids[i] = test_random_below(r, n_vocab);
    }
    return ids;
}

static void random_open(struct test_random *r, int32_t n_vocab, owned_frame *out)
{
    static const char text[] = "Gr\xC3\xBC\xC3\x9F"
                               "e\nand\ttabs";
    costeer_frame_open *f = &out->frame.as.open;
    f->mode = (costeer_cloud_mode)test_random_below(r, 3);
    f->window = f->mode == COSTEER_MODE_STREAMED ? 1 + test_random_below(r, COSTEER_WIRE_WINDOW_MAX) : 0;
    f->top_k = test_random_below(r, n_vocab + 1);
    f->max_tokens = 1 + any_below(r, COSTEER_WIRE_CONTEXT_MAX);
    f->half = test_random_below(r, 2) == 0;
    f->n_accepted = (size_t)test_random_below(r, f->max_tokens < 40 ? f->max_tokens : 40);
    f->accepted = out->second_ids = random_ids(r, f->n_accepted, n_vocab);
    if (test_random_below(r, 2) == 0) {
        f->n_prompt = 1 + (size_t)any_below(r, 2000);
        f->prompt = out->first_ids = random_ids(r, f->n_prompt, n_vocab);
        return;
    }
    f->n_messages = 1 + (size_t)test_random_below(r, COSTEER_WIRE_CHAT_MAX);
    for (size_t i = 0; i < f->n_messages; i++) {
        const size_t n_text = test_random_below(r, 2) == 0 ? 0 : sizeof text - 1;
        out->messages[i] = (costeer_chat_message){.role = "assistant", .n_role = 9, .text = text, .n_text = n_text};
    }
    f->messages = out->messages;
}

/* Probabilities that fall from entry to entry and never reach 1 together. */
static void random_distribution(struct test_random *r, int32_t n_vocab, owned_frame *out)
{
    costeer_frame_distribution *f = &out->frame.as.distribution;
    f->form = (costeer_wire_form)test_random_below(r, n_vocab <= 5000 ? 3 : 2);
    f->epoch = any_below(r, INT32_MAX);
    f->position = any_below(r, COSTEER_WIRE_CONTEXT_MAX);
    f->compute_us = (uint32_t)test_random_bits(r);
    f->n = f->form == COSTEER_FORM_DENSE ? n_vocab : 1 + test_random_below(r, n_vocab < 128 ? n_vocab : 128);
    out->values = allocate((size_t)f->n, sizeof out->values[0]);
    f->values = out->values;
    double left = 1.0;
    for (int32_t i = 0; i < f->n; i++) {
        const double value = log(left * test_random_between(r, 0.5, 0.9));
        out->values[i] = (float)(value > -31.0 ? value : -31.0);
        left *= 0.1;
    }
    f->tail = f->form == COSTEER_FORM_DENSE || test_random_below(r, 4) == 0 ? -INFINITY : (float)log(left);
    if (f->form == COSTEER_FORM_DENSE) {
        f->own_token = 0;
        return;
    }
    const int32_t start = test_random_below(r, n_vocab);
    out->first_ids = allocate((size_t)f->n, sizeof out->first_ids[0]);
    for (int32_t i = 0; i < f->n; i++) {
        out->first_ids[i] = (start + i) % n_vocab;
    }
    f->ids = out->first_ids;
    f->own_token = start;
}

static void random_small(struct test_random *r, int32_t n_vocab, owned_frame *out)
{
    costeer_frame *f = &out->frame;
    const int32_t position = any_below(r, COSTEER_WIRE_CONTEXT_MAX - COSTEER_WIRE_DRAFTS_MAX);
    switch (f->type) {
    case COSTEER_FRAME_COMMIT:
        f->as.commit.position = position;
        break;
    case COSTEER_FRAME_CORRECT:
        f->as.correct = (costeer_frame_correct){1 + any_below(r, INT32_MAX - 1), position, test_random_below(r, n_vocab)};
        break;
    case COSTEER_FRAME_DRAFT:
        f->as.draft.position = position;
        f->as.draft.n = 1 + (size_t)test_random_below(r, COSTEER_WIRE_DRAFTS_MAX);
        f->as.draft.tokens = out->first_ids = random_ids(r, f->as.draft.n, n_vocab);
        break;
    case COSTEER_FRAME_DEEPEN:
        f->as.deepen = (costeer_frame_deepen){any_below(r, INT32_MAX), position, test_random_below(r, n_vocab + 1)};
        break;
    case COSTEER_FRAME_ERROR:
        f->as.error = (costeer_frame_error){(costeer_wire_error)(1 + test_random_below(r, 7)), (uint32_t)test_random_bits(r),
                                            "no room", (size_t)test_random_below(r, 8)};
        break;
    case COSTEER_FRAME_PING:
        f->as.ping = (costeer_frame_ping){test_random_below(r, 2) == 0, (uint32_t)test_random_bits(r)};
        break;
    default: /* close of a device: zeros */
        break;
    }
}

void random_frame(struct test_random *r, bool from_node, int32_t n_vocab, owned_frame *out)
{
    static const costeer_frame_type of_node[] = {COSTEER_FRAME_HELLO, COSTEER_FRAME_DISTRIBUTION, COSTEER_FRAME_CLOSE,
                                                 COSTEER_FRAME_ERROR, COSTEER_FRAME_PING};
    static const costeer_frame_type of_device[] = {COSTEER_FRAME_OPEN,  COSTEER_FRAME_COMMIT, COSTEER_FRAME_CORRECT,
                                                   COSTEER_FRAME_DRAFT, COSTEER_FRAME_DEEPEN, COSTEER_FRAME_CLOSE,
                                                   COSTEER_FRAME_ERROR, COSTEER_FRAME_PING};
    memset(out, 0, sizeof *out);
    out->frame.type = from_node ? of_node[test_random_below(r, 5)] : of_device[test_random_below(r, 8)];
    if (out->frame.type == COSTEER_FRAME_HELLO) {
        costeer_frame_hello *f = &out->frame.as.hello;
        *f = (costeer_frame_hello){.version = COSTEER_WIRE_VERSION,
                                   .n_vocab = 1 + any_below(r, COSTEER_WIRE_VOCAB_MAX),
                                   .max_context = 1 + any_below(r, COSTEER_WIRE_CONTEXT_MAX),
                                   .max_window = test_random_below(r, COSTEER_WIRE_WINDOW_MAX + 1),
                                   .max_drafts = test_random_below(r, COSTEER_WIRE_DRAFTS_MAX + 1),
                                   .name = "a model",
                                   .n_name = (size_t)test_random_below(r, 8)};
        f->vocab_sha256[test_random_below(r, 32)] = (uint8_t)test_random_bits(r);
    } else if (out->frame.type == COSTEER_FRAME_OPEN) {
        random_open(r, n_vocab, out);
    } else if (out->frame.type == COSTEER_FRAME_DISTRIBUTION) {
        random_distribution(r, n_vocab, out);
    } else {
        random_small(r, n_vocab, out);
    }
}

/* ---- comparison -------------------------------------------------------------------------------------------------- */

static void assert_same_bytes(const void *a, size_t n_a, const void *b, size_t n_b)
{
    assert_int_equal(n_a, n_b);
    if (n_a > 0) {
        assert_memory_equal(a, b, n_a);
    }
}

static void assert_opens_equal(const costeer_frame_open *a, const costeer_frame_open *b)
{
    assert_int_equal(a->mode, b->mode);
    assert_int_equal(a->window, b->window);
    assert_int_equal(a->top_k, b->top_k);
    assert_int_equal(a->max_tokens, b->max_tokens);
    assert_int_equal(a->half, b->half);
    assert_same_bytes(a->prompt, a->n_prompt * sizeof a->prompt[0], b->prompt, b->n_prompt * sizeof b->prompt[0]);
    assert_same_bytes(a->accepted, a->n_accepted * sizeof a->accepted[0], b->accepted, b->n_accepted * sizeof b->accepted[0]);
    assert_int_equal(a->n_messages, b->n_messages);
    for (size_t i = 0; i < a->n_messages; i++) {
        assert_same_bytes(a->messages[i].role, a->messages[i].n_role, b->messages[i].role, b->messages[i].n_role);
        assert_same_bytes(a->messages[i].text, a->messages[i].n_text, b->messages[i].text, b->messages[i].n_text);
    }
}

static void assert_distributions_equal(const costeer_frame_distribution *a, const costeer_frame_distribution *b, double rounding)
{
    assert_int_equal(a->form, b->form);
    assert_int_equal(a->epoch, b->epoch);
    assert_int_equal(a->position, b->position);
    assert_int_equal(a->own_token, b->own_token);
    assert_int_equal(a->compute_us, b->compute_us);
    assert_true(a->tail == b->tail);
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->ids == NULL, b->ids == NULL);
    if (a->ids != NULL) {
        assert_memory_equal(a->ids, b->ids, (size_t)a->n * sizeof a->ids[0]);
    }
    const double most = a->form == COSTEER_FORM_HALF ? rounding : 0.0;
    for (int32_t i = 0; i < a->n; i++) {
        assert_true(a->values[i] == b->values[i] || fabs((double)a->values[i] - (double)b->values[i]) <= most);
    }
}

static void assert_hellos_equal(const costeer_frame_hello *a, const costeer_frame_hello *b)
{
    assert_int_equal(a->version, b->version);
    assert_int_equal(a->n_vocab, b->n_vocab);
    assert_int_equal(a->max_context, b->max_context);
    assert_int_equal(a->max_window, b->max_window);
    assert_int_equal(a->max_drafts, b->max_drafts);
    assert_memory_equal(a->vocab_sha256, b->vocab_sha256, sizeof a->vocab_sha256);
    assert_same_bytes(a->name, a->n_name, b->name, b->n_name);
}

void assert_frames_equal(const costeer_frame *a, const costeer_frame *b, double rounding)
{
    assert_int_equal(a->type, b->type);
    switch (a->type) {
    case COSTEER_FRAME_HELLO:
        assert_hellos_equal(&a->as.hello, &b->as.hello);
        break;
    case COSTEER_FRAME_OPEN:
        assert_opens_equal(&a->as.open, &b->as.open);
        break;
    case COSTEER_FRAME_DISTRIBUTION:
        assert_distributions_equal(&a->as.distribution, &b->as.distribution, rounding);
        break;
    case COSTEER_FRAME_COMMIT:
        assert_int_equal(a->as.commit.position, b->as.commit.position);
        break;
    case COSTEER_FRAME_CORRECT:
        assert_memory_equal(&a->as.correct, &b->as.correct, sizeof a->as.correct);
        break;
    case COSTEER_FRAME_DRAFT:
        assert_int_equal(a->as.draft.position, b->as.draft.position);
        assert_same_bytes(a->as.draft.tokens, a->as.draft.n * sizeof a->as.draft.tokens[0], b->as.draft.tokens,
                          b->as.draft.n * sizeof b->as.draft.tokens[0]);
        break;
    case COSTEER_FRAME_DEEPEN:
        assert_memory_equal(&a->as.deepen, &b->as.deepen, sizeof a->as.deepen);
        break;
    case COSTEER_FRAME_CLOSE:
        assert_memory_equal(&a->as.close, &b->as.close, sizeof a->as.close);
        break;
    case COSTEER_FRAME_ERROR:
        assert_int_equal(a->as.error.code, b->as.error.code);
        assert_int_equal(a->as.error.retry_after_ms, b->as.error.retry_after_ms);
        assert_same_bytes(a->as.error.message, a->as.error.n_message, b->as.error.message, b->as.error.n_message);
        break;
    case COSTEER_FRAME_PING:
        assert_int_equal(a->as.ping.is_reply, b->as.ping.is_reply);
        assert_int_equal(a->as.ping.nonce, b->as.ping.nonce);
        break;
    }
}
