/*
 * A cloud that passes everything on to another one and measures on the way: what the LLM's steps took, and what the device did
 * between the calls. That is all a prediction needs besides the rates that the session and the cloud report themselves.
 */
#ifndef CS_BENCH_NET_METER_H
#define CS_BENCH_NET_METER_H

#include <costeer/cloud.h>

/** Sums over an answer's positions but the first, which belongs to reading the prompt. Times in microseconds. */
typedef struct cs_net_meter_sums {
    int64_t n_positions;
    int64_t n_decided;         /* positions whose commit was seen: the last one has none */
    int64_t n_drafting;        /* of them, those whose commit carried drafts */
    int64_t compute_us;        /* of the LLM's steps, as the cloud tells; positions of one step count it each */
    int64_t think_us;          /* from a base to its commit: fusing, choosing, drafting; deepening left out */
    int64_t think_drafting_us; /* of it, where drafts were sent */
    int64_t follow_us;         /* from a commit to asking for the next base: the SLM's step */
} cs_net_meter_sums;

typedef struct cs_net_meter {
    costeer_cloud cloud; /* first: give it to the session */
    costeer_cloud *inner;
    cs_net_meter_sums sums;
    /* where the answer stands */
    int64_t ready_us;     /* when the base was delivered, deepening included */
    int64_t committed_us; /* 0: nothing was committed yet */
    int64_t deepen_us;
} cs_net_meter;

/** Put a meter before a cloud, which stays the caller's. */
void cs_net_meter_init(cs_net_meter *meter, costeer_cloud *inner);

#endif
