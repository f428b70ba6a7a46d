/*
 * The child is killed by llama_server_stop(), by atexit, and, where the system can, by the kernel when the test dies in any other
 * way. It is asked over a socket of our own: what is tested is not what tells whether the test may begin.
 */
#include "support/llama_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include <cmocka.h>

#define POLL_MS     20
#define PATIENCE_MS 600000 /* ends a hang */
#define N_PORTS     3      /* tried: another process may take a port that was free a moment ago */

struct llama_server {
    pid_t pid;
    int port;
};

const char *llama_server_program(void)
{
    const char *program = getenv("LLAMA_SERVER");
    return program != NULL && program[0] != '\0' ? program : NULL;
}

/* ---- asking it ----------------------------------------------------------------------------------------------------- */

static struct sockaddr_in loopback(int port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int find_port(void)
{
    struct sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    (void)close(fd);
    return ntohs(address.sin_port);
}

/* GET a path; false: no answer with status 200. */
static bool get(int port, const char *path, char *out, size_t capacity)
{
    char request[128];
    const struct sockaddr_in address = loopback(port);
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    const int n_request = snprintf(request, sizeof request, "GET %s HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n", path);
    size_t n = 0;
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0 &&
        send(fd, request, (size_t)n_request, MSG_NOSIGNAL) == n_request) {
        ssize_t got = 0;
        while (n + 1 < capacity && (got = recv(fd, out + n, capacity - 1 - n, 0)) > 0) {
            n += (size_t)got;
        }
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    out[n] = '\0';
    return strncmp(out, "HTTP/1.", 7) == 0 && strncmp(out + 8, " 200", 4) == 0;
}

int llama_server_n_busy(const llama_server *server)
{
    static const char key[] = "\"is_processing\":true";
    static char body[1 << 16];
    int n = 0;
    if (!get(server->port, "/slots", body, sizeof body)) {
        return -1;
    }
    for (const char *at = strstr(body, key); at != NULL; at = strstr(at + 1, key)) {
        n++;
    }
    return n;
}

int llama_server_port(const llama_server *server)
{
    return server->port;
}

/* ---- its life ------------------------------------------------------------------------------------------------------ */

static pid_t last_pid; /* for atexit, which is given nothing; 0: none */

static void kill_last(void)
{
    if (last_pid > 0) {
        (void)kill(last_pid, SIGKILL);
        (void)waitpid(last_pid, NULL, 0);
        last_pid = 0;
    }
}

/* In the child: nothing but system calls. */
static void become(const char *program, char *const argv[], pid_t parent)
{
#ifdef __linux__
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
    const int fd = open("/dev/null", O_RDWR); /* one line comes in spite of --log-disable */
    if (fd >= 0 && dup2(fd, STDIN_FILENO) >= 0 && dup2(fd, STDOUT_FILENO) >= 0 && dup2(fd, STDERR_FILENO) >= 0 &&
        getppid() == parent) {
        (void)execv(program, argv);
    }
    _exit(127);
}

static pid_t spawn(const char *program, const char *model_path, int n_slots, int n_ctx, int port)
{
    char slots[16], ctx[16], at[16];
    (void)snprintf(slots, sizeof slots, "%d", n_slots);
    (void)snprintf(ctx, sizeof ctx, "%d", n_ctx);
    (void)snprintf(at, sizeof at, "%d", port);
    const char *const argv[] = {program,
                                "-m",
                                model_path,
                                "-t",
                                "1",
                                "--parallel",
                                slots,
                                "-c",
                                ctx,
                                "--host",
                                "127.0.0.1",
                                "--port",
                                at,
                                "--no-ui",
                                "--log-disable",
                                "--no-cache-idle-slots",
                                "--slot-prompt-similarity",
                                "0",
                                NULL};
    const pid_t parent = getpid();
    const pid_t pid = fork();
    if (pid == 0) {
        become(program, (char *const *)argv, parent);
    }
    assert_true(pid > 0);
    return pid;
}

/* False: it has ended. */
static bool wait_until_healthy(const llama_server *server)
{
    char body[4096];
    for (int waited_ms = 0; waited_ms < PATIENCE_MS; waited_ms += POLL_MS) {
        const pid_t ended = waitpid(server->pid, NULL, WNOHANG);
        if (ended != 0) {
            return false;
        }
        if (get(server->port, "/health", body, sizeof body)) {
            return true;
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
    }
    fail_msg("llama-server is not healthy after %d s", PATIENCE_MS / 1000);
    return false;
}

llama_server *llama_server_start(const char *program, const char *model_path, int n_slots, int n_ctx)
{
    llama_server *server = calloc(1, sizeof *server);
    assert_non_null(server);
    assert_int_equal(atexit(kill_last), 0);
    for (int i = 0; i < N_PORTS; i++) {
        server->port = find_port();
        server->pid = last_pid = spawn(program, model_path, n_slots, n_ctx, server->port);
        if (wait_until_healthy(server)) {
            return server;
        }
        last_pid = 0;
    }
    free(server);
    fail_msg("%s ends at once: try it by hand", program);
    return NULL;
}

void llama_server_stop(llama_server *server)
{
    if (server != NULL) {
        kill_last();
        free(server);
    }
}
