/* What the tests of the loop share: a session between a fake cloud and fake deltas, run once, and what it left. */
#ifndef CS_TEST_SESSION_BENCH_H
#define CS_TEST_SESSION_BENCH_H

#include "support/fake.h"

/* Everything a test needs, fresh for each. */
typedef struct bench {
    fake_journal journal;
    fake_cloud cloud;
    fake_deltas deltas;
    costeer_vocab vocab;
    costeer_session_params params;
    costeer_report report;
    costeer_error err;
    char text[1024];
    size_t n_text;
    costeer_position positions[FAKE_POSITIONS];
    int32_t n_positions;
    int32_t stop_at; /* on_position returns false here; −1: never */
    bool refuse_text;
    atomic_bool cancel;
    int32_t cancel_at; /* on_position sets cancel here; −1: never */
    int32_t tokens[FAKE_POSITIONS];
    size_t n_tokens;
} bench;

/** Three tokens: the public prompt that every run is given. */
extern const int32_t prompt[3];

/** Everything as at the start: an empty journal, no deltas but 0, strength 1, 8 tokens, dense. */
void reset(bench *b);

/** For cmocka_unit_test_setup(): a bench that was reset. */
int set_up(void **state);

/** Create a session, run it once, keep what it left, free it. `deltas` may be NULL. */
costeer_err run_with(bench *b, costeer_delta_source *deltas);
costeer_err run(bench *b);

/** Make the cloud's own choices these. */
#define prefer(b, ...)                                                               \
    do {                                                                             \
        const int32_t tokens_[] = {__VA_ARGS__};                                     \
        fake_cloud_prefer(&(b)->cloud, tokens_, sizeof tokens_ / sizeof tokens_[0]); \
    } while (0)

#define assert_text(b, expected)                  \
    do {                                          \
        (b)->text[(b)->n_text] = '\0';            \
        assert_string_equal((b)->text, expected); \
    } while (0)

#define session_test(name) cmocka_unit_test_setup(name, set_up)

#endif
