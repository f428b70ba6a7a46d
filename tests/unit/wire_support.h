/* Frames for the tests of the wire: from the golden vectors, at random, and compared field by field. */
#ifndef CS_TEST_WIRE_SUPPORT_H
#define CS_TEST_WIRE_SUPPORT_H

#include "random.h"

#include <costeer/wire.h>
#include <jansson.h>

#define QWEN_VOCAB 151936

/* A reader with room for the largest vocabulary; every test starts with a fresh one. */
typedef struct wire_arrays {
    costeer_wire_reader reader;
    int32_t *ids;
    float *values;
    uint64_t *seen;
    costeer_chat_message messages[COSTEER_WIRE_CHAT_MAX];
} wire_arrays;

void wire_arrays_init(wire_arrays *a, bool from_node, int32_t n_vocab);
void wire_arrays_dispose(wire_arrays *a);

/* A frame that owns its lists. */
typedef struct owned_frame {
    costeer_frame frame;
    int32_t *first_ids;
    int32_t *second_ids;
    float *values;
    costeer_chat_message messages[COSTEER_WIRE_CHAT_MAX];
} owned_frame;

void owned_frame_dispose(owned_frame *f);

/* One of wire.json's vectors. */
typedef struct golden_vector {
    const char *name;
    bool from_node;
    int32_t n_vocab;
    owned_frame owned;
    uint8_t *bytes;
    size_t n;
} golden_vector;

/* [*n]; the test fails when the file is not as it should be. */
golden_vector *golden_load(size_t *n, json_t **root);
void golden_free(golden_vector *vectors, size_t n, json_t *root);

/* A valid frame of any type that a side may send. */
void random_frame(struct test_random *r, bool from_node, int32_t n_vocab, owned_frame *out);

/* Fails the test when they differ; values within `rounding`. */
void assert_frames_equal(const costeer_frame *a, const costeer_frame *b, double rounding);

#endif
