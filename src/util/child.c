/*
 * Three processes: the program, a helper that it forked while it was small, and a child of the helper for each piece of work.
 *
 * Requests and replies pass a socket between the first two; the helper ends when the program's end of it is closed, however that
 * came about. The child's result comes through a pipe, and a last byte says that it is whole. There is no exec: the library has
 * no program of its own.
 */
#define _GNU_SOURCE /* pipe2(), closefrom(), prctl() */
#include "util/child.h"

#include "util/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#define CPU_SECONDS_MAX 10
/* For a child that neither computes nor ends; none is known. */
#define WALL_US_MAX 120000000
/* The helper's end of the socket: the first descriptor after the standard ones. */
#define HELPER_FD 3
static const char whole = 1;

/* The same program on both sides, so that a pointer to a function and a struct's layout hold. */
typedef struct request {
    cs_child_work *work;
    size_t n;
    size_t n_bytes_more;
    size_t cap;
} request;

typedef struct reply {
    size_t n;
    cs_child_end end;
} reply;

static bool send_all(int fd, const void *bytes, size_t n)
{
    const char *at = bytes;
    while (n > 0) {
        const ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR) {
            return false;
        }
        at += sent > 0 ? sent : 0;
        n -= sent > 0 ? (size_t)sent : 0;
    }
    return true;
}

static bool receive_all(int fd, void *bytes, size_t n)
{
    char *at = bytes;
    while (n > 0) {
        const ssize_t received = recv(fd, at, n, 0);
        if (received == 0 || (received < 0 && errno != EINTR)) {
            return false;
        }
        at += received > 0 ? received : 0;
        n -= received > 0 ? (size_t)received : 0;
    }
    return true;
}

/* ---- the child --------------------------------------------------------------------------------------------------- */

/* The address space that this process has now; 0: unknown. */
static rlim_t address_space(void)
{
    unsigned long long n_pages = 0;
    char text[32] = "";
    const int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        n_pages = read(fd, text, sizeof text - 1) > 0 ? strtoull(text, NULL, 10) : 0;
        close(fd);
    }
    return (rlim_t)n_pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

static void limit(int what, rlim_t value)
{
    struct rlimit now;
    if (getrlimit(what, &now) == 0 && (now.rlim_max == RLIM_INFINITY || value < now.rlim_max)) {
        (void)setrlimit(what, &(struct rlimit){.rlim_cur = value, .rlim_max = value});
    }
}

static bool write_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        const ssize_t written = write(fd, bytes, n);
        if (written < 0 && errno != EINTR) {
            return false;
        }
        bytes += written > 0 ? written : 0;
        n -= written > 0 ? (size_t)written : 0;
    }
    return true;
}

static _Noreturn void be_child(const request *wanted, const char *text, int fd)
{
#ifdef __linux__
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
    const rlim_t have = address_space();
    if (have > 0) {
        limit(RLIMIT_AS, have + wanted->n_bytes_more);
    }
    limit(RLIMIT_CPU, CPU_SECONDS_MAX);
    limit(RLIMIT_CORE, 1); /* no dump with the messages in it; at 0 Linux would still pipe one to a collector */
    cs_buffer out = {.cap = wanted->cap};
    const bool ok = wanted->work(text, wanted->n, &out) && write_all(fd, out.bytes, out.n_bytes) && write_all(fd, &whole, 1);
    _exit(ok ? 0 : 1);
}

/* ---- the helper -------------------------------------------------------------------------------------------------- */

/* Read the child's result to its end. False: too much, too late, no memory, or the program is gone. */
static bool collect(int fd, cs_buffer *out)
{
    const int64_t deadline = cs_clock_us() + WALL_US_MAX;
    char chunk[16384];
    for (;;) {
        const int64_t left = (deadline - cs_clock_us()) / 1000;
        struct pollfd ready[] = {{.fd = fd, .events = POLLIN},
                                 {.fd = HELPER_FD, .events = 0}}; /* of the second only that it hangs up */
        const int n_ready = left > 0 ? poll(ready, 2, (int)left) : 0;
        if (n_ready == 0 || ready[1].revents != 0) {
            return false;
        }
        const ssize_t n = n_ready > 0 ? read(fd, chunk, sizeof chunk) : -1;
        if (n == 0) {
            return true;
        }
        if ((n < 0 && errno != EINTR) || (n > 0 && !cs_buffer_append(out, chunk, (size_t)n))) {
            return false;
        }
    }
}

static cs_child_end run(const request *wanted, const char *text, cs_buffer *out)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return CS_CHILD_NONE;
    }
    const pid_t pid = fork();
    if (pid == 0) {
        close(HELPER_FD);
        be_child(wanted, text, ends[1]);
    }
    close(ends[1]);
    const bool is_read = pid > 0 && collect(ends[0], out);
    close(ends[0]);
    if (pid < 0) {
        return CS_CHILD_NONE;
    }
    (void)kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    if (!is_read || out->n_bytes == 0 || out->bytes[out->n_bytes - 1] != whole) {
        return CS_CHILD_STOPPED;
    }
    out->n_bytes--;
    return CS_CHILD_DONE;
}

static bool serve_one(void)
{
    request wanted;
    if (!receive_all(HELPER_FD, &wanted, sizeof wanted)) {
        return false;
    }
    char *text = malloc(wanted.n + 1);
    if (text == NULL || !receive_all(HELPER_FD, text, wanted.n)) {
        free(text);
        return false;
    }
    text[wanted.n] = '\0';
    cs_buffer out = {.cap = wanted.cap + 1}; /* the last byte */
    reply answer = {.end = run(&wanted, text, &out)};
    answer.n = answer.end == CS_CHILD_DONE ? out.n_bytes : 0;
    const bool ok = send_all(HELPER_FD, &answer, sizeof answer) && send_all(HELPER_FD, out.bytes, answer.n);
    free(text);
    cs_buffer_dispose(&out);
    return ok;
}

static _Noreturn void be_helper(int fd)
{
    if (fd != HELPER_FD) {
        dup2(fd, HELPER_FD);
    }
    const int nowhere = open("/dev/null", O_RDWR);
    for (int standard = STDIN_FILENO; nowhere >= 0 && standard <= STDERR_FILENO; standard++) {
        dup2(nowhere, standard);
    }
    closefrom(HELPER_FD + 1);
    (void)signal(SIGCHLD, SIG_DFL); /* waited for */
#ifdef __linux__
    (void)prctl(PR_SET_NAME, "costeer-helper");
#endif
    while (serve_one()) {
    }
    _exit(0);
}

/* ---- the program ------------------------------------------------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* for what follows, and for the socket while a request is answered */
static int to_helper = -1;
static pid_t helper;
static pid_t owner; /* a program that was forked itself must not share its helper */

static void stop(void)
{
    if (to_helper >= 0) {
        close(to_helper);
        if (owner == getpid()) {
            (void)kill(helper, SIGKILL);
            while (waitpid(helper, NULL, 0) < 0 && errno == EINTR) {
            }
        }
        to_helper = -1;
    }
}

/* A process that nobody waits for stays a zombie where process 1 is not init, as in many containers. */
static void stop_at_exit(void)
{
    if (pthread_mutex_trylock(&lock) == 0) { /* else another thread waits for an answer: this process does not wait for it */
        stop();
        pthread_mutex_unlock(&lock);
    }
}

/* The helper takes no signals: what a terminal sends to a process and all that it forked is for the program. */
static bool start(void)
{
    if (to_helper >= 0 && owner == getpid()) {
        return true;
    }
    stop();
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        return false;
    }
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    helper = fork();
    if (helper == 0) {
        be_helper(ends[1]);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(ends[1]);
    if (helper < 0) {
        close(ends[0]);
        return false;
    }
    static bool is_registered;
    is_registered = is_registered || atexit(stop_at_exit) == 0;
    to_helper = ends[0];
    owner = getpid();
    return true;
}

void cs_child_prepare(void)
{
    pthread_mutex_lock(&lock);
    (void)start(); /* cs_child_run() says when there is none */
    pthread_mutex_unlock(&lock);
}

static bool ask(const request *wanted, const char *text, reply *answer)
{
    return send_all(to_helper, wanted, sizeof *wanted) && send_all(to_helper, text, wanted->n) &&
           receive_all(to_helper, answer, sizeof *answer);
}

static cs_child_end fetch(const reply *answer, cs_buffer *out)
{
    char *bytes = answer->n <= out->cap ? malloc(answer->n + 1) : NULL;
    if (bytes == NULL || !receive_all(to_helper, bytes, answer->n)) {
        free(bytes);
        stop();
        return CS_CHILD_NONE;
    }
    bytes[answer->n] = '\0';
    *out = (cs_buffer){.bytes = bytes, .n_bytes = answer->n, .capacity = answer->n + 1, .cap = out->cap};
    return CS_CHILD_DONE;
}

cs_child_end cs_child_run(cs_child_work *work, const char *text, size_t n, size_t n_bytes_more, cs_buffer *out)
{
    const request wanted = {.work = work, .n = n, .n_bytes_more = n_bytes_more, .cap = out->cap};
    reply answer = {.end = CS_CHILD_NONE};
    bool is_answered = false;
    pthread_mutex_lock(&lock);
    for (int attempt = 0; attempt < 2 && !is_answered && start(); attempt++) { /* somebody may have killed the helper */
        is_answered = ask(&wanted, text, &answer);
        if (!is_answered) {
            stop();
        }
    }
    cs_child_end end = is_answered ? answer.end : CS_CHILD_NONE;
    if (end == CS_CHILD_DONE) {
        end = fetch(&answer, out);
    }
    pthread_mutex_unlock(&lock);
    return end;
}
