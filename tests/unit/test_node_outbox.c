/* Frames on their way to a device: order, bound, and what a correction takes out again. */
#include "server/node_outbox.h"
#include "tests/unit/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define N_VOCAB 1000
#define N_TOP   8

/* A distribution that carries its own position and epoch. */
static costeer_err push_distribution(cs_outbox *out, int32_t epoch, int32_t position)
{
    static const int32_t ids[N_TOP] = {5, 4, 3, 2, 1, 6, 7, 8};
    static const float values[N_TOP] = {-3.0F, -3.0F, -3.0F, -3.0F, -3.0F, -3.0F, -3.0F, -3.0F};
    const costeer_frame frame = {.type = COSTEER_FRAME_DISTRIBUTION,
                                 .as.distribution = {.form = COSTEER_FORM_EXACT,
                                                     .epoch = epoch,
                                                     .position = position,
                                                     .own_token = ids[0],
                                                     .tail = -0.5F,
                                                     .n = N_TOP,
                                                     .ids = ids,
                                                     .values = values}};
    return cs_outbox_push(out, &frame, N_VOCAB, epoch);
}

static costeer_err push_ping(cs_outbox *out, uint32_t nonce)
{
    const costeer_frame frame = {.type = COSTEER_FRAME_PING, .as.ping = {.nonce = nonce}};
    return cs_outbox_push(out, &frame, N_VOCAB, CS_OUTBOX_CONTROL);
}

/* Take everything; nonces of pings, and 1000 * epoch + position of distributions, in order. Returns how many. */
static size_t take_all(cs_outbox *out, size_t size, uint32_t *what)
{
    static uint8_t bytes[65536];
    static int32_t ids[N_TOP];
    static float values[N_TOP];
    static uint64_t seen[(N_VOCAB + 63) / 64];
    costeer_wire_reader reader = {.from_node = true,
                                  .n_vocab = N_VOCAB,
                                  .max_context = 4096,
                                  .ids = ids,
                                  .max_ids = N_TOP,
                                  .values = values,
                                  .max_values = N_TOP,
                                  .seen = seen};
    size_t n = 0;
    for (size_t taken = cs_outbox_take(out, bytes, size); taken > 0; taken = cs_outbox_take(out, bytes, size)) {
        for (size_t at = 0; at < taken;) {
            costeer_frame frame;
            size_t n_read;
            assert_int_equal(costeer_wire_decode(&reader, bytes + at, taken - at, &frame, &n_read, NULL), COSTEER_OK);
            at += n_read;
            what[n++] = frame.type == COSTEER_FRAME_PING
                            ? frame.as.ping.nonce
                            : (uint32_t)(1000 * frame.as.distribution.epoch + frame.as.distribution.position);
        }
    }
    assert_true(cs_outbox_is_empty(out));
    return n;
}

static void test_outbox__frames_come_in_their_order_in_messages_of_any_size(void **state)
{
    (void)state;
    cs_outbox out;
    assert_true(cs_outbox_init(&out, 1U << 20));
    for (size_t size = 1; size < 4096; size *= 3) {
        uint32_t what[300];
        for (uint32_t i = 0; i < 300; i++) {
            assert_int_equal(i % 3 == 0 ? push_ping(&out, i) : push_distribution(&out, 0, (int32_t)i), COSTEER_OK);
        }
        assert_int_equal(take_all(&out, size, what), 300);
        for (uint32_t i = 0; i < 300; i++) {
            assert_int_equal(what[i], i);
        }
    }
    cs_outbox_dispose(&out);
}

static void test_outbox__a_message_holds_what_fits_and_one_frame_at_least(void **state)
{
    (void)state;
    cs_outbox out;
    uint8_t bytes[4096];
    assert_true(cs_outbox_init(&out, 1U << 20));
    for (int32_t i = 0; i < 10; i++) {
        assert_int_equal(push_distribution(&out, 0, i), COSTEER_OK);
    }
    const size_t one = cs_outbox_first_bytes(&out);
    assert_int_equal(cs_outbox_take(&out, bytes, 1), one);
    assert_int_equal(cs_outbox_take(&out, bytes, 3 * one - 1), 2 * one);
    assert_int_equal(cs_outbox_take(&out, bytes, 3 * one), 3 * one);
    assert_int_equal(cs_outbox_take(&out, bytes, sizeof bytes), 4 * one);
    assert_int_equal(cs_outbox_take(&out, bytes, sizeof bytes), 0);
    cs_outbox_dispose(&out);
}

static void test_outbox__a_correction_takes_out_older_epochs_only(void **state)
{
    (void)state;
    cs_outbox out;
    uint32_t what[16];
    assert_true(cs_outbox_init(&out, 1U << 20));
    assert_int_equal(push_ping(&out, 50000), COSTEER_OK);
    assert_int_equal(push_distribution(&out, 0, 7), COSTEER_OK);
    assert_int_equal(push_distribution(&out, 1, 3), COSTEER_OK);
    assert_int_equal(push_ping(&out, 50001), COSTEER_OK);
    assert_int_equal(push_distribution(&out, 0, 8), COSTEER_OK);
    cs_outbox_drop(&out, 1);
    assert_int_equal(push_distribution(&out, 1, 4), COSTEER_OK);
    assert_int_equal(take_all(&out, 4096, what), 4);
    const uint32_t expected[] = {50000, 1003, 50001, 1004};
    assert_memory_equal(what, expected, sizeof expected);
    cs_outbox_dispose(&out);
}

static void test_outbox__what_does_not_fit_is_refused_and_an_error_still_fits(void **state)
{
    (void)state;
    cs_outbox out;
    assert_true(cs_outbox_init(&out, 1024));
    size_t n = 0;
    while (push_distribution(&out, 0, 1) == COSTEER_OK) {
        assert_true(++n < 1000);
    }
    assert_true(n > 5);
    assert_true(out.is_failed);
    assert_true(out.capacity <= 2 * out.bound);
    char text[COSTEER_WIRE_MESSAGE_MAX];
    memset(text, 'x', sizeof text);
    const costeer_frame error = {.type = COSTEER_FRAME_ERROR,
                                 .as.error = {.code = COSTEER_WIRE_ERATE, .message = text, .n_message = sizeof text}};
    assert_int_equal(cs_outbox_push(&out, &error, N_VOCAB, CS_OUTBOX_CONTROL), COSTEER_OK);
    while (push_ping(&out, 1) == COSTEER_OK) {
        assert_true(++n < 1000);
    }
    assert_true(out.capacity <= 2 * (out.bound + CS_OUTBOX_RESERVE));
    cs_outbox_clear(&out);
    assert_true(cs_outbox_is_empty(&out) && !out.is_failed);
    assert_int_equal(push_distribution(&out, 0, 1), COSTEER_OK);
    cs_outbox_dispose(&out);
}

static void test_outbox__what_the_encoder_refuses_leaves_nothing_behind(void **state)
{
    (void)state;
    cs_outbox out;
    assert_true(cs_outbox_init(&out, 4096));
    const costeer_frame bad = {.type = COSTEER_FRAME_HELLO, .as.hello = {.version = 1, .n_vocab = -1}};
    assert_int_equal(cs_outbox_push(&out, &bad, N_VOCAB, CS_OUTBOX_CONTROL), COSTEER_EINVAL);
    assert_true(cs_outbox_is_empty(&out) && !out.is_failed);
    cs_outbox_dispose(&out);
}

static void test_outbox__any_mixture_of_calls_keeps_what_a_list_would(void **state)
{
    (void)state;
    struct test_random random = {.state = 7};
    cs_outbox out;
    assert_true(cs_outbox_init(&out, 8192));
    uint32_t model[2048];
    size_t n_model = 0;
    int32_t epoch = 0;
    for (uint32_t i = 0; i < 20000; i++) {
        const uint32_t action = (uint32_t)test_random_below(&random, 16);
        if (action == 0 && epoch < 900) {
            epoch++;
            cs_outbox_drop(&out, epoch);
            size_t kept = 0;
            for (size_t k = 0; k < n_model; k++) {
                if (model[k] >= 1000000) {
                    model[kept++] = model[k];
                }
            }
            n_model = kept;
        } else if (action < 6 && n_model > 0) {
            uint8_t first[512];
            const size_t n_first = cs_outbox_first_bytes(&out);
            assert_int_equal(cs_outbox_take(&out, first, 1), n_first);
            memmove(model, model + 1, --n_model * sizeof model[0]);
        } else if (action < 8) {
            if (push_ping(&out, 1000000 + i) == COSTEER_OK) {
                model[n_model++] = 1000000 + i;
            }
        } else if (push_distribution(&out, epoch, (int32_t)(i % 1000)) == COSTEER_OK) {
            model[n_model++] = (uint32_t)(1000 * epoch) + i % 1000;
        }
        assert_true(n_model < 2048);
        assert_int_equal(cs_outbox_is_empty(&out), n_model == 0);
    }
    uint32_t what[2048];
    assert_int_equal(take_all(&out, 256, what), n_model);
    assert_memory_equal(what, model, n_model * sizeof model[0]);
    cs_outbox_dispose(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outbox__frames_come_in_their_order_in_messages_of_any_size),
        cmocka_unit_test(test_outbox__a_message_holds_what_fits_and_one_frame_at_least),
        cmocka_unit_test(test_outbox__a_correction_takes_out_older_epochs_only),
        cmocka_unit_test(test_outbox__what_does_not_fit_is_refused_and_an_error_still_fits),
        cmocka_unit_test(test_outbox__what_the_encoder_refuses_leaves_nothing_behind),
        cmocka_unit_test(test_outbox__any_mixture_of_calls_keeps_what_a_list_would),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
