/*
 * The proxy: what it does to bytes, and when. Upper bounds of times are wide, because a busy machine is late; lower ones are
 * exact. The fine bound of the delay is tested on the shortest of many, which a busy machine reaches too.
 */
#include "tests/net/proxy.h"
#include "tests/net/proxy_pace.h"
#include "util/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 600000 /* ends a hang */

/* ---- a target and a client --------------------------------------------------------------------------------------- */

typedef struct ends {
    int listener;
    net_proxy_params params;
    net_proxy *proxy;
} ends;

static struct sockaddr_in loopback(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static ends begin(net_path up, net_path down)
{
    ends e = {.listener = socket(AF_INET, SOCK_STREAM, 0)};
    struct sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    assert_int_equal(bind(e.listener, (const struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(e.listener, 256), 0);
    assert_int_equal(getsockname(e.listener, (struct sockaddr *)&address, &size), 0);
    e.params = (net_proxy_params){.target_host = "127.0.0.1", .target_port = ntohs(address.sin_port), .up = up, .down = down};
    e.proxy = net_proxy_start(&e.params);
    assert_non_null(e.proxy);
    return e;
}

static void end(ends *e)
{
    net_proxy_stop(e->proxy);
    close(e->listener);
}

static int try_connect(const ends *e)
{
    const struct sockaddr_in address = loopback(net_proxy_port(e->proxy));
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0) {
        return fd;
    }
    close(fd);
    return -1;
}

static int connect_to(const ends *e)
{
    const int fd = try_connect(e);
    assert_true(fd >= 0);
    return fd;
}

static bool wait_readable(int fd, int timeout_ms)
{
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    return poll(&entry, 1, timeout_ms) == 1;
}

static int accept_one(const ends *e)
{
    assert_true(wait_readable(e->listener, PATIENCE_MS));
    const int fd = accept(e->listener, NULL, NULL);
    assert_true(fd >= 0);
    return fd;
}

static void send_all(int fd, const void *bytes, size_t n)
{
    for (size_t sent = 0; sent < n;) {
        const ssize_t now = send(fd, (const char *)bytes + sent, n - sent, MSG_NOSIGNAL);
        assert_true(now > 0);
        sent += (size_t)now;
    }
}

/* Read up to n bytes; fewer only at the end of the stream. `reset` tells how it ended. */
static size_t receive(int fd, void *bytes, size_t n, bool *reset)
{
    size_t got = 0;
    while (got < n) {
        assert_true(wait_readable(fd, PATIENCE_MS));
        const ssize_t now = recv(fd, (char *)bytes + got, n - got, 0);
        if (now <= 0) {
            if (reset != NULL) {
                *reset = now < 0 && errno == ECONNRESET;
            }
            break;
        }
        got += (size_t)now;
    }
    return got;
}

static void fill(uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (uint8_t)(i * 131 + (i >> 8));
    }
}

/* ---- time -------------------------------------------------------------------------------------------------------- */

static void test_proxy__a_delay_is_exact(void **state)
{
    (void)state;
    net_path path = NET_PATH_CLEAN;
    path.delay_us = 10000;
    ends e = begin(path, path);
    const int client = connect_to(&e);
    const int target = accept_one(&e);
    int64_t shortest = INT64_MAX;
    for (int i = 0; i < 30 || (shortest > 10500 && i < 20000); i++) { /* a busy machine needs more tries */
        char byte = 'x';
        const int64_t start = cs_clock_us();
        send_all(i % 2 == 0 ? client : target, &byte, 1);
        assert_int_equal(receive(i % 2 == 0 ? target : client, &byte, 1, NULL), 1);
        const int64_t took = cs_clock_us() - start;
        assert_true(took >= 10000);
        shortest = took < shortest ? took : shortest;
    }
    assert_in_range(shortest, 10000, 10500);
    close(client);
    close(target);
    end(&e);
}

static void test_proxy__bytes_sent_during_the_delay_do_not_wait_for_each_other(void **state)
{
    (void)state;
    net_path path = NET_PATH_CLEAN;
    path.delay_us = 200000;
    ends e = begin(path, NET_PATH_CLEAN);
    const int client = connect_to(&e);
    const int target = accept_one(&e);
    const int64_t start = cs_clock_us();
    for (int i = 0; i < 50; i++) {
        send_all(client, "y", 1);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    char bytes[50];
    assert_int_equal(receive(target, bytes, sizeof bytes, NULL), sizeof bytes);
    const int64_t took = cs_clock_us() - start;
    assert_in_range(took, 250000, 9999999); /* one behind the other would take 10 s */
    close(client);
    close(target);
    end(&e);
}

static void test_proxy__bandwidth_bounds_the_rate(void **state)
{
    (void)state;
    static uint8_t bytes[100000], got[100000];
    net_path path = NET_PATH_CLEAN;
    path.bytes_per_second = 400000;
    ends e = begin(path, NET_PATH_CLEAN);
    const int client = connect_to(&e);
    const int target = accept_one(&e);
    fill(bytes, sizeof bytes);
    const int64_t start = cs_clock_us();
    send_all(client, bytes, sizeof bytes);
    assert_int_equal(receive(target, got, sizeof got, NULL), sizeof got);
    const int64_t took = cs_clock_us() - start;
    assert_memory_equal(bytes, got, sizeof got);
    assert_true(took >= 249000); /* 250 ms; 1 ms of rounding */
    close(client);
    close(target);
    end(&e);
}

/* ---- faults ------------------------------------------------------------------------------------------------------ */

static void check_cut(int64_t at, bool downwards)
{
    uint8_t bytes[5000], got[5000];
    net_path path = NET_PATH_CLEAN;
    path.cut_at = at;
    ends e = downwards ? begin(NET_PATH_CLEAN, path) : begin(path, NET_PATH_CLEAN);
    const int client = connect_to(&e);
    const int target = accept_one(&e);
    const int from = downwards ? target : client;
    const int to = downwards ? client : target;
    fill(bytes, sizeof bytes);
    bool reset = false;
    const bool was_sent = send(from, bytes, sizeof bytes, MSG_NOSIGNAL) > 0; /* with at == 0 it may be cut already */
    assert_int_equal(receive(to, got, sizeof got, &reset), at);
    assert_true(reset);
    assert_memory_equal(bytes, got, (size_t)at);
    assert_int_equal(receive(from, got, 1, &reset), 0);
    assert_true(reset || !was_sent); /* a send that fails takes the error away */
    assert_int_equal(net_proxy_bytes(e.proxy, downwards ? NET_DOWN : NET_UP), at);
    close(client);
    close(target);
    end(&e);
}

static void test_proxy__a_cut_lets_exactly_n_bytes_pass(void **state)
{
    (void)state;
    static const int64_t at[] = {0, 1, 2, 1000, 4999};
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        check_cut(at[i], false);
        check_cut(at[i], true);
    }
}

static void test_proxy__corruption_changes_one_byte(void **state)
{
    (void)state;
    uint8_t bytes[3000], got[3000];
    net_path path = NET_PATH_CLEAN;
    path.corrupt_at = 1234;
    ends e = begin(path, NET_PATH_CLEAN);
    const int client = connect_to(&e);
    const int target = accept_one(&e);
    fill(bytes, sizeof bytes);
    send_all(client, bytes, sizeof bytes);
    assert_int_equal(receive(target, got, sizeof got, NULL), sizeof got);
    got[1234] = (uint8_t)~got[1234];
    assert_memory_equal(bytes, got, sizeof got);
    send_all(target, bytes, sizeof bytes);
    assert_int_equal(receive(client, got, sizeof got, NULL), sizeof got);
    assert_memory_equal(bytes, got, sizeof got);
    close(client);
    close(target);
    end(&e);
}

static void test_proxy__a_stall_keeps_the_connection_and_can_end(void **state)
{
    (void)state;
    uint8_t bytes[1000], got[1000];
    net_path path = NET_PATH_CLEAN;
    path.stall_at = 600;
    ends e = begin(NET_PATH_CLEAN, path);
    const int client = connect_to(&e);
    const int target = accept_one(&e);
    fill(bytes, sizeof bytes);
    send_all(target, bytes, sizeof bytes);
    assert_int_equal(receive(client, got, 600, NULL), 600);
    assert_false(wait_readable(client, 100));
    send_all(client, bytes, sizeof bytes); /* the other way is open */
    assert_int_equal(receive(target, got, sizeof got, NULL), sizeof got);
    e.params.down = NET_PATH_CLEAN;
    net_proxy_set(e.proxy, &e.params);
    assert_int_equal(receive(client, got, 400, NULL), 400);
    assert_memory_equal(bytes + 600, got, 400);
    close(client);
    close(target);
    end(&e);
}

static void test_proxy__faults_are_for_the_first_connections_only(void **state)
{
    (void)state;
    char got[8];
    net_path path = NET_PATH_CLEAN;
    path.cut_at = 2;
    ends e = begin(path, NET_PATH_CLEAN);
    e.params.n_connections_affected = 1;
    net_proxy_set(e.proxy, &e.params);
    for (int i = 0; i < 3; i++) {
        const int client = connect_to(&e);
        const int target = accept_one(&e);
        send_all(client, "abcdef", 6);
        shutdown(client, SHUT_WR);
        assert_int_equal(receive(target, got, 6, NULL), i == 0 ? 2 : 6);
        close(client);
        close(target);
    }
    assert_int_equal(net_proxy_connections(e.proxy), 3);
    end(&e);
}

static void test_proxy__reorder_brings_the_second_connection_first(void **state)
{
    (void)state;
    ends e = begin(NET_PATH_CLEAN, NET_PATH_CLEAN);
    e.params.reorder = true;
    net_proxy_set(e.proxy, &e.params);
    for (int round = 0; round < 3; round++) {
        const int first = connect_to(&e);
        send_all(first, "1", 1);
        const int second = connect_to(&e);
        send_all(second, "2", 1);
        char got[2];
        const int a = accept_one(&e);
        const int b = accept_one(&e);
        assert_int_equal(receive(a, got, 1, NULL), 1);
        assert_int_equal(receive(b, got + 1, 1, NULL), 1);
        assert_memory_equal(got, "21", 2);
        close(first);
        close(second);
        close(a);
        close(b);
    }
    end(&e);
}

static void test_proxy__a_first_connection_without_a_second_goes_on(void **state)
{
    (void)state;
    ends e = begin(NET_PATH_CLEAN, NET_PATH_CLEAN);
    e.params.reorder = true;
    net_proxy_set(e.proxy, &e.params);
    const int client = connect_to(&e);
    const int target = accept_one(&e);
    close(client);
    close(target);
    end(&e);
}

/* ---- the pace of steps, in numbers ------------------------------------------------------------------------------- */

#define STEP 100 /* µs; times are made up */

#define POST         "POST /completion HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\n{  }"
#define GET          "GET /health HTTP/1.1\r\nHost: here\r\n\r\n"
#define WHOLE        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\nContent-Type: application/json\r\n\r\n{\"a\": 1}\n"
#define STREAM       "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
#define CHUNKED_HEAD STREAM "Transfer-Encoding: chunked\r\n\r\n"

/* Three events, the last in two chunks. */
static const char chunked[] = CHUNKED_HEAD "9\r\ndata: a\n\n\r\n"
                                           "15\r\nevent: x\r\ndata: b\r\n\r\n\r\n"
                                           "8\r\ndata: c\n\r\n1\r\n\n\r\n0\r\n\r\n";

static int64_t ask(net_clock *clock, net_pace *pace, int64_t busy_until_us, int64_t now_us)
{
    static const uint8_t request[] = POST;
    assert_false(net_pace_up(pace, request, sizeof request - 2));
    assert_true(net_pace_up(pace, request + sizeof request - 2, 1));
    const int64_t begin_us = net_clock_begin(clock, busy_until_us, now_us);
    net_pace_begin(pace, clock, begin_us);
    return begin_us;
}

/* Bytes come at a time, in reads of n_read. Returns when the last of them leaves; order is kept. */
static int64_t answer(const net_clock *clock, net_pace *pace, const char *bytes, size_t n_read, int64_t now_us)
{
    int64_t last_us = 0;
    const size_t n = strlen(bytes);
    for (size_t i = 0; i < n;) {
        const size_t n_now = n - i < n_read ? n - i : n_read;
        for (size_t done = 0; done < n_now;) {
            int64_t leave_us = 0;
            const size_t n_together =
                net_pace_down(pace, clock, (const uint8_t *)bytes + i + done, n_now - done, now_us, &leave_us);
            assert_in_range(n_together, 1, n_now - done);
            last_us = leave_us > last_us ? leave_us : last_us;
            done += n_together;
        }
        i += n_now;
    }
    return last_us;
}

static void test_proxy__each_event_takes_a_step(void **state)
{
    (void)state;
    for (size_t n_read = 1; n_read <= sizeof chunked; n_read++) {
        net_clock clock = {.step_us = STEP};
        net_pace pace = {0};
        assert_int_equal(ask(&clock, &pace, 0, 1000), 1000);
        assert_int_equal(answer(&clock, &pace, CHUNKED_HEAD, n_read, 1001), 1001);
        assert_int_equal(answer(&clock, &pace, "9\r\ndata: a\n\n\r\n", n_read, 1002), 1100);
        assert_int_equal(answer(&clock, &pace, "15\r\nevent: x\r\ndata: b\r\n\r\n\r\n", n_read, 1003), 1200);
        assert_int_equal(answer(&clock, &pace, "8\r\ndata: c\n\r\n", n_read, 1250), 1300);
        assert_int_equal(answer(&clock, &pace, "1\r\n\n\r\n", n_read, 1320), 1320); /* the event's end came late */
        assert_int_equal(answer(&clock, &pace, "9\r\ndata: d\n\n\r\n", n_read, 1330), 1420);
        assert_true(pace.is_answering);
        assert_int_equal(answer(&clock, &pace, "0\r\n\r\n", n_read, 1340), 1340); /* behind what left before: the lane's */
        assert_false(pace.is_answering);
        assert_int_equal(pace.until_us, 1420);
    }
}

static void test_proxy__an_answer_without_chunks_is_paced_too(void **state)
{
    (void)state;
    net_clock clock = {.step_us = STEP};
    net_pace pace = {0};
    ask(&clock, &pace, 0, 1000);
    assert_int_equal(answer(&clock, &pace, STREAM "\r\ndata: a\n\n\n\r\ndata: b\n", SIZE_MAX, 1000), 1200);
    assert_int_equal(answer(&clock, &pace, "data: of b as well\n\n", SIZE_MAX, 1010), 1200);
    net_pace_end_answer(&pace, 1020);
    assert_int_equal(pace.until_us, 1200);
}

static void test_proxy__requests_behind_each_other_are_paced_each(void **state)
{
    (void)state;
    net_clock clock = {.step_us = STEP};
    net_pace pace = {0};
    assert_int_equal(answer(&clock, &pace, "HTTP/1.1 100 Continue\r\n\r\n", SIZE_MAX, 900), 900);
    for (int64_t now_us = 1000; now_us < 9000; now_us += 2000) {
        ask(&clock, &pace, 0, now_us);
        assert_int_equal(answer(&clock, &pace, chunked, SIZE_MAX, now_us + 1), now_us + 300);
        assert_false(net_pace_up(&pace, (const uint8_t *)GET, strlen(GET)));
        assert_int_equal(answer(&clock, &pace, WHOLE, SIZE_MAX, now_us + 400), now_us + 400);
        assert_false(net_pace_up(&pace, (const uint8_t *)GET, strlen(GET)));
        assert_int_equal(answer(&clock, &pace, chunked, SIZE_MAX, now_us + 500), now_us + 500);
        ask(&clock, &pace, 0, now_us + 1000);
        assert_int_equal(answer(&clock, &pace, WHOLE, SIZE_MAX, now_us + 1001), now_us + 1100);
    }
}

static void test_proxy__a_step_is_shared_by_all_requests(void **state)
{
    (void)state;
    net_clock clock = {.step_us = STEP, .is_shared = true};
    net_pace first = {0};
    net_pace second = {0};
    assert_int_equal(ask(&clock, &first, 0, 1030), 1030); /* idle: a step begins */
    assert_int_equal(ask(&clock, &second, first.until_us, 1070), 1130);
    assert_int_equal(answer(&clock, &second, chunked, SIZE_MAX, 1080), 1430);
    assert_int_equal(answer(&clock, &first, CHUNKED_HEAD "9\r\ndata: a\n\n\r\n", SIZE_MAX, 1080), 1130);
    assert_int_equal(answer(&clock, &first, "9\r\ndata: b\n\n\r\n", SIZE_MAX, 1240), 1330); /* late: with the next step */
    assert_int_equal(answer(&clock, &first, "9\r\ndata: c\n\n\r\n0\r\n\r\n", SIZE_MAX, 1240), 1430);
    assert_int_equal(first.until_us, 1430);
    assert_int_equal(second.until_us, 1430);
    assert_int_equal(ask(&clock, &first, 1430, 1430), 1430); /* at once: the next step */
}

static void test_proxy__a_cancelled_step_runs_to_its_end(void **state)
{
    (void)state;
    net_clock clock = {.step_us = STEP, .is_shared = true};
    net_pace first = {0};
    net_pace second = {0};
    ask(&clock, &first, 0, 1030);
    assert_int_equal(answer(&clock, &first, chunked, SIZE_MAX, 1040), 1330); /* known early, and never sent */
    net_pace_cancel(&first, 1150);
    assert_int_equal(first.until_us, 1150);
    net_clock_forget(&clock, &first);
    assert_int_equal(clock.ended_us, 1150);
    assert_int_equal(ask(&clock, &second, clock.ended_us, 1160), 1230);
    net_pace_cancel(&second, 1170);
    net_pace_end_answer(&second, 1180);
    assert_int_equal(second.until_us, 1170);
    assert_int_equal(ask(&clock, &second, second.until_us, 1231), 1231); /* its step has ended: idle */
}

/* ---- the pace of steps, through sockets -------------------------------------------------------------------------- */

static ends begin_paced(int32_t delay_us, int32_t event_us, bool step_clock)
{
    net_path path = NET_PATH_CLEAN;
    path.delay_us = delay_us;
    ends e = begin(path, path);
    net_proxy_stop(e.proxy);
    e.params.event_us = event_us;
    e.params.step_clock = step_clock;
    e.proxy = net_proxy_start(&e.params);
    assert_non_null(e.proxy);
    return e;
}

/* The server's side of a request. */
static void take_request(int target, const char *request)
{
    char got[256];
    assert_in_range(strlen(request), 1, sizeof got);
    assert_int_equal(receive(target, got, strlen(request), NULL), strlen(request));
    assert_memory_equal(got, request, strlen(request));
}

static void receive_text(int client, const char *text)
{
    char got[256];
    assert_in_range(strlen(text), 1, sizeof got);
    assert_int_equal(receive(client, got, strlen(text), NULL), strlen(text));
    assert_memory_equal(got, text, strlen(text));
}

static void test_proxy__a_pace_adds_to_the_delay(void **state)
{
    (void)state;
    enum { WAY = 10000, STEP_US = 100000 };
    ends e = begin_paced(WAY, STEP_US, false);
    const int client = connect_to(&e);
    const int target = accept_one(&e);
    for (int round = 0; round < 2; round++) {
        const int64_t start = cs_clock_us();
        send_all(client, POST, strlen(POST));
        take_request(target, POST);
        send_all(target, chunked, strlen(chunked));
        receive_text(client, CHUNKED_HEAD);
        for (int event = 1; event <= 3; event++) {
            receive_text(client, event == 1   ? "9\r\ndata: a\n\n\r\n"
                                 : event == 2 ? "15\r\nevent: x\r\ndata: b\r\n\r\n\r\n"
                                              : "8\r\ndata: c\n\r\n1\r\n\n\r\n");
            assert_in_range(cs_clock_us() - start, 2 * WAY + event * STEP_US, 20000000);
        }
        receive_text(client, "0\r\n\r\n");
    }
    const int64_t start = cs_clock_us();
    send_all(client, POST, strlen(POST));
    take_request(target, POST);
    send_all(target, WHOLE, strlen(WHOLE));
    receive_text(client, WHOLE);
    assert_in_range(cs_clock_us() - start, 2 * WAY + STEP_US, 20000000);
    close(client);
    close(target);
    end(&e);
}

static void test_proxy__a_close_does_not_wait_for_the_pace(void **state)
{
    (void)state;
    char got[1];
    for (int reset = 0; reset < 2; reset++) {
        ends e = begin_paced(1000, 60000000, reset == 1);
        const int client = connect_to(&e);
        const int target = accept_one(&e);
        send_all(client, POST, strlen(POST));
        take_request(target, POST);
        send_all(target, chunked, strlen(chunked));
        if (reset == 0) {
            receive_text(client, CHUNKED_HEAD "9\r\n");
        } /* else the head is not read, so that the close is a reset */
        const bool is_there = wait_readable(client, reset == 0 ? 0 : PATIENCE_MS);
        assert_int_equal(is_there, reset); /* no event */
        close(client);
        assert_int_equal(receive(target, got, 1, NULL), 0);
        close(target);
        end(&e);
    }
}

static void test_proxy__what_is_no_answer_to_a_post_is_not_paced(void **state)
{
    (void)state;
    static const char upgrade[] = "GET /v1 HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    static const char switched[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    static const char frames[] = "\x81\x08" POST "\n\n\x82\x7e" WHOLE "\r\n\r\ndata: a\n\n";
    ends e = begin_paced(0, 60000000, true);
    const int client = connect_to(&e);
    const int target = accept_one(&e);
    send_all(client, GET, strlen(GET));
    take_request(target, GET);
    send_all(target, WHOLE, strlen(WHOLE));
    receive_text(client, WHOLE);
    send_all(client, upgrade, strlen(upgrade));
    take_request(target, upgrade);
    send_all(target, switched, strlen(switched));
    receive_text(client, switched);
    for (int i = 0; i < 3; i++) {
        send_all(client, frames, strlen(frames));
        take_request(target, frames);
        send_all(target, frames, strlen(frames));
        receive_text(client, frames);
    }
    close(client);
    close(target);
    end(&e);
}

/* A second request finds a step under way, whether the first one is still there or not. */
static void check_step_clock(bool is_cancelled)
{
    enum { STEP_US = 200000 };
    ends e = begin_paced(0, STEP_US, true);
    const int first = connect_to(&e);
    const int first_target = accept_one(&e);
    const int second = connect_to(&e);
    const int second_target = accept_one(&e);
    const int64_t start = cs_clock_us();
    send_all(first, POST, strlen(POST));
    take_request(first_target, POST);
    send_all(first_target, chunked, strlen(chunked));
    if (is_cancelled) {
        close(first);
    }
    send_all(second, POST, strlen(POST));
    take_request(second_target, POST);
    send_all(second_target, chunked, strlen(chunked));
    receive_text(second, CHUNKED_HEAD "9\r\ndata: a\n\n\r\n");
    assert_in_range(cs_clock_us() - start, 2 * STEP_US, 20000000);
    if (!is_cancelled) {
        receive_text(first, chunked);
        assert_in_range(cs_clock_us() - start, 3 * STEP_US, 20000000);
        close(first);
    }
    close(second);
    close(first_target);
    close(second_target);
    end(&e);
}

static void test_proxy__the_step_clock_makes_a_request_wait_for_the_next_step(void **state)
{
    (void)state;
    check_step_clock(false);
}

static void test_proxy__the_step_clock_goes_on_when_a_request_is_cancelled(void **state)
{
    (void)state;
    check_step_clock(true);
}

/* ---- ends -------------------------------------------------------------------------------------------------------- */

static void test_proxy__cut_refuses_until_set_again(void **state)
{
    (void)state;
    char got[4];
    bool reset = false;
    ends e = begin(NET_PATH_CLEAN, NET_PATH_CLEAN);
    const int port = net_proxy_port(e.proxy);
    for (int round = 0; round < 3; round++) {
        const int client = connect_to(&e);
        const int target = accept_one(&e);
        net_proxy_cut(e.proxy, true);
        assert_int_equal(receive(client, got, 1, &reset), 0);
        assert_true(reset);
        assert_int_equal(receive(target, got, 1, &reset), 0);
        assert_true(reset);
        close(client);
        close(target);
        assert_int_equal(try_connect(&e), -1);
        assert_int_equal(errno, ECONNREFUSED);
        net_proxy_set(e.proxy, &e.params);
        assert_int_equal(net_proxy_port(e.proxy), port);
    }
    const int client = connect_to(&e);
    const int target = accept_one(&e);
    net_proxy_cut(e.proxy, false);
    assert_int_equal(receive(client, got, 1, &reset), 0);
    close(client);
    close(target);
    const int again = connect_to(&e);
    close(again);
    end(&e);
}

static void test_proxy__the_end_of_one_way_leaves_the_other_open(void **state)
{
    (void)state;
    char got[16];
    net_path path = NET_PATH_CLEAN;
    path.delay_us = 5000;
    ends e = begin(path, path);
    const int client = connect_to(&e);
    const int target = accept_one(&e);
    send_all(client, "question", 8);
    shutdown(client, SHUT_WR);
    assert_int_equal(receive(target, got, sizeof got, NULL), 8); /* and then the end */
    send_all(target, "answer", 6);
    close(target);
    bool reset = true;
    assert_int_equal(receive(client, got, sizeof got, &reset), 6);
    assert_false(reset);
    close(client);
    end(&e);
}

static void test_proxy__a_target_that_is_not_there_resets_the_client(void **state)
{
    (void)state;
    char got[1];
    bool reset = false;
    ends e = begin(NET_PATH_CLEAN, NET_PATH_CLEAN);
    close(e.listener);
    e.listener = -1;
    const int client = connect_to(&e);
    assert_int_equal(receive(client, got, 1, &reset), 0);
    assert_true(reset);
    close(client);
    net_proxy_stop(e.proxy);
}

static void test_proxy__a_target_by_name_is_refused(void **state)
{
    (void)state;
    assert_null(net_proxy_start(&(net_proxy_params){.target_host = "node.example", .target_port = 1}));
    assert_int_equal(errno, EINVAL);
}

/* ---- load -------------------------------------------------------------------------------------------------------- */

#define N_CONNECTIONS 100

static void test_proxy__a_hundred_connections_keep_their_bytes(void **state)
{
    (void)state;
    static int clients[N_CONNECTIONS], targets[N_CONNECTIONS];
    net_path path = NET_PATH_CLEAN;
    path.delay_us = 3000;
    ends e = begin(path, path);
    for (int i = 0; i < N_CONNECTIONS; i++) {
        clients[i] = connect_to(&e);
        targets[i] = accept_one(&e);
    }
    uint8_t bytes[2000], got[2000];
    for (int i = 0; i < N_CONNECTIONS; i++) {
        memset(bytes, i, sizeof bytes);
        send_all(clients[i], bytes, sizeof bytes);
        send_all(targets[i], bytes, sizeof bytes);
    }
    for (int i = 0; i < N_CONNECTIONS; i++) {
        memset(bytes, i, sizeof bytes);
        assert_int_equal(receive(targets[i], got, sizeof got, NULL), sizeof got);
        assert_memory_equal(bytes, got, sizeof got);
        assert_int_equal(receive(clients[i], got, sizeof got, NULL), sizeof got);
        assert_memory_equal(bytes, got, sizeof got);
    }
    assert_int_equal(net_proxy_bytes(e.proxy, NET_UP), N_CONNECTIONS * sizeof bytes);
    assert_int_equal(net_proxy_bytes(e.proxy, NET_DOWN), N_CONNECTIONS * sizeof bytes);
    for (int i = 0; i < N_CONNECTIONS; i++) {
        close(clients[i]);
        close(targets[i]);
    }
    end(&e);
}

static void test_proxy__what_is_not_read_is_not_queued_without_end(void **state)
{
    (void)state;
    enum { TOTAL = 64 << 20, PIECE = 1 << 16 };
    uint8_t *bytes = malloc(PIECE);
    assert_non_null(bytes);
    memset(bytes, 7, PIECE);
    ends e = begin(NET_PATH_CLEAN, NET_PATH_CLEAN);
    const int client = connect_to(&e);
    const int target = accept_one(&e);
    size_t sent = 0;
    for (;;) { /* until nothing is taken for 300 ms: kernels' buffers and the queue are full */
        struct pollfd entry = {.fd = client, .events = POLLOUT};
        if (poll(&entry, 1, 300) != 1) {
            break;
        }
        const ssize_t n = send(client, bytes, PIECE, MSG_DONTWAIT | MSG_NOSIGNAL);
        assert_true(n > 0);
        sent += (size_t)n;
        assert_true(sent < TOTAL);
    }
    assert_true(sent >= 8 << 20);
    shutdown(client, SHUT_WR);
    size_t got = 0;
    for (size_t n = 1; n > 0; got += n) {
        n = receive(target, bytes, PIECE, NULL);
    }
    assert_int_equal(got, sent);
    close(client);
    close(target);
    end(&e);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_proxy__a_delay_is_exact),
        cmocka_unit_test(test_proxy__bytes_sent_during_the_delay_do_not_wait_for_each_other),
        cmocka_unit_test(test_proxy__bandwidth_bounds_the_rate),
        cmocka_unit_test(test_proxy__a_cut_lets_exactly_n_bytes_pass),
        cmocka_unit_test(test_proxy__corruption_changes_one_byte),
        cmocka_unit_test(test_proxy__a_stall_keeps_the_connection_and_can_end),
        cmocka_unit_test(test_proxy__faults_are_for_the_first_connections_only),
        cmocka_unit_test(test_proxy__reorder_brings_the_second_connection_first),
        cmocka_unit_test(test_proxy__a_first_connection_without_a_second_goes_on),
        cmocka_unit_test(test_proxy__each_event_takes_a_step),
        cmocka_unit_test(test_proxy__an_answer_without_chunks_is_paced_too),
        cmocka_unit_test(test_proxy__requests_behind_each_other_are_paced_each),
        cmocka_unit_test(test_proxy__a_step_is_shared_by_all_requests),
        cmocka_unit_test(test_proxy__a_cancelled_step_runs_to_its_end),
        cmocka_unit_test(test_proxy__a_pace_adds_to_the_delay),
        cmocka_unit_test(test_proxy__a_close_does_not_wait_for_the_pace),
        cmocka_unit_test(test_proxy__what_is_no_answer_to_a_post_is_not_paced),
        cmocka_unit_test(test_proxy__the_step_clock_makes_a_request_wait_for_the_next_step),
        cmocka_unit_test(test_proxy__the_step_clock_goes_on_when_a_request_is_cancelled),
        cmocka_unit_test(test_proxy__cut_refuses_until_set_again),
        cmocka_unit_test(test_proxy__the_end_of_one_way_leaves_the_other_open),
        cmocka_unit_test(test_proxy__a_target_that_is_not_there_resets_the_client),
        cmocka_unit_test(test_proxy__a_target_by_name_is_refused),
        cmocka_unit_test(test_proxy__a_hundred_connections_keep_their_bytes),
        cmocka_unit_test(test_proxy__what_is_not_read_is_not_queued_without_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
