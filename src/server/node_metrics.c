/*
 * Counters are relaxed atomics: a reader wants each one's value, not a moment at which all were true. Times are kept in whole
 * microseconds, so that sums stay exact, and written in seconds, the unit that Prometheus asks for.
 */
#include "server/node_metrics.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* 1 ms, what the built-in pair needs for a step, to 10 s, what a large model may need for a long prompt. */
static const int64_t bounds_us[CS_HISTOGRAM_BUCKETS - 1] = {1000,   2500,   5000,   10000,   25000,   50000,
                                                            100000, 250000, 500000, 1000000, 2500000, 10000000};

static const char *const refusals[CS_REFUSALS] = {"busy", "draining", "too_long", "invalid"};

static uint64_t read_counter(const atomic_uint_least64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void cs_metrics_add(atomic_uint_least64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

void cs_histogram_add(cs_histogram *histogram, int64_t time_us)
{
    const int64_t us = time_us > 0 ? time_us : 0;
    size_t bucket = 0;
    while (bucket < CS_HISTOGRAM_BUCKETS - 1 && us > bounds_us[bucket]) {
        bucket++;
    }
    cs_metrics_add(&histogram->counts[bucket], 1);
    cs_metrics_add(&histogram->sum_us, (uint64_t)us);
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

static bool put(cs_buffer *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool put(cs_buffer *out, const char *format, ...)
{
    char line[256];
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    return n >= 0 && (size_t)n < sizeof line && cs_buffer_append(out, line, (size_t)n);
}

static bool put_head(cs_buffer *out, const char *name, const char *type, const char *help)
{
    return put(out, "# HELP %s %s\n", name, help) && put(out, "# TYPE %s %s\n", name, type);
}

static bool put_gauge(cs_buffer *out, const char *name, int32_t value, const char *help)
{
    return put_head(out, name, "gauge", help) && put(out, "%s %" PRId32 "\n", name, value);
}

static bool put_counter(cs_buffer *out, const char *name, const atomic_uint_least64_t *counter, const char *help)
{
    return put_head(out, name, "counter", help) && put(out, "%s %" PRIu64 "\n", name, read_counter(counter));
}

static bool put_seconds(cs_buffer *out, const char *name, const char *suffix, uint64_t us)
{
    return put(out, "%s%s %" PRIu64 ".%06" PRIu64 "\n", name, suffix, us / 1000000, us % 1000000);
}

static bool put_histogram(cs_buffer *out, const char *name, const cs_histogram *histogram, const char *help)
{
    bool ok = put_head(out, name, "histogram", help);
    uint64_t total = 0;
    for (size_t i = 0; i < CS_HISTOGRAM_BUCKETS; i++) {
        total += read_counter(&histogram->counts[i]);
        if (i < CS_HISTOGRAM_BUCKETS - 1) {
            ok = ok && put(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, (double)bounds_us[i] / 1e6, total);
        }
    }
    ok = ok && put(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, total);
    ok = ok && put_seconds(out, name, "_sum", read_counter(&histogram->sum_us));
    return ok && put(out, "%s_count %" PRIu64 "\n", name, total);
}

static bool put_refusals(cs_buffer *out, const cs_node_metrics *metrics)
{
    static const char name[] = "costeer_sessions_refused_total";
    bool ok = put_head(out, name, "counter", "Answers that were not begun, by reason.");
    for (size_t i = 0; i < CS_REFUSALS; i++) {
        ok = ok && put(out, "%s{reason=\"%s\"} %" PRIu64 "\n", name, refusals[i], read_counter(&metrics->refused[i]));
    }
    return ok;
}

bool cs_metrics_write(const cs_node_metrics *m, const cs_node_gauges *gauges, cs_buffer *out)
{
    return put_gauge(out, "costeer_sessions", gauges->sessions, "Answers that are open, waiting ones included.") &&
           put_gauge(out, "costeer_sessions_waiting", gauges->waiting, "Open answers beyond those computed together.") &&
           put_gauge(out, "costeer_connections", gauges->connections, "Connections of any kind.") &&
           put_counter(out, "costeer_sessions_opened_total", &m->opened, "Answers begun.") && put_refusals(out, m) &&
           put_counter(out, "costeer_tokens_total", &m->tokens, "Answer tokens that devices accepted.") &&
           put_counter(out, "costeer_steps_total", &m->steps, "Shared steps of the model.") &&
           put_counter(out, "costeer_positions_total", &m->positions, "Distributions computed.") &&
           put_counter(out, "costeer_prompt_tokens_total", &m->prompt_tokens, "Prompt tokens computed, kept ones left out.") &&
           put_counter(out, "costeer_wasted_steps_total", &m->wasted, "Positions computed and not used.") &&
           put_counter(out, "costeer_rollbacks_total", &m->rollbacks, "Corrections that dropped computed positions.") &&
           put_counter(out, "costeer_bytes_sent_total", &m->bytes_sent, "WebSocket bytes to devices, framing included.") &&
           put_counter(out, "costeer_bytes_received_total", &m->bytes_received, "WebSocket payload bytes from devices.") &&
           put_counter(out, "costeer_protocol_errors_total", &m->protocol_errors, "Connections ended for a broken rule.") &&
           put_histogram(out, "costeer_queue_seconds", &m->queue, "Time from an answer's open to its first computation.") &&
           put_histogram(out, "costeer_step_seconds", &m->step, "Time of a shared step.");
}
