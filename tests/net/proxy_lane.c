/* The stamped queue of one direction: proxy_lane.h. Pure: no sockets, no clock. */
#include "tests/net/proxy_lane.h"

#include <stdlib.h>
#include <string.h>

#define QUEUE_MAX    ((size_t)8 << 20) /* about what a fast long link has in flight */
#define QUEUE_FIRST  ((size_t)16 << 10)
#define STAMPS_MAX   ((size_t)1 << 17) /* one per read; a sender of single bytes must not cost more than its bytes */
#define STAMPS_FIRST ((size_t)64)
#define QUANTUM_US   1000 /* bandwidth is paid for pieces of so long */

void net_lane_init(net_lane *lane)
{
    *lane = (net_lane){.end_due_us = NET_NEVER};
}

void net_lane_dispose(net_lane *lane)
{
    free(lane->bytes);
    free(lane->stamps);
}

/* ---- bytes in ---------------------------------------------------------------------------------------------------- */

static bool grow_bytes(net_lane *lane)
{
    const size_t capacity = lane->capacity == 0 ? QUEUE_FIRST : 2 * lane->capacity;
    uint8_t *bytes = malloc(capacity);
    if (bytes == NULL) {
        return false;
    }
    const size_t until_end = lane->capacity - lane->head;
    const size_t first = lane->n < until_end ? lane->n : until_end;
    if (lane->n > 0) {
        memcpy(bytes, lane->bytes + lane->head, first);
        memcpy(bytes + first, lane->bytes, lane->n - first);
    }
    free(lane->bytes);
    lane->bytes = bytes;
    lane->capacity = capacity;
    lane->head = 0;
    return true;
}

static bool grow_stamps(net_lane *lane)
{
    const size_t max = lane->max_stamps == 0 ? STAMPS_FIRST : 2 * lane->max_stamps;
    net_stamp *stamps = malloc(max * sizeof *stamps);
    if (stamps == NULL) {
        return false;
    }
    for (size_t i = 0; i < lane->n_stamps; i++) {
        stamps[i] = lane->stamps[(lane->first_stamp + i) & (lane->max_stamps - 1)];
    }
    free(lane->stamps);
    lane->stamps = stamps;
    lane->max_stamps = max;
    lane->first_stamp = 0;
    return true;
}

bool net_lane_has_room(const net_lane *lane)
{
    return lane->end_due_us == NET_NEVER && lane->n < QUEUE_MAX && lane->n_stamps < STAMPS_MAX;
}

uint8_t *net_lane_tail(net_lane *lane, size_t *n_max)
{
    if (lane->n == lane->capacity && !grow_bytes(lane)) {
        return NULL;
    }
    const size_t tail = (lane->head + lane->n) & (lane->capacity - 1);
    *n_max = tail < lane->head ? lane->head - tail : lane->capacity - tail;
    return lane->bytes + tail;
}

static int64_t due_time(const net_lane *lane, int32_t delay_us, int64_t now_us)
{
    const int64_t due_us = now_us + delay_us;
    return due_us > lane->last_due_us ? due_us : lane->last_due_us;
}

bool net_lane_push(net_lane *lane, size_t n, int32_t delay_us, int64_t now_us)
{
    const int64_t due_us = due_time(lane, delay_us, now_us);
    if (lane->n_stamps > 0) {
        net_stamp *last = &lane->stamps[(lane->first_stamp + lane->n_stamps - 1) & (lane->max_stamps - 1)];
        if (last->due_us == due_us) {
            last->n_bytes += n;
            lane->n += n;
            return true;
        }
    }
    if (lane->n_stamps == lane->max_stamps && !grow_stamps(lane)) {
        return false;
    }
    lane->stamps[(lane->first_stamp + lane->n_stamps) & (lane->max_stamps - 1)] = (net_stamp){due_us, n};
    lane->n_stamps++;
    lane->last_due_us = due_us;
    lane->n += n;
    return true;
}

void net_lane_end(net_lane *lane, int32_t delay_us, int64_t now_us, bool was_reset)
{
    lane->end_due_us = due_time(lane, delay_us, now_us);
    lane->was_reset = was_reset;
}

/* ---- bytes out --------------------------------------------------------------------------------------------------- */

static size_t at_most(size_t n, int64_t border, int64_t passed)
{
    return border >= passed && (uint64_t)(border - passed) < n ? (size_t)(border - passed) : n;
}

size_t net_lane_piece(const net_lane *lane, const net_path *path)
{
    size_t n = lane->stamps[lane->first_stamp].n_bytes;
    n = n < lane->capacity - lane->head ? n : lane->capacity - lane->head;
    n = at_most(n, path->cut_at, lane->n_passed);
    n = at_most(n, path->stall_at, lane->n_passed);
    if (path->corrupt_at == lane->n_passed) {
        n = n < 1 ? n : 1;
    } else {
        n = at_most(n, path->corrupt_at, lane->n_passed);
    }
    if (path->bytes_per_second > 0) {
        const int64_t quantum = path->bytes_per_second * QUANTUM_US / 1000000;
        const size_t max = quantum > 0 ? (size_t)quantum : 1;
        n = n < max ? n : max;
    }
    return n;
}

int64_t net_lane_ready_us(const net_lane *lane, const net_path *path, size_t n)
{
    const int64_t due_us = lane->stamps[lane->first_stamp].due_us;
    if (path->bytes_per_second <= 0) {
        return due_us;
    }
    const int64_t start_us = due_us > lane->link_free_us ? due_us : lane->link_free_us;
    return start_us + (int64_t)n * 1000000 / path->bytes_per_second;
}

void net_lane_pop(net_lane *lane, size_t n, int64_t ready_us)
{
    net_stamp *first = &lane->stamps[lane->first_stamp];
    first->n_bytes -= n;
    if (first->n_bytes == 0) {
        lane->first_stamp = (lane->first_stamp + 1) & (lane->max_stamps - 1);
        lane->n_stamps--;
    }
    lane->head = (lane->head + n) & (lane->capacity - 1);
    lane->n -= n;
    lane->n_passed += (int64_t)n;
    lane->link_free_us = ready_us;
}
