/*
 * When the bytes of an HTTP answer may leave the server, as if each of its steps took S: so a small model stands for a large one,
 * behind a server that knows nothing of it. A step yields one event of a text/event-stream (a run of bytes that ends in an empty
 * line), or the whole of another answer to a POST. Heads, what frames a body, and answers to anything else leave at once. Pure:
 * no sockets, no clock.
 *
 * By itself, each answer has steps of its own, the first beginning with its request. With a shared clock all requests have the
 * same, as in an engine with continuous batching: steps follow each other as long as a request is there, a request takes part
 * from the next step on, and a step whose request was cancelled runs to its end.
 */
#ifndef CS_TEST_NET_PROXY_PACE_H
#define CS_TEST_NET_PROXY_PACE_H

#include "tests/net/proxy_http.h"

/** The steps of a proxy's target. */
typedef struct net_clock {
    int64_t step_us; /* S; 0: nothing is held, nor looked at */
    bool is_shared;
    int64_t origin_us; /* shared: a step began here */
    int64_t ended_us;  /* shared: when the last request of the connections that are gone was over */
} net_clock;

/** What is known of a connection. All zero: nothing yet. */
typedef struct net_pace {
    net_http up, down;
    bool is_answering;  /* a POST has come whose answer has not ended */
    int64_t next_us;    /* the next event leaves no sooner */
    int64_t left_us;    /* when the one before it did */
    int64_t until_us;   /* its last request takes part in steps until then; INT64_MAX: no end is known */
    bool line_is_begun; /* in an event: bytes since the last line's end */
    bool event_is_begun;
} net_pace;

/** When the first step begins that a request which has come now takes part in.
 *  @param busy_until_us  the largest until_us of all connections, and the clock's ended_us */
int64_t net_clock_begin(net_clock *clock, int64_t busy_until_us, int64_t now_us);

/** A connection is gone, and its last request was cancelled or had ended before. */
void net_clock_forget(net_clock *clock, const net_pace *pace);

/** Bytes have reached the server. True: a POST is complete, see net_pace_begin(). */
bool net_pace_up(net_pace *pace, const uint8_t *bytes, size_t n);

/** The request's first step begins. */
void net_pace_begin(net_pace *pace, const net_clock *clock, int64_t begin_us);

/** The server has sent bytes, n > 0. Returns how many of them leave together, and when; call it again for the others. */
size_t net_pace_down(net_pace *pace, const net_clock *clock, const uint8_t *bytes, size_t n, int64_t now_us, int64_t *leave_us);

/** The server ends the connection, and an answer with it. */
void net_pace_end_answer(net_pace *pace, int64_t now_us);

/** The client's end of the connection has reached the server. */
void net_pace_cancel(net_pace *pace, int64_t now_us);

#endif
