/*
 * The protocol's decoder, from both sides, over several sizes of vocabulary. What it takes must be encoded to the same bytes
 * again: a frame has one form, and the decoder lets nothing through that the encoder would refuse.
 *
 * The first byte tells the direction (bit 0) and the vocabulary (bits 1 to 3), as golden/make_wire.py writes it.
 */
#include <costeer/wire.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define N_MAX 1048576

static int32_t ids[N_MAX];
static float values[N_MAX];
static uint64_t seen[N_MAX / 64];
static costeer_chat_message messages[COSTEER_WIRE_CHAT_MAX];

static void check(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "fuzz_wire: %s\n", what);
        abort();
    }
}

static void encode_again(const costeer_frame *frame, int32_t n_vocab, const uint8_t *bytes, size_t n)
{
    const size_t most = costeer_wire_size_max(frame, n_vocab);
    check(n <= most, "a frame is longer than its upper bound");
    uint8_t *again = malloc(most);
    check(again != NULL, "out of memory");
    size_t n_again = 0;
    costeer_error err = {.code = COSTEER_OK};
    const costeer_err code = costeer_wire_encode(frame, n_vocab, again, most, &n_again, &err);
    check(code == COSTEER_OK, err.message);
    check(n_again == n && memcmp(again, bytes, n) == 0, "encoded again, the bytes differ");
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int32_t n_vocabs[] = {0, 1, 2, 5, 300, 5000, 151936, N_MAX};
    if (size < 1) {
        return 0;
    }
    const bool from_node = (data[0] & 1U) != 0;
    const int32_t n_vocab = n_vocabs[data[0] >> 1 & 7U];
    costeer_wire_reader reader = {.from_node = from_node,
                                  .n_vocab = n_vocab,
                                  .max_context = COSTEER_WIRE_CONTEXT_MAX,
                                  .ids = ids,
                                  .max_ids = N_MAX,
                                  .values = from_node ? values : NULL,
                                  .max_values = from_node ? N_MAX : 0,
                                  .seen = from_node ? seen : NULL,
                                  .messages = from_node ? NULL : messages};
    for (size_t at = 1; at < size;) {
        costeer_frame frame;
        size_t n_read = 0;
        costeer_error err = {.code = COSTEER_OK};
        const costeer_err code = costeer_wire_decode(&reader, data + at, size - at, &frame, &n_read, &err);
        for (size_t i = 0; i < (size_t)(n_vocab + 63) / 64; i++) {
            check(seen[i] == 0, "the bitmap is not clear");
        }
        if (code != COSTEER_OK) {
            check(code == COSTEER_ECLOUD && err.message[0] != '\0', "an error without a message");
            return 0;
        }
        check(n_read >= 1 && n_read <= size - at, "a frame is longer than its message");
        encode_again(&frame, n_vocab, data + at, n_read);
        at += n_read;
    }
    return 0;
}
