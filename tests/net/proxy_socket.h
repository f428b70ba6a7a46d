/* What the proxy does to sockets. */
#ifndef CS_TEST_NET_PROXY_SOCKET_H
#define CS_TEST_NET_PROXY_SOCKET_H

#include <stdbool.h>
#include <sys/socket.h>

bool net_socket_make_nonblocking(int fd);
void net_socket_set_no_delay(int fd);

/** Bytes that the kernel still has to send. */
int net_socket_unsent(int fd);

/** Close with RST; *fd becomes −1. */
void net_socket_reset(int *fd);
void net_socket_close(int *fd);

/** A numeric address. False: errno is EINVAL. */
bool net_socket_resolve(const char *host, int port, struct sockaddr_storage *out, socklen_t *n_bytes);

/** Take a loopback port, so that nobody else gets it while it is not listened on; *port 0 becomes the one that was free. −1: see
 * errno. */
int net_socket_hold(int *port);

/** Listen on a port that is held. −1: see errno. */
int net_socket_listen(int port);

#endif
