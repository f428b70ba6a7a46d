/*
 * Every rule of the decoder, broken once: the message must name the frame, the field and the value. Numbers are those of
 * docs/protocol.md; the vocabulary has 5 tokens (3 bits an id) unless a line says otherwise.
 */
#include "wire_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define BYTES_MAX 512

#define HASH_HEX "0000000000000000000000000000000000000000000000000000000000000000"
#define TEXT_32  "6161616161616161616161616161616161616161616161616161616161616161"
#define TEXT_128 TEXT_32 TEXT_32 TEXT_32 TEXT_32

typedef struct broken {
    const char *hex;
    const char *message;
} broken;

static uint8_t digit(char c)
{
    return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static size_t from_hex(const char *hex, uint8_t *bytes)
{
    const size_t n = strlen(hex) / 2;
    assert_true(n <= BYTES_MAX);
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (uint8_t)(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
    }
    return n;
}

static void assert_broken(wire_arrays *a, const char *hex, const char *message)
{
    uint8_t bytes[BYTES_MAX];
    const size_t n = from_hex(hex, bytes);
    costeer_frame frame;
    size_t n_read = 99;
    costeer_error err = {.code = COSTEER_OK};
    if (costeer_wire_decode(&a->reader, bytes, n, &frame, &n_read, &err) != COSTEER_ECLOUD) {
        fail_msg("%s was taken, but: %s", hex, message);
    }
    assert_string_equal(err.component, "wire");
    assert_string_equal(err.message, message);
    assert_int_equal(n_read, 99);
    for (size_t i = 0; i < COSTEER_WIRE_VOCAB_MAX / 64; i++) {
        assert_int_equal(a->seen[i], 0);
    }
}

static void assert_all_broken(bool from_node, int32_t n_vocab, const broken *list, size_t n)
{
    wire_arrays a;
    wire_arrays_init(&a, from_node, n_vocab);
    for (size_t i = 0; i < n; i++) {
        assert_broken(&a, list[i].hex, list[i].message);
    }
    wire_arrays_dispose(&a);
}

#define ASSERT_ALL_BROKEN(from_node, n_vocab, list) assert_all_broken(from_node, n_vocab, list, sizeof(list) / sizeof((list)[0]))

/* ---- frames and numbers ------------------------------------------------------------------------------------------ */

static void test_wire__a_frame_of_the_wrong_side_is_refused(void **state)
{
    (void)state;
    static const broken from_node[] = {
        {"02", "open: is not a frame of a node"},          {"0400", "commit: is not a frame of a node"},
        {"05010000", "correct: is not a frame of a node"}, {"060001", "draft: is not a frame of a node"},
        {"07000000", "deepen: is not a frame of a node"},
    };
    static const broken from_device[] = {
        {"0101", "hello: is not a frame of a device"},
        {"0300", "distribution: is not a frame of a device"},
    };
    ASSERT_ALL_BROKEN(true, 5, from_node);
    ASSERT_ALL_BROKEN(false, 5, from_device);
}

static void test_wire__an_unknown_type_is_refused(void **state)
{
    (void)state;
    static const broken list[] = {
        {"", "a message has no frame"},
        {"00", "unknown: type 0 is unknown"},
        {"0b00", "unknown: type 11 is unknown"},
        {"ff", "unknown: type 255 is unknown"},
    };
    ASSERT_ALL_BROKEN(true, 5, list);
    ASSERT_ALL_BROKEN(false, 5, list);
}

static void test_wire__nothing_with_ids_comes_before_the_vocabulary(void **state)
{
    (void)state;
    static const broken from_node[] = {
        {"0300", "distribution: comes before the vocabulary is known"},
        {"08000000", "close: comes before the vocabulary is known"},
    };
    ASSERT_ALL_BROKEN(true, 0, from_node);
}

static void test_wire__numbers_take_their_fewest_bytes(void **state)
{
    (void)state;
    static const broken list[] = {
        {"048000", "commit: position is not written in its fewest bytes"},
        {"04818000", "commit: position is not written in its fewest bytes"},
        {"048080808000", "commit: position is not written in its fewest bytes"},
        {"04ffffffff10", "commit: position does not fit 32 bits"},
        {"04ffffffff8f", "commit: position does not fit 32 bits"},
        {"04808080", "commit: ends within position: 1 bytes are missing"},
        {"04ffffffff0f", "commit: position: 4294967295 is not in [0, 1048575]"},
    };
    ASSERT_ALL_BROKEN(false, 5, list);
}

/* ---- frames of a node -------------------------------------------------------------------------------------------- */

static void test_wire__hello_keeps_its_limits(void **state)
{
    (void)state;
    static const broken list[] = {
        {"0100", "hello: version: 0 is not 1"},
        {"0102", "hello: version: 2 is not 1"},
        {"010100", "hello: n_vocab: 0 is not in [1, 1048576]"},
        {"0101818040", "hello: n_vocab: 1048577 is not in [1, 1048576]"},
        {"010105" HASH_HEX "00", "hello: max_context: 0 is not in [1, 1048576]"},
        {"010105" HASH_HEX "818040", "hello: max_context: 1048577 is not in [1, 1048576]"},
        {"010105" HASH_HEX "018102", "hello: max_window: 257 is not in [0, 256]"},
        {"010105" HASH_HEX "010021", "hello: max_drafts: 33 is not in [0, 32]"},
        {"010105" HASH_HEX "0100008101" TEXT_128 "61", "hello: name: 129 is not in [0, 128]"},
        {"010105" HASH_HEX "0100000261ff", "hello: name: byte 1 is not UTF-8"},
        {"010105" HASH_HEX "01000002611b", "hello: name: byte 1 is a control character"},
        {"010105" HASH_HEX "010000017f", "hello: name: byte 0 is a control character"},
        {"010105" HASH_HEX "01000002c285", "hello: name: byte 0 is a control character"},
        {"010105" HASH_HEX "0100000a61", "hello: ends within name: 9 bytes are missing"},
    };
    ASSERT_ALL_BROKEN(true, 0, list);
}

/* After the type: form, epoch, position, compute_us, n, tail, ids, remainder bits, the first rank, differences. -0.25 has rank
 * 3e800000, -2 40000000. */
static void test_wire__a_sparse_distribution_is_a_distribution(void **state)
{
    (void)state;
    static const broken list[] = {
        {"0303", "distribution: form: 3 is not in [0, 2]"},
        {"0300ffffffff0f", "distribution: epoch: 4294967295 is not in [0, 2147483647]"},
        {"030000808040", "distribution: position: 1048576 is not in [0, 1048575]"},
        {"030000000000", "distribution: n: 0 is not in [1, 5]"},
        {"030000000006", "distribution: n: 6 is not in [1, 5]"},
        {"0300000000020000003f", "distribution: tail: 0.5 is not a log-probability"},
        {"0300000000020000c07f", "distribution: tail: nan is not a log-probability"},
        {"030000000002000088c02b18000080be00000001", "distribution: entry 1: token 5 is not one of 5"},
        {"030000000002000088c01b18000080be00000001", "distribution: entry 1: its token is there already"},
        {"030000000002000088c04b18000080be00000001", "distribution: the bits behind the last entry are not zero"},
        {"030000000002000088c00b1f000080be00000001", "distribution: remainder bits: 31 is not in [0, 30]"},
        {"030000000002000088c00b000000807f", "distribution: entry 0: is below the lowest value of its form"},
        {"030000000002000088c00b1d000080be01000004", "distribution: entry 1: is below the lowest value of its form"},
        {"030000000002000088c00b190000803e00008001", "distribution: remainder bits: 25 is not 24"},
        {"030000000002000088c00b18000080be7f0000c000", "distribution: a value is written in more bits than it needs"},
        {"030000000002000088c00b18000080be00000081", "distribution: the bits behind the last value are not zero"},
        {"030000000002000088c00b000000803e", "distribution: the probabilities add up to 1.557602"},
        {"030000000002000088c00b18000080", "distribution: ends within its values: 1 bytes are missing"},
    };
    ASSERT_ALL_BROKEN(true, 5, list);
}

static void test_wire__halves_are_a_distribution(void **state)
{
    (void)state;
    static const broken list[] = {
        {"030100000002000088c00b0f0002b1f701", "distribution: entry 1: is below the lowest value of its form"},
        {"030100000002000088c00b100002adf701", "distribution: remainder bits: 16 is not in [0, 15]"},
        {"030100000002000088c00b008a0500", "distribution: the probabilities add up to 1.000765"},
    };
    ASSERT_ALL_BROKEN(true, 5, list);
}

/* Two entries of log 2 = 1419.565 / 2048: 1419 makes the sum 1.000276, over 1 + 1e-4 but not over what rounding explains. */
static void test_wire__halves_may_exceed_one_by_their_rounding(void **state)
{
    (void)state;
    wire_arrays a;
    wire_arrays_init(&a, true, 5);
    uint8_t bytes[BYTES_MAX];
    const size_t n = from_hex("030100000002000088c00b008b0500", bytes);
    costeer_frame frame;
    size_t n_read;
    assert_int_equal(costeer_wire_decode(&a.reader, bytes, n, &frame, &n_read, NULL), COSTEER_OK);
    assert_int_equal(n_read, n);
    wire_arrays_dispose(&a);
}

/* After the type: form, epoch, position, compute_us, own_token, five values. -1.75 is 0000e0bf. */
static void test_wire__a_dense_distribution_is_a_distribution(void **state)
{
    (void)state;
#define LOW "0000a0c0" /* -5 */
    static const broken list[] = {
        {"030200000005", "distribution: own_token: 5 is not in [0, 4]"},
        {"030200000001" LOW LOW "0000e0bf" LOW LOW, "distribution: own_token: entry 2 is above it, -1.75 > -5"},
        {"030200000002" LOW LOW "0000c07f" LOW LOW, "distribution: own_token: nan is not a finite log-probability"},
        {"030200000002" LOW LOW "000080ff" LOW LOW, "distribution: own_token: -inf is not a finite log-probability"},
        {"030200000002" LOW LOW "0000803f" LOW LOW, "distribution: own_token: 1 is not a finite log-probability"},
        {"030200000002" LOW LOW "0000e0bf0000c07f" LOW, "distribution: entry 3: nan is not a log-probability"},
        {"030200000002" LOW LOW "0000e0bf0000807f" LOW, "distribution: entry 3: inf is not a log-probability"},
        {"030200000002" LOW LOW "000080be000080be" LOW, "distribution: the probabilities add up to 1.577815"},
        {"030200000002" LOW LOW "0000e0bf" LOW, "distribution: ends within its values: 4 bytes are missing"},
    };
#undef LOW
    ASSERT_ALL_BROKEN(true, 5, list);
}

/* ---- frames of a device ------------------------------------------------------------------------------------------ */

/* After the type: mode, flags, window, top_k, max_tokens, n and tokens, n and accepted tokens. */
static void test_wire__open_keeps_its_limits(void **state)
{
    (void)state;
    static const broken list[] = {
        {"0203", "open: mode: 3 is not in [0, 2]"},
        {"020004", "open: flags: 4 is not in [0, 3]"},
        {"02000001", "open: window: 1 is not 0"},
        {"02020001", "open: window: 1 is not 0"},
        {"02010000", "open: window: 0 is not in [1, 256]"},
        {"0201008102", "open: window: 257 is not in [1, 256]"},
        {"0200000006", "open: top_k: 6 is not in [0, 5]"},
        {"020000000500", "open: max_tokens: 0 is not in [1, 1048576]"},
        {"0200000005818040", "open: max_tokens: 1048577 is not in [1, 1048576]"},
        {"02000000050900", "open: prompt: 0 is not in [1, 1048576]"},
        {"020000000509818040", "open: prompt: 1048577 is not in [1, 1048576]"},
        {"0200000005090500", "open: ends within prompt token: 1 bytes are missing"},
        {"0200000005090105", "open: prompt token 0: token 5 is not one of 5"},
        {"020000000509010b", "open: the bits behind the last prompt token are not zero"},
        {"020000000509010309", "open: accepted: 9 is not in [0, 8]"},
        {"02000000050901030105", "open: accepted token 0: token 5 is not one of 5"},
    };
    ASSERT_ALL_BROKEN(false, 5, list);
}

/* As above with flag 2: n, and for each message a role and a text. */
static void test_wire__messages_keep_their_limits(void **state)
{
    (void)state;
    static const broken list[] = {
        {"02000200050900", "open: messages: 0 is not in [1, 64]"},
        {"02000200050941", "open: messages: 65 is not in [1, 64]"},
        {"0200020005090100", "open: role: 0 is not in [1, 32]"},
        {"0200020005090121" TEXT_32 "61", "open: role: 33 is not in [1, 32]"},
        {"020002000509010180", "open: role: byte 0 is not UTF-8"},
        {"02000200050901010a", "open: role: byte 0 is a control character"},
        {"02000200050901016102c328", "open: text: byte 0 is not UTF-8"},
        {"020002000509010161026100", "open: text: byte 1 is a NUL"},
        {"0200020005090101617f61", "open: ends within text: 126 bytes are missing"},
        {"020002000509010161818040", "open: text: 1048577 is not in [0, 1048576]"},
        {"0200020005090201610261610162808040", "open: text: 1048576 is not in [0, 1048574]"},
    };
    ASSERT_ALL_BROKEN(false, 5, list);
}

static void test_wire__small_frames_keep_their_limits(void **state)
{
    (void)state;
    static const broken list[] = {
        {"04808040", "commit: position: 1048576 is not in [0, 1048575]"},
        {"05000000", "correct: epoch: 0 is not in [1, 2147483647]"},
        {"05808080800800", "correct: epoch: 2147483648 is not in [1, 2147483647]"},
        {"0501808040", "correct: position: 1048576 is not in [0, 1048575]"},
        {"05010005", "correct: token: 5 is not in [0, 4]"},
        {"06808040", "draft: position: 1048576 is not in [0, 1048575]"},
        {"060000", "draft: drafts: 0 is not in [1, 32]"},
        {"060021", "draft: drafts: 33 is not in [1, 32]"},
        {"06ffff3f02", "draft: drafts: 2 is not 1"},
        {"06000105", "draft: draft 0: token 5 is not one of 5"},
        {"06000109", "draft: the bits behind the last draft are not zero"},
        {"078080808008", "deepen: epoch: 2147483648 is not in [0, 2147483647]"},
        {"0700808040", "deepen: position: 1048576 is not in [0, 1048575]"},
        {"07000006", "deepen: top_k: 6 is not in [0, 5]"},
        {"08010000", "close: a device sends zeros"},
        {"08000100", "close: a device sends zeros"},
        {"08000001", "close: a device sends zeros"},
    };
    ASSERT_ALL_BROKEN(false, 5, list);
}

/* ---- frames of both ---------------------------------------------------------------------------------------------- */

static void test_wire__error_and_ping_keep_their_limits(void **state)
{
    (void)state;
    static const broken list[] = {
        {"0900", "error: code: 0 is not in [1, 7]"},
        {"0908", "error: code: 8 is not in [1, 7]"},
        {"0901008102" TEXT_128 TEXT_128 "61", "error: message: 257 is not in [0, 256]"},
        {"09010001ff", "error: message: byte 0 is not UTF-8"},
        {"090100026108", "error: message: byte 1 is a control character"},
        {"09010001", "error: ends within message: 1 bytes are missing"},
        {"0a02", "ping: is_reply: 2 is not in [0, 1]"},
        {"0a00000000", "ping: ends within nonce: 1 bytes are missing"},
    };
    for (int from_node = 0; from_node < 2; from_node++) {
        wire_arrays a;
        wire_arrays_init(&a, from_node != 0, 5);
        for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
            assert_broken(&a, list[i].hex, list[i].message);
        }
        wire_arrays_dispose(&a);
    }
}

/* ---- what the reader was given ----------------------------------------------------------------------------------- */

static void test_wire__lists_do_not_outgrow_the_reader(void **state)
{
    (void)state;
    wire_arrays a;
    wire_arrays_init(&a, true, 5);
    a.reader.max_values = 1;
    assert_broken(&a, "0300000000020000", "distribution: 2 entries are more than the 1 that are taken");
    a.reader.max_values = 4;
    a.reader.max_ids = 1;
    assert_broken(&a, "030000000002000088c00b", "distribution: 2 tokens are more than the 1 that are taken");
    assert_broken(&a, "03020000000000", "distribution: 5 entries are more than the 4 that are taken");
    a.reader.seen = NULL;
    assert_broken(&a, "0300", "distribution: none is expected");
    a.reader.from_node = false;
    assert_broken(&a, "020000000509020b", "open: 2 tokens are more than the 1 that are taken");
    assert_broken(&a, "02000000050901030103", "open: 2 tokens are more than the 1 that are taken");
    assert_broken(&a, "0600020b", "draft: 2 tokens are more than the 1 that are taken");
    a.reader.messages = NULL;
    assert_broken(&a, "02000200050901", "open: chat messages are not taken");
    wire_arrays_dispose(&a);
}

static void test_wire__positions_stay_within_the_context(void **state)
{
    (void)state;
    wire_arrays a;
    wire_arrays_init(&a, false, 5);
    a.reader.max_context = 8;
    assert_broken(&a, "0408", "commit: position: 8 is not in [0, 7]");
    assert_broken(&a, "060702", "draft: drafts: 2 is not 1");
    assert_broken(&a, "02000000050909", "open: prompt: 9 is not in [1, 8]");
    assert_broken(&a, "0200000005090700000002", "open: accepted: 2 is not in [0, 1]");
    wire_arrays_dispose(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wire__a_frame_of_the_wrong_side_is_refused),
        cmocka_unit_test(test_wire__an_unknown_type_is_refused),
        cmocka_unit_test(test_wire__nothing_with_ids_comes_before_the_vocabulary),
        cmocka_unit_test(test_wire__numbers_take_their_fewest_bytes),
        cmocka_unit_test(test_wire__hello_keeps_its_limits),
        cmocka_unit_test(test_wire__a_sparse_distribution_is_a_distribution),
        cmocka_unit_test(test_wire__halves_are_a_distribution),
        cmocka_unit_test(test_wire__halves_may_exceed_one_by_their_rounding),
        cmocka_unit_test(test_wire__a_dense_distribution_is_a_distribution),
        cmocka_unit_test(test_wire__open_keeps_its_limits),
        cmocka_unit_test(test_wire__messages_keep_their_limits),
        cmocka_unit_test(test_wire__small_frames_keep_their_limits),
        cmocka_unit_test(test_wire__error_and_ping_keep_their_limits),
        cmocka_unit_test(test_wire__lists_do_not_outgrow_the_reader),
        cmocka_unit_test(test_wire__positions_stay_within_the_context),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
