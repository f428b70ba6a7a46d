/*
 * A proxy that makes a network of a loopback: it forwards TCP connections to a target and delays, slows, cuts, damages, stalls or
 * reorders what passes. Bytes are bytes: it works the same under TLS; only the pace of steps (event_us) has to read HTTP, and
 * changes none of it. One thread per proxy; used by tests and by benches. Its files are listed in sources.cmake.
 */
#ifndef CS_TEST_NET_PROXY_H
#define CS_TEST_NET_PROXY_H

#include <stdbool.h>
#include <stdint.h>

typedef struct net_proxy net_proxy;

/** Which way bytes go. */
typedef enum net_direction {
    NET_UP,  /* from the connecting side to the target */
    NET_DOWN /* from the target */
} net_direction;

/** What happens to the bytes of one direction. All zero: nothing. Offsets count the bytes of that direction of one connection. */
typedef struct net_path {
    int32_t delay_us;         /* each way: every byte arrives so much later; order is kept */
    int64_t bytes_per_second; /* 0: unlimited */
    int64_t cut_at;     /* close both sides (RST to both) when this many bytes have passed; −1: never; 0: before the first */
    int64_t corrupt_at; /* invert the byte at this offset; −1: never */
    int64_t stall_at;   /* forward nothing more after this many bytes, but keep the connection; −1: never */
} net_path;

#define NET_PATH_CLEAN ((net_path){.cut_at = -1, .corrupt_at = -1, .stall_at = -1})

typedef struct net_proxy_params {
    const char *target_host; /* numeric */
    int target_port;
    int port; /* to listen on, when started; 0: any free one */
    net_path up;
    net_path down;
    int32_t n_connections_affected; /* cut, corrupt and stall apply to the first so many connections only; 0: to all */
    bool reorder; /* connections are delivered to the target in another order than they came: each second one before the first */
    int32_t event_us; /* S: what an event of an HTTP answer takes at the target's side of the delay (proxy_pace.h); 0: nothing */
    bool step_clock;  /* … in steps that all requests share */
} net_proxy_params;

/** Start a proxy on a free loopback port. NULL on failure, with errno set. */
net_proxy *net_proxy_start(const net_proxy_params *params);
int net_proxy_port(const net_proxy *proxy);

/** Bytes forwarded so far in a direction, over all connections; connections accepted so far. Any thread. */
int64_t net_proxy_bytes(const net_proxy *proxy, net_direction direction);
int32_t net_proxy_connections(const net_proxy *proxy);

/** Change what happens from now on, for existing connections too; event_us and step_clock stay as they were. Any thread. */
void net_proxy_set(net_proxy *proxy, const net_proxy_params *params);

/** Cut all connections now; new ones are accepted (or refused when `refuse`). */
void net_proxy_cut(net_proxy *proxy, bool refuse);

void net_proxy_stop(net_proxy *proxy);

#endif
