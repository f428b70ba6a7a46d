/*
 * Requests of our own to a server that takes one connection for each: what is known of connections while nobody looks.
 */
#include "cloud/api_http.h"
#include "util/clock.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define N_REQUESTS  6
#define PATIENCE_US INT64_C(60000000)

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";

/* N_REQUESTS times: a connection, a request, an answer, the end. */
static void *serve(void *user)
{
    const int listener = *(int *)user;
    for (int i = 0; i < N_REQUESTS; i++) {
        char request[4096];
        const int connection = accept(listener, NULL, NULL);
        if (connection < 0) {
            return NULL;
        }
        if (recv(connection, request, sizeof request, 0) > 0) {
            (void)send(connection, answer, sizeof answer - 1, MSG_NOSIGNAL);
        }
        (void)shutdown(connection, SHUT_WR);
        (void)recv(connection, request, sizeof request, 0);
        (void)close(connection);
    }
    return NULL;
}

static int listen_anywhere(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof address;
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(listener >= 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, n), 0);
    assert_int_equal(listen(listener, N_REQUESTS), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &n), 0);
    *port = ntohs(address.sin_port);
    return listener;
}

/* A request; nobody looks for away_ms after it was started, as a device that computes does not. */
static void get(cs_api_http *http, int away_ms)
{
    const int64_t until = cs_clock_us() + PATIENCE_US;
    const struct timespec away = {.tv_nsec = away_ms * 1000000L};
    assert_int_equal(cs_api_http_start(http, "/v1/models", NULL, 0, false, 4096, NULL), COSTEER_OK);
    (void)nanosleep(&away, NULL);
    while (!cs_api_http_response(http).is_done && cs_clock_us() < until) {
        assert_int_equal(cs_api_http_run(http, 10, NULL), COSTEER_OK);
    }
    assert_int_equal(cs_api_http_response(http).status, 200);
}

/* Else an engine on the same machine gets an idle request for every correction. */
static void test_spares__a_connection_is_not_slow_because_the_device_was_busy(void **state)
{
    (void)state;
    int port = 0;
    int listener = listen_anywhere(&port);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, serve, &listener), 0);
    char text[64];
    cs_native_url url;
    cs_api_http *http = NULL;
    (void)snprintf(text, sizeof text, "http://127.0.0.1:%d", port);
    assert_int_equal(cs_native_url_parse_http(text, &url, NULL), COSTEER_OK);
    const cs_api_http_params params = {.url = &url};
    assert_int_equal(cs_api_http_create(&params, &http, NULL), COSTEER_OK);
    for (int i = 0; i + 1 < N_REQUESTS; i++) { /* one of them, at least, is not kept waiting by a busy machine */
        get(http, 0);
    }
    assert_false(cs_api_http_wants_spare(http, 3));
    get(http, 50);
    assert_false(cs_api_http_wants_spare(http, 3));
    cs_api_http_free(http);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spares__a_connection_is_not_slow_because_the_device_was_busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
