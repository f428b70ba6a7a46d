/* What a token costs in each mode, from what is known of steps, round trips and disagreements. docs/network.md derives it. */
#ifndef CS_BENCH_NET_PREDICT_H
#define CS_BENCH_NET_PREDICT_H

#include <costeer/wire.h>

/** Times in microseconds, rates per token. */
typedef struct cs_net_rates {
    double step_us;       /* S: an LLM step, however many positions it computes */
    double round_trip_us; /* R */
    double think_us;      /* c: the device between a base and its commit, mean of all tokens */
    double correct_us;    /* the same, where it stands before a correction: drafting included */
    double follow_us;     /* f: the SLM's step */
    double corrections;   /* d: tokens that were not the one the cloud had gone on with */
    double deepenings;    /* e: requests for more of a base */
    double recomputed;    /* of them, those beyond what the node remembers, for which it takes a step more */
    double drafts;        /* a: tokens that were sent as a draft and kept */
    int32_t window;       /* W */
} cs_net_rates;

/** Time per token without corrections and deepenings, in microseconds: what plain streaming takes. */
double cs_net_predict_plain_us(const cs_net_rates *rates);

/** Time per token in a mode, in microseconds. */
double cs_net_predict_us(costeer_cloud_mode mode, const cs_net_rates *rates);

#endif
