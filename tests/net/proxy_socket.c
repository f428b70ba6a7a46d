/* Sockets, where systems differ: proxy_socket.h. */
#include "tests/net/proxy_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/sockios.h>
#endif

#define BACKLOG 1024

bool net_socket_make_nonblocking(int fd)
{
    const int flags = fcntl(fd, F_GETFL, 0);
    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

void net_socket_set_no_delay(int fd)
{
    const int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

int net_socket_unsent(int fd)
{
    int n = 0;
#ifdef __linux__
    if (ioctl(fd, SIOCOUTQNSD, &n) != 0) {
        return 0;
    }
#else
    socklen_t size = sizeof n;
    if (getsockopt(fd, SOL_SOCKET, SO_NWRITE, &n, &size) != 0) {
        return 0;
    }
#endif
    return n;
}

void net_socket_reset(int *fd)
{
    if (*fd >= 0) {
        const struct linger now = {.l_onoff = 1, .l_linger = 0}; /* close() then sends RST */
        (void)setsockopt(*fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        close(*fd);
        *fd = -1;
    }
}

void net_socket_close(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

bool net_socket_resolve(const char *host, int port, struct sockaddr_storage *out, socklen_t *n_bytes)
{
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    if (host == NULL || getaddrinfo(host, NULL, &hints, &list) != 0) {
        errno = EINVAL;
        return false;
    }
    memset(out, 0, sizeof *out);
    memcpy(out, list->ai_addr, list->ai_addrlen);
    *n_bytes = list->ai_addrlen;
    if (list->ai_family == AF_INET6) {
        ((struct sockaddr_in6 *)out)->sin6_port = htons((uint16_t)port);
    } else {
        ((struct sockaddr_in *)out)->sin_port = htons((uint16_t)port);
    }
    freeaddrinfo(list);
    return true;
}

static int bind_loopback(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)*port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    const int on = 1;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) {
        return -1;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 || !net_socket_make_nonblocking(fd) ||
        bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
        const int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    *port = ntohs(address.sin_port);
    return fd;
}

int net_socket_hold(int *port)
{
    return bind_loopback(port);
}

int net_socket_listen(int port)
{
    const int fd = bind_loopback(&port);
    if (fd >= 0 && listen(fd, BACKLOG) != 0) {
        const int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}
