/*
 * The proxy's loop: one thread that owns every socket, poll(2) with microseconds, and in each direction of each connection a
 * queue of bytes stamped with the time at which they are due.
 *
 * Delay is put on when bytes are read, so that it does not depend on what is queued before them, and so is the pace of the
 * target's steps, which is known by then; bandwidth, cut, damage and stall act where bytes leave, because that is where they are
 * counted. Other threads only leave a command and wait until the loop has carried it out.
 */
#define _GNU_SOURCE /* ppoll: the milliseconds of poll are too coarse to stand for a network */
#include "tests/net/proxy.h"

#include "tests/net/proxy_lane.h"
#include "tests/net/proxy_pace.h"
#include "tests/net/proxy_socket.h"
#include "util/clock.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define READ_MAX      ((size_t)256 << 10) /* of one connection in one round */
#define FLUSH_US      500000              /* a cut waits so long for the receiver to have what was passed */
#define FLUSH_STEP_US 200
#define REORDER_US    500000 /* a first connection waits so long for its second */

typedef enum stage {
    HELD,       /* accepted; waits for the connection that shall be first */
    CONNECTING, /* to the target */
    OPEN,
    CUTTING, /* reset as soon as the receiver has what was passed */
    CLOSED
} stage;

typedef struct connection {
    stage stage;
    int32_t index;
    int64_t since_us; /* of HELD and CUTTING */
    int fd[2];        /* [NET_UP]: where bytes up come from; [NET_DOWN]: the target */
    net_lane lanes[2];
    net_pace pace;
    struct connection *next;
} connection;

struct net_proxy {
    pthread_t thread;
    int port_fd;   /* holds the port */
    int listen_fd; /* −1: connections are refused */
    int port;
    int wake[2]; /* pipe */
    atomic_int_least64_t n_bytes[2];
    atomic_int_least32_t n_connections;

    pthread_mutex_t mutex; /* protects what follows, up to the loop's own */
    pthread_cond_t carried_out;
    uint64_t n_commands, n_done;
    net_proxy_params wanted;
    struct sockaddr_storage wanted_target;
    socklen_t wanted_target_bytes;
    bool is_new, cut, refuse, stop;

    net_proxy_params params; /* the loop's own from here on */
    struct sockaddr_storage target;
    socklen_t target_bytes;
    net_clock clock;
    connection *connections; /* in order of arrival */
    struct pollfd *polled;   /* [2 * connections + 2] */
    size_t max_polled;
};

/* ---- connections ------------------------------------------------------------------------------------------------- */

static void cut_connection(connection *c)
{
    net_socket_reset(&c->fd[NET_UP]);
    net_socket_reset(&c->fd[NET_DOWN]);
    c->stage = CLOSED;
}

static void begin_connect(net_proxy *proxy, connection *c)
{
    c->fd[NET_DOWN] = socket(proxy->target.ss_family, SOCK_STREAM, 0);
    if (c->fd[NET_DOWN] < 0 || !net_socket_make_nonblocking(c->fd[NET_DOWN])) {
        cut_connection(c);
        return;
    }
    net_socket_set_no_delay(c->fd[NET_DOWN]);
    if (connect(c->fd[NET_DOWN], (const struct sockaddr *)&proxy->target, proxy->target_bytes) == 0) {
        c->stage = OPEN;
    } else if (errno == EINPROGRESS) {
        c->stage = CONNECTING;
    } else {
        cut_connection(c);
    }
}

static void end_connect(connection *c)
{
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(c->fd[NET_DOWN], SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
        cut_connection(c);
    } else {
        c->stage = OPEN;
    }
}

static void accept_all(net_proxy *proxy, int64_t now_us)
{
    connection **end = &proxy->connections;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    for (;;) {
        int fd = accept(proxy->listen_fd, NULL, NULL);
        if (fd < 0) {
            return;
        }
        connection *c = calloc(1, sizeof *c);
        if (c == NULL || !net_socket_make_nonblocking(fd)) {
            free(c);
            net_socket_reset(&fd);
            continue;
        }
        net_socket_set_no_delay(fd);
        c->fd[NET_UP] = fd;
        c->fd[NET_DOWN] = -1;
        c->index = atomic_fetch_add(&proxy->n_connections, 1);
        c->since_us = now_us;
        net_lane_init(&c->lanes[NET_UP]);
        net_lane_init(&c->lanes[NET_DOWN]);
        *end = c;
        end = &c->next;
        if (!proxy->params.reorder || c->index % 2 != 0) {
            begin_connect(proxy, c);
        }
    }
}

/* A held connection goes on once the one behind it has reached the target. */
static int64_t release_held(net_proxy *proxy, connection *c, int64_t now_us)
{
    const bool second_is_there = c->next != NULL && c->next->stage != HELD && c->next->stage != CONNECTING;
    if (second_is_there || !proxy->params.reorder || now_us - c->since_us >= REORDER_US) {
        begin_connect(proxy, c);
        return now_us;
    }
    return c->since_us + REORDER_US;
}

static void remove_closed(net_proxy *proxy)
{
    connection **link = &proxy->connections;
    while (*link != NULL) {
        connection *c = *link;
        if (c->stage != CLOSED) {
            link = &c->next;
            continue;
        }
        *link = c->next;
        net_pace_cancel(&c->pace, cs_clock_us());
        net_clock_forget(&proxy->clock, &c->pace);
        for (int d = 0; d < 2; d++) {
            net_lane_dispose(&c->lanes[d]);
        }
        free(c);
    }
}

/* ---- bytes in ---------------------------------------------------------------------------------------------------- */

static bool wants_bytes(const connection *c, int d)
{
    return c->stage == OPEN && net_lane_has_room(&c->lanes[d]);
}

/* n bytes were read to the lane's tail. What the target says is stamped with the time at which its steps let it leave. */
static bool push_read(const net_proxy *proxy, connection *c, int d, const uint8_t *bytes, size_t n, int32_t delay_us,
                      int64_t now_us)
{
    while (n > 0) {
        int64_t leave_us = now_us;
        const size_t n_together = d == NET_DOWN ? net_pace_down(&c->pace, &proxy->clock, bytes, n, now_us, &leave_us) : n;
        if (!net_lane_push(&c->lanes[d], n_together, delay_us, leave_us)) {
            return false;
        }
        bytes += n_together;
        n -= n_together;
    }
    return true;
}

static void end_read(connection *c, int d, int32_t delay_us, int64_t now_us, bool was_reset)
{
    net_lane_end(&c->lanes[d], delay_us, now_us, was_reset);
    if (d == NET_DOWN) {
        net_pace_end_answer(&c->pace, now_us);
    }
}

static void read_lane(const net_proxy *proxy, connection *c, int d, int64_t now_us)
{
    const int32_t delay_us = d == NET_UP ? proxy->params.up.delay_us : proxy->params.down.delay_us;
    net_lane *lane = &c->lanes[d];
    size_t n_read = 0;
    while (wants_bytes(c, d) && n_read < READ_MAX) {
        size_t room = 0;
        uint8_t *tail = net_lane_tail(lane, &room);
        const ssize_t n = tail == NULL ? -1 : recv(c->fd[d], tail, room, 0);
        if (tail != NULL && n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
            return;
        }
        if (n <= 0) {
            end_read(c, d, delay_us, now_us, n < 0);
            return;
        }
        if (!push_read(proxy, c, d, tail, (size_t)n, delay_us, now_us)) {
            end_read(c, d, delay_us, now_us, true);
            return;
        }
        n_read += (size_t)n;
    }
}

/* ---- bytes out --------------------------------------------------------------------------------------------------- */

/* The path's faults, where they concern this connection. */
static net_path path_of(const net_proxy *proxy, const connection *c, int d)
{
    net_path path = d == NET_UP ? proxy->params.up : proxy->params.down;
    const int32_t n = proxy->params.n_connections_affected;
    if (n > 0 && c->index >= n) {
        path.cut_at = path.corrupt_at = path.stall_at = -1;
    }
    return path;
}

/* Bytes have reached the target; a request that is complete with them starts its steps. */
static void note_request(net_proxy *proxy, connection *c, const uint8_t *bytes, size_t n)
{
    if (proxy->clock.step_us <= 0 || !net_pace_up(&c->pace, bytes, n)) {
        return;
    }
    int64_t busy_until_us = proxy->clock.ended_us;
    for (const connection *other = proxy->connections; other != NULL; other = other->next) {
        busy_until_us = other->pace.until_us > busy_until_us ? other->pace.until_us : busy_until_us;
    }
    net_pace_begin(&c->pace, &proxy->clock, net_clock_begin(&proxy->clock, busy_until_us, cs_clock_us()));
}

/* Send n bytes of the lane's head; false when the destination takes none now, or is gone. */
static bool send_piece(net_proxy *proxy, connection *c, int d, const net_path *path, size_t n, int64_t ready_us)
{
    net_lane *lane = &c->lanes[d];
    const uint8_t *bytes = lane->bytes + lane->head;
    const uint8_t inverted = (uint8_t) ~*bytes;
    atomic_fetch_add(&proxy->n_bytes[d], (int64_t)n); /* before: who has received them shall find them counted */
    const ssize_t sent = send(c->fd[1 - d], path->corrupt_at == lane->n_passed ? &inverted : bytes, n, MSG_NOSIGNAL);
    atomic_fetch_sub(&proxy->n_bytes[d], (int64_t)n - (sent > 0 ? sent : 0));
    if (sent < 0) {
        lane->blocked = errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
        if (!lane->blocked) {
            cut_connection(c);
        }
        return false;
    }
    if (d == NET_UP) {
        note_request(proxy, c, bytes, (size_t)sent);
    }
    net_lane_pop(lane, (size_t)sent, ready_us);
    return true;
}

static void finish_lane(connection *c, int d)
{
    if (d == NET_UP) {
        net_pace_cancel(&c->pace, cs_clock_us());
    }
    if (c->lanes[d].was_reset) {
        cut_connection(c);
        return;
    }
    c->lanes[d].ended = true;
    (void)shutdown(c->fd[1 - d], SHUT_WR);
    if (c->lanes[1 - d].ended) {
        net_socket_close(&c->fd[NET_UP]);
        net_socket_close(&c->fd[NET_DOWN]);
        c->stage = CLOSED;
    }
}

/* Forward what is due. Returns when to come again. */
static int64_t pump_lane(net_proxy *proxy, connection *c, int d, int64_t now_us)
{
    net_lane *lane = &c->lanes[d];
    const net_path path = path_of(proxy, c, d);
    while (c->stage == OPEN) {
        if (path.cut_at >= 0 && lane->n_passed >= path.cut_at) {
            c->stage = CUTTING;
            c->since_us = now_us;
            return now_us;
        }
        if (path.stall_at >= 0 && lane->n_passed >= path.stall_at) {
            return NET_NEVER;
        }
        if (lane->n == 0) {
            if (lane->ended || lane->end_due_us > now_us) {
                return lane->ended ? NET_NEVER : lane->end_due_us;
            }
            finish_lane(c, d);
            return NET_NEVER;
        }
        const size_t n = net_lane_piece(lane, &path);
        const int64_t ready_us = net_lane_ready_us(lane, &path, n);
        if (ready_us > now_us) {
            return ready_us;
        }
        if (lane->blocked || !send_piece(proxy, c, d, &path, n, ready_us)) {
            return NET_NEVER;
        }
    }
    return NET_NEVER;
}

static int64_t pump_cutting(connection *c, int64_t now_us)
{
    const bool all_there = net_socket_unsent(c->fd[NET_UP]) == 0 && net_socket_unsent(c->fd[NET_DOWN]) == 0;
    if (all_there || now_us - c->since_us >= FLUSH_US) {
        cut_connection(c);
        return NET_NEVER;
    }
    return now_us + FLUSH_STEP_US;
}

/* One round over all connections. Returns when the next is due. */
static int64_t pump_all(net_proxy *proxy, int64_t now_us)
{
    int64_t next_us = NET_NEVER;
    for (connection *c = proxy->connections; c != NULL; c = c->next) {
        int64_t at_us = NET_NEVER;
        if (c->stage == HELD) {
            at_us = release_held(proxy, c, now_us);
        }
        if (c->stage == OPEN) {
            const int64_t up_us = pump_lane(proxy, c, NET_UP, now_us);
            const int64_t down_us = pump_lane(proxy, c, NET_DOWN, now_us);
            at_us = up_us < down_us ? up_us : down_us;
        }
        if (c->stage == CUTTING) {
            at_us = pump_cutting(c, now_us);
        }
        next_us = at_us < next_us ? at_us : next_us;
    }
    return next_us;
}

/* ---- the loop ---------------------------------------------------------------------------------------------------- */

static bool reserve_polled(net_proxy *proxy)
{
    size_t n = 2;
    for (const connection *c = proxy->connections; c != NULL; c = c->next) {
        n += 2;
    }
    if (n > proxy->max_polled) {
        struct pollfd *polled = realloc(proxy->polled, 2 * n * sizeof *polled);
        if (polled == NULL) {
            return false;
        }
        proxy->polled = polled;
        proxy->max_polled = 2 * n;
    }
    return true;
}

/* A socket that nothing is wanted of is left out: poll() would report its hang-up again and again. */
static struct pollfd poll_entry(const connection *c, int d)
{
    struct pollfd entry = {.fd = c->fd[d]};
    if (c->stage == CONNECTING && d == NET_DOWN) {
        entry.events = POLLOUT;
    }
    if (wants_bytes(c, d)) {
        entry.events |= POLLIN;
    }
    if (c->stage == OPEN && c->lanes[1 - d].blocked) {
        entry.events |= POLLOUT;
    }
    if (entry.events == 0) {
        entry.fd = -1;
    }
    return entry;
}

static size_t fill_polled(net_proxy *proxy)
{
    size_t n = 0;
    proxy->polled[n++] = (struct pollfd){.fd = proxy->wake[0], .events = POLLIN};
    proxy->polled[n++] = (struct pollfd){.fd = proxy->listen_fd, .events = POLLIN};
    for (const connection *c = proxy->connections; c != NULL; c = c->next) {
        proxy->polled[n++] = poll_entry(c, NET_UP);
        proxy->polled[n++] = poll_entry(c, NET_DOWN);
    }
    return n;
}

static void handle_polled(net_proxy *proxy, int64_t now_us)
{
    const struct pollfd *entry = proxy->polled + 2;
    for (connection *c = proxy->connections; c != NULL; c = c->next, entry += 2) {
        for (int d = 0; d < 2; d++) {
            const short events = entry[d].revents;
            if (events == 0) {
                continue;
            }
            if (c->stage == CONNECTING) {
                end_connect(c);
            }
            if ((events & POLLOUT) != 0) {
                c->lanes[1 - d].blocked = false;
            }
            if ((events & (POLLIN | POLLHUP | POLLERR)) != 0 && c->stage == OPEN) {
                read_lane(proxy, c, d, now_us);
            }
        }
    }
    if (proxy->polled[1].revents != 0) {
        accept_all(proxy, now_us);
    }
    if (proxy->polled[0].revents != 0) {
        char drain[64];
        while (read(proxy->wake[0], drain, sizeof drain) > 0) {
        }
    }
}

/* Do what other threads asked for. False: end. */
static bool carry_out(net_proxy *proxy)
{
    pthread_mutex_lock(&proxy->mutex);
    if (proxy->is_new) {
        proxy->params = proxy->wanted;
        proxy->target = proxy->wanted_target;
        proxy->target_bytes = proxy->wanted_target_bytes;
        proxy->listen_fd = proxy->listen_fd >= 0 ? proxy->listen_fd : net_socket_listen(proxy->port);
    }
    if (proxy->cut || proxy->stop) {
        for (connection *c = proxy->connections; c != NULL; c = c->next) {
            cut_connection(c);
        }
        if (proxy->refuse) {
            net_socket_close(&proxy->listen_fd);
        }
    }
    const bool go_on = !proxy->stop;
    proxy->is_new = proxy->cut = proxy->refuse = false;
    proxy->n_done = proxy->n_commands;
    pthread_cond_broadcast(&proxy->carried_out);
    pthread_mutex_unlock(&proxy->mutex);
    return go_on;
}

static void *run(void *user)
{
    net_proxy *proxy = user;
    sigset_t all;
    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, NULL); /* signals are the program's business */
    while (carry_out(proxy)) {
        const int64_t next_us = pump_all(proxy, cs_clock_us());
        remove_closed(proxy);
        if (!reserve_polled(proxy)) {
            continue; /* nothing is lost: try again */
        }
        const size_t n = fill_polled(proxy);
        const int64_t wait_us = next_us == NET_NEVER ? NET_NEVER : next_us - cs_clock_us();
        const struct timespec wait = {.tv_sec = wait_us > 0 ? (time_t)(wait_us / 1000000) : 0,
                                      .tv_nsec = wait_us > 0 ? (long)(wait_us % 1000000) * 1000 : 0};
        if (ppoll(proxy->polled, (nfds_t)n, wait_us == NET_NEVER ? NULL : &wait, NULL) > 0) {
            handle_polled(proxy, cs_clock_us());
        }
    }
    remove_closed(proxy);
    return NULL;
}

/* ---- calls from other threads ------------------------------------------------------------------------------------ */

static void wake(net_proxy *proxy)
{
    const ssize_t n = write(proxy->wake[1], "", 1);
    (void)n; /* a full pipe wakes just as well */
}

/* With the mutex held: wait until the loop has done all that was asked for. */
static void submit(net_proxy *proxy)
{
    const uint64_t number = ++proxy->n_commands;
    wake(proxy);
    while (proxy->n_done < number) {
        pthread_cond_wait(&proxy->carried_out, &proxy->mutex);
    }
}

static void dispose(net_proxy *proxy)
{
    net_socket_close(&proxy->listen_fd);
    net_socket_close(&proxy->port_fd);
    net_socket_close(&proxy->wake[0]);
    net_socket_close(&proxy->wake[1]);
    pthread_cond_destroy(&proxy->carried_out);
    pthread_mutex_destroy(&proxy->mutex);
    free(proxy->polled);
    free(proxy);
}

static bool start_listening(net_proxy *proxy, int port)
{
    proxy->port = port;
    proxy->port_fd = net_socket_hold(&proxy->port);
    proxy->listen_fd = proxy->port_fd < 0 ? -1 : net_socket_listen(proxy->port);
    return proxy->listen_fd >= 0;
}

net_proxy *net_proxy_start(const net_proxy_params *params)
{
    net_proxy *proxy = calloc(1, sizeof *proxy);
    if (proxy == NULL) {
        return NULL;
    }
    proxy->port_fd = proxy->listen_fd = proxy->wake[0] = proxy->wake[1] = -1;
    pthread_mutex_init(&proxy->mutex, NULL);
    pthread_cond_init(&proxy->carried_out, NULL);
    proxy->params = *params;
    proxy->clock = (net_clock){.step_us = params->event_us, .is_shared = params->step_clock};
    bool ok = net_socket_resolve(params->target_host, params->target_port, &proxy->target, &proxy->target_bytes) &&
              pipe(proxy->wake) == 0 && net_socket_make_nonblocking(proxy->wake[0]) &&
              net_socket_make_nonblocking(proxy->wake[1]) && start_listening(proxy, params->port);
    if (ok) {
        errno = pthread_create(&proxy->thread, NULL, run, proxy);
        ok = errno == 0;
    }
    if (!ok) {
        const int saved = errno;
        dispose(proxy);
        errno = saved;
        return NULL;
    }
    return proxy;
}

int net_proxy_port(const net_proxy *proxy)
{
    return proxy->port;
}

int64_t net_proxy_bytes(const net_proxy *proxy, net_direction direction)
{
    return atomic_load(&proxy->n_bytes[direction]);
}

int32_t net_proxy_connections(const net_proxy *proxy)
{
    return atomic_load(&proxy->n_connections);
}

void net_proxy_set(net_proxy *proxy, const net_proxy_params *params)
{
    struct sockaddr_storage target;
    socklen_t n_bytes;
    const bool ok = net_socket_resolve(params->target_host, params->target_port, &target, &n_bytes);
    pthread_mutex_lock(&proxy->mutex);
    proxy->wanted = *params;
    if (ok) {
        proxy->wanted_target = target;
        proxy->wanted_target_bytes = n_bytes;
    } else {
        proxy->wanted_target = proxy->target;
        proxy->wanted_target_bytes = proxy->target_bytes;
    }
    proxy->is_new = true;
    submit(proxy);
    pthread_mutex_unlock(&proxy->mutex);
}

void net_proxy_cut(net_proxy *proxy, bool refuse)
{
    pthread_mutex_lock(&proxy->mutex);
    proxy->cut = true;
    proxy->refuse = refuse;
    submit(proxy);
    pthread_mutex_unlock(&proxy->mutex);
}

void net_proxy_stop(net_proxy *proxy)
{
    if (proxy == NULL) {
        return;
    }
    pthread_mutex_lock(&proxy->mutex);
    proxy->stop = true;
    wake(proxy);
    pthread_mutex_unlock(&proxy->mutex);
    pthread_join(proxy->thread, NULL);
    dispose(proxy);
}
