/* What a node counts, and its text in Prometheus' exposition format 0.0.4. Numbers only: no names, no tokens, no texts. */
#ifndef CS_SERVER_NODE_METRICS_H
#define CS_SERVER_NODE_METRICS_H

#include "util/buffer.h"

#include <stdatomic.h>
#include <stdint.h>

#define CS_HISTOGRAM_BUCKETS 13

/** Of times; the last bucket has no upper end. */
typedef struct cs_histogram {
    atomic_uint_least64_t counts[CS_HISTOGRAM_BUCKETS];
    atomic_uint_least64_t sum_us;
} cs_histogram;

/** Why an open was refused. */
typedef enum cs_refusal { CS_REFUSED_BUSY, CS_REFUSED_DRAINING, CS_REFUSED_TOO_LONG, CS_REFUSED_INVALID, CS_REFUSALS } cs_refusal;

/** All atomic: the batcher's thread counts too. */
typedef struct cs_node_metrics {
    atomic_uint_least64_t opened;
    atomic_uint_least64_t refused[CS_REFUSALS];
    atomic_uint_least64_t tokens;
    atomic_uint_least64_t steps;
    atomic_uint_least64_t positions;
    atomic_uint_least64_t prompt_tokens;
    atomic_uint_least64_t wasted;
    atomic_uint_least64_t rollbacks;
    atomic_uint_least64_t bytes_sent;
    atomic_uint_least64_t bytes_received;
    atomic_uint_least64_t protocol_errors;
    cs_histogram queue;
    cs_histogram step;
} cs_node_metrics;

/** What is true at the moment. */
typedef struct cs_node_gauges {
    int32_t sessions;
    int32_t waiting;
    int32_t connections;
} cs_node_gauges;

void cs_metrics_add(atomic_uint_least64_t *counter, uint64_t n);
void cs_histogram_add(cs_histogram *histogram, int64_t time_us);

/** Append the text; false when it did not fit or memory is out. */
bool cs_metrics_write(const cs_node_metrics *metrics, const cs_node_gauges *gauges, cs_buffer *out);

#endif
