/* When bytes may leave the server: proxy_pace.h. */
#include "tests/net/proxy_pace.h"

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* ---- the shared steps -------------------------------------------------------------------------------------------- */

/* The first end of a step that is not before a time. */
static int64_t step_end(const net_clock *clock, int64_t at_us)
{
    const int64_t n_steps = (at_us - clock->origin_us + clock->step_us - 1) / clock->step_us;
    return clock->origin_us + n_steps * clock->step_us;
}

int64_t net_clock_begin(net_clock *clock, int64_t busy_until_us, int64_t now_us)
{
    if (!clock->is_shared) {
        return now_us;
    }
    if (busy_until_us >= now_us || step_end(clock, busy_until_us) > now_us) {
        return step_end(clock, now_us);
    }
    clock->origin_us = now_us;
    return now_us;
}

void net_clock_forget(net_clock *clock, const net_pace *pace)
{
    clock->ended_us = later(clock->ended_us, pace->until_us);
}

/* ---- one connection ---------------------------------------------------------------------------------------------- */

bool net_pace_up(net_pace *pace, const uint8_t *bytes, size_t n)
{
    bool is_complete = false;
    for (size_t i = 0; i < n; i++) {
        is_complete |= net_http_take(&pace->up, (char)bytes[i]) && pace->up.is_post;
    }
    return is_complete;
}

void net_pace_begin(net_pace *pace, const net_clock *clock, int64_t begin_us)
{
    pace->is_answering = true;
    pace->line_is_begun = pace->event_is_begun = false;
    pace->next_us = begin_us + clock->step_us;
    pace->until_us = INT64_MAX;
}

/* What the server sends later than its step allows ends the step that is then under way. */
static int64_t leave_time(const net_pace *pace, const net_clock *clock, int64_t now_us)
{
    if (!pace->is_answering || !net_http_in_body(&pace->down)) {
        return now_us;
    }
    if (now_us <= pace->next_us) {
        return pace->next_us;
    }
    return clock->is_shared ? step_end(clock, now_us) : now_us;
}

/* A byte of a stream of events. True: it ends an event. */
static bool take_event_byte(net_pace *pace, char byte)
{
    if (byte == '\r') {
        return false;
    }
    const bool is_end = byte == '\n' && !pace->line_is_begun && pace->event_is_begun;
    pace->line_is_begun = byte != '\n';
    pace->event_is_begun = !is_end && (pace->event_is_begun || pace->line_is_begun);
    return is_end;
}

static void take_down(net_pace *pace, const net_clock *clock, char byte, int64_t leave_us)
{
    const bool in_body = net_http_in_body(&pace->down);
    const bool is_last = net_http_take(&pace->down, byte);
    if (!pace->is_answering) {
        return;
    }
    if (in_body) {
        pace->left_us = leave_us;
        if (pace->down.is_event_stream && take_event_byte(pace, byte)) {
            pace->next_us = leave_us + clock->step_us;
        }
    }
    if (is_last) {
        net_pace_end_answer(pace, leave_us);
    }
}

size_t net_pace_down(net_pace *pace, const net_clock *clock, const uint8_t *bytes, size_t n, int64_t now_us, int64_t *leave_us)
{
    size_t i = 0;
    *leave_us = now_us;
    if (clock->step_us <= 0) {
        return n;
    }
    *leave_us = leave_time(pace, clock, now_us);
    do {
        take_down(pace, clock, (char)bytes[i++], *leave_us);
    } while (i < n && leave_time(pace, clock, now_us) == *leave_us);
    return i;
}

void net_pace_end_answer(net_pace *pace, int64_t now_us)
{
    if (pace->is_answering) {
        pace->is_answering = false;
        net_pace_cancel(pace, later(now_us, pace->left_us)); /* unless it was cancelled before */
    }
}

void net_pace_cancel(net_pace *pace, int64_t now_us)
{
    pace->until_us = pace->until_us < now_us ? pace->until_us : now_us;
}
