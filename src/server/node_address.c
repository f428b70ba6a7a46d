/*
 * Where to listen. The name is resolved here, so that what is loopback is decided by the address that is really bound; and the
 * address is tried before the server is made, so that the reason why it cannot be had is known.
 */
#include "server/node_internal.h"
#include "util/error.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define COMPONENT "node"

static bool is_loopback_address(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in);
        return ntohl(in.sin_addr.s_addr) >> 24 == 127; /* 127.0.0.0/8, RFC 1122 3.2.1.3 */
    }
    struct sockaddr_in6 in6;
    memcpy(&in6, address, sizeof in6);
    return IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr);
}

/* Bind as the server will, and let go again. Returns an errno value. */
static int try_to_bind(const struct addrinfo *found)
{
    const int fd = socket(found->ai_family, SOCK_STREAM, 0);
    if (fd < 0) {
        return errno;
    }
    const int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (found->ai_family == AF_INET6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    }
    const int error = bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, 1) == 0 ? 0 : errno;
    close(fd);
    return error;
}

static costeer_err check_port(const struct addrinfo *found, const char *numeric, int32_t port, costeer_error *err)
{
    const int error = try_to_bind(found);
    switch (error) {
    case 0:
        return COSTEER_OK;
    case EADDRINUSE:
        return cs_error_set(err, COSTEER_EIO, COMPONENT,
                            "%s port %d is taken by another program; choose another port, or 0 for a free one", numeric,
                            (int)port);
    case EADDRNOTAVAIL:
        return cs_error_set(err, COSTEER_EIO, COMPONENT, "%s is no address of this machine; listen on one of its own", numeric);
    default:
        return cs_error_set(err, COSTEER_EIO, COMPONENT, "%s port %d cannot be listened on: %s", numeric, (int)port,
                            strerror(error));
    }
}

costeer_err cs_node_find_address(const costeer_node_params *params, cs_node_address *out, costeer_error *err)
{
    char port[16];
    (void)snprintf(port, sizeof port, "%d", (int)params->port);
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    const int result = getaddrinfo(params->address, port, &hints, &found);
    if (result != 0 || found == NULL) {
        return cs_error_set(err, COSTEER_EINVAL, COMPONENT, "%.200s: no such address: %s", params->address, gai_strerror(result));
    }
    costeer_err code = COSTEER_OK;
    if (getnameinfo(found->ai_addr, found->ai_addrlen, out->numeric, sizeof out->numeric, NULL, 0, NI_NUMERICHOST) != 0) {
        code = cs_error_set(err, COSTEER_EINVAL, COMPONENT, "%.200s: not an address of IPv4 or IPv6", params->address);
    } else if (params->tls_cert == NULL && !params->insecure && !is_loopback_address(found->ai_addr)) {
        code = cs_error_set(err, COSTEER_EINVAL, COMPONENT,
                            "%s is beyond this machine and would be served without encryption; give a certificate, or allow it "
                            "with --insecure",
                            out->numeric);
    } else {
        out->is_ipv6 = found->ai_family == AF_INET6;
        code = check_port(found, out->numeric, params->port, err);
    }
    freeaddrinfo(found);
    return code;
}
