/*
 * Load for another engine's HTTP server: some workers that send completion requests one after the other and read the answers,
 * for measure_net.py. It takes as little of the machine as it can, so that the server has the rest: a thread per worker that
 * sleeps in read(), and no look at an answer but for the number of its tokens.
 *
 *   http_load PORT WORKERS FILE     FILE: JSON bodies, one per line; worker i of n takes the i-th n-th of them
 *
 * Prints {"tokens": …, "wall_us": …, "answers": …}.
 */
#include "util/clock.h"
#include "util/file.h"
#include "util/parse.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WORKERS_MAX    256
#define FILE_BYTES_MAX ((size_t)64 << 20)
#define HEAD_SIZE      256
#define READ_SIZE      65536
/* Longest name and number that a read may cut in two. */
#define CARRY 48

static const char token_field[] = "\"tokens_predicted\":";

typedef struct worker {
    uint16_t port;
    char **bodies; /* [n] */
    size_t n;
    int64_t n_tokens;
    const char *failure; /* NULL: none */
    pthread_t thread;
    char buffer[CARRY + READ_SIZE + 1];
} worker;

/* ---- one request ------------------------------------------------------------------------------------------------- */

static int connect_to(uint16_t port)
{
    const struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    const int on = 1;
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        (void)close(fd);
        return -1;
    }
    if (fd >= 0) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    return fd;
}

static bool send_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        const ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR) {
            return false;
        }
        bytes += sent > 0 ? sent : 0;
        n -= sent > 0 ? (size_t)sent : 0;
    }
    return true;
}

/* The last number behind the field's name in the text; what was found before when there is none. */
static int64_t last_count(const char *text, int64_t found)
{
    for (const char *at = strstr(text, token_field); at != NULL; at = strstr(at, token_field)) {
        at += sizeof token_field - 1;
        found = strtoll(at, NULL, 10);
    }
    return found;
}

/* Reads an answer to its end; returns its number of tokens, −1 when it is none. A streamed answer tells it many times. */
static int64_t read_answer(worker *w, int fd)
{
    int64_t n_tokens = -1;
    size_t n_carried = 0;
    for (bool is_first = true;; is_first = false) {
        const ssize_t got = recv(fd, w->buffer + n_carried, READ_SIZE, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return got == 0 ? n_tokens : -1;
        }
        const size_t n = n_carried + (size_t)got;
        w->buffer[n] = '\0';
        if (is_first && (strncmp(w->buffer, "HTTP/1.", 7) != 0 || n < 12 || memcmp(w->buffer + 8, " 200", 4) != 0)) {
            return -1;
        }
        n_tokens = last_count(w->buffer, n_tokens);
        n_carried = n < CARRY ? n : CARRY;
        memmove(w->buffer, w->buffer + n - n_carried, n_carried);
    }
}

static void *work(void *user)
{
    worker *w = user;
    for (size_t i = 0; i < w->n && w->failure == NULL; i++) {
        char head[HEAD_SIZE];
        const size_t n_body = strlen(w->bodies[i]);
        const int n_head = snprintf(head, sizeof head,
                                    "POST /completion HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                                    "Connection: close\r\nContent-Length: %zu\r\n\r\n",
                                    n_body);
        const int fd = connect_to(w->port);
        if (fd < 0) {
            w->failure = "cannot connect";
            break;
        }
        const bool is_sent = send_all(fd, head, (size_t)n_head) && send_all(fd, w->bodies[i], n_body);
        const int64_t n_tokens = is_sent ? read_answer(w, fd) : -1;
        (void)close(fd);
        if (n_tokens < 0) {
            w->failure = "no answer with tokens_predicted";
        }
        w->n_tokens += n_tokens;
    }
    return NULL;
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

static size_t split_lines(char *text, char **lines, size_t max)
{
    size_t n = 0;
    for (char *line = text; line != NULL && *line != '\0' && n < max;) {
        char *end = strchr(line, '\n');
        if (end != NULL) {
            *end = '\0';
        }
        lines[n++] = line;
        line = end != NULL ? end + 1 : NULL;
    }
    return n;
}

static int run(uint16_t port, size_t n_workers, char **bodies, size_t n_bodies)
{
    worker *workers = calloc(n_workers, sizeof *workers);
    if (workers == NULL) {
        fprintf(stderr, "http_load: out of memory\n");
        return 1;
    }
    const char *failure = NULL;
    int64_t n_tokens = 0;
    const size_t each = n_bodies / n_workers;
    const int64_t start = cs_clock_us();
    size_t n_started = 0;
    for (; n_started < n_workers; n_started++) {
        worker *w = &workers[n_started];
        w->port = port;
        w->bodies = bodies + n_started * each;
        w->n = each;
        if (pthread_create(&w->thread, NULL, work, w) != 0) {
            failure = "no more threads";
            break;
        }
    }
    for (size_t i = 0; i < n_started; i++) {
        (void)pthread_join(workers[i].thread, NULL);
        n_tokens += workers[i].n_tokens;
        failure = workers[i].failure != NULL ? workers[i].failure : failure;
    }
    const int64_t wall_us = cs_clock_us() - start;
    free(workers);
    if (failure != NULL) {
        fprintf(stderr, "http_load: %s\n", failure);
        return 1;
    }
    printf("{\"tokens\": %" PRId64 ", \"wall_us\": %" PRId64 ", \"answers\": %zu}\n", n_tokens, wall_us, each * n_workers);
    return fflush(stdout) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    uint64_t port = 0;
    uint64_t n_workers = 0;
    if (argc != 4 || cs_parse_uint64(argv[1], &port) != CS_PARSE_OK || cs_parse_uint64(argv[2], &n_workers) != CS_PARSE_OK ||
        port < 1 || port > UINT16_MAX || n_workers < 1 || n_workers > WORKERS_MAX) {
        fprintf(stderr, "http_load: use http_load PORT WORKERS FILE, with at most %d workers\n", WORKERS_MAX);
        return 2;
    }
    char *text = NULL;
    size_t n_bytes = 0;
    const int error = cs_file_read(argv[3], FILE_BYTES_MAX, NULL, &text, &n_bytes);
    if (error != 0) {
        fprintf(stderr, "http_load: %s: %s\n", argv[3], strerror(error));
        return 1;
    }
    char **bodies = calloc(n_bytes + 1, sizeof *bodies);
    const size_t n = bodies != NULL ? split_lines(text, bodies, n_bytes) : 0;
    int exit_code = 1;
    if (n < n_workers) {
        fprintf(stderr, "http_load: %s: %zu requests for %" PRIu64 " workers\n", argv[3], n, n_workers);
    } else {
        exit_code = run((uint16_t)port, (size_t)n_workers, bodies, n);
    }
    free(bodies);
    free(text);
    return exit_code;
}
