/*
 * The node of `costeer bench net`: a process of its own, as in real use, so that its threads and allocator are not the device's.
 *
 * It is started with posix_spawn (this process has threads), gets an empty standard input, and tells its port in the JSON line
 * that `costeer node --json` prints when it listens. Its standard error goes to a file without a name: a pipe could fill up and
 * block it. It stays in our process group, so that Ctrl-C on a terminal reaches it too; whatever ends the bench in good order
 * stops it and waits for it.
 */
#include "net_node.h"

#include "tests/net/proxy.h"
#include "util/clock.h"
#include "util/error.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A model of some gigabytes on a cold disk takes this long at worst. */
#define START_TIMEOUT_US INT64_C(120000000)
/* A node without open answers ends at once; this is for one that hangs. */
#define STOP_TIMEOUT_US INT64_C(5000000)
/* Room for an answer that is being closed while the next one opens. */
#define SESSIONS_BESIDES 16
#define POLL_MS          50
#define LINE_SIZE        1024

extern char **environ;

/* ---- start ------------------------------------------------------------------------------------------------------- */

static costeer_err failed_to_start(costeer_error *err, int error)
{
    return cs_error_set(err, COSTEER_ECLOUD, "bench", "the node cannot be started: %s", strerror(error));
}

/* Room for the numbers among the child's arguments. */
typedef struct arguments {
    char numbers[5][16];
    char *items[24];
    size_t n;
} arguments;

/* posix_spawn's array is not const for historical reasons; the strings are not changed. */
static void add(arguments *list, const char *name, const char *value)
{
    union {
        const char *in;
        char *out;
    } both[2] = {{.in = name}, {.in = value}};
    list->items[list->n++] = both[0].out;
    if (value != NULL) {
        list->items[list->n++] = both[1].out;
    }
}

static void add_number(arguments *list, size_t slot, const char *name, int32_t value)
{
    (void)snprintf(list->numbers[slot], sizeof list->numbers[slot], "%d", (int)value);
    add(list, name, list->numbers[slot]);
}

static void make_arguments(const cs_net_node_params *params, arguments *list)
{
    memset(list, 0, sizeof *list);
    add(list, "costeer", NULL);
    add(list, "node", NULL);
    add(list, "--listen", "127.0.0.1:0");
    add(list, "--json", NULL);
    add(list, "--quiet", NULL);
    if (params->model != NULL) {
        add(list, "--model", params->model);
    }
    add_number(list, 0, "--window", params->window);
    add_number(list, 1, "--parallel", params->n_parallel);
    add_number(list, 2, "--threads", params->n_threads);
    add_number(list, 3, "--max-sessions", params->n_parallel + SESSIONS_BESIDES);
    if (params->step_ms > 0) {
        add_number(list, 4, "--bench-step-ms", params->step_ms);
    }
}

static int spawn(const char *program, arguments *list, int out, int log, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    int error = posix_spawn_file_actions_init(&actions);
    if (error != 0) {
        return error;
    }
    error = posix_spawnattr_init(&attributes);
    if (error != 0) {
        (void)posix_spawn_file_actions_destroy(&actions);
        return error;
    }
    (void)sigemptyset(&none);
    error = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    error = error == 0 ? posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO) : error;
    error = error == 0 ? posix_spawn_file_actions_adddup2(&actions, log, STDERR_FILENO) : error;
    error = error == 0 ? posix_spawnattr_setsigmask(&attributes, &none) : error;
    error = error == 0 ? posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK) : error;
    error = error == 0 ? posix_spawn(pid, program, &actions, &attributes, list->items, environ) : error;
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return error;
}

/* ---- its first line ---------------------------------------------------------------------------------------------- */

/* The last line it wrote to standard error, without "costeer: ". */
static void last_message(cs_net_node *node, char line[LINE_SIZE])
{
    char next[LINE_SIZE];
    line[0] = '\0';
    rewind(node->log);
    while (fgets(next, sizeof next, node->log) != NULL) {
        next[strcspn(next, "\n")] = '\0';
        if (next[0] != '\0') {
            static const char prefix[] = "costeer: ";
            const size_t skip = strncmp(next, prefix, sizeof prefix - 1) == 0 ? sizeof prefix - 1 : 0;
            memmove(line, next + skip, strlen(next + skip) + 1);
        }
    }
}

static costeer_err ended_early(cs_net_node *node, costeer_error *err)
{
    char line[LINE_SIZE];
    int status = 0;
    while (waitpid(node->pid, &status, 0) < 0 && errno == EINTR) {
    }
    node->pid = 0;
    last_message(node, line);
    if (line[0] != '\0') {
        return cs_error_set(err, COSTEER_ECLOUD, "bench", "the node did not start: %s", line);
    }
    return WIFSIGNALED(status)
               ? cs_error_set(err, COSTEER_ECLOUD, "bench", "the node did not start: signal %d ended it", WTERMSIG(status))
               : cs_error_set(err, COSTEER_ECLOUD, "bench", "the node did not start: it ended with exit code %d",
                              WEXITSTATUS(status));
}

static costeer_err read_port(cs_net_node *node, const char *line, costeer_error *err)
{
    json_t *told = json_loads(line, 0, NULL);
    const json_int_t port = json_integer_value(json_object_get(told, "port"));
    json_decref(told);
    if (port < 1 || port > 65535) {
        return cs_error_set(err, COSTEER_ECLOUD, "bench", "the node did not tell its port in its first line");
    }
    node->port = (int32_t)port;
    return COSTEER_OK;
}

static bool is_cancelled(const atomic_bool *cancel)
{
    return cancel != NULL && atomic_load(cancel);
}

/* Waits for the line that tells the port. */
static costeer_err wait_for_port(cs_net_node *node, const atomic_bool *cancel, costeer_error *err)
{
    char line[LINE_SIZE];
    size_t n = 0;
    const int64_t deadline = cs_clock_us() + START_TIMEOUT_US;
    while (!is_cancelled(cancel)) {
        struct pollfd readable = {.fd = node->out, .events = POLLIN};
        if (poll(&readable, 1, POLL_MS) > 0) {
            const ssize_t got = read(node->out, line + n, sizeof line - 1 - n);
            if (got == 0) {
                return ended_early(node, err);
            }
            n += got > 0 ? (size_t)got : 0;
            line[n] = '\0';
            if (strchr(line, '\n') != NULL || n == sizeof line - 1) {
                return read_port(node, line, err);
            }
        }
        if (cs_clock_us() > deadline) {
            return cs_error_set(err, COSTEER_ETIMEDOUT, "bench", "the node did not start within two minutes");
        }
    }
    return cs_error_set(err, COSTEER_ECANCELED, "bench", "cancelled");
}

costeer_err cs_net_node_start(const cs_net_node_params *params, cs_net_node *out, costeer_error *err)
{
    int ends[2];
    arguments list;
    *out = (cs_net_node){.out = -1};
    out->log = tmpfile();
    if (out->log == NULL || pipe(ends) != 0) {
        return failed_to_start(err, errno);
    }
    out->out = ends[0];
    (void)fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    (void)fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    (void)fcntl(fileno(out->log), F_SETFD, FD_CLOEXEC);
    make_arguments(params, &list);
    const char *program = params->program != NULL ? params->program : "/proc/self/exe";
    const int error = spawn(program, &list, ends[1], fileno(out->log), &out->pid);
    (void)close(ends[1]);
    if (error != 0) {
        out->pid = 0;
        return cs_error_set(err, COSTEER_ECLOUD, "bench", "%s: the node cannot be started: %s", program, strerror(error));
    }
    return wait_for_port(out, params->cancel, err);
}

/* ---- stop -------------------------------------------------------------------------------------------------------- */

/* True when it has ended and was reaped. */
static bool has_ended(pid_t pid)
{
    const pid_t got = waitpid(pid, NULL, WNOHANG);
    return got == pid || (got < 0 && errno == ECHILD);
}

void cs_net_node_stop(cs_net_node *node)
{
    if (node->pid > 0) {
        const int64_t deadline = cs_clock_us() + STOP_TIMEOUT_US;
        (void)kill(node->pid, SIGTERM);
        while (!has_ended(node->pid)) {
            if (cs_clock_us() > deadline) {
                (void)kill(node->pid, SIGKILL); /* reaped by a later look */
            }
            const struct timespec pause = {.tv_nsec = 5000000};
            (void)nanosleep(&pause, NULL);
        }
    }
    if (node->out >= 0) {
        (void)close(node->out);
    }
    if (node->log != NULL) {
        (void)fclose(node->log);
    }
    *node = (cs_net_node){.out = -1};
}

/* ---- the network before it --------------------------------------------------------------------------------------- */

struct net_proxy *cs_net_proxy_start(const cs_net_node *node, int32_t round_trip_ms, costeer_error *err)
{
    net_proxy_params params = {
        .target_host = "127.0.0.1", .target_port = node->port, .up = NET_PATH_CLEAN, .down = NET_PATH_CLEAN};
    params.up.delay_us = round_trip_ms * 500;
    params.down.delay_us = round_trip_ms * 500;
    net_proxy *proxy = net_proxy_start(&params);
    if (proxy == NULL) {
        (void)cs_error_set(err, COSTEER_EIO, "bench", "the proxy cannot be started: %s", strerror(errno));
    }
    return proxy;
}
