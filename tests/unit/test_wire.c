/*
 * The wire's frames: golden bytes both ways, random frames there and back, sizes, and what an encoder refuses. Broken bytes are
 * in test_wire_rules.c.
 */
#include "wire_support.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void assert_seen_is_zero(const wire_arrays *a)
{
    for (size_t i = 0; i < COSTEER_WIRE_VOCAB_MAX / 64; i++) {
        assert_int_equal(a->seen[i], 0);
    }
}

/* ---- golden bytes ------------------------------------------------------------------------------------------------ */

static void test_wire__writes_the_golden_bytes(void **state)
{
    (void)state;
    size_t n_vectors;
    json_t *root;
    golden_vector *vectors = golden_load(&n_vectors, &root);
    for (size_t i = 0; i < n_vectors; i++) {
        const golden_vector *v = &vectors[i];
        uint8_t bytes[1024];
        size_t n = 0;
        costeer_error err = {.code = COSTEER_OK};
        if (costeer_wire_encode(&v->owned.frame, v->n_vocab, bytes, sizeof bytes, &n, &err) != COSTEER_OK) {
            fail_msg("%s: %s", v->name, err.message);
        }
        if (n != v->n || memcmp(bytes, v->bytes, n) != 0) {
            fail_msg("%s: other bytes", v->name);
        }
        assert_true(n <= costeer_wire_size_max(&v->owned.frame, v->n_vocab));
    }
    golden_free(vectors, n_vectors, root);
}

static void test_wire__reads_the_golden_bytes(void **state)
{
    (void)state;
    size_t n_vectors;
    json_t *root;
    golden_vector *vectors = golden_load(&n_vectors, &root);
    for (size_t i = 0; i < n_vectors; i++) {
        const golden_vector *v = &vectors[i];
        wire_arrays a;
        wire_arrays_init(&a, v->from_node, v->n_vocab);
        costeer_frame frame;
        size_t n_read = 0;
        costeer_error err = {.code = COSTEER_OK};
        if (costeer_wire_decode(&a.reader, v->bytes, v->n, &frame, &n_read, &err) != COSTEER_OK) {
            fail_msg("%s: %s", v->name, err.message);
        }
        assert_int_equal(n_read, v->n);
        assert_frames_equal(&v->owned.frame, &frame, 0.0);
        assert_seen_is_zero(&a);
        wire_arrays_dispose(&a);
    }
    golden_free(vectors, n_vectors, root);
}

/* Every type is among them, from each side that may send it. */
static void test_wire__golden_bytes_cover_every_frame(void **state)
{
    (void)state;
    size_t n_vectors;
    json_t *root;
    golden_vector *vectors = golden_load(&n_vectors, &root);
    bool has[COSTEER_FRAME_PING + 1] = {false};
    for (size_t i = 0; i < n_vectors; i++) {
        has[vectors[i].owned.frame.type] = true;
    }
    for (unsigned type = 1; type <= COSTEER_FRAME_PING; type++) {
        assert_true(has[type]);
    }
    golden_free(vectors, n_vectors, root);
}

/* The buffer is just as long as what is left of the frame, so that a sanitizer sees a byte read too many. */
static void test_wire__a_frame_cut_anywhere_is_an_error(void **state)
{
    (void)state;
    size_t n_vectors;
    json_t *root;
    golden_vector *vectors = golden_load(&n_vectors, &root);
    for (size_t i = 0; i < n_vectors; i++) {
        const golden_vector *v = &vectors[i];
        wire_arrays a;
        wire_arrays_init(&a, v->from_node, v->n_vocab);
        for (size_t n = 0; n < v->n; n++) {
            uint8_t *cut = malloc(n > 0 ? n : 1);
            assert_non_null(cut);
            memcpy(cut, v->bytes, n);
            costeer_frame frame;
            size_t n_read = 0;
            costeer_error err = {.code = COSTEER_OK};
            assert_int_equal(costeer_wire_decode(&a.reader, cut, n, &frame, &n_read, &err), COSTEER_ECLOUD);
            assert_non_null(strstr(err.message, n == 0 ? "has no frame" : "ends within"));
            free(cut);
        }
        assert_seen_is_zero(&a);
        wire_arrays_dispose(&a);
    }
    golden_free(vectors, n_vectors, root);
}

static void test_wire__no_room_is_an_error_and_leaves_the_length(void **state)
{
    (void)state;
    size_t n_vectors;
    json_t *root;
    golden_vector *vectors = golden_load(&n_vectors, &root);
    for (size_t i = 0; i < n_vectors; i++) {
        const golden_vector *v = &vectors[i];
        for (size_t capacity = 0; capacity < v->n; capacity++) {
            uint8_t *bytes = malloc(capacity > 0 ? capacity : 1);
            assert_non_null(bytes);
            size_t n = 0;
            costeer_error err;
            assert_int_equal(costeer_wire_encode(&v->owned.frame, v->n_vocab, bytes, capacity, &n, &err), COSTEER_ETOOLONG);
            assert_int_equal(n, 0);
            free(bytes);
        }
    }
    golden_free(vectors, n_vectors, root);
}

/* ---- there and back ---------------------------------------------------------------------------------------------- */

static void round_trip(struct test_random *r, wire_arrays *a)
{
    owned_frame owned;
    random_frame(r, a->reader.from_node, a->reader.n_vocab, &owned);
    const size_t most = costeer_wire_size_max(&owned.frame, a->reader.n_vocab);
    uint8_t *bytes = malloc(most);
    assert_non_null(bytes);
    size_t n = 0;
    size_t n_read = 0;
    costeer_frame back;
    costeer_error err = {.code = COSTEER_OK};
    if (costeer_wire_encode(&owned.frame, a->reader.n_vocab, bytes, most, &n, &err) != COSTEER_OK ||
        costeer_wire_decode(&a->reader, bytes, n, &back, &n_read, &err) != COSTEER_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(n_read, n);
    assert_frames_equal(&owned.frame, &back, COSTEER_WIRE_HALF_ERROR);
    free(bytes);
    owned_frame_dispose(&owned);
}

static void test_wire__random_frames_come_back(void **state)
{
    (void)state;
    static const int32_t n_vocabs[] = {1, 2, 3, 255, 256, 257, 5000, QWEN_VOCAB, COSTEER_WIRE_VOCAB_MAX};
    struct test_random r = {.state = 20260301};
    for (size_t i = 0; i < sizeof n_vocabs / sizeof n_vocabs[0]; i++) {
        for (int from_node = 0; from_node < 2; from_node++) {
            wire_arrays a;
            wire_arrays_init(&a, from_node != 0, n_vocabs[i]);
            for (int k = 0; k < 200; k++) {
                round_trip(&r, &a);
            }
            assert_seen_is_zero(&a);
            wire_arrays_dispose(&a);
        }
    }
}

static void test_wire__a_message_holds_several_frames(void **state)
{
    (void)state;
    static const int32_t drafts[] = {1, 2, 3};
    const costeer_frame correct = {.type = COSTEER_FRAME_CORRECT, .as.correct = {.epoch = 1, .position = 4, .token = 9}};
    const costeer_frame draft = {.type = COSTEER_FRAME_DRAFT, .as.draft = {.position = 5, .tokens = drafts, .n = 3}};
    uint8_t bytes[64];
    size_t n = 0;
    assert_int_equal(costeer_wire_encode(&correct, QWEN_VOCAB, bytes, sizeof bytes, &n, NULL), COSTEER_OK);
    const size_t first = n;
    assert_int_equal(costeer_wire_encode(&draft, QWEN_VOCAB, bytes, sizeof bytes, &n, NULL), COSTEER_OK);

    wire_arrays a;
    wire_arrays_init(&a, false, QWEN_VOCAB);
    costeer_frame frame;
    size_t n_read;
    assert_int_equal(costeer_wire_decode(&a.reader, bytes, n, &frame, &n_read, NULL), COSTEER_OK);
    assert_int_equal(n_read, first);
    assert_frames_equal(&correct, &frame, 0.0);
    assert_int_equal(costeer_wire_decode(&a.reader, bytes + n_read, n - n_read, &frame, &n_read, NULL), COSTEER_OK);
    assert_int_equal(n_read, n - first);
    assert_frames_equal(&draft, &frame, 0.0);
    wire_arrays_dispose(&a);
}

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

static size_t size_of(const costeer_frame *frame)
{
    uint8_t bytes[1024];
    size_t n = 0;
    costeer_error err = {.code = COSTEER_OK};
    if (costeer_wire_encode(frame, QWEN_VOCAB, bytes, sizeof bytes, &n, &err) != COSTEER_OK) {
        fail_msg("%s", err.message);
    }
    return n;
}

/* What is promised of 64 entries: that no values whatever take more; and what usual ones take. */
static void test_wire__a_distribution_of_64_takes_450_bytes_and_300_in_halves(void **state)
{
    (void)state;
    int32_t ids[64];
    float values[64];
    for (int32_t i = 0; i < 64; i++) {
        ids[i] = QWEN_VOCAB - 1 - i;
        values[i] = -5.0F - 0.2F * (float)i;
    }
    costeer_frame frame = {.type = COSTEER_FRAME_DISTRIBUTION,
                           .as.distribution = {.form = COSTEER_FORM_EXACT,
                                               .epoch = INT32_MAX,
                                               .position = COSTEER_WIRE_CONTEXT_MAX - 1,
                                               .own_token = ids[0],
                                               .compute_us = UINT32_MAX,
                                               .tail = -0.5F,
                                               .n = 64,
                                               .ids = ids,
                                               .values = values}};
    assert_in_range(costeer_wire_size_max(&frame, QWEN_VOCAB), size_of(&frame), 450);
    assert_in_range(size_of(&frame), 300, 380);
    frame.as.distribution.form = COSTEER_FORM_HALF;
    assert_in_range(costeer_wire_size_max(&frame, QWEN_VOCAB), size_of(&frame), 300);
    assert_in_range(size_of(&frame), 200, 290);
}

/* A client's WebSocket message has 6 bytes of its own (RFC 6455, section 5.2); a token may cost 16. */
static void test_wire__commit_and_correct_fit_16_bytes_with_framing(void **state)
{
    (void)state;
    const costeer_frame commit = {.type = COSTEER_FRAME_COMMIT, .as.commit = {.position = 16383}};
    const costeer_frame correct = {.type = COSTEER_FRAME_CORRECT,
                                   .as.correct = {.epoch = 16383, .position = 16383, .token = QWEN_VOCAB - 1}};
    assert_int_equal(size_of(&commit), 3);
    assert_true(6 + size_of(&correct) <= 16);
}

/* ---- halves ------------------------------------------------------------------------------------------------------ */

static costeer_err encode_pair(costeer_wire_form form, float first, float second, uint8_t *bytes, size_t *n, costeer_error *err)
{
    const int32_t ids[] = {7, 8};
    const float values[] = {first, second};
    const costeer_frame frame = {
        .type = COSTEER_FRAME_DISTRIBUTION,
        .as.distribution = {.form = form, .own_token = 7, .tail = -INFINITY, .n = 2, .ids = ids, .values = values}};
    *n = 0;
    return costeer_wire_encode(&frame, 300, bytes, 64, n, err);
}

static void test_wire__halves_are_off_by_2_to_the_minus_12_at_most(void **state)
{
    (void)state;
    wire_arrays a;
    wire_arrays_init(&a, true, 300);
    struct test_random r = {.state = 7};
    double worst = 0.0;
    for (int i = 0; i < 20000; i++) {
        const float first = (float)test_random_between(&r, -31.9, -0.7);
        const float second = (float)test_random_between(&r, -31.98, (double)first);
        uint8_t bytes[64];
        size_t n;
        costeer_frame frame;
        assert_int_equal(encode_pair(COSTEER_FORM_HALF, first, second, bytes, &n, NULL), COSTEER_OK);
        assert_int_equal(costeer_wire_decode(&a.reader, bytes, n, &frame, &n, NULL), COSTEER_OK);
        worst = fmax(worst, fabs((double)frame.as.distribution.values[0] - (double)first));
        worst = fmax(worst, fabs((double)frame.as.distribution.values[1] - (double)second));
    }
    assert_true(worst <= COSTEER_WIRE_HALF_ERROR);
    assert_true(worst > 0.9 * COSTEER_WIRE_HALF_ERROR);
    wire_arrays_dispose(&a);
}

static void test_wire__halves_refuse_what_is_below_their_range(void **state)
{
    (void)state;
    uint8_t bytes[64];
    size_t n;
    costeer_error err;
    assert_int_equal(encode_pair(COSTEER_FORM_HALF, -1.0F, -31.9899F, bytes, &n, &err), COSTEER_OK);
    assert_int_equal(encode_pair(COSTEER_FORM_HALF, -1.0F, -31.991F, bytes, &n, &err), COSTEER_EINVAL);
    assert_string_equal(err.message, "distribution: entry 1: -31.991 does not fit 16 bits");
    assert_int_equal(n, 0);
    assert_int_equal(encode_pair(COSTEER_FORM_EXACT, -1.0F, -31.991F, bytes, &n, &err), COSTEER_OK);
}

/* ---- what an encoder refuses ------------------------------------------------------------------------------------- */

static void assert_refused(const costeer_frame *frame, int32_t n_vocab, const char *message)
{
    uint8_t bytes[256];
    size_t n = 3;
    costeer_error err = {.code = COSTEER_OK};
    assert_int_equal(costeer_wire_encode(frame, n_vocab, bytes, sizeof bytes, &n, &err), COSTEER_EINVAL);
    assert_string_equal(err.component, "wire");
    assert_string_equal(err.message, message);
    assert_int_equal(n, 3);
}

static void test_wire__the_encoder_refuses_what_a_decoder_would(void **state)
{
    (void)state;
    costeer_frame f = {.type = COSTEER_FRAME_COMMIT, .as.commit = {.position = -1}};
    assert_refused(&f, 5, "commit: position: -1 is not in [0, 1048575]");
    assert_refused(&f, 0, "commit: comes before the vocabulary is known");
    f = (costeer_frame){.type = (costeer_frame_type)0x104};
    assert_refused(&f, 5, "unknown: type: 260 is not in [1, 10]");
    f = (costeer_frame){.type = COSTEER_FRAME_DRAFT, .as.draft = {.position = 0, .tokens = NULL, .n = 2}};
    assert_refused(&f, 5, "draft: the list of drafts is NULL");
    f = (costeer_frame){.type = COSTEER_FRAME_ERROR, .as.error = {.code = COSTEER_WIRE_EBUSY, .message = "a\nb", .n_message = 3}};
    assert_refused(&f, 5, "error: message: byte 1 is a control character");
}

static void test_wire__an_open_has_either_tokens_or_messages(void **state)
{
    (void)state;
    static const int32_t tokens[] = {4, 5};
    const costeer_chat_message message = {.role = "user", .n_role = 4, .text = "hi", .n_text = 2};
    costeer_frame f = {.type = COSTEER_FRAME_OPEN, .as.open = {.mode = COSTEER_MODE_LOCKSTEP, .max_tokens = 1}};
    assert_refused(&f, 5, "open: give either prompt tokens or messages");
    f.as.open.prompt = tokens;
    f.as.open.n_prompt = 1;
    f.as.open.messages = &message;
    f.as.open.n_messages = 1;
    assert_refused(&f, 5, "open: give either prompt tokens or messages");
    f.as.open.n_messages = 0;
    f.as.open.mode = (costeer_cloud_mode)256;
    assert_refused(&f, 5, "open: mode: 256 is not in [0, 2]");
    f.as.open.mode = COSTEER_MODE_LOCKSTEP;
    f.as.open.n_prompt = 2;
    assert_refused(&f, 5, "open: prompt token 1: token 5 is not one of 5");
}

static void test_wire__the_encoder_checks_a_distribution(void **state)
{
    (void)state;
    static const int32_t ids[] = {3, 1};
    float values[] = {-0.25F, -2.0F, -9.0F, -9.0F, -9.0F};
    costeer_frame f = {.type = COSTEER_FRAME_DISTRIBUTION,
                       .as.distribution = {.own_token = 1, .tail = -4.0F, .n = 2, .ids = ids, .values = values}};
    costeer_frame_distribution *d = &f.as.distribution;
    assert_refused(&f, 5, "distribution: own_token: it is not the first entry's");
    d->own_token = 3;
    values[0] = NAN;
    assert_refused(&f, 5, "distribution: entry 0: nan is not a log-probability");
    values[0] = -3.0F;
    assert_refused(&f, 5, "distribution: entry 1: -2 is above the entry before it, -3");
    values[0] = -0.25F;
    d->form = COSTEER_FORM_DENSE;
    assert_refused(&f, 5, "distribution: the dense form has n = n_vocab, no ids, and -inf as tail");
    d->n = 5;
    d->ids = NULL;
    d->tail = -INFINITY;
    assert_refused(&f, 5, "distribution: own_token: entry 0 is above it, -0.25 > -9");
}

static void test_wire__names_are_those_of_the_specification(void **state)
{
    (void)state;
    assert_string_equal(costeer_frame_name(COSTEER_FRAME_DISTRIBUTION), "distribution");
    assert_string_equal(costeer_frame_name((costeer_frame_type)0), "unknown");
    assert_string_equal(costeer_frame_name((costeer_frame_type)11), "unknown");
    assert_string_equal(costeer_wire_error_name(COSTEER_WIRE_EPROTOCOL), "protocol");
    assert_string_equal(costeer_wire_error_name(COSTEER_WIRE_ERATE), "rate");
    assert_string_equal(costeer_wire_error_name((costeer_wire_error)0), "unknown");
    assert_string_equal(costeer_wire_error_name((costeer_wire_error)99), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wire__writes_the_golden_bytes),
        cmocka_unit_test(test_wire__reads_the_golden_bytes),
        cmocka_unit_test(test_wire__golden_bytes_cover_every_frame),
        cmocka_unit_test(test_wire__a_frame_cut_anywhere_is_an_error),
        cmocka_unit_test(test_wire__no_room_is_an_error_and_leaves_the_length),
        cmocka_unit_test(test_wire__random_frames_come_back),
        cmocka_unit_test(test_wire__a_message_holds_several_frames),
        cmocka_unit_test(test_wire__a_distribution_of_64_takes_450_bytes_and_300_in_halves),
        cmocka_unit_test(test_wire__commit_and_correct_fit_16_bytes_with_framing),
        cmocka_unit_test(test_wire__halves_are_off_by_2_to_the_minus_12_at_most),
        cmocka_unit_test(test_wire__halves_refuse_what_is_below_their_range),
        cmocka_unit_test(test_wire__the_encoder_refuses_what_a_decoder_would),
        cmocka_unit_test(test_wire__an_open_has_either_tokens_or_messages),
        cmocka_unit_test(test_wire__the_encoder_checks_a_distribution),
        cmocka_unit_test(test_wire__names_are_those_of_the_specification),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
