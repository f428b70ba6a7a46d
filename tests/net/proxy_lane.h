/*
 * One direction of a connection: a ring of bytes stamped with the time at which they are due. Bounded; what is full is not read
 * into, so that the sender feels it as it would feel a slow link.
 */
#ifndef CS_TEST_NET_PROXY_LANE_H
#define CS_TEST_NET_PROXY_LANE_H

#include "tests/net/proxy.h"

#include <stddef.h>

#define NET_NEVER INT64_MAX

typedef struct net_stamp {
    int64_t due_us;
    size_t n_bytes;
} net_stamp;

typedef struct net_lane {
    uint8_t *bytes; /* ring [capacity], a power of two */
    size_t capacity, head, n;
    net_stamp *stamps; /* ring [max_stamps], a power of two */
    size_t max_stamps, first_stamp, n_stamps;
    int64_t last_due_us; /* order is kept when the delay is made shorter */
    int64_t link_free_us;
    int64_t n_passed;
    int64_t end_due_us; /* the source has ended; NET_NEVER: not yet */
    bool was_reset;     /* … by a reset */
    bool ended;         /* … and the destination was told */
    bool blocked;       /* the destination takes nothing at the moment */
} net_lane;

void net_lane_init(net_lane *lane);
void net_lane_dispose(net_lane *lane);

bool net_lane_has_room(const net_lane *lane);

/** Where to read to; NULL: no memory. Call it only when there is room. */
uint8_t *net_lane_tail(net_lane *lane, size_t *n_max);

/** n bytes were read to the tail. False: no memory. */
bool net_lane_push(net_lane *lane, size_t n, int32_t delay_us, int64_t now_us);

/** The source has ended. */
void net_lane_end(net_lane *lane, int32_t delay_us, int64_t now_us, bool was_reset);

/** How many bytes from the head may leave together: up to the next fault, the ring's end, the stamp's end, the bandwidth's piece.
 */
size_t net_lane_piece(const net_lane *lane, const net_path *path);

/** When the n bytes at the head have arrived at the other side. */
int64_t net_lane_ready_us(const net_lane *lane, const net_path *path, size_t n);

/** n bytes of the head, which was ready at ready_us, were passed on. */
void net_lane_pop(net_lane *lane, size_t n, int64_t ready_us);

#endif
