/* A malicious or broken node: whatever it sends, the device ends with an error that names it, within its timeout. */
#include "support/fake_node.h"
#include "support/models.h"
#include "util/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static costeer_model *model;

static int load(void **state)
{
    (void)state;
    model = load_model(SLM_PATH);
    return 0;
}

static int unload(void **state)
{
    (void)state;
    costeer_model_free(model);
    return 0;
}

static fake_node *start(void (*script)(fake_peer *peer, int n_connection, void *user), void *user)
{
    return fake_node_start(&(fake_node_params){.model = model, .script = script, .user = user});
}

static costeer_cloud *connect_to(const fake_node *node, costeer_cloud_mode mode, int32_t timeout_ms)
{
    char url[64];
    (void)snprintf(url, sizeof url, "ws://127.0.0.1:%d", fake_node_port(node));
    costeer_native_params params = COSTEER_NATIVE_DEFAULTS;
    params.url = url;
    params.mode = mode;
    params.window = 4;
    params.timeout_ms = timeout_ms;
    costeer_cloud *cloud = NULL;
    costeer_error err = {0};
    assert_ok(costeer_cloud_create_native(model, &params, NULL, &cloud, &err), &err);
    return cloud;
}

static const int32_t prompt[] = {300, 301, 302};

static costeer_err open_answer(costeer_cloud *cloud, int32_t top_k, costeer_error *err)
{
    const costeer_cloud_request request = {.prompt = prompt, .n_prompt = 3, .top_k = top_k, .max_tokens = 16};
    return costeer_cloud_open(cloud, &request, err);
}

/* Take the node's own choice at each position, with a deepening at position 1, until something fails. */
static costeer_err go_on(costeer_cloud *cloud, costeer_error *err)
{
    costeer_err code = open_answer(cloud, 4, err);
    for (int32_t position = 0; code == COSTEER_OK && position < 15; position++) {
        costeer_distribution out;
        code = costeer_cloud_next(cloud, position, &out, err);
        if (code == COSTEER_OK && position == 1) {
            code = costeer_cloud_deepen(cloud, position, 8, &out, err);
        }
        code = code == COSTEER_OK ? costeer_cloud_commit(cloud, position, out.own_token, err) : code;
    }
    return code;
}

static void greet(fake_peer *peer)
{
    costeer_frame frame = fake_hello(peer);
    fake_send(peer, &frame);
    while (fake_receive(peer, &frame) && frame.type != COSTEER_FRAME_OPEN) {
    }
}

/* ---- broken rules -------------------------------------------------------------------------------------------------- */

static void wrong_epoch(fake_peer *peer)
{
    fake_send_distribution(peer, 0, 0, 4);
    fake_send_distribution(peer, 3, 1, 4);
}

static void out_of_order(fake_peer *peer)
{
    fake_send_distribution(peer, 0, 1, 4);
}

static void twice(fake_peer *peer)
{
    fake_send_distribution(peer, 0, 0, 4);
    fake_send_distribution(peer, 0, 0, 4);
}

static void beyond_window(fake_peer *peer)
{
    for (int32_t position = 0; position < 15; position++) {
        fake_send_distribution(peer, 0, position, 4);
    }
}

static void too_many_entries(fake_peer *peer)
{
    fake_send_distribution(peer, 0, 0, 5);
}

static void unknown_token(fake_peer *peer)
{
    /* exact, epoch 0, position 0, 1 us, 1 entry, tail −4, then an id of all ones in the packed form, value −1 */
    static const uint8_t bytes[] = {COSTEER_FRAME_DISTRIBUTION, 0, 0, 0, 1, 1, 0, 0, 0x80, 0xC0, 0xFF, 0xFF, 0, 0, 0x80, 0xBF};
    fake_send_bytes(peer, 0x82, bytes, sizeof bytes);
}

static void garbage(fake_peer *peer)
{
    fake_send_bytes(peer, 0x82, (const uint8_t *)"\xFE\xED garbage", 10);
}

static void empty_message(fake_peer *peer)
{
    fake_send_bytes(peer, 0x82, (const uint8_t *)"", 0);
}

static void text_message(fake_peer *peer)
{
    fake_send_bytes(peer, 0x81, (const uint8_t *)"hello", 5);
}

static void oversized(fake_peer *peer)
{
    static uint8_t bytes[1 << 20];
    fake_send_bytes(peer, 0x82, bytes, sizeof bytes);
}

static void second_hello(fake_peer *peer)
{
    const costeer_frame frame = fake_hello(peer);
    fake_send(peer, &frame);
}

static void unasked_account(fake_peer *peer)
{
    fake_send(peer, &(costeer_frame){.type = COSTEER_FRAME_CLOSE});
}

static void unasked_pong(fake_peer *peer)
{
    fake_send(peer, &(costeer_frame){.type = COSTEER_FRAME_PING, .as.ping = {.is_reply = true, .nonce = 77}});
}

static void ended_by_error(fake_peer *peer)
{
    fake_send(peer, &(costeer_frame){.type = COSTEER_FRAME_ERROR,
                                     .as.error = {.code = COSTEER_WIRE_EPROTOCOL, .message = "no manners", .n_message = 10}});
}

static void too_long(fake_peer *peer)
{
    fake_send(peer, &(costeer_frame){.type = COSTEER_FRAME_ERROR, .as.error = {.code = COSTEER_WIRE_ETOOLONG}});
}

static const struct misdeed {
    void (*act)(fake_peer *peer);
    costeer_err code;
    const char *why;
} misdeeds[] = {{wrong_epoch, COSTEER_ECLOUD, "epoch 3 after 0"},
                {out_of_order, COSTEER_ECLOUD, "position 1, 0 is next"},
                {twice, COSTEER_ECLOUD, "position 0, 1 is next"},
                {beyond_window, COSTEER_ECLOUD, "not asked for yet"},
                {too_many_entries, COSTEER_ECLOUD, "entries"},
                {unknown_token, COSTEER_ECLOUD, "distribution"},
                {garbage, COSTEER_ECLOUD, "unknown"},
                {empty_message, COSTEER_ECLOUD, "no frame"},
                {text_message, COSTEER_ECLOUD, "text message"},
                {oversized, COSTEER_ECLOUD, "longer than"},
                {second_hello, COSTEER_ECLOUD, "second hello"},
                {unasked_account, COSTEER_ECLOUD, "nothing was closed"},
                {unasked_pong, COSTEER_ECLOUD, "reply to nothing"},
                {ended_by_error, COSTEER_ECLOUD, "no manners"},
                {too_long, COSTEER_ETOOLONG, "too long"}};

static void misbehave(fake_peer *peer, int n_connection, void *user)
{
    (void)n_connection;
    const struct misdeed *misdeed = user;
    greet(peer);
    misdeed->act(peer);
    fake_wait(peer);
}

static void test_native__every_broken_rule_ends_the_answer_with_its_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof misdeeds / sizeof *misdeeds; i++) {
        struct misdeed misdeed = misdeeds[i];
        fake_node *node = start(misbehave, &misdeed);
        costeer_cloud *cloud = connect_to(node, COSTEER_MODE_STREAMED, 30000);
        costeer_error err = {0};
        const costeer_err code = go_on(cloud, &err);
        if (code != misdeed.code || strstr(err.message, misdeed.why) == NULL) {
            fail_msg("misdeed %zu: %s \"%s\" is not %s \"%s\"", i, costeer_err_name(code), err.message,
                     costeer_err_name(misdeed.code), misdeed.why);
        }
        assert_int_equal(fake_node_connections(node), 1); /* no second attempt with such a node */
        costeer_cloud_free(cloud);
        fake_node_stop(node);
    }
}

/* ---- silence ------------------------------------------------------------------------------------------------------- */

static void fall_silent(fake_peer *peer, int n_connection, void *user)
{
    (void)n_connection;
    greet(peer);
    fake_send_distribution(peer, 0, 0, 4);
    if (*(const bool *)user) { /* in the middle of a frame */
        fake_send_raw(peer, "\x82\x40\x03\x00\x00\x01", 6);
    }
    fake_wait(peer);
}

static void test_native__a_node_that_falls_silent_times_out_and_freeing_does_not_wait(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        bool in_a_frame = i == 1;
        fake_node *node = start(fall_silent, &in_a_frame);
        costeer_cloud *cloud = connect_to(node, COSTEER_MODE_LOCKSTEP, 500);
        costeer_error err = {0};
        assert_int_equal(go_on(cloud, &err), COSTEER_ETIMEDOUT);
        costeer_distribution out;
        assert_int_equal(costeer_cloud_next(cloud, 1, &out, &err), COSTEER_ESTATE); /* told once */
        const int64_t start_us = cs_clock_us();
        costeer_cloud_free(cloud);
        assert_true(cs_clock_us() - start_us < 20000000);
        fake_node_stop(node);
    }
}

static void test_native__cancelled_while_waiting_it_returns(void **state)
{
    (void)state;
    bool in_a_frame = false;
    fake_node *node = start(fall_silent, &in_a_frame);
    costeer_cloud *cloud = connect_to(node, COSTEER_MODE_LOCKSTEP, 600000);
    const atomic_bool cancel = true;
    const costeer_cloud_request request = {.prompt = prompt, .n_prompt = 3, .top_k = 4, .max_tokens = 16, .cancel = &cancel};
    costeer_distribution out;
    costeer_error err = {0};
    assert_ok(costeer_cloud_open(cloud, &request, &err), &err);
    costeer_err code = costeer_cloud_next(cloud, 0, &out, &err);
    if (code == COSTEER_OK) { /* it was there already */
        assert_int_equal(costeer_cloud_commit(cloud, 0, out.own_token, &err), COSTEER_OK);
        code = costeer_cloud_next(cloud, 1, &out, &err);
    }
    assert_int_equal(code, COSTEER_ECANCELED);
    costeer_cloud_free(cloud);
    fake_node_stop(node);
}

/* ---- busy, draining, lost ------------------------------------------------------------------------------------------ */

/* Twice no room, then an answer. */
static void busy_at_first(fake_peer *peer, int n_connection, void *user)
{
    int *n_opens = user;
    (void)n_connection;
    costeer_frame frame = fake_hello(peer);
    fake_send(peer, &frame);
    while (fake_receive(peer, &frame)) {
        if (frame.type == COSTEER_FRAME_OPEN && (*n_opens)++ < 2) {
            fake_send(peer, &(costeer_frame){.type = COSTEER_FRAME_ERROR,
                                             .as.error = {.code = COSTEER_WIRE_EBUSY, .retry_after_ms = 20}});
        } else if (frame.type == COSTEER_FRAME_OPEN) {
            fake_send_distribution(peer, 0, 0, 4);
        } else if (frame.type == COSTEER_FRAME_CLOSE) {
            fake_send(peer, &(costeer_frame){.type = COSTEER_FRAME_CLOSE, .as.close = {.n_steps = 5, .n_wasted = 2}});
        }
    }
}

static void test_native__a_busy_node_is_asked_again(void **state)
{
    (void)state;
    int n_opens = 0;
    fake_node *node = start(busy_at_first, &n_opens);
    costeer_cloud *cloud = connect_to(node, COSTEER_MODE_LOCKSTEP, 60000);
    costeer_distribution out;
    costeer_error err = {0};
    assert_ok(open_answer(cloud, 4, &err), &err);
    assert_ok(costeer_cloud_next(cloud, 0, &out, &err), &err);
    assert_int_equal(out.own_token, 300);
    costeer_cloud_close(cloud);
    costeer_cloud_stats stats;
    costeer_cloud_read_stats(cloud, &stats);
    assert_int_equal(stats.n_steps, 5);
    assert_int_equal(stats.n_wasted_steps, 2);
    assert_int_equal(stats.n_reconnects, 0);
    costeer_cloud_free(cloud);
    fake_node_stop(node);
    assert_int_equal(n_opens, 3);
}

static void always_draining(fake_peer *peer, int n_connection, void *user)
{
    (void)n_connection;
    (void)user;
    greet(peer);
    fake_send(peer, &(costeer_frame){.type = COSTEER_FRAME_ERROR, .as.error = {.code = COSTEER_WIRE_EDRAINING}});
    fake_wait(peer);
}

static void test_native__a_node_that_keeps_draining_is_named_at_the_end(void **state)
{
    (void)state;
    fake_node *node = start(always_draining, NULL);
    costeer_cloud *cloud = connect_to(node, COSTEER_MODE_LOCKSTEP, 700);
    costeer_error err = {0};
    const costeer_err code = go_on(cloud, &err);
    assert_int_equal(code, COSTEER_ECLOUD);
    assert_non_null(strstr(err.message, "draining"));
    assert_true(fake_node_connections(node) >= 2);
    costeer_cloud_free(cloud);
    fake_node_stop(node);
}

typedef struct losses {
    int32_t n_accepted[4]; /* of each connection's open */
    int32_t tokens[4][16];
    bool asked_deeper;
} losses;

/* The first connection breaks behind position 1 while a deepening is on its way; the second one is a good node. */
static void break_once(fake_peer *peer, int n_connection, void *user)
{
    losses *seen = user;
    costeer_frame frame = fake_hello(peer);
    fake_send(peer, &frame);
    int32_t position = 0;
    while (fake_receive(peer, &frame)) {
        if (frame.type == COSTEER_FRAME_OPEN && n_connection < 4) {
            position = seen->n_accepted[n_connection] = (int32_t)frame.as.open.n_accepted;
            for (int32_t i = 0; i < position; i++) {
                seen->tokens[n_connection][i] = frame.as.open.accepted[i];
            }
            fake_send_distribution(peer, 0, position, 4);
        } else if (frame.type == COSTEER_FRAME_COMMIT) {
            fake_send_distribution(peer, 0, ++position, 4);
        } else if (frame.type == COSTEER_FRAME_DEEPEN && n_connection == 0) {
            return;
        } else if (frame.type == COSTEER_FRAME_DEEPEN) {
            seen->asked_deeper = true;
            fake_send_distribution(peer, 0, frame.as.deepen.position, 8);
        } else if (frame.type == COSTEER_FRAME_CLOSE) {
            fake_send(peer, &frame);
        }
    }
}

static void test_native__a_deepening_that_was_lost_is_asked_again(void **state)
{
    (void)state;
    losses seen = {.asked_deeper = false};
    fake_node *node = start(break_once, &seen);
    costeer_cloud *cloud = connect_to(node, COSTEER_MODE_LOCKSTEP, 60000);
    costeer_error err = {0};
    assert_ok(go_on(cloud, &err), &err);
    costeer_cloud_stats stats;
    costeer_cloud_read_stats(cloud, &stats);
    assert_int_equal(stats.n_reconnects, 1);
    assert_int_equal(stats.n_tokens_sent, 15); /* each counted once */
    costeer_cloud_free(cloud);
    fake_node_stop(node);
    assert_true(seen.asked_deeper);
    assert_int_equal(seen.n_accepted[0], 0);
    assert_int_equal(seen.n_accepted[1], 1);
    assert_int_equal(seen.tokens[1][0], 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_native__every_broken_rule_ends_the_answer_with_its_name),
        cmocka_unit_test(test_native__a_node_that_falls_silent_times_out_and_freeing_does_not_wait),
        cmocka_unit_test(test_native__cancelled_while_waiting_it_returns),
        cmocka_unit_test(test_native__a_busy_node_is_asked_again),
        cmocka_unit_test(test_native__a_node_that_keeps_draining_is_named_at_the_end),
        cmocka_unit_test(test_native__a_deepening_that_was_lost_is_asked_again),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
